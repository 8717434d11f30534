import dataclasses
import re
import warnings

import numpy as np
import pytest
from helpers.synthetic import make_trace

import gatescope as gs
from gatescope.comparison.notes import notes
from gatescope.datatypes.saturation import saturating_inputs
from gatescope.errors import DtypeError, InputWarning, UnknownNameError, ValueRangeError
from gatescope.measurements import saturation as counting


def counted(trace, name, left, right):
    """Return the fractions, one value at a time."""
    _, batch, hidden_size = trace.gate(name).shape
    shut, opened, total = np.zeros(hidden_size), np.zeros(hidden_size), 0
    for b in range(batch):
        for t in range(trace.lengths[b]):
            total += 1
            for unit in range(hidden_size):
                shut[unit] += trace.gate(name)[t, b, unit] < left
                opened[unit] += trace.gate(name)[t, b, unit] > right
    return np.stack([shut, opened]) / total


@pytest.mark.parametrize("chunk", [1, 37, 1 << 22])
@pytest.mark.parametrize("lengths", [None, [20, 3, 11]])
def test_fractions_are_those_counted_by_hand(lengths, chunk, monkeypatch):
    monkeypatch.setattr(counting, "_CHUNK", chunk)
    trace = make_trace("lstm", steps=20, batch=3, hidden_size=4, lengths=lengths)
    result = gs.saturation(trace, left=0.2, right=0.7)
    assert (result.cell, result.gates, result.left, result.right) == ("lstm", ("i", "f", "o"), 0.2, 0.7)
    assert result.steps == (60 if lengths is None else 34)
    for name in result.gates:
        np.testing.assert_array_equal(result.gate(name), counted(trace, name, 0.2, 0.7))
    means = [counted(trace, name, 0.2, 0.7).sum(axis=0).mean() for name in result.gates]
    assert result.saturated() == pytest.approx(np.mean(means), rel=1e-12)


def test_steps_past_the_end_of_a_sequence_do_not_count_as_shut():
    trace = make_trace("gru", steps=30, batch=1, lengths=[1])
    trace.gates[0] = 0.95
    shut, opened = gs.saturation(trace).gate("z")
    assert (shut == 0).all()
    assert (opened == 1).all()


def test_thresholds_themselves_are_not_saturated():
    trace = make_trace("gru", steps=2, batch=1, hidden_size=1)
    trace.gates[0], trace.gates[1] = 0.25, 0.75
    shut, opened = gs.saturation(trace, left=0.25, right=0.75).gate("r")
    assert (shut[0], opened[0]) == (0, 0)


def test_it_presents_and_saves_itself(tmp_path):
    trace = make_trace("gru", steps=4, batch=1, hidden_size=2)
    trace.gates[:] = 0.5
    trace.gate("z")[..., 0] = 0.95
    result = gs.saturation(trace)
    assert result.table().texts() == [["r", "0.0 %", "0.0 %", "0", "0"], ["z", "0.0 %", "50.0 %", "0", "1"]]
    assert result.summary().endswith("25.0 % of all gate values are saturated")
    result.save(tmp_path / "saturation.npz")
    assert gs.load(tmp_path / "saturation.npz") == result
    with pytest.raises(UnknownNameError, match="these gates were counted: 'r', 'z'"):
        result.gate("q")


def test_bad_arguments():
    trace = make_trace("gru")
    for left, right in [(0.9, 0.1), (0.5, 0.5)]:
        with pytest.raises(ValueRangeError, match=f"left={left} must be below `right`, which is {right}"):
            gs.saturation(trace, left=left, right=right)
    for name, value in [("left", -0.1), ("right", 1.1), ("left", float("nan"))]:
        with pytest.raises(ValueRangeError, match=f"{name}={value} must be a finite number"):
            gs.saturation(trace, **{name: value})
    with pytest.raises(UnknownNameError, match="gates='h' is not known; choose from r, z"):
        gs.saturation(trace, gates=["h"])
    with pytest.raises(UnknownNameError, match=r"'rnn', which saves no gate with values in \(0, 1\)"):
        gs.saturation(make_trace("rnn"))
    silent = dataclasses.replace(trace, gate_ranges=None)
    with pytest.raises(UnknownNameError, match=r"does not say .* name the `gates` to look at, of 'r', 'z'"):
        gs.saturation(silent)
    assert gs.saturation(silent, gates="z").gates == ("z",)
    with pytest.raises(ValueRangeError, match="holds no step"):
        gs.saturation(make_trace("gru", lengths=[0, 0]))
    with pytest.raises(DtypeError, match="trace is a dict; give a Trace or a StackTrace"):
        gs.saturation({"z": [0.1]})


@pytest.fixture(scope="module")
def walk():
    """Return a random walk of mean 133 and standard deviation 9, such as a price."""
    steps = np.random.default_rng(0).standard_normal(2000).cumsum()
    return (133 + 9 * (steps - steps.mean()) / steps.std())[:, None]


SATURATED = (
    r"The inputs saturate the gates: [\d.]+ % of the gate values are below 0\.1 or above 0\.9, with inputs of "
    r"mean 133 and standard deviation 9.*standardize"
)


def test_inputs_that_saturate_the_gates_are_reported_beside_the_verdict(walk):
    cells = {"lstm": gs.init("lstm", input_size=1, hidden_size=5, seed=0, dtype="float64")}
    comparison = gs.compare(cells, walk, timing_runs=1)
    assert comparison["lstm"].saturation.saturated() > 0.5
    assert re.search(SATURATED, comparison.summary())
    assert re.search(SATURATED, notes(comparison)[0])
    diagnosis = gs.diagnose(cells["lstm"], walk, window=500)
    assert re.search(
        SATURATED.replace("mean 133 and standard deviation 9", r"mean 128\.5"), diagnosis.summary()
    )
    assert "Nothing is to be changed" not in diagnosis.summary()
    with pytest.warns(InputWarning, match=r"The inputs saturate the gates"):
        gs.half_life(cells["lstm"], walk)
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        standardized = (walk - walk.mean()) / walk.std()
        assert "saturate the gates" not in gs.compare(cells, standardized, timing_runs=1).summary()
        gs.half_life(cells["lstm"], standardized)


def test_a_cell_without_gates_is_judged_by_its_output(walk):
    for name, said in (("rnn", True), ("rnn_relu", False)):
        trace = gs.run(gs.init(name, input_size=1, hidden_size=5, seed=0, dtype="float64"), walk)
        assert bool(saturating_inputs(trace)) == said
