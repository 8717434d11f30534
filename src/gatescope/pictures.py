"""The pictures of a comparison: what is drawn, and what its caption tells the reader."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from gatescope.comparison import Comparison, Measurement
from gatescope.datatypes import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLOSE_UP = 300  # steps: few enough to see each
_UNITS = 3


class Picture(NamedTuple):
    """A picture to be drawn: its file's stem, how, its caption (heading first), and a text in its place."""

    name: str
    draw: Callable[[], Figure]
    caption: str
    alternative: str


def file_stem(label: str) -> str:
    """The label as a part of a file's name."""
    return re.sub(r"[^\w.+-]+", "_", label)


def pictures_of(comparison: Comparison, source: str, units: tuple[int, ...] | None = None) -> list[Picture]:
    """All pictures of a comparison over `source`, the gradients first; trajectories of `units`."""
    gated = [found for found in comparison if found.saturation]
    pictures = [_decay(comparison, source)]
    if gated:
        pictures.append(_saturation(gated))
    for found in comparison:
        pictures += _trajectories(found, units)
        pictures.append(_heat_maps(found))
    return pictures


def spread_units(trace: Trace) -> tuple[int, ...]:
    """Three units, from the smallest to the greatest mean of the gate that keeps the memory, or else of h."""
    values = next((trace.gate(name) for name in ("f", "z") if name in trace.kept_names), trace.outputs)
    order = np.argsort(values[:, 0].mean(axis=0, dtype=np.float64), kind="stable")
    ranks = np.unique(np.linspace(0, order.size - 1, min(_UNITS, order.size)).round().astype(int))
    return tuple(int(unit) for unit in order[ranks])


def _decay(comparison: Comparison, source: str) -> Picture:
    def draw() -> Figure:
        from gatescope import plotting

        with plotting.style():
            fig = plotting.new_figure(7.2, 4.6)
            flows = [found.flow_h for found in comparison]
            plotting.gradient_decay(flows, labels=list(comparison.labels), ax=fig.add_subplot())
        return fig

    return Picture(
        "gradient_decay",
        draw,
        f"How fast the gradient decays over {source}\n"
        "The norm of the gradient of the last output with respect to the hidden state so many steps back, in "
        "powers of ten. A straight line is an exponential decay; the steeper, the shorter the memory. "
        "Shading marks norms that ordinary floating point gives as 0.",
        f"Line plot of the gradient norm against the lag for {', '.join(comparison.labels)}.",
    )


def _saturation(gated: list[Measurement]) -> Picture:
    def draw() -> Figure:
        from gatescope import plotting

        with plotting.style():
            columns = min(2, len(gated))
            rows = -(-len(gated) // columns)
            fig = plotting.new_figure(4.8 * columns, 5.0 * rows)
            for place, found in enumerate(gated, start=1):
                ax = fig.add_subplot(rows, columns, place)
                plotting.saturation(found.trace, left=found.left, right=found.right, ax=ax)
                if found.label != found.params.cell:  # the legend names the cell
                    ax.set_title(found.label)
        return fig

    return Picture(
        "saturation",
        draw,
        "How often gates are shut and open\n"
        "A mark a unit and gate: the share of steps at which it is shut (across) and open (up). A unit on "
        "the diagonal is always one or the other; one at the origin never is.",
        "Scatter plot of the share of steps at which a gate is shut against the share at which it is open.",
    )


def _trajectories(found: Measurement, units: tuple[int, ...] | None) -> list[Picture]:
    trace, label = found.trace, found.label
    chosen = spread_units(trace) if units is None else units
    length = int(trace.lengths[0])

    def draw(first: int) -> Callable[[], Figure]:
        def now() -> Figure:
            from gatescope import plotting

            figure, _ = plotting.gate_trajectories(trace, units=chosen, steps=slice(first, None))
            return cast("Figure", figure)

        return now

    listed = ", ".join(map(str, chosen))
    which = f" of the first of {trace.lengths.size} sequences" if trace.lengths.size > 1 else ""
    pictures = [
        Picture(
            f"trajectories_{file_stem(label)}",
            draw(0),
            f"{label}: gates and states of the units {listed} over all {length:,} steps{which}\n"
            + (
                "From the smallest to the greatest mean of the gate that keeps the memory."
                if not units
                else ""
            ),
            f"Line plots of each gate and state of three units of the {label} against the step.",
        )
    ]
    if length > 2 * CLOSE_UP:
        close_up = Picture(
            f"close_up_{file_stem(label)}",
            draw(length - CLOSE_UP),
            f"{label}: the same units over the last {CLOSE_UP} steps\nEvery step is drawn.",
            f"Line plots of each gate and state of the {label} over the last {CLOSE_UP} steps.",
        )
        pictures.append(close_up)
    return pictures


def _heat_maps(found: Measurement) -> Picture:
    trace, label = found.trace, found.label
    names = (*found.saturation, trace.state_names[-1])  # the last state is what carries the memory

    def draw() -> Figure:
        from gatescope import plotting

        with plotting.style():
            fig = plotting.new_figure(7.2, 0.4 + 2.2 * len(names))
            for ax, name in zip(fig.subplots(len(names), 1, squeeze=False)[:, 0], names, strict=True):
                plotting.gate_heatmap(trace, name, sort=True, ax=ax)
        return fig

    return Picture(
        f"heatmap_{file_stem(label)}",
        draw,
        f"{label}: all units\nEach row is a unit, in the order of the units' means; lightness is the value.",
        f"Heat maps of {', '.join(names)} of all units of the {label} over the steps.",
    )
