"""Which part of a gradient stayed on the direct path, and which left it through each gate, against the lag."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import Stroke

from gatescope.checks.numbers import check_choice, check_index, check_result
from gatescope.datatypes import Array, GradientPaths
from gatescope.errors import ValueRangeError
from gatescope.plotting import _palette
from gatescope.plotting._axes import count_axis
from gatescope.plotting._figure import drawing_on
from gatescope.plotting._style import is_narrow
from gatescope.plotting._text import derivative, legend_above, plain_text
from gatescope.reporting.text import counted

_BINS = 300  # more lags than this are put together
_DIRECT = "#DCDCDC"  # lighter than any gate's color
_HATCHES = (None, "//", None, r"\\")  # in turn, so that neighbours differ in grey too


def plot_gradient_paths(
    result: GradientPaths,
    *,
    sequence: int = 0,
    scale: Literal["linear", "log"] = "log",
    ax: Axes | None = None,
    **artist_kwargs: Any,
) -> Axes:
    """Draw, as stacked areas against the lag, how large each part of the gradient is beside all parts.

    An area is as high as its part's norm over the sum of all parts' norms.  The black line is the norm of the whole
    over the same sum: at 1 the parts all point the same way, and what is missing below 1 is lost because they cancel.
    At how many lags it is below 1/100, and how far, is said beside it.
    Where there are more than 300 lags, areas and line are means over neighboring ones.

    Parameters
    ----------
    result : GradientPaths
    sequence : int
        Which sequence of the batch.
    scale : {"log", "linear"}
        Of the lag; the logarithmic one leaves lag 0 out, where all of the gradient is on the direct path.
    ax : Axes, optional
        Where to draw.  Default: new axes in a new figure.
    **artist_kwargs
        For the areas, for example ``alpha``.

    Returns
    -------
    Axes
        Its collections are the parts, from the direct path at the bottom up; its line the whole.

    Raises
    ------
    ValueRangeError
        If no lag can be drawn.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("lstm", input_size=1, hidden_size=8, seed=0)
    >>> ax = gs.plotting.plot_gradient_paths(gs.gradient_paths(params, np.ones((200, 1))))
    >>> [area.get_label() for area in ax.collections]
    ['direct', 'i (input gate)', 'f (forget gate)', 'g (candidate)', 'o (output gate)']
    """
    check_result("result", result, GradientPaths, "gradient_paths")
    check_index("sequence", sequence, result.total_log_norm.shape[1], "sequences")
    check_choice("scale", scale, ("linear", "log"))
    lag, fractions, coherence = _drawn(result, sequence, scale)
    with drawing_on(ax, 7.2, 4.2, 3.6) as axes:
        bottom = np.zeros(lag.size)
        colors = [_DIRECT, *(style.color for style in _palette.gate_styles(result.paths[1:]))]
        for k, (name, color) in enumerate(zip(result.paths, colors, strict=True)):
            keywords = {
                "facecolor": color,
                "edgecolor": "white",
                "linewidth": 0.0,
                "hatch": _HATCHES[k % 4],
                "label": _palette.describe(plain_text(name)),
                "zorder": 2,
                **artist_kwargs,
            }
            axes.fill_between(lag, bottom, bottom + fractions[:, k], **keywords)
            bottom = bottom + fractions[:, k]
        whole = "whole / sum of parts" + _cancelling(result, sequence)
        (line,) = axes.plot(lag, coherence, color="black", linewidth=1.8, label=whole, zorder=3)
        line.set_path_effects(
            [Stroke(linewidth=4.0, foreground="white"), Stroke(linewidth=1.8, foreground="black")]
        )
        if scale == "log":
            axes.set_xscale("log")
        else:
            count_axis(axes.xaxis)
        axes.set_xlim(lag[0], max(lag[-1], lag[0] + 1))
        axes.set_ylim(0, 1)
        axes.set_xlabel("lag (steps back)")
        axes.set_ylabel("norm over the sum of the parts' norms")
        jacobian = derivative(result.of, result.wrt)
        axes.set_title(rf"{plain_text(result.cell)}: the parts of  $v\cdot {jacobian}$", loc="left")
        handles, labels = axes.get_legend_handles_labels()
        # From the top down, as they lie on one another; what crosses them all comes last.
        order = [*range(len(result.paths) - 1, -1, -1), len(result.paths)]
        if handles[0] is line:  # matplotlib lists lines first
            handles, labels = handles[1:] + handles[:1], labels[1:] + labels[:1]
        ordered = [handles[k] for k in order], [labels[k] for k in order]
        if is_narrow(axes.figure):
            title = axes.get_title("left")
            axes.set_title("", loc="left")
            legend_above(axes, title, entries=ordered)
        else:
            axes.legend(*ordered, loc="upper left", bbox_to_anchor=(1.01, 1.0), handlelength=2.0)
    return axes


def _cancelling(result: GradientPaths, sequence: int) -> str:
    """Return at how many lags the parts of a sequence cancel, a line for the legend; empty if they do at none."""
    cancels = result.cancels[:, sequence]
    if not cancels.any():
        return ""
    least = -result.cancellation()[cancels, sequence].max() / np.log(10)
    lowest = "0" if np.isneginf(least) else f"$10^{{{least:.1f}}}$"
    return f"\n(parts cancel: below 1/100\nat {cancels.sum()} of {counted(cancels.size, 'lag')}, down to {lowest})"


def _drawn(result: GradientPaths, sequence: int, scale: str) -> tuple[Array, Array, Array]:
    """Return lags (L,), norms of the parts (L, P) and of the whole (L,) over the sum of the parts'; if many, means."""
    lag = result.lag
    usable = np.flatnonzero(
        (lag > 0 if scale == "log" else lag >= 0) & np.isfinite(result.log_norm[:, :, sequence]).any(axis=1)
    )
    if not usable.size:
        problem = "has no lag at which any part is above 0"
        raise ValueRangeError(problem, argument="result", advice="measure other lags")
    norms = result.log_norm[usable, :, sequence]
    total = np.logaddexp.reduce(norms, axis=1)
    fractions = np.exp(norms - total[:, None])
    coherence = np.exp(np.minimum(result.total_log_norm[usable, sequence] - total, 0.0))
    lag = lag[usable]
    if lag.size <= _BINS:
        return lag, fractions, coherence
    edges = (np.geomspace if scale == "log" else np.linspace)(lag[0], lag[-1], _BINS + 1)[:-1]
    starts = np.unique(np.searchsorted(lag, edges))
    counts = np.diff(np.append(starts, lag.size))
    middle = np.add.reduceat(np.log(lag) if scale == "log" else lag, starts) / counts
    middle = np.exp(middle) if scale == "log" else middle
    middle[[0, -1]] = lag[[0, -1]]  # the picture reaches from the first to the last
    return (
        middle,
        np.add.reduceat(fractions, starts) / counts[:, None],
        np.add.reduceat(coherence, starts) / counts,
    )
