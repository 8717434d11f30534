"""Activations that know their margins, compiled: all operators, against the same in NumPy."""

import numpy as np
from numba import njit
from numba.extending import register_jitable

from gatescope.cells.margins import Activation, complement, positive, relu, sigmoid, tanh, value_of, zero
from gatescope.kernels.simd import activations  # noqa: F401 - compiles what margins are made of
from gatescope.kernels.simd.load_store import load, store
from gatescope.kernels.simd.margins import count_small

LANES = 8
X = np.array([-800.0, -40.0, -20.0, -1.0, 0.5, 3.0, 19.0, 400.0])
Y = np.array([0.1, -3.0, 25.0, 2.0, -0.5, 0.2, 0.0, -30.0])


@register_jitable
def expressions(x, y):
    """Return what equations do with activations, as they do it, and as values."""
    s, t = sigmoid(x), tanh(y)
    product, opposite = s * t, -t
    margins = (s.margin, t.margin, product.margin, opposite.margin)
    values = (value_of(product), value_of(opposite), s * x, x * s, s + t, s + x, x + s, s - t, s - x, x - s)
    slopes = (complement(s), complement(t * t), complement(opposite), complement(x), s / (x * x), x / (s + s))
    others = (relu(t), positive(t), zero(s), tanh(t).value)
    return margins + values + slopes + others


@njit
def on_vectors(x, y, out):
    (a,) = load(x, 0, 0, 1, LANES)
    (b,) = load(y, 0, 0, 1, LANES)
    store(out, 0, LANES, expressions(a, b))


@njit
def counted(x, weights, out):
    (a,) = load(x, 0, 0, 1, LANES)
    (w,) = load(weights, 0, 0, 1, LANES)
    store(out, 0, 0, (count_small((tanh(a), a), 1e-16, 100.0, (w, w)),))


def test_every_operator_is_that_of_numpy():
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        expected = np.array(expressions(X, Y))
    out = np.empty(expected.shape)
    on_vectors(X, Y, out)
    np.testing.assert_allclose(out, expected, rtol=2e-15, atol=1e-320)
    assert isinstance(sigmoid(X) * tanh(Y), Activation)
    assert not isinstance(sigmoid(X) + tanh(Y), Activation)


def test_small_margins_and_large_values_are_counted():
    out = np.empty(LANES)
    counted(X, np.arange(8.0), out)
    # Margins of tanh are small at all but three; of the values -800 and 400 are large.
    np.testing.assert_array_equal(out, [0, 1, 2, 0, 0, 0, 6, 14])
