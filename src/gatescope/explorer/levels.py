"""How much of a run fits into a page: every step in 16 bits, in 8, or least, mean and greatest of runs of steps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gatescope.datatypes import Array
from gatescope.reporting.text import counted

BUDGET = 12_000_000  # bytes of data in a page
_TEXT = 4 / 3  # bytes of base64 for a byte; compression, which may gain nothing, is not counted on
_PIECE = 1 << 22  # values that are reduced together


class Detail(NamedTuple):
    """What is stored of each value: `bits` bits, of runs of `every` steps three of them."""

    bits: int
    every: int

    @property
    def text(self) -> str:
        """What is stored, in words."""
        if self.every == 1:
            return f"every step is stored, in {self.bits} bits"
        runs = f"runs of {counted(self.every, 'step')}"
        return f"too long for a page: {runs} are stored, each as its least, mean and greatest, in {self.bits} bits"


def choose(values: int, budget: int = BUDGET) -> Detail:
    """Return the finest detail in which so many values, of all series and steps, stay within a budget of bytes.

    Examples
    --------
    >>> from gatescope.explorer.levels import choose
    >>> choose(385 * 5_000), choose(385 * 20_000), choose(385 * 1_000_000)
    (Detail(bits=16, every=1), Detail(bits=8, every=1), Detail(bits=8, every=256))
    """
    for bits in (16, 8):
        if values * _TEXT * bits / 8 <= budget:
            return Detail(bits, 1)
    every = 2
    while 3 * -(-values // every) * _TEXT > budget:
        every *= 2
    return Detail(8, every)


def reduced(series: Array, every: int) -> tuple[Array, Array, Array]:
    """Return least, mean and greatest (N, K) of (T, K) over runs of `every` steps; the last may have fewer.

    NaN where one of a run is NaN.
    """
    parts: list[tuple[Array, Array, Array]] = []
    units = series.shape[1]
    rows = max(1, _PIECE // (every * max(1, units))) * every
    for begin in range(0, len(series), rows):
        piece = np.ascontiguousarray(series[begin : begin + rows])
        whole = len(piece) // every * every
        for part, size in ((piece[:whole], every), (piece[whole:], len(piece) - whole)):
            if part.size:
                runs = part.reshape(-1, size, units)
                with np.errstate(invalid="ignore", over="ignore"):  # infinities of both signs
                    mean = runs.mean(axis=1, dtype=np.float64)
                parts.append((runs.min(axis=1), mean, runs.max(axis=1)))
    least, mean, greatest = (np.concatenate(part) for part in zip(*parts, strict=True))
    return least, np.clip(mean, least, greatest), greatest
