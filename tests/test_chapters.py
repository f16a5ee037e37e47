"""The chapters keep the anatomy, their pairs agree, and what was executed can be executed again to the same numbers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import anatomy
import jupytext
import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / "notebooks").glob("*.py"))
EXECUTED = sorted((ROOT / "book" / "chapters").glob("*.ipynb"))
REGISTER = yaml.safe_load((ROOT / "book/claims.yml").read_text())
CHAPTER_OF = {row["id"]: str(row["chapter"]) for row in REGISTER["claims"]}

each_chapter = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
each_executed = pytest.mark.parametrize("path", EXECUTED, ids=lambda path: path.stem)


def number(path: Path) -> str:
    return path.stem[:2]


# The chapters -------------------------------------------------------------------------------------------------------


def test_chapters_are_there_in_pairs():
    assert SCRIPTS, "no chapter in notebooks/"
    assert {path.stem for path in SCRIPTS} == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert [path.name for path in SCRIPTS if not re.fullmatch(r"\d\d_[a-z0-9_]+", path.stem)] == []
    numbers = [number(path) for path in SCRIPTS]
    assert len(set(numbers)) == len(numbers)


@each_chapter
def test_chapter_pair_agrees(script):
    assert anatomy.check_pair(jupytext.read(script), nbformat.read(script.with_suffix(".ipynb"), 4)) == []


@each_chapter
def test_chapter_keeps_the_anatomy(script):
    assert anatomy.check_chapter(jupytext.read(script), number(script), CHAPTER_OF) == []


@each_chapter
def test_chapter_parameters_are_told_by_papermill(script):
    pair = script.with_suffix(".ipynb")
    command = [sys.executable, "-m", "papermill", "--help-notebook", str(pair)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    (cell,) = (cell for cell in nbformat.read(pair, 4).cells if "parameters" in anatomy.tags(cell))
    names = re.findall(r"^(\w+) *:", cell.source, re.MULTILINE)
    assert names
    for name in names:
        line = re.search(rf"^ *{name}: (.+) \(default ", told, re.MULTILINE)
        assert line and line[1] != "Unknown type", f"{name} without a type in:\n{told}"


# The executed chapters ----------------------------------------------------------------------------------------------


@each_executed
def test_executed_chapter_is_its_pair_run_in_order(path):
    pair = ROOT / "notebooks" / path.name
    assert anatomy.check_executed(nbformat.read(path, 4), nbformat.read(pair, 4)) == []


def nbval(folder: Path) -> subprocess.CompletedProcess:
    """Run every notebook of a folder again and compare the marked outputs, two notebooks at a time."""
    command = [sys.executable, "-m", "pytest", "--nbval-lax", str(folder), "-n", "2", "--dist", "loadfile"]
    command += ["-p", "no:cacheprovider", "-q", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder)]
    # Without the variables by which an outer pytest-xdist tells its workers apart.
    outer = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment = {**outer, "OMP_NUM_THREADS": "1", "JUPYTER_PLATFORM_DIRS": "1"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800, env=environment)


def perturb_seed(notebook) -> None:
    """seed → seed + 1 wherever a chapter or papermill sets it."""

    def add_one(match: re.Match) -> str:
        return f"{match[1]}{int(match[2]) + 1}"

    for cell in notebook.cells:
        if {"parameters", "injected-parameters"} & set(anatomy.tags(cell)):
            cell.source = re.sub(r"^(seed\b.*?= *)(\d+)", add_one, cell.source, flags=re.MULTILINE)


@pytest.mark.slow
@pytest.mark.skipif(not EXECUTED, reason="no executed chapter: make book writes them")
def test_executed_chapters_notice_another_seed(tmp_path):
    for path in EXECUTED:
        notebook = nbformat.read(path, 4)
        before = [cell.source for cell in notebook.cells]
        perturb_seed(notebook)
        assert before != [cell.source for cell in notebook.cells], f"{path.name} has no seed to perturb"
        nbformat.write(notebook, tmp_path / path.name)
    result = nbval(tmp_path)
    assert result.returncode == 1, result.stdout[-6000:]
    for path in EXECUTED:
        noticed = re.search(rf"FAILED .*{path.name}", result.stdout)
        assert noticed, f"{path.name} gives the same numbers from another seed"


# The checks can fail ------------------------------------------------------------------------------------------------

GOOD_CLAIM = next(claim for claim, chapter in CHAPTER_OF.items() if chapter == "00")
OTHER_CLAIM = next(claim for claim, chapter in CHAPTER_OF.items() if chapter != "00")
GOOD = [
    ("markdown", "(ch-00)=\n# Five instruments agree\n\n**Question** Do they?\n\n**Answer** Yes.\n\n**Takes** 1 min."),
    ("code", "from latentlib import collapse, style\nimport numpy as np"),
    ("parameters", "seed: int = 0  # random start, any integer >= 0\nprice: float = 0.1  # share of variance, 0 to 1"),
    ("markdown", "## A law\nExactly $m = 0.3750$, half of it, at [x](https://a.b/1.234) arXiv:2606.02600, and 0.05."),
    ("code", "scan = collapse.equilibrium(np.eye(3), [price], 2, seed=seed)\n# NBVAL_CHECK_OUTPUT\nscan.rate"),
    ("code", "# NBVAL_CHECK_OUTPUT\nscan.signal_fraction"),
    ("code", "def draw(price):\n    return figure(price)\n\nstyle.show(draw(1), alt='Five curves on one diagonal.')"),
    ("code", "style.slider(frames, labels, 'price', alt=ALT)\nstyle.live(draw, alt=ALT, price=(0, 1, .1))"),
    ("code", f"# NBVAL_CHECK_OUTPUT\nclaim('{GOOD_CLAIM}', 1.0, (0.9, 1.1), 1.0)"),
    ("markdown", "## Check"),
    ("code", "assert scan.converged.all()"),
    ("markdown", "## Limits\nLinear."),
    ("markdown", "## Exercises\n1. Why?\n\n:::{dropdown} Solution\nBecause.\n:::"),
    ("markdown", "## Sources\n{cite}`kingma2013`"),
]


def chapter(*edits: tuple[int, str, str], without: int | None = None):
    """A small good chapter, with text replaced in some cells."""
    built = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
    for i, (kind, source) in enumerate(GOOD):
        for at, old, new in edits:
            if at == i:
                assert old in source
                source = source.replace(old, new)
        make = new_markdown_cell if kind == "markdown" else new_code_cell
        if i != without:
            built.cells.append(make(source, metadata={"tags": ["parameters"]} if kind == "parameters" else {}))
    return built


def test_check_chapter_passes_a_good_one():
    assert anatomy.check_chapter(chapter(), "00", CHAPTER_OF) == []


LONG_CELL = "\n".join(f"x{i} = {i}" for i in range(21))
LONG_DEF = "def f(x):\n    a = 1\n    b = 2\n    c = 3\n    d = 4\n    e = 5\n    return x"


@pytest.mark.parametrize(
    ("edit", "complaint"),
    [
        ((0, "(ch-00)=", "(ch-01)="), "first cell"),
        ((0, "# Five", "## Five"), "first cell"),
        ((0, "**Answer**", "Answer"), "opening"),
        ((0, "**Takes** 1 min.", "and no cost"), "opening"),
        ((3, "## A", "# A"), "want one title"),
        ((1, "import numpy as np", "x = 1"), "imports and nothing else"),
        ((1, "import numpy as np", "\n".join(["import numpy"] * 5)), "at most 5 lines"),
        ((1, "import numpy as np", "import pandas"), "imports pandas"),
        ((1, "collapse, style", "kernels"), "latentlib.kernels"),
        ((1, "latentlib import", "latentlib.reference import"), "latentlib.reference"),
        ((1, "collapse, style", "_backend"), "latentlib._backend"),
        ((4, "scan =", "import torch\nscan ="), "outside the first code cell"),
        ((2, "seed", "seeds"), "want seed among"),
        ((2, "= 0.1", "= 1 / 10"), "literal"),
        ((2, "price: float", "price"), "name: type"),
        ((2, "  # share of variance, 0 to 1", ""), "comment with unit"),
        ((5, "scan.signal_fraction", LONG_CELL), "want 20"),
        ((5, "scan.signal_fraction", LONG_DEF), "longer than 6"),
        ((5, "scan.signal_fraction", "!ls"), "shell or magic"),
        ((5, "scan.signal_fraction", "%matplotlib inline"), "shell or magic"),
        ((5, "scan.signal_fraction", "pip = 'pip install x'"), "pip"),
        ((5, "scan.signal_fraction", "open('x')"), "open"),
        ((5, "scan.signal_fraction", "time.time()"), "time"),
        ((5, "scan.signal_fraction", "np.load('/da" "ta/x.npy')"), "absolute path"),
        ((5, "scan.signal_fraction", "a b"), "not plain Python"),
        ((6, "alt='Five curves on one diagonal.'", ""), "alt="),
        ((6, "Five curves on one diagonal.", "figure"), "alt="),
        ((6, "style.show", "plt.show"), "want style.show"),
        ((7, "style.slider", "style.use"), "want one style.slider"),
        ((7, "style.live", "ipywidgets.interact"), "want one style.live"),
        ((7, "alt=ALT, ", ""), "alt="),
        ((3, "$m = 0.3750$", "m = 0.375"), "prose number 0.375"),
        ((3, "half of it", "3.14"), "prose number 3.14"),
        ((5, "# NBVAL_CHECK_OUTPUT", "# checked"), "got 2"),
        ((8, GOOD_CLAIM, "phase-0-unheard"), "unknown id"),
        ((8, GOOD_CLAIM, OTHER_CLAIM), "belongs to chapter"),
        ((8, f"'{GOOD_CLAIM}'", "name"), "literal id"),
        ((10, "assert ", ""), "want at least one assert"),
        ((11, "## Limits", "## Bounds"), "last sections"),
        ((13, "## Sources", "## Thanks"), "last sections"),
        ((12, "{dropdown}", "{note}"), "folded"),
    ],
)
def test_check_chapter_sees_a_breach(edit, complaint):
    found = anatomy.check_chapter(chapter(edit), "00", CHAPTER_OF)
    assert any(complaint in entry for entry in found), found


def test_check_size_sees_long_and_many_cells():
    notebook = chapter()
    notebook.cells += [new_code_cell("\n".join(["x = 1"] * 13))] * 10
    assert any("percentile" in entry for entry in anatomy.check_size(notebook))
    notebook.cells += [new_code_cell("x = 1")] * 30
    assert any("want 35" in entry for entry in anatomy.check_size(notebook))


def test_check_parameters_wants_exactly_one_cell():
    assert anatomy.check_parameters(chapter(without=2)) == ["want one cell tagged parameters, got 0"]
    notebook = chapter()
    notebook.cells.append(notebook.cells[2])
    assert anatomy.check_parameters(notebook) == ["want one cell tagged parameters, got 2"]


def test_check_pair_sees_a_difference():
    assert anatomy.check_pair(chapter(), chapter()) == []
    assert "at cell 3" in anatomy.check_pair(chapter(), chapter((3, "half", "twice")))[0]
    assert "at cell 13" in anatomy.check_pair(chapter(), chapter(without=13))[0]
    retagged, run, kernel = chapter(), chapter(), chapter()
    retagged.cells[2].metadata.tags = []
    run.cells[5].outputs, run.cells[5].execution_count = [new_output("stream", text="1")], 1
    kernel.metadata.kernelspec.name = "latent"
    assert "at cell 2" in anatomy.check_pair(chapter(), retagged)[0]
    assert len(anatomy.check_pair(chapter(), run)) == 2
    assert anatomy.check_pair(chapter(), kernel) == ["kernel: want python3, got latent"]


def executed_chapter():
    built = chapter()
    built.metadata.papermill = {"exception": None}
    built.cells.insert(3, new_code_cell("seed = 1", metadata={"tags": ["injected-parameters"]}))
    for count, cell in enumerate(anatomy.cells(built, "code"), 1):
        cell.execution_count = count
    return built


def test_check_executed_sees_a_breach():
    assert anatomy.check_executed(executed_chapter(), chapter()) == []
    never, raised, disordered, stale = (executed_chapter() for _ in range(4))
    del never.metadata["papermill"]
    raised.cells[5].outputs = [new_output("error", ename="AssertionError", evalue="", traceback=[])]
    disordered.cells[5].execution_count = 9
    stale.cells[5].source += "\n"
    wanted = {"papermill": never, "AssertionError": raised, "in order": disordered, "differs": stale}
    for complaint, notebook in wanted.items():
        (found,) = anatomy.check_executed(notebook, chapter())
        assert complaint in found


def test_perturb_seed_changes_both_cells():
    notebook = executed_chapter()
    perturb_seed(notebook)
    assert notebook.cells[2].source.startswith("seed: int = 1  #") and notebook.cells[3].source == "seed = 2"
    assert "price: float = 0.1" in notebook.cells[2].source


def test_nbval_sees_a_changed_number(tmp_path):
    # The machinery of the slow test, and of `make test`, on a notebook of one number.
    notebook = new_notebook(metadata=chapter().metadata)
    notebook.cells = [
        new_code_cell("seed: int = 0  # any integer", metadata={"tags": ["parameters"]}, execution_count=1),
        new_code_cell("# NBVAL_CHECK_OUTPUT\nseed + 1", execution_count=2),
    ]
    notebook.cells[1].outputs = [new_output("execute_result", {"text/plain": "1"}, execution_count=2)]
    (tmp_path / "same").mkdir()
    nbformat.write(notebook, tmp_path / "same" / "00_seed.ipynb")
    assert nbval(tmp_path / "same").returncode == 0
    perturb_seed(notebook)
    (tmp_path / "other").mkdir()
    nbformat.write(notebook, tmp_path / "other" / "00_seed.ipynb")
    result = nbval(tmp_path / "other")
    assert result.returncode == 1 and re.search(r"FAILED .*00_seed.ipynb", result.stdout), result.stdout
