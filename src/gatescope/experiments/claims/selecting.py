"""Whether trained gates tell what counts from what does not: statement 47."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from gatescope.datatypes import Arm, Array, Batch
from gatescope.datatypes.verdict import CONTRADICTED, MIXED, SUPPORTED, UNDECIDED
from gatescope.experiments.claims.measured import Mean, finding, mean, word_of
from gatescope.experiments.claims.statement import Finding, statement
from gatescope.experiments.claims.study import Study
from gatescope.experiments.claims.trained import (
    LEARNED,
    data_of,
    distinguished,
    settings,
    share_word,
    trained,
)
from gatescope.experiments.claims.win_table import ADDING_100, FLIP_FLOP
from gatescope.recurrence.run import run as run_model
from gatescope.reporting.text import listing

_APART = 0.2  # of a gate's values, from 0 to 1
_SEEDS, _FOOLED = 0.9, 0.1  # of all: at least, at marks, and at most, at random ones
_SEQUENCES = 100  # half of them choose a unit, the others test it
LETS_IN, FORGETS = "lets in", "forgets"
_TASKS = {LETS_IN: ADDING_100, FORGETS: FLIP_FLOP}
# Which gates do so, and which way they then turn.  A GRU may forget by either: by z, which keeps the state, or by r, by
# which the texts mean it to.
_GATES = {
    "lstm": {LETS_IN: {"i": 1}, FORGETS: {"f": -1}},
    "gru": {LETS_IN: {"z": -1}, FORGETS: {"z": -1, "r": -1}},
}


class Selected(NamedTuple):
    """Of an arm's networks, how far a gate is apart (n,), at marks and random ones; which learned; and the gates."""

    marked: Array
    random: Array
    learned: Array
    gates: tuple[str, ...]


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
                f"{cell}, gate that {does}, {_chosen(one.gates)}: {_passed(one.marked)} of {n} seeds, at random marks "
                f"{_passed(one.random)}; {int(one.learned.sum())} learned the task"
            )
            measured[f"{cell}, gate that {does}: difference at marks"] = mean(one.marked)
            measured[f"{cell}, gate that {does}: difference at random marks"] = mean(one.random)
    (own, others), (this, other) = words.values(), selected.values()
    passed = ((this[does].marked > _APART, other[does].marked > _APART) for does in this)
    which = distinguished(own, [others], passed=[*passed])
    return finding(word, "; ".join(parts), measured, n, distinguishes=which)


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


def _chosen(gates: Sequence[str]) -> str:
    return listing(f"{gate} {count} times" for gate, count in Counter(gates).most_common())


@statement(
    "47",
    "an LSTM retains and forgets selectively, and so does a GRU",
    sources="P",
    kind="statistical",
    criterion="In trained networks a gate differs by more than 0.2 between marks and other steps, in the unit that "
    "half of the data chose, on the other half.  What is let in: i of an LSTM is higher, z of a GRU lower "
    "at the marks of adding of 100 steps.  What is forgotten: f is lower, z or r is at the flip-flop's "
    "pulses of a channel and sign.  Supported if so in 9 of 10 seeds of both cells; contradicted if in "
    "one in so few that 9 of 10 would hardly give them (exact binomial test, 5 %), mixed if the other is "
    "supported; undecided where random marks pass, too, or fewer than half of the runs learned the task.",
)
def selects(study: Study) -> Finding:
    study.make(product(_TASKS.values(), ("lstm", "gru")))
    arms = {cell: {does: study.arm(task, cell) for does, task in _TASKS.items()} for cell in ("lstm", "gru")}
    selected = {cell: {does: selected_by(arm, does) for does, arm in of.items()} for cell, of in arms.items()}
    chosen = settings(study, *((task, cell, None) for cell in arms for task in _TASKS.values()))
    return dataclasses.replace(judge_selecting(selected), tuned=chosen)


def selected_by(arm: Arm, does: str) -> Selected:
    """Return how far the gate that lets in, or forgets, is apart in each network of an arm."""
    gates = _GATES[str(arm.runs[0].spec["cell"])][does]
    rows, chosen = [], []
    for run in arm.runs:
        batch = data_of(run, sequences=_SEQUENCES)
        trace = run_model(trained(run), batch.inputs, lengths=batch.lengths)["layers.0"]
        values = np.concatenate([sign * trace.gate(name) for name, sign in gates.items()], axis=2)
        marks = marks_of(batch)
        elsewhere = np.random.default_rng([run.seed, 2]).permuted(marks, axis=1)
        (at_marks, column), (at_random, _) = apart(values, marks), apart(values, elsewhere)
        rows.append((at_marks, at_random))
        chosen.append([*gates][column * len(gates) // values.shape[2]])
    marked, random = np.array(rows).T
    return Selected(marked, random, arm.reached, tuple(chosen))


def marks_of(batch: Batch) -> Array:
    """Return what counts, (C, T - 1, B) bool: the marks of adding, or the flip-flop's pulses; not at the first step.

    There all channels have a pulse, and no network has anything yet to let go.  Pulses are told by channel and sign: a
    gate is a sigmoid, which is not high, or low, at 1 as well as at -1 and something else at 0.
    """
    x = np.moveaxis(batch.inputs[1:], 2, 0)
    return x[1:] > 0 if batch.name == "adding" else np.concatenate([x > 0, x < 0])


def apart(values: Array, marks: Array) -> tuple[float, int]:
    """Return by how much gates (T, B, N) are higher at marks (C, T - 1, B), and in which: half of the data chose."""
    first, second = (_differences(values[1:, part], marks[:, :, part]) for part in _halves(values.shape[1]))
    at = np.unravel_index(np.argmax(first), first.shape)
    return float(second[at]), int(at[1])


def _halves(count: int) -> tuple[slice, slice]:
    return slice(count // 2), slice(count // 2, None)


def _differences(values: Array, marks: Array) -> Array:
    """Return the mean at marks less that at all other steps, (C, H)."""
    return np.array([values[at].mean(axis=0) - values[~at].mean(axis=0) for at in marks])
