"""The hyperspherical losses against their published numbers and an independent form; the true KL against quadrature."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.distributions import Normal, kl_divergence

from latentlib import hyperspherical, vmf
from latentlib._vmf_entropy import ORDER_LIMIT, field_and_entropy, relative_entropy
from latentlib.hyperspherical import hyperspherical_loss, orderable_angles, sphere_sample

F64 = torch.float64
TERMS = ("angle_mean", "angle_std", "radius", "sigma_angle", "sigma_radius")
PRINTED = 6e-11  # half a unit of the tenth digit, in 1


def fixed_input(n_samples: int = 64, n_latent: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """The input of the published exact values."""
    b = torch.arange(1, n_samples + 1, dtype=F64)[:, None]
    k = torch.arange(1, n_latent + 1, dtype=F64)
    mu = torch.sin(1.3 * b + 0.7 * k) + 0.5 * torch.cos(0.11 * b * k)
    return mu, -2 + 0.5 * torch.sin(0.9 * b + 0.3 * k)


def random_input(n_samples: int, n_latent: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    mu, log_var = torch.randn(2, n_samples, n_latent, generator=draw, dtype=F64)
    return mu + 0.3, log_var - 1


def uniform_pairs(n_pairs: int, n_latent: int, seed: int = 0) -> torch.Tensor:
    """Uniform directions and their antipodes, at which every mean cosine is exactly 0."""
    z = torch.randn(n_pairs, n_latent, generator=torch.Generator().manual_seed(seed), dtype=F64)
    return torch.cat([z, -z]) * (math.sqrt(n_latent) / z.norm(dim=1).repeat(2))[:, None]


# The published presets, term by term in numpy, one angle at a time ---------------------------------------------------


def cosines(codes: np.ndarray, eps: float = 1e-3) -> np.ndarray:
    n_latent = codes.shape[1]
    columns = [codes[:, k] / np.sqrt((codes[:, k:] ** 2).sum(1) + eps) for k in range(n_latent - 1)]
    return np.stack(columns, 1)


def penalty(deviation: float, wanted: float) -> float:
    return (deviation + 1 - wanted) ** 2 - math.log((deviation + 1 - wanted) ** 2) - 1


def spread(values: np.ndarray) -> float:
    return math.sqrt(values.var(ddof=1) + 1e-4)


def published(mu, log_var, *, target, labels=None, stride=0, mean_gains=None, kappa=1.0, gain=5e5) -> dict[str, float]:
    mu, noise = mu.numpy(), np.exp(log_var.numpy() / 2)
    n = mu.shape[1]
    w = [50 * math.sqrt(n) / math.sqrt(k) for k in range(1, n)]
    p = [1 / math.sqrt(n - k + 1 + 1e-3) for k in range(1, n)]
    named = {"half": p, "full": [1.0] * (n - 1), "zero": [0.0] * (n - 1)}
    targets = named[target] if isinstance(target, str) else target
    mean_gains = [1.0] * (n - 1) if mean_gains is None else mean_gains
    groups = [mu] if labels is None else [np.roll(mu[labels == c], -c * stride, 1) for c in range(max(labels) + 1)]
    mean_term = std_term = noise_term = 0.0
    for c in map(cosines, groups):
        for k in range(n - 1):
            mean_term += 0.05 * w[k] * mean_gains[k] * (targets[k] - c[:, k].mean()) ** 2
            std_term += w[k] * penalty(spread(c[:, k]), p[k])
    for k, column in enumerate(cosines(noise).T):
        noise_term += w[k] * penalty(spread(column), 0.0) + 0.05 * w[k] * (p[k] - column.mean()) ** 2
    shell, r, s = math.sqrt(n - 0.5), np.linalg.norm(mu, axis=1), np.linalg.norm(noise, axis=1)
    v = spread(s) ** 2 / 0.5
    radius = 50 * penalty(spread(r), 0.0) + 50 * (r.mean() - shell) ** 2
    sigma_radius = 50 * (v - math.log(v) - 1) + 50 * (s.mean() - kappa * shell) ** 2
    total = 1000 * (mean_term + std_term) + 300 * radius + gain * noise_term + 500 * sigma_radius
    return dict(zip((*TERMS, "total"), (mean_term, std_term, radius, noise_term, sigma_radius, total), strict=True))


@pytest.mark.parametrize(
    ("direction", "angle", "total"),
    [("half", 10.0152568276, 3977301.817399), ("full", 65.7874446736, 4033074.005245), ("zero", 1.6936085005, None)],
)
def test_hyperspherical_loss_2025_published_values(direction, angle, total):
    loss = hyperspherical_loss(*fixed_input(), preset="ijcnn2025", direction=direction)
    assert (loss.angle_mean + loss.angle_std).item() == pytest.approx(angle, abs=PRINTED)
    assert loss.radius.item() == pytest.approx(34.5646582858, abs=PRINTED)
    assert loss.sigma_angle.item() == pytest.approx(7.4456883876, abs=PRINTED)
    assert loss.sigma_radius.item() == pytest.approx(468.1459386021, abs=PRINTED)
    if total is not None:
        assert loss.total.item() == pytest.approx(total, abs=1e-6)


@pytest.mark.parametrize(
    ("end_compress", "epoch", "angle"),
    [(14, 0, 4194.9502416462), (14, 150, 7630.0382658330), (0, 0, 3988.7743753717), (0, 150, 5980.6313356371)],
)
def test_hyperspherical_loss_2026_published_values(end_compress, epoch, angle):
    classes = {"labels": torch.arange(64) % 4, "n_classes": 4, "stride": 4}
    loss = hyperspherical_loss(*fixed_input(), preset="ad2026", end_compress=end_compress, epoch=epoch, **classes)
    assert (loss.angle_mean + loss.angle_std).item() == pytest.approx(angle, abs=PRINTED)
    assert loss.sigma_radius.item() == pytest.approx(289.0595151006, abs=PRINTED)
    if (end_compress, epoch) == (14, 0):
        assert loss.total.item() == pytest.approx(8072693.590467, abs=1e-6)
        default = hyperspherical_loss(*fixed_input(), preset="ad2026", epoch=epoch, **classes)
        assert torch.equal(default.total, loss.total)  # all angles


@pytest.mark.parametrize("shape", [(2, 2), (7, 3), (33, 40)])
def test_hyperspherical_loss_2025_is_the_formula(shape):
    mu, log_var = random_input(*shape)
    for direction in hyperspherical.DIRECTIONS:
        loss = hyperspherical_loss(mu, log_var, direction=direction, sigma_radius=0.6, sigma_gain=5e4)
        expected = published(mu, log_var, target=direction, kappa=0.6, gain=5e4)
        # 1e-12: sums of at most 40 terms of one sign, and one cancellation to 1e-2 in the penalties.
        assert {name: getattr(loss, name).item() for name in expected} == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("epoch", "first", "rest"), [(0, 100, 1), (100, 100, 1), (101, 150, 1), (105, 150, 3)])
def test_hyperspherical_loss_2026_is_the_formula(epoch, first, rest):
    mu, log_var = random_input(45, 9)
    labels = torch.arange(45) % 3
    gains = [first, *[rest] * 6, 0]
    loss = hyperspherical_loss(
        mu, log_var, preset="ad2026", labels=labels, n_classes=3, stride=4, epoch=epoch, end_compress=2
    )
    targets = [1.0] * 3 + [0.0] * 5
    options = {"labels": labels.numpy(), "stride": 4, "mean_gains": gains, "kappa": 0.001}
    expected = published(mu, log_var, target=targets, **options)
    assert {name: getattr(loss, name).item() for name in expected} == pytest.approx(expected, rel=1e-12)


def test_hyperspherical_loss_2026_without_labels_is_one_class():
    mu, log_var = random_input(20, 6)
    one = hyperspherical_loss(mu, log_var, preset="ad2026", labels=torch.zeros(20, dtype=torch.int64), n_classes=1)
    bare = hyperspherical_loss(mu, log_var, preset="ad2026")
    assert bare.total.item() == pytest.approx(one.total.item(), rel=1e-14)
    assert bare.cos_mean.shape == (5,) and one.cos_mean.shape == (1, 5)


def test_hyperspherical_loss_rolls_class_poles_to_the_first_axis():
    labels = torch.arange(30) % 3
    mu = 1e-3 * random_input(30, 8)[0]
    mu[torch.arange(30), 3 * labels] += 1.0  # class c sits at axis 3c
    classes = {"labels": labels, "n_classes": 3, "stride": 3}
    for preset in ("ad2026", "nested_vmf"):
        loss = hyperspherical_loss(mu, torch.zeros_like(mu), preset=preset, eps=0.0, **classes)
        # cos φ_1 = 1 − |rest|²/2, |rest|² of 7 squares of 1e-3·(.3 + Gaussian).
        assert (loss.cos_mean[:, 0] - 1).abs().max() < 1e-4


def test_hyperspherical_loss_takes_float32_and_half():
    mu, log_var = random_input(200, 64)
    for preset in hyperspherical.PRESETS:
        exact = hyperspherical_loss(mu, log_var, preset=preset).total.item()
        single = hyperspherical_loss(mu.float(), log_var.float(), preset=preset).total
        # Statistics to a few 6e-8, and two float32 additions of terms of one sign.
        assert single.dtype == torch.float32 and single.item() == pytest.approx(exact, rel=2e-6)
        rounded = hyperspherical_loss(mu.half().double(), log_var.half().double(), preset=preset).total.item()
        half = hyperspherical_loss(mu.half(), log_var.half(), preset=preset).total
        assert half.dtype == torch.float32 and half.item() == pytest.approx(rounded, rel=2e-6)


@pytest.mark.parametrize(
    ("preset", "classes"),
    [("ijcnn2025", False), ("ad2026", False), ("ad2026", True), ("nested_vmf", False), ("nested_vmf", True)],
)
def test_hyperspherical_loss_gradient(preset, classes):
    mu, log_var = (part.requires_grad_() for part in random_input(8, 5, seed=3))
    options = {"labels": torch.arange(8) % 2, "n_classes": 2, "stride": 2} if classes else {}

    def terms(mu, log_var):
        loss = hyperspherical_loss(mu, log_var, preset=preset, epoch=110, **options)
        return tuple(getattr(loss, name) for name in TERMS)

    assert torch.autograd.gradcheck(terms, (mu, log_var))
    loss = hyperspherical_loss(mu, log_var, preset=preset, **options)
    assert not loss.cos_mean.requires_grad and not loss.cos_var.requires_grad


# Properties of the published terms -----------------------------------------------------------------------------------


def test_hyperspherical_loss_of_uniform_codes():
    # Means are exactly 0 at antipodal pairs, so the mean term is .05 Σ w_k t_k² at any batch size.
    mu = uniform_pairs(50, 128)
    weights = 50 * math.sqrt(128) / torch.arange(1, 128, dtype=F64).sqrt()
    assert weights.sum().item() == pytest.approx(11948.882463, abs=6e-7)
    half, full, zero = (
        hyperspherical_loss(mu, torch.zeros_like(mu), direction=direction, eps=0.0).angle_mean.item()
        for direction in ("half", "full", "zero")
    )
    assert half == pytest.approx(14.166681, abs=6e-7) and full == pytest.approx(597.444123, abs=6e-7)
    assert zero < 1e-20
    # With the authors' ε in p_k it is .05 Σ w_k/(d − k + 1 + 1e-3).
    with_eps = (0.05 * weights / (torch.arange(128, 1, -1, dtype=F64) + 1e-3)).sum().item()
    assert hyperspherical_loss(mu, torch.zeros_like(mu)).angle_mean.item() == pytest.approx(with_eps, rel=1e-12)


@pytest.mark.parametrize(("n_samples", "std_term"), [(200, 1.10), (20, 11.8)])
def test_hyperspherical_loss_has_a_floor_at_finite_batches(n_samples, std_term):
    # ⟨mean²⟩ = Var cos φ_k/B exactly, so the mean term at targets 0 is .05 Σ w_k p_k²/B.
    draw = torch.Generator().manual_seed(5)
    terms = []
    for _ in range(60):
        mu = torch.randn(n_samples, 128, generator=draw, dtype=F64)
        loss = hyperspherical_loss(mu, torch.zeros_like(mu), direction="zero", eps=0.0)
        terms.append([loss.angle_mean.item(), loss.angle_std.item()])
    mean, error = np.mean(terms, 0), np.std(terms, 0, ddof=1) / math.sqrt(60)
    assert abs(mean[0] - 14.166681 / n_samples) < 4 * error[0]
    assert abs(mean[1] - std_term) < 4 * error[1] + std_term / 200  # known to three digits
    assert mean[1] > 100 * 0.006 * 20 / n_samples  # far above its value for n_samples → ∞


def test_hyperspherical_loss_std_term_of_uniform_codes_is_what_the_floor_of_variances_leaves():
    # Var = p² at infinitely many samples; s = √(p² + 1e-4) leaves Σ w_k 2(s − p)² ≈ ½·1e-8 Σ w_k/p_k², .0050 at 128.
    dimension = torch.arange(128, 1, -1, dtype=F64)
    weights = 50 * math.sqrt(128) / torch.arange(1, 128, dtype=F64).sqrt()
    expected = 0.5e-8 * (weights * dimension).sum().item()
    assert expected == pytest.approx(0.0050, abs=5e-5)
    # 40 000 uniform codes add 1.10·200/40 000 = .0055, a sum of 127 squares of Gaussians.
    mu = uniform_pairs(20_000, 128, seed=2)
    found = hyperspherical_loss(mu, torch.zeros_like(mu), eps=0.0).angle_std.item()
    assert abs(found - expected - 0.0055) < 4 * 0.0055 * math.sqrt(2 / 127)


def test_hyperspherical_loss_radius_term_contradicts_the_gaussian_shell():
    # Norms of a standard Gaussian in 128 dimensions: mean √127.5 to 1e-5, variance .499; the term wants std 0.
    mean = math.sqrt(2) * math.exp(math.lgamma(64.5) - math.lgamma(64))
    std = math.sqrt(128 - mean**2)
    norm = mean + std * torch.tensor([1.0, -1.0], dtype=F64).repeat(32) * math.sqrt(63 / 64)  # unbiased variance std²
    mu = norm[:, None] * uniform_pairs(32, 128) / math.sqrt(128)
    assert 50 * penalty(std, 0.0) == pytest.approx(42.15, abs=0.005)
    with_floor = 50 * penalty(math.sqrt(std**2 + 1e-4), 0.0) + 50 * (mean - math.sqrt(127.5)) ** 2
    found = hyperspherical_loss(mu, torch.zeros_like(mu)).radius.item()
    assert found == pytest.approx(with_floor, rel=1e-10) and found == pytest.approx(42.161, abs=5e-4)
    # The KL to the shell is 0 there, but for the floor of the variance: ratio 1.0002, KL (2e-4)²/4.
    assert hyperspherical_loss(mu, torch.zeros_like(mu), preset="nested_vmf").radius.item() < 1.1e-8


def test_hyperspherical_loss_full_targets_are_infeasible_together():
    # ⟨c⟩² + Var c ≤ 1: at t = 1 the best is s ≈ p, ⟨c⟩ = √(1 − s²).
    def best(n_latent: int, k: int) -> tuple[float, float]:
        def loss(s: float) -> float:
            return penalty(s, 1 / math.sqrt(n_latent - k + 1)) + 0.05 * (1 - math.sqrt(1 - s * s)) ** 2

        found = minimize_scalar(loss, bounds=(1e-6, 0.999), method="bounded")
        return math.sqrt(1 - found.x**2), found.fun

    assert [best(128, k)[0] for k in (1, 64, 127)] == pytest.approx([0.996, 0.992, 0.714], abs=5e-4)
    # Free codes come near that bound, not below it; 63/64 and the floor 1e-4 of the unbiased variance move it by 2 %.
    bound = sum(50 * math.sqrt(3 / k) * best(3, k)[1] for k in (1, 2))
    mu = random_input(64, 3, seed=1)[0].requires_grad_()
    adam = torch.optim.Adam([mu], lr=0.1)
    for _ in range(150):
        loss = hyperspherical_loss(mu, torch.zeros_like(mu), direction="full", eps=0.0)
        (mu.grad,) = torch.autograd.grad(loss.angle_mean + loss.angle_std, mu)
        adam.step()
    found = (loss.angle_mean + loss.angle_std).item()
    assert 0.98 * bound < found < 1.1 * bound


def test_hyperspherical_loss_of_constant_codes_is_finite():
    mu = torch.ones(10, 6, dtype=F64, requires_grad=True)
    for preset in hyperspherical.PRESETS:
        loss = hyperspherical_loss(mu, torch.zeros(10, 6, dtype=F64), preset=preset)
        (gradient,) = torch.autograd.grad(loss.total, mu)
        assert loss.total.isfinite() and gradient.isfinite().all() and loss.cos_var.abs().max() < 1e-15


# Compression strength -------------------------------------------------------------------------------------------------


def test_hyperspherical_loss_field_scales_every_target():
    mu = uniform_pairs(20, 10)
    for direction in ("half", "full"):
        terms = [
            hyperspherical_loss(mu, torch.zeros_like(mu), direction=direction, field=field).angle_mean.item()
            for field in (0.0, 0.5, 1.0)
        ]
        assert terms[0] < 1e-20 and terms[1] == pytest.approx(terms[2] / 4, rel=1e-12)
    mu, log_var = random_input(20, 10)
    none = hyperspherical_loss(mu, log_var, field=0.0).total
    assert torch.equal(none, hyperspherical_loss(mu, log_var, direction="zero").total)


def test_hyperspherical_loss_angles_choose_who_feels_the_field():
    mu, log_var = random_input(20, 6)
    first = torch.tensor([True, False, False, False, False])
    equator = hyperspherical_loss(mu, log_var, preset="ad2026", angles=first)
    assert torch.equal(equator.total, hyperspherical_loss(mu, log_var, preset="ad2026", end_compress=0).total)
    expected = published(mu, log_var, target=[1.0, 0, 0, 0, 0], mean_gains=[100, 1, 1, 1, 0])["angle_mean"]
    assert equator.angle_mean.item() == pytest.approx(expected, rel=1e-12)
    for preset in hyperspherical.PRESETS:
        none = hyperspherical_loss(mu, log_var, preset=preset, angles=torch.zeros(5, dtype=torch.bool))
        assert torch.equal(none.angle_mean, hyperspherical_loss(mu, log_var, preset=preset, field=0.0).angle_mean)


@pytest.mark.parametrize("preset", sorted(hyperspherical.PRESETS))
def test_hyperspherical_loss_free_angles_have_no_term(preset):
    mu, log_var = random_input(20, 6)
    options = {"preset": preset, "field": 0.5}
    first = torch.tensor([True, False, False, False, False])
    parts = [hyperspherical_loss(mu, log_var, angles=mask, others="free", **options) for mask in (first, ~first)]
    whole = hyperspherical_loss(mu, log_var, **options)
    for name in ("angle_mean", "angle_std"):
        split = sum(getattr(part, name) for part in parts).item()
        assert split == pytest.approx(getattr(whole, name).item(), rel=1e-12)
    none = hyperspherical_loss(mu, log_var, preset=preset, field=0.0, angles=first, others="free")
    assert none.angle_mean > 0  # a field of strength 0 still is a target, 0
    assert torch.equal(parts[0].radius, whole.radius)


def test_hyperspherical_loss_relative_eps_sees_compressed_tails():
    # x_k ∝ .3^k: every cosine is √(1 − .09) = .954 but for the end, and the absolute ε drives the later ones to 0.
    row = 0.3 ** torch.arange(1, 11, dtype=F64)
    mu = (row * math.sqrt(128) / row.norm()).repeat(4, 1)
    published_mean = hyperspherical_loss(mu, torch.zeros_like(mu)).cos_mean
    expected = [0.954, 0.954, 0.953, 0.949, 0.902, 0.626, 0.241, 0.074, 0.022]
    assert published_mean.tolist() == pytest.approx(expected, abs=5.1e-4)
    relative = hyperspherical_loss(mu, torch.zeros_like(mu), eps=1e-9).cos_mean
    assert relative[:6].tolist() == pytest.approx([math.sqrt(0.91)] * 6, abs=1e-4)


# The nested von Mises–Fisher prior ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_latent", [2, 12, 300])
def test_relative_entropy_field_and_entropy_are_the_closed_forms(n_latent):
    order = 1.8 * torch.rand(n_latent - 1, generator=torch.Generator().manual_seed(1), dtype=F64) - 0.9
    dimension = torch.arange(n_latent, 1, -1, dtype=F64)
    field, entropy = field_and_entropy(order)
    kappa = vmf.vmf_kappa(order, n_latent=dimension)
    expected = kappa * order - vmf.vmf_log_partition(kappa, n_latent=dimension)
    tolerance = torch.where(dimension == 2, 2e-8, torch.where(dimension == 3, 1e-10, 1e-12))  # of the series
    # 4e-13 more for the inverse it is compared with, and rounding beside 1 in the entropy.
    assert ((field / kappa - 1).abs() <= tolerance + 4e-13).all()
    assert ((entropy - expected).abs() <= (tolerance + 4e-13) * expected + 1e-14).all()


def test_relative_entropy_of_a_circle_and_three_dimensions_exact():
    # M = 3: cos φ has density ∝ e^{κc} on [−1, 1], order coth κ − 1/κ, ln E e^{κc} = ln(sinh κ/κ).
    kappa = torch.tensor([0.1, 1.0, 5.0, 30.0], dtype=F64)
    order = 1 / kappa.tanh() - 1 / kappa
    for one, exact in zip(order, kappa, strict=True):
        field, entropy = field_and_entropy(torch.stack([one, one * 0]))
        log_partition = math.log(math.sinh(exact) / exact)
        assert field[0].item() == pytest.approx(exact.item(), rel=1e-9) and field[1] == 0 and entropy[1].abs() < 1e-15
        assert entropy[0].item() == pytest.approx((exact * one).item() - log_partition, rel=1e-9)


def test_relative_entropy_is_zero_at_the_target_and_positive_elsewhere():
    target = torch.linspace(-0.9, 0.9, 19, dtype=F64)
    assert relative_entropy(target, target).abs().max() < 1e-13
    others = target.flip(0)
    assert (relative_entropy(others, target)[others != target] > 0).all()
    small = torch.full((19,), 1e-4, dtype=F64)
    # To the uniform law M m²/2, M = 20 … 2, the next term being smaller by m².
    expected = torch.arange(20, 1, -1, dtype=F64) / 2 * 1e-8
    torch.testing.assert_close(relative_entropy(small, 0 * small), expected, rtol=1e-7, atol=1e-15)


def test_relative_entropy_slope_is_the_difference_of_fields():
    order = torch.tensor([[0.3, -0.2, 0.8], [0.0, 0.5, -0.9]], dtype=F64, requires_grad=True)
    target = torch.tensor([0.5, 0.5, 0.5], dtype=F64)
    (slope,) = torch.autograd.grad(relative_entropy(order, target).sum(), order)
    torch.testing.assert_close(slope, field_and_entropy(order)[0] - field_and_entropy(target)[0])
    assert torch.autograd.gradcheck(lambda m: relative_entropy(m, target), order)


def test_relative_entropy_goes_on_along_the_tangent_at_a_pole():
    order = torch.tensor([1.0, -1.0], dtype=F64, requires_grad=True)
    none = torch.zeros(2, dtype=F64)
    value = relative_entropy(order, none)
    (slope,) = torch.autograd.grad(value.sum(), order)
    rest = (1 - ORDER_LIMIT) * (1 + ORDER_LIMIT)
    # κ = m[(M−1)/(1−m²) + G] with G between ½ and 1.
    assert slope.tolist() == pytest.approx([2 / rest, -1 / rest], rel=1e-5)
    at_limit = relative_entropy(order.detach() * ORDER_LIMIT, none)
    torch.testing.assert_close(value - at_limit, slope.abs() * (1 - ORDER_LIMIT), rtol=1e-8, atol=1e-13)


def test_hyperspherical_loss_nested_is_a_lower_bound_of_the_relative_entropy():
    # Another law of one angle at M = 3: density (1 + ac)/2 of c = cos φ, order a/3, ∫ ½(1+ac) ln(1+ac) from uniform.
    node, weight = np.polynomial.legendre.leggauss(200)
    for a in (0.3, 0.9):
        true = float(weight @ (0.5 * (1 + a * node) * np.log1p(a * node)))
        order = torch.tensor([a / 3, 0.0], dtype=F64)
        bound = relative_entropy(order, torch.zeros(2, dtype=F64))[0].item()
        assert 0.9 * true < bound < true


def test_hyperspherical_loss_nested_vanishes_on_its_prior():
    # Angles of the prior: KL is (n−1)/(2B) for B samples; its spread is √(2(n−1))/(2B).
    n_latent, n_samples = 24, 4000
    dimension = torch.arange(n_latent, 1, -1, dtype=F64)
    order = 0.8 * dimension.rsqrt()
    kappa = vmf.vmf_kappa(order, n_latent=dimension)
    mu = vmf.sample_nested_field(kappa, n_samples, seed=4) * math.sqrt(n_latent)
    found = hyperspherical_loss(mu, torch.zeros_like(mu), preset="nested_vmf", field=0.8, direction="half")
    assert abs(found.angle_mean.item() - 23 / 8000) < 4 * math.sqrt(46) / 8000
    assert found.angle_std == 0 and found.sigma_angle == 0 and found.sigma_radius == 0
    elsewhere = hyperspherical_loss(mu, torch.zeros_like(mu), preset="nested_vmf", field=0.0).angle_mean.item()
    uniform = (kappa * order - vmf.vmf_log_partition(kappa, n_latent=dimension)).sum()
    # d KL = Σ κ_k dm_k, dm_k of variance at most 1/(M B), κ_k about .8√M: an error of .8√(23/4000).
    assert abs(elsewhere - uniform.item()) < 4 * 0.8 * math.sqrt(23 / 4000)


def test_hyperspherical_loss_nested_norm_and_noise_are_relative_entropies():
    mu, log_var = random_input(30, 7)
    loss = hyperspherical_loss(mu, log_var, preset="nested_vmf", sigma_radius=0.3, sigma_gain=2.0)
    noise = kl_divergence(Normal(0.0, (0.5 * log_var).exp()), Normal(0.0, torch.tensor(0.3, dtype=F64))).sum(1).mean()
    assert loss.sigma_radius.item() == pytest.approx(noise.item(), rel=1e-12)
    norm = mu.norm(dim=1)
    shell_mean = math.sqrt(2) * math.gamma(4) / math.gamma(3.5)
    shell = Normal(torch.tensor(shell_mean, dtype=F64), math.sqrt(7 - shell_mean**2))
    radius = kl_divergence(Normal(norm.mean(), (norm.var() + 1e-4).sqrt()), shell)
    assert loss.radius.item() == pytest.approx(radius.item(), rel=1e-12)
    expected = loss.angle_mean + loss.radius + 2 * loss.sigma_radius
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-14)


def test_hyperspherical_loss_nested_averages_classes_by_their_shares():
    mu, log_var = random_input(40, 6)
    labels = (torch.arange(40) % 4 == 0).long()  # shares ¾ and ¼
    options = {"preset": "nested_vmf", "field": 0.7}
    both = hyperspherical_loss(mu, log_var, labels=labels, n_classes=2, stride=2, **options).angle_mean.item()
    zero = hyperspherical_loss(mu[labels == 0], log_var[labels == 0], **options).angle_mean.item()
    one = hyperspherical_loss(mu[labels == 1].roll(-2, 1), log_var[labels == 1], **options).angle_mean.item()
    assert both == pytest.approx(0.75 * zero + 0.25 * one, rel=1e-12)


def test_hyperspherical_loss_nested_refuses_an_infinite_field():
    mu, log_var = random_input(20, 6)
    with pytest.raises(ValueError, match="want field·t_k below 1, an infinite field, got 1"):
        hyperspherical_loss(mu, log_var, preset="nested_vmf", direction="full")
    with pytest.raises(ValueError, match="infinite field, got 1.06066"):
        hyperspherical_loss(mu, log_var, preset="nested_vmf", field=1.5)
    assert hyperspherical_loss(mu, log_var, preset="nested_vmf", direction="full", field=0.99).total.isfinite()


# The rest of the published training -----------------------------------------------------------------------------------


def test_baseline_kl_published_value():
    assert hyperspherical.baseline_kl(*fixed_input()).item() == pytest.approx(0.9045535295, abs=PRINTED)


def test_sphere_sample_is_the_plain_draw_on_the_sphere():
    mu, log_var = random_input(50, 9)
    z = sphere_sample(mu, log_var, torch.Generator().manual_seed(3))
    noise = torch.randn(50, 9, generator=torch.Generator().manual_seed(3), dtype=F64)
    u = mu + (0.5 * log_var).exp() * noise
    torch.testing.assert_close(z.square().sum(1), torch.full((50,), 9.0, dtype=F64), rtol=1e-14, atol=0)
    torch.testing.assert_close(torch.cosine_similarity(z, u), torch.ones(50, dtype=F64), rtol=1e-14, atol=0)
    parts = [part[:4].clone().requires_grad_() for part in (mu, log_var)]
    assert torch.autograd.gradcheck(lambda a, b: sphere_sample(a, b, torch.Generator().manual_seed(3)), parts)


def test_anneal_gain_published_schedule():
    epochs = (0, 25, 100, 101, 301, 305, 501)
    half, full, nested = (
        [hyperspherical.anneal_gain(epoch, preset=preset, direction=direction) for epoch in epochs]
        for preset, direction in (("ijcnn2025", "half"), ("ijcnn2025", "full"), ("nested_vmf", "half"))
    )
    assert full == nested == [1, 6, 11, 1, 1, 1, 1]
    assert half == [math.sqrt(epoch) + 1 for epoch in epochs]
    ad = [hyperspherical.anneal_gain(epoch, preset="ad2026") for epoch in (0, 25, 100, 101, 300, 301, 305, 500, 501)]
    assert ad == [1, 6, 11, 1, 1, 1, 3, math.sqrt(199) + 1, 1]
    assert hyperspherical.anneal_gain(400, direction="zero") == 21


def test_orderable_angles_published_ladder():
    found = [[orderable_angles(n, c) for c in (0.3, 0.5, 0.8, 0.9, 0.95)] for n in (32, 128, 512)]
    assert found == [[31, 31, 10, 6, 4], [124, 40, 11, 7, 5], [139, 45, 12, 7, 5]]
    assert orderable_angles(512, 0.95, eps=0.0) == 511 and orderable_angles(8, 1.0, eps=0.0) == 1


# Bad input ------------------------------------------------------------------------------------------------------------


def labelled(labels: torch.Tensor | list, n_classes: int = 2, **options) -> dict:
    return {"preset": "ad2026", "labels": torch.as_tensor(labels), "n_classes": n_classes, "stride": 1} | options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "ijcnn2026"}, "preset: want 'ijcnn2025' or 'ad2026' or 'nested_vmf', got 'ijcnn2026'"),
        ({"direction": "quarter"}, "direction: want 'half' or 'full' or 'zero' in ijcnn2025, got 'quarter'"),
        ({"preset": "ad2026", "direction": "half"}, "direction: want 'full' in ad2026, got 'half'"),
        ({"others": "ignored"}, "others: want 'equator' or 'free', got 'ignored'"),
        ({"field": -0.5}, "field: want a finite number >= 0, got -0.5"),
        ({"field": math.nan}, "field: want a finite number >= 0, got nan"),
        ({"epoch": -1}, "epoch: want a whole number >= 0, got -1"),
        ({"epoch": 100.5}, "epoch: want a whole number >= 0, got 100.5"),
        ({"sigma_radius": 0}, "sigma_radius: want a number > 0, got 0"),
        ({"sigma_gain": True}, "sigma_gain: want a finite number >= 0, got True"),
        ({"eps": "tiny"}, "want eps None, 'published' or a finite number >= 0, got 'tiny'"),
        ({"angles": torch.ones(4, dtype=torch.bool)}, r"angles: want bool \(n_latent - 1,\) = \(5,\), got .*\(4,\)"),
        ({"angles": torch.ones(5)}, r"angles: want bool .*, got torch.float32 \(5,\)"),
        ({"angles": torch.ones(5, dtype=torch.bool), "end_compress": 3}, "want angles or end_compress, got both"),
        ({"end_compress": 5}, "end_compress: want an integer in 0 … n_latent - 2 = 4, got 5"),
        ({"labels": torch.zeros(8, dtype=torch.int64), "n_classes": 1}, "ijcnn2025: want no labels, it has one island"),
        (labelled([0, 1] * 3), r"labels: want whole numbers, one a sample, \(8,\) on cpu, got torch.int64 \(6,\)"),
        (labelled([0.0, 1.0] * 4), "labels: want whole numbers.*got torch.float32"),
        (labelled([0, 1] * 4, n_classes=None), "n_classes: want an integer >= 1, got None"),
        (labelled([0, 1] * 4, stride=0), "stride: want an integer >= 1, got 0"),
        (labelled([0, 1] * 4, stride=6), r"want \(n_classes - 1\)·stride < n_latent = 6, got \(2 - 1\)·6"),
        (labelled([0, 2] * 4), "labels: want classes 0 … 1, got a label outside"),
        (labelled([0] * 8), r"two or more samples in each of 2 classes, got fewer in \[1\]"),
        (labelled([0] * 7 + [1]), r"two or more samples in each of 2 classes, got fewer in \[1\]"),
    ],
)
def test_hyperspherical_loss_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        hyperspherical_loss(*random_input(8, 6), **options)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ((torch.ones(1, 6), torch.ones(1, 6)), r"mu: want \(n_samples >= 2, n_latent >= 2\), got \(1, 6\)"),
        ((torch.ones(6, 1), torch.ones(6, 1)), r"mu: want \(n_samples >= 2, n_latent >= 2\), got \(6, 1\)"),
        ((torch.ones(6), torch.ones(6)), r"mu: want .* got \(6,\)"),
        ((torch.ones(6, 3), torch.ones(6, 4)), r"want one shape, dtype and device, got \(\(6, 3\), .* and \(\(6, 4\)"),
        ((torch.ones(6, 3), torch.ones(6, 3, dtype=F64)), "want one shape, dtype and device.*float32.*float64"),
        ((torch.ones(6, 3, dtype=torch.int64), torch.ones(6, 3)), "mu: want a floating-point tensor, got torch.int64"),
        (([[1.0]], torch.ones(6, 3)), "mu: want a floating-point tensor, got list"),
        ((torch.full((6, 3), math.nan), torch.ones(6, 3)), "mu: want finite values"),
        ((torch.ones(6, 3), torch.full((6, 3), math.inf)), "log_var: want finite values"),
    ],
)
def test_hyperspherical_loss_refuses_bad_codes(codes, message):
    with pytest.raises(ValueError, match=message):
        hyperspherical_loss(*codes)


def test_hyperspherical_rest_refuses_bad_input():
    mu = torch.ones(6, 3)
    for function in (hyperspherical.baseline_kl, sphere_sample):
        with pytest.raises(ValueError, match="mu, log_var: want one shape"):
            function(mu, mu[:, :2])
    with pytest.raises(ValueError, match="epoch: want a whole number >= 0, got -3"):
        hyperspherical.anneal_gain(-3)
    with pytest.raises(ValueError, match="direction: want 'full' in ad2026, got 'zero'"):
        hyperspherical.anneal_gain(3, preset="ad2026", direction="zero")
    for arguments in ((1, 0.5), (8, 1.5), (8.0, 0.5)):
        with pytest.raises(ValueError, match="want n_latent >= 2, order in"):
            orderable_angles(*arguments)
