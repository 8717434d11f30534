"""The file from which training goes on: written whole or not at all, and only gone on from by the same call."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from gatescope.errors import FileFormatError, GatescopeError, OutputError, ValueRangeError
from gatescope.results import Array
from gatescope.resuming import changed, check_place
from gatescope.storage import atomic_write, decode_json, encode_json, read_npz

_META = "gatescope_state"
_TASK = "train"


class Checkpoint:
    """A file that holds the state of a training run.

    Parameters
    ----------
    path : path or None
        None: nothing is kept.
    facts : mapping of str to plain values
        Everything that the numbers depend on but how many epochs there are, by the names the user knows.
    epochs : int
        How many the run is to have.
    every : float
        Seconds between two writes.

    Attributes
    ----------
    epochs : int or None
        How many the run in the file was to have, once `read` has found one.
    wanted, there : bool
        Whether there is to be a file, and whether one was read or written.

    Raises
    ------
    OutputError
        If there can be no file at `path`.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None, facts: Mapping[str, Any], epochs: int, every: float
    ) -> None:
        self._path, self._facts, self._every = path, dict(facts), every
        self._wanted = epochs
        self.epochs: int | None = None
        self.wanted, self.there = path is not None, False
        self._last = time.monotonic()
        if path is not None:
            check_place("checkpoint", path)

    def read(self) -> dict[str, Array] | None:
        """What the file holds, or None if there is none.

        Raises
        ------
        ValueRangeError
            If it is of another model, task or setting.
        FileFormatError
            If it is torn, or something else.
        """
        if self._path is None or not os.path.lexists(self._path):
            return None
        try:
            arrays = read_npz(self._path)
            if _META not in arrays:
                raise FileFormatError("no checkpoint of gatescope's is in it")
            meta = decode_json(str(arrays.pop(_META)[()]))
            task, facts, epochs = meta["task"], dict(meta["facts"]), meta.get("epochs")
        except (GatescopeError, LookupError, TypeError, ValueError) as error:
            raise self._unreadable(str(error).partition(";")[0]) from error
        if task != _TASK:
            raise ValueRangeError(
                f"{self.named()} is the state of {task}, not of {_TASK}; give the name of another file"
            )
        mine = decode_json(encode_json(self._facts, "state"))  # as what it is compared with went
        names = [*self._facts, *(name for name in facts if name not in mine)]
        other = [name for name in names if name not in facts or name not in mine or facts[name] != mine[name]]
        if other:
            changes = ", ".join(changed(name, facts.get(name), mine.get(name)) for name in other)
            raise ValueRangeError(
                f"{self.named()} is the state of a call of {_TASK} with other {changes}; give the same arguments to "
                "go on, or the name of another file to begin anew"
            )
        with self.restoring():
            self.epochs = int(epochs)
        self.there = True
        return arrays

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """For whoever reads the arrays: what does not fit becomes a FileFormatError."""
        try:
            yield
        except GatescopeError:
            raise
        except (LookupError, TypeError, ValueError) as error:
            raise self._unreadable(f"{type(error).__name__}: {error}") from error

    def due(self) -> bool:
        """Whether it is time to write."""
        return self._path is not None and time.monotonic() - self._last >= self._every

    def write(self, arrays: Callable[[], Mapping[str, Array]]) -> None:
        """Write what `arrays` returns, if a file is wanted.

        Hours of work do not end because a disk is full now: that is a RuntimeWarning.
        """
        if self._path is None:
            return
        meta = encode_json({"task": _TASK, "facts": self._facts, "epochs": self._wanted}, "state")
        members: dict[str, Any] = {_META: np.array(meta), **arrays()}
        try:
            with atomic_write(self._path) as stream:
                # Not compressed: noise does not shrink, and the training waits.
                np.savez(stream, **members)
        except OutputError as error:
            warnings.warn(f"{_TASK} goes on, but: {error}", RuntimeWarning, stacklevel=2)
        else:
            self.there = True
        self._last = time.monotonic()

    def named(self) -> str:
        """The argument, as the user gave it."""
        return "checkpoint=None" if self._path is None else f"checkpoint={str(self._path)!r}"

    def _unreadable(self, why: str) -> FileFormatError:
        return FileFormatError(
            f"{self.named()} cannot be gone on from ({why}); give the name of another file, or delete this one if it "
            f"is a damaged state of {_TASK}"
        )
