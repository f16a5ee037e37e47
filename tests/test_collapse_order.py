"""Predicted order of collapse: every family of the table, samples of them, and what is not decided."""

import math

import pytest
import torch

from latentlib.collapse_order import predict_order
from latentlib.finite_law import bernoulli, parabola, three_point, uniform

F64 = torch.float64
CURVED = three_point(3.0)

TABLE = [
    (uniform(), {}, "continuous", "1 − G"),
    (bernoulli(0.5), {}, "continuous", "1 − G"),
    (three_point(2.0), {}, "continuous", "1 − G"),
    (three_point(3.0), {}, "continuous", "1 − G"),
    (three_point(4.0), {}, "continuous", "1 − G"),
    (three_point(4.7), {}, "variance-coded", "their difference = -0.4 < 0"),
    (parabola(0.3), {}, "continuous", "1 − G = 0.6597"),
    (parabola(0.5), {}, "continuous", "1 − G = 0.206"),
    (parabola(0.7), {}, "first order", "1 − G = -0.8526 < 0"),
    (parabola(0.7), {"homoscedastic": True}, "continuous", "1 − S² − Γ = 0.4442 > 0"),
    (bernoulli(0.4), {}, "first order", "≠ 0: the width channel has a cubic term"),
    (bernoulli(0.2), {}, "first order", "S = 1.5 ≠ 0"),
    (bernoulli(0.4), {"homoscedastic": True}, "continuous", "1 − S² − Γ = 0.8333 > 0"),
    (bernoulli(0.3), {"homoscedastic": True}, "continuous", "1 − S² − Γ = 0.2381 > 0"),
    (bernoulli(0.2), {"homoscedastic": True}, "first order", "1 − S² − Γ = -1.25 < 0"),
    (parabola(0.15, CURVED), {}, "continuous", "1 − G = 0.6471 > 0"),
    (parabola(0.28, CURVED), {}, "first order", "2(5 − K) − 4G − 3Γ = -0.7911 < 0"),
    (parabola(0.40, CURVED), {}, "first order", "1 − G = -0.3333 < 0"),
    (three_point(6.0), {}, "first order", "2(5 − K) − 4G − 3Γ = -2 < 0"),
]


@pytest.mark.parametrize("law, options, order, words", TABLE)
def test_predict_order_of_the_table(law, options, order, words):
    (found,) = predict_order(law.points, weights=law.weights, **options)
    assert found.order == order and words in found.inequality and not found.conditional
    assert found.threshold == pytest.approx(1) and found.margin_se == 0
    (linear,) = predict_order(law.points, weights=law.weights, decoder="linear", **options)
    assert linear.order == "continuous" and "linear decoder" in linear.inequality


def test_predict_order_between_mean_and_width():
    """Parabola over K = 3 with c = .22: continuous, and its onset variance-coded by .436 against .424."""
    law = parabola(0.22, CURVED)
    (found,) = predict_order(law.points, weights=law.weights)
    assert found.order == "variance-coded" and found.margin == pytest.approx(-0.012308, abs=1e-6)


@pytest.mark.parametrize("law, options, order, words", TABLE)
def test_predict_order_of_samples(law, options, order, words, generator):
    """10⁵ points and two small Gaussian features: the same order, in another frame."""
    rows = torch.multinomial(law.weights, 100_000, replacement=True, generator=generator)
    x = torch.cat([law.points[rows], 0.1 * torch.randn(len(rows), 2, generator=generator, dtype=F64)], 1)
    frame = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1], generator=generator, dtype=F64))[0]
    found = predict_order((3 + x) @ frame, 1, **options)[0]
    assert found.order == order, found.inequality
    assert found.threshold == pytest.approx(1, abs=0.05)  # var of x² at most 5: 4 s.e. are .03


def test_predict_order_of_gaussian_data_mode_by_mode(generator):
    scale = torch.tensor([2.0, 1.5, 1.0, 0.6], dtype=F64)
    found = predict_order(torch.randn(20_000, 4, generator=generator, dtype=F64) * scale, 4)
    assert [one.order for one in found] == ["continuous"] * 4
    assert [one.mode for one in found] == [1, 2, 3, 4]
    assert [one.conditional for one in found] == [False, True, True, True]
    assert sum(one.pca_share for one in found) == pytest.approx(1, rel=1e-12)
    assert all("no cubic term seen" in one.inequality and one.margin > 3 * one.margin_se for one in found)


def test_predict_order_jumps_if_one_channel_does():
    """Parabola of c = 1/K: G = 1, the mean channel tricritical, while the width channel is past its own point."""
    law = parabola(1 / 4.9, three_point(4.9))
    (found,) = predict_order(law.points, weights=law.weights)
    assert found.order == "first order" and found.margin == pytest.approx(0.2 - 4 - 3 * 3.9 / 4.9, abs=1e-9)


def test_predict_order_is_undecided_where_data_do_not_tell(generator):
    # K = 4.95 of 4000 points: 2(5 − K) = .1, with an error of 2·√(Var ψ⁴/n) of about .2.
    law = three_point(4.95)
    rows = torch.multinomial(law.weights, 4000, replacement=True, generator=generator)
    (found,) = predict_order(law.points[rows])
    assert found.order == "undecided" and "straddles 0" in found.inequality and abs(found.margin) <= 3 * found.margin_se
    # On a tricritical law, exactly.
    (found,) = predict_order(three_point(5.0).points, weights=three_point(5.0).weights)
    assert found.order == "undecided"


def test_predict_order_names_degenerate_modes(generator):
    x = torch.randn(3000, 3, generator=generator, dtype=F64) * torch.tensor([1.0, 1.0, 0.5], dtype=F64)
    found = predict_order(x, 3)
    assert [one.order for one in found] == ["undecided", "undecided", "continuous"]
    assert "degenerate" in found[0].inequality and found[0].margin <= 3 * found[0].margin_se
    square = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=F64)] * 2)
    exact = predict_order(square, weights=torch.full((4,), 0.25))
    assert exact[0].order == "undecided" and math.isnan(exact[0].maxwell_shift)
    assert predict_order(square, weights=torch.full((4,), 0.25), decoder="linear")[0].order == "continuous"


def test_predict_order_maxwell_shift_tells_weak_jumps_from_strong():
    shifts = []
    for p in (0.49, 0.45, 0.4):
        (found,) = predict_order(bernoulli(p).points, weights=bernoulli(p).weights)
        assert found.order == "first order"
        shifts.append(found.maxwell_shift)
    assert shifts[0] < 1e-4 and 0.005 < shifts[2] < 0.02  # the table: T_Maxwell = 1.00 on a grid of .01 for p = .4
    assert shifts == sorted(shifts)
    strong = predict_order(bernoulli(0.2).points, weights=bernoulli(0.2).weights)[0]
    assert math.isnan(strong.maxwell_shift)  # 1 − S² < 0: the jump ends outside the expansion
    assert predict_order(uniform().points, weights=uniform().weights)[0].maxwell_shift == pytest.approx(0, abs=1e-15)


def test_predict_order_is_of_the_data_as_they_are(generator):
    """Centred, not standardized: scaling one feature changes which mode leads."""
    skew = torch.multinomial(torch.tensor([0.8, 0.2]), 5000, replacement=True, generator=generator).double()
    gauss = torch.randn(5000, generator=generator, dtype=F64)
    orders = [predict_order(torch.stack([scale * skew, gauss], 1))[0].order for scale in (0.5, 5.0)]
    assert orders == ["continuous", "first order"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder": "deep"}, "decoder: want 'linear' or 'nonlinear', got 'deep'"),
        ({"n_se": 0.0}, "n_se: want a finite number > 0, got 0.0"),
        ({"n_modes": 3}, "n_modes: want a whole number in 1 … 2"),
    ],
)
def test_predict_order_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        predict_order(torch.arange(40.0, dtype=F64).view(20, 2) ** 2, **options)
