"""Ultrametricity: 0 for trees and for what fakes them, the exact value under concentration, errors over points."""

import math
from functools import partial
from itertools import combinations

import pytest
import torch

from latentlib import nulls, ultrametric

DOUBLE = torch.float64


def tree_codes(depth: int, copies: int = 1) -> torch.Tensor:
    """Leaves of a binary tree, one axis a node below the root: q is the share of levels two leaves have in common."""
    leaves = torch.arange(2**depth)
    levels = [torch.eye(2 ** (level + 1), dtype=DOUBLE)[leaves >> (depth - level - 1)] for level in range(depth)]
    return torch.cat(levels, 1).repeat(copies, 1)


def brute_gap(z: torch.Tensor) -> float:
    unit = (z / z.norm(dim=1, keepdim=True)).tolist()
    distance = [[1 - math.fsum(a * b for a, b in zip(x, y)) for y in unit] for x in unit]
    triangles = [sorted((distance[i][j], distance[j][k], distance[k][i])) for i, j, k in combinations(range(len(z)), 3)]
    sides = torch.tensor(triangles, dtype=DOUBLE)
    return ((sides[:, 2] - sides[:, 1]).mean() / sides.std(correction=0)).item()


def test_ultrametricity_of_a_tree_is_zero():
    z = tree_codes(4)
    found = ultrametric.ultrametricity(z, seed=1)
    # Sides are sums of four products of eighths; the two longest come from different rows: some roundings of 1.
    assert 0 <= found.gap <= 1e-14 and found.gap_se <= 1e-13
    assert found.nulls["uniform"].low > 0.5 and found.n_triples == math.comb(16, 3)
    # Three points on a line of the tree that are no tree any more: one leaf moved halfway to another.
    z[0] = z[0] + z[5]
    assert ultrametric.ultrametricity(z, seed=1).gap > 0.02


def test_ultrametricity_is_faked_by_tight_classes():
    labels = torch.arange(20) % 4
    found = ultrametric.ultrametricity(torch.eye(4, dtype=DOUBLE)[labels], labels, seed=1)
    mixture = found.nulls["class mixture"]
    assert found.gap <= 1e-14 and mixture.high <= 1e-14 < found.nulls["uniform"].low


def test_ultrametricity_of_classes_with_noise_is_in_its_null(generator):
    labels = torch.arange(60) % 3
    z = 3 * torch.eye(8, dtype=DOUBLE)[labels] + torch.randn(60, 8, generator=generator, dtype=DOUBLE)
    found = ultrametric.ultrametricity(z, labels, seed=1, n_triples=5000)
    # 39 draws of this null hold one more with probability 0.95; here z is one, but for the fit of its mean.
    assert found.nulls["class mixture"].low <= found.gap <= found.nulls["class mixture"].high
    assert found.gap < found.nulls["uniform"].low


@pytest.mark.parametrize("n_samples", [10, 13])
def test_ultrametricity_of_all_triples_is_its_definition(n_samples, generator):
    z = torch.randn(n_samples, 3, generator=generator, dtype=DOUBLE) + 0.4
    found = ultrametric.ultrametricity(z, seed=1)
    assert found.gap == pytest.approx(brute_gap(z), rel=1e-12)
    assert found.n_triples == math.comb(n_samples, 3)


def test_ultrametricity_of_many_points_forms_no_matrix(generator, monkeypatch):
    # 40² > 3·500: the sides one by one, in batches.
    monkeypatch.setattr(ultrametric, "BATCH", 64)
    unit = torch.nn.functional.normalize(torch.randn(40, 3, generator=generator, dtype=DOUBLE))
    triples = ultrametric._triples(40, 500, seed=1)
    found = ultrametric._overlaps(unit, triples)
    gram = unit @ unit.T
    a, b, c = triples.T
    assert torch.allclose(found, torch.stack([gram[a, b], gram[b, c], gram[c, a]], 1), rtol=0, atol=1e-15)


def test_ultrametricity_error_equals_leaving_points_out(generator):
    z = torch.randn(11, 3, generator=generator, dtype=DOUBLE) + 0.4
    without = torch.tensor([brute_gap(z[rows]) for rows in ~torch.eye(11, dtype=torch.bool)], dtype=DOUBLE)
    found = ultrametric.ultrametricity(z, seed=1)
    assert found.gap_se == pytest.approx((10 * without.var(correction=0)).sqrt().item(), rel=1e-9)
    # 2.228 = t of 10 degrees of freedom at 97.5 %.
    half = 2.2281 * found.gap_se
    assert found.interval == pytest.approx((max(found.gap - half, 0), found.gap + half), rel=1e-4)


def test_ultrametricity_of_drawn_triples_agrees_with_all(generator):
    z = torch.randn(40, 3, generator=generator, dtype=DOUBLE) + torch.tensor([1.0, 0, 0])
    every = ultrametric.ultrametricity(z, seed=1, n_triples=9880)
    values = [ultrametric.ultrametricity(z, seed=seed, n_triples=1000) for seed in range(20)]
    gaps = torch.tensor([one.gap for one in values])
    assert abs(gaps.mean() - every.gap) <= 4 * gaps.std() / 20**0.5
    assert every.n_triples == 9880 and values[0].n_triples == 1000 and len(gaps.unique()) == 20
    again = ultrametric.ultrametricity(z, seed=0, n_triples=1000)
    assert (again.gap, again.gap_se) == (values[0].gap, values[0].gap_se)


def test_triples_are_uniform_over_distinct_points():
    triples = ultrametric._triples(6, 19, seed=1)
    assert len(triples) == 19
    triples = torch.cat([ultrametric._triples(6, 19, seed=seed) for seed in range(2000)])
    ordered = triples.sort(1).values
    assert (ordered.diff(dim=1) > 0).all()
    count = torch.unique(ordered, dim=0, return_counts=True)[1]
    expected = len(triples) / 20
    assert len(count) == 20 and ((count - expected).abs() <= 4.5 * expected**0.5).all()


def test_ultrametricity_under_concentration_is_the_gap_of_three_normals():
    # In 2000 dimensions 1/√n corrections are 2 %: the mean over 39 null draws is known better than that.
    found = ultrametric.ultrametricity(nulls.uniform_codes(30, 2000, seed=3), seed=1)
    values = found.nulls["uniform"].values
    error = values.std().item() / 39**0.5
    assert abs(values.mean().item() - ultrametric.GAP_CONCENTRATED) <= 3 * error + 2000**-0.5
    assert found.nulls["uniform"].low <= found.gap <= found.nulls["uniform"].high
    # The constant by quadrature: E[max − mid] of three normals = ∫ 3·(F² − F³) dx, 3F²(1 − F) the chance that exactly
    # the largest is above x.
    x = torch.linspace(-12, 12, 4001, dtype=DOUBLE)
    below = torch.special.ndtr(x)
    exact = torch.trapezoid(3 * below**2 * (1 - below), x).item()
    assert ultrametric.GAP_CONCENTRATED == pytest.approx(exact, abs=1e-12)


def test_ultrametricity_is_unchanged_by_rotation_and_scale(generator):
    z = torch.randn(12, 5, generator=generator, dtype=DOUBLE) + 0.3
    scale = torch.rand(12, 1, generator=generator, dtype=DOUBLE) + 0.5
    first, second = (ultrametric.ultrametricity(one, seed=1) for one in (z, nulls.rotated_codes(z * scale, seed=4)))
    assert (second.gap, second.gap_se) == pytest.approx((first.gap, first.gap_se), rel=1e-10)


def test_ultrametricity_error_is_no_smaller_than_the_spread(generator):
    variance = torch.tensor([4, 1, 0.25], dtype=DOUBLE)
    found = []
    for _ in range(60):
        z = torch.randn(16, 3, generator=generator, dtype=DOUBLE) * variance.sqrt()
        found.append(ultrametric.ultrametricity(z, seed=1))
    spread = torch.tensor([one.gap for one in found]).std().item()
    error = torch.tensor([one.gap_se for one in found]).square().mean().sqrt().item()
    # The sd of 60 draws is known to 1/√120 = 9 %; the jackknife is too wide by √3 at most, to O(1/16).
    assert 1 - 4 * 120**-0.5 <= error / spread <= 3**0.5 * (1 + 4 * 120**-0.5)


def test_ultrametricity_measures_others_and_more_nulls_alike(generator):
    z, tree = torch.randn(12, 4, generator=generator, dtype=DOUBLE), tree_codes(4)
    sampler = partial(nulls.permuted_codes, z)
    found = ultrametric.ultrametricity(z, seed=1, others={"tree": tree, "self": z}, samplers={"permuted": sampler})
    assert found.others["self"] == (found.gap, found.gap_se) and found.others["tree"][0] <= 1e-14
    assert set(found.nulls) == {"uniform", "permuted"} and len(found.nulls["permuted"].values) == 39


def test_ultrametricity_without_a_spread_is_nan():
    found = ultrametric.ultrametricity(torch.eye(12), seed=1)
    assert math.isnan(found.gap) and math.isnan(found.gap_se) and all(map(math.isnan, found.interval))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"z": torch.ones(9, 3)}, r"n_samples >= 10, n_latent >= 1\), got \(9, 3\)"),
        ({"z": torch.zeros(12, 3)}, "positive finite norm"),
        ({"n_triples": 0}, "n_triples: want 1 or more, got 0"),
        ({"n_null": 38}, "n_null >= 39, got 38"),
        ({"labels": torch.zeros(11, dtype=torch.int64)}, r"one a point, \(12,\), got \(11,\)"),
        ({"others": {"p = 3": torch.ones(4, 3)}}, r"p = 3: want \(n_samples >= 10"),
        ({"others": {"z": torch.ones(12, 3)}}, "names besides z, uniform, got"),
        ({"samplers": {"uniform": partial(nulls.uniform_codes, 12, 3)}}, "names besides z, uniform, got"),
    ],
)
def test_ultrametricity_refuses_bad_input(change, message, generator):
    arguments = {"z": torch.randn(12, 3, generator=generator), "seed": 1} | change
    with pytest.raises(ValueError, match=message):
        ultrametric.ultrametricity(arguments.pop("z"), **arguments)
