"""Every command of the README and of the pages that tell a reader what to type, run in a fresh checkout.

RULES names each command and how it is tested: as written where that is a matter of seconds, else by the substitute that
is nearest to it. A command without a rule fails, and so does a rule without a command.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import anatomy
import jupytext
import nbformat
import pytest
import yaml
from fresh_checkout import ROOT, environment, make_checkout, run, succeed
from packaging.requirements import Requirement

PAGES = ("README.md", "CONTRIBUTING.md", "book/how_to_read.md", "book/intro.md")
SHELLS = ("sh", "bash")
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A code span is a command if it begins as one; a directory or a file alone is none.
PROGRAMS = "make|git|cd|conda|bash|sh|pip|python3?|jupyter|papermill|pytest"
COMMAND = re.compile(rf"(?:[A-Z_]+=\S+ +)*(?:(?:{PROGRAMS}) +\S|\.venv/bin/\S)")
CHAPTER = "notebooks/00_one_spectrum"
# Chapter 00 in a few seconds: the parameters that its time goes with.
SMALL = {"mlp_n_steps": 100, "n_repetitions": 3, "n_points": 200, "n_prices": 24}


def commands(page: str) -> list[str]:
    """Command lines of a page, in order: lines of its shell blocks, and code spans that begin like a command."""
    found = []
    text = FENCE.sub(lambda block: "\n".join(f"`{line}`" for line in shell_lines(*block.groups())), page)
    for span in re.findall(r"`([^`\n]+)`", text):
        if COMMAND.match(span):
            found.append(span)
    return found


def shell_lines(language: str, block: str) -> list[str]:
    if language not in SHELLS:
        return []
    return [line for line in (re.sub(r"(^|\s+)#.*", "", line).strip() for line in block.splitlines()) if line]


def python_blocks(page: str) -> list[str]:
    return [block for language, block in FENCE.findall(page) if language == "python"]


def unknown_blocks(page: str) -> list[str]:
    """Languages of blocks of which nobody would know whether they hold commands."""
    languages = [language for language, _ in FENCE.findall(page)]
    return [language for language in languages if language not in (*SHELLS, "python") and language[:1] != "{"]


TEXTS = {name: (ROOT / name).read_text() for name in PAGES}
COMMANDS = sorted({command for text in TEXTS.values() for command in commands(text)})


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A fresh checkout after its `make env`."""
    return make_checkout(tmp_path_factory.mktemp("reader") / "checkout")


# How each command is tested -------------------------------------------------------------------------------------------


def as_written(*printed: str) -> Callable[[Path, str], None]:
    """The command itself; what it prints holds these texts."""

    def rule(checkout: Path, command: str) -> None:
        output = succeed(checkout, command)
        assert [text for text in printed if text not in output] == []

    return rule


def environment_made(checkout: Path, command: str) -> None:
    """The command itself, after the one that made the checkout's environment; its latentlib is that of the checkout."""
    succeed(checkout, command)
    where = ".venv/bin/python -c 'import latentlib; print(latentlib.__file__)'"
    assert Path(succeed(checkout, f"cd notebooks && ../{where}").strip()) == checkout / "latentlib" / "__init__.py"


def planned(*steps: str) -> Callable[[Path, str], None]:
    """`make -n`: the plan has these steps in this order, and every program of the environment in it is there.

    The targets themselves run where this test runs (`make test` runs it, after `make book`) and in test_new_chapter.
    """

    def rule(checkout: Path, command: str) -> None:
        plan = succeed(checkout, command.replace("make", "make -n", 1))
        places = [plan.find(step) for step in steps]
        assert -1 not in places and places == sorted(places), plan
        programs = set(re.findall(r"\.venv/bin/[\w-]+", plan))
        assert [name for name in programs if not os.access(checkout / name, os.X_OK)] == []

    return rule


def executed(checkout: Path, command: str) -> None:
    """The command with smaller sizes behind it: the chapter runs to its end with the changed parameter."""
    succeed(checkout, f"{command} {' '.join(f'-p {name} {value}' for name, value in SMALL.items())}")
    (name, value) = command.split(" -p ")[1].split()
    told = nbformat.read(checkout / "out.ipynb", 4)
    assert told.metadata.papermill.exception is None and told.metadata.papermill.parameters[name] == value
    assert anatomy.check_executed(told, nbformat.read(checkout / f"{CHAPTER}.ipynb", 4)) == []


def prepared(checkout: Path, command: str) -> None:
    """The command with --prepare-only: the notebook holds the parameters of the file, all of which it knows."""
    output = succeed(checkout, f"{command} --prepare-only")
    assert "unknown parameter" not in output
    given = yaml.safe_load((checkout / command.split(" -f ")[1]).read_text())
    assert given and nbformat.read(checkout / "out.ipynb", 4).metadata.papermill.parameters == given


def swept(checkout: Path, command: str) -> None:
    """The sweep as written is planned; the command itself runs on a file of that name with two small runs."""
    file = checkout / re.search(r"\S+\.sweep\.yml", command)[0]
    text = file.read_text()
    sizes = [len(values) for values in yaml.safe_load(text)["grid"].values()]
    n_runs = 1
    for size in sizes:
        n_runs *= size
    plan = re.sub(r" --workers \d+", "", command.replace("sweep run", "sweep plan"))
    assert succeed(checkout, plan).strip().endswith(f"{n_runs} runs")
    try:
        file.write_text(yaml.safe_dump({"chapter": f"{CHAPTER}.ipynb", "grid": {"seed": [0, 1]}, "fixed": SMALL}))
        assert "2 of 2 runs done" in succeed(checkout, command)
    finally:
        file.write_text(text)


def served(checkout: Path, command: str) -> None:
    """The command itself, until its server shows the chapter; then it is told to end."""
    if not (checkout / "out.ipynb").exists():
        shutil.copy(checkout / f"{CHAPTER}.ipynb", checkout / "out.ipynb")
    runtime, config = (checkout.parent / name for name in ("runtime", "config"))
    shutil.rmtree(runtime, ignore_errors=True)
    config.mkdir(exist_ok=True)
    # No window opens, any port, and root may (in a container).
    settings = {"ServerApp": {"open_browser": False, "port": 0, "allow_root": True}}
    (config / "jupyter_server_config.json").write_text(json.dumps(settings))
    env = environment(JUPYTER_RUNTIME_DIR=str(runtime), JUPYTER_CONFIG_DIR=str(config))
    with subprocess.Popen(
        ["bash", "-c", command], cwd=checkout, env=env, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as server:
        try:
            page, contents = wait_for_server(server, runtime, f"{CHAPTER}.ipynb")
            assert "JupyterLab" in page and json.loads(contents)["name"] == Path(CHAPTER).name + ".ipynb"
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def wait_for_server(server: subprocess.Popen, runtime: Path, notebook: str) -> tuple[str, str]:
    for _ in range(240):
        for file in runtime.glob("jpserver-*.json"):
            told = json.loads(file.read_text())
            places = ("lab", f"api/contents/{notebook}")
            try:
                return tuple(read(f"{told['url']}{place}?token={told['token']}&content=0") for place in places)
            except urllib.error.HTTPError:
                raise
            except urllib.error.URLError:  # the file is there before the server listens
                pass
        assert server.poll() is None, server.stdout.read()
        time.sleep(0.25)
    raise AssertionError("no Jupyter server within a minute")


def read(address: str) -> str:
    with urllib.request.urlopen(address, timeout=30) as response:
        return response.read().decode()


def laid(checkout: Path, command: str) -> None:
    """The command itself; the chapter is there (that it builds is tested in test_new_chapter), and goes again."""
    toc = (checkout / "_toc.yml").read_text()
    succeed(checkout, command)
    name = command.split("CHAPTER=")[1]
    written = [checkout / "notebooks" / f"{name}{end}" for end in (".py", ".ipynb")]
    assert anatomy.check_pair(jupytext.read(written[0]), nbformat.read(written[1], 4)) == []
    assert f"book/chapters/{name}\n" in (checkout / "_toc.yml").read_text()
    (checkout / "_toc.yml").write_text(toc)
    for path in written:
        path.unlink()


def paired(checkout: Path, command: str) -> None:
    """The command itself, after a change of the .py: the pair follows it, and the cells keep their ids."""
    script, pair = (checkout / f"{CHAPTER}{end}" for end in (".py", ".ipynb"))
    text, ids = script.read_text(), [cell.id for cell in nbformat.read(pair, 4).cells]
    script.write_text(text.replace("# ## Limits\n", "# ## Limits\n#\n# A line more.\n"))
    succeed(checkout, command)
    followed = nbformat.read(pair, 4)
    assert anatomy.check_pair(jupytext.read(script), followed) == [] and "A line more." in str(followed)
    assert [cell.id for cell in followed.cells] == ids
    script.write_text(text)
    succeed(checkout, command)


def solvable(checkout: Path, command: str) -> None:
    """Where there is no conda: the file has what conda reads, and every requirement in it can be read by pip."""
    if shutil.which("conda"):
        succeed(checkout, f"{command} --dry-run", timeout=1200)
    file = yaml.safe_load((checkout / command.split(" -f ")[1]).read_text())
    assert file["name"] and file["channels"]
    (pip,) = (entry["pip"] for entry in file["dependencies"] if isinstance(entry, dict))
    assert [str(Requirement(text)) for text in pip if not text.startswith("-")] and "-e ." in pip


def parsed(checkout: Path, command: str) -> None:
    """Bash reads the script, and it does what the README says: make env, book and test (each has its rule)."""
    script = command.removeprefix("bash ")
    succeed(checkout, f"bash -n {script}")
    called = re.findall(r"^make (\w+)", (checkout / script).read_text(), re.MULTILINE)
    assert called == ["env", "book", "test"] and {f"make {target}" for target in called[1:]} <= set(COMMANDS)


def hooked(checkout: Path, command: str) -> None:
    """Without installing pre-commit: what its hooks call is there, and each can pass; the size hook can refuse, too."""
    assert command == "pip install pre-commit && pre-commit install"
    hooks = yaml.safe_load((checkout / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    entries = {hook["id"]: hook["entry"] for hook in hooks}
    succeed(checkout, entries["pairs"])
    succeed(checkout, f"{entries['tree']} --collect-only")
    succeed(checkout, f"{entries['large-files']} README.md")
    (checkout / "large.partial").write_bytes(bytes(1_000_001))
    refused = run(checkout, f"{entries['large-files']} README.md large.partial")
    assert refused.returncode == 1 and "large.partial is larger than 1 MB" in refused.stdout
    assert set(entries) == {"pairs", "tree", "large-files"}


RULES: dict[str, Callable[[Path, str], None]] = {
    "make env": environment_made,
    "make book": planned("papermill", "latentlib harvest pages", "jupyter-book build"),
    "make test": planned("jupyter-book build", "-m pytest -n 2 --dist loadfile tests", "--nbval-lax"),
    "make lab": served,
    "make pairs": paired,
    "make new CHAPTER=35_name": laid,
    "make links": planned(".ci/links.py"),  # test_workflows runs it, against a server of its own
    "bash .ci/run": parsed,
    "conda env create -f environment.yml": solvable,
    "pip install pre-commit && pre-commit install": hooked,
    f".venv/bin/papermill {CHAPTER}.ipynb out.ipynb -p dataset digits": executed,
    f".venv/bin/papermill --help-notebook {CHAPTER}.ipynb": as_written("dataset: str", "mlp_n_steps: int", "seed: int"),
    f".venv/bin/papermill {CHAPTER}.ipynb out.ipynb -f {CHAPTER}.full.yml": prepared,
    f".venv/bin/python -m latentlib sweep run {CHAPTER}.sweep.yml --workers 2": swept,
    ".venv/bin/python -m latentlib --help": as_written("data", "sweep", "harvest", "bench"),
    ".venv/bin/python -m latentlib data list": as_written("digits", "breast_cancer", "mnist"),
    ".venv/bin/jupyter lab out.ipynb": served,
}


def test_every_command_has_a_rule_and_every_rule_a_command():
    assert sorted(RULES) == COMMANDS


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_command_does_what_the_page_says(checkout, command):
    assert command in RULES, f"a command without a test: {command}"
    RULES[command](checkout, command)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, text in TEXTS.items() if python_blocks(text)])
def test_python_of_the_page_runs(checkout, name):
    code = "\n".join(python_blocks(TEXTS[name]))
    if name == "README.md":  # what its comments say
        code += "\nmoments = overlap.overlap_moments(codes)\nassert abs(moments.chi - 1) < 5 * moments.chi_se"
        code += "\nassert overlap.overlap_histogram(codes, n_bins=200).n_pairs == 20_000 * 19_999 // 2"
        code += "\nassert scan.converged.all() and scan.signal_fraction.shape == (2, 8)"
    succeed(checkout, f".venv/bin/python -c {shlex.quote(code)}")


def test_readme_runs_a_changed_chapter_within_five_commands():
    """From the README alone: the first block, whose commands are all run above as written."""
    section = TEXTS["README.md"].split("## Run a chapter")[1].split("\n## ")[0]
    first = [line for language, block in FENCE.findall(section)[:1] for line in shell_lines(language, block)]
    assert 1 <= len(first) <= 5
    assert [RULES[command] for command in first] == [environment_made, executed, served]


def test_links_to_files_lead_to_files():
    for name in PAGES:
        links = re.findall(r"\]\(((?!https?:)[^)#]+)", TEXTS[name])
        assert [link for link in links if not (ROOT / name).parent.joinpath(link).exists()] == []


# Files that a page names as something to open, read or make.
PATH = re.compile(r"(?:book|notebooks|latentlib|tests|data|\.ci)/[\w/.]+\.(?:py|ipynb|yml|md|csv)")
GENERATED = ("notebooks/35_name.",)


@pytest.mark.parametrize("name", PAGES)
def test_files_that_a_page_names_are_there(name):
    named = set(PATH.findall(TEXTS[name]))
    assert [path for path in sorted(named) if not (ROOT / path).exists() and not path.startswith(GENERATED)] == []


def test_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{citation["version"]}"' in project and f'text = "{citation["license"]}"' in project
    assert citation["cff-version"] == "1.2.0" and citation["authors"] and citation["message"] and citation["title"]


# The reading of pages -------------------------------------------------------------------------------------------------


def test_commands_are_found_in_blocks_tables_and_sentences():
    page = (
        "Git, make and `make` alone, `python` and `book/` are none.\n\n"
        "```sh\nmake a   # a comment\n\n# alone\nX=1 make b\n```\n| read | `make c`, then `.venv/bin/d e` |\n\n"
        "```python\nimport torch\n```\n\n```text\nmake f\n```\n`git clone g`"
    )
    assert commands(page) == ["make a", "X=1 make b", "make c", ".venv/bin/d e", "git clone g"]
    assert python_blocks(page) == ["import torch\n"]
    assert unknown_blocks(page) == ["text"]
    assert len(COMMANDS) >= 15


@pytest.mark.parametrize("name", PAGES)
def test_every_block_says_its_language(name):
    assert unknown_blocks(TEXTS[name]) == []
