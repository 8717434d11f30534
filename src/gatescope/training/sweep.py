"""The way of one block of sequences through a window: forward, read-out, and back."""

from __future__ import annotations

import numpy as np

from gatescope.datatypes import Array
from gatescope.kernels.cpu.layer import Layer, Readout
from gatescope.training.arrays import Data
from gatescope.training.masking import Masks
from gatescope.training.workspace import Room, Segment


class Passage:
    """Layers, a read-out and dropout, put together.

    Parameters
    ----------
    layers : list of Layer
        As they are in training.
    plain : list of Layer
        The same without recurrent dropout.
    readout : Readout
    masks : Masks
    """

    def __init__(self, layers: list[Layer], plain: list[Layer], readout: Readout, masks: Masks) -> None:
        self._layers, self._plain, self._readout, self._masks = layers, plain, readout, masks
        self._no_outputs = np.empty((0, 0, 0), readout.factors.dtype)

    def learn(
        self, room: Room, data: Data, begin: int, before: list[Array] | None, counts: bool, index: int
    ) -> None:
        """Forward from the states `before` (None: zeros) and, if anything counts, back through a window."""
        block, segments, layers = slice(*room.blocks[index]), room.segments, range(len(self._layers))
        last = len(segments) - 1
        for k in layers:
            beginning = segments[0].states[k] if room.whole else room.checkpoints[k]
            beginning[0, block] = 0 if before is None else before[k][block]
        for number, segment in enumerate(segments):
            if not room.whole:
                for k in layers:
                    segment.states[k][0, block] = room.checkpoints[k][number, block]
            self._forward(room, number, data, begin, index, True)
            if not room.whole and number < last:
                for k in layers:
                    room.checkpoints[k][number + 1, block] = segment.states[k][-1, block]
        for k in layers:
            room.carried[k][block] = segments[last].states[k][-1, block]
        for number in range(last, -1, -1) if counts else ():
            segment = segments[number]
            if number == last:  # it is still as the way forward left it
                pass
            elif room.whole:
                for k in layers:
                    self._inputs(room, number, data, begin, index, k, True)
            else:
                for k in layers:
                    segment.states[k][0, block] = room.checkpoints[k][number, block]
                self._forward(room, number, data, begin, index, True)
            self._backward(room, number, data, begin, index)

    def look(self, room: Room, data: Data, outputs: Array | None, index: int) -> None:
        """Forward through all steps, keeping nothing but the outputs, if they are wanted."""
        block = slice(*room.blocks[index])
        for number, segment in enumerate(room.segments):
            for k in range(len(self._plain)):
                before = room.segments[number - 1].states[k][-1, block] if number else 0
                segment.states[k][0, block] = before
            self._forward(room, number, data, 0, index, False)
            self._read(room, number, data, 0, index, self._no_outputs if outputs is None else outputs, False)

    def _forward(self, room: Room, number: int, data: Data, begin: int, index: int, learn: bool) -> None:
        segment, lengths = room.segments[number], room.lengths[number]
        for k, layer in enumerate(self._layers if learn else self._plain):
            inputs = self._inputs(room, number, data, begin, index, k, learn)
            # What is kept of the whole window is not read again soon, but for a layer's states by the layer above.
            stream = room.streams and layer is self._layers[-1]
            layer.forward(
                index, room.blocks[index], inputs, segment.states[k], segment.gates[k], lengths, stream
            )

    def _inputs(
        self, room: Room, number: int, data: Data, begin: int, index: int, k: int, learn: bool
    ) -> Array:
        """Inputs of layer k in a segment: those of the data, or the outputs below, with dropout."""
        segment, (first, end) = room.segments[number], room.blocks[index]
        out = segment.inputs[k]
        if out is None:
            return data.inputs[begin + segment.begin : begin + segment.end]
        if k == 0:
            width = data.inputs.shape[2]
            source = data.inputs
            place = ((begin + segment.begin) * room.batch + first) * width, room.batch * width, width
        else:
            source = segment.states[k - 1]
            width = source.shape[2] * source.shape[3]
            place = (room.batch + first) * width, room.batch * width, width
        self._masks.copy(source, place, out, (first, end), _span(segment), room.batch, k, learn)
        return out

    def _read(
        self, room: Room, number: int, data: Data, begin: int, index: int, outputs: Array, learn: bool
    ) -> None:
        """The read-out and its losses in a segment."""
        segment, block = room.segments[number], room.blocks[index]
        states = segment.states[-1]
        width = states.shape[2] * states.shape[3]
        features, place = states, ((room.batch + block[0]) * width, room.batch * width, width)
        if learn and segment.features is not None:
            features = segment.features
            self._masks.copy(
                states, place, features, block, _span(segment), room.batch, len(self._layers), True
            )
            width = features.shape[2]
            place = block[0] * width, room.batch * width, width
        steps = begin + segment.begin, begin + segment.end
        self._readout.sweep(
            index, block, features.reshape(-1), place, (data.targets, data.mask), steps, segment.d_features,
            outputs, learn,
        )  # fmt: skip

    def _backward(self, room: Room, number: int, data: Data, begin: int, index: int) -> None:
        segment, lengths, block = room.segments[number], room.lengths[number], room.blocks[index]
        columns = slice(*block)
        self._read(room, number, data, begin, index, self._no_outputs, True)
        adjoint_of_outputs = segment.d_features
        for k in range(len(self._layers) - 1, -1, -1):
            if self._masks.drops[k + 1]:
                width = adjoint_of_outputs.shape[2]
                place = block[0] * width, room.batch * width, width
                self._masks.copy(
                    adjoint_of_outputs,
                    place,
                    adjoint_of_outputs,
                    block,
                    _span(segment),
                    room.batch,
                    k + 1,
                    True,
                )
            adjoint = segment.adjoints[k]
            adjoint[-1, columns] = 0 if number == len(room.segments) - 1 else adjoint[0, columns]
            inputs = segment.inputs[k]
            if inputs is None:
                inputs = data.inputs[begin + segment.begin : begin + segment.end]
            trace = inputs, segment.states[k], segment.gates[k]
            self._layers[k].backward(
                index, block, trace, lengths, adjoint_of_outputs, adjoint, segment.d_inputs[k]
            )
            adjoint_of_outputs = segment.d_inputs[k]


def _span(segment: Segment) -> tuple[int, int]:
    return segment.begin, segment.end
