"""The glossary against the list of its entries: each once, in its section, with its symbol and its chapters."""

import os
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
BUILT = BOOK / "_build" / "html" / "book" / "glossary.html"
COUNTS = [55, 46, 36]  # of the three groups of the source
IN_TWO_GROUPS = {
    "Coarse-graining",
    "Critical point",
    "Disordered phase",
    "Inverse temperature",
    "Ordered phase",
    "Susceptibility",
}
MOST_WORDS, MOST_SENTENCES = 60, 2
CHAPTERS = re.compile(r"^\[\((.+)\)\]\{\.chapters\}$")
MATH = re.compile(r"\$([^$]+)\$")
ROLE = re.compile(r"\{(?:term|doc)\}`([^`<]*?)(?: *<([^`>]*)>)?`")


# Reading ----------------------------------------------------------------------------------------------------------


class Entry(NamedTuple):
    section: str
    title: str
    definition: str  # one line
    chapters: str  # what stands in the parentheses after it


def glossary_entries(page: str) -> list[Entry]:
    """The entries of all {glossary} directives of a Markdown page, in its order."""
    entries, section, inside = [], "", False
    for line in page.splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith(":::"):
            inside = line == ":::{glossary}"
        elif not inside or not line.strip():
            continue
        elif not line.startswith(" "):
            entries.append(Entry(section, line, "", ""))
        elif last := CHAPTERS.match(line.strip()):
            entries[-1] = entries[-1]._replace(chapters=last[1])
        else:
            entries[-1] = entries[-1]._replace(definition=f"{entries[-1].definition} {line.strip()}".strip())
    return entries


def chapter_line(chapters: list[str], written: dict[str, str]) -> str:
    """A chapter whose notebook exists is a link, any other is plain text."""
    links = {number: f"{{doc}}`chapter {number} <chapters/{stem}>`" for number, stem in written.items()}
    return ", ".join(links.get(number, f"chapter {number}") for number in chapters)


def link_command(number: str, written: dict[str, str]) -> str:
    """What links a chapter in every entry of the page, once it is written."""
    link = chapter_line([number], written)
    return rf"sed -E -i 's#([(,] ?)chapter {number}\b#\1{link}#' book/glossary.md"


def plain(definition: str) -> str:
    """What a reader reads: a formula is one word, a role is its text."""
    return ROLE.sub(r"\1", MATH.sub("x", definition))


def n_sentences(definition: str) -> int:
    return len(re.findall(r"[.!?](?=\s|$)", plain(definition)))


def term_targets(text: str) -> set[str]:
    """What the {term} roles of a page point at, in lower case, as Sphinx looks it up."""
    roles = re.findall(r"\{term\}`([^`<]*?)(?:\s*<([^`>]*)>)?`", text)
    return {" ".join((target or shown).split()).casefold() for shown, target in roles}


def sort_key(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", title.casefold()).strip()


def notation_symbols(page: str, code: str) -> list[str]:
    """The symbol cells of the rows of the notation tables that name `code`."""
    rows = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in page.splitlines() if line.startswith("|")]
    return [row[0].strip() for row in rows if len(row) == 4 and f"`{code}`" in row[2]]


SECTIONS = yaml.safe_load((BOOK / "glossary_terms.yml").read_text())
SOURCE = [section for section in SECTIONS if "source" in section]
LISTED = [
    pytest.param(section["section"], row, id=row.get("title", row["term"]))
    for section in SECTIONS
    for row in section["entries"]
]
PAGE = (BOOK / "glossary.md").read_text()
ENTRIES = glossary_entries(PAGE)
WRITTEN = {path.stem[:2]: path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.py")}


def entry_of(row: dict) -> Entry:
    """The one entry of the page for a row of the list."""
    found = [entry for entry in ENTRIES if entry.title == row.get("title", row["term"])]
    assert len(found) == 1, f"{row.get('title', row['term'])}: want it once in glossary.md, found it {len(found)} times"
    return found[0]


# The readers themselves -------------------------------------------------------------------------------------------

SAMPLE = """# G

## A

An aside.

:::{glossary}
One
  A {term}`two <Two (a)>` with $x = 1.5$.
  More {doc}`words <claims>`!

  [({doc}`chapter 00 <chapters/00_a>`, chapter 11)]{.chapters}

Two (a)
  Short
  [(chapter 12)]{.chapters}
:::
"""


def test_glossary_entries_reads_a_page():
    one, two = glossary_entries(SAMPLE)
    assert one.definition == "A {term}`two <Two (a)>` with $x = 1.5$. More {doc}`words <claims>`!"
    assert one.chapters == "{doc}`chapter 00 <chapters/00_a>`, chapter 11"
    assert two == ("A", "Two (a)", "Short", "chapter 12")


def test_plain_counts_a_formula_and_a_role_as_their_text():
    one, two = glossary_entries(SAMPLE)
    assert plain(one.definition) == "A two with x. More words!"
    assert (n_sentences(one.definition), n_sentences(two.definition)) == (2, 0)


def test_chapter_line_links_a_chapter_as_soon_as_its_notebook_exists():
    assert chapter_line(["00", "11"], {}) == "chapter 00, chapter 11"
    assert chapter_line(["00", "11"], {"11": "11_a"}) == "chapter 00, {doc}`chapter 11 <chapters/11_a>`"


def test_link_command_turns_the_plain_line_into_the_wanted_one(tmp_path):
    written, page = {"10": "10_a", "12": "12_b"}, tmp_path / "book" / "glossary.md"
    page.parent.mkdir()
    page.write_text(f"[({chapter_line(['00', '10', '12'], {})})]{{.chapters}}\n")
    for number in ("10", "12", "12"):  # the second time it changes nothing
        subprocess.run(link_command(number, written), shell=True, cwd=tmp_path, check=True)
    assert page.read_text() == f"[({chapter_line(['00', '10', '12'], written)})]{{.chapters}}\n"


def test_term_targets_takes_the_target_and_not_the_text():
    assert term_targets("{term}`Rate` {term}`the\nlink <A (b)>` {doc}`c`") == {"rate", "a (b)"}


def test_notation_symbols_finds_the_row_of_a_name():
    page = "| symbol | meaning | code | where |\n|---|---|---|---|\n| $a$ | b | `c`, `d` | `e` |\n| | f | `g` | h |"
    assert notation_symbols(page, "d") == ["$a$"] and notation_symbols(page, "g") == [""]
    assert notation_symbols(page, "e") == []


# The list ---------------------------------------------------------------------------------------------------------


def test_list_has_every_entry_of_the_source():
    assert [len(section["entries"]) for section in SOURCE] == [section["count"] for section in SOURCE] == COUNTS
    for section in SOURCE:
        terms = [row["term"] for row in section["entries"]]
        assert len(set(terms)) == len(terms)


def test_list_keeps_the_six_terms_of_two_groups_apart():
    first, second, _ = [{row["term"]: row for row in section["entries"]} for section in SOURCE]
    assert first.keys() & second.keys() == IN_TWO_GROUPS
    for group in (first, second):
        assert {term for term, row in group.items() if "title" in row} == IN_TWO_GROUPS
        for term in IN_TWO_GROUPS:
            assert re.fullmatch(rf"{term} \([a-z ]+\)", group[term]["title"])


def test_list_names_only_chapters_of_the_book():
    chapters = yaml.safe_load((BOOK / "claims.yml").read_text())["chapters"]
    for section in SECTIONS:
        for row in section["entries"]:
            assert row["chapters"] and set(row["chapters"]) <= chapters.keys(), row["term"]
            assert row["chapters"] == sorted(set(row["chapters"])), row["term"]


# The page ---------------------------------------------------------------------------------------------------------


def test_page_has_the_sections_and_entries_of_the_list_and_no_others():
    assert list(dict.fromkeys(entry.section for entry in ENTRIES)) == [section["section"] for section in SECTIONS]
    for section in SECTIONS:
        wanted = Counter(row.get("title", row["term"]) for row in section["entries"])
        there = Counter(entry.title for entry in ENTRIES if entry.section == section["section"])
        missing, unwanted = wanted - there, there - wanted
        assert not missing and not unwanted, f"{section['section']}: lacks {missing}, has beside the list {unwanted}"


def test_page_defines_no_word_twice():
    """Sphinx looks terms up without regard to case, and takes the last one."""
    titles = Counter(entry.title.casefold() for entry in ENTRIES)
    assert [title for title, times in titles.items() if times > 1] == []


@pytest.mark.parametrize("section", [section["section"] for section in SECTIONS])
def test_page_is_alphabetical_within_a_section(section):
    keys = [sort_key(entry.title) for entry in ENTRIES if entry.section == section]
    assert keys == sorted(keys)


@pytest.mark.parametrize("section, row", LISTED)
def test_entry_stands_in_its_section_and_is_short(section, row):
    entry = entry_of(row)
    n_words = len(plain(entry.definition).split())
    assert entry.section == section
    assert 5 <= n_words <= MOST_WORDS, f"{entry.title}: want at most {MOST_WORDS} words, got {n_words}"
    assert 1 <= n_sentences(entry.definition) <= MOST_SENTENCES, f"{entry.title}: want one or two sentences"
    assert entry.definition.endswith((".", "!")), f"{entry.title}: want whole sentences"


@pytest.mark.parametrize("section, row", LISTED)
def test_entry_names_its_chapters_and_links_those_that_are_written(section, row):
    printed, wanted = entry_of(row).chapters, chapter_line(row["chapters"], WRITTEN)
    unlinked = [number for number in row["chapters"] if number in WRITTEN and f"/{WRITTEN[number]}>" not in printed]
    cures = "".join(f"\n{link_command(number, WRITTEN)}" for number in unlinked)
    assert printed == wanted, f"{row['term']}: want ({wanted}), got ({printed}){cures}"


SYMBOLS = [param for param in LISTED if "symbol" in param.values[1]]
CODES = [param for param in LISTED if "code" in param.values[1]]


@pytest.mark.parametrize("section, row", SYMBOLS)
def test_entry_shows_its_symbol(section, row):
    formulas = MATH.findall(entry_of(row).definition)
    assert any(row["symbol"] in formula for formula in formulas), f"want ${row['symbol']}$, got {formulas}"


@pytest.mark.parametrize("section, row", CODES)
def test_entry_and_notation_agree_on_the_symbol(section, row):
    cells = notation_symbols((BOOK / "notation.md").read_text(), row["code"])
    assert cells, f"notation.md has no row for {row['code']}"
    assert any(not cell or row.get("symbol", "") in cell for cell in cells), f"want {row['symbol']}, got {cells}"


def test_some_entries_have_a_symbol_and_a_name_in_the_code():
    assert len(SYMBOLS) >= 90 and len(CODES) >= 25


PAGES = [path for path in BOOK.glob("*.md") if path.name != "claims.md"] + list((ROOT / "notebooks").glob("*.py"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_term_that_is_referred_to_is_defined(path):
    assert term_targets(path.read_text()) - {entry.title.casefold() for entry in ENTRIES} == set()


def test_built_page_has_an_anchor_for_every_entry():
    if not BUILT.exists():
        (pytest.fail if os.environ.get("CI", "").lower() in ("1", "true") else pytest.skip)("run `make book`")
    anchors = re.findall(r'<dt id="(term-[^"]+)"', BUILT.read_text())
    assert len(set(anchors)) == len(anchors) == len(ENTRIES)
