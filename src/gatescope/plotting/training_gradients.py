"""Gradient norms, clipping and half-lives against the epoch of training, seeds as bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D

from gatescope.datatypes import Status, TrainingRun
from gatescope.datatypes.stack import direction_text
from gatescope.plotting import _palette, _seeds
from gatescope.plotting._axes import count_axis, finite_or_nan, log_ticks
from gatescope.plotting._figure import drawing_in
from gatescope.plotting._seeds import Band, Seeds, Summary, summarize
from gatescope.plotting._text import legend_above, margin_note

_MANY_PROBES = 30  # marks at every one of more probes would run into each other
_GAP = 1.7  # the factor between the longest finite half-life and where infinite ones are put
_LETTERS = 72  # of a legend in a line above the axes
_LAYERS = ("-", _palette.DASH, _palette.DOT, _palette.DASH_DOT)


def plot_training_gradients(
    runs: Mapping[str, TrainingRun | Sequence[TrainingRun]],
    *,
    band: tuple[float, float] | None = (0.1, 0.9),
    fig: FigureBase | None = None,
    **artist_kwargs: Any,
) -> tuple[FigureBase, dict[str, Axes]]:
    """Draw gradient norms, the fraction of clipped updates and the half-life of the gradient during training.

    Norms are those before clipping: the epoch's mean as a line, its largest as a dotted line where that differs; a
    grey line is the limit of the clipping.  Half-lives are those of the probes, a line a layer and direction; an
    infinite one (the gradient does not decay) is a hollow mark at the upper edge, where the margin says so.
    Lines are medians of the seeds, bands lie between two of their quantiles.  Runs that ended before their first epoch
    did are named above the axes.

    Parameters
    ----------
    runs : mapping of str to TrainingRun, or to a sequence of them (the seeds)
        By label, as for `loss_curves`.
    band : (float, float), optional
        Two quantiles of the seeds; ``(0, 1)`` is from the least to the greatest, None draws no band.
    fig : Figure or SubFigure, optional
        Where to draw.  Default: a new figure.
    **artist_kwargs
        For the lines of means and half-lives, for example ``linewidth``.

    Returns
    -------
    fig : Figure or SubFigure
    axes : dict of str to Axes
        ``"norm"``, ``"clipped"``, and ``"half_life"`` if there were probes (``probe_every`` of `train`).

    Examples
    --------
    >>> import gatescope as gs
    >>> task = gs.tasks.adding(steps=10, sequences=20, seed=0)
    >>> stack = gs.init_stack("gru", hidden_size=8, heads=task, seed=0)
    >>> run = gs.train(stack, task, epochs=4, probe_every=2)
    >>> fig, axes = gs.plotting.plot_training_gradients({"gru": run})
    >>> list(axes)
    ['norm', 'clipped', 'half_life']
    """
    drawn, note = _seeds.runs_to_draw(runs)
    quantiles = _seeds.check_band(band)
    probed = any(run.history.probe_epoch.size for listed in drawn.values() for run in listed)
    names = ("norm", "clipped", "half_life") if probed else ("norm", "clipped")
    styles = _palette.cell_styles(_seeds.cell_name(listed[0]) for listed in drawn.values())
    with drawing_in(fig, 7.2, 1.4 + 1.9 * len(names), 1.2 + 1.35 * len(names)) as figure:
        heights = [1.4, 0.8, 1.4][: len(names)]
        panels = figure.subplots(len(names), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
        axes: dict[str, Axes] = dict(zip(names, panels, strict=True))
        axes["clipped"].set_ylim(-0.05, 1.05)
        axes["clipped"].set_ylabel("fraction of\nupdates clipped")
        size = _draw_norms(axes["norm"], drawn, note, styles, quantiles, artist_kwargs)
        for k, (listed, style) in enumerate(zip(drawn.values(), styles, strict=True)):
            clipped = summarize(_of(listed, "clipped"), quantiles)
            _seeds.draw_summary(axes["clipped"], clipped, style, (k, len(drawn)), keywords=artist_kwargs)
        if probed:
            _draw_half_lives(axes["half_life"], drawn, styles, quantiles, artist_kwargs)
        count_axis(panels[-1].xaxis)
        panels[-1].set_xlabel(_seeds.epochs_label(size))
        figure.align_ylabels(panels)
    return figure, axes


def _draw_norms(
    axes: Axes,
    runs: dict[str, list[TrainingRun]],
    note: str,
    styles: list[_palette.Style],
    band: Band,
    keywords: dict[str, Any],
) -> int:
    """Draw the norms; return how many epochs a point stands for."""
    means = [summarize(_of(listed, "gradient_norm"), band) for listed in runs.values()]
    largest = [summarize(_of(listed, "largest_gradient_norm"), None) for listed in runs.values()]
    limits = sorted({limit for listed in runs.values() for run in listed if (limit := _clip_limit(run))})
    axes.set_yscale("log")
    _seeds.set_limits(axes, [*means, *largest], None)
    low, high = axes.get_ylim()
    if limits:
        axes.set_ylim(min(low, limits[0] / 1.1), max(high, limits[-1] * 1.1))
        log_ticks(axes.yaxis)
    differ = False
    for k, ((label, listed), style) in enumerate(zip(runs.items(), styles, strict=True)):
        turn = (k, len(runs))
        text = _seeds.label_with_seeds(
            label, len(listed), sum(run.status == Status.DIVERGED for run in listed)
        )
        _seeds.draw_summary(axes, means[k], style, turn, label=text, keywords=keywords)
        if not np.array_equal(largest[k].middle, means[k].middle, equal_nan=True):
            look: dict[str, Any] = {"linestyle": _palette.DOT, "marker": "None", "linewidth": 1.2}
            _seeds.draw_summary(axes, largest[k], style, turn, **look)
            differ = True
    for limit in limits:
        axes.axhline(limit, color=_palette.GREY, linewidth=1.2, zorder=1)
        margin_note(axes, limit, f"clip {limit:g}", data=True)
    axes.set_ylabel("gradient norm\nbefore clipping")
    kinds = [
        _seeds.seeds_drawn(band, max(map(len, runs.values()))),
        "solid: mean of an epoch's updates; dotted: their largest" if differ else "",
        note,
    ]
    legend_above(axes, _seeds.title_of(kinds))
    return max(summary.size for summary in means)


def _draw_half_lives(
    axes: Axes,
    runs: dict[str, list[TrainingRun]],
    styles: list[_palette.Style],
    band: Band,
    keywords: dict[str, Any],
) -> None:
    curves: list[tuple[_palette.Style, int, Summary]] = []
    for listed, style in zip(runs.values(), styles, strict=True):
        listed = [run for run in listed if run.history.probe_epoch.size]
        for layer in range(max((run.history.half_life.shape[1] for run in listed), default=0)):
            deep = [run.history for run in listed if run.history.half_life.shape[1] > layer]
            seeds = _seeds.align([h.probe_epoch for h in deep], [h.half_life[:, layer] for h in deep])
            curves.append((style, layer, summarize(seeds, band)))
    axes.set_yscale("log")
    _seeds.set_limits(axes, [summary for _, _, summary in curves], None)
    bottom, top = axes.get_ylim()
    endless = any(np.isposinf(part).any() for _, _, s in curves for part in (s.middle, s.high))
    if endless:
        axes.set_ylim(bottom, top := top * _GAP)
        log_ticks(axes.yaxis)
        margin_note(axes, 1, "infinite")
    for style, layer, summary in curves:
        middle, low = np.minimum(summary.middle, top), np.minimum(summary.low, top)  # NaN stays NaN
        shown = summary._replace(middle=middle, low=low)
        every = {"markevery": 1} if summary.epoch.size <= _MANY_PROBES else {}
        look: dict[str, Any] = {"linestyle": _LAYERS[layer % len(_LAYERS)], "clip_on": False, **every}
        _seeds.draw_summary(axes, shown, style, (layer, 1), keywords=keywords, **look)
        infinite = summary.epoch[np.isposinf(summary.middle)]
        # A line without points and without clipping would take the layout to the figure's corner.
        if infinite.size:
            hollow: dict[str, Any] = {"markerfacecolor": "white", "linestyle": "none", "zorder": 4}
            look = {"marker": style.marker, "color": style.color, "clip_on": False, **hollow}
            axes.plot(infinite, np.full(infinite.size, top), **look)
    layers = max(layer for _, layer, _ in curves) + 1
    if layers > 1:
        entries = [
            Line2D([], [], color=_palette.GREY, linestyle=_LAYERS[k % len(_LAYERS)], label=_of_curve(runs, k))
            for k in range(layers)
        ]
        longest = max(len(str(entry.get_label())) for entry in entries)
        columns = max(1, min(layers, _LETTERS // (longest + 8)))  # a line and a gap are as wide as 8 letters
        axes.legend(handles=entries, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns)
    axes.set_ylabel("asymptotic half-life\nof the gradient (steps)")


def _of_curve(runs: dict[str, list[TrainingRun]], number: int) -> str:
    """Return which layer and direction the half-lives of that number are of; of models that differ in it, both."""
    probed = (run for listed in runs.values() for run in listed if run.history.probe_epoch.size)
    names = [[*run.model.directions()] for run in probed]
    return " or ".join(dict.fromkeys(direction_text(one[number]) for one in names if number < len(one)))


def _of(runs: list[TrainingRun], name: str) -> Seeds:
    histories = [run.history for run in runs]
    # A norm that is not finite ends training and is not drawn.
    values = [finite_or_nan(getattr(history, name)) for history in histories]
    return _seeds.align([history.epoch for history in histories], values)


def _clip_limit(run: TrainingRun) -> float | None:
    limit = run.config.get("clip_norm")
    return float(limit) if isinstance(limit, int | float) and limit > 0 else None
