"""The ledger: numbers recorded by a chapter, verdicts computed on the claims of the sources, and both read back.

Inside IPython `record` and `claim` show a table and carry the same numbers beside it as JSON; harvesting an executed
notebook means reading those outputs. Nothing else carries results out of a chapter.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentlib import _ledger_output, evidence, expectation
from latentlib._executed import RUN_COLUMNS, Executed, read_executed
from latentlib.evidence import Deviation, Part
from latentlib.register import read_register

if TYPE_CHECKING:
    import pandas

MAX_NUMBERS = 1000


class Record(dict):
    """Recorded metrics by name, as they are stored; `non_finite` says what those stored as None were."""

    non_finite: dict[str, str]

    def _ipython_display_(self) -> None:
        """Shown when recorded; as the last line of a cell it is not shown, and harvested, a second time."""


class Verdict(str):
    """The word a claim earned; `row` holds all that is printed with it."""

    row: dict[str, Any]

    def _ipython_display_(self) -> None:
        """Shown when computed, as a Record is."""


def record(**metrics: Any) -> Record:
    """Store numbers of this run: shown as a table, carried as JSON, found by `harvest` in the executed notebook.

    A metric is a number, string, bool, None, or a list, array or tensor of at most 1000 of them. NaN and infinities are
    stored as None and noted as what they were. Outside IPython nothing is shown.
    Raises: ValueError for no metric, a name that harvest needs, or too many numbers; TypeError for another type.
    """
    if not metrics:
        raise ValueError("record: want at least one metric, record(name=number), got none")
    for name in metrics:
        if name in RUN_COLUMNS:
            raise ValueError(
                f"record: want a name that is no column of harvest ({', '.join(RUN_COLUMNS)}), got {name!r}"
            )
    plain = {name: _plain(name, metric) for name, metric in metrics.items()}
    stored = Record({name: _finite(metric) for name, metric in plain.items()})
    lost = {name: [number for number in _flat(metric) if _finite(number) != number] for name, metric in plain.items()}
    stored.non_finite = {
        name: ", ".join(sorted({str(number) for number in numbers})) for name, numbers in lost.items() if numbers
    }
    _ledger_output.show_record(plain, {"kind": "record", "metrics": dict(stored), "non_finite": stored.non_finite})
    return stored


def _plain(name: str, metric: Any) -> Any:
    """Python numbers and lists for arrays and tensors."""
    metric = metric.tolist() if hasattr(metric, "tolist") else metric
    if isinstance(metric, list | tuple):
        metric = [_plain(name, item) for item in metric]
        if len(_flat(metric)) > MAX_NUMBERS:
            raise ValueError(
                f"record: want at most {MAX_NUMBERS} numbers in {name}, got {len(_flat(metric))}; record a summary"
            )
    elif metric is not None and not isinstance(metric, bool | int | float | str):
        raise TypeError(
            f"record: want {name} as number, string, bool, or list or array of them, got {type(metric).__name__}"
        )
    return metric


def _flat(metric: Any) -> list[Any]:
    return [number for item in metric for number in _flat(item)] if isinstance(metric, list) else [metric]


def _finite(metric: Any) -> Any:
    """JSON has no NaN and no infinity: None stands for them."""
    if isinstance(metric, list):
        return [_finite(item) for item in metric]
    return None if isinstance(metric, float) and not math.isfinite(metric) else metric


def claim(
    id: str,
    measured: float,
    interval: tuple[float, float] | None,
    expected: expectation.Expectation | str,
    *,
    null: float | tuple[float, float] | None = None,
    data: str,
    sizes: Mapping[str, float],
    repetitions: int,
    interval_method: str,
    deviations: Sequence[str | Deviation] = (),
    own_protocol: bool = False,
    trained: bool = False,
    parts: Mapping[str, Part] | None = None,
    supplied: Sequence[str] = (),
    note: str = "",
) -> Verdict:
    """Fill a row of the ledger and compute its verdict from the 95 % interval, the expectation and the null.

    The rule is that of `latentlib.expectation`. The source's own words (reproduced, partial, failed) need own_protocol
    (its data, split, model family, training length and metric; for a theorem, its hypotheses) and no deviation that
    could move the number: a plain string could, Deviation(text, moves_number=False) could not.
    Args: id, a row of book/claims.yml; interval, (low, high) around measured, None for an identity; expected, an
    Expectation or its text ('> 0', '0.5 ± 0.1', 'about 10', '[0.1, 0.2]', 'identity 1 ± 1e-12'); null, a value or
    interval of the same statistic; sizes, e.g. n_samples, n_latent, steps; interval_method, over points or repetitions;
    trained, the claim is on trained networks: fewer than 3 repetitions leave it open; parts, other statistics by name,
    the printed number among them; supplied, the D# data of the source that were there.
    Returns: the word, with `.row`. Raises: KeyError for an unknown id, ValueError or TypeError for bad evidence.
    """
    claims = read_register()
    row, where = claims.row(id), f"claim({id!r})"
    evidence.words(where, data=data, interval_method=interval_method)
    sizes = evidence.counts(where, sizes, repetitions)
    missing = [need for need in row["needs"] if need not in supplied]
    if own_protocol and missing:
        raise ValueError(
            f"{where}: own_protocol wants {', '.join(missing)} ({claims.data[missing[0]]}), "
            f"got supplied={list(supplied)}; a substitute is measured with own_protocol=False"
        )
    known = evidence.deviations(where, deviations)
    own = own_protocol and not any(one.moves_number for one in known)
    main, printed = Part(measured, interval, expected, null).judged(where)
    others = {
        name: part.judged(f"{where} part {name!r}") for name, part in evidence.named_parts(where, parts or {}).items()
    }
    if trained and repetitions < 3:
        word, reason = (
            "open",
            f"one run is no interval: want at least 3 repetitions of a trained network, got {repetitions}",
        )
    else:
        word, reason = expectation.word(main, {name: judgement for name, (judgement, _) in others.items()}, own)
    filled = {
        "id": id,
        "verdict": word,
        "reason": reason,
        "own_protocol": own,
        **printed,
        "data": data,
        "sizes": sizes,
        "repetitions": int(repetitions),
        "interval_method": interval_method,
        "note": note,
        "needs": [],
        "deviations": [one._asdict() for one in known],
        "parts": {name: {**part, "verdict": expectation.single(one.side, own)} for name, (one, part) in others.items()},
    }
    return _fill(row, filled)


def untestable(id: str, reason: str, *, needs: Sequence[str] = ()) -> Verdict:
    """Fill a row that cannot be measured: `untestable here`, with the reason (data, weights, a lost definition, cost).

    needs: the D# data it waits for, by default those of its row. Raises: KeyError for an unknown id, ValueError for no
    reason or an unknown D#.
    """
    claims = read_register()
    row = claims.row(id)
    evidence.words(f"untestable({id!r})", reason=reason)
    needs = list(needs or row["needs"])
    for need in needs:
        if need not in claims.data:
            raise ValueError(f"untestable({id!r}): want needs among {', '.join(claims.data)}, got {need!r}")
    return _fill(row, {"id": id, "verdict": "untestable here", "reason": reason, "needs": needs})


def _fill(row: dict[str, Any], filled: dict[str, Any]) -> Verdict:
    verdict = Verdict(filled["verdict"])
    verdict.row = filled
    _ledger_output.show_claim(row, filled)
    return verdict


def harvest(paths: str | Path | Iterable[str | Path]) -> "pandas.DataFrame":
    """One row per notebook: path, status, error, date, wall_s, device, commit, versions, then parameters, then metrics.

    paths: notebooks, folders (searched below) or globs. status is done, failed, incomplete, unexecuted or unreadable:
    such notebooks are rows as well. A parameter called like one of the first columns gets the column `param_<name>`.
    Raises: FileNotFoundError for a path that matches nothing; ValueError for a metric recorded twice in one notebook,
    naming both cells, or called like a parameter with another value.
    """
    import pandas

    runs = [_run(notebook) for notebook in read_executed(paths)]
    parameters = dict.fromkeys(name for _, given, _ in runs for name in given)
    metrics = dict.fromkeys(name for _, _, measured in runs for name in measured if name not in parameters)
    return pandas.DataFrame(
        [{**measured, **given, **run} for run, given, measured in runs], columns=[*RUN_COLUMNS, *parameters, *metrics]
    )


def _run(notebook: Executed) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The columns of the run, its parameters and its metrics."""
    given = {f"param_{name}" if name in RUN_COLUMNS else name: given for name, given in notebook.parameters.items()}
    measured: dict[str, Any] = {}
    cells: dict[str, str] = {}
    for cell, payload in notebook.payloads("record"):
        for name, metric in payload["metrics"].items():
            if name in cells:
                raise ValueError(
                    f"{notebook.path}: want metric {name!r} recorded once, got it in {cells[name]} and in {cell}"
                )
            if name in given and given[name] != metric:
                raise ValueError(f"{notebook.path}: want another name for metric {name!r} of {cell}: it is a parameter")
            cells[name], measured[name] = cell, metric
    return notebook.columns(), given, measured


def claims_of(paths: str | Path | Iterable[str | Path]) -> dict[str, dict[str, Any]]:
    """The rows that claims filled, by id, with the `path` and `cell` they come from, of notebooks that are done.

    Raises: ValueError for a row filled twice, naming both cells.
    """
    filled: dict[str, dict[str, Any]] = {}
    for notebook in read_executed(paths):
        for cell, payload in notebook.payloads("claim") if notebook.status == "done" else ():
            row = {key: payload[key] for key in payload if key != "kind"} | {"path": notebook.path, "cell": cell}
            twice = filled.get(row["id"])
            if twice:
                both = f"{twice['path']} {twice['cell']} and in {row['path']} {cell}"
                raise ValueError(f"claims: want {row['id']!r} filled once, got it in {both}")
            filled[row["id"]] = row
    return filled
