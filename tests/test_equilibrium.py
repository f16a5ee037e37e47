"""Equilibrium of the linear VAE against the exact law, with and without weight decay, and without a look at the PCA."""

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import torch
from latentlib import collapse, datasets, fisher, vector_field
from sklearn.datasets import load_breast_cancer

SPECTRUM = (4.0, 2.0, 1.0, 0.5, 0.25, 0.1)  # a worked spectrum, total variance 7.85


def exact_signal_fraction(prices, shares, n_latent):
    """(1 − T̂/share)₊, zero for superfluous latents."""
    exact = torch.zeros(len(prices), n_latent, dtype=torch.float64)
    k = min(n_latent, len(shares))
    exact[:, :k] = (1 - prices[:, None] / shares[:k]).clamp_min(0)
    return exact


def rotated_covariance(spectrum, seed=3):
    spectrum = torch.tensor(spectrum, dtype=torch.float64)
    noise = torch.randn(len(spectrum), len(spectrum), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    frame = torch.linalg.qr(noise)[0]
    return (frame * spectrum) @ frame.T


@pytest.fixture(scope="module")
def breast_cancer():
    x = load_breast_cancer().data
    x = torch.tensor((x - x.mean(0)) / x.std(0))
    data_covariance = x.T @ x / len(x)
    return data_covariance, torch.linalg.eigvalsh(data_covariance).flip(0) / data_covariance.trace()


PRICES = torch.logspace(-6, 0, 96, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(10))
def test_equilibrium_is_the_law_on_breast_cancer(breast_cancer, seed):
    data_covariance, shares = breast_cancer
    scan = collapse.equilibrium(data_covariance, PRICES, 32, seed=seed)
    exact = exact_signal_fraction(PRICES, shares, 32)
    assert scan.converged.all()
    assert (scan.signal_fraction - exact).abs().max() <= 1e-6
    assert scan.signal_fraction[:, 30:].max() <= 1e-6
    assert scan.grad_norm.max() <= 1e-6


@pytest.mark.parametrize("n_latent", [1, 8, 29, 70])
def test_equilibrium_is_the_law_with_any_number_of_latents(breast_cancer, n_latent):
    """Fewer latents than modes compete for them; at low prices a huge decoder costs almost nothing and must be avoided."""
    data_covariance, shares = breast_cancer
    scan = collapse.equilibrium(data_covariance, PRICES[::6], n_latent)
    exact = exact_signal_fraction(PRICES[::6], shares, n_latent)
    assert scan.converged.all() and (scan.signal_fraction - exact).abs().max() <= 1e-6


@pytest.mark.parametrize("n_latent", [8, 32])
def test_equilibrium_is_the_law_on_digits(n_latent):
    """64 variables, three of them constant, and close eigenvalues."""
    data_covariance = datasets.covariance(datasets.standardize(datasets.load("digits").matrix()))
    shares = torch.linalg.eigvalsh(data_covariance).flip(0) / data_covariance.trace()
    scan = collapse.equilibrium(data_covariance, PRICES[::8], n_latent)
    exact = exact_signal_fraction(PRICES[::8], shares, n_latent)
    assert scan.converged.all() and (scan.signal_fraction - exact).abs().max() <= 1e-6
    assert scan.grad_norm.max() <= 1e-6


def test_equilibrium_thresholds_are_pca_shares_through_the_last(breast_cancer):
    data_covariance, shares = breast_cancer
    scan = collapse.equilibrium(data_covariance, PRICES, 32)
    thresholds, errors = collapse.fit_threshold(scan.prices, scan.signal_fraction)
    assert (thresholds[:30] / shares - 1).abs().max() <= 1e-4
    assert thresholds[30:].isnan().all() and (errors[:30] <= 1e-4 * shares).all()


def test_equilibrium_uses_no_spectrum_of_the_covariance(breast_cancer, monkeypatch):
    data_covariance, shares = breast_cancer
    n_features, calls = len(data_covariance), []

    def guard(module, name):
        original = getattr(module, name)

        def guarded(matrix, *args, **kwargs):
            calls.append(name)
            if tuple(np.shape(matrix))[-2:] == (n_features, n_features):
                raise AssertionError(f"{name} was called on a matrix of the size of the covariance")
            return original(matrix, *args, **kwargs)

        monkeypatch.setattr(module, name, guarded)

    for name in ("eig", "eigh", "eigvals", "eigvalsh", "svd", "svdvals"):
        guard(torch.linalg, name)
        guard(np.linalg, name)
        guard(scipy.linalg, name)
    for name in ("svd", "lobpcg", "pca_lowrank", "svd_lowrank"):
        guard(torch, name)
    with pytest.raises(AssertionError):
        torch.linalg.eigh(data_covariance)  # the guard does guard
    calls.clear()
    scan = collapse.equilibrium(data_covariance, PRICES[::12], 32)
    assert calls == ["svd"]  # the latent frame, once
    assert (scan.signal_fraction - exact_signal_fraction(PRICES[::12], shares, 32)).abs().max() <= 1e-6


@pytest.mark.parametrize("n_latent", [2, 3, 7])
def test_equilibrium_handles_a_degenerate_spectrum(n_latent):
    spectrum = (4.0, 2.0, 2.0, 2.0, 0.5, 0.1)
    total = sum(spectrum)
    prices = torch.tensor([0.05, 0.3, 1.0, 1.999, 2.0, 2.001, 3.0], dtype=torch.float64) / total
    exact = exact_signal_fraction(prices, torch.tensor(spectrum, dtype=torch.float64) / total, n_latent)
    for seed in range(3):
        scan = collapse.equilibrium(rotated_covariance(spectrum), prices, n_latent, seed=seed)
        assert scan.converged.all() and (scan.signal_fraction - exact).abs().max() <= 1e-6


def test_equilibrium_next_to_and_at_thresholds():
    total = sum(SPECTRUM)
    near = [share / total * (1 + side) for share in SPECTRUM for side in (-1e-4, 0.0, 1e-4)]
    prices = torch.tensor(near, dtype=torch.float64)
    scan = collapse.equilibrium(rotated_covariance(SPECTRUM), prices, 8)
    exact = exact_signal_fraction(prices, torch.tensor(SPECTRUM, dtype=torch.float64) / total, 8)
    assert (scan.signal_fraction - exact).abs().max() <= 1e-6


def test_equilibrium_obeys_the_identity_chain():
    spectrum, total = torch.tensor(SPECTRUM, dtype=torch.float64), sum(SPECTRUM)
    raw_price = torch.tensor([0.05, 0.3, 0.6, 1.2, 2.5, 3.9, 4.5], dtype=torch.float64)
    scan = collapse.equilibrium(rotated_covariance(SPECTRUM), raw_price / total, 8)
    rate = (spectrum / raw_price[:, None]).log().clamp_min(0).sum(1) / 2
    distortion = torch.minimum(spectrum, raw_price[:, None]).sum(1) / total
    assert (scan.rate + torch.log1p(-scan.signal_fraction) / 2).abs().max() <= 1e-8
    assert (scan.rate.sum(1) - rate).abs().max() <= 1e-8 and (scan.distortion - distortion).abs().max() <= 1e-8
    second_moment = ((scan.encoder @ rotated_covariance(SPECTRUM)) * scan.encoder).sum(2)
    assert (second_moment + scan.log_var.exp() - 1).abs().max() <= 1e-8  # latent scale 1
    value = collapse.loss(rotated_covariance(SPECTRUM), scan.encoder, scan.decoder, scan.log_var, scan.prices)
    assert torch.allclose(value, distortion + 2 * scan.prices * rate, rtol=1e-12)


def test_equilibrium_is_read_alike_by_jacobian_and_metric():
    """eig J_f = g/(1+g) = m on the converged model, by autodiff of the returned weights at arbitrary codes."""
    total = sum(SPECTRUM)
    scan = collapse.equilibrium(rotated_covariance(SPECTRUM), torch.tensor([0.05, 0.6, 2.5]) / total, 8)
    z = torch.randn(4, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    for price, encoder, decoder, m in zip(scan.prices, scan.encoder, scan.decoder, scan.signal_fraction):
        f = vector_field.latent_map(lambda x, encoder=encoder: x @ encoder.T, lambda z, decoder=decoder: z @ decoder.T)
        contraction = vector_field.jacobian_spectrum(f, z)
        metric = fisher.pullback_metric(lambda z, decoder=decoder: z @ decoder.T, z, price.item() * total)
        g = fisher.metric_spectrum(metric)
        assert (contraction.real - m).abs().max() <= 1e-8 and contraction.imag.abs().max() <= 1e-8
        assert (g / (1 + g) - m).abs().max() <= 1e-8


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_equilibrium_is_stationary_by_autograd(weight_decay):
    data_covariance = rotated_covariance(SPECTRUM)
    prices = torch.logspace(-3, -0.1, 12, dtype=torch.float64)
    scan = collapse.equilibrium(data_covariance, prices, 8, weight_decay=weight_decay)
    weights = [w.clone().requires_grad_() for w in (scan.encoder, scan.decoder, scan.log_var)]
    collapse.loss(data_covariance, *weights, prices, weight_decay).sum().backward()
    assert max(w.grad.abs().max() for w in weights) <= 1e-6
    assert scan.converged.all() and scan.grad_norm.max() <= 1e-6


def decayed_branch(eigenvalue, raw_price, weight_decay):
    """Largest m of one mode with weight decay, from the stationarity of ½s(1−wv)² + … in w, v and σ² alone."""
    s, l2 = eigenvalue, weight_decay

    def encoder_of(w):
        return w * s / (s * (w * w + raw_price) + l2)

    def slope(w):
        v, noise = encoder_of(w), raw_price / (w * w + raw_price)
        return w * (v * v * s + noise + l2) - s * v

    grid = np.linspace(s**0.5 * 1.5, 1e-6, 4001)
    values = np.array([slope(w) for w in grid])
    crossing = np.flatnonzero(np.sign(values[:-1]) != np.sign(values[1:]))
    if len(crossing) == 0:
        return 0.0
    w = scipy.optimize.brentq(slope, grid[crossing[0] + 1], grid[crossing[0]], xtol=1e-14)
    signal = encoder_of(w) ** 2 * s
    return signal / (signal + raw_price / (w * w + raw_price))


@pytest.mark.parametrize("alpha, expected", [(2.0, 1.833333), (5.0, 1.916667)])
def test_equilibrium_weight_decay_moves_the_threshold(alpha, expected):
    weight_decay, eigenvalue = 1 / alpha, 2 * (1 + 1 / alpha)  # ρ = η = reg = 1
    spectrum = (eigenvalue, 0.4, 0.1)
    threshold = eigenvalue / (1 + weight_decay) - weight_decay / eigenvalue
    assert abs(threshold - expected) <= 5e-7
    raw_price = threshold * torch.tensor([0.3, 0.7, 0.9, 0.99, 1 - 1e-4, 1 + 1e-4, 1.1], dtype=torch.float64)
    scan = collapse.equilibrium(rotated_covariance(spectrum), raw_price / sum(spectrum), 4, weight_decay=weight_decay)
    branch = [decayed_branch(eigenvalue, t.item(), weight_decay) for t in raw_price]
    assert (scan.signal_fraction[:, 0] - torch.tensor(branch)).abs().max() <= 1e-6
    assert scan.signal_fraction[4, 0] > 1e-5 and scan.signal_fraction[5:].max() <= 1e-6


def test_equilibrium_weight_decay_threshold_by_fit():
    spectrum, weight_decay = (3.0, 1.2, 0.4), 0.5
    threshold = torch.tensor([s / (1 + weight_decay) - weight_decay / s for s in spectrum[:2]]) / sum(spectrum)
    prices = (threshold[:, None] * (1 - torch.linspace(2e-4, 2e-3, 10))).flatten().double()
    scan = collapse.equilibrium(rotated_covariance(spectrum), prices, 4, weight_decay=weight_decay)
    for mode, rows in enumerate((slice(0, 10), slice(10, 20))):
        m = scan.signal_fraction[rows, mode : mode + 1]
        fitted, _ = collapse.fit_threshold(prices[rows], m, amplitude=None, m_range=(0, 0.1))
        # The branch is linear up to relative terms of the window's width, 2e-3: the root errs by about its square.
        assert abs(fitted / threshold[mode] - 1) <= 1e-5


def test_equilibrium_is_reproducible_and_free_of_units():
    data_covariance = rotated_covariance(SPECTRUM)
    prices = torch.tensor([0.01, 0.2])
    first, again = (collapse.equilibrium(data_covariance, prices, 7, seed=4) for _ in range(2))
    assert torch.equal(first.decoder, again.decoder) and torch.equal(first.signal_fraction, again.signal_fraction)
    scaled = collapse.equilibrium(1e6 * data_covariance, prices, 7, seed=4)
    assert (scaled.signal_fraction - first.signal_fraction).abs().max() <= 1e-9
    assert torch.allclose(scaled.decoder.abs(), 1e3 * first.decoder.abs(), rtol=0, atol=1e-2)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"covariance": torch.ones(2, 3)}, r"want \(n_features, n_features\), got \(2, 3\)"),
        ({"covariance": torch.tensor([[1.0, 0.5], [0.0, 1.0]])}, "symmetric"),
        ({"covariance": torch.diag(torch.tensor([1.0, -0.5]))}, "semidefinite"),
        ({"covariance": torch.zeros(2, 2)}, "positive trace"),
        ({"covariance": torch.full((2, 2), float("nan"))}, "finite"),
        ({"prices": []}, "n_prices > 0"),
        ({"prices": [0.1, 0.0]}, "> 0"),
        ({"prices": [0.1, float("nan")]}, "finite"),
        ({"n_latent": 0}, "n_latent: want a whole number ≥ 1, got 0"),
        ({"n_latent": 2.5}, "n_latent"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"impl": "triton"}, "no kernel"),
    ],
)
def test_equilibrium_refuses_bad_input(change, message):
    arguments = {"covariance": torch.eye(2), "prices": [0.1], "n_latent": 2} | change
    with pytest.raises(ValueError, match=message):
        collapse.equilibrium(**arguments)
