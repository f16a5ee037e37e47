"""Detection of anomalies from scores, larger = more anomalous: AUROC, and the FPR at a TPR in both conventions.

Which class is called positive decides the second number, and can turn a claim round: on the published scores of
CIFAR-10 against CIFAR-100 FPR95 is 0.23 with OOD as the positive class and 0.76 with ID. Both are always reported.
ID = in distribution, OOD = out of it. Intervals resample points, ID and OOD each among themselves; they know nothing of
scores that depend on each other, as those of one batch do where BatchNorm normalises by it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

POSITIVES = ("id", "ood")
INTERPOLATIONS = ("linear", "step")
STATISTICS = ("auroc", "fpr95_id_positive", "fpr95_ood_positive")
_CHUNK = 2**21  # points drawn at a time while resampling


def auroc(id_scores: Tensor, ood_scores: Tensor) -> float:
    """Area under the ROC curve, AUROC = P(s_ood > s_id) + ½ P(s_ood = s_id) over all pairs; 0.5 is chance.

    In [0, 1], unchanged under increasing maps of the scores, 1 − itself if ID and OOD are exchanged. From one sort,
    ties by midranks. Below 0.5 the OOD set looks more normal than the normal.
    Args: scores, one-dimensional, larger = more anomalous; infinite ones are ordered like others.
    Raises: ValueError for an empty set, another shape, complex scores or NaN.
    """
    return _auroc(*_curve_counts(id_scores, ood_scores)).item()


def fpr_at_tpr(
    id_scores: Tensor, ood_scores: Tensor, *, positive: str, tpr: float = 0.95, interpolation: str = "linear"
) -> float:
    """False positive rate where the true positive rate reaches tpr: FPR95 at 0.95. `positive` has no default.

    positive="id": ID is what is to be accepted, the threshold lets a share tpr of ID pass, and FPR is the share of OOD
    that passes with it (kNN-OOD; phase, section 4). positive="ood": OOD is what is to be caught, the threshold catches
    a share tpr of OOD, and FPR is the share of ID caught with it (OpenOOD 1.5, pytorch-ood, arXiv:2601.18823).
    interpolation="step": the first point of the ROC curve with TPR ≥ tpr, a threshold that exists, as in OpenOOD and
    kNN-OOD. "linear": on the line between that point and the one before, as arXiv:2601.18823. They differ where scores
    tie, and nowhere else; a curve level at tpr is read at its near end (np.interp, used there, takes the far one).
    Args: scores as in `auroc`; tpr in (0, 1]. Returns: in [0, 1]; ties pass or are caught together.
    Raises: ValueError for bad scores or options.
    """
    if positive not in POSITIVES or interpolation not in INTERPOLATIONS:
        wanted = f"positive in {POSITIVES} and interpolation in {INTERPOLATIONS}"
        raise ValueError(f"want {wanted}, got {positive!r} and {interpolation!r}")
    if not 0 < tpr <= 1:
        raise ValueError(f"tpr: want a share in (0, 1], got {tpr}")
    id_count, ood_count = _curve_counts(id_scores, ood_scores)
    return _fpr(id_count, ood_count, positive, tpr, interpolation).item()


@dataclass(frozen=True)
class DetectionReport:
    """AUROC and FPR95 in both conventions, each with its bootstrap interval (low, high); `str` prints all of it."""

    n_id: int
    n_ood: int
    level: float
    auroc: float
    auroc_interval: tuple[float, float]
    fpr95_id_positive: float
    fpr95_id_positive_interval: tuple[float, float]
    fpr95_ood_positive: float
    fpr95_ood_positive_interval: tuple[float, float]

    def __str__(self) -> str:
        found = []
        for name, words in zip(STATISTICS, ("AUROC", "FPR95 (ID positive)", "FPR95 (OOD positive)"), strict=True):
            low, high = getattr(self, f"{name}_interval")
            found.append(f"{words} {getattr(self, name):.4f} [{low:.4f}, {high:.4f}]")
        return f"{', '.join(found)}; {self.level:.0%} intervals over {self.n_id} ID and {self.n_ood} OOD points"


def detection_report(
    id_scores: Tensor, ood_scores: Tensor, *, level: float = 0.95, n_resamples: int = 999, seed: int
) -> DetectionReport:
    """AUROC and FPR95 (linear) of both conventions, with percentile bootstrap intervals over points.

    Where the classes do not overlap the intervals shrink to points: what was never drawn is not resampled.
    Args: scores as in `auroc`, 10 or more of each; level in (0, 1); n_resamples ≥ 99. Deterministic in seed.
    Raises: ValueError for bad scores or options.
    """
    scores = _checked(id_scores, ood_scores, n_min=10)
    _check_resampling(level, n_resamples)
    ranks = _ranks(*scores)
    (estimate,) = _statistics(*_counts(ranks, _everyone(scores)))
    resampled = torch.cat([_statistics(*_counts(ranks, rows)) for rows in _draws(scores, n_resamples, seed)])
    values: dict = {"n_id": len(scores[0]), "n_ood": len(scores[1]), "level": level}
    for name, value, interval in zip(STATISTICS, estimate.tolist(), _percentiles(resampled, level), strict=True):
        values |= {name: value, f"{name}_interval": interval}
    return DetectionReport(**values)


def paired_difference(
    id_a: Tensor, ood_a: Tensor, id_b: Tensor, ood_b: Tensor, *, statistic: str = "auroc", level: float = 0.95,
    n_resamples: int = 999, seed: int,
) -> tuple[float, float, float]:  # fmt: skip
    """Difference θ_b − θ_a of two scores of the same points, and its paired bootstrap interval: (θ_b − θ_a, low, high).

    Every resample takes the same points for both scores, so what makes an image hard for both cancels: the interval is
    narrower than that of two independent reports where the scores agree, and honest where they do not.
    Args: id_a, id_b, scores a and b of the same ID points in the same order, ood_a, ood_b of the same OOD points, 10 or
    more; statistic, one of "auroc", "fpr95_id_positive", "fpr95_ood_positive"; the rest as `detection_report`.
    Raises: ValueError for scores that are bad or not paired, or bad options.
    """
    scores_a, scores_b = _checked(id_a, ood_a, n_min=10), _checked(id_b, ood_b, n_min=10)
    if [len(s) for s in scores_a] != [len(s) for s in scores_b]:
        found = [tuple(len(s) for s in scores) for scores in (scores_a, scores_b)]
        raise ValueError(f"want scores a and b of the same (ID, OOD) points, got {found[0]} and {found[1]}")
    if statistic not in STATISTICS:
        raise ValueError(f"statistic: want one of {', '.join(STATISTICS)}, got {statistic!r}")
    _check_resampling(level, n_resamples)
    ranks_a, ranks_b, which = _ranks(*scores_a), _ranks(*scores_b), STATISTICS.index(statistic)

    def difference(rows: tuple[Tensor, Tensor]) -> Tensor:
        return (_statistics(*_counts(ranks_b, rows)) - _statistics(*_counts(ranks_a, rows)))[:, which]

    resampled = torch.cat([difference(rows) for rows in _draws(scores_a, n_resamples, seed)])
    ((low, high),) = _percentiles(resampled[:, None], level)
    return difference(_everyone(scores_a)).item(), low, high


# Counts: how often every distinct score, in rising order, was drawn among ID and OOD, (..., n_distinct) float64 each.


def _auroc(id_count: Tensor, ood_count: Tensor) -> Tensor:
    """Every OOD score beats the ID scores under it and half of those equal to it."""
    beaten = id_count.cumsum(-1) - id_count / 2
    return (ood_count * beaten).sum(-1) / (id_count.sum(-1) * ood_count.sum(-1))


def _fpr(id_count: Tensor, ood_count: Tensor, positive: str, tpr: float, interpolation: str) -> Tensor:
    """FPR at the first distinct score, from the positive end, with TPR ≥ tpr, or between it and the one before."""
    positives, negatives = (id_count, ood_count) if positive == "id" else (ood_count.flip(-1), id_count.flip(-1))
    true, false = (torch.nn.functional.pad(count.cumsum(-1), (1, 0)) for count in (positives, negatives))
    true, false = true / true[..., -1:], false / false[..., -1:]
    wanted = torch.full_like(true[..., :1], tpr)
    first = torch.searchsorted(true, wanted)  # ≥ 1: the curve begins at TPR = 0
    high = false.gather(-1, first)
    if interpolation == "step":
        return high[..., 0]
    before, after = (true.gather(-1, at) for at in (first - 1, first))
    low = false.gather(-1, first - 1)
    return low.lerp(high, (wanted - before) / (after - before))[..., 0]


def _statistics(id_count: Tensor, ood_count: Tensor) -> Tensor:
    """The three of STATISTICS, (..., 3)."""
    rates = (_fpr(id_count, ood_count, positive, 0.95, "linear") for positive in POSITIVES)
    return torch.stack([_auroc(id_count, ood_count), *rates], -1)


def _curve_counts(id_scores: Tensor, ood_scores: Tensor) -> tuple[Tensor, Tensor]:
    scores = _checked(id_scores, ood_scores)
    return _counts(_ranks(*scores), _everyone(scores))


# Resampling: rows (n_chunk, n_points) of the ID points and of the OOD points.


def _ranks(id_scores: Tensor, ood_scores: Tensor) -> tuple[Tensor, Tensor, int]:
    """Rank of every score among the distinct ones, and their number."""
    distinct, rank = torch.cat([id_scores, ood_scores]).unique(return_inverse=True)
    return rank[: len(id_scores)], rank[len(id_scores) :], len(distinct)


def _everyone(scores: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return tuple(torch.arange(len(s))[None] for s in scores)


def _draws(scores: tuple[Tensor, Tensor], n_resamples: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows drawn with replacement, ID and OOD each among themselves, in chunks until n_resamples are drawn."""
    generator = torch.Generator().manual_seed(seed)
    n_chunk = max(1, _CHUNK // sum(len(s) for s in scores))
    for start in range(0, n_resamples, n_chunk):
        n_rows = min(n_chunk, n_resamples - start)
        yield tuple(torch.randint(len(s), (n_rows, len(s)), generator=generator) for s in scores)


def _counts(ranks: tuple[Tensor, Tensor, int], rows: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    *of_points, n_distinct = ranks
    counts = []
    for rank, drawn in zip(of_points, rows, strict=True):
        cell = rank[drawn] + n_distinct * torch.arange(len(drawn))[:, None]
        counts.append(cell.flatten().bincount(minlength=n_distinct * len(drawn)).view(len(drawn), -1).double())
    return tuple(counts)


def _percentiles(resampled: Tensor, level: float) -> list[tuple[float, float]]:
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    return [tuple(pair) for pair in resampled.quantile(ends, dim=0).T.tolist()]


def _checked(id_scores: Tensor, ood_scores: Tensor, n_min: int = 1) -> tuple[Tensor, Tensor]:
    """Scores as float64 on the CPU, where ties of any dtype stay ties."""
    found = []
    for name, scores in (("id_scores", id_scores), ("ood_scores", ood_scores)):
        scores = torch.as_tensor(scores).detach()
        if scores.ndim != 1 or len(scores) < n_min or scores.is_complex():
            raise ValueError(f"{name}: want real (n_samples >= {n_min},), got {scores.dtype} {tuple(scores.shape)}")
        if scores.isnan().any():
            raise ValueError(f"{name}: want scores that can be ordered, got NaN in {int(scores.isnan().sum())} of them")
        found.append(scores.double().cpu())
    return tuple(found)


def _check_resampling(level: float, n_resamples: int) -> None:
    if not 0 < level < 1 or n_resamples < 99:
        raise ValueError(f"want level in (0, 1) and n_resamples >= 99, got {level} and {n_resamples}")
