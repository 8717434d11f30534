"""Bad input: each gets a GatescopeError that names the argument, what was seen, and what to do."""

import dataclasses
import re

import numpy as np
import pytest
from helpers.cases import Case

import gatescope as gs
from gatescope.errors import (
    DeviceError,
    DtypeError,
    GatescopeError,
    ShapeError,
    UnknownNameError,
    ValueRangeError,
)

T, B, I, H = 6, 3, 2, 4


@pytest.fixture
def case():
    return Case("lstm", T=T, B=B, I=I, H=H)


@pytest.fixture
def trace(case):
    return case.run()


def zeros(*shape):
    return np.zeros(shape)


# ---- run: each argument is checked, and by the shared checks, whose own tests are in tests/checks ----


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("inputs", zeros(5), ShapeError),
        ("inputs", zeros(T, B, 5), ShapeError),
        ("inputs", zeros(T, B, I).astype(complex), DtypeError),
        ("inputs", [[[1.0, 2.0]], [[1.0]]], ShapeError),
        ("inputs", np.full((T, B, I), np.nan), ValueRangeError),
        ("inputs", np.ma.masked_all((T, B, I)), ValueRangeError),
        ("initial_state", zeros(B, H), ShapeError),
        ("initial_state", np.full((B, 2, H), np.inf), ValueRangeError),
        ("lengths", [6, 7, 2], ValueRangeError),
        ("lengths", [6.0, 6.0, 2.5], DtypeError),
        ("params", None, DtypeError),
        ("params", {"weight_ih": 1}, DtypeError),
    ],
)
def test_arguments_of_run(case, name, value, error):
    arguments = {"params": case.params, "inputs": case.inputs, name: value}
    with pytest.raises(error, match=rf"(?s)^{name}"):
        gs.run(**arguments)


@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"])
def test_weights_of_run(case, name):
    array = getattr(case.params, name)
    for value in (array * np.nan, array[1:], array.astype(complex), array.tolist()):
        with pytest.raises(GatescopeError, match=rf"{name}"):
            gs.run(dataclasses.replace(case.params, **{name: value}), case.inputs)


def test_weights_that_are_all_of_another_byte_order(case):
    arrays = {name: a.astype(a.dtype.newbyteorder()) for name, a in case.params.arrays().items()}
    with pytest.raises(DtypeError, match=r"has dtype [<>]f8, whose byte order"):
        gs.run(dataclasses.replace(case.params, **arrays), case.inputs)


def test_masked_arrays_without_a_masked_element(case):
    masked = np.ma.masked_array(case.inputs, mask=False)
    np.testing.assert_array_equal(gs.run(case.params, masked).inputs, case.inputs)


@pytest.mark.parametrize("device", ["gpu0", "", "cuda:1", 3])
def test_unknown_device(case, device):
    with pytest.raises((UnknownNameError, DeviceError), match=rf"(?s)device={device!r}.*cpu"):
        case.run(device=device)


def test_bad_threads(case):
    with pytest.raises(ValueRangeError, match=r"threads=0"):
        case.run(threads=0)


# ---- init ----


def test_unknown_cell():
    with pytest.raises(UnknownNameError, match=r"(?s)cell='ntm'.*gru"):
        gs.init("ntm", input_size=1, hidden_size=2)


def test_unknown_scheme():
    with pytest.raises(UnknownNameError, match=r"(?s)scheme='xavier2'.*pytorch"):
        gs.init("gru", input_size=1, hidden_size=2, scheme="xavier2")


@pytest.mark.parametrize("name", ["input_size", "hidden_size"])
def test_bad_sizes(name):
    sizes = {"input_size": 1, "hidden_size": 2, name: 0}
    with pytest.raises(ValueRangeError, match=rf"{name}=0"):
        gs.init("gru", **sizes)


@pytest.mark.parametrize("name", ["gain", "t_max"])
def test_bad_constants(name):
    with pytest.raises(ValueRangeError, match=rf"{name}=-1 must be a finite number"):
        gs.init("gru", input_size=1, hidden_size=2, **{name: -1})


@pytest.mark.parametrize("value", [3, 3.0, np.float32(3), np.int64(3)])
def test_constants_of_any_real_type(value):
    params = gs.init("gru", input_size=1, hidden_size=2, scheme="gaussian", gain=value)
    assert params == gs.init("gru", input_size=1, hidden_size=2, scheme="gaussian(3)")


@pytest.mark.parametrize("dtype", ["float16", "complex64", "int32", "bogus"])
def test_bad_dtype(dtype):
    with pytest.raises(DtypeError, match=rf"(?s)dtype.*{dtype}.*float32"):
        gs.init("gru", input_size=1, hidden_size=2, dtype=dtype)


# ---- backprop ----


@pytest.mark.parametrize("shape", [(T, B), (T + 1, B, H), (T, B, H + 1), (T, B + 1, H), (B, T, H)])
def test_output_adjoint_of_wrong_shape(case, trace, shape):
    with pytest.raises(
        ShapeError, match=rf"^output_adjoint has shape {re.escape(str(shape))}, .*\(6, 3, 4\)"
    ):
        gs.backprop(case.params, trace, output_adjoint=zeros(*shape))


@pytest.mark.parametrize("name", ["output_adjoint", "final_adjoint"])
def test_adjoints_that_are_no_finite_real_numbers(case, trace, name):
    good = getattr(case, name)
    with pytest.raises(DtypeError, match=rf"^{name}.*complex128"):
        gs.backprop(case.params, trace, **{name: good.astype(complex)})
    good[2, 1, 3 if name == "output_adjoint" else 0] = np.inf
    with pytest.raises(ValueRangeError, match=rf"^{name}.*inf"):
        case.backprop(trace)


def test_final_adjoint_of_wrong_shape(case, trace):
    with pytest.raises(ShapeError, match=rf"^final_adjoint has shape {re.escape(str((B, H)))}"):
        gs.backprop(case.params, trace, final_adjoint=zeros(B, H))


def test_a_trace_of_other_weights(case, trace):
    for other in (Case("gru", T=T, B=B, I=I, H=H), Case("lstm", T=T, B=B, I=I, H=H + 1)):
        with pytest.raises(ShapeError, match=r"^trace"):
            gs.backprop(other.params, trace, output_adjoint=other.output_adjoint)


# ---- gradient_flow ----


@pytest.mark.parametrize("source_step", [0, T + 1, -T - 1, 10**9])
def test_source_step_out_of_range(case, source_step):
    with pytest.raises(ValueRangeError, match=rf"(?s)source_step={source_step}\b"):
        gs.gradient_flow(case.params, case.inputs, source_step=source_step)


@pytest.mark.parametrize("argument", ["wrt", "of"])
def test_unknown_state(argument):
    case = Case("gru", T=T, B=B, I=I, H=H)
    with pytest.raises(UnknownNameError, match=rf"(?s){argument}='c'.*'h'"):
        gs.gradient_flow(case.params, case.inputs, **{argument: "c"})


def test_unknown_norm(case):
    with pytest.raises(UnknownNameError, match=r"(?s)norm='frobenius'.*spectral"):
        gs.gradient_flow(case.params, case.inputs, norm="frobenius")


@pytest.mark.parametrize("unit", [H, -H - 1, 99])
def test_unit_out_of_range(case, unit):
    with pytest.raises(ValueRangeError, match=rf"(?s)unit={unit}\b"):
        gs.gradient_flow(case.params, case.inputs, norm="unit", unit=unit)


@pytest.mark.parametrize("horizon", [-1, T + 1, 2.5])
def test_bad_horizon(case, horizon):
    with pytest.raises(GatescopeError, match=rf"(?s)max_lag={horizon}"):
        gs.gradient_flow(case.params, case.inputs, max_lag=horizon)


@pytest.mark.parametrize("lags", [[-1, 2], [0, T + 1], [], [[0, 1]], [0.5, 1.0]])
def test_bad_lags(case, lags):
    with pytest.raises(GatescopeError, match="lags"):
        gs.gradient_flow(case.params, case.inputs, lags=lags)


def test_gradient_flow_checks_inputs_too(case):
    case.inputs[3, 0, 1] = np.nan
    with pytest.raises(ValueRangeError, match=r"(?is)inputs.*nan"):
        gs.gradient_flow(case.params, case.inputs)


@pytest.mark.parametrize("window", [3, ("a", "b"), "ab", (1,), (1, 2, 3), (0.5, 3), (True, 3), {0, 3}])
def test_bad_window(case, window):
    flow = gs.gradient_flow(case.params, case.inputs)
    for fit in (flow.decay_rate, flow.half_life):
        with pytest.raises(
            ValueRangeError, match=rf"fit_range={re.escape(repr(window))} .*two whole numbers"
        ):
            fit(fit_range=window)


def test_window_that_ends_before_it_begins(case):
    flow = gs.gradient_flow(case.params, case.inputs)
    with pytest.raises(ValueRangeError, match=r"fit_range=\(5, 2\) ends before it begins"):
        flow.decay_rate((5, 2))
    for window in ([2, 5], np.array([2, 5])):
        assert flow.decay_rate(window) == flow.decay_rate((2, 5))
        assert flow.decay_rate(window).fit_range == (2, 5)


# ---- what all of them share ----


def test_errors_are_ordinary_exceptions_too():
    """Code that catches ValueError, TypeError or KeyError keeps working."""
    assert issubclass(ShapeError, ValueError)
    assert issubclass(DtypeError, TypeError)
    assert issubclass(UnknownNameError, KeyError)
    assert all(
        issubclass(kind, GatescopeError) for kind in (ShapeError, DtypeError, UnknownNameError, DeviceError)
    )


def test_unknown_gate_and_state_of_a_trace(trace):
    with pytest.raises(UnknownNameError, match=r"(?s)'r'.*lstm.*'f'"):
        trace.gate("r")
    with pytest.raises(UnknownNameError, match=r"(?s)'m'.*lstm.*'c'"):
        trace.state("m")
