"""The figure of the 20,000-step experiment, as data."""

import numpy as np
import pytest
from helpers.curves import as_published, made

from gatescope import plotting
from gatescope.errors import DtypeError
from gatescope.plotting import _palette
from gatescope.plotting.long_series import plot_long_series


def lines(ax):
    return {line.get_label(): line for line in ax.lines}


def test_medians_bands_and_the_crossing():
    result = made(as_published())
    fig, axes = plot_long_series(result)
    assert list(axes) == ["loss", "spikes", "volatility"]
    ax = axes["loss"]
    drawn = lines(ax)
    for cell in ("lstm", "gru"):
        np.testing.assert_array_equal(drawn[cell.upper()].get_xdata(), np.arange(1, 1001))
        np.testing.assert_array_equal(drawn[cell.upper()].get_ydata(), result.median(cell))
        assert drawn[cell.upper()].get_color() == _palette.CELLS[cell].color
    for band, cell in zip(ax.collections, ("lstm", "gru"), strict=True):
        heights = band.get_paths()[0].vertices[:, 1]
        np.testing.assert_allclose(
            [heights.min(), heights.max()],
            [result.band(cell)[0].min(), result.band(cell)[1].max()],
            rtol=1e-12,
        )
    (crossing,) = result.crossings()
    (mark,) = (line for line in ax.lines if line.get_marker() == "o" and len(line.get_xdata()) == 1)
    assert mark.get_xdata()[0] == crossing.epoch
    assert [text.get_text() for text in ax.texts] == [f"GRU lower from epoch {crossing.epoch}"]
    assert "reliminary" not in ax.get_title(loc="left")
    assert len(plotting.render(fig)) > 20_000


def test_every_seed_has_its_volatility_and_spikes_are_those_of_a_middling_run():
    result = made(as_published())
    _, axes = plot_long_series(result)
    volatility = result.volatility()
    for k in (0, 1):
        drawn = [line.get_ydata() for line in axes["volatility"].lines if len(line.get_ydata()) == 10][k]
        np.testing.assert_array_equal(np.sort(drawn), np.sort(volatility[k]))
        curve = axes["spikes"].lines[k]
        (seed,) = (s for s in range(10) if curve.get_label().endswith(f"seed {s}"))
        assert np.argsort(np.argsort(volatility[k]))[seed] == 5
        np.testing.assert_allclose(curve.get_ydata(), np.exp(result.detrended()[k, seed]), rtol=1e-12)
        low, high = axes["spikes"].get_ylim()
        assert low < curve.get_ydata().min()
        assert curve.get_ydata()[100:].max() < high


def test_curves_that_do_not_cross_are_not_marked_and_several_crossings_are_reported():
    falling = np.linspace(3, 1, 200)
    _, axes = plot_long_series(made([[falling], [0.9 * falling]]))
    assert not axes["loss"].texts
    wave = falling * np.exp(0.1 * np.sin(np.arange(200) / 15))
    result = made([[falling], [wave]])
    assert len(result.crossings()) > 1
    _, axes = plot_long_series(result)
    assert f"(the last of {len(result.crossings())} crossings)" in axes["loss"].texts[0].get_text()


@pytest.mark.parametrize(
    ("seeds", "epochs", "cells"),
    [
        (1, 1, ("gru",)),
        (1, 2, ("lstm", "gru")),
        (2, 3, ("gru",)),
        (3, 60, ("rnn", "lstm", "gru")),
    ],
)
def test_small_ones(seeds, epochs, cells):
    curves = np.repeat(as_published(seeds, epochs)[:1], len(cells), axis=0)
    fig, axes = plot_long_series(made(curves, cells=cells, baseline=np.nan))
    assert "Preliminary" in axes["loss"].get_title(loc="left")
    assert len(axes["loss"].get_legend().get_texts()) == len(cells)
    plotting.render(fig, dpi=40)


def test_runs_that_diverged():
    curves = as_published(3, 80)
    curves[0, 1, 40:] = curves[1, :, 20:] = np.nan
    fig, axes = plot_long_series(made(curves))
    assert np.isnan(lines(axes["loss"])["GRU"].get_ydata()[20:]).all()
    plotting.render(fig, dpi=40)


def test_where_it_draws():
    figure = plotting.new_figure(9, 7)
    fig, _ = plot_long_series(made(as_published(2, 30)), fig=figure, linewidth=5)
    assert fig is figure
    assert {line.get_linewidth() for line in fig.axes[0].lines[:2]} == {5}
    with pytest.raises(DtypeError, match="result is a dict; give a LongSeriesResult"):
        plot_long_series({})
