"""Models as one ONNX file, which ONNX Runtime runs to the same numbers."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.datatypes import Bidirectional, Params, Stack
from gatescope.datatypes.params import WEIGHT_NAMES
from gatescope.datatypes.stack import directions
from gatescope.errors import MissingPackageError, WeightFormatError
from gatescope.io.export import as_stack, blocks
from gatescope.storage.atomic import atomic_write

# Of each cell: operator, which of this package's row blocks stands where (i o f c, z r h), attributes.
_OPERATORS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "rnn": ("RNN", (0,), {"activations": ["Tanh"]}),
    "rnn_relu": ("RNN", (0,), {"activations": ["Relu"]}),
    "lstm": ("LSTM", (0, 3, 1, 2), {}),
    "lstm_peephole": ("LSTM", (0, 3, 1, 2), {}),
    "lstm_coupled": ("LSTM", (0, 2, 0, 1), {"input_forget": 1}),
    "gru": ("GRU", (1, 0, 2), {"linear_before_reset": 1}),
    "gru_reset_before": ("GRU", (1, 0, 2), {"linear_before_reset": 0}),
}
_PEEPHOLES = (4, 6, 5)  # of i, o and f in ONNX, as they stand among this package's row blocks
_OPSET, _IR_VERSION = 17, 8  # of 2022, which every runtime in use reads


def save_onnx(path: str | os.PathLike[str], model: Params | Bidirectional | Stack) -> None:
    """Write a model as an ONNX file, beside its final name first and then renamed.

    Its input ``"inputs"`` is (T, B, I), its output ``"outputs"`` (T, B, H) of the uppermost layer, or (T, B, O) of the
    read-out; T and B are free.  States begin at 0.

    Parameters
    ----------
    path : str or path-like
    model : Params, Bidirectional or Stack
        Float32: ONNX Runtime has no recurrent operators in float64.

    Raises
    ------
    MissingPackageError
        If onnx is not installed.
    WeightFormatError
        If a cell is one that ONNX has no operator for, or the weights are float64.
    OutputError
        If `path` cannot be written.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingPackageError(
            "ONNX files are written with onnx, which is not installed", advice="pip install 'gatescope[onnx]'"
        ) from error
    stack = as_stack(model)
    if stack.dtype != np.float32:
        raise WeightFormatError(
            "is float64, in which ONNX Runtime has no recurrent operators",
            argument="model",
            advice="write model.astype('float32'), or read it with `dtype` float32",
        )
    graph = _Graph(onnx)
    outputs = "inputs"
    for k, layer in enumerate(stack.layers):
        ways = [graph.cell(f"layer{k}_{way}", params, outputs) for way, params in directions(layer).items()]
        if len(ways) == 1:
            (outputs,) = ways
        elif isinstance(layer, Bidirectional) and layer.merge == "sum":
            outputs = graph.node("Add", ways, f"layer{k}")
        else:
            outputs = graph.node("Concat", ways, f"layer{k}", axis=2)
    if stack.readout_weight is not None and stack.readout_bias is not None:
        weight = graph.array("readout_weight", np.ascontiguousarray(stack.readout_weight.T))
        product = graph.node("MatMul", [outputs, weight], "readout")
        outputs = graph.node("Add", [product, graph.array("readout_bias", stack.readout_bias)], "readout_sum")
    graph.node("Identity", [outputs], "last", output="outputs")
    model_bytes = graph.model(stack.input_size, stack.output_size).SerializeToString()
    with atomic_write(path) as stream:
        stream.write(model_bytes)


class _Graph:
    """Nodes and arrays of a graph that is being made; each node has one output, of its own name."""

    def __init__(self, onnx: Any) -> None:
        self._onnx = onnx
        self._nodes: list[Any] = []
        self._arrays: list[Any] = []
        self._first = self.array("first_axis", np.array([1], np.int64))

    def array(self, name: str, value: Array) -> str:
        self._arrays.append(self._onnx.numpy_helper.from_array(value, name))
        return name

    def node(self, kind: str, inputs: list[str], name: str, *, output: str = "", **attributes: Any) -> str:
        output = output or f"{name}_output"
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def cell(self, name: str, params: Params, inputs: str) -> str:
        """Add one direction of a layer; return the name of its outputs (T, B, H)."""
        if params.cell not in _OPERATORS:
            raise WeightFormatError(
                f"is of {params.cell!r}, for which ONNX has no operator",
                argument="model",
                advice=f"the cells that have one are {', '.join(_OPERATORS)}",
            )
        kind, order, attributes = _OPERATORS[params.cell]
        gates, units = len(params.gate_names), params.hidden_size
        ih, hh, bias_ih, bias_hh = (blocks(getattr(params, each), order, gates) for each in WEIGHT_NAMES)
        if params.cell == "lstm_coupled":  # ONNX Runtime takes 1 - i for f, so i has the rows of f, negated
            for array in (ih, hh, bias_ih, bias_hh):
                array[:units] *= -1
        arrays = {"W": ih[None], "R": hh[None], "B": np.concatenate([bias_ih, bias_hh])[None]}
        names = [self.array(f"{name}_{key}", value) for key, value in arrays.items()]
        if params.cell == "lstm_peephole":  # after lengths and states, which are left out
            peepholes = blocks(params.bias_ih, _PEEPHOLES, gates)
            names += ["", "", "", self.array(f"{name}_P", peepholes[None])]
        direction = "reverse" if params.reverse else "forward"
        one_way = self.node(
            kind, [inputs, *names], name, hidden_size=units, direction=direction, **attributes
        )
        return self.node("Squeeze", [one_way, self._first], f"{name}_squeezed")

    def model(self, inputs: int, outputs: int) -> Any:
        helper, number = self._onnx.helper, self._onnx.TensorProto.FLOAT
        values = [
            helper.make_tensor_value_info(name, number, ["T", "B", size])
            for name, size in (("inputs", inputs), ("outputs", outputs))
        ]
        graph = helper.make_graph(self._nodes, "gatescope", values[:1], values[1:], initializer=self._arrays)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
        )
        self._onnx.checker.check_model(model)
        return model
