import dataclasses

import numpy as np
import pytest
from helpers.synthetic import legend_lines, make_trace
from matplotlib.figure import Figure

from gatescope import plotting
from gatescope.errors import DtypeError, ShapeError, ValueRangeError


@pytest.mark.parametrize(
    ("cell", "panels"),
    [("lstm", ["i", "f", "g", "o", "h", "c"]), ("gru", ["r", "z", "n", "h"]), ("rnn", ["h"])],
)
def test_one_panel_for_each_gate_and_state(cell, panels):
    _, axes = plotting.plot_gate_trajectories(make_trace(cell))
    assert list(axes) == panels  # q, a pre-activation, is not among them


def test_lines_are_the_arrays():
    trace = make_trace("lstm")
    _, axes = plotting.plot_gate_trajectories(trace, units=[4, 1], sequence=1, steps=slice(10, 30))
    for name, ax in axes.items():
        values = trace.gate(name)[10:30, 1] if name in "ifgo" else trace.state(name)[11:31, 1]
        lines = legend_lines(ax)
        assert len(lines) == 2
        for line, unit in zip(lines, [4, 1], strict=True):
            np.testing.assert_array_equal(line.get_xdata(), np.arange(10, 30))
            np.testing.assert_array_equal(line.get_ydata(), values[:, unit])


def test_default_units_have_the_least_middle_and_greatest_mean_of_f():
    trace = make_trace("lstm", hidden_size=5, batch=1)
    trace.gate("f")[:] = np.array([0.9, 0.1, 0.7, 0.3, 0.5])
    _, axes = plotting.plot_gate_trajectories(trace)
    labels = [line.get_label() for line in legend_lines(axes["i"])]
    assert labels == ["unit 1 (0.10)", "unit 4 (0.50)", "unit 0 (0.90)"]
    texts = [text.get_text() for text in axes["i"].get_legend().get_texts()]
    assert texts == labels
    assert axes["f"].get_legend() is None  # one legend serves all panels


def test_one_unit_and_one_step():
    _, axes = plotting.plot_gate_trajectories(make_trace("rnn", steps=1, batch=1, hidden_size=1))
    (line,) = legend_lines(axes["h"])
    assert line.get_marker() not in ("None", "", None)  # a line of one point would not be seen


def test_steps_end_with_the_sequence():
    trace = make_trace("gru", steps=40, lengths=[40, 12])
    _, axes = plotting.plot_gate_trajectories(trace, sequence=1)
    assert legend_lines(axes["z"])[0].get_xdata()[-1] == 11


def test_a_long_series_is_averaged_and_the_label_says_so():
    trace = make_trace("rnn", steps=4001, batch=1)
    _, axes = plotting.plot_gate_trajectories(trace, units=np.array(2))
    (line,) = legend_lines(axes["h"])
    assert "means of 14 steps" in axes["h"].get_xlabel()
    assert len(line.get_ydata()) == 286
    series = trace.h[1:, 0, 2]
    # Sums in another order differ by rounding.
    np.testing.assert_allclose(line.get_ydata()[3], series[42:56].mean(), rtol=1e-13)
    np.testing.assert_allclose(line.get_ydata()[-1], series[3990:].mean(), rtol=1e-13)
    assert line.get_xdata()[3] == 48.5
    (band,) = axes["h"].collections
    drawn = band.get_paths()[0].vertices[:, 1]
    assert (drawn.min(), drawn.max()) == (series.min(), series.max())


def test_gates_can_be_chosen_and_drawn_in_a_given_figure():
    mine = Figure()
    fig, axes = plotting.plot_gate_trajectories(make_trace("gru"), gates=["q", "h"], fig=mine, units=[0])
    assert fig is mine
    assert list(axes) == ["q", "h"]
    assert mine.axes == list(axes.values())


def test_keywords_reach_the_lines_in_either_spelling():
    _, axes = plotting.plot_gate_trajectories(make_trace("rnn"), units=[0], lw=3, color="red")
    (line,) = legend_lines(axes["h"])
    assert line.get_linewidth() == 3
    assert line.get_color() == "red"


def test_events_are_marked_in_every_panel_and_labelled_above_the_first():
    trace = make_trace("lstm", steps=60)
    _, axes = plotting.plot_gate_trajectories(
        trace, marks={20: "first", 22: "second", 50: "late"}, steps=slice(0, 40)
    )
    for ax in axes.values():
        steps = [line.get_xdata()[0] for line in ax.lines if line.get_label().startswith("_")]
        assert steps == [20, 22]  # the late one is not among the steps that are drawn
    first, second = axes["i"].texts
    assert (first.get_text(), second.get_text()) == ("first", "second")
    assert first.xyann[1] < second.xyann[1]  # side by side they would run into each other
    assert not axes["f"].texts


@pytest.mark.parametrize(
    ("width", "lines", "label"), [(1, 1, "input"), (3, 3, "inputs"), (9, 1, "mean and range\nof 9 inputs")]
)
def test_inputs_are_drawn_on_top(width, lines, label):
    trace = make_trace("rnn", steps=30, batch=1)
    inputs = np.random.default_rng(0).standard_normal((30, 1, width))
    _, axes = plotting.plot_gate_trajectories(dataclasses.replace(trace, inputs=inputs), inputs=True)
    assert list(axes) == ["inputs", "h"]
    assert len(axes["inputs"].lines) == lines
    assert axes["inputs"].get_ylabel() == label
    expected = inputs[:, 0].mean(axis=1) if width == 9 else inputs[:, 0, 0]
    np.testing.assert_array_equal(axes["inputs"].lines[0].get_ydata(), expected)
    assert axes["inputs"].get_legend() is not None  # the units' legend


@pytest.mark.parametrize(
    ("marks", "error", "message"),
    [
        ([60], ValueRangeError, "marks=60 is out of range: there are 50 steps"),
        ({-1: "a"}, ValueRangeError, "marks=-1 is out of range"),
        ({2.5: "a"}, ValueRangeError, "marks=2.5"),
        (np.array(3), ShapeError, r"marks has shape \(\), but must have one axis"),
        (7, DtypeError, r"marks is an int; give the steps of events, or a mapping of steps to labels"),
    ],
)
def test_events_have_to_be_steps(marks, error, message):
    with pytest.raises(error, match=message):
        plotting.plot_gate_trajectories(make_trace("rnn"), marks=marks)
