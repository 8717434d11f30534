"""How a text is laid out as a table: its separator, its header lines, the names of its columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from gatescope.io.cells import is_date, is_missing, is_number, is_plain, is_word, written_as_floats

Line = tuple[int, str]  # its number in the file, counted from 1, and its text
_SEPARATORS = (";", "\t", ",", "|")
_MOST_HEADERS = 8  # lines
_LEAST_RANGE = 3  # columns: of fewer, 0, 1, ... may well be numbers


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
        What a header line of numbers was taken for, in words, if there is one.
    """

    separator: str | None
    header: int
    names: tuple[str, ...]
    assumed: str


def split(lines: Iterable[str], separator: str | None) -> Iterator[list[str]]:
    """Yield the cells of each line, without the quotes and the white space round them."""
    if separator is None:
        for line in lines:
            yield [cell.strip('"') for cell in re.findall(r'"[^"]*"|\S+', line)]
        return
    for cells in csv.reader(lines, delimiter=separator, skipinitialspace=True):
        yield [cell.strip() for cell in cells]


def find_layout(head: Sequence[Line]) -> Layout:
    """Return the layout of a text from its first lines, comments left out."""
    first = re.fullmatch(r"sep=(.)", head[0][1])  # as Excel has it
    lines = [line for _, line in head]
    if first:
        lines = lines[1:]
    separator = first[1] if first else _separator(lines)
    rows = list(split(lines, separator))
    count = _headers(rows)
    body = rows[count:]
    names: tuple[str, ...] = ()
    assumed = ""
    if count:
        width = max(map(len, body), default=0)
        names = _names(rows[:count], lines[:count], width)
        if any(map(is_plain, rows[0])):
            shown = ", ".join(rows[0][:4]) + (", ..." if len(rows[0]) > 4 else "")
            assumed = (
                f"line {head[bool(first)][0]} ({shown}) taken for names of columns (write 0.0 for a number)"
            )
    return Layout(separator, count + bool(first), names, assumed)


def _separator(lines: Sequence[str]) -> str | None:
    """Return the separator that gives rows of one width whose cells are numbers or dates."""
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


def _headers(rows: Sequence[Sequence[str]]) -> int:
    """Return how many rows are header lines: those that pandas and other programs write, numbers among them."""
    if not rows or not _is_header(rows[0], rows[1:]):
        return 0
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


def _is_header(row: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    if any(map(is_word, row)):
        return _names_over(row, below[0] if below else [])
    if len(row) > 1 and not row[0] and all(row[1:]):
        return True
    if not below or not all(map(str.isdigit, row)):
        return not any(is_number(cell) or is_missing(cell) or is_date(cell) for cell in row)
    if not all(len(other) == len(row) for other in below):
        return False
    numbers = [int(cell) for cell in row]
    labels = len(set(numbers)) == len(numbers) and (len(numbers) > 1 or numbers == [0])
    if labels and all(map(written_as_floats, zip(*below, strict=True))):
        return True  # where columns are floats, pandas writes a number of them with a point
    counted = numbers == list(range(len(row))) and len(row) >= _LEAST_RANGE
    if not counted or not all(map(is_plain, below[0])):
        return False
    return len({float(cell) - number for cell, number in zip(below[0], numbers, strict=True)}) > 1


def _names_over(row: Sequence[str], below: Sequence[str]) -> bool:
    """Return whether a row with a word in it has names, and not numbers beside a text."""
    numbers = [cell for cell in row if is_plain(cell)]
    dates = any(map(is_date, row))
    if not numbers and not dates:
        return True
    if numbers and (dates or not all(map(str.isdigit, numbers))):
        return False
    over = [(cell, other) for cell, other in zip(row, below, strict=False)]
    if any(is_word(cell) and not is_word(other) for cell, other in over):
        return True
    return bool(numbers) and written_as_floats([other for cell, other in over if is_plain(cell)])


def _names(rows: Sequence[Sequence[str]], lines: Sequence[str], width: int) -> tuple[str, ...]:
    """Return the names of `width` columns from the header lines, the levels of a name with slashes between them."""
    if width == 1 and len(rows) == 1 and len(rows[0]) != 1:
        return (lines[0].strip(),)  # a name with blanks over a single column
    levels = [list(row) for row in rows]
    for row in levels:
        if len(row) == width - 1:  # as R writes the names of rows
            row.insert(0, "")
    widest = max(width, max(map(len, levels)))
    padded = [row + [""] * (widest - len(row)) for row in levels]
    return tuple("/".join(filter(None, column)) for column in zip(*padded, strict=True))
