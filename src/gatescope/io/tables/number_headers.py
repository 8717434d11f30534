"""Whether a first line of whole numbers above decimals has names of columns, as pandas writes them, or numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from gatescope.io.tables.cells import is_missing, is_plain, whole

_LEAST = 8  # rows from which a column is smooth or not
_SMOOTH = 0.1  # of the range of a column: the largest second difference of a smooth one
_FITTING = 1.5  # times the largest second difference below: what goes on from the first line
_OFTEN = 4  # a number that is in one of so many rows
_DOUBLE_DIGITS = 15  # that every program writes; more are those of a shortest text that is read back the same
_KEEPS_ZEROS = re.compile(r"[-+]?\d*\.(?:\d*0)?(?:[eE][-+]?\d+)?")  # 1.0, 0.50, 2.
_NOT_NEEDED = range(-4, 6)  # exponents without which all that leave zeros out write a number
_SIGNIFICANT = re.compile(r"[1-9]\d*")

Kind = Literal["names", "numbers", "unclear"]


class Evidence(NamedTuple):
    """What a first line is, and whether that is a judgement, which a reader has to know of."""

    kind: Kind
    judged: bool = False


def evidence(row: Sequence[str], below: Sequence[Sequence[str]]) -> Evidence:
    """Return what a line of whole numbers above other lines of the same width is.

    A program writes all numbers of a column in one way.  Where some of its whole numbers have no point (``%g``; MATLAB,
    R, Excel) the first line is of the column.  Where a decimal ends in 0 (``1.0``, ``0.50``), or has an exponent it
    does not need (``%e``), a 0 of the column would too, and the first line is of names.  So it is where decimals have
    the digits of Python's `repr`, which writes ``0.0``; but other languages write ``0`` and these digits, and if the
    column goes on smoothly from the first line nobody can tell.  Without such digits a smooth column is of numbers.

    Examples
    --------
    >>> from gatescope.io.tables.number_headers import evidence
    >>> evidence(["0"], [["1.5"], ["1.0"]]).kind, evidence(["0"], [["1.5"], ["1"]]).kind
    ('names', 'numbers')
    >>> evidence(["0"], [["0.1234"], ["0.9312"]]).kind
    'unclear'
    """
    columns = [[cell for cell in column if not is_missing(cell)] for column in zip(*below, strict=True)]
    plain = [k for k, column in enumerate(columns) if column and all(map(is_plain, column))]
    decimals = {k: [bool(set(cell) & set(".eE")) for cell in columns[k]] for k in plain}
    if any(any(flags) and not all(flags) for flags in decimals.values()):
        return Evidence("numbers")
    chosen = [k for k, flags in decimals.items() if all(flags)]
    if any(any(map(_keeps_zeros, columns[k])) for k in chosen):
        return Evidence("names")
    if not chosen:
        return Evidence("unclear")
    smooth = all(_goes_on(float(row[k]), np.array(columns[k], np.float64)) for k in chosen)
    python = any(_as_python(columns[k]) for k in chosen)
    if python and not smooth:
        return Evidence("names", judged=True)
    return Evidence("numbers", judged=True) if smooth and not python else Evidence("unclear")


def whole_evidence(row: Sequence[int], columns: Sequence[Sequence[str]]) -> Evidence:
    """Return what a line of whole numbers above columns of whole numbers is.

    It is of numbers where each column goes on from it, or often has that number; it is of names where they count and
    each column lies far from its own.  Else 0, 1, ... may be both.

    Examples
    --------
    >>> from gatescope.io.tables.number_headers import whole_evidence
    >>> whole_evidence([0], [["1", "2", "3"]]).kind, whole_evidence([0], [["133", "131", "134"] * 3]).kind
    ('numbers', 'names')
    >>> whole_evidence([0], [["0", "1", "0"]]).kind, whole_evidence([0], [["3", "0", "5", "7", "2"] * 2]).kind
    ('numbers', 'unclear')
    """
    if list(row) != list(range(row[0], row[0] + len(row))):
        return Evidence("numbers")
    rest = [np.array([cell for cell in column if is_plain(cell)], np.float64) for column in columns]
    pairs = [(first, column) for first, column in zip(row, rest, strict=True) if column.size]
    if all(
        np.ptp(np.diff(column, prepend=first)) == 0
        or _goes_on(first, column)
        or _OFTEN * np.count_nonzero(column == first) > column.size
        for first, column in pairs
    ):
        return Evidence("numbers", judged=row[0] == 0)
    if all(max(column.min() - first, first - column.max()) > np.ptp(column) > 0 for first, column in pairs):
        many = min(column.size for _, column in pairs) >= _LEAST
        return Evidence("names", judged=True) if many else Evidence("unclear")
    return Evidence("unclear" if row[0] == 0 else "numbers")


def _keeps_zeros(cell: str) -> bool:
    """Return whether a number shows that zeros at its end are written: by one, or by an exponent that is not needed."""
    if _KEEPS_ZEROS.fullmatch(cell):
        return True
    _, _, exponent = cell.lower().partition("e")
    return bool(exponent) and whole(exponent) in _NOT_NEEDED


def _as_python(column: Sequence[str]) -> bool:
    """Return whether all numbers are written as Python does, some of them with more digits than others write."""
    digits = (_SIGNIFICANT.search(re.split("[eE]", cell)[0].replace(".", "")) for cell in column)
    many = any(match is not None and len(match[0]) > _DOUBLE_DIGITS for match in digits)
    return many and all(repr(float(cell)) == cell for cell in column)


def _goes_on(first: float, column: np.ndarray[tuple[int], np.dtype[np.float64]]) -> bool:
    """Return whether a column is smooth, and the first number fits in front of it."""
    if column.size < _LEAST:
        return False
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers that no float holds
        bends = np.abs(np.diff(column, 2))
    if not 0 < bends.max() <= _SMOOTH * np.ptp(column):
        return False
    return bool(abs(column[1] - 2 * column[0] + first) <= _FITTING * bends.max())
