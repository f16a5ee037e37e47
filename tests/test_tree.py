"""The walls of the project: the tree, who imports whom, what an import costs, where a name lives.

Every rule is a function from what it reads to a list of complaints; beside each stands a test that feeds it a breach.
"""

import ast
import re
import subprocess
import sys
import textwrap
import warnings
from collections import defaultdict
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import latentlib

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "latentlib"
SOURCES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
CORE = {"torch", "numpy", "scipy"}


def git_files() -> list[str]:
    """Every file that is or would be under version control."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in names if (ROOT / name).is_file()]


# The tree -----------------------------------------------------------------------------------------------------------

TOP_LEVEL = set(
    "book notebooks latentlib data tests _config.yml _toc.yml environment.yml README.md pyproject.toml Makefile "
    "LICENSE CITATION.cff CONTRIBUTING.md .ci .github .gitignore .gitattributes .pre-commit-config.yaml".split()
)
MACHINE_PATH = re.compile(r"(?<![\w.)}\]>])/(?:home|root|tmp|work|Users)\b")


def strangers(names: list[str]) -> list[str]:
    return sorted({name.split("/")[0] for name in names} - TOP_LEVEL)


def test_tree_top_level_is_the_architecture():
    assert strangers(git_files()) == []
    assert strangers(["latentlib/a.py", "scripts/b.py", "setup.py"]) == ["scripts", "setup.py"]


def test_tree_has_no_path_of_a_machine():
    found = []
    for name in git_files():
        try:
            text = (ROOT / name).read_text()
        except UnicodeDecodeError:
            continue  # tables and pictures
        found += [f"{name}:{number}: {line.strip()}" for number, line in machine_paths(text)]
    assert found == []


def machine_paths(text: str) -> list[tuple[int, str]]:
    return [(number, line) for number, line in enumerate(text.splitlines(), 1) if MACHINE_PATH.search(line)]


def test_machine_paths_finds_them():
    slash = "/"  # kept apart, or this file would be found
    lines = ["a", f"open('{slash}home/me/x')", f"{slash}tmp"]
    assert machine_paths("\n".join(lines)) == [(2, lines[1]), (3, lines[2])]
    assert machine_paths("https://x.org/home/page ../work/x s/work") == []


def test_tree_has_no_drawer():
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
    assert [name for name in git_files() if Path(name).stem.strip("_") in drawers] == []


def test_tree_modules_are_one_concept_long():
    lengths = {name: len(text.splitlines()) for name, text in SOURCES.items()}
    for name, length in lengths.items():
        if 250 < length <= 300:
            warnings.warn(f"{name} has {length} lines: past 250 a module is two concepts", stacklevel=1)
    assert {name: length for name, length in lengths.items() if length > 300} == {}


# Who imports whom ---------------------------------------------------------------------------------------------------


def imports(name: str, text: str) -> list[tuple[str, bool]]:
    """(module, runs at import) of every import statement and literal import_module call; `from a import b` is a.b."""
    found = []
    package = name.removesuffix(".py").split("/")[:-1]

    def visit(node: ast.AST, at_import: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.orelse:
                visit(child, at_import)
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found.extend((f"{module}.{alias.name}", at_import) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            found.append((ast.unparse(node.args[0]).strip("f'\""), at_import))
        inside = at_import and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(ast.parse(text), True)
    return found


def side(name: str) -> str:
    """reference, kernels or api: where a file of the package stands."""
    part = name.split("/")[1]
    return part if part in ("reference", "kernels") else "api"


def breaches(name: str, text: str) -> list[str]:
    """Import rules of the package that a source breaks."""
    found = []
    for module, at_import in imports(name, text):
        top = module.split(".")[0]
        inner = module.startswith("latentlib.") and module.split(".")[1]
        if side(name) != "api" and top == "latentlib" and inner != side(name):
            found.append(f"{name}: {side(name)} imports {module}")
        if side(name) == "api" and inner == "kernels" and name != "latentlib/_backend.py":
            found.append(f"{name}: reaches {module} past _backend")
        if top == "triton" and side(name) != "kernels":
            found.append(f"{name}: imports triton outside kernels/")
        allowed = CORE | {"latentlib"} | {"triton"} | ({"typer"} if name == "latentlib/__main__.py" else set())
        if at_import and top not in sys.stdlib_module_names and top not in allowed:
            found.append(f"{name}: imports {module} at import")
        if at_import and f"{module}.".startswith(("scipy.stats.", "torch._dynamo.")):
            found.append(f"{name}: imports {module} at import")
    return found


def test_imports_respect_the_walls():
    assert [complaint for name, text in SOURCES.items() for complaint in breaches(name, text)] == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("latentlib/reference/overlap.py", "from latentlib.kernels import overlap"),
        ("latentlib/reference/overlap.py", "from latentlib.overlap import overlap"),
        ("latentlib/reference/overlap.py", "from ..kernels import tiles"),
        ("latentlib/reference/overlap.py", "import triton"),
        ("latentlib/kernels/overlap.py", "def f():\n    from latentlib.reference.overlap import q"),
        ("latentlib/kernels/overlap.py", "from .. import collapse"),
        ("latentlib/overlap.py", "from latentlib.kernels import overlap"),
        ("latentlib/overlap.py", "from .kernels.overlap import histogram"),
        ("latentlib/overlap.py", "def f():\n    import_module('latentlib.kernels.overlap')"),
        ("latentlib/overlap.py", "def f():\n    import_module(f'latentlib.kernels.{c}')"),
        ("latentlib/overlap.py", "def f():\n    import triton.language as tl"),
        ("latentlib/train.py", "import pandas as pd"),
        ("latentlib/train.py", "try:\n    from tqdm.auto import tqdm\nexcept ImportError:\n    pass"),
        ("latentlib/train.py", "class A:\n    import sklearn"),
        ("latentlib/train.py", "import typer"),
        ("latentlib/train.py", "from scipy import stats"),
        ("latentlib/train.py", "import scipy.stats"),
        ("latentlib/train.py", "from torch._dynamo import reset"),
    ],
)
def test_imports_breaches_are_seen(name, text):
    assert breaches(name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("latentlib/_backend.py", "import_module(f'latentlib.kernels.{concept}')"),
        ("latentlib/kernels/overlap.py", "import triton\nfrom latentlib.kernels.tiles import pairs"),
        ("latentlib/train.py", "import json, scipy.special\ndef f():\n    import pandas\n    import scipy.stats"),
        ("latentlib/style.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import matplotlib"),
        ("latentlib/__main__.py", "import typer"),
        ("latentlib/sweep/run.py", "from . import plan\nfrom ..overlap import overlap"),
    ],
)
def test_imports_good_ones_pass(name, text):
    assert breaches(name, text) == []


def test_imports_are_declared_dependencies():
    declared = {requirement.name.lower().replace("_", "-") for requirement in project_requirements()}
    distributions = packages_distributions()
    missing = set()
    for name, text in SOURCES.items():
        for module, _ in imports(name, text):
            top = module.split(".")[0]
            if top.isidentifier() and top not in sys.stdlib_module_names and top != "latentlib":
                names = {dist.lower().replace("_", "-") for dist in distributions.get(top, [top])}
                missing |= {f"{name}: {top}"} if not names & declared else set()
    # They are what the declared jupyter packages are made of.
    come_along = ("IPython", "nbformat", "nbclient", "jupyter_client", "traitlets", "distributed")
    assert sorted(entry for entry in missing if not entry.endswith(come_along)) == []


# What an import costs -----------------------------------------------------------------------------------------------

# Refuses every package that is neither of the standard library nor named on the command line.
BLOCKER = """
import sys
allowed = set(sys.argv[1].split(","))
class Blocker:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in allowed and top not in sys.stdlib_module_names and not top.startswith("_"):
            raise ModuleNotFoundError(f"No module named {name!r} (blocked)", name=name)
sys.meta_path.insert(0, Blocker())
"""


@cache
def core_packages() -> frozenset[str]:
    """Top-level names of torch, numpy, scipy and all they require, without triton."""
    todo, seen = list(CORE), set()
    while todo:
        distribution = todo.pop().lower().replace("_", "-")
        if distribution in seen or distribution == "triton":
            continue
        seen.add(distribution)
        try:
            needed = [Requirement(text) for text in requires(distribution) or []]
        except PackageNotFoundError:
            continue
        todo += [need.name for need in needed if need.marker is None or need.marker.evaluate({"extra": ""})]
    owners = packages_distributions()
    return frozenset(top for top, dists in owners.items() if {dist.lower().replace("_", "-") for dist in dists} & seen)


def run_blocked(code: str) -> subprocess.CompletedProcess:
    allowed = ",".join(core_packages() | {"latentlib"})
    command = [sys.executable, "-c", BLOCKER + textwrap.dedent(code), allowed]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_import_blocker_blocks():
    for package in ("triton", "pandas", "matplotlib", "yaml", "sklearn"):
        result = run_blocked(f"import {package}")
        assert result.returncode == 1 and "(blocked)" in result.stderr, package


def test_import_needs_torch_numpy_scipy_alone_and_no_gpu():
    modules = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in SOURCES]
    modules = [name for name in modules if "kernels." not in name and not name.endswith("__main__")]
    result = run_blocked(f"""
        import importlib, torch
        def refuse(*args, **kwargs):
            raise AssertionError("an import asks for a GPU")
        torch.cuda.is_available = torch.cuda.device_count = torch.cuda._lazy_init = torch.cuda.init = refuse
        for name in {modules}:
            importlib.import_module(name)
        assert not torch.cuda.is_initialized()
        print("imported")
    """)
    assert result.stdout.strip() == "imported", result.stderr


def test_instruments_need_torch_numpy_scipy_alone():
    result = run_blocked("""
        import torch
        from latentlib import angles, collapse, fisher, overlap, vector_field
        covariance = torch.diag(torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64))
        scan = collapse.equilibrium(covariance, torch.tensor([0.1, 0.2], dtype=torch.float64), 2)
        print(scan.signal_fraction.shape, angles.angle_spectrum(scan.signal_fraction).shape)
        codes = torch.randn(50, 2, dtype=torch.float64)
        overlap.overlap_moments(codes), overlap.overlap_histogram(codes, n_bins=8)
        vector_field.jacobian_spectrum(torch.tanh, codes), fisher.pullback_metric(torch.tanh, codes, 1.0)
        print("measured")
    """)
    assert result.stdout.strip().endswith("measured"), result.stderr


def test_import_loads_nothing_and_takes_no_time():
    # Beyond torch, numpy and scipy: the package itself and at most a few files of the standard library.
    code = """
        import sys, time, torch, numpy, scipy
        before = set(sys.modules)
        start = time.perf_counter()
        import latentlib
        elapsed = time.perf_counter() - start
        new = sorted({name.split(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))
        print(elapsed, *new)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    results = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True) for _ in range(3)]
    runs = [result.stdout.split() for result in results]
    assert {" ".join(new) for _, *new in runs} == {"latentlib"}
    # The minimum of three runs: what the import needs, not what else the machine was doing.
    assert min(float(elapsed) for elapsed, *_ in runs) <= 0.3


def test_import_takes_this_checkout():
    assert Path(latentlib.__file__).resolve().parent == PACKAGE


# Where a name lives -------------------------------------------------------------------------------------------------


def definitions(text: str) -> dict[str, ast.AST]:
    """Public names that a module defines: functions, classes and constants; imported ones are not its own."""
    found: dict[str, ast.AST] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                found |= {leaf.id: node for leaf in ast.walk(target) if isinstance(leaf, ast.Name)}
    return {name: node for name, node in found.items() if not name.startswith("_")}


def homeless(sources: dict[str, str]) -> dict[str, list[str]]:
    """Public names with more than one home. Reference and kernels repeat the names of the API, each once; private
    modules have no public names, and those of __main__ are the words of the command line, which nobody imports."""
    homes = defaultdict(list)
    for name, text in sources.items():
        if Path(name).name.startswith("_") and Path(name).name != "__init__.py":
            continue
        for public in definitions(text):
            homes[side(name), public].append(name)
    return {public: names for (_, public), names in homes.items() if len(names) > 1}


def test_names_have_one_home():
    assert homeless(SOURCES) == {}
    twice = {"latentlib/a.py": "def f(): ...", "latentlib/sweep/b.py": "f = 1\n_g = 1", "latentlib/c.py": "_g = 2"}
    assert homeless(twice) == {"f": ["latentlib/a.py", "latentlib/sweep/b.py"]}


def test_names_exported_are_no_modules():
    stems = {Path(name).parts[1].removesuffix(".py") for name in SOURCES}
    assert set(latentlib.NAMES) & (stems | set(latentlib.MODULES)) == set()
    assert set(latentlib.MODULES) <= stems
    for name, module in latentlib.NAMES.items():
        text = SOURCES.get(f"latentlib/{module}.py") or SOURCES[f"latentlib/{module}/__init__.py"]
        assert name in definitions(text), f"{name} has its home in {module}"
    with pytest.raises(AttributeError, match="no 'nothing'; it has"):
        _ = latentlib.nothing


def kernel_concepts(names) -> list[str]:
    stems = [Path(name).stem for name in names if name.startswith("latentlib/kernels/")]
    return [stem for stem in stems if stem not in ("__init__", "tiles")]


def test_kernels_have_reference_api_test_and_bench():
    concepts = kernel_concepts(SOURCES)
    assert concepts, "no kernel found: the walls below would hold vacuously"
    bench = SOURCES["latentlib/_bench_cases.py"]
    for concept in concepts:
        assert f"latentlib/reference/{concept}.py" in SOURCES
        assert f"latentlib/{concept}.py" in SOURCES
        assert "triton" in (ROOT / f"tests/test_{concept}.py").read_text(), f"test_{concept}.py never runs the kernel"
        assert re.search(rf"\b{concept}\b", bench), f"_bench_cases.py has no case for {concept}"
    for name in SOURCES:
        if name.startswith("latentlib/reference/"):
            assert Path(name).stem in ("__init__", *concepts), f"{name} is the reference of no kernel"


# The package's own files, whose test is this one.
TESTED_HERE = {"latentlib/__init__.py", "latentlib/reference/__init__.py", "latentlib/kernels/__init__.py"}


def concept(name: str) -> str:
    """Concept of a file: reference/overlap.py and kernels/overlap.py → overlap, sweep/run.py → sweep, _a.py → _a."""
    parts = Path(name).with_suffix("").parts[1:]
    return parts[1] if parts[0] in ("reference", "kernels") else parts[0]


def untested(sources: dict[str, str], tests: set[str]) -> list[str]:
    """Modules without a test file of their name; a private module is part of the tested modules that import it."""
    importers = defaultdict(set)
    for name, text in sources.items():
        for module, _ in imports(name, text):
            for inner in module.split(".")[1:2] if module.startswith("latentlib.") else []:
                importers[inner].add(concept(name))
    missing = []
    for name in sources.keys() - TESTED_HERE:
        stem = concept(name)
        names = {stem.strip("_")} | (importers[stem] if stem.startswith("_") or stem == "tiles" else set())
        if not {f"test_{one}.py" for one in names} & tests:
            missing.append(f"{name}: no tests/test_{stem.strip('_')}.py")
    return sorted(missing)


def test_modules_have_a_test_of_their_name():
    assert untested(SOURCES, {path.name for path in (ROOT / "tests").glob("test_*.py")}) == []


def test_modules_untested_are_seen():
    sources = {"latentlib/a.py": "from latentlib._b import f", "latentlib/_b.py": "", "latentlib/_c.py": ""}
    sources |= {"latentlib/kernels/d.py": "", "latentlib/sweep/run.py": ""}
    tests = {"test_a.py", "test_sweep.py"}
    assert [line.split(":")[0] for line in untested(sources, tests)] == ["latentlib/_c.py", "latentlib/kernels/d.py"]


def undocumented(name: str, text: str) -> list[str]:
    """Public names whose docstring does not open with a statement; API functions silent about what they raise."""
    found = []
    private = Path(name).name.startswith("_")
    for public, node in definitions(text).items():
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        docstring = ast.get_docstring(node) or ""
        first = docstring.split("\n")[0].rstrip()
        if len(first.split()) < 3 or not first.endswith((".", ":", "?", ";")):
            found.append(f"{name}: {public}: want a first docstring line that states what it is, got {first!r}")
        raises = isinstance(node, ast.FunctionDef) and any(isinstance(leaf, ast.Raise) for leaf in ast.walk(node))
        if raises and side(name) == "api" and not private and not re.search(r"[Rr]aise|Error\b", docstring):
            found.append(f"{name}: {public}: raises, and its docstring does not say what")
    return found


def test_names_are_documented():
    assert [complaint for name, text in SOURCES.items() for complaint in undocumented(name, text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "def f(): ...",
        "class A: ...",
        'def f():\n    """Overlap."""',
        'def f():\n    """Overlap q_ab = z_a·z_b without an end\n\n    """',
        'def f():\n    """Overlap q_ab = z_a·z_b of two codes."""\n    raise ValueError',
    ],
)
def test_names_undocumented_are_seen(text):
    assert undocumented("latentlib/a.py", text)


# The two lists of requirements --------------------------------------------------------------------------------------


def project_table() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def project_texts() -> list[str]:
    table = project_table()
    return [*table["dependencies"], *(text for extra in table["optional-dependencies"].values() for text in extra)]


def project_requirements() -> list[Requirement]:
    return [Requirement(text) for text in project_texts()]


def test_environment_is_the_project():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    index = "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert sorted(pip) == sorted([index, *project_texts(), "-e ."])
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    assert "pip" in conda
    (python,) = (entry.removeprefix("python") for entry in conda if entry.startswith("python"))
    lower = project_table()["requires-python"]
    assert lower.startswith(">=") and python.startswith((lower, "=")), f"python{python} against {lower}"
    if not python.startswith(">="):
        assert tuple(map(int, python.lstrip("=").split(".")[:2])) >= tuple(map(int, lower[2:].split(".")))
