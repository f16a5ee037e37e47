"""Transfer matrix of the Ising torus against enumeration and its own derivatives, and every error."""

import math

import pytest
import torch
from latentlib import onsager, torus
from latentlib.transfer_matrix import (
    log_partition_transfer, magnetization_law, magnetization_transfer, susceptibility_transfer,
)  # fmt: skip

DERIVATIVES = [log_partition_transfer, magnetization_transfer, susceptibility_transfer]
TEMPERATURES = [0.3, 1.0, 2.0, onsager.critical_temperature, 2.5, 5.0, 100.0]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_transfer_is_the_enumeration_in_a_field(size):
    temperature = torch.tensor(TEMPERATURES, dtype=torch.float64)[:, None]
    field = torch.tensor([0.0, 0.01, -0.3, 2.0], dtype=torch.float64)
    moments = torus.torus_moments(temperature, field, size)
    enumerated = torus.log_partition_enumerated(temperature, field, size)
    assert enumerated.shape == moments.magnetization.shape == (7, 4)
    difference = log_partition_transfer(temperature, field, size) - enumerated
    assert (difference.abs() <= 1e-14 * enumerated + 1e-14).all()
    assert (magnetization_transfer(temperature, field, size) - moments.magnetization).abs().max() <= 1e-14
    fluctuation = size**2 / temperature * (moments.magnetization_square - moments.magnetization**2)
    rounding = 1e-14 * size**2 / temperature
    assert ((susceptibility_transfer(temperature, field, size) - fluctuation).abs() <= rounding).all()


def test_susceptibility_transfer_is_the_response():
    """χ = ∂⟨m⟩/∂field by central differences: error step²·∂³m/6 ≤ step²·N³/T³, rounding 1e-15/step."""
    size, temperature, step = 6, 3.0, 1e-5
    for field in (0.0, 0.2):
        m = [magnetization_transfer(temperature, field + sign * step, size) for sign in (1, -1)]
        response = (m[0] - m[1]) / (2 * step)
        assert abs(susceptibility_transfer(temperature, field, size) - response) <= 2e-7
    assert abs(magnetization_transfer(temperature, 0, size)) <= 1e-15


def test_susceptibility_transfer_is_curies_law_when_hot():
    assert susceptibility_transfer(1e8, 0, 5) == pytest.approx(1e-8, rel=1e-7)  # 1 + 4/T to first order
    assert susceptibility_transfer(0.2, 0, 4) == pytest.approx(16 / 0.2, rel=1e-12)  # ±1 and nothing else


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_magnetization_law_is_the_enumeration(size):
    temperature = torch.tensor([1.0, 2.5, 7.0], dtype=torch.float64)
    states = torus.enumerate_torus(size)
    law = magnetization_law(temperature, size)
    assert law.shape == (3, size**2 + 1)
    weight = states.count * torch.exp(-(states.energy + 2 * size**2) / temperature[:, None])
    expected = torch.zeros_like(law).index_add(1, (states.magnetization + size**2) // 2, weight)
    assert (law - expected / expected.sum(1, keepdim=True)).abs().max() <= 1e-14
    assert torch.equal(magnetization_law(2.5, size), law[1])


@pytest.mark.parametrize("size", [5, 7])
def test_magnetization_law_has_the_moments_of_the_transfer_matrix(size):
    temperature, field, n_sites = 2.4, 0.05, size**2
    m = torch.arange(-n_sites, n_sites + 1, 2, dtype=torch.float64) / n_sites
    law = magnetization_law(temperature, size)
    assert abs(law.sum() - 1) <= 1e-14 and (law - law.flip(0)).abs().max() <= 1e-15
    variance = (law * m**2).sum()
    assert abs(n_sites / temperature * variance - susceptibility_transfer(temperature, 0, size)) <= 1e-12
    tilted = law * torch.exp(field / temperature * n_sites * m)
    mean = (tilted * m).sum() / tilted.sum()
    assert abs(mean - magnetization_transfer(temperature, field, size)) <= 1e-13


def test_transfer_matrix_takes_numbers_and_tensors():
    temperature = torch.tensor([2.0, 3.0])
    for function in DERIVATIVES:
        assert isinstance(function(2, 0.1, 3), float)
        assert function(temperature[:, None], torch.zeros(3), 3).shape == (2, 3)
    assert magnetization_law(temperature, 3).dtype == torch.float32
    assert magnetization_law(2, 3).dtype == torch.float64


def test_transfer_matrix_refuses():
    with pytest.raises(ValueError, match="from 1 to 10 for the transfer matrix, got 11"):
        log_partition_transfer(2.0, 0.0, 11)
    with pytest.raises(ValueError, match="from 1 to 8 for the magnetization law, got 9"):
        magnetization_law(2.0, 9)
    for function in DERIVATIVES:
        for bad in (0.0, -2.0, math.inf):
            with pytest.raises(ValueError, match="temperature: want positive and finite"):
                function(bad, 0.0, 3)
        with pytest.raises(ValueError, match="field: want finite values, got inf"):
            function(2.0, math.inf, 3)
    with pytest.raises(ValueError, match="temperature: want positive and finite"):
        magnetization_law(0.0, 3)
    for bad in ("cold", True, torch.tensor(2)):
        with pytest.raises(TypeError, match="want a number or a floating-point tensor"):
            magnetization_law(bad, 3)
