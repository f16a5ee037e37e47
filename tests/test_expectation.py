"""The verdict rule: every row and column of its table, and the size that would decide."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentlib import expectation as expect
from latentlib.expectation import Judgement, as_expectation, judge, word

INSIDE, OUTSIDE, UNDECIDED = (Judgement(side, side) for side in ("inside", "outside", "undecided"))


@pytest.mark.parametrize(
    ("text", "built"),
    [
        ("> 0", expect.sign(1)),
        ("negative", expect.sign(-1)),
        ("<= 1e-6", expect.inequality("<=", 1e-6)),
        ("≥ −.5", expect.inequality(">=", -0.5)),
        ("0.5 ± 0.1", expect.value(0.5, 0.1)),
        ("0.5 +- 0.1", expect.value(0.5, 0.1)),
        ("-2 +/- 0.25", expect.value(-2.0, 0.25)),
        ("about -10", expect.about(-10.0)),
        ("in [0.1, .2]", expect.between(0.1, 0.2)),
        ("identity 1 ± 1e-12", expect.identity(1.0, 1e-12)),
    ],
)
def test_as_expectation_reads_every_form(text, built):
    assert as_expectation(text) == built


@pytest.mark.parametrize(
    "text", ["", "big", "> zero", "1", "0.5 ± 0", "[2, 1]", "identity 1 ± -1", "__import__('os')", None, 3.0]
)
def test_as_expectation_refuses_what_is_no_expectation(text):
    with pytest.raises(ValueError, match="want"):
        as_expectation(text)


def test_about_reads_half_to_three_halves_of_either_sign():
    assert (expect.about(10.0).low, expect.about(10.0).high) == (5.0, 15.0)
    assert (expect.about(-10.0).low, expect.about(-10.0).high) == (-15.0, -5.0)


@pytest.mark.parametrize(
    ("interval", "wanted", "side"),
    [
        ((0.1, 0.2), "> 0", "inside"),
        ((0.0, 0.2), "> 0", "across"),
        ((-0.2, 0.0), "> 0", "outside"),
        ((0.0, 0.2), ">= 0", "inside"),
        ((-0.2, 0.0), ">= 0", "across"),
        ((-0.2, -0.1), ">= 0", "outside"),
        ((0.4, 0.6), "0.5 ± 0.1", "inside"),
        ((0.3, 0.5), "0.5 ± 0.1", "across"),
        ((0.7, 0.8), "0.5 ± 0.1", "outside"),
        ((0.0, 9.0), "0.5 ± 0.1", "across"),
        ((1.0, 1.0), "identity 1 ± 0", "inside"),
    ],
)
def test_side_counts_edges_of_closed_regions_inside(interval, wanted, side):
    assert as_expectation(wanted).side(interval) == side


@given(st.floats(-5, 5), st.floats(0, 5), st.floats(-5, 5), st.floats(0.01, 5))
def test_side_inside_and_outside_mirror_each_other(low, width, target, tolerance):
    region, mirrored = expect.value(target, tolerance), expect.value(-target, tolerance)
    assert region.side((low, low + width)) == mirrored.side((-low - width, -low))
    complement = [
        expect.inequality("<", region.low).side((low, low + width)),
        expect.inequality(">", region.high).side((low, low + width)),
    ]
    assert (region.side((low, low + width)) == "outside") == ("inside" in complement)


@pytest.mark.parametrize(
    ("interval", "wanted", "null", "side"),
    [
        ((0.1, 0.3), "> 0", None, "inside"),  # the null of a sign is 0
        ((0.1, 0.3), "> 0", (0.0, 0.15), "undecided"),  # unless a stronger one is measured
        ((0.4, 0.6), "0.5 ± 0.2", (0.0, 0.0), "inside"),
        ((0.4, 0.6), "0.5 ± 0.2", (0.6, 0.9), "undecided"),
        ((0.4, 0.6), "0.5 ± 0.2", None, "undecided"),  # no null beside it: not excluded
        ((0.9, 1.0), "0.5 ± 0.2", (0.95, 1.1), "outside"),  # outside is outside, whatever the null
        ((0.6, 0.8), "0.5 ± 0.2", (0.0, 0.0), "undecided"),
        ((1.0, 1.0), "identity 1 ± 1e-9", None, "inside"),
        ((1.1, 1.1), "identity 1 ± 1e-9", None, "outside"),
    ],
)
def test_judge_wants_inside_and_the_null_excluded(interval, wanted, null, side):
    measured = sum(interval) / 2
    assert judge(measured, interval, as_expectation(wanted), null).side == side


def test_judge_names_the_size_that_would_decide():
    # half-width 0.3 at distance 0.2 from the edge: (0.3 / 0.2)² = 2.25 times as many
    judgement = judge(0.2, (-0.1, 0.5), as_expectation("> 0"), None)
    assert judgement.side == "undecided" and "more than 2.25 times as many" in judgement.reason
    # the null interval ends 0.1 below the estimate, half-width 0.2: 4 times as many
    assert "more than 4 times" in judge(1.0, (0.8, 1.2), as_expectation("1 ± 0.5"), (0.0, 0.9)).reason
    # outside a narrow region it is enough to leave by the nearest edge: (0.4 / 0.1)²
    assert "more than 16 times" in judge(0.9, (0.5, 1.3), as_expectation("[1, 1.1]"), (0, 0)).reason
    assert "no size decides" in judge(0.0, (-0.1, 0.5), as_expectation("> 0"), None).reason


@pytest.mark.parametrize(
    ("main", "part", "own", "elsewhere"),
    [
        (INSIDE, None, "reproduced", "supported here"),
        (OUTSIDE, None, "failed", "contradicted here"),
        (UNDECIDED, None, "open", "open"),
        (INSIDE, INSIDE, "reproduced", "supported here"),
        (INSIDE, OUTSIDE, "partial", "open"),  # elsewhere there is no word for it: the parts are judged apart
        (INSIDE, UNDECIDED, "open", "open"),
        (OUTSIDE, INSIDE, "failed", "open"),
        (OUTSIDE, OUTSIDE, "failed", "contradicted here"),
        (UNDECIDED, OUTSIDE, "open", "open"),
    ],
)
def test_word_follows_the_table_of_the_rule(main, part, own, elsewhere):
    parts = {"printed number": part} if part else {}
    assert word(main, parts, own=True)[0] == own
    assert word(main, parts, own=False)[0] == elsewhere
    assert {own, elsewhere} <= set(expect.VERDICTS)


def test_word_judges_disagreeing_parts_apart():
    assert "judged apart" in word(INSIDE, {"b": OUTSIDE}, own=False)[1]


def test_expectation_refuses_an_empty_region():
    with pytest.raises(ValueError, match="want low <= high"):
        expect.between(1.0, 0.0)
    with pytest.raises(ValueError, match="want low <= high"):
        expect.between(0.0, math.nan)
    with pytest.raises(ValueError, match="want 1 or -1"):
        expect.sign(0)
    with pytest.raises(ValueError, match="want > >= < or <="):
        expect.inequality("==", 0.0)
