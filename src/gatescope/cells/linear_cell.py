"""A cell whose saved values are the derivatives of its step: what carries adjoints and tangents where these are known.

`linearize` gives the derivatives of a step unit by unit.  A linear cell saves those that are not 0 by the cell's
equations, and its `step_vjp` multiplies an adjoint by them, so every kernel that takes a cell takes it.
"""

from __future__ import annotations

import hashlib
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


class Coefficients(np.ndarray):
    """Derivatives (T, B, C, H) of steps, in the place of the saved values that they are otherwise made of."""


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

    def rows(self, linear: Linear) -> Array:
        """Return the coefficients (..., C, H) of a linearization."""
        return np.stack([_row(linear, entry) for entry in self.entries], axis=-2)

    def linear(self, rows: Array) -> Linear:
        """Return the linearization that `rows` was given."""
        states, gates, first = len(self.cell.states), len(self.cell.gates), self.cell.prepared
        sizes: dict[str, tuple[int, ...]] = {
            "direct": (states, states),
            "rh": (states, gates),
            "wx": (states, gates),
            "operand_state": (),
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
    text = _text(cell, entries)
    scope: dict[str, Any] = {"zero": zero}
    exec(compile(text, f"<{cell.name} linearized>", "exec"), scope)
    first = {"prepare": absent, "operand": absent} if cell.prepared else {}
    if cell.prepared:
        first["prepare_vjp"] = register_jitable(scope["prepare_vjp"])
    linear = Cell(
        name=f"{cell.name} linearized",
        gates=cell.gates,
        states=cell.states,
        saved=tuple(f"{field}{list(index)}" for field, index in entries),
        step=absent,
        step_vjp=register_jitable(scope["step_vjp"]),
        **first,
        prepared=cell.prepared,
        shared=cell.shared,
        fingerprint=hashlib.sha256(text.encode()).hexdigest()[:16],
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


def _row(linear: Linear, entry: Entry) -> Array:
    field, index = entry
    row: Array = getattr(linear, field)[(..., *index, slice(None))]
    return row


def _text(cell: Cell, entries: tuple[Entry, ...]) -> str:
    """Return the source of the linear cell's functions: sums of adjoints times coefficients."""
    number = {entry: c for c, entry in enumerate(entries)}
    states, gates, first = range(len(cell.states)), len(cell.gates), cell.prepared
    of_inputs = "rh" if cell.shared else "wx"

    def total(terms: list[tuple[str, Entry]]) -> str:
        products = [f"{factor} * saved[{number[entry]}]" for factor, entry in terms if entry in number]
        return " + ".join(products) or "zero(adjoint[0])"

    def through(field: str, g: int) -> str:
        return total([(f"adjoint[{s}]", (field, (s, g))) for s in states])

    def tuple_of(parts: list[str]) -> str:
        return "(" + "".join(f"{part}, " for part in parts) + ")"

    back = tuple_of([total([(f"adjoint[{s}]", ("direct", (s, q))) for s in states]) for q in states])
    d_rh = tuple_of([through("rh", g) for g in range(first, gates)])
    d_wx = "d_rh" if cell.shared else tuple_of([through(of_inputs, g) for g in range(first, gates)])
    prepared = f", {tuple_of([through('rh', g) for g in range(first)])}" if first else ""
    text = (
        "def step_vjp(saved, states, new_states, adjoint):\n"
        f"    d_rh = {d_rh}\n"
        f"    return {d_wx}, d_rh, {back}{prepared}\n"
    )
    if first:

        def by_operand(field: str, p: int) -> str:
            entry = (field, (p,))
            more = f" + d_operand * saved[{number[entry]}]" if entry in number else ""
            return f"d_prepared[{p}]{more}"

        d_rh = tuple_of([by_operand("operand_rh", p) for p in range(first)])
        state = number.get(("operand_state", ()))
        back = "zero(d_operand)" if state is None else f"d_operand * saved[{state}]"
        text += (
            "def prepare_vjp(saved, states, d_operand, d_prepared):\n"
            f"    d_rh = {d_rh}\n"
            f"    return d_rh, d_rh, ({back},)\n"
        )
    return text
