"""What was measured of each layer of a stack: a plot of each, in a part of one figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from gatescope.checks.numbers import check_result
from gatescope.datatypes import (
    Diagnosis,
    GradientPaths,
    HalfLife,
    HalfLifeByLayer,
    Result,
    Saturation,
    TraceComparison,
)
from gatescope.datatypes.by_layer import ByLayer
from gatescope.errors import DtypeError, ValueRangeError
from gatescope.plotting._figure import drawing_in
from gatescope.plotting._layers import draw_layers
from gatescope.plotting.diagnosis import plot_diagnosis
from gatescope.plotting.gradient_paths import plot_gradient_paths
from gatescope.plotting.half_life import plot_half_life
from gatescope.plotting.saturation import draw_both, plot_saturation

WHOLE = "the whole"


class _Part(NamedTuple):
    """How a result is drawn into a part of a figure, and how many inches that needs, on a page and in a column."""

    plot: Callable[..., Any]
    height: float
    column_height: float
    width: float | None = None
    several: bool = False


_PARTS: dict[type[Result], _Part] = {
    Diagnosis: _Part(plot_diagnosis, 10.5, 18.0, 11.5, several=True),
    GradientPaths: _Part(plot_gradient_paths, 4.4, 3.8),
    HalfLife: _Part(plot_half_life, 4.4, 4.4),
    Saturation: _Part(plot_saturation, 5.4, 3.8),
    TraceComparison: _Part(draw_both, 5.8, 7.6, 10.2, several=True),
}


def plot_by_layer(
    result: ByLayer[Any], *, fig: FigureBase | None = None, **artist_kwargs: Any
) -> tuple[FigureBase, dict[str, Axes]]:
    """Draw what was measured of each layer and direction of a stack, the uppermost on top, as its plot draws it alone.

    Of half-lives that of the whole is drawn above all layers.

    Parameters
    ----------
    result : ByLayer
        Of `half_life`, `gradient_paths`, `saturation`, `diagnose` or `compare_traces`.  A layer without gates in (0, 1)
        has no panel of saturation.
    fig : Figure or SubFigure, optional
        Where to draw.  Default: a new figure.
    **artist_kwargs
        As for the plot of one: `plot_half_life`, `plot_gradient_paths`, `plot_saturation`, `plot_diagnosis`,
        `plot_saturation_before_after`.

    Returns
    -------
    fig : Figure or SubFigure
    axes : dict of str to Axes
        By the name of the layer, from the lowest; of a diagnosis and of two runs by that, a dot and the panel's name.

    Raises
    ------
    DtypeError
        If `result` is something else, or of a kind that has no plot.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> stack = gs.init_stack(["lstm", "gru"], input_size=1, hidden_size=8, heads=[gs.Head("y", 1)], seed=0)
    >>> fig, axes = gs.plotting.plot_by_layer(gs.half_life(stack, np.ones((200, 1))))
    >>> list(axes)
    ['layers.0', 'layers.1', 'the whole']
    """
    check_result("result", result, ByLayer, "a measurement of a stack")
    kind = type(result.results[0])
    if kind not in _PARTS:
        problem = f"is of the kind {kind.__name__}, which has no plot by layer"
        raise DtypeError(problem, argument="result", advice="draw the result of one layer")
    part = _PARTS[kind]
    shown: dict[str, Result] = {
        name: one
        for name, one in result.items()
        if not isinstance(one, Saturation | TraceComparison) or one.gates
    }
    if not shown:
        raise ValueRangeError("has nothing to draw", argument="result", advice="measure a gated cell")
    if isinstance(result, HalfLifeByLayer) and result.whole is not None and len(result) > 1:
        shown[WHOLE] = result.whole

    def draw(name: str, place: FigureBase) -> Mapping[str, Axes]:
        with drawing_in(place, 1, 1) as figure:
            figure.suptitle(name, x=0.01, ha="left", fontweight="bold")
            if not part.several:
                return {"": part.plot(shown[name], ax=figure.add_subplot(), **artist_kwargs)}
            axes: dict[str, Axes] = part.plot(shown[name], fig=figure, **artist_kwargs)[1]
            return axes

    figure, axes = draw_layers(draw, tuple(shown), fig, *part[1:4])
    return figure, {key.removesuffix("."): ax for key, ax in axes.items()}
