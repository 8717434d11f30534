"""A run that is too long to be stored: its states and gates, recomputed in segments from checkpoints, latest first."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Protocol

import numpy as np

from gatescope.datatypes import Array
from gatescope.errors import ValueRangeError
from gatescope.kernels.cpu.threads import ahead, open_pool
from gatescope.kernels.device import PieceDevice
from gatescope.recurrence.exact_steps import ExactSteps, warn_lost
from gatescope.recurrence.input_stream import Series
from gatescope.storage.resumable import counter


def check_states(states: Array, begin: int, sequence: int | None = None) -> None:
    """Refuse states (T+1, B, S, H) of a run from step `begin` on that are not finite; the error says since when.

    `sequence` is the number of the one sequence there is; default: they are numbered from 0.
    """
    if np.isfinite(states[-1]).all():  # what is not finite once stays so, in a cell that feeds its state back
        return
    step, row = (int(index) for index in np.argwhere(~np.isfinite(states).all(axis=(2, 3)))[0])
    raise NotFiniteError(row if sequence is None else sequence, begin + step)


class NotFiniteError(ValueRangeError):
    """Raised when the states of a sequence are not finite from a step on, the initial state being step 0."""

    def __init__(self, sequence: int, step: int) -> None:
        self.sequence, self.step = sequence, step
        super().__init__(
            f"the states of sequence {sequence} are not finite from step {step} on",
            advice="use smaller weights or inputs (or float64, if these are float32), or leave that sequence out",
        )


class StepDerivatives(Protocol):
    """What makes the derivatives of saturated steps of a run that is recomputed, and counts what was lost in them."""

    @property
    def parts(self) -> Sequence[ExactSteps]:
        """What counts, one a layer."""

    def bytes(self, steps: int, batch: int, slots: int = 1) -> int:
        """Return what coefficients of pieces of so many steps take in memory."""


class Replay:
    """The steps from state `last` to state `source` of a run, a segment at a time, on the way back.

    First `forward` goes once through the run and stores the state at the start of every segment; then `pieces` yields
    the segments.  Where a thread is idle it recomputes the segment before while the caller uses the current one; that
    costs a second segment's memory and changes no bit.

    Parameters
    ----------
    device : PieceDevice
    series : Series
        The inputs, open.
    first_state : (B, S, H), or (B, N) of a device of several layers
    source, last : int
        States, counted 0..T.
    directions : int
        Adjoints of each sequence that the caller carries back; with many of them no thread is idle.
    length : int, optional
        Steps of a segment; the device's choice by default.
    exact : StepDerivatives, optional
        Gives the derivatives of the steps of segments that have saturated units, in the place of their gates.

    Attributes
    ----------
    checkpoints : (C, B, S, H) or (C, B, N)
        The states at the start of the segments that are asked for.
    buffers, buffer_bytes : int
        Number of segments in memory at a time, and the bytes of one.
    derivative_bytes : int
        What is added to all of these where units are saturated.
    """

    def __init__(
        self,
        device: PieceDevice,
        series: Series,
        first_state: Array,
        source: int,
        last: int,
        *,
        directions: int = 1,
        length: int | None = None,
        exact: StepDerivatives | None = None,
    ) -> None:
        self._exact = exact
        self.series, self._device = series, device
        self.source, self.last = source, last
        size, gate_bytes = first_state.nbytes, device.gate_bytes(series.batch)
        # A GPU gets the inputs with the piece.
        step_bytes = first_state.dtype.itemsize * series.batch * series.input_size + size + gate_bytes
        self.length = device.piece(source, step_bytes, size) if length is None else length
        self.buffer_bytes = (self.length + 1) * size + self.length * gate_bytes
        self.buffers = 2 if device.overlaps(series.batch, directions) else 1
        self.derivative_bytes = exact.bytes(self.length, series.batch, self.buffers) if exact else 0
        self._count = -(-source // self.length) if last < source else 0
        # Checkpoints are kept from this segment on.
        self._first = min(last // self.length, max(self._count - 1, 0))
        self.checkpoints = np.empty(
            (max(self._count - self._first, 1), *first_state.shape), first_state.dtype
        )
        self.checkpoints[0] = first_state
        self._at = 0, np.array(first_state)
        self._buffers: list[tuple[Any, Any]] = []

    @property
    def forward_steps(self) -> int:
        """Number of steps that `forward` goes through in all."""
        return max(self._count - 1, 0) * self.length

    @property
    def reached(self) -> int:
        """Number of steps that `forward` has gone through."""
        return self._at[0] * self.length

    def state(self) -> dict[str, Array]:
        """Return what `restore` needs; may be called between any two lines of `forward`."""
        reached, state = self._at
        return {
            "length": np.array(self.length),
            "reached": np.array(reached),
            "state": state,
            "checkpoints": self.checkpoints[: max(reached - self._first + 1, 0)],
        }

    def restore(self, stored: Mapping[str, Array]) -> None:
        """Continue from what `state` returned for the same run and the same length of segments."""
        reached, checkpoints = counter(stored, "reached"), stored["checkpoints"]
        if not 0 <= reached < max(self._count, 1) or len(checkpoints) != max(reached - self._first + 1, 0):
            raise ValueError(f"{len(checkpoints)} checkpoints after {reached} segments")
        self.checkpoints[: len(checkpoints)] = checkpoints
        self._at = reached, np.array(stored["state"].reshape(self.checkpoints.shape[1:]))

    def begins(self, step: int) -> bool:
        """Return whether `pieces` may continue before that step."""
        return step in (self.source, self.last) or (
            self.last < step < self.source and step % self.length == 0
        )

    def forward(self) -> Iterator[int]:
        """Fill the checkpoints; yield the number of steps of each segment."""
        index, state = self._at
        if index >= self._count - 1:
            return
        pieces = (self.series.read(k * self.length, self._end(k)) for k in range(index, self._count - 1))
        with closing(self._device.ends(pieces, state, *self._buffer(0))) as ends:
            for end in ends:
                if not np.isfinite(end).all():
                    break
                index, state = index + 1, end
                if index >= self._first:
                    self.checkpoints[index - self._first] = state
                self._at = index, state
                yield self.length
        if index < self._count - 1:
            self._check_end(self._compute(index, state, 0)[1], index)

    def pieces(self, before: int | None = None) -> Generator[tuple[int, Any, Any], None, None]:
        """Yield segments, latest first: where one begins, its states (steps+1, B, S, H) and gates (steps, B, K, H).

        Of a segment with saturated units the gates are `Coefficients`, if there is an `exact`.

        Each is to be used before the next one is asked for.  `before`: where the last one that was used began.
        """
        if before is not None and before <= self.last:
            return
        count = self._count if before is None else -(-before // self.length)
        order = [index for index in range(count - 1, self._first - 1, -1) if self._end(index) > self.last]
        segments = (self._recompute(index, k % self.buffers) for k, index in enumerate(order))
        with open_pool(1) as pool:
            made = ahead(segments, pool) if self.buffers > 1 else segments
            for index, segment in zip(order, made, strict=True):
                yield self._piece(index, *segment)
        if self._exact is not None:
            warn_lost(self._exact.parts)

    def _end(self, index: int) -> int:
        return min(self.source, (index + 1) * self.length)

    def _recompute(self, index: int, buffer: int) -> tuple[Any, Any]:
        inputs, states, gates = self._compute(index, self.checkpoints[index - self._first], buffer)
        if self._exact is None:
            return states, gates
        return states, self._device.derive(self._exact, inputs, states, gates, buffer)

    def _compute(self, index: int, state: Array, buffer: int) -> tuple[Array, Any, Any]:
        begin, end = index * self.length, self._end(index)
        states, gates = self._buffer(buffer)
        states, gates = states[: end - begin + 1], gates[: end - begin]
        inputs = self.series.read(begin, end)
        self._device.forward(inputs, state, states, gates)
        return inputs, states, gates

    def _buffer(self, number: int) -> tuple[Any, Any]:
        while len(self._buffers) <= number:
            self._buffers.append(self._device.buffers(min(self.length, self.source), self.series.batch))
        return self._buffers[number]

    def _check_end(self, states: Any, index: int) -> None:
        """Refuse a segment whose last state is not finite, as all after it would not be either."""
        if np.isfinite(self._device.last(states)).all():
            return
        good, bad = 0, states.shape[0] - 1
        while bad - good > 1:
            middle = (good + bad) // 2
            if np.isfinite(self._device.last(states[: middle + 1])).all():
                good = middle
            else:
                bad = middle
        first_bad = self._device.last(states[: bad + 1])
        sequence = int(np.flatnonzero(~np.isfinite(first_bad).reshape(len(first_bad), -1).all(axis=1))[0])
        raise NotFiniteError(sequence, index * self.length + bad)

    def _piece(self, index: int, states: Any, gates: Any) -> tuple[int, Any, Any]:
        if index == self._count - 1:  # `forward` has seen the ends of the others
            self._check_end(states, index)
        begin = index * self.length
        cut = max(0, self.last - begin)
        return begin + cut, states[cut:], gates[cut:]
