"""Minima of a landscape on the sphere |z|² = n: counted from many starts, each with its certificate; and quenches.

One code for p-spins and decoders. All starts advance together; a start that is done leaves the batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from latentlib._descent import coordinate_norm, energy_and_slope, lbfgs_descent, newton_descent, steepest_descent
from latentlib._descent import tangent_matrix
from latentlib._tangent import onto_sphere, starting_points
from latentlib.landscape import Landscape, soft_modes

ROUGH = 1e-2  # gradient, relative to its scale at the starts, at which L-BFGS hands over to Newton steps
GAPS = (1e-2, 1e-3, 1e-4, 1e-6, 1e-8)  # 1 − q at which the count is repeated
N_KICKS, KICK_ANGLE = 2, 1e-2  # times a start is pushed off a saddle, and by which angle
FLAT = 1e-8  # eigenvalues under this share of their rms do not count as positive


@dataclass(frozen=True)
class Minima:
    """Distinct minima, by rising energy, and what was left of the starts: made by `count_minima`.

    gradient_norm is |P∇H|/√n, softest the least eigenvalue of the Riemannian Hessian, > 0: the certificate. A minimum
    of H lies within about √n·gradient_norm/softest of z.
    """

    z: Tensor  # (n_minima, n_latent)
    energy: Tensor  # (n_minima,), as all below
    n_starts: Tensor  # starts that ended here: a sample of the size of the basin
    gradient_norm: Tensor
    softest: Tensor
    n_unfinished: int  # starts whose gradient did not reach the tolerance, at a kink of a ReLU decoder, say
    n_flat: int  # starts at a critical point that is no certified minimum: a flat direction, an unused latent
    n_minima_at: dict[float, int]  # the count if all within 1 − q of the key were one: a plateau says it is no choice

    @property
    def n_minima(self) -> int:
        return len(self.z)


def count_minima(
    landscape: Landscape,
    n_starts: int | None = None,
    *,
    seed: int | None = None,
    starts: Tensor | None = None,
    tolerance: float = 1e-10,
    max_iterations: int = 2000,
    same: float = 1e-6,
) -> Minima:
    """Distinct minima of H on the sphere |z|² = n that n_starts descents find: a lower bound of their number.

    L-BFGS, then damped Newton steps to the tolerance; a start that lands on a saddle is pushed off along its softest
    mode. Which minimum a start finds depends on the descent: for the energies of a physical descent take `quench`.
    Args: landscape, see `landscape.Landscape`, in float64; n_starts and seed, points uniform on the sphere, or
        starts, (n_starts, n), floating, any norm > 0; tolerance, of |P∇H|, relative to the rms norm of ∇H over the
        starts; max_iterations, of either stage; same, endpoints with 1 − q ≤ same (in a chain) are one minimum:
        `n_minima_at` tells whether that matters. Memory: a few (n_starts, n, n).
    Returns: Minima. Raises: ValueError for neither or both of (n_starts, seed) and starts, bad starts, a landscape
    that is not float64, n_latent < 2, tolerance or same outside (0, 1).
    """
    if not 0 < tolerance < 1 or not 0 < same < 1:
        raise ValueError(f"count_minima: want tolerance and same in (0, 1), got {tolerance} and {same}")
    z = starting_points(landscape, n_starts, seed, starts, dtypes=(torch.float64,))
    scale = _gradient_scale(landscape, z)
    todo = torch.arange(len(z), device=z.device)
    for attempt in range(N_KICKS + 1):
        rough, _ = lbfgs_descent(landscape, z[todo], ROUGH * scale, max_iterations)
        z[todo] = newton_descent(landscape, rough, tolerance * scale, max_iterations)
        arrived = coordinate_norm(energy_and_slope(landscape, z)[1]) <= tolerance * scale
        is_minimum = arrived & _is_minimum(landscape, z)
        todo = (arrived & ~is_minimum).nonzero()[:, 0]
        if len(todo) == 0 or attempt == N_KICKS:
            break
        z[todo] = _kicked(landscape, z[todo])
    ends = z[is_minimum]
    n_minima, group = _groups(ends, same)
    found = ends[[int((group == one).nonzero()[0]) for one in range(n_minima)]]
    energy, slope = energy_and_slope(landscape, found)
    order = energy.argsort()
    softest = torch.linalg.eigvalsh(tangent_matrix(landscape, found)[0])[:, 0]
    return Minima(
        found[order], energy[order], group.bincount(minlength=n_minima)[order],
        coordinate_norm(slope)[order], softest[order],
        n_unfinished=int((~arrived).sum()), n_flat=len(todo),
        n_minima_at={gap: _groups(ends, gap)[0] for gap in GAPS},
    )  # fmt: skip


@dataclass(frozen=True)
class Quench:
    """Endpoints of descents, one a start: z (n_starts, n_latent), energy, |P∇H|/√n, steps taken, tolerance reached."""

    z: Tensor
    energy: Tensor
    gradient_norm: Tensor
    n_steps: Tensor
    finished: Tensor


def quench(
    landscape: Landscape,
    n_starts: int | None = None,
    *,
    seed: int | None = None,
    starts: Tensor | None = None,
    method: str = "gradient descent",
    tolerance: float = 1e-3,
    max_steps: int = 20_000,
) -> Quench:
    """Quench: steepest descent dz = −η·P∇H from random starts, zero-temperature dynamics after infinite temperature.

    Each start has its own step η, so short that the slope along it never changes sign (η ≤ 1/curvature there): the path
    follows the gradient flow. For a pure p-spin, ξ = q^p, the energies per spin fall to −E_∞ from above as
    n → ∞; where a descent ends depends on its method, and L-BFGS ends elsewhere.
    Args: as `count_minima`, and method, "gradient descent" or "l-bfgs"; tolerance, relative as there, coarser since the
        energy is right to its square; max_steps, per start. Float32 landscapes are welcome.
    Returns: Quench. Raises: ValueError as `count_minima`, and for an unknown method.
    """
    if method not in ("gradient descent", "l-bfgs"):
        raise ValueError(f"method: want 'gradient descent' or 'l-bfgs', got {method!r}")
    if not 0 < tolerance < 1:
        raise ValueError(f"quench: want a tolerance in (0, 1), got {tolerance}")
    z = starting_points(landscape, n_starts, seed, starts)
    target = tolerance * _gradient_scale(landscape, z)
    if method == "l-bfgs":
        z, n_steps = lbfgs_descent(landscape, z, target, max_steps)
    else:
        z, n_steps = steepest_descent(landscape, z, target, max_steps)
    energy, slope = energy_and_slope(landscape, z)
    norm = coordinate_norm(slope)
    return Quench(z, energy, norm, n_steps, norm <= target)


def _gradient_scale(landscape: Landscape, z: Tensor) -> float:
    """Rms of ∇H over the starts, not of P∇H, which vanishes for starts at minima."""
    return landscape.gradient(z).square().mean().sqrt().item()


def _is_minimum(landscape: Landscape, z: Tensor) -> Tensor:
    """Whether all eigenvalues of the Riemannian Hessian exceed FLAT of their rms: Cholesky of the shifted matrix."""
    matrix, rms = tangent_matrix(landscape, z)
    matrix.diagonal(dim1=-2, dim2=-1).sub_(FLAT * rms[:, None])
    return torch.linalg.cholesky_ex(matrix).info == 0


def _kicked(landscape: Landscape, z: Tensor) -> Tensor:
    """Points moved off their critical point by KICK_ANGLE along the softest mode."""
    _, mode = soft_modes(landscape, z, 1, method="dense")
    return onto_sphere(z + KICK_ANGLE * z.shape[-1] ** 0.5 * mode[..., 0])


def _groups(z: Tensor, same: float) -> tuple[int, Tensor]:
    """Number of groups of points that chains of pairs with 1 − q = |z_a − z_b|²/2n ≤ same connect, and each one's."""
    from scipy.sparse.csgraph import connected_components

    distance = torch.cdist(z, z, compute_mode="donot_use_mm_for_euclid_dist")  # products lose 1 − q below rounding
    n_groups, group = connected_components((distance.square() <= 2 * z.shape[-1] * same).cpu().numpy(), directed=False)
    return n_groups, torch.as_tensor(group, dtype=torch.int64, device=z.device)
