"""Anomaly scores, larger = more anomalous: of codes, of logits, of reconstructions. k-NN: `neighbors.knn_score`.

Every score here is of one sample at a time: where BatchNorm takes the statistics of its batch a score tells about the
company of an image. All return (n_samples,) float64.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from latentlib._codes import check_codes, check_labels, row_norm
from latentlib.encoding import decode_codes, encode_means
from latentlib.vector_field import require_pointwise


def mahalanobis_score(query: Tensor, bank: Tensor, *, labels: Tensor | None = None, shrinkage: float = 0.0) -> Tensor:
    """Squared Mahalanobis distance to the nearest class mean, min_c (z − m_c)ᵀ Σ⁻¹ (z − m_c), Σ shared by the classes.

    Σ is the covariance of the bank about its class means, (1/N)Σ_i (z_i − m_c(i))(z_i − m_c(i))ᵀ; shrunk it is
    (1 − a)Σ + a·(tr Σ/n)·1, which also serves a bank of fewer points than latents. Without shrinkage the score is
    unchanged under invertible affine maps of the codes, and is χ²_n for Gaussian codes of one class in a large bank.
    Source: Lee et al., arXiv:1807.03888, Eq. (2), on one layer without its input perturbation.
    Args: query, bank, codes of one n_latent, dtype, device; labels of the bank, whole numbers, default one class;
        shrinkage a in [0, 1]. Memory: n_samples × n_classes distances.
    Raises: ValueError for bad codes or labels, shrinkage out of range, a covariance that is singular to rounding.
    """
    check_codes(query=query, bank=bank)
    if not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage: want a share in [0, 1], got {shrinkage}")
    labels = torch.zeros(len(bank), dtype=torch.int64, device=bank.device) if labels is None else labels
    of_point, count = check_labels(bank, labels, n_min=1, n_classes_min=1)
    query, bank = query.detach().double(), bank.detach().double()
    means = bank.new_zeros(len(count), bank.shape[1]).index_add_(0, of_point, bank) / count[:, None]
    whitening = _whitening(bank - means[of_point], shrinkage)
    origin = means.mean(0)  # far from zero the products would lose digits
    white = (query - origin) @ whitening, (means - origin) @ whitening
    distance = torch.cdist(*white, compute_mode="donot_use_mm_for_euclid_dist")
    return distance.min(1).values.square()


def isolation_score(query: Tensor, bank: Tensor, *, n_trees: int = 100, seed: int) -> Tensor:
    """Isolation forest 2^(−⟨depth⟩/c): near 1 for points that few random splits isolate, 0.5 for none in particular.

    In (0, 1); c is the mean depth of a random tree on the 256 bank points (all, if fewer) that grow each tree. float32
    splits along single latents, so it depends on the frame of the codes. Source: Liu, Ting, Zhou (2008); scikit-learn.
    Raises: ValueError for bad codes, n_trees below 1.
    """
    from sklearn.ensemble import IsolationForest

    check_codes(query=query, bank=bank)
    if n_trees < 1:
        raise ValueError(f"n_trees: want 1 or more, got {n_trees}")
    forest = IsolationForest(n_estimators=n_trees, random_state=seed).fit(bank.detach().cpu().numpy())
    return torch.from_numpy(-forest.score_samples(query.detach().cpu().numpy())).double().to(query.device)


@torch.no_grad()
def reconstruction_score(model: nn.Module, x: Tensor, *, on_sphere: bool, batch_size: int = 500) -> Tensor:
    """Reconstruction error (1/d)|x − D(z)|², d values a sample, in evaluation mode: of the means, z = μ(x).

    With on_sphere z = √n μ/|μ|, for models trained on |z|² = n, whose decoder has seen no other codes; the square of
    `encoding.rms_percent`/100 is the mean of this score.
    Args: model with encode(x) → (mu, log_var) and decode(z), left as it was; x, floating (n_samples, *sample_shape).
    Raises: ValueError for bad x, a batch_size below 1; with on_sphere, for a code of norm 0.
    """
    scores = []
    for batch in _batches(x, batch_size):
        z = encode_means(model, batch)
        if on_sphere:
            z = z * (z.shape[1] ** 0.5 / row_norm("mu", z)[:, None])
        scores.append((decode_codes(model, z) - batch.to(z)).double().square().flatten(1).mean(1))
    return torch.cat(scores)


def msp_score(logits: Tensor) -> Tensor:
    """One minus the maximum softmax probability, 1 − max_c p_c: the baseline of a classifier's doubt.

    In [0, 1 − 1/C]. From the odds of the other classes, so that it does not tie at 0 where p rounds to 1.
    Source: Hendrycks and Gimpel, arXiv:1610.02136. Args: logits, (n_samples, n_classes ≥ 2), finite.
    Raises: ValueError for other logits.
    """
    _check_logits(logits)
    gap = logits.detach().double().sort(1, descending=True).values
    odds = (gap[:, 1:] - gap[:, :1]).exp().sum(1)
    return odds / (1 + odds)


def energy_score(logits: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Free energy of the logits, −τ log Σ_c exp(l_c/τ) at temperature τ: high where no class claims the image.

    In units of the logits; a constant added to all logits shifts it. Source: Liu et al., arXiv:2010.03759, Eq. (3).
    Args: logits, (n_samples, n_classes ≥ 2), finite; temperature > 0. Raises: ValueError for anything else.
    """
    _check_logits(logits)
    _check_positive("temperature", temperature)
    return -temperature * (logits.detach().double() / temperature).logsumexp(1)


def odin_score(
    classifier: Callable[[Tensor], Tensor], x: Tensor, *, temperature: float = 1000.0, step: float = 0.0014,
    batch_size: int = 200,
) -> Tensor:  # fmt: skip
    """ODIN: `msp_score` of logits/τ at x + ε·sign(∇_x log max_c p_c(x; τ)), a small step towards more confidence.

    ID images gain more by the step than OOD ones. Source: Liang, Li, Srikant, arXiv:1706.02690, Eqs. (1, 2), where τ
    and ε are chosen on OOD data: a number from tuned values is no fair rival of one without.
    Args: classifier, x → logits (n_samples, n_classes ≥ 2), differentiable, in `.eval()`; x, floating; temperature
        τ > 0; step ε ≥ 0 in the units of x. x is not clipped to its range after the step, as in the source.
    Raises: ValueError for a network that mixes the samples of a batch, bad logits or options, no samples.
    """
    require_pointwise(classifier)
    _check_positive("temperature", temperature)
    if not 0 <= step < float("inf"):
        raise ValueError(f"step: want a finite number >= 0, got {step}")
    scores = []
    for batch in _batches(x, batch_size):
        with torch.enable_grad():
            start = batch.detach().requires_grad_()
            logits = classifier(start)
            _check_logits(logits)
            confidence = (logits / temperature).log_softmax(1).max(1).values
            (slope,) = torch.autograd.grad(confidence.sum(), start)
        with torch.no_grad():
            scores.append(msp_score(classifier(batch + step * slope.sign()) / temperature))
    return torch.cat(scores)


def _whitening(residual: Tensor, shrinkage: float) -> Tensor:
    """V·Λ^(−1/2) of the shrunk covariance V Λ Vᵀ of centred rows."""
    n_samples, n_latent = residual.shape
    covariance = residual.T @ residual / n_samples
    var, axes = torch.linalg.eigh(covariance)
    var = (1 - shrinkage) * var + shrinkage * covariance.trace() / n_latent
    floor = n_latent * torch.finfo(torch.float64).eps * var[-1]  # what eigh leaves of an eigenvalue 0
    if not var[0] > floor:
        raise ValueError(
            f"bank: want a covariance of full rank {n_latent}, got {int((var > floor).sum())} from {n_samples} points: "
            "take shrinkage > 0"
        )
    return axes / var.sqrt()


def _batches(x: Tensor, batch_size: int) -> tuple[Tensor, ...]:
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2 or len(x) == 0:
        found = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x: want floating (n_samples > 0, ...), got {found}")
    if batch_size < 1:
        raise ValueError(f"batch_size: want 1 or more, got {batch_size}")
    return x.split(batch_size)


def _check_logits(logits: Tensor) -> None:
    if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.ndim != 2 or logits.shape[1] < 2:
        found = f"{logits.dtype} {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"logits: want floating (n_samples, n_classes >= 2), got {found}")
    if not logits.isfinite().all():
        raise ValueError("logits: want finite values, got NaN or infinity")


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}: want a positive finite number, got {value}")
