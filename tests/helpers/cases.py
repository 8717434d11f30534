"""Random cases for the tests: weights, inputs, states and adjoints by seed, and how errors are measured."""

import numpy as np
import pytest

import gatescope as gs
from gatescope.datatypes.params import WEIGHT_NAMES

# Of the package's cells those that other frameworks have, too: of what holds for any cell these are enough.
BUILT_IN = ("rnn", "rnn_relu", "lstm", "gru", "gru_reset_before")
# For tests whose kernels take seconds to compile: a cell of two states and one of two phases; CI runs the others too.
_FIRST = ("lstm", "gru_reset_before")


def first(*names):
    """Return the cells for `parametrize`: these, and all others marked slow."""
    return (*names, *(pytest.param(c, marks=pytest.mark.slow) for c in BUILT_IN if c not in names))


def by_turns(values, *others, slow=()):
    """Return (cell, value) for `parametrize`: the LSTM at every value, and at each one of the others, which is slow.

    `slow` are values that are slow for the LSTM too.  Kernels differ by size, and by cell in their equations alone.
    """
    mark = pytest.mark.slow
    return [
        *(pytest.param("lstm", value, marks=[mark] * (value in slow)) for value in values),
        *(pytest.param(others[i % len(others)], value, marks=mark) for i, value in enumerate(values)),
    ]


FEW = first(*_FIRST)
ONE = first("lstm")  # for tests that need kernels of their own, of many sizes or a measurement's
PARAMS = WEIGHT_NAMES


def random_params(cell, *, input_size, hidden_size, seed=0, dtype="float64", scale=1.0):
    """Uniform weights on PyTorch's scale times `scale`; not by `gs.init`, which has tests of its own."""
    rng = np.random.default_rng(seed)
    equations = gs.cells.get(cell)
    rows = len(equations.gates) * hidden_size
    bound = scale / np.sqrt(hidden_size)

    def draw(name, *columns):
        array = rng.uniform(-bound, bound, (rows, *columns)).astype(dtype)
        array[np.repeat(equations.lacks(name), hidden_size)] = 0
        return array

    return gs.Params(
        cell=cell,
        weight_ih=draw("weight_ih", input_size),
        weight_hh=draw("weight_hh", hidden_size),
        bias_ih=draw("bias_ih"),
        bias_hh=draw("bias_hh"),
    )


class Case:
    """Everything `run` and `backprop` take, for one cell: the arrays' shapes are those of DESIGN.md.

    Kernels are compiled for tiles that depend on B and H, in seconds each, so the tests keep to few values of
    them where others show nothing new: B = 1, 3, 7 and 37 (several blocks), H = 5, 16, 17.
    """

    def __init__(self, cell, *, T=7, B=3, I=2, H=5, seed=0, dtype="float64", scale=1.0):
        rng = np.random.default_rng([seed, T, B, I, H])
        S = len(gs.cells.get(cell).states)
        self.cell = cell
        self.params = random_params(cell, input_size=I, hidden_size=H, seed=seed, dtype=dtype, scale=scale)
        self.inputs = rng.standard_normal((T, B, I)).astype(dtype)
        self.initial_state = (rng.standard_normal((B, S, H)) / 2).astype(dtype)
        self.output_adjoint = rng.standard_normal((T, B, H)).astype(dtype)
        self.final_adjoint = rng.standard_normal((B, S, H)).astype(dtype)

    def run(self, lengths=None, **keywords):
        return gs.run(self.params, self.inputs, initial_state=self.initial_state, lengths=lengths, **keywords)

    def backprop(self, trace, **keywords):
        return gs.backprop(
            self.params,
            trace,
            output_adjoint=self.output_adjoint,
            final_adjoint=self.final_adjoint,
            **keywords,
        )


def flat(grads):
    """All arrays of a Gradients, by name."""
    return grads.params.arrays() | grads.arrays()


def relative_error(actual, expected):
    """Largest absolute error over the largest absolute value expected: an array is judged on its own scale.

    Single elements near 0 are sums that cancel, and have no relative accuracy in any order of summation.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    scale = np.abs(expected).max()
    error = np.abs(actual - expected).max()
    return float(error if scale == 0 else error / scale)


def assert_close(actual, expected, tolerance, name=""):
    error = relative_error(actual, expected)
    # "not <=" and not ">", so that NaN fails.
    assert error <= tolerance, f"{name}: relative error {error:.3g} is above {tolerance:.3g}"
