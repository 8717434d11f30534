"""The engine of training: the loss of a model on some steps, and its gradient, by the jitted kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gatescope.cells.registry import get
from gatescope.checks.arrays import check_own_array, check_shape
from gatescope.checks.network import check_directions, check_trainable
from gatescope.checks.numbers import check_count, check_flag, check_number, check_type
from gatescope.datatypes import LOSSES, Array, Stack
from gatescope.datatypes.stack import first_backward, output_size_of
from gatescope.errors import DtypeError, ShapeError, ValueRangeError
from gatescope.kernels.cpu.blocks import blocks_for, groups_for, one_each
from gatescope.kernels.cpu.layer import Layer, Readout
from gatescope.kernels.cpu.loops.subnormals import flush_subnormals
from gatescope.kernels.cpu.threads import Workers
from gatescope.recurrence.clamping import clamp as clamped_by
from gatescope.recurrence.clamping import stack_clamps
from gatescope.training.arrays import Data
from gatescope.training.dropout import Dropout, Masks, add_noise, check_dropout
from gatescope.training.fixed import fixed_places
from gatescope.training.memory import WHOLE_BYTES, check_engine
from gatescope.training.score import Score
from gatescope.training.sweep import Block, Sweep
from gatescope.training.workspace import Buffers, Workspace, make_workspace, ways_of

# Below this many multiply-adds a second thread is not worth waking.
_THREAD_WORK = 1 << 23
_WORKSPACES = 64


class Engine:
    """Losses and exact gradients of a stack, in memory that is made once.

    The forward and the backward sweep go through time in segments.  A whole window's states and gates are stored if
    they fit into `memory`; else only the states at the segments' beginnings are, and each segment is computed again on
    the way back: full BPTT of any length.  Blocks of sequences are divided between threads; gradients are added up in
    an order that does not depend on them, so they are the same bits for any number of threads.

    Where a layer goes backward, a window is all steps of its sequences, in one segment, and all states and gates are
    stored, whatever `memory` is.

    Subnormal numbers (below 1.2e-38 in float32, 2.2e-308 in float64) count as 0 in its sweeps: they take a
    processor a hundred times as long.  That is set for a thread only while it sweeps; `gatescope.backprop` keeps
    subnormal numbers.

    Parameters
    ----------
    stack : Stack
        The model; its weights are copied.
    steps, sequences : int
        The largest T and B it will see.  More is no error, but takes new memory.
    threads : int
        Maximum number of threads; at least 1.
    dropout : Dropout, optional
    weight_noise : float
        Standard deviation of the normal noise that is added to all weights for every gradient; at least 0.
    seed : int
        Of dropout and noise; at least 0.
    memory : int
        Bytes up to which the states and gates of a window are stored; at least 0.
    learns : bool
        False: only to be evaluated, so no memory is taken for the backward sweep.
    clamp : mapping, optional
        Gates that keep a value, as for `gatescope.clamp`.

    Attributes
    ----------
    theta : (N,)
        The weights, in the order of `Stack.flat`; to be read and written in place.
    gradient : (N,)
        The gradient that `back` computed last.
    sizes : tuple of (int, int)
        Where the tensors begin and end in `theta`, in the order of `Stack.weights`.
    fixed : (F,) int64
        The places in `theta` of what is not trained, clamped gates and weights that a gate does not have: the gradient
        is 0 there, noise leaves them out, and what an optimizer writes there is undone.

    Examples
    --------
    A loop of one's own:

    >>> import gatescope as gs
    >>> batch = gs.tasks.adding(steps=10, sequences=50, seed=0)
    >>> stack = gs.init_stack("gru", hidden_size=8, heads=batch, seed=0)
    >>> data = gs.training.as_data(batch, stack)
    >>> engine = gs.training.Engine(stack, steps=10, sequences=50)
    >>> adam = gs.training.Adam()
    >>> state = adam.state(engine.theta.size, engine.theta.dtype)
    >>> before = engine.evaluate(data).loss
    >>> for update in range(20):
    ...     score = engine.back(data, update)
    ...     adam.update(engine.theta, engine.gradient, state, update + 1, lr=0.01)
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
        memory: int = WHOLE_BYTES,
        learns: bool = True,
        clamp: Any = None,
    ) -> None:
        check_directions(check_trainable(stack))
        clamps = stack_clamps(stack, clamp)
        stack = stack if clamp is None else clamped_by(stack, clamp)
        self._stack = stack
        self._memory = check_count("memory", memory, least=0)
        self._seed = seed = check_count("seed", seed, least=0)
        self._noise = check_number("weight_noise", weight_noise, least=0)
        dropout = check_dropout(dropout)
        steps, sequences = check_count("steps", steps), check_count("sequences", sequences)
        learns = check_flag("learns", learns)
        check_engine(
            "sequences",
            stack,
            steps,
            sequences,
            advice="give fewer sequences or steps at a time",
            learns=learns,
            memory=memory,
            dropout=dropout != Dropout(),
            noise=self._noise > 0,
        )
        dtype, count = stack.dtype, stack.size
        self._weights = np.zeros(count + 1, dtype)
        self.theta = self._weights[1:]
        self.theta[:] = stack.flat()
        self._noisy = np.zeros(count + 1, dtype) if self._noise else self._weights
        self.gradient = np.zeros(count, dtype)
        self.fixed = fixed_places(stack, clamps)
        self._fixed_values = self.theta[self.fixed]
        ends = np.cumsum([value.size for value in stack.weights().values()]).tolist()
        self.sizes = tuple(zip([0, *ends[:-1]], ends, strict=True))
        self._plain = _layers(stack, masked=False)
        masked = dropout.recurrent > 0
        self._layers = _layers(stack, masked=True) if masked else self._plain
        self._ways = ways_of(stack)
        heads, top, outputs = stack.heads, output_size_of(stack.layers[-1]), stack.output_size
        self._readout = Readout(outputs, top, _table(stack), count - outputs * (top + 1), dtype)
        self._parts: list[Layer | Readout] = [*self._layers, self._readout]
        self._weight = np.array([head.weight for head in heads])
        # How many numbers the kernel's sum of a head's losses is over at every step, and the slope of one of them.
        self._terms = np.array([head.size if head.loss == "mse" else 1 for head in heads])
        self._slope = self._weight * [2 / head.size if head.loss == "mse" else 1 for head in heads]
        self._columns = sum(head.columns for head in heads)
        self._judged = np.array([head.loss != "mse" for head in heads])
        self._buffers = Buffers(dtype)
        self._workspaces: dict[tuple[int, int, bool], Workspace] = {}
        self._masks = Masks(dropout, seed, len(stack.layers), dtype)
        self._sweep = Sweep(self._layers, self._plain, self._ways, self._readout, self._masks)
        self._threads = check_count("threads", threads)
        self._workers, self._alone = Workers(self._threads), Workers(1)
        self._ended: list[Array] = []
        self._workspace(steps, sequences, learn=learns)

    def stack(self) -> Stack:
        """Return the model with the weights as they are now."""
        self.restore_fixed()
        return self._stack.with_flat(self.theta)

    def restore_fixed(self) -> None:
        """Undo what was written to `theta` at the places of `fixed`; `back`, `evaluate` and `stack` do it, too."""
        if self.fixed.size:
            self.theta[self.fixed] = self._fixed_values

    def back(
        self,
        data: Data,
        update: int,
        *,
        begin: int = 0,
        end: int | None = None,
        carry: bool = False,
        first: int | None = None,
    ) -> Score:
        """Compute the loss of the steps begin..end of the data, and its gradient.

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
        ValueRangeError
            If a window is a part of the steps, or starts from another's states, and a layer goes backward.
        """
        steps, batch = self._check(data)
        update = check_count("update", update, least=0)
        first = update if first is None else check_count("first", first, least=0)
        end = steps if end is None else end
        begin = check_count("begin", begin, least=0, most=steps - 1)
        end = check_count("end", end, least=begin + 1, most=steps)
        self._check_window(begin, end, steps, check_flag("carry", carry))
        if carry and (not self._ended or self._ended[0].shape[0] != batch):
            raise ShapeError(f"needs a window of {batch} sequences before this one", argument="carry")
        count = int(np.count_nonzero(data.mask[begin:end]))
        self.restore_fixed()
        if self._noise:
            add_noise(self._noisy[1:], self.theta, self._noise, self._seed, update)
            self._noisy[1:][self.fixed] = self._fixed_values
        for part in self._parts:
            part.gather(self._noisy)
        workspace = self._workspace(end - begin, batch, learn=True)
        self._masks.draw(update, first, self._layers, batch)
        for part in self._parts:
            part.sums.clear()
        np.divide(self._slope, max(count, 1), out=self._readout.factors, casting="same_kind")
        self._begin(workspace, data, begin)
        if carry:
            for old, new in zip(self._ended, workspace.carried, strict=True):
                if old is not new:  # after another window length, or in new memory
                    np.copyto(new, old)
        self._ended = workspace.carried
        before = self._ended if carry else None
        learn = self._sweep.learn
        self._each(workspace, lambda i: learn(Block(workspace, data, begin, i), before, count > 0))
        for part in self._parts:
            part.scatter(self.gradient, self._workers.each)
        self.gradient[self.fixed] = 0
        return self._score(count)

    def evaluate(self, data: Data) -> Score:
        """Return the loss of all steps of the data, without dropout and noise."""
        self._check(data)
        self._evaluate(data, None)
        return self._score(int(np.count_nonzero(data.mask)))

    def predict(self, inputs: Array, lengths: Array) -> Array:
        """Return the outputs (T, B, O) of the read-out for inputs (T, B, I), without dropout and noise."""
        steps, batch = check_own_array("inputs", inputs, "(T, B, I)").shape[:2]
        outputs = np.zeros((steps, batch, self._stack.output_size), self.theta.dtype)
        targets = np.empty((steps, batch, self._columns), self.theta.dtype)  # not looked at, by the mask
        data = Data(inputs, targets, np.zeros((steps, batch), np.uint8), lengths)
        self._check(data)
        self._evaluate(data, outputs)
        return outputs

    @property
    def carried(self) -> Array:
        """Return the states (flat) in which the last window ended, from which `back` starts with ``carry=True``."""
        return np.concatenate([state.reshape(-1) for state in self._ended]) if self._ended else np.zeros(0)

    @carried.setter
    def carried(self, flat: Array) -> None:
        check_own_array("carried", flat, "(N,)")
        size = sum(layer.states * layer.units for layer in self._layers)
        batch, rest = divmod(flat.size, size)
        if rest:
            problem = f"should have a multiple of {size} numbers, those of a sequence"
            raise ShapeError(problem, argument="carried", seen=flat.shape)
        self._ended, at = [], 0
        for k, layer in enumerate(self._layers):
            state = self._buffers.take(f"carried {k}", (batch, layer.states, layer.units))
            state.reshape(-1)[:] = flat[at : at + state.size]
            self._ended.append(state)
            at += state.size

    def close(self) -> None:
        """End the threads."""
        self._workers.close()

    def _check(self, data: Data) -> tuple[int, int]:
        """Return the steps and sequences of data whose shapes and dtypes the kernels can take as they are."""
        check_type("data", data, Data, advice="make it with as_data(batch, stack)")
        steps, batch = check_own_array("inputs", data.inputs, "(T, B, I)").shape[:2]
        if steps == 0 or batch == 0:
            raise ShapeError(
                "should have at least one step and one sequence", argument="inputs", seen=data.inputs.shape
            )
        numbers = self._stack.input_size, self._columns
        shapes = *((steps, batch, count) for count in numbers), (steps, batch), (batch,)
        kinds = self.theta.dtype, self.theta.dtype, np.dtype(np.uint8), np.dtype(np.int64)
        for name, array, shape, kind in zip(data._fields, data, shapes, kinds, strict=True):
            check_own_array(name, array, str(shape))
            check_shape(name, array, shape, "that of this model's data")
            if array.dtype != kind:
                raise DtypeError(argument=name, seen=array.dtype, advice=f"give {kind}, as as_data does")
            if not array.flags.c_contiguous:  # the kernels would take other numbers for it
                raise DtypeError(
                    "is not C-contiguous", argument=name, advice="give numpy.ascontiguousarray of it"
                )
        return steps, batch

    def _check_window(self, begin: int, end: int, steps: int, carry: bool) -> None:
        """Refuse a window that a backward direction does not begin, or end, with."""
        name = first_backward(self._stack)
        for argument, value, whole in (("carry", carry, False), ("begin", begin, 0), ("end", end, steps)):
            if name and value != whole:
                raise ValueRangeError(
                    f"must be {whole}: {name} takes sequences whole, from their last step on",
                    argument=argument,
                    seen=value,
                    advice="leave it out, or give shorter sequences",
                )

    def _workspace(self, steps: int, batch: int, learn: bool) -> Workspace:
        key = steps, batch, learn
        workspace = self._workspaces.get(key)
        if workspace is None or workspace.generation != self._buffers.generation:
            units = max(layer.units for layer in self._layers)
            blocks = blocks_for(batch, units)
            workspace = make_workspace(
                self._layers,
                self._ways,
                self._readout.units,
                self._buffers,
                blocks,
                groups_for(batch, units, self._threads) if learn else one_each(blocks),
                steps,
                learn=learn,
                memory=self._memory,
                drops=(learn and self._masks.drops[0], learn and self._masks.drops[-1]),
            )
            # Those of another generation hold on to memory that nothing uses any more.
            generation = self._buffers.generation
            current = {k: w for k, w in self._workspaces.items() if w.generation == generation}
            while len(current) >= _WORKSPACES:
                current.pop(next(iter(current)))
            self._workspaces = {**current, key: workspace}
        for layer in self._layers if learn else self._plain:
            layer.prepare(workspace.groups, learn)
        self._readout.prepare(workspace.groups)
        return workspace

    def _begin(self, workspace: Workspace, data: Data, begin: int) -> None:
        np.subtract(data.lengths, workspace.offsets + begin, out=workspace.lengths)
        self._readout.totals.fill(0)

    def _each(self, workspace: Workspace, work: Callable[[int], None]) -> None:
        """Do the work of every block, on threads where there is enough of it."""
        amount = workspace.steps * workspace.batch * int(self.theta.size)
        workers = self._workers if amount >= _THREAD_WORK else self._alone
        # Adjoints that fade over many steps would otherwise make an update take up to ten times as long.
        workers.each(flush_subnormals()(work), len(workspace.groups.blocks))

    def _evaluate(self, data: Data, outputs: Array | None) -> None:
        self.restore_fixed()
        for layer in self._plain:
            layer.gather(self._weights)
        self._readout.gather(self._weights)
        workspace = self._workspace(data.inputs.shape[0], data.inputs.shape[1], learn=False)
        self._begin(workspace, data, 0)
        self._each(workspace, lambda i: self._sweep.evaluate(Block(workspace, data, 0, i), outputs))

    def _score(self, count: int) -> Score:
        groups = self._readout.totals
        total = groups[0]
        for group in groups[1:]:
            total = total + group
        head_loss = total[:, 0] / (self._terms * max(count, 1))
        answers = float(total[self._judged, 2].sum())
        accuracy = float(total[self._judged, 1].sum()) / answers if answers else float("nan")
        return Score(float(self._weight @ head_loss), head_loss, accuracy, count)


def _layers(stack: Stack, masked: bool) -> list[Layer]:
    layers, first = [], 0
    for params in stack.directions().values():
        layers.append(Layer(get(params.cell), params, first, masked=masked))
        first += params.size
    return layers


def _table(stack: Stack) -> Array:
    """Return the heads as the kernel reads them: loss, first output, outputs, first target column."""
    rows, output, column = [], 0, 0
    for head in stack.heads:
        rows.append((LOSSES.index(head.loss), output, head.size, column))
        output, column = output + head.size, column + head.columns
    return np.array(rows, np.int64)
