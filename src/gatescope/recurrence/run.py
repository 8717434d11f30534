"""Run a cell over inputs and back-propagate through the run: check, compute, return a result."""

from __future__ import annotations

import dataclasses
from typing import Any, cast, overload

import numpy as np

from gatescope.cells.ranges import gate_ranges
from gatescope.checks.arrays import check_array, check_finite, check_shape
from gatescope.checks.network import (
    check_initial_state,
    check_inputs,
    check_lengths,
    check_params,
    check_trace,
)
from gatescope.checks.numbers import check_threads
from gatescope.datatypes import Array, Gradients, Params, Trace
from gatescope.errors import DeviceError, ShapeError
from gatescope.kernels.cpu import sweeps
from gatescope.kernels.cpu.aligned import aligned_empty
from gatescope.recurrence.clamping import apply_clamp, clamp_facts, clamp_values, clear_clamped
from gatescope.recurrence.on_device import (
    DeviceGradients,
    DeviceParams,
    DeviceTrace,
    backprop_cuda,
    check_fast,
    check_no_threads,
    placed,
    run_cuda,
)
from gatescope.storage.provenance import provenance


@overload
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
) -> Trace: ...


@overload
def run(
    params: DeviceParams,
    inputs: Any,
    *,
    initial_state: Any = None,
    lengths: Any = None,
    clamp: Any = None,
    device: str | None = None,
    threads: int | None = None,
    fast_activations: bool = False,
) -> DeviceTrace: ...


def run(
    params: Params | DeviceParams,
    inputs: Any,
    *,
    initial_state: Any = None,
    lengths: Any = None,
    clamp: Any = None,
    device: str | None = None,
    threads: int | None = None,
    fast_activations: bool = False,
) -> Trace | DeviceTrace:
    """Run a cell over inputs and keep every state and every gate at every step.

    Parameters
    ----------
    params : Params or DeviceParams
        Float32 or float64; the kernels compute in that precision.
    inputs : (T, B, I) or (T, I) array_like of real numbers
        Converted to the weights' dtype.  (T, I) is one sequence and comes back as B = 1.  An array that needs no
        conversion is not copied: the trace looks at it, so leave it as it is until `backprop` is done.  For the
        device ``"cuda"`` an array on the GPU (of PyTorch, CuPy..., by its ``__cuda_array_interface__``) is taken as
        it is: it must be C-contiguous and have the weights' dtype, and is not searched for NaN.
    initial_state : (B, S, H) array_like, optional
        Default: zeros.  On the GPU, like `inputs`, if you like: ``trace.final_state`` of a `DeviceTrace`.
    lengths : (B,) array_like of int, optional
        Steps of each sequence, 0..T; default: T.  A padded sequence gets exactly what it gets alone; on the GPU to
        rounding, because the order of its sums depends on how many sequences there are.
    clamp : mapping, optional
        Gates to hold at values, by name: ``{"f": 1.0}`` all units of the forget gate; ``{"f": [1.0, nan, ...]}`` H
        numbers, NaN where a unit is free; ``{"f": {0: 1.0, 3: 0.5}}`` some units.  Any gate that the trace keeps and
        that has weights, at any value it can take.  What saturates it (0 and 1 of a sigmoid, -1 and 1 of a tanh) and
        its middle are held exactly, other values to rounding (with `fast_activations` to theirs).  The trace
        remembers the values, and `backprop` holds the gates too: no gradient flows through them.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; default: where the weights are, so ``"cpu"`` for `Params`.  There is no silent
        change from one to the other.
    threads : int, optional
        On the CPU: at most this many threads; default: the cores this process may use.  Results do not depend on it.
    fast_activations : bool
        On the GPU in float32: use its approximate tanh, whose absolute error is about 5e-4 (2.5e-4 for the sigmoid
        made of it).  Steps get a little faster; gates are then right to three decimals only.

    Returns
    -------
    Trace
        In NumPy arrays, whatever the device; a `DeviceTrace`, which stays on the GPU, for `DeviceParams`.

    Raises
    ------
    ShapeError, DtypeError, ValueRangeError, UnknownNameError, DeviceError
        If an argument does not fit; the message names it, what was seen, and what to do.

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
    device = placed(device, params)
    check_fast(fast_activations, device, params)
    if device == "cuda":
        check_no_threads(threads)
        trace = run_cuda(params, inputs, initial_state, lengths, fast_activations, clamp)
        return trace if isinstance(params, DeviceParams) else trace.to_host()
    params = cast(Params, params)  # or what check_params objects to
    cell = check_params(params)
    x = check_inputs(inputs, params)
    steps, batch = x.shape[:2]
    start = check_initial_state(initial_state, cell, params, batch)
    sizes = check_lengths(lengths, steps, batch)
    workers = check_threads(threads, sweeps.default_threads())
    values = clamp_values(params, clamp)
    params = apply_clamp(params, values)
    plan = sweeps.plan_for(cell, params.hidden_size, params.dtype)
    states = aligned_empty((steps + 1, batch, len(cell.states), params.hidden_size), params.dtype)
    states[0] = 0 if start is None else start
    gates = aligned_empty((steps, batch, len(cell.saved), params.hidden_size), params.dtype)
    sweeps.forward(plan, sweeps.forward_panels(plan, params), x, states, gates, sizes, workers)
    return Trace(
        cell=cell.name,
        inputs=x,
        states=states,
        gates=gates,
        lengths=sizes,
        state_names=cell.states,
        gate_names=cell.saved,
        clamp=values,
        gate_ranges=gate_ranges(cell),
        provenance=_facts(device, params, values),
    )


@overload
def backprop(
    params: Params,
    trace: Trace,
    *,
    output_adjoint: Any = None,
    final_adjoint: Any = None,
    device: str | None = None,
    threads: int | None = None,
    fast_activations: bool = False,
) -> Gradients: ...


@overload
def backprop(
    params: DeviceParams,
    trace: DeviceTrace,
    *,
    output_adjoint: Any = None,
    final_adjoint: Any = None,
    device: str | None = None,
    threads: int | None = None,
    fast_activations: bool = False,
) -> DeviceGradients: ...


def backprop(
    params: Params | DeviceParams,
    trace: Trace | DeviceTrace,
    *,
    output_adjoint: Any = None,
    final_adjoint: Any = None,
    device: str | None = None,
    threads: int | None = None,
    fast_activations: bool = False,
) -> Gradients | DeviceGradients:
    """Back-propagate exactly through a whole run: full BPTT, nothing truncated.

    For a loss L: gradients with respect to all weights, the inputs, the initial state, and the adjoint
    dL/ds_t of every state.  Gates that the run held (``run(..., clamp=...)``) are held here, too: their rows of the
    weights' gradients are 0, and the other gradients are those of the network with these gates held.

    Parameters
    ----------
    params : Params or DeviceParams
        Those that made the trace; where it held gates, as they were given to `run`.
    trace : Trace or DeviceTrace
        On the GPU if and only if the weights are.
    output_adjoint : (T, B, H) array_like or None
        dL/d output_t.  What stands at steps past the end of a sequence is ignored.  On the GPU, if you like, as
        `run` takes its inputs.
    final_adjoint : (B, S, H) array_like, optional
        dL/d final state; default: zeros.  On the GPU, if you like.
    device : str, optional
        As for `run`.
    threads : int, optional
        As for `run`.
    fast_activations : bool
        As for `run`; give it if the run had it.

    Returns
    -------
    Gradients
        In NumPy arrays; `DeviceGradients`, which stay on the GPU, for `DeviceParams`.
        Past the end of a sequence its adjoint is the final adjoint and its input gradient is 0.

    Raises
    ------
    ShapeError, DtypeError, ValueRangeError, UnknownNameError, DeviceError
        If an argument does not fit.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("gru", input_size=1, hidden_size=8, seed=0, dtype="float64")
    >>> trace = gs.run(params, np.ones((50, 1)))
    >>> grads = gs.backprop(params, trace, output_adjoint=np.ones_like(trace.outputs))
    >>> grads.params.weight_hh.shape, grads.adjoint.shape
    ((24, 8), (51, 1, 1, 8))
    """
    device = placed(device, params)
    check_fast(fast_activations, device, params)
    if output_adjoint is None and final_adjoint is None:
        raise ShapeError(
            "output_adjoint and final_adjoint are both None; give at least one, (T, B, H) or (B, S, H)"
        )
    if device == "cuda":
        check_no_threads(threads)
        gradients = backprop_cuda(params, trace, output_adjoint, final_adjoint, fast_activations)
        return gradients if isinstance(params, DeviceParams) else gradients.to_host()
    if isinstance(trace, DeviceTrace):
        raise DeviceError(
            "trace is on the GPU, but params are not; pass to_device(params), or trace.to_host()"
        )
    params = cast(Params, params)  # or what check_params objects to
    cell = check_params(params)
    check_trace(trace, params, cell)
    values = clamp_values(params, trace.clamp, "trace.clamp")
    params = apply_clamp(params, values)
    workers = check_threads(threads, sweeps.default_threads())
    steps, batch = trace.inputs.shape[:2]
    if output_adjoint is None:
        seeds = np.empty((0, batch, params.hidden_size), params.dtype)
    else:
        seeds = check_array("output_adjoint", output_adjoint, params.dtype, finite=False)
        if seeds.ndim == 2 and batch == 1:
            seeds = seeds[:, None, :]
        check_shape("output_adjoint", seeds, (steps, batch, params.hidden_size), "(T, B, H)")
    adjoint = aligned_empty(trace.states.shape, params.dtype)
    adjoint[-1] = 0
    if final_adjoint is not None:
        last = check_array("final_adjoint", final_adjoint, params.dtype)
        check_shape("final_adjoint", last, adjoint.shape[1:], "(B, S, H)")
        adjoint[-1] = last
    d_inputs = aligned_empty(trace.inputs.shape, params.dtype)
    plan = sweeps.plan_for(cell, params.hidden_size, params.dtype)
    arrays = tuple(np.ascontiguousarray(a) for a in (trace.inputs, trace.states, trace.gates))
    lengths = np.ascontiguousarray(trace.lengths, np.int64)
    found = sweeps.backward(plan, params, arrays, lengths, seeds, adjoint, d_inputs, workers)
    # A NaN or an infinity in the seeds reaches these sums, which are small; reading all seeds first would cost 6 %.
    if not all(np.isfinite(value).all() for value in found):
        check_finite("output_adjoint", seeds)
    clear_clamped(found, values)
    facts = _facts(device, params, values)
    weight_ih, weight_hh, bias_ih, bias_hh = found
    gradient = dataclasses.replace(
        params, weight_ih=weight_ih, weight_hh=weight_hh, bias_ih=bias_ih, bias_hh=bias_hh, provenance=facts
    )
    return Gradients(
        params=gradient,
        inputs=d_inputs,
        initial_state=adjoint[0].copy(),
        adjoint=adjoint,
        provenance=facts,
    )


def _facts(device: str, params: Params, values: Array | None) -> dict[str, Any]:
    seed = params.provenance.get("seed")
    return provenance(device=device, dtype=params.dtype.name, seed=seed, **clamp_facts(params, values))
