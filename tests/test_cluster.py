"""Swendsen–Wang moves: clusters by brute force, exact averages, the critical point, the same bits in any pieces."""

import pytest
import torch

from latentlib import cluster, finite_size, ising, onsager
from latentlib.reference import ising as reference


def flooded(right: torch.Tensor, below: torch.Tensor) -> list[int]:
    """First site of every site's cluster of one lattice, by flooding from each site in turn."""
    size = len(right)
    bonds = [
        (size * i + j, size * (i + di) % size**2 + j if di else size * i + (j + 1) % size)
        for di, bonded in ((0, right), (1, below))
        for i, j in bonded.nonzero().tolist()
    ]
    first = [-1] * size**2
    for site in range(size**2):
        stack = [site] if first[site] < 0 else []
        while stack:
            here = stack.pop()
            if first[here] < 0:
                first[here] = site
                stack += [other for bond in bonds if here in bond for other in bond]
    return first


@pytest.mark.parametrize("size", [1, 2, 3, 6])
@pytest.mark.parametrize("density", [0.0, 0.4, 0.6, 1.0])
def test_first_sites_are_those_of_flooding(size, density, generator):
    right, below = torch.rand(2, 4, size, size, generator=generator) < density
    found = torch.from_numpy(cluster._first_sites(right, below)).view(4, -1)
    for lattice in range(4):  # one graph of all: each has sites of its own
        assert (found[lattice] - lattice * size**2).tolist() == flooded(right[lattice], below[lattice])


def test_swendsen_wang_same_seed_same_bits_in_any_pieces(monkeypatch):
    spins = ising.random_spins(3, 5, 7, seed=1)
    temperature, options = torch.tensor([1.5, 2.3, 4.0]), {"seed": 2**64 - 1}
    whole = cluster.swendsen_wang(spins, temperature, n_sweeps=5, **options)
    assert torch.equal(whole, cluster.swendsen_wang(spins, temperature, n_sweeps=5, **options))
    halfway = cluster.swendsen_wang(spins, temperature, n_sweeps=2, **options)
    assert torch.equal(whole, cluster.swendsen_wang(halfway, temperature, n_sweeps=3, first_sweep=2, **options))
    part = cluster.swendsen_wang(spins[1:, 2:], temperature[1:], n_sweeps=5, first_point=1, first_replica=2, **options)
    assert torch.equal(whole[1:, 2:], part)
    for n_counters in (1, 100):
        monkeypatch.setattr(reference, "COUNTERS_THREAD", n_counters)
        assert torch.equal(whole, cluster.swendsen_wang(spins, temperature, n_sweeps=5, **options))
    columns_first = spins.mT.contiguous().mT
    assert torch.equal(whole, cluster.swendsen_wang(columns_first, temperature, n_sweeps=5, **options))
    assert torch.equal(spins, cluster.swendsen_wang(spins, temperature, n_sweeps=0, **options))
    assert not torch.equal(whole, cluster.swendsen_wang(spins, temperature, n_sweeps=5, seed=0))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_swendsen_wang_samples_the_enumerated_law(size):
    # One sample of each of 3000 independent replicas; the clusters forget these small boxes in a few sweeps.
    temperature = torch.tensor([1.5, 2.5, 6.0], dtype=torch.float64)
    spins = ising.random_spins(3, 3000, size, seed=2)
    spins = cluster.swendsen_wang(spins, temperature, n_sweeps=25, seed=5)
    states = 2 * (torch.arange(2 ** (size * size))[:, None] >> torch.arange(size * size) & 1) - 1
    states = states.to(torch.int8).view(1, -1, size, size)
    exact_m, exact_energy = ising.magnetization(states)[0], ising.energy_per_site(states)[0]
    for point in range(3):
        weight = (-exact_energy * size**2 / temperature[point]).softmax(0)
        m, energy = ising.magnetization(spins)[point], ising.energy_per_site(spins)[point]
        pairs = (m, exact_m), (energy, exact_energy)
        for found, exact in (*pairs, *((one.square(), other.square()) for one, other in pairs)):
            # Four standard errors: 36 chances here, one in 16 000 each.
            assert abs(found.mean() - weight @ exact) <= 4 * found.std() / 3000**0.5 + 1e-12


def test_swendsen_wang_at_zero_temperature_flips_domains(generator):
    spins = torch.ones(1, 500, 5, 5, dtype=torch.int8)
    spins[..., 1:4, 1:4] = -1  # one island: two domains, two coins
    found = cluster.swendsen_wang(spins, 0.0, n_sweeps=1, seed=3)
    island, sea = found[0, :, 1:4, 1:4].flatten(1), found[0, :, 0]
    assert (island == island[:, :1]).all() and (sea == sea[:, :1]).all()
    both = 2 * (island[:, 0] > 0) + (sea[:, 0] > 0)
    count = torch.bincount(both.long(), minlength=4).double()
    assert ((count - 125).abs() <= 4 * (500 * 3 / 16) ** 0.5).all()  # binomial, a quarter each
    once_flipped = cluster.swendsen_wang(found, 0.0, n_sweeps=1, seed=3, first_sweep=1)
    assert torch.equal(ising.energy_per_site(once_flipped) == -2, ising.magnetization(once_flipped).abs() == 1)


def test_swendsen_wang_agrees_with_the_heat_bath_at_the_critical_point():
    runs = [
        ising.sample_ising(
            8, onsager.critical_temperature, n_replicas=100, n_samples=20, n_between=n_between, n_equilibrate=200,
            seed=6, cluster=moves,
        )
        for moves, n_between in ((True, 2), (False, 10))
    ]  # fmt: skip
    for values in (lambda run: run.energy, lambda run: run.magnetization.abs(), lambda run: run.magnetization**4):
        (mean, error), (other_mean, other_error) = (run.mean(values(run)) for run in runs)
        assert abs(mean - other_mean) <= 3 * (error.square() + other_error.square()).sqrt()


def test_binder_cumulants_cross_at_the_critical_temperature():
    sizes = (8, 16, 32)
    temperature = onsager.critical_temperature * torch.linspace(0.98, 1.02, 5, dtype=torch.float64)
    cumulants = []
    for size in sizes:
        run = ising.sample_ising(
            size, temperature, n_replicas=64, n_samples=80, n_between=1, n_equilibrate=20, seed=size, cluster=True
        )
        cumulants.append(finite_size.binder_cumulant(run.magnetization, 2, average_dim=0))
    binder, error = (torch.stack([getattr(one, name) for one in cumulants]) for name in ("value", "se"))
    # Larger is nearer 2/3 below and nearer 0 above, and the point between is known to 0.3 %.
    assert (binder[:, 0].diff() > 0).all() and (binder[:, -1].diff() < 0).all()
    found = finite_size.binder_crossing(temperature, binder, error, sizes, degree=2)
    assert abs(found.temperature / onsager.critical_temperature - 1) <= 3e-3
    assert found.se / onsager.critical_temperature <= 2e-3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"spins": torch.ones(1, 1, 4, 4)}, TypeError, "spins: want an int8 tensor, got torch.float32"),
        ({"spins": ising.all_up(1, 1, 4)[0]}, ValueError, r"spins: want \(n_points, n_replicas, size, size\)"),
        ({"spins": 3 * ising.all_up(1, 1, 4)}, ValueError, "spins: want values −1 and \\+1, got others"),
        ({"temperature": -0.5}, ValueError, "temperature: want values of 0 or more, got -0.5"),
        ({"temperature": torch.ones(3)}, ValueError, r"temperature: want a number or \(n_points = 1,\), got \(3,\)"),
        ({"n_sweeps": -1}, ValueError, "n_sweeps: want a whole number from 0"),
        ({"seed": -1}, ValueError, "seed: want a whole number from 0"),
        ({"first_sweep": -1}, ValueError, "first_sweep: want a whole number from 0"),
    ],
)
def test_swendsen_wang_refuses_bad_input(change, error, message):
    arguments = {"spins": ising.all_up(1, 1, 4), "temperature": 2.0, "n_sweeps": 1, "seed": 0} | change
    with pytest.raises(error, match=message):
        cluster.swendsen_wang(**arguments)
