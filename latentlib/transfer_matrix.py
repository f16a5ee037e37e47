"""Transfer matrix of the Ising torus in a field: partition function, magnetization and susceptibility, to size 10.

Energy −Σ_bonds s s′ − field·Σ s on size × size sites, N of them, two bonds a site (see `torus`). V[s, s′] is the weight
of a row s′ and of its bonds to the row s before it: Z = tr V^size. Source: Kramers and Wannier 1941.
"""

import math
from functools import partial
from numbers import Real

import torch
from torch import Tensor

from latentlib._closed_form import closed_form

TRANSFER_SIZE = 10  # rows of 2^10 states
LAW_SIZE = 8  # (N + 1)/2 transfer matrices, complex


def log_partition_transfer(temperature: Tensor | float, field: Tensor | float, size: int) -> Tensor | float:
    """Log partition function with a field, ln Z = ln tr V^size, V the transfer matrix of a row, 2^size × 2^size.

    O(8^size ln size) a point: a second at size 10, the largest. Shapes: temperature and field broadcast. Raises:
    ValueError for a temperature not positive and finite, a field that is not finite, or the size; TypeError for what
    is no number.
    """
    return _transfer(temperature, field, size=_checked_size(size, TRANSFER_SIZE, "the transfer matrix"), order=0)


def magnetization_transfer(temperature: Tensor | float, field: Tensor | float, size: int) -> Tensor | float:
    """Magnetization of the torus in a field, ⟨m⟩ = (temperature/N)·∂(ln Z)/∂field: the derivative of ln tr V^size.

    Odd in the field, 0 at field 0 on every finite torus. Shapes and errors: as `log_partition_transfer`.
    """
    return _transfer(temperature, field, size=_checked_size(size, TRANSFER_SIZE, "the transfer matrix"), order=1)


def susceptibility_transfer(temperature: Tensor | float, field: Tensor | float, size: int) -> Tensor | float:
    """Magnetic susceptibility of the torus, χ = ∂⟨m⟩/∂field = N·Var m/temperature: the exact second derivative.

    Of the signed magnetization: at field 0 below the critical temperature it grows as N/temperature. 1/temperature at
    infinite temperature. Shapes and errors: as `log_partition_transfer`.
    """
    return _transfer(temperature, field, size=_checked_size(size, TRANSFER_SIZE, "the transfer matrix"), order=2)


@closed_form
def _transfer(temperature: Tensor, field: Tensor, *, size: int, order: int) -> Tensor:
    """ln Z (order 0), ⟨m⟩ (1) or χ (2), by differentiating in bias = field/temperature, which couples to M."""
    inv_temp, field = torch.broadcast_tensors(_positive_inverse(temperature), _checked_field(field))
    log_partition = partial(_log_trace, size=size)
    for _ in range(order):
        log_partition = torch.func.grad(log_partition, argnums=1)
    points = [log_partition(one, one * bias) for one, bias in zip(inv_temp.flatten(), field.flatten())]
    unit = 1 if order == 0 else inv_temp ** (order - 1) / size**2
    return (torch.stack(points).view(inv_temp.shape) * unit).to(temperature.dtype)


def _log_trace(inv_temp: Tensor, bias: Tensor, size: int) -> Tensor:
    log_matrix = _log_row_matrix(inv_temp, size) + bias * _all_spins(size).sum(1).to(inv_temp)
    scale = log_matrix.detach().amax()
    return size * scale + _trace_of_power((log_matrix - scale).exp(), size).log()


def _log_row_matrix(inv_temp: Tensor, size: int) -> Tensor:
    """K·(bonds from one row s to the next s′ + bonds within s′), [s, s′]."""
    rows = _all_spins(size).to(inv_temp)
    return inv_temp * (rows @ rows.T + (rows * rows.roll(1, 1)).sum(1))


def _trace_of_power(matrix: Tensor, power: int) -> Tensor:
    """tr matrix^power in log₂ power products: differentiable any number of times, whatever eigenvalues coincide."""
    rest = None
    while power > 1:
        if power % 2:
            rest = matrix if rest is None else rest @ matrix
        matrix, power = matrix @ matrix, power // 2
    return matrix.trace() if rest is None else (rest * matrix.T).sum()


def magnetization_law(temperature: Tensor | float, size: int) -> Tensor:
    """Law P(M) of the summed magnetization at zero field, by Fourier inversion of ⟨e^{iθM}⟩ = tr V(iθ)^size/tr V^size.

    θ = πk/(N + 1): the N + 1 values M = −N, −N + 2, …, N are recovered exactly, to 1e-15 of the largest probability.
    In a field, multiply by e^{field·M/temperature} and normalise. A second a point at size 8, the largest.
    Returns: the shape of temperature + (N + 1,). Raises: ValueError for a temperature not positive and finite, or the
    size; TypeError for a temperature that is no number.
    """
    size = _checked_size(size, LAW_SIZE, "the magnetization law")
    temperature = _floating(temperature)
    n_values = size * size + 1
    angle = math.pi / n_values * torch.arange(n_values // 2 + 1, dtype=torch.float64, device=temperature.device)
    laws = []
    for inv_temp in _positive_inverse(temperature).flatten():
        log_matrix = _log_row_matrix(inv_temp, size)
        matrix = (log_matrix - log_matrix.amax()).exp()
        phase = torch.polar(torch.ones_like(angle), -angle)  # of one unit of M
        row = _all_spins(size).sum(1).to(angle)
        traces = [_trace_of_power(matrix * one**row, size) * one ** (size * size) for one in phase]
        law = torch.fft.irfft(torch.stack(traces), n=n_values)
        laws.append(law / law.sum())
    return torch.stack(laws).view(*temperature.shape, n_values).to(temperature.dtype)


def _floating(temperature: Tensor | float) -> Tensor:
    """A floating tensor as it is, a number in float64."""
    if isinstance(temperature, Tensor) and temperature.is_floating_point():
        return temperature
    if isinstance(temperature, Tensor) or isinstance(temperature, bool) or not isinstance(temperature, Real):
        raise TypeError(f"temperature: want a number or a floating-point tensor, got {temperature!r}")
    return torch.tensor(float(temperature), dtype=torch.float64)


def _all_spins(n: int) -> Tensor:
    """All 2^n rows of n spins, int64."""
    return 2 * (torch.arange(2**n)[:, None] >> torch.arange(n) & 1) - 1


def _positive_inverse(temperature: Tensor) -> Tensor:
    bad = ~((temperature > 0) & temperature.isfinite())
    if bad.any():
        raise ValueError(f"temperature: want positive and finite, got {temperature[bad][0].item()}")
    return 1 / temperature.double()


def _checked_field(field: Tensor) -> Tensor:
    if not field.isfinite().all():
        raise ValueError(f"field: want finite values, got {field[~field.isfinite()][0].item()}")
    return field.double()


def _checked_size(size: int, largest: float = math.inf, by: str = "") -> int:
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= largest:
        upto = "a positive integer" if largest == math.inf else f"an integer from 1 to {largest} for {by}"
        raise ValueError(f"size: want {upto}, got {size!r}")
    return size
