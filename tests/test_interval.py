"""Student intervals over repetitions, bootstrap intervals over points: coverage, exact values, errors."""

import math

import numpy as np
import pytest
import torch

from latentlib import angles, interval, overlap


def test_mean_interval_covers_at_its_level(generator):
    values = torch.randn(4, 20_000, generator=generator, dtype=torch.float64)
    _, low, high = interval.mean_interval(values)
    covered = ((low <= 0) & (0 <= high)).double().mean().item()
    assert abs(covered - 0.95) <= 4 * math.sqrt(0.95 * 0.05 / 20_000)


def test_mean_interval_of_two_is_the_cauchy_quantile():
    mean, low, high = interval.mean_interval(torch.tensor([1.0, 3.0]))
    # t with one degree of freedom is Cauchy: its 97.5 % quantile is tan(0.475 π); s/√2 = 1.
    assert mean == 2 and (high - mean).item() == pytest.approx(math.tan(0.475 * math.pi), rel=1e-9)
    assert (mean - low).item() == pytest.approx((high - mean).item(), rel=1e-12)


@pytest.mark.parametrize(
    "values, level, message",
    [
        (torch.ones(1, 3), 0.95, r"got \(1, 3\): one run"),
        (torch.tensor(1.0), 0.95, "n_repetitions >= 2"),
        (torch.tensor([1.0, float("nan")]), 0.95, "finite"),
        (torch.ones(3), 1.0, "level"),
    ],
)
def test_mean_interval_refuses_bad_input(values, level, message):
    with pytest.raises(ValueError, match=message):
        interval.mean_interval(values, level)


# The bootstrap over points


def pair_moments(z: torch.Tensor) -> torch.Tensor:
    found = overlap.overlap_moments(z)
    return torch.tensor([found.q_mean, found.chi], dtype=torch.float64)


def coverage(draw, truth, statistic, n_repetitions: int, **options) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Share of intervals that hold the truth; the estimates and the half widths, (n_repetitions, …)."""
    found = [interval.bootstrap_interval(statistic, draw(), seed=seed, **options) for seed in range(n_repetitions)]
    estimate, low, high = (torch.stack(ends) for ends in zip(*found))
    return ((low <= truth) & (truth <= high)).double().mean(0), estimate, (high - low) / 2


def test_bootstrap_interval_covers_on_the_uniform_sphere(generator):
    truth = torch.tensor([0.0, 1.0])  # ⟨q⟩ and χ, both exact

    def draw():
        return torch.randn(32, 24, generator=generator, dtype=torch.float64)

    covered, estimate, half = coverage(draw, truth, pair_moments, 200, n_resamples=99, method="halves")
    # 0.95 within three s.e. of a share of 200, rounded outwards: 0.046.
    assert ((covered >= 0.90) & (covered <= 0.99)).all(), covered
    # The width is the spread, t_31 = 2.04 of it: the jackknife alone would be √2 too wide, halves √3. The spread is
    # known to 1/√400 = 5 %, the mean width within the 6 % that the bound V_J/2 ≤ V cuts off: 4 s.e. and 6 %.
    ratio = half.square().mean(0).sqrt() / (2.0395 * estimate.std(0))
    assert ((ratio - 1).abs() <= 0.26).all(), ratio


def test_bootstrap_interval_covers_where_points_differ(generator):
    variance = torch.tensor([4, 1, 1, 0.25], dtype=torch.float64)
    truth = angles.angular_susceptibility(variance)  # χ of centred Gaussian codes, by quadrature

    def draw():
        return torch.randn(80, 4, generator=generator, dtype=torch.float64) * variance.sqrt()

    covered, _, _ = coverage(draw, truth, overlap.susceptibility, 60, n_resamples=99, method="halves")
    assert covered >= 0.866  # 0.95 − 3 s.e. of a share of 60


def test_bootstrap_interval_of_a_mean_is_the_jackknife(generator):
    x = torch.rand(31, 2, generator=generator, dtype=torch.float64).log()
    _, exact_low, exact_high = interval.mean_interval(x)
    for seed in range(3):
        options = {"seed": seed, "n_resamples": 4000, "method": "halves"}
        mean, low, high = interval.bootstrap_interval(lambda rows: rows.mean(0), x, **options)
        # V_H − V_J of a mean is noise, √(2/4000) = 2.2 % of V, over k_H − l·k_J ≈ 1: four of these on V, half on √V.
        # It can only narrow the interval: V ≤ V_J.
        assert torch.allclose(mean, x.mean(0), rtol=1e-14) and torch.allclose(low + high, 2 * mean, rtol=1e-12)
        assert torch.allclose(high - low, exact_high - exact_low, rtol=0.045)
        assert (high - low <= (exact_high - exact_low) * (1 + 1e-12)).all()


def test_bootstrap_interval_rows_is_the_bca_of_scipy(generator):
    from scipy.stats import bootstrap

    x = -torch.rand(15, generator=generator, dtype=torch.float64).log()
    n_resamples = 4000
    mean, low, high = interval.bootstrap_interval(torch.mean, x, seed=1, n_resamples=n_resamples, method="rows")
    known = bootstrap((x.numpy(),), np.mean, n_resamples=n_resamples, random_state=1, method="BCa")
    # A resampled 2.5 % quantile is known to 2.7/√4000 = 0.042 s.e., the bias z₀ moves it by 2·1.25/√4000 = 0.040 more:
    # four times their root sum square for the difference of two; skewness moves the upper end by 0.5 s.e.
    tolerance = 4 * math.hypot(0.042, 0.040) * 2**0.5 * known.standard_error
    assert (low.item(), high.item()) == pytest.approx(tuple(known.confidence_interval), abs=tolerance)
    assert high - mean > mean - low  # the long tail of the exponential


def test_bootstrap_interval_rows_covers_a_skewed_mean(generator):
    def draw():
        return -torch.rand(60, generator=generator, dtype=torch.float64).log()

    covered, _, _ = coverage(draw, 1.0, torch.mean, 200, n_resamples=299, method="rows")
    assert 0.90 <= covered <= 0.99


def test_bootstrap_interval_resamples_samples_together(generator):
    x = torch.randn(40, generator=generator, dtype=torch.float64)

    def difference(a, b):
        return (a - b).mean()  # 1 on every resample only if the rows stay paired

    for method in ("rows", "halves"):
        found = interval.bootstrap_interval(difference, x + 1, x, seed=3, method=method)
        assert torch.stack(found) == pytest.approx(torch.ones(3), abs=1e-14)


def test_bootstrap_interval_is_its_seed(generator):
    z = torch.randn(20, generator=generator, dtype=torch.float64)
    for method in ("rows", "halves"):
        first, again, other = (
            interval.bootstrap_interval(torch.median, z, seed=seed, n_resamples=99, method=method) for seed in (1, 1, 2)
        )
        assert first == again and first[0] == other[0]
        assert method == "halves" or first != other  # the width of halves may be at its bound for both


def test_bootstrap_interval_rows_refuses_pairs(generator):
    # n·E q² with 40 points drawn twice here and there: q = 1 of a point with itself lifts every resample.
    z = torch.randn(40, 64, generator=generator, dtype=torch.float64)
    with pytest.raises(ValueError, match='got one: take method="halves"'):
        interval.bootstrap_interval(lambda rows: overlap.overlap_moments(rows).q_square, z, seed=1, method="rows")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"samples": (torch.ones(12), torch.ones(11))}, r"as many rows each, 10 or more, got rows \[12, 11\]"),
        ({"samples": ()}, "10 or more"),
        ({"samples": (torch.ones(9),)}, r"got rows \[9\]"),
        ({"level": 0.0}, "level between 0 and 1, got 0"),
        ({"n_resamples": 98}, "99 or more, got 98"),
        ({"method": "bag"}, "'rows' or 'halves', got 'bag'"),
        ({"statistic": lambda *rows: math.nan}, "finite values, got nan on 12 rows"),
    ],
)
def test_bootstrap_interval_refuses_bad_input(change, message):
    arguments = {"statistic": torch.mean, "samples": (torch.arange(12.0),), "seed": 1, "method": "rows"} | change
    with pytest.raises(ValueError, match=message):
        interval.bootstrap_interval(arguments.pop("statistic"), *arguments.pop("samples"), **arguments)
