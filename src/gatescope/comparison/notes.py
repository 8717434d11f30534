"""What a comparison found, and what its numbers mean: the texts of the report page."""

from __future__ import annotations

from gatescope.cells.registry import get
from gatescope.cells.roles import ROLES
from gatescope.comparison.figures import direction
from gatescope.datatypes import Stack
from gatescope.datatypes.comparison import CellMeasurements, Comparison
from gatescope.reporting.text import counted, listing, number, percent, steps


def findings(comparison: Comparison) -> list[str]:
    """Return what was found of each cell, a sentence each."""
    return [_finding(cell) for cell in comparison]


def _finding(cell: CellMeasurements) -> str:
    numbers = cell.numbers()
    gradient = numbers["gradient"]["joint"]
    half, rate = gradient["steps_to_half"], gradient["decay_rate_nats_per_step"]
    asymptotic = gradient["asymptotic_half_life_steps"]
    if half is None:
        text = f"more than half of the gradient is left after {counted(gradient['longest_lag'], 'step')}"
    else:
        text = f"half of the gradient is gone after {steps(half)}"
    if rate is None:
        text += f", and it has no single rate ({gradient['no_rate']})"
    elif asymptotic is None:
        text += f", and its tail does not decay ({number(rate)} nats per step)"
    else:
        text += f", and its tail halves every {steps(asymptotic)} ({number(rate)} nats per step)"
    saturated = numbers["saturation"]["saturated_fraction"]
    more = "" if saturated is None else f"; {percent(saturated)} of its gates' values are saturated"
    return f"{cell.label}: {text}{more}."


def untrained(comparison: Comparison) -> str:
    """Return which of the cells have initial weights, as their provenance says; empty if none has."""
    schemes: dict[str, list[str]] = {}
    for cell in comparison:
        model = cell.params
        layers = model.directions().values() if isinstance(model, Stack) else (model,)
        made = [params.provenance for params in layers]
        if all("scheme" in one and not one.get("replaced") for one in made):
            named_schemes = listing(dict.fromkeys(str(one["scheme"]) for one in made))
            schemes.setdefault(named_schemes, []).append(cell.label)
    if not schemes:
        return ""
    named = [f"{listing(labels)} ({scheme} initialization)" for scheme, labels in schemes.items()]
    return f"Untrained weights: {'; '.join(named)}. What they show is how training begins, not what a model has learnt."


def glossary(comparison: Comparison) -> list[tuple[str, str]]:
    """Return the terms of the page, and each cell's equations in the words of its own docstring."""
    cells = {trace.cell: get(trace.cell) for cell in comparison for trace, _ in cell.parts.values()}
    letters = dict.fromkeys(name for cell in cells.values() for name in (*cell.gates, *cell.states))
    roles = [f"{name}: {ROLES[name]}" for name in letters if name in ROLES]
    return [
        ("lag", "How many steps back a gradient reaches."),
        ("nats per step", "A rate: a norm that falls by r nats a step is multiplied by e^-r at every step."),
        ("steps to half", "The lag from which on less than half of the gradient is left."),
        (
            "asymptotic half-life",
            "ln 2 / rate: after so many further steps the tail of the gradient has halved.",
        ),
        ("whole state", "All numbers that a cell carries from a step to the next."),
        ("saturated gate", "A gate near 0 (shut) or near 1 (open), where it hardly reacts to its input."),
        *([("letters", "; ".join(roles))] if roles else []),
        *((name, cell.description) for name, cell in cells.items() if cell.description),
    ]


def notes(comparison: Comparison) -> list[str]:
    """Return what the numbers mean, a paragraph each."""
    first, sequences = comparison.cells[0], comparison.sequences
    left, right = first.thresholds
    batch = f" of all {sequences} sequences" if sequences > 1 else ""
    medians = " Of several sequences the table gives the median." if sequences > 1 else ""
    return [
        *filter(None, (comparison.scale_warning(), comparison.apart_text())),
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
        f"'h to h alone' and 'h to c alone' are of the output with respect to one state.{medians}"
        f"{_of_layers(comparison)}",
        f"A gate is saturated below {left:g} (shut) or above {right:g} (open); the "
        "fraction is over units, steps and the gates that, by the equations, go from 0 to 1.",
    ]


def _of_layers(comparison: Comparison) -> str:
    """Return what the gradient of a model of several layers is of, if there is one."""
    labels = [cell.label for cell in comparison if isinstance(cell.params, Stack)]
    if not labels:
        return ""
    return (
        f" Of {listing(labels)} the whole state is that of all layers together, and 'h to h alone' is of the output of "
        "the uppermost layer by that of the lowest, through all of them."
    )


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
