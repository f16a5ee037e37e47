"""Classes without a glass: von Mises–Fisher clouds about orthogonal axes, whose overlaps are known in closed form."""

from typing import NamedTuple

import torch
from torch import Tensor

from latentlib.vmf import sample_vmf, vmf_order, vmf_susceptibility


class MixtureOverlaps(NamedTuple):
    """Moments of the overlap, by the names of `observables.code_observables`."""

    q_mean: float
    q_within_mean: float
    chi: float
    chi_within_class: float
    chi_between_classes: float
    participation_ratio: float


def mixture_overlaps(kappa: float, n_latent: int, n_classes: int) -> MixtureOverlaps:
    """Overlaps of K equal clouds ∝ e^{κ s_k}: ⟨q⟩ = m²/K, χ = n(‖C‖² − ⟨q⟩²), m = A_n(κ), C = E ss^T.

    With b = m/κ, the variance across a cloud, C has the eigenvalue (1 − (n − K)b)/K on the K axes and b on the others.
    Within a class ⟨q⟩ = m², χ of `vmf_susceptibility`; of class means alone χ = n·m⁴(1/K − 1/K²), of order n with no
    glass at all. The participation ratio is that of the covariance C − ee^T, e = E s. One class: a field alone.
    Args: kappa in (0, 10⁷]; n_latent ≥ n_classes ≥ 1, n_latent ≥ 2. Raises: ValueError for anything else.
    """
    _check_classes(kappa, n_latent, n_classes)
    m = vmf_order(kappa, float(n_latent))
    q, b, within = m**2 / n_classes, m / kappa, vmf_susceptibility(kappa, float(n_latent))
    on_axes = (1 - (n_latent - n_classes) * b) / n_classes
    square = n_classes * on_axes**2 + (n_latent - n_classes) * b**2
    between = n_latent * m**4 * (1 / n_classes - 1 / n_classes**2)
    participation = (1 - q) ** 2 / (square - 2 * q * on_axes + q**2)
    return MixtureOverlaps(q, m**2, n_latent * (square - q**2), within, between, participation)


def sample_mixture(kappa: float, n_latent: int, labels: Tensor, *, seed: int) -> Tensor:
    """Independent unit vectors, of density ∝ e^{κ s_k} for a point of class k, (n_samples, n_latent) float64.

    Args: labels, whole numbers 0 … K − 1, one a point, K ≤ n_latent; the rest as `mixture_overlaps`.
    Raises: ValueError for anything else.
    """
    if labels.ndim != 1 or len(labels) == 0 or labels.is_floating_point() or int(labels.min()) < 0:
        raise ValueError(f"labels: want whole numbers 0 ..., (n_samples > 0,), got {labels.dtype} {tuple(labels.shape)}")
    _check_classes(kappa, n_latent, int(labels.max()) + 1)
    s = sample_vmf(kappa, n_latent, len(labels), seed=seed)
    exchanged = torch.arange(n_latent).repeat(len(s), 1)  # the first axis and that of the class change places
    exchanged[:, 0], exchanged[torch.arange(len(s)), labels] = labels, 0
    return s.gather(1, exchanged)


def _check_classes(kappa: float, n_latent: int, n_classes: int) -> None:
    if not kappa > 0:
        raise ValueError(f"kappa: want it above 0, got {kappa}")
    if not 1 <= n_classes <= n_latent or n_latent < 2:
        raise ValueError(f"want 1 <= n_classes <= n_latent and n_latent >= 2, got {n_classes} and {n_latent}")
