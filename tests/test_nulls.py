"""Null samples: what each keeps and what it destroys, the exact level of a null interval, every error."""

import math
from functools import partial

import pytest
import torch

from latentlib import models, nulls, overlap

SAMPLERS = {
    "uniform": lambda z, labels: partial(nulls.uniform_codes, *z.shape, dtype=z.dtype),
    "permuted": lambda z, labels: partial(nulls.permuted_codes, z),
    "rotated": lambda z, labels: partial(nulls.rotated_codes, z),
    "class mixture": lambda z, labels: partial(nulls.class_mixture_codes, z, labels),
}


def labelled(n_samples: int, generator: torch.Generator, dtype=torch.float64):
    labels = torch.arange(n_samples) % 3
    centres = torch.tensor([[2.0, 0, 0, 1], [0, -3, 1, 1], [1, 1, 0, 2]], dtype=torch.float64)
    mix = torch.tensor([[1.0, 0, 0, 0], [0.5, 1, 0, 0], [0, -0.7, 0.3, 0], [0, 0, 0, 0]], dtype=torch.float64)
    noise = torch.randn(n_samples, 4, generator=generator, dtype=torch.float64)
    return (centres[labels] + noise @ mix).to(dtype), labels


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nulls_are_their_seed(name, dtype, generator):
    sampler = SAMPLERS[name](*labelled(12, generator, dtype))
    assert torch.equal(sampler(seed=3), sampler(seed=3)) and not torch.equal(sampler(seed=3), sampler(seed=4))
    assert sampler(seed=3).shape == (12, 4) and sampler(seed=3).dtype == dtype


def test_uniform_codes_are_disordered():
    z = nulls.uniform_codes(3000, 20, seed=1)
    # 20 squares and their root: 20 roundings of 2⁻⁵³.
    assert z.square().sum(1) == pytest.approx(torch.full((3000,), 20.0), rel=20 * 2.0**-53)
    found = overlap.overlap_moments(z)
    assert abs(found.chi - 1) <= 3 * found.chi_se and abs(found.q_mean) <= 3 * found.q_mean_se


def test_permuted_codes_keep_marginals_and_lose_correlations(generator):
    z, _ = labelled(900, generator)
    drawn = nulls.permuted_codes(z, seed=2)
    assert torch.equal(drawn.sort(0).values, z.sort(0).values)
    correlation = torch.corrcoef(drawn[:, :3].T) - torch.eye(3, dtype=z.dtype)
    # The correlation of independent columns has standard deviation 1/√(n − 1).
    assert correlation.abs().max() <= 4 / 899**0.5
    assert torch.corrcoef(z.T)[0, 1].abs() > 0.2


def test_rotated_codes_keep_overlaps(generator):
    z, _ = labelled(30, generator)
    drawn = nulls.rotated_codes(z, seed=5)
    assert torch.allclose(drawn @ drawn.T, z @ z.T, rtol=0, atol=1e-13 * z.square().sum(1).max().item())
    assert not torch.allclose(drawn, z)


def test_rotated_codes_turn_by_the_haar_measure():
    # The first axis goes anywhere on the circle, and half the frames are reflections: ⟨det⟩ = 0, ⟨O⟩ = 0, ⟨O²⟩ = 1/2.
    frames = torch.stack([nulls.rotated_codes(torch.eye(2, dtype=torch.float64), seed=seed) for seed in range(1000)])
    bound = 4 / 1000**0.5
    assert abs(torch.linalg.det(frames).mean()) <= bound
    assert (frames.mean(0).abs() <= bound * 0.5**0.5).all()
    assert ((frames.square().mean(0) - 0.5).abs() <= bound * 0.125**0.5).all()  # Var cos² = 1/8


def test_class_mixture_codes_keep_means_and_covariances(generator):
    z, labels = labelled(9, generator)  # three points a class, where n − 1 is far from n
    drawn = torch.stack([nulls.class_mixture_codes(z, labels, seed=seed) for seed in range(400)])
    for one in range(3):
        rows, codes = z[labels == one], drawn[:, labels == one].flatten(0, 1)
        var = torch.cov(rows.T).diagonal()
        assert ((codes.mean(0) - rows.mean(0)).abs() <= 4 * (var / len(codes)).sqrt() + 1e-14).all()
        # Gaussian: Var of a sample covariance is (c_ij² + c_ii c_jj)/n.
        exact = torch.cov(rows.T)
        error = ((exact.square() + var[:, None] * var) / len(codes)).sqrt()
        assert ((torch.cov(codes.T) - exact).abs() <= 4 * error + 1e-14).all()
    assert torch.equal(drawn[0][:, 3].unique(), torch.tensor([1.0, 2.0], dtype=z.dtype))  # the latent without noise


def test_class_mixture_codes_of_fewer_points_than_latents_stay_in_their_plane(generator):
    z = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    drawn = nulls.class_mixture_codes(z, torch.zeros(3, dtype=torch.int64), seed=1) - z.mean(0)
    plane = torch.linalg.svd(z - z.mean(0)).Vh[:2]
    assert torch.allclose(drawn @ plane.T @ plane, drawn, atol=1e-13)


# The interval


def test_null_interval_holds_a_further_draw_at_its_level():
    # Seeds 0 … 399 of a uniform number, 59 draws each: k = ⌊60·0.1/2⌋ = 3, so 1 − 6/60 = 0.9 exactly.
    def sampler(seed: int) -> torch.Tensor:
        return torch.rand(1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    inside = 0
    for seed in range(400):
        found = nulls.null_interval(torch.sum, sampler, n_null=59, seed=seed, level=0.9)
        inside += found.low <= sampler(10**6 + seed).item() <= found.high
        assert (found.values < found.low).sum() == 2 == (found.values > found.high).sum()
    assert abs(inside / 400 - 0.9) <= 4 * (0.9 * 0.1 / 400) ** 0.5


def test_null_interval_of_thirty_nine_is_all_of_them(generator):
    z, _ = labelled(20, generator)
    found = nulls.null_interval(overlap.susceptibility, partial(nulls.permuted_codes, z), n_null=39, seed=1)
    assert (found.low, found.high) == (found.values.min().item(), found.values.max().item()) and found.level == 0.95
    assert len(found.values.unique()) == 39
    again = nulls.null_interval(overlap.susceptibility, partial(nulls.permuted_codes, z), n_null=39, seed=1)
    assert torch.equal(again.values, found.values)


def test_null_interval_sees_what_is_no_null(generator):
    z = torch.randn(200, 6, generator=generator, dtype=torch.float64) * torch.tensor([3, 1, 1, 1, 1, 1])
    found = nulls.null_interval(overlap.susceptibility, partial(nulls.uniform_codes, 200, 6), n_null=39, seed=1)
    assert overlap.susceptibility(z) > found.high


# What is refused


def test_nulls_refuse_bad_input(generator):
    z, labels = labelled(12, generator)
    with pytest.raises(ValueError, match="got 0 and 4"):
        nulls.uniform_codes(0, 4, seed=1)
    for sampler in (nulls.permuted_codes, nulls.rotated_codes):
        with pytest.raises(ValueError, match="floating-point tensor, got torch.int64"):
            sampler(labels[:, None], seed=1)
    with pytest.raises(ValueError, match="2 or more points a class, got 1 in class 7"):
        nulls.class_mixture_codes(z, torch.where(torch.arange(12) == 0, 7, labels), seed=1)
    with pytest.raises(ValueError, match=r"one a point, \(12,\)"):
        nulls.class_mixture_codes(z, labels[:5], seed=1)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"n_null": 38}, "n_null >= 39, got 38"),
        ({"level": 0.99}, "n_null >= 199, got 39"),
        ({"level": 1.0}, "level between 0 and 1, got 1"),
        ({"statistic": lambda z: math.inf}, "finite statistic, got inf"),
    ],
)
def test_null_interval_refuses_bad_input(change, message):
    arguments = {"statistic": torch.sum, "n_null": 39, "seed": 1} | change
    with pytest.raises(ValueError, match=message):
        nulls.null_interval(arguments.pop("statistic"), partial(nulls.uniform_codes, 2, 2), **arguments)


def test_shuffled_weights_keep_every_tensor_and_leave_the_model():
    model = models.MLPVAE(6, 3, (5,), seed=0).train()
    before = {name: of.clone() for name, of in model.state_dict().items()}
    twin = nulls.shuffled_weights(model, seed=1)
    assert model.training and not twin.training
    assert all(torch.equal(of, before[name]) for name, of in model.state_dict().items())
    for name, of in twin.state_dict().items():
        assert torch.equal(of.flatten().sort().values, before[name].flatten().sort().values)
    moved = [name for name, of in twin.state_dict().items() if not torch.equal(of, before[name])]
    assert {name for name in moved if name.endswith("weight")} == {name for name in before if name.endswith("weight")}
    again = nulls.shuffled_weights(model, seed=1).state_dict()
    assert all(torch.equal(of, again[name]) for name, of in twin.state_dict().items())
