"""``gatescope explore``: a page to scrub through gates, states and gradients with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatescope.cli.errors import naming
from gatescope.cli.fresh_cells import one_cell
from gatescope.cli.groups import COMPUTATION, OUTPUT, command, option
from gatescope.cli.inputs import check_width, read_inputs
from gatescope.cli.networks import common_vocabulary, free_label, note, read_one, refuse
from gatescope.cli.options import CellOptions, InputOptions, ThreadsOption
from gatescope.cli.outputs import check_file, check_not_read
from gatescope.cli.parsing import parse_marks, whole_numbers
from gatescope.cli.scale import fed_to
from gatescope.errors import ValueRangeError
from gatescope.reporting.terminal import echo, file_sizes, working

if TYPE_CHECKING:
    from gatescope.datatypes import Comparison, StackTrace, Trace


@command
def explore(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[TRACE...]",
            help="Npz files of traces, as gatescope run writes them.  Default: the run of --weights over --inputs.",
        ),
    ] = None,
    *,
    series: InputOptions,
    network: CellOptions,
    seed: int | None = option(None, "Seed for the weights of a fresh cell.  Default: 0.", panel=COMPUTATION),
    sequence: int = option(0, "Sequence to show, of several.", panel=OUTPUT),
    mark: list[str] | None = option(
        None,
        "Step of an event, with a label, as in 12=onset.  May be given several times.  Default: no event is marked.",
        metavar="STEP=LABEL",
        panel=OUTPUT,
    ),
    gradients: bool = option(
        True,
        "Measure how much of the last state's gradient is left at each step.",
        "--gradients/--no-gradients",
        panel=COMPUTATION,
    ),
    gradient_units: str | None = option(
        None,
        "Units of a cell whose own gradients are measured, too: of each one's h alone, as in 0,5,9.  Default: none.",
        panel=COMPUTATION,
    ),
    out: Path = option(Path("explorer.html"), "Page to write.", "--out", "-o", metavar="FILE", panel=OUTPUT),
    open_page: bool = option(False, "Open the page in a browser.", "--open", panel=OUTPUT),
    threads: ThreadsOption = None,
) -> None:
    """Make a page to look at every gate and state of a run with: one file, for any browser, offline.

    Of weights it has the gradient of the last state, too, and those of single units that are asked for.
    """
    check_file("out", out, ".html")
    check_not_read("out", out, inputs=series.inputs, weights=network.weights)
    marks = parse_marks(mark)
    if files:
        given: dict[str, Any] = {"weights": network.weights, "cell": network.cell, "inputs": series.inputs}
        refuse(
            given,
            "is for a run that is made, and TRACE names one that was stored",
            "leave out one of the two",
        )
        of_a_run = {"seed": seed, "steps": series.steps, "gradient_units": gradient_units}
        refuse(of_a_run, "is for a run that is made", "leave it out")
        traces: Any = _stored(files)
        flow = None
    else:
        units = [] if gradient_units is None else whole_numbers("gradient_units", gradient_units, "0,5,9")
        traces, flow = _run(series, network, seed, threads, gradients, units)
    from gatescope.explorer.explore import explore as make

    with working("making the page"):
        page = make(traces, flow, path=out, sequence=sequence, marks=marks)
    echo(f"{file_sizes([out])}: open it in a browser")
    if open_page and page.path is not None:
        typer.launch(str(page.path.resolve()))


def _stored(files: list[Path]) -> dict[str, Trace | StackTrace] | Comparison:
    """Return what files hold: traces by the names of their files, or a comparison."""
    from gatescope.datatypes import Comparison, StackTrace, Trace, load

    traces: dict[str, Trace | StackTrace] = {}
    for file in files:
        with naming(path="TRACE"):
            result = load(file)
        if isinstance(result, Comparison) and len(files) == 1:
            return result
        if not isinstance(result, Trace | StackTrace):
            raise ValueRangeError(
                f"{str(file)!r} holds a {type(result).__name__}, not a trace",
                advice="give what gatescope run writes, or weights with --weights",
            )
        traces[free_label(file.stem, traces)] = result
    return traces


def _run(
    series: InputOptions,
    network: CellOptions,
    seed: int | None,
    threads: int | None,
    gradients: bool,
    units: list[int],
) -> tuple[dict[str, Any], Any]:
    """Return the trace of a network over a series, and gradients by its label: of the last state, of single units."""
    from gatescope.cli.measure.gradient_flow import thinned
    from gatescope.datatypes import Params
    from gatescope.measurements.gradient_flow import gradient_flow
    from gatescope.recurrence.run import run
    from gatescope.reporting.text import counted

    if network.weights is not None:
        refuse({"seed": seed}, "is for a fresh cell, and `weights` gives another", "leave out one of the two")
    by_label, notes = read_one(network, whole=True)
    inputs = read_inputs(series, vocabulary=common_vocabulary(by_label.values()))
    label, chosen = one_cell("explore", by_label, inputs.values.shape[2], seed or 0, network)
    check_width(inputs, label, chosen.input_size)
    note(notes)
    fed, reading = fed_to({label: chosen}, inputs, standardize=series.standardize, threads=threads)
    echo(reading)
    inputs = fed[label]
    steps = len(inputs.values)
    how: dict[str, Any] = {"lengths": inputs.lengths, "threads": threads}
    with working(f"running {label} over {counted(steps, 'step')}"):
        trace = inputs.kept_with(run(chosen.model, inputs.values, **how))
    if units and not isinstance(chosen.model, Params):
        raise ValueRangeError(
            "are those of one cell, and this is a model of several layers",
            argument="gradient_units",
            seen=units,
            advice="leave it out, or choose a layer with `layer`",
        )
    how |= {"wrt": "joint", "lags": thinned(steps)}
    flows: dict[int | None, Any] = {}
    with working("measuring gradients"), naming(unit="--gradient-units"):
        if gradients and not _both_ways(chosen.model):
            flows[None] = gradient_flow(chosen.model, inputs.values, of="joint", **how)
        for unit in units:
            flows[unit] = gradient_flow(chosen.model, inputs.values, norm="unit", unit=unit, **how)
    return {label: trace}, {label: flows} if flows else None


def _both_ways(model: Any) -> bool:
    """Return whether a model has layers of both directions, so that there is no last state of all."""
    from gatescope.datatypes import Bidirectional, Stack

    return isinstance(model, Stack) and any(isinstance(layer, Bidirectional) for layer in model.layers)
