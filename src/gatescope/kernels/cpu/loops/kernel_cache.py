"""Numba's disk cache of compiled loops, which is there to save time and never ends a computation.

A file of the cache that is torn, empty, or not readable counts as one that is not there: the loop is compiled again and
the file replaced.  Where nothing can be stored, loops are compiled anew in each process.  A note says so, once.
"""

from __future__ import annotations

import warnings
from typing import Any

from numba.core.caching import FunctionCache

from gatescope.errors import printable

_noted = False


class KernelCache(FunctionCache):
    """The cache of one loop."""

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


def use_cache(dispatcher: Any) -> None:
    """Let a loop be stored in the cache and taken from it, if there is any folder for one."""
    try:
        dispatcher._cache = KernelCache(dispatcher.py_func)
    except (RuntimeError, OSError) as error:
        _note("no folder", error)


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
