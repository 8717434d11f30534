"""Adjoints carried back through several layers on the CPU: in time through each, in depth from one to the one below."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from gatescope.datatypes import Array, Params
from gatescope.kernels.cpu.adjoints import Adjoints, blocks_of, no_links
from gatescope.kernels.cpu.aligned import aligned_zeros
from gatescope.kernels.cpu.sweeps import CellPlan
from gatescope.kernels.cpu.threads import each

# What a layer gives to the one below for some steps stays in the second-level cache.
_LINK_BYTES = 1 << 19


class Added(NamedTuple):
    """What is added to the adjoint of the uppermost layer's h at the states before some steps, as that of a loss.

    Attributes
    ----------
    values : (steps, B, H)
        One step back first.
    powers : (steps, B) int64
        Of two, to multiply them by.
    """

    values: Array
    powers: Array


class StackAdjoints:
    """M adjoints a sequence of the joint state of all layers, carried back piece by piece, in the log domain.

    Each layer has powers of two of its own, so that what reaches a layer has all its digits, however small it is beside
    what another has.  Layers above those that `directions` begin in, and below all that are asked for, carry nothing.

    Parameters
    ----------
    plans, layers
        From the lowest.
    directions : list of (B, M, S, H)
        Adjoints to start from, by layer.
    threads : int
    asked : collection of int
        The layers whose adjoints are asked for: norms of others are not taken, and none below the lowest is carried.
    inputs : bool
        Whether the gradients of the inputs are measured, as `back_to_inputs` does, and nothing else is.
    """

    def __init__(
        self,
        plans: Sequence[CellPlan],
        layers: Sequence[Params],
        directions: Sequence[Array],
        threads: int,
        asked: Collection[int],
        *,
        inputs: bool = False,
    ) -> None:
        batch, count = directions[0].shape[:2]
        self._inputs = inputs
        self._threads, self._batch, self._count = threads, batch, count
        highest = max((k for k, part in enumerate(directions) if part.any()), default=len(plans) - 1)
        lowest = min(*asked, highest)
        self._asked = frozenset(asked)
        self._used = range(lowest, highest + 1)
        self._blocks = blocks_of(plans[lowest:], batch, count, threads)
        self._layers = [
            Adjoints(plan, params, part, threads, inputs=inputs and k == 0, linked=True, blocks=self._blocks)
            for k, (plan, params, part) in enumerate(zip(plans, layers, directions, strict=True))
        ]
        self.shapes = [part.shape[2:] for part in directions]

    def back(
        self,
        states: Any,
        gates: Any,
        start: int,
        stop: int,
        *,
        record: bool = True,
        added: Added | None = None,
    ) -> Array | None:
        """Carry the adjoints from state `stop` to state `start` of the recorded piece, of layered states and gates.

        Returns the log-norms (stop - start, B, M, states of all layers), one step back first; None if not recorded.
        They are NaN of layers that are not asked for, and ``-inf`` of those that nothing reaches.
        """
        return self._back(states, gates, start, stop, record=record, added=added)[0]

    def back_to_inputs(self, states: Any, gates: Any, start: int, stop: int) -> Array:
        """Carry the adjoints as `back`; return the inputs' log-norms (stop - start, B, M), last step first."""
        return self._back(states, gates, start, stop, record=False)[2]

    def join(self, first: int, directions: Array) -> None:
        """Replace the directions of the uppermost layer from `first` on by (B, D, S, H), those of the others by 0."""
        for layer, shape in zip(self._layers[:-1], self.shapes, strict=False):
            layer.join(first, np.zeros((*directions.shape[:2], *shape), directions.dtype))
        self._layers[-1].join(first, directions)

    def following(self, states: Any, gates: Any, at: int) -> list[tuple[Array, Array]]:
        """Return the adjoints of state `at` with what reaches h of each layer by way of the layers above at that step.

        By layer: (B, M, S, H) float64, and powers of two (B, M).  The adjoints stay as they are.
        """
        before = [layer.rows() for layer in self._layers]
        _, onward, _ = self._back(states, gates, at - 1, at, record=False, give=True)
        for layer, rows in zip(self._layers, before, strict=True):
            layer.restore(*rows)
        return [
            rows if link is None else _added(*rows, *link) for rows, link in zip(before, onward, strict=True)
        ]

    def rows(self) -> list[tuple[Array, Array]]:
        """Return the adjoints by layer, (B, M, S, H), and the powers of two (B, M) to multiply them by."""
        return [layer.rows() for layer in self._layers]

    def state(self) -> tuple[Array, Array]:
        """Return copies of what `restore` needs to resume, on any number of threads."""
        rows, powers = zip(*self.rows(), strict=True)
        flat = [row.reshape(self._batch, self._count, -1) for row in rows]
        return np.concatenate(flat, axis=2), np.stack(powers, axis=2)

    def restore(self, current: Array, exponents: Array) -> None:
        """Resume from what `state` returned."""
        begin = 0
        for number, (layer, shape) in enumerate(zip(self._layers, self.shapes, strict=True)):
            end = begin + shape[0] * shape[1]
            rows = current[:, :, begin:end].reshape(self._batch, self._count, *shape)
            layer.restore(rows, exponents[:, :, number])
            begin = end

    def _back(
        self,
        states: Any,
        gates: Any,
        start: int,
        stop: int,
        *,
        record: bool,
        added: Added | None = None,
        give: bool = False,
    ) -> tuple[Array | None, list[tuple[Array, Array] | None], Array]:
        used = self._used
        offsets = np.cumsum([0, *(shape[0] for shape in self.shapes)])
        shape = (stop - start if record else 0, self._batch, self._count, int(offsets[-1]))
        norms = np.full(shape, np.nan)
        input_norms = np.empty((stop - start if self._inputs else 0, self._batch, self._count))
        norms[..., offsets[used[-1] + 1] :] = -np.inf
        onward: list[tuple[Array, Array] | None] = [None] * len(self._layers)
        for k in used[:-1] if give else ():
            units = self.shapes[k][1]
            onward[k] = (
                np.zeros((self._batch, self._count, units), self._layers[k].plan.dtype),
                np.zeros((self._batch, self._count), np.int64),
            )
        rows = self._batch * self._count
        threads = max(self._layers[k].plan.threads(self._threads, stop - start, rows) for k in used)
        jobs = min(len(self._blocks), 4 * threads)
        longest = max((end - begin) * (high - low) for begin, end, low, high in self._blocks)
        widest = max(self._layers[k].plan.padded * self._layers[k].plan.dtype.itemsize for k in used)
        span = max(1, min(stop - start, _LINK_BYTES // (longest * widest)))

        def one(index: int) -> None:
            work = {k: self._layers[k].work() for k in used}
            links = {
                k: (
                    aligned_zeros(span * longest * self._layers[k].wide, self._layers[k].plan.dtype),
                    np.zeros(span * longest, np.int64),
                )
                for k in used[1:]
            }
            for number in range(index, len(self._blocks), jobs):
                begin, end, low, high = block = self._blocks[number]
                for last in range(stop, start, -span):
                    first = max(start, last - span)
                    nothing = no_links(self._layers[-1].plan)
                    into = nothing[:2]
                    if added is not None:
                        into = self._padded(added, block, slice(stop - last, stop - first))
                    for k in reversed(used):
                        layer = self._layers[k]
                        out = links.get(k, nothing[:2])
                        asked = record and k in self._asked
                        size = (last - first if asked else 0, end - begin, high - low, self.shapes[k][0])
                        of_inputs = np.empty((last - first if self._inputs and k == 0 else 0, *size[1:3]))
                        part = np.empty(size), np.empty((0, 0, 0, 0)), of_inputs
                        layer.sweep(
                            number, states.arrays[k], gates.arrays[k], (first, last), part, (*into, *out), work[k],
                            counted=added is not None and k == used[-1],
                        )  # fmt: skip
                        if asked:
                            norms[
                                stop - last : stop - first, begin:end, low:high, offsets[k] : offsets[k + 1]
                            ] = part[0]
                        if of_inputs.size:
                            input_norms[stop - last : stop - first, begin:end, low:high] = of_inputs
                        if give and k > used[0]:
                            _put(onward[k - 1], out, block, layer.wide)
                        into = out

        each(one, jobs, threads)
        return (norms if record else None), onward, input_norms

    def _padded(self, added: Added, block: tuple[int, int, int, int], steps: slice) -> tuple[Array, Array]:
        """Return what is added in a block, as the kernel takes it."""
        begin, end, low, high = block
        values, plan = added.values[steps, begin:end], self._layers[-1].plan
        padded = aligned_zeros((len(values), end - begin, high - low, plan.padded), plan.dtype)
        padded[..., : plan.hidden_size] = values[:, :, None]
        powers = np.repeat(added.powers[steps, begin:end, None], high - low, axis=2)
        return padded.reshape(-1), np.ascontiguousarray(powers).reshape(-1)


def _put(
    whole: tuple[Array, Array] | None, out: tuple[Array, Array], block: tuple[int, int, int, int], wide: int
) -> None:
    """Put what a layer gave at one step of a block in its place."""
    assert whole is not None
    begin, end, low, high = block
    rows = (end - begin) * (high - low)
    values = out[0][: rows * wide].reshape(end - begin, high - low, wide)
    whole[0][begin:end, low:high] = values[..., : whole[0].shape[2]]
    whole[1][begin:end, low:high] = out[1][:rows].reshape(end - begin, high - low)


def _added(rows: Array, powers: Array, link: Array, link_powers: Array) -> tuple[Array, Array]:
    """Return rows (B, M, S, H) times 2^powers with a link (B, M, H) times 2^its powers added to h, likewise."""
    of_h = np.zeros(rows.shape, link.dtype)
    of_h[:, :, 0] = link
    return add_scaled((rows, powers), (of_h, link_powers))


def add_scaled(*terms: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return the sum, float64, of arrays (..., X) times two to integer powers (...), and its own powers.

    The powers have as many axes as they have in the first term; the arrays go on from there.
    """
    none = np.iinfo(np.int32).min
    axes = tuple(range(terms[0][1].ndim, terms[0][0].ndim))
    tops = []
    for values, powers in terms:
        peak = np.abs(values).max(axis=axes, initial=0)
        tops.append(np.where(peak > 0, np.frexp(peak)[1] + powers, none))
    top = np.max(tops, axis=0)
    top = np.where(top > none, top, 0)
    total = np.zeros(terms[0][0].shape)
    for values, powers in terms:
        shift = (powers - top).clip(-5000, 5000).astype(np.int32)
        total += np.ldexp(values.astype(np.float64), np.expand_dims(shift, axes))
    return total, top
