"""Edge of stability, operationally: where χ peaks, a mode softens and minima vanish along a scan; whether at one place.

A scan is a table (n_repetitions, n_controls) of one statistic at one size. `locate` finds its extremum with an interval
over repetitions and says whether it is a peak at all; `peak_or_crossover` asks three sizes or more whether the peak
grows or sharpens; `edge_of_stability` compares three such places and hands them to `phase.classify_phase`.

Noise makes peaks too: give `overlap` its floor, and leave out the controls that it refuses. With one mode of n left, at
⟨|z|²⟩ of r times the noise's, χ_R is short of n by (n − 1)(2 − 1/r)/r: a fall, hence a peak, until errors exceed 2n/r.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import torch
from torch import Tensor

from latentlib.finite_size import PowerLaw, power_law_fit
from latentlib.interval import mean_interval
from latentlib.phase import EDGE_PEAKS, PhaseVerdict, classify_phase

EDGE_KINDS = ("maximum", "minimum", "steepest fall")  # of EDGE_PEAKS, in their order


@dataclass(frozen=True)
class Location:
    """Where a scan is extreme, made by `locate`; `_se` is half the interval over the quantile of a normal law."""

    kind: str
    control: float
    low: float
    high: float
    control_se: float
    at_end: bool  # the mean curve is extreme at the first or last control: of the scan, not of the system
    height: float  # over the end of the scan that it is less surely above
    height_low: float
    height_se: float
    width: float  # at half the height over the higher end; nan at an end
    width_se: float
    is_peak: bool
    resampled: Tensor  # (n_resamples,) float64, the control in every resample


def locate(
    control: Tensor, values: Tensor, *, kind: str = "maximum", level: float = 0.95, n_resamples: int = 1999, seed: int
) -> Location:
    """Control where a scan is extreme: vertex of the parabola through the mean curve's best point and its neighbours.

    "minimum" is the maximum of −values; "steepest fall" that of −Δvalues/Δcontrol, at the middles of the controls (of
    counts take the logarithm first). Interval: quantiles of the extrema of mean curves x̄ + w·(x − x̄)/√(G·c), w normal
    weights, c ~ χ² of G − 1 degrees of freedom, G repetitions: what is linear in the curve gets Student's interval, as
    in `interval.mean_interval`; rows drawn with replacement give five repetitions one too narrow by a third. Equal
    seeds weigh repetitions alike in two scans: their `resampled` may be subtracted.
    Height: each repetition where the mean of the others is extreme, for at its own best point noise, too, is high.
    is_peak: the height over both ends is above 0 at the level, and the ends are outside the interval. Monotone scans
    have none, but for the share that the level allows where noise covers a flat end; a true one lies inside the scan.
    Args: control (n_controls,), rising, three or more, four for a fall; values (n_repetitions ≥ 3, n_controls).
    Raises: ValueError for anything else, values not finite, another kind, level or n_resamples ≥ 99 out of range.
    """
    control, values = _scan(control, values, kind, level, n_resamples)
    curves = -values if kind == "minimum" else values
    if kind == "steepest fall":
        control, curves = (control[1:] + control[:-1]) / 2, -values.diff() / control.diff()
    place, width = (found.item() for found in _tops(control, curves.mean(0)[None]))
    places, widths = _tops(control, _resampled_means(curves, n_resamples, seed))
    low, high = _quantiles(places, level)
    height, height_low = min((_height(curves, end, level) for end in (0, -1)), key=lambda found: found[1])
    first, last = control[0].item(), control[-1].item()
    at_end = place in (first, last)
    narrow, wide = (math.nan, math.nan) if at_end else _quantiles(widths[~widths.isnan()], level)
    normal = NormalDist().inv_cdf((1 + level) / 2)
    return Location(
        kind, place, low, high, (high - low) / (2 * normal), at_end, height, height_low, (height - height_low) / normal,
        width, (wide - narrow) / (2 * normal), height_low > 0 and first < low and high < last, places,
    )  # fmt: skip


def _tops(control: Tensor, curves: Tensor) -> tuple[Tensor, Tensor]:
    """Place of the maximum of every curve, and its width at half the height over the higher end, nan at an end."""
    last = len(control) - 1
    best = curves.argmax(1, keepdim=True)
    at_end = ((best == 0) | (best == last))[:, 0]
    middle = best.clamp(1, last - 1)
    (x0, x1, x2), (y0, y1, y2) = (
        [of.expand_as(curves).gather(1, middle + step)[:, 0] for step in (-1, 0, 1)] for of in (control, curves)
    )
    rise, fall = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    curvature = (fall - rise) / (x2 - x0)
    vertex = torch.where(curvature < 0, (x0 + x1) / 2 - rise / (2 * curvature), x1)
    top = y0 + rise * (vertex - x0) + curvature * (vertex - x0) * (vertex - x1)
    half = ((top + torch.maximum(curves[:, 0], curves[:, -1])) / 2)[:, None]
    width = _below(control, curves, middle, half) - _below(control.flip(0), curves.flip(1), last - middle, half)
    return torch.where(at_end, control[best[:, 0]], vertex), torch.where(at_end, math.nan, width)


def _below(control: Tensor, curves: Tensor, best: Tensor, half: Tensor) -> Tensor:
    """Where every curve first falls to its half height after its best point, linear between the points."""
    after = ((curves <= half) & (torch.arange(len(control)) > best)).byte().argmax(1, keepdim=True)
    after = after.clamp(min=1)  # none in a curve that is highest at an end, whose width is not used
    (near, far), (high, low) = (
        [of.expand_as(curves).gather(1, after - back) for back in (1, 0)] for of in (control, curves)
    )
    return (near + (far - near) * ((high - half) / (high - low)).clamp(0, 1))[:, 0]


def _height(curves: Tensor, end: int, level: float) -> tuple[float, float]:
    """Mean of every repetition's height over an end, where the others are highest, and its lower bound."""
    others = (curves.sum(0) - curves).argmax(1, keepdim=True)
    mean, low, _ = mean_interval(curves.gather(1, others)[:, 0] - curves[:, end], level)
    return mean.item(), low.item()


def _resampled_means(curves: Tensor, n_resamples: int, seed: int) -> Tensor:
    """Mean curves with Student noise of the repetitions' covariance, (n_resamples, n_controls)."""
    n_repetitions = len(curves)
    draws = torch.randn(
        n_resamples, 2 * n_repetitions - 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    weights, chi_square = draws[:, :n_repetitions], draws[:, n_repetitions:].square().sum(1, keepdim=True)
    mean = curves.mean(0)
    return mean + weights @ (curves - mean) / (n_repetitions * chi_square).sqrt()


def _quantiles(values: Tensor, level: float) -> tuple[float, float]:
    if len(values) == 0:
        return math.nan, math.nan
    low, high = values.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)).tolist()
    return low, high


def _scan(control: object, values: object, kind: str, level: float, n_resamples: int) -> tuple[Tensor, Tensor]:
    """Control and values in float64, checked."""
    control, values = (torch.as_tensor(of, dtype=torch.float64) for of in (control, values))
    if kind not in EDGE_KINDS:
        raise ValueError(f"kind: want one of {', '.join(EDGE_KINDS)}, got {kind!r}")
    least = 4 if kind == "steepest fall" else 3
    if control.ndim != 1 or len(control) < least or not control.isfinite().all() or not (control.diff() > 0).all():
        raise ValueError(f"control: want {least} or more finite numbers, rising, got {control.tolist()}")
    if values.ndim != 2 or len(values) < 3 or values.shape[1] != len(control):
        raise ValueError(f"values: want (n_repetitions >= 3, {len(control)}), got {tuple(values.shape)}")
    if not values.isfinite().all():
        bad = int((~values.isfinite()).nonzero()[0, 1])
        raise ValueError(f"values: want finite ones, got {values[:, bad].tolist()} at control {control[bad]:g}")
    if not 0 < level < 1 or n_resamples < 99:
        raise ValueError(f"want a level between 0 and 1 and n_resamples >= 99, got {level} and {n_resamples}")
    return control, values


@dataclass(frozen=True)
class SizeVerdict:
    """Verdict "peak", "crossover", "nothing" or None, undecided; powers of the size; why: by `peak_or_crossover`."""

    verdict: str | None
    height: PowerLaw | None
    width: PowerLaw | None
    reason: str


def peak_or_crossover(
    sizes: Sequence[int], locations: Sequence[Location], *, least: float = 0.25, level: float = 0.95
) -> SizeVerdict:
    """Peak where height ~ size^a grows, a > 0, or width ~ size^b shrinks, b < 0, at the level, over three sizes.

    nothing: at one size or more there is no peak (`Location.is_peak`). peak: the interval of a above 0 or that of b
    below 0. crossover: a below least and b above −least, intervals included: it keeps its height and width. Else None,
    undecided: wide intervals decide nothing. Exponents are those of `finite_size.power_law_fit`, without corrections to
    scaling. Mean-field transitions sharpen with 1/3 or more, so that least = 1/4 tells them from crossovers. A χ pooled
    over classes grows in proportion to n without any transition: ask χ within classes, or the width.
    Args: sizes, rising; locations, one a size, of one kind; least > 0.
    Raises: ValueError for anything else, fewer than three sizes, or peaks without noise, whose powers have no errors.
    """
    if len(sizes) < 3 or len(sizes) != len(locations) or any(a >= b for a, b in zip(sizes, sizes[1:])):
        raise ValueError(f"want three sizes or more, rising, and a location each, got {list(sizes)}, {len(locations)}")
    kinds = {location.kind for location in locations}
    if len(kinds) > 1 or not least > 0 or not 0 < level < 1:
        raise ValueError(f"want one kind, least > 0 and a level in (0, 1), got {sorted(kinds)}, {least} and {level}")
    without = [size for size, location in zip(sizes, locations) if not location.is_peak]
    if without:
        return SizeVerdict("nothing", None, None, f"no peak at size {', '.join(map(str, without))}")
    height, width = (
        power_law_fit(sizes, *([getattr(location, name + end) for location in locations] for end in ("", "_se")))
        for name in ("height", "width")
    )
    normal = NormalDist().inv_cdf((1 + level) / 2)
    growth = [(height.exponent, normal * height.exponent_se), (-width.exponent, normal * width.exponent_se)]
    verdict = None
    if any(power > error for power, error in growth):
        verdict = "peak"
    elif all(power + error < least for power, error in growth):
        verdict = "crossover"
    (taller, taller_error), (sharper, sharper_error) = growth
    reason = f"height ~ size^{taller:.2g}, ± {taller_error:.1g}, width ~ size^{-sharper:.2g}, ± {sharper_error:.1g}"
    return SizeVerdict(verdict, height, width, reason)


@dataclass(frozen=True)
class EdgeVerdict:
    """Whether χ, softest mode and number of minima have their places together: made by `edge_of_stability`."""

    is_edge: bool
    control: float  # the mean of the three places
    peaks: dict[str, tuple[float, float]]  # control and its error of each of EDGE_PEAKS, for `classify_phase`
    phase: PhaseVerdict  # of these peaks at this control
    distance: tuple[float, float, float] | None  # of the best downstream value from control, with its interval
    reason: str


def edge_of_stability(
    chi: Location, softest_mode: Location, n_minima: Location, *, width: float, best: Location | None = None,
    level: float = 0.95, n_se: float = 3.0,
) -> EdgeVerdict:  # fmt: skip
    """Edge where χ is maximal, the softest mode minimal, and the number of minima falls fastest, all at one control.

    is_edge: each is a peak of its scan (so none at an end), their intervals overlap pairwise, and `classify_phase`
    finds them within width of each other, errors included: intervals so wide that they overlap are no agreement.
    At one size this is a coincidence of three places, critical only where `peak_or_crossover` says peak.
    The distance is best − mean of the three, its interval the quantiles over the resamples: paired if all were located
    with one seed and as many repetitions, else as if independent. best may lie at an end of the scan.
    Args: places from `locate`, of kind "maximum", "minimum", "steepest fall", and any; width > 0, in units of control,
    and n_se, as `classify_phase` has them; level of the distance.
    Raises: ValueError for places of other kinds, unequal numbers of resamples, level, width or n_se out of range.
    """
    places = dict(zip(EDGE_PEAKS, (chi, softest_mode, n_minima)))
    for (name, place), kind in zip(places.items(), EDGE_KINDS):
        if place.kind != kind:
            raise ValueError(f"{name}: want the place of a {kind}, got of a {place.kind}")
    everyone = [*places.values(), *([best] if best else [])]
    if len({len(place.resampled) for place in everyone}) > 1 or not 0 < level < 1:
        raise ValueError(f"want as many resamples each and a level in (0, 1), got {level} and "
                         f"{[len(place.resampled) for place in everyone]}")  # fmt: skip
    control = sum(place.control for place in places.values()) / len(places)
    peaks = {name: (place.control, place.control_se) for name, place in places.items()}
    phase = classify_phase(peaks=peaks, control=control, width=width, n_se=n_se)
    against = [f"no peak of {name} in its scan" for name, place in places.items() if not place.is_peak]
    against += [
        f"{one} and {other} lie apart" for one, other in combinations(places, 2)
        if max(places[one].low, places[other].low) > min(places[one].high, places[other].high)
    ]  # fmt: skip
    against += [] if phase.phase == "edge" else [f"the three are not within {width:g}, errors included"]
    distance = None
    if best is not None:
        three = torch.stack([place.resampled for place in places.values()]).mean(0)
        distance = best.control - control, *_quantiles(best.resampled - three, level)
    reason = "; ".join(against) or f"three peaks within {width:g} of {control:g}"
    return EdgeVerdict(not against, control, peaks, phase, distance, reason)
