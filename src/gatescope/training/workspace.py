"""The memory of the engine: which arrays a window of steps needs, made once and used again."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from gatescope.datatypes import Array
from gatescope.kernels.cpu.aligned import aligned_empty
from gatescope.kernels.cpu.layer import Blocks, Layer

# What a block of sequences needs of a segment on the way back should stay in the caches.
_SEGMENT_BYTES = 1 << 21


class Buffers:
    """Arrays by name that grow when they have to; smaller ones are views of larger ones."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._flat: dict[str, Array] = {}
        self.generation = 0

    def take(self, name: str, shape: tuple[int, ...]) -> Array:
        """Return an array of that shape, with whatever is in it."""
        size = int(np.prod(shape))
        if name not in self._flat or self._flat[name].size < size:
            self._flat[name] = aligned_empty(size, self._dtype)
            self.generation += 1  # views of the old memory, which others may have, are out of date now
        return self._flat[name][:size].reshape(shape)


@dataclass
class Segment:
    """The arrays of one segment of a window: views, a layer each."""

    begin: int
    end: int
    states: list[Array]
    gates: list[Array]
    inputs: list[Array | None]
    adjoints: list[Array]
    d_inputs: list[Array]
    features: Array | None
    d_features: Array

    @property
    def span(self) -> tuple[int, int]:
        """Return the first step of the window that is in it, and the first one after."""
        return self.begin, self.end


@dataclass
class Workspace:
    """The arrays for windows of `steps` steps of `batch` sequences."""

    steps: int
    batch: int
    nontemporal: bool  # whether the uppermost layer's states and gates are stored past the caches
    whole: bool  # whether all states and gates are stored; else they are computed again from checkpoints
    segments: list[Segment]
    checkpoints: list[Array]
    lengths: Array
    offsets: Array
    carried: list[Array]
    generation: int
    blocks: Blocks


def make_workspace(
    layers: list[Layer],
    buffers: Buffers,
    blocks: Blocks,
    steps: int,
    *,
    learn: bool,
    memory: int,
    drops: tuple[bool, bool],
) -> Workspace:
    """Return the arrays for windows of that many steps.

    Without `learn` there is no way back, and only one segment's arrays are needed.  `memory` is the number of bytes up
    to which the states and gates of the whole window are stored.  `drops` says whether the inputs and the outputs have
    dropout, and so need arrays of their own.
    """
    batch = blocks[-1][1]
    size = layers[0].plan.dtype.itemsize
    forward = sum((layer.states + layer.saved) * layer.units for layer in layers) * batch * size
    back = sum(2 * layer.states * layer.units + 2 * layer.inputs for layer in layers)
    back = (back + 2 * layers[-1].units) * size * -(-batch // len(blocks))
    whole = learn and forward * steps <= memory
    step_bytes = back if whole else back + forward // len(blocks)
    length = min(steps, max(64, _SEGMENT_BYTES // step_bytes // 8 * 8))
    edges = list(pairwise([*range(0, steps, length), steps]))
    kind = "whole" if whole else "part"
    states, gates, inputs, adjoints, d_inputs, checkpoints, carried = [], [], [], [], [], [], []
    for k, layer in enumerate(layers):
        own = batch, layer.states, layer.units
        extent = steps if whole else length
        states.append(buffers.take(f"{kind} states {k}", (extent + 1, *own)))
        gates.append(buffers.take(f"{kind} gates {k}", (extent, batch, layer.saved, layer.units)))
        if learn:
            carried.append(buffers.take(f"carried {k}", own))
        copied = k > 0 or drops[0]
        inputs.append(buffers.take(f"inputs {k}", (length, batch, layer.inputs)) if copied else None)
        adjoints.append(buffers.take(f"adjoint {k}", ((length + 1) * learn, *own)))
        d_inputs.append(buffers.take(f"d_inputs {k}", (length * learn * (k > 0), batch, layer.inputs)))
        if learn and not whole:
            checkpoints.append(buffers.take(f"checkpoints {k}", (len(edges), *own)))
    top = layers[-1].units
    features = buffers.take("features", (length, batch, top)) if drops[1] else None
    d_features = buffers.take("d_features", (length if learn else 0, batch, top))
    segments = [
        Segment(
            begin=a,
            end=b,
            states=[s[a : b + 1] if whole else s[: b - a + 1] for s in states],
            gates=[g[a:b] if whole else g[: b - a] for g in gates],
            inputs=[None if x is None else x[: b - a] for x in inputs],
            adjoints=[x[: b - a + 1] for x in adjoints],
            d_inputs=[x[: b - a] for x in d_inputs],
            features=None if features is None else features[: b - a],
            d_features=d_features[: b - a],
        )
        for a, b in edges
    ]
    return Workspace(
        steps=steps,
        batch=batch,
        nontemporal=whole and layers[-1].plan.nontemporal(states[-1], gates[-1]),
        whole=whole,
        segments=segments,
        checkpoints=checkpoints,
        lengths=np.zeros((len(edges), batch), np.int64),
        offsets=np.array([[a] for a, _ in edges]),
        carried=carried,
        generation=buffers.generation,
        blocks=blocks,
    )
