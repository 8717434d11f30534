"""Threads that share the units of a layer, where there are too few sequences to give each thread some.

At every step the threads wait for one another, which takes a tenth of a microsecond where each has a core, and a
thousand times as long where one of them has to wait for a core.  So pieces of the run are done both ways and timed, and
the faster way goes on; the other is tried again now and then.  The result is the same, to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from gatescope.checks.numbers import default_threads
from gatescope.datatypes import Array
from gatescope.kernels.cpu.aligned import aligned_zeros
from gatescope.kernels.cpu.layout import TOGETHER
from gatescope.kernels.cpu.threads import open_pool

Team = tuple[int, int, Array]  # which thread, of how many, and what they meet by
Call = Callable[[int, int, Team], int]  # does steps from the first up to the last; returns how far it came
# Fewer units than these are done before the others have been waited for (LSTM of 64, two threads: 1.07 times as fast).
_LEAST_UNITS = 128
_LEAST_VECTORS = 2 * TOGETHER  # of a thread
# As many sequences as this compute more than they load, so that there was nothing to gain (0.96 to 0.99).
_MANY_SEQUENCES = 8
_PIECE_WORK = 1 << 26  # multiply-adds: milliseconds, of which starting the threads is a small part
_LEAST_PIECES = 4  # of which the first two are done one in each way
# Pieces until the slower way is tried again: at first, and at most, if it is slower again and again.
_TRIED_AFTER = (16, 1024)


def team_of_one() -> Team:
    """Return a team of one, who meets nobody."""
    return 0, 1, np.zeros(1, np.int64)


def team_size(hidden_size: int, vectors: int, sequences: int, threads: int, work: int) -> int:
    """Return how many threads can share a layer's units, if there are so many multiply-adds to do: enough to try it."""
    if hidden_size < _LEAST_UNITS or sequences >= _MANY_SEQUENCES or work < _LEAST_PIECES * _PIECE_WORK:
        return 1
    # More threads than cores wait for one another until the system changes places.
    return max(1, min(threads, default_threads(), vectors // _LEAST_VECTORS))


def sweep(call: Call, steps: int, step_work: int, threads: int, whole: int = 1) -> None:
    """Do all steps, by one thread or by all of them, whichever is faster at the moment.

    Parameters
    ----------
    call : callable
    steps : int
    step_work : int
        Multiply-adds of a step.
    threads : int
    whole : int
        A piece has a multiple of so many steps.
    """
    piece = -(-max(16, _PIECE_WORK // step_work) // whole) * whole
    call(0, 0, team_of_one())  # compiles, which is not to be timed
    pace, at = Pace((threads, 1)), 0
    with open_pool(threads - 1) as pool:
        while at < steps:
            team, begin, begun = pace.way(), at, time.perf_counter()
            try:
                at = together(call, begin, min(begin + piece, steps), team, pool)
            except CannotStartError:
                call(begin, steps, team_of_one())
                return
            pace.took(team, (time.perf_counter() - begun) / (at - begin))


def together(call: Call, begin: int, end: int, threads: int, pool: ThreadPoolExecutor) -> int:
    """Let each member of a team do its part, the first in this thread; return how far they came.

    Should one fail, the others do not wait for it.

    Raises
    ------
    CannotStartError
        If there is no thread for one of them; what the others did, if it was anything, is to be done again.
    """
    from gatescope.kernels.cpu.loops.meeting import ARRIVED, LAST, RELEASED, SIZE

    meeting = aligned_zeros(SIZE, np.int64)

    def one(part: int) -> int:
        if meeting[LAST] < 0:  # it was queued, though no thread could be started for it
            return begin
        try:
            return call(begin, end, (part, threads, meeting))
        except BaseException:
            meeting[ARRIVED] = RELEASED
            raise

    others = []
    try:
        for part in range(1, threads):
            try:
                others.append(pool.submit(one, part))
            except RuntimeError as error:  # Python is ending, or the system gives no more
                meeting[LAST] = -1
                raise CannotStartError from error
        return one(0)
    except BaseException:
        meeting[ARRIVED] = RELEASED
        raise
    finally:
        for other in others:
            other.result()


class CannotStartError(Exception):
    """There is no thread for a member of a team."""


class Pace:
    """Which of two ways to do pieces of the same work is faster at the moment.

    Examples
    --------
    >>> from gatescope.kernels.cpu.unit_shares import Pace
    >>> pace = Pace((2, 1))
    >>> pace.took(pace.way(), 0.5), pace.took(pace.way(), 0.9), pace.way()
    (None, None, 2)
    """

    def __init__(self, ways: tuple[int, int]) -> None:
        self._ways, self._seconds = ways, dict[int, float]()
        self._wait = self._left = _TRIED_AFTER[0]

    def way(self) -> int:
        """Return the way to do the next piece in."""
        for way in self._ways:
            if way not in self._seconds:
                return way
        fast, slow = sorted(self._ways, key=self._seconds.__getitem__)
        return fast if self._left > 0 else slow

    def took(self, way: int, seconds: float) -> None:
        """Take into account what a step took in a way."""
        tried = self._left == 0
        self._seconds[way] = seconds
        self._left -= 1
        if tried:
            least, most = _TRIED_AFTER
            self._wait = least if seconds == min(self._seconds.values()) else min(2 * self._wait, most)
            self._left = self._wait
