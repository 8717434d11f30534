"""The small figure that notebooks show of a result, for those that say more as a picture than as numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from gatescope import datatypes, plotting
from gatescope.errors import GatescopeError
from gatescope.plotting._seeds import cell_name
from gatescope.plotting._trace_view import reference_name

_SIZE = (6.2, 3.6)  # inches
_DPI = 80
_STEPS = 10_000  # of a longer trace the heat map shows these


def _on_axes(plot: Callable[..., Any]) -> Callable[[Any, Figure], Any]:
    return lambda result, figure: plot(result, ax=figure.add_subplot())


def _heat_map(trace: datatypes.Trace, figure: Figure) -> None:
    plotting.plot_gate_heatmap(trace, reference_name(trace), steps=slice(0, _STEPS), ax=figure.add_subplot())


def _heat_maps(trace: datatypes.StackTrace, figure: Figure) -> None:
    rows = len({name.split(".")[1] for name in trace})
    figure.set_size_inches(_SIZE[0] * (1 + (rows < len(trace)) / 2), _SIZE[1] / 2 * (1 + rows))
    plotting.plot_gate_heatmaps(trace, steps=slice(0, _STEPS), fig=figure)


def _losses(run: datatypes.TrainingRun, figure: Figure) -> None:
    plotting.plot_loss_curves({cell_name(run): run}, ax=figure.add_subplot())


# What draws a result of a type in a figure; a plot that says more than numbers has a row.
DRAWN: dict[type[datatypes.Result], Callable[[Any, Figure], Any]] = {
    datatypes.Connectivity: _on_axes(plotting.plot_connectivity),
    datatypes.FixedPoints: _on_axes(plotting.plot_fixed_points),
    datatypes.GradientFlow: _on_axes(plotting.plot_gradient_flow),
    datatypes.GradientPaths: _on_axes(plotting.plot_gradient_paths),
    datatypes.HalfLife: _on_axes(plotting.plot_half_life),
    datatypes.JacobianSpectrum: _on_axes(plotting.plot_jacobian_spectrum),
    datatypes.LyapunovSpectrum: _on_axes(plotting.plot_lyapunov_spectrum),
    datatypes.PhaseDiagram: lambda result, figure: plotting.plot_phase_diagram(result, fig=figure),
    datatypes.Saturation: _on_axes(plotting.plot_saturation),
    datatypes.StackTrace: _heat_maps,
    datatypes.Trace: _heat_map,
    datatypes.TrainingRun: _losses,
    datatypes.WatchHistory: lambda result, figure: plotting.plot_watch(
        result, layers=result.layers[:1], fig=figure
    ),
}


def png(result: datatypes.Result) -> bytes | None:
    """Return a small PNG of a result, or None if numbers say it better or there is nothing to draw."""
    draw = DRAWN.get(type(result))
    # What is on a GPU is not brought to the host for a picture.
    if draw is None or result.on_device:
        return None
    figure = plotting.new_figure(*_SIZE)
    figure.set_dpi(_DPI)  # as many cells as there are pixels
    try:
        with plotting.style():
            draw(result, figure)
    except GatescopeError:  # too little was measured to be drawn: the table says what there is
        return None
    return plotting.render(figure, dpi=_DPI)
