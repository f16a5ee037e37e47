"""The suggested KL weight against the exact law, its inversion, the solver, and impossible wishes."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from latentlib import collapse, suggestion

EIGENVALUES = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.25, 0.1], dtype=torch.float64)
TOTAL = 7.85
# Worked values of the linear law: T, active modes, R, D̂.
WORKED = [
    (0.05, 6, 7.835904, 0.038217), (0.3, 4, 3.101093, 0.197452),
    (1.2, 2, 0.857399, 0.541401), (3.9, 1, 0.012659, 0.987261),
]  # fmt: skip


def samples(eigenvalues, n_samples=64, shift=3.0):
    """Rows whose covariance has exactly these eigenvalues, rotated and shifted."""
    generator, n = torch.Generator().manual_seed(4), len(eigenvalues)
    white = torch.randn(n_samples, n, generator=generator, dtype=torch.float64)
    white = torch.linalg.qr(white - white.mean(0)).Q * math.sqrt(n_samples)
    rotation = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q
    return (white * eigenvalues.sqrt()) @ rotation.T + shift


X = samples(EIGENVALUES)


@pytest.mark.parametrize("temperature, n_active, rate, distortion", WORKED)
def test_suggest_kl_weight_is_the_worked_spectrum(temperature, n_active, rate, distortion):
    found = suggestion.suggest_kl_weight(X, price=temperature / TOTAL, decoder_var=0.25)
    assert found.n_active == n_active
    assert found.rate == pytest.approx(rate, abs=5.1e-7)  # as printed
    assert found.distortion == pytest.approx(distortion, abs=5.1e-7)
    assert found.kl_weight == pytest.approx(temperature / 0.25, rel=1e-13)
    assert found.total_var == pytest.approx(TOTAL, rel=1e-13)
    assert torch.allclose(found.pca_share, EIGENVALUES / TOTAL, rtol=1e-12)


@given(st.floats(1e-6, 0.999), st.sampled_from([None, 2, 4, 6, 9]))
def test_suggest_kl_weight_inverts_the_distortion(target, n_latent):
    floor = 0.0 if n_latent is None else float(EIGENVALUES[n_latent:].sum()) / TOTAL
    if target <= floor + 1e-9:
        return
    by_target = suggestion.suggest_kl_weight(X, target_distortion=target, n_latent=n_latent)
    assert by_target.distortion == pytest.approx(target, rel=1e-12)
    by_price = suggestion.suggest_kl_weight(X, price=by_target.price, n_latent=n_latent)
    assert by_price.kl_weight == by_target.kl_weight
    assert (by_price.rate, by_price.n_active) == (by_target.rate, by_target.n_active)


@pytest.mark.parametrize("n_latent", [2, 8])
def test_suggest_kl_weight_is_what_the_solver_finds(n_latent):
    found = suggestion.suggest_kl_weight(X, n_latent=n_latent)
    assert found.price == 0.01
    centred = X - X.mean(0)
    scan = collapse.equilibrium(centred.T @ centred / len(X), [found.price], n_latent)
    # The solver's rate and distortion are exact to second order in its error of 1e-8 in m.
    assert scan.rate.sum().item() == pytest.approx(found.rate, rel=1e-7)
    assert scan.distortion.item() == pytest.approx(found.distortion, rel=1e-7)
    assert int((scan.signal_fraction > 1e-3).sum()) == found.n_active


def test_suggest_kl_weight_of_collapse_and_of_one_nat():
    collapsed = suggestion.suggest_kl_weight(X, price=4.1 / TOTAL)
    assert (collapsed.n_active, collapsed.rate) == (0, 0.0) and collapsed.distortion == pytest.approx(1, abs=1e-15)
    one_mode = suggestion.suggest_kl_weight(X[:, :1], price=math.exp(-2))
    assert (one_mode.n_active, one_mode.rate) == (1, pytest.approx(1, abs=1e-14))


def test_suggest_kl_weight_of_deficient_data_is_the_exact_limit():
    """A constant feature adds a zero to the spectrum; n samples have at most n − 1 directions."""
    padded = suggestion.suggest_kl_weight(torch.cat([X, torch.full((64, 1), 7.0)], 1), target_distortion=0.02)
    plain = suggestion.suggest_kl_weight(X, target_distortion=0.02)
    assert padded.price == pytest.approx(plain.price, rel=1e-12) and padded.n_active == plain.n_active
    assert padded.pca_share[-1] <= 1e-15
    few = suggestion.suggest_kl_weight(X[:3], target_distortion=1e-6)
    assert few.n_active == 2 and few.distortion == pytest.approx(1e-6, rel=1e-9)  # 1e-15 of rounding in the spectrum


def test_suggest_kl_weight_takes_images_of_integers():
    grey = (X * 10).round().to(torch.uint8)
    assert suggestion.suggest_kl_weight(grey).kl_weight == suggestion.suggest_kl_weight(grey.double()).kl_weight


@pytest.mark.parametrize(
    "change, message",
    [
        ({"price": 0.0}, "price: want a finite number > 0, got 0.0"),
        ({"price": -0.1}, "price: want a finite number > 0, got -0.1"),
        ({"price": math.inf}, "price: want a finite number > 0, got inf"),
        ({"price": 0.1, "target_distortion": 0.1}, "want price or target_distortion, got both: 0.1 and 0.1"),
        ({"target_distortion": 0.0}, "target_distortion: want above 0, which 6 latents .*, and below 1, got 0.0"),
        ({"target_distortion": 1.0}, "and below 1, got 1.0"),
        ({"target_distortion": math.nan}, "and below 1, got nan"),
        ({"target_distortion": 0.2, "n_latent": 2}, r"want above 0.236, which 2 latents cannot go below"),
        ({"decoder_var": 0.0}, "decoder_var: want a finite number > 0, got 0.0"),
        ({"n_latent": 0}, "n_latent: want an integer ≥ 1, got 0"),
        ({"x": torch.ones(5, 3)}, "x: want samples with variance, got all of them equal"),
        ({"x": torch.full((7, 3), 0.1)}, "x: want samples with variance, got all of them equal"),
        ({"x": torch.ones(1, 3)}, "x: want samples with variance, got all of them equal"),
        ({"x": torch.full((5, 3), math.nan)}, "x: want finite values, got nan in row 0, column 0"),
        ({"x": torch.ones(5)}, r"x: want \(n_samples > 0, n_features > 0\), got \(5,\)"),
    ],
)
def test_suggest_kl_weight_refuses_bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        suggestion.suggest_kl_weight(**{"x": X} | change)
