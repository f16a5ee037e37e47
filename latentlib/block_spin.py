"""Block spins: coarse graining of lattice spins, and the same averages over blocks of latent coordinates.

On a lattice a block is a square of neighbours, and the flow of block spins under repetition tells order from disorder.
Latent coordinates have no lattice and no neighbours: their order is arbitrary, so that a block of them means something
only where it stands out from blocks under random permutations and rotations of the coordinates (`block_null`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from latentlib._codes import check_codes, row_norm

_RULES = ("majority", "average")


def majority_rule(spins: Tensor, scale_factor: int, *, seed: int) -> Tensor:
    """Block spins by majority, S_B = sign Σ_{i∈B} s_i over squares of scale_factor² sites; ties by a fair coin.

    Ties occur for even scale factors alone; their coins depend on the seed and on the shape of the spins. A flip of all
    spins flips the block spins that are no ties. Args: spins ±1, (..., size, size), any dtype.
    Returns: (..., size/scale_factor, size/scale_factor), same dtype and device. Raises: ValueError for spins that are
    not ±1 on a square, a scale factor below 2, or a size that it does not divide.
    """
    _check_spins(spins, scale_factor)
    return _majority(spins, scale_factor, torch.Generator().manual_seed(seed))


def block_average(spins: Tensor, scale_factor: int) -> Tensor:
    """Block averages φ_B = Σ_{i∈B} s_i/scale_factor² over squares of scale_factor² sites: the linear rule.

    The mean over the lattice stays; what flows is the law of φ_B. Args: spins of any real value, (..., size, size).
    Returns: (..., size/scale_factor, size/scale_factor), float64 for integer spins, else same dtype.
    Raises: ValueError as `majority_rule`, but for the values ±1.
    """
    _check_spins(spins, scale_factor, plus_minus=False)
    return _average(spins, scale_factor)


@dataclass(frozen=True)
class BlockFlow:
    """Lattice averages at every level of coarse graining, level 0 the spins themselves: each (n_levels + 1, ...).

    ... are the leading dimensions of the spins, points and replicas, so that errors can be taken over replicas: the
    Binder cumulant of a level is `finite_size.binder_cumulant(flow.magnetization[level])`.
    """

    sizes: tuple[int, ...]
    magnetization: Tensor  # ⟨S⟩, signed: |m|, m², m⁴ follow; unchanged by the averaging rule
    neighbor_correlation: Tensor  # ⟨S S′⟩ over neighbours on the torus of blocks
    square: Tensor  # ⟨S²⟩ over blocks: 1 under the majority rule
    fourth: Tensor  # ⟨S⁴⟩ over blocks


def block_flow(
    spins: Tensor, scale_factor: int, *, rule: str = "majority", seed: int, n_levels: int | None = None
) -> BlockFlow:
    """Flow of block spins, S → S_B repeated: ⟨S S′⟩/⟨S²⟩ runs to 1 below the critical temperature, to 0 above.

    Majority: the neighbour correlation keeps its value from level to level at the critical temperature alone, where the
    lattice is large. Average: ⟨φ²⟩ and ⟨φ⁴⟩ of blocks do what m² and m⁴ of a lattice of the block's size do. Few blocks
    are magnetized by chance, ⟨|m|⟩ = √(2/(π·n_blocks)) without any order: compare |m| at equal numbers of blocks.
    Args: spins, (..., size, size), a torus; rule, "majority" (spins ±1) or "average"; seed, of the coins of ties;
        n_levels, default as many as the size divides by the scale factor.
    Memory: twice the spins in float64. Raises: ValueError for spins or a scale factor that the rule refuses, another
    rule, or more levels than the size has.
    """
    if rule not in _RULES:
        raise ValueError(f"rule: want one of {_RULES}, got {rule!r}")
    _check_spins(spins, scale_factor, plus_minus=rule == "majority")
    size, most = spins.shape[-1], 0
    while size > 1 and size % scale_factor == 0:
        size, most = size // scale_factor, most + 1
    n_levels = most if n_levels is None else n_levels
    if not 1 <= n_levels <= most:
        raise ValueError(f"n_levels: want 1 to {most} for size {spins.shape[-1]} by {scale_factor}, got {n_levels}")
    generator = torch.Generator().manual_seed(seed)
    sizes, rows = [spins.shape[-1]], [_lattice_means(spins)]
    for _ in range(n_levels):
        spins = _majority(spins, scale_factor, generator) if rule == "majority" else _average(spins, scale_factor)
        sizes.append(spins.shape[-1])
        rows.append(_lattice_means(spins))
    return BlockFlow(tuple(sizes), *(torch.stack(column) for column in zip(*rows)))


def _lattice_means(spins: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    spins = spins.double()
    neighbors = spins * (spins.roll(1, -1) + spins.roll(1, -2)) / 2
    square = spins.square()
    return tuple(values.mean((-2, -1)) for values in (spins, neighbors, square, square.square()))


def _block_sums(spins: Tensor, scale_factor: int) -> Tensor:
    n_blocks = spins.shape[-1] // scale_factor
    squares = spins.view(*spins.shape[:-2], n_blocks, scale_factor, n_blocks, scale_factor)
    return squares.sum((-3, -1))


def _majority(spins: Tensor, scale_factor: int, generator: torch.Generator) -> Tensor:
    total = _block_sums(spins.contiguous(), scale_factor)
    if scale_factor % 2 == 0:  # coins for all blocks, on the CPU: the same whatever the device and the spins
        coin = torch.randint(2, total.shape, generator=generator, dtype=torch.int8).to(total.device)
        total = torch.where(total == 0, 2 * coin - 1, total)
    return total.sign().to(spins.dtype)


def _average(spins: Tensor, scale_factor: int) -> Tensor:
    spins = spins.contiguous() if spins.is_floating_point() else spins.double().contiguous()
    return _block_sums(spins, scale_factor) / scale_factor**2


def _check_spins(spins: Tensor, scale_factor: int, plus_minus: bool = True) -> None:
    if not isinstance(scale_factor, int) or isinstance(scale_factor, bool) or scale_factor < 2:
        raise ValueError(f"scale_factor: want an integer of 2 or more, got {scale_factor!r}")
    shape = tuple(spins.shape)
    if len(shape) < 2 or shape[-1] != shape[-2] or spins.numel() == 0:
        raise ValueError(f"spins: want (..., size, size), not empty, got {shape}")
    if shape[-1] % scale_factor:
        raise ValueError(f"spins: want a size that scale_factor = {scale_factor} divides, got {shape[-1]}")
    if plus_minus and not (spins.abs() == 1).all():
        raise ValueError(f"spins: want 1 and -1 for a majority, got {spins[spins.abs() != 1][0].item()}")


def coordinate_blocks(
    z: Tensor, n_blocks: int = 3, *, blocks: Sequence[Tensor] | None = None, rescale: bool = True
) -> Tensor:
    """Block coordinates y_a = (1/|B_a|) Σ_{i∈B_a} z_i over contiguous blocks, then y → √K·y/⟨|y|⟩, K blocks.

    One global factor for all samples: ⟨|y|⟩ = √K afterwards. The latent has no lattice: which coordinates share a
    block is a convention, to be judged by `block_null`. Source: phase, Eq. (8), with K = 3.
    Args: z, codes, (n_samples, n_latent); n_blocks, from 1 to n_latent, of sizes that differ by one at most, the larger
        ones first; blocks, instead, K index tensors without a common index; rescale, False for the y_a themselves.
    Returns: (n_samples, K), dtype of z, summed in float64. Raises: ValueError for bad codes, number of blocks or
    blocks, or where all y are 0 and have no scale.
    """
    check_codes(z=z)
    return _coordinate_blocks(z, _block_matrix(z, _blocks(z, n_blocks, blocks)), rescale)


def _blocks(z: Tensor, n_blocks: int, blocks: Sequence[Tensor] | None) -> list[Tensor]:
    n_latent = z.shape[1]
    if blocks is None:
        if not isinstance(n_blocks, int) or not 1 <= n_blocks <= n_latent:
            raise ValueError(f"n_blocks: want an integer from 1 to n_latent = {n_latent}, got {n_blocks!r}")
        return list(torch.arange(n_latent).tensor_split(n_blocks))
    blocks = [torch.as_tensor(block).cpu() for block in blocks]
    if not blocks or any(block.ndim != 1 or len(block) == 0 or block.is_floating_point() for block in blocks):
        raise ValueError(f"blocks: want non-empty lists of indices, got {[block.tolist() for block in blocks]}")
    index = torch.cat(blocks)
    if index.min() < 0 or index.max() >= n_latent or len(index.unique()) < len(index):
        raise ValueError(f"blocks: want distinct indices from 0 to {n_latent - 1}, got {index.tolist()}")
    return blocks


def _block_matrix(z: Tensor, blocks: list[Tensor]) -> Tensor:
    """[n_latent, K] float64, 1/|B_a| at the coordinates of block a."""
    matrix = torch.zeros(z.shape[1], len(blocks), dtype=torch.float64)
    for number, block in enumerate(blocks):
        matrix[block, number] = 1 / len(block)
    return matrix.to(z.device)


def _coordinate_blocks(z: Tensor, matrix: Tensor, rescale: bool = True) -> Tensor:
    y = z.double() @ matrix
    if rescale:
        length = torch.linalg.vector_norm(y, dim=1).mean()
        if length == 0:
            raise ValueError("z: want block averages that are not all 0, which have no scale")
        y = y * (math.sqrt(y.shape[1]) / length)
    return y.to(z.dtype)


class Rayleigh(NamedTuple):
    """The Rayleigh statistic, and the probability of more under uniform directions (χ²_K, for many samples)."""

    statistic: float
    p_value: float


def rayleigh_statistic(y: Tensor) -> Rayleigh:
    """Rayleigh statistic K·M·R̄², R̄ = |mean of y/|y||, of M directions in K dimensions: χ²_K for uniform directions.

    Its mean is K exactly, its variance 2K(1 − 1/M), its law χ²_K as M grows. Blind to laws that are even in y. The rows
    have to be independent. Blocks of unequal size are uniform in direction only up to their relative difference.
    Args: y, (n_samples, K). Raises: ValueError for anything else, a value not finite, or a zero row.
    """
    check_codes(y=y)
    direction = y.double() / row_norm("y", y)[:, None]
    n_samples, n_dimensions = y.shape
    statistic = n_dimensions * n_samples * direction.mean(0).square().sum()
    half = torch.tensor(n_dimensions / 2, dtype=torch.float64, device=y.device)
    return Rayleigh(statistic.item(), torch.special.gammaincc(half, statistic / 2).item())


@dataclass(frozen=True)
class BlockNull:
    """A statistic of block coordinates beside its values where the same codes have other, random coordinates.

    p values: the share (1 + #{null ≥ measured})/(1 + n_null), valid at any n_null, large values of the statistic
    speaking against the null.
    """

    measured: float
    permuted: Tensor  # (n_null,) float64
    rotated: Tensor

    @property
    def p_permuted(self) -> float:
        return _upper_share(self.permuted, self.measured)

    @property
    def p_rotated(self) -> float:
        return _upper_share(self.rotated, self.measured)


def _upper_share(null: Tensor, measured: float) -> float:
    return (1 + int((null >= measured).sum())) / (1 + len(null))


def block_null(
    z: Tensor, statistic: Callable[[Tensor], float], *, n_blocks: int = 3, n_null: int, seed: int
) -> BlockNull:
    """Null of a block statistic, statistic(y(zP)): P random coordinate permutations, and random rotations (Haar).

    A latent has no lattice, so a finding on contiguous blocks has to beat blocks of permuted coordinates, and one on
    coordinates at all those of rotated codes. A rotation is drawn as the K block vectors it makes, O(n_latent·K²).
    Args: z, codes, (n_samples, n_latent); statistic, of y (n_samples, K) as `coordinate_blocks` returns it; n_null,
        draws of each null. Raises: ValueError for bad codes, number of blocks, or n_null < 1.
    """
    check_codes(z=z)
    if not isinstance(n_null, int) or n_null < 1:
        raise ValueError(f"n_null: want an integer of 1 or more, got {n_null!r}")
    matrix = _block_matrix(z, _blocks(z, n_blocks, None))
    length = torch.linalg.vector_norm(matrix, dim=0)
    generator = torch.Generator().manual_seed(seed)
    permuted, rotated = [], []
    for _ in range(n_null):
        order = torch.randperm(len(matrix), generator=generator).to(z.device)
        permuted.append(float(statistic(_coordinate_blocks(z, matrix[order]))))
        noise = torch.randn(matrix.shape, generator=generator, dtype=torch.float64)
        frame, triangle = torch.linalg.qr(noise)
        frame = frame * triangle.diagonal().sign()  # Haar: the factor with a positive diagonal is unique
        rotated.append(float(statistic(_coordinate_blocks(z, frame.to(z.device) * length))))
    measured = float(statistic(_coordinate_blocks(z, matrix)))
    null = (torch.tensor(values, dtype=torch.float64) for values in (permuted, rotated))
    return BlockNull(measured, *null)
