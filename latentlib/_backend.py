"""Picks the reference or the kernel of a concept, and is the only place that knows devices."""

import os
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

IMPLEMENTATIONS = ("reference", "triton")


def implementation(concept: str, impl: str | None, tensor: Tensor) -> ModuleType:
    """The module that computes `concept`: latentlib.reference.<concept> or latentlib.kernels.<concept>.

    impl=None takes the kernel where `tensor` lies on a GPU and Triton is there, else the reference. A named
    implementation is the one that runs, or a RuntimeError says why it cannot: nothing falls back silently.
    """
    if impl not in (None, *IMPLEMENTATIONS):
        raise ValueError(f"impl: want None, 'reference' or 'triton', got {impl!r}")
    if impl is None:
        impl = "triton" if tensor.is_cuda and find_spec("triton") else "reference"
    if impl == "triton":
        _require_triton(concept, tensor)
        return import_module(f"latentlib.kernels.{concept}")
    return import_module(f"latentlib.reference.{concept}")


def _require_triton(concept: str, tensor: Tensor) -> None:
    if not find_spec("triton"):
        raise RuntimeError(f"impl='triton' for {concept}: want the package triton (pip install triton), it is not installed")
    if not tensor.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise RuntimeError(
            f"impl='triton' for {concept}: want a tensor on a CUDA device, got {tensor.device}; "
            "to interpret the kernel on the CPU set TRITON_INTERPRET=1 before Python starts"
        )


def device(name: str | None = None) -> torch.device:
    """The device to compute on: `name`, else the environment variable LATENTLIB_DEVICE, else the CPU.

    Nothing takes a GPU unasked. `auto` takes one if there is one. Raises RuntimeError for a device this machine lacks.
    """
    name = name or os.environ.get("LATENTLIB_DEVICE") or "cpu"
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = torch.device(name)
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f"device: want {name!r}, but torch {torch.__version__} sees no CUDA device; use cpu or auto")
    return chosen


def device_name(chosen: torch.device | None = None) -> str:
    """Human-readable name of a device, for tables and provenance."""
    chosen = chosen or device()
    return torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else f"CPU ({os.cpu_count()} cores)"
