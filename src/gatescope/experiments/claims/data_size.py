"""What the size of the data set has to do with the gradient: statement 14a, before training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gatescope.datatypes import Array, Params
from gatescope.datatypes.verdict import CONTRADICTED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.measured import Mean, finding
from gatescope.experiments.claims.samples import make, roundings
from gatescope.experiments.claims.statement import Finding, Scale, statement
from gatescope.experiments.seeds.judge import judge_exact
from gatescope.measurements.gradient_flow import gradient_flow
from gatescope.reporting.text import with_error

_STEPS = 50


def judge_size(
    equalities: Mapping[str, float], controls: Mapping[str, float], slope: Mean | None = None
) -> Finding:
    """Return what is said by gradients before training, and by the slope of the rate on ln N after it, if known."""
    exact = judge_exact(equalities, controls, supports=False)
    word, parts = exact.word, [exact.reason]
    if word == SUPPORTED:
        # That they differ says nothing of which way: it would be a fault of the measurement.
        word = UNDECIDED
        parts.insert(0, "before training the gradients differ, which no size of the data set explains")
    elif word == CONTRADICTED:
        parts.insert(0, "before training the gradient does not depend on the size of the data set")
        if slope is None:
            word = UNDECIDED
            parts.append("after training it was not measured, without which this part cannot contradict")
        else:
            word = SUPPORTED if slope.above() else CONTRADICTED
            parts.append(f"after training the rate rises by {with_error(*slope)} a unit of ln N")
    measured = {} if slope is None else {"slope of the rate on ln N": slope}
    return finding(word, "; ".join(parts), measured, 0, equalities=equalities, controls=controls)


@statement(
    "14a",
    "a GRU's gradient vanishes if the data set is too large",
    sources="A",
    kind="measured",
    criterion="This part is before training.  Contradicted if the gradient of a sequence then has the same bits "
    "in data sets of all sizes, 100 to 10,000, and after training the rate does not rise with ln N by 3 "
    "standard errors; supported if it has and the rate does rise.  Other bits decide nothing.",
)
def size_of_the_data(scale: Scale) -> Finding:
    least, *larger = scale.data
    shape = (_STEPS, scale.data[-1], scale.inputs)
    x, other = (np.random.default_rng(seed).standard_normal(shape) for seed in (1, 2))
    equalities, controls = {}, {}
    for cell in ("gru", "lstm"):
        params = make(cell, scale)

        def norms(inputs: Array, count: int, params: Params = params) -> Array:
            lengths = np.full(count, _STEPS)
            flow = gradient_flow(params, inputs[:, :count], of="joint", wrt="joint", lengths=lengths)
            return flow.log_norm[:, :least]

        alone = norms(x, least)
        for count in larger:
            equalities[f"{cell}: ln G among {least:,} and {count:,}"] = roundings(alone, norms(x, count))
        controls[f"{cell}: ln G of other sequences"] = roundings(alone, norms(other, least))
    return judge_size(equalities, controls)
