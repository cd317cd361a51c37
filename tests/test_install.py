"""The wheel works beside what it requires alone, and says what else a function needs."""

import importlib.metadata as metadata
import os
import re
import shutil
import subprocess
import sys
import venv

import pytest
from book import PACKAGE, ROOT
from test_imports import TORCH_MODULES

REQUIRED = ["numpy", "matplotlib", "pooch", "tqdm"]
WITH_TORCH = {f"dlbook.{name}" for name in TORCH_MODULES}
IMPORT_ALL = f"""
import importlib, importlib.util, pkgutil
import dlbook
WITH_TORCH = {WITH_TORCH}
assert "site-packages" in dlbook.__file__, dlbook.__file__
for name in ("torch", "sklearn", "mlxtend", "nbdev", "fastcore", "pandas", "scipy", "skimage"):
    assert importlib.util.find_spec(name) is None, name
for module in pkgutil.walk_packages(dlbook.__path__, "dlbook."):
    if module.name not in WITH_TORCH:
        importlib.import_module(module.name)
        print(module.name)
"""


def with_requirements(names) -> set[str]:
    """The distributions and all that they require, extras aside."""
    found, todo = set(), list(names)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in found:
            continue
        found.add(name)
        for requirement in metadata.requires(name) or []:
            if ";" not in requirement:
                todo.append(re.match(r"[\w.-]+", requirement).group())
    return found


def build_wheel(tmp_path):
    """From a copy, since building leaves files beside the sources."""
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, source / "dlbook", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    return wheel


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "-qq", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """A Python with the wheel, what it requires and what that requires; nothing else."""
    folder = tmp_path_factory.mktemp("install")
    environment = folder / "environment"
    venv.create(environment, with_pip=False, symlinks=os.name != "nt")
    (packages,) = environment.glob("lib/python*/site-packages")
    for name in with_requirements(REQUIRED):
        for part in {file.parts[0] for file in metadata.files(name)} - {"..", "__pycache__"}:
            (packages / part).symlink_to(metadata.distribution(name).locate_file(part))
    pip("install", "--no-deps", "--no-compile", "--target", packages, build_wheel(folder))
    return environment / "bin" / "python"


def run(python, code, folder):
    """In an isolated Python (-I) and an empty folder, so that the sources are out of sight."""
    command = [python, "-I", "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_every_module_imports_beside_what_the_wheel_requires(bare_python, tmp_path):
    done = run(bare_python, IMPORT_ALL, tmp_path)
    assert done.returncode == 0, done.stderr
    wanted = {
        ".".join(("dlbook", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }
    assert wanted - WITH_TORCH <= set(done.stdout.split())
    assert len(wanted & WITH_TORCH) < len(wanted) / 4


def test_the_shipped_data_come_with_the_wheel(bare_python, tmp_path):
    code = """
from dlbook.data import load_fashion_mnist, load_text
print(*map(len, load_fashion_mnist()), len(load_text("shakespeare")), len(load_text("tang")))
"""
    assert run(bare_python, code, tmp_path).stdout.split() == "10000 2000 993274 1746579".split()


def test_what_is_missing_is_named_with_the_package_to_install(bare_python, tmp_path):
    code = "from dlbook.checks import check_same_as_torch; check_same_as_torch(None, None, None)"
    done = run(bare_python, code, tmp_path)
    assert done.returncode != 0
    assert re.search(r"(ImportError|ModuleNotFoundError): .*pip install.* torch", done.stderr)


def test_another_package_would_be_seen(bare_python, tmp_path):
    (tmp_path / "torch.py").touch()
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{IMPORT_ALL}"
    assert "AssertionError: torch" in run(bare_python, code, tmp_path).stderr


def test_metadata_of_the_wheel(bare_python, tmp_path):
    code = """
import importlib.metadata, dlbook
found = importlib.metadata.metadata("dlbook")
assert found["Version"] == dlbook.__version__
print(found["License-Expression"], *[r for r in found.get_all("Requires-Dist") if "extra" not in r])
"""
    done = run(bare_python, code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        "Apache-2.0",
        "AND",
        "CC-BY-4.0",
        "numpy>=2.0",
        "matplotlib>=3.9",
        "pooch>=1.8",
        "tqdm>=4.66",
    ]
