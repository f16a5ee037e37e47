"""Minima counted where their number is known: a field, p = 2, the circle, the trivial phase; quenches against −E_∞."""

import math

import pytest
import torch
from torch import nn

from latentlib import landscape, minima
from latentlib.pspin import PSpin, draw_pspin

F64 = torch.float64


def test_count_minima_of_a_field_alone_is_one():
    field = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=F64)
    found = minima.count_minima(draw_pspin({}, 4, field=field, seed=0), 16, seed=1)
    assert (found.n_minima, found.n_starts.tolist(), found.n_unfinished, found.n_flat) == (1, [16], 0, 0)
    # H = −field·z: z = √n field/|field|, H = −√n|field|, Hessian (|field|/√n)·I. Gradient tolerance 1e-10.
    norm = field.norm().item()
    torch.testing.assert_close(found.z[0], 2 * field / norm, rtol=0, atol=1e-9)
    assert found.energy.item() == pytest.approx(-2 * norm, abs=1e-12)
    assert found.softest.item() == pytest.approx(norm / 2, abs=1e-9)


def test_count_minima_of_two_spin_couplings_is_a_pair_of_eigenvectors():
    system = draw_pspin({2: 1.0}, 30, seed=0)
    eigenvalues, vectors = torch.linalg.eigh(system.couplings[2])
    found = minima.count_minima(system, 40, seed=1)
    assert found.n_minima == 2 and found.n_starts.sum() == 40
    # H = zᵀJz: both minima at n·λ_1, opposite, with softest curvature 2(λ_2 − λ_1).
    torch.testing.assert_close(found.energy, 30 * eigenvalues[:1].expand(2), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.softest, 2 * (eigenvalues[1] - eigenvalues[0]).expand(2), rtol=1e-8, atol=0)
    assert (found.z[0] @ found.z[1]).item() == pytest.approx(-30, rel=1e-12)
    assert (found.z[0] @ vectors[:, 0]).abs().item() == pytest.approx(math.sqrt(30), rel=1e-10)
    # The basins mirror each other: each start falls to either side with probability ½.
    assert abs(found.n_starts[0].item() - 20) < 4 * math.sqrt(40) / 2
    assert set(found.n_minima_at.values()) == {2}


def test_count_minima_leaves_saddles():
    system = draw_pspin({2: 1.0}, 12, seed=0)
    saddles = math.sqrt(12) * torch.linalg.eigh(system.couplings[2]).eigenvectors.T[1:]
    assert landscape.sphere_gradient(system, saddles).abs().max() < 1e-13
    found = minima.count_minima(system, starts=saddles)
    assert found.n_minima in (1, 2) and found.n_starts.sum() == 11 and found.n_flat == found.n_unfinished == 0
    assert (found.softest > 0).all()


def test_count_minima_on_the_circle_is_exhaustive():
    angle = torch.arange(20_000, dtype=F64) * (2 * math.pi / 20_000)
    circle = math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], 1)
    counts = []
    for seed in range(12):
        system = draw_pspin({3: 1.0, 4: 0.5}, 2, field=0.2, seed=seed)
        energy = system.energy(circle)
        bottoms = circle[(energy < energy.roll(1)) & (energy < energy.roll(-1))]
        found = minima.count_minima(system, 32, seed=seed)
        counts.append(found.n_minima)
        assert found.n_minima == len(bottoms), f"system {seed}"
        # A grid minimum lies within a step of a true one.
        assert torch.cdist(found.z, bottoms).amin(1).max() < math.sqrt(2) * 2 * math.pi / 20_000
    assert len(set(counts)) > 1


def test_count_minima_finds_one_above_the_trivialization_field():
    # h² = 6.25 > ξ''(1) − ξ'(1) = 3. E H/n = −√(ξ' + h²), and the alignment is h/√(ξ' + h²).
    n_spins, field, ends = 40, 2.5, []
    for seed in range(8):
        found = minima.count_minima(draw_pspin({3: 1.0}, n_spins, field=field, seed=seed), 64, seed=seed)
        assert found.n_minima == 1 and found.n_starts.tolist() == [64] and found.n_flat == found.n_unfinished == 0
        ends.append((found.energy.item() / n_spins, found.z.mean().item()))
    energy, alignment = torch.tensor(ends, dtype=F64).mean(0)
    # Var(min H) ≤ n·ξ(1) (Poincaré: its gradient in the couplings is that at one point); corrections are O(1/n).
    assert abs(energy + math.sqrt(3 + field**2)) < 3 / math.sqrt(n_spins * 8) + 1 / n_spins
    # Alignment is −dE/dh of a minimum whose curvature is of order one: fluctuations of order 1/√n again.
    assert abs(alignment - field / math.sqrt(3 + field**2)) < 3 / math.sqrt(n_spins * 8) + 1 / n_spins


def test_count_minima_certifies_every_one_of_many():
    system = draw_pspin({3: 1.0}, 30, seed=3)
    found = minima.count_minima(system, 128, seed=1)
    assert found.n_minima > 3 and found.n_starts.sum() == 128 and (found.energy.diff() >= 0).all()
    assert (landscape.hessian_index(system, found.z) == 0).all()
    softest = torch.linalg.eigvalsh(landscape.riemannian_hessian(system, found.z))[:, 0]
    torch.testing.assert_close(found.softest, softest)
    torch.testing.assert_close(found.energy, system.energy(found.z))
    slope = landscape.sphere_gradient(system, found.z).norm(dim=1) / math.sqrt(30)
    scale = system.gradient(landscape.sphere_points(128, 30, seed=1)).square().mean().sqrt()
    assert (slope <= 1e-10 * scale * 1.01).all()
    # Distinct minima of one energy landscape: far apart, so that no gap between 1e-2 and 1e-8 changes their number.
    assert set(found.n_minima_at.values()) == {found.n_minima}
    overlap = found.z @ found.z.T / 30 - torch.eye(found.n_minima, dtype=F64)
    assert overlap.max() < 0.99
    again = minima.count_minima(system, starts=3.0 * found.z)
    assert again.n_starts.tolist() == [1] * found.n_minima
    torch.testing.assert_close(again.z, found.z, rtol=0, atol=1e-8)


def test_count_minima_is_that_of_its_seed():
    system = draw_pspin({3: 1.0}, 12, seed=0)
    one, same, other = (minima.count_minima(system, 20, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(one.z, same.z) and torch.equal(one.n_starts, same.n_starts)
    assert other.n_starts.tolist() != one.n_starts.tolist()


def test_count_minima_does_not_see_the_scale_of_the_energy():
    system = draw_pspin({3: 1.0}, 15, seed=0)
    small = PSpin({3: 1e-12}, {3: 1e-6 * system.couplings[3]}, system.field)
    found, found_small = (minima.count_minima(each, 40, seed=1) for each in (system, small))
    assert found.n_minima == found_small.n_minima
    torch.testing.assert_close(found_small.energy, 1e-6 * found.energy, rtol=1e-9, atol=0)


def test_count_minima_reports_flat_directions():
    # The last latent is unused: at D(z) = x a whole line of minima.
    system = landscape.latent_energy(lambda z: z[:, :2], torch.tensor([0.5, -0.3], dtype=F64), n_latent=4)
    found = minima.count_minima(system, 10, seed=0)
    assert (found.n_minima, found.n_flat, found.n_unfinished) == (0, 10, 0)
    assert found.z.shape == (0, 4) and set(found.n_minima_at.values()) == {0}


def test_count_minima_reports_what_does_not_finish():
    # |z_1| has its minimum at a kink, where the gradient does not vanish.
    system = landscape.latent_energy(
        lambda z: z[:, :1].abs(), torch.zeros(1, dtype=F64), n_latent=3, loss=lambda output, x: output[:, 0]
    )
    kink = minima.count_minima(system, 6, seed=0, max_iterations=40)
    assert (kink.n_minima, kink.n_unfinished) == (0, 6)
    hasty = minima.count_minima(draw_pspin({3: 1.0}, 20, seed=0), 6, seed=0, max_iterations=1)
    assert hasty.n_unfinished == 6 and hasty.n_minima == 0


def test_count_minima_of_a_decoder_are_where_the_derivatives_say():
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 8)).double()
    system = landscape.latent_energy(decoder, decoder(landscape.sphere_points(1, 3, seed=9))[0].detach(), n_latent=3)
    found = minima.count_minima(system, 60, seed=0)
    assert found.n_minima >= 1 and found.n_starts.sum() + found.n_flat + found.n_unfinished == 60
    # The input is an image of the decoder: its code is a minimum, of energy 0.
    assert found.energy[0] < 1e-20
    torch.testing.assert_close(found.z[0], landscape.sphere_points(1, 3, seed=9)[0], rtol=0, atol=1e-7)
    # On a sphere of two dimensions ten times as many starts leave no basin out: they find no more.
    more = landscape.sphere_points(600, 3, seed=1)
    assert minima.count_minima(system, starts=more).n_minima == found.n_minima


def test_count_minima_merges_what_lies_closer_than_same():
    # Two wells 0.02 apart in angle: 1 − q = 2e-4.
    z_1, field = math.sqrt(2) * math.sin(0.01), torch.tensor([0.0, 1.0], dtype=F64)
    system = landscape.latent_energy(
        lambda z: z, torch.zeros(2, dtype=F64), field, loss=lambda d, x: (d[:, 0].square() - z_1**2).square() * 1e8
    )
    found = minima.count_minima(system, 40, seed=0)
    upper = found.z[found.z[:, 1] > 0]
    assert len(upper) == 2 and found.n_minima_at[1e-4] == found.n_minima and found.n_minima_at[1e-3] < found.n_minima
    # 1 − cos 0.02 = 2.0e-4 decides.
    for same, expected in ((1.9e-4, found.n_minima), (2.1e-4, found.n_minima_at[1e-3])):
        assert minima.count_minima(system, 40, seed=0, same=same).n_minima == expected


# Quenches


def test_quench_energies_fall_to_the_threshold_with_size():
    sizes, n_systems, mean, error = (16, 32, 64, 128), (48, 24, 10, 3), [], []
    for n_spins, n in zip(sizes, n_systems, strict=True):
        energy = []
        for seed in range(n):
            ends = minima.quench(draw_pspin({3: 1.0}, n_spins, seed=100 + seed), 8, seed=seed)
            assert ends.finished.all()
            energy.append(ends.energy.mean() / n_spins)
        energy = torch.stack(energy)  # one number a system: starts in one system are dependent
        mean.append(energy.mean()), error.append(energy.std() / math.sqrt(n))
    mean, error, size = torch.stack(mean), torch.stack(error), torch.tensor(sizes, dtype=F64)
    threshold = -2 * math.sqrt(2 / 3)
    assert (mean > threshold).all() and (mean.diff() < 0).all()
    # The edge of the Hessian's spectrum is sharp to n^{−2/3}, so is the energy where saddles become minima; next, 1/n.
    design = torch.stack([torch.ones(4, dtype=F64), size ** (-2 / 3), 1 / size], 1) / error[:, None]
    covariance = torch.linalg.inv(design.T @ design)
    limit, amplitude, _ = covariance @ design.T @ (mean / error)
    limit_se = covariance[0, 0].sqrt()
    assert amplitude > 0 and abs(limit - threshold) < 3 * limit_se and limit_se < 0.05


def test_quench_follows_the_gradient_flow():
    system = draw_pspin({3: 1.0}, 10, seed=0)
    starts = landscape.sphere_points(6, 10, seed=1)
    flow = starts.clone()
    for _ in range(5000):  # Euler steps a tenth of 1/curvature long: a path that the step length does not choose
        flow = flow - 1e-2 * landscape.sphere_gradient(system, flow)
        flow = flow * (math.sqrt(10) / flow.norm(dim=1, keepdim=True))
    ends = minima.quench(system, starts=starts)
    # Each in the basin of its start; the softest mode may hold both a little off the bottom.
    assert ((ends.z * flow).sum(1) / 10 > 0.99).all()
    assert len({round(energy, 2) for energy in ends.energy.tolist()}) > 1


def test_quench_ends_where_it_says():
    system = draw_pspin({3: 1.0}, 20, seed=0)
    for method in ("gradient descent", "l-bfgs"):
        ends = minima.quench(system, 12, seed=0, method=method, tolerance=1e-6)
        assert ends.finished.all() and ends.n_steps.shape == (12,) and (ends.n_steps > 0).all()
        torch.testing.assert_close(ends.energy, system.energy(ends.z))
        norm = landscape.sphere_gradient(system, ends.z).norm(dim=1) / math.sqrt(20)
        torch.testing.assert_close(ends.gradient_norm, norm)
        assert (norm < 2e-6 * system.gradient(landscape.sphere_points(12, 20, seed=0)).square().mean().sqrt()).all()
        assert minima.count_minima(system, starts=ends.z).n_starts.sum() == 12
    hasty = minima.quench(system, 12, seed=0, max_steps=5)
    assert not hasty.finished.any() and (hasty.n_steps == 5).all()


def test_quench_takes_float32():
    system = draw_pspin({3: 1.0}, 20, seed=0)
    double, single = (minima.quench(system.to(dtype), 12, seed=0) for dtype in (F64, torch.float32))
    assert single.finished.all() and single.z.dtype == torch.float32
    # Energies are right to the square of the tolerance, 1e-3 of the slope, unless rounding takes another basin.
    same = (single.z.double() * double.z).sum(1) / 20 > 0.999
    assert same.sum() >= 10
    torch.testing.assert_close(single.energy[same].double(), double.energy[same], rtol=1e-3, atol=0)


# Bad input


@pytest.mark.parametrize("function", [minima.count_minima, minima.quench])
def test_minima_functions_refuse(function):
    system = draw_pspin({3: 1.0}, 5, seed=0)
    for arguments, message in (
        ({}, "want either a number of random points or starts, got neither or both"),
        ({"n_starts": 3, "seed": 0, "starts": torch.ones(2, 5)}, "got neither or both"),
        ({"n_starts": 3}, "seed: want one for random points"),
        ({"n_starts": 0, "seed": 0}, "want n_points, n_latent >= 1, got 0, 5"),
        ({"starts": torch.ones(2, 4)}, r"starts: want floating \(n >= 1, n_latent = 5\), got torch.float32 \(2, 4\)"),
        ({"starts": torch.ones(0, 5)}, r"got torch.float32 \(0, 5\)"),
        ({"starts": torch.ones(2, 5, dtype=torch.int64)}, "got torch.int64"),
        ({"starts": torch.zeros(2, 5)}, "starts: want finite points of positive norm"),
        ({"n_starts": 3, "seed": 0, "tolerance": 0.0}, "tolerance.* in .0, 1., got 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            function(system, **arguments)
    with pytest.raises(ValueError, match="n_latent >= 2, got torch.float64 and 1"):
        function(draw_pspin({3: 1.0}, 1, seed=0), 3, seed=0)


def test_minima_functions_refuse_their_own():
    system = draw_pspin({3: 1.0}, 5, seed=0)
    with pytest.raises(ValueError, match="landscape: want torch.float64 and .*, got torch.float32"):
        minima.count_minima(system.to(torch.float32), 3, seed=0)
    with pytest.raises(ValueError, match="want tolerance and same in .0, 1., got 1e-10 and 2"):
        minima.count_minima(system, 3, seed=0, same=2)
    with pytest.raises(ValueError, match="method: want 'gradient descent' or 'l-bfgs', got 'adam'"):
        minima.quench(system, 3, seed=0, method="adam")
