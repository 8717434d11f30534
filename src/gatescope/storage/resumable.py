"""Long computations whose state is stored in a file now and then, so that they can be resumed."""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from gatescope._version import __version__
from gatescope.checks.arrays import Array
from gatescope.errors import FileFormatError, GatescopeError, OutputError, ValueRangeError
from gatescope.storage.atomic import atomic_write, writable
from gatescope.storage.npz import decode_json, encode_json, read_npz

_META = "gatescope_state"
_finished: ContextVar[list[Path] | None] = ContextVar("finished", default=None)


@contextmanager
def removed_at_the_end() -> Iterator[None]:
    """Keep the files of computations that end inside a block until the block has ended without an error.

    A block in which the result is stored too leaves either the result or the state from which it can be computed.
    """
    finished: list[Path] = []
    before = _finished.set(finished)
    try:
        yield
    finally:
        _finished.reset(before)
    for path in finished:
        path.unlink(missing_ok=True)


def digest(*arrays: Array | None) -> str:
    """Return a fingerprint of arrays: of their dtypes, shapes and bytes."""
    fingerprint = hashlib.sha256()
    for array in arrays:
        if array is None:
            fingerprint.update(b"none")
        else:
            fingerprint.update(f"{array.dtype} {array.shape}".encode())
            fingerprint.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return fingerprint.hexdigest()


class Resumable:
    """A computation whose state is stored in a file, and which only the same call resumes; a context manager.

    Every minute, and when it is interrupted with Ctrl-C, what `snapshot` returns is written, whole or not at all.  If
    the file is there when the block begins, `stored` is what it holds.

    One rule says how long a file stays: as long as something can be computed from it.  So the file of a measurement is
    removed once the block has ended without an error (or one of `removed_at_the_end` around it), and the file of a
    training run, which can always be given more epochs, is not (`keep`).

    Parameters
    ----------
    path : path or None
        None: nothing is stored.
    task : str
        What is computed, as the user calls it.
    metadata : mapping of str to plain values
        Everything the result depends on, by the names the user knows: arguments as they are, arrays as their `digest`.
        A file whose metadata differ is refused and not touched, and so is one of another version.
    argument : str
        By which the user names the file.
    every : float
        Seconds between two writes.
    keep : bool
        Whether the file stays after the end.

    Attributes
    ----------
    stored : dict of str to array, or None
        What an interrupted computation left.
    snapshot : callable
        Returns the arrays from which the computation can be resumed.  It is called between any two lines, so it must
        return what was set last as a whole; to be set by the computation.
    enabled, written : bool
        Whether there is to be a file, and whether one with a state of this computation is there.

    Raises
    ------
    ValueRangeError
        If the file holds the state of a computation with other metadata.
    FileFormatError
        If it is torn, or holds something else.
    OutputError
        If there can be no file at `path`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from gatescope.storage.resumable import Resumable
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "sum.state"
    >>> def total(n, stop=None):
    ...     with Resumable(path, "total", {"n": n}) as resumable:
    ...         now = resumable.stored or {"next": np.array(0), "sum": np.array(0)}
    ...         resumable.snapshot = lambda: now
    ...         for k in range(int(now["next"]), n):
    ...             if k == stop:
    ...                 raise KeyboardInterrupt
    ...             now = {"next": np.array(k + 1), "sum": now["sum"] + k}
    ...             resumable.tick()
    ...     return int(now["sum"])
    >>> try:
    ...     total(10, stop=5)
    ... except KeyboardInterrupt:
    ...     path.exists()
    True
    >>> total(10), path.exists()
    (45, False)
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        task: str,
        metadata: Mapping[str, Any],
        *,
        argument: str = "resume",
        every: float = 60.0,
        keep: bool = False,
    ) -> None:
        self.stored: dict[str, Array] | None = None
        self.snapshot: Callable[[], Mapping[str, Any]] | None = None
        self.enabled, self.written = path is not None, False
        self._path, self._task, self._argument, self._every, self._keep = path, task, argument, every, keep
        self._metadata = {"gatescope": __version__, **metadata}
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self.open()

    def open(self) -> Self:
        """Check that the file can be written, and read it if it is there; for whoever writes at the end by itself."""
        if self._path is not None:
            folder = writable(self._path, self._argument).parent
            if not folder.is_dir() or not os.access(folder, os.W_OK):
                raise OutputError(
                    "cannot be written",
                    argument=self._argument,
                    seen=self._path,
                    advice="choose a folder that exists and can be written",
                )
            if os.path.lexists(self._path):
                self.stored, self.written = self._read(self._path), True
        self._last = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._path is None:
            return
        if kind is None:
            if self.written and not self._keep:
                finished = _finished.get()
                if finished is None:
                    Path(self._path).unlink(missing_ok=True)
                else:
                    finished.append(Path(self._path))
        elif isinstance(error, KeyboardInterrupt) and self.snapshot is not None:
            try:
                self._write()
            except OutputError as failure:
                error.add_note(str(failure))
            if self.written:
                error.add_note(f"{self._task} resumes from here when it is called again with {self}")

    def __str__(self) -> str:
        """Return the argument as the user gave it."""
        return f"{self._argument}={None if self._path is None else str(self._path)!r}"

    def due(self) -> bool:
        """Return whether it is time to write."""
        return self.enabled and time.monotonic() - self._last >= self._every

    def tick(self) -> None:
        """Write the state if it is time to; to be called whenever `snapshot` would return another one."""
        if self.due():
            self.write()

    def write(self) -> None:
        """Write the state now; hours of work do not end because a disk is full, so that is a RuntimeWarning."""
        try:
            self._write()
        except OutputError as error:
            warnings.warn(f"{self._task} continues, but: {error}", RuntimeWarning, stacklevel=3)
        self._last = time.monotonic()

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Make a FileFormatError of whatever goes wrong in a block that reads `stored`."""
        try:
            yield
        except GatescopeError:
            raise
        except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise self._unreadable(f"{type(error).__name__}: {error}") from error

    def _write(self) -> None:
        if self._path is None or self.snapshot is None:
            return
        meta = encode_json({"task": self._task, "metadata": self._metadata}, "state")
        members: dict[str, Any] = {_META: np.array(meta), **self.snapshot()}
        with atomic_write(self._path) as stream:
            # Not compressed: noise does not shrink, and the computation waits.
            np.savez(stream, **members)
        self.written = True

    def _read(self, path: str | os.PathLike[str]) -> dict[str, Array]:
        """Return the arrays in the file, which must be of the same call."""
        try:
            arrays, task, metadata = read_state(path)
        except FileFormatError as error:
            raise self._unreadable(error.problem) from error
        if task != self._task:
            raise ValueRangeError(
                f"is the state of {task}, not of {self._task}",
                argument=self._argument,
                seen=str(path),
                advice="give the name of another file",
            )
        mine = decode_json(encode_json(self._metadata, "state"))  # as the stored ones went
        names = [*self._metadata, *(name for name in metadata if name not in mine)]
        differ = [
            name for name in names if name not in metadata or name not in mine or metadata[name] != mine[name]
        ]
        if differ:
            changes = ", ".join(_change(name, metadata.get(name), mine.get(name)) for name in differ)
            raise ValueRangeError(
                f"is the state of a call of {self._task} with other {changes}",
                argument=self._argument,
                seen=str(path),
                advice="give the same arguments to resume, or the name of another file to begin anew",
            )
        return arrays

    def _unreadable(self, reason: str) -> FileFormatError:
        return FileFormatError(
            f"cannot be resumed from ({reason})",
            argument=self._argument,
            seen=self._path,
            advice=f"give the name of another file, or delete this one if it is a damaged state of {self._task}",
        )


def read_state(path: str | os.PathLike[str]) -> tuple[dict[str, Array], str, dict[str, Any]]:
    """Return the arrays of any computation's state, its task, and its metadata.

    Raises
    ------
    FileFormatError
        If the file is missing or torn, or holds something else.
    """
    arrays = read_npz(path)
    if _META not in arrays:
        raise FileFormatError("holds no state of gatescope's", seen=path)
    try:
        meta = decode_json(str(arrays.pop(_META)[()]))
        complex_ones = [name for name, array in arrays.items() if array.dtype.kind == "c"]
        if complex_ones:
            raise ValueError(f"complex numbers in {', '.join(complex_ones)}")
        return arrays, str(meta["task"]), dict(meta["metadata"])
    except (LookupError, TypeError, ValueError) as error:
        raise FileFormatError(f"is torn ({error})", seen=path) from error


def counter(stored: Mapping[str, Array], name: str) -> int:
    """Return a number of things that a state holds under a name.

    Raises
    ------
    ValueError, KeyError
        If it is no whole number of at least 0, or not there.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.storage.resumable import counter
    >>> counter({"step": np.array(3)}, "step")
    3
    """
    value = stored[name]
    if value.ndim or value.dtype.kind not in "iu" or value < 0:
        raise ValueError(f"{name} is {value!r}, which counts nothing")
    return int(value)


def _change(name: str, old: object, new: object) -> str:
    """Return a name with both values; digests say nothing to the reader."""
    shown = [_plain(value) for value in (old, new)]
    name = f"`{name}`" if name.isidentifier() else name
    return name if any(len(text) > 40 for text in shown) else f"{name} ({shown[0]} there, {shown[1]} here)"


def _plain(value: object) -> str:
    """Return a value as one types it on a command line: names without quotes, lists as in gru,lstm."""
    if isinstance(value, list | tuple):
        return ",".join(map(_plain, value)) or "none"
    return "none" if value is None else str(value)
