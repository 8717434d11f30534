"""What floor.py times: loops that do one thing as fast as this machine can, on gatescope's SIMD vectors."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

import gatescope.kernels.simd.activations  # noqa: F401  gives Numba the activations
from gatescope.cells import get
from gatescope.cells.activations import sigmoid, tanh
from gatescope.kernels.simd.load_store import load, store
from gatescope.kernels.simd.vector import fma

# Products in flight in `fma_loop`: more than latency * units (4 cycles * 2) of today's cores, and no more
# than the registers of the smallest (16).
CHAINS = 10
# Vectors a round of `load_loop` and of `activation_loop`.
UNROLLED = 8


@cache
def fma_loop(lanes: int) -> Callable[..., Any]:
    """f(n, source, sink): n * CHAINS vector multiply-adds, of which CHAINS do not wait for each other."""

    @njit(nogil=True, error_model="numpy")
    def loop(n, source, sink):
        x, y, a, b, c, d, e, f, g, h, i, j = load(source, 0, lanes, 12, lanes)
        for _ in range(n):
            a, b, c, d, e = fma(a, x, y), fma(b, x, y), fma(c, x, y), fma(d, x, y), fma(e, x, y)
            f, g, h, i, j = fma(f, x, y), fma(g, x, y), fma(h, x, y), fma(i, x, y), fma(j, x, y)
        store(sink, 0, lanes, (a, b, c, d, e, f, g, h, i, j))

    return loop


@cache
def load_loop(lanes: int) -> Callable[..., Any]:
    """f(n, source, sink): read `source` (whole multiples of UNROLLED vectors) n times."""

    @njit(nogil=True, error_model="numpy")
    def loop(n, source, sink):
        a, b, c, d, e, f, g, h = load(source, 0, lanes, 8, lanes)
        for _ in range(n):
            for at in range(0, source.size, 8 * lanes):
                v = load(source, at, lanes, 8, lanes)
                a, b, c, d = a + v[0], b + v[1], c + v[2], d + v[3]
                e, f, g, h = e + v[4], f + v[5], g + v[6], h + v[7]
        store(sink, 0, lanes, (a, b, c, d, e, f, g, h))

    return loop


@cache
def activation_loop(lanes: int, name: str) -> Callable[..., Any]:
    """f(n, source, sink): the activation of every element of `source`, n times."""
    function = {"sigmoid": sigmoid, "tanh": tanh}[name]

    @njit(nogil=True, error_model="numpy")
    def loop(n, source, sink):
        for _ in range(n):
            for at in range(0, source.size, 4 * lanes):
                a, b, c, d = load(source, at, lanes, 4, lanes)
                store(sink, at, lanes, (function(a), function(b), function(c), function(d)))

    return loop


@njit(nogil=True)
def fill(array, value):
    """Write every element once."""
    for i in range(array.size):
        array[i] = value


@njit
def _one(r, h):
    return (r[0] * h,)


@njit
def _three(r, h):
    return r[0] * h, r[1] * h, r[2] * h


@njit
def _four(r, h):
    return r[0] * h, r[1] * h, r[2] * h, r[3] * h


@njit
def _sum_one(r, d):
    return r[0] * d[0]


@njit
def _sum_three(r, d):
    return (r[0] * d[0] + r[1] * d[1]) + r[2] * d[2]


@njit
def _sum_four(r, d):
    return (r[0] * d[0] + r[1] * d[1]) + (r[2] * d[2] + r[3] * d[3])


# By the number of gates.
_PRODUCTS = {1: _one, 3: _three, 4: _four}
_SUMS = {1: _sum_one, 3: _sum_three, 4: _sum_four}


@cache
def forward_chain(cell_name: str, lanes: int) -> Callable[..., Any]:
    """f(n, source, sink): n steps of a cell whose recurrent matrix is diagonal.

    What must happen one after the other in any step of this cell: one product with h, then the cell's
    equations.  One vector of units, no weights read, nothing stored.
    """
    cell = get(cell_name)
    step, products = cell.step, _PRODUCTS[len(cell.gates)]
    gates, states_count = len(cell.gates), len(cell.states)

    @njit(nogil=True, error_model="numpy")
    def loop(n, source, sink):
        states = load(source, 0, lanes, states_count, lanes)
        wx = load(source, 4 * lanes, lanes, gates, lanes)
        r = load(source, 8 * lanes, lanes, gates, lanes)
        for _ in range(n):
            states, _ = step(wx, products(r, states[0]), states)
        store(sink, 0, lanes, states)

    return loop


@cache
def backward_chain(cell_name: str, lanes: int) -> Callable[..., Any]:
    """f(n, source, sink): n steps back; what depends on the adjoint of the step after, and nothing else.

    The gates and states are the same at every step, so that whatever does not depend on the adjoint leaves
    the loop.
    """
    cell = get(cell_name)
    step_vjp, total = cell.step_vjp, _SUMS[len(cell.gates)]
    gates, states_count, saved_count = len(cell.gates), len(cell.states), len(cell.saved)
    two = states_count == 2

    @njit(nogil=True, error_model="numpy")
    def loop(n, source, sink):
        saved = load(source, 0, lanes, saved_count, lanes)
        states = load(source, 4 * lanes, lanes, states_count, lanes)
        new_states = load(source, 6 * lanes, lanes, states_count, lanes)
        r = load(source, 8 * lanes, lanes, gates, lanes)
        adjoint = load(source, 12 * lanes, lanes, states_count, lanes)
        # Every step's own output adjoint; it also keeps the values away from the subnormal numbers.
        output_adjoint = adjoint[0]
        for _ in range(n):
            _, d_rh, d_states = step_vjp(saved, states, new_states, adjoint)
            d_h = (d_states[0] + output_adjoint) + total(r, d_rh)
            if two:  # noqa: SIM108  Numba drops the dead branch of a statement; both types cannot meet
                adjoint = (d_h, d_states[1])
            else:
                adjoint = (d_h,)
        store(sink, 0, lanes, adjoint)

    return loop


def source_array(dtype: np.dtype[Any], lanes: int, vectors: int = 16) -> np.ndarray[Any, np.dtype[Any]]:
    """Harmless numbers in (0.1, 0.4): sums and products of them neither grow nor die out."""
    return np.random.default_rng(0).uniform(0.1, 0.4, vectors * lanes).astype(dtype)
