"""Ising spins in plain torch: counter-based random numbers, and checkerboard sweeps by integer thresholds on them."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

MULTIPLIER_0, MULTIPLIER_1 = 0xD2511F53, 0xCD9E8D57
WEYL_0, WEYL_1 = 0x9E3779B9, 0xBB67AE85
WORD = 2**32 - 1
COUNTERS_THREAD = 2**15  # torch splits an operation among threads from here on, and the words stay in their caches
COUNTERS_DEVICE = 2**22


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10: four random 32-bit words of a 128-bit counter under a 64-bit key, after ten rounds.

    (c₀, c₁, c₂, c₃) → (hi(M₁c₂) ⊕ c₁ ⊕ k₀, lo(M₁c₂), hi(M₀c₀) ⊕ c₃ ⊕ k₁, lo(M₀c₀)), k → k + Weyl constants. Source:
    Salmon, Moraes, Dror, Shaw, SC 2011. counter: int64 tensors in [0, 2³²) that broadcast; seed, the key, in [0, 2⁶⁴).
    Returns: four int64 tensors in [0, 2³²).
    """
    c0, c1, c2, c3 = counter
    key_0, key_1 = seed & WORD, seed >> 32
    for _ in range(10):
        product_0, product_1 = c0 * MULTIPLIER_0, c2 * MULTIPLIER_1  # modulo 2⁶⁴: the sign bit is one bit of them
        # c₁ and c₃ keep their high halves: the mask after the next ⊕ takes them off.
        c0, c1 = ((product_1 >> 32) ^ c1).bitwise_xor_(key_0).bitwise_and_(WORD), product_1
        c2, c3 = ((product_0 >> 32) ^ c3).bitwise_xor_(key_1).bitwise_and_(WORD), product_0
        key_0, key_1 = (key_0 + WEYL_0) & WORD, (key_1 + WEYL_1) & WORD
    return c0, c1 & WORD, c2, c3 & WORD


class Part(NamedTuple):
    """Some of the lattices of a batch (n_points, n_replicas): their rows in it and the numbers that name them."""

    rows: slice  # of the batch flattened to n_points·n_replicas
    row_point: Tensor  # (n_rows,), from 0
    point: Tensor  # (n_rows,), the counter's word, from first_point
    replica: Tensor


def parts(
    shape: tuple[int, int], n_counters: int, first_point: int, first_replica: int, device: torch.device
) -> Iterator[Part]:
    """Splits a batch (n_points, n_replicas) of lattices of n_counters counters each: the words of a part fit caches."""
    n_points, n_replicas = shape
    n_rows = max(1, _counters_at_once(device) // n_counters)
    for rows in torch.arange(n_points * n_replicas, device=device).split(n_rows):
        point, replica = rows // n_replicas, rows % n_replicas
        yield Part(slice(int(rows[0]), int(rows[-1]) + 1), point, point + first_point, replica + first_replica)


def _counters_at_once(device: torch.device) -> int:
    return COUNTERS_THREAD * torch.get_num_threads() if device.type == "cpu" else COUNTERS_DEVICE


def random_words(part: Part, n_sets: int, n_numbers: int, sweeps: Tensor, seed: int) -> Tensor:
    """Random numbers in [0, 2³²) of every site, sweep by sweep: (n_sweeps, n_rows, n_sets, n_numbers) int64.

    Number m of set k is word ⌊m/G⌋ of counter (k·G + m mod G, replica, point, sweep), G = ⌈n_numbers/4⌉.
    """
    n_groups = -(-n_numbers // 4)
    group = torch.arange(n_sets * n_groups, device=sweeps.device).view(n_sets, n_groups)
    row = part.replica[:, None, None], part.point[:, None, None]
    words = philox((group, *row, sweeps[:, None, None, None]), seed)
    return torch.cat(words, -1)[..., :n_numbers]


def sweep_spins(
    spins: Tensor, thresholds: Tensor, n_sweeps: int, seed: int, first_sweep: int, first_point: int, first_replica: int
) -> Tensor:
    """s_ij = +1 if its random number is under threshold[point, 5(s_ij + 1)/2 + (Σ_nn s + 4)/2], else −1, by colours.

    The sites with i + j even are colour 0, updated first. spins (n_points, n_replicas, size, size) int8, size even;
    thresholds (n_points, 10) int64 in [0, 2³²]. Returns a new tensor.
    """
    size, device = spins.shape[-1], spins.device
    n_half = size * size // 2
    n_counters = 2 * -(-n_half // 4)
    flat_thresholds = thresholds.to(device).flatten()
    result = spins.flatten(0, 1).clone(memory_format=torch.contiguous_format)
    for part in parts(spins.shape[:2], n_counters, first_point, first_replica, device):
        lattices = result[part.rows]
        halves = _split_colours(lattices)
        first_threshold = (10 * part.row_point).to(torch.int32)[:, None, None]
        n_at_once = max(1, _counters_at_once(device) // (n_counters * len(lattices)))
        sweeps = torch.arange(first_sweep, first_sweep + n_sweeps, device=device)
        for some in sweeps.split(n_at_once) if n_sweeps else ():
            for numbers in random_words(part, 2, n_half, some, seed):
                for colour in (0, 1):
                    half = halves[colour]
                    column = (_neighbour_sum(halves[1 - colour], colour) + 5 * half + 9) >> 1  # int8: at most 18
                    threshold = flat_thresholds.index_select(0, (column + first_threshold).flatten())
                    up = numbers[:, colour].reshape(half.shape) < threshold.view(half.shape)
                    halves[colour] = (2 * up.view(torch.int8)).sub_(1)
        _join_colours(halves, lattices)
    return result.view(spins.shape)


def _neighbour_sum(other: Tensor, colour: int) -> Tensor:
    """Sum of the four neighbours of every site of `colour`, all of the other colour: (n_lattices, size, size/2).

    Column k of a row holds site 2k + (row + colour) mod 2. Its neighbours left and right are columns k − 1 and k of
    the other colour where the row + colour is even, k and k + 1 where it is odd.
    """
    side = other.roll(1, 2)
    side[:, 1 - colour :: 2] = other.roll(-1, 2)[:, 1 - colour :: 2]
    return other + side + other.roll(1, 1) + other.roll(-1, 1)


def _cells(lattices: Tensor) -> Tensor:
    """A view (n_lattices, size/2, 2, size/2, 2) of 2 × 2 cells, whose colours are (0, 1), (1, 0)."""
    n_lattices, size, _ = lattices.shape
    return lattices.view(n_lattices, size // 2, 2, size // 2, 2)


def _split_colours(lattices: Tensor) -> list[Tensor]:
    cells = _cells(lattices)
    colours = [torch.stack([cells[:, :, 0, :, colour], cells[:, :, 1, :, 1 - colour]], 2) for colour in (0, 1)]
    return [half.view(len(lattices), -1, half.shape[-1]) for half in colours]


def _join_colours(halves: list[Tensor], lattices: Tensor) -> None:
    cells = _cells(lattices)
    for colour, half in enumerate(halves):
        rows = half.view(len(lattices), -1, 2, half.shape[-1])
        cells[:, :, 0, :, colour], cells[:, :, 1, :, 1 - colour] = rows.unbind(2)
