"""Finite laws: their moments in closed form, and what they refuse."""

import math

import pytest
import torch
from latentlib import finite_law
from latentlib.finite_law import FiniteLaw

# Sums of at most 20 terms of size K² ≤ 100: a few hundred roundings of 2e-16.
ROUNDING = 1e-13


def moment(law, order):
    return (law.weights @ law.points[:, 0] ** order).item()


@pytest.mark.parametrize("p", [0.01, 0.2, 0.4, 0.5, 0.9])
def test_bernoulli_moments_are_the_closed_form(p):
    law = finite_law.bernoulli(p)
    skew = (1 - 2 * p) / math.sqrt(p * (1 - p))
    assert [moment(law, n) for n in range(5)] == pytest.approx([1, 0, 1, skew, 1 + skew**2], rel=ROUNDING, abs=ROUNDING)
    assert law.weights[law.points[:, 0] > 0].item() == p


@pytest.mark.parametrize("kurtosis", [1.5, 3, 4.7, 10])
def test_three_point_moments_are_the_closed_form(kurtosis):
    law = finite_law.three_point(kurtosis)
    assert [moment(law, n) for n in range(5)] == pytest.approx([1, 0, 1, 0, kurtosis], rel=ROUNDING, abs=ROUNDING)


@pytest.mark.parametrize("n_points", [2, 3, 20])
def test_uniform_moments_are_the_closed_form(n_points):
    law = finite_law.uniform(n_points)
    kurtosis = 3 - 6 * (n_points**2 + 1) / (5 * (n_points**2 - 1))
    assert [moment(law, n) for n in range(5)] == pytest.approx([1, 0, 1, 0, kurtosis], rel=ROUNDING, abs=ROUNDING)
    spacing = law.points[:, 0].diff()
    assert len(law.points) == n_points and torch.allclose(spacing, spacing[0], rtol=ROUNDING)


def skewed():
    """Three values, mean 0, variance 1, skewness 0.75."""
    points = torch.tensor([[-1.0], [0.0], [2.0]], dtype=torch.float64)
    weights = torch.tensor([0.4, 0.4, 0.2], dtype=torch.float64)
    centred = points - weights @ points
    return FiniteLaw(centred / (weights @ centred.square()).sqrt(), weights)


@pytest.mark.parametrize("base", [finite_law.uniform(), finite_law.three_point(3), skewed()])
def test_parabola_covariance_and_curvature_are_the_closed_form(base):
    law = finite_law.parabola(0.3, base)
    assert (law.weights @ law.points).abs().max() <= ROUNDING
    target = torch.diag(torch.tensor([1, 0.3], dtype=torch.float64))
    assert torch.allclose(law.points.mT @ (law.weights[:, None] * law.points), target, atol=ROUNDING)
    excess = moment(base, 4) - 1 - moment(base, 3) ** 2
    coupling = law.weights @ (law.points[:, 1] * law.points[:, 0].square())  # γ_2, and G = γ_2²/(1 − c)
    assert coupling.item() ** 2 / 0.7 == pytest.approx(0.3 * excess / 0.7, rel=ROUNDING)


def test_parabola_default_base_has_its_curvature():
    law = finite_law.parabola(0.7)
    coupling = law.weights @ (law.points[:, 1] * law.points[:, 0].square())
    assert len(law.points) == 20 and coupling.item() ** 2 / 0.3 == pytest.approx(1.853, abs=5e-4)  # its three digits


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: finite_law.bernoulli(0.0), "0 < p < 1, got 0.0"),
        (lambda: finite_law.bernoulli(math.nan), "0 < p < 1, got nan"),
        (lambda: finite_law.three_point(1.0), "1 < kurtosis < ∞, got 1.0"),
        (lambda: finite_law.three_point(math.inf), "1 < kurtosis < ∞, got inf"),
        (lambda: finite_law.uniform(1), "integer ≥ 2, got 1"),
        (lambda: finite_law.uniform(True), "integer ≥ 2, got True"),
        (lambda: finite_law.uniform(2.5), "integer ≥ 2, got 2.5"),
        (lambda: finite_law.parabola(1.0), "0 < second_var < 1, got 1.0"),
        (lambda: finite_law.parabola(0.3, finite_law.bernoulli(0.3)), "three values or more"),
        (lambda: finite_law.parabola(0.3, finite_law.parabola(0.3)), r"base: want .* got \(20, 2\)"),
        (lambda: finite_law.parabola(0.3, FiniteLaw(torch.arange(3.0)[:, None], torch.ones(3) / 3)), "got mean 1.0"),
    ],
)
def test_laws_refuse_what_is_no_law(build, match):
    with pytest.raises(ValueError, match=match):
        build()
