"""Many VAEs as one: perceptrons whose weights carry a member dimension, coordinates of the data, losses of a batch.

Members are ordered seed by seed, prices within a seed: member = i_seed·n_prices + i_price. Layers are (weight, bias)
pairs, (n_members, n_in, n_out) and (n_members, 1, n_out); members of one seed see the same batch and the same noise.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentlib._moments import covariance
from latentlib.models import kl_divergence

Layers = list[tuple[Tensor, Tensor]]


def draw_layers(sizes: tuple[int, ...], generators: list[torch.Generator], n_prices: int, dtype: torch.dtype) -> Layers:
    """Initial layers by the law of torch's linear layers, U(±1/√n_in), one draw a seed, the same for all its prices."""

    def draw(bound: float, *shape: int) -> Tensor:
        drawn = [torch.rand(shape, generator=generator, dtype=torch.float64) for generator in generators]
        return (bound * (2 * torch.stack(drawn) - 1)).repeat_interleave(n_prices, 0).to(dtype)

    return [(draw(n_in**-0.5, n_in, n_out), draw(n_in**-0.5, 1, n_out)) for n_in, n_out in zip(sizes, sizes[1:])]


def perceptron(y: Tensor, layers: Layers, activation: nn.Module) -> Tensor:
    """Output (n_members, n, n_out) for inputs (n_members, n, n_in)."""
    for index, (weight, bias) in enumerate(layers):
        y = torch.baddbmm(bias, activation(y) if index else y, weight)
    return y


def for_members(batch: Tensor, n_prices: int) -> Tensor:
    """(n_seeds, n, …) as (n_members, n, …)."""
    return batch[:, None].expand(-1, n_prices, *batch.shape[1:]).flatten(0, 1)


# Coordinates of the data ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coordinates:
    """y = (x − mean)·into and back, x = mean + y·out; D̂ = Σ_k share_k ⟨(y_k − ŷ_k)²⟩. mean is (1, n_features)."""

    mean: Tensor
    into: Tensor
    out: Tensor
    share: Tensor
    total_var: float

    def enter(self, x: Tensor) -> Tensor:
        """y of x, in its dtype."""
        return torch.cat([((rows.double() - self.mean) @ self.into).to(x.dtype) for rows in x.split(8192)])

    def inner(self, encoder: Layers, decoder: Layers) -> tuple[Layers, Layers]:
        """The same network, for y: where it is trained."""
        (first, shift), (last, offset) = _double(encoder[0]), _double(decoder[-1])
        first, shift = self.out @ first, shift + self.mean @ first
        offset = (offset - self.mean) @ self.into
        return _ends(encoder, decoder, (first, shift), (last @ self.into, offset))

    def outer(self, encoder: Layers, decoder: Layers) -> tuple[Layers, Layers]:
        """The same network, for x."""
        (first, shift), (last, offset) = _double(encoder[0]), _double(decoder[-1])
        first = self.into @ first
        shift, offset = shift - self.mean @ first, offset @ self.out + self.mean
        return _ends(encoder, decoder, (first, shift), (last @ self.out, offset))


def _double(layer: tuple[Tensor, Tensor]) -> list[Tensor]:
    return [part.double() for part in layer]


def _ends(encoder: Layers, decoder: Layers, first: tuple, last: tuple) -> tuple[Layers, Layers]:
    """The layers with another first and last one, in their own dtype."""
    dtype = encoder[0][0].dtype
    first, last = (tuple(part.to(dtype) for part in layer) for layer in (first, last))
    return [first, *encoder[1:]], [*decoder[:-1], last]


def coordinates(x: Tensor, whiten: bool) -> Coordinates:
    """Principal axes scaled to variance 1 (whiten), or the axes of the data, scaled as a whole to mean variance 1.

    Whitening leaves out directions whose variance is rounding: they have no scale. Raises: ValueError for data without
    variance.
    """
    moments = covariance(x)
    total_var = moments.trace()
    if not (total_var > 0 and (x != x[0]).any()):  # equal numbers may have a variance of rounding
        raise ValueError("x: want samples with variance, got all of them equal")
    mean, n_features = x.double().mean(0, keepdim=True), len(moments)
    if not whiten:
        scale, eye = (total_var / n_features).sqrt(), torch.eye(n_features, dtype=torch.float64, device=x.device)
        share = torch.full_like(mean[0], 1 / n_features)
        return Coordinates(mean, eye / scale, eye * scale, share, total_var.item())
    eigenvalues, axes = torch.linalg.eigh(moments)
    rounding = n_features * (torch.finfo(x.dtype).eps ** 2 + torch.finfo(torch.float64).eps)
    kept = eigenvalues > rounding * total_var
    std, axes = eigenvalues[kept].sqrt(), axes[:, kept]
    return Coordinates(mean, axes / std, (axes * std).T, eigenvalues[kept] / total_var, total_var.item())


# The loss of a batch: (distortion, rate), (n_members,) each -----------------------------------------------------------


def sampled_loss(
    encoder: Layers, decoder: Layers, activation: nn.Module, batch: Tensor, share: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """D̂ with one draw of z for every sample, from noise (n_seeds, n, n_latent), and R in nats."""
    n_prices = len(encoder[0][0]) // len(batch)
    y = for_members(batch, n_prices)
    mu, log_var = perceptron(y, encoder, activation).chunk(2, -1)
    z = torch.addcmul(mu, (0.5 * log_var).exp(), for_members(noise, n_prices))
    distortion = (y - perceptron(z, decoder, activation)).square().mean(1) @ share
    return distortion, kl_divergence(mu, log_var).mean(1).sum(1)


def integrated_loss(
    encoder: Layers, decoder: Layers, activation: nn.Module, batch: Tensor, share: Tensor
) -> tuple[Tensor, Tensor]:
    """The same averaged over the noise, in closed form for a linear decoder: |y − ŷ(μ)|² + Σ_k σ_k² |W_k|²."""
    if len(encoder) == 1:
        return _linear_loss(encoder[0], decoder[0], batch, share)
    y = for_members(batch, len(encoder[0][0]) // len(batch))
    mu, log_var = perceptron(y, encoder, activation).chunk(2, -1)
    by_mean = (y - perceptron(mu, decoder, activation)).square().mean(1) @ share
    by_noise = (log_var.exp().mean(1) * (decoder[0][0].square() @ share)).sum(1)
    return by_mean + by_noise, kl_divergence(mu, log_var).mean(1).sum(1)


class _MeanExp(torch.autograd.Function):
    """⟨e^{y·w}⟩ over a batch y whose last column is 1: value and gradient are rows of one product, ⟨y e^{y·w}⟩."""

    @staticmethod
    def forward(ctx, weight: Tensor, y: Tensor) -> Tensor:
        """(n_seeds, n_columns) of weight (n_seeds, n_features, n_columns) and y (n_seeds, n, n_features)."""
        product = y.mT @ (y @ weight).exp_() / y.shape[1]
        ctx.save_for_backward(product)
        return product[:, -1]

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        """∂⟨e^{y·w}⟩/∂w = ⟨y e^{y·w}⟩."""
        return ctx.saved_tensors[0] * gradient[:, None], None


def _linear_loss(
    encoder: tuple[Tensor, Tensor], decoder: tuple[Tensor, Tensor], batch: Tensor, share: Tensor
) -> tuple[Tensor, Tensor]:
    """Of a linear encoder too: all but ⟨σ²⟩ follows from the second moments of the batch, whatever its size."""
    n_seeds, n_batch, n_features = batch.shape
    n_prices = len(encoder[0]) // n_seeds
    y = torch.cat([batch, torch.ones_like(batch[..., :1])], 2)  # with a one for the bias
    moments = (y.mT @ y / n_batch).repeat_interleave(n_prices, 0)
    to_mean, to_log_var = torch.cat(encoder, 1).chunk(2, 2)
    readout, offset = decoder
    pad = (0, 0, n_features, 0)
    identity = torch.eye(n_features + 1, n_features, dtype=y.dtype, device=y.device)
    residual = identity - to_mean @ readout - nn.functional.pad(offset, pad)  # y − ŷ = y·residual
    # One product a seed for the log-variances of all its prices.
    together = to_log_var.unflatten(0, (n_seeds, n_prices)).transpose(1, 2).flatten(2)
    var = _MeanExp.apply(together, y).reshape(len(readout), -1)
    log_var = (moments[:, -1:] @ to_log_var).squeeze(1)
    distortion = ((moments @ residual) * residual).sum(1) @ share + (var * (readout.square() @ share)).sum(1)
    signal = ((moments @ to_mean) * to_mean).sum(1)
    return distortion, ((signal + var - 1 - log_var) / 2).sum(1)
