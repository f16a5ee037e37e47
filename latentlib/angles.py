"""Hyperspherical angles of latent codes: the coordinates, their cosines, and the moments a loss puts on them.

Angle k sees the axes k..n of a code: S_k = Σ_{j≥k} z_j², cos φ_k = z_k/√S_k, k = 1..n−1. The order of the axes matters.
Source: arXiv:2507.15900. The exact laws of the angles have their home in `angle_law` and are names of this module too.
"""

import math
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from latentlib import _backend
from latentlib.angle_law import (
    angle_spectrum,
    angular_susceptibility,
    direction_spectrum,
    spectrum_from_angles,
    uniform_cos_angle_var,
)
from latentlib.reference import angles as reference

__all__ = [
    "PUBLISHED_EPS", "AngleStatistics", "angle_spectrum", "angle_statistics", "angular_susceptibility", "cos_angles",
    "direction_spectrum", "from_angles", "spectrum_from_angles", "to_angles", "uniform_cos_angle_var",
]  # fmt: skip

PUBLISHED_EPS = 1e-3  # what the authors' code adds to S_k, in units of z²
KERNEL_LATENT_MAX = 8192  # a row of codes has to fit in the registers of one program
LOWER_PRECISION_EPS = 1e-6  # relative, where sums are float32: a tail below it has no angle left to order


def to_angles(z: Tensor, *, log_space: bool = False) -> tuple[Tensor, ...]:
    """Hyperspherical coordinates r = |z|, φ_k = atan2(√S_{k+1}, z_k) for k ≤ n−2, φ_{n−1} = atan2(z_n, z_{n−1}).

    S_k = Σ_{j≥k} z_j². φ_1 … φ_{n−2} in [0, π], φ_{n−1} in [0, 2π), unchanged under z → c·z (c > 0). Where S_k = 0,
    after the last non-zero entry, the angle is 0, with zero gradient, and the way back gives the zeros again. Near
    φ_k = π an angle resolves its tail √S_{k+1} only to rounding of π; log_space=True returns log|sin φ_k| too (−∞ for a
    zero tail), with which `from_angles` restores tails down to r times the smallest normal number. O(n_latent) a row,
    sums float64, differentiable. Source: arXiv:2507.15900.
    Args: z, codes (n_samples, n_latent ≥ 2), floating point.
    Returns: radius (n_samples,), angles (n_samples, n_latent − 1) in radians[, log_sin like angles]; dtype of z.
    Raises: ValueError if the shape is another, there are no samples, or a value is not finite.
    """
    _check_shape("to_angles", z)
    _check_finite("to_angles", z)
    radius, angles, log_sin = reference.to_angles(z)
    angles = _within_half_turns(angles, z)
    return (radius.to(z.dtype), angles, log_sin.to(z.dtype)) if log_space else (radius.to(z.dtype), angles)


def from_angles(radius: Tensor, angles: Tensor, log_sin: Tensor | None = None) -> Tensor:
    """Codes z_k = r Π_{j<k} sin φ_j · cos φ_k, z_n = r Π_j sin φ_j: the inverse of `to_angles`.

    O(n_latent) a row, products float64, differentiable. Source: arXiv:2507.15900.
    Args: radius ≥ 0, (n_samples,); angles, radians, (n_samples, n_latent − 1 ≥ 1): the last in [0, 2π], others in
        [0, π]; log_sin ≤ 0, log|sin φ_k| of `to_angles(…, log_space=True)`, like angles: sines are then taken from it.
    Returns: (n_samples, n_latent), dtype and device of the angles.
    Raises: ValueError for other shapes, dtypes or devices, a value not finite (log_sin may be −∞) or out of range.
    """
    _check_coordinates(radius, angles, log_sin)
    return reference.from_angles(radius, angles, log_sin).to(angles.dtype)


def cos_angles(z: Tensor, *, eps: float | str | None = None) -> Tensor:
    """Cosines of the hyperspherical angles, cos φ_k = z_k/√(S_k + ε²r²) with S_k = Σ_{j≥k} z_j², r² = S_1, k = 1..n−1.

    In [−1, 1], unchanged under z → c·z (c > 0) unless published. Sums are float64, so the default is ε = 0 in every
    dtype: where S_k = 0, after the last non-zero entry of a row, the angle is undefined and the value NaN, with zero
    gradient. O(n_latent) a row, differentiable. Source: arXiv:2507.15900.
    Args: z, codes (n_samples, n_latent ≥ 2), floating point; eps, None for 0, a relative ε ≥ 0, or "published": the
        absolute 1e-3 that the authors' code adds to S_k, which caps how many angles can be ordered.
    Returns: (n_samples, n_latent − 1), dtype and device of z.
    Raises: ValueError if the shape is another, there are no samples, a value is not finite, or eps is something else.
    """
    _check_shape("cos_angles", z)
    _check_finite("cos_angles", z)
    return reference.cos_angles(z, *_floors("cos_angles", eps, 0.0)).to(z.dtype)


@dataclass(frozen=True)
class AngleStatistics:
    """Mean and unbiased variance of cos φ_k over samples: (n_latent − 1,), or (n_classes, n_latent − 1) with labels."""

    mean: Tensor
    var: Tensor

    @property
    def std(self) -> Tensor:
        """√var; its gradient is infinite where var = 0, as for codes that are all alike."""
        return self.var.sqrt()


def angle_statistics(
    z: Tensor,
    *,
    labels: Tensor | None = None,
    n_classes: int | None = None,
    eps: float | str | None = None,
    missing: str = "raise",
    impl: str | None = None,
) -> AngleStatistics:
    """Mean and variance of cos φ_k = z_k/√(S_k + ε²r²) over a batch, or over each class of it, k = 1..n−1.

    One pass over the codes forward and one backward, O(n_latent) a sample, no loop over classes or angles, no wait for
    a GPU: there, bad values stop the device by an assertion, without raising. Sums are float64 for float64 codes, else
    float32. An angle undefined in one sample (S_k = 0 with ε = 0, or a zero row) is NaN in the statistics of its class
    and gives no gradient. Source: arXiv:2507.15900, arXiv:2601.18823 (classes).
    Args: z, codes (n_samples, n_latent ≥ 2), floating point; labels, whole numbers 0 … n_classes − 1, (n_samples,), and
        n_classes, both or none; eps, a relative ε ≥ 0, "published" (absolute 1e-3 on S_k), or None: 0 where sums are
        float64, 1e-6 where they are float32; missing, for a class with fewer than two samples: "raise", or "nan" in its
        variance (and in its mean if it has none), zero gradient; impl, "reference" (differentiable twice), "triton"
        (float32 and half precision, n_latent ≤ 8192), or None: the kernel on a GPU where it can.
    Returns: AngleStatistics, float64 for float64 codes, else float32.
    Raises: ValueError for anything else, a value not finite, or too few samples.
    """
    _check_shape("angle_statistics", z)
    n_groups = _check_classes(z, labels, n_classes, missing)
    relative, absolute = _floors("angle_statistics", eps, 0.0 if z.dtype == torch.float64 else LOWER_PRECISION_EPS)
    module = _implementation(z, impl)
    index = None if labels is None else labels.long()
    if missing == "raise":
        _require_two(z, index, n_groups)
    mean, var = _Moments.apply(z, index, n_groups, relative, absolute, module)
    return AngleStatistics(mean, var) if labels is not None else AngleStatistics(mean[0], var[0])


class _Moments(torch.autograd.Function):
    """Mean and variance of every class with the gradient in closed form, by the module that computes them."""

    @staticmethod
    def forward(ctx, z, labels, n_classes, relative, absolute, module):
        moments = module.angle_moments(z, labels, n_classes, relative, absolute)
        _require(moments.scale.isfinite().all(), "angle_statistics: want finite codes, got NaN or infinity")
        ctx.save_for_backward(z, labels, *moments)
        ctx.options = n_classes, relative, absolute, module, type(moments)
        return moments.mean, moments.var

    @staticmethod
    def backward(ctx, mean_gradient, var_gradient):
        z, labels, *saved = ctx.saved_tensors
        n_classes, relative, absolute, module, record = ctx.options
        moments = record(*saved)
        if torch.is_grad_enabled():  # a gradient of the gradient needs everything as a function of z
            if module is not reference:
                raise RuntimeError("angle_statistics: want impl='reference' for second derivatives, got 'triton'")
            moments = module.angle_moments(z, labels, n_classes, relative, absolute)
        gradient = module.angle_moments_gradient(moments, labels, mean_gradient, var_gradient, relative, absolute)
        return gradient.to(z.dtype), *[None] * 5


def _implementation(z: Tensor, impl: str | None) -> ModuleType:
    fits = z.dtype != torch.float64 and z.shape[1] <= KERNEL_LATENT_MAX
    if not fits:
        if impl == "triton":
            want = f"float32 or half precision codes of n_latent <= {KERNEL_LATENT_MAX}"
            raise ValueError(f"impl='triton' for angles: want {want}, got {z.dtype} {tuple(z.shape)}")
        impl = impl or "reference"
    return _backend.implementation("angles", impl, z)


def _check_coordinates(radius: Tensor, angles: Tensor, log_sin: Tensor | None) -> None:
    given = {"radius": radius, "angles": angles} | ({} if log_sin is None else {"log_sin": log_sin})
    for name, values in given.items():
        if not values.is_floating_point() or (values.dtype, values.device) != (angles.dtype, angles.device):
            raise ValueError(f"from_angles: want one floating dtype and device, got {values.dtype} in {name}")
    if angles.ndim != 2 or 0 in angles.shape or radius.shape != angles.shape[:1]:
        found = f"{tuple(radius.shape)} and {tuple(angles.shape)}"
        want = "radius (n_samples > 0,), angles (n_samples, n_latent - 1 >= 1)"
        raise ValueError(f"from_angles: want {want}, got {found}")
    if log_sin is not None and log_sin.shape != angles.shape:
        raise ValueError(f"from_angles: want log_sin {tuple(angles.shape)} like angles, got {tuple(log_sin.shape)}")
    if not (radius.isfinite() & (radius >= 0)).all():
        raise ValueError("from_angles: want finite radius >= 0, got a value that is negative or not finite")
    rounding = math.pi * (1 + 2 * torch.finfo(angles.dtype).eps)  # π and 2π may have been rounded up
    largest = torch.full_like(angles[0], rounding)
    largest[-1] *= 2
    if not ((angles >= 0) & (angles <= largest)).all():
        raise ValueError("from_angles: want angles in [0, π], the last in [0, 2π], got a value outside or NaN")
    if log_sin is not None and not (log_sin <= 0).all():
        raise ValueError("from_angles: want log_sin <= 0, got a positive value or NaN")


def _floors(caller: str, eps: float | str | None, default: float) -> tuple[float, float]:
    """(relative ε, what is added to S_k) of an option `eps`."""
    if eps is None:
        return default, 0.0
    if eps == "published":
        return 0.0, PUBLISHED_EPS
    if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not 0 <= eps < math.inf:
        raise ValueError(f"{caller}: want eps None, 'published' or a finite number >= 0, got {eps!r}")
    return float(eps), 0.0


def _check_shape(caller: str, z: Tensor) -> None:
    if z.ndim != 2 or len(z) == 0 or z.shape[1] < 2 or not z.is_floating_point():
        raise ValueError(f"{caller}: want floating (n_samples > 0, n_latent >= 2), got {z.dtype} {tuple(z.shape)}")


def _check_finite(caller: str, z: Tensor) -> None:
    if not z.isfinite().all():
        raise ValueError(f"{caller}: want finite codes, got NaN or infinity")


def _require(condition: Tensor, message: str) -> None:
    """ValueError unless the condition holds; on a GPU the device asserts it, so that nobody waits for the answer."""
    if condition.is_cuda:
        torch._assert_async(condition, message)
    elif not condition:
        raise ValueError(message)


def _check_classes(z: Tensor, labels: Tensor | None, n_classes: int | None, missing: str) -> int:
    """The number of groups of samples, after checking what can be known without reading a label."""
    if missing not in ("raise", "nan"):
        raise ValueError(f"angle_statistics: want missing 'raise' or 'nan', got {missing!r}")
    if (labels is None) != (n_classes is None):
        raise ValueError(f"angle_statistics: want labels and n_classes, or neither, got n_classes = {n_classes}")
    if labels is None:
        return 1
    if isinstance(n_classes, bool) or not isinstance(n_classes, int) or n_classes < 1:
        raise ValueError(f"n_classes: want an integer >= 1, got {n_classes!r}")
    kind = getattr(labels, "dtype", None)
    if kind is None or kind.is_floating_point or kind.is_complex or kind == torch.bool:
        raise ValueError(f"labels: want a tensor of whole numbers, got {kind or type(labels).__name__}")
    if labels.shape != z.shape[:1] or labels.device != z.device:
        found = f"{tuple(labels.shape)} on {labels.device}"
        raise ValueError(f"labels: want one a sample, ({len(z)},) on {z.device}, got {found}")
    inside = (labels >= 0).logical_and(labels < n_classes).all()
    _require(inside, f"labels: want classes 0 … {n_classes - 1}, got a label outside")
    return n_classes


def _require_two(z: Tensor, labels: Tensor | None, n_classes: int) -> None:
    if labels is None:
        if len(z) < 2:
            raise ValueError("angle_statistics: want two or more samples for a variance, got 1; or missing='nan'")
        return
    count = labels.new_zeros(n_classes).index_add_(0, labels, torch.ones_like(labels))
    few = "" if count.is_cuda else f"{(count < 2).nonzero().flatten().tolist()[:10]}"
    message = f"angle_statistics: want two or more samples in each of {n_classes} classes, got fewer in {few or 'some'}"
    _require((count >= 2).all(), f"{message}; or missing='nan'")


def _within_half_turns(angles: Tensor, z: Tensor) -> Tensor:
    """Rounded to the dtype of z, so that the last angle stays below 2π and its sine keeps the sign of z_n."""
    step = 2 * torch.finfo(z.dtype).eps  # between numbers in [2, 4); twice that in [4, 8)
    half = math.floor(math.pi / step) * step
    turn = 2 * half if 2 * half < 2 * math.pi else 2 * half - 2 * step
    rounded = angles.to(z.dtype)
    last = rounded[:, -1].detach()
    below = (z[:, -1] < 0) & (last >= half)  # but not where z_n is lost beside z_{n−1} > 0
    kept = torch.where(below, last.clamp(half + step, turn), last.clamp(0.0, half))
    shift = torch.cat([torch.zeros_like(rounded[:, :-1]), (kept - last)[:, None]], 1)
    return rounded + shift.detach()
