"""Tangents of one sequence, carried forward piece by piece and kept orthonormal."""

from __future__ import annotations

import numpy as np

from gatescope.cells.linear_cell import cell_of
from gatescope.datatypes import Array, Params
from gatescope.kernels.cpu import layout
from gatescope.kernels.cpu.aligned import aligned_empty, aligned_zeros
from gatescope.kernels.cpu.sweeps import CellPlan, by_phase
from gatescope.kernels.simd.orthogonal import LANES, TILE, scratch_size


class Tangents:
    """M tangents of one sequence in float64; a tangent is a direction (S, H) of the whole state.

    Parameters
    ----------
    plan : CellPlan
        Of the cell in float64.
    params : Params
        In float64.
    directions : (M, S, H)
        Where to start, orthonormal.
    """

    def __init__(self, plan: CellPlan, params: Params, directions: Array) -> None:
        self._plan = plan
        self.count, states, units = directions.shape
        first, second = by_phase(plan, params.weight_hh)
        adjoints = np.zeros((states + 1 + max(plan.cell.prepared // states, 1), states, LANES))
        adjoints[np.arange(states), np.arange(states)] = 1  # then zeros
        self._weights = (
            layout.forward_panel(first, plan.first, LANES),
            layout.forward_panel(second, plan.second, LANES) if plan.second else aligned_zeros(1, np.float64),
            np.ascontiguousarray(adjoints).reshape(-1),
        )
        self._shape = (states, units, plan.padded)
        width = states * plan.padded
        self.rows = aligned_zeros((3, self.count, width + LANES), np.float64)
        first_rows = self.rows[0, :, :width].reshape(self.count, states, plan.padded)
        first_rows[:, :, :units] = directions
        panel = units * plan.padded
        phases = plan.second > 0
        self._by_gates = by_gates = _is_less_by_gates(plan, self.count)

        def empty(size: int, needed: bool = True) -> Array:
            return aligned_zeros(size if needed else 1, np.float64)

        self._work = (
            empty(states * width),
            empty(width * plan.first),
            empty(plan.padded * (plan.first + states), phases),
            empty(states * panel, not by_gates),
            empty(width * plan.second, phases),
            empty((states + 1) * panel, phases and not by_gates),
            empty(self.count * plan.padded, phases),
            empty(self.count * plan.padded * plan.first, by_gates),
            empty(self.count * plan.padded * plan.second, by_gates and phases),
            empty(plan.padded * max(plan.first, plan.second), by_gates),
            aligned_empty(scratch_size(self.count, width), np.float64),
        )

    @property
    def directions(self) -> Array:
        """The tangents as they are, (M, S, H)."""
        states, units, padded = self._shape
        rows = self.rows[0, :, : states * padded].reshape(self.count, states, padded)
        return np.ascontiguousarray(rows[:, :, :units])

    @property
    def nbytes(self) -> int:
        """Memory of the tangents, the weights and the scratch."""
        return self.rows.nbytes + sum(array.nbytes for array in (*self._weights, *self._work))

    def forward(
        self, states: Array, gates: Array, sequence: int, every: int
    ) -> tuple[Array, float, float, int]:
        """Carry the tangents over a recorded piece, states (T+1, B, S, H) and gates (T, B, K, H).

        Returns the logs of R's diagonal, (ceil(T / every), M), the smallest sine of an angle between a tangent and the
        span of those before it, the sum of eps / sine (how much rounding may have put into any sum of logs), and how
        many intervals were repeated step by step, because a direction was lost in them.
        """
        from gatescope.kernels.cpu.loops.tangent import make_tangent

        plan = self._plan
        groups = next(g for g in (2, 1) if plan.vectors % g == 0)
        cell, gates = cell_of(plan.cell, gates)
        gate_tiles = None
        if self._by_gates:
            phases = plan.first, max(plan.second, 1)
            gate_tiles = tuple(_gate_tile(count, plan.vectors, self.count) for count in phases)
        kernel = make_tangent(cell, (TILE, groups), gate_tiles)
        steps = gates.shape[0]
        logs = np.empty((-(-steps // every) + 1, self.count))
        span = (sequence, 0, steps, self.count, every)
        sine, rounding, repeated = kernel(
            self._weights, states, gates, self.rows.reshape(-1), span, self._work, logs
        )
        return logs[:-1], float(sine), float(rounding), int(repeated)


def _is_less_by_gates(plan: CellPlan, count: int) -> bool:
    """Return whether so many tangents take fewer multiplications by each gate's weights than by each state's matrix.

    In multiples of a matrix of units: what it takes to make the matrices, and a tangent's products with them.  A
    tile of rows or more are left to the matrices, whose products write the new tangents where they belong.
    """
    gates, states = plan.first + plan.second, len(plan.cell.states)
    made, carried = states * gates, states
    if plan.second:
        made, carried = made + plan.first, 2 * states + 1
    return count < TILE and count * gates < made + count * carried


def _gate_tile(gates: int, vectors: int, count: int) -> tuple[int, int, int]:
    """Return rows, vectors and split of the products of `count` tangents with the weights of so many gates."""
    split = max(1, min(4, 8 // gates // 2 * 2))  # a tangent alone has too few sums to keep the units busy
    return layout.tile_for(gates, vectors, split, count, small=False, choice=(count,))
