"""Input series from arrays in ``.npy`` and ``.npz``, and from tables in text and parquet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.arrays import REAL_KINDS, Array
from gatescope.checks.dtypes import float_dtype
from gatescope.checks.numbers import check_flag, check_unused
from gatescope.errors import NOTHING, FileFormatError, ShapeError, ValueRangeError, spelled, warn_input
from gatescope.io.tables.characters import read_characters, seems_prose
from gatescope.io.tables.columns import check_names, choose, shown, title
from gatescope.io.tables.dates import across
from gatescope.io.tables.fill_values import fill_values
from gatescope.io.tables.parquet import read_parquet
from gatescope.io.tables.text_tables import Table, read_text
from gatescope.reporting.text import counted, listing
from gatescope.storage.atomic import as_path
from gatescope.storage.npz import read_npy, read_npz

_TEXT_SUFFIXES = (".csv", ".txt", ".tsv", ".dat")
_PARQUET_SUFFIXES = (".parquet", ".pq")
_OTHER_FILES = {  # what to do with what is not read
    (".gz", ".zip", ".bz2", ".xz", ".zst"): "unpack it",
    (".xlsx", ".xls", ".ods"): "save its sheet as csv",
    (
        ".mat",
    ): "write its matrix with writematrix, or read it with scipy.io.loadmat and save that with numpy.save",
    (".pt", ".pth", ".pkl", ".h5", ".hdf5", ".feather", ".json"): "save its array with numpy.save",
}
_SHOWN = 12  # names in a note
_LEAST_ROW = 3  # numbers in a single row that may be a series
_PIECE = 1 << 20  # numbers of a mapped array that are looked at together
_READ_WITH = "a text is read with `vocabulary`"


class Reading(NamedTuple):
    """A series, and how it was read.

    Attributes
    ----------
    values : (T, B, I)
    names : tuple of str
        Of the inputs; empty where the file has none.
    left_out : tuple of str
        Columns that are no inputs, with the reason.
    notes : tuple of str
        What else was taken for granted; arguments that it speaks of stand in backticks.
    """

    values: Array
    names: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def text(self, option: Callable[[str], str]) -> str:
        """Return names, what was left out and what was taken for granted, in one line; empty if there is nothing.

        What `option` makes of an argument's name stands in its place.
        """
        parts = [listing(map(shown, self.names), most=_SHOWN)] if any(self.names) else []
        if self.left_out:
            parts.append(f"left out: {listing(self.left_out, most=_SHOWN)}")
        return "; ".join([*parts, *(spelled(note, option) for note in self.notes)])


def read_series(
    path: str | os.PathLike[str],
    *,
    dtype: DTypeLike = "float32",
    columns: str | int | Sequence[str | int] | None = None,
    skip_columns: str | int | Sequence[str | int] | None = None,
    header: bool | None = None,
    batch_first: bool = False,
    vocabulary: str | None = None,
    encoding: str | None = None,
) -> Array:
    r"""Read the inputs of a run, (T, B, I), from a file.

    Rows of a table are steps, its columns inputs.  Text is UTF-8, its separator a comma, semicolon, tab, bar or white
    space; lines that begin with ``#`` and names of columns may come first, numbers as pandas writes them among these.
    Quotes, marks between thousands and decimal commas are read where they have one meaning, and refused elsewhere.
    Columns that are no inputs are left out, with an `InputWarning` that names them: dates and times, an index (a first
    column that goes up by 1, or one without a name; first columns that count in levels, such as a year and its days),
    and columns with nothing in them.  It names what may be wrong with the rest, too: times that go back, and numbers
    such as -9999 far from all others.  A single row without names is refused: it may be a series.

    Parameters
    ----------
    path : str or path-like
        ``.npy``; ``.npz`` with one array, or one named ``inputs``; text (``.csv``, ``.txt``, ``.tsv``, ``.dat``); or
        ``.parquet`` (``.pq``), if pyarrow is installed.
    dtype : {"float32", "float64"}
    columns : str, int, or a sequence of these; optional
        Columns of a table that are the inputs, by their names or their numbers from 1, in this order.
    skip_columns : str, int, or a sequence of these; optional
        Columns of a table that are left out, as well as those above.
    header : bool, optional
        Whether the first line of a text has names of columns.  Default: that is found, and asked where a line of whole
        numbers, such as the 0 that pandas writes for a name, may be either.
    batch_first : bool
        The file has (B, T, I).
    vocabulary : str, optional
        The file, whatever its name, is a text, of which each character is a step; input k is 1 where the character is
        ``vocabulary[k]``, else 0.  What was trained on `gatescope.tasks.characters` has the vocabulary in
        ``run.provenance["vocabulary"]``.  Default: the file holds numbers.
    encoding : str, optional
        Of such a text.  Default: UTF-8.

    Returns
    -------
    (T, B, I) array
        An array (T,) in the file becomes (T, 1, 1), and (T, I) becomes (T, 1, I).

    Raises
    ------
    FileFormatError
        If the file is missing, damaged or of another kind; if it holds text where a number should be, rows of
        different length, empty cells, NaN or infinite numbers, or nothing; if its first line may be names or numbers,
        its commas decimal or between columns, or its single row a series or a step.
        It names the line and the column, or the index.
    UnknownNameError
        If there is no such column.
    ValueRangeError
        If columns or a header are named of a file that has none, or both `columns` and `skip_columns` are given; if a
        character is not in `vocabulary`.
    ShapeError
        If `batch_first` is given, and the file has no (B, T, I).
    MissingPackageError
        For a parquet file without pyarrow.

    Examples
    --------
    >>> import tempfile, pathlib, gatescope as gs
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "prices.csv"
    >>> _ = path.write_text("date,open,close\n2020-01-01,1.0,2.0\n2020-01-02,2.0,1.5\n2020-01-03,1.5,1.75\n")
    >>> gs.read_series(path, skip_columns="date").shape, gs.read_series(path, columns=["close"]).ravel().tolist()
    ((3, 1, 2), [2.0, 1.5, 1.75])
    """
    if vocabulary is not None:
        _refuse_of(
            path,
            "tables and arrays, and {} is read as a text",
            columns=columns,
            skip_columns=skip_columns,
            header=header,
            batch_first=check_flag("batch_first", batch_first) or None,
        )
        return read_characters(
            path, vocabulary, dtype=float_dtype(dtype), encoding=encoding or "utf-8"
        ).values
    check_unused("without `vocabulary`", encoding=encoding)
    reading = read(
        path, dtype=dtype, columns=columns, skip_columns=skip_columns, header=header, batch_first=batch_first
    )
    parts = [f"left out: {listing(reading.left_out, most=_SHOWN)}"] if reading.left_out else []
    parts += (spelled(note, "{}=".format) for note in reading.notes)
    if parts:
        take = "; name the inputs with columns= to take others" if reading.left_out else ""
        warn_input(f"{str(path)!r}: {'; '.join(parts)}{take}")
    return reading.values


def read(
    path: str | os.PathLike[str],
    *,
    dtype: DTypeLike = "float32",
    columns: Any = None,
    skip_columns: Any = None,
    header: Any = None,
    batch_first: Any = False,
) -> Reading:
    """Read a series as `read_series` does, and say how, without a warning."""
    precision = float_dtype(dtype)
    chosen, skipped = check_names("columns", columns), check_names("skip_columns", skip_columns)
    if chosen is not None and skipped is not None:
        raise ValueRangeError(
            "is given with `columns`, which leaves out all others",
            argument="skip_columns",
            seen=skip_columns,
            advice="give one of the two",
        )
    batch_first = check_flag("batch_first", batch_first)
    header = None if header is None else check_flag("header", header)
    suffix = as_path(path).suffix.lower()
    if suffix in (*_TEXT_SUFFIXES, *_PARQUET_SUFFIXES):
        if suffix in _TEXT_SUFFIXES:
            with _unless_prose(path, suffix):
                table = read_text(path, chosen, skipped, header)
        else:
            _refuse_of(path, "text, and {} names its columns itself", header=header)
            table = read_parquet(path, chosen, skipped)
        if batch_first:
            raise _no_batch(path, table.values.shape)
        return _of_table(table, precision, path, chosen, skipped)
    if suffix == ".npy":
        values = read_npy(path)
    elif suffix == ".npz":
        values = _only_array(read_npz(path), path)
    else:
        known = ", ".join((".npy", ".npz", *_TEXT_SUFFIXES, _PARQUET_SUFFIXES[0]))
        advice = next((what for suffixes, what in _OTHER_FILES.items() if suffix in suffixes), "")
        if not advice and os.path.isfile(path) and seems_prose(path):
            advice = f"{_READ_WITH} if it is one"
        raise FileFormatError(f"ends in {suffix!r}; inputs are read from {known}", seen=path, advice=advice)
    _refuse_of(
        path, "tables, and {} holds an array", columns=columns, skip_columns=skip_columns, header=header
    )
    if batch_first:
        if values.ndim != 3:
            raise _no_batch(path, values.shape)
        values = values.swapaxes(0, 1)
    inputs = _as_inputs(values, precision, path)
    marked = fill_values(inputs, [f"input {k + 1}" for k in range(inputs.shape[2])])
    return Reading(inputs, notes=(*in_rows(values.shape, path), *marked))


@contextmanager
def _unless_prose(path: str | os.PathLike[str], suffix: str) -> Iterator[None]:
    """Say how a text is read where a file that is no table seems to be one."""
    try:
        yield
    except FileFormatError:
        if suffix != ".txt" or not os.path.isfile(path) or not seems_prose(path):
            raise
        raise FileFormatError("holds words, not numbers", seen=path, advice=_READ_WITH) from None


def _refuse_of(path: str | os.PathLike[str], what: str, **arguments: Any) -> None:
    """Refuse arguments that are for other files."""
    for name, value in arguments.items():
        if value is not None:
            problem = f"is for {what.format(repr(str(path)))}"
            seen = NOTHING if isinstance(value, bool) else value
            raise ValueRangeError(problem, argument=name, seen=seen, advice="leave it out")


def _no_batch(path: str | os.PathLike[str], shape: tuple[int, ...]) -> ShapeError:
    return ShapeError(
        f"`batch_first` is for files of (B, T, I), and {str(path)!r} has the shape {shape}",
        advice="leave it out",
    )


def _of_table(
    table: Table,
    dtype: np.dtype[Any],
    path: str | os.PathLike[str],
    columns: Sequence[str | int] | None,
    skip: Sequence[str | int] | None,
) -> Reading:
    """Return the columns of a table that are inputs, and which they are."""
    chosen = choose(table.names, table.values, table.kinds, path, columns=columns, skip=skip)
    for k in chosen.inputs:
        if table.kinds[k] != "numbers":
            raise FileFormatError(
                f"holds no numbers in the column {table.names[k] if table.names else k + 1!r}",
                seen=path,
                advice="name another one with `columns`",
            )
    inputs = list(chosen.inputs)
    names = tuple(table.names[k] for k in inputs) if any(table.names) else ()
    whole = inputs == list(range(table.values.shape[1]))
    values = table.values if whole else table.values[:, inputs]
    series = _as_inputs(values, dtype, path)
    marked = fill_values(values, [title(table.names, k) for k in inputs])
    notes = [*table.notes, *chosen.notes, *marked]
    if columns is None:
        numbered = all(name.isdecimal() for name in names)  # as pandas does with columns that have no names
        asked = "write one step a line, or name the inputs with `columns`"
        notes += across(names) or (in_rows(values.shape, path, asked) if numbered else ())
    return Reading(series, names, chosen.left_out, tuple(notes))


def in_rows(
    shape: tuple[int, ...], path: str | os.PathLike[str], advice: str = "save its transpose, or (T, B, I)"
) -> tuple[str, ...]:
    """Return a note where an array (T, I) may be series in rows: fewer steps than inputs, none of which has a name.

    Raises
    ------
    FileFormatError
        If it is a single row, of which nothing says that it is one step.
    """
    if len(shape) != 2 or shape[0] >= shape[1]:
        return ()
    if shape[0] == 1 and shape[1] >= _LEAST_ROW:
        raise FileFormatError(
            f"holds a single row of {shape[1]:,} numbers: one step of as many inputs, or a series of as many steps",
            seen=path,
            advice=advice,
        )
    return (f"if these are {shape[0]:,} series of {counted(shape[1], 'step')}, transpose the file",)


def _only_array(arrays: dict[str, Array], path: str | os.PathLike[str]) -> Array:
    if "inputs" in arrays:
        return arrays["inputs"]
    if len(arrays) > 1:
        raise FileFormatError(
            f"holds {len(arrays)} arrays ({', '.join(list(arrays)[:12])}) and none is named 'inputs'",
            seen=path,
            advice="name the one to use 'inputs', or save it alone",
        )
    return next(iter(arrays.values()))


def _as_inputs(values: Array, dtype: np.dtype[Any], path: str | os.PathLike[str]) -> Array:
    if values.dtype.kind not in REAL_KINDS:
        raise FileFormatError(f"holds {values.dtype}; inputs are real numbers", seen=path)
    if values.ndim not in (1, 2, 3):
        raise FileFormatError(
            f"holds an array of shape {values.shape}; inputs are (T,), (T, I) or (T, B, I)", seen=path
        )
    if values.size == 0:
        raise FileFormatError(
            f"holds an empty array of shape {values.shape}; inputs need one step at least", seen=path
        )
    with np.errstate(over="ignore"):  # an overflow is reported below
        inputs = np.ascontiguousarray(values, dtype=dtype)
    bad = np.argwhere(~np.isfinite(inputs))
    if len(bad):
        first = tuple(int(k) for k in bad[0])
        advice = "remove or fill it" if not np.isfinite(values[first]) else "scale the series, or use float64"
        raise FileFormatError(
            f"has {len(bad)} values that are not finite in {dtype}, the first {values[first]} at index {list(first)}",
            seen=path,
            advice=advice,
        )
    if inputs.ndim < 3:
        inputs = inputs.reshape(len(inputs), 1, -1)
    return inputs


def check_mapped(values: Array, path: str | os.PathLike[str]) -> None:
    """Refuse a memory-mapped array with values that are not finite, as `read_series` does; it is read in pieces.

    Raises
    ------
    FileFormatError
        It names the first of them.
    """
    if values.dtype.kind != "f":
        return
    rows = max(1, _PIECE // max(1, values[0].size))
    bad, first = 0, -1
    for begin in range(0, len(values), rows):
        wrong = ~np.isfinite(values[begin : begin + rows]).reshape(-1)
        if bad == 0 and wrong.any():
            first = begin * values[0].size + int(np.argmax(wrong))
        bad += int(np.count_nonzero(wrong))
    if bad:
        at = tuple(int(k) for k in np.unravel_index(first, values.shape))
        raise FileFormatError(
            f"has {bad} values that are not finite in {values.dtype}, the first {values[at]} at index {list(at)}",
            seen=path,
            advice="remove or fill it",
        )
