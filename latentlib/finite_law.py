"""Finite data laws of known skewness, kurtosis and curvature: all centred, top variance λ_1 = 1.

The families on which the order of a nonlinear collapse is decided: same covariance, different higher moments.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class FiniteLaw(NamedTuple):
    """A finite data law: points x_i, (n_points, n_features), drawn with weights p_i, (n_points,), Σ p_i = 1."""

    points: Tensor
    weights: Tensor


def bernoulli(p: float) -> FiniteLaw:
    """Bernoulli law of mean 0 and variance 1, P(x > 0) = p: skewness S = (1 − 2p)/√(p(1 − p)), kurtosis 1 + S².

    Raises: ValueError unless 0 < p < 1.
    """
    if not 0 < p < 1:
        raise ValueError(f"p: want 0 < p < 1, got {p}")
    return _law([[-math.sqrt(p / (1 - p))], [math.sqrt((1 - p) / p)]], [1 - p, p])


def three_point(kurtosis: float) -> FiniteLaw:
    """Three-point law on (−√K, 0, √K) with weights 1/2K, 1 − 1/K, 1/2K: mean 0, variance 1, skewness 0, kurtosis K.

    Raises: ValueError unless 1 < kurtosis < ∞ (at 1 the middle point is gone: `bernoulli(0.5)`).
    """
    if not 1 < kurtosis < math.inf:
        raise ValueError(f"kurtosis: want 1 < kurtosis < ∞, got {kurtosis}")
    side = 1 / (2 * kurtosis)
    return _law([[-math.sqrt(kurtosis)], [0.0], [math.sqrt(kurtosis)]], [side, 1 - 2 * side, side])


def uniform(n_points: int = 20) -> FiniteLaw:
    """Uniform law on n equidistant points: mean 0, variance 1, kurtosis 3 − 6(n² + 1)/(5(n² − 1)).

    Raises: ValueError unless n_points is an integer ≥ 2.
    """
    if isinstance(n_points, bool) or not isinstance(n_points, int) or n_points < 2:
        raise ValueError(f"n_points: want an integer ≥ 2, got {n_points!r}")
    points = torch.linspace(-1, 1, n_points, dtype=torch.float64) * math.sqrt(3 * (n_points - 1) / (n_points + 1))
    return FiniteLaw(points[:, None], torch.full((n_points,), 1 / n_points, dtype=torch.float64))


def parabola(second_var: float, base: FiniteLaw | None = None) -> FiniteLaw:
    """Parabola x = (ψ, √c·(ψ² − 1 − Sψ)/√(K − 1 − S²)) over a base law of ψ: covariance diag(1, c).

    Its curvature G = c(K − 1 − S²)/(1 − c), with skewness S and kurtosis K of the base. Default base: `uniform(20)`.
    Raises: ValueError unless 0 < second_var < 1 and the base is one-dimensional, standardized, on three values or more.
    """
    psi, weights = base if base is not None else uniform()
    if not 0 < second_var < 1:
        raise ValueError(f"second_var: want 0 < second_var < 1, got {second_var}")
    if psi.shape[1:] != (1,):
        raise ValueError(f"base: want points (n_points, 1), got {tuple(psi.shape)}")
    mean, var, skew, kurtosis = ((weights @ psi**order).item() for order in (1, 2, 3, 4))
    if not (abs(mean) < 1e-9 and abs(var - 1) < 1e-9 and kurtosis - 1 - skew**2 > 1e-9):
        raise ValueError(f"base: want three values or more, mean 0 and variance 1, got mean {mean}, variance {var}")
    curve = (psi.square() - 1 - skew * psi) / math.sqrt(kurtosis - 1 - skew**2)
    return FiniteLaw(torch.cat([psi, math.sqrt(second_var) * curve], 1), weights)


def _law(points: list, weights: list) -> FiniteLaw:
    return FiniteLaw(torch.tensor(points, dtype=torch.float64), torch.tensor(weights, dtype=torch.float64))
