"""The file from which training goes on: written whole or not at all, and only gone on from by the same call."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from gatescope.checks.arrays import Array
from gatescope.errors import OutputError
from gatescope.storage.resumable import StateFile

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
        self._file = StateFile("checkpoint", path, _TASK, facts)
        self._wanted, self._every = epochs, every
        self.epochs: int | None = None
        self.wanted, self.there = path is not None, False
        self._last = time.monotonic()
        self._file.check_place()

    def read(self) -> dict[str, Array] | None:
        """What the file holds, or None if there is none.

        Raises
        ------
        ValueRangeError
            If it is of another model, task or setting.
        FileFormatError
            If it is torn, or something else.
        """
        found = self._file.read()
        if found is None:
            return None
        arrays, beside = found
        with self.restoring():
            self.epochs = int(beside["epochs"])
        self.there = True
        return arrays

    def restoring(self) -> AbstractContextManager[None]:
        """For whoever reads the arrays: what does not fit becomes a FileFormatError."""
        return self._file.restoring()

    def due(self) -> bool:
        """Whether it is time to write."""
        return self.wanted and time.monotonic() - self._last >= self._every

    def write(self, arrays: Callable[[], Mapping[str, Array]]) -> None:
        """Write what `arrays` returns, if a file is wanted.

        Hours of work do not end because a disk is full now: that is a RuntimeWarning.
        """
        if not self.wanted:
            return
        members = arrays()
        try:
            self._file.write(members, epochs=self._wanted)
        except OutputError as error:
            warnings.warn(f"{_TASK} goes on, but: {error}", RuntimeWarning, stacklevel=2)
        else:
            self.there = True
        self._last = time.monotonic()

    def named(self) -> str:
        """The argument, as the user gave it."""
        return self._file.named()
