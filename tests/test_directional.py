"""Derivatives along lines: analytic laws, nested forward mode, finite differences; smoothing by Gaussian integrals."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import jvp

from latentlib.directional import directional_derivatives, smoothed_derivatives, tangent_directions
from latentlib.landscape import latent_energy
from latentlib.pspin import draw_pspin

F64 = torch.float64


def lines(n_points: int, n_directions: int, n_latent: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    z = torch.randn(n_points, n_latent, generator=generator, dtype=F64)
    return z, tangent_directions(z, n_directions, seed=11)


def nested(energy, z: Tensor, direction: Tensor, order: int) -> Tensor:
    """The same derivatives by forward differentiation of forward differentiation, in 2^order steps or more."""

    def values(t: Tensor) -> tuple[Tensor, ...]:
        return (energy(z + t[..., None] * direction.transpose(0, 1)),)

    for _ in range(order):

        def values(t: Tensor, before=values) -> tuple[Tensor, ...]:
            found, slope = jvp(before, (t,), (torch.ones_like(t),))
            return *found, slope[-1]

    with torch.no_grad():
        return torch.stack(values(z.new_zeros(direction.shape[1::-1])), -1).transpose(0, 1)


def assert_slopes(energy, z: Tensor, direction: Tensor, order: int) -> None:
    """D^{p+1} is the slope of D^p along the line, by the five-point difference: error e⁴/30·D^{p+5} and eps/e·D^p."""
    found = directional_derivatives(energy, z, direction, order)
    step = 1e-3
    slope = 0.0
    for shift, weight in ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12)):
        moved = (z[:, None] + shift * step * direction).flatten(0, 1)
        there = directional_derivatives(energy, moved, direction.flatten(0, 1)[:, None], order - 1)
        slope = slope + weight / step * there.reshape(*direction.shape[:2], order)
    scale = found.abs().amax((0, 1)).cummax(0).values  # of order p and all below
    assert ((slope - found[..., 1:]).abs() <= 1e-9 * scale[1:] + 1e-12 * scale[:-1] / step).all()


# Power series -------------------------------------------------------------------------------------------------------


def test_directional_derivatives_of_a_plane_wave_exact(generator):
    z, v = lines(4, 3, 6, generator)
    w = torch.randn(6, generator=generator, dtype=F64)
    slope = (v @ w)[..., None] ** torch.arange(9)
    growing = directional_derivatives(lambda z: (z @ w).exp(), z, v, 8)
    # A product of 8 rounded factors, and the sum z·w in the exponent.
    torch.testing.assert_close(growing, slope * (z @ w).exp()[:, None, None], rtol=1e-13, atol=0)
    wave = directional_derivatives(lambda z: (z @ w).cos(), z, v, 8)
    phase = (z @ w)[:, None, None] + torch.arange(9, dtype=F64) * math.pi / 2
    torch.testing.assert_close(wave, slope * phase.cos(), rtol=1e-11, atol=1e-12 * slope.abs().max().item())


FUNCTIONS = {
    "exp": torch.exp, "expm1": torch.expm1, "log": lambda x: (2 + x * x).log(), "log1p": lambda x: torch.log1p(x * x),
    "tanh": torch.tanh, "sigmoid": torch.sigmoid, "erf": torch.erf, "sin": torch.sin, "cos": torch.cos,
    "softplus": lambda x: F.softplus(x, beta=2), "gelu": F.gelu, "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "logsigmoid": F.logsigmoid, "softmax": lambda x: x.softmax(-1) ** 2, "log_softmax": lambda x: x.log_softmax(-1) * x,
    "logsumexp": lambda x: x.logsumexp(-1, keepdim=True), "sqrt": lambda x: (1 + x * x).sqrt(),
    "rsqrt": lambda x: (1 + x * x).rsqrt(), "power": lambda x: (2 + x.square()) ** 1.3,
    "reciprocal": lambda x: 1 / (3 + x),
    "divide": lambda x: x.exp() / (3 + x * x) / 2, "normalize": lambda x: (x / x.norm(dim=-1, keepdim=True)) ** 3,
    "minus": lambda x: 1 - x**4 + 2.0, "mse": lambda x: F.mse_loss(x.exp(), torch.ones_like(x), reduction="none"),
    "bce": lambda x: F.binary_cross_entropy_with_logits(x, torch.full_like(x, 0.3), reduction="none"),
    "einsum": lambda x: torch.einsum("...i,...j,ij->...", x, x.tanh(), torch.ones(8, 8, dtype=F64))[..., None],
    "cat": lambda x: torch.cat([x.sin(), torch.ones_like(x), x * x], -1) ** 2,
    "split": lambda x: x.chunk(2, -1)[0].exp() * x.chunk(2, -1)[1],
    "index": lambda x: x[..., [0, 0, 2]] ** 2 * x[..., 1:4],
    "in place": lambda x: x.exp().mul_(2).add_(x), "stack": lambda x: torch.stack([x, x.exp()]).square().sum(0),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_directional_derivatives_agree_with_nested_forward_mode(name, generator):
    z, v = lines(3, 2, 6, generator)
    layer = nn.Linear(6, 8).to(F64)

    def energy(z: Tensor) -> Tensor:
        return FUNCTIONS[name](layer(z)).sum(-1)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer.reset_parameters()
    found, expected = directional_derivatives(energy, z, v, 5), nested(energy, z, v, 5)
    # Some hundred rounded terms of the size of the largest derivative up to that order.
    scale = expected.abs().amax((0, 1)).cummax(0).values
    assert ((found - expected).abs() <= 1e-13 * scale).all()


def deconvolution() -> nn.Module:
    """Convolutions, batch statistics frozen away from 0 and 1, and activations without nested forward mode."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(
            nn.Linear(6, 16), nn.LayerNorm(16), nn.Mish(), nn.Unflatten(1, (4, 2, 2)), nn.ConvTranspose2d(4, 3, 3),
            nn.BatchNorm2d(3), nn.SiLU(inplace=True), nn.Upsample(scale_factor=2), nn.Conv2d(3, 2, 3, padding=1),
            nn.Sigmoid(),
        ).to(F64)  # fmt: skip
        net[5].running_mean.uniform_(-1, 1), net[5].running_var.uniform_(0.5, 2)
    return net.eval()


def test_directional_derivatives_are_slopes_of_each_other_for_a_decoder(generator):
    z, v = lines(2, 2, 6, generator)
    x = torch.rand(2, 8, 8, generator=generator, dtype=F64)
    field = torch.linspace(-1, 1, 6, dtype=F64)
    landscape = latent_energy(deconvolution(), x, field)
    assert_slopes(landscape.energy, z, v, 8)
    found = directional_derivatives(landscape.energy, z, v, 1)
    torch.testing.assert_close(found[..., 0], landscape.energy(z)[:, None].expand(2, 2), rtol=1e-14, atol=1e-14)
    slope = (v * landscape.gradient(z)[:, None]).sum(-1)
    torch.testing.assert_close(found[..., 1], slope, rtol=1e-12, atol=1e-14)


def test_directional_derivatives_of_a_pspin(generator):
    system = draw_pspin({1: 0.4, 2: 1.0, 3: 0.7, 5: 0.3, 8: 0.1}, 4, field=0.5, seed=3)
    z, v = lines(5, 2, 4, generator)
    found = directional_derivatives(system.energy, z, v, 8)
    assert_slopes(system.energy, z, v, 8)
    second = torch.einsum("pdi,pij,pdj->pd", v, system.hessian(z), v)
    torch.testing.assert_close(found[..., 2], second, rtol=1e-12, atol=1e-12)
    # A polynomial of degree 8 is its own Taylor polynomial: at t = 2 the terms reach 1e3 times their sum.
    factorial = torch.tensor([math.factorial(p) for p in range(9)], dtype=F64)
    far = (found / factorial * 2.0 ** torch.arange(9)).sum(-1)
    torch.testing.assert_close(far, system.energy(z[:, None] + 2 * v), rtol=1e-11, atol=1e-11)
    cubic = directional_derivatives(draw_pspin({3: 1.0}, 6, seed=0).energy, *lines(5, 2, 6, generator), 8)
    assert cubic[..., 3].all() and not cubic[..., 4:].any()


def test_directional_derivatives_by_point_and_by_chunk(generator):
    z, v = lines(3, 5, 4, generator)
    systems = [draw_pspin({2: 1.0, 3: 1.0}, 4, seed=seed) for seed in range(3)]
    together = directional_derivatives([system.energy for system in systems], z, v, 4)
    for i, system in enumerate(systems):
        alone = directional_derivatives(system.energy, z[i : i + 1], v[i : i + 1], 4)
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-13, atol=1e-14)
    whole = directional_derivatives(systems[0].energy, z, v, 4)
    chunks = directional_derivatives(systems[0].energy, z, v, 4, chunk_size=2)
    torch.testing.assert_close(chunks, whole, rtol=1e-13, atol=1e-14)


def test_directional_derivatives_of_a_constant_are_zero(generator):
    z, v = lines(2, 3, 4, generator)
    found = directional_derivatives(lambda z: torch.full(z.shape[:-1], 7.0, dtype=F64), z, v, 3)
    assert (found[..., 0] == 7).all() and not found[..., 1:].any()


# Refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (nn.ReLU(), "relu"), (nn.ReLU(inplace=True), "relu_"), (nn.LeakyReLU(0.1), "leaky_relu"), (nn.ELU(), "elu"),
        (nn.PReLU().to(F64), "_prelu_kernel|prelu"),
        (nn.Hardtanh(), "hardtanh"), (nn.Hardswish(), "hardswish"), (F.relu, "relu"),
        (torch.abs, "abs"), (lambda x: torch.where(x > 0, x, 0.1 * x), "gt"), (lambda x: x.clamp(min=0), "clamp"),
        (lambda x: F.max_pool1d(x[:, None], 2)[:, 0] if x.ndim == 2 else x.amax(-1, keepdim=True), "amax|max_pool"),
    ],
)  # fmt: skip
def test_directional_derivatives_refuse_kinks_with_the_reason(function, name, generator):
    z, v = lines(2, 2, 6, generator)
    layer = nn.Linear(6, 6).to(F64)
    message = f"want a smooth one, got ({name})_?: D_v.p H, p >= 3, of a ReLU .* take smooth=s"
    with pytest.raises(ValueError, match=message):
        directional_derivatives(lambda z: function(layer(z)).square().sum(-1), z, v, 4)


def test_directional_derivatives_name_what_they_cannot_do(generator):
    z, v = lines(2, 2, 6, generator)
    with pytest.raises(NotImplementedError, match="no power series is known for (special_)?bessel_j0"):
        directional_derivatives(lambda z: torch.special.bessel_j0(z).sum(-1), z, v, 3)
    with pytest.raises(NotImplementedError, match="add_ on a plain tensor or a view"):
        directional_derivatives(lambda z: (z * 1)[..., :2].add_(1).sum(-1), z, v, 3)
    with pytest.raises(NotImplementedError, match="pow with an exponent that is a tensor"):
        directional_derivatives(lambda z: (2.0**z).sum(-1), z, v, 3)
    with pytest.raises(NotImplementedError, match="convolution whose weights depend on t"):
        signal = torch.ones(1, 1, 9, dtype=F64)
        directional_derivatives(lambda z: F.conv1d(signal, z[:1, :1]).sum((1, 2)), z, v[:, :1], 3)


GOOD_Z, GOOD_V = torch.ones(2, 3, dtype=F64), torch.ones(2, 1, 3, dtype=F64) / math.sqrt(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"z": GOOD_Z.float()}, "z: want finite float64 .*got torch.float32"),
        ({"z": GOOD_Z[0]}, r"z: want .* got .*\(3,\)"),
        ({"z": GOOD_Z * math.nan}, "z: want finite"),
        ({"direction": GOOD_V[:, 0]}, r"direction: want finite float64 \(2, n_directions > 0, 3\), got .*\(2, 3\)"),
        ({"direction": GOOD_V[:1]}, r"direction: .* got .*\(1, 1, 3\)"),
        ({"direction": GOOD_V.float()}, "direction: .* got torch.float32"),
        ({"direction": GOOD_V * math.inf}, "direction: want finite"),
        ({"order": 0}, "order: want a whole number from 1 to 8, got 0"),
        ({"order": 9}, "got 9"),
        ({"order": 2.0}, "got 2.0"),
        ({"energy": [torch.sum]}, "energy: want one, or one a point, 2, got 1"),
        ({"energy": lambda z: z}, r"energy: want \(.*3\) -> \(.*2\), got \(.*3\)"),
        ({"energy": lambda z: (z - z).log().sum(-1)}, "want finite derivatives, got NaN or infinity"),
    ],
)
def test_derivatives_refuse_bad_input(change, message):
    arguments = {"energy": lambda z: z.exp().sum(-1), "z": GOOD_Z, "direction": GOOD_V, "order": 3} | change
    with pytest.raises(ValueError, match=message):
        directional_derivatives(**arguments)
    with pytest.raises(ValueError, match=message):
        smoothed_derivatives(**arguments, smooth=0.1, n_across=2, seed=0)


def test_directional_derivatives_refuse_no_chunk():
    with pytest.raises(ValueError, match="chunk_size: want 1 or more, or None, got 0"):
        directional_derivatives(lambda z: z.sum(-1), GOOD_Z, GOOD_V, 2, chunk_size=0)


# Smoothing ----------------------------------------------------------------------------------------------------------


def test_smoothed_derivatives_of_an_exponential_exact(generator):
    z, v = lines(3, 4, 5, generator)
    w = 0.2 * torch.randn(5, generator=generator, dtype=F64)  # narrow enough for means of 1000 cosh to be normal
    smooth = 0.7
    found, error = smoothed_derivatives(lambda z: (z @ w).exp(), z, v, 8, smooth=smooth, n_across=1000, seed=1)
    grown = (z @ w + smooth**2 * w.square().sum() / 2).exp()
    expected = (v @ w)[..., None] ** torch.arange(9) * grown[:, None, None]
    # Beside Monte Carlo: 64 nodes integrate e^{.5x}·He_8 to rounding, s^{−8}√8! = 3e3 times larger.
    assert ((found - expected).abs() <= 4 * error + 1e-11).all()
    assert (error[..., 1:5] < 0.1 * expected[..., 1:5].abs().amax((0, 1))).all()


def test_smoothed_derivatives_of_a_ramp_grow_as_its_width_shrinks(generator):
    # E ReLU(u + τξ) has second derivative φ(u/τ)/τ and third −u φ(u/τ)/τ³, u = w·z, τ = s|w|.
    z, v = lines(3, 4, 8, generator)
    w = torch.randn(8, generator=generator, dtype=F64)
    z = 0.1 * z
    for smooth in (0.5, 0.25):
        found, error = smoothed_derivatives(lambda z: (z @ w).relu(), z, v, 3, smooth=smooth, n_across=400, seed=2)
        u, width = (z @ w)[:, None], smooth * w.norm()
        bell = torch.exp(-((u / width) ** 2) / 2) / math.sqrt(2 * math.pi)
        expected = torch.stack([(v @ w) ** 2 * bell / width, -((v @ w) ** 3) * u * bell / width**3], -1)
        # The kink falls anywhere between the nodes, by a Gaussian far wider than their distance: no bias beside it.
        assert ((found[..., 2:] - expected).abs() <= 4 * error[..., 2:]).all()
        assert (error[..., 2].mean() < 0.3 * expected[..., 0].abs().mean()).all()


def test_smoothed_derivatives_of_a_polynomial_along_v_exact(generator):
    v = torch.zeros(1, 1, 4, dtype=F64)
    v[..., 1] = 1
    z = torch.randn(1, 4, generator=generator, dtype=F64)
    found, error = smoothed_derivatives(lambda z: z[..., 1] ** 5, z, v, 6, smooth=0.5, n_across=3, seed=0)
    t, var = z[0, 1].item(), 0.25  # E (t + sξ)⁵ = t⁵ + 10 t³s² + 15 t s⁴, and its derivatives
    expected = [
        t**5 + 10 * t**3 * var + 15 * t * var**2, 5 * t**4 + 30 * t**2 * var + 15 * var**2, 20 * t**3 + 60 * t * var,
        60 * t**2 + 60 * var, 120 * t, 120, 0,
    ]  # fmt: skip
    # s^{−6}√6! = 1.7e3 times the rounding of the nodes, weights and energies.
    assert found[0, 0].tolist() == pytest.approx(expected, abs=1e-9)
    assert error.max() < 1e-9  # nothing varies across


def test_smoothed_derivatives_errors_are_the_spread_over_seeds(generator):
    z, v = lines(2, 2, 4, generator)

    def run(seed: int) -> tuple[Tensor, Tensor]:
        return smoothed_derivatives(lambda z: z.relu().sum(-1), z, v, 3, smooth=0.5, n_across=16, n_nodes=16, seed=seed)

    assert torch.equal(run(1)[0], run(1)[0])
    runs = [run(seed) for seed in range(200)]
    spread = torch.stack([estimate for estimate, _ in runs]).std(0)
    error = torch.stack([error for _, error in runs]).square().mean(0).sqrt()
    # The sd of 200 seeds is known to 5 %; of 16 entries the furthest within four of those.
    assert ((error / spread - 1).abs() <= 4 * 400**-0.5).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"smooth": 0.0}, "want smooth > 0, .* got 0.0, 4, 16"),
        ({"smooth": math.inf}, "want smooth > 0"),
        ({"n_across": 1}, "n_across >= 2, .* got 0.1, 1, 16"),
        ({"n_nodes": 3}, "n_nodes > order = 3, got 0.1, 4, 3"),
        ({"direction": 2 * GOOD_V}, "direction: want unit vectors"),
    ],
)
def test_smoothed_derivatives_refuse(change, message):
    options = {"direction": GOOD_V, "smooth": 0.1, "n_across": 4, "n_nodes": 16} | change
    with pytest.raises(ValueError, match=message):
        smoothed_derivatives(lambda z: z.relu().sum(-1), GOOD_Z, order=3, seed=0, **options)


# Directions ---------------------------------------------------------------------------------------------------------


def test_tangent_directions_are_unit_and_tangent(generator):
    z = 100 * torch.randn(30, 7, generator=generator, dtype=F64)
    z[3] = 0
    v = tangent_directions(z, 5, seed=1)
    assert v.shape == (30, 5, 7)
    torch.testing.assert_close(v.square().sum(-1), torch.ones(30, 5, dtype=F64), rtol=0, atol=1e-14)
    assert ((v * z[:, None]).sum(-1).abs() <= 1e-14 * z.norm(dim=1)[:, None] * 7).all()
    assert torch.equal(v, tangent_directions(z, 5, seed=1)) and not torch.equal(v, tangent_directions(z, 5, seed=2))
    assert tangent_directions(z.float(), 2, seed=0).dtype == torch.float32


def test_tangent_directions_are_uniform(generator):
    z = torch.zeros(1, 5, dtype=F64)
    z[0, 0] = 3
    v = tangent_directions(z, 20_000, seed=4)[0, :, 1:]
    outer = v[:, :, None] * v[:, None, :]
    assert ((outer.mean(0) - torch.eye(4) / 4).abs() <= 4 * outer.std(0) / len(v) ** 0.5).all()
    assert (v.mean(0).abs() <= 4 * v.std(0) / len(v) ** 0.5).all()


@pytest.mark.parametrize(
    ("z", "n_directions", "message"),
    [
        (torch.ones(3), 1, "want finite floating"),
        (torch.ones(3, 1), 1, "n_latent >= 2"),
        (torch.ones(0, 3), 1, "n_points > 0"),
        (torch.ones(3, 3, dtype=torch.int64), 1, "int64"),
        (torch.full((2, 3), math.nan), 1, "want finite"),
        (torch.ones(3, 3), 0, "n_directions: want 1 or more, got 0"),
    ],
)
def test_tangent_directions_refuse(z, n_directions, message):
    with pytest.raises(ValueError, match=message):
        tangent_directions(z, n_directions, seed=0)


def test_tangent_directions_differ_from_points_of_the_same_seed():
    from latentlib import nulls

    z = nulls.uniform_codes(20, 4, seed=7)
    assert tangent_directions(z, 2, seed=7).isfinite().all()
