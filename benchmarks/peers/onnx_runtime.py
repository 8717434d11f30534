"""ONNX Runtime: a graph of an RNN, LSTM or GRU operator a layer.  Inference alone, and no gate is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from benchmarks.problem import Problem
from gatescope.datatypes import Params

# ONNX's order of the row blocks, in the names of our gates.
_ORDER = {"rnn": ("h",), "lstm": ("i", "o", "f", "g"), "gru": ("z", "r", "n")}
# linear_before_reset is the GRU of PyTorch and cuDNN: the reset gate after the product.
_ATTRIBUTES = {"rnn": {}, "lstm": {}, "gru": {"linear_before_reset": 1}}
_OPSET = 17


def _weights(params: Params, number: int) -> dict[str, NDArray[np.floating]]:
    """Return the operator's weights, in its order of inputs."""
    order = [params.gate(name) for name in _ORDER[params.cell]]
    arrays = {
        "W": np.concatenate([gate["weight_ih"] for gate in order]),
        "R": np.concatenate([gate["weight_hh"] for gate in order]),
        "B": np.concatenate([gate[name] for name in ("bias_ih", "bias_hh") for gate in order]),
    }
    return {f"{name}{number}": array[None] for name, array in arrays.items()}


def _model(layers: Sequence[Params]) -> bytes:
    """Return a model with input X (T, B, I) and output Y (T, 1, B, H)."""
    first, last = layers[0], layers[-1]
    kind = helper.np_dtype_to_tensor_dtype(first.dtype)
    # An operator returns (T, directions, B, H); the next one takes (T, B, H).
    constants: dict[str, NDArray[Any]] = {"axis": np.array([1])} if len(layers) > 1 else {}
    nodes, inputs = [], "X"
    for number, params in enumerate(layers):
        weights = _weights(params, number)
        constants |= weights
        outputs = "Y" if params is last else f"Y{number}"
        attributes = {"hidden_size": params.hidden_size, **_ATTRIBUTES[params.cell]}
        nodes.append(helper.make_node(params.cell.upper(), [inputs, *weights], [outputs], **attributes))
        if params is not last:
            inputs = f"X{number + 1}"
            nodes.append(helper.make_node("Squeeze", [outputs, "axis"], [inputs]))
    graph = helper.make_graph(
        nodes,
        "recurrence",
        [helper.make_tensor_value_info("X", kind, ("T", "N", first.input_size))],
        [helper.make_tensor_value_info("Y", kind, ("T", 1, "N", last.hidden_size))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = 8  # the one that belongs to this opset; a newer one may be refused
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


class Competitor:
    NAME = "onnxruntime"

    def __init__(self, problem: Problem, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Its threads wait in a busy loop inside a run, as by default, but not after it: that would slow
        # down whoever is timed next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self.session = onnxruntime.InferenceSession(
            _model(problem.layers), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = problem.inputs

    def __enter__(self) -> Competitor:
        return self

    def __exit__(self, *error: object) -> None:
        del self.session

    def forward(self) -> Any:
        return self.session.run(["Y"], {"X": self.inputs})[0]

    def train(self) -> Any:
        raise NotImplementedError("ONNX Runtime is compared in the forward pass alone")

    def arrays(self, result: Any) -> dict[str, NDArray[np.floating]]:
        return {"outputs": result[:, 0]}
