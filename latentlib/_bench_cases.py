"""What `bench` times: each concept beside a baseline and its least FLOPs and bytes, at some sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentlib import angles, ensemble, ising, minima, models, neighbors, overlap, pspin, train
from latentlib.landscape import sphere_points
from latentlib.reference.overlap import overlap_tiles


@dataclass(frozen=True)
class Case:
    """One size of one concept, whose shape it is:

    overlap, angles (n_samples, n_latent), ising (n_replicas, size), pspin (n_samples, n_spins),
    minima (n_starts, n_spins), neighbors (n_queries, n_bank, n_latent),
    ensemble (n_prices, n_steps, batch_size, n_features, n_latent).
    """

    name: str
    kernel: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True)
class Concept:
    """What is timed: run(inputs, impl) against baseline(inputs), and the least FLOPs and bytes of a shape."""

    inputs: Callable[[Case, torch.device], Any]
    run: Callable[[Any, str], object]
    baseline: Callable[[Any], object]
    n_flops: Callable[[Sequence[int]], float]
    n_bytes: Callable[[Sequence[int], int], float]
    has_kernel: bool = True  # False: plain torch on every device


# overlap: the histogram of all pairs, beside the bare products of its tiles

N_BINS = 200


def _codes(case: Case, device: torch.device) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(case.shape, generator=generator).to(device, getattr(torch, case.dtype))


def _bare_tiles(z: Tensor) -> None:
    for _ in overlap_tiles(z, None):
        pass


# ising: heat-bath sweeps of all replicas at once, beside a loop over them in NumPy

N_SWEEPS = 10
NEAR_CRITICAL = 2.27


def _lattices(case: Case, device: torch.device) -> Tensor:
    return ising.random_spins(1, *case.shape, seed=0, device=str(device))


def _sweeps_one_by_one(spins: Tensor) -> None:
    """The same sweeps as one writes them first: a lattice at a time, np.roll, PCG64, one number a site and sweep."""
    generator = np.random.default_rng(0)
    size = spins.shape[-1]
    colour = np.indices((size, size)).sum(0) % 2
    for lattice in spins[0].cpu().numpy():
        for _ in range(N_SWEEPS):
            numbers = generator.random((size, size))
            for updated in (0, 1):
                total = sum(np.roll(lattice, shift, axis) for axis in (0, 1) for shift in (1, -1))
                up = numbers < 1 / (1 + np.exp(-2 * total / NEAR_CRITICAL))
                lattice = np.where(colour == updated, np.where(up, 1, -1), lattice)


# pspin: energy and gradient for p = 3, beside the product of all s_j s_k, j ≤ k, already multiplied, with the couplings


def _pspin(case: Case, device: torch.device) -> tuple[pspin.PSpin, Tensor, Tensor, Tensor]:
    system = pspin.draw_pspin({3: 1.0}, case.shape[1], seed=0).to(device, getattr(torch, case.dtype))
    s = _codes(case, device)
    j, k = torch.triu_indices(case.shape[1], case.shape[1], device=device)
    return system, s, s[:, j] * s[:, k], system.couplings[3][j, k]


# minima: the minima of a p = 3 system from many starts at once, beside one start after another

TOLERANCE = 1e-10
DESCENT_STEPS = {(512, 100): 10}  # where the descents of the baseline are cut short: its time is then a lower bound


def _starts(case: Case, device: torch.device) -> tuple[pspin.PSpin, Tensor]:
    n_starts, n_spins = case.shape
    system = pspin.draw_pspin({3: 1.0}, n_spins, seed=0, dtype=getattr(torch, case.dtype)).to(device)
    return system, sphere_points(n_starts, n_spins, seed=1, dtype=system.field.dtype, device=device)


def _one_start_at_a_time(inputs: tuple[pspin.PSpin, Tensor]) -> None:
    """Projected gradient descent with backtracking, as one writes it first: to the tolerance or the rounding of H."""
    system, starts = inputs
    radius, scale = starts.shape[1] ** 0.5, system.gradient(starts).square().sum(1).mean().sqrt()
    for z in starts:
        length = 0.1
        energy, gradient = system.energy_and_gradient(z)
        for _ in range(DESCENT_STEPS.get(tuple(starts.shape), 10**6)):
            gradient = gradient - (z @ gradient) / radius**2 * z
            if gradient.norm() <= TOLERANCE * scale or length < TOLERANCE:
                break
            trial = z - length * gradient
            trial = trial * (radius / trial.norm())
            energy_new, gradient_new = system.energy_and_gradient(trial)
            if energy_new < energy:
                z, energy, gradient, length = trial, energy_new, gradient_new, 1.2 * length
            else:
                length = 0.5 * length


# angles: mean and variance of the cosines and their gradient, beside cumulative sums left to autograd


def _angle_gradient(z: Tensor, impl: str) -> Tensor:
    found = angles.angle_statistics(z, eps="published", impl=impl)
    return torch.autograd.grad(found.mean.sum() + found.var.sum(), z)[0]


def _angle_gradient_by_autograd(z: Tensor) -> Tensor:
    suffix = z.square().flip(1).cumsum(1).flip(1)[:, :-1]
    cosine = z[:, :-1] / (suffix + angles.PUBLISHED_EPS).sqrt()
    return torch.autograd.grad(cosine.mean(0).sum() + cosine.var(0).sum(), z)[0]


# neighbors: the three nearest of a bank, beside all distances of a thousand queries at a time and their topk

N_NEIGHBORS = 3


def _query_and_bank(case: Case, device: torch.device) -> tuple[Tensor, Tensor]:
    n_queries, n_bank, n_latent = case.shape
    both = Case(case.name, case.kernel, (n_queries + n_bank, n_latent), case.dtype)
    return _codes(both, device).split((n_queries, n_bank))


def _topk_of_all(inputs: tuple[Tensor, Tensor]) -> None:
    query, bank = inputs
    for rows in query.split(1000):
        torch.cdist(rows, bank).topk(N_NEIGHBORS, largest=False)


# ensemble: linear VAEs at all prices at once, beside the same trainings one after another


def _scan(case: Case, device: torch.device) -> tuple[Tensor, Tensor, dict]:
    n_prices, n_steps, batch_size, n_features, n_latent = case.shape
    x = _codes(Case(case.name, case.kernel, (64 * batch_size, n_features), case.dtype), device)
    training = {"n_steps": n_steps, "batch_size": batch_size, "learning_rate": 1e-3, "progress": False}
    return x, torch.logspace(-5, 0, n_prices, dtype=torch.float64), training | {"n_latent": n_latent}


def _one_price_at_a_time(inputs: tuple[Tensor, Tensor, dict]) -> None:
    x, prices, training = inputs
    sizes = x.shape[1], training["n_latent"]
    training = {name: value for name, value in training.items() if name != "n_latent"} | {"device": str(x.device)}
    for price in prices.tolist():
        train.fit(models.LinearVAE(*sizes, log_var="affine").to(x.device), x, kl_weight=price * sizes[0], **training)


CONCEPTS = {
    # Two FLOPs a latent and pair; the codes in, the counts out.
    "overlap": Concept(
        inputs=_codes,
        run=lambda z, impl: overlap.overlap_histogram(z, n_bins=N_BINS, impl=impl),
        baseline=_bare_tiles,
        n_flops=lambda shape: shape[0] * (shape[0] - 1) * shape[1],
        n_bytes=lambda shape, itemsize: shape[0] * shape[1] * itemsize + 8 * N_BINS,
    ),
    # Ten rounds of Philox, six operations on two words each, make four numbers: 15 a site, and 6 for its update. Of the
    # bytes, each colour reads the whole lattice and writes its half.
    "ising": Concept(
        inputs=_lattices,
        run=lambda spins, impl: ising.sweep_spins(spins, NEAR_CRITICAL, n_sweeps=N_SWEEPS, seed=0, impl=impl),
        baseline=_sweeps_one_by_one,
        n_flops=lambda shape: 21 * N_SWEEPS * shape[0] * shape[1] ** 2,
        n_bytes=lambda shape, itemsize: 3 * N_SWEEPS * shape[0] * shape[1] ** 2 * itemsize,
    ),
    # The least is a product a pair j ≤ k and i; the couplings j ≤ k and the spins in, energy and gradient out.
    "pspin": Concept(
        inputs=_pspin,
        run=lambda inputs, impl: inputs[0].energy_and_gradient(inputs[1], impl=impl),
        baseline=lambda inputs: inputs[2] @ inputs[3],
        n_flops=lambda shape: shape[0] * shape[1] ** 2 * (shape[1] + 1),
        n_bytes=lambda shape, itemsize: itemsize * (shape[1] ** 2 * (shape[1] + 1) / 2 + shape[0] * (2 * shape[1] + 1)),
    ),
    # The least is one energy and gradient a start, that of a start at a minimum; the couplings in once, the points out.
    "minima": Concept(
        inputs=_starts,
        run=lambda inputs, impl: minima.count_minima(inputs[0], starts=inputs[1], tolerance=TOLERANCE),
        baseline=_one_start_at_a_time,
        n_flops=lambda shape: shape[0] * shape[1] ** 2 * (shape[1] + 1),
        n_bytes=lambda shape, itemsize: itemsize * (shape[1] ** 2 * (shape[1] + 1) / 2 + 2 * shape[0] * shape[1]),
        has_kernel=False,
    ),
    # About thirty operations a latent; the codes in twice, forward and backward, and their gradient out.
    "angles": Concept(
        inputs=lambda case, device: _codes(case, device).requires_grad_(),
        run=_angle_gradient,
        baseline=_angle_gradient_by_autograd,
        n_flops=lambda shape: 30 * shape[0] * shape[1],
        n_bytes=lambda shape, itemsize: 3 * shape[0] * shape[1] * itemsize,
    ),
    # Two FLOPs a latent and pair; the codes in, a distance and an index a neighbor out.
    "neighbors": Concept(
        inputs=_query_and_bank,
        run=lambda inputs, impl: neighbors.nearest_neighbors(*inputs, N_NEIGHBORS, impl=impl),
        baseline=_topk_of_all,
        n_flops=lambda shape: 2 * shape[0] * shape[1] * shape[2],
        n_bytes=lambda shape, itemsize: (shape[0] + shape[1]) * shape[2] * itemsize + 12 * N_NEIGHBORS * shape[0],
    ),
    # The least is that of the variances, which no moments of a batch replace: two FLOPs a feature and latent, forward and
    # backward. The weights, their gradients and Adam's two moments in and out at every step.
    "ensemble": Concept(
        inputs=_scan,
        run=lambda inputs, impl: ensemble.fit_ensemble(*inputs[:2], device=str(inputs[0].device), **inputs[2]),
        baseline=_one_price_at_a_time,
        n_flops=lambda shape: 4 * shape[0] * shape[1] * shape[2] * shape[3] * shape[4],
        n_bytes=lambda shape, itemsize: 7 * 3 * shape[0] * shape[1] * shape[3] * shape[4] * itemsize,
        has_kernel=False,
    ),
}
CASES = (
    Case("overlap", "overlap", (20_000, 128)),
    Case("overlap-short", "overlap", (20_000, 12)),
    Case("overlap-small", "overlap", (2_000, 128)),
    Case("ising", "ising", (256, 16), "int8"),
    Case("ising-32", "ising", (256, 32), "int8"),
    Case("ising-64", "ising", (64, 64), "int8"),
    Case("pspin", "pspin", (512, 100)),
    Case("pspin-64", "pspin", (512, 64)),
    Case("minima", "minima", (512, 100), "float64"),
    Case("minima-small", "minima", (8, 20), "float64"),
    Case("angles", "angles", (65_536, 512)),
    Case("angles-256", "angles", (200, 256)),
    Case("angles-800", "angles", (200, 800)),
    Case("angles-4096", "angles", (200, 4096)),
    Case("neighbors", "neighbors", (10_000, 50_000, 128)),
    Case("neighbors-small", "neighbors", (1_000, 5_000, 16)),
    Case("ensemble", "ensemble", (64, 50, 256, 19, 32)),
    Case("ensemble-small", "ensemble", (4, 20, 64, 5, 3)),
)
