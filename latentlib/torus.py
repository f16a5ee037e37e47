"""Exact Ising model on a finite square torus, size × size sites: Kaufman's formula, transfer matrix, enumeration.

Energy −Σ_bonds s s′ − field·Σ s, two bonds a site, so that the neighbours of a torus of size 2 are bound twice and the
site of size 1 twice to itself. N sites, K = 1/temperature. Temperature and field are numbers (float64, result a float)
or floating tensors that broadcast; temperature 0 gives the exact limit where there is one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from latentlib._closed_form import closed_form
from latentlib.transfer_matrix import (
    _all_spins, _checked_field, _checked_size, log_partition_transfer, magnetization_law, magnetization_transfer,
    susceptibility_transfer,
)

__all__ = [
    "DensityOfStates", "TorusMoments", "energy_torus", "enumerate_torus", "log_partition_enumerated",
    "log_partition_torus", "log_partition_transfer", "magnetization_law", "magnetization_transfer",
    "susceptibility_transfer", "torus_moments",
]

ENUMERATION_SIZE = 4  # 2^16 states; size 5 has 2^25, and the transfer matrix does it in less


def log_partition_torus(temperature: Tensor | float, size: int) -> Tensor | float:
    """Log partition function of the torus at zero field, Z = ½(2 sinh 2K)^{N/2}·(sum of four products).

    The products run over r = 0..size−1: Π 2cosh(size·γ/2) and Π 2sinh(size·γ/2) over γ_{2r+1}, then over γ_{2r};
    cosh γ_l = sinh 2K + 1/sinh 2K − cos(πl/size), γ_0 = 2K + ln tanh K with its sign. In logarithms: no overflow at any
    size, relative error 1e-14. Not per site: N ln 2 at infinite temperature, ∞ at 0. Source: Kaufman 1949.
    Returns: the shape of temperature. Raises: ValueError for a negative or NaN temperature, or a size that is no
    positive integer; TypeError for a temperature that is no number.
    """
    return _log_partition(temperature, size=_checked_size(size))


def energy_torus(temperature: Tensor | float, size: int) -> Tensor | float:
    """Energy per site of the torus at zero field, u = −∂(ln Z)/∂K/N, the exact derivative of Kaufman's formula.

    −2 at temperature 0, 0 at infinity. Absolute error near 1e-16·(1 + temperature): ln Z is flat at high temperature.
    Args, shapes and errors: as `log_partition_torus`.
    """
    return _energy(temperature, size=_checked_size(size))


@closed_form
def _log_partition(temperature: Tensor, *, size: int) -> Tensor:
    return _kaufman(_log_sinh(_inverse(temperature)), size).to(temperature.dtype)


@closed_form
def _energy(temperature: Tensor, *, size: int) -> Tensor:
    inv_temp = _inverse(temperature)
    slope = torch.func.grad(lambda log_sinh: _kaufman(log_sinh, size).sum())(_log_sinh(inv_temp))
    per_inv_temp = torch.where(inv_temp > 0, 2 / torch.tanh(2 * inv_temp), 0.0)  # ∂(ln sinh 2K)/∂K; at K = 0, u is 0
    return (-slope * per_inv_temp / size**2).to(temperature.dtype)


def _log_sinh(inv_temp: Tensor) -> Tensor:
    """ln sinh 2K, 0 at the critical temperature, its sign that of the order."""
    return 2 * inv_temp + torch.log(-torch.expm1(-4 * inv_temp)) - math.log(2)


def _kaufman(log_sinh: Tensor, size: int) -> Tensor:
    """ln Z from a = ln sinh 2K.

    cosh γ_l − 1 = 4 sinh²(a/2) + 2 sin²(πl/2size), so sinh²(γ_l/2) = 2 sinh²(a/2) + sin²(πl/2size): nothing cancels
    near the critical temperature. Past |a| = 40, γ_l − |a| is constant to 4e-18. Taking (size/2)|a| out of every
    product leaves N·max(a, 0), which is finite at high temperature, where (2 sinh 2K)^{N/2} vanishes.
    """
    near = log_sinh.clamp(-40, 40)
    half_sinh = math.sqrt(2) * torch.sinh(near / 2)
    mode = torch.arange(1, 2 * size, dtype=torch.float64, device=log_sinh.device)
    sine = torch.sin(math.pi / (2 * size) * mode)
    gamma = torch.cat([half_sinh[..., None], (half_sinh[..., None] ** 2 + sine**2).sqrt()], -1)
    gamma = 2 * torch.asinh(gamma)  # γ_0, with its sign, to γ_{2size−1}
    log_cosh = size / 2 * (gamma.abs() - near.abs()[..., None]) + torch.log1p(torch.exp(-size * gamma.abs()))
    tanh = torch.tanh(size / 2 * gamma)
    odd, even = log_cosh[..., 1::2].sum(-1), log_cosh[..., ::2].sum(-1)
    largest = torch.maximum(odd, even).detach()
    total = (odd - largest).exp() * (1 + tanh[..., 1::2].prod(-1))
    total = total + (even - largest).exp() * (1 + tanh[..., ::2].prod(-1))
    ground = (near + near.abs()) / 2 + (log_sinh - near).clamp(min=0)  # max(a, 0), slope ½ at 0 as |near| has it
    return size**2 * (ground + math.log(2) / 2) + largest + total.log() - math.log(2)


@dataclass(frozen=True)
class DensityOfStates:
    """Number of spin configurations at each pair of bond energy and magnetization, summed over sites: exhaustive.

    energy, −Σ_bonds s s′; magnetization, Σ s; count; all (n_levels,) int64; the counts add up to 2^(size²).
    """

    size: int
    energy: Tensor
    magnetization: Tensor
    count: Tensor


def enumerate_torus(size: int) -> DensityOfStates:
    """Density of states g(E, M) of the torus, by counting all 2^(size²) configurations.

    Raises: ValueError for a size that is not from 1 to 4.
    """
    return _enumerate(_checked_size(size, ENUMERATION_SIZE, "enumeration"))


@lru_cache(maxsize=ENUMERATION_SIZE)
def _enumerate(size: int) -> DensityOfStates:
    n_sites = size * size
    spins = _all_spins(n_sites).view(-1, size, size)
    energy = -(spins * (spins.roll(1, 1) + spins.roll(1, 2))).sum((1, 2))
    levels, count = torch.stack([energy, spins.sum((1, 2))]).unique(dim=1, return_counts=True)
    return DensityOfStates(size, levels[0], levels[1], count)


def log_partition_enumerated(temperature: Tensor | float, field: Tensor | float, size: int) -> Tensor | float:
    """Log partition function with a field, ln Z = ln Σ g(E, M) e^{−(E − field·M)/temperature}: exhaustive, size ≤ 4.

    Shapes: temperature and field broadcast; float if both are numbers. Raises: ValueError for a negative or NaN
    temperature, a field that is not finite, or the size; TypeError for what is no number.
    """
    return _enumerated(temperature, field, states=enumerate_torus(size))


@closed_form
def _enumerated(temperature: Tensor, field: Tensor, *, states: DensityOfStates) -> Tensor:
    inv_temp, field = _inverse(temperature), _checked_field(field)
    ground, excess = _levels(field, states)
    count = states.count.to(excess)
    return (-ground * inv_temp + _weights(excess, inv_temp, count).sum(-1).log()).to(temperature.dtype)


def _levels(field: Tensor, states: DensityOfStates) -> tuple[Tensor, Tensor]:
    """Lowest total energy E − field·M, and what every level has above it."""
    energy = states.energy.to(field) - field[..., None] * states.magnetization.to(field)
    ground = energy.amin(-1)
    return ground, energy - ground[..., None]


def _weights(excess: Tensor, inv_temp: Tensor, count: Tensor) -> Tensor:
    """Boltzmann weights; at temperature 0 the ground states alone."""
    return count * torch.where(excess > 0, torch.exp(-excess * inv_temp[..., None]), 1.0)


@dataclass(frozen=True)
class TorusMoments:
    """Exact means over the Gibbs measure of a torus; m = Σ s/N. Each a float, or a tensor of the points' shape."""

    energy: Tensor | float  # per site, field included: ⟨E − field·M⟩/N
    magnetization: Tensor | float  # ⟨m⟩
    magnetization_abs: Tensor | float  # ⟨|m|⟩
    magnetization_square: Tensor | float  # ⟨m²⟩
    magnetization_fourth: Tensor | float  # ⟨m⁴⟩


def torus_moments(temperature: Tensor | float, field: Tensor | float, size: int) -> TorusMoments:
    """Moments of the torus, ⟨A⟩ = Σ A g(E, M) e^{−(E − field·M)/temperature}/Z: exhaustive, size ≤ 4.

    At temperature 0 the mean over ground states. Shapes and errors: as `log_partition_enumerated`.
    """
    states = enumerate_torus(size)
    powers = {"magnetization": lambda m: m, "magnetization_abs": lambda m: m.abs()}
    powers |= {"magnetization_square": lambda m: m**2, "magnetization_fourth": lambda m: m**4}
    means = {name: _mean(temperature, field, states=states, power=power) for name, power in powers.items()}
    return TorusMoments(_mean(temperature, field, states=states, power=None), **means)


@closed_form
def _mean(temperature: Tensor, field: Tensor, *, states: DensityOfStates, power: Callable | None) -> Tensor:
    """⟨power(m)⟩, or of the total energy per site where power is None."""
    inv_temp, field = _inverse(temperature), _checked_field(field)
    ground, excess = _levels(field, states)
    weight = _weights(excess, inv_temp, states.count.to(excess))
    m = states.magnetization.to(excess) / states.size**2
    values = (excess + ground[..., None]) / states.size**2 if power is None else power(m)
    return ((weight * values).sum(-1) / weight.sum(-1)).to(temperature.dtype)


def _inverse(temperature: Tensor) -> Tensor:
    if not (temperature >= 0).all():
        raise ValueError(f"temperature: want 0 or more, got {temperature[~(temperature >= 0)][0].item()}")
    return 1 / temperature.double()
