"""Confidence intervals over independent repetitions or points: never over pairs, which are dependent."""

from collections.abc import Callable

import torch
from torch import Tensor


def mean_interval(values: Tensor, level: float = 0.95) -> tuple[Tensor, Tensor, Tensor]:
    """Mean over repetitions and its Student interval, x̄ ± t_{R−1}·s/√R: (mean, low, high).

    Exact for normal repetitions; level 0.95 is the interval of the ledger.
    Args: values (n_repetitions ≥ 2, …), repetitions first. Returns: three tensors (…), float64.
    Raises: ValueError for fewer than two repetitions (one run is no interval), values not finite, level not in (0, 1).
    """
    from scipy.stats import t as student

    values = torch.as_tensor(values, dtype=torch.float64)
    if values.ndim == 0 or len(values) < 2:
        found = tuple(values.shape)
        raise ValueError(f"mean_interval: want (n_repetitions >= 2, ...), got {found}: one run is no interval")
    if not values.isfinite().all():
        raise ValueError("mean_interval: want finite values, got NaN or infinity")
    if not 0 < level < 1:
        raise ValueError(f"mean_interval: want a level between 0 and 1, got {level}")
    n_repetitions = len(values)
    mean = values.mean(0)
    half = student.ppf((1 + level) / 2, n_repetitions - 1) * values.std(0) / n_repetitions**0.5
    return mean, mean - half, mean + half


def bootstrap_interval(
    statistic: Callable[..., Tensor | float], *samples: Tensor, level: float = 0.95, n_resamples: int = 999, seed: int,
    method: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Interval of a statistic θ over points, from θ on resampled rows of all samples together: (θ, low, high).

    method="rows": rows with replacement, bias-corrected and accelerated (BCa; Efron 1987). For averages over points.
    method="halves": for averages over pairs of points, or more: ⟨q⟩, χ. A row drawn twice would be a pair with itself,
    so halves are drawn without replacement; θ ± t_{N−1}·√V. Where pairs are all there is (a degenerate U-statistic: on
    the uniform sphere E[q|z_a] is the same for all z_a), the delete-one jackknife V_J counts the variance twice and
    halves V_H three times, while both count that of an average over points once: V = 2V_J − V_H to order 1/N, held
    within V_J/2 … V_J. Asymptotic: for χ of Gaussian codes of variances 4, 1, 1, ¼ the 95 % interval covered 87 % with
    40 points, 94 % with 80.
    Args: statistic, of rows of each sample, to a number or a tensor of one shape; samples, (n_samples, …) each, as many
        rows; level in (0, 1); n_resamples ≥ 99, beside n_samples + 1 evaluations of θ.
    Returns: three tensors, float64. Deterministic in seed.
    Raises: ValueError for samples that differ in rows or have fewer than 10, other options out of range, θ not finite,
        and where every resample lies on one side of θ ("rows": duplicates bias θ, as they do an average over pairs).
    """
    n_samples = _check_bootstrap(samples, level, n_resamples, method)
    generator = torch.Generator().manual_seed(seed)
    everyone = torch.arange(n_samples)
    estimate = _at_rows(statistic, samples, everyone)
    without = torch.stack([_at_rows(statistic, samples, everyone[everyone != row]) for row in range(n_samples)])
    if method == "rows":
        draws = (torch.randint(n_samples, (n_samples,), generator=generator) for _ in range(n_resamples))
        resampled = torch.stack([_at_rows(statistic, samples, rows) for rows in draws])
        return estimate, *_bca(estimate, without, resampled, level)
    draws = (torch.randperm(n_samples, generator=generator)[: n_samples // 2] for _ in range(n_resamples))
    halves = torch.stack([_at_rows(statistic, samples, rows) for rows in draws])
    return estimate, *_student(estimate, without, halves, level)


def _student(estimate: Tensor, without: Tensor, halves: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """θ ± t_{N−1}·√V, V = a + b, where E V_J = a + k_J·b and E V_H = l·a + k_H·b for a U-statistic of order two.

    a is the variance of its average over points, b of the rest over pairs; a subset of m of N points has them N/m and
    N(N−1)/(m(m−1)) times as large, and the variance about θ is the excess over one.
    """
    from scipy.stats import t as student

    n = len(without)
    m = n // 2
    jackknife = (n - 1) * without.var(0, correction=0)
    own, pairs = n / m - 1, n * (n - 1) / (m * (m - 1)) - 1
    pairs_jackknife = 2 * (n - 1) / (n - 2)
    of_pairs = (halves.var(0) - own * jackknife) / (pairs - own * pairs_jackknife)
    of_pairs = torch.minimum(of_pairs.clamp(min=0), jackknife / pairs_jackknife)
    half = student.ppf((1 + level) / 2, n - 1) * (jackknife - (pairs_jackknife - 1) * of_pairs).sqrt()
    return estimate - half, estimate + half


def _bca(estimate: Tensor, without: Tensor, resampled: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Quantiles of the resampled values at Φ(z₀ + (z₀ + z)/(1 − a(z₀ + z))): z₀ the bias, a the acceleration."""
    constant = (resampled == estimate).all(0)
    below = (resampled < estimate).double().mean(0) + (resampled == estimate).double().mean(0) / 2
    if ((below == 0) | (below == 1)).any():
        raise ValueError('rows: want resampled values on both sides of the estimate, got one: take method="halves"')
    skew = without.mean(0) - without
    spread = skew.square().sum(0)
    acceleration = skew.pow(3).sum(0) / (6 * torch.where(spread > 0, spread, 1.0).pow(1.5))
    bias = torch.special.ndtri(below)
    ends = []
    for share in ((1 - level) / 2, (1 + level) / 2):
        normal = bias + torch.special.ndtri(torch.tensor(share, dtype=torch.float64))
        position = torch.special.ndtr(bias + normal / (1 - acceleration * normal))
        ends.append(_quantile(resampled, position))
    low, high = (torch.where(constant, estimate, end) for end in ends)
    return low, high


def _quantile(values: Tensor, position: Tensor) -> Tensor:
    """Quantile of values (n, …) at a position (…) of its own in every column."""
    ordered = values.sort(0).values.reshape(len(values), -1)
    place = position.reshape(-1) * (len(values) - 1)
    below = place.long()
    column = torch.arange(len(place))
    low, high = ordered[below, column], ordered[(below + 1).clamp(max=len(values) - 1), column]
    return low.lerp(high, place - below).reshape(position.shape)


def _at_rows(statistic: Callable[..., Tensor | float], samples: tuple[Tensor, ...], rows: Tensor) -> Tensor:
    value = torch.as_tensor(statistic(*(sample[rows.to(sample.device)] for sample in samples)))
    if not value.isfinite().all():
        raise ValueError(f"statistic: want finite values, got {value.tolist()} on {len(rows)} rows")
    return value.detach().double().cpu()


def _check_bootstrap(samples: tuple[Tensor, ...], level: float, n_resamples: int, method: str) -> int:
    n_rows = [len(sample) if isinstance(sample, Tensor) and sample.ndim else 0 for sample in samples]
    if len(set(n_rows)) != 1 or n_rows[0] < 10:
        raise ValueError(f"samples: want tensors of as many rows each, 10 or more, got rows {n_rows}")
    if not 0 < level < 1:
        raise ValueError(f"level: want a level between 0 and 1, got {level}")
    if n_resamples < 99:
        raise ValueError(f"n_resamples: want 99 or more, got {n_resamples}")
    if method not in ("rows", "halves"):
        raise ValueError(f"method: want 'rows' or 'halves', got {method!r}")
    return n_rows[0]
