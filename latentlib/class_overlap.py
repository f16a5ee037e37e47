"""Overlaps by class: pairs within a class, pairs between classes, all of them pooled.

A mixture of classes makes P(q) many-peaked without any glass: the law of total variance says how much is theirs.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from latentlib._codes import check_codes, check_labels, unit_rows
from latentlib.overlap import OverlapHistogram, overlap_histogram
from latentlib.reference.overlap import DistinctMeans, PairSums, distinct_means, jackknife_error, pair_sums


@dataclass(frozen=True)
class ClassHistograms:
    """Counts of overlaps of pairs within a class, between classes, and pooled = within + between."""

    within: OverlapHistogram
    between: OverlapHistogram
    pooled: OverlapHistogram


def overlap_by_class(z: Tensor, labels: Tensor, *, n_bins: int, impl: str | None = None) -> ClassHistograms:
    """Histograms of P(q) over pairs within a class, between classes, and pooled; every pair is in one of the first two.

    Args: z, codes, (n_samples, n_latent); labels, whole numbers, (n_samples,), two or more classes of two points or
    more; n_bins and impl as in `overlap_histogram`, whose bin rule it is.
    Raises: ValueError for bad codes or n_bins, labels of another shape or dtype, one class, a class of one point.
    """
    check_codes(z=z, n_min=4)
    index, count = check_labels(z, labels, n_min=2)
    classes = z[index.argsort()].split(count.tolist())
    within = [overlap_histogram(rows, n_bins=n_bins, impl=impl) for rows in classes]
    between = [
        overlap_histogram(rows, z_other=torch.cat(classes[later:]), n_bins=n_bins, impl=impl)
        for later, rows in enumerate(classes[:-1], 1)
    ]
    edges = within[0].edges
    count_within, count_between = (sum(one.count for one in histograms) for histograms in (within, between))
    counts = count_within, count_between, count_within + count_between
    return ClassHistograms(*(OverlapHistogram(edges, count) for count in counts))


@dataclass(frozen=True)
class ClassMoments:
    """Var q = E[Var(q|classes)] + Var(E[q|classes]) over pairs; `_se` is the jackknife standard error over points."""

    n_samples: int
    n_latent: int
    n_classes: int
    q_var: float  # of all pairs
    q_var_se: float
    conditional_var: float  # E[Var(q|classes)]: left at fixed classes of both points
    conditional_var_se: float
    class_var: float  # Var(E[q|classes]): made by the classes alone
    class_var_se: float
    q_within_mean: float  # E q over pairs of one class
    q_within_mean_se: float
    q_within_var: float  # Var(q|class), averaged over pairs of one class
    q_within_var_se: float
    q_between_mean: float  # E q over pairs of two classes
    q_between_mean_se: float


def class_moments(z: Tensor, labels: Tensor) -> ClassMoments:
    """Total variance of the overlap by classes: Var q = E[Var(q|classes)] + Var(E[q|classes]).

    With class means e_c of the directions and shares p_c the second is Σ p_c p_d (e_c·e_d)² − (Σ p_c p_d e_c·e_d)².
    Every average runs over distinct points: unbiased, so a term near 0 may come out negative; the two add to q_var of
    `overlap_moments` to rounding. Unchanged by rotations and positive row scales.
    Args: z, codes, (n_samples, n_latent); labels, whole numbers, (n_samples,), two or more classes of five points or
    more (four distinct ones, one for the jackknife). Float64, O(n_samples·n_classes·n_latent²) time.
    Raises: ValueError for bad codes, a zero row, labels of another shape or dtype, one class, a class of fewer points.
    """
    check_codes(z=z, n_min=10)
    index, count = check_labels(z, labels, n_min=5)
    x = unit_rows("z", z.double())
    sums = pair_sums(x, torch.ones_like(x[:, 0]), by_pairs=len(x) < x.shape[1])
    classes = _class_sums(x, index, len(count))
    within, between = _within(classes, index, count), _between(classes, index, count)
    values, errors = {}, {}
    for jackknife in (False, True):
        n_points, n_class = (len(x) - 1, count[index] - 1) if jackknife else (len(x), count)
        n_within = (count * (count - 1)).sum() - (2 * n_class if jackknife else 0)
        pooled, of_within, of_between = distinct_means(sums, jackknife), within[jackknife], between[jackknife]
        for name, value in _moments(pooled, of_within, of_between, n_points * (n_points - 1), n_within).items():
            if jackknife:
                errors[f"{name}_se"] = jackknife_error(value)
            else:
                values[name] = value.item()
    return ClassMoments(*z.shape, len(count), **values, **errors)


def _moments(
    pooled: DistinctMeans, within: Tensor, between: Tensor, n_pairs: int, n_within: Tensor
) -> dict[str, Tensor]:
    """The fields of ClassMoments from sums over ordered pairs: of all points, or without each point in turn."""
    pair, square, quadruple = within
    class_square = (quadruple + between) / n_pairs  # E[(E q)²|classes], over pairs of points
    return {
        "q_var": pooled.square - pooled.quadruple,
        "conditional_var": pooled.square - class_square,
        "class_var": class_square - pooled.quadruple,
        "q_within_mean": pair / n_within,
        "q_within_var": (square - quadruple) / n_within,
        "q_between_mean": (n_pairs * pooled.pair - pair) / (n_pairs - n_within),
    }


class _ClassSums(NamedTuple):
    """Sums over all points j (and k) of class d, (n_samples, n_classes) each: j = i is in them."""

    link: Tensor  # P_id = Σ_j q_ij
    square: Tensor  # Σ_j q_ij²
    chain: Tensor  # Σ_jk q_ij q_jk, k in the class of i


def _class_sums(x: Tensor, index: Tensor, n_classes: int) -> _ClassSums:
    total = x.new_zeros(n_classes, x.shape[1]).index_add_(0, index, x)
    square, chain = [], []
    for one in range(n_classes):
        rows = x[index == one]
        turned = x @ (rows.T @ rows)
        square.append((turned * x).sum(1))
        chain.append((turned * total[index]).sum(1))
    return _ClassSums(x @ total.T, torch.stack(square, 1), torch.stack(chain, 1))


def _within(classes: _ClassSums, index: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Σ_c (n_c)₂·(E q, E q², (E q)²) of pairs within the classes, (3,), and without each point, (3, n_samples)."""
    link, square, chain = (values.gather(1, index[:, None])[:, 0] for values in classes)
    norm, link, square = torch.ones_like(link), link - 1, square - 1
    sums = PairSums(norm, link, square, chain - 2 * link - 1, link)
    full, without = [], link.new_empty(3, len(link))
    for one, n_class in enumerate(count.tolist()):
        mine = index == one
        own = PairSums(*(values[mine] for values in sums))
        for jackknife in (False, True):
            mean = distinct_means(own, jackknife)
            n = n_class - jackknife
            weighted = n * (n - 1) * torch.stack([mean.pair, mean.square, mean.quadruple])
            if jackknife:
                without[:, mine] = weighted
            else:
                full.append(weighted)
    total = torch.stack(full, 1)
    return total.sum(1), total.sum(1, keepdim=True) - total[:, index] + without


def _between(classes: _ClassSums, index: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Σ_{c≠d} n_c n_d·(e_c·e_d)², unbiased, a number, and without each point, (n_samples,).

    (e_c·e_d)² is the mean of q_ij q_kl over i ≠ k in c and j ≠ l in d: with A_c and G_c the sums of x and xxᵀ over
    class c, (A_c·A_d)² − A_dᵀG_cA_d − A_cᵀG_dA_c + tr G_cG_d over (n_c)₂(n_d)₂.
    """

    def by_class(values: Tensor) -> Tensor:
        return values.new_zeros(len(count), values.shape[1]).index_add_(0, index, values)

    link, turned, trace = by_class(classes.link), by_class(classes.link.square()), by_class(classes.square)
    other = 1 - torch.eye(len(count), dtype=link.dtype, device=link.device)
    terms = other * (link.square() - turned - turned.T + trace) / ((count[:, None] - 1) * (count - 1))
    # Without i of class c: A_c → A_c − x_i and G_c → G_c − x_i x_iᵀ.
    link = link[index] - classes.link
    turned_both = turned[index] - classes.link.square() + turned.T[index] - 2 * classes.chain + classes.square
    without = link.square() - turned_both + trace[index] - classes.square
    without = (other[index] * without / ((count[index, None] - 2) * (count - 1))).sum(1)
    return terms.sum(), terms.sum() - 2 * terms.sum(1)[index] + 2 * without
