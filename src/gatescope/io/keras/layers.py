"""Recurrent layers of Keras: what their description and their weights say, in this package's words and orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.errors import ValueRangeError, WeightFormatError, shown
from gatescope.io.keras.hdf5 import Dataset
from gatescope.io.stored import StoredDirection, StoredLayer, StoredReadout

CELL_OF_LAYER = {"LSTM": "LSTMCell", "GRU": "GRUCell", "SimpleRNN": "SimpleRNNCell"}
_BLOCKS_OF_CELL = {"LSTMCell": 4, "GRUCell": 3, "SimpleRNNCell": 1}
_GRU_ORDER = (1, 0, 2)  # the update gate is Keras's first block, and the second here
_RNN_OF_ACTIVATION = {"tanh": "rnn", "relu": "rnn_relu"}
_CELL_WEIGHTS = ("kernel", "recurrent_kernel", "bias")  # as Keras numbers them
_DENSE_WEIGHTS = ("kernel", "bias")
_FLOATS = ("float16", "bfloat16", "float32", "float64")
LOGITS = ("softmax", "sigmoid", "log_softmax")


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """A layer, cell or model of Keras as a source holds it.

    Attributes
    ----------
    name : str
        What it is called in messages, with what it lies in: ``"encoder/lstm"``; empty of the whole.
    key : str
        Its name among the layers of its model.
    kind : str
        Name of its class, empty if the source does not say; with a dot in it if the class is not Keras's.
    config : mapping or None
        What the source says of it; None if nothing.
    inbound : list
        From where a functional model says that it takes its inputs.
    weights : mapping
        Its own, by Keras's names or numbers.
    parts : mapping
        What it is made of, by attribute: ``cell``, ``forward_layer``, ``layer``.
    layers : tuple of Node
        Of a model, or of cells that are stacked, in order.
    """

    name: str
    key: str = ""
    kind: str = ""
    config: Mapping[str, Any] | None = None
    inbound: Any = None
    weights: Mapping[str, Dataset] = field(default_factory=dict)
    parts: Mapping[str, Node] = field(default_factory=dict)
    layers: tuple[Node, ...] = ()

    def says(self, option: str, default: Any = None) -> Any:
        """Return an option of its configuration."""
        return default if self.config is None else self.config.get(option, default)

    def everything(self) -> Iterator[Dataset]:
        """Yield all weights in it."""
        yield from self.weights.values()
        for child in (*self.parts.values(), *self.layers):
            yield from child.everything()


@dataclass(kw_only=True)
class Options:
    """What a caller says of layers whose source does not say it, and which of it was needed."""

    nonlinearity: str | None = None
    reset_after: bool | None = None
    needed: set[str] = field(default_factory=set)

    def choose(self, option: str, own: Any, default: Any) -> tuple[Any, bool]:
        """Return the source's own value of an option, or the caller's; and whether neither says it."""
        asked = getattr(self, option)
        if asked is not None:
            self.needed.add(option)
            if own is not None and asked != own:
                raise ValueRangeError(
                    f"is not the source's own, {own!r}", argument=option, seen=asked, advice="leave it out"
                )
        return (
            own if own is not None else default if asked is None else asked
        ), own is None and asked is None


class _Refused(Exception):
    """Why a layer cannot be loaded, as the rest of a sentence about it."""


def is_recurrent(node: Node) -> bool:
    """Return whether a node is a recurrent layer or cell, one that can be loaded or not."""
    if node.kind in CELL_OF_LAYER or node.kind in _BLOCKS_OF_CELL or node.kind == "RNN":
        return True
    if {"forward_layer", "backward_layer"} & set(node.parts) or node.kind == "Bidirectional":
        return True
    return "cell" in node.parts or "recurrent_kernel" in node.weights


def is_reversed(node: Node) -> bool:
    """Return whether a layer's outputs come in the other order of time than its inputs."""
    return node.kind != "Bidirectional" and node.says("go_backwards") is True


def stored_layers(node: Node, options: Options, reverse: bool) -> tuple[StoredLayer, ...]:
    """Return a recurrent layer, or as many as it has cells one on another; `reverse`: its inputs come reversed."""
    try:
        if {"forward_layer", "backward_layer"} <= set(node.parts):
            return (_bidirectional(node, options, reverse),)
        cells = _cells(node)
        backward = is_reversed(node) != reverse
        names = [node.name] if len(cells) == 1 else [f"{node.name}/{cell.key}" for cell in cells]
        directions = [_direction(cell, node, options) for cell in cells]
        for below, above in pairwise(directions):
            if above.input_size != below.hidden_size:
                raise _Refused("has cells whose sizes do not fit one another in the order in which they lie")
    except _Refused as reason:
        return (StoredLayer(name=node.name, refused=str(reason)),)
    return tuple(
        StoredLayer(
            name=name, forward=None if backward else direction, backward=direction if backward else None
        )
        for name, direction in zip(names, directions, strict=True)
    )


def output_size(layer: StoredLayer) -> int | None:
    """Return how many outputs a layer has at a step; None if it is refused."""
    sizes = [each.hidden_size for each in (layer.forward, layer.backward) if each is not None]
    return None if layer.refused or not sizes else sum(sizes) if layer.merge == "concatenate" else sizes[0]


def input_size(layer: StoredLayer) -> int | None:
    """Return how many inputs a layer takes at a step; None if it is refused."""
    direction = layer.forward or layer.backward
    return None if layer.refused or direction is None else direction.input_size


def stored_readout(node: Node, size: int | None) -> tuple[StoredReadout | None, str]:
    """Return a Dense as a readout, if it is one of `size` inputs; and a note on what comes after it."""
    wrapper, name = node, node.name
    if node.kind == "TimeDistributed":
        node = node.parts.get("layer", node)
    if node.kind != "Dense":
        return None, ""
    activation = _activation(node.config)
    weights = _named(node, _DENSE_WEIGHTS)
    kernel, bias = weights.get("kernel"), weights.get("bias")
    if kernel is None or len(weights) != len(node.weights) or kernel.dtype not in _FLOATS:
        return None, ""
    if len(kernel.shape) != 2 or kernel.shape[0] != size or (bias and bias.shape != kernel.shape[1:]):
        return None, ""
    if activation not in ("linear", None, *LOGITS):
        return None, ""
    note = ""
    if activation in LOGITS:
        note = f"{wrapper.name!r} ends in {activation}: its logits are the outputs of the readout."
    elif activation is None:
        note = f"The activation of {wrapper.name!r} is not said: the readout is what it is applied to."

    def load() -> tuple[Array, Array]:
        weight = _finite(kernel)
        offset = np.zeros(weight.shape[1], weight.dtype) if bias is None else _finite(bias)
        return np.ascontiguousarray(weight.T), offset

    return StoredReadout(name=name, output_size=kernel.shape[1], input_size=kernel.shape[0], load=load), note


def _bidirectional(node: Node, options: Options, reverse: bool) -> StoredLayer:
    merge = node.says("merge_mode", "concat")
    if merge not in ("concat", "sum"):
        raise _Refused(
            f"joins its directions by merge_mode {shown(merge)}, and only 'concat' and 'sum' are read"
        )
    forward, backward = node.parts["forward_layer"], node.parts["backward_layer"]
    if is_reversed(forward) or (backward.config is not None and not is_reversed(backward)):
        raise _Refused("has a forward layer that goes backwards, or a backward layer that does not")
    if reverse:
        raise _Refused("has two directions and comes after a layer that reverses time (go_backwards)")
    directions = []
    for part in (forward, backward):
        cells = _cells(part)
        if len(cells) > 1:
            raise _Refused(
                "has several cells one on another in each direction, which are no layers of both directions"
            )
        directions.append(_direction(cells[0], part, options))
    if directions[0].input_size != directions[1].input_size:
        raise _Refused("has directions that take different inputs")
    if merge == "sum" and directions[0].hidden_size != directions[1].hidden_size:
        raise _Refused("has directions of different sizes, whose outputs have no sum")
    return StoredLayer(
        name=node.name,
        forward=directions[0],
        backward=directions[1],
        merge="sum" if merge == "sum" else "concatenate",
    )


def _cells(node: Node) -> tuple[Node, ...]:
    """Return the cell of a layer, or the cells that are stacked in it."""
    if next(node.everything(), None) is None:
        raise _Refused("has no weights in the source: it was not built, or its weights were left out")
    if node.kind and node.kind not in ("RNN", *CELL_OF_LAYER, *_BLOCKS_OF_CELL):
        raise _Refused(
            f"is {_of_class(node.kind)}; LSTM, GRU, SimpleRNN, RNN of their cells, and Bidirectional are read"
        )
    if node.kind in _BLOCKS_OF_CELL or "recurrent_kernel" in node.weights:
        return (node,)
    cell = node.parts.get("cell")
    if cell is None:
        raise _Refused("has weights, but no cell that they are of")
    return cell.layers or (cell,)


def _of_class(kind: str) -> str:
    return f"of class {kind!r}" + (", which is not Keras's own" if "." in kind else "")


def _direction(cell: Node, layer: Node, options: Options) -> StoredDirection:
    """Return what a cell computes; a layer that makes its own cell has the cell's configuration."""
    kind = CELL_OF_LAYER.get(layer.kind) or cell.kind
    config = layer.config if layer.kind in CELL_OF_LAYER else cell.config
    weights = _named(cell, _CELL_WEIGHTS)
    missing = [name for name in _CELL_WEIGHTS[:2] if name not in weights]
    if missing:
        raise _Refused(f"has no {missing[0]} in the source: it was not built, or its weights were left out")
    blocks, inputs, units = _sizes(weights)
    assumed = []
    if not kind:
        kind = next((name for name, count in _BLOCKS_OF_CELL.items() if count == blocks), "")
        assumed.append(f"which cell it has, and {kind or 'none'} is assumed, which its shapes fit")
    if kind not in _BLOCKS_OF_CELL:
        raise _Refused(f"has a cell {_of_class(kind)}; LSTMCell, GRUCell and SimpleRNNCell are read")
    if blocks != _BLOCKS_OF_CELL[kind]:
        shape = weights["recurrent_kernel"].shape
        raise _Refused(f"has a recurrent_kernel of shape {shape}, which does not fit {kind}")
    said = _Said(config, options, assumed)
    name, order = said.cell(kind, weights.get("bias"), blocks * units)
    dtypes = {weights[key].dtype for key in weights}
    return StoredDirection(
        cell=name,
        input_size=inputs,
        hidden_size=units,
        dtype=dtypes.pop() if len(dtypes) == 1 else weights["recurrent_kernel"].dtype,
        load=_loader(weights, order or tuple(range(blocks))),
        assumed="; ".join(f"does not say {each}" for each in assumed),
    )


class _Said:
    """Which cell of this package a cell of Keras is, by what its configuration says and the caller."""

    def __init__(self, config: Mapping[str, Any] | None, options: Options, assumed: list[str]) -> None:
        self._config, self._options, self._assumed = config or {}, options, assumed

    def cell(self, kind: str, bias: Dataset | None, rows: int) -> tuple[str, tuple[int, ...] | None]:
        """Return the name of the cell, and the order of Keras's blocks in it if that is another."""
        if kind == "SimpleRNNCell":
            self._check_bias(bias, (rows,))
            own = _activation(self._config)
            if own is not None and own not in _RNN_OF_ACTIVATION:
                raise _Refused(f"has activation {own!r}; of a SimpleRNN, 'tanh' and 'relu' are read")
            nonlinearity, unsaid = self._options.choose("nonlinearity", own, "tanh")
            if unsaid:
                self._assumed.append(
                    "what its SimpleRNN squashes its states with, and tanh is assumed (give nonlinearity='relu' if "
                    "it is that, and nonlinearity='tanh' to say so)"
                )
            return _RNN_OF_ACTIVATION[nonlinearity], None
        self._check("activation", "tanh")
        self._check("recurrent_activation", "sigmoid")
        if "recurrent_activation" not in self._config:
            self._assumed.append("its activations, and tanh and sigmoid are assumed")
        if kind == "LSTMCell":
            self._check_bias(bias, (rows,))
            return "lstm", None
        return ("gru" if self._reset_after(bias, rows) else "gru_reset_before"), _GRU_ORDER

    def _check(self, option: str, standard: str) -> None:
        value = _activation(self._config, option)
        if value not in (standard, None):
            raise _Refused(f"has {option} {value!r}, which no cell of gatescope has: it must be {standard!r}")

    def _check_bias(self, bias: Dataset | None, *shapes: tuple[int, ...]) -> None:
        if bias is not None and bias.shape not in shapes:
            wanted = " or ".join(map(str, shapes))
            raise _Refused(f"has a bias of shape {bias.shape}, which must be {wanted}")

    def _reset_after(self, bias: Dataset | None, rows: int) -> bool:
        self._check_bias(bias, (2, rows), (rows,))
        says = self._config.get("reset_after")
        own = says if isinstance(says, bool) else None
        if bias is not None:
            by_shape = len(bias.shape) == 2
            if own is not None and own != by_shape:
                raise _Refused(
                    f"says reset_after={own}, and has a bias of the other form, of shape {bias.shape}"
                )
            own = by_shape
        chosen, unsaid = self._options.choose("reset_after", own, True)
        if unsaid:
            self._assumed.append(
                "where its GRU resets, and reset_after=True is assumed (give reset_after=False if it is that, and "
                "reset_after=True to say so)"
            )
        return bool(chosen)


def _activation(config: Mapping[str, Any] | None, option: str = "activation") -> str | None:
    """Return the name of an activation; None where the source says nothing."""
    if config is None or option not in config:
        return None
    value = config[option]
    if value is None:
        return "linear"
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):  # a function that is not Keras's, whatever its name is
        name = value.get("config")
        name = name if isinstance(name, str) else value.get("class_name")
        return f"{name} (a function of its own)"
    return shown(value)


def _named(node: Node, names: tuple[str, ...]) -> dict[str, Dataset]:
    """Return weights by name, whether the source names or numbers them."""
    chosen = {}
    for number, name in enumerate(names):
        weight = node.weights.get(name, node.weights.get(str(number)))
        if weight is not None:
            chosen[name] = weight
    return chosen


def _sizes(weights: Mapping[str, Dataset]) -> tuple[int, int, int]:
    """Return the blocks, the inputs and the units, if the shapes fit one another."""
    for name, weight in weights.items():
        if weight.dtype not in _FLOATS:
            raise _Refused(f"has a {name} of {weight.dtype}, not of a floating-point dtype")
    kernel, recurrent = weights["kernel"].shape, weights["recurrent_kernel"].shape
    if len(recurrent) != 2 or 0 in recurrent or recurrent[1] % recurrent[0]:
        raise _Refused(f"has a recurrent_kernel of shape {recurrent}, which must be (H, G*H)")
    if len(kernel) != 2 or 0 in kernel or kernel[1] != recurrent[1]:
        raise _Refused(f"has a kernel of shape {kernel}, which must be (I, {recurrent[1]})")
    return recurrent[1] // recurrent[0], kernel[0], recurrent[0]


def _loader(weights: Mapping[str, Dataset], order: tuple[int, ...]) -> Callable[[], dict[str, Array]]:
    def load() -> dict[str, Array]:
        arrays = {
            "weight_ih": _rows(_finite(weights["kernel"]).T, order),
            "weight_hh": _rows(_finite(weights["recurrent_kernel"]).T, order),
        }
        if "bias" in weights:
            bias = _finite(weights["bias"])
            rows = bias if bias.ndim == 2 else bias[np.newaxis]
            for name, row in zip(("bias_ih", "bias_hh"), rows, strict=False):
                arrays[name] = _rows(row, order)
        return arrays

    return load


def _rows(array: Array, order: tuple[int, ...]) -> Array:
    """Return an array with its blocks of rows in another order, C-contiguous."""
    return np.concatenate([np.ascontiguousarray(np.split(array, len(order))[block]) for block in order])


def _finite(weight: Dataset) -> Array:
    values = weight.read()
    if not np.isfinite(values).all():
        raise WeightFormatError(
            f"holds {weight.name!r} with {np.count_nonzero(~np.isfinite(values))} numbers that are not finite",
            argument="source",
            advice="train it without them",
        )
    return values
