"""Checkerboard sweeps with the reference's random numbers, bit for bit: drawn, compared, forgotten in registers."""

import torch
import triton
import triton.language as tl
from torch import Tensor

COUNTERS_PROGRAM = 128  # Philox counters of a program: four sites each


@triton.jit
def _site(spins_ptr, threshold_ptr, word, lattice, point, m, counted, size, n_half, COLOUR: tl.constexpr):
    """Site m of a colour, row by row: s = +1 if word < threshold[point, 5(s + 1)/2 + (Σ_nn s + 4)/2], else −1."""
    counted = counted & (m < n_half)
    half = size // 2
    i = m // half
    j = 2 * (m % half) + (i + COLOUR) % 2
    row = spins_ptr + lattice * size * size  # int64
    above, below = (i + size - 1) % size, (i + 1) % size
    left, right = (j + size - 1) % size, (j + 1) % size
    spin = tl.load(row + i * size + j, mask=counted, other=1).to(tl.int32)
    total = tl.load(row + above * size + j, mask=counted, other=0).to(tl.int32)
    total += tl.load(row + below * size + j, mask=counted, other=0).to(tl.int32)
    total += tl.load(row + i * size + left, mask=counted, other=0).to(tl.int32)
    total += tl.load(row + i * size + right, mask=counted, other=0).to(tl.int32)
    column = (total + 5 * spin + 9) // 2
    threshold = tl.load(threshold_ptr + point * 10 + column, mask=counted, other=0)  # int64: 2³² is a threshold
    up = word.to(tl.int64) < threshold
    tl.store(row + i * size + j, tl.where(up, 1, -1).to(tl.int8), mask=counted)


@triton.jit(do_not_specialize=["sweep", "first_point", "first_replica", "key_0", "key_1"])
def _update_colour(
    spins_ptr, threshold_ptr, n_counters, n_replicas, size, n_half, n_groups,
    sweep, first_point, first_replica, key_0, key_1, COLOUR: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sites m of a colour, in place: word ⌊m/G⌋ of counter (COLOUR·G + m mod G, replica, point, sweep), G = n_groups.

    No site of a colour is the neighbour of another, so no program reads what another writes. Floor: 15 integer
    operations a site for its random number; one byte read of every site of the lattice, one written of its half.
    """
    counter = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    counted = counter < n_counters
    lattice, group = counter // n_groups, (counter % n_groups).to(tl.int32)  # size ≤ 2¹⁵: sites fit in int32
    point, replica = lattice // n_replicas, lattice % n_replicas
    zero = tl.zeros([BLOCK], tl.int64)  # scalars become blocks: as scalars their type follows their value
    word_0, word_1, word_2, word_3 = tl.philox_impl(
        (group + COLOUR * n_groups).to(tl.uint32),
        (replica + first_replica).to(tl.uint32),
        (point + first_point).to(tl.uint32),
        (zero + sweep).to(tl.uint32),
        (zero + key_0).to(tl.uint32),
        (zero + key_1).to(tl.uint32),
    )
    _site(spins_ptr, threshold_ptr, word_0, lattice, point, group, counted, size, n_half, COLOUR)
    _site(spins_ptr, threshold_ptr, word_1, lattice, point, group + n_groups, counted, size, n_half, COLOUR)
    _site(spins_ptr, threshold_ptr, word_2, lattice, point, group + 2 * n_groups, counted, size, n_half, COLOUR)
    _site(spins_ptr, threshold_ptr, word_3, lattice, point, group + 3 * n_groups, counted, size, n_half, COLOUR)


def sweep_spins(
    spins: Tensor, thresholds: Tensor, n_sweeps: int, seed: int, first_sweep: int, first_point: int, first_replica: int
) -> Tensor:
    """Launches `_update_colour` twice a sweep on a copy of spins (n_points, n_replicas, size, size) int8, size even."""
    n_points, n_replicas, size, _ = spins.shape
    n_half = size * size // 2
    n_groups = triton.cdiv(n_half, 4)
    n_counters = n_points * n_replicas * n_groups
    result = spins.clone(memory_format=torch.contiguous_format)
    thresholds = thresholds.to(spins.device).contiguous()
    with torch.cuda.device_of(spins):  # Triton launches on the current device
        for sweep in range(first_sweep, first_sweep + n_sweeps):
            for colour in (0, 1):
                _update_colour[(triton.cdiv(n_counters, COUNTERS_PROGRAM),)](
                    result, thresholds, n_counters, n_replicas, size, n_half, n_groups,
                    sweep, first_point, first_replica, seed % 2**32, seed >> 32,
                    COLOUR=colour, BLOCK=COUNTERS_PROGRAM, num_warps=4,
                )  # fmt: skip
    return result
