"""Which part of an LSTM preserves long dependencies, and what the forget gate erases: statements 42 and 43."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from gatescope.cells.registry import get
from gatescope.datatypes import Array, Effect, SeedRun
from gatescope.datatypes.verdict import CONTRADICTED, EQUAL, MIXED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.measured import Mean, mean
from gatescope.experiments.claims.samples import linear, make, noise, roundings, run_all
from gatescope.experiments.claims.statement import Finding, Scale, statement
from gatescope.experiments.claims.study import Cell, Study, StudyTask, study_cell
from gatescope.experiments.claims.trained import data_of, trained
from gatescope.experiments.claims.variant_cells import (
    AS_PRINTED,
    NO_FORGET,
    NO_GATES,
    NO_INPUT,
    NO_OUTPUT,
    NO_RESET,
    NO_UPDATE,
    chosen,
    effect_of,
    gates_of,
)
from gatescope.experiments.claims.win_table import ADDING_100, LOSS, ORDER_2
from gatescope.experiments.seeds.judge import Judgement, judge, judge_exact
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.experiments.seeds.statistics import paired
from gatescope.reporting.text import listing, number, with_error
from gatescope.training.evaluation import evaluate

TASKS = (ADDING_100, ORDER_2)
REMOVED = {
    "the gates (Q2)": NO_GATES,
    "the cell with its forget gate (A)": NO_FORGET,
    "the cell (Q3)": AS_PRINTED,
}
BESIDE = (("lstm", NO_INPUT), ("lstm", NO_OUTPUT), ("gru", NO_RESET), ("gru", NO_UPDATE))
STREAM = StudyTask(
    name="stream of a^n b^n",
    spec=RunSpec(
        task="counting_stream", cell="lstm", hidden_size=32, lr=0.01, updates=1000, validate_every=50
    ),
    metric="test_loss",
    margin=LOSS,
    memory=20,
    quick={"arguments": {"steps": 200}, "updates": 300},
)
_LONGER, _SEQUENCES, _TENTHS = 10, 5, 10
_OF_STREAMS = ("loss on a stream ten times as long", "size of the memory in its last tenth over its first")


def judge_preserves(
    removed: Mapping[str, Sequence[Effect]],
    beside: Sequence[Effect],
    updates: Mapping[str, Mapping[str, Array]],
) -> Finding:
    """Return what it costs to remove each part that is said to do it, on several tasks, says of statement 42.

    `updates` are those to the target (seeds,) by cell and task, for the ranking.
    """
    words = {part: _costs(effects) for part, effects in removed.items()}
    said = {*words.values()}
    word = said.pop() if len(said) == 1 else UNDECIDED if UNDECIDED in said else MIXED
    middle = {cell: np.exp(np.mean(np.log([*tasks.values()]))) for cell, tasks in updates.items()}
    ranking = listing(
        f"{cell} {number(round(middle[cell]))}" for cell in sorted(middle, key=lambda k: middle[k])
    )
    parts = [listing(f"{part}: {each}" for part, each in words.items())]
    parts += [f"updates, the geometric mean over tasks: {ranking}"] if ranking else []
    return Finding(
        judgement=Judgement(word=word, reason="; ".join(parts)),
        effects=(*(effect for effects in removed.values() for effect in effects), *beside),
        measured={
            f"{cell}, {task}: updates": mean(values)
            for cell, tasks in updates.items()
            for task, values in tasks.items()
        },
        seeds=next(iter(removed.values()))[0].pairs,
    )


def _costs(effects: Sequence[Effect]) -> str:
    """Return whether to remove a part fails, or costs more than the margin, on all tasks."""
    judged = judge(effects, claim="higher", on="all")
    if judged.word == SUPPORTED and not all(e.measure == "share" or e.mean > e.margin for e in effects):
        return CONTRADICTED if judged.small else UNDECIDED
    return CONTRADICTED if judged.word == EQUAL else judged.word


@statement(
    "42",
    "gates (Q2), the cell with its forget gate (A), or the cell (Q3) preserve long dependencies",
    sources="Q2 A Q3",
    kind="statistical",
    suite="V",
    criterion="Each is removed from an LSTM, with everything else tuned again, on adding and on temporal order.  An "
    "attribution is supported if that fails, or costs more than 1.25 times the updates, on both by both tests; "
    "contradicted if it costs nothing.  So is the statement if all three are, and mixed if they differ.",
)
def preserves(study: Study) -> Finding:
    cells: list[Cell] = ["lstm", "gru", *REMOVED.values(), *(cell for _, cell in BESIDE)]
    arms = [(task, cell) for task in TASKS for cell in cells]
    study.make(arms)
    removed = {
        part: [effect_of(study, task, "lstm", cell) for task in TASKS] for part, cell in REMOVED.items()
    }
    beside = [effect_of(study, task, whole, cell) for whole, cell in BESIDE for task in TASKS]
    updates = {
        study_cell(cell).name: {
            study.task(task).name: study.arm(task, cell).values("updates") for task in TASKS
        }
        for cell in cells
    }
    return dataclasses.replace(judge_preserves(removed, beside, updates), tuned=chosen(study, arms))


def judge_erases(
    loss: Effect,
    growth: Effect,
    episodic: Effect,
    equalities: Mapping[str, float],
    controls: Mapping[str, float],
    measured: Mapping[str, Mean],
) -> Finding:
    """Return what a cell without a forget gate does on streams says of statement 43.

    `loss` and `growth` of the cell's size are of it over an LSTM on a stream, `episodic` of its updates on one sequence
    at a time.
    """
    exact = judge_exact(equalities, controls)
    judged = judge([loss, growth], claim="higher", on="all")
    words = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED, EQUAL: SUPPORTED}
    word = words.get(judged.word, judged.word) if exact.word == SUPPORTED else UNDECIDED
    parts = [
        "without the forget gate, which Gers, Schmidhuber and Cummins added in 2000, two gates are left, and the cell "
        "keeps all of itself at every step",
        f"on a stream without resets over the LSTM with it: {judged.reason}",
        f"in updates on adding, where sequences come one by one, {episodic.text()}",
        listing(f"{name} {with_error(*value)}" for name, value in measured.items()),
    ]
    if exact.word != SUPPORTED:
        parts[0] = exact.reason
    return Finding(
        judgement=dataclasses.replace(judged, word=word, reason="; ".join(parts), claim=""),
        effects=(loss, growth, episodic),
        equalities=equalities,
        controls=controls,
        measured=measured,
        seeds=loss.pairs,
    )


@statement(
    "43",
    "the LSTM of 1997 had three gates, and could erase what it kept",
    sources="P A",
    kind="statistical",
    suite="V",
    criterion="That LSTM had no forget gate: f = 1.  Contradicted if so two gates are left, the cell keeps all of "
    "itself at every step, and on streams of a^n b^n, ten times as long as those it was trained on, it loses more and "
    "its cell grows more than an LSTM's, by both tests; supported if neither is so.",
)
def could_erase(study: Study) -> Finding:
    asked = [(STREAM, cell) for cell in ("lstm", NO_FORGET, "gru")]
    asked += [(ADDING_100, cell) for cell in ("lstm", NO_FORGET)]
    study.make(asked)
    streams = {
        study_cell(cell).name: np.array([_stream(run) for run in study.arm(task, cell).runs]).T
        for task, cell in asked[:3]
    }
    (lstm, lstm_size), (without, without_size) = streams["lstm"], streams[NO_FORGET.name]
    names = ("lstm", NO_FORGET.name)
    loss, growth = (
        dataclasses.replace(paired(np.log(other / one), margin=LOSS, name=name), arms=names)
        for one, other, name in (
            (lstm, without, "loss on a longer stream"),
            (lstm_size, without_size, "growth of the cell over a longer stream"),
        )
    )
    measured = {
        f"{name}: {what}": mean(values)
        for name, each in streams.items()
        for what, values in zip(_OF_STREAMS, each, strict=True)
    }
    episodic = effect_of(study, ADDING_100, "lstm", NO_FORGET)
    finding = judge_erases(loss, growth, episodic, *_keeps_all(), measured)
    return dataclasses.replace(finding, tuned=chosen(study, asked))


def _stream(run: SeedRun) -> tuple[float, float]:
    """Return the loss on a longer stream, and how many times as large the memory is at its end as at its beginning."""
    model = trained(run)
    data = data_of(run, sequences=_SEQUENCES, steps=_LONGER * run.spec["arguments"]["steps"])
    (layer,) = model.directions().values()
    trace = run_all(layer, data.inputs)
    kept = np.abs(trace.states[1:, :, -1])  # c of an LSTM, h of a GRU
    size: Array = kept.reshape(_TENTHS, -1).mean(axis=1)
    return float(evaluate(model, data).loss), float(size[-1] / size[0])


def _keeps_all() -> tuple[dict[str, float], dict[str, float]]:
    """Return that two gates are left and the cell keeps all of itself, in roundings, and controls."""
    scale = Scale()
    params, x = make("lstm", scale), noise(scale)
    memory = get("lstm").states.index("c")
    direct = {
        name: linear(params, run_all(params, x, clamp=clamp)).direct[..., memory, memory, :]
        for name, clamp in (("lstm, f = 1", NO_FORGET.clamp), ("lstm", None))
    }
    ones = np.ones_like(direct["lstm"])
    equalities = {
        "lstm, f = 1: gates and 2": roundings(gates_of(NO_FORGET), 2),
        "lstm, f = 1: kept of the cell and 1": roundings(direct["lstm, f = 1"], ones),
    }
    return equalities, {
        "lstm: gates and 2": roundings(gates_of("lstm"), 2),
        "lstm: kept of the cell and 1": roundings(direct["lstm"], ones),
    }
