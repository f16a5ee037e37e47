"""The phase rule: disordered, ordered, glassy, edge, or none, from numbers with their error bars.

Every condition compares a number with a stated bound at n_se standard errors, so a wide error bar decides nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from numbers import Integral, Real

from latentlib.overlap import OverlapMoments
from latentlib.response import ReplicaMoments

EDGE_PEAKS = ("chi", "softest_mode", "n_minima")


@dataclass(frozen=True)
class PhaseVerdict:
    """Phase or None; margin, the standard errors that its tightest condition has to spare (0 for None); reason."""

    phase: str | None
    margin: float
    reason: str


def classify_phase(
    *, replicas: OverlapMoments | ReplicaMoments | None = None, pairs: OverlapMoments | None = None,
    n_minima: int | None = None, peaks: Mapping[str, tuple[float, float]] | None = None, control: float | None = None,
    width: float | None = None, floor: float = 0.1, n_se: float = 3.0,
) -> PhaseVerdict:  # fmt: skip
    """Phase by rule: a moment x of q is of order one where x − n_se·se > floor, small where x + n_se·se < floor.

    edge: the peaks of χ, softest mode and number of minima, and this control, lie within width of each other, errors
    included: |a − b| + n_se·se < width. Comes first. Else, over Gibbs *replicas* of one energy:
    disordered: E q² small. ordered: (E q)² of order one, Var q small: one state. glassy: Var q = E q² − (E q)² of order
    one and two minima or more (so E q² is of order one, and more than (E q)² explains). Var q of order one with one
    minimum is a broken symmetry, no glass. The rule cannot tell a glass from two phases that coexist.
    Over *pairs* of inputs alone nothing is glassy: classes, too, make Var q of order one. ordered as above, unless H
    has several minima; disordered only if H is known to have one minimum: χ is blind to a p ≥ 3 glass from above, so
    that else the phase is undecidable from codes. With replicas, pairs do not enter.
    Args: replicas, of one system (`overlap_moments`) or many (`replica_moments`); pairs, of encoder means; n_minima of
    H, distinct ones, a ± pair of an even H once; peaks, (control at the peak, its se) for each of EDGE_PEAKS; control,
    where the verdict is asked; width > 0, in its units; floor in (0, 1), which 1/n_latent, the disordered E q², must be
    below; n_se > 0.
    Raises: ValueError without replicas, pairs and peaks, for numbers out of range or not finite, other peaks, peaks
    without control and width; TypeError for moments of another kind.
    """
    if replicas is None and pairs is None and peaks is None:
        raise ValueError("classify_phase: want replicas, pairs or peaks, got none")
    _check(replicas, pairs, n_minima, floor, n_se)
    apart = ""
    if peaks is not None or control is not None or width is not None:
        spare = _edge(peaks, control, width, n_se)
        if spare > 0:
            return PhaseVerdict("edge", spare, f"the peaks of {', '.join(EDGE_PEAKS)} and the control agree")
        apart = "no edge: peaks and control do not agree within width; "
    if replicas is not None:
        phase, spare, reason = _by_replicas(_Moments(replicas, floor, n_se), n_minima)
    elif pairs is not None:
        phase, spare, reason = _by_pairs(_Moments(pairs, floor, n_se), n_minima)
    else:
        phase, spare, reason = None, 0.0, "no overlaps given"
    return PhaseVerdict(phase, spare, apart + reason)


class _Moments:
    """How many standard errors each condition has to spare; it holds where that is positive."""

    def __init__(self, moments: OverlapMoments | ReplicaMoments, floor: float, n_se: float):
        def above(name: str) -> float:
            return _in_errors(getattr(moments, name) - floor, getattr(moments, f"{name}_se"))

        square, mean_square, var = (above(name) for name in ("q_square", "q_mean_square", "q_var"))
        resolved = 1 / moments.n_latent < floor
        self.disordered = -square - n_se if resolved else -math.inf
        self.one_state = min(mean_square, -var) - n_se
        self.many_states = var - n_se
        self.open = f"E q², (E q)² or Var q within {n_se:g} standard errors of {floor:g}" if resolved else (
            f"1/n_latent = {1 / moments.n_latent:g}, the disordered E q², is not below {floor:g}"
        )  # fmt: skip


def _by_replicas(holds: _Moments, n_minima: int | None) -> tuple[str | None, float, str]:
    if holds.disordered > 0:
        return "disordered", holds.disordered, "E q² of replicas is small: what minima there are hold no weight"
    if holds.one_state > 0:
        return "ordered", holds.one_state, "(E q)² of replicas is of order one, Var q small: one state"
    if holds.many_states <= 0:
        return None, 0.0, f"undecided: {holds.open}"
    if n_minima is None:
        return None, 0.0, "undecided: Var q of replicas is of order one, the number of minima is not known"
    if n_minima == 1:
        return None, 0.0, "no rule: Var q of replicas is of order one with one minimum, a broken symmetry"
    return "glassy", holds.many_states, f"Var q of replicas is of order one, with {n_minima} minima"


def _by_pairs(holds: _Moments, n_minima: int | None) -> tuple[str | None, float, str]:
    if holds.many_states > 0:
        return None, 0.0, "undecidable from codes: Var q of pairs is of order one, as classes make it without a glass"
    if n_minima is not None and n_minima > 1:
        return None, 0.0, f"undecidable from codes: of {n_minima} minima only replicas know the weights"
    if holds.one_state > 0:
        return "ordered", holds.one_state, "(E q)² of pairs is of order one, Var q small: one direction"
    if holds.disordered <= 0:
        return None, 0.0, f"undecided: {holds.open}"
    if n_minima is None:
        return None, 0.0, "undecidable from codes: χ of pairs is blind to a p ≥ 3 glass from above; count minima"
    return "disordered", holds.disordered, "E q² of pairs is small, and there is one minimum"


def _edge(peaks: Mapping | None, control: float | None, width: float | None, n_se: float) -> float:
    """Standard errors to spare of the widest distance between two of the peaks and the control."""
    if peaks is None or control is None or width is None:
        raise ValueError("edge: want peaks, control and width together")
    if set(peaks) != set(EDGE_PEAKS):
        raise ValueError(f"peaks: want {', '.join(EDGE_PEAKS)}, got {', '.join(map(str, peaks)) or 'none'}")
    for name, number in {"control": control, "width": width}.items():
        if not _finite(number) or (name == "width" and number <= 0):
            raise ValueError(f"{name}: want a finite number{' > 0' * (name == 'width')}, got {number!r}")
    for name, peak in peaks.items():
        if not isinstance(peak, tuple) or len(peak) != 2 or not all(map(_finite, peak)) or peak[1] < 0:
            raise ValueError(f"peaks: want (control, se >= 0), finite, got {name}: {peak!r}")
    places = [*peaks.values(), (control, 0.0)]
    spare = (_in_errors(width - abs(a - b), math.hypot(a_se, b_se)) for (a, a_se), (b, b_se) in combinations(places, 2))
    return min(spare) - n_se


def _in_errors(distance: float, error: float) -> float:
    """distance/error; without an error only the sign counts, and 0 lies on neither side."""
    if error > 0 or distance == 0:
        return distance / (error or 1.0)
    return math.copysign(math.inf, distance)


def _finite(number: object) -> bool:
    return isinstance(number, Real) and not isinstance(number, bool) and math.isfinite(number)


def _check(replicas: object, pairs: object, n_minima: object, floor: object, n_se: object) -> None:
    """Raises for what `classify_phase` says it refuses, peaks apart."""
    kinds = {"replicas": (replicas, (OverlapMoments, ReplicaMoments)), "pairs": (pairs, (OverlapMoments,))}
    for name, (moments, wanted) in kinds.items():
        if moments is None:
            continue
        if not isinstance(moments, wanted):
            names = " or ".join(kind.__name__ for kind in wanted)
            raise TypeError(f"{name}: want {names}, got {type(moments).__name__}")
        numbers = [getattr(moments, one + end) for one in ("q_square", "q_mean_square", "q_var") for end in ("", "_se")]
        if not all(map(_finite, numbers)) or min(numbers[1::2]) < 0:
            raise ValueError(f"{name}: want finite moments with errors >= 0, got {moments}")
    if n_minima is not None and (not isinstance(n_minima, Integral) or isinstance(n_minima, bool) or n_minima < 1):
        raise ValueError(f"n_minima: want a whole number >= 1, got {n_minima!r}")
    if not _finite(floor) or not 0 < floor < 1:
        raise ValueError(f"floor: want a number between 0 and 1, got {floor!r}")
    if not _finite(n_se) or n_se <= 0:
        raise ValueError(f"n_se: want a finite number > 0, got {n_se!r}")
