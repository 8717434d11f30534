"""One face for both devices to whoever runs a cell piece by piece: room for a piece, its run, the adjoints."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.datatypes import Array, Params
from gatescope.kernels import cpu
from gatescope.kernels.adjoints import Adjoints
from gatescope.kernels.memory import aligned_empty

# A piece's states and gates on the CPU: below the first, starting a piece takes longer than it should; above the
# second, pieces are shorter than balances them with the checkpoints, until these take more than the third.
_CPU_LEAST, _CPU_BYTES, _CHECKPOINT_BYTES = 1 << 22, 1 << 26, 1 << 28
_CUDA_BYTES = 1 << 31


class Machine(Protocol):
    """A device with a cell's weights on it.  States and gates of a piece stay where it computes."""

    def piece(self, steps: int, step_bytes: int, state_bytes: int) -> int:
        """Steps of the pieces that a run is cut into, if a step's states and gates, and a checkpoint, take so much."""
        ...

    def overlaps(self, directions: int) -> bool:
        """Whether a thread is idle while so many adjoints a sequence are carried back."""
        ...

    def room(self, steps: int) -> tuple[Any, Any]:
        """States (steps+1, B, S, H) and gates (steps, B, K, H) to be filled."""
        ...

    def forward(self, inputs: Array, first_state: Array, states: Any, gates: Any) -> None:
        """Run from a state (B, S, H) over inputs (steps, B, I), all sequences to the end."""
        ...

    def last(self, states: Any) -> Array:
        """A copy of the last state, (B, S, H)."""
        ...

    def adjoints(self, directions: Array) -> Any:
        """Adjoints to be carried back: `adjoints.Adjoints` or `cuda.Adjoints`."""
        ...


class CpuMachine:
    """The CPU."""

    def __init__(self, cell: Cell, params: Params, batch: int, threads: int) -> None:
        self._cell, self._params, self._batch, self._threads = cell, params, batch, threads
        self._plan = cpu.plan_for(cell, params.hidden_size, params.dtype)
        self._panels = cpu.forward_panels(self._plan, params)

    def piece(self, steps: int, step_bytes: int, state_bytes: int) -> int:
        """Steps of a piece: as many as give no more checkpoints than the piece has states, within limits."""
        balanced = max(np.sqrt(steps), _CPU_LEAST // step_bytes)
        most = max(_CPU_BYTES // step_bytes, min(balanced, steps * state_bytes // _CHECKPOINT_BYTES))
        return int(min(steps, max(1, min(balanced, most))))

    def overlaps(self, directions: int) -> bool:
        """Whether a thread is idle: there are fewer blocks of sequences and directions than threads."""
        return self._threads > len(cpu.blocks_for(self._batch, self._params.hidden_size)) * directions

    def room(self, steps: int) -> tuple[Array, Array]:
        """States and gates to be filled."""
        cell, units = self._cell, self._params.hidden_size
        states = aligned_empty((steps + 1, self._batch, len(cell.states), units), self._params.dtype)
        return states, aligned_empty((steps, self._batch, len(cell.kept), units), self._params.dtype)

    def forward(self, inputs: Array, first_state: Array, states: Array, gates: Array) -> None:
        """Run from a state over inputs."""
        states[0] = first_state
        lengths = np.full(self._batch, inputs.shape[0], np.int64)
        cpu.forward(self._plan, self._panels, inputs, states, gates, lengths, self._threads)

    def last(self, states: Array) -> Array:
        """A copy of the last state."""
        return np.array(states[-1])

    def adjoints(self, directions: Array) -> Adjoints:
        """Adjoints to be carried back."""
        return Adjoints(self._plan, self._params, directions, self._threads)


class CudaMachine:
    """The GPU: inputs go there piece by piece, so that a series of any length fits."""

    def __init__(self, cell: Cell, params: Params, batch: int) -> None:
        from gatescope.kernels import cuda
        from gatescope.kernels.gpu import backend

        self._cuda, self._backend = cuda, backend.current()
        self._cell, self._batch, self._dtype = cell, batch, params.dtype
        self._units = params.hidden_size
        self._plan = cuda.plan_for(cell, params.hidden_size, params.dtype)
        self._weights = cuda.Weights(
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
        return states, self._backend.empty((steps, self._batch, max(1, len(cell.kept)), units), self._dtype)

    def forward(self, inputs: Array, first_state: Array, states: Any, gates: Any) -> None:
        """Run from a state over inputs."""
        machine = self._backend
        machine.copy(machine.to_device(first_state.reshape(-1)), states[0].reshape(-1))
        lengths = machine.to_device(np.full(self._batch, inputs.shape[0], np.int64))
        self._cuda.forward(self._plan, self._weights, machine.to_device(inputs), states, gates, lengths)

    def last(self, states: Any) -> Array:
        """A copy of the last state."""
        return self._backend.to_host(states[states.shape[0] - 1])

    def adjoints(self, directions: Array) -> Any:
        """Adjoints to be carried back."""
        return self._cuda.Adjoints(self._plan, self._weights, directions)


def machine_for(device: str, cell: Cell, params: Params, batch: int, threads: int) -> Machine:
    """The machine of a device that has been checked."""
    if device == "cuda":
        return CudaMachine(cell, params, batch)
    return CpuMachine(cell, params, batch, threads)
