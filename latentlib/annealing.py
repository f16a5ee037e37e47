"""Population annealing: Gibbs replicas where single chains freeze, with the free energy and a measure of their kinship."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlib._tangent import starting_points
from latentlib.landscape import Landscape
from latentlib.langevin import gibbs_replicas


@dataclass(frozen=True)
class AnnealedReplicas:
    """A population at the last temperature: made by `anneal_replicas`.

    family_size ρ = n·Σ_f π_f², π_f the share that descends from ancestor f of the uniform start: 1 for a population of
    independent draws, n for one family. The estimates are as good as about n/ρ independent runs make them.
    """

    z: Tensor  # (n_replicas, n_latent)
    energy: Tensor  # (n_replicas,)
    energy_mean: Tensor  # (n_temperatures,) over the population at every temperature
    log_partition: Tensor  # (n_temperatures,) ln ∫ e^{−H/temperature} over the uniform sphere
    family_size: float


def anneal_replicas(
    landscape: Landscape, temperatures: Sequence[float], *, n_replicas: int, n_steps: int, seed: int
) -> AnnealedReplicas:
    """Gibbs replicas by population annealing: uniform points, then at each temperature resampling and Langevin steps.

    From inverse temperature b to b′ point i is copied in proportion to w_i = e^{−(b′−b)H_i} (systematic resampling),
    and ln Z gains ln ⟨w⟩, whose exponential is unbiased; then n_steps of `langevin.gibbs_replicas` spread the copies.
    Consistent for a large population at any n_steps: basins are populated by their weight, over which a single chain cannot
    climb. Source: Hukushima, Iba 2003; Machta, Phys. Rev. E 82, 026704 (2010).
    Args: landscape, see `landscape.Landscape`; temperatures > 0, falling, the first so high that uniform points serve;
        n_replicas ≥ 2; n_steps ≥ 1 at each temperature. Returns: AnnealedReplicas, deterministic in seed.
    Raises: ValueError for temperatures that do not fall, counts or a seed out of range.
    """
    temperatures = [float(temperature) for temperature in temperatures]
    falling = all(hot > cold > 0 for hot, cold in zip([math.inf, *temperatures], temperatures))
    if not temperatures or not falling:
        raise ValueError(f"temperatures: want falling ones > 0, got {temperatures}")
    if n_replicas < 2:
        raise ValueError(f"n_replicas: want 2 or more, got {n_replicas}")
    z = starting_points(landscape, n_replicas, seed, None)
    generator = torch.Generator().manual_seed(seed)
    energy, family = landscape.energy(z), torch.arange(n_replicas)
    inv_temp, log_partition, gained, means = 0.0, 0.0, [], []
    for number, temperature in enumerate(temperatures):
        log_weight = -(1 / temperature - inv_temp) * energy.double().cpu()
        log_partition += (torch.logsumexp(log_weight, 0) - math.log(n_replicas)).item()
        parent = _systematic(torch.softmax(log_weight, 0), generator)
        inv_temp, family = 1 / temperature, family[parent]
        chains = gibbs_replicas(
            landscape, temperature, starts=z[parent.to(z.device)], n_steps=n_steps, seed=seed + number + 1
        )
        z, energy = chains.z, chains.energy
        gained.append(log_partition), means.append(energy.mean().item())
    share = family.bincount(minlength=n_replicas).double() / n_replicas
    energy_mean, log_partitions = (torch.tensor(values, dtype=torch.float64) for values in (means, gained))
    return AnnealedReplicas(z, energy, energy_mean, log_partitions, n_replicas * share.square().sum().item())


def _systematic(probability: Tensor, generator: torch.Generator) -> Tensor:
    """n indices, each i ⌊n p_i⌋ or ⌈n p_i⌉ times, n·p_i on average: one uniform number for all."""
    n = len(probability)
    position = (torch.arange(n) + torch.rand((), generator=generator, dtype=torch.float64)) / n
    return torch.searchsorted(probability.cumsum(0), position).clamp_max(n - 1)
