"""Values out of a pickle without carrying it out: nothing is imported, and nothing is called.

A pickle is a program that makes objects by calling what it names.  Here its instructions are read as data: plain values
become themselves, the name of a function or a class stays a name, and what would have been called stays a description
of the call.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_MOST_OPCODES = 500_000  # of a state_dict an entry takes about 25
_MOST_INDEX = 2**32  # of a memo
_MOST_KEY = 2**60  # larger integers share their hashes with smaller ones, and can be made to collide


class Global(NamedTuple):
    """The name of a function or a class: ``"collections.OrderedDict"``."""

    name: str


class PersistentId(NamedTuple):
    """What a pickle says of data that lie outside it."""

    value: Any


@dataclass(eq=False, slots=True)
class Call:
    """What a pickle would have made by a call.

    Attributes
    ----------
    name : str
        Of the function or class; empty if it is itself the result of a call.
    arguments : tuple
    state : object
        What would have become of its attributes; None if nothing.
    items : dict
        What would have been set in it by key.
    """

    name: str
    arguments: tuple[Any, ...]
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)


def parse(data: bytes) -> Any:
    r"""Return the value that a pickle describes, made of plain values, tuples, lists, dicts and the classes above.

    Sets come as lists.  Entries of dicts are left out if their keys are neither text nor integers below 2^60: they name
    nothing, and hashing others can be made to take forever.

    Raises
    ------
    ValueError
        If it is torn, has an instruction that no model is written with, or more than 500,000 of them.

    Examples
    --------
    >>> from gatescope.io.pytorch.inert_pickle import parse
    >>> parse(b"cos\nsystem\n(S'echo'\ntR.")
    Call(name='os.system', arguments=('echo',), state=None, items={})
    """
    reader = _Reader()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count == _MOST_OPCODES:
            raise ValueError(f"it has more than {_MOST_OPCODES} instructions")
        if opcode.name in _CONSTANTS:
            reader.stack.append(argument)
        elif opcode.name in _MAKERS:
            reader.stack.append(_MAKERS[opcode.name]())
        elif opcode.name in _READERS:
            _READERS[opcode.name](reader, argument)
        elif opcode.name not in _SKIPPED:
            raise ValueError(f"its instruction {opcode.name} is not one that models are saved with")
    return reader.pop()


_MARK = object()


class _Reader:
    """The stack and the memo of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise ValueError("it takes a value that was never given")
        return self.stack.pop()

    def top(self) -> Any:
        self.stack.append(value := self.pop())
        return value

    def pop_to_mark(self) -> list[Any]:
        values: list[Any] = []
        while self.stack:
            value = self.stack.pop()
            if value is _MARK:
                return values[::-1]
            values.append(value)
        raise ValueError("it ends a list that was never begun")

    def put(self, index: int) -> None:
        if not 0 <= index < _MOST_INDEX:
            raise ValueError(f"it remembers a value as number {index}")
        self.memo[index] = self.top()

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise ValueError(f"it recalls a value number {index} that it never remembered")
        self.stack.append(self.memo[index])

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(values)))

    def name(self) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise ValueError("it names a function by what is no text")
        self.stack.append(Global(f"{module}.{name}"))

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(arguments, tuple):
            raise ValueError("it calls a function with what is no tuple")
        self.stack.append(Call(function.name if isinstance(function, Global) else "", arguments))

    def call_with_names(self) -> None:
        self.pop()
        self.call()

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Call):
            target.state = state

    def set_items(self, values: list[Any]) -> None:
        target = self.top()
        items = target.items if isinstance(target, Call) else target
        if not isinstance(items, dict) or len(values) % 2:
            raise ValueError("it sets entries of what is no dict")
        items.update((key, value) for key, value in _pairs(values) if _is_plain(key))

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Call):
            raise ValueError("it appends to what is no list")


def _pairs(values: list[Any]) -> Iterator[tuple[Any, Any]]:
    return zip(values[::2], values[1::2], strict=True)


def _is_plain(key: Any) -> bool:
    return type(key) is str or (type(key) is int and -_MOST_KEY < key < _MOST_KEY)


# What carries a value: all others that leave something on the stack leave an object that has to be made.
_CONSTANTS = frozenset(
    opcode.name
    for opcode in pickletools.opcodes
    if opcode.arg and opcode.stack_after and not opcode.stack_before
    if opcode.stack_after != [pickletools.anyobject]
)
_SKIPPED = frozenset({"PROTO", "FRAME", "STOP"})
_MAKERS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "MARK": lambda: _MARK,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,
}
_READERS: dict[str, Callable[[_Reader, Any], object]] = {
    "PUT": _Reader.put,
    "BINPUT": _Reader.put,
    "LONG_BINPUT": _Reader.put,
    "MEMOIZE": lambda reader, _: reader.put(len(reader.memo)),
    "GET": _Reader.get,
    "BINGET": _Reader.get,
    "LONG_BINGET": _Reader.get,
    "GLOBAL": lambda reader, text: reader.stack.append(Global(text.replace(" ", ".", 1))),
    "STACK_GLOBAL": lambda reader, _: reader.name(),
    "TUPLE": lambda reader, _: reader.stack.append(tuple(reader.pop_to_mark())),
    "TUPLE1": lambda reader, _: reader.tuple_of(1),
    "TUPLE2": lambda reader, _: reader.tuple_of(2),
    "TUPLE3": lambda reader, _: reader.tuple_of(3),
    "FROZENSET": lambda reader, _: reader.stack.append(reader.pop_to_mark()),
    "SETITEM": lambda reader, _: reader.set_items([reader.pop(), reader.pop()][::-1]),
    "SETITEMS": lambda reader, _: reader.set_items(reader.pop_to_mark()),
    "APPEND": lambda reader, _: reader.append([reader.pop()]),
    "APPENDS": lambda reader, _: reader.append(reader.pop_to_mark()),
    "ADDITEMS": lambda reader, _: reader.append(reader.pop_to_mark()),
    "BINPERSID": lambda reader, _: reader.stack.append(PersistentId(reader.pop())),
    "REDUCE": lambda reader, _: reader.call(),
    "NEWOBJ": lambda reader, _: reader.call(),
    "NEWOBJ_EX": lambda reader, _: reader.call_with_names(),
    "BUILD": lambda reader, _: reader.build(),
    "POP": lambda reader, _: reader.pop(),
    "POP_MARK": lambda reader, _: reader.pop_to_mark(),
}
