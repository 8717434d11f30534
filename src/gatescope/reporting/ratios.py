"""A logarithmic axis of ratios, on a page as in a figure: 1 in its middle, and the same ratio at both ends."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from gatescope.reporting.text import number

_SPANS = {  # the end of the axis: ratio of its ticks
    1.25: 1.25,
    2.0: 2.0,
    4.0: 2.0,
    8.0: 2.0,
    16.0: 4.0,
    64.0: 8.0,
}


class RatioAxis(NamedTuple):
    """A logarithmic axis of ratios from 1 / `end` to `end`, with a tick at every power of `base`."""

    end: float
    base: float

    def place(self, log_ratio: float) -> float:
        """Return where the logarithm of a ratio is, in percent of the width; the ends hold what lies beyond them."""
        return round(
            min(max(50 + 50 * log_ratio / math.log(self.end), 0.0), 100.0), 9
        )  # the end itself is 100

    def ticks(self) -> list[tuple[float, str]]:
        """Return ratios and labels.

        Examples
        --------
        >>> from gatescope.reporting.ratios import RatioAxis
        >>> RatioAxis(4.0, 2.0).ticks()
        [(0.25, '1/4'), (0.5, '1/2'), (1.0, '1'), (2.0, '2'), (4.0, '4')]
        """
        most = round(math.log(self.end) / math.log(self.base))
        values = [self.base**power for power in range(-most, most + 1)]
        return [(value, f"1/{1 / value:.0f}" if value <= 0.5 else number(value)) for value in values]


def ratio_axis(logs: Iterable[float]) -> RatioAxis:
    """Return the axis that holds ratios, given by their logarithms, up to 64; NaN and infinities count for nothing.

    Examples
    --------
    >>> from math import log
    >>> from gatescope.reporting.ratios import ratio_axis
    >>> ratio_axis([log(0.5), log(2.5)]).end
    4.0
    """
    most = max((abs(value) for value in logs if math.isfinite(value)), default=0)
    end = next((end for end in _SPANS if math.log(end) >= most), max(_SPANS))
    return RatioAxis(end, _SPANS[end])
