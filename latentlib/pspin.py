"""The mixed spherical p-spin in a field: energy, gradient and Hessian of given couplings, and couplings at random.

H(s) = Σ_p √c_p N^{−(p−1)/2} Σ g_{i₁…i_p} s_{i₁}⋯s_{i_p} − Σ_i field_i s_i on the sphere |s|² = N, g iid N(0, 1) over
all ordered tuples, so that without the field E H(s)H(s′) = N ξ(q), ξ(q) = Σ_p c_p q^p, q = s·s′/N. Where the literature
has ξ = q^p/2, energies are √2 smaller. The closed forms of the model have their home in kac_rice.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from types import ModuleType

import torch
from torch import Tensor

from latentlib import _backend
from latentlib._closed_form import closed_form
from latentlib._mixture import check_mixture
from latentlib.kac_rice import (
    annealed_complexity, complexity, critical_field, dynamical_temperature, ground_state_energy, index_complexity,
    n_critical_points, static_overlap, static_temperature, threshold_energy, trivialization_field,
)  # fmt: skip
from latentlib.reference.pspin import contract

__all__ = [
    "PSpin", "annealed_complexity", "complexity", "critical_field", "draw_pspin", "dynamical_temperature",
    "ground_state_energy", "index_complexity", "mixture_at", "n_critical_points", "static_overlap",
    "static_temperature", "threshold_energy", "trivialization_field",
]  # fmt: skip

ENTRIES_LIMIT = 2**27  # couplings of one order: 1 GiB in float64
KERNEL_ORDERS = {1, 2, 3}


@dataclass(frozen=True, eq=False)
class PSpin:
    """Spherical p-spin of given couplings: H(s) = Σ_p J_p(s, …, s) − field·s, J_p symmetric with its scale included.

    A landscape: n_latent, energy, gradient, hessian. Spins s are (…, n_spins) of the couplings' dtype and device; the
    model lives on |s|² = n_spins, yet H and its Euclidean derivatives are defined everywhere.
    Args: mixture {p: c_p} of ξ; couplings {p: symmetric tensor (n_spins,)*p}; field (n_spins,), float32 or float64.
    Raises: ValueError for shapes, dtypes or devices that do not fit, or couplings that are not symmetric.
    """

    mixture: Mapping[int, float]
    couplings: Mapping[int, Tensor]
    field: Tensor

    def __post_init__(self) -> None:
        check_mixture(self.mixture)
        field = self.field
        if field.ndim != 1 or len(field) == 0 or field.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"field: want (n_spins >= 1,) in float32 or float64, got {_kind(field)}")
        for p, coupling in self.couplings.items():
            if coupling.shape != field.shape * p or coupling.dtype != field.dtype or coupling.device != field.device:
                want = _kind(field.expand(field.shape * p))
                raise ValueError(f"couplings[{p}]: want {want}, got {_kind(coupling)}")
            _check_symmetric(p, coupling)

    @property
    def n_spins(self) -> int:
        return len(self.field)

    @property
    def n_latent(self) -> int:
        """n_spins, in the words of a landscape."""
        return self.n_spins

    def to(self, *args, **kwargs) -> "PSpin":
        """This system in another dtype or on another device: the arguments of `torch.Tensor.to`."""
        couplings = {p: coupling.to(*args, **kwargs) for p, coupling in self.couplings.items()}
        return PSpin(self.mixture, couplings, self.field.to(*args, **kwargs))

    def energy(self, s: Tensor) -> Tensor:
        """Energy H(s), extensive, (…,): in plain torch, so differentiable to any order and open to torch.func.

        Raises: ValueError for spins of another n_spins, dtype or device.
        """
        return self.energy_and_gradient(s, impl="reference")[0]

    def gradient(self, s: Tensor, *, impl: str | None = None) -> Tensor:
        """Euclidean gradient ∇H(s), (…, n_spins). Arguments and errors as `energy_and_gradient`."""
        return self.energy_and_gradient(s, impl=impl)[1]

    def energy_and_gradient(self, s: Tensor, *, impl: str | None = None) -> tuple[Tensor, Tensor]:
        """H(s), (…,), and ∇H(s), (…, n_spins), from one product: order p gives H_p(s) = ∇H_p(s)·s/p.

        n_spins³ FLOP a sample for p = 3, each pair of spins taken once; 2·n_spins^p for p ≥ 4.
        Args: s, spins, (…, n_spins); impl, "reference" (differentiable, open to torch.func), "triton" (p ≤ 3, float32,
            no autograd), or None: the kernel on a GPU where it can, else the reference.
        Raises: ValueError for spins of another n_spins, dtype or device, or for what the kernel cannot do.
        """
        rows = self._rows(s)
        linear = self.couplings[1] - self.field if 1 in self.couplings else -self.field
        couplings = {p: coupling for p, coupling in self.couplings.items() if p > 1}
        energy, gradient = self._implementation(rows, impl).energy_and_gradient(rows, linear, couplings)
        return energy.reshape(s.shape[:-1]), gradient.reshape(s.shape)

    def hessian(self, s: Tensor) -> Tensor:
        """Euclidean Hessian Σ_p p(p−1) J_p(s, …, s, ·, ·), (…, n_spins, n_spins). Raises: as `energy`."""
        rows = self._rows(s)
        terms = [p * (p - 1) * contract(rows, coupling, 2) for p, coupling in self.couplings.items() if p > 1]
        total = sum(terms[1:], terms[0]) if terms else rows.new_zeros(*rows.shape, self.n_spins)
        return total.reshape(*s.shape, self.n_spins)

    def _rows(self, s: Tensor) -> Tensor:
        """Checked spins as (n_samples, n_spins)."""
        if s.ndim == 0 or s.shape[-1] != self.n_spins or s.dtype != self.field.dtype or s.device != self.field.device:
            raise ValueError(f"s: want (…, {self.n_spins}), {self.field.dtype}, {self.field.device}, got {_kind(s)}")
        return s.reshape(-1, self.n_spins)

    def _implementation(self, rows: Tensor, impl: str | None) -> ModuleType:
        tracked = torch.is_grad_enabled() and rows.requires_grad
        orders = set(self.couplings)
        if rows.dtype != torch.float32 or tracked or not orders <= KERNEL_ORDERS:
            if impl == "triton":
                found = f"{rows.dtype}, p in {sorted(orders)}{', requires_grad' if tracked else ''}"
                raise ValueError(f"impl='triton' for pspin: want torch.float32, p <= 3 and no autograd, got {found}")
            impl = impl or "reference"
        return _backend.implementation("pspin", impl, rows)


def draw_pspin(
    mixture: Mapping[int, float],
    n_spins: int,
    *,
    field: float | Tensor = 0.0,
    field_std: float = 0.0,
    seed: int,
    dtype: torch.dtype = torch.float64,
) -> PSpin:
    """Draw a p-spin: J_p = √c_p N^{−(p−1)/2} Sym(g), g iid N(0, 1) over tuples; field_i = h + N(0, field_std²).

    Drawn in float64 on the CPU, orders ascending, the field last: a seed gives the same system in every dtype. p = 1 is
    a random field of variance c_1; c_p = 0 draws nothing, and a mixture without couplings leaves the field alone.
    Args: mixture {p: c_p ≥ 0}, p ≥ 1; n_spins N ≥ 1; field, a number h for h·(1, …, 1), or a vector (n_spins,);
        field_std ≥ 0; dtype, float32 or float64. Memory: N^p ≤ 2²⁷ couplings of order p, thrice while drawing.
    Raises: ValueError for values out of range, a field of another length, or too many couplings.
    """
    weights = check_mixture(mixture)
    if not isinstance(n_spins, Integral) or isinstance(n_spins, bool) or n_spins < 1:
        raise ValueError(f"n_spins: want a whole number >= 1, got {n_spins!r}")
    if not (isinstance(field_std, Real) and math.isfinite(field_std) and field_std >= 0):
        raise ValueError(f"field_std: want a finite number >= 0, got {field_std!r}")
    for p, weight in weights.items():
        if weight > 0 and n_spins**p > ENTRIES_LIMIT:
            raise ValueError(f"mixture: want n_spins**p <= 2**27 couplings, got {n_spins}**{p}")
    generator = torch.Generator().manual_seed(seed)
    couplings = {}
    for p, weight in sorted(weights.items()):
        if weight > 0:
            scale = math.sqrt(weight) * n_spins ** (-(p - 1) / 2)
            g = torch.randn([n_spins] * p, generator=generator, dtype=torch.float64)
            couplings[p] = _symmetrized(g).mul_(scale).to(dtype)
    total = _field(field, n_spins)
    if field_std > 0:
        total = total + field_std * torch.randn(n_spins, generator=generator, dtype=torch.float64)
    return PSpin(weights, couplings, total.to(dtype))


def mixture_at(mixture: Mapping[int, float], q: Tensor | float, order: int = 0) -> Tensor | float:
    """Covariance ξ(q) = Σ_p c_p q^p of a mixture, or its derivative ξ^{(order)}(q) = Σ_p c_p p!/(p−order)! q^{p−order}.

    Dimensionless. A number q is computed in float64. Args: mixture {p: c_p ≥ 0}, p ≥ 1; q, any real; order ≥ 0.
    Raises: ValueError for a mixture that is none, or another order; TypeError for a q that is no number or tensor.
    """
    if not isinstance(order, Integral) or order < 0:
        raise ValueError(f"order: want a whole number >= 0, got {order!r}")
    return _power_sum(q, mixture=check_mixture(mixture), order=order)


@closed_form
def _power_sum(q: Tensor, *, mixture: dict[int, float], order: int) -> Tensor:
    terms = [math.perm(p, order) * weight * q ** (p - order) for p, weight in mixture.items() if p >= order]
    return sum(terms, torch.zeros_like(q))


def _symmetrized(g: Tensor) -> Tensor:
    """Average over all permutations of the indices: once the first k are symmetric, k + 1 swaps bring in the next."""
    for k in range(1, g.ndim):
        total = g.clone()
        for i in range(k):
            total += g.transpose(i, k)
        g = total.div_(k + 1)
    return g


def _field(field: float | Tensor, n_spins: int) -> Tensor:
    if isinstance(field, Tensor) and field.shape == (n_spins,) and field.isfinite().all():
        return field.detach().to("cpu", torch.float64)
    if isinstance(field, Real) and math.isfinite(field):
        return torch.full((n_spins,), float(field), dtype=torch.float64)
    found = tuple(field.shape) if isinstance(field, Tensor) else repr(field)
    raise ValueError(f"field: want a finite number or a finite tensor ({n_spins},), got {found}")


def _check_symmetric(p: int, coupling: Tensor) -> None:
    """Swaps of neighbouring indices generate all permutations."""
    largest = coupling.abs().amax().item() if coupling.numel() else 0.0
    for i in range(p - 1):
        excess = (coupling - coupling.transpose(i, i + 1)).abs().amax().item()
        if not excess <= 16 * torch.finfo(coupling.dtype).eps * largest:
            raise ValueError(f"couplings[{p}]: want a symmetric tensor, indices {i} and {i + 1} differ by {excess:g}")


def _kind(x: Tensor) -> str:
    return f"{tuple(x.shape)} {x.dtype} on {x.device}"
