"""Stability of islands under blocks: exact values of two islands and of uniform codes, the nulls, every error."""

import math

import pytest
import torch
from torch.special import ndtr

from latentlib import nulls
from latentlib.cluster_stability import class_agreement, island_stability

DOUBLE = torch.float64


def two_islands(distance: float, n_samples: int, n_latent: int, generator: torch.Generator) -> torch.Tensor:
    """±distance along the first axis, noise 1 on every coordinate."""
    z = torch.randn(n_samples, n_latent, generator=generator, dtype=DOUBLE)
    z[:, 0] += distance * (2.0 * torch.randint(2, (n_samples,), generator=generator) - 1)
    return z


def disagreement(distance: float, share: float) -> float:
    """Probability that x and y, normal of means a and a·√share, variances 1, covariance √share, differ in sign."""
    from scipy.stats import multivariate_normal, norm

    overlap = math.sqrt(share)
    both = multivariate_normal([distance, overlap * distance], [[1, overlap], [overlap, 1]]).cdf([0, 0])
    return norm.cdf(-distance) + norm.cdf(-overlap * distance) - 2 * both


@pytest.mark.parametrize("n_clusters", [2, 6])
def test_island_stability_of_islands_far_apart_is_one(n_clusters, generator):
    island = torch.randint(n_clusters, (200,), generator=generator)
    centre = torch.randn(n_clusters, 32, generator=generator, dtype=DOUBLE)
    z = centre[island] + 1e-5 * torch.randn(200, 32, generator=generator, dtype=DOUBLE)
    found = island_stability(z, n_clusters=n_clusters, n_choices=12, n_null=4, seed=0)
    assert found.contiguous == 1 and (torch.cat([of.values for of in found.index]) == 1).all()
    assert len(torch.unique(torch.stack([found.clusters, island]), dim=1).T) == n_clusters  # the islands, renamed
    # Elongated as the codes are, but without islands; codes without anything; clusters dealt at random.
    for name in ("one Gaussian", "uniform"):
        assert (torch.cat([of.values for of in found.nulls[name]]) < 1).all()
    if n_clusters == 2:  # along a line: one cloud, cut in two, is found again as well; stable clusters are no islands
        assert found.nulls["one Gaussian"].permuted.mean > 0.6
    assert abs(found.chance.mean) <= 4 * found.chance.std / math.sqrt(25)


@pytest.mark.parametrize("distance", [2.0, 3.0])
def test_island_stability_of_two_islands_is_a_normal_orthant(distance, generator):
    """Clusters split by the sign of z_1, blocks by that of the mean of n/K coordinates with z_1 among them; two halves
    that differ at a share d of the points have the index (1 − 2d)². 4 standard errors of d over 2000 points."""
    z = two_islands(distance, 2000, 12, generator)
    found = island_stability(z, n_clusters=2, n_choices=8, n_null=2, seed=0)
    differ = disagreement(distance, 3 / 12)
    tolerance = 4 * 4 * (1 - 2 * differ) * math.sqrt(differ * (1 - differ) / 2000)
    for value in (found.contiguous, found.index.permuted.mean):
        assert abs(value - (1 - 2 * differ) ** 2) <= tolerance
    assert found.index.permuted.low < found.index.permuted.mean < found.index.permuted.high
    if distance == 3:  # where the clusters are the islands but for 1 in 700
        islands = 1 - 2 * ndtr(torch.tensor(-distance / 2)).item()
        assert islands**2 == pytest.approx((1 - 2 * differ) ** 2, abs=0.002)


def test_island_stability_under_rotations_is_the_mean_over_projections(generator):
    """A random frame has |Wᵀu|² ~ Beta(3/2, (n − 3)/2) of the axis in its blocks: 4 standard errors over rotations."""
    found = island_stability(two_islands(3.0, 1000, 12, generator), n_clusters=2, n_choices=60, n_null=2, seed=1)
    grid = (torch.arange(4000, dtype=DOUBLE) + 0.5) / 4000
    weight = grid.sqrt() * (1 - grid) ** 3.5
    expected = ((1 - 2 * ndtr(-3 * grid.sqrt())) ** 2 * weight).sum() / weight.sum()
    rotated = found.index.rotated
    assert abs(rotated.mean - expected.item()) <= 4 * rotated.std / math.sqrt(60)
    assert rotated.std > 3 * found.index.permuted.std  # the axis lies in one block of any partition


@pytest.mark.parametrize("n_latent", [3, 8])
def test_island_stability_of_uniform_codes_is_positive(n_latent, generator):
    """Two cells of uniform directions meet a random block at an angle θ, index (1 − 2θ/π)²: 2ψ₁(n/2)/π², 8/π² short of
    1 at n = 3. One set of codes a value, 4 standard errors over them; the given codes are one more draw of that law."""
    z = nulls.uniform_codes(300, n_latent, seed=5)
    found = island_stability(z, n_clusters=2, n_blocks=1, n_choices=40, n_null=40, seed=2)
    exact = 2 * torch.polygamma(1, torch.tensor(n_latent / 2, dtype=DOUBLE)).item() / math.pi**2
    uniform = found.nulls["uniform"].rotated
    assert abs(uniform.mean - exact) <= 4 * uniform.std / math.sqrt(40) and uniform.low > 0
    assert abs(found.index.rotated.mean - exact) <= 4 * found.index.rotated.std / math.sqrt(40)
    if n_latent == 3:
        assert exact == pytest.approx(1 - 8 / math.pi**2)


def test_island_stability_of_one_gaussian_is_its_null(generator):
    """An elongated cloud without islands has a high index, and so has the null of its covariance: no islands shown."""
    z = torch.randn(300, 16, generator=generator, dtype=DOUBLE)
    z[:, :2] *= 4
    found = island_stability(z, n_clusters=3, n_choices=20, n_null=20, seed=0)
    cloud, null, uniform = found.index.rotated, found.nulls["one Gaussian"].rotated, found.nulls["uniform"].rotated
    assert abs(cloud.mean - null.mean) <= 4 * math.hypot(cloud.std, null.std) / math.sqrt(20)
    assert cloud.low > uniform.high


def test_island_stability_of_single_coordinates_repeats_kmeans(generator):
    """n_blocks = n_latent keeps everything, so islands well apart keep their clusters, in any frame."""
    z = torch.eye(8, dtype=DOUBLE)[torch.randint(3, (90,), generator=generator)]
    z = z + 0.01 * torch.randn(90, 8, generator=generator, dtype=DOUBLE)
    found = island_stability(z, n_clusters=3, n_blocks=8, n_choices=4, n_null=2, seed=0)
    assert found.contiguous == 1 and (torch.cat([of.values for of in found.index]) == 1).all()
    # Marginals keep islands that lie along axes; a null without them is the Gaussian.
    assert found.nulls["marginals"].permuted.mean > 0.9


def test_island_stability_is_unchanged_by_row_scales_and_deterministic(generator):
    z = two_islands(2.0, 60, 6, generator)
    options = {"n_clusters": 2, "n_choices": 3, "n_null": 2}
    found = island_stability(z, seed=4, **options)
    scales = 2.0 ** torch.randint(-3, 4, (60, 1), generator=generator)
    again = island_stability(z * scales, seed=4, **options)
    assert torch.equal(found.clusters, again.clusters) and found.contiguous == again.contiguous
    for one, other in zip(found.index, again.index):
        assert torch.equal(one.values, other.values)
    assert torch.equal(found.chance.values, again.chance.values)
    assert not torch.equal(found.index.rotated.values, island_stability(z, seed=5, **options).index.rotated.values)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"n_clusters": 1}, "n_clusters: want an integer of 2 or more, got 1"),
        ({"n_clusters": 2.0}, "n_clusters: want an integer"),
        ({"n_choices": 1}, "n_choices: want an integer of 2 or more"),
        ({"n_null": 1}, "n_null: want an integer of 2 or more"),
        ({"n_blocks": 5}, "n_blocks: want an integer from 1 to n_latent = 4"),
        ({"z": torch.ones(6, 4)}, "want 2 or more distinct directions, one a cluster, got 1"),
        ({"z": torch.zeros(6, 4)}, "z: want rows of positive finite norm"),
        ({"z": torch.full((6, 4), math.nan)}, "z: want finite values"),
        ({"z": torch.ones(1, 4)}, "n_samples >= 2"),
    ],
)
def test_island_stability_refuses_bad_input(change, message):
    z = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=message):
        island_stability(**{"z": z, "n_clusters": 2, "n_choices": 2, "n_null": 2, "seed": 0} | change)


def test_class_agreement_of_islands_far_apart_is_one(generator):
    island = torch.arange(300) % 4
    centre = torch.eye(8, dtype=DOUBLE)[:4]
    z = centre[island] + 1e-3 * torch.randn(300, 8, generator=generator, dtype=DOUBLE)
    assert class_agreement(z, 7 - island, seed=0) == 1
    assert class_agreement(5 * z, island, n_clusters=4, seed=1) == 1


def test_class_agreement_of_two_of_four_islands_is_the_closed_form(generator):
    """Classes that join islands two by two, equal sizes m: of 4m points, pairs together 4·C(m, 2) and 2·C(2m, 2)."""
    m, island = 100, torch.arange(400) % 4
    z = torch.eye(8, dtype=DOUBLE)[island] + 1e-3 * torch.randn(400, 8, generator=generator, dtype=DOUBLE)
    islands, classes, every = 4 * math.comb(m, 2), 2 * math.comb(2 * m, 2), math.comb(4 * m, 2)
    chance = islands * classes / every
    known = (islands - chance) / ((islands + classes) / 2 - chance)
    assert class_agreement(z, island // 2, n_clusters=4, seed=0) == pytest.approx(known, rel=1e-12)


def test_class_agreement_of_strangers_is_zero(generator):
    """Classes dealt at random: mean 0; the index of 300 points in 3 and 3 groups scatters by less than .01."""
    z = torch.randn(300, 8, generator=generator, dtype=DOUBLE)
    found = [class_agreement(z, torch.randint(3, (300,), generator=generator), seed=0) for _ in range(20)]
    assert abs(sum(found)) / 20 < 4 * torch.tensor(found).std() / 20**0.5 < 0.01


def test_class_agreement_refuses():
    z, labels = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 1, 1, 2, 2])
    with pytest.raises(ValueError, match="labels: want 2 or more classes, got 1"):
        class_agreement(z, torch.zeros(6, dtype=torch.int64), seed=0)
    with pytest.raises(ValueError, match="want 7 or more distinct directions, one a cluster, got 6"):
        class_agreement(z, labels, n_clusters=7, seed=0)
    with pytest.raises(ValueError, match="labels: want a tensor of whole numbers"):
        class_agreement(z, labels.float(), seed=0)
