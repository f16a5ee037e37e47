"""Forces on codes against gradients, dense Jacobians and the linear encoder; descent against torch's optimizers."""

import copy
import math

import pytest
import torch
from torch.func import functional_call, jacrev

from latentlib import compression, landscape, langevin_fit, models
from latentlib.training_force import (
    CodeRecorder, batch_force, latent_force, preconditioned_force, stochastic_descent,
)  # fmt: skip

F64 = torch.float64


@pytest.fixture
def model():
    return models.MLPVAE(7, 3, hidden=(5,), activation="tanh", seed=1).double()


@pytest.fixture
def x(generator):
    return torch.randn(12, 7, generator=generator, dtype=F64)


def squares(x_hat, x):
    return 0.5 * (x_hat - x).square().sum(-1)


def codes(model, x, on_sphere=False):
    mu = model.encode(x)[0].detach()
    return mu * math.sqrt(mu.shape[1]) / mu.norm(dim=1, keepdim=True) if on_sphere else mu


def jacobians(model, x, on_sphere=False):
    """∂z(x_i)/∂weights as one matrix, (n_inputs, n_latent, n_weights): reverse mode, all weights, the decoder's too."""

    def code(weights):
        class Encoder(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self):
                mu = self.model.encode(x)[0]
                return mu * math.sqrt(mu.shape[1]) / mu.norm(dim=1, keepdim=True) if on_sphere else mu

        return functional_call(Encoder(), {f"model.{name}": weight for name, weight in weights.items()}, ())

    parts = jacrev(code)({name: weight.detach() for name, weight in model.named_parameters()})
    return torch.cat([part.flatten(2) for part in parts.values()], -1)


@pytest.mark.parametrize("on_sphere", [False, True])
def test_latent_force_is_the_descent_of_every_landscape(model, x, on_sphere, generator):
    z = codes(model, x, on_sphere)
    options = {
        "loss": squares, "penalty": lambda z: z.pow(4).sum(-1), "field": torch.randn(3, generator=generator, dtype=F64),
    }  # fmt: skip
    force = latent_force(model.decode, x, z, on_sphere=on_sphere, **options)
    for i in range(len(x)):
        own = landscape.latent_energy(model.decode, x[i], **options)
        slope = landscape.sphere_gradient(own, z[i]) if on_sphere else own.gradient(z[i])
        torch.testing.assert_close(force[i], -slope, rtol=1e-12, atol=1e-12)


def test_latent_force_of_a_linear_decoder_pulls_to_the_data(x, generator):
    linear = models.LinearVAE(7, 3, seed=0).double()
    z = torch.randn(12, 3, generator=generator, dtype=F64)
    weight, shift = linear.decoder.weight.detach(), linear.decoder.bias.detach()
    expected = -2 / 7 * (z @ weight.T + shift - x) @ weight  # loss "mse": the mean over the 7 values of x
    torch.testing.assert_close(latent_force(linear.decode, x, z), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(latent_force(linear.decode, x, z, chunk_size=5), expected, rtol=1e-12, atol=1e-12)
    assert latent_force(copy.deepcopy(linear).float().decode, x.float(), z.float()).dtype == torch.float32


def test_latent_force_on_the_sphere_is_tangent_and_knows_no_radius(model, x):
    z = codes(model, x)
    force = latent_force(model.decode, x, z, on_sphere=True)
    torch.testing.assert_close(latent_force(model.decode, x, 3 * z, on_sphere=True), force, rtol=1e-12, atol=1e-14)
    assert ((force * z).sum(1).abs() <= 1e-14 * force.norm(dim=1) * z.norm(dim=1) + 1e-15).all()
    assert not torch.allclose(latent_force(model.decode, x, 3 * z), latent_force(model.decode, x, z))


@pytest.mark.parametrize("on_sphere", [False, True])
def test_forces_are_those_of_the_dense_jacobian(model, x, on_sphere):
    force = latent_force(model.decode, x, codes(model, x, on_sphere), on_sphere=on_sphere)
    every = jacobians(model, x, on_sphere)
    kernel = torch.einsum("iap,jbp->ijab", every, every)
    own = torch.einsum("iiab,ib->ia", kernel, force)
    preconditioned = preconditioned_force(model, x, force, on_sphere=on_sphere, chunk_size=5)
    torch.testing.assert_close(preconditioned, own, rtol=1e-12, atol=1e-13)
    of_batch = torch.einsum("ijab,jb->ia", kernel[:, 4:], force[4:]) / 8
    found = batch_force(model, x, x[4:], force[4:], on_sphere=on_sphere)
    torch.testing.assert_close(found, of_batch, rtol=1e-12, atol=1e-13)
    # A batch of one pushes itself by its own force alone; J Jᵀ is never against a force.
    alone = batch_force(model, x[:1], x[:1], force[:1], on_sphere=on_sphere)
    torch.testing.assert_close(alone, preconditioned[:1], rtol=1e-12, atol=1e-13)
    assert ((force * preconditioned).sum(1) > 0).all()


def test_forces_through_a_residual_network_are_those_of_the_dense_jacobian(generator):
    network = models.ResidualVAE((1, 4, 4), 2, channels=(2, 3), seed=0).double().eval()
    x = torch.rand(3, 1, 4, 4, generator=generator, dtype=F64)
    force = latent_force(network.decode, x, codes(network, x))
    assert force.shape == (3, 2) and (force != 0).any(1).all()
    every = jacobians(network, x)
    own = torch.einsum("iap,ibp,ib->ia", every, every, force)
    torch.testing.assert_close(preconditioned_force(network, x, force), own, rtol=1e-10, atol=1e-13)


def test_forces_of_the_linear_encoder_are_exact(x, generator):
    linear = models.LinearVAE(7, 3, seed=0).double()
    force = torch.randn(12, 3, generator=generator, dtype=F64)
    gram = x @ x.T + 1  # the bias moves all codes alike
    own, batch = gram.diagonal()[:, None] * force, gram @ force / 12
    torch.testing.assert_close(preconditioned_force(linear, x, force), own, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(batch_force(linear, x, x, force), batch, rtol=1e-12, atol=1e-13)
    linear.encoder.bias.requires_grad_(False)  # frozen weights stay put
    own = x.square().sum(1, keepdim=True) * force
    torch.testing.assert_close(preconditioned_force(linear, x, force), own, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("on_sphere", [False, True])
def test_batch_force_is_a_step_of_descent_to_first_order(model, x, on_sphere):
    batch = x[:8]

    def objective(model, batch, generator):
        mu = model.encode(batch)[0]
        z = mu * math.sqrt(3) / mu.norm(dim=1, keepdim=True) if on_sphere else mu
        return squares(model.decode(z), batch).mean()

    before = codes(model, x, on_sphere)
    force = latent_force(model.decode, batch, before[:8], on_sphere=on_sphere, loss=squares)
    drift = batch_force(model, x, batch, force, on_sphere=on_sphere)
    errors, rates = [], [1e-3 * 2.0**-k for k in range(6)]
    for rate in rates:
        moved = copy.deepcopy(model)
        loss = objective(moved, batch, None)
        weights = list(moved.parameters())
        with torch.no_grad():
            for weight, gradient in zip(weights, torch.autograd.grad(loss, weights, allow_unused=True), strict=True):
                weight -= rate * (0 if gradient is None else gradient)
        errors.append((codes(moved, x, on_sphere) - before - rate * drift).norm().item())
    # Δz = rate·drift + O(rate²): halving the rate quarters the error, up to its own first order in the rate, 1e-3/32.
    assert abs(math.log2(errors[-2] / errors[-1]) - 2) < 0.01
    assert errors[-1] < 1e-3 * rates[-1] * drift.norm()


def test_forces_refuse(model, x):
    force = torch.ones(12, 3, dtype=F64)
    with pytest.raises(ValueError, match=r"x: want as many inputs as codes, \(12, ...\), got \(11, 7\)"):
        latent_force(model.decode, x[:11], force)
    with pytest.raises(ValueError, match="z: want finite values, got nan"):
        latent_force(model.decode, x, force * math.nan)
    with pytest.raises(ValueError, match="z: want rows of positive finite norm, got norm 0 in row 0"):
        latent_force(model.decode, x, force * 0, on_sphere=True)
    with pytest.raises(ValueError, match="loss: want 'mse' or a function"):
        latent_force(model.decode, x, force, loss="l1")
    infinite = x.clone()
    infinite[5, 2] = math.inf
    with pytest.raises(ValueError, match="x: want finite inputs, got inf"):
        latent_force(model.decode, infinite, force)
    for wrong, message in (
        (force[:, :2], r"force: want \(n_inputs, n_latent = 3\), got \(12, 2\)"),
        (force[:4], r"x: want as many inputs as codes, \(4, ...\), got \(12, 7\)"),
        (force.long(), "force: want a floating-point tensor, got torch.int64"),
        (force / 0, "force: want finite values, got inf"),
    ):
        with pytest.raises(ValueError, match=message):
            preconditioned_force(model, x, wrong)
        with pytest.raises(ValueError, match=message):
            batch_force(model, x, x, wrong)
    mixing = models.ResidualVAE((1, 4, 4), 3, channels=(2, 3)).double().train()
    with pytest.raises(ValueError, match="want a map of one sample at a time, got BatchNorm2d"):
        preconditioned_force(mixing, torch.rand(12, 1, 4, 4, dtype=F64), force)


def test_recorder_keeps_codes_and_forces_of_a_training(model, x):
    recorder = CodeRecorder(x[:5], x_data=x, every=2, loss=squares)
    first = copy.deepcopy(model)
    stochastic_descent(model, x, elbo, learning_rate=0.01, batch_size=4, n_steps=5, seed=0, record=recorder)
    path = recorder.path()
    assert path.step.tolist() == [0, 2, 4] and path.delta.shape == (2, 5, 3)
    z = codes(first, x)
    force = latent_force(first.decode, x, z, loss=squares)
    for found, expected in (
        (path.z, z[:5]), (path.force, force[:5]),
        (path.preconditioned, preconditioned_force(first, x[:5], force[:5])),
        (path.batch, batch_force(first, x[:5], x, force)),
    ):  # fmt: skip
        torch.testing.assert_close(found[0], expected, rtol=1e-12, atol=1e-13)
        assert found.shape == (3, 5, 3) and not torch.equal(found[0], found[2])
    assert torch.equal(path.delta[1], path.z[2] - path.z[1])


def test_recorder_is_a_callback_of_fit_compressed(x):
    model = models.MLPVAE(7, 3, hidden=(5,), seed=1)
    recorder = CodeRecorder(x[:6], on_sphere=True)
    result = compression.fit_compressed(
        model, x, preset="ijcnn2025", kl_weight=1.0, n_epochs=3, batch_size=4, record=recorder, progress=False
    )
    path = recorder.path()
    assert path.step.tolist() == [0, 1, 2] and path.batch is None and path.z.dtype == F64
    torch.testing.assert_close(path.z.square().sum(-1), torch.full((3, 6), 3.0, dtype=F64), rtol=1e-6, atol=0)
    torch.testing.assert_close(path.z[2], codes(model, x[:6].float(), True).double(), rtol=1e-6, atol=1e-6)
    # The recorder neither moves the training nor draws from its generator.
    again = models.MLPVAE(7, 3, hidden=(5,), seed=1)
    plain = compression.fit_compressed(
        again, x, preset="ijcnn2025", kl_weight=1.0, n_epochs=3, batch_size=4, progress=False
    )
    assert plain.history.keys() == result.history.keys()
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


def test_recorder_refuses(model, x):
    with pytest.raises(ValueError, match="every: want an integer ≥ 1, got 0"):
        CodeRecorder(x, every=0)
    recorder = CodeRecorder(x)
    assert recorder(model, 0) == {}
    with pytest.raises(ValueError, match="path: want two records or more, got 1"):
        recorder.path()


def elbo(model, batch, generator):
    return models.elbo_loss(batch, *model(batch, generator), kl_weight=0.1).loss


@pytest.mark.parametrize(("method", "optimizer"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)])
def test_stochastic_descent_is_the_optimizer_of_torch(model, x, method, optimizer):
    twin, batches, steps = copy.deepcopy(model), [], []

    def objective(model, batch, generator):
        batches.append(batch)
        return elbo(model, batch, torch.Generator().manual_seed(len(batches)))

    stochastic_descent(
        model, x, objective, method=method, learning_rate=0.02, batch_size=15, n_steps=6, seed=3,
        record=lambda model, step: steps.append(step),
    )  # fmt: skip
    rule = optimizer(twin.parameters(), lr=0.02)
    for k, batch in enumerate(batches, 1):
        rule.zero_grad()
        elbo(twin, batch, torch.Generator().manual_seed(k)).backward()
        rule.step()
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    assert steps == list(range(7)) and [len(batch) for batch in batches] == [15] * 6  # with replacement: x has 12
    assert all((batch[:, None] == x).all(-1).any(-1).all() for batch in batches)  # rows of x


def test_stochastic_descent_depends_on_its_seed_alone(model, x):
    ends = []
    for seed in (0, 0, 1):
        one = copy.deepcopy(model)
        stochastic_descent(one, x, elbo, learning_rate=0.01, batch_size=4, n_steps=3, seed=seed)
        ends.append(torch.cat([weight.detach().flatten() for weight in one.parameters()]))
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])


def test_stochastic_descent_refuses(model, x):
    good = {"learning_rate": 0.1, "batch_size": 2, "n_steps": 2, "seed": 0}
    for change, message in (
        ({"method": "momentum"}, "method: want 'sgd' or 'adam', got 'momentum'"),
        ({"learning_rate": 0.0}, "learning_rate: want a finite number > 0, got 0.0"),
        ({"batch_size": 0}, "batch_size: want an integer ≥ 1, got 0"),
        ({"n_steps": 0}, "n_steps: want an integer ≥ 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            stochastic_descent(model, x, elbo, **(good | change))
    with pytest.raises(ValueError, match="x: want finite values, got 84 that are not"):
        stochastic_descent(model, x / 0 * 0, elbo, **good)
    with pytest.raises(FloatingPointError, match="want a finite loss, got nan at step 0"):
        stochastic_descent(model, x, lambda *arguments: elbo(*arguments) * math.nan, **good)


def steps_from(model, x, *, learning_rate, batch_size, n_repetitions):
    """Moves of the codes in one step, from the same weights, over the seeds of the batch: (n_repetitions, ...)."""
    moves, before = [], codes(model, x)
    for seed in range(n_repetitions):
        one = copy.deepcopy(model)
        stochastic_descent(
            one, x, lambda model, batch, _: squares(model.decode(model.encode(batch)[0]), batch).mean(),
            learning_rate=learning_rate, batch_size=batch_size, n_steps=1, seed=seed,
        )  # fmt: skip
        moves.append(codes(one, x) - before)
    return torch.stack(moves)


def test_temperature_of_descent_grows_as_learning_rate_over_batch_size(x):
    linear = models.LinearVAE(7, 3, seed=0).double()
    force = latent_force(linear.decode, x, codes(linear, x), loss=squares)
    drift = batch_force(linear, x, x, force)
    n_repetitions = 150
    found = {}
    for rate, batch_size in ((0.01, 2), (0.02, 2), (0.01, 8)):
        moves = steps_from(linear, x, learning_rate=rate, batch_size=batch_size, n_repetitions=n_repetitions)
        # The mean step is the force of the data: the code of a linear encoder is linear in its weights.
        error = moves.std(0) / math.sqrt(n_repetitions)
        assert ((moves.mean(0) - rate * drift).abs() <= 4.5 * error).all()  # 36 of them, for each of three
        found[rate, batch_size] = langevin_fit.effective_temperature(
            moves, force.expand_as(moves), preconditioned=drift.expand_as(moves), over="steps", seed=0
        )
    slow, fast, large = found.values()
    # The same batches at twice the rate: twice the move, hence exactly twice the mobility and the temperature.
    assert math.isclose(fast.mobility[0], 2 * slow.mobility[0], rel_tol=1e-9)
    assert math.isclose(fast.temperature[0], 2 * slow.temperature[0], rel_tol=1e-9)
    # Noise of a mean of four times as many draws: a quarter of the temperature, within both intervals.
    widths = [(one.inv_temp[2] - one.inv_temp[1]) / (2 * 1.96 * one.inv_temp[0]) for one in (slow, large)]
    assert abs(math.log(slow.temperature[0] / large.temperature[0] / 4)) < 4 * math.hypot(*widths) < 1
