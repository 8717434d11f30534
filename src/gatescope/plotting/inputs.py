"""The inputs of a run over its steps: what the gates respond to."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from gatescope.datatypes import StackTrace, Trace
from gatescope.plotting import _palette, _trace_view
from gatescope.plotting._axes import line_keywords
from gatescope.plotting._figure import drawing_on
from gatescope.plotting._marks import Marks, check_marks, draw_marks, label_marks
from gatescope.plotting._reduction import thinned
from gatescope.plotting._style import is_narrow
from gatescope.plotting._text import legend_above

_STYLES = (  # black and grey: colors are those of units
    _palette.Style(_palette.BLACK, "-", "s"),
    _palette.Style("0.55", "-", "o"),
    _palette.Style(_palette.BLACK, _palette.DOT, "^"),
    _palette.Style("0.55", _palette.DASH, "v"),
)
_FEW = len(_STYLES)  # inputs that are drawn one line each


def plot_inputs(
    trace: Trace | StackTrace,
    *,
    layer: str | None = None,
    sequence: int = 0,
    steps: slice | None = None,
    marks: Marks = None,
    ax: Axes | None = None,
    **artist_kwargs: Any,
) -> Axes:
    """Draw the inputs of a run over the steps.

    Up to four inputs are a line each; of more, a line is their mean and a band goes from the least to the greatest.
    Up to 1,500 steps are drawn as they are, more as means over equal runs of steps with a band of their range.

    Parameters
    ----------
    trace : Trace or StackTrace
    layer : str, optional
        Which layer's inputs of a run of several.  Default: those of the model.
    sequence : int
        Which sequence of the batch.
    steps : slice, optional
        Which steps, within the sequence's own length.  Default: all.
    marks : mapping of int to str, or sequence of int, optional
        Steps of events, with labels: a line each.
    ax : Axes, optional
        Where to draw.  Default: new axes in a new figure.
    **artist_kwargs
        For the lines, for example ``linewidth``.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> series = np.sin(np.arange(50.0))[:, None]
    >>> trace = gs.run(gs.init("gru", input_size=1, hidden_size=8, seed=0), series)
    >>> ax = gs.plotting.plot_inputs(trace, marks={11: "minimum"})
    >>> len(ax.lines)
    2
    """
    if layer is None and isinstance(trace, StackTrace):
        layer = trace.names[0]
    view = _trace_view.view(trace, sequence=sequence, steps=steps, units=0, layer=layer)
    events = check_marks(marks, int(view.trace.lengths[sequence]))
    with drawing_on(ax, 7.2, 2.4, 1.9) as axes:
        part = 2 if is_narrow(axes.figure) else 1
        size = draw_inputs(axes, view, _trace_view.POINTS // part, _trace_view.BINS // part, artist_kwargs)
        _trace_view.frame_steps(axes, view.steps, size, _trace_view.RUNS)
        draw_marks([axes], events)
        lift = label_marks(axes, events)
        if view.trace.inputs.shape[2] > 1:
            legend_above(axes, ncols=_FEW, lift=lift)
    return axes


def draw_inputs(
    axes: Axes, view: _trace_view.TraceView, points: int, bins: int, keywords: dict[str, Any] | None = None
) -> int:
    """Draw the inputs of a part of a trace as `thinned` thins them; return how many steps a point is the mean of."""
    inputs = view.inputs()
    count = inputs.shape[1]
    x, shown = thinned(inputs, view.steps, points, bins)
    look: dict[str, Any] = {"linewidth": 1.2, **_STYLES[0].line(x.size)}
    if count > _FEW:
        axes.plot(
            x,
            shown.mean.mean(axis=1),
            **line_keywords(keywords or {}, label=f"mean of {count} inputs", **look),
        )
        axes.fill_between(
            x, shown.low.min(axis=1), shown.high.max(axis=1), color="0.8", linewidth=0, zorder=1.5
        )
    for k, style in enumerate(_STYLES[:count] if count <= _FEW else ()):
        look |= {"label": f"input {k}", **style.line(x.size)}
        axes.plot(x, shown.mean[:, k], **line_keywords(keywords or {}, **look))
        if shown.size > 1:
            axes.fill_between(
                x, shown.low[:, k], shown.high[:, k], color=style.color, alpha=0.18, linewidth=0
            )
    axes.set_ylabel(
        f"mean and range\nof {count} inputs" if count > _FEW else "input" if count == 1 else "inputs"
    )
    return shown.size
