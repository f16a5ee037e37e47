"""Smallest scores of every query in one pass: each tile of products is searched and forgotten."""

import torch
import triton
import triton.language as tl
from torch import Tensor

SEARCH_BLOCK = 64  # queries and bank points of a tile
SEARCH_LATENT = 16  # tl.dot of Triton 3.6 takes no fewer
SEARCHES_PER_MULTIPROCESSOR = 4
TILES_MIN = 16  # of a part of the bank: the first tile of each fills the list of the smallest, slot by slot


@triton.jit
def _smallest_scores(
    q_ptr, b_ptr, half_ptr, own_ptr, score_ptr, index_ptr, n_queries, n_bank, n_latent, n_best,
    EXCLUDE: tl.constexpr, SLOTS: tl.constexpr, BLOCK: tl.constexpr, BLOCK_LATENT: tl.constexpr,
):  # fmt: skip
    """The n_best smallest s_ij = half_j − Σ_k q_ik b_jk of every query i, over the tiles j of one part of the bank.

    Program (queries, part) keeps them in slots, unordered, and replaces the largest by the tile's smallest while that
    is smaller: some n_best·ln(n_bank/n_best) times a query. Floor: 2·n_latent FLOP a pair; bytes 4·n_latent·(n_queries
    + n_bank), the bank once from memory and by each block of queries from the cache; no pair is ever written.
    """
    part, n_parts = tl.program_id(1), tl.num_programs(1)
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # [I]; int64: i·n_latent passes 2³¹
    known = i < n_queries
    slot = tl.arange(0, SLOTS)[None, :]  # [1, S]
    # A slot past n_best holds −∞: it is never the largest, so never replaced.
    best = tl.zeros([BLOCK, SLOTS], tl.float32) + tl.where(slot < n_best, float("inf"), float("-inf"))  # [I, S]
    best_index = tl.zeros([BLOCK, SLOTS], tl.int64)
    if EXCLUDE:
        own = tl.load(own_ptr + i, mask=known, other=-1)  # [I]
    for tile in range(part, tl.cdiv(n_bank, BLOCK), n_parts):
        j = (tile * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)  # [J]
        product = tl.zeros([BLOCK, BLOCK], tl.float32)  # [I, J]
        for first in range(0, n_latent, BLOCK_LATENT):
            k = first + tl.arange(0, BLOCK_LATENT)  # [K]
            q_mask = known[:, None] & (k < n_latent)[None, :]
            b_mask = (k < n_latent)[:, None] & (j < n_bank)[None, :]
            q = tl.load(q_ptr + i[:, None] * n_latent + k[None, :], mask=q_mask, other=0.0)  # [I, K]
            b = tl.load(b_ptr + j[None, :] * n_latent + k[:, None], mask=b_mask, other=0.0)  # [K, J]
            product = tl.dot(q, b, product, input_precision="ieee")  # TF32 would void the bound on the rounding
        score = tl.load(half_ptr + j, mask=j < n_bank, other=float("inf"))[None, :] - product
        score = tl.where(known[:, None], score, float("inf"))
        if EXCLUDE:
            score = tl.where(j[None, :] == own[:, None], float("inf"), score)
        least, largest = tl.min(score, 1), tl.max(best, 1)  # [I]
        while tl.max((least < largest).to(tl.int32), 0) > 0:
            column = (tile * BLOCK + tl.argmin(score, 1)).to(tl.int64)  # [I]
            hit = (slot == tl.argmax(best, 1)[:, None]) & (least < largest)[:, None]  # [I, S]
            best = tl.where(hit, least[:, None], best)
            best_index = tl.where(hit, column[:, None], best_index)
            score = tl.where(j[None, :] == column[:, None], float("inf"), score)
            least, largest = tl.min(score, 1), tl.max(best, 1)
    place = (i[:, None] * n_parts + part) * n_best + slot
    mask = known[:, None] & (slot < n_best)
    tl.store(score_ptr + place, best, mask=mask)
    tl.store(index_ptr + place, best_index, mask=mask)


def smallest_scores(
    query: Tensor, bank: Tensor, centre: Tensor, scale: float, own: Tensor | None, n_best: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Launches `_smallest_scores` on the float32 points (z − centre)/scale; arguments and returns as the reference.

    dtype is torch.float32; n_best up to 64: the slots live in registers.
    """
    query, bank = (((z.double() - centre) / scale).to(dtype).contiguous() for z in (query, bank))
    half_square = torch.linalg.vector_norm(bank, dim=1).square() / 2
    n_blocks, n_tiles = triton.cdiv(len(query), SEARCH_BLOCK), triton.cdiv(len(bank), SEARCH_BLOCK)
    n_parts = max(1, min(_n_programs(query.device) // n_blocks, n_tiles // TILES_MIN))
    score = torch.empty((len(query), n_parts, n_best), dtype=dtype, device=query.device)
    index = torch.empty((len(query), n_parts, n_best), dtype=torch.int64, device=query.device)
    with torch.cuda.device_of(query):  # Triton launches on the current device
        _smallest_scores[n_blocks, n_parts](
            query, bank, half_square, index if own is None else own, score, index, len(query), len(bank),
            query.shape[1], n_best, EXCLUDE=own is not None, SLOTS=max(16, triton.next_power_of_2(n_best)),
            BLOCK=SEARCH_BLOCK, BLOCK_LATENT=SEARCH_LATENT, num_warps=4,
        )  # fmt: skip
    score, place = score.flatten(1).topk(n_best, largest=False, sorted=False)
    return score, index.flatten(1).gather(1, place)


def _n_programs(device: torch.device) -> int:
    if device.type != "cuda":
        return SEARCHES_PER_MULTIPROCESSOR  # the interpreter runs them one after the other
    return SEARCHES_PER_MULTIPROCESSOR * torch.cuda.get_device_properties(device).multi_processor_count
