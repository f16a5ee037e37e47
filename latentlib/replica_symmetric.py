"""The replica-symmetric saddle of the mixed spherical p-spin: its overlap, free energy, stability and susceptibility.

Everything follows from the covariance ξ(q) = Σ_p c_p q^p and the field h alone. Exact in the limit N → ∞ at p = 2.
"""

import math
from collections.abc import Mapping

import torch
from numpy.polynomial import Polynomial
from torch import Tensor

from latentlib._closed_form import closed_form
from latentlib._mixture import check_mixture
from latentlib.pspin import mixture_at


def ssk_log_partition(temperature: Tensor | float, coupling: Tensor | float = 1.0) -> Tensor | float:
    """Limit of ln Z/N at p = 2, zero field: J²/(4T²) for T ≥ J, J/T − ½ln(J/T) − ¾ below; ¼ at T = J.

    Source: Kosterlitz, Thouless, Jones 1976. Args: temperature T > 0; coupling J > 0, so ξ = J²q²/2, T_c = J. They
    broadcast. Raises: ValueError out of range.
    """
    return _ssk_log_partition(temperature, coupling)


def rs_overlap(
    mixture: Mapping[int, float], temperature: Tensor | float, field: Tensor | float = 0.0
) -> Tensor | float:
    """Replica-symmetric overlap q: q/(1−q)² = (ξ′(q) + h²)/T², the root of least ln Z/N (`rs_free_energy`).

    The limit of |q| of two replicas, for p = 2 at every T and h (q_EA = 1 − T/J in the glass), for every ξ at large T
    or h; where `rs_stability` < 0, and in the p ≥ 3 glass, only the best symmetric guess. At T = 0 its limit, 1.
    Args: mixture {p: c_p} of ξ = Σ c_p q^p; temperature T ≥ 0; field h, per site rms. T and h broadcast.
    Raises: ValueError for a mixture that is none, T < 0, T = 0 without couplings and field, values not finite.
    """
    return 1 - _rs_distance(temperature, field, mixture=check_mixture(mixture))


def rs_free_energy(
    mixture: Mapping[int, float], temperature: Tensor | float, field: Tensor | float = 0.0
) -> Tensor | float:
    """Replica-symmetric ln Z/N = min_q ½[ln(1−q) + q/(1−q) + (ξ(1) − ξ(q) + h²(1−q))/T²], over the uniform sphere.

    An upper bound of the limit, attained where `rs_overlap` is the limit. Args and errors as there, but T > 0.
    """
    return _rs_log_partition(temperature, field, mixture=check_mixture(mixture))


def rs_stability(
    mixture: Mapping[int, float], temperature: Tensor | float, field: Tensor | float = 0.0
) -> Tensor | float:
    """Replicon 1 − (1−q)²ξ″(q)/T² at q = `rs_overlap`: positive where the symmetric solution is locally stable.

    Zero in the p = 2 glass without a field; at p ≥ 3 stability does not exclude a jump to the glass. Args and errors as
    `rs_free_energy`.
    """
    return _rs_stability(temperature, field, mixture=check_mixture(mixture))


def rs_susceptibility(mixture: Mapping[int, float], temperature: Tensor | float) -> Tensor | float:
    """Susceptibility of zero-field replicas χ = N⟨q²⟩ = 1/(1 − ξ″(0)/T²), disordered phase: 1/(1 − J²/T²) at p = 2.

    Diverges at T_c = √ξ″(0). For p ≥ 3 alone ξ″(0) = 0 and χ = 1 at every T: blind to a glass that forms by a jump.
    Raises: ValueError for a mixture that is none or has p = 1 (its random field makes q > 0), or T ≤ √ξ″(0).
    """
    return _rs_susceptibility(temperature, mixture=check_mixture(mixture))


@closed_form
def _ssk_log_partition(temperature: Tensor, coupling: Tensor) -> Tensor:
    _require_positive("temperature", temperature)
    _require_positive("coupling", coupling)
    ratio = coupling / temperature
    return torch.where(ratio <= 1, ratio.square() / 4, ratio - 0.5 * ratio.log() - 0.75)


@closed_form
def _rs_susceptibility(temperature: Tensor, *, mixture: dict[int, float]) -> Tensor:
    curvature = mixture_at(mixture, 0.0, 2)
    if mixture.get(1, 0.0) > 0 or not ((temperature > math.sqrt(curvature)) & (temperature > 0)).all():
        want = f"want no p = 1 and temperature > {math.sqrt(curvature):g}"
        raise ValueError(f"{want}, got {mixture}, {temperature.tolist()}")
    return 1 / (1 - curvature / temperature.square())


@closed_form
def _rs_distance(temperature: Tensor, field: Tensor, *, mixture: dict[int, float]) -> Tensor:
    """1 − q, precise where q is near 1."""
    temperature, field = torch.broadcast_tensors(temperature, field)
    pairs = zip(temperature.flatten().tolist(), field.flatten().tolist())
    found = [_least_distance(mixture, *pair) for pair in pairs]
    return torch.tensor(found, dtype=torch.float64).reshape(temperature.shape).to(temperature)


@closed_form
def _rs_log_partition(temperature: Tensor, field: Tensor, *, mixture: dict[int, float]) -> Tensor:
    _require_positive("temperature", temperature)
    distance = _rs_distance(temperature, field, mixture=mixture)
    return _symmetric_functional(distance, temperature, field, mixture)


@closed_form
def _rs_stability(temperature: Tensor, field: Tensor, *, mixture: dict[int, float]) -> Tensor:
    _require_positive("temperature", temperature)
    distance = _rs_distance(temperature, field, mixture=mixture)
    return 1 - (distance / temperature).square() * mixture_at(mixture, 1 - distance, 2)


def _symmetric_functional(distance: Tensor, temperature: Tensor, field: Tensor, mixture: dict[int, float]) -> Tensor:
    # ξ(1) − ξ(q) term by term, precise where q is near 1.
    lost = [weight * torch.expm1(p * torch.log1p(-distance)) for p, weight in mixture.items()]
    gained = field.square() * distance - sum(lost, torch.zeros_like(distance))
    return 0.5 * (distance.log() + 1 / distance - 1 + gained / temperature.square())


def _least_distance(mixture: dict[int, float], temperature: float, field: float) -> float:
    """The root u = 1 − q of u²(ξ′(1−u) + h²) = (1−u)T² with the least ln Z/N."""
    strength = mixture_at(mixture, 1.0, 1) + field**2
    if not (0 <= temperature < math.inf and math.isfinite(field) and temperature + strength > 0):
        wanted = "finite temperature >= 0 and field, not both 0 without couplings"
        raise ValueError(f"want {wanted}, got temperature {temperature}, field {field}")
    if temperature == 0:
        return 0.0
    u, q = Polynomial([0.0, 1.0]), Polynomial([1.0, -1.0])
    shared = 0 if field or mixture.get(1, 0.0) else 1  # then q = 0 is a root: its factor q is taken out
    slope = sum((p * weight * q ** (p - 1 - shared) for p, weight in mixture.items() if weight > 0), Polynomial([0.0]))
    balance = u**2 * (slope + field**2) - q ** (1 - shared) * temperature**2
    # Rounding gives close roots imaginary parts, and at low T it loses the roots ±T/√strength: a start of their own.
    starts = [root.real for root in balance.roots() if abs(root.imag) < 1e-6]
    starts += [temperature / math.sqrt(strength)] if strength > 0 else []
    found = [min(root, 1.0) for root in (_newton(balance, start) for start in starts) if 0 < root < 1 + 1e-9]
    if shared and mixture_at(mixture, 0.0, 2) <= temperature**2:  # q = 0 is a minimum, not a maximum
        found.append(1.0)
    inside = torch.tensor(found or [1.0], dtype=torch.float64)  # none: a field lost in the rounding, at T_c
    values = _symmetric_functional(inside, inside.new_tensor(temperature), inside.new_tensor(field), mixture)
    return inside[values.argmin()].item()


def _newton(function: Polynomial, root: float) -> float:
    """The root next to a start; NaN where the steps do not end: at a double root, where ln Z/N has no minimum."""
    derivative = function.deriv()
    for _ in range(60):
        step = function(root) / derivative(root) if derivative(root) else 0.0
        root = root - step
        if abs(step) <= 1e-9 * abs(root):  # squared by this last step: at the rounding
            return float(root)
    return math.nan


def _require_positive(name: str, value: Tensor) -> None:
    if not ((value > 0) & value.isfinite()).all():
        raise ValueError(f"{name}: want finite numbers > 0, got {value.tolist()}")
