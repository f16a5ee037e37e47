"""Warm-started scans: both directions, member by member from the neighbor, and no loop where there is none."""

import math

import pytest
import torch
from latentlib import ensemble, ensemble_reading, price_scan

SETTINGS = {"n_latent": 1, "n_steps": 150, "batch_size": 64, "learning_rate": 5e-3, "progress": False}


@pytest.fixture(scope="module")
def x():
    """Skewed and curved, variance 1 and .3."""
    generator = torch.Generator().manual_seed(0)
    psi = torch.where(torch.rand(256, generator=generator) < 0.2, 2.0, -0.5).double()
    x = torch.stack([psi, 0.3**0.5 * torch.randn(256, generator=generator, dtype=torch.float64)], 1)
    return x - x.mean(0)


def test_scan_ensemble_starts_each_price_from_its_neighbor(x):
    """Stage by stage by hand: [low, high] prices of both directions at once, each from the stage before."""
    prices = [0.3, 0.1, 0.5]
    scan = price_scan.scan_ensemble(x, prices, seeds=(0, 1), hidden=(4,), **SETTINGS | {"n_first": 250})
    assert scan.up.prices.tolist() == scan.down.prices.tolist() == [0.1, 0.3, 0.5]
    first = ensemble.fit_ensemble(x, [0.1, 0.5], seeds=(0, 1), hidden=(4,), **SETTINGS | {"n_steps": 250})
    second = ensemble.fit_ensemble(x, [0.3, 0.3], seeds=(0, 1), hidden=(4,), start=first, **SETTINGS)
    third = ensemble.fit_ensemble(x, [0.5, 0.1], seeds=(0, 1), hidden=(4,), start=second, **SETTINGS)
    for index, (up, down) in enumerate(((first, third), (second, second), (third, first))):
        for half in ("encoder", "decoder"):
            layers = (getattr(one, half) for one in (scan.up, scan.down, up, down))
            for found_up, found_down, one_up, one_down in zip(*layers, strict=True):
                for part in range(2):
                    assert torch.equal(found_up[part][:, index], one_up[part][:, 0])
                    assert torch.equal(found_down[part][:, index], one_down[part][:, 1])
        assert torch.equal(scan.up.history["loss"][:, index], up.history["loss"][:, 0, -2:])
        assert torch.equal(scan.down.history["loss"][:, index], down.history["loss"][:, 1, -2:])
    assert scan.up.n_steps == scan.down.n_steps == 550


def test_scan_ensemble_of_a_linear_decoder_has_no_loop_and_follows_the_exact_law(x):
    """Skewed data, where a flexible decoder jumps: m = 1 − T̂/share both ways, KL = ½ ln 1/(1 − m)."""
    share = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).max() / x.var(0, correction=0).sum()
    prices = share.item() * torch.tensor([0.4, 0.7, 1.4])
    settings = {"n_latent": 1, "batch_size": 256, "learning_rate": 2e-2, "progress": False}
    # A cold start may pass by the collapsed saddle, from where 400 steps are too few.
    scan = price_scan.scan_ensemble(x, prices, n_first=1000, n_steps=400, seeds=(0, 1), **settings)
    up, down = (ensemble_reading.read_ensemble(branch, x) for branch in scan)
    exact = torch.tensor([0.6, 0.3, 0.0], dtype=torch.float64)
    # A full batch drawn with replacement: the noise of the last, vanishing steps, .002 over seeds.
    for branch in (up, down):
        assert (branch.signal_fraction[..., 0] - exact).abs().max() < 0.01
        assert (branch.rate[..., 0] + (1 - exact).log() / 2).abs().max() < 0.01
    assert (up.loss - down.loss).abs().max() < 1e-4  # second order in the same error


def test_scan_ensemble_shakes_weights_by_a_share_of_a_fresh_draw(x):
    """With steps of length 1e-12 nothing but the shake moves: two shakes of one scan, another for each seed and stage."""
    frozen = SETTINGS | {"n_steps": 1, "learning_rate": 1e-12, "hidden": (4,), "seeds": (0, 1)}
    still, once, twice = (price_scan.scan_ensemble(x, [0.1, 0.3, 0.5], shake=s, **frozen) for s in (0.0, 0.1, 0.2))
    unit, n_in = x.var(0, correction=0).mean().sqrt(), {("encoder", 0): 2, ("encoder", 1): 4, ("decoder", 1): 4}
    for (half, layer), n in n_in.items():
        weights = [getattr(scan.up, half)[layer] for scan in (still, once, twice)]
        start, one, two = (weight for weight, _ in weights)
        scale = {("encoder", 0): 1 / unit, ("decoder", 1): unit}.get((half, layer), 1.0) * n**-0.5
        assert torch.equal(start[:, 0], one[:, 0])  # the first price is a cold start as ever
        moved = (one - start).diff(dim=1)  # (n_seeds, n_stages, …)
        assert 0 < moved.abs().max() <= 0.1 * scale * (1 + 1e-6)  # a draw U(±1/√n_in), in units of the data
        assert (moved[0] - moved[1]).abs().amax((1, 2)).min() > 1e-3 * scale
        assert (moved[:, 0] - moved[:, 1]).abs().amax((1, 2)).min() > 1e-3 * scale
        assert torch.allclose(two - start, 2 * (one - start), rtol=0, atol=1e-9)
        assert all(torch.allclose(bias, weights[0][1], rtol=0, atol=1e-9) for _, bias in weights)


def test_scan_ensemble_goes_on_at_the_stage_where_it_was_cut(x, tmp_path, monkeypatch):
    prices = [0.1, 0.3, 0.5]
    whole = price_scan.scan_ensemble(x, prices, **SETTINGS)
    fit, left = price_scan.fit_ensemble, [2]

    def dying(*args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(price_scan, "fit_ensemble", dying)
        price_scan.scan_ensemble(x, prices, checkpoint=tmp_path, **SETTINGS)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0000.pt", "0001.pt"]
    resumed = price_scan.scan_ensemble(x, prices, checkpoint=tmp_path, **SETTINGS)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0000.pt", "0001.pt", "0002.pt"]
    assert all(torch.equal(a.history["loss"], b.history["loss"]) for a, b in zip(resumed, whole, strict=True))
    assert torch.equal(resumed.down.encoder[0][0], whole.down.encoder[0][0])


@pytest.mark.parametrize(
    "prices, message",
    [
        ([], r"prices: want \(n_prices > 0,\), got \(0,\)"),
        ([[0.1]], r"prices: want \(n_prices > 0,\), got \(1, 1\)"),
        ([0.1, 0.0], "prices: want .* all finite and > 0"),
        ([0.1, math.nan], "prices: want .* all finite and > 0"),
    ],
)
def test_scan_ensemble_refuses_bad_prices(x, prices, message):
    with pytest.raises(ValueError, match=message):
        price_scan.scan_ensemble(x, prices, **SETTINGS)


@pytest.mark.parametrize("shake", [-0.1, math.nan, math.inf])
def test_scan_ensemble_refuses_a_bad_shake(x, shake):
    with pytest.raises(ValueError, match="shake: want a finite number >= 0"):
        price_scan.scan_ensemble(x, [0.1], shake=shake, **SETTINGS)
