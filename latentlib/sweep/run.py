"""Executes the runs of a sweep that are not done: local processes, each notebook whole or absent."""

import contextlib
import os
import threading
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentlib._files import replace_file
from latentlib.sweep.harvest import write_table
from latentlib.sweep.plan import Sweep

if TYPE_CHECKING:
    import nbformat

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def run_sweep(sweep: Sweep, *, workers: int = 1, output: Path | None = None, progress: bool = True) -> dict[str, str]:
    """Execute what is not done in `workers` processes, write runs.parquet; returns the error of every failed run.

    A run is done when its notebook <run_id>.ipynb is in `output`; one that failed is <run_id>.failed.ipynb and is tried
    again by the next call, as is one that was cut off. Chapters run in their own folder, as in Jupyter.
    Raises: ValueError for workers < 1.
    """
    if workers < 1:
        raise ValueError(f"sweep run: want workers >= 1, got {workers}")
    output = Path(output or sweep.output).resolve()
    output.mkdir(parents=True, exist_ok=True)
    todo = [run for run in sweep.runs if not (output / f"{run.run_id}.ipynb").exists()]
    jobs = [(sweep.notebook, run.parameters, str(output / run.run_id), str(sweep.chapter)) for run in todo]
    errors: dict[str, str] = {}
    if jobs:
        with _bar(len(sweep.runs), len(sweep.runs) - len(jobs), sweep.name, progress) as bar:
            for index, error in _execute_all(jobs, workers):
                bar.update()
                if error:
                    errors[todo[index].run_id] = error
                    bar.write(f"failed {todo[index].run_id} {todo[index].parameters}: {error}")
    write_table(sweep, output, errors)
    return errors


def _bar(total: int, done: int, name: str, progress: bool):
    import sys

    from tqdm import tqdm

    class Bar(tqdm):
        @classmethod
        def write(cls, line: str) -> None:  # failures go where the bar goes
            super().write(line, file=sys.stderr)

    return Bar(total=total, initial=done, desc=name, unit="run", disable=not progress, file=sys.stderr)


def _execute_all(jobs: list[tuple], workers: int) -> Iterable[tuple[int, str | None]]:
    """Index and error of every job, as they end. Processes are spawned, so they inherit neither threads nor a GPU."""
    with ProcessPoolExecutor(min(workers, len(jobs)), get_context("spawn"), _prepare_worker) as pool:
        futures = {pool.submit(execute, *job): index for index, job in enumerate(jobs)}
        try:
            for future in as_completed(futures):
                try:
                    yield futures[future], future.result()
                except BrokenProcessPool:
                    yield futures[future], "the worker process died; run the sweep again to continue"
        finally:
            pool.shutdown(cancel_futures=True)


def _prepare_worker() -> None:
    """One thread a run, no talk of kernels on the terminal, and no run that outlives the process that started it."""
    os.environ |= ONE_THREAD
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    connection.wait([parent_process().sentinel])
    os._exit(1)


def execute(notebook: "nbformat.NotebookNode", parameters: dict[str, Any], target: str, chapter: str) -> str | None:
    """Execute one notebook to <target>.ipynb, or to <target>.failed.ipynb and return the error, in one line."""
    import warnings

    import nbformat
    import papermill

    partial, error = Path(f"{target}.partial"), None
    partial.unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # papermill would like another ending than .partial
        name = str(partial).replace("{", "{{").replace("}", "}}")  # papermill formats its paths
        quiet = {"progress_bar": False, "request_save_on_cell_execute": False}
        try:
            papermill.execute_notebook(notebook, name, parameters, cwd=str(Path(chapter).parent), **quiet)
        except Exception as raised:  # whatever stopped the run is its row in the table
            error = _one_line(raised)
    executed = nbformat.read(partial, as_version=4) if partial.exists() else notebook
    # papermill put the whole source notebook where its path belongs
    executed.metadata.setdefault("papermill", {}).update(
        {"input_path": Path(chapter).name, "output_path": f"{Path(target).name}.ipynb", "parameters": parameters}
    )
    if error:
        executed.metadata.papermill.update(exception=True, error=error)
    done, failed = Path(f"{target}.ipynb"), Path(f"{target}.failed.ipynb")
    replace_file(failed if error else done, nbformat.writes(executed))
    for leftover in (partial, *(() if error else (failed,))):
        with contextlib.suppress(FileNotFoundError):
            leftover.unlink()
    return error


def _one_line(raised: Exception) -> str:
    """'cell [3]: ValueError: ...' for a cell that raised, else the error itself."""
    if hasattr(raised, "exec_count"):
        return f"cell [{raised.exec_count}]: {raised.ename}: {' '.join(str(raised.evalue).split())}"
    return f"{type(raised).__name__}: {' '.join(str(raised).split())}"
