"""Phase observables of one autoencoder: what a row of a sweep holds, each number with its standard error.

Flat dicts name → (value, standard error), by jackknife or delta method over points, over inputs for the landscape. All
in evaluation mode. A standard error knows nothing of other training seeds: those are other rows.
"""

import math

import torch
from torch import Tensor, nn

from latentlib._codes import check_codes, check_paired, row_norm, unit_rows
from latentlib._tangent import onto_sphere
from latentlib.angles import cos_angles
from latentlib.anomaly_scores import reconstruction_score
from latentlib.class_overlap import class_moments
from latentlib.encoding import encode_means
from latentlib.finite_size import binder_cumulant
from latentlib.hyperspherical import sphere_sample
from latentlib.landscape import latent_energy, soft_modes
from latentlib.minima import count_minima
from latentlib.models import VAE, kl_divergence
from latentlib.neighbors import knn_accuracy, knn_score
from latentlib.overlap import overlap_moments, raw_overlap_moments, within_overlap
from latentlib.reference.overlap import jackknife_error
from latentlib.vector_field import require_pointwise

ACTIVE_SHARE = 0.01  # signal fraction above which a latent counts as active: collapsed ones have 1e-3 and less
MAX_ITERATIONS = 100  # of a descent: smooth decoders need tens, and one that hits a kink never ends
Observables = dict[str, tuple[float, float]]


def phase_observables(
    model: VAE, x: Tensor, labels: Tensor, *, on_sphere: bool, x_train: Tensor | None = None,
    labels_train: Tensor | None = None, x_ood: Tensor | None = None, k: int = 5, n_landscapes: int = 4,
    n_starts: int = 16, floor: float = 0.0, seed: int,
) -> Observables:  # fmt: skip
    """Every phase observable of a model on held-out data: {name: (value, standard error)}, as the functions below.

    `code_observables` of the means, `posterior_observables`, `landscape_observables` of the first n_landscapes inputs
    (0: none), `task_observables`. Cluster stability and ultrametricity have modules of their own.
    Args: model, a VAE in `.eval()`, left as it was; x, labels (n_samples,), held out; on_sphere, trained with a
        hyperspherical loss, codes on |z|² = n; x_train with labels_train, the bank of neighbors, and x_ood, images
        that are none of the distribution, None: without the numbers that need them; the rest as below.
    Raises: ValueError for a model in training mode that mixes samples, and as the functions below.
    """
    require_pointwise(model)
    with torch.no_grad():
        mu, log_var = (part.double() for part in model.encode(x))
    found = code_observables(mu, labels, floor=floor)
    found |= posterior_observables(mu, log_var, on_sphere=on_sphere, seed=seed)
    if n_landscapes:
        some = slice(n_landscapes)
        found |= landscape_observables(model, x[some], mu[some], n_starts=n_starts, seed=seed)
    task = {"x_train": x_train, "labels_train": labels_train, "x_ood": x_ood, "k": k}
    return found | task_observables(model, x, labels, on_sphere=on_sphere, **task)


def code_observables(mu: Tensor, labels: Tensor, *, floor: float = 0.0) -> Observables:
    """Observables of codes alone: moments of P(q), χ = n·Var q by classes, χ_R, participation ratio, Binder, angles.

    q_mean, q_var, chi of all pairs; q_within_mean, chi_within_class of pairs of one class; q_between_mean;
    chi_between_classes = n·Var(E[q|classes]), what class means alone make; chi_raw = n·Var R and participation_ratio
    of codes with their norms.
    binder = 1 − ⟨m⁴⟩/(3⟨m²⟩²), m_i = s_i·A_i/|A_i|, the projection of a direction s_i on the resultant A_i of all
    others: 2/(n+2) on the uniform sphere, 2/3 where all point one way.
    cos_mean, the mean over k of m_k = ⟨cos φ_k⟩, k = 1..n−1; n_ordered_angles, how many have |m_k| > ½/√(n−k+1), half
    the published target and √n_samples/2 standard errors of the uniform sphere. Its error takes each m_k for Gaussian
    and independent of the others.
    Uniform codes: chi = chi_within_class = chi_raw = 1, q_mean = cos_mean = n_ordered_angles = 0.
    Args: mu, codes, (n_samples ≥ 10, n_latent ≥ 2); labels, whole numbers, two or more classes of five points or more;
        floor, ⟨|μ|²⟩ of noise alone: for codes at or under it all is nan, since their χ is the noise's.
    Raises: ValueError for bad codes, a zero row, bad labels.
    """
    check_codes(mu=mu, n_min=10)
    n_latent = mu.shape[1]
    pooled, raw, classes = overlap_moments(mu), raw_overlap_moments(mu), class_moments(mu, labels)
    found = {name: (getattr(pooled, name), getattr(pooled, f"{name}_se")) for name in ("q_mean", "q_var", "chi")}
    for name in ("q_within_mean", "q_between_mean"):
        found[name] = getattr(classes, name), getattr(classes, f"{name}_se")
    found["chi_within_class"] = n_latent * classes.q_within_var, n_latent * classes.q_within_var_se
    found["chi_between_classes"] = n_latent * classes.class_var, n_latent * classes.class_var_se
    found["chi_raw"] = raw.chi, raw.chi_se
    found["participation_ratio"] = raw.participation_ratio, raw.participation_ratio_se
    binder = binder_cumulant(_on_resultant(unit_rows("mu", mu.double())))
    found |= {"binder": (binder[0].item(), binder[1].item())} | _angle_observables(mu)
    at_floor = not mu.double().square().sum(1).mean().item() > floor
    return dict.fromkeys(found, (math.nan, math.nan)) if at_floor else found


def posterior_observables(mu: Tensor, log_var: Tensor, *, on_sphere: bool, seed: int) -> Observables:
    """Observables of posteriors N(μ, σ²): signal fraction, active modes, rate, overlap of two draws of one input.

    signal_fraction, the mean over k of ⟨μ_k²⟩/(⟨μ_k²⟩ + ⟨σ_k²⟩); n_active, how many exceed 1 %; rate, Σ_k ⟨KL_k⟩ from
    N(0, 1), nats a sample, a yardstick only where the loss was another; q_within_input and chi_within_input, ⟨q⟩ and
    n·Var q of z·z′/n, two draws of each input: `overlap.within_overlap`.
    Args: mu, log_var, (n_samples ≥ 3, n_latent); on_sphere, draws z = √n u/|u|, u = μ + σε, else u; seed of the draws.
    Raises: ValueError for codes that are bad or not paired.
    """
    check_codes(mu=mu, log_var=log_var, n_min=3)
    check_paired(mu, log_var)
    mu, log_var = mu.double(), log_var.double()
    signal, noise = mu.square(), log_var.exp()
    total, total_noise = signal.sum(0), noise.sum(0)
    fraction, without = total / (total + total_noise), (total - signal) / (total + total_noise - signal - noise)
    generator = torch.Generator(mu.device).manual_seed(seed)
    sample = sphere_sample if on_sphere else VAE.sample
    within = within_overlap(*(sample(mu, log_var, generator) for _ in range(2)))
    active = (without > ACTIVE_SHARE).double().sum(1)
    return {
        "signal_fraction": (fraction.mean().item(), jackknife_error(without.mean(1))),
        "n_active": (float((fraction > ACTIVE_SHARE).sum()), jackknife_error(active)),
        "rate": _mean(kl_divergence(mu, log_var).sum(1)),
        "q_within_input": (within.q_mean, within.q_mean_se),
        "chi_within_input": (within.chi, within.chi_se),
    }


def landscape_observables(model: VAE, x: Tensor, mu: Tensor, *, n_starts: int = 16, seed: int) -> Observables:
    """Observables of H_x(z) = ⟨(D(z) − x)²⟩ on |z|² = n, a few inputs: number of minima, softest mode at the own code.

    n_minima, mean over inputs of the distinct minima that n_starts descents find, a lower bound; softest_mode, mean of
    the least eigenvalue of the Riemannian Hessian at √n μ/|μ|, in units of x², and no minimum in general;
    unfinished_share, of starts that ended at no certified minimum: near 1 at kinks and flat directions, then n_minima
    counts nothing.
    Args: model, a VAE in `.eval()`, left as it was; x, (n_inputs ≥ 2, *sample_shape), mu their codes, none zero; seed
    of the starts, the same for all inputs. Raises: ValueError for other shapes, or a decoder that mixes samples.
    """
    check_codes(mu=mu, n_min=2)
    if len(x) != len(mu):
        raise ValueError(f"want as many x as codes, got {len(x)} and {len(mu)}")
    row_norm("mu", mu)
    weights = {name: one.detach().double() for name, one in model.decoder.state_dict().items()}

    def decoder(z: Tensor) -> Tensor:
        return torch.func.functional_call(model.decoder, weights, (z,))

    require_pointwise(model.decoder)
    n_minima, softest, unfinished = [], [], []
    for own, at in zip(x.double(), onto_sphere(mu.double())):
        energy = latent_energy(decoder, own, n_latent=mu.shape[1])
        found = count_minima(energy, n_starts, seed=seed, max_iterations=MAX_ITERATIONS)
        n_minima.append(found.n_minima)
        unfinished.append((found.n_unfinished + found.n_flat) / n_starts)
        softest.append(soft_modes(energy, at, 1)[0].item())
    values = {"n_minima": n_minima, "softest_mode": softest, "unfinished_share": unfinished}
    return {name: _mean(torch.tensor(value, dtype=torch.float64)) for name, value in values.items()}


def task_observables(
    model: VAE, x: Tensor, labels: Tensor, *, on_sphere: bool, x_train: Tensor | None = None,
    labels_train: Tensor | None = None, x_ood: Tensor | None = None, k: int = 5,
) -> Observables:  # fmt: skip
    """Downstream observables: RMS error, k-NN accuracy, AUROC of the k-NN score of x_ood, in evaluation mode.

    rms_percent, as `encoding.rms_percent`; with x_train and labels_train knn_accuracy_k5 (the k in the name), of
    Euclidean neighbors among the codes of x_train; with x_train and x_ood auroc_k5_kth_raw, x normal and x_ood
    anomalous, by the distance to the k-th neighbor. Codes are the means, or with on_sphere their directions, and the
    name then ends in normalized. Errors: delta method, binomial, DeLong; of x and x_ood, the bank is held fixed.
    Args: as `phase_observables`. Raises: ValueError for bad data, labels or k.
    """
    require_pointwise(model)
    error, error_se = _mean(reconstruction_score(model, x, on_sphere=on_sphere))
    root = math.sqrt(error)
    found = {"rms_percent": (100 * root, 50 * error_se / root if root else 0.0)}
    if x_train is None:
        return found

    def codes(images: Tensor) -> Tensor:
        mu = encode_means(model, images)
        return unit_rows("mu", mu) if on_sphere else mu

    z, bank = codes(x), codes(x_train)
    if labels_train is not None:
        right = knn_accuracy(z, labels, bank, labels_train, k)
        found[f"knn_accuracy_k{k}"] = right, math.sqrt(right * (1 - right) / len(z))
    if x_ood is not None:
        normal, other = (knn_score(one, bank, k=k) for one in (z, codes(x_ood)))
        found[f"auroc_k{k}_kth_{'normalized' if on_sphere else 'raw'}"] = _auroc_with_error(normal, other)
    return found


def _on_resultant(s: Tensor) -> Tensor:
    """Projection of every unit row on the resultant of the others, (n_samples,)."""
    others = s.sum(0) - s
    return (s * others).sum(1) / torch.linalg.vector_norm(others, dim=1)


def _angle_observables(mu: Tensor) -> Observables:
    cosines = cos_angles(mu.double())
    mean, error = cosines.mean(0), cosines.std(0) / len(cosines) ** 0.5
    needed = 0.5 / torch.arange(mu.shape[1], 1, -1, dtype=mean.dtype, device=mean.device).sqrt()
    ordered = torch.special.ndtr((mean.abs() - needed) / error)  # how surely, where only points scatter
    return {
        "cos_mean": _mean(cosines.mean(1)),
        "n_ordered_angles": (float((mean.abs() > needed).sum()), (ordered * (1 - ordered)).sum().sqrt().item()),
    }


def _auroc_with_error(normal: Tensor, other: Tensor) -> tuple[float, float]:
    """P(s_other > s_normal) + ½P(=), and its error by the shares that every point beats (DeLong et al. 1988)."""

    def beaten(scores: Tensor, by: Tensor) -> Tensor:
        ordered, by = scores.sort().values, by.contiguous()
        n_below = torch.searchsorted(ordered, by) + torch.searchsorted(ordered, by, right=True)
        return n_below.double() / (2 * len(ordered))

    of_other, of_normal = (beaten(*pair) for pair in ((normal, other), (other, normal)))
    return of_other.mean().item(), math.sqrt(sum(one.var().item() / len(one) for one in (of_other, of_normal)))


def _mean(values: Tensor) -> tuple[float, float]:
    """Mean of independent values and its standard error."""
    return values.mean().item(), (values.std() / len(values) ** 0.5).item()
