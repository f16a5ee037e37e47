"""The uniform sphere: exact laws of its overlap."""

import math

import pytest
import torch
from latentlib import sphere


@pytest.mark.parametrize("n_latent", [3, 4, 16, 128])
def test_uniform_sphere_density_integrates_to_one_with_variance_one_over_n(n_latent):
    nodes = torch.linspace(-1, 1, 40_001, dtype=torch.float64)
    density = sphere.uniform_sphere_density(nodes, n_latent)
    # n = 4 is a half circle: the trapezoid rule errs like step^1.5 there, 4e-7.
    assert torch.trapezoid(density, nodes).item() == pytest.approx(1, abs=1e-6)
    assert torch.trapezoid(density * nodes.square(), nodes).item() == pytest.approx(1 / n_latent, abs=1e-6)
    outside = sphere.uniform_sphere_density(torch.tensor([-1.1, 1.1]), n_latent)
    assert torch.equal(outside, torch.zeros(2))


def test_uniform_sphere_probability_closed_forms():
    edges = torch.linspace(-1, 1, 9, dtype=torch.float64)
    flat = sphere.uniform_sphere_probability(edges, 3)  # Archimedes: q is uniform on the ordinary sphere
    assert torch.allclose(flat, torch.full_like(flat, 1 / 8), rtol=0, atol=1e-15)
    arcs = sphere.uniform_sphere_probability(edges, 2)
    assert torch.allclose(arcs, (edges.acos()[:-1] - edges.acos()[1:]) / math.pi, rtol=0, atol=1e-14)
    tails = sphere.uniform_sphere_probability(edges, 128)
    assert torch.equal(tails, tails.flip(0)) and 0 < tails[-1] < 1e-24
    assert tails.sum().item() == pytest.approx(1, abs=1e-13)


def test_uniform_sphere_probability_is_the_integral_of_the_density():
    edges = torch.tensor([-1, -0.75, -0.1, 0.0, 0.3, 0.31, 0.9, 1], dtype=torch.float64)
    for bin_edges, found in zip(edges.unfold(0, 2, 1), sphere.uniform_sphere_probability(edges, 50)):
        nodes = torch.linspace(*bin_edges.tolist(), 2001, dtype=torch.float64)
        integral = torch.trapezoid(sphere.uniform_sphere_density(nodes, 50), nodes)
        assert found.item() == pytest.approx(integral.item(), rel=1e-5)


def test_uniform_sphere_refuses():
    with pytest.raises(ValueError, match="n_latent: want 2 or more"):
        sphere.uniform_sphere_density(torch.zeros(1), 1)
    for edges in ([0.0], [0.5, 0.1], [-1.5, 0.0]):
        with pytest.raises(ValueError, match="edges: want two or more rising values"):
            sphere.uniform_sphere_probability(torch.tensor(edges), 3)
