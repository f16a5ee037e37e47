"""Laws of the encoding: whose statistics BatchNorm takes, who shares a batch, and that the model stays as it was."""

import copy
import math

import pytest
import torch
from torch import nn

from latentlib import models
from latentlib.encoding import MODES, decode_codes, encode_means, rms_percent


@pytest.fixture
def model(generator):
    """A residual network in training mode, whose running statistics are not those of any batch below."""
    model = models.ResidualVAE((1, 8, 8), 3, channels=(4, 6)).double()
    for norm in norms(model):
        norm.running_mean.copy_(0.3 * torch.randn(norm.running_mean.shape, generator=generator))
        norm.running_var.copy_(torch.rand(norm.running_var.shape, generator=generator) + 0.5)
        norm.weight.data.copy_(torch.randn(norm.weight.shape, generator=generator))
    return model


@pytest.fixture
def x(generator):
    return torch.rand(20, 1, 8, 8, generator=generator, dtype=torch.float64)


def norms(model):
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def same(a, b):
    # Sums of some hundred float64 terms of order one.
    return torch.allclose(a, b, rtol=0, atol=1e-12)


def test_encode_means_eval_is_the_model_in_evaluation_row_by_row(model, x):
    found = encode_means(model, x, batch_size=7)
    assert same(found, model.eval().latent_mean(x).detach())
    assert same(found[3], encode_means(model, x[3:4])[0])


def test_encode_means_batch_is_the_model_in_training(model, x):
    expected = [copy.deepcopy(model).train().latent_mean(rows).detach() for rows in x.split(8)]
    assert same(encode_means(model, x, mode="batch", batch_size=8), torch.cat(expected))


def test_encode_means_batch_mean_shifts_every_input_by_its_batch_mean(model, x):
    """The same by hand: the input of every BatchNorm moves so that its mean is the running one, in evaluation mode."""
    shifted = copy.deepcopy(model).eval()
    for norm in norms(shifted):

        def shift(norm, inputs):
            (a,) = inputs
            moved = [axis for axis in range(a.ndim) if axis != 1]
            return a - (a.mean(moved) - norm.running_mean).reshape(1, -1, *[1] * (a.ndim - 2))

        norm.register_forward_pre_hook(shift)
    assert same(encode_means(model, x, mode="batch_mean"), shifted.latent_mean(x).detach())


def test_encode_means_batch_var_is_unchanged_under_a_scale_before_the_norm(model, x):
    """Zero running means, no biases: by the variance of the batch c·x has the code of x; by the running one not."""
    for norm in norms(model):
        norm.running_mean.zero_(), norm.bias.data.zero_()
    for mode, unchanged in (("batch_var", True), ("batch", True), ("eval", False), ("batch_mean", False)):
        codes, scaled = encode_means(model, x, mode=mode), encode_means(model, 1000 * x, mode=mode)
        # ε = 1e-5 beside a variance of .01 to 1 in the first norm: a change of 1e-3 at most.
        assert ((codes - scaled).abs().max() < 1e-2 * codes.abs().max()) == unchanged, mode


def set_to(model):
    """What is not in its state: modes, hooks, and whether a norm tracks."""
    modes = [(module.training, len(module._forward_hooks)) for module in model.modules()]
    return modes, [norm.track_running_stats for norm in norms(model)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("training", [True, False])
def test_encode_means_leaves_the_model_bit_for_bit(model, x, mode, training):
    model.train(training)
    model.encoder.block_0.eval()  # a part of the model may be in another mode
    before, settings = copy.deepcopy(model.state_dict()), set_to(model)
    encode_means(model, x, mode=mode)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert set_to(model) == settings


def test_encode_means_leaves_the_model_after_an_error(model, x):
    settings = set_to(model)
    for mode in MODES:
        with pytest.raises(ValueError, match=r"want x of shape \(..., 1, 8, 8\), got \(20, 1, 8, 9\)"):
            encode_means(model, torch.cat([x, x[..., :1]], -1), mode=mode)
        assert set_to(model) == settings


def test_encode_means_mixed_batches_are_half_companions(model, x):
    companions = x.flip(0)[:7] + 1
    mixed = encode_means(model, x, mode="batch", batch_size=8, companions=companions, seed=3)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(3))
    partner = companions[order[torch.arange(20) % 7]]
    reference, expected = copy.deepcopy(model).train(), []
    for start in range(0, 20, 4):
        rows = slice(start, start + 4)
        expected.append(reference.latent_mean(torch.cat([partner[rows], x[rows]])).detach()[-4:])
    assert same(mixed, torch.cat(expected))
    assert not same(mixed, encode_means(model, x, mode="batch", batch_size=8, companions=companions, seed=4))


class Normed(nn.Module):
    """BatchNorm of the data and nothing else: every mode is a formula."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4).double()

    def encode(self, x):
        return self.norm(x), x


def test_encode_means_by_formula_where_two_sets_differ_by_a_shift(generator):
    """Set B = A + c. Apart: c/√s² by the running variance s², nothing in pure batches, c/√(v + c²/4) in mixed ones."""
    model, a = Normed(), torch.randn(30, 4, generator=generator, dtype=torch.float64)
    b, c, var, eps = a + 2, 2.0, a.var(0, correction=0), model.norm.eps
    expected = {"eval": c / (1 + eps) ** 0.5, "batch_var": c / (var + eps).sqrt(), "batch": 0.0, "batch_mean": 0.0}
    for mode, value in expected.items():
        apart = encode_means(model, b, mode=mode) - encode_means(model, a, mode=mode)
        assert same(apart, torch.zeros_like(a) + value), mode
    one = encode_means(model, a, mode="batch", batch_size=60, companions=b)
    other = encode_means(model, b, mode="batch", batch_size=60, companions=a)
    assert same(other - one, torch.zeros_like(a) + c / (var + c**2 / 4 + eps).sqrt())


def test_encode_means_without_batch_norm_all_modes_agree(generator):
    model = models.ConvVAE((1, 8, 8), 3, channels=(4,)).double()
    x = torch.rand(9, 1, 8, 8, generator=generator, dtype=torch.float64)
    codes = [encode_means(model, x, mode=mode, batch_size=5) for mode in MODES]
    assert all(torch.equal(code, codes[0]) for code in codes[1:])
    assert encode_means(model, x.float()).dtype == torch.float64


def test_decode_codes_is_the_decoder_in_evaluation(model, generator):
    z = torch.randn(11, 3, generator=generator, dtype=torch.float64)
    found = decode_codes(model, z, batch_size=4)
    assert model.training and not found.requires_grad
    assert same(found, model.eval().decode(z).detach())


@pytest.mark.parametrize("on_sphere", [True, False])
def test_rms_percent_is_the_root_of_the_mean_square(model, x, on_sphere):
    found = rms_percent(model, x, on_sphere=on_sphere, batch_size=6)
    mu = model.eval().latent_mean(x).detach()
    z = math.sqrt(3) * mu / mu.norm(dim=1, keepdim=True) if on_sphere else mu
    expected = 100 * (x - model.decode(z)).square().mean().sqrt().item()
    assert found == pytest.approx(expected, rel=1e-12)


def test_rms_percent_of_a_constant_error_is_that_error(generator):
    model = models.LinearVAE(6, 2).double()
    model.decoder.weight.data.zero_(), model.decoder.bias.data.fill_(0.25)
    assert rms_percent(model, torch.zeros(5, 6), on_sphere=False) == pytest.approx(25, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "train"}, "mode: want 'eval', 'batch', 'batch_mean', 'batch_var', got 'train'"),
        ({"batch_size": 0}, "batch_size: want a whole number >= 1, got 0"),
        ({"mode": "batch", "batch_size": 1}, "want 2 rows or more in every batch, got 20 rows in batches of 1"),
        ({"mode": "batch_var", "batch_size": 19}, "want 2 rows or more in every batch, got 20 rows in batches of 19"),
        ({"companions": torch.zeros(4, 1, 8, 8)}, "companions: want mode 'batch...' and an even batch_size, got 'ev"),
        ({"companions": torch.zeros(4, 1, 8, 8), "mode": "batch", "batch_size": 5}, "got 'batch' and 5"),
        ({"companions": torch.zeros(0, 1, 8, 8), "mode": "batch"}, "companions: want floating .*, got torch.float32"),
        ({"x": torch.zeros(4, 1, 8, 8, dtype=torch.uint8)}, r"x: want floating .*, got torch.uint8 \(4, 1, 8, 8\)"),
        ({"x": [1.0]}, "x: want floating .*, got list"),
        ({"x": torch.full((2, 1, 8, 8), torch.nan)}, "x: want finite values, got 128 that are not"),
    ],
)
def test_encode_means_bad_input_names_wanted_and_found(model, x, change, message):
    with pytest.raises(ValueError, match=message):
        encode_means(model, **{"x": x} | change)


def test_encode_means_refuses_a_norm_without_running_statistics(model, x):
    model.encoder.norm = nn.BatchNorm2d(4, track_running_stats=False).double()
    with pytest.raises(ValueError, match="want BatchNorm with running statistics"):
        encode_means(model, x)
