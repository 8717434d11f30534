"""Which kept values are sigmoids and tanhs: found from the equations, for cells of any kind and names."""

import dataclasses

import numpy as np
import pytest
from helpers.cases import BUILT_IN
from helpers.leaky import Leaky

import gatescope as gs
from gatescope.cells import ranges
from gatescope.cells.activations import relu, sigmoid, tanh
from gatescope.cells.ranges import gate_ranges

GATE, SIGNED = (0.0, 1.0), (-1.0, 1.0)
EXPECTED = {
    "rnn": {},
    "rnn_relu": {},
    "lstm": {"i": GATE, "f": GATE, "g": SIGNED, "o": GATE},
    "gru": {"r": GATE, "z": GATE, "n": SIGNED, "q": None},
    "gru_reset_before": {"r": GATE, "z": GATE, "n": SIGNED},
}


def made(step, saved, **changes):
    """Return a cell that is not registered, of three gates and one state; there is no need to train it."""
    return gs.cells.Cell(
        name="made", gates=("a", "b", "c"), states=("h",), saved=saved, step=step, step_vjp=None, **changes
    )


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_cells(name):
    cell = gs.cells.get(name)
    assert dict(zip(cell.saved, gate_ranges(cell), strict=True)) == EXPECTED[name]


def test_names_mean_nothing():
    def step(wx, rh, states):
        k, i, f = sigmoid(wx[0]), tanh(wx[1] + rh[1]), relu(rh[2])
        return (k * states[0] + i,), (k, i, f)

    assert gate_ranges(made(step, ("k", "i", "f"))) == (GATE, SIGNED, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (lambda x, h: 2 * sigmoid(x), None),
        (lambda x, h: sigmoid(x) / 2, None),
        (lambda x, h: 0.5 + tanh(x) / 2, GATE),
        (lambda x, h: np.exp(-relu(x)), GATE),  # a learnt decay
        (lambda x, h: np.clip(0.2 * x + 0.5, 0, 1), GATE),  # a hard sigmoid
        (lambda x, h: x / (1 + np.abs(x)), SIGNED),  # a softsign goes to its ends slowly
        (lambda x, h: sigmoid(0.01 * x + h), GATE),  # with a peephole
        (lambda x, h: sigmoid(x) * tanh(x), None),  # from -0.14
        (lambda x, h: sigmoid(x) * h, None),
        (lambda x, h: h, None),  # a state may be anything
        (lambda x, h: np.log(x), None),  # NaN where x is below 0
        (lambda x, h: np.zeros_like(x), None),
    ],
)
def test_other_curves(value, expected):
    def step(wx, rh, states):
        return states, (value(wx[0] + rh[0], states[0]),)

    assert gate_ranges(made(step, ("v",))) == (expected,)


def test_a_gate_of_the_second_phase():
    def step(wx, rh, states, prepared):
        (p,) = prepared
        return (p * states[0],), (tanh(wx[0]), p, sigmoid(rh[1] + p))

    cell = made(step, ("n", "p", "s"), prepare=lambda wx, rh, states: (sigmoid(wx[0]),), prepared=1)
    assert gate_ranges(cell) == (SIGNED, GATE, GATE)


def test_equations_are_run_once_a_cell(monkeypatch):
    calls = []
    lstm = gs.cells.get("lstm")

    def step(*arguments):
        calls.append(1)
        return lstm.step(*arguments)

    cell = dataclasses.replace(lstm, step=step)
    assert gate_ranges(cell) == gate_ranges(cell) == gate_ranges(lstm)
    assert len(calls) == 1
    monkeypatch.setattr(ranges, "_KNOWN", ())  # another cell of the name is looked at anew
    assert gate_ranges(dataclasses.replace(cell, fingerprint="other")) == (None,) * 4


def test_a_trace_says_it(tmp_path):
    gs.cells.register(Leaky)
    params = gs.init("leaky_test", input_size=2, hidden_size=5, seed=0, dtype="float64")
    trace = gs.run(params, np.ones((7, 3, 2)))
    assert trace.gate_ranges == (GATE, SIGNED)
    assert trace.sigmoid_names == ("a",)
    assert [trace.bounds(name) for name in ("a", "n", "h")] == [GATE, SIGNED, None]
    assert gs.saturation(trace).gates == ("a",)
    trace.save(tmp_path / "trace.npz")
    assert gs.load(tmp_path / "trace.npz") == trace


def test_a_trace_that_does_not_say():
    trace = gs.run(gs.init("rnn", input_size=1, hidden_size=5, seed=0), np.ones((4, 1)))
    assert (trace.gate_ranges, trace.sigmoid_names) == ((), ())
    silent = dataclasses.replace(trace, gate_names=("f",), gate_ranges=None)
    assert silent.sigmoid_names == ()
    assert silent.bounds("f") is None
