"""Coarse-grained cluster stability: do the islands of latent directions survive an average over blocks of coordinates?

A latent has no lattice: no coordinate has neighbours, blocks are drawn at random, and there is no flow to follow. What
the index can show is that islands are so far apart that K random averages still tell them; what it cannot show is a
phase, or that the islands are anything but classes. Blocks are functions of the codes, so that codes without any
island have a positive index too, the same k-means cells seen twice: hence the nulls, all measured by the same call.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from latentlib._codes import check_codes, check_labels, unit_rows
from latentlib.block_spin import BlockNull, block_null
from latentlib.interval import mean_interval
from latentlib.nulls import class_mixture_codes, permuted_codes, uniform_codes

N_INIT = 4  # starts of every k-means, of which the tightest counts


class Spread(NamedTuple):
    """Mean over random choices with its 95 % Student interval, their standard deviation, and the values (n,)."""

    mean: float
    low: float
    high: float
    std: float
    values: Tensor


class BlockIndex(NamedTuple):
    """Adjusted Rand index over random partitions of the coordinates, and over random rotations of the frame."""

    permuted: Spread
    rotated: Spread


@dataclass(frozen=True)
class IslandStability:
    """Stability of the clusters of one set of codes, beside chance and the nulls: made by `island_stability`."""

    clusters: Tensor  # (n_samples,) int64, of the directions
    contiguous: float  # index of the blocks in the order the coordinates came in
    index: BlockIndex  # n_choices values each
    chance: Spread  # the same blocks against clusters dealt to the points at random: 0
    nulls: dict[str, BlockIndex]  # n_null values each, every one from codes of its own


def island_stability(
    z: Tensor, *, n_clusters: int, n_blocks: int = 3, n_choices: int = 100, n_null: int = 20, seed: int
) -> IslandStability:
    """Stability of islands = adjusted Rand index of k-means clusters of s = z/|z| and of block averages of s.

    1 where the clusters are the same, 0 on average by chance, unchanged by positive row scales. Blocks are K averages
    over random equal parts of the coordinates (`coordinate_blocks`), or of those of a randomly rotated frame; K = n
    loses nothing and measures how well k-means repeats itself. Exact: 1 for islands far apart; (1 − 2d)² for
    two halves that differ at a share d of the points, with d → Φ(−a√(K/n)) for islands at ±a ≫ 1 along an axis, noise 1
    on each of n coordinates; 2ψ₁(n/2)/π² > 0 for uniform directions, two clusters, one block. The intervals are over
    choices of blocks at these codes: those over trainings are the caller's, of `index.permuted.mean`.
    Nulls: "uniform" directions; "marginals", every coordinate of s permuted over the points, which keeps islands that
    lie along axes; "one Gaussian" of the mean and covariance of s: as elongated, without islands. An elongated cloud
    has stable clusters, a line cut in two .8: an index that does not exceed this null's has shown no islands.
    Source: phase, section 4.2 and appendix A, which name no statistic.
    Args: z, codes, (n_samples, n_latent); n_clusters, islands to look for, 2 or more: a choice, to be varied; n_blocks,
        K; n_choices ≥ 2, partitions and as many rotations; n_null ≥ 2, sets of codes a null, one choice of blocks each.
    Time: 2·n_choices + 12·n_null k-means on one thread. Needs scikit-learn. Deterministic in seed.
    Raises: ValueError for bad codes, a zero row, fewer distinct directions than clusters, or a number out of range.
    """
    check_codes(z=z, n_min=2)
    for name, number, least in (("n_clusters", n_clusters, 2), ("n_choices", n_choices, 2), ("n_null", n_null, 2)):
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            raise ValueError(f"{name}: want an integer of {least} or more, got {number!r}")
    directions = _islands(z, n_clusters)
    clusters, index, chance = _agreement(directions, n_clusters, n_blocks, n_choices, seed)
    samplers = {
        "uniform": partial(uniform_codes, *directions.shape),
        "marginals": partial(permuted_codes, directions),
        "one Gaussian": partial(class_mixture_codes, directions, torch.zeros(len(directions), dtype=torch.int64)),
    }
    nulls = {name: _null(sampler, n_clusters, n_blocks, n_null, seed) for name, sampler in samplers.items()}
    return IslandStability(
        torch.from_numpy(clusters).long(), index.measured, BlockIndex(_spread(index.permuted), _spread(index.rotated)),
        _spread(torch.tensor(chance, dtype=torch.float64)), nulls,
    )  # fmt: skip


def class_agreement(z: Tensor, labels: Tensor, *, n_clusters: int | None = None, seed: int) -> float:
    """Adjusted Rand index of k-means clusters of the directions z/|z| with given classes: 1 the same, 0 by chance.

    Unchanged by positive row scales and by names of classes; below 1 also where classes are several islands each.
    Args: z, codes or block averages, (n_samples, n_latent); labels, (n_samples,), whole numbers; n_clusters, None: as
        many as classes. Needs scikit-learn. Deterministic in seed.
    Raises: ValueError for bad codes or labels, one class, a zero row, or fewer distinct directions than clusters.
    """
    from sklearn.metrics import adjusted_rand_score

    check_codes(z=z, n_min=2)
    classes, counts = check_labels(z, labels, n_min=1)
    n_clusters = len(counts) if n_clusters is None else n_clusters
    return float(adjusted_rand_score(classes.cpu().numpy(), _clusters(_islands(z, n_clusters), n_clusters, seed)))


def _islands(z: Tensor, n_clusters: int) -> Tensor:
    """Directions of the codes, enough of them for so many clusters."""
    directions = unit_rows("z", z.double()).cpu()
    n_distinct = len(directions.unique(dim=0))
    if n_distinct < max(2, n_clusters):
        raise ValueError(f"z: want {max(2, n_clusters)} or more distinct directions, one a cluster, got {n_distinct}")
    return directions


def _agreement(
    directions: Tensor, n_clusters: int, n_blocks: int, n_choices: int, seed: int
) -> tuple[np.ndarray, BlockNull, list[float]]:
    """Clusters of directions, their index with those of blocks, and that of dealt clusters, 2·n_choices + 1 values."""
    from sklearn.metrics import adjusted_rand_score

    clusters = _clusters(directions, n_clusters, seed)
    dealer, chance = np.random.default_rng(seed % 2**32), []

    def index(y: Tensor) -> float:
        of_blocks = _clusters(y, n_clusters, seed)
        chance.append(adjusted_rand_score(dealer.permutation(clusters), of_blocks))
        return adjusted_rand_score(clusters, of_blocks)

    return clusters, block_null(directions, index, n_blocks=n_blocks, n_null=n_choices, seed=seed), chance


def _clusters(points: Tensor, n_clusters: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    return KMeans(n_clusters, n_init=N_INIT, random_state=seed % 2**32).fit_predict(points.numpy())


def _null(sampler: Callable[..., Tensor], n_clusters: int, n_blocks: int, n_null: int, seed: int) -> BlockIndex:
    """One random partition and one rotation for each of n_null sets of codes, clustered anew."""
    seeds = torch.randint(2**31, (n_null,), generator=torch.Generator().manual_seed(seed)).tolist()
    found = [_agreement(unit_rows("null", sampler(seed=one)), n_clusters, n_blocks, 1, one)[1] for one in seeds]
    return BlockIndex(*(_spread(torch.cat([getattr(one, name) for one in found])) for name in BlockIndex._fields))


def _spread(values: Tensor) -> Spread:
    mean, low, high = mean_interval(values)
    return Spread(mean.item(), low.item(), high.item(), values.std().item(), values)
