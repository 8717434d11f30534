"""A run of several layers as one figure: what a plot shows of one, each layer and direction in a part of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from gatescope.checks.numbers import check_choices
from gatescope.datatypes import Trace
from gatescope.plotting._figure import drawing_in
from gatescope.plotting._style import is_narrow
from gatescope.plotting._trace_view import reference_name

_WIDTH, _BESIDE = (
    7.2,
    11.0,
)  # inches of a figure whose layers have one direction, or some two, beside each other


def draw_layers(
    plot: Callable[[str, FigureBase], Mapping[str, Axes]],
    names: tuple[str, ...],
    fig: FigureBase | None,
    height: float,
    column_height: float,
    width: float | None = None,
) -> tuple[FigureBase, dict[str, Axes]]:
    """Draw each layer below the one above it, the two directions of a layer beside each other.

    `plot` draws a layer of a name into a part of the figure, `height` inches high and `width` wide where that is more
    than usual, and returns its axes, which come back by the layer's name, a dot and theirs.
    """
    rows: dict[str, list[str]] = {}
    for name in reversed(names):
        rows.setdefault(".".join(name.split(".")[:2]), []).insert(0, name)
    beside = max(map(len, rows.values()))
    usual = _WIDTH if beside == 1 else _BESIDE
    count = len(rows)
    across = usual if width is None else beside * width
    with drawing_in(fig, across, count * height, len(names) * column_height) as figure:
        if beside > 1 and is_narrow(figure):
            rows, beside = {name: [name] for row in rows.values() for name in row}, 1
        parts: Any = figure.subfigures(len(rows), beside, squeeze=False)
        axes = {
            f"{name}.{key}": ax
            for row, places in zip(rows.values(), parts, strict=True)
            for name, place in zip(row, places, strict=False)
            for key, ax in plot(name, place).items()
        }
    return figure, {key: axes[key] for name in names for key in axes if key.startswith(f"{name}.")}


def drawn_of(traces: Mapping[str, Trace], gates: Any) -> dict[str, tuple[str, ...]]:
    """Return which gates and states of each layer to draw: its memory gate, or of those that are named what it has."""
    if gates is None:
        return {name: (reference_name(trace),) for name, trace in traces.items()}
    owned = {name: trace.gate_names + trace.state_names for name, trace in traces.items()}
    chosen = check_choices("gates", gates, dict.fromkeys(each for names in owned.values() for each in names))
    drawn = {name: tuple(each for each in chosen if each in names) for name, names in owned.items()}
    return {name: names for name, names in drawn.items() if names}
