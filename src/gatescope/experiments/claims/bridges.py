"""From an LSTM to a GRU, equality by equality: statement 20."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from gatescope.cells.registry import get
from gatescope.datatypes import Array, Params
from gatescope.datatypes.verdict import UNDECIDED
from gatescope.experiments.claims.samples import make, noise, roundings
from gatescope.experiments.claims.statement import Finding, Scale, exact, statement
from gatescope.recurrence.run import run
from gatescope.reporting.text import listing

_APART = 1e-3 / np.finfo(np.float64).eps  # roundings, by which another cell is another
_FROM_GRU = {"z": "z", "g": "n", "o": "r"}  # whose rows the gates of a bridge get


def judge_bridges(equalities: Mapping[str, float], controls: Mapping[str, float]) -> Finding:
    """Return the finding on statement 20 of differences in roundings; controls have to differ by a thousandth."""
    finding = exact(equalities, controls)
    near = [name for name, apart in controls.items() if not apart > _APART]
    if not near or finding.judgement.word == UNDECIDED:
        return finding
    reason = f"{finding.judgement.reason}; less than 0.001 of the largest value: {listing(near)}"
    judgement = dataclasses.replace(finding.judgement, word=UNDECIDED, reason=reason)
    return dataclasses.replace(finding, judgement=judgement)


@statement(
    "20",
    "with f = 1 - z, i = z, o for r and no second tanh, LSTM and GRU are one recurrence but for what gates read",
    sources="Q5",
    criterion="Supported if a bridge whose gates read c, and whose o is that of the next step's inputs, is a GRU that "
    "resets before the product, with its weights; a bridge without one of both must be another cell, by a thousandth "
    "of the largest value, on inputs that vary.  On constant ones the difference of o has to die out.",
)
def bridges(scale: Scale) -> Finding:
    gru, x = make("gru_reset_before", scale), noise(scale)
    bridge, from_c = (_with_weights_of(gru, name) for name in ("lstm_bridge", "lstm_bridge_from_c"))
    states, c_from_c = run(gru, x).h, run(from_c, x).c
    # Long enough to come to rest: there the next step's inputs are this one's.
    still = np.broadcast_to(x[:1], (4 * scale.steps, *x.shape[1:]))
    resting, rest_from_c = run(gru, still).h, run(from_c, still).c
    return judge_bridges(
        {
            "gates read c, and o of the next inputs": roundings(_shifted(bridge, x, reads_c=True), states),
            "gates read c, constant inputs, at rest": roundings(rest_from_c[-1], resting[-1]),
        },
        {
            "gates read h": roundings(run(bridge, x).c, states),
            "gates read c": roundings(c_from_c, states),
            "o of the next inputs": roundings(_shifted(bridge, x, reads_c=False), states),
            "gates read c, constant inputs, on the way": roundings(rest_from_c, resting),
            "gates read h, constant inputs, at rest": roundings(run(bridge, still).c[-1], resting[-1]),
        },
    )


def _with_weights_of(gru: Params, name: str) -> Params:
    """Return a bridge with the weights of a GRU: z's negated, since a bridge writes with z."""
    arrays: dict[str, list[Array]] = {key: [] for key in gru.arrays()}
    for gate in get(name).gates:
        for key, rows in gru.gate(_FROM_GRU[gate]).items():
            arrays[key].append(-rows if gate == "z" else rows)
    joined: dict[str, Any] = {key: np.concatenate(parts) for key, parts in arrays.items()}
    return Params(cell=name, **joined)


def _shifted(params: Params, x: Array, *, reads_c: bool) -> Array:
    """Return c (T+1, B, H) of the bridge whose o is of the inputs of the next step, and reads the new c or the old h.

    The equations are the cell's; what they are given is changed.
    """
    cell, units = get(params.cell), params.hidden_size
    h = c = np.zeros((x.shape[1], units))
    states = [c]
    for step, inputs in enumerate(x):
        upcoming = x[step + 1] if step + 1 < len(x) else np.zeros_like(inputs)
        rows = {
            "z": _row(params, "z", inputs, c if reads_c else h),
            "g": _row(params, "g", inputs, h),
            "o": np.zeros_like(c),
        }
        for _ in range(2):  # the second time with o, for which c has to be there
            zeros = tuple(np.zeros_like(c) for _ in cell.gates)
            (h_new, c_new), _ = cell.step(tuple(rows[gate] for gate in cell.gates), zeros, (h, c))
            rows["o"] = _row(params, "o", upcoming, c_new if reads_c else h)
        h, c = h_new, c_new
        states.append(c)
    return np.array(states)


def _row(params: Params, gate: str, inputs: Array, state: Array) -> Array:
    rows = params.gate(gate)
    bias = rows["bias_ih"] + rows["bias_hh"]
    return np.asarray(inputs @ rows["weight_ih"].T + state @ rows["weight_hh"].T + bias)
