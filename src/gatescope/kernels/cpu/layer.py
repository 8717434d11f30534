"""Workspaces of a layer and a read-out that are swept many times: scratch and the positions of weights, made once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.datatypes import Array, Params
from gatescope.kernels.cpu import layout, sweeps
from gatescope.kernels.cpu.aligned import aligned_empty, aligned_zeros
from gatescope.kernels.cpu.blocks import Groups, longest
from gatescope.kernels.cpu.loops.readout import CHUNK, make_readout
from gatescope.kernels.cpu.packing import Each, Packing, Sums


def _positions(shapes: Sequence[tuple[int, ...]], first: int) -> list[Array]:
    """Return the positions of arrays that lie one after another in a vector, counted from `first`."""
    positions = []
    for shape in shapes:
        size = int(np.prod(shape))
        positions.append(np.arange(first, first + size).reshape(shape))
        first += size
    return positions


class Layer:
    """One layer of a cell, ready to be swept over blocks of sequences.

    Parameters
    ----------
    cell : Cell
    params : Params
        Gives the sizes; its numbers are not used.
    first : int
        Where the layer's numbers begin in the vector of all weights.
    masked : bool
        Whether sequences have masks of the recurrent state.
    """

    def __init__(self, cell: Cell, params: Params, first: int, *, masked: bool = False) -> None:
        self.plan = sweeps.plan_for(cell, params.hidden_size, params.dtype)
        self.inputs, self.states, self.saved = params.input_size, len(cell.states), len(cell.saved)
        self.units, self.masked, self.reverse = params.hidden_size, masked, params.reverse
        self.size = params.size
        self._first = first
        w_ih, w_hh, b_ih, b_hh = _positions(
            [a.shape for a in (params.weight_ih, params.weight_hh, params.bias_ih, params.bias_hh)], first + 1
        )
        numbers = Params(cell=params.cell, weight_ih=w_ih, weight_hh=w_hh, bias_ih=b_ih, bias_hh=b_hh)
        panels = sweeps.forward_panels(self.plan, numbers) + sweeps.backward_panels(self.plan, numbers)
        # Where there is no second phase, the panels have a number that nothing reads.
        self._packing = Packing([piece.astype(np.intp) for piece in panels], params.dtype)
        self._nothing = aligned_zeros(1, params.dtype)
        self.factors = self._nothing
        self._ready: dict[Groups, tuple[Any, ...]] = {}
        self._ready_back: dict[Groups, tuple[Any, ...]] = {}

    def gather(self, vector: Array) -> None:
        """Take the weights from the vector (1 + N,)."""
        self._packing.gather(vector)

    def prepare(self, groups: Groups, learn: bool) -> None:
        """Make kernels and scratch for these groups of sequences, once; those of the way back only to `learn`."""
        batch = groups.edges[-1]
        plan = self.plan
        if self.masked and self.factors.size < batch * plan.padded:
            self.factors = aligned_zeros(batch * plan.padded, plan.dtype)
            self._ready.clear()
            self._ready_back.clear()
        if groups not in self._ready:
            self._ready[groups] = (
                sweeps.forward_kernel(plan, longest(groups.sequences), self.masked),
                [sweeps.forward_work(plan, n, segment, self._factors) for n, segment in self._sizes(groups)],
            )
        self._forward, self._forward_work = self._ready[groups]
        if not learn:
            return
        if groups not in self._ready_back:
            sums = Sums(
                sweeps.sum_shapes(plan, self.inputs),
                # Gradients in the vector's order: weight_ih, weight_hh, bias_ih, bias_hh.
                lambda sums: sweeps.unpack_sums(plan, sums),
                len(groups),
                plan.dtype,
            )
            self._ready_back[groups] = (
                sweeps.backward_kernel(plan, longest(groups.sequences), self.masked),
                [
                    sweeps.backward_work(plan, n, segment, self.inputs, self._factors)
                    for n, segment in self._sizes(groups)
                ],
                sums,
                [
                    (sums.table[first:last], sums.starts, groups.edges_of(index))
                    for index, (first, last) in enumerate(groups.blocks)
                ],
            )
        self._backward, self._backward_work, self.sums, self._own_sums = self._ready_back[groups]

    @property
    def _factors(self) -> Array | None:
        return self.factors if self.masked else None

    def _sizes(self, groups: Groups) -> list[tuple[int, int]]:
        """Return how many sequences each block has, and the steps of its segments."""
        # As if there were any number of steps: the order of additions must not depend on what came first.
        return [
            (end - begin, self.plan.segment(groups.rows(index), sys.maxsize))
            for index, (begin, end) in enumerate(groups.sequences)
        ]

    def forward(
        self,
        index: int,
        block: tuple[int, int],
        inputs: Array,
        states: Array,
        gates: Array,
        lengths: Array,
        nontemporal: bool,
    ) -> None:
        """Fill states[1:] and gates of a block from states[0]; `nontemporal`: by stores past the caches."""
        span = (*block, 0, inputs.shape[0], nontemporal)
        self._forward(
            self._packing.arrays[:6], inputs, states, gates, lengths, span, self._forward_work[index]
        )

    def backward(
        self,
        index: int,
        block: tuple[int, int],
        trace: tuple[Array, Array, Array],
        lengths: Array,
        output_adjoint: Array,
        adjoint: Array,
        d_inputs: Array,
    ) -> None:
        """Fill adjoint[:-1] and d_inputs (if it is not empty) of a block from adjoint[-1]; add to the sums."""
        span = (*block, 0, trace[0].shape[0], False)
        self._backward(
            self._packing.arrays[6:], trace, lengths, output_adjoint, (adjoint, d_inputs), span,
            self._backward_work[index], self._own_sums[index],
        )  # fmt: skip

    def scatter(self, gradient: Array, each: Each) -> None:
        """Write the layer's gradients into the vector (N,); `each`: see `add_up`."""
        self.sums.scatter(gradient[self._first : self._first + self.size], each)


class Readout:
    """The linear read-out and its losses, ready to be swept.

    Parameters
    ----------
    outputs, units : int
        O and H.
    heads : (heads, 4) int64
        As the kernel reads them.
    first : int
        Where its numbers begin in the vector of all weights.
    dtype : dtype
    """

    def __init__(self, outputs: int, units: int, heads: Array, first: int, dtype: np.dtype[Any]) -> None:
        self.lanes = layout.lanes_for(dtype)
        self.outputs, self.units, self.heads = outputs, units, heads
        self.size = outputs * (units + 1)
        self._first, self._dtype = first, dtype
        w, b = _positions([(outputs, units), (outputs,)], first + 1)
        pieces = (
            layout.forward_panel(w, 1, self.lanes),
            layout.bias_panel(b, 1, self.lanes),
            layout.adjoint_panel(w, 1, self.lanes),
        )
        self._packing = Packing([piece.astype(np.intp) for piece in pieces], dtype)
        self._kernel = make_readout(self.lanes)
        self._ready: dict[Groups, tuple[Any, ...]] = {}
        self.factors = np.zeros(len(heads), dtype)

    def gather(self, vector: Array) -> None:
        """Take the weights from the vector (1 + N,)."""
        self._packing.gather(vector)

    def prepare(self, groups: Groups) -> None:
        """Make scratch for these groups of sequences, once."""
        if groups not in self._ready:
            vectors = layout.vectors_for(self.outputs, self.lanes)
            padded, across = vectors * self.lanes, layout.vectors_for(self.units, self.lanes) * self.lanes

            def work() -> tuple[Array, ...]:
                return (
                    *(aligned_empty(CHUNK * n, self._dtype) for n in (across, padded, padded, across)),
                    aligned_zeros(padded, self._dtype),
                    aligned_zeros(padded, self._dtype),
                    np.ones(1, self._dtype),
                    aligned_zeros(across, self._dtype),
                    np.zeros((CHUNK, 2), np.int64),
                )

            def unpack(sums: tuple[Array, ...]) -> list[Array]:
                w, b = (layout.unpack_gradient(s, 1, self.outputs) for s in sums)
                return [w, b[:, 0]]

            shapes = [(1, rows, vectors, self.lanes) for rows in (self.units, 1)]
            self._ready[groups] = (
                [work() for _ in groups.blocks],
                Sums(shapes, unpack, len(groups), self._dtype),
                np.zeros((len(groups), len(self.heads), 3)),
            )
        self._work, self.sums, self.totals = self._ready[groups]
        self._groups = groups

    def sweep(
        self,
        index: int,
        block: tuple[int, int],
        features: Array,
        offsets: tuple[int, int, int],
        data: tuple[Array, Array],
        steps: tuple[int, int],
        d_features: Array,
        outputs: Array,
        learn: bool,
    ) -> None:
        """Compute outputs, losses and (if `learn`) gradients of a block over steps of targets and mask."""
        targets, mask = data
        first, by_step, by_sequence = offsets
        edges = self._groups.edges
        for group in range(*self._groups.blocks[index]):
            begin, end = edges[group : group + 2]
            self._kernel(
                self._packing.arrays, features, (first + (begin - block[0]) * by_sequence, by_step, by_sequence),
                targets, mask, self.heads, self.factors, (begin, end, *steps, self.outputs, learn),
                self._work[index], self.sums.groups[group], (d_features, outputs), self.totals[group],
            )  # fmt: skip

    def scatter(self, gradient: Array, each: Each) -> None:
        """Write the read-out's gradients into the vector (N,); `each`: see `add_up`."""
        self.sums.scatter(gradient[self._first : self._first + self.size], each)
