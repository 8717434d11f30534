"""Odd values, as lines of code, and values that are a normal one in disguise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from gatescope.datatypes import Result


def _values(text: str) -> list[str]:
    """Return the values in a text, which have bars between them; @ stands for a normal value."""
    return [" ".join(value.split()) for value in text.split("|")]


# What no argument can be.
NONSENSE = _values(r"""
    object() | Unshowable() | b'\xff\x1b' | 1j | ... | (lambda: 0) | {'no such': object()} |
    np.array([object()]) | '\x1b[31mno such' | np.datetime64('2020') | np.zeros(2, 'i4,f4') | float('nan') |
    np.array(['x', 'y']) | [[1], [2, 3]] | {1, 2} | Unshowable | [Unshowable()] | np.zeros(2, 'M8[s]') |
    types.SimpleNamespace(shape=(2, 2), dtype='f8') | np.void(b'ab') | typical | gs
""")
WHOLE = _values(r"""
    -1 | 0 | 1 | 2 | 3 | 1.5 | 2.0 | True | '3' | np.int8(3) | np.array(3) | np.array([3]) | [3] | None | -10**30 |
    np.uint64(2) | np.float64(2) | float('inf') | fractions.Fraction(3) | 'lots' | (3,)
""")
HUGE = _values(r"""
    2**31 | 2**63 | 10**30 | 2**64 - 1 | 10**5000 | np.int64(2**62)
""")
REAL = _values(r"""
    0.0 | -0.0 | -1.0 | float('inf') | -float('inf') | 1e308 | 5e-324 | '0.5' | True | None | [0.5] | 1 |
    np.array([0.5]) | np.array(0.5) | fractions.Fraction(1, 2) | decimal.Decimal('0.5') | 10**400 |
    np.float16(0.5)
""")
TEXT = _values(r"""
    '' | 'x' * 10**5 | ' lstm' | 'LSTM' | '\x00' | 'é' | '\ud800' | None | 0 | ['h'] | np.str_('h') | b'h' |
    'joint' | 'all' | 'chrono(1e999)' | 'gaussian(nan)' | 'chrono(1)' | 'step(0, nan)' | '(' | ('h', 'c') |
    'random' | 'spectral' | 'unit' | 'cuda' | 'float16' | 'object' | 'f8,f8' | np.float32 | 'warmup(3, 3)'
""")
FLAGS = _values(r"""
    0 | 1 | 'False' | None | np.array(True) | [] | np.array([True, False]) | 2 | ''
""")
PATHS = _values(r"""
    '' | '.' | '/dev/null' | 'no/such.npz' | 'a\x00b.npz' | b'params.npz' | pathlib.Path('params.npz') | 0 |
    '\ud800.npz' | 'x' * 5000 + '.npz' | None | 'series.csv' | 'own.npz' | '/proc/self/mem' | [] | 3.5 | -1
""")
SEQUENCE = _values(r"""
    [] | () | {} | None | [None] | [-1] | [0] | [1, 1] | [2, 1] | [1.5] | [True] | ['f'] | 'f' | 'no such' |
    [10**30] | [float('nan')] | [[1, 2], [3, 4]] | np.zeros(0) | np.zeros((2, 2, 2)) | np.array([1, 2], 'u1') |
    range(1, 4) | {'f': float('inf')} | {'f': {}} | {'f': {99: 1.0}} | {'f': [1.0]} | {None: None} | {'f': None} |
    {'f': {0.5: 1.0}} | {'f': 'x'} | np.zeros((4, 5)) | np.full((4, 5), np.nan) | iter([1, 2]) | slice(None) |
    slice(5, 2) | slice(0, 10**30) | slice('a', None) | slice(0, 10, 2) | ['f', 'f'] | [object()] | {'a': None}
""")
ARRAY = _values(r"""
    @[:0] | @[:1] | @[..., None] | @[None] | @.T | @.astype('f2') | @.astype('i8') | @.astype('c16') |
    @ > 0 | @.astype('U') | @.astype(object) | @.astype('g') | @ * np.nan | @ * np.inf | @ + 1e300 | @[0] |
    np.ma.masked_array(@, @ > 0) | @.reshape(-1) | @.tobytes() | np.broadcast_to(@[:1], @.shape) | None |
    np.zeros(()) | np.zeros((0, 0, 0)) | iter(@) | list(@) | memoryview(@) | @[..., :0] | -@ | @ * 1e-320 |
    np.concatenate([@, @], axis=-1) | 'random' | 5 | @.shape | np.moveaxis(@, 0, -1) | @.astype('S')
""")
RESULT = _values(r"""
    None | dataclasses.asdict | @.arrays() | [@] | (@, @) | type(@) | params | trace | batch | stack | flow |
    trained | inputs | dataclasses.replace(@, provenance=None)
""")
# What is done to an array `a` of a result.
DAMAGE = _values(r"""
    a[:-1] | a[..., :-1] | a * np.nan | a.tolist() | a.astype('f4') | a.astype('f2') | a[None] | None | a[:0] |
    np.ma.masked_array(a, a > 0) | a.astype(object) | np.asfortranarray(a) | a[::-1] | 'x'
""")

_PLAIN = _values("None | 'x' | -1 | 3 | (a, a) | [] | float('nan') | object() | {'a': a}")

_SAME: dict[str, list[str]] = {
    "whole": _values("np.int64(@) | np.int32(@) | int(@) | np.uint16(@)"),
    "real": _values("np.float64(@) | float(@)"),
    "text": _values("np.str_(@) | str(@)"),
    "flag": _values("np.bool_(@) | bool(@)"),
    "array": _values("""
        @.tolist() | np.asfortranarray(@) | @.astype('>f8') | @.view(Subclass) | @[::-1][::-1] |
        @.copy() | np.ma.masked_array(@) | np.repeat(@, 2, axis=-1)[..., ::2] | np.require(@.copy(),
        requirements=[])
    """),
    "path": _values("pathlib.Path(@) | './' + @"),
    "result": _values("dataclasses.replace(@)"),
}
_ODD: dict[str, list[str]] = {
    "whole": WHOLE,
    "real": REAL + WHOLE,
    "text": TEXT,
    "flag": FLAGS,
    "array": ARRAY,
    "path": PATHS,
    "sequence": SEQUENCE + WHOLE,
    "result": RESULT,
    "other": SEQUENCE + WHOLE + TEXT + REAL,
}


class Unshowable:
    """Something whose text cannot be made."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


class Subclass(np.ndarray):
    """An array of another class."""


def replaced(result: Any, field: str, change: Callable[[Any], Any]) -> Any:
    """Return a copy of a result with a changed field."""
    return dataclasses.replace(result, **{field: change(getattr(result, field))})


def typical(value: Any, name: str) -> str:
    """Return of what kind an argument is, by its normal value and its name."""
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int):
        return "whole"
    if isinstance(value, float):
        return "real"
    if isinstance(value, str):
        return "path" if "." in value or name in ("folder", "path_without_suffix") else "text"
    if isinstance(value, np.ndarray):
        return "array"
    if isinstance(value, Result):
        return "result"
    return "sequence" if isinstance(value, list | tuple | dict | slice) else "other"


def draw(text: str, value: Any, name: str, rng: np.random.Generator, *, huge: bool) -> tuple[str, str]:
    """Return an odd value in the place of a normal one, and whether it is "same", "odd" or "nonsense".

    Parameters
    ----------
    text, value : str, object
        The normal one, as code and as it is.
    name : str
        Of the argument.
    rng : Generator
    huge : bool
        Whether a number may be one that no memory holds.
    """
    kind, way = typical(value, name), rng.random()
    if way < 0.2 and kind in _SAME:
        return pick(rng, _SAME[kind]).replace("@", text), "same"
    if way < 0.5:
        return pick(rng, NONSENSE), "nonsense"
    if kind == "result" and way < 0.8:
        arrays = [field.name for field in dataclasses.fields(value) if field.name != "provenance"]
        field = pick(rng, arrays)
        way = pick(rng, DAMAGE if isinstance(getattr(value, field), np.ndarray) else _PLAIN)
        return f"replaced({text}, {field!r}, lambda a: {way})", "odd"
    choices = _ODD[kind] + HUGE if huge and kind in ("whole", "real", "sequence", "other") else _ODD[kind]
    return pick(rng, choices).replace("@", text), "odd"


def pick(rng: np.random.Generator, choices: Any) -> Any:
    """Return one of some values."""
    return choices[int(rng.integers(len(choices)))]
