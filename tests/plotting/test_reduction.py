"""What is drawn of more values than pixels."""

import numpy as np
import pytest
from helpers.synthetic import make_trace

from gatescope import plotting
from gatescope.plotting._axes import cell_edges
from gatescope.plotting._reduction import largest


def cells(values, across, up, limits):
    return largest(
        np.asarray(values, float), cell_edges(np.asarray(across)), cell_edges(np.asarray(up)), limits
    )


def test_neighbors_are_put_together_as_the_largest_of_them():
    values = np.array([[0, 1, -np.inf, -np.inf, 4], [np.nan, 2, -np.inf, -np.inf, np.nan]])
    drawn = cells(values, range(5), range(2), (3, 1))
    np.testing.assert_array_equal(drawn.values, [[2, 4]])  # what is left at the end is no pixel, and joins
    np.testing.assert_array_equal(drawn.across, [-0.5, 1.5, 4.5])
    np.testing.assert_array_equal(drawn.up, [-0.5, 1.5])
    assert drawn.note == "each cell drawn is the largest of 2 × 2"
    nothing = cells(np.full((4, 4), np.nan), range(4), range(4), (2, 2))
    assert np.isnan(nothing.values).all()


def test_what_can_be_seen_is_drawn_as_it_is():
    values = np.arange(12.0).reshape(3, 4)
    drawn = cells(values, range(4), range(3), (4, 3))
    np.testing.assert_array_equal(drawn.values, values)
    assert drawn.note == ""


def test_of_uneven_steps_the_narrow_cells_are_put_together():
    steps = np.unique(np.geomspace(1, 10_000, 60).astype(int))
    values = np.zeros((steps.size, steps.size))
    values[5, 3] = 7
    drawn = cells(values, steps, steps, (200, 200))
    assert drawn.values.max() == 7
    assert np.diff(drawn.across).min() >= (drawn.across[-1] - drawn.across[0]) / 200
    assert drawn.note.startswith("each cell drawn is the largest of up to ")
    np.testing.assert_array_equal(drawn.across[[0, -1]], cell_edges(steps)[[0, -1]])


@pytest.mark.parametrize("layout", ["page", "column"])
@pytest.mark.parametrize("inputs", [False, True])
def test_rows_and_columns_of_a_heat_map_are_pixels(layout, inputs):
    trace = make_trace("rnn", steps=1500, batch=1, hidden_size=600)
    with plotting.style(layout):
        axes = [
            plotting.plot_gate_heatmap(trace, "h", inputs=inputs, marks={7: "event"}),
            plotting.plot_gate_heatmaps(trace, inputs=inputs, marks={7: "event"})[1]["h"],
        ]
    for ax in axes:
        ax.figure.draw_without_rendering()
        box, (image,) = ax.get_window_extent(), ax.images
        rows, columns = image.get_array().shape
        assert box.width >= columns
        assert box.height >= rows
