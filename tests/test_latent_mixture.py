"""Mixtures inferred from landscapes whose mixture is known, minima predicted and counted, and what is no glass."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from latentlib import kac_rice, latent_mixture
from latentlib.landscape import latent_energy, sphere_points
from latentlib.pspin import draw_pspin, mixture_at

F64 = torch.float64
QUICK = {"n_resamples": 199, "seed": 3}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def tanh_decoder(n_latent, n_hidden, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(n_latent, n_hidden), nn.Tanh(), nn.Linear(n_hidden, 32)).to(F64).eval()


def linear_energy(n_latent, seed=0, shift=1.0):
    """H(z) = (1/40)|Wz + c − x|², its matrix A of H = ½zᵀAz + …; without a shift x = D(0)."""
    weight, c = normal(40, n_latent, seed=seed), normal(40, seed=seed + 1)
    x = c + shift * normal(40, seed=seed + 2)
    return latent_energy(lambda z: z @ weight.T + c, x, n_latent=n_latent), 2 * weight.T @ weight / 40


def assert_inside(low, value, high):
    assert bool((torch.as_tensor(low) <= value).all() and (value <= torch.as_tensor(high)).all()), (low, value, high)


# Known mixtures


@pytest.mark.parametrize("mixture, n_spins, n_systems, order", [
    ({1: 0.4, 2: 0.5, 3: 1.0, 4: 0.3}, 16, 60, 6),
    ({2: 0.5, 3: 1.0}, 32, 40, 5),
    ({1: 0.5, 2: 1.0}, 64, 300, 4),
])  # fmt: skip
def test_infer_mixture_recovers_a_known_mixture(mixture, n_spins, n_systems, order):
    systems = [draw_pspin(mixture, n_spins, seed=seed).energy for seed in range(n_systems)]
    z = sphere_points(n_systems, n_spins, seed=1)
    # The 99.7 % interval over systems, independent here, is 3 s.e.
    found = latent_mixture.infer_mixture(systems, z, order=order, level=0.997, n_resamples=999, seed=2)
    truth = torch.tensor([mixture.get(q, 0.0) for q in range(order + 1)], dtype=F64)
    assert_inside(found.raw_low, truth, found.raw_high)
    slope, curvature = (mixture_at(mixture, 1.0, p) for p in (1, 2))
    assert_inside(found.slope_interval[0], slope, found.slope_interval[1])
    assert_inside(found.curvature_interval[0], curvature, found.curvature_interval[1])
    low, high = found.trivialization_interval
    assert low <= kac_rice.trivialization_field(mixture) <= high
    assert found.curvature_interval[1] - found.curvature_interval[0] < curvature  # sharp enough to say something
    top = max(mixture)
    assert found.negative == () and found.misfit < 1
    assert not found.raw[top + 1 :].any() and max(found.mixture) == top
    assert found.weights[top] == pytest.approx(found.raw[top].item(), rel=0.1)  # b_top² = c_top alone


def test_infer_mixture_of_one_system():
    # One draw at many points: for p = 3 the disorder moves ξ′ and ξ″ by √(2·3!/n³), 2 % here.
    system = draw_pspin({3: 1.0}, 32, seed=5)
    z = sphere_points(64, 32, seed=1)
    found = latent_mixture.infer_mixture(system.energy, z, level=0.997, n_resamples=499, seed=2)
    assert_inside(found.slope_interval[0], 3.0, found.slope_interval[1])
    assert_inside(found.curvature_interval[0], 6.0, found.curvature_interval[1])
    assert found.weights[3] == pytest.approx(1.0, abs=0.15) and found.mixture.keys() <= {1, 2, 3}


def test_infer_mixture_scales_with_the_energy():
    system, z = draw_pspin({2: 0.5, 3: 1.0}, 12, seed=0), sphere_points(20, 12, seed=1)
    one, three = (latent_mixture.infer_mixture(lambda z, a=a: a * system.energy(z), z, **QUICK) for a in (1, 3))
    torch.testing.assert_close(three.raw, 9 * one.raw, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(three.weights, 9 * one.weights, rtol=1e-9, atol=1e-12)
    assert three.trivialization_field == pytest.approx(3 * one.trivialization_field)
    assert three.misfit == pytest.approx(one.misfit, rel=1e-6)
    fields = [latent_mixture.predict_minima(found, a * 0.7, seed=0) for found, a in ((one, 1), (three, 3))]
    assert fields[1] == pytest.approx(fields[0], rel=1e-9)


def test_infer_mixture_does_not_see_the_radial_part():
    system, z = draw_pspin({2: 0.5, 3: 1.0}, 12, seed=0), sphere_points(20, 12, seed=1)

    def with_radius(z):
        square = (z * z).sum(-1)
        return system.energy(z) + 3 * square + 0.1 * square * square

    plain, other = (latent_mixture.infer_mixture(energy, z, **QUICK) for energy in (system.energy, with_radius))
    for name in ("b", "raw", "raw_low", "weights"):
        # 1e-9 of the constant part, b_4² ~ 10⁻² 12³, which is subtracted
        torch.testing.assert_close(getattr(other, name), getattr(plain, name), rtol=1e-8, atol=1e-8)
    assert other.curvature == pytest.approx(plain.curvature, rel=1e-9)


def test_infer_mixture_predicts_from_the_energy_on_the_sphere_alone():
    system, z = draw_pspin({2: 0.5, 3: 1.0}, 12, seed=0), sphere_points(20, 12, seed=1)

    def continued(z):  # the same on the sphere, another off it
        return system.energy(z) * (2 - (z * z).sum(-1) / 12)

    plain, other = (latent_mixture.infer_mixture(energy, z, **QUICK) for energy in (system.energy, continued))
    for name in ("slope", "curvature", "trivialization_field"):
        assert getattr(other, name) == pytest.approx(getattr(plain, name), rel=1e-9)
    assert abs(other.b[2] / plain.b[2] - 1) > 0.01


# What is no glass


def test_infer_mixture_of_a_linear_decoder_ends_at_two():
    energy, matrix = linear_energy(16, shift=3.0)
    z = sphere_points(64, 16, seed=1)
    found = latent_mixture.infer_mixture(energy.energy, z, level=0.997, n_resamples=999, seed=2)
    assert not found.raw[3:].any() and not found.b_high[3:].any() and set(found.mixture) <= {1, 2}
    # a_2 = ½vᵀAv, v uniform: n·Var a_2 = ‖A − tr A/n‖²/(2(n + 2)).
    traceless = matrix - torch.eye(16, dtype=F64) * matrix.trace() / 16
    assert_inside(found.raw_low[2], traceless.square().sum() / 36, found.raw_high[2])
    assert found.trivialization_field == 0 and found.negative == ()
    assert latent_mixture.predict_minima(found, seed=0)[2] <= 2


def test_infer_mixture_passes_a_wave_whose_prediction_fails():
    # e^{w·z} has one minimum. Its weights are all nonnegative: only the predicted count speaks against a glass.
    w = torch.full((16,), 0.25, dtype=F64)
    found = latent_mixture.infer_mixture(lambda z: (z @ w).exp(), sphere_points(64, 16, seed=2), **QUICK)
    assert found.negative == () and found.misfit < 1
    assert latent_mixture.predict_minima(found, seed=0)[1] > 1


def test_infer_mixture_negative_weights_may_be_truncation():
    # b_p of an untrained decoder does not fall: raw weights of order 6 are negative, but higher spins explain them.
    decoder = tanh_decoder(16, 64, seed=0)
    energy = latent_energy(decoder, 3 * normal(32), n_latent=16).energy
    found = latent_mixture.infer_mixture(energy, sphere_points(64, 16, seed=2), **QUICK)
    assert found.negative and found.negative_share > 0.2
    assert found.misfit < 1 and max(found.mixture) > 6


def test_infer_mixture_misfit_tells_no_mixture():
    # On the sphere H is a field; off it b_2² = n·Var (u·z)² is some 500 times b_1², above (q − 1)/2 of any spin q ≤ 24.
    u = nn.functional.normalize(normal(16), dim=0)

    def energy(z):
        along = (z * u).sum(-1)
        return along + ((z * z).sum(-1) - 16) * along * along

    found = latent_mixture.infer_mixture(energy, sphere_points(40, 16, seed=1), **QUICK)
    assert found.misfit > 2
    assert found.slope == pytest.approx(1 / 16, rel=0.5) and found.curvature < 1e-20


def test_infer_mixture_smooths_a_relu_decoder():
    decoder = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5)).to(F64).eval()
    energy = latent_energy(decoder, torch.ones(5, dtype=F64), n_latent=6).energy
    z = sphere_points(10, 6, seed=1)
    with pytest.raises(ValueError, match="take smooth=s"):
        latent_mixture.infer_mixture(energy, z, **QUICK)
    found = latent_mixture.infer_mixture(energy, z, order=3, n_directions=4, smooth=0.5, n_across=16, **QUICK)
    assert found.slope > 0 and (found.b[1:] > 0).all()
    quiet = lambda z: 1 + 0 * (z * z).sum(-1)  # noqa: E731
    noisy = lambda z: (z * 1e3).cos().sum(-1)  # noqa: E731
    assert not latent_mixture.infer_mixture(quiet, z, order=2, n_directions=2, smooth=0.5, n_across=2, **QUICK).b.any()
    with pytest.raises(ValueError, match="above the noise of the smoothing, got b_. below: raise n_across"):
        latent_mixture.infer_mixture(noisy, z, order=6, n_directions=2, smooth=0.5, n_across=2, **QUICK)


# Prediction and count


def test_predict_minima_is_the_kac_rice_mean_of_the_mixture():
    system, z = draw_pspin({3: 1.0}, 10, seed=0), sphere_points(12, 10, seed=1)
    found = latent_mixture.infer_mixture(system.energy, z, **QUICK)
    for mixture in ({2: 0.5, 3: 1.0}, {1: 2.0, 2: 0.3}, {4: 1.0}):
        slopes = torch.tensor([mixture_at(mixture, 1.0, p) for p in (1, 2)], dtype=F64)
        known = replace(found, slope=slopes[0].item(), slopes=slopes.expand(12, 2))
        for field, random_field in ((0.0, True), (1.3, True), (1.3, False)):
            predicted = latent_mixture.predict_minima(known, field, random_field=random_field, seed=0)
            exact = kac_rice.n_minima(mixture, 10, field, random_field=random_field)
            assert predicted == pytest.approx((exact,) * 3, rel=1e-9)
    low, high = latent_mixture.predict_minima(found, 0.5, seed=1)[1:]
    assert low < latent_mixture.predict_minima(found, 0.5, seed=2)[0] < high


def test_count_along_field_of_p_spins_is_the_kac_rice_mean():
    systems = [draw_pspin({3: 1.0}, 6, seed=seed) for seed in range(30)]
    fields = torch.tensor([0.0, 1.5], dtype=F64)
    for direction in (None, torch.ones(6)):
        found = latent_mixture.count_along_field(systems, fields, direction=direction, n_starts=20, seed=4)
        exact = kac_rice.n_minima({3: 1.0}, 6, fields, random_field=direction is None)
        error = found.n_minima.double().std(1) / 30**0.5
        assert ((found.n_minima.double().mean(1) - exact).abs() <= 3 * error).all()
        assert not found.n_unfinished.any() and not found.n_flat.any()
        mean, low, high = found.mean()
        assert ((low <= mean) & (mean <= high)).all() and low[0] > high[1]


def test_count_along_field_of_a_linear_decoder_is_two_then_one():
    even = [linear_energy(6, seed=seed, shift=0.0)[0] for seed in (0, 10)]
    fields = torch.tensor([0.0, 0.1, 50.0], dtype=F64)
    found = latent_mixture.count_along_field(even, fields, n_starts=16, seed=4)
    assert (found.n_minima[0] == 2).all() and (found.n_minima <= 2).all() and (found.n_minima[2] == 1).all()
    tilted = [linear_energy(6, seed=seed)[0] for seed in (20, 30, 40)]
    assert (latent_mixture.count_along_field(tilted, fields, n_starts=16, seed=4).n_minima <= 2).all()


def test_count_along_field_adds_to_the_field_that_is_there():
    system = draw_pspin({3: 1.0}, 6, field=normal(6), seed=0)
    direction = -system.field
    strength = torch.tensor([system.field.norm().item() / 6**0.5])
    (found,) = latent_mixture.count_along_field([system], strength, direction=direction, n_starts=30, seed=4).n_minima
    plain = latent_mixture.count_along_field([draw_pspin({3: 1.0}, 6, seed=0)], torch.zeros(1), n_starts=30, seed=4)
    assert found == plain.n_minima[0] and plain.n_minima[0] > 1


# Bad input


@pytest.mark.parametrize("z, options, message", [
    (sphere_points(20, 5, seed=0).float(), {}, r"z: want float64 \(n_points >= 10, n_latent >= 3\), got torch.float32"),
    (sphere_points(9, 5, seed=0), {}, r"got torch.float64 \(9, 5\)"),
    (sphere_points(20, 2, seed=0), {}, r"\(20, 2\)"),
    ("z", {}, "got str"),
    (2 * sphere_points(20, 5, seed=0), {}, r"\|z\|² = n_latent, got \|z\|²/n_latent off 1 by 3"),
    (math.nan * sphere_points(20, 5, seed=0), {}, "off 1 by nan"),
    (sphere_points(20, 5, seed=0), {"order": 1}, "want order 2 to 8 and n_directions >= 2, got 1 and 16"),
    (sphere_points(20, 5, seed=0), {"order": 9}, "got 9"),
    (sphere_points(20, 5, seed=0), {"n_directions": 1}, "got 6 and 1"),
    (sphere_points(20, 5, seed=0), {"level": 1.0}, "level"),
])  # fmt: skip
def test_infer_mixture_refuses(z, options, message):
    with pytest.raises(ValueError, match=message):
        latent_mixture.infer_mixture(lambda z: (z * z * z).sum(-1), z, seed=0, **options)


def test_predict_minima_refuses():
    found = latent_mixture.infer_mixture(lambda z: (z * z * z).sum(-1), sphere_points(12, 5, seed=1), **QUICK)
    for field in (-1.0, math.inf):
        with pytest.raises(ValueError, match="field: want a finite number >= 0, got"):
            latent_mixture.predict_minima(found, field, seed=0)
    with pytest.raises(ValueError, match="inferred: want an energy that varies over the sphere"):
        latent_mixture.predict_minima(replace(found, slope=0.0), seed=0)


class Plain:
    n_latent, field = 4, torch.zeros(4, dtype=F64)


@pytest.mark.parametrize("landscapes, fields, direction, error, message", [
    ([], torch.zeros(1), None, ValueError, "landscapes: want one or more of one n_latent, got none"),
    ([draw_pspin({2: 1.0}, n, seed=0) for n in (3, 4)], torch.zeros(1), None, ValueError, r"got \[3, 4\]"),
    ([Plain()], torch.zeros(1), None, TypeError, "landscapes: want dataclasses, such as LatentEnergy, got Plain"),
    ([draw_pspin({2: 1.0}, 4, seed=0)], torch.zeros(1, 1), None, ValueError, "fields: want finite"),
    ([draw_pspin({2: 1.0}, 4, seed=0)], -torch.ones(1), None, ValueError, "all >= 0"),
    ([draw_pspin({2: 1.0}, 4, seed=0)], torch.zeros(1), torch.ones(3), ValueError, r"direction: want finite \(4,\)"),
    ([draw_pspin({2: 1.0}, 4, seed=0)], torch.zeros(1), torch.zeros(4), ValueError, "of norm 0"),
])  # fmt: skip
def test_count_along_field_refuses(landscapes, fields, direction, error, message):
    with pytest.raises(error, match=message):
        latent_mixture.count_along_field(landscapes, fields, direction=direction, n_starts=4, seed=0)


def test_field_counts_want_two_landscapes_for_an_interval():
    found = latent_mixture.count_along_field([draw_pspin({2: 1.0}, 4, seed=0)], torch.zeros(1), n_starts=4, seed=0)
    with pytest.raises(ValueError, match="one run is no interval"):
        found.mean()
