"""The latent map f = E∘D of an autoencoder and the spectrum of its Jacobian: how fast the attractor dynamics contract.

Encoders and decoders are plain functions or modules on batches, samples first. Every map here acts on one code at a
time, so modules whose output mixes samples or draws random numbers are refused.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import jacfwd, vmap
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

Map = Callable[[Tensor], Tensor]


def latent_map(encoder: Callable, decoder: Callable) -> Map:
    """The latent map f(z) = E(D(z)), E the encoder *mean*: the step z ← f(z) of the attractor dynamics.

    f(z) − z is its residual, a zero of the residual an attractor or a saddle. Source: arXiv:2505.22785.
    Args: encoder, x → mu or (mu, log_var); decoder, z → x; both on batches, functions, modules or bound methods.
    Returns: f, (n_points, n_latent) → (n_points, n_latent). f raises ValueError if a module is in training mode with
    dropout or BatchNorm, or if the result has another shape than z.
    """

    def f(z: Tensor) -> Tensor:
        require_pointwise(encoder, decoder)
        code = _mean(encoder(_mean(decoder(z))))
        if code.shape != z.shape:
            raise ValueError(f"latent_map: want E(D(z)) of the shape of z {tuple(z.shape)}, got {tuple(code.shape)}")
        return code

    return f


def jacobian(f: Callable, z: Tensor, *, chunk_size: int | None = None) -> Tensor:
    """Jacobian J_ij = ∂f_i/∂z_j at every point, by forward-mode differentiation: n_latent tangents a point.

    Differentiable again wherever f is; wrap the call in torch.no_grad() to save the memory. Outputs of f beyond one
    axis, such as images, are flattened; of a tuple (mu, log_var) the first counts.
    Args: f, (n_points, n_latent) → (n_points, ...); z, the points, floating, float64 recommended; chunk_size, points
    differentiated at once (None: all), bounds the memory at chunk_size · n_latent evaluations of f.
    Returns: (n_points, n_out, n_latent), dtype and device of z.
    Raises: ValueError if z is not (n_points > 0, n_latent > 0), or not finite, chunk_size < 1, f is a module in
    training mode with dropout or BatchNorm, or the Jacobian is not finite.
    """
    if z.ndim != 2 or z.numel() == 0 or not z.is_floating_point():
        raise ValueError(f"jacobian: want floating points (n_points > 0, n_latent > 0), got {z.dtype} {tuple(z.shape)}")
    if not z.isfinite().all():
        raise ValueError("jacobian: want finite points, got NaN or infinity")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"jacobian: want chunk_size >= 1 or None, got {chunk_size}")
    require_pointwise(f)

    def of_one_point(point: Tensor) -> Tensor:
        return _mean(f(point[None])).flatten()

    result = vmap(jacfwd(of_one_point), chunk_size=chunk_size)(z)
    if not result.isfinite().all():
        raise ValueError("jacobian: want a finite Jacobian, got NaN or infinity at some point")
    return result


def jacobian_spectrum(f: Map, z: Tensor, *, chunk_size: int | None = 256) -> Tensor:
    """Eigenvalues of the Jacobian of the latent map, eig_k(J_f), J_f = ∂f/∂z, sorted by falling modulus.

    At a fixed point invariant under every smooth change of latent coordinates; below 1 in modulus it attracts. In the
    linear β-VAE at its optimum eig_k(J_f) = m_k = 1 − T/λ_k, the signal fraction. Not differentiable.
    Source: chapter 00; arXiv:2505.22785.
    Args: f, (n_points, n_latent) → same, see `latent_map`; z, the points, float64 recommended; chunk_size, points at
    once (None: all).
    Returns: (n_points, n_latent), complex; conjugate pairs stand side by side.
    Raises: ValueError as `jacobian`, and if f does not return as many coordinates as it takes.
    """
    with torch.no_grad():
        matrices = jacobian(f, z, chunk_size=chunk_size)
        if matrices.shape[1] != matrices.shape[2]:
            n_out, n_latent = matrices.shape[1:]
            raise ValueError(f"jacobian_spectrum: want f: R^n -> R^n, got R^{n_latent} -> R^{n_out}")
        eigenvalues = torch.linalg.eigvals(matrices)
    order = eigenvalues.abs().argsort(dim=1, descending=True, stable=True)
    return eigenvalues.gather(1, order)


def require_pointwise(*functions: Callable) -> None:
    """Check that functions act on one sample at a time: E(x)_i depends on x_i alone, without randomness.

    Modules, bound methods of modules and functools.partial of either are looked into; other functions are trusted.
    Raises: ValueError for dropout in training mode, or BatchNorm that takes the statistics of its batch.
    """
    for module in _modules(functions):
        batch_statistics = isinstance(module, _BatchNorm) and (module.training or module.running_mean is None)
        if batch_statistics or (isinstance(module, _DropoutNd) and module.training):
            raise ValueError(
                f"want a map of one sample at a time, got {type(module).__name__} that mixes samples or draws random "
                "numbers; call .eval() on the model first"
            )


def _modules(functions: tuple[Callable, ...]) -> Iterator[nn.Module]:
    for function in functions:
        while isinstance(function, partial):
            function = function.func
        owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
        if isinstance(owner, nn.Module):
            yield from owner.modules()


def _mean(output: Tensor | tuple) -> Tensor:
    """The mean of an encoder or decoder that returns a mean, or a mean and more."""
    return output[0] if isinstance(output, tuple) else output
