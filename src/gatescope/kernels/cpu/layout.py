"""Memory layouts of the weights, and the shapes of the kernels' register tiles.

Hidden units are padded to whole vectors with zeros.  Vectors have the order [units / lanes][gate].  A *panel* holds
some of them, `width`, for every k in a row, and for every k one after another: what a tile of `product` reads in order.

    forward panel    [vectors / width][k][width][lane]      k: hidden units (or inputs)
    adjoint panel    [columns / lanes / width][k][width][lane]  k: (units / lanes, gate, lane); columns: units or inputs
    gradient panel   [vectors / width][r][width][lane]      the forward weights' gradient, r: hidden units (or inputs)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from gatescope.datatypes import Array
from gatescope.kernels.cpu.aligned import aligned_empty
from gatescope.kernels.simd.product import left_together, sets_at_once
from gatescope.kernels.simd.vector import host_lanes, host_registers

# Up to this many inputs, a scalar product each is cheaper than a vector that is mostly padding.
FEW_INPUTS = 4
# Vectors of a panel that carries adjoints to more inputs: a vector alone has too few sums for a tile.
INPUT_PAIR = 2
# Threads that share the units of a layer get multiples of so many vectors, which every tile and panel of units divides.
TOGETHER = 4


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


def forward_panel(weight: Array, gates: int, lanes: int, width: int | None = None) -> Array:
    """Return (G*H, K) weights as flat forward panels; default: each as wide as one vector of units has gates."""
    units = weight.shape[0] // gates
    vectors = vectors_for(units, lanes)
    blocks = _padded(weight.reshape(gates, units, -1), 1, vectors * lanes)
    in_order = blocks.reshape(gates, vectors, lanes, -1).transpose(1, 0, 3, 2)
    panels = in_order.reshape(-1, width or gates, in_order.shape[2], lanes)
    return _copy(panels.transpose(0, 2, 1, 3))


def bias_panel(bias: Array, gates: int, lanes: int) -> Array:
    """Return (G*H,) biases in the order of one row of pre-activations: [units / lanes][gate][lane]."""
    return forward_panel(bias[:, None], gates, lanes)


def adjoint_panel(weight: Array, gates: int, lanes: int, width: int = 1) -> Array:
    """Return (G*H, N) weights as flat adjoint panels, which carry adjoints of pre-activations to N columns."""
    units, columns = weight.shape[0] // gates, weight.shape[1]
    vectors, wide = vectors_for(units, lanes), vectors_for(columns, lanes * width) * width
    blocks = _padded(_padded(weight.reshape(gates, units, columns), 1, vectors * lanes), 2, wide * lanes)
    return _copy(
        blocks.reshape(gates, vectors, lanes, wide // width, width, lanes).transpose(3, 1, 0, 2, 4, 5)
    )


def dot_rows(weight: Array, gates: int, lanes: int) -> Array:
    """Return (G*H, N) weights as N flat rows in the order of one row of pre-activations, for few columns."""
    return _copy(
        forward_panel(weight, gates, lanes).reshape(-1, weight.shape[1], gates, lanes).transpose(1, 0, 2, 3)
    )


def input_weights(weight: Array, gates: int, lanes: int, width: int) -> Array:
    """Return (G*H, I) input weights for sweeps back in time: dot rows for few inputs, else adjoint panels."""
    if weight.shape[1] <= FEW_INPUTS:
        return dot_rows(weight, gates, lanes)
    return adjoint_panel(weight, gates, lanes, width)


def unpack_gradient(panels: Array, gates: int, units: int) -> Array:
    """Return gradient panels (vectors / width, R, width, lanes) as (G*H, R)."""
    _, count, _, lanes = panels.shape
    in_order = panels.transpose(0, 2, 3, 1).reshape(-1, gates, lanes, count)
    full = in_order.transpose(1, 0, 2, 3).reshape(gates, -1, count)
    return np.ascontiguousarray(full[:, :units].reshape(gates * units, count))


class Tile(NamedTuple):
    """A register tile of a kernel's product, and how its weights lie; integers that a kernel is compiled for.

    Attributes
    ----------
    rows, vectors : int
    split : int
        Sets of accumulators.  It decides the order of additions, so it depends on the cell and its size alone, never on
        the batch.
    width : int
        Vectors of a panel of weights, likewise.
    ahead : int
        Whether weights are asked for before they are needed: 1 where they do not fit the second-level cache.
    """

    rows: int
    vectors: int
    split: int
    width: int
    ahead: int


@dataclass(frozen=True)
class Tiles:
    """Register tiles of the kernels' products."""

    forward: Tile
    adjoint: Tile
    gradient: Tile


_ONE = Tile(1, 1, 1, 1, 0)
NONE = Tiles(forward=_ONE, adjoint=_ONE, gradient=_ONE)  # of a product that there is not

# Vectors of weights to a row of accumulators; more leave too few registers for rows.
_WIDEST = 4
# Rows of which the best tile decides how wide a panel is: every choice of rows divides them.
_MANY_ROWS = 84
# So many bytes of weights are near: they fit the second-level cache, beside what else is there.
_NEAR = 1 << 18


@cache
def tiles_for(gates: int, hidden_size: int, lanes: int, rows: int) -> Tiles:
    """Return the tiles for products with `gates` vectors a group, `hidden_size` units and `rows` rows (sequences).

    Small layers (up to four vectors of units) have chains too short to hide an addition's latency with a single row, so
    their k is split.
    """
    vectors = vectors_for(hidden_size, lanes)
    small = vectors * gates <= 16
    split = max(1, min(4, 8 // gates // 2 * 2)) if small else 1
    itemsize = 4 * host_lanes(np.dtype(np.float32)) // lanes
    far = gates * vectors * lanes * hidden_size * itemsize > _NEAR
    return Tiles(
        forward=_panel_tile(gates, vectors, split, rows, small=small, far=far),
        adjoint=adjoint_tile(vectors, small, rows, far=far),
        gradient=_gradient_tile(gates * vectors, hidden_size, small),
    )


def adjoint_tile(vectors: int, small: bool, rows: int, *, far: bool = False) -> Tile:
    """Return the tile of a product that carries adjoints to so many vectors; `small`: its chains are short."""
    return _panel_tile(1, vectors, 4 if vectors % 2 else 2 if small else 1, rows, small=small, far=far)


def _panel_tile(gates: int, vectors: int, split: int, rows: int, *, small: bool, far: bool) -> Tile:
    """Return a tile of panels, each a vector of units wide, or if the weights are `far` as wide as the best tile.

    What a tile reads then lies line after line, and the hardware foresees what it is not asked for.
    """
    width = tile_for(gates, vectors, split, _MANY_ROWS, small=small)[1] if far else gates
    return Tile(
        *tile_for(width, gates * vectors // width, split, rows, small=small, far=far), width, int(far)
    )


def input_tile(gates: int) -> tuple[int, int]:
    """Return the rows and vectors of products with all gates of units: of inputs, and of the weights' gradient."""
    return tile_for(1, gates, 1, 8, small=True, choice=(7, 4, 2, 1), columns=_divisors(gates))[:2]


def _gradient_tile(vectors: int, rows: int, small: bool) -> Tile:
    """Return the tile of a product whose weights are adjoints, and whose sums are panels as wide as it."""
    rows, width, split = tile_for(1, vectors, 1, rows, small=small, columns=_divisors(vectors))
    return Tile(rows, width, split, width, 0)


def _divisors(vectors: int) -> tuple[int, ...]:
    """Return how many vectors a tile of these may have; of tiles that are as fast the first is taken."""
    return tuple(count for count in (3, 2, 4, 1) if vectors % count == 0)


@cache
def tile_for(
    gates: int,
    vectors: int,
    split: int,
    rows: int,
    *,
    small: bool,
    far: bool = False,
    choice: tuple[int, ...] | None = None,
    columns: tuple[int, ...] | None = None,
) -> tuple[int, int, int]:
    """Return the tile of a product for `rows` rows and `vectors` groups of so many gates that takes the fewest cycles.

    A step of k takes a tile as long as the slowest of three: its multiply-adds, on two units; its loads of x and of
    weights, two a cycle, of weights that are not `small` one; and the latency of an addition, 4 cycles, shared by the
    sets of accumulators that are worked on at once.  The loop itself adds half a cycle, and one more where what is
    loaded is not `small`: tiles with more to do wait for it less often.
    """

    def cycles(tile_rows: int, columns: int) -> float:
        at_once = sets_at_once(tile_rows, columns, split)
        loads = tile_rows + columns * (1 if small else 2)
        return max(tile_rows * columns / 2, loads / 2, 4 / at_once) + (0.5 if small else 1.5)

    def all_cycles(tile: tuple[int, int]) -> float:
        left, total = rows, 0.0
        for count in (tile[0], *left_together(tile[0], far)):
            times, left = divmod(left, count)
            total += times * cycles(count, tile[1])
        return total * (gates * vectors / tile[1])

    registers = host_registers()
    # Few different answers, since each is a kernel to compile: fewest for one vector of units, where the products take
    # little of the time.  Eight rows have more addresses than there are registers, and are half as fast as seven.
    choice = choice or ((1, 2, 4, 6, 7) if vectors > 1 else (1, 4))
    tiles = [
        (r, c) for c in columns or _columns(gates, vectors) for r in choice if r * c + c + 1 <= registers
    ]
    return (*min(tiles, key=all_cycles), split)


def _columns(gates: int, vectors: int) -> list[int]:
    """Return how many vectors a tile may have: parts of a group, a group, or several groups that divide them all."""
    parts = [gates // d for d in range(1, gates + 1) if gates % d == 0]
    several = [gates * d for d in (2, 4) if vectors % d == 0 and gates * d <= _WIDEST]
    return [*several, *parts]


def lanes_for(dtype: Any) -> int:
    """Return the lanes of one vector on this machine."""
    return host_lanes(np.dtype(dtype))
