"""What a process takes of the machine, and what others take beside it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Other processes may take this share of the machine; a measurement beside more is marked as disturbed.
DISTURBED = 0.05


def load_average() -> float:
    """Return how many processes wanted to run in the last minute; NaN where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return float("nan")


@contextmanager
def others_share(children: Callable[[], Iterable[int]] = tuple) -> Iterator[list[float]]:
    """Yield a list that has, when the block ends, the fraction of the machine that other processes took.

    Processes that this one has started and waited for are none of these, nor are `children` that it has not waited for.

    Threads that wait for each other in busy loops, as OpenMP's do, take ten times longer when one of them is
    not running, so a disturbed measurement is not merely slow: it favours whoever waits least.
    """
    share = [0.0]
    busy, own, begun = _busy_seconds(), _own_seconds(children()), time.perf_counter()
    yield share
    used_by_others = (_busy_seconds() - busy) - (_own_seconds(children()) - own)
    share[0] = max(0.0, used_by_others / ((time.perf_counter() - begun) * (os.cpu_count() or 1)))


def _own_seconds(children: Iterable[int]) -> float:
    """Return the seconds that this process has computed, and its children: those that ended, and these."""
    ended = os.times()
    return time.process_time() + ended.children_user + ended.children_system + sum(map(_seconds_of, children))


def _seconds_of(process: int) -> float:
    """Return the seconds a process has computed, and its own children that ended; 0 if it has, or nothing says so."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _busy_seconds() -> float:
    """Return the seconds that all cores were busy since the start; our own where the system does not tell."""
    try:
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return time.process_time()
    # user nice system idle iowait irq softirq steal
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def peak_memory() -> int:
    """Return the most resident memory of this process so far, in bytes."""
    try:  # getrusage's peak may be that of the process this one was forked from
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
