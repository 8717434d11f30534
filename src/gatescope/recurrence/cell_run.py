"""One cell over inputs, and back: check, compute, return a result."""

from __future__ import annotations

import dataclasses
from typing import Any

from gatescope.cells.ranges import gate_ranges
from gatescope.cells.registry import Cell, get
from gatescope.checks.arrays import check_host, on_device
from gatescope.checks.memory import check_memory
from gatescope.checks.network import check_lengths, check_params, check_trace, warn_if_batch_first
from gatescope.datatypes import Array, Gradients, Params, Trace
from gatescope.datatypes.params import WEIGHT_NAMES
from gatescope.datatypes.trace import states_as_given, turned
from gatescope.errors import NOTHING, DeviceError, ShapeError
from gatescope.kernels.device import (
    Device,
    check_fast_activations,
    device_for,
    device_metadata,
    device_of,
    threads_for,
)
from gatescope.recurrence.clamping import apply_clamp, clamp_metadata, clamp_values, clear_fixed
from gatescope.recurrence.finiteness import warn_adjoint, warn_states
from gatescope.storage.provenance import provenance


def run_cell(
    params: Params,
    inputs: Any,
    *,
    initial_state: Any,
    lengths: Any,
    clamp: Any,
    device: str | None,
    threads: int | None,
    fast_activations: bool,
) -> Trace:
    """Run one cell over inputs, as `run` says."""
    device = device_of(device, params)
    fast = check_fast_activations(fast_activations, device, params)
    threads = threads_for(device, threads)
    cell = check_params(params, any_device=True)
    values = clamp_values(params, clamp)
    clamped = apply_clamp(params, values)
    computer = device_for(device, cell, clamped, threads, fast_activations=fast)
    x = computer.take_inputs(inputs)
    steps, batch = x.shape[:2]
    if device == "cpu":
        check_fits("inputs", "every state and gate of these steps", trace_bytes(params, batch), steps)
    first_state = computer.take_state("initial_state", initial_state, batch)
    sizes = check_lengths(check_host("lengths", lengths), steps, batch)
    if not params.batch_first:
        warn_if_batch_first("inputs", steps, batch, lengths)
    sources = run_provenance(device, params, values, **fast_metadata(fast))
    return traced(computer, params, x, first_state, sizes, values, sources)


def traced(
    computer: Device,
    params: Params,
    inputs: Any,
    first_state: Any,
    lengths: Array,
    clamp: Array | None,
    sources: dict[str, Any],
    where: str = "",
) -> Trace:
    """Run what has been checked, and warn where it leaves the range of floating point; `where` begins the text."""
    cell = get(params.cell)
    if params.reverse:
        _check_turnable("inputs", inputs)
        turned_run = computer.run(turned(inputs, lengths), first_state, lengths)
        taken = make_trace(cell, turned_run, clamp, sources).to_host()
        warn_states(cell, taken.states, where)  # whose steps count in the order they were taken
        return taken.as_given()
    trace = make_trace(cell, computer.run(inputs, first_state, lengths), clamp, sources)
    if params.on_device:
        return trace
    trace = trace.to_host()
    warn_states(cell, trace.states, where)
    return trace


def trace_bytes(params: Params, batch: int) -> int:
    """Return how many bytes the states and gates of a step of `batch` sequences take."""
    cell = get(params.cell)
    return batch * params.hidden_size * params.dtype.itemsize * (len(cell.states) + len(cell.saved))


def check_fits(name: str, what: str, step_bytes: int, steps: int) -> None:
    """Refuse a call that takes so many bytes a step, if the free memory does not hold them."""
    check_memory(
        name,
        NOTHING,
        lambda count: count * step_bytes,
        what,
        size=steps,
        advice="give fewer steps or sequences; the measurements of gradients store none of this",
    )


def backprop_cell(
    params: Params,
    trace: Any,
    *,
    output_adjoint: Any,
    final_adjoint: Any,
    device: str | None,
    threads: int | None,
    fast_activations: bool,
    where: str = "",
) -> Gradients:
    """Back-propagate through a run of one cell, as `backprop` says; `where` begins warnings."""
    device = device_of(device, params)
    fast = check_fast_activations(fast_activations, device, params)
    threads = threads_for(device, threads)
    if output_adjoint is None and final_adjoint is None:
        raise ShapeError(
            "`output_adjoint` and `final_adjoint` are both left out",
            advice="give at least one, (T, B, H) or (B, S, H)",
        )
    cell = check_params(params, any_device=True)
    check_trace(trace, params, cell)
    if device == "cpu":
        steps, batch = trace.inputs.shape[:2]
        numbers = len(cell.states) * params.hidden_size + params.input_size
        step_bytes = batch * numbers * params.dtype.itemsize
        check_fits("trace", "the adjoint and the gradient of the inputs", step_bytes, steps)
    values = clamp_values(params, trace.clamp, "trace.clamp")
    clamped = apply_clamp(params, values)
    computer = device_for(device, cell, clamped, threads, fast_activations=fast)
    output_adjoint = computer.take_output_adjoint(output_adjoint, trace)
    final_adjoint = computer.take_state("final_adjoint", final_adjoint, trace.inputs.shape[1])
    if params.reverse and output_adjoint is not None:
        _check_turnable("output_adjoint", output_adjoint)
        output_adjoint = turned(output_adjoint, trace.lengths)
    taken = trace.as_taken()
    gradients, d_inputs, d_initial, adjoint = computer.backprop(taken, output_adjoint, final_adjoint)
    clear_fixed(gradients, params, values)
    sources = run_provenance(device, params, values, **fast_metadata(fast))
    gradient = dataclasses.replace(
        params, **dict(zip(WEIGHT_NAMES, gradients, strict=True)), provenance=sources
    )
    result = Gradients(
        params=gradient, inputs=d_inputs, initial_state=d_initial, adjoint=adjoint, provenance=sources
    )
    if params.on_device:
        return result
    result = result.to_host()
    warn_adjoint(cell, taken.to_host().states, result.adjoint, tuple(result.params.arrays().values()), where)
    if not params.reverse:
        return result
    return dataclasses.replace(
        result,
        inputs=turned(result.inputs, trace.lengths),
        adjoint=states_as_given(result.adjoint, trace.lengths),
    )


def _check_turnable(name: str, array: Any) -> None:
    """Refuse an array on a device where the steps have to be put into another order."""
    if on_device(array):
        raise DeviceError(
            "is on the GPU, but `params` are a backward direction, whose steps are turned round on the host",
            argument=name,
            advice="give a NumPy array",
        )


def make_trace(
    cell: Cell, arrays: tuple[Any, Any, Any, Any], clamp: Array | None, sources: dict[str, Any]
) -> Trace:
    """Return the trace of a run: `arrays` are the inputs, states, gates and lengths that `Device.run` returns."""
    inputs, states, gates, lengths = arrays
    return Trace(
        cell=cell.name,
        inputs=inputs,
        states=states,
        gates=gates,
        lengths=lengths,
        state_names=cell.states,
        gate_names=cell.saved,
        clamp=clamp,
        gate_ranges=gate_ranges(cell),
        provenance=sources,
    )


def run_provenance(device: str, params: Params, clamp: Array | None, **more: Any) -> dict[str, Any]:
    """Return where a result comes from: device, dtype, the seed of the weights, `more`, and clamps."""
    return provenance(
        **device_metadata(device),
        dtype=params.dtype.name,
        seed=params.provenance.get("seed"),
        **({"reverse": True} if params.reverse else {}),
        **more,
        **clamp_metadata(params, clamp),
    )


def fast_metadata(fast_activations: bool) -> dict[str, bool]:
    return {"fast_activations": True} if fast_activations else {}
