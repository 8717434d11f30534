"""The small figure that notebooks show of a result, for those that say more as a picture than as numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.figure import Figure

from gatescope import datatypes, plotting
from gatescope.errors import GatescopeError
from gatescope.plotting._seeds import cell_name
from gatescope.plotting._trace_view import reference_name
from gatescope.plotting.effects import WIDTH, height_of
from gatescope.plotting.saturation import draw_both

_SIZE = (6.2, 3.6)  # inches
_PAIR = (9.3, 6.1)  # of two square plots beside each other, with room for the legends above
_HEADING = 0.4  # inches, of the name of a layer
_DPI = 80
_STEPS = 10_000  # of a longer trace the heat map shows these


def _on_axes(plot: Callable[..., Any]) -> Callable[[Any, Figure], Any]:
    return lambda result, figure: plot(result, ax=figure.add_subplot())


def _heat_map(trace: datatypes.Trace, figure: Figure) -> None:
    plotting.plot_gate_heatmap(trace, reference_name(trace), steps=slice(0, _STEPS), ax=figure.add_subplot())


def _heat_maps(trace: datatypes.StackTrace, figure: Figure) -> None:
    figure.set_size_inches(_width(trace), _SIZE[1] / 2 * (1 + _rows(trace)))
    plotting.plot_gate_heatmaps(trace, steps=slice(0, _STEPS), fig=figure)


def _layers(result: datatypes.ByLayer[Any], figure: Figure) -> None:
    whole = isinstance(result, datatypes.HalfLifeByLayer) and result.whole is not None
    change = isinstance(result.results[0], datatypes.TraceComparison)
    across, high = (_PAIR[0] * _beside(result), _PAIR[1]) if change else (_width(result), _SIZE[1])
    figure.set_size_inches(across, (high + _HEADING) * (_rows(result) + whole))
    plotting.plot_by_layer(result, fig=figure)


def _rows(result: datatypes.ByLayer[Any]) -> int:
    """Return how many layers a result has, by its names."""
    return len({name.split(".")[1] for name in result})


def _width(result: datatypes.ByLayer[Any]) -> float:
    """Return the width of a figure of all layers: more where there are two directions beside each other."""
    return _SIZE[0] * (1.5 if _beside(result) > 1 else 1)


def _beside(result: datatypes.ByLayer[Any]) -> int:
    """Return how many directions of a layer are beside each other."""
    return 2 if _rows(result) < len(result) else 1


def _before_after(result: datatypes.TraceComparison, figure: Figure) -> None:
    figure.set_size_inches(_PAIR)
    draw_both(result, fig=figure)


def _losses(run: datatypes.TrainingRun, figure: Figure) -> None:
    plotting.plot_loss_curves({cell_name(run): run}, ax=figure.add_subplot())


def _long_series(result: datatypes.LongSeriesResult, figure: Figure) -> None:
    figure.set_size_inches(_SIZE[0] * 1.3, _SIZE[1] * 1.7)
    plotting.plot_long_series(result, fig=figure)


def _flows(comparison: datatypes.Comparison, figure: Figure) -> None:
    flows = [cell.flow for cell in comparison]
    plotting.plot_gradient_flow(flows, labels=comparison.labels, ax=figure.add_subplot())


def _effects(effects: Sequence[datatypes.Effect], figure: Figure) -> None:
    figure.set_size_inches(WIDTH, height_of(len(effects)))
    plotting.plot_effects(effects, ax=figure.add_subplot())


# What draws a result of a type in a figure; a plot that says more than numbers has a row.
DRAWN: dict[type[datatypes.Result], Callable[[Any, Figure], Any]] = {
    datatypes.ByLayer: _layers,
    datatypes.Comparison: _flows,
    datatypes.Connectivity: _on_axes(plotting.plot_connectivity),
    datatypes.Diagnosis: lambda result, figure: plotting.plot_gradient_flow(
        result.flow, ax=figure.add_subplot()
    ),
    datatypes.Effect: lambda effect, figure: _effects([effect], figure),
    datatypes.FixedPoints: _on_axes(plotting.plot_fixed_points),
    datatypes.GradientFlow: _on_axes(plotting.plot_gradient_flow),
    datatypes.GradientPaths: _on_axes(plotting.plot_gradient_paths),
    datatypes.HalfLife: _on_axes(plotting.plot_half_life),
    datatypes.HalfLifeByLayer: _layers,
    datatypes.JacobianSpectrum: _on_axes(plotting.plot_jacobian_spectrum),
    datatypes.LongSeriesResult: _long_series,
    datatypes.LyapunovSpectrum: _on_axes(plotting.plot_lyapunov_spectrum),
    datatypes.PhaseDiagram: lambda result, figure: plotting.plot_phase_diagram(result, fig=figure),
    datatypes.Saturation: _on_axes(plotting.plot_saturation),
    datatypes.StackTrace: _heat_maps,
    datatypes.Trace: _heat_map,
    datatypes.TraceComparison: _before_after,
    datatypes.TrainingRun: _losses,
    datatypes.Verdict: lambda verdict, figure: _effects(verdict.effects, figure),
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
