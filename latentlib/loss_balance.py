"""The weight of a loss relative to the error it competes with, fixed before the first step."""

import torch
from torch import Tensor

from latentlib._vae import VAE
from latentlib.hyperspherical import hyperspherical_loss, sphere_sample


@torch.no_grad()
def equal_kl_weight(model: VAE, x: Tensor, *, labels: Tensor | None = None, seed: int, **loss: object) -> float:
    """The β at which error and loss of a hyperspherical VAE are equal: β = ⟨|x − x̂|²⟩/KL, x̂ = D(√n u/|u|), u = μ + σε.

    Multiples of it are ratios of the two terms at the start, comparable between sizes n, fields and networks. The
    published rule takes the averages over epoch 0 instead, in which they move: `fit_compressed(auto_tune=True)`.
    Args: model, untrained, left as it was; x, one batch, (batch, *sample_shape); labels, where the loss has classes;
        seed of ε; loss, the options of `hyperspherical_loss`; its field is 1 unless given.
    Raises: as `hyperspherical_loss`.
    """
    mu, log_var = model.encode(x)
    kl = hyperspherical_loss(mu, log_var, labels=labels, **loss).total.item()
    made = model.decode(sphere_sample(mu, log_var, torch.Generator(x.device).manual_seed(seed)))
    return (made - x).square().flatten(1).sum(1).mean().item() / kl
