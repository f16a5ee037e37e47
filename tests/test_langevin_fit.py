"""Moves against forces: exact Langevin steps of known temperature, shuffles counted one by one, nulls, coverage."""

import math

import pytest
import torch

from latentlib import landscape, langevin
from latentlib._tangent import tangent_part
from latentlib.langevin_fit import alignment, effective_temperature
from latentlib.pspin import draw_pspin

F64 = torch.float64


def normal(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def standard_error(interval):
    return (interval[2] - interval[1]) / (2 * 1.96)


def is_near(interval, expected, n_se=4):
    return abs(interval[0] - expected) <= n_se * standard_error(interval)


def langevin_steps(curvature, temperature, mobility, *, n_steps, n_inputs, seed):
    """Euler steps Δz = mobility·F + √(2·temperature·mobility)·ξ from the Gibbs law of H = Σ curvature·z²/2."""
    noise = normal(n_steps + 1, n_inputs, len(curvature), seed=seed)
    z = [noise[0] * (temperature / curvature).sqrt()]
    for step in range(n_steps):
        z.append(z[-1] * (1 - mobility * curvature) + math.sqrt(2 * temperature * mobility) * noise[step + 1])
    z = torch.stack(z)
    return z.diff(dim=0), -curvature * z[:-1]


# Alignment ----------------------------------------------------------------------------------------------------------


def test_alignment_counts_every_pair_of_other_inputs():
    delta, force = normal(3, 12, 4, seed=0), normal(3, 12, 4, seed=1)
    cosine = torch.nn.functional.cosine_similarity
    own = torch.stack([cosine(delta[:, i], force[:, i]) for i in range(12)]).mean()
    others = torch.stack([cosine(delta[:, i], force[:, j]) for i in range(12) for j in range(12) if i != j]).mean()
    for over in ("inputs", "steps"):
        found = alignment(delta, force, over=over, seed=0)
        torch.testing.assert_close(
            torch.tensor([found.cosine[0], found.shuffled[0], found.excess[0]], dtype=F64),
            torch.stack([own, others, own - others]), rtol=1e-12, atol=1e-14,
        )  # fmt: skip
        assert found.excess[1] < found.excess[0] < found.excess[2]


def test_alignment_over_steps_is_the_interval_of_students_t():
    delta, force = normal(4, 12, 3, seed=0), normal(4, 12, 3, seed=1)
    values = torch.nn.functional.cosine_similarity(delta, force, dim=-1).mean(1)
    mean, half = values.mean().item(), 3.182446 * values.std().item() / 2  # t of three degrees of freedom, over √4
    found = alignment(delta, force, over="steps", seed=0).cosine
    assert found == pytest.approx((mean, mean - half, mean + half), rel=1e-6)


def test_alignment_is_one_along_the_force_and_minus_one_against_it():
    force = normal(16, 5, seed=0)
    scale = normal(16, 1, seed=1).exp()
    assert alignment(scale * force, force, seed=0).cosine == pytest.approx((1, 1, 1), abs=1e-12)
    assert alignment(-scale * force, force, seed=0).cosine == pytest.approx((-1, -1, -1), abs=1e-12)


def test_alignment_takes_a_shared_drift_for_no_force_of_its_own():
    # Every input moves along one direction, to which all forces lean: a cosine, and the same with other forces.
    drift = 2 * normal(1, 6, seed=0)
    found = alignment(drift + normal(80, 6, seed=1), drift + normal(80, 6, seed=2), seed=0)
    assert found.cosine[1] > 0.5 and is_near(found.excess, 0.0)
    pushed = normal(80, 6, seed=2)
    found = alignment(0.5 * pushed + normal(80, 6, seed=1), pushed, seed=0)
    assert found.excess[1] > 0 and is_near(found.shuffled, 0.0)


def test_alignment_intervals_cover_the_null():
    # Independent isotropic moves and forces: all three means are 0. 80 intervals of 95 %: 76 ± 1.9.
    covers = torch.zeros(3)
    for seed in range(80):
        found = alignment(normal(24, 5, seed=2 * seed), normal(24, 5, seed=2 * seed + 1), n_resamples=99, seed=0)
        covers += torch.tensor([low < 0 < high for _, low, high in (found.cosine, found.shuffled, found.excess)])
    assert (covers >= 76 - 4 * 1.9).all() and covers[0] < 80 and covers[2] < 80


# Effective temperature ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("temperature", "mobility"), [(0.3, 0.1), (2.0, 0.02)])
def test_effective_temperature_of_euler_steps_is_exact(temperature, mobility):
    curvature = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=F64)
    steps = langevin_steps(curvature, temperature, mobility, n_steps=100, n_inputs=200, seed=0)
    found = effective_temperature(*steps, seed=0)
    assert is_near(found.mobility, mobility) and standard_error(found.mobility) < 0.05 * mobility
    for inverse in (found.inv_temp, found.inv_temp_across):
        assert is_near(inverse, 1 / temperature) and standard_error(inverse) < 0.05 / temperature
    low, high = found.temperature[1:]
    assert low < found.temperature[0] < high and (low, high) == (1 / found.inv_temp[2], 1 / found.inv_temp[1])


def test_effective_temperature_of_exact_steps_is_too_low_by_a_known_factor():
    # H = curvature·z²/2, exact transition: z' = z e^{−kt} + √(temperature/k·(1 − e^{−2kt}))·ξ, fitted as an Euler step.
    curvature, temperature = 1.5, 0.7
    for time in (0.02, 0.4):
        decay = math.exp(-curvature * time)
        z = normal(200, 400, 4, seed=1) * math.sqrt(temperature / curvature)
        spread = math.sqrt(temperature / curvature * (1 - decay**2))
        found = effective_temperature((decay - 1) * z + spread * normal(200, 400, 4, seed=2), -curvature * z, seed=0)
        expected = temperature * (1 + decay) / 2  # temperature·(1 − kt/2 + …)
        assert is_near(found.mobility, (1 - decay) / curvature)
        assert is_near(found.inv_temp, 1 / expected) and is_near(found.inv_temp_across, 1 / expected)
    assert not is_near(found.inv_temp, 1 / temperature, n_se=10)


def test_effective_temperature_sees_through_a_matrix_before_the_force():
    n_steps, n_inputs, n = 50, 200, 4
    temperature, mobility = 0.5, 0.04
    root = normal(n_inputs, n, n, seed=0)
    matrix = root @ root.mT  # one for every input, of a spectrum from near 0 to about 12
    force, noise = normal(n_steps, n_inputs, n, seed=1), normal(n_steps, n_inputs, n, seed=2)
    pushed = torch.einsum("iab,tib->tia", matrix, force)
    shaken = torch.einsum("iab,tib->tia", root, noise)  # of covariance K
    delta = mobility * pushed + math.sqrt(2 * temperature * mobility) * shaken
    found = effective_temperature(delta, force, preconditioned=pushed, seed=0)
    assert is_near(found.mobility, mobility) and is_near(found.inv_temp, 1 / temperature)
    assert found.mobility[0] == pytest.approx(((force * delta).sum() / (force * pushed).sum()).item(), rel=1e-12)
    assert found.inv_temp_across is None and standard_error(found.inv_temp) < 0.1 / temperature
    # Taken for a plain Langevin step it would not even have one temperature.
    plain = effective_temperature(delta, force, seed=0)
    assert plain.inv_temp[2] < plain.inv_temp_across[1]


def test_effective_temperature_of_gibbs_chains_is_theirs():
    # One uncorrected step from uniform points: Δz = (step²/2·temperature)·F + step·ξ on a great circle of the sphere.
    system, temperature, step = draw_pspin({2: 0.5, 3: 1.0}, 6, seed=0), 0.8, 0.15
    z = landscape.sphere_points(1500, 6, seed=1)
    delta, force = [], []
    for seed in range(8):
        run = langevin.gibbs_replicas(system, temperature, starts=z, n_steps=1, seed=seed, step=step, corrected=False)
        delta.append(tangent_part(z, run.z - z))
        force.append(-landscape.sphere_gradient(system, z))
        z = run.z
    found = effective_temperature(torch.stack(delta), torch.stack(force), on_sphere=True, seed=0)
    # An arc of angle a ≈ step has the tangent part sin a: drift and noise are shorter by about 1 − step²/6.
    shrunk = 1 - step**2 / 6
    assert is_near(found.mobility, shrunk * step**2 / (2 * temperature))
    assert is_near(found.inv_temp, 1 / (shrunk * temperature))
    assert is_near(found.inv_temp_across, 1 / (shrunk * temperature))
    assert standard_error(found.inv_temp) < 0.05 / temperature


def test_effective_temperature_is_the_variance_of_the_work_over_twice_its_mean():
    # Forces of one norm: the fit is the mean of the work, and its noise the unbiased variance.
    force = torch.nn.functional.normalize(normal(12, 3, seed=0), dim=1)
    delta = 0.5 * force + 0.3 * normal(12, 3, seed=1)
    work = (force * delta).sum(1)
    found = effective_temperature(delta, force, n_resamples=99, seed=0)
    assert found.mobility[0] == pytest.approx(work.mean().item(), rel=1e-12)
    assert found.temperature[0] == pytest.approx((work.var() / (2 * work.mean())).item(), rel=1e-12)
    across = (delta - work[:, None] * force).square().mean() * 3 / 2  # two of three components
    assert 1 / found.inv_temp_across[0] == pytest.approx((across / (2 * work.mean())).item(), rel=1e-12)


def test_effective_temperature_scales_with_the_energy_and_the_clock():
    delta, force = langevin_steps(torch.ones(3, dtype=F64), 1.0, 0.1, n_steps=20, n_inputs=30, seed=0)
    one = effective_temperature(delta, force, seed=0)
    # H → 3H moves nothing: a third of the mobility, three times the temperature, in the same bootstrap.
    tripled = effective_temperature(delta, 3 * force, seed=0)
    assert tripled.mobility == pytest.approx([value / 3 for value in one.mobility], rel=1e-9)
    assert tripled.temperature == pytest.approx([value * 3 for value in one.temperature], rel=1e-9)
    # z → 2z, F → F/2: energies, hence temperatures, stay.
    stretched = effective_temperature(2 * delta, force / 2, seed=0)
    assert stretched.temperature == pytest.approx(one.temperature, rel=1e-9)
    # The order of inputs and of steps says nothing.
    turned = effective_temperature(delta.flip(0, 1), force.flip(0, 1), seed=0)
    assert turned.inv_temp[0] == pytest.approx(one.inv_temp[0], rel=1e-9)


def test_effective_temperature_of_other_inputs_forces_is_unbounded():
    delta, force = langevin_steps(torch.ones(4, dtype=F64), 1.0, 0.1, n_steps=20, n_inputs=100, seed=0)
    null = effective_temperature(delta, force.roll(1, dims=-2), seed=0)
    assert is_near(null.mobility, 0.0) and is_near(null.inv_temp, 0.0) and null.temperature[2] == math.inf
    against = effective_temperature(-delta, force, seed=0)
    assert against.mobility[2] < 0 and against.inv_temp[2] < 0 and against.temperature == (math.inf,) * 3


def test_effective_temperature_of_shared_noise_wants_intervals_over_steps():
    # The noise of a step is the same for all inputs, as that of a batch: inputs are no repetitions of it.
    covers = {"inputs": 0, "steps": 0}
    for seed in range(30):
        force, noise = normal(40, 30, 2, seed=3 * seed), normal(40, 1, 2, seed=3 * seed + 1)
        sign = normal(1, 30, 1, seed=3 * seed + 2).sign()
        delta = 0.5 * force + noise * sign  # mobility ½, temperature 1
        for over in covers:
            inverse = effective_temperature(delta, force, over=over, n_resamples=99, seed=0).inv_temp_across
            covers[over] += inverse[1] < 1 < inverse[2]
    # 95 % of 30: 28.5 ± 1.2. Over inputs the intervals are about √30 times too narrow: 28 % of 30, 8 ± 2.5.
    assert covers["steps"] >= 24 and covers["inputs"] <= 18


def test_effective_temperature_intervals_are_as_wide_as_its_scatter():
    found, widths = [], []
    for seed in range(40):
        steps = langevin_steps(torch.tensor([1.0, 3.0], dtype=F64), 0.5, 0.05, n_steps=30, n_inputs=40, seed=seed)
        one = effective_temperature(*steps, n_resamples=99, seed=0)
        found.append([one.mobility[0], one.inv_temp[0], one.inv_temp_across[0]])
        widths.append([standard_error(part) for part in (one.mobility, one.inv_temp, one.inv_temp_across)])
    ratio = torch.tensor(found).std(0) / torch.tensor(widths).mean(0)
    # A standard deviation of 40 values is known to 1/√78 = 11 %: three of these.
    assert ((ratio - 1).abs() < 0.34).all(), ratio


def test_effective_temperature_of_one_latent_has_no_noise_across():
    steps = langevin_steps(torch.ones(1, dtype=F64), 1.0, 0.1, n_steps=50, n_inputs=50, seed=0)
    found = effective_temperature(*steps, seed=0)
    assert found.inv_temp_across is None and is_near(found.inv_temp, 1.0)


@pytest.mark.parametrize("measure", [alignment, effective_temperature])
def test_measures_refuse(measure):
    delta, force = normal(3, 12, 4, seed=0), normal(3, 12, 4, seed=1)
    for change, message in (
        ({"force": force[:2]}, r"force: want floating .* like delta, got torch.float64 \(2, 12, 4\)"),
        ({"delta": delta.long()}, "delta: want floating .*, got torch.int64"),
        ({"delta": [1.0]}, "delta: want floating .*, got list"),
        ({"delta": delta[0, 0], "force": force[0, 0]}, r"delta: want floating .* \(4,\)"),
        ({"delta": delta[:, :1], "force": force[:, :1]}, r"delta: want a step, two inputs .*, got \(3, 1, 4\)"),
        ({"force": force / 0}, "force: want finite values, got"),
        ({"force": torch.where(torch.arange(12)[:, None] == 2, 0, force)}, "force: want moves and forces that are not"),
        ({"delta": delta * 0}, "delta: want moves and forces that are not zero"),
        ({"over": "seeds"}, "over: want 'inputs' or 'steps', got 'seeds'"),
        ({"level": 1.0}, "level"),
        ({"delta": delta[:, :9], "force": force[:, :9]}, "10 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            measure(**({"delta": delta, "force": force, "seed": 0} | change))


def test_effective_temperature_refuses_moves_without_noise():
    force = normal(3, 12, 4, seed=1)
    with pytest.raises(ValueError, match="delta: want moves with noise, .* their temperature is 0"):
        effective_temperature(0.1 * force, force, seed=0)
    with pytest.raises(ValueError, match="preconditioned: want ΣF·KF > 0, .* got -"):
        effective_temperature(normal(3, 12, 4, seed=0), force, preconditioned=-force, seed=0)
