"""What the gates of a GRU do: statements 22 to 24 and 41."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from gatescope.cells.activations import sigmoid
from gatescope.datatypes import Array, Params, Trace
from gatescope.datatypes.verdict import EQUAL, SUPPORTED
from gatescope.experiments.claims.samples import GRUS, linear, make, noise, roundings, run_all, some_state
from gatescope.experiments.claims.statement import Finding, Scale, exact, statement
from gatescope.experiments.seeds.judge import judge_exact
from gatescope.reporting.text import number


@statement(
    "22",
    "z near 1 copies the old state (D, P's text), or writes the new one (Q5, P's table, A)",
    sources="D P Q5 A",
    criterion="Equal if z = 1 copies and z = 0 writes, and if Chung's form, (1 - z) h + z n, gives the same"
    " states with the rows of z negated.",
)
def two_conventions(scale: Scale) -> Finding:
    curve: Callable[[Array], Array] = sigmoid  # the one of all cells
    equalities, controls = {}, {}
    x = noise(scale)
    for name in GRUS:
        params, state = make(name, scale), some_state(name, scale)
        copied, written = (run_all(params, x, initial_state=state, clamp={"z": z}) for z in (1.0, 0.0))
        equalities[f"{name}: z = 1 copies"] = roundings(copied.final_state, state)
        equalities[f"{name}: z = 0 writes"] = roundings(written.outputs, written.gate("n"))
        controls[f"{name}: z = 0 copies"] = roundings(written.final_state, state)
        trace = run_all(params, x)
        h, n, before = trace.h[:-1], trace.gate("n"), _preactivation(params, trace, "z")
        for chung, sign, numbers in (("negated", -1, equalities), ("as they are", 1, controls)):
            z = curve(sign * before)
            numbers[f"{name}: (1 - z) h + z n, rows of z {chung}"] = roundings(
                (1 - z) * h + z * n, trace.h[1:]
            )
    judgement = judge_exact(equalities, controls)
    word = EQUAL if judgement.word == SUPPORTED else judgement.word
    return Finding(
        judgement=dataclasses.replace(judgement, word=word), equalities=equalities, controls=controls
    )


def _preactivation(params: Params, trace: Trace, gate: str) -> Array:
    """Return what a gate of a GRU is the sigmoid of, at every step, by NumPy."""
    rows = params.gate(gate)
    bias = rows["bias_ih"] + rows["bias_hh"]
    return np.asarray(trace.inputs @ rows["weight_ih"].T + trace.h[:-1] @ rows["weight_hh"].T + bias)


@statement(
    "23",
    "r near 0 keeps the old state out of the candidate",
    sources="D",
    criterion="Supported if with r = 0 another old state changes the candidate by nothing, and with r = 1 "
    "by something.",
)
def reset_shuts_the_candidate(scale: Scale) -> Finding:
    shut, open_ = ({name: _candidate_of_other_states(name, scale, r) for name in GRUS} for r in (0.0, 1.0))
    return exact(
        {f"{name}: candidate at r = 0": value for name, value in shut.items()},
        {f"{name}: candidate at r = 1": value for name, value in open_.items()},
    )


def _candidate_of_other_states(name: str, scale: Scale, r: float) -> float:
    params, x = make(name, scale), noise(scale)[:1]
    one, two = (
        run_all(params, x, initial_state=some_state(name, scale, seed), clamp={"r": r}).gate("n")
        for seed in (2, 3)
    )
    return roundings(one, two)


@statement(
    "24",
    "a GRU passes its whole state on without control",
    sources="D M",
    criterion="Supported if what a GRU puts out is all that it keeps, and an LSTM puts out less than it "
    "keeps.",
)
def no_output_gate(scale: Scale) -> Finding:
    traces = {name: run_all(make(name, scale), noise(scale)) for name in (*GRUS, "lstm")}
    closed = run_all(make("lstm", scale), noise(scale), clamp={"o": 0.0})
    equalities = {
        f"{name}: the whole state is the output": roundings(
            traces[name].states[1:].reshape(-1), traces[name].outputs.reshape(-1)
        )
        for name in GRUS
    }
    equalities["lstm: nothing comes out at o = 0"] = roundings(closed.outputs, np.zeros_like(closed.outputs))
    return exact(
        equalities,
        {
            "lstm: its memory is the output": roundings(traces["lstm"].c[1:], traces["lstm"].outputs),
            "lstm: its memory is 0 at o = 0": roundings(closed.c[1:], np.zeros_like(closed.c[1:])),
        },
    )


@statement(
    "41",
    "the reset gate decides how much of the past is forgotten",
    sources="P A",
    criterion="Contradicted if what a unit keeps of its old state is z, the same for r = 0 and r = 1, and the "
    "state is still there after all steps at r = 0, z = 1.  What the candidate sees of the past, which r does decide "
    "(23), is told beside it.",
)
def reset_forgets_nothing(scale: Scale) -> Finding:
    equalities, controls, seen = {}, {}, []
    x = noise(scale)
    for name in GRUS:
        params, state = make(name, scale), some_state(name, scale)
        direct = {
            (r, z): linear(params, run_all(params, x[:1], initial_state=state, clamp={"r": r, "z": z})).direct
            for r, z in ((0.0, 0.5), (1.0, 0.5), (1.0, 0.75))
        }
        equalities[f"{name}: kept of the old state, r = 0 and 1"] = roundings(
            direct[0.0, 0.5], direct[1.0, 0.5]
        )
        for r in (0.0, 1.0):
            trace = run_all(params, x, initial_state=state, clamp={"r": r})
            kept_by_units = linear(params, trace).direct[..., 0, 0, :]
            equalities[f"{name}: kept of the old state, and z, r = {r:g}"] = roundings(
                kept_by_units, trace.gate("z")
            )
        after = run_all(params, x, initial_state=state, clamp={"r": 0.0, "z": 1.0}).final_state
        equalities[f"{name}: the state at the end, r = 0 and z = 1"] = roundings(after, state)
        controls[f"{name}: kept of the old state, z = 0.5 and 0.75"] = roundings(
            direct[0.0, 0.5], direct[1.0, 0.75]
        )
        seen += [_candidate_of_other_states(name, scale, r) for r in (0.0, 1.0)]
    finding = exact(equalities, controls, supports=False)
    shut, open_ = max(seen[::2]), min(seen[1::2])
    reason = (
        f"{finding.judgement.reason}; the candidate, all that is left at z = 0, sees the old state by "
        f"{number(shut)} roundings at r = 0, and by {number(open_)} at r = 1"
    )
    return dataclasses.replace(finding, judgement=dataclasses.replace(finding.judgement, reason=reason))
