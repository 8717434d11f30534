"""Copies of functions in which chosen values are replaced, wherever the functions reach them.

A kernel names `cuda`, device functions and primitives through its globals and its closure, and the functions it
calls name more of them.  `copy_with` follows all of these and copies just the functions that lead to a replaced value.
"""

from collections.abc import Callable, Iterator
from types import CellType, CodeType, FunctionType
from typing import Any


def _names(code: CodeType) -> set[str]:
    """Every global (and attribute) name in `code` and in the functions and comprehensions inside it."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def _cell_contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a cell that is still empty
        return None


def _reached(function: FunctionType) -> Iterator[Any]:
    """Yield the values that `function` names."""
    scope = function.__globals__
    yield from (scope[name] for name in _names(function.__code__) if name in scope)
    yield from map(_cell_contents, function.__closure__ or ())
    yield from function.__defaults__ or ()


class _Copier:
    def __init__(self, replacement: Callable[[Any], Any], unwrap: Callable[[Any], FunctionType | None]):
        self.replacement, self.unwrap = replacement, unwrap
        self.copies: dict[FunctionType, FunctionType] = {}

    def inner(self, value: Any) -> Iterator[tuple[FunctionType | None, bool]]:
        """Yield what is in a value: a function to follow or None, and whether the value itself must be replaced."""
        if self.replacement(value) is not None:
            yield None, True
        elif (device_function := self.unwrap(value)) is not None:
            yield device_function, True  # the dispatcher gives way to its Python function
        elif isinstance(value, FunctionType):
            yield value, False
        elif isinstance(value, tuple):
            for item in value:
                yield from self.inner(item)

    def concerned(self, start: FunctionType) -> set[FunctionType]:
        """Return the functions reached from `start` that lead to something to replace."""
        callers: dict[FunctionType, set[FunctionType]] = {start: set()}
        reached, pending = [], [start]
        while pending:
            function = pending.pop()
            for value in _reached(function):
                for callee, replaced in self.inner(value):
                    if replaced:
                        reached.append(function)
                    if callee is not None:
                        if callee not in callers:
                            callers[callee] = set()
                            pending.append(callee)
                        callers[callee].add(function)
        concerned: set[FunctionType] = set()
        while reached:
            function = reached.pop()
            if function not in concerned:
                concerned.add(function)
                reached.extend(callers[function])
        return concerned

    def new(self, value: Any) -> Any:
        replacement = self.replacement(value)
        if replacement is not None:
            return replacement
        device_function = self.unwrap(value)
        if device_function is not None:
            value = device_function
        if isinstance(value, FunctionType):
            return self.copies.get(value, value)
        if isinstance(value, tuple):
            items = [self.new(item) for item in value]
            if any(a is not b for a, b in zip(items, value, strict=True)):
                return type(value)._make(items) if hasattr(value, "_make") else tuple(items)
        return value

    def run(self, start: FunctionType) -> FunctionType:
        for function in self.concerned(start):
            # The code is copied too: two functions of one factory share theirs, and the emulator tells
            # their static shared arrays apart by the code that asked for them.
            self.copies[function] = FunctionType(
                function.__code__.replace(),
                dict(function.__globals__),
                function.__name__,
                None,
                tuple(CellType() for _ in function.__closure__ or ()) or None,
            )
        for function, copy in self.copies.items():
            scope = copy.__globals__
            for name in _names(function.__code__) & scope.keys():
                scope[name] = self.new(scope[name])
            for old, cell in zip(function.__closure__ or (), copy.__closure__ or (), strict=True):
                try:
                    cell.cell_contents = self.new(old.cell_contents)
                except ValueError:
                    continue
            copy.__defaults__ = self.new(function.__defaults__)
            copy.__kwdefaults__ = function.__kwdefaults__
        return self.copies.get(start, start)


def copy_with(
    function: FunctionType,
    replacement: Callable[[Any], Any],
    unwrap: Callable[[Any], FunctionType | None],
) -> FunctionType:
    """Return `function` with replaced values; the function itself if it leads to none.

    Parameters
    ----------
    function : function
        Where to begin.
    replacement : callable
        Gives what stands in for a value, or None to keep the value.
    unwrap : callable
        Gives the Python function inside a device function's dispatcher, or None for anything else.
    """
    return _Copier(replacement, unwrap).run(function)
