"""The pages of the ledger: every row, each filled one linked to its cell, and nothing written that would not change."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from small_chapters import ROOT, spectrum_project

from latentlib.ledger import claims_of
from latentlib.ledger_pages import write_pages
from latentlib.register import read_register


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return spectrum_project(tmp_path_factory.mktemp("project"))


def test_write_pages_has_every_row_open_without_chapters(tmp_path):
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "claims.yml").write_bytes((ROOT / "book" / "claims.yml").read_bytes())
    assert {page.name for page in write_pages(tmp_path)} == {"claims.md", "claims.csv", "provenance.md"}
    with (tmp_path / "book" / "claims.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == list(read_register(tmp_path / "book" / "claims.yml").claims)
    assert {row["verdict"] for row in rows} == {"open"} and {row["measured"] for row in rows} == {""}


def test_write_pages_links_every_filled_row_to_its_cell(project):
    write_pages(project)
    page = (project / "book" / "claims.md").read_text(encoding="utf-8")
    cell = claims_of(project / "book" / "chapters")["pruning-eq8-price"]["cell"]
    assert f'<a href="chapters/00_one_spectrum.html#claim-pruning-eq8-price">00, {cell}</a>' in page
    assert "**partial**" in page and r"data: a\|b \<i\>; n\_samples = 12" in page
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) == 110 and all(len(line.replace(r"\|", "").split("|")) == 8 for line in rows)
    with (project / "book" / "claims.csv").open(encoding="utf-8", newline="") as file:
        filled = {row["id"]: row for row in csv.DictReader(file) if row["verdict"] != "open"}
    assert set(filled) == {"pruning-eq8-price", "pruning-III.1-ea", "pruning-B-entropy"}
    assert (
        filled["pruning-III.1-ea"]["interval_low"] == "0.4"
        and filled["pruning-III.1-ea"]["parts"] == "printed number: failed"
    )
    provenance = (project / "book" / "provenance.md").read_text(encoding="utf-8")
    assert r"| 00\_one\_spectrum | `n_samples` | 12 |" in provenance and "CPU" in provenance


BOOK = """title: Small
author: Authors
logo: ""
only_build_toc_files: true
execute:
  execute_notebooks: "off"
sphinx:
  config:
    suppress_warnings: [mystnb.unknown_mime_type]
"""
CONTENTS = (
    "format: jb-book\nroot: book/claims\nchapters:\n- file: book/provenance\n- file: book/chapters/00_one_spectrum\n"
)


@pytest.mark.slow
def test_write_pages_links_hold_in_the_built_book(project):
    write_pages(project)
    (project / "_config.yml").write_text(BOOK)
    (project / "_toc.yml").write_text(CONTENTS)
    build = [
        Path(sys.executable).with_name("jupyter-book"),
        "build",
        ".",
        "--path-output",
        "book",
        "-n",
        "-W",
        "--keep-going",
    ]
    result = subprocess.run(build, cwd=project, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    site = project / "book" / "_build" / "html" / "book"
    page, chapter = (site / name for name in ("claims.html", "chapters/00_one_spectrum.html"))
    for name in ("pruning-eq8-price", "pruning-III.1-ea", "pruning-B-entropy"):
        assert f'href="chapters/00_one_spectrum.html#claim-{name}"' in page.read_text(encoding="utf-8")
        assert f'id="claim-{name}"' in chapter.read_text(encoding="utf-8")
    assert 'href="chapters/00_one_spectrum.html"' in (site / "provenance.html").read_text(encoding="utf-8")


def test_write_pages_touches_nothing_that_would_not_change(project):
    write_pages(project)
    assert write_pages(project) == [] and not list((project / "book").glob("*.partial"))


def test_write_pages_refuses_a_row_of_another_chapter_and_an_unknown_one(project, tmp_path):
    book = tmp_path / "book"
    (book / "chapters").mkdir(parents=True)
    (book / "claims.yml").write_bytes((ROOT / "book" / "claims.yml").read_bytes())
    executed = project / "book" / "chapters" / "00_one_spectrum.ipynb"
    (book / "chapters" / "30_collapse_spectroscopy.ipynb").write_bytes(executed.read_bytes())
    with pytest.raises(ValueError, match="filled by chapter 00_one_spectrum, got it from 30_collapse_spectroscopy"):
        write_pages(tmp_path)
    (book / "chapters" / "30_collapse_spectroscopy.ipynb").unlink()
    renamed = executed.read_text(encoding="utf-8").replace("pruning-eq8-price", "pruning-eq9-price")
    (book / "chapters" / "00_one_spectrum.ipynb").write_text(renamed, encoding="utf-8")
    with pytest.raises(KeyError, match="got 'pruning-eq9-price'"):
        write_pages(tmp_path)
