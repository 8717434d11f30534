"""The variants of the cells that several rows share, and how a study tunes them.

An ablation at one bias is none: without its input gate an LSTM may fail at the forget gate's usual bias, and learn at
one that is greater by 3.  So the gate that is left is tried with its usual bias and with one that keeps more: +3 for a
gate that says what is kept, -3 for one that says what is lost, or let in.

All learning rates with all initial weights and all biases would be 24 runs a cell and task before the first that
counts.  They are tried one after the other instead: the learning rates with each bias, at PyTorch's initial weights,
and then the other initial weights with the best of these.  The bias decides whether a variant learns at all, and the
rate how fast; schemes of initial weights differ in the same biases again (Keras's by +1, chrono's by up to the
logarithm of the task's memory), so they are the refinement.  LSTM, GRU and RNN have the runs of the win table.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from gatescope.cells.memory_gate import memory_gate
from gatescope.cells.ranges import gate_ranges
from gatescope.cells.registry import get
from gatescope.datatypes import Effect
from gatescope.experiments.claims.study import Cell, Study, StudyCell, StudyTask, study_cell

SHIFT = 3.0


def variant(name: str, cell: str, *, schemes: tuple[str, ...] | None = None, **clamp: float) -> StudyCell:
    """Return a cell, or one without some of its gates, with the biases that are tried of a gate that is left.

    Examples
    --------
    >>> from gatescope.experiments.claims.variant_cells import variant
    >>> variant("no input gate", "lstm", i=1.0).biases, variant("no forget gate", "lstm", f=1.0).biases
    (({}, {'f': 3.0}), ({}, {'i': -3.0}))
    """
    memory = memory_gate(get(cell))
    biases: tuple[dict[str, float], ...] = ({},)
    if memory.sigmoid and memory.name not in clamp:
        biases = ({}, {memory.name: SHIFT * memory.sign})
    elif memory.input_gate and memory.input_gate not in clamp:
        biases = ({}, {memory.input_gate: -SHIFT})
    return StudyCell(name, cell, clamp=clamp, biases=biases, schemes=schemes, in_turns=True)


NO_INPUT = variant("lstm, no input gate", "lstm", i=1.0)
NO_FORGET = variant("lstm, no forget gate", "lstm", f=1.0)
NO_OUTPUT = variant("lstm, no output gate", "lstm", o=1.0)
NO_GATES = variant("lstm, no gates", "lstm", i=1.0, f=1.0, o=1.0)
COUPLED = variant("lstm_coupled", "lstm_coupled")
LINEAR_INPUT = variant("lstm_linear_input", "lstm_linear_input")
LINEAR_OUTPUT = variant("lstm_linear_output", "lstm_linear_output")
PEEPHOLE = variant("lstm_peephole", "lstm_peephole")
AS_PRINTED = variant("lstm_as_printed", "lstm_as_printed")
NO_RESET = variant("gru, no reset gate", "gru", r=1.0)
NO_UPDATE = variant("gru, no update gate", "gru", z=0.0)
UNCOUPLED = variant("gru_uncoupled", "gru_uncoupled")
JANET = variant("janet", "janet")
LEAKY = variant("leaky", "leaky")
CONSTANT_LEAK = variant("leaky_constant", "leaky_constant")
RELU = variant("rnn_relu", "rnn_relu", schemes=("identity",))


def gates_of(cell: Cell) -> int:
    """Return how many gates open and shut: sigmoids among the row blocks that keep no value.

    Examples
    --------
    >>> from gatescope.experiments.claims.variant_cells import NO_FORGET, gates_of
    >>> gates_of("lstm"), gates_of(NO_FORGET), gates_of("gru"), gates_of("rnn")
    (3, 2, 2, 0)
    """
    one = study_cell(cell)
    equations = get(one.cell)
    ranges = dict(zip(equations.saved, gate_ranges(equations), strict=True))
    return sum(ranges.get(gate) == (0.0, 1.0) and gate not in one.clamp for gate in equations.gates)


def is_coupled(cell: Cell) -> bool:
    """Return whether nothing is let in while all is kept, as in a GRU."""
    return memory_gate(get(study_cell(cell).cell)).coupled


def adds(cell: Cell) -> bool:
    """Return whether the new state is a part of the old one and something more, by its equations.

    Examples
    --------
    >>> from gatescope.experiments.claims.variant_cells import AS_PRINTED, NO_UPDATE, adds
    >>> adds("lstm"), adds("rnn"), adds(AS_PRINTED), adds("gru"), adds(NO_UPDATE)
    (True, False, False, True, False)
    """
    one = study_cell(cell)
    memory = memory_gate(get(one.cell))
    kept = one.clamp.get(memory.name)
    return memory.state is not None and (kept is None or memory.sign * kept != (memory.sign - 1) // 2)


def effect_of(study: Study, task: StudyTask, first: Cell, second: Cell) -> Effect:
    """Return how the second cell differs from the first on a task, named by cell and task."""
    name = f"{study_cell(second).name}, {study.task(task).name}"
    return dataclasses.replace(study.effect(task, first, second), name=name)


def chosen(study: Study, arms: Iterable[tuple[StudyTask, Cell]]) -> dict[str, Any]:
    """Return what was chosen for arms, each a task and a cell."""
    best = {(study_cell(cell).name, study.task(task).name): study.tuned(task, cell) for task, cell in arms}
    return {
        ", ".join(names): {
            "lr": one.lr,
            "scheme": one.scheme,
            **({"biases": dict(one.biases)} if one.biases else {}),
            "at_edge": one.at_edge,
        }
        for names, one in best.items()
    }
