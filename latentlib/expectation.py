"""What a claim predicts, and the word that a measurement with its interval earns against it.

The rule, for a 95 % interval against the expected region, on the source's own data and protocol / on anything else:
inside and the null excluded: reproduced / supported here; main part inside, another part outside: partial / no word,
the parts are judged apart; outside: failed / contradicted here; across an edge, or the null not excluded: open.
"""

import math
import re
from dataclasses import dataclass
from typing import NamedTuple

VERDICTS = (
    "reproduced",
    "partial",
    "failed",
    "supported here",
    "contradicted here",
    "untestable here",
    "open",
)
FORMS = "'> 0', '<= 1e-6', 'positive', '0.5 ± 0.1', 'about 10', '[0.1, 0.2]', 'identity 1 ± 1e-12'"


@dataclass(frozen=True)
class Expectation:
    """A region of the real line, fixed before the run: from low to high, edges inside it unless `open_edges`.

    kind is one of value, sign, inequality, range, identity. A sign has the null 0; an identity (an equation under its
    hypotheses, to a derived rounding bound) needs none; every other kind is judged only beside a null.
    """

    low: float
    high: float
    kind: str
    text: str
    open_edges: bool = False

    def __post_init__(self) -> None:
        if math.isnan(self.low) or math.isnan(self.high) or not self.low <= self.high:
            raise ValueError(f"expectation {self.text!r}: want low <= high, got {self.low} and {self.high}")

    def side(self, interval: tuple[float, float]) -> str:
        """Where the interval lies: 'inside', 'outside' or 'across' an edge."""
        low, high = interval
        if self.open_edges:
            inside, outside = self.low < low and high < self.high, high <= self.low or self.high <= low
        else:
            inside, outside = self.low <= low and high <= self.high, high < self.low or self.high < low
        return "inside" if inside else "outside" if outside else "across"


def value(target: float, tolerance: float) -> Expectation:
    """The printed number, met to a tolerance fixed before the run. Raises ValueError unless tolerance > 0."""
    if not tolerance > 0:
        raise ValueError(
            f"value({target}, tolerance): want a tolerance > 0, got {tolerance}; for an equation use identity"
        )
    return Expectation(target - tolerance, target + tolerance, "value", f"{target:g} ± {tolerance:g}")


def about(target: float) -> Expectation:
    """A number printed as 'about x', read as x/2 to 3x/2."""
    low, high = sorted((target / 2, 3 * target / 2))
    return Expectation(low, high, "range", f"about {target:g}: {low:g} to {high:g}")


def between(low: float, high: float) -> Expectation:
    """A range, edges included."""
    return Expectation(low, high, "range", f"{low:g} to {high:g}")


def sign(direction: int) -> Expectation:
    """Only the sign, +1 or −1: what is left of a printed number that was not recovered. Its null is 0.

    Raises: ValueError for another direction.
    """
    if direction not in (1, -1):
        raise ValueError(f"sign: want 1 or -1, got {direction!r}")
    return inequality(">" if direction > 0 else "<", 0.0)


def inequality(relation: str, edge: float) -> Expectation:
    """A half-line: relation is one of > >= < <=, else ValueError; a strict inequality against 0 is a sign."""
    if relation not in (">", ">=", "<", "<="):
        raise ValueError(f"inequality: want > >= < or <=, got {relation!r}")
    low, high = (edge, math.inf) if relation[0] == ">" else (-math.inf, edge)
    strict = len(relation) == 1
    kind = "sign" if strict and edge == 0 else "inequality"
    return Expectation(low, high, kind, f"{relation} {edge:g}", open_edges=strict)


def identity(target: float, bound: float) -> Expectation:
    """An equation that holds to a derived rounding bound under its hypotheses. Raises ValueError unless bound >= 0."""
    if not bound >= 0:
        raise ValueError(f"identity({target}, bound): want a rounding bound >= 0, got {bound}")
    return Expectation(target - bound, target + bound, "identity", f"identity: {target:g} ± {bound:g}")


_N = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
_PATTERNS = (
    (rf"(>=|<=|>|<)\s*{_N}", lambda relation, edge: inequality(relation, float(edge))),
    (r"(positive|negative)", lambda word: sign(1 if word == "positive" else -1)),
    (rf"(?:about|≈|~)\s*{_N}", lambda target: about(float(target))),
    (rf"identity:?\s*{_N}\s*±\s*{_N}", lambda target, bound: identity(float(target), float(bound))),
    (rf"{_N}\s*±\s*{_N}", lambda target, tolerance: value(float(target), float(tolerance))),
    (rf"(?:in\s*)?\[\s*{_N}\s*,\s*{_N}\s*\]", lambda low, high: between(float(low), float(high))),
)


def as_expectation(wanted: "Expectation | str") -> Expectation:
    """An expectation from its text (see FORMS), or itself. Raises ValueError, naming the forms, for anything else."""
    if isinstance(wanted, Expectation):
        return wanted
    if isinstance(wanted, str):
        text = wanted.strip().replace("−", "-").replace("≥", ">=").replace("≤", "<=")
        text = re.sub(r"\+/?-(?=\s)|\+/-", "±", text)
        for pattern, build in _PATTERNS:
            match = re.fullmatch(pattern, text)
            if match:
                return build(*match.groups())
    raise ValueError(f"expected: want an Expectation or one of {FORMS}, got {wanted!r}")


class Judgement(NamedTuple):
    """One statistic against its expectation: side is inside, outside or undecided; `reason` says why."""

    side: str
    reason: str


def judge(
    measured: float, interval: tuple[float, float], wanted: Expectation, null: tuple[float, float] | None
) -> Judgement:
    """Compare the interval with the expected region, then with the null (a value as (x, x), or an interval)."""
    if null is None and wanted.kind == "sign":
        null = (0.0, 0.0)
    digits = 15 if wanted.kind == "identity" and wanted.low + wanted.high else 4  # 1.00000000000002 has digits to lose
    low, high = (f"{end:.{digits}g}" for end in interval)
    side, found = wanted.side(interval), low if low == high else f"[{low}, {high}]"
    if side == "outside":
        return Judgement("outside", f"{found} lies outside {wanted.text}")
    if side == "across":
        edges = [edge for edge in (wanted.low, wanted.high) if interval[0] <= edge <= interval[1]]
        if wanted.side((measured, measured)) != "inside":  # leaving by the nearest edge is enough
            edges = [min(edges, key=lambda edge: abs(measured - edge))]
        return Judgement(
            "undecided", f"{found} lies across the edge of {wanted.text}; {_size(measured, interval, edges)}"
        )
    if null is None and wanted.kind != "identity":
        return Judgement("undecided", f"{found} lies inside {wanted.text}, but no null was measured beside it")
    if null is not None and interval[0] <= null[1] and null[0] <= interval[1]:
        ends = [] if null[0] <= measured <= null[1] else [min(null, key=lambda end: abs(measured - end))]
        return Judgement("undecided", f"the null {_span(null)} is not excluded; {_size(measured, interval, ends)}")
    beside = "" if null is None else f" and the null {_span(null)} is excluded"
    return Judgement("inside", f"{found} lies inside {wanted.text}{beside}")


def _span(null: tuple[float, float]) -> str:
    return f"{null[0]:.4g}" if null[0] == null[1] else f"[{null[0]:.4g}, {null[1]:.4g}]"


def _size(measured: float, interval: tuple[float, float], points: list[float]) -> str:
    """The size that would decide: half-widths shrink as 1/√size, so (half-width / distance)² times as many."""
    factors = []
    for point in points:
        half_width = measured - interval[0] if point <= measured else interval[1] - measured
        factors.append((half_width / abs(measured - point)) ** 2 if measured != point else math.inf)
    factor = max(factors, default=math.inf)
    if not math.isfinite(factor):
        return "no size decides while the estimate stays there"
    return f"more than {factor:.3g} times as many points or repetitions would decide if the estimate stays"


def word(main: Judgement, parts: dict[str, Judgement], own: bool) -> tuple[str, str]:
    """The verdict of a row from its main statistic and its other parts, and the reason for it."""
    if main.side == "undecided":
        return "open", f"inconclusive: {main.reason}"
    if main.side == "outside" and own:
        return "failed", main.reason
    differing = [f"{name}: {part.reason}" for name, part in parts.items() if part.side != main.side]
    opposite = [name for name, part in parts.items() if {part.side, main.side} == {"inside", "outside"}]
    if opposite and own:
        return "partial", f"the main part holds ({main.reason}), not {'; '.join(differing)}"
    if opposite:
        return "open", f"the parts disagree and are judged apart: main part: {main.reason}; {'; '.join(differing)}"
    if differing:
        return "open", f"inconclusive in a part: {'; '.join(differing)}"
    return single(main.side, own), main.reason


def single(side: str, own: bool) -> str:
    """The word for one statistic alone."""
    if side == "undecided":
        return "open"
    return (
        ("reproduced" if own else "supported here") if side == "inside" else ("failed" if own else "contradicted here")
    )
