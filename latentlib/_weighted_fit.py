"""Weighted least-squares polynomials, with the covariance of their coefficients."""

from typing import NamedTuple

import torch
from torch import Tensor


class Polynomial(NamedTuple):
    """Weighted least-squares polynomial in x = (t − centre)/half_width, with the covariance of its coefficients."""

    centre: float
    half_width: float
    coefficients: Tensor
    covariance: Tensor
    chi_square: Tensor

    @classmethod
    def fit(cls, points: Tensor, values: Tensor, se: Tensor, degree: int) -> "Polynomial":
        low, high = points.min().item(), points.max().item()
        centre, half_width = (low + high) / 2, (high - low) / 2
        design = torch.linalg.vander((points - centre) / half_width, N=degree + 1) / se[:, None]
        frame, triangle = torch.linalg.qr(design)
        inverse = torch.linalg.solve_triangular(triangle, torch.eye(degree + 1, dtype=torch.float64), upper=True)
        coefficients = inverse @ (frame.T @ (values / se))
        chi_square = (values / se - design @ coefficients).square().sum()
        return cls(centre, half_width, coefficients, inverse @ inverse.T, chi_square)

    def powers(self, points: Tensor) -> Tensor:
        return torch.linalg.vander((points - self.centre).flatten() / self.half_width, N=len(self.coefficients))

    def __call__(self, points: Tensor) -> Tensor:
        return (self.powers(points) @ self.coefficients).view(points.shape)

    def slope(self, points: Tensor) -> Tensor:
        order = torch.arange(1, len(self.coefficients), dtype=torch.float64)
        lower = self.powers(points)[:, :-1] * order
        return (lower @ self.coefficients[1:] / self.half_width).view(points.shape)


def check_points(points: Tensor, values: Tensor, se: Tensor, degree: int) -> None:
    """Points (n,), values and errors (..., n), finite, errors positive, and more points than the degree."""
    if points.ndim != 1 or values.shape != se.shape or values.shape[-1:] != points.shape:
        shapes = [tuple(of.shape) for of in (points, values, se)]
        raise ValueError(f"want points, values and their errors of one length, got {shapes}")
    if not (points.isfinite().all() and values.isfinite().all() and se.isfinite().all() and (se > 0).all()):
        raise ValueError("want finite points and values, and errors that are finite and positive")
    if len(points.unique()) <= degree:
        raise ValueError(f"want {degree + 1} or more different points, got {points.tolist()}")
