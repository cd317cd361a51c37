"""`make lab` and `make test` on a machine where something is missing, or where all is done."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from book import ROOT

# What a sitecustomize.py makes of this Python, and the one line that is then to be said.
MISSING = {
    "sys.version_info = (3, 9, 18)": "Python 3.11 or newer is needed, and .* is 3.9: .*PYTHON=",
    "sys.modules['ensurepip'] = None": r"venv module is missing .*python3\.\d+-venv",
    "import shutil; shutil.disk_usage = lambda _: type('Usage', (), {'free': 2e9})": (
        "3 GB of free disk are needed, and .* has 2.0"
    ),
}

OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}


@pytest.fixture
def project(tmp_path):
    """As much of a clone as setting up looks at, in a folder with a space in its name."""
    clone = tmp_path / "a clone"
    (clone / "tools").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "tools/setup_env.py"):
        shutil.copy(ROOT / name, clone / name)
    return clone


def make(project, *arguments, **environment):
    kept = {k: v for k, v in os.environ.items() if k not in ("VENV", "MAKEFLAGS", "MAKELEVEL")}
    return subprocess.run(
        ["make", *arguments],
        cwd=project,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def messages(run) -> list[str]:
    """What it said, without the line in which make itself says that a target failed."""
    lines = (run.stdout + run.stderr).splitlines()
    return [line for line in lines if not line.startswith("make: ***")]


def python_with(folder, statement):
    """A Python that runs a statement before anything else."""
    (folder / "sitecustomize.py").write_text(f"import sys\n{statement}\n")
    fake = folder / "python"
    fake.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" "$@"\n')
    fake.chmod(0o755)
    return fake


@pytest.mark.parametrize("statement", MISSING, ids=["old Python", "no venv", "no disk"])
def test_what_is_missing_is_said_in_one_line(project, tmp_path, statement):
    run = make(project, "test", f"PYTHON={python_with(tmp_path, statement)}")
    assert run.returncode != 0
    (line,) = messages(run)
    assert re.search(MISSING[statement], line), line
    assert not (project / ".venv").exists()


def test_a_python_that_is_not_there_is_said_in_one_line(project):
    run = make(project, "lab", "PYTHON=python9.9")
    assert run.returncode != 0
    assert messages(run) == ["dlbook: there is no python9.9; name one with make PYTHON=..."]


def test_a_failed_install_is_not_taken_for_complete(project):
    run = make(project, "test", f"PYTHON={sys.executable}", **OFFLINE)
    assert run.returncode != 0
    assert "could not be installed" in messages(run)[-1]
    assert "No matching distribution found" in run.stderr, "pip's reason is not shown"
    assert not (project / ".venv/ready").exists()
    assert "setup_env.py" in make(project, "-n", "test").stdout


def test_an_interrupted_install_is_cleared(project):
    """`started` is what an install that was killed leaves behind."""
    half = project / ".venv/lib/half_installed.py"
    half.parent.mkdir(parents=True)
    half.touch()
    (project / ".venv/started").touch()
    run = make(project, "test", f"PYTHON={sys.executable}", **OFFLINE)
    assert run.returncode != 0 and not half.exists()


def test_a_second_call_does_not_install_again(project):
    (project / ".venv").mkdir()
    (project / ".venv/ready").touch()
    assert "setup_env.py" not in make(project, "-n", "test").stdout
    for wanted in ("constraints.txt", "pyproject.toml"):
        later = (project / ".venv/ready").stat().st_mtime + 10
        os.utime(project / wanted, (later, later))
        assert "setup_env.py" in make(project, "-n", "test").stdout
        os.utime(project / wanted, (0, 0))


def test_help_lists_every_target(project):
    makefile = (project / "Makefile").read_text()
    phony = next(line for line in makefile.splitlines() if line.startswith(".PHONY:"))
    lines = make(project).stdout.splitlines()
    assert {line.split()[0] for line in lines} == set(phony.split()[1:])
    assert all(len(line.split()) > 2 for line in lines)


def test_ci_runs_the_same_command():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.search(r"^make test\b", script.read_text(), flags=re.M)
