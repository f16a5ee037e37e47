#!/usr/bin/env python3
"""Lay a chapter that builds: notebooks/NN_name.py from `.ci/chapter_template.py`, its pair, and its line in `_toc.yml`.

usage: make new CHAPTER=35_name      (.venv/bin/python .ci/new_chapter.py 35_name)

Everything is made and checked beside the tree first; then three files are put in place, or none.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEMPLATE = pathlib.Path(__file__).with_name("chapter_template.py")
NAME = re.compile(r"(\d\d)_[a-z0-9]+(?:_[a-z0-9]+)*")
# The tens digit of a chapter says its part; 7, 8 and 9 are free.
PARTS = {
    "0": "Calibration",
    "1": "Spin-glass dictionary",
    "2": "Angles and compression",
    "3": "Posterior collapse",
    "4": "Attractors",
    "5": "Geometry",
    "6": "Your own model",
}
PART_LINE = re.compile(r"^  - ")
CHAPTER_LINE = re.compile(r"^      - file: book/chapters/((\d)\d)_\w+\s*(?:#.*)?$")


def check_name(root: pathlib.Path, name: str) -> None:
    """Raises ValueError for a name that is not NN_name, a taken number, or one the register keeps for another."""
    if not NAME.fullmatch(name):
        raise ValueError(f"CHAPTER: want NN_name (two digits; lower case, digits and _), such as 35_name, got {name!r}")
    number = name[:2]
    toc = (root / "_toc.yml").read_text(encoding="utf-8").splitlines()
    taken = [path.relative_to(root).as_posix() for path in sorted((root / "notebooks").glob(f"{number}_*"))]
    taken += [
        f"'{line.strip()}' in _toc.yml" for line in toc if CHAPTER_LINE.match(line) and f"/{number}_" in line
    ]
    if taken:
        raise ValueError(f"CHAPTER: want a number that is free, got {number}, which has {taken[0]}")
    register = yaml.safe_load((root / "book" / "claims.yml").read_text(encoding="utf-8"))["chapters"]
    if register.get(number, name) != name:
        raise ValueError(f"CHAPTER: want {register[number]}, for which book/claims.yml keeps the number, got {name}")


def fill_template(name: str) -> str:
    """The chapter's text: number in every label, a title made of the name."""
    title = name[3:].replace("_", " ").capitalize()
    return TEMPLATE.read_text(encoding="utf-8").replace("NUMBER", name[:2]).replace("TITLE", title)


def add_to_toc(text: str, name: str) -> str:
    """_toc.yml with the chapter in number order, in the part of its tens digit; every other line stays as it is."""
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    chapters = [(at, match[1]) for at, line in enumerate(lines) if (match := CHAPTER_LINE.match(line))]
    smaller = [(at, number) for at, number in chapters if number < name[:2]]
    larger = [(at, number) for at, number in chapters if number > name[:2]]
    entry = f"      - file: book/chapters/{name}\n"
    if smaller and smaller[-1][1][0] == name[0]:
        lines.insert(smaller[-1][0] + 1, entry)
    elif larger and larger[0][1][0] == name[0]:
        lines.insert(larger[0][0], entry)
    else:
        at = part_after(lines, smaller[-1][0]) if smaller else part_of(lines, larger[0][0]) if larger else len(lines)
        lines[at:at] = [f"  - caption: {PARTS.get(name[0], 'Further chapters')}\n", "    chapters:\n", entry]
    check_toc(text, "".join(lines), name)
    return "".join(lines)


def part_of(lines: list[str], at: int) -> int:
    """The line where the part around a line begins, with the comments above it."""
    start = max(i for i in range(at) if PART_LINE.match(lines[i]))
    while lines[start - 1].lstrip().startswith("#"):
        start -= 1
    return start


def part_after(lines: list[str], at: int) -> int:
    """The line where the part after the one around a line begins, or the end."""
    following = next((i for i in range(at, len(lines)) if PART_LINE.match(lines[i])), None)
    return len(lines) if following is None else part_of(lines, following + 1)


def check_toc(before: str, after: str, name: str) -> None:
    """Raises ValueError unless the pages are those of before and the new one, the chapters in number order."""
    old, new = (toc_pages(yaml.safe_load(text)) for text in (before, after))
    chapters = [page for page in new if page.startswith("book/chapters/")]
    page = f"book/chapters/{name}"
    if [other for other in new if other != page] != old or new.count(page) != 1 or chapters != sorted(chapters):
        want = "parts with lines '      - file: book/chapters/NN_name' in number order"
        raise ValueError(f"_toc.yml: want {want}, got {chapters}")


def toc_pages(toc: dict) -> list[str]:
    return [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]


def lay(root: pathlib.Path, name: str) -> list[pathlib.Path]:
    """Write the chapter and its pair and enter it into the contents. Returns: the files written. Raises: ValueError."""
    check_name(root, name)
    toc = root / "_toc.yml"
    # A folder in the tree, since jupytext takes its settings from the pyproject.toml above.
    with tempfile.TemporaryDirectory(dir=root / "notebooks", suffix=".partial") as folder:
        staged = [pathlib.Path(folder, file) for file in (f"{name}.py", f"{name}.ipynb", "_toc.yml")]
        staged[0].write_text(fill_template(name), encoding="utf-8")
        command = [sys.executable, "-m", "jupytext", "--quiet", "--to", "ipynb", str(staged[0])]
        subprocess.run(command, check=True)
        os.utime(staged[1])  # jupytext stamps the .py too; the pair must not be older
        staged[2].write_text(add_to_toc(toc.read_text(encoding="utf-8"), name), encoding="utf-8")
        targets = [root / "notebooks" / f"{name}.py", root / "notebooks" / f"{name}.ipynb", toc]
        put_in_place(staged, targets)
    return targets


def put_in_place(staged: list[pathlib.Path], targets: list[pathlib.Path]) -> None:
    """Move all files or none: where a move fails, those before it, which are new, go again. _toc.yml comes last."""
    done = []
    try:
        for source, target in zip(staged, targets, strict=True):
            os.replace(source, target)
            done.append(target)
    except BaseException:
        for target in done:
            target.unlink()
        raise


def main(arguments: list[str]) -> None:
    try:
        written = lay(ROOT, arguments[0] if arguments else "")
    except ValueError as error:
        sys.exit(str(error))
    names = ", ".join(path.relative_to(ROOT).as_posix() for path in written)
    print(f"laid {names}; edit it in `make lab`, then `make book`")


if __name__ == "__main__":
    main(sys.argv[1:])
