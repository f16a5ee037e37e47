"""Laws of the anomaly scores: closed forms, invariances, gradients, one sample at a time, errors."""

import math

import pytest
import torch
from torch import nn

from latentlib import anomaly_scores, encoding, models

DOUBLE = {"dtype": torch.float64}


# Mahalanobis


def test_mahalanobis_score_is_the_quadratic_form(generator):
    query, bank = torch.randn(7, 3, generator=generator, **DOUBLE), torch.randn(50, 3, generator=generator, **DOUBLE)
    labels = torch.arange(50) % 2 + 4
    bank[labels == 5] += 3
    means = torch.stack([bank[labels == c].mean(0) for c in (4, 5)])
    residual = bank - means[labels - 4]
    covariance = residual.T @ residual / 50
    for shrinkage in (0.0, 0.3, 1.0):
        shrunk = (1 - shrinkage) * covariance + shrinkage * covariance.trace() / 3 * torch.eye(3, **DOUBLE)
        gap = query[:, None] - means
        expected = (gap @ shrunk.inverse() * gap).sum(-1).min(1).values
        found = anomaly_scores.mahalanobis_score(query, bank, labels=labels, shrinkage=shrinkage)
        # Condition numbers under 10: a hundred roundings.
        assert torch.allclose(found, expected, rtol=1e-13, atol=0)


def test_mahalanobis_score_of_gaussian_codes_is_chi_square(generator):
    n_latent, n_samples = 5, 20_000
    mix = torch.randn(n_latent, n_latent, generator=generator, **DOUBLE)
    query, bank = (torch.randn(n_samples, n_latent, generator=generator, **DOUBLE) @ mix + 7 for _ in range(2))
    found = anomaly_scores.mahalanobis_score(query, bank)
    # χ²_n: mean n, variance 2n, fourth central moment 12n(n + 4), each within 4 s.e.; the fitted mean and covariance
    # shift them by O(n²/N) = 0.1 %, within that. The bank is as noisy as the query: twice the variance.
    mean_se = math.sqrt(2 * 2 * n_latent / n_samples)
    var_se = math.sqrt(2 * (12 * n_latent * (n_latent + 4) - (2 * n_latent) ** 2) / n_samples)
    assert abs(found.mean().item() - n_latent) <= 4 * mean_se
    assert abs(found.var().item() - 2 * n_latent) <= 4 * var_se


def test_mahalanobis_score_keeps_under_affine_maps(generator):
    query, bank = torch.randn(20, 4, generator=generator, **DOUBLE), torch.randn(60, 4, generator=generator, **DOUBLE)
    mix = torch.randn(4, 4, generator=generator, **DOUBLE) + 3 * torch.eye(4, **DOUBLE)
    expected = anomaly_scores.mahalanobis_score(query, bank)
    found = anomaly_scores.mahalanobis_score(query @ mix + 100, bank @ mix + 100)
    # An offset of 100 costs two digits of 16, the condition number of the covariance up to two more, squared four.
    assert torch.allclose(found, expected, rtol=1e-9, atol=0)
    shrunk = anomaly_scores.mahalanobis_score(query, bank, shrinkage=1.0)
    scaled = anomaly_scores.mahalanobis_score(query @ mix, bank @ mix, shrinkage=1.0)
    assert not torch.allclose(shrunk, scaled, rtol=0.01)


def test_mahalanobis_score_needs_full_rank(generator):
    bank = torch.randn(8, 10, generator=generator)
    with pytest.raises(ValueError, match="full rank 10, got 7 from 8 points: take shrinkage > 0"):
        anomaly_scores.mahalanobis_score(bank, bank)
    assert anomaly_scores.mahalanobis_score(bank, bank, shrinkage=0.1).isfinite().all()
    flat = torch.randn(50, 3, generator=generator)
    flat[:, 2] = 2 * flat[:, 0]
    with pytest.raises(ValueError, match="full rank 3, got 2 from 50"):
        anomaly_scores.mahalanobis_score(flat.double(), flat.double())
    with pytest.raises(ValueError, match="got 0 from 4"):
        anomaly_scores.mahalanobis_score(torch.ones(4, 2), torch.ones(4, 2), shrinkage=0.5)


def test_mahalanobis_score_refuses_bad_input(generator):
    z = torch.randn(20, 3, generator=generator)
    with pytest.raises(ValueError, match=r"shrinkage: want a share in \[0, 1\], got 2"):
        anomaly_scores.mahalanobis_score(z, z, shrinkage=2)
    with pytest.raises(ValueError, match="one n_latent, got 3 and 2"):
        anomaly_scores.mahalanobis_score(z, z[:, :2])
    with pytest.raises(ValueError, match="labels: want one a point"):
        anomaly_scores.mahalanobis_score(z, z, labels=torch.zeros(19, dtype=torch.int64))
    with pytest.raises(ValueError, match="finite"):
        anomaly_scores.mahalanobis_score(z, z / 0)


# Isolation forest


def test_isolation_score_ranks_the_far_above_the_near(generator):
    bank = torch.randn(400, 4, generator=generator)
    far = torch.tensor([[6.0, 6, 6, 6], [-6, -6, -6, -6], [6, -6, 6, -6]])
    found = anomaly_scores.isolation_score(torch.cat([bank[:100], far]), bank, seed=0)
    assert ((found > 0) & (found < 1)).all()
    assert found[100:].min() > found[:100].max()
    again = anomaly_scores.isolation_score(torch.cat([bank[:100], far]), bank, seed=0)
    other = anomaly_scores.isolation_score(torch.cat([bank[:100], far]), bank, seed=1)
    assert torch.equal(found, again) and not torch.equal(found, other)


def test_isolation_score_of_equal_points_is_one_half():
    """A bank of one repeated point cannot be split: depth is c of the 256 points at the root, s = 2^(−1)."""
    found = anomaly_scores.isolation_score(torch.zeros(3, 2), torch.zeros(300, 2), seed=0)
    assert torch.allclose(found, torch.full((3,), 0.5, dtype=torch.float64), atol=1e-6)  # float32 depths
    with pytest.raises(ValueError, match="n_trees: want 1 or more, got 0"):
        anomaly_scores.isolation_score(torch.ones(3, 2), torch.ones(3, 2), n_trees=0, seed=0)


# Reconstruction


def test_reconstruction_score_is_the_square_error_per_value(generator):
    model = models.MLPVAE(6, 3, hidden=(8,), seed=0).double()
    x = torch.randn(11, 6, generator=generator, **DOUBLE)
    with torch.no_grad():
        z = model.encode(x)[0]
        expected = (model.decode(z) - x).square().mean(1)
        on_sphere = (model.decode(z * (3**0.5 / z.norm(dim=1, keepdim=True))) - x).square().mean(1)
    found = anomaly_scores.reconstruction_score(model, x, on_sphere=False, batch_size=4)
    assert torch.allclose(found, expected, rtol=1e-12)  # a matrix product may round by the size of its batch
    assert torch.allclose(anomaly_scores.reconstruction_score(model, x, on_sphere=True), on_sphere, rtol=1e-12)
    assert not torch.allclose(expected, on_sphere, rtol=0.01)


@pytest.mark.parametrize("on_sphere", [False, True])
def test_reconstruction_score_averages_to_the_rms(generator, on_sphere):
    """In evaluation mode whatever the mode of the model, which is left as it was."""
    model = models.ResidualVAE((1, 8, 8), 3, channels=(2, 3), seed=0).train()
    x = torch.rand(20, 1, 8, 8, generator=generator)
    found = anomaly_scores.reconstruction_score(model, x, on_sphere=on_sphere)
    # float32 images of 64 values, squares of order 0.1.
    assert found.mean().sqrt().item() * 100 == pytest.approx(
        encoding.rms_percent(model, x, on_sphere=on_sphere), rel=1e-5
    )
    assert model.training
    alone = anomaly_scores.reconstruction_score(model, x[:1], on_sphere=on_sphere)
    assert torch.allclose(found[:1], alone, rtol=1e-5)


def test_reconstruction_score_refuses_bad_input(generator):
    x = torch.rand(4, 6, generator=generator)
    model = models.MLPVAE(6, 3, hidden=(8,), seed=0)
    with pytest.raises(ValueError, match="batch_size: want 1 or more, got 0"):
        anomaly_scores.reconstruction_score(model, x, on_sphere=False, batch_size=0)
    for bad in (x[:0], x.int()):
        with pytest.raises(ValueError, match="x: want floating"):
            anomaly_scores.reconstruction_score(model, bad, on_sphere=False)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.zero_()
    with pytest.raises(ValueError, match="mu: want rows of positive finite norm, got norm 0 in row 0"):
        anomaly_scores.reconstruction_score(model, x, on_sphere=True)


# Logits


def test_msp_score_is_one_minus_the_largest_softmax(generator):
    logits = 3 * torch.randn(50, 10, generator=generator, **DOUBLE)
    found = anomaly_scores.msp_score(logits)
    assert torch.allclose(found, 1 - logits.softmax(1).max(1).values, rtol=0, atol=1e-15)
    assert anomaly_scores.msp_score(torch.zeros(1, 4)).item() == 0.75


def test_msp_score_orders_where_the_softmax_saturates():
    """p rounds to 1 in float64 from a gap of 37 on; 1 − p = (C − 1)e^(−gap) does not."""
    gap = torch.tensor([40.0, 50.0, 60.0])
    logits = torch.stack([gap, *torch.zeros(2, 3)], 1)
    expected = 2 * (-gap.double()).exp()
    assert torch.allclose(anomaly_scores.msp_score(logits), expected, rtol=1e-14, atol=0)


def test_energy_score_is_the_free_energy(generator):
    logits = torch.randn(30, 5, generator=generator)
    found = anomaly_scores.energy_score(logits, temperature=2.0)
    expected = -2 * (logits.double() / 2).exp().sum(1).log()
    assert torch.allclose(found, expected, rtol=1e-14, atol=1e-14)
    assert torch.allclose(anomaly_scores.energy_score(logits + 5), anomaly_scores.energy_score(logits) - 5, atol=1e-5)
    # Between −max − τ log C and −max; the lower bound at equal logits.
    assert anomaly_scores.energy_score(torch.zeros(1, 8)).item() == pytest.approx(-math.log(8), rel=1e-15)
    assert anomaly_scores.energy_score(torch.tensor([[1e4, 0.0]])).item() == -1e4


def test_odin_score_without_a_step_is_msp_at_the_temperature(generator):
    classifier = nn.Linear(6, 4).double()
    x = torch.randn(9, 6, generator=generator, **DOUBLE)
    found = anomaly_scores.odin_score(classifier, x, temperature=10, step=0, batch_size=4)
    assert torch.allclose(found, anomaly_scores.msp_score(classifier(x) / 10), rtol=1e-12)


def test_odin_score_of_a_linear_classifier_is_exact(generator):
    """Two classes with margin m = w·x: the step moves every coordinate towards more confidence, |m| → |m| + ε|w|₁."""
    weight = torch.randn(5, generator=generator, **DOUBLE)
    x = torch.randn(40, 5, generator=generator, **DOUBLE)
    margin = (x @ weight).abs() + 0.01 * weight.abs().sum()
    expected = torch.sigmoid(-margin / 3)

    def classifier(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x @ weight, torch.zeros(len(x), **DOUBLE)], 1)

    found = anomaly_scores.odin_score(classifier, x, temperature=3.0, step=0.01)
    assert torch.allclose(found, expected, rtol=1e-12, atol=0)


def test_odin_score_steps_along_the_slope_at_its_temperature(generator):
    """The slope of log max_c p_c(x; τ), by hand: W_max − Σ_c p_c W_c. Its signs depend on τ from three classes on."""
    classifier = nn.Linear(8, 5, bias=False).double()
    with torch.no_grad():
        classifier.weight.copy_(3 * torch.randn(5, 8, generator=generator, **DOUBLE))
    x = torch.randn(30, 8, generator=generator, **DOUBLE)
    weight = classifier.weight.detach()
    signs = []
    for temperature in (1.0, 1000.0):
        share = (x @ weight.T / temperature).softmax(1)
        signs.append((weight[share.argmax(1)] - share @ weight).sign())
        expected = anomaly_scores.msp_score((x + 0.1 * signs[-1]) @ weight.T / temperature)
        found = anomaly_scores.odin_score(classifier, x, temperature=temperature, step=0.1, batch_size=7)
        assert torch.allclose(found, expected, rtol=1e-10, atol=0)
    assert not torch.equal(*signs)


def test_odin_score_leaves_the_network_alone(generator):
    network = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)).eval()
    x = torch.randn(9, 6, generator=generator)
    with torch.no_grad():  # the caller's mode does not stop the gradient in x
        before = {name: value.clone() for name, value in network.state_dict().items()}
        anomaly_scores.odin_score(network, x)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters()) and not x.requires_grad
    with pytest.raises(ValueError, match="call .eval"):
        anomaly_scores.odin_score(network.train(), x)


@pytest.mark.parametrize("logits", [torch.zeros(3), torch.zeros(3, 1), torch.zeros(3, 2).int(), [[1.0, 2.0]]])
def test_logit_scores_refuse_bad_logits(logits):
    for score in (anomaly_scores.msp_score, anomaly_scores.energy_score):
        with pytest.raises(ValueError, match="logits: want floating"):
            score(logits)
    with pytest.raises(ValueError, match="logits: want floating"):
        anomaly_scores.odin_score(lambda x: logits, torch.zeros(3, 2))


def test_logit_scores_refuse_bad_options():
    logits = torch.zeros(2, 3)
    for score in (anomaly_scores.msp_score, anomaly_scores.energy_score):
        with pytest.raises(ValueError, match="logits: want finite"):
            score(logits / 0)
    for temperature in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="temperature: want a positive finite"):
            anomaly_scores.energy_score(logits, temperature=temperature)
        with pytest.raises(ValueError, match="temperature: want a positive finite"):
            anomaly_scores.odin_score(nn.Identity(), logits, temperature=temperature)
    for step in (-0.1, math.nan, math.inf):
        with pytest.raises(ValueError, match="step: want a finite number >= 0"):
            anomaly_scores.odin_score(nn.Identity(), logits, step=step)
