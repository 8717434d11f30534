"""What a cell is, and what trains it: statement 19."""

from __future__ import annotations

from collections.abc import Mapping
from math import log

from gatescope.datatypes import Array
from gatescope.datatypes.verdict import CONTRADICTED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.amounts import BY_SIZE
from gatescope.experiments.claims.measured import mean
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Study
from gatescope.experiments.seeds.judge import Judgement
from gatescope.reporting.text import listing, number, percent

_RATES = {"sgd": 0.3, "rmsprop": 0.003, "adam": 0.003}
_TASK = BY_SIZE["digits"][1200]
_BELOW = log(10) / 2  # half of the loss of a guess among ten digits


def judge_optimizers(losses: Mapping[str, Array]) -> Finding:
    """Return what an LSTM's test losses (n,), by optimizer, say of statement 19; Adam alone has a momentum."""
    trained = {name: float((values < _BELOW).mean()) for name, values in losses.items()}
    without = [trained[name] for name in ("sgd", "rmsprop")]
    if trained["sgd"] == 1:
        word = CONTRADICTED
    elif trained["adam"] == 1 and not any(without):
        word = SUPPORTED
    else:
        word = UNDECIDED
    counts = listing(
        f"{name} {percent(share)} (mean loss {number(float(losses[name].mean()))})"
        for name, share in trained.items()
    )
    reason = (
        "the equations of the cell have neither, they belong to what changes its weights; an LSTM comes below half of "
        f"a guess's loss, {number(_BELOW)}, with {counts}"
    )
    measured = {f"{name}: test loss": mean(values) for name, values in losses.items()}
    return Finding(judgement=Judgement(word=word, reason=reason), measured=measured, seeds=len(losses["sgd"]))


@statement(
    "19",
    "LSTMs are made of momentum and gradient descent",
    sources="Q4",
    kind="statistical",
    suite="N",
    criterion="A category error if the same LSTM is trained whatever optimizer it is given: contradicted if on 1,200 "
    "digits plain gradient descent, without momentum, brings the test loss below half of a guess's in all seeds; "
    "supported if Adam, which has one, does so in all, and neither gradient descent nor RMSprop in any.",
)
def made_of_momentum(study: Study) -> Finding:
    return judge_optimizers(
        {
            name: study.fixed(_TASK, "lstm", optimizer=name, lr=rate).values("test_loss")
            for name, rate in _RATES.items()
        }
    )
