"""What a reader moves: sliders, search, dark mode, the filters of the claims; and what stands without scripts."""

import re

import pytest
from browser import address, chromium, pages_with, site, visit  # noqa: F401

SLIDERS = pages_with("data-slider=")


def frame(slider) -> tuple[str, str, str]:
    """What the reader has before him: the picture, its alternative text, and the value that is read aloud."""
    picture = slider.locator("img")
    value = slider.locator("output").text_content()
    assert slider.locator("input").get_attribute("aria-valuetext") == value
    assert picture.get_attribute("alt").endswith(value)
    return picture.get_attribute("src"), picture.get_attribute("alt"), value


@pytest.mark.browser
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


@pytest.mark.browser
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


@pytest.mark.browser
@pytest.mark.parametrize("path", SLIDERS)
def test_slider_stands_on_its_first_frame_without_scripts(visit, path):
    with visit(path, java_script_enabled=False) as reading:
        slider = reading.page.locator("[data-slider]").first
        assert slider.locator("img").is_visible()
        assert slider.locator("img").bounding_box()["width"] > 100
        assert not slider.locator("input").is_visible()


@pytest.mark.browser
@pytest.mark.parametrize("term", ["susceptibility", "overlap", "posterior collapse", "signal fraction", "papermill"])
def test_search_finds(visit, term):
    with visit(f"search.html?q={term.replace(' ', '+')}") as reading:
        reading.page.locator("#search-results li a").first.wait_for()
        assert reading.faults == reading.foreign == []


@pytest.mark.browser
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


# The claims -----------------------------------------------------------------------------------------------------------

CLAIMS = "book/claims.html"


def shown(page) -> list[tuple[str, str, str]]:
    """(source, verdict, chapter) of the rows that are shown."""
    rows = page.evaluate("""[...document.querySelectorAll('table.claims tbody tr')].filter(row => row.checkVisibility())
        .map(row => [row.closest('table').dataset.source, row.dataset.verdict, row.dataset.chapter])""")
    return list(map(tuple, rows))


def told(page) -> str:
    return page.locator(".claims-filter output").text_content()


@pytest.mark.browser
def test_claims_are_filtered_by_source_verdict_and_chapter(visit):  # noqa: F811
    with visit(CLAIMS) as reading:
        page, everything = reading.page, shown(reading.page)
        assert len(everything) > 100 and told(page) == f"all {len(everything)} claims"
        for place, name in enumerate(("source", "verdict", "chapter")):
            key = everything[-1][place]
            page.locator(f"select[name={name}]").select_option(key)
            wanted = [row for row in everything if row[place] == key]
            assert shown(page) == wanted and told(page) == f"{len(wanted)} of {len(everything)} claims"
            page.locator(".claims-filter button").click()
            assert shown(page) == everything
        page.locator("select[name=source]").select_option("pruning")
        page.locator("select[name=verdict]").select_option("open")
        assert set(row[:2] for row in shown(page)) == {("pruning", "open")}
        # A source without a row has no heading either.
        headings = page.locator("section:has(> table.claims) > h2")
        assert [heading.is_visible() for heading in headings.all()].count(True) == 1
        address_kept = page.evaluate("location.hash")
        assert reading.faults == reading.foreign == []
    with visit(f"{CLAIMS}{address_kept}") as again:
        assert set(row[:2] for row in shown(again.page)) == {("pruning", "open")}


@pytest.mark.browser
def test_claims_are_filtered_by_keys_alone(visit):  # noqa: F811
    with visit(CLAIMS) as reading:
        page = reading.page
        page.locator("select[name=source]").focus()
        page.keyboard.press("ArrowDown")
        (source,) = {row[0] for row in shown(page)}
        assert page.evaluate("location.hash") == f"#source={source}"
        for _ in range(3):
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert len({row[0] for row in shown(page)}) > 1 and page.evaluate("location.hash") == ""


@pytest.mark.browser
def test_claims_of_a_chapter_have_an_address(visit):  # noqa: F811
    with visit(f"{CLAIMS}#chapter-12") as reading:
        page = reading.page
        assert {row[2] for row in shown(page)} == {"12"}
        assert page.locator("select[name=chapter]").input_value() == "12"
        assert page.locator(".claims-filter").bounding_box()["y"] < 900
        page.evaluate("location.hash = 'chapter-00'")
        page.wait_for_function("document.querySelector('select[name=chapter]').value === '00'")
        assert {row[2] for row in shown(page)} == {"00"}
        # A row that the filter hides is shown when its address is asked for.
        page.evaluate("location.hash = 'claim-phase-1-position'")
        page.wait_for_function("document.querySelector('select[name=chapter]').value === ''")
        assert page.locator("[id='claim-phase-1-position']").bounding_box()["y"] < 900


@pytest.mark.browser
def test_claims_stand_without_scripts(visit):  # noqa: F811
    with visit(f"{CLAIMS}#chapter-12", java_script_enabled=False) as reading:
        rows = reading.page.locator("table.claims tbody tr")
        assert rows.count() > 100 and rows.last.is_visible()
        assert reading.page.locator("select").count() == 0
        # The browser opens the list of the chapter it is sent to.
        assert reading.page.locator("#chapter-12 a").first.is_visible()


@pytest.mark.browser
def test_claims_come_as_a_file_too(visit):  # noqa: F811
    with visit(CLAIMS) as reading:
        with reading.page.expect_download() as download:
            reading.page.locator("a.download[href$='claims.csv']").click()
        lines = download.value.path().read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("id,source,") and len(lines) == len(shown(reading.page)) + 1


def test_claims_page_alone_loads_its_script():
    assert pages_with("claims.js") == [CLAIMS]
