"""Which KL weight to take: from the spectrum of the data, by the exact law of the linear VAE, before any training.

    suggestion.suggest_kl_weight(x, target_distortion=0.05).kl_weight
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from latentlib._moments import covariance
from latentlib._training import check_counts, check_positive
from latentlib.collapse import kl_weight

DEFAULT_PRICE = 0.01  # modes with less than one percent of the variance collapse


@dataclass(frozen=True)
class KlWeightSuggestion:
    """A KL weight and what a linear VAE makes of it: T̂ = β σ_dec²/σ_tot², modes with λ_k > T̂ σ_tot² stay.

    kl_weight β; price T̂; n_active, latents that stay; distortion D̂ = Σ min(λ_k, T)/σ_tot², by posterior sample; rate
    R in nats per sample; total_var σ_tot²; pca_share λ_k/σ_tot², (n_features,), falling: also the thresholds T̂_c.
    """

    kl_weight: float
    price: float
    n_active: int
    distortion: float
    rate: float
    total_var: float
    pca_share: Tensor


def suggest_kl_weight(
    x: Tensor, *, price: float | None = None, target_distortion: float | None = None, decoder_var: float = 1.0,
    n_latent: int | None = None,
) -> KlWeightSuggestion:  # fmt: skip
    """KL weight β = T̂ σ_tot²/σ_dec² for a price T̂, or for the one at which D̂ = Σ min(λ_k, T)/σ_tot² is the target.

    Exact for the linear VAE on these samples; a flexible one has no higher loss D̂ + 2T̂R at that price. Price .01 if
    nothing is asked for. The loss is |x − x̂|²/(2σ_dec²) + β KL, both summed over their components: decoder_var = ½ for
    |x − x̂|² + β KL, n_features/2 where the squared error is a mean over features. With n_latent given the modes after
    it have no latent, else every mode has one. x is taken as it is: standardize it first if the model will see it so.
    Args: x, (n_samples, n_features), any real dtype; a constant feature, or fewer samples than features, adds zeros to
    the spectrum. Source: pruning; reverse water-filling.
    Raises: ValueError for other data, data without variance, both price and target, a price or decoder_var not above 0,
    n_latent < 1, or a target not between the distortion without noise (0 with a latent a mode) and 1, that of collapse.
    """
    if price is not None and target_distortion is not None:
        raise ValueError(f"want price or target_distortion, got both: {price} and {target_distortion}")
    check_positive(decoder_var=decoder_var, **{} if price is None else {"price": price})
    check_counts(**{} if n_latent is None else {"n_latent": n_latent})
    x = torch.as_tensor(x)
    eigenvalues = torch.linalg.eigvalsh(covariance(x)).flip(0).clamp_min(0)
    total_var = eigenvalues.sum().item()
    if not (total_var > 0 and (x != x[0]).any()):  # equal numbers may have a variance of rounding
        raise ValueError("x: want samples with variance, got all of them equal")
    share = eigenvalues / total_var
    if target_distortion is not None:
        price = _price_at(target_distortion, share, n_latent)
    price = DEFAULT_PRICE if price is None else float(price)
    coded, lost = share[:n_latent], share[n_latent:].sum() if n_latent else 0.0
    return KlWeightSuggestion(
        kl_weight=kl_weight(price, decoder_var, total_var),
        price=price,
        n_active=int((coded > price).sum()),
        distortion=float(coded.clamp_max(price).sum() + lost),
        rate=float((coded / price).clamp_min(1).log().sum() / 2),
        total_var=total_var,
        pca_share=share,
    )


def _price_at(target: float, share: Tensor, n_latent: int | None) -> float:
    """Root of D̂(T̂) = target: D̂ is the least of the lines jT̂ + Σ_{k>j} share_k, so T̂ the largest of their roots."""
    n_coded = min(n_latent or len(share), len(share))
    tail = torch.cat([share.flip(0).cumsum(0).flip(0)[1:], share.new_zeros(1)])  # Σ_{k>j} share_k, j = 1, 2, …
    floor = tail[n_coded - 1].item()
    if not floor < target < 1:
        reach = f"above {floor:.3g}, which {n_coded} latents cannot go below, and below 1"
        raise ValueError(f"target_distortion: want {reach}, got {target}")
    counts = torch.arange(1, n_coded + 1, dtype=share.dtype, device=share.device)
    return ((target - tail[:n_coded]) / counts).max().item()
