"""A cell that is no part of the package is run, differentiated and measured like the package's own.

A leaky network with a learned leak:

    a = sigmoid(W_a x + b_a),  n = tanh(W_n x + R_n h + b),  h' = a h + (1 - a) n

CONTRIBUTING.md shows the same steps.
"""

import dataclasses
import math

import numpy as np
import pytest
from helpers.cases import PARAMS, Case, assert_close, flat
from helpers.leaky import Leaky, by_hand
from numba.extending import register_jitable

import gatescope as gs
from gatescope.cells.activations import complement, sigmoid, zero
from gatescope.errors import ValueRangeError


@pytest.fixture(autouse=True)
def leaky():
    """Register the cell by the tests, not on import: others are parametrised over the registry at collection."""
    return gs.cells.register(Leaky)


def arrays_of(case):
    return case.params.arrays() | {"inputs": case.inputs, "initial_state": case.initial_state}


def outputs_by_hand(arrays):
    return by_hand(arrays, arrays["inputs"], arrays["initial_state"][:, 0])


@pytest.mark.parametrize("H", [5, 17])
def test_it_runs(H):
    case = Case("leaky_test", T=30, B=3, I=2, H=H)
    trace = case.run()
    assert_close(trace.outputs, outputs_by_hand(arrays_of(case)), 1e-13, "outputs")
    assert trace.gate("a").shape == (30, 3, H)
    assert ((trace.gate("a") > 0) & (trace.gate("a") < 1)).all()
    assert "leaky_test" in gs.cells.names()


def test_it_is_differentiated():
    """Against the complex step in random directions, argument by argument: exact to rounding."""
    case = Case("leaky_test", T=25, B=3, I=2, H=5)
    grads = flat(case.backprop(case.run()))
    rng = np.random.default_rng(8)
    tiny = 1e-100
    for name, value in arrays_of(case).items():
        for _ in range(3):
            direction = rng.standard_normal(value.shape)
            arrays = arrays_of(case) | {name: value + 1j * tiny * direction}
            outputs = outputs_by_hand(arrays)
            loss = (case.output_adjoint * outputs).sum() + (case.final_adjoint[:, 0] * outputs[-1]).sum()
            expected = loss.imag / tiny
            actual = (grads[name] * direction).sum()
            # Against the size of the terms that the sum is made of, which may cancel.
            scale = np.abs(grads[name] * direction).sum()
            assert abs(actual - expected) <= 1e-13 * scale, name


def test_unequal_lengths():
    case = Case("leaky_test", T=9, B=3, I=2, H=4)
    trace = case.run([9, 2, 5])
    alone = gs.run(case.params, case.inputs[:5, 2:], initial_state=case.initial_state[2:])
    np.testing.assert_array_equal(trace.states[:6, 2:], alone.states)


def test_it_is_measured():
    """A constant leak and no recurrent weights: the gradient decays by a at every step."""
    params = gs.init("leaky_test", input_size=1, hidden_size=4, seed=0, dtype="float64")
    for name in PARAMS:
        getattr(params, name)[:] = 0
    params.bias_ih[:4] = 3.0
    flow = gs.gradient_flow(params, np.zeros((6000, 1)), norm="unit", unit=2)
    a = 1 / (1 + math.exp(-3.0))
    np.testing.assert_allclose(flow.log_norm[:, 0], flow.lag * math.log(a), rtol=1e-12, atol=1e-15)
    assert float(flow.decay_rate()) == pytest.approx(-math.log(a), rel=1e-11)
    assert float(flow.half_life()) == pytest.approx(math.log(2) / -math.log(a), rel=1e-11)


def test_it_is_initialised():
    params = gs.init("leaky_test", input_size=3, hidden_size=4, seed=1)
    assert params.gate_names == ("a", "n")
    assert params.weight_ih.shape == (8, 3)
    assert params.gate("a")["weight_hh"].shape == (4, 4)


def test_float32():
    case = Case("leaky_test", T=30, B=3, I=2, H=17, dtype="float32")
    trace = case.run()
    assert trace.states.dtype == np.float32
    # 16 roundings of 6e-8, as for the built-in cells (test_golden.py).
    exact = {name: value.astype(np.float64) for name, value in arrays_of(case).items()}
    assert_close(trace.outputs, outputs_by_hand(exact), 16 * 2.0**-24, "outputs")


# ---- the registry says what is wrong with a cell ----


def test_registering_twice_is_harmless(leaky):
    assert gs.cells.register(Leaky) == leaky
    assert gs.cells.get("leaky_test") == leaky


def test_a_name_is_taken_once():
    class Other(Leaky):
        GATES = ("n", "a")

    with pytest.raises(ValueRangeError, match=r"(?s)'leaky_test'.*another NAME"):
        gs.cells.register(Other)


def test_an_incomplete_cell():
    class Incomplete:
        NAME = "incomplete_test"
        GATES = ("a",)
        STATES = ("h",)

    with pytest.raises(ValueRangeError, match=r"(?s)lacks SAVED, step, step_vjp.*lstm"):
        gs.cells.register(Incomplete)
    assert "incomplete_test" not in gs.cells.names()


def test_a_two_phase_cell_needs_its_first_phase():
    class Half(Leaky):
        NAME = "half_test"
        PREPARED = 1

    with pytest.raises(ValueRangeError, match=r"(?s)lacks prepare, operand, prepare_vjp"):
        gs.cells.register(Half)


class Dividing:
    """h' = a / (a + b): 0 / 0 on the lanes past the last unit."""

    NAME, GATES, STATES, SAVED = "dividing", ("a", "b"), ("h",), ("a", "b")

    @staticmethod
    @register_jitable
    def step(wx, rh, states):
        a = sigmoid(wx[0] + rh[0])
        b = sigmoid(wx[1] + rh[1])
        return (a / (a + b),), (a, b)

    @staticmethod
    @register_jitable
    def step_vjp(saved, states, new_states, adjoint):
        a, b = saved
        (d_h,) = adjoint
        scale = d_h / ((a + b) * (a + b))
        d_pre = (scale * b * a * complement(a), zero(d_h) - scale * a * b * complement(b))
        return d_pre, d_pre, (zero(d_h),)


@pytest.mark.slow  # compiles kernels of its own
def test_a_cell_may_divide_though_units_do_not_fill_the_lanes():
    gs.cells.register(Dividing)
    try:
        inputs = np.random.default_rng(0).standard_normal((30, 3, 2))
        for hidden_size in (5, 8):
            params = gs.init("dividing", input_size=2, hidden_size=hidden_size, seed=1, dtype="float64")
            trace = gs.run(params, inputs)
            grads = gs.backprop(params, trace, output_adjoint=np.ones_like(trace.outputs))
            flow = gs.gradient_flow(params, inputs)
            assert np.isfinite(flow.log_norm).all()
            row, step = (
                np.unravel_index(np.abs(grads.params.weight_hh).argmax(), params.weight_hh.shape),
                1e-6,
            )
            ends = []
            for sign in (1, -1):
                weight_hh = params.weight_hh.copy()
                weight_hh[row] += sign * step
                ends.append(gs.run(dataclasses.replace(params, weight_hh=weight_hh), inputs).outputs.sum())
            # a central difference leaves step^2 and rounding / step, both about 1e-9 of the sum
            assert grads.params.weight_hh[row] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6)
    finally:
        gs.cells.registry._CELLS.pop("dividing")
