"""What an ensemble of VAEs says of data: order parameters, distortion by rank, utilities, scale diagnostics."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from latentlib._reading_sums import PairSums, code_sums, greedy_rank
from latentlib._training import check_counts, floating_data
from latentlib.ensemble import Ensemble

READING_CHUNK = 2**22  # numbers at once of the widest tensor: 32 MB
RANKINGS = ("signal_fraction", "rate", "mean_square", "greedy")


@dataclass(frozen=True)
class EnsembleReading:
    """Readings of every member on data, (n_seeds, n_prices, …), float64; latents by rank, rank[..., k] their index.

    signal_fraction m; rate, KL in nats; mean_square ⟨μ²⟩; scale_drift ρ = ⟨μ²⟩ + ⟨σ²⟩, 1 at the optimum; jensen_gap
    ln⟨σ²⟩ − ⟨ln σ²⟩ ≥ 0, 0 where σ² is the same for all x: (…, n_latent). truncated_mean and truncated_sample, D̂ with
    the first r = 0 … n_latent of them decoded and the rest at 0, by posterior mean and sample: (…, n_latent + 1). D̂ in
    units of the training data's total variance. Source: pruning, Eqs. (12, 13, 17–19, 24).
    """

    prices: Tensor
    rank: Tensor
    signal_fraction: Tensor
    rate: Tensor
    mean_square: Tensor
    scale_drift: Tensor
    jensen_gap: Tensor
    truncated_mean: Tensor
    truncated_sample: Tensor

    @property
    def distortion(self) -> Tensor:
        """D̂ of all latents, by posterior sample."""
        return self.truncated_sample[..., -1]

    @property
    def loss(self) -> Tensor:
        """D̂ + 2T̂R on these data: what decides between two states at one price."""
        return self.distortion + 2 * self.prices * self.rate.sum(-1)

    def n_active(self, above: float = 0.01) -> Tensor:
        """How many latents have a signal fraction above a share, (n_seeds, n_prices)."""
        return (self.signal_fraction > above).sum(-1)

    def utility(self, decode: str = "mean", *, corrected: bool = False) -> Tensor:
        """Utility of each latent U_k = D̂_{k−1} − D̂_k, (…, n_latent), as `collapse.utility_spectrum`, of any decoder.

        corrected: divided by m(2 − m), by sample by m, its excess over the PCA share in a linear VAE; NaN where m = 0.
        Raises: ValueError unless decode is "mean" or "sample".
        """
        if decode not in ("mean", "sample"):
            raise ValueError(f"decode: want 'mean' or 'sample', got {decode!r}")
        utility = -(self.truncated_mean if decode == "mean" else self.truncated_sample).diff(dim=-1)
        m = self.signal_fraction
        return utility / (m * (2 - m) if decode == "mean" else m) if corrected else utility


@torch.no_grad()
def read_ensemble(
    ensemble: Ensemble, x: Tensor, *, rank_by: str = "signal_fraction", n_draws: int = 1, seed: int = 0
) -> EnsembleReading:
    """Readings m = ⟨μ²⟩/(⟨μ²⟩ + ⟨σ²⟩), KL, D̂ by rank, ρ, Jensen gap of every member on data, in float64.

    The noise of z is new to the training; with a linear decoder it is averaged in closed form. rank_by:
    "signal_fraction", "rate" or "mean_square", largest first; "greedy", of a linear decoder: the latent that saves most
    distortion first, then the one that saves most beside it, and so on: forward selection, by posterior mean.
    Args: x (n_samples, n_features), floating, the features of the training; n_draws of z for a sample, seed of these.
    Raises: ValueError for other data, an unknown ranking, a greedy one of a decoder with hidden layers, n_draws < 1.
    """
    check_counts(n_draws=n_draws)
    if rank_by not in RANKINGS:
        raise ValueError(f"rank_by: want {' or '.join(map(repr, RANKINGS))}, got {rank_by!r}")
    if rank_by == "greedy" and len(ensemble.decoder) > 1:
        raise ValueError(f"rank_by: want a linear decoder for 'greedy', got one of {len(ensemble.decoder)} layers")
    x = floating_data("x", x, ensemble.encoder[0][0].device, torch.float64)
    if x.ndim != 2 or x.shape[1] != ensemble.n_features:
        raise ValueError(f"x: want (n_samples, {ensemble.n_features}), got {tuple(x.shape)}")
    double = {half: [(w.double(), b.double()) for w, b in getattr(ensemble, half)] for half in ("encoder", "decoder")}
    ensemble = replace(ensemble, **double)
    widest = max(weight.shape[-1] for weight, _ in [*ensemble.encoder, *ensemble.decoder])
    chunks = x.split(max(1, READING_CHUNK // (widest * len(ensemble.seeds) * len(ensemble.prices))))
    sums, pairs = code_sums(ensemble, chunks)
    mean_square, var, log_var = (part / len(x) for part in sums)
    readings = {
        "signal_fraction": mean_square / (mean_square + var),
        "rate": (mean_square + var - 1 - log_var) / 2,
        "mean_square": mean_square,
        "scale_drift": mean_square + var,
        "jensen_gap": (var.log() - log_var).clamp_min(0),
    }
    if rank_by == "greedy":
        rank = greedy_rank(pairs, ensemble.decoder[0][0])
    else:
        rank = readings[rank_by].argsort(-1, descending=True)
    ranked = {name: values.gather(-1, rank) for name, values in readings.items()}
    if pairs is not None:
        by_mean, by_sample = _linear_truncation(ensemble.decoder[0][0], pairs, rank, var, len(x))
    else:
        by_mean, by_sample = _decoded_truncation(ensemble, chunks, rank, n_draws, seed)
    unit = len(x) * ensemble.total_var
    truncated = {"truncated_mean": by_mean / unit, "truncated_sample": by_sample / unit}
    return EnsembleReading(ensemble.prices.to(rank.device), rank, **ranked, **truncated)


def _linear_truncation(
    weight: Tensor, sums: PairSums, rank: Tensor, var: Tensor, n_samples: int
) -> tuple[Tensor, Tensor]:
    """Σ|x − x̂_r|² of a linear decoder, r = 0 … n_latent: the next latent adds its own change and those with earlier."""
    alone, together = sums.changes(weight)
    together = _ranked(_ranked(together, rank).mT, rank)
    change = alone.gather(-1, rank) + 2 * together.tril(-1).sum(-1)
    noise = n_samples * (weight.square().sum(-1) * var).gather(-1, rank)
    return tuple(torch.cat([sums.collapsed[..., None], step], -1).cumsum(-1) for step in (change, change + noise))


def _ranked(rows: Tensor, rank: Tensor) -> Tensor:
    """Rows (…, n_latent, n) by rank."""
    return rows.gather(-2, rank[..., None].expand_as(rows))


def _decoded_truncation(
    ensemble: Ensemble, chunks: tuple[Tensor, ...], rank: Tensor, n_draws: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Σ|x − x̂_r|² of any decoder: every truncation decoded. All members see the same noise."""
    generator = torch.Generator(rank.device).manual_seed(seed)
    place = rank.argsort(-1)[..., None, :]
    totals = torch.zeros(2, *rank.shape[:2], rank.shape[2] + 1, dtype=torch.float64, device=rank.device)
    for rows in chunks:
        mu, log_var = ensemble.encode(rows)
        for draw in range(n_draws + 1):
            noise = torch.randn(mu.shape[2:], generator=generator, dtype=mu.dtype, device=mu.device) if draw else 0.0
            z, sampled = mu + noise * (0.5 * log_var).exp(), int(draw > 0)
            for n_kept in range(rank.shape[2] + 1):
                error = (rows - ensemble.decode(z * (place < n_kept))).square().sum((-2, -1))
                totals[sampled, ..., n_kept] += error / (n_draws if sampled else 1)
    return totals[0], totals[1]
