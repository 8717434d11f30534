"""Checks of single values: counts, numbers, flags, choices, indices, functions.

Each takes the argument's name first, returns the value in the type that is computed with, and raises an error that
holds the name, the value, what it must be, and what to do.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np

from gatescope.errors import DtypeError, UnknownNameError, ValueRangeError, article

_MOST = 10**999  # Python writes and reads no number of a few thousand digits
Check = Callable[[str, Any], Any]


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number; True and False are none."""
    if type(value) is int:  # what most are; to ask for several kinds takes longer
        return True
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_nan(value: Any) -> bool:
    """Return whether a value is the one number that is none."""
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def is_several(value: Any) -> bool:
    """Return whether a value is a sequence, or an array of an axis or more, and neither a text nor bytes."""
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    if isinstance(value, (list, tuple)):
        return True
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | memoryview)


def check_count(name: str, value: Any, *, least: int = 1, most: int | None = None, advice: str = "") -> int:
    """Return a whole number of at least `least` and, if `most` is given, at most that; none has a thousand digits."""
    if not is_whole(value) or not least <= int(value) <= (_MOST if most is None else most):
        allowed = f"of at least {least}" if most is None else f"from {least} to {most}"
        if most is None and is_whole(value) and int(value) > _MOST:
            allowed += " and of fewer than a thousand digits"
        raise ValueRangeError(f"must be a whole number {allowed}", argument=name, seen=value, advice=advice)
    return int(value)


def default_threads() -> int:
    """Return as many threads as this process may use cores."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not every system says
        return os.cpu_count() or 1


def check_threads(threads: Any) -> int:
    """Return a number of threads; None means as many as this process may use cores."""
    if threads is None:
        return default_threads()
    return check_count("threads", threads, most=most_threads(), advice="leave it out to use all cores")


def most_threads() -> int:
    """Return a number of threads that no computation gains by, and every system can start."""
    return max(256, 4 * (os.cpu_count() or 1))


def check_index(name: str, value: Any, size: int, what: str) -> int:
    """Return an index from 0 to `size` - 1; `what` names the things that are counted, as in "sequences"."""
    if not is_whole(value) or not 0 <= value < size:
        things = f"is 1 {what.removesuffix('s')}" if size == 1 else f"are {size} {what}"
        raise ValueRangeError(f"is out of range: there {things}, numbered from 0", argument=name, seen=value)
    return int(value)


def check_number(
    name: str, value: Any, *, least: float = -math.inf, most: float = math.inf, advice: str = ""
) -> float:
    """Return a finite real number from `least` to `most`; True and False are none."""
    number = _finite_or_nan(value)
    if not least <= number <= most:
        allowed = "" if least == -math.inf else f" of at least {least:g}"
        if most != math.inf:
            allowed = f" of at most {most:g}" if least == -math.inf else f" from {least:g} to {most:g}"
        raise ValueRangeError(f"must be a finite number{allowed}", argument=name, seen=value, advice=advice)
    return number


def check_above_zero(name: str, value: Any, *, advice: str = "") -> float:
    """Return a finite real number above 0."""
    number = _finite_or_nan(value)
    if not number > 0:
        raise ValueRangeError("must be a finite number above 0", argument=name, seen=value, advice=advice)
    return number


def check_fraction(name: str, value: Any) -> float:
    """Return a number in [0, 1): what is dropped or left out of something, but never all of it."""
    number = _finite_or_nan(value)
    if not 0 <= number < 1:
        raise ValueRangeError("must lie in [0, 1)", argument=name, seen=value)
    return number


def check_flag(name: str, value: Any) -> bool:
    """Return True or False; a word such as "no", or a number that stands for one, is refused."""
    if not isinstance(value, bool | np.bool_):
        raise ValueRangeError("must be True or False", argument=name, seen=value)
    return bool(value)


def check_unused(why: str, **arguments: Any) -> None:
    """Refuse arguments that are not None and would have no effect; `why` says what makes it so, as in "without x"."""
    for name, value in arguments.items():
        if value is not None:
            raise ValueRangeError(f"has no effect {why}", argument=name, seen=value, advice="leave it out")


def check_choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Return one of a few names.

    Raises
    ------
    UnknownNameError
        If it is none of them; the error lists them.
    """
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        raise UnknownNameError(
            "is not known", argument=name, seen=value, advice=f"choose from {', '.join(known)}"
        )
    return value


def check_choices(name: str, value: Any, choices: Iterable[str]) -> tuple[str, ...]:
    """Return some of a few names, at least one; a name alone may stand for a list of one."""
    try:
        names = (value,) if isinstance(value, str) else tuple(value)
    except TypeError as error:
        raise DtypeError(argument=name, seen=type(value), advice="give a name, or a list of names") from error
    known = list(choices)
    chosen = tuple(check_choice(name, one, known) for one in names)
    if not chosen:
        raise ValueRangeError("is empty", argument=name, advice=f"name at least one of {', '.join(known)}")
    return chosen


def check_type(name: str, value: Any, *types: type, advice: str) -> None:
    """Refuse a value of another type; `advice` says what to give."""
    if not isinstance(value, types):
        raise DtypeError(argument=name, seen=type(value), advice=advice)


def check_text(name: str, value: Any) -> str:
    """Return a text that a file can hold and a terminal shows as it is."""
    check_type(name, value, str, advice="give a text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueRangeError(
            f"holds half of a character, at {error.start}, which no file takes", argument=name, seen=value
        ) from error
    if not value.isprintable():  # such as the beginning of a command to a terminal
        raise ValueRangeError("holds a character that is not printed", argument=name, seen=value)
    return str(value)


def check_result(name: str, value: Any, kind: type, maker: str) -> None:
    """Refuse all but one type of result, whose arrays fit each other; `maker` is the function that returns it."""
    parts = getattr(value, "results", None)
    if isinstance(parts, tuple) and parts and isinstance(parts[0], kind) and not isinstance(value, kind):
        raise DtypeError(
            "is of several layers",
            argument=name,
            advice=f"take one of them, as in {name}['layers.0'], or draw all of them with plot_by_layer",
        )
    check_type(name, value, kind, advice=f"give {article(kind.__name__)}, as gatescope.{maker} returns it")
    value.check_fields(name)


def check_call(name: str, function: Callable[..., Any], form: str, *arguments: Any, **keywords: Any) -> None:
    """Refuse a function that cannot be called with these arguments, which `form` shows; it is not called.

    Where its signature cannot be seen nothing is checked: the first call shows it.
    """
    if not callable(function):
        raise DtypeError(
            argument=name, seen=type(function), advice=f"give a function that is called with {form}"
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of functions that are written in C
        return
    try:
        signature.bind(*arguments, **keywords)
    except TypeError as error:
        raise DtypeError(
            f"is a function that cannot be called with {form} ({error})",
            argument=name,
            advice="give one that can",
        ) from error


def set_checked(frozen: Any, **values: Any) -> None:
    """Set fields of a frozen dataclass to what checks have made of them."""
    for name, value in values.items():
        object.__setattr__(frozen, name, value)


def check_fields(frozen: Any, **checks: Check) -> None:
    """Set each field of a frozen dataclass that is named to what its check makes of it."""
    set_checked(frozen, **{name: check(name, getattr(frozen, name)) for name, check in checks.items()})


def or_none(check: Check) -> Check:
    """Return a check that lets None through."""
    return lambda name, value: None if value is None else check(name, value)


def _finite_or_nan(value: Any) -> float:
    """Return the value if it is a finite real number, else NaN."""
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, Real)):
        return math.nan
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond the greatest float
        return math.nan
    return number if math.isfinite(number) else math.nan
