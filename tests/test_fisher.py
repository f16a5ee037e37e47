"""Pull-back metric of decoders, against linear models and changes of coordinates."""

import math

import pytest
import torch
from torch import nn

from latentlib.fisher import metric_spectrum, pullback_metric

F64 = torch.float64
EIGENVALUES = torch.tensor([4, 2, 1, 0.5, 0.25, 0.1], dtype=F64)


def curved(z: torch.Tensor) -> torch.Tensor:
    """A paraboloid over the plane, embedded in R³."""
    return torch.stack([z[:, 0], z[:, 1], z.square().sum(1)], 1)


@pytest.mark.parametrize("temperature", [0.05, 0.3, 0.6, 1.2, 3.9])
def test_metric_spectrum_linear_is_the_signal_fraction(temperature, generator):
    axes = torch.linalg.qr(torch.randn(9, 6, generator=generator, dtype=F64))[0]
    frame = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=F64))[0]
    weight = axes * (EIGENVALUES - temperature).clamp(min=0).sqrt() @ frame
    z = torch.randn(4, 6, generator=generator, dtype=F64)
    g = metric_spectrum(pullback_metric(lambda code: code @ weight.mT, z, temperature))
    assert (g / (1 + g) - (1 - temperature / EIGENVALUES).clamp(min=0)).abs().max() <= 1e-12


def test_pullback_metric_of_a_paraboloid(generator):
    # x = (u, v, u² + v²): g = I + 4 z zᵀ.
    z = torch.randn(5, 2, generator=generator, dtype=F64)
    exact = torch.eye(2, dtype=F64) + 4 * z[:, :, None] * z[:, None, :]
    assert torch.allclose(pullback_metric(curved, z, 1.0), exact, rtol=1e-14, atol=1e-14)
    # The decoder's own Fisher metric at σ_dec² is kl_weight times that at T = kl_weight·σ_dec².
    kl_weight, decoder_var = 4.0, 0.3
    own = pullback_metric(curved, z, decoder_var)
    assert torch.allclose(own, kl_weight * pullback_metric(curved, z, kl_weight * decoder_var), rtol=1e-14, atol=0)


def test_pullback_metric_transforms_as_a_tensor(generator):
    z = torch.randn(5, 2, generator=generator, dtype=F64)
    change = torch.tensor([[1.0, 2.0], [0.5, -1.0]], dtype=F64)
    inside = pullback_metric(lambda code: curved(code @ change.mT), torch.linalg.solve(change, z.mT).mT, 0.7)
    assert torch.allclose(inside, change.mT @ pullback_metric(curved, z, 0.7) @ change, rtol=1e-13, atol=1e-13)


def test_pullback_metric_symmetric_exactly(generator):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        decoder = nn.Sequential(nn.Linear(17, 40), nn.Tanh(), nn.Linear(40, 33))
    for dtype in (torch.float32, F64):
        z = torch.randn(6, 17, generator=generator, dtype=F64).to(dtype)
        metric = pullback_metric(decoder.to(dtype), z, 0.1, chunk_size=4)
        assert torch.equal(metric, metric.mT)
        assert metric_spectrum(metric).amin() > -1e2 * torch.finfo(dtype).eps * metric.abs().max()


def test_pullback_metric_differentiable_in_the_point(generator):
    z = torch.randn(2, 2, generator=generator, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda code: pullback_metric(curved, code, 0.5), z)


def test_metric_spectrum_descends(generator):
    frame = torch.linalg.qr(torch.randn(3, 4, 4, generator=generator, dtype=F64))[0]
    values = torch.tensor([9.0, 4, 1, 0], dtype=F64)
    metric = frame * values @ frame.mT
    assert (metric_spectrum(metric) - values).abs().max() <= 1e-13


@pytest.mark.parametrize("decoder_var", [0.0, -1.0, math.nan, math.inf])
def test_pullback_metric_refuses_the_variance(decoder_var):
    with pytest.raises(ValueError, match=f"finite decoder_var > 0, got {decoder_var}"):
        pullback_metric(curved, torch.zeros(1, 2), decoder_var)


def test_pullback_metric_refuses_points_and_training_modules():
    with pytest.raises(ValueError, match="want floating points"):
        pullback_metric(curved, torch.zeros(2), 1.0)
    with pytest.raises(ValueError, match="Dropout"):
        pullback_metric(nn.Dropout(0.1), torch.zeros(1, 2), 1.0)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (torch.ones(2, 3), "want floating"),
        (torch.ones(4), "want floating"),
        (torch.ones(1, 0, 0), "n > 0"),
        (torch.ones(2, 2, dtype=torch.int64), "int64"),
        (torch.full((2, 2), math.nan), "finite metric"),
        (torch.tensor([[1.0, 0.5], [0.4, 1.0]]), "asymmetry of 1.0e-01"),
    ],
)
def test_metric_spectrum_refuses(metric, message):
    with pytest.raises(ValueError, match=message):
        metric_spectrum(metric)
