"""Gibbs replicas: independent draws of exp(−H/temperature) on the sphere |z|² = n, by Langevin dynamics of many chains.

*Replica* here means another draw of one landscape at one temperature. Two inputs of an autoencoder are a pair instead:
each has its own landscape.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlib._tangent import onto_sphere, starting_points, tangent_part
from latentlib.landscape import Landscape, energy_and_gradient

ACCEPTANCE = 0.574  # at which Langevin proposals move fastest for many latents (Roberts and Rosenthal 1998)
STEP_FIRST, STEP_MAX, TUNING_GAIN = 0.1, 1.5, 2.0  # angles, where tuning of the step starts and ends; its speed
DYNAMICS_STREAM = 2**31  # keeps random numbers apart from those of the starts: a generator takes 32 bits of a seed


@dataclass(frozen=True)
class GibbsReplicas:
    """Last points of independent chains, and how they went: made by `gibbs_replicas`."""

    z: Tensor  # (n_replicas, n_latent)
    energy: Tensor  # (n_replicas,)
    acceptance: float  # mean over chains and the steps after tuning; 1 without correction
    step: float  # of those steps
    energy_mean: Tensor  # (n_steps,) mean over the chains after each step: flat where they have forgotten their starts


def gibbs_replicas(
    landscape: Landscape,
    temperature: float,
    *,
    n_replicas: int | None = None,
    n_steps: int,
    seed: int,
    starts: Tensor | None = None,
    step: float | None = None,
    corrected: bool = True,
) -> GibbsReplicas:
    """Gibbs replicas of exp(−H(z)/temperature) on the sphere |z|² = n: Metropolis-adjusted Langevin, a chain each.

    A fresh standard Gaussian velocity v in the tangent space; half a kick v −= (step/2)·P∇H/temperature, the great
    circle through z along v for the time step, half a kick; accepted with probability min(1, e^{−ΔH/temperature −
    Δ|v|²/2}). Reversible and volume preserving: the Gibbs law is left unchanged at any step. Chains must be long enough
    to mix, which no finite run proves: compare starts, and expect them to differ below a glass temperature.
    Args: landscape, see `landscape.Landscape`; temperature > 0, in units of H; n_replicas, chains from uniform points,
        or starts, (n_replicas, n_latent), any norm > 0; n_steps ≥ 1; seed; step > 0, the angle in radians that a chain
        moves at infinite temperature, about, or None: tuned to acceptance 0.574 in the first half of the steps, the
        same for all chains; corrected, False skips the acceptance: the Euler scheme, whose law is off by O(step²).
    Returns: GibbsReplicas; the same seed gives the same draws. Raises: ValueError for temperature, step, n_steps,
    n_replicas or starts out of range, a step wanted for the uncorrected scheme, or an energy that is not finite.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature: want finite and > 0, got {temperature}; for the limit 0 take minima.quench")
    if n_steps < 1:
        raise ValueError(f"n_steps: want 1 or more, got {n_steps}")
    if step is None and not corrected:
        raise ValueError("step: want one for the uncorrected scheme, which has no acceptance to tune it by, got None")
    if step is not None and not 0 < step <= STEP_MAX:
        raise ValueError(f"step: want an angle in (0, {STEP_MAX}], got {step}")
    z = starting_points(landscape, n_replicas, None if starts is not None else seed, starts)
    n_tuning, step = (n_steps // 2, STEP_FIRST) if step is None else (0, step)
    generator = torch.Generator().manual_seed(seed + DYNAMICS_STREAM)
    energy, force = _energy_and_force(landscape, z, temperature)
    energies, accepted = [], []
    for k in range(1, n_steps + 1):
        noise = torch.randn(z.shape, generator=generator, dtype=torch.float64)
        luck = torch.rand(len(z), generator=generator, dtype=torch.float64)
        v = tangent_part(z, noise.to(z))
        half = v + 0.5 * step * force
        z_new, v_new = _great_circle(z, half, step)
        energy_new, force_new = _energy_and_force(landscape, z_new, temperature)
        v_new = v_new + 0.5 * step * force_new
        change = (energy_new - energy) / temperature + 0.5 * (v_new.square().sum(-1) - v.square().sum(-1))
        probability = (-change).exp().clamp_max(1.0) if corrected else torch.ones_like(change)
        move = luck.to(z) < probability
        z, force = (torch.where(move[:, None], new, old) for new, old in ((z_new, z), (force_new, force)))
        energy = torch.where(move, energy_new, energy)
        energies.append(energy.mean())
        if k <= n_tuning:
            gain = TUNING_GAIN / math.sqrt(k)
            step = min(STEP_MAX, step * math.exp(gain * (probability.mean().item() - ACCEPTANCE)))
        else:
            accepted.append(probability.mean())
    return GibbsReplicas(z, energy, torch.stack(accepted).mean().item(), step, torch.stack(energies))


def _energy_and_force(landscape: Landscape, z: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """H(z) and −P∇H/temperature; a ValueError for an energy that is not finite, which no acceptance can judge."""
    energy, gradient = energy_and_gradient(landscape, z)
    if not energy.isfinite().all():
        raise ValueError(f"landscape: want finite energies, got {energy[~energy.isfinite()][0].item()}")
    return energy, -tangent_part(z, gradient) / temperature


def _great_circle(z: Tensor, v: Tensor, time: float) -> tuple[Tensor, Tensor]:
    """Point and velocity after `time` on the great circle through z along v, |z|² = n."""
    rate = torch.linalg.vector_norm(v, dim=-1, keepdim=True) / math.sqrt(z.shape[-1])
    angle = rate * time
    z_new = z * angle.cos() + v * (time * torch.sinc(angle / math.pi))
    return onto_sphere(z_new), tangent_part(z_new, v * angle.cos() - z * (rate * angle.sin()))
