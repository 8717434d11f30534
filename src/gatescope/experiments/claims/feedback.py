"""What is fed back, and over sequences of which length: statements 16, 33a and 46."""

from __future__ import annotations

import dataclasses

import numpy as np

from gatescope.datatypes import Params
from gatescope.datatypes.verdict import ALIKE
from gatescope.experiments.claims.samples import (
    GRUS,
    effect_of_the_past,
    make,
    noise,
    roundings,
    step_by_step,
    without_recurrence,
)
from gatescope.experiments.claims.statement import Finding, Scale, exact, statement
from gatescope.recurrence.run import backprop, run
from gatescope.reporting.text import counted


@statement(
    "16",
    "an LSTM handles sequences of different lengths",
    sources="A",
    criterion="Supported if every sequence of a padded batch gives the states that it gives alone, and the "
    "gradient of the batch is the sum of theirs; it says something of the LSTM if the other cells"
    " do not.",
)
def lengths(scale: Scale) -> Finding:
    equalities: dict[str, float] = {}
    controls: dict[str, float] = {}
    for name in ("lstm", "rnn", *GRUS):
        params, x = make(name, scale), noise(scale)
        sizes = np.linspace(scale.steps // 3, scale.steps, scale.sequences).astype(int)
        batch, whole = run(params, x, lengths=sizes), run(params, x)
        alone = [run(params, x[:size, [b]]) for b, size in enumerate(sizes)]
        final = np.concatenate([trace.final_state for trace in alone])
        equalities[f"{name}: last states"] = roundings(batch.final_state, final)
        controls[f"{name}: last states without lengths"] = roundings(whole.final_state, final)
        ones = np.ones_like(final)
        together = backprop(params, batch, final_adjoint=ones).params.weight_hh
        each = [backprop(params, trace, final_adjoint=ones[:1]).params.weight_hh for trace in alone]
        equalities[f"{name}: gradient"] = roundings(together, sum(each))
    return exact(equalities, controls, distinguishes=ALIKE)


@statement(
    "33a",
    "an Elman network feeds back its outputs",
    sources="A",
    criterion="Elman's of 1990 fed back its hidden state, which documents say; Jordan's of 1986 its outputs.  "
    "Contradicted if a network that feeds back a linear read-out of its state, with a bias, is an Elman network with a "
    "recurrent matrix of the read-out's rank, which an Elman network's is not.",
)
def jordan(scale: Scale) -> Finding:
    params, outputs = make("rnn", scale), max(1, scale.units // 4)
    rng = np.random.default_rng(4)
    read_out = rng.uniform(-1, 1, (outputs, scale.units)) / np.sqrt(scale.units)
    back = rng.uniform(-1, 1, (scale.units, outputs)) / np.sqrt(outputs)
    bias = rng.uniform(-1, 1, outputs)
    x = noise(scale)
    fed_back = step_by_step(
        params, x, lambda rh, h: ((h @ read_out.T + bias) @ back.T + params.bias_hh)[None]
    )
    elman = dataclasses.replace(params, weight_hh=back @ read_out, bias_hh=params.bias_hh + back @ bias)
    ranks = [np.linalg.matrix_rank(each.weight_hh) for each in (elman, params)]
    finding = exact(
        {
            "states": roundings(run(elman, x).states, fed_back),
            "rank and outputs": roundings(ranks[0], outputs),
        },
        {
            "states of another Elman network": roundings(run(params, x).states, fed_back),
            "its rank and outputs": roundings(ranks[1], outputs),
        },
        supports=False,
    )
    reason = (
        f"{finding.judgement.reason}; with {counted(outputs, 'output')} fed back the recurrent matrix has rank "
        f"{ranks[0]}, an Elman network's {ranks[1]}; of a layer whose outputs are its hidden state, as in today's "
        "libraries, the two are one"
    )
    return dataclasses.replace(finding, judgement=dataclasses.replace(finding.judgement, reason=reason))


@statement(
    "46",
    "feedback loops let recurrent networks keep information",
    sources="Q1 Q0",
    criterion="Supported if without recurrent weights an RNN's state has nothing of the step before, and an"
    " LSTM's and a GRU's only what their own loop brings: nothing once f = 0 and z = 0.",
)
def loops(scale: Scale) -> Finding:
    x, step = noise(scale), scale.steps // 2

    def seen(params: Params, state: str = "h", **clamp: float) -> float:
        return effect_of_the_past(params, x, step=step, of=state, clamp=clamp or None)

    cut = {name: without_recurrence(make(name, scale)) for name in ("rnn", "lstm", "gru")}
    return exact(
        {
            "rnn without its weights": seen(cut["rnn"]),
            "gru without them, z = 0": seen(cut["gru"], z=0.0),
            "lstm without them, f = 0": seen(cut["lstm"], "c", f=0.0),
        },
        {
            "rnn": seen(make("rnn", scale)),
            "gru without them": seen(cut["gru"]),
            "lstm without them": seen(cut["lstm"], "c"),
        },
    )
