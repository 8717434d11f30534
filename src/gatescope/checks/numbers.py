"""Checks of single values: counts, numbers, flags, functions."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from gatescope.errors import DtypeError, ValueRangeError


def check_threads(threads: Any, default: int) -> int:
    """A number of threads; None means as many as this process may use cores."""
    if threads is None:
        return default
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer) or threads < 1:
        raise ValueRangeError(
            f"threads={threads!r} must be a whole number of at least 1, or None for all cores"
        )
    return int(threads)


def check_count(name: str, value: Any, *, least: int = 1) -> int:
    """A whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueRangeError(f"{name}={value!r} must be a whole number of at least {least}")
    return int(value)


def check_number(name: str, value: Any, *, least: float) -> float:
    """A finite real number of at least `least`; True and False are none."""
    number = _finite_or_nan(value)
    if not number >= least:
        raise ValueRangeError(f"{name}={value!r} must be a finite number of at least {least}")
    return number


def check_above_zero(name: str, value: Any) -> float:
    """A finite real number above 0."""
    number = _finite_or_nan(value)
    if not number > 0:
        raise ValueRangeError(f"{name}={value!r} must be a finite number above 0")
    return number


def check_share(name: str, value: Any) -> float:
    """A number in [0, 1): what is kept or dropped of something, but never all of it."""
    number = _finite_or_nan(value)
    if not 0 <= number < 1:
        raise ValueRangeError(f"{name}={value!r} must lie in [0, 1)")
    return number


def check_finite_or_none(name: str, value: Any) -> float | None:
    """A finite real number, or None."""
    number = None if value is None else _finite_or_nan(value)
    if number is not None and math.isnan(number):
        raise ValueRangeError(f"{name}={value!r} must be a finite number, or None")
    return number


def _finite_or_nan(value: Any) -> float:
    """The value if it is a finite real number, else NaN."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond the greatest float
        return math.nan
    return number if math.isfinite(number) else math.nan


def check_flag(name: str, value: Any) -> bool:
    """True or False, and no number that stands for one."""
    if not isinstance(value, bool):
        raise ValueRangeError(f"{name}={value!r} must be True or False")
    return value


def check_call(name: str, function: Callable[..., Any], form: str, *arguments: Any, **keywords: Any) -> None:
    """That a function can be called with these arguments, which `form` shows; it is not called.

    Where its signature cannot be seen nothing is checked: the first call tells.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of functions that are written in C
        return
    try:
        signature.bind(*arguments, **keywords)
    except TypeError as error:
        raise DtypeError(
            f"{name} is a function that cannot be called with {form} ({error}); give one that can"
        ) from error


def keep(constants: Any, **values: Any) -> None:
    """Set fields of a frozen dataclass to what checks have made of them."""
    for name, value in values.items():
        object.__setattr__(constants, name, value)
