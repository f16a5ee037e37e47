"""The command line: python -m latentlib data | sweep | harvest | bench."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

OPTIONS = {"no_args_is_help": True, "rich_markup_mode": None, "pretty_exceptions_enable": False}
app = typer.Typer(add_completion=False, **OPTIONS)
data = typer.Typer(help="Data sets: what there is, whether the files are right, fetch and verify.", **OPTIONS)
sweep = typer.Typer(help="A chapter over a grid of parameters, through papermill, to one table.", **OPTIONS)
harvest = typer.Typer(help="Results of executed notebooks: a table of runs, the ledger's pages.", **OPTIONS)
app.add_typer(data, name="data")
app.add_typer(sweep, name="sweep")
app.add_typer(harvest, name="harvest")

DataSet = Annotated[str, typer.Argument(help="a name from `data list`", metavar="NAME")]
SweepFile = Annotated[
    Path, typer.Argument(help="the sweep's YAML: chapter, grid, fixed", metavar="FILE.yml", exists=True, dir_okay=False)
]
PictureSize = Annotated[int | None, typer.Option(help="side of the pictures, where they come in any size")]


@app.callback()
def main(
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or auto; sets LATENTLIB_DEVICE for this command")] = "",
) -> None:
    """Phases of autoencoder latent spaces: data, sweeps, results, benchmarks.

    \b
    Examples:
      python -m latentlib data list
      python -m latentlib sweep plan notebooks/00_one_spectrum.sweep.yml
      python -m latentlib sweep run notebooks/00_one_spectrum.sweep.yml --workers 2
      python -m latentlib harvest table book/chapters --to results.csv
      python -m latentlib --device auto bench
    """
    if device:
        from latentlib._backend import device as chosen

        os.environ["LATENTLIB_DEVICE"] = str(chosen(device))


@data.command("list")
def data_list() -> None:
    """Every data set: samples, shape, where it is, source, licence.

    \b
    Example:
      python -m latentlib data list
    """
    from latentlib import datasets

    columns = ("name", "n_samples", "shape", "where", "source", "licence")
    _echo_table(columns, [[entry[column] for column in columns] for entry in datasets.catalogue()])


@data.command("check")
def data_check(name: DataSet, size: PictureSize = None) -> None:
    """Verify the files of a data set by the SHA-256 of the decoded arrays; nothing is fetched.

    \b
    Example:
      LATENTLIB_DATA=~/data python -m latentlib data check mnist
    """
    from latentlib import datasets

    found = datasets.check(name, size=size)
    _echo_table(
        ("file", "array", "sha256"), [[file, *array] for file, arrays in found.items() for array in arrays.items()]
    )


@data.command("get")
def data_get(name: DataSet, size: PictureSize = None) -> None:
    """Fetch a data set into data/cache/, verify and decode it; the files you put into data/cache/NAME/ are taken.

    \b
    Example:
      python -m latentlib data get kmnist
      python -m latentlib data get dtd --size 64
    """
    from latentlib import datasets

    typer.echo(f"{name}: {datasets.install(name, size=size) or 'part of scikit-learn'}")


@sweep.command("plan")
def sweep_plan(file: SweepFile) -> None:
    """Print the runs of a sweep, without running them; the last line is their number.

    \b
    A sweep is a YAML beside its chapter, say notebooks/00_one_spectrum.sweep.yml:
      chapter: notebooks/00_one_spectrum.py
      grid: {seed: [0, 1, 2], dataset: [digits, breast_cancer]}
      fixed: {n_latent: 8}
    """
    from latentlib.sweep.plan import read_sweep

    planned = read_sweep(file)
    names = list(dict.fromkeys(name for run in planned.runs for name in run.parameters))
    _echo_table(("run_id", *names), [[run.run_id, *(run.parameters[name] for name in names)] for run in planned.runs])
    typer.echo(f"{len(planned.runs)} runs")


@sweep.command("run")
def sweep_run(
    file: SweepFile,
    workers: Annotated[int, typer.Option(min=1, help="notebooks at a time, one process and one thread each")] = 1,
    output: Annotated[
        Path | None, typer.Option(help="folder of notebooks and table; default data/cache/sweeps/<name>")
    ] = None,
) -> None:
    """Execute the runs that are not done and write runs.parquet. Interrupted at any moment, the same command continues.

    \b
    Example:
      python -m latentlib sweep run notebooks/00_one_spectrum.sweep.yml --workers 2
    """
    from latentlib.sweep.harvest import TABLE
    from latentlib.sweep.plan import read_sweep
    from latentlib.sweep.run import run_sweep

    planned = read_sweep(file)
    errors = run_sweep(planned, workers=workers, output=output)
    typer.echo(
        f"{len(planned.runs) - len(errors)} of {len(planned.runs)} runs done: {(output or planned.output) / TABLE}"
    )
    if errors:
        raise typer.Exit(1)


@harvest.command("table")
def harvest_table(
    paths: Annotated[list[str], typer.Argument(help="executed notebooks, folders or globs", metavar="PATH...")],
    to: Annotated[Path | None, typer.Option(help="write .csv or .parquet instead of printing")] = None,
) -> None:
    """One row per executed notebook: status, time, device, parameters, recorded metrics.

    \b
    Example:
      python -m latentlib harvest table book/chapters --to results.parquet
    """
    if to and to.suffix not in (".csv", ".parquet"):
        raise typer.BadParameter(f"want a file ending in .csv or .parquet, got {to}", param_hint="--to")
    from latentlib.ledger import harvest as harvested

    table = harvested(paths)
    if to is None:
        typer.echo(table.to_string(index=False))
    elif to.suffix == ".csv":
        table.to_csv(to, index=False)
    else:
        table.to_parquet(to, index=False)


@harvest.command("pages")
def harvest_pages(
    root: Annotated[Path, typer.Option(help="the project's root, the folder with book/")] = Path(),
) -> None:
    """Write book/claims.md, book/claims.csv and book/provenance.md from the executed chapters in book/chapters/.

    \b
    Example:
      python -m latentlib harvest pages
    """
    from latentlib.ledger_pages import write_pages

    for page in write_pages(root):
        typer.echo(f"wrote {page}")


@app.command("bench")
def bench(
    cases: Annotated[
        list[str] | None, typer.Argument(help="cases to run; all, if none is named", metavar="[CASE...]")
    ] = None,
    out: Annotated[Path, typer.Option(help="folder of the tables")] = Path("data/bench"),
) -> None:
    """Time the kernels beside their references and write data/bench/*.csv; the device is that of --device.

    \b
    Example:
      python -m latentlib --device auto bench
    """
    from latentlib import bench as benchmarks

    rows = benchmarks.run(cases=cases or None, device=os.environ.get("LATENTLIB_DEVICE"), out=str(out))
    columns = ("kernel", "impl", "shape", "dtype", "median_ms", "p20", "p80", "floor_ms", "baseline_ms", "peak_mb", "device")
    _echo_table(columns, [[row[column] for column in columns] for row in rows])


def _echo_table(columns: tuple[str, ...], rows: list[list[Any]]) -> None:
    texts = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for row in texts:
        typer.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def run(arguments: list[str] | None = None) -> int:
    """Run the command line; returns 0, or after one line of error 1 for a failure and 2 for a use it does not know."""
    try:
        return app(arguments, prog_name="python -m latentlib", standalone_mode=False) or 0
    except KeyboardInterrupt:
        return _fail("interrupted", 1)
    except Exception as error:  # whatever stopped it is said in one line
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(error.ctx.get_help(), err=True)
            return 2
        if hasattr(error, "format_message"):  # typer's own: the command line was wrong
            return _fail(error.format_message(), error.exit_code)
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        return _fail(str(text) or type(error).__name__, 2 if type(error).__name__ == "SweepError" else 1)


def _fail(message: str, code: int) -> int:
    typer.echo(f"latentlib: error: {' '.join(message.split())}", err=True)
    return code


if __name__ == "__main__":
    sys.exit(run())
