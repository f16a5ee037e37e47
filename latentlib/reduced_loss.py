"""The linear Gaussian β-VAE reduced to its decoder, and its minimum for many prices at once.

Nothing here looks at the spectrum of the covariance: the solver knows the loss, its gradient and a metric.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from latentlib import lbfgs

KICK = 1e-3  # noise that leaves a saddle, in units of √price
MAX_KICKS = 4


@dataclass(frozen=True)
class LinearLoss:
    """Reduced loss of a decoder W (n_features, n_latent): encoder and posterior variances are eliminated exactly.

    With tr S = 1, price t and M = WᵀW + t·1, the best posterior of z is N(Vx, t·M⁻¹). In the latent frame where M is
    diagonal this posterior factorizes, so the reduced loss and the loss of a diagonal encoder have the same minimum:
        F(W) = min_V tr S − 2 tr(WVS) + tr(M V S Vᵀ) + a_V|V|² + a_W|W|² + t (ln det M − n ln t),
    where a_V, a_W are the weight decays. Without decay V = M⁻¹Wᵀ and F is the likelihood bound of probabilistic PCA.
    """

    covariance: Tensor  # S, (n_features, n_features), trace 1
    prices: Tensor  # (n_prices,)
    decoder_decay: float = 0.0
    encoder_decay: float = 0.0

    def value_and_gradient(self, decoder: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """F and ∂F/∂W at the best encoder (envelope theorem): decoder (batch, n_features, n_latent)."""
        price = self.prices[rows].view(-1, 1, 1)
        precision, factor = self._precision(decoder, price)
        encoder = self.encoder(decoder, rows)
        projected = self.covariance @ encoder.mT  # S Vᵀ
        signal = encoder @ projected  # V S Vᵀ
        log_det = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
        volume = price[:, 0, 0] * (log_det - decoder.shape[2] * price[:, 0, 0].log())
        value = 1 - 2 * _inner(decoder, projected) + _inner(precision, signal) + volume
        value = value + self.encoder_decay * _inner(encoder, encoder) + self.decoder_decay * _inner(decoder, decoder)
        noise = price * torch.cholesky_solve(decoder.mT, factor).mT  # t W M⁻¹
        return value, 2 * (decoder @ signal + noise - projected + self.decoder_decay * decoder)

    def encoder(self, decoder: Tensor, rows: Tensor) -> Tensor:
        """The best encoder V (batch, n_latent, n_features): (M V) S + a_V V = Wᵀ S."""
        precision, factor = self._precision(decoder, self.prices[rows].view(-1, 1, 1))
        if self.encoder_decay == 0:
            return torch.cholesky_solve(decoder.mT, factor)
        scale, frame = torch.linalg.eigh(precision)  # of the latent precision, never of the data
        eye = torch.eye(len(self.covariance), dtype=decoder.dtype, device=decoder.device)
        system = scale[..., None, None] * self.covariance + self.encoder_decay * eye
        right = (frame.mT @ decoder.mT @ self.covariance).unsqueeze(-1)
        return frame @ torch.cholesky_solve(right, torch.linalg.cholesky(system)).squeeze(-1)

    def precondition(self, decoder: Tensor, gradient: Tensor, rows: Tensor) -> Tensor:
        """H₀ = (WWᵀ + t)/(2t): in this metric the curvature of an active pair of modes is m_i + m_j, whatever the price."""
        price = self.prices[rows].view(-1, 1, 1)
        return (price * gradient + decoder @ (decoder.mT @ gradient)) / (2 * (price + self.decoder_decay))

    def _precision(self, decoder: Tensor, price: Tensor) -> tuple[Tensor, Tensor]:
        precision = decoder.mT @ decoder
        precision = precision + price * torch.eye(decoder.shape[2], dtype=decoder.dtype, device=decoder.device)
        return precision, torch.linalg.cholesky(precision)


def _inner(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).sum((-2, -1))


def random_start(loss: LinearLoss, n_latent: int, generator: torch.Generator) -> Tensor:
    """Gaussian decoders of expected square norm 1, the total variance: (n_prices, n_features, n_latent)."""
    n_features = len(loss.covariance)
    return _noise((len(loss.prices), n_features, n_latent), loss, generator) / (n_features * n_latent) ** 0.5


def equilibrate(loss: LinearLoss, start: Tensor, generator: torch.Generator) -> lbfgs.Minimum:
    """Decoders at the minimum of `loss`, one per price, descending from `start` (n_prices, n_features, n_latent).

    A stationary point may be a saddle: a latent that has collapsed although a direction of the data would pay for it.
    So each solution is kicked by noise and followed down again, until a kick leads nowhere lower.
    """
    # The gradient in its own metric carries about 50 roundings of size eps / price.
    tolerance = (0.3 * torch.finfo(start.dtype).eps / loss.prices).clamp_min(1e-12)
    kick = KICK * loss.prices.sqrt().view(-1, 1, 1)

    def descend(x: Tensor) -> lbfgs.Minimum:
        # At low prices a huge decoder costs almost nothing, and a long step would find one: no optimum has |W|² > tr S = 1.
        return lbfgs.minimize(loss.value_and_gradient, loss.precondition, x, tolerance, max_step=1.0)

    best = descend(start)
    n_iterations = best.n_iterations
    for _ in range(MAX_KICKS):
        value, best = best.value, descend(best.x + kick * _noise(start.shape, loss, generator))
        n_iterations = n_iterations + best.n_iterations
        lower = value - best.value > 1e-10 * (value.abs() + loss.prices)
        if not lower.any():
            break
    return replace(best, n_iterations=n_iterations, converged=best.converged & ~lower)


def _noise(shape: tuple[int, ...], loss: LinearLoss, generator: torch.Generator) -> Tensor:
    """Drawn on the CPU, so that a seed means the same start on every device."""
    return torch.randn(shape, generator=generator, dtype=loss.covariance.dtype).to(loss.covariance.device)


def gauge(decoder: Tensor, encoder: Tensor, prices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotate the latents so that the posterior precision WᵀW + t·1 is diagonal, largest first.

    The loss is invariant under W → WR, V → RᵀV; only this frame has a diagonal posterior. R comes from the singular
    vectors of the stacked (W; √t·1), whose Gram matrix is the precision. Returns decoder, encoder, posterior variance.
    """
    n_latent = decoder.shape[2]
    floor = prices.sqrt().view(-1, 1, 1) * torch.eye(n_latent, dtype=decoder.dtype, device=decoder.device)
    _, scale, rotation = torch.linalg.svd(torch.cat([decoder, floor], 1), full_matrices=False)
    return decoder @ rotation.mT, rotation @ encoder, prices[:, None] / scale.square()
