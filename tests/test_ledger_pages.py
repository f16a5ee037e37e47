"""The pages of the ledger: every row, each filled one linked to its cell, and nothing written that would not change."""

import csv
import re
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
    assert '<span class="verdict">partial</span>' in page and "<dd>a|b &lt;i&gt;; n_samples = 12</dd>" in page
    rows = [line for line in page.splitlines() if line.startswith("<tr id=")]
    assert len(rows) == 114 and all(line.count("<td") == 4 and line.endswith("</td></tr>") for line in rows)
    with (project / "book" / "claims.csv").open(encoding="utf-8", newline="") as file:
        filled = {row["id"]: row for row in csv.DictReader(file) if row["verdict"] != "open"}
    assert set(filled) == {"pruning-eq8-price", "pruning-III.1-ea", "pruning-B-entropy"}
    assert (
        filled["pruning-III.1-ea"]["interval_low"] == "0.4"
        and filled["pruning-III.1-ea"]["parts"] == "printed number: failed"
    )
    provenance = (project / "book" / "provenance.md").read_text(encoding="utf-8")
    assert r"| 00\_one\_spectrum | `n_samples` | 12 |" in provenance and "CPU" in provenance


def test_write_pages_lists_every_claim_once_under_its_chapter(project):
    write_pages(project)
    page = (project / "book" / "claims.md").read_text(encoding="utf-8")
    claims = read_register(project / "book" / "claims.yml")
    entries = dict(re.findall(r'<ul id="chapter-(\d\d)">(.*?)</ul></details>', page))
    assert list(entries) == list(claims.chapters)
    for number, entry in entries.items():
        wanted = [name for name, row in claims.claims.items() if row["chapter"] == number]
        assert re.findall('href="#claim-([^"]+)"', entry) == wanted
    filled = claims_of(project / "book" / "chapters")
    for number, stem in claims.chapters.items():
        names = [name for name, row in claims.claims.items() if row["chapter"] == number]
        done = sum(name in filled for name in names)
        assert f"{number} {stem[3:].replace('_', ' ')}: {len(names)} claims, {done} measured" in page
    # An anchor for each row, and each row under the source and the chapter by which it is filtered.
    marks = dict(re.findall(r'<tr id="claim-([^"]+)" data-verdict="[a-z ]+" data-chapter="(\d\d)">', page))
    assert marks == {name: row["chapter"] for name, row in claims.claims.items()}


def test_write_pages_keeps_a_table_in_one_block_of_html(project):
    """An empty line inside would end the block, and Markdown would read the rest."""
    write_pages(project)
    page = (project / "book" / "claims.md").read_text(encoding="utf-8")
    tables = re.findall(r'^<table class="claims" data-source="(\w+)">.*?</table>$', page, flags=re.M | re.S)
    assert tables == list(read_register(project / "book" / "claims.yml").sources)
    blocks = page.split("\n\n")
    assert all(block.count("<table") == block.count("</table>") for block in blocks)


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
