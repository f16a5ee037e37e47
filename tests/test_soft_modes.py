"""Moments of soft modes: exact on finite laws, unbiased and with honest errors on samples."""

import math

import pytest
import torch

from latentlib.finite_law import bernoulli, parabola, three_point
from latentlib.soft_modes import MOMENTS, mode_moments

F64 = torch.float64


def rotation(n, generator):
    return torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=F64))[0]


def test_mode_moments_of_exact_laws():
    found = mode_moments(bernoulli(0.2).points, weights=bernoulli(0.2).weights)
    assert (found.eigenvalue.item(), abs(found.skewness.item()), found.kurtosis.item()) == pytest.approx((1, 1.5, 3.25))
    for second_var, base in ((0.3, 1.8), (0.7, 3.0), (0.22, 4.5)):
        law = parabola(second_var, three_point(base))
        found = mode_moments(law.points, 2, weights=law.weights)
        direct = second_var * (base - 1)  # γ² of x_2 = √c(ψ² − 1)/√(K − 1)
        expected = [1, 0, base, direct / (1 - second_var), direct]
        assert [getattr(found, name)[0].item() for name in MOMENTS] == pytest.approx(expected, abs=1e-12)
        assert found.coupling[0].abs().tolist() == pytest.approx([0, math.sqrt(direct)], abs=1e-12)
        assert found.curvature[1] == 0 and not found.coupling[1].any()  # nothing below the last mode
        assert found.gap.tolist() == pytest.approx([1 - second_var] * 2) and not found.covariance.any()
        assert found.skewness_floor == 0 and found.total_var == pytest.approx(1 + second_var)


def test_mode_moments_do_not_see_rotation_and_scale(generator):
    x = torch.randn(200, 4, generator=generator, dtype=F64).abs() * torch.tensor([2.0, 1.5, 1.0, 0.5], dtype=F64)
    before = mode_moments(x, 3)
    after = mode_moments(5 + 10 * x @ rotation(4, generator), 3)
    for name in MOMENTS[1:]:
        sign = (after.skewness / before.skewness).sign() if name == "skewness" else 1
        torch.testing.assert_close(getattr(after, name), sign * getattr(before, name), rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(after.se(name), before.se(name), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(after.eigenvalue, 100 * before.eigenvalue, rtol=1e-12, atol=0)
    torch.testing.assert_close(after.gap_se, 100 * before.gap_se, rtol=1e-9, atol=0)


def test_mode_moments_of_gaussian_data_are_unbiased_with_the_errors_of_theory(generator):
    """S = 0, K = 3, G = Γ = 0: standard errors √(6/n), √(24/n); a plug-in Γ would be about 2Σ_j λ_j/(nλ_1)."""
    scale = torch.tensor([1.0, *[0.7] * 15], dtype=F64)
    n_samples, n_trials = 600, 60
    found = [mode_moments(torch.randn(n_samples, 16, generator=generator, dtype=F64) * scale) for _ in range(n_trials)]
    plug_in = 2 * 15 * 0.49 / n_samples
    moments = ("skewness", 0, 6), ("kurtosis", 3, 24), ("bare_curvature", 0, None), ("curvature", 0, None)
    for name, expected, se in moments:
        values = torch.cat([getattr(one, name) for one in found])
        mean_se = (values.std() / n_trials**0.5).item()
        bias = 6 / n_samples if name == "kurtosis" else 0  # of a plug-in kurtosis: E K = 3(n − 1)/(n + 1)
        assert abs(values.mean() - expected) <= 4 * mean_se + bias, name
        if se:
            errors = torch.cat([one.se(name) for one in found])
            # √60 errors, each to 13 % by 32 groups and to the fluctuation of the sample; theory is good to 1/n.
            assert errors.mean().item() == pytest.approx(math.sqrt(se / n_samples), rel=0.1)
        if name == "bare_curvature":
            assert mean_se < plug_in / 10  # the correction is what the test sees
    assert found[0].skewness_floor == pytest.approx(0.1)


def test_mode_moments_standard_errors_cover(generator):
    """A sampled law with S, G ≠ 0: pulls of mean 0 and standard deviation 1 for every moment."""
    law = parabola(0.4, bernoulli_mixture())
    exact = mode_moments(law.points, weights=law.weights)
    n_trials, pulls = 80, {name: [] for name in MOMENTS}
    for _ in range(n_trials):
        rows = torch.multinomial(law.weights, 1500, replacement=True, generator=generator)
        found = mode_moments(law.points[rows])
        for name in MOMENTS:
            pulls[name].append(((getattr(found, name) - getattr(exact, name)) / found.se(name)).item())
    for name, values in pulls.items():
        values = torch.tensor(values)
        # Student's t of 31 degrees of freedom: standard deviation 1.03 ± 4/√160; the mean shifts by O(n^{-1/2}), .1.
        assert abs(values.mean()) <= 4 / n_trials**0.5 + 0.1 and abs(values.std() - 1.03) <= 0.33, name


def bernoulli_mixture():
    """Skewed law of mean 0, variance 1 on three points."""
    points, weights = torch.tensor([-1.5, 0.0, 2.0], dtype=F64), torch.tensor([0.3, 0.5, 0.2], dtype=F64)
    points = points - weights @ points
    points = points / (weights @ points.square()).sqrt()
    return type(bernoulli(0.5))(points[:, None], weights)


def test_mode_moments_groups_count_what_belongs_together(generator):
    """Every row ten times: errors over rows are √10 too small, over groups of copies right."""
    rows = torch.randn(400, 3, generator=generator, dtype=F64) * torch.tensor([2.0, 1.0, 0.5], dtype=F64)
    copies = rows.repeat_interleave(10, 0)
    labels = torch.arange(400).repeat_interleave(10) % 32
    once, grouped = mode_moments(rows), mode_moments(copies, groups=labels)
    for name in MOMENTS:
        assert grouped.se(name).item() == pytest.approx(once.se(name).item(), rel=1e-9)
        assert getattr(grouped, name).item() == pytest.approx(getattr(once, name).item(), rel=1e-9, abs=1e-12)
    naive = mode_moments(copies, groups=torch.randperm(4000, generator=generator) % 32)
    assert naive.se("kurtosis") < 0.6 * once.se("kurtosis")


def test_mode_moments_jackknife_of_a_plain_mean(generator):
    """Points ±x: λ is a mean of x², of variance Σ_g m_g(s_g − λ)²/((n − m_g)·n_groups), s_g the mean of group g.

    Its expectation is Var x²/n, whatever the sizes m_g.
    """
    for sizes in ([20] * 12, list(range(2, 62, 4))):
        half = torch.randn(sum(sizes) // 2, generator=generator, dtype=F64)
        x = torch.stack([half, -half], 1).flatten()
        labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        found = mode_moments(x[:, None], groups=labels)
        shares = [(m / (len(x) - m), part.square().mean()) for m, part in zip(sizes, x.split(sizes))]
        var = sum(share * (mean - x.square().mean()) ** 2 for share, mean in shares) / len(sizes)
        assert found.eigenvalue.item() == pytest.approx(x.square().mean().item(), rel=1e-13)
        assert found.se("eigenvalue").item() == pytest.approx(var.sqrt().item(), rel=1e-10)


def test_mode_moments_of_a_constant_feature_and_few_samples(generator):
    x = torch.randn(12, 30, generator=generator, dtype=F64)
    x[:, 3] = 7.0
    assert mode_moments(x, 2).eigenvalue.shape == (2,)
    with pytest.raises(ValueError, match="n_modes: want a whole number in 1 … 11, the modes that have variance"):
        mode_moments(x, 12)
    with pytest.raises(ValueError, match="n_modes: want modes that keep variance without group 0, got 11"):
        mode_moments(x, 11)
    alone = mode_moments(x[:, :1])
    assert alone.gap.item() == math.inf and alone.gap_se == 0 and alone.se("kurtosis") > 0


X = torch.arange(40.0, dtype=F64).view(20, 2) ** 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mode_moments(X[0]), r"x: want finite \(n_samples >= 2, n_features\), got \(2,\)"),
        (lambda: mode_moments(X * math.nan), "x: want finite"),
        (lambda: mode_moments(torch.ones(20, 2)), "n_modes: want a whole number in 1 … 0"),
        (lambda: mode_moments(X, 0), "n_modes: .* got 0"),
        (lambda: mode_moments(X, weights=torch.ones(20)), r"weights: want \(20,\) values > 0 that sum to 1"),
        (lambda: mode_moments(X, weights=torch.ones(3) / 3), r"weights: .* got \(3,\)"),
        (lambda: mode_moments(X, groups=torch.arange(19)), r"groups: want \(20,\) labels, got \(19,\)"),
        (lambda: mode_moments(X, n_groups=4), "at least 10 groups of points for an error, got 4"),
        (lambda: mode_moments(X[:8]), "at least 10 groups .* got 8"),
        (lambda: mode_moments(X).se("gap"), "name: want one of eigenvalue, .* got 'gap'"),
    ],
)
def test_mode_moments_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
