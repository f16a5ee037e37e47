"""Moments of cos φ_k in one pass over the codes, their gradient in one more: rows live in registers, tails are scans.

Rows are taken class by class, so that a program reads what belongs to its class once. Programs write shares of their
own, which are merged after Chan: no atomics, the same bits every time.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 2048  # numbers of a tile of rows: 16 a thread of four warps, so that a few tiles live in registers
PROGRAMS_EACH = 6  # of a multiprocessor, which holds three at a time
SMALLEST = tl.constexpr(2.0**-126)  # normal float32 number


@triton.jit
def _rows(z_ptr, order_ptr, first, stop, n_latent, ORDERED: tl.constexpr, ROWS: tl.constexpr, LATENT: tl.constexpr):
    """A tile: the rows and which exist [R]; where its codes lie, which exist, and they themselves, else 0 [R, K]."""
    row = first + tl.arange(0, ROWS)
    exists = row < stop
    if ORDERED:
        row = tl.load(order_ptr + row, mask=exists, other=0)
    k = tl.arange(0, LATENT)
    place = row[:, None] * n_latent + k[None, :]
    known = exists[:, None] & (k < n_latent)[None, :]
    return row, exists, place, known, tl.load(z_ptr + place, mask=known, other=0.0).to(tl.float32)


@triton.jit
def _inverse_root(x, over, exists, relative_square, absolute, UNDEFINED: tl.constexpr):
    """1/D_k of x = z·over [R, K], D_k² = S_k + relative²·S_1 + absolute·over²; D = 1 at x = 0 in a row past the last.

    `UNDEFINED`, NaN or 0, where D_k² is under the smallest normal number.
    """
    squares = tl.cumsum(x * x, 1, reverse=True)
    floor = relative_square * tl.sum(x * x, 1) + absolute * over * over
    root = squares + tl.where(exists, floor, 1.0)[:, None]
    return tl.where(root >= SMALLEST, tl.rsqrt(tl.maximum(root, SMALLEST)), UNDEFINED)


@triton.jit
def _moments(
    z_ptr, order_ptr, start_ptr, scale_ptr, mean_ptr, square_ptr, count_ptr, n_latent, relative_square, absolute,
    ORDERED: tl.constexpr, ROWS: tl.constexpr, LATENT: tl.constexpr,
):  # fmt: skip
    """Scale max_k |z_k| of every row; shares of program p in class c: count, mean of cos φ_k, Σ (cos φ_k − mean)².

    Every line of the tile takes its own samples, after Welford, and the lines are merged at the end. Floor: 4·n_latent
    bytes a sample, and about 10·n_latent FLOP with a root among them.
    """
    p, c = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    start, stop = tl.load(start_ptr + c), tl.load(start_ptr + c + 1)
    k = tl.arange(0, LATENT)
    count = tl.zeros([ROWS, 1], tl.float32)
    mean = tl.zeros([ROWS, LATENT], tl.float32)
    square = tl.zeros([ROWS, LATENT], tl.float32)
    for first in range(start + p * ROWS, stop, tl.num_programs(0) * ROWS):
        row, exists, _, _, z = _rows(z_ptr, order_ptr, first, stop, n_latent, ORDERED, ROWS, LATENT)
        scale = tl.max(tl.where(z == z, tl.abs(z), float("inf")), 1)  # tl.max would pass over a NaN
        scale = tl.where(scale > 0, scale, 1.0)
        tl.store(scale_ptr + row, scale, mask=exists)
        x = z * (1.0 / scale)[:, None]
        inverse = _inverse_root(x, 1.0 / scale, exists, relative_square, absolute, float("nan"))
        sample = tl.where(exists, 1.0, 0.0)[:, None]  # 0 past the last: it moves nothing below
        weight = sample / (count + 1.0)
        step = x * inverse - mean
        mean += step * weight
        square += step * step * (weight * count)
        count += sample
    total = tl.sum(count)
    merged = tl.sum(count * mean, 0) / tl.maximum(total, 1.0)
    step = mean - merged[None, :]
    share = (p * tl.num_programs(1) + c) * (n_latent - 1) + k
    tl.store(mean_ptr + share, merged, mask=k < n_latent - 1)
    tl.store(square_ptr + share, tl.sum(square + count * step * step, 0), mask=k < n_latent - 1)
    tl.store(count_ptr + p * tl.num_programs(1) + c, total)


@triton.jit
def _gradient(
    z_ptr, order_ptr, start_ptr, scale_ptr, mean_ptr, of_mean_ptr, of_var_ptr, gradient_ptr, n_latent,
    relative_square, absolute, ORDERED: tl.constexpr, ROWS: tl.constexpr, LATENT: tl.constexpr,
):  # fmt: skip
    """∂/∂z_j = (a_j/D_j − x_j (W_j + relative²·W_{n−1}))/scale, a_k = of_mean + of_var·(cos φ_k − mean).

    W_j = Σ_{k≤j} a_k x_k/D_k³. Floor: 8·n_latent bytes a sample, and about 20·n_latent FLOP with a root among them.
    """
    p, c = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    start, stop = tl.load(start_ptr + c), tl.load(start_ptr + c + 1)
    k = tl.arange(0, LATENT)
    own = c * (n_latent - 1) + k
    mean = tl.load(mean_ptr + own, mask=k < n_latent - 1, other=0.0)[None, :]
    of_mean = tl.load(of_mean_ptr + own, mask=k < n_latent - 1, other=0.0)[None, :]
    of_var = tl.load(of_var_ptr + own, mask=k < n_latent - 1, other=0.0)[None, :]
    for first in range(start + p * ROWS, stop, tl.num_programs(0) * ROWS):
        row, exists, place, known, z = _rows(z_ptr, order_ptr, first, stop, n_latent, ORDERED, ROWS, LATENT)
        over = 1.0 / tl.load(scale_ptr + row, mask=exists, other=1.0)
        x = z * over[:, None]
        inverse = _inverse_root(x, over, exists, relative_square, absolute, 0.0)
        direct = (of_mean + of_var * (x * inverse - mean)) * inverse  # 0 for the last latent, which has no angle
        term = direct * (x * inverse) * inverse
        head = tl.cumsum(term, 1) + relative_square * tl.sum(term, 1)[:, None]
        tl.store(gradient_ptr + place, (direct - x * head) * over[:, None], mask=known)


class KernelMoments(NamedTuple):
    """What the gradient needs of the moments of cos φ_k: the codes again, the rows of each class, and the results."""

    scale: Tensor  # max_k |z_k|, (n_samples, 1)
    z: Tensor  # contiguous, (n_samples, n)
    order: Tensor  # rows class by class, (n_samples,)
    start: Tensor  # where each class begins in it, and the end, (n_classes + 1,)
    count: Tensor  # samples in the class, (n_classes, 1)
    finite: Tensor  # the mean with 0 for NaN, (n_classes, n − 1)
    mean: Tensor  # of cos φ_k, (n_classes, n − 1)
    var: Tensor  # unbiased, (n_classes, n − 1)


def angle_moments(z: Tensor, labels: Tensor | None, n_classes: int, relative: float, absolute: float) -> KernelMoments:
    """Launches `_moments` on codes (n_samples, n) and labels of n_classes or None; the scale of a NaN is infinite."""
    z, n_latent = z.contiguous(), z.shape[1]
    order, start = _class_rows(z, labels, n_classes)
    grid, shape = _launch(z, n_classes)
    shares = (*grid, n_latent - 1)
    mean, square = (torch.empty(shares, dtype=torch.float32, device=z.device) for _ in range(2))
    count = torch.empty((*grid, 1), dtype=torch.float32, device=z.device)
    scale = torch.empty((len(z), 1), dtype=torch.float32, device=z.device)
    with torch.cuda.device_of(z):  # Triton launches on the current device
        _moments[grid](
            z, order, start, scale, mean, square, count, n_latent, relative**2, absolute,
            ORDERED=labels is not None, **shape,
        )  # fmt: skip
    total = count.sum(0)
    merged = (count * mean).sum(0) / total
    # A program without a row of the class has count 0 and mean 0: it adds nothing.
    square = square.sum(0) + (count * (mean - merged).square()).sum(0)
    var = square / (total - 1).clamp(min=0)
    return KernelMoments(scale, z, order, start, total, merged.nan_to_num(), merged, var)


def angle_moments_gradient(
    moments: KernelMoments, labels: Tensor | None, mean_gradient: Tensor, var_gradient: Tensor, relative: float,
    absolute: float,
) -> Tensor:
    """Launches `_gradient`: with respect to z, given those of mean and variance, (n_classes, n − 1) each; float32."""
    scale, z, order, start, count, finite = moments[:6]
    spread = torch.where(count > 1, 2 / (count - 1), 0.0)  # one sample: its deviation is 0, and 0·∞ no gradient
    gradient = torch.empty(z.shape, dtype=torch.float32, device=z.device)
    grid, shape = _launch(z, len(count))
    with torch.cuda.device_of(z):
        _gradient[grid](
            z, order, start, scale, finite, (mean_gradient / count).contiguous(), (var_gradient * spread).contiguous(),
            gradient, z.shape[1], relative**2, absolute, ORDERED=labels is not None, **shape,
        )  # fmt: skip
    return gradient


def _class_rows(z: Tensor, labels: Tensor | None, n_classes: int) -> tuple[Tensor, Tensor]:
    """Rows sorted by class and where each class begins, without asking the GPU for a number."""
    if labels is None:
        return z, torch.arange(2, device=z.device) * len(z)  # the codes stand in for the order: never read
    ordered, order = labels.sort(stable=True)
    return order, torch.searchsorted(ordered, torch.arange(n_classes + 1, device=z.device))


def _launch(z: Tensor, n_classes: int) -> tuple[tuple[int, int], dict[str, int]]:
    """Grid (programs of a class, n_classes) and the shape of a tile: whole rows, few enough for the registers."""
    latent = triton.next_power_of_2(z.shape[1])
    rows = max(1, TILE // latent)
    n_programs = PROGRAMS_EACH
    if z.is_cuda:  # else the interpreter runs them one after the other
        n_programs *= torch.cuda.get_device_properties(z.device).multi_processor_count
    per_class = max(1, min(triton.cdiv(len(z), rows), n_programs // n_classes))
    return (per_class, n_classes), {"ROWS": rows, "LATENT": latent, "num_warps": max(4, latent // 512)}
