"""The workflows are valid, do what the Makefile does, and can do no more than they need."""

import re
import subprocess
import sys

import pytest
import yaml
from book import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def lint(*paths) -> subprocess.CompletedProcess:
    schema = ["--builtin-schema", "vendor.github-workflows"]
    command = [sys.executable, "-m", "check_jsonschema", *schema, *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.* ## ", (ROOT / "Makefile").read_text(), flags=re.M))


def test_workflows_follow_the_schema():
    run = lint(*WORKFLOWS)
    assert {path.stem for path in WORKFLOWS} == {"test", "newest", "site", "gpu"}
    assert run.returncode == 0, run.stdout


def test_a_wrong_workflow_is_seen(tmp_path):
    wrong = tmp_path / "wrong.yml"
    wrong.write_text((WORKFLOWS[0]).read_text().replace("runs-on", "run-on"))
    assert lint(wrong).returncode != 0


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_calls_make_and_is_bounded(path):
    workflow = yaml.safe_load(path.read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert "concurrency" in workflow
    jobs = workflow["jobs"].values()
    assert all(job["timeout-minutes"] <= 60 for job in jobs)
    commands = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert commands and all(run.split()[0] == "make" for run in commands)
    assert {run.split()[1] for run in commands} <= targets()


def test_versions_of_python_are_those_promised():
    matrix = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    versions = matrix["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert versions == ["3.11", "3.12", "3.13"]
    assert f'requires-python = ">={versions[0]}"' in (ROOT / "pyproject.toml").read_text()
