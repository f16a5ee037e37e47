"""Overlaps by class: every pair once, the law of total variance over distinct points, its jackknife, every error."""

import math
from itertools import permutations

import pytest
import torch

from latentlib import class_overlap, overlap

FIELDS = ("q_var", "conditional_var", "class_var", "q_within_mean", "q_within_var", "q_between_mean")


def mixture(count, generator, spread: float = 1.0, n_latent: int = 4):
    """Gaussian classes about random centres, in shuffled order: codes and labels 3, 5, 7, …"""
    labels = torch.cat([torch.full((n,), 2 * one + 3) for one, n in enumerate(count)])
    labels = labels[torch.randperm(len(labels), generator=generator)]
    centres = torch.randn(2 * len(count) + 3, n_latent, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), n_latent, generator=generator, dtype=torch.float64)
    return centres[labels] + spread * noise, labels


def brute_moments(z: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Every field from its definition, over ordered tuples of distinct points."""
    unit = z / z.norm(dim=1, keepdim=True)
    q, labels, points = (unit @ unit.T).tolist(), labels.tolist(), range(len(z))

    def mean(values: list[float]) -> float:
        return math.fsum(values) / len(values)

    def mean_square(pairs: list[tuple[int, int]]) -> float:
        """(E q)² of a set of ordered pairs, from products of pairs without a common point."""
        return mean([q[i][j] * q[k][m] for i, j in pairs for k, m in pairs if len({i, j, k, m}) == 4])

    pairs = list(permutations(points, 2))
    groups = {}
    for i, j in pairs:
        groups.setdefault((labels[i], labels[j]), []).append((i, j))
    class_square = math.fsum(len(group) * mean_square(group) for group in groups.values()) / len(pairs)
    within = [group for (a, b), group in groups.items() if a == b]
    n_within = sum(map(len, within))
    square, squared_mean = mean([q[i][j] ** 2 for i, j in pairs]), mean_square(pairs)
    return {
        "q_var": square - squared_mean,
        "conditional_var": square - class_square,
        "class_var": class_square - squared_mean,
        "q_within_mean": mean([q[i][j] for group in within for i, j in group]),
        "q_within_var": math.fsum(
            len(group) * (mean([q[i][j] ** 2 for i, j in group]) - mean_square(group)) for group in within
        )
        / n_within,
        "q_between_mean": mean([q[i][j] for i, j in pairs if labels[i] != labels[j]]),
    }


# The histograms


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_overlap_by_class_counts_every_pair_once(dtype, generator):
    count = (5, 2, 30, 11)
    z, labels = mixture(count, generator)
    found = class_overlap.overlap_by_class(z.to(dtype), labels, n_bins=7)
    n_within = sum(math.comb(n, 2) for n in count)
    assert found.within.n_pairs == n_within and found.pooled.n_pairs == math.comb(48, 2)
    assert torch.equal(found.pooled.count, found.within.count + found.between.count)
    # No q of these codes lies within rounding of an edge, so the counts are those of the definition.
    unit = z / z.norm(dim=1, keepdim=True)
    position = (unit @ unit.T + 1) * 7 / 2
    pairs, same = torch.ones(48, 48, dtype=torch.bool).triu(1), labels[:, None] == labels
    assert (position - position.round()).abs()[pairs].min() > 1e-5
    for histogram, chosen in ((found.within, pairs & same), (found.between, pairs & ~same)):
        assert torch.equal(histogram.count, torch.bincount(position[chosen].long(), minlength=7))
        assert torch.equal(histogram.edges, torch.linspace(-1, 1, 8, dtype=torch.float64))
    assert torch.equal(found.pooled.count, overlap.overlap_histogram(z.to(dtype), n_bins=7).count)


def test_overlap_by_class_splits_the_peaks_of_a_mixture():
    # Two classes on two axes: q = 1 within, 0 between. Pooled, P(q) has two peaks, and there is no glass.
    labels = torch.tensor([0, 1, 0, 1, 1])
    found = class_overlap.overlap_by_class(torch.eye(2)[labels], labels, n_bins=2)
    assert found.within.count.tolist() == [0, 4] and found.between.count.tolist() == [0, 6]
    found = class_overlap.overlap_by_class(torch.tensor([1.0, -1.0])[labels][:, None], labels, n_bins=2)
    assert found.within.count.tolist() == [0, 4] and found.between.count.tolist() == [6, 0]


# The moments


def test_class_moments_equal_the_brute_averages(generator):
    z, labels = mixture((5, 6), generator)
    found, brute = class_overlap.class_moments(z, labels), brute_moments(z, labels)
    for name in FIELDS:
        assert getattr(found, name) == pytest.approx(brute[name], abs=1e-13), name


def test_class_moments_errors_equal_leaving_points_out(generator):
    z, labels = mixture((6, 7, 6), generator)
    found = class_overlap.class_moments(z, labels)
    keep = ~torch.eye(len(z), dtype=torch.bool)
    without = [class_overlap.class_moments(z[rows], labels[rows]) for rows in keep]
    for name in FIELDS:
        values = torch.tensor([getattr(one, name) for one in without], dtype=torch.float64)
        error = ((len(z) - 1) * values.var(correction=0)).sqrt().item()
        assert getattr(found, f"{name}_se") == pytest.approx(error, rel=1e-9), name


@pytest.mark.parametrize("n_latent", [3, 60])  # 60 > n_samples: the pooled sums then run over pairs
def test_class_moments_add_to_the_total_variance(n_latent, generator):
    z, labels = mixture((20, 8, 9), generator, n_latent=n_latent)
    found, total = class_overlap.class_moments(z, labels), overlap.overlap_moments(z)
    assert found.conditional_var + found.class_var == pytest.approx(found.q_var, abs=1e-13)
    assert (found.q_var, found.q_var_se) == pytest.approx((total.q_var, total.q_var_se), rel=1e-9)
    assert (found.n_samples, found.n_latent, found.n_classes) == (37, n_latent, 3)


def test_class_moments_of_tight_classes_are_the_classes():
    labels = torch.tensor([0, 1, 0, 2] * 5)
    found = class_overlap.class_moments(torch.eye(3, dtype=torch.float64)[labels], labels)
    assert found.conditional_var == pytest.approx(0, abs=1e-14)
    assert found.class_var == pytest.approx(found.q_var, abs=1e-14)
    assert (found.q_within_mean, found.q_between_mean) == pytest.approx((1, 0), abs=1e-14)
    assert found.q_within_var == pytest.approx(0, abs=1e-14)


def test_class_moments_of_arbitrary_labels_find_no_classes(generator):
    # Labels that say nothing: Var(E[q|classes]) = 0, and within a class the overlap varies as it does everywhere.
    values = []
    for _ in range(200):
        z, labels = mixture((12, 9, 15), generator, n_latent=3)
        values.append(class_overlap.class_moments(z, labels[torch.randperm(36, generator=generator)]))
    class_var = torch.tensor([one.class_var for one in values])
    assert abs(class_var.mean()) <= 4 * class_var.std() / 200**0.5
    difference = torch.tensor([one.q_within_var - one.q_var for one in values])
    assert abs(difference.mean()) <= 4 * difference.std() / 200**0.5


def test_class_moments_are_unbiased_over_draws_of_the_labels(generator):
    # Centres a, b with directions on a circle plus noise of mean 0 along a third axis: e_c·e_d is known.
    cosine, tilt = 0.6, 0.5  # points (centre·cos θ, ± sin θ): e_c = cos θ·centre
    centres = torch.tensor([[1.0, 0.0], [cosine, 0.8]], dtype=torch.float64)
    values = []
    for _ in range(400):
        labels = (torch.rand(40, generator=generator) < 0.4).long()
        sign = 2.0 * torch.randint(2, (40, 1), generator=generator) - 1
        z = torch.cat([centres[labels] * math.cos(tilt), math.sin(tilt) * sign], 1)
        values.append(class_overlap.class_moments(z, labels).class_var)
    overlaps = math.cos(tilt) ** 2 * torch.tensor([[1, cosine], [cosine, 1]], dtype=torch.float64)
    shares = torch.tensor([0.6, 0.4], dtype=torch.float64)
    mean = shares @ overlaps @ shares
    expected = shares @ overlaps.square() @ shares - mean.square()
    values = torch.tensor(values, dtype=torch.float64)
    assert abs(values.mean() - expected) <= 4 * values.std() / 400**0.5


@pytest.mark.parametrize("name", ["conditional_var", "class_var", "q_within_mean", "q_within_var", "q_between_mean"])
def test_class_moments_error_is_the_spread_over_repeats(name, generator):
    # Labels are drawn afresh with their points, as the jackknife over points has it.
    centres = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    found = []
    for _ in range(200):
        labels = torch.randint(3, (120,), generator=generator)
        z = centres[labels] + 0.7 * torch.randn(120, 4, generator=generator, dtype=torch.float64)
        found.append(class_overlap.class_moments(z, labels))
    spread = torch.tensor([getattr(one, name) for one in found]).std().item()
    error = torch.tensor([getattr(one, f"{name}_se") for one in found]).square().mean().sqrt().item()
    # The sd of 200 draws is known to 1/√400 = 5 %, the jackknife to O(1/40): four of those and 5 %.
    assert abs(error / spread - 1) <= 4 * 400**-0.5 + 0.05


# What is refused


@pytest.mark.parametrize(
    "labels, message",
    [
        (torch.zeros(12, dtype=torch.int64), "2 or more classes, got 1"),
        (torch.arange(13) % 2, r"one a point, \(12,\), got \(13,\)"),
        ((torch.arange(12) % 2)[:, None], r"got \(12, 1\)"),
        (torch.arange(12) % 2 * 1.0, "whole numbers, got torch.float32"),
        ([0, 1] * 6, "whole numbers, got list"),
        ((torch.arange(12) == 3) * 5, "points a class, got 1 in class 5"),
    ],
)
@pytest.mark.parametrize("of", ["overlap_by_class", "class_moments"])
def test_overlap_by_class_refuses_bad_labels(of, labels, message, generator):
    z = torch.randn(12, 3, generator=generator)
    with pytest.raises(ValueError, match=message):
        if of == "class_moments":
            class_overlap.class_moments(z, labels)
        else:
            class_overlap.overlap_by_class(z, labels, n_bins=4)


def test_class_moments_refuse_bad_codes(generator):
    z, labels = torch.randn(12, 3, generator=generator), torch.arange(12) % 2
    with pytest.raises(ValueError, match=r"n_samples >= 10, n_latent >= 1\), got \(9, 3\)"):
        class_overlap.class_moments(z[:9], labels[:9])
    with pytest.raises(ValueError, match="5 or more points a class, got 4 in class 1"):
        class_overlap.class_moments(z, torch.tensor([1] * 4 + [0] * 8))
    with pytest.raises(ValueError, match="finite values"):
        class_overlap.overlap_by_class(z / 0, labels, n_bins=4)
    with pytest.raises(ValueError, match="n_bins: want an integer"):
        class_overlap.overlap_by_class(z, labels, n_bins=0)
    with pytest.raises(ValueError, match="positive finite norm, got norm 0 in row 0"):
        class_overlap.class_moments(torch.zeros(12, 3), labels)
