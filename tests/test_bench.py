"""The bench writes what it measures, next to a floor and a baseline, and nothing while tests are red."""

import csv
import importlib
import subprocess
import sys

import pytest
import torch

from latentlib import _bench_cases, bench

TINY = bench.Case("tiny", "overlap", (70, 9))


@pytest.fixture
def rows(tmp_path):
    return bench.run([TINY], device="cpu", out=tmp_path, n_repeats=3, check=False)


def test_run_writes_the_rows_it_returns(rows, tmp_path):
    bench.run([TINY], device="cpu", out=tmp_path, n_repeats=3, check=False)  # appends, under one header
    with (tmp_path / "overlap.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 2 and table[0] == rows[0] and tuple(table[0]) == bench.COLUMNS
    row = rows[0]
    assert (row["kernel"], row["impl"], row["shape"], row["dtype"]) == ("overlap", "reference", "70x9", "float32")
    assert float(row["p20"]) <= float(row["median_ms"]) <= float(row["p80"])
    assert 0 < float(row["floor_ms"]) and 0 < float(row["baseline_ms"]) and 0 <= float(row["peak_mb"])
    assert f"torch {torch.__version__}" in row["versions"] and row["device"].startswith("CPU")
    assert row["date"] and row["commit"]


def test_run_measures_by_the_clock_it_is_given(monkeypatch, tmp_path):
    # A clock that advances 2 ms a reading: every call lasts 2 ms, whatever the machine.
    readings = iter(range(10**6))
    monkeypatch.setattr(bench, "perf_counter", lambda: 2e-3 * next(readings))
    (row,) = bench.run([TINY], device="cpu", out=tmp_path, n_repeats=3, check=False)
    assert (row["median_ms"], row["p20"], row["p80"], row["baseline_ms"]) == ("2", "2", "2", "2")
    # The product of 1024² then runs at 2·1024³ FLOP in 2 ms, the copy reads and writes 2²⁴ numbers of 4 bytes in 2 ms;
    # 70 points make 70·69/2 pairs of 2·9 FLOP.
    floor = max(70 * 69 * 9 / (2 * 1024**3 / 2), (4 * 70 * 9 + 8 * _bench_cases.N_BINS) / (2 * 4 * 2**24 / 2))
    assert float(row["floor_ms"]) == pytest.approx(floor, rel=1e-3)


def test_run_refuses_to_report_on_red_tests(monkeypatch, tmp_path):
    (tmp_path / "tests").mkdir()
    tests = tmp_path / "tests" / "test_overlap.py"
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    with pytest.raises(RuntimeError, match="want its tests at tests/test_overlap.py, there are none"):
        bench.run([TINY], device="cpu", out=tmp_path)
    tests.write_text("def test_law():\n    assert 1 == 2\n")
    with pytest.raises(RuntimeError, match="(?s)bench of overlap: want green tests, got.*assert 1 == 2"):
        bench.run([TINY], device="cpu", out=tmp_path)
    assert not (tmp_path / "overlap.csv").exists()
    tests.write_text("def test_law():\n    assert 1 == 1\n")
    monkeypatch.setattr(bench, "_peak_mb", lambda case, impl: "")  # its process would look for latentlib in tmp_path
    assert len(bench.run([TINY], device="cpu", out=tmp_path, n_repeats=1)) == 1


def test_run_refuses_unknown_cases_and_foreign_tables(tmp_path):
    with pytest.raises(ValueError, match="cases: want some of overlap, .*got 'overlop'"):
        bench.run(["overlop"], out=tmp_path, check=False)
    with pytest.raises(ValueError, match="case 'x': want a kernel of overlap, .*got 'angels'"):
        bench.run([bench.Case("x", "angels", (2, 2))], out=tmp_path, check=False)
    (tmp_path / "overlap.csv").write_text("kernel,ms\n")
    with pytest.raises(RuntimeError, match="overlap.csv: want the columns kernel,impl,.*got kernel,ms"):
        bench.run([TINY], device="cpu", out=tmp_path, check=False)


def test_commit_is_the_checkout_or_unknown(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    assert bench._commit() == "unknown"
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert bench._commit() == head[:12]
    monkeypatch.setenv("PATH", "")
    assert bench._commit() == "unknown"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_mb_of_the_histogram_is_far_under_one_number_a_pair():
    # 12 000² float32 overlaps are 576 MB; the bar for the whole process beyond torch is 300.
    streamed = float(bench._peak_mb(bench.Case("large", "overlap", (12_000, 16)), "reference"))
    assert streamed < 60


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_mb_sees_what_a_case_holds():
    # The codes alone are 4·10⁷ bytes here, their rows of norm one as many, in float64 on the way twice as many.
    assert float(bench._peak_mb(bench.Case("wide", "overlap", (10, 10**6)), "reference")) > 80
    with pytest.raises(RuntimeError, match="bench of broken: want its peak memory"):
        bench._peak_mb(bench.Case("broken", "overlap", (0, 2)), "reference")


def test_every_kernel_has_a_case_of_its_own():
    kernels = {path.stem for path in (bench.ROOT / "latentlib" / "kernels").glob("*.py")} - {"__init__", "tiles"}
    assert kernels == {name for name, concept in bench.CONCEPTS.items() if concept.has_kernel}
    assert set(bench.CONCEPTS) == {case.kernel for case in bench.CASES}
    for kernel in kernels:
        assert importlib.import_module(f"latentlib.{kernel}")
