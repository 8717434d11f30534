import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from gatescope import plotting
from gatescope.datatypes.half_life import half_life_of
from gatescope.datatypes.phase_diagram import PhaseDiagram
from gatescope.errors import DtypeError, UnknownNameError, ValueRangeError
from gatescope.plotting.phase_diagram import plot_phase_diagram


def make_diagram(scheme=("gaussian", "keras"), gains=5, biases=4, *, gap=False):
    """Return the exponent is a plane: gain - 1 + bias / 10, and a tenth of it above 0."""
    gain, bias = np.linspace(0.2, 3, gains), np.linspace(-1, 2, biases)
    exponent = np.stack([gain[:, None] - 1 + bias / 10 + 0.1 * c for c in range(len(scheme))])
    exponent = np.where(exponent > 0, exponent / 10, exponent)
    if gap:
        exponent[0, -1, -1] = np.nan
    return PhaseDiagram(
        cell="lstm",
        gate="f",
        scheme=tuple(scheme),
        gain=gain,
        bias=bias,
        decay_rate=-2 * exponent,
        exponent=exponent,
        exponent_error=np.full(exponent.shape, 0.01),
        half_life=half_life_of(-exponent),
        diverged=np.isnan(exponent),
        hidden_size=64,
        steps=1100,
        transient=100,
        seeds=3,
    )


def mesh(ax):
    return ax.collections[0]


def lightness(colors):
    return np.asarray(colors)[..., :3] @ [0.299, 0.587, 0.114]


def test_a_panel_a_scheme_gain_across_and_bias_up():
    diagram = make_diagram()
    fig, axes = plot_phase_diagram(diagram)
    assert list(axes) == ["gaussian", "keras"]
    for c, ax in enumerate(axes.values()):
        np.testing.assert_array_equal(mesh(ax).get_array(), diagram.exponent[c].T)
        assert ax.get_xlabel() == "gain of the recurrent weights"
        assert ax.get_title(loc="left") == diagram.scheme[c]
    # Borders half-way between the points.
    corners = mesh(axes["keras"]).get_coordinates()
    np.testing.assert_allclose(corners[0, :, 0], np.linspace(-0.15, 3.35, 6), rtol=1e-12)
    np.testing.assert_allclose(corners[:, 0, 1], np.linspace(-1.5, 2.5, 5), rtol=1e-12)
    assert axes["gaussian"].get_ylabel() == "added to the bias of f (forget gate)"
    assert fig.get_suptitle() == "lstm: 64 units, 1,000 steps, mean of 3 networks a point"
    plotting.render(fig, dpi=40)


@pytest.mark.parametrize("quantity", ["exponent", "decay_rate", "half_life"])
def test_the_edge_is_where_the_exponent_is_0(quantity):
    diagram = make_diagram(("gaussian",))
    fig, axes = plot_phase_diagram(diagram, quantity=quantity)
    (line,) = [edge for edge in axes["gaussian"].collections[1:] if edge.get_paths()]
    points = np.concatenate([path.vertices for path in line.get_paths()])
    expected = 1 - points[:, 1] / 10
    # Straight between points of the grid, where the slope changes tenfold: within a cell of 0.7.
    assert np.abs(points[:, 0] - expected).max() < 0.7
    assert points[:, 1].min() == -1
    assert points[:, 1].max() == 2
    (legend,) = fig.legends
    assert "edge: neither vanishing nor exploding" in [text.get_text() for text in legend.get_texts()]


def test_no_edge_is_drawn_where_there_is_none():
    diagram = make_diagram(("gaussian",))
    below = PhaseDiagram(**{**vars(diagram), "exponent": diagram.exponent - 5})
    fig, axes = plot_phase_diagram(below)
    assert len(axes["gaussian"].collections) == 1
    assert not fig.legends
    plotting.render(fig, dpi=40)


@pytest.mark.parametrize("quantity", ["exponent", "decay_rate"])
def test_vanishing_is_blue_and_darker_than_exploding_in_grey(quantity):
    diagram = make_diagram(("gaussian",))
    _, axes = plot_phase_diagram(diagram, quantity=quantity)
    image = mesh(axes["gaussian"])
    colors = image.to_rgba(image.get_array())
    vanishing = diagram.exponent[0].T < 0
    assert (colors[vanishing][:, 2] > colors[vanishing][:, 0]).all()
    assert (colors[~vanishing][:, 0] > colors[~vanishing][:, 2]).all()
    assert lightness(colors[vanishing]).max() + 0.1 < lightness(colors[~vanishing]).min()
    # The more it explodes, the lighter; so a grey print keeps the order.
    order = np.argsort(diagram.exponent[0].T.reshape(-1))
    assert (np.diff(lightness(colors.reshape(-1, 4)[order])) >= -1e-3).all()  # 512 colours have steps


def test_infinite_half_lives_are_left_white_and_named():
    diagram = make_diagram()
    fig, axes = plot_phase_diagram(diagram, quantity="half_life")
    for c, ax in enumerate(axes.values()):
        np.testing.assert_array_equal(
            np.ma.getmaskarray(mesh(ax).get_array()), np.isinf(diagram.half_life[c]).T
        )
        assert to_rgb(ax.get_facecolor()) == (1, 1, 1)
    assert "infinite: no decay" in [text.get_text() for text in fig.legends[0].get_texts()]


def test_points_that_left_the_range_are_crossed():
    diagram = make_diagram(gap=True)
    fig, axes = plot_phase_diagram(diagram)
    (cross,) = axes["gaussian"].lines
    assert (cross.get_xdata().tolist(), cross.get_ydata().tolist()) == ([3.0], [2.0])
    assert not axes["keras"].lines
    assert "states left the range of floats" in [text.get_text() for text in fig.legends[0].get_texts()]
    plotting.render(fig, dpi=40)


def test_one_bias_or_one_gain_is_drawn_as_lines():
    diagram = make_diagram(("gaussian",), biases=1)
    _, axes = plot_phase_diagram(diagram)
    line = axes["gaussian"].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), diagram.gain)
    np.testing.assert_array_equal(line.get_ydata(), diagram.exponent[0, :, 0])
    assert axes["gaussian"].collections  # the band of the error
    _, axes = plot_phase_diagram(make_diagram(("gaussian",), gains=1))
    assert axes["gaussian"].get_xlabel() == "added to the bias of f (forget gate)"
    fig, axes = plot_phase_diagram(diagram, quantity="half_life")
    endless = next(line for line in axes["gaussian"].lines if line.get_label() == "infinite: no decay")
    np.testing.assert_array_equal(endless.get_xdata(), diagram.gain[diagram.exponent[0, :, 0] >= 0])
    plotting.render(fig, dpi=40)


def test_everything_lost_at_once_can_be_drawn():
    diagram = make_diagram(("gaussian",))
    fields = vars(diagram) | {
        "exponent": np.full(diagram.exponent.shape, -np.inf),
        "decay_rate": np.full(diagram.exponent.shape, np.inf),
        "half_life": np.zeros(diagram.exponent.shape),
    }
    for quantity in ("exponent", "decay_rate", "half_life"):
        plotting.render(plot_phase_diagram(PhaseDiagram(**fields), quantity=quantity)[0], dpi=40)


def test_schemes_can_be_chosen_and_a_figure_given():
    mine = Figure(layout="constrained")
    fig, axes = plot_phase_diagram(make_diagram(), scheme="keras", fig=mine, cmap="gray")
    assert fig is mine
    assert list(axes) == ["keras"]
    assert mesh(axes["keras"]).get_cmap().name == "gray"
    assert list(plot_phase_diagram(make_diagram(), scheme=("keras", "gaussian"))[1]) == ["keras", "gaussian"]


def test_bad_arguments():
    with pytest.raises(DtypeError, match="diagram is a NoneType; give a PhaseDiagram"):
        plot_phase_diagram(None)
    with pytest.raises(UnknownNameError, match="quantity='x' is not known; choose from exponent"):
        plot_phase_diagram(make_diagram(), quantity="x")
    with pytest.raises(UnknownNameError, match="scheme='chrono' is not known; choose from gaussian"):
        plot_phase_diagram(make_diagram(), scheme="chrono")
    with pytest.raises(ValueRangeError, match="scheme is empty"):
        plot_phase_diagram(make_diagram(), scheme=())
