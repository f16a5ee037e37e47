"""Wigner's semicircle beside a spectrum: whether a Hessian looks like a random matrix."""

from dataclasses import dataclass

import torch
from torch import Tensor

from latentlib._closed_form import closed_form


@closed_form
def semicircle_cdf(eigenvalue: Tensor, centre: Tensor, radius: Tensor) -> Tensor:
    """Cumulative semicircle law F = ½ + (y√(1−y²) + arcsin y)/π, y = (eigenvalue − centre)/radius, 0 or 1 outside."""
    y = ((eigenvalue - centre) / radius).clamp(-1, 1)
    return 0.5 + (y * (1 - y.square()).sqrt() + y.arcsin()) / torch.pi


@dataclass(frozen=True)
class SemicircleFit:
    """The semicircle with the mean and variance of a spectrum, and its distance sup|F_spectrum − F_semicircle|."""

    centre: Tensor
    radius: Tensor
    distance: Tensor


def semicircle_fit(eigenvalues: Tensor) -> SemicircleFit:
    """Semicircle law of a spectrum by moments, radius = 2·std, with the largest gap of the cumulative laws.

    The gap is O(1/n) for a GOE matrix, whose eigenvalues repel, 0.5 for a single repeated value; a gap of order one
    says that the Hessian is not a random matrix. Of a p-spin compare centre and radius with those in
    `landscape.riemannian_hessian`.
    Args: eigenvalues, (..., n ≥ 2). Returns: SemicircleFit of (...). Raises: ValueError for fewer, or not finite.
    """
    if eigenvalues.ndim == 0 or eigenvalues.shape[-1] < 2 or not eigenvalues.isfinite().all():
        raise ValueError(f"eigenvalues: want finite (..., n >= 2), got {tuple(eigenvalues.shape)}")
    n_values = eigenvalues.shape[-1]
    centre = eigenvalues.mean(-1)
    radius = 2 * eigenvalues.std(-1, correction=0)
    tiny = torch.finfo(radius.dtype).tiny  # a single repeated value: F jumps there, and is ½ on the value itself
    law = semicircle_cdf(eigenvalues.sort(-1).values, centre[..., None], radius[..., None].clamp_min(tiny))
    steps = torch.arange(n_values + 1, dtype=law.dtype, device=law.device) / n_values
    distance = torch.maximum((law - steps[:-1]).abs(), (law - steps[1:]).abs()).amax(-1)
    return SemicircleFit(centre, radius, distance)
