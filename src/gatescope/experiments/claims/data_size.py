"""What the size of the data set has to do with the gradient: statement 14a, before and after training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from gatescope.datatypes import Array, Params
from gatescope.datatypes.verdict import CONTRADICTED, ONLY, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.amounts import by_size, tuned_settings
from gatescope.experiments.claims.measured import Mean, finding, mean, word_of
from gatescope.experiments.claims.samples import make, roundings
from gatescope.experiments.claims.statement import Finding, Scale, statement
from gatescope.experiments.claims.study import Study
from gatescope.experiments.claims.trained import data_of, distinguished, nats_lost, trained
from gatescope.experiments.seeds.judge import judge_exact
from gatescope.measurements.gradient_flow import gradient_flow
from gatescope.reporting.text import listing, with_error

_STEPS = 50
_CELLS = ("gru", "lstm")
_SEQUENCES = 20  # that each trained network is measured on
_SAME = 0.1  # of the rate: a smaller rise is none


class Rates(NamedTuple):
    """Rates of the gradient (sizes, seeds) after training on sets of these sizes."""

    sizes: Sequence[int]
    values: Array

    @property
    def rises(self) -> Array:
        """Return how far lines through the rates on ln N rise from the smallest size to the largest (seeds,)."""
        x = np.log(self.sizes) - np.log(self.sizes).mean()
        lines: Array = x @ self.values / (x @ x) * (x[-1] - x[0])
        return lines

    @property
    def rise(self) -> Mean:
        """Return the mean of these."""
        return mean(self.rises)

    @property
    def word(self) -> str:
        """Return whether the rate rises with N, to one that is above 0, which alone vanishes."""
        return word_of(
            supported=self.rise.above() and mean(self.values[-1]).above(), contradicted=self._hardly
        )

    @property
    def small(self) -> bool:
        """Return whether it rises by less than a tenth of itself."""
        return self.word == SUPPORTED and self._hardly

    @property
    def _hardly(self) -> bool:
        return self.rise.below(_SAME * abs(float(self.values.mean())))


def judge_size(
    equalities: Mapping[str, float], controls: Mapping[str, float], after: Mapping[str, Rates] | None = None
) -> Finding:
    """Return what is said by gradients before training, and by the rates after it, of GRU and LSTM, if known."""
    measured: dict[str, Mean] = {}
    which_one = ""
    exact = judge_exact(equalities, controls, supports=False)
    word, parts = exact.word, [exact.reason]
    if word == SUPPORTED:
        # That they differ says nothing of which way: it would be a fault of the measurement.
        word = UNDECIDED
        parts.insert(0, "before training the gradients differ, which no size of the data set explains")
    elif word == CONTRADICTED:
        parts.insert(0, "before training the gradient does not depend on the size of the data set")
        if after is None:
            word = UNDECIDED
            parts.append("after training it was not measured, without which this part cannot contradict")
        else:
            word = after["gru"].word
            which_one = distinguished(word, [after["lstm"].word]) if word == SUPPORTED else ""
            # One word beside another is no difference: its rate has to rise more than the LSTM's.
            if which_one == ONLY and not mean(after["gru"].rises - after["lstm"].rises).above():
                which_one = ""
            rises = listing(f"{cell} {with_error(*rates.rise)}" for cell, rates in after.items())
            parts.append(f"after training the rate rises from the smallest set to the largest by: {rises}")
    for cell, (sizes, values) in (after or {}).items():
        measured |= {f"{cell}, N = {n:,}: rate": mean(row) for n, row in zip(sizes, values, strict=True)}
        measured[f"{cell}: rise of the rate with ln N"] = after[cell].rise  # type: ignore[index]
    seeds = after["gru"].values.shape[1] if after else 0
    return finding(
        word,
        "; ".join(parts),
        measured,
        seeds,
        small=word == SUPPORTED and after is not None and after["gru"].small,
        equalities=equalities,
        controls=controls,
        distinguishes=which_one,
    )


@statement(
    "14a",
    "a GRU's gradient vanishes if the data set is too large",
    sources="A",
    kind="measured",
    suite="N",
    after_training=True,
    criterion="Before training the gradient of a sequence has to have the same bits in data sets of all sizes, 100 to "
    "10,000; other bits decide nothing.  After training on adding, of 30 to 10,000 sequences, the rate at which it "
    "decays over all steps: supported if it rises with ln N by 3 standard errors, to one above 0, small if by less "
    "than a tenth of itself from the smallest set to the largest; contradicted if by 3 it rises by no more than that.",
)
def size_of_the_data(scale: Scale, study: Study | None = None) -> Finding:
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
    if study is None:
        return judge_size(equalities, controls)
    study.make(product(by_size(study)["adding"].values(), _CELLS))
    after = {cell: _rates_after(study, cell) for cell in _CELLS}
    judged = judge_size(equalities, controls, after)
    return dataclasses.replace(judged, tuned=tuned_settings(study, _CELLS), preliminary=study.preliminary)


def _rates_after(study: Study, cell: str) -> Rates:
    """Return the rates of the gradient of the state over all steps, a mean over sequences that are new."""
    rows, sized = [], by_size(study)["adding"]
    for task in sized.values():
        rates = []
        for run in study.arm(task, cell).runs:
            inputs = data_of(run, sequences=_SEQUENCES).inputs
            rates.append(float(nats_lost(trained(run), inputs, seed=run.seed).mean()) / len(inputs))
        rows.append(rates)
    return Rates(list(sized), np.array(rows))
