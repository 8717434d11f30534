"""What the gates of an LSTM do, and what they see: statements 32 and 38 to 40."""

from __future__ import annotations

import dataclasses

import numpy as np

from gatescope.cells.registry import get
from gatescope.datatypes.verdict import MIXED, SUPPORTED
from gatescope.experiments.claims.samples import (
    effect_of_the_past,
    linear,
    make,
    noise,
    roundings,
    run_all,
    some_state,
)
from gatescope.experiments.claims.statement import Finding, Scale, exact, statement
from gatescope.experiments.seeds.judge import ROUNDINGS, judge_exact
from gatescope.reporting.text import number


@statement(
    "32a",
    "the input gate of an LSTM and the reset gate of a GRU act at different places",
    sources="D",
    criterion="Supported if i scales what is written by the inputs as by the past, and r what comes from "
    "the past alone.",
)
def different_places(scale: Scale) -> Finding:
    equalities, controls = {}, {}
    x = noise(scale)[:1]
    whole = _derivatives("lstm", scale, x, "i", 1.0)
    for gate in (0.5, 0.0):
        inputs, past = _derivatives("lstm", scale, x, "i", gate)
        equalities[f"lstm: write by the inputs, i = {gate}"] = roundings(inputs, gate * whole[0])
        equalities[f"lstm: write by the past, i = {gate}"] = roundings(past, gate * whole[1])
        inputs, past = _derivatives("gru", scale, x, "r", gate)
        equalities[f"gru: candidate by the past, r = {gate}"] = roundings(past, gate * inputs)
        controls[f"gru: candidate by the inputs, r = {gate}"] = roundings(inputs, gate * inputs)
    return exact(equalities, controls)


def _derivatives(
    name: str, scale: Scale, x: np.ndarray, gate: str, value: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the derivatives of the last state by the candidate's part of the inputs, and by that of the past."""
    params, candidate = make(name, scale), {"lstm": "g", "gru": "n"}[name]
    # From a state of 0 the candidate is the same whatever the gate is.
    trace = run_all(
        dataclasses.replace(params, bias_hh=np.zeros_like(params.bias_hh)), x, clamp={gate: value}
    )
    step, row = linear(params, trace), get(name).gates.index(candidate)
    return step.wx[..., -1, row, :], step.rh[..., -1, row, :]


@statement(
    "32b",
    "an LSTM computes its new memory without control of the moment before",
    sources="D",
    criterion="Contradicted if the candidate does not see the inputs of the step before at o = 0, but does "
    "at o = 1.",
)
def output_gate_controls_the_candidate(scale: Scale) -> Finding:
    params, x = make("lstm", scale), noise(scale)
    seen = {
        o: effect_of_the_past(params, x, step=scale.steps // 2, of="g", clamp={"o": o})
        for o in (0.0, 0.5, 1.0)
    }
    return exact(
        {"candidate by the inputs before, o = 0": seen[0.0]},
        {f"candidate by the inputs before, o = {o}": seen[o] for o in (0.5, 1.0)},
        supports=False,
    )


@statement(
    "38",
    "the gates of an LSTM depend on the input and the cell state; the output gate on the cell's content",
    sources="M P",
    criterion="Contradicted if with another c and the same h no gate of that step changes; with another h "
    "they must, and with peepholes.",
)
def gates_see_h(scale: Scale) -> Finding:
    seen = {name: _gates_by_states(name, scale) for name in ("lstm", "lstm_peephole")}
    finding = exact(
        {f"lstm: {gate} by c": seen["lstm"][gate, "c"] for gate in ("i", "f", "o")},
        {
            **{f"lstm: {gate} by h": seen["lstm"][gate, "h"] for gate in ("i", "f", "o")},
            **{f"lstm_peephole: {gate} by c": seen["lstm_peephole"][gate, "c"] for gate in ("i", "f", "o")},
        },
        supports=False,
    )
    later = _gates_by_states("lstm", scale, step=1)
    through_h = number(min(later[gate, "c"] for gate in ("i", "f", "o")))
    reason = f"{finding.judgement.reason}; a step later they do, through h, by at least {through_h} roundings"
    return dataclasses.replace(finding, judgement=dataclasses.replace(finding.judgement, reason=reason))


def _gates_by_states(name: str, scale: Scale, *, step: int = 0) -> dict[tuple[str, str], float]:
    """Return how far each gate is from itself, at a step, where one of the states at first is another, in roundings."""
    params, x, state = make(name, scale), noise(scale)[: step + 1], some_state(name, scale)
    other, seen = some_state(name, scale, seed=3), {}
    for index, changed in enumerate(get(name).states):
        changed_state = state.copy()
        changed_state[:, index] = other[:, index]
        one, two = (run_all(params, x, initial_state=each) for each in (state, changed_state))
        for gate in ("i", "f", "o"):
            seen[gate, changed] = roundings(one.gate(gate)[step], two.gate(gate)[step])
    return seen


@statement(
    "39",
    "the first gate says what the hidden state forgets",
    sources="M",
    criterion="Contradicted if no part of h is carried on directly, and of c the fraction f.",
)
def the_cell_forgets(scale: Scale) -> Finding:
    params = make("lstm", scale)
    trace = run_all(params, noise(scale))
    direct = linear(params, trace).direct
    h_to_h, c_to_c = direct[..., 0, 0, :], direct[..., 1, 1, :]
    return exact(
        {
            "h carried on": roundings(h_to_h, np.zeros_like(h_to_h)),
            "c carried on, and f": roundings(c_to_c, trace.gate("f")),
        },
        {"c carried on": roundings(c_to_c, np.zeros_like(c_to_c))},
        supports=False,
    )


@statement(
    "40a",
    "the input gate controls what enters the cell",
    sources="Q1 P D A",
    criterion="Supported if with i = 0 the cell state is f times the old one, whatever the inputs.",
)
def input_gate(scale: Scale) -> Finding:
    params, x = make("lstm", scale), noise(scale)
    traces = {
        i: run_all(params, x, initial_state=some_state("lstm", scale), clamp={"i": i}) for i in (0.0, 1.0)
    }
    apart = {i: roundings(trace.c[1:], trace.gate("f") * trace.c[:-1]) for i, trace in traces.items()}
    return exact({"c and f times c, i = 0": apart[0.0]}, {"c and f times c, i = 1": apart[1.0]})


@statement(
    "40b",
    "the output gate controls what is put out",
    sources="Q1 P D A",
    criterion="Supported if with o = 0 the output is 0 while the cell state moves.",
)
def output_gate(scale: Scale) -> Finding:
    trace = run_all(make("lstm", scale), noise(scale), clamp={"o": 0.0})
    zero = np.zeros_like(trace.outputs)
    return exact(
        {"output, o = 0": roundings(trace.outputs, zero)}, {"cell state, o = 0": roundings(trace.c[1:], zero)}
    )


@statement(
    "40c",
    "the forget gate controls what is forgotten",
    sources="Q1 P D A",
    criterion="Supported if at f = 0 nothing of the step before is in the cell state; mixed if nothing is "
    "left of the old cell state, but the past comes in through h; contradicted if the old cell "
    "state is still there.",
)
def forget_gate(scale: Scale) -> Finding:
    params, x, step = make("lstm", scale), noise(scale), scale.steps // 2
    shut = run_all(params, x, clamp={"f": 0.0})
    carried = linear(params, shut).direct[..., 1, 1, :]
    equalities = {
        "old cell state carried on, f = 0": roundings(carried, np.zeros_like(carried)),
        "cell state by the inputs before, f = o = 0": effect_of_the_past(
            params, x, step=step, of="c", clamp={"f": 0.0, "o": 0.0}
        ),
    }
    controls = {
        "cell state by the inputs before, f = 1": effect_of_the_past(
            params, x, step=step, of="c", clamp={"f": 1.0}
        )
    }
    judgement = judge_exact(equalities, controls)
    through_h = effect_of_the_past(params, x, step=step, of="c", clamp={"f": 0.0})
    if judgement.word == SUPPORTED and through_h > ROUNDINGS:
        seen = number(through_h)
        reason = f"{judgement.reason}; at f = 0 the past still comes in through h, by {seen} roundings"
        judgement = dataclasses.replace(judgement, word=MIXED, reason=reason)
    return Finding(judgement=judgement, equalities=equalities, controls=controls)
