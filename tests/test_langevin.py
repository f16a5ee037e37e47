"""Gibbs replicas against laws known in closed form: a field, two-spin couplings, quadrature on the sphere in space."""

import math

import numpy as np
import pytest
import torch
from scipy.special import ive

from latentlib import landscape
from latentlib.langevin import gibbs_replicas
from latentlib.pspin import draw_pspin

F64 = torch.float64


def within(values, expected, n_se=4):
    """Whether the mean of independent values is n_se standard errors from what it should be at most."""
    error = values.std() / math.sqrt(len(values))
    return abs(values.mean() - expected) <= n_se * error


def order_in_a_field(n, field, temperature):
    """⟨z_1⟩ = A_n(κ) along a unit field, κ = n·field/temperature: a ratio of Bessel functions (von Mises–Fisher)."""
    return ive(n / 2, n * field / temperature) / ive(n / 2 - 1, n * field / temperature)


def energies_of_two_spins(eigenvalues, temperature):
    """⟨H⟩ of H = Σ λ_i z_i² on |z|² = n, by ∫ e^{tn} Π(t + λ_i/temperature)^{−½} dt on the line through the saddle."""
    a, n = eigenvalues / temperature, len(eigenvalues)
    low, high = -a.min() + 1e-12, -a.min() + 1
    for _ in range(200):  # the saddle: Σ ½/(t + a_i) = n
        middle = 0.5 * (low + high)
        low, high = (middle, high) if (0.5 / (middle + a)).sum() > n else (low, middle)
    width = (0.5 / (middle + a) ** 2).sum() ** -0.5
    t = middle + 1j * width * np.linspace(-2000, 2000, 100_001)  # the integrand falls as |t|^{−n/2}
    log_weight = t * n - 0.5 * np.log(t[:, None] + a).sum(1)
    weight = np.exp(log_weight - log_weight[len(t) // 2])
    square = np.array([(weight * 0.5 / (t + each)).sum().real for each in a]) / weight.sum().real
    assert abs(square.sum() / n - 1) < 1e-8  # Σ⟨z_i²⟩ = n: the quadrature holds
    return (eigenvalues * square).sum()


@pytest.mark.parametrize(("n", "field", "temperature"), [(2, 1.0, 1.0), (20, 0.5, 1.0), (20, 3.0, 1.5)])
def test_gibbs_replicas_in_a_field_are_von_mises_fisher(n, field, temperature):
    system = draw_pspin({}, n, field=field, seed=0)
    run = gibbs_replicas(system, temperature, n_replicas=4000, n_steps=80, seed=1)
    order = order_in_a_field(n, field, temperature)
    assert within(run.z.mean(1), order)
    # E cos² = 1 − (n − 1)A/κ.
    square = 1 - (n - 1) * order / (n * field / temperature)
    assert within(run.z.mean(1).square(), square)
    torch.testing.assert_close(run.z.square().sum(1), torch.full((4000,), float(n), dtype=F64), rtol=1e-12, atol=0)
    torch.testing.assert_close(run.energy, system.energy(run.z), rtol=1e-12, atol=1e-12)
    assert run.energy_mean[-1] == run.energy.mean() and run.energy_mean.shape == (80,)


def test_gibbs_replicas_of_a_mixture_agree_with_quadrature():
    system = draw_pspin({2: 0.4, 3: 0.8}, 3, field=0.3, seed=4)
    temperature = 1.5
    height, weight = (torch.as_tensor(part) for part in np.polynomial.legendre.leggauss(60))
    turn = torch.arange(120, dtype=F64) * (2 * math.pi / 120)
    ring = (1 - height.square()).sqrt()[:, None]
    grid = torch.stack([ring * turn.cos(), ring * turn.sin(), height[:, None].expand(60, 120)], -1) * math.sqrt(3)
    energy = system.energy(grid)
    gibbs = weight[:, None] * (-energy / temperature).exp()
    gibbs = gibbs / gibbs.sum()
    run = gibbs_replicas(system, temperature, n_replicas=4000, n_steps=200, seed=2)
    assert within(run.energy, (gibbs * energy).sum()) and within(run.energy.square(), (gibbs * energy.square()).sum())
    for i in range(3):
        assert within(run.z[:, i], (gibbs * grid[..., i]).sum())
        assert within(run.z[:, i] * run.z[:, i - 1], (gibbs * grid[..., i] * grid[..., i - 1]).sum())


@pytest.mark.parametrize("temperature", [2.0, 1.0, 0.5])  # ξ = q²/2 in n → ∞: T_c = 1
def test_gibbs_replicas_of_two_spin_couplings_have_the_exact_energy(temperature):
    system = draw_pspin({2: 0.5}, 16, seed=1)
    run = gibbs_replicas(system, temperature, n_replicas=1500, n_steps=300, seed=3)
    expected = energies_of_two_spins(torch.linalg.eigvalsh(system.couplings[2]).numpy(), temperature)
    assert within(run.energy, expected)
    # E H² − (E H)² = temperature² d⟨H⟩/d temperature.
    eigenvalues, step = torch.linalg.eigvalsh(system.couplings[2]).numpy(), 1e-3
    colder, warmer = (energies_of_two_spins(eigenvalues, temperature + shift) for shift in (-step, step))
    assert within((run.energy - expected).square(), temperature**2 * (warmer - colder) / (2 * step))


def test_gibbs_replicas_are_exact_at_a_step_that_biases_euler():
    n, field = 20, 1.0
    system, order = draw_pspin({}, n, field=field, seed=0), order_in_a_field(20, 1.0, 1.0)
    exact = gibbs_replicas(system, 1.0, n_replicas=4000, n_steps=60, seed=1, step=0.9)
    euler = gibbs_replicas(system, 1.0, n_replicas=4000, n_steps=60, seed=1, step=0.9, corrected=False)
    assert within(exact.z.mean(1), order) and not within(euler.z.mean(1), order, n_se=10)
    assert 0.2 < exact.acceptance < 0.9 and euler.acceptance == 1 and exact.step == euler.step == 0.9
    # The bias falls as step²: at a third of the step a ninth remains, give or take errors of both and terms of step⁴.
    finer = gibbs_replicas(system, 1.0, n_replicas=20_000, n_steps=150, seed=1, step=0.3, corrected=False)
    bias, bias_finer = (run.z.mean().item() - order for run in (euler, finer))
    error = finer.z.mean(1).std().item() / len(finer.z) ** 0.5 / abs(bias)
    assert abs(bias_finer / bias - 1 / 9) <= 3 * error + 0.3 / 9 and error < 0.02


def test_gibbs_replicas_started_in_equilibrium_stay_there():
    # One step from exact draws (uniform in the plane across the field, cos by inversion) keeps every moment.
    n, field = 3, 2.0
    generator = torch.Generator().manual_seed(0)
    kappa, luck = n * field, torch.rand(20_000, generator=generator, dtype=F64)
    cosine = 1 + torch.log(luck + (1 - luck) * math.exp(-2 * kappa)) / kappa  # n = 3: density ∝ e^{κ cos}
    across = torch.randn(20_000, 3, generator=generator, dtype=F64)
    axis = torch.ones(3, dtype=F64) / math.sqrt(3)
    across = across - (across @ axis)[:, None] * axis
    starts = cosine[:, None] * axis + (1 - cosine.square()).sqrt()[:, None] * across / across.norm(dim=1, keepdim=True)
    system = draw_pspin({}, n, field=field, seed=0)
    run = gibbs_replicas(system, 1.0, starts=starts, n_steps=1, seed=5, step=0.8)
    moved = (run.z @ axis) / math.sqrt(n)
    for power in (1, 2, 3):
        change = moved**power - cosine**power  # paired: the noise of the draws drops out
        assert within(change, 0.0)
    assert 0.3 < run.acceptance < 0.99 and (moved != cosine).double().mean() > 0.3


def test_gibbs_replicas_tune_their_step():
    system = draw_pspin({3: 1.0}, 30, seed=0)
    steps = []
    for temperature in (2.0, 0.7):
        run = gibbs_replicas(system, temperature, n_replicas=200, n_steps=120, seed=0)
        # 60 steps after tuning of 200 chains: the mean acceptance is known to under 0.01, its tuning to a few.
        assert abs(run.acceptance - 0.574) < 0.06
        steps.append(run.step)
    assert steps[1] < steps[0]  # colder is steeper


def test_gibbs_replicas_are_those_of_their_seed():
    system = draw_pspin({3: 1.0}, 8, seed=0)
    one, same, other = (gibbs_replicas(system, 1.0, n_replicas=5, n_steps=20, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.z, same.z) and one.step == same.step and not torch.equal(one.z, other.z)
    single = gibbs_replicas(system.to(torch.float32), 1.0, n_replicas=5, n_steps=20, seed=1)
    assert single.z.dtype == torch.float32


def test_gibbs_replicas_run_on_a_decoder():
    # A linear decoder is a field and two-spin couplings: D(z) = z, x = 0 is constant on the sphere, the field is left.
    system = landscape.latent_energy(lambda z: z, torch.zeros(10, dtype=F64), torch.ones(10, dtype=F64))
    run = gibbs_replicas(system, 1.0, n_replicas=4000, n_steps=80, seed=1)
    assert within(run.z.mean(1), order_in_a_field(10, 1.0, 1.0))


def test_gibbs_replicas_refuse():
    system = draw_pspin({3: 1.0}, 5, seed=0)
    good = {"temperature": 1.0, "n_replicas": 3, "n_steps": 4, "seed": 0}
    for change, message in (
        ({"temperature": 0.0}, "temperature: want finite and > 0, got 0.0; for the limit 0 take minima.quench"),
        ({"temperature": -1.0}, "got -1.0"),
        ({"temperature": math.inf}, "got inf"),
        ({"temperature": math.nan}, "got nan"),
        ({"n_steps": 0}, "n_steps: want 1 or more, got 0"),
        ({"step": 0.0}, "step: want an angle in .0, 1.5., got 0.0"),
        ({"step": 2.0}, "got 2.0"),
        ({"corrected": False}, "step: want one for the uncorrected scheme"),
        ({"n_replicas": None}, "want either a number of random points or starts, got neither"),
        ({"n_replicas": 0}, "want n_points, n_latent >= 1, got 0, 5"),
        ({"starts": torch.ones(2, 5)}, "got neither or both"),
        ({"n_replicas": None, "starts": torch.ones(2, 4)}, r"starts: want floating .*got torch.float32 \(2, 4\)"),
    ):
        with pytest.raises(ValueError, match=message):
            gibbs_replicas(system, **(good | change))
    steep = landscape.latent_energy(lambda z: z * math.nan, torch.zeros(5, dtype=F64), n_latent=5)
    with pytest.raises(ValueError, match="landscape: want finite energies, got nan"):
        gibbs_replicas(steep, **good)
