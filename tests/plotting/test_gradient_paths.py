import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
from helpers.synthetic import make_flow, make_paths
from matplotlib.figure import Figure

from gatescope import plotting
from gatescope.errors import DtypeError, UnknownNameError, ValueRangeError
from gatescope.plotting.gradient_paths import plot_gradient_paths


def areas(ax):
    """(lag, bottom, top) of each area."""
    shares = []
    for area in ax.collections:
        points = area.get_paths()[0].vertices
        lags = np.unique(points[:, 0])
        low = np.array([points[points[:, 0] == lag, 1].min() for lag in lags])
        high = np.array([points[points[:, 0] == lag, 1].max() for lag in lags])
        shares.append((lags, low, high))
    return shares


@pytest.mark.parametrize("scale", ["log", "linear"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_areas_are_the_shares_of_the_norms(cell, scale):
    paths = make_paths(cell)
    ax = plot_gradient_paths(paths, scale=scale)
    drawn = slice(1, None) if scale == "log" else slice(None)
    shares = paths.norm_fractions()[drawn, :, 0]
    assert len(ax.collections) == len(paths.paths)
    for k, (lags, low, high) in enumerate(areas(ax)):
        np.testing.assert_array_equal(lags, paths.lag[drawn])
        np.testing.assert_allclose(low, shares[:, :k].sum(axis=1), atol=1e-14)
        np.testing.assert_allclose(high, shares[:, : k + 1].sum(axis=1), atol=1e-14)
    np.testing.assert_allclose(areas(ax)[-1][2], 1, atol=1e-14)
    (line,) = ax.lines
    expected = np.where(paths.lag[drawn] > 0, 0.5, 1)
    np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-13)
    assert ax.get_xscale() == scale
    assert ax.get_ylim() == (0, 1)


def test_the_legend_goes_from_the_top_down():
    ax = plot_gradient_paths(make_paths("gru"))
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [
        "n (candidate)", "z (update gate)", "r (reset gate)", "direct", "whole / sum of parts"
    ]  # fmt: skip
    assert ax.get_title(loc="left").startswith("gru")
    colours = [tuple(area.get_facecolor()[0]) for area in ax.collections]
    assert len(set(colours)) == len(colours)
    hatches = [area.get_hatch() for area in ax.collections]
    assert all(one != other for one, other in pairwise(hatches))


def test_the_legend_says_where_parts_cancel():
    paths = make_paths("gru")
    total = paths.total_log_norm.copy()
    total[61:] = np.logaddexp.reduce(paths.log_norm[61:], axis=1) - 3.5 * np.log(10)
    ax = plot_gradient_paths(dataclasses.replace(paths, total_log_norm=total))
    said = ax.get_legend().get_texts()[-1].get_text()
    assert said == "whole / sum of parts\n(parts cancel: below 1/100\nat 40 of 101 lags, down to $10^{-3.5}$)"


def test_many_lags_are_means_over_neighbours():
    paths = make_paths("lstm", lags=20_001)
    shares = paths.norm_fractions()[:, :, 0]
    for scale in ("log", "linear"):
        ax = plot_gradient_paths(paths, scale=scale)
        lags, _, high = areas(ax)[0]
        assert 200 < lags.size <= 300
        assert lags[-1] == 20_000
        assert lags[0] == (1 if scale == "log" else 0)
        np.testing.assert_allclose(areas(ax)[-1][2], 1, atol=1e-13)
        assert high.max() <= shares[:, 0].max()
    # Evenly, each bin has 66 or 67 lags, and the first one starts at 0.
    assert high[0] == pytest.approx(shares[:67, 0].mean(), rel=0.02)


def test_one_of_several_sequences():
    paths = make_paths("lstm", batch=2)
    paths.log_norm[:, 1:, 1] = -np.inf
    paths.total_log_norm[:, 1] = paths.log_norm[:, 0, 1]
    ax = plot_gradient_paths(paths, sequence=1)
    np.testing.assert_allclose(areas(ax)[0][2], 1)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 1)


def test_lags_at_which_all_is_zero_are_left_out():
    paths = make_paths("lstm")
    paths.log_norm[0] = -np.inf
    paths.total_log_norm[0] = -np.inf
    ax = plot_gradient_paths(paths, scale="linear")
    assert areas(ax)[0][0][0] == 1
    plotting.render(ax.figure, dpi=40)
    paths.log_norm[:] = -np.inf
    with pytest.raises(ValueRangeError, match="no lag at which any part is above 0"):
        plot_gradient_paths(paths)


@pytest.mark.parametrize("lags", [1, 2])
@pytest.mark.parametrize("scale", ["log", "linear"])
def test_few_lags(lags, scale):
    plotting.render(plot_gradient_paths(make_paths("gru", lags=lags, first=1), scale=scale).figure, dpi=40)


def test_where_it_draws():
    ax = Figure().add_subplot()
    assert plot_gradient_paths(make_paths(), ax=ax, alpha=0.5) is ax
    assert {area.get_alpha() for area in ax.collections} == {0.5}
    named = dataclasses.replace(make_paths("gru"), cell="a$b", paths=("direct", "_x", "z", "n$"))
    plotting.render(plot_gradient_paths(named).figure, dpi=40)


@pytest.mark.slow
def test_it_gives_the_same_bytes():
    first = plotting.render(plot_gradient_paths(make_paths()).figure, "svg")
    assert plotting.render(plot_gradient_paths(make_paths()).figure, "svg") == first


def test_what_does_not_fit():
    with pytest.raises(DtypeError, match="result is a GradientFlow; give a GradientPaths"):
        plot_gradient_paths(make_flow())
    with pytest.raises(ValueRangeError, match="sequence=1 is out of range"):
        plot_gradient_paths(make_paths(), sequence=1)
    with pytest.raises(UnknownNameError, match="scale='cubic' is not known"):
        plot_gradient_paths(make_paths(), scale="cubic")
    assert math.isfinite(make_paths().cancellation()[0, 0])
