"""The P0 check on landscapes whose mixture is known: measured rms b_p, the way back to the mixture, and its traps."""

import math

import pytest
import torch
from torch import Tensor, nn

from latentlib import interval, taylor
from latentlib.landscape import latent_energy, sphere_points
from latentlib.pspin import draw_pspin

F64 = torch.float64


def glass(mixture: dict, n_spins: int, n_systems: int, order: int, *, field_std: float = 0.0) -> Tensor:
    """b_p of independent systems, one point and two tangent directions each: (n_systems, 2, order + 1)."""
    systems = [draw_pspin(mixture, n_spins, field_std=field_std, seed=seed) for seed in range(n_systems)]
    z = sphere_points(n_systems, n_spins, seed=5)
    v = taylor.tangent_directions(z, 2, seed=6)
    return taylor.taylor_coefficients([system.energy for system in systems], z, v, order).normalised


def assert_mean_squares(b: Tensor, expected: Tensor) -> None:
    """Mean b_p² of every point within 3 s.e. over points of the expected."""
    square = b.square().mean(1)
    error = square.std(0) / len(b) ** 0.5
    # 1e-20: orders past the last are zero without spread, or its rounding.
    assert ((square.mean(0) - expected.square()).abs() <= 3 * error + 1e-20).all()


# Calibration --------------------------------------------------------------------------------------------------------


def test_expected_rms_worked():
    found = taylor.expected_rms({4: 1.0}, 5)
    torch.testing.assert_close(found, torch.tensor([1, 2, math.sqrt(6), 2, 1, 0], dtype=F64), rtol=1e-15, atol=0)
    mixed = taylor.expected_rms({2: 0.5, 6: 2.0}, 6).square()
    expected = [0.5 * math.comb(2, p) + 2 * math.comb(6, p) for p in range(7)]
    torch.testing.assert_close(mixed, torch.tensor(expected, dtype=F64), rtol=1e-14, atol=0)


def test_taylor_coefficients_recover_a_known_mixture_to_order_8():
    mixture = {2: 1.0, 3: 0.5, 5: 0.3, 8: 0.2}
    b = glass(mixture, 4, 300, 8)
    assert_mean_squares(b, taylor.expected_rms(mixture, 8))
    square = b.square().mean(1)
    assert (square.std(0) / len(b) ** 0.5 < 0.15 * square.mean(0)).all()  # sharp enough to see another mixture
    # And back: errors over systems, through the same linear map.
    weights = taylor.pspin_weights(b.square().mean(1).sqrt())
    error = weights.std(0) / len(b) ** 0.5
    expected = torch.tensor([0, 0, 1, 0.5, 0, 0.3, 0, 0, 0.2], dtype=F64)
    assert ((weights.mean(0) - expected).abs() <= 3 * error).all()


def test_taylor_coefficients_of_one_system_at_many_codes():
    # The sizes of a trained network: 64 codes, 16 directions. Codes of one system are nearly independent.
    system = draw_pspin({4: 1.0}, 20, seed=2)
    z = sphere_points(64, 20, seed=3)
    found = taylor.taylor_coefficients(system.energy, z, taylor.tangent_directions(z, 16, seed=4), 5)
    assert_mean_squares(found.normalised, taylor.expected_rms({4: 1.0}, 5))
    assert not found.coefficient_se.any() and found.n_latent == 20


def test_taylor_coefficients_see_a_field_in_orders_0_and_1_alone():
    with_field, without = (glass({3: 1.0}, 6, 200, 4, field_std=std) for std in (1.5, 0.0))
    expected = taylor.expected_rms({3: 1.0}, 4).square()
    expected[:2] += 1.5**2
    assert_mean_squares(with_field, expected.sqrt())
    torch.testing.assert_close(with_field[..., 2:], without[..., 2:], rtol=1e-9, atol=1e-12)


def test_taylor_coefficients_want_tangent_directions():
    # Along a direction with a radial part other terms of the same order come in: b_2 is far from √3 at any n.
    systems = [draw_pspin({3: 1.0}, 6, seed=seed).energy for seed in range(200)]
    z = sphere_points(200, 6, seed=5)
    radial = (z / z.norm(dim=1, keepdim=True))[:, None]
    b = taylor.taylor_coefficients(systems, z, radial, 3).normalised
    # Along the radius H = r³ H(1): a_2 = 3H/n, so b_2² = 9 H²/n, mean 9 instead of 3.
    square = b[..., 2].square()
    assert abs(square.mean() - 9) <= 3 * square.std() / 200**0.5


def test_pspin_weights_invert_expected_rms(generator):
    weights = torch.rand(3, 9, generator=generator, dtype=F64)
    weights[:, 0] = 0
    rms = torch.stack([taylor.expected_rms(dict(enumerate(row.tolist()[1:], 1)), 8) for row in weights])
    # C(8, 4) = 70 times the rounding of b_p² ≤ 2⁸, summed with both signs.
    torch.testing.assert_close(taylor.pspin_weights(rms), weights, rtol=0, atol=1e-10)


# Coefficients of decoders -------------------------------------------------------------------------------------------


def decoder(activation: nn.Module) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(5, 12), activation, nn.Linear(12, 7)).to(F64).eval()


def test_taylor_coefficients_are_derivatives_over_factorials():
    z = sphere_points(3, 5, seed=1)
    v = taylor.tangent_directions(z, 2, seed=2)
    energy = latent_energy(decoder(nn.Tanh()), torch.ones(7, dtype=F64), n_latent=5).energy
    found = taylor.taylor_coefficients(energy, z, v, 6, chunk_size=1)
    derivative = taylor.directional_derivatives(energy, z, v, 6)
    for p in range(7):
        expected = derivative[..., p] / math.factorial(p)
        torch.testing.assert_close(found.coefficient[..., p], expected, rtol=1e-13, atol=1e-15)
        expected = expected.abs() * 5 ** ((p - 1) / 2)
        torch.testing.assert_close(found.normalised[..., p], expected, rtol=1e-13, atol=1e-14)


def test_taylor_coefficients_refuse_a_relu_decoder_and_take_it_smoothed():
    z = sphere_points(10, 5, seed=1)
    v = taylor.tangent_directions(z, 2, seed=2)
    for activation in (nn.ReLU(), nn.LeakyReLU(0.2)):
        energy = latent_energy(decoder(activation), torch.ones(7, dtype=F64), n_latent=5).energy
        with pytest.raises(ValueError, match="a smooth one, got (leaky_)?relu: .*zero or undefined.*take smooth=s"):
            taylor.taylor_coefficients(energy, z, v, 4)
        wide, narrow = (taylor.taylor_coefficients(energy, z, v, 4, smooth=s, n_across=8, seed=0) for s in (0.5, 0.1))
        assert wide.coefficient_se.all()
        # Kinks: D^p ~ s^{−(p−1)} where the code is within s of one, on a share ~ s of codes.
        growth = [narrow.normalised[..., p].square().mean() / wide.normalised[..., p].square().mean() for p in (2, 4)]
        assert growth[1] > 10 * growth[0]


def test_taylor_coefficients_want_a_seed_to_smooth():
    z = sphere_points(2, 5, seed=1)
    with pytest.raises(ValueError, match="seed: want one for the smoothing, got None"):
        taylor.taylor_coefficients(lambda z: z.sum(-1), z, taylor.tangent_directions(z, 1, seed=0), 3, smooth=0.1)


# The check ----------------------------------------------------------------------------------------------------------


def test_taylor_decay_is_the_bootstrap_over_points(generator):
    b = torch.rand(30, 4, 6, generator=generator, dtype=F64) + 0.1
    for average, mean in (
        ("rms", lambda rows: rows.square().mean((0, 1)).sqrt()),
        ("median", lambda rows: rows.flatten(0, 1).quantile(0.5, dim=0)),
    ):
        found = taylor.taylor_decay(b, average=average, level=0.9, n_resamples=199, seed=4)
        options = {"level": 0.9, "n_resamples": 199, "seed": 4, "method": "rows"}
        estimate, low, high = interval.bootstrap_interval(mean, b, **options)
        for one, other in ((found.b, estimate), (found.b_low, low), (found.b_high, high)):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=0)
        steps = found.b[4:] / found.b[3:-1]
        assert found.ratio == pytest.approx(steps.log().mean().exp().item(), rel=1e-12)  # the geometric mean
        assert found.ratio_low < found.ratio < found.ratio_high


def test_taylor_decay_counts_points_and_not_directions(generator):
    # The same number in all directions of a point: 8 directions must not shrink the interval as 8 points would.
    point = torch.rand(40, 1, 5, generator=generator, dtype=F64) + 0.1
    found, repeated = (taylor.taylor_decay(b, seed=1) for b in (point, point.expand(40, 8, 5)))
    assert repeated.ratio_high - repeated.ratio_low == pytest.approx(found.ratio_high - found.ratio_low, rel=1e-9)


def test_taylor_decay_of_a_glass_holds_its_mixture():
    mixture = {3: 1.0, 4: 0.5, 6: 0.2}
    found = taylor.taylor_decay(glass(mixture, 5, 200, 6), level=0.997, seed=1)
    expected = taylor.expected_rms(mixture, 6)
    assert ((found.b_low <= expected) & (expected <= found.b_high)).all()
    ratio = (expected[6] / expected[3]) ** (1 / 3)
    assert found.ratio_low <= ratio <= found.ratio_high < 1


def test_taylor_decay_fails_a_perfect_glass_and_passes_a_wave():
    # A pure 8-spin from p = 3 to 4: √(C(8,4)/C(8,3)) = 1.118, on a window where the binomials rise.
    found = taylor.taylor_decay(glass({8: 1.0}, 3, 600, 4), seed=2)
    rising = math.sqrt(math.comb(8, 4) / math.comb(8, 3))
    assert found.ratio_low <= rising <= found.ratio_high and found.ratio > 1
    exact = taylor.expected_rms({12: 1.0}, 6)
    assert (exact[6] / exact[3]) ** (1 / 3) > 1.2  # longer windows do not help a higher spin
    # e^{w·z}, convex and with one minimum on the sphere, passes.
    z = sphere_points(40, 16, seed=0)
    w = torch.full((16,), 0.25, dtype=F64)
    b = taylor.taylor_coefficients(lambda z: (z @ w).exp(), z, taylor.tangent_directions(z, 8, seed=1), 8).normalised
    assert taylor.taylor_decay(b, seed=3).ratio_high < 1


def test_taylor_decay_of_a_polynomial_ends_at_zero():
    found = taylor.taylor_decay(glass({3: 1.0}, 4, 20, 5), seed=0)
    assert (found.ratio, found.ratio_low, found.ratio_high) == (0, 0, 0)
    assert not found.b[4:].any() and not found.b_high[4:].any() and found.b_low[3] > 0


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("b", "options", "message"),
    [
        (torch.ones(20, 5), {}, r"b: want finite \(n_points, n_directions, order \+ 1 >= 5\).* got \(20, 5\)"),
        (torch.ones(20, 2, 4), {}, r"got \(20, 2, 4\)"),
        (-torch.ones(20, 2, 5), {}, "all >= 0"),
        (torch.full((20, 2, 5), math.nan), {}, "want finite"),
        (torch.ones(9, 2, 5), {}, "10 or more"),
        (torch.ones(20, 2, 5), {"average": "mean"}, "average: want 'rms' or 'median', got 'mean'"),
        (torch.tensor([1.0, 1, 1, 0, 0]).expand(20, 2, 5), {}, "got b_3 = 0: quadratic"),
        (torch.ones(20, 2, 5), {"level": 1.0}, "level"),
    ],
)
def test_taylor_decay_refuses(b, options, message):
    with pytest.raises(ValueError, match=message):
        taylor.taylor_decay(b, seed=0, **options)


def test_expected_rms_and_weights_refuse():
    with pytest.raises(ValueError, match="order: want 0 or more, got -1"):
        taylor.expected_rms({3: 1.0}, -1)
    with pytest.raises(ValueError, match="mixture: want whole orders"):
        taylor.expected_rms({0: 1.0}, 3)
    with pytest.raises(ValueError, match=r"rms: want \(..., order \+ 1\), got \(\)"):
        taylor.pspin_weights(torch.tensor(1.0))
