"""Values as small whole numbers: gates on their log-odds, all else evenly; compressed, and written as text.

A gate of 0.99 and one of 0.9999 are a hundredth of its range apart, and a hundredfold in how long a memory lasts.
"""

from __future__ import annotations

import base64
import gzip
from typing import Any, NamedTuple

import numpy as np

from gatescope.datatypes import Array

_NEAREST = (
    6e-8  # a gate as near as this to 0 or 1, or nearer, counts as this near: float32 has no nearer to 1
)
_PIECE = 1 << 22  # values that are coded together


class Coding(NamedTuple):
    """How values became codes 1 to `codes`, evenly from `low` to `high`; code 0 stands for no finite number.

    Of `scale` ``"odds"`` it is ln(v / (1 - v)) of a value v that is coded, of ``"linear"`` the value.
    """

    scale: str
    low: float
    high: float
    codes: int

    @property
    def error(self) -> float:
        """How far a coded quantity may be from what it was: half the distance of two codes."""
        return (self.high / 2 - self.low / 2) / max(1, self.codes - 1)

    @property
    def text(self) -> str:
        """How exact values are, in words."""
        if self.scale == "odds":
            near = f"{self.error / 4:.1g} at 0.5, by {100 * self.error:.1g} % of what is missing to 0 or 1 beside these"
            return f"log-odds to ± {self.error:.1g}, so values to ± {near}"
        return f"to ± {self.error:.1g}"


def coding_of(series: Array, bits: int, *, gate: bool = False) -> Coding:
    """Return the coding of values (N, K) from the least to the greatest; of a `gate` in [0, 1] of their log-odds."""
    finite = series[np.isfinite(series)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if gate:
        low, high = (float(each) for each in odds(np.array([low, high])))
    return Coding("odds" if gate else "linear", low, high, 2**bits - 1)


def odds(values: Array) -> Array:
    """Return ln(v / (1 - v)), of values at 0 or 1 that of the nearest that are told apart from these."""
    inside = np.clip(values, _NEAREST, 1 - _NEAREST)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def encode(series: Array, coding: Coding) -> Array:
    """Return the codes (K, N) of values (N, K), unit by unit, as uint8 or uint16."""
    codes = np.zeros(series.shape[::-1], np.uint8 if coding.codes < 256 else np.uint16)
    rows = max(1, _PIECE // max(1, series.shape[1]))
    # In float32, where it is enough for so few codes: twice as fast.
    dtype = series.dtype if codes.dtype == np.uint8 and series.dtype == np.float32 else np.float64
    for begin in range(0, len(series), rows):
        values = np.asarray(series[begin : begin + rows].T, dtype)
        known = np.isfinite(values)
        values = odds(values) if coding.scale == "odds" else values
        span = coding.high / 2 - coding.low / 2  # by halves: a span may be too large for a float
        with np.errstate(invalid="ignore"):
            place = (values / 2 - coding.low / 2) / (span or 1.0) * (coding.codes - 1)
        codes[:, begin : begin + rows] = np.where(known, np.rint(place) + 1, 0)
    return codes


def decode(codes: Array, coding: Coding) -> Array:
    """Return the values that codes stand for, as the page makes them: NaN of code 0."""
    step = (coding.high / 2 - coding.low / 2) / max(1, coding.codes - 1)
    coded = coding.low + 2 * step * (codes.astype(np.float64) - 1)
    values = 1 / (1 + np.exp(-coded)) if coding.scale == "odds" else coded
    return np.asarray(np.where(codes == 0, np.nan, values))


def packed(array: Array) -> str:
    """Return an array's bytes, little end first, as a page holds them: the same array gives the same text."""
    # Level 1 takes a quarter of the time of the usual 6, for a twentieth more of bytes.
    contiguous = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return base64.b64encode(gzip.compress(contiguous.tobytes(), 1, mtime=0)).decode("ascii")


def fields(coding: Coding) -> dict[str, Any]:
    """Return a coding as the page reads it."""
    return {**coding._asdict(), "error": coding.error, "precision": coding.text}
