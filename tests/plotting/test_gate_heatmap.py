import numpy as np
import pytest
from helpers.synthetic import make_trace
from matplotlib.figure import Figure

from gatescope import plotting
from gatescope.errors import UnknownNameError, ValueRangeError


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


@pytest.mark.parametrize(("steps", "size", "columns"), [(527, 1, 527), (528, 2, 264), (10_093, 20, 505)])
@pytest.mark.parametrize(
    ("reduce", "said"), [("mean", "the mean"), ("min", "the least"), ("max", "the greatest")]
)
def test_more_steps_than_pixels_are_put_together_and_the_label_says_how(steps, size, columns, reduce, said):
    trace = make_trace("gru", steps=steps, batch=1, hidden_size=2)
    ax = plotting.plot_gate_heatmap(trace, "z", reduce=reduce)
    image = picture(ax).get_array()
    assert image.shape == (2, columns)
    z = trace.gate("z")[:, 0]
    # Sums in another order differ by rounding.
    np.testing.assert_allclose(image[:, 0], getattr(z[:size], reduce)(axis=0), rtol=1e-13)
    last = z[(columns - 1) * size :]
    np.testing.assert_allclose(image[:, -1], getattr(last, reduce)(axis=0), rtol=1e-13)
    assert (f"is {said} of {size} steps" in ax.get_xlabel()) == (size > 1)
    assert ax.get_xlim() == (-0.5, steps - 0.5)  # the last column may hold fewer steps
    assert picture(ax).get_interpolation() == "nearest"


def test_more_units_than_pixels_are_put_together_and_the_label_says_how():
    trace = make_trace("gru", steps=3, batch=1, hidden_size=1000)
    ax = plotting.plot_gate_heatmap(trace, "z")
    size = 4
    assert picture(ax).get_array().shape == (250, 3)
    assert f"each row is the mean of {size}" in ax.get_ylabel().replace("\n", " ")
    np.testing.assert_allclose(
        picture(ax).get_array()[1], trace.gate("z")[:, 0, 4:8].mean(axis=1), rtol=1e-13
    )
    assert ax.get_ylim() == (999.5, -0.5)


def test_steps_end_with_the_sequence():
    trace = make_trace("gru", steps=40, lengths=[12, 40])
    assert picture(plotting.plot_gate_heatmap(trace, "z")).get_array().shape == (6, 12)


def test_units_can_be_ordered_by_a_mean_or_as_listed():
    trace = make_trace("lstm", batch=1)
    ax = plotting.plot_gate_heatmap(trace, "c", order="f")
    order = np.argsort(trace.gate("f")[:, 0].mean(axis=0))
    np.testing.assert_array_equal(picture(ax).get_array(), trace.c[1:, 0, order].T)
    assert ax.get_ylabel() == "units by rising mean of f"
    ax = plotting.plot_gate_heatmap(trace, "c", order=[4, 1])
    np.testing.assert_array_equal(picture(ax).get_array(), trace.c[1:, 0, [4, 1]].T)
    assert ax.get_ylabel() == "units as listed"


def test_panels_of_one_figure_have_one_order_which_is_said():
    trace = make_trace("lstm", batch=1)
    fig, axes = plotting.plot_gate_heatmaps(trace, gates=["f", "o", "c"])
    order = np.argsort(trace.gate("f")[:, 0].mean(axis=0))
    for name, values in (("f", trace.gate("f")), ("o", trace.gate("o")), ("c", trace.c[1:])):
        np.testing.assert_array_equal(picture(axes[name]).get_array(), values[:, 0, order].T)
    assert fig.get_suptitle() == "lstm: units by rising mean of f in every panel"


def test_events_are_marked_and_inputs_drawn_above():
    trace = make_trace("gru", steps=40, batch=1)
    trace.inputs[:] = np.arange(40.0)[:, None, None]
    ax = plotting.plot_gate_heatmap(trace, "z", marks={7: "onset", 30: ""}, inputs=True)
    assert [line.get_xdata()[0] for line in ax.lines] == [7, 30]
    (panel,) = ax.child_axes
    curve, *marks = panel.lines
    np.testing.assert_array_equal(curve.get_ydata(), np.arange(40))
    assert [line.get_xdata()[0] for line in marks] == [7, 30]
    assert [text.get_text() for text in panel.texts] == ["onset"]
    assert panel.get_title(loc="left") == "gru: z (update gate) of 6 units"
    assert panel.get_xlim() == ax.get_xlim()
    _, axes = plotting.plot_gate_heatmaps(trace, gates="z", marks=[7], inputs=True)
    assert list(axes) == ["inputs", "z"]
    assert all(7 in [line.get_xdata()[0] for line in axis.lines] for axis in axes.values())


def test_given_axes_and_keywords_are_used():
    mine = Figure().add_subplot()
    ax = plotting.plot_gate_heatmap(make_trace(), "o", ax=mine, cmap="gray", vmin=0.25)
    assert ax is mine
    assert picture(ax).get_cmap().name == "gray"
    assert picture(ax).get_clim()[0] == 0.25


def test_bad_arguments():
    with pytest.raises(UnknownNameError, match="gate='f' is not known; choose from h"):
        plotting.plot_gate_heatmap(make_trace("rnn"), "f")
    with pytest.raises(UnknownNameError, match="order='k' is not known; choose from h"):
        plotting.plot_gate_heatmap(make_trace("rnn"), "h", order="k")
    with pytest.raises(ValueRangeError, match="order names a unit twice"):
        plotting.plot_gate_heatmap(make_trace("rnn"), "h", order=[1, 1])
    with pytest.raises(UnknownNameError, match="scale='wide' is not known; choose from data, full"):
        plotting.plot_gate_heatmap(make_trace("rnn"), "h", scale="wide")
