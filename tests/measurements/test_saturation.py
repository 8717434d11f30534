import dataclasses

import numpy as np
import pytest
from helpers.synthetic import make_trace

import gatescope as gs
from gatescope.errors import DtypeError, UnknownNameError, ValueRangeError
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
    with pytest.raises(DtypeError, match="trace is a dict; give a Trace"):
        gs.saturation({"z": [0.1]})
