"""The semicircle law: against its density, and against matrices that follow it or do not."""

import math

import pytest
import torch
from scipy.integrate import quad

from latentlib.semicircle import semicircle_cdf, semicircle_fit


def goe(n, seed):
    a = torch.randn(n, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.eigvalsh((a + a.T) / math.sqrt(2 * n))  # off-diagonal variance 1/n: radius 2


@pytest.mark.parametrize("eigenvalue", [-1.4, 0.5, 1.0, 2.9])
def test_semicircle_cdf_integrates_the_density(eigenvalue):
    centre, radius = 1.0, 2.5

    def density(y):
        return 2 / (math.pi * radius**2) * math.sqrt(radius**2 - (y - centre) ** 2)

    expected, _ = quad(density, centre - radius, eigenvalue)
    assert semicircle_cdf(eigenvalue, centre, radius) == pytest.approx(expected, abs=1e-10)


def test_semicircle_cdf_ends_at_the_edges():
    x = torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0], dtype=torch.float64)
    assert semicircle_cdf(x, 0.0, 1.0).tolist() == [0, 0, 0.5, 1, 1]


def test_semicircle_fit_of_a_goe_matrix_closes_with_size():
    fits = {n: [semicircle_fit(3.0 * goe(n, seed) - 1.0) for seed in range(8)] for n in (50, 200)}
    gaps = {n: torch.stack([fit.distance for fit in found]).mean() for n, found in fits.items()}
    # Rigid eigenvalues: the gap falls nearly as 1/n, by 4 here; independent ones would gain √4 = 2 alone.
    assert gaps[200] < gaps[50] / 2.5 and gaps[200] < 5 / 200
    # The mean eigenvalue of one matrix has variance 9·2/n², its mean square is 9 up to relative O(1/n).
    assert abs(torch.stack([fit.centre for fit in fits[200]]).mean() + 1) < 4 * 3 * math.sqrt(2 / 8) / 200
    assert abs(torch.stack([fit.radius for fit in fits[200]]).mean() / 6 - 1) < 4 / 200


def test_semicircle_fit_sees_what_is_no_semicircle():
    two_values = torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(50)
    # Moments give radius 2, F(∓1) = 0.1955, 0.8045: the jump from 0 to ½ at −1 leaves ½ − 0.1955.
    assert semicircle_fit(two_values).distance.item() == pytest.approx(0.5 - semicircle_cdf(-1.0, 0.0, 2.0), abs=1e-14)
    assert semicircle_fit(torch.full((4, 7), 2.0)).distance.tolist() == [0.5] * 4
    batch = torch.stack([goe(30, 0), goe(30, 1)])
    assert torch.equal(semicircle_fit(batch.flip(-1)).distance, semicircle_fit(batch).distance)
    assert semicircle_fit(batch).radius.shape == (2,)


@pytest.mark.parametrize("bad", [torch.ones(1), torch.tensor(1.0), torch.tensor([1.0, math.nan])])
def test_semicircle_fit_refuses(bad):
    with pytest.raises(ValueError, match=r"eigenvalues: want finite \(..., n >= 2\), got"):
        semicircle_fit(bad)
