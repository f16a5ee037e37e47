"""Sphinx extension of the book: what the site makes of executed chapters, and what it refuses.

Chapters are read as papermill left them; nothing is written back. Widget views and widget state go (they would load
scripts from a CDN), figures shown by `latentlib.style` get number, caption and alternative text, and a figure without
alternative text or a chapter that is not executed stops the build.
"""

import inspect
import json
import re
import zlib
from importlib import import_module
from pathlib import Path

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx_external_toc.parsing import parse_toc_yaml

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
log = logging.getLogger(__name__)


def require_pages(app, config) -> None:
    """One sentence instead of a page of warnings where the generated pages are not there yet."""
    root = Path(app.srcdir)
    pages = parse_toc_yaml(root / config.external_toc_path)
    missing = [page for page in pages if not list(root.glob(f"{page}.[mi]*"))]  # .md or .ipynb
    if missing:
        # SystemExit ends with the sentence; any other exception buries it under Jupyter Book's traceback.
        raise SystemExit(f"run `make book`: it makes the pages this site still lacks ({', '.join(missing)})")


def prepare_chapter(app, docname: str, source: list[str]) -> None:
    """On reading an executed notebook: drop the widgets, set the figures."""
    if app.env.doc2path(docname).endswith(".ipynb"):
        notebook = json.loads(source[0])
        notebook["metadata"].pop("widgets", None)
        notebook["cells"] = [part for cell in notebook["cells"] for part in split_cell(cell)]
        source[0] = json.dumps(notebook)


def split_cell(cell: dict) -> list[dict]:
    """The cell without widget views; each figure, and what follows it, in a cell of its own that shows no code.

    MyST takes captions and alternative text from the metadata of a cell, so a figure shares its cell with nothing else.
    """
    if cell["cell_type"] != "code":
        return [cell]
    parts = [{**cell, "outputs": []}]
    for output in cell["outputs"]:
        figure = output.get("metadata", {}).get("latentlib", {})
        if "alt" in figure:
            parts += [figure_cell(cell, output, figure), bare_cell(cell)]
        elif WIDGET_VIEW not in output.get("data", {}) and not figure.get("is_caption"):
            parts[-1]["outputs"].append(output)
    parts = parts[:1] + [part for part in parts[1:] if part["outputs"]]
    for number, part in enumerate(parts[1:], 1):
        part["id"] = f"{cell.get('id', 'cell')}-{number}"
    return parts


def figure_cell(cell: dict, output: dict, figure: dict) -> dict:
    mystnb = {"image": {"alt": figure["alt"]}}
    if "caption" in figure:
        mystnb["figure"] = {"caption": figure["caption"], **({"name": figure["target"]} if "target" in figure else {})}
    part = bare_cell(cell)
    part["metadata"]["mystnb"] = mystnb
    # The text beside the picture is the alternative text itself: no reader needs it twice.
    data = {kind: value for kind, value in output["data"].items() if kind != "text/plain"}
    return {**part, "outputs": [{**output, "data": data}]}


def bare_cell(cell: dict) -> dict:
    """A cell for outputs alone. Its code is not shown, but MyST skips a cell that has none."""
    return {**cell, "source": "pass", "outputs": [], "metadata": {"tags": ["remove-input"]}}


def require_alt_text(app, doctree) -> None:
    cure = "show figures with latentlib.style.show(fig, alt=...)"
    for image in doctree.findall(nodes.image):
        if not image.get("alt"):
            log.warning(f"image without alternative text: {cure}", location=image)


class PublicApi(SphinxDirective):
    """`public-api`: every public function and class of latentlib, its signature and docstring as the code has them."""

    def run(self) -> list[nodes.Node]:
        package = import_module("latentlib")
        modules = [import_module(f"latentlib.{name}") for name in package.MODULES]
        for module in modules:
            self.env.note_dependency(module.__file__)
        return [module_section(module, members) for module, members in public_api(modules) if members]


def public_api(modules: list) -> list[tuple]:
    """(module, its public functions and classes by name); a name shown under its public face is not shown again."""
    shown, api = set(), []
    for module in modules:
        members = {name: member for name, member in public_members(module).items() if member not in shown}
        shown.update(members.values())
        api.append((module, members))
    return api


def public_members(module) -> dict[str, object]:
    """What `__all__` names, else what the module itself defines."""
    names = getattr(module, "__all__", None) or [
        name for name, member in vars(module).items()
        if not name.startswith("_") and getattr(member, "__module__", "") == module.__name__
    ]
    members = {name: getattr(module, name) for name in names}
    return {name: member for name, member in members.items() if inspect.isfunction(member) or inspect.isclass(member)}


def module_section(module, members: dict[str, object]) -> nodes.section:
    section = titled(nodes.section(ids=[anchor(module.__name__)]), module.__name__)
    section += paragraphs(inspect.getdoc(module))
    for name, member in members.items():
        entry = titled(nodes.section(ids=[anchor(module.__name__, name)]), name)
        entry += nodes.literal_block(text=f"{name}{signature(member)}", language="python")
        entry += paragraphs(inspect.getdoc(member))
        section += entry
    return section


def anchor(*names: str) -> str:
    return "-".join(names).replace(".", "-").replace("_", "-").lower()


def signature(member) -> str:
    try:
        return str(inspect.signature(member))
    except ValueError:  # a class that takes its signature from C, such as an exception
        return ""


def titled(section: nodes.section, title: str) -> nodes.section:
    section += nodes.title(text=title)
    return section


def paragraphs(docstring: str | None) -> list[nodes.Element]:
    """Plain text, never parsed, so a formula with asterisks or bars stays as written; indented blocks stay in lines."""
    blocks = re.split(r"\n\n+|\n(?=(?:Args|Returns|Raises|Source|Fields):)", docstring or "")
    return [
        nodes.literal_block(text=block, language="text") if block.startswith(" ") else nodes.paragraph(text=block)
        for block in blocks if block
    ]


def mend_citations(app, pagename, templatename, context, doctree) -> None:
    """Citations stand in a list: give them the role of its items (docutils' own is deprecated)."""
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app) -> dict:
    app.connect("html-page-context", mend_citations)
    app.connect("config-inited", require_pages)
    app.connect("source-read", prepare_chapter)
    app.connect("doctree-read", require_alt_text)
    app.add_directive("public-api", PublicApi)
    # A changed extension reads every page anew.
    version = zlib.crc32(Path(__file__).read_bytes())
    return {"env_version": version, "parallel_read_safe": True, "parallel_write_safe": True}
