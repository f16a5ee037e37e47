"""Every page of the built site, read by a browser whose network ends at this machine."""

import re
from collections.abc import Iterator
from importlib.resources import files

import pytest
from browser import PAGES, Visit, address, chromium, opened, site, visit  # noqa: F401

PAGE_BYTES = 2_000_000  # beside the scripts and styles that all pages share
BESIDE = ["index.html", "search.html?q=overlap", "genindex.html"]


@pytest.fixture(scope="module", params=PAGES)
def reading(request, chromium, address) -> Iterator[Visit]:
    """Every page of the book in turn, opened once for all the tests that only look."""
    with opened(chromium, address, request.param) as page:
        yield page


@pytest.mark.browser
def test_page_reads_offline_without_a_fault(reading):
    assert reading.foreign == []
    assert reading.faults == []
    assert 0 < reading.bytes <= PAGE_BYTES


@pytest.mark.browser
@pytest.mark.parametrize("path", BESIDE)
def test_page_beside_the_book_reads_offline_without_a_fault(visit, path):
    with visit(path) as beside:
        assert beside.foreign == beside.faults == []


@pytest.mark.browser
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


@pytest.mark.browser
def test_math_is_there_to_typeset(visit):
    """Else the test above could pass on a book without formulas."""
    with visit("book/intro.html") as intro:
        assert intro.page.locator("mjx-container").count() >= 5


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_page_never_scrolls_sideways(reading, width):
    page = reading.page
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("window.scrollTo(500, 0)")
    assert page.evaluate("window.scrollX") == 0


@pytest.mark.browser
def test_every_image_loads_and_has_alternative_text(reading):
    """The logo is decoration beside the book's name: its alternative text is there, and empty."""
    images = reading.page.evaluate("""[...document.images].map(image => ({
        source: image.src.slice(0, 80), loaded: image.naturalWidth > 0,
        told: image.closest('.bd-article') ? image.alt.trim() !== '' : image.hasAttribute('alt'),
    }))""")
    assert [image["source"] for image in images if not (image["loaded"] and image["told"])] == []


@pytest.mark.browser
def test_every_button_and_input_has_a_name(reading):
    nameless = reading.page.evaluate("""[...document.querySelectorAll('button, input:not([type=hidden]), a[href]')]
        .filter(node => node.checkVisibility() && !node.textContent.trim() && !node.labels?.length && !node.placeholder
            && !node.getAttribute('aria-label') && !node.title && !node.querySelector('img[alt]'))
        .map(node => node.outerHTML.slice(0, 200))""")
    assert nameless == []


# What axe-core finds -------------------------------------------------------------------------------------------------


def faults(page, **options) -> list[str]:
    """Serious and critical faults that axe-core finds, as rule, place and reason."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    # Typeset formulas are thousands of nodes, and MathJax's own.
    run = "options => axe.run({exclude: ['mjx-container']}, {resultTypes: ['violations'], ...options})"
    result = page.evaluate(run, options)
    return [
        f"{rule['id']}: {node['target']}: {node['failureSummary']}"
        for rule in result["violations"] if rule["impact"] in ("serious", "critical") for node in rule["nodes"]
    ]


def darken(page) -> None:
    """As the theme's button does, without the fade."""
    page.add_style_tag(content="* { transition: none !important; }")
    page.evaluate("document.documentElement.dataset.theme = 'dark'; document.documentElement.dataset.mode = 'dark'")


def figure_grounds(page) -> list[str]:
    """Grounds of the figures of a page, and what filters them."""
    return page.evaluate("""[...document.querySelectorAll('.bd-article :is(figure, .latent-slider, .cell_output) img')]
        .map(image => getComputedStyle(image)).map(style => `${style.backgroundColor} ${style.filter}`)""")


@pytest.mark.browser
def test_page_has_no_serious_fault_for_axe_in_light_and_dark(reading):
    """Colors alone differ in the dark. There every figure keeps its own white ground."""
    page = reading.page
    page.set_viewport_size({"width": 1280, "height": 900})
    assert faults(page) == []
    darken(page)
    assert faults(page, runOnly=["color-contrast", "link-in-text-block"]) == []
    assert set(figure_grounds(page)) <= {"rgb(255, 255, 255) none"}


@pytest.mark.browser
@pytest.mark.parametrize("path", BESIDE[1:])
def test_page_beside_the_book_has_no_serious_fault_for_axe(visit, path):  # noqa: F811
    with visit(path) as beside:
        if "search" in path:
            beside.page.locator("#search-results li a .highlighted").first.wait_for()
        assert faults(beside.page) == []
        darken(beside.page)
        assert faults(beside.page, runOnly=["color-contrast"]) == []


@pytest.mark.browser
def test_axe_faults_are_seen(visit):  # noqa: F811
    with visit("book/intro.html") as intro:
        intro.page.evaluate("document.querySelector('.bd-article img').removeAttribute('alt')")
        intro.page.evaluate("document.querySelector('.bd-article p').style.color = '#eee'")
        assert {fault.split(":")[0] for fault in faults(intro.page)} == {"image-alt", "color-contrast"}
