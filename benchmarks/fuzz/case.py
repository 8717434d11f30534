"""What is common to files and calls: a case, by its number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol


class Case(NamedTuple):
    """Something to be done.

    Attributes
    ----------
    text : str
        What it is, in words or as a line of code.
    run : callable
        Does it.
    data : bytes
        The file that is read, if there is one.
    suffix : str
        How the file's name ends.
    """

    text: str
    run: Callable[[], Any]
    data: bytes = b""
    suffix: str = ""


class Half(Protocol):
    """One half of the fuzzer."""

    def case(self, number: int) -> Case:
        """Return a case by its number; the same number gives the same case."""
        ...
