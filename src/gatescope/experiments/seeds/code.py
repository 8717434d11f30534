"""A fingerprint of the code that a training run depends on: comments and docstrings do not change it."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gatescope import tasks
from gatescope.cells.registry import Cell, get

_SOURCE = Path(__file__).parents[2]
# What a run is made with; followed are the imports inside these packages, and of the data types those that models and
# data are.  What only writes texts, checks arguments or stores results is left out: a better message does not make
# other numbers.
_FOLLOWED = (
    "cells",
    "kernels",
    "recurrence",
    "training",
    "tasks",
    "experiments/seeds",
    "datatypes/batch",
    "datatypes/params",
    "datatypes/stack",
)
_PACKAGES = ("numpy", "numba", "llvmlite")  # which draw, compute and compile
# Training runs on the CPU, and how runs are named makes no other numbers.
_NOT_FOLLOWED = ("kernels/cuda", "experiments/seeds/code")
_ROOTS = ("experiments/seeds/training.py", "experiments/seeds/data.py")


def code_fingerprint(cell: str, task: str, *, roots: tuple[str, ...] = _ROOTS) -> str:
    """Return what changes when a run of this cell on this task may come out otherwise.

    It is of the statements of all modules that training imports, of the cell's own and of the task's; of the versions
    of Python, whose words they are in, of NumPy, Numba and llvmlite, and of a package that the task's data come from;
    and of the bytes of its data files.  Other cells, other tasks, docstrings and comments do not count.

    Parameters
    ----------
    cell, task : str
    roots : tuple of str
        The modules that make such runs, as paths below the package.  Default: those of a `RunSpec`.

    Examples
    --------
    >>> from gatescope.experiments.seeds.code import code_fingerprint
    >>> code_fingerprint("gru", "adding") == code_fingerprint("lstm", "adding")
    False
    """
    return _digest(_equations(get(cell)), (*roots, _maker(task)))


@cache  # the sources are read once, and every run is asked for several times
def _digest(equations: str, roots: tuple[str, ...]) -> str:
    """Return the digest of the equations of a cell and of all modules that these import."""
    versions = [f"{package} {_version(package)}" for package in _PACKAGES]
    whole = hashlib.sha256(f"{sys.version_info[:2]}{versions}{equations}".encode())
    for path in sorted(_closure(roots)):
        whole.update(f"{path}\n{_parsed(path)[0]}\n{_brought(path)}".encode())
    return whole.hexdigest()[:16]


def packages_missing(task: str) -> tuple[str, ...]:
    """Return the packages that a task's data come from and that are not installed."""
    return tuple(name for name, installed in _brought(_maker(task))[0].items() if not installed)


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


def _maker(task: str) -> str:
    """Return the path of the module that makes a task."""
    name: str = getattr(tasks, task).__module__
    return f"{name.removeprefix('gatescope.').replace('.', '/')}.py"


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


@cache
def _brought(path: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the packages that a module needs for its data, with their versions, and its data files, with digests."""
    nodes = list(ast.walk(ast.parse((_SOURCE / path).read_text(encoding="utf-8"))))
    names = {  # need(module, package, extra)
        ast.literal_eval(node.args[1])
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "need"
    }
    texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
    files = (_SOURCE / path).parent.glob("data/*")
    digests = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.name in texts
    }
    return {name: _version(name) for name in sorted(names)}, digests


@cache  # which reads a file, and is asked for with every run
def _version(package: str) -> str:
    """Return the version of a package, empty if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _file_of(module: str) -> str | None:
    """Return the path of a module of gatescope's below the package, or of the one that a package takes a name from.

    None of others, and of packages.
    """
    package, _, name = module.partition(".")
    path = f"{name.replace('.', '/')}.py"
    if package != "gatescope" or not name:
        return None
    return path if (_SOURCE / path).is_file() else _handed_on(module.rpartition(".")[0]).get(module)


@cache
def _handed_on(package: str) -> dict[str, str]:
    """Return the paths of the modules that a package imports names from, by the names it hands on."""
    path = _SOURCE.joinpath(*package.split(".")[1:], "__init__.py")
    if not path.is_file():
        return {}
    imported = [
        node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)
    ]
    return {
        f"{package}.{alias.asname or alias.name}": origin
        for node in imported
        if (origin := _file_of(f"{node.module}")) is not None
        for alias in node.names
    }
