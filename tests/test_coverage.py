"""Every concept that the book promises is held by something that runs.

coverage.tsv lists the rows: a number, the chapter, the concept, the check, and what holds it.
Nothing in the last column means a cell of the chapter, tagged `row-N.M`, that asserts;
`text: PHRASE` means that the prose says it; `tests/FILE.py::NAME` names a test.
Rows of chapters that are not written yet are promises, and are only counted.
"""

import csv
import re

import coverage_page
import pytest
from book import ROOT, chapters, notebooks, read
from test_style import checks, prose

with (ROOT / "tests" / "coverage.tsv").open(encoding="utf-8", newline="") as file:
    ROWS = list(csv.DictReader(file, delimiter="\t"))
WRITTEN = {path.name[:2]: path for path in chapters()}
DUE = [row for row in ROWS if row["chapter"] in WRITTEN]


def tags(cell) -> list[str]:
    return [tag[4:] for tag in cell.metadata.get("tags", []) if tag.startswith("row-")]


def missing(row, notebook) -> str:
    """What is missing for a row of a chapter, or an empty string."""
    holder = row["held by"] or ""
    if holder.startswith("text: "):
        phrase = holder.removeprefix("text: ")
        return "" if phrase in " ".join(prose(notebook).split()) else f"no prose says {phrase!r}"
    if holder:
        path, _, name = holder.partition("::")
        defined = re.findall(r"^def (\w+)", (ROOT / path).read_text(encoding="utf-8"), flags=re.M)
        return "" if name in defined else f"there is no {holder}"
    cells = [cell for cell in notebook.cells if row["row"] in tags(cell)]
    if not cells:
        return f"no cell is tagged row-{row['row']}"
    return "" if any(checks(cell) for cell in cells) else "its cells assert nothing"


def test_rows_are_a_list():
    numbers = [row["row"] for row in ROWS]
    assert len(set(numbers)) == len(numbers) >= 249
    assert all(re.fullmatch(r"\d\d", row["chapter"]) and row["concept"] for row in ROWS)
    print(f"{len(DUE)} rows of {len(WRITTEN)} chapters are due, {len(ROWS) - len(DUE)} to come")


@pytest.mark.parametrize("row", DUE, ids=lambda row: row["row"])
def test_row_is_held(row):
    assert missing(row, read(WRITTEN[row["chapter"]])) == ""


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_tags_name_rows(path):
    known = {row["row"] for row in ROWS}
    named = {number for cell in read(path).cells for number in tags(cell)}
    assert named <= known


def test_page_is_fresh():
    assert coverage_page.page() == coverage_page.PAGE.read_text(encoding="utf-8"), "make export"


def test_faults_are_seen():
    notebook = read(WRITTEN["01"])
    row = dict.fromkeys(["row", "chapter", "concept", "check", "held by"], "")
    assert missing({**row, "row": "99.9"}, notebook) == "no cell is tagged row-99.9"
    assert "no prose" in missing({**row, "held by": "text: zebra crossing"}, notebook)
    assert "there is no" in missing({**row, "held by": "tests/book.py::nothing"}, notebook)
    silent = read(WRITTEN["01"])
    for cell in silent.cells:
        if "1.1" in tags(cell):
            cell.source = "print('all is well')"
    assert missing({**row, "row": "1.1"}, silent) == "its cells assert nothing"
