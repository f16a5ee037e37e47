"""Energy and gradient of a spherical p-spin, p ≤ 3, in one pass: no tensor of n_samples × n_spins² is ever written."""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_SAMPLES, BLOCK_SPINS, BLOCK_PAIR = 32, 64, 16  # tl.dot of Triton 3.6 takes no fewer than 16
PROGRAMS_MIN = 512  # the sum over j is split until so many programs share it: several for each multiprocessor


@triton.jit
def _energy_and_gradient(
    s_ptr, linear_ptr, pair_ptr, triple_ptr, energy_ptr, gradient_ptr, n_samples, n_spins,
    PAIR: tl.constexpr, TRIPLE: tl.constexpr,
    BLOCK_SAMPLES: tl.constexpr, BLOCK_SPINS: tl.constexpr, BLOCK_PAIR: tl.constexpr,
):  # fmt: skip
    """Shares of H = Σ s_i (l + a + b)_i and ∇_i H = (l + 2a + 3b)_i, l linear, a_i = Σ J_ki s_k, b_i = Σ J_jki s_j s_k.

    Program (samples, i, part) sums j = part, part + n_parts, … and k ≥ j, which meet twice unless equal; part 0 adds a
    and l. Floor: n_spins²·(n_spins + 1) FLOP a sample; bytes 4·n_spins³ of couplings, read once from memory and
    by each block of samples from the cache, 8·n_spins a sample.
    """
    part, n_parts = tl.program_id(2), tl.num_programs(2)
    sample = tl.program_id(0).to(tl.int64) * BLOCK_SAMPLES + tl.arange(0, BLOCK_SAMPLES)  # [B]
    i = tl.program_id(1) * BLOCK_SPINS + tl.arange(0, BLOCK_SPINS)  # [I]
    known, inside = sample < n_samples, i < n_spins
    row_ptr = s_ptr + sample[:, None] * n_spins  # [B, 1]
    half = tl.zeros([BLOCK_SAMPLES, BLOCK_SPINS], tl.float32)  # [B, I]: l + a + b
    gradient = tl.zeros([BLOCK_SAMPLES, BLOCK_SPINS], tl.float32)  # [B, I]
    if part == 0:
        linear = tl.load(linear_ptr + i, mask=inside, other=0.0)[None, :]
        half += linear
        gradient += linear
        if PAIR:
            total = tl.zeros([BLOCK_SAMPLES, BLOCK_SPINS], tl.float32)
            for first in range(0, n_spins, BLOCK_PAIR):
                k = first + tl.arange(0, BLOCK_PAIR)  # [K]
                spins = tl.load(row_ptr + k[None, :], mask=known[:, None] & (k < n_spins)[None, :], other=0.0)  # [B, K]
                place = k.to(tl.int64)[:, None] * n_spins + i[None, :]
                coupling = tl.load(pair_ptr + place, mask=(k < n_spins)[:, None] & inside[None, :], other=0.0)  # [K, I]
                total = tl.dot(spins, coupling, total, input_precision="ieee")
            half += total
            gradient += 2 * total
    if TRIPLE:
        total = tl.zeros([BLOCK_SAMPLES, BLOCK_SPINS], tl.float32)
        for j in range(part, n_spins, n_parts):
            partner = tl.load(s_ptr + sample * n_spins + j, mask=known, other=0.0)  # [B]
            strip = tl.zeros([BLOCK_SAMPLES, BLOCK_SPINS], tl.float32)
            for first in range(j // BLOCK_PAIR * BLOCK_PAIR, n_spins, BLOCK_PAIR):
                k = first + tl.arange(0, BLOCK_PAIR)
                spins = tl.load(row_ptr + k[None, :], mask=known[:, None] & (k < n_spins)[None, :], other=0.0)
                spins = spins * tl.where(k > j, 2.0, tl.where(k == j, 1.0, 0.0))[None, :]
                place = (j * n_spins + k.to(tl.int64))[:, None] * n_spins + i[None, :]
                coupling = tl.load(triple_ptr + place, mask=(k < n_spins)[:, None] & inside[None, :], other=0.0)
                strip = tl.dot(spins, coupling, strip, input_precision="ieee")
            total += partner[:, None] * strip
        half += total
        gradient += 3 * total
    own = tl.load(row_ptr + i[None, :], mask=known[:, None] & inside[None, :], other=0.0)
    # A row of its own per part and block: no atomics, and no zeroed buffer to rely on.
    row = (part * tl.num_programs(1) + tl.program_id(1)).to(tl.int64) * n_samples
    tl.store(energy_ptr + row + sample, tl.sum(own * half, 1), mask=known)
    place = (part.to(tl.int64) * n_samples + sample)[:, None] * n_spins + i[None, :]
    tl.store(gradient_ptr + place, gradient, mask=known[:, None] & inside[None, :])


def energy_and_gradient(s: Tensor, linear: Tensor, couplings: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
    """Launches `_energy_and_gradient` on float32 spins (n_samples, n_spins), couplings of p = 2 and 3: H and ∇H."""
    n_samples, n_spins = s.shape
    if n_samples == 0:
        return s.new_zeros(0), s.new_zeros(0, n_spins)
    blocks = triton.cdiv(n_samples, BLOCK_SAMPLES), triton.cdiv(n_spins, BLOCK_SPINS)
    n_parts = min(n_spins, triton.cdiv(PROGRAMS_MIN, blocks[0] * blocks[1])) if 3 in couplings else 1
    energy = torch.empty((n_parts, blocks[1], n_samples), dtype=s.dtype, device=s.device)
    gradient = torch.empty((n_parts, n_samples, n_spins), dtype=s.dtype, device=s.device)
    pair, triple = (couplings.get(p, linear).contiguous() for p in (2, 3))  # linear stands in: never read
    with torch.cuda.device_of(s):  # Triton launches on the current device
        _energy_and_gradient[(*blocks, n_parts)](
            s.contiguous(), linear.contiguous(), pair, triple, energy, gradient, n_samples, n_spins,
            PAIR=2 in couplings, TRIPLE=3 in couplings,
            BLOCK_SAMPLES=BLOCK_SAMPLES, BLOCK_SPINS=BLOCK_SPINS, BLOCK_PAIR=BLOCK_PAIR, num_warps=4,
        )  # fmt: skip
    return energy.sum((0, 1)), gradient.sum(0)
