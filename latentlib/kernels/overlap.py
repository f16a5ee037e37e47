"""Overlap histogram in one pass: each tile of the Gram matrix is multiplied, binned and forgotten."""

import torch
import triton
import triton.language as tl
from torch import Tensor

# Read off the code compiled for sm_90, four warps: 0.27 shared loads per multiply-add, four programs on a multiprocessor.
# Eight latents a step would need 0.11, but tl.dot of Triton 3.6 takes no fewer than 16.
BLOCK = 64  # rows and columns of a tile
BLOCK_LATENT = 16
PROGRAMS_PER_MULTIPROCESSOR = 4
BINS_MIN, BINS_MAX = 32, 1024  # a window of bins, counted in shared memory; more bins mean more passes


@triton.jit
def _upper_tile(tile, n_blocks):
    """Tile number 0 … n(n+1)/2 − 1 → block row i ≤ block column j, in integers alone.

    Rows r and n−1−r of the upper triangle hold n+1 tiles together, so they fill one line of a rectangle.
    """
    line = tile // (n_blocks + 1)
    place = tile % (n_blocks + 1)
    first = place < n_blocks - line
    block_i = tl.where(first, line, n_blocks - 1 - line)
    block_j = tl.where(first, line + place, place - 1)
    return block_i, block_j


@triton.jit
def _count_pairs(
    a_ptr, b_ptr, count_ptr, n_a, n_b, n_latent, n_tiles, n_bins, half_bins,
    SYMMETRIC: tl.constexpr, BINS: tl.constexpr, BLOCK: tl.constexpr, BLOCK_LATENT: tl.constexpr,
):  # fmt: skip
    """count[b] = #{(i, j): ⌊clamp((q_ij + 1)·n_bins/2, 0, n_bins − 1)⌋ = b}, q_ij = Σ_k a_ik b_jk, i < j if SYMMETRIC.

    Floor: 2·n_latent FLOP a pair; bytes n_latent·(n_a + n_b)·4 + n_bins·8, no pair is ever written.
    """
    program, window = tl.program_id(0), tl.program_id(1)
    n_blocks_b = tl.cdiv(n_b, BLOCK)
    count = tl.zeros([BINS], tl.int64)
    for tile in range(program, n_tiles, tl.num_programs(0)):
        if SYMMETRIC:
            block_i, block_j = _upper_tile(tile, n_blocks_b)
        else:
            block_i, block_j = tile // n_blocks_b, tile % n_blocks_b
        i = block_i.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # [I]; int64: i·n_latent passes 2³¹ at 2²⁴ × 128
        j = block_j.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # [J]
        q = tl.zeros([BLOCK, BLOCK], tl.float32)  # [I, J]
        for first in range(0, n_latent, BLOCK_LATENT):
            k = first + tl.arange(0, BLOCK_LATENT)  # [K]
            a_mask = (i < n_a)[:, None] & (k < n_latent)[None, :]
            b_mask = (k < n_latent)[:, None] & (j < n_b)[None, :]
            a = tl.load(a_ptr + i[:, None] * n_latent + k[None, :], mask=a_mask, other=0.0)  # [I, K]
            b = tl.load(b_ptr + j[None, :] * n_latent + k[:, None], mask=b_mask, other=0.0)  # [K, J]
            q = tl.dot(a, b, q, input_precision="ieee")  # TF32 would move pairs by 1e-3
        # Add first, then multiply: no fused multiply-add, so the rounding is the reference's.
        position = (q + 1.0) * half_bins
        bin = tl.minimum(tl.maximum(position, 0.0), n_bins - 1.0).to(tl.int32) - window * BINS
        counted = (i < n_a)[:, None] & (j < n_b)[None, :] & (bin >= 0) & (bin < BINS)
        if SYMMETRIC:
            counted = counted & (i[:, None] < j[None, :])
        flat_bin = tl.reshape(bin, [BLOCK * BLOCK])
        count += tl.histogram(flat_bin, BINS, mask=tl.reshape(counted, [BLOCK * BLOCK])).to(tl.int64)
    # A row of its own per program and window: no atomics, and no zeroed buffer to rely on.
    row = (program * tl.num_programs(1) + window).to(tl.int64)
    tl.store(count_ptr + row * BINS + tl.arange(0, BINS), count)


def overlap_histogram(unit: Tensor, unit_other: Tensor | None, n_bins: int) -> Tensor:
    """Launches `_count_pairs` on contiguous float32 rows of norm one; (n_bins,) int64."""
    symmetric = unit_other is None
    other = unit if symmetric else unit_other
    blocks, blocks_other = triton.cdiv(len(unit), BLOCK), triton.cdiv(len(other), BLOCK)
    n_tiles = blocks * (blocks + 1) // 2 if symmetric else blocks * blocks_other
    bins = min(max(triton.next_power_of_2(n_bins), BINS_MIN), BINS_MAX)
    grid = min(n_tiles, _n_programs(unit.device)), triton.cdiv(n_bins, bins)
    count = torch.empty((*grid, bins), dtype=torch.int64, device=unit.device)
    with torch.cuda.device_of(unit):  # Triton launches on the current device
        _count_pairs[grid](
            unit, other, count, len(unit), len(other), unit.shape[1], n_tiles, n_bins, n_bins / 2,
            SYMMETRIC=symmetric, BINS=bins, BLOCK=BLOCK, BLOCK_LATENT=BLOCK_LATENT, num_warps=4,
        )  # fmt: skip
    return count.sum(0).flatten()[:n_bins]


def _n_programs(device: torch.device) -> int:
    if device.type != "cuda":
        return PROGRAMS_PER_MULTIPROCESSOR  # the interpreter runs them one after the other
    return PROGRAMS_PER_MULTIPROCESSOR * torch.cuda.get_device_properties(device).multi_processor_count
