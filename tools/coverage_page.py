"""Write nbs/coverage.ipynb: every concept that the book promises, and the cell that holds it.

The rows are those of tests/coverage.tsv, the links are found in the notebooks as they are now.
"""

import csv
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "nbs" / "coverage.ipynb"
ABOUT = """\
# What the book holds

> Every concept of the book, the check that shows it, and the place where it runs · 覆盖表

Each row is a promise: the concept is explained, built and checked in the chapter, and the book's
tests fail if the cell is gone or asserts nothing. **GC** is a gradient check, central differences
in float64 on every element (chapter 4); **= torch** means that output and gradients equal those of
the PyTorch function of that name with the same weights. The page is written by a program from the
list of promises and the notebooks.

{held} of {all} rows are held by now; the others belong to chapters that are still to come."""
HEADER = """\
## {title}

| row | concept | check | held by |
|---|---|---|---|
"""


def slug(heading: str) -> str:
    """The name that the site gives to a heading."""
    text = re.sub(r"[`*$\\\\]|\\[a-zA-Z]+", "", heading).lower()
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s.-]", "", text).strip())


def places(notebook, path: Path) -> dict[str, str]:
    """A link to the section of each cell that is tagged with a row."""
    found, heading = {}, ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"(?m)^##+ +(.+?) *$", cell.source) or [heading])[-1]
        for tag in cell.metadata.get("tags", []):
            if tag.startswith("row-"):
                found.setdefault(tag[4:], f"[{heading}]({path.name}#{slug(heading)})")
    return found


def holder(row: dict, path: Path, links: dict[str, str]) -> str:
    held_by = row["held by"] or ""
    if held_by.startswith("tests/"):
        return f"`{held_by.replace('::', ': ')}`"
    if not held_by and row["row"] not in links:
        raise SystemExit(f"{path.name}: a cell should be tagged row-{row['row']}; there is none")
    return f"[the text]({path.name})" if held_by else links[row["row"]]


def escaped(text: str) -> str:
    """Plain text for a cell of a table: nothing in it is markdown but the code."""
    parts = re.split(r"(`[^`]*`)", text.replace("**", "").replace("\\|", "|"))
    marks = r"([\\*_<>|$\[\]#~^])"
    return "".join(
        part.replace("|", "\\|") if part.startswith("`") else re.sub(marks, r"\\\1", part)
        for part in parts
    )


def page(root: Path = ROOT) -> str:
    """The text of the notebook."""
    with (root / "tests" / "coverage.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    cells, held = [], 0
    for path in sorted((root / "nbs").glob("[0-9][0-9]_*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        title = re.match(r"# (.+)", notebook.cells[0].source)[1]
        links, lines = places(notebook, path), []
        for row in (row for row in rows if row["chapter"] == path.name[:2]):
            texts = row["row"], escaped(row["concept"]), escaped(row["check"] or "")
            lines.append(f"| {' | '.join((*texts, holder(row, path, links)))} |")
        table = HEADER.format(title=f"{int(path.name[:2])} · [{title}]({path.name})")
        cells.append(table + "\n".join(lines))
        held += len(lines)
    about = ABOUT.format(held=held, all=len(rows))
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_markdown_cell(text, id=f"part-{i:02}")
            for i, text in enumerate([about, *cells])
        ],
        metadata=nbformat.read(PAGE, as_version=4).metadata,  # says when it was recorded
    )
    return nbformat.writes(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    part = PAGE.with_suffix(".part")
    part.write_text(page(), encoding="utf-8")
    part.replace(PAGE)
    sys.exit(0)
