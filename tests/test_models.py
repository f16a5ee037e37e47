"""Laws of the models: KL and loss in closed form, one interface, seeds, files."""

import json
import math

import pytest
import torch

from latentlib import models

MODELS = {
    "linear": lambda **kw: models.LinearVAE(6, 3, **kw),
    "affine": lambda **kw: models.LinearVAE(6, 3, log_var="affine", **kw),
    "mlp": lambda **kw: models.MLPVAE(6, 3, hidden=(8, 5), **kw),
    "conv": lambda **kw: models.ConvVAE((2, 8, 4), 3, channels=(4, 6), **kw),
    # Evaluation mode: BatchNorm in training makes one sample depend on its batch (test_residual_vae.py).
    "residual": lambda **kw: models.ResidualVAE((2, 8, 6), 3, channels=(4, 6), **kw).eval(),
}


@pytest.fixture(params=MODELS)
def build(request):
    return MODELS[request.param]


def test_kl_divergence_is_that_of_torch_distributions(generator):
    mu, log_var = (torch.randn(2, 50, 4, generator=generator, dtype=torch.float64) * 3).unbind()
    prior = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)
    posterior = torch.distributions.Normal(mu, (0.5 * log_var).exp())
    expected = torch.distributions.kl_divergence(posterior, prior)
    # Both sum four float64 terms of size up to exp(log_var): rounding of a few units in the last place.
    assert torch.allclose(models.kl_divergence(mu, log_var), expected, rtol=1e-13, atol=1e-13)


def test_kl_divergence_vanishes_at_the_prior_to_second_order():
    """(e^l − 1 − l)/2 = l²/4 near l = 0, which e^l − 1 − l loses to cancellation in float32."""
    log_var = torch.tensor([0.0, 1e-3, -1e-3])
    found = models.kl_divergence(torch.zeros(3), log_var)
    # Next term l³/12: relative l/3 = 3e-4. Rounding: two float32 terms of size l, 2⁻²⁴·1e-3·2 against 2.5e-7: 5e-4.
    assert torch.allclose(found, log_var.square() / 4, rtol=1e-3, atol=0)


@pytest.mark.parametrize(("kl_weight", "decoder_var"), [(1.0, 1.0), (0.0, 2.0), (0.3, 0.01), (7.0, 5.0)])
def test_elbo_loss_is_distortion_plus_twice_price_times_rate(build, generator, kl_weight, decoder_var):
    """𝓛 = (σ_tot²/2σ_dec²)(D̂ + 2T̂R) at any parameters, T̂ = β σ_dec²/σ_tot²."""
    model = build(seed=1).double()
    x = torch.randn(40, *model.sample_shape, generator=generator, dtype=torch.float64)
    x_hat, mu, log_var = model(x, generator)
    loss = models.elbo_loss(x, x_hat, mu, log_var, kl_weight, decoder_var)
    total_var = (x - x.mean(0)).square().flatten(1).sum(1).mean()
    distortion, price = (x - x_hat).square().flatten(1).sum(1).mean() / total_var, kl_weight * decoder_var / total_var
    rate = models.kl_divergence(mu, log_var).sum(1).mean()
    expected = total_var / (2 * decoder_var) * (distortion + 2 * price * rate)
    # Sums of at most 40·64 float64 terms: 1e-12 is 10⁴ roundings.
    assert torch.allclose(loss.loss, expected, rtol=1e-12, atol=0)
    assert torch.allclose(loss.distortion_sum, distortion * total_var, rtol=1e-12, atol=0)
    assert torch.allclose(loss.rate.sum(), rate, rtol=1e-12, atol=0)


def test_elbo_loss_at_the_ppca_optimum_is_the_chain(generator):
    """At V = M⁻¹Wᵀ, W = √(λ − T), s² = T/λ the exact 𝓛 is Σ min(λ, T)/2σ² + β Σ ½ ln(λ/T); the data's mean is exact."""
    eigenvalues, temperature, decoder_var = torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64), 1.5, 0.5
    kl_weight, active = temperature / decoder_var, torch.tensor([4.0, 2.0], dtype=torch.float64)
    model = models.LinearVAE(3, 2).double()
    with torch.no_grad():
        model.encoder.weight.copy_(torch.diag((active - temperature).sqrt() / active) @ torch.eye(3)[:2].double())
        model.decoder.weight.copy_(torch.eye(3)[:, :2].double() @ torch.diag((active - temperature).sqrt()))
        model.encoder.bias.zero_(), model.decoder.bias.zero_(), model.log_var.copy_((temperature / active).log())
    # Two-point laws ±√λ on each axis, and ±1 for each noise, have the moments that enter: the averages are exact sums.
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 5)
    x, noise = signs[:, :3] * eigenvalues.sqrt(), signs[:, 3:]
    mu, log_var = model.encode(x)
    loss = models.elbo_loss(x, model.decode(mu + (0.5 * log_var).exp() * noise), mu, log_var, kl_weight, decoder_var)
    rate = 0.5 * (active / temperature).log()
    expected = eigenvalues.clamp(max=temperature).sum() / (2 * decoder_var) + kl_weight * rate.sum()
    assert torch.allclose(loss.loss, expected, rtol=1e-12, atol=0)
    assert torch.allclose(loss.rate, rate, rtol=1e-12, atol=0)


def test_model_shapes_and_unbatched_samples_agree(build, generator):
    model = build(seed=0).double()
    x = torch.randn(5, *model.sample_shape, generator=generator, dtype=torch.float64)
    mu, log_var = model.encode(x)
    assert mu.shape == log_var.shape == (5, 3)
    assert model.decode(mu).shape == x.shape
    assert torch.equal(model.latent_mean(x), mu)
    assert torch.allclose(model.encode(x[2])[0], mu[2], rtol=1e-12, atol=1e-14)
    assert torch.allclose(model.decode(mu[2]), model.decode(mu)[2], rtol=1e-12, atol=1e-14)


def test_model_weights_follow_the_seed_and_leave_the_global_state(build):
    before = torch.get_rng_state()
    first, again, other = build(seed=3), build(seed=3), build(seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_sample_has_the_posterior_moments(generator):
    mu, log_var = torch.tensor([[1.0, -2.0]]).expand(200_000, 2), torch.tensor([[0.0, -1.0]]).expand(200_000, 2)
    z = models.VAE.sample(mu, log_var, generator)
    std = (0.5 * log_var[0]).exp()
    # Four standard errors of a mean, σ/√n, and of a standard deviation, σ/√(2n).
    assert ((z.mean(0) - mu[0]).abs() < 4 * std / math.sqrt(len(z))).all()
    assert ((z.std(0) - std).abs() < 4 * std / math.sqrt(2 * len(z))).all()
    again = models.VAE.sample(mu[:3], log_var[:3], torch.Generator().manual_seed(7))
    assert torch.equal(again, models.VAE.sample(mu[:3], log_var[:3], torch.Generator().manual_seed(7)))


def test_linear_vae_log_variance_depends_on_x_only_if_affine(generator):
    x = torch.randn(4, 6, generator=generator)
    constant, affine = models.LinearVAE(6, 3).encode(x)[1], models.LinearVAE(6, 3, log_var="affine").encode(x)[1]
    assert (constant == constant[0]).all()
    assert (affine.std(0) > 0).all()


def test_save_model_and_load_model_return_the_same_model(build, tmp_path, generator):
    model = build(seed=5).double()
    models.save_model(model, tmp_path / "model.safetensors")
    loaded = models.load_model(tmp_path / "model.safetensors")
    x = torch.randn(4, *model.sample_shape, generator=generator, dtype=torch.float64)
    assert type(loaded) is type(model)
    assert loaded.arguments == model.arguments
    assert torch.equal(loaded.encode(x)[1], model.encode(x)[1])
    assert all(p.requires_grad for p in loaded.parameters())
    assert not loaded.training
    assert sorted(tmp_path.iterdir()) == [tmp_path / "model.safetensors"]


def test_load_model_refuses_truncated_and_foreign_files(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "model.safetensors"
    models.save_model(models.LinearVAE(6, 3), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match="model.safetensors: want a whole safetensors file"):
        models.load_model(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="want class LinearVAE, MLPVAE, ConvVAE, ResidualVAE, got None"):
        models.load_model(path)
    arguments = json.dumps({"n_features": 6, "n_latent": 4})
    save_file(models.LinearVAE(6, 3).state_dict(), path, {"class": "LinearVAE", "arguments": arguments})
    with pytest.raises(ValueError, match="want the weights of a LinearVAE, got: (?s:.*)size mismatch"):
        models.load_model(path)
    save_file({}, path, {"class": "LinearVAE", "arguments": json.dumps({"n_features": 6, "width": 4})})
    with pytest.raises(ValueError, match="want the weights of a LinearVAE, got: .*argument"):
        models.load_model(path)
    with pytest.raises(FileNotFoundError, match="absent.safetensors"):
        models.load_model(tmp_path / "absent.safetensors")


class Dangerous:
    """Unpickling this object would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_load_weights_reads_tensors_and_runs_nothing(tmp_path):
    state = {"layer.weight": torch.arange(6.0).reshape(2, 3)}
    torch.save(state, tmp_path / "plain.pth")
    assert torch.equal(models.load_weights(tmp_path / "plain.pth")["layer.weight"], state["layer.weight"])
    models.save_model(models.LinearVAE(6, 3), tmp_path / "ours.safetensors")
    assert models.load_weights(tmp_path / "ours.safetensors")["encoder.weight"].shape == (3, 6)
    torch.save({"a": Dangerous(tmp_path / "ran")}, tmp_path / "code.pth")
    with pytest.raises(ValueError, match="code.pth: want a whole torch file of tensors alone"):
        models.load_weights(tmp_path / "code.pth")
    assert not (tmp_path / "ran").exists()
    (tmp_path / "cut.pth").write_bytes((tmp_path / "plain.pth").read_bytes()[:-200])
    with pytest.raises(ValueError, match="cut.pth: want a whole torch file"):
        models.load_weights(tmp_path / "cut.pth")
    torch.save({"state": {"a": torch.zeros(1)}}, tmp_path / "nested.pth")
    with pytest.raises(ValueError, match="want a table name → tensor"):
        models.load_weights(tmp_path / "nested.pth")


def test_weights_path_looks_in_the_shared_folder_then_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTLIB_DATA", str(tmp_path / "shared"))
    monkeypatch.setenv("LATENTLIB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match=r"want the weights 'a.pt', got none at .*shared.* or .*cache.*a.pt"):
        models.weights_path("a.pt")
    for folder in ("cache", "shared", "own"):
        (tmp_path / folder / "weights").mkdir(parents=True)
        (tmp_path / folder / "weights" / "a.pt").touch()
        root = tmp_path / "own" if folder == "own" else None
        assert models.weights_path("a.pt", root=root) == tmp_path / folder / "weights" / "a.pt"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: models.LinearVAE(0, 3), r"n_features: want integers ≥ 1, got 0"),
        (lambda: models.LinearVAE(6, 3, log_var="free"), r"log_var: want 'constant' or 'affine', got 'free'"),
        (lambda: models.MLPVAE(6, 3, hidden=(8, 0)), r"hidden: want integers ≥ 1, got \(8, 0\)"),
        (lambda: models.MLPVAE(6, 3, activation="sin"), r"activation: want silu, relu, tanh, gelu, got 'sin'"),
        (lambda: models.ConvVAE((1, 10, 8), 3), r"image_shape: want .* sides of 4·k, got \(1, 10, 8\)"),
        (lambda: models.LinearVAE(6, 3).encode(torch.zeros(2, 5)), r"want x of shape \(..., 6\), got \(2, 5\)"),
        (lambda: models.MLPVAE(6, 3).decode(torch.zeros(2, 5)), r"want z of shape \(..., 3\), got \(2, 5\)"),
        (
            lambda: models.save_model(torch.nn.Linear(2, 2), "x"),
            r"save_model: want one of LinearVAE, MLPVAE, ConvVAE, ResidualVAE, got Linear",
        ),
        (
            lambda: models.elbo_loss(*[torch.zeros(2, 3)] * 3, torch.zeros(2, 4), 1.0),
            r"elbo_loss: want x like x_hat, mu like log_var",
        ),
    ],
)
def test_model_bad_input_names_wanted_and_found(call, message):
    with pytest.raises(ValueError, match=message):
        call()
