"""What takes how much memory in a call of `gradient_flow`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gatescope.checks.network import check_params
from gatescope.checks.numbers import check_count, check_threads
from gatescope.datatypes import Params
from gatescope.errors import UnknownNameError, ValueRangeError
from gatescope.kernels.cpu import sweeps
from gatescope.kernels.cpu.device import CpuDevice
from gatescope.measurements.plans import Plan
from gatescope.recurrence.input_stream import MAPPED_BYTES, Series
from gatescope.recurrence.recompute import Replay

# Norms of a piece, as the kernel gives them and as they are put in their places.
_NORM_COPIES = 3


@dataclass(frozen=True)
class FlowPlan(Plan):
    """What a call of `gradient_flow` takes on the CPU, beyond Python and what is loaded already; ``print`` it.

    Attributes
    ----------
    title : str
        The run in words.
    parts : mapping of str to int
        Bytes by what they hold, all of them at the same time.
    segment : int
        Steps of a segment that is recomputed as a whole.
    segments : int
        How many there are.
    """

    segment: int
    segments: int

    def __str__(self) -> str:
        """A table of the parts, largest first, and their sum."""
        counted = f"{self.segments:,} segments" if self.segments != 1 else "one segment"
        return f"{self.title}: {counted} of {self.segment:,} steps\n{self.table()}"


def plan_flow(
    params: Params,
    steps: int,
    batch: int = 1,
    *,
    norm: str = "random",
    lags: int | None = None,
    threads: int | None = None,
) -> FlowPlan:
    """What `gradient_flow` takes for so many steps on the CPU, before it is called.

    Memory grows with the square root of T, but for the result: 8 (1 + B) bytes a lag.  Inputs are counted as those of a
    memory-mapped file; arrays are in memory already.

    Parameters
    ----------
    params : Params
    steps, batch : int
        T and B.
    norm : str
        As for `gradient_flow`.
    lags : int, optional
        How many lags are reported; default: as by `gradient_flow`.
    threads : int, optional
        As for `gradient_flow`; a second thread for few sequences needs a second segment.

    Returns
    -------
    FlowPlan

    Raises
    ------
    ShapeError, DtypeError, ValueRangeError, UnknownNameError
        If an argument does not fit.

    Examples
    --------
    >>> import gatescope as gs
    >>> from gatescope.measurements.memory_estimate import plan_flow
    >>> params = gs.init("lstm", input_size=1, hidden_size=64, seed=0)
    >>> print(plan_flow(params, 10_000_000, threads=2))
    gradient flow of lstm with 64 units in float32, 10,000,000 steps, one sequence: 3,163 segments of 3,162 steps
      log-norms and lags       152.59 MiB
      inputs as they are read   16.00 MiB
      2 segments at a time       9.26 MiB
      checkpoints                1.54 MiB
      weights and adjoints     212.00 KiB
      log-norms of a segment   148.22 KiB
      inputs of 2 segments      24.70 KiB
      together                 179.77 MiB
    """
    cell = check_params(params)
    check_count("steps", steps)
    check_count("batch", batch)
    if norm not in ("random", "unit", "spectral"):
        raise UnknownNameError(f"norm={norm!r} is not known; choose one of random, unit, spectral")
    size = params.hidden_size * len(cell.states)
    directions = size if norm == "spectral" else 1
    if lags is None:
        lags = min(steps + 1, 201) if norm == "spectral" else steps + 1
    elif check_count("lags", lags) > steps + 1:
        raise ValueRangeError(f"lags={lags!r} is more than there are, {steps + 1}")
    machine = CpuDevice(cell, params, check_threads(threads))
    shape = (batch, len(cell.states), params.hidden_size)
    series = _Planned(steps, batch, params)
    first_state = np.broadcast_to(np.zeros((), params.dtype), shape)
    replay = Replay(machine, cell, series, first_state, steps, 0, directions=directions)
    return plan_of(replay, params, lags, directions)


class _Planned(Series):
    """A series of which nothing but its size is known; it is taken to be a memory-mapped file."""

    def __init__(self, steps: int, batch: int, params: Params) -> None:
        self.steps, self.batch, self.input_size, self.dtype = steps, batch, params.input_size, params.dtype
        self.memory_bytes = min(steps * batch * params.input_size * params.dtype.itemsize, MAPPED_BYTES)


def plan_of(replay: Replay, params: Params, lags: int, directions: int) -> FlowPlan:
    """The plan of a call that is about to begin."""
    cell, series, length = replay.cell, replay.series, replay.length
    batch, states, gates = series.batch, len(cell.states), len(cell.gates)
    real, at_once = params.dtype.itemsize, replay.buffers
    padded = sweeps.plan_for(cell, params.hidden_size, params.dtype).padded
    several = f"{at_once} segments" if at_once > 1 else "one segment"
    parts = {
        "log-norms and lags": lags * 8 * (1 + batch),
        "checkpoints": replay.checkpoints.nbytes,
        f"{several} at a time": at_once * replay.buffer_bytes,
        f"inputs of {several}": at_once * length * batch * series.input_size * real,
    }
    if series.memory_bytes:
        parts["inputs as they are read"] = series.memory_bytes
    if directions == 1:
        parts["log-norms of a segment"] = _NORM_COPIES * length * batch * states * 8
    # The weights as they came, as the forward sweep reads them, and as the adjoint does.
    weights = 3 * gates * padded * (padded + params.input_size + 2) * real
    adjoints = 4 * batch * directions * (2 * states + gates + 3) * padded * real
    parts["weights and adjoints"] = weights + adjoints
    sequences = "one sequence" if batch == 1 else f"{batch:,} sequences"
    title = (
        f"gradient flow of {cell.name} with {params.hidden_size} units in {params.dtype.name}, "
        f"{replay.source:,} steps, {sequences}"
    )
    return FlowPlan(title=title, parts=parts, segment=length, segments=-(-replay.source // length))
