"""One gate of all units over time, as an image."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes

from gatescope.checks.numbers import check_choice
from gatescope.datatypes import Array, Trace
from gatescope.plotting import _palette, _trace_view
from gatescope.plotting._characters import label_characters
from gatescope.plotting._style import count_axis, drawing_on, plain_text
from gatescope.reporting.text import counted

_COLUMNS = 1000


def plot_gate_heatmap(
    trace: Trace,
    gate: str,
    *,
    sequence: int = 0,
    steps: slice | None = None,
    scale: Literal["data", "full"] = "data",
    sort: bool = False,
    ax: Axes | None = None,
    **artist_kwargs: Any,
) -> Axes:
    """Draw one gate or state of every unit over the steps: units down, steps across, value as lightness.

    A series of more than 1,000 steps is averaged over equal runs of steps, at most 1,000 of them; the axis
    label says how long a run is.  The colors span the drawn values but for 0.5 % at either end, where the
    color bar ends in an arrow; for values of both signs the span is the same on both sides of 0.
    Values that are not finite have no color; the steps from the first on at which a state is not are hatched.  Of a run
    over a text (``gatescope run --inputs poem.txt``) up to 90 steps have its characters on their axis.

    Parameters
    ----------
    trace : Trace
    gate : str
        Name of a saved gate or of a state.  A state is drawn at the step that made it.
    sequence : int
        Which sequence of the batch.
    steps : slice, optional
        Which steps, within the sequence's own length.  Default: all.
    scale : {"data", "full"}
        ``"full"`` spans all that a gate can be, (0, 1) or (-1, 1), so that figures of several cells compare;
        the gates of untrained cells are nearly of one shade in it.  Values without bounds keep ``"data"``.
    sort : bool
        Order the units by their mean over the drawn steps, the smallest on top.
    ax : Axes, optional
        Where to draw; the color bar takes its space from it.  Default: new axes in a new figure.
    **artist_kwargs
        For ``Axes.imshow``, for example ``cmap`` or ``vmin``.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> trace = gs.run(gs.init("lstm", input_size=1, hidden_size=8, seed=0), np.ones((50, 1), "float32"))
    >>> ax = gs.plotting.plot_gate_heatmap(trace, "f", steps=slice(0, 20))
    >>> ax.images[0].get_array().shape
    (8, 20)
    """
    check_choice("scale", scale, ("data", "full"))
    view = _trace_view.view(trace, gates=(gate,), sequence=sequence, steps=steps, units=0, argument="gate")
    name, span = view.names[0], view.steps
    shown = view.values(name)
    bins = _trace_view.bin_means(shown, _COLUMNS)
    image = bins.mean.T
    if sort:
        image = image[np.argsort(_trace_view.time_mean(shown), kind="stable")]

    bounds = trace.bounds(name)
    low, high = bounds if scale == "full" and bounds is not None else _limits(image)
    width = bins.size * span.step
    left = span.start - 0.5
    keywords = {
        "extent": (left, left + image.shape[1] * width, image.shape[0] - 0.5, -0.5),
        "aspect": "auto",
        "cmap": "cividis",
        "vmin": low,
        "vmax": high,
        **artist_kwargs,
    }
    with drawing_on(ax, 7.2, 3.4) as axes:
        drawn = axes.imshow(image, **keywords)
        axes.set_xlim(left, min(left + image.shape[1] * width, span.stop - 0.5))  # the last run may be short
        axes.grid(False)
        _trace_view.mark_overflow(axes, view)
        count_axis(axes.xaxis)
        count_axis(axes.yaxis)
        axes.set_xlabel("step" if bins.size == 1 else f"step (each column is the mean of {bins.size} steps)")
        label_characters(axes, trace, span)
        axes.set_ylabel("unit, by rising mean" if sort else "unit")
        units = counted(image.shape[0], "unit")
        axes.set_title(f"{plain_text(trace.cell)}: {_palette.describe(name)} of {units}", loc="left")
        extend = _extend(image, *drawn.get_clim())
        bar = axes.figure.colorbar(drawn, ax=axes, pad=0.02, aspect=25, extend=extend)
        bar.set_label(name if bounds is None else f"{name}, in ({bounds[0]:g}, {bounds[1]:g})")
    return axes


def _limits(image: Array) -> tuple[float, float]:
    # A few units of great amplitude must not leave all others in one shade.
    finite = image[np.isfinite(image)]
    if not finite.size:
        return -0.5, 0.5
    low, high = (float(q) for q in np.quantile(finite, (0.005, 0.995)))
    if low < 0 < high:
        high = max(-low, high)
        low = -high
    if low == high:  # a constant: any scale but an empty one is right
        return low - 0.5, high + 0.5
    return low, high


def _extend(image: Array, low: float, high: float) -> str:
    below, above = bool((image < low).any()), bool((image > high).any())
    return "both" if below and above else "min" if below else "max" if above else "neither"
