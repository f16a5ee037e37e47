"""Columns of a matrix of samples: their scale and their covariance, in float64."""

import torch
from torch import Tensor


def standardize(x: Tensor, *, train: Tensor | None = None) -> Tensor:
    """z = (x − mean) / std, column by column, with the mean and maximum-likelihood std of `train` (default: x itself).

    A column that is constant in `train` is centred and not scaled: it stays 0, and adds nothing to a spectrum, where
    dividing by its rounding error would make it noise of variance 1. Args: (n_samples, n_features), finite; uint8 too.
    Returns: float64, same shape. Raises: ValueError for another shape, no samples, or a value that is not finite.
    """
    reference = x if train is None else train
    _check_matrix("x", x)
    _check_matrix("train", reference)
    if x.shape[1] != reference.shape[1]:
        raise ValueError(f"standardize: want {reference.shape[1]} columns as in train, got {x.shape[1]}")
    reference = reference.double()
    std = reference.std(0, correction=0)
    # Exactly constant: the variance of equal numbers is not always 0 in floating point.
    constant = reference.amax(0) == reference.amin(0)
    mean = torch.where(constant, reference[0], reference.mean(0))
    return (x.double() - mean) / torch.where(constant, 1.0, std)


def covariance(x: Tensor, weights: Tensor | None = None) -> Tensor:
    """C = Σ_i w_i (x_i − x̄)(x_i − x̄)ᵀ / Σ_i w_i, x̄ the weighted mean: maximum likelihood, divided by N, not N − 1.

    Args: x, (n_samples, n_features), finite, any real dtype; weights, (n_samples,), non-negative, default 1 each.
    Returns: float64 (n_features, n_features), exactly symmetric. Raises: ValueError for other shapes or values.
    """
    _check_matrix("x", x)
    weights = torch.ones(len(x), dtype=torch.float64, device=x.device) if weights is None else weights.double()
    if weights.shape != (len(x),) or not (weights >= 0).all() or not 0 < weights.sum() < torch.inf:
        raise ValueError(f"covariance: want {len(x)} weights, finite, ≥ 0, not all 0, got shape {tuple(weights.shape)}")
    share = weights / weights.sum()
    # In slices of rows: a float64 copy of all images of a large set would not fit.
    slices = [slice(start, start + 8192) for start in range(0, len(x), 8192)]
    mean = sum(share[rows] @ x[rows].double() for rows in slices)
    total = sum((centred := x[rows].double() - mean).T @ (share[rows, None] * centred) for rows in slices)
    return (total + total.T) / 2


def _check_matrix(name: str, x: Tensor) -> None:
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"{name}: want (n_samples > 0, n_features > 0), got {tuple(x.shape)}")
    if not x.isfinite().all():
        row, column = (~x.isfinite()).nonzero()[0].tolist()
        raise ValueError(f"{name}: want finite values, got {x[row, column]} in row {row}, column {column}")
