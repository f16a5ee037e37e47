"""Hyperspherical angles of latent codes, and the variance spectrum they carry.

Angle k sees the axes k..n of a code: S_k = Σ_{j≥k} z_j², cos φ_k = z_k/√S_k, k = 1..n−1. The order of the axes matters.
For centred Gaussian codes with variances m_k (or any elliptical law: the radius drops out) E cos²φ_k and the variances
determine each other up to scale. Codes must be uncorrelated: diagonalise Cov(z) first.
"""

import math

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

# Trapezoid rule in w = ln t. The integrands are analytic for |Im w| < π, so the step .25 leaves an error near e^{−79};
# they rise as e^w and fall at least as e^{−w/2}, so the ends −40 and 80 cut off less than 1e-17.
STEP, LOW, HIGH = 0.25, -40.0, 80.0
BLOCK = 2**21  # float64 numbers held at once by the quadrature: 16 MB an array
LOG_RATIO_MAX = 70.0  # spectrum_from_angles looks for variance ratios within e^{±70}


def cos_angles(z: Tensor) -> Tensor:
    """Cosines of the hyperspherical angles, cos φ_k = z_k/√S_k with S_k = Σ_{j≥k} z_j², k = 1..n−1.

    In [−1, 1], unchanged under z → c·z (c > 0). No ε: where S_k = 0, after the last non-zero entry of a row, the angle
    is undefined and the value NaN, with zero gradient. Sums are float64; entries below 1e-154 of the row's largest
    square to zero and count as zero. O(n_latent) a row, differentiable. Source: arXiv:2507.15900.
    Args: z, codes (n_samples, n_latent ≥ 2), floating point.
    Returns: (n_samples, n_latent − 1), dtype and device of z.
    Raises: ValueError if the shape is another, there are no samples, or a value is not finite.
    """
    if z.ndim != 2 or len(z) == 0 or z.shape[1] < 2 or not z.is_floating_point():
        raise ValueError(f"cos_angles: want floating (n_samples > 0, n_latent >= 2), got {z.dtype} {tuple(z.shape)}")
    if not z.isfinite().all():
        raise ValueError("cos_angles: want finite codes, got NaN or infinity")
    # The angles are scale free, so the scale may be a constant to autograd; it keeps the squares in range.
    scale = z.detach().double().abs().amax(1, keepdim=True)
    scaled = z.double() / torch.where(scale > 0, scale, 1.0)
    suffix = scaled.square().flip(1).cumsum(1).flip(1)[:, :-1]
    defined = suffix > 0
    # The inner where keeps 0·∞ out of the gradient of the undefined ones.
    cosines = scaled[:, :-1] / torch.where(defined, suffix, 1.0).sqrt()
    return torch.where(defined, cosines, math.nan).to(z.dtype)


def uniform_cos_angle_var(n_latent: int) -> Tensor:
    """Var cos φ_k = E cos²φ_k = 1/(n − k + 1), k = 1..n−1, of points uniform on the sphere: the null of every angle.

    Args: n_latent ≥ 2. Returns: (n_latent − 1,), float64. Raises: ValueError if n_latent < 2.
    """
    if n_latent < 2:
        raise ValueError(f"uniform_cos_angle_var: want n_latent >= 2, got {n_latent}")
    return 1.0 / torch.arange(n_latent, 1, -1, dtype=torch.float64)


def angle_spectrum(signal_fraction: Tensor) -> Tensor:
    """E cos²φ_k = ∫_0^∞ m_k (1+2m_k t)^{−1} Π_{j≥k} (1+2m_j t)^{−1/2} dt of centred Gaussian codes with variances m_k.

    In [0, 1], unchanged under m → c·m; equal m give 1/(n−k+1). Exactly 0 for an inactive mode (m_k = 0) before the
    last active one, exactly 1 at the last active one, NaN after it, where no angle is defined. Error below 1e-14 for
    ratios of m from 1e-8 to 1e8 and n_latent ≤ 512. Source: chapter 00.
    Args: signal_fraction, m ≥ 0 in the order of the axes, (..., n_latent ≥ 2): a whole scan at once.
    Returns: (..., n_latent − 1), float64.
    Raises: ValueError if a value is negative or not finite, or there are fewer than two modes.
    """
    variance = _checked_variances("angle_spectrum", signal_fraction)
    spectrum = _in_blocks(_angle_integral, variance)[..., :-1]
    n_active_from = (variance > 0).flip(-1).cumsum(-1).flip(-1)[..., :-1]
    last_active = (n_active_from == 1) & (variance[..., :-1] > 0)
    spectrum = torch.where(last_active, 1.0, spectrum)
    return torch.where(n_active_from > 0, spectrum, math.nan)


def direction_spectrum(signal_fraction: Tensor) -> Tensor:
    """E s_k² = ∫_0^∞ m_k (1+2m_k t)^{−1} Π_j (1+2m_j t)^{−1/2} dt, s = z/|z|, of Gaussian codes with variances m_k.

    In [0, 1], sums to 1, unchanged under m → c·m, independent of the order of the axes. NaN if all modes are inactive.
    Source: chapter 00.
    Args: signal_fraction, m ≥ 0, (..., n_latent ≥ 2). Returns: (..., n_latent), float64.
    Raises: ValueError if a value is negative or not finite, or there are fewer than two modes.
    """
    variance = _checked_variances("direction_spectrum", signal_fraction)
    spectrum = _in_blocks(_direction_integral, variance)
    return torch.where((variance > 0).any(-1, keepdim=True), spectrum, math.nan)


def angular_susceptibility(signal_fraction: Tensor) -> Tensor:
    """χ = n Σ_k (E s_k²)²: the overlap susceptibility n·Var q of Gaussian codes with variances m_k, no pair formed.

    In [1, n_latent]: 1 for equal variances, n_latent for one active mode. NaN if all modes are inactive.
    Source: chapter 00. Args: signal_fraction, m ≥ 0, (..., n_latent ≥ 2). Returns: (...), float64.
    Raises: ValueError if a value is negative or not finite, or there are fewer than two modes.
    """
    directions = direction_spectrum(signal_fraction)
    return directions.shape[-1] * directions.square().sum(-1)


def spectrum_from_angles(cos2: Tensor) -> Tensor:
    """Variances m_k/m_1 of centred Gaussian codes from c_k = E cos²φ_k: the inverse of `angle_spectrum`.

    Tail first, m_{n−1}/m_n = (c/(1−c))²; then each c_k has one root m_k at fixed m_{k+1..n}. m_1 is the first active
    mode. c_k = 0 is an inactive mode, c_k = 1 the last active one; after it every c is NaN. Source: chapter 00.
    Args: cos2, (..., n_latent − 1 ≥ 1), in [0, 1]; NaN only after a 1. Returns: (..., n_latent), float64, scale free.
    Raises: ValueError for a value outside [0, 1], a NaN or a value in the wrong place, no active mode, or a variance
    ratio beyond e^{±70}.
    """
    cos2 = torch.as_tensor(cos2)
    if cos2.ndim == 0 or cos2.numel() == 0:
        raise ValueError(f"spectrum_from_angles: want (..., n_latent - 1 >= 1), got {tuple(cos2.shape)}")
    rows = cos2.detach().double().cpu().numpy().reshape(-1, cos2.shape[-1])
    spectrum = torch.from_numpy(np.stack([_invert(row) for row in rows])).to(cos2.device)
    return spectrum.reshape(*cos2.shape[:-1], cos2.shape[-1] + 1)


def _checked_variances(caller: str, variance: Tensor) -> Tensor:
    variance = torch.as_tensor(variance).double()
    if variance.ndim == 0 or variance.shape[-1] < 2:
        raise ValueError(f"{caller}: want (..., n_latent >= 2), got {tuple(variance.shape)}")
    if not variance.isfinite().all() or (variance < 0).any():
        raise ValueError(f"{caller}: want finite variances >= 0, got a value that is negative or not finite")
    return variance


def _in_blocks(integral, variance: Tensor) -> Tensor:
    """Apply `integral` to rows of ln(2 m/m_max), a bounded block at a time; one grid of ln t serves every mode."""
    rows = variance.reshape(-1, variance.shape[-1])
    log_largest = rows.amax(1, keepdim=True).log()
    log_ratio = torch.where(rows > 0, rows.log() - log_largest, -math.inf)
    widest = -log_ratio[log_ratio.isfinite()].amin().item() if (rows > 0).any() else 0.0
    grid = torch.arange(LOW, HIGH + widest + STEP, STEP, dtype=torch.float64, device=rows.device)
    n_rows = max(1, BLOCK // (rows.shape[1] * len(grid)))
    blocks = [STEP * integral(block + math.log(2.0), grid) for block in log_ratio.split(n_rows)]
    return torch.cat(blocks).reshape(variance.shape) if blocks else torch.empty_like(variance)


def _angle_integral(log_scale: Tensor, grid: Tensor) -> Tensor:
    exponent = log_scale[:, :, None] + grid  # [row, k, w]: ln(2 m_k t)
    suffix = _log_one_plus_exp(exponent).flip(1).cumsum(1).flip(1)
    return (0.5 * exponent.sigmoid() * torch.exp(-0.5 * suffix)).sum(-1)


def _direction_integral(log_scale: Tensor, grid: Tensor) -> Tensor:
    exponent = log_scale[:, :, None] + grid
    total = _log_one_plus_exp(exponent).sum(1, keepdim=True)
    return (0.5 * exponent.sigmoid() * torch.exp(-0.5 * total)).sum(-1)


def _log_one_plus_exp(exponent: Tensor) -> Tensor:
    return torch.logaddexp(exponent, torch.zeros((), dtype=exponent.dtype, device=exponent.device))


def _invert(cos2: np.ndarray) -> np.ndarray:
    """One row of `spectrum_from_angles`; ln m is measured from the last active mode, ln t runs on one fixed grid."""
    last = _last_active(cos2)
    grid = np.arange(LOW - LOG_RATIO_MAX, HIGH + LOG_RATIO_MAX + STEP, STEP) + math.log(2.0)
    log_m = np.full(len(cos2) + 1, -np.inf)
    log_m[last] = 0.0
    suffix = np.logaddexp(grid, 0.0)
    for k in reversed(range(last)):
        if cos2[k] > 0:
            log_m[k] = _root(cos2[k], grid, suffix)
            suffix = suffix + np.logaddexp(grid + log_m[k], 0.0)
    first = np.flatnonzero(np.isfinite(log_m))[0]
    return np.exp(log_m - log_m[first])


def _root(value: float, grid: np.ndarray, suffix: np.ndarray) -> float:
    def excess(log_m: float) -> float:
        own = np.logaddexp(grid + log_m, 0.0)
        return STEP * 0.5 * np.exp(grid + log_m - 1.5 * own - 0.5 * suffix).sum() - value

    if not excess(-LOG_RATIO_MAX) < 0.0 < excess(LOG_RATIO_MAX):
        raise ValueError(f"spectrum_from_angles: want variance ratios within e^±{LOG_RATIO_MAX:g}, got E cos² {value}")
    return brentq(excess, -LOG_RATIO_MAX, LOG_RATIO_MAX, xtol=1e-14)


def _last_active(cos2: np.ndarray) -> int:
    """Index of the last active mode, after checking that zeros, ones and NaN stand where a spectrum puts them."""
    ones = np.flatnonzero(cos2 == 1.0)
    last = int(ones[0]) if len(ones) else len(cos2)
    if not np.all((cos2[:last] >= 0.0) & (cos2[:last] < 1.0)) or not np.isnan(cos2[last + 1 :]).all():
        raise ValueError(f"spectrum_from_angles: want E cos² in [0, 1), then at most one 1, then NaN, got {cos2}")
    return last
