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
    rows = max(1, _PIECE // (every * max(1, series.shape[1]))) * every
    for begin in range(0, len(series), rows):
        piece = np.asarray(series[begin : begin + rows], np.float64)
        starts = np.arange(0, len(piece), every)
        counts = np.diff(np.append(starts, len(piece)))[:, None]
        with np.errstate(invalid="ignore"):  # infinities of both signs
            mean = np.add.reduceat(piece / counts.repeat(counts[:, 0], axis=0), starts, axis=0)
        parts.append((np.minimum.reduceat(piece, starts), mean, np.maximum.reduceat(piece, starts)))
    least, mean, greatest = (np.concatenate(part) for part in zip(*parts, strict=True))
    return least, np.clip(mean, least, greatest), greatest
