"""What a gradient flow takes down on the way back: log-norms of adjoints, or of whole Jacobians, at some lags."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatescope.cells.linear_cell import Coefficients, DeviceCoefficients
from gatescope.cells.registry import Cell
from gatescope.checks.arrays import on_device
from gatescope.datatypes import Array
from gatescope.datatypes.result import Result
from gatescope.measurements.total_derivative import add_followers


class FlowRecord:
    """The log-norms (L, B) at the lags asked for, filled in piece by piece on the way back.

    Attributes
    ----------
    log_norm : (L, B) float64
    moved : (B,) bool
        Whether a state that was seen is another than `first`, the states (B, S, H) that the run begins with.
    """

    def __init__(
        self, cell: Cell, spectral: bool, total: bool, lags: Array, source: int, wrt: list[int], first: Array
    ) -> None:
        self.log_norm, self.lags = np.full((lags.size, len(first)), -np.inf), lags
        self.moved = np.zeros(len(first), np.bool_)
        self._cell, self._spectral, self._total = cell, spectral, total
        self._source, self._wrt, self._first = source, wrt, first

    @property
    def reach(self) -> tuple[int, int]:
        """The states to go back from and to; a total derivative needs the step that made the last one."""
        return self._source, max(0, self._source - int(self.lags[-1]) - self._total)

    def row(self, state: int) -> int:
        """Return how many of the lags are reached when the adjoints are at that state."""
        return int(np.searchsorted(self.lags, self._source - state, side="right"))

    def start(self, carried: Any) -> None:
        """Take down lag 0, if it is asked for."""
        if self.lags[0] == 0 and not self._total:
            if self._spectral:
                self.log_norm[0] = _largest(carried.matrices(), self._wrt)
            else:
                self.log_norm[0] = log_of(np.linalg.norm(carried.state()[0][0, 0, self._wrt]))

    def look(self, states: Array) -> None:
        """See whether any of the states (..., B, S, H) is another than the first."""
        still = np.flatnonzero(~self.moved)
        if still.size:
            changed = (states[..., still, :, :] != self._first[still]).any(axis=(-2, -1))
            self.moved[still] = changed.reshape(-1, still.size).any(axis=0)

    def piece(self, carried: Any, states: Any, gates: Any, begin: int) -> None:
        """Go back over a piece that begins at a step."""
        self.look(_fetched(states))
        if self._total:
            self._piece_of_totals(carried, states, gates, begin)
            return
        end = begin + states.shape[0] - 1
        first, last = self.row(end), self.row(begin)
        steps_back = self.lags[first:last] - (self._source - end)  # from the piece's end
        if not self._spectral:
            norms = carried.back(states, gates, 0, end - begin)[:, :, 0, self._wrt]
            every = steps_back.size == len(norms)
            joint = norms if every else norms[steps_back - 1]
            # Squares would leave the range.
            both = len(self._wrt) > 1
            self.log_norm[first:last] = np.logaddexp.reduce(2 * joint, axis=-1) / 2 if both else joint[..., 0]
            return
        stop = end - begin
        for row, back in enumerate(steps_back, first):
            at = end - begin - int(back)
            carried.back(states, gates, at, stop, record=False)
            self.log_norm[row] = _largest(carried.matrices(), self._wrt)
            stop = at
        if stop > 0:
            carried.back(states, gates, 0, stop, record=False)

    def _piece_of_totals(self, carried: Any, states: Any, gates: Any, begin: int) -> None:
        """Go back over a piece, for the states after its first, which an earlier piece has made, and for state 0."""
        high = states.shape[0] - 1
        all_states, saved = _fetched(states), _fetched(gates)
        first = int(np.searchsorted(self.lags, self._source - begin - high))
        last = int(np.searchsorted(self.lags, self._source - begin, side="right" if begin == 0 else "left"))
        for row in range(first, last):
            at = self._source - int(self.lags[row]) - begin
            if at < high:
                carried.back(states, gates, at, high, record=False)
                high = at
            current, exponents = carried.matrices()
            if at > 0:
                step = all_states[at - 1], all_states[at], saved[at - 1]
                current = add_followers(self._cell, current, *step)
            self.log_norm[row] = _largest((current, exponents), self._wrt)
        if high > 0:
            carried.back(states, gates, 0, high, record=False)


def _fetched(array: Any) -> Array:
    """Return an array of a piece in NumPy, from whatever device."""
    if isinstance(array, DeviceCoefficients):
        return _fetched(array.rows).view(Coefficients)
    fetched: Array = Result.fetch(array) if on_device(array) else array
    return fetched


def log_of(value: Any) -> Any:
    """Return the natural logarithm, -inf of 0, without a warning."""
    with np.errstate(divide="ignore"):
        return np.log(value)


def _largest(matrices: tuple[Array, Array], wrt: list[int]) -> Array:
    """Return the logarithm of the largest singular value (B,) of matrices (B, M, S, H) times 2^exponents (B,)."""
    current, exponents = matrices
    jacobian = current[:, :, wrt].reshape(current.shape[0], current.shape[1], -1).astype(np.float64)
    bad = ~np.isfinite(jacobian).all(axis=(1, 2))
    jacobian[bad] = 0  # LAPACK takes no others
    # One power of two puts the largest entry near 1, so that squares inside the SVD cannot leave the range.
    peak = np.abs(jacobian).max(axis=(1, 2))
    power = np.where(peak > 0, np.frexp(peak)[1], 0)
    largest = np.linalg.svd(np.ldexp(jacobian, -power[:, None, None]), compute_uv=False)[:, 0]
    return np.asarray(np.where(bad, np.inf, log_of(largest) + (exponents + power) * np.log(2.0)))
