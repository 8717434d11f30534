"""A fingerprint of the code that a training run depends on: comments and docstrings do not change it."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from gatescope import tasks
from gatescope.cells.registry import Cell, get

_SOURCE = Path(__file__).parents[2]
# What a run is made with; followed are the imports inside these packages.  What only writes texts, checks arguments or
# stores results is left out: a better message does not make other numbers.
_FOLLOWED = ("cells", "kernels", "recurrence", "training", "tasks", "experiments/seeds")
_NOT_FOLLOWED = ("kernels/cuda",)  # training runs on the CPU
_ROOTS = ("experiments/seeds/training.py", "experiments/seeds/data.py")


def code_fingerprint(cell: str, task: str) -> str:
    """Return what changes when a run of this cell on this task may come out otherwise.

    It is of the statements of all modules that training imports, of the cell's own and of the task's, and of the
    version of Python, whose words they are in.  Other cells, other tasks, docstrings and comments do not count.

    Examples
    --------
    >>> from gatescope.experiments.seeds.code import code_fingerprint
    >>> code_fingerprint("gru", "adding") == code_fingerprint("lstm", "adding")
    False
    """
    whole = hashlib.sha256(f"{sys.version_info[:2]}{_equations(get(cell))}".encode())
    maker = getattr(tasks, task).__module__.removeprefix("gatescope.").replace(".", "/")
    for path in sorted(_closure((*_ROOTS, f"{maker}.py"))):
        whole.update(f"{path}\n{_parsed(path)[0]}\n".encode())
    return whole.hexdigest()[:16]


def statements(source: str) -> str:
    """Return a module's statements without comments and docstrings.

    Examples
    --------
    >>> from gatescope.experiments.seeds.code import statements
    >>> statements("x = 1  # one") == statements("'Numbers.'; x=1")
    True
    """
    return _without_docstrings(ast.parse(source))


def _without_docstrings(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _equations(cell: Cell) -> str:
    """Return a cell's statements; of one that is not gatescope's, its fingerprint."""
    path = _file_of(cell.step.__module__)
    return cell.fingerprint if path is None else _parsed(path)[0]


@cache
def _closure(roots: tuple[str, ...]) -> frozenset[str]:
    """Return the modules that these import, and those that they import in turn, as paths below the package."""
    seen, open_ones = set(roots), list(roots)
    while open_ones:
        for path in _parsed(open_ones.pop())[1]:
            if path not in seen and path.startswith(_FOLLOWED) and not path.startswith(_NOT_FOLLOWED):
                seen.add(path)
                open_ones.append(path)
    return frozenset(seen)


@cache
def _parsed(path: str) -> tuple[str, frozenset[str]]:
    """Return the statements of a module, and the paths of those it imports."""
    tree = ast.parse((_SOURCE / path).read_text(encoding="utf-8"))
    imported = frozenset(filter(None, map(_file_of, _imports(tree))))
    return _without_docstrings(tree), imported


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _file_of(module: str) -> str | None:
    """Return the path of a module of gatescope's below the package; None of others, and of packages."""
    package, _, name = module.partition(".")
    path = f"{name.replace('.', '/')}.py"
    return path if package == "gatescope" and name and (_SOURCE / path).is_file() else None
