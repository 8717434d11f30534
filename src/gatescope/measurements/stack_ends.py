"""What is differentiated in a stack and with respect to what: names of states, directions of one's own, read-outs."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from gatescope.cells.registry import get
from gatescope.checks.arrays import check_array
from gatescope.checks.numbers import check_choice, is_whole
from gatescope.datatypes import Array
from gatescope.datatypes.stack import Stack, output_size_of
from gatescope.datatypes.stack_names import params_of, select
from gatescope.errors import ShapeError, UnknownNameError, ValueRangeError
from gatescope.measurements.selection import combinations
from gatescope.measurements.stack_problem import StackProblem
from gatescope.recurrence.layers import split
from gatescope.reporting.text import counted

JOINT = "joint"
OWN = "direction"  # the norm of a flow whose direction is given
_READOUT = re.compile(r"readout\.(-?[0-9]{1,9})")


class End(NamedTuple):
    """Some of the states of a stack.

    Attributes
    ----------
    name : str
        What results call them.
    states : list of int
        Which of all states of all layers, counted from the lowest layer.
    """

    name: str
    states: list[int]


class Source(NamedTuple):
    """What is differentiated.

    Attributes
    ----------
    name : str
    norm : str
        What results say of the norm.
    directions : (B, M, N)
        Cotangents of the joint state.
    """

    name: str
    norm: str
    directions: Array


def end_of(problem: StackProblem, argument: str, name: Any) -> End:
    """Return the states that a name means: ``"layers.-1.h"``, or ``"joint"`` for all."""
    states = [
        (prefix, state)
        for prefix, params in problem.params.directions().items()
        for state in get(params.cell).states
    ]
    if isinstance(name, str) and name == JOINT:
        return End(JOINT, list(range(len(states))))
    stack, text = problem.params, name
    if problem.alone and isinstance(name, str):
        text = f"layers.0.{name}"
    selection = select(stack, argument, text)
    chosen = [(prefix, selection.name) for prefix in selection.prefixes]
    for (prefix, _), params in zip(chosen, params_of(stack, selection), strict=True):
        names = get(params.cell).states
        if selection.name not in names:
            choices = ", ".join(repr(state if problem.alone else f"{prefix}.{state}") for state in names)
            raise UnknownNameError(
                f"is not a state of {params.cell!r}",
                argument=argument,
                seen=name,
                advice=f"choose {choices} or {JOINT!r}",
            )
    prefix = selection.prefixes[0] if len(chosen) == 1 else f"layers.{selection.layer}"
    full = selection.name if problem.alone else f"{prefix}.{selection.name}"
    return End(full, [states.index(each) for each in chosen])


def source_of(problem: StackProblem, of: Any, norm: Any, unit: Any, norms: tuple[str, ...]) -> Source:
    """Return what `of` means: a state, ``"readout.k"``, or a direction (n,) or (B, n) of one's own."""
    check_choice("norm", norm, norms)
    shape = problem.batch, 1, problem.initial_state.shape[1]
    match = _READOUT.fullmatch(of) if isinstance(of, str) else None
    if match or not isinstance(of, str):
        _check_plain(norm, unit)
        name, vector = _logit(problem.params, match[1]) if match else _own(problem, of)
        return Source(name, OWN, np.ascontiguousarray(np.broadcast_to(vector[:, None], shape)))
    end = end_of(problem, "of", of)
    columns = columns_of(problem, end)
    chosen = combinations(columns.size, norms, norm, unit, problem.seed, "units")
    directions = np.zeros((len(chosen), shape[2]), problem.params.dtype)
    directions[:, columns] = chosen
    return Source(end.name, norm, np.broadcast_to(directions, (problem.batch, *directions.shape)))


def columns_of(problem: StackProblem, end: End) -> Array:
    """Return which numbers of the joint state (N,) some states are."""
    sizes = [units for states, units in problem.shapes for _ in range(states)]
    edges = np.cumsum([0, *sizes])
    return np.concatenate([np.arange(edges[state], edges[state + 1]) for state in end.states])


def _check_plain(norm: Any, unit: Any) -> None:
    """Refuse what chooses a direction where one is given."""
    if norm != "random":
        raise ValueRangeError(
            "has no effect where `of` is a direction", argument="norm", seen=norm, advice="leave it out"
        )
    if not (is_whole(unit) and unit == 0):
        raise ValueRangeError(
            "has no effect where `of` is a direction", argument="unit", seen=unit, advice="leave it out"
        )


def _logit(stack: Stack, number: str) -> tuple[str, Array]:
    """Return name and direction (1, N) of an output of the read-out."""
    weight = stack.readout_weight
    if weight is None:
        raise UnknownNameError(
            "names an output of a read-out, which this model has not",
            argument="of",
            seen=f"readout.{number}",
            advice="name a state, or give a direction over the outputs",
        )
    count, k = len(weight), int(number)
    if not -count <= k < count:
        raise UnknownNameError(
            f"names an output that is not among the {count} of the read-out",
            argument="of",
            seen=f"readout.{number}",
            advice=f"choose readout.0 to readout.{count - 1}",
        )
    return f"readout.{k % count}", _over_outputs(stack, weight[None, k])


def _own(problem: StackProblem, of: Any) -> tuple[str, Array]:
    """Return name and direction (1, N) or (B, N) of one that was given as numbers."""
    vector = check_array("of", of, problem.params.dtype)
    joint, units = problem.initial_state.shape[1], output_size_of(problem.params.layers[-1])
    if vector.ndim not in (1, 2) or vector.shape[-1] not in (units, joint):
        raise ShapeError(
            f"should have {units} numbers, a direction of the outputs, or {joint}, one of the joint state; or be as "
            "many for each sequence, (B, n)",
            argument="of",
            seen=vector.shape,
        )
    rows = vector.reshape(-1, vector.shape[-1])
    if vector.ndim == 2 and len(rows) != problem.batch:
        raise ShapeError(
            f"should be of {counted(problem.batch, 'sequence')}, (B, n), or of all, (n,)",
            argument="of",
            seen=vector.shape,
        )
    if vector.shape[-1] == units:
        return f"a direction of {_outputs_name(problem)}", _over_outputs(problem.params, rows)
    return "a direction of the joint state", rows


def _outputs_name(problem: StackProblem) -> str:
    name = get(problem.layers[-1].cell).states[0]
    return name if problem.alone else f"layers.{len(problem.params.layers) - 1}.{name}"


def _over_outputs(stack: Stack, rows: Array) -> Array:
    """Return directions (..., N) of the joint state that are `rows` (..., H) of the uppermost outputs."""
    uppermost = stack.prefixes(len(stack.layers) - 1).values()
    parts, parted = [], iter(split(stack.layers[-1], rows))
    for name, params in stack.directions().items():
        states = np.zeros((*rows.shape[:-1], len(get(params.cell).states), params.hidden_size), rows.dtype)
        if name in uppermost:
            states[..., 0, :] = next(parted)
        parts.append(states.reshape(*rows.shape[:-1], -1))
    return np.concatenate(parts, axis=-1)


def over_outputs(problem: StackProblem, rows: Array) -> Array:
    """Return directions (..., N) of the joint state that are `rows` (..., H) of the uppermost outputs."""
    return _over_outputs(problem.params, rows)
