"""A cell whose saved values are the derivatives of its step: what carries adjoints and tangents where these are known.

`linearize` gives the derivatives of a step unit by unit.  A linear cell saves those that are not 0 by the cell's
equations, and its `step_vjp` multiplies an adjoint by them, so every kernel that takes a cell takes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba.extending import register_jitable

from gatescope.cells.activations import zero
from gatescope.cells.linearization import Linear, linearize
from gatescope.cells.registry import Cell, absent
from gatescope.checks.arrays import Array

_SAMPLES = 16
_FIELDS = ("direct", "rh", "wx", "operand_state", "operand_rh", "operand_wx")
Entry = tuple[str, tuple[int, ...]]
Term = tuple[int, int | None]  # a factor, and the saved value it is multiplied by, if by any


class Coefficients(np.ndarray):
    """Derivatives (T, B, C, H) of steps, in the place of the saved values that they are otherwise made of."""


@dataclass(frozen=True)
class DeviceCoefficients:
    """`Coefficients` of steps on a device, where an array has no class of its own."""

    rows: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the rows, (T, B, C, H)."""
        return tuple(self.rows.shape)

    def __getitem__(self, steps: slice) -> DeviceCoefficients:
        return DeviceCoefficients(self.rows[steps])


@dataclass(frozen=True)
class LinearCell:
    """A cell of the derivatives of another.

    Attributes
    ----------
    cell : Cell
        Its saved values are the coefficients; it has no `step`.
    entries : tuple of (str, tuple of int)
        Which they are: a field of `Linear`, and an index into its axes between the leading ones and H.
    """

    cell: Cell
    entries: tuple[Entry, ...]

    def linear(self, rows: Array) -> Linear:
        """Return the linearization that coefficients (..., C, H) are of."""
        states, gates, first = len(self.cell.states), len(self.cell.gates), self.cell.prepared
        sizes: dict[str, tuple[int, ...]] = {
            "direct": (states, states),
            "rh": (states, gates),
            "wx": (states, gates),
            "operand_state": (states,),
            "operand_rh": (first,),
            "operand_wx": (first,),
        }
        arrays = {name: np.zeros((*rows.shape[:-2], *size, rows.shape[-1])) for name, size in sizes.items()}
        for c, (field, index) in enumerate(self.entries):
            at: tuple[Any, ...] = (..., *index, slice(None))
            arrays[field][at] = rows[..., c, :]
        arrays["operand_wx"] = arrays["operand_rh"]
        if self.cell.shared:
            arrays["wx"] = arrays["rh"]
        return Linear(**arrays)


@cache
def linear_cell(cell: Cell) -> LinearCell | None:
    """Return the linear cell of a cell; None if its first phase has other derivatives by inputs than by the state."""
    entries = _entries(cell)
    if entries is None:
        return None
    first: dict[str, Any] = {"prepare": absent, "operand": absent} if cell.prepared else {}
    linear = Cell(
        name=f"{cell.name} linearized",
        gates=cell.gates,
        states=cell.states,
        saved=tuple(f"{field}{list(index)}" for field, index in entries),
        step=absent,
        **_functions(cell, entries),
        **first,
        prepared=cell.prepared,
        shared=cell.shared,
        reads_others=any(field == "operand_state" and index[0] > 0 for field, index in entries),
        fingerprint=f"{cell.fingerprint}-linear",
    )
    return LinearCell(linear, entries)


def cell_of(cell: Cell, saved: Array) -> tuple[Cell, Array]:
    """Return the cell whose saved values these are, itself or its linear cell, and them as a plain array."""
    linear = linear_cell(cell) if isinstance(saved, Coefficients) else None
    return (cell, saved) if linear is None else (linear.cell, saved.view(np.ndarray))


def _entries(cell: Cell) -> tuple[Entry, ...] | None:
    """Return the derivatives that are not 0 whatever the values, found at random ones."""
    rng = np.random.default_rng(0)
    saved = rng.uniform(0.05, 0.95, (len(cell.saved), _SAMPLES))
    old, new = rng.uniform(0.05, 0.95, (2, len(cell.states), _SAMPLES))
    linear, entries = linearize(cell, saved, old, new), []
    first = slice(cell.prepared)
    if not (
        np.array_equal(linear.wx[:, first], linear.rh[:, first])
        and np.array_equal(linear.operand_wx, linear.operand_rh)
    ):
        return None
    for field in _FIELDS:
        if field == "operand_wx" or (field == "wx" and cell.shared):
            continue
        values = getattr(linear, field)
        entries += [(field, index) for index in np.ndindex(values.shape[:-1]) if values[index].any()]
    return tuple(entries)


def _functions(cell: Cell, entries: tuple[Entry, ...]) -> dict[str, Any]:
    """Return the linear cell's functions, which add up adjoints times coefficients."""
    number = {entry: c for c, entry in enumerate(entries)}
    states, gates, first = range(len(cell.states)), len(cell.gates), cell.prepared
    SHARED, PHASES = cell.shared, first > 0

    def through(field: str, indices: Sequence[int]) -> Any:
        of_states = [[(s, number.get((field, (s, i)))) for s in states] for i in indices]
        return _sums([[term for term in terms if term[1] is not None] for terms in of_states])

    back, by_rh, by_wx = through("direct", states), through("rh", range(first, gates)), absent
    if not SHARED:
        by_wx = through("wx", range(first, gates))
    prepared = through("rh", range(first)) if PHASES else absent

    @register_jitable
    def step_vjp(saved: Any, states: Any, new_states: Any, adjoint: Any) -> Any:
        d_rh = by_rh(adjoint, saved)
        d_wx = d_rh if SHARED else by_wx(adjoint, saved)
        if PHASES:
            return d_wx, d_rh, back(adjoint, saved), prepared(adjoint, saved)
        return d_wx, d_rh, back(adjoint, saved)

    if not PHASES:
        return {"step_vjp": step_vjp}

    def from_operand(field: str, index: tuple[int, ...]) -> list[Term]:
        return [(0, number[field, index])] if (field, index) in number else []

    by_state = _sums([from_operand("operand_state", (s,)) for s in states])
    by_first = _sums([[(1 + p, None), *from_operand("operand_rh", (p,))] for p in range(first)])

    @register_jitable
    def prepare_vjp(saved: Any, states: Any, d_operand: Any, d_prepared: Any) -> Any:
        d_rh = by_first((d_operand, *d_prepared), saved)
        return d_rh, d_rh, by_state((d_operand,), saved)

    return {"step_vjp": step_vjp, "prepare_vjp": prepare_vjp}


def _sums(rows: Sequence[Sequence[Term]]) -> Any:
    """Return a function of (factors, saved) that returns a tuple: of each row the sum of its products.

    Numba unrolls no loop over a tuple into a tuple, so functions are put together here.
    """
    first = _sum(rows[0])
    if len(rows) == 1:
        return register_jitable(lambda factors, saved: (first(factors, saved),))
    others = _sums(rows[1:])
    return register_jitable(lambda factors, saved: (first(factors, saved), *others(factors, saved)))


def _sum(terms: Sequence[Term]) -> Any:
    """Return a function of (factors, saved) that adds up products, in order."""
    if not terms:
        return register_jitable(lambda factors, saved: zero(factors[0]))
    f, c = terms[-1]
    last = register_jitable(
        (lambda factors, saved: factors[f]) if c is None else (lambda factors, saved: factors[f] * saved[c])
    )
    if len(terms) == 1:
        return last
    before = _sum(terms[:-1])
    return register_jitable(lambda factors, saved: before(factors, saved) + last(factors, saved))
