"""The table of a comparison, and what its numbers mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gatescope.comparison.compare import Comparison
from gatescope.comparison.figures import direction
from gatescope.reporting.text import counted


def rows(comparison: Comparison) -> list[dict[str, Any]]:
    """The table, one mapping a quantity, from ``"quantity"`` and the labels to values, None where none is."""
    facts = comparison.numbers()
    sequences = comparison.measurements[0].trace.inputs.shape[1]
    batch = f" of all {sequences} sequences" if sequences > 1 else ""

    def gradient(state: str, key: str) -> Callable[[dict[str, Any]], Any]:
        return lambda cell: cell["gradient"].get(state, {}).get(key)

    rate, half, fit = "decay_rate_nats_per_step", "half_life_steps", "r_squared"
    quantities: dict[str, Callable[[dict[str, Any]], Any]] = {
        "parameters": lambda cell: cell["parameters"],
        "multiply-adds per step": lambda cell: cell["multiply_adds_per_step"],
        "activations per step": lambda cell: cell["activations_per_step"],
        f"forward, ns per step{batch}": lambda cell: cell["nanoseconds_per_step"],
        "gradient decay to h, nats per step": gradient("h", rate),
        "gradient decay to c, nats per step": gradient("c", rate),
        "half-life to h, steps": gradient("h", half),
        "half-life to c, steps": gradient("c", half),
        "R² of the decay to h": gradient("h", fit),
        "saturated gates, %": lambda cell: _percent(cell["saturation"]["saturated_fraction"]),
    }
    table = [
        {"quantity": name, **{label: pick(cell) for label, cell in facts.items()}}
        for name, pick in quantities.items()
    ]
    # A cell may have no gates or no c, and then has nothing to say of them; that h has no rate says something.
    return [
        row
        for row in table
        if any(value is not None for value in list(row.values())[1:]) or "to h" in row["quantity"]
    ]


def _percent(fraction: float | None) -> float | None:
    return None if fraction is None else 100 * fraction


def notes(comparison: Comparison) -> list[str]:
    """What the numbers mean, one paragraph each."""
    first = comparison.measurements[0]
    steps, sequences = first.trace.inputs.shape[:2]
    batch = f" of all {sequences} sequences" if sequences > 1 else ""
    medians = " Of several sequences the table gives the median." if sequences > 1 else ""
    return [
        "Arithmetic of one step of one sequence: multiply-adds G·H·(I + H) in the matrix products, with G "
        "gates, H units and I inputs; activations are evaluations of sigmoid, tanh and relu, counted in the "
        "cell's equations.",
        f"Forward time: one step{batch}, storing every gate and state; the median of "
        f"{counted(first.timing_runs, 'run')} over {counted(steps, 'step')} {timed_on(comparison)}, "
        "compilation excluded.",
        "Gradient decay: the norm of the gradient of the last step with respect to an earlier state, h or c, "
        f"falls by e^-rate a step. It is the gradient of {direction(first.flow_h)}. "
        "The rate is the slope of its logarithm against the lag, least squares over lags "
        f"{_windows(comparison)}, with the sign turned: positive where the gradient vanishes, negative where "
        f"it explodes; there is none for fewer than three lags. The half-life is ln 2 / rate.{medians}",
        f"A gate is saturated below {first.saturation.left:g} (shut) or above {first.saturation.right:g} (open); the "
        "fraction is over units, steps and the gates that, by the equations, go from 0 to 1.",
    ]


def timed_on(comparison: Comparison) -> str:
    """What the times of a comparison were taken on."""
    if comparison.provenance["device"] == "cuda":
        simulated = comparison.provenance.get("backend") == "cudasim"
        where = "in Numba's simulator of a GPU" if simulated else "on the GPU"
        return f"{where}, copies to it and back included"
    return f"with at most {counted(comparison.measurements[0].threads, 'thread')} on the CPU"


def _windows(comparison: Comparison) -> str:
    """The lags that rates are fitted to, with the labels where they differ, and the state where that does."""
    windows: dict[str, list[str]] = {}
    for found in comparison:
        fits = {"h": found.flow_h.decay_rate().fit_range}
        if found.flow_c is not None:
            fits["c"] = found.flow_c.decay_rate().fit_range
        alike = len(set(fits.values())) == 1
        for state, (begin, end) in [("h", fits["h"])] if alike else fits.items():
            name = found.label if alike else f"{found.label} to {state}"
            windows.setdefault(f"{begin:,} to {end:,}", []).append(name)
    named = len(windows) > 1
    return "; ".join(span + (f" ({', '.join(names)})" if named else "") for span, names in windows.items())
