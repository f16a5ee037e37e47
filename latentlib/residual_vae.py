"""The residual autoencoder of the published compression experiments, and the weights its authors released.

    model = models.ResidualVAE((3, 32, 32), 128, seed=0)
    model = residual_vae.load_released(models.weights_path("cifar10_full_compression_z128_ec126.pt"))

BatchNorm stands after every convolution: in training mode the code of an image depends on its batch, so a model that
is not being trained belongs in `.eval()` (`encoding.encode_means` says in which mode codes were taken).
"""

import math
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

from torch import Tensor, nn

from latentlib._vae import VAE, check_sizes, seeded
from latentlib._weights import read_torch

SLOPE = 0.2  # of the leaky ReLU for negative inputs


class ResidualBlock(nn.Module):
    """LReLU(skip(x) + branch(x)), branch = conv3×3-BN-LReLU-conv3×3-BN, skip a 1×1 convolution, or x at equal width."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.skip = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1, bias=False)
        self.branch = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out), nn.LeakyReLU(SLOPE),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False), nn.BatchNorm2d(n_out),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Same height and width as x."""
        return nn.functional.leaky_relu(self.skip(x) + self.branch(x), SLOPE)


class ResidualVAE(VAE):
    """conv5×5 and a residual block per width, halving the image after each but the last; the decoder mirrors them.

    Encoder: conv5×5-BN-LReLU-halve, (block-halve) for channels[1:], block, linear to (μ, log σ²). Decoder:
    linear-BN-LReLU, (block-double) for channels reversed, block, conv5×5, sigmoid: x̂ in (0, 1). Halving is the mean of
    2 × 2, doubling repeats. One halving per entry of `channels`: three for 32 × 32, (16, 32) suits digits of 8 × 8.
    Sides that 2^len(channels) does not divide are zero-padded (28 → 32 on three levels) and x̂ is cropped back.
    660 995 weights for (3, 32, 32), n_latent = 128. Source: code of arXiv:2601.18823, after Soft-IntroVAE.
    Args: image_shape (channels, height, width); n_latent ≥ 1; channels, widths ≥ 1; seed of the initial weights.
    Raises: ValueError for sizes that are no whole numbers ≥ 1, or another image_shape.
    """

    def __init__(
        self, image_shape: tuple[int, int, int] = (3, 32, 32), n_latent: int = 128,
        channels: tuple[int, ...] = (16, 32, 64), *, seed: int = 0,
    ) -> None:
        super().__init__()
        image_shape, channels = tuple(image_shape), tuple(channels)
        sizes = {"image_shape": image_shape, "n_latent": n_latent, "channels": channels}
        check_sizes(**sizes)
        if len(image_shape) != 3 or not channels:
            found = f"{image_shape} and {channels}"
            raise ValueError(f"want image_shape (channels, height, width) and channels of some widths, got {found}")
        self.arguments = sizes | {"seed": seed}
        self.sample_shape, self.n_latent = image_shape, n_latent
        factor = 2 ** len(channels)
        inner = (channels[-1], *(math.ceil(side / factor) for side in image_shape[1:]))
        padding = _padding(image_shape[1:], [factor * side for side in inner[1:]])
        with seeded(seed):
            self.encoder = nn.Sequential(_encoder_layers(image_shape[0], n_latent, channels, inner, padding))
            self.decoder = nn.Sequential(_decoder_layers(image_shape[0], n_latent, channels, inner, padding))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior means and natural log of the variances, each (..., n_latent), of x (..., *image_shape)."""
        self._check("x", x, self.sample_shape)
        row = self.encoder(x.reshape(-1, *self.sample_shape))  # BatchNorm takes exactly one axis of samples
        return row.reshape(*x.shape[:-3], -1).chunk(2, dim=-1)

    def decode(self, z: Tensor) -> Tensor:
        """x̂(z) in (0, 1), (..., *image_shape) from (..., n_latent)."""
        self._check("z", z, (self.n_latent,))
        return self.decoder(z.reshape(-1, self.n_latent)).reshape(*z.shape[:-1], *self.sample_shape)


def load_released(path: str | Path) -> ResidualVAE:
    """The authors' released network from their checkpoint {epoch, state_dict, metadata}, on the CPU, in `.eval()`.

    Sizes are read off the weights, whose names are translated to ours. Read by `weights_only=True`: nothing in the file
    is executed. Raises: FileNotFoundError; ValueError for another file, or weights missing, left over, of other shape.
    """
    path = Path(path)
    content = read_torch(path)
    released = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(released, dict) or not all(isinstance(value, Tensor) for value in released.values()):
        raise ValueError(f"{path.name}: want a checkpoint with a table state_dict of tensors, got another file")
    try:
        model = ResidualVAE(**_released_sizes(released))
        translated = _released_names(model)
        missing, left_over = translated.keys() - released.keys(), released.keys() - translated.keys()
        if missing or left_over:
            raise ValueError(f"missing {sorted(missing)}, left over {sorted(left_over)}")
        model.load_state_dict({ours: released[theirs] for theirs, ours in translated.items()})
    except (KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path.name}: want the weights of the published residual network, got: {error}") from error
    return model.eval()


def _released_sizes(released: dict[str, Tensor]) -> dict:
    """Arguments of the constructor, from the shapes of the authors' weights: square images, sides of 2^levels·k."""
    first, features = released["encoder.main.0.weight"], released["encoder.F2L.0.weight"]
    skips = [name for name in released if name.startswith("encoder.") and name.endswith(".conv_expand.weight")]
    channels = (len(first), *(len(released[name]) for name in skips))
    side = math.isqrt(features.shape[1] // channels[-1]) << len(channels)
    return {"image_shape": (first.shape[1], side, side), "n_latent": len(features) // 2, "channels": channels}


def _released_names(model: ResidualVAE) -> dict[str, str]:
    """The authors' name of every weight → ours. They number a block by the side of its image."""
    side, levels = model.sample_shape[1], len(model.arguments["channels"])
    begins = {
        "encoder.convolution.": "encoder.main.0.", "encoder.norm.": "encoder.main.1.",
        "encoder.head.": "encoder.F2L.0.", "decoder.linear.": "decoder.L2F.0.",
        "decoder.norm.": "decoder.L2F.1.", "decoder.head.": "decoder.main.predict.",
    }  # fmt: skip
    begins |= {f"encoder.block_{i}.": f"encoder.main.res_in_{side >> (i + 1)}." for i in range(levels)}
    begins |= {f"decoder.block_{i}.": f"decoder.main.res_in_{side >> (levels - i)}." for i in range(levels + 1)}
    parts = {".skip.": ".conv_expand.", ".branch.0.": ".conv1.", ".branch.1.": ".bn1."}
    parts |= {".branch.3.": ".conv2.", ".branch.4.": ".bn2."}
    names = {}
    for ours in model.state_dict():
        theirs = ours
        for begin, their_begin in begins.items():
            theirs = their_begin + theirs[len(begin) :] if ours.startswith(begin) else theirs
        for part, their_part in parts.items():
            theirs = theirs.replace(part, their_part)
        names[theirs] = ours
    return names


def _padding(sides: tuple[int, ...], padded: list[int]) -> tuple[int, int, int, int]:
    """(left, right, top, bottom) zeros that bring (height, width) to `padded`, the odd one at the end."""
    (top, bottom), (left, right) = (((b - a) // 2, b - a - (b - a) // 2) for a, b in zip(sides, padded, strict=True))
    return left, right, top, bottom


def _encoder_layers(
    n_colors: int, n_latent: int, channels: tuple[int, ...], inner: tuple[int, ...], padding: tuple[int, ...]
) -> OrderedDict[str, nn.Module]:
    layers = OrderedDict(
        pad=nn.ZeroPad2d(padding), convolution=nn.Conv2d(n_colors, channels[0], 5, padding=2, bias=False),
        norm=nn.BatchNorm2d(channels[0]), activation=nn.LeakyReLU(SLOPE),
    )  # fmt: skip
    for i, (n_in, n_out) in enumerate(pairwise((*channels, channels[-1]))):
        layers |= {f"half_{i}": nn.AvgPool2d(2), f"block_{i}": ResidualBlock(n_in, n_out)}
    return layers | OrderedDict(flatten=nn.Flatten(), head=nn.Linear(math.prod(inner), 2 * n_latent))


def _decoder_layers(
    n_colors: int, n_latent: int, channels: tuple[int, ...], inner: tuple[int, ...], padding: tuple[int, ...]
) -> OrderedDict[str, nn.Module]:
    size = math.prod(inner)
    layers = OrderedDict(
        linear=nn.Linear(n_latent, size), norm=nn.BatchNorm1d(size), activation=nn.LeakyReLU(SLOPE),
        unflatten=nn.Unflatten(1, inner),
    )  # fmt: skip
    widths = (channels[-1], *reversed(channels))
    for i, (n_in, n_out) in enumerate(pairwise(widths)):
        layers |= {f"block_{i}": ResidualBlock(n_in, n_out), f"double_{i}": nn.Upsample(scale_factor=2, mode="nearest")}
    layers[f"block_{len(channels)}"] = ResidualBlock(channels[0], channels[0])
    layers |= OrderedDict(head=nn.Conv2d(channels[0], n_colors, 5, padding=2), sigmoid=nn.Sigmoid())
    # Negative padding crops.
    return layers | OrderedDict(crop=nn.ZeroPad2d(tuple(-n for n in padding)))
