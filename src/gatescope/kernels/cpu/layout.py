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
from gatescope.kernels.simd.vector import host_lanes

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
    """Register tiles (rows, groups, split) of the kernels' products; integers that a kernel is compiled for.

    A tile needs rows * groups * gates * split accumulators, of 32 registers (16 before AVX-512), and about eight to
    hide the latency of a fused multiply-add even with a single row.  `split` decides the order of additions, so it
    depends on the cell and its size alone, never on the batch.
    """

    forward: tuple[int, int, int]
    adjoint: tuple[int, int, int]
    gradient: tuple[int, int, int]


# Of a product that there is not.
NONE = Tiles(forward=(1, 1, 1), adjoint=(1, 1, 1), gradient=(1, 1, 1))


@cache
def tiles_for(gates: int, hidden_size: int, lanes: int, rows: int) -> Tiles:
    """Return the tiles for products with `gates` vectors a group, `hidden_size` units and `rows` rows (sequences).

    Small layers (up to four vectors of units) have chains too short to hide an addition's latency, so their k is
    split; large ones read weights from the second-level cache, where more rows a tile are what counts.
    """
    registers = _accumulators(lanes)
    vectors = vectors_for(hidden_size, lanes)
    small = vectors * gates <= 16
    split = max(1, min(4, 8 // gates // 2 * 2)) if small else 1
    groups = 1 if small else _divisor(vectors, max(1, 4 // gates))
    forward = (_rows(registers // (gates * groups * split), rows, vectors), groups, split)
    adjoint = adjoint_tile(vectors, small, lanes, rows)
    gradient = (_rows(registers // gates, hidden_size, vectors), 1, 1)
    return Tiles(forward=forward, adjoint=adjoint, gradient=gradient)


def adjoint_tile(vectors: int, small: bool, lanes: int, rows: int) -> tuple[int, int, int]:
    """Return the tile of a product that carries adjoints to so many vectors; `small`: its chains are short."""
    wide = _divisor(vectors, 4)
    split = 4 if wide == 1 else 2 if small else 1
    return _rows(_accumulators(lanes) // (wide * split), rows, vectors), wide, split


def _accumulators(lanes: int) -> int:
    """Return how many vectors of a tile may be summed up in registers."""
    return 24 if lanes * 8 >= 64 else 12


def _rows(most: int, rows: int, vectors: int) -> int:
    """Return the rows of a tile, at most `most`, for a layer of so many vectors of units.

    A tile of r rows costs about r + 1, a row that is left over and done alone 2.  Few different answers, since each is
    a kernel to compile: fewest for one vector of units, where the products take little of the time.
    """
    choice = (1, 2, 4, 6, 8) if vectors > 1 else (1, 4) if most >= 4 else (1, 2)
    allowed = [r for r in choice if r <= most]
    return min(allowed, key=lambda r: rows // r * (r + 1) + 2 * (rows % r))


def _divisor(number: int, largest: int) -> int:
    """Return the largest of 4, 2, 1 that is at most `largest` and divides `number`."""
    return next(d for d in (4, 2, 1) if d <= largest and number % d == 0)


def lanes_for(dtype: Any) -> int:
    """Return the lanes of one vector on this machine."""
    return host_lanes(np.dtype(dtype))
