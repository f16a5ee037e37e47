"""Five susceptibilities: what each draws twice, fluctuation = response where it must hold, every error."""

import math

import pytest
import torch

from latentlib import bingham, class_overlap, overlap, response

DOUBLE = torch.float64


def uniform(*shape: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=DOUBLE)


def ising_weights(size: int, temperature: float, field: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Gibbs weights of all 2^(size²) states of the torus and their magnetization a spin: exact."""
    bits = torch.arange(2 ** (size * size))[:, None] >> torch.arange(size * size) & 1
    spins = (1.0 - 2 * bits.double()).view(-1, size, size)
    energy = -(spins * (spins.roll(1, 1) + spins.roll(1, 2))).sum((1, 2)) - field * spins.sum((1, 2))
    return torch.softmax(-energy / temperature, 0), spins.mean((1, 2))


# Overlap susceptibilities


def test_susceptibility_across_is_that_of_the_moments(generator):
    z = uniform(40, 6, generator=generator) + 0.3
    found = overlap.overlap_moments(z)
    assert response.susceptibility_across(z) == (found.chi, found.chi_se)
    with pytest.raises(ValueError, match="noise floor"):
        response.susceptibility_across(z, floor=100.0)


def test_susceptibility_within_class_does_not_see_the_classes(generator):
    # Two classes on opposite poles of the first axis, uniform in the other directions: across them χ counts the poles.
    labels = torch.arange(600) % 2
    z = torch.cat([4.0 * (2 * labels[:, None] - 1), uniform(600, 8, generator=generator)], 1)
    within, across = response.susceptibility_within_class(z, labels), response.susceptibility_across(z)
    single = response.susceptibility_across(z[labels == 0])
    assert abs(within.chi - single.chi) <= 3 * math.hypot(within.chi_se, single.chi_se)
    assert across.chi > 10 * within.chi
    found = class_overlap.class_moments(z, labels)
    assert within == (9 * found.q_within_var, 9 * found.q_within_var_se)


@pytest.mark.parametrize("align", [None, "orthogonal"])
def test_susceptibility_between_seeds_of_unrelated_seeds_is_one(align, generator):
    # χ of unrelated uniform codes is 1 with any number of seeds, and stays 1: O never sees the inputs that it turns.
    draws = (uniform(5, 41, 6, generator=generator) for _ in range(100))
    values = torch.tensor([response.susceptibility_between_seeds(codes, align=align).chi for codes in draws])
    assert abs(values.mean() - 1) <= 4 * values.std() / 10


def test_susceptibility_between_seeds_of_turned_seeds_is_zero(generator):
    z = uniform(40, 5, generator=generator)
    frames = torch.linalg.qr(uniform(6, 5, 5, generator=generator)).Q
    found = response.susceptibility_between_seeds(z @ frames, align="orthogonal")
    assert (found.chi, found.chi_se) == pytest.approx((0, 0), abs=1e-12)
    assert response.susceptibility_between_seeds(z @ frames, align=None).chi > 0.1


def test_susceptibility_between_seeds_is_the_average_over_inputs(generator):
    codes = uniform(6, 7, 4, generator=generator) + 0.5
    found = response.susceptibility_between_seeds(codes, align=None)
    single = [overlap.susceptibility(codes[:, row]) for row in range(7)]
    assert found.chi == pytest.approx(sum(single) / 7, rel=1e-12)
    keep = ~torch.eye(6, dtype=torch.bool)
    without = [response.susceptibility_between_seeds(codes[rows], align=None).chi for rows in keep]
    error = (5 * torch.tensor(without, dtype=DOUBLE).var(correction=0)).sqrt().item()
    assert found.chi_se == pytest.approx(error, rel=1e-9)


def test_replica_moments_are_those_of_each_system(generator):
    replicas = uniform(4, 9, 5, generator=generator) + uniform(4, 1, 5, generator=generator)
    found, single = response.replica_moments(replicas), [overlap.overlap_moments(one) for one in replicas]
    for name in ("q_mean", "q_square", "q_mean_square", "q_var"):
        values = torch.tensor([getattr(one, name) for one in single], dtype=DOUBLE)
        assert getattr(found, name) == pytest.approx(values.mean().item(), rel=1e-12), name
        assert getattr(found, f"{name}_se") == pytest.approx(values.std().item() / 2, rel=1e-12), name
    assert (found.n_systems, found.n_latent) == (4, 5)
    assert response.susceptibility_replicas(replicas) == (5 * found.q_var, 5 * found.q_var_se)


def test_susceptibility_replicas_does_not_mix_systems(generator):
    # A strong field of its own in every system: E q varies over systems, Var q at a fixed one stays small.
    field = 3 * uniform(50, 1, 20, generator=generator)
    replicas = field + uniform(50, 20, 20, generator=generator)
    across = response.susceptibility_across(replicas.flatten(0, 1))
    assert response.susceptibility_replicas(replicas).chi < 0.5 < across.chi


def test_susceptibility_replicas_of_free_spins_is_one(generator):
    found = response.susceptibility_replicas(uniform(200, 6, 30, generator=generator))
    assert abs(found.chi - 1) <= 3 * found.chi_se and found.chi_se < 0.05


# Response and fluctuation


def test_response_equals_fluctuation_exactly_on_the_4x4_torus():
    temperature, fields = 3.0, 0.1 + torch.arange(-2, 3, dtype=DOUBLE) * 1e-3
    order, var = [], []
    for field in fields.tolist():
        weight, m = ising_weights(4, temperature, field)
        order.append((weight @ m).item())
        var.append((weight @ m.square() - (weight @ m).square()).item())
    found = response.response(fields, torch.tensor(order), torch.zeros(5))
    exact = 16 * torch.tensor(var[1:-1], dtype=DOUBLE) / temperature
    # Central differences are off by m‴δ²/6, m‴ = (N/temperature)³·κ₄, and |κ₄| ≤ 3 for |m| ≤ 1.
    assert torch.allclose(found.slope, exact, rtol=0, atol=(16 / 3) ** 3 * 3 * 1e-6 / 6)
    assert torch.equal(found.control, fields[1:-1]) and torch.equal(found.slope_se, torch.zeros(3, dtype=DOUBLE))


def test_response_equals_fluctuation_on_samples(generator):
    # Exact draws of the 4×4 torus above the critical temperature, 40 replicas of 1000: two independent estimates.
    temperature, fields = 3.0, torch.tensor([-0.06, 0.0, 0.06], dtype=DOUBLE)
    runs = []
    for field in fields.tolist():
        weight, m = ising_weights(4, temperature, field)
        runs.append(m[torch.multinomial(weight, 40_000, replacement=True, generator=generator)].view(1000, 40))
    runs = torch.stack(runs, 1)
    order = runs.mean((0, 2))
    found = response.response(fields, order, runs.mean(0).std(1) / 40**0.5)
    fluctuating = response.fluctuation(runs, 16, temperature)
    weight, m = ising_weights(4, temperature, 0.0)
    exact = (16 * weight @ m.square() / temperature).item()
    assert fluctuating.chi.shape == (3,)
    assert abs(fluctuating.chi[1] - exact) <= 3 * fluctuating.chi_se[1]
    # A field of 0.06 bends m by m‴δ²/6, computed below from exact ends: within the error of the slope.
    ends = [(weight @ m).item() for weight, m in (ising_weights(4, temperature, field) for field in (-0.06, 0.06))]
    bend = abs((ends[1] - ends[0]) / 0.12 - exact)
    assert bend < found.slope_se[0]
    difference = (found.slope[0] - fluctuating.chi[1]).abs()
    assert difference <= 3 * torch.hypot(found.slope_se[0], fluctuating.chi_se[1]) + bend
    assert fluctuating.chi_se[1] < 0.05 * exact and found.slope_se[0] < 0.05 * exact


def test_response_equals_fluctuation_of_the_spherical_p2_spin(generator):
    # H = −½sᵀJs − field·Σs on |s|² = N above J = 1: independent exact draws of exp(−H/temperature), s = √N·x.
    n_spins, temperature, fields = 12, 1.5, torch.tensor([0.2, 0.3, 0.4], dtype=DOUBLE)
    couplings = uniform(n_spins, n_spins, generator=generator) / n_spins**0.5
    matrix = n_spins * (couplings + couplings.T) / 2**0.5 / (2 * temperature)
    runs = []
    for seed, field in enumerate(fields):
        linear = torch.full((n_spins,), n_spins**0.5, dtype=DOUBLE) * field / temperature
        x = bingham.sample_bingham(matrix, linear, n_samples=20_000, seed=seed).x
        runs.append((x.sum(1) / n_spins**0.5).view(500, 40))
    runs = torch.stack(runs, 1)
    slope = response.response(fields, runs.mean((0, 2)), runs.mean(0).std(1) / 40**0.5)
    fluctuating = response.fluctuation(runs, n_spins, temperature)
    # The bend m‴δ²/6 of the curve is the spread of N·Var m over the three fields, their second difference over 6.
    bend = fluctuating.chi.diff().diff().abs() / 6
    assert (slope.slope - fluctuating.chi[1]).abs() <= 3 * torch.hypot(slope.slope_se, fluctuating.chi_se[1]) + bend
    assert slope.slope_se < 0.1 * slope.slope and fluctuating.chi_se[1] < 0.05 * slope.slope


def test_response_of_a_parabola_is_its_slope_on_any_grid():
    control = torch.tensor([0.0, 0.3, 0.4, 1.5, 2.0], dtype=DOUBLE)
    order = torch.stack([control.square(), 2 - 3 * control], 1)
    found = response.response(control, order, torch.zeros(5, 2))
    expected = torch.stack([2 * control[1:-1], torch.full((3,), -3.0, dtype=DOUBLE)], 1)
    assert torch.allclose(found.slope, expected, atol=1e-12)


def test_response_error_is_that_of_the_difference():
    found = response.response([0.0, 0.5, 1.0], [0.0, 9.0, 1.0], [0.3, 5.0, 0.4])
    assert (found.slope.item(), found.slope_se.item()) == pytest.approx((1.0, 0.5), rel=1e-14)


def test_response_error_is_the_spread_over_repeats(generator):
    control, error = torch.tensor([0.0, 1.0, 3.0], dtype=DOUBLE), torch.tensor([0.1, 0.2, 0.3], dtype=DOUBLE)
    order = error[:, None] * uniform(3, 4000, generator=generator)
    found = response.response(control, order, error[:, None].expand(3, 4000))
    # The sd of 4000 draws is known to 1/√8000.
    assert abs(found.slope.std() / found.slope_se[0, 0] - 1) <= 4 * 8000**-0.5


def test_fluctuation_is_unbiased_for_correlated_samples(generator):
    # Every replica repeats one draw of m, as a chain far too short would: Var m is still that of m.
    m = 0.5 * uniform(1, 2000, 6, generator=generator)
    found = response.fluctuation(m.expand(7, 2000, 6), 10, torch.full((2000,), 2.0))
    assert abs(found.chi.mean() - 10 * 0.25 / 2) <= 4 * found.chi.std() / 2000**0.5
    # The jackknife of a variance, from few replicas: right in the mean square, to O(1/6) and 4 s.e. of the ratio.
    ratio = found.chi_se.square().mean().sqrt() / found.chi.std()
    assert abs(ratio - 1) <= 1 / 6 + 4 * 4000**-0.5


def test_fluctuation_error_equals_leaving_replicas_out(generator):
    m = uniform(9, 5, generator=generator)
    found = response.fluctuation(m, 3, 1.5)
    keep = ~torch.eye(5, dtype=torch.bool)
    without = torch.stack([response.fluctuation(m[:, rows], 3, 1.5).chi for rows in keep])
    assert found.chi_se.item() == pytest.approx((4 * without.var(correction=0)).sqrt().item(), rel=1e-12)


# What is refused


@pytest.mark.parametrize(
    "codes, align, message",
    [
        (torch.ones(5, 9, 3), "affine", "'orthogonal' or None, got 'affine'"),
        (torch.ones(4, 9, 3), None, r"\(n_seeds >= 5, n, n_latent\), got \(4, 9, 3\)"),
        (torch.ones(9, 3), None, r"got \(9, 3\)"),
        (torch.ones(5, 9, 5), "orthogonal", "2·n_latent to align seeds, got 9 and 5"),
        (torch.ones(5, 9, 3) * math.nan, None, "finite values, got nan"),
        (torch.zeros(5, 9, 3), None, "positive finite norm"),
    ],
)
def test_susceptibility_between_seeds_refuses_bad_input(codes, align, message):
    with pytest.raises(ValueError, match=message):
        response.susceptibility_between_seeds(codes, align=align)


@pytest.mark.parametrize(
    "replicas, message",
    [
        (torch.ones(1, 9, 3), r"\(n_systems >= 2, n, n_latent\), got \(1, 9, 3\)"),
        (torch.ones(2, 3, 5), "n_replicas >= 4, got 3"),
        ([[1.0]], "got list"),
        (torch.ones(2, 4, 5, dtype=torch.int64), "floating-point"),
    ],
)
def test_susceptibility_replicas_refuses_bad_input(replicas, message):
    for of in (response.susceptibility_replicas, response.replica_moments):
        with pytest.raises(ValueError, match=message):
            of(replicas)


def test_susceptibility_within_class_refuses_bad_labels(generator):
    with pytest.raises(ValueError, match="2 or more classes, got 1"):
        response.susceptibility_within_class(uniform(12, 3, generator=generator), torch.zeros(12, dtype=torch.int64))


@pytest.mark.parametrize(
    "control, order, order_se, message",
    [
        ([0.0, 1.0], [0.0, 1.0], [0.0, 0.0], r"n_controls >= 3"),
        ([0.0, 1.0, 2.0], [0.0, 1.0], [0.0, 0.0], r"got \(\(3,\), \(2,\), \(2,\)\)"),
        ([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, 0.0], r"\(3,\), \(3,\), \(2,\)"),
        ([0.0, 1.0, 1.0], [0.0, 1.0, 2.0], [0.0] * 3, r"rising control, got \[0.0, 1.0, 1.0\]"),
        ([0.0, 1.0, 2.0], [0.0, math.nan, 2.0], [0.0] * 3, "finite"),
        ([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [0.0, -1.0, 0.0], "errors >= 0"),
    ],
)
def test_response_refuses_bad_input(control, order, order_se, message):
    with pytest.raises(ValueError, match=message):
        response.response(control, order, order_se)


@pytest.mark.parametrize(
    "m, n_spins, temperature, message",
    [
        (torch.ones(4), 9, 1.0, r"n_replicas >= 3\), got \(4,\)"),
        (torch.ones(4, 2), 9, 1.0, r"got \(4, 2\)"),
        (torch.ones(0, 3), 9, 1.0, r"got \(0, 3\)"),
        (torch.ones(4, 3) * math.nan, 9, 1.0, "finite"),
        (torch.ones(4, 3), 9, 0.0, "temperature > 0 and n_spins >= 1, got 0.0 and 9"),
        (torch.ones(4, 3), 0, 1.0, "got 1.0 and 0"),
        (torch.ones(4, 2, 3), 9, torch.ones(3), r"a number or \(2,\), got \(3,\)"),
    ],
)
def test_fluctuation_refuses_bad_input(m, n_spins, temperature, message):
    with pytest.raises(ValueError, match=message):
        response.fluctuation(m, n_spins, temperature)
