"""Triton kernels: the only files that import triton. One file per concept, kernel above launcher."""
