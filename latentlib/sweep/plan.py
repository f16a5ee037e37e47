"""What a sweep will run: its YAML, read strictly, as one set of parameters per run and an id for each."""

import hashlib
import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentlib._files import folder_above
from latentlib._messages import nearest

if TYPE_CHECKING:
    import nbformat

KEYS = ("chapter", "grid", "fixed")


class SweepError(ValueError):
    """A sweep that cannot be run as it is written: said before anything runs."""


@dataclass(frozen=True)
class Run:
    """One run: `run_id` is the hash of the chapter's code and the parameters, so a run that is done stays done."""

    run_id: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """A sweep that can be run; `output` is where its notebooks and its table go unless told otherwise."""

    name: str
    chapter: Path
    notebook: "nbformat.NotebookNode"
    runs: tuple[Run, ...]
    output: Path


def read_sweep(path: str | Path) -> Sweep:
    """Read and check a sweep. Runs are the product of the grid's lists, the last varying fastest, each with `fixed`.

    Raises: FileNotFoundError for the file or its chapter; SweepError for an unknown key or parameter (naming the
    nearest valid one), an empty list, a repeated value, or a parameter that is both varied and fixed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"sweep: want a YAML file, found none at {path}")
    text = _yaml(path)
    chapter = _chapter(path, text["chapter"])
    notebook = read_chapter(chapter)
    grid, fixed = _mapping(path, text, "grid"), _mapping(path, text, "fixed")
    _check_grid(path, grid, fixed)
    known = _parameters(notebook)
    for name in (*grid, *fixed):
        if name not in known:
            raise SweepError(
                f"{path.name}: want parameters of {chapter.name}, got {name!r}; {nearest(str(name), known)}"
            )
    points = [fixed | dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    name = path.name.split(".")[0]
    root = folder_above(path.parent, "book/claims.yml", "pyproject.toml") or path.parent
    return Sweep(
        name,
        chapter,
        notebook,
        tuple(Run(run_id(notebook, point), point) for point in points),
        root / "data/cache/sweeps" / name,
    )


def run_id(notebook: "nbformat.NotebookNode", parameters: dict[str, Any]) -> str:
    """16 hex digits of code and parameters; the order of parameters and the prose of the chapter do not enter."""
    code = [[cell.source, sorted(cell.metadata.get("tags", []))] for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps([code, parameters], sort_keys=True).encode()).hexdigest()[:16]


def read_chapter(path: Path) -> "nbformat.NotebookNode":
    """The chapter as a notebook, from its .ipynb or from its .py in percent format."""
    import nbformat

    if path.suffix == ".py":
        import jupytext

        notebook = jupytext.read(path)
    else:
        notebook = nbformat.read(path, as_version=4)
    notebook.metadata.setdefault("kernelspec", {"name": "python3", "display_name": "Python 3", "language": "python"})
    return notebook


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML's floats as people write them: 1e-3 is a number, not a string."""

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
    )
    try:
        text = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
    except yaml.YAMLError as error:
        raise SweepError(f"{path.name}: want YAML, got {' '.join(str(error).split())}") from error
    if not isinstance(text, dict) or "chapter" not in text:
        raise SweepError(
            f"{path.name}: want the keys {', '.join(KEYS)}, got {sorted(text) if isinstance(text, dict) else text!r}"
        )
    for key in text:
        if key not in KEYS:
            raise SweepError(f"{path.name}: want the keys {', '.join(KEYS)}, got {key!r}; {nearest(str(key), KEYS)}")
    return text


def _chapter(path: Path, chapter: Any) -> Path:
    """The chapter beside the YAML, or from a folder above it: the project's root is one."""
    folder = folder_above(path.parent, str(chapter))
    found = folder / str(chapter) if folder else None
    if found is None or found.suffix not in (".py", ".ipynb"):
        raise FileNotFoundError(
            f"{path.name}: want chapter as a .py or .ipynb, from the project's root or beside it, got {chapter!r}"
        )
    return found


def _mapping(path: Path, text: dict[str, Any], key: str) -> dict[str, Any]:
    mapping = text.get(key) or {}
    if not isinstance(mapping, dict):
        raise SweepError(f"{path.name}: want {key} as parameter: value, got {mapping!r}")
    return mapping


def _check_grid(path: Path, grid: dict[str, Any], fixed: dict[str, Any]) -> None:
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise SweepError(f"{path.name}: want grid {name} as a list of values, got {values!r}")
    both = sorted(set(grid) & set(fixed))
    if both:
        raise SweepError(f"{path.name}: want every parameter in grid or in fixed, got {both[0]!r} in both")
    for name, values in {**grid, **{name: [value] for name, value in fixed.items()}}.items():
        try:
            texts = [json.dumps(value, sort_keys=True) for value in values]
        except TypeError as error:
            raise SweepError(f"{path.name}: want {name} as numbers, strings, bools or lists, got {values!r}") from error
        if len(set(texts)) < len(texts):
            raise SweepError(f"{path.name}: want every value of {name} once, got {values!r}")


def _parameters(notebook: "nbformat.NotebookNode") -> tuple[str, ...]:
    """The names in the cell tagged `parameters`, as papermill infers them."""
    import papermill

    return tuple(papermill.inspect_notebook(notebook))
