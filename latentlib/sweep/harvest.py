"""The table of a sweep: one row per run, parameters and metrics as columns, in one parquet file."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from latentlib._files import replace_file
from latentlib.ledger import harvest
from latentlib.sweep.plan import Sweep

if TYPE_CHECKING:
    import pandas

TABLE = "runs.parquet"
COMMITTED = Path(__file__).resolve().parents[2] / "data" / "sweeps"


def write_table(sweep: Sweep, output: Path, errors: dict[str, str]) -> Path:
    """Harvest the runs of the sweep, in its order, into runs.parquet: run_id, then the columns of `harvest`.

    Failed runs are rows with their error (`errors`, by run id, for one that left no notebook). Other notebooks in the
    folder belong to other versions of the sweep and are left out.
    """
    import pandas

    ids = [run.run_id for run in sweep.runs]
    found = {name: path for name in ids if (path := _notebook(output, name))}
    table = harvest(found.values()).assign(path=[path.name for path in found.values()])
    table.insert(0, "run_id", list(found))
    lost = [
        {"run_id": run.run_id, "status": "failed", "error": errors.get(run.run_id), **run.parameters}
        for run in sweep.runs
        if run.run_id not in found
    ]
    if lost:
        table = pandas.concat([table, pandas.DataFrame(lost)], ignore_index=True)
    table = table.set_index("run_id").loc[ids].reset_index()
    table = table.apply(_storable)
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    replace_file(output / TABLE, buffer.getvalue())
    return output / TABLE


def _storable(column: "pandas.Series") -> "pandas.Series":
    """A column as parquet can hold it: lists of unlike things, which have no one type there, as JSON."""
    import pyarrow

    try:
        pyarrow.array(column, from_pandas=True)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
        return column.map(json.dumps)
    return column


def _notebook(output: Path, run_id: str) -> Path | None:
    return next((path for ending in ("", ".failed") if (path := output / f"{run_id}{ending}.ipynb").exists()), None)


def read_table(sweep: str | Path) -> "pandas.DataFrame":
    """The table of a sweep: of its output folder, of a parquet file, or by name the committed data/sweeps/<name>.parquet.

    Raises FileNotFoundError where there is none, naming the tables that are committed.
    """
    import pandas

    path = Path(sweep)
    path = path / TABLE if path.is_dir() else path
    committed = COMMITTED / f"{sweep}.parquet"
    if not path.is_file() and committed.is_file():
        path = committed
    if not path.is_file():
        names = ", ".join(sorted(table.stem for table in COMMITTED.glob("*.parquet"))) or "none"
        raise FileNotFoundError(f"sweep: want the table {TABLE} of a sweep that was run, found none at {path}; committed: {names}")
    return pandas.read_parquet(path)
