#!/usr/bin/env python3
"""Copies of the notebooks for Colab: a first cell installs latentlib from the repository, the rest is unchanged.

usage: python3 .ci/colab.py [REMOTE]      (standard library only; the default remote is origin)

The build writes them into the site once _config.yml has an address. This command puts them, and nothing else, on the
branch gh-pages of a remote, where the Colab buttons look for them.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

BRANCH, FOLDER = "gh-pages", "colab"
SITE = Path(__file__).resolve().parents[1] / "book" / "_build" / "html"
# Of the extra `book`: what the notebook server, the site and the command line need, and what comes with Colab's own
# torch. These stay as Colab has them.
LEFT_TO_COLAB = {
    *("ipykernel", "ipywidgets", "jupyter-book", "jupyterlab", "jupytext", "papermill", "sphinx-mathjax-offline"),
    *("pypdf", "torchvision", "triton", "typer"),
}
NOTE = "# Added on publication: Colab has no latentlib. It is installed as of the commit that made the page."
AUTHOR = ("-c", "user.name=latentlib", "-c", "user.email=latentlib@users.noreply.github.com")


def requirements(pyproject: Path) -> list[str]:
    """What the chapters import beside latentlib and its core: the extra `book` without what Colab brings."""
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    extra = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["optional-dependencies"]["book"]
    return [text for text in extra if requirement_name(text) not in LEFT_TO_COLAB]


def requirement_name(text: str) -> str:
    return text.split(";")[0].split("[")[0].split(">")[0].split("=")[0].split("<")[0].strip().lower()


def install_line(address: str, version: str, beside: list[str]) -> str:
    """The line of the first cell: latentlib from `address` at a commit or branch, and the packages beside it."""
    wanted = [f"latentlib @ git+{address}@{version}", *beside]
    return "%pip install --quiet " + " ".join(f'"{text}"' for text in wanted)


def with_install_cell(notebook: dict, line: str) -> dict:
    cell = {"cell_type": "code", "id": "install", "metadata": {}, "execution_count": None, "outputs": []}
    return {**notebook, "cells": [{**cell, "source": [f"{NOTE}\n", line]}, *notebook["cells"]]}


def write_copies(notebooks: list[Path], folder: Path, line: str) -> None:
    """Write each notebook, with the install line in front, under its own name into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for notebook in notebooks:
        copy = with_install_cell(json.loads(notebook.read_text(encoding="utf-8")), line)
        (folder / notebook.name).write_text(json.dumps(copy, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def commit_of(root: Path) -> str | None:
    """The commit of the checkout at `root`; None where there is none."""
    try:
        done = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True)
    except OSError:  # no git
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def push_copies(site: Path, remote: str, checkout: Path) -> str:
    """Replace the branch by one commit that holds the folder alone, and return it; the checkout stays as it is."""
    with tempfile.TemporaryDirectory() as folder:
        own_index = {**os.environ, "GIT_INDEX_FILE": str(Path(folder) / "index")}

        def git(*words: str) -> str:
            command = ["git", "-C", str(checkout), *AUTHOR, *words]
            return subprocess.run(command, env=own_index, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

        git(f"--work-tree={site.resolve()}", "add", "--force", str((site / FOLDER).resolve()))
        commit = git("commit-tree", git("write-tree"), "-m", f"colab: the notebooks of {commit_of(checkout)}")
        git("push", "--quiet", "--force", remote, f"{commit}:refs/heads/{BRANCH}")
    return commit


def main(arguments: list[str]) -> int:
    if not (SITE / "index.html").is_file():
        print("no site: run `make book`", file=sys.stderr)
        return 1
    if not (SITE / FOLDER).is_dir():
        print("no copies for Colab to publish: repository.url in _config.yml is empty")
        return 0
    remote = arguments[0] if arguments else "origin"
    print(f"{remote} {BRANCH}: {push_copies(SITE, remote, SITE.parents[2])}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
