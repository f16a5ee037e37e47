"""What every autoencoder of the package is: the interface, weights by a seed, checked sizes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

ACTIVATIONS = {"silu": nn.SiLU, "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


class VAE(nn.Module):
    """Common interface: an encoder to (μ, log σ²) in one row, a decoder; a subclass sets the attributes below."""

    arguments: dict  # of the constructor, for a file
    encoder: nn.Module
    decoder: nn.Module
    sample_shape: tuple[int, ...]  # of one x
    n_latent: int

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior means and natural log of the variances, each (..., n_latent), of x (..., *sample_shape)."""
        self._check("x", x, self.sample_shape)
        return self.encoder(x).chunk(2, dim=-1)

    def decode(self, z: Tensor) -> Tensor:
        """x̂(z), the mean of p(x|z): (..., *sample_shape) from (..., n_latent)."""
        self._check("z", z, (self.n_latent,))
        return self.decoder(z)

    def latent_mean(self, x: Tensor) -> Tensor:
        """μ(x), (..., n_latent): the encoder of the latent map f = E∘D."""
        return self.encode(x)[0]

    @staticmethod
    def sample(mu: Tensor, log_var: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """z = μ + σ ε, ε ~ N(0, 1) from `generator` (which must be on the device of mu)."""
        noise = torch.randn(mu.shape, generator=generator, dtype=mu.dtype, device=mu.device)
        return torch.addcmul(mu, (0.5 * log_var).exp(), noise)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """x̂ of one draw from the posterior, with mu and log_var: what `elbo_loss` takes."""
        mu, log_var = self.encode(x)
        return self.decode(self.sample(mu, log_var, generator)), mu, log_var

    def _check(self, name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
        if tensor.shape[-len(shape) :] != shape:
            want = ", ".join(map(str, shape))
            raise ValueError(f"{type(self).__name__}: want {name} of shape (..., {want}), got {tuple(tensor.shape)}")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within the block torch's CPU generator starts at `seed`; after it, it is where it was before."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def activation_layer(name: str) -> nn.Module:
    """The module of an activation. Raises ValueError for a name that is not known."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation: want {', '.join(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]()


def check_sizes(**sizes: int | tuple[int, ...]) -> None:
    """Counts, or tuples of counts, are whole numbers from 1."""
    for name, size in sizes.items():
        if not all(isinstance(n, int) and n >= 1 for n in (size if isinstance(size, tuple) else (size,))):
            raise ValueError(f"{name}: want integers ≥ 1, got {size!r}")
