"""Defaults of ``gatescope measure phase-diagram``, and the series that its networks run over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gatescope.cli.groups import INPUTS
from gatescope.cli.measure.command import Job
from gatescope.cli.parsing import numbers
from gatescope.reporting.text import extent

_STEPS = 1000
_BIASES = "-2:6:9"

SERIES = False
OPTIONS = {
    "inputs": (
        Annotated[
            Path | None,
            typer.Option(
                metavar="FILE",
                help="Input series, as for the other measurements.  Default: noise.",
                rich_help_panel=INPUTS,
            ),
        ],
        None,
    ),
    "steps": (
        Annotated[
            int | None,
            typer.Option(
                help="Steps of the noise that is the input without --inputs, or of these to use.  "
                f"Default: {_STEPS:,} of noise, all of --inputs.",
                rich_help_panel=INPUTS,
            ),
        ],
        None,
    ),
    "input_size": (
        Annotated[int, typer.Option(help="Numbers a step of the noise.", rich_help_panel=INPUTS)],
        1,
    ),
}
DEFAULTS = {"cell": "lstm", "gain": "0.25:3:12", "scheme": "gaussian"}


def reading(job: Job) -> str:
    """Return what every network runs over without a series."""
    size = _STEPS if job.shared["steps"] is None else job.shared["steps"], 1, job.shared["input_size"]
    return f"standard normal noise, drawn with --seed {job.shared['seed']}: {extent(size)}"


def arguments(job: Job, arguments: dict[str, Any]) -> None:
    """Give the series, or the size of the noise; biases only to a cell that has a memory gate."""
    if job.series is not None:
        arguments["input_size"] = job.series.values.shape[-1]
    else:
        arguments["input_size"] = job.shared["input_size"]
        arguments["steps"] = _STEPS if job.shared["steps"] is None else job.shared["steps"]
    if arguments["bias"] is None:
        arguments["bias"] = numbers("bias", _BIASES if _has_memory_gate(arguments["cell"]) else "0")


def _has_memory_gate(cell: str) -> bool:
    from gatescope.cells.memory_gate import memory_gate
    from gatescope.cells.registry import get

    return memory_gate(get(cell)).name in get(cell).gates
