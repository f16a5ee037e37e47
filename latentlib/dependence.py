"""Linear dependences among features: the modes of variance zero, by name."""

import torch
from torch import Tensor

from latentlib._moments import covariance, standardize

ZERO_SHARE = 1e-9  # of the total variance: far above rounding, far below what data carry


def linear_dependences(x: Tensor, *, zero_share: float = ZERO_SHARE) -> Tensor:
    """Relations Σ_k c_k x_k = constant that hold for every sample, (n_relations, n_features), the largest |c_k| is 1.

    From the modes of the standardized features with at most zero_share of their variance, in reduced row echelon form,
    so that a relation names few features, in the units of x. A constant feature is a relation of its own.
    Args: x (n_samples, n_features), finite, real. Fewer samples than features depend on each other in any case.
    Raises: ValueError for other data, or zero_share outside (0, 1).
    """
    if not 0 < zero_share < 1:
        raise ValueError(f"zero_share: want a share between 0 and 1, got {zero_share}")
    x = torch.as_tensor(x).double()
    standard = standardize(x)
    eigenvalues, modes = torch.linalg.eigh(covariance(standard))
    null = modes[:, eigenvalues <= zero_share * eigenvalues.sum()].T
    constant = (x.amax(0) == x.amin(0)).double()
    rows = _reduced(null) / (x.std(0, correction=0) * (1 - constant) + constant)
    return rows / rows.gather(1, rows.abs().argmax(1, keepdim=True))


def _reduced(rows: Tensor) -> Tensor:
    """Gauss–Jordan elimination with full pivoting; what rounding leaves is zero."""
    rows = rows.clone()
    for k in range(len(rows)):
        place = rows[k:].abs().argmax().item()
        i, j = k + place // rows.shape[1], place % rows.shape[1]
        rows[[k, i]] = rows[[i, k]]
        rows[k] = rows[k] / rows[k, j]
        others = torch.arange(len(rows)) != k
        rows[others] -= rows[others, j : j + 1] * rows[k]
    return torch.where(rows.abs() > ZERO_SHARE**0.5, rows, 0.0)
