"""The site on paper: no figure cut, no side bar, and the whole book as one PDF."""

import importlib.util
import io
import unicodedata
from collections import Counter

import pytest
from browser import PAGES, ROOT, address, chromium, opened, pages_with, site, visit  # noqa: F401
from pypdf import PdfReader

spec = importlib.util.spec_from_file_location("pdf", ROOT / ".ci" / "pdf.py")
pdf = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pdf)

# What the margins of site.css leave of an A4 page, in CSS pixels (96 an inch).
PAPER = {"width": round((210 - 2 * 16) / 25.4 * 96), "height": round((297 - 16 - 18) / 25.4 * 96)}

FAULTS = """paper => {
    const found = [], article = document.querySelector('.bd-article'), name = node => node.outerHTML.slice(0, 90);
    for (const node of article.querySelectorAll('figure, img, .latent-slider')) {
        const box = node.getBoundingClientRect();
        if (box.height > paper.height || box.width > paper.width + 1)
            found.push(`larger than the paper: ${name(node)}`);
    }
    for (const node of article.querySelectorAll('figure, .latent-slider, tr')) {
        if (getComputedStyle(node).breakInside !== 'avoid') found.push(`may be split: ${name(node)}`);
    }
    for (const image of article.querySelectorAll('figure img, .latent-slider img')) {
        for (let node = image.parentElement; node !== document.body; node = node.parentElement) {
            const style = getComputedStyle(node);
            if (style.overflowY !== 'visible') found.push(`cut, not broken: ${name(node)}`);
            if (/flex|grid/.test(style.display)) found.push(`not broken in ${style.display}: ${name(node)}`);
        }
    }
    for (const node of article.querySelectorAll('pre, table')) {
        if (node.checkVisibility() && node.scrollWidth > Math.max(node.clientWidth, paper.width) + 1)
            found.push(`wider than the paper: ${name(node)}`);
    }
    for (const node of document.querySelectorAll('.bd-sidebar, .bd-header, .bd-header-article, .bd-footer, .copybtn')) {
        if (node.checkVisibility()) found.push(`no use on paper: ${name(node)}`);
    }
    return [...new Set(found)];
}"""


def images(data: bytes) -> Counter:
    """On how many pages of a PDF each of its pictures is drawn."""
    def pictures(resources) -> set[int]:
        found = set()
        for entry in resources.get("/XObject", {}).values():
            thing = entry.get_object()
            found |= {entry.idnum} if thing["/Subtype"] == "/Image" else pictures(thing.get("/Resources", {}))
        return found

    return Counter(number for page in PdfReader(io.BytesIO(data)).pages for number in pictures(page["/Resources"]))


@pytest.mark.browser
@pytest.mark.parametrize("path", PAGES)
def test_page_prints_whole(visit, path):  # noqa: F811
    with visit(path, width=PAPER["width"], color_scheme="dark") as reading:
        page = reading.page
        page.emulate_media(media="print")
        assert page.evaluate(FAULTS, PAPER) == []
        # Dark text, whatever the screen shows: what is behind it stays unprinted.
        dark = "getComputedStyle(document.querySelector('.bd-article p')).color.match(/\\d+/g).every(part => part < 80)"
        assert page.evaluate(dark)


@pytest.mark.browser
@pytest.mark.parametrize("path", pages_with("<figure"))
def test_page_draws_no_figure_on_two_sheets(visit, path):  # noqa: F811
    with visit(path) as reading:
        drawn = images(reading.page.pdf(prefer_css_page_size=True))
        assert set(drawn.values()) <= {1}
        pictures = reading.page.locator(".bd-article img[src*=png], .bd-article img[src*=webp]").count()
        assert len(drawn) >= pictures  # a picture and its mask are two


@pytest.mark.browser
@pytest.mark.parametrize("path", pages_with("data-slider="))
def test_slider_prints_its_first_frame_with_its_value(visit, path):  # noqa: F811
    with visit(path) as reading:
        reading.page.emulate_media(media="print")
        for slider in reading.page.locator("[data-slider]").all():
            assert slider.locator("img").is_visible() and slider.locator("output").is_visible()
            assert slider.locator("img").get_attribute("alt").endswith(slider.locator("output").text_content())
            assert not slider.locator("input").is_visible()


@pytest.mark.browser
def test_folded_parts_print_open(visit):  # noqa: F811
    with visit("book/claims.html") as reading:
        text = PdfReader(io.BytesIO(reading.page.pdf(prefer_css_page_size=True)))
        printed = " ".join(page.extract_text() for page in text.pages)
        assert "repetitions" in printed and "Why reproduced" in printed
        assert "Show all" not in printed


# The whole book -------------------------------------------------------------------------------------------------------

PARTS = {"": ["book/intro.html"], "Reference": ["book/how_to_read.html", "book/references.html"]}


@pytest.fixture(scope="module")
def book(chromium, address) -> PdfReader:  # noqa: F811
    printed = [pdf.print_page(chromium, address, path) for path in sum(PARTS.values(), [])]
    return PdfReader(io.BytesIO(pdf.join(printed, PARTS, address, lambda feet: pdf.print_numbers(chromium, feet))))


@pytest.mark.browser
def test_book_numbers_its_pages(book):
    last = [page.extract_text().split()[-1] for page in book.pages]
    assert len(last) > 4 and last == [str(number) for number in range(1, len(last) + 1)]


@pytest.mark.browser
def test_book_has_an_outline_of_parts_pages_and_sections(book):
    first, sections, part, pages = book.outline
    assert (first.title, part.title) == ("Latent Phases", "Reference")
    assert [entry.title for entry in sections][:2] == ["What makes it different", "The parts"]
    assert [entry.title for entry in pages if not isinstance(entry, list)] == ["How to read this book", "References"]
    assert book.get_destination_page_number(part) == book.get_destination_page_number(pages[0]) > 0
    # A section is where its heading is printed.
    for entry in sections:
        text = book.pages[book.get_destination_page_number(entry)].extract_text()
        assert entry.title in unicodedata.normalize("NFKC", text)  # ligatures


@pytest.mark.browser
def test_book_links_lead_inside_it_or_out_of_the_site(book):
    links = [entry for page in book.pages for entry in pdf.annotations(page)]
    inside = [link["/Dest"][0].get_object() for link in links if "/Dest" in link]
    outside = [str(link["/A"]["/URI"]) for link in links if "/A" in link]
    assert len({id(page) for page in inside}) > 1 and all(page["/Type"] == "/Page" for page in inside)
    assert outside and not [link for link in outside if "127.0.0.1" in link]


def test_contents_follow_the_table_of_contents(tmp_path):
    toc = tmp_path / "_toc.yml"
    toc.write_text(
        "format: jb-book\nroot: book/a\nparts:\n  - chapters:\n      - file: book/z\n"
        "  - caption: One\n    chapters:\n      - file: book/m\n        sections:\n          - file: book/b\n"
    )
    assert pdf.contents(toc) == {"": ["book/a.html", "book/z.html"], "One": ["book/m.html", "book/b.html"]}


def test_main_says_what_it_needs(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="want a built site in .*run `make book`"):
        pdf.main(tmp_path)
    (tmp_path / "index.html").touch()
    monkeypatch.setattr(pdf.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match="want Chromium, found none of chromium, .*apt-get install chromium"):
        pdf.main(tmp_path)
