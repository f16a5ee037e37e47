"""Small chapters, written and executed as the book's are, for the tests of what is read back."""

from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]


def write_chapter(path: Path, *cells: str) -> Path:
    """A notebook of a title and code cells, the first of them the parameters cell."""
    notebook = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell("# A small chapter"))
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def execute_chapter(source: Path, target: Path, **parameters) -> Path:
    import papermill

    target.parent.mkdir(parents=True, exist_ok=True)
    papermill.execute_notebook(str(source), str(target), parameters, progress_bar=False)
    return target


def spectrum_project(root: Path) -> Path:
    """A project with the real register and one executed chapter, 00_one_spectrum."""
    (root / "book").mkdir()
    (root / "book" / "claims.yml").write_bytes((ROOT / "book" / "claims.yml").read_bytes())
    given = "data='a|b <i>', sizes={'n_samples': n_samples}, repetitions=4, interval_method='jackknife over points'"
    source = write_chapter(
        root / "notebooks" / "00_one_spectrum.ipynb",
        "n_samples = 10  # points\nseed = 0\npath = 'elsewhere'",
        "from latentlib.ledger import Part, claim, record, untestable",
        "record(half=n_samples / 2, seed=seed, lost=float('nan'))",
        f"claim('pruning-eq8-price', 1.0, None, 'identity 1 ± 1e-12', {given}, own_protocol=True)",
        f"word = claim('pruning-III.1-ea', .5, (.4, .6), '> 0', {given}, own_protocol=True,\n"
        "    parts={'printed number': Part(3.0, (2.5, 3.5), 'about 1', 0.0)})",
        "untestable('pruning-B-entropy', 'cost')",
    )
    execute_chapter(source, root / "book" / "chapters" / "00_one_spectrum.ipynb", n_samples=12)
    return root
