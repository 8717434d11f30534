"""Checks of networks and their data: Params, inputs, states, lengths, Trace, Stack, Batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from gatescope.cells.registry import Cell, get
from gatescope.checks.arrays import (
    check_array,
    check_finite,
    check_saved,
    check_shape,
    dtype_of,
    on_device,
    rectangular,
)
from gatescope.checks.dtypes import FLOATS
from gatescope.checks.numbers import check_flag, check_type
from gatescope.datatypes import Array, Batch, CapturedNetwork, Params, Trace
from gatescope.datatypes.batch import batch_first_question, if_batch_first
from gatescope.datatypes.params import WEIGHT_NAMES
from gatescope.datatypes.stack import Bidirectional, Stack
from gatescope.datatypes.training_run import TrainingRun
from gatescope.errors import DeviceError, DtypeError, GatescopeError, ShapeError, ValueRangeError, warn_input


def _model_of(value: Any) -> str:
    """Return how the model in a value is given, or nothing where it holds none."""
    if isinstance(value, TrainingRun):
        return "give one of its models: run.best or run.model"
    if isinstance(value, CapturedNetwork):
        return "give its model and what it received: one.model, **one.arguments"
    return ""


def check_stack(stack: Any, name: str = "stack") -> Stack:
    """Return a model; the kinds and shapes of its arrays are looked at, not their numbers."""
    if not isinstance(stack, Stack):
        advice = _model_of(stack) or "give a Stack, such as init_stack or train(...).model"
        raise DtypeError(argument=name, seen=type(stack), advice=advice)
    if not stack.on_device:
        stack.check_fields(name)
    return stack


def as_stack(model: Stack | Bidirectional) -> Stack:
    """Return a model of one or more layers, its read-out checked; a layer of two directions is one."""
    stack = check_stack(Stack(layers=(model,)) if isinstance(model, Bidirectional) else model, "params")
    for name in ("readout_weight", "readout_bias"):
        value = getattr(stack, name)
        if isinstance(value, np.ndarray):
            check_finite(f"params.{name}", value)
    return stack


def check_trainable(stack: Any, name: str = "stack") -> Stack:
    """Return a model that training takes, with a read-out and its heads; its inputs are (T, B, I)."""
    model = check_stack(stack, name)
    if model.readout_weight is None:
        raise ValueRangeError("has no read-out", argument=name, advice="make a model with init_stack")
    if not model.heads:
        raise ValueRangeError(
            "does not say how its outputs are judged",
            argument=name,
            advice="add heads: dataclasses.replace(model, heads=[Head('y', 1)])",
        )
    batch_first = next(iter(model.directions().values())).batch_first  # of layers above it is False
    if batch_first is not False:
        raise ValueRangeError(
            "must be False: models that are trained here take (T, B, I)",
            argument="layers[0].batch_first",
            seen=batch_first,
            advice="read the weights with batch_first=False",
        )
    return model


def check_batch(batch: Any, name: str = "batch") -> Batch:
    """Return data of a task; its values are not looked at."""
    if not isinstance(batch, Batch):
        advice = "give a Batch, as the makers in gatescope.tasks do"
        if isinstance(batch, np.ndarray | list | tuple):
            advice = "give a Batch of your arrays: gatescope.Batch(inputs=x, targets=y)"
        raise DtypeError(argument=name, seen=type(batch), advice=advice)
    return batch


def check_params(params: Any, *, any_device: bool = False) -> Cell:
    """Check that weights fit each other and their cell, are finite, and float32 or float64; return the cell.

    Weights on a device are refused, unless `any_device`; then they are not searched for NaN.
    """
    if not isinstance(params, Params):
        advice = _model_of(params) or "give gatescope.Params; make them with init or load_weights"
        if isinstance(params, Stack):
            advice = "take one of its layers: stack.layers[0]"
        elif isinstance(params, Bidirectional):
            advice = "take one of its directions: layer.forward or layer.backward"
        raise DtypeError(argument="params", seen=type(params), advice=advice)
    cell = get(params.cell)
    check_flag("params.reverse", params.reverse)
    if params.batch_first is not None:
        check_flag("params.batch_first", params.batch_first)
    check_type("params.provenance", params.provenance, Mapping, advice="give a dict")
    weights = {name: check_saved(name, getattr(params, name)) for name in WEIGHT_NAMES}
    _check_one_device(weights, any_device)
    for name in ("weight_ih", "weight_hh"):
        shape = tuple(weights[name].shape)
        if len(shape) != 2 or shape[1] < 1:
            raise ShapeError(
                "should have two axes, (G*H, ...), and at least one column", argument=name, seen=shape
            )
    dtype = dtype_of(weights["weight_hh"])  # the others are measured by it
    if dtype not in FLOATS:
        raise DtypeError(argument="weight_hh", seen=dtype, advice="convert it to float32 or float64")
    for name, value in weights.items():
        if dtype_of(value) != dtype:
            raise DtypeError(
                f", but `weight_hh` has {dtype}",
                argument=name,
                seen=dtype_of(value),
                advice="convert one of them",
            )
    gates, hidden, width = len(cell.gates), weights["weight_hh"].shape[1], weights["weight_ih"].shape[1]
    rows = gates * hidden
    of_cell = f"with G = {gates} for {cell.name!r}"
    check_shape("weight_hh", weights["weight_hh"], (rows, hidden), f"(G*H, H) {of_cell}")
    check_shape("weight_ih", weights["weight_ih"], (rows, width), f"(G*H, I) {of_cell} and H = {hidden}")
    for name in ("bias_ih", "bias_hh"):
        check_shape(name, weights[name], (rows,), f"(G*H,) {of_cell} and H = {hidden}")
    for name, value in weights.items():
        if not on_device(value):
            check_finite(name, value)
            if cell.weights:
                _check_lacking(cell, name, value)
    return cell


def _check_lacking(cell: Cell, name: str, value: Array) -> None:
    """Refuse numbers in the rows of a gate that has no such weights."""
    for gate, lacks, rows in zip(cell.gates, cell.lacks(name), np.split(value, len(cell.gates)), strict=True):
        if lacks and rows.any():
            raise ValueRangeError(
                f"has numbers other than 0 in the rows of {gate!r}, and that gate of {cell.name!r} has no such weights",
                argument=name,
                advice=f"set them to 0: params.gate({gate!r})[{name!r}][:] = 0",
            )


def check_directions(stack: Stack, *, any_device: bool = False) -> dict[str, Cell]:
    """Check the weights of every layer and direction of a model as `check_params` does; return their cells by name.

    Where there are several, an error says which one it is about.
    """
    weights, cells = stack.directions(), {}
    for name, params in weights.items():
        with of_layer(name) if len(weights) > 1 else nullcontext():
            cells[name] = check_params(params, any_device=any_device)
    return cells


@contextmanager
def of_layer(name: str) -> Iterator[None]:
    """Say in an error of which layer and direction it is."""
    try:
        yield
    except GatescopeError as error:
        raise error.located(f"in {name}") from error


def _check_one_device(weights: dict[str, Array], any_device: bool) -> None:
    """Refuse weights of which only some are on the device, or all, unless `any_device`."""
    moved = [name for name, value in weights.items() if on_device(value)]
    if moved and not any_device:
        raise DeviceError("are on the GPU", argument="params", advice="give params.to_host()")
    if moved and len(moved) < len(weights):
        missing = next(name for name in weights if name not in moved)
        raise DeviceError(
            f"is not on the GPU, but {moved[0]} is",
            argument=missing,
            advice="give Params whose arrays are all NumPy's to gatescope.to_device",
        )


def check_inputs(inputs: Any, params: Params) -> Array:
    """Return inputs as (T, B, I) in the weights' dtype; (T, I) is one sequence."""
    if isinstance(inputs, Batch):
        raise DtypeError(
            argument="inputs",
            seen=type(inputs),
            advice="give its arrays: batch.inputs, and batch.lengths as the lengths",
        )
    if hasattr(inputs, "batch_sizes") and hasattr(
        inputs, "sorted_indices"
    ):  # PyTorch's, which is not imported here
        raise DtypeError(
            argument="inputs",
            seen=type(inputs),
            advice="give the two that torch.nn.utils.rnn.pad_packed_sequence(inputs) returns, the padded inputs and "
            "their `lengths`",
        )
    array = check_array("inputs", time_major(rectangular("inputs", inputs), params), params.dtype)
    if check_input_axes("inputs", array, params.input_size)[0] == 0:
        raise _no_steps("inputs", array)
    return array if array.ndim == 3 else array[:, None, :]


def time_major(inputs: Any, params: Params) -> Any:
    """Return an array of inputs with time first; ask where the weights' module had it second, and nobody said.

    Inputs of two axes are one sequence, (T, I), whatever the module takes.
    """
    if params.batch_first is False or inputs.ndim != 3:
        return inputs
    if params.batch_first is None:
        raise ShapeError(
            "the module that the weights come from had batch_first=True",
            argument="inputs",
            seen=tuple(inputs.shape),
            advice="give inputs.swapaxes(0, 1) with load_weights(..., batch_first=False), or load_weights(..., "
            "batch_first=True) to give (B, T, I)",
        )
    return inputs.swapaxes(0, 1)


def warn_if_batch_first(name: str, steps: int, batch: int, lengths: Any) -> None:
    """Ask whether inputs of fewer steps than sequences are (B, T, I); `lengths` say that they are not."""
    if lengths is None and steps < batch:
        warn_input(batch_first_question(name, steps, batch))


def check_input_axes(name: str, array: Any, input_size: int) -> tuple[int, int, int]:
    """Return T, B and I of an array (T, B, I), or (T, I) for one sequence; T may be 0."""
    shape = tuple(array.shape)
    if len(shape) not in (2, 3):
        raise ShapeError("should have (T, B, I), or (T, I) for one sequence", argument=name, seen=shape)
    if shape[-1] != input_size:
        raise ShapeError(f"its last axis should be input_size = {input_size}", argument=name, seen=shape)
    batch = shape[1] if len(shape) == 3 else 1
    if batch == 0:
        raise _no_steps(name, array)
    return shape[0], batch, input_size


def _no_steps(name: str, array: Any) -> ShapeError:
    return ShapeError("at least one step and one sequence are needed", argument=name, seen=tuple(array.shape))


def check_initial_state(
    initial_state: Any, cell: Cell, params: Params, batch: int, name: str = "initial_state"
) -> Array | None:
    """Return an initial state (B, S, H), or None for zeros."""
    if initial_state is None:
        return None
    array = check_array(name, initial_state, params.dtype)
    shape = (batch, len(cell.states), params.hidden_size)
    check_shape(name, array, shape, f"(B, S, H) with the states {', '.join(cell.states)}")
    return array


def check_lengths(lengths: Any, steps: int, batch: int, name: str = "lengths") -> Array:
    """Return the steps of each sequence, (B,) int64, each in 0..T; None means T for all."""
    if lengths is None:
        return np.full(batch, steps, np.int64)
    array = rectangular(name, lengths)
    if array.dtype.kind not in "iu":
        raise DtypeError(argument=name, seen=array.dtype, advice="give whole numbers of steps")
    hint = if_batch_first(len(array), steps, batch) if array.ndim == 1 else ""
    check_shape(name, array, (batch,), f"(B,){hint}")
    wrong = np.flatnonzero((array < 0) | (array > steps))
    if wrong.size:
        raise ValueRangeError(
            f"is {array[wrong[0]]}, but should lie in 0..{steps}, the steps of `inputs`",
            argument=f"{name}[{wrong[0]}]",
        )
    return array.astype(np.int64)


def check_trace(trace: Any, params: Params, cell: Cell) -> None:
    """Check that these weights can have made a trace, and that both are on the same device."""
    check_type("trace", trace, Trace, advice="give a Trace, as gatescope.run returns it")
    if trace.cell != params.cell:
        raise ShapeError(
            f"was made by a {trace.cell!r} cell, but `params` are of a {params.cell!r}",
            argument="trace",
            advice="run these params first",
        )
    if trace.reverse != params.reverse:
        raise ValueRangeError(
            f"was made with reverse={trace.reverse}, but `params` have reverse={params.reverse}",
            argument="trace",
            advice="run these params first",
        )
    arrays = {name: getattr(trace, name) for name in ("inputs", "states", "gates", "lengths")}
    if {on_device(array) for array in arrays.values()} != {params.on_device}:
        raise DeviceError(
            f"is {'not ' if params.on_device else ''}on the GPU, but `params` are{'' if params.on_device else ' not'}",
            argument="trace",
            advice="make both with to_device(params) and run, or take to_host() of the one that is there",
        )
    for name, array in arrays.items():
        check_saved(f"trace.{name}", array)
    if trace.inputs.ndim != 3:
        raise ShapeError("should have (T, B, I)", argument="trace.inputs", seen=tuple(trace.inputs.shape))
    steps, batch = trace.inputs.shape[:2]
    units = params.hidden_size
    # A GPU holds no empty arrays: the saved values of a cell that saves none are one row there.
    saved = max(1, len(cell.saved)) if params.on_device else len(cell.saved)
    for name, shape, axes in (
        ("inputs", (steps, batch, params.input_size), "(T, B, I)"),
        ("states", (steps + 1, batch, len(cell.states), units), "(T+1, B, S, H)"),
        ("gates", (steps, batch, saved, units), "(T, B, K, H)"),
    ):
        check_shape(f"trace.{name}", arrays[name], shape, f"{axes} of these params")
        if dtype_of(arrays[name]) != params.dtype:
            raise DtypeError(
                f", but `params` have {params.dtype}",
                argument=f"trace.{name}",
                seen=dtype_of(arrays[name]),
                advice="run these params first",
            )
    if not params.on_device:
        check_lengths(trace.lengths, steps, batch, "trace.lengths")
