"""The 20,000-step experiment: loss curves with bands, and how restless they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator

from gatescope.checks.numbers import check_result
from gatescope.datatypes import LongSeriesResult
from gatescope.datatypes.long_series import LAST_EPOCHS
from gatescope.plotting import _palette
from gatescope.plotting._axes import count_axis, line_keywords, log_ticks
from gatescope.plotting._figure import drawing_in
from gatescope.plotting._style import is_narrow
from gatescope.plotting._text import legend_above, plain_text


def plot_long_series(
    result: LongSeriesResult, *, fig: FigureBase | None = None, **artist_kwargs: Any
) -> tuple[FigureBase, dict[str, Axes]]:
    """Draw the loss of each cell against the epoch, where the curves cross, and how they spike.

    Above: the median over the seeds and the band from the 10th to the 90th percentile, on a logarithmic axis, with
    the epochs where the median of one cell goes below the other's and stays there.  Below, on the left: of one run
    of each cell, that of the median volatility, the loss as a multiple of its running median; on the right: the
    volatility of every run over the last 400 epochs.

    Parameters
    ----------
    result : LongSeriesResult
    fig : Figure or SubFigure, optional
        Where to draw.  Default: a new figure.
    **artist_kwargs
        For the lines of the medians, for example ``linewidth``.

    Returns
    -------
    fig : Figure or SubFigure
    axes : dict of Axes
        ``"loss"``, ``"spikes"``, ``"volatility"``.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> from gatescope.datatypes.long_series import LongSeriesResult
    >>> curves = np.geomspace(4, 1, 60) * np.ones((2, 3, 1))
    >>> result = LongSeriesResult(
    ...     cells=("lstm", "gru"), seeds=np.arange(3), loss=curves, gradient_norm=curves, clipped=curves, steps=50,
    ...     status=(("finished",) * 3,) * 2, sequences=4, lookback=8, hidden_size=16, data_seed=0, baseline=3.0,
    ...     settings={}, seconds=np.ones((2, 3)))
    >>> fig, axes = gs.plotting.plot_long_series(result)
    >>> sorted(axes)
    ['loss', 'spikes', 'volatility']
    """
    check_result("result", result, LongSeriesResult, "experiments.run_long_series")
    styles = dict(zip(result.cells, _palette.cell_styles(result.cells), strict=True))
    with drawing_in(fig, 8.6, 6.8, 6.6) as figure:
        if is_narrow(figure):
            rows = figure.add_gridspec(3, 1, height_ratios=(1.5, 1, 0.9))
            places = (rows[0], rows[1], rows[2])
        else:
            grid = figure.add_gridspec(2, 2, height_ratios=(1.9, 1), width_ratios=(2.6, 1))
            places = (grid[0, :], grid[1, 0], grid[1, 1])
        names = ("loss", "spikes", "volatility")
        axes = {name: figure.add_subplot(place) for name, place in zip(names, places, strict=True)}
        _draw_loss(axes["loss"], result, styles, artist_kwargs)
        _draw_spikes(axes["spikes"], result, styles)
        _draw_volatility(axes["volatility"], result, styles)
    return figure, axes


def _draw_loss(
    ax: Axes, result: LongSeriesResult, styles: dict[str, _palette.Style], keywords: dict[str, Any]
) -> None:
    epoch = np.arange(1, result.epochs + 1)
    for cell, style in styles.items():
        low, high = result.band(cell)
        ax.fill_between(epoch, low, high, color=style.color, alpha=0.2, linewidth=0)
        look = {"linewidth": 2.4 if style.linestyle == "-" else 1.8, "label": plain_text(cell.upper())}
        look |= {"zorder": 3, **style.line(epoch.size)}
        ax.plot(epoch, result.median(cell), **line_keywords(keywords, **look))
    ax.set_yscale("log")
    if np.isfinite(result.baseline):
        label = "best answer that does not look at the inputs"
        line: dict[str, Any] = {"color": _palette.GREY, "linewidth": 1, "linestyle": _palette.DOT}
        ax.axhline(result.baseline, label=label, zorder=2, **line)
    if len(result.cells) > 1:
        _mark_crossings(ax, result, result.cells[0], result.cells[1])
    log_ticks(ax.yaxis)
    ax.set_xlim(min(1, result.epochs - 1), result.epochs)
    count_axis(ax.xaxis)
    ax.set_xlabel("epoch (one update each)")
    ax.set_ylabel("training loss")
    seeds = len(result.seeds)
    band = f"median of {seeds} seeds, and 10th to 90th percentile" if seeds > 1 else "one seed"
    size = f"{result.sequences} series of {result.steps:,} steps, {result.hidden_size} units"
    title = f"{'Preliminary: ' if result.preliminary else ''}{size} ({band})"
    if is_narrow(ax.figure):
        legend_above(ax, title, ncols=2)
    else:
        ax.set_title(title)
        ax.legend(loc="upper right")


def _mark_crossings(ax: Axes, result: LongSeriesResult, first: str, second: str) -> None:
    crossings = result.crossings(first, second)
    for crossing in crossings:
        height = result.median(crossing.lower)[crossing.epoch - 1]
        ax.plot([crossing.epoch], [height], "o", markersize=9, mfc="none", mec="black", mew=1.4, zorder=5)
    if not crossings:
        return
    # In words only the last one: there may be many, and it is the one that lasts.
    last = crossings[-1]
    height = result.median(last.lower)[last.epoch - 1]
    more = f"\n(the last of {len(crossings)} crossings)" if len(crossings) > 1 else ""
    right = last.epoch > 0.62 * result.epochs
    ax.annotate(
        plain_text(f"{last.lower.upper()} lower from epoch {last.epoch:,}{more}"),
        (last.epoch, height),
        xytext=(-14 if right else 14, 34),
        textcoords="offset points",
        ha="right" if right else "left",
        arrowprops={"arrowstyle": "-", "color": _palette.GREY, "shrinkB": 5},
        zorder=6,
    )


def _draw_spikes(ax: Axes, result: LongSeriesResult, styles: dict[str, _palette.Style]) -> None:
    epoch = np.arange(1, result.epochs + 1)
    detrended, volatility = np.exp(result.detrended()), result.volatility()
    shown, settled = [np.ones(1)], result.epochs // 10  # the first fall must not set the panel's height
    for k, (cell, style) in enumerate(styles.items()):
        known = np.flatnonzero(np.isfinite(volatility[k]))
        if not known.size:
            continue
        middle = known[np.argsort(volatility[k][known], kind="stable")[known.size // 2]]
        # Dashes cannot be read on a line that jumps; lightness and width tell these apart.
        curve = detrended[k, middle]
        label = f"{plain_text(cell.upper())}, seed {result.seeds[middle]}"
        ax.plot(epoch, curve, color=style.color, linewidth=1.0 if k else 1.3, label=label, zorder=3 - 0.1 * k)
        shown.append(curve[settled:][np.isfinite(curve[settled:])])
    begin = max(1, result.epochs - LAST_EPOCHS + 1)
    if begin > 1:
        ax.axvspan(begin, result.epochs, color="0.93", linewidth=0, zorder=0)
    ax.set_xlim(min(1, result.epochs - 1), result.epochs)
    values = np.concatenate(shown)
    low, high = float(values.min()), float(values.max())
    span = max(high - low, 0.02)
    ax.set_ylim(low - 0.35 * span, high + 0.08 * span)  # the legend is below the curves
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5))
    count_axis(ax.xaxis)
    ax.set_xlabel("epoch" + (" (grey: those of the volatility)" if begin > 1 else ""))
    ax.set_ylabel("loss / running median")
    ax.set_title("Spikes of a typical run")
    if len(shown) > 1:
        ax.legend(loc="lower left", ncols=2)


def _draw_volatility(ax: Axes, result: LongSeriesResult, styles: dict[str, _palette.Style]) -> None:
    values = result.volatility()
    rng = np.random.default_rng(0)
    for k, style in enumerate(styles.values()):
        known = values[k][np.isfinite(values[k])]
        x = k + (rng.uniform(-0.16, 0.16, known.size) if known.size > 1 else np.zeros(known.size))
        ax.plot(x, known, linestyle="none", marker=style.marker, color=style.color, alpha=0.85, zorder=3)
        if known.size:
            ax.plot([k - 0.3, k + 0.3], [np.median(known)] * 2, color="black", linewidth=1.6, zorder=4)
    ax.set_xlim(-0.6, len(result.cells) - 0.4)
    ax.set_xticks(range(len(result.cells)), [plain_text(cell.upper()) for cell in result.cells])
    ax.set_ylim(0, 1.12 * (np.nanmax(values, initial=0.0) or 1.0))
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5))
    ax.grid(False, axis="x")
    ax.set_ylabel("sd of detrended ln loss")
    ax.set_title("Volatility, each seed")
