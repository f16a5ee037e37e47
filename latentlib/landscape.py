"""Latent energies on the sphere |z|² = n: a decoder's H_x(z) beside spin models, their gradient, Hessian, soft modes.

Everything here takes a `Landscape`: a p-spin of `pspin` and the energy of a decoder run through the same code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.func import grad, jacrev, jvp, vmap

from latentlib._tangent import sphere_points, tangent_basis, tangent_hessian, tangent_part
from latentlib.vector_field import require_pointwise

__all__ = [
    "Landscape", "LatentEnergy", "energy_and_gradient", "hessian_index", "latent_energy", "riemannian_hessian",
    "soft_modes", "sphere_gradient", "sphere_points", "tangent_basis",
]  # fmt: skip

DENSE_MAX = 128  # latents up to which all eigenvalues cost less than an iteration for a few


class Landscape(Protocol):
    """An energy H(z) with its Euclidean gradient and Hessian, of points z (..., n_latent), |z|² = n_latent.

    field is the linear part −field·z of H, (n_latent,), and names the dtype and device of the points. Where a landscape
    has `hessian_product(z, v)` = ∇²H(z)·v or `energy_and_gradient(z)`, they are used.
    """

    n_latent: int
    field: Tensor

    def energy(self, z: Tensor) -> Tensor: ...

    def gradient(self, z: Tensor) -> Tensor: ...

    def hessian(self, z: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class LatentEnergy:
    """Energy H_x(z) = L(D(z), x) + penalty(z) − field·z of one input x, a `Landscape`: made by `latent_energy`.

    energy (..., n) → (...), differentiable; gradient and Hessian are Euclidean and exact up to rounding. Raises:
    ValueError where decoder, loss or penalty return another shape than theirs.
    """

    decoder: Callable
    x: Tensor
    field: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]
    penalty: Callable[[Tensor], Tensor] | None = None
    chunk_size: int | None = None

    @property
    def n_latent(self) -> int:
        return len(self.field)

    def energy(self, z: Tensor) -> Tensor:
        require_pointwise(self.decoder)
        points = z.reshape(-1, self.n_latent)
        output = self.decoder(points)
        output = output[0] if isinstance(output, tuple) else output
        if output.shape != (len(points), *self.x.shape):
            raise ValueError(f"decoder: want {(len(points), *self.x.shape)} like x, got {tuple(output.shape)}")
        value = _per_point("loss", self.loss(output, self.x), points) - points @ self.field
        if self.penalty is not None:
            value = value + _per_point("penalty", self.penalty(points), points)
        return value.reshape(z.shape[:-1])

    def energy_and_gradient(self, z: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():  # spares the graph of the decoder's parameters
            gradient, energy = grad(self._total, has_aux=True)(z)
        return energy, gradient

    def gradient(self, z: Tensor) -> Tensor:
        return self.energy_and_gradient(z)[1]

    def hessian(self, z: Tensor) -> Tensor:
        points = z.reshape(-1, self.n_latent)
        if len(points) == 0:  # vmap wants one at least
            return z.new_zeros(*z.shape, self.n_latent)
        with torch.no_grad():  # reverse over reverse: SiLU has no forward derivative of its gradient under vmap
            matrices = vmap(jacrev(grad(self.energy)), chunk_size=self.chunk_size)(points)
        return (0.5 * (matrices + matrices.mT)).reshape(*z.shape, self.n_latent)

    def hessian_product(self, z: Tensor, v: Tensor) -> Tensor:
        with torch.no_grad():
            return jvp(lambda points: grad(self._total, has_aux=True)(points)[0], (z,), (v,))[1]

    def _total(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The sum, whose gradient is that of every point, since points do not mix; and the energies."""
        energy = self.energy(z)
        return energy.sum(), energy


def latent_energy(
    decoder: Callable,
    x: Tensor,
    field: Tensor | None = None,
    *,
    n_latent: int | None = None,
    loss: str | Callable[[Tensor, Tensor], Tensor] = "mse",
    penalty: Callable[[Tensor], Tensor] | None = None,
    chunk_size: int | None = None,
) -> LatentEnergy:
    """Latent energy H_x(z) = L(D(z), x) + penalty(z) − field·z of one input x, on the sphere |z|² = n_latent.

    A Gaussian prior (λ/2)|z − m|² is the field λm, up to a constant on the sphere. ReLU decoders have a Hessian almost
    everywhere, but no third derivatives and minima at kinks. Source: phase, Eqs. (4, 14, 15).
    Args: decoder, (n_points, n_latent) → (n_points, *x.shape), in eval mode; x, one input, no batch axis, floating;
        field, (n_latent,), or None for zero, then n_latent is wanted; loss, "mse" (mean over the values of x) or a
        function of (D(z), x) → (n_points,); penalty, z → (n_points,), its weight included; chunk_size, points
        whose Hessians are computed at once (None: all).
    Returns: LatentEnergy, in the dtype and on the device of x: a float64 landscape wants a float64 decoder.
    Raises: ValueError for x or field not finite, floating or of another shape, neither field nor n_latent, an unknown
    loss, chunk_size < 1, or a decoder that mixes samples or draws random numbers.
    """
    require_pointwise(decoder)
    if not isinstance(x, Tensor) or not x.is_floating_point() or not x.isfinite().all():
        raise ValueError(f"x: want one finite floating-point input, got {getattr(x, 'dtype', type(x).__name__)}")
    if field is None:
        if n_latent is None or n_latent < 1:
            raise ValueError(f"latent_energy: want a field or n_latent >= 1, got neither (n_latent = {n_latent})")
        field = x.new_zeros(n_latent)
    if field.ndim != 1 or len(field) != (n_latent or len(field)) or not field.isfinite().all():
        raise ValueError(f"field: want finite ({n_latent or 'n_latent'},), got {tuple(field.shape)}")
    if loss != "mse" and not callable(loss):
        raise ValueError(f"loss: want 'mse' or a function of (D(z), x), got {loss!r}")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size: want 1 or more, or None, got {chunk_size}")
    return LatentEnergy(decoder, x, field.to(x), _mse if loss == "mse" else loss, penalty, chunk_size)


def sphere_gradient(landscape: Landscape, z: Tensor) -> Tensor:
    """Gradient on the sphere, P∇H = ∇H − (z·∇H/n)·z: zero at the critical points.

    Args: z, points of the sphere |z|² = n, (..., n). Returns: (..., n), tangent.
    Raises: ValueError for points that are not floating, not finite, of another length or off the sphere.
    """
    _check_points(landscape, z)
    return tangent_part(z, landscape.gradient(z))


def energy_and_gradient(landscape: Landscape, z: Tensor) -> tuple[Tensor, Tensor]:
    """Energy H(z) and Euclidean gradient ∇H(z) of a landscape, in one evaluation where it offers that."""
    together = getattr(landscape, "energy_and_gradient", None)
    return together(z) if together else (landscape.energy(z), landscape.gradient(z))


def riemannian_hessian(landscape: Landscape, z: Tensor) -> Tensor:
    """Hessian on the sphere, Bᵀ(∇²H)B − (z·∇H/n)·I, in the orthonormal basis B of `tangent_basis`.

    Of a p-spin with E HH' = nξ(q), at a point chosen without looking at the couplings, it is a GOE matrix of mean square
    eigenvalue ξ''(1) about its centre −z·∇H/n: a semicircle of radius 2√ξ''(1) (see `semicircle`). For a pure p-spin of
    energy nu the centre is −pu, and the lower edge meets 0 at the threshold u = −E_∞.
    Args: z, points of the sphere |z|² = n, (..., n). Returns: (..., n − 1, n − 1), symmetric.
    Raises: ValueError as `sphere_gradient`.
    """
    _check_points(landscape, z)
    return tangent_hessian(z, landscape.gradient(z), landscape.hessian(z))


def soft_modes(
    landscape: Landscape, z: Tensor, n_modes: int, *, method: str | None = None, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """The lowest eigenvalues of the Riemannian Hessian, rising, and their unit tangent modes: where H is softest.

    Args: z, points of the sphere, (..., n); n_modes, 1 … n − 1; method, "dense" (all eigenvalues, n³), "lanczos"
        (implicitly restarted, on Hessian-vector products, for many latents) or None: dense up to n = 128;
        seed, of the first Lanczos vector.
    Returns: eigenvalues (..., n_modes), modes (..., n, n_modes), signs arbitrary.
    Raises: ValueError for bad points, n_modes or method; scipy's ArpackNoConvergence (RuntimeError) if Lanczos fails.
    """
    _check_points(landscape, z)
    n_latent = z.shape[-1]
    if not 1 <= n_modes < n_latent:
        raise ValueError(f"n_modes: want 1 to n_latent - 1 = {n_latent - 1}, got {n_modes}")
    if method not in (None, "dense", "lanczos"):
        raise ValueError(f"method: want None, 'dense' or 'lanczos', got {method!r}")
    # ARPACK wants more dimensions than the modes it looks for.
    if method == "dense" or (method is None and n_latent <= DENSE_MAX) or n_modes >= n_latent - 2:
        eigenvalues, modes = torch.linalg.eigh(riemannian_hessian(landscape, z))
        return eigenvalues[..., :n_modes], tangent_basis(z) @ modes[..., :n_modes]
    pairs = [_lanczos(landscape, point, n_modes, seed) for point in z.reshape(-1, n_latent)]
    eigenvalues, modes = (torch.stack(part) for part in zip(*pairs, strict=True))
    return eigenvalues.reshape(*z.shape[:-1], n_modes), modes.reshape(*z.shape, n_modes)


def hessian_index(landscape: Landscape, z: Tensor) -> Tensor:
    """Index of the Riemannian Hessian, the number of its negative eigenvalues: 0 at a minimum, n − 1 at a maximum.

    Args and errors as `riemannian_hessian`. Returns: (...) int64.
    """
    return (torch.linalg.eigvalsh(riemannian_hessian(landscape, z)) < 0).sum(-1)


def _mse(output: Tensor, x: Tensor) -> Tensor:
    return (output - x).square().flatten(1).mean(1)


def _per_point(name: str, value: Tensor, points: Tensor) -> Tensor:
    if value.shape != points.shape[:1]:
        raise ValueError(f"{name}: want one value a point, {tuple(points.shape[:1])}, got {tuple(value.shape)}")
    return value


def _lanczos(landscape: Landscape, point: Tensor, n_modes: int, seed: int) -> tuple[Tensor, Tensor]:
    """`soft_modes` of one point by ARPACK, which sees the n − 1 tangent coordinates."""
    import numpy as np
    from scipy.sparse.linalg import LinearOperator, eigsh

    radial = point @ landscape.gradient(point) / len(point)
    basis = tangent_basis(point)

    def product(coordinates: np.ndarray) -> np.ndarray:
        v = basis @ torch.as_tensor(coordinates, dtype=point.dtype, device=point.device)
        return (basis.mT @ (_hessian_product(landscape, point, v) - radial * v)).cpu().numpy()

    size = len(point) - 1
    first = np.random.default_rng(seed).standard_normal(size)
    operator = LinearOperator((size, size), matvec=product, dtype=basis.new_empty(0).cpu().numpy().dtype)
    eigenvalues, modes = eigsh(operator, n_modes, which="SA", v0=first.astype(operator.dtype))
    order = np.argsort(eigenvalues)
    return point.new_tensor(eigenvalues[order]), basis @ point.new_tensor(modes[:, order])


def _hessian_product(landscape: Landscape, z: Tensor, v: Tensor) -> Tensor:
    product = getattr(landscape, "hessian_product", None)
    return product(z, v) if product else (landscape.hessian(z) @ v[..., None])[..., 0]


def _check_points(landscape: Landscape, z: Tensor) -> None:
    """Points (..., n_latent), floating, finite, |z|² = n_latent to half the digits of their dtype."""
    if not isinstance(z, Tensor) or not z.is_floating_point() or z.ndim == 0 or z.shape[-1] != landscape.n_latent:
        found = f"{z.dtype} {tuple(z.shape)}" if isinstance(z, Tensor) else type(z).__name__
        raise ValueError(f"z: want floating points (..., n_latent = {landscape.n_latent}), got {found}")
    off = (z.square().sum(-1) / z.shape[-1] - 1).abs()
    if not (off <= torch.finfo(z.dtype).eps ** 0.5).all():  # NaN is not
        found = f"|z|²/n_latent off 1 by {off.max().item():.2g}"
        raise ValueError(f"z: want finite points with |z|² = n_latent, got {found}")
