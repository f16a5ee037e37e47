"""Student intervals over repetitions: coverage, exact value, errors."""

import math

import pytest
import torch
from latentlib import interval


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
