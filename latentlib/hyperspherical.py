"""The hyperspherical VAE: the published losses on the angles of the codes, to the letter, and one that is a true KL.

A batch of means μ and noise σ = e^{log_var/2} enters through cos φ_k, k = 1..n−1, and the norms. With c_k the cosines
of μ, c̃_k those of σ, d = n_latent, unbiased variances, s = √(Var + 1e-4), the authors' ε = 1e-3 under every root:

    w_k = 50√d/√k,   p_k = 1/√(d−k+1+ε),   G(s; p) = (s+1−p)² − ln (s+1−p)² − 1
    angle_std = Σ w_k G(s_k; p_k)                   angle_mean = .05 Σ w_k (t_k − ⟨c_k⟩)²
    radius = 50 G(s_r; 0) + 50 (⟨‖μ‖⟩ − √(d−½))²     sigma_angle = Σ w_k G(s̃_k; 0) + .05 Σ w_k (p_k − ⟨c̃_k⟩)²
    sigma_radius = 50 [v − ln v − 1] + 50 (⟨‖σ‖⟩ − κ√(d−½))²,   v = 2 (Var‖σ‖ + 1e-4)
    total = 1000 (angle_mean + angle_std) + 300 radius + sigma_gain·sigma_angle + 500 sigma_radius

None of these is a Kullback–Leibler divergence, and t_k = 1 contradicts p_k, since ⟨c⟩² + Var c ≤ 1.
Sources: arXiv:2507.15900 (`ijcnn2025`) and arXiv:2601.18823 (`ad2026`), from their formulas.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from latentlib._angle_terms import angle_prior, class_mean_gain, nested_terms, published_terms
from latentlib._vmf_entropy import ORDER_LIMIT
from latentlib.angles import PUBLISHED_EPS, angle_statistics
from latentlib.models import VAE, kl_divergence

# Of every preset: direction, sigma_radius κ, sigma_gain.
PRESETS = {
    "ijcnn2025": ("half", 1.0, 500_000.0), "ad2026": ("full", 0.001, 500_000.0), "nested_vmf": ("half", 1.0, 1.0),
}  # fmt: skip
DIRECTIONS = ("half", "full", "zero")
GAINS = {"angle_mean": 1000.0, "angle_std": 1000.0, "radius": 300.0, "sigma_radius": 500.0}
ANNEALED_EPOCHS = 100


@dataclass(frozen=True)
class HypersphericalLoss:
    """The terms without their gains, scalars, and their total with the gains: what the trainer weights.

    cos_mean and cos_var, detached, are the statistics of cos φ_k: (n_latent − 1,), or (n_classes, n_latent − 1).
    """

    total: Tensor
    angle_mean: Tensor
    angle_std: Tensor
    radius: Tensor
    sigma_angle: Tensor
    sigma_radius: Tensor
    cos_mean: Tensor
    cos_var: Tensor


def hyperspherical_loss(
    mu: Tensor, log_var: Tensor, *, preset: str = "ijcnn2025",
    field: float = 1.0, angles: Tensor | None = None, others: str = "equator", direction: str | None = None,
    labels: Tensor | None = None, n_classes: int | None = None, stride: int = 10,
    epoch: int = 0, eps: float | str | None = None,
    sigma_radius: float | None = None, sigma_gain: float | None = None, end_compress: int | None = None,
) -> HypersphericalLoss:  # fmt: skip
    """Loss of a batch on its angles, a field on each: the terms as in the head of the module, and their total.

    `ijcnn2025`: one island; t_k = p_k (half, the direction (1, …, 1)), 1 (full, the first axis) or 0 (zero).
    `ad2026`: codes rolled by −label·stride, statistics of every class, summed over classes (no labels: one class);
    t_k = 1, where the mean term of k = 1 has the gain 100, after epoch 100 150, that of k = n−1 none, of the others 1,
    then √(epoch−101) + 1.
    `nested_vmf`, in nats, all gains 1: angle_mean = Σ_k KL(κ̂_k ‖ κ⁰_k), densities ∝ e^{κ cos φ_k} sin^{n−1−k} φ_k,
    κ̂_k of order ⟨c_k⟩, κ⁰_k of order α t_k (with labels: rolled, averaged by the shares of the classes); radius =
    KL(N(⟨‖μ‖⟩, Var‖μ‖ + 1e-4) ‖ the moments of ‖N(0, 1_n)‖); sigma_radius = Σ_k ⟨KL(N(0, σ_k²) ‖ N(0, κ²))⟩, whose
    gain is sigma_gain; angle_std = sigma_angle = 0, as widths follow from the orders. Over the data, angle_mean is a
    lower bound of the KL of the law of the directions of μ from the nested prior, with equality within the family; on
    a batch that follows the prior it is about (n−1)/(2 n_samples) too large. It is no term of an ELBO: it knows no
    single posterior and no decoder.
    Args: mu, log_var, (n_samples ≥ 2, n_latent ≥ 2); field, the strength α ≥ 0 of the compression: every target is
        α t_k, 0 none, 1 published; angles, bool (n_latent − 1,), those that feel it; others, what the rest gets: the
        target 0 ("equator", the authors') or no term ("free"); direction, None: half, in ad2026 full, its only one;
        labels, 0 … n_classes − 1, (n_samples,), with (n_classes − 1)·stride < n_latent; eps as in
        `angles.angle_statistics`, but None: "published", in nested_vmf the rule there (p_k has an ε in "published"
        only); sigma_radius, κ, None: 1, in ad2026 .001; sigma_gain, None: 500 000 (for MNIST 50 000 was published);
        end_compress, the published name of angles = (k ≤ end_compress + 1). No wait for a GPU.
    Raises: ValueError for anything else, a value not finite, a class of fewer than two, or nested_vmf at α t_k = 1, an
    infinite field.
    """
    mu, log_var = _checked_codes(mu, log_var)
    direction, sigma_radius, sigma_gain = _options(preset, direction, sigma_radius, sigma_gain)
    _check_epoch(epoch)
    _check_field(field, preset, direction)
    if others not in ("equator", "free"):
        raise ValueError(f"others: want 'equator' or 'free', got {others!r}")
    eps = "published" if eps is None and preset != "nested_vmf" else eps
    felt = _felt(mu, angles, end_compress)
    prior = angle_prior(field, felt, direction, others, PUBLISHED_EPS if eps == "published" else 0.0)
    codes = mu if labels is None else _rolled(mu, preset, labels, n_classes, stride)
    statistics = angle_statistics(codes, labels=labels, n_classes=n_classes, eps=eps)
    if preset == "nested_vmf":
        terms = nested_terms(mu, log_var, statistics, prior, labels, sigma_radius)
        gains = dict.fromkeys(terms, 1.0) | {"sigma_radius": sigma_gain}
    else:
        noise = (0.5 * log_var).exp()
        mean_gain = class_mean_gain(prior, epoch) if preset == "ad2026" else 1.0
        noise_statistics = angle_statistics(noise, eps=eps)
        terms = published_terms(mu, noise, statistics, noise_statistics, prior, mean_gain, sigma_radius)
        gains = GAINS | {"sigma_angle": sigma_gain}
    terms["total"] = sum(gains[name] * term for name, term in terms.items())
    terms = {name: term.to(mu.dtype) for name, term in terms.items()}
    return HypersphericalLoss(**terms, cos_mean=statistics.mean.detach(), cos_var=statistics.var.detach())


def baseline_kl(mu: Tensor, log_var: Tensor) -> Tensor:
    """The published KL of the standard VAE, ½⟨μ² + σ² − 1 − ln σ²⟩, mean over samples and over latents, in nats.

    1/n_latent of the rate: a kl_weight before it weighs n_latent times less than in `models.elbo_loss`.
    Args: mu, log_var, (n_samples, n_latent). Returns: a scalar. Raises: ValueError for other shapes or dtypes.
    """
    _check_pair(mu, log_var)
    return kl_divergence(mu, log_var).mean()


def sphere_sample(mu: Tensor, log_var: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """z = √n·u/‖u‖ with u = μ + σε: a draw from the posterior, taken to the sphere that the decoder sees.

    ε ~ N(0, 1) from `generator`, on the device of mu. Unchanged under u → c·u; NaN where u = 0 (no noise at μ = 0).
    Args: mu, log_var, (n_samples, n_latent). Returns: like mu. Raises: ValueError for other shapes or dtypes.
    """
    _check_pair(mu, log_var)
    u = VAE.sample(mu, log_var, generator)
    return u * (math.sqrt(u.shape[1]) / torch.linalg.vector_norm(u, dim=1, keepdim=True))


def anneal_gain(epoch: int, *, preset: str = "ijcnn2025", direction: str | None = None) -> float:
    """Gain A(epoch) of the whole loss: √epoch + 1 up to epoch 100, then 1: the quench.

    `ijcnn2025` with half (and zero, which is the code's half times 0) goes on with √epoch + 1. `ad2026` has a second
    ramp, √(epoch−301) + 1 at 301 … 500, after its 300 epochs. `nested_vmf`, for comparison, always has the quench.
    Args: epoch ≥ 0; preset and direction as `hyperspherical_loss`. Raises: ValueError for anything else.
    """
    direction = _options(preset, direction, None, None)[0]
    _check_epoch(epoch)
    if preset == "ad2026" and 301 <= epoch <= 500:
        return math.sqrt(epoch - 301) + 1
    endless = preset == "ijcnn2025" and direction != "full"
    return math.sqrt(epoch) + 1 if endless or epoch <= ANNEALED_EPOCHS else 1.0


def orderable_angles(n_latent: int, order: float, *, eps: float = PUBLISHED_EPS) -> int:
    """How many first angles can have x_k/√(S_k + ε) = c on the sphere |x|² = n: ⌊ln(1 + n/ε)/−ln(1 − c²)⌋, or n−1.

    Each shrinks S_k + ε by 1 − c², and S_k ≥ 0: at the published ε, 7 angles at c = .9 whatever n. ε = 0: all n−1.
    Args: n_latent ≥ 2; order c in [0, 1]; eps, absolute ε ≥ 0, in units of z². Raises: ValueError out of range.
    """
    if not isinstance(n_latent, int) or n_latent < 2 or not 0 <= order <= 1 or not 0 <= eps < math.inf:
        raise ValueError(f"want n_latent >= 2, order in [0, 1], eps >= 0, got {n_latent!r}, {order} and {eps}")
    if order == 1:
        return int(eps == 0)  # the first angle takes everything
    if order == 0 or eps == 0:
        return n_latent - 1
    return min(n_latent - 1, math.floor(math.log1p(n_latent / eps) / -math.log1p(-(order**2))))


def _felt(mu: Tensor, angles: Tensor | None, end_compress: int | None) -> Tensor:
    """1 for an angle that feels the field, else 0."""
    n_angles = mu.shape[1] - 1
    if angles is not None and end_compress is not None:
        raise ValueError("want angles or end_compress, got both")
    if angles is not None:
        if not isinstance(angles, Tensor) or angles.dtype != torch.bool or angles.shape != (n_angles,):
            found = f"{angles.dtype} {tuple(angles.shape)}" if isinstance(angles, Tensor) else type(angles).__name__
            raise ValueError(f"angles: want bool (n_latent - 1,) = ({n_angles},), got {found}")
        return angles.to(mu.device, torch.float64)
    end = n_angles - 1 if end_compress is None else end_compress
    if not isinstance(end, int) or not 0 <= end < n_angles:
        raise ValueError(f"end_compress: want an integer in 0 … n_latent - 2 = {n_angles - 1}, got {end_compress!r}")
    return (torch.arange(n_angles, device=mu.device) <= end).double()


def _rolled(mu: Tensor, preset: str, labels: Tensor, n_classes: int | None, stride: int) -> Tensor:
    """Codes rolled by −label·stride: the first axis of class c is c·stride."""
    if preset == "ijcnn2025":
        raise ValueError("ijcnn2025: want no labels, it has one island; ad2026 and nested_vmf have one a class")
    is_one_each = isinstance(labels, Tensor) and (labels.shape, labels.device) == (mu.shape[:1], mu.device)
    if not is_one_each or labels.is_floating_point():
        fits = isinstance(labels, Tensor)
        found = f"{labels.dtype} {tuple(labels.shape)} on {labels.device}" if fits else type(labels).__name__
        raise ValueError(f"labels: want whole numbers, one a sample, ({len(mu)},) on {mu.device}, got {found}")
    for name, value in {"n_classes": n_classes, "stride": stride}.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: want an integer >= 1, got {value!r}")
    n_latent = mu.shape[1]
    if (n_classes - 1) * stride >= n_latent:
        found = f"({n_classes} - 1)·{stride}"
        raise ValueError(f"stride: want (n_classes - 1)·stride < n_latent = {n_latent}, got {found}")
    axis = torch.arange(n_latent, device=mu.device)
    return mu.gather(1, (axis + stride * labels.long()[:, None]) % n_latent)


def _options(
    preset: str, direction: str | None, sigma_radius: float | None, sigma_gain: float | None
) -> tuple[str, float, float]:
    """What was asked for, or what the preset has."""
    if preset not in PRESETS:
        raise ValueError(f"preset: want {' or '.join(map(repr, PRESETS))}, got {preset!r}")
    given = direction, sigma_radius, sigma_gain
    direction, sigma_radius, sigma_gain = (
        own if option is None else option for option, own in zip(given, PRESETS[preset], strict=True)
    )
    known = ("full",) if preset == "ad2026" else DIRECTIONS
    if direction not in known:
        raise ValueError(f"direction: want {' or '.join(map(repr, known))} in {preset}, got {direction!r}")
    _check_numbers(sigma_radius=sigma_radius, sigma_gain=sigma_gain)
    if sigma_radius == 0:
        raise ValueError("sigma_radius: want a number > 0, got 0")
    return direction, sigma_radius, sigma_gain


def _check_field(field: float, preset: str, direction: str) -> None:
    """A strength, at which the largest target, α or α/√2 at the last angle, is the order of a finite field."""
    _check_numbers(field=field)
    largest = field * {"half": math.sqrt(0.5), "full": 1.0, "zero": 0.0}[direction]
    if preset == "nested_vmf" and largest > ORDER_LIMIT:
        raise ValueError(f"nested_vmf: want field·t_k below 1, an infinite field, got {largest:g}: lower `field`")


def _check_epoch(epoch: int) -> None:
    if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
        raise ValueError(f"epoch: want a whole number >= 0, got {epoch!r}")


def _check_numbers(**numbers: float) -> None:
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number < math.inf:
            raise ValueError(f"{name}: want a finite number >= 0, got {number!r}")


def _check_pair(mu: Tensor, log_var: Tensor, n_min: int = 1) -> None:
    for name, codes in {"mu": mu, "log_var": log_var}.items():
        if not isinstance(codes, Tensor) or not codes.is_floating_point():
            found = getattr(codes, "dtype", type(codes).__name__)
            raise ValueError(f"{name}: want a floating-point tensor, got {found}")
        if codes.ndim != 2 or len(codes) < n_min or codes.shape[1] < n_min:
            raise ValueError(f"{name}: want (n_samples >= {n_min}, n_latent >= {n_min}), got {tuple(codes.shape)}")
    kinds = [(tuple(codes.shape), codes.dtype, codes.device) for codes in (mu, log_var)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"mu, log_var: want one shape, dtype and device, got {kinds[0]} and {kinds[1]}")


def _checked_codes(mu: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
    """In float32 or float64, two or more samples and latents; finite, where asking does not wait for a GPU."""
    _check_pair(mu, log_var, n_min=2)
    for name, codes in {"mu": mu, "log_var": log_var}.items():
        # A sum is read much faster than all values; it may overflow, so it does not decide alone.
        if not codes.is_cuda and not codes.sum().isfinite() and not codes.isfinite().all():
            raise ValueError(f"{name}: want finite values, got NaN or infinity")
    return (mu, log_var) if mu.dtype == torch.float64 else (mu.float(), log_var.float())
