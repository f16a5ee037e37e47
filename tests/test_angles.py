"""Angles of codes and the spectrum they carry, against closed forms and one spectrum worked by hand."""

import itertools
import math

import pytest
import torch
from scipy.special import elliprd

from latentlib.angles import (
    angle_spectrum,
    angular_susceptibility,
    cos_angles,
    direction_spectrum,
    spectrum_from_angles,
    uniform_cos_angle_var,
)

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


# cos_angles ---------------------------------------------------------------------------------------------------------


def test_cos_angles_small_exact():
    close(cos_angles(torch.ones(1, 3, dtype=F64)), [[1 / math.sqrt(3), 1 / math.sqrt(2)]], 1e-15)
    n = 100
    close(cos_angles(torch.ones(1, n, dtype=F64))[0], (n - torch.arange(1, n, dtype=F64) + 1).rsqrt(), 1e-14)
    north = torch.tensor([[1.0, 0, 0, 0]], dtype=F64)
    close(cos_angles(north), [[1.0, NAN, NAN]], 0.0)


def test_cos_angles_undefined_after_the_last_nonzero_entry():
    codes = torch.tensor([[3.0, 4, 0, 0, 0], [0, 0, -2, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 5]], dtype=F64)
    expected = [[0.6, 1, NAN, NAN], [0, 0, -1, NAN], [NAN] * 4, [0, 0, 0, 0]]
    close(cos_angles(codes), expected, 1e-16)


def test_cos_angles_has_no_epsilon_ladder():
    # x_k ∝ .3^k: cos²φ_k = (1 − .09)/(1 − .09^{n−k+1}). With the published ε = 1e-3 the ninth cosine would be .022.
    n = 24
    k = torch.arange(1, n + 1, dtype=F64)
    exact = (0.91 / (1 - 0.09 ** (n - k[:-1] + 1))).sqrt()
    for dtype in (F64, torch.float32):
        codes = (0.3**k).to(dtype)[None]
        # The suffix sum is float64 in both; what remains is the rounding of the input and of the result.
        close(cos_angles(codes)[0].double(), exact, 4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(("dtype", "scales"), [(torch.float32, (1e-36, 1e36)), (F64, (1e-290, 1e290))])
def test_cos_angles_scale_free(dtype, scales, generator):
    codes = torch.randn(50, 33, generator=generator, dtype=F64).to(dtype)
    for scale in scales:
        # One rounding of c·z and one of the result.
        close(cos_angles(codes * scale), cos_angles(codes), 4 * torch.finfo(dtype).eps)


def test_cos_angles_inverts_to_the_direction(generator):
    codes = torch.randn(20, 40, generator=generator, dtype=F64)
    cosines = cos_angles(codes)
    sines = (1 - cosines.square()).sqrt()
    before = torch.cat([torch.ones(20, 1, dtype=F64), sines.cumprod(1)], 1)  # Π_{j<k} sin φ_j
    directions = codes / codes.norm(dim=1, keepdim=True)
    close(cosines * before[:, :-1], directions[:, :-1], 1e-14)
    close(before[:, -1], directions[:, -1].abs(), 1e-13)


def test_cos_angles_gradient(generator):
    codes = torch.randn(4, 7, generator=generator, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(cos_angles, codes)
    # ∂cos φ_k/∂z_j = δ_jk/√S_k − z_k z_j/S_k^{3/2} for j ≥ k, 0 before.
    (gradient,) = torch.autograd.grad(cos_angles(codes)[0, 2], codes)
    row = codes[0].detach()
    norm = row[2:].norm()
    expected = torch.zeros(7, dtype=F64)
    expected[2:] = -row[2] * row[2:] / norm**3
    expected[2] += 1 / norm
    close(gradient[0], expected, 1e-14)
    close(gradient[1:], torch.zeros(3, 7), 0.0)


def test_cos_angles_undefined_ones_have_zero_gradient():
    codes = torch.tensor([[3.0, 4, 0, 0], [0, 0, 0, 0]], dtype=F64, requires_grad=True)
    (gradient,) = torch.autograd.grad(cos_angles(codes).nansum(), codes)
    # Only cos φ_1 = 3/5 moves with its own axes: (16/125, −12/125); cos φ_2 = 1 is at its maximum.
    close(gradient, [[0.128, -0.096, 0, 0], [0, 0, 0, 0]], 1e-16)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.ones(3), "want floating"),
        (torch.ones(0, 3), "n_samples > 0"),
        (torch.ones(3, 1), "n_latent >= 2"),
        (torch.ones(3, 3, dtype=torch.int64), "int64"),
        (torch.tensor([[1.0, NAN]]), "NaN or infinity"),
        (torch.tensor([[1.0, math.inf]]), "NaN or infinity"),
    ],
)
def test_cos_angles_refuses(codes, message):
    with pytest.raises(ValueError, match=message):
        cos_angles(codes)


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
