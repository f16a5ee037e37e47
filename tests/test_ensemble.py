"""Laws of the batched training: the exact optimum, members that do not know each other, resuming to the same bits."""

import math

import pytest
import torch
from latentlib import _batched_vae, _ensemble_training, collapse, ensemble
from torch import nn

EIGENVALUES = torch.tensor([4.0, 2.0, 1.0, 0.25], dtype=torch.float64)
TOTAL = EIGENVALUES.sum().item()
SETTINGS = {"n_latent": 3, "n_steps": 250, "batch_size": 16, "learning_rate": 1e-2, "progress": False}
PRICES = [0.02, 0.1, 0.3]
TANH = nn.Tanh()


def exact_samples(eigenvalues, n_samples, seed=0):
    """Rows whose covariance is diag(eigenvalues) exactly, rotated and shifted."""
    generator, n = torch.Generator().manual_seed(seed), len(eigenvalues)
    white = torch.randn(n_samples, n, generator=generator, dtype=torch.float64)
    white = torch.linalg.qr(white - white.mean(0)).Q * math.sqrt(n_samples)
    rotation = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q
    return (white * eigenvalues.sqrt()) @ rotation.T + 3


@pytest.fixture(scope="module")
def x():
    return exact_samples(EIGENVALUES, 64)


def weights(found):
    return [part for layer in [*found.encoder, *found.decoder] for part in layer]


def same_bits(a, b):
    history = all(torch.equal(a.history[key], b.history[key]) for key in a.history)
    return history and all(torch.equal(p, q) for p, q in zip(weights(a), weights(b), strict=True))


def close(a, b, tolerance):
    return max((p - q).abs().max().item() for p, q in zip(weights(a), weights(b), strict=True)) <= tolerance


def signal_fractions(found, x):
    mu, log_var = found.encode(x)
    second_moment = mu.square().mean(-2)
    return (second_moment / (second_moment + log_var.exp().mean(-2))).sort(-1, descending=True).values


# What is learned ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "optimizer, noise", [("adam", "integrated"), ("whitened_adam", "integrated"), ("adam", "sampled")]
)
def test_fit_ensemble_finds_one_minus_price_over_share(optimizer, noise):
    x = exact_samples(EIGENVALUES, 512)
    prices = torch.tensor([0.5, 0.8, 1.5, 3.0, 5.0], dtype=torch.float64) / TOTAL
    settings = {"n_steps": 1000, "batch_size": 256, "learning_rate": 3e-2, "seeds": (0, 1), "progress": False}
    found = ensemble.fit_ensemble(x, prices, n_latent=5, optimizer=optimizer, noise=noise, **settings)
    exact = (1 - prices[:, None] * TOTAL / EIGENVALUES).clamp_min(0)
    exact = nn.functional.pad(exact, (0, 1))
    # Noise of the last steps, of standard deviation .002 over seeds; a factor 2 in the price moves m by .125 and more.
    assert (signal_fractions(found, x) - exact).abs().max() < 0.01


def test_fit_ensemble_annealed_separates_modes_that_a_cold_start_leaves_mixed():
    """At a low price a cold start has the modes rotated into one another: its loss is above the optimum."""
    x, price = exact_samples(EIGENVALUES, 512), 1e-4
    optimum = 4 * price + price * (EIGENVALUES / TOTAL / price).log().sum()
    settings = SETTINGS | {"n_latent": 6, "n_steps": 1000, "batch_size": 256, "learning_rate": 1e-2}
    excess = {}
    for anneal in (0.0, 0.7):
        found = ensemble.fit_ensemble(x, [price], optimizer="whitened_adam", anneal=anneal, seeds=(0, 1), **settings)
        excess[anneal] = (found.history["loss"][..., -1] - optimum) / (2 * price)  # nats
    # Over eight seeds 1.7 to 3.4 nats, which are the noise of the last steps, against 48 to 85.
    assert excess[0.7].max() < 6 and excess[0.0].min() > 24


def test_fit_ensemble_anneals_from_collapse_to_the_own_price(x):
    settings = SETTINGS | {"n_steps": 1200, "learning_rate": 2e-2, "batch_size": 64}
    found = ensemble.fit_ensemble(x, PRICES, anneal=0.5, **settings)
    rate = found.history["rate"][0]
    # The second window is near price 1, where the optimum has rate 0; at its own the rate is ½ Σ ln(share/T̂).
    exact = (EIGENVALUES[:3] / TOTAL / torch.tensor(PRICES).double()[:, None]).clamp_min(1).log().sum(1) / 2
    assert (rate[:, 1] < 0.1 * exact).all() and torch.allclose(rate[:, -1], exact, atol=0.05)


def test_fit_ensemble_with_fewer_latents_than_modes_codes_the_leading_ones():
    x = exact_samples(EIGENVALUES, 512)
    settings = SETTINGS | {"n_latent": 2, "n_steps": 800, "batch_size": 256, "learning_rate": 3e-2}
    found = ensemble.fit_ensemble(x, [0.5 / TOTAL], **settings)
    assert (signal_fractions(found, x)[0, 0] - torch.tensor([0.875, 0.75], dtype=torch.float64)).abs().max() < 0.01


@pytest.mark.parametrize("optimizer", ["adam", "whitened_adam"])
def test_fit_ensemble_of_deficient_data_reaches_the_exact_limit(optimizer):
    """A constant feature and a linear dependence add zeros to the spectrum, and so do fewer samples than features."""
    x = exact_samples(EIGENVALUES[:2], 8)
    x = torch.cat([x, x.sum(1, keepdim=True), torch.full((8, 1), 0.1).double(), torch.zeros(8, 5).double()], 1)
    shares = torch.linalg.eigvalsh(torch.cov(x.T)).flip(0)[:3] / torch.cov(x.T).trace()
    price = shares[1].item() / 2
    settings = SETTINGS | {"n_steps": 1200, "batch_size": 8, "learning_rate": 2e-2, "optimizer": optimizer}
    found = ensemble.fit_ensemble(x, [price], **settings)
    exact = (1 - price / shares).clamp_min(0)
    assert (signal_fractions(found, x)[0, 0] - exact).abs().max() < 0.02
    assert torch.allclose(found.decode(found.encode(x)[0])[..., 3:], x[:, 3:], atol=1e-3)


def test_fit_ensemble_is_the_same_for_every_unit_and_origin(x):
    """x → c·x + a: the codes of a trained member are the same."""
    for optimizer in ("adam", "whitened_adam"):
        settings = SETTINGS | {"n_steps": 50, "optimizer": optimizer, "hidden": (4,)}
        found = ensemble.fit_ensemble(x, PRICES, **settings)
        scaled = ensemble.fit_ensemble(1024 * x - 2048, PRICES, **settings)  # exact in floating point
        # Rounding of the means, 1e-13, times at most 1/ε = 1e8 of Adam near a zero of a gradient; seen: 1e-11.
        assert (found.encode(x)[0] - scaled.encode(1024 * x - 2048)[0]).abs().max() <= 1e-5
        ratio = scaled.decode(found.encode(x)[0]) / 1024 + 2 - found.decode(found.encode(x)[0])
        assert ratio.abs().max() <= 1e-5


# Members --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_fit_ensemble_members_are_those_of_smaller_ensembles(x, hidden):
    settings = SETTINGS | {"n_steps": 30, "hidden": hidden}
    together = ensemble.fit_ensemble(x, PRICES, seeds=(3, 7), **settings)
    alone = ensemble.fit_ensemble(x, PRICES[1:2], seeds=(7,), **settings)
    # Another order of sums: 30 steps of rounding, 1e-16, through Adam's 1/ε at worst; seen: 1e-14.
    for one, of_many in zip(weights(alone), weights(together), strict=True):
        assert (one[0, 0] - of_many[1, 1]).abs().max() <= 1e-8
    assert (alone.history["loss"] - together.history["loss"][1:, 1:2]).abs().max() <= 1e-8


def test_fit_ensemble_members_of_a_seed_start_alike_and_of_two_do_not(x):
    found = ensemble.fit_ensemble(x, PRICES, seeds=(0, 1), **SETTINGS | {"n_steps": 1, "learning_rate": 1e-9})
    for part in weights(found):
        assert (part[:, :1] - part).abs().max() <= 1e-7 * part.abs().max() + 1e-7
    first = found.encoder[0][0]
    assert (first[0] - first[1]).abs().max() > 0.01
    state = torch.random.get_rng_state()
    ensemble.fit_ensemble(x, PRICES, **SETTINGS | {"n_steps": 1}).member(0, 0)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("hidden, decoder_hidden", [((), None), ((6, 5), None), ((6,), ())])
def test_ensemble_member_is_the_same_network(x, hidden, decoder_hidden):
    settings = SETTINGS | {"n_steps": 20, "hidden": hidden, "decoder_hidden": decoder_hidden, "activation": "silu"}
    found = ensemble.fit_ensemble(x, PRICES, seeds=(0, 1), **settings)
    mu, log_var = found.encode(x)
    x_hat = found.decode(mu)
    model = found.member(1, 2)
    assert torch.allclose(torch.cat(model.encode(x), 1), torch.cat([mu, log_var], -1)[1, 2], atol=1e-12)
    assert torch.allclose(model.decode(mu[1, 2]), x_hat[1, 2], atol=1e-12)
    assert len(model.decoder) == 2 * len(found.decoder) - 1 == (1 if decoder_hidden == () else 2 * len(hidden) + 1)
    assert found.n_latent == model.n_latent == 3


def test_fit_ensemble_keeps_the_precision_of_the_data(x):
    found = ensemble.fit_ensemble(x.float(), PRICES, **SETTINGS | {"n_steps": 1})
    assert {part.dtype for part in weights(found)} == {torch.float32}


# The loss -------------------------------------------------------------------------------------------------------------


def layers(generator, *sizes, n_members=6):
    def draw(*shape):
        return torch.randn(n_members, *shape, generator=generator, dtype=torch.float64) / 2

    return [(draw(n_in, n_out), draw(1, n_out)) for n_in, n_out in zip(sizes, sizes[1:])]


@pytest.mark.parametrize("sizes", [(4, 6), (4, 5, 6)])
def test_integrated_loss_is_the_mean_of_the_sampled_one(generator, sizes):
    encoder, decoder = layers(generator, *sizes), layers(generator, 3, 4)
    batch = torch.randn(2, 20, 4, generator=generator, dtype=torch.float64)
    share = torch.tensor([0.5, 0.2, 0.2, 0.1], dtype=torch.float64)
    exact, rate = _batched_vae.integrated_loss(encoder, decoder, TANH, batch, share)
    noise = torch.randn(400, 2, 20, 3, generator=generator, dtype=torch.float64)
    drawn = [_batched_vae.sampled_loss(encoder, decoder, TANH, batch, share, each) for each in noise]
    values = torch.stack([distortion for distortion, _ in drawn])
    assert ((values.mean(0) - exact) / (values.std(0) / 20)).abs().max() < 4  # standard errors
    assert torch.allclose(drawn[0][1], rate, rtol=1e-12)


def test_integrated_loss_is_that_of_the_exact_solver(generator):
    """Constant log-variance, no bias, batch = all centred data: `collapse.loss`, member by member."""
    n_prices, batch = 3, torch.randn(2, 50, 4, generator=generator, dtype=torch.float64)
    batch = batch - batch.mean(1, keepdim=True)
    (weight, bias), (readout, offset) = layers(generator, 4, 6)[0], layers(generator, 3, 4)[0]
    weight[..., 3:], bias[..., :3] = 0, 0
    share = torch.full((4,), 0.25, dtype=torch.float64)
    distortion, rate = _batched_vae.integrated_loss([(weight, bias)], [(readout, 0 * offset)], TANH, batch, share)
    for member in range(6):
        rows = batch[member // n_prices]
        covariance = rows.T @ rows / 50
        mine = distortion[member] * 4 / covariance.trace() + 2 * 0.3 * rate[member]
        other = collapse.loss(covariance, weight[member, :, :3].T, readout[member].T, bias[member, 0, 3:], 0.3)
        assert mine.item() == pytest.approx(other.item(), rel=1e-12)


def test_integrated_loss_has_the_gradient_of_its_value(generator):
    """Against finite differences, with an affine log-variance and biases: the linear case has a gradient of its own."""
    batch = torch.randn(2, 7, 3, generator=generator, dtype=torch.float64)
    share = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    parts = [part.requires_grad_() for pair in (*layers(generator, 3, 4), *layers(generator, 2, 3)) for part in pair]

    def value(weight, bias, readout, offset):
        return _batched_vae.integrated_loss([(weight, bias)], [(readout, offset)], TANH, batch, share)

    assert torch.autograd.gradcheck(value, parts)


@pytest.mark.parametrize("whiten", [True, False])
def test_coordinates_are_undone(x, generator, whiten):
    x = torch.cat([x, x[:, :1] - x[:, 1:2]], 1)  # a linear dependence
    frame = _batched_vae.coordinates(x, whiten)
    y = frame.enter(x)
    assert torch.allclose(y @ frame.out + frame.mean, x, atol=1e-12)
    assert y.shape[1] == (4 if whiten else 5)
    assert (y.square().mean(0) @ frame.share).item() == pytest.approx(1, abs=1e-12)
    if whiten:
        assert torch.allclose(y.T @ y / len(y), torch.eye(4, dtype=torch.float64), atol=1e-10)
    encoder, decoder = layers(generator, 5, 7, 6), layers(generator, 3, 7, 5)
    inner = frame.inner(encoder, decoder)
    rows = x.expand(6, -1, -1)
    codes = _batched_vae.perceptron(rows, encoder, TANH)
    assert torch.allclose(_batched_vae.perceptron(y.expand(6, -1, -1), inner[0], TANH), codes, atol=1e-11)
    outer = frame.outer(*inner)
    assert torch.allclose(_batched_vae.perceptron(rows, outer[0], TANH), codes, atol=1e-11)
    x_hat = _batched_vae.perceptron(codes[..., :3], outer[1], TANH)
    y_hat = _batched_vae.perceptron(codes[..., :3], inner[1], TANH)
    assert torch.allclose((x_hat - frame.mean) @ frame.into, y_hat, atol=1e-11)


def test_fit_ensemble_history_obeys_the_loss_identity(x):
    found = ensemble.fit_ensemble(x, PRICES, seeds=(0, 1), **SETTINGS)
    assert {values.shape for values in found.history.values()} == {(2, 3, 3)}  # 100, 100 and 50 steps
    expected = found.history["distortion"] + 2 * found.prices[:, None] * found.history["rate"]
    assert torch.allclose(found.history["loss"], expected, rtol=1e-14)
    assert (found.history["loss"][..., -1] < found.history["loss"][..., 0]).all()
    assert (found.n_steps, found.stopped_early) == (250, False)


# Start, stop, resume --------------------------------------------------------------------------------------------------


def test_fit_ensemble_goes_on_from_a_start_and_leaves_it_as_it_was(x):
    settings = SETTINGS | {"hidden": (4, 4)}
    first = ensemble.fit_ensemble(x, PRICES, **settings)
    before = [part.clone() for part in weights(first)]
    for optimizer in ("adam", "whitened_adam"):
        still = settings | {"n_steps": 1, "learning_rate": 1e-12, "optimizer": optimizer}
        stay = ensemble.fit_ensemble(x, PRICES, start=first, **still)
        assert close(stay, first, 1e-9)  # rounding of the coordinates
    moved = ensemble.fit_ensemble(x, PRICES[::-1], start=first, **settings)
    assert not close(moved, first, 1e-3) and moved.n_steps == 500
    assert all(torch.equal(part, same) for part, same in zip(weights(first), before, strict=True))


def test_fit_ensemble_draws_other_batches_after_a_start(x):
    """Else a scan would train on one noise again and again."""
    first = ensemble.fit_ensemble(x, PRICES, **SETTINGS | {"n_steps": 1, "learning_rate": 1e-12})
    again = ensemble.fit_ensemble(x, PRICES, start=first, **SETTINGS | {"n_steps": 1, "learning_rate": 1e-12})
    assert (first.history["loss"] - again.history["loss"]).abs().min() > 1e-3


def test_fit_ensemble_stops_when_no_member_improves(x):
    settings = SETTINGS | {"n_steps": 4000, "schedule": "constant", "batch_size": 64}
    # A huge price: all members collapse within the first windows, and their loss stays at 1 within its noise.
    stopped = ensemble.fit_ensemble(x, [2.0, 3.0], patience=0.1, **settings)
    assert stopped.stopped_early and stopped.n_steps < 4000
    loss = stopped.history["loss"][0]
    waited = loss.shape[1] - 1 - loss.argmin(1)
    assert waited.min() == 4  # .1 of 4000 steps are 4 windows
    assert not ensemble.fit_ensemble(x, [2.0], **settings | {"n_steps": 300}).stopped_early


class Killed(Exception):
    pass


def kill_after(monkeypatch, n_windows):
    advance, left = _ensemble_training.EnsembleTraining.advance, [n_windows]

    def dying(run):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        advance(run)

    monkeypatch.setattr(_ensemble_training.EnsembleTraining, "advance", dying)


@pytest.mark.parametrize("hidden", [(), (4,)])
@pytest.mark.parametrize("n_windows", [0, 1, 2])
def test_fit_ensemble_resumes_to_the_bits_of_an_uninterrupted_run(x, tmp_path, monkeypatch, hidden, n_windows):
    settings = SETTINGS | {"hidden": hidden, "seeds": (0, 1), "checkpoint_every": 100}
    whole = ensemble.fit_ensemble(x, PRICES, **settings)
    path = tmp_path / "run.pt"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(patch, n_windows)
        ensemble.fit_ensemble(x, PRICES, checkpoint=path, **settings)
    assert path.is_file() == (n_windows > 0)
    assert same_bits(ensemble.fit_ensemble(x, PRICES, checkpoint=path, **settings), whole)
    with monkeypatch.context() as patch:
        kill_after(patch, 0)  # a finished run takes no step
        assert same_bits(ensemble.fit_ensemble(x, PRICES, checkpoint=path, **settings), whole)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"learning_rate": 0.02}, "learning_rate 0.01 there, 0.02 here$"),
        ({"prices": [0.02, 0.1]}, r"prices \[0.02, 0.1, 0.3\] there, \[0.02, 0.1\] here$"),
        ({"n_latent": 2}, "widths .* there, .* here$"),
        ({"noise": "sampled"}, "noise 'integrated' there, 'sampled' here$"),
    ],
)
def test_fit_ensemble_refuses_a_checkpoint_of_another_run(x, tmp_path, change, message):
    arguments = {"x": x, "prices": PRICES, "checkpoint": tmp_path / "run.pt"} | SETTINGS
    found = ensemble.fit_ensemble(**arguments)
    with pytest.raises(ValueError, match="run.pt: want a checkpoint of this run, got one of another: " + message):
        ensemble.fit_ensemble(**arguments | change)
    with pytest.raises(ValueError, match="one of another: x '"):
        ensemble.fit_ensemble(**arguments | {"x": 2 * x})
    with pytest.raises(ValueError, match="one of another: start 'none' there"):
        ensemble.fit_ensemble(**arguments | {"start": found})


def test_fit_ensemble_names_the_member_whose_loss_is_not_finite(x, tmp_path):
    first = ensemble.fit_ensemble(x, PRICES, seeds=(0, 5), **SETTINGS | {"n_steps": 1})
    first.encoder[0][0][1, 2] = torch.nan
    message = "got others in steps 1 to 100 at 1 of 6 members: price 0.3 of seed 5; lower learning_rate"
    with pytest.raises(FloatingPointError, match=message):
        path = tmp_path / "run.pt"
        ensemble.fit_ensemble(x, PRICES, seeds=(0, 5), start=first, checkpoint=path, **SETTINGS)
    assert not path.exists()


def test_fit_ensemble_shows_progress_only_if_asked(x, capsys):
    ensemble.fit_ensemble(x, PRICES, **SETTINGS)
    silent = capsys.readouterr()
    assert silent.err == silent.out == ""
    ensemble.fit_ensemble(x, PRICES, **SETTINGS | {"progress": True})
    assert "250/250" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, message",
    [
        ({"prices": []}, r"prices: want \(n_prices > 0,\), all finite and > 0, got shape \(0,\)"),
        ({"prices": [0.1, 0.0]}, "prices: want .* all finite and > 0"),
        ({"prices": [math.inf]}, "prices: want .* all finite and > 0"),
        ({"seeds": ()}, r"seeds: want different whole numbers ≥ 0, one or more, got \(\)"),
        ({"seeds": (1, 1)}, r"seeds: want different whole numbers ≥ 0, one or more, got \(1, 1\)"),
        ({"seeds": (0.5,)}, "seeds: want different whole numbers"),
        ({"n_latent": 0}, "n_latent: want integers ≥ 1, got 0"),
        ({"hidden": (4, 0)}, r"hidden: want integers ≥ 1, got \(4, 0\)"),
        ({"hidden": (4,), "activation": "step"}, "activation: want silu, relu, tanh, gelu, got 'step'"),
        ({"n_steps": 0}, "n_steps: want an integer ≥ 1, got 0"),
        ({"batch_size": 65}, "batch_size: want at most the 64 samples of x, got 65"),
        ({"learning_rate": -1.0}, "learning_rate: want a finite number > 0, got -1.0"),
        ({"schedule": "linear"}, "schedule: want 'constant' or 'cosine', got 'linear'"),
        ({"optimizer": "sgd"}, "optimizer: want 'adam' or 'whitened_adam', got 'sgd'"),
        ({"noise": "none"}, "noise: want 'integrated' or 'sampled', got 'none'"),
        ({"anneal": 1.0}, "anneal: want 0 ≤ anneal < 1, got 1.0"),
        ({"patience": 0.0}, "patience: want a finite number > 0, got 0.0"),
        ({"x": torch.zeros(64, 4, dtype=torch.uint8)}, r"x: want float32 or float64 .*, got torch.uint8 \(64, 4\)"),
        ({"x": torch.zeros(64)}, r"x: want float32 or float64 \(n_samples, n_features\), got torch.float32 \(64,\)"),
        ({"x": torch.full((64, 4), torch.nan)}, "x: want finite values, got 256 that are not"),
        ({"x": torch.full((64, 4), 0.1)}, "x: want samples with variance, got all of them equal"),
    ],
)  # fmt: skip
def test_fit_ensemble_bad_input_names_wanted_and_found(x, change, message):
    with pytest.raises(ValueError, match=message):
        ensemble.fit_ensemble(**{"x": x, "prices": PRICES} | SETTINGS | change)


def test_ensemble_refuses_a_start_or_data_of_another_shape(x):
    found = ensemble.fit_ensemble(x, PRICES, **SETTINGS | {"n_steps": 1})
    with pytest.raises(ValueError, match=r"start: want an ensemble of layers .*\(2, 3, 4, 6\).* got .*\(1, 3, 4, 6\)"):
        ensemble.fit_ensemble(x, PRICES, seeds=(0, 1), start=found, **SETTINGS)
    with pytest.raises(ValueError, match="start: want an ensemble of layers"):
        ensemble.fit_ensemble(x, PRICES, start=found, **SETTINGS | {"hidden": (3,)})
    with pytest.raises(ValueError, match=r"x: want \(n_samples, 4\), got \(64, 3\)"):
        found.encode(x[:, :3])
    with pytest.raises(ValueError, match=r"z: want \(1, 3, n, 3\), got \(64, 3\)"):
        found.decode(x[:, :3])
    with pytest.raises(IndexError):
        found.member(1, 0)
