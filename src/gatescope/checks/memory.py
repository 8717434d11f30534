"""Whether what is asked for fits into the memory that is free: found out before any of it is taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gatescope.errors import NOTHING, ValueRangeError

_UNKNOWN = 1 << 46  # where the system does not say what is free: more than any machine has
_SMALL = 1 << 26  # what is not worth a look at what is free
_LIMITS = (  # of a container: its limit, and what of it is used
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def free_memory() -> int:
    """Return the bytes that this process can still take, by what the system and a container's limit say."""
    free = _UNKNOWN
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith(("MemAvailable:", "SwapFree:")):
                amount = 1024 * int(line.split()[1])
                free = amount if free == _UNKNOWN else free + amount
    except (OSError, ValueError, LookupError):
        return _UNKNOWN
    for limit, used in _LIMITS:
        try:
            left = int(Path(limit).read_text()) - int(Path(used).read_text())
        except (OSError, ValueError):  # no such limit, or "max"
            continue
        free = min(free, max(left, 0))
    return free


def check_memory(
    name: str,
    value: Any,
    needed: Callable[[int], int],
    what: str,
    *,
    size: int | None = None,
    advice: str = "",
) -> None:
    """Refuse a size whose arrays are larger than the memory that is free, and say which size would fit.

    Parameters
    ----------
    name, value
        The argument that says the size, and what was seen of it; `NOTHING` to leave it out.
    needed : callable
        Returns the bytes that a size takes; it grows with the size.
    what : str
        What takes them.
    size : int, optional
        The size, where the value is not it.
    advice : str, optional
        What else to do.
    """
    count = int(value) if size is None else size
    bytes_needed = needed(count)
    if bytes_needed <= _SMALL or bytes_needed <= (free := free_memory()):
        return
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if needed(middle) <= free else (low, middle)
    most = f"at most {low:,} would fit" if low else "not even 1 would fit"
    raise ValueRangeError(
        f"is too large: {what} would take {_gib(bytes_needed)}, and {_gib(free)} are free; {most}",
        argument=name,
        seen=NOTHING if value is NOTHING else value,
        advice=advice,
    )


def _gib(count: int) -> str:
    amount = count / 2**30 if count < 2**90 else float("inf")
    return f"{amount:,.2f} GiB" if amount < 2**30 else "more than 2^30 GiB"
