import math

import numpy as np
import pytest
from helpers.synthetic import legend_lines
from matplotlib.figure import Figure

from gatescope import plotting
from gatescope.datatypes.jacobian_spectrum import JacobianSpectrum
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.plotting.jacobian_spectrum import plot_jacobian_spectrum

LN10 = math.log(10)


def make_result(count=4, *, rate=0.1, lags=(0, 1, 10, 100), batch=1, of="joint", wrt="joint"):
    """Singular value k of sequence b decays by rate * (k + 1) * (b + 1) nats a step."""
    lag = np.array(lags, np.int64)
    log_singular = -rate * lag[:, None, None] * np.arange(1.0, batch + 1)[:, None] * np.arange(1.0, count + 1)
    return JacobianSpectrum(
        cell="lstm", lag=lag, log_singular=log_singular, of=of, wrt=wrt, source_step=int(lag[-1])
    )


def bands(ax):
    """Return the filled bands' vertices; the shading of underflow is no collection."""
    return [collection.get_paths()[0].vertices for collection in ax.collections]


def test_few_singular_values_are_a_line_each():
    result = make_result(batch=2)
    ax = plot_jacobian_spectrum(result, sequence=1)
    lines = legend_lines(ax)
    assert [line.get_label() for line in lines] == [rf"$\sigma_{{{k}}}$" for k in (1, 2, 3, 4)]
    for k, line in enumerate(lines):
        np.testing.assert_array_equal(line.get_xdata(), result.lag)
        np.testing.assert_allclose(line.get_ydata(), result.log_singular[:, 1, k] / LN10, rtol=1e-15)
    assert not ax.collections


def test_many_are_the_largest_the_median_and_the_smallest():
    result = make_result(33)
    ax = plot_jacobian_spectrum(result, lw=4)
    lines = legend_lines(ax)
    assert [line.get_label() for line in lines] == ["largest", "median", "smallest"]
    for line, k in zip(lines, (0, 16, 32), strict=True):
        np.testing.assert_allclose(line.get_ydata(), result.log_singular[:, 0, k] / LN10, rtol=1e-15)
        assert line.get_linewidth() == 4
    whole, middle = bands(ax)
    last = result.log_singular[-1, 0] / LN10
    np.testing.assert_allclose([whole[:, 1].min(), middle[:, 1].min()], [last[32], last[24]], rtol=1e-15)
    assert middle[-2, 1] == pytest.approx(0, abs=1e-15)


def test_what_is_exactly_zero_is_counted_not_drawn():
    result = make_result(10)
    result.log_singular[-1, 0, 4:] = -np.inf
    ax = plot_jacobian_spectrum(result)
    assert ax.get_legend().get_title().get_text().endswith("; up to 6 exactly 0, not drawn")
    for line, k in zip(legend_lines(ax), (0, 2, 3), strict=True):  # of the four that are left
        assert line.get_ydata()[-1] == pytest.approx(result.log_singular[-1, 0, k] / LN10, rel=1e-15)
    few = make_result(2)
    few.log_singular[2:, 0, 1] = -np.inf
    ax = plot_jacobian_spectrum(few)
    np.testing.assert_array_equal(np.isfinite(legend_lines(ax)[1].get_ydata()), [True, True, False, False])
    few.log_singular[:] = -np.inf
    plotting.render(plot_jacobian_spectrum(few).figure, dpi=40)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_underflow_is_marked_where_values_reach_it(scale):
    assert not plot_jacobian_spectrum(make_result(rate=0.01), scale=scale).texts
    ax = plot_jacobian_spectrum(make_result(rate=1.0), scale=scale)
    assert ax.texts[0].get_text() == "float32\nunderflows"
    ax = plot_jacobian_spectrum(make_result(8, rate=2.0), scale=scale)
    assert [text.get_text() for text in ax.texts] == ["float32\nunderflows", "float64\nunderflows"]
    with plotting.style():
        ax.figure.draw_without_rendering()
    assert ax.get_legend().get_window_extent().y0 >= ax.get_window_extent().y1


def test_the_axis_names_the_block():
    assert r"\partial s_t\,/\,\partial s_{t-" in plot_jacobian_spectrum(make_result()).get_ylabel()
    assert (
        r"\partial h_t\,/\,\partial c_{t-"
        in plot_jacobian_spectrum(make_result(of="h", wrt="c")).get_ylabel()
    )


def test_one_lag_is_a_point():
    for count in (2, 9):
        ax = plot_jacobian_spectrum(make_result(count, lags=(5,)))
        assert all(line.get_marker() != "None" for line in legend_lines(ax))
        plotting.render(ax.figure, dpi=40)


def test_given_axes_are_used():
    mine = Figure().add_subplot()
    assert plot_jacobian_spectrum(make_result(), ax=mine) is mine


def test_bad_arguments():
    with pytest.raises(DtypeError, match="result is a list; give a JacobianSpectrum"):
        plot_jacobian_spectrum([make_result()])
    with pytest.raises(ValueRangeError, match="sequence=-1 is out of range"):
        plot_jacobian_spectrum(make_result(), sequence=-1)
    with pytest.raises(UnknownNameError, match="scale='cubic' is not known"):
        plot_jacobian_spectrum(make_result(), scale="cubic")
    with pytest.raises(ShapeError, match="result does not fit"):
        plot_jacobian_spectrum(make_result(0))
