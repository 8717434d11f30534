"""``gatescope measure diagnose``: everything at a glance, and what would change it."""

from __future__ import annotations

from typing import Annotated

import typer

from gatescope.cli.measure.command import Found, Job, measurement
from gatescope.cli.measure.options import about, figure_of, in_steps, number, percent, with_error


@measurement("diagnose")
def diagnose(
    job: Job,
    target_half_life: Annotated[
        float | None,
        typer.Option(
            metavar="STEPS",
            help="The half-life that is wanted.  Default: a tenth of the series, at most 1,000 steps.",
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            metavar="STEPS", help="How many of the last steps are looked at.  Default: some thousand."
        ),
    ] = None,
) -> Found:
    """A verdict on the cell: vanishing, near-critical or chaotic, which gate, and a bias or gain that changes it."""
    from gatescope.measurements.diagnosis import diagnose as measure
    from gatescope.plotting.diagnosis import plot_diagnosis as draw

    keywords = job.keywords("seed", "clamp", "threads")
    result = measure(job.params, job.series, target_half_life=target_half_life, window=window, **keywords)
    rows = [
        (f"gate {gate}", f"{mean:.3g}", percent(shut), percent(opened))
        for gate, mean, shut, opened in zip(result.gates, result.mean, result.shut, result.open, strict=True)
    ]
    rows += [
        (
            f"leading exponent with {gate} clamped, {'open' if at == 'open' else 'at its means'}",
            with_error(*held),
            "",
            "",
        )
        for gate, at, *held in zip(
            result.clamped_gate, result.clamped_at, result.clamped_exponent, result.clamped_error, strict=True
        )
    ]
    return Found(
        result=result,
        title=f"diagnosis: {about(job)}, the last {in_steps(result.window)} looked at, "
        f"for a half-life of {number(result.target_half_life)} steps",
        columns=("", "mean, or nats per step", "shut (< 0.1)", "open (> 0.9)"),
        rows=rows,
        verdict=result.summary().splitlines(),
        draw=lambda: figure_of(draw(result)),
    )
