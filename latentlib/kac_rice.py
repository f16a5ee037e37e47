"""Critical points of the spherical p-spin: energies, complexity, temperatures in closed form; mean counts by Kac–Rice.

H on the sphere |s|² = N has covariance E HH′ = N ξ(q), ξ(q) = Σ_p c_p q^p, q = s·s′/N. One convention throughout: pure
p means ξ = q^p. For ξ = c·q^p energies, fields and temperatures are √c times as large: ξ = q^p/2 of the physics
literature has them divided by √2. Energies are per spin.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from numbers import Integral

import torch
from scipy.optimize import brentq
from torch import Tensor

from latentlib._closed_form import closed_form
from latentlib._goe import MAX_SIZE_LARGEST, goe_density, goe_largest_density
from latentlib._mean_counts import log_mean_count
from latentlib._mixture import check_mixture


@closed_form
def threshold_energy(p: Tensor | float) -> Tensor | float:
    """Threshold energy E_∞ = 2√((p−1)/p): above −E_∞ almost every critical point of the pure p-spin is a saddle.

    Minima dominate below it, and descents from a random start stop near it. p = 3: 1.632993 (1.154701 for ξ = q^p/2).
    Source: Auffinger, Ben Arous, Černý 2013. Args: p, whole numbers ≥ 2. Raises: ValueError for another p.
    """
    _check_order(p, 2)
    return _threshold(p)


@closed_form
def ground_state_energy(p: Tensor | float) -> Tensor | float:
    """Ground-state energy E_0 = (1 + y/p)√(p/(1+y)), with (1+y)ln(1+y)/y² − 1/y = 1/p: min H/N → −E_0.

    Equally the zero of the complexity of minima, Σ_0(−E_0) = 0. p = 3: 1.656998 (1.171675 for ξ = q^p/2); p = 1 and 2,
    where y = 0: 1 and √2. Source: Crisanti, Sommers 1992. Args: p, whole numbers ≥ 1. Raises: ValueError for another p.
    """
    _check_order(p, 1)
    y = _elementwise(_breaking_parameter, p)
    return (1 + y / p) * (p / (1 + y)).sqrt()


@closed_form
def complexity(p: Tensor | float, u: Tensor | float) -> Tensor | float:
    """Complexity Σ(u) = lim ln E N_crit(H ≤ Nu)/N of the pure p-spin without a field, critical points of every index.

    ½ln(p−1) − (p−2)u²/(4(p−1)) − I₁(u) up to u = 0 (I₁ = 0 above −E_∞), then constant. In nats a spin; negative below
    −E_0: no such points. Source: Auffinger, Ben Arous, Černý 2013.
    Args: p, whole numbers ≥ 2; u, energies per spin. They broadcast. Raises: ValueError for another p, or u = NaN.
    """
    _check_order(p, 2)
    _check_energy(u)
    return _parabola(p, u.clamp(max=0)) - _rate(p, u)


@closed_form
def index_complexity(p: Tensor | float, u: Tensor | float, index: Tensor | float) -> Tensor | float:
    """Complexity Σ_k(u) = ½ln(p−1) − (p−2)u²/(4(p−1)) − (k+1)I₁(u) of critical points of one index k, u ≤ −E_∞.

    Counts H ≤ Nu, so it stays at ½ln(p−1) − (p−2)/p above −E_∞. Minima are k = 0: Σ_0(−E_0) = 0. In nats a spin.
    Args: p, whole numbers ≥ 2; u, energies per spin; index k, whole numbers ≥ 0. They broadcast.
    Raises: ValueError for another p or index, or u = NaN.
    """
    _check_order(p, 2)
    _check_energy(u)
    if not bool(((index >= 0) & (index == index.round())).all()):
        raise ValueError(f"index: want whole numbers >= 0, got {index.tolist()}")
    return _parabola(p, torch.minimum(u, -_threshold(p))) - (index + 1) * _rate(p, u)


@closed_form
def dynamical_temperature(p: Tensor | float) -> Tensor | float:
    """Dynamical temperature T_d = √(p (p−2)^{p−2}/(p−1)^{p−1}): below it Langevin dynamics no longer equilibrates.

    For ξ = q^p; at p = 3 it is .866025, and .612372 for ξ = q^p/2. p = 2 has one transition, T_d = T_s = √2.
    Source: Crisanti, Horner, Sommers 1993. Args: p, whole numbers ≥ 2. Raises: ValueError for another p.
    """
    _check_order(p, 2)
    return (p / (p - 1) * (1 - 1 / (p - 1)) ** (p - 2)).sqrt()


@closed_form
def static_temperature(p: Tensor | float) -> Tensor | float:
    """Static temperature T_s = √(py)(1−y)^{p/2−1} with 2/p = −2y(1−y+ln y)/(1−y)²: the glass transition.

    For ξ = q^p; at p = 3 it is .828805, and .586054 for ξ = q^p/2. p = 2: y = 1, T_s = √2.
    Source: Crisanti, Sommers 1992. Args: p, whole numbers ≥ 2. Raises: ValueError for another p.
    """
    q = static_overlap(p)
    return (p * (1 - q)).sqrt() * q ** (p / 2 - 1)


@closed_form
def static_overlap(p: Tensor | float) -> Tensor | float:
    """Overlap q_s = 1 − y of two replicas in one state at the static temperature: P(q) jumps there, for p ≥ 3.

    p = 3: .645007; p = 2: 0, no jump. Free of the convention. Args and errors: as `static_temperature`.
    """
    _check_order(p, 2)
    return 1 - _elementwise(_static_gap, p)


@closed_form
def critical_field(p: Tensor | float) -> Tensor | float:
    """Critical field h_c = √(p(p−2)) of the pure p-spin: above it two critical points are left, w.h.p. as N → ∞.

    `trivialization_field({p: 1})`. p = 1 and 2: 0 (p = 1 has two at every field; p = 2 crosses over at h ~ N^{−1/6}).
    Source: Belius, Černý, Nakajima, Schmidt 2022. Args: p, whole numbers ≥ 1. Raises: ValueError for another p.
    """
    _check_order(p, 1)
    return (p * (p - 2)).clamp_min(0).sqrt()


def trivialization_field(mixture: Mapping[int, float]) -> float:
    """Field at which the landscape becomes trivial, h² = max(ξ″(1) − ξ′(1), 0): above it two critical points are left.

    With high probability as N → ∞ at a fixed mixture, for a field h·u with |u|² = N or random with h² a site.
    Args: mixture {p: c_p ≥ 0} of ξ = Σ c_p q^p. Raises: ValueError (TypeError) if it is none, or all c_p = 0.
    """
    slope, curvature = _slopes(mixture)
    return math.sqrt(max(curvature - slope, 0.0))


def annealed_complexity(mixture: Mapping[int, float], field: Tensor | float = 0.0) -> Tensor | float:
    """Annealed complexity Σ = max(0, ½ln[ξ″(1)/(ξ′(1) + h²)]) = lim ln E N_crit/N in a Gaussian random field.

    In nats a spin, all energies and indices; 0 from `trivialization_field` on. Source: Fyodorov, arXiv:1307.2379.
    Args: mixture as there; field h, standard deviation a site, numbers or tensors. Raises: ValueError for a mixture or
    field that is none; TypeError for their types.
    """
    slope, curvature = _slopes(mixture)
    return _annealed(field, slope=slope, curvature=curvature)


def n_critical_points(
    mixture: Mapping[int, float], n_spins: int, field: Tensor | float = 0.0, *, random_field: bool = True
) -> Tensor | float:
    """Mean number of critical points E N_crit = 2√2 √(x₁/(x₁+x₂)) (x₂/x₁)^{N/2} ∫ρ_N(x) e^{−Bx²/2} dx at finite N.

    x₁ = ξ′(1) + h², x₂ = ξ″(1), B = (x₂−x₁)/(x₂+x₁), ρ_N the eigenvalue density of the GOE with weight e^{−tr M²/2}:
    exact for a Gaussian random field, independent of variance h² at every site. random_field=False counts in the field
    h·u of fixed direction, |u|² = N, by one more integral over the latitude. Maxima are as many as minima. Exactly 2N
    where B = 0; 2 for linear H. Relative error about 1e-12·(N/100)² by rounding; N = 300 takes some 10 ms, 50 ms
    without random_field. Source: Kac–Rice; Fyodorov, arXiv:1307.2379.
    Args: mixture {p: c_p ≥ 0}, p ≥ 1; n_spins N ≥ 1 (N = 1: the two points of the sphere); field h, a number or a
        tensor of strengths.
    Returns: as field, without gradient; inf above 1.8e308 (pure p = 3: N of about 2000).
    Raises: ValueError for a mixture, n_spins or field out of range, TypeError for their types.
    """
    slope, curvature = _slopes(mixture)
    _check_n_spins(n_spins)
    log_count = partial(log_mean_count, goe_density, n_spins, slope, curvature, random_field)
    return _count(field, log_count=log_count)


def n_minima(
    mixture: Mapping[int, float], n_spins: int, field: Tensor | float = 0.0, *, random_field: bool = True
) -> Tensor | float:
    """Mean number of minima E N_min at finite N: `n_critical_points` with the density of the largest GOE eigenvalue.

    All N−1 eigenvalues of the Hessian on one side, in place of any: ρ_N(x) becomes the density of λ_max. Equally the
    mean number of maxima. Exact as there; 2 where B = 0, 1 for linear H (2 at N = 1). Rounding: relative error 1e-12 at
    N = 20; at N = 300 1e-8 for p = 3, to 1e-5 for B near 1. N = 100 takes tenths of a second, N = 300 seconds.
    Source: Auffinger, Ben Arous, Černý 2013. Args and errors as there, and n_spins ≤ 400.
    """
    slope, curvature = _slopes(mixture)
    _check_n_spins(n_spins, most=MAX_SIZE_LARGEST)
    log_count = partial(log_mean_count, goe_largest_density, n_spins, slope, curvature, random_field)
    return _count(field, log_count=log_count)


def _threshold(p: Tensor) -> Tensor:
    return 2 * ((p - 1) / p).sqrt()


def _parabola(p: Tensor, u: Tensor) -> Tensor:
    return (p - 1).log() / 2 - (p - 2) * u.square() / (4 * (p - 1))


def _rate(p: Tensor, u: Tensor) -> Tensor:
    """I₁(u) = v√(v²−1) − arcosh v at v = −u/E_∞ > 1, else 0: the cost of one GOE eigenvalue beyond the edge."""
    outside = u < -_threshold(p)
    v = torch.where(outside, -u / _threshold(p), 2.0)  # where is not differentiable through arcosh 1
    return torch.where(outside, v * ((v - 1) * (v + 1)).sqrt() - v.arccosh(), 0.0)


def _breaking_parameter(p: float) -> float:
    """y of the ground state: zero without replica symmetry breaking, p ≤ 2."""
    if p <= 2:
        return 0.0
    return brentq(lambda y: ((1 + y) * math.log1p(y) / y - 1) / y - 1 / p, 0.5, p * p, xtol=1e-15)


def _static_gap(p: float) -> float:
    """y = 1 − q at the static temperature."""
    if p == 2:
        return 1.0
    return brentq(lambda y: -y * (1 - y + math.log(y)) / (1 - y) ** 2 - 1 / p, p**-2.0, 0.9, xtol=1e-15)


def _elementwise(function: Callable[[float], float], x: Tensor) -> Tensor:
    return x.new_tensor([function(value) for value in x.flatten().tolist()]).reshape(x.shape)


@closed_form
def _annealed(field: Tensor, *, slope: float, curvature: float) -> Tensor:
    _check_field(field)
    return ((curvature / (slope + field.square())).log() / 2).clamp_min(0)


@closed_form
def _count(field: Tensor, *, log_count: Callable[[float], float]) -> Tensor:
    _check_field(field)
    return _elementwise(log_count, field.double().abs()).exp().to(field.dtype)


def _slopes(mixture: Mapping[int, float]) -> tuple[float, float]:
    """ξ′(1) and ξ″(1) of a checked mixture."""
    weights = check_mixture(mixture)
    if not any(weights.values()):
        raise ValueError(f"mixture: want some c_p > 0, got {weights}")
    return sum(p * weight for p, weight in weights.items()), sum(p * (p - 1) * weight for p, weight in weights.items())


def _check_order(p: Tensor, least: int) -> None:
    if not bool(((p >= least) & (p == p.round()) & p.isfinite()).all()):
        raise ValueError(f"p: want whole numbers >= {least}, got {p.tolist()}")


def _check_n_spins(n_spins: int, most: float = math.inf) -> None:
    if not isinstance(n_spins, Integral) or isinstance(n_spins, bool):
        raise TypeError(f"n_spins: want a whole number, got {n_spins!r}")
    if not 1 <= n_spins <= most:
        raise ValueError(f"n_spins: want 1 <= n_spins <= {most}, got {n_spins}")


def _check_field(field: Tensor) -> None:
    if not bool(field.isfinite().all()):
        raise ValueError(f"field: want finite values, got {field.tolist()}")


def _check_energy(u: Tensor) -> None:
    if bool(u.isnan().any()):
        raise ValueError("u: want energies per spin, got NaN")
