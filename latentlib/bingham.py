"""The spherical spin glass at p = 2, solved: independent draws without a chain, partition function, saddle and limit.

At p = 2 the Gibbs law e^{−H/T} on the sphere is the Fisher–Bingham law of directional statistics, e^{xᵀAx + b·x}. Its
draws here are exact and independent, so they are *replicas*: ground truth for chains and for estimators of the overlap.
"""

import math
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import gammaln
from torch import Tensor

from latentlib.pspin import PSpin
from latentlib.replica_symmetric import rs_free_energy, rs_overlap, rs_stability, rs_susceptibility, ssk_log_partition

__all__ = [
    "BinghamDraws", "SskSaddle", "log_partition_bingham", "rs_free_energy", "rs_overlap", "rs_stability",
    "rs_susceptibility", "sample_bingham", "ssk_log_partition", "ssk_log_partition_given", "ssk_replicas", "ssk_saddle",
]  # fmt: skip

PROPOSED = 2**21  # numbers proposed at once
TILT = 0.5  # of the contour against the vertical, radians: below π/4 its integrand falls on every ray from the saddle
NODES_MAX = 2**16


@dataclass(frozen=True)
class BinghamDraws:
    """Independent draws x, |x| = 1, (n_samples, n_latent), and the share of proposals that was accepted."""

    x: Tensor
    acceptance: float


def sample_bingham(matrix: Tensor, linear: Tensor | None = None, *, n_samples: int, seed: int) -> BinghamDraws:
    """Draw from the Fisher–Bingham law, density ∝ e^{xᵀAx + b·x} on the unit sphere |x| = 1: exact, independent.

    Rejection. ln cosh(b·x) lies under its tangent in (b·x)², so the law made even is below a Bingham law, and that
    below an angular central Gaussian; a sign drawn last undoes the evenness. All touch at the saddle: the acceptance is
    of order one where the law is disordered, about n_latent^{−½} in a field or a glass, however strong. Source: Kent,
    Ganeiban, Mardia 2018; the tangent in (b·x)² is ours (in b·x, as there, it falls exponentially if |b| grows as n).
    Args: matrix A, symmetric (n_latent, n_latent); linear b (n_latent,), None for 0; floating, finite, alike in dtype
        and device. Adding c·1 to A changes nothing.
    Returns: draws in that dtype, drawn in float64 on the CPU. After one eigendecomposition O(n_latent) a proposal.
    Raises: ValueError for anything else, or n_samples < 1.
    """
    if not isinstance(n_samples, Integral) or n_samples < 1:
        raise ValueError(f"n_samples: want a whole number >= 1, got {n_samples!r}")
    value, vector, b = _diagonalized(matrix, linear)
    n_latent = len(value)
    saddle = _saddle(value, b)
    gap = torch.from_numpy(saddle - value)
    b, generator = torch.from_numpy(b), torch.Generator().manual_seed(seed)
    a = _tangent_point((b.square() / gap).sum().item())
    slope = math.tanh(a) / (2 * a) if a > 0 else 0.5
    along = math.sqrt(slope * (1 + a * math.tanh(a)))  # the covariance ½(gap − slope·bbᵀ)⁻¹, by Sherman–Morrison
    kept, n_proposed = [], 0
    while sum(map(len, kept)) < n_samples:
        n_block = max(1, min(2 * n_samples, PROPOSED // n_latent))
        noise = torch.randn(n_block, n_latent + 1, generator=generator, dtype=torch.float64)
        uniform = torch.rand(n_block, 2, generator=generator, dtype=torch.float64)
        y = noise[:, 1:] / gap.sqrt() + noise[:, :1] * along * b / gap
        x = y / torch.linalg.vector_norm(y, dim=1, keepdim=True)
        t = x @ b
        w = 2 * (x.square() @ gap - slope * t.square())
        log_accept = (n_latent - w + n_latent * (w / n_latent).log()) / 2
        log_accept += _log_cosh(t) - _log_cosh(t.new_tensor(a)) - slope * (t.square() - a**2)
        x = torch.where(uniform[:, 1:] < torch.sigmoid(2 * t)[:, None], x, -x)
        kept.append(x[uniform[:, 0].log() < log_accept])
        n_proposed += n_block
    x = torch.cat(kept)
    return BinghamDraws((x[:n_samples] @ torch.from_numpy(vector).T).to(matrix), len(x) / n_proposed)


def log_partition_bingham(matrix: Tensor, linear: Tensor | None = None) -> float:
    """Log-normaliser ln ∫ e^{xᵀAx + b·x} dx over the uniform unit sphere = ln[Γ(n/2)/(2πi) ∫ e^φ du], one integral.

    φ(u) = u − ½Σ ln(u − λ_i) + ¼Σ b_i²/(u − λ_i) in the eigenbasis of A, on a hyperbola through the saddle; trapezoids,
    halved until they agree to 1e-13. Its derivatives are the moments: ∂/∂b the mean, ∂/∂A the second moment.
    In nats, zero for A = b = 0. O(n_latent³), the eigendecomposition. Args as `sample_bingham`; Raises: ValueError as there.
    """
    value, _, b = _diagonalized(matrix, linear)
    saddle = _saddle(value, b)
    gap, scale = saddle - value, saddle - value[-1]

    def integrand(tau: np.ndarray) -> np.ndarray:
        """e^{φ(u) − φ(saddle)} du/dτ: of differences, so that a large φ costs no digits."""
        step = scale * (math.sin(TILT) * (1 - np.cosh(tau)) + 1j * math.cos(TILT) * np.sinh(tau))
        slope = scale * (1j * math.cos(TILT) * np.cosh(tau) - math.sin(TILT) * np.sinh(tau))
        ratio = step[:, None] / gap
        rise = step - 0.5 * np.log1p(ratio).sum(1) - 0.25 * (b**2 / gap * ratio / (1 + ratio)).sum(1)
        return np.exp(rise) * slope

    end = 1.0
    while abs(integrand(np.array([end]))[0]) > 1e-17 * scale:
        end += 1.0
    n_nodes, last = 16, math.inf
    while n_nodes <= NODES_MAX:
        nodes = integrand(np.linspace(0, end, n_nodes + 1)).imag / math.pi  # the lower half is its mirror image
        total = (nodes.sum() - nodes[0] / 2) * end / n_nodes
        if abs(total - last) <= 1e-13 * total:
            top = saddle - 0.5 * np.log(gap).sum() + 0.25 * (b**2 / gap).sum()
            return float(gammaln(len(value) / 2) + top + math.log(total))
        n_nodes, last = 2 * n_nodes, total
    raise RuntimeError(f"log_partition_bingham: want agreement to 1e-13 by {NODES_MAX} nodes, got {total} after {last}")


def ssk_replicas(system: PSpin, temperature: float, *, n_replicas: int, seed: int) -> Tensor:
    """Gibbs replicas of a p ≤ 2 system: independent exact draws of e^{−H(s)/T}, (n_replicas, n_spins), |s|² = n_spins.

    Couplings of p = 1 act as a field. Without a field s and −s are equally likely. Args: temperature T > 0.
    Raises: ValueError for couplings of p > 2, T ≤ 0, or n_replicas < 1.
    """
    matrix, linear = _gibbs_law(system, temperature)
    return math.sqrt(system.n_spins) * sample_bingham(matrix, linear, n_samples=n_replicas, seed=seed).x


def ssk_log_partition_given(system: PSpin, temperature: float) -> float:
    """Log-partition function ln ∫ e^{−H(s)/T} ds/N of one p ≤ 2 system at its N, over the uniform sphere: exact.

    N times its T-derivative is ⟨H⟩/T², its field-derivative ⟨s⟩/T. Args and errors: as `ssk_replicas`.
    """
    return log_partition_bingham(*_gibbs_law(system, temperature)) / system.n_spins


@dataclass(frozen=True)
class SskSaddle:
    """The saddle of one system: multiplier z, q = |⟨s⟩|²/N of the field-induced mean, log_partition ln Z/N."""

    z: float
    q: float
    log_partition: float


def ssk_saddle(system: PSpin, temperature: float) -> SskSaddle:
    """Saddle at given couplings: (1/N)Σ[T/(z − λ_i) + f_i²/(z − λ_i)²] = 1, q = (1/N)Σ f_i²/(z − λ_i)², z > λ_max.

    H = −½sᵀJs − f·s; λ eigenvalues of J, f in its eigenbasis, p = 1 couplings in f. Wrong by O(1/N). Without a
    field q = 0 in either phase: the glass shows in z − λ_max = O(1/N). Args and errors: as `ssk_replicas`.
    """
    value, _, b = _diagonalized(*_gibbs_law(system, temperature))
    n_spins, u = len(value), _saddle(value, b)
    gap = u - value
    log_z = u / n_spins - 0.5 - 0.5 * np.log(2 * gap / n_spins).mean() + 0.25 * (b**2 / gap).mean()
    return SskSaddle(2 * temperature * u / n_spins, float((b**2 / gap**2).sum()) / 4, float(log_z))


def _gibbs_law(system: PSpin, temperature: float) -> tuple[Tensor, Tensor]:
    """A and b of e^{−H/T} at s = √N x."""
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature: want a finite number > 0, got {temperature!r}")
    if not set(system.couplings) <= {1, 2}:
        raise ValueError(f"system: want couplings of p <= 2, got p in {sorted(system.couplings)}")
    n_spins = system.n_spins
    pair = system.couplings.get(2, system.field.new_zeros(n_spins, n_spins))
    linear = system.field - system.couplings.get(1, 0.0)
    return pair * (-n_spins / temperature), linear * (math.sqrt(n_spins) / temperature)


def _diagonalized(matrix: Tensor, linear: Tensor | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Checked: eigenvalues of A ascending, eigenvectors in columns, b in their basis, in float64."""
    square = isinstance(matrix, Tensor) and matrix.ndim == 2 and 0 < len(matrix) == matrix.shape[1]
    if not (square and matrix.is_floating_point()):
        found = f"{tuple(matrix.shape)} {matrix.dtype}" if isinstance(matrix, Tensor) else type(matrix).__name__
        raise ValueError(f"matrix: want a floating (n_latent, n_latent), got {found}")
    linear = matrix.new_zeros(len(matrix)) if linear is None else linear
    if linear.shape != matrix.shape[:1] or linear.dtype != matrix.dtype or linear.device != matrix.device:
        found = f"{tuple(linear.shape)} {linear.dtype} on {linear.device}"
        raise ValueError(f"linear: want {tuple(matrix.shape[:1])} {matrix.dtype} on {matrix.device}, got {found}")
    if not (matrix.isfinite().all() and linear.isfinite().all()):
        raise ValueError("want finite matrix and linear, got NaN or infinity")
    largest = matrix.abs().amax()
    if (matrix - matrix.T).abs().amax() > 16 * torch.finfo(matrix.dtype).eps * largest:
        raise ValueError(f"matrix: want it symmetric, got A − Aᵀ up to {(matrix - matrix.T).abs().amax().item():g}")
    value, vector = torch.linalg.eigh(matrix.detach().to("cpu", torch.float64))
    b = vector.T @ linear.detach().to("cpu", torch.float64)
    return value.numpy(), vector.numpy(), b.numpy()


def _saddle(value: np.ndarray, b: np.ndarray) -> float:
    """u > λ_max with Σ 1/(u − λ_i) + ½Σ b_i²/(u − λ_i)² = 2."""
    offset = value[-1] - value

    def excess(log_distance: float) -> float:
        gap = math.exp(log_distance) + offset
        return float((1 / gap).sum() + 0.5 * (b**2 / gap**2).sum() - 2)

    # One term 1/(u − λ_max) alone reaches 2 at ½; N terms and |b|²/2 stay under it at N + |b|.
    highest = math.log(len(value) + np.linalg.norm(b)) + 1e-9
    return value[-1] + math.exp(brentq(excess, math.log(0.5), highest, xtol=1e-14))


def _tangent_point(s: float) -> float:
    """a ≥ 0 with 2a²/(1 + a·tanh a) = s: the rms of b·x under the envelope that touches there."""
    if s == 0:
        return 0.0
    lowest, highest = math.sqrt(s / 2), (s + math.sqrt(s * s + 8 * s)) / 4  # tanh a = 0 and 1
    return brentq(lambda a: 2 * a**2 - s * (1 + a * math.tanh(a)), 0.9 * lowest, 1.1 * highest)


def _log_cosh(t: Tensor) -> Tensor:
    return t.abs() + torch.log1p(torch.exp(-2 * t.abs())) - math.log(2.0)
