import dataclasses

import matplotlib
import numpy as np
import pytest
from helpers.synthetic import legend_lines, make_trace
from matplotlib.figure import Figure

from gatescope import plotting
from gatescope.errors import ShapeError
from gatescope.plotting._distribution import distribution, value_edges
from gatescope.plotting._trace_view import spread_units
from gatescope.plotting.gates_before_after import plot_gates_before_after


def pair(cell="lstm", **keywords):
    return make_trace(cell, **keywords), make_trace(cell, seed=1, **keywords)


@pytest.mark.parametrize(("cell", "rows"), [("lstm", list("ifgo")), ("gru", list("rzn")), ("rnn", ["h"])])
def test_a_row_for_each_gate_and_the_states_of_a_cell_without_gates(cell, rows):
    _, axes = plot_gates_before_after(*pair(cell))
    assert list(axes) == rows


def test_curves_are_the_arrays_of_the_same_units_on_shared_axes():
    before, after = pair("lstm", lengths=[50, 40])
    _, axes = plot_gates_before_after(
        before, after, gates=["f", "c"], units=[4, 1], sequence=1, steps=slice(10, 60)
    )
    for name, (first, first_bars, second, second_bars) in axes.items():
        for trace, ax in ((before, first), (after, second)):
            values = trace.gate("f")[10:40, 1] if name == "f" else trace.state("c")[11:41, 1]
            lines = legend_lines(ax)
            assert [line.get_label() for line in lines] == ["unit 4", "unit 1"]
            for line, unit in zip(lines, [4, 1], strict=True):
                np.testing.assert_array_equal(line.get_xdata(), np.arange(10, 40))
                np.testing.assert_array_equal(line.get_ydata(), values[:, unit])
        limits = {ax.get_ylim() for ax in (first, first_bars, second, second_bars)}
        assert len(limits) == 1
        assert first.get_xlim() == second.get_xlim() == (10, 39)
        assert first_bars.get_xlim() == second_bars.get_xlim()


def test_default_units_are_spread_over_the_gate_that_keeps_the_memory_after_training():
    before, after = pair("gru", hidden_size=20)
    _, axes = plot_gates_before_after(before, after, gates="r")
    expected = [f"unit {unit}" for unit in spread_units(after)[0]]
    assert [line.get_label() for line in legend_lines(axes["r"][0])] == expected
    assert [line.get_label() for line in legend_lines(axes["r"][2])] == expected
    assert spread_units(after)[0] != spread_units(before)[0]


def test_bars_count_all_values_inside_the_sequences():
    trace = make_trace("lstm", steps=4, batch=2, hidden_size=1, lengths=[4, 1])
    gate = trace.gate("f")
    gate[:, 0, 0] = [0.05, 0.5, 0.95, 1.0]
    gate[:, 1, 0] = [0.01, 0.95, 0.95, 0.95]  # past the end from step 1
    shown = distribution(trace, "f", value_edges("f", [trace]))
    assert shown.percent.sum() == pytest.approx(100)
    assert (shown.percent[:4].sum(), shown.percent[-4:].sum(), shown.outside) == (40, 40, 0)
    _, axes = plot_gates_before_after(trace, trace, gates="f")
    (bars,) = axes["f"][1].patches
    np.testing.assert_array_equal(bars.get_data().values, shown.percent)
    assert axes["f"][1].get_title(loc="left") == "40 % <0.1, 40 % >0.9"


@pytest.mark.parametrize("name", ["f", "g", "c"])
def test_edges_hold_all_values(name):
    before, after = pair("lstm")
    after.state("c")[3] *= 7
    edges = value_edges(name, [before, after])
    if name == "c":
        assert edges[0] == min(before.state("c")[1:].min(), after.state("c")[1:].min())
        assert edges[-1] == max(before.state("c")[1:].max(), after.state("c")[1:].max())
    for trace in (before, after):
        assert distribution(trace, name, edges).percent.sum() == pytest.approx(100)


def test_values_that_are_not_finite_are_counted_apart():
    trace = make_trace("lstm", steps=10, batch=1, hidden_size=1)
    trace.gate("f")[:3] = np.nan
    trace.state("c")[:] = np.nan
    _, axes = plot_gates_before_after(trace, trace, gates=["f", "c"])
    assert axes["f"][1].get_title(loc="left") == "30 % not finite"
    assert axes["c"][1].get_title(loc="left") == "100 % not finite"
    plotting.render(axes["f"][0].figure, dpi=40)


def test_many_steps_are_averaged_with_a_band_of_their_range():
    before, after = pair("gru", steps=1501, batch=1)
    _, axes = plot_gates_before_after(before, after, gates="z", units=2)
    ax = axes["z"][0]
    (line,) = legend_lines(ax)
    series = before.gate("z")[:, 0, 2]
    assert "means of 11" in ax.get_xlabel()
    # Sums in another order differ by rounding.
    np.testing.assert_allclose(line.get_ydata()[1], series[11:22].mean(), rtol=1e-13)
    assert line.get_xdata()[1] == 16
    (band,) = ax.collections
    drawn = band.get_paths()[0].vertices[:, 1]
    assert (drawn.min(), drawn.max()) == (series.min(), series.max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_unit_one_step_one_sequence_and_a_cell_of_ones_own(dtype):
    trace = make_trace("rnn", steps=1, batch=1, hidden_size=1)
    mine = dataclasses.replace(
        trace,
        cell="_my$cell",
        gate_names=("open_",),
        gate_ranges=(None,),
        gates=np.full((1, 1, 1, 1), 3, dtype),
        states=trace.states.astype(dtype),
    )
    fig, axes = plot_gates_before_after(mine, mine, gates=["open_", "h"], labels=("_a$", "b$"))
    assert legend_lines(axes["open_"][0])[0].get_marker() not in ("None", "")
    assert fig.legends[0].get_title().get_text().endswith(r"_my\$cell, its only unit")
    plotting.render(fig, dpi=40)


def test_figure_and_keywords_are_used():
    mine = Figure()
    fig, axes = plot_gates_before_after(*pair(), gates="f", fig=mine, lw=3)
    assert fig is mine
    assert legend_lines(axes["f"][0])[0].get_linewidth() == 3
    assert [axes["f"][k].get_title(loc="left") for k in (0, 2)] == ["before training", "after training"]


def test_the_traces_have_to_fit_each_other():
    with pytest.raises(ShapeError, match="after is of a 'gru'"):
        plot_gates_before_after(make_trace("lstm"), make_trace("gru"))
    with pytest.raises(ShapeError, match="labels holds 1 text"):
        plot_gates_before_after(*pair(), labels=["a"])


def test_settings_stay():
    before = dict(matplotlib.rcParams)
    plot_gates_before_after(*pair("gru"))
    assert dict(matplotlib.rcParams) == before


def test_events_and_inputs_are_drawn_in_both_halves():
    before, after = pair("gru", steps=40, batch=1)
    before.inputs[:] = after.inputs[:] = np.arange(40.0)[:, None, None]
    _, axes = plot_gates_before_after(before, after, gates=["z"], marks={7: "onset"}, inputs=True)
    assert list(axes) == ["inputs", "z"]
    for name in axes:
        for column in (0, 2):
            marked = [
                line.get_xdata()[0] for line in axes[name][column].lines if line.get_label().startswith("_")
            ]
            assert marked == [7]
    for column in (0, 2):
        np.testing.assert_array_equal(axes["inputs"][column].lines[0].get_ydata(), np.arange(40))
        assert [text.get_text() for text in axes["inputs"][column].texts] == ["onset"]


def test_in_a_column_what_is_after_stands_below_what_is_before():
    with plotting.style("column"):
        _, axes = plot_gates_before_after(*pair("gru"))
    for row in axes.values():
        first, bars, second, more = (ax.get_position() for ax in row)
        assert first.y0 == bars.y0 > second.y0 == more.y0
        assert len({ax.get_ylim() for ax in row}) == 1
    assert [axes["n"][k].get_title(loc="left") for k in (0, 2)] == ["before training", "after training"]
