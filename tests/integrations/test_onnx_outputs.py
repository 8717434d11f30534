"""Recurrent nodes of ONNX models, as ONNX Runtime runs them in their model."""

import numpy as np
import pytest

import gatescope as gs
from gatescope.errors import WeightFormatError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
helper = onnx.helper
made_by = pytest.importorskip("helpers.onnx_models")  # imports onnx


def verified(model):
    return gs.load_weights(model, verify=True).provenance["verified"]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru", "gru_reset_before"])
def test_every_cell_in_both_directions(cell):
    seen = verified(made_by.one_of(cell, "bidirectional"))
    assert seen["difference"] < 1e-6
    assert seen["by"].startswith("ONNX Runtime ")


def test_layers_that_feed_each_other_behind_an_embedding(tmp_path):
    model = made_by.stack(made_by.of_one_direction("Y0", "X1"), outputs=["Y1"])
    table = np.random.default_rng(0).standard_normal((9, 3)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(table, "table"))
    model.graph.node.insert(0, helper.make_node("Gather", ["table", "tokens"], ["X"]))
    del model.graph.input[:]
    model.graph.input.append(
        helper.make_tensor_value_info("tokens", onnx.TensorProto.INT64, ["steps", "batch"])
    )
    onnx.save(model, tmp_path / "model.onnx")
    seen = verified(tmp_path / "model.onnx")
    assert seen["difference"] < 1e-6
    assert seen["outputs"] == 7 * 2 * (5 + 5 + 5)  # of both layers, and what the second takes


def with_inputs(op, more, initializers):
    arrays = made_by.weights(op)
    return made_by.model([made_by.node(op, arrays, more=more)], {**arrays, **initializers})


@pytest.mark.filterwarnings("ignore::gatescope.errors.AccuracyWarning")
@pytest.mark.parametrize("state", [False, True])
def test_lengths_and_states_to_start_from_are_those_of_the_model(state):
    rng = np.random.default_rng(0)
    model = with_inputs(
        "LSTM",
        ["lengths", "h", "c"] if state else ["lengths"],
        {
            "lengths": np.array([2, 4, 1, 3], np.int32),
            "h": rng.standard_normal((1, 4, 5)).astype(np.float32),
            "c": rng.standard_normal((1, 4, 5)).astype(np.float32),
        },
    )
    assert verified(model)["difference"] < 1e-6


def test_a_node_of_which_the_last_state_alone_is_used():
    arrays = made_by.weights("GRU")
    node = made_by.node("GRU", arrays, outputs=["", "H"], linear_before_reset=1)
    assert verified(made_by.model([node], arrays, outputs=("H",)))["difference"] < 1e-6


@pytest.mark.parametrize("op", ["LSTM", "GRU", "RNN"])
def test_nodes_inside_a_branch_run_by_themselves(op):
    arrays = made_by.weights(op, directions=2)
    inner = made_by.node(op, arrays, outputs=["Z"], direction="bidirectional")
    branches = [
        helper.make_graph([node], name, [], [helper.make_tensor_value_info("Z", 1, None)])
        for name, node in (("then", inner), ("else", helper.make_node("Identity", ["X"], ["Z"])))
    ]
    choose = helper.make_node("If", ["choice"], ["Y"], then_branch=branches[0], else_branch=branches[1])
    seen = verified(made_by.model([choose], {**arrays, "choice": np.array(True)}))
    assert seen["difference"] < 1e-6
    assert seen["by"].endswith("(each node by itself)")


def test_what_onnx_runtime_does_not_run_is_said():
    model = made_by.one_of("lstm", dtype="float64")
    with pytest.raises(WeightFormatError, match=r"cannot be verified: ONNX Runtime .*double"):
        verified(model)
