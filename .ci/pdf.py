#!/usr/bin/env python3
"""Print the built site as one PDF: every page of the table of contents, in order, through headless Chromium.

usage: python .ci/pdf.py [SITE [TARGET]]       (default: book/_build/html and book/_build/latent-phases.pdf)

Each page is printed with the print style sheet of the site. Links between the pages lead inside the PDF, the pages are
numbered, and the outline has the parts, the pages and their sections.
"""

import functools
import io
import re
import shutil
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NO_BROWSER = (
    f"make pdf: want Chromium, found none of {', '.join(BROWSERS)}; "
    "on Debian and Ubuntu: apt-get install chromium, on macOS: brew install --cask chromium"
)
BOOK = "Latent Phases"
# No sandbox: Chromium refuses one to root, and it reads only pages made here.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]

# Chromium gives a place to an anchor only where the same page links to it, seen or not: so every anchor of the article
# gets such a link, for the other pages and the outline.
PREPARE = """() => {
    const article = document.querySelector('.bd-article'), unseen = document.createElement('div');
    unseen.hidden = true;
    for (const {id} of article.querySelectorAll('[id]')) {
        unseen.append(Object.assign(document.createElement('a'), {href: '#' + encodeURIComponent(id)}));
    }
    article.append(unseen);
    for (const image of article.querySelectorAll('img')) image.loading = 'eager';
    const text = heading => [...heading.childNodes].filter(node => !node.classList?.contains('headerlink'))
        .map(node => node.querySelector?.('mjx-container') ? '' : node.textContent).join('').trim();
    const headings = [...article.querySelectorAll('section[id] > h2')];
    return [text(article.querySelector('h1')), headings.map(h2 => [h2.parentElement.id, text(h2)])];
}"""


@dataclass(frozen=True)
class Printed:
    """A page of the site: its address in the site, its title, its sections as (anchor, title), and its PDF."""

    path: str
    title: str
    sections: list[tuple[str, str]]
    pdf: bytes


def main(site: str | Path = ROOT / "book/_build/html", target: str | Path = "") -> None:
    site = Path(site)
    target = Path(target or site.parent / "latent-phases.pdf")
    if not (site / "index.html").is_file():
        sys.exit(f"make pdf: want a built site in {site}, found none; run `make book`")
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        sys.exit(NO_BROWSER)
    parts = contents(ROOT / "_toc.yml")
    with served(site) as address, browser(executable) as chromium:
        printed = [print_page(chromium, address, path) for path in sum(parts.values(), [])]
        book = join(printed, parts, address, functools.partial(print_numbers, chromium))
    target.write_bytes(book)
    print(f"wrote {target} ({len(book) / 1e6:.1f} MB)")


def contents(toc: Path) -> dict[str, list[str]]:
    """The pages in the order of the table of contents, by part; those before the first part under ''."""
    from sphinx_external_toc.parsing import parse_toc_yaml

    site_map = parse_toc_yaml(toc)
    parts = defaultdict(list, {"": [f"{site_map.root.docname}.html"]})

    def add(document, part: str) -> None:
        for tree in document.subtrees:
            for name in map(str, tree.items):
                parts[tree.caption or part].append(f"{name}.html")
                add(site_map[name], tree.caption or part)

    add(site_map.root, "")
    return dict(parts)


@contextmanager
def served(site: Path) -> Iterator[str]:
    """The site at an address of this machine: from files, Chromium would refuse scripts and fonts."""
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@contextmanager
def browser(executable: str) -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield chromium
        chromium.close()


def print_page(chromium, address: str, path: str) -> Printed:
    page = chromium.new_page(color_scheme="light", viewport={"width": 1280, "height": 900})
    page.goto(address + path, wait_until="networkidle")
    page.evaluate("window.MathJax?.startup?.promise")
    title, sections = page.evaluate(PREPARE)
    pdf = page.pdf(prefer_css_page_size=True, print_background=True)
    page.close()
    return Printed(path, title, sections, pdf)


def print_numbers(chromium, titles: list[str]) -> bytes:
    """As many pages as titles, empty but for a foot: book and title to the left, the number to the right."""
    feet = "".join(
        f"<div><span>{escape(BOOK)}{' · ' * (title != BOOK)}{escape(title) * (title != BOOK)}</span>"
        f"<span>{number}</span></div>"
        for number, title in enumerate(titles, 1)
    )
    style = (
        "@page{size:A4;margin:0} body{margin:0;font:8pt sans-serif;color:#4a4f57} "
        "div{box-sizing:border-box;height:297mm;padding:0 16mm 8mm;display:flex;justify-content:space-between;"
        "align-items:end;break-after:page} div:last-child{break-after:auto}"
    )
    page = chromium.new_page()
    page.set_content(f"<!doctype html><style>{style}</style>{feet}")
    pdf = page.pdf(prefer_css_page_size=True)
    page.close()
    return pdf


def join(printed: list[Printed], parts: dict[str, list[str]], address: str, numbers) -> bytes:
    """One PDF of all pages; numbers(titles) -> a PDF with the foot of each."""
    from pypdf import PdfReader, PdfWriter

    writer, titles, places = PdfWriter(), [], {}
    for one in printed:
        reader, first = PdfReader(io.BytesIO(one.pdf)), len(titles)
        places[one.path, ""] = (first, None)
        for name, place in reader.named_destinations.items():
            number = first + reader.get_destination_page_number(place)
            places[one.path, unquote(name.removeprefix("/"))] = (number, place.top)
        for page in reader.pages:
            name_links(page, address + one.path)
        writer.append(reader, import_outline=False)
        titles += [one.title] * len(reader.pages)
    for page in writer.pages:
        resolve_links(writer, page, address, places)
    for page, foot in zip(writer.pages, PdfReader(io.BytesIO(numbers(titles))).pages, strict=True):
        page.merge_page(foot)
    write_outline(writer, printed, parts, places)
    writer.root_object.pop("/Dests", None)  # the names of single pages: every link has its place now
    writer.add_metadata({"/Title": BOOK})
    writer.page_mode = "/UseOutlines"
    book = io.BytesIO()
    writer.write(book)
    return book.getvalue()


def annotations(page) -> list:
    return [entry.get_object() for entry in page.get("/Annots") or []]


def name_links(page, address: str) -> None:
    """Links inside a page by their full address too: the name of an anchor is not unique in the book."""
    from pypdf.generic import DictionaryObject, NameObject, TextStringObject

    for link in annotations(page):
        if "/Dest" in link:
            uri = TextStringObject(f"{address}#{str(link.pop('/Dest')).removeprefix('/')}")
            action = {NameObject("/S"): NameObject("/URI"), NameObject("/URI"): uri}
            link[NameObject("/A")] = DictionaryObject(action)


def resolve_links(writer, page, address: str, places: dict) -> None:
    """Links into the site become links inside the PDF; those to its files, which are not in it, go."""
    from pypdf.generic import ArrayObject, FloatObject, NameObject, NullObject

    kept = ArrayObject()
    for entry in page.get("/Annots") or []:
        link = entry.get_object()
        uri = str(link.get("/A", {}).get("/URI", ""))
        if uri.startswith(address):
            path, fragment = (unquote(part) for part in urldefrag(uri.removeprefix(address)))
            place = places.get((path, fragment)) or places.get((path, ""))
            if place is None:
                continue
            top = NullObject() if place[1] is None else FloatObject(place[1])
            target = [writer.pages[place[0]].indirect_reference, NameObject("/XYZ"), NullObject(), top, NullObject()]
            link[NameObject("/Dest")] = ArrayObject(target)
            del link["/A"]
        kept.append(entry)
    if "/Annots" in page:
        page[NameObject("/Annots")] = kept


def write_outline(writer, printed: list[Printed], parts: dict[str, list[str]], places: dict) -> None:
    from pypdf.generic import Fit

    pages = {one.path: one for one in printed}
    for part, paths in parts.items():
        above = writer.add_outline_item(title=part, page_number=places[paths[0], ""][0]) if part else None
        for path in paths:
            place = {"page_number": places[path, ""][0], "parent": above}
            item = writer.add_outline_item(title=pages[path].title, is_open=False, **place)
            for anchor, title in pages[path].sections:
                number, top = places.get((path, anchor), places[path, ""])
                place = {"page_number": number, "parent": item, "fit": Fit.xyz(top=top)}
                writer.add_outline_item(title=re.sub(r"\s+", " ", title), **place)


if __name__ == "__main__":
    main(*sys.argv[1:])
