"""Fréchet distance of two sets of feature vectors, free of the bias of finite samples and with an interval.

FID is this distance on one set of features, the 2048 of a certain Inception network: `feature_network` gives the name.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlib._codes import check_codes
from latentlib.interval import mean_interval

EPS = torch.finfo(torch.float64).eps
TRACE_TOLERANCE = 1e-9  # share of tr S_a + tr S_b that fast eigenvalues may be wrong by, else singular values


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Fréchet distance d² = |m_a − m_b|² + tr(S_a + S_b − 2(S_a^½ S_b S_a^½)^½) of Gaussians with the samples' moments.

    In [0, ∞), in squared units of the features, unchanged by a rotation or shift of both; S divided by N − 1, of any
    rank. With S = FᵀF the last trace is the nuclear norm of F_a F_bᵀ; F are the centred rows if no more than features.
    Biased upwards, by about n_features/n_samples of a trace: see `extrapolate_frechet`. Float64 inside, rounding under
    1e-9·(tr S_a + tr S_b). Source: Dowson and Landau (1982); as the FID, Heusel et al. (2017).
    Args: a, b, features, (n_samples ≥ 2, n_features), floating, of one n_features, dtype and device.
    Raises: ValueError for other shapes, one sample, another number of features, NaN or infinity.
    """
    check_codes(a=a, b=b, n_min=2)
    (mean_a, factor_a), (mean_b, factor_b) = _mean_and_factor(a), _mean_and_factor(b)
    return _distance(mean_a - mean_b, factor_a, factor_b)


@dataclass(frozen=True)
class FrechetEstimate:
    """Fréchet distance in the limit of infinitely many samples, with its interval, and that of the samples."""

    distance: float  # of all samples: the number that papers print, biased upwards
    limit: float  # N → ∞; may fall below 0 by its error
    low: float
    high: float
    n_samples: tuple[int, int]
    n_features: int


def extrapolate_frechet(
    a: Tensor, b: Tensor, *, seed: int, n_groups: int = 20, level: float = 0.95
) -> FrechetEstimate:
    """Fréchet distance at N → ∞, G·d²(N) − (G−1)·⟨d²(N − N/G)⟩: the line in 1/N through N and all but one group.

    It is the mean of G pseudo-values, and their Student interval is its own: the jackknife over groups of points, since
    rows drawn twice would narrow S. Of two Gaussian sets of one law (24 features, variances 1 … 0.01, N = 72 = 3·24)
    d²(N) is 0.70 on average and the limit 0.00 ± 0.12. Where both laws are equal all of d² comes from pairs of points,
    and the interval is about √2 too wide.
    Args: a, b, as `frechet_distance`, with more than n_features rows each without a group; sets of one length are
        grouped row by row, so that paired rows (images, their reconstructions) stay together; seed, of the groups;
        n_groups G ≥ 5; level in (0, 1). Returns: FrechetEstimate.
    Raises: ValueError as `frechet_distance`, and for too few rows or options out of range.
    """
    check_codes(a=a, b=b, n_min=2)
    _check_groups(a, b, n_groups)
    origin = a.detach().double().mean(0)  # sums of squares about it lose no more than the distance itself
    groups = zip(_groups(a, origin, n_groups, seed), _groups(b, origin, n_groups, seed), strict=True)
    all_a, all_b = (_sums(x.detach().double() - origin) for x in (a, b))
    distance = _distance_of_sums(all_a, all_b)
    without = [_distance_of_sums(all_a - _sums(one_a), all_b - _sums(one_b)) for one_a, one_b in groups]
    pseudo_values = n_groups * distance - (n_groups - 1) * torch.tensor(without, dtype=torch.float64)
    limit, low, high = (value.item() for value in mean_interval(pseudo_values, level))
    return FrechetEstimate(distance, limit, low, high, (len(a), len(b)), a.shape[1])


def _mean_and_factor(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, and F with S = FᵀF of no more than n_features rows."""
    x = x.detach().double()
    mean = x.mean(0)
    rows = (x - mean) / (len(x) - 1) ** 0.5
    return mean, rows if len(rows) <= rows.shape[1] else _factor(rows.T @ rows)


def _factor(covariance: Tensor) -> Tensor:
    """F with FᵀF = S: Cholesky's, or, of a singular S, eigenvectors without those of eigenvalues that are rounding."""
    lower, info = torch.linalg.cholesky_ex(covariance)
    if not info:
        return lower.T
    eigenvalue, vector = torch.linalg.eigh(covariance)
    kept = eigenvalue > len(covariance) * EPS * eigenvalue[-1]
    return eigenvalue[kept].sqrt()[:, None] * vector[:, kept].T


def _distance(shift: Tensor, factor_a: Tensor, factor_b: Tensor) -> float:
    traces = factor_a.square().sum() + factor_b.square().sum()
    distance = shift.square().sum() + traces - 2 * _nuclear_norm(factor_a @ factor_b.T, TRACE_TOLERANCE * traces)
    return max(distance.item(), 0.0)  # equal moments may end a rounding below


def _nuclear_norm(matrix: Tensor, tolerance: Tensor) -> Tensor:
    """Sum of singular values s. √ of the eigenvalues of the Gram matrix takes a sixth of the time, and is kept if good.

    An eigenvalue is wrong by ε·s_max² (rms, measured under half of it up to n = 1024, of either sign), so s by
    ε·s_max²/s, or √ε·s_max where that is less; the errors add in quadrature.
    """
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    values = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    if values.numel() == 0:
        return values.sum()
    error = EPS**0.5 * values[-1] * (EPS**0.5 * values[-1] / values).clamp(max=1)
    if torch.linalg.vector_norm(error) <= tolerance:
        return values.sum()
    return torch.linalg.svdvals(matrix).sum()


def _groups(x: Tensor, origin: Tensor, n_groups: int, seed: int) -> tuple[Tensor, ...]:
    """Rows about the origin in random groups of equal size; the same rows in sets of one length."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    return (x.detach().double() - origin)[order].tensor_split(n_groups)


def _sums(rows: Tensor) -> Tensor:
    """Σ [1, x]ᵀ[1, x] over the rows, (1 + n_features, 1 + n_features): they add."""
    row = torch.cat([torch.ones_like(rows[:, :1]), rows], 1)
    return row.T @ row


def _distance_of_sums(sums_a: Tensor, sums_b: Tensor) -> float:
    means, factors = [], []
    for sums in (sums_a, sums_b):
        n, mean = sums[0, 0], sums[0, 1:] / sums[0, 0]
        means.append(mean)
        factors.append(_factor((sums[1:, 1:] - n * torch.outer(mean, mean)) / (n - 1)))
    return _distance(means[0] - means[1], *factors)


def _check_groups(a: Tensor, b: Tensor, n_groups: int) -> None:
    if not isinstance(n_groups, int) or n_groups < 5:
        raise ValueError(f"n_groups: want a whole number >= 5, got {n_groups!r}")
    n_least = min(len(a), len(b))
    if n_least - math.ceil(n_least / n_groups) <= a.shape[1]:
        want = f"more than {a.shape[1]} rows (one a feature) without one of {n_groups} groups"
        raise ValueError(f"extrapolate_frechet: want {want}, got {len(a)} and {len(b)} in all")
