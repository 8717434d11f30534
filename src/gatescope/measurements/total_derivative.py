"""Derivatives by one state that let the other states of its step follow, as automatic differentiation takes them.

The states of a cell are differentiated as independent: d/dc of an LSTM holds h fixed.  In a program that computes h_t
from c_t, a change of c_t changes h_t too.  The total derivative adds what reaches h_t, times d h_t / d c_t.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from gatescope.cells.linear_cell import linear_cell
from gatescope.cells.registry import Cell
from gatescope.datatypes import Array
from gatescope.measurements.step_jacobian import linear_of


def add_followers(cell: Cell, adjoints: Array, old: Array, new: Array, saved: Array) -> Array:
    """Return total adjoints (B, M, S, H) of the states `new` (B, S, H), of the adjoints that hold the others fixed.

    `saved` (B, K, H) is what the step from `old` to `new` saved, or its coefficients.
    """
    linear, pairs = linear_of(cell, old, new, saved), _followers(cell)
    total = adjoints.astype(np.float64)
    every = np.concatenate([linear.direct, linear.rh], axis=-2)  # (B, S, S + G, H)
    for state, follower in pairs:
        # Whatever moves a state moves its follower by so much of it: the largest derivative has the most digits.
        by = np.abs(every[:, state]).argmax(axis=1)[:, None]
        moved, following = (np.take_along_axis(every[:, s], by, axis=1)[:, 0] for s in (state, follower))
        factor = np.divide(following, moved, out=np.zeros_like(moved), where=moved != 0)
        total[:, :, state] += adjoints[:, :, follower] * factor[:, None]
    return total


@cache
def _followers(cell: Cell) -> tuple[tuple[int, int], ...]:
    """Return pairs of a state and one that is computed from it: all that moves the first moves the second, and more."""
    linear, states = linear_cell(cell), range(len(cell.states))
    if linear is None:
        return ()
    moved = [
        {(field, index[1]) for field, index in linear.entries if field in ("direct", "rh") and index[0] == s}
        for s in states
    ]
    return tuple((s, q) for s in states for q in states if moved[s] < moved[q])
