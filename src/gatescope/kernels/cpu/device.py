"""The CPU as a device: a cell's weights in the kernels' layouts, pieces of a run, the adjoints."""

from __future__ import annotations

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.datatypes import Array, Params
from gatescope.kernels.cpu import sweeps
from gatescope.kernels.cpu.adjoints import Adjoints
from gatescope.kernels.cpu.aligned import aligned_empty

# A piece's states and gates: below the first, starting a piece takes longer than it should; above the second, pieces
# are shorter than balances them with the checkpoints, until these take more than the third.
_CPU_LEAST, _CPU_BYTES, _CHECKPOINT_BYTES = 1 << 22, 1 << 26, 1 << 28


class CpuDevice:
    """The CPU."""

    def __init__(self, cell: Cell, params: Params, batch: int, threads: int) -> None:
        self._cell, self._params, self._batch, self._threads = cell, params, batch, threads
        self._plan = sweeps.plan_for(cell, params.hidden_size, params.dtype)
        self._panels = sweeps.forward_panels(self._plan, params)

    def piece(self, steps: int, step_bytes: int, state_bytes: int) -> int:
        """Steps of a piece: as many as give no more checkpoints than the piece has states, within limits."""
        balanced = max(np.sqrt(steps), _CPU_LEAST // step_bytes)
        most = max(_CPU_BYTES // step_bytes, min(balanced, steps * state_bytes // _CHECKPOINT_BYTES))
        return int(min(steps, max(1, min(balanced, most))))

    def overlaps(self, directions: int) -> bool:
        """Whether a thread is idle: there are fewer blocks of sequences and directions than threads."""
        return self._threads > len(sweeps.blocks_for(self._batch, self._params.hidden_size)) * directions

    def room(self, steps: int) -> tuple[Array, Array]:
        """States and gates to be filled."""
        cell, units = self._cell, self._params.hidden_size
        states = aligned_empty((steps + 1, self._batch, len(cell.states), units), self._params.dtype)
        return states, aligned_empty((steps, self._batch, len(cell.saved), units), self._params.dtype)

    def forward(self, inputs: Array, first_state: Array, states: Array, gates: Array) -> None:
        """Run from a state over inputs."""
        states[0] = first_state
        lengths = np.full(self._batch, inputs.shape[0], np.int64)
        sweeps.forward(self._plan, self._panels, inputs, states, gates, lengths, self._threads)

    def last(self, states: Array) -> Array:
        """A copy of the last state."""
        return np.array(states[-1])

    def adjoints(self, directions: Array) -> Adjoints:
        """Adjoints to be carried back."""
        return Adjoints(self._plan, self._params, directions, self._threads)
