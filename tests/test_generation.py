"""Samplers: on the sphere, with the laws that define them; the report: exact where the decoder is known."""

import math

import pytest
import torch
from torch import nn

from latentlib import angles, feature_network, generation, models, vmf


class Same(nn.Module):
    """Images are their own features."""

    def features(self, x):
        return x


def identity_model(n: int, *, constant: bool = False) -> models.LinearVAE:
    """μ(x) = x and x̂(z) = z, or 0 whatever z."""
    model = models.LinearVAE(n, n).double()
    with torch.no_grad():
        model.encoder.weight.copy_(torch.eye(n)), model.encoder.bias.zero_()
        model.decoder.weight.copy_(0 * torch.eye(n) if constant else torch.eye(n)), model.decoder.bias.zero_()
    return model


def share_error(share, n_samples):
    return 4 * (share * (1 - share) / n_samples) ** 0.5 + 1e-9


def test_sample_island_has_the_signs_of_its_gaussian(generator):
    """The projection keeps signs: P(z_k > 0) = Φ(m_k/√(v_k + ⟨σ²⟩_k)), of each latent and of each pair."""
    mu = torch.randn(50, 4, generator=generator, dtype=torch.float64) * torch.tensor([1, 0.1, 2, 0.5]) + 0.4
    log_var = torch.randn(50, 4, generator=generator, dtype=torch.float64) - 1
    n_samples = 40_000
    z = generation.sample_island(mu, log_var, n_samples, seed=1)
    scale = (mu.var(0) + log_var.exp().mean(0)).sqrt()
    positive = torch.special.ndtr(mu.mean(0) / scale)
    found = (z > 0).double()
    assert ((found.mean(0) - positive).abs() <= share_error(positive, n_samples)).all()
    both = positive[:, None] * positive + torch.diag(positive - positive.square())
    assert ((found.T @ found / n_samples - both).abs() <= share_error(both, n_samples)).all()
    # Ratios survive too: P(u_1 > u_3) of two independent normal numbers.
    ahead = torch.special.ndtr((mu.mean(0)[0] - mu.mean(0)[2]) / torch.hypot(scale[0], scale[2]))
    assert abs((z[:, 0] > z[:, 2]).double().mean() - ahead) <= share_error(ahead, n_samples)


def test_sample_island_of_classes_is_one_island_a_class(generator):
    """Classes at the poles of axes 1 and 2, three codes in four at the first; each has its own spread."""
    first = torch.tensor([1.0, 1, 1, 0]).repeat(25)
    mu = 0.01 * torch.randn(100, 3, generator=generator) + torch.stack([first, 1 - first, 0 * first], 1)
    log_var, near = torch.full_like(mu, -20), math.sqrt(3) * math.cos(0.1)  # 0.1 rad is 10 s.d.
    z = generation.sample_island(mu, log_var, 4000, seed=3, labels=(5 + first).long())
    assert (z[:, :2].amax(1) >= near).all()
    share = (z[:, 0] > z[:, 1]).double().mean().item()
    assert abs(share - 0.75) <= share_error(0.75, 4000)
    # A standard deviation of 4000 draws has 1.1 %; class by class 0.01 was drawn with 50 and 150 codes: 7 %.
    assert z[:, 2].std() == pytest.approx(0.01 * math.sqrt(3), rel=4 * 0.07)
    single = generation.sample_island(mu, log_var, 4000, seed=3)
    assert (single[:, :2].amax(1) < near).double().mean() > 0.5  # one Gaussian for both fills the gap


def test_sample_angle_marginals_keeps_each_law_and_drops_the_rest(generator):
    """Codes whose angles move together: the draws have observed angles, equally often, and independent ones."""
    turn = torch.rand(200, 1, generator=generator, dtype=torch.float64)
    observed = torch.cat([0.5 + turn, 2.5 - 2 * turn, 6.28 * turn], 1)
    mu = angles.from_angles(3 + turn[:, 0], observed)
    n_samples = 20_000
    z = generation.sample_angle_marginals(mu, n_samples, seed=0)
    radius, drawn = angles.to_angles(z)
    assert torch.allclose(radius, torch.full_like(radius, 2.0), rtol=1e-13, atol=0)  # √n, n = 4
    for k in range(3):
        values = observed[:, k].sort().values
        index = torch.searchsorted((values[1:] + values[:-1]) / 2, drawn[:, k].contiguous())
        # To the round trip of the angles, 1e-13 relative to π over the least sine in the chain, 0.4.
        assert (values[index] - drawn[:, k]).abs().max() <= 1e-12
        count = index.bincount(minlength=200)
        # χ² of equal shares: mean 199, s.d. √398.
        chi_square = (count - n_samples / 200).square().sum() / (n_samples / 200)
        assert abs(chi_square - 199) <= 4 * 398**0.5
    correlation = torch.corrcoef(drawn.T) - torch.eye(3)
    assert correlation.abs().max() <= 4 / n_samples**0.5
    assert torch.corrcoef(observed.T).abs().min() > 0.99  # those of the data are the same up to a sign


def test_sample_angle_marginals_of_compressed_tails_keeps_them():
    """Entries down to 1e-30 of the first: one code is returned as it is, on the sphere."""
    mu = torch.logspace(0, -30, 31, dtype=torch.float64)[None] * torch.tensor([1.0, -1.0]).repeat(16)[:31]
    z = generation.sample_angle_marginals(mu, 2, seed=0)
    # 30 products of sines and cosines of float64 angles, each to 1e-16 relative to the angle: small ones are exact.
    assert torch.allclose(z, (math.sqrt(31) * mu / mu.norm()).expand(2, -1), rtol=1e-12, atol=0)


def test_sample_prior_has_the_target_cosines(generator):
    target = torch.tensor([0.7, -0.2, 0.0, 0.5, 0.3], dtype=torch.float64)
    n_samples = 20_000
    z = generation.sample_prior(target, n_samples, seed=2, dtype=torch.float64)
    assert z.shape == (n_samples, 6)
    assert torch.allclose(z.square().sum(1), torch.tensor(6.0, dtype=torch.float64), rtol=1e-13)
    cosine = angles.cos_angles(z)
    law = vmf.nested_field(vmf.vmf_kappa(target, torch.arange(6, 1, -1, dtype=torch.float64)))
    assert ((cosine.mean(0) - target).abs() <= 4 * (law.cos_var / n_samples).sqrt()).all()
    # Spread of a variance of a bounded number: at most √(E c⁴ − v²)/√N ≤ √(v/N).
    assert ((cosine.var(0) - law.cos_var).abs() <= 4 * (law.cos_var / n_samples).sqrt()).all()


def test_sample_gaussian_and_its_sphere():
    z = generation.sample_gaussian(5, 20_000, seed=4)
    assert z.dtype == torch.float32
    assert z.mean(0).abs().max() <= 4 / 20_000**0.5
    assert (z.T.cov() - torch.eye(5)).abs().max() <= 4 * (2 / 20_000) ** 0.5
    on_sphere = generation.sample_gaussian(5, 20_000, seed=4, sphere=True, dtype=torch.float64)
    assert torch.allclose(on_sphere, math.sqrt(5) * nn.functional.normalize(z.double(), dim=1), rtol=1e-6, atol=1e-6)
    assert torch.allclose(on_sphere.square().sum(1), torch.tensor(5.0, dtype=torch.float64), rtol=1e-14)


def test_samplers_follow_their_seed_dtype_and_leave_the_global_state(generator):
    mu, log_var = torch.randn(2, 30, 4, generator=generator)
    samplers = (
        lambda seed: generation.sample_island(mu, log_var, 7, seed=seed),
        lambda seed: generation.sample_angle_marginals(mu, 7, seed=seed),
        lambda seed: generation.sample_prior(torch.full((3,), 0.2), 7, seed=seed),
        lambda seed: generation.sample_gaussian(4, 7, seed=seed, sphere=True),
    )
    state = torch.get_rng_state()
    for sample in samplers:
        z = sample(0)
        assert z.shape == (7, 4) and z.dtype == torch.float32
        assert torch.equal(z, sample(0)) and not torch.equal(z, sample(1))
        assert torch.allclose(z.norm(dim=1), torch.tensor(2.0), rtol=1e-6)
    assert torch.equal(torch.get_rng_state(), state)


FEATURES = feature_network.FeatureNetwork("pixel", Same(), 3)


def test_generation_report_of_a_perfect_autoencoder_is_the_distance_of_the_laws(generator):
    """D(μ(x)) = x: reconstructions cost nothing, self distance is distance to test, that of two Gaussians."""
    std = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    x = torch.randn(900, 3, generator=generator, dtype=torch.float64)
    codes = 0.5 + torch.randn(700, 3, generator=generator, dtype=torch.float64) * std
    report = generation.generation_report(identity_model(3), x, codes, FEATURES, on_sphere=False, seed=0)
    # Equal moments: 1e-9 of the traces is the rounding that a distance states, 20 times that a pseudo-value's.
    assert abs(report.reconstruction_to_test.limit) <= 20 * 1e-9 * 6
    assert report.self_distance == report.to_test
    truth = 3 * 0.25 + (std - 1).square().sum().item()
    assert report.to_test.low <= truth <= report.to_test.high
    assert report.to_test.n_samples == (700, 900)
    assert report.distance_name == "Fréchet distance of pixel features"


def test_generation_report_of_a_constant_decoder_is_zero_to_itself_and_far_from_the_test_set(generator):
    x = torch.randn(300, 3, generator=generator, dtype=torch.float64)
    codes = torch.randn(200, 3, generator=generator, dtype=torch.float64)
    report = generation.generation_report(identity_model(3, constant=True), x, codes, FEATURES, on_sphere=False, seed=0)
    assert report.self_distance.distance == report.self_distance.limit == report.self_distance.high == 0
    # |m|² + tr S of the test set, 3 in the limit: S of a constant is 0.
    expected = x.mean(0).square().sum() + x.var(0).sum()
    for found in (report.to_test, report.reconstruction_to_test):
        assert found.distance == pytest.approx(expected.item(), rel=1e-12) and found.low <= 3 <= found.high


def test_generation_report_reconstructs_from_the_sphere_if_told(generator):
    """√n μ/|μ|: points of the test set on the sphere are their own reconstruction, at another radius they are not."""
    x = 1 + torch.randn(100, 3, generator=generator, dtype=torch.float64)
    sphere = math.sqrt(3) * nn.functional.normalize(x, dim=1)
    near, far = (
        generation.generation_report(identity_model(3), images, x, FEATURES, on_sphere=True, seed=0)
        for images in (sphere, 2 * sphere)
    )
    assert near.reconstruction_to_test.distance <= 1e-8
    # Twice the radius: |m|² + tr S of the points on the sphere (Σ (2√s − √s)² = Σ s).
    expected = sphere.mean(0).square().sum() + sphere.var(0).sum()
    assert far.reconstruction_to_test.distance == pytest.approx(expected.item(), rel=1e-8)


def test_generation_report_leaves_the_model_as_it_was(generator):
    model = models.ResidualVAE((1, 8, 8), 3, channels=(4, 4), seed=0).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    class Pooled(nn.Module):
        def features(self, x):
            return x.flatten(2).mean(2)

    features = feature_network.FeatureNetwork("mean gray", Pooled(), 1)
    x = torch.rand(20, 1, 8, 8, generator=generator)
    codes = generation.sample_gaussian(3, 15, seed=0, dtype=torch.float64)  # taken to the dtype of the model
    report = generation.generation_report(model, x, codes, features, on_sphere=True, seed=0, n_groups=5)
    assert model.training and all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert report == generation.generation_report(model, x, codes, features, on_sphere=True, seed=0, n_groups=5)


MU = torch.arange(12.0).reshape(4, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: generation.sample_island(MU, MU[:3], 5, seed=0), r"want mu like log_var, got \(4, 3\) and \(3, 3\)"),
        (lambda: generation.sample_island(MU[:1], MU[:1], 5, seed=0), r"mu: want \(n_samples >= 2, .* got \(1, 3\)"),
        (lambda: generation.sample_island(MU, MU.log(), 5, seed=0), "log_var: want finite values, got -inf"),
        (lambda: generation.sample_island(MU, MU, 0, seed=0), "n_samples: want integers ≥ 1, got 0"),
        (
            lambda: generation.sample_island(MU, MU, 5, seed=0, labels=torch.tensor([0, 0, 0, 1])),
            "labels: want 2 or more points a class, got 1 in class 1",
        ),
        (lambda: generation.sample_island(0 * MU, 0 * MU - 2000, 5, seed=0), "z: want rows of positive finite norm"),
        (lambda: generation.sample_angle_marginals(MU[:, :1], 5, seed=0), "got"),
        (lambda: generation.sample_angle_marginals(MU * math.nan, 5, seed=0), "mu: want finite values, got nan"),
        (lambda: generation.sample_angle_marginals(MU, 1.5, seed=0), "n_samples: want integers ≥ 1, got 1.5"),
        (lambda: generation.sample_prior(MU, 5, seed=0), r"cos_mean: want floating \(n_latent - 1 >= 1,\), got"),
        (lambda: generation.sample_prior([0.1], 5, seed=0), "cos_mean: want floating .* got list"),
        (lambda: generation.sample_prior(torch.tensor([1.0, 0]), 5, seed=0), r"order: want \|m\| < 1, .* got 1"),
        (lambda: generation.sample_gaussian(0, 5, seed=0), "n_latent: want integers ≥ 1, got 0"),
        (
            lambda: generation.generation_report(
                identity_model(3), MU.double(), MU.double() * math.inf, FEATURES, on_sphere=False, seed=0
            ),
            "codes: want finite values",
        ),
        (
            lambda: generation.generation_report(
                identity_model(3), MU.double(), MU.double(), FEATURES, on_sphere=False, seed=0
            ),
            "extrapolate_frechet: want more than 3 rows",
        ),
    ],
)
def test_generation_bad_input_names_wanted_and_found(call, message):
    with pytest.raises(ValueError, match=message):
        call()
