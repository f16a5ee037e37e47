"""Confidence intervals over independent repetitions: never over pairs, which are dependent."""

import torch
from torch import Tensor


def mean_interval(values: Tensor, level: float = 0.95) -> tuple[Tensor, Tensor, Tensor]:
    """Mean over repetitions and its Student interval, x̄ ± t_{R−1}·s/√R: (mean, low, high).

    Exact for normal repetitions; level 0.95 is the interval of the ledger.
    Args: values (n_repetitions ≥ 2, …), repetitions first. Returns: three tensors (…), float64.
    Raises: ValueError for fewer than two repetitions (one run is no interval), values not finite, or a level not in (0, 1).
    """
    from scipy.stats import t as student

    values = torch.as_tensor(values, dtype=torch.float64)
    if values.ndim == 0 or len(values) < 2:
        raise ValueError(f"mean_interval: want (n_repetitions >= 2, ...), got {tuple(values.shape)}: one run is no interval")
    if not values.isfinite().all():
        raise ValueError("mean_interval: want finite values, got NaN or infinity")
    if not 0 < level < 1:
        raise ValueError(f"mean_interval: want a level between 0 and 1, got {level}")
    n_repetitions = len(values)
    mean = values.mean(0)
    half = student.ppf((1 + level) / 2, n_repetitions - 1) * values.std(0) / n_repetitions**0.5
    return mean, mean - half, mean + half
