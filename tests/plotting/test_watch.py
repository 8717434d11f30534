"""The plot of a watch: half-lives over the steps of a loop, gates below, what failed."""

import matplotlib
import numpy as np
import pytest
from helpers.watches import make_watch

import gatescope as gs
from gatescope.plotting import _palette, plot_watch, render


def test_half_lives_and_gates_of_every_layer():
    history = make_watch(3)
    fig, axes = plot_watch(history)
    assert list(axes) == ["half_life", *history.layers[:2]]  # an RNN has no gates
    curves = {line.get_label(): line for line in axes["half_life"].lines}
    for k, layer in enumerate(history.layers):
        np.testing.assert_array_equal(curves[layer].get_xdata(), history.step)
        np.testing.assert_array_equal(curves[layer].get_ydata(), history.half_life[:, k])
    lines = axes[history.layers[0]].lines
    assert len(lines) == 6
    np.testing.assert_array_equal(lines[2].get_ydata(), history.saturation[:, 0, 1, 1])
    np.testing.assert_array_equal(lines[3].get_ydata(), history.saturation[:, 0, 1, 0])
    assert [line.get_color() for line in lines[2:4]] == [_palette.GATES["forget gate"].color] * 2
    assert fig.axes[-1].get_xlabel() == "step of the loop"


def test_what_is_infinite_or_failed_is_marked():
    history = make_watch(2, failed=(4,), endless=(9, 11))
    _, axes = plot_watch(history)
    panel = axes["half_life"]
    hollow = [line for line in panel.lines if line.get_markerfacecolor() == "white"]
    assert hollow[0].get_xdata().tolist() == history.step[[9, 11]].tolist()
    assert hollow[0].get_ydata().tolist() == [panel.get_ylim()[1]] * 2
    assert "infinite" in [text.get_text() for text in panel.texts]
    (failed,) = [line for line in panel.lines if line.get_label() == "reading failed"]
    assert failed.get_xdata().tolist() == [history.step[4]]
    curve = panel.lines[0].get_ydata()
    assert np.isnan(curve[4])


def test_of_many_layers_some_are_drawn_and_any_can_be_chosen():
    history = make_watch(9)
    _, axes = plot_watch(history)
    assert list(axes) == ["half_life", *(history.layers[k] for k in (0, 1, 3, 4))]
    title = axes[history.layers[4]].get_legend().get_title().get_text()
    assert "2 more layers have gates" in title.replace("\n", " ")
    mine = matplotlib.figure.Figure()
    fig, axes = plot_watch(history, layers=[history.layers[7]], fig=mine, lw=3)
    assert fig is mine
    assert list(axes) == ["half_life", history.layers[7]]
    assert {line.get_linewidth() for line in axes[history.layers[7]].lines} == {3}
    with pytest.raises(gs.UnknownNameError, match="layers='lstm' is not known; choose from"):
        plot_watch(history, layers="lstm")


def test_nothing_known_is_drawn_too_and_the_same_bytes_come_out_twice():
    plot_watch(make_watch(1, failed=range(12)))
    history = make_watch(2)
    assert render(plot_watch(history)[0]) == render(plot_watch(history)[0])
    assert history._repr_html_().count("<img") == 1
