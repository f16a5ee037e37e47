"""Taylor coefficients a_p = D_v^p H/p! of a latent energy along tangent directions: which p-spins an energy is made of.

A Gaussian landscape with E HH′ = n ξ(q) has rms b_p = √(ξ^{(p)}(1)/p!), b_p = |a_p| n^{(p−1)/2}, on the sphere |z|² = n
along unit v ⊥ z. The published check (P0) asks that b_p fall: mean ratio b_{p+1}/b_p below one from p = 3 on. A pure
p-spin, a glass, fails it on a window where its binomials rise: calibrate before use.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlib.directional import Energy, directional_derivatives, smoothed_derivatives, tangent_directions
from latentlib.interval import bootstrap_interval
from latentlib.pspin import mixture_at

__all__ = [
    "TaylorCoefficients", "TaylorDecay", "directional_derivatives", "expected_rms", "pspin_weights",
    "smoothed_derivatives", "tangent_directions", "taylor_coefficients", "taylor_decay",
]  # fmt: skip


@dataclass(frozen=True)
class TaylorCoefficients:
    """Coefficients a_p = D_v^p H/p! and their Monte Carlo errors, 0 without smoothing: (n_points, n_directions, p)."""

    coefficient: Tensor
    coefficient_se: Tensor
    n_latent: int

    @property
    def normalised(self) -> Tensor:
        """b_p = |a_p|·n^{(p−1)/2}: of order one at every p where the energy is a p-spin's; same shape."""
        p = torch.arange(self.coefficient.shape[-1], dtype=self.coefficient.dtype, device=self.coefficient.device)
        return self.coefficient.abs() * self.n_latent ** ((p - 1) / 2)


def taylor_coefficients(
    energy: Energy | Sequence[Energy],
    z: Tensor,
    direction: Tensor,
    order: int,
    *,
    smooth: float | None = None,
    seed: int | None = None,
    **options: int,
) -> TaylorCoefficients:
    """Taylor coefficients a_p = D_v^p H/p!, p = 0..order, of an energy or, with smooth = s, of H_s(z) = E H(z + sε).

    Noise of the smoothing adds coefficient_se² to the mean of a_p²: raise n_across until it is small beside it.
    Args: as `directional_derivatives`, or with smooth and its seed as `smoothed_derivatives`, and their options.
    Raises: as they do, and ValueError for smooth without a seed. Source: phase, section B.6.
    """
    if smooth is None:
        derivative = directional_derivatives(energy, z, direction, order, **options)
        error = torch.zeros_like(derivative)
    elif seed is None:
        raise ValueError("seed: want one for the smoothing, got None")
    else:
        derivative, error = smoothed_derivatives(energy, z, direction, order, smooth=smooth, seed=seed, **options)
    factorial = z.new_tensor([math.factorial(p) for p in range(order + 1)])
    return TaylorCoefficients(derivative / factorial, error / factorial, z.shape[1])


@dataclass(frozen=True)
class TaylorDecay:
    """Averages b_p over lines, (order + 1,), and the mean ratio, each with its interval over points."""

    b: Tensor
    b_low: Tensor
    b_high: Tensor
    ratio: float
    ratio_low: float
    ratio_high: float


def taylor_decay(
    b: Tensor, *, average: str = "rms", level: float = 0.95, n_resamples: int = 999, seed: int
) -> TaylorDecay:
    """The P0 check: rms or median b_p over lines, and their mean ratio from p = 3 on, (b_P/b_3)^{1/(P−3)}, P = order.

    The geometric mean of b_{p+1}/b_p telescopes: it knows the ends of the window alone. Below one it says that
    a_{p+1}/a_p is below 1/√n, not that there is no glass: of a pure q-spin it is above one while C(q, p) rises.
    Intervals resample points, each with all its directions, which are dependent. Source: phase, section B.6.
    Args: b, (n_points ≥ 10, n_directions, order + 1 ≥ 5), `TaylorCoefficients.normalised`; average, "rms" or "median".
    Raises: ValueError for other shapes or names, a negative or not finite b, or b_3 = 0 throughout.
    """
    if b.ndim != 3 or b.shape[-1] < 5 or not (b.isfinite() & (b >= 0)).all():
        raise ValueError(f"b: want finite (n_points, n_directions, order + 1 >= 5), all >= 0, got {tuple(b.shape)}")
    if average not in ("rms", "median"):
        raise ValueError(f"average: want 'rms' or 'median', got {average!r}")
    if not _average(b, average)[3] > 0:
        raise ValueError("b: want an energy with third derivatives, got b_3 = 0: quadratic, or piecewise so")

    def statistic(rows: Tensor) -> Tensor:
        mean = _average(rows, average)
        ratio = (mean[-1] / mean[3]) ** (1 / (len(mean) - 4))
        return torch.cat([mean, ratio[None]])

    options = {"level": level, "n_resamples": n_resamples, "seed": seed, "method": "rows"}
    found = bootstrap_interval(statistic, b.double(), **options)
    return TaylorDecay(*(part[:-1] for part in found), *(part[-1].item() for part in found))


def expected_rms(mixture: Mapping[int, float], order: int) -> Tensor:
    """Expected rms b_p = √(ξ^{(p)}(1)/p!) = √Σ_q c_q C(q, p), p = 0..order, of a p-spin of mixture {q: c_q}; float64.

    At any n, over disorder, for unit v ⊥ z, |z|² = n. A pure q-spin: √C(q, p), which rises before it falls. A field of
    strength h a site adds h² to the squares of b_0 and b_1 alone.
    Raises: ValueError or TypeError for a mixture that is none, ValueError for order < 0.
    """
    squares = [mixture_at(mixture, 1.0, p) / math.factorial(p) for p in range(order + 1)]
    if not squares:
        raise ValueError(f"order: want 0 or more, got {order}")
    return torch.tensor(squares, dtype=torch.float64).sqrt()


def pspin_weights(rms: Tensor) -> Tensor:
    """Mixture c_q with b_p² = Σ_{q≥p} c_q C(q, p): c_q = Σ_{p≥q} (−1)^{p−q} C(p, q) b_p², inverse of `expected_rms`.

    The alternating sum turns an error of b_p² into one C(p, q) as large in every c_q below: weights may come out
    negative, and orders past the last are taken for zero. c_0 is the variance of a constant, c_1 holds the field.
    Args: rms, (..., order + 1), index p. Returns: the shape of rms. Raises: ValueError for a scalar or no order.
    """
    if rms.ndim == 0 or rms.shape[-1] == 0:
        raise ValueError(f"rms: want (..., order + 1), got {tuple(rms.shape)}")
    size = rms.shape[-1]
    inverse = [[(-1) ** (p - q) * math.comb(p, q) for q in range(size)] for p in range(size)]
    return rms.square() @ rms.new_tensor(inverse)


def _average(b: Tensor, average: str) -> Tensor:
    lines = b.double().flatten(0, 1)
    return lines.square().mean(0).sqrt() if average == "rms" else lines.quantile(0.5, dim=0)
