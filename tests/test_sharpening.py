"""Widths of changes along a scan, and their powers of the size."""

import math

import pytest
import torch

from latentlib.sharpening import log_slope, rise_width

CONTROL = torch.linspace(0, 2, 9, dtype=torch.float64)


def test_rise_width_of_known_curves():
    line, step = CONTROL, (CONTROL > 1.1).double()
    ramp = ((CONTROL - 0.5) / 1.0).clamp(0, 1)  # knots on the grid: exact
    found = rise_width(CONTROL, torch.stack([line, step, ramp]), least=0.1)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.125, 0.5], dtype=torch.float64), rtol=1e-14, atol=0)


def test_rise_width_of_a_logistic_curve():
    """tanh((x − 1)/w) passes a quarter and three quarters at ±w·artanh(½), far from the ends."""
    control = torch.linspace(0, 2, 20001, dtype=torch.float64)
    for width in (0.02, 0.05):
        found = rise_width(control, torch.tanh((control - 1) / width), least=0.1)
        assert found.item() == pytest.approx(2 * width * math.atanh(0.5), rel=1e-5)


def test_rise_width_ignores_scale_offset_and_sign():
    curves = torch.rand(4, 5, 9, generator=torch.Generator().manual_seed(0)).double().cumsum(-1)
    found = rise_width(CONTROL, curves, least=0.1)
    assert found.shape == (4, 5) and (found > 0).all() and (found < 2).all()
    torch.testing.assert_close(rise_width(CONTROL, 3 - 2 * curves, least=0.1), found)
    torch.testing.assert_close(rise_width(5 * CONTROL - 1, curves, least=0.1), 5 * found)


def test_rise_width_of_no_change_is_the_scan():
    flat, small = torch.ones(9), 0.01 * CONTROL
    assert rise_width(CONTROL, torch.stack([flat, small]), least=0.05).tolist() == [2, 2]
    assert rise_width(CONTROL, flat, least=0.0).item() == 2  # no change at all has no width, however little counts
    assert rise_width(CONTROL, small, least=0.0).item() == pytest.approx(1)


def test_log_slope_is_the_exponent():
    size = torch.tensor([8.0, 16.0, 32.0, 128.0])
    power = torch.tensor([-0.5, 0.0, 2.0], dtype=torch.float64)
    values = torch.log(3 * size.double() ** power[:, None])
    torch.testing.assert_close(log_slope(size, values), power, rtol=1e-13, atol=1e-14)


def test_log_slope_is_least_squares():
    size, values = torch.tensor([2.0, 3.0, 7.0]), torch.tensor([1.0, -1.0, 4.0], dtype=torch.float64)
    columns = torch.stack([size.double().log(), torch.ones(3, dtype=torch.float64)], 1)
    assert log_slope(size, values).item() == pytest.approx(torch.linalg.lstsq(columns, values[:, None]).solution[0].item())


@pytest.mark.parametrize(("call", "message"), [
    (lambda: rise_width(CONTROL.flip(0), torch.ones(9), least=0.1), "control: want two or more finite numbers, rising"),
    (lambda: rise_width(CONTROL[:1], torch.ones(1), least=0.1), "control: want two or more"),
    (lambda: rise_width(CONTROL, torch.ones(8), least=0.1), r"curves: want finite values \(..., 9\), got \(8,\)"),
    (lambda: rise_width(CONTROL, torch.full((9,), math.nan), least=0.1), "curves: want finite values"),
    (lambda: rise_width(CONTROL, torch.ones(9), least=-1.0), "least: want 0 or more, got -1"),
    (lambda: log_slope([4, 4], torch.ones(2)), "size: want two or more positive numbers that differ"),
    (lambda: log_slope([-4, 4], torch.ones(2)), "size: want two or more positive"),
    (lambda: log_slope([2, 4], torch.ones(3)), r"values: want finite values \(..., 2\), got \(3,\)"),
])  # fmt: skip
def test_sharpening_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
