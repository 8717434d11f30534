"""Weights for other programs by methods: they are the functions, and import them when they are called."""

import dataclasses

import numpy as np
import pytest
from helpers.cases import random_params
from helpers.subprocess_python import python

import gatescope as gs

LAYER = random_params("gru", input_size=3, hidden_size=5, dtype="float32")
BOTH = gs.Bidirectional(forward=LAYER, backward=dataclasses.replace(LAYER, reverse=True))
MODELS = [LAYER, BOTH, gs.Stack(layers=(BOTH,))]


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return np.array_equal(one, other)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("name", ["to_torch", "to_keras", "to_flax"])
def test_a_method_is_the_function_of_its_name(model, name):
    made = getattr(model, name)()
    assert made
    assert same(made, getattr(gs, name)(model))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_an_onnx_file_is_that_of_save_weights(model, tmp_path):
    pytest.importorskip("onnx")
    model.to_onnx(tmp_path / "method.onnx")
    gs.save_weights(tmp_path / "function.onnx", model)
    assert (tmp_path / "method.onnx").read_bytes() == (tmp_path / "function.onnx").read_bytes()


def test_what_writes_weights_is_imported_when_it_is_called():
    python(
        "import sys, gatescope as gs\n"
        "params = gs.init('gru', input_size=1, hidden_size=2)\n"
        "assert 'gatescope.io' not in sys.modules\n"
        "assert len(params.to_torch()) == 4"
    )
