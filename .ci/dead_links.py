"""Sphinx extension: a link inside the site that leads nowhere, to no file or to no mark in it, stops the build.

Sphinx itself sees only references; here the finished pages are read, raw HTML, buttons and the theme's links included.
"""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

SOURCES = {"a": "href", "area": "href", "link": "href", "img": "src", "script": "src", "iframe": "src", "source": "src"}


class Marks(HTMLParser):
    """The links of a page, and the marks in it that a link can lead to."""

    def __init__(self):
        super().__init__()
        self.links: list[str] = []
        self.marks: set[str] = {"", "top"}

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.marks.update(filter(None, (given.get("id"), given.get("name") if tag == "a" else None)))
        if given.get(SOURCES.get(tag, "")):
            self.links.append(given[SOURCES[tag]])


def read_marks(page: Path) -> Marks:
    marks = Marks()
    marks.feed(page.read_text(encoding="utf-8"))
    return marks


def dead_links(pages: list[Path]) -> list[str]:
    """'page: link' of every link without scheme or host whose file is missing or has no such mark, in order."""
    read = {page.resolve(): read_marks(page) for page in pages}
    return [f"{page.name}: {link}" for page in read for link in read[page].links if is_dead(page, link, read)]


def is_dead(page: Path, link: str, read: dict[Path, Marks]) -> bool:
    """Marks are looked for only in the pages that were read."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return False
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    return not target.is_file() or (target in read and unquote(parts.fragment) not in read[target].marks)


def refuse_dead_links(app, error: Exception | None) -> None:
    if error or app.builder.format != "html":
        return
    pages = [Path(app.builder.get_outfilename(name)) for name in sorted(app.env.found_docs)]
    pages += [page for page in (Path(app.outdir) / name for name in ("genindex.html", "search.html")) if page.is_file()]
    found = dead_links([page for page in pages if page.is_file()])
    if found:
        # SystemExit ends the build with these lines; any other exception buries them under Jupyter Book's traceback.
        raise SystemExit(f"links of the site that lead nowhere: {len(found)}\n" + "\n".join(found))


def setup(app) -> dict:
    app.connect("build-finished", refuse_dead_links, priority=900)  # after everything that writes a file
    return {"parallel_read_safe": True, "parallel_write_safe": True}
