"""The terms of the hyperspherical losses of one batch, by name and without gains: formulas in `hyperspherical`."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from latentlib._vmf_entropy import relative_entropy
from latentlib.angles import AngleStatistics

MEAN_WEIGHT, RADIUS_WEIGHT = 0.05, 50.0
VAR_FLOOR = 1e-4  # the authors' addition to every variance; it keeps the loss of constant codes finite


class AnglePrior(NamedTuple):
    """What the angles of a batch are compared with: float64, (n_latent − 1,) each."""

    target: Tensor  # α t_k
    width: Tensor  # p_k, the standard deviation at uniform points
    kept: Tensor  # 1, or 0 for an angle without terms


def angle_prior(field: float, felt: Tensor, direction: str, others: str, eps: float) -> AnglePrior:
    """The prior of strength α on the angles that feel it, felt = 1, not 0; p_k = 1/√(n−k+1+ε)."""
    width = (torch.arange(len(felt) + 1, 1, -1, dtype=torch.float64, device=felt.device) + eps).rsqrt()
    scale = {"half": width, "full": torch.ones_like(width), "zero": torch.zeros_like(width)}
    return AnglePrior(field * felt * scale[direction], width, felt if others == "free" else torch.ones_like(width))


def class_mean_gain(prior: AnglePrior, epoch: int) -> Tensor:
    """Gains of the mean term of ad2026, one an angle: first, others, 0 for the last; they change after epoch 100."""
    first, others = (100.0, 1.0) if epoch <= 100 else (150.0, math.sqrt(epoch - 101) + 1)
    gain = torch.full_like(prior.width, others)
    gain[-1] = 0.0
    gain[0] = first
    return gain


def published_terms(
    mu: Tensor, noise: Tensor, of_mu: AngleStatistics, of_noise: AngleStatistics, prior: AnglePrior,
    mean_gain: Tensor | float, sigma_radius: float,
) -> dict[str, Tensor]:  # fmt: skip
    """Penalties on the moments of the angles and norms of mu and noise; mean_gain, one an angle, for angle_mean."""
    n_latent = mu.shape[1]
    weight = 50 * math.sqrt(n_latent) * torch.arange(1, n_latent, dtype=prior.width.dtype, device=mu.device).rsqrt()
    shell = math.sqrt(n_latent - 0.5)
    radius_mean, radius_var = _norm_moments(mu)
    noise_mean, noise_var = _norm_moments(noise)
    miss, noise_miss = (prior.target - of_mu.mean).square(), (prior.width - of_noise.mean).square()
    ratio = 2 * noise_var
    return {
        "angle_mean": MEAN_WEIGHT * (prior.kept * weight * mean_gain * miss).sum(),
        "angle_std": (prior.kept * weight * _std_penalty(of_mu.var + VAR_FLOOR, prior.width)).sum(),
        "radius": RADIUS_WEIGHT * (_std_penalty(radius_var, 0.0) + (radius_mean - shell).square()),
        "sigma_angle": (weight * (_std_penalty(of_noise.var + VAR_FLOOR, 0.0) + MEAN_WEIGHT * noise_miss)).sum(),
        "sigma_radius": RADIUS_WEIGHT * (ratio - ratio.log() - 1 + (noise_mean - sigma_radius * shell).square()),
    }


def nested_terms(
    mu: Tensor, log_var: Tensor, of_mu: AngleStatistics, prior: AnglePrior, labels: Tensor | None, sigma_radius: float
) -> dict[str, Tensor]:
    """Relative entropies in nats of angles, norm and noise from the prior; classes count by their shares."""
    n_latent = mu.shape[1]
    angles = (prior.kept * relative_entropy(of_mu.mean.double(), prior.target)).sum(-1)
    if labels is not None:
        angles = angles * (labels[:, None] == torch.arange(len(angles), device=labels.device)).double().mean(0)
    # Mean and variance of the norm of n independent standard Gaussians.
    shell = math.sqrt(2) * math.exp(math.lgamma((n_latent + 1) / 2) - math.lgamma(n_latent / 2))
    shell_var = n_latent - shell**2
    radius_mean, radius_var = _norm_moments(mu)
    ratio, miss = radius_var / shell_var, (radius_mean - shell).square() / shell_var
    excess = log_var - 2 * math.log(sigma_radius)
    return {
        "angle_mean": angles.sum(),
        "angle_std": mu.new_zeros(()),
        "radius": 0.5 * (ratio - ratio.log() - 1 + miss),
        "sigma_angle": mu.new_zeros(()),
        "sigma_radius": 0.5 * (excess.expm1() - excess).sum(1).mean(),
    }


def _norm_moments(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, and variance with the floor, of the norms of a batch."""
    norm = torch.linalg.vector_norm(codes, dim=1)
    return norm.mean(), norm.var() + VAR_FLOOR


def _std_penalty(var: Tensor, width: Tensor | float) -> Tensor:
    """G(s; p) = (s+1−p)² − ln (s+1−p)² − 1 at s = √var: about 2(s − p)²."""
    square = (var.sqrt() + 1 - width).square()
    return square - square.log() - 1
