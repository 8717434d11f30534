"""Derivatives of the steps of a run whose units are saturated, from pre-activations, which have their digits.

A rounded activation near saturation has lost what its derivative is made of.  Where a piece of a run has such units,
the measurements take the derivatives of its steps from here: of all at once by a kernel, of a few states that no run
has recorded in NumPy; by the cell's own equations on activations that know their margins.  Elsewhere nothing is
computed, and the kernels derive from the recorded values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np

from gatescope.cells.linear_cell import Coefficients, linear_cell
from gatescope.cells.linearization import Linear, Rows, fill_rows, linearize_rows, split_rows
from gatescope.cells.margins import activation_rows, derives_of_states, value_of, with_margins
from gatescope.cells.ranges import gate_ranges
from gatescope.cells.registry import Cell, get
from gatescope.datatypes import Array, Params
from gatescope.errors import warn_accuracy
from gatescope.kernels.cpu.aligned import aligned_empty
from gatescope.kernels.cpu.extremes import extremes_of
from gatescope.kernels.cpu.linearization import Linearization, working_bytes
from gatescope.reporting.text import percent

# What a derivative may be off by, relatively.
ACCURACY = {"float32": 1e-4, "float64": 1e-9}
_ULPS = 1.5  # of the activation, in units in the last place above 1
# A gate that is shut further is small enough for products of it to leave the range of its dtype.
_SHUT = {"float32": 2.0**-32, "float64": 2.0**-340}


class TooSmallError(ArithmeticError):
    """Raised where derivatives are too small for the floats of a measurement, which is then made in larger ones."""


class ExactSteps:
    """The derivatives of the steps of a network that are saturated.

    Parameters
    ----------
    params : Params
        On the host, with the clamps applied.
    threads : int
        At most so many are used; no result depends on it.
    carried : float, optional
        The smallest derivative that the caller can use.  Default: it uses what there is.

    Attributes
    ----------
    lost : int
        Number of derivatives of activations that are below the smallest number of the weights' dtype and so became 0.
    seen : int
        Number of all that were computed.
    few : int
        Number of products of them that are so small, whatever their factors are.
    inexact : bool
        Whether units have lost digits of derivatives that cannot be made from the pre-activations.
    """

    def __init__(self, params: Params, threads: int = 1, carried: float | None = None) -> None:
        self._params, self._cell, self._threads = params, get(params.cell), threads
        self._linear, self._carried = linear_cell(self._cell), carried
        self.dtype = params.dtype
        self.lost, self.few, self.seen, self.inexact = 0, 0, 0, False
        self._buffers: dict[int, Array] = {}

    @property
    def parts(self) -> tuple[ExactSteps, ...]:
        """What counts: these alone."""
        return (self,)

    def steps(self, inputs: Array, states: Array, gates: Array, slot: int = 0) -> Array:
        """Return coefficients (T, B, C, H) of a piece of a run in the weights' dtype, or `gates` if none lost digits.

        Inputs are (T, B, I), states (T+1, B, S, H), gates (T, B, K, H).  The coefficients are there until others are
        asked for in the same `slot`.

        Raises
        ------
        TooSmallError
            If some are smaller than what the caller can use.
        """
        return self.derive(inputs, states, gates, slot) if self.saturated(states, gates) else gates

    def may_be_saturated(self, states: Array, gates: Array) -> bool:
        """Return whether `saturated` may be true, by the extreme magnitudes (2, S, 1), (2, K, 1) of all units."""
        return lost_digits(self._cell, states, gates)

    def saturated(self, states: Array, gates: Array) -> bool:
        """Return whether units of a piece of a run have lost digits, which `derive` finds."""
        lost = lost_digits(self._cell, extremes_of(states[1:]), extremes_of(gates), self._free)
        if self._linear is None:
            self.inexact = self.inexact or lost
            return False
        return lost

    def derive(self, inputs: Array, states: Array, gates: Array, slot: int = 0) -> Array:
        """Return coefficients as `steps` does, of a piece that is saturated."""
        shape = self.shape(gates)
        if slot not in self._buffers or len(self._buffers[slot]) < len(gates):
            self._buffers[slot] = aligned_empty(shape, self.dtype)
        coefficients = self._buffers[slot][: len(gates)]
        lost, few = self._linearization.fill(coefficients, inputs, states, self._threads)
        lost += self._count_shut(gates)
        # float64 has no other to go to where activations themselves are below its smallest number.
        if self._carried is not None and (few or (lost and self.dtype != np.float64)):
            raise TooSmallError(f"{few} derivatives are below {self._carried:g}")
        self.lost += lost
        self.few += few
        self.seen += gates.shape[0] * gates.shape[1] * int(self._counted.sum())
        return coefficients.view(Coefficients)

    def shape(self, gates: Any) -> tuple[int, ...]:
        """Return the shape (T, B, C, H) of the coefficients of steps that saved `gates`, on whatever device."""
        entries = () if self._linear is None else self._linear.entries
        return gates.shape[0], gates.shape[1], len(entries), self._params.hidden_size

    def bytes(self, steps: int, batch: int, slots: int = 1) -> int:
        """Return what coefficients of pieces of so many steps take in memory, with the weights they are made of."""
        if self._linear is None:
            return 0
        rows = slots * steps * batch * len(self._linear.entries)
        return rows * self._params.hidden_size * self.dtype.itemsize + working_bytes(self._params)

    def _count_shut(self, gates: Array) -> int:
        """Return how many values of gates that open and shut are below the smallest number of their dtype."""
        least = np.finfo(self.dtype).tiny
        return sum(int((gates[:, :, k] < least)[..., self._counted[k]].sum()) for k in _openings(self._cell))

    @cached_property
    def _linearization(self) -> Linearization:
        assert self._linear is not None
        least = float(np.finfo(self.dtype).tiny)
        # tanh has this margin at x: 1 - |y| = 2 e^(-2 |x|).
        return Linearization(
            self._linear,
            self._params,
            self._counted,
            np.array([*self._free.values()]),
            least=least,
            beyond=-np.log(least) / 2,
            carried=self._carried or least,
        )

    @cached_property
    def _counted(self) -> Array:
        """Return (K + S, H) bool: which activations have derivatives, of the saved values and the new states."""
        names = (*self._cell.saved, *self._cell.states)
        saved, new = activation_rows(self._cell)
        derives = derives_of_states(self._cell)
        every, none = np.ones((2, self._params.hidden_size), np.bool_) * [[True], [False]]
        counts = (*saved, *(active or derives for active in new))
        return np.array(
            [self._free.get(name, every) if c else none for name, c in zip(names, counts, strict=True)]
        )

    @cached_property
    def _free(self) -> dict[str, Array]:
        """Which units of each gate depend on anything: through those that are clamped no gradient flows."""
        params, count = self._params, len(self._cell.gates)
        weights = np.concatenate([params.weight_ih, params.weight_hh], axis=1)
        alive = weights.any(axis=1).reshape(count, -1)
        return dict(zip(self._cell.gates, alive, strict=True))


def linearized(params: Params, inputs: Array, states: Array) -> tuple[Array, Linear]:
    """Return the states after a step from each of N states, (N, S, H) float64, and the step's derivatives, in NumPy.

    They have their digits whether units are saturated or not.  `inputs` are (N, I).
    """
    cell, old = with_margins(get(params.cell)), split_rows(states)
    new, saved = step_rows(cell, params, np.asarray(inputs, np.float64), old)
    new_states = np.empty((len(old[0]), len(new), old[0].shape[-1]))
    fill_rows(new_states, map(value_of, new))
    return new_states, linearize_rows(cell, saved, old, new)


def warn_lost(parts: Sequence[ExactSteps]) -> None:
    """Warn where derivatives of activations were below the smallest number there is, or have lost their digits."""
    lost, seen, dtype = sum(part.lost for part in parts), sum(part.seen for part in parts), parts[0].dtype
    if any(part.inexact for part in parts):
        advice = "" if dtype == np.float64 else "; use float64 weights"
        warn_accuracy(
            f"units are saturated, so that their derivatives have lost digits in {dtype.name}, and this cell has none "
            f"that can be made from the pre-activations{advice}"
        )
    if lost:
        warn_accuracy(
            f"the derivatives of {percent(lost / seen)} of the activations, in the pieces of the run that have "
            f"saturated units, are below what {dtype.name} can tell and count as 0: a result of -inf may be a very "
            "small number"
        )
    elif any(part.few for part in parts):
        warn_accuracy(
            f"products of derivatives of saturated units are below what {dtype.name} can tell and count as 0: a result "
            "of -inf may be a very small number"
        )


def lost_digits(cell: Cell, states: Array, gates: Array, free: Mapping[str, Array] | None = None) -> bool:
    """Return whether units are so near saturation that the recorded values have lost digits of their derivatives.

    Of new states (2, S, H) and gates (2, K, H) the largest and the smallest magnitudes are given.  `free` says which
    units of a gate depend on anything; through the others, as those clamped, no gradient flows.
    """
    margin, state = _limits(states.dtype)
    saved, new = activation_rows(cell)
    if (gates[1, list(_openings(cell))] < _SHUT[states.dtype.name]).any():
        return True
    if any(
        ((gates[0, k] > 1 - margin) & (free or {}).get(cell.saved[k], True)).any()
        for k, active in enumerate(saved)
        if active
    ):
        return True
    derives = derives_of_states(cell)
    return any(
        (states[0, s] > (1 - margin if active else state)).any()
        for s, active in enumerate(new)
        if active or derives
    )


@cache
def _openings(cell: Cell) -> tuple[int, ...]:
    """Return which saved values are activations from 0 to 1."""
    saved, _ = activation_rows(cell)
    return tuple(k for k, active in enumerate(saved) if active and gate_ranges(cell)[k] == (0.0, 1.0))


@cache
def _limits(dtype: np.dtype) -> tuple[float, float]:
    """Return the margin below which a derivative is too inexact, and the argument at which tanh has it."""
    margin = _ULPS * float(np.finfo(dtype).eps) / ACCURACY[np.dtype(dtype).name]
    return margin, float(np.arctanh(1 - margin))


def step_rows(cell: Cell, params: Params, inputs: Array, old: Rows) -> tuple[Rows, Rows]:
    """Return new states and saved values of one step from each of N states, by the equations of `cell`, in float64.

    `inputs` are (N, I); states and values are split into rows (N, H).
    """
    P, G, hidden = cell.prepared, len(cell.gates), params.hidden_size
    wx = _affine(params.weight_ih, params.bias_ih, inputs, G)
    first = slice(0, (P or G) * hidden)
    rh = _affine(params.weight_hh[first], params.bias_hh[first], old[0], P or G)
    if cell.prepare is None or cell.operand is None:
        new, saved = cell.step(wx, rh, old)
    else:
        prepared = cell.prepare(wx[:P], rh, old)
        second = slice(P * hidden, None)
        operand = value_of(cell.operand(prepared, old))
        rh = _affine(params.weight_hh[second], params.bias_hh[second], operand, G - P)
        new, saved = cell.step(wx[P:], rh, old, prepared)
    return new, saved


def _affine(weight: Array, bias: Array, x: Array, gates: int) -> tuple[Array, ...]:
    """Return W x + b by gate: of (N, X), so many (N, H)."""
    value = x @ weight.astype(np.float64).T + bias.astype(np.float64)
    return tuple(np.moveaxis(value.reshape(len(x), gates, len(bias) // gates), 1, 0))
