"""Closed forms take tensors or plain numbers alike: a formula is written once, for tensors."""

from collections.abc import Callable
from functools import wraps
from numbers import Real

import torch
from torch import Tensor


def closed_form(formula: Callable[..., Tensor]) -> Callable[..., Tensor | float]:
    """Lets `formula(*tensors)` take numbers too: alone they are computed in float64 and give a float.

    Beside a floating tensor, numbers take its dtype and device, and the result is a tensor. Keyword arguments pass
    untouched. Raises TypeError for positional arguments that are neither numbers nor floating tensors.
    """

    @wraps(formula)
    def of_numbers(*arguments, **options):
        for argument in arguments:
            floating = isinstance(argument, Tensor) and argument.is_floating_point()
            if not floating and (not isinstance(argument, Real) or isinstance(argument, bool)):
                found = argument.dtype if isinstance(argument, Tensor) else repr(argument)
                raise TypeError(f"{formula.__name__}: want numbers or floating-point tensors, got {found}")
        first = next((argument for argument in arguments if isinstance(argument, Tensor)), None)
        kind = {"dtype": torch.float64} if first is None else {"dtype": first.dtype, "device": first.device}
        result = formula(*(a if isinstance(a, Tensor) else torch.tensor(float(a), **kind) for a in arguments), **options)
        return result.item() if first is None else result

    return of_numbers
