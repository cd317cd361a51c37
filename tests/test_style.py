"""How a chapter reads: the rules of CONTRIBUTING.md that a machine can hold.

A rule takes a notebook and yields its complaints, each naming the place. What breaks
each of them is in test_style_faults.py.
"""

import ast
import re

import pytest
from book import NBS, chapters, code_length, directives, module_of, read, tree

MAX_CODE_LINES, MAX_COLUMNS = 30, 100
WORDS_PER_LINE = (4, 10)  # words of prose to a line of code, over a chapter
CHECKED_SHARE = 0.5  # of the cells that neither export nor draw: how many assert or check something
NOT_NAMES = set("dense affine fullyconnected deconvolution deconv cost err tmp".split())
TORCH_NAMES = {"affine", "elementwise_affine"}  # arguments that keep the name they have there
BULLETS = "forward backward parameters raises source state predict fit twin".split()
KINDS = ["predict", "modify", "build", "explore"]
CHINESE = r"[\u4e00-\u9fff]"


# ---- reading a notebook


def prose(notebook) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def code_cells(notebook) -> list:
    """The code cells that a reader sees, in order, as (number in the notebook, cell)."""
    return [
        (number, cell)
        for number, cell in enumerate(notebook.cells, 1)
        if cell.cell_type == "code" and "hide" not in directives(cell)
    ]


def is_export(cell) -> bool:
    return any(directive.startswith("export") for directive in directives(cell))


def calls(node) -> list[str]:
    """The names that are called below a node: `f` for f(…) and `g` for x.g(…)."""
    functions = [sub.func for sub in ast.walk(node) if isinstance(sub, ast.Call)]
    names = [getattr(function, "id", getattr(function, "attr", None)) for function in functions]
    return [name for name in names if name]


def draws(cell) -> bool:
    """Whether the cell makes a figure, rather than define a function that would."""
    if any("image/png" in output.get("data", {}) for output in cell.outputs):
        return True
    top = [
        node
        for node in tree(cell.source).body
        if not isinstance(node, ast.FunctionDef | ast.ClassDef)
    ]
    names = {name for node in top for name in calls(node)}
    return bool(names & {"subplots", "subplot_mosaic", "figure"})


def section(notebook, title: str) -> str | None:
    """The prose below `## title`, up to the next heading of that level."""
    found = re.search(rf"^## {title}\s*$(.*?)(?=^## |\Z)", prose(notebook), flags=re.M | re.S)
    return found and found.group(1)


# ---- the rules of a chapter


def opens_with_title(notebook):
    first = notebook.cells[0]
    front = re.match(rf"# .+\n\n> .+ · .*{CHINESE}.*(?P<text>[\s\S]*)", first.source)
    if first.cell_type != "markdown" or not front:
        yield "cell 1: wanted `# Title`, an empty line, `> what you will be able to do · 中文名`"
    elif len(front["text"].split()) < 20:
        yield "cell 1: two or three sentences should follow the title"


def cells_are_short(notebook):
    for number, cell in code_cells(notebook):
        if (lines := code_length(cell.source)) > MAX_CODE_LINES:
            yield f"cell {number}: {lines} lines of code, at most {MAX_CODE_LINES}"


def lines_fit(notebook):
    """Captions, addresses and the like in directives may be longer."""
    for number, cell in code_cells(notebook):
        for line in cell.source.splitlines():
            if len(line) > MAX_COLUMNS and not line.startswith("#|"):
                yield f"cell {number}: {len(line)} columns, at most {MAX_COLUMNS}: {line:.30}…"


def prose_stands_between(notebook):
    """A cell that only shows the one before needs no sentence; a third in a row always does."""
    row = 0
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "markdown":
            row = 0
        elif "hide" not in directives(cell) and not only_imports(cell):
            row += 1
            if row > 2:
                yield f"cell {number}: the third code cell in a row without a sentence"


def only_imports(cell) -> bool:
    return all(isinstance(node, ast.Import | ast.ImportFrom) for node in tree(cell.source).body)


def imports_stand_alone(notebook):
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type != "code":
            continue
        body = tree(cell.source).body
        imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
        style = [node for node in body if ast.unparse(node).startswith("plt.style.use(")]
        if imports and len(imports) + len(style) < len(body):
            yield f"cell {number}: imports stand in cells of their own"
        if any(alias.name == "*" for node in imports for alias in node.names):
            yield f"cell {number}: a star import"


def figures_are_described(notebook):
    text, seen = prose(notebook), set()
    for number, cell in code_cells(notebook):
        if not draws(cell):
            continue
        fields = dict(d.split(": ", 1) for d in directives(cell) if ": " in d)
        for field in ("label", "fig-cap", "fig-alt"):
            if not fields.get(field, "").strip('" '):
                yield f"cell {number}: a figure without `#| {field}`"
        label = fields.get("label", "")
        if label and not re.search(rf"@{re.escape(label)}\b", text):
            yield f"cell {number}: no sentence refers to @{label}"
        if label in seen:
            yield f"cell {number}: {label} is there twice"
        seen.add(label)
        if "show" in calls(tree(cell.source)):
            yield f"cell {number}: a figure shows itself without plt.show()"


def ends_as_it_should(notebook):
    headings = re.findall(r"^## (.+?)\s*$", prose(notebook), flags=re.M)
    if headings[-3:] != ["Summary", "Exercises", "References"]:
        yield f"the last sections should be Summary, Exercises, References, not {headings[-3:]}"
        return
    bullets = re.findall(r"^- ", section(notebook, "Summary"), flags=re.M)
    if not 3 <= len(bullets) <= 6:
        yield f"Summary: {len(bullets)} lines, five are wanted"
    callout = re.search(r"^::: \{[^}]*中文要点[^}]*\}(.*?)^:::", prose(notebook), flags=re.M | re.S)
    sentences = len(re.findall("[。！？]", callout[1])) if callout else 0
    if not 3 <= sentences <= 5:
        yield f"中文要点: {sentences} sentences, 3 to 5 are wanted"
    elif 'collapse="true"' not in callout[0]:
        yield "中文要点: the callout should be collapsed"
    if not re.search(r"^- .*\d{4}", section(notebook, "References"), flags=re.M):
        yield "References: none with a year"


def exercises(notebook) -> list[tuple[int, str, object]]:
    """Each exercise: its number, its kind and the cell after its statement."""
    found = []
    for cell, following in zip(notebook.cells, [*notebook.cells[1:], None], strict=True):
        head = re.match(r"\*\*Exercise (\d+) \((\w+)\)", cell.source)
        if cell.cell_type == "markdown" and head:
            found.append((int(head[1]), head[2], following))
    return found


def exercises_can_be_tried(notebook):
    tasks = exercises(notebook)
    if not 3 <= len(tasks) <= 6 or [number for number, *_ in tasks] != [*range(1, len(tasks) + 1)]:
        yield f"Exercises: {len(tasks)} numbered **Exercise N (kind)**, 3 to 6 in order are wanted"
    order = [KINDS.index(kind) if kind in KINDS else -1 for _, kind, _ in tasks]
    if -1 in order or order != sorted(order):
        yield f"Exercises: the kinds are {', '.join(KINDS)}, in this order"
    for number, _, cell in tasks:
        if cell is None or cell.cell_type != "code" or not checker(cell):
            yield f"Exercise {number}: wanted a stub whose body is `...`, then its check_…(stub)"


def checker(cell) -> str | None:
    """The checker that the cell of an exercise calls on its stub, if it is such a cell."""
    *_, last = body = tree(cell.source).body or [None]
    stubs = {
        sub.name
        for node in body
        for sub in ast.walk(node or ast.Module([], []))
        if isinstance(sub, ast.FunctionDef | ast.ClassDef)
        for inner in sub.body
        if isinstance(inner, ast.Expr) and getattr(inner.value, "value", None) is Ellipsis
    }
    if not stubs or not isinstance(last, ast.Expr) or not isinstance(last.value, ast.Call):
        return None
    name = getattr(last.value.func, "id", "")
    return name if name.startswith("check_") else None


def names_are_the_fields(notebook):
    for number, cell in code_cells(notebook):
        for node in ast.walk(tree(cell.source)):
            for field in ("id", "name", "arg", "attr"):
                name = getattr(node, field, None)
                words = {*re.split(r"_|(?<=[a-z])(?=[A-Z])", name)} if isinstance(name, str) else ()
                bad = {word.lower() for word in words} & NOT_NAMES
                if bad and name not in TORCH_NAMES:
                    yield f"cell {number}: `{name}`: the book does not say {', '.join(bad)}"


def claims_are_checked(notebook):
    plain = [
        c for _, c in code_cells(notebook) if not (is_export(c) or draws(c) or only_imports(c))
    ]
    tried = [
        cell
        for cell in plain
        if not checker(cell) and "raises-exception" not in cell.metadata.get("tags", [])
    ]
    checked = [cell for cell in tried if checks(cell)]
    if len(checked) < CHECKED_SHARE * len(tried):
        share = f"{len(checked)} of {len(tried)}"
        yield f"{share} cells that compute assert something, {CHECKED_SHARE:.0%} are wanted"


def checks(cell) -> bool:
    asserts = any(isinstance(node, ast.Assert) for node in ast.walk(tree(cell.source)))
    return asserts or any(name.startswith("check_") for name in calls(tree(cell.source)))


def prose_weighs_as_much(notebook):
    text = re.sub(r"\$\$.*?\$\$|\$[^$]*\$|:::.*?:::", " ", prose(notebook), flags=re.S)
    text = text.split("\n## References")[0]
    words = len(re.findall(r"[A-Za-z][\w'’-]*", text))
    lines = sum(code_length(cell.source) for _, cell in code_cells(notebook))
    low, high = WORDS_PER_LINE
    if not low * lines <= words <= high * lines:
        yield f"{words} words to {lines} lines of code: {low} to {high} words a line are wanted"


def exports_are_documented(notebook):
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type != "code" or not is_export(cell):
            continue
        for node in tree(cell.source).body:
            named = isinstance(node, ast.FunctionDef | ast.ClassDef)
            if named and not node.name.startswith("_"):
                yield from (f"cell {number}: {node.name}: {fault}" for fault in faults(node, cell))


def faults(node, cell):
    """What is wrong with the documentation of one exported class or function."""
    first, *rest = (ast.get_docstring(node) or "").split("\n")
    if not first.endswith("."):
        yield "the docstring's first line is one sentence"
    if rest and (rest[0] or not rest[1].startswith("- ")):
        yield "after the first line come an empty line and bullets"
    for line in rest[1:]:
        if not re.match(r"- |  \S", line):
            yield f"the docstring's {line!r:.40} belongs to no bullet"
    constructors = [sub for sub in node.body if getattr(sub, "name", None) == "__init__"]
    for constructor in constructors if isinstance(node, ast.ClassDef) else []:
        arguments = constructor.args.posonlyargs + constructor.args.args[1:]
        for argument in arguments + constructor.args.kwonlyargs:
            line = cell.source.splitlines()[argument.lineno - 1]
            if not argument.annotation or not re.match(rf"\s*{argument.arg}:.*  # \S", line):
                yield f"argument {argument.arg}: a line of its own, with a type and a comment"


KNOWN_TAGS = re.compile(
    r"row-\d+\.\d+|raises-exception|gpu|stderr|timing|nbval-ignore-output|tol=0\.[01]\d*"
)


def tags_are_known(notebook):
    """A tag that is misspelled does nothing, and a wide tolerance compares nothing."""
    for number, cell in enumerate(notebook.cells, 1):
        for tag in cell.metadata.get("tags", []):
            if not KNOWN_TAGS.fullmatch(tag):
                yield f"cell {number}: unknown tag {tag!r}"


RULES = [
    tags_are_known,
    opens_with_title,
    cells_are_short,
    lines_fit,
    prose_stands_between,
    imports_stand_alone,
    figures_are_described,
    ends_as_it_should,
    exercises_can_be_tried,
    names_are_the_fields,
    claims_are_checked,
    prose_weighs_as_much,
    exports_are_documented,
]


def expect_none(complaints):
    if said := "\n".join(complaints):
        pytest.fail(said, pytrace=False)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_chapter(path, rule):
    expect_none(rule(read(path)))


# ---- solutions


def unsolved(chapter, solutions):
    """What a solutions notebook lacks for the exercises of its chapter."""
    if module_of(solutions) != f"exercises.{module_of(chapter)}":
        yield f"exports to {module_of(solutions)}, wanted exercises.{module_of(chapter)}"
    cells = [cell for cell in solutions.cells if cell.cell_type == "code"]
    exported = {
        node.name
        for cell in cells
        if is_export(cell)
        for node in tree(cell.source).body
        if isinstance(node, ast.FunctionDef)
    }
    nodes = [node for c in cells if not is_export(c) for node in ast.walk(tree(c.source))]
    answers = [
        name
        for node in nodes
        if isinstance(node, ast.Compare) and ast.unparse(node).endswith("== 'correct'")
        for name in calls(node)
    ]
    refused = [
        name
        for node in nodes
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "wrong"
        for name in calls(node)
    ]
    for _, _, cell in exercises(chapter):
        name = checker(cell)
        if name not in exported:
            yield f"{name} is not exported"
        if name not in answers:
            yield f'no answer: wanted `assert {name}(…) == "correct"`'
        if name not in refused:
            yield f"no wrong answers: wanted `wrong = [{name}(…), …]`"
    if refused and 'startswith("not yet")' not in "".join(cell.source for cell in cells):
        yield "the wrong answers are not asserted to be refused"


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_exercises_are_solved(path):
    solutions = NBS / "solutions" / path.name
    assert solutions.exists()
    expect_none(unsolved(read(path), read(solutions)))


def test_solutions_belong_to_chapters():
    solutions = {path.name for path in (NBS / "solutions").glob("[0-9]*.ipynb")}
    assert solutions <= {path.name for path in chapters()}


@pytest.mark.parametrize(
    "path", sorted((NBS / "solutions").glob("[0-9]*.ipynb")), ids=lambda path: path.stem
)
@pytest.mark.parametrize(
    "rule",
    [
        tags_are_known,
        cells_are_short,
        lines_fit,
        imports_stand_alone,
        names_are_the_fields,
        exports_are_documented,
    ],
    ids=lambda rule: rule.__name__,
)
def test_solution(path, rule):
    expect_none(rule(read(path)))
