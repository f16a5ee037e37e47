"""How a record and a claim look in a notebook, with the JSON that is harvested beside what is read."""

import subprocess
import sys
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from latentlib._executed import MIME

# Colours come from the page, light or dark; `dataframe` makes the book's theme treat the table as it treats pandas'.
_STYLE = "text-align:left;vertical-align:top;white-space:normal;color:inherit"


def show_record(metrics: dict[str, Any], payload: dict[str, Any]) -> None:
    """Metrics as they were given, NaN as NaN; the payload is what JSON can hold."""
    _show([(name, _shown(metric)) for name, metric in metrics.items()], payload, anchor="")


def show_claim(row: dict[str, Any], filled: dict[str, Any]) -> None:
    """A filled row of the ledger, with the anchor claim-<id> that the ledger links to."""
    lines = [
        ("claim", filled["id"]),
        ("statement", row["statement"]),
        ("verdict", filled["verdict"]),
        ("because", filled["reason"]),
    ]
    _show(lines + facts(filled), {"kind": "claim", **filled}, anchor=f"claim-{filled['id']}")


def facts(filled: dict[str, Any]) -> list[tuple[str, str]]:
    """What is printed with every filled row, as names and texts, in this order; empty ones left out."""
    if "measured" not in filled:
        return [("needs", ", ".join(filled["needs"]))] if filled["needs"] else []
    lines = [("measured", statistic(filled))]
    lines += [(f"part: {name}", f"{statistic(part)}: {part['verdict']}") for name, part in filled["parts"].items()]
    lines += [
        ("data", f"{filled['data']}; {', '.join(f'{name} = {_shown(size)}' for name, size in filled['sizes'].items())}")
    ]
    lines += [("repetitions", str(filled["repetitions"])), ("interval", f"95 %, {filled['interval_method']}")]
    lines += [("protocol", "the source's own" if filled["own_protocol"] else "not the source's own")]
    moves = {True: "could move the number", False: "could not move the number"}
    lines += [("deviation", f"{one['text']} ({moves[one['moves_number']]})") for one in filled["deviations"]]
    return lines + ([("note", filled["note"])] if filled["note"] else [])


def statistic(part: dict[str, Any]) -> str:
    """'0.51 [0.48, 0.54], expected 0.5 ± 0.1, null 0'; an interval of width 0 and a missing null are left out."""
    interval = "" if part["interval"][0] == part["interval"][1] else f" {_shown(part['interval'])}"
    null = part["null"] and _shown(part["null"] if part["null"][0] != part["null"][1] else part["null"][0])
    beside = "" if null is None else f", null {null}"
    return f"{_shown(part['measured'])}{interval}, expected {part['expected']}{beside}"


def _shown(metric: Any) -> str:
    if isinstance(metric, list | tuple):
        return f"[{', '.join(map(_shown, metric))}]"
    return f"{metric:.4g}" if isinstance(metric, float) else str(metric)


def _show(lines: list[tuple[str, str]], payload: dict[str, Any], anchor: str) -> None:
    """Display lines as a table, the payload beside it; outside IPython nothing."""
    ipython = sys.modules.get("IPython")
    if ipython is None or ipython.get_ipython() is None:
        return
    width = max(len(name) for name, _ in lines)
    cells = (
        f'<tr><th style="{_STYLE}">{escape(name)}</th><td style="{_STYLE}">{escape(text)}</td></tr>'
        for name, text in lines
    )
    mark = f'<span id="{escape(anchor)}"></span>' if anchor else ""
    table = f'<table class="dataframe latentlib-{payload["kind"]}"><tbody>{"".join(cells)}</tbody></table>'
    bundle = {
        MIME: payload,
        "text/html": mark + table,
        "text/plain": "\n".join(f"{name:<{width}}  {text}" for name, text in lines),
    }
    # In the output's metadata, which no comparison of outputs looks at: the same numbers may come from another machine.
    ipython.display.display(bundle, raw=True, metadata={"latentlib": environment()})


@lru_cache(maxsize=1)
def environment() -> dict[str, str | None]:
    """Device, commit (with -dirty for uncommitted changes; None outside a repository) and versions of this process."""
    import torch

    from latentlib import __version__
    from latentlib._backend import device_name

    python = ".".join(map(str, sys.version_info[:3]))
    versions = f"latentlib {__version__}, torch {torch.__version__}, python {python}"
    return {"device": device_name(), "commit": _commit(Path(__file__).parent), "versions": versions}


def _commit(folder: Path) -> str | None:
    describe = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        run = subprocess.run(describe, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() or None
