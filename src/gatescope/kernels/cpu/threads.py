"""Work that is shared among threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

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


def each(work: Callable[[int], None], count: int, threads: int) -> None:
    """Do work(0), ..., work(count - 1) on at most `threads` threads."""
    for _ in in_order(work, range(count), threads):
        pass
