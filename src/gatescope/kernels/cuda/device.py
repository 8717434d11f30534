"""The GPU as a device: a cell's weights on it, pieces of a run, the adjoints."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.datatypes import Array, Params
from gatescope.kernels.cuda import backend, sweeps
from gatescope.kernels.cuda.adjoints import Adjoints

_CUDA_BYTES = 1 << 31


class CudaDevice:
    """The GPU: inputs go there piece by piece, so that a series of any length fits."""

    def __init__(self, cell: Cell, params: Params, batch: int) -> None:
        self._backend = backend.current()
        self._cell, self._batch, self._dtype = cell, batch, params.dtype
        self._units = params.hidden_size
        self._plan = sweeps.plan_for(cell, params.hidden_size, params.dtype)
        self._weights = sweeps.Weights(
            *(
                self._backend.to_device(array)
                for array in (params.weight_ih, params.weight_hh, params.bias_ih, params.bias_hh)
            )
        )

    def piece(self, steps: int, step_bytes: int, state_bytes: int) -> int:
        """Steps of a piece: its inputs and adjoints need room too, and more than so much makes nothing faster."""
        room = min(_CUDA_BYTES, self._backend.memory()[0] // 4)
        return int(min(steps, max(1, room // step_bytes)))

    def overlaps(self, directions: int) -> bool:
        """Never: a piece takes all of the GPU."""
        return False

    def room(self, steps: int) -> tuple[Any, Any]:
        """States and gates to be filled."""
        cell, units = self._cell, self._units
        states = self._backend.empty((steps + 1, self._batch, len(cell.states), units), self._dtype)
        # A GPU holds no empty arrays: a cell without gates gets one that nothing reads.
        return states, self._backend.empty((steps, self._batch, max(1, len(cell.saved)), units), self._dtype)

    def forward(self, inputs: Array, first_state: Array, states: Any, gates: Any) -> None:
        """Run from a state over inputs."""
        machine = self._backend
        machine.copy(machine.to_device(first_state.reshape(-1)), states[0].reshape(-1))
        lengths = machine.to_device(np.full(self._batch, inputs.shape[0], np.int64))
        sweeps.forward(self._plan, self._weights, machine.to_device(inputs), states, gates, lengths)

    def last(self, states: Any) -> Array:
        """A copy of the last state."""
        return self._backend.to_host(states[states.shape[0] - 1])

    def adjoints(self, directions: Array) -> Any:
        """Adjoints to be carried back."""
        return Adjoints(self._plan, self._weights, directions)
