"""Critical points of small spherical p-spins, all of them: on the circle, N = 2, and on the sphere, N = 3.

What Kac–Rice predicts in the mean is counted here system by system.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latentlib.pspin import PSpin

N_GRID = 48  # starts a system on the sphere, each round; pure p = 3 has at most 14 critical points
MAX_ROUNDS = 12
NEWTON_STEPS = 16
MAX_STEP = 0.3  # radians: Newton leaps far where the Hessian is nearly singular
SOLVED = 1e-10  # gradient over its scale; rounding leaves 1e-15
SYSTEMS_AT_ONCE = 256  # systems on the sphere at once
ROUNDING = 1e-13  # of a gradient or a harmonic, relative to its scale
DISTINCT = 1e-5  # radians; two critical points of a random system are that near with a probability of about 1e-8


@dataclass(frozen=True)
class CriticalCounts:
    """Critical points of every system by index, (n_systems, n_spins) int64: column k has k negative eigenvalues.

    Minima are column 0, maxima the last. certified, (n_systems,) bool: minima − saddles + maxima is the Euler number of
    the sphere and no new point appeared when it was searched again; on the circle the count is exhaustive.
    """

    by_index: Tensor
    certified: Tensor

    @property
    def n_critical(self) -> Tensor:
        """(n_systems,), all indices."""
        return self.by_index.sum(1)

    def mean(self) -> tuple[float, float]:
        """Mean of n_critical over systems and its standard error. Raises: ValueError for less than two systems."""
        count = self.n_critical.double()
        if len(count) < 2:
            raise ValueError(f"want two systems at least, got {len(count)}")
        return count.mean().item(), (count.std() / math.sqrt(len(count))).item()


def count_critical_points(systems: Sequence[PSpin], *, seed: int) -> CriticalCounts:
    """Numbers of critical points of H on |s|² = N by index, for many p-spins at once: N_crit = Σ_k N_k.

    N = 2: H(θ) is a trigonometric polynomial; the sign changes of H′ between all roots of a companion matrix, to
    rounding. N = 3: Newton from a grid of starts, turned at random every round, until a round finds nothing new and
    Morse's N₀ − N₁ + N₂ = 2 holds; after 12 rounds a system is given up as not certified. Morse does not see a missed
    pair of a saddle and an extremum; the second round is there for it.
    Args: systems of one n_spins, 2 or 3, float64; seed of the turns (N = 2 needs none). Time: some milliseconds
    a system for N = 3, p = 3, a tenth of that for N = 2.
    Raises: ValueError for no systems, another n_spins, several, or a system with constant H; TypeError for no PSpin.
    """
    n_spins = _check_systems(systems)
    order = max((p for system in systems for p in system.couplings), default=1)
    forms = [_stacked(systems, p) for p in range(1, order + 1)]
    return _on_circle(forms) if n_spins == 2 else _on_sphere(forms, torch.Generator().manual_seed(seed))


def _check_systems(systems: Sequence[PSpin]) -> int:
    for system in systems:
        if not isinstance(system, PSpin):
            raise TypeError(f"systems: want PSpin, got {type(system).__name__}")
        if system.field.dtype != torch.float64:
            raise ValueError(f"systems: want torch.float64, got {system.field.dtype}")
    sizes = sorted({system.n_spins for system in systems})
    if sizes not in ([2], [3]):
        raise ValueError(f"systems: want all of n_spins = 2 or all of 3, got {sizes}")
    return sizes[0]


def _check_vary(slope: Tensor, scale: Tensor) -> None:
    """slope (n_systems, n_points), the gradient along the sphere in absolute value, scale (n_systems,)."""
    constant = (slope <= ROUNDING * scale[:, None]).all(1)
    if bool(constant.any()):
        raise ValueError(f"systems: want energies that vary, got a constant H in system {int(constant.nonzero()[0])}")


def _stacked(systems: Sequence[PSpin], p: int) -> Tensor:
    """The symmetric p-linear form of every system on the unit sphere, the field in p = 1: (n_systems, N, …, N)."""
    n_spins = systems[0].n_spins
    zero = torch.zeros([n_spins] * p, dtype=torch.float64)
    form = torch.stack([system.couplings.get(p, zero).detach().cpu() for system in systems])
    if p == 1:
        form = form - torch.stack([system.field.detach().cpu() for system in systems])
    return form * n_spins ** (p / 2)


def _derivatives(forms: list[Tensor], unit: Tensor) -> tuple[Tensor, Tensor]:
    """∇H and ∂∂H at unit vectors (n_systems, n_points, N), Euclidean, of the homogeneous polynomials `forms`."""
    n_systems, n_points, n_spins = unit.shape
    gradient = torch.zeros_like(unit)
    hessian = unit.new_zeros(n_systems, n_points, n_spins, n_spins)
    for p, form in enumerate(forms, 1):
        if p == 1:
            vector = form[:, None].expand_as(unit)
        else:
            matrix = form.flatten(1)[:, None, None]
            for _ in range(p - 2):
                matrix = unit[..., None, :] @ matrix.reshape(n_systems, -1, n_spins, matrix.shape[-1] // n_spins)
            matrix = matrix.reshape(n_systems, -1, n_spins, n_spins)
            hessian += p * (p - 1) * matrix
            vector = (matrix @ unit[..., None])[..., 0]
        gradient += p * vector
    return gradient, hessian


def _scale(forms: list[Tensor]) -> Tensor:
    """A bound of |∇H| on the unit sphere, (n_systems,)."""
    return sum(p * form.flatten(1).norm(dim=1) for p, form in enumerate(forms, 1))


# The circle


def _on_circle(forms: list[Tensor]) -> CriticalCounts:
    """Minima where H′ turns positive, maxima where it turns negative, between the angles of all roots of H′."""
    order, n_systems = len(forms), len(forms[0])
    theta = torch.arange(2 * order + 1, dtype=torch.float64) * (2 * math.pi / (2 * order + 1))
    slope = _circle_slope(forms, theta.expand(n_systems, -1))
    _check_vary(slope.abs(), _scale(forms))
    harmonics = torch.fft.fft(slope)  # of e^{ikθ}, k = 0 … order, −order … −1
    present = harmonics[:, : order + 1].abs() > ROUNDING * harmonics.abs().amax(1, keepdim=True)
    degree = (present * torch.arange(order + 1)).amax(1)
    by_index = torch.zeros(n_systems, 2, dtype=torch.int64)
    for top in degree.unique().tolist():
        rows = (degree == top).nonzero()[:, 0]
        by_index[rows] = _sign_changes([form[rows] for form in forms], harmonics[rows].roll(top, 1)[:, : 2 * top + 1])
    return CriticalCounts(by_index, torch.ones(n_systems, dtype=torch.bool))


def _sign_changes(forms: list[Tensor], harmonics: Tensor) -> Tensor:
    """Numbers of minima and maxima, (n_systems, 2), from the harmonics −top … top of H′.

    Roots off the unit circle come as z, 1/z̄ of one angle and change no sign, so none has to be told from the others.
    """
    angle = torch.from_numpy(_root_angles(harmonics.numpy())).sort(1).values
    following = torch.cat([angle[:, 1:], angle[:, :1] + 2 * math.pi], 1)
    rising = _circle_slope(forms, (angle + following) / 2) > 0
    before = rising.roll(1, 1)
    return torch.stack([(rising & ~before).sum(1), (~rising & before).sum(1)], 1)


def _circle_slope(forms: list[Tensor], theta: Tensor) -> Tensor:
    """dH/dθ, (n_systems, n_angles)."""
    unit = torch.stack([theta.cos(), theta.sin()], -1)
    along = torch.stack([-theta.sin(), theta.cos()], -1)
    return (_derivatives(forms, unit)[0] * along).sum(-1)


def _root_angles(harmonics: np.ndarray) -> np.ndarray:
    """Angles of all roots of Σ_k c_k z^k, (n_systems, n_roots): real roots θ of H′ are those on the unit circle."""
    monic = harmonics[:, :-1] / harmonics[:, -1:]
    companion = np.zeros((len(monic), monic.shape[1], monic.shape[1]), dtype=complex)
    companion[:, np.arange(1, monic.shape[1]), np.arange(monic.shape[1] - 1)] = 1
    companion[:, :, -1] = -monic
    return np.angle(np.linalg.eigvals(companion))


# The sphere


def _on_sphere(forms: list[Tensor], generator: torch.Generator) -> CriticalCounts:
    n_systems = len(forms[0])
    some_points = _starts(generator)[::8].expand(n_systems, -1, -1)
    _check_vary(_on_tangent(forms, some_points)[0].norm(dim=-1), _scale(forms))
    by_index, certified = torch.zeros(n_systems, 3, dtype=torch.int64), torch.zeros(n_systems, dtype=torch.bool)
    for rows in torch.arange(n_systems).split(SYSTEMS_AT_ONCE):
        points, known = torch.zeros(len(rows), 0, 3, dtype=torch.float64), torch.zeros(len(rows), 0, dtype=torch.bool)
        for _ in range(MAX_ROUNDS):
            some = [form[rows] for form in forms]
            n_before = known.sum(1)
            new, solved = _newton(some, _starts(generator).expand(len(rows), -1, -1))
            points, known = _distinct(torch.cat([points, new], 1), torch.cat([known, solved], 1))
            by_index[rows] = count = _indices(some, points, known)
            certified[rows] = done = (known.sum(1) == n_before) & (count[:, 0] - count[:, 1] + count[:, 2] == 2)
            rows, points, known = rows[~done], points[~done], known[~done]
            if len(rows) == 0:
                break
    return CriticalCounts(by_index, certified)


def _starts(generator: torch.Generator) -> Tensor:
    """A Fibonacci grid of the sphere, turned at random: (N_GRID, 3)."""
    k = torch.arange(N_GRID, dtype=torch.float64)
    height = 1 - (2 * k + 1) / N_GRID
    longitude = k * math.pi * (3 - math.sqrt(5))
    across = (1 - height.square()).sqrt()
    grid = torch.stack([across * longitude.cos(), across * longitude.sin(), height], 1)
    return grid @ torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]


def _newton(forms: list[Tensor], unit: Tensor) -> tuple[Tensor, Tensor]:
    """Newton's iteration on the sphere to critical points of any index: where it ends, and where it is solved."""
    for _ in range(NEWTON_STEPS):
        slope, along, hessian = _on_tangent(forms, unit)
        step = -torch.linalg.solve_ex(hessian, slope)[0]
        length = step.norm(dim=-1, keepdim=True)
        # A singular Hessian leaves the start where it is: it is not solved, and others are near.
        step = torch.where(length.isfinite(), step / length.clamp_min(MAX_STEP) * MAX_STEP, 0.0)
        length = step.norm(dim=-1, keepdim=True)
        unit = length.cos() * unit + torch.sinc(length / math.pi) * (along @ step[..., None])[..., 0]
        unit = unit / unit.norm(dim=-1, keepdim=True)
    slope, _, _ = _on_tangent(forms, unit)
    return unit, slope.norm(dim=-1) <= SOLVED * _scale(forms)[:, None]


def _on_tangent(forms: list[Tensor], unit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradient (…, 2), basis (…, 3, 2) and Riemannian Hessian (…, 2, 2) in the tangent plane."""
    gradient, hessian = _derivatives(forms, unit)
    axis = torch.nn.functional.one_hot(unit.abs().argmin(-1), 3).to(unit)
    first = torch.linalg.cross(unit, axis)
    first = first / first.norm(dim=-1, keepdim=True)
    along = torch.stack([first, torch.linalg.cross(unit, first)], -1)
    radial = (gradient * unit).sum(-1)
    flat = along.mT @ hessian @ along - radial[..., None, None] * torch.eye(2, dtype=unit.dtype)
    return (along.mT @ gradient[..., None])[..., 0], along, flat


def _distinct(unit: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The first of every group of coinciding points, in front: (n_systems, n_most, 3) and which of them are points."""
    near = (unit @ unit.mT > math.cos(DISTINCT)) & known[:, None]
    known = known & ~near.tril(-1).any(2)
    order = known.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, : int(known.sum(1).max())]
    return unit.gather(1, order[..., None].expand(-1, -1, 3)), known.gather(1, order)


def _indices(forms: list[Tensor], unit: Tensor, known: Tensor) -> Tensor:
    """How many of the points have 0, 1 and 2 negative Hessian eigenvalues: (n_systems, 3)."""
    index = (torch.linalg.eigvalsh(_on_tangent(forms, unit)[2]) < 0).sum(-1)
    return torch.stack([((index == k) & known).sum(1) for k in range(3)], 1)
