"""Equilibrium of the linear Gaussian β-VAE: the loss, its optimum over a scan of prices, and the certificate of both."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlib.reduced_loss import LinearLoss, equilibrate, gauge, random_start


@dataclass(frozen=True)
class CollapseScan:
    """A linear VAE at its optimum for each information price; latents ranked by signal fraction, largest first.

    prices (n_prices,); signal_fraction, log_var, rate (nats) all (n_prices, n_latent); distortion (n_prices,), share of
    the total variance, by posterior sample; encoder (n_prices, n_latent, n_features): μ = Vx of centred data; decoder
    (n_prices, n_features, n_latent): x̂ = Wz; grad_norm (n_prices,): largest component of autograd's gradient of `loss`;
    converged (bool) and n_iterations (n_prices,).
    """

    prices: Tensor
    signal_fraction: Tensor
    log_var: Tensor
    rate: Tensor
    distortion: Tensor
    encoder: Tensor
    decoder: Tensor
    grad_norm: Tensor
    converged: Tensor
    n_iterations: Tensor


def loss(covariance: Tensor, encoder: Tensor, decoder: Tensor, log_var: Tensor, prices: Tensor, weight_decay: float = 0.0) -> Tensor:
    """Loss of linear VAEs D̂ + 2T̂R + (l/σ_tot²)(|V|² + |W|²), exact over the data whose covariance is given.

    Times σ_tot²/2 this is ½E|x − x̂|² + T·KL + (l/2)(|V|² + |W|²), the loss per sample at unit decoder variance.
    Shapes as in `CollapseScan`, any leading dimensions. Differentiable. Source: pruning, Eqs. (5–9); l: arXiv:2309.07663.
    """
    total_var = covariance.trace()
    rate = _rate(covariance, encoder, log_var).sum(-1)
    decay = encoder.square().sum((-2, -1)) + decoder.square().sum((-2, -1))
    return _distortion(covariance, encoder, decoder, log_var) + 2 * prices * rate + weight_decay * decay / total_var


def posterior_moment(covariance: Tensor, encoder: Tensor) -> Tensor:
    """⟨μ_k²⟩ of every latent, (…, n_latent)."""
    return ((encoder @ covariance) * encoder).sum(-1)


def _rate(covariance: Tensor, encoder: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) of every latent, averaged over the data, nats."""
    return (posterior_moment(covariance, encoder) + log_var.exp() - 1 - log_var) / 2


def _distortion(covariance: Tensor, encoder: Tensor, decoder: Tensor, log_var: Tensor) -> Tensor:
    """E|x − Wz|²/σ_tot² = (tr (1 − WV) S (1 − WV)ᵀ + Σ σ_k²|W_k|²)/σ_tot²."""
    residual = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device) - decoder @ encoder
    by_mean = ((residual @ covariance) * residual).sum((-2, -1))
    return (by_mean + (decoder.square().sum(-2) * log_var.exp()).sum(-1)) / covariance.trace()


def equilibrium(
    covariance: Tensor,
    prices: Tensor | Sequence[float],
    n_latent: int,
    *,
    weight_decay: float = 0.0,
    seed: int = 0,
    impl: str | None = None,
) -> CollapseScan:
    """Equilibrium of the linear β-VAE, min over V, W, σ² of D̂ + 2T̂R, at every information price at once.

    Preconditioned L-BFGS on the loss from random starts in float64, all prices as one batch; no eigendecomposition or
    SVD of the covariance. Exact answer without decay: m_k = (1 − T̂ σ_tot²/λ_k)₊; with weight decay l mode k collapses at
    T = λ_k/(1+l) − l/λ_k in data units (there it may be one of two minima, and the start decides).
    Args: covariance of centred data, (n_features, n_features); prices T̂ > 0, (n_prices,); n_latent, latents of the VAE,
    superfluous ones collapse; weight_decay l ≥ 0, per sample, in the units of `loss`; seed of the random starts;
    impl, None or 'reference' (this solver has no kernel).
    Raises: ValueError for a covariance that is not square, symmetric, finite, positive semidefinite and non-zero,
    for prices that are not positive, n_latent < 1, weight_decay < 0, or an unknown impl.
    """
    if impl not in (None, "reference"):
        raise ValueError(f"impl: want None or 'reference' (the equilibrium solver has no kernel), got {impl!r}")
    covariance = _checked_covariance(covariance)
    prices = _checked_prices(prices, covariance.device)
    if isinstance(n_latent, bool) or not isinstance(n_latent, int) or n_latent < 1:
        raise ValueError(f"n_latent: want a whole number ≥ 1, got {n_latent!r}")
    if not 0 <= weight_decay < float("inf"):
        raise ValueError(f"weight_decay: want a finite number ≥ 0, got {weight_decay!r}")
    scale = covariance.trace().sqrt()  # the solver works at unit total variance: W/scale, V·scale
    problem = LinearLoss(covariance / scale**2, prices, weight_decay, weight_decay / scale.item() ** 4)
    generator = torch.Generator().manual_seed(seed)
    found = equilibrate(problem, random_start(problem, n_latent, generator), generator)
    encoder = problem.encoder(found.x, torch.arange(len(prices), device=prices.device))
    decoder, encoder, variance = gauge(found.x, encoder, prices)
    return _ranked_scan(covariance, prices, encoder / scale, decoder * scale, variance.log(), weight_decay, found)


def _checked_covariance(covariance: Tensor) -> Tensor:
    covariance = torch.as_tensor(covariance)
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1] or len(covariance) == 0:
        raise ValueError(f"covariance: want (n_features, n_features), got {tuple(covariance.shape)}")
    covariance = covariance.to(torch.float64)
    total_var = covariance.trace()
    if not (covariance.isfinite().all() and total_var > 0):
        raise ValueError("covariance: want finite entries and a positive trace, got NaN, infinity or no variance")
    if (covariance - covariance.mT).abs().max() > 1e-8 * total_var:
        raise ValueError("covariance: want a symmetric matrix, got one that differs from its transpose")
    floor = 1e-8 * total_var * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    if torch.linalg.cholesky_ex(covariance + floor).info > 0:
        raise ValueError("covariance: want a positive semidefinite matrix, got one with a negative direction")
    return (covariance + covariance.mT) / 2


def _checked_prices(prices: Tensor | Sequence[float], device: torch.device) -> Tensor:
    prices = torch.as_tensor(prices, dtype=torch.float64, device=device)
    if prices.ndim != 1 or len(prices) == 0 or not ((prices > 0) & prices.isfinite()).all():
        raise ValueError(f"prices: want (n_prices > 0,), all finite and > 0, got shape {tuple(prices.shape)}: {prices}")
    return prices


def _ranked_scan(covariance, prices, encoder, decoder, log_var, weight_decay, found) -> CollapseScan:
    second_moment = posterior_moment(covariance, encoder)
    fraction, rank = (second_moment / (second_moment + log_var.exp())).sort(dim=1, descending=True)
    encoder = encoder.gather(1, rank[:, :, None].expand_as(encoder))
    decoder = decoder.gather(2, rank[:, None, :].expand_as(decoder))
    log_var = log_var.gather(1, rank)
    return CollapseScan(
        prices=prices,
        signal_fraction=fraction,
        log_var=log_var,
        rate=_rate(covariance, encoder, log_var),
        distortion=_distortion(covariance, encoder, decoder, log_var),
        encoder=encoder,
        decoder=decoder,
        grad_norm=_grad_norm(covariance, encoder, decoder, log_var, prices, weight_decay),
        converged=found.converged,
        n_iterations=found.n_iterations,
    )


def _grad_norm(covariance, encoder, decoder, log_var, prices, weight_decay) -> Tensor:
    """Largest component of autograd's gradient of `loss`, per price: the certificate of stationarity."""
    weights = [w.detach().clone().requires_grad_() for w in (encoder, decoder, log_var)]
    with torch.enable_grad():
        total = loss(covariance, *weights, prices, weight_decay).sum()
        gradients = torch.autograd.grad(total, weights)
    return torch.stack([g.flatten(1).abs().amax(1) for g in gradients]).amax(0)
