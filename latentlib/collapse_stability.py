"""Where the collapsed state is stable: locally, globally, partially, and under weight decay.

T = β σ_dec² is the price in the units of the data. Locally collapse is stable from T = λ_max on, whatever the decoder;
globally for T ≥ T_sG at the latest.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

N_EXPONENTS = 300  # of either sign, about 3 % apart, for a first look at the maximum
CHUNK = 2**22  # numbers at once: 32 MB

# Global -------------------------------------------------------------------------------------------------------------


def sub_gaussian_proxy(x: Tensor, weights: Tensor | None = None) -> float:
    """Sub-Gaussian variance proxy T_sG = sup_u 2 ln E e^{u(x − Ex)}/u²: from that price on collapse is the optimum.

    In the units of x², never below its variance, which is the limit u → 0. With weights x is a finite law and T_sG is
    exact: the supremum lies within |u| ≤ 2 max|x|/Var x. Without, x is a sample and T_sG that of the sample: always
    finite, it grows with the sample for tails heavier than Gaussian, whose T_sG is infinite, and bounds nothing then.
    Data of several features need the supremum over directions: λ_max ≤ T_c ≤ T_sG.
    Args: x, (n,), a coordinate or a projection; weights > 0 that sum to 1, (n,).
    Raises: ValueError for other shapes, values not finite, weights that are none, or no variance.
    """
    from scipy.optimize import minimize_scalar

    x, weights = _law(x, weights)
    if (x == x[0]).all():
        raise ValueError(f"x: want at least two different values, got {x[0]} alone")
    x = x - weights @ x
    var, reach = (weights @ x.square()).item(), x.abs().max().item()
    x = x / math.sqrt(var)
    end = 2 * reach / math.sqrt(var)
    # Within 1e-3/max|x| of zero the proxy is 1 + Su/3 + (K − 3)u²/12: no maximum but its limit 1, or one farther out.
    positive = torch.logspace(math.log10(2e-3 / end), math.log10(end), N_EXPONENTS, dtype=torch.float64)
    exponents = torch.cat([-positive, positive])
    proxies = torch.cat([_proxy(x, weights, part) for part in exponents.split(max(1, CHUNK // len(x)))])
    best = exponents[proxies.argmax()].item()
    step = (positive[1] / positive[0]).log().item()
    centre = math.log(abs(best))
    polished = minimize_scalar(
        lambda log_size: -_proxy(x, weights, x.new_tensor([math.copysign(math.exp(log_size), best)])).item(),
        bounds=(centre - step, centre + step), method="bounded", options={"xatol": 1e-9},
    )  # fmt: skip
    return var * max(1.0, -float(polished.fun))


def _proxy(x: Tensor, weights: Tensor, exponents: Tensor) -> Tensor:
    """2 ln E e^{ux}/u² of a centred law, without the cancellation at small u and the overflow at large."""
    power = exponents[:, None] * x
    top = power.amax(1)
    small = torch.log1p((torch.expm1(power.clamp_max(1)) - power) @ weights)  # E e^{ux} − 1 = E[e^{ux} − 1 − ux]
    large = top + ((power - top[:, None]).exp() @ weights).log()
    return 2 * torch.where(top < 1, small, large) / exponents.square()


# Local, with part of the latents active -----------------------------------------------------------------------------


class ResidualMode(NamedTuple):
    """What further latents could still code: gain Λ*, and the h(x) that attains it, (n_points,), E h² = 1."""

    gain: float
    function: Tensor


def residual_operator(points: Tensor, joint: Tensor) -> ResidualMode:
    """Gain of one more latent Λ*_A = sup_{E h² = 1} E_{z_A}|Cov(x, h(x)|z_A)|²: it stays collapsed iff T ≥ Λ*_A.

    No active latent (one column): Λ* = λ_max of the covariance. Linear Gaussian case: λ_a for a mode without a latent;
    for one with signal fraction m the linear h gives λ_a(1 − m)² = T²/λ_a, h = He_n gives n m^{n−1} times that, more
    for m > ½ and still below T. Source: transition; sup over all functions of x, on a finite law or a sample.
    Args: points, (n_points, n_features); joint, P(x_i, z_A = z_g), (n_points, n_codes): the codes of the active latents
    on a grid or in cells, rows summing to the points' weights > 0, total 1. Cost n_points²·n_codes·n_features.
    Raises: ValueError for other shapes, values not finite, a joint that is none or a point without weight.
    """
    points, joint = (torch.as_tensor(part, dtype=torch.float64) for part in (points, joint))
    if points.ndim != 2 or joint.ndim != 2 or len(points) != len(joint) or not points.numel():
        found = f"{tuple(points.shape)}, {tuple(joint.shape)}"
        raise ValueError(f"want (n_points, n_features) and (n_points, n_codes), got {found}")
    weights, codes = joint.sum(1), joint.sum(0)
    if not (points.isfinite().all() and (joint >= 0).all() and (weights > 0).all() and abs(weights.sum() - 1) <= 1e-9):
        raise ValueError("want finite points and joint >= 0 of total 1 with weight in every row")
    joint, codes = joint[:, codes > 0], codes[codes > 0]
    share = joint / codes  # P(x_i | z)
    scale = codes.sqrt() / weights.sqrt()[:, None]
    operator = points.new_zeros(len(points), len(points))
    for feature in points.mT:
        part = scale * share * (feature[:, None] - feature @ share)
        operator += part @ part.mT
    values, vectors = torch.linalg.eigh(operator)
    return ResidualMode(values[-1].item(), vectors[:, -1] / weights.sqrt())


class SoftMasses(NamedTuple):
    """Eigenvalues of the second variation in (decoder, encoder), mean channel and ln σ: low ones vanish at Λ = T."""

    mean_low: float
    mean_high: float
    width_low: float
    width_high: float


def soft_masses(gain: float, price: float) -> SoftMasses:
    """Masses of a collapsed latent, m²_μ± = [1 + T ± √((1 − T)² + 4Λ)]/2T, m²_σ± = [1 + 2T ± √((1 − 2T)² + 8Λ)]/2T.

    Mean and width go soft at one price, T = Λ. With the decoder at its best they are 1 − Λ/T and 2(1 − Λ/T).
    Args: gain Λ ≥ 0 of `residual_operator`; price T > 0 in the same units. Source: transition.
    Raises: ValueError for values out of range.
    """
    if not (gain >= 0 and price > 0 and math.isfinite(gain) and math.isfinite(price)):
        raise ValueError(f"want finite gain >= 0 and price > 0, got {gain}, {price}")
    mean = 1 + price + math.sqrt((1 - price) ** 2 + 4 * gain)
    width = 1 + 2 * price + math.sqrt((1 - 2 * price) ** 2 + 8 * gain)
    # The low ones from the product of the two: no cancellation where they vanish.
    soft = (price - gain) / price
    return SoftMasses(2 * soft / mean, mean / (2 * price), 4 * soft / width, width / (2 * price))


# Linear, with weight decay ------------------------------------------------------------------------------------------


def weight_decay_threshold(eigenvalue: float, weight_decay: float) -> float:
    """Price at which the collapsed state of a linear VAE goes soft under weight decay, T_c = s/(1 + l) − l/s.

    s is the mode's *sample* eigenvalue, l as in `equilibrium.loss`, ½E|x − x̂|² + T·KL + (l/2)(|V|² + |W|²). Not
    above zero for s² ≤ l(1 + l): locally stable at every price. Raises: ValueError unless s > 0 and l ≥ 0.
    """
    _check_decay(eigenvalue, weight_decay)
    return eigenvalue / (1 + weight_decay) - weight_decay / eigenvalue


def weight_decay_end(eigenvalue: float, weight_decay: float) -> float:
    """Price where the active branch of a linear VAE ends under weight decay: T_c if continuous, more if first order.

    First order iff s²(1 + 2l) < 2l(1 + l)², without any nonlinearity. An active latent, |W|² = q − T, is a root q > T
    of (T + lq)(sq + l)² = s²(sT + l)q; 0 where there is none at any price.
    Arguments and errors as `weight_decay_threshold`.
    """
    low = max(weight_decay_threshold(eigenvalue, weight_decay), 0.0)
    if not eigenvalue**2 * (1 + 2 * weight_decay) < 2 * weight_decay * (1 + weight_decay) ** 2:
        return low
    high = eigenvalue  # no latent pays beyond, with or without decay
    while high - low > 1e-14 * eigenvalue:
        middle = (low + high) / 2
        low, high = (middle, high) if _has_branch(eigenvalue, weight_decay, middle) else (low, middle)
    return low


def _has_branch(eigenvalue: float, weight_decay: float, price: float) -> bool:
    square = np.polynomial.Polynomial([weight_decay, eigenvalue]) ** 2
    cost = np.polynomial.Polynomial([price, weight_decay]) * square
    gain = np.polynomial.Polynomial([0, eigenvalue**2 * (eigenvalue * price + weight_decay)])
    return any(root.imag == 0 and root.real > price for root in (cost - gain).roots())


def bbp_eigenvalue(signal: float, noise: float, ratio: float) -> float:
    """Top sample eigenvalue s = (ρ + η)(1 + η/(αρ)) of a spike ρ in noise η, or η(1 + 1/√α)² if ρ/η ≤ 1/√α.

    α = n_samples/n_features, both large; below the second case the spike is lost in the noise's edge. Source: Baik, Ben
    Arous and Péché 2005. Raises: ValueError unless signal ≥ 0, noise > 0 and ratio > 0.
    """
    if not (signal >= 0 and noise > 0 and ratio > 0 and all(map(math.isfinite, (signal, noise, ratio)))):
        raise ValueError(f"want finite signal >= 0, noise > 0, ratio > 0, got {signal}, {noise}, {ratio}")
    if signal / noise > 1 / math.sqrt(ratio):
        return (signal + noise) * (1 + noise / (ratio * signal))
    return noise * (1 + 1 / math.sqrt(ratio)) ** 2


def _check_decay(eigenvalue: float, weight_decay: float) -> None:
    if not (eigenvalue > 0 and weight_decay >= 0 and math.isfinite(eigenvalue) and math.isfinite(weight_decay)):
        raise ValueError(f"want finite eigenvalue > 0 and weight_decay >= 0, got {eigenvalue}, {weight_decay}")


def _law(x: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    x = torch.as_tensor(x, dtype=torch.float64)
    weights = torch.full_like(x, 1 / max(x.numel(), 1)) if weights is None else torch.as_tensor(weights).double()
    if x.ndim != 1 or len(x) == 0 or x.shape != weights.shape:
        raise ValueError(f"want x and weights (n > 0,), got {tuple(x.shape)} and {tuple(weights.shape)}")
    if not x.isfinite().all() or not (weights > 0).all() or abs(weights.sum() - 1) > 1e-9:
        raise ValueError("want finite x and weights > 0 that sum to 1")
    return x, weights
