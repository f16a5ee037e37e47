"""Descents on the sphere |z|² = n, all points at once: L-BFGS, steepest descent, damped Newton steps."""

import torch
from torch import Tensor

from latentlib._tangent import onto_sphere, tangent_basis, tangent_hessian, tangent_part
from latentlib.landscape import Landscape, energy_and_gradient
from latentlib.lbfgs import minimize

DAMPING = 1e-2  # first damping of a Newton step, as a share of the rms eigenvalue
MAX_ANGLE = 0.3  # of a Newton step
ARMIJO = 1e-4  # share of the predicted decrease that a Newton step must deliver
FIRST_ANGLE, GROW, SHRINK = 1e-3, 1.2, 0.5  # first step of steepest descent, factors of the next


def lbfgs_descent(landscape: Landscape, z: Tensor, target: float, max_iterations: int) -> tuple[Tensor, Tensor]:
    """Batched L-BFGS on x ↦ H(x√n/|x|), which needs no transport between tangent spaces; with iterations taken."""
    n_latent = z.shape[-1]

    def value_and_gradient(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        energy, gradient = energy_and_gradient(landscape, x * (n_latent**0.5 / length))
        return energy, tangent_part(onto_sphere(x), gradient) * (n_latent**0.5 / length)

    def precondition(x: Tensor, gradient: Tensor, rows: Tensor) -> Tensor:
        return inverse * x.square().mean(-1, keepdim=True) * gradient  # curvatures in x fall as n/|x|²

    # One number scales the first step: the curvature along the gradient, by a difference, median over the starts.
    rows = torch.arange(len(z), device=z.device)
    _, gradient = value_and_gradient(z, rows)
    probe = torch.finfo(z.dtype).eps ** 0.5 * n_latent**0.5 / torch.linalg.vector_norm(gradient, dim=-1, keepdim=True)
    change = value_and_gradient(z + probe * gradient, rows)[1] - gradient
    curvature = torch.linalg.vector_norm(change, dim=-1) / torch.linalg.vector_norm(probe * gradient, dim=-1)
    curvature = curvature[curvature.isfinite() & (curvature > 0)]
    inverse = 1 / curvature.median().item() if len(curvature) else 1.0
    tolerance = torch.full_like(z[:, 0], inverse**0.5 * n_latent**0.5 * target)
    found = minimize(
        value_and_gradient, precondition, z, tolerance,
        max_iterations=max_iterations, max_step=0.5 * n_latent**0.5,
    )  # fmt: skip
    return onto_sphere(found.x), found.n_iterations


def steepest_descent(landscape: Landscape, z: Tensor, target: float, max_steps: int) -> tuple[Tensor, Tensor]:
    """Steepest descent, every start with its own step, until |P∇H|/√n ≤ target; with the steps taken."""
    z, slope = z.clone(), tangent_part(z, landscape.gradient(z))
    length = FIRST_ANGLE / coordinate_norm(slope).clamp_min(torch.finfo(z.dtype).tiny)
    n_steps = torch.zeros(len(z), dtype=torch.int64, device=z.device)
    for _ in range(max_steps):
        rows = (coordinate_norm(slope) > target).nonzero()[:, 0]
        if len(rows) == 0:
            break
        trial = onto_sphere(z[rows] - length[rows, None] * slope[rows])
        slope_new = tangent_part(trial, landscape.gradient(trial))
        # Past the lowest point of its line the slope changes sign. Unlike the energy, this is seen in any precision.
        accepted = (slope_new * slope[rows]).sum(-1) >= 0
        length[rows] = length[rows] * torch.where(accepted, GROW, SHRINK).to(length)
        n_steps[rows] += 1
        moved = rows[accepted]
        z[moved], slope[moved] = trial[accepted], slope_new[accepted]
    return z, n_steps


def newton_descent(landscape: Landscape, z: Tensor, target: float, max_iterations: int) -> Tensor:
    """Newton steps (Hess + damping·I)·step = −P∇H, damped until they descend, until |P∇H|/√n ≤ target.

    Damping rises where the matrix is not positive definite or the energy does not fall; it vanishes near a minimum,
    where convergence is quadratic.
    """
    z, (energy, slope) = z.clone(), energy_and_slope(landscape, z)
    damping = torch.zeros_like(energy)
    for _ in range(max_iterations):
        rows = (coordinate_norm(slope) > target).nonzero()[:, 0]
        if len(rows) == 0:
            break
        matrix, rms = tangent_matrix(landscape, z[rows])
        matrix.diagonal(dim1=-2, dim2=-1).add_(damping[rows, None])
        factor, failed = torch.linalg.cholesky_ex(matrix)
        basis = tangent_basis(z[rows])
        step = -(basis @ torch.cholesky_solve(basis.mT @ slope[rows, :, None], factor))[..., 0]
        step = step * (MAX_ANGLE / coordinate_norm(step)).clamp_max(1.0)[:, None]
        trial = onto_sphere(z[rows] + step)
        energy_new, slope_new = energy_and_slope(landscape, trial)
        falls = energy_new <= energy[rows] + ARMIJO * (step * slope[rows]).sum(-1)
        # Within the rounding of H only the gradient can tell progress.
        rounding = 1e2 * torch.finfo(z.dtype).eps * (1 + energy_new.abs())
        settles = (energy_new <= energy[rows] + rounding) & (coordinate_norm(slope_new) < coordinate_norm(slope[rows]))
        accepted = (failed == 0) & (falls | settles)
        raised = torch.maximum(4 * damping[rows], DAMPING * rms)
        lowered = torch.where(damping[rows] > DAMPING * rms, damping[rows] / 4, 0.0)
        damping[rows] = torch.where(accepted, lowered, raised)
        moved = rows[accepted]
        z[moved], energy[moved], slope[moved] = trial[accepted], energy_new[accepted], slope_new[accepted]
    return z


def energy_and_slope(landscape: Landscape, z: Tensor) -> tuple[Tensor, Tensor]:
    """Energy H(z) and sphere gradient P∇H(z)."""
    energy, gradient = energy_and_gradient(landscape, z)
    return energy, tangent_part(z, gradient)


def tangent_matrix(landscape: Landscape, z: Tensor) -> tuple[Tensor, Tensor]:
    """Riemannian Hessian (..., n − 1, n − 1) and its rms eigenvalue (...), the unit of curvature."""
    matrix = tangent_hessian(z, landscape.gradient(z), landscape.hessian(z))
    return matrix, matrix.square().sum((-2, -1)).div(z.shape[-1] - 1).sqrt()


def coordinate_norm(v: Tensor) -> Tensor:
    """Norm a coordinate, |v|/√n: of order one for a landscape of order n."""
    return v.square().mean(-1).sqrt()
