"""How strongly each output depends on each input, as a map."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gatescope.checks.numbers import check_above_zero, check_index, check_result
from gatescope.datatypes import Connectivity
from gatescope.errors import ShapeError
from gatescope.plotting._axes import cell_edges, count_axis
from gatescope.plotting._decades import LN10, power_of_ten
from gatescope.plotting._figure import drawing_on
from gatescope.plotting._reduction import largest, pixels
from gatescope.plotting._text import plain_text

_ZERO = "0.62"  # of what is exactly 0: no color of the scale
_ZORDER = 2.6  # above the spines, which are as wide as a pixel
_NORMS = {
    "frobenius": r"\|{}\|_F",
    "random": r"\|v\cdot {}\|",
    "unit": r"\|v\cdot {}\|",
}


def plot_connectivity(
    result: Connectivity,
    *,
    sequence: int = 0,
    decades: float | None = None,
    ax: Axes | None = None,
    **artist_kwargs: Any,
) -> Axes:
    """Draw the norm of the derivative of each output by each input, a color for each power of ten.

    Inputs run to the right and outputs upwards; the diagonal is an output's own input, and what lies to the right of
    it, where inputs come too late, stays white.  What decays exponentially with the lag has stripes of even width
    along the diagonal.  Where there are more cells than pixels, neighbors are put together: each cell drawn is the
    largest of them, as the axis says, so that none that stands out is lost.

    Parameters
    ----------
    result : Connectivity
    sequence : int
        Which sequence of the batch.
    decades : float, optional
        How many powers of ten below the largest norm the colors span; what is smaller has the darkest.  Default: all
        that there are.
    ax : Axes, optional
        Where to draw; the color bar takes its space from it.  Default: new axes in a new figure.
    **artist_kwargs
        For ``Axes.pcolorfast``, for example ``cmap``, ``vmin`` or ``vmax``, which are log10 of norms.

    Returns
    -------
    Axes
        Its first image holds log10 of the norms that are drawn.

    Raises
    ------
    ShapeError
        If `result` has fewer than two target steps or two source steps.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("gru", input_size=1, hidden_size=8, seed=0)
    >>> ax = gs.plotting.plot_connectivity(gs.connectivity(params, np.ones((30, 1))))
    >>> ax.get_images()[0].get_array().shape
    (30, 30)
    """
    check_result("result", result, Connectivity, "connectivity")
    if min(result.target_step.size, result.source_step.size) < 2:
        steps = f"{result.target_step.size} target and {result.source_step.size} source steps"
        problem, advice = f"has {steps}, but a map needs two of each", "draw a single row as a line"
        raise ShapeError(problem, argument="result", advice=advice)
    check_index("sequence", sequence, result.log_norm.shape[2], "sequences")
    if decades is not None:
        check_above_zero("decades", decades, advice="leave it out for all there are")
    edges = cell_edges(result.source_step), cell_edges(result.target_step)
    with drawing_on(ax, 6.4, 5.0) as axes:
        cells = largest(result.log_norm[:, :, sequence], *edges, pixels(axes))
        image = cells.values / LN10
        zero = np.isneginf(image)
        shown = np.ma.masked_where(~np.isfinite(image), image)
        low, high = _limits(shown, decades)
        keywords = {
            "cmap": colormaps["cividis"],
            "vmin": low,
            "vmax": high,
            "zorder": _ZORDER,
            **artist_kwargs,
        }
        drawn = axes.pcolorfast(cells.across, cells.up, shown, **keywords)
        if zero.any():
            hidden = np.ma.masked_where(~zero, zero)
            axes.pcolorfast(cells.across, cells.up, hidden, cmap=ListedColormap([_ZERO]), zorder=_ZORDER)
        axes.set_xlim(edges[0][0], edges[0][-1])
        axes.set_ylim(edges[1][0], edges[1][-1])
        axes.grid(False)
        count_axis(axes.xaxis)
        count_axis(axes.yaxis)
        axes.set_xlabel("input step $t'$" + (f" ({cells.note})" if cells.note else ""))
        axes.set_ylabel("output step $t$")
        title = f"{plain_text(result.cell)}: how outputs depend on inputs"
        axes.set_title(title + ("; grey: exactly 0" if zero.any() else ""), loc="left")
        below = bool(shown.count() and shown.min() < drawn.get_clim()[0])
        bar = axes.figure.colorbar(drawn, ax=axes, pad=0.02, aspect=25, extend="min" if below else "neither")
        bar.locator = MaxNLocator(nbins=7, integer=high - low > 3)
        bar.formatter = FuncFormatter(power_of_ten)
        bar.update_ticks()
        ratio = r"\partial \,\mathrm{output}_t\,/\,\partial\, \mathrm{input}_{t'}"
        bar.set_label(f"${_NORMS.get(result.norm, '{}').format(ratio)}$")
    return axes


def _limits(shown: Any, decades: float | None) -> tuple[float, float]:
    if not shown.count():
        return -1.0, 0.0
    low, high = float(shown.min()), float(shown.max())
    if decades is not None:
        low = max(low, high - decades)
    return (low, high) if low < high else (low - 0.5, high + 0.5)
