"""The figure of ``gatescope measure lyapunov-spectrum``: the exponents, and how they converged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatescope.cli.measure.command import Job

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gatescope.datatypes import LyapunovSpectrum


def draw(job: Job, result: LyapunovSpectrum) -> Figure:
    """Return three panels: the leading exponent and several of them against the step, and all of them."""
    from gatescope import plotting

    figure = plotting.new_figure(7.6, 9.6)
    leading, several, every = figure.subplots(3, 1)
    plotting.plot_lyapunov_convergence(result, ks=(0,), ax=leading)
    plotting.plot_lyapunov_convergence(result, ax=several).set_title("some of them")
    plotting.plot_lyapunov_spectrum(result, labels=[job.label], ax=every)
    return figure
