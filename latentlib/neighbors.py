"""Exact nearest neighbors of latent codes by streamed tiles, and what is read off them: a score, an accuracy.

Candidates come from products in float32, with a bound on their rounding; their distances are then taken from the
differences in float64. Where the bound cannot exclude all other points, the query is searched again in float64, and
where points tie even there, over all differences: the answer never depends on the rounding of a product.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlib import _backend
from latentlib._codes import check_codes, check_labels, unit_rows
from latentlib.reference.neighbors import centred, pair_distances, smallest_distances, smallest_scores

K_MAX_KERNEL = 32
SPARE, SPARE_DOUBLE = 8, 64  # candidates beyond k: ties and rounding up to so many points cost no second search
ROWS = 4096  # rows in float64 at once


@dataclass(frozen=True)
class Neighbors:
    """Nearest bank points of every query, nearest first: distance (n_queries, k), index (n_queries, k) int64."""

    distance: Tensor
    index: Tensor


def nearest_neighbors(
    query: Tensor, bank: Tensor, k: int, *, exclude_self: bool = False, impl: str | None = None
) -> Neighbors:
    """The k bank points with the least Euclidean distance d_ij = |q_i − b_j| to every query, nearest first, exactly.

    Ordered by (distance in float64, index): equal distances take the first of the bank. Scales with z → c·z; the
    centre of the bank is subtracted before products are formed. No gradient: take norms of query − bank[index] for one.
    Args: query (n_queries, n_latent), bank (n_bank, n_latent), codes of one dtype and device; k, 1 … n_bank, one less
        with exclude_self, where bank is the queries themselves, row by row, and none is its own neighbor; impl,
        "reference", "triton" (k ≤ 32), or None: the kernel on a GPU, but the reference for k > 32.
    Returns: distances in float64 for float64 codes, else in float32. Memory: a centred float32 copy of the queries and
        16 MiB of scores on a CPU, never n_queries × n_bank. Time: 2·n_latent FLOP a pair; some four times more for
        queries among points closer than float32 products resolve, twenty where dozens tie at the k-th distance.
    Raises: ValueError for bad codes, k out of range, exclude_self with another number of rows than the bank's, a spread
        of the values past 2¹⁰⁰⁰; TypeError for a k that is no integer.
    """
    check_codes(query=query, bank=bank)
    _check_k(k, len(query), len(bank), exclude_self)
    if k > K_MAX_KERNEL:
        if impl == "triton":
            raise ValueError(f"impl='triton' for neighbors: want k <= {K_MAX_KERNEL}, got {k}")
        impl = impl or "reference"
    module = _backend.implementation("neighbors", impl, query)
    query, bank = query.detach(), bank.detach()
    frame, n_known = _frame(query, bank), len(bank) - exclude_self
    distance = torch.empty(len(query), k, dtype=torch.float64, device=query.device)
    index = torch.empty(len(query), k, dtype=torch.int64, device=query.device)
    open_rows = torch.arange(len(query), device=query.device)
    for search, dtype, spare in (
        (module.smallest_scores, torch.float32, SPARE), (smallest_scores, torch.float64, SPARE_DOUBLE)
    ):  # fmt: skip
        if len(open_rows):
            asked, own = query[open_rows], open_rows if exclude_self else None
            candidates = search(asked, bank, frame.centre, frame.scale, own, min(k + spare, n_known), dtype)
            found, certain = _refine(asked, bank, frame, candidates, k, torch.finfo(dtype).eps / 2)
            certain |= k + spare >= n_known  # all points are candidates
            distance[open_rows], index[open_rows] = found
            open_rows = open_rows[~certain]
    if len(open_rows):
        own = open_rows if exclude_self else None
        found = smallest_distances(query[open_rows], bank, own, k, frame.scale)
        distance[open_rows], index[open_rows] = found
    dtype = torch.float64 if query.dtype == torch.float64 else torch.float32
    return Neighbors((distance * frame.scale).to(dtype), index)


def knn_score(
    query: Tensor, bank: Tensor, *, k: int, reduce: str = "kth", normalize: bool = False, squared: bool = False,
    exclude_self: bool = False, impl: str | None = None,
) -> Tensor:  # fmt: skip
    """k-NN score d_(k), the distance to the k-th nearest bank point, or (1/k)Σ_{l≤k} d_(l): larger = more anomalous.

    Not one score but a family, so print k, reduction and normalization with every number. As three sources have it:
    OpenOOD 1.5: k = 50, reduce="kth", normalize=True, squared=True; pytorch-ood: k = 1; the conditional compressed VAE
    (arXiv:2601.18823): k = 3, reduce="mean". Normalized rows make it unchanged under positive row scales.
    Args: query, bank, k, exclude_self, impl as `nearest_neighbors`; reduce, "kth" or "mean"; normalize, divide every
        row by its norm first; squared, d² for d, before the mean.
    Returns: (n_queries,), in units of z, of z² if squared. Raises: as `nearest_neighbors`; ValueError for an unknown
    reduce and, with normalize, for a zero row.
    """
    if reduce not in ("kth", "mean"):
        raise ValueError(f"reduce: want 'kth' or 'mean', got {reduce!r}")
    check_codes(query=query, bank=bank)
    if normalize:
        query, bank = unit_rows("query", query), unit_rows("bank", bank)
    distance = nearest_neighbors(query, bank, k, exclude_self=exclude_self, impl=impl).distance
    distance = distance.square() if squared else distance
    return distance[:, -1] if reduce == "kth" else distance.mean(1)


def knn_accuracy(
    z: Tensor, labels: Tensor, bank: Tensor, bank_labels: Tensor, k: int, *, exclude_self: bool = False,
    impl: str | None = None,
) -> float:  # fmt: skip
    """k-NN accuracy (1/N)Σ 1[label of i = the commonest label of its k nearest bank points]: how latents keep classes.

    In [0, 1]. Of labels equally common, that of the nearest point wins. exclude_self=True, with bank and bank_labels
    the codes and labels themselves, is the leave-one-out accuracy.
    Args: z, bank, k, exclude_self, impl as `nearest_neighbors`; labels (n_samples,), bank_labels (n_bank,), whole
        numbers. Raises: as `nearest_neighbors`; ValueError for labels that are no whole numbers or not one a point.
    """
    check_codes(z=z, bank=bank)
    check_labels(z, labels, n_min=1, n_classes_min=1)
    check_labels(bank, bank_labels, n_min=1, n_classes_min=1)
    index = nearest_neighbors(z, bank, k, exclude_self=exclude_self, impl=impl).index
    near = bank_labels[index]  # (n_samples, k)
    votes = sum((near == near[:, other, None]).long() for other in range(k))
    # argmax takes the first of equal counts on a CPU alone, so the earlier place is made to count more.
    rank = votes * k + torch.arange(k - 1, -1, -1, device=z.device)
    chosen = near.gather(1, rank.argmax(1, keepdim=True))[:, 0]
    return (chosen == labels).double().mean().item()


@dataclass(frozen=True)
class _Frame:
    """Where products are formed: the bank's centre as origin, the largest coordinate between ½ and 1."""

    centre: Tensor  # (n_latent,) float64
    scale: float  # a power of two: dividing by it rounds nothing

    def norms(self, z: Tensor) -> Tensor:
        blocks = (centred(rows, self.centre, self.scale, torch.float64) for rows in z.split(ROWS))
        return torch.cat([torch.linalg.vector_norm(rows, dim=1) for rows in blocks])


def _frame(query: Tensor, bank: Tensor) -> _Frame:
    centre = sum(rows.double().sum(0) for rows in bank.split(ROWS)) / len(bank)
    spread = max(torch.maximum(centre - z.amin(0), z.amax(0) - centre).max().item() for z in (query, bank))
    if not spread < 2.0**1000:
        raise ValueError(f"query, bank: want values within 2**1000 of the centre of the bank, got {spread:g}")
    return _Frame(centre, math.ldexp(1.0, math.frexp(spread)[1]))


def _refine(
    query: Tensor, bank: Tensor, frame: _Frame, candidates: tuple[Tensor, Tensor], k: int, roundoff: float
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The k nearest of the candidates, (distance/scale, index), and whether no other point can be one, by query.

    With unit roundoff u of the search, a score differs from (d² − |q|²)/2, each as computed here, by at most
    (n + 8)·u·(|q| + max|b|)²: in units of u, the product with its addition and the points' rounding take (n + 4)|q||b|,
    half the square of b (n/2 + 4)|b|², and where u is float64's, d² takes (n/2 + 5/2)(|q| + |b|)², |q|² (n/2 + 3)|q|².
    """
    score, index = candidates
    index, order = index.sort(1)  # so that equal distances keep the order of the bank
    score = score.gather(1, order).double()
    distance = pair_distances(query, bank, index, frame.scale)
    norm = frame.norms(query)
    slack = (query.shape[1] + 8) * roundoff * (norm + frame.norms(bank).max()).square()
    exact = (distance.square() - norm.square()[:, None]) / 2
    # Products of less than the dtype's precision (TF32, say) show in the scores of the candidates themselves.
    as_bounded = ((score - exact).abs() <= slack[:, None]).all(1)
    distance, order = distance.sort(dim=1, stable=True)
    kth = exact.gather(1, order)[:, k - 1]
    certain = as_bounded & (score.amax(1) - slack > kth)
    return (distance[:, :k], index.gather(1, order)[:, :k]), certain


def _check_k(k: int, n_queries: int, n_bank: int, exclude_self: bool) -> None:
    if not isinstance(k, int) or isinstance(k, bool):
        raise TypeError(f"k: want an integer, got {k!r}")
    if exclude_self and n_queries != n_bank:
        raise ValueError(f"exclude_self: want the bank to be the queries, got {n_queries} queries and {n_bank} points")
    if not 1 <= k <= n_bank - exclude_self:
        without = ", each query without itself" if exclude_self else ""
        raise ValueError(f"k: want 1 to {n_bank - exclude_self} neighbors of {n_bank} points{without}, got {k}")
