"""How much memory a cell takes: statement 9c."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gatescope.datatypes import Array
from gatescope.datatypes.verdict import MIXED
from gatescope.experiments.claims.measured import Mean, finding, mean, word_of
from gatescope.experiments.claims.samples import run_all
from gatescope.experiments.claims.statement import Finding, Scale, statement
from gatescope.experiments.long_series import spec as experiment
from gatescope.experiments.machine import peak_memory
from gatescope.recurrence.initialization import init, init_stack
from gatescope.reporting.text import number, percent
from gatescope.tasks import long_series
from gatescope.training.train import train

CELLS = ("rnn", "gru", "gru_reset_before", "lstm_coupled", "lstm")
_INPUTS, _UNITS = 8, experiment.HIDDEN_SIZE
_SEQUENCES = 20
STEPS, FAST_STEPS = 20_000, 4_000
_WORK = "from gatescope.experiments.claims.footprint import peak_of; print(peak_of({cell!r}, {steps}))"


class Footprint(NamedTuple):
    """What a cell takes: numbers kept a step and a unit, states of a unit, bytes of the file of its weights."""

    kept: float
    carried: float
    file: float


_WHAT = (
    "numbers kept for the way back, a step and a unit",
    "states to carry, a unit",
    "bytes of the file of weights",
)
_PEAK = "peak of a training process, MiB"


def judge_footprint(cells: Mapping[str, Footprint], peaks: Mapping[str, Array]) -> Finding:
    """Return what footprints, and peaks (processes,) in MiB, say of a GRU beside an LSTM; other cells are shown."""
    measured = {
        f"{cell}: {what}": Mean(float(value), 0.0)
        for cell, footprint in cells.items()
        for what, value in zip(_WHAT, footprint, strict=True)
    }
    measured |= {f"{cell}: {_PEAK}": mean(values) for cell, values in peaks.items()}
    gru, lstm = cells["gru"], cells["lstm"]
    pairs = [(np.array([one]), np.array([other])) for one, other in zip(gru, lstm, strict=True)]
    pairs.append((peaks["gru"], peaks["lstm"]))
    less, more = (  # whatever the processes were
        [what for what, pair in zip((*_WHAT, _PEAK), pairs, strict=True) if pair[k].max() < pair[1 - k].min()]
        for k in (0, 1)
    )
    decided = word_of(supported=len(less) == len(pairs), contradicted=len(more) == len(pairs))
    reason = (
        f"a GRU takes less of {len(less)} of {len(pairs)}, more of {len(more)}: {number(gru.kept)} numbers a step and "
        f"unit, where an LSTM keeps {number(lstm.kept)} ({percent(1 - gru.kept / lstm.kept)} less), a file of "
        f"{number(gru.file)} bytes against {number(lstm.file)}, a process of {number(peaks['gru'].mean())} MiB against "
        f"{number(peaks['lstm'].mean())}"
    )
    return finding(MIXED if less and more else decided, reason, measured, len(peaks["gru"]))


@statement(
    "9c",
    "a GRU takes less memory, and is easier to deploy",
    sources="P A",
    kind="measured",
    suite="R",
    criterion="Numbers that are kept for the way back, states to carry, the file of weights, and the peak of a process "
    "that trains on the 40 x 20,000-step series.  Supported if all four are less for a GRU than for an LSTM, the peaks "
    "in all processes; contradicted if all are more.",
)
def takes_less(scale: Scale) -> Finding:
    steps, processes = (FAST_STEPS, 2) if scale.preliminary else (STEPS, 3)
    peaks: dict[str, list[float]] = {cell: [] for cell in ("lstm", "gru")}
    for turn in range(processes + 1):
        for cell, values in peaks.items():
            peak = _in_a_process(cell, steps)
            if turn:  # the first one may compile
                values.append(peak / 2**20)
    footprints = {cell: _footprint(cell) for cell in CELLS}
    return judge_footprint(footprints, {cell: np.array(values) for cell, values in peaks.items()})


def _footprint(cell: str) -> Footprint:
    params = init(cell, input_size=_INPUTS, hidden_size=_UNITS, seed=0)
    # As many sequences as a quick study trains on: these kernels are compiled there in any case.
    trace = run_all(params, np.zeros((2, _SEQUENCES, _INPUTS), np.float32))
    rows = trace.states[1:, 0, :, 0].size + trace.gates[:, 0, :, 0].size
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.npz"
        params.save(file)
        return Footprint(rows / len(trace.gates), trace.states.shape[2], file.stat().st_size)


def peak_of(cell: str, steps: int) -> int:
    """Return the peak of memory of this process, in bytes, once it has trained a cell for two epochs."""
    batch = long_series(steps=steps)
    stack = init_stack(cell, hidden_size=_UNITS, heads=batch, seed=0)
    train(stack, batch, epochs=2, threads=1)
    return peak_memory()


def _in_a_process(cell: str, steps: int) -> float:
    """Return the peak of a process that has done nothing else."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", _WORK.format(cell=cell, steps=steps)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)
