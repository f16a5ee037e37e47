"""Hyperspherical angles: there and back, their cosines, their moments against the dense form in value and gradient."""

import math
import os
import subprocess
import sys

import pytest
import torch

from latentlib import angle_law, angles
from latentlib.angles import angle_statistics, cos_angles, from_angles, to_angles
from latentlib.reference import angles as reference

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
F32, F64 = torch.float32, torch.float64
NAN = math.nan

needs_kernel = pytest.mark.skipif(not INTERPRETED and not torch.cuda.is_available(), reason="no GPU and no interpreter")
all_impls = pytest.mark.parametrize("impl", ["reference", pytest.param("triton", marks=needs_kernel)])


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


def test_cos_angles_relative_and_published_eps(generator):
    codes = 0.1 * torch.randn(5, 9, generator=generator, dtype=F64)
    suffix = codes.square().flip(1).cumsum(1).flip(1)
    exact = codes[:, :-1] / (suffix[:, :-1] + 0.03**2 * suffix[:, :1]).sqrt()
    close(cos_angles(codes, eps=0.03), exact, 1e-15)
    close(cos_angles(5 * codes, eps=0.03), exact, 1e-15)  # relative: scale free
    close(cos_angles(codes, eps="published"), codes[:, :-1] / (suffix[:, :-1] + 1e-3).sqrt(), 1e-15)
    for eps in (0.03, "published"):
        assert torch.autograd.gradcheck(lambda z: cos_angles(z, eps=eps), codes.clone().requires_grad_())
    zeros = torch.zeros(1, 3, dtype=F64)
    close(cos_angles(zeros, eps="published"), [[0, 0]], 0.0)
    close(cos_angles(zeros, eps=0.03), [[NAN, NAN]], 0.0)


def test_cos_angles_published_ladder():
    # x_k ∝ .3^k at radius √128: exact cosines are all .954; the authors' 1e-3 lets go of the fifth (published formula).
    codes = 0.3 ** torch.arange(1, 31, dtype=F64)[None]
    codes *= math.sqrt(128) / codes.norm()
    ladder = [0.954, 0.954, 0.953, 0.949, 0.902, 0.626, 0.241, 0.074, 0.022]
    close(cos_angles(codes, eps="published")[0, :9], ladder, 5.1e-4)
    close(cos_angles(codes)[0, :9], torch.full((9,), 0.954), 5.1e-4)


CAPS = {0.3: (31, 124, 139), 0.5: (31, 40, 45), 0.8: (10, 11, 12), 0.9: (6, 7, 7), 0.95: (4, 5, 5)}  # by the published formula


@pytest.mark.parametrize("cosine, lengths", CAPS.items())
def test_cos_angles_published_eps_caps_the_ordered_angles(cosine, lengths):
    # The longest run of angles with this cosine at radius² = n: each takes z_k² = c²(S + ε) of what is left, S.
    for n_latent, expected in zip((32, 128, 512), lengths):
        left, codes = float(n_latent), []
        while left > 0 and len(codes) < n_latent:
            square = cosine**2 * (left + angles.PUBLISHED_EPS)
            codes.append(math.sqrt(min(square, left)))
            left -= codes[-1] ** 2
        codes = torch.tensor([codes + [0.0] * (n_latent - len(codes))], dtype=F64)
        ordered = cos_angles(codes, eps="published")[0] >= cosine - 1e-9
        assert int(ordered.cumprod(0).sum()) == expected


@pytest.mark.parametrize("eps", ["Published", -1e-3, NAN, math.inf, True, [1e-3]])
def test_eps_refuses(eps):
    for function in (cos_angles, angle_statistics):
        with pytest.raises(ValueError, match=f"{function.__name__}: want eps None, 'published' or a finite number"):
            function(torch.ones(3, 3), eps=eps)


# to_angles, from_angles ---------------------------------------------------------------------------------------------


def round_trip_error(codes: torch.Tensor, log_space: bool) -> tuple[float, float]:
    """Largest |ẑ_k − z_k| as a share of the row's norm, and of the norm √S_k of the tail it begins."""
    back = from_angles(*to_angles(codes, log_space=log_space))
    assert back.dtype == codes.dtype
    x, tail, scale = reference.suffix_norms(codes)
    error = (back.double() / scale - x).abs()
    assert (error[tail == 0] == 0).all() or not log_space
    return (error / tail[:, :1]).nan_to_num().max().item(), (error / tail)[tail > 0].max().item()


def hard_codes(n_latent: int, generator: torch.Generator) -> torch.Tensor:
    """Gaussian rows, and poles, zero tails, zero heads, a row of zeros, an equal row, tails that shrink either way."""
    codes = torch.randn(40, n_latent, generator=generator, dtype=F64)
    codes[:6] = 0
    codes[0, 0], codes[1, 0], codes[2, -1], codes[3, -1] = 2, -2, 3, -3
    codes[4, n_latent // 2] = -1
    codes[6, n_latent // 2 :] = 0
    codes[7, : n_latent // 2] = 0
    codes[8] = 1
    codes[9] = 0.5 ** torch.arange(n_latent, dtype=F64).clamp(max=100)
    codes[10] = -codes[9]
    codes[11, 0], codes[12, 0] = 1e9, -1e9
    return codes


@pytest.mark.parametrize("log_space", [False, True])
@pytest.mark.parametrize("n_latent", [2, 3, 8, 128, 1024, 4096])
def test_to_angles_round_trip(n_latent, log_space, generator):
    codes = hard_codes(n_latent, generator)
    # The bars. Angles and their logarithms are rounded by half a unit of π, 2⁻²³ in float32, wherever the row is.
    assert round_trip_error(codes, log_space)[0] <= 1e-13
    assert round_trip_error(codes.float(), log_space)[0] <= 5e-6


@pytest.mark.parametrize("dtype", [F32, F64])
def test_to_angles_log_space_keeps_every_tail(dtype, generator):
    info = torch.finfo(dtype)
    span = -math.log10(info.tiny)
    codes = torch.randn(30, 20, generator=generator, dtype=F64).clamp(-2, 2)
    codes = codes.sign() * 10 ** (-span * torch.rand(30, 20, generator=generator, dtype=F64))
    codes[:10] = codes[:10].abs().sort(1, descending=True).values * codes[:10].sign()  # ever deeper
    codes[:, 0] = -1
    codes[10:15, 1:] = info.tiny * codes[10:15, 1:].sign()
    codes[15:20, 1:-1] = 0
    codes = codes.to(dtype)
    # Every logarithm is rounded by u of itself, and they add up to the tail's: u·|ln tiny|; angles and radius add a few
    # u; the sums of 20, in float64, round by 20·2⁻⁵³·|ln tiny| at most.
    budget = info.eps / 2 * (10 - math.log(info.tiny)) + 20 * 2.0**-53 * -math.log(info.tiny)
    assert round_trip_error(codes, log_space=True)[1] <= budget
    # The angle alone loses such a tail beside π, and rounds it to a unit of π at least.
    assert round_trip_error(codes, log_space=False)[1] > 1
    assert round_trip_error(codes.abs(), log_space=False)[1] <= budget  # beside 0 it does not


def test_to_angles_small_exact():
    codes = torch.tensor([[1, 1, 1], [1, 1, -1], [-2, 0, 0], [0, 0, -3], [0, -1, 0], [0, 0, 0]], dtype=F64)
    radius, found = to_angles(codes)
    first = math.acos(1 / math.sqrt(3))
    close(radius, [math.sqrt(3), math.sqrt(3), 2, 3, 1, 0], 1e-15)
    quarter = math.pi / 4
    expected = [
        [first, quarter], [first, 7 * quarter], [math.pi, 0],
        [2 * quarter, 6 * quarter], [2 * quarter, 4 * quarter], [0, 0],
    ]  # fmt: skip
    close(found, expected, 1e-15)
    close(to_angles(torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=F64))[1], [[quarter], [7 * quarter]], 1e-15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, F32, F64])
def test_to_angles_last_angle_is_below_a_full_turn_and_keeps_its_side(dtype):
    tiny = torch.finfo(dtype).tiny
    codes = torch.tensor([[1, 1, -tiny], [1, -1, -tiny], [1, -1, tiny], [1, 1, tiny], [1, 1, -0.0]], dtype=dtype)
    radius, found, log_sin = to_angles(codes, log_space=True)
    last = found[:, -1].double()
    assert (last[:2] > math.pi).all() and (last[2:] <= math.pi).all() and (last < 2 * math.pi).all()
    assert torch.equal(from_angles(radius, found, log_sin).sign(), codes.sign())
    lost = torch.tensor([[1e200, 1e200, -1e-200], [1e200, -1e200, -1e-200]], dtype=F64)  # z_n is 0 beside the others
    close(from_angles(*to_angles(lost)) / 1e200, [[1, 1, 0], [1, -1, 0]], 4e-16)


def test_to_angles_agree_with_their_cosines_and_sines(generator):
    codes = torch.randn(20, 30, generator=generator, dtype=F64)
    radius, found, log_sin = to_angles(codes, log_space=True)
    close(found.cos(), cos_angles(codes), 1e-14)
    close(log_sin.exp(), found.sin().abs(), 1e-15)
    close(radius, codes.norm(dim=1), 1e-14)
    # Flat angles: log sin φ = −cos²φ/2 far below the rounding of the sine itself.
    close(to_angles(torch.tensor([[1e-12, 1.0]], dtype=F64), log_space=True)[2] / -5e-25, [[1.0]], 1e-12)


def test_to_angles_gradients(generator):
    codes = torch.randn(4, 7, generator=generator, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: to_angles(z, log_space=True), codes)
    assert torch.autograd.gradgradcheck(to_angles, codes)
    radius, found, log_sin = (x.detach() for x in to_angles(codes, log_space=True))
    log_sin -= 0.1  # off its limit 0, which a finite difference would pass
    for arguments in ((radius, found), (radius, found, log_sin)):
        assert torch.autograd.gradcheck(from_angles, [x.clone().requires_grad_() for x in arguments])


def test_to_angles_undefined_ones_have_zero_gradient():
    codes = torch.tensor([[3.0, 4, 0, 0], [0, 0, 0, 0]], dtype=F64, requires_grad=True)
    radius, found = to_angles(codes)
    (gradient,) = torch.autograd.grad(found.sum(), codes)
    close(gradient, [[-4 / 25, 3 / 25, 0, 0], [0, 0, 0, 0]], 1e-16)  # of φ_1 alone; φ_2 = 0 sits at its corner
    (gradient,) = torch.autograd.grad(to_angles(codes)[0].sum(), codes)
    close(gradient, [[0.6, 0.8, 0, 0], [0, 0, 0, 0]], 2e-16)


def test_to_angles_volume_element(generator):
    # |∂z/∂(r, φ)| = r^{n−1} Π_k sin^{n−1−k} φ_k.
    radius, found = to_angles(torch.randn(1, 6, generator=generator, dtype=F64))
    point = torch.cat([radius, found[0]])
    jacobian = torch.autograd.functional.jacobian(lambda y: from_angles(y[:1], y[None, 1:])[0], point)
    powers = torch.arange(4, -1, -1, dtype=F64)
    expected = radius[0] ** 5 * (found[0].sin().abs() ** powers).prod()
    assert jacobian.det().abs().item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.ones(3, 1), "to_angles: want floating .*n_latent >= 2.*\\(3, 1\\)"),
        (torch.ones(0, 3), "n_samples > 0"),
        (torch.ones(3, 3, dtype=torch.int64), "int64"),
        (torch.tensor([[1.0, NAN]]), "to_angles: want finite codes, got NaN or infinity"),
    ],
)
def test_to_angles_refuses(codes, message):
    with pytest.raises(ValueError, match=message):
        to_angles(codes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(2), torch.ones(2, 0)), "n_latent - 1 >= 1"),
        ((torch.ones(3), torch.ones(2, 2)), "got \\(3,\\) and \\(2, 2\\)"),
        ((torch.ones(2, 1), torch.ones(2, 2)), "want radius \\(n_samples > 0,\\)"),
        ((torch.ones(2), torch.ones(2, 2).double()), "want one floating dtype and device, got torch.float32 in radius"),
        ((torch.ones(2).long(), torch.ones(2, 2).long()), "got torch.int64 in radius"),
        ((-torch.ones(2), torch.ones(2, 2)), "finite radius >= 0"),
        ((torch.full((2,), NAN), torch.ones(2, 2)), "finite radius >= 0"),
        ((torch.ones(2), -torch.ones(2, 2)), "want angles in \\[0, π\\]"),
        ((torch.ones(2), torch.tensor([[4.0, 1.0]]).expand(2, 2)), "want angles in \\[0, π\\]"),
        ((torch.ones(2), torch.tensor([[1.0, 7.0]]).expand(2, 2)), "the last in \\[0, 2π\\]"),
        ((torch.ones(2), torch.full((2, 2), NAN)), "outside or NaN"),
        ((torch.ones(2), torch.ones(2, 2), torch.zeros(2, 1)), "want log_sin \\(2, 2\\) like angles, got \\(2, 1\\)"),
        ((torch.ones(2), torch.ones(2, 2), torch.ones(2, 2)), "want log_sin <= 0"),
    ],
)
def test_from_angles_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        from_angles(*arguments)


def test_from_angles_takes_rounded_half_and_full_turns():
    turns = torch.tensor([[math.pi, 2 * math.pi]])  # float32 rounds both up
    assert turns.double()[0, 0] > math.pi
    close(from_angles(torch.ones(1), turns), [[-1, 0, 0]], 0.0)


# angle_statistics ---------------------------------------------------------------------------------------------------


def dense_cosines(z: torch.Tensor, relative: float, absolute: float) -> torch.Tensor:
    """z_k/√(Σ_j mask_kj z_j² + floor) with the (batch, n, n) mask of the published code: the oracle."""
    mask = torch.ones(z.shape[1], z.shape[1], dtype=z.dtype).triu()
    suffix = (z.square()[:, None, :] * mask).sum(2)
    return z[:, :-1] / (suffix[:, :-1] + relative**2 * suffix[:, :1] + absolute).sqrt()


def dense_statistics(z, labels, n_classes, relative, absolute):
    cosine = dense_cosines(z, relative, absolute)
    if labels is None:
        return cosine.mean(0), cosine.var(0)
    rows = [cosine[labels == c] for c in range(n_classes)]
    return torch.stack([row.mean(0) for row in rows]), torch.stack([row.var(0) for row in rows])


def weighed(mean: torch.Tensor, var: torch.Tensor) -> torch.Tensor:
    """A scalar with another weight for every entry of both."""
    weight = torch.arange(1, mean.numel() + 1, dtype=F64).reshape(mean.shape).cos().to(mean)
    return (weight * mean).sum() + ((2 * weight + 1) * var).sum()


FLOORS = {None: (0.0, 0.0), 0.01: (0.01, 0.0), "published": (0.0, 1e-3)}  # eps: relative, absolute; None in float64


@pytest.mark.parametrize("eps", FLOORS)
@pytest.mark.parametrize("n_classes", [None, 1, 4])
def test_angle_statistics_equal_the_dense_form(n_classes, eps, generator):
    z = 0.3 * torch.randn(24, 11, generator=generator, dtype=F64, requires_grad=True)
    labels = None if n_classes is None else torch.randperm(24, generator=generator) % n_classes
    found = angle_statistics(z, labels=labels, n_classes=n_classes, eps=eps)
    mean, var = dense_statistics(z, labels, n_classes, *FLOORS[eps])
    close(found.mean, mean, 1e-14)
    close(found.var, var, 1e-14)
    close(found.std, var.sqrt(), 1e-14)
    gradients = [torch.autograd.grad(weighed(*pair), z)[0] for pair in ((found.mean, found.var), (mean, var))]
    close(gradients[0], gradients[1], 1e-13)


@pytest.mark.parametrize("eps", FLOORS)
@pytest.mark.parametrize("n_classes", [None, 3])
def test_angle_statistics_gradient(n_classes, eps, generator):
    z = torch.randn(8, 5, generator=generator, dtype=F64, requires_grad=True)
    labels = None if n_classes is None else torch.arange(8) % 3

    def statistics(z):
        found = angle_statistics(z, labels=labels, n_classes=n_classes, eps=eps)
        return found.mean, found.var, found.std

    assert torch.autograd.gradcheck(statistics, z)
    assert torch.autograd.gradgradcheck(statistics, z)


def test_angle_statistics_of_one_class_are_those_of_the_batch(generator):
    z, zeros = torch.randn(9, 6, generator=generator), torch.zeros(9, dtype=torch.int64)
    alone, batch = angle_statistics(z, labels=zeros, n_classes=1), angle_statistics(z)
    close(alone.mean[0], batch.mean, 1e-7)  # the same sums in another order
    close(alone.var[0], batch.var, 1e-7)
    assert alone.mean.shape == (1, 5) and batch.mean.shape == (5,)


def test_angle_statistics_of_uniform_points_follow_the_null(generator):
    n_samples, n_latent = 20_000, 40
    found = angle_statistics(torch.randn(n_samples, n_latent, generator=generator))
    null = angle_law.uniform_cos_angle_var(n_latent)
    assert (found.mean.abs() <= 4.5 * (null / n_samples).sqrt()).all()
    # E cos⁴ = 3/(d(d+2)) with d = n−k+1: Var cos² = 2(d−1)/(d²(d+2)).
    d = 1 / null
    assert ((found.var - null).abs() <= 4.5 * (2 * (d - 1) / (d.square() * (d + 2)) / n_samples).sqrt()).all()


SCALES = [(F32, 1e-30), (F32, 1e30), (F64, 1e-300), (F64, 1e300), (torch.bfloat16, 2.0**90)]


@pytest.mark.parametrize("dtype, scale", SCALES)
def test_angle_statistics_are_scale_free(dtype, scale, generator):
    z = torch.randn(30, 8, generator=generator, dtype=F64).to(dtype)
    found, plain = angle_statistics(z * scale), angle_statistics(z)
    assert found.mean.dtype == (F64 if dtype == F64 else F32)
    tolerance = 4 * torch.finfo(found.mean.dtype).eps  # z·scale is rounded once more, and is not for powers of two
    close(found.mean, plain.mean, tolerance)
    close(found.var, plain.var, tolerance)


def test_angle_statistics_default_eps_is_where_float32_sums_end(generator):
    # A tail of 1e-30 of the row is ordered in float64; float32 sums let its cosines go to 0 with a finite gradient.
    z = torch.ones(4, 3, dtype=F64)
    z[:, 1:] *= 1e-30
    close(angle_statistics(z).mean, [1, math.sqrt(0.5)], 1e-15)
    z = z.float().requires_grad_()
    found = angle_statistics(z)
    close(found.mean, [1, 0], 1e-11)  # 1 − ε²/2
    (gradient,) = torch.autograd.grad(found.mean.sum(), z)
    assert gradient.abs().max() <= 1.01 / 1e-6 / 4  # 1/(ε r) at most, a share of four samples each


@all_impls
def test_angle_statistics_of_undefined_angles(impl):
    rows = torch.tensor([[3.0, 4, 0, 0], [1, 1, 1, 1], [-3, 4, 0, 0]], device=DEVICE)
    z = rows.clone().requires_grad_()
    found = angle_statistics(z, eps=0.0, impl=impl)
    close(found.mean.cpu(), [1 / 6, 2 / 3 + 1 / 3 / math.sqrt(3), NAN], 2e-7)
    assert found.var.isnan().tolist() == [False, False, True]
    (gradient,) = torch.autograd.grad(found.mean[:2].sum() + found.var[:2].sum(), z)
    exact = rows.double().clone().requires_grad_()
    cosine = cos_angles(exact)[:, :2]
    close(gradient.cpu(), torch.autograd.grad(cosine.mean(0).sum() + cosine.var(0).sum(), exact)[0].cpu(), 1e-6)
    rows[1] = 0  # a row of zeros has no angle at all, whatever the relative ε
    assert angle_statistics(rows, eps=0.1, impl=impl).mean.isnan().all()
    close(angle_statistics(rows, eps="published", impl=impl).mean[:2].cpu(), [0, 2 / 3], 1e-4)


@all_impls
def test_angle_statistics_of_constant_codes(impl):
    z = torch.tensor([[1.0, 2, -3, 0.5]], device=DEVICE).expand(7, -1).clone().requires_grad_()
    found = angle_statistics(z, impl=impl)
    close(found.mean.detach().cpu(), cos_angles(z.detach().double().cpu())[0], 1e-6)
    assert (found.var.abs() <= 1e-13).all()  # rounding of float32 squared
    (gradient,) = torch.autograd.grad(found.var.sum(), z)
    assert gradient.isfinite().all() and gradient.abs().max() <= 1e-6


@all_impls
def test_angle_statistics_missing_classes(impl, generator):
    z = torch.randn(5, 6, generator=generator).to(DEVICE).requires_grad_()
    labels = torch.tensor([0, 0, 3, 0, 0], device=DEVICE)
    found = angle_statistics(z, labels=labels, n_classes=4, missing="nan", impl=impl)
    assert found.mean.isnan().all(1).tolist() == [False, True, True, False]
    assert found.var.isnan().all(1).tolist() == [False, True, True, True]
    close(found.mean[3].detach().cpu(), cos_angles(z.detach())[2].cpu(), 1e-6)
    (gradient,) = torch.autograd.grad(found.mean.nansum() + found.var.nansum(), z)
    exact = z.detach().double().requires_grad_()
    cosine = cos_angles(exact)
    kept = cosine[labels == 0]
    expected = torch.autograd.grad(kept.mean(0).sum() + kept.var(0).sum() + cosine[2].sum(), exact)[0]
    close(gradient.cpu(), expected.cpu(), 2e-5)
    one = angle_statistics(z[:1], missing="nan", impl=impl)
    assert one.mean.isfinite().all() and one.var.isnan().all()


def test_angle_statistics_refuses():
    z, labels = torch.ones(4, 3), torch.tensor([0, 1, 0, 1])
    bad = z.clone()
    for value in (NAN, math.inf, -math.inf):
        bad[1, 2] = value
        with pytest.raises(ValueError, match="angle_statistics: want finite codes, got NaN or infinity"):
            angle_statistics(bad)
    for options, message in (
        ({"labels": labels}, "want labels and n_classes, or neither, got n_classes = None"),
        ({"n_classes": 2}, "want labels and n_classes, or neither, got n_classes = 2"),
        ({"labels": labels, "n_classes": 0}, "n_classes: want an integer >= 1, got 0"),
        ({"labels": labels, "n_classes": 2.0}, "n_classes: want an integer >= 1, got 2.0"),
        ({"labels": labels.float(), "n_classes": 2}, "labels: want a tensor of whole numbers, got torch.float32"),
        ({"labels": [0, 1, 0, 1], "n_classes": 2}, "labels: want a tensor of whole numbers, got list"),
        ({"labels": labels[:3], "n_classes": 2}, "labels: want one a sample, \\(4,\\) on cpu, got \\(3,\\) on cpu"),
        ({"labels": labels + 1, "n_classes": 2}, "labels: want classes 0 … 1, got a label outside"),
        ({"labels": labels - 1, "n_classes": 2}, "labels: want classes 0 … 1, got a label outside"),
        ({"labels": labels, "n_classes": 4}, "samples in each of 4 classes, got fewer in \\[2, 3\\]; or missing='nan'"),
        ({"missing": "skip"}, "want missing 'raise' or 'nan', got 'skip'"),
        ({"impl": "cuda"}, "impl: want None, 'reference' or 'triton', got 'cuda'"),
    ):
        with pytest.raises(ValueError, match=message):
            angle_statistics(z, **options)
    for codes, message in (
        (z[:1], "want two or more samples for a variance, got 1; or missing='nan'"),
        (torch.ones(3, 1), "angle_statistics: want floating .*n_latent >= 2"),
        (torch.ones(3), "want floating"),
        (torch.ones(3, 3).long(), "int64"),
    ):
        with pytest.raises(ValueError, match=message):
            angle_statistics(codes)
    for codes in (z.double(), torch.ones(2, angles.KERNEL_LATENT_MAX + 1)):
        with pytest.raises(ValueError, match="impl='triton' for angles: want float32 or half precision codes"):
            angle_statistics(codes, impl="triton")


# The kernel's own laws ----------------------------------------------------------------------------------------------


@needs_kernel
@pytest.mark.parametrize("n_classes, eps", [(None, 0.1), (3, "published")])
@pytest.mark.parametrize("shape", [(2, 2), (63, 33), (1000, 129)])
def test_angle_statistics_kernel_error_is_within_twice_torch(shape, n_classes, eps, generator):
    codes = torch.randn(shape, generator=generator).to(DEVICE)
    labels = None if n_classes is None else torch.arange(shape[0], device=DEVICE) % n_classes
    results = []
    for impl, dtype in (("reference", F64), ("reference", F32), ("triton", F32)):
        z = codes.to(dtype).requires_grad_()
        found = angle_statistics(z, labels=labels, n_classes=n_classes, eps=eps, missing="nan", impl=impl)
        loss = weighed(found.mean.nan_to_num(), found.var.nan_to_num())
        results.append((found.mean.detach(), found.var.detach(), torch.autograd.grad(loss, z)[0]))
    for exact, torch_found, kernel_found in zip(*results):
        assert torch.equal(exact.isnan(), kernel_found.isnan())
        error, budget = ((found.double() - exact).nan_to_num().abs().max() for found in (kernel_found, torch_found))
        assert error <= 2 * budget + torch.finfo(F32).eps * exact.nan_to_num().abs().max()


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_angle_statistics_kernel_takes_half_precision(dtype, generator):
    z = torch.randn(20, 9, generator=generator).to(DEVICE, dtype).requires_grad_()
    found, expected = angle_statistics(z, impl="triton"), angle_statistics(z.detach().float())
    close(found.mean.detach(), expected.mean, 1e-6)
    close(found.var.detach(), expected.var, 1e-6)
    assert torch.autograd.grad(found.var.sum(), z)[0].dtype == dtype


@needs_kernel
@pytest.mark.parametrize("shape", [(2, 2), (63, 33), (7, 130)])
@pytest.mark.parametrize("n_classes", [None, 3])
def test_angle_statistics_kernel_reads_and_leaves_no_poison(shape, n_classes, generator, monkeypatch):
    from latentlib.kernels import angles as kernel

    codes = torch.randn(shape, generator=generator).to(DEVICE)
    labels = None if n_classes is None else torch.arange(shape[0], device=DEVICE) % n_classes
    # NaN right behind the last row: an unmasked load would carry it into sums. Outputs start as NaN.
    memory = torch.full((2 * codes.numel() + kernel.TILE,), NAN, device=DEVICE)
    memory[: codes.numel()] = codes.flatten()
    poisoned = memory[: codes.numel()].view(shape)

    def run(z):
        z = z.detach().requires_grad_()
        found = angle_statistics(z, labels=labels, n_classes=n_classes, missing="nan", impl="triton")
        loss = weighed(found.mean.nan_to_num(), found.var.nan_to_num())
        return found.mean, found.var, torch.autograd.grad(loss, z)[0]

    plain = run(codes)
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, **kwargs: empty(*size, **kwargs).fill_(NAN))
    for found, expected in zip(run(poisoned), plain):
        close(found.detach(), expected.detach(), 0.0)


@needs_kernel
@pytest.mark.filterwarnings("ignore:invalid value")  # of the interpreter, at ∞·0
@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_angle_statistics_kernel_sees_values_that_are_not_finite(value):
    if not INTERPRETED:
        pytest.skip("on a GPU the assertion would stop the device for every test after it")
    z = torch.ones(70, 9)
    z[65, 4] = value
    with pytest.raises(ValueError, match="angle_statistics: want finite codes, got NaN or infinity"):
        angle_statistics(z, impl="triton")


@needs_kernel
def test_angle_statistics_kernel_has_no_second_derivative(generator):
    z = torch.randn(4, 3, generator=generator).to(DEVICE).requires_grad_()
    mean = angle_statistics(z, impl="triton").mean
    with pytest.raises(RuntimeError, match="want impl='reference' for second derivatives, got 'triton'"):
        torch.autograd.grad(mean.sum(), z, create_graph=True)


@pytest.mark.skipif(not torch.cuda.is_available() or INTERPRETED, reason="no GPU")
@pytest.mark.parametrize("impl", ["reference", "triton"])
def test_angle_statistics_never_wait_for_the_gpu(impl, generator):
    z = torch.randn(64, 16, generator=generator).to(DEVICE).requires_grad_()
    labels = torch.arange(64, device=DEVICE) % 4
    for options in ({}, {"labels": labels, "n_classes": 4}):
        for mode in ("default", "error"):  # the first turn compiles
            torch.cuda.set_sync_debug_mode(mode)
            try:
                found = angle_statistics(z, impl=impl, **options)
                torch.autograd.grad(found.mean.sum() + found.var.sum(), z)
            finally:
                torch.cuda.set_sync_debug_mode("default")


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from latentlib.kernels import angles as kernel
types = {"order_ptr": "*i64", "start_ptr": "*i64", "n_latent": "i32", "relative_square": "fp32", "absolute": "fp32"}
for function in (kernel._moments, kernel._gradient):
    for codes, ordered, latent in (("*fp32", False, 512), ("*bf16", True, 64)):
        constants = dict(ORDERED=ordered, ROWS=kernel.TILE // latent, LATENT=latent)
        names = function.arg_names
        signature = {name: types.get(name, "*fp32") for name in names} | {"z_ptr": codes}
        signature |= dict.fromkeys(constants, "constexpr")
        source = ASTSource(fn=function, signature=signature, constexprs=constants)
        ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4}).asm["ptx"]
        assert "rsqrt.approx" in ptx and "atom." not in ptx and "red.global" not in ptx
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Triton brings its compiler on Linux alone")
def test_angle_statistics_kernel_compiles_without_atomics_or_a_gpu():
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    done = subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_cos_angles_jacobian_by_torch_func(generator):
    codes = torch.randn(5, 7, generator=generator, dtype=F64)

    def first_row(z):
        return angles.cos_angles(z[None])[0]

    for z in codes:
        expected = torch.autograd.functional.jacobian(first_row, z)
        torch.testing.assert_close(torch.func.jacrev(first_row)(z), expected, rtol=1e-13, atol=1e-13)  # the same sums
