"""Input series read piece by piece: from arrays, memory-mapped files and generators, forwards and backwards."""

from __future__ import annotations

import hashlib
import mmap
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from types import TracebackType
from typing import Any, Self

import numpy as np

from gatescope.checks.arrays import real_array, rectangular
from gatescope.checks.network import check_input_axes, check_inputs, time_major
from gatescope.datatypes import Array, Params
from gatescope.errors import DtypeError, OutputError, ShapeError, ValueRangeError
from gatescope.kernels.forks import renew_after_fork

# Single steps of a generator are put together to pieces of so many.
_TOGETHER = 4096
# So many steps, spread evenly, stand for the whole series in its digest.
_SAMPLE = 64
# Pages of a mapped file are given back after so many bytes of it were read.
MAPPED_BYTES = 1 << 24


class Series:
    """Inputs (T, B, I) of a run, of which a piece at a time is in memory; a context manager, made by `open_series`.

    Attributes
    ----------
    steps, batch, input_size : int
        T, B and I.
    dtype : numpy.dtype
        What the pieces are converted to.
    memory_bytes : int
        Memory the series itself takes for as long as it is open, beyond the pieces and what was handed in.
    """

    steps: int
    batch: int
    input_size: int
    dtype: np.dtype[Any]
    memory_bytes: int = 0

    def read(self, begin: int, end: int) -> Array:
        """Return steps begin to end - 1, (end - begin, B, I), C-contiguous and finite; not to be written to.

        Any thread may call it.

        Raises
        ------
        ValueRangeError
            If one of them is not finite; the message says at which step.
        """
        raise NotImplementedError

    def digest(self) -> str:
        """Return a fingerprint of the shape and of some steps, spread evenly over the series."""
        fingerprint = hashlib.sha256(f"{self.steps} {self.batch} {self.input_size} {self.dtype}".encode())
        for step in np.unique(np.linspace(0, self.steps - 1, _SAMPLE).astype(np.int64)):
            fingerprint.update(self.read(int(step), int(step) + 1).tobytes())
        return fingerprint.hexdigest()

    def close(self) -> None:
        """Close what was opened; temporary files are deleted."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_series(inputs: Any, params: Params) -> Series:
    """Open the inputs of a run.

    Parameters
    ----------
    inputs : (T, B, I) or (T, I) array_like, numpy.memmap, iterator or Series
        A memory-mapped array (``numpy.load(path, mmap_mode="r")``) is never read whole: its pieces are converted and
        checked when they are read.  A generator, or any other iterator, gives the series in order, as single steps
        (I,) or in pieces (n, I) or (n, B, I) of any length; since the way back needs them in the other order, they go
        to a temporary file first, which is deleted when the series is closed.  An open `Series` is read and stays open;
        one in float32 serves weights in float64 too.
    params : Params
        Weights that have been checked: their input size must fit, and pieces are converted to their dtype.

    Returns
    -------
    Series

    Raises
    ------
    ShapeError, DtypeError, ValueRangeError
        If the inputs do not fit.
    OutputError
        If the temporary file cannot be written.

    Examples
    --------
    >>> import gatescope as gs
    >>> from gatescope.recurrence.input_stream import open_series
    >>> params = gs.init("lstm", input_size=1, hidden_size=4, seed=0)
    >>> with open_series(([t % 2] for t in range(1000)), params) as series:
    ...     series.steps, series.batch, series.read(998, 1000).ravel().tolist()
    (1000, 1, [0.0, 1.0])
    """
    if isinstance(inputs, Series):
        return _Borrowed(inputs, params)
    if isinstance(inputs, np.memmap):
        return _Mapped(inputs, params)
    if isinstance(inputs, Iterator):
        return _Spooled(inputs, params)
    array = check_inputs(inputs, params)
    return _Whole(array, own=isinstance(inputs, np.ndarray) and np.may_share_memory(inputs, array))


def part_of(series: Series, sequences: Array, begin: int, end: int) -> Series:
    """Return some sequences of an open series, from step `begin` to step `end` - 1; it stays open."""
    return _Part(series, sequences, begin, end)


def turned_series(series: Series, lengths: Array) -> Series:
    """Return an open series with the steps of each sequence from its last to its first; it stays open.

    Past the end of a sequence there are zeros.
    """
    return _Turned(series, lengths)


def in_memory(inputs: Array) -> Series:
    """Return a series of inputs (T, B, I) that have been checked."""
    return _Whole(inputs, own=True)


class _Borrowed(Series):
    """A series that somebody else closes."""

    def __init__(self, series: Series, params: Params) -> None:
        if series.input_size != params.input_size:
            raise ShapeError(
                f"is a series with input_size = {series.input_size}, but the weights have {params.input_size}",
                argument="inputs",
            )
        if not np.can_cast(series.dtype, params.dtype):
            raise DtypeError(
                f"is a series in {series.dtype}, but the weights are {params.dtype}",
                argument="inputs",
                advice="open it again",
            )
        self.steps, self.batch, self.input_size = series.steps, series.batch, series.input_size
        self.dtype, self.memory_bytes = params.dtype, series.memory_bytes
        self._series = series

    def read(self, begin: int, end: int) -> Array:
        return self._series.read(begin, end).astype(self.dtype, copy=False)


class _Part(Series):
    """Some sequences and steps of a series that somebody else closes."""

    def __init__(self, series: Series, sequences: Array, begin: int, end: int) -> None:
        self.steps, self.batch, self.input_size = end - begin, len(sequences), series.input_size
        self.dtype, self.memory_bytes = series.dtype, series.memory_bytes
        self._series, self._sequences, self._begin = series, sequences, begin

    def read(self, begin: int, end: int) -> Array:
        whole = self._series.read(self._begin + begin, self._begin + end)
        return np.ascontiguousarray(whole[:, self._sequences])


class _Turned(Series):
    """A series that is read from the end of each sequence; somebody else closes it."""

    def __init__(self, series: Series, lengths: Array) -> None:
        self.steps, self.batch, self.input_size = series.steps, series.batch, series.input_size
        self.dtype, self.memory_bytes = series.dtype, series.memory_bytes
        self._series, self._lengths = series, lengths

    def read(self, begin: int, end: int) -> Array:
        piece = np.zeros((end - begin, self.batch, self.input_size), self.dtype)
        for length in np.unique(self._lengths[self._lengths > begin]):
            rows = np.flatnonzero(self._lengths == length)
            low, high = max(0, int(length) - end), int(length) - begin
            piece[: high - low, rows] = self._series.read(low, high)[::-1, rows]
        return piece


class _Whole(Series):
    """An array in memory, checked once."""

    def __init__(self, array: Array, *, own: bool) -> None:
        self._array = array
        self.steps, self.batch, self.input_size = array.shape
        self.dtype = array.dtype
        self.memory_bytes = 0 if own else array.nbytes

    def read(self, begin: int, end: int) -> Array:
        return self._array[begin:end]


class _Mapped(Series):
    """A memory-mapped file, of which pages that were read do not stay in memory."""

    def __init__(self, inputs: np.memmap[Any, Any], params: Params) -> None:
        real_array("inputs", inputs)
        axes = time_major(inputs, params)
        self.steps, self.batch, self.input_size = check_input_axes("inputs", axes, params.input_size)
        if self.steps == 0:
            raise ShapeError("at least one step is needed", argument="inputs", seen=inputs.shape)
        self.dtype = params.dtype
        self._array: Array = axes.view(np.ndarray)
        if inputs.ndim == 2:
            self._array = self._array[:, None, :]
        # Pages of a private mapping may hold changes that are nowhere else.
        self._map = getattr(inputs, "_mmap", None) if inputs.mode in ("r", "r+") else None
        self._read_bytes = 0
        self.memory_bytes = min(inputs.nbytes, MAPPED_BYTES)

    def read(self, begin: int, end: int) -> Array:
        piece = _converted(self._array[begin:end], self.dtype, begin)
        self._read_bytes += self._array[begin:end].nbytes
        if self._read_bytes > MAPPED_BYTES:
            self._read_bytes = 0
            # Not every system has it, and where it fails nothing is lost but memory.
            with suppress(AttributeError, OSError, ValueError):
                self._map.madvise(mmap.MADV_DONTNEED)  # type: ignore[union-attr]
        return piece


class _Spooled(Series):
    """What an iterator gave, in a temporary file."""

    def __init__(self, inputs: Iterator[Any], params: Params) -> None:
        self.dtype, self.steps, self.batch, self.input_size = params.dtype, 0, 0, params.input_size
        self.renew()
        renew_after_fork(self)
        try:
            self._file = tempfile.TemporaryFile(prefix="gatescope-", buffering=0)  # noqa: SIM115 - closed below
        except OSError as error:
            raise self._cannot(error) from error
        try:
            for piece in _pieces(inputs, params):
                array = _converted(piece, params.dtype, self.steps)
                self.batch = array.shape[1]
                self._write(array)
                self.steps += len(array)
            if self.steps == 0:
                raise ShapeError(
                    "is an iterator that gave nothing", argument="inputs", advice="give at least one step"
                )
        except BaseException:
            self._file.close()
            raise

    def renew(self) -> None:
        """Make a new lock."""
        self._lock = threading.Lock()

    def _write(self, array: Array) -> None:
        left = array.reshape(-1).view(np.uint8).data
        try:
            while left:
                left = left[self._file.write(left) or 0 :]
        except OSError as error:
            raise self._cannot(error) from error

    @staticmethod
    def _cannot(error: OSError) -> OutputError:
        return OutputError(
            f"cannot be stored in a temporary file in {tempfile.gettempdir()!r}: {error.strerror or error}",
            argument="inputs",
            advice="free space there, set TMPDIR to another folder, or save them as .npy and give a numpy.memmap",
        )

    def read(self, begin: int, end: int) -> Array:
        piece = np.empty((end - begin, self.batch, self.input_size), self.dtype)
        left = piece.reshape(-1).view(np.uint8).data
        with self._lock:
            self._file.seek(begin * self.batch * self.input_size * self.dtype.itemsize)
            while left:
                got = self._file.readinto(left)
                if not got:
                    raise OutputError("the temporary file of the inputs was cut off while it was in use")
                left = left[got:]
        return piece

    def close(self) -> None:
        self._file.close()


def _pieces(inputs: Iterator[Any], params: Params) -> Iterator[Array]:
    """Yield the iterator's pieces as (n, B, I); they must be all of one form."""
    first: tuple[int, int] | None = None
    for index, value in enumerate(_together(inputs)):
        name = f"piece {index} of inputs"
        piece = real_array(name, value)
        _, batch, _ = check_input_axes(name, piece, params.input_size)
        if first is None:
            first = piece.ndim, batch
        elif first != (piece.ndim, batch):
            raise ShapeError(
                f"the first had {first[0]} axes and {first[1]} sequences",
                argument=name,
                seen=piece.shape,
                advice="give all pieces in one form",
            )
        if len(piece):
            yield piece if piece.ndim == 3 else piece[:, None, :]


def _together(inputs: Iterator[Any]) -> Iterator[Any]:
    """Yield the pieces as they come; single steps (I,) are put together to pieces (n, I)."""
    for one in inputs:
        if rectangular("piece 0 of inputs", one).ndim != 1:
            yield from chain([one], inputs)
            return
        many = [one]
        for other in inputs:
            many.append(other)
            if len(many) == _TOGETHER:
                break
        yield many


def _converted(piece: Array, dtype: np.dtype[Any], begin: int) -> Array:
    """Return a copy of a piece (n, B, I) that begins at step `begin`, in `dtype`, all finite."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is reported below
        array = np.array(piece, dtype, order="C")
        if np.isfinite(array.sum()):
            return array
    bad = np.argwhere(~np.isfinite(array))
    if not len(bad):
        return array
    step, sequence, column = (int(k) for k in bad[0])
    value = piece[step, sequence, column]
    advice = "remove or replace such values"
    if np.isfinite(value):
        advice = f"it is too large for {dtype}; scale it or use dtype='float64'"
    raise ValueRangeError(
        f"at step {begin + step} (sequence {sequence}, input {column}) is {value}",
        argument="inputs",
        advice=advice,
    )
