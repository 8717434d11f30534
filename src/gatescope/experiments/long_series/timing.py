"""Times of an epoch of each cell, measured side by side: over hours of training the machine does other things, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import default_threads
from gatescope.datatypes import Batch, Stack
from gatescope.training.arrays import as_data
from gatescope.training.clipping import Clip
from gatescope.training.engine import Engine
from gatescope.training.optimizers import Optimizer

ROUNDS = 7  # after one that is not counted


def epoch_times(
    models: Mapping[tuple[str, int], Stack],
    batch: Batch,
    cells: Sequence[str],
    seeds: Sequence[int],
    *,
    optimizer: Optimizer,
    lr: float,
    clip_norm: float,
    threads: int | None,
) -> Array:
    """Measure the seconds of an epoch: forward, loss, backward, clipping and the update, on the whole batch.

    For each seed its models train for a few more epochs, which are thrown away: the cells take turns epoch by epoch, so
    that whatever else the machine does falls on all of them.  Returned are medians (cells, seeds) over 7 rounds.
    """
    clip, seconds = Clip(norm=clip_norm), np.empty((len(cells), len(seeds)))
    steps, sequences = batch.mask.shape
    stacks = [models[cell, seeds[0]] for cell in cells]
    data = as_data(batch, stacks[0])
    engines = [
        Engine(stack, steps=steps, sequences=sequences, threads=threads or default_threads())
        for stack in stacks
    ]
    try:
        for s, seed in enumerate(seeds):
            states = [optimizer.state(stack.size, stack.dtype) for stack in stacks]
            for engine, cell in zip(engines, cells, strict=True):
                engine.theta[:] = models[cell, seed].flat()
            times = np.empty((ROUNDS + 1, len(cells)))
            for turn in range(ROUNDS + 1):
                for c in range(len(cells)) if turn % 2 else reversed(range(len(cells))):
                    engine, begun = engines[c], perf_counter()
                    engine.back(data, turn)
                    clip.apply(engine.gradient, engine.sizes)
                    optimizer.apply(engine.theta, engine.gradient, states[c], turn + 1, lr)
                    times[turn, c] = perf_counter() - begun
            seconds[:, s] = np.median(times[1:], axis=0)
    finally:
        for engine in engines:
            engine.close()
    return seconds
