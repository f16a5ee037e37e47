"""Laws of the training: it finds the known optimum, stops, and resumes to the same bits."""

import itertools
import math

import numpy as np
import pytest
import torch

from latentlib import models, train
from latentlib._training import Adam

SETTINGS = {"kl_weight": 0.2, "n_steps": 250, "batch_size": 16, "learning_rate": 1e-2, "progress": False}


@pytest.fixture
def x(generator):
    return torch.randn(64, 5, generator=generator) * torch.tensor([2.0, 1.5, 1.0, 0.5, 0.1])


def mlp():
    return models.MLPVAE(5, 2, hidden=(8,), seed=2)


def same_bits(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def same_result(a, b):
    histories = all(np.array_equal(a.history[key], b.history[key]) for key in a.history | b.history)
    return histories and (a.best_step, a.stopped_early, a.n_steps) == (b.best_step, b.stopped_early, b.n_steps)


class Killed(Exception):
    pass


def kill_after(model, n_calls):
    """Raise in the decoder of step n_calls + 1, in the middle of the step."""
    left = [n_calls]

    def hook(*_):
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    return model.decoder.register_forward_hook(hook)


def test_fit_of_a_linear_vae_finds_one_minus_price_over_eigenvalue(generator):
    """m_k = 1 − T/λ_k for the sample covariance, which is made exactly diag(λ), rotated."""
    eigenvalues, temperature = torch.tensor([4.0, 2.0, 1.0, 0.25], dtype=torch.float64), 0.5
    white = torch.randn(2048, 4, generator=generator, dtype=torch.float64)
    white = torch.linalg.qr(white - white.mean(0)).Q * math.sqrt(2048)
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64)).Q
    x = (white * eigenvalues.sqrt()) @ rotation.T
    model = models.LinearVAE(4, 5, seed=0).double()
    settings = {"n_steps": 2000, "batch_size": 512, "learning_rate": 5e-2, "progress": False}
    train.fit(model, x, kl_weight=temperature / 0.25, decoder_var=0.25, **settings)
    mu, log_var = (t.detach() for t in model.encode(x))
    second_moment = mu.square().mean(0)
    found = (second_moment / (second_moment + log_var.exp().mean(0))).sort(descending=True).values
    expected = torch.tensor([0.875, 0.75, 0.5, 0.0, 0.0], dtype=torch.float64)
    # The error is that of the last noisy gradients, random in the seed: over 20 seeds its standard deviation is 0.0020,
    # of which 0.01 is five, while a wrong price (a factor 2 in T) moves the first m by 0.125.
    assert (found - expected).abs().max() < 0.01


@pytest.mark.parametrize("interrupted_at", [0, 99, 130, 249])
def test_fit_resumes_to_the_bits_of_an_uninterrupted_run(x, tmp_path, interrupted_at):
    settings = SETTINGS | {"x_val": x[:20], "val_every": 30, "checkpoint_every": 40}
    whole = mlp()
    uninterrupted = train.fit(whole, x, **settings)
    cut, path = mlp(), tmp_path / "run.pt"
    hook = kill_after(cut, interrupted_at)
    with pytest.raises(Killed):
        train.fit(cut, x, checkpoint=path, **settings)
    hook.remove()
    assert path.is_file() == (interrupted_at >= 40)
    resumed = models.MLPVAE(5, 2, hidden=(8,), seed=2)
    assert same_result(train.fit(resumed, x, checkpoint=path, **settings), uninterrupted)
    assert same_bits(resumed, whole)
    assert [file.name for file in tmp_path.iterdir()] == ["run.pt"]


def test_fit_resumes_only_the_steps_that_are_left(x, tmp_path):
    path = tmp_path / "run.pt"
    first = mlp()
    result = train.fit(first, x, checkpoint=path, **SETTINGS)
    again = mlp()
    hook = kill_after(again, 0)  # a finished run takes no step at all
    assert same_result(train.fit(again, x, checkpoint=path, **SETTINGS), result)
    hook.remove()
    assert same_bits(first, again)


def test_fit_resumes_an_early_stop_with_its_best_weights(x, tmp_path):
    settings = SETTINGS | {"x_val": x[:20] + 1, "val_every": 10, "patience": 2, "n_steps": 1000, "checkpoint_every": 15}
    settings |= {"learning_rate": 0.05, "schedule": "constant", "checkpoint": tmp_path / "run.pt"}
    first, second = mlp(), mlp()
    stopped = train.fit(first, x, **settings)
    assert stopped.stopped_early
    assert same_result(train.fit(second, x, **settings), stopped)
    assert same_bits(first, second)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kl_weight": 0.3}, r"kl_weight 0.2 there, 0.3 here$"),
        ({"seed": 1, "learning_rate": 0.02}, r"learning_rate 0.01 there, 0.02 here; seed 0 there, 1 here$"),
        ({"schedule": "constant"}, r"schedule 'cosine' there, 'constant' here$"),
        ({"n_steps": 300}, r"n_steps 250 there, 300 here$"),
    ],
)
def test_fit_refuses_a_checkpoint_of_other_settings(x, tmp_path, change, message):
    path = tmp_path / "run.pt"
    train.fit(mlp(), x, checkpoint=path, **SETTINGS)
    with pytest.raises(ValueError, match=r"run.pt: want a checkpoint of this run, got one of another: " + message):
        train.fit(mlp(), x, checkpoint=path, **SETTINGS | change)


def test_fit_refuses_a_checkpoint_of_other_data_or_model(x, tmp_path):
    path = tmp_path / "run.pt"
    train.fit(mlp(), x, checkpoint=path, **SETTINGS)
    other = x.clone()
    other[0, 0] += 1e-6 * other[0, 0].abs() + 1e-6
    with pytest.raises(ValueError, match=r"got one of another: x '\(64, 5\) torch.float32 \w{16}' there"):
        train.fit(mlp(), other, checkpoint=path, **SETTINGS)
    with pytest.raises(ValueError, match=r"model .*8.* there, .*9.* here"):
        train.fit(models.MLPVAE(5, 2, hidden=(9,), seed=2), x, checkpoint=path, **SETTINGS)


def test_fit_refuses_a_truncated_or_foreign_checkpoint(x, tmp_path):
    path = tmp_path / "run.pt"
    train.fit(mlp(), x, checkpoint=path, **SETTINGS)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="run.pt: want a whole torch file"):
        train.fit(mlp(), x, checkpoint=path, **SETTINGS)
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="run.pt: want a checkpoint of train.fit"):
        train.fit(mlp(), x, checkpoint=path, **SETTINGS)


def test_fit_stops_after_patience_and_restores_the_best_weights(x):
    """Validation data from elsewhere: the loss on them has a minimum early on, and rises as the training goes on."""
    settings = SETTINGS | {"n_steps": 2000, "learning_rate": 0.05, "schedule": "constant", "batch_size": 32}
    x_val = x[:20] + 1
    model = mlp()
    result = train.fit(model, x, x_val=x_val, val_every=10, patience=3, **settings)
    losses, steps = result.history["val_loss"], result.history["val_step"]
    assert result.stopped_early
    assert result.n_steps == result.best_step + 30 == steps[-1] < 2000
    assert result.best_step == steps[losses.argmin()]
    assert len(result.history["loss"]) == result.n_steps
    # The restored weights give the best validation loss again, under the same noise.
    x_hat, mu, log_var = model(x_val, torch.Generator().manual_seed(0))
    restored = models.elbo_loss(x_val, x_hat, mu, log_var, 0.2).loss.item()
    assert restored == losses.min()
    # Without patience the same training goes on to the end.
    assert not train.fit(mlp(), x, x_val=x_val, val_every=10, **settings).stopped_early


def test_fit_validation_does_not_change_the_training(x):
    with_val, without = mlp(), mlp()
    train.fit(with_val, x, x_val=x[:20], val_every=7, **SETTINGS)
    result = train.fit(without, x, **SETTINGS)
    assert same_bits(with_val, without)
    assert result.best_step == result.n_steps == 250
    assert len(result.history["val_loss"]) == 0


def test_fit_history_obeys_the_loss_identity_and_the_schedule(x):
    result = train.fit(mlp(), x, decoder_var=0.5, **SETTINGS)
    history = result.history
    # Three float32 numbers of one sum: a few units of 2⁻²⁴ relative.
    assert np.allclose(history["loss"], history["distortion_sum"] / (2 * 0.5) + 0.2 * history["rate"], rtol=1e-6)
    expected = 1e-2 * 0.5 * (1 + np.cos(np.pi * np.arange(250) / 250))
    assert np.allclose(history["learning_rate"], expected, rtol=1e-14)
    constant = train.fit(mlp(), x, schedule="constant", **SETTINGS)
    assert (constant.history["learning_rate"] == 1e-2).all()


def test_fit_takes_the_steps_of_torch_adam(x):
    """The same batches and noise, with torch.optim.Adam and its own schedule, in float64."""
    x, model, reference = x.double(), mlp().double(), mlp().double()
    train.fit(model, x, **SETTINGS | {"n_steps": 40})
    optimizer = torch.optim.Adam(reference.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        batch = x[torch.randint(64, (16,), generator=generator)]
        x_hat, mu, log_var = reference(batch, generator)
        optimizer.zero_grad()
        models.elbo_loss(batch, x_hat, mu, log_var, 0.2).loss.backward()
        optimizer.step()
        schedule.step()
    # Rounding (2e-16 a step) grows through √v near 0 by Adam's 1/ε = 1e8 at most: 1e-8 is the worst case.
    for found, expected in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(found, expected, rtol=0, atol=1e-8)


def test_fit_depends_on_the_seed_alone(x):
    first, again, other = mlp(), mlp(), mlp()
    train.fit(first, x, **SETTINGS)
    torch.manual_seed(99)
    train.fit(again, x, **SETTINGS)
    train.fit(other, x, seed=1, **SETTINGS)
    assert same_bits(first, again)
    assert not same_bits(first, other)


def test_fit_names_the_step_of_a_loss_that_is_not_finite(x):
    model, step = mlp(), itertools.count()
    model.decoder.register_forward_hook(lambda module, args, out: out * float("nan") if next(step) == 37 else out)
    with pytest.raises(FloatingPointError, match=r"want a finite loss, got nan at step 37 \(learning_rate"):
        train.fit(model, x, **SETTINGS)


def test_fit_writes_no_checkpoint_of_a_diverged_run(x, tmp_path):
    model = mlp()
    with torch.no_grad():
        model.decoder[0].weight[0, 0] = torch.inf
    with pytest.raises(FloatingPointError, match="at step 0 "):
        train.fit(model, x, checkpoint=tmp_path / "run.pt", checkpoint_every=1, **SETTINGS)
    assert not (tmp_path / "run.pt").exists()


def test_fit_shows_progress_only_if_asked(x, capsys):
    train.fit(mlp(), x, **SETTINGS)
    silent = capsys.readouterr()
    assert silent.err == silent.out == ""
    train.fit(mlp(), x, **SETTINGS | {"progress": True})
    assert "250/250" in capsys.readouterr().err


def test_fit_trains_images(generator):
    images = torch.randn(32, 1, 8, 8, generator=generator)
    model = models.ConvVAE((1, 8, 8), 2, channels=(4,), seed=0)
    result = train.fit(model, images, **SETTINGS | {"n_steps": 60})
    assert result.history["loss"][-10:].mean() < result.history["loss"][:10].mean()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_steps": 0}, "n_steps: want an integer ≥ 1, got 0"),
        ({"batch_size": 65}, "batch_size: want at most the 64 samples of x, got 65"),
        ({"kl_weight": -1.0}, "kl_weight: want a finite number ≥ 0, got -1.0"),
        ({"kl_weight": float("nan")}, "kl_weight: want a finite number ≥ 0, got nan"),
        ({"decoder_var": 0.0}, "decoder_var: want a finite number > 0, got 0.0"),
        ({"learning_rate": float("inf")}, "learning_rate: want a finite number > 0, got inf"),
        ({"schedule": "linear"}, "schedule: want 'constant' or 'cosine', got 'linear'"),
        ({"patience": 3}, "patience: want x_val to stop by, got patience 3 and no x_val"),
        ({"x": torch.zeros(64, 5, dtype=torch.uint8)}, r"x: want floating .*, got torch.uint8 \(64, 5\)"),
        ({"x": torch.full((64, 5), torch.nan)}, "x: want finite values, got 320 that are not"),
        ({"x_val": torch.zeros(0, 5)}, r"x_val: want floating \(n_samples > 0, ...\), got torch.float32 \(0, 5\)"),
        ({"x": torch.zeros(64, 4)}, r"MLPVAE: want x of shape \(..., 5\), got \(16, 4\)"),
    ],
)
def test_fit_bad_input_names_wanted_and_found(x, change, message):
    with pytest.raises(ValueError, match=message):
        train.fit(mlp(), **{"x": x} | SETTINGS | change)


def test_adam_descend_reads_a_gradient_by_its_strides(generator):
    """A gradient stored by columns moves the weights as the same numbers stored by rows do."""
    start, gradient = torch.randn(3, 4, generator=generator), torch.randn(4, 3, generator=generator).T
    moved = []
    for of in (gradient, gradient.contiguous()):
        weight = start.clone().requires_grad_()
        adam = Adam([weight])
        for step in range(3):
            adam.descend([of * (step + 1)], 0.1)
        moved.append(weight.detach())
    assert not gradient.is_contiguous() and torch.equal(*moved)
