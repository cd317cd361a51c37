"""What is committed is what the notebooks say: exported, clean, formatted, of no one machine."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cells
import outputs
import pytest
from book import NBS, PACKAGE, ROOT, code_length, notebooks, read

COMMANDS = Path(sys.executable).parent
MAX_LINES = 250  # of code, in a module
# Spelled as patterns, so that this file does not find itself.
LEFTOVERS = re.compile(
    r"/(?:home|Users|root|work|tmp|mnt|opt|srv|var/folders)/[\w.]|/roo[t]\b|file:/{3}|[A-Z]:\\+Users"
    r"|/pypi[\w-]*/|pypi\.org|pythonhosted\.|npmjs\.|conda\.anaconda|\d+\.\d+\.\d+\.\d+:\d+/simple"
)


def command(*arguments, cwd=ROOT) -> str:
    run = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"{arguments[0]}\n{run.stdout}{run.stderr}"
    return run.stdout


def project_files() -> list[Path]:
    """Everything that git keeps or would keep."""
    names = command(
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    )
    return [path for name in names.split("\0") if name and (path := ROOT / name).is_file()]


def texts(paths) -> dict[Path, str]:
    found = {}
    for path in paths:
        try:
            found[path] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an image or a font
    return found


def python_files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.py")}


def differences(wanted: dict[str, str], got: dict[str, str]) -> list[str]:
    names = sorted(wanted.keys() | got.keys())
    return [name for name in names if wanted.get(name) != got.get(name)]


@pytest.fixture
def copy(tmp_path):
    """A copy of what nbdev works on, so that no test ever changes the working tree."""
    ignore = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__", "_proc")
    shutil.copytree(NBS, tmp_path / "nbs", ignore=ignore)
    for name in ("settings.ini", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_the_package_is_what_the_notebooks_export(copy):
    command(COMMANDS / "nbdev_export", cwd=copy)
    wanted, got = python_files(copy / "dlbook"), python_files(PACKAGE)
    if stale := differences(wanted, got):
        said = "stale, or edited by hand; run `make export`:"
        pytest.fail(f"{said} dlbook/{', dlbook/'.join(stale)}", pytrace=False)


def test_differences_are_seen():
    fresh = {"a.py": "1", "b.py": "2"}
    assert differences(fresh, {"a.py": "1", "b.py": "3"}) == ["b.py"]
    assert differences(fresh, {"a.py": "1"}) == ["b.py"]
    assert differences(fresh, {**fresh, "stale.py": ""}) == ["stale.py"]


def test_notebooks_are_clean(copy):
    before = {path: path.read_text() for path in sorted(copy.rglob("*.ipynb"))}
    command(COMMANDS / "nbdev_clean", cwd=copy)
    unclean = [path.name for path, text in before.items() if path.read_text() != text]
    assert not unclean, "run `make export`"


def is_unclean(notebook: dict) -> list[str]:
    """What nbdev does not look at: a count makes a diff, and a cell without id cannot be named."""
    ids = [cell.get("id") for cell in notebook["cells"]]
    faults = ["a cell has no id"] if None in ids else []
    faults += ["two cells have the same id"] if len(set(ids)) < len(ids) else []
    for number, cell in enumerate(notebook["cells"], 1):
        counts = [cell, *cell.get("outputs", [])]
        if any(part.get("execution_count") for part in counts):
            faults.append(f"cell {number}: an execution count")
    return faults


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_outputs_are_stored_as_record_writes_them(path):
    """The comparison of outputs looks past colours, paths and tracebacks; a reader does not."""
    for number, cell in enumerate(cells.code_cells(read(path)), 1):
        stored = json.loads(json.dumps(cell.outputs))
        wanted = json.loads(json.dumps(outputs.canonical(cell.outputs)))
        assert stored == wanted, f"cell {number}: run `make record only={path.relative_to(ROOT)}`"


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_outputs_belong_to_the_code(path):
    """What a page says of when it was verified must be about the code that it shows."""
    recorded = read(path).metadata.get("dlbook", {}).get("recorded", {})
    said = f"run `make record only={path.relative_to(ROOT)}`"
    assert recorded.get("source") == cells.source_digest(read(path)), said


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_notebook_has_ids_and_no_counts(path):
    assert not is_unclean(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "cells",
    [
        [{"source": ""}],
        [{"id": "a"}, {"id": "a"}],
        [{"id": "a", "execution_count": 1}],
        [{"id": "a", "outputs": [{"execution_count": 2}]}],
    ],
)
def test_unclean_notebook_is_seen(cells):
    assert is_unclean({"cells": cells})


def test_ruff_finds_nothing():
    command(COMMANDS / "ruff", "check", "--no-cache", ".")


def test_ruff_would_format_nothing():
    command(COMMANDS / "ruff", "format", "--no-cache", "--check", ".")


def test_modules_stay_small():
    modules = python_files(PACKAGE)
    modules.pop("_modidx.py")  # nbdev's index, not for reading
    lengths = {name: code_length(text) for name, text in modules.items()}
    assert lengths and {name: n for name, n in lengths.items() if n > MAX_LINES} == {}


def test_no_file_speaks_of_the_machine_that_made_it():
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path, text in texts(project_files()).items()
        if "katex" not in path.parts and (match := LEFTOVERS.search(text))
    ]
    assert not found


@pytest.mark.parametrize(
    "text",
    [
        "File /home" + "/ada/x.py",
        "/ro" + "ot/.cache",
        "see https://pypi" + ".org/simple",
        "/tm" + "p/x.py",
        "file:" + "///x",
    ],
)
def test_leftovers_are_seen(text):
    assert LEFTOVERS.search(text)
