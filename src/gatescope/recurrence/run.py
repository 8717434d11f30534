"""Run a cell or a model over inputs and back-propagate through the run: the public functions."""

from __future__ import annotations

from typing import Any, TypedDict, Unpack, overload

from gatescope.checks.network import as_stack
from gatescope.checks.numbers import check_flag, check_unused
from gatescope.datatypes import Gradients, Params, Trace
from gatescope.datatypes.stack import Bidirectional, Stack
from gatescope.datatypes.stack_gradients import StackGradients
from gatescope.datatypes.stack_trace import StackTrace
from gatescope.errors import DtypeError
from gatescope.recurrence.cell_run import backprop_cell, run_cell
from gatescope.recurrence.closed_loop import run_closed
from gatescope.recurrence.stack_run import backprop_stack, run_stack


class _Computing(TypedDict, total=False):
    device: str | None
    threads: int | None
    fast_activations: bool


class _Running(_Computing, total=False):
    initial_state: Any
    lengths: Any
    clamp: Any


class _RunningStack(_Running, total=False):
    steps: int | None
    feedback: bool


class _Returning(_Computing, total=False):
    output_adjoint: Any
    final_adjoint: Any


@overload
def run(params: Params, inputs: Any, **options: Unpack[_Running]) -> Trace: ...


@overload
def run(
    params: Stack | Bidirectional, inputs: Any = None, **options: Unpack[_RunningStack]
) -> StackTrace: ...


def run(
    params: Params | Stack | Bidirectional,
    inputs: Any = None,
    *,
    steps: int | None = None,
    feedback: bool = False,
    initial_state: Any = None,
    lengths: Any = None,
    clamp: Any = None,
    device: str | None = None,
    threads: int | None = None,
    fast_activations: bool = False,
) -> Trace | StackTrace:
    """Run a cell, or a model of several layers, over inputs and save every state and every gate at every step.

    Parameters
    ----------
    params : Params, Stack or Bidirectional
        Float32 or float64; the kernels compute in that precision.  On the GPU after `to_device`.  Those of a backward
        direction (``params.reverse``) take each sequence from its last step to its first; the trace is in the order of
        the inputs, and ``trace.final_state`` the state after the first of them.
        Each layer of a `Stack` runs on the outputs of the one below, with its weights on the host, on either device.
    inputs : (T, B, I) or (T, I) array_like of real numbers
        Converted to the weights' dtype.  (T, I) is one sequence and comes back as B = 1.  An array that needs no
        conversion is not copied: the trace looks at it, so leave it as it is until `backprop` is done.  For the
        device ``"cuda"`` an array on the GPU (of PyTorch, CuPy..., by its ``__cuda_array_interface__``) is taken as
        it is: it must be C-contiguous and have the weights' dtype, and is not searched for NaN.
    steps : int, optional
        How many steps a closed loop takes after those of `inputs`.
    feedback : bool
        Close the loop of a `Stack` of forward layers with as many outputs as inputs: after `inputs`, which may be left
        out, each step's inputs are the outputs of the step before, of the first those that the initial state gives.
        They are fed back as they are, not through a softmax.  On the CPU.  `backprop` takes what was fed back as given.
    initial_state : (B, S, H) array_like, optional
        Default: zeros.  May be on the GPU, like `inputs`: ``trace.final_state`` of a trace that is there.
        Of a `Stack` a mapping by the names of layers, ``{"layers.0": (B, S, H), "layers.1.backward": ...}``, zeros for
        those left out; ``trace.final_state`` is such a mapping.
    lengths : (B,) array_like of int, optional
        Steps of each sequence, 0..T; default: T.  A padded sequence gets exactly what it gets alone; on the GPU to
        rounding, because the order of its sums depends on how many sequences there are.
    clamp : mapping, optional
        Gates to clamp at values, by name: ``{"f": 1.0}`` all units of the forget gate; ``{"f": [1.0, nan, ...]}`` H
        numbers, NaN where a unit is free; ``{"f": {0: 1.0, 3: 0.5}}`` some units.  Any gate that the trace holds and
        that has weights, at any value it can take.  What saturates it (0 and 1 of a sigmoid, -1 and 1 of a tanh) and
        its middle are met exactly, other values to rounding (with `fast_activations` to theirs).  The trace
        remembers the values, and `backprop` clamps the gates too: no gradient flows through them.
        Of a `Stack` by layer, ``{"layers.1.f": 1.0, "layers.0.backward.z": {2: 0.5}}``; the name of a gate alone stands
        for that gate of every layer that has it.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; default: where the weights are.  There is no silent change from one to the other.
    threads : int, optional
        On the CPU: at most this many threads; default: the cores this process may use.  Results do not depend on it.
    fast_activations : bool
        On the GPU in float32: use its approximate tanh, whose absolute error is about 5e-4 (2.5e-4 for the sigmoid
        made of it).  Steps get a little faster; gates are then right to three decimals only.

    Returns
    -------
    Trace or StackTrace
        In NumPy arrays if the weights are; with weights on the GPU its arrays stay there until ``to_host()``.  Of a
        `Stack` a `StackTrace`: a trace of each layer and direction by name, and the model's outputs.

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
    >>> stack = gs.init_stack(["lstm", "gru"], input_size=1, hidden_size=8, heads=[gs.Head("y", 2)], seed=0)
    >>> trace = gs.run(stack, np.ones((100, 3, 1)), clamp={"layers.0.f": 1.0})
    >>> trace.names, trace.outputs.shape, trace["layers.-1"].gate("z").shape
    (('layers.0', 'layers.1'), (100, 3, 2), (100, 3, 8))
    >>> generator = gs.init_stack("lstm", input_size=1, hidden_size=8, heads=[gs.Head("next", 1)], seed=0)
    >>> gs.run(generator, np.ones((20, 1)), steps=80, feedback=True).outputs.shape  # 20 steps of warm-up, then alone
    (100, 1, 1)
    """
    options: dict[str, Any] = {
        "initial_state": initial_state,
        "lengths": lengths,
        "clamp": clamp,
        "device": device,
        "threads": threads,
        "fast_activations": fast_activations,
    }
    if check_flag("feedback", feedback):
        if not isinstance(params, Stack | Bidirectional):
            raise DtypeError(
                argument="params",
                seen=type(params),
                advice="give a Stack, whose outputs are its next inputs: gatescope.Stack(layers=(params,))",
            )
        return run_closed(as_stack(params), inputs, steps, **options)
    check_unused("without `feedback` True", steps=steps)
    if isinstance(params, Stack | Bidirectional):
        return run_stack(as_stack(params), inputs, **options)
    return run_cell(params, inputs, **options)


@overload
def backprop(params: Params, trace: Trace, **options: Unpack[_Returning]) -> Gradients: ...


@overload
def backprop(
    params: Stack | Bidirectional, trace: StackTrace, **options: Unpack[_Returning]
) -> StackGradients: ...


def backprop(
    params: Params | Stack | Bidirectional,
    trace: Trace | StackTrace,
    *,
    output_adjoint: Any = None,
    final_adjoint: Any = None,
    device: str | None = None,
    threads: int | None = None,
    fast_activations: bool = False,
) -> Gradients | StackGradients:
    """Back-propagate exactly through a whole run: full BPTT, nothing truncated.

    For a loss L: gradients with respect to all weights, the inputs, the initial state, and the adjoint
    dL/ds_t of every state.  Gates that the run clamped (``run(..., clamp=...)``) are clamped here, too: their rows of
    the weights' gradients are 0, and the other gradients are those of the network with these gates clamped.

    Parameters
    ----------
    params : Params, Stack or Bidirectional
        Those that made the trace, as they were given to `run`, without its clamps.
    trace : Trace or StackTrace
        On the GPU if and only if the weights are.
    output_adjoint : (T, B, H) or, of a `Stack`, (T, B, O) array_like, optional
        dL/d output_t; default: zeros.  Values at steps past the end of a sequence are ignored.  May be on the GPU, as
        the inputs of `run`.
    final_adjoint : (B, S, H) array_like, optional
        dL/d final state; default: zeros.  May be on the GPU.  One of the two adjoints is needed.
        Of a `Stack` a mapping by the names of layers, as the initial state of `run`.
    device, threads : optional
        As for `run`.
    fast_activations : bool
        As for `run`; give it if the run had it.

    Returns
    -------
    Gradients or StackGradients
        In NumPy arrays if the weights are; with weights on the GPU its arrays stay there until ``to_host()``.
        Past the end of a sequence its adjoint is the final adjoint and its input gradient is 0; of a backward
        direction (``params.reverse``), whose states there are the initial one, its adjoint is that of this one.
        Of a `Stack` the gradients of every weight in the form of a `Stack`, and those of each layer and direction by
        name.

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
    options: dict[str, Any] = {
        "output_adjoint": output_adjoint,
        "final_adjoint": final_adjoint,
        "device": device,
        "threads": threads,
        "fast_activations": fast_activations,
    }
    if isinstance(params, Stack | Bidirectional):
        return backprop_stack(as_stack(params), trace, **options)
    return backprop_cell(params, trace, **options)
