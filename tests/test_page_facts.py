"""The box under a chapter's title: every fact as the executed notebook has it, and a way to the chapter's claims."""

import re
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from latentlib._executed import read_executed

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "book" / "_build" / "html"
CHAPTERS = sorted((SITE / "book" / "chapters").glob("*.html"))

sys.path.insert(0, str(ROOT / ".ci"))
import page_facts  # noqa: E402
from repository import Repository  # noqa: E402

RUN = {
    "date": "2026-03-02T23:30:00+00:00",
    "wall_s": 28.06,
    "device": "CPU (2 cores)",
    "commit": "0123456789ab",
    "versions": "torch 2.6 <x>",
}


def texts(rows) -> dict[str, str]:
    return {name: unescape(re.sub("<[^>]+>", "", text)) for name, text in rows}


def test_headline_says_what_is_known():
    assert page_facts.headline(RUN) == "Ran on 2026-03-02 in 28 s on CPU (2 cores)"
    assert page_facts.headline({**RUN, "device": None, "wall_s": None}) == "Ran on 2026-03-02"


def test_moment_is_in_utc():
    assert page_facts.headline({**RUN, "date": "2026-03-03T00:30:00+02:00"}).startswith("Ran on 2026-03-02 ")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (9.96, "10.0 s"), (28.4, "28 s"), (99.4, "99 s"), (125.0, "2 min 5 s")]
)
def test_duration_in_words(seconds, text):
    assert page_facts.duration(seconds) == text


def test_run_rows_have_every_fact_and_a_dash_for_what_is_missing():
    rows = texts(page_facts.run_rows(RUN, None))
    told = {"Started": "2026-03-02 23:30 UTC", "Run time": "28.1 s", "Device": RUN["device"], "Commit": RUN["commit"]}
    assert rows == {**told, "Versions": RUN["versions"]}
    assert set(texts(page_facts.run_rows(dict.fromkeys(RUN), None)).values()) == {"–"}


def test_commit_is_linked_where_there_is_an_address():
    repository = Repository("owner", "name", "main")
    clean, dirty = (page_facts.commit(f"0123456789ab{end}", repository) for end in ("", "-dirty"))
    assert clean == '<a href="https://github.com/owner/name/commit/0123456789ab"><code>0123456789ab</code></a>'
    assert dirty == f"{clean} with uncommitted changes"
    assert "<a" not in page_facts.commit("0123456789ab", None)


def test_parameter_list_marks_what_was_given():
    shown = unescape(re.sub("<[^>]+>", "", page_facts.parameter_list({"a": 1, "b": "<x>"}, {"b": "<x>"})))
    assert shown == "a = 1; b = '<x>' (given)"
    assert page_facts.parameter_list({"a": 1}, {}).endswith("(the defaults)")
    assert "<x>" not in page_facts.parameter_list({"b": "<x>"}, {})


class Box(HTMLParser):
    """The text of the box in a page, its links, and whether it stands right after the title."""

    def __init__(self):
        super().__init__()
        self.depth, self.text, self.links, self.title_before = 0, "", [], False
        self.before = ""

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if self.depth or given.get("class") == "run-facts":
            self.title_before |= self.before == "h1"
            self.depth += tag != "br"
        if self.depth and tag == "a":
            self.links.append(given["href"])

    def handle_endtag(self, tag):
        self.depth -= bool(self.depth)
        self.before = tag

    def handle_data(self, data):
        self.text += data if self.depth else ""


def read_box(page: Path) -> Box:
    box = Box()
    box.feed(page.read_text(encoding="utf-8"))
    return box


@pytest.mark.parametrize("page", CHAPTERS or [None], ids=lambda page: page.stem if page else "no site")
def test_page_tells_its_run(page):
    if page is None:
        pytest.skip("the site is not built: run `make book`")
    (run,) = read_executed(ROOT / "book" / "chapters" / f"{page.stem}.ipynb")
    box, seen = read_box(page), run.columns()
    assert box.title_before
    facts = [seen["date"][:10], f"{seen['wall_s']:.1f} s", seen["device"], seen["versions"]]
    facts += [seen["commit"].removesuffix("-dirty"), *(f"{name} = {value!r}" for name, value in run.parameters.items())]
    assert run.parameters and [fact for fact in facts if fact not in box.text] == []


@pytest.mark.parametrize("page", CHAPTERS or [None], ids=lambda page: page.stem if page else "no site")
def test_page_opens_the_claims_of_its_chapter(page):
    from latentlib.register import read_register

    if page is None:
        pytest.skip("the site is not built: run `make book`")
    number = page.stem[:2]
    rows = sum(row["chapter"] == number for row in read_register(ROOT / "book" / "claims.yml").claims.values())
    links = [link for link in read_box(page).links if "claims.html" in link]
    assert links == ([f"../claims.html#chapter-{number}"] if rows else [])
    assert not rows or f"Claims of this chapter ({rows})" in read_box(page).text
