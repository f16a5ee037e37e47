"""Energy and gradient of the spherical p-spin in plain torch: the couplings meet the spins in matrix products."""

import torch
from torch import Tensor

ENTRIES = 2**19  # of an intermediate tensor: more spins at once would fall out of the caches
STRIP = 25  # rows of a symmetric coupling taken together


def energy_and_gradient(s: Tensor, linear: Tensor, couplings: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
    """H = linear·s + Σ_p J_p(s, …, s) and ∇H = linear + Σ_p p·J_p(s, …, s, ·), every J_p symmetric, p ≥ 2.

    s (n_samples, n_spins); linear (n_spins,); couplings {p: (n_spins,)*p}. Returns (n_samples,), (n_samples, n_spins).
    """
    energy, gradient = s @ linear, linear.expand_as(s)
    for p, coupling in couplings.items():
        half = _pairs(s, coupling) if p == 3 else contract(s, coupling, 1)
        energy = energy + (s * half).sum(-1)
        gradient = gradient + p * half
    return energy, gradient


def contract(s: Tensor, coupling: Tensor, n_open: int) -> Tensor:
    """J(s, …, s, ·, …) with n_open ≥ 1 indices left: (n_samples, n_spins, …), 2·n_spins^p FLOP a sample."""
    n_spins = s.shape[-1]
    if coupling.ndim == n_open:
        return coupling.expand(len(s), *coupling.shape)
    rows = max(1, ENTRIES // n_spins ** (coupling.ndim - 1))
    return torch.cat([_contract(block, coupling, n_open) for block in s.split(rows)])


def _contract(s: Tensor, coupling: Tensor, n_open: int) -> Tensor:
    n_samples, n_spins = s.shape
    product = s @ coupling.reshape(n_spins, -1)
    for _ in range(coupling.ndim - 1 - n_open):
        product = (s[:, None] @ product.unflatten(1, (n_spins, -1)))[:, 0]
    return product.reshape(n_samples, *[n_spins] * n_open)


def _pairs(s: Tensor, coupling: Tensor) -> Tensor:
    """Σ_jk J_ijk s_j s_k with every pair j < k taken once: n_spins²·(n_spins + STRIP) FLOP a sample."""
    n_spins = s.shape[-1]
    strips = [slice(first, first + STRIP) for first in range(0, n_spins, STRIP)]
    blocks = []
    for block in s.split(max(1, ENTRIES // (STRIP * n_spins))):
        total = torch.zeros_like(block)
        for strip in strips:
            # k in the strip is met by j in it, in both orders, and by j past it in one: those count twice.
            right = torch.cat([block[:, strip], 2 * block[:, strip.stop :]], 1)
            product = right @ coupling[strip.start :, strip].flatten(1)  # [n_samples, k·i]
            total = total + (block[:, None, strip] @ product.unflatten(1, (-1, n_spins)))[:, 0]
        blocks.append(total)
    return torch.cat(blocks)
