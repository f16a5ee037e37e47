"""Spearman and partial Spearman correlation: exact values, coverage of the interval over groups, every error."""

import math

import pytest
import torch

from latentlib import rank_correlation
from latentlib.rank_correlation import kendall, spearman

DOUBLE = torch.float64


def normal(*shape: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=DOUBLE)


def copula(correlation: float) -> float:
    """Spearman's correlation of a normal pair."""
    return 6 / math.pi * math.asin(correlation / 2)


def test_spearman_is_that_of_scipy_also_with_ties(generator):
    from scipy.stats import spearmanr

    a, b = normal(2, 60, generator=generator)
    for x, y in ((a, b), (a, a + b), ((2 * a).round(), (a + b).round())):
        found = spearman(x, y, n_resamples=99, seed=0)
        assert found.value == pytest.approx(spearmanr(x.numpy(), y.numpy())[0], abs=1e-12)
        assert found.low <= found.value <= found.high and (found.n_samples, found.n_groups) == (60, 60)


def test_spearman_given_one_column_has_the_closed_form(generator):
    a, b, c = normal(3, 40, generator=generator)
    a, b = a + c, (b - c).round()
    ab, ac, bc = (spearman(*pair, n_resamples=99, seed=0).value for pair in ((a, b), (a, c), (b, c)))
    partial = spearman(a, b, given=c, n_resamples=99, seed=0)
    assert partial.value == pytest.approx((ab - ac * bc) / math.sqrt((1 - ac**2) * (1 - bc**2)), abs=1e-12)
    # The same column twice, or any rising map of it, gives no more away.
    assert spearman(a, b, given=torch.stack([c, c.exp()], 1), n_resamples=99, seed=0).value == pytest.approx(
        partial.value, abs=1e-12
    )


def test_spearman_of_rising_maps_is_the_same(generator):
    a, b, c = normal(3, 30, generator=generator)
    found = spearman(a, b, given=c, n_resamples=99, seed=3)
    assert found == spearman(a.exp(), b**3, given=c.tanh(), n_resamples=99, seed=3)
    assert spearman(-a, b, given=c, n_resamples=99, seed=3).value == pytest.approx(-found.value, abs=1e-12)


def test_spearman_of_a_normal_pair_is_that_of_its_copula(generator):
    """Standard error at most 1/√n for ρ = 0.6: 4 of them."""
    a, b, c = normal(3, 40_000, generator=generator)
    pair, tolerance = (a, 0.6 * a + 0.8 * b), 4 / 200
    columns = torch.stack(pair, 1).numpy()
    assert abs(rank_correlation._partial(columns) - copula(0.6)) <= tolerance
    # Correlated through c alone, 1/2 each way: partial (ρ_s(1/2) − ρ_s(√½)²)/(1 − ρ_s(√½)²) on ranks, not quite 0.
    columns = torch.stack([a + c, b + c, c], 1).numpy()
    common = copula(math.sqrt(0.5)) ** 2
    assert abs(rank_correlation._partial(columns) - (copula(0.5) - common) / (1 - common)) <= tolerance


@pytest.mark.parametrize("n_groups, n_rows, correlation, is_partial", [(5, 12, 0.6, False), (12, 4, 0.0, True)])
def test_spearman_interval_covers_over_groups(n_groups, n_rows, correlation, is_partial, generator):
    """Rows of a group share half of their variance: 95 % but for 4 standard errors of 80 trials; over rows, which are
    not independent, less."""
    covered, over_rows = 0, 0
    groups = torch.arange(n_groups).repeat_interleave(n_rows)
    for seed in range(80):
        shared, own = normal(2, n_groups, generator=generator), normal(2, len(groups), generator=generator)
        a, b = (shared[:, groups] + own) / math.sqrt(2)
        b = correlation * a + math.sqrt(1 - correlation**2) * b
        given = normal(len(groups), generator=generator) if is_partial else None
        for labels in (groups, None):
            found = spearman(a, b, given=given, groups=labels, n_resamples=99, seed=seed)
            inside = found.low <= copula(correlation) <= found.high
            covered, over_rows = (covered, over_rows + inside) if labels is None else (covered + inside, over_rows)
    least = 0.95 - 4 * math.sqrt(0.95 * 0.05 / 80)
    assert covered / 80 >= least and over_rows < covered


def test_spearman_resamples_whole_groups(generator):
    """Rows repeated within their group are no news: the interval stays, and one over rows shrinks as 1/√4."""
    a, b = normal(2, 12, generator=generator)
    once = spearman(a, b, n_resamples=199, seed=5)
    labels = [f"seed {k:02d}" for k in range(12) for _ in range(4)]
    often = [of.repeat_interleave(4) for of in (a, b)]
    grouped, rows = spearman(*often, groups=labels, n_resamples=199, seed=5), spearman(*often, n_resamples=199, seed=5)
    assert grouped.n_groups == 12 and grouped.value == pytest.approx(once.value, abs=1e-12)
    assert (grouped.low, grouped.high) == pytest.approx((once.low, once.high), abs=1e-12)
    assert rows.high - rows.low < 0.65 * (grouped.high - grouped.low)


def test_spearman_of_equal_orders_is_one():
    a = torch.arange(8.0)
    found = spearman(a, a.exp(), n_resamples=99, seed=0)
    assert found.value == found.high == 1 and 0.9 < found.low < 1
    assert spearman(a, -a, n_resamples=99, seed=0).value == -1


def test_spearman_is_deterministic_in_seed(generator):
    a, b = normal(2, 20, generator=generator)
    assert spearman(a, b, n_resamples=99, seed=1) == spearman(a.tolist(), b.numpy(), n_resamples=99, seed=1)
    assert spearman(a, b, n_resamples=99, seed=1).low != spearman(a, b, n_resamples=99, seed=2).low
    wide, narrow = (spearman(a, b, level=level, n_resamples=99, seed=1) for level in (0.99, 0.68))
    assert wide.low < narrow.low < narrow.high < wide.high


RISING = torch.arange(6.0)
MIXED = torch.tensor([0.0, 2, 1, 5, 3, 4])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"b": MIXED[:5]}, "want columns of one length"),
        ({"a": RISING[:, None]}, r"given \(n_samples, n_given\)"),
        ({"given": MIXED[:3]}, "want columns of one length"),
        ({"given": torch.rand(6, 3)}, "n_samples >= n_given [+] 4 = 7, got 6"),
        ({"a": torch.where(RISING == 2, math.nan, RISING)}, "a: want finite values, got nan"),
        ({"b": torch.ones(6)}, "b: want columns that vary, got a constant one"),
        ({"given": torch.ones(6)}, "given: want columns that vary"),
        ({"given": RISING.exp()}, "not linear in those of given"),
        ({"groups": [1, 2, 3]}, r"groups: want one label a row, \(6,\), got \(3,\)"),
        ({"groups": [1, 1, 2, 2, 3, 3]}, "groups: want 4 or more"),
        ({"level": 0.0}, "level between 0 and 1"),
        ({"n_resamples": 98}, "n_resamples >= 99"),
    ],
)
def test_spearman_refuses_bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        spearman(**{"a": RISING, "b": MIXED, "n_resamples": 99, "seed": 0} | change)


def test_spearman_refuses_groups_that_leave_no_resample():
    # One row of twelve differs: 11/12 to the twelfth power of the resamples, 35 %, have it not; of two columns, more.
    a, b = torch.zeros(12), torch.zeros(12)
    a[0] = b[1] = 1
    with pytest.raises(ValueError, match="want most resamples to vary in every column"):
        spearman(a, b, n_resamples=999, seed=0)


def test_kendall_is_that_of_scipy_without_ties(generator):
    from scipy.stats import kendalltau

    a, b = normal(2, 3, 20, generator=generator)
    b = b + a
    expected = [kendalltau(x.numpy(), y.numpy())[0] for x, y in zip(a, b)]
    assert kendall(a, b).tolist() == pytest.approx(expected, abs=1e-12)


def test_kendall_of_a_normal_pair_is_the_arcsine_law(generator):
    a, b = normal(2, 1500, generator=generator)
    found = kendall(a, 0.6 * a + 0.8 * b).item()
    assert abs(found - 2 / math.pi * math.asin(0.6)) < 4 * 2 / (3 * 1500**0.5)  # s.e. at most that of independence


def test_kendall_counts_ties_as_nothing_and_compares_what_is_asked():
    a, b = torch.tensor([1.0, 2.0, 3.0, 3.0]), torch.tensor([1.0, 3.0, 2.0, 5.0])
    assert kendall(a, b).item() == pytest.approx((1 + 1 + 1 - 1 + 1 + 0) / 6)
    among = torch.tensor([[True, True, False, True], [True, False, False, False]])
    found = kendall(a, b, among=among)
    assert found[0] == 1 and found[1].isnan()
    assert kendall(a, torch.tensor([1.0, 3.0, math.nan, 5.0]), among=among[0]) == 1


def test_kendall_refuses_what_cannot_be_compared():
    with pytest.raises(ValueError, match="want finite a and b"):
        kendall(torch.tensor([1.0, math.nan]), torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="want finite a and b"):
        kendall(torch.tensor(1.0), torch.tensor(1.0))
