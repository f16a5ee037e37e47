"""p = 2 solved: draws against the exact partition function, that against quadrature, the saddle against its limit."""

import math

import numpy as np
import pytest
import torch
from scipy.special import gammaln, ive

from latentlib import bingham, overlap
from latentlib.bingham import (
    log_partition_bingham, rs_overlap, rs_susceptibility, sample_bingham, ssk_log_partition, ssk_log_partition_given,
    ssk_replicas, ssk_saddle,
)  # fmt: skip
from latentlib.pspin import PSpin, draw_pspin

SSK = {2: 0.5}  # J = 1


def law(n_latent: int, strength: float, field: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A of n_latent·strength, as a p = 2 system has it, and b of length n_latent·field."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(n_latent, n_latent, generator=generator, dtype=torch.float64)
    linear = torch.randn(n_latent, generator=generator, dtype=torch.float64)
    return math.sqrt(n_latent / 8) * strength * (matrix + matrix.T), n_latent * field * linear / linear.norm()


def mean_and_second_moment(matrix: torch.Tensor, linear: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """E x_k and E x_k² in the eigenbasis of A: ∂/∂b_k and ∂/∂λ_k of ln Z, by central differences of step 1e-4.

    Their own error, step² times a third cumulant of order one, is 1e-8: far below any standard error here.
    """
    value, vector = torch.linalg.eigh(matrix)
    along, step, unit = vector.T @ linear, 1e-4, torch.eye(len(value), dtype=torch.float64)

    def difference(d_value: torch.Tensor, d_linear: torch.Tensor) -> float:
        up, down = (log_partition_bingham(torch.diag(value + s * d_value), along + s * d_linear) for s in (step, -step))
        return (up - down) / (2 * step)

    zero = torch.zeros_like(value)
    mean = [difference(zero, e) for e in unit]
    square = [difference(e, zero) for e in unit]
    return torch.tensor(mean, dtype=torch.float64), torch.tensor(square, dtype=torch.float64)


# The partition function


def test_log_partition_bingham_of_a_field_alone_is_a_bessel_function():
    assert log_partition_bingham(torch.zeros(6, 6)) == pytest.approx(0, abs=1e-13)
    for n in (1, 2, 3, 10, 100):
        for kappa in (1e-3, 1.0, 30.0, 2000.0):
            linear = torch.full((n,), kappa / math.sqrt(n), dtype=torch.float64)
            order = n / 2 - 1
            exact = gammaln(n / 2) - order * math.log(kappa / 2) + math.log(ive(order, kappa)) + kappa
            found = log_partition_bingham(torch.zeros(n, n, dtype=torch.float64), linear)
            assert found == pytest.approx(exact, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("strength", [0.1, 3.0, 60.0])
@pytest.mark.parametrize("field", [0.0, 1.0, 40.0])
def test_log_partition_bingham_equals_quadrature_on_the_circle(strength, field):
    matrix, linear = law(2, strength, field)
    angle = torch.arange(4096, dtype=torch.float64) * (2 * math.pi / 4096)  # periodic and entire: exact to rounding
    x = torch.stack([angle.cos(), angle.sin()], 1)
    exact = torch.logsumexp(((x @ matrix) * x).sum(1) + x @ linear, 0).item() - math.log(4096)
    assert log_partition_bingham(matrix, linear) == pytest.approx(exact, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("strength", "field"), [(0.5, 0.2), (5.0, 0.0), (5.0, 3.0)])
def test_log_partition_bingham_equals_quadrature_on_the_sphere(strength, field):
    matrix, linear = law(3, strength, field)
    height, weight = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(120))
    angle = torch.arange(240, dtype=torch.float64) * (2 * math.pi / 240)
    ring = (1 - height.square()).sqrt()[:, None]
    x = torch.stack([ring * angle.cos(), ring * angle.sin(), height[:, None].expand(-1, 240)], -1)
    exponent = torch.einsum("abi,ij,abj->ab", x, matrix, x) + x @ linear
    exact = torch.logsumexp(exponent + (weight / 2).log()[:, None], (0, 1)).item() - math.log(240)
    assert log_partition_bingham(matrix, linear) == pytest.approx(exact, rel=1e-11)


@pytest.mark.parametrize("n_latent", [1, 2, 7, 60])
def test_log_partition_bingham_is_covariant(n_latent, generator):
    matrix, linear = law(n_latent, 2.0, 0.7)
    turn = torch.linalg.qr(torch.randn(n_latent, n_latent, dtype=torch.float64, generator=generator)).Q
    turned = turn @ (matrix + 5 * torch.eye(n_latent, dtype=torch.float64)) @ turn.T
    found = log_partition_bingham((turned + turned.T) / 2, -turn @ linear)
    assert found == pytest.approx(log_partition_bingham(matrix, linear) + 5, abs=1e-11 * n_latent)


# The draws

LAWS = [(1, 1.0, 0.5), (2, 3.0, 0.0), (2, 2.0, 5.0), (5, 4.0, 1.0), (30, 0.5, 0.3), (30, 3.0, 0.0), (30, 3.0, 8.0)]


@pytest.mark.parametrize(("n_latent", "strength", "field"), LAWS)
def test_sample_bingham_has_the_exact_moments(n_latent, strength, field):
    matrix, linear = law(n_latent, strength, field)
    mean, square = mean_and_second_moment(matrix, linear)
    draws = sample_bingham(matrix, linear, n_samples=20_000, seed=1)
    assert torch.allclose(draws.x.norm(dim=1), torch.ones(20_000, dtype=torch.float64), rtol=0, atol=1e-14)
    x = draws.x @ torch.linalg.eigh(matrix).eigenvectors
    for values, exact in ((x, mean), (x.square(), square)):
        # 4 s.e., and 1e-7 for what hardly varies and for the differences.
        assert ((values.mean(0) - exact).abs() <= 4 * values.std(0) / math.sqrt(len(x)) + 1e-7).all()


@pytest.mark.parametrize(("n_latent", "strength", "field"), LAWS)
def test_sample_bingham_accepts_the_share_of_areas(n_latent, strength, field):
    # Z over the area under the envelope: the proposals and the rule of acceptance belong together.
    matrix, linear = law(n_latent, strength, field)
    value, _, b = bingham._diagonalized(matrix, linear)
    saddle = bingham._saddle(value, b)
    gap = saddle - value
    a = bingham._tangent_point(float((b**2 / gap).sum()))
    envelope = saddle - n_latent / 2 + 0.5 * np.log(n_latent / (2 * gap)).sum() + 0.5 * math.log1p(a * math.tanh(a))
    envelope += a + math.log1p(math.exp(-2 * a)) - math.log(2) - a * math.tanh(a) / 2
    expected = math.exp(log_partition_bingham(matrix, linear) - envelope)
    found = sample_bingham(matrix, linear, n_samples=20_000, seed=2).acceptance
    n_proposed = 20_000 / found
    assert 0.05 < expected <= 1 + 1e-12
    assert found == pytest.approx(expected, abs=4 * math.sqrt(max(expected * (1 - expected), 0) / n_proposed) + 1e-12)


def test_sample_bingham_follows_its_density_on_the_circle():
    from scipy.stats import kstest

    matrix, linear = law(2, 2.0, 0.6)
    angle = torch.linspace(-math.pi, math.pi, 20_001, dtype=torch.float64)
    x = torch.stack([angle.cos(), angle.sin()], 1)
    density = (((x @ matrix) * x).sum(1) + x @ linear).exp()
    cumulative = torch.cumulative_trapezoid(density, angle)
    drawn = sample_bingham(matrix, linear, n_samples=20_000, seed=3).x
    drawn = torch.atan2(drawn[:, 1], drawn[:, 0]).numpy()
    assert kstest(drawn, lambda t: np.interp(t, angle[1:], cumulative / cumulative[-1])).pvalue > 1e-3


def test_sample_bingham_draws_are_independent():
    # The overlap of one draw with the next has the mean of two independent ones, |E x|², and E q² = |E xxᵀ|².
    matrix, linear = law(6, 2.0, 0.0)
    _, square = mean_and_second_moment(matrix, linear)
    x = sample_bingham(matrix, linear, n_samples=20_001, seed=4).x
    q = (x[1:] * x[:-1]).sum(1)
    for values, exact in ((q, 0.0), (q.square(), square.square().sum().item())):
        # Neighbouring products share a draw: their mean has at most three times the variance of independent ones.
        assert abs(values.mean().item() - exact) <= 4 * math.sqrt(3 * values.var().item() / len(values))


def test_sample_bingham_same_seed_same_bits():
    matrix, linear = law(4, 1.0, 1.0)
    first, again, other = (sample_bingham(matrix, linear, n_samples=50, seed=seed).x for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)
    single = sample_bingham(matrix.float(), linear.float(), n_samples=3, seed=5).x
    assert single.dtype == torch.float32 and single.shape == (3, 4)


@pytest.mark.parametrize(("strength", "field"), [(0.0, 1e6), (20.0, 0.0), (20.0, 20.0)])
def test_sample_bingham_stays_efficient_in_a_strong_field_and_a_glass(strength, field):
    # As n^{−1/2}: the proposals miss by a fluctuation of order one in each of a few directions, not in all.
    for n_latent in (25, 100, 400):
        acceptance = sample_bingham(*law(n_latent, strength, field), n_samples=1000, seed=7).acceptance
        assert 0.3 < acceptance * math.sqrt(n_latent) < 1.5


# The spin glass


def test_ssk_replicas_have_the_overlap_of_the_saddle_equation():
    # q/(1−q)² = (J²q + h²)/T². Corrections are of order 1/N; over systems q fluctuates by order N^{−1/2}.
    for temperature, field in ((1.0, 1.0), (0.5, 0.5)):
        q = []
        for seed in range(60):
            system = draw_pspin(SSK, 200, field=field, seed=seed)
            replicas = ssk_replicas(system, temperature, n_replicas=12, seed=seed)
            q.append(overlap.overlap_moments(replicas).q_mean)
        q = torch.tensor(q, dtype=torch.float64)
        mean, error = q.mean().item(), q.std().item() / math.sqrt(len(q))
        assert mean == pytest.approx(rs_overlap(SSK, temperature, field), abs=3 * error) and error < 0.015
        slope = (1 + mean) / (1 - mean) ** 3 - 1 / temperature**2  # of q/(1−q)² − ξ′(q)/T²
        balance = mean / (1 - mean) ** 2 - (mean + field**2) / temperature**2
        assert abs(balance) <= 3 * slope * error


@pytest.mark.parametrize("temperature", [1.5, 2.0, 4.0])
def test_ssk_replicas_have_the_susceptibility_above_the_critical_temperature(temperature):
    # χ = 1/(1 − J²/T²) by the estimator of codes. It self-averages: from system to system it moves by order 1/N.
    chi, variance = [], []
    for seed in range(4):
        system = draw_pspin(SSK, 300, seed=seed)
        moments = overlap.overlap_moments(ssk_replicas(system, temperature, n_replicas=250, seed=seed))
        chi.append(moments.chi)
        variance.append(moments.chi_se**2)
    error = math.sqrt(sum(variance)) / 4
    assert sum(chi) / 4 == pytest.approx(rs_susceptibility(SSK, temperature), abs=3 * error + 3 / 300)
    assert error < 0.05


def test_ssk_replicas_below_the_critical_temperature_are_two_valleys():
    # |q| → q_EA = 1 − T/J, both signs alike. The edge of each spectrum moves q_EA by order N^{−1/3}, mean 0 nearly.
    pairs = [ssk_replicas(draw_pspin(SSK, 400, seed=seed), 0.3, n_replicas=2, seed=seed) for seed in range(40)]
    q = torch.stack([(s[0] @ s[1]) / 400 for s in pairs])
    error = q.abs().std().item() / math.sqrt(40)
    assert q.abs().mean().item() == pytest.approx(rs_overlap(SSK, 0.3), abs=3 * error) and error < 0.03
    assert 10 < (q > 0).sum() < 30  # a fair coin leaves this with probability 0.2 %


def test_ssk_replicas_take_couplings_of_one_spin_as_a_field():
    system = draw_pspin({1: 0.5, 2: 0.5}, 8, field=0.2, seed=1)
    merged = PSpin(SSK, {2: system.couplings[2]}, system.field - system.couplings[1])
    first, second = (ssk_replicas(one, 0.7, n_replicas=5, seed=2) for one in (system, merged))
    assert torch.equal(first, second) and torch.allclose(first.square().sum(1), torch.full((5,), 8.0).double())


def test_ssk_log_partition_given_yields_the_mean_energy():
    system, temperature, step = draw_pspin({1: 0.3, 2: 0.5}, 20, field=0.4, seed=3), 0.8, 1e-4
    up, down = (20 * ssk_log_partition_given(system, temperature + s) for s in (step, -step))
    energy = system.energy(ssk_replicas(system, temperature, n_replicas=20_000, seed=3))
    error = energy.std().item() / math.sqrt(len(energy))
    assert energy.mean().item() == pytest.approx(temperature**2 * (up - down) / (2 * step), abs=4 * error)


def semicircle_system(n_spins: int, field: float) -> PSpin:
    """Couplings diagonal, J's eigenvalues at the quantiles of the semicircle, the field even over the modes."""
    angle = torch.linspace(0, math.pi, 20_001, dtype=torch.float64)
    share = (angle - angle.sin() * angle.cos()) / math.pi  # of eigenvalues 2cos over the angle
    at = np.interp((np.arange(n_spins) + 0.5) / n_spins, share, angle)
    couplings = {2: torch.diag(torch.from_numpy(-np.cos(at)))}
    return PSpin(SSK, couplings, torch.full((n_spins,), field, dtype=torch.float64))


@pytest.mark.parametrize(("temperature", "field"), [(2.0, 0.0), (1.0, 1.0), (0.4, 1.5), (0.2, 3.0)])
def test_ssk_saddle_of_the_semicircle_is_the_limit(temperature, field):
    saddle = ssk_saddle(semicircle_system(600, field), temperature)
    # Here z stays off the edge by far more than the spacing N^{−2/3} there: sums over midpoints are nearly integrals.
    assert saddle.q == pytest.approx(rs_overlap(SSK, temperature, field), abs=1e-4)
    assert saddle.log_partition == pytest.approx(bingham.rs_free_energy(SSK, temperature, field), abs=1e-4)


def test_ssk_saddle_solves_its_equation_and_misses_by_one_over_n():
    excess = []
    for n_spins in (100, 400):
        system = draw_pspin(SSK, n_spins, field=0.5, seed=9)
        saddle = ssk_saddle(system, 0.7)
        value, vector = torch.linalg.eigh(-2 * system.couplings[2])
        along, gap = vector.T @ system.field, saddle.z - value
        assert (0.7 / gap + (along / gap) ** 2).mean().item() == pytest.approx(1, abs=1e-11)
        assert ((along / gap) ** 2).mean().item() == pytest.approx(saddle.q, abs=1e-12)
        excess.append(abs(ssk_log_partition_given(system, 0.7) - saddle.log_partition))
    assert 3 < excess[0] / excess[1] < 5.5  # the ratio of sizes is 4


def test_ssk_log_partition_given_approaches_its_limit():
    # At T > J the mean misses by order 1/N and the spread is of order 1/N too.
    for n_spins in (50, 800):
        values = [ssk_log_partition_given(draw_pspin(SSK, n_spins, seed=seed), 2.0) for seed in range(5)]
        assert n_spins * abs(sum(values) / 5 - ssk_log_partition(2.0)) < 1


# What is refused


@pytest.mark.parametrize(
    ("matrix", "linear", "message"),
    [
        (torch.zeros(2, 3), None, r"matrix: want a floating \(n_latent, n_latent\), got \(2, 3\)"),
        (torch.zeros(0, 0), None, "matrix: want"),
        (torch.zeros(2, 2, dtype=torch.int64), None, "matrix: want a floating"),
        ([[1.0]], None, "matrix: want .* got list"),
        (torch.tensor([[0.0, 1.0], [0.0, 0.0]]), None, "matrix: want it symmetric"),
        (torch.full((2, 2), math.nan), None, "want finite matrix and linear"),
        (torch.zeros(2, 2), torch.zeros(3), r"linear: want \(2,\) .*, got \(3,\)"),
        (torch.zeros(2, 2), torch.zeros(2).double(), "linear: want .*float64"),
        (torch.zeros(2, 2), torch.tensor([0.0, math.inf]), "want finite matrix and linear"),
    ],
)
def test_bingham_refuses_other_laws(matrix, linear, message):
    with pytest.raises(ValueError, match=message):
        sample_bingham(matrix, linear, n_samples=1, seed=0)
    with pytest.raises(ValueError, match=message):
        log_partition_bingham(matrix, linear)


def test_ssk_refuses():
    pair = draw_pspin(SSK, 3, seed=0)
    for call in (lambda s, t: ssk_replicas(s, t, n_replicas=2, seed=0), ssk_saddle, ssk_log_partition_given):
        with pytest.raises(ValueError, match=r"couplings of p <= 2, got p in \[3\]"):
            call(draw_pspin({3: 1.0}, 3, seed=0), 1.0)
        for temperature in (0.0, -1.0, math.nan):
            with pytest.raises(ValueError, match="temperature: want a finite number > 0"):
                call(pair, temperature)
    with pytest.raises(ValueError, match="n_samples: want a whole number >= 1, got 0"):
        ssk_replicas(pair, 1.0, n_replicas=0, seed=0)
