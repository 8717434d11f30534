"""Whether what is let in is what was erased: statement 25, of equations and of trained networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from gatescope.cells.memory_gate import memory_gate
from gatescope.cells.registry import get
from gatescope.datatypes import Array, SeedRun
from gatescope.datatypes.verdict import ALIKE, ONLY, SUPPORTED
from gatescope.experiments.claims.measured import Mean, mean
from gatescope.experiments.claims.samples import GRUS, make, noise, roundings, run_all
from gatescope.experiments.claims.statement import Finding, Scale, exact, statement
from gatescope.experiments.claims.study import Cell, Study, StudyTask, study_cell
from gatescope.experiments.claims.trained import data_of, trained, untrained
from gatescope.experiments.claims.variant_cells import UNCOUPLED, chosen
from gatescope.experiments.claims.win_table import ADDING_100, ORDER_2
from gatescope.reporting.text import listing, number, percent

TASKS: tuple[StudyTask, ...] = (ADDING_100, ORDER_2)
CELLS: tuple[Cell, ...] = ("lstm", UNCOUPLED)
EDGES = np.linspace(-1, 1, 21)  # of the bins of kept + let in - 1
NEAR = 0.1
_SEQUENCES = 20


def bin_name(arm: str, k: int) -> str:
    """Return the name of the fraction of an arm's gates in a bin, as `Finding.measured` has it.

    Examples
    --------
    >>> from gatescope.experiments.claims.coupling import bin_name
    >>> bin_name("lstm, adding", 10)
    'lstm, adding: fraction with kept + let in - 1 in 0 to 0.1'
    """
    low, high = (round(float(EDGES[j]), 3) + 0.0 for j in (k, k + 1))
    return f"{arm}: fraction with kept + let in - 1 in {number(low)} to {number(high)}"


def near_name(arm: str, what: str = "") -> str:
    """Return the name of the fraction of steps and units, or of what is said, that is coupled to within 0.1."""
    return f"{arm}: fraction{what} with kept + let in - 1 within {NEAR:g} of 0"


def judge_coupling(finding: Finding, sums: Mapping[str, Array], measured: Mapping[str, Mean]) -> Finding:
    """Return the finding of the equations with what trained networks say of statement 25.

    `sums` are fractions (seeds, bins) of steps and units by arm, an LSTM's before others; `measured` stands beside.
    """
    shares = {
        bin_name(arm, k): mean(fractions[:, k])
        for arm, fractions in sums.items()
        for k in range(len(EDGES) - 1)
    }
    middle = (len(EDGES) - 1) // 2
    near = {near_name(arm): mean(part[:, middle - 1 : middle + 1].sum(axis=1)) for arm, part in sums.items()}
    lstm = [value for name, value in near.items() if name.startswith("lstm")]
    distinguishes = ""
    if finding.judgement.word == SUPPORTED and lstm:
        if all(value.below(0.5) for value in lstm):
            distinguishes = ONLY
        elif all(value.above(0.5) for value in lstm):
            distinguishes = ALIKE
    says = listing(f"{name}: {percent(value.value)}" for name, value in near.items())
    reason = f"{finding.judgement.reason}; after training {says}" if near else finding.judgement.reason
    return dataclasses.replace(
        finding,
        judgement=dataclasses.replace(finding.judgement, reason=reason),
        measured={**near, **measured, **shares},
        seeds=len(next(iter(sums.values()))) if sums else 0,
        distinguishes=distinguishes,
    )


@statement(
    "25",
    "a GRU writes only where it has erased",
    sources="M",
    criterion="Supported if what a GRU keeps of the old state and what it takes of the candidate add to 1 at every "
    "step and unit; an LSTM's must not.  It says something of the GRU if in trained LSTMs less than half of all steps "
    "and units are within 0.1 of that, by 3 standard errors on each of two tasks.",
    suite="V",
    after_training=True,
)
def coupled(scale: Scale, study: Study | None = None) -> Finding:
    equalities, x = {}, noise(scale)
    for name in GRUS:
        trace = run_all(make(name, scale), x)
        z, n, h = trace.gate("z"), trace.gate("n"), trace.h
        equalities[f"{name}: new state"] = roundings(h[1:], z * h[:-1] + (1 - z) * n)
    trace = run_all(make("lstm", scale), x)
    kept, taken = trace.gate("f"), trace.gate("i")
    finding = exact(
        equalities, {"lstm: kept and taken add to 1": roundings(kept + taken, np.ones(kept.shape))}
    )
    if study is None:
        return finding
    sums: dict[str, Array] = {}
    measured: dict[str, Mean] = {}
    arms = [(task, cell) for cell in CELLS for task in TASKS]
    study.make(arms)
    for task, cell in arms:
        runs = study.arm(task, cell).runs
        name = f"{study_cell(cell).name}, {study.task(task).name}"
        after, before = ([_sums(run, fresh) for run in runs] for fresh in (False, True))
        sums[name] = np.array([_fractions(values) for values in after])
        measured[near_name(name, " of units, in their mean,")] = mean(
            [(np.abs(values.mean(axis=(0, 1))) < NEAR).mean() for values in after]
        )
        measured[near_name(f"{name}, untrained")] = mean(
            [(np.abs(values) < NEAR).mean() for values in before]
        )
    judged = judge_coupling(finding, sums, measured)
    return dataclasses.replace(judged, tuned=chosen(study, arms), preliminary=study.preliminary)


def _sums(run: SeedRun, fresh: bool) -> Array:
    """Return kept + let in - 1 (T, B, H) of a network, trained or as it began, on data it has not seen."""
    model = untrained(run) if fresh else trained(run)
    (layer,) = model.directions().values()
    memory = memory_gate(get(layer.cell))
    trace = run_all(layer, data_of(run, sequences=_SEQUENCES).inputs)
    return memory.fraction(trace.gate(memory.name)) + trace.gate(memory.input_gate) - 1


def _fractions(values: Array) -> Array:
    return np.histogram(values, EDGES)[0] / values.size
