import subprocess
import sys
from itertools import pairwise

import matplotlib
import pytest
from helpers.synthetic import make_flow, make_trace
from matplotlib import colors
from matplotlib.text import Text

import gatescope as gs
from gatescope import plotting
from gatescope.plotting import _palette


def lightness(color):
    """L* of CIELAB, 0 to 100."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colors.to_rgb(color)]
    y = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def test_settings_come_back_after_each_plot(tmp_path):
    before = dict(matplotlib.rcParams)
    trace = make_trace("lstm")
    plotting.plot_gate_trajectories(trace)
    plotting.plot_saturation(gs.saturation(trace))
    plotting.plot_gate_heatmap(trace, "f")
    plotting.save_figure(plotting.plot_gradient_flow(make_flow()).figure, tmp_path / "x")
    with plotting.style():
        assert matplotlib.rcParams["svg.hashsalt"] == "gatescope"
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("layout", ["constrained", "none", None])
def test_a_figure_is_laid_out_once_and_stays_as_it_was(monkeypatch, tmp_path, layout):
    figure = matplotlib.figure.Figure(layout=layout)
    ax = figure.subplots(2, 2)[0, 0]
    ax.set_xlabel("a label of\ntwo lines")
    engine, place, drawings = figure.get_layout_engine(), ax.get_position(), []
    draw = type(ax).draw
    monkeypatch.setattr(
        type(ax), "draw", lambda self, renderer: (drawings.append(self), draw(self, renderer))
    )
    files = plotting.save_figure(figure, tmp_path / "x", ("png", "svg"))
    assert len(drawings) == 2 * 4  # once a format
    assert figure.get_layout_engine() is engine
    assert (ax.get_position().bounds, figure.dpi) == (place.bounds, 100)
    assert files[0].read_bytes() == plotting.render(figure)
    assert files[1].read_bytes() == plotting.render(figure, "svg")


def test_matplotlib_comes_with_plotting_and_pyplot_never():
    script = (
        "import sys, gatescope; assert 'matplotlib' not in sys.modules;"
        "import gatescope.reporting.html; assert 'matplotlib' not in sys.modules;"
        "fig = gatescope.plotting.new_figure();"
        "gatescope.plotting.render(fig); gatescope.plotting.render(fig, 'svg');"
        "assert 'matplotlib' in sys.modules; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_no_text_is_smaller_than_8_points():
    figures = [
        plotting.plot_gate_trajectories(make_trace("lstm"))[0],
        plotting.plot_gate_heatmap(make_trace("gru"), "z").figure,
        plotting.plot_saturation(gs.saturation(make_trace("gru"))).figure,
        plotting.plot_gradient_flow(make_flow("rnn", 20.0)).figure,
    ]
    for figure in figures:
        plotting.render(figure, dpi=40)
        texts = [text for text in figure.findobj(Text) if text.get_text()]
        assert len(texts) > 8
        assert min(text.get_fontsize() for text in texts) >= 8


@pytest.mark.parametrize(
    "styles",
    [
        _palette.cell_styles(["rnn", "gru", "lstm"]),
        _palette.gate_styles(["i", "f", "o"]),
        _palette.gate_styles(["r", "z"]),
        _palette.unit_styles(3),
    ],
)
def test_what_is_drawn_together_differs_in_grey(styles):
    levels = sorted(lightness(style.color) for style in styles)
    assert min(b - a for a, b in pairwise(levels)) > 15
    assert levels[-1] < 75  # dark enough on white


def test_every_cell_differs_in_colour_line_and_marker():
    for field in range(3):
        assert len({str(style[field]) for style in _palette.CELLS.values()}) == len(_palette.CELLS)


def test_repeated_and_unknown_names_get_styles_of_their_own():
    styles = _palette.cell_styles(["lstm", "lstm", "mine", "yours", "rnn"])
    assert styles[0] == _palette.CELLS["lstm"]
    assert styles[4] == _palette.CELLS["rnn"]
    assert len({style.color for style in styles}) == len(styles)
    assert _palette.cell_styles(["mine"]) == _palette.cell_styles(["mine"])
    assert len(_palette.cell_styles(["lstm"] * 20)) == 20
    assert _palette.gate_styles(["f", "k"])[0] == _palette.GATES["forget gate"]


def test_all_cells_and_variants_differ_in_colour_or_line():
    """Those of one family, which are drawn together, in colour."""
    styles = _palette.cell_styles(gs.cells.names())
    assert len({style[:2] for style in styles}) == len(styles) > 12
    ablated = ["lstm", "lstm_coupled", "lstm_linear_input", "lstm_linear_output", "janet", "slstm", "gru"]
    assert len({style.color for style in _palette.cell_styles(ablated)}) == len(ablated)


def test_many_units_repeat_no_pair_of_colour_and_line():
    styles = _palette.unit_styles(40)
    assert len({(style.color, str(style.linestyle)) for style in styles[:21]}) == 21
