"""The functional solver: exact loss, exact Hessian, the law on Gaussian data, the table of first-order collapses."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from latentlib import equilibrium, finite_law, functional
from latentlib.finite_law import FiniteLaw, bernoulli, parabola, three_point, uniform

# Gradients vanish to 1e-10: a descent leaves an error of 1e-10/(smallest curvature, .01) in a state and in its rate.
SOLVED = 1e-8


def top_price(law):
    """λ_max/σ_tot²: the price at which T = λ_max."""
    points = law.points - law.weights @ law.points
    variances = torch.linalg.eigvalsh(points.mT @ (law.weights[:, None] * points))
    return (variances[-1] / variances.sum()).item()


def scan(law, temperatures, **options):
    """Branch at T = temperatures, in units of λ_1."""
    prices = torch.tensor(temperatures, dtype=torch.float64) * top_price(law)
    return functional.functional_branch(*law, prices, **options)


def nats(branch):
    """F − F_collapsed in nats, E|x − x̂|²/2T + R."""
    return branch.loss_gap / (2 * branch.prices)


def random_state(law, generator, scale=0.5):
    return scale * torch.randn((2, len(law.weights)), generator=generator, dtype=torch.float64)


def gaussian_law(n_points=10):
    """Gauss–Hermite nodes: all moments of the Gaussian through order 2n − 1."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_points)
    return FiniteLaw(torch.tensor(nodes)[:, None], torch.tensor(weights / weights.sum()))


# The loss -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", [bernoulli(0.2), parabola(0.7)])
def test_functional_loss_is_one_when_collapsed(law):
    zero = torch.zeros(3, len(law.weights), dtype=torch.float64)
    loss = functional.functional_loss(*law, zero, zero, torch.tensor([0.1, 1.0, 5.0]))
    assert torch.allclose(loss, torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-14)  # rounding of one quadrature


def test_functional_loss_is_the_integral(generator):
    """Against adaptive quadrature of |Σ p_i q_i x_i|²/q, written out for this test alone."""
    law = parabola(0.7, three_point(3.0))
    mu, log_var = random_state(law, generator, scale=1.0)
    x, p, std = law.points.numpy(), law.weights.numpy(), np.exp(log_var.numpy() / 2)

    def power(z):
        mass = p * scipy.stats.norm.pdf(z, mu.numpy(), std)
        return ((mass @ x) ** 2).sum() / mass.sum()

    explained, error = scipy.integrate.quad(power, -25, 25, epsabs=1e-12, epsrel=1e-12, limit=400, points=mu.tolist())
    divergence = p @ ((mu.numpy() ** 2 + std**2 - 1) / 2 - np.log(std))
    expected = 1 - explained / (p @ x**2).sum() + 2 * 0.3 * divergence
    assert abs(functional.functional_loss(*law, mu, log_var, 0.3).item() - expected) <= 1e-13 + error


def test_functional_loss_is_the_linear_loss_on_gaussian_data():
    """A linear encoder of Gaussian data has a linear optimal decoder w = v/(v² + s²): the loss of `equilibrium`."""
    law, slope, var = gaussian_law(20), 0.6, 0.7
    one = torch.ones(1, 1, dtype=torch.float64)
    log_var = torch.full((len(law.weights),), math.log(var), dtype=torch.float64)
    price = torch.tensor(0.3, dtype=torch.float64)
    linear = equilibrium.loss(one, slope * one, slope / (slope**2 + var) * one, log_var[:1], price)
    loss = functional.functional_loss(*law, slope * law.points[:, 0], log_var, price)
    # Twenty nodes have the moments of the Gaussian through order 39; the next enter with (.36/1.06)^40 = 2e-19.
    assert abs(loss - linear) <= 1e-14


def test_functional_loss_is_unchanged_by_shift_scale_rotation_and_splitting(generator):
    law = parabola(0.5, three_point(3.0))
    mu, log_var = random_state(law, generator)
    loss = functional.functional_loss(*law, mu, log_var, 0.4)
    rotation = torch.linalg.qr(torch.randn(2, 2, generator=generator, dtype=torch.float64))[0]
    moved = 7 * law.points @ rotation + torch.tensor([1.0, -20.0])
    twice = torch.cat([law.points, law.points]), torch.cat([0.3 * law.weights, 0.7 * law.weights])
    assert abs(functional.functional_loss(moved, law.weights, mu, log_var, 0.4) - loss) <= 1e-13
    assert abs(functional.functional_loss(*twice, mu.repeat(2), log_var.repeat(2), 0.4) - loss) <= 1e-13


def test_functional_loss_batches_states_and_prices(generator):
    law = bernoulli(0.3)
    mu, log_var = torch.randn((2, 3, 4, 2), generator=generator, dtype=torch.float64)
    prices = torch.rand((3, 4), generator=generator, dtype=torch.float64) + 0.1
    together = functional.functional_loss(*law, mu, log_var, prices)
    states = zip(mu.reshape(12, 2), log_var.reshape(12, 2), prices.flatten())
    alone = [functional.functional_loss(*law, *state) for state in states]
    # One grid density for the batch, the narrowest posterior's: results agree to the error of the quadrature.
    assert torch.allclose(together, torch.stack(alone).reshape(3, 4), rtol=0, atol=1e-13)


# The collapsed state ------------------------------------------------------------------------------------------------


def weighted_hessian(law, mu, log_std, price):
    """Autograd's Hessian of R + D̂/2T̂ in √p_i·(μ_i, ln σ_i)."""
    n_points = len(law.weights)

    def value(state):
        return functional.functional_loss(*law, state[:n_points], 2 * state[n_points:], price) / (2 * price)

    scale = law.weights.repeat(2).rsqrt()
    return scale[:, None] * torch.autograd.functional.hessian(value, torch.cat([mu, log_std])) * scale


@pytest.mark.parametrize("ratio", [0.98, 1.0, 1.02])
@pytest.mark.parametrize("law", [bernoulli(0.2), parabola(0.7)], ids=["bernoulli", "parabola"])
def test_collapsed_hessian_is_the_hessian_of_the_loss(law, ratio):
    price, zero = ratio * top_price(law), torch.zeros_like(law.weights)
    exact = functional.collapsed_hessian(*law, price)
    measured = weighted_hessian(law, zero, zero, price)
    n_points = len(zero)
    assert torch.allclose(measured[:n_points, :n_points], exact.mean, rtol=0, atol=1e-12)
    assert torch.allclose(measured[n_points:, n_points:], exact.log_std, rtol=0, atol=1e-12)
    assert measured[:n_points, n_points:].abs().max() <= 1e-12
    lowest = torch.linalg.eigvalsh(measured)[:2]
    assert sorted(lowest.tolist()) == pytest.approx(sorted([1 - 1 / ratio, 2 * (1 - 1 / ratio)]), abs=1e-12)


# Branches -----------------------------------------------------------------------------------------------------------


GAUSSIAN_RATIOS = torch.tensor([0.7, 0.8, 0.9], dtype=torch.float64)


@pytest.mark.parametrize("start", ["mean", "collapsed"])
def test_functional_branch_is_the_exact_law_on_gaussian_data(start):
    """R = ½ln(λ/T), m = 1 − T/λ, D̂ = T/λ: Gaussian data collapse continuously under any decoder."""
    branch = scan(gaussian_law(), GAUSSIAN_RATIOS.tolist(), start=start)
    assert branch.converged.all()
    # Ten nodes have the moments of the Gaussian through order 19: at T = .7 the next enter with (m/(1 + m))^20 < 1e-12.
    assert torch.allclose(branch.rate, -GAUSSIAN_RATIOS.log() / 2, rtol=0, atol=SOLVED)
    assert torch.allclose(branch.signal_fraction, 1 - GAUSSIAN_RATIOS, rtol=0, atol=SOLVED)
    assert torch.allclose(1 + branch.loss_gap, GAUSSIAN_RATIOS * (1 - GAUSSIAN_RATIOS.log()), rtol=0, atol=SOLVED)


@pytest.mark.parametrize("start", ["width", "random"])
def test_functional_branch_never_beats_the_exact_law_on_gaussian_data(start):
    branch = scan(gaussian_law(), GAUSSIAN_RATIOS.tolist(), start=start)
    assert (1 + branch.loss_gap >= GAUSSIAN_RATIOS * (1 - GAUSSIAN_RATIOS.log()) - SOLVED).all()


@pytest.mark.parametrize("homoscedastic", [False, True])
def test_functional_branch_is_stationary_by_autograd_and_resolved(homoscedastic):
    law = parabola(0.7)
    branch = scan(law, [0.3, 0.6, 0.9], homoscedastic=homoscedastic)
    weights = [branch.mu.clone().requires_grad_(), branch.log_var.clone().requires_grad_()]
    loss = functional.functional_loss(*law, *weights, branch.prices)
    by_mean, by_width = torch.autograd.grad(loss.sum(), weights)
    if homoscedastic:
        assert (branch.log_var == branch.log_var[:, :1]).all()
        by_width = by_width.sum(1)
    # The descent stops at √(gᵀH₀g) ≤ 1e-10 with H₀ ≥ 1, for the loss/2T̂; 2T̂ < 2.
    assert branch.converged.all() and max(by_mean.abs().max(), by_width.abs().max()) <= 2e-10
    assert torch.allclose(loss.detach() - 1, branch.loss_gap, rtol=0, atol=1e-14)
    # Doubling the nodes moves the loss by rounding alone: trapezoid errors fall as e^(−c·nodes).
    assert branch.grid_error.max() <= 1e-14


def test_functional_branch_starts_and_seeds_agree_where_the_optimum_is_unique():
    """Seed 1 would leave "width" at the saddle of width alone, R = .047, but for the kick along its flat direction."""
    choices = [(start, seed) for start in ("mean", "width", "random") for seed in (0, 1)]
    branches = [scan(bernoulli(0.2), [0.9, 1.0], start=start, seed=seed) for start, seed in choices]
    assert all(torch.allclose(one.rate, branches[0].rate, rtol=0, atol=SOLVED) for one in branches)
    given = scan(bernoulli(0.2), [0.9], start=(branches[0].mu[0], branches[0].log_var[0]))
    assert given.rate.item() == pytest.approx(branches[0].rate[0].item(), abs=SOLVED)


def test_functional_branch_leaves_the_collapsed_saddle_below_the_top_variance_only():
    branch = scan(three_point(3), [1.1, 1.01, 0.97, 0.9], start="collapsed")
    assert (branch.rate[:2] <= 1e-12).all() and (branch.rate[2:] >= 0.015).all()


def test_functional_branch_mean_coded_energy_is_landau_s():
    """K = 3 at T = .998: −ε²/4 with ε = 1/T − 1, up to a relative ε."""
    gap = 1 / 0.998 - 1
    assert nats(scan(three_point(3), [0.998])).item() == pytest.approx(-(gap**2) / 4, rel=2 * gap)


def test_functional_branch_is_variance_coded_between_kurtosis_4_5_and_5():
    """K = 4.7 at T = .998: F = −1.514e-6 at R = .00141 and m = 0; the best mean-coded state has −ε²/4 = −1.005e-6."""
    branch = scan(three_point(4.7), [0.998])
    assert nats(branch).item() == pytest.approx(-1.514e-6, abs=5e-10)
    assert branch.rate.item() == pytest.approx(0.00141, abs=5e-6)
    # The flat direction of the next test leaves μ undetermined to (tolerance)^⅓ = 5e-4.
    assert branch.signal_fraction.item() <= 1e-6


@pytest.mark.parametrize("law, ratio", [(three_point(4.7), 0.998), (bernoulli(0.2), 1.143)], ids=["K 4.7", "bernoulli"])
def test_functional_branch_of_pure_width_is_flat_along_its_excess_variance(law, ratio):
    """At m = 0 the means μ_i ∝ σ_i² − 1 cost nothing to second order, whatever the law.

    A shift of all μ leaves f in place; a tilt μ_i → μ_i + εσ_i² multiplies every q_i by 1 + εz, so it leaves f too, and
    stationarity of the widths turns its gradient into that of the rate. Both together: Hessian·(σ² − 1) = 0.
    """
    branch = scan(law, [1.12, ratio] if ratio > 1 else [ratio])
    log_std, price = branch.log_var[-1] / 2, branch.prices[-1].item()
    assert branch.rate[-1] > 1e-3 and branch.signal_fraction[-1] <= 1e-6
    hessian = weighted_hessian(law, torch.zeros_like(log_std), log_std, price)
    direction = law.weights.sqrt() * torch.expm1(2 * log_std)
    direction = torch.cat([direction / direction.norm(), torch.zeros_like(direction)])
    # The descent stops with |μ| up to 1e-3, where the widths are off their μ = 0 values by |μ|² = 1e-6.
    assert (hessian @ direction).norm() <= 1e-5
    assert torch.linalg.eigvalsh(hessian)[1] >= 1e-3  # flat in this direction alone


def mutual_information(law, mu, log_var):
    """I(x; z) = Σ p_i ∫ q_i ln(q_i/q) dz on a dense grid, nats."""
    z = np.linspace(-15, 15, 20001)[:, None]
    logs = scipy.stats.norm.logpdf(z, mu.numpy(), np.exp(log_var.numpy() / 2))
    joint = law.weights.numpy() * np.exp(logs)
    mixture = joint.sum(1, keepdims=True)
    return scipy.integrate.trapezoid((joint * (logs - np.log(np.maximum(mixture, 1e-300)))).sum(1), z[:, 0])


def test_functional_branch_pays_for_its_information():
    """R ≥ I(x; z), and no distortion on two points of p = .2 costs at least H(.2) = .5004 nats."""
    law = bernoulli(0.2)
    branch = scan(law, [0.01, 0.2, 0.5, 0.9, 1.1])
    information = [mutual_information(law, *state) for state in zip(branch.mu, branch.log_var)]
    assert all(spent > used + 1e-6 for spent, used in zip(branch.rate.tolist(), information))
    distortion = 1 + branch.loss_gap - 2 * branch.prices * branch.rate
    assert distortion[0] <= 1e-2 and branch.rate[0] >= 0.98 * 0.5004
    assert information[0] <= 0.5004


# Order of the transition --------------------------------------------------------------------------------------------

# T_up and T_Maxwell, last prices of a grid of step .01 in units of λ_1, and R at T = .97, of an independent solution.
NEAR_LINEAR = pytest.approx(0.0157, abs=0.00055)  # its range .0152 … .0162, and half a digit
TABLE = {
    "uniform": (uniform(), False, 0.99, 0.99, NEAR_LINEAR),
    "bernoulli .5": (bernoulli(0.5), False, 0.99, 0.99, NEAR_LINEAR),
    "K 2": (three_point(2), False, 0.99, 0.99, NEAR_LINEAR),
    "K 3": (three_point(3), False, 0.99, 0.99, NEAR_LINEAR),
    "K 4": (three_point(4), False, 0.99, 0.99, NEAR_LINEAR),
    "K 4.7": (three_point(4.7), False, 0.99, 0.99, pytest.approx(0.01618, rel=0.02)),
    "K 6": (three_point(6), False, 1.01, 1.01, pytest.approx(0.0587, rel=0.02)),
    "parabola .3": (parabola(0.3), False, 0.99, 0.99, pytest.approx(0.02287, rel=0.02)),
    "parabola .5": (parabola(0.5), False, 0.99, 0.99, pytest.approx(0.0498, rel=0.02)),
    "parabola .7": (parabola(0.7), False, 1.03, 1.02, pytest.approx(0.1186, rel=0.02)),
    "parabola .7 homoscedastic": (parabola(0.7), True, 0.99, 0.99, pytest.approx(0.0418, rel=0.02)),
    # On that grid T_up is 1.00; the branch is still there at 1.01, see below.
    "bernoulli .4": (bernoulli(0.4), False, 1.01, 1.00, pytest.approx(0.0229, rel=0.02)),
    "bernoulli .2": (bernoulli(0.2), False, 1.14, 1.12, pytest.approx(0.1381, rel=0.02)),
    "bernoulli .4 homoscedastic": (bernoulli(0.4), True, 0.99, 0.99, pytest.approx(0.0192, rel=0.02)),
    "bernoulli .3 homoscedastic": (bernoulli(0.3), True, 0.99, 0.99, pytest.approx(0.0426, rel=0.02)),
    "bernoulli .2 homoscedastic": (bernoulli(0.2), True, 1.05, 1.04, pytest.approx(0.165, rel=0.02)),
    "curved .15": (parabola(0.15, three_point(3)), False, 0.99, 0.99, pytest.approx(0.0237, rel=0.02)),
    "curved .22": (parabola(0.22, three_point(3)), False, 0.99, 0.99, pytest.approx(0.0353, rel=0.02)),
    # On that grid T_Maxwell is .99; at 1.00 the branch is below the collapsed loss, see below.
    "curved .28": (parabola(0.28, three_point(3)), False, 1.00, 1.00, pytest.approx(0.054, rel=0.02)),
    "curved .40": (parabola(0.40, three_point(3)), False, 1.01, 1.01, pytest.approx(0.104, rel=0.02)),
}


@pytest.mark.parametrize("law, homoscedastic, up, maxwell, rate", TABLE.values(), ids=TABLE)
def test_transition_is_the_table(law, homoscedastic, up, maxwell, rate):
    assert scan(law, [0.95, 0.97], homoscedastic=homoscedastic).rate[-1].item() == rate
    found = functional.transition(*law, homoscedastic=homoscedastic, first=0.97, resolution=2e-3)
    assert found.price_down == pytest.approx(top_price(law), rel=1e-12)
    # A grid of step .01 rounds down; the bracket's lower end is at most 2e-3 below the truth.
    assert -0.0021 <= found.price_up / top_price(law) - up < 0.01
    assert -0.0021 <= found.price_maxwell / top_price(law) - maxwell < 0.01
    assert (found.price_up > found.price_down) == (up >= 1)  # first order, or continuous


def test_transition_of_bernoulli_p_4_outlives_the_table():
    """At T = 1.01 a converged, strictly stable state of R = 9e-4 lies above the collapsed one."""
    law = bernoulli(0.4)
    branch = scan(law, [1.0, 1.005, 1.01])
    hessian = weighted_hessian(law, branch.mu[-1], branch.log_var[-1] / 2, branch.prices[-1].item())
    assert branch.converged.all() and torch.linalg.eigvalsh(hessian)[0] > 1e-5
    assert branch.rate[-1] > 5e-4 and branch.loss_gap[-1] > 1e-7 and branch.loss_gap[0] < -1e-5


def test_transition_of_the_curved_three_points_is_above_the_top_variance():
    law = parabola(0.28, three_point(3))
    branch = scan(law, [0.98, 0.99, 0.995, 1.0])
    assert branch.converged.all() and branch.rate[-1] > 1e-3 and nats(branch)[-1] < -1e-6
    found = functional.transition(*law, first=0.99, resolution=3e-4)
    assert found.price_up > found.price_maxwell > found.price_down


def test_transition_ends_in_a_fold():
    """The curvature of the lost minimum vanishes as √(T_up − T): between 4δ and δ before the end it halves."""
    law = bernoulli(0.2)
    end = functional.transition(*law, first=0.99, resolution=1e-5).price_up
    branch = scan(law, [1.13, end - 4e-4, end - 1e-4])
    states = list(zip(branch.mu, branch.log_var / 2, branch.prices.tolist()))[-2:]
    # The lowest eigenvalue is the flat direction of a state of width alone.
    curvature = [torch.linalg.eigvalsh(weighted_hessian(law, *state))[1].item() for state in states]
    # The end is known to 1e-5 of δ = 1e-4: √1.1 = 5 %; the next order of the fold is another few per cent.
    assert curvature[0] / curvature[1] == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("p, bound", [(0.4, 1.027626), (0.2, 1.352527)])
def test_transition_crosses_below_the_sub_gaussian_bound(p, bound):
    assert bound == pytest.approx((1 - 2 * p) / (2 * math.log((1 - p) / p)) / (p * (1 - p)), abs=1e-6)
    found = functional.transition(*bernoulli(p), first=0.99, resolution=0.005)
    assert found.price_down < found.price_maxwell < bound


def test_transition_inside_the_ordered_state():
    """K = 6 at T = .97: the branch of the table is metastable, a skewed state of less than half its rate lies lower."""
    rising = scan(three_point(6), [0.9, 0.92, 0.94, 0.96, 0.97])
    falling = scan(three_point(6), [0.985, 0.98, 0.975, 0.97])
    assert rising.converged.all() and falling.converged.all()
    assert rising.rate[-1] > 2 * falling.rate[-1] > 0.04
    assert falling.loss_gap[-1] < rising.loss_gap[-1] - 1e-4


def test_functional_branch_rates_and_losses_are_the_independent_ones():
    branch = scan(bernoulli(0.2), [0.9, 0.97, 1.0, 1.04, 1.08, 1.1, 1.12, 1.13, 1.14])
    rates = [0.2387, 0.1381, 0.1013, 0.0655, 0.0389, 0.0276, 0.0175, 0.0127, 0.0082]
    assert branch.rate.tolist() == pytest.approx(rates, abs=6e-5)  # four digits
    losses = [-0.02606, -0.01048, -0.00660, -0.00318, -0.00115, -0.00052, -0.00011, 0.00002, 0.00011]
    assert nats(branch).tolist() == pytest.approx(losses, abs=6e-6)  # five digits
    rates = [0.126, 0.0567, 0.0266, 0.0103]
    assert scan(uniform(), [0.8, 0.9, 0.95, 0.98]).rate.tolist() == pytest.approx(rates, abs=6e-5)


@pytest.mark.parametrize("law, first_order", [(bernoulli(0.2), True), (three_point(3), False)], ids=["p .2", "K 3"])
def test_loop_area_is_open_where_the_transition_is_first_order(law, first_order):
    ratios = torch.linspace(0.97, 1.17, 6, dtype=torch.float64)
    up, down = scan(law, ratios.tolist()), scan(law, ratios.flip(0).tolist(), start="collapsed")
    area = functional.loop_area(up.prices, up.rate, down.rate.flip(0)).item()
    if first_order:
        assert (down.rate.flip(0)[ratios > 1] <= 1e-12).all()
        # Below T = 1 both scans agree; at 1.01 … 1.13 only the upper one is alive, with the independent rates.
        assert area == pytest.approx(0.04 * up.rate[1:5].sum().item(), abs=SOLVED) and area > 0.005
    else:
        assert abs(area) <= SOLVED


def test_loop_area_is_the_trapezoid_and_keeps_leading_dimensions():
    prices = torch.tensor([1.0, 2.0, 4.0])
    up = torch.tensor([[3.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    area = functional.loop_area(prices, up, torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 0.0]]))
    assert area.tolist() == [2.0, -3.0]


# What is refused ----------------------------------------------------------------------------------------------------

PAIR = [[-1.0], [1.0]]
HALF = [0.5, 0.5]


@pytest.mark.parametrize(
    ("points", "weights", "match"),
    [
        ([-1.0, 1.0], HALF, r"got \(2,\), \(2,\)"),
        (PAIR, [1.0], r"got \(2, 1\), \(1,\)"),
        ([[1.0]], [1.0], "n_points ≥ 2"),
        ([[-1.0], [math.inf]], HALF, "want finite points"),
        (PAIR, [1.0, 0.0], "weights > 0 of sum 1"),
        (PAIR, [math.nan, 0.5], "weights > 0 of sum 1"),
        (PAIR, [0.5, 0.6], "sum 1, got weights of sum 1.1"),
        ([[1.0], [1.0]], HALF, "positive variance"),
    ],
)
def test_functions_refuse_what_is_no_law(points, weights, match):
    calls = (
        lambda: functional.functional_loss(points, weights, [0.0, 0.0], [0.0, 0.0], 1.0),
        lambda: functional.collapsed_hessian(points, weights, 1.0),
        lambda: functional.functional_branch(points, weights, [1.0]),
        lambda: functional.transition(points, weights),
    )
    for call in calls:
        with pytest.raises(ValueError, match=match):
            call()


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: functional.functional_loss(PAIR, HALF, [0.0], [0.0], 1.0), r"log_var \(…, 2\)"),
        (lambda: functional.functional_loss(PAIR, HALF, [0.0, 0.0], [0.0], 1.0), r"log_var \(…, 2\)"),
        (lambda: functional.functional_loss(PAIR, HALF, [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]), r"price \(\) or"),
        (lambda: functional.functional_loss(PAIR, HALF, [0.0, math.nan], [0.0, 0.0], 1.0), "want finite mu"),
        (lambda: functional.functional_loss(PAIR, HALF, [0.0, 0.0], [0.0, 0.0], 0.0), "price > 0"),
        (lambda: functional.functional_loss(PAIR, HALF, [0.0, 0.0], [0.0, -40.0], 1.0), "want posteriors that one"),
        (lambda: functional.collapsed_hessian(PAIR, HALF, -1.0), "prices: want"),
        (lambda: functional.functional_branch(PAIR, HALF, []), "prices: want"),
        (lambda: functional.functional_branch(PAIR, HALF, [0.5, 0.0]), "all finite and > 0"),
        (lambda: functional.functional_branch(PAIR, HALF, [0.5], start="up"), "start: want 'mean'.*got 'up'"),
        (lambda: functional.functional_branch(PAIR, HALF, [0.5], start=([0.0], [0.0])), r"log_var \(2,\), got \(1,\)"),
        (lambda: functional.functional_branch(PAIR, HALF, [0.5], start=([0.0, math.inf], HALF)), "start: want finite"),
        (lambda: functional.transition(PAIR, HALF, first=1.0), "first <= 0.99"),
        (lambda: functional.transition(PAIR, HALF, resolution=0.0), "got 0.9 and 0.0"),
        (lambda: functional.loop_area([1.0, 1.0], [0.0, 0.0], [0.0, 0.0]), "rising"),
        (lambda: functional.loop_area([1.0, 2.0], [0.0, 0.0], [0.0]), r"rates \(…, 2\)"),
        (lambda: functional.loop_area([1.0, 2.0], [0.0], [0.0]), r"rates \(…, 2\)"),
    ],
)
def test_functions_refuse_bad_states_and_prices(call, match):
    with pytest.raises(ValueError, match=match):
        call()


@pytest.mark.parametrize("start", [None, ([0.0, 0.0],), 3])
def test_functional_branch_refuses_a_start_of_another_type(start):
    with pytest.raises(TypeError, match=f"want a name or a pair .* got {type(start).__name__}"):
        functional.functional_branch(PAIR, HALF, [0.5], start=start)
