"""Derivatives of the steps of a recorded run on the CPU, where units are saturated."""

from __future__ import annotations

import numpy as np

from gatescope.cells.linear_cell import LinearCell
from gatescope.cells.margins import with_margins
from gatescope.cells.registry import get
from gatescope.datatypes import Array, Params
from gatescope.kernels.cpu import sweeps
from gatescope.kernels.cpu.aligned import aligned_empty, aligned_zeros
from gatescope.kernels.cpu.threads import each

_ROWS = 32  # whose pre-activations are in memory at a time
_LIFT = 2.0**600  # what derivatives are computed times, so that small ones are told from 0


def working_bytes(params: Params) -> int:
    """Return what a `Linearization` takes in memory: weights in float64, and scratch."""
    cell = get(params.cell)
    padded = sweeps.plan_for(cell, params.hidden_size, np.dtype(np.float64)).padded
    weights = len(cell.gates) * (params.hidden_size + params.input_size + 2)
    scratch = _ROWS * (2 * len(cell.gates) + len(cell.states) + 1)
    return 8 * padded * (weights + scratch)


class Linearization:
    """Steps of a network as linear maps, in the coefficients of its linear cell.

    Parameters
    ----------
    linear : LinearCell
    params : Params
    counted : (K + S, H)
        How often each unit of the saved values and of the new states counts among the small activations.
    alive : (G, H) bool
        Which units of the gates depend on anything.
    least, beyond : float
        A margin that is small, and a value that is no activation beyond which tanh has such a margin.
    carried : float
        A derivative by a gate that is alive, or by a state, is small if it is below this, and not 0.
    """

    def __init__(
        self,
        linear: LinearCell,
        params: Params,
        counted: Array,
        alive: Array,
        *,
        least: float,
        beyond: float,
        carried: float,
    ) -> None:
        cell = with_margins(get(params.cell))
        self._plan = plan = sweeps.plan_for(cell, params.hidden_size, np.dtype(np.float64))
        self._panels = sweeps.forward_panels(plan, params.astype(np.float64))
        self._width, self._limits = params.input_size, (least, beyond, carried * _LIFT, 1 / _LIFT)
        states, gates = len(cell.states), len(cell.gates)
        # Where the kernel has each derivative: by new state direct, rh, wx; then the operand's.
        begin = {"direct": 0, "rh": states, "wx": states + gates, "operand_state": 0, "operand_rh": states}
        each_state = states + 2 * gates
        chosen, counts = [], np.ones((len(linear.entries), params.hidden_size), np.int64)
        for c, (field, index) in enumerate(linear.entries):
            operand = field.startswith("operand")
            s = states if operand else index[0]
            chosen.append(s * each_state + begin[field] + (index[-1] if index else 0))
            if field not in ("direct", "operand_state"):
                counts[c] = alive[index[-1]]
        self._chosen, self._alive = np.array(chosen, np.int64), counts.reshape(-1)
        self._derivatives = states * (each_state + 1) + cell.prepared
        self._counted = np.zeros((len(counted) + 1, plan.padded))
        self._counted[:-1, : params.hidden_size] = counted
        self._units = np.zeros((states + 1, states, plan.lanes))
        self._units[np.arange(states), np.arange(states)] = _LIFT

    def fill(self, coefficients: Array, inputs: Array, states: Array, threads: int) -> tuple[int, int]:
        """Fill coefficients (T, B, C, H) of a run; return how many activations, and how many of them, are small.

        Inputs are (T, B, I), states (T+1, B, S, H).
        """
        from gatescope.kernels.cpu.loops.linearization import make_linearization

        plan, (steps, batch) = self._plan, inputs.shape[:2]
        first, second = plan.tiles(_ROWS)
        kernel = make_linearization(plan.cell, plan.lanes, first.forward, second.forward)
        flat_inputs, flat_states, result = (
            np.ascontiguousarray(a).reshape(-1, *a.shape[2:]) for a in (inputs, states, coefficients)
        )
        jobs = plan.threads(threads, steps, batch)
        edges = np.linspace(0, steps * batch, jobs + 1).astype(int)
        small, few = np.zeros((2, jobs))

        def one(job: int) -> None:
            counted, span = (
                self._counted.copy().reshape(-1),
                (edges[job], edges[job + 1], _ROWS, *self._limits),
            )
            few[job] = kernel(
                self._panels, flat_inputs, flat_states, result, self._chosen, self._alive, counted, span,
                self._work(),
            )  # fmt: skip
            small[job] = counted[-self._plan.padded :].sum()

        each(one, jobs, threads)
        return int(small.sum()), int(few.sum())

    def _work(self) -> tuple[Array, ...]:
        plan, cell = self._plan, self._plan.cell
        gates, padded = len(cell.gates), plan.padded
        return (
            aligned_empty(_ROWS * self._width, plan.dtype),
            aligned_zeros(_ROWS * len(cell.states) * padded, plan.dtype),
            *(
                aligned_empty(_ROWS * n * padded, plan.dtype)
                for n in (gates, plan.first, max(plan.second, 1), 1)
            ),
            self._units.reshape(-1),
            aligned_empty(self._derivatives * padded, plan.dtype),
        )
