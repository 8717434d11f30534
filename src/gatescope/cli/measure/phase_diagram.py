"""Defaults of ``gatescope measure phase-diagram``, and the series that its networks run over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gatescope.cli.groups import INPUTS
from gatescope.cli.measure.command import Job
from gatescope.cli.networks import refuse
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
        Annotated[
            int | None, typer.Option(help="Numbers a step of the noise.  Default: 1.", rich_help_panel=INPUTS)
        ],
        None,
    ),
}
DEFAULTS = {"cell": "lstm", "gain": "0.25:3:12", "scheme": "gaussian"}


def reading(job: Job) -> str:
    """Return what every network runs over without a series."""
    steps, width = job.shared["steps"], job.shared["input_size"]
    size = _STEPS if steps is None else steps, 1, 1 if width is None else width
    return f"standard normal noise, drawn with --seed {job.shared['seed']}: {extent(size)}"


def arguments(job: Job, arguments: dict[str, Any]) -> None:
    """Give the series, or the size of the noise; biases only to a cell that has a memory gate."""
    width = job.shared["input_size"]
    if job.series is not None:
        refuse({"input_size": width}, "is for noise, and `inputs` gives a series")
        arguments["input_size"] = job.series.values.shape[-1]
    else:
        arguments["input_size"] = 1 if width is None else width
        arguments["steps"] = _STEPS if job.shared["steps"] is None else job.shared["steps"]
    if arguments["bias"] is None:
        arguments["bias"] = _biases(arguments["cell"])


def _biases(cell: str) -> list[float]:
    """Return biases from those that keep less to those that keep much more, in ascending order; 0 without a gate."""
    from gatescope.cells.memory_gate import memory_gate
    from gatescope.cells.registry import get

    sign = memory_gate(get(cell)).sign
    return sorted(sign * bias + 0.0 for bias in numbers("bias", _BIASES)) if sign else [0.0]
