"""The CPU as a device: whole runs, pieces of a run, and the adjoints."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import cached_property
from typing import Any

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.checks.arrays import check_array, check_finite, check_shape
from gatescope.checks.network import check_initial_state, check_inputs
from gatescope.datatypes import Array, Params, Trace
from gatescope.kernels.cpu import sweeps
from gatescope.kernels.cpu.adjoints import Adjoints
from gatescope.kernels.cpu.aligned import aligned_empty
from gatescope.kernels.cpu.blocks import blocks_for
from gatescope.kernels.device import Derivatives, ends_of

# A piece's states and gates: below the first, starting a piece takes longer than it should; above the second, pieces
# are shorter than balances them with the checkpoints, until these take more than the third.
_CPU_LEAST, _CPU_BYTES, _CHECKPOINT_BYTES = 1 << 22, 1 << 26, 1 << 28


class CpuDevice:
    """The CPU; what its methods do `kernels.device.Device` says.

    Parameters
    ----------
    cell : Cell
    params : Params
        Checked, with the clamps applied.
    threads : int
        At most so many are used; no result depends on it.
    """

    name = "cpu"

    def __init__(self, cell: Cell, params: Params, threads: int) -> None:
        self._cell, self._params, self._threads = cell, params, threads
        self._plan = sweeps.plan_for(cell, params.hidden_size, params.dtype)
        # Adjoints are between 2^-32 and 2^32 before each step.
        self.carries = float(np.finfo(params.dtype).tiny) * 2.0**32

    @cached_property
    def _panels(self) -> sweeps.Panels:
        return sweeps.forward_panels(self._plan, self._params)

    def take_inputs(self, inputs: Any) -> Array:
        return check_inputs(inputs, self._params)

    def take_state(self, name: str, value: Any, batch: int) -> Array:
        state = check_initial_state(value, self._cell, self._params, batch, name)
        shape = batch, len(self._cell.states), self._params.hidden_size
        return np.zeros(shape, self._params.dtype) if state is None else state

    def take_output_adjoint(self, value: Any, trace: Trace) -> Array | None:
        """Return a checked adjoint of the outputs (T, B, H); whether it is finite `backprop` finds."""
        if value is None:
            return None
        steps, batch = trace.inputs.shape[:2]
        array = check_array("output_adjoint", value, self._params.dtype, finite=False)
        if array.ndim == 2 and batch == 1:
            array = array[:, None, :]
        check_shape("output_adjoint", array, (steps, batch, self._params.hidden_size), "(T, B, H)")
        return array

    def run(self, inputs: Array, first_state: Array, lengths: Array) -> tuple[Array, Array, Array, Array]:
        states, gates = self.buffers(*inputs.shape[:2])
        self.forward(inputs, first_state, states, gates, lengths, alone=True)
        return inputs, states, gates, lengths

    def backprop(
        self, trace: Trace, output_adjoint: Array | None, final_adjoint: Array
    ) -> tuple[tuple[Array, ...], Array, Array, Array]:
        params, batch = self._params, trace.inputs.shape[1]
        if output_adjoint is None:
            output_adjoint = np.empty((0, batch, params.hidden_size), params.dtype)
        adjoint = aligned_empty(trace.states.shape, params.dtype)
        adjoint[-1] = final_adjoint
        d_inputs = aligned_empty(trace.inputs.shape, params.dtype)
        arrays = tuple(np.ascontiguousarray(a) for a in (trace.inputs, trace.states, trace.gates))
        lengths = np.ascontiguousarray(trace.lengths, np.int64)
        gradients = sweeps.backward(
            self._plan, params, arrays, lengths, output_adjoint, adjoint, d_inputs, self._threads
        )
        # A NaN or an infinity in the output adjoint reaches these sums, which are small; reading all of it first
        # would cost 6 %.
        if not all(np.isfinite(gradient).all() for gradient in gradients):
            check_finite("output_adjoint", output_adjoint)
        return gradients, d_inputs, adjoint[0].copy(), adjoint

    def piece(self, steps: int, step_bytes: int, state_bytes: int) -> int:
        """Return steps of a piece: as many as give no more checkpoints than the piece has states, within limits."""
        balanced = max(np.sqrt(steps), _CPU_LEAST // step_bytes)
        most = max(_CPU_BYTES // step_bytes, min(balanced, steps * state_bytes // _CHECKPOINT_BYTES))
        return int(min(steps, max(1, min(balanced, most))))

    def gate_bytes(self, batch: int) -> int:
        return batch * len(self._cell.saved) * self._params.hidden_size * self._params.dtype.itemsize

    def overlaps(self, batch: int, directions: int) -> bool:
        """Return whether a thread is idle: there are fewer blocks of sequences and directions than threads."""
        return self._threads > len(blocks_for(batch, self._params.hidden_size)) * directions

    def buffers(self, steps: int, batch: int) -> tuple[Array, Array]:
        cell, units = self._cell, self._params.hidden_size
        states = aligned_empty((steps + 1, batch, len(cell.states), units), self._params.dtype)
        return states, aligned_empty((steps, batch, len(cell.saved), units), self._params.dtype)

    def forward(
        self,
        inputs: Array,
        first_state: Array,
        states: Array,
        gates: Array,
        lengths: Array | None = None,
        *,
        alone: bool = False,
    ) -> None:
        states[0] = first_state
        if lengths is None:
            lengths = np.full(inputs.shape[1], inputs.shape[0], np.int64)
        sweeps.forward(self._plan, self._panels, inputs, states, gates, lengths, self._threads, alone=alone)

    def ends(
        self, pieces: Iterator[Array], first_state: Array, states: Any, gates: Any
    ) -> Generator[Array, None, None]:
        return ends_of(self, pieces, first_state, states, gates)

    def derive(self, exact: Derivatives, inputs: Array, states: Array, gates: Array, slot: int) -> Array:
        return exact.steps(inputs, states, gates, slot)

    def last(self, states: Array) -> Array:
        return np.array(states[-1])

    def adjoints(self, directions: Array) -> Adjoints:
        return Adjoints(self._plan, self._params, directions, self._threads)
