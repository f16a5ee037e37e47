"""What functions of Ising spins ask of their input: a batch of square lattices of ±1, and controls of each point."""

import torch
from torch import Tensor

SIZE_LIMIT = 2**15  # 2³⁰ sites: kernels number them in int32
COUNTER_LIMIT = 2**32  # one word of a Philox counter
POINT_LIMIT = 2**28  # the point's word also says what a number is for
STREAM_SWEEP, STREAM_CLUSTER, STREAM_START = 0, POINT_LIMIT, 2 * POINT_LIMIT


def check_spins(spins: Tensor) -> None:
    """Spins are int8 ±1 on square lattices, (n_points, n_replicas, size, size), none of them 0."""
    if not isinstance(spins, Tensor) or spins.dtype != torch.int8:
        raise TypeError(f"spins: want an int8 tensor, got {getattr(spins, 'dtype', type(spins).__name__)}")
    if spins.ndim != 4 or spins.shape[2] != spins.shape[3] or 0 in spins.shape:
        raise ValueError(f"spins: want (n_points, n_replicas, size, size), none of them 0, got {tuple(spins.shape)}")
    check_shape(*spins.shape[:3])
    if not (spins.abs() == 1).all():
        raise ValueError("spins: want values −1 and +1, got others")


def check_shape(n_points: int, n_replicas: int, size: int) -> None:
    """Whole numbers, one at least, that a counter can name."""
    limits = {
        "n_points": (n_points, POINT_LIMIT),
        "n_replicas": (n_replicas, COUNTER_LIMIT),
        "size": (size, SIZE_LIMIT),
    }
    for name, (value, limit) in limits.items():
        check_count(name, value, 1, limit)


def check_count(name: str, value: int, low: int, high: int) -> None:
    """A whole number from low to high."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name}: want a whole number from {low} to {high}, got {value!r}")


def check_counter(
    spins: Tensor, n_sweeps: int, seed: int, first_sweep: int, first_point: int, first_replica: int
) -> None:
    """The seed is a key of 64 bits, and every sweep, point and replica of the run has a number of its own."""
    check_count("seed", seed, 0, 2**64 - 1)
    check_count("n_sweeps", n_sweeps, 0, COUNTER_LIMIT)
    check_count("first_sweep", first_sweep, 0, COUNTER_LIMIT - n_sweeps)
    check_count("first_point", first_point, 0, POINT_LIMIT - spins.shape[0])
    check_count("first_replica", first_replica, 0, COUNTER_LIMIT - spins.shape[1])


def per_point(name: str, value: float | Tensor, n_points: int) -> Tensor:
    """A control as finite float64 on the CPU, (n_points,): given for each point, or one number for all."""
    values = torch.as_tensor(value, dtype=torch.float64).detach().cpu()
    if values.shape not in ((), (n_points,)):
        raise ValueError(f"{name}: want a number or (n_points = {n_points},), got {tuple(values.shape)}")
    if not values.isfinite().all():
        raise ValueError(f"{name}: want finite values, got {values.tolist()}")
    return values.expand(n_points)


def temperatures(value: float | Tensor, n_points: int) -> Tensor:
    """Temperatures of the points, zero or more."""
    values = per_point("temperature", value, n_points)
    if (values < 0).any():
        raise ValueError(f"temperature: want values of 0 or more, got {values.min().item():g}")
    return values


def word_thresholds(probability: Tensor) -> Tensor:
    """Thresholds t in 0 … 2³² with which a uniform 32-bit word is under t with this probability, to 2⁻³³."""
    return (probability * 2**32).round().long()
