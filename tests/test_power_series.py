"""Identities of power series: each ties functions whose recurrences differ."""

import pytest
import torch

from latentlib import _power_series as series

N_TERMS = 9


@pytest.fixture
def x(generator) -> series.Series:
    """Three series at once, around values of both signs, one term zero."""
    terms = list(torch.randn(N_TERMS, 3, generator=generator, dtype=torch.float64))
    return [torch.tensor([-0.7, 0.0, 1.3], dtype=torch.float64), *terms[1:3], None, *terms[4:]]


def close(found: series.Series, expected: series.Series) -> None:
    dense = [torch.stack([torch.zeros(3, dtype=torch.float64) if t is None else t for t in y]) for y in (found, expected)]
    # Terms up to 1e3 from sums of 9 products of such.
    torch.testing.assert_close(dense[0], dense[1], rtol=1e-11, atol=1e-11)


def constant(value: float) -> series.Series:
    return [torch.full((3,), value, dtype=torch.float64), *[None] * (N_TERMS - 1)]


def test_exp_turns_sums_into_products(x):
    close(series.multiply(series.exp(x), series.exp(series.scale(x, -1.0))), constant(1.0))
    close(series.expm1(x), series.shift(series.exp(x), -1.0))


def test_log_inverts_exp(x):
    close(series.log(series.exp(x)), x)
    close(series.log1p(series.expm1(x)), x)


def test_power_adds_exponents(x):
    positive = series.exp(x)
    close(series.multiply(series.power(positive, 0.3), series.power(positive, -1.3)), series.power(positive, -1.0))
    close(series.power(positive, 0.5), series.exp(series.scale(x, 0.5)))
    close(series.power(x, 3), series.multiply(x, series.multiply(x, x)))  # x_0 = 0 among them
    close(series.power(x, 0), constant(1.0))


def test_tanh_and_sigmoid_by_exp(x):
    double = series.exp(series.scale(x, 2.0))
    ratio = series.multiply(series.shift(double, -1.0), series.power(series.shift(double, 1.0), -1.0))
    close(series.tanh(x), ratio)
    close(series.sigmoid(series.scale(x, 2.0)), series.scale(series.shift(ratio, 1.0), 0.5))


def test_softplus_and_log_sigmoid_by_log(x):
    expected = series.scale(series.log(series.shift(series.exp(series.scale(x, 3.0)), 1.0)), 1 / 3)
    close(series.softplus(x, 3.0), expected)
    close(series.log_sigmoid(x), series.log(series.sigmoid(x)))


def test_sine_and_cosine_lie_on_the_circle(x):
    sine, cosine = series.sine_and_cosine(x)
    squares = zip(series.multiply(sine, sine), series.multiply(cosine, cosine), strict=True)
    close([a + b for a, b in squares], constant(1.0))
    double, _ = series.sine_and_cosine(series.scale(x, 2.0))
    close(double, series.scale(series.multiply(sine, cosine), 2.0))


def test_erf_is_the_integral_of_the_bell():
    # x = a + t: term k of erf is D^{k−1} of (2/√π)e^{−x²} over k!, with Hermite polynomials 1, −2a, 4a² − 2.
    a = torch.tensor([-0.7, 0.0, 1.3], dtype=torch.float64)
    found = series.erf([a, torch.ones_like(a), None, None])
    bell = 2 / torch.pi**0.5 * torch.exp(-(a**2))
    close(found, [a.erf(), bell, -a * bell, (4 * a**2 - 2) * bell / 6])


def test_multiply_takes_matrices_and_keeps_zeros(generator):
    a, b = (torch.randn(2, 2, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    found = series.multiply([a[0], a[1], None, None], [b[0], None, b[1], None], torch.matmul)
    expected = [a[0] @ b[0], a[1] @ b[0], a[0] @ b[1], a[1] @ b[1]]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-15, atol=0)
    assert series.multiply([a[0], None], [b[0], None])[1] is None
