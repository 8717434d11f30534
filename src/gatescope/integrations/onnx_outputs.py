"""What ONNX Runtime computes in the recurrent nodes of a model, run whole on inputs of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gatescope.cells.registry import get
from gatescope.checks.arrays import Array
from gatescope.datatypes import Params
from gatescope.datatypes.stack import Layer, directions
from gatescope.errors import WeightFormatError
from gatescope.integrations.packages import missing
from gatescope.integrations.verify import OR_NOT, Verification, cannot, compared
from gatescope.io.loading import Opened
from gatescope.io.onnx.networks import Taps
from gatescope.recurrence.layers import merged
from gatescope.recurrence.run import run

# Extents of axes that the model leaves open, by their names in turn; all alike, if it does not run with these.
_SIZES = ((7, 2, 5, 3, 4), (4,), (1,))
_OPSET, _IR_VERSION = 14, 8  # of models of one node
_QUIET = 4  # of ONNX Runtime's log: what is fatal


def compare_nodes(source: Any, opened: Opened, layers: list[Layer]) -> Verification:
    """Run a model in ONNX Runtime, and here each of its recurrent nodes on what it got there; compare what they give.

    Nodes get what they get in the model, from whatever lies before them, and start from what it starts them from.
    Nodes inside a branch, a loop or a function, which show nothing of that, run by themselves.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing(
            "ONNX Runtime, which is to run the source,", "onnxruntime", error, otherwise=OR_NOT
        ) from error
    levels: list[tuple[Taps, ...]] = opened.network.attributes["nodes"]
    names = {name: 0 for level in levels for node in level for name in node[:6] if name}
    names |= {
        node.inputs: layer.input_size for layer, level in zip(layers, levels, strict=True) for node in level
    }
    by = f"ONNX Runtime {onnxruntime.__version__}"
    values = _values(onnxruntime, source, opened, names)
    whole = values is not None
    if values is None:
        levels, values = _by_themselves(onnxruntime, opened, levels, layers)
        by += " (each node by itself)"
    parts: list[Verification] = []
    below: Array | None = None  # what the layer below gives, if all of it is known
    for layer, level in zip(layers, levels, strict=True):
        if below is not None:  # that it is what this layer takes
            parts.append(compared(by, below, level[0].in_time(values[level[0].inputs])))
        ways = [*directions(layer).values()]
        pairs: list[tuple[Array, Array]] = []
        for node in level:
            own, ways = ways[: node.directions], ways[node.directions :]
            pairs += _pairs(node, own, values)
        parts += [compared(by, *pair) for pair in pairs]
        known = whole and all(node.outputs for node in level)
        below = merged(layer, [here for here, _ in pairs]) if known else None
    return parts[0]._replace(
        difference=max(part.difference for part in parts),
        largest=max(part.largest for part in parts),
        outputs=sum(part.outputs for part in parts),
    )


def _pairs(node: Taps, ways: Sequence[Params], values: dict[str, Array]) -> Iterator[tuple[Array, Array]]:
    """Yield the outputs of each direction of a node here and there; its last ones, if the model uses only these."""
    inputs = node.in_time(values[node.inputs])
    lengths = values[node.lengths].astype(np.int64) if node.lengths else None
    for k, params in enumerate(ways):
        names = (node.state, node.memory)[: len(get(params.cell).states)]
        initial = None
        if any(names):
            shape = (inputs.shape[1], params.hidden_size)
            parts = [
                node.in_order(values[name])[k] if name else np.zeros(shape, params.dtype) for name in names
            ]
            initial = np.stack(parts, axis=1)
        trace = run(params, inputs, lengths=lengths, initial_state=initial)
        if node.outputs:
            there = node.in_time(values[node.outputs])[:, k]
            yield np.where(trace.mask[:, :, None], trace.outputs, 0), there
        else:
            yield trace.final_state[:, 0], node.in_order(values[node.last])[k]


def _values(onnxruntime: Any, source: Any, opened: Opened, names: dict[str, int]) -> dict[str, Array] | None:
    """Return what values of a model are when it runs on random inputs, by name; None if its main graph lacks some.

    `names` has the number of inputs a step of each value that a node takes, and 0 of others.
    """
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(onnx.load(os.fspath(source)) if isinstance(source, str | os.PathLike) else source)
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    taken = {value.name: value for value in graph.input if value.name not in stored}
    computed = {name for node in graph.node for name in node.output}
    if not names.keys() <= stored.keys() | taken.keys() | computed:
        return None
    asked = [name for name in names if name in computed]
    returned = {value.name for value in graph.output}
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in asked if name not in returned)
    session, reason = _session(onnxruntime, opened, model), ""
    for sizes in _SIZES:
        feeds = _feeds(onnx, taken.values(), sizes, names)
        try:
            outputs = session.run(asked, feeds) if asked else []
        except Exception as error:  # inputs of such sizes, too, may be what the model does not take
            reason = reason or _short(error)
            continue
        known = {name: onnx.numpy_helper.to_array(stored[name]) for name in names if name in stored}
        return {**known, **feeds, **dict(zip(asked, outputs, strict=True))}
    raise cannot(opened, f"ONNX Runtime does not run it on random inputs ({reason})")


def _session(onnxruntime: Any, opened: Opened, model: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    try:
        data = model.SerializeToString()
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever ONNX Runtime says of what it does not run
        raise cannot(opened, f"ONNX Runtime does not open it ({_short(error)})") from error


def _by_themselves(
    onnxruntime: Any, opened: Opened, levels: list[tuple[Taps, ...]], layers: list[Layer]
) -> tuple[list[tuple[Taps, ...]], dict[str, Array]]:
    """Return nodes as each is in a model of its own, from zero states, and what they take and give there."""
    import onnx

    values: dict[str, Array] = {}
    rng, alone = np.random.default_rng(0), []
    for layer, level in zip(layers, levels, strict=True):
        nodes = []
        for node in level:
            op, attributes, weights = node.alone()
            taken = [name if name in weights else "" for name in ("W", "R", "B", "", "", "", "P")]
            taken = taken if "P" in weights else taken[:3]
            proto = onnx.helper.make_node(op, ["X", *taken], ["Y"])
            proto.attribute.extend(each for each in attributes if each.name != "layout")
            kind = onnx.helper.np_dtype_to_tensor_dtype(weights["R"].dtype)
            infos = [onnx.helper.make_tensor_value_info(name, kind, None) for name in "XY"]
            tensors = [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()]
            graph = onnx.helper.make_graph([proto], "node", infos[:1], infos[1:], tensors)
            opsets = [onnx.helper.make_opsetid("", _OPSET)]
            model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
            k = str(len(values))
            values[k] = rng.standard_normal((*_SIZES[0][:2], layer.input_size)).astype(weights["R"].dtype)
            try:
                values[f"{k}Y"] = _session(onnxruntime, opened, model).run(["Y"], {"X": values[k]})[0]
            except WeightFormatError:
                raise
            except Exception as error:  # whatever ONNX Runtime says of what it does not run
                raise cannot(opened, f"ONNX Runtime does not run it ({_short(error)})") from error
            plain = node._replace(lengths="", state="", memory="", batch_first=False)
            nodes.append(plain._replace(inputs=k, outputs=f"{k}Y"))
        alone.append(tuple(nodes))
    return alone, values


def _feeds(onnx: Any, inputs: Any, sizes: Sequence[int], names: dict[str, int]) -> dict[str, Array]:
    """Return random inputs: normal numbers, zeros and ones of whole numbers, which are tokens that any model knows."""
    rng, named = np.random.default_rng(0), dict[str, int]()
    feeds = {}
    for value in inputs:
        tensor = value.type.tensor_type
        width = names.get(value.name, 0)
        axes = [(int(axis.dim_value), axis.dim_param) for axis in tensor.shape.dim]
        if width:  # which a node takes: (T, B, I), whatever the model says of it
            axes = [*(axes or [(0, ""), (0, ""), (0, "")])[:2], (width, "")]
        shape = [
            extent or named.setdefault(label or f"{value.name}:{k}", sizes[len(named) % len(sizes)])
            for k, (extent, label) in enumerate(axes)
        ]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        whole = np.dtype(dtype).kind in "iub"
        feeds[value.name] = (rng.integers(0, 2, shape) if whole else rng.standard_normal(shape)).astype(dtype)
    return feeds


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
