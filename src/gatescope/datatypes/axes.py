"""Axes and kinds of the arrays of a result: declared once with its type, checked when a file is read.

A type says ``_axes = {"lag": "(L,) int64", "log_norm": "(L, B) float64"}``, in the words of its docstring: names stand
for sizes that have to be the same wherever they occur.  A size may be a number, a name, a name plus a number as in
``T+1``, or names times each other as in ``G*H``.  Without a dtype an array holds float32 or float64; ``real`` and
``whole`` stand for every dtype of such numbers, truth values among the real ones.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

_KINDS = {"real": "fiub", "whole": "iu"}  # of dtypes
_SOME = {"B", "H", "I", "k", "n"}  # sizes that are never 0
_DECLARED = re.compile(r"\(([^)]*)\)(?: (\w+))?")


def check_axes(values: Mapping[str, Any], axes: Mapping[str, str], sizes: Mapping[str, int]) -> None:
    """Refuse arrays whose axes or dtypes are not what is declared, or do not fit each other.

    Parameters
    ----------
    values : mapping of str to array, tuple or None
        None is not checked; of a tuple its length is.
    axes : mapping of str to str
        What is declared of each; where there are several forms, ``" or "`` is between them.
    sizes : mapping of str to int
        Sizes that are known from elsewhere.

    Raises
    ------
    ValueError
        It says which array is of which shape, and what it should be.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.datatypes.axes import check_axes
    >>> axes = {"inputs": "(T, B, I)", "states": "(T+1, B, S, H)"}
    >>> check_axes({"inputs": np.zeros((4, 2, 1)), "states": np.zeros((4, 2, 1, 3))}, axes, {})
    Traceback (most recent call last):
    ...
    ValueError: states of shape (4, 2, 1, 3), where (T+1, B, S, H) with T = 4, B = 2 belongs
    """
    known = dict(sizes)
    pending = []
    for name, declared in axes.items():
        value = values[name]
        if value is None:
            continue
        shape = (len(value),) if isinstance(value, tuple) else value.shape
        dims, dtype = _form_of(declared, len(shape))
        if dims is None or not (isinstance(value, tuple) or _is_of(value.dtype, dtype)):
            shown = f"of {len(value)}" if isinstance(value, tuple) else f"{value.dtype}{list(value.shape)}"
            raise ValueError(f"{name} is {shown}, where {declared} belongs")
        pending += [(name, shape, declared, dim, extent) for dim, extent in zip(dims, shape, strict=True)]
    for last in (False, True):  # products are looked at once their factors are known
        for name, shape, declared, dim, extent in pending:
            if not _fits(dim, extent, known, last=last):
                names = [
                    size for size in re.findall(r"[A-Za-z]+", declared.partition(")")[0]) if size in known
                ]
                used = ", ".join(f"{size} = {known[size]}" for size in dict.fromkeys(names))
                raise ValueError(f"{name} of shape {shape}, where {declared} with {used} belongs")


def axes_of(declared: str, ndim: int) -> list[str]:
    """Return the sizes that are declared of an array of so many axes.

    Examples
    --------
    >>> from gatescope.datatypes.axes import axes_of
    >>> axes_of("(T, B, C) or (B, C) real", 2)
    ['B', 'C']
    """
    return [*(_form_of(declared, ndim)[0] or ())]


@cache  # a batch that training makes anew is checked at every update
def _form_of(declared: str, ndim: int) -> tuple[tuple[str, ...] | None, str | None]:
    """Return axes and dtype of the form that is declared for so many axes, None where there is none."""
    forms = [_DECLARED.fullmatch(form) for form in declared.split(" or ")]
    return next(
        (
            (extents, form[2] or forms[-1][2])  # type: ignore[index]  # what is declared has the form
            for form in forms
            if form is not None and len(extents := _extents(form[1])) == ndim
        ),
        (None, None),
    )


def _extents(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _is_of(dtype: np.dtype[Any], declared: str | None) -> bool:
    if declared is None:
        return dtype in (np.float32, np.float64)
    return dtype.kind in _KINDS[declared] if declared in _KINDS else dtype == np.dtype(declared)


def _fits(dim: str, extent: int, known: dict[str, int], *, last: bool) -> bool:
    """Return whether an extent can be the size that is declared; a size that is not known becomes known."""
    number, factors, name, added = _read(dim)
    if number is not None:
        return number == extent
    if len(factors) > 1:
        open_factors = [factor for factor in factors if factor not in known]
        product = math.prod(known[factor] for factor in factors if factor in known)
        if not open_factors:
            return product == extent
        return not last or (len(open_factors) == 1 and product > 0 and extent % product == 0)
    size = extent - added
    return known.setdefault(name, size) == size >= (name in _SOME)


@cache
def _read(dim: str) -> tuple[int | None, tuple[str, ...], str, int]:
    """Return the number that a size is, the factors that it is made of, or its name and what is added to it."""
    if dim.isdecimal():
        return int(dim), (), "", 0
    factors = tuple(dim.split("*"))
    if len(factors) > 1:
        return None, factors, "", 0
    name, _, added = dim.partition("+")
    return None, factors, name, int(added or 0)
