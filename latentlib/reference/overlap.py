"""Overlaps in plain torch: the histogram of all pairs by tiles, and the pair sums that need no pairs."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

TILE_CPU = 512  # a float32 tile is 1 MiB and stays in a core's second-level cache through all passes over it
TILE_DEVICE = 4096  # 64 MiB: enough work to hide the launches of a GPU
ROWS = 1024  # rows turned into float64 at once by pair_sums


def overlap_tiles(unit: Tensor, unit_other: Tensor | None) -> Iterator[tuple[Tensor, bool]]:
    """Tiles of the overlap matrix q = u·u′ᵀ, each with whether it lies on the diagonal of one set's own matrix.

    unit, unit_other: rows of norm one, (n_samples, n_latent). One set against itself (unit_other=None) gives the upper
    triangle of tiles only. All tiles share one buffer: a tile is gone when the next is asked for.
    """
    size = TILE_CPU if unit.device.type == "cpu" else TILE_DEVICE
    buffer = unit.new_empty(size * size)
    columns = (unit if unit_other is None else unit_other).split(size)
    for i, rows in enumerate(unit.split(size)):
        for j in range(i if unit_other is None else 0, len(columns)):
            shape = len(rows), len(columns[j])
            tile = torch.mm(rows, columns[j].T, out=buffer[: shape[0] * shape[1]].view(shape))
            yield tile, unit_other is None and i == j


def overlap_histogram(unit: Tensor, unit_other: Tensor | None, n_bins: int) -> Tensor:
    """count_b = #{pairs: ⌊clamp((q + 1)·n_bins/2, 0, n_bins − 1)⌋ = b}, pairs i < j of one set, all pairs of two.

    unit, unit_other as in `overlap_tiles`. Returns (n_bins,) int64. Holds one tile at a time.
    """
    count = torch.zeros(n_bins, dtype=torch.int64, device=unit.device)
    # bincount reads what the bin numbers occupy: int16 is twice as fast as int64.
    bin_dtype = torch.int16 if n_bins <= torch.iinfo(torch.int16).max else torch.int32
    for tile, diagonal in overlap_tiles(unit, unit_other):
        tile.add_(1.0).mul_(n_bins / 2).clamp_(0, n_bins - 1)
        bins = tile.to(bin_dtype)
        bins = bins[torch.ones_like(bins, dtype=torch.bool).triu(1)] if diagonal else bins.flatten()
        count += torch.bincount(bins, minlength=n_bins)
    return count


def _row_sums(products: Tensor) -> Tensor:
    """Σ_j q_ij and Σ_j q_ij², stacked: (2, n_rows)."""
    return torch.stack([products.sum(1), products.square().sum(1)])


class PairSums(NamedTuple):
    """Per point i, (n_samples,) float64 each: r_i, and sums over j ≠ i (chain: over k ≠ j too)."""

    norm: Tensor  # r_i = |x_i|²
    link: Tensor  # h_i = Σ_j x_i·x_j
    link_square: Tensor  # k_i = Σ_j (x_i·x_j)²
    chain: Tensor  # g_i = Σ_j (x_i·x_j) h_j
    link_norm: Tensor  # Σ_j (x_i·x_j) r_j


def pair_sums(z: Tensor, norm: Tensor, by_pairs: bool) -> PairSums:
    """h_i = x_i·A − r_i, k_i = x_iᵀGx_i − r_i², g_i = x_i·Σ h_j x_j − h_i r_i with x = z/norm, A = Σx, G = Σxxᵀ.

    z (n_samples, n_latent); norm (n_samples,) float64. by_pairs=True sums h and k over the overlap matrix itself.
    Float64 throughout; O(n_samples·n_latent²) time, or O(n_samples²·n_latent) by pairs.
    """

    def blocks() -> Iterator[Tensor]:
        for rows, scale in zip(z.split(ROWS), norm.split(ROWS)):
            yield rows.double() / scale[:, None]

    def against(weight: Tensor) -> Tensor:
        """Σ_j (x_i·x_j) weight_j, j = i included."""
        total = sum(part @ x for x, part in zip(blocks(), weight.split(ROWS)))
        return torch.cat([x @ total for x in blocks()])

    r = torch.cat([x.square().sum(1) for x in blocks()])
    if by_pairs:
        link, link_square = torch.cat([sum(_row_sums(x @ y.T) for y in blocks()) for x in blocks()], 1)
    else:
        second = sum(x.T @ x for x in blocks())
        link = against(torch.ones_like(r))
        link_square = torch.cat([(x @ second).mul_(x).sum(1) for x in blocks()])
    link, link_square = link - r, link_square - r.square()
    return PairSums(r, link, link_square, against(link) - link * r, against(r) - r.square())


class DistinctMeans(NamedTuple):
    """Averages over distinct points: unbiased for products of independent points. Scalars, or one a left-out point."""

    pair: Tensor  # x_i·x_j
    square: Tensor  # (x_i·x_j)²
    triple: Tensor  # (x_i·x_j)(x_j·x_k)
    quadruple: Tensor  # (x_i·x_j)(x_k·x_l)
    norm: Tensor  # r_i
    norm_pair: Tensor  # r_i r_j
    norm_triple: Tensor  # r_i (x_j·x_k)


def distinct_means(sums: PairSums, jackknife: bool = False) -> DistinctMeans:
    """B₁/(N)₂, B₂/(N)₂, B₃/(N)₃, B₄/(N)₄ and the like for the norms; jackknife=True: without each point in turn.

    B₁ = Σh, B₂ = Σk, B₃ = Σh² − B₂, B₄ = B₁² − 4B₃ − 2B₂. Leaving i out takes 2h_i from B₁, 2k_i from B₂ and
    h_i² + 2g_i − k_i from Σh²; (N)_j = N(N−1)…(N−j+1).
    """
    r, link, link_square, chain, link_norm = sums
    n = len(r)
    b1, b2, h_square = link.sum(), link_square.sum(), link.square().sum()
    r_sum, r_square, r_h = r.sum(), r.square().sum(), (r * link).sum()
    if jackknife:
        n = n - 1
        b1, b2, h_square = b1 - 2 * link, b2 - 2 * link_square, h_square - link.square() - 2 * chain + link_square
        r_sum, r_square, r_h = r_sum - r, r_square - r.square(), r_h - r * link - link_norm
    b3 = h_square - b2
    b4 = b1 * b1 - 4 * b3 - 2 * b2
    pairs, triples, quadruples = (float(math.perm(n, order)) for order in (2, 3, 4))  # past int64 from N = 55 111
    return DistinctMeans(
        pair=b1 / pairs, square=b2 / pairs, triple=b3 / triples, quadruple=b4 / quadruples, norm=r_sum / n,
        norm_pair=(r_sum * r_sum - r_square) / pairs, norm_triple=(r_sum * b1 - 2 * r_h) / triples,
    )  # fmt: skip


def jackknife_error(without: Tensor) -> float:
    """Standard error √((N−1)/N·Σ(θ_i − θ̄)²) of an estimate, from its values θ_i without each of N points."""
    n_samples = len(without)
    return math.sqrt((n_samples - 1) / n_samples * (without - without.mean()).square().sum().item())
