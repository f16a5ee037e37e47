"""Kac–Rice integrals of the spherical p-spin at finite N, in logarithms and to rounding.

Both are even in the eigenvalue λ of the Hessian, so they run over λ > 0, with a density folded from the whole line.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy.special import gammaln, logsumexp

from latentlib._goe import goe_density

Density = Callable[[int, np.ndarray], np.ndarray]  # (N, x > 0) → ln[ρ(x) + ρ(−x)] + x²/2
N_NODES = 20  # Gauss–Legendre nodes a panel: exact to rounding over six wavelengths, or four standard deviations
MARGIN = 9.0  # in units of at least √2 standard deviations of the integrand: cuts off less than e^{−80}


def log_mean_count(
    density: Density, n_spins: int, slope: float, curvature: float, random_field: bool, field: float
) -> float:
    """ln of the mean number of critical points: all for density = goe_density, minima for goe_largest_density.

    slope = ξ′(1), curvature = ξ″(1). A random field adds h² to the slope, one of fixed direction an integral.
    """
    total = slope + field * field
    if n_spins == 1:  # two points without neighbours
        return math.log(2)
    if curvature / total < 1e-100:  # linear H to rounding: a maximum and a minimum
        return math.log(2) if density is goe_density else 0.0
    if random_field:
        return _log_random(density, n_spins, total, curvature)
    return _log_deterministic(density, n_spins, slope, curvature, field)


def _log_random(density: Density, n_spins: int, slope: float, curvature: float) -> float:
    """ln of 2√2 √(x₁/(x₁+x₂)) (x₂/x₁)^{N/2} ∫ρ(x) e^{−Bx²/2} dx, x₁ = slope, x₂ = curvature."""
    tilt = (curvature - slope) / (curvature + slope)
    decay = 2 * curvature / (curvature + slope)  # 1 + B, free of cancellation
    edge = math.sqrt(2 * n_spins)
    # Beyond the edge φ_{N−1}(x)e^{−Bx²/2} peaks where √(x²−2N) = −Bx, with a variance below 1/(2(1+B)).
    width = max(1.0, decay**-0.5)
    peak = edge * max(1.0, (decay * (1 - tilt)) ** -0.5 if tilt < 0 else 1.0)
    x, log_weight = _half_line(edge, peak + MARGIN * width, width / 2)
    log_integral = logsumexp(log_weight + density(n_spins, x) - decay * x**2 / 2)
    log_front = 1.5 * math.log(2) + 0.5 * (math.log(slope) - math.log(slope + curvature))
    return log_front + n_spins / 2 * (math.log(curvature) - math.log(slope)) + log_integral


def _log_deterministic(density: Density, n_spins: int, slope: float, curvature: float, field: float) -> float:
    """ln of the mean count in a field of fixed direction: an integral over the latitude t = cos θ and the eigenvalue λ.

    E|det(M − y)| over the GOE of N − 1 is e^{λ²/2}ρ_N(λ) times 2√2 Γ(1+N/2)/N (2ξ″/N)^{(N−1)/2}, λ = y/√(2ξ″/N). Here
    λ is Gaussian with mean a·t, a = h√(N/2ξ″), and variance v = (ξ′+ξ″)/2ξ″; the gradient vanishes with the density
    e^{−Nh²(1−t²)/2ξ′}(2πξ′)^{−(N−1)/2}.
    """
    variance = (slope + curvature) / (2 * curvature)
    shift = field * math.sqrt(n_spins / (2 * curvature))
    theta, log_theta = _latitudes(n_spins, n_spins * field**2 / slope, shift**2 / variance)
    # φ_{N−1}(λ) e^{λ²/2 − (λ−at)²/2v} peaks between the roots of (N−1)/λ and 2N/λ = (λ − at)/v, and beyond the edge is
    # narrower than v.
    margin, lowest = MARGIN * math.sqrt(2 * variance), shift * math.cos(theta[len(theta) // 2 - 1])
    start = (lowest + math.sqrt(lowest**2 + 4 * variance * (n_spins - 1))) / 2 - margin
    end = (shift + math.sqrt(shift**2 + 8 * variance * n_spins)) / 2 + margin
    x, log_weight = _half_line(math.sqrt(2 * n_spins), end, math.sqrt(variance), start=start)
    log_weight = log_weight + density(n_spins, x)
    parts = [
        logsumexp(log_weight[rows, None] + log_theta - (x[rows, None] - shift * np.cos(theta)) ** 2 / (2 * variance))
        for rows in np.array_split(np.arange(len(x)), len(x) // 100)
    ]
    half = n_spins / 2
    log_sphere = math.log(2) + (half - 0.5) * math.log(math.pi) - gammaln(half - 0.5)  # the area of S^{N−2}
    log_determinant = 1.5 * math.log(2) + gammaln(1 + half) - math.log(n_spins)
    log_ratio = (half - 0.5) * math.log(curvature / (math.pi * slope))  # N^{(N−1)/2}(2ξ″/N)^{(N−1)/2}(2πξ′)^{−(N−1)/2}
    log_normal = -0.5 * math.log(2 * math.pi * variance)
    return logsumexp(parts) + log_sphere + log_determinant + log_ratio + log_normal


def _half_line(edge: float, end: float, width: float, start: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Nodes on 0 … end and log-weights: panels of six wavelengths π/edge in the bulk, of the given width beyond.

    Where the integrand starts beyond the bulk, so do the nodes.
    """
    bulk_end = edge + MARGIN
    bulk = np.linspace(0, bulk_end, 1 + math.ceil(bulk_end * max(2.0, edge / (6 * math.pi))))
    if start > bulk_end:
        bulk = np.array([start])
    tail = np.linspace(bulk[-1], end, 1 + max(0, math.ceil((end - bulk[-1]) / width)))
    x, weight = _panels(np.concatenate([bulk, tail[1:]]))
    return x, np.log(weight)


def _latitudes(n_spins: int, stiffness: float, shift_square: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes θ and log-weights of ∫dθ sin^{N−2}θ e^{−A sin²θ/2}, A = stiffness, near both poles where A confines it.

    In r = sin θ the logarithm is curved by −A at least, its maximum at r² = (N−2)/A. The factor e^{−(λ−at)²/2v} adds
    the scale 1/√shift_square, and no confinement.
    """
    reach = (math.sqrt(n_spins - 2) + MARGIN) / math.sqrt(stiffness) if stiffness > 0 else 1.0
    last = math.asin(min(1.0, reach))
    n_panels = 2 + math.ceil(last * math.sqrt(n_spins + stiffness + shift_square) / 2)
    theta, weight = _panels(np.linspace(0, last, n_panels))
    log_weight = np.log(weight) + (n_spins - 2) * np.log(np.sin(theta)) - stiffness * np.sin(theta) ** 2 / 2
    return np.concatenate([theta, math.pi - theta]), np.tile(log_weight, 2)


def _panels(bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gauss–Legendre nodes and weights on consecutive panels."""
    node, weight = np.polynomial.legendre.leggauss(N_NODES)
    half = np.diff(bounds)[:, None] / 2
    return ((bounds[:-1, None] + half) + half * node).ravel(), (half * weight).ravel()
