import dataclasses

import numpy as np
import pytest
from helpers.synthetic import legend_lines, make_trace
from matplotlib.figure import Figure

from gatescope import plotting
from gatescope.datatypes import saturation as counting
from gatescope.errors import DtypeError, UnknownNameError, ValueRangeError


def counted(trace, name, left, right):
    """The shares, one value at a time."""
    _, batch, hidden_size = trace.gate(name).shape
    shut, opened, total = np.zeros(hidden_size), np.zeros(hidden_size), 0
    for b in range(batch):
        for t in range(trace.lengths[b]):
            total += 1
            for unit in range(hidden_size):
                shut[unit] += trace.gate(name)[t, b, unit] < left
                opened[unit] += trace.gate(name)[t, b, unit] > right
    return shut / total, opened / total


@pytest.mark.parametrize("chunk", [1, 37, 1 << 22])
@pytest.mark.parametrize("lengths", [None, [20, 3, 11]])
def test_shares_are_those_counted_by_hand(lengths, chunk, monkeypatch):
    monkeypatch.setattr(counting, "_CHUNK", chunk)
    trace = make_trace("lstm", steps=20, batch=3, hidden_size=4, lengths=lengths)
    shares = plotting.saturation_shares(trace, left=0.2, right=0.7)
    assert list(shares) == ["i", "f", "o"]
    for name, (shut, opened) in shares.items():
        expected = counted(trace, name, 0.2, 0.7)
        np.testing.assert_array_equal(shut, expected[0])
        np.testing.assert_array_equal(opened, expected[1])


def test_gates_are_known_by_what_they_can_be_not_by_their_names():
    trace = dataclasses.replace(
        make_trace("lstm"),
        gate_names=("k", "f", "i", "o"),
        gate_ranges=((0.0, 1.0), (-1.0, 1.0), None, (0.0, 1.0)),
    )
    assert list(plotting.saturation_shares(trace)) == ["k", "o"]
    limits = {name: ax.get_ylim() for name, ax in plotting.plot_gate_trajectories(trace)[1].items()}
    assert limits["k"] == limits["o"] == (-0.04, 1.04)
    assert limits["f"] == (-1.08, 1.08)
    assert limits["i"] not in (limits["o"], limits["f"])
    assert "in (0, 1)" in plotting.plot_gate_heatmap(trace, "k").figure.axes[1].get_ylabel()
    _, axes = plotting.plot_gates_before_after(trace, trace, gates=["k", "f", "i"])
    titles = {name: row[1].get_title("left") for name, row in axes.items()}
    assert ["<0.1" in titles[name] for name in ("k", "f", "i")] == [True, False, False]


def test_steps_past_the_end_of_a_sequence_do_not_count_as_shut():
    trace = make_trace("gru", steps=30, batch=1, lengths=[1])
    trace.gates[0] = 0.95
    shut, opened = plotting.saturation_shares(trace)["z"]
    assert (shut == 0).all()
    assert (opened == 1).all()


def test_thresholds_themselves_are_not_saturated():
    trace = make_trace("gru", steps=2, batch=1, hidden_size=1)
    trace.gates[0], trace.gates[1] = 0.25, 0.75
    shut, opened = plotting.saturation_shares(trace, left=0.25, right=0.75)["r"]
    assert (shut[0], opened[0]) == (0, 0)


def test_a_mark_for_each_unit_and_gate():
    trace = make_trace("lstm", steps=300)
    ax = plotting.plot_saturation(trace, left=0.3, right=0.8)
    shares = plotting.saturation_shares(trace, left=0.3, right=0.8)
    assert len(ax.collections) == 3
    for marks, (shut, opened) in zip(ax.collections, shares.values(), strict=True):
        np.testing.assert_array_equal(marks.get_offsets(), np.stack([shut, opened], axis=1))
    assert ax.get_xlabel() == "share of steps shut (below 0.3)"
    assert ax.get_ylabel() == "share of steps open (above 0.8)"
    shut, opened = shares["f"]
    assert (
        ax.collections[1].get_label() == f"f (forget gate): shut {shut.mean():.0%}, open {opened.mean():.0%}"
    )
    (line,) = [line for line in ax.lines if line not in legend_lines(ax)]
    np.testing.assert_array_equal(np.add(line.get_xdata(), line.get_ydata()), [1, 1])


def test_the_legend_lies_where_no_mark_can_be():
    ax = plotting.plot_saturation(make_trace("lstm"))
    with plotting.style():
        ax.figure.draw_without_rendering()  # lays the legend out
    corner = ax.transData.inverted().transform(ax.get_legend().get_window_extent())[0]
    assert corner.sum() > 1


def test_a_plot_without_saturation_says_so():
    trace = make_trace("gru")
    trace.gates[:] = 0.5
    texts = [text.get_text() for text in plotting.plot_saturation(trace).texts]
    assert "all units of all gates: never saturated" in texts
    trace.gates[0, 0, 1, 3] = 0.95
    texts = [text.get_text() for text in plotting.plot_saturation(trace).texts]
    assert texts == ["always saturated"]


def test_gates_axes_and_keywords_can_be_given():
    mine = Figure().add_subplot()
    ax = plotting.plot_saturation(make_trace("gru"), gates="z", ax=mine, alpha=0.5)
    assert ax is mine
    (marks,) = ax.collections
    assert marks.get_alpha() == 0.5


def test_bad_arguments():
    trace = make_trace("gru")
    for left, right in [(0.9, 0.1), (0.5, 0.5), (-0.1, 0.9), (0.1, 1.1), (float("nan"), 0.9)]:
        with pytest.raises(ValueRangeError, match="must satisfy 0 <= left < right <= 1"):
            plotting.plot_saturation(trace, left=left, right=right)
    with pytest.raises(UnknownNameError, match="gates='h' is not known to the gru; its kept gates are"):
        plotting.plot_saturation(trace, gates=["h"])
    with pytest.raises(UnknownNameError, match=r"the rnn keeps no gate with values in \(0, 1\)"):
        plotting.plot_saturation(make_trace("rnn"))
    silent = dataclasses.replace(trace, gate_ranges=None)
    with pytest.raises(UnknownNameError, match=r"does not say .* name the gates to look at, of 'r', 'z'"):
        plotting.plot_saturation(silent)
    assert list(plotting.saturation_shares(silent, gates="z")) == ["z"]
    with pytest.raises(ValueRangeError, match="holds no step"):
        plotting.saturation_shares(make_trace("gru", lengths=[0, 0]))
    with pytest.raises(DtypeError, match="trace must be a gatescope Trace"):
        plotting.plot_saturation({"z": [0.1]})
