"""Turn notebooks into pages for a site renderer: numbers, references, figures, the API section.

Quarto and smalldocs both read the result, so nothing here relies on what only one of them can do.
"""

import base64
import html
import json
import posixpath
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import chapter_api
import yaml
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

# What prose rewriting must leave alone. Code spans are handled on their own: they may name an API.
VERBATIM = re.compile(
    r"""(?P<escaped>\\.)
    |(?P<fence>^[ ]*(?P<ticks>`{3,}|~{3,})[^\n]*\n.*?^[ ]*(?P=ticks)[ ]*$)
    |(?P<code>(?<!`)(?P<quote>`+)(?!`)(?P<name>.+?)(?<!`)(?P=quote)(?!`))
    |(?P<display>\$\$.+?\$\$)
    |(?P<math>\$(?!\s)(?:\\.|[^$\\])+?(?<!\s)\$(?!\d))
    |(?P<link>!?\[[^\]]*\]\((?P<target>[^)]*)\))
    |(?P<html><[!/a-zA-Z][^>]*>)""",
    re.X | re.S | re.M,
)
EQUATION_TAG = re.compile(r"\\tag\{(\d+\.\d+)\}")
EQUATION_MENTION = re.compile(r"\(((\d{1,2})\.\d{1,2})\)")
MENTION = re.compile(r"(?<![\w@.])@((?:fig|sec|tbl|eq)-[\w-]*\w)")
SECTION = re.compile(r"^#+ +(.+?) *\{[^}]*#(sec-[\w-]+)[^}]*\} *$", re.M)
# A line break between Chinese characters is no space.
CHINESE_BREAK = re.compile(r"(?<=[\u3000-\u9fff\uff00-\uffef])\n(?=[\u3000-\u9fff\uff00-\uffef])")
NO_ALT = re.compile(r"!\[\s*\]\(")
DIRECTIVE = re.compile(r"^\s*#\s*\| ?(.*)$")
# Directives of nbdev: words without a colon. The others are YAML, as Quarto reads them.
NBDEV = re.compile(
    r"(export\w*|hide\w*|default_exp|eval|exec_doc|filter_stream|hide_line)\b(?!-)(.*)"
)
FOR_RENDERER = ("echo", "output", "include", "code-fold", "code-summary", "code-overflow")


class BookError(Exception):
    """A fault in the book that the message locates: notebook, cell, what was wanted, what came."""


@dataclass
class Page:
    """One notebook and what other pages may refer to in it."""

    path: PurePosixPath  # relative to nbs/, such as solutions/01_perceptron.ipynb
    cells: list
    metadata: dict
    number: str = ""  # "1" for 01_perceptron, "S1" for its solutions, "" for pages without number
    title: str = ""
    subtitle: str = ""
    module: str = ""  # such as dlbook.perceptron
    figures: dict = field(default_factory=dict)  # label -> "1.2"
    equations: set = field(default_factory=set)  # {"1.2"}
    sections: dict = field(default_factory=dict)  # label -> heading
    api: list = field(default_factory=list)  # chapter_api.Name, in the chapter's order
    images: dict = field(default_factory=dict)  # path in the site -> bytes, filled by `render`

    def place(self, index: int) -> str:
        """Name a cell as messages do: by notebook, position and first line."""
        first = source(self.cells[index]).strip().split("\n")[0][:60]
        return f"{self.path}, cell {index} ({first!r})"


@dataclass
class Book:
    """All pages, and where each equation, figure, section and API name of the book is."""

    pages: list[Page]
    git_url: str
    branch: str
    equations: dict = field(default_factory=dict)  # "1.2" -> Page
    labels: dict = field(default_factory=dict)  # "fig-xor" -> (Page, "Figure 1.2")
    names: dict = field(default_factory=dict)  # "Linear" and "dlbook.layers.Linear" -> Page


# ---------------------------------------------------------------- reading


def source(cell: dict) -> str:
    """The source of a cell, which a notebook may hold as a list of lines."""
    text = cell["source"]
    return text if isinstance(text, str) else "".join(text)


def read_book(nbs: Path, paths: list[str], *, library: str, git_url: str, branch: str) -> Book:
    """Read the notebooks and index everything that can be referred to."""
    book = Book([read_page(nbs, PurePosixPath(path), library) for path in paths], git_url, branch)
    for page in book.pages:
        for tag in page.equations:
            book.equations[tag] = page
        for label, number in page.figures.items():
            declare(book, label, page, f"Figure {number}")
        for label, heading in page.sections.items():
            declare(book, label, page, heading)
        for name in page.api:
            book.names.setdefault(name.name, page)
            book.names[f"{name.module}.{name.name}"] = page
    return book


def declare(book: Book, label: str, page: Page, text: str):
    """Index a label, which must be the only one of its name in the book."""
    if label in book.labels:
        raise BookError(
            f"{page.path}: label {label} is already used in {book.labels[label][0].path}"
        )
    book.labels[label] = (page, text)


def read_page(nbs: Path, path: PurePosixPath, library: str) -> Page:
    """Read one notebook: title, numbers of equations and figures, exported names."""
    notebook = json.loads((nbs / path).read_text(encoding="utf-8"))
    page = Page(path, notebook["cells"], notebook["metadata"], page_number(path))
    page.title, page.subtitle, _ = title_cell(page)
    for index, cell in enumerate(page.cells):
        if cell["cell_type"] == "markdown":
            read_markdown(page, index)
        elif cell["cell_type"] == "code":
            read_code(page, index, library)
    return page


def page_number(path: PurePosixPath) -> str:
    """The number of a page, from its file name: 01_perceptron is 1, its solutions are S1."""
    number = re.match(r"(\d+)_", path.name)
    if not number:
        return ""
    return ("S" if path.parent.name == "solutions" else "") + str(int(number[1]))


def title_cell(page: Page) -> tuple[str, str, str]:
    """Title, subtitle and remaining text of the first Markdown cell."""
    first = source(page.cells[0]) if page.cells else ""
    found = re.match(r"# +(.+)\n*((?:>.*\n?)*)", first)
    if not found:
        raise BookError(
            f"{page.path}, cell 0: a notebook starts with '# Title', not {first[:40]!r}"
        )
    subtitle = " ".join(line.lstrip("> ") for line in found[2].split("\n")).strip()
    return found[1].strip(), subtitle, first[found.end() :]


def read_markdown(page: Page, index: int):
    """Note the equations and labelled sections of a Markdown cell."""
    text = source(page.cells[index])
    if NO_ALT.search(text):
        raise BookError(f"{page.place(index)}: an image has no alt text: write ![what it shows](…)")
    for tag in EQUATION_TAG.findall(text):
        if tag.split(".")[0] != page.number:
            wanted = f"{page.number or 'no number'}.…"
            raise BookError(f"{page.place(index)}: equation tag {wanted} wanted, not {tag}")
        if tag in page.equations:
            raise BookError(f"{page.place(index)}: equation ({tag}) is numbered twice")
        page.equations.add(tag)
    for heading, label in SECTION.findall(text):
        page.sections[label] = heading


def read_code(page: Page, index: int, library: str):
    """Note the module, the exported names and the figure of a code cell."""
    words, options, code = directives(page, index)
    for word, argument in words:
        if word == "default_exp":
            page.module = f"{library}.{argument.replace('/', '.')}"
        elif word in ("export", "exports"):
            module = f"{library}.{argument}" if argument else page.module
            try:
                page.api += chapter_api.exported_names(code, module)
            except SyntaxError as error:
                raise BookError(f"{page.place(index)}: {error}") from None
    label = str(options.get("label", ""))
    if label in page.figures:
        raise BookError(f"{page.place(index)}: label {label} is used twice")
    if label.startswith("fig-"):
        number = len(page.figures) + 1
        page.figures[label] = f"{page.number}.{number}" if page.number else str(number)


def directives(page: Page, index: int) -> tuple[list[tuple[str, str]], dict, str]:
    """Split a code cell into nbdev's directives, Quarto's options and the code to show."""
    lines = source(page.cells[index]).split("\n")
    words, options = [], []
    while lines and (found := DIRECTIVE.match(lines[0])):
        lines.pop(0)
        nbdev = NBDEV.fullmatch(found[1])
        if nbdev:
            words.append((nbdev[1], nbdev[2].strip(" :")))
        else:
            options.append(found[1])
    try:
        parsed = yaml.safe_load("\n".join(options)) or {}
    except yaml.YAMLError as error:
        raise BookError(f"{page.place(index)}: {' '.join(str(error).split())}") from None
    if not isinstance(parsed, dict):
        raise BookError(f"{page.place(index)}: '#| name: value' wanted, not {options}")
    return words, parsed, "\n".join(lines).strip("\n")


# ---------------------------------------------------------------- references in prose


def relative(target: PurePosixPath, page: Page) -> str:
    """The link from a page to another file of the book."""
    up = "../" * len(page.path.parent.parts)
    return up + str(target) if target != page.path else page.path.name


def link_references(text: str, page: Page, place: str, book: Book) -> str:
    """Turn (1.2), @fig-name and `Name` in Markdown into links; code and formulas stay."""
    parts, end = [], 0
    for verbatim in VERBATIM.finditer(text):
        parts.append(link_mentions(text[end : verbatim.start()], page, place, book))
        check_link(verbatim["target"], page, place, book)
        parts.append(link_name(verbatim, page, book))
        end = verbatim.end()
    parts.append(link_mentions(text[end:], page, place, book))
    return "".join(parts)


def link_mentions(text: str, page: Page, place: str, book: Book) -> str:
    """Link the equations and labels that a piece of plain prose mentions."""
    chapters = {page.number for page in book.pages}

    def equation(found: re.Match) -> str:
        tag, chapter = found.groups()
        if chapter not in chapters:
            return found[0]
        if tag not in book.equations:
            raise BookError(
                f"{place}: there is no equation ({tag}); a plain number is written without ( )"
            )
        return f"[({tag})]({relative(book.equations[tag].path, page)}#eq-{tag})"

    def label(found: re.Match) -> str:
        if found[1] not in book.labels:
            raise BookError(f"{place}: there is no {found[0]} in the book")
        target, words = book.labels[found[1]]
        return f"[{words}]({relative(target.path, page)}#{found[1]})"

    return MENTION.sub(label, EQUATION_MENTION.sub(equation, text))


def check_link(target: str | None, page: Page, place: str, book: Book):
    """Refuse a link to a notebook that is not in the book."""
    path = (target or "").split("#")[0]
    if path.endswith(".ipynb") and "://" not in path:
        linked = posixpath.normpath(posixpath.join(page.path.parent, path))
        if PurePosixPath(linked) not in {page.path for page in book.pages}:
            raise BookError(f"{place}: there is no notebook {path} in the book to link to")


def link_name(verbatim: re.Match, page: Page, book: Book) -> str:
    """Link a code span to the API section of an earlier or later page that exports the name."""
    name = verbatim["name"]
    target = book.names.get(name) if name else None
    if target is None or target is page:
        return verbatim[0]
    return f"[{verbatim[0]}]({relative(target.path, page)}#{chapter_api.anchor(name)})"


# ---------------------------------------------------------------- rendering


def inline_html(text: str) -> str:
    """Render a caption or comment: Markdown and formulas on one line, as HTML."""
    reader = MarkdownIt("commonmark", {"html": False}).use(dollarmath_plugin)
    reader.add_render_rule(
        "math_inline",
        lambda self, tokens, i, *_: (
            f'<span class="math inline">\\({html.escape(tokens[i].content)}\\)</span>'
        ),
    )
    rendered = reader.renderInline(text)
    return re.sub(r'(href="[^":]*)\.ipynb', r"\1.html", rendered)


def markdown(text: str) -> dict:
    """A Markdown cell."""
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def render(page: Page, book: Book) -> dict:
    """The notebook that the site renderer reads in the place of the chapter."""
    cells = [front_matter(page), markdown(page_head(page, book))]
    for index, cell in enumerate(page.cells):
        if cell["cell_type"] == "markdown":
            text = title_cell(page)[2] if index == 0 else source(cell)
            text = link_references(text, page, page.place(index), book)
            cells.append(markdown(CHINESE_BREAK.sub("", text)))
        elif cell["cell_type"] == "code":
            cells += code_cells(page, index, book)
    if page.api:
        cells.append(markdown(api_section(page, book)))
    for index, cell in enumerate(cells):
        cell["id"] = f"cell-{index}"
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def front_matter(page: Page) -> dict:
    """The raw cell with the title; a chapter's number stands before it."""
    numbered = page.number.isdigit()
    front = {"title": f"{page.number}\u2002{page.title}" if numbered else page.title}
    text = yaml.safe_dump(front, allow_unicode=True, width=10_000, sort_keys=False)
    return {"cell_type": "raw", "metadata": {}, "source": f"---\n{text}---"}


def page_head(page: Page, book: Book) -> str:
    """The subtitle, links to the notebook, and when and on what its outputs were last verified."""
    subtitle = inline_html(link_references(page.subtitle, page, page.place(0), book))
    up = "../" * len(page.path.parent.parts)
    links = (
        f'<a href="{book.git_url}/blob/{book.branch}/nbs/{page.path}">Source on GitHub</a>'
        f'<a href="{up}notebooks/{page.path}" download>Download the notebook</a>'
    )
    provenance = page.metadata.get("dlbook", {})
    facts = verified(provenance.get("recorded", {})) + verified_gpu(provenance.get("gpu", {}))
    return (
        f'<p class="subtitle">{subtitle}</p>\n\n<div class="page-facts"><p>{links}</p>{facts}</div>'
    )


def verified(run: dict) -> str:
    """The line that says when, with what and how long the notebook last ran."""
    if not run:
        return ""
    names = {"python": "Python", "numpy": "NumPy", "torch": "PyTorch"}
    versions = ", ".join(f"{title} {run[key]}" for key, title in names.items() if run.get(key))
    seconds = run.get("seconds", 0)
    length = f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"
    machine = html.escape(f"{run.get('cores', '?')} cores of {run.get('cpu', 'an unnamed CPU')}")
    return (
        f'<p class="verified">Last verified <time>{run.get("date", "")}</time> '
        f"with {versions}; runs in {length} on {machine}.</p>"
    )


def verified_gpu(run: dict) -> str:
    """The line about the GPU cells, where they were recorded."""
    if not run:
        return ""
    device = html.escape(f"{run.get('device')} with PyTorch {run.get('torch')}")
    return f'<p class="verified">GPU cells recorded <time>{run.get("date")}</time> on {device}.</p>'


def code_cells(page: Page, index: int, book: Book) -> list[dict]:
    """One code cell as the reader sees it: no directives, figures with number and caption."""
    words, options, code = directives(page, index)
    names = {word for word, _ in words}
    if "hide" in names or not code.strip():
        return []
    cell = page.cells[index]
    kept = {key: options[key] for key in FOR_RENDERER if key in options}
    if "hide_input" in names:
        kept["echo"] = False
    if "hide_output" in names:
        kept["output"] = False
    header = "".join(f"#| {key}: {json.dumps(value)}\n" for key, value in kept.items())
    shown = {
        "cell_type": "code",
        "metadata": {},
        "execution_count": None,
        "source": header + code,
        "outputs": shown_outputs(page, index, options, book),
    }
    exported = dict(words).get("export", dict(words).get("exports"))
    on_gpu = "gpu" in cell["metadata"].get("tags", [])
    if exported is not None:
        module = f"{page.module.split('.')[0]}.{exported}" if exported else page.module
        return framed(shown, f'.exported data-label="{module}"')
    if on_gpu:
        note = "" if shown["outputs"] else ": its output has not been recorded yet"
        return framed(shown, f'.needs-gpu data-label="needs a GPU{note}"')
    return [shown]


def framed(cell: dict, attributes: str) -> list[dict]:
    """A cell inside a div with a label."""
    return [markdown(f":::: {{{attributes}}}"), cell, markdown("::::")]


def shown_outputs(page: Page, index: int, options: dict, book: Book) -> list[dict]:
    """The stored outputs, figures replaced by numbered ones and errors by their last line."""
    label, place = str(options.get("label", "")), page.place(index)
    outputs, figures = [], 0
    for output in page.cells[index].get("outputs", []):
        picture = {k: v for k, v in output.get("data", {}).items() if k.startswith("image/")}
        if picture:
            figures += 1
            output = display(figure(page, place, label, options, output, book))
        elif output["output_type"] == "error":
            message = f"{output['ename']}: {output['evalue']}"
            output = {**output, "traceback": [message]}
        outputs.append(output)
    on_gpu = "gpu" in page.cells[index]["metadata"].get("tags", [])
    if figures > 1 or (label.startswith("fig-") and not figures and not on_gpu):
        raise BookError(f"{place}: one figure wanted in its output, not {figures}")
    return outputs


def display(text: str) -> dict:
    """An output of HTML."""
    return {"output_type": "display_data", "metadata": {}, "data": {"text/html": text}}


def figure(page: Page, place: str, label: str, options: dict, output: dict, book: Book) -> str:
    """A numbered figure with caption and alt text; the picture becomes a file of the site."""
    if not label.startswith("fig-"):
        raise BookError(f"{place}: a figure needs a line '#| label: fig-…'")
    for key in ("fig-cap", "fig-alt"):
        if not isinstance(options.get(key), str) or not options[key].strip():
            raise BookError(f"{place}: a figure needs a line '#| {key}: …', not {options.get(key)}")
    mime, data = next(item for item in output["data"].items() if item[0].startswith("image/"))
    data = data if isinstance(data, str) else "".join(data)
    if mime == "image/png":
        suffix, content = "png", base64.b64decode(data)
        # A picture stored at twice its size, for sharp screens, has a note of the size to show.
        size = output.get("metadata", {}).get(mime) or {}
        natural = struct.unpack(">II", content[16:24])
        width, height = size.get("width", natural[0]), size.get("height", natural[1])
        dimensions = f' width="{width}" height="{height}"'
    elif mime == "image/svg+xml":
        suffix, content, dimensions = "svg", data.encode(), ""
    else:
        raise BookError(f"{place}: a figure is a PNG or an SVG, not {mime}")
    target = f"figures/{page.path.with_suffix('')}/{label}.{suffix}"
    page.images[target] = content
    up = "../" * len(page.path.parent.parts)
    caption = inline_html(link_references(options["fig-cap"], page, place, book))
    return (
        f'<figure class="book-figure" id="{label}"><img src="{up}{target}"'
        f' alt="{html.escape(options["fig-alt"])}"{dimensions} loading="lazy">'
        f'<figcaption><span class="figure-number">Figure {page.figures[label]}</span> '
        f"{caption}</figcaption></figure>"
    )


def api_section(page: Page, book: Book) -> str:
    """The generated section at the end of a page: what each exported name takes and does."""

    def line(text: str) -> str:
        return inline_html(link_references(text, page, f"{page.path}, API of {page.module}", book))

    modules = sorted({name.module for name in page.api})
    rows = [
        f'<tr><td><a href="#{chapter_api.anchor(name.name)}"><code>{name.name}</code></a></td>'
        f"<td>{line(name.summary)}</td></tr>"
        for name in page.api
    ]
    overview = f'<table class="api-overview"><tbody>{"".join(rows)}</tbody></table>'
    where = " and ".join(f"`{module}`" for module in modules)
    parts = [f"## API {{#api}}\n\nWhat this chapter adds to {where}.\n\n{overview}"]
    for name in page.api:
        # Bullets begin with a key word, such as forward, parameters, raises.
        docstring = re.sub(r"^- ([\w, ]+):", r"- *\1*:", name.docstring, flags=re.M)
        docstring = link_references(docstring, page, f"{page.path}, {name.name}", book)
        parts += [
            f"### `{name.name}` {{#{chapter_api.anchor(name.name)}}}",
            f"```python\nfrom {name.module} import {name.name}\n\n{name.signature}\n```",
            docstring,
            parameter_table(name, line),
            method_list(name, line),
        ]
    return "\n\n".join(part for part in parts if part)


def parameter_table(name: chapter_api.Name, line) -> str:
    """The documented parameters, and what comes back, as an HTML table."""
    if not any(p.type or p.comment for p in name.parameters):
        return ""
    columns = {
        "argument": ["returns" if p.name == "return" else code(p.name) for p in name.parameters],
        "type": [code(p.type) for p in name.parameters],
        "default": [code(p.default) for p in name.parameters],
        "meaning": [line(p.comment) for p in name.parameters],
    }
    return table("api-parameters", {title: cells for title, cells in columns.items() if any(cells)})


def method_list(name: chapter_api.Name, line) -> str:
    """The public methods that have a docstring of their own."""
    if not name.methods:
        return ""
    signatures, summaries = zip(*name.methods, strict=True)
    columns = {"method": map(code, signatures), "meaning": map(line, summaries)}
    return table("api-methods", columns)


def table(kind: str, columns: dict) -> str:
    """An HTML table from its columns of HTML, in a box that scrolls where it is too wide."""
    head = "".join(f"<th>{title}</th>" for title in columns)
    rows = zip(*columns.values(), strict=True)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="sd-table"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def code(text: str) -> str:
    """Inline code, or nothing."""
    return f"<code>{html.escape(text)}</code>" if text else ""
