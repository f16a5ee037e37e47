"""Sweeps: read strictly, executed once, continued after a kill, harvested to one table."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from latentlib.sweep.harvest import read_table, write_table
from latentlib.sweep.plan import SweepError, read_chapter, read_sweep, run_id
from latentlib.sweep.run import run_sweep

CHAPTER = """# ---
# jupyter:
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# # A chapter

# %% tags=["parameters"]
divisor = 2  # none
label = "a"  # a name
seconds = 0.0  # to sleep

# %%
import os
import time

from latentlib.ledger import record

time.sleep(seconds)

# %%
record(quotient=12 / divisor, threads=os.environ["OMP_NUM_THREADS"], folder=os.path.basename(os.getcwd()))
"""


@pytest.fixture
def project(tmp_path) -> Path:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "70_division.py").write_text(CHAPTER, encoding="utf-8")
    return tmp_path


def write_sweep(project: Path, text: str, chapter: str = "notebooks/70_division.py") -> Path:
    path = project / "notebooks" / "70_division.sweep.yml"
    path.write_text(f"chapter: {chapter}\n{text}", encoding="utf-8")
    return path


# The plan.


def test_read_sweep_is_the_product_of_the_grid(project):
    sweep = read_sweep(write_sweep(project, "grid: {divisor: [1, 2], label: [a, b]}\nfixed: {seconds: 1e-3}"))
    assert [run.parameters for run in sweep.runs] == [
        {"seconds": 0.001, "divisor": divisor, "label": label} for divisor in (1, 2) for label in ("a", "b")
    ]
    assert sweep.name == "70_division" and sweep.output == project / "data/cache/sweeps/70_division"
    assert [run.parameters for run in read_sweep(write_sweep(project, "")).runs] == [{}]


def test_read_sweep_finds_the_chapter_from_the_root_and_beside_the_file(project):
    beside = read_sweep(write_sweep(project, "", chapter="70_division.py"))
    assert beside.chapter == read_sweep(write_sweep(project, "")).chapter == project / "notebooks" / "70_division.py"


def test_run_id_depends_on_code_and_parameters_alone(project):
    path = project / "notebooks" / "70_division.py"
    first = run_id(read_chapter(path), {"divisor": 1, "label": "a"})
    assert run_id(read_chapter(path), {"label": "a", "divisor": 1}) == first
    assert (
        len({first, *(run_id(read_chapter(path), {"divisor": other, "label": "a"}) for other in (2, 1.0, True, "1"))})
        == 5
    )
    nbformat.write(read_chapter(path), path.with_suffix(".ipynb"))
    assert run_id(read_chapter(path.with_suffix(".ipynb")), {"divisor": 1, "label": "a"}) == first
    path.write_text(CHAPTER.replace("# # A chapter", "# # Another title"), encoding="utf-8")
    assert run_id(read_chapter(path), {"divisor": 1, "label": "a"}) == first
    path.write_text(CHAPTER.replace("12 / divisor", "13 / divisor"), encoding="utf-8")
    assert run_id(read_chapter(path), {"divisor": 1, "label": "a"}) != first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("grid: {divizor: [1]}", "want parameters of 70_division.py, got 'divizor'; did you mean 'divisor'"),
        ("fixed: {lable: x}", "did you mean 'label'"),
        ("gird: {divisor: [1]}", "want the keys chapter, grid, fixed, got 'gird'; did you mean 'grid'"),
        ("grid: {divisor: []}", r"want grid divisor as a list of values, got \[\]"),
        ("grid: {divisor: 1}", "want grid divisor as a list of values, got 1"),
        ("grid: {divisor: [1, 1]}", "want every value of divisor once"),
        ("grid: [divisor]", "want grid as parameter: value"),
        ("grid: {divisor: [1]}\nfixed: {divisor: 2}", "in grid or in fixed, got 'divisor' in both"),
        ("fixed: {label: 2026-01-01}", "want label as numbers, strings, bools or lists"),
        ("grid: {", "want YAML"),
    ],
)
def test_read_sweep_refuses_what_cannot_be_run(project, text, message):
    with pytest.raises(SweepError, match=message):
        read_sweep(write_sweep(project, text))
    assert not (project / "data").exists()


def test_read_sweep_refuses_a_file_or_chapter_that_is_not_there(project):
    with pytest.raises(FileNotFoundError, match="want a YAML file"):
        read_sweep(project / "none.yml")
    with pytest.raises(FileNotFoundError, match="want chapter as a .py or .ipynb.*got 'none.py'"):
        read_sweep(write_sweep(project, "", chapter="none.py"))
    with pytest.raises(ValueError, match="want workers >= 1"):
        run_sweep(read_sweep(write_sweep(project, "")), workers=0)


# Running it.


def test_run_sweep_makes_one_table_and_repeats_only_what_failed(project, monkeypatch, capfd):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    sweep = read_sweep(write_sweep(project, "grid: {divisor: [3, 0, 2]}\nfixed: {label: '$(touch x) `y` {z}'}"))
    errors = run_sweep(sweep, workers=2)
    failed = sweep.runs[1].run_id
    assert errors == {failed: "cell [4]: ZeroDivisionError: division by zero"}
    lines = [line for line in capfd.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("failed")]
    assert len(lines) == 1 and failed in lines[0] and "ZeroDivisionError" in lines[0]
    table = read_table(sweep.output)
    assert list(table["run_id"]) == [run.run_id for run in sweep.runs]
    assert list(table["status"]) == ["done", "failed", "done"] and table["error"][1] == errors[failed]
    assert list(table["divisor"]) == [3, 0, 2] and set(table["label"]) == {"$(touch x) `y` {z}"}
    assert list(table["quotient"])[::2] == [4.0, 6.0] and table["quotient"].isna()[1]
    assert list(table["threads"])[::2] == ["1", "1"] and list(table["folder"])[::2] == ["notebooks"] * 2
    notebooks = {path.name: path.stat().st_ino for path in sweep.output.glob("*.ipynb")}
    assert set(notebooks) == {
        f"{sweep.runs[0].run_id}.ipynb",
        f"{failed}.failed.ipynb",
        f"{sweep.runs[2].run_id}.ipynb",
    }
    # Again: only the failed run is executed, and what is done keeps its file.
    assert run_sweep(sweep, progress=False) == errors
    again = {path.name: path.stat().st_ino for path in sweep.output.glob("*.ipynb")}
    assert {name for name in notebooks if again[name] == notebooks[name]} == set(notebooks) - {f"{failed}.failed.ipynb"}
    assert sorted(path.suffix for path in sweep.output.iterdir()) == [".ipynb"] * 3 + [".parquet"]
    assert (
        nbformat.read(sweep.output / f"{failed}.failed.ipynb", as_version=4).metadata.papermill["input_path"]
        == "70_division.py"
    )


def test_run_sweep_continues_after_sigkill_of_the_driver(project):
    (project / "notebooks" / "70_division.py").write_text(CHAPTER.replace("record(", "dict("), encoding="utf-8")
    path = write_sweep(project, "grid: {seconds: [0.01, 0.02, 30, 31]}")
    sweep = read_sweep(path)
    driver = subprocess.Popen(
        [sys.executable, "-m", "latentlib", "sweep", "run", str(path), "--workers", "2"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    wait_for(lambda: len(list(sweep.output.glob("*.ipynb"))) == 2)
    family = psutil.Process(driver.pid).children(recursive=True)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert len(family) >= 2
    wait_for(lambda: not any(alive(process) for process in family))  # no worker and no kernel goes on alone
    done = {path.name: path.stat().st_ino for path in sweep.output.glob("*.ipynb")}
    assert (
        set(done) == {f"{run.run_id}.ipynb" for run in sweep.runs[:2]} and not (sweep.output / "runs.parquet").exists()
    )
    shorter = read_sweep(write_sweep(project, "grid: {seconds: [0.01, 0.02, 0.03]}"))
    assert run_sweep(shorter, output=sweep.output, progress=False) == {}
    assert done.items() <= {path.name: path.stat().st_ino for path in sweep.output.glob("*.ipynb")}.items()
    assert list(read_table(sweep.output)["status"]) == ["done"] * 3 and list(read_table(sweep.output)["seconds"]) == [
        0.01,
        0.02,
        0.03,
    ]


def test_write_table_keeps_the_order_of_the_plan_and_runs_without_a_notebook(project):
    sweep = read_sweep(write_sweep(project, "grid: {divisor: [3, 1, 2]}"))
    done = read_chapter(sweep.chapter)
    done.metadata["papermill"] = {"parameters": sweep.runs[2].parameters}
    sweep.output.mkdir(parents=True)
    nbformat.write(done, sweep.output / f"{sweep.runs[2].run_id}.ipynb")
    write_table(sweep, sweep.output, {sweep.runs[0].run_id: "the worker process died"})
    table = read_table(sweep.output)
    assert list(table["run_id"]) == [run.run_id for run in sweep.runs] and list(table["divisor"]) == [3, 1, 2]
    assert (
        list(table["status"]) == ["failed", "failed", "unexecuted"] and table["error"][0] == "the worker process died"
    )


def test_write_table_keeps_lists_of_unlike_things_as_json(project):
    sweep = read_sweep(write_sweep(project, "grid: {divisor: [1, 2]}\nfixed: {label: [[climate, true], [digits, false]]}"))
    write_table(sweep, sweep.output, {run.run_id: "not run" for run in sweep.runs})
    table = read_table(sweep.output)
    assert [json.loads(of) for of in table["label"]] == [[["climate", True], ["digits", False]]] * 2
    assert list(table["divisor"]) == [1, 2]


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition, seconds: float = 60.0) -> None:
    """Wait for what must come; the bound is only there so that a failure ends."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_read_table_without_a_table_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="want the table runs.parquet"):
        read_table(tmp_path)


def test_read_table_takes_a_committed_sweep_by_name():
    table = read_table("00_one_spectrum")
    assert (table.status == "done").all() and table.run_id.is_unique
    with pytest.raises(FileNotFoundError, match="committed: .*00_one_spectrum"):
        read_table("no_such_sweep")
