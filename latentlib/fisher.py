"""Pull-back geometry of a decoder: which latent directions the data can tell apart."""

from collections.abc import Callable

import torch
from torch import Tensor

from latentlib.vector_field import jacobian


def pullback_metric(decoder: Callable, z: Tensor, decoder_var: float, *, chunk_size: int | None = None) -> Tensor:
    """Pull-back metric g = J_Dᵀ J_D / decoder_var, J_D = ∂D/∂z: Fisher metric of the decoder N(D(z), decoder_var·I).

    Symmetric exactly, positive semi-definite. The unit decides which metric it is: decoder_var = T = kl_weight·σ_dec²,
    the temperature of the β-VAE in data-variance units, gives the g whose eigenvalues obey g_k/(1+g_k) = m_k in the
    linear model; decoder_var = σ_dec² gives the decoder's own Fisher metric, kl_weight·g. Differentiable in z (keep the
    metric in the graph when a geodesic is relaxed), else call it under torch.no_grad(). Source: chapter 00;
    arXiv:2506.10632.
    Args: decoder, z → x on batches, function or module in eval mode; z, (n_points, n_latent), floating, float64
    recommended; decoder_var, variance in units of the data squared, > 0; chunk_size, points at once (None: all).
    Returns: (n_points, n_latent, n_latent), dtype and device of z; transforms as AᵀgA under z = A·z'.
    Raises: ValueError if decoder_var is not a finite number > 0, and as `vector_field.jacobian`.
    """
    if not 0.0 < float(decoder_var) < float("inf"):
        raise ValueError(f"pullback_metric: want a finite decoder_var > 0, got {decoder_var}")
    jacobians = jacobian(decoder, z, chunk_size=chunk_size)
    metric = jacobians.mT @ jacobians / decoder_var
    return 0.5 * (metric + metric.mT)


def metric_spectrum(metric: Tensor) -> Tensor:
    """Eigenvalues g_1 ≥ g_2 ≥ … of a metric at every point; g_k/(1+g_k) reads as a signal fraction.

    Invariant under rotations of the latent frame only. Round-off may leave eigenvalues slightly below 0: nothing is
    clipped. Args: metric, symmetric, (..., n_latent, n_latent), floating. Returns: (..., n_latent), descending.
    Raises: ValueError if the matrices are not square, not finite, or not symmetric to rounding.
    """
    square = metric.ndim >= 2 and metric.shape[-1] == metric.shape[-2] > 0
    if not square or not metric.is_floating_point():
        raise ValueError(f"metric_spectrum: want floating (..., n > 0, n), got {metric.dtype} {tuple(metric.shape)}")
    if not metric.isfinite().all():
        raise ValueError("metric_spectrum: want a finite metric, got NaN or infinity")
    # Rounding of a sum of products in either order: a few units in the last place of the largest entry.
    slack = 8 * metric.shape[-1] * torch.finfo(metric.dtype).eps * metric.abs().amax((-2, -1), keepdim=True)
    asymmetry = (metric - metric.mT).abs()
    if (asymmetry > slack).any():
        raise ValueError(f"metric_spectrum: want symmetric matrices, got an asymmetry of {asymmetry.max().item():.1e}")
    return torch.linalg.eigvalsh(metric).flip(-1)
