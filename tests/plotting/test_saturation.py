import dataclasses

import numpy as np
import pytest
from helpers.synthetic import legend_lines, make_trace
from matplotlib.figure import Figure

import gatescope as gs
from gatescope import plotting
from gatescope.errors import DtypeError, ShapeError


def test_gates_are_known_by_what_they_can_be_not_by_their_names():
    trace = dataclasses.replace(
        make_trace("lstm"),
        gate_names=("k", "f", "i", "o"),
        gate_ranges=((0.0, 1.0), (-1.0, 1.0), None, (0.0, 1.0)),
    )
    assert gs.saturation(trace).gates == ("k", "o")
    limits = {name: ax.get_ylim() for name, ax in plotting.plot_gate_trajectories(trace)[1].items()}
    assert limits["k"] == limits["o"] == (-0.04, 1.04)
    assert limits["f"] == (-1.08, 1.08)
    assert limits["i"] not in (limits["o"], limits["f"])
    assert "in (0, 1)" in plotting.plot_gate_heatmap(trace, "k").figure.axes[1].get_ylabel()
    _, axes = plotting.plot_gates_before_after(trace, trace, gates=["k", "f", "i"])
    titles = {name: row[1].get_title("left") for name, row in axes.items()}
    assert ["<0.1" in titles[name] for name in ("k", "f", "i")] == [True, False, False]


def test_a_mark_for_each_unit_and_gate():
    trace = make_trace("lstm", steps=300)
    result = gs.saturation(trace, left=0.3, right=0.8)
    ax = plotting.plot_saturation(result)
    assert len(ax.collections) == 3
    for marks, name in zip(ax.collections, result.gates, strict=True):
        np.testing.assert_array_equal(marks.get_offsets(), np.stack(result.gate(name), axis=1))
    assert ax.get_xlabel() == "fraction of steps shut (below 0.3)"
    assert ax.get_ylabel() == "fraction of steps open (above 0.8)"
    shut, opened = result.gate("f")
    assert (
        ax.collections[1].get_label() == f"f (forget gate): shut {shut.mean():.0%}, open {opened.mean():.0%}"
    )
    (line,) = [line for line in ax.lines if line not in legend_lines(ax)]
    np.testing.assert_array_equal(np.add(line.get_xdata(), line.get_ydata()), [1, 1])


def test_the_legend_lies_where_no_mark_can_be():
    ax = plotting.plot_saturation(gs.saturation(make_trace("lstm")))
    with plotting.style():
        ax.figure.draw_without_rendering()  # lays the legend out
    corner = ax.transData.inverted().transform(ax.get_legend().get_window_extent())[0]
    assert corner.sum() > 1


def test_a_plot_without_saturation_says_so():
    trace = make_trace("gru")
    trace.gates[:] = 0.5
    texts = [text.get_text() for text in plotting.plot_saturation(gs.saturation(trace)).texts]
    assert "all units of all gates: never saturated" in texts
    trace.gates[0, 0, 1, 3] = 0.95
    texts = [text.get_text() for text in plotting.plot_saturation(gs.saturation(trace)).texts]
    assert texts == ["always saturated"]


def test_gates_axes_and_keywords_can_be_given():
    mine = Figure().add_subplot()
    ax = plotting.plot_saturation(gs.saturation(make_trace("gru"), gates="z"), ax=mine, alpha=0.5)
    assert ax is mine
    (marks,) = ax.collections
    assert marks.get_alpha() == 0.5


def test_before_and_after_are_drawn_on_shared_axes():
    before, after = make_trace("lstm"), make_trace("lstm", seed=1)
    after.gate("f")[:] = 1
    pair = gs.saturation(before), gs.saturation(after)
    _, axes = plotting.plot_saturation_before_after(*pair, labels=("epoch 0", "epoch 9"))
    assert [ax.get_title(loc="left") for ax in axes.values()] == ["epoch 0", "epoch 9"]
    marks = axes["after"].collections[1].get_offsets()
    np.testing.assert_array_equal(marks, np.tile([0, 1], (6, 1)))
    assert not np.array_equal(axes["before"].collections[1].get_offsets(), marks)
    assert axes["before"].get_xlim() == axes["after"].get_xlim()
    with pytest.raises(ShapeError, match="after is of cell 'gru', but `before` of 'lstm'"):
        plotting.plot_saturation_before_after(pair[0], gs.saturation(make_trace("gru")))


def test_only_a_saturation_is_drawn():
    with pytest.raises(DtypeError, match="result is a Trace; give a Saturation"):
        plotting.plot_saturation(make_trace("gru"))
