"""A scan of VAEs over information prices and seeds, trained on mini-batches all at once: one call, one device.

    recipe = {"n_steps": 25_000, "batch_size": 256, "learning_rate": 1e-2, "optimizer": "whitened_adam", "anneal": 0.7}
    scan = ensemble.fit_ensemble(x, prices, n_latent=32, **recipe)
    reading = ensemble_reading.read_ensemble(scan, x_test)

Every member minimises D̂ + 2T̂R at its own price T̂, D̂ = E|x − x̂|²/σ_tot², on samples; `equilibrium` has the exact
optimum of the linear one. Members of a seed share initial weights, batches and noise, so that they differ by the price
alone; a member is the same whatever other members it is trained with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from latentlib import _backend, _training
from latentlib._batched_vae import Coordinates, Layers, coordinates, draw_layers, perceptron
from latentlib._ensemble_training import EnsembleTraining
from latentlib._vae import VAE, activation_layer, check_sizes
from latentlib.train import RECORD_EVERY, SCHEDULES

OPTIMIZERS = ("adam", "whitened_adam")
NOISES = ("integrated", "sampled")


@dataclass(frozen=True)
class Ensemble:
    """Trained VAEs, one a seed and price; every tensor of them has leading dimensions (n_seeds, n_prices).

    prices (n_prices,) and seeds; encoder, decoder: (weight (…, n_in, n_out), bias (…, 1, n_out)) of each layer, for x
    as it was given; the encoder ends in μ and ln σ² side by side. total_var, σ_tot² of the training data, unit of D̂.
    history: means over windows of 100 steps of `distortion`, `rate` (nats) and the `loss` at the member's own price,
    (…, n_windows). n_steps of training in all, those of `start` included; stopped_early.
    """

    prices: Tensor
    seeds: tuple[int, ...]
    encoder: Layers
    decoder: Layers
    activation: str
    total_var: float
    history: dict[str, Tensor]
    n_steps: int
    stopped_early: bool

    @property
    def n_features(self) -> int:
        """Features of a sample."""
        return self.encoder[0][0].shape[-2]

    @property
    def n_latent(self) -> int:
        """Latents of every member."""
        return self.decoder[0][0].shape[-2]

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior means and log-variances, (n_seeds, n_prices, n_samples, n_latent), of x (n_samples, n_features)."""
        if x.ndim != 2 or x.shape[1] != self.n_features:
            raise ValueError(f"x: want (n_samples, {self.n_features}), got {tuple(x.shape)}")
        return self._run(x.expand(len(self.seeds), len(self.prices), *x.shape), self.encoder).chunk(2, -1)

    def decode(self, z: Tensor) -> Tensor:
        """x̂, (n_seeds, n_prices, n, n_features), of codes (n_seeds, n_prices, n, n_latent)."""
        wanted = (len(self.seeds), len(self.prices), self.n_latent)
        if z.ndim != 4 or (*z.shape[:2], z.shape[3]) != wanted:
            raise ValueError(f"z: want ({wanted[0]}, {wanted[1]}, n, {wanted[2]}), got {tuple(z.shape)}")
        return self._run(z, self.decoder)

    def member(self, i_seed: int, i_price: int) -> VAE:
        """One member as a model of its own, for all that takes a VAE. Raises: IndexError for a wrong index."""
        model = VAE()
        model.sample_shape, model.n_latent = (self.n_features,), self.n_latent
        model.arguments = {"price": self.prices[i_price].item(), "seed": self.seeds[i_seed]}
        for name, layers in (("encoder", self.encoder), ("decoder", self.decoder)):
            modules = []
            for weight, bias in layers:
                linear = skip_init(nn.Linear, *weight.shape[-2:], device=weight.device, dtype=weight.dtype)
                linear.weight.data.copy_(weight[i_seed, i_price].T)
                linear.bias.data.copy_(bias[i_seed, i_price, 0])
                modules += [linear, activation_layer(self.activation)]
            setattr(model, name, nn.Sequential(*modules[:-1]))
        return model.eval()

    def _run(self, y: Tensor, layers: Layers) -> Tensor:
        members = [tuple(part.flatten(0, 1) for part in layer) for layer in layers]
        return perceptron(y.flatten(0, 1), members, activation_layer(self.activation)).unflatten(0, y.shape[:2])


def fit_ensemble(
    x: Tensor, prices: Tensor | Sequence[float], *,
    n_latent: int, hidden: Sequence[int] = (), decoder_hidden: Sequence[int] | None = None, activation: str = "tanh",
    seeds: Sequence[int] = (0,), start: Ensemble | None = None,
    n_steps: int, batch_size: int, learning_rate: float, schedule: str = "cosine", optimizer: str = "adam",
    noise: str = "integrated", anneal: float = 0.0, patience: float | None = None, device: str | None = None,
    checkpoint: str | Path | None = None, checkpoint_every: int = 1000, progress: bool = True,
) -> Ensemble:  # fmt: skip
    """Minimise D̂ + 2T̂R for every price and seed at once, by Adam on batches drawn with replacement.

    hidden: widths of the encoder n_features → hidden → (μ, ln σ²), none: a linear mean and affine log-variance, as
    published; decoder_hidden: of the decoder, default the same reversed; () is the linear decoder.
    noise: of z, `sampled` as published, fresh at every step, or `integrated`, its average in closed form where the
    decoder is linear (a nonlinear one is sampled all the same). optimizer: `adam`, on x scaled as a whole, which for
    standardized x is x; `whitened_adam`, Adam preconditioned by the covariance of x: on the weights as seen from the
    principal axes scaled to variance 1, where weak modes need no larger steps than strong ones. The descent is on
    D̂/2T̂ + R, nats, so that Adam's ε is the same at each price. schedule as `train.fit`.
    anneal: share of the steps over which the price falls from 1, where all latents are collapsed, to its own,
    geometrically: modes come alive one by one, each latent on its own axis. From a cold start (0) they begin mixed,
    and at low prices the last ones to part are far more steps away.
    start: begin at the weights of another ensemble, member by member, with fresh batches. patience: stop once no
    member's window of 100 steps has had a new lowest loss for patience·n_steps steps (the source: .1).
    checkpoint: a file, written about every checkpoint_every steps and at the end; if it is there, the training goes on
    from it, to the bits of an uninterrupted one on the same device type, versions and number of threads.
    Args: x (n_samples, n_features), float32 or float64, which is that of the training; constant features, and more
    features than samples, are allowed. prices T̂ > 0, (n_prices,). n_latent may be below the rank: the leading modes
    are coded.
    Raises: ValueError for an argument out of range, data without variance, a start of another shape, a checkpoint of
    another run; FloatingPointError, naming the member, once a loss is not finite.
    """
    from tqdm.auto import tqdm

    _check_numbers(n_steps, batch_size, checkpoint_every, learning_rate, patience)
    if not 0 <= anneal < 1:
        raise ValueError(f"anneal: want 0 ≤ anneal < 1, got {anneal}")
    _check_choices(schedule=(schedule, SCHEDULES), optimizer=(optimizer, OPTIMIZERS), noise=(noise, NOISES))
    x = _checked_data(x, batch_size, _backend.device(device))
    prices, seeds = _checked_prices(prices), _checked_seeds(seeds)
    widths = _checked_widths(n_latent, hidden, decoder_hidden)
    settings = {
        "prices": prices.tolist(), "seeds": seeds, "widths": str(widths), "activation": activation, "n_steps": n_steps,
        "batch_size": batch_size, "learning_rate": float(learning_rate), "schedule": schedule, "optimizer": optimizer,
        "noise": noise, "anneal": float(anneal), "patience": patience, "device": x.device.type,
    }  # fmt: skip
    frame = coordinates(x, whiten=optimizer == "whitened_adam")
    if start is None:
        layers = _drawn(widths, frame.into.shape[1], seeds, len(prices), x.dtype)
    else:
        layers = frame.inner(*_weights(start, widths, x, len(seeds), len(prices)))
    run = EnsembleTraining(frame.enter(x), frame.share, prices, layers, settings, start.n_steps if start else 0)
    path = None if checkpoint is None else Path(checkpoint)
    identity = {} if path is None else settings | {"x": _training.digest(x), "start": _training.digest(_row(start))}
    if path is not None and path.is_file():
        run.restore(path, identity)
    with tqdm(total=n_steps, initial=run.step, desc="fit_ensemble", unit="step", disable=not progress) as bar:
        while not run.finished:
            run.advance()
            if path is not None and (run.finished or run.step % checkpoint_every < RECORD_EVERY):
                run.save(path, identity)
            bar.update(run.step - bar.n)
    return _result(run, frame, prices, start)


def _drawn(widths: tuple, n_inner: int, seeds: list[int], n_prices: int, dtype: torch.dtype) -> tuple[Layers, Layers]:
    """Initial layers, on the CPU, so that a seed means the same start on every device."""
    (*hidden, n_codes), decoder = widths
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    sizes = (n_inner, *hidden, n_codes), (*decoder, n_inner)
    return tuple(draw_layers(half, generators, n_prices, dtype) for half in sizes)


def _weights(start: Ensemble, widths: tuple, x: Tensor, n_seeds: int, n_prices: int) -> tuple[Layers, Layers]:
    """The layers of a start, members in one dimension, in the dtype of x."""
    found = [tuple(tuple(weight.shape) for weight, _ in half) for half in (start.encoder, start.decoder)]
    sizes = (x.shape[1], *widths[0]), (*widths[1], x.shape[1])
    wanted = [tuple((n_seeds, n_prices, *pair) for pair in zip(half, half[1:])) for half in sizes]
    if found != wanted:
        raise ValueError(f"start: want an ensemble of layers {wanted}, got {found}")
    halves = start.encoder, start.decoder
    return tuple([tuple(part.to(x).flatten(0, 1) for part in layer) for layer in half] for half in halves)


def _row(start: Ensemble | None) -> Tensor | None:
    """All weights of a start in one row."""
    layers = [*start.encoder, *start.decoder] if start else []
    return torch.cat([part.flatten() for layer in layers for part in layer]) if layers else None


@torch.no_grad()
def _result(run: EnsembleTraining, frame: Coordinates, prices: Tensor, start: Ensemble | None) -> Ensemble:
    shape = len(run.settings["seeds"]), len(prices)
    halves = frame.outer(*([(w.detach(), b.detach()) for w, b in half] for half in (run.encoder, run.decoder)))
    encoder, decoder = ([tuple(part.unflatten(0, shape) for part in layer) for layer in half] for half in halves)
    distortion, rate = (values.T.double().cpu().unflatten(0, shape) for values in torch.stack(run.windows, 1))
    history = {"loss": run.losses.T.double().cpu().unflatten(0, shape), "distortion": distortion, "rate": rate}
    return Ensemble(
        prices, tuple(run.settings["seeds"]), encoder, decoder, run.settings["activation"], frame.total_var, history,
        run.step + (start.n_steps if start else 0), run.step < run.settings["n_steps"],
    )  # fmt: skip


def _checked_data(x: Tensor, batch_size: int, chosen: torch.device) -> Tensor:
    if x.ndim != 2 or x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"x: want float32 or float64 (n_samples, n_features), got {x.dtype} {tuple(x.shape)}")
    x = _training.floating_data("x", x, chosen, x.dtype)
    if batch_size > len(x):
        raise ValueError(f"batch_size: want at most the {len(x)} samples of x, got {batch_size}")
    return x


def _checked_prices(prices: Tensor | Sequence[float]) -> Tensor:
    prices = torch.as_tensor(prices, dtype=torch.float64).cpu()
    if prices.ndim != 1 or len(prices) == 0 or not ((prices > 0) & prices.isfinite()).all():
        raise ValueError(f"prices: want (n_prices > 0,), all finite and > 0, got shape {tuple(prices.shape)}: {prices}")
    return prices


def _checked_seeds(seeds: Sequence[int]) -> list[int]:
    whole = all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in seeds)
    if not whole or not 0 < len(seeds) == len(set(seeds)):
        raise ValueError(f"seeds: want different whole numbers ≥ 0, one or more, got {seeds!r}")
    return list(seeds)


def _checked_widths(n_latent: int, hidden: Sequence[int], decoder_hidden: Sequence[int] | None) -> tuple:
    """Outputs of the layers of the encoder, inputs of those of the decoder."""
    hidden = tuple(hidden)
    decoder_hidden = hidden[::-1] if decoder_hidden is None else tuple(decoder_hidden)
    check_sizes(n_latent=n_latent, hidden=hidden, decoder_hidden=decoder_hidden)
    return (*hidden, 2 * n_latent), (n_latent, *decoder_hidden)


def _check_numbers(
    n_steps: int, batch_size: int, checkpoint_every: int, learning_rate: float, patience: float | None
) -> None:
    _training.check_counts(n_steps=n_steps, batch_size=batch_size, checkpoint_every=checkpoint_every)
    _training.check_positive(learning_rate=learning_rate, **{} if patience is None else {"patience": patience})


def _check_choices(**choices: tuple) -> None:
    for name, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"{name}: want {' or '.join(map(repr, known))}, got {value!r}")
