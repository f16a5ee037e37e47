"""The weight at which error and loss are equal before the first step."""

import pytest
import torch

from latentlib import hyperspherical, loss_balance, models

LOSS = {"preset": "ijcnn2025", "direction": "half", "eps": 1e-6}


def setting(n_latent=5, seed=0):
    x = torch.rand(40, 12, generator=torch.Generator().manual_seed(seed))
    return models.MLPVAE(12, n_latent, (8,), seed=seed), x


def test_equal_kl_weight_makes_the_terms_equal():
    model, x = setting()
    weight = loss_balance.equal_kl_weight(model, x, seed=3, **LOSS)
    mu, log_var = model.encode(x)
    made = model.decode(hyperspherical.sphere_sample(mu, log_var, torch.Generator().manual_seed(3)))
    kl = hyperspherical.hyperspherical_loss(mu, log_var, **LOSS).total
    assert weight > 0
    torch.testing.assert_close(weight * kl, (made - x).square().sum(1).mean())


def test_equal_kl_weight_scales_as_the_error():
    """Twice the data at a decoder of zero: four times the error, the loss of the same codes."""
    model, x = setting()
    with torch.no_grad():
        for parameter in [*model.decoder.parameters()][-2:]:
            parameter.zero_()
        mu, log_var = model.encode(x)
    weight = loss_balance.equal_kl_weight(model, x, seed=3, **LOSS)
    kl = hyperspherical.hyperspherical_loss(mu, log_var, **LOSS).total.item()
    assert weight * kl == pytest.approx(x.square().sum(1).mean().item(), rel=1e-5)


def test_equal_kl_weight_leaves_the_model_and_the_global_generator():
    model, x = setting()
    before, state = {name: of.clone() for name, of in model.state_dict().items()}, torch.get_rng_state()
    first = loss_balance.equal_kl_weight(model, x, seed=3, **LOSS)
    assert first == loss_balance.equal_kl_weight(model, x, seed=3, **LOSS)
    assert first != loss_balance.equal_kl_weight(model, x, seed=4, **LOSS)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(of, before[name]) for name, of in model.state_dict().items())


def test_equal_kl_weight_refuses_what_the_loss_refuses():
    model, x = setting()
    with pytest.raises(ValueError, match="preset: want .ijcnn2025."):
        loss_balance.equal_kl_weight(model, x, seed=0, preset="other")
