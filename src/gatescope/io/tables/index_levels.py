"""An index of several levels in the first columns of a table, as pandas writes one: a year and the day in it."""

from __future__ import annotations

import numpy as np

from gatescope.checks.arrays import Array

_LEAST = 3  # steps up that say something, where they are equal
_MANY = 20  # steps up that no noise makes


def count_levels(columns: Array) -> int:
    """Return how many of the first columns are an index of several levels; 0 where they are none.

    The last level counts the rows for which the levels before it stay the same, and begins again where they change.
    Some column is left that is no level.

    Parameters
    ----------
    columns : (T, C) array
        Numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.io.tables.index_levels import count_levels
    >>> count_levels(np.array([[2020, 0, 1.5], [2020, 1, 2.5], [2020, 2, 0.5]]))
    2
    >>> count_levels(np.array([[2020, 0.1, 1.5], [2020, 1.2, 2.5], [2020, 0.5, 0.5]]))
    0
    """
    change = np.zeros(len(columns) - 1, bool)  # whether an earlier level does, from a row to the next
    for count in range(2, columns.shape[1]):
        outer, inner = columns[:, count - 2], columns[:, count - 1]
        change |= np.diff(outer) != 0
        if not (outer == np.floor(outer)).all() or change.all():
            return 0
        if _counts(inner, change):
            return count
    return 0


def _counts(inner: Array, change: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> bool:
    """Return whether a column goes up while others stay the same, and begins again where they change."""
    steps = np.diff(inner)
    within, begins = steps[~change], inner[1:][change]
    if not (within > 0).all() or (steps[change] > 0).any():
        return False
    if not begins.size:
        return bool((within == 1).all()) and within.size >= _LEAST - 1
    equal = np.ptp(within) == 0 and bool((begins == inner[0]).all())
    return within.size >= (_LEAST if equal else _MANY)
