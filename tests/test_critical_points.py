"""All critical points of small p-spins: cubics with known ones, p = 1 and 2, and the means of Kac–Rice."""

import math

import pytest
import torch

from latentlib import critical_points
from latentlib.critical_points import CriticalCounts, count_critical_points
from latentlib.kac_rice import n_critical_points, n_minima
from latentlib.pspin import PSpin, draw_pspin

CUBIC = {3: 1.0}
MIXED = {1: 0.2, 2: 0.5, 3: 1.0, 4: 0.3}
ERRORS_BAR = 2  # of the issue: means within two standard errors


def draws(n_systems: int, n_spins: int, field: float = 0.0, *, random_field: bool = True, mixture=CUBIC) -> list[PSpin]:
    options = {"field_std": field} if random_field else {"field": field}
    return [draw_pspin(mixture, n_spins, seed=seed, **options) for seed in range(n_systems)]


def diagonal(n_spins: int, p: int) -> PSpin:
    """H = Σ_i s_i^p."""
    coupling = torch.zeros([n_spins] * p, dtype=torch.float64)
    coupling[(torch.arange(n_spins),) * p] = 1
    return PSpin({p: 1.0}, {p: coupling}, torch.zeros(n_spins, dtype=torch.float64))


def turned(system: PSpin, rotation: torch.Tensor) -> PSpin:
    """The same energy in turned coordinates."""
    couplings = {}
    for p, coupling in system.couplings.items():
        for axis in range(p):
            coupling = torch.tensordot(coupling, rotation, dims=([0], [1]))
        couplings[p] = coupling
    return PSpin(system.mixture, couplings, rotation @ system.field)


def test_count_critical_points_of_the_fermat_cubic():
    # Σs_i³: on the circle ±e_i and ±(1, 1)/√2; on the sphere ±(a sum of any of the axes): one axis a maximum, two a
    # saddle, three a minimum, and the other way round with the sign.
    circle = count_critical_points([diagonal(2, 3)], seed=0)
    sphere = count_critical_points([diagonal(3, 3)], seed=0)
    assert circle.by_index.tolist() == [[3, 3]]
    assert sphere.by_index.tolist() == [[4, 6, 4]]
    assert circle.certified.all() and sphere.certified.all()


def test_count_critical_points_of_the_fermat_quartic():
    # Circle: axes are maxima, diagonals minima. Sphere: 6 axes maxima, 12 face diagonals saddles, 8 corners minima.
    assert count_critical_points([diagonal(2, 4)], seed=0).by_index.tolist() == [[4, 4]]
    assert count_critical_points([diagonal(3, 4)], seed=0).by_index.tolist() == [[8, 12, 6]]


@pytest.mark.parametrize("n_spins", [2, 3])
def test_count_critical_points_of_p_1_and_2_are_known_in_every_sample(n_spins):
    # A linear energy has two, a quadratic one ± every eigenvector. One batch: the degrees of systems may differ.
    quadratic = draws(20, n_spins, mixture={2: 1.0})
    linear = [draw_pspin({1: 1.0}, n_spins, field=0.5, seed=seed) for seed in range(20)]
    counts = count_critical_points(quadratic + linear, seed=0)
    poles = [1] + [0] * (n_spins - 2) + [1]
    assert counts.by_index.tolist() == [[2] * n_spins] * 20 + [poles] * 20
    assert counts.certified.all()


@pytest.mark.parametrize("n_spins", [2, 3])
def test_count_critical_points_is_unchanged_by_rotations_and_scales(n_spins):
    systems = draws(60, n_spins, 0.8, mixture=MIXED)
    generator = torch.Generator().manual_seed(3)
    others = []
    for system in systems:
        rotation = torch.linalg.qr(torch.randn(n_spins, n_spins, generator=generator, dtype=torch.float64))[0]
        other = turned(system, rotation)
        couplings = {p: 1e6 * coupling for p, coupling in other.couplings.items()}
        others.append(PSpin(system.mixture, couplings, 1e6 * other.field))
    counts, other_counts = count_critical_points(systems, seed=0), count_critical_points(others, seed=1)
    assert torch.equal(counts.by_index, other_counts.by_index)
    assert counts.certified.all() and other_counts.certified.all()


@pytest.mark.parametrize("n_spins", [2, 3])
def test_count_critical_points_swaps_indices_with_the_sign(n_spins):
    systems = draws(60, n_spins, 0.8, mixture=MIXED)
    negative = [PSpin(one.mixture, {p: -g for p, g in one.couplings.items()}, -one.field) for one in systems]
    counts = count_critical_points(systems, seed=0).by_index
    assert torch.equal(counts, count_critical_points(negative, seed=0).by_index.flip(1))
    assert len(counts.unique(dim=0)) > 3, "systems of one kind would prove little"


def test_count_critical_points_on_the_circle_is_a_dense_scan():
    # Sign changes of H′ on 20000 angles miss a pair nearer than the step with a probability of about 1e-7 a system.
    systems = draws(50, 2, 0.8, mixture=MIXED)
    theta = torch.arange(20000, dtype=torch.float64) * (2 * math.pi / 20000)
    spins = math.sqrt(2) * torch.stack([theta.cos(), theta.sin()], 1)
    energies = torch.stack([system.energy(spins) for system in systems])
    falling = energies.roll(-1, 1) < energies
    scanned = (falling & ~falling.roll(-1, 1)).sum(1)
    assert torch.equal(count_critical_points(systems, seed=0).by_index[:, 0], scanned)


@pytest.mark.parametrize("field", [0, 0.5, 1, math.sqrt(3), 3])
def test_count_critical_points_on_the_circle_has_the_mean_of_kac_rice(field):
    mean, se = count_critical_points(draws(4000, 2, field), seed=0).mean()
    assert abs(mean - n_critical_points(CUBIC, 2, field)) <= ERRORS_BAR * se


@pytest.mark.parametrize("field", [1, 3])
def test_count_critical_points_on_the_circle_has_the_mean_of_kac_rice_in_a_fixed_field(field):
    mean, se = count_critical_points(draws(4000, 2, field, random_field=False), seed=0).mean()
    assert abs(mean - n_critical_points(CUBIC, 2, field, random_field=False)) <= ERRORS_BAR * se


@pytest.mark.parametrize("field", [0, 1.5, math.sqrt(3), 3])
def test_count_critical_points_on_the_sphere_has_the_mean_of_kac_rice(field):
    counts = count_critical_points(draws(400, 3, field), seed=0)
    assert counts.certified.all()
    mean, se = counts.mean()
    assert abs(mean - n_critical_points(CUBIC, 3, field)) <= ERRORS_BAR * se
    minima = counts.by_index[:, 0].double()
    assert abs(minima.mean() - n_minima(CUBIC, 3, field)) <= ERRORS_BAR * minima.std() / math.sqrt(400)


def test_count_critical_points_on_the_sphere_has_the_mean_of_kac_rice_in_a_fixed_field():
    # A mixture with every order, so that the sum over orders and the field's sign are in it.
    counts = count_critical_points(draws(400, 3, 0.8, random_field=False, mixture=MIXED), seed=0)
    mean, se = counts.mean()
    assert counts.certified.all()
    assert abs(mean - n_critical_points(MIXED, 3, 0.8, random_field=False)) <= 3 * se


def test_count_critical_points_is_the_same_for_a_seed_and_for_another():
    systems = draws(40, 3)
    counts = count_critical_points(systems, seed=5)
    assert torch.equal(counts.by_index, count_critical_points(systems, seed=5).by_index)
    assert torch.equal(counts.by_index, count_critical_points(systems, seed=6).by_index)


def test_count_critical_points_certifies_nothing_that_is_incomplete(monkeypatch):
    systems = draws(100, 3)
    complete = count_critical_points(systems, seed=0)
    monkeypatch.setattr(critical_points, "MAX_ROUNDS", 1)
    assert not count_critical_points(systems, seed=0).certified.any(), "one round has nothing to compare with"
    # Three starts of Newton find three points of six to fourteen at most; Morse's law then holds by accident only.
    monkeypatch.setattr(critical_points, "MAX_ROUNDS", 3)
    monkeypatch.setattr(critical_points, "N_GRID", 1)
    counts = count_critical_points(systems, seed=0)
    euler = counts.by_index[:, 0] - counts.by_index[:, 1] + counts.by_index[:, 2]
    assert bool((counts.n_critical < complete.n_critical).all())
    assert not (counts.certified & (euler != 2)).any()
    assert counts.certified.double().mean() < 0.1


def test_count_critical_points_does_not_certify_a_critical_circle():
    # H = s_1² has the poles and the whole equator.
    coupling = torch.diag(torch.tensor([1.0, 0, 0], dtype=torch.float64))
    system = PSpin({2: 1.0}, {2: coupling}, torch.zeros(3, dtype=torch.float64))
    assert not count_critical_points([system], seed=0).certified.any()


def test_critical_counts_mean_is_over_systems():
    counts = CriticalCounts(torch.tensor([[1, 1], [2, 2], [3, 3]]), torch.ones(3, dtype=torch.bool))
    assert counts.n_critical.tolist() == [2, 4, 6]
    assert counts.mean() == pytest.approx((4, 2 / math.sqrt(3)), rel=1e-15)
    with pytest.raises(ValueError, match="want two systems at least, got 1"):
        CriticalCounts(torch.tensor([[1, 1]]), torch.ones(1, dtype=torch.bool)).mean()


def test_count_critical_points_refuses_what_it_cannot_count():
    with pytest.raises(ValueError, match=r"all of n_spins = 2 or all of 3, got \[\]"):
        count_critical_points([], seed=0)
    with pytest.raises(ValueError, match=r"all of n_spins = 2 or all of 3, got \[4\]"):
        count_critical_points(draws(2, 4), seed=0)
    with pytest.raises(ValueError, match=r"all of n_spins = 2 or all of 3, got \[2, 3\]"):
        count_critical_points(draws(1, 2) + draws(1, 3), seed=0)
    with pytest.raises(ValueError, match="want torch.float64, got torch.float32"):
        count_critical_points([draw_pspin(CUBIC, 3, seed=0, dtype=torch.float32)], seed=0)
    with pytest.raises(TypeError, match="want PSpin, got str"):
        count_critical_points(["system"], seed=0)


@pytest.mark.parametrize("n_spins", [2, 3])
def test_count_critical_points_refuses_a_constant(n_spins):
    # |s|² is constant on the sphere.
    constant = diagonal(n_spins, 2)
    with pytest.raises(ValueError, match="got a constant H in system 1"):
        count_critical_points([*draws(1, n_spins), constant], seed=0)
    nothing = PSpin({2: 0.0}, {}, torch.zeros(n_spins, dtype=torch.float64))
    with pytest.raises(ValueError, match="got a constant H in system 0"):
        count_critical_points([nothing], seed=0)
