"""The order of dates in a table: from early to late, as a series is read, or the other way."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.io.cells import is_missing

_LEAST = 3  # rows that have an order
_MONTHS = "janfebmaraprmayjunjulaugsepoctnovdec"
_TOKEN = re.compile(r"\d+|[a-z]+")
_YEARS = (1800, 2200)  # of dates that are written as a number
Key = tuple[int, ...]


def backwards(column: str) -> str:
    """Return what to say of a column of times that go from late to early."""
    return f"{column} goes from late to early: turn the rows round if the earliest is to be the first step"


def go_back(cells: Sequence[str]) -> bool:
    """Return whether dates go from late to early, whichever of day and month is written first.

    Examples
    --------
    >>> from gatescope.io.dates import go_back
    >>> go_back(["03/02/2020", "02/02/2020", "31/01/2020"]), go_back(["2020-01-01", "2020-01-02", "2020-01-03"])
    (True, False)
    """
    keys = [_keys(cell) for cell in cells if not is_missing(cell)]
    if len(keys) < _LEAST or not all(keys):
        return False
    orders = [[key[way] for key in keys] for way in (0, 1)]
    # Where the day is first, the month may be more than 12: that reading is none.
    possible = [order for order in orders if all(key[1] <= 12 for key in order)]
    return bool(possible) and all(
        order[0] > order[-1] and all(later <= earlier for earlier, later in pairwise(order))
        for order in possible
    )


def _keys(cell: str) -> tuple[Key, ...]:
    """Return year, month, day and time, with the month first and with the day first; empty for other forms."""
    tokens = _TOKEN.findall(cell.lower())
    if len(tokens) < 3:
        return ()
    first, rest = tokens[:3], tokens[3:]
    hours = [int(token) for token in rest if token.isdecimal()]
    if hours and "pm" in rest and hours[0] < 12:
        hours[0] += 12
    names = [token for token in first if token.isalpha() and token[:3] in _MONTHS]
    numbers = [int(token) for token in first if token.isdecimal()]
    if names and len(numbers) == 2:
        month = 1 + _MONTHS.index(names[0][:3]) // 3
        return ((numbers[1], month, numbers[0], *hours),) * 2
    if len(numbers) < 3:
        return ()
    if len(first[0]) == 4:
        return ((*numbers, *hours),) * 2
    if ":" in cell[: len(first[0]) + 1]:  # a time of day alone
        return ()
    return (numbers[2], numbers[0], numbers[1], *hours), (numbers[2], numbers[1], numbers[0], *hours)


def are_compact_dates(values: Array) -> bool:
    """Return whether all numbers are dates as 20200131."""
    if len(values) < _LEAST or not bool((values == np.floor(values)).all()):
        return False
    years, days = np.divmod(values, 10_000)
    months, days = np.divmod(days, 100)
    return bool(
        ((years >= _YEARS[0]) & (years < _YEARS[1])).all()
        and ((months >= 1) & (months <= 12)).all()
        and ((days >= 1) & (days <= 31)).all()
    )
