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
from gatescope.datatypes import Array
from gatescope.kernels.gpu import backend as backends
from gatescope.kernels.gpu.design import Design, Facts, Tile, choose
from gatescope.kernels.gpu.forward import make_forward
from gatescope.kernels.gpu.matmul import Matrix, affine, column_sums, product, weight_gradient
from gatescope.kernels.gpu.memory_plan import step_of_scratch, steps_that_fit
from gatescope.kernels.gpu.norms import log_norms, row_norms
from gatescope.kernels.gpu.reverse import make_reverse
from gatescope.kernels.gpu.shares import make_pack

_PACK_THREADS = 256
# Adjoints of a piece are kept until their norms are taken; this much of them at a time keeps the GPU busy.
_RECORD_BYTES = 1 << 28


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


def _packed(plan: Plan, design: Design, weight_hh: Any, reverse: bool) -> tuple[Any, Any]:
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


def _sweep(plan: Plan, design: Design, kernel: Any, rows: int, before: tuple[Any, ...], after: Any) -> None:
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
    states_count, kept, gate_count = len(cell.states), len(cell.kept), len(cell.gates)
    flat_states, flat_gates = states.reshape(-1), _flat(gates, plan.dtype)
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
    packed = _packed(plan, design, weights.weight_hh, False)
    kernel = make_forward(cell, units, plan.dtype, design, row, fast_activations)
    before = (projections, *packed, weights.bias_hh, flat_states, flat_gates, lengths)
    _sweep(plan, design, kernel, batch, before, lambda origin: (batch, origin, 0, steps))


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
    inputs, states, gates = (_flat(array, dtype) for array in trace)
    steps, batch, width = trace[0].shape
    states_count, total = len(cell.states), len(cell.gates) * units
    design = plan.design(batch, reverse=True)
    packed = _packed(plan, design, weights.weight_hh, True)
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
            *packed, states, gates, seeds, lengths, current, flat_adjoint[start * state :], counts, counts,
            d_wx, d_rh, operand,
        )  # fmt: skip
        span = (start, stop, start, 0 if output_adjoint is None else 1, 0)
        _sweep(plan, design, kernel, batch, before, lambda origin, span=span: (batch, 1, origin, *span))
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
        self._packed = _packed(plan, self._design, weights.weight_hh, True)
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
        flat_states, flat_gates = states.reshape(-1), _flat(gates, dtype)
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
            _sweep(
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


def _flat(array: Any, dtype: np.dtype) -> Any:
    """One axis; a single element stands for an array that has none, because a GPU cannot hold none."""
    return array.reshape(-1) if array.size else backends.current().empty(1, dtype)
