"""Arrays as an emulated kernel sees them: no negative index, no index out of bounds, and (if asked) no race.

NumPy takes a negative index from the end, and a GPU reads whatever lies before the array.  Here both are errors.
"""

import functools
from typing import Any

import numpy as np
from greenlet import getcurrent


class KernelFault(RuntimeError):
    """An emulated kernel did what a GPU must not do; the message says which thread of which block."""


_get, _set = np.ndarray.__getitem__, np.ndarray.__setitem__
_uint64 = np.uint64
# Kernels index with uint64, which is never negative and out of bounds once it has wrapped.
_NEVER_NEGATIVE = frozenset({np.uint64, np.uint32, slice, type(Ellipsis), type(None)})


def _negative(index: Any) -> IndexError:
    shown = index if isinstance(index, tuple) else (index,)
    where = ", ".join(":" if isinstance(i, slice) else str(i) for i in shown)
    return IndexError(f"index [{where}] is negative: on a GPU it lies before the array")


def _check(index: Any) -> None:
    for i in index if type(index) is tuple else (index,):
        if type(i) not in _NEVER_NEGATIVE and i < 0:
            raise _negative(index)


class CheckedArray(np.ndarray):
    """A NumPy array whose integer indices must be in [0, n)."""

    def __getitem__(self, index: Any) -> Any:
        _check(index)
        return _get(self, index)

    def __setitem__(self, index: Any, value: Any) -> None:
        _check(index)
        _set(self, index, value)


class FlatArray:
    """A 1-D array whose integer indices must be in [0, n); anything else of it is the NumPy array's.

    It holds the array and is none: for every element that a kernel touches, a subclass of `ndarray` takes twice as
    long.  The two bodies repeat their check because a call costs as much as the rest.
    """

    __slots__ = ("values",)

    def __init__(self, values: np.ndarray):
        self.values = values

    def __getitem__(self, index: Any) -> Any:
        kind = type(index)
        if kind is not _uint64 and (kind is not int or index < 0):
            return self.values.view(CheckedArray)[index]
        return self.values[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        kind = type(index)
        if kind is not _uint64 and (kind is not int or index < 0):
            self.values.view(CheckedArray)[index] = value
        else:
            self.values[index] = value

    def __len__(self) -> int:
        return len(self.values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.values, name)


class LocalArray:
    """A thread's own 1-D array, for integer indices alone: a list of NumPy's numbers, which is quicker still."""

    __slots__ = ("kind", "values")

    def __init__(self, size: int, dtype: np.dtype):
        self.kind, self.values = dtype.type, [_poison_of(dtype)] * size

    def __getitem__(self, index: Any) -> Any:
        if type(index) is not _uint64 and index < 0:
            raise _negative(index)
        return self.values[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        if type(index) is not _uint64 and index < 0:
            raise _negative(index)
        self.values[index] = value if type(value) is self.kind else self.kind(value)

    def __len__(self) -> int:
        return len(self.values)


def checked(array: np.ndarray) -> CheckedArray | FlatArray:
    """Return the same memory with its indices checked."""
    return FlatArray(array.view(np.ndarray)) if array.ndim == 1 else array.view(CheckedArray)


def poisoned(shape: Any, dtype: Any) -> np.ndarray:
    """Return an array of 0xFF bytes: NaN as floats, -1 or the largest value as integers."""
    array = np.empty(shape, dtype)
    array.reshape(-1).view(np.uint8).fill(0xFF)
    return array


@functools.cache
def _poison_of(dtype: np.dtype) -> Any:
    return poisoned(1, dtype)[0]


class _Access:
    __slots__ = ("epoch", "seen", "thread")

    def __init__(self, thread: Any):
        self.thread, self.epoch, self.seen = thread, thread.block.epoch, thread.seen

    def unordered_with(self, thread: Any) -> bool:
        """Whether no barrier lies between this access and what `thread` does now.

        A syncwarp or shuffle orders the lanes of a warp; one with a partial mask is taken to order all of them,
        so that a race may be missed there but none is invented.
        """
        if self.thread is thread or self.epoch != thread.block.epoch:
            return False
        return self.thread.warp is not thread.warp or self.seen >= thread.seen


class Watch:
    """Who wrote and who read each element of one shared array since the last barrier."""

    def __init__(self, name: str):
        self.name = name
        self.written: dict[int, _Access] = {}
        self.readers: dict[int, dict[Any, _Access]] = {}

    def _fail(self, what: str, offset: int, access: _Access) -> None:
        raise KernelFault(
            f"race in {self.name}, byte {offset}: {what} by this thread and by thread {access.thread.name} "
            "with no barrier between"
        )

    def read(self, offset: int) -> None:
        thread = getcurrent()
        access = self.written.get(offset)
        if access is not None and access.unordered_with(thread):
            self._fail("read and written", offset, access)
        readers = self.readers.setdefault(offset, {})
        if readers and next(iter(readers.values())).epoch != thread.block.epoch:
            readers.clear()
        readers[thread] = _Access(thread)

    def write(self, offset: int) -> None:
        thread = getcurrent()
        for access in (self.written.get(offset), *self.readers.get(offset, {}).values()):
            if access is not None and access.unordered_with(thread):
                self._fail("written and used", offset, access)
        self.written[offset] = _Access(thread)


class WatchedArray(CheckedArray):
    """A shared array (or a view into one) that reports each access to its watch.

    A write that leaves the value as it was is no race: nobody could see it.
    """

    watch: Watch | None
    offsets: np.ndarray  # bytes from the beginning of the whole shared array, element for element

    def __array_finalize__(self, source: Any) -> None:
        self.watch = None

    def __getitem__(self, index: Any) -> Any:
        value = super().__getitem__(index)
        if self.watch is not None:
            offsets = self.offsets[index]
            if isinstance(value, WatchedArray):
                value.watch, value.offsets = self.watch, offsets
            else:
                self.watch.read(int(offsets))
        return value

    def __setitem__(self, index: Any, value: Any) -> None:
        if self.watch is None:
            super().__setitem__(index, value)
            return
        before = np.array(_get(self, index))
        super().__setitem__(index, value)
        after = np.asarray(_get(self, index))
        changed = (before != after) & ~((before != before) & (after != after))
        for offset in np.asarray(self.offsets[index])[changed].flat:
            self.watch.write(int(offset))


def watched(array: np.ndarray, watch: Watch) -> WatchedArray:
    """Return a view of `array` that checks its indices and reports to `watch`."""
    view = array.view(WatchedArray)
    view.watch = watch
    view.offsets = (np.arange(array.size) * array.itemsize).reshape(array.shape)
    return view


def unwatched(array: Any) -> Any:
    """Return the same memory without a watch, for atomics: they do not race with each other."""
    return array.view(CheckedArray) if isinstance(array, WatchedArray) else array
