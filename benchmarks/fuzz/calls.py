"""Odd calls: public functions, with one or two of their arguments not as they should be."""

from __future__ import annotations

import ast
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gatescope as gs
from benchmarks.fuzz import zoo
from benchmarks.fuzz.case import Case
from benchmarks.fuzz.judge import NotRightError, in_the_package, same
from benchmarks.fuzz.table import ALWAYS, COUNTED, FREE, LINES, PRELUDE, TIMED

_ODD_ONES = (1, 1, 1, 2)
_OPTIONAL = 0.3  # of the arguments that may be left out, as many are given


class Argument(NamedTuple):
    """An argument of a call: its name, its normal value as code, and whether it stands there by its name."""

    name: str
    text: str
    keyword: bool
    needed: bool


class Call(NamedTuple):
    """A line of the table: a function, as code, and its arguments."""

    function: str
    arguments: tuple[Argument, ...]

    def line(self, texts: dict[str, str]) -> str:
        """Return the call with these texts in place of arguments; those that are not among them are left out."""
        parts = [
            f"{argument.name}={texts[argument.name]}" if argument.keyword else texts[argument.name]
            for argument in self.arguments
            if argument.name in texts
        ]
        return f"{self.function}({', '.join(parts)})"


def namespace(folder: Path) -> dict[str, Any]:
    """Return what the calls see, with files in a folder, which becomes the current one."""
    os.chdir(folder)
    names: dict[str, Any] = {}
    exec(PRELUDE, names)
    return names


def parse(line: str, names: dict[str, Any]) -> Call:
    """Return a line of the table taken apart."""
    node = ast.parse(line, mode="eval").body
    assert isinstance(node, ast.Call)
    function = ast.unparse(node.func)
    signature = inspect.signature(eval(function, names))
    positional = [p.name for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY]
    arguments = [
        Argument(positional[k], ast.unparse(value), False, True) for k, value in enumerate(node.args)
    ]
    for keyword in node.keywords:
        name = str(keyword.arg)
        needed = signature.parameters[name].default is inspect.Parameter.empty
        arguments.append(Argument(name, ast.unparse(keyword.value), True, needed))
    return Call(function, tuple(arguments))


def ready(line: str, names: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return a call whose arguments have been made, to be evaluated, and what it sees; None if they cannot be made."""
    tree = ast.parse(line, mode="eval")
    call, names = tree.body, dict(names)
    assert isinstance(call, ast.Call)
    for holder, values in ((call, call.args), *((keyword, [keyword.value]) for keyword in call.keywords)):
        for k, value in enumerate(values):
            name = f"_{len(names)}"
            try:
                names[name] = eval(ast.unparse(value), names)
            except (ArithmeticError, AttributeError, TypeError, ValueError, LookupError) as error:
                if isinstance(error, gs.GatescopeError) or not in_the_package(error):
                    return None, names
                raise
            loaded = ast.Name(name, ast.Load())
            if isinstance(holder, ast.Call):
                holder.args[k] = loaded
            else:
                holder.value = loaded
    return compile(ast.fix_missing_locations(tree), "<case>", "eval"), names


class Calls:
    """The cases of odd calls."""

    def __init__(self, seed: int, folder: Path) -> None:
        self._seed = seed
        self._names = namespace(folder)
        self._calls = [parse(line, self._names) for line in LINES]
        self._calls = [call for call in self._calls if call.arguments]

    def case(self, number: int) -> Case:
        """Return a case by its number."""
        rng = np.random.default_rng([self._seed, 1, number])
        call = zoo.pick(rng, self._calls)
        texts = {
            a.name: a.text for a in call.arguments if a.needed or a.name in ALWAYS or rng.random() < _OPTIONAL
        }
        plain = dict(texts)
        odd: dict[str, str] = {}
        for k in rng.permutation(len(call.arguments))[: int(zoo.pick(rng, _ODD_ONES))]:
            argument = call.arguments[int(k)]
            value = eval(argument.text, self._names)
            huge = argument.name not in COUNTED
            texts[argument.name], odd[argument.name] = zoo.draw(
                argument.text, value, argument.name, rng, huge=huge
            )
            plain[argument.name] = argument.text
        order = {a.name: texts[a.name] for a in call.arguments if a.name in texts}
        line = call.line(order)
        normal = (
            call.line({name: plain[name] for name in order})
            if set(odd.values()) == {"same"} and call.function not in TIMED
            else None
        )
        nonsense = [name for name, kind in odd.items() if kind == "nonsense" and name not in FREE]
        return Case(line, self._run(line, normal, nonsense))

    def _run(self, line: str, normal: str | None, nonsense: list[str]) -> Callable[[], Any]:
        def run() -> Any:
            call, names = ready(line, self._names)
            if call is None:
                return None
            result = eval(call, names)
            if nonsense:
                raise NotRightError(
                    f"accepts nonsense for {', '.join(nonsense)} in {line.partition('(')[0]}: {line}"
                )
            if normal is not None:
                try:
                    expected = eval(normal, dict(self._names))
                except gs.GatescopeError:  # arguments that do not go together
                    return result
                if not same(result, expected):
                    raise NotRightError(
                        f"differs from what it is in disguise in {line.partition('(')[0]}: {line}, {normal}"
                    )
            return result

        return run
