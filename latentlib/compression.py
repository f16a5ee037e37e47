"""Training along compression strength: the published schedule, with the standard VAE under the same trainer and budget.

    result = compression.fit_compressed(model, x, preset="ijcnn2025", kl_weight=100.0, n_epochs=300, flips=True, seed=0)
    result.history["rms_percent"]                   # one value per epoch

The encoder descends .001 (MSE_sum + β A(epoch) KL), the decoder .001 MSE_sum, MSE_sum = ⟨|x − x̂|²⟩ per sample.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentlib import _backend, _training, hyperspherical
from latentlib._vae import VAE

LOSS_SCALE = 1e-3
MILESTONES, DECAY = (280, 450), 0.5  # epochs at which the learning rate is halved
KL_FLOOR = 1e-3  # added to ⟨KL⟩ where it divides
ANNEALING = ("published", "constant")


@dataclass(frozen=True)
class CompressionResult:
    """What a training did. The trained weights are in the model, which is left in `.eval()`.

    history, one value per epoch: mse_sum = ⟨|x − x̂|²⟩ and kl, averages over the batches of the epoch; rms_percent;
    kl_weight, the β in force; gain, A(epoch); learning_rate; the terms of the hyperspherical loss; what `record` gave.
    """

    history: dict[str, np.ndarray]
    n_epochs: int
    n_steps: int


def fit_compressed(
    model: VAE, x: Tensor, *,
    labels: Tensor | None = None, preset: str = "standard", direction: str | None = None, field: float = 1.0,
    angles: Tensor | None = None, kl_weight: float, anneal: str = "published", auto_tune: bool = True,
    separate_steps: bool = True, n_epochs: int, batch_size: int = 200, learning_rate: float = 2e-4, flips: bool = False,
    seed: int = 0, record: Callable[[VAE, int], dict[str, float]] | None = None,
    checkpoint: str | Path | None = None, progress: bool = True, device: str | None = None, **loss_options: object,
) -> CompressionResult:
    """Minimise MSE_sum + β A(epoch) KL by Adam in epochs of shuffled whole batches; changes `model` in place.

    preset: `standard`, the plain VAE, z = μ + σε, KL the mean over latents; or one of `hyperspherical_loss`, which also
    gets direction, field, angles, labels and loss_options, with z = √n u/‖u‖, u = μ + σε.
    β: with auto_tune 1 in epoch 0, then kl_weight·⟨MSE_sum⟩/(⟨KL⟩ + .001) of epoch 0: kl_weight is the first ratio of
    the terms; else kl_weight throughout. anneal: A of `anneal_gain` (`published`; `standard`: 1), or 1 (`constant`).
    separate_steps: the decoder descends in a second pass through it at the same z, as published. That is the joint
    gradient, since the KL does not depend on the decoder; a BatchNorm in it sees the batch twice. False takes one pass.
    The learning rate halves at epochs 280 and 450; `flips` mirrors each image with probability ½; the rows that do not
    fill a batch are left out of an epoch. `record(model, epoch)` is called after each, in `.eval()`, without gradients.
    `checkpoint` is a file, written whole after each epoch; if it is there the training goes on from it, to the bits of
    an uninterrupted one on the same device type, versions and number of threads; n_epochs may have grown.
    Args: x (n, *sample_shape), floating; labels (n,), whole numbers from 0; seed of order, flips and noise.
    Raises: ValueError for an argument out of range, or a checkpoint of another run, naming what differs;
    FloatingPointError, naming epoch and step, once the loss is not finite.
    """
    from tqdm.auto import tqdm

    kl_weight, learning_rate = float(kl_weight), float(learning_rate)
    _training.check_counts(n_epochs=n_epochs, batch_size=batch_size)
    _training.check_weight(kl_weight)
    _training.check_positive(learning_rate=learning_rate)
    _check_choices(model, preset, anneal, flips, loss_options)
    chosen = _backend.device(device)
    model.to(chosen)
    x = _training.floating_data("x", x, chosen, next(model.parameters()).dtype)
    if batch_size > len(x):
        raise ValueError(f"batch_size: want at most the {len(x)} samples of x, got {batch_size}")
    labels, n_classes = _classes(labels, len(x), chosen)
    angles = angles.to(chosen) if isinstance(angles, Tensor) else angles
    loss = {"preset": preset, "direction": direction, "field": field, "angles": angles} | loss_options
    steps = {"anneal": anneal, "auto_tune": auto_tune, "separate_steps": separate_steps, "flips": flips}
    numbers = {"kl_weight": kl_weight, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    run = _Run(model, x, labels, loss | {"n_classes": n_classes}, steps | numbers)
    if checkpoint is not None and Path(checkpoint).is_file():
        run.restore(Path(checkpoint), n_epochs)
    with tqdm(total=n_epochs, initial=run.epoch, desc="fit_compressed", unit="epoch", disable=not progress) as bar:
        while run.epoch < n_epochs:
            run.advance(record)
            if checkpoint is not None:
                run.save(Path(checkpoint))
            bar.update()
    model.eval()
    return run.result()


class _Run:
    """A training in progress: everything that a checkpoint has to hold, and how to move it on by an epoch."""

    def __init__(self, model: VAE, x: Tensor, labels: Tensor | None, loss: dict, settings: dict) -> None:
        self.model, self.x, self.labels, self.loss, self.settings = model, x, labels, loss, settings
        self.decoder = [p for p in model.decoder.parameters() if p.requires_grad]
        own = {id(p) for p in self.decoder}
        self.encoder = [p for p in model.parameters() if p.requires_grad and id(p) not in own]
        groups = [self.encoder, self.decoder] if settings["separate_steps"] else [self.encoder + self.decoder]
        self.adams = [_training.Adam(group) for group in groups]
        self.generator = torch.Generator(x.device).manual_seed(settings["seed"])
        self.weight = 1.0 if settings["auto_tune"] else settings["kl_weight"]
        self.n_batches = len(x) // settings["batch_size"]
        self.epoch = 0
        self.rows: list[dict[str, float]] = []

    def advance(self, record: Callable[[VAE, int], dict[str, float]] | None) -> None:
        """One epoch. The losses stay on the device until its end, where they are looked at together."""
        self.model.train()
        gain, learning_rate = self._gain(), self._learning_rate()
        order = torch.randperm(len(self.x), generator=self.generator, device=self.x.device)
        measured: list[dict[str, Tensor]] = []
        for rows in order.split(self.settings["batch_size"])[: self.n_batches]:
            measured.append(self._step(rows, gain, learning_rate, measured))
        table = torch.stack([torch.stack(list(terms.values())) for terms in measured]).double().cpu()
        if not table.isfinite().all():
            raise self._diverged(measured)
        row = dict(zip(measured[0], table.mean(0).tolist(), strict=True))
        row["rms_percent"] = 100 * math.sqrt(row["mse_sum"] / math.prod(self.model.sample_shape))
        row |= {"kl_weight": self.weight, "gain": gain, "learning_rate": learning_rate}
        if self.settings["auto_tune"] and self.epoch == 0:
            self.weight = self.settings["kl_weight"] * row["mse_sum"] / (row["kl"] + KL_FLOOR)
        self.rows.append(row | self._recorded(record, row))
        self.epoch += 1

    def _step(self, rows: Tensor, gain: float, learning_rate: float, measured: list) -> dict[str, Tensor]:
        batch = self._batch(rows)
        mu, log_var = self.model.encode(batch)
        try:
            kl, terms = self._kl(mu, log_var, rows)
        except ValueError as error:
            if mu.isfinite().all() and log_var.isfinite().all():
                raise
            raise self._diverged(measured) from error  # the loss refuses codes that are not finite
        z = self._codes(mu, log_var)
        mse_sum = self._mse_sum(batch, z)
        loss = LOSS_SCALE * (mse_sum + self.weight * gain * kl)
        if self.settings["separate_steps"]:
            self.adams[0].descend(torch.autograd.grad(loss, self.encoder), learning_rate)
            again = LOSS_SCALE * self._mse_sum(batch, z.detach())
            self.adams[1].descend(torch.autograd.grad(again, self.decoder), learning_rate)
        else:
            self.adams[0].descend(torch.autograd.grad(loss, self.encoder + self.decoder), learning_rate)
        return {"mse_sum": mse_sum.detach(), "kl": kl.detach()} | terms

    def _batch(self, rows: Tensor) -> Tensor:
        batch = self.x.index_select(0, rows)
        if not self.settings["flips"]:
            return batch
        mirrored = torch.rand(len(rows), generator=self.generator, device=rows.device) < 0.5
        return torch.where(mirrored[:, None, None, None], batch.flip(-1), batch)

    def _kl(self, mu: Tensor, log_var: Tensor, rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The raw KL, and its terms for the history."""
        if self.loss["preset"] == "standard":
            return hyperspherical.baseline_kl(mu, log_var), {}
        labels = None if self.labels is None else self.labels.index_select(0, rows)
        loss = hyperspherical.hyperspherical_loss(mu, log_var, labels=labels, epoch=self.epoch, **self.loss)
        scalars = {name: value for name, value in vars(loss).items() if isinstance(value, Tensor) and value.ndim == 0}
        return loss.total, {name: value.detach() for name, value in scalars.items() if name != "total"}

    def _codes(self, mu: Tensor, log_var: Tensor) -> Tensor:
        sample = self.model.sample if self.loss["preset"] == "standard" else hyperspherical.sphere_sample
        return sample(mu, log_var, self.generator)

    def _mse_sum(self, batch: Tensor, z: Tensor) -> Tensor:
        return torch.nn.functional.mse_loss(self.model.decode(z), batch, reduction="sum") / len(batch)

    def _gain(self) -> float:
        if self.settings["anneal"] == "constant" or self.loss["preset"] == "standard":
            return 1.0
        return hyperspherical.anneal_gain(self.epoch, preset=self.loss["preset"], direction=self.loss["direction"])

    def _learning_rate(self) -> float:
        return self.settings["learning_rate"] * DECAY ** sum(self.epoch >= milestone for milestone in MILESTONES)

    @torch.no_grad()
    def _recorded(self, record: Callable[[VAE, int], dict[str, float]] | None, row: dict) -> dict[str, float]:
        self.model.eval()
        found = {} if record is None else {name: float(value) for name, value in record(self.model, self.epoch).items()}
        if found.keys() & row.keys():
            raise ValueError(f"record: want names of its own, got {', '.join(sorted(found.keys() & row.keys()))} again")
        if self.rows and self.rows[0].keys() != row.keys() | found.keys():
            raise ValueError(f"record: want the same names each epoch, {list(self.rows[0])}, got {[*row, *found]}")
        return found

    def _diverged(self, measured: list[dict[str, Tensor]]) -> FloatingPointError:
        finite = [all(value.isfinite() for value in terms.values()) for terms in measured]
        step = [*finite, False].index(False)
        return FloatingPointError(
            f"fit_compressed: want a finite loss, got another at epoch {self.epoch}, step {step} (learning_rate "
            f"{self._learning_rate():.3g}, weight of the KL {self.weight * self._gain():.3g}); lower one of them"
        )

    @cached_property
    def _identity(self) -> dict:
        """What must agree for a checkpoint to be of this run, in words that a message can show."""
        loss = {name: value.tolist() if isinstance(value, Tensor) else value for name, value in self.loss.items()}
        data = {"x": _training.digest(self.x), "labels": _training.digest(self.labels), "device": self.x.device.type}
        return loss | self.settings | _training.model_identity(self.model) | data

    def save(self, path: Path) -> None:
        content = {
            "epoch": self.epoch, "weight": self.weight, "rows": self.rows, "model": self.model.state_dict(),
            "adams": [adam.state() for adam in self.adams], "generator": self.generator.get_state(),
        }  # fmt: skip
        _training.write_checkpoint(path, self._identity, content)

    def restore(self, path: Path, n_epochs: int) -> None:
        keys = {"epoch", "weight", "rows", "adams"}
        content = _training.read_checkpoint(path, "fit_compressed", self._identity, keys)
        if content["epoch"] > n_epochs:
            raise ValueError(f"{path.name}: want a checkpoint of at most {n_epochs} epochs, got {content['epoch']}")
        self.model.load_state_dict(content["model"])
        for adam, state in zip(self.adams, content["adams"], strict=True):
            adam.load(state)
        self.generator.set_state(content["generator"])
        self.epoch, self.weight, self.rows = content["epoch"], content["weight"], content["rows"]

    def result(self) -> CompressionResult:
        history = {name: np.array([row[name] for row in self.rows]) for name in self.rows[0]}
        return CompressionResult(history, self.epoch, self.epoch * self.n_batches)


def _classes(labels: Tensor | None, n_samples: int, device: torch.device) -> tuple[Tensor | None, int | None]:
    """Labels on the device, and how many classes there are: asked once, since every step would wait for the answer."""
    if labels is None:
        return None, None
    whole = isinstance(labels, Tensor) and not labels.is_floating_point() and labels.shape == (n_samples,)
    if not whole or labels.min() < 0:
        kind = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        found = int(labels.min()) if whole else kind
        raise ValueError(f"labels: want whole numbers >= 0, one a sample, ({n_samples},), got {found}")
    return labels.to(device, torch.int64), int(labels.max()) + 1


def _check_choices(model: VAE, preset: str, anneal: str, flips: bool, loss_options: dict) -> None:
    if anneal not in ANNEALING:
        raise ValueError(f"anneal: want {' or '.join(map(repr, ANNEALING))}, got {anneal!r}")
    if preset == "standard" and loss_options:
        raise ValueError(f"standard: want no options of the hyperspherical loss, got {', '.join(loss_options)}")
    if flips and len(model.sample_shape) != 3:
        found = f"{type(model).__name__} of samples {model.sample_shape}"
        raise ValueError(f"flips: want a model of images (channels, height, width), got {found}")
