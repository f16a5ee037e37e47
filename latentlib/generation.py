"""New codes for a decoder: from the fitted island, from independent angles, from the prior; and what they decode to.

    codes = generation.sample_island(mu, log_var, 10_000, seed=0)
    report = generation.generation_report(model, x_test, codes, features, on_sphere=True, seed=0)

Compressed codes live on the sphere |z|² = n_latent, and so do the codes drawn here. The sources draw "from the
empirically fitted compressed latent island" without saying how it is fitted: island and angles are two readings of it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from latentlib._codes import check_codes, check_labels, unit_rows
from latentlib._vae import check_sizes
from latentlib.angles import from_angles, to_angles
from latentlib.encoding import decode_codes, encode_means
from latentlib.feature_network import FeatureNetwork
from latentlib.frechet import FrechetEstimate, extrapolate_frechet
from latentlib.vmf import sample_nested_field, vmf_kappa


def sample_island(
    mu: Tensor, log_var: Tensor, n_samples: int, *, seed: int, labels: Tensor | None = None
) -> Tensor:
    """Fitted island, z = √n u/|u|, u ~ N(m, diag(v + ⟨σ²⟩)), m and v the mean and variance of the posterior means.

    v + ⟨σ²⟩ is the variance of μ + σε over the data. With labels one island a class, drawn as often as it is.
    Args: mu, log_var, of the training data, (n_points ≥ 2, n_latent), floating; labels, whole numbers, (n_points,).
    Returns: (n_samples, n_latent), dtype and device of mu. Raises: ValueError for other shapes or counts, values that
    are not finite, a class of one point, or an island that is one point at 0, which has no direction.
    """
    check_codes(mu=mu, log_var=log_var, n_min=2)
    check_sizes(n_samples=n_samples)
    if mu.shape != log_var.shape:
        raise ValueError(f"sample_island: want mu like log_var, got {tuple(mu.shape)} and {tuple(log_var.shape)}")
    if labels is None:
        labels = torch.zeros(len(mu), dtype=torch.int64, device=mu.device)
    index, count = check_labels(mu, labels, n_min=2, n_classes_min=1)
    points, noise_var = mu.detach().double(), log_var.detach().double().exp()
    var_mean = [torch.var_mean(points[index == one], 0) for one in range(len(count))]
    var = torch.stack([v + noise_var[index == one].mean(0) for one, (v, _) in enumerate(var_mean)])
    mean = torch.stack([m for _, m in var_mean])
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.multinomial(count.double().cpu(), n_samples, replacement=True, generator=generator).to(mu.device)
    noise = torch.randn(n_samples, mu.shape[1], generator=generator, dtype=torch.float64).to(mu.device)
    return _on_sphere(mean[chosen] + var[chosen].sqrt() * noise).to(mu.dtype)


def sample_angle_marginals(mu: Tensor, n_samples: int, *, seed: int) -> Tensor:
    """Independent angles, each φ_k an observed one drawn at random, at radius √n: all marginals kept, all else dropped.

    Drawing observed values inverts the empirical distribution, also on the circle of the last angle.
    Args: mu, posterior means of the training data, (n_points, n_latent ≥ 2), floating.
    Returns: (n_samples, n_latent), dtype and device of mu. Raises: ValueError for other shapes or counts, values that
    are not finite.
    """
    check_codes(mu=mu)
    check_sizes(n_samples=n_samples)
    _, angles = to_angles(mu.detach().double())
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(len(mu), (n_samples, angles.shape[1]), generator=generator).to(mu.device)
    radius = angles.new_full((n_samples,), math.sqrt(mu.shape[1]))
    return from_angles(radius, angles.gather(0, rows)).to(mu.dtype)


def sample_prior(cos_mean: Tensor, n_samples: int, *, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The prior that a compression aims at: nested von Mises–Fisher law with E cos φ_k = t_k, at radius √n.

    t = 0 is the uniform sphere. Each angle is independent; see `vmf.nested_field`.
    Args: cos_mean, t_k in (−1, 1), floating, (n_latent − 1 ≥ 1,): a target t_k = 1, a point, has no field.
    Returns: (n_samples, n_latent) on the CPU. Raises: ValueError for another shape or count, t_k out of range.
    """
    check_sizes(n_samples=n_samples)
    if not isinstance(cos_mean, Tensor) or cos_mean.ndim != 1 or not len(cos_mean) or not cos_mean.is_floating_point():
        found = f"{cos_mean.dtype} {tuple(cos_mean.shape)}" if isinstance(cos_mean, Tensor) else type(cos_mean).__name__
        raise ValueError(f"cos_mean: want floating (n_latent - 1 >= 1,), got {found}")
    n_latent = len(cos_mean) + 1
    kappa = vmf_kappa(cos_mean.detach().cpu().double(), torch.arange(n_latent, 1, -1, dtype=torch.float64))
    return (math.sqrt(n_latent) * sample_nested_field(kappa, n_samples, seed=seed)).to(dtype)


def sample_gaussian(
    n_latent: int, n_samples: int, *, seed: int, sphere: bool = False, dtype: torch.dtype = torch.float32
) -> Tensor:
    """The prior of a standard VAE, z ~ N(0, 1), or with `sphere` its projection √n z/|z|, uniform on the sphere.

    Returns: (n_samples, n_latent) on the CPU. Raises: ValueError for counts under 1.
    """
    check_sizes(n_latent=n_latent, n_samples=n_samples)
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n_samples, n_latent, generator=generator, dtype=torch.float64)
    return (_on_sphere(z) if sphere else z).to(dtype)


@dataclass(frozen=True)
class GenerationReport:
    """Three Fréchet distances, extrapolated to infinitely many samples, with intervals: made by `generation_report`.

    A decoder that ignores its code has self_distance 0, one that memorised the training set to_test near 0: no one of
    the three says alone that a model generates.
    """

    distance_name: str  # FID, or Fréchet distance of some features
    self_distance: FrechetEstimate  # decoded random codes to reconstructions of the test set
    to_test: FrechetEstimate  # decoded random codes to the test set
    reconstruction_to_test: FrechetEstimate  # what the autoencoder loses without any sampling


def generation_report(
    model: nn.Module, x_test: Tensor, codes: Tensor, features: FeatureNetwork, *, on_sphere: bool, seed: int,
    n_groups: int = 20, level: float = 0.95,
) -> GenerationReport:
    """Self distance d²(D(z), D(μ(x))), to test d²(D(z), x), reconstruction to test d²(D(μ(x)), x), z random codes.

    Feature by feature moments of decoded codes, in evaluation mode. Intervals are over points, of one trained model;
    images and their reconstructions stay together.
    Args: model with encode and decode; x_test (n_samples, *sample_shape), as both networks take it; codes, from a
        sampler of this module, (n_codes, n_latent); on_sphere, reconstructions from √n μ/|μ|, as a model trained with a
        hyperspherical loss has them, else from μ; seed, n_groups, level as `extrapolate_frechet`, which says how many
        samples it needs. Raises: ValueError as it and `encode_means`.
    """
    check_codes(codes=codes, n_min=2)
    mu = encode_means(model, x_test)
    mu = _on_sphere(mu) if on_sphere else mu
    random, reconstructed, test = (
        features(images).double() for images in (decode_codes(model, codes), decode_codes(model, mu), x_test)
    )
    options = {"seed": seed, "n_groups": n_groups, "level": level}
    pairs = (random, reconstructed), (random, test), (reconstructed, test)
    return GenerationReport(features.distance_name, *(extrapolate_frechet(a, b, **options) for a, b in pairs))


def _on_sphere(z: Tensor) -> Tensor:
    return math.sqrt(z.shape[1]) * unit_rows("z", z)
