"""Sphinx extension: the buttons of a page, and the notebooks they hand out.

Every chapter can be downloaded, offline too: its notebook is copied into the site. With a repository address in
_config.yml a chapter can also be opened in Colab and on Binder, and every page be edited and talked about.
"""

import shutil
import zlib
from pathlib import Path

from colab import FOLDER, commit_of, install_line, requirements, write_copies
from repository import Repository, chapter_stem, edited_file, notebook_of, read_repository

DOWNLOADS = "_downloads/notebooks"


def add_download(_app, docname: str, _template, context: dict, _doctree) -> None:
    """What notebook-download.html links to; nothing on a page that is no chapter."""
    stem = chapter_stem(docname)
    context["notebook_download"] = f"{DOWNLOADS}/{stem}.ipynb" if stem else None


def add_buttons(app, docname: str, _template, context: dict, doctree) -> None:
    """Add to the theme's buttons those that need the address."""
    stem, repository = chapter_stem(docname), read_repository(app.config.html_theme_options)
    if repository and doctree:
        if stem:
            context["header_buttons"].append(launch_group(repository, stem))
        path = edited_file(docname, app.env.doc2path(docname))
        context["header_buttons"].append(source_group(repository, docname, path))


def launch_group(repository: Repository, stem: str) -> dict:
    logo = "_static/images/logo_"
    buttons = [
        link("Colab", "Open this chapter in Colab", f"{logo}colab.png", repository.colab(stem)),
        link("Binder", "Open this chapter on Binder", f"{logo}binder.svg", repository.binder(notebook_of(stem))),
    ]
    return group("Run this chapter elsewhere", "fas fa-rocket", "launch-buttons", buttons)


def source_group(repository: Repository, docname: str, path: str | None) -> dict:
    buttons = [link("Repository", "The repository of this book", "fab fa-github", repository.url)]
    if path:
        buttons.append(link("Edit this page", f"Edit {path}", "fas fa-pencil-alt", repository.edit(path)))
    buttons.append(link("Open an issue", "Say what is wrong here", "fas fa-lightbulb", repository.issue(docname)))
    return group("Source of this page", "fab fa-github", "source-buttons", buttons)


def link(text: str, tooltip: str, icon: str, url: str) -> dict:
    return {"type": "link", "text": text, "tooltip": tooltip, "icon": icon, "url": url}


def group(tooltip: str, icon: str, label: str, buttons: list[dict]) -> dict:
    return {"type": "group", "tooltip": tooltip, "icon": icon, "label": label, "buttons": buttons}


def hand_out_notebooks(app, error: Exception | None) -> None:
    """Copy the notebooks of the chapters into the site; with an address, also the copies that Colab opens."""
    if error or app.builder.format != "html":
        return
    root, site = Path(app.srcdir), Path(app.outdir)
    stems = sorted(filter(None, map(chapter_stem, app.env.found_docs)))
    notebooks = [path for path in (root / notebook_of(stem) for stem in stems) if path.is_file()]
    for folder in (DOWNLOADS, FOLDER):
        shutil.rmtree(site / folder, ignore_errors=True)
    (site / DOWNLOADS).mkdir(parents=True)
    for path in notebooks:
        shutil.copyfile(path, site / DOWNLOADS / path.name)
    repository = read_repository(app.config.html_theme_options)
    if repository:
        version = commit_of(root) or repository.branch
        line = install_line(repository.url, version, requirements(root / "pyproject.toml"))
        write_copies(notebooks, site / FOLDER, line)


def setup(app) -> dict:
    app.connect("html-page-context", add_download, priority=400)  # before the theme drops templates that are empty
    app.connect("html-page-context", add_buttons, priority=502)  # after the theme, whose own buttons come first
    app.connect("build-finished", hand_out_notebooks)
    app.config.templates_path.append(str(Path(__file__).with_name("templates")))
    parts = (Path(__file__).with_name(f"{name}.py").read_bytes() for name in ("page_buttons", "repository"))
    version = zlib.crc32(b"".join(parts))  # a changed extension writes every page anew
    return {"env_version": version, "parallel_read_safe": True, "parallel_write_safe": True}
