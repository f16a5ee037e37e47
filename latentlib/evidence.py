"""What a chapter hands to `claim`: statistics with intervals, sizes and deviations, checked before they are judged."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from latentlib import expectation as expect


class Deviation(NamedTuple):
    """A known difference from the source's protocol; one that could move the number makes the row 'anything else'."""

    text: str
    moves_number: bool = True


@dataclass(frozen=True)
class Part:
    """A statistic of a claim: its value, 95 % interval, the expectation, and the same statistic under the null."""

    measured: float
    interval: tuple[float, float] | None
    expected: expect.Expectation | str
    null: float | tuple[float, float] | None = None

    def judged(self, where: str) -> tuple[expect.Judgement, dict[str, Any]]:
        """The judgement, and the statistic as it is printed. Raises for what cannot be judged, naming `where`."""
        measured = _number(where, "measured", self.measured)
        interval, null = _plain(self.interval), _plain(self.null)
        wanted = expect.as_expectation(self.expected)
        if interval is None and wanted.kind != "identity":
            raise ValueError(f"{where}: want a 95 % interval (low, high), got None, which only an identity may have")
        low, high = _interval(where, "interval", (measured, measured) if interval is None else interval)
        if not low <= measured <= high:
            raise ValueError(f"{where}: want an interval around measured = {measured:g}, got ({low:g}, {high:g})")
        if null is not None:
            null = _interval(where, "null", null if isinstance(null, list | tuple) else (null, null))
        judgement = expect.judge(measured, (low, high), wanted, null)
        if null is None and wanted.kind == "sign":
            null = (0.0, 0.0)
        printed = {"measured": measured, "interval": [low, high], "expected": wanted.text, "null": null and list(null)}
        return judgement, printed


def _plain(numbers: Any) -> Any:
    """Python numbers and lists for arrays and tensors."""
    return numbers.tolist() if hasattr(numbers, "tolist") else numbers


def _number(where: str, name: str, number: Any) -> float:
    try:
        number = float(number)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{where}: want {name} as one number, got {number!r}") from error
    if not math.isfinite(number):
        raise ValueError(f"{where}: want {name} finite, got {number}")
    return number


def _interval(where: str, name: str, interval: Any) -> tuple[float, float]:
    if not isinstance(interval, list | tuple) or len(interval) != 2:
        raise TypeError(f"{where}: want {name} as (low, high), got {interval!r}")
    low, high = (_number(where, name, end) for end in interval)
    if low > high:
        raise ValueError(f"{where}: want {name} as (low, high) with low <= high, got ({low:g}, {high:g})")
    return low, high


def words(where: str, **texts: str) -> None:
    """Raises ValueError for a text that is empty, or an interval made over pairs."""
    for name, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"{where}: want {name} in words, got {text!r}")
    if "over pairs" in texts.get("interval_method", ""):
        raise ValueError(f"{where}: want interval_method over points or repetitions, never over pairs")


def counts(where: str, sizes: Mapping[str, Any], repetitions: int) -> dict[str, Any]:
    """The sizes as plain numbers. Raises for sizes without a name, or a count that is not positive."""
    if not isinstance(sizes, Mapping) or not sizes:
        raise TypeError(f"{where}: want sizes as names and numbers, dict(n_samples=569), got {sizes!r}")
    plain = {name: _plain(size) for name, size in sizes.items()}
    for name, size in {**plain, "repetitions": _plain(repetitions)}.items():
        several = size if isinstance(size, list | tuple) and name != "repetitions" else [size]
        if not several or not all(
            isinstance(one, int | float) and not isinstance(one, bool) and one > 0 for one in several
        ):
            raise ValueError(f"{where}: want {name} > 0, got {size!r}")
    if int(repetitions) != repetitions:
        raise ValueError(f"{where}: want repetitions as a whole number, got {repetitions!r}")
    return plain


def deviations(where: str, known: Sequence[str | Deviation]) -> list[Deviation]:
    """Every deviation as a Deviation: a plain string could have moved the number. Raises TypeError unless in a list."""
    if isinstance(known, str | Deviation):
        raise TypeError(f"{where}: want deviations as a list, got one {type(known).__name__}")
    return [one if isinstance(one, Deviation) else Deviation(str(one)) for one in known]


def named_parts(where: str, parts: Mapping[str, Part]) -> Mapping[str, Part]:
    """The parts. Raises TypeError unless they are Part by name."""
    if not isinstance(parts, Mapping) or not all(isinstance(part, Part) for part in parts.values()):
        raise TypeError(f"{where}: want parts as name: Part(measured, interval, expected, null), got {parts!r}")
    return parts
