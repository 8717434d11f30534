"""The sweep of a gradient flow: forward once, then back from checkpoint to checkpoint; what it takes in memory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import numpy as np

from gatescope.cells.registry import get
from gatescope.datatypes import Array, Params
from gatescope.datatypes.memory_estimate import MemoryEstimate
from gatescope.kernels.cpu import sweeps
from gatescope.measurements.flow_record import FlowRecord
from gatescope.measurements.frame import Frame
from gatescope.measurements.selection import by_factors
from gatescope.recurrence.recompute import Replay
from gatescope.reporting.text import counted
from gatescope.storage.resumable import Resumable, counter

_SPECTRAL_LAGS = 200  # an SVD each
_NORM_COPIES = 3  # of the norms of a piece: as the kernel gives them and as they are put in their places


def plan_memory(problem: Frame, replay: Replay, lags: int, directions: int) -> MemoryEstimate:
    """Return what a gradient flow takes in memory on the CPU."""
    series, batch, at_once, dtype = problem.series, problem.batch, replay.buffers, problem.params.dtype
    layers = (
        [problem.params] if isinstance(problem.params, Params) else list(problem.params.directions().values())
    )
    several = f"{at_once} segments" if at_once > 1 else "one segment"
    widths = [series.input_size, *(params.hidden_size for params in layers[:-1])]
    parts = {
        "log-norms and lags": lags * 8 * (1 + batch),
        "checkpoints": replay.checkpoints.nbytes,
        f"{several} at a time": at_once * replay.buffer_bytes,
        f"inputs of {several}": at_once * replay.length * batch * sum(widths) * dtype.itemsize,
        "inputs as they are read": series.memory_bytes,
    }
    states = sum(len(get(params.cell).states) for params in layers)
    if directions == 1:
        parts["log-norms of a segment"] = _NORM_COPIES * replay.length * batch * states * 8
    parts["weights and adjoints"] = sum(_layer_bytes(params, batch * directions) for params in layers)
    segments = -(-replay.source // replay.length)
    units = " and ".join(counted(size, "unit") for size in dict.fromkeys(p.hidden_size for p in layers))
    title = (
        f"gradient flow of {problem.name} with {units} in {dtype.name}, "
        f"{counted(replay.source, 'step')}, {counted(batch, 'sequence')}: {counted(segments, 'segment')} of "
        f"{counted(replay.length, 'step')}"
    )
    return MemoryEstimate(
        title=title,
        parts={k: v for k, v in parts.items() if v},
        if_saturated=replay.derivative_bytes,
        segments=segments,
    )


def _layer_bytes(params: Params, rows: int) -> int:
    """Return what a layer's adjoints take, and its weights: as they came, for the forward sweep, for the adjoints."""
    cell, real = get(params.cell), params.dtype.itemsize
    states, gates = len(cell.states), len(cell.gates)
    padded = sweeps.plan_for(cell, params.hidden_size, params.dtype).padded
    weights = 3 * gates * padded * (padded + params.input_size + 2) * real
    return weights + 4 * rows * (2 * states + gates + 3) * padded * real


def default_lags(norm: str, longest: int) -> Array:
    """Return the lags to report: all, or few enough for an SVD each."""
    if norm != "spectral" or longest <= _SPECTRAL_LAGS:
        return np.arange(longest + 1)
    return np.concatenate([[0], by_factors(longest, _SPECTRAL_LAGS)])


def sweep(
    problem: Frame, record: FlowRecord, device: Any, carried: Any, count: int, resumable: Resumable
) -> Array:
    """Return the log-norms (L, B) of sequences of one length, whose `carried` adjoints on a device begin.

    `count` is how many adjoints a sequence they are.
    """
    with resumable.restoring():
        length = None if resumable.stored is None else _positive(counter(resumable.stored, "length"))
    replay = problem.replay(device, *record.reach, directions=count, length=length)
    if problem.progress and problem.device == "cpu":
        plan_memory(problem, replay, record.lags.size, count).announce()
    return _carry(problem, replay, carried, record, resumable)


def _carry(problem: Frame, replay: Replay, carried: Any, record: FlowRecord, resumable: Resumable) -> Array:
    """Go forward once, then take the adjoints all the way back; return the log-norms (L, B)."""
    before = replay.source
    if resumable.stored is not None:
        with resumable.restoring():
            before = _restore(resumable.stored, replay, carried, record)
    else:
        record.start(carried)
    resumable.stored = None  # it may be large
    now = before, *carried.state()
    resumable.snapshot = lambda: {
        **replay.state(),
        "before": np.array(now[0]),
        "adjoints": now[1],
        "exponents": now[2],
        "log_norm": record.log_norm[: record.row(now[0])],
        "moved": record.moved,
    }
    total = replay.forward_steps + replay.source - replay.last
    already = replay.reached + replay.source - before
    with problem.bar(total, "gradient flow", initial=already) as bar:
        for steps in replay.forward():
            bar.update(steps)
            resumable.tick()
        with closing(replay.pieces(before)) as pieces:
            for begin, states, gates in pieces:
                record.piece(carried, states, gates, begin)
                if resumable.enabled:
                    now = begin, *carried.state()
                    resumable.tick()
                bar.update(states.shape[0] - 1)
    return record.log_norm


def _restore(stored: Mapping[str, Array], replay: Replay, carried: Any, record: FlowRecord) -> int:
    """Put back what an interrupted call left; return the state before which to go on."""
    replay.restore(stored)
    before = counter(stored, "before")
    if not replay.begins(before):
        raise ValueError(f"no segment begins at step {before}")
    shapes = [array.shape for array in carried.state()]
    if shapes != [stored["adjoints"].shape, stored["exponents"].shape]:
        raise ValueError(f"adjoints and exponents have other shapes than {shapes}")
    carried.restore(stored["adjoints"], stored["exponents"])
    record.log_norm[: record.row(before)] = stored["log_norm"]
    if stored["moved"].shape != record.moved.shape or stored["moved"].dtype != np.bool_:
        raise ValueError(f"moved of shape {stored['moved'].shape} and {stored['moved'].dtype}")
    record.moved[:] = stored["moved"]
    return before


def _positive(length: int) -> int:
    if length < 1:
        raise ValueError(f"segments of {length} steps")
    return length
