"""book/claims.md: every row of the register as HTML that stands without a script and that claims.js can filter."""

from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

from latentlib._ledger_output import facts
from latentlib.expectation import VERDICTS
from latentlib.register import Register

Row = dict[str, Any]
COLUMNS = ("claim", "printed", "measured", "verdict", "chapter")
INTRODUCTION = """\
Every checkable claim of the sources, {count} rows, with the verdict a chapter computed for it from a measurement, its
95 % interval, an expectation and a null fixed before the run. *Reproduced*, *partial* and *failed* are said only on the
source's own data and protocol, else *supported here* or *contradicted here*; *open* is not run yet, or inconclusive.
<a href="how_to_read.html#verdict-words">The rule</a> is one for all. The same rows as a table:
{{download}}`claims.csv`.
"""
LEGEND = """\
Under each claim stands where its source makes it: section, figure or equation; *A:* is its glossary. *Printed* is the
number in the source (n.r.: not recovered from the copies read), *measured* ours with its 95 % interval, – none; D# is
data to be supplied, {ref}`listed at the end <claims-data>`.
"""


def claims_page(claims: Register, filled: dict[str, Row]) -> str:
    """The whole page, Markdown around HTML: the counts, a table for each source, the claims by chapter, the data."""
    parts = [
        "# Claims\n",
        INTRODUCTION.format(count=len(claims.claims)),
        _counts(claims, filled),
        LEGEND,
        *(_source(claims, key, filled) for key in claims.sources),
        "## Claims by chapter\n",
        _by_chapter(claims, filled),
        "(claims-data)=\n## Data to be supplied\n",
        _data(claims),
        # Of this page alone. It adds the filters, so that none stands there without working.
        '<script src="../_static/claims.js" defer></script>\n',
    ]
    return "\n".join(parts)


def verdict(name: str, filled: dict[str, Row]) -> str:
    """The word of a row, filled or not."""
    return filled[name]["verdict"] if name in filled else "open"


def anchor(filled: Row) -> str:
    """The cell that filled a row, as an address beside the claims page."""
    return f"chapters/{Path(filled['path']).stem}.html#claim-{filled['id']}"


def _counts(claims: Register, filled: dict[str, Row]) -> str:
    words = Counter(verdict(name, filled) for name in claims.claims)
    items = "".join(f"<li><b>{words[word]}</b> {word}</li>" for word in VERDICTS)
    return f'<ul class="claims-counts" aria-label="rows by verdict">{items}</ul>\n'


def _source(claims: Register, key: str, filled: dict[str, Row]) -> str:
    source, rows = claims.sources[key], [row for row in claims.claims.values() if row["source"] == key]
    head = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    lines = [
        f"(claims-{key})=\n## {source['title']}\n",
        f"arXiv:{source['arxiv']}, here [{key}]: {len(rows)} rows.\n",
        f'<table class="claims" data-source="{key}"><thead><tr>{head}</tr></thead><tbody>',
        *(_row(claims, row, filled.get(row["id"])) for row in rows),
        "</tbody></table>\n",
    ]
    return "\n".join(lines)


def _row(claims: Register, row: Row, filled: Row | None) -> str:
    """One line, one row. The ids are those of the chapters' cells, so one name leads to both."""
    word, number = filled["verdict"] if filled else "open", row["chapter"]
    missing = f" ({', '.join(filled['needs'])})" if filled and "measured" not in filled and filled["needs"] else ""
    # Raw addresses: a Markdown link to a page that the build has yet to write is a warning, and warnings are errors.
    link = f'<a href="{anchor(filled)}">{number}, {escape(filled["cell"])}</a>' if filled else number
    cells = (
        ("printed", _text(row["printed"] or "–")),
        ("measured", _measured(filled)),
        ("verdict", f'<span class="verdict">{word}</span>{_text(missing)}'),
        ("chapter", link),
    )
    marks = f'id="claim-{row["id"]}" data-verdict="{word}" data-chapter="{number}"'
    return f"<tr {marks}>{_claim(row, filled)}{''.join(_cell(name, text) for name, text in cells)}</tr>"


def _claim(row: Row, filled: Row | None) -> str:
    name = f'<a class="claim-id" href="#claim-{row["id"]}">{row["id"]}</a>'
    where = f'<span class="claim-section">{_text(row["section"])}</span>'
    return f'<th scope="row">{name} {_text(row["statement"])} {where}{_in_full(filled) if filled else ""}</th>'


def _cell(name: str, text: str) -> str:
    empty = " data-empty" if text == "–" else ""
    return f'<td data-name="{name}"{empty}>{text}</td>'


def _measured(filled: Row | None) -> str:
    if not filled or "measured" not in filled:
        return "–"
    low, high = filled["interval"]
    return f"{filled['measured']:.4g} [{low:.4g}, {high:.4g}]"


def _in_full(filled: Row) -> str:
    """What the rule prints with every filled row; `details` opens by mouse, by key and without scripts."""
    told = [("because", filled["reason"]), *facts(filled)]
    items = "".join(f"<dt>{_text(name)}</dt><dd>{_text(text)}</dd>" for name, text in told)
    return f"<details><summary>Why {filled['verdict']}</summary><dl>{items}</dl></details>"


def _by_chapter(claims: Register, filled: dict[str, Row]) -> str:
    """An entry per chapter; its anchor chapter-NN lies inside, so that a browser that goes there opens the list."""
    entries = []
    for number, stem in claims.chapters.items():
        names = [name for name, row in claims.claims.items() if row["chapter"] == number]
        done = sum(name in filled for name in names)
        links = "".join(f'<li><a href="#claim-{name}">{name}</a> {verdict(name, filled)}</li>' for name in names)
        told = f"{number} {stem[3:].replace('_', ' ')}: {len(names)} claims, {done} measured"
        opened = f'<ul id="chapter-{number}">{links}</ul>'
        entries.append(f'<details class="claims-chapter"><summary>{told}</summary>{opened}</details>')
    return "\n".join(entries) + "\n"


def _data(claims: Register) -> str:
    items = "".join(f"<dt>{key}</dt><dd>{_text(what)}</dd>" for key, what in claims.data.items())
    return f'<dl class="claims-data">{items}</dl>\n'


def _text(text: str) -> str:
    """Plain text as HTML, in one line: a line break or an empty line would end the block in Markdown."""
    return escape(" ".join(text.split()), quote=False)
