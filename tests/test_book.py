"""The built site: read by a browser whose network ends at this machine, and what the build refuses."""

import functools
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "book" / "_build" / "html"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in SITE.glob("book/**/*.html")) or ["book/intro.html"]
PAGE_BYTES = 2_000_000  # beside the scripts and styles that all pages share

spec = importlib.util.spec_from_file_location("book_site", ROOT / ".ci" / "book_site.py")
book_site = importlib.util.module_from_spec(spec)
spec.loader.exec_module(book_site)


def skip(reason: str) -> None:
    """In CI nothing that the site promises may go unseen."""
    (pytest.fail if os.environ.get("CI", "").lower() in ("1", "true") else pytest.skip)(reason)


@pytest.fixture(scope="session")
def site() -> Path:
    if not (SITE / "index.html").exists():
        skip("the site is not built: run `make book`")
    return SITE


# The browser ----------------------------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="session")
def address(site) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def find_chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found or not shutil.which("apt-get") or os.geteuid() != 0:
        return found
    for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        subprocess.run(["apt-get", "-qq", *command], capture_output=True, check=False)
    return shutil.which("chromium")


@pytest.fixture(scope="session")
def chromium(address):
    executable = find_chromium()
    if executable is None:
        skip("no Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # No sandbox: Chromium refuses one to root, and it reads only pages made here.
        flags = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=executable, args=flags)
        yield browser
        browser.close()


class Visit:
    """A page, and everything that went wrong while it was open."""

    def __init__(self, context, address: str):
        self.address = address
        self.foreign: list[str] = []
        self.faults: list[str] = []
        self.bytes = 0
        context.route("**/*", self.route)
        self.page = context.new_page()
        self.page.on("requestfailed", lambda request: self.faults.append(f"failed: {request.url}"))
        self.page.on("response", self.response)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("console", self.console)

    def route(self, route) -> None:
        url = route.request.url
        if url.startswith((self.address, "data:")):
            route.continue_()
        else:
            self.foreign.append(url)
            route.abort()

    def console(self, message) -> None:
        if message.type == "error":
            self.faults.append(f"console: {message.text}")

    def response(self, response) -> None:
        if response.status >= 400:
            self.faults.append(f"{response.status}: {response.url}")
        elif response.url.startswith(self.address) and "_static/" not in response.url:
            self.bytes += len(response.body())

    def open(self, path: str) -> None:
        self.page.goto(self.address + path, wait_until="networkidle")
        self.page.evaluate("window.MathJax?.startup?.promise")


@contextmanager
def opened(chromium, address: str, path: str, width: int = 1280, **options) -> Iterator[Visit]:
    context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
    try:
        reading = Visit(context, address)
        reading.open(path)
        yield reading
    finally:
        context.close()


@pytest.fixture
def visit(chromium, address):
    return functools.partial(opened, chromium, address)


@pytest.fixture(scope="module", params=PAGES)
def reading(request, chromium, address) -> Iterator[Visit]:
    """Every page of the book in turn, opened once for all the tests that only look."""
    with opened(chromium, address, request.param) as page:
        yield page


browser = pytest.mark.browser


@browser
def test_page_reads_offline_without_a_fault(reading):
    assert reading.foreign == []
    assert reading.faults == []
    assert 0 < reading.bytes <= PAGE_BYTES


@browser
@pytest.mark.parametrize("path", ["index.html", "search.html", "genindex.html"])
def test_page_beside_the_book_reads_offline_without_a_fault(visit, path):
    with visit(path) as beside:
        assert beside.foreign == beside.faults == []


@browser
def test_page_typesets_all_its_math(reading):
    page = reading.page
    formulas = page.locator(".bd-article .math").count()
    assert page.locator(".bd-article .math:has(mjx-container)").count() == formulas
    assert page.locator("mjx-merror").count() == 0
    # Raw delimiters, in text that is not code.
    text = page.evaluate("""() => {
        const copy = document.querySelector('.bd-article').cloneNode(true);
        copy.querySelectorAll('pre, code, script, mjx-container').forEach(node => node.remove());
        return copy.textContent;
    }""")
    assert re.findall(r"\\[(\[]|\$[^$\n]+\$", text) == []


@browser
def test_math_is_there_to_typeset(visit):
    """Else the test above could pass on a book without formulas."""
    with visit("book/intro.html") as intro:
        assert intro.page.locator("mjx-container").count() >= 5


@browser
@pytest.mark.parametrize("width", [390, 1280])
def test_page_never_scrolls_sideways(reading, width):
    page = reading.page
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("window.scrollTo(500, 0)")
    assert page.evaluate("window.scrollX") == 0


@browser
def test_every_image_loads_and_has_alternative_text(reading):
    """The logo is decoration beside the book's name: its alternative text is there, and empty."""
    images = reading.page.evaluate("""[...document.images].map(image => ({
        source: image.src.slice(0, 80), loaded: image.naturalWidth > 0,
        told: image.closest('.bd-article') ? image.alt.trim() !== '' : image.hasAttribute('alt'),
    }))""")
    assert [image["source"] for image in images if not (image["loaded"] and image["told"])] == []


@browser
def test_every_button_and_input_has_a_name(reading):
    nameless = reading.page.evaluate("""[...document.querySelectorAll('button, input:not([type=hidden]), a[href]')]
        .filter(node => node.checkVisibility() && !node.textContent.trim() && !node.labels?.length && !node.placeholder
            && !node.getAttribute('aria-label') && !node.title && !node.querySelector('img[alt]'))
        .map(node => node.outerHTML.slice(0, 200))""")
    assert nameless == []


def slider_pages() -> list[str]:
    return [path for path in PAGES if (SITE / path).exists() and "data-slider=" in (SITE / path).read_text()]


def test_some_page_has_a_slider(site):
    assert slider_pages()


SLIDERS = slider_pages() or ["no page with a slider"]


def frame(slider) -> tuple[str, str, str]:
    """What the reader has before him: the picture, its alternative text, and the value that is read aloud."""
    picture = slider.locator("img")
    value = slider.locator("output").text_content()
    assert slider.locator("input").get_attribute("aria-valuetext") == value
    assert picture.get_attribute("alt").endswith(value)
    return picture.get_attribute("src"), picture.get_attribute("alt"), value


@browser
@pytest.mark.parametrize("path", SLIDERS)
def test_slider_moves_by_arrow_keys(visit, path):
    with visit(path) as reading:
        slider = reading.page.locator("[data-slider]").first
        first = frame(slider)
        slider.locator("input").focus()
        reading.page.keyboard.press("ArrowRight")
        second = frame(slider)
        assert all(before != after for before, after in zip(first, second))
        reading.page.keyboard.press("ArrowLeft")
        assert frame(slider) == first
        assert reading.faults == reading.foreign == []


@browser
@pytest.mark.parametrize("touch", [False, True], ids=["mouse", "touch"])
@pytest.mark.parametrize("path", SLIDERS)
def test_slider_moves_by_pointer(visit, path, touch):
    with visit(path, width=390, has_touch=touch) as reading:
        slider = reading.page.locator("[data-slider]").first
        track = slider.locator("input")
        track.scroll_into_view_if_needed()
        first, box = frame(slider), track.bounding_box()
        end = (box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
        (reading.page.touchscreen.tap if touch else reading.page.mouse.click)(*end)
        assert track.input_value() == track.get_attribute("max")
        assert all(before != after for before, after in zip(first, frame(slider)))


@browser
@pytest.mark.parametrize("path", SLIDERS)
def test_slider_stands_on_its_first_frame_without_scripts(visit, path):
    with visit(path, java_script_enabled=False) as reading:
        slider = reading.page.locator("[data-slider]").first
        assert slider.locator("img").is_visible()
        assert slider.locator("img").bounding_box()["width"] > 100
        assert not slider.locator("input").is_visible()


@browser
@pytest.mark.parametrize("term", ["susceptibility", "overlap", "posterior collapse", "signal fraction", "papermill"])
def test_search_finds(visit, term):
    with visit(f"search.html?q={term.replace(' ', '+')}") as reading:
        reading.page.locator("#search-results li a").first.wait_for()
        assert reading.faults == reading.foreign == []


@browser
def test_dark_mode_switches_and_keeps_figures_readable(visit):
    def colors(page) -> tuple[int, int]:
        """Brightness of the page, 0 to 255, and of the ground that figures stand on."""
        color = "getComputedStyle(document.querySelector('{}')).backgroundColor"
        body, figure = (re.findall(r"\d+", page.evaluate(color.format(where)))[:3] for where in ("body", "figure img"))
        return max(map(int, body)), min(map(int, figure))

    with visit("book/intro.html", color_scheme="light") as reading:
        page = reading.page
        for _ in range(3):  # the button goes round auto, light and dark
            if page.evaluate("document.documentElement.dataset.theme") == "dark":
                break
            page.locator(".theme-switch-button:visible").first.click()
        ground, figure = colors(page)
        assert ground < 60
        assert figure > 240
        assert page.evaluate("getComputedStyle(document.querySelector('figure img')).filter") == "none"
        assert reading.faults == reading.foreign == []


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
