"""Every error gatescope raises on purpose: what went wrong as data, and the one place that makes a text of it.

An error names the argument, what was seen of it, the problem, and what to do.  The text of an error is made from these
by `GatescopeError.text`; nothing reads the text again.  The command line asks for the text with options in place of
arguments.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import PurePath
from typing import Any, Final, Self

_MARKED = re.compile(r"`(\w+)`")  # arguments that a problem or an advice speaks of
_MOST = 499  # characters of a message, whatever was given
_MOST_SHOWN = 200  # characters of a value in it


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


NOTHING: Final = _Nothing()  # what an error has seen if there is nothing to show: None is a value


class GatescopeError(Exception):
    """Base of all errors that gatescope raises on purpose.

    Parameters
    ----------
    problem : str
        What is wrong, as the rest of a sentence about the argument: ``"must be a whole number of at least 1"``.
        Without an argument a sentence of its own.
    argument : str, optional
        The argument's name, as the caller wrote it: ``"threads"``, ``"trace.gates"``.
    seen : object, optional
        The value that was seen; of an array its shape or dtype, of a file its path.
    advice : str, optional
        What to do, as an imperative: ``"leave it out to use all cores"``.  Other arguments that a problem or an advice
        speaks of stand in backticks, so that the command line can put its options there.

    Attributes
    ----------
    problem, argument, seen, advice
        As given; `seen` is `NOTHING` and `argument` None where they were left out.

    Examples
    --------
    >>> from gatescope.errors import ValueRangeError
    >>> error = ValueRangeError("must be above 0", argument="lr", seen=-1.0, advice="give a small number such as 0.001")
    >>> str(error)
    'lr=-1.0 must be above 0; give a small number such as 0.001'
    >>> error.text(lambda name: f"--{name}")
    '--lr -1.0 must be above 0; give a small number such as 0.001'
    """

    def __init__(
        self, problem: str = "", *, argument: str | None = None, seen: Any = NOTHING, advice: str = ""
    ) -> None:
        self.problem, self.argument, self.seen, self.advice = problem, argument, seen, advice
        super().__init__(self.text())

    def text(self, option: Callable[[str], str] | None = None) -> str:
        """Return the message; with `option`, what it makes of an argument's name stands in place of that name."""
        parts = [printable(self._subject(option)), printable(self.problem), printable(self.advice)]
        if option is not None:
            parts[1:] = (spelled(part, option) for part in parts[1:])
        for index in sorted(range(3), key=lambda index: -len(parts[index])):  # the longest gives way
            others = sum(map(len, parts)) - len(parts[index])
            parts[index] = shortened(parts[index], max(_MOST // 4, _MOST - 3 - others))
        subject, problem, advice = parts
        between = "" if problem.startswith(",") else " "
        sentence = f"{subject}{between}{problem}".strip()
        return f"{sentence}; {advice}" if advice else sentence

    def restated(self, text: str) -> Self:
        """Return an error of the same class whose text is `text`, for a caller who knows more of where it arose."""
        error = self.__new__(type(self))
        GatescopeError.__init__(error, text)
        return error

    def located(self, where: str) -> Self:
        """Return the same error, whose problem says where it arose."""
        error = self.__new__(type(self))
        more = {"argument": self.argument, "seen": self.seen, "advice": self.advice}
        GatescopeError.__init__(error, f"{self.problem}, {where}" if self.problem else f", {where}", **more)
        return error

    def __str__(self) -> str:
        # KeyError would print the repr of the message, quotes and escapes included.
        return str(self.args[0]) if self.args else ""

    def _subject(self, option: Callable[[str], str] | None) -> str:
        """Return what the sentence is about: the argument with the value that was seen."""
        if self.argument is None:
            return ""
        if option is not None:
            name = option(self.argument)
            return name if self.seen is NOTHING else f"{name} {self._shown(plain=True)}"
        return self.argument if self.seen is NOTHING else f"{self.argument}={self._shown()}"

    def _shown(self, *, plain: bool = False) -> str:
        """Return the text of what was seen; `plain`: as it was typed on the command line, where that can be."""
        return shown(self.seen, str if plain and isinstance(self.seen, int | float) else repr)


class ShapeError(GatescopeError, ValueError):
    """Raised when an array has the wrong rank or a size that does not fit the others; `seen` is its shape."""

    def _subject(self, option: Callable[[str], str] | None) -> str:
        if self.argument is None or not isinstance(self.seen, tuple):
            return super()._subject(option)
        return (
            f"{self.argument if option is None else option(self.argument)} has shape {shown(self.seen)}, but"
        )


class DtypeError(GatescopeError, TypeError):
    """Raised when an argument is of the wrong type, or an array of numbers that the cells cannot compute with.

    `seen` is the type or the dtype; any other value is shown as it is.
    """

    def _subject(self, option: Callable[[str], str] | None) -> str:
        if self.argument is None:
            return super()._subject(option)
        name = self.argument if option is None else option(self.argument)
        if isinstance(self.seen, type):
            return f"{name} is {article(self.seen.__name__)}"
        if type(self.seen).__module__.startswith("numpy.dtypes"):
            return f"{name} has dtype {self.seen}"
        return super()._subject(option)


class ValueRangeError(GatescopeError, ValueError):
    """Raised when an argument is of the right type, but its value is not allowed (NaN, T = 0, a negative length...)."""


class UnknownNameError(GatescopeError, KeyError):
    """Raised when a cell, device, initialization scheme, gate or state has no such name."""


class DeviceError(GatescopeError, RuntimeError):
    """Raised when the device asked for is not there, or cannot run this."""


class _PathError(GatescopeError):
    """An error about a file: the sentence is about its path, which is what was seen."""

    def _subject(self, option: Callable[[str], str] | None) -> str:
        if self.seen is NOTHING:
            return super()._subject(option)
        path = shown(self.seen, lambda seen: repr(str(seen)))
        if self.argument is not None and option is not None:
            return f"{option(self.argument)} {path}"
        return path if self.argument is None else f"{self.argument}={path}"


class FileFormatError(_PathError, ValueError):
    """Raised when a file cannot be read as what it should be: missing, torn, hostile, or of another kind."""


class WeightFormatError(FileFormatError):
    """Raised when a file or mapping of weights does not describe one of the cells."""


class OutputError(_PathError, OSError):
    """Raised when results cannot be written where they should go."""


class MissingPackageError(GatescopeError, ImportError):
    """Raised when something needs a package that does not come with gatescope itself."""


class AccuracyWarning(UserWarning):
    """Issued when a result is less accurate than it looks; the message says which part, and what to change."""


class InputWarning(UserWarning):
    """Issued when inputs may have been taken for something else; the message says for what, and how to say what."""


def printable(text: str) -> str:
    r"""Return a text in which signs that command a terminal, or that no terminal can show, are written as escapes.

    Lines stay lines.

    Examples
    --------
    >>> from gatescope.errors import printable
    >>> printable("a\x1b[31m.npz")
    'a\\x1b[31m.npz'
    """
    if text.isprintable():
        return text
    return "".join(
        sign if sign == "\n" or sign.isprintable() else sign.encode("unicode_escape").decode()
        for sign in text
    )


def spelled(text: str, option: Callable[[str], str]) -> str:
    """Return a text with what `option` makes of each name in place of the arguments that stand in backticks in it.

    Examples
    --------
    >>> from gatescope.errors import spelled
    >>> spelled("if not, `lengths` say so", lambda name: f"--{name}")
    'if not, --lengths say so'
    """
    return _MARKED.sub(lambda name: option(name[1]), text)


def shortened(text: str, most: int) -> str:
    """Return a text of at most `most` characters, with dots for what is left out of its middle."""
    if len(text) <= most:
        return text
    end = (most - 5) // 3
    return f"{text[: most - 5 - end]} ... {text[len(text) - end :]}"


def shown(value: Any, form: Callable[[Any], str] = repr) -> str:
    """Return a value as a message shows it: short, whatever it is; a path as its text."""
    if isinstance(value, PurePath):
        value = str(value)
    if isinstance(value, str) and len(value) > 4 * _MOST_SHOWN:
        value = value[: 2 * _MOST_SHOWN] + value[-2 * _MOST_SHOWN :]
    try:
        return shortened(form(value), _MOST_SHOWN)
    except Exception:  # of a __repr__ that is not ours, or of a number with too many digits
        return f"<{type(value).__name__}>"


def article(noun: str) -> str:
    """Return a noun with "a" or "an" before it, by its first letter."""
    return f"an {noun}" if noun[0].lower() in "aeiou" else f"a {noun}"


_notes: ContextVar[list[str] | None] = ContextVar("_notes", default=None)


def warn_accuracy(message: str) -> None:
    """Issue an `AccuracyWarning` at the line outside gatescope that led to it, or note it, see `noting_accuracy`."""
    notes = _notes.get()
    if notes is None:
        _warn(message, AccuracyWarning)
    else:
        notes.append(message)


@contextmanager
def noting_accuracy() -> Iterator[list[str]]:
    """Give a list that takes what would be warned of in the block; Python's state of warnings is left alone."""
    notes: list[str] = []
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)


def warn_input(message: str) -> None:
    """Issue an `InputWarning` at the line outside gatescope that led to it."""
    _warn(message, InputWarning)


def warn_device(message: str) -> None:
    """Issue a RuntimeWarning at the line outside gatescope that led to it: another device computes than was chosen."""
    _warn(message, RuntimeWarning)


def _warn(message: str, category: type[Warning]) -> None:
    level, frame = 3, sys._getframe(2)
    # contextlib stands between gatescope's own functions where they are context managers.
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(
        ("gatescope.", "contextlib")
    ):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
