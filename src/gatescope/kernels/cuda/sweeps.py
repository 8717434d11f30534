"""The CUDA device: `forward`, `backward` and `Adjoints` on arrays that are on the GPU and already checked.

One launch carries the whole sweep (or a group of sequences through the whole sweep, where the GPU cannot hold them all
at once); the dense products before and after it are launches of their own.  A sequence's results do not depend on the
other sequences, nor on the GPU's timing.  How many sequences there are, and which GPU it is, decide the design and with
it the order of sums, so across these results agree to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.kernels.cuda import backend as backends
from gatescope.kernels.cuda.backward import make_reverse
from gatescope.kernels.cuda.forward import make_forward
from gatescope.kernels.cuda.gemm import Matrix, affine, column_sums, product, weight_gradient
from gatescope.kernels.cuda.launch_plan import Design, Facts, Tile, choose
from gatescope.kernels.cuda.matvec import make_pack
from gatescope.kernels.cuda.memory_estimate import step_of_scratch, steps_that_fit

_PACK_THREADS = 256


class Weights(NamedTuple):
    """A cell's weights on the device, as in `Params`."""

    weight_ih: Any
    weight_hh: Any
    bias_ih: Any
    bias_hh: Any


@dataclass(frozen=True)
class Plan:
    """A cell of some size in some precision on the backend in use."""

    cell: Cell
    hidden_size: int
    dtype: np.dtype
    facts: Facts

    @property
    def first(self) -> int:
        """Gates of the first recurrent product."""
        return self.cell.prepared or len(self.cell.gates)

    @property
    def second(self) -> int:
        """Gates of the second recurrent product; 0 if there is none."""
        return len(self.cell.gates) - self.first

    def design(self, rows: int, *, reverse: bool) -> Design:
        """How a sweep of `rows` sequences or directions runs."""
        return choose(self.cell, self.hidden_size, self.dtype, rows, reverse, self.facts)


@lru_cache(maxsize=256)
def _plan(cell: Cell, hidden_size: int, dtype: np.dtype, facts: Facts) -> Plan:
    return Plan(cell, hidden_size, dtype, facts)


def plan_for(cell: Cell, hidden_size: int, dtype: np.dtype) -> Plan:
    """The plan for a cell of that size in that precision on the backend in use."""
    machine = backends.current()
    return _plan(cell, hidden_size, dtype, Facts(machine.multiprocessors, machine.shared_limit))


def packed(plan: Plan, design: Design, weight_hh: Any, reverse: bool) -> tuple[Any, Any]:
    """The recurrent weights of both products as the threads of a sweep read them."""
    machine = backends.current()

    def one(tile: Tile, first_gate: int) -> Any:
        out = machine.empty(tile.packed * design.blocks, plan.dtype)
        kernel = make_pack(
            tile,
            design.blocks,
            design.units,
            design.together,
            plan.hidden_size,
            first_gate,
            reverse,
            plan.dtype,
        )
        machine.launch(kernel, -(-out.size // _PACK_THREADS), _PACK_THREADS, (weight_hh.reshape(-1), out))
        return out

    first = one(design.first, 0)
    return first, one(design.second, plan.first) if plan.second else first


def sweep(plan: Plan, design: Design, kernel: Any, rows: int, before: tuple[Any, ...], after: Any) -> None:
    """Launch a sweep over all rows: kernel(*before, words, *after(first row))."""
    machine = backends.current()
    groups = -(-rows // design.sequences)
    # Blocks that wait for each other must all be there: no more of them than multiprocessors.
    wave = groups if design.blocks == 1 else min(groups, plan.facts.multiprocessors // design.blocks)
    words = design.words(wave) * (plan.dtype.itemsize // 4)
    for origin in range(0, rows, wave * design.sequences):
        here = min(wave, -(-(rows - origin) // design.sequences))
        args = (*before, machine.zeros(words, np.uint64), *after(origin))
        machine.launch(
            kernel, here * design.blocks, design.threads, args, design.shared_bytes, design.blocks > 1
        )


def forward(
    plan: Plan,
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
    machine, cell, units = backends.current(), plan.cell, plan.hidden_size
    steps, batch, width = inputs.shape
    states_count, kept, gate_count = len(cell.states), len(cell.saved), len(cell.gates)
    flat_states, flat_gates = states.reshape(-1), flat(gates, plan.dtype)
    # The projections of a step stand where its gates (or its state) will: a thread reads them one step before.
    if kept >= gate_count:
        projections, row = flat_gates, kept
    elif states_count >= gate_count:
        projections, row = flat_states[batch * states_count * units :], states_count
    else:
        projections, row = machine.empty(steps * batch * gate_count * units, plan.dtype), gate_count
    rows = steps * batch
    affine(
        machine,
        Matrix(inputs.reshape(-1), rows, width),
        Matrix(weights.weight_ih.reshape(-1), gate_count * units, width),
        Matrix(weights.bias_ih, 1, gate_count * units),
        Matrix(projections, rows, gate_count * units, row * units),
    )
    design = plan.design(batch, reverse=False)
    weights_packed = packed(plan, design, weights.weight_hh, False)
    kernel = make_forward(cell, units, plan.dtype, design, row, fast_activations)
    before = (projections, *weights_packed, weights.bias_hh, flat_states, flat_gates, lengths)
    sweep(plan, design, kernel, batch, before, lambda origin: (batch, origin, 0, steps))


def backward(
    plan: Plan,
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
    d_inputs (T, B, I).  What the gradients are made of is kept for as many steps as fit, and their part is added up
    before the sweep goes on.
    """
    machine, cell, units, dtype = backends.current(), plan.cell, plan.hidden_size, plan.dtype
    inputs, states, gates = (flat(array, dtype) for array in trace)
    steps, batch, width = trace[0].shape
    states_count, total = len(cell.states), len(cell.gates) * units
    design = plan.design(batch, reverse=True)
    weights_packed = packed(plan, design, weights.weight_hh, True)
    kernel = make_reverse(cell, units, dtype, design, False, fast_activations)
    shared = cell.shared and not plan.second

    segment = steps_that_fit(steps, step_of_scratch(cell, units, batch, dtype), machine.memory()[0])
    d_rh = machine.empty(segment * batch * total, dtype)
    d_wx = d_rh if shared else machine.empty(segment * batch * total, dtype)
    operand = machine.empty(segment * batch * units if plan.second else 1, dtype)
    shapes = ((total, width), (total, units), (total,), (total,))
    sums = Weights(*(machine.empty(shape, dtype) for shape in shapes))
    g_ih, g_hh, g_bias_ih, g_bias_hh = (array.reshape(-1) for array in sums)
    w_ih = Matrix(weights.weight_ih.reshape(-1), total, width)
    nothing, counts = machine.empty(1, dtype), machine.zeros(1, np.int32)
    seeds = nothing if output_adjoint is None else output_adjoint.reshape(-1)
    flat_adjoint, flat_d_inputs = adjoint.reshape(-1), d_inputs.reshape(-1)
    state = batch * states_count * units
    current = machine.empty(state, dtype)
    machine.copy(flat_adjoint[steps * state :], current)
    stop = steps
    while stop > 0:
        start = max(0, stop - segment)
        rows = (stop - start) * batch
        before = (
            *weights_packed, states, gates, seeds, lengths, current, flat_adjoint[start * state :], counts, counts,
            d_wx, d_rh, operand,
        )  # fmt: skip
        span = (start, stop, start, 0 if output_adjoint is None else 1, 0)
        sweep(plan, design, kernel, batch, before, lambda origin, span=span: (batch, 1, origin, *span))
        more = stop < steps
        pre_wx, pre_rh = Matrix(d_wx, rows, total), Matrix(d_rh, rows, total)
        x = Matrix(inputs, rows, width, offset=start * batch * width)
        h = Matrix(states, rows, units, states_count * units, start * state)
        product(machine, pre_wx, w_ih, Matrix(flat_d_inputs, rows, width, offset=start * batch * width))
        weight_gradient(machine, pre_wx, x, Matrix(g_ih, total, width), accumulate=more)
        edge = plan.first * units
        weight_gradient(
            machine, Matrix(d_rh, rows, edge, total), h, Matrix(g_hh, edge, units), accumulate=more
        )
        if plan.second:
            weight_gradient(
                machine,
                Matrix(d_rh, rows, total - edge, total, edge),
                Matrix(operand, rows, units),
                Matrix(g_hh, total - edge, units, offset=edge * units),
                accumulate=more,
            )
        column_sums(machine, pre_rh, Matrix(g_bias_hh, 1, total), accumulate=more)
        if not shared:
            column_sums(machine, pre_wx, Matrix(g_bias_ih, 1, total), accumulate=more)
        stop = start
    if shared:
        machine.copy(g_bias_hh, g_bias_ih)
    machine.copy(current, flat_adjoint[:state])
    return sums


def flat(array: Any, dtype: np.dtype) -> Any:
    """One axis; a single element stands for an array that has none, because a GPU cannot hold none."""
    return array.reshape(-1) if array.size else backends.current().empty(1, dtype)
