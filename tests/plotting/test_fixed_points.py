import dataclasses

import numpy as np
import pytest
from helpers.synthetic import legend_lines, make_trace

from gatescope import plotting
from gatescope.datatypes.fixed_points import FixedPoints
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.plotting.fixed_points import plot_fixed_point_moduli, plot_fixed_points

LEADING = (
    [0.5, 0.2],
    [0.9, 0.1],
    [1.5, 0.9],
    [-2.0, 1.2],
    [1.0, 0.3],
)  # two stable, with 1, with 2, marginal


def make_points(leading=LEADING, cell="lstm", hidden_size=6, starts=100, seed=0):
    """Return fixed points at random places, with the two leading eigenvalues given and the others 0."""
    S, P = {"lstm": 2, "gru": 1}[cell], len(leading)
    eigenvalues = np.zeros((P, S * hidden_size), complex)
    eigenvalues[:, :2] = np.reshape(leading, (P, 2))
    return FixedPoints(
        cell=cell,
        inputs=np.zeros(1),
        states=np.random.default_rng(seed).uniform(-1, 1, (P, S, hidden_size)),
        residual=np.zeros(P),
        eigenvalues=eigenvalues,
        stable=(np.abs(eigenvalues) < 1 - 1e-6).all(axis=1),
        found_by=np.full(P, 10),
        starts=starts,
        margin=1e-6,
        state_names=("h", "c")[:S],
    )


def by_label(ax):
    return {line.get_label(): line for line in legend_lines(ax)}


def test_each_kind_has_its_line():
    points = make_points()
    lines = by_label(plot_fixed_points(points))
    assert list(lines) == [
        "2 stable",
        "1 neither stable nor unstable",
        "1 with 1 unstable direction",
        "1 with 2 unstable directions",
    ]
    assert [len(line.get_xdata()) for line in lines.values()] == [2, 1, 1, 1]
    looks = [(line.get_marker(), line.get_markerfacecolor()) for line in lines.values()]
    assert len({marker for marker, _ in looks}) == len(looks)
    assert looks[0] == ("o", "#000000")
    assert all(face != "#000000" for _, face in looks[1:])


def test_the_plane_keeps_distances_that_lie_in_it():
    """Points in a plane of the 12-dimensional space: the picture is that plane, turned."""
    rng = np.random.default_rng(4)
    frame = np.linalg.qr(rng.standard_normal((12, 2)))[0]
    flat = rng.standard_normal((5, 2)) * [3, 1]
    points = dataclasses.replace(make_points(), states=(flat @ frame.T + 7).reshape(5, 2, 6))
    ax = plot_fixed_points(points)
    drawn = np.concatenate([line.get_xydata() for line in legend_lines(ax)])
    order = [0, 1, 4, 2, 3]  # by kind
    expected = np.linalg.norm(flat[order, None] - flat[order], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(drawn[:, None] - drawn, axis=-1), expected, rtol=1e-12)
    assert np.ptp(drawn[:, 0]) > np.ptp(drawn[:, 1])
    shares = [float(a.get_label_text().split("(")[1].split("%")[0]) for a in (ax.xaxis, ax.yaxis)]
    assert sum(shares) == pytest.approx(100, abs=1)


def test_the_trajectory_lies_beneath_and_spans_the_plane():
    points, trace = make_points(), make_trace("lstm", steps=80, batch=2, lengths=[80, 30])
    ax = plot_fixed_points(points, trace=trace)
    first, second = ax.lines[:2]
    assert [len(line.get_xdata()) for line in (first, second)] == [81, 31]
    assert max(first.get_zorder(), second.get_zorder()) < min(line.get_zorder() for line in ax.lines[2:])
    assert next(iter(by_label(ax))) == "2 trajectories"
    together = np.concatenate([first.get_xydata(), second.get_xydata()])
    np.testing.assert_allclose(together.mean(axis=0), 0, atol=1e-12)
    assert np.abs(np.corrcoef(together.T)[0, 1]) < 1e-10  # principal components

    long = plot_fixed_points(points, trace=make_trace("lstm", steps=5000, batch=1))
    assert len(long.lines[0].get_xdata()) == 4000
    assert "the first 3,999 steps" in long.lines[0].get_label()


def test_one_state_alone():
    points = make_points()
    ax = plot_fixed_points(points, state="c")
    assert "of c " in ax.get_xlabel()
    assert "of h, c " in plot_fixed_points(points).get_xlabel()
    # In any plane of c's six components, points are no further apart than they are.
    drawn = by_label(ax)["2 stable"].get_xydata()
    assert np.linalg.norm(drawn[0] - drawn[1]) <= np.linalg.norm(points.states[0, 1] - points.states[1, 1])


@pytest.mark.parametrize("drawn", [plot_fixed_points, plot_fixed_point_moduli])
def test_a_single_point_and_a_single_unit(drawn):
    eigenvalues = np.array([[0.5]], complex)
    one = make_points(LEADING[:1], cell="gru")
    one_unit = dataclasses.replace(one, states=np.ones((1, 1, 1)), eigenvalues=eigenvalues)
    for points in (one, one_unit):
        ax = drawn(points)
        assert list(by_label(ax)) == ["1 stable"]
    assert plotting.render(ax.figure, dpi=40)


def test_many_unstable_directions_share_a_shape():
    eigenvalues = np.zeros((2, 12), complex)
    eigenvalues[0, :4], eigenvalues[1, :7] = 2, 2
    points = dataclasses.replace(make_points(LEADING[:2]), eigenvalues=eigenvalues, stable=np.zeros(2, bool))
    assert list(by_label(plot_fixed_points(points))) == ["2 with 4 or more unstable directions"]


def test_moduli():
    ax = plot_fixed_point_moduli(make_points())
    lines = by_label(ax)
    two = lines["1 with 2 unstable directions"].get_xydata()
    np.testing.assert_allclose(two[~np.isnan(two).any(axis=1)], [[3, 2], [3, 1.2]])
    stable = lines["2 stable"].get_xydata()
    np.testing.assert_allclose(stable[~np.isnan(stable).any(axis=1)], [[0, 0.5], [1, 0.9]])
    dashes = next(line for line in ax.lines if line.get_marker() == "_").get_xydata()
    assert len(dashes) == 5 * 12 - 6  # the rest
    assert ax.get_ylim()[1] > 2


def test_draws_where_and_as_it_is_asked_to():
    axes = plotting.new_figure().add_subplot()
    assert plot_fixed_points(make_points(), ax=axes, ms=11) is axes
    assert {line.get_markersize() for line in legend_lines(axes)} == {11}
    assert "from 100 starts; 50 led to none" in axes.get_legend().get_title().get_text()


def test_an_empty_result_with_a_trajectory():
    ax = plot_fixed_points(make_points(()), trace=make_trace("lstm", batch=1))
    assert list(by_label(ax)) == ["trajectory"]
    assert ax.get_legend().get_title().get_text().startswith("lstm: 0 fixed points")


@pytest.mark.slow
def test_the_same_points_give_the_same_bytes():
    points, trace = make_points(), make_trace("lstm")
    one, other = (plotting.render(plot_fixed_points(points, trace=trace).figure, "svg") for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: plot_fixed_points(make_trace()), DtypeError, "points is a Trace; give a FixedPoints"),
        (lambda: plot_fixed_point_moduli(None), DtypeError, "points is a NoneType"),
        (
            lambda: plot_fixed_points(make_points(()), trace=None),
            ValueRangeError,
            "no fixed point.*100 starts",
        ),
        (lambda: plot_fixed_point_moduli(make_points(())), ValueRangeError, "no fixed point"),
        (lambda: plot_fixed_points(make_points(), trace=[1.0]), DtypeError, "trace"),
        (lambda: plot_fixed_points(make_points(), trace=make_trace("gru")), ShapeError, "'gru'.*'lstm'"),
        (lambda: plot_fixed_points(make_points(), trace=make_trace(hidden_size=5)), ShapeError, r"\(2, 5\)"),
        (
            lambda: plot_fixed_points(make_points(), state="q"),
            UnknownNameError,
            "choose from h, c, joint",
        ),
    ],
)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_states_that_are_not_finite_are_refused():
    points = make_points()
    with pytest.raises(ValueRangeError, match="points holds states that are not finite"):
        plot_fixed_points(dataclasses.replace(points, states=points.states * np.nan))
