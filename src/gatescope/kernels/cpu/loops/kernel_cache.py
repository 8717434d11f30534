"""Numba's disk cache of compiled loops, which is there to save time and never ends a computation.

A file of the cache that is torn, empty, or not readable counts as one that is not there: the loop is compiled again and
the file replaced.  Where nothing can be stored, loops are compiled anew in each process.  A note says so, once.

Of several processes that need the same loop at once, as workers of a pool do, one compiles it and the others wait.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba import config
from numba.core.caching import FunctionCache
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps

from gatescope.errors import DeviceError, printable

if config.DISABLE_JIT:
    raise DeviceError(
        "NUMBA_DISABLE_JIT is set, and the loops of gatescope run only compiled",
        advice="unset it, and start Python again",
    )

# On Windows, which has none, each process compiles for itself.
fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None

_LONGEST_WAIT = 60.0  # seconds: longer than any loop takes, so that who compiles it has been stopped
_noted = False


class KernelCache(FunctionCache):
    """The cache of one loop."""

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        """Return what Numba's own key is, with names in place of the loops that are closed over.

        Pickled, a loop is another in each process.
        """
        function = self._py_func
        closed = [cell.cell_contents for cell in function.__closure__ or ()]
        hashed = (function.__code__.co_code, dumps(tuple(name_of(value) or value for value in closed)))
        return sig, codegen.magic_tuple(), tuple(hashlib.sha256(part).hexdigest() for part in hashed)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled loop for a signature; None if the cache does not have it, whole and readable."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # unpickling what is damaged raises anything
            _note(self.cache_path, error)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store a compiled loop, if that can be."""
        try:
            super().save_overload(sig, data)
        except Exception:
            try:
                self.flush()  # an index that cannot be read is replaced by an empty one
                super().save_overload(sig, data)
            except Exception as error:
                self.disable()
                _note(self.cache_path, error)


def mark(function: Any) -> None:
    """Say that the name of a function tells it from all others, in any process."""
    function.__dict__["_name_tells"] = True


def name_of(value: Any) -> str:
    """Return the name of a marked function or of the loop made of one; empty for anything else."""
    function = getattr(value, "py_func", value)
    marked = getattr(function, "__dict__", {}).get("_name_tells", False)
    return f"{function.__module__}.{function.__qualname__}" if marked else ""


def use_cache(dispatcher: Any) -> None:
    """Let a loop be stored in the cache and taken from it, if there is any folder for one."""
    try:
        dispatcher._cache = KernelCache(dispatcher.py_func)
    except (RuntimeError, OSError) as error:
        _note("no folder", error)
    else:
        name = f"{dispatcher.py_func.__module__}.{dispatcher.py_func.__qualname__}"
        dispatcher.compile = _in_turn(dispatcher.compile, Path(dispatcher._cache.cache_path), name)


def _in_turn(compile: Callable[[Any], Any], folder: Path, name: str) -> Callable[[Any], Any]:
    def compile_in_turn(signature: Any) -> Any:
        # Numba's lock first: a thread that waited for this turn with it would never let the other go on.
        with global_compiler_lock, _turn(folder / "compiling.lock", zlib.crc32(name.encode())):
            return compile(signature)

    return compile_in_turn


@contextmanager
def _turn(file: Path, place: int) -> Iterator[None]:
    """Hold one byte of a file that no other process may hold; go on without it where that cannot be."""
    if fcntl is None:
        yield
        return
    try:
        handle = _opened(file)
    except OSError:
        yield
        return
    ends = time.monotonic() + _LONGEST_WAIT
    while time.monotonic() < ends:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
            break
        except (BlockingIOError, PermissionError):  # another process has it
            time.sleep(0.02)
        except OSError:  # a file system without locks
            break
    try:
        yield
    finally:
        with suppress(OSError):
            fcntl.lockf(handle, fcntl.LOCK_UN, 1, place)


@cache
def _opened(file: Path) -> int:
    """Open a file that is never closed: that would end all turns, those of the loops that call another's, too."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
    return os.open(file, os.O_RDWR | os.O_CREAT, 0o666)


def _note(place: str, error: Exception) -> None:
    global _noted
    if _noted:
        return
    _noted = True
    reason = printable(str(error) or type(error).__name__)
    warnings.warn(
        f"compiled kernels in {printable(place)} cannot be used ({reason}); they are compiled again, which takes "
        "seconds each.  If this comes again, delete that folder or set NUMBA_CACHE_DIR to one that can be written",
        RuntimeWarning,
        stacklevel=2,
    )
