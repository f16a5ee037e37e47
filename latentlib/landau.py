"""Landau theory of posterior collapse: the energy of one latent near its threshold.

Energies are losses above those of the collapsed state, in nats per sample, E|x − f(z)|²/(2T) + KL; T = β σ_dec² is the
price in the units of the data, λ the variance of the mode that goes soft at T = λ. One latent, the best decoder.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from latentlib._closed_form import closed_form

# The linear decoder: exact ------------------------------------------------------------------------------------------


@closed_form
def one_mode_loss(signal_fraction: Tensor, scale: Tensor, price_ratio: Tensor) -> Tensor:
    """Loss of one mode F₁ = 1 − m + T̃[ρ − 1 − ln ρ − ln(1 − m)], linear decoder at its best, units λ/(2σ_dec²).

    m = ⟨μ²⟩/ρ in [0, 1), scale ρ = ⟨μ²⟩ + ⟨σ²⟩ > 0, price ratio T̃ = T/λ > 0. Least over ρ at ρ = 1, whatever m.
    Source: pruning, Eqs. (24–30). Numbers or floating tensors that broadcast.
    Raises: TypeError for other types, ValueError for values out of range.
    """
    _check_ratio(price_ratio)
    if not ((signal_fraction >= 0) & (signal_fraction < 1)).all() or not ((scale > 0) & scale.isfinite()).all():
        found = f"{signal_fraction.tolist()}, {scale.tolist()}"
        raise ValueError(f"want signal_fraction in [0, 1) and scale > 0, got {found}")
    return 1 - signal_fraction + price_ratio * (scale - 1 - scale.log() - torch.log1p(-signal_fraction))


@closed_form
def one_mode_fraction(price_ratio: Tensor) -> Tensor:
    """Branch of the one-mode loss m* = (1 − T̃)₊, at ρ* = 1: the order parameter of a linear decoder.

    Source: pruning, Eqs. (32–34). Raises: TypeError unless numbers or floating tensors, ValueError unless T̃ > 0.
    """
    _check_ratio(price_ratio)
    return (1 - price_ratio).clamp_min(0)


@closed_form
def one_mode_rate(price_ratio: Tensor) -> Tensor:
    """Rate on the branch KL = ½(ln 1/T̃)₊, nats: continuous at T̃ = 1, where its slope in T̃ jumps from −½ to 0.

    Source: pruning, Eqs. (40–42). Raises: TypeError unless numbers or floating tensors, ValueError unless T̃ > 0.
    """
    _check_ratio(price_ratio)
    return (-price_ratio.log()).clamp_min(0) / 2


def one_mode_coefficients(price_ratio: float, n_terms: int) -> Tensor:
    """Landau expansion of the one-mode loss at ρ = 1, F₁ = 1 − (1 − T̃)m + T̃ Σ_{k≥2} m^k/k.

    Returns the coefficients of m⁰, m¹, …, (n_terms,) float64: all but that of m are positive, so there is no jump.
    Source: pruning, Eq. (35), to all orders.
    Raises: ValueError unless price_ratio > 0 and n_terms is a whole number ≥ 1.
    """
    _check_ratio(torch.tensor(price_ratio, dtype=torch.float64))
    if isinstance(n_terms, bool) or not isinstance(n_terms, int) or n_terms < 1:
        raise ValueError(f"n_terms: want a whole number >= 1, got {n_terms!r}")
    powers = torch.arange(n_terms, dtype=torch.float64)
    coefficients = price_ratio / powers  # infinite at m⁰, replaced next
    coefficients[:2] = torch.tensor([1.0, price_ratio - 1], dtype=torch.float64)[:n_terms]
    return coefficients


def _check_ratio(price_ratio: Tensor) -> None:
    if not ((price_ratio > 0) & price_ratio.isfinite()).all():
        raise ValueError(f"price_ratio: want finite T/λ > 0, got {price_ratio.tolist()}")


# The flexible decoder: fourth order in the amplitudes ---------------------------------------------------------------


class LandauCoefficients(NamedTuple):
    """Landau energy F = ε(v²/2 + w²/4) − (S/6)(w³ + 3v²w) + a v⁴ + b v²w² + c w⁴, ε = 1 − λ/T.

    v = E[ψμ(x)] is the amplitude of the mean channel, w = E[ψσ²(x)] that of the width channel, ψ the standardized
    soft mode; cubic S, mean a, mixed b, width c. b and c are infinite where σ may not depend on x, so that w = 0.
    """

    cubic: float
    mean: float
    mixed: float
    width: float

    @property
    def bounded(self) -> bool:
        """Whether the quartic form is positive, a, c > 0, b > −2√(ac): else a jump that ends outside the expansion."""
        if self.width == math.inf:
            return self.mean > 0
        return self.mean > 0 and self.width > 0 and self.mixed > -2 * math.sqrt(self.mean * self.width)


def landau_coefficients(
    skewness: float, kurtosis: float, curvature: float = 0, bare_curvature: float = 0, *, homoscedastic: bool = False
) -> LandauCoefficients:
    """Landau coefficients of data, a = ¼(1 − S² − G), b = Δ − S²/4, c = Δ/4 + S²/16, Δ = (5 − K)/2 − G − ¾Γ.

    S = Eψ³, K = Eψ⁴, curvature G = Σ_j γ_j²/(λ − λ_j) and bare_curvature Γ = Σ_j γ_j²/λ, γ_j = E[x_jψ²], over the other
    modes. All of x but ψ is eliminated at T = λ: exact Taylor coefficients there; that the cubic and quartic ones
    change with price is left out, which is of higher order for small S. Homoscedastic encoder (σ the same for all x):
    a = ¼(1 − S² − Γ), no other term. Source: expansion to fourth order, tested against constrained minimization.
    Raises: ValueError for values not finite or K < 1 + S², which no data have.
    """
    if not all(map(math.isfinite, (skewness, kurtosis, curvature, bare_curvature))):
        raise ValueError(f"want finite moments, got {skewness}, {kurtosis}, {curvature}, {bare_curvature}")
    square = skewness**2
    if kurtosis < (1 + square) * (1 - 1e-9):
        raise ValueError(f"kurtosis: want K >= 1 + S² = {1 + square}, got {kurtosis}")
    if homoscedastic:
        return LandauCoefficients(0.0, (1 - square - bare_curvature) / 4, math.inf, math.inf)
    stiffness = (5 - kurtosis) / 2 - curvature - 0.75 * bare_curvature
    mean = (1 - square - curvature) / 4
    return LandauCoefficients(skewness, mean, stiffness - square / 4, stiffness / 4 + square / 16)


def landau_energy(v: float, w: float, eps: float, coefficients: LandauCoefficients) -> float:
    """Landau energy F(v, w) = ε(v²/2 + w²/4) − (S/6)(w³ + 3v²w) + a v⁴ + b v²w² + c w⁴ above the collapsed state, nats.

    ε = 1 − λ/T < 1, negative below the threshold. At v = w = 0 the curvature is ε in the mean amplitude and, as w is
    twice the amplitude of ln σ, 2ε in that of ln σ: both channels go soft at T = λ.
    Raises: ValueError for w ≠ 0 where the encoder is homoscedastic.
    """
    cubic, mean, mixed, width = coefficients
    if width == math.inf:
        if w != 0:
            raise ValueError(f"w: want 0, a homoscedastic encoder has no width channel, got {w}")
        mixed = width = 0.0
    quartic = mean * v**4 + mixed * v**2 * w**2 + width * w**4
    return eps * (v**2 / 2 + w**2 / 4) - cubic / 6 * (w**3 + 3 * v**2 * w) + quartic


class LandauState(NamedTuple):
    """A minimum of the Landau energy: energy, rate (KL to leading order, v²/2 + w²/4), nats; amplitudes v ≥ 0 and w."""

    energy: float
    rate: float
    v: float
    w: float


def landau_minimum(eps: float, coefficients: LandauCoefficients) -> LandauState:
    """Global minimum of the Landau energy over (v, w): collapsed, width-coded (v = 0, w ≠ 0) or mean-coded (v > 0).

    Closed form: v² enters quadratically, so the rest are the roots of a quadratic and a cubic in w.
    Raises: ValueError for ε not finite or ≥ 1, and where the quartic form is not positive: no minimum within reach.
    """
    if not eps < 1 or not math.isfinite(eps):
        raise ValueError(f"eps: want a finite 1 − λ/T < 1, got {eps}")
    _check_bounded(coefficients)
    states = [(0.0, 0.0), *_active_states(eps, coefficients)]
    v, w = min(states, key=lambda state: landau_energy(*state, eps, coefficients))
    return LandauState(landau_energy(v, w, eps, coefficients), v**2 / 2 + w**2 / 4, v, w)


def _active_states(eps: float, coefficients: LandauCoefficients) -> list[tuple[float, float]]:
    """Stationary points (v ≥ 0, w) other than the collapsed one; of ±w without a cubic term, both."""
    cubic, mean, mixed, width = coefficients
    if width == math.inf:
        return [(math.sqrt(-eps / (4 * mean)), 0.0)] if eps < 0 else []
    found = [(0.0, w) for w in _real_roots([4 * width, -cubic / 2, eps / 2])]
    # v² = (−ε/2 + Sw/2 − bw²)/2a put into ∂F/∂w = 0
    linear = (mean - mixed) * eps - cubic**2 / 4
    roots = _real_roots([8 * mean * width - 2 * mixed**2, (1.5 * mixed - mean) * cubic, linear, cubic * eps / 4])
    for w in roots:
        square = (-eps / 2 + cubic * w / 2 - mixed * w**2) / (2 * mean)
        if square > 0:
            found.append((math.sqrt(square), w))
    return found


def landau_maxwell(coefficients: LandauCoefficients) -> tuple[float, float]:
    """Maxwell point ε_M = max_s S² s(3 − s)²/(9q(s)), q = 4a(1 − s)² + 8bs(1 − s) + 16cs², and the rate there, ε_M/q.

    Where the active minimum has the energy of the collapsed state: the jump is at T = λ/(1 − ε_M), of that KL to
    leading order. (0, 0) without a cubic term. s is the width channel's share of the rate.
    Raises: ValueError where the quartic form is not positive.
    """
    _check_bounded(coefficients)
    cubic, mean, mixed, width = coefficients
    if cubic == 0:
        return 0.0, 0.0
    quartic = np.polynomial.Polynomial([4 * mean, 8 * (mixed - mean), 4 * mean - 8 * mixed + 16 * width])
    share = np.polynomial.Polynomial([0, 1])
    slope = 3 * (1 - share) * quartic - share * (3 - share) * quartic.deriv()
    candidates = [1.0, *(s for s in _real_roots(slope.coef[::-1]) if 0 < s < 1)]
    value, best = max((cubic**2 * s * (3 - s) ** 2 / (9 * float(quartic(s))), s) for s in candidates)
    return value, value / float(quartic(best))


def _check_bounded(coefficients: LandauCoefficients) -> None:
    if not coefficients.bounded:
        raise ValueError(f"want a positive quartic form, got {coefficients}: the jump leaves the expansion")


def _real_roots(polynomial) -> list[float]:
    roots = np.roots(polynomial)
    return [float(root.real) for root in roots if abs(root.imag) <= 1e-7 * abs(root)]
