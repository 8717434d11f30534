"""Adjoints carried back on the GPU, piece by piece."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

import numpy as np

from gatescope.cells.linear_cell import DeviceCoefficients, linear_cell
from gatescope.cells.registry import Cell
from gatescope.datatypes import Array
from gatescope.kernels.cuda import backend as backends
from gatescope.kernels.cuda.backward import make_backward
from gatescope.kernels.cuda.launch_plan import LaunchPlan
from gatescope.kernels.cuda.norms import log_norms, row_norms
from gatescope.kernels.cuda.sweeps import CellPlan, Sweep, Weights, flat

# Adjoints of a piece stay until their norms are taken; this much of them at a time keeps the GPU busy.
_RECORD_BYTES = 1 << 28


class Adjoints:
    """M adjoint directions a sequence, carried back through a run piece by piece, in the log domain.

    Parameters
    ----------
    directions : (B, M, S, H)
        Adjoints of the state to start from; a NumPy array.
    """

    def __init__(self, plan: CellPlan, weights: Weights, directions: Array) -> None:
        self._plan, self._weights, self._shape = plan, weights, directions.shape
        self._rows = directions.shape[0] * directions.shape[1]
        self._sweep = self._sweep_of(plan.cell)
        self.restore(directions, np.zeros(self._rows, np.int32))

    def _sweep_of(self, cell: Cell) -> Sweep:
        plan = dataclasses.replace(self._plan, cell=cell)

        def make_kernel(launch_plan: LaunchPlan) -> Any:
            return make_backward(cell, plan.hidden_size, plan.dtype, launch_plan, True)

        return Sweep(plan, self._weights.weight_hh, self._rows, backward=True, make_kernel=make_kernel)

    @cached_property
    def _linear_sweep(self) -> Sweep:
        linear = linear_cell(self._plan.cell)
        assert linear is not None
        return self._sweep_of(linear.cell)

    def back(self, states: Any, gates: Any, start: int, stop: int, *, record: bool = True) -> Array | None:
        """Carry the adjoints from state `stop` to state `start` of the recorded piece.

        Returns the log-norms (stop - start, B, M, S) of the directions, one step back first; None if not recorded.
        """
        sweep = self._sweep
        if isinstance(gates, DeviceCoefficients):
            sweep, gates = self._linear_sweep, gates.rows
        backend, dtype = backends.current(), self._plan.dtype
        batch, count, states_count, units = self._shape
        rows = batch * count
        state = rows * states_count * units
        most = max(1, _RECORD_BYTES // (state * dtype.itemsize)) if record else stop - start
        nothing, lengths = backend.empty(1, dtype), backend.zeros(1, np.int64)
        flat_states, flat_gates = states.reshape(-1), flat(gates, dtype)
        norms = []
        for end in range(stop, start, -most):
            begin = max(start, end - most)
            steps = end - begin
            recorded = backend.empty(steps * state if record else 1, dtype)
            powers = backend.zeros(steps * rows if record else 1, np.int32)
            arrays = (
                *sweep.packed, flat_states, flat_gates, nothing, lengths, self._current, recorded,
                self._exponents, powers, nothing, nothing, nothing,
            )  # fmt: skip
            sweep.launch(arrays, (batch, count), (begin, end, begin, 0, int(record)))
            if record:
                shape = (steps, rows, states_count)
                peak, total = (backend.empty(steps * rows * states_count, dtype) for _ in range(2))
                row_norms(backend, recorded, peak, total, rows=steps * rows * states_count, width=units)
                peaks, totals = (backend.to_host(array).reshape(shape) for array in (peak, total))
                logs = log_norms(peaks, totals, backend.to_host(powers).reshape(steps, rows))
                norms.append(logs[::-1].reshape(steps, batch, count, states_count))
        return np.concatenate(norms) if record else None

    def matrices(self) -> tuple[Array, Array]:
        """Return the adjoints, (B, M, S, H) in float64, and the powers of two (B,) to multiply them by."""
        current, exponents = self.state()
        current = current.astype(np.float64)
        # Directions are scaled one by one on the GPU.  One that is 2^-1000 of the largest may round to 0 here; the
        # power of one that is 0 stopped changing when it became so, and must not count.
        alive = current.any(axis=(2, 3))
        whole = np.where(alive, exponents, exponents.min(axis=1, keepdims=True)).max(axis=1)
        return np.ldexp(current, (exponents - whole[:, None])[:, :, None, None]), whole

    def state(self) -> tuple[Array, Array]:
        """Return what `restore` needs to resume: the adjoints (B, M, S, H) and their powers of two (B, M)."""
        backend = backends.current()
        current = backend.to_host(self._current).reshape(self._shape)
        return current, backend.to_host(self._exponents).astype(np.int64).reshape(self._shape[:2])

    def restore(self, current: Array, exponents: Array) -> None:
        """Resume from what `state` returned."""
        backend = backends.current()
        self._current = backend.to_device(np.ascontiguousarray(current, self._plan.dtype).reshape(-1))
        self._exponents = backend.to_device(np.ascontiguousarray(exponents, np.int32).reshape(-1))
