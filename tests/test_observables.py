"""Phase observables on laws whose values are known, on a linear decoder, and against the functions they gather."""

import math

import pytest
import torch
from scipy.integrate import quad
from torch import nn

from latentlib import detection, encoding, landscape, models, neighbors, nulls, observables, vmf

F64 = torch.float64
N_LATENT, N_SAMPLES = 16, 1000
LABELS = torch.arange(N_SAMPLES) % 4


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def assert_known(found: dict, expected: dict) -> None:
    """Every expected value within 3 s.e.; 1e-12: what is exact has no error, and its rounding."""
    for name, value in expected.items():
        measured, error = found[name]
        assert error >= 0 and abs(measured - value) <= 3 * error + 1e-12, f"{name}: {measured} ± {error}, want {value}"


def field_binder(kappa: float) -> float:
    """1 − ⟨t⁴⟩/3⟨t²⟩² at density ∝ e^{κt}(1 − t²)^{(n−3)/2}."""

    def moment(p):
        return quad(lambda t: t**p * math.exp(kappa * (t - 1)) * (1 - t * t) ** ((N_LATENT - 3) / 2), -1, 1)[0]

    return 1 - moment(4) * moment(0) / (3 * moment(2) ** 2)


# Nulls


def test_code_observables_of_uniform_codes():
    found = observables.code_observables(nulls.uniform_codes(N_SAMPLES, N_LATENT, seed=0), LABELS)
    assert_known(found, {
        "q_mean": 0, "q_var": 1 / N_LATENT, "chi": 1, "chi_within_class": 1, "chi_between_classes": 0, "chi_raw": 1,
        "q_within_mean": 0, "q_between_mean": 0, "participation_ratio": N_LATENT, "binder": 2 / (N_LATENT + 2),
        "cos_mean": 0, "n_ordered_angles": 0,
    })  # fmt: skip
    assert found["chi"][1] < 0.1 and found["n_ordered_angles"] == (0.0, 0.0)


@pytest.mark.parametrize("q", [0.09, 0.36, 0.8])
def test_code_observables_of_a_field_alone(q):
    kappa = vmf.vmf_kappa(q**0.5, float(N_LATENT))
    s = vmf.sample_vmf(kappa, N_LATENT, N_SAMPLES, seed=1)
    chi = vmf.vmf_susceptibility(kappa, float(N_LATENT))
    found = observables.code_observables(3 * s, LABELS)
    # Only the first angle, along the field, orders: m_1 = √q > 1/8.
    assert_known(found, {
        "q_mean": q, "chi": chi, "chi_within_class": chi, "chi_between_classes": 0, "q_within_mean": q,
        "q_between_mean": q, "binder": field_binder(kappa), "cos_mean": q**0.5 / (N_LATENT - 1), "n_ordered_angles": 1,
        "chi_raw": chi,
    })  # fmt: skip


def test_code_observables_of_a_class_mixture():
    # Four fields along four axes: e_c·e_d = q δ_cd, so n·Var(E[q|classes]) = n·q²(1/4 − 1/16).
    q = 0.5
    kappa = vmf.vmf_kappa(q**0.5, float(N_LATENT))
    axes = torch.eye(N_LATENT, dtype=F64)
    z = torch.empty(N_SAMPLES, N_LATENT, dtype=F64)
    for one in range(4):
        z[LABELS == one] = vmf.sample_vmf(kappa, N_LATENT, N_SAMPLES // 4, seed=one, mean=axes[-1 - one])
    chi = vmf.vmf_susceptibility(kappa, float(N_LATENT))
    found = observables.code_observables(z, LABELS)
    assert_known(found, {
        "q_mean": q / 4, "q_within_mean": q, "q_between_mean": 0, "chi_within_class": chi,
        "chi_between_classes": N_LATENT * q**2 * 3 / 16,
    })  # fmt: skip
    assert found["chi"][0] > found["chi_between_classes"][0] > 10 * found["chi_between_classes"][1]
    gaussian = observables.code_observables(nulls.class_mixture_codes(z, LABELS, seed=5), LABELS)
    for name in ("q_within_mean", "q_between_mean"):  # the null keeps what the classes make, up to the norms
        assert gaussian[name][0] == pytest.approx(found[name][0], abs=0.05)


def test_code_observables_project_on_the_resultant_of_the_others():
    s = vmf.sample_vmf(0.0, 6, 12, seed=3)  # so few that a code's own part in the resultant would show
    m = [(s[i] @ (s.sum(0) - s[i]) / (s.sum(0) - s[i]).norm()).item() for i in range(12)]
    binder = 1 - sum(a**4 for a in m) / 12 / (3 * (sum(a**2 for a in m) / 12) ** 2)
    found = observables.code_observables(s, LABELS[:12] % 2)
    assert found["binder"][0] == pytest.approx(binder, rel=1e-12)


def test_code_observables_errors_are_those_of_repetitions():
    kappa = vmf.vmf_kappa(0.5, float(N_LATENT))
    codes = (vmf.sample_vmf(kappa, N_LATENT, 200, seed=seed) for seed in range(60))
    draws = [observables.code_observables(z, LABELS[:200]) for z in codes]
    for name in ("q_mean", "chi", "chi_within_class", "chi_raw", "binder", "cos_mean"):
        values, errors = torch.tensor([draw[name] for draw in draws], dtype=F64).T
        # A standard deviation of 60 has the relative error 1/√118 = 9 %: four of them.
        assert 0.63 < values.std() / errors.mean() < 1.37, name


def test_code_observables_count_ordered_angles_either_way():
    kappa = torch.zeros(N_LATENT - 1, dtype=F64)
    kappa[[0, 3, 7]] = torch.tensor([40.0, -40.0, 40.0], dtype=F64)
    s = vmf.sample_nested_field(kappa, N_SAMPLES, seed=0)
    found = observables.code_observables(s, LABELS)
    expected = vmf.nested_field(kappa)
    assert found["n_ordered_angles"][0] == 3
    assert_known(found, {"cos_mean": expected.cos_mean.mean().item(), "chi": expected.chi, "q_mean": expected.q_mean})


def test_code_observables_at_the_floor_are_nan():
    z = nulls.uniform_codes(N_SAMPLES, N_LATENT, seed=0)
    found = observables.code_observables(z, LABELS, floor=N_LATENT + 1)
    assert found.keys() == observables.code_observables(z, LABELS).keys()
    assert all(math.isnan(part) for pair in found.values() for part in pair)


# Posteriors


def test_posterior_observables_of_gaussian_codes():
    # ⟨μ_k²⟩ = m_k, σ_k² = 1 − m_k: ⟨q⟩ = ⟨m⟩, n·Var q = ⟨1 + m²⟩ within an input, rate −½Σ ln(1 − m_k).
    fraction = torch.tensor([0.9, 0.6, 0.3, 0.002], dtype=F64)
    mu = normal(4000, 4) * fraction.sqrt()
    log_var = (1 - fraction).log().expand(4000, 4)
    found = observables.posterior_observables(mu, log_var, on_sphere=False, seed=1)
    assert_known(found, {
        "signal_fraction": fraction.mean().item(), "n_active": 3, "rate": -0.5 * (1 - fraction).log().sum().item(),
        "q_within_input": fraction.mean().item(), "chi_within_input": (1 + fraction.square()).mean().item(),
    })  # fmt: skip
    assert found["n_active"] == (3.0, 0.0) and 0 < found["signal_fraction"][1] < 0.02


def test_posterior_observables_on_the_sphere_are_of_directions():
    mu, log_var = 5 * normal(2000, 8), torch.full((2000, 8), -40.0, dtype=F64)
    found = observables.posterior_observables(mu, log_var, on_sphere=True, seed=1)
    assert found["q_within_input"][0] == pytest.approx(1, abs=1e-6)  # both draws are √n μ/|μ|, up to σ = e^{−20}
    assert observables.posterior_observables(mu, log_var, on_sphere=False, seed=1)["q_within_input"][0] > 20


# The landscape


def linear_vae():
    return models.LinearVAE(12, 5, seed=3)


def test_landscape_observables_of_a_linear_decoder():
    model = linear_vae()
    weight, bias = (part.detach().double() for part in (model.decoder.weight, model.decoder.bias))
    mu = normal(3, 5)
    found = observables.landscape_observables(model, bias.float().expand(3, 12), mu, n_starts=12, seed=0)
    assert found["n_minima"] == (2.0, 0.0) and found["unfinished_share"] == (0.0, 0.0)  # ± one eigenvector
    # H = zᵀAz/2 + …, A = WᵀW/6: Bᵀ(A − (zᵀAz/n))B, exact.
    matrix = weight.T @ weight / 6
    z = mu * (5**0.5 / mu.norm(dim=1, keepdim=True))
    basis = landscape.tangent_basis(z)
    softest = torch.linalg.eigvalsh(basis.mT @ matrix @ basis)[:, 0] - ((z @ matrix) * z).sum(1) / 5
    assert found["softest_mode"][0] == pytest.approx(softest.mean().item(), rel=1e-12)
    assert found["softest_mode"][1] == pytest.approx((softest.std() / 3**0.5).item(), rel=1e-9)
    assert model.decoder.weight.dtype == torch.float32


def test_landscape_observables_report_kinks():
    model = models.MLPVAE(6, 4, (8,), "relu", seed=1)
    found = observables.landscape_observables(model, normal(2, 6).float(), normal(2, 4), n_starts=4, seed=0)
    assert 0 < found["unfinished_share"][0] <= 1
    with pytest.raises(ValueError, match="want as many x as codes, got 3 and 2"):
        observables.landscape_observables(model, normal(3, 6), normal(2, 4), seed=0)
    with pytest.raises(ValueError, match=r"mu: want \(n_samples >= 2"):
        observables.landscape_observables(model, normal(1, 6), normal(1, 4), seed=0)
    with pytest.raises(ValueError, match="mu: want rows of positive finite norm"):
        observables.landscape_observables(model, normal(2, 6), torch.zeros(2, 4), seed=0)


# The tasks, and all together


def task_data():
    labels = torch.arange(300) % 3
    x = (normal(300, 12) + 4 * torch.eye(12, dtype=F64)[labels]).float()
    return x[:150], labels[:150], x[150:], labels[150:], (2 * normal(100, 12, seed=9)).float()


@pytest.mark.parametrize("on_sphere", [False, True])
def test_task_observables_are_the_functions_they_gather(on_sphere):
    model = linear_vae()
    x, labels, x_train, labels_train, x_ood = task_data()
    data = {"x_train": x_train, "labels_train": labels_train, "x_ood": x_ood}
    found = observables.task_observables(model, x, labels, on_sphere=on_sphere, k=3, **data)
    z, bank, other = (encoding.encode_means(model, images) for images in (x, x_train, x_ood))
    name = f"auroc_k3_kth_{'normalized' if on_sphere else 'raw'}"
    assert found.keys() == {"rms_percent", "knn_accuracy_k3", name}
    scores = [neighbors.knn_score(one, bank, k=3, normalize=on_sphere) for one in (z, other)]
    report = detection.detection_report(*scores, n_resamples=999, seed=0)
    assert found[name][0] == pytest.approx(report.auroc, abs=1e-12)
    # A bootstrap of 999 knows its width to 1/√1998·1.3 = 3 %; DeLong and percentiles agree to O(1/n).
    width = (report.auroc_interval[1] - report.auroc_interval[0]) / (2 * 1.96)
    assert found[name][1] == pytest.approx(width, rel=0.15)
    assert found["rms_percent"][0] == pytest.approx(encoding.rms_percent(model, x, on_sphere=on_sphere), rel=1e-5)
    if not on_sphere:
        assert found["knn_accuracy_k3"][0] == neighbors.knn_accuracy(z, labels, bank, labels_train, 3)
    p = found["knn_accuracy_k3"][0]
    assert 0.4 < p < 1 and found["knn_accuracy_k3"][1] == pytest.approx(math.sqrt(p * (1 - p) / 150))


def test_task_observables_auroc_halves_ties():
    assert observables._auroc_with_error(torch.ones(5), torch.ones(7)) == (0.5, 0.0)
    low, high = torch.arange(5.0), torch.arange(5.0) + 10
    assert observables._auroc_with_error(low, high) == (1.0, 0.0)
    assert observables._auroc_with_error(high, low) == (0.0, 0.0)


def test_task_observables_error_of_the_root():
    # ⟨e⟩ over samples has the error s/√N, 100√⟨e⟩ half of 100 s/√(N⟨e⟩).
    model, x = linear_vae(), task_data()[0]
    value, error = observables.task_observables(model, x, LABELS[:150], on_sphere=False)["rms_percent"]
    squares = (model.decode(model.latent_mean(x)) - x).detach().double().square().mean(1)
    assert value == pytest.approx(100 * squares.mean().sqrt().item(), rel=1e-5)
    assert error == pytest.approx(50 * (squares.std() / 150**0.5 / squares.mean().sqrt()).item(), rel=1e-4)


def test_phase_observables_hold_everything_and_leave_the_model():
    model = models.MLPVAE(12, 5, (16,), "tanh", seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x, labels, x_train, labels_train, x_ood = task_data()
    data = {"x_train": x_train, "labels_train": labels_train, "x_ood": x_ood}
    found = observables.phase_observables(model, x, labels, on_sphere=True, n_landscapes=2, n_starts=6, seed=0, **data)
    assert all(len(pair) == 2 and all(map(math.isfinite, pair)) and pair[1] >= 0 for pair in found.values())
    assert len(found) == 12 + 5 + 3 + 3
    with torch.no_grad():
        mu, log_var = (part.double() for part in model.encode(x))
    parts = observables.code_observables(mu, labels)
    parts |= observables.posterior_observables(mu, log_var, on_sphere=True, seed=0)
    parts |= observables.landscape_observables(model, x[:2], mu[:2], n_starts=6, seed=0)
    assert found == parts | observables.task_observables(model, x, labels, on_sphere=True, **data)
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    alone = observables.phase_observables(model, x, labels, on_sphere=True, n_landscapes=0, seed=0)
    assert alone == {name: found[name] for name in alone} and len(alone) == 12 + 5 + 1


def test_phase_observables_refuse_a_model_in_training():
    model = linear_vae()
    model.encoder = nn.Sequential(nn.BatchNorm1d(12), model.encoder)
    x, labels, *_ = task_data()
    with pytest.raises(ValueError, match="got BatchNorm1d that mixes samples"):
        observables.phase_observables(model.train(), x, labels, on_sphere=False, seed=0)
    with pytest.raises(ValueError, match="got BatchNorm1d that mixes samples"):
        observables.task_observables(model.train(), x, labels, on_sphere=False)


@pytest.mark.parametrize("mu, labels, message", [
    (normal(9, 4), torch.arange(9) % 2, r"mu: want \(n_samples >= 10"),
    (normal(20, 4), torch.arange(20.0), "labels: want a tensor of whole numbers"),
    (normal(20, 4), torch.zeros(20, dtype=torch.int64), "labels: want 2 or more classes, got 1"),
    (torch.zeros(20, 4), torch.arange(20) % 2, "positive finite norm"),
])  # fmt: skip
def test_code_observables_refuse(mu, labels, message):
    with pytest.raises(ValueError, match=message):
        observables.code_observables(mu, labels)


def test_posterior_observables_refuse():
    with pytest.raises(ValueError, match="want paired rows, got 5 and 4"):
        observables.posterior_observables(normal(5, 3), normal(4, 3), on_sphere=False, seed=0)
    with pytest.raises(ValueError, match=r"mu: want \(n_samples >= 3"):
        observables.posterior_observables(normal(2, 3), normal(2, 3), on_sphere=False, seed=0)
