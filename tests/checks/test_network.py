"""Each check of weights, inputs, states, lengths and traces: what passes, and what the error says."""

import dataclasses
import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.cases import Case

import gatescope as gs
from gatescope.checks.network import (
    check_batch,
    check_initial_state,
    check_inputs,
    check_lengths,
    check_params,
    check_stack,
    check_trace,
)
from gatescope.errors import (
    DeviceError,
    DtypeError,
    InputWarning,
    ShapeError,
    UnknownNameError,
    ValueRangeError,
)

T, B, I, H = 6, 3, 2, 4
PARAMS = Case("lstm", T=T, B=B, I=I, H=H).params
CELL = gs.cells.get("lstm")
TRACE = gs.Trace(
    cell="lstm",
    inputs=np.zeros((T, B, I)),
    states=np.zeros((T + 1, B, 2, H)),
    gates=np.zeros((T, B, 4, H)),
    lengths=np.full(B, T),
    state_names=CELL.states,
    gate_names=CELL.saved,
)


def changed(name, value):
    return dataclasses.replace(PARAMS, **{name: value})


# ---- weights ----


def test_weights_that_fit():
    assert check_params(PARAMS) is CELL


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("weight_ih", np.zeros((16, 3, 1)), ShapeError, r"\(16, 3, 1\), but should have two axes"),
        (
            "weight_hh",
            np.zeros((15, 4)),
            ShapeError,
            r"\(15, 4\), but should have \(16, 4\).*G = 4 for 'lstm'",
        ),
        ("weight_hh", np.zeros((16, 5)), ShapeError, r"\(16, 5\), but should have \(20, 5\)"),
        (
            "weight_ih",
            np.zeros((16, 0)),
            ShapeError,
            r"\(16, 0\), but should have two axes, .*at least one column",
        ),
        ("bias_ih", np.zeros(15), ShapeError, r"\(15,\), but should have \(16,\)"),
        ("bias_hh", np.zeros((4, 4)), ShapeError, r"\(4, 4\), but should have \(16,\)"),
        ("weight_hh", np.zeros((16, 4), complex), DtypeError, "complex128; convert it to float32 or float64"),
        ("bias_ih", np.zeros(16, "float32"), DtypeError, "float32, but `weight_hh` has float64"),
        ("bias_hh", np.zeros(16).tolist(), DtypeError, r"is a list; convert it"),
    ],
)
def test_weights_that_do_not_fit(name, value, error, message):
    with pytest.raises(error, match=rf"^{name}.*{message}") as caught:
        check_params(changed(name, value))
    assert caught.value.argument == name


@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"])
def test_weights_that_are_not_finite(name):
    array = getattr(PARAMS, name).copy()
    array.flat[7] = np.nan
    index = ", ".join(str(int(i)) for i in np.unravel_index(7, array.shape))
    with pytest.raises(ValueRangeError, match=rf"^{name}\[{index}\] is nan"):
        check_params(changed(name, array))


def test_weights_of_an_unknown_cell():
    with pytest.raises(UnknownNameError, match=r"cell='lstn'.*lstm"):
        check_params(changed("cell", "lstn"))


@pytest.mark.parametrize("value", [None, "lstm", {"weight_ih": 1}])
def test_what_is_no_params(value):
    with pytest.raises(DtypeError, match=r"^params is a \w+; give gatescope\.Params"):
        check_params(value)


def test_weights_on_a_device_are_refused_by_name():
    class OnDevice(np.ndarray):
        def copy_to_host(self):
            return np.asarray(self)

    on_device = dataclasses.replace(PARAMS, **{n: a.view(OnDevice) for n, a in PARAMS.arrays().items()})
    assert check_params(on_device, any_device=True) is CELL
    with pytest.raises(DeviceError, match=r"^params are on the GPU; give params\.to_host\(\)"):
        check_params(on_device)
    with pytest.raises(DeviceError, match=r"^bias_hh is not on the GPU, but weight_ih is"):
        check_params(dataclasses.replace(on_device, bias_hh=PARAMS.bias_hh), any_device=True)


# ---- inputs, states, lengths ----


def test_inputs_that_fit():
    array = np.ones((T, B, I))
    assert check_inputs(array, PARAMS) is array
    assert check_inputs(np.ones((T, I)).tolist(), PARAMS).shape == (T, 1, I)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((), r"should have \(T, B, I\), or \(T, I\) for one sequence"),
        ((5,), "should have"),
        ((5, 1, 2, 1), "should have"),
        ((T, B, 5), "its last axis should be input_size = 2"),
        ((0, B, I), "at least one step and one sequence"),
        ((T, 0, I), "at least one step and one sequence"),
    ],
)
def test_inputs_that_do_not_fit(shape, message):
    with pytest.raises(ShapeError, match=rf"^inputs has shape {re.escape(str(shape))}, but {message}"):
        check_inputs(np.zeros(shape), PARAMS)


@pytest.mark.parametrize("shape", [(B, H), (B, 1, H), (B + 1, 2, H), (B, 2, H + 1), (2, B, H)])
def test_states_that_do_not_fit(shape):
    with pytest.raises(ShapeError, match=rf"^start has shape {re.escape(str(shape))}, .*\({B}, 2, {H}\)"):
        check_initial_state(np.zeros(shape), CELL, PARAMS, B, "start")


def test_states_that_fit():
    assert check_initial_state(None, CELL, PARAMS, B) is None
    assert check_initial_state(np.ones((B, 2, H), "int8"), CELL, PARAMS, B).dtype == np.float64


def test_lengths_that_fit():
    np.testing.assert_array_equal(check_lengths(None, T, B), [T] * B)
    lengths = check_lengths([0, T, np.uint8(2)], T, B)
    assert (lengths.tolist(), lengths.dtype) == ([0, T, 2], np.int64)


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([6, -1, 2], ValueRangeError, r"^lengths\[1\] is -1, but should lie in 0\.\.6"),
        ([6, 6, 10**12], ValueRangeError, r"^lengths\[2\] is 1000000000000"),
        ([6, 6], ShapeError, r"\(2,\), but should have \(3,\)"),
        ([[6, 6, 6]], ShapeError, r"\(1, 3\)"),
        (6, ShapeError, r"\(\)"),
        ([6] * T, ShapeError, r"time-major.*are these \(B, T, I\)\?"),
        ([6.0, 6.0, 2.5], DtypeError, "float64; give whole numbers of steps"),
        (["a", "b", "c"], DtypeError, "<U1"),
        ([[6], [6, 6], 6], ShapeError, "not a rectangular array"),
        (np.ma.masked_array([6, 5, 4], mask=[False, True, False]), ValueRangeError, "1 masked elements"),
    ],
)
def test_lengths_that_do_not_fit(lengths, error, message):
    with pytest.raises(error, match=rf"(?s){message}"):
        check_lengths(lengths, T, B)


# ---- traces, stacks, batches ----


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"cell": "gru"}, ShapeError, r"^trace was made by a 'gru' cell, but `params` are of a 'lstm'"),
        ({"inputs": np.zeros(T)}, ShapeError, r"^trace\.inputs has shape \(6,\)"),
        ({"inputs": np.zeros((T, B, 3))}, ShapeError, r"^trace\.inputs .*of these params"),
        (
            {"states": np.zeros((T, B, 2, H))},
            ShapeError,
            r"^trace\.states .*\(T\+1, B, S, H\) of these params",
        ),
        ({"gates": np.zeros((T, B, 4, 5))}, ShapeError, r"^trace\.gates"),
        ({"gates": np.zeros((T, B, 4, H), "float32")}, DtypeError, r"^trace\.gates .* `params` have float64"),
        ({"states": TRACE.states.astype(">f8")}, DtypeError, r"^trace\.states .*byte order"),
        ({"lengths": [T] * B}, DtypeError, r"^trace\.lengths is a list"),
        ({"lengths": np.array([6, 7, 6])}, ValueRangeError, r"^trace\.lengths\[1\] is 7"),
    ],
)
def test_traces_of_other_weights(fields, error, message):
    check_trace(TRACE, PARAMS, CELL)
    with pytest.raises(error, match=message):
        check_trace(dataclasses.replace(TRACE, **fields), PARAMS, CELL)


def test_what_is_no_trace():
    with pytest.raises(
        DtypeError, match=r"^trace is a SimpleNamespace; give a Trace, as gatescope.run returns it"
    ):
        check_trace(SimpleNamespace(cell="lstm"), PARAMS, CELL)


def test_inputs_of_fewer_steps_than_sequences_are_asked_about():
    """PyTorch's batch_first has (B, T, I): 32 sequences of 500 steps, taken for 32 steps of 500 sequences."""
    params = gs.init("rnn", input_size=3, hidden_size=2, seed=0)
    inputs = np.zeros((32, 500, 3))
    question = r"inputs \(T, B, I\) have T = 32 steps of B = 500 sequences; if they are \(B, T, I\), give inputs\.swap"
    with pytest.warns(InputWarning, match=question):
        gs.run(params, inputs)
    with pytest.warns(InputWarning, match=question):
        gs.gradient_flow(params, inputs)
    with pytest.warns(InputWarning, match=question):
        gs.Batch(inputs=inputs, targets=np.zeros((32, 500, 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gs.run(params, inputs.swapaxes(0, 1))
        gs.run(params, inputs, lengths=[32] * 500)
        gs.Batch(inputs=inputs, targets=np.zeros((500, 1)))  # the targets say how many sequences there are
        gs.Batch(inputs=inputs, targets=np.zeros((32, 500, 1)), lengths=np.full(500, 32))
        gs.tasks.adding(steps=20, sequences=100, seed=0)


def test_models_and_data():
    with pytest.raises(DtypeError, match=r"^stack is a Params; give a Stack, such as init_stack"):
        check_stack(PARAMS)
    with pytest.raises(DtypeError, match=r"^batch is a list; give a Batch of your arrays"):
        check_batch([1.0])
    with pytest.raises(DtypeError, match=r"^data is a Params; give a Batch, as the makers"):
        check_batch(PARAMS, "data")
    batch = gs.Batch(inputs=np.zeros((T, B, I)), targets=np.zeros((B, 1)))
    assert check_batch(batch) is batch
    with pytest.raises(
        DtypeError, match=r"inputs is a Batch; give its arrays: batch\.inputs, and batch\.lengths"
    ):
        check_inputs(batch, PARAMS)


def test_a_layer_of_two_directions_is_answered_with_these():
    layer = gs.Bidirectional(forward=PARAMS, backward=dataclasses.replace(PARAMS, reverse=True))
    with pytest.raises(DtypeError, match=r"take one of its directions: layer\.forward or layer\.backward"):
        check_params(layer)


def test_a_model_whose_arrays_have_become_others_is_refused():
    stack = gs.init_stack("gru", input_size=2, hidden_size=3, heads=[gs.Head("y", 1)], seed=0)
    object.__setattr__(stack, "readout_bias", np.ma.masked_array([1.0], [True]))
    with pytest.raises(DtypeError, match=r"^model\.readout_bias is a .*; give the result as it was returned"):
        check_stack(stack, "model")
