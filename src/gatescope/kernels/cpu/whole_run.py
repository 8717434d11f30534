"""Adjoints of one direction of a layer over a run that is in memory whole, fed by other layers at every step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gatescope.datatypes import Array, Params
from gatescope.kernels.cpu.adjoints import Adjoints, blocks_of, no_links
from gatescope.kernels.cpu.stack_adjoints import add_scaled
from gatescope.kernels.cpu.sweeps import CellPlan
from gatescope.kernels.cpu.threads import each


class Link(NamedTuple):
    """Adjoints of what one layer gives another at every step.

    Attributes
    ----------
    values : (T, B, M, H)
    powers : (T, B, M) int64
        Of two, to multiply them by.
    """

    values: Array
    powers: Array

    def turned(self) -> Link:
        """Return the link with its steps in the other order."""
        return Link(self.values[::-1], self.powers[::-1])


class WholeRun:
    """M adjoints a sequence of one direction of a layer, carried back from its last state to its first.

    Steps and states are counted as the direction takes them.

    Parameters
    ----------
    plan, params
    states, gates : (T+1, B, S, H), (T, B, K, H)
    start : (B, M, S, H)
        Adjoints of state `source`, to start from.
    source : int
    taken : Link or None
        Adjoints of the outputs of every step, which come from the layers above or from a loss.
    counted : bool
        Whether these are part of the adjoint of the state that gives the output, as those of a loss are.
    gives : bool
        Whether adjoints of the inputs are asked for.
    threads : int
    """

    def __init__(
        self,
        plan: CellPlan,
        params: Params,
        states: Array,
        gates: Array,
        *,
        start: Array,
        source: int,
        taken: Link | None,
        counted: bool,
        gives: bool,
        threads: int,
    ) -> None:
        steps, batch, (count, *_) = len(gates), states.shape[1], start.shape[1:]
        self._states, self._gates, self._taken, self._counted = states, gates, taken, counted
        self._blocks = blocks_of([plan], batch, count, threads)
        self._threads, self._plan, self._start, self._source = threads, plan, start, source
        # Nothing reaches states after the source but from above.
        self.at = source if taken is None else steps
        self._adjoints = Adjoints(
            plan, params, np.zeros_like(start), threads, linked=True, blocks=self._blocks
        )
        if counted and taken is not None:
            self._join(_of_h(taken, self.at - 1, start.shape))
        if self.at == source:
            self._join((start, np.zeros(start.shape[:2], np.int64)))
        self.onward = None
        if gives:
            values = np.zeros((steps, batch, count, params.input_size), plan.dtype)
            self.onward = Link(values, np.zeros(values.shape[:3], np.int64))

    def rows(self) -> tuple[Array, Array]:
        """Return the adjoints (B, M, S, H) of the state that is reached, and powers of two (B, M)."""
        return self._adjoints.rows()

    def followed(self) -> tuple[Array, Array]:
        """Return what `rows` does, with what comes from other layers of the output that belongs to that state."""
        if self._taken is None or self._counted or self.at == 0:
            return self.rows()
        return add_scaled(self.rows(), _of_h(self._taken, self.at - 1, self._start.shape))

    def back(self, to: int) -> None:
        """Carry the adjoints back to a state."""
        if to < self._source < self.at:
            self.back(self._source)
        before, self.at = self.at, to
        if to == before:
            return
        self._back(to, before)
        if to == self._source:
            self._join((self._start, np.zeros(self._start.shape[:2], np.int64)))

    def _join(self, more: tuple[Array, Array]) -> None:
        rows, powers = add_scaled(self.rows(), more)
        self._adjoints.restore(rows, powers)

    def _back(self, to: int, stop: int) -> None:
        batch, count = self._start.shape[:2]
        threads = self._plan.threads(self._threads, stop - to, batch * count)

        def one(number: int) -> None:
            begin, end, low, high = self._blocks[number]
            nothing = no_links(self._plan)
            taken, onward = nothing[:2], nothing[:2]
            steps = slice(to - 1, stop - 1) if self._counted else slice(to, stop)
            if self._taken is not None:
                taken = self._into(number, steps)
            if self.onward is not None:
                rows = (stop - to) * (end - begin) * (high - low)
                onward = np.zeros(rows * self._adjoints.wide, self._plan.dtype), np.zeros(rows, np.int64)
            no_records = np.empty((0, 0, 0, 0)), np.empty((0, 0, 0, 0)), np.empty((0, 0, 0))
            self._adjoints.sweep(
                number, self._states, self._gates, (to, stop), no_records, (*taken, *onward),
                self._adjoints.work(), counted=self._counted,
            )  # fmt: skip
            if self.onward is not None:
                width, shape = self.onward.values.shape[3], (stop - to, end - begin, high - low)
                values, powers = onward[0].reshape(*shape, -1)[::-1, ..., :width], onward[1].reshape(shape)
                self.onward.values[to:stop, begin:end, low:high] = values
                self.onward.powers[to:stop, begin:end, low:high] = powers[::-1]

        each(one, len(self._blocks), threads)

    def _into(self, number: int, steps: slice) -> tuple[Array, Array]:
        """Return what is taken at some steps in a block, as the kernel wants it: one step back first, padded."""
        assert self._taken is not None
        begin, end, low, high = self._blocks[number]
        before = int(steps.start < 0)  # the initial state gives no output
        some = slice(steps.start + before, steps.stop)
        values = self._taken.values[some, begin:end, low:high]
        powers = self._taken.powers[some, begin:end, low:high]
        padded = np.zeros((len(values) + before, *values.shape[1:3], self._plan.padded), self._plan.dtype)
        padded[: len(values), ..., : values.shape[3]] = values[::-1]
        all_powers = np.zeros(padded.shape[:3], np.int64)
        all_powers[: len(values)] = powers[::-1]
        return padded.reshape(-1), all_powers.reshape(-1)


def _of_h(link: Link, step: int, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Return what a link has at a step as adjoints (B, M, S, H) of a state, and powers of two."""
    rows = np.zeros(shape, link.values.dtype)
    rows[:, :, 0] = link.values[step]
    return rows, link.powers[step]
