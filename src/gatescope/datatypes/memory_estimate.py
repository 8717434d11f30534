"""What a call takes in memory, by what it is for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from gatescope.datatypes.result import Result
from gatescope.reporting.table import Table
from gatescope.reporting.text import byte_count, percent


@dataclass(frozen=True, kw_only=True, repr=False)
class MemoryEstimate(Result):
    """What a call takes, beyond Python and what is loaded already; ``print`` it.

    Attributes
    ----------
    title : str
        The call in words.
    parts : mapping of str to int
        Bytes by what they hold, all of them at the same time.
    if_saturated : int
        Bytes that are added where units are saturated, whose derivatives are made from the pre-activations.
    least : int or None
        Bytes that have to be free for the call to begin; None where it works with whatever is free.
    segments : int
        How many segments the sweep back is cut into.
    """

    title: str
    parts: Mapping[str, int]
    if_saturated: int = 0
    least: int | None = None
    segments: int = 1

    @property
    def total(self) -> int:
        """Return the bytes of all parts together, as long as no units are saturated."""
        return sum(self.parts.values())

    def table(self) -> Table:
        """Return the parts, largest first, and their sum."""
        parts = sorted(self.parts.items(), key=lambda part: -part[1])
        rows = [(name, byte_count(size), percent(size / max(self.total, 1))) for name, size in parts]
        return Table(
            ("part", "bytes", "of all"), [*rows, ("together", byte_count(self.total), "")], self.title
        )

    def summary(self) -> str:
        """Return the call in words, and what it takes."""
        needed = "" if self.least is None else f"; at least {byte_count(self.least)} have to be free"
        more = (
            f"; {byte_count(self.if_saturated)} more where units are saturated" if self.if_saturated else ""
        )
        return f"{self.title}\n{byte_count(self.total)} together{more}{needed}"

    def __str__(self) -> str:
        """Return the summary and the table as text."""
        first, _, rest = self.summary().partition("\n")
        rows = [row[:2] for row in self.table().texts()[:-1]]
        wide = max((len(name) for name, _ in rows), default=0)
        return "\n".join([first, *(f"  {name:<{wide}}  {size:>10}" for name, size in rows), f"  {rest}"])

    def announce(self) -> None:
        """Print the estimate on stderr, if it is a terminal."""
        if sys.stderr.isatty():
            print(self, file=sys.stderr)
