"""Population annealing against the p = 2 glass, where the Gibbs measure and its free energy are known."""

import math

import pytest
import torch

from latentlib import annealing, bingham, langevin, pspin

LADDER = [4.0, 2.0, 1.4, 1.1, 0.9, 0.75, 0.62, 0.52, 0.45]


@pytest.fixture(scope="module")
def glass():
    return pspin.draw_pspin({2: 0.5}, 12, field=0.1, seed=3)  # J = 1: T_c = 1, and a field that prefers one valley


def test_anneal_replicas_log_partition_is_the_exact_one(glass):
    runs = [annealing.anneal_replicas(glass, LADDER, n_replicas=300, n_steps=15, seed=100 * seed) for seed in range(8)]
    found = torch.stack([run.log_partition for run in runs])
    exact = torch.tensor([12 * bingham.ssk_log_partition_given(glass, temperature) for temperature in LADDER])
    # exp(ln Z) is unbiased: ln Z is low by half its variance.
    expected = exact - found.var(0) / 2
    error = found.std(0) / math.sqrt(len(runs))
    assert ((found.mean(0) - expected).abs() <= 4 * error).all()
    assert (error < 0.1).all()


def test_anneal_replicas_draws_the_exact_energies_and_valleys(glass):
    runs = [annealing.anneal_replicas(glass, LADDER, n_replicas=300, n_steps=15, seed=100 * seed) for seed in range(8)]
    exact = bingham.ssk_replicas(glass, LADDER[-1], n_replicas=4000, seed=1)
    for statistic in (lambda z: glass.energy(z).mean(), lambda z: z.mean()):
        found = torch.stack([statistic(run.z) for run in runs])
        groups = torch.stack([statistic(part) for part in exact.split(500)])
        error = (found.var() / len(found) + groups.var() / len(groups)).sqrt()
        assert abs(found.mean() - groups.mean()) <= 4 * error


def test_anneal_replicas_populates_valleys_that_a_chain_cannot_leave(glass):
    # Two valleys, along plus and minus the ground state of the couplings; the field prefers one of them.
    axis = torch.linalg.eigh(glass.couplings[2]).eigenvectors[:, 0]
    cold = [*LADDER, 0.3, 0.2]
    exact = (bingham.ssk_replicas(glass, cold[-1], n_replicas=4000, seed=1) @ axis > 0).double().mean()
    start = torch.where(exact > 0.5, -axis, axis).expand(100, -1)
    stuck = (langevin.gibbs_replicas(glass, cold[-1], starts=start, n_steps=100, seed=0).z @ axis > 0).double().mean()
    runs = [annealing.anneal_replicas(glass, cold, n_replicas=300, n_steps=15, seed=100 * seed) for seed in range(8)]
    share = torch.stack([(run.z @ axis > 0).double().mean() for run in runs])
    assert abs(stuck - exact) > 0.5
    assert abs(share.mean() - exact) <= 4 * (share.var() / len(runs) + exact * (1 - exact) / 4000).sqrt()


def test_anneal_replicas_families_merge_as_it_cools(glass):
    hot = annealing.anneal_replicas(glass, [100.0], n_replicas=300, n_steps=2, seed=0)
    cold = annealing.anneal_replicas(glass, LADDER, n_replicas=300, n_steps=2, seed=0)
    assert 1 <= hot.family_size < 1.1 < cold.family_size < 300
    assert torch.allclose(hot.z.norm(dim=1), torch.full((300,), 12**0.5, dtype=torch.float64))


def test_anneal_replicas_gives_the_same_draws_from_the_same_seed(glass):
    one, two, other = (annealing.anneal_replicas(glass, [2.0, 1.0], n_replicas=20, n_steps=3, seed=s) for s in (5, 5, 6))
    assert torch.equal(one.z, two.z) and torch.equal(one.log_partition, two.log_partition)
    assert not torch.equal(one.z, other.z)


def test_systematic_copies_each_in_proportion(generator):
    probability = torch.tensor([0.05, 0.45, 0.0, 0.5], dtype=torch.float64)
    draws = [annealing._systematic(probability, generator).bincount(minlength=4) for _ in range(400)]
    mean = torch.stack(draws).double().mean(0)
    assert all(((count == (4 * probability).floor()) | (count == (4 * probability).ceil())).all() for count in draws)
    # A count of two neighbouring values has a variance of ¼ at most.
    assert ((mean - 4 * probability).abs() <= 4 * 0.5 / 400**0.5).all()


def test_anneal_replicas_refuses(glass):
    for bad in ([], [1.0, 1.0], [1.0, 2.0], [1.0, 0.0], [math.nan]):
        with pytest.raises(ValueError, match="temperatures: want falling ones > 0, got"):
            annealing.anneal_replicas(glass, bad, n_replicas=10, n_steps=1, seed=0)
    with pytest.raises(ValueError, match="n_replicas: want 2 or more, got 1"):
        annealing.anneal_replicas(glass, [1.0], n_replicas=1, n_steps=1, seed=0)
    with pytest.raises(ValueError, match="n_steps: want 1 or more"):
        annealing.anneal_replicas(glass, [1.0], n_replicas=10, n_steps=0, seed=0)
