"""Preconditioned L-BFGS on a batch of independent problems: one call, all problems advance together."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

ARMIJO = 1e-4  # share of the predicted decrease that a step must deliver
SHRINK = 0.4  # factor of a backtracking step
MAX_BACKTRACKS = 25


@dataclass(frozen=True)
class Minimum:
    """Result of `minimize`, one entry a problem: x (batch, …), value, residual (preconditioned gradient norm), n_iterations."""

    x: Tensor
    value: Tensor
    residual: Tensor
    n_iterations: Tensor
    converged: Tensor


def minimize(
    value_and_gradient: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    precondition: Callable[[Tensor, Tensor, Tensor], Tensor],
    x: Tensor,
    tolerance: Tensor,
    *,
    max_iterations: int = 2000,
    n_memory: int = 10,
    max_step: float = math.inf,
) -> Minimum:
    """Batched L-BFGS (Nocedal 1980) whose initial inverse Hessian is a matrix that moves with the iterate.

    value_and_gradient(x, rows) → (batch,), (batch, …) and precondition(x, gradient, rows) → H₀(x)·gradient, symmetric
    positive definite, see only the problems `rows` that are still open: a solved one leaves the batch.
    No step is longer than max_step (Euclidean norm of one problem's x).
    A problem is solved when √(gᵀH₀g) ≤ tolerance (batch,), the gradient norm in the metric of H₀.
    """
    rows = torch.arange(len(x), device=x.device)
    result = Minimum(x.clone(), *(x.new_zeros(len(x)) for _ in range(2)), torch.zeros_like(rows), torch.zeros_like(rows).bool())
    value, gradient = value_and_gradient(x, rows)
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []  # (step, change of gradient, 1/⟨step, change⟩), oldest first
    for iteration in range(max_iterations + 1):
        steepest = precondition(x, gradient, rows)
        residual = _dot(gradient, steepest).clamp_min(0).sqrt()
        solved = residual <= tolerance[rows]
        leaving = solved if iteration < max_iterations else torch.ones_like(solved)
        if leaving.any():
            done = rows[leaving]
            result.x[done], result.value[done], result.residual[done] = x[leaving], value[leaving], residual[leaving]
            result.n_iterations[done], result.converged[done] = iteration, solved[leaving]
            stay = ~leaving
            x, value, gradient, steepest, rows = x[stay], value[stay], gradient[stay], steepest[stay], rows[stay]
            pairs = [tuple(part[stay] for part in pair) for pair in pairs]
        if len(rows) == 0:
            break
        direction = _two_loop(x, gradient, steepest, pairs, precondition, rows)
        direction = _along((max_step / _dot(direction, direction).sqrt()).clamp_max(1.0), direction)
        x_new, value_new, gradient_new = _line_search(value_and_gradient, x, value, gradient, direction, rows, bool(pairs))
        pairs = [*pairs, _curvature_pair(x_new - x, gradient_new - gradient)][-n_memory:]
        x, value, gradient = x_new, value_new, gradient_new
    return result


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return (left * right).flatten(1).sum(1)


def _along(scalar: Tensor, x: Tensor) -> Tensor:
    return scalar.view(-1, *[1] * (x.ndim - 1)) * x


def _two_loop(x, gradient, steepest, pairs, precondition, rows) -> Tensor:
    """Descent direction −H·gradient by the two-loop recursion; −H₀·gradient where that does not descend."""
    vector, weights = gradient, []
    for step, change, inverse in reversed(pairs):
        weights.append(inverse * _dot(step, vector))
        vector = vector - _along(weights[-1], change)
    vector = precondition(x, vector, rows) if pairs else steepest
    for (step, change, inverse), weight in zip(pairs, reversed(weights)):
        vector = vector + _along(weight - inverse * _dot(change, vector), step)
    descends = _dot(gradient, vector) > 0
    return -torch.where(descends.view(-1, *[1] * (x.ndim - 1)), vector, steepest)


def _line_search(value_and_gradient, x, value, gradient, direction, rows, has_memory) -> tuple[Tensor, Tensor, Tensor]:
    """Backtrack each problem on its own until it decreases enough; at rounding level a smaller slope is accepted instead."""
    slope = _dot(gradient, direction)
    rounding = 1e2 * torch.finfo(x.dtype).eps * (1 + value.abs())
    length = torch.full_like(value, 1.0 if has_memory else 0.5)
    for _ in range(MAX_BACKTRACKS):
        x_new = x + _along(length, direction)
        value_new, gradient_new = value_and_gradient(x_new, rows)
        decreased = value_new <= value + ARMIJO * length * slope
        flattened = (value_new <= value + rounding) & (_dot(gradient_new, direction).abs() <= -slope)
        failed = ~(decreased | flattened)
        if not failed.any():
            break
        length = torch.where(failed, SHRINK * length, length)
    return x_new, value_new, gradient_new


def _curvature_pair(step: Tensor, change: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A pair without positive curvature gets weight 0: it stays in the list, so that all problems share one history."""
    curvature = _dot(step, change)
    usable = curvature > torch.finfo(step.dtype).eps * _dot(change, change).sqrt() * _dot(step, step).sqrt()
    return step, change, torch.where(usable, 1 / torch.where(usable, curvature, 1.0), 0.0)
