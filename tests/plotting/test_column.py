"""Every plot in a column 3.4 inches wide, and on axes and figures that were made under other settings."""

import importlib
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from helpers.synthetic import make_flow, make_trace
from matplotlib.figure import Figure
from matplotlib.text import Text

import gatescope as gs
from gatescope import plotting
from gatescope.plotting._style import inches, is_narrow
from gatescope.plotting._text import width_of, wrapped
from gatescope.storage.npz import read_npz

ROOT = Path(__file__).parent.parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # the scripts of the figures are no part of the package

FOREIGN = {  # of somebody else, with which nothing of ours could be read
    "font.size": 30,
    "font.family": "serif",
    "axes.facecolor": "black",
    "figure.facecolor": "black",
    "axes.labelcolor": "white",
    "text.color": "white",
    "xtick.color": "white",
    "ytick.color": "white",
    "axes.edgecolor": "white",
    "axes.grid": False,
    "axes.spines.top": True,
}


def long_trace(cell="lstm"):
    trace = make_trace(cell, steps=300, batch=1)
    trace.inputs[:] = np.sin(np.arange(300) / 9)[:, None, None]
    return trace


MARKS = {20: "first number", 40: "second number", 290: "end"}
MADE = {
    "trajectories": lambda **to: plotting.plot_gate_trajectories(
        long_trace(), marks=MARKS, inputs=True, **to
    ),
    "heat maps": lambda **to: plotting.plot_gate_heatmaps(long_trace("gru"), marks=MARKS, inputs=True, **to),
    "before and after": lambda **to: plotting.plot_gates_before_after(
        long_trace(), long_trace(), marks=MARKS, inputs=True, **to
    ),
    "saturation": lambda **to: plotting.plot_saturation_before_after(
        gs.saturation(long_trace()), gs.saturation(long_trace()), **to
    ),
}


def check_legible(figure, least, most=None):
    """Every text is large enough, and nothing of it lies outside of the figure."""
    figure.draw_without_rendering()
    box = figure.bbox
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    shown = [text for text in texts if text.axes is None or text.axes.axison]
    assert len(shown) > 5
    for text in shown:
        assert least <= text.get_fontsize() <= (most or 12), text
        extent = text.get_window_extent()
        if extent.width and not text.get_clip_on():
            assert extent.x0 > box.x0 - 2, text
            assert extent.x1 < box.x1 + 2, text
            assert extent.y1 < box.y1 + 2, text
            assert extent.y0 > box.y0 - 2, text


def results_of(name, monkeypatch):
    """Return the plots that a committed figure is made of: each function once, with its arguments."""
    calls = {}
    for stem in [stem for stem in plotting.__all__ if stem.startswith("plot_")]:
        function = getattr(plotting, stem)

        def drawn(*arguments, _stem=stem, _function=function, **keywords):
            mine = {key: value for key, value in keywords.items() if key not in ("ax", "fig")}
            calls.setdefault(_stem, lambda: _function(*arguments, **mine))
            return _function(*arguments, **keywords)

        monkeypatch.setattr(plotting, stem, drawn)
    module = importlib.import_module(f"figures.{name}")
    module.draw(read_npz(ROOT / "figures" / "data" / f"{name}.npz"))
    monkeypatch.undo()
    return calls.values()


def figure_of(drawn):
    return drawn[0] if isinstance(drawn, tuple) else drawn.figure


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "connectivity",
        "diagnosis",
        "fixed_points",
        "gradient_paths",
        "half_life",
        "jacobian_spectrum",
        "long_series",
        "loss_curves",
        "lyapunov_spectrum",
        "phase_diagram",
    ],
)
def test_the_plots_of_a_committed_figure_are_legible_in_a_column(name, monkeypatch):
    for draw in results_of(name, monkeypatch):
        with plotting.style("column"):
            figure = figure_of(draw())
        assert figure.get_figwidth() == pytest.approx(3.4)
        check_legible(figure, 7, 11)


@pytest.mark.parametrize("name", MADE)
def test_a_plot_is_legible_in_a_column(name):
    with plotting.style("column"):
        figure = figure_of(MADE[name]())
    assert figure.get_figwidth() == pytest.approx(3.4)
    check_legible(figure, 7, 11)


ANIMATED = {
    "training": lambda: plotting.animate_gates(
        [make_trace("lstm", steps=300, batch=1, seed=seed) for seed in range(5)],
        np.arange(5) * 2500,
        losses=1.2345e-4 * np.arange(1, 6),
        frames=3,
    ),
    "lines": lambda: plotting.animate_steps(long_trace(), gates=["f", "c"], window=100, frames=3),
    "heatmap": lambda: plotting.animate_steps(
        make_trace("gru", steps=300, batch=1, hidden_size=400), kind="heatmap", window=250, frames=3
    ),
}


@pytest.mark.parametrize("layout", ["page", "column"])
@pytest.mark.parametrize("name", ANIMATED)
@pytest.mark.filterwarnings("ignore:Animation was deleted without rendering:UserWarning")
def test_the_frames_of_an_animation_are_legible(name, layout):
    with plotting.style(layout):
        animation = ANIMATED[name]()
    figure = animation._fig
    assert figure.get_figwidth() == pytest.approx({"page": 8.4, "column": 3.4}[layout])
    for frame in range(3):
        animation._draw_frame(frame)
        check_legible(figure, {"page": 8, "column": 7}[layout])


def test_the_column_ends_with_the_block():
    with plotting.style("column"):
        pass
    assert plotting.plot_gradient_flow(make_flow()).figure.get_figwidth() == pytest.approx(7.2)


def test_axes_that_are_given_carry_the_style_and_settings_stay():
    with matplotlib.rc_context(FOREIGN):
        before = dict(matplotlib.rcParams)
        ax = Figure(figsize=(7.2, 5), layout="constrained").add_subplot()
        plotting.plot_gradient_flow(make_flow("gru"), ax=ax)
        assert dict(matplotlib.rcParams) == before
        check_legible(ax.figure, 8)
        assert ax.get_facecolor() == (1, 1, 1, 1)
        assert ax.figure.get_facecolor() == (1, 1, 1, 1)  # our texts are dark, also those outside the axes
        assert not ax.spines["top"].get_visible()
        ticks = [*ax.xaxis.get_ticklabels(), *ax.yaxis.get_ticklabels()]
        for text in [ax.xaxis.label, ax.yaxis.label, *ticks, *ax.get_legend().get_texts()]:
            assert text.get_fontfamily() == ["DejaVu Sans"]
            assert matplotlib.colors.to_rgb(text.get_color()) < (0.3, 0.3, 0.3)


def test_a_figure_that_is_given_carries_the_style_with_its_color_bars():
    with matplotlib.rc_context(FOREIGN):
        fig = Figure(figsize=(7.2, 6), layout="constrained")
        plotting.plot_gate_heatmaps(long_trace("gru"), fig=fig)
    with matplotlib.rc_context(FOREIGN):  # ticks are made when a figure is drawn
        check_legible(fig, 8)


@pytest.mark.parametrize(("width", "size"), [(3.4, 7.0), (7.2, 8.5)])
def test_a_given_figure_has_the_sizes_of_its_width(width, size):
    fig = Figure(figsize=(width, 4), layout="constrained")
    ax = plotting.plot_gradient_flow(make_flow(), ax=fig.add_subplot())
    assert is_narrow(fig) == (width < 5)
    assert {text.get_fontsize() for text in ax.get_legend().get_texts()} == {size}
    assert {text.get_fontsize() for text in ax.xaxis.get_ticklabels()} == {size}


def test_nothing_is_cut_of_axes_that_nobody_has_laid_out():
    mine = Figure(figsize=(6.4, 4.8))
    ax = plotting.plot_gradient_flow(
        [make_flow("rnn", 9.0), make_flow("gru"), make_flow()], ax=mine.add_subplot()
    )
    legend = ax.get_legend()
    check_legible(mine, 8)
    assert legend.get_window_extent().y1 <= mine.bbox.y1
    check_legible(plotting.plot_gate_trajectories(long_trace(), inputs=True, marks=MARKS, fig=Figure())[0], 8)
    tuned = Figure()
    tuned.subplots_adjust(top=0.6)
    plotting.plot_gradient_flow(make_flow(), ax=tuned.add_subplot())
    assert tuned.get_layout_engine() is None
    left, _ = (whole := Figure()).subfigures(1, 2)
    plotting.plot_gate_trajectories(long_trace(), fig=left)
    assert whole.get_layout_engine() is None  # other parts may be somebody else's


def test_parts_of_figures_have_inches_of_their_own():
    left, _ = Figure(figsize=(8, 4)).subfigures(1, 2)
    assert inches(left) == pytest.approx((4, 4))


def test_texts_are_broken_where_they_have_to_be_and_mathematics_never():
    text = r"the parts of $v\cdot \partial h_t / \partial c_{t - 1}$ and what cost \$ 5"
    lines = wrapped(text, 1.0, 8).split("\n")
    assert len(lines) > 2
    assert " ".join(lines) == text
    assert any(r"$v\cdot \partial h_t / \partial c_{t - 1}$" in line for line in lines)
    assert wrapped(text, 50, 8) == text
    assert width_of("mm", 8) == pytest.approx(2 * width_of("m", 8), rel=0.02)
