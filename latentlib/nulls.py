"""Null samples of codes: what a statistic shows where there is nothing, or only marginals, a rotation, or classes.

The field-only nulls (von Mises–Fisher and the nested field) have a module of their own: `vmf`.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentlib._codes import check_codes, check_labels


def uniform_codes(
    n_samples: int, n_latent: int, *, seed: int, dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Tensor:  # fmt: skip
    """Codes uniform on the sphere |z|² = n_latent: the disordered null, ⟨q⟩ = 0 and χ = 1.

    Args: n_samples ≥ 1, n_latent ≥ 1. Returns: (n_samples, n_latent), the same on every device.
    Raises: ValueError for a count below 1.
    """
    if n_samples < 1 or n_latent < 1:
        raise ValueError(f"uniform_codes: want n_samples >= 1 and n_latent >= 1, got {n_samples} and {n_latent}")
    z = torch.randn(n_samples, n_latent, generator=_generator(seed), dtype=torch.float64)
    return (z * (math.sqrt(n_latent) / z.norm(dim=1, keepdim=True))).to(device, dtype)


def permuted_codes(z: Tensor, *, seed: int) -> Tensor:
    """Codes with every latent permuted over the points by itself: the marginals stay, dependence between latents goes.

    Means of the latents, hence most of ⟨q⟩, survive: this null asks whether a statistic needs more than marginals.
    Args: z, codes, (n_samples, n_latent). Returns: the same shape, dtype, device. Raises: ValueError for bad codes.
    """
    check_codes(z=z)
    order = torch.rand(z.shape, generator=_generator(seed), dtype=torch.float64).argsort(0)
    return z.gather(0, order.to(z.device))


def rotated_codes(z: Tensor, *, seed: int) -> Tensor:
    """Codes in a random orthogonal frame, z → z·O with O from the Haar measure: overlaps stay, axes lose their meaning.

    Args: z, codes, (n_samples, n_latent). Returns: the same shape, dtype, device. Raises: ValueError for bad codes.
    """
    check_codes(z=z)
    n_latent = z.shape[1]
    normal = torch.randn(n_latent, n_latent, generator=_generator(seed), dtype=torch.float64)
    frame, triangle = torch.linalg.qr(normal)
    frame = frame * triangle.diagonal().sign()  # QR alone is not Haar: its signs follow a convention
    return (z.double() @ frame.to(z.device)).to(z.dtype)


def class_mixture_codes(z: Tensor, labels: Tensor, *, seed: int) -> Tensor:
    """Gaussian codes with the mean and covariance of every class of z: the null that fakes order without a glass.

    Point i is drawn from N(mean, covariance) of the class of z_i: what this null shows too is the work of classes, not
    of the energy of a network.
    Args: z, codes, (n_samples, n_latent); labels, whole numbers, (n_samples,), two points or more a class, one class
    or more. Returns: the shape, dtype, device of z.
    Raises: ValueError for bad codes, labels of another shape or dtype, a class of one point.
    """
    check_codes(z=z, n_min=2)
    index, count = check_labels(z, labels, n_min=2, n_classes_min=1)
    generator, drawn = _generator(seed), torch.empty_like(z)
    for one, n_points in enumerate(count.tolist()):
        rows = z[index == one].double()
        mean = rows.mean(0)
        root = torch.linalg.qr(rows - mean, mode="r").R / math.sqrt(n_points - 1)  # rootᵀ root = covariance
        noise = torch.randn(n_points, len(root), generator=generator, dtype=torch.float64).to(z.device)
        drawn[index == one] = (mean + noise @ root).to(z.dtype)
    return drawn


@dataclass(frozen=True)
class NullInterval:
    """Where a statistic falls under a null: low and high hold one further draw with probability level or more."""

    low: float
    high: float
    level: float
    values: Tensor  # (n_null,), float64, as drawn


def shuffled_weights(model: nn.Module, *, seed: int) -> nn.Module:
    """A copy of a network with every parameter and buffer dealt anew within its tensor: its weights without their order.

    Keeps the law of the weights, layer by layer, and nothing learned but that. In `.eval()`; the model stays as it was.
    """
    twin, generator = copy.deepcopy(model).eval(), _generator(seed)
    with torch.no_grad():
        for tensor in twin.state_dict().values():
            order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
            tensor.copy_(tensor.flatten()[order].view_as(tensor))
    return twin


def null_interval(
    statistic: Callable[[Tensor], Tensor | float], sampler: Callable[..., Tensor], *, n_null: int, seed: int,
    level: float = 0.95,
) -> NullInterval:  # fmt: skip
    """Interval of a statistic under a null: k-th smallest to k-th largest draw, k = ⌊(n_null + 1)(1 − level)/2⌋.

    One further draw of the null falls inside with probability 1 − 2k/(n_null + 1) ≥ level, exactly, if the statistic
    has no ties: a measured value outside is no draw of this null.
    Args: statistic, of codes, to one number; sampler, called as sampler(seed=…) with a seed of its own for each draw,
    like partial(permuted_codes, z); level in (0, 1); n_null ≥ 2/(1 − level) − 1: 39 at level 0.95.
    Raises: ValueError for too few draws, a level out of range, a statistic that is not one finite number.
    """
    if not 0 < level < 1:
        raise ValueError(f"null_interval: want a level between 0 and 1, got {level}")
    rank = math.floor((n_null + 1) * (1 - level) / 2 + 1e-9)  # 40·(1 − 0.95)/2 is 1 but for rounding
    if rank < 1:
        raise ValueError(f"null_interval: want n_null >= {math.ceil(2 / (1 - level) - 1 - 1e-9)}, got {n_null}")
    seeds = torch.randint(2**62, (n_null,), generator=_generator(seed)).tolist()
    values = torch.tensor([float(statistic(sampler(seed=one))) for one in seeds], dtype=torch.float64)
    if not values.isfinite().all():
        raise ValueError(f"null_interval: want a finite statistic, got {values[~values.isfinite()][0].item()}")
    ordered = values.sort().values
    return NullInterval(ordered[rank - 1].item(), ordered[-rank].item(), level, values)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
