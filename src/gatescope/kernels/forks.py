"""What a forked child begins with: no lock that another thread of the parent holds, and no thread that stayed there.

A lock that another thread holds at the moment of a fork stays locked in the child for ever, since that thread is not
there to release it.  So whatever has a lock or threads of its own is renewed in every child, and a fork waits until no
other thread compiles.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from numba.core.compiler_lock import global_compiler_lock


class Renewable(Protocol):
    """Something with locks or threads of its own."""

    def renew(self) -> None:
        """Make new locks, and forget threads and what was changed under the old locks."""


_RENEWED: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(owner: Renewable) -> None:
    """Call ``owner.renew()`` in every child that is forked while the owner is there."""
    _RENEWED.add(owner)


def _in_child() -> None:
    global_compiler_lock.release()
    for owner in list(_RENEWED):
        owner.renew()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(
        before=global_compiler_lock.acquire,  # what LLVM is at is whole in the child
        after_in_parent=global_compiler_lock.release,
        after_in_child=_in_child,
    )
