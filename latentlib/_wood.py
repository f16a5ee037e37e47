"""Wood's rejection sampler of one angle of a von Mises–Fisher law, and the rotation of its pole."""

import math

import numpy as np
import torch
from torch import Tensor


def wood_cosines(
    kappa: float, dimension: float, n_samples: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines ≥ 0 of density ∝ e^{κ cos φ} sin^{M−2} φ; draws 1 − cos φ: no digit is lost near the pole."""
    size, free = abs(kappa), dimension - 1
    slope = free / (2 * size + math.sqrt(4 * size**2 + free**2))
    gap = 2 * slope / (1 + slope)  # 1 − x0 of the envelope
    log_top = math.log(4 * slope / (1 + slope) ** 2)  # ln(1 − x0²)
    accepted: list[np.ndarray] = []
    n_missing = n_samples
    while n_missing > 0:
        proposal = rng.beta(free / 2, free / 2, 2 * n_missing + 16)
        deficit = 2 * slope * proposal / (1 - (1 - slope) * proposal)
        log_weight = size * (gap - deficit) + free * (np.log(deficit + (1 - deficit) * gap) - log_top)
        fresh = deficit[log_weight >= np.log1p(-rng.random(len(proposal)))][:n_missing]
        accepted.append(fresh)
        n_missing -= len(fresh)
    deficit = np.concatenate(accepted)
    return math.copysign(1.0, kappa) * (1 - deficit), np.sqrt(deficit * (2 - deficit))


def turned(s: Tensor, mean: Tensor) -> Tensor:
    """Vectors reflected so that the first axis goes to the direction of `mean`."""
    mean = mean.detach().to("cpu", torch.float64)
    norm = torch.linalg.vector_norm(mean)
    if mean.shape != s.shape[1:] or not (norm > 0 and norm.isfinite()):
        raise ValueError(f"mean: want ({s.shape[1]},) of positive finite norm, got {tuple(mean.shape)}, norm {norm:g}")
    mirror = mean / norm
    sign = -1.0 if mirror[0] > 0 else 1.0  # to ∓ the mean, whichever does not cancel
    mirror[0] -= sign
    return sign * (s - 2 * (s @ mirror)[:, None] * mirror / mirror.square().sum())
