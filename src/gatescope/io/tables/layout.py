"""How a text is laid out as a table: its separator, its header lines, the names of its columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from gatescope.io.tables.cells import (
    is_date,
    is_missing,
    is_number,
    is_plain,
    is_word,
    resembles_number,
    whole,
    written_as_floats,
)
from gatescope.io.tables.columns import shown
from gatescope.io.tables.number_headers import Evidence, evidence, whole_evidence

Line = tuple[int, str]  # its number in the file, counted from 1, and its text
_SEPARATORS = (";", "\t", ",", "|")
_HEAD = 30  # lines from which the layout is found; a header of numbers takes all that there are
_MOST_HEADERS = 8  # lines
_MARK = "[. '\\xa0\\u2019\\u202f]"  # between thousands
# A number with a decimal comma, or two.
_COMMA = re.compile(rf"([-+]?(?:[1-9]\d{{0,2}}(?:{_MARK}\d{{3}})+|\d+))(?:,(\d+))?(?:[eE][-+]?\d+)?")
_SHOWN = 40  # characters of a line in a message
_LEAST_RANGE = 3  # columns: of fewer, 0, 1, ... may well be numbers
_NAMES_OR_NUMBERS = (
    "may be names of columns, which pandas numbers from 0, or numbers of the series",
    "say which with `header`",
)
_TWO_COMMAS = (
    "has commas with a blank behind and commas without, which may be decimal",
    "write decimals with a point, or columns with the same between them",
)
_SAID = {True: Evidence("names"), False: Evidence("numbers")}  # what needs no word


class Layout(NamedTuple):
    """How a text is laid out.

    Attributes
    ----------
    separator : str or None
        None: white space.
    header : int
        How many lines of the text, after its comments, are header lines.
    names : tuple of str
        Of the columns, empty ones where they have none; empty without a header.
    assumed : str
        What a first line of numbers was taken for, in words, where that is not certain.
    unclear : str
        A line that may be read in two ways, and which they are.
    advice : str
        What to do then.
    """

    separator: str | None
    header: int
    names: tuple[str, ...]
    assumed: str = ""
    unclear: str = ""
    advice: str = ""


def split(lines: Iterable[str], separator: str | None) -> Iterator[list[str]]:
    """Yield the cells of each line, without the quotes and the white space round them."""
    if separator is None:
        for line in lines:
            yield [cell.strip('"') for cell in re.findall(r'"[^"]*"|\S+', line)]
        return
    for cells in csv.reader(lines, delimiter=separator, skipinitialspace=True):
        yield [cell.strip() for cell in cells]


def find_layout(head: Sequence[Line], *, header: bool | None = None) -> Layout:
    """Return the layout of a text from its first lines, comments left out.

    `header` says whether the first of them has names of columns; None: that is found.
    """
    first = re.fullmatch(r'sep=([^"\w])', head[0][1])  # as Excel has it
    lines = [line for _, line in head]
    if first:
        lines = lines[1:]
    separator = first[1] if first else _separator(lines[:_HEAD])
    rows = list(split(lines[:_HEAD], separator))
    first_line = _first_line(rows, split(lines[_HEAD:], separator)) if header is None else _SAID[header]
    line = f"line {head[bool(first)][0]} ({_few(rows[0])})" if rows else ""
    if first_line.kind == "unclear":
        problem, advice = _NAMES_OR_NUMBERS
        return Layout(separator, 0, (), unclear=f"{line} {problem}", advice=advice)
    count = _headers(rows) if first_line.kind == "names" else 0
    kind = "names of columns" if count else "numbers"
    assumed = f"{line} taken for {kind} (`header` can say otherwise)" if first_line.judged else ""
    names = _names(rows[:count], lines[:count], rows[count:]) if count else ()
    body = lines[count:_HEAD]
    if body and separator == "," and len(names) != len(rows[-1]) and all(map(_two_commas, body)):
        problem, advice = _TWO_COMMAS
        line = f"line {head[bool(first) + count][0]} ({body[0][:_SHOWN]})"
        return Layout(separator, 0, (), unclear=f"{line} {problem}", advice=advice)
    return Layout(separator, count + bool(first), names, assumed)


def _few(row: Sequence[str]) -> str:
    return ", ".join(map(shown, row[:4])) + (", ..." if len(row) > 4 else "")


def _separator(lines: Sequence[str]) -> str | None:
    """Return the separator that gives rows of one width whose cells are numbers or dates."""
    if _one_column(lines):
        return ";"  # there is none, and blanks are between thousands
    body = lines[1:] or lines
    consistent = None
    for separator in _SEPARATORS:
        rows = list(split(body, separator))
        if len({len(row) for row in rows}) != 1 or len(rows[0]) < 2:
            continue
        if all(is_number(cell) or is_date(cell) or is_missing(cell) for cell in rows[-1]):
            return separator
        consistent = consistent or separator
    marked = next((mark for mark in _SEPARATORS if any(mark in line for line in lines)), None)
    rows = list(split(body, None))
    numbers = all(is_number(cell) or is_date(cell) for cell in rows[-1])
    if len({len(row) for row in rows}) == 1 and numbers and (len(rows[0]) > 1 or marked is None):
        return None
    return consistent or marked


def _two_commas(line: str) -> bool:
    """Return whether a line may be numbers with decimal commas, and commas and blanks between them: ``1,5, 2,5``."""
    cells = re.split(r",\s+", line.strip())
    forms = [_COMMA.fullmatch(cell) for cell in cells]
    return len(cells) > 1 and all(forms) and any(form and form[2] for form in forms)


def _one_column(lines: Sequence[str]) -> bool:
    """Return whether the commas in lines are decimal, and not between two columns of whole numbers.

    They are where what follows begins with a 0 (``0,05``), after ``-0``, among several numbers without one, and below a
    single name, unless what is before them numbers the rows.
    """
    name = not lines[0][:1].isdigit() and is_word(lines[0]) and "," not in lines[0]
    forms = [_COMMA.fullmatch(line.strip().strip('"')) for line in (lines[1:] if name else lines)]
    pairs = [form.groups(default="") for form in forms if form is not None]
    if len(pairs) < len(forms) or not any(after for _, after in pairs):
        return False
    if any((len(after) > 1 and after[0] == "0") or before in ("-0", "+0") for before, after in pairs):
        return True
    bare = sum(not after for _, after in pairs)
    if 1 < bare < len(pairs) - 1:
        return True
    rows = [whole(re.sub(_MARK, "", before)) for before, _ in pairs]
    return name and not bare and rows not in (_counted(rows, 0), _counted(rows, 1))


def _counted(rows: Sequence[int], begin: int) -> list[int]:
    return list(range(begin, begin + len(rows)))


def _headers(rows: Sequence[Sequence[str]]) -> int:
    """Return how many rows are header lines, the first being one: those that pandas and other programs write."""
    count = 1
    while count < min(len(rows) - 1, _MOST_HEADERS):
        row, indexed = rows[count], not rows[count - 1][0]  # the column of an index has no name
        level = all(map(is_word, row))  # of columns of several levels
        index_name = len(row) > 1 and is_word(row[0]) and not any(row[1:]) and (indexed or count > 1)
        below_index = indexed and len(row) > 1 and not row[0] and all(row[1:]) and bool(rows[count + 1][0])
        if not (level or index_name or below_index):
            break
        count += 1
    return count


def _first_line(rows: Sequence[Sequence[str]], more: Iterable[Sequence[str]]) -> Evidence:
    """Return what the first row is: names as pandas and other programs write them, numbers among these, or numbers."""
    if not rows:
        return _SAID[False]
    row, below = rows[0], rows[1:]
    if any(map(is_word, row)):
        names = _names_over(row, below[0] if below else [])
        return Evidence("names", judged=any(map(is_plain, row))) if names else _SAID[False]
    if len(row) > 1 and not row[0] and all(row[1:]):
        return Evidence("names", judged=any(map(is_plain, row)))
    if not below or not all(map(str.isdecimal, row)):
        others = [
            cell for cell in row if not (cell.endswith("%") and is_plain(cell[:-1]))
        ]  # names of quantiles
        return _SAID[not any(resembles_number(cell) or is_missing(cell) or is_date(cell) for cell in others)]
    if not all(len(other) == len(row) for other in below):
        return _SAID[False]
    return _numbers_over(row, [*below, *(other for other in more if len(other) == len(row))])


def _numbers_over(row: Sequence[str], below: Sequence[Sequence[str]]) -> Evidence:
    """Return what a first row of whole numbers is: where a column is floats, pandas writes a number with a point."""
    numbers, columns = [whole(cell) for cell in row], list(zip(*below, strict=True))
    counted = numbers == list(range(len(row)))  # as pandas names columns by default
    if any(all(map(is_date, column)) for column in columns):
        return Evidence("names", judged=True)
    first = evidence(row, below) if len(set(numbers)) == len(numbers) else _SAID[False]
    if first.kind != "unclear":
        return first._replace(judged=first.kind == "names" or (first.judged and counted))
    if counted and len(row) >= _LEAST_RANGE and all(map(is_plain, below[0])):
        apart = len({float(cell) - number for cell, number in zip(below[0], numbers, strict=True)})
        return Evidence("names" if apart > 1 else "numbers", judged=True)
    floats = list(map(written_as_floats, columns))
    if any(floats):
        return first if counted or (all(floats) and len(row) > 1) else Evidence("numbers", judged=counted)
    return whole_evidence(numbers, columns) if counted or len(row) > 1 else _SAID[False]


def _names_over(row: Sequence[str], below: Sequence[str]) -> bool:
    """Return whether a row with a word in it has names, and not numbers beside a text."""
    numbers = [cell for cell in row if is_plain(cell)]
    dates = any(map(is_date, row))
    if not numbers and not dates:
        return True
    if numbers and (dates or not all(map(str.isdecimal, numbers))):
        return False
    over = [(cell, other) for cell, other in zip(row, below, strict=False)]
    if any(is_word(cell) and not is_word(other) for cell, other in over):
        return True
    return bool(numbers) and written_as_floats([other for cell, other in over if is_plain(cell)])


def _names(
    rows: Sequence[Sequence[str]], lines: Sequence[str], below: Sequence[Sequence[str]]
) -> tuple[str, ...]:
    """Return the names of columns from the header lines, the levels of a name with slashes between them."""
    width = max(map(len, below), default=0)
    if width == 1 and len(rows) == 1 and len(rows[0]) != 1:
        return (lines[0].strip(),)  # a name with blanks over a single column
    levels = [list(row) for row in rows]
    ended = not any(row[-1] for row in below)  # rows have a separator at their end, the header has none
    for row in levels:
        if len(row) == width - 1:
            row.insert(width - 1 if ended else 0, "")  # at the front: as R writes the names of rows
    widest = max(map(len, levels))
    padded = [row + [""] * (widest - len(row)) for row in levels]
    return tuple("/".join(filter(None, column)) for column in zip(*padded, strict=True))
