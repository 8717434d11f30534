"""The order of dates and of an index in a table: from early to late, as a series is read, back, or beginning again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.io.tables.cells import is_date, is_missing, whole

_LEAST = 3  # rows that have an order
_MONTHS = "janfebmaraprmayjunjulaugsepoctnovdec"
_MONTH_NAMES = frozenset(_MONTHS[k : k + 3] for k in range(0, len(_MONTHS), 3))
_TOKEN = re.compile(r"\d+|[a-z]+")
_DAY = re.compile(r"\d{4}([-/])\d\d\1\d\d")  # of which text has the order of time
_RARELY = 4  # as many steps forwards as one back that begins again, at least
_MIXED = 3  # more than one step back in so many is no order
_YEARS = (1800, 2200)  # of dates that are written as a number
_TIME = 1_000_000  # hours, minutes and seconds behind such a number
_WITH_TIME = 10**13
Key = tuple[int, ...]


def backwards(column: str) -> str:
    """Return what to say of a column of times that go from late to early."""
    return f"{column} goes from late to early: turn the rows round if the earliest is to be the first step"


def begins_again(column: str, step: int) -> str:
    """Return what to say of a column of times that goes back at a step, counted from 1."""
    return f"{column} goes back at step {step:,}: if several series stand below one another, read each of them alone"


def across(names: Sequence[str]) -> tuple[str, ...]:
    """Return a note where columns are named as times, months and years among these: time may go across.

    Examples
    --------
    >>> from gatescope.io.tables.dates import across
    >>> across(["1990", "1991", "1992"])[0][:45], across(["open", "high", "low"])
    ('the columns are named as times (1990, 1991, .', ())
    """
    months = all(name[:3].lower() in _MONTH_NAMES for name in names)
    years = all(name.isdecimal() and _YEARS[0] <= whole(name) < _YEARS[1] for name in names)
    if len(names) < _LEAST or not (months or years or all(map(is_date, names))):
        return ()
    few = f"{names[0]}, {names[1]}, ..."
    return (
        f"the columns are named as times ({few}), and each is an input: if time goes across, write one step a row",
    )


class Restart:
    """The first step at which days written from the year on go back, of cells that come one by one.

    Attributes
    ----------
    step : int
        Counted from 1; 0 while the days do not go back.

    Examples
    --------
    >>> from gatescope.io.tables.dates import Restart
    >>> restart = Restart()
    >>> for day in ["2020-01-01", "2020-01-02", "2020-01-01"]:
    ...     _ = restart(day)
    >>> restart.step
    3
    """

    def __init__(self) -> None:
        self.step = self._count = 0
        self._day = ""

    def __call__(self, cell: str) -> float:
        """Take the next cell, which is no number."""
        self._count += 1
        day = cell[:10]
        if day < self._day and not self.step and _DAY.fullmatch(day) and _DAY.fullmatch(self._day):
            self.step = self._count
        self._day = day
        return float("nan")


def order_notes(column: str, numbers: Array) -> tuple[str, ...]:
    """Return a note where numbers that are times, or count the rows, do not go on from early to late."""
    steps = np.diff(numbers)
    back = np.flatnonzero(steps < 0)
    if not back.size or len(numbers) < _LEAST:
        return ()
    if (steps <= 0).all():
        return (backwards(column),)
    if _MIXED * back.size > steps.size:
        return (f"{column} is in no order: sort the rows by it, if it says which is first",)
    return (begins_again(column, int(back[0]) + 2),)


def mostly_forwards(numbers: Array) -> bool:
    """Return whether numbers go on as times do, but for few steps at which they begin again.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.io.tables.dates import mostly_forwards
    >>> mostly_forwards(np.tile(np.arange(9), 3)), mostly_forwards(np.array([3, 1, 4, 1, 5]))
    (True, False)
    """
    steps = np.diff(numbers)
    forwards, back = int(np.count_nonzero(steps > 0)), int(np.count_nonzero(steps < 0))
    return forwards >= _RARELY * max(1, back)


def counts_again(numbers: Array) -> bool:
    """Return whether numbers go up by equal steps, and begin again a few times where they began."""
    steps = np.diff(numbers)
    forwards = steps[steps > 0]
    again = numbers[1:][steps < 0]
    return bool(
        mostly_forwards(numbers) and again.size and np.ptp(forwards) == 0 and (again == numbers[0]).all()
    )


def go_back(cells: Sequence[str]) -> bool:
    """Return whether dates go from late to early, whichever of day and month is written first.

    Examples
    --------
    >>> from gatescope.io.tables.dates import go_back
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
    hours = [whole(token) for token in rest if token.isdecimal()]
    if hours and "pm" in rest and hours[0] < 12:
        hours[0] += 12
    names = [token for token in first if token.isalpha() and token[:3] in _MONTHS]
    numbers = [whole(token) for token in first if token.isdecimal()]
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
    """Return whether all numbers are dates as 20200131, or 20200131235959 with the time."""
    if len(values) < _LEAST or not bool((values == np.floor(values)).all()):
        return False
    years, days = np.divmod(values // _TIME if (values >= _WITH_TIME).all() else values, 10_000)
    months, days = np.divmod(days, 100)
    return bool(
        ((years >= _YEARS[0]) & (years < _YEARS[1])).all()
        and ((months >= 1) & (months <= 12)).all()
        and ((days >= 1) & (days <= 31)).all()
    )
