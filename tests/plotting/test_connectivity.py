import math
import re

import numpy as np
import pytest
from helpers.synthetic import make_connectivity, make_flow
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from gatescope import plotting
from gatescope.errors import DtypeError, ShapeError, ValueRangeError
from gatescope.plotting.connectivity import plot_connectivity


def picture(ax):
    return ax.get_images()[0] if ax.get_images() else ax.collections[0]


def test_the_map_holds_powers_of_ten():
    conn = make_connectivity(range(20), range(20))
    ax = plot_connectivity(conn)
    image = picture(ax).get_array()
    lag = conn.lag()
    np.testing.assert_array_equal(np.ma.getmaskarray(image), lag < 0)
    np.testing.assert_allclose(image[lag >= 0], -0.5 * lag[lag >= 0] / math.log(10), rtol=1e-14)
    assert picture(ax).get_clim() == (pytest.approx(-0.5 * 19 / math.log(10)), 0)
    assert picture(ax).get_cmap().name == "cividis"
    assert ax.get_xlim() == ax.get_ylim() == (-0.5, 19.5)
    assert ax.get_title(loc="left") == "gru: how outputs depend on inputs"


def test_steps_need_not_be_even():
    conn = make_connectivity([3, 10, 100], [0, 1, 4, 90])
    ax = plot_connectivity(conn)
    assert ax.get_xlim() == (-0.5, 133)
    assert ax.get_ylim() == (-0.5, 145)
    np.testing.assert_array_equal(np.ma.getmaskarray(picture(ax).get_array()), conn.lag() < 0)
    plotting.render(ax.figure, dpi=40)


def test_decades_limit_the_colours():
    conn = make_connectivity(range(200), range(200))
    ax = plot_connectivity(conn, decades=10)
    assert picture(ax).get_clim() == (-10, 0)
    assert picture(ax).colorbar.extend == "min"
    assert picture(plot_connectivity(conn, decades=1000)).colorbar.extend == "neither"
    assert picture(plot_connectivity(conn, vmin=-3, vmax=1)).get_clim() == (-3, 1)


def test_exact_zeros_have_a_colour_of_their_own():
    conn = make_connectivity(range(20), range(20), zero_after=5)
    ax = plot_connectivity(conn)
    values, zeros = ax.get_images()
    np.testing.assert_array_equal(~np.ma.getmaskarray(zeros.get_array()), conn.lag() > 5)
    np.testing.assert_array_equal(
        ~np.ma.getmaskarray(values.get_array()), (conn.lag() >= 0) & (conn.lag() <= 5)
    )
    assert ax.get_title(loc="left").endswith("; grey: exactly 0")
    nothing = make_connectivity(range(20), range(20), zero_after=-1)
    plotting.render(plot_connectivity(nothing).figure, dpi=40)


def test_one_of_several_sequences():
    conn = make_connectivity(range(20), range(20), batch=2)
    one, two = (picture(plot_connectivity(conn, sequence=s)).get_array() for s in (0, 1))
    np.testing.assert_allclose(two.compressed(), 2 * one.compressed(), rtol=1e-14)


def test_all_norms_alike():
    ax = plot_connectivity(make_connectivity(range(5), range(5), rate=0.0))
    low, high = picture(ax).get_clim()
    assert low < 0 < high
    plotting.render(ax.figure, dpi=40)


def test_where_it_draws():
    ax = Figure().add_subplot()
    assert plot_connectivity(make_connectivity(range(5), range(5)), ax=ax, cmap="gray") is ax
    assert picture(ax).get_cmap().name == "gray"


@pytest.mark.parametrize("layout", ["page", "column"])
def test_a_single_large_cell_is_seen_in_a_map_of_more_cells_than_pixels(layout):
    conn = make_connectivity(range(2000), range(2000))
    places = [(1999, 0), (1999, 1999), (703, 502), (1201, 77), (1650, 1649)]
    for target, source in places:
        conn.log_norm[target, source] = 100
    with plotting.style(layout):
        ax = plot_connectivity(conn)
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[::-1]  # from the bottom, as matplotlib counts
    bright = (pixels == colormaps["cividis"](1.0, bytes=True)).all(axis=2)
    for target, source in places:
        x, y = (int(at) for at in ax.transData.transform((source, target)))
        assert bright[y - 2 : y + 3, x - 2 : x + 3].any(), (target, source)
    rows, columns = picture(ax).get_array().shape
    assert ax.get_window_extent().width >= columns
    assert ax.get_window_extent().height >= rows
    assert re.search(r"\(each cell drawn is the largest of \d+ × \d+\)", ax.get_xlabel().replace("\n", " "))
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 1999.5), (-0.5, 1999.5))


def test_cells_put_together_are_grey_where_all_of_them_are_zero():
    conn = make_connectivity(range(2000), range(2000), zero_after=1000)
    values, zeros = plot_connectivity(conn).get_images()
    assert np.ma.getmaskarray(values.get_array())[-1, 0]
    assert not np.ma.getmaskarray(zeros.get_array())[-1, 0]
    conn.log_norm[1999, 0] = 0
    values, zeros = plot_connectivity(conn).get_images()
    assert values.get_array()[-1, 0] == 0
    assert np.ma.getmaskarray(zeros.get_array())[-1, 0]


def test_what_does_not_fit():
    conn = make_connectivity(range(5), range(5))
    with pytest.raises(DtypeError, match="result is a GradientFlow; give a Connectivity"):
        plot_connectivity(make_flow())
    with pytest.raises(
        ShapeError, match=r"result has 1 target and 5 source steps, but a map needs two of each"
    ):
        plot_connectivity(make_connectivity([4], range(5)))
    with pytest.raises(ValueRangeError, match="sequence=1 is out of range"):
        plot_connectivity(conn, sequence=1)
    with pytest.raises(ValueRangeError, match="decades=0 must be a finite number above 0"):
        plot_connectivity(conn, decades=0)
