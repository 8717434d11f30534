"""Half-lives and saturated gates of a model's layers, against the steps of the loop that trained it."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D

from gatescope.checks.numbers import check_choices, check_result
from gatescope.datatypes import Array, WatchHistory
from gatescope.plotting import _palette
from gatescope.plotting._axes import count_axis, line_keywords, log_ticks
from gatescope.plotting._checks import check_drawable
from gatescope.plotting._figure import drawing_in
from gatescope.plotting._text import legend_above, margin_note, plain_text

_MOST_LAYERS = 4  # that have a panel of gates where nobody chooses
_GAP = 1.7  # the factor between the longest finite half-life and where infinite ones are put
_SPREAD = 1.25  # the axis goes beyond the finite ones by this factor
_MANY = 12  # marks along a line: more would hide whether it is dotted


def plot_watch(
    history: WatchHistory,
    *,
    layers: Any = None,
    fig: FigureBase | None = None,
    **artist_kwargs: Any,
) -> tuple[FigureBase, dict[str, Axes]]:
    """Draw the half-life of every layer, and how often its gates are shut and open, while a model learns.

    Half-lives are on a logarithmic axis; an infinite one (the gradient does not decay) is a hollow mark at the upper
    edge, where the margin says so.  Below them a panel a layer: the solid line of a gate is how often it is open, the
    dotted one how often it is shut.  Where a reading failed, or found no rate, lines have a gap; those that failed are
    marked at the lower edge.

    Parameters
    ----------
    history : WatchHistory
        ``history`` of what `watch` returned.
    layers : sequence of str, optional
        Names of those to draw.  Default: all half-lives, and the gates of the first four layers that have any.
    fig : Figure or SubFigure, optional
        Where to draw.  Default: a new figure.
    **artist_kwargs
        For the lines, for example ``linewidth``.

    Returns
    -------
    fig : Figure or SubFigure
    axes : dict of str to Axes
        ``"half_life"``, and that of the gates of each layer by its name.

    Examples
    --------
    In a loop of PyTorch::

        watch = gs.watch(model, inputs=tokens)
        train(model, after_each_step=watch.step)
        fig, axes = gs.plotting.plot_watch(watch.history)
    """
    check_result("history", history, WatchHistory, "watch")
    chosen = history.layers if layers is None else check_choices("layers", layers, history.layers)
    check_drawable("history", history.half_life, logarithmic=True)
    rows = [history.layers.index(layer) for layer in chosen]
    gated = [k for k in rows if history.gates[k]]
    shown = gated[:_MOST_LAYERS] if layers is None else gated
    styles = _palette.unit_styles(len(history.layers))
    count = 1 + len(shown)
    with drawing_in(fig, 7.2, 1.6 + 1.8 * count, 1.4 + 1.4 * count) as figure:
        heights = [1.5, *[1.0] * len(shown)]
        panels = figure.subplots(count, 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
        _draw_half_lives(panels[0], history, rows, styles, artist_kwargs)
        axes = {"half_life": panels[0]}
        for panel, k in zip(panels[1:], shown, strict=True):
            _draw_gates(panel, history, k, len(gated) - len(shown) if k == shown[-1] else 0, artist_kwargs)
            axes[history.layers[k]] = panel
        count_axis(panels[-1].xaxis)
        panels[-1].set_xlabel("step of the loop")
        figure.align_ylabels(panels)
    return figure, axes


def _draw_half_lives(
    axes: Axes,
    history: WatchHistory,
    rows: list[int],
    styles: list[_palette.Style],
    keywords: dict[str, Any],
) -> None:
    values = history.half_life[:, rows]
    finite = values[np.isfinite(values) & (values > 0)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (1.0, 10.0)
    low, high = low / _SPREAD, high * _SPREAD
    endless, gone = np.isposinf(values).any(), (values == 0).any()
    axes.set_yscale("log")
    axes.set_ylim(low := low / (_GAP if gone else 1), high := high * (_GAP if endless else 1))
    log_ticks(axes.yaxis)
    for outside, height, text in ((endless, 1, "infinite"), (gone, 0, "0")):
        if outside:
            margin_note(axes, height, text)
    for k in rows:
        style, curve = styles[k], np.clip(history.half_life[:, k], low, high)
        look: dict[str, Any] = {"color": style.color, "linestyle": style.linestyle, "clip_on": False}
        look |= {"label": plain_text(history.layers[k]), "zorder": 3}
        axes.plot(history.step, curve, **line_keywords(keywords, **look, **_marks(style, history.step)))
        edge = np.isposinf(history.half_life[:, k])
        hollow: dict[str, Any] = {
            "marker": style.marker,
            "markerfacecolor": "white",
            "linestyle": "none",
            "zorder": 4,
        }
        if edge.any():
            axes.plot(history.step[edge], curve[edge], color=style.color, clip_on=False, **hollow)
    failed = history.step[[bool(failure) for failure in history.failures]]
    if failed.size:
        axes.plot(
            failed,
            np.zeros(failed.size),
            linestyle="none",
            marker="|",
            markersize=9,
            color=_palette.GREY,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            label="reading failed",
        )
    axes.set_ylabel("asymptotic half-life\nof the gradient (steps)")
    legend_above(axes, ncols=3)


def _draw_gates(axes: Axes, history: WatchHistory, layer: int, others: int, keywords: dict[str, Any]) -> None:
    """Draw how often the gates of a layer are open and shut; `others`: so many layers are not drawn."""
    gates = history.gates[layer]
    entries: list[Line2D] = []
    for j, (gate, style) in enumerate(zip(gates, _palette.gate_styles(gates), strict=True)):
        shut, opened = history.saturation[:, layer, j].T
        for values, kind in ((opened, "-"), (shut, _palette.DOT)):
            look: dict[str, Any] = {"color": style.color, "linestyle": kind, "clip_on": False}
            axes.plot(history.step, values, **line_keywords(keywords, **look, **_marks(style, history.step)))
        entries.append(Line2D([], [], color=style.color, marker=style.marker, label=_palette.describe(gate)))
    axes.set_ylim(-0.05, 1.05)
    axes.set_ylabel("fraction of\nthe values")
    left = f"; {others} more layers have gates: choose with layers=" if others else ""
    title = f"{plain_text(history.layers[layer])}: solid open, dotted shut{left}"
    legend_above(axes, title, entries=(entries, [str(entry.get_label()) for entry in entries]), ncols=3)


def _marks(style: _palette.Style, steps: Array) -> dict[str, Any]:
    """Return the marks of a line: at each reading, or at some of many."""
    return {"marker": style.marker, "markersize": 4.5, "markevery": max(1, steps.size // _MANY)}
