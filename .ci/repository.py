"""The repository of the book: the one address in _config.yml, and every link that is made of it.

A link leads to a tracked file. The page of a chapter is made of book/chapters/NN.ipynb, which is generated, so its
links lead to notebooks/NN.ipynb; Colab, which has no latentlib, opens the published copy that begins with an install
cell.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from colab import BRANCH, FOLDER
from sphinx.errors import ConfigError

ADDRESS = re.compile(r"https://github\.com/([\w-]+)/([\w.-]+?)(?:\.git)?/?")
CHAPTERS = "book/chapters/"
# Generated pages: what is edited instead of them, or None.
EDITED = {"book/claims": "book/claims.yml", "book/provenance": None}


@dataclass(frozen=True)
class Repository:
    """Links to a repository on GitHub; paths are relative to its root."""

    owner: str
    name: str
    branch: str

    @property
    def url(self) -> str:
        return f"https://github.com/{self.owner}/{self.name}"

    def edit(self, path: str) -> str:
        return f"{self.url}/edit/{self.branch}/{quote(path)}"

    def view(self, path: str) -> str:
        return f"{self.url}/blob/{self.branch}/{quote(path)}"

    def commit(self, key: str) -> str:
        return f"{self.url}/commit/{key}"

    def issue(self, page: str) -> str:
        return f"{self.url}/issues/new?title={quote(f'Page {page}: ', safe='')}"

    def colab(self, stem: str) -> str:
        notebook = f"{self.owner}/{self.name}/blob/{BRANCH}/{FOLDER}/{stem}.ipynb"
        return f"https://colab.research.google.com/github/{notebook}"

    def binder(self, path: str) -> str:
        place = f"{self.owner}/{self.name}/{quote(self.branch, safe='')}"
        return f"https://mybinder.org/v2/gh/{place}?urlpath=lab/tree/{path}"


def read_repository(options: dict) -> Repository | None:
    """From the theme's options, where Jupyter Book puts `repository` of _config.yml; None while there is no address."""
    address = options.get("repository_url") or ""
    if not address:
        return None
    match = ADDRESS.fullmatch(address)
    if not match:
        raise ConfigError(f"repository.url in _config.yml: want https://github.com/OWNER/NAME or '', got {address!r}")
    return Repository(*match.groups(), options.get("repository_branch") or "main")


def chapter_stem(docname: str) -> str | None:
    """book/chapters/NN_name → NN_name; None for any other page."""
    return docname.removeprefix(CHAPTERS) if docname.startswith(CHAPTERS) else None


def notebook_of(stem: str) -> str:
    return f"notebooks/{stem}.ipynb"


def edited_file(docname: str, source: str | Path) -> str | None:
    """The tracked file that a change of this page goes into; None if a page is made of others alone."""
    stem = chapter_stem(docname)
    return notebook_of(stem) if stem else EDITED.get(docname, f"{docname}{Path(source).suffix}")
