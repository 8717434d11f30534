"""Memory layouts of the weights, and the shapes of the kernels' register tiles.

Hidden units are padded to whole vectors with zeros.  A *panel* holds, for one group of units, every k in a row, and for
every k the group's vectors one after another: what a tile of `product` reads in order.

    forward panel    [units / lanes][k][gate][lane]         k: hidden units (or inputs)
    adjoint panel    [columns / lanes][k][lane]             k: (units / lanes, gate, lane); columns: units or inputs
    gradient rows    [r][units / lanes][gate][lane]         the forward panel's gradient, r: hidden units (or inputs)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from gatescope.datatypes import Array
from gatescope.kernels.cpu.aligned import aligned_empty
from gatescope.kernels.simd.product import sets_at_once
from gatescope.kernels.simd.vector import host_lanes, host_registers

# Up to this many inputs, a scalar product each is cheaper than a vector that is mostly padding.
FEW_INPUTS = 4


def vectors_for(size: int, lanes: int) -> int:
    """Return how many vectors `size` units take."""
    return -(-size // lanes)


def _padded(array: Array, axis: int, size: int) -> Array:
    out = np.zeros((*array.shape[:axis], size, *array.shape[axis + 1 :]), array.dtype)
    out[(*(slice(None),) * axis, slice(array.shape[axis]))] = array
    return out


def _copy(array: Array) -> Array:
    out = aligned_empty(array.size, array.dtype)
    out[:] = array.reshape(-1)
    return out


def forward_panel(weight: Array, gates: int, lanes: int) -> Array:
    """Return (G*H, K) weights as a flat forward panel."""
    units = weight.shape[0] // gates
    vectors = vectors_for(units, lanes)
    blocks = _padded(weight.reshape(gates, units, -1), 1, vectors * lanes)
    return _copy(blocks.reshape(gates, vectors, lanes, -1).transpose(1, 3, 0, 2))


def bias_panel(bias: Array, gates: int, lanes: int) -> Array:
    """Return (G*H,) biases in the order of one row of pre-activations: [units / lanes][gate][lane]."""
    return forward_panel(bias[:, None], gates, lanes)


def adjoint_panel(weight: Array, gates: int, lanes: int) -> Array:
    """Return (G*H, N) weights as a flat adjoint panel, which carries adjoints of pre-activations to N columns."""
    units, columns = weight.shape[0] // gates, weight.shape[1]
    vectors, wide = vectors_for(units, lanes), vectors_for(columns, lanes)
    blocks = _padded(_padded(weight.reshape(gates, units, columns), 1, vectors * lanes), 2, wide * lanes)
    return _copy(blocks.reshape(gates, vectors, lanes, wide, lanes).transpose(3, 1, 0, 2, 4))


def dot_rows(weight: Array, gates: int, lanes: int) -> Array:
    """Return (G*H, N) weights as N flat rows in the order of one row of pre-activations, for few columns."""
    return _copy(
        forward_panel(weight, gates, lanes).reshape(-1, weight.shape[1], gates, lanes).transpose(1, 0, 2, 3)
    )


def input_weights(weight: Array, gates: int, lanes: int) -> Array:
    """Return (G*H, I) input weights for the backward sweep: dot rows for few inputs, else an adjoint panel."""
    return (dot_rows if weight.shape[1] <= FEW_INPUTS else adjoint_panel)(weight, gates, lanes)


def unpack_gradient(rows: Array, units: int) -> Array:
    """Return gradient rows (R, vectors, G, lanes) as (G*H, R)."""
    count, vectors, gates, lanes = rows.shape
    full = rows.transpose(2, 1, 3, 0).reshape(gates, vectors * lanes, count)
    return np.ascontiguousarray(full[:, :units].reshape(gates * units, count))


@dataclass(frozen=True)
class Tiles:
    """Register tiles (rows, vectors, split) of the kernels' products; integers that a kernel is compiled for.

    `split` decides the order of additions, so it depends on the cell and its size alone, never on the batch.
    """

    forward: tuple[int, int, int]
    adjoint: tuple[int, int, int]
    gradient: tuple[int, int, int]


# Of a product that there is not.
NONE = Tiles(forward=(1, 1, 1), adjoint=(1, 1, 1), gradient=(1, 1, 1))

# Vectors of weights to a row of accumulators; more leave too few registers for rows.
_WIDEST = 4


@cache
def tiles_for(gates: int, hidden_size: int, lanes: int, rows: int) -> Tiles:
    """Return the tiles for products with `gates` vectors a group, `hidden_size` units and `rows` rows (sequences).

    Small layers (up to four vectors of units) have chains too short to hide an addition's latency with a single row, so
    their k is split.
    """
    vectors = vectors_for(hidden_size, lanes)
    small = vectors * gates <= 16
    split = max(1, min(4, 8 // gates // 2 * 2)) if small else 1
    return Tiles(
        forward=tile_for(gates, vectors, split, rows, small=small),
        adjoint=adjoint_tile(vectors, small, rows),
        gradient=tile_for(gates, vectors, 1, hidden_size, small=True),
    )


def adjoint_tile(vectors: int, small: bool, rows: int) -> tuple[int, int, int]:
    """Return the tile of a product that carries adjoints to so many vectors; `small`: its chains are short."""
    return tile_for(1, vectors, 4 if vectors % 2 else 2 if small else 1, rows, small=small)


def input_tile(gates: int) -> tuple[int, int]:
    """Return the rows and vectors of the product of inputs and their weights, for any number of groups and of steps."""
    return tile_for(gates, 1, 1, 8, small=True, choice=(1, 2, 4, 8))[:2]


@cache
def tile_for(
    gates: int, vectors: int, split: int, rows: int, *, small: bool, choice: tuple[int, ...] | None = None
) -> tuple[int, int, int]:
    """Return the tile of a product for `rows` rows and `vectors` groups of so many gates that takes the fewest cycles.

    A step of k takes a tile as long as the slowest of three: its multiply-adds, on two units; its loads of x and of
    weights, two a cycle, of weights that are not `small` one; and the latency of an addition, 4 cycles, shared by the
    sets of accumulators that are worked on at once.  The loop itself adds half a cycle.
    """

    def cycles(tile_rows: int, columns: int) -> float:
        at_once = sets_at_once(tile_rows, columns, split)
        loads = tile_rows + columns * (1 if small else 2)
        return max(tile_rows * columns / 2, loads / 2, 4 / at_once) + 0.5

    def all_cycles(tile: tuple[int, int]) -> float:
        whole, left = divmod(rows, tile[0])
        return (whole * cycles(*tile) + left * cycles(1, tile[1])) * (gates * vectors / tile[1])

    registers = host_registers()
    # Few different answers, since each is a kernel to compile: fewest for one vector of units, where the products take
    # little of the time.
    choice = choice or ((1, 2, 4, 6, 8) if vectors > 1 else (1, 4))
    tiles = [(r, c) for c in _columns(gates, vectors) for r in choice if r * c + c + 1 <= registers]
    return (*min(tiles, key=all_cycles), split)


def _columns(gates: int, vectors: int) -> list[int]:
    """Return how many vectors a tile may have: parts of a group, a group, or several groups that divide them all."""
    parts = [gates // d for d in range(1, gates + 1) if gates % d == 0]
    several = [gates * d for d in (2, 4) if vectors % d == 0 and gates * d <= _WIDEST]
    return [*several, *parts]


def lanes_for(dtype: Any) -> int:
    """Return the lanes of one vector on this machine."""
    return host_lanes(np.dtype(dtype))
