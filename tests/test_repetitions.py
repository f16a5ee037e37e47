"""Numbers over repetitions: kept by one run, read from the runs of a sweep."""

import math

import pytest
import torch

from latentlib import interval, repetitions
from latentlib.repetitions import Repetitions

ROWS = [{"shift": [0.1 * i], "curve": [i, i + 1, i + 2, i + 3]} for i in range(4)]


def test_keep_and_values_return_what_was_kept():
    own = Repetitions()
    own.keep(shift=0.25, curve=torch.arange(6).view(2, 3))
    assert own.numbers == {"shift": [0.25], "curve": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]}
    assert own.values("shift").tolist() == [0.25] and own.values("shift").dtype == torch.float64
    assert own.values("curve", 2, -1).tolist() == [[[0, 1, 2], [3, 4, 5]]]


def test_values_of_rows_come_in_their_order():
    runs = Repetitions(ROWS)
    assert len(runs) == 4
    assert runs.values("shift").tolist() == pytest.approx([0, 0.1, 0.2, 0.3])
    assert runs.values("curve", 2, 2)[3].tolist() == [[3, 4], [5, 6]]


def test_spread_is_the_mean_interval_and_one_run_has_none():
    runs = Repetitions(ROWS)
    for found, known in zip(runs.spread("shift"), interval.mean_interval(runs.values("shift")), strict=True):
        assert found == known
    mean, (low, high) = runs.stat(runs.values("curve", 4)[:, 2])
    assert low < mean == 3.5 < high
    assert Repetitions(ROWS[2:3]).stat("shift") == (0.2, (0.2, 0.2))


def test_part_and_words_say_what_stat_says():
    runs = Repetitions(ROWS)
    part = runs.part("shift", "> 0", 0.0)
    assert (part.measured, part.interval) == runs.stat("shift") and part.expected == "> 0" and part.null == 0.0
    own = Repetitions([{"shift": [1.0], "null": [0.5]}, {"shift": [2.0], "null": [0.7]}])
    assert own.part("shift", "> 0", "null").null == pytest.approx(0.6)
    mean, (low, high) = runs.stat("shift")
    assert runs.words("shift", 3) == f"{mean:.3f} [{low:.3f}, {high:.3f}]"
    mean, (low, high) = runs.stat(runs.values("curve", 4)[:, 1].log())
    known = [f"{math.exp(of):.1f}" for of in (mean, low, high)]
    assert runs.words(runs.values("curve", 4)[:, 1].log(), 1, torch.exp) == "{} [{}, {}]".format(*known)
    assert Repetitions(ROWS[1:2]).words("shift", 1) == "0.1"
    assert Repetitions([{"zero": [-0.001]}]).words("zero") == "0.00"


def test_of_table_reads_the_runs_of_a_sweep(tmp_path):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(ROWS).assign(status="done")
    table.to_parquet(tmp_path / "runs.parquet")
    torch.testing.assert_close(repetitions.of_table(tmp_path).values("curve", -1), Repetitions(ROWS).values("curve", -1))
    table.assign(status=["done", "failed", "done", "done"]).to_parquet(tmp_path / "runs.parquet")
    with pytest.raises(ValueError, match="want runs that ended well, got 1 of 4 failed"):
        repetitions.of_table(tmp_path)
    with pytest.raises(FileNotFoundError, match="want the table"):
        repetitions.of_table("no such sweep")


def test_repetitions_refuse():
    runs, own = Repetitions(ROWS), Repetitions()
    own.keep(shift=1.0)
    with pytest.raises(ValueError, match="want one row or more"):
        Repetitions([])
    with pytest.raises(ValueError, match="want the row of one run, got 4"):
        runs.keep(shift=1.0)
    with pytest.raises(ValueError, match="want new names, got shift again"):
        own.keep(shift=2.0)
    with pytest.raises(KeyError, match="want a name that was kept, shift, curve; got 'other'"):
        runs.values("other")
    with pytest.raises(ValueError, match=r"curve: want \(3,\) numbers a repetition, got 4"):
        runs.values("curve", 3)
    with pytest.raises(ValueError, match=r"curve: want as many numbers in every repetition, got \[1, 4\]"):
        Repetitions([*ROWS[:1], {"shift": [0.0], "curve": [1.0]}]).values("curve", -1)
