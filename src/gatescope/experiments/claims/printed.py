"""What the student paper prints, word for word: statements 29, 30 and 31."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np

from gatescope.cells.registry import get
from gatescope.datatypes import Array, Effect
from gatescope.datatypes.verdict import CANNOT_RUN, CONTRADICTED, EQUAL, MISPRINT, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.samples import make, noise, roundings, step_by_step
from gatescope.experiments.claims.statement import Finding, Scale, statement
from gatescope.experiments.claims.study import Study
from gatescope.experiments.claims.variant_cells import AS_PRINTED, chosen, effect_of
from gatescope.experiments.claims.win_table import ADDING_100
from gatescope.experiments.seeds.judge import Judgement, judge, judge_exact
from gatescope.recurrence.run import backprop, run
from gatescope.reporting.text import listing


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


def judge_no_cell(judgement: Judgement, adding: Effect | None) -> Judgement:
    """Return what the gradients, and how adding is learnt over an LSTM if that is known, say of statement 30."""
    if judgement.word != SUPPORTED:
        return judgement
    word, parts = MISPRINT, [judgement.reason]
    if adding is not None:
        learnt = judge([adding], claim="higher")
        parts.append(f"on adding, over an LSTM: {learnt.word}, {learnt.reason}")
        if learnt.word in (EQUAL, CONTRADICTED):
            word = UNDECIDED
            parts.append("it learns as well, so that it may be a cell of its own")
    return dataclasses.replace(judgement, word=word, reason="; ".join(parts))


@statement(
    "30",
    "the output of an LSTM is o times the candidate, and there is no cell state",
    sources="P",
    criterion="A misprint if, as printed, the input and the forget gate get no gradient whatever, "
    "so that neither can learn; the other gates, and all of an LSTM's, must get one.  Undecided if it learns adding as "
    "well as an LSTM does, inside a margin of 1.25 times the updates, or better.",
    suite="V",
    after_training=True,
)
def no_cell(scale: Scale, study: Study | None = None) -> Finding:
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
    exactly = judge_exact(shut, controls)
    finding = Finding(judgement=judge_no_cell(exactly, None), equalities=shut, controls=controls)
    if study is None:
        return finding
    learnt = effect_of(study, ADDING_100, "lstm", AS_PRINTED)
    return dataclasses.replace(
        finding,
        judgement=judge_no_cell(exactly, learnt),
        effects=(learnt,),
        tuned=chosen(study, [(ADDING_100, "lstm"), (ADDING_100, AS_PRINTED)]),
        preliminary=study.preliminary,
    )


PRINTED = frozenset("rz")  # the symbols of a GRU that P gives an equation


def symbols_of(cell: str) -> frozenset[str]:
    """Return what the equations of a cell define: its gates, its candidate, and its new states, with a dash.

    Examples
    --------
    >>> from gatescope.experiments.claims.printed import symbols_of
    >>> sorted(symbols_of("gru"))
    ["h'", 'n', 'r', 'z']
    """
    equations = get(cell)
    return frozenset(equations.gates) | {f"{state}'" for state in equations.states}


def judge_missing(
    missing: Collection[str], equalities: Mapping[str, float], controls: Mapping[str, float]
) -> Finding:
    """Return what is said of statement 31 by the symbols that have no equation, and by what biases do."""
    judgement = judge_exact(equalities, controls)
    if judgement.word == SUPPORTED and missing:
        parts = [
            f"no equation for {listing(sorted(missing))}",
            "with the standard ones it runs, with biases or without",
        ]
        says = f"{'; '.join(parts)}, which are different functions: {judgement.reason}"
        judgement = dataclasses.replace(judgement, word=CANNOT_RUN, reason=says)
    return Finding(judgement=judgement, equalities=equalities, controls=controls)


@statement(
    "31",
    "the equations of a GRU, as printed, are those of a GRU",
    sources="P",
    kind="documentary",
    criterion="As stated it cannot be run if a symbol that a step needs has no equation, and if the standard ones in "
    "its place leave open which function is meant: with biases and without, which P does not print, must differ.",
)
def printed_gru(scale: Scale) -> Finding:
    params, x = make("gru", scale), noise(scale)
    none = np.zeros_like(params.bias_ih)
    without = dataclasses.replace(params, bias_ih=none, bias_hh=none.copy())
    silence = np.zeros_like(x)
    states = {name: run(each, silence).states for name, each in (("with", params), ("without", without))}
    zero = np.zeros_like(states["with"])
    return judge_missing(
        symbols_of("gru") - PRINTED,
        {"gru without biases: its state where nothing comes in, and 0": roundings(states["without"], zero)},
        {
            "gru with biases: its state where nothing comes in, and 0": roundings(states["with"], zero),
            "gru: states with biases and without": roundings(run(params, x).states, run(without, x).states),
        },
    )
