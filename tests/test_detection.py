"""Laws of detection: AUROC against all pairs and the binormal law, FPR95 in both conventions, intervals, errors."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from latentlib import detection

needs_data = pytest.mark.skipif(
    not os.environ.get("LATENTLIB_DATA"), reason="LATENTLIB_DATA is not set: the published scores are not here"
)


def drawn(generator, n_id: int, n_ood: int, shift: float, levels: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Normal scores, OOD shifted; with `levels` rounded to 1/levels, which makes ties."""
    scores = torch.randn(n_id + n_ood, generator=generator, dtype=torch.float64)
    scores[n_id:] += shift
    scores = (scores * levels).round() / levels if levels else scores
    return scores[:n_id], scores[n_id:]


@pytest.fixture(scope="module")
def published() -> tuple[torch.Tensor, torch.Tensor]:
    folder = Path(os.environ["LATENTLIB_DATA"])
    with np.load(folder / "weights" / "compressed_vae_cifar10_cifar100_scores.npz", allow_pickle=False) as file:
        return tuple(torch.from_numpy(file["scores"][file["labels"] == label]) for label in (0, 1))


# AUROC


@pytest.mark.parametrize("n_id, n_ood, levels", [(1, 1, 0), (63, 33, 0), (63, 33, 2), (200, 50, 1)])
def test_auroc_is_the_share_of_pairs(generator, n_id, n_ood, levels):
    id_scores, ood_scores = drawn(generator, n_id, n_ood, 0.7, levels)
    gap = ood_scores[:, None] - id_scores
    expected = ((gap > 0).sum() + (gap == 0).sum() / 2).item() / gap.numel()
    assert detection.auroc(id_scores, ood_scores) == pytest.approx(expected, abs=1e-15)


def test_auroc_is_sklearns_on_ties(generator):
    from sklearn.metrics import roc_auc_score

    id_scores, ood_scores = drawn(generator, 500, 300, 0.5, levels=3)
    labels = np.repeat([0, 1], [500, 300])
    expected = roc_auc_score(labels, torch.cat([id_scores, ood_scores]))
    # Both sum about 20 float64 trapezia of a unit area.
    assert detection.auroc(id_scores, ood_scores) == pytest.approx(expected, abs=1e-14)


def test_auroc_of_the_binormal_law(generator):
    """P(N(d, 1) > N(0, 1)) = Φ(d/√2); standard error at most √(1/4/n)·√2 for n points of either class."""
    found = detection.auroc(*drawn(generator, 100_000, 100_000, 1.0))
    assert abs(found - 0.5 * (1 + math.erf(0.5))) <= 4 * math.sqrt(0.5 / 100_000)


def test_auroc_keeps_under_increasing_maps_and_flips_under_exchange(generator):
    id_scores, ood_scores = drawn(generator, 80, 40, 0.4, levels=4)
    found = detection.auroc(id_scores, ood_scores)
    assert detection.auroc(id_scores.exp(), ood_scores.exp()) == found
    assert detection.auroc(ood_scores, id_scores) == pytest.approx(1 - found, abs=1e-15)
    assert detection.auroc(-ood_scores, -id_scores) == pytest.approx(found, abs=1e-15)


def test_auroc_edges():
    low, high = torch.tensor([0.0, 1.0]), torch.tensor([2.0, math.inf])
    assert detection.auroc(low, high) == 1 and detection.auroc(high, low) == 0
    assert detection.auroc(torch.ones(3), torch.ones(5)) == 0.5
    assert detection.auroc(np.array([1, 2]), np.array([2, 3])) == 7 / 8


# FPR at a TPR


def test_fpr_at_tpr_by_hand():
    """Ten ID scores 0 … 9: the 80 % to accept end at 7. OOD 2.5 … 11.5: eight of them are caught from 4.5 up."""
    id_scores, ood_scores = torch.arange(10.0), torch.arange(10.0) + 2.5
    # OOD at or under 7: 2.5, 3.5, 4.5, 5.5, 6.5. ID at or above 4.5: 5, 6, 7, 8, 9.
    for positive in ("id", "ood"):
        options = {"positive": positive, "tpr": 0.8}
        assert detection.fpr_at_tpr(id_scores, ood_scores, interpolation="step", **options) == 0.5
        assert detection.fpr_at_tpr(id_scores, ood_scores, interpolation="linear", **options) == 0.5
    # Four of ten ID scores tie with two of ten OOD: half way through the tie the line has half of its FPR.
    id_scores, ood_scores = torch.tensor([0.0] * 6 + [1] * 4), torch.tensor([1.0] * 2 + [2] * 8)
    for positive, tpr, halfway in (("id", 0.8, 0.1), ("ood", 0.9, 0.2)):
        assert detection.fpr_at_tpr(id_scores, ood_scores, positive=positive, tpr=tpr) == pytest.approx(halfway)
        found = detection.fpr_at_tpr(id_scores, ood_scores, positive=positive, tpr=tpr, interpolation="step")
        assert found == 2 * halfway


@pytest.mark.parametrize("tpr", [0.333, 0.95, 0.9501, 1.0])
@pytest.mark.parametrize("levels", [0, 3])
def test_fpr_at_tpr_is_read_off_sklearns_curve(generator, tpr, levels):
    from sklearn.metrics import roc_curve

    id_scores, ood_scores = drawn(generator, 700, 331, 1.0, levels)
    labels = np.repeat([0, 1], [700, 331])
    for positive, sign in (("ood", 1), ("id", -1)):
        scores = sign * torch.cat([id_scores, ood_scores]).numpy()
        false, true, _ = roc_curve(labels if sign > 0 else 1 - labels, scores, drop_intermediate=False)
        step = detection.fpr_at_tpr(id_scores, ood_scores, positive=positive, tpr=tpr, interpolation="step")
        linear = detection.fpr_at_tpr(id_scores, ood_scores, positive=positive, tpr=tpr)
        assert step == pytest.approx(false[np.argmax(true >= tpr)], abs=1e-15)
        reached = true[np.argmax(true >= tpr)] == tpr  # there np.interp takes the far end of a level stretch
        assert linear == pytest.approx(step if reached else np.interp(tpr, true, false), abs=1e-12)
        assert linear <= step if levels else linear == step


def test_fpr_at_tpr_conventions_change_places_with_the_classes(generator):
    """What is caught of one class is accepted of the other: (ID, OOD, ood) ≡ (−OOD, −ID, id)."""
    id_scores, ood_scores = drawn(generator, 300, 200, 1.0)
    for interpolation in detection.INTERPOLATIONS:
        caught = detection.fpr_at_tpr(id_scores, ood_scores, positive="ood", interpolation=interpolation)
        accepted = detection.fpr_at_tpr(-ood_scores, -id_scores, positive="id", interpolation=interpolation)
        assert caught == accepted


def test_fpr_at_tpr_id_threshold_is_the_percentile(generator):
    id_scores, ood_scores = drawn(generator, 1000, 5000, 1.0)
    threshold = id_scores.sort().values[949]  # the 950th of 1000
    expected = (ood_scores <= threshold).double().mean().item()
    assert detection.fpr_at_tpr(id_scores, ood_scores, positive="id") == pytest.approx(expected, abs=1e-15)


def test_fpr_at_tpr_edges():
    ones = torch.ones(4)
    for positive in ("id", "ood"):
        assert detection.fpr_at_tpr(torch.zeros(4), ones, positive=positive) == 0
        assert detection.fpr_at_tpr(ones, torch.zeros(4), positive=positive) == 1
        assert detection.fpr_at_tpr(ones, ones, positive=positive, interpolation="step") == 1
        assert detection.fpr_at_tpr(ones, ones, positive=positive, tpr=0.25) == 0.25  # chance, on the diagonal


@needs_data
def test_detection_of_the_published_scores(published):
    """The authors' archived CIFAR-10 against CIFAR-100: AUROC .8954305, FPR95 .2323 or .7618."""
    assert detection.auroc(*published) == pytest.approx(0.8954305, abs=1e-9)
    for interpolation in detection.INTERPOLATIONS:
        found = {p: detection.fpr_at_tpr(*published, positive=p, interpolation=interpolation) for p in ("ood", "id")}
        assert found == pytest.approx({"ood": 0.2323, "id": 0.7618}, abs=1e-9)


# Intervals


def test_detection_report_is_the_three_numbers(generator):
    scores = drawn(generator, 200, 150, 1.0, levels=8)
    report = detection.detection_report(*scores, n_resamples=99, seed=0)
    assert report.auroc == detection.auroc(*scores)
    assert report.fpr95_id_positive == detection.fpr_at_tpr(*scores, positive="id")
    assert report.fpr95_ood_positive == detection.fpr_at_tpr(*scores, positive="ood")
    for name in detection.STATISTICS:
        low, high = getattr(report, f"{name}_interval")
        assert low < getattr(report, name) < high
    assert "FPR95 (ID positive)" in str(report) and "FPR95 (OOD positive)" in str(report)
    assert report == detection.detection_report(*scores, n_resamples=99, seed=0)
    assert report != detection.detection_report(*scores, n_resamples=99, seed=1)


def test_detection_report_has_the_spread_of_delong(generator):
    """The variance of AUROC is var(placements of ID)/n_id + var(placements of OOD)/n_ood (DeLong 1988)."""
    id_scores, ood_scores = drawn(generator, 400, 150, 1.0)
    over = (ood_scores[:, None] > id_scores).double()
    expected = (over.mean(0).var() / 400 + over.mean(1).var() / 150).sqrt().item()
    low, high = detection.detection_report(id_scores, ood_scores, n_resamples=4000, seed=0).auroc_interval
    # A 2.5 % quantile of 4000 normal draws has s.e. 0.042 sd, the width 0.06 of 3.92 sd: 1.5 %, four of them 6 %; the
    # bootstrap's own variance is 1 − 1/150 of DeLong's, skewness enters at second order.
    assert (high - low) / (2 * 1.95996 * expected) == pytest.approx(1, abs=0.07)


def test_detection_report_covers_at_its_level(generator):
    truth = {"auroc": 0.5 * (1 + math.erf(0.5))}
    # Φ(Φ⁻¹(0.95) − 1): what passes of N(1, 1) under the threshold of N(0, 1). The binormal law has it in both.
    fpr = torch.special.ndtr(torch.special.ndtri(torch.tensor(0.95, dtype=torch.float64)) - 1).item()
    truth |= {"fpr95_id_positive": fpr, "fpr95_ood_positive": fpr}
    covered = dict.fromkeys(truth, 0)
    for seed in range(300):
        report = detection.detection_report(*drawn(generator, 300, 300, 1.0), n_resamples=199, seed=seed)
        for name, value in truth.items():
            low, high = getattr(report, f"{name}_interval")
            covered[name] += low <= value <= high
    # 0.95 less the percentile method's error, O(1/√n) for a quantile (2 % allowed), within 4 s.e. of a share of 300.
    assert all(0.88 <= count / 300 <= 0.995 for count in covered.values()), covered


def test_paired_difference_is_narrower_where_scores_agree(generator):
    id_a, ood_a = drawn(generator, 400, 400, 1.0)
    id_b, ood_b = (s + 0.2 * torch.randn(400, generator=generator, dtype=torch.float64) for s in (id_a, ood_a))
    found, low, high = detection.paired_difference(id_a, ood_a, id_b, ood_b, n_resamples=499, seed=0)
    assert found == pytest.approx(detection.auroc(id_b, ood_b) - detection.auroc(id_a, ood_a), abs=1e-14)
    report = detection.detection_report(id_a, ood_a, n_resamples=499, seed=0)
    # Correlation of the scores is 1/√1.04 = 0.98: √(2(1 − 0.98)) = 0.2 of the width of one report; half is far above.
    assert 0 < high - low < 0.5 * (report.auroc_interval[1] - report.auroc_interval[0])


def test_paired_difference_of_a_score_with_itself_is_zero(generator):
    scores = drawn(generator, 60, 40, 0.5)
    for statistic in detection.STATISTICS:
        assert detection.paired_difference(*scores, *scores, statistic=statistic, n_resamples=99, seed=0) == (0, 0, 0)


def test_paired_difference_covers_at_its_level(generator):
    """Two scores with AUROC Φ(1/√2) and Φ(0.5/√2), half of their noise shared."""
    truth = 0.5 * (math.erf(0.25) - math.erf(0.5))
    covered = 0
    for seed in range(300):
        noise = torch.randn(2, 200, 3, generator=generator, dtype=torch.float64)
        a, b = (noise[..., 0] + noise[..., 1]) / 2**0.5, (noise[..., 0] + noise[..., 2]) / 2**0.5
        _, low, high = detection.paired_difference(a[0], a[1] + 1, b[0], b[1] + 0.5, n_resamples=199, seed=seed)
        covered += low <= truth <= high
    # 4 s.e. of a share of 300, and 1.5 % for 199 resamples and the percentile method.
    assert 0.885 <= covered / 300 <= 0.995, covered


def test_paired_difference_differs_from_an_unpaired_draw(generator):
    """Every statistic is the one that is named, with its sign: b − a."""
    id_a, ood_a = drawn(generator, 200, 200, 0.5)
    id_b, ood_b = drawn(generator, 200, 200, 2.5)
    for statistic, sign in zip(detection.STATISTICS, (1, -1, -1), strict=True):
        found, low, high = detection.paired_difference(
            id_a, ood_a, id_b, ood_b, statistic=statistic, n_resamples=99, seed=0
        )
        assert sign * low > 0 and sign * high > 0 and low < found < high


# Errors


@pytest.mark.parametrize(
    "id_scores, ood_scores, message",
    [
        (torch.ones(0), torch.ones(3), "id_scores: want real"),
        (torch.ones(3), torch.ones(3, 1), r"ood_scores: want real .* \(3, 1\)"),
        (torch.ones(3), torch.tensor([1.0, math.nan]), "ood_scores: .* NaN in 1"),
        (torch.ones(3, dtype=torch.complex64), torch.ones(3), "complex64"),
    ],
)
def test_detection_refuses_bad_scores(id_scores, ood_scores, message):
    with pytest.raises(ValueError, match=message):
        detection.auroc(id_scores, ood_scores)
    with pytest.raises(ValueError, match=message):
        detection.fpr_at_tpr(id_scores, ood_scores, positive="id")


def test_detection_refuses_bad_options():
    scores = torch.arange(12.0)
    for options in ({"positive": "ID"}, {"positive": "id", "interpolation": "cubic"}):
        with pytest.raises(ValueError, match="want positive in"):
            detection.fpr_at_tpr(scores, scores, **options)
    for tpr in (0.0, 1.5, math.nan):
        with pytest.raises(ValueError, match="tpr: want a share"):
            detection.fpr_at_tpr(scores, scores, positive="id", tpr=tpr)
    with pytest.raises(TypeError, match="positive"):
        detection.fpr_at_tpr(scores, scores)
    with pytest.raises(ValueError, match="n_samples >= 10"):
        detection.detection_report(scores[:9], scores, seed=0)
    with pytest.raises(ValueError, match=r"level in \(0, 1\) and n_resamples"):
        detection.detection_report(scores, scores, level=1, seed=0)
    with pytest.raises(ValueError, match="n_resamples >= 99, got 0.95 and 98"):
        detection.paired_difference(scores, scores, scores, scores, n_resamples=98, seed=0)
    with pytest.raises(ValueError, match=r"same \(ID, OOD\) points, got \(12, 12\) and \(12, 11\)"):
        detection.paired_difference(scores, scores, scores, scores[:11], seed=0)
    with pytest.raises(ValueError, match="statistic: want one of auroc"):
        detection.paired_difference(scores, scores, scores, scores, statistic="fpr95", seed=0)
