"""What the student paper prints, word for word: statements 29 and 30."""

from __future__ import annotations

import dataclasses

import numpy as np

from gatescope.cells.registry import get
from gatescope.datatypes import Array
from gatescope.datatypes.verdict import MISPRINT, SUPPORTED
from gatescope.experiments.claims.samples import make, noise, roundings, step_by_step
from gatescope.experiments.claims.statement import Finding, Scale, statement
from gatescope.experiments.seeds.judge import judge_exact
from gatescope.recurrence.run import backprop, run


@statement(
    "29",
    "the input gate of an LSTM subtracts 1",
    sources="P",
    criterion="A misprint, of h at t - 1, if both ways to read it, 1 less of the gate's sum and 1 less of "
    "each h, are an LSTM with another bias of that gate: the same functions.",
)
def subtracts_one(scale: Scale) -> Finding:
    params, x = make("lstm", scale), noise(scale)
    row = get("lstm").gates.index("i")
    rows = slice(row * scale.units, (row + 1) * scale.units)
    weight = params.weight_hh[rows]
    equalities, controls = {}, {}
    for name, shift in (
        ("1 less of the sum", np.ones(scale.units)),
        ("1 less of each h", weight.sum(axis=1)),
    ):

        def printed(rh: Array, h: Array, shift: Array = shift) -> Array:
            changed = rh.copy()
            changed[row] -= shift
            return changed

        bias = params.bias_hh.copy()
        bias[rows] -= shift
        states = step_by_step(params, x, printed)
        equalities[name] = roundings(run(dataclasses.replace(params, bias_hh=bias), x).states, states)
        controls[f"{name}, and no other bias"] = roundings(run(params, x).states, states)
    judgement = judge_exact(equalities, controls)
    if judgement.word == SUPPORTED:
        judgement = dataclasses.replace(judgement, word=MISPRINT)
    return Finding(judgement=judgement, equalities=equalities, controls=controls)


@statement(
    "30",
    "the output of an LSTM is o times the candidate, and there is no cell state",
    sources="P",
    criterion="A misprint if, as printed, the input and the forget gate get no gradient whatever, "
    "so that neither can learn; the other gates, and all of an LSTM's, must get one.",
)
def no_cell(scale: Scale) -> Finding:
    x = noise(scale)
    norms = {}
    for name in ("lstm_as_printed", "lstm"):
        params = make(name, scale)
        adjoint = np.ones((scale.steps, scale.sequences, scale.units))
        gradient = backprop(params, run(params, x), output_adjoint=adjoint).params
        for gate in get(name).gates:
            rows = gradient.gate(gate)["weight_hh"]
            norms[name, gate] = roundings(rows, np.zeros_like(rows))
    shut = {f"lstm_as_printed: gradient of {gate}": norms["lstm_as_printed", gate] for gate in ("i", "f")}
    others = [
        ("lstm_as_printed", "g"),
        ("lstm_as_printed", "o"),
        *(("lstm", gate) for gate in ("i", "f", "g", "o")),
    ]
    controls = {f"{name}: gradient of {gate}": norms[name, gate] for name, gate in others}
    judgement = judge_exact(shut, controls)
    if judgement.word == SUPPORTED:
        judgement = dataclasses.replace(judgement, word=MISPRINT)
    return Finding(judgement=judgement, equalities=shut, controls=controls)
