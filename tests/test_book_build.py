"""The files of the built site, what the book's extension makes of a chapter, and what the build refuses."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest
from browser import PAGES, ROOT, site  # noqa: F401

spec = importlib.util.spec_from_file_location("book_site", ROOT / ".ci" / "book_site.py")
book_site = importlib.util.module_from_spec(spec)
spec.loader.exec_module(book_site)


# The files ------------------------------------------------------------------------------------------------------------


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.targets: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.targets.update(filter(None, (given.get("id"), given.get("name"))))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])


def read_links(path: Path) -> Links:
    links = Links()
    links.feed(path.read_text())
    return links


def dead_links(root: Path) -> list[str]:
    pages = {path.resolve(): read_links(path) for path in root.rglob("*.html") if "_static" not in path.parts}
    dead = []
    for page, read in pages.items():
        for link in read.links:
            if urlparse(link).scheme:
                continue
            place, fragment = urldefrag(link)
            target = (page.parent / unquote(place)).resolve() if place else page
            marks = pages[target].targets if fragment and target in pages else {unquote(fragment)}
            dead += [] if target.exists() and unquote(fragment) in marks else [f"{page.name}: {link}"]
    return dead


def test_site_has_no_dead_link(site):
    assert dead_links(site) == []


def test_dead_links_finds_them(tmp_path):
    links = "".join(f'<a href="{link}"></a>' for link in ("#x", "#y", "b.html", "a.html#x", "https://example.org"))
    (tmp_path / "a.html").write_text(f'<p id="x">{links}</p>')
    assert dead_links(tmp_path) == ["a.html: #y", "a.html: b.html"]


def test_site_holds_no_widget_and_no_script_from_elsewhere(site):
    for path in PAGES:
        text = (site / path).read_text()
        assert "jupyter.widget" not in text, path
        assert re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"(?:https?:)?//[^\"]*\"", text) == [], path


# The extension --------------------------------------------------------------------------------------------------------

TEXT = {"output_type": "stream", "name": "stdout", "text": "a"}


def output(data: dict, **latentlib) -> dict:
    return {"output_type": "display_data", "metadata": {"latentlib": latentlib}, "data": data}


def picture(**figure) -> dict:
    return output({"image/png": "aGk=", "text/plain": "a"}, **figure)


def code_cell(*outputs: dict) -> dict:
    cell = {"cell_type": "code", "id": "c", "source": "draw()", "metadata": {"tags": ["live"]}, "execution_count": 1}
    return {**cell, "outputs": list(outputs)}


WIDGET = output({book_site.WIDGET_VIEW: {}, "text/plain": "VBox()"})
CAPTION = output({"text/markdown": "A line."}, is_caption=True)


def test_split_cell_keeps_a_cell_without_figures():
    assert book_site.split_cell(code_cell(TEXT)) == [code_cell(TEXT)]
    assert book_site.split_cell({"cell_type": "markdown", "source": "a"}) == [{"cell_type": "markdown", "source": "a"}]


def test_split_cell_drops_widget_views_and_nothing_else():
    assert book_site.split_cell(code_cell(TEXT, WIDGET)) == [code_cell(TEXT)]


def test_split_cell_gives_every_figure_its_own_cell_in_order():
    one, two = picture(alt="one", caption="One.", target="fig-one"), picture(alt="two")
    code, first, second, rest = book_site.split_cell(code_cell(TEXT, one, CAPTION, two, TEXT))
    assert code == code_cell(TEXT)
    assert first["metadata"]["mystnb"] == {"image": {"alt": "one"}, "figure": {"caption": "One.", "name": "fig-one"}}
    assert second["metadata"]["mystnb"] == {"image": {"alt": "two"}}
    assert rest["outputs"] == [TEXT] and "mystnb" not in rest["metadata"]
    assert all(part["metadata"]["tags"] == ["remove-input"] for part in (first, second, rest))
    assert len({part["id"] for part in (code, first, second, rest)}) == 4


def test_public_api_shows_a_name_once_under_its_public_face():
    from latentlib import collapse, equilibrium

    shown = dict((module.__name__, members) for module, members in book_site.public_api([collapse, equilibrium]))
    assert {"equilibrium", "price"} <= shown["latentlib.collapse"].keys()
    assert not shown["latentlib.collapse"].keys() & shown["latentlib.equilibrium"].keys()
    assert not any(name.startswith("_") for members in shown.values() for name in members)


def build(book: Path, *toc: str) -> subprocess.CompletedProcess:
    """`jupyter-book build -n -W --keep-going` with this book's settings and other pages."""
    shutil.copy(ROOT / "_config.yml", book)
    shutil.copytree(ROOT / ".ci", book / ".ci")
    shutil.copytree(ROOT / "book" / "_static", book / "book" / "_static")
    shutil.copy(ROOT / "book" / "references.bib", book / "book")
    chapters = "".join(f"- file: {page}\n" for page in toc)
    (book / "_toc.yml").write_text(f"format: jb-book\nroot: book/intro\nchapters:\n{chapters}")
    command = "from jupyter_book.cli.main import main; main()"
    options = ["build", ".", "--path-output", "book", "-n", "-W", "--keep-going", "-q"]
    return subprocess.run([sys.executable, "-c", command, *options], cwd=book, capture_output=True, text=True)


@pytest.mark.slow
def test_build_refuses_broken_pages(tmp_path):
    """A reference, a term, a citation and an image without alternative text, in Markdown and in a chapter."""
    pages = tmp_path / "book"
    pages.mkdir()
    broken = "{ref}`nowhere` {term}`no term` {cite}`nobody` {doc}`nothing`"
    (pages / "intro.md").write_text(f"# A\n\n{broken}\n\n![](_static/logo.svg)\n")
    silent = code_cell(output({"image/svg+xml": "<svg/>"}))
    text = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# B"}
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {"name": "python"}}
    notebook = {"cells": [text, silent], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    (pages / "chapter.ipynb").write_text(json.dumps(notebook))
    run = build(tmp_path, "book/chapter")
    assert run.returncode != 0
    for complaint in ("nowhere", "no term", "nobody", "nothing"):
        assert complaint in run.stderr
    silent_pages = re.findall(r"(\w+)\.(?:md|ipynb):\d*: WARNING: image without alternative text", run.stderr)
    assert sorted(silent_pages) == ["chapter", "intro"]


@pytest.mark.slow
def test_build_without_executed_chapters_says_what_to_run(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "intro.md").write_text("# A\n")
    run = build(tmp_path, "book/chapters/00_one_spectrum", "book/claims")
    assert run.returncode != 0
    lacks = "run `make book`: it makes the pages this site still lacks (book/chapters/00_one_spectrum, book/claims)"
    assert lacks in " ".join(run.stderr.split())
