"""Ising torus: Kaufman, enumeration and transfer matrix against each other, their limits, and every error."""

import math

import pytest
import torch
from latentlib import onsager, torus

CRITICAL = onsager.critical_temperature
TEMPERATURES = [0.3, 1.0, 2.0, CRITICAL, 2.5, 5.0, 100.0]


@pytest.mark.parametrize("inv_temp, log_partition", [(0.4, 14.561093023844), (0.5, 17.105367118732)])
def test_log_partition_torus_is_the_enumeration(inv_temp, log_partition):
    assert abs(torus.log_partition_torus(1 / inv_temp, 4) - log_partition) <= 1e-12
    assert abs(torus.log_partition_enumerated(1 / inv_temp, 0, 4) - log_partition) <= 1e-12


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_log_partition_torus_is_the_enumeration(size):
    """Sums of positive terms: rounding alone, 1e-14 of ln Z."""
    temperature = torch.tensor(TEMPERATURES, dtype=torch.float64)
    enumerated = torus.log_partition_enumerated(temperature, 0.0, size)
    assert ((torus.log_partition_torus(temperature, size) - enumerated).abs() <= 1e-14 * enumerated.abs() + 1e-14).all()


@pytest.mark.parametrize("size", [5, 6, 7, 8])
def test_log_partition_torus_is_the_transfer_matrix(size):
    temperature = torch.tensor(TEMPERATURES, dtype=torch.float64)
    transfer = torus.log_partition_transfer(temperature, 0.0, size)
    assert ((torus.log_partition_torus(temperature, size) - transfer).abs() <= 1e-13 * transfer).all()


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_energy_torus_is_the_enumerated_mean(size):
    for temperature in TEMPERATURES:
        mean = torus.torus_moments(temperature, 0, size).energy
        assert abs(torus.energy_torus(temperature, size) - mean) <= 1e-15 * (4 + temperature)


@pytest.mark.parametrize("size", [1, 9, 64, 1000])
def test_energy_torus_is_the_derivative(size):
    """Central difference of ln Z/N in K: rounding 1e-15/step, and step²/6 times a third derivative.

    That is below 10 off the critical point, where it grows as the size.
    """
    for temperature in (1.0, CRITICAL, 4.0):
        inv_temp, step = 1 / temperature, 1e-5
        log_partition = [torus.log_partition_torus(1 / (inv_temp + sign * step), size) for sign in (1, -1)]
        slope = (log_partition[0] - log_partition[1]) / (2 * step) / size**2
        third = 10 * size if temperature == CRITICAL else 10
        assert abs(torus.energy_torus(temperature, size) + slope) <= step**2 / 6 * third + 5e-10


@pytest.mark.parametrize("size", [200, 1000])
def test_log_partition_torus_is_the_infinite_lattice_and_its_ground_states(size):
    """Off the critical point the excess over N sites is ln(number of phases), to e^{−size/correlation length}."""
    rounding = 1e-14 * size**2
    for temperature, phases in ((1.0, 2), (2.0, 2), (3.0, 1), (6.0, 1)):
        excess = torus.log_partition_torus(temperature, size) - size**2 * onsager.log_partition_exact(temperature)
        assert abs(excess - math.log(phases)) <= rounding
        assert abs(torus.energy_torus(temperature, size) - onsager.energy_exact(temperature)) <= 1e-13


def test_log_partition_torus_at_the_critical_point_is_universal():
    """ln Z − N·(ln Z/N)_∞ → ln[(θ_2 + θ_3 + θ_4)/(2η)] at the nome e^{−π} of the square, with corrections 1/N."""
    nome = math.exp(-math.pi)
    theta_2 = 2 * sum(nome ** ((n + 0.5) ** 2) for n in range(10))
    theta_3, theta_4 = (1 + 2 * sum(sign**n * nome ** (n * n) for n in range(1, 10)) for sign in (1, -1))
    eta = math.exp(-math.pi / 12) * math.prod(1 - math.exp(-2 * math.pi * n) for n in range(1, 20))
    limit = math.log((theta_2 + theta_3 + theta_4) / (2 * eta))
    gaps = []
    for size in (50, 100, 200):
        excess = torus.log_partition_torus(CRITICAL, size) - size**2 * onsager.log_partition_exact(CRITICAL)
        gaps.append(abs(excess - limit))
    assert gaps[0] <= 1 / 50**2 and gaps[1] <= gaps[0] / 3.5 and gaps[2] <= gaps[1] / 3.5


def test_energy_torus_is_smooth_through_the_critical_temperature():
    """∂(ln Z)/∂(ln sinh 2K)/N at exactly 0, where γ_0 changes sign, and 1e-9 beside: its slope is about ln size."""
    for size in (3, 16):
        slope = torch.func.grad(lambda log_sinh, size=size: torus._kaufman(log_sinh, size) / size**2)
        left, at, right = (slope(torch.tensor(x, dtype=torch.float64)) for x in (-1e-9, 0.0, 1e-9))
        assert abs(at - left) <= 1e-8 and abs(right - at) <= 1e-8


def test_torus_values_have_their_limits():
    for size in (1, 3, 16):
        n_sites = size * size
        assert torus.log_partition_torus(0, size) == math.inf and torus.energy_torus(0, size) == -2
        assert torus.log_partition_torus(math.inf, size) == pytest.approx(n_sites * math.log(2), rel=1e-14)
        assert torus.energy_torus(math.inf, size) == 0
        cold = 1e-4  # the two ground states alone
        assert torus.log_partition_torus(cold, size) == pytest.approx(2 * n_sites / cold + math.log(2), rel=1e-15)
    assert torus.log_partition_enumerated(0, 0.5, 3) == math.inf


def test_enumerate_torus_counts_every_configuration():
    for size in (1, 2, 3, 4):
        states = torus.enumerate_torus(size)
        n_sites = size * size
        assert states.count.sum() == 2**n_sites
        lowest = states.energy == -2 * n_sites
        assert states.count[lowest].tolist() == [1, 1]
        assert sorted(states.magnetization[lowest].tolist()) == [-n_sites, n_sites]
    first_excited = states.energy == -2 * n_sites + 8  # one spin turned costs four bonds
    assert states.count[first_excited].tolist() == [16, 16]


def test_torus_moments_at_zero_temperature_are_of_ground_states():
    free, up = torus.torus_moments(0, 0, 3), torus.torus_moments(0, 1e-3, 3)
    assert (free.energy, free.magnetization, free.magnetization_abs, free.magnetization_fourth) == (-2, 0, 1, 1)
    assert (up.magnetization, up.magnetization_square) == (1, 1) and up.energy == pytest.approx(-2.001, rel=1e-15)


def test_torus_functions_take_numbers_and_tensors():
    temperature = torch.tensor([2.0, 3.0])
    for function in (torus.log_partition_torus, torus.energy_torus):
        assert isinstance(function(2, 3), float)
        assert function(temperature, 3).dtype == torch.float32 and function(temperature, 3).shape == (2,)
    assert isinstance(torus.log_partition_enumerated(2, 0.1, 3), float)
    assert torus.log_partition_enumerated(temperature[:, None], torch.zeros(3), 3).shape == (2, 3)
    assert isinstance(torus.torus_moments(2, 0.1, 3).energy, float)


def test_torus_functions_refuse():
    for bad in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="size: want a positive integer"):
            torus.log_partition_torus(2.0, bad)
    with pytest.raises(ValueError, match="from 1 to 4 for enumeration, got 5"):
        torus.enumerate_torus(5)
    for function in (torus.log_partition_torus, torus.energy_torus):
        with pytest.raises(ValueError, match="temperature: want 0 or more, got -1"):
            function(-1.0, 4)
    with pytest.raises(ValueError, match="temperature: want 0 or more, got nan"):
        torus.torus_moments(math.nan, 0.0, 3)
    with pytest.raises(ValueError, match="field: want finite values, got nan"):
        torus.log_partition_enumerated(2.0, math.nan, 3)
    with pytest.raises(TypeError, match="want numbers or floating-point tensors"):
        torus.log_partition_torus("cold", 3)
