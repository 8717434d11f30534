"""One LSTM, GRU or RNN node of an ONNX model as directions of cells of this package, or why it is none."""

from __future__ import annotations

from functools import partial

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.errors import shortened
from gatescope.io.onnx.graph import Node
from gatescope.io.onnx.tensors import FLOATS, Constant, NotConstantError
from gatescope.io.onnx.values import Values, direction_of, texts
from gatescope.io.stored import StoredDirection

# The row blocks of ONNX in the order of the cell's gates; ONNX has i o f c in an LSTM and z r h in a GRU.
_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
# With input_forget ONNX Runtime takes 1 - i for f and ignores the block of f: our f has the rows of i, negated.
_COUPLED = (0, 3, 1)
_PEEPHOLES = (0, 2, 1)  # of i, o and f there; gates of a bias alone here
_ACTIVATIONS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}
_RNN_OF_ACTIVATION = {"tanh": "rnn", "relu": "rnn_relu"}


class RefusedError(Exception):
    """Raised where a node is none of the cells; its text says why, as the rest of a sentence about the node."""


def read_node(node: Node, values: Values, used: set[int]) -> dict[str, StoredDirection]:
    """Return the directions of a node by ONNX's name, and note which stored tensors they are made of.

    Raises
    ------
    RefusedError
        If no cell here computes what it does.
    """
    direction = direction_of(node)
    if direction not in ("forward", "reverse", "bidirectional"):
        raise RefusedError(f"has direction {direction[:40]!r}")
    ways = ("forward", "reverse") if direction == "bidirectional" else (direction,)
    cells = _cells(node, len(ways))
    _check_extras(node)
    named = ((1, "W"), (2, "R"), (3, "B"), (7, "P"))
    W, R, B, P = (_weight(node, index, name, values) for index, name in named)
    if node.op != "LSTM" or values.zero(node.input(7)) is True:
        P = None
    coupled = "lstm_coupled" in cells
    if P is not None:
        if coupled:
            raise RefusedError("couples its input and forget gates and has peepholes; no cell here does both")
        cells = ["lstm_peephole"] * len(cells)
    if W is None or R is None:
        raise RefusedError("has no weights W and R")
    inputs, units = _check_sizes(node, len(ways), W, R, B, P)
    for constant in (W, R, B, P):
        used.update(() if constant is None else constant.sources)
    order, blocks = _COUPLED if coupled else _ORDER[node.op], len(_ORDER[node.op])

    def load(index: int) -> dict[str, Array]:
        def rows(array: Array) -> Array:
            split = array.reshape(blocks, units, *array.shape[1:])[list(order)]
            if coupled:
                split[0] *= -1
            return np.ascontiguousarray(split.reshape(-1, *array.shape[1:]))

        loaded = {"weight_ih": rows(W.load()[index]), "weight_hh": rows(R.load()[index])}
        if B is not None:
            bias_ih, bias_hh = np.split(B.load()[index], 2)
            loaded |= {"bias_ih": rows(bias_ih), "bias_hh": rows(bias_hh)}
        return loaded if P is None else _with_peepholes(loaded, P.load()[index])

    return {
        way: StoredDirection(
            cell=cells[k], input_size=inputs, hidden_size=units, dtype=W.dtype, load=partial(load, k)
        )
        for k, way in enumerate(ways)
    }


def _with_peepholes(weights: dict[str, Array], peepholes: Array) -> dict[str, Array]:
    """Return an LSTM's weights with three gates more, whose biases the peepholes (3H,) are."""
    zeros = np.zeros_like(weights["weight_hh"][:, 0])
    weights = {"bias_ih": zeros, "bias_hh": zeros} | weights
    more = {
        name: np.zeros((peepholes.size, *array.shape[1:]), array.dtype) for name, array in weights.items()
    }
    parts = np.split(peepholes, len(_PEEPHOLES))
    more["bias_ih"] = np.concatenate([parts[k] for k in _PEEPHOLES])
    return {name: np.concatenate([array, more[name]]) for name, array in weights.items()}


def _cells(node: Node, directions: int) -> list[str]:
    """Return the cell of each direction."""
    activations = [name.lower() for name in texts(node, "activations")] or [
        *_ACTIVATIONS[node.op]
    ] * directions
    for name in ("activation_alpha", "activation_beta"):
        if name in node.attributes and node.attributes[name].floats:
            raise RefusedError(f"has {name}, and the activations of the cells here have no constants")
    if "clip" in node.attributes:
        raise RefusedError(
            f"clips what its gates are given at {node.attributes['clip'].f:g}, which no cell here does"
        )
    if node.op == "RNN":
        other = [name for name in activations if name not in _RNN_OF_ACTIVATION]
        if other or len(activations) != directions:
            raise RefusedError(f"has activations {_short(activations)}; the cells here have tanh or relu")
        return [_RNN_OF_ACTIVATION[name] for name in activations]
    usual = [*_ACTIVATIONS[node.op]] * directions
    if activations != usual:
        raise RefusedError(f"has activations {_short(activations)}; the cell here has {', '.join(usual[:3])}")
    if node.op == "LSTM":
        return ["lstm_coupled" if node.integer("input_forget", 0) else "lstm"] * directions
    return ["gru" if node.integer("linear_before_reset", 0) else "gru_reset_before"] * directions


def _short(names: list[str]) -> str:
    return shortened(", ".join(names), 80)


def _check_extras(node: Node) -> None:
    if node.integer("layout", 0) not in (0, 1):
        raise RefusedError(f"has layout {node.integer('layout', 0)}")


def _weight(node: Node, index: int, name: str, values: Values) -> Constant | None:
    value = node.input(index)
    if value is None:
        return None
    try:
        constant = values.constant(value)
    except NotConstantError as error:
        raise RefusedError(
            f"has weights {name} ({shortened(value.name, 80)!r}) that are no stored numbers: it {error}"
        ) from error
    if constant.dtype not in FLOATS:
        raise RefusedError(f"has weights {name} of {constant.dtype}: give a model that is not quantized")
    return constant


def _check_sizes(
    node: Node, directions: int, W: Constant, R: Constant, B: Constant | None, P: Constant | None
) -> tuple[int, int]:
    """Return the numbers of inputs and units, if every shape fits."""
    units = node.integer("hidden_size", R.shape[2] if len(R.shape) == 3 else 0)
    rows = len(_ORDER[node.op]) * units
    inputs = W.shape[2] if len(W.shape) == 3 else 0
    shapes: dict[str, tuple[int, ...]] = {"W": (directions, rows, inputs), "R": (directions, rows, units)}
    shapes |= {"B": (directions, 2 * rows), "P": (directions, 3 * units)}
    for name, constant in (("W", W), ("R", R), ("B", B), ("P", P)):
        if constant is not None and (constant.shape != shapes[name] or min(shapes[name]) < 1):
            raise RefusedError(
                f"has {name} of shape {_short(list(map(str, constant.shape)))}, which does not fit {directions} "
                f"direction{'s' * (directions > 1)} of hidden_size {units}: the node is not valid (torch.onnx.export "
                "writes such for proj_size > 0)"
            )
    for index in (5, 6):
        value = node.input(index)
        extents = () if value is None or value.tensor is None else tuple(value.tensor.dims)
        if extents and extents[-1] != units:  # torch.onnx.export makes all else fit the projection's size
            raise RefusedError(
                f"starts from states of {extents[-1]} units, and its hidden_size is {units}: the node is not valid "
                "(torch.onnx.export writes such for proj_size > 0)"
            )
    return inputs, units
