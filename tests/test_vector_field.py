"""The latent map and its Jacobian, against maps whose spectrum is known."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from latentlib.vector_field import jacobian, jacobian_spectrum, latent_map, require_pointwise

F64 = torch.float64
EIGENVALUES = torch.tensor([4, 2, 1, 0.5, 0.25, 0.1], dtype=F64)


def linear_vae(temperature: float, generator: torch.Generator):
    """The optimal linear β-VAE at T: W = U(Λ−T)₊^{1/2}R, V = (WᵀW+T)⁻¹Wᵀ, R and U arbitrary rotations."""
    axes = torch.linalg.qr(torch.randn(9, 6, generator=generator, dtype=F64))[0]
    frame = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=F64))[0]
    decoder = axes * (EIGENVALUES - temperature).clamp(min=0).sqrt() @ frame
    encoder = torch.linalg.solve(decoder.mT @ decoder + temperature * torch.eye(6, dtype=F64), decoder.mT)
    return lambda x: x @ encoder.mT, lambda z: z @ decoder.mT


@pytest.mark.parametrize("temperature", [0.05, 0.3, 0.6, 1.2, 3.9])
def test_jacobian_spectrum_linear_is_the_signal_fraction(temperature, generator):
    f = latent_map(*linear_vae(temperature, generator))
    spectrum = jacobian_spectrum(f, torch.randn(3, 6, generator=generator, dtype=F64))
    signal_fraction = (1 - temperature / EIGENVALUES).clamp(min=0)
    assert (spectrum - signal_fraction).abs().max() <= 1e-12


def fixed_point(f, n_latent: int) -> torch.Tensor:
    z = torch.zeros(1, n_latent, dtype=F64)
    for _ in range(400):
        z = f(z)
    return z


def test_jacobian_spectrum_invariant_under_reparametrisation(generator):
    # f = ½tanh(Az + b) with |A| ≤ 1 contracts to one fixed point; ψ(z) = sinh(Bz) bends the latent space smoothly.
    weight, basis = torch.randn(2, 5, 5, generator=generator, dtype=F64)
    weight = weight / torch.linalg.matrix_norm(weight, 2)
    offset = torch.randn(5, generator=generator, dtype=F64)

    def f(z):
        return 0.5 * torch.tanh(z @ weight.mT + offset)

    def bend(z):
        return torch.sinh(z @ basis.mT)

    def bent(z):
        return bend(f(torch.linalg.solve(basis, torch.asinh(z).mT).mT))

    z = fixed_point(f, 5)
    assert (f(z) - z).abs().max() <= 1e-15
    plain, reparametrised = jacobian_spectrum(f, z), jacobian_spectrum(bent, bend(z))
    assert (plain - reparametrised).abs().max() <= 1e-10
    # Away from a fixed point it is no invariant, so the law above is not empty.
    elsewhere = z + 0.3
    assert (jacobian_spectrum(f, elsewhere) - jacobian_spectrum(bent, bend(elsewhere))).abs().max() > 1e-3


def test_jacobian_spectrum_complex_and_sorted():
    angle = 0.4
    rotation = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=F64)
    matrix = torch.block_diag(torch.tensor([[0.2]], dtype=F64), 0.9 * rotation, torch.tensor([[-1.5]], dtype=F64))
    spectrum = jacobian_spectrum(lambda z: z @ matrix.mT, torch.zeros(2, 4, dtype=F64))
    assert spectrum.is_complex() and spectrum.shape == (2, 4)
    pair = 0.9 * torch.exp(1j * torch.tensor([angle, -angle], dtype=F64))
    expected = torch.tensor([-1.5, *pair, 0.2], dtype=torch.complex128)
    assert (spectrum - expected).abs().max() <= 1e-14


def network(seed: int = 0) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Linear(12, 20), nn.SiLU(), nn.BatchNorm1d(20), nn.Dropout(0.5), nn.Linear(20, 3))
        decoder = nn.Sequential(nn.Linear(3, 20), nn.Tanh(), nn.Linear(20, 12), nn.Unflatten(1, (3, 2, 2)))
    encoder = nn.Sequential(nn.Flatten(), *encoder)
    encoder[3].running_mean.fill_(0.3)
    return encoder.double().eval(), decoder.double().eval()


def test_jacobian_equals_finite_differences(generator):
    f = latent_map(*network())
    z = torch.randn(7, 3, generator=generator, dtype=F64)
    step = 1e-5
    columns = [(f(z + step * axis) - f(z - step * axis)) / (2 * step) for axis in torch.eye(3, dtype=F64)]
    # Central differences: step² of third derivatives of order one, and 1e-16/step of rounding.
    assert (jacobian(f, z) - torch.stack(columns, -1)).abs().max() <= 1e-9


def test_jacobian_independent_of_chunks(generator):
    f = latent_map(*network())
    z = torch.randn(7, 3, generator=generator, dtype=F64)
    for chunk_size in (1, 3, 100):
        assert torch.allclose(jacobian(f, z, chunk_size=chunk_size), jacobian(f, z), rtol=0, atol=1e-14)


def test_jacobian_flattens_images(generator):
    _, decoder = network()
    z = torch.randn(2, 3, generator=generator, dtype=F64)
    assert jacobian(decoder, z).shape == (2, 12, 3)
    assert torch.allclose(jacobian(decoder, z), jacobian(lambda code: decoder(code).flatten(1), z), rtol=0, atol=0)


def test_jacobian_keeps_the_dtype():
    assert jacobian(torch.sin, torch.zeros(1, 2)).dtype == torch.float32
    assert jacobian_spectrum(torch.sin, torch.zeros(1, 2)).dtype == torch.complex64


def test_latent_map_takes_the_mean(generator):
    encoder, decoder = network()
    z = torch.randn(4, 3, generator=generator, dtype=F64)
    assert torch.equal(latent_map(lambda x: (encoder(x), torch.ones(())), decoder)(z), encoder(decoder(z)))
    assert torch.equal(latent_map(encoder, decoder)(z), encoder(decoder(z)))


def test_latent_map_refuses_another_shape():
    f = latent_map(lambda x: x[:, :2], lambda z: z)
    with pytest.raises(ValueError, match=r"shape of z \(4, 3\), got \(4, 2\)"):
        f(torch.zeros(4, 3))


def test_require_pointwise_finds_training_modules():
    encoder, decoder = network()
    f = latent_map(encoder, decoder)
    z = torch.zeros(2, 3, dtype=F64)
    f(z)
    encoder[3].train()
    with pytest.raises(ValueError, match="BatchNorm1d that mixes samples.*eval"):
        f(z)
    with pytest.raises(ValueError, match="BatchNorm1d"):
        jacobian(partial(encoder.forward), torch.zeros(2, 12, dtype=F64))
    encoder.eval()
    encoder[4].train()
    with pytest.raises(ValueError, match="Dropout"):
        jacobian_spectrum(f, z)
    require_pointwise(decoder.train(), torch.sin)  # nothing in it depends on the mode
    with pytest.raises(ValueError, match="BatchNorm1d"):
        require_pointwise(nn.BatchNorm1d(3, track_running_stats=False).eval())


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (torch.zeros(3), "want floating points"),
        (torch.zeros(0, 3), "n_points > 0"),
        (torch.zeros(3, 0), "n_latent > 0"),
        (torch.zeros(3, 3, dtype=torch.int64), "int64"),
        (torch.full((1, 2), math.nan), "NaN or infinity"),
    ],
)
def test_jacobian_refuses_points(z, message):
    with pytest.raises(ValueError, match=message):
        jacobian(torch.sin, z)


def test_jacobian_refuses_the_rest():
    with pytest.raises(ValueError, match="chunk_size >= 1 or None, got 0"):
        jacobian(torch.sin, torch.zeros(1, 2), chunk_size=0)
    with pytest.raises(ValueError, match="finite Jacobian"):
        jacobian(torch.sqrt, torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"got R\^2 -> R\^1"):
        jacobian_spectrum(lambda z: z[:, :1], torch.zeros(1, 2))
