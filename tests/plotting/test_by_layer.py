"""plot_by_layer: a panel a layer, as the plot of one draws it; marks of layers in the exponents of a joint state."""

import dataclasses

import numpy as np
import pytest

import gatescope as gs
from gatescope import plotting
from gatescope.errors import DtypeError


def cell(seed, inputs, *, reverse=False):
    params = gs.init("lstm", input_size=inputs, hidden_size=5, seed=seed, dtype="float64")
    return dataclasses.replace(params, reverse=reverse)


INPUTS = np.random.default_rng(0).standard_normal((100, 1, 3))
FORWARD = gs.Stack(layers=(cell(0, 3), cell(1, 5)))
BOTH = gs.Bidirectional(forward=cell(0, 3), backward=cell(1, 3, reverse=True))


@pytest.fixture(scope="module")
def life():
    return gs.half_life(FORWARD, INPUTS)


def headings(fig):
    return {text.get_text() for part in fig.subfigs for text in [part._suptitle] if text is not None}


def test_each_layer_is_drawn_as_it_is_alone_below_the_whole(life):
    fig, axes = plotting.plot_by_layer(life, markersize=9)
    assert list(axes) == ["layers.0", "layers.1", "the whole"]
    assert headings(fig) == {*axes}
    for name, one in {**dict(life.items()), "the whole": life.whole}.items():
        alone = plotting.plot_half_life(one)
        for drawn, expected in zip(axes[name].lines, alone.lines, strict=True):
            np.testing.assert_array_equal(drawn.get_ydata(), expected.get_ydata())
        assert axes[name].lines[0].get_markersize() == 9
    heights = {name: ax.get_window_extent().y0 for name, ax in axes.items()}
    assert heights["layers.0"] < heights["layers.1"] < heights["the whole"]


def test_the_directions_of_a_layer_are_beside_each_other():
    fig, axes = plotting.plot_by_layer(gs.gradient_paths(BOTH, INPUTS, max_lag=20))
    fig.draw_without_rendering()
    ahead, back = (axes[f"layers.0.{way}"].get_window_extent() for way in ("forward", "backward"))
    assert ahead.y0 == pytest.approx(back.y0, abs=1)
    assert ahead.x1 < back.x0
    with plotting.style("column"):
        fig, axes = plotting.plot_by_layer(gs.gradient_paths(BOTH, INPUTS, max_lag=20))
        fig.draw_without_rendering()
    ahead, back = (axes[f"layers.0.{way}"].get_window_extent() for way in ("forward", "backward"))
    assert ahead.y0 > back.y1


def test_a_diagnosis_has_all_its_panels_for_each_layer():
    result = gs.diagnose(FORWARD, INPUTS[:40], target_half_life=5)
    _, axes = plotting.plot_by_layer(result)
    assert len(axes) == 2 * 6
    assert {key.rsplit(".", 1)[1] for key in axes} == {*plotting.plot_diagnosis(result["layers.0"])[1]}


def test_two_runs_of_a_network_have_both_halves_for_each_layer():
    trained = gs.Stack(layers=(cell(2, 3), cell(3, 5)))
    change = gs.compare_traces(
        *(gs.run(stack, INPUTS) for stack in (FORWARD, trained)), labels=("then", "now")
    )
    fig, axes = plotting.plot_by_layer(change)
    assert headings(fig) == {"layers.0", "layers.1"}
    assert [*axes] == [f"layers.{k}.{half}" for k in (0, 1) for half in ("before", "after")]
    _, alone = plotting.plot_saturation_before_after(
        change["layers.1"].saturation(0), change["layers.1"].saturation(1), labels=("then", "now")
    )
    for half, ax in alone.items():
        drawn = axes[f"layers.1.{half}"]
        assert drawn.get_title(loc="left") == ax.get_title(loc="left")
        for one, other in zip(drawn.collections, ax.collections, strict=True):
            np.testing.assert_array_equal(one.get_offsets(), other.get_offsets())


def test_it_goes_into_the_figure_that_is_given(life):
    mine = plotting.new_figure(6, 12)
    fig, _ = plotting.plot_by_layer(life, fig=mine)
    assert fig is mine


@pytest.mark.parametrize("result", [None, FORWARD.layers[0]])
def test_what_is_of_no_layers_is_refused(result):
    with pytest.raises(DtypeError, match="result"):
        plotting.plot_by_layer(result)


def test_kinds_without_a_plot_by_layer_are_refused():
    with pytest.raises(DtypeError, match="Params"):
        plotting.plot_by_layer(gs.ByLayer(names=("layers.0",), results=(FORWARD.layers[0],)))


def test_exponents_of_a_joint_state_are_marked_by_their_layers():
    spectrum = gs.lyapunov_spectrum(FORWARD, INPUTS, transient=20)
    ax = plotting.plot_lyapunov_spectrum(spectrum)
    lines = {line.get_label(): line for line in ax.lines}
    for k, name in enumerate(spectrum.layers):
        own = np.flatnonzero(spectrum.layer[0] == k)
        line = lines[f"{name}: {own.size} exponents"]
        np.testing.assert_array_equal(line.get_xdata(), own + 1)
        np.testing.assert_array_equal(line.get_ydata(), spectrum.exponents[0, own])


def test_the_plot_of_one_says_how_all_are_drawn(life):
    with pytest.raises(
        DtypeError, match=r"is of several layers; take one of them, as in life\['layers\.0'\], or"
    ):
        plotting.plot_half_life(life)
