"""The site: it builds, nothing in it is broken, and a browser shows every page as it should.

Built by smalldocs even where Quarto is installed, so that the tests see the same everywhere.
"""

import ast
import html.parser
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pages
import pytest
from book import NBS, ROOT, directives, module_of, notebooks, read

PAGES = [path.relative_to(NBS).with_suffix(".html").as_posix() for path in notebooks()]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
QUIET = (
    "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
    "--disable-sync --no-first-run"
).split()
LOADS = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


@pytest.fixture(scope="module")
def driver():
    # Loaded by path: `import site` is the standard library's.
    spec = importlib.util.spec_from_file_location("site_driver", ROOT / "tools" / "build_site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("site") / "_site"
    command = [sys.executable, str(ROOT / "tools" / "build_site.py"), "--out", str(out)]
    without_quarto = {**os.environ, "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=without_quarto)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"site: {len(PAGES)} pages")
    return out


# ---------------------------------------------------------------- what the files say


class Reader(html.parser.HTMLParser):
    """The ids, links, loaded files, images and text of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.ids, self.links, self.loads, self.images, self.words = set(), [], [], [], []
        self.feed(text)
        self.text = "".join(self.words)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.add(given.get("id"))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if given.get(LOADS.get(tag)):
            self.loads.append(given[LOADS[tag]])
        if tag == "img":
            self.images.append(given)

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def contents(site) -> dict[Path, Reader]:
    return {path: Reader(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_notebook_is_a_page(site):
    built = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert built == set(PAGES)


def test_links_lead_somewhere(contents):
    broken = []
    for path, page in contents.items():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme:
                known = parts.scheme in ("https", "http") and "." in parts.netloc
                broken += [] if known and " " not in link else [f"{path.name}: {link}"]
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            missing = not target.is_file()
            if parts.fragment and not missing and target.suffix == ".html":
                missing = unquote(parts.fragment) not in contents[target].ids
            broken += [f"{path.name}: {link}"] if missing else []
    assert not broken, "\n".join(broken)


def test_nothing_is_loaded_from_another_host(site, contents):
    remote = [f"{p.name}: {u}" for p, page in contents.items() for u in page.loads if "//" in u]
    for path in site.rglob("*.css"):
        styles = path.read_text(encoding="utf-8")
        found = re.findall(r"url\(\s*[\"']?(?:https?:)?//[^)]*|@import[^;]*//[^;]*", styles)
        remote += [f"{path.name}: {load}" for load in found]
    assert not remote, "\n".join(remote)


def test_figures_have_number_caption_and_alt_text(contents):
    images = [(path.name, image) for path, page in contents.items() for image in page.images]
    assert images, "the book shows no figure"
    assert not [name for name, image in images if not (image.get("alt") or "").strip()]
    for path in contents:
        captions = re.findall(r"<figcaption.*?</figcaption>", path.read_text("utf-8"), flags=re.S)
        for caption in captions:
            said = " ".join(re.sub(r"<[^>]+>", " ", caption).split())
            assert re.fullmatch(r"Figure (S?\d+\.)?\d+ .{10,}", said), f"{path.name}: {said!r}"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_the_notebook_whole(name, site, contents):
    notebook = read((NBS / name).with_suffix(".ipynb"))
    page = contents[site / name]
    figures = [d for cell in notebook.cells for d in directives(cell) if d.startswith("label: fig")]
    captions = re.findall(r"Figure (?:S?\d+\.)?\d+ ", page.text)
    assert len(captions) >= len(figures)
    assert "#|" not in page.text, "a directive is visible"
    for cell in notebook.cells:
        hidden = {"hide", "hide_input", "echo: false", "include: false"} & set(directives(cell))
        if cell.cell_type == "code" and not hidden:
            code = [line for line in cell.source.split("\n") if not line.startswith("#|")]
            assert "\n".join(code).strip() in page.text, f"not shown: {cell.source[:80]}"
    copy = site / "notebooks" / Path(name).with_suffix(".ipynb")
    assert (
        json.loads(copy.read_text())["cells"]
        == json.loads((NBS / name).with_suffix(".ipynb").read_text())["cells"]
    )
    assert any(link.endswith(f"/nbs/{Path(name).with_suffix('.ipynb')}") for link in page.links)
    recorded = notebook.metadata.get("dlbook", {}).get("recorded")
    if recorded:
        assert f"Last verified {recorded['date']} with Python {recorded['python']}" in page.text


@pytest.mark.parametrize("name", PAGES)
def test_a_page_documents_what_the_notebook_exports(name, site, contents):
    module = module_of(read((NBS / name).with_suffix(".ipynb")))
    if module is None:
        return
    source = ROOT / "dlbook" / (module.replace(".", "/") + ".py")
    kinds = ast.FunctionDef | ast.ClassDef
    public = [
        node
        for node in ast.parse(source.read_text()).body
        if isinstance(node, kinds) and node.name[0] != "_"
    ]
    if "-" in name:  # only opens the second module of a chapter
        (name,) = (page for page in PAGES if page.startswith(f"{name[:2]}_"))
    assert public
    for node in public:
        assert f"api-{node.name}" in contents[site / name].ids


# ---------------------------------------------------------------- what the build refuses


def book_of(tmp_path: Path, *cells: dict) -> pages.Book:
    """A book of one chapter, which starts with its title."""
    title = {"cell_type": "markdown", "metadata": {}, "source": "# Title\n\n> subtitle"}
    notebook = {"cells": [title, *cells], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "01_one.ipynb").write_text(json.dumps(notebook))
    return pages.read_book(
        tmp_path, ["01_one.ipynb"], library="dlbook", git_url="https://example.org", branch="main"
    )


def prose(text: str) -> dict:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def picture(directive_lines: str) -> dict:
    one_pixel = (
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJ"
        "RU5ErkJggg=="
    )
    output = {"output_type": "display_data", "metadata": {}, "data": {"image/png": one_pixel}}
    source = f"{directive_lines}\nplt.plot()"
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": [output]}


WHOLE = '#| label: fig-a\n#| fig-cap: "A caption"\n#| fig-alt: "What it shows"'


def test_references_become_links(tmp_path):
    text = "See (1.1), @fig-a and `(1.1)`, not $(1.1)$ nor (0.5).\n\n$$ x \\tag{1.1} $$"
    book = book_of(tmp_path, prose(text), picture(WHOLE))
    rendered = pages.render(book.pages[0], book)
    shown = "".join(cell["source"] for cell in rendered["cells"])
    assert "[(1.1)](01_one.ipynb#eq-1.1)" in shown and shown.count("#eq-1.1") == 1
    assert "[Figure 1.1](01_one.ipynb#fig-a)" in shown
    assert "nor (0.5)." in shown


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([prose("By equation (1.7) it follows.")], "no equation (1.7)"),
        ([prose("See @fig-b."), picture(WHOLE)], "no @fig-b"),
        ([prose("See [two](02_two.ipynb).")], "no notebook 02_two.ipynb"),
        ([prose("$$ x \\tag{2.1} $$")], "equation tag 1.… wanted, not 2.1"),
        ([prose("$$ x \\tag{1.1} $$\n\n$$ y \\tag{1.1} $$")], "numbered twice"),
        ([prose("![](picture.png)")], "no alt text"),
        ([picture("")], "label: fig-"),
        ([picture("#| label: fig-a\n#| fig-alt: an alt text")], "fig-cap"),
        ([picture("#| label: fig-a\n#| fig-cap: a caption")], "fig-alt"),
        ([{**picture(WHOLE), "outputs": []}], "one figure wanted"),
        ([picture(WHOLE), picture(WHOLE)], "fig-a is used twice"),
    ],
)
def test_a_faulty_chapter_is_refused(tmp_path, cells, message):
    with pytest.raises(pages.BookError, match=re.escape(message)) as refused:
        book = book_of(tmp_path, *cells)
        pages.render(book.pages[0], book)
    assert str(refused.value).startswith("01_one.ipynb")


def test_sidebar_and_notebooks_must_agree(tmp_path, driver):
    (tmp_path / "nbs").mkdir()
    (tmp_path / "nbs" / "index.ipynb").touch()
    config = tmp_path / "_quarto.yml"
    config.write_text("website: {sidebar: {contents: [index.ipynb, 01_one.ipynb]}}")
    with pytest.raises(pages.BookError, match=r"names 01_one\.ipynb, which is not in nbs/"):
        driver.listed_notebooks(config, tmp_path / "nbs")
    config.write_text("website: {sidebar: {contents: []}}")
    with pytest.raises(pages.BookError, match=r"index\.ipynb is missing in the sidebar"):
        driver.listed_notebooks(config, tmp_path / "nbs")


def test_a_folder_with_other_files_is_not_emptied(tmp_path, driver):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(pages.BookError, match="has other files"):
        driver.build(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_quarto_page_gets_local_mathematics(driver):
    # Quarto is not needed to check what the driver does to its pages.
    page = (
        '<head><script src="https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-chtml-full.js"></script>'
        '</head><p><span class="math display">\\[x = 1 \\tag{3.2}\\]</span></p>'
    )
    finished = driver.finish_page(page, "../")
    assert "https:" not in finished
    assert '<span class="math display" id="eq-3.2">' in finished
    assert 'src="../assets/katex/katex.min.js"' in finished


# ---------------------------------------------------------------- what a browser shows


@pytest.fixture(scope="module")
def browser():
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser found (looked for {', '.join(BROWSERS)})")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=QUIET)
        yield running
        running.close()


@pytest.fixture(scope="module")
def address(site, driver) -> str:
    with driver.server(site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def tab(browser):
    tab = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield tab
    tab.close()


@pytest.mark.parametrize("name", PAGES)
def test_page_in_browser(name, tab, address):
    faults = []
    tab.on("console", lambda m: m.type in ("error", "warning") and faults.append(m.text))
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("requestfailed", lambda request: faults.append(f"failed: {request.url}"))
    tab.on("request", lambda r: not r.url.startswith((address, "data:")) and faults.append(r.url))
    tab.goto(address + name)
    tab.wait_for_load_state("load")
    formulas = tab.locator(".math").count()
    assert tab.locator(".math .katex").count() >= formulas
    assert tab.locator(".katex-error").count() == 0
    prose = tab.evaluate(
        "[...document.querySelectorAll('main p, main li, main td')].map(e => e.innerText).join()"
    )
    assert "$$" not in prose and "\\(" not in prose and ":::" not in prose
    right_edges = (
        "[...document.querySelectorAll('.equation-number')]"
        ".map(e => e.getBoundingClientRect().right)"
    )
    for width in (1280, 390):
        tab.set_viewport_size({"width": width, "height": 800})
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls"
        assert all(0 < x <= width for x in tab.evaluate(right_edges)), "a number is out of sight"
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("Rosenblatt", "01_perceptron.html"),
        ("Hessian", "02_derivatives.html"),
        ("numerical_gradient", "02_derivatives.html#api-numerical_gradient"),
    ],
)
def test_search_finds_the_page(word, wanted, tab, address):
    tab.goto(address + "index.html")
    tab.fill("input[type=search]", word)
    first = tab.locator(".search-result").first
    assert wanted in first.get_attribute("href")
    first.click()
    tab.wait_for_url(f"**/{wanted.split('#')[0]}*")
    assert word.lower() in tab.inner_text("main").lower()


def test_search_refuses_a_word_that_is_nowhere(tab, address):
    tab.goto(address + "index.html")
    tab.fill("input[type=search]", "xylophonist")
    assert tab.locator(".search-none").inner_text() == "No results"


def test_dark_theme(tab, address):
    background = "getComputedStyle(document.body).backgroundColor"
    tab.goto(address + "01_perceptron.html")
    light = tab.evaluate(background)
    tab.click(".quarto-color-scheme-toggle")
    tab.wait_for_function(f"{background} !== '{light}'")
    dark = tab.evaluate(background)
    assert sum(channels(dark)) < 150 < 600 < sum(channels(light))
    assert sum(channels(tab.evaluate("getComputedStyle(document.body).color"))) > 500
    paper = "getComputedStyle(document.querySelector('.book-figure img')).backgroundColor"
    assert channels(tab.evaluate(paper)) == [255, 255, 255], "figures stay on white"
    tab.reload()
    assert tab.evaluate(background) == dark, "the choice is kept"


def channels(color: str) -> list[int]:
    """Red, green and blue of a computed colour."""
    return [int(value) for value in re.findall(r"\d+", color)[:3]]
