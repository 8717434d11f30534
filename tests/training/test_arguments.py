"""What the parts of training say about arguments that cannot be."""

import dataclasses

import numpy as np
import pytest
from helpers.engine_cases import make_batch, make_stack

import gatescope as gs
from gatescope.errors import DtypeError, GatescopeError, ShapeError, ValueRangeError
from gatescope.training import Clip, Data, Dropout, Engine, as_data, masks

SMALL = {"steps": 4, "sequences": 2}


@pytest.fixture(scope="module")
def stack():
    return make_stack()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 0}, ValueRangeError, r"steps=0 must be a whole number of at least 1"),
        ({"sequences": 0}, ValueRangeError, r"sequences=0 must be"),
        ({"threads": 0}, ValueRangeError, r"threads=0 must be"),
        ({"weight_noise": -1}, ValueRangeError, r"weight_noise=-1 must be a finite number of at least 0"),
        ({"seed": -1, "weight_noise": 0.1}, ValueRangeError, r"seed=-1 must be"),
        ({"memory": -1}, ValueRangeError, r"memory=-1 must be"),
        ({"learns": 1}, ValueRangeError, r"learns=1 must be True or False"),
        ({"dropout": 0.5}, DtypeError, r"dropout is a float; give a Dropout"),
    ],
)
def test_engine(stack, options, error, message):
    with pytest.raises(error, match=message):
        Engine(stack, **{**SMALL, **options})


def test_engine_of_something_else(stack):
    with pytest.raises(DtypeError, match=r"stack is a Params; give a Stack, such as init_stack"):
        Engine(stack.layers[0], **SMALL)
    torn = dataclasses.replace(stack.layers[1], bias_hh=np.zeros(3))
    with pytest.raises(ShapeError, match=r"layers\[1\] does not fit: bias_hh of shape \(3,\)"):
        Engine(dataclasses.replace(stack, layers=(stack.layers[0], torn)), **SMALL)


@pytest.mark.parametrize("options", [{}, {"dropout": Dropout(inputs=0.5)}, {"weight_noise": 0.1}])
def test_updates_that_cannot_be(stack, options):
    data = as_data(make_batch(), stack)
    engine = Engine(stack, **SMALL, **options)
    for wrong in (-1, 0.5, None, "1"):
        with pytest.raises(ValueRangeError, match=r"update=.* must be a whole number of at least 0"):
            engine.back(data, wrong)
    with pytest.raises(ValueRangeError, match=r"first=-1 must be"):
        engine.back(data, 0, first=-1)
    with pytest.raises(ValueRangeError, match=r"begin=0\.5 must be a whole number from 0 to 36"):
        engine.back(data, 0, begin=0.5, end=3)


def test_data_that_were_not_made_for_the_engine(stack):
    batch = make_batch()
    data, engine = as_data(batch, stack), Engine(stack, **SMALL)
    for look in (lambda data: engine.back(data, 0), engine.evaluate):
        with pytest.raises(DtypeError, match=r"data is a Batch; make it with as_data\(batch, stack\)"):
            look(batch)
        with pytest.raises(DtypeError, match=r"inputs is a list; give a NumPy array \(T, B, I\)"):
            look(data._replace(inputs=data.inputs.tolist()))
        with pytest.raises(DtypeError, match=r"lengths is a list; give a NumPy array"):
            look(data._replace(lengths=data.lengths.tolist()))
        with pytest.raises(ShapeError, match=r"at least one step"):
            look(Data(*(array[:0] for array in data[:3]), data.lengths))
    with pytest.raises(ShapeError, match=r"inputs has shape \(5, 3\), but should have \(T, B, I\)"):
        engine.predict(data.inputs[0], data.lengths)
    with pytest.raises(DtypeError, match=r"carried is a list"):
        engine.carried = [1.0, 2.0]


@pytest.mark.parametrize(
    ("probability", "options", "message"),
    [
        (1.0, {}, r"probability=1\.0 must lie in \[0, 1\)"),
        (0.5, {"seed": -1}, r"seed=-1 must be a whole number of at least 0"),
        (0.5, {"update": -1}, r"update=-1"),
        (0.5, {"layer": 0.5}, r"layer=0\.5"),
        (0.5, {"shape": (2, -3)}, r"shape\[1\]=-3"),
        (0.5, {"shape": 6}, r"shape=6 must be \(T, B, size\)"),
    ],
)
def test_masks(probability, options, message):
    arguments = {"shape": (2, 3), "seed": 0, "update": 0, "location": "inputs", **options}
    with pytest.raises(GatescopeError, match=message):
        masks(probability, arguments.pop("shape"), **arguments)


def test_masks_of_a_number_of_numpys_are_those_of_training():
    ours, theirs = (masks(p, (40, 5), seed=0, update=0, location="inputs") for p in (np.float32(0.3), 0.3))
    assert set(np.unique(ours)) == {np.float32(0), np.float32(1 / (1 - float(np.float32(0.3))))}
    np.testing.assert_array_equal(ours == 0, theirs == 0)


def test_probabilities_of_dropout():
    for wrong in (1, 1.0, -0.1, float("nan"), True, "0.5", None):
        with pytest.raises(ValueRangeError, match=r"between=.* must lie in \[0, 1\)"):
            Dropout(between=wrong)
    assert Dropout(between=np.float32(0.5)) == Dropout(between=0.5)


def test_a_model_without_a_read_out_has_no_data(stack):
    with pytest.raises(DtypeError, match=r"stack is a Params; give a Stack"):
        as_data(make_batch(), stack.layers[0])


def test_weights_from_a_vector(stack):
    assert stack.with_flat(stack.flat()) == stack
    with pytest.raises(DtypeError, match=r"vector is a list; give a NumPy array"):
        stack.with_flat([1.0])
    with pytest.raises(DtypeError, match=r"vector has dtype <U1"):
        stack.with_flat(np.array(["a"]))
    with pytest.raises(ShapeError, match=r"vector has shape \(1,\), but should have"):
        stack.with_flat(np.ones(1))


def test_clipping_needs_an_array():
    with pytest.raises(DtypeError, match=r"gradient is a list; give a NumPy array \(N,\)"):
        Clip(norm=1.0).apply([3.0, 4.0])


def test_all_that_is_public_has_an_example():
    """Run by test_docstrings.py."""
    assert [
        name for name in gs.training.__all__ if ">>>" not in (getattr(gs.training, name).__doc__ or "")
    ] == []
