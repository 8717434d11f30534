"""Input series from ``.npy``, ``.npz`` and text files."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.arrays import REAL_KINDS, Array
from gatescope.checks.dtypes import float_dtype
from gatescope.errors import FileFormatError
from gatescope.storage.atomic import open_file
from gatescope.storage.npz import read_npy, read_npz

_TEXT_SUFFIXES = (".csv", ".txt", ".tsv", ".dat")
_SHOWN = 40  # as many characters of a bad cell as an error message shows


def read_series(path: str | os.PathLike[str], *, dtype: DTypeLike = "float32") -> Array:
    r"""Read the inputs of a run, (T, B, I), from a file.

    Parameters
    ----------
    path : str or path-like
        ``.npy``; ``.npz`` with one array, or one named ``inputs``; or UTF-8 text (``.csv``, ``.txt``,
        ``.tsv``, ``.dat``) whose rows are steps and whose columns are inputs, separated by commas,
        semicolons, tabs or white space.  Text may begin with lines that start with ``#`` and with one line of
        column names.
    dtype : {"float32", "float64"}

    Returns
    -------
    (T, B, I) array
        An array (T,) in the file becomes (T, 1, 1), and (T, I) becomes (T, 1, I).

    Raises
    ------
    FileFormatError
        If the file is missing, damaged or of another kind; if it holds text where a number should be, rows of
        different length, empty cells, NaN or infinite numbers, or nothing.  It names the line and the column,
        or the index.

    Examples
    --------
    >>> import tempfile, pathlib, gatescope as gs
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "prices.csv"
    >>> _ = path.write_text("open,close\n1.0,2.0\n2.0,1.5\n1.5,1.75\n")
    >>> gs.read_series(path).shape
    (3, 1, 2)
    """
    precision = float_dtype(dtype)
    suffix = Path(os.fspath(path)).suffix.lower()
    if suffix == ".npy":
        values = read_npy(path)
    elif suffix == ".npz":
        values = _only_array(read_npz(path), path)
    elif suffix in _TEXT_SUFFIXES:
        values = _read_text(path)
    else:
        raise FileFormatError(
            f"ends in {suffix!r}; inputs are read from .npy, .npz, {', '.join(_TEXT_SUFFIXES)}", seen=path
        )
    return _as_inputs(values, precision, path)


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


def _read_text(path: str | os.PathLike[str]) -> Array:
    """Read a table as (T, I) float64."""
    name = str(path)
    with open_file(path) as (stream, _):
        try:
            table = _parse(stream, name)
        except UnicodeDecodeError as error:
            raise FileFormatError(
                f"is not UTF-8 text ({error.reason})", seen=name, advice="save it as UTF-8"
            ) from error
        except ValueError as error:
            _explain(stream, name, error)
        if not np.isfinite(table).all():
            _explain(stream, name, ValueError("a number is not finite"))
    return table


def _parse(stream: IO[bytes], name: str) -> Array:
    lines = _data_lines(stream, name)
    first = next(lines, None)
    if first is None:
        raise FileFormatError("holds no numbers; inputs need one step at least", seen=name)
    delimiter = _delimiter(first[1])

    def rows() -> Iterator[str]:
        yield first[1]
        previous = first[0]
        for number, line in lines:
            if number != previous + 1:  # loadtxt would skip it, and a step would be lost
                raise ValueError("an empty line")
            previous = number
            yield line

    return np.loadtxt(rows(), dtype=np.float64, delimiter=delimiter, comments=None, ndmin=2)


def _data_lines(stream: IO[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Yield numbers and text of the lines that are not empty, after the comments and the column names."""
    stream.seek(0)
    started = False
    for number, raw in enumerate(stream, start=1):
        line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip(" \r\n")
        if not line.strip() or (not started and line.startswith("#")):
            continue
        if "\r" in line:  # it would pass for white space, and rows for columns
            raise FileFormatError(
                f"{name!r}, line {number} has bare carriage returns", advice="end lines with newlines"
            )
        if not started:
            started = True
            if not any(map(_is_number, re.split(r"[;,\s]+", line))):
                continue  # names of columns
        yield number, line


def _delimiter(line: str) -> str | None:
    return next((mark for mark in ";,\t" if mark in line), None)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _explain(stream: IO[bytes], name: str, error: ValueError) -> NoReturn:
    """Find the line and column that made the fast reader give up."""
    delimiter, width, previous = None, 0, 0
    for number, line in _data_lines(stream, name):
        if not width:
            delimiter = _delimiter(line)
        elif number != previous + 1:
            raise FileFormatError(f"{name!r}, line {previous + 1} is empty", advice="remove or fill it")
        cells = line.split(delimiter)
        width = width or len(cells)
        previous = number
        for column, cell in enumerate(cells, start=1):
            _check_cell(cell.strip(), f"{name!r}, line {number}, column {column}")
        if len(cells) != width:
            raise FileFormatError(
                f"{name!r}, line {number} has {len(cells)} columns and the lines before it have {width}",
                advice="give each step the same number",
            )
    raise FileFormatError(f"is not a readable table of numbers ({error})", seen=name) from error


def _check_cell(cell: str, where: str) -> None:
    shown = repr(cell if len(cell) <= _SHOWN else cell[:_SHOWN] + "...")
    if not cell:
        raise FileFormatError(f"{where}: the cell is empty", advice="fill it")
    if not _is_number(cell):
        decimal = re.fullmatch(r"[-+]?\d+,\d+", cell)
        advice = "write decimals with a point" if decimal else "give a number"
        raise FileFormatError(f"{where}: {shown} is not a number", advice=advice)
    if not math.isfinite(float(cell)):
        raise FileFormatError(f"{where}: {shown} is not finite", advice="remove or fill it")
