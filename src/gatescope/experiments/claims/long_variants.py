"""What changes on the 20,000-step experiment: other learning rates, and other gates; statements 27b and 28b."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from gatescope.datatypes import Array
from gatescope.datatypes.verdict import CONTRADICTED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.long_loss import MARGIN, long_curves, made_of
from gatescope.experiments.claims.measured import Mean, mean
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Cell, Study, study_cell
from gatescope.experiments.claims.variant_cells import (
    COUPLED,
    JANET,
    NO_FORGET,
    NO_INPUT,
    NO_OUTPUT,
    NO_RESET,
    UNCOUPLED,
    gates_of,
    is_coupled,
)
from gatescope.experiments.seeds.judge import judge
from gatescope.experiments.seeds.statistics import LEVEL, holm, paired
from gatescope.reporting.text import counted, with_error

PUBLISHED_RATE, OTHER_RATES = 1e-3, (3e-3, 1e-2)
ARMS: tuple[Cell, ...] = ("lstm", "gru", COUPLED, NO_INPUT, NO_OUTPUT, NO_FORGET, JANET, NO_RESET, UNCOUPLED)
FEW: tuple[Cell, ...] = ("lstm", "gru", NO_INPUT, NO_OUTPUT, NO_RESET)  # of a quick study: no others' kernels


def judge_rates(losses: Mapping[float, tuple[Array, Array]]) -> Finding:
    """Return what final losses (seeds,) of LSTM and GRU by learning rate say of statement 27b."""
    effects = tuple(
        dataclasses.replace(
            paired(np.log(gru / lstm), margin=MARGIN, name=f"learning rate {rate:g}"), arms=("lstm", "gru")
        )
        for rate, (lstm, gru) in losses.items()
    )
    judged = judge(effects, claim="lower", on="all")
    matters = [e for e, p in zip(effects, holm(e.p for e in effects), strict=True) if p < LEVEL]
    signs = {effect.sign for effect in matters if not effect.inside_margin}
    if signs == {-1, 1}:
        word, says = CONTRADICTED, "which cell ends lower changes with the learning rate"
    elif judged.word in (SUPPORTED, CONTRADICTED) or all(effect.inside_margin for effect in effects):
        word, says = SUPPORTED, "every learning rate says the same"
    else:
        word, says = UNDECIDED, "the learning rates say neither the same nor the opposite"
    # A rate at which runs diverged is not the best one.
    best = [
        min((cell[k] for cell in losses.values()), key=lambda v: np.nan_to_num(np.mean(v), nan=np.inf))
        for k in range(2)
    ]
    own = mean(np.log(best[1] / best[0]))
    return Finding(
        judgement=dataclasses.replace(judged, word=word, reason=f"{says}; {judged.reason}", claim=""),
        effects=effects,
        measured={"ln of the final loss, gru over lstm, each at its best learning rate": own},
        seeds=len(best[0]),
    )


@statement(
    "27b",
    "the same hyper-parameters for both cells compare the cells",
    sources="M",
    kind="statistical",
    suite="L",
    criterion="The final losses of GRU and LSTM at learning rates 0.001 (published), 0.003 and 0.01.  Contradicted if "
    "the GRU's is lower at one of them and higher at another, by both tests after Holm's correction and not inside a "
    "margin of 1.05; supported if all three differ the same way, or all are inside it.",
)
def same_settings(study: Study) -> Finding:
    curves = {PUBLISHED_RATE: long_curves(study)}
    curves |= {rate: long_curves(study, lr=rate) for rate in OTHER_RATES}
    losses = {}
    for rate, each in curves.items():
        lstm, gru = (each.final_loss()[each.index(cell)] for cell in ("lstm", "gru"))
        losses[rate] = lstm, gru
    return dataclasses.replace(judge_rates(losses), **made_of(*curves.values()))


def judge_gates(
    volatility: Mapping[str, Array], gates: Mapping[str, int], coupled: Mapping[str, bool]
) -> Finding:
    """Return what volatilities (seeds,) of arms, each with so many gates, say of statement 28b."""
    logs = {name: np.log(values) for name, values in volatility.items()}
    names = {each: [name for name in logs if coupled[name] == each] for each in (True, False)}
    effects = []
    for each, some in names.items():
        numbers = np.array([gates[name] for name in some])
        about = numbers - numbers.mean()
        slope = about @ np.array([logs[name] for name in some]) / (about @ about)
        what = "kept and let in are coupled" if each else "not coupled"
        effects.append(paired(slope, margin=MARGIN, name=f"volatility, a gate more, {what}"))
    judged = judge(effects, claim="higher", on="all")
    measured = {
        f"{name}, {counted(gates[name], 'gate')}: ln of the volatility": mean(values)
        for name, values in logs.items()
    }
    rank = _ranks(np.array([*logs.values()]), np.array([gates[name] for name in logs]))
    measured["rank correlation of volatility and gates, all arms"] = rank
    says = f"rank correlation with the number of gates {with_error(*rank)}"
    shared = {gates[name] for name in names[True]} & {gates[name] for name in names[False]}
    for count in sorted(shared):
        one, other = (
            np.mean([logs[name] for name in names[each] if gates[name] == count], axis=0)
            for each in (True, False)
        )
        freed = measured[f"ln of the volatility at {count} gates, not coupled over coupled"] = mean(
            other - one
        )
        says += f", at {count} gates ln of not coupled over coupled {with_error(*freed)}"
    return Finding(
        judgement=dataclasses.replace(judged, reason=f"{judged.reason}; {says}"),
        effects=tuple(effects),
        measured=measured,
        seeds=len(next(iter(logs.values()))),
    )


@statement(
    "28b",
    "the loss of an LSTM is more volatile because it has more gates",
    sources="M",
    kind="statistical",
    suite="L",
    criterion="Nine arms, with 1 to 3 gates, of which some cannot let in what they do not erase (coupled) and some "
    "can.  Supported if the volatility rises with the number of gates by both tests among the coupled arms and among "
    "the others; contradicted if it falls in both.  The settings are the published ones, tuned for no arm.",
)
def more_gates(study: Study) -> Finding:
    base = long_curves(study)
    curves = [base]
    volatility = {cell: base.volatility()[base.index(cell)] for cell in ("lstm", "gru")}
    arms = FEW if study.quick else ARMS
    for one in map(study_cell, arms):
        if one.name not in volatility:
            each = long_curves(study, (one.cell,), clamp=one.clamp)
            volatility[one.name] = each.volatility()[0]
            curves.append(each)
    gates = {study_cell(cell).name: gates_of(cell) for cell in arms}
    coupled = {study_cell(cell).name: is_coupled(cell) for cell in arms}
    return dataclasses.replace(judge_gates(volatility, gates, coupled), **made_of(*curves))


def _ranks(values: Array, by: Array) -> Mean:
    """Return the mean over seeds of the rank correlation of values (arms, seeds) with numbers (arms,)."""
    from scipy.stats import spearmanr

    if not np.isfinite(values).all():
        return Mean(float("nan"), float("nan"))
    return mean([spearmanr(column, by).statistic for column in values.T])
