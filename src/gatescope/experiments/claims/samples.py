"""What the exact rows have in common: cells and inputs to try, and how far two results are apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from gatescope.cells.linearization import Linear, linearize
from gatescope.cells.registry import get
from gatescope.datatypes import Array, Params, Trace
from gatescope.experiments.claims.statement import Scale
from gatescope.recurrence.initialization import init
from gatescope.recurrence.run import run

GRUS = ("gru", "gru_reset_before")


def make(cell: str, scale: Scale) -> Params:
    """Return a cell with PyTorch's initial weights."""
    return init(cell, input_size=scale.inputs, hidden_size=scale.units, seed=0, dtype="float64")


def noise(scale: Scale, seed: int = 1) -> Array:
    """Return inputs (T, B, I), standard normal."""
    return np.random.default_rng(seed).standard_normal((scale.steps, scale.sequences, scale.inputs))


def some_state(cell: str, scale: Scale, seed: int = 2) -> Array:
    """Return an initial state (B, S, H) that is not 0, uniform in (-1, 1)."""
    shape = (scale.sequences, len(get(cell).states), scale.units)
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def roundings(value: Any, other: Any) -> float:
    """Return the largest difference of two arrays in roundings of the largest value; infinite if one is not finite.

    Examples
    --------
    >>> from gatescope.experiments.claims.samples import roundings
    >>> roundings([1.0, 2.0], [1.0, 2.0]), roundings([0.0, 1.0], [2**-52, 1.0])
    (0.0, 1.0)
    """
    one, two = np.asarray(value, np.float64), np.asarray(other, np.float64)
    largest = max(np.abs(one).max(), np.abs(two).max())
    if not np.isfinite(largest):
        return float("inf")
    return float(np.abs(one - two).max() / (np.finfo(np.float64).eps * largest)) if largest else 0.0


def run_all(params: Params, inputs: Array, **options: Any) -> Trace:
    """Run all steps of inputs, (T, B, I) however short they are."""
    return run(params, inputs, lengths=np.full(inputs.shape[1], len(inputs)), **options)


def linear(params: Params, trace: Trace) -> Linear:
    """Return every step of a run as a linear map, unit by unit."""
    return linearize(get(params.cell), trace.gates, trace.states[:-1], trace.states[1:])


def moved(inputs: Array, step: int) -> Array:
    """Return inputs that are other ones at one step."""
    other = inputs.copy()
    other[step] += 1.0
    return other


def effect_of_the_past(params: Params, inputs: Array, *, step: int, of: str, **options: Any) -> float:
    """Return how far a state or gate is from itself, in roundings, where the inputs of the step before are others."""
    one, two = (run_all(params, x, **options) for x in (inputs, moved(inputs, step - 1)))
    if of in one.state_names:
        return roundings(one.state(of)[step + 1], two.state(of)[step + 1])
    return roundings(one.gate(of)[step], two.gate(of)[step])


def without_recurrence(params: Params) -> Params:
    """Return a cell whose recurrent weights are 0."""
    return dataclasses.replace(params, weight_hh=np.zeros_like(params.weight_hh))


def step_by_step(params: Params, inputs: Array, fed_back: Callable[[Array, Array], Array]) -> Array:
    """Return the states (T+1, B, S, H) of a cell of one phase whose equations NumPy runs, one step after another.

    ``fed_back(rh, h)`` changes the recurrent parts of the gates (G, B, H), of the state h (B, H) before.
    """
    cell = get(params.cell)
    gates, units = len(cell.gates), params.hidden_size
    state = np.zeros((len(cell.states), inputs.shape[1], units))
    states = [state]
    for x in inputs:
        wx = _by_gate(x @ params.weight_ih.T + params.bias_ih, gates, units)
        rh = fed_back(_by_gate(state[0] @ params.weight_hh.T + params.bias_hh, gates, units), state[0])
        new, _ = cell.step(tuple(wx), tuple(rh), tuple(state))
        state = np.array(new)
        states.append(state)
    return np.array(states).swapaxes(1, 2)


def _by_gate(rows: Array, gates: int, units: int) -> Array:
    return np.moveaxis(rows.reshape(len(rows), gates, units), 1, 0)
