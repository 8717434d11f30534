"""The closed loop of ``gatescope measure lyapunov-spectrum``, and its figure: exponents, and how they converged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatescope.checks.numbers import check_count
from gatescope.cli.measure.command import Job
from gatescope.cli.networks import check_closed, refuse
from gatescope.cli.options import FeedbackOption

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gatescope.datatypes import LyapunovSpectrum


_NO_EFFECT = "has no effect with `feedback`"
OPTIONS = {"feedback": (FeedbackOption, None)}


def check(job: Job) -> None:
    """Refuse a closed loop of no steps or of a cell alone, and what it does not take."""
    if job.shared["feedback"] is not None:
        check_count("feedback", job.shared["feedback"])
        others = {name: job.shared[name] for name in ("initial_state", "resume")}
        refuse(others, _NO_EFFECT)
        check_closed(job.model)


def arguments(job: Job, arguments: dict[str, Any]) -> None:
    """Close the loop after the inputs, if that is asked for."""
    if job.shared["feedback"] is not None:
        refuse({} if arguments["checks"] else {"checks": False}, _NO_EFFECT)
        arguments |= {"steps": job.shared["feedback"], "feedback": True}


def draw(job: Job, result: LyapunovSpectrum) -> Figure:
    """Return three panels: the leading exponent and several of them against the step, and all of them."""
    from gatescope import plotting

    figure = plotting.new_figure(7.6, 9.6)
    leading, several, every = figure.subplots(3, 1)
    plotting.plot_lyapunov_convergence(result, ks=(0,), ax=leading)
    plotting.plot_lyapunov_convergence(result, ax=several).set_title("some of them")
    plotting.plot_lyapunov_spectrum(result, labels=[job.label], ax=every)
    return figure
