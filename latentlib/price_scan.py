"""Warm-started scans over the price, upward and downward: where they differ, collapse has hysteresis."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from latentlib._batched_vae import Layers, coordinates, draw_layers
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
    shake: float = 0.0,
    checkpoint: str | Path | None = None,
    progress: bool = True,
    **settings: object,
) -> PriceScan:
    """Warm-started scans over rising and over falling prices, both and all seeds at once: n_steps a price.

    The first price of either direction starts cold and takes n_first steps (default n_steps). Compare losses, by fresh
    noise, and not rates: where the two directions differ by critical slowing alone the loss of one is still falling.
    Of a deep decoder whose weights have collapsed the saddle is of high order, and a scan downward stays on it far below
    the threshold: a loop of the descent. shake: before every price but the first, that share of a fresh initial draw is
    added to all weights, which a minimum survives and a saddle does not.
    Args: prices T̂ > 0, any order; shake ≥ 0, 0 for none; checkpoint, a folder, a file a stage: a scan that was cut goes on at its stage;
    settings as `fit_ensemble`. Returns: ensembles in rising order of price, with the history of the last windows.
    Raises: as `fit_ensemble`; ValueError for shake < 0.
    """
    from tqdm.auto import tqdm

    rising = torch.as_tensor(prices, dtype=torch.float64).sort().values
    if rising.ndim != 1 or len(rising) == 0:
        raise ValueError(f"prices: want (n_prices > 0,), got {tuple(rising.shape)}")
    if not 0 <= shake < math.inf:
        raise ValueError(f"shake: want a finite number >= 0, got {shake}")
    stages: list[Ensemble] = []
    pairs = torch.stack([rising, rising.flip(0)], 1).tolist()
    for pair in tqdm(pairs, desc="scan_ensemble", unit="price", disable=not progress):
        file = None if checkpoint is None else Path(checkpoint) / f"{len(stages):04d}.pt"
        steps, start = (n_steps, _shaken(stages[-1], x, shake)) if stages else (n_first or n_steps, None)
        stages.append(fit_ensemble(x, pair, start=start, n_steps=steps, checkpoint=file, progress=False, **settings))
    return PriceScan(_joined(stages, 0), _joined(stages[::-1], 1))


def _shaken(stage: Ensemble, x: Tensor, share: float) -> Ensemble:
    """Weights plus a share of fresh initial ones, another draw for every seed and stage; biases as they are."""
    if share == 0:
        return stage
    streams = [np.random.SeedSequence((seed, stage.n_steps, 1)).generate_state(1).item() for seed in stage.seeds]
    generators = [torch.Generator().manual_seed(stream) for stream in streams]  # on the CPU, as an initial draw
    n_prices, halves = len(stage.prices), (stage.encoder, stage.decoder)
    sizes = [(*(weight.shape[-2] for weight, _ in half), half[-1][0].shape[-1]) for half in halves]
    drawn = (draw_layers(of, generators, n_prices, x.dtype) for of in sizes)
    on_device = ([tuple(part.to(x.device) for part in layer) for layer in half] for half in drawn)
    fresh = coordinates(x, whiten=False).outer(*on_device)
    encoder, decoder = (
        [(weight + share * more.view_as(weight).to(weight), bias) for (weight, bias), (more, _) in zip(half, new)]
        for half, new in zip(halves, fresh)
    )
    return replace(stage, encoder=encoder, decoder=decoder)


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
