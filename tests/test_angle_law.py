"""Exact laws of angles: closed forms, one spectrum worked by hand, quadrature, and samples against them."""

import itertools
import math

import pytest
import torch
from scipy.integrate import quad
from scipy.special import elliprd

from latentlib.angle_law import (
    angle_spectrum,
    angular_susceptibility,
    direction_spectrum,
    equator_share,
    log_cap_share,
    log_sphere_area,
    log_volume_shrink,
    spectrum_from_angles,
    uniform_angle_density,
    uniform_angle_var,
    uniform_cos_angle_var,
)
from latentlib.angles import cos_angles, to_angles

F64 = torch.float64
NAN = math.nan
EIGENVALUES = torch.tensor([4, 2, 1, 0.5, 0.25, 0.1], dtype=F64)
PRICES = torch.tensor([0.05, 0.3, 0.6, 1.2], dtype=F64)
WORKED = (1 - PRICES[:, None] / EIGENVALUES).clamp(min=0)
# The table is printed to six digits: half a unit of the last one.
PRINTED = 5.1e-7


def close(actual: torch.Tensor, expected, atol: float) -> None:
    expected = torch.as_tensor(expected, dtype=actual.dtype)
    torch.testing.assert_close(actual, expected, rtol=0.0, atol=atol, equal_nan=True)


# Uniform points -----------------------------------------------------------------------------------------------------


def test_uniform_angle_var_small_exact():
    # sin^m: m = 0 flat on [0, π] has π²/12, m = 1 has π²/4 − 2, each two powers take 2/m²; the last, on a circle, π²/3.
    square = math.pi**2
    expected = [square / 12 - 2 / 4 - 2 / 16, square / 4 - 2 - 2 / 9, square / 12 - 2 / 4, square / 4 - 2, square / 3]
    close(uniform_angle_var(6), expected, 1e-14)
    close(uniform_angle_var(2), [square / 3], 1e-14)


@pytest.mark.parametrize("n_latent", [2, 3, 8, 100])
def test_uniform_angle_density_is_normal_with_the_exact_variance(n_latent):
    for k in {1, n_latent // 2, n_latent - 2, n_latent - 1} & set(range(1, n_latent)):
        last = 1 + (k == n_latent - 1)  # the last angle runs to 2π
        angle = torch.linspace(0, last * math.pi, 4001, dtype=F64)
        density = uniform_angle_density(angle, n_latent, k)
        # Trapezoid rule; sin^m φ·(φ − π/2)² has bounded second derivatives, so it is good to (π/4000)²·m.
        step = 1e-5 * max(1, n_latent - 1 - k)
        assert abs(torch.trapezoid(density, angle) - 1) < step
        var = torch.trapezoid(density * (angle - last * math.pi / 2).square(), angle)
        assert abs(var - uniform_angle_var(n_latent)[k - 1]) < step
    outside = torch.tensor([-0.1, 2 * math.pi + 0.1], dtype=F64)
    assert (uniform_angle_density(outside, n_latent, n_latent - 1) == 0).all()


def test_uniform_angle_laws_hold_for_samples(generator):
    n_samples, n_latent = 200_000, 7
    angles = to_angles(torch.randn(n_samples, n_latent, generator=generator, dtype=F64))[1]
    means = torch.full((n_latent - 1,), math.pi / 2, dtype=F64)
    means[-1] = math.pi
    square = (angles - means).square()
    assert ((angles.mean(0) - means).abs() <= 4 * angles.std(0) / n_samples**0.5).all()
    assert ((square.mean(0) - uniform_angle_var(n_latent)).abs() <= 4 * square.std(0) / n_samples**0.5).all()
    assert (torch.corrcoef(angles.T) - torch.eye(n_latent - 1)).abs().max() <= 5 / n_samples**0.5  # independent
    for k in range(1, n_latent - 1):
        expected = log_cap_share(1.2, n_latent - k + 1).exp()
        share = (angles[:, k - 1] <= 1.2).double().mean()
        assert abs(share - expected) <= 4 * (expected * (1 - expected) / n_samples).sqrt()
    share = ((angles[:, 0] - math.pi / 2).abs() <= 0.3).double().mean()
    expected = equator_share(0.3, n_latent)
    assert abs(share - expected) <= 4 * (expected * (1 - expected) / n_samples).sqrt()


def test_log_cap_share_small_exact():
    angle = torch.tensor([0.0, 0.3, math.pi / 2, 2.0, math.pi], dtype=F64)
    close(log_cap_share(angle, 2), (angle / math.pi).log(), 1e-14)  # an arc
    close(log_cap_share(angle, 3), ((1 - angle.cos()) / 2).log(), 1e-14)  # Archimedes
    close(equator_share(angle[:3], 3), angle[:3].sin(), 1e-15)
    assert equator_share(torch.tensor(math.pi / 2), 9) == 1  # float32 rounds π/2 up


@pytest.mark.parametrize(("angle", "n_latent"), [(0.1, 512), (0.3, 4096), (1.2, 100_000), (1.45, 100_000)])
def test_log_cap_share_holds_below_the_smallest_number(angle, n_latent):
    # P = ∫_0^a sin^m φ dφ / ∫_0^π, m = n−2, over sin^m a. ln sin is concave, so below a − 60·tan(a)/m is left e^{−60}.
    power = n_latent - 2
    below = max(0.0, angle - 60 * math.tan(angle) / power)
    rest = quad(lambda x: (math.sin(x) / math.sin(angle)) ** power, below, angle, epsabs=0, epsrel=1e-12)[0]
    log_norm = math.lgamma(n_latent / 2) - math.lgamma((n_latent - 1) / 2) - math.log(math.pi) / 2
    expected = power * math.log(math.sin(angle)) + math.log(rest) + log_norm
    assert expected < -700
    assert log_cap_share(angle, n_latent).item() == pytest.approx(expected, rel=1e-10)


def test_log_cap_share_and_equator_share_fill_the_sphere():
    angle = torch.linspace(0, math.pi / 2, 30, dtype=F64)
    for n_latent in (2, 5, 64, 1000):
        caps = 2 * log_cap_share(math.pi / 2 - angle, n_latent).exp()
        close(equator_share(angle, n_latent) + caps, torch.ones(30), 1e-12)


def test_log_sphere_area_small_exact():
    for n_latent, area in ((2, 2 * math.pi), (3, 4 * math.pi), (4, 2 * math.pi**2)):
        assert log_sphere_area(n_latent) == pytest.approx(math.log(area), abs=1e-15)
    assert max(range(2, 600), key=log_sphere_area) == 7


@pytest.mark.parametrize("n_latent", [3, 8, 128, 512])
def test_log_volume_shrink_orders_and_exponents(n_latent):
    names = "radius", "one angle", "all angles"
    exponents = n_latent, n_latent - 1, n_latent * (n_latent - 1) / 2
    for name, exponent in zip(names, exponents):
        assert log_volume_shrink(1.0, n_latent, name) == pytest.approx(0.0, abs=1e-9)
        deep, deeper = (log_volume_shrink(share, n_latent, name) for share in (1e-5, 1e-6))
        # sin a = a(1 − a²/6): the slope of the log against ln share is the exponent to a²·n of it.
        assert (deep - deeper) / math.log(10) == pytest.approx(exponent, rel=1e-8)
    # At any share one angle costs less than the radius, all angles more: near the equator there is little between.
    for share in (0.99, 0.9, 0.5, 0.1):
        radius, one, every = (log_volume_shrink(share, n_latent, name) for name in names)
        assert radius < one < 0 and (every < radius or n_latent == 3)


def test_log_volume_shrink_is_the_product_of_independent_angles(generator):
    n_samples, n_latent, share = 400_000, 4, 0.7
    angles = to_angles(torch.randn(n_samples, n_latent, generator=generator, dtype=F64))[1]
    last = torch.minimum(angles[:, -1], 2 * math.pi - angles[:, -1])
    angles = torch.cat([angles[:, :-1], last[:, None]], 1)
    wide, narrow = ((angles <= bound * math.pi / 2).all(1).sum().item() for bound in (1, share))
    ratio = narrow / wide
    expected = math.exp(log_volume_shrink(share, n_latent, "all angles"))
    assert abs(ratio - expected) <= 4 * math.sqrt(expected * (1 - expected) / wide)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uniform_angle_var(1), "uniform_angle_var: want n_latent >= 2, got 1"),
        (lambda: uniform_angle_density(torch.ones(1), 1, 1), "want n_latent >= 2, got 1"),
        (lambda: uniform_angle_density(torch.ones(1), 4, 4), "want k from 1 to 3, got 4"),
        (lambda: uniform_angle_density(torch.ones(1), 4, 0), "want k from 1 to 3, got 0"),
        (lambda: log_sphere_area(1), "log_sphere_area: want n_latent >= 2, got 1"),
        (lambda: log_cap_share(-0.1, 4), "log_cap_share: want angles in \\[0, 3.14159\\], got -0.1"),
        (lambda: log_cap_share(3.2, 4), "got 3.2"),
        (lambda: log_cap_share(NAN, 4), "got nan"),
        (lambda: log_cap_share(0.1, 1), "log_cap_share: want n_latent >= 2"),
        (lambda: equator_share(1.6, 4), "equator_share: want angles in \\[0, 1.5708\\], got 1.6"),
        (lambda: equator_share(0.1, 1), "equator_share: want n_latent >= 2"),
        (lambda: log_volume_shrink(0.0, 4, "radius"), "want share in \\(0, 1\\], got 0.0"),
        (lambda: log_volume_shrink(1.1, 4, "radius"), "got 1.1"),
        (lambda: log_volume_shrink(0.5, 4, "angle"), "'one angle' or 'all angles', got 'angle'"),
        (lambda: log_volume_shrink(0.5, 1, "radius"), "log_volume_shrink: want n_latent >= 2"),
    ],
)
def test_uniform_laws_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# angle_spectrum, direction_spectrum, angular_susceptibility ---------------------------------------------------------


def test_angle_spectrum_worked():
    expected = [
        [0.187120, 0.226674, 0.285195, 0.379666, 0.558482],
        [0.298792, 0.395766, 0.569499, 1, NAN],
        [0.395766, 0.569499, 1, NAN, NAN],
        [0.569499, 1, NAN, NAN, NAN],
    ]
    close(angle_spectrum(WORKED), expected, PRINTED)


def test_direction_spectrum_worked():
    expected = [
        [0.187120, 0.185383, 0.181879, 0.174755, 0.160004, 0.110859],
        [0.298792, 0.283070, 0.249277, 0.168861, 0, 0],
        [0.395766, 0.353738, 0.250496, 0, 0, 0],
        [0.569499, 0.430501, 0, 0, 0, 0],
    ]
    close(direction_spectrum(WORKED), expected, PRINTED)


def test_angular_susceptibility_worked():
    close(angular_susceptibility(WORKED), [1.025346, 1.560350, 2.067057, 3.057962], PRINTED)
    close(angular_susceptibility(torch.ones(3, 6)), torch.ones(3), 1e-12)
    close(angular_susceptibility(torch.tensor([0.0, 0.3, 0, 0])), 4.0, 1e-12)


def test_angle_spectrum_repeats_where_eigenvalues_halve():
    # λ halves from mode to mode down to .25, so angle k at T is angle k−1 at 2T.
    spectrum = angle_spectrum(WORKED)
    close(spectrum[1, 1:4], spectrum[2, :3], 1e-13)
    close(spectrum[2, 1:3], spectrum[3, :2], 1e-13)


def test_direction_spectrum_sums_to_one(generator):
    variances = 10 ** (16 * torch.rand(5, 200, generator=generator, dtype=F64) - 8)
    close(direction_spectrum(variances).sum(-1), torch.ones(5), 1e-12)


@pytest.mark.parametrize("n_latent", [2, 3, 64, 512])
def test_angle_spectrum_equal_variances(n_latent):
    close(angle_spectrum(torch.full((n_latent,), 0.37)), uniform_cos_angle_var(n_latent), 1e-12)
    close(direction_spectrum(torch.full((n_latent,), 0.37)), torch.full((n_latent,), 1 / n_latent, dtype=F64), 1e-12)


def test_angle_spectrum_two_modes():
    ratio = torch.logspace(-8, 8, 65, dtype=F64)
    modes = torch.stack([ratio, torch.ones_like(ratio)], -1)
    exact = ratio.sqrt() / (ratio.sqrt() + 1)
    torch.testing.assert_close(angle_spectrum(modes)[:, 0], exact, rtol=1e-12, atol=0.0)
    exact_chi = 2 * (ratio + 1) / (ratio.sqrt() + 1) ** 2
    torch.testing.assert_close(angular_susceptibility(modes), exact_chi, rtol=1e-12, atol=0.0)


def test_direction_spectrum_three_modes_carlson():
    m = (0.85, 0.7, 0.4)
    root = 3 * math.sqrt(m[0] * m[1] * m[2])
    exact = [elliprd(1 / m[i], 1 / m[j], 1 / m[k]) / root for i, j, k in ((1, 2, 0), (0, 2, 1), (0, 1, 2))]
    close(direction_spectrum(torch.tensor(m, dtype=F64)), exact, 1e-12)
    # The first angle sees all the axes: cos φ_1 = s_1.
    close(angle_spectrum(torch.tensor(m, dtype=F64))[0], exact[0], 1e-12)


def test_angle_spectrum_order_matters_direction_spectrum_does_not():
    modes = WORKED[1, :4]
    close(angle_spectrum(modes.flip(0)), [0.168861, 0.302335, 0.489432], PRINTED)
    close(direction_spectrum(modes.flip(0)), direction_spectrum(modes).flip(0), 1e-14)
    close(angular_susceptibility(modes.flip(0)), angular_susceptibility(modes), 1e-13)


def test_angle_spectrum_inactive_modes():
    spectrum = angle_spectrum(torch.tensor([0.0, 0.5, 0, 0.5, 0, 0], dtype=F64))
    assert spectrum[0] == 0.0 and spectrum[2] == 0.0 and spectrum[3] == 1.0
    close(spectrum, [0, 0.5, 0, 1, NAN], 1e-12)
    assert angle_spectrum(torch.zeros(4)).isnan().all()
    assert direction_spectrum(torch.zeros(4)).isnan().all() and angular_susceptibility(torch.zeros(4)).isnan()


def test_angle_spectrum_scan_is_row_by_row(generator):
    # 3 × 400 rows of 40 modes take several blocks; each row must come out as if it were alone.
    scan = torch.rand(3, 400, 40, generator=generator, dtype=F64) ** 4
    scan[1, 7, 20:] = 0
    rows = [(0, 0), (1, 7), (2, 399)]
    for function in (angle_spectrum, direction_spectrum):
        whole = function(scan)
        assert whole.shape[:2] == (3, 400)
        for row in rows:
            close(whole[row], function(scan[row]), 1e-13)


def test_angle_spectrum_of_a_tiny_tail():
    # Equal modes far below the first: the quadrature must reach their own scale, ln t up to 80 + ln of the ratio.
    modes = torch.tensor([1.0, 1e-60, 1e-60, 1e-60], dtype=F64)
    close(angle_spectrum(modes)[1:], [1 / 3, 1 / 2], 1e-12)


def test_angle_spectrum_scale_free():
    close(angle_spectrum(1e-200 * WORKED), angle_spectrum(WORKED), 1e-12)
    close(angle_spectrum(1e200 * WORKED), angle_spectrum(WORKED), 1e-12)


@pytest.mark.parametrize("function", [angle_spectrum, direction_spectrum, angular_susceptibility])
@pytest.mark.parametrize(
    ("modes", "message"),
    [
        (torch.tensor([1.0]), "n_latent >= 2"),
        (torch.tensor(1.0), "n_latent >= 2"),
        (torch.tensor([1.0, -1e-9]), "negative or not finite"),
        (torch.tensor([1.0, NAN]), "negative or not finite"),
        (torch.tensor([1.0, math.inf]), "negative or not finite"),
    ],
)
def test_angle_spectrum_refuses(function, modes, message):
    with pytest.raises(ValueError, match=message):
        function(modes)


def test_uniform_cos_angle_var_refuses_one_axis():
    close(uniform_cos_angle_var(6), [1 / 6, 1 / 5, 1 / 4, 1 / 3, 1 / 2], 1e-16)
    with pytest.raises(ValueError, match="n_latent >= 2, got 1"):
        uniform_cos_angle_var(1)


# Codes against the integral -----------------------------------------------------------------------------------------


def moments_of_angles(codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of cos² and its standard error over points."""
    cos2 = cos_angles(codes).square()
    return cos2.mean(0), cos2.std(0) / math.sqrt(len(codes))


def chi_of_directions(codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """n‖C‖_F² of centred codes and its standard error over points, by the influence 2n(sᵀCs − ‖C‖²) of each."""
    directions = codes / codes.norm(dim=1, keepdim=True)
    covariance = directions.mT @ directions / len(codes)
    influence = 2 * codes.shape[1] * (directions @ covariance * directions).sum(1)
    return codes.shape[1] * covariance.square().sum(), influence.std() / math.sqrt(len(codes))


def test_angle_spectrum_sampled(generator):
    noise = torch.randn(1_000_000, 6, generator=generator, dtype=F64)
    codes = noise * WORKED[1].sqrt()
    mean, se = moments_of_angles(codes)
    expected = angle_spectrum(WORKED[1])
    # 1e-12: the angle of the last active mode is cos² = 1 without spread.
    assert torch.equal(mean.isnan(), expected.isnan())
    assert (mean - expected)[:4].abs().le(4 * se[:4] + 1e-12).all()
    # Plug-in χ of N points is biased by less than n²/N.
    chi, chi_se = chi_of_directions(codes)
    assert abs(chi - angular_susceptibility(WORKED[1])) <= 4 * chi_se + 36 / len(codes)
    # Sampled codes z = μ + σε, σ² = 1 − m, are N(0, I) in the aggregate: blind to the spectrum.
    blind = codes + torch.randn(codes.shape, generator=generator, dtype=F64) * (1 - WORKED[1]).sqrt()
    mean, se = moments_of_angles(blind)
    assert (mean - uniform_cos_angle_var(6)).abs().le(4 * se).all()


def test_angle_spectrum_needs_the_principal_axes(generator):
    codes = torch.randn(200_000, 6, generator=generator, dtype=F64) * WORKED[1].sqrt()
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=F64))[0]
    rotated = codes @ rotation
    # ‖C‖_F² is the same number in every frame, the angles are not.
    close(chi_of_directions(rotated)[0], chi_of_directions(codes)[0], 1e-12)
    mean, se = moments_of_angles(rotated)
    assert (mean - angle_spectrum(WORKED[1]))[:3].abs().gt(10 * se[:3]).any()


def test_cos_angles_two_point_codes():
    # μ_k = ±√m_k, all signs: cos²φ_k = m_k/Σ_{j≥k} m_j, and χ of directions equals that of raw codes, nΣm²/(Σm)².
    modes = WORKED[1, :4]
    codes = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4)), dtype=F64) * modes.sqrt()
    exact = modes / modes.flip(0).cumsum(0).flip(0)
    close(cos_angles(codes).square(), exact[:-1].expand(16, 3), 1e-15)
    chi = 6 / 4 * chi_of_directions(codes)[0]  # the two collapsed axes count in n = 6
    close(chi, 6 * modes.square().sum() / modes.sum() ** 2, 1e-14)
    close(chi, 1.617391, PRINTED)
    # Not Gaussian: the inverse reads another spectrum from them, .231 instead of .432 in the last ratio.
    ratios = spectrum_from_angles(exact[:-1])
    assert abs(ratios[3] - 0.231) < 5.1e-4
    assert abs(modes[3] / modes[0] - 0.432) < 5.1e-4


# spectrum_from_angles -----------------------------------------------------------------------------------------------


def test_spectrum_from_angles_worked():
    close(spectrum_from_angles(angle_spectrum(WORKED)), WORKED / WORKED[:, :1], 1e-9)


def test_spectrum_from_angles_any_order(generator):
    modes = 10 ** (8 * torch.rand(4, 60, generator=generator, dtype=F64) - 4)
    modes[0, 7] = modes[0, 8] = modes[1, 50:] = modes[2, 0] = 0
    recovered = spectrum_from_angles(angle_spectrum(modes))
    first = torch.stack([row[row > 0][0] for row in modes])
    torch.testing.assert_close(recovered, modes / first[:, None], rtol=1e-9, atol=0.0)


def test_spectrum_from_angles_sampled(generator):
    codes = torch.randn(10_000, 4, generator=generator, dtype=F64) * WORKED[1, :4].sqrt()
    ratios = spectrum_from_angles(moments_of_angles(codes)[0])
    sd = torch.tensor([0.023, 0.019, 0.010], dtype=F64)  # of 10⁴ codes, by repetition
    assert (ratios[1:] - torch.tensor([0.9189, 0.7568, 0.4324])).abs().le(4 * sd).all()


@pytest.mark.parametrize(
    ("cos2", "message"),
    [
        ([], "n_latent - 1 >= 1"),
        ([0.5, 1.2], "in \\[0, 1\\)"),
        ([-0.1, 0.5], "in \\[0, 1\\)"),
        ([NAN, NAN], "then NaN"),
        ([0.5, NAN], "then NaN"),
        ([0.5, NAN, 0.5], "then NaN"),
        ([1.0, 0.5], "then NaN"),
        ([0.5, 1e-40], "ratios within"),
    ],
)
def test_spectrum_from_angles_refuses(cos2, message):
    with pytest.raises(ValueError, match=message):
        spectrum_from_angles(torch.tensor(cos2, dtype=F64))
