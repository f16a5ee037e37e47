"""Hyperspherical angles in plain torch: S_k = Σ_{j≥k} z_j², φ_k from z_k and √S_{k+1}, and the moments of cos φ_k."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

# Squares of float64 numbers below 2⁻⁵¹¹ underflow: entries below 2⁻⁴⁰⁰ of the row's largest are summed apart, enlarged
# by 2⁷⁰⁰. Above 2⁻⁸⁰⁰ a sum of squares misses nothing that its own rounding would keep.
SMALL, ENLARGED, SUM_SMALL = 2.0**-400, 2.0**700, 2.0**-800


class _SuffixNorm(torch.autograd.Function):
    """ρ_k = √Σ_{j≥k} x_j² of rows with max|x| ≤ 1; ∂ρ_k/∂x_j = x_j/ρ_k for j ≥ k, and 0 where ρ_k = 0."""

    generate_vmap_rule = True  # for torch.func

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        near = _suffix_sum(x.square())
        far = _suffix_sum(torch.where(x.abs() < SMALL, x * ENLARGED, 0.0).square())
        return torch.where(near >= SUM_SMALL, near.sqrt(), far.sqrt() / ENLARGED)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        x, norm = ctx.saved_tensors
        share = torch.where(norm > 0, gradient / torch.where(norm > 0, norm, 1.0), 0.0)
        return x * share.cumsum(1)


def _suffix_sum(terms: Tensor) -> Tensor:
    return terms.flip(1).cumsum(1).flip(1)


def row_scale(z: Tensor) -> Tensor:
    """max_k |z_k| of every row, (n_samples, 1), 1 for a row of zeros: a constant to autograd; NaN passes through."""
    z = z.detach()
    largest = torch.maximum(z.amax(1, keepdim=True), -z.amin(1, keepdim=True))
    return torch.where(largest == 0, torch.ones_like(largest), largest)


def suffix_norms(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x = z/scale, ρ_k = √Σ_{j≥k} x_j² and the scale of every row, float64: right over the whole range of floats."""
    scale = row_scale(z).double()
    x = z.double() / scale
    return x, _SuffixNorm.apply(x), scale


def cos_angles(z: Tensor, relative: float, absolute: float) -> Tensor:
    """cos φ_k = z_k/√(S_k + relative²·S_1 + absolute), k < n, float64; NaN with zero gradient where that root is 0."""
    x, norm, scale = suffix_norms(z)
    if relative > 0:
        floor = relative * norm[:, :1]
    else:
        floor = math.sqrt(absolute) / scale
    root = torch.hypot(torch.where(norm > 0, norm, 1.0), floor)
    root = torch.where(norm > 0, root, floor)[:, :-1]
    # The inner where keeps 0·∞ out of the gradient of the undefined ones.
    return torch.where(root > 0, x[:, :-1] / torch.where(root > 0, root, 1.0), math.nan)


def to_angles(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Radius r (N,), angles φ_k and log|sin φ_k| (N, n−1), float64; φ_k = 0 where S_k = 0."""
    x, norm, scale = suffix_norms(z)
    defined = norm[:, :-1] > 0
    safe = torch.where(defined, norm[:, :-1], 1.0)
    tail = torch.cat([norm[:, 1:-1], x[:, -1:]], 1)  # the last angle keeps the sign of x_n
    cosine, sine = torch.where(defined, x[:, :-1] / safe, 1.0), torch.where(defined, tail / safe, 0.0)
    angles = torch.atan2(sine, cosine)
    return norm[:, 0] * scale[:, 0], torch.where(angles < 0, angles + 2 * math.pi, angles), _log_sin(cosine, sine.abs())


def _log_sin(cosine: Tensor, sine: Tensor) -> Tensor:
    """log sin φ to full relative accuracy at both ends; −∞ where sin φ = 0."""
    steep = sine < 0.5
    small = torch.where(steep & (sine > 0), sine, 1.0).log()
    flat = 0.5 * torch.log1p(-torch.where(steep, 0.0, cosine).square())
    return torch.where(steep, torch.where(sine > 0, small, -math.inf), flat)


def from_angles(radius: Tensor, angles: Tensor, log_sin: Tensor | None) -> Tensor:
    """z_k = r Π_{j<k} sin φ_j · cos φ_k, z_n = r Π_j sin φ_j, (n_samples, n), float64."""
    radius, angles = radius.double()[:, None], angles.double()
    if log_sin is None:
        # In float32 π is rounded up, to an angle whose sine is negative.
        before = pad(angles[:, :-1].sin().clamp(min=0).cumprod(1), (1, 0), value=1.0)
        last = angles[:, -1:].sin()
    else:
        log_sin = log_sin.double()
        before = pad(log_sin[:, :-1].cumsum(1).exp(), (1, 0), value=1.0)
        last = torch.where(angles[:, -1:] > math.pi, -1.0, 1.0) * log_sin[:, -1:].exp()
    return radius * torch.cat([before * angles.cos(), before[:, -1:] * last], 1)


class AngleMoments(NamedTuple):
    """What the gradient needs of the moments of cos φ_k: tensors (n_samples, …) of the codes, and of the classes."""

    scale: Tensor  # max_k |z_k|, (n_samples, 1)
    x: Tensor  # z/scale, (n_samples, n)
    inverse: Tensor  # 1/√(S_k + floor) of x, (n_samples, n − 1); 0 where the angle is undefined
    deviation: Tensor  # cos φ_k − its mean over the class, (n_samples, n − 1)
    count: Tensor  # samples in the class, (n_classes, 1)
    mean: Tensor  # of cos φ_k, (n_classes, n − 1)
    var: Tensor  # unbiased, (n_classes, n − 1)


def angle_moments(z: Tensor, labels: Tensor | None, n_classes: int, relative: float, absolute: float) -> AngleMoments:
    """Mean and unbiased variance of cos φ_k = z_k/√(S_k + relative²·S_1 + absolute) over the samples of each class.

    Sums in float64 for float64 codes, else float32. labels None is one class. NaN where a class has too few samples or
    an undefined angle. The scale of a row with a value that is not finite is not finite.
    """
    z = z.to(torch.promote_types(z.dtype, torch.float32))
    scale = row_scale(z)
    x = z / scale
    squares = _suffix_sum(x.square())
    root = squares[:, :-1]
    if absolute > 0:
        root = root + absolute / scale.square()
    elif relative > 0:
        root = root + relative**2 * squares[:, :1]
    undefined = _undefined(root) if absolute == 0 else None
    inverse = (root if undefined is None else root.masked_fill(undefined, math.inf)).rsqrt()
    cosine = x[:, :-1] * inverse
    count = _class_sum(torch.ones_like(scale), labels, n_classes)
    mean = _class_sum(cosine, labels, n_classes) / count
    deviation = cosine - _of_samples(mean, labels)
    var = _class_sum(deviation.square(), labels, n_classes) / (count - 1).clamp(min=0)
    if undefined is not None:
        hidden = _class_sum(undefined.to(x.dtype), labels, n_classes) > 0
        mean, var = mean.masked_fill(hidden, math.nan), var.masked_fill(hidden, math.nan)
    return AngleMoments(scale, x, inverse, deviation, count, mean, var)


def angle_moments_gradient(
    moments: AngleMoments, labels: Tensor | None, mean_gradient: Tensor, var_gradient: Tensor, relative: float,
    absolute: float,
) -> Tensor:
    """Gradient with respect to z, given those of mean and variance, (n_classes, n − 1) each.

    With a_k that of cos φ_k, D_k its denominator (`absolute` has entered it) and W_j = Σ_{k≤j} a_k z_k/D_k³:
    a_j/D_j − z_j·(W_j + relative²·W_{n−1}).
    """
    scale, x, inverse, deviation, count = moments[:5]
    spread = torch.where(count > 1, 2 / (count - 1), 0.0)  # one sample: its deviation is 0, and 0·∞ no gradient
    of_mean, of_var = _of_samples(mean_gradient / count, labels), _of_samples(var_gradient * spread, labels)
    direct = torch.addcmul(of_mean, of_var, deviation) * inverse
    head = (direct * x[:, :-1] * inverse.square()).cumsum(1)
    if relative > 0:
        head = head + relative**2 * head[:, -1:]
    last = x[:, -1:] * head[:, -1:]
    return torch.cat([direct - x[:, :-1] * head, -last], 1) / scale


def _undefined(root: Tensor) -> Tensor | None:
    """Where a root is under the smallest normal number, and has no digits left.

    It falls along a row, so on a CPU the last column tells whether any is; a GPU is not asked.
    """
    smallest = torch.finfo(root.dtype).tiny
    if not root.is_cuda and not (root[:, -1] < smallest).any():
        return None
    return root < smallest


def _class_sum(values: Tensor, labels: Tensor | None, n_classes: int) -> Tensor:
    if labels is None:
        return values.sum(0, keepdim=True)
    return values.new_zeros(n_classes, values.shape[1]).index_add(0, labels, values)


def _of_samples(values: Tensor, labels: Tensor | None) -> Tensor:
    return values if labels is None else values.index_select(0, labels)
