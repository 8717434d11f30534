"""Adjoints carried back on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from gatescope.cells.linear_cell import cell_of
from gatescope.datatypes import Array, Params
from gatescope.kernels.cpu import layout
from gatescope.kernels.cpu.aligned import aligned_empty, aligned_zeros
from gatescope.kernels.cpu.blocks import blocks_for, longest
from gatescope.kernels.cpu.sweeps import CellPlan, adjoint_panels
from gatescope.kernels.cpu.threads import each

# Directions whose scratch fits the second-level cache are carried back together.
_BLOCK_BYTES = 1 << 18
# Rows that go on to the layer below together, so that a tile of them is full.
_TOGETHER = 8

Block = tuple[int, int, int, int]
Records = tuple[Array, ...]
Links = tuple[Array, Array, Array, Array]


def blocks_of(
    plans: Sequence[CellPlan], batch: int, count: int, threads: int, *, whole: bool = False
) -> list[Block]:
    """Return what is carried back together of `count` directions of each sequence, through one layer or several.

    Directions are cut into parts for the caches, and for threads where there are too few sequences; not if `whole`.
    """
    blocks = blocks_for(batch, max(plan.hidden_size for plan in plans))
    row = sum(
        plan.padded * (len(plan.cell.gates) + 1 + len(plan.cell.states)) * plan.dtype.itemsize
        for plan in plans
    )
    for_caches = -(-longest(blocks) * count * row // _BLOCK_BYTES)
    parts = 1 if whole else int(max(1, min(count, max(for_caches, -(-threads // len(blocks))))))
    edges = [count * i // parts for i in range(parts + 1)]
    return [(*block, *part) for block in blocks for part in pairwise(edges)]


def no_links(plan: CellPlan) -> Links:
    """Return what the kernel takes of a layer that no other is linked with."""
    nothing, powers = np.empty(0, plan.dtype), np.empty(0, np.int64)
    return nothing, powers, nothing, powers


class Adjoints:
    """M adjoint directions a sequence, carried back through a run piece by piece, in the log domain.

    A direction is scaled by itself, so that some may start late, and each may decay as it likes.  They do not see one
    another: threads take some each where there are too few sequences, which changes no bit.

    Parameters
    ----------
    directions : (B, M, S, H)
        Adjoints of the state to start from.  Those that are 0 may begin later, with `join`.
    inputs : bool
        Whether the gradients of the inputs are measured too.
    paths : bool
        Whether the directions are the parts of one adjoint: M = G + 2, see `loops.adjoint`.
    linked : bool
        Whether they are those of a layer of a stack, which `sweep` carries back.
    blocks : list of (int, int, int, int), optional
        First sequence, last, first direction and last of what is carried back together; default: by size and threads.
    """

    def __init__(
        self,
        plan: CellPlan,
        params: Params,
        directions: Array,
        threads: int,
        *,
        inputs: bool = False,
        paths: bool = False,
        linked: bool = False,
        blocks: list[Block] | None = None,
    ) -> None:
        from gatescope.kernels.cpu.loops.adjoint import NOTHING

        self.plan, self._threads, self._inputs, self._paths, self._linked = (
            plan,
            threads,
            inputs,
            paths,
            linked,
        )
        batch, self._count, self._states, _ = directions.shape
        nothing = aligned_zeros(1, plan.dtype)
        onward = inputs or linked
        self._width = params.input_size if onward else 1
        self._weights = (
            *adjoint_panels(plan, params),
            layout.input_weights(params.weight_ih, len(plan.cell.gates), plan.lanes, 1)
            if onward
            else nothing,
        )
        self._blocks = blocks or blocks_of([plan], batch, self._count, threads, whole=paths)
        self._rows = max((end - begin) * (high - low) for begin, end, low, high in self._blocks)
        self._current, self._exponents = [], []
        for begin, end, low, high in self._blocks:
            padded = aligned_zeros((end - begin, high - low, self._states, plan.padded), plan.dtype)
            padded[..., : plan.hidden_size] = directions[begin:end, low:high]
            self._current.append(padded)
            exponents = np.zeros((end - begin, high - low), np.int64)
            if paths or linked:
                exponents[~padded.any(axis=(2, 3))] = NOTHING
            self._exponents.append(exponents)
        # Paths have fractions of the whole, which zeros have not.
        self._idle = [not paths and not current.any() for current in self._current]

    @property
    def wide(self) -> int:
        """Inputs rounded up to whole vectors."""
        return layout.vectors_for(self._width, self.plan.lanes) * self.plan.lanes

    def back(
        self, states: Array, gates: Array, start: int, stop: int, *, record: bool = True
    ) -> Array | None:
        """Carry the adjoints from state `stop` to state `start` of the recorded piece.

        Returns the log-norms (stop - start, B, M, S) of the directions, one step back first; None if not recorded.
        """
        return self._back(states, gates, start, stop, norms=record)[0]

    def back_to_inputs(self, states: Array, gates: Array, start: int, stop: int) -> Array:
        """Carry the adjoints as `back`; return the inputs' log-norms (stop - start, B, M), last step first."""
        input_norms = self._back(states, gates, start, stop, norms=False)[2]
        assert input_norms is not None
        return input_norms

    def back_along_paths(self, states: Array, gates: Array, start: int, stop: int) -> tuple[Array, Array]:
        """Carry the adjoints as `back`; return also the parts' fractions of the whole, (stop - start, B, M - 1, S)."""
        norms, fractions, _ = self._back(states, gates, start, stop, norms=True)
        assert norms is not None
        assert fractions is not None
        return norms, fractions

    def _back(
        self, states: Array, gates: Array, start: int, stop: int, *, norms: bool
    ) -> tuple[Array | None, Array | None, Array | None]:
        steps, batch = stop - start, states.shape[1]
        recorded = (norms, self._paths, self._inputs)

        def records(sequences: int, count: int) -> Records:
            shapes = (
                (steps, sequences, count, self._states),
                (steps, sequences, count - 1, self._states),
                (steps, sequences, count),
            )
            return tuple(
                np.empty(shape if wants else (0,) * len(shape))
                for wants, shape in zip(recorded, shapes, strict=True)
            )

        whole = records(batch, self._count)
        threads = self.plan.threads(self._threads, steps, batch * self._count)
        jobs = min(len(self._blocks), 4 * threads)  # there may be very many blocks

        def one(index: int) -> None:
            work = self.work()
            for block in range(index, len(self._blocks), jobs):
                begin, end, low, high = self._blocks[block]
                if self._idle[block]:  # of zeros, in which none has joined
                    for values in whole:
                        values[:, begin:end, low:high] = -np.inf
                    continue
                part = records(end - begin, high - low)
                self.sweep(block, states, gates, (start, stop), part, no_links(self.plan), work)
                for values, of_block in zip(whole, part, strict=True):
                    if values.size:
                        last = high - 1 if values.shape[2] < self._count else high
                        values[:, begin:end, low:last] = of_block

        each(one, jobs, threads)
        norm, fraction, input_norm = (
            array if wants else None for wants, array in zip(recorded, whole, strict=True)
        )
        return norm, fraction, input_norm

    def work(self) -> tuple[Array, ...]:
        """Return scratch for `sweep`, which a thread uses for block after block."""
        plan, rows = self.plan, self._rows

        def empty(each: int) -> Array:
            return aligned_empty(rows * each, plan.dtype)

        steps = max(1, _TOGETHER // rows) if self._linked else 1 if self._inputs else 0
        return (
            empty(plan.padded),
            empty(plan.padded * plan.first + plan.lanes),
            empty(plan.padded * max(plan.second, 1) + plan.lanes),
            empty(plan.padded),
            empty(steps * (plan.padded * len(plan.cell.gates) + plan.lanes) or 1),
            aligned_zeros(rows * self.wide, plan.dtype),
            aligned_zeros(max(plan.padded, self.wide), plan.dtype),
        )

    def sweep(
        self,
        block: int,
        states: Array,
        gates: Array,
        steps: tuple[int, int],
        records: Records,
        links: Links,
        work: tuple[Array, ...],
        *,
        counted: bool = False,
    ) -> None:
        """Carry one block back over the steps from the first to before the second; the arrays are the kernel's."""
        from gatescope.kernels.cpu.loops.adjoint import make_adjoint

        # With paths a sequence has enough rows to fill a tile: one kernel for all batches.
        tiles = (t.adjoint for t in self.plan.tiles(self._count if self._paths else self._rows))
        cell, gates = cell_of(self.plan.cell, gates)
        onward = self._onward_tile(self._inputs or links[2].size > 0) if self._linked else None
        kernel = make_adjoint(cell, self.plan.lanes, *tiles, self._inputs, self._paths, onward)
        begin, end, _, _ = self._blocks[block]
        kernel(
            self._weights, states, gates, self._current[block].reshape(-1), self._exponents[block].reshape(-1),
            records, links, (begin, end, *steps, self._width, counted), work,
        )  # fmt: skip

    def _onward_tile(self, gives: bool) -> layout.Tile:
        """Return the tile of the product for the inputs; where none is done, that which makes no other kernel."""
        plan = self.plan
        vectors = plan.vectors if not gives or self._width <= layout.FEW_INPUTS else self.wide // plan.lanes
        return layout.adjoint_tile(
            vectors, plan.vectors * len(plan.cell.gates) <= 16, max(self._rows, _TOGETHER)
        )

    def join(self, first: int, directions: Array) -> None:
        """Replace the directions from `first` on by (B, D, S, H)."""
        last, units = first + directions.shape[1], self.plan.hidden_size
        for block, (begin, end, low, high) in enumerate(self._blocks):
            joining = slice(max(first, low), min(last, high))
            if joining.start < joining.stop:
                rows = slice(joining.start - low, joining.stop - low)
                new = directions[begin:end, joining.start - first : joining.stop - first]
                self._current[block][:, rows, :, :units] = new
                self._exponents[block][:, rows] = 0
                self._idle[block] = False

    def rows(self) -> tuple[Array, Array]:
        """Return the adjoints, (B, M, S, H), and the powers of two (B, M) to multiply them by."""
        batch = self._blocks[-1][1]
        units = self.plan.hidden_size
        current = np.empty((batch, self._count, self._states, units), self.plan.dtype)
        exponents = np.empty((batch, self._count), np.int64)
        for (begin, end, low, high), block, powers in zip(
            self._blocks, self._current, self._exponents, strict=True
        ):
            current[begin:end, low:high] = block[..., :units]
            exponents[begin:end, low:high] = powers
        return current, exponents

    def matrices(self) -> tuple[Array, Array]:
        """Return the adjoints, (B, M, S, H), and one power of two (B,) to multiply all of a sequence's by.

        A direction that is 2^-1000 of the largest (in float32 2^-120) may round to 0 here.
        """
        current, exponents = self.rows()
        # The power of a direction that is 0 must not count.
        alive = np.asarray(current.any(axis=(2, 3)))
        least = np.where(alive, exponents, np.iinfo(np.int64).max).min(axis=1, keepdims=True)
        whole = np.where(alive, exponents, np.where(alive.any(axis=1, keepdims=True), least, 0)).max(axis=1)
        shift = np.where(alive, exponents - whole[:, None], 0)
        if not shift.any():
            return current, whole
        return np.ldexp(current, shift[:, :, None, None].clip(-5000, 0).astype(np.int32)), whole

    def state(self) -> tuple[Array, Array]:
        """Return copies of what `restore` needs to resume, on any number of threads."""
        return self.rows()

    def restore(self, current: Array, exponents: Array) -> None:
        """Resume from what `state` returned."""
        from gatescope.kernels.cpu.loops.adjoint import NOTHING

        for (begin, end, low, high), block, powers in zip(
            self._blocks, self._current, self._exponents, strict=True
        ):
            block[..., : self.plan.hidden_size] = current[begin:end, low:high]
            powers[:] = exponents[begin:end, low:high]
            if self._linked:
                powers[~block.any(axis=(2, 3))] = NOTHING
        self._idle = [not self._paths and not block.any() for block in self._current]
