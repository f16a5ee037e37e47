"""The record that every data set is loaded into."""

from dataclasses import dataclass

import torch
from torch import Tensor

from latentlib._image_sets import VOTE_NAMES


@dataclass(frozen=True)
class Dataset:
    """Samples x (n_samples, ...), uint8 or floating, in the official order; labels y (n_samples,), int64, or None.

    WorldClim also has per sample: `weights` = cos(latitude), the relative area of a cell; `latitude`, `longitude` in
    degrees; `block`, the number of its 500 km equal-area block (the unit for a bootstrap). float64; block int64.
    Galaxy Zoo has shares of votes (n_samples, 37), float32, in place of labels; `class_names` are those of wnids.txt.
    """

    name: str
    split: str
    x: Tensor
    y: Tensor | None = None
    licence: str = ""
    citation: str = ""
    homepage: str = ""
    note: str = ""
    feature_names: tuple[str, ...] = ()
    weights: Tensor | None = None
    latitude: Tensor | None = None
    longitude: Tensor | None = None
    block: Tensor | None = None
    votes: Tensor | None = None
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of x, samples first."""
        return tuple(self.x.shape)

    def matrix(self) -> Tensor:
        """x as a floating (n_samples, n_features) matrix; uint8 gray levels become [0, 1] float32."""
        flat = self.x.flatten(1)
        return flat.float() / 255 if flat.dtype == torch.uint8 else flat

    def vote(self, answer: str) -> Tensor:
        """Share of votes for an answer of the Galaxy Zoo 2 tree, (n_samples,) in [0, 1]: Class6.1 is "odd".

        Raises: ValueError for an answer that is not in the tree, or a set without votes.
        """
        if self.votes is None or answer not in VOTE_NAMES:
            wanted = f"one of {VOTE_NAMES[0]} … {VOTE_NAMES[-1]}" if self.votes is not None else "a set with votes"
            raise ValueError(f"{self.name}: want {wanted}, got {answer!r}")
        return self.votes[:, VOTE_NAMES.index(answer)]

    def images(self) -> Tensor:
        """x as floating images (n_samples, channels, height, width), uint8 scaled to [0, 1], as ConvVAE wants them."""
        if self.x.ndim not in (3, 4):
            raise ValueError(f"{self.name}: want images (n, height, width[, channels]), got x of shape {self.shape}")
        pixels = self.x.float() / 255 if self.x.dtype == torch.uint8 else self.x
        return pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
