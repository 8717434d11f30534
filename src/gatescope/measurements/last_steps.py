"""Steps towards the end of a series, as a problem of their own: from the states that the run up to them leaves."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gatescope.measurements.problem import Problem
from gatescope.recurrence.input_stream import in_memory

_PIECE = 4096  # steps of the run up to them, at a time


def last_steps(problem: Problem, sequences: int, length: int, bar: Any, *, ending: int = 0) -> Problem:
    """Return the problem of `length` steps of the first sequences, `ending` steps before their ends.

    It begins with the states that the network of the problem has by then.
    """
    lengths = problem.lengths[:sequences]
    states = problem.initial_state[: len(lengths)].copy()
    inputs = np.empty((length, len(lengths), problem.series.input_size), problem.params.dtype)
    for steps in np.unique(lengths):
        rows = np.flatnonzero(lengths == steps)
        end = int(steps) - ending
        before = problem.part(rows, 0, end - length)
        for _, piece, _ in before.forward([before.steps], _PIECE):
            states[rows] = piece[-1]
            bar.update(len(piece) - 1)
        inputs[:, rows] = problem.series.read(end - length, end)[:, rows]
    return dataclasses.replace(
        problem,
        series=in_memory(inputs),
        initial_state=states,
        lengths=np.full(len(lengths), length),
        longest=length,
        progress=False,
    )
