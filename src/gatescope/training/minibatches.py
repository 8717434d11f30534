"""Sources of the data of each update: minibatches of fixed data, or batches that are made afresh."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from gatescope.checks.numbers import check_call, check_type
from gatescope.datatypes import Array, Batch, Stack
from gatescope.errors import DtypeError, ShapeError, ValueRangeError
from gatescope.kernels.cpu.aligned import aligned_empty
from gatescope.training.arrays import Data, data_of

# What a seed is for, so that no two uses draw the same numbers.
_ORDER, FRESH, VALIDATION = 1, 2, 3


class BatchSource(Protocol):
    """A source of minibatches, which depend on the seed and their numbers only, not on those asked for before.

    Attributes
    ----------
    batches : int
        Minibatches an epoch.
    steps, sequences : int
        The largest T and B of any of them.
    example : Data
        All of the data, or the first batch of those that are made afresh.
    """

    batches: int
    steps: int
    sequences: int
    example: Data

    def get(self, epoch: int, batch: int) -> Data:
        """Return minibatch `batch` of an epoch; both count from 0.  Valid until the next call."""


class FixedBatches:
    """A pass over all sequences an epoch, in an order drawn anew, `batch_size` at a time.

    Sequences are copied to memory that is used again, and cut to the longest of the minibatch.
    """

    def __init__(self, data: Data, batch_size: int | None, seed: int) -> None:
        self.example = data = trimmed(data)
        self.steps, total = data.mask.shape
        self.sequences = total if batch_size is None else min(batch_size, total)
        self.batches = -(-total // self.sequences)
        self._seed, self._epoch = seed, -1
        self._order = np.arange(total)
        if self.batches > 1:
            self._buffers = tuple(
                aligned_empty((math.prod(a.shape) // total * self.sequences,), a.dtype) for a in data[:3]
            )
            self._lengths = np.empty(self.sequences, np.int64)

    def get(self, epoch: int, batch: int) -> Data:
        """Return minibatch `batch` of an epoch; both count from 0.  Valid until the next call."""
        if self.batches == 1:  # the order of sequences within a minibatch has no meaning
            return self.example
        if epoch != self._epoch:
            self._order = np.random.default_rng([self._seed, _ORDER, epoch]).permutation(len(self._order))
            self._epoch = epoch
        begin = batch * self.sequences
        chosen = self._order[begin : begin + self.sequences]
        return _gather(self.example, chosen, self._buffers, self._lengths)


class FreshBatches:
    """New data for every minibatch, made from a seed of its own."""

    def __init__(
        self, maker: Callable[..., Batch], first: Data, stack: Stack, at: str | None, batches: int, seed: int
    ) -> None:
        self._maker, self._stack, self._at, self._seed = maker, stack, at, seed
        self.batches, self.example = batches, trimmed(first)
        self._shape = first.inputs.shape
        self.steps, self.sequences = self._shape[:2]

    def get(self, epoch: int, batch: int) -> Data:
        """Return minibatch `batch` of an epoch; both count from 0."""
        index = epoch * self.batches + batch
        if index == 0:
            return self.example
        data = data_of(make(self._maker, made_seed(self._seed, FRESH, index)), self._stack, self._at)
        if data.inputs.shape != self._shape:
            problem = f"gave inputs of shape {data.inputs.shape} for batch {index}, but of {self._shape} for the first"
            advice = "make every batch of one shape, with shorter sequences by their lengths"
            raise ShapeError(problem, argument="data", advice=advice)
        return trimmed(data)


def make(data: Any, seed: int, name: str = "data") -> Batch:
    """Return the batch that callable data make from a seed; a batch is handed back."""
    if isinstance(data, Batch):
        return data
    batch = data(seed=seed)
    check_type(f"{name}(seed={seed})", batch, Batch, advice="return a gatescope.Batch, as gatescope.tasks do")
    return batch  # type: ignore[no-any-return]  # it was checked


def made_seed(seed: int, purpose: int, index: int = 0) -> int:
    """Return the seed of a batch that is made: the one to validate on, or, counted over all epochs, a minibatch."""
    high, low = np.random.SeedSequence([seed, purpose, index]).generate_state(2, np.uint32)
    return int(high) << 31 | int(low) >> 1  # 63 bits, which any integer holds


def check_data(name: str, data: Any) -> bool:
    """Refuse anything but a batch and something that makes one; return whether it makes them."""
    if isinstance(data, Batch):
        return False
    if not callable(data):
        advice = "give a gatescope.Batch, or a function that makes one from a seed"
        raise DtypeError(argument=name, seen=type(data), advice=advice)
    check_call(name, data, "(seed=...)", seed=0)
    return True


def check_batch_size(batch_size: int | None, updates_per_epoch: int, *, fresh: bool) -> None:
    """Refuse the one of the two that has no meaning for such data."""
    if fresh and batch_size is not None:
        problem = "is for data that stay the same"
        advice = "set how many sequences each fresh batch has, with `sequences`"
        raise ValueRangeError(problem, argument="batch_size", seen=batch_size, advice=advice)
    if not fresh and updates_per_epoch != 1:
        problem = "is for data that are made afresh: of others an epoch is one pass"
        advice = "give `batch_size` instead"
        raise ValueRangeError(problem, argument="updates_per_epoch", seen=updates_per_epoch, advice=advice)


def trimmed(data: Data) -> Data:
    """Return the steps up to the end of the longest sequence: views."""
    steps = max(1, int(data.lengths.max()))
    if steps == data.mask.shape[0]:
        return data
    return Data(data.inputs[:steps], data.targets[:steps], data.mask[:steps], data.lengths)


def pieces(data: Data, most: int) -> list[Data]:
    """Return all sequences, `most` at a time, each piece cut to its longest one; copies unless it is one piece."""
    total = len(data.lengths)
    if total <= most:
        return [trimmed(data)]
    parts = []
    for begin in range(0, total, most):
        chosen = slice(begin, begin + most)
        inputs, targets, mask = (array[:, chosen] for array in data[:3])
        part = trimmed(Data(inputs, targets, mask, data.lengths[chosen].copy()))
        parts.append(Data(*map(np.ascontiguousarray, part)))
    return parts


def _gather(data: Data, chosen: Array, buffers: tuple[Array, ...], lengths: Array) -> Data:
    """Copy some sequences to the beginning of the buffers."""
    count = len(chosen)
    # Without mode="clip" NumPy would fill an array of its own first.
    sizes = np.take(data.lengths, chosen, out=lengths[:count], mode="clip")
    steps = max(1, int(sizes.max()))

    def columns(source: Array, target: Array) -> Array:
        shape = (steps, count, *source.shape[2:])
        part = target[: math.prod(shape)].reshape(shape)
        return np.take(source[:steps], chosen, axis=1, out=part, mode="clip")

    inputs, targets, mask = map(columns, data[:3], buffers)
    return Data(inputs, targets, mask, sizes)
