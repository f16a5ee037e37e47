"""Binder cumulants, crossings, peaks and powers: exact values, errors that cover, and every refusal."""

import math

import pytest
import torch
from latentlib import onsager, torus
from latentlib.finite_size import binder_crossing, binder_cumulant, parabola_peak, power_law_fit, scaling_variable
from scipy.optimize import brentq


def normal(*shape: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def torus_cumulant(temperature: torch.Tensor, size: int) -> torch.Tensor:
    """U_4 of the torus, exact, from the law of its magnetization."""
    m = torch.arange(-(size**2), size**2 + 1, 2, dtype=torch.float64)
    law = torus.magnetization_law(temperature, size)
    return 1 - (law @ m**4) / (3 * (law @ m**2) ** 2)


# Binder cumulant -----------------------------------------------------------------------------------------------------


def test_binder_cumulant_of_known_laws(generator):
    """2/3 of ±m_0 (no spread), 0 of Gaussian m, 2/5 of m uniform on [−1, 1]: 4 standard errors."""
    two = binder_cumulant(torch.tensor([0.3, -0.3, 0.3, -0.3, 0.3], dtype=torch.float64))
    assert two.value == pytest.approx(2 / 3, rel=1e-15) and two.se <= 1e-15
    gauss = binder_cumulant(normal(20_000, generator=generator))
    flat = binder_cumulant(2 * torch.rand(20_000, generator=generator, dtype=torch.float64) - 1)
    assert abs(gauss.value) <= 4 * gauss.se and abs(flat.value - 0.4) <= 4 * flat.se
    assert 0 < flat.se <= 0.01 and 0 < gauss.se <= 0.03


def test_binder_cumulant_is_the_torus(generator):
    """Draws from the exact law of m of a 4×4 torus: 4 standard errors."""
    temperature = torch.tensor([1.5, onsager.critical_temperature, 3.5], dtype=torch.float64)
    draws = torch.multinomial(torus.magnetization_law(temperature, 4), 20_000, replacement=True, generator=generator)
    value, se = binder_cumulant(draws.double() - 8, 1)
    assert ((value - torus_cumulant(temperature, 4)).abs() <= 4 * se).all()


def test_binder_cumulant_error_is_the_delete_one_jackknife(generator):
    m = normal(9, 4, 7, generator=generator)
    value, se = binder_cumulant(m, 0, average_dim=1)
    assert value.shape == se.shape == (7,)
    for column in range(7):
        x = m[:, :, column]
        full = binder_cumulant(x.flatten())
        assert abs(value[column] - full.value) <= 1e-15
        without = torch.stack([binder_cumulant(torch.cat([x[:i], x[i + 1 :]]).flatten()).value for i in range(9)])
        assert abs(se[column] - math.sqrt(8 / 9 * (without - without.mean()).square().sum())) <= 1e-14


def test_binder_cumulant_blocks_are_rows(generator):
    m = normal(60, 3, generator=generator)
    blocked, rows = binder_cumulant(m, 0, n_blocks=12), binder_cumulant(m.view(12, 5, 3), 0, average_dim=1)
    assert torch.equal(blocked.value, rows.value) and torch.equal(blocked.se, rows.se)
    last = binder_cumulant(m.T, average_dim=())
    assert torch.equal(last.value, binder_cumulant(m, 0).value)


def test_binder_cumulant_error_covers(generator):
    """400 sets of 100 uniform m: the mean jackknife error is the spread of the values, its relative error √(1/800).

    The jackknife's own bias is O(1/100); 4 standard errors and 3 %.
    """
    m = 2 * torch.rand(400, 100, generator=generator, dtype=torch.float64) - 1
    value, se = binder_cumulant(m)
    assert abs(se.square().mean().sqrt() / value.std() - 1) <= 4 / math.sqrt(800) + 0.03


def test_binder_cumulant_keeps_scale_and_names_no_magnetization(generator):
    m = normal(50, generator=generator)
    scaled = binder_cumulant(-1e-3 * m)
    assert abs(scaled.value - binder_cumulant(m).value) <= 1e-14 and abs(scaled.se - binder_cumulant(m).se) <= 1e-14
    assert binder_cumulant(0 * m).value.isnan() and binder_cumulant(0 * m).se.isnan()
    assert binder_cumulant(m.float()).value.dtype == torch.float64


def test_binder_cumulant_refuses(generator):
    m = normal(6, 4, generator=generator)
    for bad in (m.long(), [1.0, 2.0], m * math.nan):
        with pytest.raises(ValueError, match="m: want a finite floating-point tensor"):
            binder_cumulant(bad)
    with pytest.raises(ValueError, match="want dimensions of m with 2 of them"):
        binder_cumulant(m, 2)
    with pytest.raises(ValueError, match="want dimensions of m with 2 of them"):
        binder_cumulant(m, 0, average_dim=-3)
    with pytest.raises(ValueError, match="want different dimensions"):
        binder_cumulant(m, 0, average_dim=-2)
    for n_blocks in (1, 4):
        with pytest.raises(ValueError, match=f"want 2 or more entries.* got 6 and {n_blocks} blocks"):
            binder_cumulant(m, 0, n_blocks=n_blocks)
    with pytest.raises(ValueError, match="want 2 or more entries"):
        binder_cumulant(m[:1], 0)


# Crossing ------------------------------------------------------------------------------------------------------------


def test_binder_crossing_is_exact_on_the_torus():
    """Crossings of the exact curves, found by bisection: polynomials of degree 6 follow them to 1e-5."""
    temperature = torch.linspace(2.1, 2.3, 9, dtype=torch.float64)
    sizes = [3, 4, 5, 6]
    curves = torch.stack([torus_cumulant(temperature, size) for size in sizes])
    found = binder_crossing(temperature, curves, torch.full_like(curves, 1e-4), sizes, degree=6)

    def gap(at: float, size: int) -> float:
        point = torch.tensor([at], dtype=torch.float64)
        return (torus_cumulant(point, size + 1) - torus_cumulant(point, size)).item()

    exact = [brentq(gap, 2.1, 2.3, args=(size,), xtol=1e-10) for size in sizes[:-1]]
    assert (found.crossing - torch.tensor(exact, dtype=torch.float64)).abs().max() <= 1e-5
    below = onsager.critical_temperature - found.crossing
    assert (below > 0).all() and (below.diff() < 0).all()  # they rise towards the critical temperature
    assert found.chi_square > 100 and (found.fit_chi_square <= 0.1).all() and found.fit_dof == 2


def scaling_curves(temperature: torch.Tensor, sizes: list[int], critical: float) -> torch.Tensor:
    """U_4 = 0.6 − 0.3x + 0.05x², x = (T − T_c)·L: one point of crossing, exact quadratics."""
    x = (temperature - critical) * torch.tensor(sizes, dtype=torch.float64)[:, None]
    return 0.6 - 0.3 * x + 0.05 * x**2


@pytest.mark.parametrize("sizes", [[8, 16], [8, 16, 32]])
def test_binder_crossing_errors_cover(sizes, generator):
    """400 noisy sets: T_c within 4 standard errors in the mean, z of unit spread, χ² with its degrees of freedom."""
    temperature, critical, n_repetitions = torch.linspace(0.98, 1.02, 7, dtype=torch.float64), 1.002, 400
    exact = scaling_curves(temperature, sizes, critical)
    se = 0.002 * torch.linspace(0.5, 1.5, 7, dtype=torch.float64).expand_as(exact)
    found = [
        binder_crossing(temperature, exact + se * normal(*exact.shape, generator=generator), se, sizes, degree=2)
        for _ in range(n_repetitions)
    ]
    score = torch.tensor([(one.temperature - critical) / one.se for one in found], dtype=torch.float64)
    assert abs(score.mean()) <= 4 / math.sqrt(n_repetitions) + 0.05  # second order: se·curvature/slope, under 0.05
    assert abs(score.std() - 1) <= 4 / math.sqrt(2 * n_repetitions) + 0.02
    pair = torch.stack([(one.crossing - critical) / one.crossing_se for one in found])
    assert ((pair.std(0) - 1).abs() <= 4 / math.sqrt(2 * n_repetitions) + 0.02).all()
    n_dof = len(sizes) - 2
    mean_chi_square = sum(one.chi_square for one in found) / n_repetitions
    assert abs(mean_chi_square - n_dof) <= 4 * math.sqrt(2 * n_dof / n_repetitions) * 1.1 + 1e-12
    fit_chi_square = torch.stack([one.fit_chi_square for one in found]).mean(0)
    assert found[0].fit_dof == 4
    assert ((fit_chi_square - 4).abs() <= 4 * math.sqrt(8 / n_repetitions)).all()


def test_binder_crossing_without_noise_is_the_point():
    temperature = torch.linspace(0.98, 1.02, 7, dtype=torch.float64)
    curves = scaling_curves(temperature, [8, 16, 32], 1.002)
    found = binder_crossing(temperature, curves, torch.full_like(curves, 1e-3), [8, 16, 32], degree=2)
    assert abs(found.temperature - 1.002) <= 1e-12 and abs(found.binder - 0.6) <= 1e-12
    assert found.chi_square <= 1e-15 and (found.fit_chi_square <= 1e-15).all()


def test_binder_crossing_takes_the_sharpest_fall():
    """A difference −(x + ½)(x − 0.1)(x − 0.9): it falls twice, more steeply at 0.9, with 30 times the error."""
    temperature = torch.linspace(-1, 1, 21, dtype=torch.float64)
    difference = -(temperature + 0.5) * (temperature - 0.1) * (temperature - 0.9)
    curves = torch.stack([0 * difference, difference])
    se = torch.where(temperature > 0.3, 3e-2, 1e-3).expand(2, -1)
    found = binder_crossing(temperature, curves, se, [8, 16])
    assert abs(found.temperature + 0.5) <= 1e-10


def test_binder_crossing_refuses():
    temperature = torch.linspace(0.98, 1.02, 7, dtype=torch.float64)
    curves = scaling_curves(temperature, [8, 16], 1.0)
    se = torch.full_like(curves, 1e-3)
    with pytest.raises(ValueError, match=r"cross in the window, the larger falling, sizes \[8, 16\] do not"):
        binder_crossing(temperature, scaling_curves(temperature, [8, 16], 1.1), se, [8, 16])
    with pytest.raises(ValueError, match="cross in the window"):
        binder_crossing(temperature, -curves, se, [8, 16])
    with pytest.raises(ValueError, match="cross in the window"):
        binder_crossing(temperature, curves[:1].expand(2, -1), se, [8, 16])
    for sizes in ([16, 8], [8], [8, 8]):
        with pytest.raises(ValueError, match="sizes: want two or more, rising"):
            binder_crossing(temperature, curves[: len(sizes)], se[: len(sizes)], sizes)
    with pytest.raises(ValueError, match=r"binder, binder_se: want \(3, 7\)"):
        binder_crossing(temperature, curves, se, [8, 16, 32])
    with pytest.raises(ValueError, match="want rising temperatures"):
        binder_crossing(temperature.flip(0), curves, se, [8, 16])
    with pytest.raises(ValueError, match="degree of 1 or more"):
        binder_crossing(temperature, curves, se, [8, 16], degree=0)
    with pytest.raises(ValueError, match="want 8 or more different points"):
        binder_crossing(temperature, curves, se, [8, 16], degree=6)
    for bad in (0 * se, -se, se * math.nan):
        with pytest.raises(ValueError, match="errors that are finite and positive"):
            binder_crossing(temperature, curves, bad, [8, 16])


# Peaks and powers ----------------------------------------------------------------------------------------------------


def test_parabola_peak_is_exact_and_its_errors_cover(generator):
    """7 − 3(x − 2.1)²; then 400 noisy sets: z of unit spread, means within 4 standard errors."""
    control = torch.tensor([1.5, 1.8, 2.0, 2.2, 2.3, 2.9], dtype=torch.float64)
    exact = 7 - 3 * (control - 2.1) ** 2
    se = torch.tensor([0.02, 0.01, 0.03, 0.02, 0.01, 0.04], dtype=torch.float64)
    peak = parabola_peak(control, exact, se)
    assert abs(peak.control_peak - 2.1) <= 1e-14 and abs(peak.height - 7) <= 1e-13
    found = [parabola_peak(control, exact + se * normal(6, generator=generator), se) for _ in range(400)]
    for score in (
        torch.tensor([(one.control_peak - 2.1) / one.control_peak_se for one in found]),
        torch.tensor([(one.height - 7) / one.height_se for one in found]),
    ):
        assert abs(score.mean()) <= 4 / 20 + 0.02 and abs(score.std() - 1) <= 4 / math.sqrt(800) + 0.02


def test_power_law_fit_is_exact_and_its_errors_cover(generator):
    size = torch.tensor([4, 8, 16, 64])
    exact = 0.3 * size.double() ** 1.75
    se = torch.tensor([0.02, 0.01, 0.01, 0.03], dtype=torch.float64) * exact
    law = power_law_fit(size, exact, se)
    assert abs(law.exponent - 1.75) <= 1e-14 and abs(law.amplitude - 0.3) <= 1e-14
    assert law.chi_square <= 1e-20 and law.n_dof == 2
    found = [power_law_fit(size, exact + se * normal(4, generator=generator), se) for _ in range(400)]
    for score in (
        torch.tensor([(one.exponent - 1.75) / one.exponent_se for one in found]),
        torch.tensor([math.log(one.amplitude / 0.3) / one.log_amplitude_se for one in found]),
    ):
        assert abs(score.mean()) <= 4 / 20 + 0.05 and abs(score.std() - 1) <= 4 / math.sqrt(800) + 0.05
    chi_square = sum(one.chi_square for one in found) / 400
    assert abs(chi_square - 2) <= 4 * math.sqrt(4 / 400) + 0.1


def test_power_law_fit_finds_the_exponent_of_the_exact_torus():
    """χ(T_c) ~ L^{γ/ν}, γ/ν = 7/4, from exact tori of 4 to 8 sites a side: corrections to scaling are under 1 %."""
    sizes = [4, 5, 6, 7, 8]
    chi = torch.tensor([torus.susceptibility_transfer(onsager.critical_temperature, 0, size) for size in sizes])
    assert abs(power_law_fit(torch.tensor(sizes), chi, 1e-3 * chi).exponent - 1.75) <= 0.0175


def test_scaling_variable_collapses_the_exact_torus():
    """U_4 as a function of x = (T − T_c)/T_c·L: corrections fall with the size, and are less than those at equal T."""
    x = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    gaps = []
    for small in (3, 4):
        size = torch.tensor([[small], [2 * small]], dtype=torch.float64)
        temperature = onsager.critical_temperature * (1 + x / size)
        assert (scaling_variable(temperature, onsager.critical_temperature, size, 1.0) - x).abs().max() <= 1e-14
        same_x = [torus_cumulant(at, number) for at, number in zip(temperature, (small, 2 * small))]
        gaps.append((same_x[1] - same_x[0]).abs())
        assert (gaps[-1] <= (same_x[1] - torus_cumulant(temperature[1], small)).abs() / 2).all()
    assert (gaps[1] < gaps[0]).all()
    assert scaling_variable(3.0, 2.0, 4, 2.0) == 1.0


def test_finite_size_fits_refuse():
    x, y, se = torch.arange(1.0, 6), torch.tensor([1.0, 2, 3, 2, 1]), torch.ones(5)
    with pytest.raises(ValueError, match="want a maximum inside the control values"):
        parabola_peak(x, -y, se)
    with pytest.raises(ValueError, match="want a maximum inside the control values"):
        parabola_peak(x, x - 0.001 * x**2, se)
    for function in (parabola_peak, power_law_fit):
        with pytest.raises(ValueError, match="want points, values and their errors of one length"):
            function(x, y[:4], se)
        with pytest.raises(ValueError, match="errors that are finite and positive"):
            function(x, y, 0 * se)
        with pytest.raises(ValueError, match="or more different points"):
            function(torch.ones(5), y, se)
    with pytest.raises(ValueError, match="size, value: want positive ones"):
        power_law_fit(x, y - 2, se)
    with pytest.raises(ValueError, match="size, value: want positive ones"):
        power_law_fit(x - 1, y, se)
    for bad in ((2.0, 0.0, 4, 1.0), (2.0, 1.0, 0, 1.0), (2.0, 1.0, 4, -1.0)):
        with pytest.raises(ValueError, match="want it positive"):
            scaling_variable(*bad)
    with pytest.raises(TypeError, match="want numbers or floating-point tensors"):
        scaling_variable(2.0, 1.0, torch.tensor([4, 8]), 1.0)
