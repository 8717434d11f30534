"""``gatescope measure flow``, ``jacobian`` and ``lyapunov``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gatescope.cli.measure.command import Found, Job, measurement
from gatescope.cli.measure.options import (
    LN10,
    LagsOption,
    LongestLagOption,
    SourceStepOption,
    StateOption,
    TargetOption,
    TransientOption,
    UnitOption,
    about,
    cut,
    figure_of,
    flow_lags,
    in_steps,
    number,
    reach,
    sequences,
    some,
    spaced,
    vanishing,
    whole,
    with_error,
)
from gatescope.cli.options import DeviceOption, check_device

_JACOBIAN_LAGS = 60
_JACOBIAN_REACH = 1000  # by default; a step costs some n^3 operations


@measurement("flow", resumable=True)
def flow(
    job: Job,
    state: StateOption = "h",
    target: TargetOption = "h",
    norm: Annotated[
        str,
        typer.Option(help="random or unit: of one direction of the target; spectral: of the whole Jacobian."),
    ] = "random",
    unit: UnitOption = 0,
    source_step: SourceStepOption = -1,
    lags: LagsOption = None,
    longest_lag: LongestLagOption = None,
    device: DeviceOption = "cpu",
) -> Found:
    """How far back the gradient of one step reaches: its norm against the lag, decay rate and half-life."""
    from gatescope import plotting
    from gatescope.measurements.gradient_flow import gradient_flow

    check_device(device, job.threads)
    result = gradient_flow(
        job.params,
        job.series,
        source_step=source_step,
        wrt=state,
        device=device,
        of=target,
        norm=norm,
        unit=unit,
        lags=flow_lags(lags, len(job.series), source_step, longest_lag, norm),
        max_lag=longest_lag,
        **job.keywords("seed", "clamp", "threads"),
    )
    rate, half = result.decay_rate(), result.half_life()
    rows = [
        ("decay rate, nats per step", *map(number, rate.value)),
        ("half-life, steps", *map(number, half.value)),
        (
            f"R² of the fit, lags {rate.fit_range[0]:,} to {rate.fit_range[1]:,}",
            *(f"{r:.3f}" for r in rate.r_squared),
        ),
    ]
    rows += [
        (f"log10 of the norm at lag {result.lag[at]:,}", *(number(v / LN10) for v in result.log_norm[at]))
        for at in some(len(result.lag))
    ]
    return Found(
        result=result,
        title=f"gradient of {target} by an earlier {state}: {about(job)}",
        columns=sequences(result.log_norm.shape[1]),
        rows=cut(rows),
        verdict=[vanishing(value) for value in rate.value],
        draw=lambda: figure_of(plotting.plot_gradient_flow(result, labels=[job.label])),
    )


@measurement("jacobian")
def jacobian(
    job: Job,
    lags: LagsOption = None,
    k: Annotated[
        int | None, typer.Option("--k", help="How many singular values, largest first.  Default: all.")
    ] = None,
    of: TargetOption = "joint",
    wrt: StateOption = "joint",
    source_step: SourceStepOption = -1,
) -> Found:
    """Singular values of the Jacobian of a state by an earlier one, against the lag (by default up to 1,000)."""
    from gatescope.measurements.jacobian_spectrum import jacobian_spectrum
    from gatescope.plotting.jacobian_spectrum import plot_jacobian_spectrum as draw

    longest = min(_JACOBIAN_REACH, reach(source_step, len(job.series)))
    wanted = spaced(longest, _JACOBIAN_LAGS) if lags is None else whole("--lags", lags)
    keywords = job.keywords("clamp", "threads")
    result = jacobian_spectrum(
        job.params, job.series, lags=wanted, k=k, source_step=source_step, of=of, wrt=wrt, **keywords
    )
    decades, count = result.log_singular[:, 0] / LN10, result.log_singular.shape[2]
    rows = [
        (f"{result.lag[at]:,}", *(number(decades[at, j]) for j in (0, count // 2, count - 1)))
        for at in some(len(result.lag))
    ]
    batch = result.log_singular.shape[1]
    which = " of sequence 0" if batch > 1 else ""
    rate = -float(result.rates()[-1, 0, 0])
    return Found(
        result=result,
        title=f"log10 of the {count} singular values{which}, {of} by {wrt}: {about(job)}",
        columns=("lag, steps", "largest", "median", "smallest"),
        rows=rows,
        verdict=[f"the largest falls by {number(rate)} nats per step over {in_steps(result.lag[-1])}"],
        draw=lambda: figure_of(draw(result)),
    )


@measurement("lyapunov", resumable=True)
def lyapunov(
    job: Job,
    k: Annotated[
        int | None, typer.Option("--k", help="How many exponents, largest first.  Default: all.")
    ] = None,
    transient: TransientOption = None,
    qr_every: Annotated[
        int | None,
        typer.Option(metavar="STEPS", help="Steps between orthonormalizations.  Default: found by a trial."),
    ] = None,
    checks: Annotated[
        bool, typer.Option(help="Compare with the determinant and with a perturbation of the state.")
    ] = True,
) -> Found:
    """Lyapunov exponents of the whole state along the series, with errors and a verdict."""
    from gatescope import plotting
    from gatescope.measurements.lyapunov_spectrum import lyapunov_spectrum
    from gatescope.plotting.lyapunov_spectrum import plot_lyapunov_convergence, plot_lyapunov_spectrum

    keywords = job.keywords("seed", "clamp", "threads")
    result = lyapunov_spectrum(
        job.params, job.series, k=k, transient=transient, qr_every=qr_every, checks=checks, **keywords
    )
    last = result.exponents.shape[1]
    quantities = {
        "leading exponent, nats per step": map(with_error, result.exponents[:, 0], result.error[:, 0]),
        f"exponent {last}, nats per step": map(with_error, result.exponents[:, -1], result.error[:, -1]),
        "Kaplan-Yorke dimension": map(number, result.kaplan_yorke_dimension()),
        "sum of the positive ones, nats per step": map(number, result.entropy_rate()),
        "check: mean log |det J|, nats per step": map(number, result.log_det),
        "and the sum of all over the same steps": map(number, result.log_det_sum),
        "check: leading one by perturbing the state": map(number, result.perturbation),
        "and that over the same steps": map(number, result.perturbation_reference),
    }
    rows = [(name, *values) for name, values in quantities.items()]

    def draw() -> Any:
        fig = plotting.new_figure(7.6, 9.6)
        leading, spread, whole = fig.subplots(3, 1)
        plot_lyapunov_convergence(result, ks=(0,), ax=leading)
        plot_lyapunov_convergence(result, ax=spread).set_title("some of them")
        plot_lyapunov_spectrum(result, labels=[job.label], ax=whole)
        return fig

    return Found(
        result=result,
        title=f"Lyapunov exponents: {about(job)}, the first {result.transient:,} not counted, "
        f"QR every {in_steps(result.qr_every)}",
        columns=sequences(len(result.exponents)),
        rows=cut(row for row in rows if any(text != "nan" for text in row[1:])),
        verdict=result.verdict(),
        draw=draw,
    )
