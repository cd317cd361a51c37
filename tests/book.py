"""Where the book's files are, and how the tests read its notebooks."""

import ast
import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / "nbs"
PACKAGE = ROOT / "dlbook"


def chapters() -> list[Path]:
    return sorted(NBS.glob("[0-9][0-9]_*.ipynb"))


def notebooks() -> list[Path]:
    return [path for path in sorted(NBS.rglob("*.ipynb")) if ".ipynb_checkpoints" not in path.parts]


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def directives(cell) -> list[str]:
    """The texts after `#|` in a cell, e.g. `export` or `label: fig-xor`."""
    return re.findall(r"^#\|\s*(.+?)\s*$", cell.source, flags=re.M)


def tree(source: str) -> ast.Module:
    """The syntax tree of a cell or module; magics and shell lines pass for nothing."""
    return ast.parse(re.sub(r"^[%!].*$", "pass", source, flags=re.M))


def code_length(source: str) -> int:
    """How many lines of code there are: docstrings, comments and blank lines do not count."""
    lines = [line.strip() for line in source.splitlines()]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(tree(source)) if isinstance(node, documented)]
    docstrings = "\n".join(ast.get_docstring(node) or "" for node in nodes)
    described = [line for line in docstrings.splitlines() if line]
    return len([line for line in lines if line and line[0] != "#"]) - len(described)


def module_of(notebook) -> str | None:
    """The module that a notebook exports to, as its `#| default_exp` names it."""
    for cell in notebook.cells:
        for directive in directives(cell) if cell.cell_type == "code" else []:
            if directive.startswith("default_exp "):
                return directive.removeprefix("default_exp ").strip()
    return None
