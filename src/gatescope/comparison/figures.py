"""The figures of a comparison: what is drawn, and what its caption says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gatescope import plotting
from gatescope.cells.memory_gate import memory_gate
from gatescope.cells.registry import get
from gatescope.datatypes import GradientFlow, Saturation, Trace
from gatescope.datatypes.comparison import Comparison
from gatescope.plotting._text import plain_text
from gatescope.plotting._trace_view import gate_names, reference_name, spread_units
from gatescope.reporting.text import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150  # of the files: images have at most as many columns as pixels
CLOSE_UP = 300  # steps: few enough to see each
TEXT_CLOSE_UP = 80  # of a text: few enough to read it


@dataclass(frozen=True)
class Drawing:
    """What makes a figure of a size, in inches, when it is called; another process can be given it."""

    width: float
    height: float
    draw: Callable[..., Any]

    def __call__(self) -> Figure:
        with plotting.style():
            figure = plotting.new_figure(self.width, self.height)
            figure.set_dpi(DPI)
            self.draw(fig=figure)
        return figure


class ReportFigure(NamedTuple):
    """A figure to be drawn: its file's stem, how, its caption (heading first), and a text in its place."""

    name: str
    draw: Drawing
    caption: str
    alternative: str


def file_stems(labels: Iterable[str]) -> dict[str, str]:
    """Return each label as a part of a file's name, no two alike: some disks take A and a for the same."""
    stems: dict[str, str] = {}
    taken: set[str] = set()
    for label in labels:
        clean = stem = re.sub(r"[^\w.+-]+", "_", label)
        count = 1
        while stem.casefold() in taken:
            count += 1
            stem = f"{clean}_{count}"
        taken.add(stem.casefold())
        stems[label] = stem
    return stems


def direction(flow: GradientFlow) -> str:
    """Return what the gradient of a flow is the gradient of, in words: never the whole Jacobian's norm."""
    seed = flow.provenance.get("direction_seed")
    of = "numbers of the whole state" if flow.of == "joint" else "outputs"
    return f"one random unit combination of the {of}" + ("" if seed is None else f", seed {seed}")


def figures_of(
    comparison: Comparison, source: str, units: tuple[int, ...] | None = None
) -> list[ReportFigure]:
    """Return all figures of a comparison over `source`, the gradients first; trajectories of `units`."""
    parts = {label: part for cell in comparison for label, part in cell.parts.items()}
    gated = {label: counts for label, (_, counts) in parts.items() if counts.gates}
    stems = file_stems(parts)
    figures = [_decay(comparison, source), _inputs(comparison, source)]
    if gated:
        figures.append(_saturation(gated))
    for label, (trace, counts) in parts.items():
        figures += _trajectories(label, trace, stems[label], units)
        figures.append(_heat_maps(label, trace, counts, stems[label]))
    return figures


def _draw_decay(flows: Sequence[GradientFlow], labels: Sequence[str], fig: Figure) -> None:
    plotting.plot_gradient_flow(flows, labels=labels, ax=fig.add_subplot())


def _decay(comparison: Comparison, source: str) -> ReportFigure:
    flows = [cell.flow for cell in comparison]
    first = comparison.cells[0]
    band = ""
    if first.trace.lengths.size > 1:
        count = first.trace.lengths.size
        band = f"A line is the median of the {count} sequences, its band from the least to the greatest. "
    return ReportFigure(
        "gradient_flow",
        Drawing(7.2, 4.6, partial(_draw_decay, flows, list(comparison.labels))),
        f"How fast the gradient decays over {source}\n"
        "The norm of the gradient of the last state with respect to the state so many steps back, h and c of an LSTM "
        f"and all layers of a model together, in powers of ten: the gradient of {direction(first.flow)}. "
        f"{band}A straight line is an exponential decay; the steeper, the shorter the memory: its asymptotic half-life "
        "is ln 2 / slope. Half of the gradient may be gone at other lags, which the table gives as steps to half. "
        "Shading marks norms that ordinary floating point gives as 0.",
        f"Line plot of the gradient norm against the lag for {', '.join(comparison.labels)}.",
    )


def _draw_inputs(trace: Trace, fig: Figure) -> None:
    plotting.plot_inputs(trace, ax=fig.add_subplot())


def _inputs(comparison: Comparison, source: str) -> ReportFigure:
    first = comparison.cells[0]
    trace = next(iter(first.parts.values()))[0]
    shared = all(np.array_equal(cell.trace.inputs, trace.inputs, equal_nan=True) for cell in comparison)
    whose = "" if shared else f" of the {first.label}"
    return ReportFigure(
        "inputs",
        Drawing(7.2, 2.6, partial(_draw_inputs, trace)),
        f"The inputs{whose}: {source}{_which_sequence(trace)}\nWhat the cells ran over.",
        "Line plot of the inputs against the step.",
    )


def _grid(count: int) -> tuple[int, int]:
    """Return the rows and columns of so many panels."""
    columns = min(2, count)
    return -(-count // columns), columns


def _draw_saturation(gated: Mapping[str, Saturation], fig: Figure) -> None:
    for index, (label, counts) in enumerate(gated.items(), start=1):
        ax = fig.add_subplot(*_grid(len(gated)), index)
        plotting.plot_saturation(counts, ax=ax)
        if label != counts.cell:  # the legend names the cell
            ax.set_title(plain_text(label))


def _saturation(gated: dict[str, Saturation]) -> ReportFigure:
    rows, columns = _grid(len(gated))
    return ReportFigure(
        "saturation",
        Drawing(4.8 * columns, 5.0 * rows, partial(_draw_saturation, gated)),
        "How often gates are shut and open\n"
        "A mark a unit and gate: the fraction of steps at which it is shut (across) and open (up). A unit on "
        "the diagonal is always one or the other; one at the origin never is.",
        "Scatter plot of the fraction of steps at which a gate is shut against the share at which it is open.",
    )


def _trajectories(label: str, trace: Trace, stem: str, units: tuple[int, ...] | None) -> list[ReportFigure]:
    chosen, reference = spread_units(trace)
    order = ""
    if units is not None:
        chosen = units
    elif len(chosen) > 1:
        memory = memory_gate(get(trace.cell))
        role = ", the gate that keeps the memory" if memory.sign > 0 else ", the gate that lets the memory go"
        role = role if reference == memory.name else ""
        order = f"From the smallest to the greatest mean of {reference}{role}."
    length = int(trace.lengths[0])

    of_text = "inputs_text" in trace.provenance  # whose characters are on the axis
    panels = len(gate_names(trace)) + len(trace.state_names) + (not of_text)

    draw = partial(plotting.plot_gate_trajectories, trace, units=chosen, inputs=not of_text)
    listed = ("unit " if len(chosen) == 1 else "units ") + ", ".join(map(str, chosen))
    some, which = counted(len(chosen), "unit"), _which_sequence(trace)
    figures = [
        ReportFigure(
            f"trajectories_{stem}",
            Drawing(7.2, 1.1 + 1.15 * panels, draw),
            f"{label}: gates and states of {listed} over {'all ' if length > 1 else ''}"
            f"{counted(length, 'step')}{which}\n{order}",
            f"Line plots of each gate and state of {some} of the {label} against the step.",
        )
    ]
    last = TEXT_CLOSE_UP if of_text else CLOSE_UP
    if length > 2 * last:
        close_up = ReportFigure(
            f"close_up_{stem}",
            Drawing(7.2, 1.1 + 1.15 * panels, partial(draw, steps=slice(length - last, None))),
            f"{label}: {listed} over the last {last} steps{which}\nEvery step is drawn.",
            f"Line plots of each gate and state of {some} of the {label} over the last {last} steps.",
        )
        figures.append(close_up)
    return figures


def _which_sequence(trace: Trace) -> str:
    count = trace.lengths.size
    return f" of the first of {count} sequences" if count > 1 else ""


def _heat_maps(label: str, trace: Trace, counts: Saturation, stem: str) -> ReportFigure:
    which = _which_sequence(trace)
    of_text = "inputs_text" in trace.provenance  # one-hot inputs say less than its characters
    names = (*counts.gates, trace.state_names[-1])  # the last state is what carries the memory

    draw = partial(plotting.plot_gate_heatmaps, trace, gates=names, inputs=not of_text)
    return ReportFigure(
        f"heatmap_{stem}",
        Drawing(7.2, 1.7 + 1.9 * len(names), draw),
        f"{label}: all units{f' over the steps{which}' if which else ''}\n"
        "Each row is a unit, the same in every panel, "
        f"by rising mean of {reference_name(trace)}; lightness is the value.",
        f"Heat maps of {', '.join(names)} of all units of the {label} over the steps.",
    )
