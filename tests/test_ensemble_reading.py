"""Readings of an ensemble: the exact law to 1e-6, two ways of truncating agree, diagnostics by hand."""

import math

import pytest
import torch
from latentlib import collapse, ensemble, ensemble_reading
from latentlib._moments import covariance

PRICES = torch.tensor([0.01, 0.06, 0.2], dtype=torch.float64)


@pytest.fixture(scope="module")
def x():
    """Non-Gaussian samples with their own spectrum."""
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    return torch.rand(300, 4, generator=generator, dtype=torch.float64).square() @ mixing


def of_weights(encoder, decoder, x, activation="relu", prices=PRICES):
    """An ensemble with given layers; the readings need no history."""
    total_var = covariance(x).trace().item()
    n_seeds = encoder[0][0].shape[0]
    return ensemble.Ensemble(prices, tuple(range(n_seeds)), encoder, decoder, activation, total_var, {}, 0, False)


@pytest.fixture(scope="module")
def solved(x):
    """The exact optimum of the linear VAE, as an ensemble for x that is not centred."""
    scan = collapse.equilibrium(covariance(x), PRICES, 5)
    mean = x.mean(0)
    to_mean = scan.encoder.mT
    weight = torch.cat([to_mean, torch.zeros_like(to_mean)], -1)
    bias = torch.cat([-(mean @ to_mean), scan.log_var], -1)[:, None]
    decoder = [(scan.decoder.mT[None], mean.expand(1, len(PRICES), 1, -1))]
    return scan, of_weights([(weight[None], bias[None])], decoder, x)


def test_read_ensemble_of_the_optimum_is_the_exact_law(x, solved):
    _, found = solved
    reading = ensemble_reading.read_ensemble(found, x)
    share = torch.linalg.eigvalsh(covariance(x)).flip(0) / covariance(x).trace()
    exact = torch.nn.functional.pad((1 - PRICES[:, None] / share).clamp_min(0), (0, 1))
    rate = -0.5 * (1 - exact).log()
    assert (reading.signal_fraction[0] - exact).abs().max() <= 1e-6
    assert (reading.rate[0] - rate).abs().max() <= 1e-6
    distortion = torch.minimum(share, PRICES[:, None]).sum(1)
    assert (reading.distortion[0] - distortion).abs().max() <= 1e-6
    assert (reading.loss[0] - distortion - 2 * PRICES * rate.sum(1)).abs().max() <= 1e-9  # second order
    assert (reading.scale_drift - 1).abs().max() <= 1e-6
    assert reading.jensen_gap.max() <= 1e-14
    assert torch.equal(reading.n_active()[0], (exact > 0.01).sum(1))
    # Truncated: by sample every decoded mode leaves λ(1 − m), by mean λ(1 − m)².
    padded = torch.nn.functional.pad(share, (0, 1))
    for values, gain in ((reading.truncated_sample, exact), (reading.truncated_mean, exact * (2 - exact))):
        left = 1 - torch.cat([torch.zeros(len(PRICES), 1), (padded * gain).cumsum(1)], 1)
        assert (values[0] - left).abs().max() <= 1e-6
    active = exact > 0
    for decode in ("mean", "sample"):
        assert (reading.utility(decode, corrected=True)[0] - padded).abs()[active].max() <= 1e-6


@pytest.mark.parametrize("decode", ["mean", "sample"])
def test_read_ensemble_utility_is_that_of_collapse(x, solved, decode):
    scan, found = solved
    weights = covariance(x), scan.encoder, scan.decoder, scan.log_var
    expected = collapse.utility_spectrum(*weights, decode=decode)
    assert (ensemble_reading.read_ensemble(found, x).utility(decode)[0] - expected).abs().max() <= 1e-12


def affine_ensemble(generator, x, n_seeds=2, n_latent=3):
    """Random weights: every posterior depends on x, nothing is at an optimum."""

    def draw(*shape):
        return torch.randn(n_seeds, len(PRICES), *shape, generator=generator, dtype=torch.float64) / 2

    encoder = [(draw(4, 2 * n_latent), draw(1, 2 * n_latent))]
    return of_weights(encoder, [(draw(n_latent, 4), draw(1, 4))], x)


def as_nonlinear(found, shift=200.0):
    """The same linear decoder as a rectified one: relu(z + shift) − shift = z."""
    weight, bias = found.decoder[0]
    eye = torch.eye(weight.shape[-2], dtype=torch.float64).expand(*weight.shape[:2], -1, -1)
    bend = (eye, torch.full_like(eye[..., :1, :], shift))
    decoder = [bend, (weight, bias - shift * weight.sum(-2, keepdim=True))]
    return ensemble.Ensemble(**vars(found) | {"decoder": decoder})


def test_read_ensemble_truncates_alike_in_closed_form_and_by_decoding(generator, x):
    linear = affine_ensemble(generator, x)
    reading = ensemble_reading.read_ensemble(linear, x)
    bent = as_nonlinear(linear)
    decoded = [ensemble_reading.read_ensemble(bent, x, n_draws=2, seed=seed) for seed in range(40)]
    assert torch.allclose(decoded[0].truncated_mean, reading.truncated_mean, rtol=1e-10)
    assert torch.allclose(decoded[0].truncated_sample[..., 0], reading.truncated_sample[..., 0], rtol=1e-10)
    sampled = torch.stack([each.truncated_sample[..., 1:] for each in decoded])
    pull = (sampled.mean(0) - reading.truncated_sample[..., 1:]) / (sampled.std(0) / 40**0.5)
    assert pull.abs().max() < 4  # standard errors
    assert reading.truncated_mean.std() > 0.1  # there is something to agree on


def test_read_ensemble_truncated_distortion_is_that_of_the_decoded_latents(generator, x):
    found = affine_ensemble(generator, x)
    reading = ensemble_reading.read_ensemble(found, x, rank_by="mean_square")
    mu, _ = found.encode(x)
    for n_kept in range(4):
        keep = torch.zeros(2, len(PRICES), 1, 3, dtype=torch.float64)
        keep.scatter_(-1, reading.rank[..., None, :n_kept], 1.0)
        error = (x - found.decode(mu * keep)).square().sum(-1).mean(-1) / found.total_var
        assert torch.allclose(reading.truncated_mean[..., n_kept], error, rtol=1e-12)


@pytest.mark.parametrize("rank_by", ["signal_fraction", "rate", "mean_square"])
def test_read_ensemble_ranks_by_what_was_asked(generator, x, rank_by):
    found = affine_ensemble(generator, x)
    reading = ensemble_reading.read_ensemble(found, x, rank_by=rank_by)
    assert (getattr(reading, rank_by).diff(dim=-1) <= 0).all()
    mu, log_var = found.encode(x)
    for name, value in (
        ("signal_fraction", mu.square().mean(-2) / (mu.square().mean(-2) + log_var.exp().mean(-2))),
        ("rate", ((mu.square() + log_var.exp() - 1 - log_var) / 2).mean(-2)),
        ("mean_square", mu.square().mean(-2)),
        ("scale_drift", (mu.square() + log_var.exp()).mean(-2)),
        ("jensen_gap", log_var.exp().mean(-2).log() - log_var.mean(-2)),
    ):
        assert torch.allclose(getattr(reading, name), value.gather(-1, reading.rank), rtol=1e-10), name
    assert reading.jensen_gap.min() > 0


def test_read_ensemble_signal_fraction_survives_a_scale_drift_and_mean_square_does_not(x, solved):
    """z_k → c_k z_k with the decoder after it: m and D̂ stay, ⟨μ²⟩ takes c_k²."""
    _, found = solved
    scale = torch.tensor([0.1, 1.0, 3.0, 0.5, 2.0]).double()
    (weight, bias), (readout, offset) = found.encoder[0], found.decoder[0]
    both = torch.cat([scale, torch.ones_like(scale)])
    shift = torch.cat([torch.zeros_like(scale), 2 * scale.log()])
    drifted = of_weights([(weight * both, bias * both + shift)], [(readout / scale[:, None], offset)], x)
    one, other = (ensemble_reading.read_ensemble(each, x) for each in (found, drifted))
    assert torch.allclose(one.signal_fraction, other.signal_fraction, rtol=1e-10)
    assert torch.allclose(one.truncated_sample, other.truncated_sample, rtol=1e-10)
    latent = other.rank[0, 0, 0]
    assert other.mean_square[0, 0, 0] == pytest.approx((scale[latent] ** 2 * one.mean_square[0, 0, 0]).item())


def test_read_ensemble_of_a_linear_encoder_is_that_of_the_same_map_with_a_hidden_layer(generator, x):
    found = affine_ensemble(generator, x)
    weight, bias = found.encoder[0]
    eye = torch.eye(4, dtype=torch.float64).expand(2, len(PRICES), -1, -1)
    hidden = (eye, torch.full_like(eye[..., :1, :], 200.0))  # relu(x + 200) = x + 200
    deep = [hidden, (weight, bias - 200 * weight.sum(-2, keepdim=True))]
    other = ensemble.Ensemble(**vars(found) | {"encoder": deep})
    one, other = (vars(ensemble_reading.read_ensemble(each, x)) for each in (found, other))
    assert all(torch.allclose(one[name], other[name], rtol=1e-10, atol=1e-12) for name in one)


def test_read_ensemble_by_greedy_utility_takes_the_best_latent_each_time(generator, x):
    found = affine_ensemble(generator, x, n_latent=5)
    reading = ensemble_reading.read_ensemble(found, x, rank_by="greedy")
    mu, _ = found.encode(x)
    kept = torch.zeros(2, len(PRICES), 1, 5, dtype=torch.float64)
    for k in range(5):
        eye = torch.eye(5, dtype=torch.float64)
        trials = [(x - found.decode(mu * (kept + one * (1 - kept)))).square().sum((-2, -1)) for one in eye]
        taken = kept.squeeze(2).bool()
        best = torch.stack(trials, -1).masked_fill(taken, torch.inf).argmin(-1)
        assert torch.equal(reading.rank[..., k], best)
        kept.scatter_(-1, best[..., None, None], 1.0)
    by_m = ensemble_reading.read_ensemble(found, x)
    assert (reading.truncated_mean[..., 1] <= by_m.truncated_mean[..., 1]).all()
    assert not torch.equal(reading.rank, by_m.rank)


def test_read_ensemble_of_samples_far_from_zero_loses_no_digits(x, solved):
    _, found = solved
    (weight, bias), (readout, offset) = found.encoder[0], found.decoder[0]
    moved = of_weights([(weight, bias - 1e6 * weight.sum(-2, keepdim=True))], [(readout, offset + 1e6)], x)
    near, far = ensemble_reading.read_ensemble(found, x), ensemble_reading.read_ensemble(moved, x + 1e6)
    assert (near.truncated_mean - far.truncated_mean).abs().max() <= 1e-8  # 1e6·2⁻⁵³ of x, relative to its spread


def test_read_ensemble_does_not_depend_on_slices(generator, x, monkeypatch):
    found = affine_ensemble(generator, x)
    for each in (found, as_nonlinear(found)):
        whole = ensemble_reading.read_ensemble(each, x)
        with monkeypatch.context() as patch:
            patch.setattr(ensemble_reading, "READING_CHUNK", 7 * 8 * 6)
            sliced = ensemble_reading.read_ensemble(each, x)
        for name in ("signal_fraction", "rate", "truncated_mean"):
            assert torch.allclose(getattr(whole, name), getattr(sliced, name), rtol=1e-11)


def test_read_ensemble_agrees_with_the_loss_of_the_training(x):
    settings = {"n_latent": 2, "n_steps": 400, "batch_size": 256, "learning_rate": 1e-2, "progress": False}
    found = ensemble.fit_ensemble(x, PRICES, hidden=(8,), **settings)
    reading = ensemble_reading.read_ensemble(found, x, n_draws=20)
    # The last window is 100 batches of 256 at a vanishing learning rate: errors under 1 % of what is measured.
    assert torch.allclose(reading.loss, found.history["loss"][..., -1], rtol=0.02)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"rank_by": "size"}, "rank_by: want 'signal_fraction' or 'rate' or 'mean_square' or 'greedy', got 'size'"),
        ({"ensemble": "nonlinear", "rank_by": "greedy"}, "want a linear decoder for 'greedy', got one of 2 layers"),
        ({"n_draws": 0}, "n_draws: want an integer ≥ 1, got 0"),
        ({"x": torch.zeros(5, 3)}, r"x: want \(n_samples, 4\), got \(5, 3\)"),
        ({"x": torch.zeros(0, 4)}, r"x: want floating \(n_samples > 0, ...\)"),
        ({"x": torch.full((5, 4), math.nan)}, "x: want finite values, got 20 that are not"),
    ],
)
def test_read_ensemble_refuses_bad_input(solved, x, change, message):
    if "ensemble" in change:
        change = change | {"ensemble": as_nonlinear(solved[1])}
    with pytest.raises(ValueError, match=message):
        ensemble_reading.read_ensemble(**{"ensemble": solved[1], "x": x} | change)


def test_utility_of_a_reading_refuses_another_decoding(solved, x):
    with pytest.raises(ValueError, match="decode: want 'mean' or 'sample', got 'mode'"):
        ensemble_reading.read_ensemble(solved[1], x).utility("mode")
