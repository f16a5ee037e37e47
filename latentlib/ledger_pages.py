"""The pages of the ledger: book/claims.md and claims.csv, book/provenance.md, written from the executed chapters."""

import csv
import io
import re
from pathlib import Path
from typing import Any

from latentlib._claims_page import anchor, claims_page
from latentlib._executed import Executed, read_executed
from latentlib._files import replace_file
from latentlib.ledger import claims_of
from latentlib.register import Register, read_register

CSV_COLUMNS = (
    *(
        "id",
        "source",
        "section",
        "statement",
        "dataset",
        "printed",
        "chapter",
        "needs",
        "verdict",
        "reason",
        "measured",
    ),
    *("interval_low", "interval_high", "expected", "null_low", "null_high", "parts", "data", "sizes", "repetitions"),
    *("interval_method", "own_protocol", "deviations", "note", "link"),
)


def write_pages(root: str | Path) -> list[Path]:
    """Write the three pages of the project at `root` from book/claims.yml and book/chapters/*.ipynb.

    Every row of the register is there; one that no chapter filled prints `open`. The same chapters give the same bytes,
    and a page that would not change is not touched. Returns: the pages written. Raises: FileNotFoundError without
    claims.yml, KeyError for a filled row that is not in it, ValueError for one filled twice or by a wrong chapter.
    """
    book = Path(root) / "book"
    if not (book / "claims.yml").is_file():
        raise FileNotFoundError(f"harvest pages: want book/claims.yml in {root}, found none")
    claims = read_register(book / "claims.yml")
    notebooks = sorted((book / "chapters").glob("*.ipynb"))
    filled = claims_of(notebooks)
    for row in filled.values():
        _check_chapter(claims, row)
    pages = {
        "claims.md": claims_page(claims, filled),
        "claims.csv": _claims_csv(claims, filled),
        "provenance.md": _provenance_page(read_executed(notebooks)),
    }
    return [book / name for name, text in pages.items() if replace_file(book / name, text)]


def _check_chapter(claims: Register, filled: dict[str, Any]) -> None:
    chapter, got = claims.chapters[claims.row(filled["id"])["chapter"]], Path(filled["path"]).stem
    if got != chapter:
        raise ValueError(f"claims: want {filled['id']!r} filled by chapter {chapter}, got it from {got}")


def _claims_csv(claims: Register, filled: dict[str, dict[str, Any]]) -> str:
    file = io.StringIO()
    table = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\n", extrasaction="ignore")
    table.writeheader()
    for row in claims.claims.values():
        table.writerow(
            {"verdict": "open", **row, "needs": " ".join(row["needs"]), **_csv_cells(filled.get(row["id"], {}))}
        )
    return file.getvalue()


def _csv_cells(filled: dict[str, Any]) -> dict[str, Any]:
    cells = {name: filled[name] for name in CSV_COLUMNS if name in filled}
    if filled:
        cells |= {"needs": " ".join(filled["needs"]), "link": anchor(filled)}
    if "measured" in filled:
        cells["interval_low"], cells["interval_high"] = filled["interval"]
        cells["null_low"], cells["null_high"] = filled["null"] or (None, None)
        cells["sizes"] = "; ".join(f"{name}={size}" for name, size in filled["sizes"].items())
        cells["deviations"] = "; ".join(one["text"] for one in filled["deviations"])
        cells["parts"] = "; ".join(f"{name}: {part['verdict']}" for name, part in filled["parts"].items())
    return cells


def _provenance_page(notebooks: list[Executed]) -> str:
    lines = ["# Provenance\n", "When, where and with which parameters the chapters of this book were executed.\n"]
    runs, given = [], []
    for notebook in notebooks:
        run, stem = notebook.columns(), Path(notebook.path).stem
        seconds = "–" if run["wall_s"] is None else f"{run['wall_s']:.1f}"
        # 2026-11-21T09:19:49.995330+00:00 → 2026-11-21 09:19: papermill's clock is UTC.
        run = {**run, "date": str(run["date"] or "–")[:16].replace("T", " ")}
        told = [_text(str(run[name] or "–")) for name in ("status", "date", "device", "commit", "versions")]
        runs.append((f'<a href="chapters/{stem}.html">{_text(stem)}</a>', *told[:2], seconds, *told[2:]))
        given += [(_text(stem), f"`{name}`", _text(repr(value))) for name, value in notebook.parameters.items()]
    lines += _table(("chapter", "status", "started (UTC)", "seconds", "device", "commit", "versions"), runs)
    if given:
        lines += ["## Parameters\n", *_table(("chapter", "parameter", "value"), given)]
    return "\n".join(lines)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    cells = [head, ("---",) * len(head), *rows]
    return [*(f"| {' | '.join(row)} |" for row in cells), ""]


def _text(text: str) -> str:
    """Plain text as Markdown that shows it unchanged, in one line."""
    return re.sub(r"([\\`*_{}\[\]<>|$~#])", r"\\\1", " ".join(text.split()))
