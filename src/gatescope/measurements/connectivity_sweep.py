"""The sweeps back of connectivity: adjoints of many outputs together, and the norms of what reaches each input."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np

from gatescope.cells.registry import get
from gatescope.datatypes import Array
from gatescope.datatypes.memory_estimate import MemoryEstimate
from gatescope.kernels.cpu import sweeps as cpu
from gatescope.kernels.cpu.adjoints import Adjoints
from gatescope.measurements.problem import Problem
from gatescope.measurements.stack_problem import StackProblem
from gatescope.recurrence.recompute import Replay
from gatescope.reporting.text import counted
from gatescope.storage.resumable import Resumable, counter

# Adjoints of so much are carried at a time; norms of so much are saved before those asked for are taken out.
_CARRIED_BYTES, _NORM_BYTES = 1 << 28, 1 << 25


class Sweeps:
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

    def __init__(self, work: Sweeps, some: slice, replay: Replay) -> None:
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
