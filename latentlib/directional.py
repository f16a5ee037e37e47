"""Directional derivatives of latent energies to high order, and the tangent directions to take them along.

Smooth energies are differentiated by power series, energies with kinks after smoothing them by Gaussian noise.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from latentlib._jet import Jet, Kink, line

ORDER_LIMIT = 8
Energy = Callable[[Tensor], Tensor]

DIRECTION_STREAM = 2**30  # keeps directions apart from points of the same seed, to which they would be radial


def directional_derivatives(
    energy: Energy | Sequence[Energy], z: Tensor, direction: Tensor, order: int, *, chunk_size: int | None = None
) -> Tensor:
    """Directional derivatives D_v^p H(z) = d^p/dt^p H(z + tv) at t = 0, p = 0..order, by power series (Taylor mode).

    Exact up to rounding, for energies of differentiable torch operations: each costs about order²/2 products, linear
    ones order + 1, where nested forward differentiation needs 2^order. Not differentiable further.
    Args: energy, (..., n_latent) → (...), called on (n_directions, n_points, n_latent), or one energy a point, called
        on (n_directions, n_latent); z, (n_points, n_latent) float64; direction, (n_points, n_directions, n_latent);
        order, 1 to 8; chunk_size, directions at once (None: all), bounds the memory.
    Returns: (n_points, n_directions, order + 1), the last index is p.
    Raises: ValueError for other shapes, float32, an order or chunk_size out of range, values not finite, or an energy
    that runs through an operation with kinks, such as ReLU: D_v^p H, p ≥ 3, is zero or undefined there, see
    `smoothed_derivatives`. NotImplementedError names an operation without a known power series.
    """
    _check_lines(energy, z, direction, order)
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size: want 1 or more, or None, got {chunk_size}")
    along = direction.detach().transpose(0, 1)
    with torch.no_grad():
        parts = [_series(energy, z.detach(), part, order) for part in along.split(chunk_size or len(along))]
        coefficient = torch.cat(parts)
    factorial = z.new_tensor([math.factorial(p) for p in range(order + 1)])
    return (coefficient * factorial).transpose(0, 1)


def smoothed_derivatives(
    energy: Energy | Sequence[Energy],
    z: Tensor,
    direction: Tensor,
    order: int,
    *,
    smooth: float,
    n_across: int = 32,
    n_nodes: int = 64,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Derivatives of the smoothed energy H_s(z) = E H(z + sε), ε ~ N(0, I): D_v^p H_s = s^{−p} E[He_p(ε·v) H(z + sε)].

    For energies with kinks, a ReLU decoder's: they grow as s^{−p}, so vary s and report it. Gauss–Hermite along v,
    exact for polynomials up to degree 2·n_nodes − 1 − order; antithetic Monte Carlo across, which also averages over
    where the kinks fall between nodes.
    Args: as `directional_derivatives`, but direction of unit vectors; smooth s > 0, in units of z; n_across ≥ 2
        antithetic pairs; n_nodes > order. Cost: 2·n_across·n_nodes energies a line.
    Returns: estimates and their standard errors over pairs, (n_points, n_directions, order + 1) each.
    Raises: ValueError for what is out of range, directions not of length one, or values not finite.
    """
    _check_lines(energy, z, direction, order)
    if not (smooth > 0 and math.isfinite(smooth)) or n_across < 2 or n_nodes <= order:
        found = f"{smooth}, {n_across}, {n_nodes}"
        raise ValueError(f"want smooth > 0, n_across >= 2, n_nodes > order = {order}, got {found}")
    along = direction.detach().transpose(0, 1)
    if not ((torch.linalg.vector_norm(along, dim=-1) - 1).abs() < 1e-9).all():
        raise ValueError("direction: want unit vectors, got other lengths")
    node, weight = np.polynomial.hermite_e.hermegauss(n_nodes)
    hermite = np.polynomial.hermite_e.hermevander(node, order) * (weight / weight.sum())[:, None]
    scaled = z.new_tensor(hermite / float(smooth) ** np.arange(order + 1))  # [node, p]
    steps = smooth * z.new_tensor(node)[:, None, None, None] * along
    generator = torch.Generator(z.device).manual_seed(seed)
    pairs = []
    with torch.no_grad():
        for _ in range(n_across):
            noise = smooth * torch.randn(along.shape, generator=generator, dtype=z.dtype, device=z.device)
            across = noise - (noise * along).sum(-1, keepdim=True) * along
            value = torch.stack([_energies(energy, z + steps + across), _energies(energy, z + steps - across)]).mean(0)
            pairs.append(torch.einsum("kdi,kp->idp", value, scaled))
    estimates = torch.stack(pairs)
    return _finite(estimates.mean(0)), estimates.std(0) / math.sqrt(n_across)


def tangent_directions(z: Tensor, n_directions: int, *, seed: int) -> Tensor:
    """Random unit directions v ⊥ z, (n_points, n_directions, n_latent): uniform in the tangent space of every point.

    Without the projection the radial part of v adds terms of the same order to every a_p. At z = 0 any direction goes.
    Args: z, (n_points, n_latent ≥ 2) floating. Raises: ValueError for other shapes, values not finite,
    n_directions < 1.
    """
    if z.ndim != 2 or z.shape[1] < 2 or len(z) == 0 or not z.is_floating_point() or not z.isfinite().all():
        raise ValueError(f"z: want finite floating (n_points > 0, n_latent >= 2), got {z.dtype} {tuple(z.shape)}")
    if n_directions < 1:
        raise ValueError(f"n_directions: want 1 or more, got {n_directions}")
    generator = torch.Generator().manual_seed(seed + DIRECTION_STREAM)
    v = torch.randn(len(z), n_directions, z.shape[1], generator=generator, dtype=torch.float64).to(z)
    norm = torch.linalg.vector_norm(z, dim=1, keepdim=True)
    radius = (z / torch.where(norm > 0, norm, 1.0))[:, None]
    for _ in range(2):  # again, for the rounding of the first where v was nearly radial
        v = v - (v * radius).sum(-1, keepdim=True) * radius
        v = v / torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    return v


def _energies(energy: Energy | Sequence[Energy], points: Tensor) -> Tensor:
    """Energies (..., n_points) at points (..., n_points, n_latent), point i by its own energy where each has one."""
    if isinstance(energy, Sequence):
        return torch.stack([own(points[..., i, :]) for i, own in enumerate(energy)], -1)
    value = energy(points)
    if value.shape != points.shape[:-1]:
        raise ValueError(f"energy: want {tuple(points.shape)} -> {tuple(points.shape[:-1])}, got {tuple(value.shape)}")
    return value


def _series(energy: Energy | Sequence[Energy], z: Tensor, along: Tensor, order: int) -> Tensor:
    """Power series of H(z + t·along): (n_directions, n_points, order + 1)."""
    try:
        value = _energies(energy, line(z.expand_as(along).contiguous(), along.contiguous(), order))
    except Kink as kink:
        raise ValueError(
            f"energy: want a smooth one, got {kink}: D_v^p H, p >= 3, of a ReLU decoder or any with kinks is zero or "
            "undefined almost everywhere, and says nothing of the energy; take smooth=s"
        ) from kink
    terms = value.terms if isinstance(value, Jet) else [value, *[None] * order]  # an energy may be a constant
    return _finite(torch.stack([torch.zeros_like(terms[0]) if term is None else term for term in terms], -1))


def _finite(values: Tensor) -> Tensor:
    if not values.isfinite().all():
        raise ValueError("energy: want finite derivatives, got NaN or infinity")
    return values


def _check_lines(energy: Energy | Sequence[Energy], z: Tensor, direction: Tensor, order: int) -> None:
    if z.dtype != torch.float64 or z.ndim != 2 or z.numel() == 0 or not z.isfinite().all():
        raise ValueError(f"z: want finite float64 (n_points > 0, n_latent > 0), got {z.dtype} {tuple(z.shape)}")
    fits = direction.ndim == 3 and direction.shape[1] > 0 and direction.shape[::2] == z.shape
    if not fits or direction.dtype != z.dtype or not direction.isfinite().all():
        want = f"finite float64 ({len(z)}, n_directions > 0, {z.shape[1]})"
        raise ValueError(f"direction: want {want}, got {direction.dtype} {tuple(direction.shape)}")
    if isinstance(energy, Sequence) and len(energy) != len(z):
        raise ValueError(f"energy: want one, or one a point, {len(z)}, got {len(energy)}")
    if not isinstance(order, int) or not 1 <= order <= ORDER_LIMIT:
        raise ValueError(f"order: want a whole number from 1 to {ORDER_LIMIT}, got {order!r}")
