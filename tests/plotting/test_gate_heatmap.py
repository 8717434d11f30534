import numpy as np
import pytest
from helpers.synthetic import make_trace
from matplotlib.figure import Figure

from gatescope import plotting
from gatescope.errors import UnknownNameError


def picture(ax):
    (image,) = ax.images
    return image


def test_the_image_is_the_gate_units_down_steps_across():
    trace = make_trace("lstm")
    ax = plotting.plot_gate_heatmap(trace, "f", sequence=1, steps=slice(5, 25))
    np.testing.assert_array_equal(picture(ax).get_array(), trace.gate("f")[5:25, 1].T)
    assert tuple(picture(ax).get_extent()) == (4.5, 24.5, 5.5, -0.5)
    np.testing.assert_array_equal(
        picture(ax).get_clim(), np.quantile(trace.gate("f")[5:25, 1], [0.005, 0.995])
    )
    assert picture(ax).colorbar.ax.get_ylabel() == "f, in (0, 1)"
    assert ax.get_xlabel() == "step"
    assert ax.get_title(loc="left") == "lstm: f (forget gate) of 6 units"


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_states_are_drawn_at_the_step_that_made_them(cell):
    trace = make_trace(cell)
    ax = plotting.plot_gate_heatmap(trace, "h")
    np.testing.assert_array_equal(picture(ax).get_array(), trace.h[1:, 0].T)
    low, high = picture(ax).get_clim()
    assert low == -high


@pytest.mark.parametrize(
    ("cell", "gate", "limits"), [("gru", "z", (0, 1)), ("gru", "n", (-1, 1)), ("lstm", "g", (-1, 1))]
)
def test_the_full_scale_is_all_that_a_gate_can_be(cell, gate, limits):
    ax = plotting.plot_gate_heatmap(make_trace(cell), gate, scale="full")
    assert picture(ax).get_clim() == limits
    assert picture(ax).colorbar.extend == "neither"


def test_a_constant_is_drawn_all_the_same():
    trace = make_trace("rnn")
    trace.states[:] = 2
    ax = plotting.plot_gate_heatmap(trace, "h", scale="full")  # h has no bounds that hold for every cell
    assert picture(ax).get_clim() == (1.5, 2.5)
    plotting.render(ax.figure, dpi=40)


def test_rare_great_values_do_not_set_the_scale_and_the_bar_says_so():
    trace = make_trace("lstm", steps=500, batch=1)
    trace.c[7, 0, 0] = 1e6
    ax = plotting.plot_gate_heatmap(trace, "c")
    assert picture(ax).get_clim()[1] <= 1
    assert picture(ax).colorbar.extend == "both"


@pytest.mark.parametrize(("steps", "size", "columns"), [(1000, 1, 1000), (1001, 2, 501), (10_093, 11, 918)])
def test_a_long_series_is_averaged_to_at_most_1000_columns(steps, size, columns):
    trace = make_trace("gru", steps=steps, batch=1, hidden_size=2)
    ax = plotting.plot_gate_heatmap(trace, "z")
    image = picture(ax).get_array()
    assert image.shape == (2, columns)
    z = trace.gate("z")[:, 0]
    # Sums in another order differ by rounding.
    np.testing.assert_allclose(image[:, 0], z[:size].mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(image[:, -1], z[(columns - 1) * size :].mean(axis=0), rtol=1e-13)
    assert (f"mean of {size} steps" in ax.get_xlabel()) == (size > 1)
    assert ax.get_xlim() == (-0.5, steps - 0.5)  # the last column may hold fewer steps


def test_steps_end_with_the_sequence():
    trace = make_trace("gru", steps=40, lengths=[12, 40])
    assert picture(plotting.plot_gate_heatmap(trace, "z")).get_array().shape == (6, 12)


def test_units_can_be_sorted_by_their_mean():
    trace = make_trace("lstm", batch=1)
    ax = plotting.plot_gate_heatmap(trace, "f", sort=True)
    means = np.asarray(picture(ax).get_array()).mean(axis=1)
    assert (np.diff(means) > 0).all()
    assert ax.get_ylabel() == "unit, by rising mean"


def test_given_axes_and_keywords_are_used():
    mine = Figure().add_subplot()
    ax = plotting.plot_gate_heatmap(make_trace(), "o", ax=mine, cmap="gray", vmin=0.25)
    assert ax is mine
    assert picture(ax).get_cmap().name == "gray"
    assert picture(ax).get_clim()[0] == 0.25


def test_bad_arguments():
    with pytest.raises(UnknownNameError, match="gate='f' is not known; choose from h"):
        plotting.plot_gate_heatmap(make_trace("rnn"), "f")
    with pytest.raises(UnknownNameError, match="scale='wide' is not known; choose from data, full"):
        plotting.plot_gate_heatmap(make_trace("rnn"), "h", scale="wide")
