"""Rank correlation of two columns of a table of runs, also given further columns; its interval over groups of runs.

Runs of one seed share the data, the split and the first weights: they are one repetition, not many, so that groups of
rows are resampled, as points are elsewhere and never pairs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

ALIKE = 1e-10  # share of a column's variance under which what other columns leave of it is rounding
KEPT_MIN = 0.5  # share of resamples that have to have a correlation


class RankCorrelation(NamedTuple):
    """Rank correlation with its interval; n_groups is what the interval counts as independent."""

    value: float
    low: float
    high: float
    n_samples: int
    n_groups: int


def spearman(
    a: Tensor | Sequence, b: Tensor | Sequence, *, given: Tensor | Sequence | None = None,
    groups: Tensor | Sequence | None = None, level: float = 0.95, n_resamples: int = 999, seed: int,
) -> RankCorrelation:  # fmt: skip
    """Spearman's rank correlation, Pearson's of mid-ranks; partial: of what least squares on the ranks of given leave.

    In [−1, 1], unchanged under rising maps of any column. Given one column c, (r_ab − r_ac·r_bc)/√((1 − r_ac²)(1 −
    r_bc²)). A normal pair of correlation ρ has (6/π)·asin(ρ/2). A partial rank correlation takes away what is linear in
    the ranks of given, no more: where both columns bend with them, it need not vanish with the dependence.
    Interval: tanh(atanh r ± t·s), t Student's with n_groups − 1 degrees of freedom, s² the variance of atanh r over
    resamples of whole groups with replacement, times n_groups/(n_groups − 1), by which few groups have it too small.
    One r counts as no nearer to ±1 than half the step of r, 12/(n³ − n), at which the ranks of n rows can tell.
    Resamples where a column is constant, or linear in those given, have no r and are left out.
    Args: a, b (n_samples,) and given (n_samples,) or (n_samples, n_given), numbers; groups, (n_samples,) of any labels,
    default every row its own; n_resamples ≥ 99.
    Raises: ValueError for columns that differ in length, are not finite or constant, a or b linear in the ranks given,
    fewer than n_given + 4 rows or 4 groups, options out of range, fewer than half of the resamples with an r.
    """
    columns = _columns(a, b, given)
    n_samples = len(columns)
    group, n_groups = _groups(groups, n_samples)
    if not 0 < level < 1 or n_resamples < 99:
        raise ValueError(f"want a level between 0 and 1 and n_resamples >= 99, got {level} and {n_resamples}")
    value = _partial(columns)
    if np.isnan(value):
        raise ValueError("a, b: want ranks that are not linear in those of given, got nothing left of one of them")
    resampled = _resample(columns, group, n_groups, n_resamples, seed)
    kept = resampled[~np.isnan(resampled)]
    if len(kept) < KEPT_MIN * n_resamples:
        raise ValueError(f"groups: want most resamples to vary in every column, got {len(kept)} of {n_resamples}")
    nearest = 1 - 6 / (n_samples**3 - n_samples)
    centre, drawn = (np.arctanh(np.clip(r, -nearest, nearest)) for r in (value, kept))
    half = _student(level, n_groups - 1) * drawn.std() * (n_groups / (n_groups - 1)) ** 0.5
    low, high = min(value, np.tanh(centre - half)), max(value, np.tanh(centre + half))
    return RankCorrelation(float(value), float(low), float(high), n_samples, n_groups)


def kendall(a: Tensor, b: Tensor, *, among: Tensor | None = None) -> Tensor:
    """Kendall's τ = ⟨sign(a_i − a_j) sign(b_i − b_j)⟩ over pairs i < j of the last dimension; a tie counts as 0 (τ_a).

    In [−1, 1]. Args: a, b (…, n), numbers that broadcast; among (…, n), bool: the places that are compared, default all.
    Returns: (…) float64, NaN where fewer than two places are left.
    Raises: ValueError for shapes that do not fit, or a or b not finite where they are compared.
    """
    kept = torch.tensor(True) if among is None else among
    a, b, kept = torch.broadcast_tensors(torch.as_tensor(a).double(), torch.as_tensor(b).double(), kept)
    if a.ndim < 1 or not (a.isfinite() & b.isfinite())[kept].all():
        raise ValueError(f"want finite a and b (..., n), got {tuple(a.shape)} with values that are not")
    signs = [(of[..., :, None] - of[..., None, :]).sign() for of in (a, b)]
    pairs = (kept[..., :, None] & kept[..., None, :]).triu(1)
    return torch.where(pairs, signs[0] * signs[1], 0.0).sum((-2, -1)) / pairs.sum((-2, -1))


def _partial(columns: np.ndarray) -> float:
    """Correlation of the first two columns' ranks given those of the others; nan where one of them has nothing left."""
    from scipy.stats import rankdata

    ranks = rankdata(columns, axis=0)
    ranks -= ranks.mean(0)
    pair, others = ranks[:, :2], ranks[:, 2:]
    left = pair - others @ np.linalg.lstsq(others, pair, rcond=None)[0]
    square = (left**2).sum(0)
    if (square <= ALIKE * (pair**2).sum(0)).any():
        return float("nan")
    return float(np.clip(left[:, 0] @ left[:, 1] / square.prod() ** 0.5, -1, 1))


def _resample(columns: np.ndarray, group: np.ndarray, n_groups: int, n_resamples: int, seed: int) -> np.ndarray:
    members = [np.flatnonzero(group == one) for one in range(n_groups)]
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randint(n_groups, (n_resamples, n_groups), generator=generator).tolist()
    return np.array([_partial(columns[np.concatenate([members[one] for one in draw])]) for draw in draws])


def _student(level: float, dof: int) -> float:
    from scipy.stats import t as student

    return float(student.ppf((1 + level) / 2, dof))


def _columns(a: object, b: object, given: object) -> np.ndarray:
    """[n_samples, 2 + n_given] float64: a, b and the columns of given, checked."""
    parts = {"a": np.asarray(a, dtype=np.float64), "b": np.asarray(b, dtype=np.float64)}
    if given is not None:
        parts["given"] = np.asarray(given, dtype=np.float64)
        parts["given"] = parts["given"][:, None] if parts["given"].ndim == 1 else parts["given"]
    shapes = {name: part.shape for name, part in parts.items()}
    wanted = {"a": 1, "b": 1, "given": 2}
    if any(part.ndim != wanted[name] or len(part) != len(parts["a"]) for name, part in parts.items()):
        raise ValueError(f"want columns of one length, (n_samples,) and given (n_samples, n_given), got {shapes}")
    columns = np.column_stack(list(parts.values()))
    if len(columns) < columns.shape[1] + 2:
        raise ValueError(f"want n_samples >= n_given + 4 = {columns.shape[1] + 2}, got {len(columns)}")
    for name, part in parts.items():
        if not np.isfinite(part).all():
            raise ValueError(f"{name}: want finite values, got {part[~np.isfinite(part)][0]}")
        if (part == part[0]).all(0).any():
            raise ValueError(f"{name}: want columns that vary, got a constant one, which has no ranks")
    return columns


def _groups(groups: object, n_samples: int) -> tuple[np.ndarray, int]:
    """Number 0 … n_groups − 1 of every row's group, and how many there are."""
    labels = np.arange(n_samples) if groups is None else np.asarray(groups)
    if labels.shape != (n_samples,):
        raise ValueError(f"groups: want one label a row, ({n_samples},), got {labels.shape}")
    values, group = np.unique(labels, return_inverse=True)
    if len(values) < 4:
        raise ValueError(f"groups: want 4 or more, the independent repetitions, got {len(values)}")
    return group, len(values)
