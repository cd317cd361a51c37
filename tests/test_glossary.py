"""One term for one thing: nbs/glossary.ipynb says which, and the chapters keep to it."""

import importlib
import re

import pytest
from book import NBS, chapters, read

COLUMNS = ["English", "中文", "symbol", "name in code", "chapter", "avoid"]


def entries(notebook) -> list[dict[str, str]]:
    """The rows of the notebook's tables, each as a dictionary of its columns."""
    rows = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                if line.startswith("|"):
                    parts = re.split(r"(?<!\\)\|", line.strip().strip("|"))
                    rows.append([part.strip() for part in parts])
    return [
        dict(zip(COLUMNS, row, strict=True))
        for row in rows
        if row != COLUMNS and not set("".join(row)) <= set("-: ")
    ]


def plain(markdown: str) -> str:
    """Prose in lower case on one line, without code, mathematics, addresses and references."""
    text = markdown.split("\n## References")[0]
    text = re.sub(r"```.*?```|\$\$.*?\$\$|`[^`]*`|\$[^$]*\$|\]\([^)]*\)", " ", text, flags=re.S)
    return re.sub(r"[*_\s]+", " ", text).lower()


def prose(notebook) -> str:
    return plain("\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown"))


def terms(field: str) -> list[str]:
    """What stands in one cell of the table, commas between: quotes and code marks aside."""
    return [term.strip(' `"“”') for term in re.split(r"[,，;；]", field) if term.strip(" -–—")]


def occurs(term: str, text: str) -> bool:
    """As a word of its own, in the plural too; a Chinese term anywhere."""
    if re.search(r"[\u4e00-\u9fff]", term):
        return term in text
    return bool(re.search(rf"(?<![\w-]){re.escape(term.lower())}(?:e?s)?(?![\w-])", text))


def unknown_names(entry) -> list[str]:
    """The names in code that cannot be imported from dlbook."""
    return [name for name in terms(entry["name in code"]) if not importable(name)]


def importable(name: str) -> bool:
    """Whether `layers.Linear.forward` is there, below dlbook."""
    parts = name.removeprefix("dlbook.").split(".")
    try:
        thing = importlib.import_module(f"dlbook.{parts[0]}")
    except ModuleNotFoundError:
        return False
    for part in parts[1:]:
        thing = getattr(thing, part, None)
    return thing is not None


def missing_terms(entry, chapter_text: str) -> list[str]:
    return [term for term in terms(entry["English"]) if not occurs(term, chapter_text)]


def avoided_words(entries_, text: str) -> list[str]:
    """Words to avoid in a text, unless they stand in quotes, where the text speaks of the word."""
    said = re.sub(r"[\"“][^\"“”]{1,60}[\"”]", " ", text)
    return sorted(
        {
            f"{word} (say {entry['English']})"
            for entry in entries_
            for word in terms(entry["avoid"])
            if occurs(word, said)
        }
    )


GLOSSARY = NBS / "glossary.ipynb"
ENTRIES = entries(read(GLOSSARY)) if GLOSSARY.exists() else []
by_english = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["English"])


def test_there_is_a_glossary():
    assert len(ENTRIES) >= 20
    english = [entry["English"] for entry in ENTRIES]
    assert len(set(english)) == len(english), "a term stands there twice"
    assert all(re.search(r"[\u4e00-\u9fff]", entry["中文"]) for entry in ENTRIES)


@by_english
def test_names_in_code_exist(entry):
    assert unknown_names(entry) == []


@by_english
def test_term_occurs_in_its_chapter(entry):
    numbers = re.findall(r"\d\d", entry["chapter"])
    assert numbers, "the chapter is missing"
    for number in numbers:
        (path,) = NBS.glob(f"{number}_*.ipynb")
        assert missing_terms(entry, prose(read(path))) == [], path.name


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_no_word_to_avoid(path):
    assert avoided_words(ENTRIES, prose(read(path))) == []


ENTRY = dict(zip(COLUMNS, ["precision", "精确率", "", "", "13", "精度, exactness"], strict=True))


def test_faults_are_seen():
    assert unknown_names({"name in code": "`perceptron.Perceptron`, `perceptron.step`"}) == []
    assert unknown_names({"name in code": "`perceptron.Perzeptron`"}) == ["perceptron.Perzeptron"]
    assert unknown_names({"name in code": "`nowhere.f`"}) == ["nowhere.f"]
    assert missing_terms(ENTRY, plain("**Precision** is a share.")) == []
    assert missing_terms(ENTRY, plain("An imprecision, and `precision`.")) == ["precision"]
    assert avoided_words([ENTRY], plain("它的精度很高")) == ["精度 (say precision)"]
    assert avoided_words([ENTRY], plain("With great exactness.")) == ["exactness (say precision)"]
    assert avoided_words([ENTRY], plain('Some say "exactness"; we do not.')) == []
