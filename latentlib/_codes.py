"""Latent codes as every overlap takes them: checked rows, their norms and directions, the classes of their labels."""

import torch
from torch import Tensor


def row_norm(name: str, z: Tensor) -> Tensor:
    """Row norms in float64; a ValueError names the first row without a direction."""
    norm = torch.linalg.vector_norm(z, dim=1, dtype=torch.float64)
    bad = ~((norm > 0) & norm.isfinite())
    if bad.any():
        row = int(bad.nonzero()[0])
        raise ValueError(f"{name}: want rows of positive finite norm, got norm {norm[row].item():g} in row {row}")
    return norm


def unit_rows(name: str, z: Tensor) -> Tensor:
    """Contiguous rows of norm one, float64 for float64 codes, else float32."""
    unit = z.detach() / row_norm(name, z.detach())[:, None]
    return unit.to(z.dtype if z.dtype == torch.float64 else torch.float32).contiguous()


def check_codes(*, n_min: int = 1, **codes: Tensor) -> None:
    """Codes are finite floating (n_samples ≥ n_min, n_latent ≥ 1) and agree in n_latent, dtype and device."""
    for name, z in codes.items():
        if not isinstance(z, Tensor) or not z.is_floating_point():
            raise ValueError(f"{name}: want a floating-point tensor, got {getattr(z, 'dtype', type(z).__name__)}")
        if z.ndim != 2 or len(z) < n_min or z.shape[1] == 0:
            raise ValueError(f"{name}: want (n_samples >= {n_min}, n_latent >= 1), got {tuple(z.shape)}")
    (name, z), *others = codes.items()
    for other, z_other in others:
        for what in ("dtype", "device"):
            found, found_other = getattr(z, what), getattr(z_other, what)
            if found != found_other:
                raise ValueError(f"{name}, {other}: want one {what}, got {found} and {found_other}")
        if z.shape[1] != z_other.shape[1]:
            raise ValueError(f"{name}, {other}: want one n_latent, got {z.shape[1]} and {z_other.shape[1]}")
    for name, z in codes.items():
        # The extremes carry NaN and infinities, and no mask as large as the codes is made of them.
        if not torch.stack(z.detach().aminmax()).isfinite().all():
            row, latent = (~z.isfinite()).nonzero()[0].tolist()
            raise ValueError(f"{name}: want finite values, got {z[row, latent].item()} in row {row}, latent {latent}")


def check_paired(z_a: Tensor, z_b: Tensor) -> None:
    """As many rows in one as in the other."""
    if len(z_a) != len(z_b):
        raise ValueError(f"want paired rows, got {len(z_a)} and {len(z_b)}")


def check_labels(z: Tensor, labels: Tensor, *, n_min: int, n_classes_min: int = 2) -> tuple[Tensor, Tensor]:
    """Class number 0 … n_classes − 1 of every point, (n_samples,), and the points of every class, (n_classes,).

    ValueError unless labels are whole numbers, one a point, of n_classes_min classes of n_min points or more.
    """
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex():
        found = getattr(labels, "dtype", type(labels).__name__)
        raise ValueError(f"labels: want a tensor of whole numbers, got {found}")
    if labels.shape != z.shape[:1]:
        raise ValueError(f"labels: want one a point, ({len(z)},), got {tuple(labels.shape)}")
    if labels.device != z.device:
        raise ValueError(f"labels: want them on the device of the codes, {z.device}, got {labels.device}")
    values, index, count = labels.unique(return_inverse=True, return_counts=True)
    if len(values) < n_classes_min:
        raise ValueError(f"labels: want {n_classes_min} or more classes, got {len(values)}")
    if count.min() < n_min:
        small = int(count.argmin())
        raise ValueError(f"labels: want {n_min} or more points a class, got {count[small]} in class {values[small]}")
    return index, count
