"""The engine of training: the loss of a model on some steps, and its gradient, by the jitted kernels."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from gatescope.cells.registry import get
from gatescope.datatypes import LOSSES, Array
from gatescope.errors import ShapeError
from gatescope.kernels import cpu
from gatescope.kernels.layer import Layer, Readout
from gatescope.kernels.loops.dropping import make_dropping
from gatescope.models import Stack
from gatescope.training.data import Data, as_data
from gatescope.training.dropout import Dropout, factors_of, key_of, threshold_of
from gatescope.training.rooms import Buffers, Room, Segment, make_room

__all__ = ["Data", "Engine", "Score", "as_data"]

# Below this many multiply-adds a second thread is not worth waking.
_THREAD_WORK = 1 << 21
_ROOMS = 64
_NO_KEY = np.uint64(0)


@dataclass(frozen=True)
class Score:
    """What a model reached on some steps.

    Attributes
    ----------
    loss : float
        Of all heads, with their weights, a step that counts.
    head_loss : (heads,) float64
    accuracy : float
        Share of right answers of the heads that classify; NaN if none does.
    count : int
        Steps that counted.
    """

    loss: float
    head_loss: Array
    accuracy: float
    count: int


class Engine:
    """Losses and exact gradients of a stack, with all memory made once.

    The way forward and the way back go through time in segments.  What a whole window's states and gates need is kept
    if it fits into `memory`; else the states at the segments' beginnings are, and each segment is computed again on the
    way back: full BPTT of any length.  Blocks of sequences are shared out between threads; gradients are added up in
    the blocks' order, so they are the same bits for any number of threads.

    Parameters
    ----------
    stack : Stack
        The model; its weights are copied.
    steps, sequences : int
        The most it will see at once.  More is no error, but takes new memory.
    threads : int
    dropout : Dropout
    weight_noise : float
        Standard deviation of the normal noise that is added to all weights for every gradient.
    seed : int
        Of dropout and noise.
    memory : int
        Bytes up to which the states and gates of a window are kept.
    learns : bool
        False: only to be evaluated, so no memory is taken for a way back.

    Attributes
    ----------
    theta : (N,)
        The weights, in the order of `Stack.flat`; to be read and written in place.
    gradient : (N,)
        What `back` found last.
    sizes : tuple of (int, int)
        Where the tensors begin and end in `theta`, in the order of `Stack.weights`.
    """

    def __init__(
        self,
        stack: Stack,
        *,
        steps: int,
        sequences: int,
        threads: int = 1,
        dropout: Dropout | None = None,
        weight_noise: float = 0.0,
        seed: int = 0,
        memory: int = 1 << 30,
        learns: bool = True,
    ) -> None:
        self._stack, self._threads, self._memory, self._seed = stack, threads, memory, seed
        self._dropout, self._noise = dropout or Dropout(), float(weight_noise)
        dtype, count = stack.dtype, stack.count()
        self._weights = np.zeros(count + 1, dtype)
        self.theta = self._weights[1:]
        self.theta[:] = stack.flat()
        self._noisy = np.zeros(count + 1, dtype) if self._noise else self._weights
        self.gradient = np.zeros(count, dtype)
        ends = np.cumsum([value.size for value in stack.weights().values()]).tolist()
        self.sizes = tuple(zip([0, *ends[:-1]], ends, strict=True))
        self._plain = _layers(stack, masked=False)
        masked = self._dropout.recurrent > 0
        self._layers = _layers(stack, masked=True) if masked else self._plain
        heads, top = stack.heads, stack.layers[-1].hidden_size
        self._readout = Readout(
            stack.output_size, top, _table(stack), count - stack.output_size * (top + 1), dtype
        )
        self._parts: list[Layer | Readout] = [*self._layers, self._readout]
        self._weight = np.array([head.weight for head in heads])
        # How many numbers the kernel's sum of a head's losses is over at every step, and the slope of one of them.
        self._terms = np.array([head.size if head.loss == "mse" else 1 for head in heads])
        self._slope = self._weight * [2 / head.size if head.loss == "mse" else 1 for head in heads]
        self._judged = np.array([head.loss != "mse" for head in heads])
        self._buffers = Buffers(dtype)
        self._rooms: dict[tuple[int, int, bool], Room] = {}
        self._carry, self._draw = make_dropping()
        self._keys = [_NO_KEY] * (len(self._layers) + 1)
        self._whole = threshold_of(0.0), np.ones(2, dtype)
        self._no_outputs = np.empty((0, 0, 0), dtype)
        self._pool: ThreadPoolExecutor | None = None
        self._ended: list[Array] = []
        self._room(steps, sequences, learn=learns)

    def stack(self) -> Stack:
        """The model with the weights as they are now."""
        return self._stack.with_flat(self.theta)

    def back(
        self, data: Data, update: int, begin: int = 0, end: int | None = None, carry: bool = False
    ) -> Score:
        """Loss of the steps begin..end of the data, and its gradient.

        Parameters
        ----------
        data : Data
        update : int
            With the seed it determines dropout's masks and the noise.
        begin, end : int
            The window; default: all steps.  The gradient stops at `begin`.
        carry : bool
            Start from the states in which the last window of as many sequences ended, not from zeros.
        """
        end = data.inputs.shape[0] if end is None else end
        count = int(np.count_nonzero(data.mask[begin:end]))
        if self._noise:
            _add_noise(self._noisy[1:], self.theta, self._noise, (self._seed, update))
        for part in self._parts:
            part.gather(self._noisy)
        room = self._room(end - begin, data.inputs.shape[1], learn=True)
        self._draw_masks(update, room.batch)
        for part in self._parts:
            part.sums.clear()
        np.divide(self._slope, max(count, 1), out=self._readout.factors, casting="same_kind")
        self._begin(room, data, begin)
        if carry and (not self._ended or self._ended[0].shape[0] != room.batch):
            raise ShapeError(f"carry=True needs a window of {room.batch} sequences before this one")
        if carry:
            for old, new in zip(self._ended, room.carried, strict=True):
                if old is not new:  # after another window length, or in new memory
                    np.copyto(new, old)
        self._ended = room.carried
        self._each(room, lambda index: self._learn(room, data, begin, carry, index))
        for part in self._parts:
            part.scatter(self.gradient)
        return self._score(count)

    def evaluate(self, data: Data) -> Score:
        """Loss of all steps of the data, without dropout and noise."""
        self._look(data, self._no_outputs)
        return self._score(int(np.count_nonzero(data.mask)))

    def predict(self, inputs: Array, lengths: Array) -> Array:
        """Outputs (T, B, O) of the read-out for inputs (T, B, I), without dropout and noise."""
        steps, batch = inputs.shape[:2]
        outputs = np.zeros((steps, batch, self._stack.output_size), self.theta.dtype)
        targets = np.empty((steps, batch, 0), self.theta.dtype)
        self._look(Data(inputs, targets, np.zeros((steps, batch), np.uint8), lengths), outputs)
        return outputs

    @property
    def carried(self) -> Array:
        """The states (flat) in which the last window ended; what `back` starts from with ``carry=True``."""
        return np.concatenate([state.reshape(-1) for state in self._ended]) if self._ended else np.zeros(0)

    @carried.setter
    def carried(self, flat: Array) -> None:
        size = sum(layer.states * layer.units for layer in self._layers)
        batch, rest = divmod(flat.size, size)
        if rest:
            raise ShapeError(f"carried has {flat.size} numbers, not a multiple of the {size} of a sequence")
        self._ended, at = [], 0
        for k, layer in enumerate(self._layers):
            state = self._buffers.take(f"carried {k}", (batch, layer.states, layer.units))
            state.reshape(-1)[:] = flat[at : at + state.size]
            self._ended.append(state)
            at += state.size

    def close(self) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    # What follows is the way through a window.

    def _room(self, steps: int, batch: int, learn: bool) -> Room:
        key = steps, batch, learn
        room = self._rooms.get(key)
        if room is None or room.generation != self._buffers.generation:
            blocks = cpu.blocks_for(batch, max(layer.units for layer in self._layers))
            room = make_room(
                self._layers,
                self._buffers,
                blocks,
                steps,
                learn=learn,
                memory=self._memory,
                drops=(learn and self._dropout.inputs > 0, learn and self._dropout.outputs > 0),
            )
            # Rooms of another generation keep memory alive that nothing uses any more.
            kept = {k: r for k, r in self._rooms.items() if r.generation == self._buffers.generation}
            while len(kept) >= _ROOMS:
                kept.pop(next(iter(kept)))
            self._rooms = {**kept, key: room}
        for layer in self._layers if learn else self._plain:
            layer.prepare(room.blocks)
        self._readout.prepare(room.blocks)
        return room

    def _begin(self, room: Room, data: Data, begin: int) -> None:
        np.subtract(data.lengths, room.offsets + begin, out=room.lengths)
        self._readout.found.fill(0)

    def _each(self, room: Room, work: Callable[[int], None]) -> None:
        """Do the work of every block, on threads where there is enough of it."""
        amount = room.steps * room.batch * int(self.theta.size)
        if self._threads <= 1 or len(room.blocks) == 1 or amount < _THREAD_WORK:
            for index in range(len(room.blocks)):
                work(index)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="gatescope")
            weakref.finalize(self, self._pool.shutdown, wait=False)
        for future in [self._pool.submit(work, index) for index in range(len(room.blocks))]:
            future.result()

    def _draw_masks(self, update: int, batch: int) -> None:
        drop, top = self._dropout, len(self._layers)
        for k in range(top + 1):
            place = "inputs" if k == 0 else "between" if k < top else "outputs"
            if getattr(drop, place):
                self._keys[k] = key_of(self._seed, update, place, k)
        if drop.recurrent:
            chance, kept = threshold_of(drop.recurrent), factors_of(drop.recurrent, self.theta.dtype)
            for k, masked in enumerate(self._layers):
                key = key_of(self._seed, update, "recurrent", k)
                self._draw(masked.factors, batch, masked.plan.padded, masked.units, key, chance, kept)

    def _learn(self, room: Room, data: Data, begin: int, carry: bool, index: int) -> None:
        """Forward and back through a window, for one block of sequences."""
        block, segments = slice(*room.blocks[index]), room.segments
        last = len(segments) - 1
        for k in range(len(self._layers)):
            beginning = segments[0].states[k] if room.whole else room.checkpoints[k]
            beginning[0, block] = self._ended[k][block] if carry else 0
        for number, segment in enumerate(segments):
            if not room.whole:
                for k in range(len(self._layers)):
                    segment.states[k][0, block] = room.checkpoints[k][number, block]
                if number == last:  # the way back begins with it
                    break
            self._forward(room, number, data, begin, index, True)
            if not room.whole:
                for k in range(len(self._layers)):
                    room.checkpoints[k][number + 1, block] = segment.states[k][-1, block]
        for number in range(last, -1, -1):
            segment = segments[number]
            if not room.whole:
                for k in range(len(self._layers)):
                    segment.states[k][0, block] = room.checkpoints[k][number, block]
                self._forward(room, number, data, begin, index, True)
            elif last > 0:
                for k in range(len(self._layers)):
                    self._inputs(room, number, data, begin, index, k, True)
            if number == last:
                for k in range(len(self._layers)):
                    room.carried[k][block] = segment.states[k][-1, block]
            self._backward(room, number, data, begin, index)

    def _look(self, data: Data, outputs: Array) -> None:
        """Forward through all steps, keeping nothing."""
        for layer in self._plain:
            layer.gather(self._weights)
        self._readout.gather(self._weights)
        room = self._room(data.inputs.shape[0], data.inputs.shape[1], learn=False)
        self._begin(room, data, 0)

        def work(index: int) -> None:
            block = slice(*room.blocks[index])
            for number, segment in enumerate(room.segments):
                for k in range(len(self._plain)):
                    before = room.segments[number - 1].states[k][-1, block] if number else 0
                    segment.states[k][0, block] = before
                self._forward(room, number, data, 0, index, False)
                self._read(room, number, data, 0, index, outputs, False)

        self._each(room, work)

    def _forward(self, room: Room, number: int, data: Data, begin: int, index: int, learn: bool) -> None:
        segment, lengths = room.segments[number], room.lengths[number]
        for k, layer in enumerate(self._layers if learn else self._plain):
            inputs = self._inputs(room, number, data, begin, index, k, learn)
            layer.forward(index, room.blocks[index], inputs, segment.states[k], segment.gates[k], lengths)

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
            chance = self._dropout.inputs
        else:
            source = segment.states[k - 1]
            width = source.shape[2] * source.shape[3]
            place = (room.batch + first) * width, room.batch * width, width
            chance = self._dropout.between
        self._copy(source, place, out, segment, (first, end), room.batch, k, chance if learn else 0.0)
        return out

    def _copy(
        self,
        source: Array,
        place: tuple[int, int, int],
        out: Array,
        segment: Segment,
        block: tuple[int, int],
        batch: int,
        layer: int,
        chance: float,
    ) -> None:
        """Copy numbers of a segment, dropping some."""
        threshold, kept = self._whole
        if chance:
            threshold, kept = threshold_of(chance), factors_of(chance, self.theta.dtype)
        span = (*block, segment.begin, segment.end - segment.begin)
        self._carry(source.reshape(-1), place, out, span, batch, self._keys[layer], threshold, kept)

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
            self._copy(
                states, place, features, segment, block, room.batch, len(self._layers), self._dropout.outputs
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
        adjoint_of_outputs, chance = segment.d_features, self._dropout.outputs
        for k in range(len(self._layers) - 1, -1, -1):
            if chance:
                width = adjoint_of_outputs.shape[2]
                place = block[0] * width, room.batch * width, width
                self._copy(
                    adjoint_of_outputs, place, adjoint_of_outputs, segment, block, room.batch, k + 1, chance
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
            adjoint_of_outputs, chance = segment.d_inputs[k], self._dropout.between

    def _score(self, count: int) -> Score:
        found = self._readout.found
        total = found[0]
        for other in found[1:]:
            total = total + other
        head_loss = total[:, 0] / (self._terms * max(count, 1))
        answers = float(total[self._judged, 2].sum())
        accuracy = float(total[self._judged, 1].sum()) / answers if answers else float("nan")
        return Score(float(self._weight @ head_loss), head_loss, accuracy, count)


def _layers(stack: Stack, masked: bool) -> list[Layer]:
    found, first = [], 0
    for params in stack.layers:
        found.append(Layer(get(params.cell), params, first, masked=masked))
        first += params.count()
    return found


def _table(stack: Stack) -> Array:
    """The heads as the kernel reads them: loss, first output, outputs, first target column."""
    rows, output, column = [], 0, 0
    for head in stack.heads:
        rows.append((LOSSES.index(head.loss), output, head.size, column))
        output, column = output + head.size, column + head.columns
    return np.array(rows, np.int64)


def _add_noise(out: Array, theta: Array, deviation: float, words: tuple[int, int]) -> None:
    """The weights with normal noise."""
    # The last word keeps it apart from the masks, whose fourth word is a layer.
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([*words, 4])))
    generator.standard_normal(out=out, dtype=out.dtype)
    out *= out.dtype.type(deviation)
    out += theta
