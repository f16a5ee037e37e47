"""Images of different sets made alike for one detector: the same side, the same channels, the same scale."""

from dataclasses import dataclass

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, the weights of Pillow's mode "L"


@dataclass(frozen=True)
class OodSets:
    """Images of sets that a detector does not know: name → (n, channels, size, size), float32 in [0, 1].

    `rules`: name → split, number, and how the images came to this size; `absent`: name → why a set is not here.
    """

    images: dict[str, Tensor]
    rules: dict[str, str]
    absent: dict[str, str]


def alike(images: Tensor, size: int, channels: int) -> tuple[Tensor, list[str]]:
    """Images (n, c, height, width) in [0, 1] as (n, channels, size, size), and what was done to them, in words.

    A square of another side is resized bilinearly, antialiased; of another shape, its shorter side is, and the central
    square kept. Gray is repeated in three channels; three become gray with the weights 0.299, 0.587, 0.114.
    Raises: ValueError for other numbers of channels.
    """
    said, found = [], images.shape[1]
    if {found, channels} - {1, 3}:
        raise ValueError(f"want images of 1 or 3 channels for a detector of 1 or 3, got {found} for {channels}")
    height, width = images.shape[2:]
    if min(height, width) != size:
        said.append(f"{height} × {width} resized to {size} (bilinear, antialiased)")
        sides = [size * side // min(height, width) for side in (height, width)]
        images = torch.nn.functional.interpolate(images, sides, mode="bilinear", antialias=True).clamp(0, 1)
    if height != width:
        top, left = ((side - size) // 2 for side in images.shape[2:])
        images = images[:, :, top : top + size, left : left + size]
        said.append(f"central {size} × {size}")
    if found < channels:
        images = images.expand(-1, channels, -1, -1).contiguous()
        said.append("gray repeated in three channels")
    if found > channels:
        images = torch.einsum("nchw,c->nhw", images, images.new_tensor(LUMA)).unsqueeze(1)
        said.append("color to gray (BT.601)")
    return images, said


def choose(n: int, n_max: int | None, seed: int) -> Tensor:
    """Rows of a random subset of n_max of n samples without repetition, in rising order; all, if they are no more."""
    if n_max is None or n <= n_max:
        return torch.arange(n)
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:n_max].sort().values
