"""Connectivity: how strongly each output depends on each input, in the log domain."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np

from gatescope.cells.registry import Cell, get
from gatescope.checks.arrays import check_ascending
from gatescope.checks.network import as_stack
from gatescope.checks.numbers import check_choice
from gatescope.datatypes import Array, Bidirectional, Params, Stack
from gatescope.datatypes.connectivity import Connectivity
from gatescope.datatypes.memory_estimate import MemoryEstimate
from gatescope.errors import ValueRangeError
from gatescope.kernels.cpu import sweeps as cpu
from gatescope.kernels.cpu.adjoints import Adjoints
from gatescope.measurements.frame import Frame
from gatescope.measurements.problem import Problem, by_length, prepare
from gatescope.measurements.selection import combinations, directions_of
from gatescope.measurements.stack_problem import StackProblem, check_causal, prepare_stack
from gatescope.recurrence.recompute import Replay
from gatescope.reporting.text import counted
from gatescope.storage.resumable import Resumable, counter

NORMS = ("frobenius", "random", "unit")
SPACINGS = ("even", "log")
_TARGETS, _SOURCES = 200, 2000
# Adjoints of so much are carried at a time; norms of so much are saved before those asked for are taken out.
_CARRIED_BYTES, _NORM_BYTES = 1 << 28, 1 << 25


def connectivity(
    params: Params | Stack | Bidirectional,
    inputs: Any,
    *,
    target_steps: Any = None,
    source_steps: Any = None,
    norm: str = "frobenius",
    unit: int = 0,
    lengths: Any = None,
    initial_state: Any = None,
    clamp: Any = None,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = False,
    resume: str | os.PathLike[str] | None = None,
) -> Connectivity:
    r"""Measure the log-norm of the derivative of each output by each input.

    .. math::
        \ln \left\| \frac{\partial\, \mathrm{outputs}[t]}{\partial\, \mathrm{inputs}[t']} \right\|, \qquad t' \le t

    One sweep back through the run carries the adjoints of all outputs at once: each joins when the sweep reaches its
    step, and W_ih^T times the adjoint of the pre-activations is the derivative by that step's input.  Every adjoint is
    scaled by exact powers of two, so that a row is right at lag 10,000,000.

    A row costs as much as one `gradient_flow` with ``norm="random"`` or ``"unit"``, and H times as much with
    ``"frobenius"``.  What is carried is bounded by 256 MiB: where H rows of so many targets need more, they are taken
    in batches, with a sweep for each.  The run is recomputed from checkpoints; only the sources asked for are saved.

    Of a stack the outputs are those of its read-out, or of its uppermost layer where it has none, and the way back goes
    through all layers; a row costs the sum of theirs.

    Parameters
    ----------
    params : Params, Stack or Bidirectional
        Not of a backward direction, whose steps go the other way, nor of both: these are refused.
    inputs
        As for `gradient_flow`: a file or a generator is read piece by piece.
    target_steps : (R,) array_like of int, optional
        The steps t of the outputs, counted from 0, ascending.  Default: all, or 200 spaced evenly to the last.
    source_steps : (C,) array_like of int, ``"even"`` or ``"log"``, optional
        The steps t' of the inputs, counted from 0, ascending.  Default ``"even"``: all to the last target, or 2,000
        spaced evenly; ``"log"``: about 2,000 whose distances from the last target are spaced evenly in the logarithm.
    norm : str
        ``"frobenius"``: of the whole Jacobian, (H, I).  ``"random"``, ``"unit"``: of v J, for one unit vector v drawn
        with `seed`, or for the output of unit `unit` alone; a sweep of these is H times as fast.
    unit : int
    lengths, initial_state, clamp, seed, threads, progress, resume
        As for `gradient_flow`; even one sequence's adjoints are shared out among the threads.  With `resume`, what is
        carried takes three times the memory.

    Returns
    -------
    Connectivity

    References
    ----------
    .. [1] S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9 (1997), section 3.1.
    .. [2] A. Graves, "Supervised sequence labelling with recurrent neural networks" (Springer 2012), section 4.2: the
       sensitivity to an input as it fades over time.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("gru", input_size=1, hidden_size=8, seed=0)
    >>> conn = gs.connectivity(params, np.zeros((50, 1)), target_steps=[9, 49])
    >>> conn.log_norm.shape, bool(np.isnan(conn.row(9)[10:]).all()), bool(np.isfinite(conn.row(49)).all())
    ((2, 50, 1), True, True)
    """
    sequences = {"lengths": lengths, "initial_state": initial_state, "clamp": clamp}
    common: dict[str, Any] = {"seed": seed, "threads": threads, "progress": progress, "resume": resume}
    chosen: dict[str, Any] = {"target_steps": target_steps, "source_steps": source_steps}
    chosen |= {"norm": norm, "unit": unit}
    if isinstance(params, Stack | Bidirectional):
        stack = as_stack(params)
        check_causal(stack)
        for name, weights in stack.directions().items():
            _check_forward(weights, f"params, {name}")
        with prepare_stack(stack, inputs, **sequences, **common) as stacked:
            return measure(stacked, **chosen)

    def check(cell: Cell, weights: Params) -> None:
        directions_of(cell, weights, cell.states[0], NORMS, norm, unit, seed)
        _check_forward(weights, "params.reverse")

    with prepare(params, inputs, **sequences, **common, check=check) as problem:
        return measure(problem, **chosen)


def _check_forward(weights: Params, argument: str) -> None:
    """Refuse a backward direction."""
    if weights.reverse:
        raise ValueRangeError(
            "is a backward direction, and the steps of this measurement are those of a forward one",
            argument=argument,
            seen=True,
            advice="give inputs[::-1] and dataclasses.replace(params, reverse=False), and count steps from the end",
        )


def measure(
    problem: Problem | StackProblem,
    *,
    target_steps: Any = None,
    source_steps: Any = None,
    norm: str = "frobenius",
    unit: int = 0,
) -> Connectivity:
    """Do the work of `connectivity`, whose arguments these are."""

    def measure_group(part: Problem | StackProblem) -> Connectivity:
        cotangents = _cotangents(part, norm, unit)
        targets, sources = _steps(part, target_steps, source_steps)
        log_norm = np.full((targets.size, sources.size, part.batch), np.nan)
        work = _Work(part, cotangents, targets, sources, log_norm)
        if part.progress:
            work.estimate().announce()
        arguments = {"target_steps": targets, "source_steps": sources, "norm": norm, "direction": cotangents}
        with part.resumable("connectivity", **arguments) as resumable:
            work.run(resumable)
        return Connectivity(
            cell=part.name,
            target_step=targets,
            source_step=sources,
            log_norm=log_norm,
            norm=norm,
            provenance=part.provenance(direction_seed=part.seed),
        )

    return by_length(problem, measure_group, _join)


def estimate(
    problem: Problem | StackProblem,
    *,
    target_steps: Any = None,
    source_steps: Any = None,
    norm: str = "frobenius",
    unit: int = 0,
) -> MemoryEstimate:
    """Estimate what a call of `connectivity` with these arguments takes."""
    cotangents = _cotangents(problem, norm, unit)
    targets, sources = _steps(problem, target_steps, source_steps)
    log_norm = np.empty((targets.size, sources.size, problem.batch))
    return _Work(problem, cotangents, targets, sources, log_norm).estimate()


def _cotangents(problem: Problem | StackProblem, norm: str, unit: Any) -> Array:
    """Return the directions (M, S, H) of the state that gives the outputs, of a stack that of its uppermost layer."""
    if isinstance(problem, Problem):
        top, readout = problem.params, None
    else:
        top, readout = problem.layers[-1], problem.params.readout_weight
    cell = get(top.cell)
    if readout is None:
        return directions_of(cell, top, cell.states[0], NORMS, norm, unit, problem.seed)
    rows = combinations(len(readout), NORMS, norm, unit, problem.seed, "outputs")
    cotangents = np.zeros((len(rows), len(cell.states), top.hidden_size))
    cotangents[:, 0] = rows @ readout
    return cotangents.astype(top.dtype)


def _join(groups: list[Array], parts: list[Connectivity]) -> Connectivity:
    """Return the connectivity of groups of sequences over all their steps, NaN where a sequence has no such pair."""
    targets = np.unique(np.concatenate([part.target_step for part in parts]))
    sources = np.unique(np.concatenate([part.source_step for part in parts]))
    log_norm = np.full((targets.size, sources.size, sum(map(len, groups))), np.nan)
    for rows, part in zip(groups, parts, strict=True):
        index = np.searchsorted(targets, part.target_step), np.searchsorted(sources, part.source_step), rows
        log_norm[np.ix_(*index)] = part.log_norm
    return dataclasses.replace(parts[-1], target_step=targets, source_step=sources, log_norm=log_norm)


class _Work:
    """The sweeps that a measurement takes: one for each batch of targets, whose adjoints are carried together."""

    def __init__(
        self,
        problem: Problem | StackProblem,
        cotangents: Array,
        targets: Array,
        sources: Array,
        log_norm: Array,
    ) -> None:
        self.problem, self.cotangents = problem, cotangents
        self.targets, self.sources, self.log_norm = targets, sources, log_norm
        self._device: Any = problem.open_device()
        each = max(1, _CARRIED_BYTES // (problem.batch * cotangents.nbytes))
        self._carried = min(each, targets.size) * len(cotangents)
        self._sweeps: list[tuple[slice, Replay]] = []
        for some in (slice(at, at + each) for at in range(0, targets.size, each)):
            if targets[some][-1] >= sources[0]:
                bounds = int(targets[some][-1]) + 1, int(sources[0])
                directions = targets[some].size * len(cotangents)
                self._sweeps.append((some, problem.replay(self._device, *bounds, directions=directions)))

    def estimate(self) -> MemoryEstimate:
        """Return what a sweep takes, with the result."""
        problem, replays = self.problem, [replay for _, replay in self._sweeps]
        layers = (problem.params,) if isinstance(problem, Problem) else problem.layers
        numbers = sum(
            (len(get(layer.cell).states) + len(get(layer.cell).gates) + 2) * layer.hidden_size
            for layer in layers
        )
        row = numbers * problem.params.dtype.itemsize
        longest = max((replay.length for replay in replays), default=0)
        parts = {
            "log-norms": self.log_norm.nbytes,
            "adjoints that are carried": problem.batch * self._carried * row,
            "norms of a part of a segment": min(_NORM_BYTES, 8 * longest * problem.batch * self._carried),
            "segments": max((replay.buffers * replay.buffer_bytes for replay in replays), default=0),
            "checkpoints": sum(replay.checkpoints.nbytes for replay in replays),
        }
        if problem.series.memory_bytes:
            parts["inputs as they are read"] = problem.series.memory_bytes
        title = (
            f"connectivity of {problem.name} with {counted(sum(one.hidden_size for one in layers), 'unit')}, "
            f"{counted(problem.steps, 'step')}, {counted(len(replays), 'sweep')}"
        )
        saturated = max((replay.derivative_bytes for replay in replays), default=0)
        return MemoryEstimate(title=title, parts=parts, if_saturated=saturated)

    def adjoints(self, count: int) -> Any:
        """Return what carries `count` adjoints of the outputs, all 0, back to the inputs."""
        problem = self.problem
        if isinstance(problem, StackProblem):
            nothing = np.broadcast_to(
                np.zeros((), problem.params.dtype), (problem.batch, count, problem.initial_state.shape[1])
            )
            return self._device.adjoints(nothing, [0], inputs=True)
        shape = problem.batch, count, *self.cotangents.shape[1:]
        nothing = np.broadcast_to(np.zeros((), problem.params.dtype), shape)
        plan = cpu.plan_for(problem.cell, problem.params.hidden_size, problem.params.dtype)
        return Adjoints(plan, problem.params, nothing, problem.threads, inputs=True)

    def run(self, resumable: Resumable) -> None:
        """Do a sweep for each batch of targets, the last batch first, or those that are left."""
        stored, resumable.stored = resumable.stored, None  # it may be large
        finished, left = 0, [*self._sweeps]
        if stored is not None:
            with resumable.restoring():
                finished = counter(stored, "finished")
                if not finished < len(left):
                    raise ValueError(f"{finished} of {len(left)} sweeps are finished")
                _check_shape(stored["log_norm"], self.log_norm.shape)
                self.log_norm[:] = stored["log_norm"]
        steps = [replay.forward_steps + replay.source - replay.last for _, replay in left]
        already = sum(steps[len(steps) - finished :])
        self._sweeps.clear()  # each lets go of its checkpoints when it is done
        del left[len(left) - finished :]
        with self.problem.bar(sum(steps), "connectivity", initial=already) as bar:
            while left:
                some, replay = left.pop()
                sweep, before = _Sweep(self, some, replay), replay.source
                if stored is not None:
                    with resumable.restoring():
                        before = sweep.restore(stored)
                    stored = None
                    bar.update(replay.reached + replay.source - before)
                resumable.snapshot = partial(_snapshot, finished, sweep, self.log_norm)
                for done in replay.forward():
                    bar.update(done)
                    resumable.tick()
                with closing(replay.pieces(before)) as pieces:
                    for begin, states, gates in pieces:
                        sweep.piece(begin, states, gates)
                        if resumable.enabled:
                            sweep.save_state(begin)
                            resumable.tick()
                        bar.update(states.shape[0] - 1)
                finished += 1


def _snapshot(finished: int, sweep: _Sweep, log_norm: Array) -> dict[str, Array]:
    # What the current sweep has put into its rows since its state was saved is put there again.
    return {"finished": np.array(finished), "log_norm": log_norm, **sweep.state()}


def _check_shape(array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{array.shape} instead of {shape}")


class _Sweep:
    """One sweep back: the adjoints of some targets, and where their norms go."""

    def __init__(self, work: _Work, some: slice, replay: Replay) -> None:
        cotangents = work.cotangents
        self._replay, self._cotangents = replay, cotangents
        self._targets, self._sources, self._log_norm = work.targets[some], work.sources, work.log_norm[some]
        self._batch, targets = work.problem.batch, self._targets
        self._carried = work.adjoints(targets.size * len(cotangents))
        self._left = targets.size  # targets that the sweep has not reached
        step_bytes = 8 * self._batch * targets.size * len(cotangents)
        self._most = max(1, _NORM_BYTES // step_bytes)
        # Before the first piece nothing is carried, and nothing need be saved.
        self._saved = replay.source, np.zeros(0), np.zeros(0)

    def save_state(self, before: int) -> None:
        """Let `state` be that before a step, to which the sweep has come, from here on."""
        self._saved = before, *self._carried.state()

    def state(self) -> dict[str, Array]:
        """Return what `restore` needs; safe to be taken between any two lines."""
        before, adjoints, exponents = self._saved
        return {
            **self._replay.state(),
            "before": np.array(before),
            "adjoints": adjoints,
            "exponents": exponents,
        }

    def restore(self, stored: Mapping[str, Array]) -> int:
        """Put back what `state` returned; return the step before which to go on."""
        if counter(stored, "length") != self._replay.length:
            raise ValueError(f"segments of {stored['length']} steps, not {self._replay.length}")
        self._replay.restore(stored)
        before, adjoints, exponents = counter(stored, "before"), stored["adjoints"], stored["exponents"]
        if not self._replay.begins(before):
            raise ValueError(f"no segment begins at step {before}")
        if before < self._replay.source:
            for array, own in zip((adjoints, exponents), self._carried.state(), strict=True):
                _check_shape(array, own.shape)
            self._carried.restore(adjoints, exponents)
            self._saved = before, adjoints, exponents
            # Those of the step before which it is join with the next piece.
            self._left = int(np.searchsorted(self._targets, before))
        return before

    def piece(self, begin: int, states: Array, gates: Array) -> None:
        """Go back over a piece that begins at step `begin`."""
        high = begin + states.shape[0] - 1  # a state's number, one more than that of the step that made it
        while high > begin:
            while self._left and self._targets[self._left - 1] + 1 == high:
                self._left -= 1
                self._join(self._left)
            next_target = int(self._targets[self._left - 1]) + 1 if self._left else begin
            low = max(begin, next_target, high - self._most)
            norms = self._carried.back_to_inputs(states, gates, low - begin, high - begin)
            self._take(norms, low, high)
            high = low

    def _join(self, target: int) -> None:
        cotangents = np.broadcast_to(self._cotangents, (self._batch, *self._cotangents.shape))
        self._carried.join(target * len(self._cotangents), cotangents)

    def _take(self, norms: Array, low: int, high: int) -> None:
        """Take the norms (high - low, B, M) of the inputs of steps high - 1, ..., low."""
        first, last = np.searchsorted(self._sources, (low, high))
        if first == last:
            return
        chosen = norms[high - 1 - self._sources[first:last]].reshape(
            last - first, self._batch, self._targets.size, len(self._cotangents)
        )
        joined = np.logaddexp.reduce(2 * chosen[:, :, self._left :], axis=-1) / 2
        self._log_norm[self._left :, first:last] = joined.transpose(2, 0, 1)


def _steps(problem: Frame, target_steps: Any, source_steps: Any) -> tuple[Array, Array]:
    """Return the targets and sources of sequences of one length; steps that others in the batch have are left out."""
    last, longest = problem.steps - 1, problem.longest
    if target_steps is None:
        targets = _even(last, _TARGETS)
    else:
        targets = check_ascending("target_steps", target_steps, whole=True, least=0, most=longest - 1)
        targets = _within("target_steps", targets, last)
    last_target = int(targets[-1])
    if not isinstance(source_steps, str | None):
        sources = check_ascending("source_steps", source_steps, whole=True, least=0, most=longest - 1)
        return targets, _within("source_steps", sources, last)
    if check_choice("source_steps", source_steps or "even", SPACINGS) == "even":
        return targets, _even(last_target, _SOURCES)
    count = min(last_target + 1, _SOURCES)
    distances = np.geomspace(1, last_target + 1, count).round().astype(np.int64) - 1
    return targets, last_target - np.unique(distances)[::-1]


def _within(name: str, steps: Array, last: int) -> Array:
    within = steps[steps <= last]
    if not within.size:
        raise ValueRangeError(
            f"are all past the end of a sequence of {counted(last + 1, 'step')}",
            argument=name,
            advice="leave that sequence out, or add earlier steps",
        )
    return within


def _even(last: int, most: int) -> Array:
    """Return the steps 0..last, or `most` of them spaced evenly up to the last."""
    if last < most:
        return np.arange(last + 1)
    return np.linspace(0, last, most + 1)[1:].round().astype(np.int64)
