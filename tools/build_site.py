"""Render the book into _site/: `python tools/build_site.py [--serve] [--out FOLDER]`.

The notebooks become pages (pages.py) in a temporary folder with _quarto.yml beside them. Quarto
renders that folder where it is installed, smalldocs where it is not. What both leave open is done
on their HTML: local KaTeX, anchors of equations, figures. Nothing in the site loads from elsewhere.
"""

import argparse
import configparser
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pages
import yaml

ROOT = Path(__file__).parent.parent
ASSETS = Path(__file__).parent / "site_assets"
REMOTE_TAG = re.compile(
    r"<script\b[^>]*\bsrc=[\"'](?:https?:)?//[^>]*>.*?</script>"
    r"|<link\b[^>]*\bhref=[\"'](?:https?:)?//[^>]*>",
    re.S,
)
REMOTE_LOAD = re.compile(
    r"<(?:script|link|img|iframe|source|video|audio|embed|object)\b[^>]*"
    r"\b(?:src|href|data)=[\"']((?:https?:)?//[^\"']+)"
)
REMOTE_STYLE = re.compile(r"url\(\s*[\"']?((?:https?:)?//[^\"')]+)|@import\s+[\"']((?:https?:)?//)")
DISPLAY_MATH = re.compile(r'<span class="math display">((?:(?!</span>).)*?\\tag\{([\d.]+)\})', re.S)


def build(out: Path, *, nbs: Path = ROOT / "nbs", config: Path = ROOT / "_quarto.yml") -> int:
    """Render the site into a folder, replacing the site that is there; the number of pages."""
    if out.exists() and any(out.iterdir()) and not (out / "search.json").exists():
        raise pages.BookError(f"{out}: a built site or an empty folder wanted; it has other files")
    settings = configparser.ConfigParser()
    settings.read(ROOT / "settings.ini")
    about = settings["DEFAULT"]
    paths = listed_notebooks(config, nbs)
    book = pages.read_book(
        nbs, paths, library=about["lib_name"], git_url=about["git_url"], branch=about["branch"]
    )
    with tempfile.TemporaryDirectory(prefix="dlbook-site-") as folder:
        work = Path(folder)
        write_sources(book, nbs, work, config)
        render(work)
        finish(book, nbs, work / "_site")
        if out.exists():
            shutil.rmtree(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(work / "_site", out)
    return len(book.pages)


def listed_notebooks(config: Path, nbs: Path) -> list[str]:
    """The notebooks in the order of the sidebar, which must be exactly those of the book."""
    sidebar = yaml.safe_load(config.read_text(encoding="utf-8"))["website"]["sidebar"]
    listed = list(hrefs(sidebar["contents"]))
    found = {
        path.relative_to(nbs).as_posix()
        for path in nbs.rglob("*.ipynb")
        if not any(part.startswith((".", "_")) for part in path.relative_to(nbs).parts)
    }
    for path in sorted(found - set(listed)):
        raise pages.BookError(f"{config.name}: {path} is missing in the sidebar")
    for path in listed:
        if path not in found:
            raise pages.BookError(f"{config.name}: the sidebar names {path}, which is not in nbs/")
        if listed.count(path) > 1:
            raise pages.BookError(f"{config.name}: the sidebar names {path} twice")
    return listed


def hrefs(contents: list):
    """Every notebook of a sidebar, sections included."""
    for item in contents:
        if isinstance(item, str):
            yield item
        else:
            if str(item.get("href", "")).endswith(".ipynb"):
                yield item["href"]
            yield from hrefs(item.get("contents", []))


def write_sources(book: pages.Book, nbs: Path, work: Path, config: Path):
    """Write what the renderer reads: processed notebooks, files that pages show, _quarto.yml."""
    kept_out = shutil.ignore_patterns("*.ipynb", "*.mplstyle", ".*", "_*")
    shutil.copytree(nbs, work, ignore=kept_out, dirs_exist_ok=True)
    shutil.copy(config, work / "_quarto.yml")
    for page in book.pages:
        target = work / page.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(pages.render(page, book)), encoding="utf-8")


def render(work: Path):
    """Run Quarto where it is installed, else smalldocs; any warning of smalldocs is an error."""
    if shutil.which("quarto"):
        done = subprocess.run(
            ["quarto", "render", str(work), "--no-execute"], capture_output=True, text=True
        )
        if done.returncode:
            raise pages.BookError(f"quarto render failed:\n{done.stdout}{done.stderr}")
        return
    from smalldocs import config, site

    try:
        warnings = site.build(work, quiet=True).warnings
    except (config.BuildError, config.ConfigError) as error:
        raise pages.BookError(f"smalldocs: {error}") from None
    if warnings:
        raise pages.BookError("\n".join(f"smalldocs: {warning}" for warning in warnings))


def finish(book: pages.Book, nbs: Path, site: Path):
    """Add what the renderers leave open, and refuse a site that loads anything from elsewhere."""
    shutil.copytree(ASSETS, site / "assets", ignore=shutil.ignore_patterns("search.js"))
    if (site / "site_libs/fuse").exists():  # where smalldocs looks for its search
        shutil.copy(ASSETS / "search.js", site / "site_libs/fuse/fuse.min.js")
    for page in book.pages:
        notebook = site / "notebooks" / page.path
        notebook.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(nbs / page.path, notebook)
        for target, content in page.images.items():
            (site / target).parent.mkdir(parents=True, exist_ok=True)
            (site / target).write_bytes(content)
    for path in site.rglob("*.html"):
        up = "../" * len(path.relative_to(site).parent.parts)
        text = finish_page(path.read_text(encoding="utf-8"), up)
        if remote := REMOTE_LOAD.search(text):
            raise pages.BookError(f"{path.relative_to(site)}: loads {remote[1]}")
        path.write_text(text, encoding="utf-8")
    for path in site.rglob("*.css"):
        # Bootswatch themes ask for web fonts; ours come from assets/.
        text = re.sub(r"@import url\(https?:[^)]*\);?", "", path.read_text(encoding="utf-8"))
        if remote := REMOTE_STYLE.search(text):
            raise pages.BookError(f"{path.relative_to(site)}: loads {remote[0]}")
        path.write_text(text, encoding="utf-8")


def finish_page(text: str, up: str) -> str:
    """Give a page our style, our KaTeX in the place of a remote one, and anchors of equations."""
    text = REMOTE_TAG.sub("", text)
    text = DISPLAY_MATH.sub(r'<span class="math display" id="eq-\2">\1', text)
    head = f'<link rel="icon" href="{up}assets/favicon.svg">\n'
    if 'class="math' in text:
        head += (
            f'<link rel="stylesheet" href="{up}assets/katex/katex.min.css">\n'
            f'<script defer src="{up}assets/katex/katex.min.js"></script>\n'
        )
    head += f'<link rel="stylesheet" href="{up}assets/book.css">\n'
    head += f'<script defer src="{up}assets/book.js"></script>\n'
    return text.replace("</head>", f"{head}</head>", 1)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """A file server that does not log each request."""

    def log_message(self, *args):
        pass


def server(folder: Path, port: int = 0) -> http.server.ThreadingHTTPServer:
    """A server of a folder on this machine only; port 0 takes a free one."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)


def serve(folder: Path):
    """Serve the site until it is interrupted."""
    try:
        running = server(folder, 8000)
    except OSError:
        running = server(folder)
    print(f"Read the book at http://127.0.0.1:{running.server_port}/ (Ctrl-C stops it)", flush=True)
    with running:
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print()


def main():
    """Build the site, and serve it if asked."""
    parser = argparse.ArgumentParser(description="Render the book into a website.")
    parser.add_argument("--out", type=Path, default=ROOT / "_site", help="folder of the site")
    parser.add_argument("--serve", action="store_true", help="serve the site on this machine")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    try:
        count = build(out)
    except pages.BookError as error:
        sys.exit(f"site: {error}")
    print(f"site: {count} pages in {os.path.relpath(out)}")
    if arguments.serve:
        serve(out)


if __name__ == "__main__":
    main()
