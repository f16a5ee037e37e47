"""Figures: colors that stay apart for every eye, images with alternative text, sliders that stand alone."""

import base64
import io
import json
import re
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from PIL import Image

matplotlib.use("agg")

from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.colors import to_rgb  # noqa: E402

from latentlib import style  # noqa: E402

# Color vision deficiency at full strength, in linear RGB: Machado, Oliveira and Fernandes (2009).
EYES = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def linear(color: str) -> np.ndarray:
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def cielab(rgb: np.ndarray) -> np.ndarray:
    matrix = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    white = np.array([0.95047, 1.0, 1.08883])
    xyz = matrix @ np.clip(rgb, 0, 1) / white
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.fixture(autouse=True)
def fresh():
    with matplotlib.rc_context():
        style.use()
        yield
    plt.close("all")


@pytest.fixture
def displayed(monkeypatch):
    """What the code displayed, as (data, metadata)."""
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, metadata, raw: shown.append((data, metadata)))
    return shown


def drawing(level: float = 0.5, size: tuple[float, float] = (4.0, 2.5)):
    fig, ax = plt.subplots(figsize=size)
    ax.plot([0, level, 1])
    return fig


def pixels(data: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))


@pytest.mark.parametrize("eye", EYES)
def test_colors_stay_apart_for_every_eye(eye):
    """CIELAB distance at least 15: far above the 2.3 that is just noticeable, for lines a few pixels wide."""
    seen = {name: cielab(EYES[eye] @ linear(color)) for name, color in style.COLOR.items()}
    close = {(a, b) for a, b in combinations(seen, 2) if np.linalg.norm(seen[a] - seen[b]) < 15}
    assert close == set()


def test_colors_stand_out_from_white():
    """Contrast at least 3 to 1, WCAG 2.1 criterion 1.4.11 for graphics."""
    luminance = {name: linear(color) @ [0.2126, 0.7152, 0.0722] for name, color in style.COLOR.items()}
    assert {name for name, light in luminance.items() if 1.05 / (light + 0.05) < 3} == set()


def test_colors_and_markers_name_the_same_concepts_once():
    assert style.COLOR.keys() == style.MARKER.keys()
    assert len(set(style.COLOR.values())) == len(set(style.MARKER.values())) == len(style.COLOR)


def test_use_leaves_text_legible_on_a_phone():
    """Default width shown in the 352 pixels that the page has at 390: no text under 8 CSS pixels."""
    width = plt.rcParams["figure.figsize"][0]
    texts = ("font.size", "axes.labelsize", "axes.titlesize", "legend.fontsize", "xtick.labelsize", "ytick.labelsize")
    assert min(plt.rcParams[name] for name in texts) / 72 * 352 / width >= 8
    assert width <= style.MAX_WIDTH


def test_show_gives_an_opaque_image_with_its_alternative_text(displayed):
    style.show(drawing(), alt="a line rises", caption="A line.", target="fig-line")
    (data, metadata), caption = displayed
    assert (pixels(data["image/png"])[..., 3] == 255).all()
    assert metadata["image/png"]["alt"] == data["text/plain"] == "a line rises"
    assert metadata["latentlib"] == {"alt": "a line rises", "caption": "A line.", "target": "fig-line"}
    assert caption == ({"text/markdown": "A line.", "text/plain": "A line."}, {"latentlib": {"is_caption": True}})


def test_show_doubles_the_pixels_and_closes_the_figure(displayed):
    style.show(drawing(size=(4.0, 2.5)), alt="a line")
    data, metadata = displayed[0]
    assert pixels(data["image/png"]).shape[1] == 2 * metadata["image/png"]["width"]
    assert plt.get_fignums() == []


@pytest.mark.parametrize("options, message", [
    ({"alt": " "}, "alt: want a sentence"),
    ({"alt": "a", "target": "fig"}, "target 'fig': want a caption"),
])
def test_show_refuses_a_figure_that_cannot_be_read_or_cited(options, message):
    with pytest.raises(ValueError, match=message):
        style.show(drawing(), **options)


def test_show_refuses_a_figure_too_wide_for_a_phone():
    with pytest.raises(ValueError, match="at most 6 inches wide .* got 9; stack the panels"):
        style.show(drawing(size=(9, 3)), alt="a")


def slider_page(displayed, levels=(0.1, 0.5, 0.9), **options) -> str:
    labels = [f"{level:g}" for level in levels]
    style.slider((drawing(level) for level in levels), labels, "price", "nats", alt="a <line>", **options)
    return displayed[0][0]["text/html"]


def test_slider_holds_every_frame_once_and_no_outside_address(displayed):
    page = slider_page(displayed)
    frames = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page).group(1))
    assert [value for _, value in frames] == ["0.1 nats", "0.5 nats", "0.9 nats"]
    images = [pixels(source.removeprefix("data:image/webp;base64,")) for source, _ in frames]
    assert all((image[..., 3] == 255).all() for image in images)
    assert not (images[0] == images[1]).all()
    assert re.findall(r"https?:|(?:src|href)=\"(?!data:)", page) == []


def test_slider_stands_on_its_first_frame_without_script(displayed):
    page = re.sub(r"<script.*?</script>", "", slider_page(displayed), flags=re.S)
    assert page.count("<img") == 1
    assert 'alt="a &lt;line&gt; price = 0.1 nats"' in page
    assert '<label style="display:none' in page


def test_slider_is_the_same_for_the_same_frames(displayed):
    """Else a chapter executed again would differ from itself."""
    slider_page(displayed)
    slider_page(displayed)
    assert displayed[0] == displayed[1]


def test_slider_keeps_caption_and_target(displayed):
    slider_page(displayed, caption="Move it.", target="fig-move")
    assert displayed[0][1]["latentlib"] == {"alt": "a <line>", "caption": "Move it.", "target": "fig-move"}


def test_slider_takes_one_figure_at_a_time(displayed):
    open_figures = []

    def frames():
        for level in (0.1, 0.2, 0.3):
            open_figures.append(len(plt.get_fignums()))
            yield drawing(level)

    style.slider(frames(), ["1", "2", "3"], "price", alt="a")
    assert open_figures == [0, 0, 0]


@pytest.mark.parametrize("sizes, labels, message", [
    ([], [], "at least one frame, got 0 and 0"),
    ([(4, 2)], ["1", "2"], "one label per frame .* got 2 and 1"),
    ([(4, 2), (4, 3)], ["1", "2"], "frames of one size"),
])
def test_slider_refuses_frames_that_do_not_fit(sizes, labels, message):
    with pytest.raises(ValueError, match=message):
        style.slider((drawing(size=size) for size in sizes), labels, "price", alt="a")


def test_live_redraws_when_a_control_moves(monkeypatch):
    shown, drawn = [], []
    monkeypatch.setattr("IPython.display.display", shown.append)

    def draw(level, power):
        drawn.append((level, power))
        return drawing(level**power)

    style.live(draw, alt="a <line>", level=(0.0, 1.0, 0.25), power=[1, 2])
    (box,) = shown
    level, power, picture = box.children
    before = picture.value
    level.value = 0.75
    assert picture.value != before
    power.value = 2
    assert drawn == [(0.5, 1), (0.75, 1), (0.75, 2)]
    assert 'alt="a &lt;line&gt;"' in picture.value
    assert level.description == "level"
    assert plt.get_fignums() == []


def test_live_makes_no_output_widget(monkeypatch):
    """A client that runs a notebook without a reader answers an Output widget, and may hang on it."""
    import ipywidgets

    monkeypatch.setattr("IPython.display.display", lambda box: None)
    monkeypatch.setattr(ipywidgets.Output, "__init__", lambda *_, **__: pytest.fail("an Output widget was made"))
    style.live(drawing, alt="a line", level=(0.0, 1.0))


def test_live_refuses_no_alternative_text_and_no_usable_control():
    with pytest.raises(ValueError, match="alt: want a sentence"):
        style.live(drawing, alt="", level=(0.0, 1.0))
    with pytest.raises(ValueError, match="live: want widgets or their abbreviations"):
        style.live(drawing, alt="a line")
    with pytest.raises(ValueError, match="live: want widgets or their abbreviations"):
        style.live(drawing, alt="a line", level=object())
