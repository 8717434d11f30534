"""The engine of training: the loss of a model on some steps, and its gradient, by the jitted kernels."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from gatescope.cells.registry import get
from gatescope.checks.arrays import check_own_array
from gatescope.checks.network import check_params, check_stack
from gatescope.checks.numbers import check_count, check_flag, check_number
from gatescope.datatypes import LOSSES, Array
from gatescope.datatypes.stack import Stack
from gatescope.errors import DtypeError, ShapeError
from gatescope.kernels.cpu import sweeps
from gatescope.kernels.cpu.layer import Layer, Readout
from gatescope.training.arrays import Data, as_data
from gatescope.training.dropout import Dropout, check_dropout
from gatescope.training.masking import Masks, add_noise
from gatescope.training.sweep import Passage
from gatescope.training.workspace import Buffers, Room, make_room

__all__ = ["Data", "Engine", "Score", "as_data"]

# Below this many multiply-adds a second thread is not worth waking.
_THREAD_WORK = 1 << 21
_ROOMS = 64


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

    Examples
    --------
    >>> import gatescope as gs
    >>> batch = gs.tasks.temporal_order(steps=20, sequences=100, seed=0)
    >>> score = gs.evaluate(gs.init_stack("lstm", hidden_size=8, heads=batch, seed=0), batch)
    >>> score.count, 0 < score.loss < 3, 0 <= score.accuracy <= 1
    (100, True, True)
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
        At most so many; at least 1.
    dropout : Dropout, optional
    weight_noise : float
        Standard deviation of the normal noise that is added to all weights for every gradient; at least 0.
    seed : int
        Of dropout and noise; at least 0.
    memory : int
        Bytes up to which the states and gates of a window are kept; at least 0.
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

    Raises
    ------
    ShapeError
        If the arrays in `stack` do not fit their cells.
    DtypeError, ValueRangeError
        If `stack` is no Stack, or another argument is out of range or of another kind.

    Examples
    --------
    A loop of one's own:

    >>> import gatescope as gs
    >>> batch = gs.tasks.adding(steps=10, sequences=50, seed=0)
    >>> stack = gs.init_stack("gru", hidden_size=8, heads=batch, seed=0)
    >>> data = gs.training.as_data(batch, stack)
    >>> engine = gs.training.Engine(stack, steps=10, sequences=50)
    >>> adam = gs.training.Adam()
    >>> slots = adam.slots(engine.theta.size, engine.theta.dtype)
    >>> before = engine.evaluate(data).loss
    >>> for update in range(20):
    ...     score = engine.back(data, update)
    ...     adam.update(engine.theta, engine.gradient, slots, update + 1, lr=0.01)
    >>> engine.evaluate(data).loss < before
    True
    >>> trained = engine.stack()
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
        for layer in check_stack(stack).layers:
            check_params(layer)
        self._stack, self._threads = stack, check_count("threads", threads)
        self._memory = check_count("memory", memory, least=0)
        self._seed = seed = check_count("seed", seed, least=0)
        self._noise = check_number("weight_noise", weight_noise, least=0)
        dropout = check_dropout(dropout)
        dtype, count = stack.dtype, stack.count()
        self._weights = np.zeros(count + 1, dtype)
        self.theta = self._weights[1:]
        self.theta[:] = stack.flat()
        self._noisy = np.zeros(count + 1, dtype) if self._noise else self._weights
        self.gradient = np.zeros(count, dtype)
        ends = np.cumsum([value.size for value in stack.weights().values()]).tolist()
        self.sizes = tuple(zip([0, *ends[:-1]], ends, strict=True))
        self._plain = _layers(stack, masked=False)
        masked = dropout.recurrent > 0
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
        self._columns = sum(head.columns for head in heads)
        self._judged = np.array([head.loss != "mse" for head in heads])
        self._buffers = Buffers(dtype)
        self._rooms: dict[tuple[int, int, bool], Room] = {}
        self._masks = Masks(dropout, seed, len(self._layers), dtype)
        self._passage = Passage(self._layers, self._plain, self._readout, self._masks)
        self._pool: ThreadPoolExecutor | None = None
        self._ended: list[Array] = []
        self._room(
            check_count("steps", steps),
            check_count("sequences", sequences),
            learn=check_flag("learns", learns),
        )

    def stack(self) -> Stack:
        """The model with the weights as they are now."""
        return self._stack.with_flat(self.theta)

    def back(
        self,
        data: Data,
        update: int,
        begin: int = 0,
        end: int | None = None,
        carry: bool = False,
        first: int | None = None,
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
        first : int, optional
            The update of these sequences' first window, whose recurrent masks hold for all of them; default: `update`.

        Raises
        ------
        ShapeError, DtypeError
            If the data do not fit the model, or there is no such window.
        ValueRangeError
            If `update` or `first` is not a whole number of at least 0.
        """
        steps, batch = self._check(data)
        check_count("update", update, least=0)
        first = update if first is None else check_count("first", first, least=0)
        end = steps if end is None else end
        whole = isinstance(begin, int | np.integer) and isinstance(end, int | np.integer)
        if not (whole and 0 <= begin < end <= steps):
            raise ShapeError(
                f"begin={begin!r}, end={end!r} is no window of {steps} steps; give 0 <= begin < end <= T"
            )
        if carry and (not self._ended or self._ended[0].shape[0] != batch):
            raise ShapeError(f"carry=True needs a window of {batch} sequences before this one")
        count = int(np.count_nonzero(data.mask[begin:end]))
        if self._noise:
            add_noise(self._noisy[1:], self.theta, self._noise, self._seed, update)
        for part in self._parts:
            part.gather(self._noisy)
        room = self._room(end - begin, batch, learn=True)
        self._masks.draw(update, first, self._layers, batch)
        for part in self._parts:
            part.sums.clear()
        np.divide(self._slope, max(count, 1), out=self._readout.factors, casting="same_kind")
        self._begin(room, data, begin)
        if carry:
            for old, new in zip(self._ended, room.carried, strict=True):
                if old is not new:  # after another window length, or in new memory
                    np.copyto(new, old)
        self._ended = room.carried
        before = self._ended if carry else None
        self._each(room, lambda index: self._passage.learn(room, data, begin, before, count > 0, index))
        for part in self._parts:
            part.scatter(self.gradient)
        return self._score(count)

    def evaluate(self, data: Data) -> Score:
        """Loss of all steps of the data, without dropout and noise; errors as of `back`."""
        self._check(data)
        self._look(data, None)
        return self._score(int(np.count_nonzero(data.mask)))

    def predict(self, inputs: Array, lengths: Array) -> Array:
        """Outputs (T, B, O) of the read-out for inputs (T, B, I), without dropout and noise; errors as of `back`."""
        steps, batch = check_own_array("inputs", inputs, "(T, B, I)").shape[:2]
        outputs = np.zeros((steps, batch, self._stack.output_size), self.theta.dtype)
        targets = np.empty(
            (steps, batch, self._columns), self.theta.dtype
        )  # the mask says that nobody looks at them
        data = Data(inputs, targets, np.zeros((steps, batch), np.uint8), lengths)
        self._check(data)
        self._look(data, outputs)
        return outputs

    @property
    def carried(self) -> Array:
        """The states (flat) in which the last window ended; what `back` starts from with ``carry=True``."""
        return np.concatenate([state.reshape(-1) for state in self._ended]) if self._ended else np.zeros(0)

    @carried.setter
    def carried(self, flat: Array) -> None:
        check_own_array("carried", flat, "(N,)")
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

    def _check(self, data: Data) -> tuple[int, int]:
        """Steps and sequences of data whose shapes and dtypes the kernels can take as they are."""
        if not isinstance(data, Data):
            raise DtypeError(f"data is a {type(data).__name__}; make it with as_data(batch, stack)")
        steps, batch = check_own_array("inputs", data.inputs, "(T, B, I)").shape[:2]
        if steps == 0 or batch == 0:
            raise ShapeError(
                f"inputs has the shape {data.inputs.shape}; give at least one step and one sequence"
            )
        wanted = {
            "inputs": (steps, batch, self._stack.input_size),
            "targets": (steps, batch, self._columns),
            "mask": (steps, batch),
            "lengths": (batch,),
        }
        for name, shape in wanted.items():
            if np.shape(getattr(data, name)) != shape:
                raise ShapeError(
                    f"{name} has the shape {np.shape(getattr(data, name))}; this model needs {shape}"
                )
        kinds = self.theta.dtype, self.theta.dtype, np.uint8, np.int64
        for name, array, kind in zip(data._fields, data, kinds, strict=True):
            if not isinstance(array, np.ndarray) or array.dtype != kind:
                found = getattr(array, "dtype", type(array).__name__)
                raise DtypeError(f"{name} is {found}; this model needs {np.dtype(kind)}: see as_data")
        return steps, batch

    def _room(self, steps: int, batch: int, learn: bool) -> Room:
        key = steps, batch, learn
        room = self._rooms.get(key)
        if room is None or room.generation != self._buffers.generation:
            blocks = sweeps.blocks_for(batch, max(layer.units for layer in self._layers))
            room = make_room(
                self._layers,
                self._buffers,
                blocks,
                steps,
                learn=learn,
                memory=self._memory,
                drops=(learn and self._masks.drops[0], learn and self._masks.drops[-1]),
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
            self._pool = ThreadPoolExecutor(self._threads - 1, thread_name_prefix="gatescope")
            weakref.finalize(self, self._pool.shutdown, wait=False)
        blocks = iter(range(len(room.blocks)))

        def share() -> None:
            for index in blocks:
                work(index)

        # This thread takes its share, too: waking one less is a good part of a small update.
        others = [self._pool.submit(share) for _ in range(min(self._threads, len(room.blocks)) - 1)]
        try:
            share()
        finally:
            for other in others:
                other.result()

    def _look(self, data: Data, outputs: Array | None) -> None:
        for layer in self._plain:
            layer.gather(self._weights)
        self._readout.gather(self._weights)
        room = self._room(data.inputs.shape[0], data.inputs.shape[1], learn=False)
        self._begin(room, data, 0)
        self._each(room, lambda index: self._passage.look(room, data, outputs, index))

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
