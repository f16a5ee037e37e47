"""Closed forms of the spherical p-spin and mean counts by Kac–Rice: published values, limits, and laws between them."""

import math

import numpy as np
import pytest
import torch
from scipy.special import roots_genlaguerre

from latentlib import kac_rice
from latentlib._goe import BEYOND, goe_density, goe_largest_density

CUBIC = {3: 1.0}
MIXED = {1: 0.3, 2: 0.7, 3: 1.1, 5: 0.2}
# p: E_0, E_∞, Σ_min(E_∞), Σ_tot, h_c in the convention ξ = q^p; T_d, T_s for ξ = q^p/2; q_s. Printed to six decimals.
TABLE = {
    3: (1.656998, 1.632993, 0.013240, 0.346574, 1.732051, 0.612372, 0.586054, 0.645007),
    4: (1.794085, 1.732051, 0.049306, 0.549306, 2.828427, 0.544331, 0.503039, 0.804522),
}
PRINTED = 5.1e-7
ROUNDING = 1e-12  # of the integrals at N ≤ 100: sums of some 10³ terms whose logarithms are O(N)


def slopes(mixture: dict[int, float]) -> tuple[float, float]:
    """ξ′(1), ξ″(1)."""
    return sum(p * c for p, c in mixture.items()), sum(p * (p - 1) * c for p, c in mixture.items())


# Closed forms


@pytest.mark.parametrize("p", TABLE)
def test_closed_forms_are_the_published_values(p):
    threshold = kac_rice.threshold_energy(p)
    found = (
        kac_rice.ground_state_energy(p), threshold, kac_rice.index_complexity(p, -threshold, 0),
        kac_rice.complexity(p, 0.0), kac_rice.critical_field(p), kac_rice.dynamical_temperature(p) / math.sqrt(2),
        kac_rice.static_temperature(p) / math.sqrt(2), kac_rice.static_overlap(p),
    )  # fmt: skip
    assert found == pytest.approx(TABLE[p], rel=0, abs=PRINTED)
    assert kac_rice.ground_state_energy(3) == pytest.approx(1.6569984, rel=0, abs=5e-8)


@pytest.mark.parametrize("p", [3, 4, 7, 30, 1000])
def test_ground_state_energy_is_the_zero_of_the_complexity_of_minima(p):
    # Two routes, symmetry breaking and Kac–Rice; each is good to rounding.
    ground = kac_rice.ground_state_energy(p)
    assert kac_rice.index_complexity(p, -ground, 0) == pytest.approx(0, abs=1e-13)
    assert kac_rice.index_complexity(p, -ground - 1e-7, 0) < 0 < kac_rice.index_complexity(p, -ground + 1e-7, 0)
    assert ground > kac_rice.threshold_energy(p)


def test_ground_state_energy_without_breaking():
    assert kac_rice.ground_state_energy(1) == 1
    assert kac_rice.ground_state_energy(2) == pytest.approx(kac_rice.threshold_energy(2), rel=1e-15)


@pytest.mark.parametrize("p", [2, 3, 4, 7])
def test_complexity_joins_its_pieces(p):
    threshold = kac_rice.threshold_energy(p)
    step = 1e-9
    # Slopes are at most 2 there, I₁ grows as the power 3/2.
    for u in (-threshold, 0.0):
        assert kac_rice.complexity(p, u - step) == pytest.approx(kac_rice.complexity(p, u + step), rel=0, abs=4 * step)
    total = kac_rice.annealed_complexity({p: 1.0})
    assert kac_rice.complexity(p, 0.0) == kac_rice.complexity(p, 3.0) == pytest.approx(total, rel=0, abs=1e-15)


@pytest.mark.parametrize("p", [2, 3, 6])
def test_complexity_below_the_threshold_is_that_of_minima(p):
    threshold = kac_rice.threshold_energy(p)
    u = torch.linspace(-2 * threshold, -threshold, 40, dtype=torch.float64)
    by_index = torch.stack([kac_rice.index_complexity(p, u, index) for index in range(4)])
    assert torch.equal(by_index[0], kac_rice.complexity(p, u))
    assert bool((by_index.diff(dim=0)[:, :-1] < 0).all()), "saddles of higher index are rarer"
    saturated = math.log(p - 1) / 2 - (p - 2) / p
    assert kac_rice.index_complexity(p, -0.1, 2) == pytest.approx(saturated, rel=0, abs=1e-15)


def test_complexity_slope_vanishes_only_where_it_should():
    # Σ′(u) = −(p−2)u/(2(p−1)) − I₁′, and I₁′ = −(2/E_∞²)√(u²−E_∞²) (Auffinger, Ben Arous, Černý 2013).
    u = torch.tensor([-1.9, -1.7, -1.0, -0.2, 0.4], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(kac_rice.complexity(3, u).sum(), u)
    square = kac_rice.threshold_energy(3) ** 2
    expected = -u.clamp(max=0) / 4 + 2 / square * (u.square() - square).clamp_min(0).sqrt()
    assert torch.allclose(slope, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("p", [3, 4, 9])
def test_dynamical_temperature_is_the_last_with_a_metastable_overlap(p):
    # q/(1−q) = ξ′(q)/T² has a solution q > 0 up to T² = max ξ′(q)(1−q)/q; at a maximum the grid's error is squared.
    q = torch.linspace(0, 1, 10**5 + 1, dtype=torch.float64)[1:]
    square = (p * q ** (p - 2) * (1 - q)).max().item()
    assert kac_rice.dynamical_temperature(p) == pytest.approx(math.sqrt(square), rel=1e-8)


@pytest.mark.parametrize("p", [3, 4, 9, 100])
def test_static_temperature_has_two_states_of_one_free_energy(p):
    # The Franz–Parisi potential −½[ξ(q)/T² + ln(1−q) + q] is stationary and zero, as it is at q = 0.
    q, temperature = kac_rice.static_overlap(p), kac_rice.static_temperature(p)
    assert p * q ** (p - 1) / temperature**2 == pytest.approx(q / (1 - q), rel=1e-11)
    assert q**p / temperature**2 + math.log1p(-q) + q == pytest.approx(0, abs=1e-12)
    assert temperature < kac_rice.dynamical_temperature(p)


def test_temperatures_of_p_2_are_one():
    assert kac_rice.static_temperature(2) == pytest.approx(math.sqrt(2), rel=1e-15)
    assert kac_rice.dynamical_temperature(2) == pytest.approx(math.sqrt(2), rel=1e-15)
    assert kac_rice.static_overlap(2) == 0


@pytest.mark.parametrize("p", [1, 2, 3, 4])
def test_critical_field_trivializes_the_pure_landscape(p):
    field = kac_rice.critical_field(p)
    assert field == pytest.approx(kac_rice.trivialization_field({p: 1.0}), rel=1e-15)
    assert kac_rice.trivialization_field({p: 0.25}) == pytest.approx(field / 2, rel=1e-15)
    assert kac_rice.annealed_complexity({p: 1.0}, field + 1e-6) == 0


def test_annealed_complexity_vanishes_at_the_trivialization_field():
    field = kac_rice.trivialization_field(MIXED)
    slope, curvature = slopes(MIXED)
    assert field == pytest.approx(math.sqrt(curvature - slope), rel=1e-15)
    found = kac_rice.annealed_complexity(MIXED, torch.tensor([0.0, field - 1e-4, field, 9.0], dtype=torch.float64))
    # Σ falls with slope h_c/ξ″(1) there; the second order is below 1e-8.
    expected = torch.tensor([math.log(curvature / slope) / 2, 1e-4 * field / curvature, 0, 0], dtype=torch.float64)
    assert torch.allclose(found, expected, rtol=0, atol=1e-8)
    assert kac_rice.trivialization_field({1: 2.0, 2: 1.0}) == 0


@pytest.mark.parametrize(
    "form",
    [
        kac_rice.threshold_energy, kac_rice.ground_state_energy, kac_rice.dynamical_temperature,
        kac_rice.static_overlap, kac_rice.static_temperature, kac_rice.critical_field,
        lambda p: kac_rice.complexity(p, -1.7),
        lambda p: kac_rice.index_complexity(p, -1.7, 1),
    ],
)  # fmt: skip
def test_closed_forms_take_numbers_and_tensors(form):
    numbers = [form(p) for p in (2, 3, 4.0)]
    assert all(isinstance(number, float) for number in numbers)
    tensor = form(torch.tensor([[2.0, 3.0, 4.0]], dtype=torch.float64))
    assert tensor.shape == (1, 3) and tensor[0].tolist() == pytest.approx(numbers, rel=1e-15)
    assert form(torch.tensor(3.0, dtype=torch.float32)).dtype == torch.float32
    for p in (2.5, -3, math.nan, math.inf):
        with pytest.raises(ValueError, match="p: want whole numbers >= "):
            form(p)
    with pytest.raises(TypeError, match="want numbers or floating-point tensors"):
        form("3")


@pytest.mark.parametrize("form", [kac_rice.threshold_energy, kac_rice.static_temperature, kac_rice.static_overlap])
def test_closed_forms_without_a_glass_refuse_p_1(form):
    with pytest.raises(ValueError, match="p: want whole numbers >= 2, got 1"):
        form(1)


def test_complexity_refuses_what_is_no_energy_or_index():
    with pytest.raises(ValueError, match="u: want energies per spin, got NaN"):
        kac_rice.complexity(3, math.nan)
    for index in (-1, 0.5):
        with pytest.raises(ValueError, match="index: want whole numbers >= 0"):
            kac_rice.index_complexity(3, -1.7, index)


# Mean numbers of critical points


@pytest.mark.parametrize(
    "mixture, n_spins, field, expected",
    [
        *[(CUBIC, 2, field, count) for field, count in
          zip((0, 0.5, 1, math.sqrt(3), 3), (5.291503, 5.114083, 4.690416, 4.000000, 3.162278), strict=True)],
        *[(CUBIC, 3, field, count) for field, count in
          zip((0, 1.5, math.sqrt(3), 3), (10.552360, 6.644576, 6.000000, 3.788854), strict=True)],
        (CUBIC, 4, 0, 18.790234), (CUBIC, 4, 1, 12.976171), ({4: 1}, 2, 0, 6.324555), ({4: 1}, 3, 0, 15.145341),
    ],
)  # fmt: skip
def test_n_critical_points_is_the_table(mixture, n_spins, field, expected):
    assert kac_rice.n_critical_points(mixture, n_spins, field) == pytest.approx(expected, rel=0, abs=PRINTED)


def test_n_critical_points_is_the_table_with_fewer_digits():
    assert kac_rice.n_critical_points(CUBIC, 5) == pytest.approx(31.4969, rel=0, abs=5.1e-5)
    assert kac_rice.n_critical_points(CUBIC, 10) == pytest.approx(286.9159, rel=0, abs=5.1e-5)
    fixed = [kac_rice.n_critical_points(CUBIC, 2, field, random_field=False) for field in (0, 1, 3)]
    assert fixed == pytest.approx([5.291503, 4.625921, 2.570697], rel=0, abs=PRINTED)


@pytest.mark.parametrize("n_spins", [1, 2, 3, 40, 201, 1000])
def test_n_critical_points_is_twice_n_at_the_trivialization_field(n_spins):
    # B = 0: the integral is the number of eigenvalues. Rounding grows as N², of logarithms O(N) summed N times.
    tolerance = ROUNDING * max(1, (n_spins / 100) ** 2)
    for mixture in ({2: 1.0}, CUBIC, MIXED):
        field = kac_rice.trivialization_field(mixture)
        assert kac_rice.n_critical_points(mixture, n_spins, field) == pytest.approx(2 * n_spins, rel=tolerance)


@pytest.mark.parametrize("field", [0, 0.4, 2.0, 50.0])
def test_n_critical_points_on_the_circle_is_rice(field):
    # H(θ) stationary: zeros of H′ by Rice's formula, 2√(Var H″/Var H′), Var H′ = 2(ξ′+h²), Var H″ = 2(ξ′+h²+3ξ″).
    slope, curvature = slopes(MIXED)
    expected = 2 * math.sqrt(1 + 3 * curvature / (slope + field**2))
    assert kac_rice.n_critical_points(MIXED, 2, field) == pytest.approx(expected, rel=ROUNDING)


@pytest.mark.parametrize("field", [0, 0.4, 2.0, 50.0])
def test_n_critical_points_on_the_circle_is_rice_in_a_fixed_field(field):
    """E N = ∫dθ p_{H′}(0) E|H″|: H′ has mean 2h sin θ, H″ independent of it 2h cos θ. No matrices."""
    slope, curvature = slopes(MIXED)
    theta = np.arange(20000) * (2 * math.pi / 20000)
    first, second = 2 * slope, 2 * (slope + 3 * curvature)
    density = np.exp(-((2 * field * np.sin(theta)) ** 2) / (2 * first)) / math.sqrt(2 * math.pi * first)
    mean = 2 * field * np.cos(theta)
    folded = math.sqrt(2 * second / math.pi) * np.exp(-(mean**2) / (2 * second))
    folded += mean * np.vectorize(math.erf)(mean / math.sqrt(2 * second))
    expected = (density * folded).sum() * (2 * math.pi / 20000)
    found = kac_rice.n_critical_points(MIXED, 2, field, random_field=False)
    assert found == pytest.approx(expected, rel=ROUNDING)


@pytest.mark.parametrize("count", [kac_rice.n_critical_points, kac_rice.n_minima])
@pytest.mark.parametrize("n_spins, field", [(2, 0.7), (3, 1.5), (8, 1.0), (15, 2.5)])
def test_counts_in_a_random_field_average_those_in_fixed_fields(count, n_spins, field):
    # Given its length a random field has a fixed direction: h·χ_N/√N in place of h, χ_N²/2 ~ Gamma(N/2).
    node, weight = roots_genlaguerre(40, n_spins / 2 - 1)
    fields = torch.from_numpy(field * np.sqrt(2 * node / n_spins))
    weight = torch.from_numpy(weight / weight.sum())
    average = (weight * count(MIXED, n_spins, fields, random_field=False)).sum().item()
    # The count is smooth in h², but a bounded function: 40 nodes leave some 1e-9.
    assert average == pytest.approx(count(MIXED, n_spins, field), rel=1e-8)


@pytest.mark.parametrize("n_spins", [2, 3, 7, 60, 301])
def test_n_critical_points_without_a_field_is_one_number(n_spins):
    expected = kac_rice.n_critical_points(MIXED, n_spins)
    found = kac_rice.n_critical_points(MIXED, n_spins, 0, random_field=False)
    assert found == pytest.approx(expected, rel=ROUNDING * max(1, (n_spins / 100) ** 2))


@pytest.mark.parametrize("n_spins", [2, 3, 50, 300])
@pytest.mark.parametrize("random_field", [True, False])
def test_n_critical_points_of_a_strong_field_are_two(n_spins, random_field):
    fields = torch.tensor([1e6, 1e60, 1e153], dtype=torch.float64)
    found = kac_rice.n_critical_points(CUBIC, n_spins, fields, random_field=random_field)
    # The excess over two of the random field is 6·ξ″/h² at N = 2, smaller for larger N.
    assert found.tolist() == pytest.approx([2, 2, 2], rel=1e-10)
    assert kac_rice.n_critical_points({1: 2.0}, n_spins, 0.3, random_field=random_field) == pytest.approx(2, rel=1e-15)


def test_n_critical_points_grows_with_the_annealed_complexity():
    # E N → 4√(N(1−B)/(πB)) e^{NΣ} with a correction O(1/N): it halves with N.
    field = 0.5
    slope, curvature = 3 + field**2, 6
    tilt = (curvature - slope) / (curvature + slope)

    def correction(n_spins: int) -> float:
        front = 4 * math.sqrt(n_spins * (1 - tilt) / (math.pi * tilt))
        exponential = math.exp(n_spins * kac_rice.annealed_complexity(CUBIC, field))
        return kac_rice.n_critical_points(CUBIC, n_spins, field) / (front * exponential) - 1

    assert abs(correction(600)) < 0.01
    assert correction(300) / correction(600) == pytest.approx(2, rel=0.02)


def test_n_critical_points_above_the_trivialization_field_tend_to_two():
    excess = [kac_rice.n_critical_points(CUBIC, n_spins, 3.0) - 2 for n_spins in (50, 100, 200, 400)]
    assert all(0 < after < before / 2 for before, after in zip(excess, excess[1:], strict=False))
    assert excess[-1] < 0.01


def test_n_critical_points_takes_numbers_and_tensors():
    fields = torch.tensor([[0.0, -1.0], [1.0, 2.0]])
    found = kac_rice.n_critical_points(CUBIC, 3, fields)
    assert found.dtype == torch.float32 and found.shape == (2, 2)
    assert found[0, 1] == found[1, 0] == torch.tensor(kac_rice.n_critical_points(CUBIC, 3, 1), dtype=torch.float32)
    assert kac_rice.n_critical_points(CUBIC, 2200) == math.inf


# Mean numbers of minima


@pytest.mark.parametrize("field", [0, 0.5, math.sqrt(3), 3, 40])
@pytest.mark.parametrize("random_field", [True, False])
def test_n_minima_of_small_spheres_follow_from_morse(field, random_field):
    # As many minima as maxima; on the circle nothing else, on the sphere minima − saddles + maxima = 2.
    total = [kac_rice.n_critical_points(MIXED, n_spins, field, random_field=random_field) for n_spins in (2, 3)]
    minima = [kac_rice.n_minima(MIXED, n_spins, field, random_field=random_field) for n_spins in (2, 3)]
    assert minima == pytest.approx([total[0] / 2, (total[1] + 2) / 4], rel=ROUNDING)


@pytest.mark.parametrize("n_spins", [1, 2, 5, 20, 21, 90])
def test_n_minima_at_the_trivialization_field_are_two(n_spins):
    # B = 0: the integral is one. For p = 2 in no field the two are ± the first eigenvector, in every sample.
    assert kac_rice.n_minima({2: 1.0}, n_spins) == pytest.approx(2, rel=ROUNDING)
    assert kac_rice.n_minima(CUBIC, n_spins, math.sqrt(3)) == pytest.approx(2, rel=ROUNDING)


def test_n_minima_of_a_linear_energy_is_one():
    assert kac_rice.n_minima({1: 1.0}, 4) == 1
    assert kac_rice.n_minima({1: 1.0}, 1) == kac_rice.n_critical_points({1: 1.0}, 1) == 2
    assert kac_rice.n_minima(CUBIC, 80, 6.0) == pytest.approx(1, rel=1e-6)


# The eigenvalues underneath


@pytest.mark.parametrize("n", [2, 5, 10])
def test_goe_densities_have_the_moments_of_sampled_matrices(n):
    # ∫(f(x) + f(−x))x² and ∫(ρ(x) + ρ(−x))x² over x > 0 against matrices with diagonal variance 1, others ½.
    generator = np.random.default_rng(20260522)
    matrix = generator.normal(size=(20000, n, n))
    eigenvalues = np.linalg.eigvalsh((matrix + matrix.transpose(0, 2, 1)) / 2)
    x = np.linspace(0, math.sqrt(2 * n) + 7, 4001)[1:]  # the integrand vanishes at both ends: the sum is the trapezoid
    for density, square in ((goe_density, (eigenvalues**2).sum(1)), (goe_largest_density, eigenvalues[:, -1] ** 2)):
        moment = (np.exp(density(n, x) - x**2 / 2) * x**2).sum() * x[0]
        assert abs(square.mean() - moment) < 4 * square.std() / math.sqrt(len(square))
    # E tr M² = n + n(n−1)/2. The integrand is even and smooth: the trapezoid is good to rounding.
    trace_square = (np.exp(goe_density(n, x) - x**2 / 2) * x**2).sum() * x[0]
    assert trace_square == pytest.approx(n * (n + 1) / 2, rel=1e-10)


@pytest.mark.parametrize("n", [2, 11, 60])
def test_goe_largest_density_far_out_is_the_density(n):
    x = math.sqrt(2 * n) + np.array([BEYOND - 2.0, BEYOND - 1e-6, BEYOND + 1e-6])
    # goe_density folds two equal halves, the largest eigenvalue has one of them.
    assert goe_largest_density(n, x) == pytest.approx(goe_density(n, x) - math.log(2), rel=0, abs=1e-11)


# Errors


@pytest.mark.parametrize("count", [kac_rice.n_critical_points, kac_rice.n_minima])
def test_counts_refuse_what_they_cannot_count(count):
    with pytest.raises(ValueError, match="n_spins: want 1 <= n_spins <= .*, got 0"):
        count(CUBIC, 0)
    for n_spins in (3.0, True, "3"):
        with pytest.raises(TypeError, match="n_spins: want a whole number"):
            count(CUBIC, n_spins)
    for field in (math.nan, torch.tensor([0.0, math.inf])):
        with pytest.raises(ValueError, match="field: want finite values"):
            count(CUBIC, 3, field)
    with pytest.raises(TypeError, match="want numbers or floating-point tensors, got '1'"):
        count(CUBIC, 3, "1")


def test_n_minima_refuses_sizes_where_it_would_underflow():
    with pytest.raises(ValueError, match="n_spins: want 1 <= n_spins <= 400, got 401"):
        kac_rice.n_minima(CUBIC, 401)


@pytest.mark.parametrize(
    "form",
    [
        kac_rice.trivialization_field, kac_rice.annealed_complexity,
        lambda mixture: kac_rice.n_critical_points(mixture, 3), lambda mixture: kac_rice.n_minima(mixture, 3),
    ],
)  # fmt: skip
def test_mixtures_are_checked(form):
    for mixture, message in (
        ({0: 1.0}, "whole orders p >= 1, got 0"), ({2.5: 1.0}, "whole orders p >= 1, got 2.5"),
        ({3: -1.0}, "finite c_p >= 0, got -1.0 for p = 3"), ({3: math.inf}, "finite c_p >= 0"),
        ({3: 0.0}, "some c_p > 0"), ({}, "some c_p > 0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            form(mixture)
    with pytest.raises(TypeError, match="want a mapping"):
        form([3])


def test_annealed_complexity_refuses_a_field_that_is_none():
    with pytest.raises(ValueError, match="field: want finite values, got nan"):
        kac_rice.annealed_complexity(CUBIC, math.nan)
