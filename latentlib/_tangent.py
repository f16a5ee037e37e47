"""The sphere |z|² = n: points drawn on it, tangent vectors, tangent bases and the Hessian in them."""

import torch
from torch import Tensor


def sphere_points(
    n_points: int,
    n_latent: int,
    *,
    seed: int,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Tensor:
    """Independent points uniform on the sphere |z|² = n_latent, (n_points, n_latent): starts at infinite temperature.

    The same seed gives the same points on every device. Raises: ValueError for n_points or n_latent < 1.
    """
    if n_points < 1 or n_latent < 1:
        raise ValueError(f"sphere_points: want n_points, n_latent >= 1, got {n_points}, {n_latent}")
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n_points, n_latent, generator=generator, dtype=torch.float64)
    return onto_sphere(z).to(device=device, dtype=dtype)


def onto_sphere(z: Tensor) -> Tensor:
    """Retraction z·√n/|z| onto the sphere |z|² = n, along the radius; (..., n) → (..., n), NaN for a zero vector."""
    return z * (z.shape[-1] ** 0.5 / torch.linalg.vector_norm(z, dim=-1, keepdim=True))


def starting_points(
    landscape, n_points: int | None, seed: int | None, starts: Tensor | None, dtypes=(torch.float32, torch.float64)
) -> Tensor:
    """Checked points on the sphere of a landscape: the starts, scaled to it, or n_points drawn from a seed."""
    kind = {"dtype": landscape.field.dtype, "device": landscape.field.device}
    n_latent = landscape.n_latent
    if kind["dtype"] not in dtypes or n_latent < 2:
        wanted = " or ".join(map(str, dtypes))
        raise ValueError(f"landscape: want {wanted} and n_latent >= 2, got {kind['dtype']} and {n_latent}")
    if (starts is None) == (n_points is None):
        raise ValueError("want either a number of random points or starts, got neither or both")
    if starts is None and seed is None:
        raise ValueError("seed: want one for random points, got None")
    if starts is None:
        return sphere_points(n_points, n_latent, seed=seed, **kind)
    if not starts.is_floating_point() or starts.ndim != 2 or len(starts) == 0 or starts.shape[1] != n_latent:
        found = f"{starts.dtype} {tuple(starts.shape)}"
        raise ValueError(f"starts: want floating (n >= 1, n_latent = {n_latent}), got {found}")
    z = onto_sphere(starts.detach().to(**kind))
    if not z.isfinite().all():
        raise ValueError("starts: want finite points of positive norm, got a zero, NaN or infinity")
    return z


def tangent_part(z: Tensor, v: Tensor) -> Tensor:
    """Projection P v = v − (z·v/n)·z onto the tangent space at z, |z|² = n; (..., n) both."""
    return v - z * ((z * v).sum(-1, keepdim=True) / z.shape[-1])


def tangent_basis(z: Tensor) -> Tensor:
    """Orthonormal basis of the tangent space at z, (..., n) → (..., n, n − 1): all but the last column of a reflection.

    The Householder reflection that takes z to the last axis; n − 1 = 0 columns for n = 1.
    """
    mirror, scale = _mirror(z)
    return (torch.eye(z.shape[-1], dtype=z.dtype, device=z.device) - scale * mirror * mirror.mT)[..., :-1]


def tangent_hessian(z: Tensor, gradient: Tensor, matrix: Tensor) -> Tensor:
    """Riemannian Hessian Bᵀ M B − (z·g/n)·I of the Euclidean gradient g and Hessian M at z, in O(n²): no checks."""
    mirror, scale = _mirror(z)
    matrix = matrix - scale * (matrix @ mirror) * mirror.mT
    matrix = (matrix - scale * mirror * (mirror.mT @ matrix))[..., :-1, :-1]
    matrix = 0.5 * (matrix + matrix.mT)
    matrix.diagonal(dim1=-2, dim2=-1).sub_((z * gradient).sum(-1, keepdim=True) / z.shape[-1])
    return matrix


def _mirror(z: Tensor) -> tuple[Tensor, Tensor]:
    """Column w (..., n, 1) and scale 2/|w|² of the reflection I − 2ww^T/|w|² that takes z to ∓ the last axis."""
    mirror = (z / torch.linalg.vector_norm(z, dim=-1, keepdim=True)).clone()
    mirror[..., -1] += torch.where(mirror[..., -1] < 0, -1.0, 1.0)  # this sign never cancels
    return mirror[..., None], 2 / mirror.square().sum(-1)[..., None, None]
