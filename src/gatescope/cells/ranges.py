"""The ranges of a cell's saved values, from 0 to 1 or from -1 to 1, found by running its equations."""

from __future__ import annotations

from functools import cache

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.checks.arrays import Array

Arrays = tuple[Array, ...]
_KNOWN = ((0.0, 1.0), (-1.0, 1.0))  # of a sigmoid, and of a tanh
_POINTS = 2000
_NEAR = 1e-3  # how near to its ends a value has to come to count as going there
_BEYOND = 1e-9  # by rounding alone
_STEPS = 8


@cache
def gate_ranges(cell: Cell) -> tuple[tuple[float, float] | None, ...]:
    """Return what each saved value of a cell can be, as its equations have it: nothing goes by the names of gates.

    The equations are run at pre-activations and states of all sizes, of both signs: a sigmoid comes near to 0 and
    to 1 there and never goes beyond, whatever it is called.

    For each of ``cell.saved`` that is ``(0.0, 1.0)``, ``(-1.0, 1.0)``, or None if it is neither.
    """
    rng = np.random.default_rng(0)
    wx, rh = (tuple(_all_sizes(rng) for _ in cell.gates) for _ in range(2))
    states = tuple(_all_sizes(rng) for _ in cell.states)
    with np.errstate(all="ignore"):
        _, saved = evaluate(cell, wx, rh, states)
    return tuple(_range(np.asarray(values)) for values in saved)


@cache
def output_is_bounded(cell: Cell) -> bool:
    """Return whether the first state stays within -1..1 from a state of zeros on: that of a relu or a sum does not."""
    rng = np.random.default_rng(0)
    states: Arrays = (np.zeros(_POINTS),) * len(cell.states)
    for _ in range(_STEPS):
        wx, rh = (tuple(_all_sizes(rng) for _ in cell.gates) for _ in range(2))
        with np.errstate(all="ignore"):
            states, _ = evaluate(cell, wx, rh, states)
        if not np.abs(states[0]).max() <= 1 + _BEYOND:  # or NaN
            return False
    return True


def evaluate(cell: Cell, wx: Arrays, rh: Arrays, states: Arrays) -> tuple[Arrays, Arrays]:
    """Return new states and saved values of one step, from the parts of all gates, those of a first phase included."""
    edge = cell.prepared
    prepared = (cell.prepare(wx[:edge], rh[:edge], states),) if cell.prepare else ()
    new_states, saved = cell.step(wx[edge:], rh[edge:], states, *prepared)
    return new_states, saved


def _all_sizes(rng: np.random.Generator) -> Array:
    return rng.choice([-1.0, 1.0], _POINTS) * 10 ** rng.uniform(-2, 4, _POINTS)


def _range(values: Array) -> tuple[float, float] | None:
    lowest, highest = float(values.min()), float(values.max())
    for low, high in _KNOWN:  # NaN is near nothing
        if low - _BEYOND <= lowest < low + _NEAR and high - _NEAR < highest <= high + _BEYOND:
            return low, high
    return None
