"""The version of a module's code: a hash of its syntax tree and of all that it imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from features.storage.whole_writes import content_hash

REPOSITORY = Path(__file__).parents[2]


@cache
def code_version(module: str) -> str:
    """Name the code of a module and of all modules of its package that it imports, at once or by way of others.

    It is read once in a process, which runs what it has loaded. Comments, docstrings, formatting and what
    only type checkers read change nothing that is computed.

    Examples
    --------
    >>> len(code_version("features.arrays.calendar_days"))
    16
    """
    return content_hash(text="".join(f"{name}{_syntax(name)}" for name in sorted(import_closure(module))))


def import_closure(module: str) -> set[str]:
    """Name a module and everything of its own package that it imports.

    Examples
    --------
    >>> sorted(import_closure("features.arrays.calendar_days"))
    ['features.arrays.array_types', 'features.arrays.calendar_days']
    """
    found: set[str] = set()
    waiting = {module}
    while waiting:
        found |= waiting
        waiting = {each for name in waiting for each in _imported(name)} - found
    return found


def _imported(module: str) -> Iterator[str]:
    package = module.partition(".")[0]
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == package:
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            yield from (name for name in names if _source_file(name).is_file())


@cache
def _tree(module: str) -> ast.Module:
    """Parse a module, and leave out what changes nothing that is computed."""
    tree = ast.parse(_source_file(module).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = [each for each in node.body if not (_is_text(each) or _is_for_type_checkers(each))]
    return tree


@cache
def _syntax(module: str) -> str:
    return ast.dump(_tree(module))


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _source_file(module: str) -> Path:
    return REPOSITORY.joinpath(*module.split(".")).with_suffix(".py")
