"""The nodes of an ONNX model, wherever they stand, and what each takes and gives: one flat list.

A name means something in one graph only: a subgraph of If, Loop or Scan sees the names round it, a function of the
model sees what it is called with.  `read_nodes` resolves all of them, so that who follows a value need not know it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from gatescope.io.onnx.tensors import as_text
from gatescope.io.source_errors import Wrong

# A function that calls another twice, and that one the next, makes a small file a large graph.
_MOST_FROM_FUNCTIONS = 20_000
_MOST_NODES = 100_000
_MOST_NESTED = 40
_GRAPH, _GRAPHS = 5, 10  # AttributeProto.type


@dataclass(eq=False, slots=True)
class Value:
    """What a name stands for: a stored tensor, an output of a node, or what the model is given.

    Attributes
    ----------
    name : str
    tensor : TensorProto or None
    node : Node or None
        That gives it.
    output : int
        Which of the node's outputs it is.
    users : list of Node
        That take it.
    is_output : bool
        Whether the model returns it.
    """

    name: str
    tensor: Any = None
    node: Node | None = None
    output: int = 0
    users: list[Node] = field(default_factory=list)
    is_output: bool = False


@dataclass(eq=False, slots=True)
class Node:
    """A node where it stands; one of a function's is there as often as the function is called.

    Attributes
    ----------
    name : str
        Never empty.
    op : str
        Of ONNX's own operators the name, of others ``domain.name``.
    attributes : mapping
        AttributeProto by name.
    inputs : list of (Value or None)
    outputs : list of Value
    inside : str
        The loop or branch that it stands in: ``"Loop 'decode'"``; empty if none.
    """

    name: str
    op: str
    attributes: Mapping[str, Any]
    inputs: list[Value | None]
    outputs: list[Value]
    inside: str

    def input(self, index: int) -> Value | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def integer(self, name: str, default: int) -> int:
        return int(self.attributes[name].i) if name in self.attributes else default

    def integers(self, name: str) -> tuple[int, ...] | None:
        return tuple(int(value) for value in self.attributes[name].ints) if name in self.attributes else None


class _Scope:
    """Names of a graph, and of the graphs round it."""

    def __init__(self, outer: _Scope | None = None) -> None:
        self.values: dict[str, Value | None] = {}
        self.outer = outer

    def get(self, name: str) -> Value | None:
        if not name:
            return None
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.outer
        return self.values.setdefault(name, Value(as_text(name)))


class _Reader:
    def __init__(self, model: Any, wrong: Wrong) -> None:
        self.wrong = wrong
        self.nodes: list[Node] = []
        self.initializers: list[Value] = []
        self.functions = {
            (_domain(function.domain), function.name, function.overload): function
            for function in model.functions
        }
        self.from_functions = 0

    def count(self, *parts: Any) -> None:
        """Refuse a model once what its functions make, each time they are called, is too much."""
        self.from_functions += 1 + sum(map(len, parts))
        if self.from_functions > _MOST_FROM_FUNCTIONS:
            raise self.wrong(
                f"has functions that call each other for more than {_MOST_FROM_FUNCTIONS:,} nodes and names",
                advice="export the network by itself",
            )

    def graph(self, graph: Any, outer: _Scope | None, inside: str, depth: int, called: bool) -> list[Value]:
        """Read a graph and return the values of its outputs."""
        if called:
            self.count(graph.input, graph.initializer, graph.output)
        scope = _Scope(outer)
        for given in graph.input:
            scope.values[given.name] = Value(as_text(given.name))
        for tensor in graph.initializer:
            stored = Value(as_text(tensor.name), tensor=tensor)
            scope.values[tensor.name] = stored
            self.initializers.append(stored)
        self.read(graph.node, scope, {}, inside, depth, called)
        return [value for given in graph.output if (value := scope.get(given.name)) is not None]

    def read(
        self, nodes: Any, scope: _Scope, actual: Mapping[str, Any], inside: str, depth: int, called: bool
    ) -> None:
        if depth > _MOST_NESTED:
            raise self.wrong(
                f"has graphs or functions nested more than {_MOST_NESTED} deep",
                advice="export the network by itself",
            )
        if len(self.nodes) + len(nodes) > _MOST_NODES:
            raise self.wrong(f"has more than {_MOST_NODES:,} nodes", advice="export the network by itself")
        for proto in nodes:
            if called:
                self.count(proto.input, proto.output, proto.attribute)
            inputs = [scope.get(name) for name in proto.input]
            attributes = _attributes(proto, actual)
            key = (_domain(proto.domain), proto.op_type, getattr(proto, "overload", ""))
            if key in self.functions:
                outputs = self.call(self.functions[key], inputs, attributes, inside, depth + 1)
                for name, value in zip(proto.output, outputs, strict=False):
                    if name and value is not None:
                        scope.values[name] = value
                continue
            self.place(proto, key, scope, inputs, attributes, inside, depth, called)

    def place(
        self,
        proto: Any,
        key: tuple[str, str, str],
        scope: _Scope,
        inputs: list[Value | None],
        attributes: Mapping[str, Any],
        inside: str,
        depth: int,
        called: bool,
    ) -> None:
        op = ".".join(as_text(part) for part in key[:2] if part)
        node = Node(as_text(proto.name) or f"{op}_{len(self.nodes)}", op, attributes, inputs, [], inside)
        self.nodes.append(node)
        for index, name in enumerate(proto.output):
            value = Value(as_text(name), node=node, output=index)
            node.outputs.append(value)
            if name:
                scope.values[name] = value
        if op == "Constant" and "value" in attributes and node.outputs:
            node.outputs[0].tensor = attributes["value"].t
        for taken in inputs:
            if taken is not None:
                taken.users.append(node)
        for attribute in attributes.values():
            for graph in _graphs(attribute):
                # What a subgraph returns is taken by the node that it belongs to.
                for value in self.graph(graph, scope, f"{op} {node.name!r}", depth + 1, called):
                    value.users.append(node)

    def call(
        self,
        function: Any,
        inputs: list[Value | None],
        attributes: Mapping[str, Any],
        inside: str,
        depth: int,
    ) -> list[Value | None]:
        self.count(function.input, function.output, function.attribute_proto, inputs)
        scope = _Scope()
        for name, value in zip_longest(function.input, inputs[: len(function.input)]):
            scope.values[name] = value
        defaults = {attribute.name: attribute for attribute in function.attribute_proto}
        self.read(function.node, scope, {**defaults, **attributes}, inside, depth, called=True)
        return [scope.get(name) for name in function.output]


def read_nodes(model: Any, wrong: Wrong) -> tuple[list[Node], list[Value]]:
    """Return all nodes of a ModelProto, in their order, and its initializers.

    Raises
    ------
    WeightFormatError
        If its functions make a graph too large or too deep.
    """
    reader = _Reader(model, wrong)
    for value in reader.graph(model.graph, None, "", 0, False):
        value.is_output = True
    return reader.nodes, reader.initializers


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _attributes(proto: Any, actual: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a node, those that refer to an attribute of the function by what that is."""
    attributes = {}
    for attribute in proto.attribute:
        if not attribute.ref_attr_name:
            attributes[attribute.name] = attribute
        elif attribute.ref_attr_name in actual:
            attributes[attribute.name] = actual[attribute.ref_attr_name]
    return attributes


def _graphs(attribute: Any) -> list[Any]:
    if attribute.type == _GRAPH:
        return [attribute.g]
    return list(attribute.graphs) if attribute.type == _GRAPHS else []
