"""Variational autoencoders with Gaussian codes: linear, perceptron, convolutional, residual; their loss; their files.

Every model has encode(x) -> (mu, log_var), decode(z) -> x_hat, sample(mu, log_var, generator) and latent_mean(x). The
initial weights (torch's own laws) depend on `seed` alone, and random numbers come from the generator that is passed:
the global random state is neither read nor moved. float32; `.double()` and `.to(device)` as for every torch module.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from latentlib import _install
from latentlib._files import replace_file
from latentlib._vae import VAE, activation_layer, check_sizes, seeded
from latentlib._weights import read_safetensors, read_torch
from latentlib.residual_vae import ResidualVAE


class LinearVAE(VAE):
    """μ = V x + b, x̂ = W z + c, log σ² = a free vector: the probabilistic-PCA VAE, whose optimum is known exactly.

    The optimal posterior variance of a linear Gaussian model does not depend on x; `log_var="affine"` takes the affine
    head log σ²(x) = A x + a of published runs instead. Source: Lucas et al. (2019); pPCA, Tipping and Bishop (1999).
    Args: n_features, n_latent ≥ 1; seed of the initial weights (log σ² starts at 0).
    """

    def __init__(self, n_features: int, n_latent: int, *, log_var: str = "constant", seed: int = 0) -> None:
        super().__init__()
        check_sizes(n_features=n_features, n_latent=n_latent)
        if log_var not in ("constant", "affine"):
            raise ValueError(f"log_var: want 'constant' or 'affine', got {log_var!r}")
        self.arguments = {"n_features": n_features, "n_latent": n_latent, "log_var": log_var, "seed": seed}
        self.sample_shape, self.n_latent = (n_features,), n_latent
        with seeded(seed):
            self.encoder = nn.Linear(n_features, n_latent)
            self.decoder = nn.Linear(n_latent, n_features)
            free = nn.Parameter(torch.zeros(n_latent))
            self.log_var = free if log_var == "constant" else nn.Linear(n_features, n_latent)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self._check("x", x, self.sample_shape)
        mu = self.encoder(x)
        return mu, self.log_var(x) if isinstance(self.log_var, nn.Linear) else self.log_var.expand_as(mu)


class MLPVAE(VAE):
    """Encoder n_features → hidden → (μ, log σ²), decoder n_latent → hidden reversed → n_features, linear outputs.

    The default, SiLU 64-64, is the network of chapter 00, on which eig J_f and m are compared mode by mode.
    Args: sizes ≥ 1; activation silu, relu, tanh or gelu; seed of the initial weights.
    """

    def __init__(
        self, n_features: int, n_latent: int, hidden: tuple[int, ...] = (64, 64), activation: str = "silu",
        *, seed: int = 0,
    ) -> None:
        super().__init__()
        hidden = tuple(hidden)
        sizes = {"n_features": n_features, "n_latent": n_latent, "hidden": hidden}
        check_sizes(**sizes)
        self.arguments = sizes | {"activation": activation, "seed": seed}
        self.sample_shape, self.n_latent = (n_features,), n_latent
        with seeded(seed):
            self.encoder = _perceptron((n_features, *hidden, 2 * n_latent), activation)
            self.decoder = _perceptron((n_latent, *reversed(hidden), n_features), activation)


class ConvVAE(VAE):
    """Convolutions 4 × 4 of stride 2, one per entry of `channels`, each halving the image; the decoder mirrors them.

    Args: image_shape (channels, height, width), height and width divisible by 2^len(channels); activation as MLPVAE;
    seed. x is (n, channels, height, width), or one image without n; x̂ has no output nonlinearity (Gaussian decoder).
    """

    def __init__(
        self, image_shape: tuple[int, int, int], n_latent: int, channels: tuple[int, ...] = (32, 64),
        activation: str = "silu", *, seed: int = 0,
    ) -> None:
        super().__init__()
        image_shape, channels = tuple(image_shape), tuple(channels)
        sizes = {"image_shape": image_shape, "n_latent": n_latent, "channels": channels}
        check_sizes(**sizes)
        factor = 2 ** len(channels)
        if len(image_shape) != 3 or factor == 1 or any(side % factor for side in image_shape[1:]):
            raise ValueError(f"image_shape: want (channels, height, width), sides of {factor}·k, got {image_shape}")
        self.arguments = sizes | {"activation": activation, "seed": seed}
        self.sample_shape, self.n_latent = image_shape, n_latent
        steps = list(zip((image_shape[0], *channels), channels, strict=False))
        inner = (channels[-1], *(side // factor for side in image_shape[1:]))
        down, up = [], []
        with seeded(seed):
            for wide, narrow in steps:
                down += [nn.Conv2d(wide, narrow, 4, stride=2, padding=1), activation_layer(activation)]
            for wide, narrow in reversed(steps):
                up += [activation_layer(activation), nn.ConvTranspose2d(narrow, wide, 4, stride=2, padding=1)]
            self.encoder = nn.Sequential(*down, nn.Flatten(-3), nn.Linear(math.prod(inner), 2 * n_latent))
            self.decoder = nn.Sequential(nn.Linear(n_latent, math.prod(inner)), nn.Unflatten(-1, inner), *up)


@dataclass(frozen=True)
class ElboLoss:
    """loss, in nats per sample; distortion_sum = ⟨|x − x̂|²⟩, in units of x²; rate (n_latent,), nats per latent."""

    loss: Tensor
    distortion_sum: Tensor
    rate: Tensor


def elbo_loss(
    x: Tensor, x_hat: Tensor, mu: Tensor, log_var: Tensor, kl_weight: float, decoder_var: float = 1.0
) -> ElboLoss:
    """𝓛 = ⟨|x − x̂|²⟩/(2σ_dec²) + β Σ_k ⟨KL_k⟩, averages over the batch: the negative β-ELBO without its constant.

    It equals (σ_tot²/2σ_dec²)(D̂ + 2 T̂ R), with D̂ = ⟨|x − x̂|²⟩/σ_tot², R = Σ rate, T̂ = β σ_dec²/σ_tot².
    Args: x, x_hat (n_samples, ...); mu, log_var (n_samples, n_latent). Raises: ValueError for other shapes.
    """
    if x.shape != x_hat.shape or mu.shape != log_var.shape or len(x) != len(mu) or len(x) == 0:
        shapes = [tuple(t.shape) for t in (x, x_hat, mu, log_var)]
        raise ValueError(f"elbo_loss: want x like x_hat, mu like log_var, as many samples (> 0) in each, got {shapes}")
    # mse_loss is one pass forward and one backward, where (x - x_hat).square().sum() takes three.
    distortion_sum = nn.functional.mse_loss(x_hat, x, reduction="sum") / len(x)
    rate = kl_divergence(mu, log_var).mean(0)
    return ElboLoss(distortion_sum * (0.5 / decoder_var) + kl_weight * rate.sum(), distortion_sum, rate)


def kl_divergence(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) = (μ² + σ² − 1 − ln σ²)/2, in nats, element by element; exact near σ² = 1 too.

    Source: pruning, Eq. (11). Range [0, ∞). Args: mu, and log_var = ln σ², of one shape.
    """
    return 0.5 * (mu.square() + log_var.expm1() - log_var)


def save_model(model: VAE, path: str | Path) -> None:
    """Write weights and constructor arguments to one safetensors file, whole or not at all.

    Raises: ValueError for a model that is not of a class of this module.
    """
    from safetensors.torch import save as to_bytes

    if type(model).__name__ not in _CLASSES:
        raise ValueError(f"save_model: want one of {', '.join(_CLASSES)}, got {type(model).__name__}")
    facts = {"class": type(model).__name__, "arguments": json.dumps(model.arguments)}
    replace_file(Path(path), to_bytes({k: v.cpu() for k, v in model.state_dict().items()}, metadata=facts))


def load_model(path: str | Path) -> VAE:
    """The model that `save_model` wrote, on the CPU, in its dtype, in `.eval()`. Nothing in the file is executed.

    Raises: FileNotFoundError; ValueError for another format, an unknown class, or weights that do not fit.
    """
    facts, state = read_safetensors(Path(path))
    if facts.get("class") not in _CLASSES:
        raise ValueError(f"{Path(path).name}: want class {', '.join(_CLASSES)}, got {facts.get('class')!r}")
    try:
        model = _CLASSES[facts["class"]](**json.loads(facts["arguments"]))
        model.load_state_dict(state, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{Path(path).name}: want the weights of a {facts['class']}, got: {error}") from error
    return model.eval()


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Weights of a network trained elsewhere, name → tensor, on the CPU: .safetensors, or torch's .pt and .pth.

    torch files are read by `torch.load(weights_only=True)`, which unpickles tensors and plain containers and no code.
    Raises: FileNotFoundError; ValueError for a truncated file, other objects in it, or no flat table of tensors.
    """
    path = Path(path)
    state = read_safetensors(path)[1] if path.suffix == ".safetensors" else read_torch(path)
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{path.name}: want a table name → tensor, got {type(state).__name__}")
    return state


def weights_path(name: str, *, root: str | Path | None = None) -> Path:
    """Where the weights of a network trained elsewhere lie: weights/<name> in LATENTLIB_DATA, else in the cache.

    Args: name, a file name; root, the folder that holds weights/ (default: LATENTLIB_DATA, then data/cache).
    Raises: FileNotFoundError naming the places looked at. Nothing is downloaded.
    """
    places = [folder / "weights" / name for folder in _install.folders(root)]
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"want the weights {name!r}, got none at {' or '.join(map(str, places))}")
    return found


def _perceptron(sizes: tuple[int, ...], activation: str) -> nn.Sequential:
    layers = []
    for n_in, n_out in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(n_in, n_out), activation_layer(activation)]
    return nn.Sequential(*layers[:-1])


_CLASSES = {kind.__name__: kind for kind in (LinearVAE, MLPVAE, ConvVAE, ResidualVAE)}
