"""What a chapter must look like: functions from a notebook to a list of complaints, empty if it keeps the rules."""

import ast
import re
from collections.abc import Iterator

import numpy as np

LINES_MAX, LINES_P90_MAX, CODE_CELLS_MAX, DEF_LINES_MAX, IMPORT_LINES_MAX, CHECKED_MIN = 20, 12, 35, 6, 5, 3
OPENING = ("Question", "Answer", "Takes")
SECTIONS = ("Check", "Limits", "Exercises", "Sources")
# The API, what draws and displays its numbers, and arrays.
IMPORTABLE = {"latentlib", "numpy", "torch", "matplotlib", "IPython", "ipywidgets"}
FORBIDDEN_MODULES = {
    "time", "datetime", "timeit", "os", "subprocess", "sys", "shutil", "urllib", "requests", "pooch", "importlib",
}
FORBIDDEN_NAMES = {"open", "exec", "eval", "__import__", "perf_counter", "urlretrieve", "urlopen", "get_ipython"}
FIGURE_CALLS = {"show", "slider", "live"}
CLAIM_CALLS = {"claim", "untestable"}
ABSOLUTE_PATH = re.compile(r"(?<![\w.)}\]>:/])/(?:home|root|tmp|work|Users|usr|var|opt|mnt|data)\b|\b[A-Z]:\\")
SHELL_LINE = re.compile(r"^\s*[!%]", re.MULTILINE)
# What Markdown may say in digits: mathematics, code, links, identifiers of papers, labels.
NOT_PROSE = re.compile(
    r"\$\$.*?\$\$|\$(?:[^$\n]|\n(?!\n))+\$|```.*?```|`[^`]+`|\]\([^)]*\)|<[^>]+>|https?://\S+|arXiv:\S+|doi:\S+",
    re.DOTALL | re.IGNORECASE,
)
DECIMAL = re.compile(r"(?<![\w.])\d*\.\d+(?!\.?\d)")


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def cells(notebook, kind: str) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def code_lines(cell) -> list[str]:
    return [line for line in cell.source.splitlines() if line.strip()]


def trees(notebook) -> Iterator[ast.Module]:
    """Syntax trees of the code cells; one that is not plain Python is the complaint of `check_forbidden`."""
    for cell in cells(notebook, "code"):
        try:
            yield ast.parse(cell.source)
        except SyntaxError:
            continue


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def calls(notebook, names: set[str]) -> Iterator[ast.Call]:
    for tree in trees(notebook):
        yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call) and called(node) in names)


def check_pair(script, pair) -> list[str]:
    """The .ipynb holds the cells of the .py, for the kernel python3, without outputs."""

    def comparable(notebook) -> list[tuple]:
        return [(cell.cell_type, cell.source, tuple(tags(cell))) for cell in notebook.cells]

    found = []
    ours, theirs = comparable(script), comparable(pair)
    if ours != theirs:
        at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
        found.append(f"pair differs from the .py at cell {at} ({len(ours)} cells, pair {len(theirs)})")
    for notebook in (script, pair):
        kernel = notebook.metadata.get("kernelspec", {}).get("name")
        found += [f"kernel: want python3, got {kernel}"] if kernel != "python3" else []
    for i, cell in enumerate(cells(pair, "code")):
        found += [f"code cell {i} of the pair has outputs"] if cell.outputs else []
        found += [f"code cell {i} of the pair has an execution count"] if cell.execution_count is not None else []
    found += ["pair holds widget state"] if "widgets" in pair.metadata else []
    return found


def check_opening(notebook, number: str) -> list[str]:
    """Label and title, then Question, Answer, Takes before any code, then the imports."""
    first = notebook.cells[0]
    want = re.compile(rf"\A\(ch-{number}\)=\n+# \S")
    found = []
    if first.cell_type != "markdown" or not want.match(first.source):
        found.append(f"first cell: want Markdown '(ch-{number})=' and a title '# …', got {first.source[:40]!r}")
    opening = ""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            break
        opening += cell.source + "\n"
    positions = [opening.find(f"**{word}") for word in OPENING]
    if -1 in positions or positions != sorted(positions):
        found.append(f"opening: want **{'**, **'.join(OPENING)}** in this order before the first code cell")
    titles = re.findall(r"^# .*$", "\n".join(cell.source for cell in cells(notebook, "markdown")), re.MULTILINE)
    found += [f"want one title, got {titles}"] if len(titles) != 1 else []
    return found


def check_imports(notebook) -> list[str]:
    """The first code cell imports, the API only, in at most five lines; no other cell does."""
    found = []
    for i, cell in enumerate(cells(notebook, "code")):
        try:
            tree = ast.parse(cell.source)
        except SyntaxError:
            continue
        statements = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        if i == 0:
            lines = [line for line in code_lines(cell) if not line.lstrip().startswith("#")]
            if not statements or any(node not in statements for node in tree.body):
                found.append("first code cell: want imports and nothing else")
            if len(lines) > IMPORT_LINES_MAX:
                found.append(f"first code cell: want at most {IMPORT_LINES_MAX} lines, got {len(lines)}")
        elif statements:
            found.append(f"code cell {i}: imports outside the first code cell: {ast.unparse(statements[0])}")
        for node in statements:
            found += [f"imports {name}, want the API" for name in imported(node) if not is_api(name)]
    return found


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]


def is_api(name: str) -> bool:
    parts = name.split(".")
    inner = parts[0] == "latentlib" and any(part.startswith("_") or part in ("kernels", "reference") for part in parts)
    return parts[0] in IMPORTABLE and not inner


def check_parameters(notebook) -> list[str]:
    """One cell tagged parameters: `name: type = literal  # meaning, unit, range` a line, seed among them."""
    tagged = [cell for cell in cells(notebook, "code") if "parameters" in tags(cell)]
    if len(tagged) != 1:
        return [f"want one cell tagged parameters, got {len(tagged)}"]
    found, names = [], []
    for line in code_lines(tagged[0]):
        if line.lstrip().startswith("#"):
            continue
        try:
            (node,) = ast.parse(line).body
            ast.literal_eval(node.value)
            names.append(node.target.id)
            _ = node.annotation
        except (SyntaxError, ValueError, AttributeError):
            found.append(f"parameter: want 'name: type = literal', got {line!r}")
            continue
        comment = line.encode()[node.end_col_offset :].decode().partition("#")[2]  # the offset counts bytes
        if len(comment.split()) < 2:
            found.append(f"parameter: want a comment with unit and range, got {line!r}")
    return found + ([] if "seed" in names else [f"parameters: want seed among {names}"])


def check_size(notebook) -> list[str]:
    """Cells of at most 20 lines (nine in ten at most 12), at most 35 code cells, functions of at most 6 lines."""
    lengths = [len(code_lines(cell)) for cell in cells(notebook, "code")]
    found = [f"code cell {i}: {n} lines, want {LINES_MAX}" for i, n in enumerate(lengths) if n > LINES_MAX]
    found += [f"code cell {i} is empty" for i, n in enumerate(lengths) if n == 0]
    if lengths and np.percentile(lengths, 90) > LINES_P90_MAX:
        found.append(f"90th percentile of code cells: {np.percentile(lengths, 90):.1f} lines, want {LINES_P90_MAX}")
    if len(lengths) > CODE_CELLS_MAX:
        found.append(f"{len(lengths)} code cells, want {CODE_CELLS_MAX}")
    for tree in trees(notebook):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.end_lineno - node.lineno + 1 > DEF_LINES_MAX:
                found.append(f"{node.name}: longer than {DEF_LINES_MAX} lines; it belongs in the package")
    return found


def check_sections(notebook) -> list[str]:
    """Check (with an assert), Limits, Exercises (with a folded solution), Sources: in this order, at the end."""
    place, headings = {}, []
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            for title in re.findall(r"^## +(.+?)\s*$", cell.source, re.MULTILINE):
                headings.append(title)
                place[title] = i
    if tuple(headings[-len(SECTIONS) :]) != SECTIONS:
        return [f"want the last sections '## {' · ## '.join(SECTIONS)}', got {headings[-len(SECTIONS) :]}"]
    checked = notebook.cells[place["Check"] : place["Limits"]]
    asserts = [node for tree in trees_of(checked) for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    found = [] if asserts else ["Check: want at least one assert"]
    exercises = notebook.cells[place["Exercises"] : place["Sources"] + 1]
    folded = [cell for cell in exercises if is_folded(cell)]
    return found + ([] if folded else ["Exercises: want at least one folded solution"])


def trees_of(some_cells) -> Iterator[ast.Module]:
    for cell in some_cells:
        if cell.cell_type == "code":
            try:
                yield ast.parse(cell.source)
            except SyntaxError:
                continue


def is_folded(cell) -> bool:
    if cell.cell_type == "markdown":
        return bool(re.search(r"\{dropdown\}|:class:.*\bdropdown\b", cell.source))
    return bool({"hide-cell", "hide-input"} & set(tags(cell)))


def check_forbidden(notebook) -> list[str]:
    """No shell, magic, installation, download, file, absolute path or clock."""
    found = []
    for i, cell in enumerate(cells(notebook, "code")):
        if SHELL_LINE.search(cell.source):
            found.append(f"code cell {i}: shell or magic")
            continue
        try:
            tree = ast.parse(cell.source)
        except SyntaxError as error:
            found.append(f"code cell {i}: not plain Python: {error.msg}")
            continue
        if ABSOLUTE_PATH.search(cell.source):
            found.append(f"code cell {i}: absolute path")
        if re.search(r"\bpip\b", cell.source):
            found.append(f"code cell {i}: pip")
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names |= {name.split(".")[0] for name in imported(node)}
        found += [f"code cell {i}: {name}" for name in sorted(names & (FORBIDDEN_MODULES | FORBIDDEN_NAMES))]
    return found


def check_figures(notebook) -> list[str]:
    """Figures come from style.show, style.slider and style.live, a slider and a live control too, all with alt."""
    found, shown = [], set()
    for node in calls(notebook, FIGURE_CALLS):
        source = ast.unparse(node.func)
        if source.split(".")[0] != "style" and source not in FIGURE_CALLS:
            found.append(f"{source}(…): want style.show(fig, alt=…)")
            continue
        shown.add(called(node))
        alt = next((keyword.value for keyword in node.keywords if keyword.arg == "alt"), None)
        literal = alt.value if isinstance(alt, ast.Constant) else None
        if alt is None or (literal is not None and len(str(literal).split()) < 4):
            found.append(f"{source}(…): want alt= a sentence that says what the figure shows, got {literal!r}")
    return found + [f"want one style.{name} at least" for name in ("slider", "live") if name not in shown]


def check_claims(notebook, number: str, chapter_of: dict[str, str]) -> list[str]:
    """Every claim is a row of the register, named by a literal id, and belongs to this chapter."""
    found = []
    for node in calls(notebook, CLAIM_CALLS):
        first = node.args[0] if node.args else None
        if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
            found.append(f"{ast.unparse(node)[:60]}: want a literal id first")
        elif chapter_of.get(first.value) != number:
            found.append(f"claim {first.value}: belongs to chapter {chapter_of.get(first.value, 'none: unknown id')}")
    return found


def check_prose(notebook) -> list[str]:
    """No decimal number of three or more digits in Markdown outside mathematics: measured numbers come out of cells."""
    found = []
    for cell in cells(notebook, "markdown"):
        for number in DECIMAL.findall(NOT_PROSE.sub(" ", cell.source)):
            if len(number.replace(".", "").lstrip("0")) >= 3:
                found.append(f"prose number {number}: compute it in a cell, or set it as mathematics if it is exact")
    return found


def check_checked(notebook) -> list[str]:
    """At least three cells whose output nbval compares, marked by the comment or the tag nbval knows."""
    marked = [
        cell for cell in cells(notebook, "code")
        if "nbval-check-output" in tags(cell) or re.search(r"^#+ *NBVAL_CHECK_OUTPUT *$", cell.source, re.MULTILINE)
    ]
    few = len(marked) < CHECKED_MIN
    return [f"want {CHECKED_MIN} cells with NBVAL_CHECK_OUTPUT, got {len(marked)}"] if few else []


def check_chapter(notebook, number: str, chapter_of: dict[str, str]) -> list[str]:
    """All complaints about one chapter."""
    return [
        *check_opening(notebook, number), *check_imports(notebook), *check_parameters(notebook), *check_size(notebook),
        *check_sections(notebook), *check_forbidden(notebook), *check_figures(notebook), *check_prose(notebook),
        *check_checked(notebook), *check_claims(notebook, number, chapter_of),
    ]


def check_executed(executed, pair) -> list[str]:
    """The executed chapter is its pair, run by papermill from the first cell to the last, without an error."""
    found = [] if "papermill" in executed.metadata else ["no metadata.papermill: not executed by papermill"]
    if executed.metadata.get("papermill", {}).get("exception"):
        found.append("papermill reports an exception")
    counts = [cell.execution_count for cell in cells(executed, "code")]
    if counts != list(range(1, len(counts) + 1)):
        found.append(f"want every code cell executed once, in order, got {counts}")
    for cell in cells(executed, "code"):
        found += [f"error output: {output.ename}" for output in cell.outputs if output.output_type == "error"]
    own = [(cell.cell_type, cell.source) for cell in executed.cells if "injected-parameters" not in tags(cell)]
    if own != [(cell.cell_type, cell.source) for cell in pair.cells]:
        found.append("source differs from the pair: execute the chapter again")
    return found
