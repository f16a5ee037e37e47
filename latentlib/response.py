"""Five susceptibilities with five names, and the response that one of them must equal.

Overlap susceptibilities χ = n·Var q differ in what is drawn twice: inputs (`susceptibility_across`), inputs of one
class (`susceptibility_within_class`), training seeds (`susceptibility_between_seeds`), Gibbs replicas of one system
(`susceptibility_replicas`). The fifth is no fluctuation: dm/dcontrol (`response`). Only in equilibrium, and only for
the field conjugate to m, does it equal one: dm/dfield = N·Var m/temperature (`fluctuation`).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from latentlib._codes import check_codes, unit_rows
from latentlib.class_overlap import class_moments
from latentlib.overlap import overlap_moments
from latentlib.reference.overlap import DistinctMeans, PairSums, distinct_means, jackknife_error


class Susceptibility(NamedTuple):
    """χ and its standard error, numbers, or tensors of one shape."""

    chi: float | Tensor
    chi_se: float | Tensor


def susceptibility_across(z: Tensor, *, floor: float = 0.0) -> Susceptibility:
    """Susceptibility across inputs, χ = n·Var q over pairs of inputs: 1 on the uniform sphere; classes raise it.

    Pairs of inputs are no replicas: each input has a field of its own. Error by jackknife over inputs. Arguments and
    errors as `overlap_moments`, whose χ it is. Raises: ValueError as there.
    """
    found = overlap_moments(z, floor=floor)
    return Susceptibility(found.chi, found.chi_se)


def susceptibility_within_class(z: Tensor, labels: Tensor) -> Susceptibility:
    """Susceptibility within a class, χ = n·E[Var(q|class)] over pairs of inputs of one class: what classes do not make.

    A class weighs as many pairs as it has. Error by jackknife over inputs. Arguments as `class_moments`.
    Raises: ValueError as there: codes, labels, one class, a class of fewer than five points.
    """
    found = class_moments(z, labels)
    return Susceptibility(found.n_latent * found.q_within_var, found.n_latent * found.q_within_var_se)


def susceptibility_between_seeds(codes: Tensor, *, align: str | None) -> Susceptibility:
    """Susceptibility between training seeds, χ = n·⟨Var_ab q_ab(x)⟩_x: codes of one input x by networks a ≠ b.

    1 for unrelated seeds, 0 for seeds that agree on every input. Latent axes of two networks mean nothing to each
    other: align="orthogonal" turns every seed onto the first (Procrustes: min Σ|s_b O − s_1|² over orthogonal O), each
    half of the inputs (even, odd rows) by the O of the other half, so that unrelated seeds stay unrelated. None leaves
    codes as they are. Var is unbiased, over distinct seeds; the error is a jackknife over seeds: few, so a rough one.
    Args: codes, (n_seeds ≥ 5, n_samples, n_latent), row i of every seed the code of input i; with align="orthogonal"
    n_samples ≥ 2·n_latent, or O would be arbitrary. Memory: n_samples·n_seeds² numbers.
    Raises: ValueError for another shape, bad codes, too few seeds or inputs, an unknown align.
    """
    if align not in (None, "orthogonal"):
        raise ValueError(f"align: want 'orthogonal' or None, got {align!r}")
    s = _unit_batch("codes", codes, "n_seeds", 5)
    n_seeds, n_samples, n_latent = s.shape
    if align:
        if n_samples < 2 * n_latent:
            raise ValueError(f"codes: want n_samples >= 2·n_latent to align seeds, got {n_samples} and {n_latent}")
        s = s.clone()
        even, odd = s[:, 0::2].clone(), s[:, 1::2].clone()
        s[:, 0::2], s[:, 1::2] = even @ _onto_first(odd), odd @ _onto_first(even)
    gram = torch.einsum("aik,bik->iab", s, s)

    def chi(seeds: Tensor) -> Tensor:
        mean = _gram_means(gram[:, seeds[:, None], seeds])
        return n_latent * (mean.square - mean.quadruple).mean()

    seeds = torch.arange(n_seeds, device=s.device)
    without = torch.stack([chi(seeds[seeds != one]) for one in seeds])
    return Susceptibility(chi(seeds).item(), jackknife_error(without))


@dataclass(frozen=True)
class ReplicaMoments:
    """Moments of q over replicas of one Gibbs measure, averaged over systems; `_se` is over systems."""

    n_systems: int
    n_latent: int
    q_mean: float
    q_mean_se: float
    q_square: float
    q_square_se: float
    q_mean_square: float  # (E q)² of each system, over four distinct replicas
    q_mean_square_se: float
    q_var: float  # E q² − (E q)² of each system
    q_var_se: float


def replica_moments(replicas: Tensor) -> ReplicaMoments:
    """Moments of the overlap over Gibbs replicas: E q, E q², (E q)² and Var q of each system, then their mean.

    Unbiased in the number of replicas. A system is one draw of the couplings, or one input x with its H_x: Var q is
    taken at fixed system, so the spread of E q over systems is not in it. For one system: `overlap_moments`.
    Args: replicas, (n_systems ≥ 2, n_replicas ≥ 4, n_latent): row r of system i an independent draw of its measure.
    Raises: ValueError for another shape, too few systems or replicas, a zero row, values not finite.
    """
    s = _unit_batch("replicas", replicas, "n_systems", 2)
    n_systems, n_replicas, n_latent = s.shape
    if n_replicas < 4:
        raise ValueError(f"replicas: want n_replicas >= 4, got {n_replicas}")
    mean = _gram_means(s @ s.mT)
    var = mean.square - mean.quadruple
    values = {"q_mean": mean.pair, "q_square": mean.square, "q_mean_square": mean.quadruple, "q_var": var}
    errors = {f"{name}_se": (value.std() / n_systems**0.5).item() for name, value in values.items()}
    means = {name: value.mean().item() for name, value in values.items()}
    return ReplicaMoments(n_systems, n_latent, **means, **errors)


def susceptibility_replicas(replicas: Tensor) -> Susceptibility:
    """Susceptibility over Gibbs replicas, χ = n·Var q at fixed system, averaged over systems; error over systems.

    1 at infinite temperature. Blind to a p ≥ 3 spin glass from above: there it stays near 1 down to the static
    temperature. Argument and errors as `replica_moments`. Raises: ValueError as there.
    """
    found = replica_moments(replicas)
    return Susceptibility(found.n_latent * found.q_var, found.n_latent * found.q_var_se)


class Response(NamedTuple):
    """Slope dm/dcontrol at the inner values of the control, with its standard error."""

    control: Tensor
    slope: Tensor
    slope_se: Tensor


def response(control: Tensor, order: Tensor, order_se: Tensor) -> Response:
    """Response dm/dcontrol of an order parameter by central differences, (m₊ − m₋)/2δ on an even grid.

    On an uneven grid the slope at its middle of the parabola through three neighbours; wrong by m‴δ₋δ₊/6. Errors of m
    at different controls count as independent, so neighbouring slopes, which share values, are not.
    Args: control, rising, (n_controls ≥ 3,); order, its m, and order_se, (n_controls, …).
    Returns: control (n_controls − 2,), slope and slope_se (n_controls − 2, …), float64.
    Raises: ValueError for other shapes, a control that does not rise, a value not finite, an error below 0.
    """
    control, order, order_se = (torch.as_tensor(one, dtype=torch.float64) for one in (control, order, order_se))
    if control.ndim != 1 or len(control) < 3 or order.shape != order_se.shape or order.shape[:1] != control.shape:
        shapes = tuple(control.shape), tuple(order.shape), tuple(order_se.shape)
        raise ValueError(f"response: want (n_controls >= 3,) and two (n_controls, ...), got {shapes}")
    if not all(one.isfinite().all() for one in (control, order, order_se)) or (order_se < 0).any():
        raise ValueError("response: want finite values and errors >= 0")
    step = control.diff()
    if not (step > 0).all():
        raise ValueError(f"response: want a rising control, got {control.tolist()}")
    before, after = (part.reshape(-1, *[1] * (order.ndim - 1)) for part in (step[:-1], step[1:]))
    weights = (
        -after / (before * (before + after)), (after - before) / (before * after), before / (after * (before + after))
    )  # fmt: skip
    parts = [(weight, order[k : k - 2 or None], order_se[k : k - 2 or None]) for k, weight in enumerate(weights)]
    slope = sum(weight * value for weight, value, _ in parts)
    return Response(control[1:-1], slope, sum((weight * error).square() for weight, _, error in parts).sqrt())


def fluctuation(magnetization: Tensor, n_spins: int, temperature: float | Tensor) -> Susceptibility:
    """Fluctuation N·Var m/temperature of the magnetization a spin, which in equilibrium equals dm/dfield.

    Var m = ⟨m²⟩ − ⟨m⟩², ⟨m⟩² over distinct replicas: unbiased however correlated one replica's samples are. Error by
    jackknife over replicas. Below a critical temperature without a field replicas of both signs mix: take a field.
    Args: magnetization, (n_samples, n_replicas ≥ 3) or (n_samples, n_points, n_replicas), replicas independent chains;
    n_spins ≥ 1; temperature > 0, a number or (n_points,). Returns: chi and chi_se, () or (n_points,), float64.
    Raises: ValueError for other shapes, too few replicas, n_spins below 1, temperature not above 0, values not finite.
    """
    m = torch.as_tensor(magnetization, dtype=torch.float64)
    temperature = torch.as_tensor(temperature, dtype=torch.float64, device=m.device)
    if m.ndim not in (2, 3) or len(m) == 0 or m.shape[-1] < 3:
        raise ValueError(f"magnetization: want (n_samples, [n_points,] n_replicas >= 3), got {tuple(m.shape)}")
    if not m.isfinite().all():
        raise ValueError("magnetization: want finite values, got NaN or infinity")
    if temperature.ndim and temperature.shape != m.shape[1:-1]:
        raise ValueError(f"temperature: want a number or {tuple(m.shape[1:-1])}, got {tuple(temperature.shape)}")
    if not ((temperature > 0) & temperature.isfinite()).all() or n_spins < 1:
        raise ValueError(f"want temperature > 0 and n_spins >= 1, got {temperature.tolist()} and {n_spins}")
    mean, square = m.mean(0), m.square().mean(0)
    n_replicas = mean.shape[-1]

    def var(total: Tensor, total_square: Tensor, square_sum: Tensor, n: int) -> Tensor:
        return square_sum / n - (total.square() - total_square) / (n * (n - 1))

    sums = mean.sum(-1), mean.square().sum(-1), square.sum(-1)
    left = (total[..., None] - own for total, own in zip(sums, (mean, mean.square(), square)))
    without = var(*left, n_replicas - 1)
    error = ((n_replicas - 1) * without.var(-1, correction=0)).sqrt()
    scale = n_spins / temperature
    return Susceptibility(scale * var(*sums, n_replicas), scale * error)


def _unit_batch(name: str, codes: Tensor, first: str, n_min: int) -> Tensor:
    """Directions in float64, (n, …, n_latent), of a checked batch of codes."""
    if not isinstance(codes, Tensor) or codes.ndim != 3 or len(codes) < n_min:
        found = tuple(codes.shape) if isinstance(codes, Tensor) else type(codes).__name__
        raise ValueError(f"{name}: want a tensor ({first} >= {n_min}, n, n_latent), got {found}")
    rows = codes.flatten(0, 1)
    check_codes(**{name: rows})
    return unit_rows(name, rows.double()).view(codes.shape)


def _onto_first(s: Tensor) -> Tensor:
    """Orthogonal O that brings s_b O closest to s_1, for every seed, (n_seeds, n_latent, n_latent)."""
    left, _, right = torch.linalg.svd(s.mT @ s[0])
    return left @ right


def _gram_means(gram: Tensor) -> DistinctMeans:
    """Averages over distinct points of every Gram matrix of unit rows, (n, n_points, n_points): (n,) each."""
    others = gram - torch.diag_embed(gram.diagonal(dim1=-2, dim2=-1))
    norm, unused = torch.ones_like(gram[..., 0]), torch.zeros_like(gram[..., 0])  # chain and link_norm serve jackknives
    return torch.vmap(distinct_means)(PairSums(norm, others.sum(-1), others.square().sum(-1), unused, unused))
