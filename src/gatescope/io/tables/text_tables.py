"""Tables of numbers in text: fast where they are plain, cell by cell where they are not."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import IO, NamedTuple, NoReturn

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.errors import FileFormatError
from gatescope.io.tables import cells as cell_forms
from gatescope.io.tables.columns import lookup, title
from gatescope.io.tables.dates import Restart, backwards, begins_again, go_back
from gatescope.io.tables.layout import Layout, Line, find_layout, split
from gatescope.storage.atomic import open_file

_HEAD = 1000  # lines from which the layout is found
_SAMPLE = 30  # rows that show what a column holds
_SHOWN = 40  # as many characters of a bad cell as an error message shows
# Characters that nobody sees, which come along with what is copied: a number after one is no name.
_UNSEEN = dict.fromkeys([0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF])


class Table(NamedTuple):
    """Columns of a file.

    Attributes
    ----------
    names : tuple of str
        Empty where a column has none; empty without a header.
    values : (T, C) float64
        NaN in columns that hold no numbers.
    kinds : tuple of str
        Of each column ``"numbers"``, ``"dates"``, ``"text"`` or ``"nothing"``.
    notes : tuple of str
        What was taken for granted, in words.
    """

    names: tuple[str, ...]
    values: Array
    kinds: tuple[str, ...]
    notes: tuple[str, ...]


def read_text(
    path: str | os.PathLike[str],
    columns: Sequence[str | int] | None,
    skip: Sequence[str | int] | None,
    header: bool | None = None,
) -> Table:
    """Read a table; columns that are not among `columns`, and those in `skip`, may hold anything.

    `header` says whether the first line has names; None: that is found.
    """
    name = str(path)
    with open_file(path) as (stream, _):
        try:
            return _Reader(stream, name, columns, skip, header).read()
        except UnicodeDecodeError as error:
            raise FileFormatError(
                f"is not UTF-8 text ({error.reason})", seen=name, advice="save it as UTF-8"
            ) from error
        except csv.Error as error:
            raise FileFormatError(f"is not a readable table of numbers ({error})", seen=name) from error


class _Reader:
    """A text that is read once for its layout, once fast, and if that fails once cell by cell."""

    def __init__(
        self,
        stream: IO[bytes],
        name: str,
        columns: Sequence[str | int] | None,
        skip: Sequence[str | int] | None,
        header: bool | None,
    ) -> None:
        self._stream, self._name = stream, name
        head = list(islice(self._lines(), _HEAD))
        if not head:
            raise self._empty()
        self._layout: Layout = find_layout(head, header=header)
        if self._layout.unclear:
            raise FileFormatError(f"{name!r}, {self._layout.unclear}", advice=self._layout.advice)
        rows = head[self._layout.header :][:_SAMPLE]
        self._sample = list(split((line for _, line in rows), self._layout.separator))
        if not self._sample:
            raise self._empty()
        self._width = len(self._sample[0])
        if self._layout.names and len(self._layout.names) != self._width:
            number = head[self._layout.header][0]
            raise self._width_error(number, self._width, len(self._layout.names), "the header has")
        self._any = self._unread(columns, skip)  # columns whose cells may be anything
        self._restarts: dict[int, Restart] = {}  # of columns of dates

    def read(self) -> Table:
        """Return the table."""
        layout = self._layout
        kinds = [self._sampled(k) for k in range(self._width)]
        values = self._fast(kinds)
        marks: tuple[str, ...] = ()
        if values is None:
            kinds, values, marks = self._careful()
        notes = [*(marks or self._points()), *([layout.assumed] if layout.assumed else [])]
        back = self._dates_back(kinds)
        notes += [backwards(title(layout.names, k)) for k in back]
        notes += [
            begins_again(title(layout.names, k), restart.step)
            for k, restart in self._restarts.items()
            if restart.step and kinds[k] == "dates" and k not in back
        ]
        return Table(layout.names, values, tuple(kinds), tuple(notes))

    def _empty(self) -> FileFormatError:
        return FileFormatError("holds no numbers; inputs need one step at least", seen=self._name)

    def _unread(self, columns: Sequence[str | int] | None, skip: Sequence[str | int] | None) -> set[int]:
        names, width = self._layout.names, self._width
        if columns is not None:
            return set(range(width)) - set(lookup("columns", columns, names, width, self._name))
        return set() if skip is None else set(lookup("skip_columns", skip, names, width, self._name))

    def _sampled(self, column: int) -> str:
        """Return what a column holds in the first rows."""
        if column in self._any:
            return "text"
        return _kind_of([row[column] for row in self._sample if column < len(row)], self._index(column))

    def _index(self, column: int) -> bool:
        """Return whether a column is one that pandas or R would write an index in: the first, without a name."""
        return column == 0 and self._width > 1 and bool(self._layout.names) and not self._layout.names[0]

    def _lines(self) -> Iterator[Line]:
        """Yield numbers and text of the lines that are not empty, after the comments."""
        self._stream.seek(0)
        started = False
        for number, raw in enumerate(self._stream, start=1):
            line = raw.decode().translate(_UNSEEN) if not raw.isascii() else raw.decode()
            line = line.strip(" \r\n")
            if not line.strip() or (not started and line.startswith("#")):
                continue
            started = True
            if "\r" in line:  # it would pass for white space, and rows for columns
                raise FileFormatError(
                    f"{self._name!r}, line {number} has bare carriage returns",
                    advice="end lines with newlines",
                )
            yield number, line

    def _rows(self) -> Iterator[Line]:
        """Yield the lines after the header; an empty one between them is refused, as a step would be lost."""
        previous = 0
        for number, line in islice(self._lines(), self._layout.header, None):
            if previous and number != previous + 1:
                raise FileFormatError(
                    f"{self._name!r}, line {previous + 1} is empty", advice="remove or fill it"
                )
            previous = number
            yield number, line

    def _fast(self, kinds: Sequence[str]) -> Array | None:
        """Return the table if all its cells are plain numbers, but for some columns; None if they are not."""
        other = [k for k, kind in enumerate(kinds) if kind != "numbers"]
        self._restarts = {k: Restart() for k in other if kinds[k] == "dates"}
        converters: dict[int | str, Callable[[str], float]] = {
            k: self._restarts.get(k, _ignored) for k in other
        }
        try:
            values = np.loadtxt(
                (line for _, line in self._rows()),
                dtype=np.float64,
                delimiter=self._layout.separator,
                comments=None,
                quotechar='"',
                encoding="utf-8",
                converters=converters or None,
                ndmin=2,
            )
        except (FileFormatError, UnicodeDecodeError):
            raise
        except ValueError:
            return None
        numbers = np.ones(values.shape[1], bool)
        numbers[list(other)] = False
        if values.shape[1] != self._width or not np.isfinite(values[:, numbers]).all():
            return None
        return values

    def _careful(self) -> tuple[list[str], Array, tuple[str, ...]]:
        """Return kinds, values and notes of a table of which some cells are no plain numbers."""
        line_numbers: list[int] = []
        table: list[list[str]] = []
        last = 0

        def lines() -> Iterator[str]:
            nonlocal last
            for number, line in self._rows():
                last = number
                yield line

        for row in split(lines(), self._layout.separator):
            if len(row) != self._width:
                for column, cell in enumerate(row):
                    if column not in self._any:
                        self._check(cell, last, column)
                raise self._width_error(last, len(row), self._width, "the lines before it have")
            line_numbers.append(last)
            table.append(row)
        by_column = [list(column) for column in zip(*table, strict=True)]
        kinds = [
            "text" if k in self._any else _kind_of(column, self._index(k))
            for k, column in enumerate(by_column)
        ]
        self._restarts = {k: Restart() for k, kind in enumerate(kinds) if kind == "dates"}
        for k, restart in self._restarts.items():
            for cell in by_column[k]:
                restart(cell)
        numbers = [k for k, kind in enumerate(kinds) if kind == "numbers"]
        comma, notes = self._decimal_comma([by_column[k] for k in numbers])
        values = np.full((len(table), self._width), np.nan)
        for k in numbers:
            values[:, k] = [cell_forms.to_number(cell, decimal_comma=comma) for cell in by_column[k]]
        bad = np.argwhere(~np.isfinite(values[:, numbers]))
        if len(bad):
            row_of, column = int(bad[0][0]), numbers[int(bad[0][1])]
            self._refuse_among_dates(by_column[column], line_numbers, column)
            self._refuse(by_column[column][row_of], line_numbers[row_of], column)
        return kinds, values, notes

    def _decimal_comma(self, columns: Sequence[Sequence[str]]) -> tuple[bool, tuple[str, ...]]:
        """Return whether commas in cells are decimal, and a note where there are any."""
        texts = [cell for column in columns for cell in column]
        comma, point = cell_forms.decimal_marks(texts)
        unclear = next((cell for cell in texts if cell_forms.is_ambiguous(cell)), "")
        if comma and point:
            raise FileFormatError(
                f"has numbers with a decimal comma ({_shown(comma)}) and with a decimal point ({_shown(point)})",
                seen=self._name,
                advice="write all of them in one way",
            )
        if unclear and not (comma or point):
            raise FileFormatError(
                f"has numbers such as {_shown(unclear)}, which may have a decimal comma or be thousands",
                seen=self._name,
                advice="write decimals with a point and thousands without a mark",
            )
        if comma:
            return True, (f"commas are decimal ({comma[:_SHOWN]})",)
        return False, (f"commas are between thousands ({unclear[:_SHOWN]})",) if unclear else ()

    def _dates_back(self, kinds: Sequence[str]) -> list[int]:
        """Return the columns whose dates go from late to early in the first rows."""
        columns = [k for k, kind in enumerate(kinds) if kind == "dates"]
        return [k for k in columns if go_back([row[k] for row in self._sample if k < len(row)])]

    def _points(self) -> tuple[str, ...]:
        """Return a note where semicolons stand between numbers such as 1.234, which may be thousands."""
        texts = [cell for row in self._sample for cell in row if "." in cell]
        if self._layout.separator != ";" or not texts or not all(map(cell_forms.is_ambiguous_point, texts)):
            return ()
        return (f"points are decimal ({texts[0][:_SHOWN]})",)

    def _check(self, cell: str, line: int, column: int) -> None:
        """Refuse a cell that can be neither number nor date."""
        if not (cell_forms.is_number(cell) or cell_forms.is_date(cell)):
            self._refuse(cell, line, column)

    def _refuse(self, cell: str, line: int, column: int) -> NoReturn:
        where = self._where(line, column)
        if not cell:
            raise FileFormatError(f"{where}: the cell is empty", advice="fill it, or remove its row")
        if cell_forms.is_missing(cell):
            kind = (
                "not finite"
                if cell.lower() in ("nan", "-nan") or "inf" in cell.lower()
                else "a missing value"
            )
            raise FileFormatError(f"{where}: {_shown(cell)} is {kind}", advice="remove or fill it")
        if cell_forms.is_number(cell):
            raise FileFormatError(f"{where}: {_shown(cell)} is not finite", advice="remove or fill it")
        raise FileFormatError(
            f"{where}: {_shown(cell)} is not a number",
            advice="give a number, or leave the column out with `skip_columns`",
        )

    def _refuse_among_dates(self, cells: Sequence[str], lines: Sequence[int], column: int) -> None:
        """Refuse the first cell of a column of dates that is none, such as a total below them."""
        others = [
            k for k, cell in enumerate(cells) if not (cell_forms.is_date(cell) or cell_forms.is_missing(cell))
        ]
        if 2 * len(others) < len(cells) and others:
            raise FileFormatError(
                f"{self._where(lines[others[0]], column)}: {_shown(cells[others[0]])} is no date, as others of the "
                "column are",
                advice="write a date, or remove its row",
            )

    def _where(self, line: int, column: int) -> str:
        named = f" ({title(self._layout.names, column)})" if any(self._layout.names) else ""
        return f"{self._name!r}, line {line}, column {column + 1}{named}"

    def _width_error(self, line: int, width: int, expected: int, whose: str) -> FileFormatError:
        return FileFormatError(
            f"{self._name!r}, line {line} has {width} columns and {whose} {expected}",
            advice="give each step the same number",
        )


def _kind_of(column: Sequence[str], index: bool) -> str:
    """Return what the cells of a column are; `index`: whether it may hold names of rows."""
    if column and not any(column):
        return "nothing"
    if any(map(cell_forms.is_date, column)) and all(
        cell_forms.is_date(c) or cell_forms.is_missing(c) for c in column
    ):
        return "dates"
    if index and any(map(cell_forms.is_word, column)):
        return "text"
    return "numbers"


def _ignored(cell: str) -> float:
    return float("nan")


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= _SHOWN else cell[:_SHOWN] + "...")
