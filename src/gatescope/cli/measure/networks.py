"""``gatescope measure fixed-points`` and ``phases``: what a network does without a series, or many networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from gatescope.cli.measure.command import Found, Job, measurement
from gatescope.cli.measure.options import TransientOption, figure_of, number, numbers, split_schemes
from gatescope.cli.options import DEFAULT_UNITS, HiddenSizeOption

if TYPE_CHECKING:
    from gatescope.datatypes import Array, Trace

_SHOWN_POINTS = 20
_RUNS, _RUN_STEPS = 8, 100  # that are drawn beneath fixed points
_GAINS, _BIASES = "0.25:3:12", "-2:6:9"


@measurement(
    "fixed-points", series=False, threads=False, width=lambda options: len(numbers("--at", options["at"]))
)
def fixed_points(
    job: Job,
    at: Annotated[str, typer.Option(metavar="NUMBERS", help="The constant input, as in 0.5 or 0,1.")] = "0",
    starts: Annotated[int, typer.Option(help="How many random states to start from.")] = 512,
) -> Found:
    """States that a constant input keeps as they are, and whether they are stable."""
    from gatescope.measurements.fixed_points import fixed_points as measure
    from gatescope.plotting.fixed_points import plot_fixed_points as draw

    values = numbers("--at", at)
    if len(values) == 1:  # 0 for all inputs, say
        values = values * job.params.input_size
    result = measure(job.params, values, starts, **job.keywords("seed", "clamp"))
    slowest, directions = result.time_constants(), result.unstable_directions()
    rows = [
        (
            str(p),
            "stable" if result.stable[p] else f"{directions[p]} unstable",
            number(result.spectral_radius()[p]),
            number(slowest[p, 0]),
            f"{result.residual[p]:.1e}",
            str(result.found_by[p]),
        )
        for p in range(min(result.count, _SHOWN_POINTS))
    ]
    columns = ("", "directions", "greatest modulus", "time constant, steps", "residual", "found by starts")
    return Found(
        result=result,
        title=f"fixed points: {job.label} under the constant input {', '.join(map(number, values))}",
        columns=columns,
        rows=rows,
        verdict=[result.summary().partition("\n")[0]],
        draw=lambda: figure_of(draw(result, trace=_near_by(job, values))),
    )


def _near_by(job: Job, values: list[float]) -> Trace:
    """A few short runs under the constant input, from random states, to draw beneath the fixed points."""
    from gatescope.cells.registry import get
    from gatescope.recurrence.run import run

    shape = (_RUNS, len(get(job.params.cell).states), job.params.hidden_size)
    states = np.random.default_rng(job.seed).uniform(-1, 1, shape)
    inputs = np.broadcast_to(np.array(values), (_RUN_STEPS, _RUNS, job.params.input_size))
    return run(job.params, inputs, initial_state=states, clamp=job.clamp)


@measurement("phases", weights=False, default_series=False)
def phases(
    job: Job,
    cell: Annotated[str, typer.Option(help="Which cell.")] = "lstm",
    scheme: Annotated[
        str, typer.Option(metavar="SCHEMES", help="Of the weights, as in gaussian,orthogonal.")
    ] = "gaussian",
    gain: Annotated[
        str, typer.Option(metavar="NUMBERS", help="Factors of weight_hh: 0.5,1,2, or from:to:count.")
    ] = _GAINS,
    bias: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS",
            help=f"Added to the bias of the memory gate, as gain.  Default: {_BIASES}, 0 without such a gate.",
        ),
    ] = None,
    hidden_size: HiddenSizeOption = None,
    steps: Annotated[int, typer.Option(help="Of the noise that is the input without --inputs.")] = 1000,
    transient: TransientOption = None,
    seeds: Annotated[int, typer.Option(help="Networks at each point.")] = 1,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float64",
) -> Found:
    """Where gradients vanish and where they explode, over gain, bias of the memory gate and scheme."""
    from gatescope.cells.memory_gate import memory_gate
    from gatescope.cells.registry import get
    from gatescope.measurements.phase_diagram import phase_diagram
    from gatescope.plotting.phase_diagram import plot_phase_diagram as draw
    from gatescope.reporting.text import counted

    if bias is None:
        bias = _BIASES if memory_gate(get(cell)).name in get(cell).gates else "0"
    size = DEFAULT_UNITS if hidden_size is None else hidden_size
    keywords = job.keywords("seed", "threads")
    if job.series is not None:
        keywords |= {"inputs": job.series, "input_size": job.series.shape[-1]}
    result = phase_diagram(
        cell,
        gain=numbers("--gain", gain),
        bias=numbers("--bias", bias),
        scheme=split_schemes(scheme),
        hidden_size=size,
        steps=steps,
        transient=transient,
        seeds=seeds,
        dtype=dtype,
        **keywords,
    )
    rows = [
        (name, f"{value:g}", *_edge(result.gain, result.exponent[c, :, n], result.half_life[c, :, n]))
        for c, name in enumerate(result.scheme)
        for n, value in enumerate(result.bias)
    ]
    points = result.exponent[~result.diverged]
    over = job.source or f"noise of {counted(result.steps, 'step')}"
    of = f"bias of {result.gate}" if result.gate else "bias"
    return Found(
        result=result,
        title=f"phases: {cell}, {counted(size, 'unit')}, over {over}; {result.gain.size} gains",
        columns=("scheme", of, "gradients explode from gain", "longest half-life, steps", "at gain"),
        rows=rows,
        verdict=[
            f"gradients vanish at {np.count_nonzero(points < 0)} of {result.exponent.size} points and explode at "
            f"{np.count_nonzero(points > 0)}; states left the range of floats at {np.count_nonzero(result.diverged)}"
        ],
        draw=lambda: figure_of(draw(result)),
    )


def _edge(gain: Array, exponent: Array, half_life: Array) -> tuple[str, str, str]:
    """The least gain with a positive exponent; the longest finite half-life, and its gain."""
    above = np.flatnonzero(exponent > 0)
    finite = np.isfinite(half_life)
    edge = f"{gain[above[0]]:g}" if above.size else "none of these"
    if not finite.any():
        return edge, "none", ""
    best = int(np.argmax(np.where(finite, half_life, -1.0)))
    return edge, number(half_life[best]), f"{gain[best]:g}"
