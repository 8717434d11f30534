"""``gatescope measure half-life``, ``paths`` and ``connectivity``."""

from __future__ import annotations

from typing import Annotated

import typer

from gatescope.cli.measure.command import Found, Job, measurement
from gatescope.cli.measure.options import (
    LN10,
    LagsOption,
    LongestLagOption,
    NormOption,
    SourceStepOption,
    TargetOption,
    TransientOption,
    UnitOption,
    about,
    cut,
    figure_of,
    in_steps,
    number,
    percent,
    sequences,
    some,
    whole,
    with_error,
)


@measurement("half-life")
def half_life(
    job: Job,
    target: Annotated[
        str, typer.Option(help="What the adjoint begins with: a state of the cell, or joint for all.")
    ] = "joint",
    transient: TransientOption = None,
) -> Found:
    """How long the cell remembers, in steps, by the adjoint, the leading exponent and the memory gate."""
    from gatescope.measurements.half_life import half_life as measure
    from gatescope.plotting.half_life import plot_half_life as draw

    keywords = job.keywords("seed", "clamp", "threads")
    result = measure(job.params, job.series, of=target, transient=transient, **keywords)
    gate = f"geometric mean of {result.gate}" if result.gate else "memory gate"
    quantities = {
        "half-life by the slope of the adjoint, steps": map(number, result.by_adjoint),
        "by the leading Lyapunov exponent, steps": map(number, result.by_exponent),
        f"by the {gate}, slowest unit, steps": map(number, result.slowest),
        f"by the {gate}, median unit, steps": map(number, result.median),
        "rate of the adjoint, nats per step": map(with_error, result.adjoint_rate, result.adjoint_error),
        "minus the leading exponent, nats per step": map(
            with_error, result.exponent_rate, result.exponent_error
        ),
        "the three agree": ("no" if disagree else "yes" for disagree in result.disagree),
    }
    batch = len(result.by_adjoint)
    return Found(
        result=result,
        title=f"half-life of the gradient: {about(job)}",
        columns=sequences(batch),
        rows=cut((name, *values) for name, values in quantities.items()),
        verdict=[line.strip() for line in result.summary().splitlines()[1:]],
        draw=lambda: figure_of(draw(result)),
    )


@measurement("paths")
def paths(
    job: Job,
    state: Annotated[
        str | None,
        typer.Option(
            help="With respect to what: a state of the cell, or joint.  Default: its last state (c)."
        ),
    ] = None,
    target: TargetOption = "h",
    norm: NormOption = "random",
    unit: UnitOption = 0,
    source_step: SourceStepOption = -1,
    lags: LagsOption = None,
    longest_lag: LongestLagOption = None,
) -> Found:
    """How much of the gradient stays on the direct path, and how much goes through each gate, at each lag."""
    from gatescope.measurements.gradient_paths import gradient_paths
    from gatescope.plotting.gradient_paths import plot_gradient_paths as draw

    result = gradient_paths(
        job.params,
        job.series,
        source_step=source_step,
        wrt=state,
        of=target,
        norm=norm,
        unit=unit,
        lags=whole("--lags", lags),
        max_lag=longest_lag,
        **job.keywords("seed", "clamp", "threads"),
    )
    rows = [
        (
            f"{result.lag[at]:,}",
            number(result.total_log_norm[at, 0] / LN10),
            *map(percent, result.fraction[at, :, 0]),
        )
        for at in some(len(result.lag))
    ]
    of = " of sequence 0" if result.fraction.shape[2] > 1 else ""
    return Found(
        result=result,
        title=f"shares of the gradient of {result.of} by an earlier {result.wrt}{of}: {about(job)}",
        columns=("lag, steps", "log10 of the norm", *result.paths),
        rows=rows,
        verdict=["shares have signs and sum to 100 %: parts beyond that cancel"],
        draw=lambda: figure_of(draw(result)),
    )


@measurement("connectivity", resumable=True)
def connectivity(
    job: Job,
    targets: Annotated[
        str | None,
        typer.Option(
            metavar="STEPS", help="Steps of the outputs, from 0, as in 99,199.  Default: up to 200."
        ),
    ] = None,
    sources: Annotated[
        str | None,
        typer.Option(metavar="STEPS", help="Steps of the inputs, from 0, or even or log.  Default: even."),
    ] = None,
    norm: Annotated[
        str, typer.Option(help="frobenius: of the Jacobian; random or unit: of one direction, much faster.")
    ] = "frobenius",
    unit: UnitOption = 0,
) -> Found:
    """How strongly each output depends on each input: log-norm of d output(t) / d input(t')."""
    from gatescope.measurements.connectivity import connectivity as measure
    from gatescope.plotting.connectivity import plot_connectivity as draw

    result = measure(
        job.params,
        job.series,
        target_steps=whole("--targets", targets),
        source_steps=sources if sources in ("even", "log") else whole("--sources", sources),
        norm=norm,
        unit=unit,
        **job.keywords("seed", "clamp", "threads"),
    )
    lag, profile = result.lag_profile()
    rows = [
        (f"{in_steps(lag[at])} between input and output", *(number(v / LN10) for v in profile[at]))
        for at in some(len(lag))
    ]
    pairs = int((result.lag() >= 0).sum())
    return Found(
        result=result,
        title=f"log10 of || d output / d input || ({result.norm}), geometric mean: {about(job)}",
        columns=sequences(profile.shape[1]),
        rows=cut(rows),
        verdict=[
            f"{pairs:,} pairs of {len(result.target_step):,} outputs and {len(result.source_step):,} inputs"
        ],
        draw=lambda: figure_of(draw(result)),
    )
