"""The reduced loss: its gradient, its relation to the loss of the VAE, the latent frame, saddles."""

import pytest
import torch
from latentlib import equilibrium, lbfgs
from latentlib.reduced_loss import LinearLoss, equilibrate, gauge, random_start

PRICES = torch.tensor([0.02, 0.1, 0.3], dtype=torch.float64)
ROWS = torch.arange(3)


def covariance(generator, n_features=5):
    root = torch.randn(n_features, n_features, generator=generator, dtype=torch.float64)
    gram = root @ root.T
    return gram / gram.trace()


@pytest.mark.parametrize("decay", [(0.0, 0.0), (0.05, 0.02)])
def test_value_and_gradient_match_autograd(generator, decay):
    loss = LinearLoss(covariance(generator), PRICES, *decay)
    decoder = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    value, gradient = loss.value_and_gradient(decoder, ROWS)
    (expected,) = torch.autograd.grad(value.sum(), decoder)
    # One backward pass through a 4 × 4 solve: some hundred roundings of the largest component.
    assert (gradient - expected).abs().max() <= 1e3 * torch.finfo(torch.float64).eps * expected.abs().max()


@pytest.mark.parametrize("decay", [0.0, 0.04])
def test_reduced_value_is_the_loss_of_the_vae_in_its_gauge(generator, decay):
    data = covariance(generator)
    loss = LinearLoss(data, PRICES, decay, decay)
    decoder = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    value, _ = loss.value_and_gradient(decoder, ROWS)
    decoder, encoder, variance = gauge(decoder, loss.encoder(decoder, ROWS), PRICES)
    full = equilibrium.loss(data, encoder, decoder, variance.log(), PRICES, weight_decay=decay)
    assert torch.allclose(value, full, rtol=1e-12, atol=0)


def test_gauge_diagonalizes_the_posterior_precision(generator):
    decoder = torch.randn(3, 5, 7, generator=generator, dtype=torch.float64)
    rotated, _, variance = gauge(decoder, decoder.mT, PRICES)
    precision = rotated.mT @ rotated + PRICES.view(-1, 1, 1) * torch.eye(7, dtype=torch.float64)
    expected = torch.diag_embed(PRICES[:, None] / variance)
    assert (precision - expected).abs().max() <= 1e-13 * expected.max()


def test_equilibrate_leaves_a_saddle(generator):
    # Latent 2 sits on the weakest direction, latent 3 on none: stationary, yet two stronger directions would pay.
    spectrum = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    price = torch.tensor([0.02], dtype=torch.float64)
    loss = LinearLoss(torch.diag(spectrum), price)
    saddle = torch.zeros(1, 4, 3, dtype=torch.float64)
    saddle[0, 0, 0], saddle[0, 3, 1] = (0.5 - 0.02) ** 0.5, (0.05 - 0.02) ** 0.5
    stuck = lbfgs.minimize(loss.value_and_gradient, loss.precondition, saddle, torch.full((1,), 1e-12, dtype=torch.float64))
    assert stuck.converged.all() and torch.allclose(stuck.x, saddle, atol=1e-12)
    found = equilibrate(loss, saddle, generator)
    strength = torch.linalg.svdvals(found.x)[0].square() + 0.02
    assert found.converged.all() and torch.allclose(strength, spectrum[:3], rtol=1e-8)


def test_random_start_depends_on_the_seed_alone(generator):
    loss = LinearLoss(covariance(generator), PRICES)
    first, again, other = (random_start(loss, 4, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
