"""The small figure that notebooks show of a result, for those that say more as a picture than as numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from gatescope.datatypes import GradientFlow, Result, Trace
from gatescope.datatypes.connectivity import Connectivity
from gatescope.datatypes.fixed_points import FixedPoints
from gatescope.datatypes.gradient_paths import GradientPaths
from gatescope.datatypes.half_life import HalfLife
from gatescope.datatypes.jacobian_spectrum import JacobianSpectrum
from gatescope.datatypes.lyapunov_spectrum import LyapunovSpectrum
from gatescope.datatypes.phase_diagram import PhaseDiagram
from gatescope.datatypes.saturation import Saturation
from gatescope.datatypes.training_run import TrainingRun
from gatescope.errors import GatescopeError
from gatescope.plotting._save import render
from gatescope.plotting._style import new_figure, style
from gatescope.plotting._trace_view import reference_name
from gatescope.plotting.connectivity import plot_connectivity
from gatescope.plotting.fixed_points import plot_fixed_points
from gatescope.plotting.gate_heatmap import plot_gate_heatmap
from gatescope.plotting.gradient_flow import plot_gradient_flow
from gatescope.plotting.gradient_paths import plot_gradient_paths
from gatescope.plotting.half_life import plot_half_life
from gatescope.plotting.jacobian_spectrum import plot_jacobian_spectrum
from gatescope.plotting.loss_curves import plot_loss_curves
from gatescope.plotting.lyapunov_spectrum import plot_lyapunov_spectrum
from gatescope.plotting.phase_diagram import plot_phase_diagram
from gatescope.plotting.saturation import plot_saturation

_SIZE = (6.2, 3.6)  # inches
_DPI = 80
_STEPS = 10_000  # of a longer trace the heat map shows these


def _on_axes(plot: Callable[..., Any]) -> Callable[[Any, Figure], Any]:
    return lambda result, figure: plot(result, ax=figure.add_subplot())


def _heat_map(trace: Trace, figure: Figure) -> None:
    plot_gate_heatmap(trace, reference_name(trace), steps=slice(0, _STEPS), ax=figure.add_subplot())


def _losses(run: TrainingRun, figure: Figure) -> None:
    plot_loss_curves({"+".join(dict.fromkeys(run.model.cells)): run}, ax=figure.add_subplot())


# What draws a result of a type in a figure; a plot that says more than numbers has a row.
DRAWN: dict[type[Result], Callable[[Any, Figure], Any]] = {
    Connectivity: _on_axes(plot_connectivity),
    FixedPoints: _on_axes(plot_fixed_points),
    GradientFlow: _on_axes(plot_gradient_flow),
    GradientPaths: _on_axes(plot_gradient_paths),
    HalfLife: _on_axes(plot_half_life),
    JacobianSpectrum: _on_axes(plot_jacobian_spectrum),
    LyapunovSpectrum: _on_axes(plot_lyapunov_spectrum),
    PhaseDiagram: lambda result, figure: plot_phase_diagram(result, fig=figure),
    Saturation: _on_axes(plot_saturation),
    Trace: _heat_map,
    TrainingRun: _losses,
}


def png(result: Result) -> bytes | None:
    """Return a small PNG of a result, or None if numbers say it better or there is nothing to draw."""
    draw = DRAWN.get(type(result))
    # What is on a GPU is not brought to the host for a picture.
    if draw is None or result.on_device:
        return None
    figure = new_figure(*_SIZE)
    try:
        with style():
            draw(result, figure)
    except GatescopeError:  # too little was measured to be drawn: the table says what there is
        return None
    return render(figure, dpi=_DPI)
