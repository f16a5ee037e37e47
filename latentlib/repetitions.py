"""Numbers over repetitions: those a run keeps to be recorded, or a row for every run of a sweep, read the same way.

    own = repetitions.Repetitions()                       # this run: one row
    own.keep(q_shift=0.3, chi=curves)                     # curves (n_sizes, n_controls)
    runs = repetitions.of_table("12_latent_phases")       # the runs of a committed sweep, which kept the same
    runs.values("chi", 3, -1)                             # (n_repetitions, 3, n_controls)
    claim("…", *runs.stat("q_shift"), "> 0", repetitions=len(runs), …)
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latentlib.evidence import Part
from latentlib.interval import mean_interval


class Repetitions:
    """Lists of numbers by name, one list for each repetition. `numbers` has those of the first: what a run records."""

    def __init__(self, rows: list[Mapping[str, Any]] | None = None) -> None:
        """Rows of numbers by name; None, one empty row, for `keep`. Raises: ValueError for no row."""
        if rows is not None and not len(rows):
            raise ValueError("Repetitions: want one row or more, got none")
        self.rows = [{}] if rows is None else [dict(row) for row in rows]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def numbers(self) -> dict[str, list[float]]:
        """Flat lists by name, of the first row: for `record(**own.numbers)`."""
        return self.rows[0]

    def keep(self, **values: Any) -> None:
        """Add numbers, arrays or tensors to the row of a single run, each as a flat list of float64.

        Raises: ValueError for a name that is kept already, and where there are several rows.
        """
        if len(self) != 1:
            raise ValueError(f"keep: want the row of one run, got {len(self)} rows")
        if again := sorted(values.keys() & self.numbers.keys()):
            raise ValueError(f"keep: want new names, got {', '.join(again)} again")
        flat = {name: torch.as_tensor(of, dtype=torch.float64).flatten().tolist() for name, of in values.items()}
        self.numbers.update(flat)

    def values(self, name: str, *shape: int) -> Tensor:
        """The numbers of a name, (n_repetitions, *shape) float64; without a shape (n_repetitions,), one number each.

        Raises: KeyError for a name that is not there; ValueError for rows that differ in length or do not fit.
        """
        missing = [i for i, row in enumerate(self.rows) if name not in row]
        if missing:
            raise KeyError(f"values: want a name that was kept, {', '.join(self.numbers)}; got {name!r}")
        rows = [torch.tensor(row[name], dtype=torch.float64).flatten() for row in self.rows]
        lengths = sorted({len(row) for row in rows})
        if len(lengths) > 1:
            raise ValueError(f"{name}: want as many numbers in every repetition, got {lengths}")
        try:
            return torch.stack(rows).reshape(len(self), *shape)
        except RuntimeError as error:
            raise ValueError(f"{name}: want {shape} numbers a repetition, got {lengths[0]}") from error

    def spread(self, of: str | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean over repetitions and the ends of its Student interval, each (…).

        One repetition has no interval: both ends are its value, and a claim on trained networks stays open.
        Args: of, a name with one number a repetition, or values (n_repetitions, …). Raises: as `values`, `mean_interval`.
        """
        values = self.values(of) if isinstance(of, str) else of
        return mean_interval(values) if len(values) > 1 else (values[0], values[0], values[0])

    def stat(self, of: str | Tensor) -> tuple[float, tuple[float, float]]:
        """`spread` of a single number, as `claim` takes it: measured, (low, high)."""
        mean, low, high = (end.item() for end in self.spread(of))
        return mean, (low, high)

    def part(self, of: str | Tensor, expected: str, null: float | tuple[float, float] | str | None = None) -> Part:
        """`stat` as a part of a claim, with its expectation and null; of a null by name, its mean."""
        return Part(*self.stat(of), expected, self.stat(null)[0] if isinstance(null, str) else null)

    def words(self, of: str | Tensor, digits: int = 2, back: Callable[[Tensor], Tensor] = torch.clone) -> str:
        """`stat` in words, `0.31 [0.28, 0.34]`; of one repetition the value alone.

        back, a rising map applied to mean and ends: torch.exp, where the values are logarithms.
        """
        numbers = (round(back(end).item(), digits) + 0 for end in self.spread(of))  # + 0: no -0
        mean, low, high = (f"{number:.{digits}f}" for number in numbers)
        return f"{mean} [{low}, {high}]" if len(self) > 1 else mean


def of_table(sweep: str | Path) -> Repetitions:
    """The runs of a sweep that ended well, as `sweep.read_table` finds its table.

    Raises: FileNotFoundError where there is none; ValueError where no run ended well, or some did not.
    """
    from latentlib.sweep import read_table

    table = read_table(sweep)
    failed = [] if "status" not in table else table.index[table["status"] == "failed"].tolist()
    if failed:
        raise ValueError(f"of_table: want runs that ended well, got {len(failed)} of {len(table)} failed; run the sweep again")
    return Repetitions(table.to_dict("records"))
