"""A forest of effects: every row has its mean, interval, margin and pairs, and a text where it is no ratio."""

import dataclasses
import math

import numpy as np
import pytest
from helpers.arms import spread
from helpers.verdicts import EFFECTS, made_verdict

import gatescope as gs
from gatescope.errors import DtypeError, ShapeError, ValueRangeError
from gatescope.experiments.seeds.statistics import by_share, paired
from gatescope.plotting._inline import png


def lines(ax, label):
    return [line for line in ax.lines if line.get_label() == label]


def test_what_a_row_shows_is_where_it_is():
    effect = paired(np.log([0.5, 0.6, 0.4]), margin=math.log(1.25), name="adding")
    ax = gs.plotting.plot_effects([effect, spread(0.1, 0.05, name="xor")])
    (pairs,), (interval,), (mean,) = (
        lines(ax, name) for name in ("pairs of a seed", "95 % interval", "mean (of times: median)")
    )
    np.testing.assert_allclose(pairs.get_xdata(), [0.5, 0.6, 0.4])
    np.testing.assert_allclose(interval.get_xdata(), np.exp([effect.low, effect.high]))
    np.testing.assert_allclose(mean.get_xdata(), [np.exp(effect.mean)])
    assert {*pairs.get_ydata(), *interval.get_ydata(), *mean.get_ydata()} == {0}
    (margin, other) = ax.collections
    box = margin.get_paths()[0].get_extents()
    np.testing.assert_allclose([box.x0, box.x1], [0.8, 1.25])
    assert other.get_label() == "_"  # said once
    assert ax.get_ylim() == (1.5, -0.5)  # from top to bottom
    assert [label.get_text() for label in ax.get_yticklabels()] == ["adding", "xor"]


def test_an_interval_beyond_the_axis_has_an_arrow():
    ax = gs.plotting.plot_effects(spread(0.0, 9.0))
    arrows = [line.get_marker() for line in ax.lines if line.get_marker() in "<>"]
    assert arrows == ["<", ">"]
    assert np.exp(4) < ax.get_xlim()[1] < np.exp(9)
    assert not [
        line for line in gs.plotting.plot_effects(spread(0.0, 0.5)).lines if line.get_marker() in "<>"
    ]


def test_what_is_no_ratio_is_a_text():
    share = by_share(np.zeros(6, bool), np.ones(6, bool), name="xor")
    difference = paired(np.linspace(-0.05, 0.1, 6), margin=0.1, name="music", measure="difference")
    ax = gs.plotting.plot_effects([share, difference])
    texts = [text.get_text() for text in ax.texts]
    assert texts == [share.text(), f"a difference: {difference.text()}"]
    assert not lines(ax, "95 % interval")


def test_one_pair_has_no_interval():
    ax = gs.plotting.plot_effects(paired(np.array([-0.1]), margin=0.2))
    assert not lines(ax, "95 % interval")
    assert len(lines(ax, "mean (of times: median)")) == 1


def test_labels_arms_and_keywords():
    effect = dataclasses.replace(spread(0.1, 0.1, name="copying"), arms=("lstm", "gru"))
    ax = gs.plotting.plot_effects(effect, title="which does better", markersize=11)
    assert ax.get_yticklabels()[0].get_text() == "copying (gru / lstm)"
    assert ax.get_legend().get_title().get_text() == "which does better"
    assert lines(ax, "mean (of times: median)")[0].get_markersize() == 11
    assert gs.plotting.plot_effects(effect, labels=["$x"]).get_yticklabels()[0].get_text() == r"\$x"
    with pytest.raises(ShapeError, match="labels holds 2 texts, but there are 1"):
        gs.plotting.plot_effects(effect, labels=["a", "b"])


def test_what_is_no_effect_is_refused():
    with pytest.raises(DtypeError, match="effects"):
        gs.plotting.plot_effects(made_verdict())
    with pytest.raises(ValueRangeError, match="effects is empty"):
        gs.plotting.plot_effects([])


def test_a_verdict_shows_them_in_a_notebook():
    assert png(made_verdict(effects=EFFECTS[0])).startswith(b"\x89PNG")
    assert png(made_verdict()) is None
