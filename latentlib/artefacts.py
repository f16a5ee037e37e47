"""Artefact scores and simple controls: what tells image sets apart without any network.

A detector that does no better than the size of a PNG file has seen how the images were made, not what they show. File
size and high frequencies count either way: an AUROC near 0 separates as well as one near 1. The controls are OOD for
certain, and simpler than the images they are made of: a score that misses them is no score of anomaly.
"""

import math
import zlib

import torch
from torch import Tensor

_BATCH = 1000  # images in float64 at once


def file_size_score(images: Tensor) -> Tensor:
    """Size of each image as the data of a PNG file, in bytes: complexity by lossless compression.

    Values rounded to 256 levels, predicted from the left, upper and upper left neighbors by the Paeth rule, the rest
    deflated at level 9; a file adds 57 bytes of frame and a filter byte a row. (n_images,) float64, larger = less
    compressible; builds of zlib may differ by a few bytes. Source of the effect: Serrà et al., arXiv:1909.11480.
    Args: images, (n_images, channels, height, width), uint8 or floating in [0, 1]. Raises: ValueError for others.
    """
    _check_images(images)
    levels = images if images.dtype == torch.uint8 else (images.detach() * 255).round()
    x = torch.nn.functional.pad(levels.to("cpu", torch.int16), (1, 0, 1, 0))
    here, left, up, corner = x[..., 1:, 1:], x[..., 1:, :-1], x[..., :-1, 1:], x[..., :-1, :-1]
    to_left, to_up, to_corner = ((left + up - corner - near).abs() for near in (left, up, corner))
    up_or_corner = torch.where(to_up <= to_corner, up, corner)
    nearest = torch.where((to_left <= to_up) & (to_left <= to_corner), left, up_or_corner)
    rest = (here - nearest).remainder(256).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return torch.tensor([len(zlib.compress(image.tobytes(), 9)) for image in rest], dtype=torch.float64)


def high_frequency_energy(images: Tensor, *, cut: float = 0.25) -> Tensor:
    """Share of the power Σ|x̂(k)|², k ≠ 0, of an image at spatial frequencies |k| above `cut` cycles per pixel.

    In [0, 1], (n_images,) float64; unchanged under x → a·x + b, a ≠ 0; channels add up. White noise has the share of
    the frequencies above the cut, 0.80 at 0.25. Constant images have no power: 0 by definition.
    Args: images, (n_images, channels, height, width), uint8 or floating in [0, 1]; cut in (0, ½√2).
    Raises: ValueError for other images or another cut.
    """
    _check_images(images)
    if not 0 < cut < math.sqrt(0.5):
        raise ValueError(f"cut: want a frequency in (0, 0.7071) cycles per pixel, got {cut}")
    row, column = (torch.fft.fftfreq(side, dtype=torch.float64, device=images.device) for side in images.shape[2:])
    above = row[:, None].square() + column.square() > cut**2
    return torch.cat([_power_share(batch, above) for batch in images.detach().split(_BATCH)])


def _power_share(images: Tensor, chosen: Tensor) -> Tensor:
    levels = images.double()
    power = torch.fft.fft2(levels - levels.mean((2, 3), keepdim=True)).abs().square().sum(1)
    total = power.sum((1, 2))
    return (power * chosen).sum((1, 2)) / torch.where(total > 0, total, 1.0)


def simple_controls(images: Tensor, *, blur: float = 2.0, seed: int) -> dict[str, Tensor]:
    """Control images simpler than the given ones: {"constant", "blurred", "noise"}, one of each per image.

    constant: the mean colour of the image; blurred: convolved with a Gaussian of standard deviation `blur` pixels,
    mirrored at the border; noise: independent uniform values in [0, 1], from `seed`.
    Args: images, floating in [0, 1], (n_images, channels, height, width), sides above 3·blur; blur > 0.
    Returns: images of the same shape, dtype, device. Raises: ValueError for other images or another blur.
    """
    _check_images(images)
    if not images.is_floating_point():
        raise ValueError(f"images: want floating values, got {images.dtype}")
    radius = math.ceil(3 * blur) if 0 < blur < math.inf else 0
    if not 1 <= radius < min(images.shape[2:]):
        raise ValueError(f"blur: want 0 < 3 blur <= {min(images.shape[2:]) - 1} pixels, got blur {blur}")
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return {
        "constant": images.mean((2, 3), keepdim=True).expand_as(images).clone(),
        "blurred": _blurred(images, blur, radius),
        "noise": noise.to(images.device, images.dtype),
    }


def _blurred(images: Tensor, blur: float, radius: int) -> Tensor:
    """Rows, then columns, by a Gaussian of 2·radius + 1 taps that sum to one."""
    offset = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    taps = (-0.5 * (offset / blur).square()).softmax(0)
    rows = images.flatten(0, 1)[:, None]
    padded = torch.nn.functional.pad(rows, (radius,) * 4, mode="reflect")
    across = torch.nn.functional.conv2d(padded, taps[None, None, None])
    return torch.nn.functional.conv2d(across, taps[None, None, :, None]).view_as(images).clamp(0, 1)


def _check_images(images: Tensor) -> None:
    """Images are (n > 0, channels, height, width), uint8 or floating in [0, 1]; a ValueError says what is not."""
    if not isinstance(images, Tensor) or images.ndim != 4 or 0 in images.shape:
        found = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images: want (n_images > 0, channels, height, width), got {found}")
    if images.dtype == torch.uint8:
        return
    if not images.is_floating_point() or not ((images >= 0) & (images <= 1)).all():
        low, high = (value.item() for value in images.aminmax())
        raise ValueError(f"images: want uint8, or floating in [0, 1], got {images.dtype} in {low:g} … {high:g}")
