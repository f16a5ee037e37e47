"""A training of many VAEs in progress: what a checkpoint has to hold, and how to move it on by a window of steps."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentlib import _training
from latentlib._batched_vae import Layers, integrated_loss, sampled_loss
from latentlib._vae import activation_layer
from latentlib.train import RECORD_EVERY, SCHEDULES


class EnsembleTraining:
    """Adam on all members at once; data (n_samples, n_inner) and layers are those of the inner coordinates."""

    def __init__(
        self, data: Tensor, share: Tensor, prices: Tensor, layers: tuple[Layers, Layers], settings: dict, n_before: int
    ) -> None:
        self.data, self.share, self.settings = data, share.to(data.dtype), settings
        self.prices = prices.to(data).repeat(len(settings["seeds"]))
        own = ([tuple(_own(part, data.device) for part in pair) for pair in half] for half in layers)
        self.encoder, self.decoder = own
        self.parameters = [part for layer in [*self.encoder, *self.decoder] for part in layer]
        self.adam = _training.Adam(self.parameters)
        # A stage of a warm-started scan must not see the noise of the stage before it again.
        streams = [np.random.SeedSequence((seed, n_before)).generate_state(1).item() for seed in settings["seeds"]]
        self.generators = [torch.Generator(data.device).manual_seed(stream) for stream in streams]
        self.activation = activation_layer(settings["activation"])
        self.integrated = settings["noise"] == "integrated" and len(self.decoder) == 1
        self.windows: list[Tensor] = []  # (2, n_members) each: distortion, rate
        self.step = 0

    @property
    def losses(self) -> Tensor:
        """D̂ + 2T̂R of every window so far, (n_windows, n_members)."""
        distortion, rate = torch.stack(self.windows, 1)
        return distortion + 2 * self.prices * rate

    @property
    def stopped(self) -> bool:
        """Whether every member has gone without a new lowest window for patience·n_steps steps."""
        if self.settings["patience"] is None or not self.windows:
            return False
        wait = math.ceil(self.settings["patience"] * self.settings["n_steps"] / RECORD_EVERY)
        return bool((len(self.windows) - 1 - self.losses.argmin(0) >= wait).all())

    @property
    def finished(self) -> bool:
        return self.step == self.settings["n_steps"] or self.stopped

    def advance(self) -> None:
        """A window of steps. The losses stay on the device until its end, where they are looked at together."""
        start, end = self.step, min(self.settings["n_steps"], self.step + RECORD_EVERY)
        total = torch.zeros(2, len(self.prices), dtype=self.data.dtype, device=self.data.device)
        for step in range(start, end):
            distortion, rate = self._loss()
            objective = (distortion / (2 * self._prices(step)) + rate).sum()
            self.adam.descend(torch.autograd.grad(objective, self.parameters), self._learning_rate(step))
            total += torch.stack((distortion.detach(), rate.detach()))
        self.windows.append(total / (end - start))
        self.step = end
        if not self.windows[-1].isfinite().all():
            raise self._diverged(start + 1)

    def _loss(self) -> tuple[Tensor, Tensor]:
        n_batch, where = self.settings["batch_size"], self.data.device
        rows = [torch.randint(len(self.data), (n_batch,), generator=g, device=where) for g in self.generators]
        batch = self.data.index_select(0, torch.cat(rows)).unflatten(0, (len(rows), n_batch))
        network = self.encoder, self.decoder, self.activation, batch, self.share
        if self.integrated:
            return integrated_loss(*network)
        shape = n_batch, self.decoder[0][0].shape[1]
        drawn = [torch.randn(shape, generator=g, dtype=self.data.dtype, device=where) for g in self.generators]
        return sampled_loss(*network, torch.stack(drawn))

    def _prices(self, step: int) -> Tensor:
        """From 1, where all is collapsed, to the member's own, geometrically, over the first `anneal` of the steps."""
        n_anneal = self.settings["anneal"] * self.settings["n_steps"]
        return self.prices ** (step / n_anneal) if step < n_anneal else self.prices

    def _learning_rate(self, step: int) -> float:
        return self.settings["learning_rate"] * SCHEDULES[self.settings["schedule"]](step / self.settings["n_steps"])

    def _diverged(self, first: int) -> FloatingPointError:
        bad = (~self.windows[-1].isfinite().all(0)).nonzero().flatten().tolist()
        n_prices = len(self.settings["prices"])
        members = [(self.settings["prices"][i % n_prices], self.settings["seeds"][i // n_prices]) for i in bad]
        named = ", ".join(f"price {price:.4g} of seed {seed}" for price, seed in members[:3])
        return FloatingPointError(
            f"fit_ensemble: want finite losses, got others in steps {first} to {self.step} at {len(bad)} of "
            f"{len(self.prices)} members: {named}{', …' if len(bad) > 3 else ''}; lower learning_rate, or standardize x"
        )

    def save(self, path: Path, identity: dict) -> None:
        content = {
            "step": self.step, "parameters": [p.detach() for p in self.parameters], "adam": self.adam.state(),
            "generators": [g.get_state() for g in self.generators], "windows": self.windows,
        }  # fmt: skip
        _training.write_checkpoint(path, identity, content)

    @torch.no_grad()
    def restore(self, path: Path, identity: dict) -> None:
        keys = {"parameters", "adam", "generators", "windows"}
        content = _training.read_checkpoint(path, "fit_ensemble", identity, keys)
        for parameter, value in zip(self.parameters, content["parameters"], strict=True):
            parameter.copy_(value)
        self.adam.load(content["adam"])
        for generator, state in zip(self.generators, content["generators"], strict=True):
            generator.set_state(state)
        self.windows = [window.to(self.data.device) for window in content["windows"]]
        self.step = content["step"]


def _own(part: Tensor, device: torch.device) -> Tensor:
    """A parameter that shares no memory with a start, in the order in which Adam reads it."""
    return part.detach().to(device).clone(memory_format=torch.contiguous_format).requires_grad_()
