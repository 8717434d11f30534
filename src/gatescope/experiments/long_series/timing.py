"""Times of an epoch of each cell, measured side by side: over hours of training the machine does other things, too."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from time import perf_counter

import numpy as np

from gatescope.checks.arrays import Array
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
    clip_norm: float | None,
    threads: Sequence[int],
) -> Array:
    """Measure the seconds of an epoch: forward, loss, backward, clipping and the update, on the whole batch.

    For each seed its models train for a few more epochs, which are thrown away: cells and numbers of threads take turns
    epoch by epoch, so that whatever else the machine does falls on all of them.  Returned are medians (threads, cells,
    seeds) over 7 rounds.
    """
    clip, seconds = Clip(norm=clip_norm), np.empty((len(threads), len(cells), len(seeds)))
    steps, sequences = batch.mask.shape
    turns = [*itertools.product(range(len(threads)), range(len(cells)))]
    stacks = [models[cell, seeds[0]] for cell in cells]
    data = as_data(batch, stacks[0])
    engines = {
        (n, c): Engine(stacks[c], steps=steps, sequences=sequences, threads=threads[n]) for n, c in turns
    }
    try:
        for s, seed in enumerate(seeds):
            states = {who: optimizer.state(stacks[who[1]].size, stacks[who[1]].dtype) for who in turns}
            for (_, c), engine in engines.items():
                engine.theta[:] = models[cells[c], seed].flat()
            times = np.empty((ROUNDS + 1, *seconds.shape[:2]))
            for turn in range(ROUNDS + 1):
                for who in turns if turn % 2 else reversed(turns):
                    engine, begun = engines[who], perf_counter()
                    engine.back(data, turn)
                    clip.apply(engine.gradient, engine.sizes)
                    optimizer.apply(engine.theta, engine.gradient, states[who], turn + 1, lr)
                    times[turn, *who] = perf_counter() - begun
            seconds[:, :, s] = np.median(times[1:], axis=0)
    finally:
        for engine in engines.values():
            engine.close()
    return seconds
