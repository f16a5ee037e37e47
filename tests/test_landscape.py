"""Energies on the sphere: derivatives against closed forms, the linear decoder, geodesics and random matrix theory."""

import math

import pytest
import torch
from torch import nn
from torch.func import jvp

from latentlib import landscape
from latentlib.pspin import PSpin, draw_pspin

F64 = torch.float64


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def smooth_decoder(n_latent=5, n_out=7, activation=nn.Tanh):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(n_latent, 6), activation(), nn.Linear(6, n_out)).double()


def smooth_energy(n_latent=5, activation=nn.Tanh, **options):
    decoder = smooth_decoder(n_latent, activation=activation)
    return landscape.latent_energy(decoder, normal(7), 0.1 * normal(n_latent, seed=1), **options)


def both_kinds(n_latent=5):
    return {"decoder": smooth_energy(n_latent), "p-spin": draw_pspin({2: 0.5, 3: 1.0}, n_latent, field=0.3, seed=2)}


# Latent energies


def test_latent_energy_of_a_linear_decoder_is_a_quadratic_form():
    weight, shift, x, field = normal(7, 4), normal(7, seed=1), normal(7, seed=2), normal(4, seed=3)
    system = landscape.latent_energy(lambda z: z @ weight.T + shift, x, field)
    z = landscape.sphere_points(6, 4, seed=0).reshape(2, 3, 4)
    residual = z @ weight.T + shift - x
    tight = {"rtol": 1e-13, "atol": 1e-13}  # sums of 7 terms of order one
    torch.testing.assert_close(system.energy(z), residual.square().mean(-1) - z @ field, **tight)
    torch.testing.assert_close(system.gradient(z), 2 * residual @ weight / 7 - field, **tight)
    quadratic = 2 * weight.T @ weight / 7
    torch.testing.assert_close(system.hessian(z), quadratic.expand(2, 3, 4, 4), **tight)
    v = normal(2, 3, 4, seed=4)
    torch.testing.assert_close(system.hessian_product(z, v), v @ quadratic, **tight)
    assert system.n_latent == 4


def test_latent_energy_of_one_point_and_of_images_has_its_shapes():
    decoder = nn.Sequential(nn.Linear(3, 8), nn.Unflatten(1, (2, 2, 2)), nn.ConvTranspose2d(2, 1, 2), nn.BatchNorm2d(1))
    system = landscape.latent_energy(decoder.double().eval(), normal(1, 3, 3), n_latent=3, chunk_size=1)
    z = landscape.sphere_points(2, 3, seed=0)
    assert system.energy(z[0]).shape == () and system.gradient(z[0]).shape == (3,)
    assert system.hessian(z).shape == (2, 3, 3)
    torch.testing.assert_close(system.energy(z)[1], system.energy(z[1]))
    torch.testing.assert_close(system.hessian(z)[1], system.hessian(z[1]))
    assert not system.gradient(z).requires_grad and not system.hessian(z).requires_grad


@pytest.mark.parametrize("activation", [nn.Tanh, nn.SiLU, nn.GELU])
def test_latent_energy_derivatives_agree_with_differences(activation):
    system, step = smooth_energy(activation=activation, penalty=lambda z: 0.1 * z.pow(4).sum(1)), 1e-4
    z = landscape.sphere_points(1, 5, seed=0)[0]
    shifts = step * torch.eye(5, dtype=F64)
    slope = (system.energy(z + shifts) - system.energy(z - shifts)) / (2 * step)
    curvature = (system.gradient(z + shifts) - system.gradient(z - shifts)) / (2 * step)
    # Central differences err by step²/6 times the third derivative, of order one here, and by eps/step.
    torch.testing.assert_close(system.gradient(z), slope, rtol=0, atol=1e-7)
    torch.testing.assert_close(system.hessian(z), curvature, rtol=0, atol=1e-7)
    torch.testing.assert_close(system.hessian_product(z, shifts[2] / step), curvature[2], rtol=0, atol=1e-7)


def test_latent_energy_takes_a_prior_mean_for_a_field():
    weight, mean = 0.7, normal(5, seed=5)
    prior = smooth_energy(penalty=lambda z: 0.5 * weight * (z - mean).square().sum(1))
    in_field = landscape.latent_energy(prior.decoder, prior.x, prior.field + weight * mean)
    z = landscape.sphere_points(8, 5, seed=0)
    constant = 0.5 * weight * (5 + mean.square().sum())
    torch.testing.assert_close(prior.energy(z), in_field.energy(z) + constant, rtol=1e-13, atol=1e-13)
    slopes = [landscape.sphere_gradient(system, z) for system in (prior, in_field)]
    torch.testing.assert_close(*slopes, rtol=1e-12, atol=1e-12)
    curvatures = [landscape.riemannian_hessian(system, z) for system in (prior, in_field)]
    torch.testing.assert_close(*curvatures, rtol=1e-12, atol=1e-12)


def test_latent_energy_takes_a_loss_and_a_decoder_of_mean_and_variance():
    x = normal(7)
    decoder = smooth_decoder()
    system = landscape.latent_energy(
        lambda z: (decoder(z), "log_var"), x, n_latent=5, loss=lambda output, x: (output - x).abs().sum(1)
    )
    z = landscape.sphere_points(3, 5, seed=0)
    torch.testing.assert_close(system.energy(z), (decoder(z) - x).abs().sum(1))


def test_latent_energy_refuses():
    decoder, x = smooth_decoder(), normal(7)
    for bad, message in (
        (x.long(), "x: want one finite floating"),
        (x * math.nan, "x: want one finite"),
        ([1.0], "got list"),
    ):
        with pytest.raises(ValueError, match=message):
            landscape.latent_energy(decoder, bad, n_latent=5)
    with pytest.raises(ValueError, match="want a field or n_latent >= 1, got neither"):
        landscape.latent_energy(decoder, x)
    for field, message in (
        (normal(4), r"field: want finite \(5,\), got \(4,\)"),
        (normal(1, 5), r"got \(1, 5\)"),
        (x[:5] / 0, "field: want finite"),
    ):
        with pytest.raises(ValueError, match=message):
            landscape.latent_energy(decoder, x, field, n_latent=5)
    with pytest.raises(ValueError, match="loss: want 'mse' or a function .*, got 'mae'"):
        landscape.latent_energy(decoder, x, n_latent=5, loss="mae")
    with pytest.raises(ValueError, match="chunk_size: want 1 or more, or None, got 0"):
        landscape.latent_energy(decoder, x, n_latent=5, chunk_size=0)
    with pytest.raises(ValueError, match="Dropout that mixes samples or draws random numbers"):
        landscape.latent_energy(nn.Sequential(decoder, nn.Dropout()), x, n_latent=5)


def test_latent_energy_refuses_outputs_of_another_shape():
    z = landscape.sphere_points(3, 5, seed=0)
    with pytest.raises(ValueError, match=r"decoder: want \(3, 6\) like x, got \(3, 7\)"):
        landscape.latent_energy(smooth_decoder(), normal(6), n_latent=5).energy(z)
    with pytest.raises(ValueError, match=r"loss: want one value a point, \(3,\), got \(3, 7\)"):
        smooth_energy(loss=lambda output, x: output - x).energy(z)
    with pytest.raises(ValueError, match=r"penalty: want one value a point, \(3,\), got \(\)"):
        smooth_energy(penalty=lambda z: z.square().sum()).energy(z)


def test_latent_energy_refuses_a_decoder_put_back_in_training():
    decoder = nn.Sequential(smooth_decoder(), nn.Dropout()).eval()
    system = landscape.latent_energy(decoder, normal(7), n_latent=5)
    decoder.train()
    with pytest.raises(ValueError, match="call .eval"):
        system.energy(landscape.sphere_points(3, 5, seed=0))


# The sphere


def test_sphere_points_are_uniform_and_of_their_seed():
    z = landscape.sphere_points(4000, 9, seed=3)
    torch.testing.assert_close(z.square().sum(1), torch.full((4000,), 9.0, dtype=F64), rtol=1e-14, atol=0)
    # E z = 0 and E z_i² = 1; Var z_i = 1 and Var z_i² = 2(n−1)/(n+2).
    assert z.mean(0).abs().max() < 4 / math.sqrt(4000)
    assert (z.square().mean(0) - 1).abs().max() < 4 * math.sqrt(16 / 11 / 4000)
    assert torch.equal(z, landscape.sphere_points(4000, 9, seed=3))
    assert not torch.equal(z, landscape.sphere_points(4000, 9, seed=4))
    assert torch.equal(z.float(), landscape.sphere_points(4000, 9, seed=3, dtype=torch.float32))
    with pytest.raises(ValueError, match="want n_points, n_latent >= 1, got 0, 9"):
        landscape.sphere_points(0, 9, seed=3)


@pytest.mark.parametrize("n_latent", [1, 2, 7])
def test_tangent_basis_is_orthonormal_and_tangent(n_latent):
    z = landscape.sphere_points(20, n_latent, seed=0)
    z[0], z[1] = 0, 0
    z[0, -1], z[1, -1] = n_latent**0.5, -(n_latent**0.5)  # both poles of the reflection
    basis = landscape.tangent_basis(z)
    identity = torch.eye(n_latent - 1, dtype=F64).expand(20, -1, -1)
    torch.testing.assert_close(basis.mT @ basis, identity, rtol=0, atol=1e-14)
    zero = torch.zeros(20, n_latent - 1, 1, dtype=F64)
    torch.testing.assert_close(basis.mT @ z[..., None], zero, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", ["decoder", "p-spin"])
def test_riemannian_hessian_is_the_second_derivative_along_great_circles(kind):
    system, z = both_kinds()[kind], landscape.sphere_points(4, 5, seed=0)
    basis, matrix = landscape.tangent_basis(z), landscape.riemannian_hessian(system, z)
    slope = landscape.sphere_gradient(system, z)
    assert torch.equal(matrix, matrix.mT)
    for coordinates in normal(3, 4, seed=6):
        v = basis @ coordinates
        rate = coordinates.norm() / math.sqrt(5)

        def along(t, v=v, rate=rate):
            return system.energy(z * torch.cos(rate * t) + v * (torch.sin(rate * t) / rate))

        zero, one = torch.zeros((), dtype=F64), torch.ones((), dtype=F64)
        first, second = jvp(lambda t: jvp(along, (t,), (one,))[1], (zero,), (one,))
        torch.testing.assert_close(first, (slope * v).sum(1), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(second, (matrix @ coordinates) @ coordinates, rtol=1e-12, atol=1e-12)


def test_riemannian_hessian_of_a_field_alone_is_the_radial_slope():
    system = draw_pspin({}, 6, field=0.8, seed=0)
    z = torch.ones(2, 6, dtype=F64) * torch.tensor([[1.0], [-1.0]])
    assert landscape.sphere_gradient(system, z).abs().max() < 1e-15
    expected = 0.8 * torch.tensor([1.0, -1.0], dtype=F64)[:, None, None] * torch.eye(5, dtype=F64)
    torch.testing.assert_close(landscape.riemannian_hessian(system, z), expected, rtol=1e-14, atol=1e-14)
    assert landscape.hessian_index(system, z).tolist() == [0, 5]


def test_riemannian_hessian_of_a_p_spin_has_the_moments_of_a_goe_matrix():
    # E tr(Hess − centre)²/m = ξ''(1) at every n: m(m−1) entries of variance ξ''/n, m of 2ξ''/n, m = n − 1.
    mixture, n_latent, n_systems = {2: 0.5, 3: 1.0}, 24, 300
    z = landscape.sphere_points(1, n_latent, seed=0)[0]
    square, mean, centres = [], [], []
    for seed in range(n_systems):
        system = draw_pspin(mixture, n_latent, seed=seed)
        centre = -(z @ system.gradient(z)) / n_latent
        spectrum = torch.linalg.eigvalsh(landscape.riemannian_hessian(system, z)) - centre
        square.append(spectrum.square().mean()), mean.append(spectrum.mean()), centres.append(centre)
    square, mean = torch.stack(square), torch.stack(mean)
    curvature = 2 * 0.5 + 6 * 1.0
    assert abs(square.mean() - curvature) < 4 * square.std() / math.sqrt(n_systems)
    # The mean eigenvalue has variance 2ξ''/(nm); with 300 systems the relative error of a variance is √(2/299).
    variance = 2 * curvature / (n_latent * (n_latent - 1))
    assert abs(mean.mean()) < 4 * math.sqrt(variance / n_systems)
    assert abs(mean.square().mean() / variance - 1) < 4 * math.sqrt(2 / 299)
    # The matrix knows nothing of the slope along the radius.
    correlation = torch.corrcoef(torch.stack([torch.stack(centres), square]))[0, 1]
    assert abs(correlation) < 4 / math.sqrt(n_systems)


# Soft modes


@pytest.mark.parametrize("kind", ["decoder", "p-spin"])
def test_soft_modes_are_eigenvectors_and_lanczos_finds_them(kind):
    system, z = both_kinds(12)[kind], landscape.sphere_points(3, 12, seed=0)
    dense, modes = landscape.soft_modes(system, z, 3)
    lanczos, lanczos_modes = landscape.soft_modes(system, z, 3, method="lanczos")
    assert modes.shape == lanczos_modes.shape == (3, 12, 3) and (dense.diff(dim=1) > 0).all()
    scale = torch.linalg.matrix_norm(landscape.riemannian_hessian(system, z), 2).max().item()
    torch.testing.assert_close(lanczos, dense, rtol=0, atol=1e-12 * scale)
    radial = (z * system.gradient(z)).sum(1)[:, None, None] / 12
    for values, vectors in ((dense, modes), (lanczos, lanczos_modes)):
        assert (z[:, None] @ vectors).abs().max() < 1e-13
        image = system.hessian(z) @ vectors
        image = image - z[:, :, None] * (z[:, None] @ image) / 12 - radial * vectors
        # A Ritz vector is right to the square root of what its value is: ARPACK stops at residual eps·|value|.
        assert (image - values[:, None] * vectors).abs().max() < 1e-10 * scale
    point_values, point_modes = landscape.soft_modes(system, z[0], 2, method="lanczos")
    assert point_modes.shape == (12, 2)
    torch.testing.assert_close(point_values, dense[0, :2], rtol=0, atol=1e-12 * scale)


def test_soft_modes_take_lanczos_past_the_dense_size(monkeypatch):
    system, z = both_kinds(12)["p-spin"], landscape.sphere_points(1, 12, seed=0)
    expected = landscape.soft_modes(system, z, 2)[0]
    monkeypatch.setattr(landscape, "DENSE_MAX", 4)
    monkeypatch.setattr(landscape, "riemannian_hessian", None)  # not to be called
    torch.testing.assert_close(landscape.soft_modes(system, z, 2)[0], expected)


def test_soft_modes_refuse():
    system, z = smooth_energy(), landscape.sphere_points(2, 5, seed=0)
    for n_modes in (0, 5):
        with pytest.raises(ValueError, match=f"n_modes: want 1 to n_latent - 1 = 4, got {n_modes}"):
            landscape.soft_modes(system, z, n_modes)
    with pytest.raises(ValueError, match="method: want None, 'dense' or 'lanczos', got 'power'"):
        landscape.soft_modes(system, z, 1, method="power")


@pytest.mark.parametrize(
    "function",
    [
        landscape.sphere_gradient, landscape.riemannian_hessian, landscape.hessian_index,
        lambda system, z: landscape.soft_modes(system, z, 1),
    ],  # fmt: skip
)
def test_sphere_functions_refuse_points_that_are_none(function):
    system, z = smooth_energy(), landscape.sphere_points(2, 5, seed=0)
    for bad, message in (
        (z[:, :4], r"z: want floating points \(..., n_latent = 5\), got torch.float64 \(2, 4\)"),
        (z.long(), "got torch.int64"),
        (z.tolist(), "got list"),
        (1.001 * z, r"want finite points with .* off 1 by 0.002"),
        (z * math.nan, "off 1 by nan"),
    ):
        with pytest.raises(ValueError, match=message):
            function(system, bad)


def test_energy_and_gradient_asks_once_where_it_can():
    class Plain:
        n_latent, field = 3, torch.zeros(3, dtype=F64)
        energy = staticmethod(lambda z: z.pow(3).sum(-1))
        gradient = staticmethod(lambda z: 3 * z.square())

    z = landscape.sphere_points(2, 3, seed=0)
    energy, gradient = landscape.energy_and_gradient(Plain(), z)
    assert torch.equal(energy, z.pow(3).sum(-1)) and torch.equal(gradient, 3 * z.square())
    together = [landscape.energy_and_gradient(system, z)[1] for system in both_kinds(3).values()]
    alone = [system.gradient(z) for system in both_kinds(3).values()]
    assert all(map(torch.equal, together, alone))
    assert isinstance(both_kinds(3)["p-spin"], PSpin)
