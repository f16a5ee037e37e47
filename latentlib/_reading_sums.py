"""Sums over samples that a reading of an ensemble is made of; with a linear decoder, all that truncations need."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlib.ensemble import Ensemble


@dataclass(frozen=True)
class PairSums:
    """Of a linear decoder: Σ|x − offset|² (…), Σ μ(x − offset)ᵀ (…, n_latent, n_features), Σ μμᵀ (…, n_latent, n_latent)."""

    collapsed: Tensor
    cross: Tensor
    pairs: Tensor

    def changes(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """What decoding a latent by its mean adds to Σ|x − x̂|²: alone (…, n_latent), and half of it with another."""
        together = (weight @ weight.mT) * self.pairs
        return together.diagonal(dim1=-2, dim2=-1) - 2 * (weight * self.cross).sum(-1), together


def code_sums(ensemble: Ensemble, chunks: Sequence[Tensor]) -> tuple[tuple[Tensor, Tensor, Tensor], PairSums | None]:
    """Σμ², Σσ², Σ ln σ², (n_seeds, n_prices, n_latent) each; pair sums of a linear decoder, else None."""
    linear = len(ensemble.decoder) == 1
    if linear and len(ensemble.encoder) == 1:
        return _of_linear(ensemble, chunks)
    sums, pairs = [], []
    for rows in chunks:
        mu, log_var = ensemble.encode(rows)
        sums.append((mu.square().sum(-2), log_var.exp().sum(-2), log_var.sum(-2)))
        if linear:
            gap = rows - ensemble.decoder[0][1]
            pairs.append((gap.square().sum((-2, -1)), mu.mT @ gap, mu.mT @ mu))
    codes = tuple(sum(part) for part in zip(*sums))
    return codes, PairSums(*(sum(part) for part in zip(*pairs))) if linear else None


def _of_linear(ensemble: Ensemble, chunks: Sequence[Tensor]) -> tuple[tuple[Tensor, Tensor, Tensor], PairSums]:
    """Of a linear encoder too: all but Σσ² from the second moments of y = (x − x̄, 1), whatever the number of members."""
    n_samples = sum(map(len, chunks))
    center = sum(rows.sum(0) for rows in chunks) / n_samples
    weight, bias = ensemble.encoder[0]
    code = torch.cat([weight, bias + center[None] @ weight], -2)  # (…, n_features + 1, 2 n_latent): y to (μ, ln σ²)
    to_mean, to_log_var = code.chunk(2, -1)
    moments, var = 0.0, 0.0
    for rows in chunks:
        y = torch.nn.functional.pad(rows - center, (0, 1), value=1.0)
        moments = moments + y.T @ y
        var = var + (y @ to_log_var.movedim(-2, 0).flatten(1)).exp_().sum(0).reshape(*weight.shape[:2], -1)
    eye = torch.eye(len(center) + 1, len(center), dtype=center.dtype, device=center.device)
    gap = eye + torch.nn.functional.pad(center - ensemble.decoder[0][1], (0, 0, len(center), 0))  # y to x − offset
    pairs = to_mean.mT @ moments @ to_mean
    collapsed = ((moments @ gap) * gap).sum((-2, -1))
    codes = pairs.diagonal(dim1=-2, dim2=-1), var, (moments[-1:] @ to_log_var)[..., 0, :]
    return codes, PairSums(collapsed, to_mean.mT @ moments @ gap, pairs)


def greedy_rank(sums: PairSums, weight: Tensor) -> Tensor:
    """Latents (…, n_latent) in greedy forward order: next the one whose mean, decoded too, saves most distortion."""
    alone, together = sums.changes(weight)
    taken = []
    for _ in range(alone.shape[-1]):
        best = alone.argmin(-1, keepdim=True)
        taken.append(best)
        alone = alone + 2 * together.gather(-2, best[..., None].expand(*best.shape, alone.shape[-1]))[..., 0, :]
        alone = alone.scatter(-1, torch.cat(taken, -1), torch.inf)
    return torch.cat(taken, -1)
