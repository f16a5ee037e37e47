"""Warm-started scans over the price, upward and downward: where they differ, collapse has hysteresis."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from latentlib._batched_vae import Layers
from latentlib.ensemble import Ensemble, fit_ensemble


class PriceScan(NamedTuple):
    """The same prices visited upward and downward, each member started from its neighbor: loops are hysteresis."""

    up: Ensemble
    down: Ensemble


def scan_ensemble(
    x: Tensor,
    prices: Tensor | Sequence[float],
    *,
    n_steps: int,
    n_first: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    **settings: object,
) -> PriceScan:
    """Warm-started scans over rising and over falling prices, both and all seeds at once: n_steps a price.

    The first price of either direction starts cold and takes n_first steps (default n_steps). Compare losses, by fresh
    noise, and not rates: where the two directions differ by critical slowing alone the loss of one is still falling.
    Args: prices T̂ > 0, any order; checkpoint, a folder, a file a stage: a scan that was cut goes on at its stage;
    settings as `fit_ensemble`. Returns: ensembles in rising order of price, with the history of the last windows.
    Raises: as `fit_ensemble`.
    """
    from tqdm.auto import tqdm

    rising = torch.as_tensor(prices, dtype=torch.float64).sort().values
    if rising.ndim != 1 or len(rising) == 0:
        raise ValueError(f"prices: want (n_prices > 0,), got {tuple(rising.shape)}")
    stages: list[Ensemble] = []
    pairs = torch.stack([rising, rising.flip(0)], 1).tolist()
    for pair in tqdm(pairs, desc="scan_ensemble", unit="price", disable=not progress):
        file = None if checkpoint is None else Path(checkpoint) / f"{len(stages):04d}.pt"
        steps, start = (n_steps, stages[-1]) if stages else (n_first or n_steps, None)
        stages.append(fit_ensemble(x, pair, start=start, n_steps=steps, checkpoint=file, progress=False, **settings))
    return PriceScan(_joined(stages, 0), _joined(stages[::-1], 1))


def _joined(stages: list[Ensemble], column: int) -> Ensemble:
    """One price of every stage."""
    n_windows = min(stage.history["loss"].shape[-1] for stage in stages)

    def join(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([part[:, column : column + 1] for part in parts], 1)

    def layers(halves: list[Layers]) -> Layers:
        return [(join(weights), join(biases)) for weights, biases in (zip(*same) for same in zip(*halves))]

    return replace(
        max(stages, key=lambda stage: stage.n_steps),
        prices=torch.stack([stage.prices[column] for stage in stages]),
        encoder=layers([stage.encoder for stage in stages]),
        decoder=layers([stage.decoder for stage in stages]),
        history={name: join([stage.history[name][..., -n_windows:] for stage in stages]) for name in stages[0].history},
    )
