"""Long computations that are kept in a file now and then, so that they go on after an interruption."""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from gatescope._version import __version__
from gatescope.checks.arrays import Array
from gatescope.errors import FileFormatError, GatescopeError, OutputError, ValueRangeError
from gatescope.storage.atomic import atomic_write
from gatescope.storage.npz import decode_json, encode_json, read_npz

_META = "gatescope_state"


def digest(*arrays: Array | None) -> str:
    """A fingerprint of arrays: their dtypes, shapes and bytes."""
    found = hashlib.sha256()
    for array in arrays:
        if array is None:
            found.update(b"none")
        else:
            found.update(f"{array.dtype} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


class StateFile:
    """The file of a computation that can be gone on from, by the same call only.

    Parameters
    ----------
    argument : str
        By which the user names the file.
    path : path or None
        None: there is to be no file.
    task : str
        What is computed, as the user calls it.
    facts : mapping of str to plain values
        Everything the result depends on, by the names the user knows.
    """

    def __init__(
        self, argument: str, path: str | os.PathLike[str] | None, task: str, facts: Mapping[str, Any]
    ) -> None:
        self.path = path
        self._argument, self._task, self._facts = argument, task, dict(facts)

    def check_place(self) -> None:
        """That the file can be written; an OutputError if not."""
        if self.path is not None:
            check_place(self._argument, self.path)

    def read(self) -> tuple[dict[str, Array], dict[str, Any]] | None:
        """The arrays in the file, and what was written beside them; None if there is no file.

        Raises
        ------
        ValueRangeError
            If it holds the state of another task, or of one with other facts.
        FileFormatError
            If it is torn, or holds something else.
        """
        if self.path is None or not os.path.lexists(self.path):
            return None
        try:
            arrays, meta = read_state(self.path)
        except GatescopeError as error:
            raise self._unreadable(str(error).partition(";")[0]) from error
        task, facts = meta.pop("task"), meta.pop("facts")
        if task != self._task:
            raise ValueRangeError(
                f"{self.named()} is the state of {task}, not of {self._task}; give the name of another file"
            )
        mine = decode_json(encode_json(self._facts, "state"))  # as what it is compared with went
        names = [*self._facts, *(name for name in facts if name not in mine)]
        other = [name for name in names if name not in facts or name not in mine or facts[name] != mine[name]]
        if other:
            changes = ", ".join(_changed(name, facts.get(name), mine.get(name)) for name in other)
            raise ValueRangeError(
                f"{self.named()} is the state of a call of {task} with other {changes}; give the same arguments to "
                "go on, or the name of another file to begin anew"
            )
        return arrays, meta

    def write(self, arrays: Mapping[str, Any], **more: Any) -> None:
        """Write the arrays, and plain values beside them: whole or not at all, which is an OutputError."""
        if self.path is None:
            return
        meta = encode_json({"task": self._task, "facts": self._facts, **more}, "state")
        members: dict[str, Any] = {_META: np.array(meta), **arrays}
        with atomic_write(self.path) as stream:
            # Not compressed: noise does not shrink, and the computation waits.
            np.savez(stream, **members)

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """For whoever reads the arrays: what does not fit becomes a FileFormatError."""
        try:
            yield
        except GatescopeError:
            raise
        except (LookupError, TypeError, ValueError) as error:
            raise self._unreadable(f"{type(error).__name__}: {error}") from error

    def named(self) -> str:
        """The argument, as the user gave it."""
        return f"{self._argument}={None if self.path is None else str(self.path)!r}"

    def _unreadable(self, why: str) -> FileFormatError:
        return FileFormatError(
            f"{self.named()} cannot be gone on from ({why}); give the name of another file, or delete this one if it "
            f"is a damaged state of {self._task}"
        )


def read_state(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays of any computation's state, and what was written beside them: its `task`, its `facts`...

    Raises
    ------
    FileFormatError
        If the file is missing or torn, or holds something else.
    """
    arrays = read_npz(path)
    if _META not in arrays:
        raise FileFormatError("no state of gatescope's is in it")
    try:
        meta = dict(decode_json(str(arrays.pop(_META)[()])))
        return arrays, {**meta, "task": meta["task"], "facts": dict(meta["facts"])}
    except (LookupError, TypeError, ValueError) as error:
        raise FileFormatError(str(error)) from error


class Resumable:
    """A computation whose state is kept in a file; a context manager.

    Every minute, and when it is interrupted with Ctrl-C, what `snapshot` returns is written to `path`, whole or not at
    all.  Once the block has ended without an error the file is removed.  Should the file be there when the block
    begins, `found` is what it holds.

    Parameters
    ----------
    path : path or None
        None: nothing is kept.
    task : str
        What is computed, as the user calls it.
    facts : mapping of str to plain values
        Everything the result depends on, by the names the user knows: arguments as they are, arrays as their `digest`.
        A file whose facts are others is not touched.
    every : float
        Seconds between two writes.

    Attributes
    ----------
    found : dict of str to array, or None
        What an interrupted computation left.
    snapshot : callable
        Returns the arrays from which the computation can go on.  It is called between any two lines, so it must
        return what was set last as a whole; to be set by the computation.

    Raises
    ------
    ValueRangeError
        If the file holds the state of a computation with other facts.
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
    ...     with Resumable(path, "total", {"n": n}) as kept:
    ...         now = kept.found or {"next": np.array(0), "sum": np.array(0)}
    ...         kept.snapshot = lambda: now
    ...         for k in range(int(now["next"]), n):
    ...             if k == stop:
    ...                 raise KeyboardInterrupt
    ...             now = {"next": np.array(k + 1), "sum": now["sum"] + k}
    ...             kept.tick()
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
        facts: Mapping[str, Any],
        *,
        every: float = 60.0,
    ) -> None:
        self.found: dict[str, Array] | None = None
        self.snapshot: Callable[[], Mapping[str, Array]] | None = None
        self._file = StateFile("resume", path, task, {"gatescope": __version__, **facts})
        self._task, self._every = task, every
        self._written, self._last = False, time.monotonic()

    def __enter__(self) -> Self:
        self._file.check_place()
        there = self._file.read()
        if there is not None:
            self.found, _ = there
            self._written = True
        self._last = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file.path is None:
            return
        if kind is None:
            if self._written:
                Path(self._file.path).unlink(missing_ok=True)
        elif isinstance(error, KeyboardInterrupt) and self.snapshot is not None:
            try:
                self._write()
            except OutputError as failed:
                error.add_note(str(failed))
            if self._written:
                error.add_note(
                    f"{self._task} goes on from here when it is called again with {self._file.named()}"
                )

    @property
    def wanted(self) -> bool:
        """Whether anything is kept at all, so that it is worth preparing `snapshot`."""
        return self._file.path is not None

    def tick(self) -> None:
        """Write the state if it is time to: to be called whenever `snapshot` has become another one."""
        if not self.wanted or self.snapshot is None or time.monotonic() - self._last < self._every:
            return
        try:
            self._write()
        except OutputError as error:  # hours of work should not end because a disk is full now
            warnings.warn(f"{self._task} goes on, but: {error}", RuntimeWarning, stacklevel=3)
        self._last = time.monotonic()

    def restoring(self) -> AbstractContextManager[None]:
        """For whoever reads `found`: what does not fit becomes a FileFormatError."""
        return self._file.restoring()

    def _write(self) -> None:
        if self.wanted and self.snapshot is not None:
            self._file.write(self.snapshot())
            self._written = True


def _changed(name: str, old: object, new: object) -> str:
    """What is other, for a message: digests say nothing to the reader."""
    shown = [repr(value) for value in (old, new)]
    return name if any(len(text) > 40 for text in shown) else f"{name} ({shown[0]} there, {shown[1]} here)"


def check_place(argument: str, path: str | os.PathLike[str]) -> None:
    """That a file can be written, before hours are spent."""
    try:
        place = Path(os.path.realpath(os.fspath(path)))
        folder, there, regular = place.parent, place.exists(), place.is_file()
    except (TypeError, ValueError) as error:
        raise OutputError(f"{argument}={path!r} is not the name of a file ({error})") from error
    if there and not regular:
        raise OutputError(f"{argument}={str(path)!r} is not a regular file; give the name of a file")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError(
            f"{argument}={str(path)!r} cannot be written: choose a folder that exists and can be written"
        )
