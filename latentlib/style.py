"""Figures of the book: one look, one color per concept, alternative text always, and a slider that needs no kernel."""

import base64
import hashlib
import html
import io
import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Same color = same thing through the whole book. Every pair stays apart for every kind of color vision (CIELAB
# distance at least 15 under protanopia, deuteranopia and tritanopia), and every color stands out from white (contrast
# at least 3).
COLOR = {
    "collapse": "#C46A00",   # signal fraction, threshold, utility
    "overlap": "#2E9BDA",    # overlaps, susceptibility, participation ratio
    "angles": "#117733",     # hyperspherical angles
    "attractor": "#AA4499",  # Jacobian of f = E∘D
    "hessian": "#332288",    # Fisher and pull-back metric
    "rate": "#882255",       # rate in nats
    "pca": "#000000",        # the known answer: PCA share, closed form
    "null": "#8A8A8A",       # the null model
}
# A second sign beside the color, for print and for marks that overlap.
MARKER = {
    "collapse": "o",
    "overlap": "s",
    "angles": "^",
    "attractor": "D",
    "hessian": "v",
    "rate": "P",
    "pca": "x",
    "null": ".",
}

# A figure 5.6 inches wide is shown at most 638 CSS pixels wide; on a phone of 390 pixels its 10.5-point text is still
# 9 pixels high. Wider than MAX_WIDTH the text would be too small: stack the panels instead.
MAX_WIDTH = 6.0
_CSS_PX_PER_INCH = 114


def use() -> None:
    """Set matplotlib's rc once for a chapter: opaque white background, legible sizes, the book's color order."""
    import matplotlib as mpl

    mpl.rcParams.update({
        "figure.figsize": (5.6, 3.6),
        "figure.constrained_layout.use": True,
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "savefig.transparent": False,
        "font.size": 10.5,
        "axes.titlesize": 10.5,
        "axes.labelsize": 10.5,
        "legend.fontsize": 9.5,
        "xtick.labelsize": 9.5,
        "ytick.labelsize": 9.5,
        "legend.edgecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#E2E2E2",
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.6,
        "lines.markersize": 5,
        "axes.prop_cycle": mpl.cycler(color=[COLOR[name] for name in COLOR if name != "null"]),
    })


def show(fig: "Figure", *, alt: str, caption: str | None = None, target: str | None = None) -> None:
    """Display `fig` as an image with alternative text `alt`, close it, and give it a numbered caption in the book.

    caption, Markdown with math between dollars; target, a name that other pages cite with {numref}; alt says what the
    figure shows, with its finding, to a reader who does not see it. Raises ValueError for an empty alt, a target
    without caption, or a figure wider than MAX_WIDTH inches (its text would be too small on a phone).
    """
    from IPython.display import display

    figure = _book_figure(alt, caption, target)
    data = base64.b64encode(_render(fig, "png")).decode()
    size = {"width": _css_width(fig), "alt": alt}
    display({"image/png": data, "text/plain": alt}, metadata={"image/png": size, **figure}, raw=True)
    _close(fig)
    _display_caption(caption)


def slider(
    frames: "Iterable[Figure]", labels: Sequence[str], name: str, unit: str = "", *,
    alt: str, caption: str | None = None, target: str | None = None,
) -> None:
    """Display pre-rendered `frames` under a native range input, one frame per label: no kernel, no network.

    frames, figures of equal size, taken (and closed) one at a time, so a generator serves; labels, the value of the
    quantity `name` in `unit` at each frame, as text. Works by mouse, touch and keyboard; without JavaScript the first
    frame stands. Raises ValueError for no frames, another number of labels than of frames, frames of unequal size, and
    whatever `show` refuses.
    """
    from IPython.display import display

    figure = _book_figure(alt, caption, target)
    sources, sizes = [], []
    for fig in frames:
        sizes.append((_css_width(fig), round(fig.get_figheight() * _CSS_PX_PER_INCH)))
        # Lossless WebP: drawn lines take a fourth of the bytes of PNG.
        sources.append("data:image/webp;base64," + base64.b64encode(_render(fig, "webp")).decode())
        _close(fig)
    if not sources or len(sources) != len(labels):
        counts = f"{len(labels)} and {len(sources)}"
        raise ValueError(f"slider: want one label per frame and at least one frame, got {counts}")
    if len(set(sizes)) > 1:
        raise ValueError(f"slider: want frames of one size, got {sorted(set(sizes))} CSS pixels")
    page = _slider_html(sources, [f"{label} {unit}".strip() for label in labels], name, alt, sizes[0])
    display({"text/html": page, "text/plain": alt}, metadata=figure, raw=True)
    _display_caption(caption)


def live(draw: "Callable[..., Figure]", *, alt: str, **controls) -> None:
    """Redraw draw(**values) -> Figure in Jupyter as the reader moves ipywidgets controls (one per keyword).

    A control is a widget or an abbreviation that ipywidgets.interactive takes: (low, high, step), a list, a number. The
    site has no kernel and shows nothing of it: put the `slider` of the same `draw` beside it. Raises ValueError for an
    empty alt, no control, or one that ipywidgets cannot make.
    """
    import ipywidgets
    from IPython.display import display

    _book_figure(alt, None, None)
    inputs = {name: ipywidgets.interactive.widget_from_abbrev(control) for name, control in controls.items()}
    if not inputs or None in inputs.values():
        raise ValueError(f"live: want widgets or their abbreviations, such as price=(0.01, 1.0, 0.01), got {controls}")
    # A picture and no Output widget: papermill's client answers an Output widget in the midst of the cell that makes
    # it, and then hangs now and then (2 of 8 runs; without one, 0 of 12).
    picture = ipywidgets.HTML()

    def redraw(_change=None) -> None:
        fig = draw(**{name: control.value for name, control in inputs.items()})
        data = base64.b64encode(_render(fig, "png", _CSS_PX_PER_INCH)).decode()
        picture.value = f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt)}" style="max-width:100%">'
        _close(fig)

    for name, control in inputs.items():
        control.description = control.description or name
        control.observe(redraw, names="value")
    redraw()
    display(ipywidgets.VBox([*inputs.values(), picture]))


def _book_figure(alt: str, caption: str | None, target: str | None) -> dict:
    """Output metadata from which the site makes a numbered figure with alternative text."""
    if not alt.strip():
        raise ValueError("alt: want a sentence that says what the figure shows, got an empty one")
    if target and not caption:
        raise ValueError(f"target {target!r}: want a caption, a figure without one has no number to cite")
    figure = {"alt": alt, "caption": caption, "target": target}
    return {"latentlib": {key: value for key, value in figure.items() if value}}


def _display_caption(caption: str | None) -> None:
    """The caption where the notebook is read in Jupyter; the site drops this output and sets its own."""
    if caption:
        from IPython.display import display

        data = {"text/markdown": caption, "text/plain": caption}
        display(data, metadata={"latentlib": {"is_caption": True}}, raw=True)


def _css_width(fig: "Figure") -> int:
    inches = fig.get_figwidth()
    if inches > MAX_WIDTH:
        want = f"at most {MAX_WIDTH:g} inches wide (legible on a phone)"
        raise ValueError(f"figure: want {want}, got {inches:g}; stack the panels")
    return round(inches * _CSS_PX_PER_INCH)


def _render(fig: "Figure", file_format: str, dpi: int = 2 * _CSS_PX_PER_INCH) -> bytes:
    options = {"pil_kwargs": {"lossless": True, "quality": 50, "method": 2}} if file_format == "webp" else {}
    buffer = io.BytesIO()
    fig.savefig(buffer, format=file_format, dpi=dpi, **options)
    return buffer.getvalue()


def _close(fig: "Figure") -> None:
    """Else the inline backend would show it a second time at the end of the cell."""
    import matplotlib.pyplot as plt

    plt.close(fig)


def _slider_html(sources: list[str], values: list[str], name: str, alt: str, size: tuple[int, int]) -> str:
    """Self-contained: only the first frame is in the page's tree, the control is invisible until the script runs."""
    frames = _script_json(list(zip(sources, values)))
    return _SLIDER.format(
        key=hashlib.sha256(frames.encode()).hexdigest()[:12],
        frames=frames,
        alt_start=_script_json(f"{alt} {name} = "),
        alt=html.escape(f"{alt} {name} = {values[0]}"),
        name=html.escape(name),
        value=html.escape(values[0]),
        source=sources[0],
        last=len(sources) - 1,
        width=size[0],
        height=size[1],
    )


def _script_json(content: str | list) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(content).replace("</", "<\\/")


# data-lm-suppress-shortcuts: JupyterLab leaves the arrow keys to the input.
_SLIDER = """\
<div class="latent-slider" data-slider="{key}" data-lm-suppress-shortcuts="true">
<img src="{source}" alt="{alt}" width="{width}" height="{height}" style="max-width:100%;height:auto">
<label style="display:none;align-items:center;gap:.75em;flex-wrap:wrap;max-width:{width}px">
<span>{name}</span>
<input type="range" min="0" max="{last}" value="0" aria-valuetext="{value}" style="flex:1 1 10em;min-height:2.75em">
<output style="min-width:7em;font-variant-numeric:tabular-nums">{value}</output></label>
<script type="application/json">{frames}</script>
<script>
for (const slider of document.querySelectorAll('[data-slider="{key}"]')) {{
  const [image, label, data] = ["img", "label", "script"].map(tag => slider.querySelector(tag));
  const [input, output] = ["input", "output"].map(tag => label.querySelector(tag));
  const frames = JSON.parse(data.textContent);
  label.style.display = "flex";
  input.oninput = () => {{
    const [source, value] = frames[input.value];
    image.src = source;
    image.alt = {alt_start} + value;
    output.textContent = value;
    input.setAttribute("aria-valuetext", value);
  }};
  input.oninput();
}}
</script>
</div>
"""
