"""Moves and forces: do steps follow a force, and is their noise that of a temperature?

    Δz = mobility·F + noise,   noise of variance 2·temperature·mobility in every component: a Langevin step of F = −∇H.

Moves and forces are (n_steps, n_inputs, n_latent), or (n_inputs, n_latent) for one step; `training_force` records them.
Intervals over inputs hold for more inputs of the same training. Where all inputs share the noise, as those of one
network share its batches, take them over steps; for another training, over seeds.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlib._codes import unit_rows
from latentlib.interval import bootstrap_interval, mean_interval

__all__ = ["Alignment", "EffectiveTemperature", "alignment", "effective_temperature"]

Interval = tuple[float, float, float]  # value, low, high
NOISE_SHARE_MIN = 1e-12  # of the squares: less is rounding of float64 sums


@dataclass(frozen=True)
class Alignment:
    """Mean cosine of moves with forces; of moves with forces on other inputs; their difference: (value, low, high)."""

    cosine: Interval
    shuffled: Interval
    excess: Interval


def alignment(
    delta: Tensor, force: Tensor, *, over: str = "inputs", level: float = 0.95, n_resamples: int = 999, seed: int
) -> Alignment:
    """Alignment of moves with their own forces, ⟨cos(Δz_i, F_i)⟩, beside its null ⟨cos(Δz_i, F_j)⟩ over all i ≠ j.

    In [−1, 1]; the null averages over every shuffle of the forces. A drift that all inputs share aligns moves with
    forces on others too: what follows the own force is the excess.
    Args: delta, force, (n_steps, n_inputs, n_latent) or (n_inputs, n_latent), floating, same shape; over, "inputs"
        (n_inputs ≥ 10; `bootstrap_interval` by halves, deterministic in seed) or "steps" (n_steps ≥ 2; Student).
    Raises: ValueError for other shapes, values not finite, a move or force of norm 0, fewer than 2 inputs, or options
    out of range.
    """
    delta, force = _moves(over, delta=delta, force=force)
    unit_delta, unit_force = (
        unit_rows(name, part.flatten(0, 1)).view_as(part) for name, part in (("delta", delta), ("force", force))
    )
    cosines = unit_delta @ unit_force.mT  # [t, i, j]
    if over == "steps":
        mean, low, high = mean_interval(_own_and_others(cosines), level)
    else:
        cosines, inputs = cosines.mean(0), torch.arange(delta.shape[1])
        options = {"level": level, "n_resamples": n_resamples, "seed": seed, "method": "halves"}
        mean, low, high = bootstrap_interval(lambda rows: _own_and_others(cosines[rows][:, rows]), inputs, **options)
    return Alignment(*zip(mean.tolist(), low.tolist(), high.tolist(), strict=True))


@dataclass(frozen=True)
class EffectiveTemperature:
    """Mobility and inverse temperatures of moves, along and across the force: (value, low, high).

    Made by `effective_temperature`. Langevin noise has one temperature: along and across agree. inv_temp_across is None
    for a preconditioned force, whose matrix is not known, and where no component is left across.
    """

    mobility: Interval
    inv_temp: Interval
    inv_temp_across: Interval | None

    @property
    def temperature(self) -> Interval:
        """1/inv_temp with its interval; an end, or the value, is inf where 1/inv_temp is not known to be positive."""
        value, low, high = (1 / inverse if inverse > 0 else math.inf for inverse in self.inv_temp)
        return value, high, low


def effective_temperature(
    delta: Tensor, force: Tensor, *, preconditioned: Tensor | None = None, on_sphere: bool = False,
    over: str = "inputs", level: float = 0.95, n_resamples: int = 999, seed: int,
) -> EffectiveTemperature:  # fmt: skip
    """Effective temperature of Δz = mobility·K F + √(2·temperature·mobility·K)·ξ, K = 1 or a positive matrix per move.

    mobility = ΣF·Δz/ΣF·KF, by generalised least squares; 1/temperature = 2·mobility·ΣF·KF/Σ(F·Δz − mobility·F·KF)², up
    to a degree of freedom: the work F·Δz has a variance of 2·temperature times its mean, whatever K is. For K = 1 also
    from the noise across the force, 2·mobility·(n − 1)/⟨|Δz_⊥|²⟩. In units of H. Moves that follow no force have
    1/temperature = 0, moves against it < 0. Exact for Euler steps; for exact steps of a quadratic energy of curvature k
    the fit gives temperature·(1 + e^{−k·time})/2: record often. Of Adam it describes no Gibbs law.
    Args: delta, force, as `alignment`; preconditioned, K F, same shape, or None: K = 1; on_sphere, force is tangent and
        |z|² = n: one component less across; over, "inputs" or "steps", what the BCa interval resamples: 10 or more.
    Returns: EffectiveTemperature. The null: force.roll(1, dims=-2), forces on other inputs.
    Raises: ValueError as `alignment`, for ΣF·KF ≤ 0, and for moves without noise, whose temperature is 0.
    """
    parts = {"delta": delta, "force": force} | ({} if preconditioned is None else {"preconditioned": preconditioned})
    delta, force, *drift = _moves(over, **parts)
    drift = drift[0] if drift else force
    work, power = (force * delta).sum(-1), (force * drift).sum(-1)  # [t, i]
    across = delta.square().sum(-1) - work.square() / force.square().sum(-1)
    n_across = delta.shape[-1] - 1 - on_sphere if preconditioned is None else 0
    terms = torch.stack([torch.ones_like(work), work, power, work**2, work * power, power**2, across], -1)
    table = terms.sum(0 if over == "inputs" else 1)
    _check_noise(table.sum(0), delta.square().sum().item(), n_across)

    def estimates(rows: Tensor) -> Tensor:
        mobility, noise, scale = _fit(rows.sum(0))
        found = [mobility, 2 * mobility * scale / noise]
        if n_across > 0:
            count, across = rows[:, 0].sum(), rows[:, 6].sum()
            found.append(2 * mobility * n_across * count / across)
        return torch.stack(found)

    options = {"level": level, "n_resamples": n_resamples, "seed": seed, "method": "rows"}
    mean, low, high = bootstrap_interval(estimates, table, **options)
    found = list(zip(mean.tolist(), low.tolist(), high.tolist(), strict=True))
    return EffectiveTemperature(*(found + [None])[:3])


def _fit(sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mobility, Σ(F·Δz − mobility·F·KF)², and its mean over 2·temperature·mobility."""
    _, work, power, work_square, work_power, power_square, _ = sums
    mobility = work / power
    noise = work_square - 2 * mobility * work_power + mobility.square() * power_square
    return mobility, noise, power - power_square / power  # the fit takes one degree of freedom


def _own_and_others(cosines: Tensor) -> Tensor:
    """Mean of the diagonal, of the rest and their difference of (…, n, n): (…, 3)."""
    n = cosines.shape[-1]
    own = cosines.diagonal(dim1=-2, dim2=-1).mean(-1)
    others = (cosines.sum((-2, -1)) - n * own) / (n * (n - 1))
    return torch.stack([own, others, own - others], -1)


def _moves(over: str, **parts: Tensor) -> list[Tensor]:
    """Checked moves and forces, (n_steps, n_inputs, n_latent) in float64."""
    if over not in ("inputs", "steps"):
        raise ValueError(f"over: want 'inputs' or 'steps', got {over!r}")
    shape = getattr(parts["delta"], "shape", ())
    for name, part in parts.items():
        floating = isinstance(part, Tensor) and part.is_floating_point()
        if not floating or part.ndim not in (2, 3) or part.shape != shape:
            found = f"{part.dtype} {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
            raise ValueError(f"{name}: want floating ([n_steps,] n_inputs, n_latent) like delta, got {found}")
        if part.numel() == 0 or part.shape[-2] < 2:
            raise ValueError(f"{name}: want a step, two inputs and a latent or more, got {tuple(part.shape)}")
        if not part.isfinite().all():
            raise ValueError(f"{name}: want finite values, got {part[~part.isfinite()][0].item()}")
        if name != "preconditioned" and not (part != 0).any(-1).all():
            raise ValueError(f"{name}: want moves and forces that are not zero, got one")
    return [part.detach().double().cpu().reshape(-1, *part.shape[-2:]) for part in parts.values()]


def _check_noise(sums: Tensor, square: float, n_across: int) -> None:
    if not sums[2] > 0:
        raise ValueError(f"preconditioned: want ΣF·KF > 0, as of a positive matrix K, got {sums[2].item():.3g}")
    noise, across = _fit(sums)[1], sums[6]
    if not noise > NOISE_SHARE_MIN * sums[3] or (n_across > 0 and not across > NOISE_SHARE_MIN * square):
        raise ValueError("delta: want moves with noise, got moves along the force to rounding: their temperature is 0")
