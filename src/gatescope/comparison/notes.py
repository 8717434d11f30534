"""What the numbers of a comparison mean: the notes beneath its table on the report page."""

from __future__ import annotations

from gatescope.comparison.figures import direction
from gatescope.datatypes.comparison import Comparison
from gatescope.reporting.text import counted


def notes(comparison: Comparison) -> list[str]:
    """Return what the numbers mean, a paragraph each."""
    first, sequences = comparison.cells[0], comparison.sequences
    batch = f" of all {sequences} sequences" if sequences > 1 else ""
    medians = " Of several sequences the table gives the median." if sequences > 1 else ""
    warning = comparison.scale_warning()
    return [
        *([warning] if warning else []),
        "Arithmetic of one step of one sequence: multiply-adds G·H·(I + H) in the matrix products, with G "
        "gates, H units and I inputs; activations are evaluations of sigmoid, tanh and relu, counted in the "
        "cell's equations.",
        f"Forward time: one step{batch}, storing every gate and state; the median of "
        f"{counted(first.timing_runs, 'run')} over {counted(first.trace.inputs.shape[0], 'step')} "
        f"{comparison.timed_on()}, with weights and memory ready.",
        "Gradient decay: the norm of the gradient of the last state with respect to an earlier one, h and c together, "
        f"falls by e^-rate a step. It is the gradient of {direction(first.flow)}. "
        "The rate is the slope of its logarithm against the lag, least squares over lags "
        f"{_windows(comparison)}, with the sign turned: positive where the gradient vanishes, negative where "
        "it explodes; there is none where the norms follow no line. The asymptotic half-life, ln 2 / rate, is that of "
        "the tail. Steps to half is the lag from which on half of the gradient is gone, read off the norms themselves. "
        f"'h to h alone' and 'h to c alone' are of the output with respect to one state.{medians}",
        f"A gate is saturated below {first.saturation.left:g} (shut) or above {first.saturation.right:g} (open); the "
        "fraction is over units, steps and the gates that, by the equations, go from 0 to 1.",
    ]


def _windows(comparison: Comparison) -> str:
    """Return the lags that rates are fitted to, with the labels where they differ, and the state where that does."""
    windows: dict[str, list[str]] = {}
    for cell in comparison:
        flows = {"": cell.flow, " to h": cell.flow_h, " to c": cell.flow_c}
        fits = {to: flow.decay_rate().fit_range for to, flow in flows.items() if flow is not None}
        alike = len(set(fits.values())) == 1
        for to, (begin, end) in [("", fits[""])] if alike else fits.items():
            name = cell.label + to
            windows.setdefault(f"{begin:,} to {end:,}", []).append(name)
    named = len(windows) > 1
    return "; ".join(span + (f" ({', '.join(names)})" if named else "") for span, names in windows.items())
