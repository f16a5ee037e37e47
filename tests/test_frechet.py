"""Fréchet distance: closed forms, torchmetrics, singular moments, the limit N → ∞ and its coverage, errors."""

import math

import pytest
import torch

from latentlib import frechet


def sample_with_moments(mean, covariance, n_samples, generator):
    """Rows whose sample mean and covariance (divided by N − 1) are these, to rounding."""
    z = torch.randn(n_samples, len(mean), generator=generator, dtype=torch.float64)
    z = torch.linalg.qr(z - z.mean(0))[0] * math.sqrt(n_samples - 1)  # white: columns orthogonal to 1 and to each other
    eigenvalue, vector = torch.linalg.eigh(covariance)
    return mean + z @ (vector * eigenvalue.clamp(min=0).sqrt()).T


def rotation(n, generator):
    return torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]


def squared_trace_root(covariance_a, covariance_b):
    """tr (S_a^½ S_b S_a^½)^½ by eigenvectors, the definition."""
    eigenvalue, vector = torch.linalg.eigh(covariance_a)
    root = vector * eigenvalue.clamp(min=0).sqrt() @ vector.T
    return torch.linalg.eigvalsh(root @ covariance_b @ root).clamp(min=0).sqrt().sum()


@pytest.mark.parametrize("n_samples", [(40, 25), (400, 11), (12, 200)])
def test_frechet_distance_of_commuting_moments(n_samples, generator):
    """S_a and S_b with one set of axes: |m_a − m_b|² + Σ (√a_k − √b_k)²."""
    d = 6
    shift, axes = torch.randn(d, generator=generator, dtype=torch.float64), rotation(d, generator)
    var_a, var_b = torch.logspace(0, -3, d, dtype=torch.float64), torch.linspace(0.5, 2, d, dtype=torch.float64)
    a = sample_with_moments(shift, axes @ var_a.diag() @ axes.T, n_samples[0], generator)
    b = sample_with_moments(0 * shift, axes @ var_b.diag() @ axes.T, n_samples[1], generator)
    expected = shift.square().sum() + (var_a.sqrt() - var_b.sqrt()).square().sum()
    # Samples have their moments to about n·d roundings, 1e-13.
    assert frechet.frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-11)


def test_frechet_distance_is_the_definition_for_moments_that_do_not_commute(generator):
    a = torch.randn(300, 9, generator=generator, dtype=torch.float64) @ torch.randn(
        9, 9, generator=generator, dtype=torch.float64
    )
    b = torch.randn(200, 9, generator=generator, dtype=torch.float64) + 0.3
    cov_a, cov_b = a.T.cov(), b.T.cov()
    expected = (a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace()
    expected = expected - 2 * squared_trace_root(cov_a, cov_b)
    assert frechet.frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-10)


@pytest.mark.parametrize(("n_samples", "n_features"), [(500, 8), (300, 64), (90, 64)])
def test_frechet_distance_is_that_of_torchmetrics(n_samples, n_features, generator):
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Flat(torch.nn.Module):
        num_features = n_features

        def forward(self, images):
            return images.flatten(1)

    a = torch.rand(n_samples, n_features, generator=generator, dtype=torch.float64)
    b = a[: n_samples - 7].flip(0) ** 2 + 0.1 * torch.rand(1, n_features, generator=generator, dtype=torch.float64)
    metric = FrechetInceptionDistance(Flat()).set_dtype(torch.float64)
    for x, real in ((a, True), (b, False)):
        metric.update(x[:, None, None, :], real=real)
    assert frechet.frechet_distance(a, b) == pytest.approx(metric.compute().item(), rel=1e-6)


def test_frechet_distance_of_fewer_samples_than_features_keeps_the_rank(generator):
    """N < d: all moments lie in N − 1 dimensions, where the same distance is one of full rank."""
    flat = torch.randn(30, 5, generator=generator, dtype=torch.float64)
    other = flat[:11] * torch.linspace(0.2, 2, 5, dtype=torch.float64)
    axes = rotation(40, generator)[:5]
    expected = frechet.frechet_distance(flat, other)
    assert frechet.frechet_distance(flat @ axes, other @ axes) == pytest.approx(expected, rel=1e-11)
    # The same with more rows than features, where Cholesky meets a singular matrix: √ε of a deviation is lost there.
    scale = torch.logspace(0, -3, 5, dtype=torch.float64)
    many, other = flat.repeat(3, 1) * scale, other.repeat(9, 1) * scale
    expected = frechet.frechet_distance(many, other)
    assert frechet.frechet_distance(many @ axes, other @ axes) == pytest.approx(expected, rel=1e-7)


def test_frechet_distance_of_points_and_of_constant_features():
    """Zero covariance is an exact limit: |m_a − m_b|² + tr S_b; features that never fire add nothing."""
    point = torch.ones(5, 3, dtype=torch.float64)
    cloud = torch.tensor([[0.0, 0, 0], [2, 0, 0], [0, 2, 0], [2, 2, 0]], dtype=torch.float64)
    assert frechet.frechet_distance(point, point) == 0
    assert frechet.frechet_distance(point, cloud) == pytest.approx(1 + 2 * 4 / 3, rel=1e-14)
    assert frechet.frechet_distance(cloud, 2 * cloud) == pytest.approx(2 + 2 * 4 / 3, rel=1e-14)  # Σ (√s − 2√s)² = Σ s


def test_frechet_distance_is_symmetric_and_moves_with_units(generator):
    a, b = (torch.randn(n, 7, generator=generator, dtype=torch.float64) for n in (50, 31))
    b, axes = b * 1.5 + 0.2, rotation(7, generator)
    distance = frechet.frechet_distance(a, b)
    for other in (frechet.frechet_distance(b, a), frechet.frechet_distance(a @ axes + 9, b @ axes + 9)):
        assert other == pytest.approx(distance, rel=1e-11)
    assert frechet.frechet_distance(3 * a, 3 * b) == pytest.approx(9 * distance, rel=1e-12)
    assert frechet.frechet_distance(a, a) <= 1e-9 * a.var(0).sum().item()  # the stated rounding


def test_nuclear_norm_takes_singular_values_where_squares_would_lose_them(generator):
    """Half of the deviations at 1e-9 of the largest: their squares are below rounding."""
    small = torch.full((100,), 1e-9, dtype=torch.float64)
    values = torch.cat([torch.ones(100, dtype=torch.float64), small])
    matrix = rotation(200, generator) * values @ rotation(200, generator).T
    found = frechet._nuclear_norm(matrix, torch.tensor(1e-12, dtype=torch.float64))
    # Singular values are right to a few ε·s_max each, √200 of them in quadrature: 1e-14; squares err by 1e-8·100.
    assert abs(found.item() - values.sum().item()) <= 1e-12


def test_extrapolate_frechet_limit_has_no_bias_and_its_interval_covers(generator):
    """Gaussians of known distance, N = 5 d: the plug-in is far off, the limit is not, 95 % intervals hold the truth."""
    d, n_samples, n_repetitions = 8, 40, 150
    var_a, var_b = torch.logspace(0, -2, d, dtype=torch.float64), torch.logspace(-1.5, 0, d, dtype=torch.float64)
    truth = (var_a.sqrt() - var_b.sqrt()).square().sum().item() + d * 0.01

    def draw():
        a, b = (torch.randn(n_samples, d, generator=generator, dtype=torch.float64) for _ in range(2))
        return frechet.extrapolate_frechet(0.1 + a * var_a.sqrt(), b * var_b.sqrt(), seed=0)

    found = [draw() for _ in range(n_repetitions)]
    limit, plug_in = (torch.tensor([getattr(one, name) for one in found]) for name in ("limit", "distance"))
    standard_error = limit.std() / math.sqrt(n_repetitions)
    assert abs(limit.mean() - truth) <= 4 * standard_error
    assert plug_in.mean() - truth >= 8 * standard_error  # so the test above would see a bias half as large
    covered = sum(one.low <= truth <= one.high for one in found) / n_repetitions
    assert abs(covered - 0.95) <= 4 * math.sqrt(0.95 * 0.05 / n_repetitions)  # four s.e. of a share


def test_extrapolate_frechet_of_equal_laws_is_zero_and_wide(generator):
    """The example of the docstring: 24 features, variances 1 … 0.01, 72 samples of one law."""
    std = torch.logspace(0, -1, 24, dtype=torch.float64)
    n_repetitions = 40
    found = []
    for _ in range(n_repetitions):
        a, b = (torch.randn(72, 24, generator=generator, dtype=torch.float64) * std for _ in range(2))
        found.append(frechet.extrapolate_frechet(a, b, seed=1))
    limit = torch.tensor([one.limit for one in found])
    assert abs(limit.mean()) <= 4 * limit.std() / math.sqrt(n_repetitions)
    assert limit.std() == pytest.approx(0.12, abs=4 * 0.12 / math.sqrt(2 * n_repetitions))
    plug_in = torch.tensor([one.distance for one in found])
    assert plug_in.mean() == pytest.approx(0.70, abs=4 * plug_in.std().item() / math.sqrt(n_repetitions))
    covered = sum(one.low <= 0 <= one.high for one in found) / n_repetitions
    assert covered >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / n_repetitions)


def test_extrapolate_frechet_removes_the_bias_of_the_mean_exactly():
    """One feature, two points of mass: of |m_a − m_b|² the jackknife over single points is the unbiased U-statistic."""
    a = torch.tensor([0.0, 1, 2, 5, 7], dtype=torch.float64)[:, None]
    b = torch.zeros(5, 1, dtype=torch.float64)
    found = frechet.extrapolate_frechet(a, b, seed=0, n_groups=5)
    # S_b = 0: d² = m² + s², and m² − s²/N + s² is unbiased, as s² is.
    mean, var = a.mean().item(), a.var().item()
    assert found.distance == pytest.approx(mean**2 + var, rel=1e-13)
    assert found.limit == pytest.approx(mean**2 - var / 5 + var, rel=1e-12)
    assert (found.n_samples, found.n_features) == ((5, 5), 1)


def test_extrapolate_frechet_keeps_pairs_together(generator):
    """Rows that move together narrow the interval: b = a + noise is known far better than two independent samples."""
    a, fresh, noise = (torch.randn(400, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    paired, independent = (frechet.extrapolate_frechet(a, 1 + x + 0.1 * noise, seed=0) for x in (a, fresh))
    # |m_a − m_b|² = 4 has s.e. 4·√(s²/N): s² = 0.01 of the difference of pairs, 2 of independent rows: 14 to 1, and the
    # scale terms narrow less; a third is far from equal (s.d. of a ratio of two half widths with 19 d.f.: 23 %).
    assert paired.high - paired.low <= (independent.high - independent.low) / 3


def test_extrapolate_frechet_far_from_the_origin_loses_no_digits(generator):
    a, b = (torch.randn(60, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    here, there = (frechet.extrapolate_frechet(a + shift, b + shift, seed=0) for shift in (0, 2.0**20))
    # The shift rounds the rows to 2⁻³³; sums of squares about 0 would round to 2⁻¹³.
    assert there.limit == pytest.approx(here.limit, abs=1e-8)
    assert here.distance == pytest.approx(frechet.frechet_distance(a, b), rel=1e-12)
    assert here == frechet.extrapolate_frechet(a, b, seed=0) != frechet.extrapolate_frechet(a, b, seed=1)


def test_frechet_distance_takes_float32_as_float64(generator):
    a, b = (torch.randn(40, 6, generator=generator) for _ in range(2))
    assert frechet.frechet_distance(a, b) == frechet.frechet_distance(a.double(), b.double())


ROWS = torch.arange(40.0).reshape(20, 2).sin()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: frechet.frechet_distance(ROWS[:1], ROWS), r"a: want \(n_samples >= 2, n_latent >= 1\), got \(1, 2\)"),
        (lambda: frechet.frechet_distance(ROWS, ROWS[:, :1]), "a, b: want one n_latent, got 2 and 1"),
        (lambda: frechet.frechet_distance(ROWS, ROWS.double()), "want one dtype"),
        (lambda: frechet.frechet_distance(ROWS, ROWS.log()), "b: want finite values, got -inf in row 0"),
        (lambda: frechet.frechet_distance(ROWS.long(), ROWS), "a: want a floating-point tensor, got torch.int64"),
        (lambda: frechet.extrapolate_frechet(ROWS, ROWS, seed=0, n_groups=4), "want a whole number >= 5, got 4"),
        (
            lambda: frechet.extrapolate_frechet(ROWS, ROWS[:3], seed=0, n_groups=5),
            r"want more than 2 rows \(one a feature\) without one of 5 groups, got 20 and 3 in all",
        ),
        (lambda: frechet.extrapolate_frechet(ROWS, ROWS, seed=0, level=1.0), "want a level between 0 and 1, got 1.0"),
    ],
)
def test_frechet_bad_input_names_wanted_and_found(call, message):
    with pytest.raises(ValueError, match=message):
        call()
