"""Small ONNX models, written node by node."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BLOCKS = {"LSTM": 4, "GRU": 3, "RNN": 1}


def weights(op, inputs=3, units=5, *, directions=1, bias=True, dtype="float32", seed=0):
    """Return W, R and B of a node, by name, in ONNX's order."""
    rng, rows = np.random.default_rng(seed), BLOCKS[op] * units
    shapes = {"W": (directions, rows, inputs), "R": (directions, rows, units)}
    if bias:
        shapes["B"] = (directions, 2 * rows)
    return {
        name: (rng.normal(size=shape) / (2 * np.sqrt(units))).astype(dtype) for name, shape in shapes.items()
    }


def node(op, arrays, *, prefix="", x="X", outputs=("Y",), more=(), **attributes):
    """Return a recurrent node that takes what is called `prefix` + W, R, B; `more`: the inputs after these."""
    names = [f"{prefix}{name}" if name in arrays else "" for name in ("W", "R", "B")]
    units = arrays["R"].shape[-1]
    return helper.make_node(
        op,
        [x, *names, *more],
        list(outputs),
        name=f"{prefix}{op.lower()}",
        **{"hidden_size": units, **attributes},
    )


def model(nodes, initializers, *, outputs=("Y",), inputs=("X",), functions=(), opset=17, dtype="float32"):
    """Return a model of nodes and of arrays by name."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, kind, None) for name in inputs],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [
            array if isinstance(array, TensorProto) else numpy_helper.from_array(np.asarray(array), name)
            for name, array in initializers.items()
        ],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=10)


def one_node(op, *, directions=1, bias=True, dtype="float32", inputs=3, units=5, **attributes):
    """Return a model of one recurrent node."""
    arrays = weights(op, inputs, units, directions=directions, bias=bias, dtype=dtype)
    return model([node(op, arrays, **attributes)], arrays, dtype=dtype)


def saved(made, path):
    """Write a model, and return the path."""
    path.write_bytes(made.SerializeToString())
    return path


def by_reference(made, inputs):
    """Return what the reference evaluator of ONNX makes of inputs, in their own precision."""
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(made).run(None, {"X": inputs})[0]


def by_runtime(made, inputs):
    """Return what ONNX Runtime makes of inputs."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    data = made.SerializeToString() if isinstance(made, onnx.ModelProto) else str(made)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: inputs})[0]


CELLS = {
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {"linear_before_reset": 1}),
    "gru_reset_before": ("GRU", {}),
    "rnn": ("RNN", {}),
    "rnn_relu": ("RNN", {"activations": ["Relu"]}),
}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


def one_of(cell, direction="forward", **options):
    op, attributes = CELLS[cell]
    directions = DIRECTIONS[direction]
    if "activations" in attributes:
        attributes = {"activations": attributes["activations"] * directions}
    return one_node(op, directions=directions, direction=direction, **attributes, **options)


def stack(between, *, directions=1, linear=(), outputs=("Y",)):
    """Return two LSTMs, the nodes between them (from Y0 to X1) and after them."""
    width, direction = 5 * directions, "bidirectional" if directions == 2 else "forward"
    lower = weights("LSTM", 3, directions=directions)
    upper = weights("LSTM", width, directions=directions, seed=1)
    arrays = {f"lower.{k}": v for k, v in lower.items()} | {f"upper.{k}": v for k, v in upper.items()}
    arrays |= {
        "merged": np.array([0, 0, -1]),
        "one": np.array([1]),
        "zeroth": np.array(0),
        "second": np.array(1),
        "last": np.array(-1),
        "weight": np.random.default_rng(2).normal(size=(width, 2)).astype(np.float32),
        "bias": np.array([0.5, -1], np.float32),
    }
    nodes = [
        node("LSTM", lower, prefix="lower.", outputs=["Y0"], direction=direction),
        *between,
        node("LSTM", upper, prefix="upper.", x="X1", outputs=["Y1", "H1", "C1"], direction=direction),
        *linear,
    ]
    if any("above" in node.input for node in linear):  # weights of a layer above the head
        arrays["above"] = np.ones((2, 3), np.float32)
    return model(nodes, arrays, outputs=outputs)


def of_one_direction(start, end):
    return [helper.make_node("Squeeze", [start, "one"], [end])]


def inputs_for(width=3, dtype="float32", steps=20):
    return np.random.default_rng(1).normal(size=(steps, 3, width)).astype(dtype)
