"""What values of an ONNX graph are: stored numbers, zeros, or outputs of recurrent nodes, through plain nodes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gatescope.errors import shortened
from gatescope.io.onnx.graph import Node, Value
from gatescope.io.onnx.tensors import FLOATS, Constant, NotConstantError, as_text, joined, stored
from gatescope.io.source_errors import Wrong

RECURRENT = ("LSTM", "GRU", "RNN")
# What a node may do on the way from one layer to the next, or from weights to the node that takes them.
_SAME = ("Identity", "Dropout")
_MOST_NODES = 16  # one after another, before a value is taken for a computed one
_MOST_LOOKED_AT = 1 << 18  # elements of an initial state that is looked at for zeros
_KEEP_ZEROS = (
    *_SAME,
    "Cast",
    "Expand",
    "Gather",
    "Reshape",
    "Slice",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
)


class Piece(NamedTuple):
    """One direction of a recurrent node."""

    node: Node
    direction: int


@dataclass(frozen=True)
class Outputs:
    """Outputs of recurrent nodes at all steps.

    Attributes
    ----------
    pieces : tuple of Piece
        In the order in which they lie along the axis of directions, or of units where there is no such axis.
    axes : str
        A letter an axis: T steps, B batch, D directions, H units.
    merge : {"concatenate", "sum"}
    """

    pieces: tuple[Piece, ...]
    axes: str
    merge: str = "concatenate"


class Values:
    """Values of one model.

    Parameters
    ----------
    nodes : list of Node
        All of the model, each after those whose outputs it takes.
    folder : Path or None
        Where the model lies.
    wrong : callable
        Makes an error about the model.
    """

    def __init__(self, nodes: list[Node], folder: Path | None, wrong: Wrong) -> None:
        self._folder, self._wrong = folder, wrong
        self._constants: dict[int, Constant] = {}
        self._outputs: dict[int, Outputs] = {}
        for node in nodes:
            if node.op in RECURRENT or any(id(value) in self._outputs for value in node.inputs):
                for value in node.outputs:
                    outputs = self._traced(value, node)
                    if outputs is not None:
                        self._outputs[id(value)] = outputs

    def constant(self, value: Value, left: int = _MOST_NODES) -> Constant:
        """Return the stored numbers that a value is, through nodes that rearrange them.

        Raises
        ------
        NotConstantError
            If it is given to the model, or computed.
        """
        if id(value) not in self._constants:
            self._constants[id(value)] = self._constant(value, left)
        return self._constants[id(value)]

    def _constant(self, value: Value, left: int) -> Constant:
        if value.tensor is not None:
            return stored(value.tensor, self._folder, self._wrong)
        node = value.node
        if node is None:
            raise NotConstantError("is an input of the graph that it stands in")
        computed = NotConstantError(f"is computed by {node.op} (node {shortened(node.name, 80)!r})")
        if not left or value.output or not node.inputs:
            raise computed
        if node.op == "Concat":
            parts = [self.constant(part, left - 1) for part in node.inputs if part is not None]
            return joined(parts, node.integer("axis", 0))
        data = node.input(0)
        if data is None:
            raise computed
        if node.op in _SAME:
            return self.constant(data, left - 1)
        if node.op == "Cast":
            dtype = {1: "float32", 11: "float64"}.get(node.integer("to", 0))
            constant = self.constant(data, left - 1)
            if dtype is None or constant.dtype not in FLOATS:
                raise computed
            return constant.cast(dtype)
        if node.op == "Transpose":
            axes = node.integers("perm")
            return self.constant(data, left - 1).rearranged(lambda array: array.transpose(axes))
        if node.op == "Reshape":
            shape = self._whole(node, 1, "shape")
            constant = self.constant(data, left - 1)
            if shape is None or (0 in shape and node.integer("allowzero", 0)):
                raise computed
            full = [
                constant.shape[k] if extent == 0 and k < len(constant.shape) else extent
                for k, extent in enumerate(shape)
            ]
            return constant.rearranged(lambda array: array.reshape(full))
        if node.op in ("Squeeze", "Unsqueeze"):
            axes = self._whole(node, 1, "axes")
            constant = self.constant(data, left - 1)
            if axes is None and (node.op == "Unsqueeze" or node.input(1) is not None):
                raise computed
            if node.op == "Squeeze":
                return constant.rearranged(lambda array: array.squeeze(axes))
            return constant.rearranged(lambda array: np.expand_dims(array, axes or ()))
        if node.op == "Slice":
            constant = self.constant(data, left - 1)
            cut = self._cut(node, len(constant.shape))
            if cut is None:
                raise computed
            return constant.rearranged(lambda array: array[cut])
        raise computed

    def whole_numbers(self, value: Value | None) -> tuple[int, ...] | None:
        """Return few whole numbers that a value is, such as axes; None if it is anything else."""
        try:
            constant = None if value is None else self.constant(value)
        except NotConstantError:
            return None
        if constant is None or constant.dtype not in ("int32", "int64") or math.prod(constant.shape) > 16:
            return None
        return tuple(int(number) for number in constant.load().ravel())

    def _whole(self, node: Node, index: int, attribute: str) -> tuple[int, ...] | None:
        """Return what newer operators take as an input and older ones as an attribute."""
        value = node.input(index)
        return node.integers(attribute) if value is None else self.whole_numbers(value)

    def _cut(self, node: Node, rank: int) -> tuple[slice, ...] | None:
        starts, ends = self._whole(node, 1, "starts"), self._whole(node, 2, "ends")
        if starts is None or ends is None or len(starts) != len(ends):
            return None
        axes = self._whole(node, 3, "axes") or tuple(range(len(starts)))
        steps = self._whole(node, 4, "steps") or (1,) * len(starts)
        if len(axes) != len(starts) or len(steps) != len(starts):
            return None
        cut = [slice(None)] * rank
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            if not -rank <= axis < rank or step < 1:
                return None
            cut[axis] = slice(start, end, step)
        return tuple(cut)

    def origin(self, value: Value) -> Value:
        """Return what a value is some of, or all of, rearranged or repeated."""
        for _ in range(_MOST_NODES):
            node = value.node
            before = node.input(0) if node is not None and node.op in _KEEP_ZEROS else None
            if value.tensor is not None or before is None:
                break
            value = before
        return value

    def zero(self, value: Value | None) -> bool | None:
        """Return whether a value is zero throughout; None if the file does not say."""
        if value is None:
            return True
        origin = self.origin(value)
        tensor, node = origin.tensor, origin.node
        if tensor is None and node is not None and node.op == "ConstantOfShape":
            if "value" not in node.attributes:
                return True
            tensor = node.attributes["value"].t
        try:
            constant = None if tensor is None else stored(tensor, self._folder, self._wrong)
        except NotConstantError:
            return None
        if constant is None or math.prod(constant.shape) > _MOST_LOOKED_AT:
            return None
        return not constant.load().any()

    def outputs(self, value: Value | None) -> Outputs | None:
        """Return which outputs of recurrent nodes a value is; None if it is none, or not those alone."""
        return self._outputs.get(id(value))

    def _traced(self, value: Value, node: Node) -> Outputs | None:
        if node.op in RECURRENT:
            if value.output:
                return None
            pieces = tuple(Piece(node, k) for k in range(directions_of(node)))
            return Outputs(pieces, "BTDH" if node.integer("layout", 0) else "TDBH")
        if node.op in ("Concat", "Add"):
            parts = [self.outputs(part) for part in node.inputs]
            return _merged(node, parts) if len(parts) == 2 else None
        data = self.outputs(node.input(0))
        if data is None or (value.output and node.op != "Split"):
            return None
        rank = len(data.axes)
        if node.op in (*_SAME, "Cast"):
            return data
        if node.op == "Transpose":
            axes = node.integers("perm") or tuple(reversed(range(rank)))
            if sorted(axes) != [*range(rank)]:
                return None
            return replace(data, axes="".join(data.axes[axis] for axis in axes))
        if node.op == "Squeeze":
            removed = self._whole(node, 1, "axes")
            if removed is None or len(removed) != 1 or not -rank <= removed[0] < rank:
                return None
            alone = len(data.pieces) == 1 and data.axes[removed[0]] == "D"
            return replace(data, axes=data.axes.replace("D", "")) if alone else None
        if node.op == "Reshape":
            return _reshaped(data, self._whole(node, 1, "shape"))
        if node.op == "Gather":
            return self._gathered(node, data)
        if node.op == "Slice":
            cut = self._cut(node, rank)
            if cut is None or "D" not in data.axes:
                return None
            place = data.axes.index("D")
            others = cut[:place] + cut[place + 1 :]
            return replace(data, pieces=data.pieces[cut[place]]) if set(others) <= {slice(None)} else None
        if node.op == "Split":
            axis = node.integer("axis", 0)
            one_each = (
                len(node.outputs) == len(data.pieces) and -rank <= axis < rank and data.axes[axis] == "D"
            )
            return replace(data, pieces=(data.pieces[value.output],)) if one_each else None
        return None

    def _gathered(self, node: Node, data: Outputs) -> Outputs | None:
        axis, which, rank = node.integer("axis", 0), node.input(1), len(data.axes)
        index = self.whole_numbers(which)
        if index is None or len(index) != 1 or which is None or not -rank <= axis < rank:
            return None
        count = len(data.pieces)
        if data.axes[axis] != "D" or not -count <= index[0] < count:
            return None
        axes = data.axes if self.constant(which).shape else data.axes.replace("D", "")
        return replace(data, pieces=(data.pieces[index[0]],), axes=axes)


def directions_of(node: Node) -> int:
    """Return how many directions a recurrent node has."""
    return 2 if direction_of(node) == "bidirectional" else 1


def direction_of(node: Node) -> str:
    """Return the direction of a recurrent node, as ONNX calls it."""
    return _decoded(node.attributes["direction"].s).lower() if "direction" in node.attributes else "forward"


def texts(node: Node, name: str) -> list[str]:
    """Return an attribute that is a list of texts."""
    return [_decoded(item) for item in node.attributes[name].strings] if name in node.attributes else []


def _decoded(value: Any) -> str:
    return as_text(bytes(value))


def _merged(node: Node, parts: Iterable[Outputs | None]) -> Outputs | None:
    first, second = parts
    if first is None or second is None or first.axes != second.axes or "D" in first.axes:
        return None
    if len(first.pieces) != 1 or len(second.pieces) != 1 or first.pieces == second.pieces:
        return None
    pieces = first.pieces + second.pieces
    if node.op == "Add":
        return Outputs(pieces, first.axes, "sum")
    axis, rank = node.integer("axis", 0), len(first.axes)
    return Outputs(pieces, first.axes) if -rank <= axis < rank and first.axes[axis] == "H" else None


def _reshaped(data: Outputs, shape: tuple[int, ...] | None) -> Outputs | None:
    """Return outputs whose axis of directions goes into that of units, which is what layers are joined by."""
    axes = data.axes.replace("D", "")
    if "D" not in data.axes or (len(data.pieces) > 1 and data.axes[-2:] != "DH") or data.axes[-1] != "H":
        return None
    if shape is not None and len(shape) != len(axes):
        return None
    return replace(data, axes=axes)
