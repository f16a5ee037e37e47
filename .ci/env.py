#!/usr/bin/env python3
"""Make `.venv`: third-party packages shared by all checkouts with the same pyproject.toml, plus this checkout, editable.

usage: python3 .ci/env.py

The shared packages lie in $LATENTLIB_ENVS (default: ~/.cache/latent-phases) under a key made of pyproject.toml and the Python
version, so a second checkout installs nothing. They never hold latentlib itself: `.venv` sees them through one .pth file
and adds `pip install --no-deps -e .`. Needs nothing but the standard library.
"""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import sysconfig
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"


def main() -> None:
    if sys.version_info < (3, 10):
        sys.exit(f"want Python 3.10 or newer, got {platform.python_version()} ({sys.executable}); try: make PYTHON=python3.12")
    started = time.monotonic()
    key = f"{sys.version_info.major}.{sys.version_info.minor}-{hashlib.sha256((ROOT / 'pyproject.toml').read_bytes()).hexdigest()[:16]}"
    home = pathlib.Path(os.environ.get("LATENTLIB_ENVS") or pathlib.Path.home() / ".cache" / "latent-phases").resolve()
    home.mkdir(parents=True, exist_ok=True)
    with locked(home / f"{key}.lock"):
        if not (home / key / "complete").exists():
            install_packages(home / key)
    link_checkout(home / key)
    print(f".venv is ready ({time.monotonic() - started:.0f} s); third-party packages: {home / key}")


@contextlib.contextmanager
def locked(path: pathlib.Path):
    """Two checkouts that start together install once: the second waits for the first."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def requirements() -> list[str]:
    """All requirement strings of pyproject.toml, the build backend's included."""
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10: pip brings a parser
        from pip._vendor import tomli as tomllib
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    return [*project["build-system"]["requires"], *project["project"]["dependencies"], *(r for extra in extras for r in extra)]


def install_packages(target: pathlib.Path) -> None:
    print(f"installing the third-party packages into {target} (once; a few minutes and about 7 GB with torch's CUDA build)", flush=True)
    shutil.rmtree(target, ignore_errors=True)  # without its mark of completion it is the rest of a crash
    create_venv(target)
    run(target / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements())
    (target / "complete").touch()


def create_venv(target: pathlib.Path) -> None:
    if subprocess.run([sys.executable, "-m", "venv", str(target)]).returncode:
        shutil.rmtree(target, ignore_errors=True)
        sys.exit(f"{sys.executable} -m venv failed; on Debian and Ubuntu: apt-get install python3-venv")


def link_checkout(packages: pathlib.Path) -> None:
    if VENV.exists():
        shutil.rmtree(VENV)
    create_venv(VENV)
    shared_site, own_site = (site_packages(venv) for venv in (packages, VENV))
    (own_site / "shared_packages.pth").write_text(f"import site; site.addsitedir({str(shared_site)!r})\n")
    link_scripts(packages)
    for folder in ("share/jupyter", "etc/jupyter"):
        if (packages / folder).is_dir():
            (VENV / folder).parent.mkdir(exist_ok=True)
            (VENV / folder).symlink_to(packages / folder)
    python = VENV / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    (VENV / "ready").touch()


def site_packages(venv: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(sysconfig.get_path("purelib", "venv", {"base": str(venv), "platbase": str(venv)}) if sys.version_info >= (3, 11)
                        else venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages")


def link_scripts(packages: pathlib.Path) -> None:
    """Copy the console scripts, so that `.venv/bin/papermill` runs with the Python of this checkout."""
    for script in sorted((packages / "bin").iterdir()):
        target = VENV / "bin" / script.name
        if target.exists() or script.is_symlink() or not script.is_file():
            continue
        text = script.read_bytes()
        old = str(packages / "bin" / "python").encode()
        if text.startswith(b"#!") and old in text.split(b"\n", 3)[0] + text.split(b"\n", 3)[1]:
            target.write_bytes(text.replace(old, str(VENV / "bin" / "python").encode(), 1))
            target.chmod(0o755)


def run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command])
    if done.returncode:
        sys.exit(f"failed: {' '.join(str(part) for part in command[:6])} …")


if __name__ == "__main__":
    main()
