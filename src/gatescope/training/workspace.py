"""The memory of the engine: which arrays a window of steps needs, made once and used again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

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


class LayerSizes(NamedTuple):
    """I, S, K and H of a layer, by the names that `Layer` has them under."""

    inputs: int
    states: int
    saved: int
    units: int


class Sizes(NamedTuple):
    """What a window of steps is worked on in: in which segments, and in which arrays.

    Attributes
    ----------
    whole : bool
        As of `Workspace`.
    edges : list of (int, int)
        Where segments begin and end.
    shapes : dict of str to tuple
        Of all arrays, by the names under which `Buffers` has them.
    """

    whole: bool
    edges: list[tuple[int, int]]
    shapes: dict[str, tuple[int, ...]]

    def total(self) -> int:
        """Return how many numbers the arrays hold."""
        return sum(map(math.prod, self.shapes.values()))


def sizes_for(
    layers: Sequence[Layer | LayerSizes],
    itemsize: int,
    blocks: Blocks,
    steps: int,
    *,
    learn: bool,
    memory: int,
    drops: tuple[bool, bool],
) -> Sizes:
    """Return what `make_workspace` makes, of the same arguments, before anything is taken."""
    batch = blocks[-1][1]
    forward = sum((layer.states + layer.saved) * layer.units for layer in layers) * batch * itemsize
    back = sum(2 * layer.states * layer.units + 2 * layer.inputs for layer in layers)
    back = (back + 2 * layers[-1].units) * itemsize * -(-batch // len(blocks))
    whole = learn and forward * steps <= memory
    step_bytes = back if whole else back + forward // len(blocks)
    length = min(steps, max(64, _SEGMENT_BYTES // step_bytes // 8 * 8))
    edges = list(pairwise([*range(0, steps, length), steps]))
    kind, extent = ("whole", steps) if whole else ("part", length)
    shapes: dict[str, tuple[int, ...]] = {}
    for k, layer in enumerate(layers):
        own = batch, layer.states, layer.units
        shapes[f"{kind} states {k}"] = (extent + 1, *own)
        shapes[f"{kind} gates {k}"] = (extent, batch, layer.saved, layer.units)
        if learn:
            shapes[f"carried {k}"] = own
        if k > 0 or drops[0]:
            shapes[f"inputs {k}"] = (length, batch, layer.inputs)
        shapes[f"adjoint {k}"] = ((length + 1) * learn, *own)
        shapes[f"d_inputs {k}"] = (length * learn * (k > 0), batch, layer.inputs)
        if learn and not whole:
            shapes[f"checkpoints {k}"] = (len(edges), *own)
    top = layers[-1].units
    if drops[1]:
        shapes["features"] = (length, batch, top)
    shapes["d_features"] = (length if learn else 0, batch, top)
    return Sizes(whole, edges, shapes)


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
    itemsize = layers[0].plan.dtype.itemsize
    whole, edges, shapes = sizes_for(layers, itemsize, blocks, steps, learn=learn, memory=memory, drops=drops)
    arrays = {name: buffers.take(name, shape) for name, shape in shapes.items()}
    kind = "whole" if whole else "part"

    def of_layers(name: str) -> list[Array]:
        return [arrays[f"{name} {k}"] for k in range(len(layers)) if f"{name} {k}" in arrays]

    states, gates, adjoints, d_inputs = map(
        of_layers, (f"{kind} states", f"{kind} gates", "adjoint", "d_inputs")
    )
    inputs = [arrays.get(f"inputs {k}") for k in range(len(layers))]
    features, d_features = arrays.get("features"), arrays["d_features"]
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
        batch=blocks[-1][1],
        nontemporal=whole and layers[-1].plan.nontemporal(states[-1], gates[-1]),
        whole=whole,
        segments=segments,
        checkpoints=of_layers("checkpoints"),
        lengths=np.zeros((len(edges), blocks[-1][1]), np.int64),
        offsets=np.array([[a] for a, _ in edges]),
        carried=of_layers("carried"),
        generation=buffers.generation,
        blocks=blocks,
    )
