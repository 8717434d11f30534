"""ONNX Runtime: a graph of one RNN, LSTM or GRU operator.  Inference alone, and no gate is kept."""

from __future__ import annotations

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


def _model(params: Params) -> bytes:
    """Return a model with input X (T, B, I) and output Y (T, 1, B, H)."""
    order = [params.gate(name) for name in _ORDER[params.cell]]
    constants = {
        "W": np.concatenate([gate["weight_ih"] for gate in order]),
        "R": np.concatenate([gate["weight_hh"] for gate in order]),
        "B": np.concatenate([gate[name] for name in ("bias_ih", "bias_hh") for gate in order]),
    }
    kind = helper.np_dtype_to_tensor_dtype(params.dtype)
    node = helper.make_node(
        params.cell.upper(),
        ["X", "W", "R", "B"],
        ["Y"],
        hidden_size=params.hidden_size,
        **_ATTRIBUTES[params.cell],
    )
    graph = helper.make_graph(
        [node],
        "recurrence",
        [helper.make_tensor_value_info("X", kind, ("T", "N", params.input_size))],
        [helper.make_tensor_value_info("Y", kind, ("T", 1, "N", params.hidden_size))],
        [numpy_helper.from_array(value[None], name) for name, value in constants.items()],
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
            _model(problem.params), options, providers=["CPUExecutionProvider"]
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
