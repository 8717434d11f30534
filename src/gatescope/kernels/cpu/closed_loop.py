"""A model whose outputs are its next inputs, on the CPU: its layers, step by step, in one compiled loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gatescope.cells.registry import get
from gatescope.datatypes import Array, Params
from gatescope.kernels.cpu import sweeps
from gatescope.kernels.cpu.aligned import aligned_empty
from gatescope.kernels.cpu.blocks import blocks_for, longest
from gatescope.kernels.cpu.threads import each


class LayerRun(NamedTuple):
    """What a layer did: inputs (T, B, I), states (T+1, B, S, H), gates (T, B, K, H)."""

    inputs: Array
    states: Array
    gates: Array


def close_loop(
    layers: Sequence[Params],
    readout: tuple[Array, Array],
    inputs: Array,
    given: int,
    first_states: Sequence[Array],
    threads: int,
) -> tuple[list[LayerRun], Array]:
    """Run layers over inputs (T, B, I), whose steps from `given` on are filled with the read-out's outputs.

    Parameters
    ----------
    layers : sequence of Params
        Checked, with the clamps applied, all forward, from the lowest.
    readout : (O, H) and (O,) array
        Weight and bias, O = I.
    inputs : (T, B, I) array
        Written.
    given : int
    first_states : sequence of (B, S, H) array
    threads : int
        At most so many are used; no result depends on it.

    Returns
    -------
    runs : list of LayerRun
    outputs : (T, B, O) array
    """
    from gatescope.kernels.cpu.loops.closed_loop import make_closed_loop

    steps, batch = inputs.shape[:2]
    dtype = inputs.dtype
    plans = [sweeps.plan_for(get(params.cell), params.hidden_size, dtype) for params in layers]
    threads = max(plan.threads(threads, steps, batch) for plan in plans)
    blocks = blocks_for(batch, max(plan.hidden_size for plan in plans), threads)
    kernels = tuple(sweeps.forward_kernel(plan, longest(blocks)) for plan in plans)
    panels = [sweeps.forward_panels(plan, params) for plan, params in zip(plans, layers, strict=True)]
    runs = []
    x = inputs
    for plan, first in zip(plans, first_states, strict=True):
        cell, units = plan.cell, plan.hidden_size
        states = aligned_empty((steps + 1, batch, len(cell.states), units), dtype)
        states[0] = first
        runs.append(LayerRun(x, states, aligned_empty((steps, batch, len(cell.saved), units), dtype)))
        x = aligned_empty((steps, batch, units), dtype)
    above = [*(run.inputs for run in runs[1:]), x]
    outputs = aligned_empty((steps, batch, len(readout[1])), dtype)
    before = np.ascontiguousarray(first_states[-1][:, 0])
    lengths = np.full(batch, steps, np.int64)
    loop = make_closed_loop(kernels)

    def one(index: int) -> None:
        begin, end = blocks[index]
        nested: Any = ()
        for plan, weights, run, out in zip(plans, panels, runs, above, strict=True):
            work = sweeps.forward_work(plan, end - begin, plan.segment(end - begin, 1))
            nested = (nested, (weights, run.inputs, run.states, run.gates, work), out)
        loop(nested, lengths, (*readout, x, before), inputs, outputs, (begin, end, given, steps))

    each(one, len(blocks), threads)
    return runs, outputs
