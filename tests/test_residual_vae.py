"""Laws of the residual autoencoder: its layers, its count of weights, other image sizes, the released weights."""

import os

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d, interpolate, leaky_relu, linear

from latentlib import models, residual_vae
from latentlib.encoding import encode_means, rms_percent

RELEASED = "cifar10_full_compression_z128_ec126.pt"
needs_released = pytest.mark.skipif(
    not os.environ.get("LATENTLIB_DATA"), reason="LATENTLIB_DATA is not set: the released weights are not looked for"
)


def moved(model, generator):
    """The model with running statistics and BatchNorm weights that are not the initial 0 and 1."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype))
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    return model.eval()


def as_released(model):
    """Its weights under the authors' names: the inverse of the translation, written out for three levels of 32 × 32."""
    begins = {
        "encoder.convolution": "encoder.main.0", "encoder.norm": "encoder.main.1", "encoder.head": "encoder.F2L.0",
        "encoder.block_0": "encoder.main.res_in_16", "encoder.block_1": "encoder.main.res_in_8",
        "encoder.block_2": "encoder.main.res_in_4", "decoder.linear": "decoder.L2F.0", "decoder.norm": "decoder.L2F.1",
        "decoder.block_0": "decoder.main.res_in_4", "decoder.block_1": "decoder.main.res_in_8",
        "decoder.block_2": "decoder.main.res_in_16", "decoder.block_3": "decoder.main.res_in_32",
        "decoder.head": "decoder.main.predict",
    }  # fmt: skip
    parts = {"skip": "conv_expand", "branch.0": "conv1", "branch.1": "bn1", "branch.3": "conv2", "branch.4": "bn2"}
    released = {}
    for name, value in model.state_dict().items():
        begin = next(begin for begin in begins if name.startswith(begin + "."))
        rest = name[len(begin) :]
        for part, theirs in parts.items():
            rest = rest.replace(f".{part}.", f".{theirs}.")
        released[begins[begin] + rest] = value
    return released


def dense(weights, x):
    """The published network as one formula on the authors' names: μ and log σ², and the decoder of a code."""

    def norm(a, name):
        shape = (1, -1) + (1,) * (a.ndim - 2)
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (weights[f"{name}.{part}"].reshape(shape) for part in parts)
        return (a - mean) / (var + 1e-5).sqrt() * weight + bias

    def block(a, name):
        skip = conv2d(a, weights[f"{name}.conv_expand.weight"]) if f"{name}.conv_expand.weight" in weights else a
        b = leaky_relu(norm(conv2d(a, weights[f"{name}.conv1.weight"], padding=1), f"{name}.bn1"), 0.2)
        return leaky_relu(skip + norm(conv2d(b, weights[f"{name}.conv2.weight"], padding=1), f"{name}.bn2"), 0.2)

    a = leaky_relu(norm(conv2d(x, weights["encoder.main.0.weight"], padding=2), "encoder.main.1"), 0.2)
    a = block(avg_pool2d(block(avg_pool2d(a, 2), "encoder.main.res_in_16"), 2), "encoder.main.res_in_8")
    a = block(avg_pool2d(a, 2), "encoder.main.res_in_4").flatten(1)
    row = linear(a, weights["encoder.F2L.0.weight"], weights["encoder.F2L.0.bias"])
    mu = row[:, : row.shape[1] // 2]
    b = linear(mu, weights["decoder.L2F.0.weight"], weights["decoder.L2F.0.bias"])
    b = leaky_relu(norm(b, "decoder.L2F.1"), 0.2).reshape(len(x), -1, 4, 4)
    for side in (4, 8, 16):
        b = interpolate(block(b, f"decoder.main.res_in_{side}"), scale_factor=2, mode="nearest")
    b = block(b, "decoder.main.res_in_32")
    last = (weights[f"decoder.main.predict.{part}"] for part in ("weight", "bias"))
    return row, conv2d(b, *last, padding=2).sigmoid()


def test_residual_vae_has_the_published_count_of_weights():
    assert sum(p.numel() for p in models.ResidualVAE().parameters()) == 660_995


def test_residual_vae_is_the_published_formula(generator, tmp_path):
    model = moved(models.ResidualVAE((3, 32, 32), 7, channels=(4, 6, 10)).double(), generator)
    x = torch.rand(3, 3, 32, 32, generator=generator, dtype=torch.float64)
    row, x_hat = dense(as_released(model), x)
    mu, log_var = model.encode(x)
    # Fourteen convolutions of at most 250 float64 terms each: 1e-10 leaves four digits to their rounding.
    assert torch.allclose(torch.cat([mu, log_var], 1), row, rtol=1e-10, atol=1e-10)
    assert torch.allclose(model.decode(mu), x_hat, rtol=1e-10, atol=1e-10)
    torch.save({"epoch": 0, "state_dict": as_released(model), "metadata": {"latent_dim": 7}}, tmp_path / "released.pt")
    loaded = residual_vae.load_released(tmp_path / "released.pt")
    assert loaded.arguments == model.arguments and not loaded.training
    assert torch.equal(loaded.double().state_dict()["encoder.head.weight"].float(), model.float().encoder.head.weight)


@pytest.mark.parametrize(
    ("image_shape", "channels", "inner"),
    [
        ((1, 28, 28), (4, 6, 8), (8, 4, 4)),
        ((1, 8, 8), (4, 6), (6, 2, 2)),
        ((1, 8, 8), (4,), (4, 4, 4)),
        ((2, 5, 9), (3, 4), (4, 2, 3)),
    ],
)
def test_residual_vae_pads_and_crops_to_the_image(generator, image_shape, channels, inner):
    model = moved(models.ResidualVAE(image_shape, 3, channels).double(), generator)
    x = torch.rand(2, *image_shape, generator=generator, dtype=torch.float64)
    assert model.decoder.unflatten.unflattened_size == inner
    assert model.decode(model.latent_mean(x)).shape == x.shape
    factor = 2 ** len(channels)
    assert model.encoder.pad(x).shape[2:] == tuple(factor * side for side in inner[1:])
    # Padding, then cropping, is the identity: the same rows and columns are added and taken off.
    assert torch.equal(model.decoder.crop(model.encoder.pad(x)), x)


def test_residual_vae_code_depends_on_the_batch_only_in_training(generator):
    model = models.ResidualVAE((1, 8, 8), 3, channels=(4, 6))
    x, dark = torch.rand(6, 1, 8, 8, generator=generator), torch.zeros(6, 1, 8, 8)
    apart = [model.train(mode)(torch.cat([x, dark]))[1][:6] - model(x)[1] for mode in (True, False)]
    assert apart[0].abs().max() > 1e-3
    # In evaluation the rows are computed alone; only the blocking of the float32 products differs.
    assert apart[1].abs().max() < 1e-5


@pytest.mark.parametrize("change", ["missing", "left over", "shape", "table", "plain"])
def test_load_released_refuses_other_weights(tmp_path, change):
    state = as_released(models.ResidualVAE((3, 32, 32), 2, channels=(2, 3, 4)))
    bias = "decoder.main.predict.bias"
    without = {name: value for name, value in state.items() if name != bias}
    other, message = {
        "missing": (without, rf"missing \['{bias}'\], left over \[\]"),
        "left over": (state | {"extra": torch.zeros(1)}, r"missing \[\], left over \['extra'\]"),
        "shape": (state | {bias: torch.zeros(4)}, "want the weights of the published residual .*size mismatch"),
        "table": ({"a": 1}, "want a checkpoint with a table state_dict of tensors"),
        "plain": ({"a": torch.zeros(1)}, "want the weights of the published residual network, got: .*main.0.weight"),
    }[change]
    torch.save({"epoch": 0, "state_dict": other}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="(?s)other.pt: .*" + message):
        residual_vae.load_released(tmp_path / "other.pt")


def test_load_released_names_an_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.pt"):
        residual_vae.load_released(tmp_path / "absent.pt")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: models.ResidualVAE((3, 32), 4), r"image_shape \(channels, height, width\) .*, got \(3, 32\)"),
        (lambda: models.ResidualVAE((3, 32, 32), 4, ()), r"channels of some widths, got .* and \(\)"),
        (lambda: models.ResidualVAE((3, 32, 32), 0), "n_latent: want integers ≥ 1, got 0"),
        (lambda: models.ResidualVAE().encode(torch.zeros(2, 1, 32, 32)), r"want x of shape \(..., 3, 32, 32\), got"),
        (lambda: models.ResidualVAE().decode(torch.zeros(2, 5)), r"want z of shape \(..., 128\), got \(2, 5\)"),
    ],
)
def test_residual_vae_bad_input_names_wanted_and_found(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.fixture(scope="module")
def cifar_test():
    with np.load(os.path.join(os.environ["LATENTLIB_DATA"], "cifar10.npz")) as archive:
        images = archive["x_test"][:2000]
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


@needs_released
def test_load_released_reconstructs_as_archived(cifar_test):
    """Archived on the test set: RMS 23.40 %, ‖μ‖ 11.4 ± .6, mean σ .05; the whole network is needed for each."""
    model = residual_vae.load_released(models.weights_path(RELEASED))
    assert model.arguments == models.ResidualVAE((3, 32, 32), 128).arguments
    mu = encode_means(model, cifar_test)
    with torch.no_grad():
        log_var = torch.cat([model.encode(rows)[1] for rows in cifar_test.split(500)])
    # The squared error of an image has mean .056 and spread .032: the s.e. of the RMS is .15 on 2000 images.
    assert rms_percent(model, cifar_test, on_sphere=True) == pytest.approx(23.40, abs=0.6)
    assert (0.5 * log_var).exp().mean().item() == pytest.approx(0.05, abs=0.005)  # as printed
    radius = mu.norm(dim=1)
    assert radius.mean().item() == pytest.approx(11.4, abs=0.3) and radius.std().item() == pytest.approx(0.6, abs=0.1)
