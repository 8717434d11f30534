"""Forward and backward sweeps on arrays that are on the GPU and already checked; adjoints are in `adjoints`.

One launch carries the whole sweep (or a group of sequences through the whole sweep, where the GPU cannot take them all
at once); the dense products before and after it are launches of their own.  A sequence's results do not depend on the
other sequences, nor on the GPU's timing.  How many sequences there are, and which GPU it is, decide the launch plan and
with it the order of sums, so across these results agree to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.kernels.cuda import backend as backends
from gatescope.kernels.cuda.backward import make_backward
from gatescope.kernels.cuda.forward import make_forward
from gatescope.kernels.cuda.gemm import Matrix, affine, column_sums, product, weight_gradient
from gatescope.kernels.cuda.launch_plan import DeviceProperties, LaunchPlan, Tile, choose
from gatescope.kernels.cuda.matvec import make_pack
from gatescope.kernels.cuda.memory_estimate import scratch_per_step, steps_that_fit

_PACK_THREADS = 256


class Weights(NamedTuple):
    """A cell's weights on the device, as in `Params`."""

    weight_ih: Any
    weight_hh: Any
    bias_ih: Any
    bias_hh: Any


@dataclass(frozen=True)
class CellPlan:
    """A cell of some size in some precision on the backend in use."""

    cell: Cell
    hidden_size: int
    dtype: np.dtype
    properties: DeviceProperties

    @property
    def first(self) -> int:
        """Gates of the first recurrent product."""
        return self.cell.prepared or len(self.cell.gates)

    @property
    def second(self) -> int:
        """Gates of the second recurrent product; 0 if there is none."""
        return len(self.cell.gates) - self.first

    def launch_plan(self, rows: int, *, backward: bool) -> LaunchPlan:
        """Return how a sweep of `rows` sequences or directions runs."""
        return choose(self.cell, self.hidden_size, self.dtype, rows, backward, self.properties)


_cell_plan = lru_cache(maxsize=256)(CellPlan)


def plan_for(cell: Cell, hidden_size: int, dtype: np.dtype) -> CellPlan:
    """Return the plan for a cell of that size in that precision on the backend in use."""
    return _cell_plan(cell, hidden_size, dtype, backends.properties())


class Sweep:
    """A sweep that is ready to be launched, any number of times.

    Parameters
    ----------
    plan : CellPlan
    weight_hh : (G*H, H) device array
    rows : int
        Sequences or directions.
    backward : bool
    make_kernel : callable
        ``make_kernel(launch_plan)`` is the kernel.

    Attributes
    ----------
    packed : tuple
        The recurrent weights of both products as the threads of the sweep read them.
    """

    def __init__(
        self,
        plan: CellPlan,
        weight_hh: Any,
        rows: int,
        *,
        backward: bool,
        make_kernel: Callable[[LaunchPlan], Any],
    ) -> None:
        self._plan, self._rows, self._backward = plan, rows, backward
        self._launch_plan = plan.launch_plan(rows, backward=backward)
        self._kernel = make_kernel(self._launch_plan)
        first = self._pack(self._launch_plan.first, weight_hh, 0)
        second = self._pack(self._launch_plan.second, weight_hh, plan.first) if plan.second else first
        self.packed = (first, second)

    def _pack(self, tile: Tile, weight_hh: Any, first_gate: int) -> Any:
        backend, plan, launch_plan = backends.current(), self._plan, self._launch_plan
        out = backend.empty(tile.packed * launch_plan.blocks, plan.dtype)
        kernel = make_pack(
            tile, launch_plan.blocks, launch_plan.units, launch_plan.together, plan.hidden_size, first_gate,
            self._backward, plan.dtype,
        )  # fmt: skip
        backend.launch(kernel, -(-out.size // _PACK_THREADS), _PACK_THREADS, (weight_hh.reshape(-1), out))
        return out

    def launch(self, arrays: tuple[Any, ...], counts: tuple[int, ...], span: tuple[int, ...]) -> None:
        """Run kernel(*arrays, exchange words, *counts, first row, *span) for all rows."""
        backend, plan = backends.current(), self._launch_plan
        groups = plan.groups_at_once(self._rows, self._plan.properties.multiprocessors)
        words = plan.exchange_words(groups)
        for origin in range(0, self._rows, groups * plan.sequences):
            blocks = min(groups, -(-(self._rows - origin) // plan.sequences)) * plan.blocks
            args = (*arrays, backend.zeros(words, np.uint64), *counts, origin, *span)
            backend.launch(self._kernel, blocks, plan.threads, args, plan.shared_bytes, plan.blocks > 1)


def forward(
    plan: CellPlan,
    weights: Weights,
    inputs: Any,
    states: Any,
    gates: Any,
    lengths: Any,
    *,
    fast_activations: bool = False,
) -> None:
    """Fill states[1:] and gates from states[0].

    Shapes: inputs (T, B, I), states (T+1, B, S, H), gates (T, B, K, H), lengths (B,) int64.
    """
    backend, cell, units = backends.current(), plan.cell, plan.hidden_size
    steps, batch, width = inputs.shape
    states_count, saved, total = len(cell.states), len(cell.saved), len(cell.gates) * units
    flat_states, flat_gates = states.reshape(-1), flat(gates, plan.dtype)
    # The projections of a step lie where its gates (or its state) will: a thread reads them one step before.
    if saved >= len(cell.gates):
        projections, row = flat_gates, saved
    elif states_count >= len(cell.gates):
        projections, row = flat_states[batch * states_count * units :], states_count
    else:
        projections, row = backend.empty(steps * batch * total, plan.dtype), len(cell.gates)
    rows = steps * batch
    affine(
        backend,
        Matrix(inputs.reshape(-1), rows, width),
        Matrix(weights.weight_ih.reshape(-1), total, width),
        Matrix(weights.bias_ih, 1, total),
        Matrix(projections, rows, total, row * units),
    )

    def make_kernel(launch_plan: LaunchPlan) -> Any:
        return make_forward(cell, units, plan.dtype, launch_plan, row, fast_activations)

    sweep = Sweep(plan, weights.weight_hh, batch, backward=False, make_kernel=make_kernel)
    arrays = (projections, *sweep.packed, weights.bias_hh, flat_states, flat_gates, lengths)
    sweep.launch(arrays, (batch,), (0, steps))


def backward(
    plan: CellPlan,
    weights: Weights,
    trace: tuple[Any, Any, Any],
    lengths: Any,
    output_adjoint: Any | None,
    adjoint: Any,
    d_inputs: Any,
    *,
    fast_activations: bool = False,
) -> Weights:
    """Fill adjoint[:T] and d_inputs from adjoint[T]; return the gradients of the four weight arrays.

    trace: inputs, states and gates as for `forward`; output_adjoint (T, B, H) or None; adjoint (T+1, B, S, H);
    d_inputs (T, B, I).  What the gradients are made of is saved for as many steps as fit, and added up before the
    sweep goes on.
    """
    backend, cell, units, dtype = backends.current(), plan.cell, plan.hidden_size, plan.dtype
    inputs, states, gates = (flat(array, dtype) for array in trace)
    steps, batch, width = trace[0].shape
    states_count, total, edge = len(cell.states), len(cell.gates) * units, plan.first * units
    shared = cell.shared and not plan.second

    def make_kernel(launch_plan: LaunchPlan) -> Any:
        return make_backward(cell, units, dtype, launch_plan, False, fast_activations)

    sweep = Sweep(plan, weights.weight_hh, batch, backward=True, make_kernel=make_kernel)
    segment = steps_that_fit(steps, scratch_per_step(cell, units, batch, dtype), backend.memory()[0])
    d_rh = backend.empty(segment * batch * total, dtype)
    d_wx = d_rh if shared else backend.empty(segment * batch * total, dtype)
    operand = backend.empty(segment * batch * units if plan.second else 1, dtype)
    shapes = ((total, width), (total, units), (total,), (total,))
    sums = Weights(*(backend.empty(shape, dtype) for shape in shapes))
    g_ih, g_hh, g_bias_ih, g_bias_hh = (array.reshape(-1) for array in sums)
    w_ih = Matrix(weights.weight_ih.reshape(-1), total, width)
    nothing, counts = backend.empty(1, dtype), backend.zeros(1, np.int32)
    cotangents = nothing if output_adjoint is None else output_adjoint.reshape(-1)
    flat_adjoint, flat_d_inputs = adjoint.reshape(-1), d_inputs.reshape(-1)
    state = batch * states_count * units
    current = backend.empty(state, dtype)
    backend.copy(flat_adjoint[steps * state :], current)
    stop = steps
    while stop > 0:
        start = max(0, stop - segment)
        rows = (stop - start) * batch
        arrays = (
            *sweep.packed, states, gates, cotangents, lengths, current, flat_adjoint[start * state :], counts, counts,
            d_wx, d_rh, operand,
        )  # fmt: skip
        sweep.launch(arrays, (batch, 1), (start, stop, start, int(output_adjoint is not None), 0))
        more = stop < steps
        pre_wx, pre_rh = Matrix(d_wx, rows, total), Matrix(d_rh, rows, total)
        x = Matrix(inputs, rows, width, offset=start * batch * width)
        h = Matrix(states, rows, units, states_count * units, start * state)
        product(backend, pre_wx, w_ih, Matrix(flat_d_inputs, rows, width, offset=start * batch * width))
        weight_gradient(backend, pre_wx, x, Matrix(g_ih, total, width), accumulate=more)
        first_rh = Matrix(d_rh, rows, edge, total)
        weight_gradient(backend, first_rh, h, Matrix(g_hh, edge, units), accumulate=more)
        if plan.second:
            weight_gradient(
                backend,
                Matrix(d_rh, rows, total - edge, total, edge),
                Matrix(operand, rows, units),
                Matrix(g_hh, total - edge, units, offset=edge * units),
                accumulate=more,
            )
        column_sums(backend, pre_rh, Matrix(g_bias_hh, 1, total), accumulate=more)
        if not shared:
            column_sums(backend, pre_wx, Matrix(g_bias_ih, 1, total), accumulate=more)
        stop = start
    if shared:
        backend.copy(g_bias_hh, g_bias_ih)
    backend.copy(current, flat_adjoint[:state])
    return sums


def flat(array: Any, dtype: np.dtype) -> Any:
    """Return an array with one axis; one element stands for an empty array, which a GPU cannot have."""
    return array.reshape(-1) if array.size else backends.current().empty(1, dtype)
