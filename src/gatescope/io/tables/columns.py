"""Which columns of a table are inputs: not its index, not its dates and times, and those that a user names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import is_several, is_whole
from gatescope.errors import DtypeError, FileFormatError, UnknownNameError, ValueRangeError
from gatescope.io.tables.cells import whole
from gatescope.io.tables.dates import are_compact_dates, counts_again, mostly_forwards, order_notes
from gatescope.io.tables.index_levels import count_levels
from gatescope.reporting.text import counted, listing, number

_NO_NAME = re.compile(r"|Unnamed: \d+(_level_\d+)?")  # the second is what pandas makes of the first
_INDEX_NAME = re.compile(r"index|level_\d+", re.IGNORECASE)
_YEAR_NAME = re.compile("year|date", re.IGNORECASE)
_COUNTER_NAME = re.compile(
    r"(hour|minute|min|second|sec|day|week|month|quarter|step|frame|sample|row|obs|idx|no|nr|n|i|k)s?",
    re.IGNORECASE,
)
_TIME_NAME = re.compile(
    r"(date|time|datetime|time_?stamp|t|epoch|unix(_?time)?|wall[ _]?time|year)"
    r"([ _]?[\[(]?(s|ms|us|ns|h|sec|seconds|min|minutes|hours|days|utc)?[\])]?)?",
    re.IGNORECASE,
)
PANDAS_INDEX = "__index_level_"  # how the name of an index without one begins in a parquet file
_LEAST = 3  # rows from which equal steps say something
_EQUAL = 0.02  # of a step: what rounded times differ by
_ASCENDING = 20  # rows that no noise goes up through
_LARGEST = 10**9  # number of a column that may be its name
_SHOWN = 12  # names in a message
_LONGEST = 40  # characters of a name in a message


class Chosen(NamedTuple):
    """Which columns are inputs, counted from 0, and what was left out or may have to be, in words."""

    inputs: tuple[int, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = ()


def check_names(argument: str, value: Any) -> tuple[str | int, ...] | None:
    """Return names of columns, or their numbers from 1; a name alone may stand for a list of one."""
    if value is None:
        return None
    values = tuple(value) if is_several(value) else (value,)
    if not all(isinstance(v, str) or is_whole(v) for v in values):
        raise DtypeError(
            argument=argument, seen=type(value), advice="give names of columns, or their numbers from 1"
        )
    if not values:
        raise ValueRangeError("is empty", argument=argument, advice="name a column, or leave it out")
    return values


def lookup(
    argument: str, chosen: Sequence[str | int], names: Sequence[str], width: int, path: Any
) -> tuple[int, ...]:
    """Return the columns, from 0, that are meant by names or by numbers from 1, in their order."""
    columns: list[int] = []
    for name in chosen:
        text = name if isinstance(name, str) else str(max(-1, min(int(name), _LARGEST)))
        alike = [k for k, other in enumerate(names) if other == text]
        if not alike and text.isdecimal() and 1 <= whole(text) <= width:
            alike = [whole(text) - 1]
        if not alike:
            named = [shown(other) for other in names if other]
            if named:
                known = f"its columns are {listing(named, most=_SHOWN)}"
            else:
                known = f"its columns have no names and are numbered from 1 to {width}"
            raise UnknownNameError(
                f"is no column of {str(path)!r}", argument=argument, seen=name, advice=f"{known}"
            )
        columns += [k for k in alike if k not in columns]
    return tuple(columns)


def choose(
    names: Sequence[str],
    values: Array,
    kinds: Sequence[str],
    path: Any,
    *,
    columns: Sequence[str | int] | None,
    skip: Sequence[str | int] | None,
) -> Chosen:
    """Return which columns of a table are inputs.

    Parameters
    ----------
    names : sequence of str
        Empty where a column has none; empty without a header.
    values : (T, C) float64
        NaN in columns that hold no numbers.
    kinds : sequence of str
        Of each column what it holds: ``"numbers"``, ``"dates"``, ``"text"`` or ``"nothing"``.
    path
        Of the file, for errors.
    columns, skip
        Names or numbers, as `read_series` takes them.
    """
    width = len(kinds)
    if columns is not None:
        return Chosen(lookup("columns", columns, names, width, path), ())
    skipped = set() if skip is None else set(lookup("skip_columns", skip, names, width, path))
    left_out = {k: "skipped" for k in sorted(skipped)}
    left_out |= {k: kind for k, kind in enumerate(kinds) if k not in skipped and kind in ("dates", "nothing")}
    left_out |= {k: "an index" for k, name in enumerate(names) if name.startswith(PANDAS_INDEX)}
    rest = [k for k in range(width) if k not in left_out]
    if names and not names[0] and 0 in rest and len(rest) > 1 and kinds[0] == "text":
        left_out[0] = "an index of names"
    notes: list[str] = []
    numeric = [k for k in rest if kinds[k] == "numbers"]
    levels = numeric[: count_levels(values[:, numeric])] if numeric == rest[: len(numeric)] else []
    if levels:
        left_out |= dict.fromkeys(levels, "an index")
        notes += _level_notes(names, values, levels)
    for k in [k for k in numeric if k not in left_out]:
        remaining = [other for other in range(width) if other not in left_out and other != k]
        if not remaining:
            break
        first, numbers = k == min([k, *remaining]), values[:, k]
        if are_compact_dates(numbers):
            left_out[k] = "dates"
        elif first and _is_index(names[k] if names else None, numbers):
            left_out[k] = "an index"
        elif names and _is_time(names[k], numbers):
            left_out[k] = _course(numbers)
        named = bool(names) and _TIME_NAME.fullmatch(names[k].strip()) is not None
        if k in left_out or (named and mostly_forwards(numbers)):
            notes += order_notes(title(names, k), numbers)
    inputs = tuple(k for k in range(width) if k not in left_out)
    if not inputs:
        raise FileFormatError(
            f"has no column of numbers to run over: {counted(width, 'column')}, of {listing(left_out.values())}",
            seen=path,
            advice="name one with `columns`",
        )
    order = sorted(left_out)
    if len(inputs) > 1:
        # A column of ones may stand before a time.
        lead = next((k for k in inputs if not _is_constant(values[:, k])), inputs[0])
        own = _lead_notes(names, lead, values[:, lead])
        notes += [note for note in own if not note.startswith(tuple(notes))]
    return Chosen(inputs, tuple(f"{title(names, k)} ({left_out[k]})" for k in order), tuple(notes))


def _lead_notes(names: Sequence[str], column: int, values: Array) -> tuple[str, ...]:
    """Return a note on the first input where it may be a time, or count the rows."""
    name, advance = title(names, column), _advance(values)
    if advance:
        return (f"{name} {advance}: `skip_columns` leaves it out, if it is a time and no input",)
    counter = not any(names) or _COUNTER_NAME.fullmatch(names[column].strip())
    notes = order_notes(name, values) if counter and counts_again(values) else ()
    if notes and any(names):
        return (f"{notes[0]}; `skip_columns` leaves it out, if it is a time and no input",)
    return notes


def _level_notes(names: Sequence[str], values: Array, levels: Sequence[int]) -> tuple[str, ...]:
    """Return a note on an index of levels whose rows may be of several series: below one another, or in turn."""
    outer, inner = levels[0], levels[-1]
    if not names or not _is_time(names[outer], values[:, outer]):
        return order_notes(title(names, inner), values[:, inner])
    if _YEAR_NAME.fullmatch(names[outer].strip()) or _is_constant(values[:, outer]):
        return ()
    return (f"rows share {title(names, outer)}: if they are of several series, read each of them alone",)


def _is_constant(values: Array) -> bool:
    return bool((values == values[0]).all())


def title(names: Sequence[str], column: int) -> str:
    """Return what a column is called: its name, or its number from 1."""
    name = names[column] if column < len(names) else ""
    return repr(shown(name)) if name else f"column {column + 1}"


def shown(name: str) -> str:
    """Return a name as a message shows it: its beginning, and nothing that a terminal would obey."""
    text = name if len(name) <= _LONGEST else name[:_LONGEST] + "..."
    return "".join(character if character.isprintable() else "?" for character in text)


def _is_index(name: str | None, values: Array) -> bool:
    """Return whether the first column of a table is one that numbers the rows."""
    steps = np.diff(values)
    # pandas writes what is left of an index, too: with gaps, in another order, or that of several tables.
    if name is not None and _NO_NAME.fullmatch(name):
        return True
    if name is not None and _INDEX_NAME.fullmatch(name):
        counts = bool((values == np.floor(values)).all())
        unique = np.unique(values).size == values.size
        return (counts and (unique or name.lower() != "index")) or bool((steps > 0).all())
    return len(values) >= _LEAST and bool((steps == 1).all())


def _course(values: Array) -> str:
    """Return in words which way a time goes."""
    if values[0] == values[-1]:
        return "a time that is always the same"
    return f"a time that {'a' if values[0] < values[-1] else 'de'}scends"


def _advance(values: Array) -> str:
    """Return in words how a column goes on as one of times does, by equal steps or never back; empty if it does not."""
    steps = np.diff(values)
    if len(values) < _LEAST or not ((steps > 0).all() or (steps < 0).all()):
        return ""
    step = float(np.median(steps))
    if np.abs(steps - step).max() <= _EQUAL * abs(step):
        return f"goes {'up' if step > 0 else 'down'} by {number(abs(step))} at every step"
    return "goes up at every step" if step > 0 and len(values) >= _ASCENDING else ""


def _is_time(name: str, values: Array) -> bool:
    """Return whether a column of numbers is called a time and goes on as one, forwards or back.

    Rows of one time may stand below one another; of a column of one letter, what is 0, then 1 is an input.
    """
    if len(values) < _LEAST or _TIME_NAME.fullmatch(name.strip()) is None:
        return False
    steps = np.diff(values)
    ordered = bool((steps >= 0).all() or (steps <= 0).all())
    return ordered and (len(name.strip()) > 1 or int(np.count_nonzero(steps)) > 1)
