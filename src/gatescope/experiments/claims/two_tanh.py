"""How often a cell takes a tanh, and whether it matters: statement 34."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np

from gatescope.cells.registry import get
from gatescope.datatypes import Arm, Effect
from gatescope.datatypes.verdict import CONTRADICTED, SUPPORTED
from gatescope.experiments.claims.measured import Mean, mean
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Cell, Study, StudyTask, study_cell
from gatescope.experiments.claims.variant_cells import (
    COUPLED,
    LINEAR_INPUT,
    LINEAR_OUTPUT,
    NO_FORGET,
    NO_INPUT,
    NO_OUTPUT,
    PEEPHOLE,
    chosen,
    effect_of,
)
from gatescope.experiments.claims.win_table import ADDING_100, CHORALES, COUNTING_2
from gatescope.experiments.seeds.judge import Judgement, judge
from gatescope.reporting.text import listing, with_error

TASKS = (ADDING_100, COUNTING_2, CHORALES)
REMOVED = {"input": LINEAR_INPUT, "output": LINEAR_OUTPUT}
# Whose directions on chorales Greff et al. 2015 published: what each removes, or adds, does.
PUBLISHED: tuple[Cell, ...] = (LINEAR_INPUT, LINEAR_OUTPUT, NO_INPUT, NO_FORGET, NO_OUTPUT, COUPLED, PEEPHOLE)


def tanh_count(cell: str) -> int:
    """Return how many tanh a step of a cell takes, by its equations.

    Examples
    --------
    >>> from gatescope.experiments.claims.two_tanh import tanh_count
    >>> tanh_count("lstm"), tanh_count("gru"), tanh_count("rnn_relu")
    (2, 1, 0)
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(get(cell).step)))
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return sum(isinstance(called, ast.Name) and called.id == "tanh" for called in calls)


def judge_activations(
    counts: Mapping[str, int], removed: Mapping[str, Sequence[Effect]], chorales: Mapping[str, Mean]
) -> Finding:
    """Return what is said by the numbers of tanh, and by what an LSTM does without one, of statement 34."""
    two = counts["lstm"] == 2 and counts["gru"] == 1
    parts = [listing(f"{cell} takes {count}" for cell, count in counts.items())]
    for which, effects in removed.items():
        judged = judge(effects, claim="higher")
        says = {SUPPORTED: "matters", CONTRADICTED: "does harm"}.get(judged.word, judged.word)
        parts.append(f"the tanh of the {which}: {says}: without it, {judged.reason}")
    nats = listing(f"{name} {with_error(*value)}" for name, value in chorales.items())
    parts += [f"nats a step on chorales, less the LSTM's, for Greff et al. 2015: {nats}"] if nats else []
    return Finding(
        judgement=Judgement(word=SUPPORTED if two else CONTRADICTED, reason="; ".join(parts)),
        effects=tuple(effect for effects in removed.values() for effect in effects),
        measured={
            f"chorales, {name}: nats a step less the lstm's": value for name, value in chorales.items()
        },
        seeds=next(iter(removed.values()))[0].pairs,
    )


@statement(
    "34",
    "an LSTM has two activations, a GRU one",
    sources="Q5",
    kind="statistical",
    suite="V",
    criterion="Supported if the equations of an LSTM take two tanh, and a GRU's one; contradicted if not.  Whether it "
    "matters is said beside: an LSTM without the one or the other on adding, counting and chorales, by both tests "
    "after Holm's correction on most of the three.",
)
def two_activations(study: Study) -> Finding:
    cells: tuple[Cell, ...] = ("lstm", *REMOVED.values())
    arms: list[tuple[StudyTask, Cell]] = [(task, cell) for task in TASKS for cell in cells]
    published = [*REMOVED.values()] if study.quick else PUBLISHED
    arms += [(CHORALES, cell) for cell in published if cell not in cells]
    study.make(arms)
    removed = {
        which: [effect_of(study, task, "lstm", cell) for task in TASKS] for which, cell in REMOVED.items()
    }
    base = study.arm(CHORALES, "lstm")
    nats = {study_cell(cell).name: _less(study.arm(CHORALES, cell), base) for cell in published}
    counts = {cell: tanh_count(cell) for cell in ("lstm", "gru")}
    return dataclasses.replace(judge_activations(counts, removed, nats), tuned=chosen(study, arms))


def _less(arm: Arm, base: Arm) -> Mean:
    return mean(np.subtract(arm.values("test_loss"), base.values("test_loss")))
