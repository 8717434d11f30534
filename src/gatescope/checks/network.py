"""Checks of what users hand in: each names the argument, what was seen, and what to do."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from gatescope.batches import if_batch_first
from gatescope.cells.registry import Cell, get
from gatescope.datatypes import Array, Batch, Params, Trace
from gatescope.errors import DtypeError, ShapeError, ValueRangeError
from gatescope.measurements.training import TrainingRun
from gatescope.models import Stack

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))  # in the machine's byte order


def check_threads(threads: Any, default: int) -> int:
    """A number of threads; None means as many as this process may use cores."""
    if threads is None:
        return default
    if isinstance(threads, bool) or not isinstance(threads, int | np.integer) or threads < 1:
        raise ValueRangeError(
            f"threads={threads!r} must be a whole number of at least 1, or None for all cores"
        )
    return int(threads)


def check_count(name: str, value: Any, *, least: int = 1) -> int:
    """A whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueRangeError(f"{name}={value!r} must be a whole number of at least {least}")
    return int(value)


def check_number(name: str, value: Any, *, least: float) -> float:
    """A finite real number of at least `least`; True and False are none."""
    number = _finite_or_nan(value)
    if not number >= least:
        raise ValueRangeError(f"{name}={value!r} must be a finite number of at least {least}")
    return number


def check_above_zero(name: str, value: Any) -> float:
    """A finite real number above 0."""
    number = _finite_or_nan(value)
    if not number > 0:
        raise ValueRangeError(f"{name}={value!r} must be a finite number above 0")
    return number


def check_share(name: str, value: Any) -> float:
    """A number in [0, 1): what is kept or dropped of something, but never all of it."""
    number = _finite_or_nan(value)
    if not 0 <= number < 1:
        raise ValueRangeError(f"{name}={value!r} must lie in [0, 1)")
    return number


def check_finite_or_none(name: str, value: Any) -> float | None:
    """A finite real number, or None."""
    number = None if value is None else _finite_or_nan(value)
    if number is not None and math.isnan(number):
        raise ValueRangeError(f"{name}={value!r} must be a finite number, or None")
    return number


def _finite_or_nan(value: Any) -> float:
    """The value if it is a finite real number, else NaN."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond the greatest float
        return math.nan
    return number if math.isfinite(number) else math.nan


def check_flag(name: str, value: Any) -> bool:
    """True or False, and no number that stands for one."""
    if not isinstance(value, bool):
        raise ValueRangeError(f"{name}={value!r} must be True or False")
    return value


def check_call(name: str, function: Callable[..., Any], form: str, *arguments: Any, **keywords: Any) -> None:
    """That a function can be called with these arguments, which `form` shows; it is not called.

    Where its signature cannot be seen nothing is checked: the first call tells.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of functions that are written in C
        return
    try:
        signature.bind(*arguments, **keywords)
    except TypeError as error:
        raise DtypeError(
            f"{name} is a function that cannot be called with {form} ({error}); give one that can"
        ) from error


def keep(constants: Any, **values: Any) -> None:
    """Set fields of a frozen dataclass to what checks have made of them."""
    for name, value in values.items():
        object.__setattr__(constants, name, value)


def _rectangular(name: str, value: Any) -> Array:
    """`value` as an array of whatever dtype it has, without masked elements."""
    # np.asarray drops a mask, and with it what the user said of these elements.
    parts = value if isinstance(value, list | tuple) else (value,)
    masks = (np.ma.getmaskarray(part) for part in parts if isinstance(part, np.ma.MaskedArray))
    masked = sum(int(np.count_nonzero(mask)) for mask in masks)
    if masked:
        raise ValueRangeError(
            f"{name} has {masked} masked elements; fill them with .filled(value), "
            "or give shorter sequences with lengths"
        )
    try:
        return np.asarray(value)
    except ValueError as error:  # ragged nested lists
        raise ShapeError(
            f"{name} is not a rectangular array ({error}); give every row the same length"
        ) from error
    except (TypeError, RuntimeError) as error:  # of other libraries' arrays: on a GPU, or with gradients
        text = " ".join(str(error).split())
        raise DtypeError(
            f"{name} is a {type(value).__name__} that NumPy cannot read ({text}); give a list or a NumPy array"
        ) from error


def check_array(name: str, value: Any, dtype: np.dtype[Any], *, finite: bool = True) -> Array:
    """A C-contiguous array of `dtype` made from real numbers, all finite, none of them masked."""
    array = _rectangular(name, value)
    if array.dtype.kind not in "fiub":
        raise DtypeError(f"{name} has dtype {array.dtype}; give real numbers (they are converted to {dtype})")
    with np.errstate(over="ignore"):  # what overflows is reported below
        converted = np.ascontiguousarray(array, dtype=dtype)
    if converted.ndim != array.ndim:  # ascontiguousarray makes a scalar one-dimensional
        converted = converted.reshape(array.shape)
    if finite:
        check_finite(name, converted, array)
    return converted


def check_finite(name: str, array: Array, original: Array | None = None) -> None:
    """No NaN and no infinity; says where the first one is."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum()):  # no NaN and no infinity can be in it; one pass, nothing allocated
            return
    good = np.isfinite(array)
    if good.all():
        return
    at = tuple(int(i) for i in np.argwhere(~good)[0])
    seen = array[at] if original is None else original[at]
    advice = "remove or replace such values"
    if original is not None and np.isfinite(seen):
        advice = f"it is too large for {array.dtype}; scale it or use dtype='float64'"
    raise ValueRangeError(f"{name}{list(at)} is {seen}; {advice} (there are {int((~good).sum())} of them)")


def check_shape(name: str, array: Array, shape: tuple[int, ...], axes: str) -> None:
    """Exactly `shape`, whose axes are called `axes`."""
    if array.shape != shape:
        raise ShapeError(f"{name} has shape {array.shape}, but should have {shape}, which is {axes}")


def _check_kept(name: str, value: Any) -> Array:
    """An array that the kernels can read as it is; what results hold is never converted."""
    if not isinstance(value, np.ndarray):
        raise DtypeError(f"{name} is a {type(value).__name__}; convert it with numpy.asarray")
    if isinstance(value, np.ma.MaskedArray):
        raise DtypeError(f"{name} is a MaskedArray; convert it with .filled(value)")
    if not value.dtype.isnative:
        raise DtypeError(
            f"{name} has dtype {value.dtype}, whose byte order is not this machine's; "
            f"convert it with .astype({value.dtype.name!r})"
        )
    return value


def check_own_array(name: str, value: Any, axes: str) -> Array:
    """A NumPy array that is computed with as it is, of as many axes as `axes` names: "(T, B, I)"."""
    if not isinstance(value, np.ndarray):
        raise DtypeError(f"{name} is a {type(value).__name__}; give a NumPy array {axes}")
    if value.ndim != len(axes.strip("(,)").split(",")):
        raise ShapeError(f"{name} has shape {value.shape}, but should have {axes}")
    return value


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
    weights = {name: _check_kept(name, getattr(params, name)) for name in names}
    for name in ("weight_ih", "weight_hh"):
        if weights[name].ndim != 2:
            raise ShapeError(f"{name} has shape {weights[name].shape}, but should have two axes, (G*H, ...)")
    dtype = weights["weight_hh"].dtype
    for name, value in weights.items():
        if value.dtype not in DTYPES:
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
    array = _rectangular(name, lengths)
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
        _check_kept(f"trace.{name}", getattr(trace, name))
    if trace.inputs.ndim != 3:
        raise ShapeError(f"trace.inputs has shape {trace.inputs.shape}, but should have (T, B, I)")
    steps, batch = trace.inputs.shape[:2]
    check_shape("trace.inputs", trace.inputs, (steps, batch, params.input_size), "(T, B, I) of these params")
    shape = (steps + 1, batch, len(cell.states), params.hidden_size)
    check_shape("trace.states", trace.states, shape, "(T+1, B, S, H) of these params")
    shape = (steps, batch, len(cell.kept), params.hidden_size)
    check_shape("trace.gates", trace.gates, shape, "(T, B, K, H) of these params")
    for name in ("inputs", "states", "gates"):
        if getattr(trace, name).dtype != params.dtype:
            raise DtypeError(
                f"trace.{name} has dtype {getattr(trace, name).dtype}, but params have {params.dtype}; "
                "run these params first"
            )
    check_lengths(trace.lengths, steps, batch, "trace.lengths")
