"""The memory of the engine: which arrays a window of steps needs, made once and used again.

Where a layer goes backward, it needs the end of the sequences first: a window is one segment then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from gatescope.datatypes import Array, Bidirectional, Stack
from gatescope.kernels.cpu.aligned import aligned_empty
from gatescope.kernels.cpu.blocks import Blocks, Groups
from gatescope.kernels.cpu.layer import Layer

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


class Ways(NamedTuple):
    """The directions of one layer.

    Attributes
    ----------
    numbers : tuple of int
        Of each, counted through all layers.
    columns : tuple of int
        Where the outputs of each begin in those of the layer.
    alone : bool
        Whether there is but a forward one, whose states are the layer's outputs as they lie.
    """

    numbers: tuple[int, ...]
    columns: tuple[int, ...]
    alone: bool


def ways_of(stack: Stack) -> tuple[Ways, ...]:
    """Return the directions of each layer of a stack."""
    ways, first = [], 0
    for layer in stack.layers:
        if isinstance(layer, Bidirectional):
            second = 0 if layer.merge == "sum" else layer.forward.hidden_size
            ways.append(Ways((first, first + 1), (0, second), alone=False))
        else:
            ways.append(Ways((first,), (0,), alone=not layer.reverse))
        first += len(ways[-1].numbers)
    return tuple(ways)


@dataclass
class Segment:
    """The arrays of one segment of a window: views, a direction each, or a layer each.

    Of a direction: states, gates, adjoints; of one that is not alone in its layer, or goes backward, the adjoint of its
    outputs; of a backward one its inputs and their adjoints in its order.  Of a layer: the inputs and their adjoints.
    """

    begin: int
    end: int
    states: list[Array]
    gates: list[Array]
    adjoints: list[Array]
    d_outputs: list[Array | None]
    turned: list[Array | None]
    d_turned: list[Array | None]
    inputs: list[Array | None]
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
    groups: Groups


class LayerSizes(NamedTuple):
    """I, S, K and H of one direction of a layer, and which it is, by the names that `Layer` has them under."""

    inputs: int
    states: int
    saved: int
    units: int
    reverse: bool


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
    ways: Sequence[Ways],
    outputs: int,
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
    back = (back + 2 * outputs) * itemsize * -(-batch // len(blocks))
    one_way = all(way.alone for way in ways)
    whole = learn and (forward * steps <= memory or not one_way)
    step_bytes = back if whole else back + forward // len(blocks)
    length = min(steps, max(64, _SEGMENT_BYTES // step_bytes // 8 * 8)) if one_way else steps
    edges = list(pairwise([*range(0, steps, length), steps]))
    kind, extent = ("whole", steps) if whole else ("part", length)
    shapes: dict[str, tuple[int, ...]] = {}
    for k, way in enumerate(ways):
        inputs = length, batch, layers[way.numbers[0]].inputs
        d_inputs = length * learn * (k > 0), *inputs[1:]
        if k > 0 or drops[0]:
            shapes[f"inputs {k}"] = inputs
        shapes[f"d_inputs {k}"] = d_inputs
        for number in way.numbers:
            layer = layers[number]
            own = batch, layer.states, layer.units
            shapes[f"{kind} states {number}"] = (extent + 1, *own)
            shapes[f"{kind} gates {number}"] = (extent, batch, layer.saved, layer.units)
            if learn:
                shapes[f"carried {number}"] = own
            shapes[f"adjoint {number}"] = ((length + 1) * learn, *own)
            if learn and not whole:
                shapes[f"checkpoints {number}"] = (len(edges), *own)
            if not way.alone:
                shapes[f"d_outputs {number}"] = (length * learn, batch, layer.units)
            if layer.reverse:
                shapes[f"turned {number}"] = inputs
                shapes[f"d_turned {number}"] = d_inputs
    if drops[1] or not ways[-1].alone:
        shapes["features"] = (length, batch, outputs)
    shapes["d_features"] = (length if learn else 0, batch, outputs)
    return Sizes(whole, edges, shapes)


def make_workspace(
    layers: list[Layer],
    ways: Sequence[Ways],
    outputs: int,
    buffers: Buffers,
    blocks: Blocks,
    groups: Groups,
    steps: int,
    *,
    learn: bool,
    memory: int,
    drops: tuple[bool, bool],
) -> Workspace:
    """Return the arrays for windows of that many steps.

    `layers` are the directions, `ways` says which belong to one layer, and `outputs` is how many the uppermost has.
    `blocks` are those of one thread, by which the segments are cut for any number of them; `groups` are worked on.
    Without `learn` there is no way back, and only one segment's arrays are needed.  `memory` is the number of bytes up
    to which the states and gates of the whole window are stored.  `drops` says whether the inputs and the outputs have
    dropout, and so need arrays of their own.
    """
    itemsize = layers[0].plan.dtype.itemsize
    whole, edges, shapes = sizes_for(
        layers, ways, outputs, itemsize, blocks, steps, learn=learn, memory=memory, drops=drops
    )
    arrays = {name: buffers.take(name, shape) for name, shape in shapes.items()}
    kind = "whole" if whole else "part"

    def each(name: str, count: int = len(layers)) -> list[Array]:
        return [arrays[f"{name} {k}"] for k in range(count) if f"{name} {k}" in arrays]

    def cut(name: str, length: int, count: int = len(layers)) -> list[Array | None]:
        some = (arrays.get(f"{name} {k}") for k in range(count))
        return [None if array is None else array[:length] for array in some]

    states, gates, adjoints = map(each, (f"{kind} states", f"{kind} gates", "adjoint"))
    d_inputs = each("d_inputs", len(ways))
    features, d_features = arrays.get("features"), arrays["d_features"]
    segments = [
        Segment(
            begin=a,
            end=b,
            states=[s[a : b + 1] if whole else s[: b - a + 1] for s in states],
            gates=[g[a:b] if whole else g[: b - a] for g in gates],
            adjoints=[x[: b - a + 1] for x in adjoints],
            d_outputs=cut("d_outputs", b - a),
            turned=cut("turned", b - a),
            d_turned=cut("d_turned", b - a),
            inputs=cut("inputs", b - a, len(ways)),
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
        checkpoints=each("checkpoints"),
        lengths=np.zeros((len(edges), blocks[-1][1]), np.int64),
        offsets=np.array([[a] for a, _ in edges]),
        carried=each("carried"),
        generation=buffers.generation,
        groups=groups,
    )
