"""Whether a change along a scan sharpens with the size: the width of a rise, and its power of the size.

A crossover keeps its width, a transition does not: width ~ size^−b, b > 0. For peaks, `edge.peak_or_crossover`.
"""

import torch
from torch import Tensor

QUARTERS = (0.25, 0.75)  # shares of a change between which its width is taken


def rise_width(control: Tensor, curves: Tensor, *, least: float) -> Tensor:
    """Width of a change, the range of control between a quarter and three quarters of y(last) − y(first).

    Where the curve, linear between the controls, first comes so far; a straight line has half the scan, a step between
    two neighbours half their distance. A change of less than `least` is none, and its width the whole scan. Unchanged
    under y → a·y + c, in units of control; falls are rises of −y.
    Args: control, rising, (n_controls ≥ 2,); curves, (…, n_controls), the last dimension along control; least ≥ 0, in
        units of the curves. Returns: (…) float64, at most the scan.
    Raises: ValueError for anything else, or values not finite.
    """
    control, curves = (torch.as_tensor(of, dtype=torch.float64) for of in (control, curves))
    if control.ndim != 1 or len(control) < 2 or not control.isfinite().all() or not (control.diff() > 0).all():
        raise ValueError(f"control: want two or more finite numbers, rising, got {control.tolist()}")
    if curves.ndim < 1 or curves.shape[-1] != len(control) or not curves.isfinite().all():
        raise ValueError(f"curves: want finite values (..., {len(control)}), got {tuple(curves.shape)}")
    if not least >= 0:
        raise ValueError(f"least: want 0 or more, got {least}")
    change = curves[..., -1:] - curves[..., :1]
    enough = change[..., 0].abs() >= max(least, torch.finfo(torch.float64).tiny)
    share = (curves - curves[..., :1]) / torch.where(enough[..., None], change, 1.0)
    first, last = (_reached(control, share, wanted) for wanted in QUARTERS)
    return torch.where(enough, last - first, control[-1] - control[0])


def _reached(control: Tensor, share: Tensor, wanted: float) -> Tensor:
    """Control at which every curve from 0 to 1 first comes to `wanted`, linear between the points."""
    after = (share >= wanted).byte().argmax(-1, keepdim=True).clamp(min=1)
    (near, far), (low, high) = ([of.expand_as(share).gather(-1, after - back) for back in (1, 0)]
                                for of in (control, share))  # fmt: skip
    return (near + (far - near) * (wanted - low) / torch.where(high > low, high - low, 1.0))[..., 0]


def log_slope(size: Tensor, values: Tensor) -> Tensor:
    """Slope of values against ln size by least squares; of values = ln y it is the exponent of y ~ size^a.

    Unweighted, for one repetition at a time: its error is the scatter of repetitions. With errors of the points,
    `finite_size.power_law_fit`.
    Args: size > 0, not all equal, (n_sizes ≥ 2,); values (…, n_sizes). Returns: (…) float64.
    Raises: ValueError for anything else, or values not finite.
    """
    size, values = (torch.as_tensor(of, dtype=torch.float64) for of in (size, values))
    if size.ndim != 1 or not (size > 0).all() or not size.isfinite().all() or len(size.unique()) < 2:
        raise ValueError(f"size: want two or more positive numbers that differ, got {size.tolist()}")
    if values.ndim < 1 or values.shape[-1] != len(size) or not values.isfinite().all():
        raise ValueError(f"values: want finite values (..., {len(size)}), got {tuple(values.shape)}")
    centred = size.log() - size.log().mean()
    return values @ centred / centred.square().sum()
