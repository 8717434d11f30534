"""The sweep of one block of sequences through a window: forward, read-out, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gatescope.datatypes import Array
from gatescope.kernels.cpu.layer import Layer, Readout
from gatescope.kernels.cpu.loops.turning import make_move
from gatescope.training.arrays import Data
from gatescope.training.dropout import Masks, Offsets
from gatescope.training.workspace import Ways, Workspace


class Block(NamedTuple):
    """The sequences of block number `ordinal` of a workspace, in the window of the data that begins at step `begin`."""

    workspace: Workspace
    data: Data
    begin: int
    ordinal: int

    @property
    def sequences(self) -> tuple[int, int]:
        """Return the first sequence, and the first one after."""
        return self.workspace.groups.sequences[self.ordinal]

    def offsets(self, width: int, steps: int = 0) -> Offsets:
        """Return where this block's numbers lie in an array (T, B, width), from that step on."""
        row = self.workspace.batch * width
        return steps * row + self.sequences[0] * width, row, width


class Sweep:
    """Layers, a read-out and dropout, put together.

    `layers` are the directions of all layers, `ways` says which belong to one; `plain` are those without recurrent
    dropout.
    """

    def __init__(
        self, layers: list[Layer], plain: list[Layer], ways: Sequence[Ways], readout: Readout, masks: Masks
    ) -> None:
        self._layers, self._plain, self._ways, self._readout, self._masks = (
            layers,
            plain,
            ways,
            readout,
            masks,
        )
        self._move_rows = make_move()
        self._no_outputs = np.empty((0, 0, 0), readout.factors.dtype)

    def learn(self, block: Block, before: list[Array] | None, counts: bool) -> None:
        """Sweep forward from the states `before` (None: zeros) and, if anything counts, back through a window."""
        workspace, columns, layers = block.workspace, slice(*block.sequences), range(len(self._layers))
        segments, whole, checkpoints = workspace.segments, workspace.whole, workspace.checkpoints
        last = len(segments) - 1
        for k in layers:
            beginning = segments[0].states[k] if whole else checkpoints[k]
            beginning[0, columns] = 0 if before is None else before[k][columns]
        for number, segment in enumerate(segments):
            if not whole:
                for k in layers:
                    segment.states[k][0, columns] = checkpoints[k][number, columns]
            self._forward(block, number, True)
            if not whole and number < last:
                for k in layers:
                    checkpoints[k][number + 1, columns] = segment.states[k][-1, columns]
        for k in layers:
            workspace.carried[k][columns] = segments[last].states[k][-1, columns]
        for number in range(last, -1, -1) if counts else ():
            segment = segments[number]
            if number == last:  # it is still as the way forward left it
                pass
            elif whole:
                for k in range(len(self._ways)):
                    self._inputs(block, number, k, True)
            else:
                for k in layers:
                    segment.states[k][0, columns] = checkpoints[k][number, columns]
                self._forward(block, number, True)
            self._backward(block, number)

    def evaluate(self, block: Block, outputs: Array | None) -> None:
        """Sweep forward through all steps; nothing is stored but the outputs, if there is an array for them."""
        columns, segments = slice(*block.sequences), block.workspace.segments
        for number, segment in enumerate(segments):
            for k in range(len(self._plain)):
                before = segments[number - 1].states[k][-1, columns] if number else 0
                segment.states[k][0, columns] = before
            self._forward(block, number, False)
            self._read(block, number, self._no_outputs if outputs is None else outputs, False)

    def _forward(self, block: Block, number: int, learn: bool) -> None:
        workspace, layers = block.workspace, self._layers if learn else self._plain
        segment, lengths = workspace.segments[number], workspace.lengths[number]
        for k, ways in enumerate(self._ways):
            inputs = self._inputs(block, number, k, learn)
            for way in ways.numbers:
                layer, taken = layers[way], segment.turned[way]
                if taken is None:
                    taken = inputs
                else:
                    self._move(block, inputs, taken, layer.inputs, turns=True)
                # What is stored of the whole window is not read again soon, but for a layer's states by the one above.
                nontemporal = workspace.nontemporal and layer is layers[-1]
                states, gates = segment.states[way], segment.gates[way]
                layer.forward(block.ordinal, block.sequences, taken, states, gates, lengths, nontemporal)

    def _inputs(self, block: Block, number: int, k: int, learn: bool) -> Array:
        """Return the inputs of layer k in a segment: those of the data, or the outputs below, with dropout."""
        segment = block.workspace.segments[number]
        out, first = segment.inputs[k], block.begin + segment.begin
        if out is None:
            return block.data.inputs[first : block.begin + segment.end]
        if k > 0:
            self._outputs(block, number, k - 1, out, learn)
        else:
            source = block.data.inputs
            self._copy(block, number, source, block.offsets(_width(source), first), out, 0, learn)
        return out

    def _outputs(self, block: Block, number: int, k: int, out: Array, learn: bool) -> None:
        """Write the outputs of layer k in a segment, in the order of the inputs, with dropout."""
        states, ways = block.workspace.segments[number].states, self._ways[k]
        if ways.alone:
            source = states[ways.numbers[0]]
            self._copy(block, number, source, block.offsets(_width(source), 1), out, k + 1, learn)
            return
        for index, (way, column) in enumerate(zip(ways.numbers, ways.columns, strict=True)):
            layer, adds = self._layers[way], index > 0 and column == 0
            self._move(
                block, states[way], out, layer.units, step=1, into=column, turns=layer.reverse, adds=adds
            )
        if learn and self._masks.drops[k + 1]:
            self._copy(block, number, out, block.offsets(_width(out)), out, k + 1, True)

    def _read(self, block: Block, number: int, outputs: Array, learn: bool) -> None:
        """Sweep the read-out and its losses over a segment."""
        segment, begin, top = block.workspace.segments[number], block.begin, len(self._ways) - 1
        features, first = segment.states[-1], 1
        if segment.features is not None and (learn or not self._ways[top].alone):
            features, first = segment.features, 0
            self._outputs(block, number, top, features, learn)
        steps = begin + segment.begin, begin + segment.end
        self._readout.sweep(
            block.ordinal, block.sequences, features.reshape(-1), block.offsets(_width(features), first),
            (block.data.targets, block.data.mask), steps, segment.d_features, outputs, learn,
        )  # fmt: skip

    def _backward(self, block: Block, number: int) -> None:
        workspace, columns = block.workspace, slice(*block.sequences)
        segment, lengths = workspace.segments[number], workspace.lengths[number]
        self._read(block, number, self._no_outputs, True)
        of_outputs = segment.d_features
        for k in range(len(self._ways) - 1, -1, -1):
            if self._masks.drops[k + 1]:
                offsets = block.offsets(_width(of_outputs))
                self._copy(block, number, of_outputs, offsets, of_outputs, k + 1, True)
            inputs, d_inputs = segment.inputs[k], segment.d_inputs[k]
            if inputs is None:
                inputs = block.data.inputs[block.begin + segment.begin : block.begin + segment.end]
            for index, (way, column) in enumerate(zip(*self._ways[k][:2], strict=True)):
                layer, adjoint = self._layers[way], segment.adjoints[way]
                adjoint[-1, columns] = 0 if number == len(workspace.segments) - 1 else adjoint[0, columns]
                own, taken, d_taken = segment.d_outputs[way], segment.turned[way], segment.d_turned[way]
                if own is not None:
                    self._move(block, of_outputs, own, layer.units, column=column, turns=layer.reverse)
                trace = inputs if taken is None else taken, segment.states[way], segment.gates[way]
                layer.backward(
                    block.ordinal, block.sequences, trace, lengths, of_outputs if own is None else own, adjoint,
                    d_inputs if d_taken is None else d_taken,
                )  # fmt: skip
                if d_taken is not None and k > 0:
                    self._move(block, d_taken, d_inputs, layer.inputs, turns=True, adds=index > 0)
            of_outputs = d_inputs

    def _move(
        self,
        block: Block,
        source: Array,
        out: Array,
        width: int,
        *,
        step: int = 0,
        column: int = 0,
        into: int = 0,
        turns: bool,
        adds: bool = False,
    ) -> None:
        """Copy `width` numbers a row of a block, or add them, from that step and column on into another column.

        `turns`: with the steps of each sequence in the other order.  A window with such layers is one segment.
        """
        base, *taken = block.offsets(_width(source), step)
        first, *put = block.offsets(_width(out))
        workspace = block.workspace
        span = (*block.sequences, workspace.steps, width)
        self._move_rows(
            source.reshape(-1), (base + column, *taken), out.reshape(-1), (first + into, *put), workspace.lengths[0],
            span, turns, adds,
        )  # fmt: skip

    def _copy(
        self, block: Block, number: int, source: Array, offsets: Offsets, out: Array, k: int, drop: bool
    ) -> None:
        """Copy the block's numbers of a segment, with the mask of location k if there is dropout."""
        span = block.workspace.segments[number].span
        self._masks.copy(source, offsets, out, block.sequences, span, block.workspace.batch, k, drop)


def _width(array: Array) -> int:
    """Return how many numbers a step of a sequence has, in (T, B, ...)."""
    return math.prod(array.shape[2:])
