"""Codes and images of a data set, and by which statistics BatchNorm made the codes: running ones, or the batch's.

In training mode BatchNorm divides by the statistics of the batch being encoded, so the code of an image tells what its
batch was made of. Where all images of a batch carry one label, in or out of distribution, that label leaks into every
code. The mode is therefore part of a result: always named, `eval` unless asked otherwise.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

MODES = ("eval", "batch", "batch_mean", "batch_var")


@torch.no_grad()
def encode_means(
    model: nn.Module, x: Tensor, *, mode: str = "eval", batch_size: int = 200, companions: Tensor | None = None,
    seed: int = 0,
) -> Tensor:
    """Posterior means μ(x), (n_samples, n_latent), with BatchNorm (a − mean)/√(var + ε) by the statistics of `mode`.

    `eval`: running mean and variance; a code depends on its own image alone. `batch`: both of the batch, as a network
    left in training mode has. `batch_mean`, `batch_var`: that one of the batch, the other running: which of the two
    carries a leak. Without companions a batch is pure, `batch_size` rows of x in the order given, the last one shorter;
    with them it is mixed, half rows of x, half companions, in an order drawn from `seed`, repeated if they are fewer.
    Everything but BatchNorm is in evaluation mode, and without BatchNorm all modes agree. Afterwards the model is as
    before, bit for bit: its mode, its running statistics.
    Args: model with encode(x) → (mu, log_var); x, companions (n > 0, *sample_shape), floating, taken batch by batch to
    the device and dtype of the model. Returns: on that device, in that dtype.
    Raises: ValueError for an unknown mode, other shapes or dtypes, values that are not finite, a batch of one row in a
    mode that needs statistics of it, companions in a mode that does not, or a BatchNorm without running statistics.
    """
    _check_rows("x", x)
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    _check_mode(mode, batch_size, len(x), companions, norms)
    like = next(model.parameters())
    batches = _pure(x, batch_size) if companions is None else _mixed(x, companions, batch_size, seed)
    means = []
    with _normalized_by(model, norms, mode):
        for batch, n_own in batches:
            means.append(model.encode(batch.to(like.device, like.dtype))[0][:n_own])
    return torch.cat(means)


@torch.no_grad()
def decode_codes(model: nn.Module, z: Tensor, *, batch_size: int = 500) -> Tensor:
    """Images x̂ = D(z) of codes, (n_samples, *sample_shape), in evaluation mode, a bounded batch at a time.

    The model is left as it was. Args: z (n_samples > 0, n_latent), taken to its device and dtype.
    Raises: ValueError for another shape or dtype, or values that are not finite.
    """
    _check_rows("z", z)
    like = next(model.parameters())
    with _normalized_by(model, [], "eval"):
        return torch.cat([model.decode(rows.to(like.device, like.dtype)) for rows in z.split(batch_size)])


def rms_percent(model: nn.Module, x: Tensor, *, on_sphere: bool, batch_size: int = 500) -> float:
    """RMS error in per cent of the dynamic range, 100 √(⟨|x − x̂|²⟩/n_features), x̂ = D(z): what the sources call MSE.

    In evaluation mode, of the means: z = √n μ/‖μ‖ with on_sphere (a model trained with a hyperspherical loss), z = μ
    without. The mean over samples and features is taken before the root. Args: x (n, *sample_shape), of range 1.
    Raises: ValueError as `encode_means`.
    """
    total = 0.0
    for rows in x.split(batch_size):
        z = encode_means(model, rows)
        z = math.sqrt(z.shape[1]) * nn.functional.normalize(z, dim=1) if on_sphere else z
        x_hat = decode_codes(model, z)
        total += nn.functional.mse_loss(x_hat, rows.to(x_hat), reduction="sum").double().item()
    return 100 * math.sqrt(total / x.numel())


def _pure(x: Tensor, batch_size: int) -> Iterator[tuple[Tensor, int]]:
    """Batches, and how many rows of each are of x."""
    for rows in x.split(batch_size):
        yield rows, len(rows)


def _mixed(x: Tensor, companions: Tensor, batch_size: int, seed: int) -> Iterator[tuple[Tensor, int]]:
    order = torch.randperm(len(companions), generator=torch.Generator().manual_seed(seed))
    partner = order[torch.arange(len(x)) % len(companions)].to(companions.device)
    for rows, others in zip(x.split(batch_size // 2), partner.split(batch_size // 2), strict=True):
        yield torch.cat([rows, companions[others].to(rows)]), len(rows)


@contextmanager
def _normalized_by(model: nn.Module, norms: list[_BatchNorm], mode: str) -> Iterator[None]:
    was = [(module, module.training) for module in model.modules()]
    was_tracking = [(norm, norm.track_running_stats) for norm in norms]
    handles = []
    model.eval()
    for norm in norms:
        if mode == "batch":  # in training, and not tracking: running statistics are neither read nor moved
            norm.training, norm.track_running_stats = True, False
        elif mode != "eval":
            handles.append(norm.register_forward_hook(partial(_renormalized, mode=mode)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for norm, tracking in was_tracking:
            norm.track_running_stats = tracking
        for module, training in was:
            module.training = training


def _renormalized(norm: _BatchNorm, inputs: tuple[Tensor], _: Tensor, *, mode: str) -> Tensor:
    """One statistic of the batch, the other running, in place of what the layer in evaluation mode returned."""
    (a,) = inputs
    var, mean = torch.var_mean(a, [axis for axis in range(a.ndim) if axis != 1], correction=0)
    mean, var = (mean, norm.running_var) if mode == "batch_mean" else (norm.running_mean, var)
    return nn.functional.batch_norm(a, mean, var, norm.weight, norm.bias, eps=norm.eps)


def _check_rows(name: str, x: Tensor) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2 or len(x) == 0:
        found = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"{name}: want floating (n_samples > 0, *sample_shape), got {found}")
    if not x.isfinite().all():
        raise ValueError(f"{name}: want finite values, got {int((~x.isfinite()).sum())} that are not")


def _check_mode(mode: str, batch_size: int, n_samples: int, companions: Tensor | None, norms: list[_BatchNorm]) -> None:
    if mode not in MODES:
        raise ValueError(f"mode: want {', '.join(map(repr, MODES))}, got {mode!r}")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size: want a whole number >= 1, got {batch_size!r}")
    if any(norm.running_mean is None for norm in norms):
        raise ValueError("model: want BatchNorm with running statistics, got one with track_running_stats=False")
    if companions is not None:
        _check_rows("companions", companions)
        if mode == "eval" or batch_size % 2:
            raise ValueError(f"companions: want mode 'batch...' and an even batch_size, got {mode!r} and {batch_size}")
    elif mode != "eval" and 1 in (batch_size, n_samples % batch_size):
        found = f"{n_samples} rows in batches of {batch_size}"
        raise ValueError(f"batch_size: want 2 rows or more in every batch, got {found}")
