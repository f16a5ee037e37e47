#!/usr/bin/env python3
"""Print Make rules: which modules of latentlib each chapter imports, directly or through others.

usage: python3 .ci/depends.py NOTEBOOK.py … > depends.mk      (standard library only)
"""

import ast
import pathlib
import sys

PACKAGE = pathlib.Path("latentlib")


def module_file(name: str) -> pathlib.Path | None:
    """latentlib.a.b → latentlib/a/b.py or latentlib/a/b/__init__.py."""
    path = pathlib.Path(*name.split("."))
    return next((f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file()), None)


def imports(source: str) -> set[pathlib.Path]:
    """Files of latentlib that a source imports anywhere, also inside functions or by a name in a string."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            names |= {f"latentlib.{LAZY[alias.name]}" for alias in node.names if node.module == "latentlib" and alias.name in LAZY}
    return {file for name in names if name.split(".")[0] == "latentlib" and (file := module_file(name))}


def lazy_names() -> dict[str, str]:
    """The NAMES table of latentlib/__init__.py: public name → module."""
    for node in ast.parse((PACKAGE / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "NAMES":
            return ast.literal_eval(node.value)
    return {}


def closure(files: set[pathlib.Path]) -> set[pathlib.Path]:
    """All files reached; a concept dispatched through _backend reaches its reference and its kernel."""
    reached, todo = set(), set(files)
    while todo:
        file = todo.pop()
        reached.add(file)
        source = file.read_text()
        found = imports(source)
        if "_backend" in source:
            found |= {f for kind in ("reference", "kernels") for f in [PACKAGE / kind / file.name] if f.is_file()}
        todo |= found - reached
    return reached


LAZY = lazy_names()

if __name__ == "__main__":
    for chapter in map(pathlib.Path, sys.argv[1:]):
        files = closure(imports(chapter.read_text()))
        print(f"book/chapters/{chapter.stem}.ipynb: {' '.join(sorted(map(str, files)))}")
