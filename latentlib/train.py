"""Training a variational autoencoder: Adam, schedule, early stop, checkpoints that resume to the same bits.

    result = train.fit(model, x, kl_weight=0.1, n_steps=4000, batch_size=256, learning_rate=2e-3, seed=0)
    result.history["loss"]                          # one value per step

The data stay on the device, where one explicit generator draws the batches and the noise, and the host waits for the
device only once in RECORD_EVERY steps.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentlib import _backend, _training
from latentlib.models import VAE, elbo_loss

SCHEDULES = {"constant": lambda share: 1.0, "cosine": lambda share: 0.5 * (1 + math.cos(math.pi * share))}
RECORD_EVERY = 100
VALIDATION_ROWS = 4096  # rows at a time, which bounds the memory of a validation


@dataclass(frozen=True)
class FitResult:
    """What a training did. The trained weights are in the model.

    history: one value per step of `loss`, `distortion_sum`, `rate` (summed over latents) on that step's batch and of
    `learning_rate`; and one per validation of `val_step`, `val_loss`. best_step: steps done at the lowest val_loss (the
    last step without x_val). n_steps: steps done, fewer than asked for if stopped_early.
    """

    history: dict[str, np.ndarray]
    best_step: int
    stopped_early: bool
    n_steps: int


def fit(
    model: VAE, x: Tensor, *,
    kl_weight: float, decoder_var: float = 1.0,
    n_steps: int, batch_size: int, learning_rate: float, schedule: str = "cosine", seed: int = 0,
    x_val: Tensor | None = None, val_every: int = RECORD_EVERY, patience: int | None = None,
    checkpoint: str | Path | None = None, checkpoint_every: int = 1000,
    progress: bool = True, device: str | None = None,
) -> FitResult:
    """Minimise 𝓛 = ⟨|x − x̂|²⟩/(2σ_dec²) + β R by Adam on batches drawn with replacement; changes `model` in place.

    Learning rate at step t: learning_rate · ½(1 + cos(π t/n_steps)) (`cosine`, ends at 0), or learning_rate
    (`constant`). Every `val_every` steps the loss on all of x_val is taken with the same noise; after `patience` of
    these without a new minimum the training stops and the model gets the weights of the minimum back.
    `checkpoint` is a file, written whole every `checkpoint_every` steps and at the end; if it is there, the training
    goes on from it, to the bits of an uninterrupted one on the same device type, versions and number of threads.
    Args: x, x_val (n, *sample_shape), floating, taken to the device (default: LATENTLIB_DEVICE, else the CPU) and dtype
    of the model, whose only randomness must be the generator it is passed; its mode is left alone, so a model with
    BatchNorm belongs to `compression.fit_compressed`.
    Raises: ValueError for an argument out of range, or a checkpoint of another run, naming what differs;
    FloatingPointError, naming the step, once the loss is not finite.
    """
    from tqdm.auto import tqdm

    weights = {"kl_weight": float(kl_weight), "decoder_var": float(decoder_var)}
    sizes = {"n_steps": n_steps, "batch_size": batch_size, "val_every": val_every}
    _check_arguments(weights, sizes | {"checkpoint_every": checkpoint_every}, learning_rate, schedule, patience, x_val)
    chosen = _backend.device(device)
    model.to(chosen)
    dtype = next(model.parameters()).dtype
    x = _training.floating_data("x", x, chosen, dtype)
    x_val = None if x_val is None else _training.floating_data("x_val", x_val, chosen, dtype)
    if batch_size > len(x):
        raise ValueError(f"batch_size: want at most the {len(x)} samples of x, got {batch_size}")
    settings = weights | sizes | {"learning_rate": float(learning_rate), "schedule": schedule, "patience": patience}
    run = _Run(model, x, x_val, settings | {"seed": seed, "device": chosen.type})
    if checkpoint is not None and Path(checkpoint).is_file():
        run.restore(Path(checkpoint))
    periods = (RECORD_EVERY, val_every, checkpoint_every)
    with tqdm(total=n_steps, initial=run.step, desc="fit", unit="step", disable=not progress) as bar:
        while not run.finished:
            run.advance(min(n_steps, *(run.step + period - run.step % period for period in periods)))
            if x_val is not None and (run.step % val_every == 0 or run.step == n_steps):
                run.validate()
            if checkpoint is not None and (run.step % checkpoint_every == 0 or run.finished):
                run.save(Path(checkpoint))
            bar.update(run.step - bar.n)
    return run.result()


class _Run:
    """A training in progress: everything that a checkpoint has to hold, and how to move it on."""

    def __init__(self, model: VAE, x: Tensor, x_val: Tensor | None, settings: dict) -> None:
        self.model, self.x, self.x_val, self.settings = model, x, x_val, settings
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.adam = _training.Adam(self.parameters)
        self.generator = torch.Generator(x.device).manual_seed(settings["seed"])
        self.curve = torch.zeros(settings["n_steps"], 3, dtype=torch.float64)
        self.step = 0
        self.validations: list[tuple[int, float]] = []
        self.best_weights: list[Tensor] = []

    @property
    def best(self) -> tuple[int, float]:
        """Step and loss of the lowest validation."""
        return min(self.validations, key=lambda pair: pair[1], default=(self.step, math.inf))

    @property
    def stopped(self) -> bool:
        patience = self.settings["patience"]
        return patience is not None and sum(step > self.best[0] for step, _ in self.validations) >= patience

    @property
    def finished(self) -> bool:
        return self.stopped or self.step == self.settings["n_steps"]

    def advance(self, until: int) -> None:
        """Steps up to `until`. The losses stay on the device until the end, where they are looked at together."""
        start, model, generator = self.step, self.model, self.generator
        shape, n_samples, where = (self.settings["batch_size"],), len(self.x), self.x.device
        kl_weight, decoder_var = self.settings["kl_weight"], self.settings["decoder_var"]
        rows = []
        for step in range(start, until):
            batch = self.x.index_select(0, torch.randint(n_samples, shape, generator=generator, device=where))
            mu, log_var = model.encode(batch)
            x_hat = model.decode(model.sample(mu, log_var, generator))
            loss = elbo_loss(batch, x_hat, mu, log_var, kl_weight, decoder_var)
            self.adam.descend(torch.autograd.grad(loss.loss, self.parameters), self.learning_rate(step))
            rows.append(torch.stack((loss.loss.detach(), loss.distortion_sum.detach(), loss.rate.detach().sum())))
        self.curve[start:until] = torch.stack(rows).double().cpu()
        self.step = until
        bad = (~self.curve[start:until].isfinite().all(1)).nonzero()
        if len(bad):
            step = start + int(bad[0])
            raise FloatingPointError(
                f"fit: want a finite loss, got {self.curve[step, 0].item()} at step {step} (learning_rate "
                f"{self.learning_rate(step):.3g}, kl_weight {kl_weight}, decoder_var {decoder_var}); "
                "lower learning_rate, or standardize x"
            )

    def learning_rate(self, step: int) -> float:
        return self.settings["learning_rate"] * SCHEDULES[self.settings["schedule"]](step / self.settings["n_steps"])

    @torch.no_grad()
    def validate(self) -> None:
        """The loss on all of x_val, with noise that is the same every time."""
        noise = torch.Generator(self.x.device).manual_seed(self.settings["seed"])
        total = 0.0
        for rows in self.x_val.split(VALIDATION_ROWS):
            x_hat, mu, log_var = self.model(rows, noise)
            loss = elbo_loss(rows, x_hat, mu, log_var, self.settings["kl_weight"], self.settings["decoder_var"])
            total += loss.loss.item() * len(rows)
        if not math.isfinite(total):
            raise FloatingPointError(f"fit: want a finite loss on x_val, got {total} after step {self.step}")
        self.validations.append((self.step, total / len(self.x_val)))
        if self.best[0] == self.step:
            self.best_weights = [p.detach().clone() for p in self.parameters]

    def save(self, path: Path) -> None:
        content = {
            "step": self.step, "model": self.model.state_dict(), "adam": self.adam.state(),
            "generator": self.generator.get_state(), "curve": self.curve[: self.step],
            "validations": self.validations, "best_weights": self.best_weights,
        }  # fmt: skip
        _training.write_checkpoint(path, self._identity(), content)

    @torch.no_grad()
    def restore(self, path: Path) -> None:
        content = _training.read_checkpoint(path, "train.fit", self._identity(), {"adam", "curve", "validations"})
        self.model.load_state_dict(content["model"])
        self.adam.load(content["adam"])
        self.generator.set_state(content["generator"])
        self.step = content["step"]
        self.curve[: self.step] = content["curve"]
        self.validations = [tuple(pair) for pair in content["validations"]]
        self.best_weights = [value.to(self.x.device) for value in content["best_weights"]]

    def _identity(self) -> dict:
        """What must agree for a checkpoint to be of this run, in words that a message can show."""
        data = {"x": _training.digest(self.x), "x_val": _training.digest(self.x_val)}
        return self.settings | _training.model_identity(self.model) | data

    @torch.no_grad()
    def result(self) -> FitResult:
        if self.settings["patience"] is not None:
            for parameter, best in zip(self.parameters, self.best_weights, strict=True):
                parameter.copy_(best)
        history = dict(zip(("loss", "distortion_sum", "rate"), self.curve[: self.step].T.numpy(), strict=True))
        history["learning_rate"] = np.array([self.learning_rate(step) for step in range(self.step)])
        history["val_step"] = np.array([step for step, _ in self.validations], dtype=np.int64)
        history["val_loss"] = np.array([loss for _, loss in self.validations], dtype=np.float64)
        return FitResult(history, self.best[0], self.stopped, self.step)


def _check_arguments(
    weights: dict, sizes: dict, learning_rate: float, schedule: str, patience: int | None, x_val: Tensor | None
) -> None:
    _training.check_counts(**sizes | ({} if patience is None else {"patience": patience}))
    _training.check_weight(weights["kl_weight"])
    _training.check_positive(decoder_var=weights["decoder_var"], learning_rate=learning_rate)
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule: want {' or '.join(map(repr, SCHEDULES))}, got {schedule!r}")
    if patience is not None and x_val is None:
        raise ValueError(f"patience: want x_val to stop by, got patience {patience} and no x_val")
