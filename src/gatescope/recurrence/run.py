"""Run a cell over inputs and back-propagate through the run: check, compute, return a result."""

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
    check_fast_activations,
    device_for,
    device_metadata,
    device_of,
    threads_for,
)
from gatescope.recurrence.clamping import apply_clamp, clamp_metadata, clamp_values, clear_clamped
from gatescope.recurrence.finiteness import warn_adjoint, warn_states
from gatescope.storage.provenance import provenance


def run(
    params: Params,
    inputs: Any,
    *,
    initial_state: Any = None,
    lengths: Any = None,
    clamp: Any = None,
    device: str | None = None,
    threads: int | None = None,
    fast_activations: bool = False,
) -> Trace:
    """Run a cell over inputs and save every state and every gate at every step.

    Parameters
    ----------
    params : Params
        Float32 or float64; the kernels compute in that precision.  On the GPU after `to_device`.  Those of a backward
        direction (``params.reverse``) take each sequence from its last step to its first; the trace is in the order of
        the inputs, and ``trace.final_state`` the state after the first of them.
    inputs : (T, B, I) or (T, I) array_like of real numbers
        Converted to the weights' dtype.  (T, I) is one sequence and comes back as B = 1.  An array that needs no
        conversion is not copied: the trace looks at it, so leave it as it is until `backprop` is done.  For the
        device ``"cuda"`` an array on the GPU (of PyTorch, CuPy..., by its ``__cuda_array_interface__``) is taken as
        it is: it must be C-contiguous and have the weights' dtype, and is not searched for NaN.
    initial_state : (B, S, H) array_like, optional
        Default: zeros.  May be on the GPU, like `inputs`: ``trace.final_state`` of a trace that is there.
    lengths : (B,) array_like of int, optional
        Steps of each sequence, 0..T; default: T.  A padded sequence gets exactly what it gets alone; on the GPU to
        rounding, because the order of its sums depends on how many sequences there are.
    clamp : mapping, optional
        Gates to clamp at values, by name: ``{"f": 1.0}`` all units of the forget gate; ``{"f": [1.0, nan, ...]}`` H
        numbers, NaN where a unit is free; ``{"f": {0: 1.0, 3: 0.5}}`` some units.  Any gate that the trace holds and
        that has weights, at any value it can take.  What saturates it (0 and 1 of a sigmoid, -1 and 1 of a tanh) and
        its middle are met exactly, other values to rounding (with `fast_activations` to theirs).  The trace
        remembers the values, and `backprop` clamps the gates too: no gradient flows through them.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; default: where the weights are.  There is no silent change from one to the other.
    threads : int, optional
        On the CPU: at most this many threads; default: the cores this process may use.  Results do not depend on it.
    fast_activations : bool
        On the GPU in float32: use its approximate tanh, whose absolute error is about 5e-4 (2.5e-4 for the sigmoid
        made of it).  Steps get a little faster; gates are then right to three decimals only.

    Returns
    -------
    Trace
        In NumPy arrays if the weights are; with weights on the GPU its arrays stay there until ``to_host()``.

    Raises
    ------
    DeviceError
        If the device is not there, or its memory is too small.
    ShapeError, DtypeError, ValueRangeError, UnknownNameError
        If an argument does not fit.

    Warns
    -----
    AccuracyWarning
        If a state leaves the range of floating point, with the step and the unit.  A trace that stays on the GPU is not
        looked at.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("lstm", input_size=1, hidden_size=8, seed=0)
    >>> trace = gs.run(params, np.zeros((100, 3, 1)))
    >>> trace.outputs.shape, trace.gate("f").shape, trace.c.shape
    ((100, 3, 8), (100, 3, 8), (101, 3, 8))
    >>> opened = gs.run(params, np.ones((100, 3, 1)), clamp={"f": 1.0})  # what if the forget gate were open?
    >>> bool((opened.gate("f") == 1).all())
    True
    """
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
        _check_fits("inputs", "every state and gate of these steps", trace_bytes(params, batch), steps)
    first_state = computer.take_state("initial_state", initial_state, batch)
    sizes = check_lengths(check_host("lengths", lengths), steps, batch)
    if not params.batch_first:
        warn_if_batch_first("inputs", steps, batch, lengths)
    sources = run_provenance(device, params, values, **_fast(fast))
    if params.reverse:
        _check_turnable("inputs", x)
        turned_run = computer.run(turned(x, sizes), first_state, sizes)
        taken = make_trace(cell, turned_run, values, sources).to_host()
        warn_states(cell, taken.states)  # whose steps count in the order they were taken
        return taken.as_given()
    trace = make_trace(cell, computer.run(x, first_state, sizes), values, sources)
    if params.on_device:
        return trace
    trace = trace.to_host()
    warn_states(cell, trace.states)
    return trace


def trace_bytes(params: Params, batch: int) -> int:
    """Return how many bytes the states and gates of a step of `batch` sequences take."""
    cell = get(params.cell)
    return batch * params.hidden_size * params.dtype.itemsize * (len(cell.states) + len(cell.saved))


def _check_fits(name: str, what: str, step_bytes: int, steps: int) -> None:
    """Refuse a call that takes so many bytes a step, if the free memory does not hold them."""
    check_memory(
        name,
        NOTHING,
        lambda count: count * step_bytes,
        what,
        size=steps,
        advice="give fewer steps or sequences; the measurements of gradients store none of this",
    )


def backprop(
    params: Params,
    trace: Trace,
    *,
    output_adjoint: Any = None,
    final_adjoint: Any = None,
    device: str | None = None,
    threads: int | None = None,
    fast_activations: bool = False,
) -> Gradients:
    """Back-propagate exactly through a whole run: full BPTT, nothing truncated.

    For a loss L: gradients with respect to all weights, the inputs, the initial state, and the adjoint
    dL/ds_t of every state.  Gates that the run clamped (``run(..., clamp=...)``) are clamped here, too: their rows of
    the weights' gradients are 0, and the other gradients are those of the network with these gates clamped.

    Parameters
    ----------
    params : Params
        Those that made the trace, as they were given to `run`, without its clamps.
    trace : Trace
        On the GPU if and only if the weights are.
    output_adjoint : (T, B, H) array_like, optional
        dL/d output_t; default: zeros.  Values at steps past the end of a sequence are ignored.  May be on the GPU, as
        the inputs of `run`.
    final_adjoint : (B, S, H) array_like, optional
        dL/d final state; default: zeros.  May be on the GPU.  One of the two adjoints is needed.
    device, threads : optional
        As for `run`.
    fast_activations : bool
        As for `run`; give it if the run had it.

    Returns
    -------
    Gradients
        In NumPy arrays if the weights are; with weights on the GPU its arrays stay there until ``to_host()``.
        Past the end of a sequence its adjoint is the final adjoint and its input gradient is 0; of a backward
        direction (``params.reverse``), whose states there are the initial one, its adjoint is that of this one.

    Raises
    ------
    DeviceError
        If the device is not there, its memory is too small, or `params` and `trace` are not in one place.
    ShapeError, DtypeError, ValueRangeError, UnknownNameError
        If an argument does not fit.

    Warns
    -----
    AccuracyWarning
        If the states of the run or the gradient leave the range of floating point, with the step and the unit.
        Gradients that stay on the GPU are not looked at.

    Notes
    -----
    The adjoint of a state holds the step's other states fixed: of an LSTM, dL/dc_t is what reaches c_t by way of the
    next step, not what also comes through h_t = o tanh(c_t) of the same step.  Automatic differentiation of a program
    in which h_t is computed from c_t adds that; ``gradient_flow(..., total=True)`` measures it so.  The gradients of
    weights, inputs and initial state are the same either way.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("gru", input_size=1, hidden_size=8, seed=0, dtype="float64")
    >>> trace = gs.run(params, np.ones((50, 1)))
    >>> grads = gs.backprop(params, trace, output_adjoint=np.ones_like(trace.outputs))
    >>> grads.params.weight_hh.shape, grads.adjoint.shape
    ((24, 8), (51, 1, 1, 8))
    """
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
        _check_fits("trace", "the adjoint and the gradient of the inputs", step_bytes, steps)
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
    clear_clamped(gradients, values)
    sources = run_provenance(device, params, values, **_fast(fast))
    gradient = dataclasses.replace(
        params, **dict(zip(WEIGHT_NAMES, gradients, strict=True)), provenance=sources
    )
    result = Gradients(
        params=gradient, inputs=d_inputs, initial_state=d_initial, adjoint=adjoint, provenance=sources
    )
    if params.on_device:
        return result
    result = result.to_host()
    warn_adjoint(cell, taken.to_host().states, result.adjoint, tuple(result.params.arrays().values()))
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


def _fast(fast_activations: bool) -> dict[str, bool]:
    return {"fast_activations": True} if fast_activations else {}
