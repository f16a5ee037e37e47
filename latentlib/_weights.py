"""Reading files of weights without executing anything in them."""

from pathlib import Path

import torch
from torch import Tensor


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors. Raises FileNotFoundError, ValueError for a truncated or foreign file."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"want a safetensors file, got {str(path)!r}, which is not there")
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path.name}: want a whole safetensors file, got: {error}") from error


def read_torch(path: Path) -> object:
    """Content of a torch file of tensors and plain containers. Raises as above, ValueError for other objects too."""
    if not path.is_file():
        raise FileNotFoundError(f"want a torch file, got {str(path)!r}, which is not there")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each have their own
        raise ValueError(f"{path.name}: want a whole torch file of tensors alone, got: {error}") from error
