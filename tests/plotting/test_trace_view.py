"""What all plots of a trace share: which gates, units, sequence and steps they take, and which they refuse."""

import dataclasses

import numpy as np
import pytest
from helpers.synthetic import legend_lines, make_trace
from matplotlib.colors import SymLogNorm

from gatescope import plotting
from gatescope.datatypes.stack_trace import check_alike
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.plotting import _trace_view
from gatescope.plotting._trace_view import spread_units


@pytest.mark.parametrize(("cell", "expected"), [("lstm", "f"), ("gru", "z"), ("rnn", "h")])
def test_spread_units_are_those_drawn_by_default(cell, expected):
    trace = make_trace(cell, lengths=[50, 20])
    for sequence in (0, 1):
        units, reference = spread_units(trace, sequence)
        assert reference == expected
        _, axes = plotting.plot_gate_trajectories(trace, sequence=sequence)
        drawn = [line.get_label().split()[1] for line in legend_lines(axes[expected])]
        assert [str(unit) for unit in units] == drawn


@pytest.mark.parametrize(
    ("cell", "states", "names"), [("gru", False, "rzn"), ("gru", True, "rznh"), ("rnn", False, "h")]
)
def test_gates_are_drawn_by_default_and_of_a_cell_without_any_its_states(cell, states, names):
    assert "".join(_trace_view.view(make_trace(cell), states=states).names) == names  # q is no gate


def test_a_cell_that_is_not_registered_is_drawn_too():
    trace = dataclasses.replace(make_trace("gru"), cell="mine", gate_ranges=None)
    assert _trace_view.view(trace).names == ("r", "z", "n", "q")
    assert spread_units(trace)[1] == "r"


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"units": [6]}, ValueRangeError, "units=6 is out of range: there are 6 units, numbered from 0"),
        ({"units": []}, ValueRangeError, "units is empty"),
        ({"units": "f"}, ValueRangeError, "units='f'"),
        ({"gates": ["f", "k"]}, UnknownNameError, "gates='k' is not known; choose from i, f, g, o, h, c"),
        ({"gates": []}, ValueRangeError, "gates is empty"),
        ({"gates": 3}, DtypeError, "gates is an int"),
        ({"sequence": 2}, ValueRangeError, "sequence=2 is out of range: there are 2 sequences"),
        ({"steps": slice(50, 60)}, ValueRangeError, "holds no step.*the 50 steps of sequence 0"),
        ({"steps": slice(10, 0, -1)}, ValueRangeError, "runs backwards"),
        ({"steps": slice(0, 9, 0)}, ValueRangeError, "step other than 0"),
        ({"steps": slice("a", 9)}, ValueRangeError, "no slice of whole numbers"),
        ({"steps": (0, 9)}, DtypeError, r"give a slice, for example slice\(0, 500\)"),
    ],
)
def test_bad_arguments(keywords, error, message):
    with pytest.raises(error, match=message):
        _trace_view.view(make_trace("lstm"), **keywords)


def test_only_traces_that_fit_each_other_are_drawn_together():
    trace = make_trace("lstm")

    def alike(*traces):
        return check_alike(traces, ("before", "after"))

    assert alike(trace, trace) == [trace, trace]
    with pytest.raises(
        DtypeError, match=r"trace is a ndarray; give a Trace or a StackTrace, as gatescope.run returns it"
    ):
        _trace_view.view(np.zeros(3))
    with pytest.raises(DtypeError, match="after is an int"):
        alike(trace, 3)
    with pytest.raises(ShapeError, match="after is of a 'gru', but `before` of a 'lstm'"):
        alike(trace, make_trace("gru"))
    with pytest.raises(ShapeError, match=r"shape \(51, 2, 2, 5\) and `before` of \(51, 2, 2, 6\)"):
        alike(trace, make_trace("lstm", hidden_size=5))
    with pytest.raises(ShapeError, match="or other lengths"):
        alike(trace, make_trace("lstm", lengths=[50, 3]))


@pytest.mark.parametrize("name", ["trajectories", "heatmap"])
def test_steps_from_which_a_state_is_not_finite_are_shaded(name):
    trace = make_trace("lstm", lengths=[50, 20])
    trace.states[41:, 0, 1, 3] = np.inf
    trace.states[45:, 0, 1, 3] = np.nan
    if name == "heatmap":
        ax = plotting.plot_gate_heatmap(trace, "c")
    else:
        _, axes = plotting.plot_gate_trajectories(trace, units=[3])
        ax = axes["i"]
        assert all(panel.patches for panel in axes.values())
    assert [text.get_text() for text in ax.texts] == ["not finite from step 40"]
    (shade,) = ax.patches
    assert shade.get_x() == 40
    ax.figure.canvas.draw()
    assert not plotting.plot_gate_heatmap(trace, "c", sequence=1).patches


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", ["trajectories", "heat map", "before and after"])
def test_states_that_grow_beyond_all_bounds_are_drawn(name, sign):
    """Matplotlib's limits overflow near the largest float, and on a linear scale all but the last steps are flat."""
    trace = make_trace("rnn", steps=330, batch=1, hidden_size=2)
    with np.errstate(over="ignore"):
        trace.states[1:, 0, 0, 0] = sign * 10.0 ** np.arange(330.0)  # infinite from step 309
    trace.states[1:, 0, 0, 1] = 0.5
    if name == "trajectories":
        _, axes = plotting.plot_gate_trajectories(trace)
        ax = axes["h"]
        assert ax.get_yscale() == "symlog"
        assert 3 <= len(ax.get_yticks()) <= 5
        labels = [line.get_label() for line in legend_lines(ax)]
        assert "unit 1 (0.50)" in labels
        assert "unit 0" in labels  # it has no mean
    elif name == "heat map":
        ax = plotting.plot_gate_heatmap(trace, "h")
        assert isinstance(ax.images[0].norm, SymLogNorm)
    else:
        _, axes = plotting.plot_gates_before_after(trace, trace)
        ax = axes["h"][2]
    assert [text.get_text() for text in ax.texts] == ["not finite from step 309"]
    plotting.render(ax.figure, dpi=40)
