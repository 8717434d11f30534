"""Runs of several layers: a layer that is chosen, or each in a part of the figure."""

import numpy as np
import pytest
from helpers.synthetic import legend_lines, make_trace
from matplotlib.figure import Figure

import gatescope as gs
from gatescope import plotting
from gatescope.errors import DtypeError, UnknownNameError, ValueRangeError


def made(*cells, steps=60, **options):
    """Return a run that nothing has computed: of layers of one direction, or of two for a pair of cells."""
    names, traces = [], []
    for number, cell in enumerate(cells):
        ways = zip(("forward", "backward"), cell, strict=True) if isinstance(cell, tuple) else [("", cell)]
        for way, each in ways:
            names.append(f"layers.{number}" + (f".{way}" if way else ""))
            traces.append(make_trace(each, steps=steps, **options))
    outputs = np.zeros((steps, traces[0].inputs.shape[1], 2))
    return gs.StackTrace(names=tuple(names), results=tuple(traces), outputs=outputs)


BOTH = made(("lstm", "lstm"), "gru", ("rnn", "lstm"))


@pytest.mark.parametrize("plot", [plotting.plot_gate_trajectories, plotting.plot_gate_heatmaps])
def test_each_layer_has_a_part(plot):
    figure, axes = plot(BOTH)
    # The memory gate of each, and the state of a cell without gates.
    expected = ["0.forward.f", "0.backward.f", "1.z", "2.forward.h", "2.backward.f"]
    assert list(axes) == [f"layers.{name}" for name in expected]
    figure.draw_without_rendering()
    places = {name: axes[name].bbox.bounds for name in axes}
    assert places["layers.0.forward.f"][0] < places["layers.0.backward.f"][0]  # beside each other
    assert places["layers.0.forward.f"][1] < places["layers.1.z"][1] < places["layers.2.forward.h"][1]


def test_curves_are_those_of_their_layer():
    _, axes = plotting.plot_gate_trajectories(BOTH, gates=["f", "h"], units=[2], sequence=1)
    assert [*axes][:3] == ["layers.0.forward.f", "layers.0.forward.h", "layers.0.backward.f"]
    assert "layers.1.f" not in axes
    for name, ax in axes.items():
        layer, _, gate = name.rpartition(".")
        trace = BOTH[layer]
        values = trace.gate("f")[:, 1, 2] if gate == "f" else trace.h[1:, 1, 2]
        np.testing.assert_array_equal(legend_lines(ax)[0].get_ydata(), values)


def test_a_layer_is_chosen():
    _, axes = plotting.plot_gate_trajectories(BOTH, layer="layers.-2", units=[1])
    assert list(axes) == ["r", "z", "n", "h"]
    np.testing.assert_array_equal(legend_lines(axes["z"])[0].get_ydata(), BOTH["layers.1"].gate("z")[:, 0, 1])
    assert axes["r"].get_legend().get_title().get_text().startswith("layers.1, gru: units")
    _, axes = plotting.plot_gate_heatmaps(BOTH, layer="layers.0", gates="f")
    assert list(axes) == ["layers.0.forward.f", "layers.0.backward.f"]
    ax = plotting.plot_gate_heatmap(BOTH, "z", layer="layers.1")
    assert ax.get_title("left").startswith("layers.1, gru: z")
    np.testing.assert_array_equal(ax.images[0].get_array(), BOTH["layers.1"].gate("z")[:, 0].T)
    _, rows = plotting.plot_gates_before_after(BOTH, BOTH, layer="layers.2.backward", gates="f")
    assert list(rows) == ["f"]
    assert plotting.animate_steps(BOTH, layer="layers.1", gates="z", frames=1)._repr_html_()
    assert plotting.animate_gates([BOTH, BOTH], [0, 1], layer="layers.1", gates="z", frames=1)._repr_html_()
    lines = plotting.plot_inputs(BOTH).lines
    np.testing.assert_array_equal(lines[0].get_ydata(), BOTH.inputs[:, 0, 0])


def test_what_is_left_open_is_asked():
    for call in (
        lambda **to: plotting.plot_gate_heatmap(BOTH, "f", **to),
        lambda **to: plotting.animate_steps(BOTH, **to),
        lambda **to: plotting.plot_gates_before_after(BOTH, BOTH, **to),
    ):
        with pytest.raises(ValueRangeError, match=r"layer=None leaves open which of 'layers.0.forward'"):
            call()
        with pytest.raises(UnknownNameError, match=r"layer='layers.3' names a layer that is not among"):
            call(layer="layers.3")
    with pytest.raises(ValueRangeError, match=r"leave it out"):
        plotting.plot_gate_trajectories(make_trace("lstm"), layer="layers.0")
    with pytest.raises(DtypeError, match=r"give a Trace or a StackTrace"):
        plotting.plot_gate_trajectories("trace")
    with pytest.raises(UnknownNameError, match="q2"):
        plotting.plot_gate_trajectories(BOTH, gates=["q2"])


def test_a_run_of_one_layer_needs_no_choice():
    one = made("gru")
    _, axes = plotting.plot_gate_trajectories(one)
    assert list(axes) == ["r", "z", "n", "h"]
    assert plotting.plot_gate_heatmap(one, "z").images


def test_in_a_column_and_in_a_figure_of_ones_own():
    with plotting.style("column"):
        figure, axes = plotting.plot_gate_trajectories(BOTH)
    assert figure.get_figwidth() == pytest.approx(3.4)
    figure.draw_without_rendering()
    assert len({round(ax.bbox.bounds[0]) // 20 for ax in axes.values()}) == 1  # one below the other
    own = Figure(figsize=(9, 9))
    figure, _ = plotting.plot_gate_trajectories(BOTH, fig=own)
    assert figure is own


def test_the_characters_of_a_text_are_those_of_every_layer():
    trace = made("lstm", "gru", steps=12)
    trace = gs.StackTrace(
        names=trace.names,
        results=trace.results,
        outputs=trace.outputs,
        provenance={"inputs_text": "hello, world"},
    )
    ax = plotting.plot_gate_heatmap(trace, "z", layer="layers.1")
    assert [tick.get_text() for tick in ax.get_xticklabels()][:5] == list("hello")


def test_a_notebook_shows_the_memory_gate_of_each_layer():
    shown = made("lstm", "gru")._repr_html_()
    assert "data:image/png;base64" in shown
    assert "run of gru on lstm: 60 steps" in shown


# ---- saturation ----


def test_saturation_of_each_layer():
    trace, counted = BOTH, gs.saturation(BOTH)
    assert counted.names == trace.names
    assert counted["layers.1"] == gs.saturation(trace["layers.1"]) == gs.saturation(trace, layer="layers.1")
    assert counted["layers.2.forward"].gates == ()  # an RNN
    assert gs.saturation(trace, gates="z")["layers.0.forward"].gates == ()
    assert [row[0] for row in counted.table().rows][:4] == [*["layers.0.forward"] * 3, "layers.0.backward"]
    assert "layers.1: gates of gru, 6 units over 120 steps" in counted.summary()
    with pytest.raises(ValueRangeError, match="leaves open"):
        gs.saturation(trace, layer="layers.0")
    with pytest.raises(UnknownNameError, match="saves no gate"):
        gs.saturation(made("rnn", "rnn"))
    with pytest.raises(DtypeError, match=r"result\['layers.0.forward'\], or all with plot_by_layer"):
        plotting.plot_saturation(counted)
    _, axes = plotting.plot_by_layer(counted)
    assert list(axes) == [name for name in trace.names if name != "layers.2.forward"]
    np.testing.assert_array_equal(
        axes["layers.1"].collections[0].get_offsets()[:, 0], counted["layers.1"].shut[0]
    )


def test_saturation_is_saved(tmp_path):
    counted = gs.saturation(BOTH)
    counted.save(tmp_path / "a.npz")
    assert gs.load(tmp_path / "a.npz") == counted
