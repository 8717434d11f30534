import dataclasses
import math

import numpy as np
import pytest
from helpers.synthetic import legend_lines, make_flow
from matplotlib.figure import Figure

import gatescope as gs
from gatescope import plotting
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.plotting import _decades, _palette


def cross(ax):
    """Return the marks where a gradient becomes exactly zero."""
    return [line for line in ax.lines if line.get_marker() == "x"]


def margin(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_lines_are_the_norms_in_powers_of_ten(scale):
    flows = [make_flow("rnn", 0.5), make_flow("gru", 0.02), make_flow("lstm", 0.003)]
    ax = plotting.plot_gradient_flow(flows, scale=scale)
    lines = legend_lines(ax)
    assert len(lines) == 3
    for line, flow in zip(lines, flows, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), flow.lag)
        np.testing.assert_allclose(line.get_ydata(), flow.log_norm[:, 0] / math.log(10), rtol=1e-15)
        assert line.get_color() == _palette.CELLS[flow.cell].color


def test_the_legend_gives_the_fitted_rate():
    ax = plotting.plot_gradient_flow([make_flow("rnn", 0.5), make_flow("lstm", 0.003)])
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["rnn: 0.5 (lags 10 to 100, $R^2$ 1.000)", "lstm: 0.003 (lags 10 to 100, $R^2$ 1.000)"]
    fits = [line for line in ax.lines if line not in legend_lines(ax) and len(line.get_xdata()) == 200]
    assert len(fits) == 2
    for line, rate in zip(fits, (0.5, 0.003), strict=True):
        assert (line.get_xdata()[0], line.get_xdata()[-1]) == (10, 100)
        # The fit sums 91 products; its slope is exact to rounding.
        np.testing.assert_allclose(line.get_ydata(), -rate * line.get_xdata() / math.log(10), rtol=1e-10)


def test_without_a_fit_labels_are_the_cells():
    ax = plotting.plot_gradient_flow([make_flow("rnn"), make_flow("gru")], fit=False)
    assert [line.get_label() for line in ax.lines] == ["rnn", "gru"]
    ax = plotting.plot_gradient_flow([make_flow("lstm"), make_flow("lstm", of="c", wrt="c")], fit=False)
    assert [line.get_label() for line in legend_lines(ax)] == ["lstm dh/dh", "lstm dc/dc"]
    assert len({line.get_color() for line in legend_lines(ax)}) == 2
    ax = plotting.plot_gradient_flow(make_flow("gru"), fit=False, labels=["trained"])
    assert [line.get_label() for line in legend_lines(ax)] == ["trained"]


def test_a_line_ends_where_the_gradient_is_exactly_zero():
    flow = make_flow("gru", 0.1, zero_after=60)
    ax = plotting.plot_gradient_flow(flow)
    (line,) = legend_lines(ax)
    np.testing.assert_array_equal(np.isfinite(line.get_ydata()), flow.lag <= 60)
    (mark,) = cross(ax)
    assert mark.get_xdata() == [60]
    np.testing.assert_allclose(mark.get_ydata(), [-6 / math.log(10)], rtol=1e-15)
    assert line.get_label().endswith("; exactly 0 after lag 60")
    assert np.isfinite(ax.get_ylim()).all()


def test_a_gap_of_exact_zeros_is_no_end():
    flow = make_flow("gru", 0.1)
    flow.log_norm[40:50] = -np.inf
    ax = plotting.plot_gradient_flow(flow)
    assert not cross(ax)
    assert np.isnan(legend_lines(ax)[0].get_ydata()[40:50]).all()


def test_a_gradient_that_is_zero_everywhere():
    ax = plotting.plot_gradient_flow(make_flow("rnn", zero_after=-1))
    assert legend_lines(ax)[0].get_label().endswith("exactly 0 at every lag")
    plotting.render(ax.figure, dpi=40)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_a_single_lag(scale):
    ax = plotting.plot_gradient_flow(make_flow("rnn", lags=1), scale=scale)
    assert legend_lines(ax)[0].get_marker() == _palette.CELLS["rnn"].marker
    plotting.render(ax.figure, dpi=40)


def test_several_sequences_are_their_median_and_range():
    flow = make_flow("lstm", 0.1, batch=3)
    ax = plotting.plot_gradient_flow(flow, fit=False)
    (line,) = ax.lines
    np.testing.assert_allclose(line.get_ydata(), flow.log_norm[:, 1] / math.log(10), rtol=1e-15)
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(-30 / math.log(10), rel=1e-15)


def test_where_one_of_several_sequences_is_zero_the_line_goes_on():
    flow = make_flow("lstm", 0.1, batch=3)
    flow.log_norm[30:, 0] = -np.inf
    ax = plotting.plot_gradient_flow(flow, fit=False)
    assert np.isfinite(ax.lines[0].get_ydata()).all()
    assert not cross(ax)
    flow.log_norm[60:, 1] = -np.inf
    ax = plotting.plot_gradient_flow(flow, fit=False)
    assert np.flatnonzero(np.isfinite(ax.lines[0].get_ydata()))[-1] == 59
    assert cross(ax)[0].get_xdata() == [59]


def test_underflow_is_where_the_smallest_floats_are():
    assert _decades.UNDERFLOW["float32"] == pytest.approx(
        math.log10(np.finfo("float32").smallest_subnormal), rel=1e-7
    )
    assert _decades.UNDERFLOW["float64"] == pytest.approx(
        math.log10(np.finfo("float64").smallest_subnormal), rel=1e-12
    )


@pytest.mark.parametrize(
    ("rate", "labels"),
    [
        (0.1, []),  # 10^-4
        (2.0, ["float32\nunderflows"]),  # 10^-87
        (20.0, ["float32\nunderflows", "float64\nunderflows"]),  # 10^-869
        (80.0, ["float32", "float64\nunderflow"]),  # 10^-3,474: less than two lines apart
        (2000.0, ["float32 and\nfloat64\nunderflow"]),  # 10^-86,859: both in one line's height
    ],
)
def test_underflow_is_marked_where_norms_reach_it(rate, labels):
    ax = plotting.plot_gradient_flow(make_flow("rnn", rate), fit=False)
    assert margin(ax) == labels


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_many_lags_are_thinned_out_and_the_ends_stay(scale):
    flow = make_flow("rnn", 0.5, lags=200_001, zero_after=150_000)
    ax = plotting.plot_gradient_flow(flow, scale=scale)
    (line,) = legend_lines(ax)
    assert len(line.get_xdata()) < 5000
    known = np.isfinite(line.get_ydata())
    assert line.get_xdata()[0] == 0
    assert line.get_xdata()[known][-1] == 150_000
    np.testing.assert_allclose(
        line.get_ydata()[known], -0.5 * line.get_xdata()[known] / math.log(10), rtol=1e-15
    )


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_legend_and_margin_lie_outside_the_data(scale):
    ax = plotting.plot_gradient_flow([make_flow("rnn", 20.0), make_flow("lstm", -0.2)], scale=scale)
    with plotting.style():
        ax.figure.draw_without_rendering()
    box = ax.get_window_extent()
    assert ax.get_legend().get_window_extent().y0 >= box.y1
    for text in ax.texts:
        assert text.get_window_extent().x0 >= box.x1
        assert text.get_window_extent().x1 <= ax.figure.bbox.x1
    first, second = (text.get_window_extent() for text in ax.texts)
    assert not first.overlaps(second)


def test_ticks_read_as_powers_of_ten():
    assert [_decades.power_of_ten(v) for v in (0, -300, -2_000_000, 0.5)] == [
        "1",
        "$10^{-300}$",
        "$10^{-2{,}000{,}000}$",
        "3.2",
    ]


def test_the_axis_names_what_is_differentiated():
    label = plotting.plot_gradient_flow(make_flow("lstm", of="c", wrt="joint")).get_ylabel()
    assert r"\partial c_t" in label
    assert r"\partial s_{" in label


def test_the_axis_tells_a_projection_from_the_whole_jacobian():
    spectral = make_flow("lstm")
    assert r"\sigma_{\max}(\partial h_t" in plotting.plot_gradient_flow(spectral).get_ylabel()
    for norm in ("random", "unit"):
        projected = dataclasses.replace(spectral, norm=norm)
        label = plotting.plot_gradient_flow(projected).get_ylabel()
        assert r"\|v\cdot \partial h_t" in label
        assert "sigma" not in label
        assert plotting.plot_gradient_flow([projected, spectral]).get_ylabel() == "gradient norm  "


def test_labels_are_shown_as_they_are():
    names = ["_mine", "a$b", "$x^2$", "back\\slash", "\\$", "$$$"]
    ax = plotting.plot_gradient_flow([make_flow("lstm", 0.01 * k) for k in range(1, 7)], labels=names)
    plotting.render(ax.figure, dpi=40)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(texts) == len(names)  # matplotlib drops labels that begin with an underscore
    assert [text.partition(": ")[0] for text in texts] == [
        "\N{WORD JOINER}_mine",
        r"a\$b",
        r"\$x^2\$",
        "back\\slash",
        r"\\$",
        r"\$\$\$",
    ]


def test_two_points_give_no_rate():
    (line,) = legend_lines(plotting.plot_gradient_flow(make_flow("gru", lags=2)))
    assert line.get_label() == "gru: no rate (fewer than three norms above 0)"


def test_flows_that_coincide_can_both_be_seen():
    ax = plotting.plot_gradient_flow([make_flow("gru"), make_flow("lstm")], fit=False)
    broken, whole = ax.lines
    assert broken.get_linestyle() != "-"
    assert whole.get_linestyle() == "-"
    assert broken.get_zorder() > whole.get_zorder()
    assert broken.get_linewidth() < whole.get_linewidth()


def test_given_axes_and_keywords_are_used():
    mine = Figure().add_subplot()
    assert plotting.plot_gradient_flow(make_flow(), ax=mine, lw=4) is mine
    assert legend_lines(mine)[0].get_linewidth() == 4


def test_bad_arguments():
    flow = make_flow()
    with pytest.raises(DtypeError, match=r"flows\[1\] is an int; give a GradientFlow"):
        plotting.plot_gradient_flow([flow, 3])
    with pytest.raises(ShapeError, match="labels holds 1 text, but there are 2"):
        plotting.plot_gradient_flow([flow, flow], labels=["a"])
    with pytest.raises(UnknownNameError, match="scale='cubic' is not known"):
        plotting.plot_gradient_flow(flow, scale="cubic")
    with pytest.raises(ValueRangeError, match="no lag"):
        plotting.plot_gradient_flow(dataclasses.replace(make_flow(lags=0), source_step=0))


def test_layers_of_a_stack_are_superscripts():
    made = {"cell": "gru on lstm", "lag": np.arange(3), "log_norm": np.zeros((3, 1)), "source_step": 3}
    flow = gs.GradientFlow(**made, of="layers.1.h", wrt="layers.0.backward.c", norm="random")
    logit = gs.GradientFlow(**made, of="readout.2", wrt="joint", norm="direction")
    loss = gs.GradientFlow(**made, of="the loss", wrt="h", norm="direction")
    label = plotting.plot_gradient_flow(flow, fit=False).get_ylabel()
    assert r"\|v\cdot \partial h^{(1)}_t\,/\,\partial c^{(0,\,\mathrm{backward})}_{t-\mathrm{lag}}\|" in label
    label = plotting.plot_gradient_flow(logit, fit=False).get_ylabel()
    assert r"\|\partial y^{(2)}_t\,/\,\partial s_{t-\mathrm{lag}}\|" in label
    assert r"\|\partial L\,/" in plotting.plot_gradient_flow(loss, fit=False).get_ylabel()
    axes = plotting.plot_gradient_flow([flow, logit], fit=False)
    labels = [line.get_label() for line in axes.lines]
    assert "gru on lstm readout.2 by joint" in labels
