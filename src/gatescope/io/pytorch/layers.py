"""One layer of a PyTorch network in one direction: its cell and its sizes, and its weights once they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.errors import ValueRangeError, WeightFormatError
from gatescope.io.pytorch.entries import Layer
from gatescope.io.pytorch.sources import Source, common_dtype
from gatescope.io.stored import StoredDirection

# Row blocks of weight_hh: a GRU has r z n, an LSTM i f g o.
_CELL_OF_BLOCKS = {3: "gru", 4: "lstm"}
RNN_OF_NONLINEARITY = {"tanh": "rnn", "relu": "rnn_relu"}
_NONLINEARITY_OF_MODE = {"RNN_TANH": "tanh", "RNN_RELU": "relu"}


def stored_direction(source: Source, layer: Layer, nonlinearity: str | None) -> StoredDirection:
    """Return a layer in one direction, of which nothing is read but shapes.

    Raises
    ------
    WeightFormatError
        If a shape or a dtype is none that a cell has.
    ValueRangeError
        If `nonlinearity` is not that of a module which states its own.
    """
    described = {kind: source.describe(name) for kind, name in layer.names.items()}
    shapes = {kind: shape for kind, (shape, _) in described.items()}
    blocks = _blocks(source, shapes, layer.names)
    cell, assumed = _CELL_OF_BLOCKS.get(blocks, ""), ""
    if not cell:
        cell, assumed = _rnn(source, layer.prefix, nonlinearity)
    dtypes = {kind: dtype for kind, (_, dtype) in described.items()}
    common = common_dtype([*dtypes.values()])
    return StoredDirection(
        cell=cell,
        input_size=shapes["weight_ih"][1],
        hidden_size=shapes["weight_hh"][1],
        dtype=next(iter(dtypes.values())) if len({*dtypes.values()}) == 1 else common.name,
        load=partial(load_arrays, source, layer.names, common),
        assumed=assumed,
    )


def load_arrays(source: Source, names: Mapping[str, str], dtype: np.dtype[Any]) -> dict[str, Array]:
    """Return the weights by kind, copied, in one dtype."""
    return {kind: source.load(name, dtype) for kind, name in names.items()}


def _blocks(source: Source, shapes: Mapping[str, tuple[int, ...]], names: Mapping[str, str]) -> int:
    """Return G, the number of row blocks, if every shape fits the others."""

    def refuse(kind: str, needed: str) -> WeightFormatError:
        return source.wrong(f"holds {names[kind]!r} of shape {shapes[kind]}, which must be {needed}")

    shape = shapes["weight_hh"]
    rows, units = shape if len(shape) == 2 else (0, 0)
    blocks = rows // units if units else 0
    if blocks not in (1, *_CELL_OF_BLOCKS) or rows != blocks * units:
        raise refuse("weight_hh", "(H, H) for an RNN, (3*H, H) for a GRU or (4*H, H) for an LSTM")
    why = f"because {names['weight_hh']!r} has shape {shape}"
    inputs = shapes["weight_ih"][1] if len(shapes["weight_ih"]) == 2 else 0
    if inputs == 0 or shapes["weight_ih"][0] != rows:
        raise refuse("weight_ih", f"({rows}, I) with I >= 1, {why}")
    for kind in ("bias_ih", "bias_hh"):
        if kind in shapes and shapes[kind] != (rows,):
            raise refuse(kind, f"({rows},), {why}")
    return blocks


def _rnn(source: Source, prefix: str, asked: str | None) -> tuple[str, str]:
    """Return the cell of an RNN, and what is assumed: modules know what they squash with, other sources do not."""
    own = source.attribute(prefix, "nonlinearity") or _NONLINEARITY_OF_MODE.get(
        source.attribute(prefix, "mode")
    )
    if own not in RNN_OF_NONLINEARITY:
        assumed = (
            "does not say what its RNN squashes its states with, and tanh is assumed; give nonlinearity='relu' if it "
            "is that, and nonlinearity='tanh' to say so"
        )
        return RNN_OF_NONLINEARITY[asked or "tanh"], "" if asked else assumed
    if asked is not None and asked != own:
        raise ValueRangeError(
            f"is not the module's own, {own!r}", argument="nonlinearity", seen=asked, advice="leave it out"
        )
    return RNN_OF_NONLINEARITY[own], ""
