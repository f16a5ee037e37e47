"""Ultrametricity of a set of codes: in a tree of states the two longest sides of every triangle are equal.

Classes do the same without any glass, and in high dimension all distances are nearly equal, which looks like it. So the
gap between the two longest sides is measured in units of the spread of distances, and never without its nulls.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from latentlib._codes import check_codes, unit_rows
from latentlib.nulls import NullInterval, class_mixture_codes, null_interval, uniform_codes
from latentlib.reference.overlap import jackknife_error

GAP_CONCENTRATED = 3 / (2 * math.sqrt(math.pi))  # E[largest − middle] of three independent N(0, 1): .846284
BATCH = 2**13  # triples at once: 3·2¹³·n_latent float64 numbers


@dataclass(frozen=True)
class Ultrametricity:
    """Triangle gap ⟨d_max − d_mid⟩/sd(d) with its error and 95 % interval over points; other codes; nulls."""

    gap: float
    gap_se: float
    interval: tuple[float, float]
    n_triples: int
    others: dict[str, tuple[float, float]]  # name: gap and its standard error
    nulls: dict[str, NullInterval]


def ultrametricity(
    z: Tensor, labels: Tensor | None = None, *, n_triples: int = 20_000, seed: int, n_null: int = 39,
    others: Mapping[str, Tensor] | None = None, samplers: Mapping[str, Callable[..., Tensor]] | None = None,
) -> Ultrametricity:  # fmt: skip
    """Triangle gap K = ⟨d_max − d_mid⟩/sd(d), d = 1 − q, over triples of distinct points: 0 in an ultrametric tree.

    K ≥ 0, unchanged by rotations, positive row scales, and d → a·d. Of directions uniform on the sphere K → 3/(2√π) =
    .846 as n_latent grows: distances concentrate, but the triangle of their fluctuations does not close. K is 0 too for
    tight classes at equal distances: read it beside the null of class mixtures. nan where all distances are equal.
    Source: K(d) of Katzgraber and Hartmann, Phys. Rev. Lett. 102, 037207 (2009), averaged.
    Errors by jackknife over points, never over triples: wide, by up to √3, where no point is special (uniform) or few
    triples are drawn, since the noise of a triple then enters with each of its points. The interval is gap ± t·gap_se,
    cut at 0.
    Args: z, codes, (n_samples ≥ 10, n_latent); labels, (n_samples,), for the null of class mixtures; n_triples, drawn
        with replacement, or all of them where there are no more; others, codes to be measured alike, such as replicas
        of a p = 3 spin glass; samplers, further nulls, called as sampler(seed=…); n_null draws of each null, the
        uniform one always, 95 % (`null_interval`).
    Raises: ValueError for bad codes or labels, a zero row, n_triples < 1, n_null < 39, a name used twice.
    """
    if n_triples < 1:
        raise ValueError(f"n_triples: want 1 or more, got {n_triples}")
    measured = {"z": z, **(others or {})}
    for name, codes in measured.items():
        check_codes(**{name: codes}, n_min=10)
    tests = {"uniform": partial(uniform_codes, *z.shape, device=z.device)}
    if labels is not None:
        tests["class mixture"] = partial(class_mixture_codes, z, labels)
    if set(tests) & set(samplers or {}) or "z" in (others or {}):
        raise ValueError(f"want names besides z, {', '.join(tests)}, got {[*(others or {}), *(samplers or {})]}")
    gaps = {name: _gap(name, codes, n_triples, seed) for name, codes in measured.items()}
    gap, gap_se = gaps.pop("z")

    def statistic(codes: Tensor) -> float:
        return _gap("null", codes, n_triples, seed)[0]

    nulls = {
        name: null_interval(statistic, sampler, n_null=n_null, seed=seed)
        for name, sampler in (tests | dict(samplers or {})).items()
    }
    n_used = min(n_triples, math.comb(len(z), 3))
    return Ultrametricity(gap, gap_se, _interval(gap, gap_se, len(z)), n_used, gaps, nulls)


def _interval(gap: float, gap_se: float, n_samples: int) -> tuple[float, float]:
    from scipy.stats import t as student

    half = float(student.ppf(0.975, n_samples - 1)) * gap_se
    return max(gap - half, 0.0), gap + half


def _gap(name: str, codes: Tensor, n_triples: int, seed: int) -> tuple[float, float]:
    """K of a set of codes and its jackknife error over points."""
    unit = unit_rows(name, codes.double())
    triples = _triples(len(unit), n_triples, seed).to(unit.device)
    distance = 1 - _overlaps(unit, triples)
    distance -= distance.mean()  # the gaps stay, and the variance loses no digits where distances are nearly equal
    sides = distance.sort(1).values
    sums = torch.stack([sides[:, 2] - sides[:, 1], distance.sum(1), distance.square().sum(1)], 1)
    total, n_used = sums.sum(0), len(sums)
    own = sums.new_zeros(len(unit), 3).index_add_(0, triples.flatten(), sums.repeat_interleave(3, 0))
    count = triples.flatten().bincount(minlength=len(unit))
    gap = _ratio(total, n_used)
    without = _ratio(total - own, n_used - count)
    return gap.item(), jackknife_error(without)


def _ratio(sums: Tensor, n_triples: Tensor | int) -> Tensor:
    """⟨d_max − d_mid⟩/sd(d) from sums over triples (…, 3); nan where all distances are equal."""
    gap, first, second = (sums[..., k] / n_triples for k in range(3))
    var = second / 3 - (first / 3).square()
    return gap / torch.where(var > 0, var, math.nan).sqrt()


def _overlaps(unit: Tensor, triples: Tensor) -> Tensor:
    """Overlaps of the three sides of every triple, (n_triples, 3)."""
    first, second = triples, triples.roll(-1, 1)
    if len(unit) ** 2 <= triples.numel():  # fewer pairs than sides: each once
        return (unit @ unit.T)[first, second]
    parts = zip(first.split(BATCH), second.split(BATCH))
    return torch.cat([(unit[one] * unit[other]).sum(2) for one, other in parts])


def _triples(n_samples: int, n_triples: int, seed: int) -> Tensor:
    """All triples i < j < k, if there are no more than n_triples; else that many, drawn uniformly, with replacement."""
    if math.comb(n_samples, 3) <= n_triples:
        return torch.combinations(torch.arange(n_samples), 3)
    generator = torch.Generator().manual_seed(seed)
    i, j, k = (torch.randint(n_samples - taken, (n_triples,), generator=generator) for taken in range(3))
    j = j + (j >= i)  # skips i
    low, high = torch.minimum(i, j), torch.maximum(i, j)
    k = k + (k >= low)
    return torch.stack([i, j, k + (k >= high)], 1)
