"""Audit of an anomaly detector on codes: how much of its AUROC is the image, how much the batch it was scored in.

A network left in training mode normalises every image by its batch. Scored in batches of one kind, ID apart from OOD,
the codes carry the label that the score is then praised for finding; a single image, or a mixed stream, has no such
batch. Only `eval` is a detector in the sense of one image in, one score out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from latentlib.detection import DetectionReport, detection_report
from latentlib.encoding import encode_means
from latentlib.neighbors import knn_score

# Protocol: mode of `encode_means`, and whether ID and OOD share their batches.
PROTOCOLS = {
    "eval": ("eval", False),
    "published": ("batch", False),
    "mixed": ("batch", True),
    "published_mean": ("batch_mean", False),
    "published_var": ("batch_var", False),
}


@dataclass(frozen=True)
class AuditRow(DetectionReport):
    """One OOD set under one protocol: AUROC and both FPR95 with intervals, the score, and the scores themselves."""

    ood_set: str
    protocol: str
    score: str  # k, reduction and normalization of the k-NN score
    id_scores: Tensor = field(repr=False, compare=False)  # (n_id,), in the order of the images
    ood_scores: Tensor = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.ood_set}, {self.protocol}, {self.score}: {super().__str__()}"


def audit_encoder(
    model: nn.Module, bank_images: Tensor, id_images: Tensor, ood_sets: Mapping[str, Tensor], *,
    protocols: tuple[str, ...] = ("eval", "published", "mixed"), k: int = 3, reduce: str = "mean",
    normalize: bool = False, batch_size: int = 200, ood_batch_size: int = 4000, level: float = 0.95,
    n_resamples: int = 999, seed: int = 0, progress: bool = True,
) -> list[AuditRow]:  # fmt: skip
    """k-NN detection on encoder means under several BatchNorm protocols: a row per OOD set and protocol.

    `eval`: running statistics throughout. `published`: those of the batch, ID and bank in pure batches of `batch_size`,
    OOD in pure batches of `ood_batch_size`, as the code of arXiv:2601.18823 evaluates by default (without its random
    flips of the bank). `mixed`: those of the batch, each of `batch_size` half ID, half OOD; the bank as before.
    `published_mean`, `published_var`: `published` where the mean alone, or the variance alone, is that of the batch:
    which of the two separates. Images are shuffled by `seed` before they are put in batches. Intervals resample images
    at fixed batches; the score of a batch protocol also varies with those, of which a few thousand OOD images fill one.
    Args: model with encode(x) → (mu, log_var); bank_images, in distribution, what distances are taken to; id_images,
        others of the same law; ood_sets, name → images; all floating (n, *sample_shape). k, reduce, normalize as
        `neighbors.knn_score`; level, n_resamples as `detection.detection_report`.
    Returns: rows by OOD set, then protocol. The model is left as it was.
    Raises: ValueError for an unknown or no protocol, no OOD set, bad images or options.
    """
    from tqdm.auto import tqdm

    if not protocols or not set(protocols) <= PROTOCOLS.keys():
        raise ValueError(f"protocols: want some of {', '.join(PROTOCOLS)}, got {', '.join(protocols) or 'none'}")
    if not isinstance(ood_sets, Mapping) or not ood_sets:
        raise ValueError(f"ood_sets: want images by name, got {type(ood_sets).__name__} of length {len(ood_sets)}")
    detector = _Detector(
        model, _Shuffled(bank_images, seed), _Shuffled(id_images, seed + 1), (batch_size, ood_batch_size),
        {"k": k, "reduce": reduce, "normalize": normalize},
    )  # fmt: skip
    rows = []
    with tqdm(total=len(ood_sets) * len(protocols), desc="audit", unit="row", disable=not progress) as bar:
        for number, (name, images) in enumerate(ood_sets.items()):
            ood = _Shuffled(images, seed + 2 + number)
            for protocol in protocols:
                bar.set_postfix_str(f"{name} {protocol}")
                found = detector.scores(ood, protocol)
                report = detection_report(*found, level=level, n_resamples=n_resamples, seed=seed)
                rows.append(AuditRow(**vars(report), ood_set=name, protocol=protocol, score=detector.name,
                                     id_scores=found[0], ood_scores=found[1]))  # fmt: skip
                bar.update()
    return rows


def read_scores(path: str | Path) -> tuple[Tensor, Tensor]:
    """Archived scores of a detector that ran elsewhere, (id_scores, ood_scores), from an .npz as its authors left it.

    The file has arrays `scores` (n,), larger = more anomalous, and `labels` (n,), 0 for ID, 1 for OOD; nothing in it is
    executed. Returns: float64, in the order of the file.
    Raises: FileNotFoundError; ValueError for another file, other shapes, or labels other than 0 and 1.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            scores, labels = (torch.from_numpy(file[name]) for name in ("scores", "labels"))
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, zlib, numpy and torch each have their own
        raise ValueError(f"{path.name}: want an .npz with arrays scores and labels, got: {error}") from error
    if scores.ndim != 1 or scores.shape != labels.shape or not ((labels == 0) | (labels == 1)).all():
        found = f"{tuple(scores.shape)} and {tuple(labels.shape)} of values {labels.unique().tolist()[:9]}"
        raise ValueError(f"{path.name}: want scores (n,) and labels (n,) of 0 and 1, got {found}")
    return scores[labels == 0].double(), scores[labels == 1].double()


class _Shuffled:
    """Images, and the order in which they are put in batches: sets sorted by class would make batches of one class."""

    def __init__(self, images: Tensor, seed: int) -> None:
        self.images = images
        self.order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        self.seed = seed

    def means(self, model: nn.Module, mode: str, batch_size: int, others: "_Shuffled | None" = None) -> Tensor:
        """Encoder means, in the order of the images."""
        options = {"mode": mode, "batch_size": batch_size}
        if others is not None:
            # Both shuffled, each by its own seed: images made of the ID images do not meet their originals.
            company = {"companions": others.images[others.order], "seed": self.seed}
            found = encode_means(model, self.images[self.order], **options, **company)
        else:
            batches = self.order.split(batch_size)  # one at a time: a shuffled copy of a bank takes its memory again
            found = torch.cat([encode_means(model, self.images[rows], **options) for rows in batches])
        means = torch.empty_like(found)
        means[self.order.to(means.device)] = found
        return means


class _Detector:
    """k-NN scores of ID and OOD images under a protocol; the bank and the pure ID batches are encoded once a mode."""

    def __init__(
        self, model: nn.Module, bank: _Shuffled, own: _Shuffled, batch_sizes: tuple[int, int], options: dict
    ) -> None:
        self.model, self.bank, self.own = model, bank, own
        self.batch_size, self.ood_batch_size = batch_sizes
        self.options = options
        self.bank_means: dict[str, Tensor] = {}
        self.own_scores: dict[str, Tensor] = {}

    @property
    def name(self) -> str:
        mean = "mean of " if self.options["reduce"] == "mean" else ""
        return f"{mean}{self.options['k']}-NN distance, {'' if self.options['normalize'] else 'not '}normalized"

    def scores(self, ood: _Shuffled, protocol: str) -> tuple[Tensor, Tensor]:
        mode, is_mixed = PROTOCOLS[protocol]
        if mode not in self.bank_means:
            self.bank_means[mode] = self.bank.means(self.model, mode, self.batch_size)
        if is_mixed:
            return tuple(
                self._score(x.means(self.model, mode, self.batch_size, others), mode)
                for x, others in ((self.own, ood), (ood, self.own))
            )
        if mode not in self.own_scores:
            self.own_scores[mode] = self._score(self.own.means(self.model, mode, self.batch_size), mode)
        return self.own_scores[mode], self._score(ood.means(self.model, mode, self.ood_batch_size), mode)

    def _score(self, means: Tensor, mode: str) -> Tensor:
        return knn_score(means, self.bank_means[mode], **self.options)
