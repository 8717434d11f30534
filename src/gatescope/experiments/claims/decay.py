"""How gradients go back in time: statement 1, of untrained networks, and 2a, before and after training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from gatescope.datatypes import Array, Batch, GradientFlow, Stack
from gatescope.datatypes.verdict import SUPPORTED, UNDECIDED
from gatescope.experiments.claims.measured import (
    QUIET,
    SIGMAS,
    Mean,
    draws,
    exponents_of,
    finding,
    mean,
    names,
    noise_of,
    word_of,
)
from gatescope.experiments.claims.statement import Finding, Scale, statement
from gatescope.experiments.claims.study import Study, StudyTask
from gatescope.experiments.claims.trained import DEFAULTS, data_of, nats_lost, settings, trained
from gatescope.experiments.claims.win_table import ADDING_400, ORDER_2
from gatescope.experiments.seeds.judge import depends_on_init
from gatescope.measurements.gradient_flow import gradient_flow
from gatescope.recurrence.initialization import init_stack
from gatescope.reporting.text import number, percent, with_error
from gatescope.tasks import adding

_GAINS = ("gaussian(0.5)", "gaussian(0.8)", "gaussian(1)", "gaussian(1.2)", "gaussian(1.5)", "gaussian(2)")
# Units: of fewer the exponent is not above 0 at gain 2 yet.  An RNN's kernels are the same for all.
_LEAST = 32
_OFF = 0.5  # of the exponent: a slope that may be farther from it does not agree with it
_TRAINED_ON = (ADDING_400, ORDER_2)
_SEQUENCES = 4  # that each trained network is measured on


class Decay(NamedTuple):
    """Of networks of one scheme, a number a seed: leading exponent, slope of ln G, and how well a line fits.

    `residuals` is ln of the quotient of the sums of squares that ln G = a + b k and ln G = a + b ln k leave: below 0
    the gradient follows an exponential better than a power.
    """

    exponent: Array
    slope: Array
    residuals: Array


@lru_cache(maxsize=2)
def _decays(scale: Scale) -> dict[str, Decay]:
    steps, decays = scale.long_steps * 3 // 4, {}
    scale = dataclasses.replace(scale, many_units=max(scale.many_units, _LEAST))
    for scheme in (*_GAINS, *DEFAULTS):
        rows = []
        for seed, params in draws("rnn", scale, scheme):
            if scheme in _GAINS:
                params = dataclasses.replace(params, weight_ih=QUIET * params.weight_ih)
            x = noise_of(seed, steps)
            flow = gradient_flow(params, x, of="joint", wrt="joint", initial_state="random", seed=seed)
            slope = -float(flow.decay_rate())
            rows.append((exponents_of(params, x, seed)[0], slope, line_against_power(flow)))
        decays[scheme] = Decay(*np.array(rows).T)
    return decays


def line_against_power(flow: GradientFlow) -> float:
    """Return `Decay.residuals` of a flow of one sequence, over the lags that `decay_rate` fits."""
    first, last = flow.decay_rate().fit_range
    chosen = (flow.lag >= max(first, 1)) & (flow.lag <= last)
    lag, norm = flow.lag[chosen], flow.log_norm[chosen, 0]
    squares = [
        np.square(norm - np.polynomial.Polynomial.fit(at, norm, 1)(at)).sum() for at in (lag, np.log(lag))
    ]
    return float(np.log(squares[0] / squares[1]))


def judge_exponential(decays: Mapping[str, Decay]) -> Finding:
    """Return what the decays of several schemes say of statement 1a."""
    measured: dict[str, Mean] = {}
    decided, against, unclear, bounds = [], [], [], []
    for scheme, decay in decays.items():
        exponent, slope, apart = (
            mean(v) for v in (decay.exponent, decay.slope, decay.slope - decay.exponent)
        )
        residuals = mean(decay.residuals)
        measured |= {
            f"{scheme}: leading exponent": exponent,
            f"{scheme}: slope of ln G less the exponent": apart,
            f"{scheme}: ln of the residuals, exponential over power": residuals,
        }
        if not (exponent.above() or exponent.below()):
            continue
        decided.append(scheme)
        # Pairs tell a bias of the first steps from 0 long before it matters: it must exceed what is known of the
        # exponent itself, too.
        beyond = abs(apart.value) > SIGMAS * exponent.error
        another = slope.value * exponent.value <= 0 or (beyond and (apart.above() or apart.below()))
        if another or residuals.above():
            against.append(scheme)
        elif not residuals.below():
            unclear.append(scheme)
        # A slope that is known badly agrees with any exponent: what is shown is up to where it may be off.
        bounds.append((abs(apart.value) + SIGMAS * apart.error) / abs(exponent.value))
        if not bounds[-1] < _OFF and scheme not in against + unclear:
            unclear.append(scheme)
    word = word_of(supported=bool(decided) and not against and not unclear, contradicted=bool(against))
    reason = (
        f"the exponent is 3 errors from 0 at {len(decided)} of {len(decays)} schemes; another rate or a power: "
        f"{names(against)}; not told from either: {names(unclear)}; with its 3 errors the slope may differ from the "
        f"exponent by up to {percent(max(bounds, default=float('nan')))} of it"
    )
    return finding(word, reason, measured, len(next(iter(decays.values())).exponent))


@statement(
    "1a",
    "in a plain RNN the gradient decays exponentially with time",
    sources="Q1 P A Q2",
    kind="measured",
    criterion="Gaussian weights of gains 0.5 to 2, PyTorch's and Keras's.  Supported if, wherever the leading "
    "exponent is more than 3 standard errors from 0, ln G has a slope of its sign, less than 3 of its errors from it "
    "and with those of their difference within half of it, and leaves smaller residuals from a line in the lag than in "
    "its logarithm, by 3 errors; contradicted by one scheme that has another slope or another shape by 3 errors.",
)
def exponential(scale: Scale) -> Finding:
    return judge_exponential(_decays(scale))


def judge_grows(decays: Mapping[str, Decay]) -> Finding:
    """Return what the decays of gains in ascending order say of statement 1b."""
    exponents = {scheme: mean(decay.exponent) for scheme, decay in decays.items()}
    last = [*exponents.values()][-1]
    growing = [scheme for scheme, exponent in exponents.items() if exponent.above()]
    word = word_of(supported=last.above(), contradicted=all(e.below() for e in exponents.values()))
    reason = (
        f"the exponent is above 0 by 3 errors at {names(growing)}; at the greatest gain {with_error(*last)}"
    )
    measured = {f"{scheme}: leading exponent": exponent for scheme, exponent in exponents.items()}
    return finding(word, reason, measured, len(next(iter(decays.values())).exponent))


@statement(
    "1b",
    "in a plain RNN the gradient may explode",
    sources="Q2 A",
    kind="measured",
    criterion="Supported if the leading exponent is above 0 by 3 standard errors from some gain on; contradicted "
    "if it is below 0 by 3 at all.",
)
def grows(scale: Scale) -> Finding:
    return judge_grows({scheme: decay for scheme, decay in _decays(scale).items() if scheme in _GAINS})


def judge_solved(
    before: Mapping[str, Mapping[str, Array]],
    after: Mapping[str, Mapping[str, Array]] | None,
    bound: float,
    ends: Mapping[str, Array] | None = None,
) -> Finding:
    """Return what rates, by scheme and by what decays, say of statement 2a, before and after training.

    `ends` decide nothing: how much of the gradient is left after all steps of the task.
    """
    halves = {"before training": before, **({"after training": after} if after else {})}
    measured: dict[str, Mean] = {}
    parts: list[str] = []
    by_scheme: dict[str, list[Mean]] = {scheme: [] for scheme in DEFAULTS}
    for when, rates in halves.items():
        means = {scheme: {what: mean(v) for what, v in of.items()} for scheme, of in rates.items()}
        for scheme, of in means.items():
            measured |= {f"{when}, {scheme}, {what}: rate": rate for what, rate in of.items()}
        for scheme in means.keys() & by_scheme.keys():
            by_scheme[scheme] += means[scheme].values()
        default = [rate for scheme, of in means.items() if scheme in DEFAULTS for rate in of.values()]
        others = [rate for scheme, of in means.items() if scheme not in DEFAULTS for rate in of.values()]
        parts.append(
            f"{when}, at default weights {with_error(*min(default))} to {with_error(*max(default))} nats a step, with "
            f"biases for long memory {with_error(*min(others))} to {with_error(*max(others))}"
        )
    word = _solved_word([rate for rates in by_scheme.values() for rate in rates], bound)
    if after is None:
        parts.append("after training it was not measured, without which this part cannot support")
        word = UNDECIDED if word == SUPPORTED else word
    by_init = {scheme: _solved_word(rates, bound) for scheme, rates in by_scheme.items()}
    measured |= {name: mean(values) for name, values in (ends or {}).items()}
    reason = "; ".join([f"the bound is {number(bound)}", *parts])
    seeds = min(len(values) for rates in halves.values() for of in rates.values() for values in of.values())
    return finding(word, reason, measured, seeds, depends_on_init=depends_on_init(by_init))


def _solved_word(rates: Sequence[Mean], bound: float) -> str:
    return word_of(
        supported=all(rate.below(bound) for rate in rates),
        contradicted=any(rate.above(bound) for rate in rates),
    )


@statement(
    "2a",
    "LSTM and GRU have solved the vanishing gradient (P), or address it (A)",
    sources="P A",
    kind="measured",
    criterion="Supported only if at default weights, PyTorch's and Keras's, the gradients of the state and of a loss "
    "halve in more than a quarter of the steps (500 of 2,000), a rate below ln 2 / 500, by 3 standard errors, in "
    "both cells, before training and after training on adding of 400 steps and on temporal order; contradicted "
    "by one that is above.  Biases for a long memory are a remark.",
    suite="W",
    after_training=True,
)
def solved(scale: Scale, study: Study | None = None) -> Finding:
    steps = scale.long_steps
    lags = [steps // 4, steps // 2]
    before: dict[str, dict[str, Array]] = {}
    for scheme in (*DEFAULTS, f"chrono({steps // 2})"):
        parts: dict[str, list[float]] = {}
        for cell in ("lstm", "gru"):
            for seed in range(scale.seeds):
                task = adding(steps=steps, sequences=1, seed=seed, dtype="float64")
                stack = init_stack(
                    cell,
                    hidden_size=scale.many_units,
                    heads=task,
                    seed=seed,
                    scheme=scheme,
                    dtype="float64",
                )
                for what, rate in _rates(stack, task, lags, seed).items():
                    parts.setdefault(f"{cell}, gradient of the {what}", []).append(rate)
        before[scheme] = {what: np.array(values) for what, values in parts.items()}
    if study is None:
        return judge_solved(before, None, np.log(2) / lags[0])
    study.make(_arms(study))
    after, ends = _after_training(study, steps, lags)
    judged = judge_solved(before, after, np.log(2) / lags[0], ends)
    return dataclasses.replace(judged, tuned=settings(study, *_arms(study)), preliminary=study.preliminary)


def _arms(study: Study) -> Iterable[tuple[StudyTask, str, str]]:
    return product(map(study.task, _TRAINED_ON), ("lstm", "gru"), study.schemes)


def _after_training(
    study: Study, steps: int, lags: Sequence[int]
) -> tuple[dict[str, dict[str, Array]], dict[str, Array]]:
    """Return rates of trained networks, by scheme and by what decays, and what is left after all steps of the task."""
    rates: dict[str, dict[str, Array]] = {}
    ends: dict[str, Array] = {}
    for task, cell, scheme in _arms(study):
        parts: dict[str, list[float]] = {}
        left: list[float] = []
        for run in study.arm(task, cell, scheme).runs:
            stack, own = trained(run), data_of(run, sequences=_SEQUENCES)
            longer = data_of(run, sequences=_SEQUENCES, steps=steps)
            for what, rate in _rates(stack, longer, lags, run.seed).items():
                parts.setdefault(f"{cell} after {task.name}, gradient of the {what}", []).append(rate)
            left.append(-float(nats_lost(stack, own).mean()))
        name = f"{scheme}, {cell} after {task.name}: ln of what is left of the gradient of the loss after all steps"
        ends[name] = np.array(left)
        rates.setdefault(scheme, {}).update({what: np.array(values) for what, values in parts.items()})
    return rates, ends


def _rates(stack: Stack, batch: Batch, lags: Sequence[int], seed: int) -> dict[str, float]:
    """Return how fast the gradients of the state and of the loss decay from one lag to the other, in nats a step."""
    parts = {"state": batch.inputs, "loss": batch}
    return {
        what: float(nats_lost(stack, data, lags, seed=seed).mean()) / (lags[1] - lags[0])
        for what, data in parts.items()
    }
