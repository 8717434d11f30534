"""Work that is shared among threads."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from gatescope.kernels.forks import renew_after_fork

Item = TypeVar("Item")
Value = TypeVar("Value")


@contextmanager
def open_pool(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Open a pool of threads; what has not begun when the block ends, with an error or without, is dropped."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def in_order(work: Callable[[Item], Value], items: Sequence[Item], threads: int) -> Iterator[Value]:
    """Yield work(item) for each item in order, computed on at most `threads` threads."""
    if threads <= 1 or len(items) <= 1:
        yield from map(work, items)
        return
    with open_pool(min(threads, len(items))) as pool:
        yield from pool.map(work, items)


def ahead(items: Iterator[Item], pool: ThreadPoolExecutor) -> Iterator[Item]:
    """Yield the items, none of which is None; a thread of the pool makes the next one while one is used."""
    coming = pool.submit(next, items, None)
    while (item := coming.result()) is not None:
        coming = pool.submit(next, items, None)
        yield item


def each(work: Callable[[int], None], count: int, threads: int) -> None:
    """Do work(0), ..., work(count - 1) on at most `threads` threads."""
    for _ in in_order(work, range(count), threads):
        pass


class Workers:
    """Threads that are started once for many small pieces of work, in which the calling thread takes part.

    Parameters
    ----------
    threads : int
        Maximum number of threads, the calling one included.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._at_end: weakref.finalize[..., Workers] | None = None
        renew_after_fork(self)

    def renew(self) -> None:
        """Forget the threads, which a forked child does not have; the next work starts others."""
        if self._at_end is not None:
            self._at_end.detach()
        self._pool = self._at_end = None

    def each(self, work: Callable[[int], None], count: int) -> None:
        """Do work(0), ..., work(count - 1)."""
        if self._threads <= 1 or count <= 1:
            for index in range(count):
                work(index)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads - 1, thread_name_prefix="gatescope")
            self._at_end = weakref.finalize(self, self._pool.shutdown, wait=False)
        indices = iter(range(count))

        def work_off() -> None:
            for index in indices:
                work(index)

        # Waking one thread less is a good part of a small update.
        others = [self._pool.submit(work_off) for _ in range(min(self._threads, count) - 1)]
        try:
            work_off()
        finally:
            for other in others:
                other.result()

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
