"""Arithmetic of truncated power series Σ_k x_k t^k of tensors: products, and functions by y' = g(y, x)·x'.

A series is the list of its terms, None where one is zero; the first is always there. Order² products for any function.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Series = list[Tensor | None]


def multiply(x: Series, y: Series, product: Callable[[Tensor, Tensor], Tensor] = torch.mul) -> Series:
    """Series of a product, Σ_{i+j=k} x_i y_j, for any bilinear product."""
    return [
        _total([product(a, b) for a, b in zip(x[: k + 1], y[k::-1], strict=True) if a is not None and b is not None])
        for k in range(len(x))
    ]


def scale(x: Series, factor: float | Tensor) -> Series:
    """Series of factor·x, the factor a constant."""
    return [None if term is None else factor * term for term in x]


def shift(x: Series, summand: float | Tensor) -> Series:
    """Series of x + summand, the summand a constant."""
    return [x[0] + summand, *x[1:]]


def power(x: Series, exponent: float) -> Series:
    """Series of x^a: k·x_0·y_k = Σ_{j=1..k} (a·j + j − k)·x_j·y_{k−j}; products for whole a ≥ 0: x_0 may be 0."""
    if exponent == int(exponent) and 0 <= exponent <= 16:
        result: Series = [torch.ones_like(x[0]), *[None] * (len(x) - 1)]
        for _ in range(int(exponent)):
            result = multiply(result, x)
        return result
    y: Series = [x[0] ** exponent]
    for k in range(1, len(x)):
        weighted = [None, *(_times((exponent * j + j - k) / k, x[j]) for j in range(1, k + 1))]
        term = multiply(weighted, [*y, None])[k]
        y.append(None if term is None else term / x[0])
    return y


def exp(x: Series) -> Series:
    """Series of e^x: y' = y x'."""
    return _solve(x, x[0].exp(), lambda y, m: y[m])


def tanh(x: Series) -> Series:
    """Series of tanh x: y' = (1 − y²) x'."""
    return _solve(x, x[0].tanh(), lambda y, m: _minus(None if m else torch.ones_like(x[0]), _square_term(y, m)))


def sigmoid(x: Series) -> Series:
    """Series of 1/(1 + e^{−x}): y' = (y − y²) x'."""
    return _solve(x, x[0].sigmoid(), lambda y, m: _minus(y[m], _square_term(y, m)))


def log(x: Series) -> Series:
    """Series of ln x: y' = x'/x."""
    return _with_slope(x, x[0].log(), power(x, -1.0))


def log1p(x: Series) -> Series:
    """Series of ln(1 + x): y' = x'/(1 + x)."""
    return _with_slope(x, x[0].log1p(), power(shift(x, 1.0), -1.0))


def expm1(x: Series) -> Series:
    """Series of e^x − 1: y' = e^x x'."""
    return _with_slope(x, x[0].expm1(), exp(x))


def erf(x: Series) -> Series:
    """Series of erf x: y' = (2/√π) e^{−x²} x'."""
    return _with_slope(x, x[0].erf(), scale(exp(scale(multiply(x, x), -1.0)), 2 / math.sqrt(math.pi)))


def softplus(x: Series, steepness: float = 1, threshold: float = 20) -> Series:
    """Series of ln(1 + e^{cx})/c, beyond the threshold with the value x of torch, right to e^{−20}."""
    value = torch.nn.functional.softplus(x[0], steepness, threshold)
    return _with_slope(x, value, sigmoid(scale(x, steepness)))


def log_sigmoid(x: Series) -> Series:
    """Series of −ln(1 + e^{−x}): y' = x'/(1 + e^x)."""
    return _with_slope(x, torch.nn.functional.logsigmoid(x[0]), sigmoid(scale(x, -1.0)))


def sine_and_cosine(x: Series) -> tuple[Series, Series]:
    """Series of sin x and cos x: each is the other's slope, up to sign: grown together."""
    sine: Series = [x[0].sin()]
    cosine: Series = [x[0].cos()]
    for k in range(1, len(x)):
        pair = (_integral_term(x, cosine, k), _times(-1.0, _integral_term(x, sine, k)))
        sine.append(pair[0])
        cosine.append(pair[1])
    return sine, cosine


def _solve(x: Series, value: Tensor, slope: Callable[[Series, int], Tensor | None]) -> Series:
    """y with y_0 = value and y' = g·x'; slope(y, m) is g_m, from y_0..y_m."""
    y: Series = [value]
    g: Series = []
    for k in range(1, len(x)):
        g.append(slope(y, k - 1))
        y.append(_integral_term(x, g, k))
    return y


def _with_slope(x: Series, value: Tensor, slope: Series) -> Series:
    return _solve(x, value, lambda y, m: slope[m])


def _integral_term(x: Series, g: Series, k: int) -> Tensor | None:
    """Term k of ∫ g x' dt: Σ_{j=1..k} (j/k)·x_j·g_{k−j}."""
    known = [(j, x[j], g[k - j]) for j in range(1, k + 1)]
    return _total([j / k * a * b for j, a, b in known if a is not None and b is not None])


def _square_term(y: Series, m: int) -> Tensor | None:
    return _total([y[i] * y[m - i] for i in range(m + 1) if y[i] is not None and y[m - i] is not None])


def _total(parts: list[Tensor]) -> Tensor | None:
    return sum(parts[1:], parts[0]) if parts else None


def _times(factor: float, term: Tensor | None) -> Tensor | None:
    return None if term is None else factor * term


def _minus(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return a if b is None else -b if a is None else a - b
