"""Sphinx extension: under the title of every chapter, when, where and with what it ran, and its claims.

The facts are read from the executed notebook, from what papermill and the first record or claim wrote into it.
"""

import json
import zlib
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from repository import Repository, chapter_stem, read_repository


def add_facts(app, doctree, docname: str) -> None:
    """Insert the box after the title of a chapter."""
    stem = chapter_stem(docname)
    title = next(iter(doctree.findall(nodes.title)), None)
    path = Path(app.env.doc2path(docname))
    if not stem or title is None or path.suffix != ".ipynb" or app.builder.format != "html":
        return
    from latentlib._executed import read_executed  # here, so that a checkout without the package can say what to run

    (run,) = read_executed(path)
    given = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("papermill", {}).get("parameters", {})
    rows = run_rows(run.columns(), read_repository(app.config.html_theme_options))
    rows.append(("Parameters", parameter_list(run.parameters, given)))
    claims = claims_link(app, docname, stem)
    title.parent.insert(title.parent.index(title) + 1, nodes.raw("", box(run.columns(), rows, claims), format="html"))


def box(run: dict[str, Any], rows: list[tuple[str, str]], claims: str) -> str:
    """Closed it is one line; `details` opens by mouse, by key and without scripts."""
    facts = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in rows)
    opened = f"<details><summary>{escape(headline(run))}</summary><dl>{facts}</dl></details>"
    return f'<div class="run-facts">{opened}{claims}</div>'


def headline(run: dict[str, Any]) -> str:
    """'Ran on 2026-11-21 in 28 s on CPU (2 cores)', as far as it is known."""
    day = run["date"] and moment(run["date"]).strftime("%Y-%m-%d")
    took = None if run["wall_s"] is None else duration(run["wall_s"])
    parts = [("on", day), ("in", took), ("on", run["device"])]
    return " ".join(["Ran", *(f"{word} {text}" for word, text in parts if text)])


def run_rows(run: dict[str, Any], repository: Repository | None) -> list[tuple[str, str]]:
    """(name, HTML) of what is known of the run; what the notebook does not say is a dash."""
    started = run["date"] and moment(run["date"]).strftime("%Y-%m-%d %H:%M UTC")
    seconds = None if run["wall_s"] is None else f"{run['wall_s']:.1f} s"
    told = [("Started", started), ("Run time", seconds), ("Device", run["device"])]
    rows = [(name, escape(text or "–")) for name, text in told]
    return [*rows, ("Commit", commit(run["commit"], repository)), ("Versions", escape(run["versions"] or "–"))]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(timezone.utc)


def duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s" if whole < 100 else f"{whole // 60} min {whole % 60} s"


def commit(told: str | None, repository: Repository | None) -> str:
    """The commit, linked where there is an address; its '-dirty' is said in words."""
    if not told:
        return "–"
    key = told.removesuffix("-dirty")
    text = f"<code>{escape(key)}</code>"
    linked = f'<a href="{escape(repository.commit(key))}">{text}</a>' if repository and key.isalnum() else text
    return linked if key == told else f"{linked} with uncommitted changes"


def parameter_list(used: dict[str, Any], given: dict[str, Any]) -> str:
    """Every parameter with its value; those that the run was given instead of its default are marked."""
    if not used:
        return "–"
    marked = [
        f"<code>{escape(f'{name} = {value!r}')}</code>{' (given)' if name in given else ''}"
        for name, value in used.items()
    ]
    return f"{'; '.join(marked)}{'' if given else ' (the defaults)'}"


def claims_link(app, docname: str, stem: str) -> str:
    """Where the ledger has rows of this chapter."""
    register = Path(app.srcdir) / "book" / "claims.yml"
    if "book/claims" not in app.env.found_docs or not register.is_file():
        return ""
    from latentlib.register import read_register

    number = stem[:2]
    rows = sum(row["chapter"] == number for row in read_register(register).claims.values())
    address = f"{app.builder.get_relative_uri(docname, 'book/claims')}#chapter-{number}"
    return f'<a href="{escape(address)}">Claims of this chapter ({rows})</a>' if rows else ""


def setup(app) -> dict:
    app.connect("doctree-resolved", add_facts)
    parts = (Path(__file__).with_name(f"{name}.py").read_bytes() for name in ("page_facts", "repository"))
    version = zlib.crc32(b"".join(parts))  # a changed extension writes every page anew
    return {"env_version": version, "parallel_read_safe": True, "parallel_write_safe": True}
