"""What decides how long something is kept: statement 45."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gatescope.datatypes import Array
from gatescope.datatypes.verdict import MIXED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.measured import Mean, draws, exponents_of, finding, mean, noise_of, word_of
from gatescope.experiments.claims.statement import Finding, Scale, statement
from gatescope.reporting.text import with_error
from gatescope.tasks import laser

_INPUTS = ("0", "N(0, 0.3)", "N(0, 1)", "N(0, 3)", "laser")
_QUIETEST, _USUAL, _LOUDEST = 0, 2, 3
_SAME = 0.1  # of the rate: a smaller change is none that matters


def judge_decides(rates: Mapping[str, Mapping[str, Array]]) -> Finding:
    """Return what rates (seeds, inputs) by cell and scheme say of statement 45.

    Which pairs are compared is fixed: the loudest inputs and none, and the first and the last scheme.
    """
    measured: dict[str, Mean] = {}
    apart: dict[str, dict[str, bool]] = {"inputs": {}, "weights": {}}
    alike: dict[str, dict[str, bool]] = {"inputs": {}, "weights": {}}

    def compare(by: str, name: str, difference: Array, rate: float) -> None:
        change = measured[name] = mean(difference)
        apart[by][name] = change.above() or change.below()
        # Alike: both ends of three errors lie inside the margin.
        margin = float(_SAME * abs(rate))
        alike[by][name] = change.below(margin) and change.above(-margin)

    for cell, schemes in rates.items():
        for scheme, values in schemes.items():
            for k, inputs in enumerate(_INPUTS):
                measured[f"{cell}, {scheme}, inputs {inputs}: rate"] = mean(values[:, k])
            louder = _less(values[:, _LOUDEST], values[:, _QUIETEST])
            name = f"{cell}, {scheme}: rate at inputs {_INPUTS[_LOUDEST]} less that at 0"
            compare("inputs", name, louder, values[:, _QUIETEST].mean())
        first, *_, last = schemes
        usual = schemes[first][:, _USUAL]
        name = f"{cell}, inputs {_INPUTS[_USUAL]}: rate of {last} less that of {first}"
        compare("weights", name, _less(schemes[last][:, _USUAL], usual), usual.mean())
    decided = {by: word_of(supported=_most(apart[by]), contradicted=_most(alike[by])) for by in apart}
    words = set(decided.values())
    word = words.pop() if len(words) == 1 else UNDECIDED if UNDECIDED in words else MIXED
    counts = (
        f"{by} change the rate by 3 errors in {sum(apart[by].values())} of {len(apart[by])} comparisons, in "
        f"{sum(alike[by].values())} it is the same to a tenth"
        for by in apart
    )
    changes = [m for by in apart for m in (measured[name] for name in apart[by]) if not np.isnan(m.value)]
    ends = f"{with_error(*min(changes))} to {with_error(*max(changes))}" if changes else "no known size"
    span = f"changes of {ends} nats a step"
    reason = "; ".join([*counts, span])
    small = word == SUPPORTED and any(_most(alike[by]) for by in apart)
    return finding(word, reason, measured, len(usual), small=small)


@statement(
    "45",
    "how long a state is kept is not fixed: weights and inputs decide",
    sources="P",
    kind="measured",
    criterion="The rate, minus the leading exponent from a random state on, of three cells at three schemes.  "
    "Supported if on most it differs by 3 standard errors between inputs N(0, 3) and none, at the same weights, and "
    "for most cells between two schemes of weights, at the same inputs; contradicted if on most both are within a "
    "tenth of it by 3 errors, and small if one is.",
)
def decides(scale: Scale) -> Finding:
    steps = scale.long_steps
    signal = laser(steps=steps, dtype="float64").inputs
    rates: dict[str, dict[str, Array]] = {}
    for cell in ("lstm", "gru", "rnn"):
        # An RNN has no gate to bias; with a memory of all steps the exponent would not have settled by the last.
        last = "gaussian" if cell == "rnn" else f"chrono({steps // 10})"
        rates[cell] = {}
        for scheme in ("pytorch", "keras", last):
            rows = []
            for seed, params in draws(cell, scale, scheme):
                normal = noise_of(seed, steps)
                x = np.concatenate([0 * normal, 0.3 * normal, normal, 3 * normal, signal], axis=1)
                rows.append(-exponents_of(params, x, seed))
            rates[cell][scheme] = np.array(rows)
    return judge_decides(rates)


def _less(values: Array, others: Array) -> Array:
    """Return the differences; two gradients that are gone at once, of infinite rate, have none."""
    with np.errstate(invalid="ignore"):
        return np.where(values == others, 0.0, values - others)


def _most(answers: Mapping[str, bool]) -> bool:
    return 2 * sum(answers.values()) > len(answers)
