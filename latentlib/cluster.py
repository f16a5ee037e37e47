"""Cluster moves of Ising spins at zero field, which decorrelate near the critical temperature; local sweeps do not."""

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from latentlib._spins import STREAM_CLUSTER, check_counter, check_spins, temperatures, word_thresholds
from latentlib.reference.ising import parts, random_words


def swendsen_wang(
    spins: Tensor, temperature: float | Tensor, *, n_sweeps: int, seed: int, first_sweep: int = 0,
    first_point: int = 0, first_replica: int = 0,
) -> Tensor:  # fmt: skip
    """Spins after Swendsen–Wang sweeps: equal neighbours bond with p = 1 − e^{−2/temperature}, clusters toss a coin.

    Source: Swendsen, Wang, Phys. Rev. Lett. 58, 86 (1987). Zero field, any size, odd ones too: a torus of size 2 has
    double bonds. At temperature 0 the clusters are the domains. They are found on the CPU, wherever the spins are.
    Random numbers, arguments and errors as in `ising.sweep_spins`; the coin is that of the cluster's first site.
    Args: spins, (n_points, n_replicas, size, size) int8; temperature ≥ 0, a number or (n_points,).
    Returns: a new tensor. Raises: TypeError, ValueError as there.
    """
    check_spins(spins)
    check_counter(spins, n_sweeps, seed, first_sweep, first_point, first_replica)
    thresholds = word_thresholds(-torch.expm1(-2 / temperatures(temperature, len(spins)))).to(spins.device)
    n_sites = spins.shape[-1] ** 2
    result = spins.flatten(0, 1).clone(memory_format=torch.contiguous_format)
    # Three numbers a site: its bond to the right, its bond downwards, its coin.
    for part in parts(spins.shape[:2], 3 * -(-n_sites // 4), STREAM_CLUSTER + first_point, first_replica, spins.device):
        lattices, threshold = result[part.rows], thresholds[part.row_point, None, None]
        for sweep in range(first_sweep, first_sweep + n_sweeps):
            sweeps = torch.tensor([sweep], device=spins.device)
            numbers = random_words(part, 3, n_sites, sweeps, seed)[0].unflatten(-1, spins.shape[-2:])
            right = (lattices == lattices.roll(-1, 2)) & (numbers[:, 0] < threshold)
            below = (lattices == lattices.roll(-1, 1)) & (numbers[:, 1] < threshold)
            first_site = torch.from_numpy(_first_sites(right.cpu(), below.cpu())).to(spins.device)
            coins = (2 * (numbers[:, 2] >> 31) - 1).to(torch.int8).flatten()
            lattices.copy_(coins[first_site].view(lattices.shape))
    return result.view(spins.shape)


def _first_sites(right: Tensor, below: Tensor) -> np.ndarray:
    """The first site, in memory order, of every site's cluster: one block-diagonal graph of all lattices.

    right, below: (n_lattices, size, size) bool, whether a site is bonded to its neighbour. Returns (n_sites_in_all,).
    """
    site = torch.arange(right.numel(), dtype=torch.int32).view(right.shape)
    bonded = torch.stack([right, below], -1)
    neighbour = torch.stack([site.roll(-1, 2), site.roll(-1, 1)], -1)[bonded]
    row_ends = bonded.flatten(0, 2).sum(1).cumsum(0).to(torch.int32)
    # Rows as scipy wants them, in its own types: it would otherwise spend longer on converting than on searching.
    rows = np.ones(len(neighbour)), neighbour.numpy(), np.concatenate([[0], row_ends.numpy()]).astype(np.int32)
    graph = csr_array(rows, shape=(len(row_ends),) * 2)
    n_clusters, label = connected_components(graph, directed=False)
    first = np.empty(n_clusters, dtype=np.int64)
    first[label[::-1]] = np.arange(len(label))[::-1]  # of several assignments the last one stays
    return first[label]
