"""The sweep of one block of sequences through a window: forward, read-out, and back."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from gatescope.datatypes import Array
from gatescope.kernels.cpu.layer import Layer, Readout
from gatescope.training.arrays import Data
from gatescope.training.dropout import Masks, Offsets
from gatescope.training.workspace import Workspace


class Block(NamedTuple):
    """The sequences of block number `ordinal` of a workspace, in the window of the data that begins at step `begin`."""

    workspace: Workspace
    data: Data
    begin: int
    ordinal: int

    @property
    def sequences(self) -> tuple[int, int]:
        """Return the first sequence, and the first one after."""
        return self.workspace.blocks[self.ordinal]

    def offsets(self, width: int, steps: int = 0) -> Offsets:
        """Return where this block's numbers lie in an array (T, B, width), from that step on."""
        row = self.workspace.batch * width
        return steps * row + self.sequences[0] * width, row, width


class Sweep:
    """Layers, a read-out and dropout, put together; `plain` are the layers without recurrent dropout."""

    def __init__(self, layers: list[Layer], plain: list[Layer], readout: Readout, masks: Masks) -> None:
        self._layers, self._plain, self._readout, self._masks = layers, plain, readout, masks
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
                for k in layers:
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
        workspace = block.workspace
        segment, lengths = workspace.segments[number], workspace.lengths[number]
        for k, layer in enumerate(self._layers if learn else self._plain):
            inputs = self._inputs(block, number, k, learn)
            # What is stored of the whole window is not read again soon, but for a layer's states by the layer above.
            nontemporal = workspace.nontemporal and layer is self._layers[-1]
            states, gates = segment.states[k], segment.gates[k]
            layer.forward(block.ordinal, block.sequences, inputs, states, gates, lengths, nontemporal)

    def _inputs(self, block: Block, number: int, k: int, learn: bool) -> Array:
        """Return the inputs of layer k in a segment: those of the data, or the outputs below, with dropout."""
        segment = block.workspace.segments[number]
        out, first = segment.inputs[k], block.begin + segment.begin
        if out is None:
            return block.data.inputs[first : block.begin + segment.end]
        source = block.data.inputs if k == 0 else segment.states[k - 1]
        offsets = block.offsets(_width(source), first if k == 0 else 1)
        self._copy(block, number, source, offsets, out, k, learn)
        return out

    def _read(self, block: Block, number: int, outputs: Array, learn: bool) -> None:
        """Sweep the read-out and its losses over a segment."""
        segment, begin = block.workspace.segments[number], block.begin
        features = segment.states[-1]
        offsets = block.offsets(_width(features), 1)
        if learn and segment.features is not None:
            self._copy(block, number, features, offsets, segment.features, len(self._layers), True)
            features, offsets = segment.features, block.offsets(_width(segment.features))
        steps = begin + segment.begin, begin + segment.end
        self._readout.sweep(
            block.ordinal, block.sequences, features.reshape(-1), offsets, (block.data.targets, block.data.mask),
            steps, segment.d_features, outputs, learn,
        )  # fmt: skip

    def _backward(self, block: Block, number: int) -> None:
        workspace, columns = block.workspace, slice(*block.sequences)
        segment, lengths = workspace.segments[number], workspace.lengths[number]
        self._read(block, number, self._no_outputs, True)
        of_outputs = segment.d_features
        for k in range(len(self._layers) - 1, -1, -1):
            if self._masks.drops[k + 1]:
                offsets = block.offsets(_width(of_outputs))
                self._copy(block, number, of_outputs, offsets, of_outputs, k + 1, True)
            adjoint = segment.adjoints[k]
            adjoint[-1, columns] = 0 if number == len(workspace.segments) - 1 else adjoint[0, columns]
            inputs = segment.inputs[k]
            if inputs is None:
                inputs = block.data.inputs[block.begin + segment.begin : block.begin + segment.end]
            trace = inputs, segment.states[k], segment.gates[k]
            self._layers[k].backward(
                block.ordinal, block.sequences, trace, lengths, of_outputs, adjoint, segment.d_inputs[k]
            )
            of_outputs = segment.d_inputs[k]

    def _copy(
        self, block: Block, number: int, source: Array, offsets: Offsets, out: Array, k: int, drop: bool
    ) -> None:
        """Copy the block's numbers of a segment, with the mask of location k if there is dropout."""
        span = block.workspace.segments[number].span
        self._masks.copy(source, offsets, out, block.sequences, span, block.workspace.batch, k, drop)


def _width(array: Array) -> int:
    """Return how many numbers a step of a sequence has, in (T, B, ...)."""
    return math.prod(array.shape[2:])
