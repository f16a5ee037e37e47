"""Bounds of the collapsed state: sub-Gaussian proxy, residual operator, soft masses, weight decay."""

import math

import pytest
import torch
from scipy.optimize import minimize_scalar

from latentlib import collapse_stability as stability
from latentlib.finite_law import bernoulli, three_point, uniform

F64 = torch.float64


# Global -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.01, 0.2, 0.3, 0.4, 0.499])
def test_sub_gaussian_proxy_of_bernoulli_is_kearns_saul(p):
    exact = (1 - 2 * p) / (2 * math.log((1 - p) / p)) / (p * (1 - p))
    # A maximum found to 1e-9 in ln u is one to 1e-18; rounding of ln E e^{ux}/u² is 1e-13 at the smallest u.
    x, weights = bernoulli(p)
    assert stability.sub_gaussian_proxy(x[:, 0], weights) == pytest.approx(exact, rel=1e-11)


def test_sub_gaussian_proxy_worked():
    laws = [bernoulli(p) for p in (0.4, 0.3, 0.2)] + [three_point(kurtosis) for kurtosis in (4, 4.7, 6)]
    found = [stability.sub_gaussian_proxy(law.points[:, 0], law.weights) for law in laws]
    assert found == pytest.approx([1.027626, 1.124021, 1.352527, 1.056748, 1.123776, 1.262711], abs=5.1e-7)


@pytest.mark.parametrize("law", [bernoulli(0.5), uniform(), three_point(3.0), three_point(1.5)])
def test_sub_gaussian_proxy_is_the_variance_of_strictly_sub_gaussian_laws(law):
    assert stability.sub_gaussian_proxy(law.points[:, 0], law.weights) == pytest.approx(1, abs=1e-12)


def test_sub_gaussian_proxy_bounds_and_scales(generator):
    for _ in range(10):
        x = torch.randn(6, generator=generator, dtype=F64)
        weights = torch.rand(6, generator=generator, dtype=F64)
        weights /= weights.sum()
        proxy = stability.sub_gaussian_proxy(x, weights)
        centred = x - weights @ x
        u = torch.linspace(-30, 30, 4001, dtype=F64)  # step .015, and not only at zero of u
        log_moment = torch.logsumexp(u[:, None] * centred + weights.log(), 1)
        assert (log_moment <= proxy * u.square() / 2 + 1e-14).all() and proxy >= (weights @ centred.square()).item()
        assert (log_moment > 0.999 * proxy * u.square() / 2)[u != 0].any()  # the smallest such T
        assert stability.sub_gaussian_proxy(3 - 2 * x, weights) == pytest.approx(4 * proxy, rel=1e-11)


def test_sub_gaussian_proxy_of_a_sample_grows_for_heavy_tails(generator):
    gauss = torch.randn(40_000, generator=generator, dtype=F64)
    heavy = gauss.sign() * gauss.abs().pow(3)
    small, large = (stability.sub_gaussian_proxy(heavy[:n]) / heavy[:n].var() for n in (400, 40_000))
    assert large > 2 * small > 2
    # A Gaussian sample has the excess of its own kurtosis and outliers: √(24/n) and more, here below 5 %.
    assert 1 <= stability.sub_gaussian_proxy(gauss) / gauss.var(correction=0) < 1.05


# Partial collapse ---------------------------------------------------------------------------------------------------


def test_residual_operator_without_latents_is_the_top_eigenvalue(generator):
    points = torch.randn(30, 4, generator=generator, dtype=F64)
    weights = torch.rand(30, generator=generator, dtype=F64)
    weights /= weights.sum()
    centred = points - weights @ points
    values, vectors = torch.linalg.eigh((centred * weights[:, None]).mT @ centred)
    found = stability.residual_operator(points, weights[:, None])
    assert found.gain == pytest.approx(values[-1].item(), rel=1e-13)
    psi = centred @ vectors[:, -1] / values[-1].sqrt()
    assert abs((weights * psi) @ found.function) == pytest.approx(1, rel=1e-12)


def gaussian_joint(fraction, n_points=40, n_codes=160):
    """Standard normal x on Gauss–Hermite nodes, z = N(0, 1) of correlation √m with it, on a grid."""
    import numpy as np

    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(n_points))
    keep = weights > 1e-16
    nodes, weights = nodes[keep], weights[keep] / weights[keep].sum()
    grid = torch.linspace(-9, 9, n_codes, dtype=F64)
    likelihood = torch.exp(-(grid - math.sqrt(fraction) * nodes[:, None]).square() / (2 * (1 - fraction)))
    return nodes, weights, weights[:, None] * likelihood / likelihood.sum(1, keepdim=True)


@pytest.mark.parametrize("fraction", [0.2, 0.45, 0.6, 0.75])
def test_residual_operator_of_a_linear_gaussian_latent(fraction):
    """λ(1 − m)² max_n n m^{n−1}: the linear function T²/λ up to m = ½, a Hermite polynomial beyond, always below T."""
    eigenvalue = 2.0
    nodes, weights, joint = gaussian_joint(fraction)
    found = stability.residual_operator(math.sqrt(eigenvalue) * nodes[:, None], joint)
    degree = max(range(1, 20), key=lambda n: n * fraction ** (n - 1))
    price = eigenvalue * (1 - fraction)
    # 1e-6: what nodes of weight below 1e-16 leave out of the conditional moments.
    assert found.gain == pytest.approx(price**2 / eigenvalue * degree * fraction ** (degree - 1), rel=1e-6)
    assert degree == 1 or found.gain > price**2 / eigenvalue * 1.01
    assert found.gain < price
    assert (weights @ found.function.square()).item() == pytest.approx(1, rel=1e-12)


def test_residual_operator_of_a_mode_without_a_latent():
    """Second mode independent of the coded one: its own variance, beside T²/λ of the coded one."""
    nodes, weights, joint = gaussian_joint(0.4, n_points=16)
    points = torch.cartesian_prod(math.sqrt(2) * nodes, torch.tensor([-1.0, 1.0], dtype=F64))
    joint = joint.repeat_interleave(2, 0) / 2
    for std, gain in ((0.9, 0.81), (0.1, 2 * 0.6**2)):
        scaled = points * torch.tensor([1.0, std], dtype=F64)
        assert stability.residual_operator(scaled, joint).gain == pytest.approx(gain, rel=1e-6)


def test_residual_operator_sees_a_mode_that_the_code_tells():
    """x_2 = |x_1| with x_1 = ±1, ±2 known: variance, but nothing left to code."""
    points = torch.tensor([[-2.0, 2.0], [-1.0, 1.0], [1.0, 1.0], [2.0, 2.0]], dtype=F64)
    assert abs(stability.residual_operator(points, torch.eye(4, dtype=F64) / 4).gain) < 1e-15
    by_sign = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]], dtype=F64) / 4
    # Within a sign x_1 and x_2 move together by ½: Cov(x, h|z) = (±½, ½)·h, gain ½·½ + ½·½.
    assert stability.residual_operator(points, by_sign).gain == pytest.approx(0.5, rel=1e-14)


@pytest.mark.parametrize("gain, price", [(1.0, 1.3), (0.4, 0.4), (0.7, 0.2), (0.0, 2.0)])
def test_soft_masses_are_eigenvalues_of_the_second_variation(gain, price):
    """½|x − f|²/T + KL with f = a·z + b·(z² − 1)/√2 and μ = v·h, ln σ = τ·h, by hand to second order."""
    root = math.sqrt(gain)
    mean = torch.linalg.eigvalsh(torch.tensor([[1 / price, -root / price], [-root / price, 1.0]], dtype=F64))
    coupling = -math.sqrt(2) * root / price
    width = torch.linalg.eigvalsh(torch.tensor([[1 / price, coupling], [coupling, 2.0]], dtype=F64))
    expected = torch.cat([mean, width]).tolist()
    found = stability.soft_masses(gain, price)
    assert list(found) == pytest.approx(expected, rel=1e-13, abs=1e-14)
    assert found.mean_low * found.mean_high == pytest.approx((1 - gain / price) / price, abs=1e-14)
    assert (found.mean_low >= 0) == (found.width_low >= 0) == (price >= gain)


# Weight decay -------------------------------------------------------------------------------------------------------


def decayed_loss(square, eigenvalue, weight_decay, price):
    """Twice the loss above the collapsed state of one latent of |W|² = square, encoder and variance at their best."""
    gain = eigenvalue**2 * square / (eigenvalue * (square + price) + weight_decay)
    return price * math.log1p(square / price) + weight_decay * square - gain


def test_weight_decay_threshold_worked():
    spikes = [stability.bbp_eigenvalue(1.0, 1.0, ratio) for ratio in (2.0, 5.0)]
    assert spikes == pytest.approx([3.0, 2.4], rel=1e-14)
    found = [stability.weight_decay_threshold(s, 1 / ratio) for s, ratio in zip(spikes, (2.0, 5.0))]
    assert found == pytest.approx([1.833333, 1.916667], abs=5.1e-7)
    assert stability.weight_decay_threshold(3.0, 0.0) == 3.0


@pytest.mark.parametrize("eigenvalue, weight_decay", [(3.0, 0.5), (1.6, 1.0), (0.5, 0.01)])
def test_weight_decay_threshold_is_where_the_collapsed_state_goes_soft(eigenvalue, weight_decay):
    price = stability.weight_decay_threshold(eigenvalue, weight_decay)
    for factor, sign in ((1.001, 1), (0.999, -1)):
        assert decayed_loss(1e-9, eigenvalue, weight_decay, price * factor) * sign > 0


def test_weight_decay_end_worked():
    ends = [stability.weight_decay_end(s, 1.0) / stability.weight_decay_threshold(s, 1.0) for s in (1.6, 1.5, 1.45)]
    # To six digits 1.012876 and 1.375261: a scan of step .01 gives 1.01 and 1.37.
    assert ends[:2] == pytest.approx([1.01, 1.37], abs=0.006) and ends[2] > 1.6


@pytest.mark.parametrize("eigenvalue", [1.6, 1.5, 1.45, 1.41, 1.2])
def test_weight_decay_end_is_the_last_price_with_an_active_minimum(eigenvalue):
    end = stability.weight_decay_end(eigenvalue, 1.0)

    def active(price):
        grid = torch.logspace(-6, 0, 4001, dtype=F64)
        losses = torch.tensor([decayed_loss(y, eigenvalue, 1.0, price) for y in grid.tolist()], dtype=F64)
        inner = (losses[1:-1] < losses[:-2]) & (losses[1:-1] < losses[2:])
        return bool(inner.any())

    if end == 0:
        assert not any(active(price) for price in (1e-6, 1e-3, 0.1))
    else:
        # Near the end the minimum is as shallow as (1 − T/T_end)^{3/2}: the grid resolves it 1e-4 before.
        assert active(end * (1 - 1e-4)) and not active(end * (1 + 1e-6))


def test_weight_decay_end_exceeds_the_threshold_exactly_if_first_order():
    for weight_decay in (0.0, 0.01, 0.3, 1.0, 3.0):
        for eigenvalue in (0.05, 0.5, 1.5, 1.7, 2.5, 6.0):
            threshold = stability.weight_decay_threshold(eigenvalue, weight_decay)
            if threshold > 0:
                end = stability.weight_decay_end(eigenvalue, weight_decay)
                quartic = (1 + weight_decay) ** 2 / eigenvalue - 1 / (2 * threshold)  # of the loss in |W|, there
                assert (end > threshold) == (quartic < 0)
                assert end <= eigenvalue
    least = minimize_scalar(lambda y: decayed_loss(y, 1.5, 1.0, 0.09), bounds=(1e-3, 1), method="bounded")
    assert least.fun < 0 < 0.09 - stability.weight_decay_threshold(1.5, 1.0)  # active is the better one above T_c


def test_bbp_eigenvalue_of_a_spiked_sample(generator):
    n_features, ratio = 400, 2.0
    for signal in (1.5, 0.2):
        x = torch.randn(int(ratio * n_features), n_features, generator=generator, dtype=F64)
        x[:, 0] *= math.sqrt(1 + signal)
        top = torch.linalg.eigvalsh(x.mT @ x / len(x))[-1].item()
        # A spike fluctuates by s√(2/n)·√(1 − …) ≤ 5 %; the edge by n^{−2/3} of it, 1–2 %, from below.
        assert top == pytest.approx(stability.bbp_eigenvalue(signal, 1.0, ratio), rel=0.15 if signal > 1 else 0.04)
    at = 1 / math.sqrt(ratio)
    above, below = (stability.bbp_eigenvalue(at * (1 + step), 1.0, ratio) for step in (1e-9, -1e-9))
    assert above == pytest.approx(below, rel=1e-12)


# Bad input ----------------------------------------------------------------------------------------------------------

POINTS = torch.ones(2, 1, dtype=F64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stability.sub_gaussian_proxy(torch.full((7,), 0.1)), "x: want at least two different values"),
        (lambda: stability.sub_gaussian_proxy(torch.ones(3, 1)), r"want x and weights \(n > 0,\), got \(3, 1\)"),
        (lambda: stability.sub_gaussian_proxy(torch.ones(0)), r"got \(0,\) and \(0,\)"),
        (lambda: stability.sub_gaussian_proxy(torch.tensor([0.0, math.nan])), "finite x"),
        (lambda: stability.sub_gaussian_proxy(torch.arange(2.0), torch.ones(2)), "weights > 0 that sum to 1"),
        (lambda: stability.residual_operator(POINTS, torch.ones(3, 1)), r"got \(2, 1\), \(3, 1\)"),
        (lambda: stability.residual_operator(POINTS, torch.ones(2, 1)), "joint >= 0 of total 1"),
        (lambda: stability.residual_operator(POINTS, torch.tensor([[1.0], [0.0]])), "weight in every row"),
        (lambda: stability.residual_operator(POINTS * math.inf, torch.ones(2, 1) / 2), "finite points"),
        (lambda: stability.soft_masses(-1.0, 1.0), "gain >= 0 and price > 0, got -1.0, 1.0"),
        (lambda: stability.soft_masses(1.0, 0.0), "got 1.0, 0.0"),
        (lambda: stability.weight_decay_threshold(0.0, 1.0), "eigenvalue > 0 and weight_decay >= 0, got 0.0, 1.0"),
        (lambda: stability.weight_decay_end(1.0, -1.0), "got 1.0, -1.0"),
        (lambda: stability.bbp_eigenvalue(1.0, 0.0, 1.0), "noise > 0, ratio > 0, got 1.0, 0.0, 1.0"),
    ],
)
def test_collapse_stability_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
