"""An executed notebook, read back: did it run, with which parameters, and what it carried out as JSON."""

import ast
import glob
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MIME = "application/vnd.latentlib.record+json"
# What `harvest` says of every run before its parameters and metrics; no metric can have these names.
RUN_COLUMNS = ("path", "status", "error", "date", "wall_s", "device", "commit", "versions")


@dataclass
class Executed:
    """status: done, failed (a cell raised), incomplete (cells never ran), unexecuted, unreadable (no notebook)."""

    path: str
    status: str
    error: str | None = None
    date: str | None = None
    wall_s: float | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    outputs: list[tuple[str, dict[str, Any], dict[str, Any]]] = field(default_factory=list)

    def payloads(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The cell, as 'cell [3]', and the JSON of every record or claim, in order."""
        return ((cell, payload) for cell, payload, _ in self.outputs if payload.get("kind") == kind)

    def columns(self) -> dict[str, Any]:
        """The values of RUN_COLUMNS: device, commit and versions as the first output saw them."""
        environment = next((seen for _, _, seen in self.outputs if seen), {})
        return {name: getattr(self, name, environment.get(name)) for name in RUN_COLUMNS}


def read_executed(paths: str | Path | Iterable[str | Path]) -> list[Executed]:
    """Read notebooks, folders (searched below) and globs. Raises FileNotFoundError for a path that matches nothing."""
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    return [_read(path) for path in dict.fromkeys(file for path in paths for file in _files(str(path)))]


def _files(path: str) -> list[str]:
    if Path(path).is_dir():
        below = (
            file
            for file in Path(path).rglob("*.ipynb")
            if not any(part[0] == "." for part in file.relative_to(path).parts)
        )
        return sorted(map(str, below))
    found = [path] if Path(path).is_file() else sorted(glob.glob(path, recursive=True))
    if not found:
        raise FileNotFoundError(f"harvest: want a notebook, a folder or a glob that matches, got {path!r}")
    return found


def _read(path: str) -> Executed:
    try:
        notebook = json.loads(Path(path).read_text(encoding="utf-8"))
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]
        metadata = notebook["metadata"].get("papermill", {})
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Executed(path, "unreadable", f"{type(error).__name__}: {error}")
    status, error = _status(code, metadata)
    return Executed(
        path,
        status,
        error,
        metadata.get("start_time"),
        metadata.get("duration"),
        _parameters(code, metadata),
        _outputs(code),
    )


def _name(cell: dict[str, Any]) -> str:
    return f"cell [{cell.get('execution_count') or ' '}]"


def _status(code: list[dict[str, Any]], metadata: dict[str, Any]) -> tuple[str, str | None]:
    for cell in code:
        for output in cell["outputs"]:
            # papermill takes SystemExit(0) as a chapter that ends early on purpose
            stopped = output.get("ename") == "SystemExit" and output.get("evalue") in ("", "0")
            if output["output_type"] == "error" and not stopped:
                return "failed", f"{_name(cell)}: {output['ename']}: {' '.join(output['evalue'].split())}"
            if stopped:
                return "done", None
    if metadata.get("exception"):
        return "failed", metadata.get("error", "the kernel stopped")
    ran = [cell.get("execution_count") is not None for cell in code]
    return ("done" if all(ran) else "incomplete" if any(ran) else "unexecuted"), None


def _parameters(code: list[dict[str, Any]], metadata: dict[str, Any]) -> dict[str, Any]:
    """The literals of the parameters cell, overlaid by what papermill was given."""
    defaults: dict[str, Any] = {}
    for cell in code:
        if "parameters" in cell["metadata"].get("tags", []):
            defaults |= _literals("".join(cell["source"]))
    return defaults | metadata.get("parameters", {})


def _literals(source: str) -> dict[str, Any]:
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return {}
    found = {}
    for line in body:
        targets = (
            line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.AnnAssign) else []
        )
        for target in targets:
            try:
                found[target.id] = ast.literal_eval(line.value)
            except (ValueError, TypeError, AttributeError):  # not a literal, or not a plain name: no parameter
                continue
    return found


def _outputs(code: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    return [
        (_name(cell), output["data"][MIME], output.get("metadata", {}).get("latentlib", {}))
        for cell in code
        for output in cell["outputs"]
        if MIME in output.get("data", {})
    ]
