"""Numbers that stand for missing values, such as -9999, where they lie far from all others of their column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.reporting.text import counted, listing

_NINES = frozenset("9.")
_HUGE = 1e20  # of which size those of netCDF and of models of the weather are
_KNOWN = (999.25,)  # of well logs
_MOST = 3  # columns in a note


def fill_values(values: Array, columns: Sequence[str]) -> tuple[str, ...]:
    """Return a note of the columns, the last axis, that seem to mark missing values by a number; empty if none does.

    It is the smallest or the largest number, written in nines or huge, and further from the next one than all others
    are from each other.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.io.tables.fill_values import fill_values
    >>> print(*fill_values(np.array([[1.0], [-9999.0], [2.5], [1.5]]), ["'y'"]))
    -9999 stands at 1 of 4 steps of 'y', far from all others: if it is for a missing value, remove or fill it
    """
    table = values.reshape(-1, len(columns))
    seen: list[str] = []
    extremes = zip(columns, table.T, table.min(axis=0), table.max(axis=0), strict=True)
    for name, column, *ends in extremes:
        for value in filter(_is_form, map(float, ends)):
            others = column[column != value].astype(np.float64)
            with np.errstate(over="ignore"):
                far = others.size > 1 and np.abs(others - value).min() > np.ptp(others)
            if far:
                count = column.size - others.size
                seen.append(f"{value:.6g} stands at {count:,} of {counted(column.size, 'step')} of {name}")
    if not seen:
        return ()
    return (
        f"{listing(seen, most=_MOST)}, far from all others: if it is for a missing value, remove or fill it",
    )


def _is_form(value: float) -> bool:
    """Return whether a number is of a form that stands for missing values: -99, 999.9, 1e20."""
    size = abs(value)
    if size >= _HUGE or size in _KNOWN:
        return True
    digits = f"{size:.0f}" if size.is_integer() else f"{size:.6g}"  # which float32 has
    return size > 10 and _NINES.issuperset(digits)
