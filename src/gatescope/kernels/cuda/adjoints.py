"""Adjoints carried back on the GPU, piece by piece."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatescope.datatypes import Array
from gatescope.kernels.cuda import backend as backends
from gatescope.kernels.cuda.backward import make_reverse
from gatescope.kernels.cuda.norms import log_norms, row_norms
from gatescope.kernels.cuda.sweeps import Plan, Weights, flat, packed, sweep

# Adjoints of a piece are kept until their norms are taken; this much of them at a time keeps the GPU busy.
_RECORD_BYTES = 1 << 28


class Adjoints:
    """M adjoint directions a sequence, carried back through a run piece by piece, in the log domain.

    Parameters
    ----------
    directions : (B, M, S, H)
        Adjoints of the state to start from; a NumPy array.
    """

    def __init__(self, plan: Plan, weights: Weights, directions: Array) -> None:
        machine = backends.current()
        self._plan, self._shape = plan, directions.shape
        rows = directions.shape[0] * directions.shape[1]
        self._design = plan.design(rows, reverse=True)
        self._packed = packed(plan, self._design, weights.weight_hh, True)
        self._current = machine.to_device(np.ascontiguousarray(directions, plan.dtype).reshape(-1))
        self._exponents = machine.zeros(rows, np.int32)

    def back(self, states: Any, gates: Any, start: int, stop: int, *, record: bool = True) -> Array | None:
        """Carry the adjoints from state `stop` to state `start` of the recorded piece.

        Returns the log-norms (stop - start, B, M, S) of the directions, one step back first; None if not recorded.
        """
        machine, plan = backends.current(), self._plan
        batch, count, states_count, units = self._shape
        rows = batch * count
        kernel = make_reverse(plan.cell, units, plan.dtype, self._design, True)
        dtype, state = plan.dtype, rows * states_count * units
        most = max(1, _RECORD_BYTES // (state * dtype.itemsize)) if record else stop - start
        nothing, lengths = machine.empty(1, dtype), machine.zeros(1, np.int64)
        flat_states, flat_gates = states.reshape(-1), flat(gates, dtype)
        found = []
        for end in range(stop, start, -most):
            begin = max(start, end - most)
            steps = end - begin
            kept = machine.empty(steps * state if record else 1, dtype)
            powers = machine.zeros(steps * rows if record else 1, np.int32)
            before = (
                *self._packed, flat_states, flat_gates, nothing, lengths, self._current, kept, self._exponents,
                powers, nothing, nothing, nothing,
            )  # fmt: skip
            span = (begin, end, begin, 0, int(record))
            sweep(
                plan, self._design, kernel, rows, before,
                lambda origin, span=span: (batch, count, origin, *span),
            )  # fmt: skip
            if record:
                shape = (steps, rows, states_count)
                peak, total = (machine.empty(steps * rows * states_count, dtype) for _ in range(2))
                row_norms(machine, kept, peak, total, rows=steps * rows * states_count, width=units)
                peaks, totals = (machine.to_host(array).reshape(shape) for array in (peak, total))
                norms = log_norms(peaks, totals, machine.to_host(powers).reshape(steps, rows))
                found.append(norms[::-1].reshape(steps, batch, count, states_count))
        return np.concatenate(found) if record else None

    def matrices(self) -> tuple[Array, Array]:
        """The adjoints as they are now, (B, M, S, H) in float64, and the powers of two (B,) to multiply them by."""
        machine = backends.current()
        current = machine.to_host(self._current).reshape(self._shape).astype(np.float64)
        exponents = machine.to_host(self._exponents).reshape(self._shape[:2]).astype(np.int64)
        # Directions are scaled one by one on the GPU.  One that is 2^-1000 of the largest may round to 0 here; the
        # power of one that is 0 stopped changing when it became so, and must not count.
        alive = current.any(axis=(2, 3))
        whole = np.where(alive, exponents, exponents.min(axis=1, keepdims=True)).max(axis=1)
        return np.ldexp(current, (exponents - whole[:, None])[:, :, None, None]), whole

    def state(self) -> tuple[Array, Array]:
        """What `restore` needs to go on from here: the adjoints (B, M, S, H) and their powers of two (B, M)."""
        machine = backends.current()
        current = machine.to_host(self._current).reshape(self._shape)
        return current, machine.to_host(self._exponents).astype(np.int64).reshape(self._shape[:2])

    def restore(self, current: Array, exponents: Array) -> None:
        """Go on from what `state` returned."""
        machine = backends.current()
        self._current = machine.to_device(np.ascontiguousarray(current, self._plan.dtype).reshape(-1))
        self._exponents = machine.to_device(np.ascontiguousarray(exponents, np.int32).reshape(-1))
