"""Weights of the LSTM, GRU and RNN nodes of an ONNX model."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.errors import MissingPackageError, WeightFormatError, shortened
from gatescope.io.onnx.graph import Node, Value, read_nodes
from gatescope.io.onnx.nodes import RefusedError, read_node
from gatescope.io.onnx.readout import find_readout
from gatescope.io.onnx.tensors import as_text
from gatescope.io.onnx.values import RECURRENT, Outputs, Values, direction_of, directions_of
from gatescope.io.source_errors import Wrong, listed
from gatescope.io.stored import StoredDirection, StoredLayer, StoredNetwork, StoredReadout, StoredWeights
from gatescope.storage.atomic import open_file

# Operators of ONNX Runtime's own that are recurrent, and why none of them is read.
_OTHERS = {
    "com.microsoft.DynamicQuantizeLSTM": "is quantized: give the model as it was before",
    "com.microsoft.AttnLSTM": "attends to a memory, which no cell of gatescope does",
}
_MOST_IN_MEMORY = 2**31  # what protobuf reads of a model


class Taps(NamedTuple):
    """The names of what a node takes and gives in its graph, empty where there is none, and what it is by itself.

    `alone` returns its operator, its attributes, and W, R, B and P as far as it has them.
    """

    inputs: str
    outputs: str
    last: str
    lengths: str
    state: str
    memory: str
    directions: int
    batch_first: bool
    alone: Callable[[], tuple[str, list[Any], dict[str, Array]]]

    def in_time(self, array: Array) -> Array:
        """Return inputs (T, B, I), or outputs (T, D, B, H), of what the node takes or gives."""
        if not self.batch_first:
            return array
        return np.moveaxis(array, 0, 2) if array.ndim == 4 else array.swapaxes(0, 1)

    def in_order(self, array: Array) -> Array:
        """Return states (D, B, H) of what the node takes or gives."""
        return array.swapaxes(0, 1) if self.batch_first else array


@dataclass(frozen=True)
class _Level:
    """One node, or a forward and a backward one that take the same inputs and whose outputs are joined."""

    nodes: tuple[Node, ...]
    merge: str
    layer: StoredLayer

    @property
    def pieces(self) -> tuple[tuple[Node, int], ...]:
        return tuple((node, k) for node in self.nodes for k in range(directions_of(node)))


def read_onnx(source: str | os.PathLike[str] | Any) -> StoredWeights:
    """Read what recurrent networks an ONNX model holds.

    LSTM, GRU and RNN nodes are found wherever they stand, and their weights through the nodes, whatever their names.
    Nodes whose outputs feed the next, as exporters write the layers of one module, are one network.

    Parameters
    ----------
    source : path or ModelProto
        Data that it keeps in another file are read from a plain file in the model's own folder only.

    Returns
    -------
    StoredWeights

    Raises
    ------
    MissingPackageError
        If onnx is not installed.
    FileFormatError
        If the file is missing, truncated or hostile.
    WeightFormatError
        If there is no recurrent node, or a tensor is not what it promises to be.

    Examples
    --------
    >>> from gatescope.io.onnx.networks import read_onnx
    >>> stored = read_onnx("model.onnx")  # doctest: +SKIP
    >>> stored.networks[0].layers[0].forward.cell  # doctest: +SKIP
    'lstm'
    """
    model, folder, wrong = _open(source)
    nodes, initializers = read_nodes(model, wrong)
    recurrent = [node for node in nodes if node.op in RECURRENT]
    if not recurrent and not any(node.op in _OTHERS for node in nodes):
        raise _none(nodes, wrong)
    values = Values(nodes, folder, wrong)
    notes: list[str] = []
    used: set[int] = set()
    levels = _levels(recurrent, nodes, values, used)
    networks = _networks(levels, values, notes, used)
    networks += [
        StoredNetwork(prefix=name, layers=(StoredLayer(name=name, refused=_OTHERS[node.op]),))
        for node in nodes
        if node.op in _OTHERS and (name := shortened(node.name, 120))
    ]
    for node in recurrent:
        notes += _notes(node, values, used)
    return StoredWeights(
        format=f"ONNX (opset {_opset(model)}{_producer(model)})",
        networks=_named(networks),
        unused=tuple(
            value.name for value in initializers if _is_weight(value) and id(value.tensor) not in used
        ),
        notes=tuple(dict.fromkeys(notes)),
    )


def _open(source: Any) -> tuple[Any, Path | None, Wrong]:
    """Return the model, the folder of its file, and what makes errors about it."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingPackageError(
            "ONNX models are read with onnx, which is not installed", advice='pip install "gatescope[onnx]"'
        ) from error
    if isinstance(source, onnx.ModelProto):
        return source, None, partial(WeightFormatError, argument="source")
    if not isinstance(source, str | os.PathLike):
        raise WeightFormatError(
            f"is of type {type(source).__name__}",
            argument="source",
            advice="give an .onnx file or a ModelProto",
        )
    wrong = partial(WeightFormatError, seen=source)
    with open_file(source) as (stream, size):
        if size > _MOST_IN_MEMORY:
            raise wrong(
                f"has {size:,} bytes, and an ONNX model has 2 GiB at most",
                advice="save it with its data beside it: onnx.save_model(..., save_as_external_data=True)",
            )
        data = stream.read(size)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError) as error:
        raise wrong(
            f"is not a readable ONNX model ({' '.join(str(error).split())[:200]})", advice="export it again"
        ) from error
    if not model.HasField("graph"):
        raise wrong("is no ONNX model: there is no graph in it", advice="export it again")
    return model, Path(os.fspath(source)).parent, wrong


def _none(nodes: list[Node], wrong: Wrong) -> WeightFormatError:
    kinds = sorted({node.op for node in nodes})
    return wrong(
        f"has no LSTM, GRU or RNN node among its {len(nodes)} nodes ({listed(kinds)})",
        advice="torch.onnx.export writes the steps of an nn.RNN and of single cells one by one: export an nn.RNN with "
        "dynamo=False, or give the state_dict",
    )


def _levels(recurrent: list[Node], nodes: list[Node], values: Values, used: set[int]) -> list[_Level]:
    """Return layers in the order of their nodes, forward and backward nodes that are joined as one."""
    pairs: dict[int, tuple[tuple[Node, ...], str]] = {}
    for node in nodes:
        outputs = values.outputs(node.outputs[0]) if node.op in ("Concat", "Add") and node.outputs else None
        if outputs is None:
            continue
        forward, backward = (piece.node for piece in outputs.pieces)
        if forward is backward and [*map(itemgetter(1), outputs.pieces)] == [0, 1]:
            pairs.setdefault(id(forward), ((forward,), outputs.merge))
        fits = (
            [direction_of(forward), direction_of(backward)] == ["forward", "reverse"]
            and forward.input(0) is backward.input(0)
            and not {id(forward), id(backward)} & {*pairs}
        )
        if fits:
            pairs |= dict.fromkeys((id(forward), id(backward)), ((forward, backward), outputs.merge))
    levels, seen = [], set()
    for node in recurrent:
        if id(node) in seen:
            continue
        group, merge = pairs.get(id(node), ((node,), "concatenate"))
        seen |= {id(part) for part in group}
        directions: dict[str, StoredDirection] = {}
        refused = ""
        for part in group:
            try:
                directions |= read_node(part, values, used)
            except RefusedError as error:
                refused = refused or str(error)
        layer = StoredLayer(
            name=shortened(group[0].name, 120),
            forward=None if refused else directions.get("forward"),
            backward=None if refused else directions.get("reverse"),
            merge=merge,
            refused=refused,
        )
        levels.append(_Level(tuple(group), merge, layer))
    return levels


def _networks(levels: list[_Level], values: Values, notes: list[str], used: set[int]) -> list[StoredNetwork]:
    """Return levels that feed each other as networks, in the order of their lowest."""
    by_pieces = {frozenset(_keys(level.pieces)): k for k, level in enumerate(levels)}
    below: dict[int, int] = {}
    for k, level in enumerate(levels):
        outputs = values.outputs(level.nodes[0].input(0))
        if outputs is not None:
            under = by_pieces.get(frozenset(_keys(outputs.pieces)))
            if under is not None and under != k and _feeds(levels[under], outputs, level):
                below[k] = under
    above: dict[int, list[int]] = {}
    for upper, under in below.items():
        above.setdefault(under, []).append(upper)
    networks = []
    for k in range(len(levels)):
        if k in below and len(above[below[k]]) == 1:  # part of the network of the level below it
            continue
        chain = [k]
        while len(above.get(chain[-1], ())) == 1:
            chain.append(above[chain[-1]][0])
        layers = _checked([levels[index].layer for index in chain])
        top = levels[chain[-1]]
        networks.append(
            StoredNetwork(
                prefix=layers[0].name,
                layers=layers,
                readout=_readout(top, values, used),
                attributes={
                    "batch_first": _batch_first(levels[k].nodes[0]),
                    "nodes": [tuple(_taps(node, values) for node in levels[index].nodes) for index in chain],
                },
            )
        )
        if len(above.get(chain[-1], ())) > 1:
            notes.append(
                f"{top.layer.name!r} feeds {len(above[chain[-1]])} layers, which are networks of their own here"
            )
    return networks


def _taps(node: Node, values: Values) -> Taps:
    def alone() -> tuple[str, list[Any], dict[str, Array]]:
        taken = {name: node.input(index) for name, index in (("W", 1), ("R", 2), ("B", 3), ("P", 7))}
        weights = {name: values.constant(each).load() for name, each in taken.items() if each is not None}
        return node.op, [*node.attributes.values()], weights

    taken = [node.input(index) for index in (0, 4, 5, 6)]
    inputs, lengths, state, memory = ("" if value is None else value.name for value in taken)
    outputs, last = (*(value.name for value in node.outputs[:2]), "", "")[:2]
    turned = node.integer("layout", 0) == 1
    return Taps(inputs, outputs, last, lengths, state, memory, directions_of(node), turned, alone)


def _keys(pieces: Any) -> list[tuple[int, int]]:
    return [(id(node), direction) for node, direction in pieces]


def _feeds(under: _Level, outputs: Outputs, level: _Level) -> bool:
    """Return whether what a level takes is all that the one under it gives, as a layer of ours would give it."""
    wanted = "BTH" if level.nodes[0].integer("layout", 0) else "TBH"
    in_order = _keys(outputs.pieces) == _keys(under.pieces)
    return in_order and outputs.axes == wanted and outputs.merge == under.merge


def _width(layer: StoredLayer) -> int:
    sizes = [part.hidden_size for part in (layer.forward, layer.backward) if part is not None]
    return max(sizes, default=0) if layer.merge == "sum" else sum(sizes)


def _checked(layers: list[StoredLayer]) -> tuple[StoredLayer, ...]:
    """Return layers, refused where they do not fit the one below."""
    checked = layers[:1]
    for layer in layers[1:]:
        lower, part = checked[-1], layer.forward or layer.backward
        if part is not None and _width(lower) not in (0, part.input_size):
            layer = replace(
                layer,
                forward=None,
                backward=None,
                refused=f"takes {part.input_size} inputs, but {lower.name!r} gives {_width(lower)}",
            )
        checked.append(layer)
    return tuple(checked)


def _readout(level: _Level, values: Values, used: set[int]) -> StoredReadout | None:
    width = _width(level.layer)
    readout = find_readout(level.nodes, width, values) if width else None
    if readout is None:
        return None
    used.update(readout.sources)
    return readout.stored


def _batch_first(node: Node) -> bool:
    """Return whether a network is given its inputs batch by batch: what it takes was turned round before."""
    if node.integer("layout", 0):
        return True
    value = node.input(0)
    before = None if value is None else value.node
    return before is not None and before.op == "Transpose" and before.integers("perm") == (1, 0, 2)


def _named(networks: list[StoredNetwork]) -> tuple[StoredNetwork, ...]:
    """Return networks with names that tell them apart; one alone has none."""
    if len(networks) == 1:
        return (replace(networks[0], prefix=""),)
    counts: dict[str, int] = {}
    named = []
    for network in networks:
        count = counts[network.prefix] = counts.get(network.prefix, 0) + 1
        named.append(network if count == 1 else replace(network, prefix=f"{network.prefix}#{count}"))
    return tuple(named)


def _notes(node: Node, values: Values, used: set[int]) -> list[str]:
    """Return what a user has to know of a node that is read."""
    notes, name = [], repr(shortened(node.name, 120))
    if node.inside:
        notes.append(
            f"{name} stands inside {shortened(node.inside, 120)}, and is taken for a layer by itself"
        )
    if node.input(4) is not None:
        notes.append(f"{name} is given the lengths of its sequences: say them with `lengths`")
    for index in (5, 6)[: 2 if node.op == "LSTM" else 1]:
        value = node.input(index)
        zero = values.zero(value)
        if value is not None:
            used.add(id(values.origin(value).tensor))
        if zero is False:
            notes.append(
                f"{name} starts from states that are not zero, which are not read: give `initial_state`"
            )
        elif zero is None and value is not None:
            how = "is given" if values.origin(value).node is None else "computes"
            notes.append(f"{name} {how} the states that it starts from; zeros are assumed")
    return notes


def _is_weight(value: Value) -> bool:
    """Return whether an initializer can be weights: floating-point numbers, more than one."""
    tensor = value.tensor
    return tensor.data_type in (1, 10, 11, 16) and any(extent > 1 for extent in tensor.dims)


def _opset(model: Any) -> int:
    versions = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    return int(versions[0]) if versions else 0


def _producer(model: Any) -> str:
    name, version = as_text(model.producer_name), as_text(model.producer_version)
    return f", {shortened(name, 40)} {shortened(version, 20)}".rstrip() if name else ""
