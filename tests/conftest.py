"""Set before anything imports triton or starts threads: kernels run in the interpreter, one thread a test process."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")

import pytest  # noqa: E402
import torch  # noqa: E402


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded generator: a test that needs random numbers takes it, none draws from the global state."""
    return torch.Generator().manual_seed(20260522)
