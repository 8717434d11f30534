"""The GPU as a device: whole runs, pieces of a run, and the adjoints."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from gatescope.cells.linear_cell import DeviceCoefficients
from gatescope.cells.registry import Cell
from gatescope.checks.arrays import on_device
from gatescope.datatypes import Array, Params, Trace
from gatescope.kernels.cuda import backend, memory_estimate, sweeps
from gatescope.kernels.cuda.adjoints import Adjoints
from gatescope.kernels.cuda.arrays import take_inputs, take_output_adjoint, take_state
from gatescope.kernels.cuda.extremes import extremes_of
from gatescope.kernels.device import Derivatives, ends_of

_CUDA_BYTES = 1 << 31
_HOST_BYTES = 1 << 28  # of a piece's states and gates that are on the host at a time


class CudaDevice:
    """The GPU; what its methods do `kernels.device.Device` says.

    Inputs go there piece by piece, so that a series of any length fits.  All work is in CUDA's default stream, and
    nothing waits for it until something is copied to the host.

    Parameters
    ----------
    cell : Cell
    params : Params
        Checked, with the clamps applied; in NumPy or on the GPU.
    fast_activations : bool
        Whether `run` and `backprop` use the approximate tanh.
    """

    name = "cuda"

    def __init__(self, cell: Cell, params: Params, *, fast_activations: bool = False) -> None:
        self._backend = backend.current()
        self._cell, self._params, self._fast = cell, params, fast_activations
        self._units, self._dtype = params.hidden_size, params.dtype
        self._plan = sweeps.plan_for(cell, params.hidden_size, params.dtype)
        # A step is rescaled by what the adjoint was before it, so that two that shrink it come together.
        self.carries = float(np.sqrt(np.finfo(params.dtype).tiny * 2.0**32))

    @cached_property
    def _weights(self) -> sweeps.Weights:
        # Not before they are needed: `run` and `backprop` find out first whether all fits.
        return sweeps.Weights(*(self._put(array) for array in self._params.arrays().values()))

    def take_inputs(self, inputs: Any) -> Any:
        return take_inputs(inputs, self._params)

    def take_state(self, name: str, value: Any, batch: int) -> Any:
        axes = f"(B, S, H) with the states {', '.join(self._cell.states)}"
        return take_state(name, value, (batch, len(self._cell.states), self._units), axes, self._dtype)

    def take_output_adjoint(self, value: Any, trace: Trace) -> Any:
        return take_output_adjoint(value, (*trace.inputs.shape[:2], self._units), trace.lengths, self._dtype)

    def run(self, inputs: Any, first_state: Any, lengths: Array) -> tuple[Any, Any, Any, Any]:
        """Run over all inputs; return inputs, states, gates and lengths on the GPU.

        A cell that saves no gates has one row of them here, which nothing reads.
        """
        with self._memory("run", inputs.shape, weights=self._params.weight_hh, inputs=inputs):
            inputs, lengths = self._put(inputs), self._put(lengths)
            states, gates = self.buffers(*inputs.shape[:2])
            self.forward(inputs, first_state, states, gates, lengths)
        return inputs, states, gates, lengths

    def backprop(
        self, trace: Trace, output_adjoint: Any, final_adjoint: Any
    ) -> tuple[tuple[Any, ...], Any, Any, Any]:
        gpu, shape = self._backend, tuple(trace.states.shape)
        parts = {"weights": self._params.weight_hh, "trace": trace.states, "output adjoint": output_adjoint}
        with self._memory("backprop", trace.inputs.shape, output_adjoint=output_adjoint is not None, **parts):
            weights = self._weights
            arrays = tuple(self._put(array) for array in (trace.inputs, trace.states, trace.gates))
            lengths = trace.lengths if trace.on_device else np.ascontiguousarray(trace.lengths, np.int64)
            lengths = self._put(lengths)
            output_adjoint = None if output_adjoint is None else self._put(output_adjoint)
            adjoint = gpu.empty(shape, self._dtype)
            self._copy(final_adjoint, adjoint[shape[0] - 1])
            d_inputs = gpu.empty(tuple(trace.inputs.shape), self._dtype)
            gradients = sweeps.backward(
                self._plan,
                weights,
                arrays,
                lengths,
                output_adjoint,
                adjoint,
                d_inputs,
                fast_activations=self._fast,
            )
            initial = gpu.empty(shape[1:], self._dtype)
            self._copy(adjoint[0], initial)
        return gradients, d_inputs, initial, adjoint

    def piece(self, steps: int, step_bytes: int, state_bytes: int) -> int:
        """Return steps of a piece: its inputs and adjoints take memory too; beyond a size nothing gets faster."""
        most = min(_CUDA_BYTES, self._backend.memory()[0] // 4)
        return int(min(steps, max(1, most // step_bytes)))

    def gate_bytes(self, batch: int) -> int:
        return batch * len(self._cell.saved) * self._units * self._dtype.itemsize

    def overlaps(self, batch: int, directions: int) -> bool:
        """Return False: a piece takes all of the GPU."""
        return False

    def buffers(self, steps: int, batch: int) -> tuple[Any, Any]:
        cell, units = self._cell, self._units
        states = self._backend.empty((steps + 1, batch, len(cell.states), units), self._dtype)
        # A GPU holds no empty arrays: a cell without gates gets one that nothing reads.
        return states, self._backend.empty((steps, batch, max(1, len(cell.saved)), units), self._dtype)

    def forward(self, inputs: Any, first_state: Any, states: Any, gates: Any, lengths: Any = None) -> None:
        self._copy(first_state, states[0])
        if lengths is None:
            lengths = np.full(inputs.shape[1], inputs.shape[0], np.int64)
        sweeps.forward(
            self._plan, self._weights, self._put(inputs), states, gates, self._put(lengths),
            fast_activations=self._fast,
        )  # fmt: skip

    def ends(
        self, pieces: Iterator[Array], first_state: Array, states: Any, gates: Any
    ) -> Generator[Array, None, None]:
        return ends_of(self, pieces, first_state, states, gates)

    def derive(self, exact: Derivatives, inputs: Array, states: Any, gates: Any, slot: int) -> Any:
        """Make the coefficients on the host, of as many steps at a time as it takes, after a look on the GPU."""
        steps, saved = gates.shape[0], len(self._cell.saved)
        gpu, nothing = self._backend, np.empty((2, 0), self._dtype)
        of_states = extremes_of(gpu, states[1:])
        of_gates = extremes_of(gpu, gates) if saved else nothing
        if not exact.may_be_saturated(of_states[:, :, None], of_gates[:, :, None]):
            return gates
        each = max(1, _HOST_BYTES // (self._dtype.itemsize * (states[0].size + gates[0].size)))
        spans = [(begin, min(begin + each, steps)) for begin in range(0, steps, each)]

        @lru_cache(maxsize=1)  # most pieces are one span
        def on_host(begin: int, end: int) -> tuple[Array, Array]:
            return gpu.to_host(states[begin : end + 1]), gpu.to_host(gates[begin:end])[:, :, :saved]

        if not any(exact.saturated(*on_host(*span)) for span in spans):
            return gates
        rows = gpu.empty(exact.shape(gates), self._dtype)
        for begin, end in spans:
            arrays = on_host(begin, end)
            self._copy(exact.derive(inputs[begin:end], *arrays, slot).view(np.ndarray), rows[begin:end])
        return DeviceCoefficients(rows)

    def last(self, states: Any) -> Array:
        return self._backend.to_host(states[states.shape[0] - 1])

    def adjoints(self, directions: Array) -> Adjoints:
        return Adjoints(self._plan, self._weights, directions)

    def _put(self, array: Any) -> Any:
        """Return an array on the GPU, itself if it is there."""
        if on_device(array):
            return array
        # A GPU holds no empty arrays: one element stands for none.
        return self._backend.to_device(
            np.ascontiguousarray(array) if array.size else np.zeros(1, array.dtype)
        )

    def _copy(self, source: Any, target: Any) -> None:
        """Copy an array, of the host or the GPU, into one on the GPU."""
        self._backend.copy(self._put(source).reshape(-1), target.reshape(-1))

    @contextmanager
    def _memory(self, call: str, shape: Any, *, output_adjoint: bool = True, **parts: Any) -> Iterator[None]:
        """Refuse a call for which the GPU has too little memory, before anything is put there, or when it runs out."""
        steps, batch, width = shape
        whole = memory_estimate.Call(
            name=call, cell=self._cell, hidden_size=self._units, steps=steps, batch=batch, input_size=width,
            dtype=self._dtype, on_device=frozenset(name for name, array in parts.items() if on_device(array)),
            output_adjoint=output_adjoint,
        )  # fmt: skip
        estimate = memory_estimate.estimate(whole, self._backend.memory()[0])
        memory_estimate.check_fits(estimate, self._backend)
        with memory_estimate.explained(estimate, self._backend):
            yield
