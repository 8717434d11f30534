"""Spans of a run over which tangents are carried: each a job of its own, forward, piece by piece, that can be stopped.

A sequence is one span, or two that share it; spans depend on the series alone, never on the number of threads, so the
results do not either.
"""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from itertools import pairwise

import numpy as np
from tqdm.auto import tqdm

from gatescope.cells.registry import Cell
from gatescope.datatypes import Array, Params
from gatescope.kernels.cpu import sweeps
from gatescope.kernels.cpu.device import CpuDevice
from gatescope.kernels.cpu.tangents import Tangents
from gatescope.measurements.plans import Plan
from gatescope.measurements.step_jacobian import step_jacobians
from gatescope.recurrence.input_stream import Series
from gatescope.recurrence.recompute import check_states
from gatescope.storage.resumable import Resumable

# Below so many measured steps a sequence is one span, not two.
_TWO_SPANS = 2000
_BINS = 200
_SETTLE = 200
# A piece's states and gates stay in the second-level cache.
_PIECE_BYTES, _PIECE_STEPS = 1 << 19, 512
# Intervals that are tried, and what rounding may put into an exponent, in nats per step.
_INTERVALS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20)
_ROUNDING = 1e-6
_TRIAL = 20
# The checks look at so many pieces of a job, so many steps of each, and follow a perturbation over so many steps.
_DETERMINANT_PIECES, _DETERMINANT_STEPS, _PERTURBED_STEPS = 4, 32, 1000
# A change grows or shrinks freely for so many steps, or nats: less than either end of a float's digits.
_PERTURBATION, _PERTURBED_RUN, _PERTURBED_NATS = 1e-7, 20, 4.0


def in_float64(params: Params) -> Params:
    """The same weights in float64."""
    return dataclasses.replace(
        params,
        weight_ih=params.weight_ih.astype(np.float64),
        weight_hh=params.weight_hh.astype(np.float64),
        bias_ih=params.bias_ih.astype(np.float64),
        bias_hh=params.bias_hh.astype(np.float64),
    )


def bin_ends(steps: int, every: int) -> Array:
    """Measured steps at the ends of the bins that sums are kept of, whole intervals each."""
    intervals = -(-steps // every)
    bins = min(_BINS, intervals)
    ends = (np.arange(1, bins + 1) * intervals // bins).astype(np.int64) * every
    return np.minimum(ends, steps)


def merged(parts: list[tuple[int, float, float]]) -> tuple[float, float]:
    """Means per step of two sums that (steps, sum, sum) hold; NaN without any step."""
    steps = sum(part[0] for part in parts)
    if steps == 0:
        return float("nan"), float("nan")
    return sum(part[1] for part in parts) / steps, sum(part[2] for part in parts) / steps


class SpanJob:
    """Tangents over one span of one sequence: to where it begins, through a transient, then measured.

    Attributes
    ----------
    sequence : int
    sums : (bins, k)
        Sums of ln R_ii over the steps of each bin.
    sine, rounding : float
        The smallest sine of the measured part, and the sum of eps / sine.
    again : int
        How many intervals were done again step by step.
    determinant, perturbation : (int, float, float)
        Steps looked at, and two sums over them that have to agree.
    """

    def __init__(
        self,
        cell: Cell,
        params: Params,
        series: Series,
        sequence: int,
        state: Array,
        directions: Array,
        bounds: tuple[int, int, int, int],
        every: int,
        checks: tuple[bool, bool],
    ) -> None:
        self._cell, self._params, self._series, self.sequence = cell, params, series, sequence
        # Bins count from the first of these steps; directions align from the second on; the third to the last count.
        self._origin, self._settle, self._first, self._last = bounds
        self._every = every
        self._machine = CpuDevice(cell, params, 1)
        plan = sweeps.plan_for(cell, params.hidden_size, np.dtype(np.float64))
        self._tangents = Tangents(plan, params, directions)
        step_bytes = 8 * params.hidden_size * (len(cell.states) + len(cell.saved))
        length = min(_PIECE_STEPS, max(16, _PIECE_BYTES // step_bytes))
        self._length = max(every, length // every * every)
        self._states, self._gates = self._machine.buffers(self._length, 1)
        self._state = np.array(state[None])
        self._ends = bin_ends(series.steps - self._origin, every)
        self.position = 0
        self.sums = np.zeros((len(self._ends), len(directions)))
        self.sine, self.rounding, self.again = 1.0, 0.0, 0
        self.kept: dict[str, Array] = {}
        self._determinants, self._perturbs = checks
        pieces = max(1, (self._last - self._first) // self._length)
        self._looks = max(1, pieces // _DETERMINANT_PIECES)
        self._pieces = 0
        self._offset: Array | None = None
        self.determinant, self.perturbation = (0, 0.0, 0.0), (0, 0.0, 0.0)

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.position >= self._last

    @property
    def last(self) -> int:
        """The step it ends at."""
        return self._last

    def advance(self) -> int:
        """Do the next piece; how many steps it had."""
        begin = self.position
        edge = next(e for e in (self._settle, self._first, self._last) if e > begin)
        end = min(begin + self._length, edge)
        x = np.ascontiguousarray(self._series.read(begin, end)[:, self.sequence : self.sequence + 1])
        states, gates = self._states[: end - begin + 1], self._gates[: end - begin]
        self._machine.forward(x, self._state, states, gates)
        check_states(states, begin, self.sequence)
        self._state = self._machine.last(states)
        if begin >= self._settle:
            if self._perturbs and self._offset is None and begin >= self._first:
                self._offset = self._tangents.directions[0]
            logs, sine, rounding, again = self._tangents.forward(states, gates, 0, self._every)
            if begin >= self._first:
                self._count(begin, logs, sine, rounding)
                self.again += again
                self._check(begin, x, states, gates, logs)
        self.position = end
        return end - begin

    def _count(self, begin: int, logs: Array, sine: float, rounding: float) -> None:
        intervals = (begin - self._origin) // self._every + np.arange(len(logs))
        edges = -(-self._ends // self._every)
        np.add.at(self.sums, np.searchsorted(edges, intervals, side="right"), logs)
        self.sine = min(self.sine, sine)
        self.rounding += rounding

    def _check(self, begin: int, x: Array, states: Array, gates: Array, logs: Array) -> None:
        steps = len(gates)
        if self._determinants and self._pieces % self._looks == 0:
            seen = min(steps, max(1, _DETERMINANT_STEPS // self._every) * self._every)
            jacobians = step_jacobians(
                self._params, states[:seen, 0], states[1 : seen + 1, 0], gates[:seen, 0]
            )
            exact = float(np.linalg.slogdet(jacobians)[1].sum())
            count, total, counted = self.determinant
            ours = float(logs[: -(-seen // self._every)].sum())
            self.determinant = (count + seen, total + exact, counted + ours)
        self._pieces += 1
        if self._offset is not None and self.perturbation[0] < _PERTURBED_STEPS:
            count, total, counted = self.perturbation
            rate = abs(float(logs[:, 0].sum())) / steps
            length = (
                int(min(_PERTURBED_RUN, max(1.0, _PERTURBED_NATS / rate))) if rate > 0 else _PERTURBED_RUN
            )
            total += self._perturb(self._offset, x, states, length)
            self.perturbation = (count + steps, total, counted + float(logs[:, 0].sum()))

    def _perturb(self, offset: Array, x: Array, states: Array, length: int) -> float:
        """Sum over a piece of the log growth of a small change of the state, made small again every `length` steps."""
        total = 0.0
        here, kept = self._machine.buffers(length, 1)
        for begin in range(0, len(x), length):
            count = min(length, len(x) - begin)
            small = _PERTURBATION * max(1.0, float(np.linalg.norm(states[begin])))
            ahead = here[: count + 1]
            self._machine.forward(
                x[begin : begin + count], states[begin] + offset * small, ahead, kept[:count]
            )
            change = ahead[count, 0] - states[begin + count, 0]
            size = float(np.linalg.norm(change))
            with np.errstate(divide="ignore"):
                total += float(np.log(size / small))
            if size > 0:
                offset = change / size
        self._offset = offset
        return total

    def bytes(self) -> dict[str, int]:
        """What it takes, by what it is for."""
        return {
            "states and gates of a piece": self._states.nbytes + self._gates.nbytes,
            "directions and the matrices of a step": self._tangents.nbytes,
            "sums of the logarithms": self.sums.nbytes,
        }

    def state(self) -> dict[str, Array]:
        """All that has to be kept to go on later."""
        offset = np.zeros(0) if self._offset is None else self._offset
        return {
            "position": np.array([self.position, self._pieces]),
            "state": self._state,
            "rows": self._tangents.rows.copy(),
            "sums": self.sums.copy(),
            "sine": np.array([self.sine, self.rounding, self.again]),
            "checks": np.array([self.determinant, self.perturbation]),
            "offset": offset,
        }

    def keep(self) -> None:
        """Have `kept` hold the state after the last whole piece, which another thread may read at any time."""
        self.kept = self.state()

    def restore(self, kept: dict[str, Array]) -> None:
        """Go on where `state` was taken."""
        self.position, self._pieces = (int(value) for value in kept["position"])
        self._state, self.sums = np.array(kept["state"]), np.array(kept["sums"])
        self._tangents.rows[:] = kept["rows"]
        self.sine, self.rounding = (float(value) for value in kept["sine"][:2])
        self.again = int(kept["sine"][2])
        (a, b, c), (d, e, f) = kept["checks"].tolist()
        self.determinant, self.perturbation = (int(a), b, c), (int(d), e, f)
        self._offset = np.array(kept["offset"]) if kept["offset"].size else None


def span_jobs(
    cell: Cell,
    params: Params,
    series: Series,
    start: Array,
    directions: Array,
    transient: int,
    every: int,
    *,
    checks: bool,
) -> list[SpanJob]:
    """The jobs of all sequences: a sequence in one span, or in two halves, each with a transient of its own."""
    steps = series.steps
    measured = steps - transient
    edges = [transient, steps]
    if measured >= _TWO_SPANS and measured >= 8 * transient:
        ends = bin_ends(measured, every)
        edges.insert(1, transient + int(ends[len(ends) // 2 - 1]))
    full = directions.shape[0] == directions[0].size
    jobs = []
    for sequence in range(series.batch):
        for first, last in pairwise(edges):
            # A span that begins in the middle has to settle, whatever the transient of the whole is.
            settled = first - transient if first == transient else first - max(transient, _SETTLE)
            bounds = (transient, max(0, settled), first, last)
            wanted = (checks and full, checks and first == transient)
            jobs.append(
                SpanJob(cell, params, series, sequence, start[sequence], directions, bounds, every, wanted)
            )
    return jobs


def choose_interval(
    cell: Cell, params: Params, series: Series, start: Array, directions: Array, transient: int
) -> int:
    """The longest interval between orthonormalizations after which no direction is lost among the others.

    Tried on the first sequence: a few steps to leave the initial state, then the candidates over the same few steps.
    """
    machine = CpuDevice(cell, params, 1)
    plan = sweeps.plan_for(cell, params.hidden_size, np.dtype(np.float64))
    settle = min(_TRIAL, transient, series.steps - 1)
    last = min(settle + _TRIAL, series.steps)
    x = np.ascontiguousarray(series.read(0, last)[:, :1])
    states, gates = machine.buffers(last, 1)
    machine.forward(x, start[:1], states, gates)
    check_states(states, 0, 0)
    chosen = _INTERVALS[0]
    settled = Tangents(plan, params, directions)
    if settle:
        settled.forward(states[: settle + 1], gates[:settle], 0, 1)
    for every in _INTERVALS:
        trial = Tangents(plan, params, settled.directions)
        _, _, rounding, again = trial.forward(states[settle:], gates[settle:], 0, every)
        if again or rounding > _ROUNDING * (last - settle) or every > last - settle:
            break
        chosen = every
    return chosen


def plan_of(jobs: list[SpanJob], series: Series, title: str) -> Plan:
    """What the jobs take: each has its own states and directions, whether it is at work or waits."""
    parts: dict[str, int] = {}
    for job in jobs:
        for name, size in job.bytes().items():
            parts[name] = parts.get(name, 0) + size
    if series.resident_bytes:
        parts["inputs as they are read"] = series.resident_bytes
    spans = "one span" if len(jobs) == 1 else f"{len(jobs)} spans"
    return Plan(title=f"{title}, {series.steps:,} steps in {spans}", parts=parts)


def work_through(
    jobs: list[SpanJob], threads: int, kept: Resumable, *, description: str, progress: bool
) -> None:
    """Advance all jobs to their ends, on so many threads; an error or Ctrl-C stops them between two pieces."""
    stop = threading.Event()
    if kept.enabled:
        with kept.restoring():
            for number, job in enumerate(jobs):
                if kept.stored is not None:
                    job.restore({name: kept.stored[f"{number}.{name}"] for name in job.state()})
                job.keep()
        kept.stored = None
        kept.snapshot = lambda: {
            f"{number}.{name}": array for number, job in enumerate(jobs) for name, array in job.kept.items()
        }
    bar = tqdm(
        total=sum(job.last for job in jobs),
        initial=sum(job.position for job in jobs),
        unit="step",
        unit_scale=True,
        desc=description,
        disable=None if progress else True,
    )

    def run(job: SpanJob, *, alone: bool = False) -> None:
        while not job.done and not stop.is_set():
            steps = job.advance()
            if kept.enabled:
                job.keep()
            bar.update(steps)
            if alone:
                kept.tick()

    with bar:
        if threads == 1 or len(jobs) == 1:
            for job in jobs:
                run(job, alone=True)
            return
        with ThreadPoolExecutor(min(threads, len(jobs))) as pool:
            futures = [pool.submit(run, job) for job in jobs]
            try:
                waiting = set(futures)
                while waiting:
                    ended, waiting = wait(waiting, timeout=1, return_when=FIRST_EXCEPTION)
                    for future in ended:
                        future.result()
                    kept.tick()
            finally:  # the pool waits for its threads, which leave after the piece they are at
                stop.set()
