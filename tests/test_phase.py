"""The phase rule: each phase on a system known to be in it, what pairs may never say, error bars, every error."""

import math
from dataclasses import replace

import pytest
import torch

from latentlib import nulls, overlap, phase, response, vmf

DOUBLE = torch.float64
PEAKS = {"chi": (1.0, 0.01), "softest_mode": (1.02, 0.01), "n_minima": (0.99, 0.02)}
EDGE = {"peaks": PEAKS, "control": 1.0, "width": 0.2}


def states(n_states: int, generator: torch.Generator, n_samples: int = 200, n_latent: int = 64) -> torch.Tensor:
    """Replicas that fall into one of n_states orthogonal states, with thermal noise about each."""
    centres = 4 * torch.eye(n_latent, dtype=DOUBLE)[torch.randint(n_states, (n_samples,), generator=generator)]
    return centres + 0.1 * torch.randn(n_samples, n_latent, generator=generator, dtype=DOUBLE)


def moments(q_square: float, q_mean_square: float, error: float = 0.001, n_latent: int = 50) -> overlap.OverlapMoments:
    """Moments with these two values and one error for all."""
    known = vars(overlap.overlap_moments(nulls.uniform_codes(6, n_latent, seed=1)))
    var = {"q_var": q_square - q_mean_square, "chi": n_latent * (q_square - q_mean_square)}
    errors = {name: error for name in known if name.endswith("_se")}
    return overlap.OverlapMoments(**known | errors | var | {"q_square": q_square, "q_mean_square": q_mean_square})


# Systems whose phase is known


def test_classify_phase_of_free_replicas_is_disordered():
    replicas = overlap.overlap_moments(nulls.uniform_codes(300, 50, seed=2))
    found = phase.classify_phase(replicas=replicas, n_minima=200)
    assert found.phase == "disordered" and found.margin > 0


def test_classify_phase_of_replicas_in_a_field_is_ordered():
    z = vmf.sample_vmf(3.0 * 50, 50, 300, seed=2)  # q = .72 (reduced field 3): one state
    found = phase.classify_phase(replicas=overlap.overlap_moments(z))
    assert found.phase == "ordered" and found.margin > 0


def test_classify_phase_of_several_states_is_glassy(generator):
    # Five systems of orthogonal states, four each: E q² = 1/4, (E q)² = 1/16.
    replicas = torch.stack([states(4, generator) for _ in range(5)])
    found = response.replica_moments(replicas)
    assert (found.q_square, found.q_mean_square) == pytest.approx((0.25, 0.0625), abs=0.05)
    verdict = phase.classify_phase(replicas=found, n_minima=4)
    assert verdict.phase == "glassy" and verdict.margin > 0 and "4 minima" in verdict.reason
    assert phase.classify_phase(replicas=found).reason.endswith("the number of minima is not known")


def test_classify_phase_of_a_broken_symmetry_is_no_glass(generator):
    # One state and its mirror image, as in the spherical p = 2 spin: Var q of order one, one minimum up to sign.
    z = states(1, generator) * (2.0 * torch.randint(2, (200, 1), generator=generator) - 1)
    replicas = overlap.overlap_moments(z)
    assert replicas.q_square > 0.9 and abs(replicas.q_mean) < 0.1
    found = phase.classify_phase(replicas=replicas, n_minima=1)
    assert found.phase is None and "broken symmetry" in found.reason


# What pairs of inputs may say


@pytest.mark.parametrize("n_minima", [None, 1, 2, 100])
@pytest.mark.parametrize("q_square", [0.02, 0.1, 0.3, 0.95])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_classify_phase_of_pairs_is_never_glassy(q_square, share, n_minima):
    found = phase.classify_phase(pairs=moments(q_square, share * q_square), n_minima=n_minima)
    assert found.phase in (None, "disordered", "ordered")
    assert found.phase is None or n_minima in (None, 1)


def test_classify_phase_of_disordered_pairs_is_undecidable_from_codes():
    codes = overlap.overlap_moments(nulls.uniform_codes(300, 50, seed=2))
    found = phase.classify_phase(pairs=codes)
    assert (found.phase, found.margin) == (None, 0) and found.reason.startswith("undecidable from codes: χ")
    assert phase.classify_phase(pairs=codes, n_minima=1).phase == "disordered"
    assert phase.classify_phase(pairs=codes, n_minima=7).phase is None


def test_classify_phase_of_classes_is_undecidable_from_codes(generator):
    codes = overlap.overlap_moments(states(2, generator))
    found = phase.classify_phase(pairs=codes, n_minima=1)
    assert found.phase is None and "classes" in found.reason
    assert phase.classify_phase(replicas=codes, n_minima=2).phase == "glassy"  # the same numbers of other draws


def test_classify_phase_takes_replicas_before_pairs():
    free, aligned = moments(0.02, 0.0), moments(0.5, 0.5)
    assert phase.classify_phase(replicas=free, pairs=aligned).phase == "disordered"
    assert phase.classify_phase(replicas=aligned, pairs=free).phase == "ordered"
    assert phase.classify_phase(pairs=aligned).phase == "ordered"


# Numbers and their errors


@pytest.mark.parametrize(
    "q_square, q_mean_square, expected",
    [
        (0.04, 0.0, "disordered"),
        (0.5, 0.45, "ordered"),
        (0.5, 0.02, "glassy"),
        (0.5, 0.25, "glassy"),  # one step of replica symmetry breaking, ½δ(q) + ½δ(q − 1): (E q)² is of order one too
        (0.15, 0.07, None),
    ],
)
def test_classify_phase_on_either_side_of_the_floor(q_square, q_mean_square, expected):
    small, wide = (moments(q_square, q_mean_square, error) for error in (0.001, 0.2))
    assert phase.classify_phase(replicas=small, n_minima=2).phase == expected
    found = phase.classify_phase(replicas=wide, n_minima=2)
    assert found.phase is None and found.reason.startswith("undecided: E q²")


def test_classify_phase_margin_is_what_its_tightest_condition_spares():
    found = phase.classify_phase(replicas=moments(0.04, 0.0, 0.01), n_se=2.0)
    assert found.margin == pytest.approx((0.1 - 0.04) / 0.01 - 2)
    found = phase.classify_phase(replicas=moments(0.5, 0.45, 0.01))
    assert found.margin == pytest.approx(min((0.45 - 0.1) / 0.01, (0.1 - 0.05) / 0.01) - 3)
    assert phase.classify_phase(replicas=moments(0.04, 0.0, 0.02)).phase is None  # exactly three errors away
    assert phase.classify_phase(replicas=moments(0.04, 0.0, 0.0)).margin == math.inf
    assert phase.classify_phase(replicas=moments(0.1, 0.0, 0.0), n_minima=2).phase is None  # on the floor


def test_classify_phase_needs_more_latents_than_one_over_the_floor():
    found = phase.classify_phase(replicas=moments(0.05, 0.0, n_latent=10))
    assert found.phase is None and "1/n_latent = 0.1" in found.reason
    assert phase.classify_phase(replicas=moments(0.05, 0.0, n_latent=11)).phase == "disordered"


# The edge


def test_classify_phase_is_edge_where_peaks_and_control_agree():
    found = phase.classify_phase(**EDGE)
    # The widest condition: peaks 1.02 and 0.99 with errors 0.01 and 0.02.
    assert found.phase == "edge" and found.margin == pytest.approx((0.2 - 0.03) / math.hypot(0.01, 0.02) - 3)
    assert phase.classify_phase(**EDGE, pairs=moments(0.02, 0.0), n_minima=3).phase == "edge"


@pytest.mark.parametrize("name", phase.EDGE_PEAKS)
@pytest.mark.parametrize("peak", [(1.3, 0.01), (0.7, 0.01), (1.0, 0.5)])  # above, below, or known too badly to agree
def test_classify_phase_is_no_edge_if_one_peak_is_apart(name, peak):
    found = phase.classify_phase(**EDGE | {"peaks": PEAKS | {name: peak}}, replicas=moments(0.02, 0.0))
    assert found.phase == "disordered" and found.reason.startswith("no edge")


def test_classify_phase_is_no_edge_away_from_the_peaks():
    assert phase.classify_phase(**EDGE | {"control": 1.25}).phase is None
    assert phase.classify_phase(**EDGE | {"width": 0.05}).phase is None


# What is refused


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({}, ValueError, "want replicas, pairs or peaks, got none"),
        ({"replicas": 0.3}, TypeError, "replicas: want OverlapMoments or ReplicaMoments, got float"),
        ({"pairs": (0.1, 0.2)}, TypeError, "pairs: want OverlapMoments, got tuple"),
        ({"replicas": moments(math.nan, 0.1)}, ValueError, "replicas: want finite moments"),
        ({"pairs": moments(0.1, 0.1, -1.0)}, ValueError, "pairs: want finite moments with errors >= 0"),
        ({"pairs": moments(0.1, 0.1), "n_minima": 0}, ValueError, "whole number >= 1, got 0"),
        ({"pairs": moments(0.1, 0.1), "n_minima": 1.5}, ValueError, "whole number >= 1, got 1.5"),
        ({"pairs": moments(0.1, 0.1), "floor": 0.0}, ValueError, "floor: want a number between 0 and 1, got 0.0"),
        ({"pairs": moments(0.1, 0.1), "n_se": 0}, ValueError, "n_se: want a finite number > 0, got 0"),
        ({"peaks": PEAKS}, ValueError, "want peaks, control and width together"),
        ({"pairs": moments(0.1, 0.1), "control": 1.0}, ValueError, "peaks, control and width together"),
        (EDGE | {"peaks": {"chi": (1.0, 0.1)}}, ValueError, "want chi, softest_mode, n_minima, got chi"),
        (EDGE | {"peaks": PEAKS | {"chi": 1.0}}, ValueError, r"want \(control, se >= 0\), finite, got chi: 1.0"),
        (EDGE | {"peaks": PEAKS | {"chi": (1.0, -1.0)}}, ValueError, r"got chi: \(1.0, -1.0\)"),
        (EDGE | {"width": 0.0}, ValueError, "width: want a finite number > 0, got 0.0"),
        (EDGE | {"control": math.inf}, ValueError, "control: want a finite number, got inf"),
    ],
)
def test_classify_phase_refuses_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        phase.classify_phase(**arguments)


def test_phase_verdict_is_a_value():
    found = phase.classify_phase(**EDGE)
    assert found == phase.classify_phase(**EDGE) and replace(found, margin=0.0) != found
