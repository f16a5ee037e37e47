"""The von Mises–Fisher null and the nested field model: closed forms, quadrature, and their samplers."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import gammaln, ive

from latentlib import angles, overlap, vmf

F64 = torch.float64
PRINTED = 5.1e-7  # half a unit of the sixth digit


def bessel_order(kappa: float, n_latent: float) -> float:
    return float(ive(n_latent / 2, kappa) / ive(n_latent / 2 - 1, kappa))


def cosine_moments(kappa: float, n_latent: int) -> list[float]:
    """E cos, E cos², E sin, E cos·sin, by quadrature over the angle."""
    weight = [
        lambda phi, f=f: f(phi) * math.exp(kappa * (math.cos(phi) - 1)) * math.sin(phi) ** (n_latent - 2)
        for f in (lambda _: 1.0, math.cos, lambda phi: math.cos(phi) ** 2, math.sin, lambda phi: math.sin(2 * phi) / 2)
    ]
    norm, *moments = (quad(w, 0, math.pi, epsabs=0, epsrel=1e-12)[0] for w in weight)
    return [moment / norm for moment in moments]


# The order ----------------------------------------------------------------------------------------------------------


def test_vmf_order_worked():
    limit = [vmf.vmf_order_limit(b) for b in (0.3, 1.0, 3.0)]
    assert limit == pytest.approx([0.276984, 0.618034, 0.847127], abs=PRINTED)
    found = [vmf.vmf_order(500 * b, 500) for b in (0.3, 1.0, 3.0)]
    assert found == pytest.approx([0.277052, 0.618340, 0.847360], abs=PRINTED)


@pytest.mark.parametrize("kappa", [0.5, 2.0, 30.0, 1e3, 1e6])
def test_vmf_order_of_one_and_three_dimensions_exact(kappa):
    assert vmf.vmf_order(kappa, 1) == pytest.approx(math.tanh(kappa), rel=1e-14)
    assert vmf.vmf_order(kappa, 3) == pytest.approx(1 / math.tanh(kappa) - 1 / kappa, rel=2e-14)


def test_vmf_order_is_the_bessel_ratio():
    for n_latent in (2, 5, 12, 128, 300):
        for kappa in (0.1, 1.0, n_latent / 2, 3.0 * n_latent, 600.0):
            if ive(n_latent / 2, kappa) > 1e-250:
                # 1e-13: the accuracy of the library's two functions.
                assert vmf.vmf_order(kappa, n_latent) == pytest.approx(bessel_order(kappa, n_latent), rel=1e-13)


@pytest.mark.parametrize("reduced_field", [0.3, 1.0, 3.0])
def test_vmf_order_approaches_the_limit_as_one_over_n(reduced_field):
    # Where library ratios are NaN: n·(A_n − limit) settles to its own limit, with a correction of order 1/n.
    limit = vmf.vmf_order_limit(reduced_field)
    excess = [n * (vmf.vmf_order(n * reduced_field, n) - limit) for n in (1_000, 10_000, 100_000)]
    assert abs(excess[1] / excess[0] - 1) < 1e-2 and abs(excess[2] / excess[1] - 1) < 1e-3


def test_vmf_order_slope_is_one_minus_square_minus_curvature():
    # The Riccati equation of the Bessel ratio, A' = 1 − A² − (n−1)A/κ: not the recurrence that computes it.
    kappa = torch.tensor([0.5, 3.0, 40.0, 2000.0], dtype=F64)
    for n_latent in (2.0, 12.0, 1000.0):
        order = vmf.vmf_order(kappa, n_latent)
        step = 1e-4 * kappa
        slope = (vmf.vmf_order(kappa + step, n_latent) - vmf.vmf_order(kappa - step, n_latent)) / (2 * step)
        # Central difference: 1e-8 relative of the curvature, rounding 1e-16/1e-4 over κ.
        expected = 1 - order.square() - (n_latent - 1) * order / kappa
        torch.testing.assert_close(slope, expected, rtol=1e-7, atol=1e-11)


def test_vmf_order_odd_and_takes_numbers_and_tensors():
    kappa = torch.tensor([[-4.0], [0.0], [4.0]], dtype=F64)
    n_latent = torch.tensor([2.0, 7.0], dtype=F64)
    order = vmf.vmf_order(kappa, n_latent)
    assert order.shape == (3, 2) and torch.equal(order[0], -order[2]) and torch.equal(order[1], torch.zeros(2))
    assert isinstance(vmf.vmf_order(4, 7), float) and vmf.vmf_order(4, 7) == order[2, 1]
    assert vmf.vmf_order(4, n_latent=7) == order[2, 1]


def test_vmf_order_limit_is_the_saddle_point():
    b = torch.logspace(-3, 3, 13, dtype=F64)
    q = vmf.vmf_order_limit(b).square()
    torch.testing.assert_close(q / (1 - q).square(), b.square(), rtol=1e-11, atol=0)


def test_vmf_kappa_inverts_the_order():
    for n_latent in (1, 2, 12, 500, 100_000):
        for reduced_field in (-2.0, 0.0, 1e-3, 0.3, 3.0, 30.0):
            kappa = n_latent * reduced_field
            if n_latent > 1 or abs(kappa) < 10:  # tanh saturates in float64
                found = vmf.vmf_kappa(vmf.vmf_order(kappa, n_latent), n_latent)
                # One rounding of m over 1 − m², at least 1e-2 here.
                assert found == pytest.approx(kappa, rel=1e-12, abs=1e-12)


# Susceptibility and partition function ------------------------------------------------------------------------------


def test_vmf_susceptibility_worked():
    limit = [vmf.vmf_susceptibility_limit(b) for b in (0.3, 1.0, 3.0)]
    assert limit == pytest.approx([0.973925, 0.593112, 0.146364], abs=PRINTED)
    found = [vmf.vmf_susceptibility(128 * b, 128) for b in (0.3, 1.0, 3.0)]
    assert found == pytest.approx([0.974314, 0.593284, 0.145801], abs=PRINTED)
    assert vmf.vmf_susceptibility(0.0, 64) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize(("kappa", "n_latent"), [(0.7, 2), (5.0, 3), (5.0, 12), (60.0, 12)])
def test_vmf_susceptibility_is_the_variance_of_the_overlap(kappa, n_latent):
    mean, square, *_ = cosine_moments(kappa, n_latent)
    var = square**2 + (1 - square) ** 2 / (n_latent - 1) - mean**4
    # Quadrature to 1e-12, of terms up to 1 that leave var.
    assert vmf.vmf_susceptibility(kappa, n_latent) == pytest.approx(n_latent * var, abs=1e-10 * n_latent)


def test_vmf_susceptibility_falls_from_one():
    b = torch.linspace(0, 5, 200, dtype=F64)
    for n_latent in (2, 10, 1000):
        chi = vmf.vmf_susceptibility(n_latent * b, float(n_latent))
        assert (chi.diff() < 0).all() and (chi > 0).all()
    assert (vmf.vmf_susceptibility_limit(b).diff() < 0).all()


def test_vmf_susceptibility_of_a_strong_field_is_that_of_a_plane():
    # κ → ∞: s = (1 − |x|²/2κ, x/√κ), x normal in n − 1 dimensions, so 1 − q = |x − x'|²/2κ to leading order, and
    # |x − x'|² = 2χ²_{n−1} has variance 8(n − 1): Var q = 2(n − 1)/κ².
    for n_latent, kappa in ((3, 1e5), (50, 1e6)):
        expected = 2 * n_latent * (n_latent - 1) / kappa**2
        assert vmf.vmf_susceptibility(kappa, n_latent) == pytest.approx(expected, rel=2 * n_latent / kappa)


def test_vmf_log_partition_exact():
    assert vmf.vmf_log_partition(1e-3, 3) == pytest.approx(1e-6 / 6 - 1e-12 / 180, rel=1e-12)
    for kappa in (0.5, 20.0, 5e3):
        log_sinh = kappa + math.log1p(-math.exp(-2 * kappa)) - math.log(2)
        assert vmf.vmf_log_partition(kappa, 3) == pytest.approx(log_sinh - math.log(kappa), rel=1e-12, abs=1e-15)
        assert vmf.vmf_log_partition(-kappa, 3) == vmf.vmf_log_partition(kappa, 3)
    for n_latent, kappa in ((2, 4.0), (12, 5.0), (128, 384.0)):
        half = n_latent / 2 - 1
        expected = gammaln(half + 1) + half * math.log(2 / kappa) + math.log(ive(half, kappa)) + kappa
        # lgamma of 200 and a logarithm of −600 lose three digits.
        assert vmf.vmf_log_partition(kappa, n_latent) == pytest.approx(expected, rel=1e-12)


# Samples ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kappa", "n_latent"), [(0.0, 5), (-3.0, 2), (8.0, 3), (40.0, 40), (3e4, 12)])
def test_sample_vmf_cosines(kappa, n_latent):
    s = vmf.sample_vmf(kappa, n_latent, 40_000, seed=3)
    assert s.shape == (40_000, n_latent)
    torch.testing.assert_close(s.square().sum(1), torch.ones(40_000, dtype=F64), rtol=0, atol=1e-14)
    x = s[:, 0]
    order = vmf.vmf_order(kappa, n_latent)
    var = 1 - order**2 - (n_latent - 1) * (order / kappa if kappa else 1 / n_latent)
    excess = (x - order).square()
    assert abs(x.mean() - order) <= 4 * math.sqrt(var / len(x))
    assert abs(excess.mean() - var) <= 4 * excess.std() / math.sqrt(len(x))


def test_sample_vmf_susceptibility_and_free_angles():
    s = vmf.sample_vmf(128.0 * 0.5, 128, 4000, seed=1, mean=torch.ones(128))
    found = overlap.overlap_moments(s)
    assert abs(found.chi - vmf.vmf_susceptibility(64.0, 128)) <= 4 * found.chi_se
    assert abs(found.q_mean - vmf.vmf_order(64.0, 128) ** 2) <= 4 * found.q_mean_se
    # One field orders one angle: about the pole, all others keep the law of the uniform sphere.
    cosine = angles.cos_angles(vmf.sample_vmf(64.0, 6, 40_000, seed=2))[:, 1:]
    square = cosine.square()
    assert (cosine.mean(0).abs() <= 4 * cosine.std(0) / 200).all()
    assert ((square.mean(0) - angles.uniform_cos_angle_var(6)[1:]).abs() <= 4 * square.std(0) / 200).all()


def test_sample_vmf_turns_to_the_mean():
    pole = vmf.sample_vmf(9.0, 4, 50, seed=5)
    for mean in ([2.0, 0, 0, 0], [-3.0, 0, 0, 0], [0.1, -2, 0.5, 0.3]):
        direction = torch.tensor(mean, dtype=F64)
        turned = vmf.sample_vmf(9.0, 4, 50, seed=5, mean=direction)
        torch.testing.assert_close(turned @ direction / direction.norm(), pole[:, 0], rtol=0, atol=1e-14)
        torch.testing.assert_close(turned @ turned.mT, pole @ pole.mT, rtol=0, atol=1e-14)
    assert torch.equal(pole, vmf.sample_vmf(9.0, 4, 50, seed=5))
    assert not torch.equal(pole, vmf.sample_vmf(9.0, 4, 50, seed=6))


# The nested field model ---------------------------------------------------------------------------------------------


def test_nested_field_worked():
    kappa = torch.zeros(11, dtype=F64)
    kappa[3] = 5.0
    found = vmf.nested_field(kappa)
    assert (found.cos_mean[3].item(), found.cos_var[3].item()) == pytest.approx((0.455985, 0.062501), abs=PRINTED)
    mean, square, *_ = cosine_moments(5.0, 9)
    assert (found.cos_mean[3].item(), found.cos_var[3].item()) == pytest.approx((mean, square - mean**2), abs=1e-11)


def test_nested_field_without_a_field_is_the_uniform_sphere():
    found = vmf.nested_field(torch.zeros(31))
    assert not found.cos_mean.any() and found.q_mean == 0
    torch.testing.assert_close(found.cos_var, angles.uniform_cos_angle_var(32), rtol=1e-14, atol=0)
    assert found.chi == pytest.approx(1, abs=1e-13)


@pytest.mark.parametrize("n_latent", [2, 3, 20])
def test_nested_field_of_the_first_angle_is_von_mises_fisher(n_latent):
    kappa = torch.zeros(n_latent - 1, dtype=F64)
    kappa[0] = 4.0
    found = vmf.nested_field(kappa)
    assert found.q_mean == pytest.approx(vmf.vmf_order(4.0, n_latent) ** 2, rel=1e-12)
    assert found.chi == pytest.approx(vmf.vmf_susceptibility(4.0, n_latent), rel=1e-11)


def test_nested_field_overlap_is_that_of_independent_angles():
    # E s and E ssᵀ from the angles' own moments by quadrature, axis by axis.
    kappa = torch.tensor([4.0, -2.0, 0.5, 1.5], dtype=F64)
    moments = [cosine_moments(k, 5 - i) for i, k in enumerate(kappa.tolist())]
    first, second = np.zeros(5), np.zeros((5, 5))
    for i in range(5):
        # Axis i: sin of every angle before it, cos of its own; the last sine, of both signs, has mean zero.
        first[i] = math.prod(m[2] for m in moments[:i]) * moments[i][0] if i < 4 else 0.0
        second[i, i] = math.prod(1 - m[1] for m in moments[:i]) * (moments[i][1] if i < 4 else 1.0)
        for j in range(i + 1, 4):
            between = math.prod(m[2] for m in moments[i + 1 : j]) * moments[j][0]
            second[i, j] = second[j, i] = math.prod(1 - m[1] for m in moments[:i]) * moments[i][3] * between
    found = vmf.nested_field(kappa)
    q_mean = (first**2).sum()
    assert found.q_mean == pytest.approx(q_mean, rel=1e-11)
    assert found.chi == pytest.approx(5 * ((second**2).sum() - q_mean**2), rel=1e-10)


@pytest.mark.parametrize("strength", [0.1, 0.3, 0.7])
def test_nested_field_predicts_its_samples(strength):
    kappa = strength * torch.arange(31, 0, -1, dtype=F64)
    expected = vmf.nested_field(kappa)
    s = vmf.sample_nested_field(kappa, 20_000, seed=7)
    found = overlap.overlap_moments(s)
    assert abs(found.q_mean - expected.q_mean) <= 4 * found.q_mean_se
    assert abs(found.chi - expected.chi) <= 4 * found.chi_se
    cosine = angles.cos_angles(s)
    assert ((cosine.mean(0) - expected.cos_mean).abs() <= 4 * cosine.std(0) / len(s) ** 0.5).all()
    excess = (cosine - expected.cos_mean).square()
    assert ((excess.mean(0) - expected.cos_var).abs() <= 4 * excess.std(0) / len(s) ** 0.5).all()


def test_nested_field_susceptibility_falls_with_the_field():
    # The values at b = 0, .1 … .7 of the closed form; ⟨q⟩ and χ of independent samples agree with them above.
    found = [vmf.nested_field(b * torch.arange(31, 0, -1, dtype=F64)) for b in (0.0, 0.1, 0.2, 0.3, 0.5, 0.7)]
    chi = np.array([one.chi for one in found])
    assert (np.diff(chi) < 0).all() and chi[1] == pytest.approx(0.963, abs=5e-4)
    assert (np.diff([one.q_mean for one in found]) > 0).all()


def test_nested_field_from_the_orders_of_codes():
    order = torch.tensor([0.6, 0.0, -0.2, 0.3], dtype=F64)
    kappa = vmf.vmf_kappa(order, torch.arange(5, 1, -1, dtype=F64))
    torch.testing.assert_close(vmf.nested_field(kappa).cos_mean, order, rtol=1e-13, atol=1e-15)


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vmf.vmf_order(math.nan, 3), "kappa: want values within ±1e\\+07, got nan"),
        (lambda: vmf.vmf_order(2e7, 3), "got 2e\\+07"),
        (lambda: vmf.vmf_order(1.0, 0.5), "n_latent: want finite values >= 1, got 0.5"),
        (lambda: vmf.vmf_susceptibility(1.0, math.inf), "n_latent: .* got inf"),
        (lambda: vmf.vmf_log_partition(-3e7, 3), "kappa: .* got -3e\\+07"),
        (lambda: vmf.vmf_kappa(1.0, 3), "order: want .m. < 1, of a field within ±1e\\+07, got 1"),
        (lambda: vmf.vmf_kappa(math.nan, 3), "order: .* got nan"),
        (lambda: vmf.vmf_kappa(0.1, 0), "n_latent: .* got 0"),
        (lambda: vmf.sample_vmf(1.0, 1, 5, seed=0), "n_latent: want a whole number >= 2, got 1"),
        (lambda: vmf.sample_vmf(1.0, 3, 0, seed=0), "n_samples: want a whole number >= 1, got 0"),
        (lambda: vmf.sample_vmf(math.inf, 3, 5, seed=0), "kappa: .* got inf"),
        (lambda: vmf.sample_vmf(1.0, 3, 5, seed=0, mean=torch.ones(4)), r"mean: want \(3,\) .* got \(4,\)"),
        (lambda: vmf.sample_vmf(1.0, 3, 5, seed=0, mean=torch.zeros(3)), "norm 0"),
        (lambda: vmf.nested_field(torch.ones(2, 2)), r"kappa: want floating \(n_latent - 1 >= 1,\), got .*\(2, 2\)"),
        (lambda: vmf.nested_field([1.0]), "got list"),
        (lambda: vmf.sample_nested_field(torch.tensor([math.nan]), 3, seed=0), "kappa: .* got nan"),
    ],
)
def test_vmf_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_vmf_refuses_other_types():
    for function in (vmf.vmf_order, vmf.vmf_kappa, vmf.vmf_susceptibility, vmf.vmf_log_partition):
        with pytest.raises(TypeError, match="want numbers or floating-point tensors"):
            function("1", 3)
    for limit in (vmf.vmf_order_limit, vmf.vmf_susceptibility_limit):
        with pytest.raises(TypeError, match="want numbers or floating-point tensors, got torch.int64"):
            limit(torch.tensor(3))
