"""What takes how much memory in a long call, in words."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What a call takes on the CPU, beyond Python and what is loaded already; ``print`` it.

    Attributes
    ----------
    title : str
        The run in words.
    parts : mapping of str to int
        Bytes by what they hold, all of them at the same time.
    """

    title: str
    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        """Bytes at most, all parts together."""
        return sum(self.parts.values())

    def table(self) -> str:
        """The parts, largest first, and their sum."""
        rows = [*sorted(self.parts.items(), key=lambda part: -part[1]), ("together", self.total)]
        wide = max(len(name) for name, _ in rows)
        return "\n".join(f"  {name:<{wide}}  {_human(size):>10}" for name, size in rows)

    def __str__(self) -> str:
        return f"{self.title}\n{self.table()}"


def show(plan: Plan) -> None:
    """Print a plan on stderr, if someone watches."""
    if sys.stderr.isatty():
        print(plan, file=sys.stderr)


def _human(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"
