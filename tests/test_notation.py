"""The notation page against the code: every name where the page says it is, and no name that means two things."""

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FORBIDDEN = {"beta", "sigma", "T", "lam", "h"}
CODE = re.compile(r"`([^`]+)`")


def notation_rows(page: str) -> list[tuple[list[str], list[str], list[str]]]:
    """(code names, modules, chapters) of every row of every table on the page."""
    rows = []
    for line in page.splitlines():
        cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
        if len(cells) == 4 and CODE.search(cells[2]):
            rows.append((CODE.findall(cells[2]), CODE.findall(cells[3]), re.findall(r"chapter (\d\d)", cells[3])))
    return rows


def public_names(module) -> set[str]:
    """Functions, classes, their parameters and their fields."""
    names = set()
    for name in getattr(module, "__all__", vars(module)):
        member = getattr(module, name)
        if name.startswith("_") or not getattr(member, "__module__", "").startswith("latentlib."):
            continue
        names.add(name)
        names.update(getattr(member, "__annotations__", {}))
        if inspect.isclass(member):
            names.update(attribute for attribute in vars(member) if not attribute.startswith("_"))
    return names


ROWS = notation_rows((ROOT / "book" / "notation.md").read_text())
WRITTEN = {path.name[:2] for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.py")}


def test_notation_rows_reads_the_page():
    page = "| a | b | `x`, `y` | `collapse` |\n| symbol | meaning | code | where |\n| c | d | `z` | chapter 20 |"
    assert notation_rows(page) == [(["x", "y"], ["collapse"], []), (["z"], [], ["20"])]
    assert len(ROWS) >= 30


@pytest.mark.parametrize("names, modules, chapters", ROWS, ids=[" ".join(row[0]) for row in ROWS])
def test_notation_names_live_where_the_page_says(names, modules, chapters):
    assert bool(modules) != bool(chapters), f"{names}: want modules of latentlib or a chapter, got {modules + chapters}"
    if chapters:
        assert not set(chapters) & WRITTEN, f"{names}: chapter {chapters} is written, so say which module has the names"
        return
    where = {module: public_names(import_module(f"latentlib.{module}")) for module in modules}
    assert set(names) <= set().union(*where.values()), f"{modules} lack {set(names) - set().union(*where.values())}"
    assert all(set(names) & found for found in where.values()), f"{names}: one of {modules} has none of them"


def forbidden_identifiers(source: str) -> list[str]:
    """Variables, parameters, keywords, functions, set attributes with a forbidden name; reading `x.T` is fine."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = {
            ast.Name: lambda: node.id,
            ast.arg: lambda: node.arg,
            ast.keyword: lambda: node.arg,
            ast.FunctionDef: lambda: node.name,
            ast.ClassDef: lambda: node.name,
            ast.alias: lambda: node.asname or node.name,
            ast.Attribute: lambda: node.attr if isinstance(node.ctx, ast.Store) else None,
        }
        name = names.get(type(node), lambda: None)()
        if name in FORBIDDEN:
            found.append(f"line {getattr(node, 'lineno', '?')}: {name}")
    return found


def test_forbidden_identifiers_finds_each_kind():
    assert forbidden_identifiers("y = x.T @ x") == []
    breaches = "T = 1; def f(beta): 0; f(sigma=1); def h(): 0; import numpy as lam; x.T = 1; lambda h: 0"
    for breach in breaches.split("; "):
        assert forbidden_identifiers(breach), breach


@pytest.mark.parametrize("path", sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("latentlib/**/*.py")))
def test_code_uses_no_name_that_means_two_things(path):
    assert forbidden_identifiers((ROOT / path).read_text()) == []
