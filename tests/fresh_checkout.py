"""A checkout as a new reader has it, in a temporary folder with its own environment, for tests that use it."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OUTER = re.compile(r"PYTEST_|MAKE|MFLAGS|PYTHON|VIRTUAL_ENV")  # of the make and pytest around this test


def environment(**more: str) -> dict[str, str]:
    """The variables of a reader's shell, without those of the make and the pytest that run this test."""
    inner = {name: value for name, value in os.environ.items() if not OUTER.match(name)}
    # The Python this environment was made with, so that the third-party packages are shared and not installed again.
    python = getattr(sys, "_base_executable", sys.executable)
    return {**inner, "OMP_NUM_THREADS": "1", "PYTHON": python, **more}


def run(checkout: Path, command: str, timeout: float = 600, **more: str) -> subprocess.CompletedProcess:
    """A command line as a reader types it, at the root of the checkout."""
    return subprocess.run(
        ["bash", "-c", command], cwd=checkout, env=environment(**more), capture_output=True, text=True, timeout=timeout
    )


def succeed(checkout: Path, command: str, **more) -> str:
    """What a command prints; fails with its last lines if it does not exit with 0."""
    done = run(checkout, command, **more)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def copy_tree(target: Path) -> Path:
    """Every file that is or would be under version control, as it stands here."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def shared_packages() -> Path:
    """The third-party packages of this checkout's `.venv`, which hold all that pyproject.toml asks for."""
    (link,) = ROOT.glob(".venv/lib/python*/site-packages/shared_packages.pth")
    site = Path(re.search(r"addsitedir\('(.+)'\)", link.read_text())[1])
    packages = site.parents[2]
    key = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()[:16]
    assert packages.name.endswith(key), "pyproject.toml is newer than the environment: run `make env`"
    return packages


def make_checkout(target: Path) -> Path:
    """The tree and `make env`, which finds the third-party packages and installs only the checkout."""
    if not (ROOT / ".venv" / "ready").exists():
        pytest.skip("no environment in .venv: run `make env`")
    copy_tree(target)
    succeed(target, "make env", LATENTLIB_ENVS=str(shared_packages().parent))
    return target


def bring_executed_chapters(checkout: Path) -> None:
    """Chapters executed here already, newer than all they depend on: `make book` then runs only the others."""
    succeed(checkout, "make pairs")
    for path in sorted((ROOT / "book" / "chapters").glob("[0-9][0-9]_*.ipynb")):
        if (checkout / "notebooks" / path.name).exists():
            (checkout / "book" / "chapters").mkdir(parents=True, exist_ok=True)
            shutil.copy(path, checkout / "book" / "chapters")
