"""Standard output and error of the command line: closed, full, or a pipe that nobody reads any more.

What a command computes and writes into files does not depend on who reads what it prints.  So a command whose output
cannot be written goes on to its end, and then says so with a status of its own; a reader that has seen enough, as
``| head`` has, is no error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TextIO

from gatescope.reporting.terminal import encodable

NO_OUTPUT = 74  # EX_IOERR of sysexits.h


class Stream:
    """A standard stream that takes what is printed, even if it cannot be written; `error` says why it cannot."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write a text, with plainer signs in the place of those that cannot be encoded."""
        try:
            self._try(lambda: self._stream.write(text))
        except UnicodeEncodeError:
            self._try(lambda: self._stream.write(encodable(text, self._stream)))
        return len(text)

    def flush(self) -> None:
        """Flush what was written."""
        self._try(self._stream.flush)

    def _try(self, do: Callable[[], object]) -> None:
        try:
            do()
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.error = self.error or error
            with suppress(OSError):  # what is buffered, and all that follows, goes nowhere
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Let whatever is printed inside be taken, and leave with `NO_OUTPUT` if it could not be written.

    Raises
    ------
    SystemExit
        At once if a stream is closed, at the end if it could not be written.
    """
    names = {"stdin": "", "stdout": "standard output", "stderr": "standard error"}
    closed = [name for name in names if getattr(sys, name) is None]
    for name in closed:
        _nowhere(name)
    if closed not in ([], ["stdin"]):
        streams_closed = " and ".join(names[name] for name in closed if name != "stdin")
        _leave(f"{streams_closed} is closed", "give it a file, a pipe, or /dev/null")
    before = sys.stdout, sys.stderr
    streams = {"standard output": Stream(sys.stdout), "standard error": Stream(sys.stderr)}
    sys.stdout, sys.stderr = streams.values()
    try:
        yield
    finally:
        for stream in streams.values():
            stream.flush()
        sys.stdout, sys.stderr = before
        error = sys.exception()
        if error is None or isinstance(error, SystemExit):
            for what, stream in streams.items():
                if stream.error is not None:
                    _leave(
                        f"{what} cannot be written: {stream.error.strerror}", "files are written all the same"
                    )


def _nowhere(name: str) -> None:
    """Give a closed stream's number to the null device, so that no file that is written takes it."""
    nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, and so the stream's
    setattr(sys, name, os.fdopen(nowhere, "r" if name == "stdin" else "w"))


def _leave(problem: str, advice: str) -> NoReturn:
    for stream in (sys.stderr, sys.stdout):
        with suppress(OSError):
            print(f"gatescope: error: {problem}; {advice}", file=stream, flush=True)
    raise SystemExit(NO_OUTPUT)
