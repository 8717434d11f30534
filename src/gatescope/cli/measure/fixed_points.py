"""The constant input of ``gatescope measure fixed-points``, and the runs that are drawn beneath the points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from gatescope.cli.groups import INPUTS
from gatescope.cli.measure.command import Job
from gatescope.cli.parsing import numbers

if TYPE_CHECKING:
    from gatescope.datatypes import FixedPoints

_RUNS, _RUN_STEPS = 8, 100

SERIES = None
OPTIONS = {
    "at": (
        Annotated[
            str,
            typer.Option(
                metavar="NUMBERS",
                help="Constant input, one number for all inputs or one each, as in 0,1.",
                rich_help_panel=INPUTS,
            ),
        ],
        "0",
    )
}
DEFAULTS = {"starts": "512"}


def input_size(values: dict[str, Any]) -> int:
    """Return how many numbers the constant input has."""
    return len(numbers("at", values["at"]))


def reading(job: Job) -> str:
    """Return what the input is."""
    return f"a constant input: {job.shared['at']}"


def arguments(job: Job, arguments: dict[str, Any]) -> None:
    """Give the constant input."""
    assert job.params is not None
    values = numbers("at", job.shared["at"])
    arguments["inputs"] = values * job.params.input_size if len(values) == 1 else values


def draw(job: Job, result: FixedPoints) -> Any:
    """Return the plane of the fixed points with a few short runs from random states beneath them."""
    from gatescope import plotting
    from gatescope.cells.registry import get
    from gatescope.recurrence.run import run

    params = job.params
    assert params is not None
    shape = (_RUNS, len(get(params.cell).states), params.hidden_size)
    states = np.random.default_rng(job.shared["seed"]).uniform(-1, 1, shape)
    inputs = np.broadcast_to(result.inputs, (_RUN_STEPS, _RUNS, params.input_size))
    trace = run(params, inputs, initial_state=states, clamp=job.shared["clamp"])
    return plotting.plot_fixed_points(result, trace=trace)
