"""``gatescope run``: a cell or a model over a series, with every gate and state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gatescope.checks.numbers import check_count
from gatescope.cli.fresh_cells import one_cell
from gatescope.cli.groups import COMPUTATION, OUTPUT, command, option
from gatescope.cli.inputs import check_width, read_inputs
from gatescope.cli.networks import (
    check_closed,
    check_device_options,
    common_vocabulary,
    note,
    read_one,
    refuse,
)
from gatescope.cli.options import (
    CellOptions,
    ClampOption,
    DeviceOption,
    FeedbackOption,
    InputOptions,
    OverwriteOption,
    ThreadsOption,
)
from gatescope.cli.outputs import check_file, check_new, check_not_read
from gatescope.cli.parsing import parse_clamp
from gatescope.cli.scale import fed_to
from gatescope.reporting.terminal import echo, file_sizes, working


@command
def run(
    series: InputOptions,
    network: CellOptions,
    seed: int | None = option(None, "Seed for the weights of a fresh cell.  Default: 0.", panel=COMPUTATION),
    feedback: FeedbackOption = None,
    clamp: ClampOption = None,
    out: Path = option(Path("trace.npz"), "Npz file to write.", metavar="FILE", panel=OUTPUT),
    overwrite: OverwriteOption = False,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Run a cell or a model and store every state and gate at every step: gatescope.load reads the file.

    Weights of several layers or directions run whole, unless --layer or --reverse chooses one.
    """
    from gatescope.datatypes import StackTrace
    from gatescope.recurrence.run import run as run_model
    from gatescope.reporting.text import counted, listing
    from gatescope.storage.atomic import check_folder

    check_device_options(device, threads)
    if feedback is not None:
        check_count("feedback", feedback)
    if network.weights is not None:
        problem = "is for a fresh cell, and `weights` gives another"
        refuse({"seed": seed}, problem, "leave out one of the two")
    by_label, notes = read_one(network, whole=True, readout=feedback is not None)
    inputs = read_inputs(series, vocabulary=common_vocabulary(by_label.values()))
    label, chosen = one_cell("run", by_label, inputs.values.shape[2], seed or 0, network)
    if feedback is not None:
        check_closed(chosen.model)
    check_width(inputs, label, chosen.input_size)
    check_file("out", out, ".npz")
    check_not_read("out", out, inputs=series.inputs, weights=network.weights)
    check_new("out", out, overwrite)
    check_folder(out.parent, [out.name])
    clamped = parse_clamp(clamp)
    note(notes)
    fed, reading = fed_to({label: chosen}, inputs, standardize=series.standardize, threads=threads)
    echo(reading)
    inputs = fed[label]
    with working(f"running {label} over {counted(len(inputs.values), 'step')}"):
        closed: Any = {} if feedback is None else {"steps": feedback, "feedback": True}
        trace = run_model(
            chosen.model,
            inputs.values,
            lengths=inputs.lengths,
            device=device,
            threads=threads,
            clamp=clamped,
            **closed,
        )
        trace = inputs.kept_with(trace)
    with working(f"writing {out}"):
        trace.save(out)
    steps, batch = trace.inputs.shape[:2]
    if isinstance(trace, StackTrace):
        saved = f"every gate and state of {listing(trace.names)}, and the outputs,"
    else:
        saved = f"{', '.join((*trace.gate_names, *trace.state_names))} of each unit"
    extent = f"{counted(steps, 'step')}, {counted(batch, 'sequence')}"
    echo(f"{chosen.title(label)} over {inputs.source}: {extent}, {saved} in {file_sizes([out])}")
