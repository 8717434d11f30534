"""The public door of the explorer: runs in, a page out."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gatescope.checks.numbers import check_index, check_type
from gatescope.datatypes import Comparison, GradientFlow, StackTrace, Trace
from gatescope.datatypes.stack_trace import traces_of
from gatescope.errors import ShapeError, UnknownNameError, ValueRangeError
from gatescope.explorer.levels import BUDGET, choose
from gatescope.explorer.page import page
from gatescope.explorer.views import View
from gatescope.plotting._marks import checked_marks
from gatescope.reporting.html import escape
from gatescope.reporting.text import byte_count, listing
from gatescope.storage.atomic import as_path, atomic_write

_TITLE = "gatescope explorer"
_SHORT = 4_000_000  # characters of a page that a notebook shows; it keeps them in its file
_FLOWS = "give GradientFlows, alone or by label and, of single units, by the unit's number"


@dataclasses.dataclass(frozen=True)
class Explorer:
    """A page to look at runs with; notebooks show it where it is short.

    Attributes
    ----------
    html : str
        The page, which loads nothing.
    path : Path or None
        The file it was written to.
    """

    html: str = dataclasses.field(repr=False)
    path: Path | None = None

    def save(self, path: str | os.PathLike[str]) -> Explorer:
        """Write the page to a file, whole or not at all; return it with its path.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        with atomic_write(path) as stream:
            stream.write(self.html.encode("utf-8"))
        return dataclasses.replace(self, path=as_path(path))

    def _repr_html_(self) -> str:
        """Return the page in a frame of its own; of a long one where it is, or how to write it."""
        if len(self.html) > _SHORT:
            size = byte_count(len(self.html))
            where = f"is in {self.path}" if self.path else "is written by save(path)"
            return f"<p>{escape(f'The explorer, {size}, is too long for a notebook and {where}.')}</p>"
        return (
            f'<iframe srcdoc="{escape(self.html)}" sandbox="allow-scripts allow-downloads" title="{_TITLE}" '
            'style="border: 0; width: 100%; height: 46rem"></iframe>'
        )


def explore(
    traces: Trace | StackTrace | Comparison | Mapping[str, Trace | StackTrace],
    flow: Any = None,
    *,
    path: str | os.PathLike[str] | None = None,
    sequence: int = 0,
    marks: Any = None,
    tokens: Sequence[str] | None = None,
) -> Explorer:
    """Make a page to scrub through gates, states and gradients with: zoom, pan, choose a unit, read its numbers.

    The page is one file that needs a browser and nothing else; it loads nothing and works offline.  All panels share
    an axis of steps.  Zoomed out, a column of pixels is the least, the mean or the greatest of its steps, as chosen;
    the page says how many these are, and how exact its numbers.  It holds at most 12 MB of data: every step in 16 bits,
    if these are too many in 8, of still longer runs the least, mean and greatest over a few steps.

    Parameters
    ----------
    traces : Trace, StackTrace, Comparison, or mapping of str to Trace or StackTrace
        What to look at, each layer by itself; of several, such as before and after training, the page shows one at a
        time, or two beside each other.  A `Comparison` brings its gradients.
    flow : GradientFlow, or mapping, optional
        Gradients to show below.  Of single units (``norm="unit"``) by their numbers, ``{3: flow_of_3}``; None stands
        for the whole.  Of several traces by their labels: ``{"before": flow, "after": {None: flow, 3: flow_of_3}}``.
    path : path, optional
        The file to write; it appears complete or not at all.  Default: none.
    sequence : int
        Which sequence of the traces.
    marks : mapping of int to str, or sequence of int, optional
        Steps of events, with labels: ``{12: "onset"}``.
    tokens : sequence of str, optional
        What was read at each step.  Default: the characters of the text that a trace is of.

    Returns
    -------
    Explorer
        With the page as ``html``; a notebook shows it.

    Raises
    ------
    DtypeError, ValueRangeError, UnknownNameError, ShapeError
        If there is nothing to look at, or what is given does not fit the traces.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile, numpy as np, gatescope as gs
    >>> params = gs.init("gru", input_size=1, hidden_size=4, seed=0)
    >>> inputs = np.ones((40, 1), "float32")
    >>> flow = gs.gradient_flow(params, inputs)
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "explorer.html"
    >>> gs.explore(gs.run(params, inputs), flow, path=path, marks={12: "onset"}).path == path
    True
    """
    views = _views(traces, flow, sequence, marks, tokens)
    title = f"{listing([view.label for view in views], most=3)}: gates, states and gradients"
    explorer = Explorer(page(views, title, BUDGET))
    return explorer if path is None else explorer.save(path)


def holds_every_step(comparison: Comparison) -> bool:
    """Return whether a page of a comparison holds every step, and is made in less than a second."""
    return choose(sum(view.size for view in _views(comparison)), BUDGET).every == 1


def _views(
    traces: Any, flow: Any = None, sequence: int = 0, marks: Any = None, tokens: Any = None
) -> list[View]:
    labeled = dict(_labeled(traces))
    if isinstance(traces, Comparison) and flow is None:
        flow = {label: cell.flow for cell in traces for label in labeled if _belongs(label, cell.label)}
    flows = _flows(flow, labeled)
    return [
        _view(label, trace, flows.get(label, {}), sequence, marks, tokens) for label, trace in labeled.items()
    ]


def _labeled(traces: Any) -> Iterator[tuple[str, Trace]]:
    """Yield the traces of each cell and layer by their labels."""
    advice = "give a Trace, as gatescope.run returns it, a Comparison, or several traces by label: {'before': trace}"
    check_type("traces", traces, Trace, StackTrace, Comparison, Mapping, advice=advice)
    if isinstance(traces, Comparison):
        traces = {cell.label: cell.trace for cell in traces}
    if not isinstance(traces, Mapping):
        for layer, trace in traces_of(traces, name="traces").items():
            yield (f"{layer}, {trace.cell}" if layer else trace.cell), trace.to_host()
        return
    if not traces:
        raise ValueRangeError("is empty", argument="traces", advice=advice)
    for label, each in traces.items():
        check_type("a label in traces", label, str, advice=advice)
        for layer, trace in traces_of(each, name=f"traces[{label!r}]").items():
            yield (f"{label}, {layer}" if layer else label), trace.to_host()


def _belongs(label: str, whole: str) -> bool:
    """Return whether a label is that of a cell, or of one of its layers."""
    return label == whole or label.startswith(f"{whole}, layers.")


def _flows(flow: Any, labeled: Mapping[str, Trace]) -> dict[str, dict[int | None, GradientFlow]]:
    """Return gradients by label and by unit, None of the whole."""
    if flow is None:
        return {}
    check_type("flow", flow, GradientFlow, Mapping, advice=_FLOWS)
    by_label = isinstance(flow, Mapping) and all(isinstance(key, str) for key in flow)
    if not by_label:
        return {label: _by_unit("flow", flow, trace) for label, trace in labeled.items()}
    chosen: dict[str, dict[int | None, GradientFlow]] = {}
    for key, each in flow.items():
        labels = [label for label in labeled if _belongs(label, key)]
        if not labels:
            raise UnknownNameError(
                "is no label of the traces", argument="flow", seen=key, advice=f"these are {listing(labeled)}"
            )
        chosen |= {label: _by_unit(f"flow[{key!r}]", each, labeled[label]) for label in labels}
    return chosen


def _by_unit(name: str, flow: Any, trace: Trace) -> dict[int | None, GradientFlow]:
    check_type(name, flow, GradientFlow, Mapping, advice=_FLOWS)
    flows = flow if isinstance(flow, Mapping) else {None: flow}
    batch, units = trace.states.shape[1], trace.states.shape[3]
    for unit, each in flows.items():
        if unit is not None:
            check_index(f"a unit in {name}", unit, units, "units")
        check_type(f"{name}[{unit!r}]", each, GradientFlow, advice=_FLOWS)
        each.check_fields(name)
        if each.log_norm.shape[1] not in (1, batch) or each.source_step > trace.inputs.shape[0]:
            raise ShapeError(
                f"is of {each.log_norm.shape[1]} sequences from state {each.source_step}, and the trace of {batch} "
                f"sequences of at most {trace.inputs.shape[0]} steps",
                argument=name,
                advice="measure it over the inputs of the trace",
            )
    return dict(flows)


def _view(
    label: str, trace: Trace, flows: Mapping[int | None, GradientFlow], sequence: Any, marks: Any, tokens: Any
) -> View:
    number = check_index("sequence", sequence, trace.inputs.shape[1], "sequences")
    steps = int(trace.lengths[number])
    if not steps or not trace.gate_names + trace.state_names:
        raise ValueRangeError(
            "has no step, or neither gates nor states",
            argument=f"sequence {number} of {label!r}",
            advice="choose another",
        )
    return View(
        label=label,
        trace=trace,
        sequence=number,
        flows=flows,
        marks=checked_marks(marks, steps),
        tokens=_tokens(tokens, trace),
    )


def _tokens(tokens: Any, trace: Trace) -> tuple[str, ...]:
    """Return what was read at each step of a trace, nothing where that is not known."""
    steps = trace.inputs.shape[0]
    if tokens is None:
        text = trace.provenance.get("inputs_text")
        return tuple(text) if isinstance(text, str) and len(text) == steps else ()
    check_type("tokens", tokens, Sequence, advice="give one text a step")
    if len(tokens) != steps or not all(isinstance(token, str) for token in tokens):
        raise ShapeError(
            f"must be {steps} texts, one a step",
            argument="tokens",
            seen=len(tokens),
            advice="give one text a step",
        )
    return tuple(tokens)
