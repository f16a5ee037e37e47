"""`make new`: the chapter it lays keeps the anatomy, runs, and builds; a name it refuses leaves the tree as it was."""

import importlib.util
import re
from pathlib import Path

import anatomy
import jupytext
import nbformat
import pytest
import yaml
from fresh_checkout import ROOT, bring_executed_chapters, copy_tree, make_checkout, run, succeed
from small_chapters import execute_chapter

spec = importlib.util.spec_from_file_location("new_chapter", ROOT / ".ci" / "new_chapter.py")
new_chapter = importlib.util.module_from_spec(spec)
spec.loader.exec_module(new_chapter)

TOC = """\
# The contents.
root: book/intro
parts:
  - chapters:
      - file: book/how_to_read
  # Where all is known.
  - caption: Calibration
    chapters:
      - file: book/chapters/00_one_spectrum  # first
  - caption: Posterior collapse
    chapters:
      - file: book/chapters/30_collapse_spectroscopy
      - file: book/chapters/32_other
  # What one looks up.
  - caption: Reference
    chapters:
      - file: book/claims
"""


@pytest.fixture
def tree(tmp_path) -> Path:
    return copy_tree(tmp_path / "tree")


def state(tree: Path) -> dict[str, bytes]:
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()}


# The contents ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "before", "new"),
    [
        ("01_a", "  - caption: Posterior collapse", ["      - file: book/chapters/01_a"]),
        ("31_a", "      - file: book/chapters/32_other", ["      - file: book/chapters/31_a"]),
        ("35_a", "  # What one looks up.", ["      - file: book/chapters/35_a"]),
        ("29_a", "  - caption: Posterior collapse", ["Angles and compression", "29_a"]),
        ("40_a", "  # What one looks up.", ["Attractors", "40_a"]),
        ("90_a", "  # What one looks up.", ["Further chapters", "90_a"]),
    ],
)
def test_add_to_toc_keeps_number_order_and_every_line(name, before, new):
    old, lines = TOC.splitlines(), new_chapter.add_to_toc(TOC, name).splitlines()
    added = [line for line in lines if line not in old or line == "    chapters:"]
    assert [line for line in lines if line not in added] == [line for line in old if line != "    chapters:"]
    at = lines.index(before)
    assert lines[at - 1].endswith(f"book/chapters/{name}")
    for text in new:
        assert any(text in line for line in added)
    assert yaml.safe_load("\n".join(lines))["root"] == "book/intro"


def test_add_to_toc_lays_in_front_of_the_first_of_its_part():
    text = TOC.replace("00_one_spectrum", "05_other")
    lines = new_chapter.add_to_toc(text, "01_a").splitlines()
    assert lines[lines.index("      - file: book/chapters/01_a") + 1] == "      - file: book/chapters/05_other  # first"
    text = TOC.replace("00_one_spectrum", "15_other")
    lines = new_chapter.add_to_toc(text, "01_a").splitlines()
    at = lines.index("  # Where all is known.")
    assert lines[at - 3 : at] == ["  - caption: Calibration", "    chapters:", "      - file: book/chapters/01_a"]


def test_add_to_toc_refuses_a_form_it_does_not_know():
    disordered = TOC.replace("32_other", "01_other")
    with pytest.raises(ValueError, match="_toc.yml: want parts .* in number order"):
        new_chapter.add_to_toc(disordered, "35_a")


def test_parts_are_those_of_the_introduction():
    """The map of the book, `make new` and the register of claims agree on what is written and what is to come."""
    rows = re.findall(r"^\| (.*?) ?\| (.*?) \| .+ \|$", (ROOT / "book" / "intro.md").read_text(), re.MULTILINE)
    mapped, part = {}, ""
    for caption, chapter in rows:
        if number := re.search(r"\b\d\d\b", chapter):
            part = caption or part
            mapped[number[0]] = (part, chapter)
    register = yaml.safe_load((ROOT / "book" / "claims.yml").read_text())["chapters"]
    assert set(mapped) == set(register)
    for number, name in register.items():
        written = (ROOT / "notebooks" / f"{name}.py").exists()
        link = f"{{doc}}`{number} <chapters/{name}>`" if written else f"{number}, coming"
        assert mapped[number] == (new_chapter.PARTS[number[0]], link)


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *((bad, "want NN_name") for bad in ("", "name", "3_name", "35-name", "35_Name", "35_", "35_a b", "../35_a")),
        ("35_a\n", "want NN_name"),
        ("00_other", "want a number that is free, got 00"),
        ("40_other", "want 40_attractor_dynamics, for which book/claims.yml keeps the number, got 40_other"),
    ],
)
def test_lay_refuses_a_name_and_changes_nothing(tree, name, message):
    before = state(tree)
    with pytest.raises(ValueError, match=message):
        new_chapter.lay(tree, name)
    assert state(tree) == before


def test_lay_refuses_a_number_that_stands_in_the_contents(tree):
    toc = tree / "_toc.yml"
    toc.write_text(new_chapter.add_to_toc(toc.read_text(), "35_other"))
    with pytest.raises(ValueError, match="got 35, which has '- file: book/chapters/35_other' in _toc.yml"):
        new_chapter.lay(tree, "35_name")


@pytest.mark.parametrize("failing", [0, 1, 2], ids=["script", "pair", "contents"])
def test_lay_interrupted_leaves_nothing(tree, monkeypatch, failing):
    before, replace, moved = state(tree), new_chapter.os.replace, []

    def interrupted(source, target):
        if len(moved) == failing:
            raise KeyboardInterrupt
        moved.append(target)
        replace(source, target)

    monkeypatch.setattr(new_chapter.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        new_chapter.lay(tree, "35_name")
    assert len(moved) == failing and state(tree) == before
    assert not list(tree.glob("notebooks/*.partial"))


def test_lay_stopped_by_jupytext_leaves_nothing(tree, monkeypatch):
    before = state(tree)
    monkeypatch.setattr(new_chapter.sys, "executable", "false")
    with pytest.raises(new_chapter.subprocess.CalledProcessError):
        new_chapter.lay(tree, "35_name")
    assert state(tree) == before


# What is laid ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def laid(tmp_path_factory) -> Path:
    tree = copy_tree(tmp_path_factory.mktemp("laid"))
    new_chapter.lay(tree, "35_small_name")
    return tree


def test_laid_chapter_keeps_the_anatomy(laid):
    script = jupytext.read(laid / "notebooks" / "35_small_name.py")
    assert anatomy.check_chapter(script, "35", {}) == []
    assert anatomy.check_pair(script, nbformat.read(laid / "notebooks" / "35_small_name.ipynb", 4)) == []
    assert script.cells[0].source.startswith("(ch-35)=\n# Small name: ")


def test_laid_chapter_has_the_settings_of_every_pair_and_is_not_older(laid):
    names = "35_small_name.ipynb", "00_one_spectrum.ipynb"
    mine, other = (nbformat.read(laid / "notebooks" / name, 4) for name in names)
    assert mine.metadata == other.metadata and mine.nbformat_minor == other.nbformat_minor
    script, pair = (laid / "notebooks" / f"35_small_name{end}" for end in (".py", ".ipynb"))
    assert pair.stat().st_mtime_ns >= script.stat().st_mtime_ns
    assert "NUMBER" not in script.read_text() and "TITLE" not in script.read_text()


def test_laid_chapter_runs_and_another_seed_changes_it(laid, tmp_path):
    pair = laid / "notebooks" / "35_small_name.ipynb"
    executed = nbformat.read(execute_chapter(pair, tmp_path / "35_small_name.ipynb"), 4)
    assert anatomy.check_executed(executed, nbformat.read(pair, 4)) == []
    other = nbformat.read(execute_chapter(pair, tmp_path / "other.ipynb", seed=1), 4)
    numbers = [re.findall(r"\d+\.\d+", str(cell.outputs)) for cell in checked(executed)]
    others = [re.findall(r"\d+\.\d+", str(cell.outputs)) for cell in checked(other)]
    assert len(numbers) >= 3 and all(numbers) and all(a != b for a, b in zip(numbers, others, strict=True))


def checked(notebook) -> list:
    return [cell for cell in anatomy.cells(notebook, "code") if "NBVAL_CHECK_OUTPUT" in cell.source]


@pytest.mark.slow
def test_make_new_then_make_book_shows_the_chapter(tmp_path):
    """As a contributor does it: lay, build, test, with the real commands in a checkout of its own."""
    checkout = make_checkout(tmp_path / "checkout")
    assert "laid notebooks/35_name.py" in succeed(checkout, "make new CHAPTER=35_name")
    again = run(checkout, "make new CHAPTER=35_name")
    assert again.returncode != 0 and "want a number that is free, got 35" in again.stderr + again.stdout
    bring_executed_chapters(checkout)
    assert "open book/_build/html/index.html" in succeed(checkout, "make book")
    page = (checkout / "book/_build/html/book/chapters/35_name.html").read_text()
    assert "<h1>Name: uniform directions overlap as chance has it" in page
    assert "data-slider=" in page and 'id="fig-35-null"' in page and "percent sign" not in page
    assert 'href="chapters/35_name.html"' in (checkout / "book/_build/html/book/intro.html").read_text()
    succeed(checkout, ".venv/bin/python -m pytest -q tests/test_chapters.py -k 35_name -p no:cacheprovider")
    nbval = ".venv/bin/python -m pytest -q --nbval-lax -p no:cacheprovider book/chapters/35_name.ipynb"
    assert re.search(r"\d+ passed", succeed(checkout, nbval))
