"""Price, signal fraction, threshold fit and utilities: laws, invariances, errors."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from latentlib import collapse

SHARES = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
POSITIVE = st.floats(1e-3, 1e3)


@given(POSITIVE, POSITIVE, POSITIVE)
def test_price_and_kl_weight_are_inverse(weight, decoder_var, total_var):
    price = collapse.price(weight, decoder_var, total_var)
    assert collapse.kl_weight(price, decoder_var, total_var) == pytest.approx(weight, rel=4e-16 * 4)
    assert collapse.price(2 * weight, decoder_var / 2, total_var) == pytest.approx(price, rel=1e-15)


@pytest.mark.parametrize("arguments", [(-1, 1, 1), (1, 0, 1), (1, 1, 0), (float("nan"), 1, 1), (1, float("inf"), 1)])
def test_price_refuses_impossible_scales(arguments):
    with pytest.raises(ValueError, match="decoder_var > 0"):
        collapse.price(*arguments)
    with pytest.raises(ValueError, match="decoder_var > 0"):
        collapse.kl_weight(*arguments)


def test_signal_fraction_by_hand_and_scale_free(generator):
    mu = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    log_var = torch.zeros(2, 2)
    assert collapse.signal_fraction(mu, log_var).tolist() == [0.5, 0.0]
    mu, log_var = (torch.randn(100, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    scale = torch.tensor([0.1, 1.0, 30.0], dtype=torch.float64)
    scaled = collapse.signal_fraction(mu * scale, log_var + 2 * scale.log())
    assert torch.allclose(scaled, collapse.signal_fraction(mu, log_var), rtol=1e-13)


@pytest.mark.parametrize(
    "mu, log_var, message",
    [
        (torch.zeros(3, 2), torch.zeros(3, 1), r"got \(3, 2\) and \(3, 1\)"),
        (torch.zeros(0, 2), torch.zeros(0, 2), "n_samples > 0"),
        (torch.zeros(2), torch.zeros(2), "n_latent"),
        (torch.full((2, 2), float("nan")), torch.zeros(2, 2), "finite"),
    ],
)
def test_signal_fraction_refuses_bad_input(mu, log_var, message):
    with pytest.raises(ValueError, match=message):
        collapse.signal_fraction(mu, log_var)


def exact_branch(prices):
    return (1 - prices[:, None] / SHARES).clamp_min(0)


def test_fit_threshold_recovers_the_exact_law():
    prices = torch.logspace(-3, 0, 40, dtype=torch.float64)
    thresholds, errors = collapse.fit_threshold(prices, exact_branch(prices))
    assert (thresholds / SHARES - 1).abs().max() <= 1e-14 and errors.max() <= 1e-14


@pytest.mark.parametrize("amplitude", [1.0, None])
def test_fit_threshold_standard_error_covers(amplitude, generator):
    prices = torch.linspace(0.01, 0.45, 60, dtype=torch.float64)
    pulls = []
    for _ in range(200):
        noisy = exact_branch(prices)[:, :1] + 0.01 * torch.randn(60, 1, generator=generator, dtype=torch.float64)
        threshold, error = collapse.fit_threshold(prices, noisy, amplitude=amplitude, m_range=(-1, 2))
        pulls.append((threshold - SHARES[0]) / error)
    pulls = torch.cat(pulls)
    # 200 Student-t draws: mean 0 ± 4/√200, standard deviation 1 ± 4·1/√400.
    assert pulls.mean().abs() <= 4 / 200**0.5 and (pulls.std() - 1).abs() <= 0.2


def test_fit_threshold_free_amplitude_finds_a_scaled_branch():
    prices = torch.linspace(0.2, 0.5, 30, dtype=torch.float64)
    threshold, _ = collapse.fit_threshold(prices, 2.5 * exact_branch(prices)[:, :1], amplitude=None, m_range=(1e-3, 5))
    assert threshold.item() == pytest.approx(0.5, rel=1e-13)


def test_fit_threshold_is_nan_without_active_points():
    prices = torch.tensor([0.6, 0.7], dtype=torch.float64)
    thresholds, errors = collapse.fit_threshold(prices, exact_branch(prices))
    assert thresholds.isnan().all() and errors.isnan().all()


@pytest.mark.parametrize(
    "prices, fraction, keywords, message",
    [
        (torch.ones(3), torch.ones(2, 2), {}, r"got \(3,\), \(2, 2\)"),
        (torch.ones(0), torch.ones(0, 2), {}, "n_prices"),
        (torch.ones(2), torch.full((2, 1), float("nan")), {}, "finite"),
        (torch.ones(2), torch.ones(2, 1), {"m_range": (0.5, 0.1)}, "m_range"),
    ],
)
def test_fit_threshold_refuses_bad_input(prices, fraction, keywords, message):
    with pytest.raises(ValueError, match=message):
        collapse.fit_threshold(prices, fraction, **keywords)


@pytest.fixture(scope="module")
def scan():
    root = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    frame = torch.linalg.qr(root)[0]
    covariance = (frame * SHARES) @ frame.T
    return covariance, collapse.equilibrium(covariance, [1e-3, 0.1, 0.2], 5)


@pytest.mark.parametrize("decode, factor", [("mean", lambda m: m * (2 - m)), ("sample", lambda m: m)])
def test_utility_spectrum_of_the_linear_vae(scan, decode, factor):
    covariance, scan = scan
    weights = (covariance, scan.encoder, scan.decoder, scan.log_var)
    m = torch.nn.functional.pad(exact_branch(scan.prices), (0, 1))
    shares = torch.nn.functional.pad(SHARES, (0, 1))
    utility = collapse.utility_spectrum(*weights, decode=decode)
    assert (utility - shares * factor(m)).abs().max() <= 1e-8
    active = m > 0
    corrected = collapse.utility_spectrum(*weights, decode=decode, corrected=True)
    assert (corrected - shares).abs()[active].max() <= 1e-7


def test_utility_spectrum_adds_up_to_the_distortion_removed(scan, generator):
    covariance, _ = scan
    encoder = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    decoder = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    log_var = torch.randn(5, generator=generator, dtype=torch.float64)
    removed = collapse.utility_spectrum(covariance, encoder, decoder, log_var, decode="sample").sum()
    loss = collapse.loss(covariance, encoder, decoder, log_var, torch.tensor(0.0, dtype=torch.float64))
    assert (1 - removed - loss).abs() <= 1e-12 * loss.abs()


def test_utility_spectrum_refuses_bad_input(scan):
    covariance, scan = scan
    with pytest.raises(ValueError, match="decode"):
        collapse.utility_spectrum(covariance, scan.encoder, scan.decoder, scan.log_var, decode="mode")
    with pytest.raises(ValueError, match="n_latent, n_features"):
        collapse.utility_spectrum(covariance, scan.encoder, scan.encoder, scan.log_var)


def test_loss_is_distortion_and_rate_in_units_of_the_total_variance(generator):
    """𝓛 = (σ_tot²/2σ_dec²)(D̂ + 2T̂R): the ELBO per sample, averaged over codes, at any parameters."""
    x = torch.randn(400, 4, generator=generator, dtype=torch.float64)
    x = x - x.mean(0)
    encoder, decoder = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((3, 4), (4, 3)))
    log_var = torch.randn(3, generator=generator, dtype=torch.float64)
    weight, decoder_var = 0.7, 0.4
    mu = x @ encoder.T
    error = (x - mu @ decoder.T).square().sum(1).mean() + (decoder.square().sum(0) * log_var.exp()).sum()
    kl = ((mu.square() + log_var.exp() - 1 - log_var) / 2).sum(1).mean()
    elbo = error / (2 * decoder_var) + weight * kl
    covariance = x.T @ x / len(x)
    price = collapse.price(weight, decoder_var, covariance.trace().item())
    identity = collapse.loss(covariance, encoder, decoder, log_var, price) * covariance.trace() / (2 * decoder_var)
    assert (identity - elbo).abs() <= 1e-13 * elbo
