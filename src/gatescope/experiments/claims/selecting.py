"""Whether trained gates tell what counts from what does not: statement 47."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np

from gatescope.cells.memory_gate import memory_gate
from gatescope.cells.registry import get
from gatescope.datatypes import Arm, Array, Batch
from gatescope.datatypes.verdict import CONTRADICTED, MIXED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.measured import Mean, finding, mean, word_of
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Study
from gatescope.experiments.claims.trained import (
    LEARNED,
    data_of,
    only_this,
    settings,
    share_word,
    trained,
)
from gatescope.experiments.claims.win_table import ADDING_100, FLIP_FLOP
from gatescope.recurrence.run import run as run_model

_APART = 0.2  # of a gate's values, from 0 to 1
_SEEDS, _FOOLED = 0.9, 0.1  # of all: at least, at marks, and at most, at random ones
_SEQUENCES = 100  # half of them choose a unit, the others test it
LETS_IN, FORGETS = "lets in", "forgets"
_TASKS = {LETS_IN: ADDING_100, FORGETS: FLIP_FLOP}


class Selected(NamedTuple):
    """Of an arm's networks, how far a gate is apart (n,), at marks and at random ones, and which of them learned."""

    marked: Array
    random: Array
    learned: Array


def judge_selecting(selected: Mapping[str, Mapping[str, Selected]]) -> Finding:
    """Return what differences, by cell and by what a gate does, say of statement 47, whose first cell is the first."""
    words = {cell: _together([_word(one) for one in of.values()]) for cell, of in selected.items()}
    word = _together([*words.values()])
    if set(words.values()) == {SUPPORTED, CONTRADICTED}:
        word = MIXED
    parts: list[str] = []
    measured: dict[str, Mean] = {}
    for cell, of in selected.items():
        for does, one in of.items():
            n = len(one.marked)
            parts.append(
                f"{cell}, gate that {does}: {_passed(one.marked)} of {n} seeds, at random marks "
                f"{_passed(one.random)}; {int(one.learned.sum())} learned the task"
            )
            measured[f"{cell}, gate that {does}: difference at marks"] = mean(one.marked)
            measured[f"{cell}, gate that {does}: difference at random marks"] = mean(one.random)
    return finding(word, "; ".join(parts), measured, n, distinguishes=only_this(*words.values()))


def _word(selected: Selected) -> str:
    # Where random marks pass, too, the test cannot fail, and says nothing.
    fooled = _passed(selected.random) > _FOOLED * len(selected.random)
    if fooled or selected.learned.mean() < LEARNED:
        return UNDECIDED
    return share_word(selected.marked > _APART, _SEEDS)


def _together(words: Collection[str]) -> str:
    return word_of(supported=set(words) == {SUPPORTED}, contradicted=CONTRADICTED in words)


def _passed(differences: Array) -> int:
    return int((differences > _APART).sum())


@statement(
    "47",
    "an LSTM retains and forgets selectively, and so does a GRU",
    sources="P",
    kind="statistical",
    criterion="In trained networks the gate that lets in is higher by more than 0.2 at the marks of adding of 100 "
    "steps than at other steps, and the gate that holds lower at the flip-flop's pulses of a channel and "
    "sign: in the unit that half of the data chose, on the other half.  Supported if so in 9 of 10 seeds "
    "of both cells; contradicted if in one in so few that 9 of 10 would hardly give them (exact binomial "
    "test, 5 %), mixed if the other is supported; undecided where random marks pass, too, or fewer than "
    "half of the runs learned the task.",
)
def selects(study: Study) -> Finding:
    study.make(product(_TASKS.values(), ("lstm", "gru")))
    arms = {cell: {does: study.arm(task, cell) for does, task in _TASKS.items()} for cell in ("lstm", "gru")}
    selected = {cell: {does: selected_by(arm, does) for does, arm in of.items()} for cell, of in arms.items()}
    chosen = settings(study, *((task, cell, None) for cell in arms for task in _TASKS.values()))
    return dataclasses.replace(judge_selecting(selected), tuned=chosen)


def selected_by(arm: Arm, does: str) -> Selected:
    """Return how far the gate that lets in, or forgets, is apart in each network of an arm."""
    memory = memory_gate(get(str(arm.runs[0].spec["cell"])))
    # What is let in is what the memory gate gives up, where there is no gate of its own for it.
    own = does == LETS_IN and memory.input_gate
    name, sign = (memory.input_gate, 1) if own else (memory.name, -memory.sign)
    rows = []
    for run in arm.runs:
        batch = data_of(run, sequences=_SEQUENCES)
        values = sign * run_model(trained(run), batch.inputs)["layers.0"].gate(name)
        marks = marks_of(batch)
        elsewhere = np.random.default_rng([run.seed, 2]).permuted(marks, axis=1)
        rows.append((apart(values, marks), apart(values, elsewhere)))
    marked, random = np.array(rows).T
    return Selected(marked, random, arm.reached)


def marks_of(batch: Batch) -> Array:
    """Return what counts, (C, T - 1, B) bool: the marks of adding, or the flip-flop's pulses; not at the first step.

    There all channels have a pulse, and no network has anything yet to let go.  Pulses are told by channel and sign: a
    gate is a sigmoid, which is not high, or low, at 1 as well as at -1 and something else at 0.
    """
    x = np.moveaxis(batch.inputs[1:], 2, 0)
    return x[1:] > 0 if batch.name == "adding" else np.concatenate([x > 0, x < 0])


def apart(values: Array, marks: Array) -> float:
    """Return by how much gates (T, B, H) are higher at marks (C, T - 1, B), in the unit and kind that half chose."""
    first, second = (_differences(values[1:, part], marks[:, :, part]) for part in _halves(values.shape[1]))
    return float(second.flat[np.argmax(first)])


def _halves(count: int) -> tuple[slice, slice]:
    return slice(count // 2), slice(count // 2, None)


def _differences(values: Array, marks: Array) -> Array:
    """Return the mean at marks less that at all other steps, (C, H)."""
    return np.array([values[at].mean(axis=0) - values[~at].mean(axis=0) for at in marks])
