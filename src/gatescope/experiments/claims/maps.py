"""Where gradients vanish and explode over the scale of the weights: statements 14b, 15a and 15c."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from gatescope.datatypes import Array
from gatescope.datatypes.verdict import ALIKE, CONTRADICTED, ONLY, OTHER, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.measured import QUIET, Mean, finding, mean, names, noise_of, word_of
from gatescope.experiments.claims.statement import Finding, Scale, statement
from gatescope.measurements.phase_diagram import phase_diagram
from gatescope.recurrence.initialization import init_stack
from gatescope.recurrence.run import backprop, run
from gatescope.reporting.text import number, percent, with_error
from gatescope.tasks import adding

_VANISHING = (0.25, 0.5, 1.0, 2.0, 4.0)
_BIASES = (-3.0, -1.0, 0.0, 1.0, 3.0, 5.0)
_RATE = 0.1  # nats a step: half of the gradient is gone after 7
_EXPLODING = tuple(2.0 ** (k / 2) for k in range(-2, 9))  # 0.5 to 16
_UP_TO = 4.0  # a gain up to which nothing explodes in what deals with it
_CELLS = ("lstm", "gru", "rnn")


def _exponents(cell: str, scale: Scale, gains: Sequence[float], biases: Sequence[float]) -> Array:
    """Return the leading exponents (seeds, G, N) of networks with Gaussian weights and quiet inputs."""
    steps = scale.long_steps // 4
    return np.array(
        [
            phase_diagram(
                cell,
                gain=gains,
                bias=biases,
                hidden_size=scale.many_units,
                inputs=noise_of(seed, steps, QUIET),
                seed=seed,
            ).exponent[0]
            for seed in range(scale.seeds)
        ]
    )


def judge_vanishing(
    exponents: Mapping[str, Array], gains: Sequence[float], biases: Sequence[float]
) -> Finding:
    """Return what exponents (seeds, G, N) of both cells say of statement 14b."""
    shares, rates = {}, {}
    for cell, values in exponents.items():
        points = {(g, b): mean(-values[:, i, j]) for i, g in enumerate(gains) for j, b in enumerate(biases)}
        shares[cell] = sum(rate.above(_RATE) for rate in points.values()) / len(points)
        rates[cell] = points
    near = {at: rate for at, rate in rates["gru"].items() if 0.5 <= at[0] <= 2 and abs(at[1]) <= 1}
    word = word_of(
        supported=any(rate.above(_RATE) for rate in near.values()),
        contradicted=all(rate.below(_RATE) for rate in near.values()),
    )
    gru, lstm = shares["gru"], shares["lstm"]
    which = ONLY if lstm < gru / 2 else OTHER if gru < lstm / 2 else ALIKE
    at, fastest = max(near.items(), key=lambda pair: pair[1].value)
    reason = (
        f"at gain {at[0]:g} and bias {at[1]:g} of z the rate is {with_error(*fastest)}; above {_RATE} by 3 errors it "
        f"is at {percent(gru)} of the map, an LSTM's at {percent(lstm)}"
    )
    measured = {
        f"{cell}, gain {g:g}, bias {b:g}: rate": rate
        for cell, points in rates.items()
        for (g, b), rate in points.items()
    }
    distinguishes = which if word == SUPPORTED else ""
    return finding(word, reason, measured, len(exponents["gru"]), distinguishes=distinguishes)


@statement(
    "14b",
    "a GRU's gradient vanishes if its weights are badly initialized",
    sources="A",
    kind="measured",
    criterion="500 steps of quiet inputs, N(0, 0.1), gains of 0.25 to 4 and biases of the memory gate of -3 "
    "to 5: supported if the rate is above 0.1 nats a step, by 3 standard errors, at a gain of 0.5 to 2 "
    "and a bias of -1 to 1; contradicted if it is below at all of these.  Of a GRU only, if an LSTM's "
    "is above at less than half as many points of the map.",
)
def vanishing(scale: Scale) -> Finding:
    cells = ("gru", "lstm")
    exponents = {cell: _exponents(cell, scale, _VANISHING, _BIASES) for cell in cells}
    return judge_vanishing(exponents, _VANISHING, _BIASES)


def thresholds(gains: Sequence[float], exponents: Array) -> Array:
    """Return from which gain on (seeds,) each network's exponent (seeds, G) is above 0, between gains by their ln.

    The greatest gain stands for one that is not reached; of one that is above 0 from the first gain on, that.
    """
    edges = []
    for row in exponents:
        above = np.flatnonzero(row > 0)
        if not above.size:
            edges.append(gains[-1])
        elif above[0] == 0:
            edges.append(gains[0])
        else:
            pair = slice(above[0] - 1, above[0] + 1)
            edges.append(float(np.exp(np.interp(0.0, row[pair], np.log(gains[pair])))))
    return np.array(edges)


@lru_cache(maxsize=2)
def _growth(scale: Scale) -> dict[str, Array]:
    return {cell: _exponents(cell, scale, _EXPLODING, (0.0,))[:, :, 0] for cell in _CELLS}


def _edges(gains: Sequence[float], exponents: Mapping[str, Array]) -> dict[str, Mean]:
    """Return the exponents at each gain, the gains from which on they are above 0, and these over the LSTM's."""
    measured = {
        f"{cell}, gain {gain:.3g}: leading exponent": mean(values[:, k])
        for cell, values in exponents.items()
        for k, gain in enumerate(gains)
    }
    edges = {cell: thresholds(gains, values) for cell, values in exponents.items()}
    measured |= {f"{cell}: gain from which on it explodes": mean(edge) for cell, edge in edges.items()}
    measured |= {
        f"{cell}: ln of that gain over the LSTM's": mean(np.log(edge / edges["lstm"]))
        for cell, edge in edges.items()
        if cell != "lstm"
    }
    return measured


def judge_explodes(gains: Sequence[float], exponents: Mapping[str, Array]) -> Finding:
    """Return what exponents (seeds, G) say of statement 15a."""
    measured = _edges(gains, exponents)
    grows = {
        cell: [g for g in gains if measured[f"{cell}, gain {g:.3g}: leading exponent"].above()]
        for cell in exponents
    }
    own = [measured[f"lstm, gain {g:.3g}: leading exponent"] for g in gains]
    word = word_of(supported=bool(grows["lstm"]), contradicted=all(exponent.below() for exponent in own))
    which = ""
    others = [cell for cell in exponents if cell != "lstm"]
    earlier = [cell for cell in others if measured[f"{cell}: ln of that gain over the LSTM's"].below()]
    if word == SUPPORTED:
        which = OTHER if earlier else ALIKE if any(grows[cell] for cell in others) else ONLY
    edges = names(
        f"{cell} {with_error(*measured[f'{cell}: gain from which on it explodes'])}"
        if grows[cell]
        else f"{cell} none"
        for cell in exponents
    )
    reason = (
        f"gains from which on the leading exponent is above 0, biases 0: {edges}; before the LSTM's by 3 errors: "
        f"{names(earlier)}"
    )
    return finding(word, reason, measured, len(exponents["lstm"]), distinguishes=which)


@statement(
    "15a",
    "an LSTM's gradient explodes if its weights are badly initialized",
    sources="A",
    kind="measured",
    criterion="500 steps of quiet inputs, N(0, 0.1).  Supported if an LSTM's leading exponent is above 0 by "
    "3 standard errors at some gain of 0.5 to 16; contradicted if it is below by 3 at all.  The other "
    "cell more, if a GRU's or an RNN's is above 0 from a smaller gain on, by 3 errors.",
)
def explodes(scale: Scale) -> Finding:
    judged = judge_explodes(_EXPLODING, _growth(scale))
    return dataclasses.replace(judged, measured={**judged.measured, **_first_gradients(scale)})


def _first_gradients(scale: Scale) -> dict[str, Mean]:
    """Return log10 of the norm of the first gradient of all weights, on the adding problem of 100 steps."""
    measured = {}
    for cell in _CELLS:
        for gain in (1.0, 4.0, 16.0):
            norms = []
            for seed in range(scale.seeds):
                task = adding(steps=100, sequences=1, seed=seed, dtype="float64")
                stack = init_stack(
                    cell,
                    hidden_size=scale.many_units,
                    heads=task,
                    seed=seed,
                    scheme=f"gaussian({gain})",
                    dtype="float64",
                )
                trace = run(stack, task.inputs)
                slope = np.where(task.mask[..., None], 2 * (trace.outputs - task.targets), 0.0)
                gradients = backprop(stack, trace, output_adjoint=slope).params
                arrays = [*gradients.arrays().values(), *gradients.layers[0].arrays().values()]
                norms.append(np.log10(np.sqrt(sum(np.square(array).sum() for array in arrays))))
            measured[f"{cell}, gain {gain:g}: log10 of the first gradient on adding"] = mean(norms)
    return measured


def judge_deals(gains: Sequence[float], exponents: Mapping[str, Array]) -> Finding:
    """Return what exponents (seeds, G) of LSTM and RNN say of statement 15c."""
    measured = _edges(gains, {cell: exponents[cell] for cell in ("lstm", "rnn")})
    low = {
        gain: measured[f"lstm, gain {gain:.3g}: leading exponent"] for gain in gains if gain <= _UP_TO + 1e-9
    }
    exploding = [f"{gain:.3g}" for gain, exponent in low.items() if exponent.above()]
    later = measured["rnn: ln of that gain over the LSTM's"].below()
    nothing = all(exponent.below() for exponent in low.values())
    word = CONTRADICTED if exploding else SUPPORTED if later and nothing else UNDECIDED
    edges = {
        cell: with_error(*measured[f"{cell}: gain from which on it explodes"]) for cell in ("lstm", "rnn")
    }
    reason = (
        f"an LSTM's gradient explodes from gain {edges['lstm']} on, an RNN's from {edges['rnn']}; of gains up to "
        f"{number(_UP_TO)} by 3 errors at: {names(exploding)}"
    )
    return finding(word, reason, measured, len(exponents["lstm"]))


@statement(
    "15c",
    "an LSTM deals with the exploding gradient",
    sources="Q2",
    kind="measured",
    criterion="500 steps of quiet inputs, N(0, 0.1).  Supported if it explodes from a greater gain on than "
    "an RNN, by 3 standard errors, and at none up to 4; contradicted if at one up to 4 its leading "
    "exponent is above 0 by 3 errors.",
)
def deals(scale: Scale) -> Finding:
    return judge_deals(_EXPLODING, _growth(scale))
