"""The order of the chapters is the order of imports, and a module brings only what it needs."""

import ast
import statistics
import subprocess
import sys

import pytest
from book import NBS, PACKAGE, ROOT, chapters, module_of, read

# The modules that are written with PyTorch; every other one must do without it.
TORCH_MODULES = set(
    "bridge resnet seq2seq transformer coattention mae speech distributed compression".split()
)
HEAVY = ("torch", "sklearn", "mlxtend", "nbdev", "fastcore", "IPython")
VAGUE = {"utils", "util", "common", "helper", "helpers", "misc", "core"}
SECONDS = 0.2


def modules() -> list[str]:
    """Every module of the package, as its name after `dlbook.`."""
    paths = [
        path for path in PACKAGE.rglob("*.py") if path.name not in ("__init__.py", "_modidx.py")
    ]
    return sorted(".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in paths)


def source(module: str) -> str:
    return (PACKAGE / (module.replace(".", "/") + ".py")).read_text(encoding="utf-8")


def imported(text: str) -> set[str]:
    """The modules of dlbook that a module of dlbook imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "dlbook." + (node.module or "") if node.level else node.module
            names = [base.rstrip("."), *(f"{base.rstrip('.')}.{a.name}" for a in node.names)]
        else:
            continue
        found |= {name.removeprefix("dlbook.") for name in names if name.startswith("dlbook.")}
    return found


def chapter_numbers() -> dict[str, int]:
    """The chapter of each module; NN-name.ipynb opens a second module of chapter NN."""
    paths = [*chapters(), *NBS.glob("[0-9][0-9]-*.ipynb")]
    return {module_of(read(path)): int(path.name[:2]) for path in paths}


def late_imports(module: str, text: str, chapter_of: dict[str, int]) -> list[str]:
    own = chapter_of[module]
    known = imported(text) & chapter_of.keys()
    late = [name for name in known if chapter_of[name] > own or name == module]
    return [f"chapter {own} imports {name} of chapter {chapter_of[name]}" for name in late]


def fresh_python(code: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_every_module_belongs_to_a_chapter():
    chapter_of = chapter_numbers()
    own = {name for name in modules() if not name.startswith("exercises.")}
    assert own and own == chapter_of.keys() - {None}


@pytest.mark.parametrize("module", [name for name in modules() if "." not in name])
def test_module_imports_earlier_chapters_only(module):
    assert not late_imports(module, source(module), chapter_numbers())


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_chapter_uses_earlier_chapters_only(path):
    """What a reader runs, too; only checkers of exercises may look ahead."""
    notebook = read(path)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert not late_imports(module_of(notebook), "\n".join(cells), chapter_numbers())


@pytest.mark.parametrize(
    "text",
    [
        "from dlbook.training import fit",
        "from dlbook import training",
        "import dlbook.training",
        "from .training import fit",
        "from . import training",
        "def f():\n    from dlbook.training import fit",
    ],
)
def test_late_import_is_seen(text):
    assert late_imports("layers", text, {"layers": 3, "training": 9})
    assert not late_imports("training", "from .layers import Linear", {"layers": 3, "training": 9})


@pytest.mark.parametrize("module", modules())
def test_module_works_alone_and_brings_nothing_heavy(module):
    heavy = [name for name in HEAVY if not (module in TORCH_MODULES and name == "torch")]
    code = f"import sys, dlbook.{module}; print(*(set({heavy}) & set(sys.modules)))"
    assert fresh_python(code) == ""


def test_dlbook_imports_at_once():
    code = (
        "import sys, time; start = time.perf_counter(); import dlbook; "
        f"print(time.perf_counter() - start, *(set({HEAVY}) & set(sys.modules)))"
    )
    seconds, *heavy = zip(*(fresh_python(code).split() for _ in range(5)), strict=True)
    assert not heavy
    assert statistics.median(map(float, seconds)) < SECONDS


def test_no_star_import_and_no_vague_name():
    stars = [
        name
        for name in modules()
        for node in ast.walk(ast.parse(source(name)))
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
    ]
    assert not stars
    assert not {part for name in modules() for part in name.split(".")} & VAGUE
