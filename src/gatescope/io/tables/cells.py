"""What the cells of a text table are: numbers as programs of several countries write them, dates, missing values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_EXPONENT = r"(?:[eE][-+]?\d+)?"
_PLAIN = re.compile(rf"[-+]?(?:\d+(?:\.\d*)?|\.\d+){_EXPONENT}")  # digits in one way alone: they may be many
_WITH_POINT = re.compile(rf"[-+]?[1-9]\d{{0,2}}(?:(?:,\d{{3}})+|(?:[ ']\d{{3}})+)(?:\.\d*)?{_EXPONENT}")
_WITH_COMMA = re.compile(rf"[-+]?(?:\d+|[1-9]\d{{0,2}}(?:[. ']\d{{3}})+),\d+{_EXPONENT}")
_POINTS = re.compile(r"[-+]?[1-9]\d{0,2}(?:\.\d{3})+")  # which may stand between thousands
_BLANKS = re.compile(r"[-+]?[1-9]\d{0,2}(?:[ ']\d{3})+")
_SIGNS = str.maketrans(
    "\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{RIGHT SINGLE QUOTATION MARK}\N{MINUS SIGN}", "  '-"
)
# What is added to a number, or how other languages write one: no name of a column, and not read.
_ADDED = re.compile(r"[-+\s]*[($€£¥]?[-+\s]*[$€£¥]?\s*(?P<number>.*?)\s*(?:[%‰)$€£¥]|EUR|USD)*")
_OTHER = re.compile(r"[-+]?(?:0[xX][\da-fA-F]+|\d+\.?\d*[dD][-+]?\d+|.*\d[-+]?[\d.]*[ij])")

_TIME = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s*[AaPp]\.?[Mm]\.?)?(?:\s*(?:Z|UTC|GMT|[-+]\d{2}:?\d{2}))?"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DAY = rf"""(?:\d{{4}}-\d{{1,2}}(?:-\d{{1,2}})? | \d{{1,4}}/\d{{1,2}}/\d{{1,4}} | \d{{1,2}}\.\d{{1,2}}\.\d{{2,4}}
    | \d{{1,2}}-\d{{1,2}}-\d{{4}} | \d{{1,2}}[-\ ]{_MONTH}[-\ ]\d{{2,4}} | {_MONTH}[-\ ](?:\d{{1,2}},?\ )?\d{{4}}
    | \d{{4}}-?q[1-4] | \d{{4}}\.\d{{1,2}}\.\d{{1,2}} | \d{{1,2}}/\d{{4}} | \d{{4}}-?w\d{{1,2}})"""
_DATE = re.compile(rf"{_DAY}(?:[T,\ ]\s*{_TIME})?|{_TIME}|-?\d+\ days?(?:\ [-+]?{_TIME})?", re.VERBOSE | re.I)

_LONGEST = 60  # characters of a number with something added
_MOST_DIGITS = 18  # of a number that counts something; Python reads none of more than 4,300

MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "nat", "missing", "-nan", "<na>"})
_INFINITE = re.compile(r"[-+]?inf(?:inity)?", re.IGNORECASE)


def is_plain(cell: str) -> bool:
    """Return whether a cell is a number as Python writes it, finite."""
    return _PLAIN.fullmatch(cell) is not None


def is_missing(cell: str) -> bool:
    """Return whether a cell says that there is no number, or an infinite one."""
    return cell.lower() in MISSING or _INFINITE.fullmatch(cell) is not None


def is_date(cell: str) -> bool:
    """Return whether a cell is a date, a time of day, both, or a duration with a colon."""
    return _DATE.fullmatch(cell) is not None


def is_number(cell: str) -> bool:
    """Return whether a cell is a number in one of the ways of writing them."""
    cell = cell.translate(_SIGNS)
    return any(form.fullmatch(cell) for form in (_PLAIN, _WITH_POINT, _WITH_COMMA))


def is_word(cell: str) -> bool:
    """Return whether a cell can be a name: nothing like a number, no date, and no digit at its beginning."""
    return bool(cell) and not (
        resembles_number(cell) or is_missing(cell) or is_date(cell) or cell[0].isdigit()
    )


def resembles_number(cell: str) -> bool:
    """Return whether a cell is a number, or one with a currency, per cent or parentheses, or of another language."""
    if len(cell) > _LONGEST:
        return is_number(cell)
    cell = cell.translate(_SIGNS)
    added = _ADDED.fullmatch(cell)
    return (added is not None and is_number(added["number"])) or _OTHER.fullmatch(cell) is not None


def is_ambiguous_point(cell: str) -> bool:
    """Return whether a point in a number may be decimal, or stand between thousands."""
    return _POINTS.fullmatch(cell.translate(_SIGNS)) is not None


def decimal_marks(cells: Iterable[str]) -> tuple[str, str]:
    """Return the first cell whose comma must be decimal, and the first whose comma or point cannot be so.

    A cell such as ``1,234`` may be either; each of the two is empty where there is none.
    """
    comma = point = ""
    for original in cells:
        cell = original.translate(_SIGNS)
        if _PLAIN.fullmatch(cell):
            if "." in cell and not _POINTS.fullmatch(cell):
                point = point or original
        elif _WITH_POINT.fullmatch(cell):
            if "," in cell and not _WITH_COMMA.fullmatch(cell):
                point = point or original
        elif _WITH_COMMA.fullmatch(cell):
            comma = comma or original
    return comma, point


def is_ambiguous(cell: str) -> bool:
    """Return whether a cell may be a number with a decimal comma, or one of thousands."""
    cell = cell.translate(_SIGNS)
    return _WITH_POINT.fullmatch(cell) is not None and _WITH_COMMA.fullmatch(cell) is not None


def to_number(cell: str, *, decimal_comma: bool) -> float:
    """Return the number that a cell is; NaN for anything else."""
    cell = cell.translate(_SIGNS)
    if decimal_comma and (_WITH_COMMA.fullmatch(cell) or _POINTS.fullmatch(cell)):
        cell = re.sub(r"[. ']", "", cell).replace(",", ".")
    elif not decimal_comma and _WITH_POINT.fullmatch(cell):
        cell = re.sub(r"[, ']", "", cell)
    elif _BLANKS.fullmatch(cell):
        cell = re.sub(r"[ ']", "", cell)
    return float(cell) if _PLAIN.fullmatch(cell) else float("nan")


def whole(digits: str) -> int:
    """Return a whole number; one that is longer than any that counts something is another such number.

    Examples
    --------
    >>> from gatescope.io.tables.cells import whole
    >>> whole("2020"), whole("9" * 5000)
    (2020, 1000000000000000000)
    """
    return int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS


def written_as_floats(cells: Sequence[str]) -> bool:
    """Return whether all cells are numbers with a point or an exponent, as pandas writes floats, or missing ones."""
    floats = [is_plain(cell) and bool(set(cell) & set(".eE")) for cell in cells]
    return any(floats) and all(flag or is_missing(cell) for flag, cell in zip(floats, cells, strict=True))
