"""How long the probes of a watch may be, so that they take at most a small fraction of a loop's time."""

from __future__ import annotations

from collections import deque
from statistics import median

FRACTION = (
    0.015  # of the loop's time that readings may take: with what one takes too much they stay under 2 %
)
_LAST = 3  # readings by which the next is judged


class Budget:
    """What readings may cost, and how many steps that is.

    Readings together may take `FRACTION` of the time of the loop itself; what one leaves, or takes too much, counts for
    the next.  A reading of n steps is taken to cost a + b n seconds, a line through what two readings took before the
    loop began, times what the last three took over what that line says, by the median.  A reading has as many steps as
    that allows, at most those of the batch; where even the fewest cost more than there is, it is put off until there
    is enough.

    Parameters
    ----------
    least, most : int
        Steps of the shortest and of the longest probe.
    least_seconds, most_seconds : float
        What readings of these took.

    Examples
    --------
    >>> from gatescope.integrations.budget import Budget
    >>> budget = Budget(20, 1000, 0.02, 1.0)
    >>> for seconds in (0.5, 4.5, 100.0):
    ...     budget.looped(seconds)
    ...     print(budget.steps())
    None
    75
    1000
    """

    def __init__(self, least: int, most: int, least_seconds: float, most_seconds: float) -> None:
        self._least, self._most = least, most
        self._slope = max(0.0, most_seconds - least_seconds) / max(1, most - least)
        self._start = least_seconds - self._slope * least
        self._ratios = deque([1.0], _LAST)
        self._left = 0.0

    def looped(self, seconds: float) -> None:
        """Add what the time of the loop allows."""
        self._left += FRACTION * seconds

    def steps(self) -> int | None:
        """Return the steps that the next probe may have; None if it has to be put off."""
        left = self._left / median(self._ratios)
        if self._line(self._least) > left:
            return None
        if self._line(self._most) <= left:
            return self._most
        return max(self._least, int((left - self._start) / self._slope))

    def read(self, steps: int, seconds: float, *, failed: bool = False) -> None:
        """Take off what a reading of so many steps took; of one that failed nothing else is learned."""
        self._left -= seconds
        if not failed:
            self._ratios.append(seconds / self._line(steps))

    def _line(self, steps: int) -> float:
        return self._start + self._slope * steps
