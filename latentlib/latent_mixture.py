"""Is a latent energy a mixed p-spin? Its mixture ξ(q) = Σ_p c_p q^p from Taylor coefficients, its minima in a field.

Units: H as given stands for an extensive energy, E HH′ = n·ξ(q) at overlap q of two points of the sphere |z|² = n, as
in `pspin`. H → a·H takes every c_q to a²c_q and fields to a·field, and leaves mean counts of minima.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass, replace
from functools import cache

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from latentlib import kac_rice
from latentlib.directional import ORDER_LIMIT, Energy, tangent_directions
from latentlib.interval import bootstrap_interval, mean_interval
from latentlib.landscape import Landscape
from latentlib.minima import count_minima
from latentlib.taylor import pspin_weights, taylor_coefficients

REACH = 4  # the closest p-spin may have orders up to REACH times the last one measured
NEGLIGIBLE = 1e-20  # of the largest ⟨a²⟩n^{p−1}: a b_p² below is rounding of the power series, and zero
FIELD_STREAM = 2**29  # keeps the directions of fields apart from starts of the same seed, to which they would be equal


@dataclass(frozen=True)
class InferredMixture:
    """What `infer_mixture` found; index p or q, float64; low and high are bootstrap intervals over points."""

    n_latent: int
    b: Tensor  # (order + 1,), rms b_p of the lines, about their mean
    b_low: Tensor
    b_high: Tensor
    raw: Tensor  # (order + 1,), c_q by triangular inversion, of either sign
    raw_low: Tensor
    raw_high: Tensor
    weights: Tensor  # (REACH·order + 1,), c_q ≥ 0 of the closest p-spin; c_0 = 0
    weights_low: Tensor
    weights_high: Tensor
    misfit: float  # largest distance of its b_p² from the measured, in half-widths of their intervals, p ≥ 1
    slope: float  # ξ′(1)
    slope_interval: tuple[float, float]
    curvature: float  # ξ″(1) of the energy on the sphere
    curvature_interval: tuple[float, float]
    trivialization_field: float  # h² = max(ξ″(1) − ξ′(1), 0)
    trivialization_interval: tuple[float, float]
    slopes: Tensor  # (n_points, 2): what every point says of ξ′(1) and ξ″(1)

    @property
    def mixture(self) -> dict[int, float]:
        """The closest mixture {q: c_q > 0}, as `pspin` and `kac_rice` take it."""
        return {q: weight for q, weight in enumerate(self.weights.tolist()) if weight > 0}

    @property
    def negative_share(self) -> float:
        """Σ_q max(−c_q, 0)/Σ_q |c_q| of the raw weights, q ≥ 1: 0 for a p-spin of these orders, up to noise."""
        raw = self.raw[1:]
        return ((-raw).clamp(min=0).sum() / raw.abs().sum()).item()

    @property
    def negative(self) -> tuple[int, ...]:
        """Orders q ≥ 1 whose raw weight has its whole interval below zero: no p-spin of these orders alone."""
        return tuple(q for q, high in enumerate(self.raw_high.tolist()) if q and high < 0)


def infer_mixture(
    energy: Energy | Sequence[Energy], z: Tensor, *, order: int = 6, n_directions: int = 16,
    smooth: float | None = None, level: float = 0.95, n_resamples: int = 999, seed: int, **options: int,
) -> InferredMixture:  # fmt: skip
    """Mixture of a landscape from Taylor coefficients, b_p² = Σ_{q≥p} c_q C(q, p): raw, and with all c_q ≥ 0.

    b_p² is n^{p−1} times the variance of a_p over points z and unit directions v ⊥ z. About the mean, since the part of
    H that depends on |z| alone, which is no landscape on the sphere, gives all lines the same a_2, a_4, …; of a single
    2-spin this takes 1/n of b_2². raw inverts (`pspin_weights`), orders past the last for zero: a negative weight
    beyond its error is no p-spin of these orders alone. c_1 holds the field, c_0 the variance that is left. weights
    minimise Σ_{p≥1} (b_p²(c)/b_p² − 1)² over c_q ≥ 0, q to REACH = 4 times the order (equal relative errors are those
    of Gaussian a_p); a misfit above 1 is no p-spin of any. A small one proves none: over uniform z and v the covariance
    of *any* function on the sphere has nonnegative weights, up to 1/n. A glass is what has the minima predicted.
    Predictions need no inversion: ξ′(1) = E a_1², and ξ″(1) = 2n·Var(a_2|z)·(n−1)/(n−2), over the directions at a
    point, where the course of H off the sphere drops out. In b_2 it does not: 2b_2² ≠ ξ″(1) is one more test.
    Intervals (BCa) resample points. They know nothing of other draws of H: of one p-spin, c_1 has the
    relative error √(2/n), c_2 2/n.
    Args: energy and options as `taylor.taylor_coefficients`, one energy or one a point; z, (n_points ≥ 10, n_latent ≥
        3), float64, |z|² = n_latent, chosen without looking at H: at its own code, near a minimum, b_0 … b_2 follow
        another law; order P, 2 to 8; n_directions ≥ 2 a point; smooth, for ReLU decoders, as there.
    Raises: ValueError for z off the sphere, an order or option out of range, a kink without smooth, an order lost in
    the noise of the smoothing.
    """
    _check_points(z, order, n_directions)
    n_latent, size = z.shape[1], order + 1
    direction = tangent_directions(z, n_directions, seed=seed)
    found = taylor_coefficients(energy, z, direction, order, smooth=smooth, seed=seed, **options)
    scale = n_latent ** (0.5 * torch.arange(-1, order, dtype=z.dtype, device=z.device))
    coefficient, noise = scale * found.coefficient, (scale * found.coefficient_se).square().mean(1)
    bend = 2 * (n_latent - 1) / (n_latent - 2) * (coefficient[..., 2].var(1) - noise[:, 2])
    slopes = torch.stack([coefficient[..., 1].square().mean(1) - noise[:, 1], bend], 1)
    rounding = NEGLIGIBLE * coefficient.square().mean((0, 1)).max()
    excess = coefficient - coefficient.mean((0, 1))
    inverse = pspin_weights(torch.eye(size, dtype=z.dtype, device=z.device))

    def statistic(mean: Tensor, square: Tensor, slopes: Tensor) -> Tensor:
        # Of independent points: the square of the mean is too large by what the mean itself scatters.
        b_square = square.mean(0) - mean.mean(0).square() + mean.var(0) / len(mean)
        b_square = torch.where(b_square.abs() < rounding, 0.0, b_square)
        slope, curvature = slopes.mean(0)
        ends = torch.stack([slope, curvature, curvature - slope])
        return torch.cat([b_square, b_square @ inverse, _nonnegative(b_square), ends])

    resampling = {"level": level, "n_resamples": n_resamples, "seed": seed, "method": "rows"}
    parts = bootstrap_interval(statistic, excess.mean(1), excess.square().mean(1) - noise, slopes, **resampling)
    square, raw, weights, ends = zip(*(part.split([size, size, REACH * order + 1, 3]) for part in parts))
    if (square[0] < 0).any():
        lost = (square[0] < 0).nonzero()[0].item()
        raise ValueError(f"order: want b_p above the noise of the smoothing, got b_{lost} below: raise n_across")
    b = (part.clamp(min=0).sqrt() for part in square)  # an interval of b² may begin below 0, b does not
    slope, curvature, gap = torch.stack(ends, 1).tolist()
    trivial = [math.sqrt(max(one, 0.0)) for one in gap]
    return InferredMixture(
        n_latent, *b, *raw, *weights, _misfit(*square, weights[0]),
        slope[0], tuple(slope[1:]), curvature[0], tuple(curvature[1:]), trivial[0], tuple(trivial[1:]), slopes.cpu(),
    )  # fmt: skip


def predict_minima(
    inferred: InferredMixture, field: float = 0.0, *, random_field: bool = True, level: float = 0.95,
    n_resamples: int = 999, seed: int,
) -> tuple[float, float, float]:  # fmt: skip
    """Mean number of minima that a mixed p-spin of this ξ′(1), ξ″(1) has in a field: Kac–Rice, (mean, low, high).

    `kac_rice.n_minima` at finite n knows of a mixture these two numbers alone, and in a random field only
    ξ″(1)/(ξ′(1) + h²), whose interval over points is that of the count. Other draws of H scatter about the mean.
    Args: inferred, n_latent ≤ 400; field h ≥ 0 in units of H, added to what linear part H has; random_field, Gaussian
        with h² a site, else of fixed direction u, |u|² = n. Raises: ValueError for a field out of range, or H constant.
    """
    if not (math.isfinite(field) and field >= 0):
        raise ValueError(f"field: want a finite number >= 0, got {field}")
    if not inferred.slope > 0:
        raise ValueError(f"inferred: want an energy that varies over the sphere, got xi'(1) = {inferred.slope:g}")

    def ratio(slopes: Tensor) -> Tensor:
        slope, curvature = slopes.mean(0)
        return curvature / (slope + field**2)

    resampling = {"level": level, "n_resamples": n_resamples, "seed": seed, "method": "rows"}
    found = bootstrap_interval(ratio, inferred.slopes, **resampling)
    curvatures = [max(one.item(), 0.0) * (inferred.slope + field**2) for one in found]
    mixtures = (_mixture_of(inferred.slope, one) for one in curvatures)
    return tuple(kac_rice.n_minima(one, inferred.n_latent, field, random_field=random_field) for one in mixtures)


@dataclass(frozen=True)
class FieldCounts:
    """Minima found on every landscape at every field, (n_fields, n_landscapes) int64, and the starts not at one."""

    field: Tensor  # (n_fields,) float64
    n_minima: Tensor
    n_unfinished: Tensor
    n_flat: Tensor

    def mean(self, level: float = 0.95) -> tuple[Tensor, Tensor, Tensor]:
        """Mean over landscapes and its Student interval, three (n_fields,). Raises: ValueError for one landscape."""
        return mean_interval(self.n_minima.T, level)


def count_along_field(
    landscapes: Sequence[Landscape], fields: Tensor, *, direction: Tensor | None = None, n_starts: int, seed: int,
    **options: float,
) -> FieldCounts:  # fmt: skip
    """Number of minima of H(z) − h·u·z on the sphere, field h raised on the same landscapes: p-spins or decoders.

    `minima.count_minima` from the same starts throughout, a lower bound. On p-spins its mean over draws is
    `kac_rice.n_minima`, with random_field as here; a linear decoder has two minima at most, at any field.
    Args: landscapes, float64, of one n_latent, `latent_energy(…)` of some inputs or `draw_pspin(…)`: what
        field they have stays; fields h ≥ 0, (n_fields,), in units of H; direction u, (n_latent,), scaled to |u|² = n
        and shared by all, or None: Gaussian of variance 1 a site, one for each landscape, the same at all h; n_starts
        of every descent, options of `count_minima`; seed of starts and directions.
    Raises: ValueError for no landscape, other sizes, fields out of range, a direction that is none, and as
    `count_minima`; TypeError for a landscape whose field cannot be replaced, as of no dataclass.
    """
    u = _directions(landscapes, fields, direction, seed)
    counts = []
    for strength in fields.tolist():
        in_field = (replace(one, field=one.field + (strength * own).to(one.field)) for one, own in zip(landscapes, u))
        found = [count_minima(one, n_starts, seed=seed, **options) for one in in_field]
        counts.append([(one.n_minima, one.n_unfinished, one.n_flat) for one in found])
    return FieldCounts(fields.detach().double().cpu(), *torch.tensor(counts).unbind(-1))


def _nonnegative(square: Tensor) -> Tensor:
    """c_q ≥ 0 that minimise Σ_{p≥1} (Σ_q c_q C(q, p)/b_p² − 1)², q to REACH·P, but below p where b_p is 0."""
    known = square[1:].tolist()
    n_known = next((p for p, one in enumerate(known) if not one > 0), len(known))
    n_orders = REACH * n_known if n_known == len(known) else n_known
    weights = square.new_zeros(REACH * len(known) + 1)
    if n_known:
        rows = _binomials(n_known, n_orders) / np.array(known[:n_known])[:, None]
        norm = np.linalg.norm(rows, axis=0)  # b_p² may span many decades
        weights[1 : n_orders + 1] = weights.new_tensor(nnls(rows / norm, np.ones(n_known))[0] / norm)
    return weights


@cache
def _binomials(n_known: int, n_orders: int) -> np.ndarray:
    """C(q, p), [p − 1, q − 1]."""
    return np.array([[math.comb(q, p) for q in range(1, n_orders + 1)] for p in range(1, n_known + 1)], dtype=float)


def _misfit(square: Tensor, low: Tensor, high: Tensor, weights: Tensor) -> float:
    fitted = torch.from_numpy(_binomials(len(square) - 1, len(weights) - 1)).to(weights) @ weights[1:]
    apart = 2 * (fitted - square[1:]).abs() / (high - low)[1:]
    return torch.where(high[1:] > low[1:], apart, 0.0).max().item()


def _mixture_of(slope: float, curvature: float) -> dict[int, float]:
    """A mixture with this ξ′(1) > 0 and ξ″(1) ≥ 0: a field and a pure spin of an order high enough."""
    p = 2 + math.floor(curvature / slope)
    return {1: slope - curvature / (p - 1), p: curvature / (p * (p - 1))}


def _check_points(z: Tensor, order: int, n_directions: int) -> None:
    if not isinstance(z, Tensor) or z.dtype != torch.float64 or z.ndim != 2 or len(z) < 10 or z.shape[1] < 3:
        found = f"{z.dtype} {tuple(z.shape)}" if isinstance(z, Tensor) else type(z).__name__
        raise ValueError(f"z: want float64 (n_points >= 10, n_latent >= 3), got {found}")
    off = (z.square().sum(1) / z.shape[1] - 1).abs().max().item()
    if not off <= torch.finfo(z.dtype).eps ** 0.5:  # NaN is not
        raise ValueError(f"z: want points with |z|² = n_latent, got |z|²/n_latent off 1 by {off:.2g}")
    if not isinstance(order, int) or not 2 <= order <= ORDER_LIMIT or n_directions < 2:
        wanted = f"order 2 to {ORDER_LIMIT} and n_directions >= 2"
        raise ValueError(f"infer_mixture: want {wanted}, got {order!r} and {n_directions}")


def _directions(
    landscapes: Sequence[Landscape], fields: Tensor, direction: Tensor | None, seed: int
) -> Tensor:
    """Field directions u, (n_landscapes, n_latent) float64, after the checks."""
    sizes = {one.n_latent for one in landscapes}
    if len(sizes) != 1:
        raise ValueError(f"landscapes: want one or more of one n_latent, got {sorted(sizes) or 'none'}")
    for one in landscapes:
        if not is_dataclass(one):
            raise TypeError(f"landscapes: want dataclasses, such as LatentEnergy, got {type(one).__name__}")
    if not isinstance(fields, Tensor) or fields.ndim != 1 or not (fields.isfinite() & (fields >= 0)).all():
        raise ValueError(f"fields: want finite (n_fields,), all >= 0, got {fields}")
    (n_latent,) = sizes
    if direction is None:
        generator = torch.Generator().manual_seed(seed + FIELD_STREAM)
        return torch.randn(len(landscapes), n_latent, generator=generator, dtype=torch.float64)
    norm = direction.double().norm().item() if direction.shape == (n_latent,) else math.nan
    if not 0 < norm < math.inf:
        raise ValueError(f"direction: want finite ({n_latent},), not zero, got {tuple(direction.shape)} of norm {norm}")
    return (direction.double().cpu() * (n_latent**0.5 / norm)).expand(len(landscapes), -1)
