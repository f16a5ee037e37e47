"""Laws of the compression training: the published steps and schedule, one seed, resumption after a signal."""

import math
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import mse_loss

from latentlib import hyperspherical, models
from latentlib.compression import fit_compressed

SETTINGS = {"kl_weight": 2.0, "n_epochs": 3, "batch_size": 16, "learning_rate": 1e-2, "progress": False, "seed": 5}


@pytest.fixture
def x(generator):
    return torch.rand(70, 6, generator=generator)


def mlp():
    return models.MLPVAE(6, 5, hidden=(8,), seed=2)


def residual():
    return models.ResidualVAE((1, 8, 8), 4, channels=(4, 6), seed=1)


def same_bits(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def same_history(a, b):
    return all(np.array_equal(a.history[key], b.history[key]) for key in a.history | b.history)


def published(model, x, labels, preset, n_epochs, **options):
    """The published loop with two optimizers of torch, written out: what every epoch measured."""
    decoder = list(model.decoder.parameters())
    own = {id(p) for p in decoder}
    encoder = [p for p in model.parameters() if id(p) not in own]
    optimizers = [torch.optim.Adam(parameters, lr=1e-2) for parameters in (encoder, decoder)]
    generator, weight, found = torch.Generator().manual_seed(5), 1.0, []
    for epoch in range(n_epochs):
        gain = 1.0 if preset == "standard" else math.sqrt(epoch) + 1
        measured = []
        for rows in torch.randperm(len(x), generator=generator)[:64].reshape(-1, 16):
            mu, log_var = model.encode(x[rows])
            if preset == "standard":
                kl = -0.5 * (1 + log_var - log_var.exp() - mu.square()).mean(1).mean()
            else:
                classes = {} if labels is None else {"labels": labels[rows], "n_classes": 2}
                options = options | classes | {"preset": preset, "epoch": epoch}
                kl = hyperspherical.hyperspherical_loss(mu, log_var, **options).total
            z = mu + (0.5 * log_var).exp() * torch.randn(mu.shape, generator=generator, dtype=mu.dtype)
            z = z if preset == "standard" else math.sqrt(z.shape[1]) * z / z.norm(dim=1, keepdim=True)
            mse_sum = (x[rows] - model.decode(z)).square().sum(1).mean()
            optimizers[0].zero_grad()
            (1e-3 * (mse_sum + weight * gain * kl)).backward()
            optimizers[0].step()
            optimizers[1].zero_grad()
            (1e-3 * (x[rows] - model.decode(z.detach())).square().sum(1).mean()).backward()
            optimizers[1].step()
            measured.append((mse_sum.item(), kl.item()))
        mse_sum, kl = np.mean(measured, axis=0)
        found.append((mse_sum, kl, weight, gain))
        weight = 2.0 * mse_sum / (kl + 1e-3) if epoch == 0 else weight
    return np.array(found).T


@pytest.mark.parametrize(
    ("preset", "options"),
    [
        ("standard", {}),
        ("ijcnn2025", {"direction": "full", "field": 0.5, "angles": torch.tensor([True, True, False, True])}),
        ("ad2026", {"stride": 2, "end_compress": 1, "sigma_gain": 1000.0}),
        ("nested_vmf", {"field": 0.5, "others": "free"}),
    ],
)
def test_fit_compressed_takes_the_published_steps(x, preset, options):
    model, reference = mlp().double(), mlp().double()
    labels = torch.arange(70) % 2 if preset == "ad2026" else None
    result = fit_compressed(model, x.double(), labels=labels, preset=preset, **options, **SETTINGS)
    expected = published(reference, x.double(), labels, preset, 3, **options)
    names = ("mse_sum", "kl", "kl_weight", "gain")
    # Rounding (2e-16 a step) grows through √v near 0 by Adam's 1/ε = 1e8 at most: 1e-8 is the worst case.
    for name, values in zip(names, expected, strict=True):
        assert np.allclose(result.history[name], values, rtol=1e-7, atol=1e-8), name
    for found, value in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(found, value, rtol=0, atol=1e-7)
    assert (result.n_epochs, result.n_steps) == (3, 12)
    rms = 100 * np.sqrt(result.history["mse_sum"] / 6)
    assert np.allclose(result.history["rms_percent"], rms, rtol=1e-12)


@pytest.mark.parametrize("preset", ["standard", "ijcnn2025"])
def test_fit_compressed_separate_steps_are_the_joint_gradient(generator, preset):
    """One gradient, two passes: equal weights; a BatchNorm of the decoder has seen every batch twice."""
    x, model, joint = torch.rand(48, 1, 8, 8, generator=generator).double(), residual().double(), residual().double()
    fit_compressed(model, x, preset=preset, **SETTINGS)
    fit_compressed(joint, x, preset=preset, separate_steps=False, **SETTINGS)
    for found, value in zip(model.parameters(), joint.parameters(), strict=True):
        assert torch.allclose(found, value, rtol=0, atol=1e-7)  # as above
    seen = [part.norm.num_batches_tracked.item() for part in (model.encoder, model.decoder, joint.decoder)]
    assert seen == [9, 18, 9]


def test_fit_compressed_kl_weight_is_the_ratio_of_the_first_epoch(x):
    history = fit_compressed(mlp(), x, preset="ijcnn2025", **SETTINGS).history
    expected = 2.0 * history["mse_sum"][0] / (history["kl"][0] + 1e-3)
    assert np.allclose(history["kl_weight"], [1, expected, expected], rtol=1e-12)
    fixed = fit_compressed(mlp(), x, preset="ijcnn2025", auto_tune=False, **SETTINGS).history
    assert (fixed["kl_weight"] == 2.0).all()


def test_fit_compressed_gain_is_published_or_constant(x):
    published_gain = fit_compressed(mlp(), x, preset="ijcnn2025", **SETTINGS).history["gain"]
    assert np.allclose(published_gain, np.sqrt(np.arange(3)) + 1, rtol=1e-15)
    constant = fit_compressed(mlp(), x, preset="ijcnn2025", anneal="constant", **SETTINGS).history["gain"]
    assert (constant == 1).all()


def test_fit_compressed_tells_the_loss_its_epoch(x, monkeypatch):
    told, loss = [], hyperspherical.hyperspherical_loss

    def telling(*args, **options):
        told.append(options["epoch"])
        return loss(*args, **options)

    monkeypatch.setattr(hyperspherical, "hyperspherical_loss", telling)
    fit_compressed(mlp(), x, preset="ijcnn2025", **SETTINGS)
    assert told == [0] * 4 + [1] * 4 + [2] * 4


def test_fit_compressed_learning_rate_halves_at_epochs_280_and_450(x):
    history = fit_compressed(models.LinearVAE(6, 2), x[:16], **SETTINGS | {"n_epochs": 452}).history
    assert np.array_equal(history["learning_rate"], 1e-2 * np.repeat([1, 0.5, 0.25], [280, 170, 2]))


def test_fit_compressed_field_orders_the_angles(x):
    """At α = 1 towards the pole the first cosines grow; at α = 0 their prior means are 0."""

    def order(field):
        model, settings = mlp(), SETTINGS | {"n_epochs": 60, "kl_weight": 100.0}
        fit_compressed(model, x, preset="ijcnn2025", direction="full", field=field, **settings)
        mu = model.latent_mean(x).detach()
        return (mu[:, 0] / mu.norm(dim=1)).mean().item()

    assert order(1.0) > 0.5 > abs(order(0.0))


def test_fit_compressed_epochs_show_every_sample_once_in_whole_batches(x):
    model, batches = mlp(), []
    model.encoder.register_forward_pre_hook(lambda _, inputs: batches.append(inputs[0].detach().clone()))
    fit_compressed(model, x, **SETTINGS)
    assert [len(batch) for batch in batches] == [16] * 12
    for epoch in range(3):
        shown = torch.cat(batches[4 * epoch : 4 * epoch + 4])
        rows = (shown[:, None] == x[None]).all(2).nonzero()[:, 1]
        assert len(rows) == len(rows.unique()) == 64
    assert not torch.equal(batches[0], batches[4])


def test_fit_compressed_flips_mirror_half_of_the_images(generator):
    x = torch.rand(200, 1, 8, 8, generator=generator)
    model, batches = models.ConvVAE((1, 8, 8), 3, channels=(2,)), []
    model.encoder.register_forward_pre_hook(lambda _, inputs: batches.append(inputs[0].detach().clone()))
    fit_compressed(model, x, flips=True, **SETTINGS | {"n_epochs": 4, "batch_size": 200})
    mirrored = 0
    for shown in batches:
        plain, turned = ((shown[:, None] == images[None]).flatten(2).all(2).sum(1) for images in (x, x.flip(-1)))
        assert torch.equal(plain + turned, torch.ones(200, dtype=plain.dtype))
        mirrored += int(turned.sum())
    assert abs(mirrored - 400) < 4 * math.sqrt(800 / 4)  # four standard deviations of 800 throws


def test_fit_compressed_depends_on_the_seed_alone(x):
    first, again, other = mlp(), mlp(), mlp()
    fit_compressed(first, x, preset="ijcnn2025", **SETTINGS)
    torch.manual_seed(99)
    before = torch.get_rng_state()
    fit_compressed(again, x, preset="ijcnn2025", record=lambda model, epoch: {"draw": torch.rand(1).item()}, **SETTINGS)
    assert not torch.equal(torch.get_rng_state(), before)  # by what `record` drew, which moved nothing else
    fit_compressed(other, x, preset="ijcnn2025", **SETTINGS | {"seed": 6})
    assert same_bits(first, again) and not same_bits(first, other)


def test_fit_compressed_records_in_evaluation_without_gradients(generator):
    x, seen = torch.rand(32, 1, 8, 8, generator=generator), []

    def record(model, epoch):
        seen.append((epoch, model.training, torch.is_grad_enabled()))
        return {"radius": model.latent_mean(x).norm(dim=1).mean()}

    model, silent = residual(), residual()
    result = fit_compressed(model, x, record=record, **SETTINGS)
    fit_compressed(silent, x, **SETTINGS)
    assert seen == [(0, False, False), (1, False, False), (2, False, False)]
    assert result.history["radius"][-1] == pytest.approx(model.latent_mean(x).norm(dim=1).mean().item(), rel=1e-6)
    assert not model.training and same_bits(model, silent)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (lambda model, epoch: {"kl": 0.0}, "record: want names of its own, got kl again"),
        (lambda model, epoch: {f"at_{epoch}": 0.0}, "record: want the same names each epoch, .*at_0.*, got .*at_1"),
    ],
)
def test_fit_compressed_refuses_names_that_mean_two_things(x, record, message):
    with pytest.raises(ValueError, match=message):
        fit_compressed(mlp(), x, record=record, **SETTINGS)


def test_fit_compressed_grows_from_a_checkpoint_to_the_bits_of_one_run(generator, tmp_path):
    x, settings = torch.rand(48, 1, 8, 8, generator=generator), SETTINGS | {"preset": "ijcnn2025", "flips": True}
    whole, first, rest = residual(), residual(), residual()
    uninterrupted = fit_compressed(whole, x, **settings)
    path = tmp_path / "run.pt"
    fit_compressed(first, x, checkpoint=path, **settings | {"n_epochs": 1})
    assert same_history(fit_compressed(rest, x, checkpoint=path, **settings), uninterrupted)
    assert same_bits(rest, whole)
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]
    with pytest.raises(ValueError, match="run.pt: want a checkpoint of at most 2 epochs, got 3"):
        fit_compressed(residual(), x, checkpoint=path, **settings | {"n_epochs": 2})


KILLED = """
import sys, torch
from latentlib import models
from latentlib.compression import fit_compressed

def tell(model, epoch):
    print(epoch, flush=True)
    return {"epoch": epoch}

x = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(3))
model = models.ResidualVAE((1, 8, 8), 4, channels=(4, 6), seed=1)
fit_compressed(
    model, x, preset="ijcnn2025", flips=True, kl_weight=2.0, n_epochs=10**6, batch_size=16, learning_rate=1e-2, seed=5,
    checkpoint=sys.argv[1], record=tell, progress=False,
)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_fit_compressed_resumes_after_a_signal_to_the_bits_of_one_run(tmp_path, number):
    """A process that would train for ever is told to stop after its third epoch, wherever it is then."""
    path = tmp_path / "run.pt"
    command = [sys.executable, "-c", KILLED, str(path)]
    root = Path(__file__).resolve().parents[1]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        while process.stdout.readline().strip() != "3":
            assert process.poll() is None
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode != 0
    there = torch.load(path, weights_only=True)["epoch"]
    assert there >= 3
    x = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    settings = SETTINGS | {"preset": "ijcnn2025", "flips": True, "n_epochs": there + 2}
    settings["record"] = lambda model, epoch: {"epoch": epoch}
    resumed, whole = residual(), residual()
    result = fit_compressed(resumed, x, checkpoint=path, **settings)
    assert same_history(result, fit_compressed(whole, x, **settings))
    assert same_bits(resumed, whole)
    assert result.history["epoch"].tolist() == list(range(there + 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kl_weight": 3.0}, r"kl_weight 2.0 there, 3.0 here$"),
        ({"preset": "ijcnn2025", "field": 0.5}, r"preset 'standard' there, .* here; field 1.0 there, 0.5 here$"),
        ({"separate_steps": False}, r"separate_steps True there, False here$"),
        ({"labels": torch.zeros(70, dtype=torch.int64)}, r"n_classes None there, 1 here; labels 'none' .*"),
        ({"angles": torch.tensor([True, False, True, True])}, r"angles None there, \[True, False, True, True\] here$"),
    ],
)
def test_fit_compressed_refuses_a_checkpoint_of_another_run(x, tmp_path, change, message):
    path = tmp_path / "run.pt"
    fit_compressed(mlp(), x, checkpoint=path, **SETTINGS)
    with pytest.raises(ValueError, match="run.pt: want a checkpoint of this run, got one of another: " + message):
        fit_compressed(mlp(), x, checkpoint=path, **SETTINGS | change)
    torch.save({"state": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="run.pt: want a checkpoint of fit_compressed, got another torch file"):
        fit_compressed(mlp(), x, checkpoint=path, **SETTINGS)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize("preset", ["standard", "ijcnn2025"])
def test_fit_compressed_names_epoch_and_step_of_a_loss_that_is_not_finite(x, tmp_path, part, preset):
    model, calls, at = mlp(), [], 6 if part == "encoder" else 12  # the decoder runs twice a step
    getattr(model, part).register_forward_hook(
        lambda module, args, out: calls.append(0) or (out * float("nan") if len(calls) == at + 1 else out)
    )
    path = tmp_path / "run.pt"
    with pytest.raises(FloatingPointError, match=r"want a finite loss, got another at epoch 1, step 2 \(learning_rate"):
        fit_compressed(model, x, preset=preset, checkpoint=path, **SETTINGS)
    assert torch.load(path, weights_only=True)["epoch"] == 1  # that of the epoch before


def test_fit_compressed_shows_progress_only_if_asked(x, capsys):
    fit_compressed(mlp(), x, **SETTINGS)
    silent = capsys.readouterr()
    assert silent.err == silent.out == ""
    fit_compressed(mlp(), x, **SETTINGS | {"progress": True})
    assert "3/3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_epochs": 0}, "n_epochs: want an integer ≥ 1, got 0"),
        ({"batch_size": 71}, "batch_size: want at most the 70 samples of x, got 71"),
        ({"kl_weight": math.inf}, "kl_weight: want a finite number ≥ 0, got inf"),
        ({"learning_rate": 0.0}, "learning_rate: want a finite number > 0, got 0.0"),
        ({"anneal": "sqrt"}, "anneal: want 'published' or 'constant', got 'sqrt'"),
        ({"preset": "vmf"}, "preset: want .*, got 'vmf'"),
        ({"flips": True}, r"flips: want a model of images .*, got MLPVAE of samples \(6,\)"),
        ({"stride": 3}, "standard: want no options of the hyperspherical loss, got stride"),
        ({"labels": torch.zeros(70)}, r"labels: want whole numbers >= 0, .*\(70,\), got torch.float32 \(70,\)"),
        ({"labels": torch.zeros(69, dtype=torch.int64)}, r"got torch.int64 \(69,\)"),
        ({"labels": [0] * 70}, "labels: want whole numbers >= 0, .* got list"),
        ({"labels": torch.arange(70) - 1}, "labels: want whole numbers >= 0, .* got -1"),
        ({"x": torch.full((70, 6), torch.nan)}, "x: want finite values, got 420 that are not"),
        ({"x": torch.zeros(70, 5)}, r"MLPVAE: want x of shape \(..., 6\), got \(16, 5\)"),
    ],
)
def test_fit_compressed_bad_input_names_wanted_and_found(x, change, message):
    with pytest.raises(ValueError, match=message):
        fit_compressed(mlp(), **{"x": x} | SETTINGS | change)
