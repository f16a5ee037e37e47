"""Field-only nulls, order without a glass: the von Mises–Fisher law on the sphere and its nested cousin.

Directions s of unit length with density ∝ e^{κ s_1}: H = −field·σ alone, κ = n·b, b field times inverse temperature.
One field then orders one angle; the nested model ∝ Π_k e^{κ_k cos φ_k} orders each of the n−1 angles by a field of its
own. Nothing in either is a transition: whatever is claimed of codes beyond them must stand out against them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentlib._closed_form import closed_form
from latentlib._wood import turned, wood_cosines

KAPPA_LIMIT = 1e7  # beyond, the law is a point to 7 digits and the recurrence needs 10⁵ steps
N_NODES = 96  # Gauss–Legendre nodes of vmf_log_partition: 1e-14 up to KAPPA_LIMIT
RATIO_TOLERANCE, VAR_TOLERANCE = 1e-15, 1e-11  # relative distance of the two bounds where the recurrence may start


@closed_form
def vmf_order(kappa: Tensor, n_latent: Tensor) -> Tensor:
    """Order of the field, m = E cos φ_1 = A_n(κ) = I_{n/2}(κ)/I_{n/2−1}(κ), of directions with density ∝ e^{κ cos φ_1}.

    In (−1, 1), odd in κ; n = 1 gives tanh κ, n = 3 coth κ − 1/κ, n → ∞ at κ = n·b `vmf_order_limit(b)`. Relative error
    1e-14, n to 10⁵ and beyond. Source: Mardia and Jupp, Directional Statistics, section 9.3.
    Args: kappa, |κ| ≤ 10⁷, and n_latent ≥ 1, numbers or floating tensors that broadcast. Computed in float64.
    Raises: TypeError for other types, ValueError for values out of range.
    """
    kappa, n_latent = _checked(kappa, n_latent)
    return kappa * _ratio_and_var(kappa, n_latent)[0]


@closed_form
def vmf_order_limit(reduced_field: Tensor) -> Tensor:
    """Order at large n and κ = n·b, m = (√(1 + 4b²) − 1)/(2b), b field times inverse temperature; m²/(1 − m²)² = b².

    Args: reduced_field b, a number or a floating tensor. Raises: TypeError for other types.
    """
    return 2 * reduced_field / (1 + (1 + 4 * reduced_field.square()).sqrt())


@closed_form
def vmf_kappa(order: Tensor, n_latent: Tensor) -> Tensor:
    """The field of a given order, κ with A_n(κ) = m: the inverse of `vmf_order`, to its rounding.

    A_n is concave for κ > 0, so Newton's steps rise to the root from below after the first.
    Args: order m, n_latent ≥ 1, numbers or floating tensors. Raises: TypeError, or ValueError for n_latent < 1 or an
    order of which |κ| exceeds 10⁷.
    """
    order, n_latent = _float64(order, n_latent)
    _check_dimension(n_latent)
    size = order.abs()
    kappa = size * (n_latent - size.square()) / (1 - size.square())  # right at both ends
    fits = (size < 1) & (kappa <= KAPPA_LIMIT)
    if not fits.all():
        found = _first(order, fits)
        raise ValueError(f"order: want |m| < 1, of a field within ±{KAPPA_LIMIT:g}, got {found:.17g}")
    for _ in range(100):
        ratio, var = _ratio_and_var(kappa, n_latent)
        step = (size - kappa * ratio) / var
        kappa = (kappa + step).maximum(n_latent * size)  # A_n(κ) ≤ κ/n
        if (step.abs() <= 1e-14 * kappa + 4 * torch.finfo(torch.float64).eps / var).all():
            break
    return kappa.copysign(order)


@closed_form
def vmf_susceptibility(kappa: Tensor, n_latent: Tensor) -> Tensor:
    """Overlap susceptibility of a field, χ = n·Var q = n[(A² + V)² + (n−1)(A/κ)² − A⁴], V = dA/dκ = Var cos φ_1.

    1 at κ = 0, falling in |κ|: a field alone gives no peak. n → ∞: `vmf_susceptibility_limit`. Relative
    error 1e-15·max(1, |κ|/n).
    Args and errors as `vmf_order`.
    """
    kappa, n_latent = _checked(kappa, n_latent)
    ratio, var = _ratio_and_var(kappa, n_latent)
    mean_square = (kappa * ratio).square()
    return n_latent * (2 * mean_square * var + var.square() + (n_latent - 1) * ratio.square())


@closed_form
def vmf_susceptibility_limit(reduced_field: Tensor) -> Tensor:
    """Susceptibility at large n and κ = n·b, χ = (1 − q)²(1 + 3q)/(1 + q), q = m² of `vmf_order_limit`: from 1 to 0.

    Args: reduced_field b, a number or a floating tensor. Raises: TypeError for other types.
    """
    q = vmf_order_limit(reduced_field).square()
    return (1 - q).square() * (1 + 3 * q) / (1 + q)


@closed_form
def vmf_log_partition(kappa: Tensor, n_latent: Tensor) -> Tensor:
    """Log partition ln E e^{κ s_1} = ln[Γ(n/2)(2/κ)^{n/2−1} I_{n/2−1}(κ)] over the uniform sphere: ∫_0^κ A_n.

    Even in κ, 0 at κ = 0, in nats. κ·A_n − it is the relative entropy of the law to the uniform one, one angle's price.
    Args and errors as `vmf_order`.
    """
    kappa, n_latent = _checked(kappa, n_latent)
    # At κ' = (n/2) sinh u the ratio A_n is close to tanh(u/2), and analytic up to |Im u| of about π/2.
    node, weight = (kappa.new_tensor(part) for part in np.polynomial.legendre.leggauss(N_NODES))
    end = torch.asinh(2 * kappa / n_latent)[..., None]
    u, scale = (1 + node) * end / 2, n_latent[..., None] / 2
    inner = scale * u.sinh()
    integrand = inner * _ratio_and_var(inner, n_latent[..., None].expand_as(inner))[0] * scale * u.cosh()
    return (weight * integrand).sum(-1) * end[..., 0] / 2


def sample_vmf(kappa: float, n_latent: int, n_samples: int, *, seed: int, mean: Tensor | None = None) -> Tensor:
    """Independent unit vectors of density ∝ e^{κ s·mean}, (n_samples, n_latent) float64, without a Markov chain.

    The cosine by Wood's rejection (1994), at any κ and n; the rest uniform around it.
    Args: kappa, |κ| ≤ 10⁷; n_latent ≥ 2; mean, the direction of the field, (n_latent,), any positive length; None: the
    first axis. Raises: ValueError for values out of range or a mean that is no direction.
    """
    _check_sizes(n_latent, n_samples)
    _checked(torch.tensor(float(kappa), dtype=torch.float64), torch.tensor(float(n_latent)))
    rng = np.random.default_rng(seed)
    cosine, sine = wood_cosines(kappa, n_latent, n_samples, rng)
    tangent = torch.from_numpy(rng.standard_normal((n_samples, n_latent - 1)))
    tangent = tangent / torch.linalg.vector_norm(tangent, dim=1, keepdim=True)
    s = torch.cat([torch.from_numpy(cosine)[:, None], torch.from_numpy(sine)[:, None] * tangent], 1)
    return s if mean is None else turned(s, mean)


@dataclass(frozen=True)
class NestedField:
    """What the nested field model predicts: for every angle `cos_mean` m_k and `cos_var` v_k, and q_mean, chi."""

    cos_mean: Tensor  # (n_latent − 1,) float64
    cos_var: Tensor  # (n_latent − 1,)
    q_mean: float
    chi: float


def nested_field(kappa: Tensor) -> NestedField:
    """Nested field model, p ∝ Π_k e^{κ_k cos φ_k} sin^{n−1−k} φ_k: m_k = A_M(κ_k), v_k = A_M′(κ_k), M = n − k + 1.

    The exactly solvable stand-in for compression: the angles are independent, and angle k orders at κ_k ~ n − k, a
    sequence of smooth crossovers. ⟨q⟩ = |E s|² and χ = n(‖E ssᵀ‖² − |E s|⁴). For given m_k take
    κ_k = vmf_kappa(m_k, n − k + 1): its v_k and χ are then predictions. k = n − 1 is the angle of a circle.
    Args: kappa, one field an angle, (n_latent − 1 ≥ 1,), |κ_k| ≤ 10⁷.
    Raises: ValueError for another shape or values out of range.
    """
    kappa, dimension = _nested_fields(kappa)
    n_latent = len(kappa) + 1
    ratio, var = _ratio_and_var(kappa, dimension)
    mean = kappa * ratio
    sine, cosine_sine = _sines(kappa, dimension)
    one = kappa.new_ones(1)
    # Axis k is cos φ_k Π_{j<k} sin φ_j; the last is Π sin φ_j, whose last sine has both signs.
    before = torch.cat([one, ((dimension - 1) * ratio).cumprod(0)])  # E Π_{j<k} sin² φ_j
    diagonal = before * torch.cat([mean.square() + var, one])
    first = mean * torch.cat([one, sine.cumprod(0)[:-1]])
    # C_kl, k < l < n: E Π_{j<k} sin²φ_j · E cos φ_k sin φ_k · E Π_{k<j<l} sin φ_j · m_l; Σ_l of squares from the end.
    off_diagonal = tail = kappa.new_zeros(())
    for k in reversed(range(n_latent - 1)):
        off_diagonal = off_diagonal + (before[k] * cosine_sine[k]).square() * tail
        tail = mean[k].square() + sine[k].square() * tail
    square = diagonal.square().sum() + 2 * off_diagonal
    q_mean = first.square().sum()
    return NestedField(mean, var, q_mean.item(), (n_latent * (square - q_mean.square())).item())


def sample_nested_field(kappa: Tensor, n_samples: int, *, seed: int) -> Tensor:
    """Independent unit vectors of the nested field model of `nested_field`, (n_samples, n_latent) float64.

    Args: kappa, one field an angle, (n_latent − 1,). Raises: ValueError for another shape or values out of range.
    """
    kappa, dimension = _nested_fields(kappa)
    _check_sizes(len(kappa) + 1, n_samples)
    rng = np.random.default_rng(seed)
    s = np.ones((n_samples, len(kappa) + 1))
    for k, (strength, size) in enumerate(zip(kappa.tolist(), dimension.tolist(), strict=True)):
        cosine, sine = wood_cosines(strength, size, n_samples, rng)
        s[:, k] *= cosine
        s[:, k + 1 :] *= sine[:, None]
    s[:, -1] *= rng.choice([-1.0, 1.0], n_samples)
    return torch.from_numpy(s)


def _ratio_and_var(kappa: Tensor, dimension: Tensor) -> tuple[Tensor, Tensor]:
    """A_n(κ)/κ and V = A_n′(κ), by 1/(A_n/κ) = n + κ²·A_{n+2}/κ and its derivative, from a dimension where bounds meet.

    Each step shrinks the error of the start by A². Both recurrences add positive numbers or end far from zero.
    """
    n_steps = 16
    while True:
        low, high = (_descend(kappa, dimension, n_steps, shift) for shift in (1.0, -1.0))
        apart = [((a - b).abs() / a).max().item() if a.numel() else 0.0 for a, b in zip(low, high, strict=True)]
        if not (apart[0] > RATIO_TOLERANCE or apart[1] > VAR_TOLERANCE):
            return low
        n_steps *= 2


def _descend(kappa: Tensor, dimension: Tensor, n_steps: int, shift: float) -> tuple[Tensor, Tensor]:
    """From Amos' bound A_N ≷ 2κ/(N − 1 + √(4κ² + (N + 1)(N ± 1))), N = n + 2·n_steps, down to n."""
    top = dimension + 2 * n_steps
    root = (4 * kappa.square() + (top + 1) * (top + shift)).sqrt()
    ratio = 2 / (top - 1 + root)
    var = ratio * ((top - 1) * root + (top + 1) * (top + shift)) / (root * (top - 1 + root))
    for step in reversed(range(n_steps)):
        here = dimension + 2 * step
        ratio = 1 / (here + kappa.square() * ratio)
        var = ratio.square() * (here - kappa.square() * var)
    return ratio, var


def _sines(kappa: Tensor, dimension: Tensor) -> tuple[Tensor, Tensor]:
    """E sin φ and E cos φ sin φ at density ∝ e^{κ cos φ} sin^{M−2} φ: one sine more is one dimension more."""
    log_norm = torch.lgamma(dimension / 2) - torch.lgamma((dimension - 1) / 2)  # without a constant
    log_norm = log_norm + torch.lgamma(dimension / 2) - torch.lgamma((dimension + 1) / 2)
    log_sine = log_norm + vmf_log_partition(kappa, dimension + 1) - vmf_log_partition(kappa, dimension)
    sine = log_sine.exp()
    return sine, sine * kappa * _ratio_and_var(kappa, dimension + 1)[0]


def _nested_fields(kappa: Tensor) -> tuple[Tensor, Tensor]:
    if not isinstance(kappa, Tensor) or kappa.ndim != 1 or len(kappa) == 0 or not kappa.is_floating_point():
        found = f"{kappa.dtype} {tuple(kappa.shape)}" if isinstance(kappa, Tensor) else type(kappa).__name__
        raise ValueError(f"kappa: want floating (n_latent - 1 >= 1,), got {found}")
    kappa = kappa.detach().to("cpu", torch.float64)
    return _checked(kappa, torch.arange(len(kappa) + 1, 1, -1, dtype=torch.float64))


def _checked(kappa: Tensor, n_latent: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64, of one shape, in range."""
    kappa, n_latent = _float64(kappa, n_latent)
    if not (kappa.abs() <= KAPPA_LIMIT).all():  # NaN is not
        found = _first(kappa, kappa.abs() <= KAPPA_LIMIT)
        raise ValueError(f"kappa: want values within ±{KAPPA_LIMIT:g}, got {found:g}")
    _check_dimension(n_latent)
    return kappa, n_latent


def _check_dimension(n_latent: Tensor) -> None:
    fits = (n_latent >= 1) & n_latent.isfinite()
    if not fits.all():
        raise ValueError(f"n_latent: want finite values >= 1, got {_first(n_latent, fits):g}")


def _float64(values: Tensor, n_latent: Tensor | float) -> tuple[Tensor, Tensor]:
    """Both in float64, of one shape; n_latent may come by keyword, as a plain number."""
    n_latent = torch.as_tensor(n_latent, dtype=torch.float64, device=values.device)
    return torch.broadcast_tensors(values.double(), n_latent)


def _first(values: Tensor, good: Tensor) -> float:
    return values[~good].flatten()[0].item()


def _check_sizes(n_latent: int, n_samples: int) -> None:
    if not isinstance(n_latent, int) or n_latent < 2:
        raise ValueError(f"n_latent: want a whole number >= 2, got {n_latent!r}")
    if not isinstance(n_samples, int) or n_samples < 1:
        raise ValueError(f"n_samples: want a whole number >= 1, got {n_samples!r}")
