"""Posterior collapse as a spectrum: the price of information, the signal fraction, thresholds and utilities.

Units: with a Gaussian decoder of variance σ_dec² the loss of a β-VAE is (σ_tot²/2σ_dec²)·(D̂ + 2T̂R): distortion
D̂ = E|x − x̂|²/σ_tot², rate R in nats, information price T̂ = β σ_dec²/σ_tot² (pruning, Eqs. 5–9).
"""

import math

import torch
from torch import Tensor

from latentlib.equilibrium import CollapseScan, equilibrium, loss, posterior_moment

__all__ = [
    "CollapseScan", "equilibrium", "fit_threshold", "kl_weight", "loss", "price", "signal_fraction", "utility_spectrum",
]


def price(kl_weight: float, decoder_var: float, total_var: float) -> float:
    """Information price T̂ = β σ_dec²/σ_tot²: what one nat of rate costs, as a share of the total variance (times ½).

    Dimensionless. Collapse of mode k happens at T̂ = λ_k/σ_tot². No factor 2: that belongs to the rate.
    Raises: ValueError unless kl_weight ≥ 0, decoder_var > 0 and total_var > 0.
    """
    _require_scales(kl_weight, decoder_var, total_var, "kl_weight")
    return kl_weight * decoder_var / total_var


def kl_weight(price: float, decoder_var: float, total_var: float) -> float:
    """Weight of the KL term β = T̂ σ_tot²/σ_dec² that sets an information price: the inverse of `price`.

    Raises: ValueError unless price ≥ 0, decoder_var > 0 and total_var > 0.
    """
    _require_scales(price, decoder_var, total_var, "price")
    return price * total_var / decoder_var


def _require_scales(weight: float, decoder_var: float, total_var: float, name: str) -> None:
    if not (weight >= 0 and decoder_var > 0 and total_var > 0 and all(map(math.isfinite, (weight, decoder_var, total_var)))):
        raise ValueError(f"want finite {name} ≥ 0, decoder_var > 0, total_var > 0, got {weight}, {decoder_var}, {total_var}")


def signal_fraction(mu: Tensor, log_var: Tensor) -> Tensor:
    """Signal fraction m_k = ⟨μ_k²⟩ / (⟨μ_k²⟩ + ⟨σ_k²⟩), ⟨·⟩ over samples: the order parameter of collapse.

    Dimensionless, in [0, 1], unchanged under z_k → c·z_k. Source: pruning, Eq. (13).
    Args: mu, posterior means, (n_samples, n_latent); log_var, natural log of the variances, same shape, dtype, device.
    Returns: (n_latent,). Raises: ValueError if the shapes differ, there are no samples, or a value is not finite.
    """
    if mu.shape != log_var.shape or mu.ndim != 2 or len(mu) == 0:
        raise ValueError(f"want two (n_samples > 0, n_latent), got {tuple(mu.shape)} and {tuple(log_var.shape)}")
    if not (mu.isfinite().all() and log_var.isfinite().all()):
        raise ValueError("want finite mu and log_var, got NaN or infinity")
    second_moment = mu.square().mean(0)
    return second_moment / (second_moment + log_var.exp().mean(0))


def fit_threshold(
    prices: Tensor, signal_fraction: Tensor, *, amplitude: float | None = 1.0, m_range: tuple[float, float] = (1e-3, 1.0)
) -> tuple[Tensor, Tensor]:
    """Collapse threshold T̂_c of each latent: least-squares fit of m = A (1 − T̂/T̂_c), exponent 1, to its active points.

    amplitude A = 1 is the exact law of the linear VAE; None fits it too, for m_range near 0, where weight decay or a
    nonlinear decoder bend the branch. Points outside the open m_range do not enter.
    Args: prices (n_prices,); signal_fraction (n_prices, n_latent), ranked. Source: pruning, Fig. 3; law, Eq. (33).
    Returns: thresholds and standard errors (residual scatter, delta method), (n_latent,) each; NaN for a latent that
    has too few active points (one more than parameters are needed for an error).
    Raises: ValueError if the shapes do not fit, a value is not finite, or m_range is empty.
    """
    prices, fraction = torch.as_tensor(prices, dtype=torch.float64), torch.as_tensor(signal_fraction, dtype=torch.float64)
    if prices.ndim != 1 or fraction.ndim != 2 or len(prices) != len(fraction) or len(prices) == 0:
        raise ValueError(f"want prices (n_prices,), signal_fraction (n_prices, n_latent), got {tuple(prices.shape)}, {tuple(fraction.shape)}")
    if not (prices.isfinite().all() and fraction.isfinite().all()):
        raise ValueError("want finite prices and signal_fraction, got NaN or infinity")
    if not m_range[0] < m_range[1]:
        raise ValueError(f"m_range: want (low, high) with low < high, got {m_range}")
    fits = []
    for m in fraction.T:
        active = (m > m_range[0]) & (m < m_range[1])
        fits.append(_line_root(prices[active], m[active], amplitude))
    thresholds, errors = torch.tensor(fits, dtype=torch.float64).T
    return thresholds, errors


def _line_root(prices: Tensor, m: Tensor, amplitude: float | None) -> tuple[float, float]:
    """Root of the line through (price, m) and its standard error; the line has value `amplitude` at price 0 if given."""
    columns = [-prices] if amplitude is not None else [-prices, torch.ones_like(prices)]
    design, target = torch.stack(columns, 1), m - (amplitude or 0.0)
    spare = len(m) - len(columns)
    if spare < 0:
        return math.nan, math.nan
    inverse = torch.linalg.pinv(design.T @ design)
    solution = inverse @ design.T @ target
    slope, value = solution[0], amplitude if amplitude is not None else solution[1]
    root = (value / slope).item()
    sensitivity = torch.tensor([-root, 1.0], dtype=m.dtype)[: len(columns)] / slope  # ∂root/∂(slope, value)
    scatter = (design @ solution - target).square().sum() / spare if spare else torch.tensor(math.nan)
    return root, (scatter * sensitivity @ inverse @ sensitivity).sqrt().item()


def utility_spectrum(
    covariance: Tensor, encoder: Tensor, decoder: Tensor, log_var: Tensor, *, decode: str = "mean", corrected: bool = False
) -> Tensor:
    """Utility of each latent U_k = D̂_{k−1} − D̂_k, the distortion it removes when decoded after latents 1 … k−1.

    D̂_k decodes the first k latents alone, by posterior `decode="mean"` or "sample". Shares of the total variance. For the
    linear VAE at equilibrium U_k = (λ_k/σ_tot²)·m_k(2 − m_k) by mean and (λ_k/σ_tot²)·m_k by sample; corrected=True divides
    by that factor of m_k, so that U_k estimates the PCA share at any price (NaN where m_k = 0).
    Args: covariance (n_features, n_features) of the data the utility is measured on; encoder, decoder, log_var as in
    `CollapseScan`, any leading dimensions. Returns: (…, n_latent). Source: pruning, Eqs. (17–19) and Fig. 2.
    Raises: ValueError for an unknown `decode` or shapes that do not fit.
    """
    if decode not in ("mean", "sample"):
        raise ValueError(f"decode: want 'mean' or 'sample', got {decode!r}")
    if encoder.shape != decoder.mT.shape or log_var.shape != encoder.shape[:-1] or encoder.shape[-1] != len(covariance):
        raise ValueError(
            "want encoder (…, n_latent, n_features), decoder (…, n_features, n_latent), log_var (…, n_latent), covariance of "
            f"n_features, got {tuple(encoder.shape)}, {tuple(decoder.shape)}, {tuple(log_var.shape)}, {tuple(covariance.shape)}"
        )
    noise = log_var.exp() if decode == "sample" else torch.zeros_like(log_var)
    # Adding column k changes |x − x̂|² by −2⟨x̂_k, x⟩ + 2⟨x̂_k, x̂_{<k}⟩ + |x̂_k|²: three traces over the latents.
    gram, moments = decoder.mT @ decoder, encoder @ covariance @ encoder.mT
    cross = (gram * moments).tril(-1).sum(-1)
    alone = gram.diagonal(dim1=-2, dim2=-1) * (moments.diagonal(dim1=-2, dim2=-1) + noise)
    utility = (2 * (decoder.mT * (encoder @ covariance)).sum(-1) - 2 * cross - alone) / covariance.trace()
    if not corrected:
        return utility
    second_moment = posterior_moment(covariance, encoder)
    m = second_moment / (second_moment + log_var.exp())
    return utility / (m * (2 - m) if decode == "mean" else m)
