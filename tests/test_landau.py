"""Landau energy of collapse: against the exact loss of a free encoder, minimized under constraints or without."""

import math

import pytest
import torch
from scipy.optimize import minimize

from latentlib import landau
from latentlib.finite_law import bernoulli, parabola, three_point, uniform

F64 = torch.float64
Z = torch.linspace(-10, 10, 401, dtype=F64)  # trapezoid rule: spectrally exact for posteriors of width above 0.3


class FreeEncoder:
    """Exact loss above the collapsed state of one latent whose encoder is free at every point, best decoder."""

    def __init__(self, points, weights):
        points = points - weights @ points
        values, frame = torch.linalg.eigh((points * weights[:, None]).mT @ points)
        self.values, self.weights = values.flip(0), weights
        self.x = points @ frame.flip(1)
        self.psi = self.x[:, 0] / self.values[0].sqrt()

    def moments(self):
        square = self.weights * self.psi.square()
        coupling, top = (square @ self.x)[1:].square(), self.values[0]
        curvature = (coupling / (top - self.values[1:])).sum(), coupling.sum() / top
        return [moment.item() for moment in (square @ self.psi, square @ self.psi.square(), *curvature)]

    def energy(self, mu, var, price):
        posterior = torch.exp(-(Z - mu[:, None]).square() / (2 * var[:, None])) / (2 * math.pi * var[:, None]).sqrt()
        moment = (self.weights[:, None] * self.x).mT @ posterior  # q(z) f(z)
        explained = (moment.square().sum(0) / (self.weights @ posterior)).sum() * (Z[1] - Z[0])
        return self.weights @ (mu.square() + var - 1 - var.log()) / 2 - explained / (2 * price)

    def constrained(self, v, w):
        """Least energy at T = λ_1 given E[ψμ] = v, E[ψσ²] = w, by Newton's steps in the other directions."""
        n = len(self.psi)
        others = torch.linalg.svd((self.weights * self.psi)[None])[2][1:].mT

        def value(free):
            mu, shift = (a * self.psi + others @ part for a, part in zip((v, w), free.split(n - 1)))
            return self.energy(mu, 1 + shift, self.values[0])

        free = torch.zeros(2 * n - 2, dtype=F64)
        for _ in range(4):
            slope = torch.autograd.functional.jacobian(value, free)
            free = free - torch.linalg.solve(torch.autograd.functional.hessian(value, free), slope)
        return value(free).item()

    def minimum(self, price, v, w, homoscedastic=False):
        """(energy, KL, signal fraction) of the minimum below a start of amplitudes v, w."""
        n = len(self.psi)

        def unpack(free):
            mu, log_var = free.split([n, len(free) - n])
            return mu, log_var.expand(n).exp()

        def value_and_slope(free):
            free = torch.tensor(free, dtype=F64, requires_grad=True)
            value = self.energy(*unpack(free), price) * 1e3  # so that the line search sees differences of 1e-9
            return value.item(), torch.autograd.grad(value, free)[0].numpy()

        width = torch.zeros(1, dtype=F64) if homoscedastic else torch.log1p(w * self.psi)
        start = torch.cat([v * self.psi, width]).numpy()
        options = {"maxiter": 5000, "maxfun": 20000, "ftol": 1e-16, "gtol": 1e-9, "maxcor": 20}
        found = minimize(value_and_slope, start, jac=True, method="L-BFGS-B", options=options)
        mu, var = unpack(torch.tensor(found.x, dtype=F64))
        second_moment = self.weights @ mu.square()
        rate = self.weights @ (mu.square() + var - 1 - var.log()) / 2
        return found.fun / 1e3, rate.item(), (second_moment / (second_moment + self.weights @ var)).item()


# The linear decoder -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("price_ratio", [0.1, 0.7, 0.999, 1.0, 1.5])
def test_one_mode_loss_is_least_on_the_branch(price_ratio):
    m, rate = landau.one_mode_fraction(price_ratio), landau.one_mode_rate(price_ratio)
    least = landau.one_mode_loss(m, 1.0, price_ratio)
    # min(T̃, 1) of the distortion is left, and 2T̃ nats⁻¹ is paid for the rate.
    assert least == pytest.approx(min(price_ratio, 1) + 2 * price_ratio * rate, rel=1e-15)
    grid_m, grid_scale = torch.meshgrid(torch.linspace(0, 0.999, 500), torch.logspace(-1, 1, 201), indexing="ij")
    grid = landau.one_mode_loss(grid_m.double(), grid_scale.double(), price_ratio)
    assert grid.min() >= least - 1e-15
    assert grid_scale.flatten()[grid.argmin()].item() == pytest.approx(1, rel=1e-6)


def test_one_mode_loss_is_the_loss_of_a_linear_vae(generator):
    from latentlib.equilibrium import loss

    eigenvalue, price = torch.tensor([[2.5]], dtype=F64), 0.3
    for _ in range(5):
        encoder, log_var = torch.randn(2, generator=generator, dtype=F64)
        second_moment, var = eigenvalue.item() * encoder**2, log_var.exp()
        scale = second_moment + var
        decoder = eigenvalue * encoder / scale  # the best one
        exact = loss(eigenvalue, encoder.view(1, 1), decoder, log_var.view(1), price)
        found = landau.one_mode_loss(second_moment / scale, scale, price)
        assert found.item() == pytest.approx(exact.item(), rel=1e-14)


def test_one_mode_rate_is_continuous_with_a_kink():
    step = 1e-6
    below, at, above = (landau.one_mode_rate(ratio) for ratio in (1 - step, 1.0, 1 + step))
    assert at == above == 0 and below / step == pytest.approx(0.5, rel=step)  # ½ ln(1/(1 − δ)) = δ/2 + δ²/4


def test_one_mode_coefficients_sum_to_the_loss():
    m, ratio = 0.3, 0.8
    powers = m ** torch.arange(60, dtype=F64)
    expansion = (landau.one_mode_coefficients(ratio, 60) * powers).sum().item()
    assert expansion == pytest.approx(landau.one_mode_loss(m, 1.0, ratio), abs=1e-15)  # .3⁶⁰ is left out
    assert landau.one_mode_coefficients(ratio, 3).tolist() == pytest.approx([1, -0.2, 0.4], rel=1e-15)


# The energy ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crooked():
    """Nine random points in three dimensions: skewed and curved, nothing symmetric."""
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(9, 3, generator=generator, dtype=F64) * torch.tensor([2.0, 1.0, 0.7], dtype=F64)
    weights = 0.3 + torch.rand(9, generator=generator, dtype=F64)
    return FreeEncoder(points, weights / weights.sum())


@pytest.mark.parametrize("direction", [(1, 0), (0, 1), (0.7, 0.9), (0.5, -1)])
def test_landau_energy_is_the_constrained_minimum(crooked, direction):
    """Every coefficient: cubic from the odd part in the amplitudes, quartic from the even one, δ → 0 by Richardson."""
    skewness, kurtosis, curvature, bare = crooked.moments()
    assert abs(skewness) > 0.1 and bare > 0.05  # a test of these terms
    odd, even = [], []
    for delta in (0.04, 0.02):
        plus, minus = (crooked.constrained(*(s * delta * a for a in direction)) for s in (1, -1))
        odd.append((plus - minus) / (2 * delta**3))
        even.append((plus + minus) / (2 * delta**4))
    coefficients = landau.landau_coefficients(skewness, kurtosis, curvature, bare)
    unit, back = (landau.landau_energy(*(s * a for a in direction), 0.0, coefficients) for s in (1, -1))
    # Left over: δ⁴, 2.6e-6 times coefficients that grow tenfold an order; rounding, 1e-16 of energies over δ³.
    assert (4 * odd[1] - odd[0]) / 3 == pytest.approx((unit - back) / 2, rel=3e-4, abs=1e-10)
    assert (4 * even[1] - even[0]) / 3 == pytest.approx((unit + back) / 2, rel=3e-4)


def test_landau_energy_homoscedastic_mean_channel(crooked):
    """¼(1 − S² − Γ): σ is one number, eliminated too."""
    skewness, kurtosis, curvature, bare = crooked.moments()
    coefficients = landau.landau_coefficients(skewness, kurtosis, curvature, bare, homoscedastic=True)
    # 1 − λ/T = ε < 0: least energy −ε²/16a, up to the relative order ε.
    ratios = []
    for eps in (-4e-3, -2e-3):
        exact, _, _ = crooked.minimum(crooked.values[0] / (1 - eps), math.sqrt(-eps), 0.0, homoscedastic=True)
        ratios.append(exact / landau.landau_minimum(eps, coefficients).energy)
    assert 2 * ratios[1] - ratios[0] == pytest.approx(1, abs=1e-3) and abs(ratios[1] - 1) > 1e-4


@pytest.mark.parametrize("price", [0.98, 1.0, 1.02])
def test_landau_energy_curvature_is_the_collapsed_hessian(price):
    """1 − 1/T in the mean and 2(1 − 1/T) in ln σ: of the energy, and lowest eigenvalues of the exact loss."""
    eps, coefficients = 1 - 1 / price, landau.landau_coefficients(1.5, 3.25)
    step = 1e-4

    def curvature(energy):
        return (energy(step) + energy(-step) - 2 * energy(0.0)) / step**2

    mean = curvature(lambda v: landau.landau_energy(v, 0.0, eps, coefficients))
    width = curvature(lambda tau: landau.landau_energy(0.0, math.expm1(2 * tau), eps, coefficients))
    # The quartic terms give 2a·step², and cubic ones step·S in the second: 1e-5 is below five digits.
    assert (mean, width) == pytest.approx((eps, 2 * eps), abs=1e-5)
    for law in (bernoulli(0.2), parabola(0.7)):
        exact = FreeEncoder(*law)
        root = exact.weights.sqrt()

        def loss(free, exact=exact, root=root):
            mu, log_std = free.split(len(root))
            return exact.energy(mu / root, (2 * log_std / root).exp(), price)

        hessian = torch.autograd.functional.hessian(loss, torch.zeros(2 * len(root), dtype=F64))
        n = len(root)
        lowest = [torch.linalg.eigvalsh(part)[0].item() for part in (hessian[:n, :n], hessian[n:, n:])]
        assert lowest == pytest.approx([eps, 2 * eps], abs=1e-10)


# Its minimum --------------------------------------------------------------------------------------------------------


def test_landau_minimum_small_eps():
    """K = 3 at T = .998: the mean channel −ε²/4, the width channel −ε²/16, and the exact solutions beside them."""
    eps = 1 - 1 / 0.998
    found = landau.landau_minimum(eps, landau.landau_coefficients(0.0, 3.0))
    assert found.energy == pytest.approx(-(eps**2) / 4, rel=1e-12) and found.w == 0 and found.v > 0
    assert found.rate == pytest.approx(-eps / 2, rel=1e-12)
    exact = FreeEncoder(*three_point(3.0))
    assert exact.minimum(0.998, 0.05, 0.0)[0] == pytest.approx(-1.003e-6, abs=5e-10)
    assert exact.minimum(0.998, 0.0, 0.05)[0] == pytest.approx(-0.250e-6, abs=5e-10)


def test_landau_minimum_variance_coded():
    """K = 4.7: KL > 0 at m = 0. The numbers are those of the exact loss, which the energy approaches as ε."""
    exact, coefficients = FreeEncoder(*three_point(4.7)), landau.landau_coefficients(0.0, 4.7)
    energy, rate, fraction = exact.minimum(0.998, 0.0, 0.08)
    assert energy == pytest.approx(-1.514e-6, abs=5e-10) and rate == pytest.approx(0.00141, abs=5e-6)
    assert fraction < 1e-12 and exact.minimum(0.998, 0.05, 0.0)[0] == pytest.approx(-1.005e-6, abs=5e-10)
    deviations = []
    for price in (0.998, 0.999, 0.9995, 0.99975):
        state = landau.landau_minimum(1 - 1 / price, coefficients)
        assert state.v == 0 and state.w != 0
        deviations.append(exact.minimum(price, 0.0, abs(state.w))[0] / state.energy - 1)
    # Deviations between ε and ε², the first with a coefficient of 7, the second of 3·10⁴: K is close to 5.
    assert all(0.25 < after / before < 0.5 for before, after in zip(deviations, deviations[1:]))
    assert abs(deviations[-1]) < 0.005


@pytest.mark.parametrize("law", [uniform(), parabola(0.3), three_point(2.0), parabola(0.15, three_point(3.0))])
def test_landau_minimum_predicts_the_rate_at_onset(law):
    exact = FreeEncoder(*law)
    coefficients = landau.landau_coefficients(*exact.moments())
    ratios = []
    for price in (0.998, 0.999):
        state = landau.landau_minimum(1 - 1 / price, coefficients)
        ratios.append(exact.minimum(price, state.v, state.w)[1] / state.rate)
    # To first order in ε by extrapolation; what is left is of relative order ε² times coefficients of order 100.
    assert 2 * ratios[1] - ratios[0] == pytest.approx(1, abs=0.02)


def test_landau_minimum_variance_coded_within_a_hair_of_the_threshold():
    """Parabola of c = .22 over K = 3: 4Δ = .424 < 1 − G = .436, so the width leads at onset and the mean soon after."""
    exact = FreeEncoder(*parabola(0.22, three_point(3.0)))
    energies = {}
    for price in (0.99998, 0.998):
        eps = 1 - 1 / price
        assert landau.landau_minimum(eps, landau.landau_coefficients(*exact.moments())).v == 0
        size = math.sqrt(-eps)
        energies[price] = [exact.minimum(price, v, w)[0] / eps**2 for v, w in ((size, 0.0), (0.0, 2 * size))]
    (mean, width), (mean_farther, width_farther) = energies[0.99998], energies[0.998]
    # −ε²/4(1 − G) and −ε²/16Δ at onset; ε is 2e-5, times coefficients of order 300.
    assert (mean, width) == pytest.approx((-1 / 1.743590, -1 / 1.694359), rel=0.015) and width < mean * 1.01
    assert mean_farther < width_farther


def test_landau_minimum_is_global(generator):
    """Closed form against a dense grid, on random coefficients of positive form."""
    radius = torch.linspace(0, 1, 300, dtype=F64)
    tried = 0
    while tried < 40:
        a, b, c, cubic, eps = (torch.rand(5, generator=generator, dtype=F64) * 2 - 0.5).tolist()
        coefficients, eps = landau.LandauCoefficients(cubic - 0.5, a, b, c), (eps - 0.5) / 4
        if not coefficients.bounded or min(a, c, b + 2 * math.sqrt(a * c)) < 0.1:
            continue
        tried += 1
        state = landau.landau_minimum(eps, coefficients)
        size = 1.5 * max(abs(state.v), abs(state.w), 1.0)
        v, w = torch.meshgrid(size * radius, torch.cat([-size * radius, size * radius]), indexing="ij")
        grid = landau.landau_energy(v, w, eps, coefficients).min().item()
        assert state.energy <= grid + 1e-15
        # The grid's nearest point is within its spacing of a smooth minimum of curvature up to about 40.
        assert grid - state.energy <= 40 * (size / 300) ** 2


def test_landau_maxwell_is_where_the_minimum_meets_the_collapsed_state():
    for skewness, kurtosis in ((0.1, 2.0), (-0.4, 3.0), (0.2, 4.8)):
        coefficients = landau.landau_coefficients(skewness, kurtosis)
        eps, rate = landau.landau_maxwell(coefficients)
        assert eps > 0
        inside = landau.landau_minimum(eps * (1 - 1e-6), coefficients)
        assert inside.energy < 0 and inside.rate == pytest.approx(rate, rel=1e-4)
        assert landau.landau_minimum(eps * (1 + 1e-6), coefficients).rate == 0
    assert landau.landau_maxwell(landau.landau_coefficients(0.0, 3.0)) == (0, 0)


def test_landau_maxwell_of_a_weak_skewness_is_that_of_the_exact_loss():
    exact = FreeEncoder(*bernoulli(0.475))  # S = 0.1
    coefficients = landau.landau_coefficients(*exact.moments())
    eps, rate_there = landau.landau_maxwell(coefficients)
    state = landau.landau_minimum(0.9 * eps, coefficients)
    # Corrections are of relative order S² = 1e-2: the exact energy changes sign within 5 % of ε_M, and the state
    # lives on a little longer.
    energies, rates, _ = zip(*(exact.minimum(1 / (1 - f * eps), state.v, state.w) for f in (0.95, 1.0, 1.05, 1.2)))
    assert energies[0] < -1e-9 and min(energies[1:]) > -1e-15
    assert rates[1] == pytest.approx(rate_there, rel=0.1) and rates[3] < 1e-15


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: landau.one_mode_loss(1.0, 1.0, 0.5), "want signal_fraction in .* got 1.0, 1.0"),
        (lambda: landau.one_mode_loss(0.5, 0.0, 0.5), "scale > 0, got 0.5, 0.0"),
        (lambda: landau.one_mode_loss(0.5, 1.0, 0.0), "price_ratio: want finite T/λ > 0, got 0.0"),
        (lambda: landau.one_mode_fraction(-1.0), "price_ratio: .* got -1.0"),
        (lambda: landau.one_mode_rate(math.inf), "price_ratio: .* got inf"),
        (lambda: landau.one_mode_coefficients(0.0, 3), "price_ratio: .* got 0.0"),
        (lambda: landau.one_mode_coefficients(1.0, 0), "n_terms: want a whole number >= 1, got 0"),
        (lambda: landau.landau_coefficients(1.0, 1.5), r"kurtosis: want K >= 1 \+ S² = 2.0, got 1.5"),
        (lambda: landau.landau_coefficients(math.nan, 3.0), "want finite moments, got nan, 3.0"),
        (lambda: landau.landau_minimum(0.1, landau.landau_coefficients(0, 6)), "want a positive quartic form"),
        (lambda: landau.landau_maxwell(landau.landau_coefficients(0, 3, 2)), "want a positive quartic form"),
        (lambda: landau.landau_minimum(1.0, landau.landau_coefficients(0, 3)), "eps: want a finite .* got 1.0"),
        (lambda: landau.landau_energy(0, 1, 0.1, landau.landau_coefficients(0, 3, homoscedastic=True)), "w: want 0"),
    ],
)
def test_landau_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_one_mode_loss_refuses_other_types():
    with pytest.raises(TypeError, match="want numbers or floating-point tensors"):
        landau.one_mode_loss("0.5", 1.0, 1.0)
