import dataclasses

import numpy as np
import pytest
from helpers.synthetic import legend_lines
from matplotlib.figure import Figure

from gatescope import plotting
from gatescope.datatypes.half_life import HalfLife
from gatescope.errors import DtypeError, ValueRangeError
from gatescope.plotting.half_life import plot_half_life


def make_life(gate=(0.2, 0.05, 0.1), adjoint=0.04, exponent=0.04, *, batch=1, name="f"):
    rates = np.array([gate]) * np.arange(1.0, batch + 1)[:, None]
    return HalfLife.from_rates(
        cell="lstm" if name else "rnn",
        gate=name,
        gate_rate=rates,
        gate_error=np.full(rates.shape, 0.001),
        adjoint_rate=np.full(batch, adjoint),
        adjoint_error=np.full(batch, 0.001),
        exponent_rate=np.full(batch, exponent),
        exponent_error=np.full(batch, 0.002),
        r_squared=np.ones(batch),
        steps=1100,
        transient=100,
    )


def test_units_are_sorted_and_the_network_is_three_lines():
    life = make_life()
    ax = plot_half_life(life)
    units, *network = legend_lines(ax)
    np.testing.assert_allclose(units.get_ydata(), np.log(2) / np.array([0.2, 0.1, 0.05]), rtol=1e-15)
    assert units.get_xdata().tolist() == [1, 2, 3]
    lines = {line.get_label().split(":")[0]: line.get_ydata()[0] for line in network}
    assert lines == {
        "network, by slope of the adjoint": life.by_adjoint[0],
        "network, by leading exponent": life.by_exponent[0],
        "network, by gate, slowest unit": life.slowest[0],
    }
    assert len({line.get_color() for line in network}) == len({line.get_linewidth() for line in network}) == 3
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == "asymptotic half-life (steps)"
    assert ax.get_legend().get_title().get_text() == "lstm, 1,000 steps"
    assert "median 6.931 steps" in units.get_label()


def test_units_of_a_leak_go_by_one_minus_the_gate():
    life = dataclasses.replace(make_life(name="a"), complement=True)
    life.check_fields("life")
    units, *_ = legend_lines(plot_half_life(life))
    assert units.get_label() == "each unit, by 1 - the gate a (median 6.931 steps)"
    assert "by the geometric mean of 1 - a in the slowest unit" in life.summary()


def test_the_band_is_one_standard_error_of_the_exponent():
    ax = plot_half_life(make_life())
    (band,) = ax.patches
    low, high = band.get_y(), band.get_y() + band.get_height()
    np.testing.assert_allclose([low, high], np.log(2) / np.array([0.042, 0.038]), rtol=1e-12)


def test_disagreement_is_in_the_title_and_a_sequence_can_be_chosen():
    ax = plot_half_life(make_life(batch=3), sequence=2)
    title = ax.get_legend().get_title().get_text()
    assert title == "lstm, sequence 2, 1,000 steps: the estimates disagree"
    np.testing.assert_allclose(ax.lines[0].get_ydata().max(), np.log(2) / 0.15, rtol=1e-15)


def test_what_is_infinite_or_0_lies_on_the_edges_and_is_named():
    life = make_life(gate=(np.inf, 0.1, 0.0), adjoint=-0.1, exponent=0.0)
    ax = plot_half_life(life)
    low, high = ax.get_ylim()
    assert ax.lines[0].get_ydata().tolist() == [low, np.log(2) / 0.1, high]
    assert {text.get_text() for text in ax.texts} == {"infinite", "0"}
    assert ax.lines[1].get_ydata()[0] == high
    assert "∞ steps" in ax.lines[1].get_label()
    plotting.render(ax.figure, dpi=40)


def test_a_cell_without_a_memory_gate_has_no_units():
    ax = plot_half_life(make_life(gate=(np.nan, np.nan), name=""))
    assert len(legend_lines(ax)) == 2
    assert "units have no half-lives" in ax.get_xlabel()
    plotting.render(ax.figure, dpi=40)


@pytest.mark.parametrize("gate", [(0.1,), (0.1, 0.1), (1e-5, 1.0, 1e-2), (np.inf, np.inf)])
def test_any_span_of_half_lives_can_be_drawn(gate):
    life = make_life(gate=gate, adjoint=gate[0], exponent=gate[0])
    ax = plot_half_life(life)
    plotting.render(ax.figure, dpi=40)
    low, high = ax.get_ylim()
    finite = life.by_gate[np.isfinite(life.by_gate) & (life.by_gate > 0)]
    assert 0 < low < high
    assert ((low < finite) & (finite < high)).all()
    shown = [text.get_text() for text in ax.yaxis.get_ticklabels() if text.get_text()]
    assert len(shown) >= 2


@pytest.mark.parametrize("greatest", [1e140, 1e308, np.inf])
def test_half_lives_that_no_axis_can_show_are_refused(greatest):
    life = dataclasses.replace(make_life(), by_exponent=np.array([greatest]), by_adjoint=np.array([1e-140]))
    if greatest == 1e308:
        with pytest.raises(
            ValueRangeError, match=r"life=1e\+308 .* sizes from 1e-140 to 1e\+140 can be drawn"
        ):
            plot_half_life(life)
    else:
        ax = plot_half_life(life)
        plotting.render(ax.figure, dpi=40)
        assert 0 < ax.get_ylim()[0] < 1e-140


def test_given_axes_and_keywords_are_used():
    mine = Figure().add_subplot()
    assert plot_half_life(make_life(), ax=mine, markersize=9) is mine
    assert mine.lines[0].get_markersize() == 9


@pytest.mark.slow
def test_the_same_figure_gives_the_same_bytes():
    for format in ("png", "svg"):
        first, second = (plotting.render(plot_half_life(make_life()).figure, format) for _ in range(2))
        assert first == second


def test_bad_arguments():
    with pytest.raises(DtypeError, match="life is a NoneType; give a HalfLife"):
        plot_half_life(None)
    with pytest.raises(ValueRangeError, match="sequence=1 is out of range"):
        plot_half_life(make_life(), sequence=1)
