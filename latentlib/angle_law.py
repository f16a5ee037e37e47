"""Exact laws of hyperspherical angles: of uniform points, caps and bands, and of Gaussian codes with a spectrum.

Of points uniform on the sphere the angles φ_1 … φ_{n−1} are independent, φ_k with density ∝ sin^{n−1−k} φ_k. For
centred Gaussian codes with variances m_k (or any elliptical law: the radius drops out) E cos²φ_k and the variances
determine each other up to scale. Those codes must be uncorrelated: diagonalise Cov(z) first.
"""

import math

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import betainc, betaln, hyp2f1, zeta
from torch import Tensor

# Trapezoid rule in w = ln t. The integrands are analytic for |Im w| < π, so the step .25 leaves an error near e^{−79};
# they rise as e^w and fall at least as e^{−w/2}, so the ends −40 and 80 cut off less than 1e-17.
STEP, LOW, HIGH = 0.25, -40.0, 80.0
BLOCK = 2**21  # float64 numbers held at once by the quadrature: 16 MB an array
LOG_RATIO_MAX = 70.0  # spectrum_from_angles looks for variance ratios within e^{±70}


def uniform_cos_angle_var(n_latent: int) -> Tensor:
    """Var cos φ_k = E cos²φ_k = 1/(n − k + 1), k = 1..n−1, of points uniform on the sphere: the null of every angle.

    Args: n_latent ≥ 2. Returns: (n_latent − 1,), float64. Raises: ValueError if n_latent < 2.
    """
    _check_n_latent("uniform_cos_angle_var", n_latent)
    return 1.0 / torch.arange(n_latent, 1, -1, dtype=torch.float64)


def uniform_angle_var(n_latent: int) -> Tensor:
    """Var φ_k = ½ψ′((n − k + 1)/2), k ≤ n−2, and π²/3 for k = n−1, of points uniform on the sphere: a crowded equator.

    In radians²; near 1/(n − k) far from the end; ψ′ is the trigamma function. The means are π/2, the last π.
    Args: n_latent ≥ 2. Returns: (n_latent − 1,), float64. Raises: ValueError if n_latent < 2.
    """
    _check_n_latent("uniform_angle_var", n_latent)
    var = 0.5 * torch.from_numpy(zeta(2.0, 0.5 * np.arange(n_latent, 1, -1)))  # ψ′(x) = ζ(2, x)
    var[-1] = math.pi**2 / 3
    return var


def uniform_angle_density(angle: Tensor, n_latent: int, k: int) -> Tensor:
    """p(φ_k) = Γ((m+2)/2)/(√π Γ((m+1)/2))·sin^m φ_k, m = n−1−k, of points uniform on the sphere; 1/2π for the last.

    Per radian, 0 outside [0, π], for k = n−1 outside [0, 2π]. Args: angle, radians; n_latent ≥ 2; k, 1 … n_latent − 1.
    Returns: like angle. Raises: ValueError for n_latent or k out of range.
    """
    _check_n_latent("uniform_angle_density", n_latent)
    if not 1 <= k < n_latent:
        raise ValueError(f"uniform_angle_density: want k from 1 to {n_latent - 1}, got {k}")
    power = n_latent - 1 - k
    if power == 0:
        return torch.where((angle >= 0) & (angle <= 2 * math.pi), torch.full_like(angle, 0.5 / math.pi), 0.0)
    norm = math.exp(math.lgamma(power / 2 + 1) - math.lgamma((power + 1) / 2)) / math.sqrt(math.pi)
    return torch.where((angle >= 0) & (angle <= math.pi), norm * angle.sin().clamp(min=0).pow(power), 0.0)


def log_sphere_area(n_latent: int) -> float:
    """Log area of the unit sphere, ln 2π^{n/2}/Γ(n/2): largest at n_latent = 7. Raises: ValueError if n_latent < 2."""
    _check_n_latent("log_sphere_area", n_latent)
    return math.log(2) + n_latent / 2 * math.log(math.pi) - math.lgamma(n_latent / 2)


def log_cap_share(angle: Tensor | float, n_latent: int) -> Tensor:
    """Log share of the sphere within an angle a of a pole, ln ½I_{sin²a}((n−1)/2, ½) for a ≤ π/2: P(φ_1 ≤ a).

    ≤ 0; −∞ at a = 0, 0 at π. Holds where the share itself is below the smallest number. P(φ_k ≤ a) is that of
    n_latent − k + 1, k ≤ n−2. Args: angle, radians, in [0, π], any shape; n_latent ≥ 2. Returns: like angle, float64.
    Raises: ValueError for an angle or n_latent out of range.
    """
    _check_n_latent("log_cap_share", n_latent)
    angle = _checked_angle("log_cap_share", angle, math.pi)
    log_share = angle.new_tensor(_log_half_cap(torch.minimum(angle, math.pi - angle).cpu().numpy(), n_latent))
    return torch.where(angle <= math.pi / 2, log_share, torch.log1p(-log_share.exp()))


def equator_share(angle: Tensor | float, n_latent: int) -> Tensor:
    """Share of the sphere within an angle a of the equator, I_{sin²a}(½, (n−1)/2) = P(|φ_1 − π/2| ≤ a).

    In [0, 1]; nearly erf(a√(n/2)) for large n. Args: angle, radians, in [0, π/2], any shape; n_latent ≥ 2.
    Returns: like angle, float64. Raises: ValueError for an angle or n_latent out of range.
    """
    _check_n_latent("equator_share", n_latent)
    angle = _checked_angle("equator_share", angle, math.pi / 2)
    return angle.new_tensor(betainc(0.5, (n_latent - 1) / 2, angle.sin().square().cpu().numpy()))


def log_volume_shrink(share: float, n_latent: int, what: str) -> float:
    """Log of the factor by which a sector r ≤ R, φ ≤ π/2 loses volume where one bound, or all of the angles', shrinks.

    The bound is multiplied by `share`: "radius" n ln share; "one angle" ln P(φ_1 ≤ share·π/2)/½; "all angles" the sum
    of that over k = 1..n−1, the last taken as |φ| ≤ π/2 of a circle. Towards share 0 it is n, n − 1 and n(n−1)/2 times
    ln share, up to constants. Args: share in (0, 1]; n_latent ≥ 2; what, as quoted.
    Raises: ValueError for a share, n_latent or `what` out of range.
    """
    _check_n_latent("log_volume_shrink", n_latent)
    if not 0 < share <= 1:
        raise ValueError(f"log_volume_shrink: want share in (0, 1], got {share}")
    if what == "radius":
        return n_latent * math.log(share)
    if what not in ("one angle", "all angles"):
        raise ValueError(f"log_volume_shrink: want 'radius', 'one angle' or 'all angles', got {what!r}")
    dimensions = np.arange(2 if what == "all angles" else n_latent, n_latent + 1)
    return float((_log_half_cap(np.float64(share * math.pi / 2), dimensions) + math.log(2)).sum())


def angle_spectrum(signal_fraction: Tensor) -> Tensor:
    """E cos²φ_k = ∫_0^∞ m_k (1+2m_k t)^{−1} Π_{j≥k} (1+2m_j t)^{−1/2} dt of centred Gaussian codes with variances m_k.

    In [0, 1], unchanged under m → c·m; equal m give 1/(n−k+1). Exactly 0 for an inactive mode (m_k = 0) before the
    last active one, 1 at it, NaN after it, where no angle is defined. Error below 1e-14 for ratios of m from 1e-8 to
    1e8 and n_latent ≤ 512. Source: chapter 00.
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


def _check_n_latent(caller: str, n_latent: int) -> None:
    if n_latent < 2:
        raise ValueError(f"{caller}: want n_latent >= 2, got {n_latent}")


def _checked_angle(caller: str, angle: Tensor | float, largest: float) -> Tensor:
    angle = torch.as_tensor(angle, dtype=torch.float64)
    if not ((angle >= 0) & (angle <= largest * (1 + 2.0**-22))).all():  # float32 rounds π up
        raise ValueError(f"{caller}: want angles in [0, {largest:.6g}], got {angle.tolist()}")
    return angle.clamp(max=largest)


def _log_half_cap(angle: np.ndarray, n_latent: np.ndarray | int) -> np.ndarray:
    """ln ½I_x(s, ½), x = sin²a, s = (n−1)/2, a ≤ π/2; where I underflows, x^s(1−x)^½ F(s+½, 1; s+1; x)/(s B(s, ½))."""
    shape, x = (np.asarray(n_latent) - 1) / 2, np.sin(angle) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        direct = betainc(shape, 0.5, x)
        series = np.log(hyp2f1(shape + 0.5, 1.0, shape + 1.0, np.minimum(x, 0.999))) + 0.5 * np.log1p(-x)
        series = series + shape * np.log(x) - np.log(shape) - betaln(shape, 0.5)
        return np.where(direct > 1e-280, np.log(direct), series) - math.log(2)


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
