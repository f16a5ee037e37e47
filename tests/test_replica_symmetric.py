"""The replica-symmetric saddle: its equation, limits, thermodynamics, where it is stable, and every error."""

import math

import pytest
import torch

from latentlib import kac_rice
from latentlib.pspin import mixture_at
from latentlib.replica_symmetric import (
    rs_free_energy, rs_overlap, rs_stability, rs_susceptibility, ssk_log_partition,
)  # fmt: skip

SSK = {2: 0.5}  # J = 1
MIXTURES = [SSK, {3: 1.0}, {1: 0.3, 2: 0.5, 4: 1.0}, {6: 2.0}]


@pytest.mark.parametrize("mixture", MIXTURES, ids=str)
@pytest.mark.parametrize("temperature", [1e-3, 0.2, 0.9, 1.5, 7.0])
@pytest.mark.parametrize("field", [0.1, 1.0, 20.0])
def test_rs_overlap_solves_its_equation(mixture, temperature, field):
    q = rs_overlap(mixture, temperature, field)
    assert 0 < q < 1
    balance = (1 - q) ** 2 * (mixture_at(mixture, q, 1) + field**2) - q * temperature**2
    # 1 − q is known to 1e-16 alone: the equation, quadratic in it, to that times its slope.
    slope = 2 * (1 - q) * (mixture_at(mixture, 1.0, 1) + field**2) + temperature**2
    assert abs(balance) <= 1e-14 * slope


@pytest.mark.parametrize("mixture", MIXTURES, ids=str)
def test_rs_free_energy_is_the_least_over_q(mixture):
    q = torch.linspace(0, 0.9999, 20_001, dtype=torch.float64)
    for temperature, field in ((0.3, 0.0), (0.5, 0.4), (0.9, 0.05), (2.0, 1.0)):
        gained = mixture_at(mixture, 1.0) - mixture_at(mixture, q) + field**2 * (1 - q)
        curve = 0.5 * ((1 - q).log() + q / (1 - q) + gained / temperature**2)
        least, at = curve.min(0)
        found = rs_free_energy(mixture, temperature, field)
        # Between nodes 5e-5 apart the curve falls by curvature/8·(5e-5)²; its curvature at the minimum stays under 1e4.
        assert least.item() - 4e-6 <= found <= least.item() + 1e-12
        assert rs_overlap(mixture, temperature, field) == pytest.approx(q[at].item(), abs=5e-3)


def test_rs_overlap_of_the_ssk_without_field_is_edwards_anderson():
    for temperature in (0.05, 0.3, 0.5, 0.9):
        assert rs_overlap({2: 2.0}, 2 * temperature) == pytest.approx(1 - temperature, abs=1e-12)  # J = 2
    assert rs_overlap(SSK, 1 - 1e-6) == pytest.approx(1e-6, abs=1e-15)
    assert rs_overlap(SSK, 1.0) == rs_overlap(SSK, 1.5) == rs_overlap({3: 1.0}, 1.0) == 0


def test_rs_overlap_in_a_field_below_rounding_is_that_without():
    assert rs_overlap(SSK, 2.0, 1e-9) == pytest.approx(0, abs=1e-15)  # h²/(T² − J²)
    assert rs_overlap(SSK, 1.0, 1e-9) == pytest.approx((1e-18 / 2) ** (1 / 3), abs=1e-6)
    assert rs_overlap(SSK, 0.5, 1e-9) == pytest.approx(0.5, abs=1e-12)


def test_rs_overlap_at_zero_temperature_is_one():
    assert rs_overlap(SSK, 0.0) == 1 == rs_overlap({}, 0, 0.3)
    # Near it 1 − q = T/√(ξ′(1) + h²): the next order is T², and below 1e-8 the rounding of q.
    for temperature in (1e-4, 1e-6, 1e-9):
        distance = 1 - rs_overlap({3: 1.0}, temperature, 2.0)
        assert distance == pytest.approx(temperature / math.sqrt(7), rel=1e-3, abs=1e-15)


def test_rs_free_energy_goes_to_the_ground_state_of_a_trivial_landscape():
    # E_min/N = −√(ξ′(1) + h²) past the threshold of trivialization. T ln Z/N = −E_min/N + (T/2)(ln T + const).
    field = 1.5 * kac_rice.critical_field(3)
    for temperature in (1e-3, 1e-5, 1e-9):
        value = temperature * rs_free_energy({3: 1.0}, temperature, field)
        assert value == pytest.approx(math.sqrt(3 + field**2), abs=-2 * temperature * math.log(temperature))


def test_rs_free_energy_of_the_ssk_is_its_closed_form():
    for temperature in (0.1, 0.5, 0.99, 1.0, 1.01, 3.0):
        for coupling in (0.5, 2.0):
            found = rs_free_energy({2: coupling**2 / 2}, temperature * coupling)
            assert found == pytest.approx(ssk_log_partition(temperature * coupling, coupling), abs=1e-12)


def test_ssk_log_partition_is_continuous_with_its_slope():
    assert ssk_log_partition(1.0) == 0.25 == ssk_log_partition(2.0, 2)
    below, above = ssk_log_partition(1 - 1e-6), ssk_log_partition(1 + 1e-6)
    # Both slopes are −½ at T = J, so the kink of the differences is of second order.
    assert (above - below) / 2e-6 == pytest.approx(-0.5, abs=1e-5) and above + below == pytest.approx(0.5, abs=1e-11)


def test_rs_free_energy_responds_to_the_field_by_the_alignment():
    # ∂(ln Z/N)/∂h = h(1−q)/T², the mean magnetization over T, also through the minimum.
    for mixture in MIXTURES:
        q, step = rs_overlap(mixture, 0.8, 0.7), 1e-5
        slope = (rs_free_energy(mixture, 0.8, 0.7 + step) - rs_free_energy(mixture, 0.8, 0.7 - step)) / (2 * step)
        assert slope == pytest.approx(0.7 * (1 - q) / 0.64, abs=1e-8)


def test_rs_stability_is_marginal_in_the_ssk_glass_alone():
    for temperature in (0.2, 0.7):
        assert rs_stability(SSK, temperature) == pytest.approx(0, abs=1e-12)
        assert rs_stability(SSK, temperature, 0.1) > 1e-3
    assert rs_stability(SSK, 2.0) == pytest.approx(0.75, abs=1e-14)
    assert rs_stability({3: 1.0}, 0.1) < 0 < rs_stability({3: 1.0}, 1.0)
    # At T → 0 the line of stability is the threshold of trivialization, ξ″(1) = ξ′(1) + h².
    field = kac_rice.critical_field(3)
    assert rs_stability({3: 1.0}, 1e-3, 0.9 * field) < 0 < rs_stability({3: 1.0}, 1e-3, 1.1 * field)


def test_rs_susceptibility_is_one_over_the_replicon_and_blind_to_p_three():
    assert rs_susceptibility(SSK, 2.0) == pytest.approx(4 / 3, abs=1e-14)
    assert rs_susceptibility(SSK, 1.5) == pytest.approx(1 / rs_stability(SSK, 1.5), rel=1e-12)
    assert rs_susceptibility({3: 1.0}, 0.01) == 1 == rs_susceptibility({}, 1)


def test_rs_closed_forms_take_tensors_that_broadcast():
    temperature, field = torch.tensor([[0.5], [2.0]]), torch.tensor([0.1, 0.0, 3.0])
    for function in (rs_overlap, rs_free_energy, rs_stability):
        found = function({3: 1.0}, temperature, field)
        assert found.shape == (2, 3) and found.dtype == torch.float32
        expected = [[function({3: 1.0}, t, b) for b in field.tolist()] for t in (0.5, 2.0)]
        assert torch.allclose(found.double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-6)
        assert isinstance(function({3: 1.0}, 0.5), float)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rs_overlap(SSK, -0.1), "temperature >= 0"),
        (lambda: rs_overlap({}, 0.0), "not both 0 without couplings"),
        (lambda: rs_overlap(SSK, math.nan), "got temperature nan"),
        (lambda: rs_overlap(SSK, 1.0, math.inf), "field inf"),
        (lambda: rs_overlap({0: 1.0}, 1.0), "whole orders p >= 1"),
        (lambda: rs_free_energy(SSK, 0.0), "temperature: want finite numbers > 0, got 0.0"),
        (lambda: rs_stability(SSK, 0.0), "temperature: want finite numbers > 0"),
        (lambda: ssk_log_partition(0.0), "temperature: want finite numbers > 0"),
        (lambda: ssk_log_partition(1.0, -1.0), "coupling: want finite numbers > 0"),
        (lambda: rs_susceptibility(SSK, 1.0), "want no p = 1 and temperature > 1"),
        (lambda: rs_susceptibility({1: 0.1}, 3.0), "want no p = 1"),
        (lambda: rs_susceptibility({3: 1.0}, 0.0), "temperature > 0, got"),
    ],
)
def test_replica_symmetric_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
