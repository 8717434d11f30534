"""Checks of what users hand in: each names the argument, what was seen, and what to do."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatescope.cells.registry import Cell, get
from gatescope.checks.arrays import check_array, check_finite, check_saved, check_shape, rectangular
from gatescope.checks.dtypes import FLOATS
from gatescope.datatypes import Array, Batch, Params, Trace
from gatescope.datatypes.batch import if_batch_first
from gatescope.datatypes.stack import Stack
from gatescope.datatypes.training_run import TrainingRun
from gatescope.errors import DtypeError, ShapeError, ValueRangeError


def check_stack(stack: Any) -> Stack:
    """A model with a read-out; what is in it is not looked at."""
    if not isinstance(stack, Stack):
        fits = "a Stack, such as init_stack or train(...).params"
        if isinstance(stack, TrainingRun):
            fits = "one of its models: run.best or run.params"
        raise DtypeError(f"stack is a {type(stack).__name__}; give {fits}")
    return stack


def check_batch(batch: Any) -> Batch:
    """Data of a task; what is in it is not looked at."""
    if not isinstance(batch, Batch):
        fits = ", as the makers in gatescope.tasks do"
        if isinstance(batch, np.ndarray | list | tuple):
            fits = " of your arrays: gatescope.Batch(inputs=x, targets=y)"
        raise DtypeError(f"batch is a {type(batch).__name__}; give a Batch{fits}")
    return batch


def check_params(params: Any) -> Cell:
    """Weights that fit each other and their cell, finite, float32 or float64; returns the cell."""
    if not isinstance(params, Params):
        if isinstance(params, Stack | TrainingRun):
            name = "stack" if isinstance(params, Stack) else "run.best"
            raise DtypeError(f"params is a {type(params).__name__}; take one of its layers: {name}.layers[0]")
        raise DtypeError(
            f"params is a {type(params).__name__}, not gatescope.Params; make one with init or load_torch"
        )
    cell = get(params.cell)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = {name: check_saved(name, getattr(params, name)) for name in names}
    for name in ("weight_ih", "weight_hh"):
        if weights[name].ndim != 2:
            raise ShapeError(f"{name} has shape {weights[name].shape}, but should have two axes, (G*H, ...)")
    dtype = weights["weight_hh"].dtype
    for name, value in weights.items():
        if value.dtype not in FLOATS:
            raise DtypeError(f"{name} has dtype {value.dtype}; convert it to float32 or float64")
        if value.dtype != dtype:
            raise DtypeError(
                f"{name} has dtype {value.dtype}, but weight_hh has {dtype}; convert one of them"
            )
    gates, hidden, width = len(cell.gates), weights["weight_hh"].shape[1], weights["weight_ih"].shape[1]
    if hidden < 1 or width < 1:
        raise ShapeError(
            f"weight_ih {weights['weight_ih'].shape} and weight_hh {weights['weight_hh'].shape} "
            "need at least one column"
        )
    rows = gates * hidden
    check_shape(
        "weight_hh", weights["weight_hh"], (rows, hidden), f"(G*H, H) with G = {gates} for {cell.name!r}"
    )
    check_shape(
        "weight_ih", weights["weight_ih"], (rows, width), f"(G*H, I) with G = {gates} and H = {hidden}"
    )
    for name in ("bias_ih", "bias_hh"):
        check_shape(name, weights[name], (rows,), f"(G*H,) with G = {gates} and H = {hidden}")
    for name, value in weights.items():
        check_finite(name, value)
    return cell


def check_inputs(inputs: Any, params: Params) -> Array:
    """Inputs as (T, B, I) in the weights' dtype; (T, I) is one sequence."""
    if isinstance(inputs, Batch):
        raise DtypeError("inputs is a Batch; give its arrays: batch.inputs, and batch.lengths as the lengths")
    array = check_array("inputs", inputs, params.dtype)
    if array.ndim == 2:
        array = array[:, None, :]
    if array.ndim != 3:
        raise ShapeError(
            f"inputs has shape {np.shape(inputs)}, but should have (T, B, I), or (T, I) for one sequence"
        )
    if array.shape[2] != params.input_size:
        raise ShapeError(
            f"inputs has shape {np.shape(inputs)}, but its last axis should be input_size = {params.input_size}"
        )
    if array.shape[0] == 0 or array.shape[1] == 0:
        raise ShapeError(
            f"inputs has shape {np.shape(inputs)}; at least one step and one sequence are needed"
        )
    return array


def check_initial_state(initial_state: Any, cell: Cell, params: Params, batch: int) -> Array | None:
    """An initial state (B, S, H), or None for zeros."""
    if initial_state is None:
        return None
    array = check_array("initial_state", initial_state, params.dtype)
    shape = (batch, len(cell.states), params.hidden_size)
    check_shape("initial_state", array, shape, f"(B, S, H) with the states {', '.join(cell.states)}")
    return array


def check_lengths(lengths: Any, steps: int, batch: int, name: str = "lengths") -> Array:
    """Steps of each sequence, (B,) int64; None means all T."""
    if lengths is None:
        return np.full(batch, steps, np.int64)
    array = rectangular(name, lengths)
    if array.dtype.kind not in "iu":
        raise DtypeError(f"{name} has dtype {array.dtype}; give whole numbers of steps")
    hint = if_batch_first(len(array), steps, batch) if array.ndim == 1 else ""
    check_shape(name, array, (batch,), f"(B,){hint}")
    wrong = np.flatnonzero((array < 0) | (array > steps))
    if wrong.size:
        raise ValueRangeError(
            f"{name}[{wrong[0]}] is {array[wrong[0]]}, but should lie in 0..{steps}, the steps of inputs"
        )
    return array.astype(np.int64)


def check_trace(trace: Any, params: Params, cell: Cell) -> None:
    """A trace that these weights can have made."""
    if not isinstance(trace, Trace):
        raise ShapeError(f"trace is a {type(trace).__name__}, not gatescope.Trace; make one with run")
    if trace.cell != params.cell:
        raise ShapeError(
            f"trace was made by a {trace.cell!r} cell, but params are of a {params.cell!r}; run these params first"
        )
    for name in ("inputs", "states", "gates", "lengths"):
        check_saved(f"trace.{name}", getattr(trace, name))
    if trace.inputs.ndim != 3:
        raise ShapeError(f"trace.inputs has shape {trace.inputs.shape}, but should have (T, B, I)")
    steps, batch = trace.inputs.shape[:2]
    check_shape("trace.inputs", trace.inputs, (steps, batch, params.input_size), "(T, B, I) of these params")
    shape = (steps + 1, batch, len(cell.states), params.hidden_size)
    check_shape("trace.states", trace.states, shape, "(T+1, B, S, H) of these params")
    shape = (steps, batch, len(cell.saved), params.hidden_size)
    check_shape("trace.gates", trace.gates, shape, "(T, B, K, H) of these params")
    for name in ("inputs", "states", "gates"):
        if getattr(trace, name).dtype != params.dtype:
            raise DtypeError(
                f"trace.{name} has dtype {getattr(trace, name).dtype}, but params have {params.dtype}; "
                "run these params first"
            )
    check_lengths(trace.lengths, steps, batch, "trace.lengths")
