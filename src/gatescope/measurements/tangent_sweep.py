"""Tangents carried forward along the sequences of a run, piece by piece; a worker for each chunk of time.

A sequence is one chunk, or two that share it; chunks depend on the series alone, never on the number of threads, so
the results do not either.
"""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_EXCEPTION, wait
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from gatescope.datatypes import Array
from gatescope.kernels.cpu import sweeps
from gatescope.kernels.cpu.device import CpuDevice
from gatescope.kernels.cpu.tangents import Tangents
from gatescope.kernels.cpu.threads import open_pool
from gatescope.measurements.exponent_errors import misalignment, unsettled_nats
from gatescope.measurements.problem import Problem
from gatescope.measurements.step_jacobian import step_jacobians
from gatescope.recurrence.exact_steps import ExactSteps, warn_lost
from gatescope.recurrence.recompute import check_states
from gatescope.storage.resumable import Resumable

_TWO_CHUNKS = 2000  # measured steps from which a sequence is two chunks
_BINS = 200
_SETTLE = 200  # least steps in which the directions of a chunk in the middle align
# Most that a piece's states and gates take: of pieces a quarter as long half of the time went into calls.
_PIECE_BYTES, _PIECE_STEPS = 1 << 21, 2048
# Intervals between orthonormalizations that are tried, and what rounding may put into an exponent, in nats per step.
_INTERVALS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20)
_ROUNDING = 1e-6
_TRIAL = 20
# The checks look at so many pieces of a chunk, so many steps of each, and follow a perturbation over so many steps.
_DETERMINANT_PIECES, _DETERMINANT_STEPS, _PERTURBED_STEPS = 4, 32, 1000
# A change grows or shrinks freely for so many steps, or nats: less than either end of a float's digits.
_PERTURBATION, _PERTURBED_RUN, _PERTURBED_NATS = 1e-7, 20, 4.0


class Chunk(NamedTuple):
    """Part of a sequence, in steps of the series.

    Attributes
    ----------
    origin : int
        From which bins count: where the measurement of the sequence begins.
    settle : int
        From which on the directions align.
    first, last : int
        What is measured.
    """

    origin: int
    settle: int
    first: int
    last: int


def bin_ends(steps: int, every: int) -> Array:
    """Return the measured steps at the ends of the bins that are summed over, whole intervals each."""
    intervals = -(-steps // every)
    bins = min(_BINS, intervals)
    ends = (np.arange(1, bins + 1) * intervals // bins).astype(np.int64) * every
    return np.minimum(ends, steps)


def mean_rates(parts: list[tuple[int, float, float]]) -> tuple[float, float]:
    """Return the means per step of two sums that (steps, sum, sum) hold; NaN without any step."""
    steps = sum(part[0] for part in parts)
    if steps == 0:
        return float("nan"), float("nan")
    return sum(part[1] for part in parts) / steps, sum(part[2] for part in parts) / steps


class TangentWorker:
    """Tangents over one chunk of one sequence: run to where it begins, through a transient, then measured.

    It starts with orthonormal `directions` (k, S, H), has `every` steps between orthonormalizations, and looks at
    determinants, and perturbs the state, if that is asked for.  Through the transient it carries other directions,
    `rivals`, along, one more if there are more: where both span the same by then, and the rivals have grown apart, what
    they started with no longer counts.

    Attributes
    ----------
    sums : (bins, k)
        Sums of ln R_ii over the steps of each bin.
    sine, rounding : float
        The smallest sine of the measured part, and the sum of eps / sine.
    again : int
        How many intervals were done again step by step.
    exact : ExactSteps
        What derives the steps whose units are saturated.
    determinant, perturbation : (int, float, float)
        Steps looked at, and two sums over them that have to agree.
    unsettled : (k,)
        What `unsettled_nats` returns when the measurement begins.
    moved : bool
        Whether any state was another than the first.
    """

    def __init__(
        self,
        problem: Problem,
        sequence: int,
        directions: Array,
        rivals: Array,
        chunk: Chunk,
        every: int,
        *,
        determinants: bool,
        perturbs: bool,
    ) -> None:
        cell, params = problem.cell, problem.params
        self._params, self._series, self.sequence = params, problem.series, sequence
        self._chunk, self._every = chunk, every
        self._device, self.exact = CpuDevice(cell, params, 1), ExactSteps(params)
        plan = sweeps.plan_for(cell, params.hidden_size, params.dtype)
        self._tangents = Tangents(plan, params, directions)
        self._rivals: Tangents | None = Tangents(plan, params, rivals)
        self._bytes = self._tangents.nbytes + self._rivals.nbytes
        self._growth = np.zeros(len(rivals))
        self.unsettled = np.full(len(directions), np.nan)
        step_bytes = 8 * params.hidden_size * (len(cell.states) + len(cell.saved))
        length = min(_PIECE_STEPS, max(16, _PIECE_BYTES // step_bytes), max(chunk.last, every))
        self._length = max(every, length // every * every)
        self._states, self._gates = self._device.buffers(self._length, 1)
        self._state = np.array(problem.initial_state[sequence : sequence + 1])
        self._first_state, self.moved = self._state.copy(), False
        self._ends = bin_ends(problem.steps - chunk.origin, every)
        self.position = 0
        self.sums = np.zeros((len(self._ends), len(directions)))
        self.sine, self.rounding, self.again = 1.0, 0.0, 0
        self.saved: dict[str, Array] = {}
        self._determinants, self._perturbs = determinants, perturbs
        pieces = max(1, (chunk.last - chunk.first) // self._length)
        self._looks = max(1, pieces // _DETERMINANT_PIECES)
        self._pieces = 0
        self._offset: Array | None = None
        self.determinant, self.perturbation = (0, 0.0, 0.0), (0, 0.0, 0.0)

    @property
    def done(self) -> bool:
        """Return whether nothing is left to do."""
        return self.position >= self._chunk.last

    @property
    def last(self) -> int:
        """Return the step it ends at."""
        return self._chunk.last

    def advance(self) -> int:
        """Do the next piece; return how many steps it had."""
        begin = self.position
        edge = next(e for e in self._chunk[1:] if e > begin)
        end = min(begin + self._length, edge)
        x = np.ascontiguousarray(self._series.read(begin, end)[:, self.sequence : self.sequence + 1])
        states, gates = self._states[: end - begin + 1], self._gates[: end - begin]
        self._device.forward(x, self._state, states, gates)
        check_states(states, begin, self.sequence)
        self._state = self._device.last(states)
        self.moved = self.moved or bool((states != self._first_state).any())
        if begin >= self._chunk.first and self._rivals is not None:
            own = self._tangents.directions
            apart = misalignment(own, self._rivals.directions[: len(own)])
            self.unsettled = unsettled_nats(apart, self._growth, own[0].size)
            self._rivals = None
        if begin >= self._chunk.settle:
            gates = self.exact.steps(x, states, gates)
            if self._rivals is not None:
                self._growth += self._rivals.forward(states, gates, 0, self._every)[0].sum(axis=0)
            if self._perturbs and self._offset is None and begin >= self._chunk.first:
                self._offset = self._tangents.directions[0]
            logs, sine, rounding, again = self._tangents.forward(states, gates, 0, self._every)
            if begin >= self._chunk.first:
                self._count(begin, logs, sine, rounding)
                self.again += again
                self._check(begin, x, states, gates, logs)
        self.position = end
        return end - begin

    def _count(self, begin: int, logs: Array, sine: float, rounding: float) -> None:
        intervals = (begin - self._chunk.origin) // self._every + np.arange(len(logs))
        edges = -(-self._ends // self._every)
        np.add.at(self.sums, np.searchsorted(edges, intervals, side="right"), logs)
        self.sine = min(self.sine, sine)
        self.rounding += rounding

    def _check(self, begin: int, x: Array, states: Array, gates: Array, logs: Array) -> None:
        steps = len(gates)
        if self._determinants and self._pieces % self._looks == 0:
            seen = min(steps, max(1, _DETERMINANT_STEPS // self._every) * self._every)
            old, new = states[:seen, 0], states[1 : seen + 1, 0]
            jacobians = step_jacobians(self._params, old, new, gates[:seen, 0])
            exact = float(np.linalg.slogdet(jacobians)[1].sum())
            count, total, counted = self.determinant
            ours = float(logs[: -(-seen // self._every)].sum())
            self.determinant = (count + seen, total + exact, counted + ours)
        self._pieces += 1
        if self._offset is not None and self.perturbation[0] < _PERTURBED_STEPS:
            count, total, counted = self.perturbation
            rate = abs(float(logs[:, 0].sum())) / steps
            free = _PERTURBED_NATS / rate if rate > 0 else np.inf
            length = int(min(_PERTURBED_RUN, max(1.0, free)))
            total += self._perturb(self._offset, x, states, length)
            self.perturbation = (count + steps, total, counted + float(logs[:, 0].sum()))

    def _perturb(self, offset: Array, x: Array, states: Array, length: int) -> float:
        """Return the log growth over a piece of a change of the state, made small again every `length` steps."""
        total = 0.0
        perturbed, gates = self._device.buffers(length, 1)
        for begin in range(0, len(x), length):
            count = min(length, len(x) - begin)
            small = _PERTURBATION * max(1.0, float(np.linalg.norm(states[begin])))
            ahead = perturbed[: count + 1]
            moved = states[begin] + offset * small
            self._device.forward(x[begin : begin + count], moved, ahead, gates[:count])
            change = ahead[count, 0] - states[begin + count, 0]
            size = float(np.linalg.norm(change))
            with np.errstate(divide="ignore"):
                total += float(np.log(size / small))
            if size > 0:
                offset = change / size
        self._offset = offset
        return total

    def bytes(self) -> dict[str, int]:
        """Return the bytes it takes, by what they hold."""
        return {
            "states and gates of a piece": self._states.nbytes + self._gates.nbytes,
            "directions and the matrices of a step": self._bytes,
            "sums of the logarithms": self.sums.nbytes,
        }

    @property
    def derivative_bytes(self) -> int:
        """What is added to these where units are saturated."""
        return self.exact.bytes(self._length, 1)

    def state(self) -> dict[str, Array]:
        """Return all that is needed to resume later."""
        return {
            "position": np.array([self.position, self._pieces]),
            "state": self._state,
            "rows": self._tangents.rows.copy(),
            "rivals": np.zeros(0) if self._rivals is None else self._rivals.rows.copy(),
            "growth": self._growth.copy(),
            "unsettled": self.unsettled.copy(),
            "sums": self.sums.copy(),
            "sine": np.array([self.sine, self.rounding, self.again, self.moved]),
            "checks": np.array([self.determinant, self.perturbation]),
            "offset": np.zeros(0) if self._offset is None else self._offset,
        }

    def save_state(self) -> None:
        """Put the state after the last whole piece into `saved`, which another thread may read at any time."""
        self.saved = self.state()

    def restore(self, saved: dict[str, Array]) -> None:
        """Go on where `state` was taken."""
        for name, array in self.state().items():
            whole = array.dtype.kind == "i"
            if saved[name].shape != array.shape and name not in ("offset", "rivals"):
                raise ValueError(f"{name} of shape {saved[name].shape}, not {array.shape}")
            if saved[name].dtype.kind not in ("i" if whole else "if"):
                raise ValueError(f"{name} of {saved[name].dtype}")
        self.position, self._pieces = (int(value) for value in saved["position"])
        if not 0 <= self.position <= self._chunk.last or self._pieces < 0:
            raise ValueError(f"position {self.position} of {self._chunk}")
        if saved["offset"].shape not in ((0,), self._tangents.directions[0].shape):
            raise ValueError(f"offset of shape {saved['offset'].shape}")
        self._state, self.sums = np.array(saved["state"]), np.array(saved["sums"])
        self._tangents.rows[:] = saved["rows"]
        self._growth, self.unsettled = np.array(saved["growth"]), np.array(saved["unsettled"])
        if not saved["rivals"].size:
            self._rivals = None
        elif self._rivals is not None:
            self._rivals.rows[:] = saved["rivals"]
        self.sine, self.rounding = (float(value) for value in saved["sine"][:2])
        self.again, self.moved = int(saved["sine"][2]), bool(saved["sine"][3])
        (a, b, c), (d, e, f) = saved["checks"].tolist()
        self.determinant, self.perturbation = (int(a), b, c), (int(d), e, f)
        self._offset = np.array(saved["offset"]) if saved["offset"].size else None


def tangent_workers(
    problem: Problem, directions: Array, rivals: Array, transient: int, every: int, *, checks: bool
) -> list[TangentWorker]:
    """Return the workers of all sequences: one for a sequence, or one for each half, after a transient of its own."""
    measured = problem.steps - transient
    edges = [transient, problem.steps]
    if measured >= _TWO_CHUNKS and measured >= 8 * transient:
        ends = bin_ends(measured, every)
        edges.insert(1, transient + int(ends[len(ends) // 2 - 1]))
    full = directions.shape[0] == directions[0].size
    workers = []
    for sequence in range(problem.batch):
        for first, last in pairwise(edges):
            # A chunk that begins in the middle has to settle, whatever the transient of the whole is.
            settled = first - transient if first == transient else first - max(transient, _SETTLE)
            worker = TangentWorker(
                problem,
                sequence,
                directions,
                rivals,
                Chunk(transient, max(0, settled), first, last),
                every,
                determinants=checks and full,
                perturbs=checks and first == transient,
            )
            workers.append(worker)
    return workers


def choose_interval(problem: Problem, directions: Array, transient: int) -> int:
    """Return the longest interval between orthonormalizations after which no direction is lost among the others.

    Tried on the first sequence: a few steps to leave the initial state, then the candidates over the same few steps.
    """
    device = CpuDevice(problem.cell, problem.params, 1)
    plan = sweeps.plan_for(problem.cell, problem.params.hidden_size, problem.params.dtype)
    settle = min(_TRIAL, transient, problem.steps - 1)
    last = min(settle + _TRIAL, problem.steps)
    x = np.ascontiguousarray(problem.series.read(0, last)[:, :1])
    states, gates = device.buffers(last, 1)
    device.forward(x, problem.initial_state[:1], states, gates)
    check_states(states, 0, 0)
    gates = ExactSteps(problem.params).steps(x, states, gates)
    chosen = _INTERVALS[0]
    settled = Tangents(plan, problem.params, directions)
    if settle:
        settled.forward(states[: settle + 1], gates[:settle], 0, 1)
    for every in _INTERVALS:
        trial = Tangents(plan, problem.params, settled.directions)
        _, _, rounding, again = trial.forward(states[settle:], gates[settle:], 0, every)
        if again or rounding > _ROUNDING * (last - settle) or every > last - settle:
            break
        chosen = every
    return chosen


def run_workers(problem: Problem, workers: list[TangentWorker], resumable: Resumable, what: str) -> None:
    """Advance all workers to their ends on the threads there are; an error or Ctrl-C stops them between two pieces."""
    stop = threading.Event()
    if resumable.enabled:
        with resumable.restoring():
            for number, worker in enumerate(workers):
                if resumable.stored is not None:
                    worker.restore({name: resumable.stored[f"{number}.{name}"] for name in worker.state()})
                worker.save_state()
        resumable.stored = None
        resumable.snapshot = lambda: {
            f"{number}.{name}": array
            for number, worker in enumerate(workers)
            for name, array in worker.saved.items()
        }
    total, already = (sum(getattr(worker, name) for worker in workers) for name in ("last", "position"))

    def run(worker: TangentWorker, *, alone: bool = False) -> None:
        while not worker.done and not stop.is_set():
            steps = worker.advance()
            if resumable.enabled:
                worker.save_state()
            bar.update(steps)
            if alone:
                resumable.tick()

    with problem.bar(total, what, initial=already) as bar:
        if problem.threads == 1 or len(workers) == 1:
            for worker in workers:
                run(worker, alone=True)
            warn_lost([worker.exact for worker in workers])
            return
        with open_pool(min(problem.threads, len(workers))) as pool:
            futures = [pool.submit(run, worker) for worker in workers]
            try:
                waiting = set(futures)
                while waiting:
                    ended, waiting = wait(waiting, timeout=1, return_when=FIRST_EXCEPTION)
                    for future in ended:
                        future.result()
                    resumable.tick()
            finally:  # the pool waits for its threads, which leave after the piece they are at
                stop.set()
    warn_lost([worker.exact for worker in workers])
