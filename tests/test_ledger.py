"""What a chapter records and claims, and reading executed notebooks back."""

import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from small_chapters import execute_chapter, spectrum_project, write_chapter

from latentlib._executed import MIME
from latentlib.evidence import Deviation, Part
from latentlib.ledger import claim, claims_of, harvest, record, untestable

IDENTITY = {
    "data": "random parameters",
    "sizes": {"n_samples": 8},
    "repetitions": 1,
    "interval_method": "maximum over points",
}


def test_record_stores_numbers_of_numpy_and_torch_as_python():
    stored = record(
        a=np.float32(0.5),
        b=torch.tensor([1, 2]),
        c=np.array([[True]]),
        d=torch.tensor(2.0, requires_grad=True),
        e=(1, "x"),
    )
    assert stored == {"a": 0.5, "b": [1, 2], "c": [[True]], "d": 2.0, "e": [1, "x"]}
    assert all(type(stored[name]) is kind for name, kind in {"a": float, "b": list, "d": float}.items())
    assert json.loads(json.dumps(stored)) == stored and stored.non_finite == {}


def test_record_notes_what_is_not_finite():
    stored = record(loss=float("nan"), curve=[1.0, float("inf"), float("-inf")])
    assert stored == {"loss": None, "curve": [1.0, None, None]}
    assert stored.non_finite == {"loss": "nan", "curve": "-inf, inf"}


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        ({}, ValueError, "at least one metric"),
        ({"status": 1}, ValueError, "no column of harvest .*got 'status'"),
        ({"codes": np.zeros(1001)}, ValueError, "at most 1000 numbers in codes, got 1001"),
        ({"model": object()}, TypeError, "want model as number.*got object"),
        ({"pair": {"a": 1}}, TypeError, "got dict"),
    ],
)
def test_record_refuses_what_the_table_cannot_hold(metrics, error, message):
    with pytest.raises(error, match=message):
        record(**metrics)


def test_claim_computes_its_word_from_data_protocol_and_deviations():
    given = {
        "null": 0.0,
        "data": "x",
        "sizes": {"n_samples": 9},
        "repetitions": 5,
        "interval_method": "jackknife over points",
    }
    inside, outside = (0.5, (0.45, 0.55), "0.5 ± 0.1"), (0.9, (0.85, 0.95), "0.5 ± 0.1")
    own = {**given, "own_protocol": True}
    assert claim("pruning-eq8-price", *inside, **own) == "reproduced"
    assert claim("pruning-eq8-price", *outside, **own) == "failed"
    assert claim("pruning-eq8-price", *inside, **given) == "supported here"
    assert claim("pruning-eq8-price", *outside, **given) == "contradicted here"
    assert claim("pruning-eq8-price", *inside, **{**own, "null": (0.4, 0.46)}) == "open"
    assert claim("pruning-eq8-price", *inside, deviations=["half the epochs"], **own) == "supported here"
    harmless = Deviation("float64 for float32", moves_number=False)
    assert claim("pruning-eq8-price", *inside, deviations=[harmless], **own) == "reproduced"


def test_claim_is_partial_only_on_own_data_and_protocol():
    parts = {"printed number": Part(0.5, (0.4, 0.6), "about 2", 0.0)}
    given = {
        "null": 0.0,
        "data": "x",
        "sizes": {"n": 9},
        "repetitions": 5,
        "interval_method": "over points",
        "parts": parts,
    }
    partial = claim("pruning-eq8-price", 0.5, (0.4, 0.6), "> 0", **given, own_protocol=True)
    assert partial == "partial" and partial.row["parts"]["printed number"]["verdict"] == "failed"
    split = claim("pruning-eq8-price", 0.5, (0.4, 0.6), "> 0", **given)
    assert split == "open" and split.row["parts"]["printed number"]["verdict"] == "contradicted here"


def test_claim_on_trained_networks_wants_three_repetitions():
    given = {"data": "x", "sizes": {"n": 9}, "interval_method": "over repetitions", "trained": True}
    assert claim("pruning-eq8-price", 1.0, (0.9, 1.1), "> 0", repetitions=3, **given) == "supported here"
    two = claim("pruning-eq8-price", 1.0, (0.9, 1.1), "> 0", repetitions=2, **given)
    assert two == "open" and "at least 3" in two.row["reason"]
    assert claim("pruning-eq8-price", -1.0, (-1.1, -0.9), "> 0", repetitions=2, **given) == "open"


def test_claim_on_missing_data_is_never_the_sources_word():
    given = {"data": "x", "sizes": {"n": 9}, "repetitions": 3, "interval_method": "over repetitions"}
    arguments = ("attractors-tab-sun397", 1.0, (0.9, 1.1), "> 0")
    assert claim(*arguments, **given) == "supported here"
    with pytest.raises(ValueError, match=r"own_protocol wants D4 .*got supplied=\['D7'\]"):
        claim(*arguments, **given, own_protocol=True, supplied=["D7"])
    assert claim(*arguments, **given, own_protocol=True, supplied=["D7", "D4"]) == "reproduced"


def test_claim_takes_an_identity_without_interval_and_null():
    assert (
        claim("pruning-eq8-price", 1 + 1e-14, None, "identity 1 ± 1e-12", **IDENTITY, own_protocol=True) == "reproduced"
    )
    counter_example = claim(
        "pruning-eq8-price", 2.0, None, "identity 1 ± 1e-12", **IDENTITY, own_protocol=True, note="2R"
    )
    assert counter_example == "failed" and counter_example.row["note"] == "2R"


def test_untestable_names_the_data_it_waits_for():
    assert untestable("phase-5.2-mars", "the images are not there").row["needs"] == ["D2"]
    assert untestable("hessian-tab-ppl", "the definition was not found", needs=["D9"]) == "untestable here"
    with pytest.raises(ValueError, match="want needs among D1, .* got 'D99'"):
        untestable("phase-5.2-mars", "no images", needs=["D99"])
    with pytest.raises(ValueError, match="want reason in words"):
        untestable("phase-5.2-mars", "")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return spectrum_project(tmp_path_factory.mktemp("project"))


def test_harvest_reads_parameters_and_metrics_of_an_executed_notebook(project):
    (row,) = harvest(project / "book" / "chapters").to_dict("records")
    assert (row["status"], row["error"]) == ("done", None)
    assert (row["n_samples"], row["seed"], row["half"], row["lost"]) == (12, 0, 6.0, None)
    assert row["param_path"] == "elsewhere" and row["path"].endswith("00_one_spectrum.ipynb")
    assert row["wall_s"] > 0 and row["date"].startswith("20") and "CPU" in row["device"] and "torch" in row["versions"]


def test_harvest_keeps_notebooks_that_did_not_run_as_rows(project, tmp_path):
    fails = write_chapter(tmp_path / "fails.ipynb", "n = 1", "1 / 0", "n")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        execute_chapter(fails, tmp_path / "out" / "failed.ipynb", n=2)
    write_chapter(tmp_path / "out" / "unexecuted.ipynb", "n = 5")
    (tmp_path / "out" / "unreadable.ipynb").write_text('{"cells": [')
    half = nbformat.read(project / "book" / "chapters" / "00_one_spectrum.ipynb", as_version=4)
    half.cells[-1].update(execution_count=None, outputs=[])
    nbformat.write(half, tmp_path / "out" / "incomplete.ipynb")
    table = harvest(tmp_path / "out").set_index(
        harvest(str(tmp_path / "out" / "*.ipynb"))["path"].map(lambda path: Path(path).stem)
    )
    assert table["status"].to_dict() == {name: name for name in ("failed", "incomplete", "unexecuted", "unreadable")}
    assert (
        table.loc["failed", "error"] == "cell [3]: ZeroDivisionError: division by zero"
        and table.loc["failed", "n"] == 2
    )
    assert table.loc["unexecuted", "n"] == 5
    assert claims_of(tmp_path / "out") == {}  # a chapter that did not end has proved nothing


def test_harvest_refuses_a_path_that_matches_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="want a notebook, a folder or a glob"):
        harvest(tmp_path / "none.ipynb")
    assert harvest(tmp_path).empty


def test_harvest_and_claims_of_name_both_cells_of_a_name_used_twice(project, tmp_path):
    filled = "untestable('pruning-B-entropy', 'cost')"
    source = write_chapter(
        tmp_path / "twice.ipynb",
        "n = 1",
        f"from latentlib.ledger import record, untestable\nrecord(a=1)\n{filled}",
        f"record(a=1)\n{filled}",
    )
    target = execute_chapter(source, tmp_path / "out" / "twice.ipynb")
    with pytest.raises(ValueError, match=r"metric 'a' recorded once, got it in cell \[2\] and in cell \[3\]"):
        harvest(target)
    with pytest.raises(
        ValueError, match=r"'pruning-B-entropy' filled once, got it in .*cell \[2\] and in .*cell \[3\]"
    ):
        claims_of(target)
    with pytest.raises(ValueError, match="00_one_spectrum.ipynb cell"):  # and across chapters
        claims_of(
            [project / "book" / "chapters", project / "book" / "chapters" / ".." / "chapters" / "00_one_spectrum.ipynb"]
        )


def test_harvest_refuses_a_metric_that_contradicts_a_parameter(project, tmp_path):
    notebook = nbformat.read(project / "book" / "chapters" / "00_one_spectrum.ipynb", as_version=4)
    recorded = next(output for cell in notebook.cells for output in cell.get("outputs", []))
    recorded.data[MIME]["metrics"]["n_samples"] = 99
    nbformat.write(notebook, tmp_path / "clash.ipynb")
    with pytest.raises(ValueError, match=r"another name for metric 'n_samples' of cell \[\d\]: it is a parameter"):
        harvest(tmp_path)


def test_record_and_claim_show_a_table_once_beside_the_json(project):
    notebook = nbformat.read(project / "book" / "chapters" / "00_one_spectrum.ipynb", as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output.output_type for output in outputs] == ["display_data"] * 4  # not again as the value of the last line
    assert all(set(output.data) == {MIME, "text/html", "text/plain"} for output in outputs)
    assert '<span id="claim-pruning-eq8-price"></span>' in outputs[1].data["text/html"]
    assert "a|b &lt;i&gt;" in outputs[1].data["text/html"] and "reproduced" in outputs[1].data["text/plain"]
    assert "nan" in outputs[0].data["text/plain"] and outputs[0].data[MIME]["non_finite"] == {"lost": "nan"}


def test_claims_of_carries_all_that_the_rule_prints(project):
    filled = claims_of(project / "book" / "chapters")
    assert {name: row["verdict"] for name, row in filled.items()} == {
        "pruning-eq8-price": "reproduced",
        "pruning-III.1-ea": "partial",
        "pruning-B-entropy": "untestable here",
    }
    row = filled["pruning-III.1-ea"]
    assert (row["measured"], row["interval"], row["null"], row["sizes"]) == (
        0.5,
        [0.4, 0.6],
        [0.0, 0.0],
        {"n_samples": 12},
    )
    assert (
        row["cell"].startswith("cell [")
        and row["repetitions"] == 4
        and row["interval_method"] == "jackknife over points"
    )
