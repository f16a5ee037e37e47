"""Block spins on the lattice, blocks of latent coordinates and their nulls: laws, exact values, every error."""

import math

import pytest
import torch
from latentlib import ising
from latentlib.block_spin import (
    block_average, block_flow, block_null, coordinate_blocks, majority_rule, rayleigh_statistic,
)  # fmt: skip


def coins(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return 2 * torch.randint(2, shape, generator=generator, dtype=torch.int8) - 1


def normal(*shape: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# On the lattice ------------------------------------------------------------------------------------------------------


def test_majority_rule_counts_each_block():
    spins = torch.tensor([[1, 1, -1, -1], [1, -1, -1, 1], [-1, -1, 1, 1], [-1, -1, 1, 1]], dtype=torch.int8)
    blocks = majority_rule(spins, 2, seed=0)
    assert blocks.tolist() == [[1, -1], [-1, 1]] and blocks.dtype == torch.int8
    assert torch.equal(majority_rule(spins.float(), 2, seed=0), blocks.float())


@pytest.mark.parametrize("scale_factor", [3, 5])
def test_majority_rule_is_the_sign_of_the_average(scale_factor, generator):
    """Odd blocks have no ties; a flip of all spins flips every block spin."""
    spins = coins((2, 3, 15, 15), generator)
    blocks = majority_rule(spins, scale_factor, seed=0)
    assert blocks.shape == (2, 3, 15 // scale_factor, 15 // scale_factor)
    assert torch.equal(blocks.double(), block_average(spins, scale_factor).sign())
    assert torch.equal(majority_rule(-spins, scale_factor, seed=1), -blocks)


def test_majority_rule_breaks_ties_by_a_fair_coin():
    """A checkerboard is all ties: block spins are independent coins, 4 standard errors 1/√n each."""
    row = torch.arange(128)
    spins = (1 - 2 * ((row[:, None] + row) % 2)).to(torch.int8)
    blocks = majority_rule(spins, 2, seed=3)
    assert torch.equal(blocks, majority_rule(spins, 2, seed=3))
    assert not torch.equal(blocks, majority_rule(spins, 2, seed=4))
    assert set(blocks.unique().tolist()) == {-1, 1}
    for mean in (blocks, blocks * blocks.roll(1, 0), blocks * blocks.roll(1, 1)):
        assert abs(mean.double().mean()) <= 4 / 64


def test_block_average_keeps_the_mean_and_composes(generator):
    spins = coins((3, 24, 24), generator)
    twice = block_average(block_average(spins, 2), 3)
    assert twice.dtype == torch.float64
    assert (twice - block_average(spins, 6)).abs().max() <= 1e-15
    assert (twice.mean((1, 2)) - spins.double().mean((1, 2))).abs().max() <= 1e-15
    assert block_average(spins.float(), 2).dtype == torch.float32


def test_block_flow_is_the_rule_repeated(generator):
    spins = coins((2, 5, 27, 27), generator)
    flow = block_flow(spins, 3, seed=0)
    assert flow.sizes == (27, 9, 3, 1) and flow.magnetization.shape == (4, 2, 5)
    twice = majority_rule(majority_rule(spins, 3, seed=0), 3, seed=0).double()
    assert torch.equal(flow.magnetization[2], twice.mean((-2, -1)))
    bonds = [(twice * twice.roll(1, dim)).mean((-2, -1)) for dim in (-2, -1)]
    assert (flow.neighbor_correlation[2] - (bonds[0] + bonds[1]) / 2).abs().max() <= 1e-15
    assert (flow.square == 1).all() and (flow.fourth == 1).all()
    assert block_flow(spins, 3, seed=0, n_levels=1).sizes == (27, 9)
    even = coins((12, 12), generator)
    assert torch.equal(block_flow(even, 2, seed=7).magnetization, block_flow(even, 2, seed=7).magnetization)
    assert not torch.equal(block_flow(even, 2, seed=7).magnetization, block_flow(even, 2, seed=8).magnetization)
    assert block_flow(even, 2, seed=7).sizes == (12, 6, 3)


def test_block_flow_of_free_spins_has_exact_moments(generator):
    """Averages of n independent ±1: ⟨φ²⟩ = 1/n, ⟨φ⁴⟩ = (3 − 2/n)/n², no correlation; 4 standard errors."""
    flow = block_flow(coins((400, 32, 32), generator), 2, rule="average", seed=0, n_levels=3)
    assert (flow.magnetization - flow.magnetization[0]).abs().max() <= 1e-15
    for level, n in enumerate((1, 4, 16, 64)):
        for values, exact in ((flow.square, 1 / n), (flow.fourth, (3 - 2 / n) / n**2), (flow.neighbor_correlation, 0)):
            error = values[level].std() / math.sqrt(400)
            assert abs(values[level].mean() - exact) <= 4 * error + 1e-15


@pytest.mark.parametrize("rule", ["majority", "average"])
def test_block_flow_runs_to_order_below_and_to_disorder_above(rule):
    """Correlation of neighbouring blocks over their square, 32 → 4: every step 4 standard errors over replicas."""
    temperature = torch.tensor([2.1, 3.2], dtype=torch.float64)
    spins = ising.sweep_spins(ising.all_up(2, 128, 32), temperature, n_sweeps=150, seed=1)
    flow = block_flow(spins, 2, rule=rule, seed=0, n_levels=3)
    change = (flow.neighbor_correlation / flow.square).diff(dim=0)
    score = change.mean(2) / (change.std(2) / math.sqrt(128))
    assert (score[:, 0] >= 4).all() and (score[:, 1] <= -4).all()


def test_block_flow_magnetization_of_free_blocks_is_chance(generator):
    """Few blocks always look magnetized: ⟨|m|⟩ of n free spins is C(n−1, ⌊n/2⌋)/2^{n−1}."""
    flow = block_flow(coins((4000, 16, 16), generator), 4, seed=0)
    for level, exact in ((1, math.comb(15, 8) / 2**15), (2, 1)):
        m = flow.magnetization[level].abs()
        assert abs(m.mean() - exact) <= 4 * m.std() / math.sqrt(4000)


def test_block_spin_functions_refuse(generator):
    spins = coins((4, 6, 6), generator)
    for function in (lambda s, b: majority_rule(s, b, seed=0), block_average, lambda s, b: block_flow(s, b, seed=0)):
        with pytest.raises(ValueError, match="want a size that scale_factor = 4 divides, got 6"):
            function(spins, 4)
        for bad in (1, 0, 2.0, True):
            with pytest.raises(ValueError, match="scale_factor: want an integer of 2 or more"):
                function(spins, bad)
        for bad in (spins[..., :4], spins[0, 0], spins[:0]):
            with pytest.raises(ValueError, match=r"want \(..., size, size\)"):
                function(bad, 2)
    with pytest.raises(ValueError, match="want 1 and -1 for a majority, got 0"):
        majority_rule(0 * spins, 2, seed=0)
    with pytest.raises(ValueError, match="want 1 and -1 for a majority, got -?0.5"):
        block_flow(0.5 * spins.double(), 2, seed=0)
    with pytest.raises(ValueError, match="rule: want one of"):
        block_flow(spins, 2, rule="vote", seed=0)
    for bad in (0, 2):
        with pytest.raises(ValueError, match=f"n_levels: want 1 to 1 for size 6 by 2, got {bad}"):
            block_flow(spins, 2, seed=0, n_levels=bad)


# Blocks of coordinates -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_latent, first", [(129, 43), (128, 43), (7, 3), (3, 1)])
def test_coordinate_blocks_of_a_pole(n_latent, first):
    """s = √n e_1: y = (√n/|B_1|, 0, 0), |B_1| = ⌈n/3⌉."""
    pole = torch.zeros(1, n_latent, dtype=torch.float64)
    pole[0, 0] = math.sqrt(n_latent)
    y = coordinate_blocks(pole, 3, rescale=False)
    assert (y - math.sqrt(n_latent) / first * torch.eye(3, dtype=torch.float64)[0]).abs().max() <= 1e-15


def test_coordinate_blocks_of_a_diagonal_field():
    y = coordinate_blocks(torch.full((2, 10), 0.7, dtype=torch.float64), 4, rescale=False)
    assert (y - 0.7).abs().max() <= 1e-15


def test_coordinate_blocks_of_uniform_directions_have_variance_one_over_the_block(generator):
    """Var y_a = 1/|B_a| on the sphere of radius √n, nearly normal: relative 4·√(2/M)."""
    n_samples, n_latent = 20_000, 128
    z = normal(n_samples, n_latent, generator=generator)
    z = z * math.sqrt(n_latent) / z.norm(dim=1, keepdim=True)
    y = coordinate_blocks(z, 3, rescale=False)
    variance = y.square().mean(0) * torch.tensor([43, 43, 42])
    assert (variance - 1).abs().max() <= 4 * math.sqrt(2 / n_samples)
    assert y.mean(0).abs().max() <= 4 / math.sqrt(42 * n_samples)


def test_coordinate_blocks_rescale_to_mean_length(generator):
    z = normal(50, 12, generator=generator)
    raw, y = coordinate_blocks(z, 3, rescale=False), coordinate_blocks(z, 3)
    assert abs(y.norm(dim=1).mean() - math.sqrt(3)) <= 1e-14
    assert (y - raw * (math.sqrt(3) / raw.norm(dim=1).mean())).abs().max() <= 1e-14
    assert (coordinate_blocks(5 * z, 3) - y).abs().max() <= 1e-14
    assert coordinate_blocks(z.float(), 3).dtype == torch.float32


def test_coordinate_blocks_take_blocks(generator):
    z = normal(20, 12, generator=generator)
    order = torch.randperm(12, generator=generator)
    assert (coordinate_blocks(z, blocks=order.split(4)) - coordinate_blocks(z[:, order], 3)).abs().max() <= 1e-14
    uneven = [torch.tensor([11]), torch.tensor([0, 5])]
    expected = torch.stack([z[:, 11], (z[:, 0] + z[:, 5]) / 2], 1)
    assert (coordinate_blocks(z, blocks=uneven, rescale=False) - expected).abs().max() <= 1e-15


def test_rayleigh_statistic_of_known_directions():
    """K·M for one direction, 0 for opposite ones; upper tails of χ²_2 and χ²_3 in closed form."""
    line = torch.tensor([[1.0, 2.0, -1.0]], dtype=torch.float64)
    one = rayleigh_statistic(torch.cat([line, 3 * line]))
    tail = math.erfc(math.sqrt(3)) + math.sqrt(12 / math.pi) * math.exp(-3)
    assert one.statistic == pytest.approx(6, rel=1e-14) and one.p_value == pytest.approx(tail, rel=1e-13)
    opposite = rayleigh_statistic(torch.cat([line, -line]))
    assert opposite.statistic <= 1e-30 and opposite.p_value == pytest.approx(1)
    plane = rayleigh_statistic(line[:, :2])
    assert plane.statistic == pytest.approx(2, rel=1e-14) and plane.p_value == pytest.approx(math.exp(-1), rel=1e-13)


def test_rayleigh_statistic_of_uniform_directions_is_chi_square(generator):
    """Mean K and variance 2K(1 − 1/M) are exact; the share under 5 % is binomial up to O(1/M). 4 standard errors."""
    n_repetitions, n_samples = 1500, 100
    of = [rayleigh_statistic(normal(n_samples, 3, generator=generator)) for _ in range(n_repetitions)]
    statistic = torch.tensor([one.statistic for one in of], dtype=torch.float64)
    variance = 6 * (1 - 1 / n_samples)
    assert abs(statistic.mean() - 3) <= 4 * math.sqrt(variance / n_repetitions)
    # χ²_3 has excess kurtosis 4, so the variance has relative error √(6/R)
    assert abs(statistic.var() / variance - 1) <= 4 * math.sqrt(6 / n_repetitions)
    share = sum(one.p_value <= 0.05 for one in of) / n_repetitions
    assert abs(share - 0.05) <= 4 * math.sqrt(0.05 * 0.95 / n_repetitions) + 0.05 / n_samples


def length_of_mean(y: torch.Tensor) -> float:
    return y.mean(0).norm().item()


def test_block_null_finds_a_field_on_contiguous_coordinates(generator):
    z = normal(200, 60, generator=generator)
    z[:, :20] += 1
    null = block_null(z, length_of_mean, n_null=99, seed=0)
    assert null.measured == length_of_mean(coordinate_blocks(z, 3))
    assert null.p_permuted == null.p_rotated == 1 / 100
    again = block_null(z, length_of_mean, n_null=99, seed=0)
    assert torch.equal(again.permuted, null.permuted) and torch.equal(again.rotated, null.rotated)


def test_block_null_permutations_do_not_see_a_diagonal_field_and_rotations_do(generator):
    """A field along (1, …, 1) is the same on any blocks; seen by the block averages of these coordinates alone."""
    z = normal(4000, 60, generator=generator) + 0.3
    null = block_null(z, length_of_mean, n_null=99, seed=0)
    assert 0.02 <= null.p_permuted <= 0.98 and null.p_rotated == 1 / 100
    assert (null.permuted / null.measured - 1).abs().max() <= 0.05 and null.rotated.mean() <= 0.7 * null.measured


def test_block_null_of_isotropic_codes_is_valid(generator):
    """Neither transformation changes the law of isotropic codes: P(p ≤ 2/10) = 2/10, 4 standard errors of 400 draws."""
    nulls = [block_null(normal(30, 12, generator=generator), length_of_mean, n_null=9, seed=s) for s in range(400)]
    for name in ("p_permuted", "p_rotated"):
        share = sum(getattr(null, name) <= 0.2 + 1e-9 for null in nulls) / 400
        assert abs(share - 0.2) <= 4 * math.sqrt(0.2 * 0.8 / 400)


def test_block_null_rotations_are_haar(generator):
    """One code turned at random: y/|y| is uniform on the circle of two equal blocks, so its waves average 0."""
    pole = torch.eye(8, dtype=torch.float64)[:1]
    seen = []
    block_null(pole, lambda y: seen.append(y[0].clone()) or 0.0, n_blocks=2, n_null=2000, seed=0)
    angle = torch.stack([torch.atan2(y[1], y[0]) for y in seen[1:-1:2]])  # permuted, rotated in turn, measured last
    for order in (1, 2, 4):
        for wave in (torch.cos(order * angle), torch.sin(order * angle)):
            assert abs(wave.mean()) <= 4 * math.sqrt(0.5 / len(angle))


def test_block_null_rotations_keep_the_size_of_blocks():
    """Unit codes along every axis: Σ y_a² = 1/|B_a| whatever the rotation, here blocks of 3, 2 and 2."""
    null = block_null(torch.eye(7).double(), lambda y: (y[:, 0] / y[:, 1].norm()).norm().item(), n_null=5, seed=0)
    assert (null.rotated**2 - 2 / 3).abs().max() <= 1e-14


def test_coordinate_block_functions_refuse(generator):
    z = normal(10, 6, generator=generator)
    for bad in (0, 7, 2.0):
        with pytest.raises(ValueError, match="n_blocks: want an integer from 1 to n_latent = 6"):
            coordinate_blocks(z, bad)
    for bad in ([], [torch.tensor([], dtype=torch.long)], [torch.tensor([0.5])], [torch.tensor([[0, 1]])]):
        with pytest.raises(ValueError, match="blocks: want non-empty lists of indices"):
            coordinate_blocks(z, blocks=bad)
    for bad in ([torch.tensor([0, 6])], [torch.tensor([-1])], [torch.tensor([0, 1]), torch.tensor([1])]):
        with pytest.raises(ValueError, match="blocks: want distinct indices from 0 to 5"):
            coordinate_blocks(z, blocks=bad)
    for function in (coordinate_blocks, rayleigh_statistic, lambda z: block_null(z, length_of_mean, n_null=1, seed=0)):
        with pytest.raises(ValueError, match="want finite values"):
            function(z * math.nan)
    with pytest.raises(ValueError, match="not all 0, which have no scale"):
        coordinate_blocks(0 * z)
    with pytest.raises(ValueError, match="want rows of positive finite norm"):
        rayleigh_statistic(0 * z)
    for bad in (0, 1.0):
        with pytest.raises(ValueError, match="n_null: want an integer of 1 or more"):
            block_null(z, length_of_mean, n_null=bad, seed=0)
