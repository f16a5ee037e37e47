"""Infinite Ising lattice: tabled values, limits, duality, Onsager's own formula, and every error."""

import math

import pytest
import torch
from latentlib import onsager
from scipy.special import ellipk, ellipkm1

CATALAN = 0.915965594177219015
TEMPERATURES = [0.3, 1.0, 2.0, 2.26, 2.2691853, onsager.critical_temperature, 2.2691854, 2.28, 2.5, 3.0, 20.0]
FUNCTIONS = [onsager.log_partition_exact, onsager.energy_exact, onsager.magnetization_exact]


@pytest.mark.parametrize(
    "temperature, log_partition, energy, magnetization",
    [
        (2.0, 1.0257928127, -1.7455645753, 0.9113194),
        (2.5, 0.8793638208, -1.1060792037, 0),
        (3.0, 0.8158827319, -0.8173095925, 0),
    ],
)
def test_exact_values_are_the_table(temperature, log_partition, energy, magnetization):
    """Printed digits, so half a unit of the last."""
    assert abs(onsager.log_partition_exact(temperature) - log_partition) <= 5.1e-11
    assert abs(onsager.energy_exact(temperature) - energy) <= 5.1e-11
    assert abs(onsager.magnetization_exact(temperature) - magnetization) <= 5.1e-8


def test_exact_values_at_the_critical_temperature():
    at = onsager.critical_temperature
    assert abs(math.sinh(2 / at) - 1) <= 1e-15
    assert abs(onsager.log_partition_exact(at) - (math.log(2) / 2 + 2 * CATALAN / math.pi)) <= 1e-13
    assert abs(onsager.energy_exact(at) + math.sqrt(2)) <= 1e-13
    assert onsager.magnetization_exact(at) == 0


def test_exact_values_have_their_limits():
    assert [of(0) for of in FUNCTIONS] == [math.inf, -2, 1]
    assert [of(math.inf) for of in FUNCTIONS] == [math.log(2), 0, 0]
    cold, hot = 0.01, 1e8
    assert onsager.log_partition_exact(cold) == pytest.approx(2 / cold, rel=1e-15)  # two bonds a site, all satisfied
    assert onsager.energy_exact(hot) == pytest.approx(-2 / hot, rel=1e-13)  # −2 tanh K to first order


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_energy_exact_is_onsagers_formula(temperature):
    """−coth 2K [1 + (2/π)(2 tanh² 2K − 1) K_ell], near k = 1 from 1 − k² = (2 tanh² 2K − 1)²."""
    tanh = math.tanh(2 / temperature)
    modulus = 2 * tanh**2 - 1
    elliptic = ellipkm1(modulus**2) if modulus**2 < 0.5 else ellipk(4 * tanh**2 * (1 - tanh**2))
    # At the critical point the product has the limit 0, and the library's K_ell(1) is infinite.
    bracket = 1 + 2 / math.pi * modulus * elliptic if math.isfinite(elliptic) else 1
    # The formula itself loses 2K in its cancellation at high temperature.
    assert abs(onsager.energy_exact(temperature) + bracket / tanh) <= 1e-14 * max(1, temperature)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_energy_exact_is_the_derivative_of_log_partition_exact(temperature):
    """u = −∂(ln Z/N)/∂K = T²·∂(ln Z/N)/∂T, by automatic differentiation: rounding of 300 terms."""
    at = torch.tensor(temperature, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(onsager.log_partition_exact(at), at)
    assert abs(slope.item() * temperature**2 - onsager.energy_exact(temperature)) <= 1e-13 * max(1, temperature)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_log_partition_exact_is_dual(temperature):
    """Kramers–Wannier: sinh 2K·sinh 2K* = 1 and ln Z(K)/N − ½ ln sinh 2K is the same at K and K*, so also near T_c."""
    sinh = math.sinh(2 / temperature)
    dual = 2 / math.asinh(1 / sinh)
    sides = [onsager.log_partition_exact(t) - math.log(math.sinh(2 / t)) / 2 for t in (temperature, dual)]
    assert abs(sides[0] - sides[1]) <= 1e-13 * max(1, 2 / temperature)


def test_magnetization_exact_is_the_low_temperature_series():
    """M = 1 − 2x⁴ − 8x⁶ − 34x⁸ − O(x¹⁰), x = e^{−2K}: the next coefficient is 152."""
    for temperature in (0.5, 0.8, 1.0):
        x = math.exp(-2 / temperature)
        series = 1 - 2 * x**4 - 8 * x**6 - 34 * x**8
        assert abs(onsager.magnetization_exact(temperature) - series) <= 200 * x**10 + 1e-15


def test_magnetization_exact_vanishes_with_exponent_one_eighth():
    low, lower = (onsager.magnetization_exact(onsager.critical_temperature * (1 - gap)) for gap in (1e-6, 1e-8))
    assert math.log(low / lower) / math.log(100) == pytest.approx(1 / 8, abs=1e-6)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_exact_values_keep_shape_and_dtype(function):
    temperature = torch.tensor([[1.0, 2.0], [onsager.critical_temperature, 3.0]], dtype=torch.float64)
    values = function(temperature)
    assert values.shape == (2, 2) and values.dtype == torch.float64
    assert values.flatten().tolist() == [function(number) for number in temperature.flatten().tolist()]
    assert function(temperature.float()).dtype == torch.float32
    assert isinstance(function(2), float)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_exact_values_refuse(function):
    for bad in (-1.0, math.nan, torch.tensor([1.0, -2.0])):
        with pytest.raises(ValueError, match="temperature: want 0 or more, got"):
            function(bad)
    with pytest.raises(TypeError, match="want numbers or floating-point tensors"):
        function("cold")
