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
            rows, exponents = self.chosen(carried)
            if self._spectral:
                self.log_norm[0] = log_singular(rows, exponents)
            else:
                norms = np.array([np.linalg.norm(row) for row in rows[:, 0]])
                self.log_norm[0] = log_of(norms) + exponents * np.log(2.0)

    def look(self, states: Any) -> None:
        """See whether any of the states (..., B, S, H) is another than the first."""
        self.compare(_fetched(states), self._first)

    def compare(self, states: Array, first: Array) -> None:
        """See whether any of the states (..., B, S, H) is another than `first` (B, S, H)."""
        still = np.flatnonzero(~self.moved)
        if still.size:
            changed = (states[..., still, :, :] != first[still]).any(axis=(-2, -1))
            self.moved[still] = changed.reshape(-1, still.size).any(axis=0)

    def back(
        self, carried: Any, states: Any, gates: Any, span: tuple[int, int], begin: int, *, record: bool
    ) -> Any:
        """Carry the adjoints back over a span of a piece that begins at a step; return their log-norms."""
        return carried.back(states, gates, *span, record=record)

    def chosen(self, carried: Any) -> tuple[Array, Array]:
        """Return the adjoints (B, M, n) of the states that are asked for, and powers of two (B,)."""
        current, exponents = carried.matrices()
        return self._selected(current), exponents

    def fetched(self, states: Any, gates: Any) -> tuple[Any, Any]:
        """Return states and gates of a piece where `totals` takes them."""
        return _fetched(states), _fetched(gates)

    def totals(self, carried: Any, states: Any, gates: Any, at: int) -> tuple[Array, Array]:
        """Return what `chosen` does at state `at` of a piece, above 0, with what follows those states at that step."""
        current, exponents = carried.matrices()
        current = add_followers(self._cell, current, states[at - 1], states[at], gates[at - 1])
        return self._selected(current), exponents

    def _selected(self, current: Array) -> Array:
        return current[:, :, self._wrt].reshape(*current.shape[:2], -1)

    def piece(self, carried: Any, states: Any, gates: Any, begin: int) -> None:
        """Go back over a piece that begins at a step."""
        self.look(states)
        if self._total:
            self._piece_of_totals(carried, states, gates, begin)
            return
        end = begin + states.shape[0] - 1
        first, last = self.row(end), self.row(begin)
        steps_back = self.lags[first:last] - (self._source - end)  # from the piece's end
        if not self._spectral:
            span = 0, end - begin
            norms = self.back(carried, states, gates, span, begin, record=True)[:, :, 0, self._wrt]
            every = steps_back.size == len(norms)
            joint = norms if every else norms[steps_back - 1]
            # Squares would leave the range.
            both = len(self._wrt) > 1
            self.log_norm[first:last] = np.logaddexp.reduce(2 * joint, axis=-1) / 2 if both else joint[..., 0]
            return
        stop = end - begin
        for row, back in enumerate(steps_back, first):
            at = end - begin - int(back)
            self.back(carried, states, gates, (at, stop), begin, record=False)
            self.log_norm[row] = log_singular(*self.chosen(carried))
            stop = at
        if stop > 0:
            self.back(carried, states, gates, (0, stop), begin, record=False)

    def _piece_of_totals(self, carried: Any, states: Any, gates: Any, begin: int) -> None:
        """Go back over a piece, for the states after its first, which an earlier piece has made, and for state 0."""
        high, seen = states.shape[0] - 1, self.fetched(states, gates)
        first = int(np.searchsorted(self.lags, self._source - begin - high))
        last = int(np.searchsorted(self.lags, self._source - begin, side="right" if begin == 0 else "left"))
        for row in range(first, last):
            at = self._source - int(self.lags[row]) - begin
            if at < high:
                self.back(carried, states, gates, (at, high), begin, record=False)
                high = at
            rows = self.totals(carried, *seen, at) if at > 0 else self.chosen(carried)
            self.log_norm[row] = log_singular(*rows)
        if high > 0:
            self.back(carried, states, gates, (0, high), begin, record=False)


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


def log_singular(rows: Array, exponents: Array) -> Array:
    """Return the logarithm of the largest singular value (B,) of matrices (B, M, n) times 2^exponents (B,)."""
    jacobian = rows.astype(np.float64)
    bad = ~np.isfinite(jacobian).all(axis=(1, 2))
    jacobian[bad] = 0  # LAPACK takes no others
    # One power of two puts the largest entry near 1, so that squares inside the SVD cannot leave the range.
    peak = np.abs(jacobian).max(axis=(1, 2))
    power = np.where(peak > 0, np.frexp(peak)[1], 0)
    largest = np.linalg.svd(np.ldexp(jacobian, -power[:, None, None]), compute_uv=False)[:, 0]
    return np.asarray(np.where(bad, np.inf, log_of(largest) + (exponents + power) * np.log(2.0)))
