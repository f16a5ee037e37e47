"""Directions uniform on the sphere: the disordered null of every overlap."""

import math

import torch
from torch import Tensor


def uniform_sphere_density(q: Tensor, n_latent: int) -> Tensor:
    """Null density of the overlap, p(q) = Γ(n/2)/(√π Γ((n−1)/2))·(1 − q²)^((n−3)/2): independent uniform directions.

    Mean 0, variance 1/n; per unit of q, 0 outside [−1, 1]. Returns the shape, dtype and device of q. Raises: ValueError
    for n_latent < 2, where q is ±1 and has no density.
    """
    _check_sphere(n_latent)
    log_norm = math.lgamma(n_latent / 2) - math.lgamma((n_latent - 1) / 2) - math.log(math.pi) / 2
    inside = (1 - q.square()).clamp(min=0)
    return torch.where(q.abs() <= 1, math.exp(log_norm) * inside.pow((n_latent - 3) / 2), torch.zeros_like(q))


def uniform_sphere_probability(edges: Tensor, n_latent: int) -> Tensor:
    """Null probability of each bin, I_{(1+q)/2}(a, a) between its edges, a = (n−1)/2: (1 + q)/2 follows Beta(a, a).

    Args: edges, rising, within [−1, 1], (n_bins + 1,). Returns: (n_bins,) float64, accurate in both tails.
    Raises: ValueError for n_latent < 2 or edges out of order or range.
    """
    from scipy.special import betainc

    _check_sphere(n_latent)
    edges = edges.double()
    if edges.ndim != 1 or len(edges) < 2 or not (edges.diff() > 0).all() or edges[0] < -1 or edges[-1] > 1:
        raise ValueError(f"edges: want two or more rising values in [-1, 1], got {edges.tolist()}")
    shape = (n_latent - 1) / 2
    below, above = (edges.new_tensor(betainc(shape, shape, (1 + sign * edges.cpu().numpy()) / 2)) for sign in (1, -1))
    # The law is even in q: count the upper half from the top, where 1 − below has lost its digits.
    return torch.where(edges[:-1] >= 0, above[:-1] - above[1:], below[1:] - below[:-1])


def _check_sphere(n_latent: int) -> None:
    if n_latent < 2:
        raise ValueError(f"n_latent: want 2 or more, on a sphere of dimension 0 q is 1 or -1, got {n_latent}")
