"""What a case may end in: a result that can be used, or a GatescopeError with a short and plain message."""

from __future__ import annotations

import dataclasses
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gatescope as gs
from gatescope.datatypes import Result

LONGEST = 499  # characters of a message
_OUTSIDE = "outside the package"
_PACKAGE = str(Path(gs.__file__).parent)


class Finding(NamedTuple):
    """What a case did that it must not do.

    Attributes
    ----------
    kind : str
        The same for findings that one mend removes: what happened, and in which line.
    text : str
        What happened in this case.
    """

    kind: str
    text: str


class NotRightError(AssertionError):
    """Raised by a case whose result is not the right one."""


def judge(run: Callable[[], Any], scratch: Path) -> Finding | None:
    """Run a case; return what is wrong with how it ends, or None.

    Parameters
    ----------
    run : callable
    scratch : path
        A file that results are saved to.
    """
    try:
        result = run()
    except gs.GatescopeError as error:
        return _of_message(error)
    except NotRightError as error:
        return Finding(str(error).partition(":")[0], str(error))
    except Exception as error:
        return _of_exception("raises", error)
    if not isinstance(result, Result):
        return None
    try:
        return _of_result(result, scratch)
    except Exception as error:
        return _of_exception(f"returns a {type(result).__name__} that raises", error)


def _of_message(error: gs.GatescopeError) -> Finding | None:
    text, cause = str(error), error.__cause__
    where = _where(error)
    if isinstance(cause, MemoryError):
        return Finding(f"takes memory {where}", repr(error))
    if len(text) > LONGEST:
        return Finding(f"message of {len(text)} characters {where}", text[:2000])
    if not text or any(not sign.isprintable() and sign != "\n" for sign in text):
        return Finding(f"message that is not plain {where}", repr(text))
    return None


def _of_result(result: Result, scratch: Path) -> Finding | None:
    """Look at a result as a user does: its texts, and whether what is saved is what is loaded."""
    kind = type(result).__name__
    table = result.table()
    for text in (repr(result), str(result), result.summary(), str(table.title), str(table.rows)):
        text.encode()
    try:
        result.save(scratch)
        again = gs.load(scratch)
    except gs.GatescopeError as error:
        return Finding(f"returns a {kind} that cannot be saved and loaded {_where(error)}", str(error))
    if again != result:
        return Finding(f"returns a {kind} that is another one when it is loaded", repr(result)[:1000])
    return None


def _of_exception(what: str, error: BaseException) -> Finding:
    shown = re.sub(r"0x[0-9a-f]+|\d+", "N", f"{type(error).__name__}: {error}")[:120]
    lines = "".join(traceback.format_exception(error)[-8:])
    return Finding(f"{what} {shown} {_where(error)}", lines[-3000:])


def in_the_package(error: BaseException) -> bool:
    """Return whether an error was raised in the package."""
    return _where(error) != _OUTSIDE


def _where(error: BaseException) -> str:
    """Return the innermost line of the package that an error passed."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(_PACKAGE)]
    if not frames:
        return _OUTSIDE
    last = frames[-1]
    return f"in {last.filename[len(_PACKAGE) + 1 :]}:{last.lineno} ({last.name})"


def same(one: Any, other: Any) -> bool:
    """Return whether two results are the same: arrays by their numbers; figures, engines and such cannot differ."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind in "fc")
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, Result):
        return bool(one == other)
    if dataclasses.is_dataclass(one) and type(one) is type(other):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(one))
    if isinstance(one, bool | int | float | complex | str | bytes | None):
        return bool(one == other) or (one != one and other != other)
    return type(one) is type(other)
