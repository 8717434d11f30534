"""The linear layer of an ONNX model that alone takes what a recurrent layer gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.errors import shortened
from gatescope.io.onnx.graph import Node, Value
from gatescope.io.onnx.tensors import FLOATS, Constant, NotConstantError
from gatescope.io.onnx.values import RECURRENT, Values, direction_of, directions_of
from gatescope.io.stored import StoredReadout

# Nodes that pass on some of their first input, and those that only look at its shape.
_PASS = (
    "Identity",
    "Dropout",
    "Cast",
    "Transpose",
    "Reshape",
    "Squeeze",
    "Unsqueeze",
    "Gather",
    "Slice",
    "Split",
    "Flatten",
)
_SHAPE = ("Shape", "Size")
_AFTER = ("Softmax", "LogSoftmax", "Sigmoid", "ArgMax")  # what may follow a read-out


@dataclass(frozen=True)
class FoundReadout:
    """A read-out, and the stored tensors that it is made of."""

    stored: StoredReadout
    sources: frozenset[int]


def find_readout(nodes: Iterable[Node], width: int, values: Values) -> FoundReadout | None:
    """Return the read-out of the layer that some nodes are, which gives `width` numbers; None where it is in doubt."""
    starts: list[Value] = []
    for node in nodes:
        if direction_of(node) != "bidirectional":
            starts += node.outputs[:2]  # the last state is the output of the last step
        else:
            starts += node.outputs[:1]
            if any(value.users or value.is_output for value in node.outputs[1:2]):
                return None
    ends = [*_ends(starts, values)]
    takers = {id(node): (node, value) for node, value in ends if node is not None}
    if any(node is None and not _is_state(value) for node, value in ends) or len(takers) != 1:
        return None
    ((node, value),) = takers.values()
    linear = _linear(node, value, width, values)
    if linear is None:
        return None
    weight, bias, result = linear
    after = _ends([result], values, _AFTER)
    if any(node is not None for node, _ in after):
        return None

    def load() -> tuple[Array, Array]:
        array = np.ascontiguousarray(weight.load())
        return array, np.zeros(len(array), array.dtype) if bias is None else bias.load().reshape(-1)

    stored = StoredReadout(
        name=shortened(node.name, 120), output_size=weight.shape[0], input_size=width, load=load
    )
    return FoundReadout(stored, frozenset({*weight.sources, *(() if bias is None else bias.sources)}))


def _is_state(value: Value) -> bool:
    """Return whether a value that the model returns is the last state itself, for the next call to start from."""
    return value.node is not None and value.node.op in RECURRENT and value.output == 1


def _states(node: Node) -> list[Value]:
    """Return the last states of layers that a node puts one after another, as PyTorch gives them; else none."""
    if node.op != "Concat" or node.integer("axis", 0):
        return []
    states = [value for value in node.inputs if value is not None and _is_state(value)]
    alone = [value for value in states if value.node is not None and directions_of(value.node) == 1]
    return states if len(alone) == len(node.inputs) else []


def _picked(node: Node, index: int, values: Values) -> list[Value]:
    """Return what of the states that a node joins is number `index` alone; the whole, if nobody picks some of it."""
    joined, picked = node.outputs[0], []
    count = len(node.inputs)
    for user in joined.users:
        which = (
            values.whole_numbers(user.input(1)) if user.op == "Gather" and user.input(0) is joined else None
        )
        if which is None or len(which) != 1 or user.integer("axis", 0):
            return [joined]
        if which[0] % count == index:
            picked += user.outputs
    return picked


def _ends(
    starts: Iterable[Value], values: Values, passing: tuple[str, ...] = ()
) -> Iterator[tuple[Node | None, Value]]:
    """Yield each node that takes some of the values for what they are, and None for the model's own output."""
    todo, seen = [*starts], set()
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if value.is_output:
            yield None, value
        for node in value.users:
            states = _states(node)
            if states:
                todo += _picked(node, states.index(value), values)
                continue
            joins = node.op in ("Concat", "Add") and any(values.outputs(result) for result in node.outputs)
            if joins or (node.op in (*_PASS, *passing) and node.input(0) is value):
                todo += node.outputs
            elif node.op not in _SHAPE:
                yield node, value


def _linear(
    node: Node, value: Value, width: int, values: Values
) -> tuple[Constant, Constant | None, Value] | None:
    """Return the weight (O, H), the bias and the result of a linear layer that takes `width` numbers."""
    if node.op not in ("MatMul", "Gemm") or node.input(0) is not value or not node.outputs:
        return None
    weight = _constant(node.input(1), values)
    if weight is None or len(weight.shape) != 2:
        return None
    result, bias = node.outputs[0], None
    if node.op == "Gemm":
        usual = all(node.attributes[name].f == 1 for name in ("alpha", "beta") if name in node.attributes)
        if not usual or node.integer("transA", 0):
            return None
        if node.input(2) is not None and (bias := _constant(node.input(2), values)) is None:
            return None
    if not (node.op == "Gemm" and node.integer("transB", 0)):
        weight = weight.rearranged(np.transpose)
    after = result.users
    if bias is None and len(after) == 1 and after[0].op == "Add" and len(after[0].inputs) == 2:
        first, second = after[0].inputs
        bias = _constant(first if second is result else second, values)
        result = after[0].outputs[0] if bias is not None and after[0].outputs else result
    outputs = weight.shape[0]
    if weight.shape[1] != width or (bias is not None and bias.shape not in ((outputs,), (1, outputs))):
        return None
    return weight, bias, result


def _constant(value: Value | None, values: Values) -> Constant | None:
    try:
        constant = None if value is None else values.constant(value)
    except NotConstantError:
        return None
    return constant if constant is not None and constant.dtype in FLOATS else None
