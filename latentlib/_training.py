"""What every training shares: Adam with its state, checkpoints that belong to one run, checked data."""

import hashlib
import io
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from latentlib._files import replace_file
from latentlib._weights import read_torch


class Adam:
    """torch's functional Adam in one fused kernel, with its state as lists of tensors.

    The optimizer class around it costs twice the update itself on small models.
    """

    def __init__(self, parameters: list[Tensor]) -> None:
        self.parameters = parameters
        self.moments = [[torch.zeros_like(p) for p in parameters] for _ in range(2)]
        self.steps = [torch.zeros((), device=p.device) for p in parameters]

    @torch.no_grad()
    def descend(self, gradients: Sequence[Tensor], learning_rate: float) -> None:
        """One step of every parameter down its gradient."""
        # The fused step of the CPU reads the memory of a gradient in order, whatever its strides.
        gradients = [gradient.contiguous() for gradient in gradients]
        adam(
            self.parameters, gradients, *self.moments, [], self.steps, fused=True, lr=learning_rate,
            beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, amsgrad=False, maximize=False,
        )

    def state(self) -> list[Tensor]:
        """Everything a later `load` needs."""
        return [*self.moments[0], *self.moments[1], *self.steps]

    @torch.no_grad()
    def load(self, state: list[Tensor]) -> None:
        """Go on from a state that `state` gave."""
        for tensor, value in zip(self.state(), state, strict=True):
            tensor.copy_(value)


def write_checkpoint(path: Path, identity: dict, content: dict) -> None:
    """One torch file, whole or not at all."""
    buffer = io.BytesIO()
    torch.save({"settings": identity} | content, buffer)
    replace_file(path, buffer.getvalue())


def read_checkpoint(path: Path, writer: str, identity: dict, keys: set[str]) -> dict:
    """Content of a checkpoint that `writer` wrote of the run of this identity; a ValueError names what differs."""
    content = read_torch(path)
    if not isinstance(content, dict) or not {"settings", *keys} <= content.keys():
        raise ValueError(f"{path.name}: want a checkpoint of {writer}, got another torch file")
    there = content["settings"]
    other = [key for key in identity if there.get(key) != identity[key]]
    if other:
        found = "; ".join(f"{key} {there.get(key)!r} there, {identity[key]!r} here" for key in other)
        raise ValueError(f"{path.name}: want a checkpoint of this run, got one of another: {found}")
    return content


def model_identity(model: nn.Module) -> dict[str, str]:
    """Which model, in words that a message can show."""
    shapes = [tuple(p.shape) for p in model.parameters() if p.requires_grad]
    return {"model": f"{type(model).__name__}({getattr(model, 'arguments', '')})", "weights": str(shapes)}


def digest(data: Tensor | None) -> str:
    """Fingerprint of the data, so that a checkpoint is not continued on others."""
    if data is None:
        return "none"
    return f"{tuple(data.shape)} {data.dtype} {hashlib.sha256(data.cpu().contiguous().numpy()).hexdigest()[:16]}"


def floating_data(name: str, data: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The samples on the device, in the dtype; ValueError unless floating, some, and finite."""
    if not data.is_floating_point() or len(data) == 0:
        raise ValueError(f"{name}: want floating (n_samples > 0, ...), got {data.dtype} {tuple(data.shape)}")
    if not data.isfinite().all():
        raise ValueError(f"{name}: want finite values, got {int((~data.isfinite()).sum())} that are not")
    return data.detach().to(device, dtype)


def check_counts(**sizes: int) -> None:
    """Whole numbers from 1."""
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"{name}: want an integer ≥ 1, got {size!r}")


def check_positive(**values: float) -> None:
    """Finite numbers above 0."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name}: want a finite number > 0, got {value}")


def check_weight(kl_weight: float) -> None:
    """A finite number from 0."""
    if not 0 <= kl_weight < math.inf:
        raise ValueError(f"kl_weight: want a finite number ≥ 0, got {kl_weight}")
