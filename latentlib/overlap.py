"""Overlaps q_ab = cos(z_a, z_b) of latent codes: their distribution P(q), its moments, the susceptibility χ = n·Var q.

The first two moments of q know the mean direction e = E[s] and the second moment C = E[ssᵀ] of s = z/|z|, nothing else:
E q = |e|², E q² = ‖C‖². Errors are jackknifed over points, never over pairs, which are dependent.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlib import _backend
from latentlib._codes import check_codes, check_paired, row_norm, unit_rows
from latentlib.reference.overlap import DistinctMeans, distinct_means, jackknife_error, pair_sums
from latentlib.ultrametric import Ultrametricity, ultrametricity

__all__ = [
    "BINS_LIMIT", "OverlapHistogram", "OverlapMoments", "RawOverlapMoments", "Ultrametricity", "WithinOverlap",
    "overlap", "overlap_histogram", "overlap_moments", "raw_overlap_moments", "susceptibility", "ultrametricity",
    "within_overlap",
]

BINS_LIMIT = 2**20  # overlaps near 1 are known to 2⁻²⁴ in float32: much finer bins would count rounding


def overlap(z_a: Tensor, z_b: Tensor) -> Tensor:
    """Overlap q_ab = z_a·z_b / (|z_a||z_b|), the cosine of paired rows.

    In [−1, 1] up to rounding, unchanged under z → c·z, c > 0. Source: phase, Eqs. (6, 7).
    Args: z_a, z_b, latent codes, (n_samples, n_latent), same shape, floating dtype, device.
    Returns: (n_samples,), summed in float64. Raises: ValueError for anything else, a value not finite, a zero row.
    """
    check_codes(z_a=z_a, z_b=z_b)
    check_paired(z_a, z_b)
    cosine = (z_a.double() * z_b.double()).sum(1) / (row_norm("z_a", z_a) * row_norm("z_b", z_b))
    return cosine.to(z_a.dtype)


@dataclass(frozen=True)
class OverlapHistogram:
    """Counts of overlaps in equal bins of [−1, 1]: edges (n_bins + 1,) float64, count (n_bins,) int64."""

    edges: Tensor
    count: Tensor

    @property
    def n_pairs(self) -> int:
        return int(self.count.sum())

    @property
    def centres(self) -> Tensor:
        return (self.edges[1:] + self.edges[:-1]) / 2

    @property
    def density(self) -> Tensor:
        """P(q) per unit of q, (n_bins,) float64: Σ density·width = 1."""
        return self.count / (self.n_pairs * self.edges.diff())


def overlap_histogram(
    z: Tensor, *, n_bins: int, z_other: Tensor | None = None, impl: str | None = None
) -> OverlapHistogram:
    """Histogram of P(q): count_b = #{pairs: ⌊clamp((q + 1)·n_bins/2, 0, n_bins − 1)⌋ = b}, every pair exactly once.

    Pairs i < j of one set, N(N−1)/2 of them, or all N·M pairs with z_other. A bin holds its lower edge; the last also
    q = 1, so duplicate rows count there. The rule runs in the precision of q (float32, float64 for float64 codes): a
    pair within rounding of an edge may fall on either side. Rows scaled by powers of two change no count.
    Args: z, codes, (n_samples, n_latent); n_bins, 1 … 2²⁰; z_other, same n_latent, dtype and device; impl, "reference",
        "triton" (float32 and half precision), or None: the kernel on a GPU, but the reference for float64 codes.
    Memory: one tile beside the codes. Time: 2·n_latent FLOP a pair.
    Raises: ValueError for bad codes, a zero row, one point without z_other, or n_bins out of range.
    """
    if z_other is None:
        check_codes(z=z, n_min=2)
    else:
        check_codes(z=z, z_other=z_other)
    if not isinstance(n_bins, int) or not 1 <= n_bins <= BINS_LIMIT:
        raise ValueError(f"n_bins: want an integer from 1 to {BINS_LIMIT}, got {n_bins!r}")
    if z.dtype == torch.float64:
        if impl == "triton":
            raise ValueError("impl='triton' for overlap: want float32 or half precision codes, got torch.float64")
        impl = impl or "reference"
    module = _backend.implementation("overlap", impl, z)
    unit_other = None if z_other is None else unit_rows("z_other", z_other)
    count = module.overlap_histogram(unit_rows("z", z), unit_other, n_bins)
    return OverlapHistogram(torch.linspace(-1, 1, n_bins + 1, dtype=torch.float64, device=z.device), count)


@dataclass(frozen=True)
class OverlapMoments:
    """Unbiased moments of q over pairs of distinct points; `_se` is the jackknife standard error over points."""

    n_samples: int
    n_latent: int
    q_mean: float  # E q = |e|²
    q_mean_se: float
    q_square: float  # E q² = ‖C‖²
    q_square_se: float
    q_mean_square: float  # (E q)², over four distinct points
    q_mean_square_se: float
    q_var: float
    q_var_se: float
    chi: float
    chi_se: float


def overlap_moments(z: Tensor, *, floor: float = 0.0, by_pairs: bool = False) -> OverlapMoments:
    """Moments of the overlap: ⟨q⟩ = B₁/(N)₂, Var q = B₂/(N)₂ − B₄/(N)₄, χ = n·Var q, all from sums over points.

    χ is 1 on the uniform sphere. Unbiased U-statistics (Var q may come out slightly negative), unchanged by rotations
    and by positive row scales. Where E[q|z_a] and E[q²|z_a] are the same for every z_a, as on the uniform sphere, the
    jackknife errors are √2 too large: `interval.bootstrap_interval` has intervals of the right width there too.
    Args: z, codes, (n_samples ≥ 5, n_latent): four distinct points, one more for the jackknife; floor, the mean squared
        norm ⟨|z|²⟩ of noise alone, in units of z²: codes at or under it are refused, since their χ is the noise's;
        by_pairs, sum the overlap matrix itself, O(n_samples²·n_latent) instead of O(n_samples·n_latent²) time: equal
        to rounding, and taken anyway where n_latent > n_samples. Sums in float64.
    Raises: ValueError for bad codes, a zero row, or codes at the floor.
    """
    full, without = _means(z, floor, by_pairs, directions=True)
    n_samples, n_latent = z.shape

    def moments(mean: DistinctMeans) -> dict[str, Tensor]:
        var = mean.square - mean.quadruple
        return {
            "q_mean": mean.pair, "q_square": mean.square, "q_mean_square": mean.quadruple,
            "q_var": var, "chi": n_latent * var,
        }  # fmt: skip

    return OverlapMoments(n_samples, n_latent, **_with_errors(moments(full), moments(without)))


def susceptibility(z: Tensor, *, floor: float = 0.0) -> float:
    """Overlap susceptibility χ = n·Var q: 1 for directions uniform on the sphere, n for codes ± along one line.

    `overlap_moments(z, floor=floor).chi`; take that for its standard error. Same arguments, same errors.
    """
    return overlap_moments(z, floor=floor).chi


@dataclass(frozen=True)
class RawOverlapMoments:
    """Moments of R_ab = z_a·z_b/⟨|z|²⟩ over pairs of distinct points; `_se` is the jackknife error over points."""

    n_samples: int
    n_latent: int
    r_mean: float
    r_mean_se: float
    r_var: float
    r_var_se: float
    chi: float  # χ_R = n_latent·Var R
    chi_se: float
    participation_ratio: float
    participation_ratio_se: float


def raw_overlap_moments(z: Tensor, *, floor: float = 0.0, by_pairs: bool = False) -> RawOverlapMoments:
    """Unnormalised overlap R = z_a·z_b/⟨|z|²⟩: χ_R = n·Var R, and the participation ratio PR = (tr Σ)²/tr Σ².

    Σ = Cov(z). For centred codes χ_R = n/PR. PR, the effective number of active directions (1 … n_latent), depends
    neither on the mean of the codes nor, unlike χ_R, on unused latents. Numerators and denominators are unbiased
    U-statistics, their ratios are biased by O(1/n_samples). Unchanged by rotations and by one scale for all codes.
    Args and errors: as `overlap_moments`. PR is nan where all rows are identical.
    """
    full, without = _means(z, floor, by_pairs, directions=False)
    n_samples, n_latent = z.shape
    identical = bool((z == z[0]).all())

    def moments(mean: DistinctMeans) -> dict[str, Tensor]:
        var = (mean.square - mean.quadruple) / mean.norm_pair
        trace_square = mean.norm_pair - 2 * mean.norm_triple + mean.quadruple
        square_trace = mean.square - 2 * mean.triple + mean.quadruple
        ratio = trace_square / square_trace * (math.nan if identical else 1)
        return {"r_mean": mean.pair / mean.norm, "r_var": var, "chi": n_latent * var, "participation_ratio": ratio}

    return RawOverlapMoments(n_samples, n_latent, **_with_errors(moments(full), moments(without)))


@dataclass(frozen=True)
class WithinOverlap:
    """Overlap of two posterior draws of one input, averaged over inputs; `_se` over inputs."""

    q_mean: float
    q_mean_se: float
    chi: float  # n_latent·Var q over inputs
    chi_se: float


def within_overlap(z_a: Tensor, z_b: Tensor) -> WithinOverlap:
    """Within-input overlap q = z_a·z_b/n of two posterior draws of each input: the Edwards–Anderson order parameter.

    ⟨q⟩ = (1/n)Σ⟨μ_k²⟩, at latent scale 1 the mean signal fraction (1/n)Σ m_k; n·Var q = (1/n)Σ(1 + m_k²) for Gaussian
    codes. Not normalised by row: it scales with z². Source: pruning, section III.1. Errors by jackknife over inputs.
    Args: z_a, z_b, two independent draws of the same inputs, (n_samples ≥ 3, n_latent), same shape, dtype, device.
    Raises: ValueError for anything else or a value not finite.
    """
    check_codes(z_a=z_a, z_b=z_b, n_min=3)
    check_paired(z_a, z_b)
    n_samples, n_latent = z_a.shape
    q = (z_a.detach().double() * z_b.detach().double()).sum(1) / n_latent
    excess = q - q.mean()
    square = excess.square().sum()
    # Leaving q_i out takes its square about the mean of the others: N/(N−1)·excess_i².
    without = (square - excess.square() * n_samples / (n_samples - 1)) / (n_samples - 2)
    full = {"q_mean": q.mean(), "chi": n_latent * square / (n_samples - 1)}
    return WithinOverlap(**_with_errors(full, {"q_mean": -excess / (n_samples - 1), "chi": n_latent * without}))


def _means(z: Tensor, floor: float, by_pairs: bool, directions: bool) -> tuple[DistinctMeans, DistinctMeans]:
    """The averages over distinct points, over all of them and without each in turn, of checked codes."""
    check_codes(z=z, n_min=5)
    z = z.detach()
    norm = row_norm("z", z)
    norm_square = norm.square().mean().item()
    if not norm_square > floor:
        raise ValueError(f"want codes above the noise floor, ⟨|z|²⟩ > {floor:g}, got ⟨|z|²⟩ = {norm_square:g}")
    n_samples, n_latent = z.shape
    sums = pair_sums(z, norm if directions else torch.ones_like(norm), by_pairs or n_latent > n_samples)
    return distinct_means(sums), distinct_means(sums, jackknife=True)


def _with_errors(full: dict[str, Tensor], without: dict[str, Tensor]) -> dict[str, float]:
    """The fields of a dataclass of estimates: each name with its value, and `name_se`."""
    errors = {f"{name}_se": jackknife_error(values) for name, values in without.items()}
    return {name: value.item() for name, value in full.items()} | errors
