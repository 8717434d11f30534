"""Derivatives of the steps of a run whose units are saturated, from pre-activations, which have their digits.

A rounded activation near saturation has lost what its derivative is made of.  Where a piece of a run has such units,
the measurements take the derivatives of its steps from here: all pre-activations at once, as a product of the weights
with the recorded states, and the cell's own equations on activations that know their margins.  Elsewhere nothing is
computed, and the kernels derive from the recorded values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, cached_property

import numpy as np

from gatescope.cells.linear_cell import Coefficients, linear_cell
from gatescope.cells.linearization import Linear, Rows, linearize_rows, split_rows
from gatescope.cells.margins import Activation, activation_rows, derives_of_states, value_of, with_margins
from gatescope.cells.ranges import gate_ranges
from gatescope.cells.registry import Cell, get
from gatescope.datatypes import Array, Params
from gatescope.errors import warn_accuracy
from gatescope.reporting.text import percent

# What a derivative may be off by, relatively.
ACCURACY = {"float32": 1e-4, "float64": 1e-9}
_ULPS = 1.5  # of the activation, in units in the last place above 1
_BYTES = 1 << 21  # derivatives computed at a time
_COPIES = 5  # of these, in float64, while they are made


class ExactSteps:
    """The derivatives of the steps of a network that are saturated.

    Parameters
    ----------
    params : Params
        On the host, with the clamps applied.

    Attributes
    ----------
    lost : int
        Number of derivatives of activations that are below the smallest number of the weights' dtype and so became 0.
    seen : int
        Number of all that were computed.
    inexact : bool
        Whether `look` saw units whose derivatives have lost digits.
    """

    def __init__(self, params: Params) -> None:
        self._params, self._cell = params, get(params.cell)
        self._linear = linear_cell(self._cell)
        self.dtype = params.dtype
        self.lost, self.seen, self.inexact = 0, 0, False

    def look(self, states: Array, gates: Array) -> None:
        """Note whether steps of a device that derives from recorded values have lost digits."""
        self.inexact = self.inexact or lost_digits(
            self._cell, np.concatenate([states, states]), gates, self._free
        )

    def steps(self, inputs: Array, states: Array, gates: Array) -> Array:
        """Return coefficients (T, B, C, H) of a piece of a run in the weights' dtype, or `gates` if none lost digits.

        Inputs are (T, B, I), states (T+1, B, S, H), gates (T, B, K, H).
        """
        if self._linear is None or not lost_digits(self._cell, states, gates, self._free):
            return gates
        T, B, S, H = len(gates), *states.shape[1:]
        result = np.empty((T, B, len(self._linear.entries), H), self._params.dtype)
        length = max(1, _BYTES // (8 * B * H * len(self._linear.entries)))
        for begin in range(0, T, length):
            end = min(T, begin + length)
            x = inputs[begin:end].reshape(-1, inputs.shape[2])
            old, new = (a.reshape(-1, S, H) for a in (states[begin:end], states[begin + 1 : end + 1]))
            with np.errstate(all="ignore"):  # what underflows is counted
                rows = self._linear.rows(self._linearized(x, old, new))
                result[begin:end] = rows.reshape(end - begin, B, -1, H)
        return result.view(Coefficients)

    def _linearized(self, inputs: Array, states: Array, new_states: Array) -> Linear:
        cell, old = with_margins(self._cell), split_rows(states)
        computed, saved = step_rows(cell, self._params, np.asarray(inputs, np.float64), old)
        new = tuple(
            value if isinstance(value, Activation) else recorded
            for value, recorded in zip(computed, split_rows(new_states), strict=True)
        )
        self._count(saved, computed)
        return linearize_rows(cell, saved, old, new)

    def _count(self, saved: Rows, new: Rows) -> None:
        least = float(np.finfo(self._params.dtype).tiny)
        every = np.ones(self._params.hidden_size, np.bool_)
        derives = derives_of_states(self._cell)
        for name, value in [
            *zip(self._cell.saved, saved, strict=True),
            *zip(self._cell.states, new, strict=True),
        ]:
            if isinstance(value, Activation):
                small = value.margin[:, self._free.get(name, every)] < least
            elif derives and name in self._cell.states:
                small = np.abs(value) > -np.log(least) / 2  # e^(-2 |x|), of the derivative's own activation
            else:
                continue
            self.lost += int(np.count_nonzero(small))
            self.seen += small.size

    @cached_property
    def _free(self) -> dict[str, Array]:
        """Which units of each gate depend on anything: through those that are clamped no gradient flows."""
        params, count = self._params, len(self._cell.gates)
        weights = np.concatenate([params.weight_ih, params.weight_hh], axis=1)
        alive = weights.any(axis=1).reshape(count, -1)
        return dict(zip(self._cell.gates, alive, strict=True))


def derivative_bytes(cell: Cell, params: Params, steps: int, batch: int) -> int:
    """Return what `ExactSteps.steps` takes for a piece of so many steps, where units are saturated."""
    linear = linear_cell(cell)
    numbers = 0 if linear is None else steps * batch * len(linear.entries) * params.hidden_size
    return numbers * params.dtype.itemsize + _COPIES * min(_BYTES, 8 * numbers)


def warn_lost(parts: Sequence[ExactSteps]) -> None:
    """Warn where derivatives of activations were below the smallest number there is, or have lost their digits."""
    lost, seen, dtype = sum(part.lost for part in parts), sum(part.seen for part in parts), parts[0].dtype
    if any(part.inexact for part in parts):
        warn_accuracy(
            f"units are saturated, so that their derivatives have lost digits in {dtype.name} on this device: compare "
            "with `device` 'cpu', which makes them from the pre-activations"
        )
    if lost:
        advice = "" if dtype == np.float64 else "; use float64 weights"
        warn_accuracy(
            f"the derivatives of {percent(lost / seen)} of the activations, in the pieces of the run that have "
            f"saturated units, are below what {dtype.name} can tell and count as 0: a result of -inf may be a very "
            f"small number{advice}"
        )


def lost_digits(cell: Cell, states: Array, gates: Array, free: Mapping[str, Array] | None = None) -> bool:
    """Return whether units are so near saturation that the recorded values have lost digits of their derivatives.

    `free` says which units of a gate depend on anything; through the others, as those clamped, no gradient flows.
    """
    margin, state = _limits(states.dtype)
    saved, new = activation_rows(cell)
    for k, active in enumerate(saved):
        values, units = gates[:, :, k], (free or {}).get(cell.saved[k])
        if units is not None and not units.all():
            values = values[..., units]
        if active and _beyond(values, 1 - margin, cell, k):
            return True
    derives = derives_of_states(cell)
    return any(
        _beyond(states[1:, :, s], 1 - margin) if active else derives and _beyond(states[1:, :, s], state)
        for s, active in enumerate(new)
    )


def _beyond(values: Array, limit: float, cell: Cell | None = None, k: int = 0) -> bool:
    if values.size == 0:
        return False
    low = 0.0 if cell is not None and gate_ranges(cell)[k] == (0.0, 1.0) else float(values.min())
    return bool(values.max() > limit or low < -limit)


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
