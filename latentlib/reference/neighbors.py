"""Nearest points in plain torch: the smallest scores of every query by tiles, and distances without products."""

import math

import torch
from torch import Tensor

ROWS_CPU, ROWS_DEVICE, COLUMNS = 1024, 16384, 4096  # a panel of scores: 16 MiB of float32 on a CPU, 256 MiB on a GPU
GROUP = 32  # columns whose least score is taken first
DIFFERENCES = 2**19  # coordinates of differences held at once, in float64: 4 MiB


def smallest_scores(
    query: Tensor, bank: Tensor, centre: Tensor, scale: float, own: Tensor | None, n_best: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The n_best smallest scores s_ij = |b_j|²/2 − q_i·b_j = (|q_i − b_j|² − |q_i|²)/2 of every query, unordered.

    All in dtype, of the points (z − centre)/scale: query (n_queries, n_latent), bank (n_bank, n_latent), centre
    (n_latent,) float64; own, (n_queries,) int64, the bank point that each query must not take. Holds one panel of
    scores beside the centred queries and what it returns: score (n_queries, n_best) and index, int64.
    """
    query = torch.cat([centred(rows, centre, scale, dtype) for rows in query.split(COLUMNS)])
    n_rows = ROWS_CPU if query.device.type == "cpu" else ROWS_DEVICE
    score = query.new_full((len(query), n_best), math.inf)
    index = torch.zeros(len(query), n_best, dtype=torch.int64, device=query.device)
    buffer = query.new_empty(min(n_rows, len(query)), min(COLUMNS, math.ceil(len(bank) / GROUP) * GROUP))
    for start in range(0, len(bank), COLUMNS):
        tile = centred(bank[start : start + COLUMNS], centre, scale, dtype)
        half_square = torch.linalg.vector_norm(tile, dim=1).square() / 2
        for first in range(0, len(query), n_rows):
            rows = slice(first, first + n_rows)
            panel = buffer[: len(query[rows]), : math.ceil(len(tile) / GROUP) * GROUP]
            panel[:, len(tile) :] = math.inf
            torch.addmm(half_square, query[rows], tile.T, alpha=-1, out=panel[:, : len(tile)])
            if own is not None:
                row = ((own[rows] >= start) & (own[rows] < start + len(tile))).nonzero()[:, 0]
                panel[row, own[rows][row] - start] = math.inf
            best, column = _smallest_in_rows(panel, min(n_best, len(tile)))
            best, column = torch.cat([score[rows], best], 1), torch.cat([index[rows], column + start], 1)
            score[rows], place = best.topk(n_best, largest=False, sorted=False)
            index[rows] = column.gather(1, place)
    return score, index


def centred(z: Tensor, centre: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    """(z − centre)/scale, formed in float64 and rounded once."""
    return (z.double() - centre).div_(scale).to(dtype)


def _smallest_in_rows(panel: Tensor, n_best: int) -> tuple[Tensor, Tensor]:
    """The n_best smallest of every row, with their columns: of the n_best groups of columns with the least minima.

    No other group can hold one of them, and the minima cost one pass where topk of all columns costs several.
    """
    n_groups = panel.shape[1] // GROUP
    if n_best >= n_groups:
        return panel.topk(n_best, largest=False, sorted=False)
    # A group is every n_groups-th column, so that its minimum is taken along whole rows of memory.
    group = panel.unflatten(1, (GROUP, n_groups)).amin(1).topk(n_best, largest=False, sorted=False).indices
    column = (group[:, :, None] + n_groups * torch.arange(GROUP, device=panel.device)).flatten(1)
    best, place = panel.gather(1, column).topk(n_best, largest=False, sorted=False)
    return best, column.gather(1, place)


def pair_distances(query: Tensor, bank: Tensor, index: Tensor, scale: float) -> Tensor:
    """Distances |q_i − b_j|/scale to the columns j of index[i], from the differences: float64, shaped as index."""
    n_rows = max(1, DIFFERENCES // (index.shape[1] * bank.shape[1]))
    parts = [
        torch.linalg.vector_norm((rows[:, None].double() - bank[columns].double()) / scale, dim=2)
        for rows, columns in zip(query.split(n_rows), index.split(n_rows))
    ]
    return torch.cat(parts)


def smallest_distances(query: Tensor, bank: Tensor, own: Tensor | None, k: int, scale: float) -> tuple[Tensor, Tensor]:
    """The k smallest |q_i − b_j|/scale of every query, ascending, the first in the bank of equal ones: all differences.

    Arguments as `smallest_scores`. Slow, and exact where any number of points tie. Returns: float64, int64.
    """
    n_rows = max(1, DIFFERENCES // len(bank))
    owns = [None] * len(query) if own is None else own.split(n_rows)
    parts = [_smallest_of_all(rows, bank, rows_own, k, scale) for rows, rows_own in zip(query.split(n_rows), owns)]
    distance, index = zip(*parts)
    return torch.cat(distance), torch.cat(index)


def _smallest_of_all(query: Tensor, bank: Tensor, own: Tensor | None, k: int, scale: float) -> tuple[Tensor, Tensor]:
    rows = query.double() / scale
    tiles = bank.split(max(1, DIFFERENCES // bank.shape[1]))
    mode = "donot_use_mm_for_euclid_dist"
    distance = torch.cat([torch.cdist(rows, tile.double() / scale, compute_mode=mode) for tile in tiles], 1)
    if own is not None:
        distance.scatter_(1, own[:, None], math.inf)
    kth = distance.topk(k, largest=False).values[:, -1:]
    nearer, tied = distance < kth, distance == kth
    taken = nearer | tied & (tied.cumsum(1) <= k - nearer.sum(1, keepdim=True))
    index = taken.nonzero()[:, 1].view(len(query), k)
    distance, order = distance.gather(1, index).sort(dim=1, stable=True)
    return distance, index.gather(1, order)
