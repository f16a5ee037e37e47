"""Soft modes: the third and fourth moments of PCA modes that decide how their latents collapse, with errors."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

MIN_GROUPS = 10  # an error from fewer would itself be off by a quarter
MOMENTS = ("eigenvalue", "skewness", "kurtosis", "curvature", "bare_curvature")


@dataclass(frozen=True)
class ModeMoments:
    """Moments of the leading PCA modes: eigenvalue λ_k, skewness S, kurtosis K, curvature G and bare curvature Γ.

    All (n_modes,) float64; coupling γ_kj = E[x_jψ_k²], (n_modes, n_features), zero for j ≤ k; covariance, of the five
    in this order by jackknife, (n_modes, 5, 5), zero for an exact law; gap, to the nearest eigenvalue, infinite without
    another, and gap_se, (n_modes,). skewness_floor, √(6/n): the standard error of S for n Gaussian points.
    """

    eigenvalue: Tensor
    skewness: Tensor
    kurtosis: Tensor
    curvature: Tensor
    bare_curvature: Tensor
    coupling: Tensor
    covariance: Tensor
    gap: Tensor
    gap_se: Tensor
    skewness_floor: float
    total_var: float

    def se(self, name: str) -> Tensor:
        """Standard error of the field `name`, (n_modes,). Raises: ValueError for a name that is none of the five."""
        if name not in MOMENTS:
            raise ValueError(f"name: want one of {', '.join(MOMENTS)}, got {name!r}")
        return self.covariance[:, MOMENTS.index(name), MOMENTS.index(name)].sqrt()


def mode_moments(
    x: Tensor, n_modes: int = 1, *, weights: Tensor | None = None, groups: Tensor | None = None, n_groups: int = 32
) -> ModeMoments:
    """Moments of every mode that decide its collapse: S = Eψ³, K = Eψ⁴, G = Σ_j γ_j²/(λ_k − λ_j), Γ = Σ_j γ_j²/λ_k.

    ψ = x_k/√λ_k, γ_j = E[x_jψ²], j over the modes below k. Centred, not standardized. Errors by jackknife over groups
    of points, the PCA redone for each; it also takes the bias off G and Γ: a plug-in γ_j² has expectation
    γ_j² + Var γ_j, and there are many j. Corrected G and Γ may be negative; 32 groups give an error to 13 %. Not for
    n_features/n_samples of order 1, nor for tails so heavy that E ψ⁸ is infinite: there K has no error.
    Args: x, (n_samples, n_features), rows independent or in groups that are; n_modes, at most the rank; weights > 0
    that sum to 1: x is an exact law, without error or correction (1/n: the training set as the law itself); groups,
    (n_samples,) labels of what belongs together, as spatial blocks, ≥ 10 different ones; None: row i is in group
    i mod n_groups.
    Signs: the largest component of every eigenvector is positive. G is NaN or infinite where λ_k is exactly degenerate.
    Raises: ValueError for other shapes, values not finite, weights that are none, too few groups or points, n_modes
    beyond the modes that have variance, also with any one group left out.
    """
    x = torch.as_tensor(x, dtype=torch.float64).cpu()
    if x.ndim != 2 or len(x) < 2 or x.shape[1] == 0 or not x.isfinite().all():
        raise ValueError(f"x: want finite (n_samples >= 2, n_features), got {tuple(x.shape)}")
    exact = weights is not None
    weights = _checked_weights(x, weights)
    rounding, raw = max(x.shape) * torch.finfo(x.dtype).eps, x.square().mean()
    x = x - weights @ x
    values, frame = _modes((x * weights[:, None]).mT @ x)
    rank = int(((values > rounding * values[0]) & (values > rounding**2 * raw)).sum())
    if isinstance(n_modes, bool) or not isinstance(n_modes, int) or not 1 <= n_modes <= rank:
        raise ValueError(f"n_modes: want a whole number in 1 … {rank}, the modes that have variance, got {n_modes!r}")
    table, coupling = _table(x, weights, values, frame, n_modes)
    if exact:
        estimate, covariance = table, table.new_zeros(n_modes, 6, 6)
    else:
        estimate, covariance = _jackknife(x, _labels(len(x), groups, n_groups), table, frame[:, :n_modes])
        estimate[:, :3] = table[:, :3]
    return ModeMoments(
        *estimate[:, :5].unbind(1), coupling=coupling, covariance=covariance[:, :5, :5],
        gap=table[:, 5], gap_se=covariance[:, 5, 5].sqrt().where(table[:, 5] < math.inf, table.new_zeros(())),
        skewness_floor=0.0 if exact else math.sqrt(6 / len(x)), total_var=values.sum().item(),
    )  # fmt: skip


def _checked_weights(x: Tensor, weights: Tensor | None) -> Tensor:
    if weights is None:
        return x.new_full((len(x),), 1 / len(x))
    weights = torch.as_tensor(weights, dtype=torch.float64).cpu()
    if weights.shape != (len(x),) or not (weights > 0).all() or abs(weights.sum() - 1) > 1e-9:
        raise ValueError(f"weights: want {(len(x),)} values > 0 that sum to 1, got {tuple(weights.shape)}: {weights}")
    return weights


def _labels(n_samples: int, groups: Tensor | None, n_groups: int) -> Tensor:
    """Group of every row, as numbers 0 … n_groups − 1."""
    labels = torch.arange(n_samples) % max(n_groups, 1) if groups is None else torch.as_tensor(groups).cpu()
    if labels.shape != (n_samples,):
        raise ValueError(f"groups: want ({n_samples},) labels, got {tuple(labels.shape)}")
    labels = labels.unique(return_inverse=True)[1]
    if labels.max() + 1 < MIN_GROUPS:
        raise ValueError(f"want at least {MIN_GROUPS} groups of points for an error, got {labels.max() + 1}")
    return labels


def _modes(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, largest first, and eigenvectors as columns whose largest component is positive."""
    values, frame = torch.linalg.eigh(covariance)
    values, frame = values.flip(0), frame.flip(1)
    largest = frame.gather(0, frame.abs().argmax(0, keepdim=True))
    return values, frame * largest.sign()


def _table(centred: Tensor, weights: Tensor, values: Tensor, frame: Tensor, n_modes: int) -> tuple[Tensor, Tensor]:
    """λ, S, K, G, Γ and the gap of each mode, (n_modes, 6), and the couplings γ_kj, (n_modes, n_features)."""
    own = values[:n_modes]
    psi = centred @ frame[:, :n_modes] / own.sqrt()
    square = psi.square() * weights[:, None]
    coupling = ((square.mT @ centred) @ frame).triu(1)
    below = torch.ones_like(coupling).triu(1).bool()
    distance = own[:, None] - values
    curvature = (coupling.square() / distance).where(below, distance.new_zeros(())).sum(1)
    gap = distance.abs().scatter(1, torch.arange(n_modes)[:, None], math.inf).amin(1)
    columns = own, (square * psi).sum(0), (square * psi.square()).sum(0), curvature, coupling.square().sum(1) / own, gap
    return torch.stack(columns, 1), coupling


def _jackknife(x: Tensor, labels: Tensor, table: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Delete-a-group jackknife, groups of any size (Busing and others 1999): bias-corrected table, covariance of it."""
    n_samples, scatter = len(x), x.mT @ x
    pseudo, excess = [], []
    for label in range(int(labels.max()) + 1):
        own, rest = x[labels == label], x[labels != label]
        mean = -own.sum(0) / len(rest)
        values, frame = _modes((scatter - own.mT @ own) / len(rest) - mean.outer(mean))
        if not values[len(table) - 1] > max(rest.shape) * torch.finfo(x.dtype).eps * values[0]:
            raise ValueError(f"n_modes: want modes that keep variance without group {label}, got {len(table)}")
        # An eigenvector that turns over for a group less would flip S.
        frame[:, : len(table)] *= (frame[:, : len(table)] * reference).sum(0).sign()
        left, _ = _table(rest - mean, rest.new_full((len(rest),), 1 / len(rest)), values, frame, len(table))
        ratio = n_samples / len(own)
        pseudo.append(ratio * table - (ratio - 1) * left)
        excess.append(1 / (ratio - 1))
    pseudo, share = torch.stack(pseudo), torch.bincount(labels) / n_samples
    estimate = (share[:, None, None] * pseudo).sum(0)
    spread = pseudo - estimate
    scale = torch.tensor(excess, dtype=torch.float64) / len(pseudo)
    return estimate, torch.einsum("g,gki,gkj->kij", scale, spread, spread)
