"""Laws of the artefact scores and controls: what compresses, where the power is, what a control keeps."""

import math
import zlib
from itertools import product

import pytest
import torch

from latentlib import artefacts


@pytest.fixture
def images(generator) -> torch.Tensor:
    return torch.rand(6, 3, 16, 12, generator=generator, dtype=torch.float64)


# File size


def test_file_size_score_of_noise_is_its_bytes(images):
    """What is independent does not compress: stored as it is, in 11 bytes of frame."""
    noise = (images * 256).to(torch.uint8)
    assert artefacts.file_size_score(noise).tolist() == [16 * 12 * 3 + 11] * 6


def test_file_size_score_predicts_as_paeth(generator):
    """The Paeth residual of PNG (ISO 15948, 9.4), pixel by pixel."""
    height, width = 9, 8
    # Few levels make ties between the three neighbors.
    for levels in (4, 30, 256):
        image = torch.randint(levels, (2, height, width), generator=generator)
        rest = []
        for i, j, c in product(range(height), range(width), range(2)):
            left, up, corner = (
                int(image[c, y, x]) if x >= 0 and y >= 0 else 0 for y, x in ((i, j - 1), (i - 1, j), (i - 1, j - 1))
            )
            guess = min((left, up, corner), key=lambda near: abs(left + up - corner - near))  # the first of equals
            rest.append((int(image[c, i, j]) - guess) % 256)
        found = artefacts.file_size_score(image.to(torch.uint8)[None]).item()
        assert found == len(zlib.compress(bytes(rest), 9)), levels


def test_file_size_score_rises_with_complexity(images):
    controls = artefacts.simple_controls(images, seed=0)
    size = {name: artefacts.file_size_score(of).mean().item() for name, of in controls.items()}
    assert size["constant"] < size["blurred"] < size["noise"]


def test_file_size_score_rounds_to_the_levels_of_a_file(images):
    levels = (images * 255).round().to(torch.uint8)
    found = artefacts.file_size_score(images)
    assert torch.equal(found, artefacts.file_size_score(levels))
    assert torch.equal(found, artefacts.file_size_score(levels.double() / 255))
    assert found.dtype == torch.float64 and found.shape == (6,)


# High frequencies


def test_high_frequency_energy_of_one_wave_is_all_or_nothing():
    position = torch.arange(16, dtype=torch.float64)
    for cycles, expected in ((1, 0.0), (3, 0.0), (4, 0.0), (5, 1.0), (8, 1.0)):
        wave = 0.5 + 0.4 * (2 * math.pi * cycles / 16 * position).cos()
        found = artefacts.high_frequency_energy(wave.expand(1, 2, 16, 16))
        # cycles/16 > 0.25 from 5 on. Rounding of the transform: 10⁻¹⁶ relative to the amplitude, squared.
        assert found.item() == pytest.approx(expected, abs=1e-12), cycles


def test_high_frequency_energy_adds_over_waves():
    """0.3 cos at 2/16 and 0.1 cos at 7/16: shares 9 and 1 of the power."""
    position = 2 * math.pi / 16 * torch.arange(16, dtype=torch.float64)
    x = 0.5 + 0.3 * (2 * position).cos()[:, None] + 0.1 * (7 * position).cos()
    assert artefacts.high_frequency_energy(x[None, None]).item() == pytest.approx(0.1, rel=1e-12)


def test_high_frequency_energy_of_white_noise_is_the_share_of_frequencies(generator):
    x = torch.rand(4000, 1, 16, 16, generator=generator, dtype=torch.float64)
    frequency = torch.fft.fftfreq(16)
    above = (frequency[:, None].square() + frequency.square() > 0.25**2).sum().item() / 255
    found = artefacts.high_frequency_energy(x)
    assert abs(found.mean().item() - above) <= 4 * found.std().item() / math.sqrt(4000)
    wide = torch.fft.fftfreq(1000)
    share = (wide[:, None].square() + wide.square() > 0.25**2).double().mean().item()
    assert share == pytest.approx(1 - math.pi / 16, abs=1e-3)  # the 0.80 of the docstring


def test_high_frequency_energy_keeps_under_contrast_and_brightness(images):
    found = artefacts.high_frequency_energy(images)
    assert torch.allclose(artefacts.high_frequency_energy(0.3 + 0.2 * images), found, rtol=1e-12)
    assert torch.allclose(artefacts.high_frequency_energy(1 - images), found, rtol=1e-12)


def test_high_frequency_energy_of_constant_images_is_zero():
    for value in (0.0, 0.1, 1.0):  # the mean of equal 0.1 is not 0.1
        one = torch.full((1, 3, 8, 9), value, dtype=torch.float64)
        assert artefacts.high_frequency_energy(one).item() == 0
    colour = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1).expand(1, 3, 7, 5)
    assert artefacts.high_frequency_energy(colour).item() == 0


# Controls


def test_simple_controls_keep_what_they_say(images):
    controls = artefacts.simple_controls(images, seed=0)
    assert list(controls) == ["constant", "blurred", "noise"]
    assert all(of.shape == images.shape and of.dtype == images.dtype for of in controls.values())
    assert torch.allclose(controls["constant"].mean((2, 3)), images.mean((2, 3)), rtol=1e-14)
    assert controls["constant"].flatten(2).std(2).max() <= 1e-15
    assert torch.equal(controls["noise"], artefacts.simple_controls(images, seed=0)["noise"])
    assert not torch.equal(controls["noise"], artefacts.simple_controls(images, seed=1)["noise"])
    values = controls["noise"].flatten()
    # A uniform value has mean 1/2, variance 1/12; its square a variance of 1/180.
    n = math.sqrt(len(values))
    assert abs(values.mean() - 1 / 2) <= 4 / math.sqrt(12) / n and abs(values.var() - 1 / 12) <= 4 / math.sqrt(180) / n


def test_simple_controls_blur_is_a_gaussian():
    """Far from the border a point spreads to e^(−r²/2s²)/2πs²: separable, of mass one, less the taps past 3 s."""
    x = torch.zeros(1, 1, 31, 31, dtype=torch.float64)
    x[0, 0, 15, 15] = 1
    found = artefacts.simple_controls(x, blur=1.5, seed=0)["blurred"][0, 0]
    offset = torch.arange(31, dtype=torch.float64) - 15
    profile = (-offset.square() / (2 * 1.5**2)).exp() / (1.5 * math.sqrt(2 * math.pi))
    assert found.sum().item() == pytest.approx(1, abs=1e-14)
    # The mass past 3 s (radius 5 ≥ 4.5) is 0.27 %, which normalisation gives to the taps, twice.
    assert torch.allclose(found, profile[:, None] * profile, rtol=0, atol=0.006 * found.max().item())
    assert torch.equal(found, found.T)


def test_simple_controls_blur_keeps_constants_and_lowers_high_frequencies(images):
    assert torch.allclose(
        artefacts.simple_controls(torch.full_like(images, 0.3), seed=0, blur=1.0)["blurred"],
        torch.full_like(images, 0.3), rtol=1e-14,
    )  # fmt: skip
    blurred = artefacts.simple_controls(images, seed=0, blur=1.0)["blurred"]
    assert (artefacts.high_frequency_energy(blurred) < 0.5 * artefacts.high_frequency_energy(images)).all()


# Errors


@pytest.mark.parametrize(
    "bad, message",
    [
        (torch.rand(3, 8, 8), r"want \(n_images > 0, .* got \(3, 8, 8\)"),
        (torch.rand(0, 3, 8, 8), "n_images > 0"),
        (torch.rand(1, 3, 8, 8) * 255, r"floating in \[0, 1\], got torch.float32"),
        (torch.ones(1, 3, 8, 8, dtype=torch.int64), "got torch.int64"),
        (torch.full((1, 3, 8, 8), math.nan), r"floating in \[0, 1\]"),
        ("image", "got str"),
    ],
)
def test_artefacts_refuse_bad_images(bad, message):
    for function in (
        artefacts.file_size_score, artefacts.high_frequency_energy, lambda x: artefacts.simple_controls(x, seed=0)
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            function(bad)


def test_artefacts_refuse_bad_options(images):
    for cut in (0, 0.8, math.nan):
        with pytest.raises(ValueError, match="cut: want a frequency"):
            artefacts.high_frequency_energy(images, cut=cut)
    for blur in (0, -1, 4, math.nan, math.inf):
        with pytest.raises(ValueError, match="blur: want 0 < 3 blur <= 11 pixels"):
            artefacts.simple_controls(images, blur=blur, seed=0)
    with pytest.raises(ValueError, match="want floating values, got torch.uint8"):
        artefacts.simple_controls(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), seed=0)
