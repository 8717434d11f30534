"""Effects with their intervals on one logarithmic axis of ratios: a forest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from gatescope.checks.numbers import check_type
from gatescope.datatypes import Effect
from gatescope.plotting import _palette
from gatescope.plotting._axes import line_keywords
from gatescope.plotting._checks import check_labels, check_results
from gatescope.plotting._figure import drawing_on
from gatescope.plotting._style import small
from gatescope.plotting._text import legend_above, plain_text
from gatescope.reporting.ratios import RatioAxis, ratio_axis

WIDTH = 7.2  # inches


def plot_effects(
    effects: Effect | Sequence[Effect],
    *,
    labels: Sequence[str] | None = None,
    title: str = "",
    ax: Axes | None = None,
    **artist_kwargs: Any,
) -> Axes:
    """Draw effects in rows: mean and 95 % interval of each ratio, every pair of a seed, and the margin.

    The axis is logarithmic; where an interval goes on beyond it, an arrow says so.  What is no ratio, a difference or
    who reached a target, stands in its row as a text.

    Parameters
    ----------
    effects : Effect or sequence of Effect
        As a `Verdict` has them.
    labels : sequence of str, optional
        Of the rows.  Default: the effects' names and arms.
    title : str
        Above the legend.
    ax : Axes, optional
        Where to draw.  Default: new axes in a new figure.
    **artist_kwargs
        For the means' markers, for example ``markersize``.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> from gatescope.experiments.seeds.statistics import paired
    >>> effect = paired(np.log([0.5, 0.6, 0.55]), margin=np.log(1.25), name="adding, T = 100")
    >>> ax = gs.plotting.plot_effects(effect)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['adding, T = 100']
    """
    shown = check_results("effects", effects, Effect, "a verdict")
    check_type("title", title, str, advice="give a text")
    names = check_labels(labels, [_name(effect) for effect in shown])
    axis = ratio_axis(value for effect in shown for value in effect.on_axis())
    with drawing_on(ax, WIDTH, height_of(len(shown))) as axes:
        axes.set_xscale("log")
        axes.set_xlim(1 / axis.end, axis.end)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.axvline(1, color=_palette.GREY, linewidth=1, zorder=1)
        for row, effect in enumerate(shown):
            if effect.measure == "log ratio":
                _draw_ratio(axes, row, effect, axis, artist_kwargs)
            else:
                what = "a difference: " if effect.measure == "difference" else ""
                look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": small()}
                axes.text(1, row, f"{what}{effect.text()}", backgroundcolor="white", **look)
        axes.set_yticks(range(len(shown)), names)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        ratios, texts = zip(*axis.ticks(), strict=True)
        axes.set_xticks(ratios, texts)
        axes.set_xticks([], minor=True)
        axes.set_xlabel("ratio of the second arm to the first")
        legend_above(axes, plain_text(title) or None, ncols=4)
    return axes


def height_of(count: int) -> float:
    """Return the height in inches of a figure of so many effects: a row each, and the axis with the legend."""
    return 1.3 + 0.32 * count


def _name(effect: Effect) -> str:
    arms = f" ({effect.arms[1]} / {effect.arms[0]})" if effect.arms else ""
    return f"{effect.name}{arms}"


def _draw_ratio(axes: Axes, row: int, effect: Effect, axis: RatioAxis, artist_kwargs: dict[str, Any]) -> None:
    """Draw margin, pairs, interval and mean of a row; what several rows have is once in the legend."""

    def label(text: str) -> str:  # matplotlib leaves "_" out of a legend
        known = {artist.get_label() for artist in axes.get_children()}
        return text if text not in known else "_"

    def places(*logs: float) -> Any:  # the ends of the axis hold what lies beyond them
        return np.exp(np.clip(np.array(logs, np.float64), -math.log(axis.end), math.log(axis.end)))

    if math.isfinite(effect.margin):
        low, high = places(-effect.margin, effect.margin)
        of: dict[str, Any] = {"alpha": 0.18, "linewidth": 0, "zorder": 0, "color": _palette.GREY}
        axes.fill_betweenx([row - 0.4, row + 0.4], low, high, label=label("too small to matter"), **of)
    pairs = places(*effect.differences[np.isfinite(effect.differences)])
    look: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 3.5, "color": _palette.SKY}
    axes.plot(pairs, np.full(pairs.size, row), label=label("pairs of a seed"), zorder=2, **look)
    if not (math.isnan(effect.low) or math.isnan(effect.high)):
        ends, look = places(effect.low, effect.high), {"color": _palette.BLACK, "zorder": 3}
        axes.plot(ends, [row, row], linewidth=1.6, label=label("95 % interval"), **look)
        if effect.low < -math.log(axis.end):
            axes.plot(ends[:1], [row], marker="<", clip_on=False, **look)
        if effect.high > math.log(axis.end):
            axes.plot(ends[1:], [row], marker=">", clip_on=False, **look)
    if math.isfinite(effect.mean):
        look = {"linestyle": "none", "marker": "s", "markersize": 6, "color": _palette.BLUE, "zorder": 4}
        look["label"] = label("mean (of times: median)")
        axes.plot(places(effect.mean), [row], **line_keywords(artist_kwargs, **look))
