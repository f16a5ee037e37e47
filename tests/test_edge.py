"""Places of extrema and their intervals, what three sizes decide, and the edge: known systems, coverage, errors."""

import math
from dataclasses import replace

import pytest
import torch

from latentlib import edge, interval, overlap, phase, vmf

DOUBLE = torch.float64
CONTROL = torch.linspace(0, 1, 11, dtype=DOUBLE)
SIZES = (32, 128, 512)


def noisy(curve: torch.Tensor, noise: float, generator: torch.Generator, n_repetitions: int = 5) -> torch.Tensor:
    return curve + noise * torch.randn(n_repetitions, len(curve), generator=generator, dtype=DOUBLE)


# One scan ------------------------------------------------------------------------------------------------------------


def test_locate_of_a_parabola_is_its_vertex():
    values = (1 - 4 * (CONTROL - 0.43) ** 2).expand(3, -1)
    found = edge.locate(CONTROL, values, seed=0)
    assert found.control == pytest.approx(0.43, abs=1e-12) and found.is_peak and not found.at_end
    assert (found.low, found.high) == pytest.approx((0.43, 0.43), abs=1e-12)
    # Read at the grid point 0.4, over the higher end, at 0: 4·(0.43² − 0.03²).
    assert found.height == pytest.approx(0.736, abs=1e-12) and found.height_se == pytest.approx(0, abs=1e-12)


def test_locate_width_is_that_at_half_height():
    # A triangle of height 1 on a grid finer than its flanks: half of it, 0.5 wide, but for the parabola at its tip.
    control = torch.linspace(0, 1, 101, dtype=DOUBLE)
    found = edge.locate(control, (1 - (2 * control - 1).abs()).expand(3, -1), seed=0)
    assert found.control == pytest.approx(0.5, abs=1e-12) and found.width == pytest.approx(0.5, abs=1e-12)
    # Left end 0, right end 0.5: half the height over the higher end is 0.75, reached at 3/8 and 3/4.
    tilted = torch.where(control < 0.5, 2 * control, 1.5 - control)
    assert edge.locate(control, tilted.expand(3, -1), seed=0).width == pytest.approx(3 / 8, abs=0.01)  # one step


def test_locate_kinds_are_one_another(generator):
    values = noisy(1 - 4 * (CONTROL - 0.43) ** 2, 0.1, generator)
    highest, lowest = edge.locate(CONTROL, values, seed=1), edge.locate(CONTROL, -values, kind="minimum", seed=1)
    assert torch.equal(highest.resampled, lowest.resampled)
    assert (highest.control, highest.height, highest.width) == (lowest.control, lowest.height, lowest.width)
    # The slope of a logistic fall is extreme at its middle: 4 standard errors, and the rise has no place for a fall.
    control = torch.linspace(0, 1, 21, dtype=DOUBLE)
    values = noisy(torch.sigmoid((0.52 - control) / 0.1), 0.01, generator)
    fall = edge.locate(control, values, kind="steepest fall", seed=1)
    assert fall.is_peak and abs(fall.control - 0.52) <= 4 * fall.control_se
    assert not edge.locate(control, -values, kind="steepest fall", seed=1).is_peak
    # An uneven grid: slopes of −c², largest fall at the last middle.
    uneven = torch.tensor([0.0, 0.1, 0.5, 0.6, 2.0], dtype=DOUBLE)
    found = edge.locate(uneven, -uneven.square().expand(3, -1), kind="steepest fall", seed=0)
    assert found.at_end and found.control == pytest.approx(1.3)


@pytest.mark.parametrize("n_repetitions", [3, 5])
def test_locate_interval_covers(n_repetitions, generator):
    """At least 95 % but for 4 standard errors of 120 trials; the width of the interval follows the noise."""
    widths = {}
    for noise in (0.05, 0.2):
        scans = [noisy(1 - 4 * (CONTROL - 0.43) ** 2, noise, generator, n_repetitions) for _ in range(120)]
        found = [edge.locate(CONTROL, scan, n_resamples=299, seed=seed) for seed, scan in enumerate(scans)]
        covered = sum(one.low <= 0.43 <= one.high for one in found) / len(found)
        assert covered >= 0.95 - 4 * math.sqrt(0.95 * 0.05 / len(found))
        widths[noise] = sum(one.high - one.low for one in found)
    assert widths[0.2] > 1.5 * widths[0.05]


def test_locate_resamples_have_the_interval_of_student(generator):
    """For what is linear in the curve: its own value at one control. 4 standard errors of a quantile of 40 000."""
    curves = noisy(CONTROL, 0.3, generator)
    drawn = edge._resampled_means(curves, 40_000, seed=2)
    _, low, high = interval.mean_interval(curves)
    place = drawn.quantile(torch.tensor([0.025, 0.975], dtype=DOUBLE), dim=0)
    density = 0.0168 / (curves.std(0) / math.sqrt(5))  # of t with 4 degrees of freedom at 2.776
    tolerance = 4 * math.sqrt(0.025 * 0.975 / 40_000) / density
    assert ((place[0] - low).abs() <= tolerance).all() and ((place[1] - high).abs() <= tolerance).all()


@pytest.mark.parametrize("curve", [torch.zeros(11), CONTROL, -CONTROL, torch.tanh(6 * CONTROL)])
def test_locate_has_no_peak_in_noise_on_a_monotone_scan(curve, generator):
    """5 % by the level, but for 4 standard errors of 120 trials, even where the scan saturates."""
    found = [edge.locate(CONTROL, noisy(curve, 0.2, generator), n_resamples=99, seed=seed) for seed in range(120)]
    assert sum(one.is_peak for one in found) / 120 <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 120)


def test_locate_says_where_the_scan_ends(generator):
    found = edge.locate(CONTROL, noisy(CONTROL, 0.01, generator), seed=0)
    assert found.at_end and not found.is_peak and found.control == found.high == 1
    assert math.isnan(found.width) and math.isnan(found.width_se)
    steps = torch.tensor([0.0, 1.0, 1.0, 0.5], dtype=DOUBLE)
    plateau = edge.locate(torch.arange(4.0), steps.expand(3, -1), seed=0)
    assert plateau.is_peak and plateau.control == 1.5
    assert not edge.locate(torch.arange(3.0), steps[:3].expand(3, -1), seed=0).is_peak  # as high as its end


@pytest.mark.parametrize(
    "change, message",
    [
        ({"kind": "peak"}, "kind: want one of maximum, minimum, steepest fall, got 'peak'"),
        ({"control": CONTROL.flip(0)}, "control: want 3 or more finite numbers, rising"),
        ({"control": CONTROL[:3], "kind": "steepest fall"}, "control: want 4 or more"),
        ({"values": torch.ones(2, 11)}, r"want \(n_repetitions >= 3, 11\), got \(2, 11\)"),
        ({"values": torch.ones(3, 10)}, r"got \(3, 10\)"),
        ({"values": torch.ones(3, 11) * torch.where(CONTROL == 1, math.nan, 1)}, "want finite ones, .* at control 1"),
        ({"level": 1.0}, "level between 0 and 1"),
        ({"n_resamples": 98}, "n_resamples >= 99"),
    ],
)
def test_locate_refuses_bad_input(change, message):
    with pytest.raises(ValueError, match=message):
        edge.locate(**{"control": CONTROL, "values": torch.ones(3, 11), "seed": 0} | change)


# The noise floor -----------------------------------------------------------------------------------------------------


def floored(price: float, n_samples: int, generator: torch.Generator, floor: float = 1e-4) -> torch.Tensor:
    """Means of the optimal linear VAE, m_k = 1 − T/λ_k, with noise of this variance on every latent."""
    spectrum = torch.tensor([4, 2, 1, 0.5, 0.25, 0.1], dtype=DOUBLE)
    var = (1 - price / spectrum).clamp(min=0) + floor
    return torch.randn(n_samples, 6, generator=generator, dtype=DOUBLE) * var.sqrt()


def kept_above(codes: list, factor: float) -> list[bool]:
    """Which controls `overlap` lets pass with a floor so many times the noise's ⟨|z|²⟩ = 6·10⁻⁴."""
    kept = []
    for column in zip(*codes):
        try:
            [overlap.raw_overlap_moments(z, floor=factor * 6e-4) for z in column]
            kept.append(True)
        except ValueError as refused:
            assert "noise floor" in str(refused)
            kept.append(False)
    return kept


def test_locate_of_chi_on_a_noise_floor_is_a_trap_that_the_floor_closes(generator):
    """χ_R of a linear VAE only rises, and falls to 1 where noise alone is left: a peak that is none of the codes.

    One mode at ⟨|z|²⟩ of r floors has n − χ_R = (n − 1)(2 − 1/r)/r: a floor refused only at r = 10 leaves a lower peak.
    """
    prices = torch.tensor([0.05, 0.3, 0.6, 1.2, 1.8, 2.5, 3.9, 3.999, 4.2], dtype=DOUBLE)
    codes = [[floored(price, 400, generator) for price in prices] for _ in range(5)]
    chi = torch.tensor([[overlap.raw_overlap_moments(z).chi for z in row] for row in codes], dtype=DOUBLE)
    places = []
    for factor, n_kept in ((0, 9), (10, 7), (1000, 5)):
        kept = kept_above(codes, factor)
        assert kept == [True] * n_kept + [False] * (9 - n_kept)
        places.append(edge.locate(prices[kept], chi[:, kept], seed=0))
    trap, lower, closed = places
    assert trap.is_peak and 2 < trap.control < 3.99 and trap.height > 4  # looks like a peak, at any level of evidence
    ratio = (1 - 3.9 / 4 + 6e-4) / 6e-4
    assert lower.is_peak and abs(lower.height - 5 * (2 - 1 / ratio) / ratio) <= 4 * lower.height_se + 0.02  # 6 − 5.984
    assert closed.at_end and not closed.is_peak


# Three sizes ---------------------------------------------------------------------------------------------------------


def curie_weiss(size: int, temperatures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """n·Var|m| of n spins with all couplings 1/n, T_c = 1, by exact draws: (5 repetitions, n_temperatures)."""
    up = torch.arange(size + 1, dtype=DOUBLE)
    count = math.lgamma(size + 1) - torch.lgamma(up + 1) - torch.lgamma(size - up + 1)
    m = (2 * up / size - 1).abs()
    columns = []
    for temperature in temperatures:
        weight = (count + size * m**2 / (2 * temperature)).softmax(0)
        draws = m[torch.multinomial(weight, 5 * 1000, replacement=True, generator=generator)]
        columns.append(size * draws.view(5, 1000).var(1))
    return torch.stack(columns, 1)


def free_spins(size: int, temperatures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Heat capacity Var E/(n·T²) of n free spins in a field 1, sech²(1/T)/T² exactly: a peak, the same at any size."""
    up = torch.sigmoid(-2 / temperatures).expand(5, 1000, -1).contiguous()
    energy = 2 * torch.binomial(torch.full_like(up, size), up, generator=generator)
    return energy.var(1) / size / temperatures**2


def field_only(size: int, reduced_field: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """χ of the von Mises–Fisher law, which only falls with the field, with noise of 0.02."""
    return noisy(vmf.vmf_susceptibility(size * reduced_field, torch.tensor(float(size))), 0.02, generator)


TEMPERATURES = torch.linspace(0.4, 1.6, 25, dtype=DOUBLE)
SCANS = {
    "peak": (curie_weiss, TEMPERATURES),
    "crossover": (free_spins, 2 * TEMPERATURES - 0.6),
    "nothing": (field_only, TEMPERATURES),
}


@pytest.mark.parametrize("verdict", SCANS)
def test_peak_or_crossover_of_known_systems(verdict, generator):
    system, control = SCANS[verdict]
    places = [edge.locate(control, system(size, control, generator), seed=0) for size in SIZES]
    found = edge.peak_or_crossover(SIZES, places)
    assert found.verdict == verdict, found.reason
    if verdict == "nothing":
        assert found.height is None and found.reason == "no peak at size 32, 128, 512"
    if verdict == "peak":  # height ~ n^½, width ~ n^−½ as n → ∞, with corrections at these sizes
        assert found.height.exponent > 0.4 and -0.6 < found.width.exponent < -0.3
        assert "height ~ size^" in found.reason
        shifts = torch.tensor([1 - place.control for place in places])
        assert (shifts > 0).all() and (shifts.diff() < 0).all()  # towards T_c from below
    if verdict == "crossover":
        # 1/T·tanh(1/T) = 1 at the maximum: T = .83356, where sech²(1/T)/T² = .43923; over its value at T = 2.6.
        height = 0.43923 - 1 / (2.6 * math.cosh(1 / 2.6)) ** 2
        for place in places:
            assert abs(place.control - 0.83356) <= 4 * place.control_se
            assert abs(place.height - height) <= 4 * place.height_se + 0.002  # read on the grid, steps of 0.1 in T


def test_peak_or_crossover_leaves_open_what_errors_hide(generator):
    control = TEMPERATURES
    places = [edge.locate(control, curie_weiss(size, control, generator), seed=0) for size in SIZES]
    still = [replace(place, height=1.0, height_se=0.01, width=0.3, width_se=0.003) for place in places]
    assert edge.peak_or_crossover(SIZES, still).verdict == "crossover"
    assert edge.peak_or_crossover(SIZES, still, least=1e-3).verdict is None
    wide = [replace(place, height_se=1.0) for place in still]
    assert edge.peak_or_crossover(SIZES, wide).verdict is None
    sharper = [replace(place, width=0.3 / size**0.5) for place, size in zip(wide, SIZES)]
    assert edge.peak_or_crossover(SIZES, sharper).verdict == "peak"  # by its width alone
    lost = [*still[:2], replace(still[2], is_peak=False)]
    assert edge.peak_or_crossover(SIZES, lost).reason == "no peak at size 512"
    for sizes, of, options, message in (
        (SIZES[:2], places[:2], {}, "three sizes or more"),
        (SIZES[::-1], places, {}, "rising"),
        (SIZES, places[:2], {}, "a location each"),
        (SIZES, [*places[:2], replace(places[2], kind="minimum")], {}, "one kind"),
        (SIZES, places, {"least": 0.0}, "least > 0"),
        (SIZES, places, {"level": 1.0}, r"level in \(0, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            edge.peak_or_crossover(sizes, of, **options)


# The edge ------------------------------------------------------------------------------------------------------------


def three_places(middles: tuple[float, float, float], generator: torch.Generator, noise: float = 0.02) -> dict:
    """χ with its maximum, a mode with its minimum, a logarithm of counts with its steepest fall, at these controls."""
    control = torch.linspace(0, 1, 21, dtype=DOUBLE)
    humps = [torch.exp(-((control - middle) ** 2) / 0.05) for middle in middles[:2]]
    fall = 4 * torch.sigmoid((middles[2] - control) / 0.1)
    curves = zip(edge.EDGE_KINDS, (humps[0], 1 - humps[1], fall), ("chi", "softest_mode", "n_minima"))
    return {
        name: edge.locate(control, noisy(curve, noise, generator), kind=kind, seed=0) for kind, curve, name in curves
    }


def test_edge_of_stability_is_where_three_places_agree(generator):
    places = three_places((0.5, 0.5, 0.5), generator)
    best = edge.locate(CONTROL, noisy(-((CONTROL - 0.7) ** 2), 0.002, generator), seed=0)
    found = edge.edge_of_stability(**places, width=0.3, best=best)
    assert found.is_edge and abs(found.control - 0.5) <= 0.05 and "three peaks within 0.3" in found.reason
    assert phase.classify_phase(peaks=found.peaks, control=found.control, width=0.3).phase == "edge"
    distance, low, high = found.distance
    assert low <= 0.2 <= high and low < distance < high and distance == pytest.approx(best.control - found.control)
    assert edge.edge_of_stability(**places, width=0.3).distance is None
    # A width within the errors: overlap alone is no agreement.
    narrow = edge.edge_of_stability(**places, width=0.02)
    assert not narrow.is_edge and narrow.reason == "the three are not within 0.02, errors included"


def test_edge_of_stability_is_none_where_one_lies_apart_or_at_an_end(generator):
    apart = edge.edge_of_stability(**three_places((0.3, 0.7, 0.3), generator), width=1.0)
    assert not apart.is_edge and apart.phase.phase == "edge"  # a width that wide classifies nothing by itself
    assert apart.reason == "chi and softest_mode lie apart; softest_mode and n_minima lie apart"
    ended = edge.edge_of_stability(**three_places((0.5, 1.2, 0.5), generator), width=2.0)
    assert not ended.is_edge and "no peak of softest_mode in its scan" in ended.reason


def test_edge_of_stability_pairs_resamples_of_one_seed(generator):
    """The best of the same scan as χ is where χ is: their difference has no spread beyond the other two places'."""
    places = three_places((0.5, 0.5, 0.5), generator)
    paired = edge.edge_of_stability(**places, width=0.3, best=places["chi"]).distance
    shuffled = replace(places["chi"], resampled=places["chi"].resampled.flip(0))
    free = edge.edge_of_stability(**places, width=0.3, best=shuffled).distance
    assert paired[0] == free[0] and paired[2] - paired[1] < 0.9 * (free[2] - free[1])


def test_edge_of_stability_refuses_bad_input(generator):
    places = three_places((0.5, 0.5, 0.5), generator)
    swapped = places | {"softest_mode": places["chi"]}
    short = replace(places["chi"], resampled=places["chi"].resampled[:99])
    for change, message in (
        (swapped, "softest_mode: want the place of a minimum, got of a maximum"),
        ({"best": short}, "as many resamples each"),
        ({"level": 0.0}, "level"),
        ({"width": 0.0}, "width: want a finite number > 0"),
        ({"n_se": 0.0}, "n_se"),
    ):
        with pytest.raises(ValueError, match=message):
            edge.edge_of_stability(**places | {"width": 0.3} | change)
