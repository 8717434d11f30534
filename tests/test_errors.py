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


# ---- inputs ----


@pytest.mark.parametrize(
    ("shape", "seen"),
    [((), r"\(\)"), ((5,), r"\(5,\)"), ((5, 1, 2, 1), r"\(5, 1, 2, 1\)")],
)
def test_inputs_of_wrong_rank(case, shape, seen):
    with pytest.raises(ShapeError, match=rf"(?s)inputs.*{seen}"):
        gs.run(case.params, zeros(*shape))


def test_inputs_of_wrong_size(case):
    with pytest.raises(ShapeError, match=r"(?s)inputs.*\(6, 3, 5\).*2"):
        gs.run(case.params, zeros(T, B, 5))


def test_no_steps(case):
    with pytest.raises((ValueRangeError, ShapeError), match=r"(?s)inputs.*\(0, 3, 2\)"):
        gs.run(case.params, zeros(0, B, I))


def test_no_sequences(case):
    with pytest.raises((ValueRangeError, ShapeError), match=r"(?s)inputs.*\(6, 0, 2\)"):
        gs.run(case.params, zeros(T, 0, I))


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        (np.zeros((T, B, I), complex), "complex128"),
        (np.full((T, B, I), "a"), "<U1"),
        (np.full((T, B, I), None), "object"),
        (np.zeros((T, B, I), "datetime64[s]"), "datetime64"),
    ],
)
def test_inputs_of_wrong_dtype(case, values, seen):
    with pytest.raises(DtypeError, match=rf"(?s)inputs.*{seen}"):
        gs.run(case.params, values)


def test_ragged_inputs(case):
    with pytest.raises(GatescopeError, match="inputs"):
        gs.run(case.params, [[[1.0, 2.0]], [[1.0]]])


@pytest.mark.parametrize("error", [TypeError, RuntimeError])
def test_arrays_of_other_libraries_that_numpy_cannot_read(case, error):
    class Tensor:  # as PyTorch's and CuPy's on a GPU, or with gradients
        def __array__(self, dtype=None, copy=None):
            raise error("can't convert a tensor on cuda:0\nto numpy")

    message = r"inputs is a Tensor that NumPy cannot read \(can't convert .* to numpy\); give a list or a NumPy array"
    for work in (gs.run, gs.gradient_flow):
        with pytest.raises(DtypeError, match=message):
            work(case.params, Tensor())


def test_masked_values_are_not_read_as_if_they_were_none(case):
    masked = np.ma.masked_array(case.inputs, mask=False)
    np.testing.assert_array_equal(gs.run(case.params, masked).inputs, case.inputs)
    masked[4, 1, 0] = masked[5, 1, 0] = np.ma.masked
    for inputs in (masked, list(masked)):
        with pytest.raises(ValueRangeError, match=r"inputs has 2 masked elements; fill them.*lengths"):
            gs.run(case.params, inputs)
    with pytest.raises(ValueRangeError, match=r"lengths has 1 masked elements"):
        case.run(np.ma.masked_array([6, 5, 4], mask=[False, True, False]))
    with pytest.raises(ValueRangeError, match=r"initial_state has 24 masked elements"):
        gs.run(case.params, case.inputs, initial_state=np.ma.masked_all((B, 2, H)))


@pytest.mark.parametrize(("value", "word"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "inf")])
def test_inputs_that_are_not_finite(case, value, word):
    case.inputs[4, 1, 0] = value
    case.inputs[5, 2, 1] = np.nan  # a later one: the first is told
    with pytest.raises(ValueRangeError, match=rf"(?is)inputs.*{word}") as error:
        case.run()
    assert "4, 1, 0" in str(error.value)


def test_inputs_that_do_not_fit_float32():
    case = Case("rnn", T=T, B=B, I=I, H=H, dtype="float32")
    inputs = case.inputs.astype(np.float64)
    inputs[2, 0, 1] = 1e300
    with np.errstate(over="ignore"), pytest.raises(ValueRangeError, match="inputs"):
        gs.run(case.params, inputs)


# ---- params ----


@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(case, name, value):
    getattr(case.params, name).flat[7] = value
    with pytest.raises(ValueRangeError, match=rf"(?is){name}.*{value}") as error:
        case.run()
    index = np.unravel_index(7, getattr(case.params, name).shape)
    assert ", ".join(str(int(i)) for i in index) in str(error.value)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("weight_ih", (16, 3, 1)),
        ("weight_hh", (15, 4)),
        ("weight_hh", (16, 5)),
        ("bias_ih", (15,)),
        ("bias_hh", (4, 4)),
    ],
)
def test_weights_of_wrong_shape(case, name, shape):
    params = dataclasses.replace(case.params, **{name: zeros(*shape)})
    with pytest.raises(ShapeError, match=rf"(?s){name}") as error:
        gs.run(params, case.inputs)
    assert str(shape) in str(error.value)


def test_weights_of_wrong_dtype(case):
    params = dataclasses.replace(case.params, weight_hh=case.params.weight_hh.astype(complex))
    with pytest.raises(DtypeError, match=r"(?s)weight_hh.*complex128"):
        gs.run(params, case.inputs)


@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"])
def test_weights_that_the_kernels_cannot_read(case, name):
    value = getattr(case.params, name)
    for other, message in (
        (value.astype(value.dtype.newbyteorder()), r"byte order.*\.astype\('float64'\)"),
        (value.tolist(), r"is a list; convert it with numpy\.asarray"),
        (np.ma.masked_array(value), r"is a MaskedArray; convert it with \.filled"),
    ):
        with pytest.raises(DtypeError, match=rf"{name} .*{message}"):
            gs.run(dataclasses.replace(case.params, **{name: other}), case.inputs)


def test_weights_that_are_all_of_another_byte_order(case):
    arrays = {name: a.astype(a.dtype.newbyteorder()) for name, a in case.params.arrays().items()}
    with pytest.raises(DtypeError, match=r"has dtype [<>]f8, whose byte order"):
        gs.run(dataclasses.replace(case.params, **arrays), case.inputs)


def test_params_of_an_unknown_cell(case):
    params = dataclasses.replace(case.params, cell="lstn")
    with pytest.raises(UnknownNameError, match=r"(?s)cell='lstn'.*lstm"):
        gs.run(params, case.inputs)


@pytest.mark.parametrize("params", [None, "lstm", {"weight_ih": 1}])
def test_params_that_are_no_params(case, params):
    with pytest.raises(GatescopeError, match=r"(?s)params.*Params"):
        gs.run(params, case.inputs)


# ---- initial_state, lengths, device, threads ----


@pytest.mark.parametrize("shape", [(B, H), (B, 1, H), (B + 1, 2, H), (B, 2, H + 1), (2, B, H)])
def test_initial_state_of_wrong_shape(case, shape):
    with pytest.raises(ShapeError, match=r"(?s)initial_state") as error:
        gs.run(case.params, case.inputs, initial_state=zeros(*shape))
    assert str(shape) in str(error.value)
    assert str((B, 2, H)) in str(error.value)


def test_initial_state_that_is_not_finite(case):
    case.initial_state[2, 1, 3] = np.nan
    with pytest.raises(ValueRangeError, match=r"(?is)initial_state.*nan") as error:
        case.run()
    assert "2, 1, 3" in str(error.value)


@pytest.mark.parametrize(
    ("lengths", "seen"),
    [([6, -1, 2], "-1"), ([6, 7, 2], "7"), ([6, 6, 10**12], str(10**12))],
)
def test_lengths_out_of_range(case, lengths, seen):
    with pytest.raises(ValueRangeError, match=rf"(?s)lengths.*{seen}"):
        case.run(lengths)


@pytest.mark.parametrize("lengths", [[6, 6], [6, 6, 6, 6], [[6, 6, 6]], 6])
def test_lengths_of_wrong_shape(case, lengths):
    with pytest.raises(ShapeError, match=r"(?s)lengths") as error:
        case.run(lengths)
    assert str(np.shape(lengths)) in str(error.value)


@pytest.mark.parametrize("lengths", [[6.0, 6.0, 2.5], ["a", "b", "c"], [6, 6, np.nan]])
def test_lengths_of_wrong_dtype(case, lengths):
    with pytest.raises((DtypeError, ValueRangeError), match="lengths"):
        case.run(lengths)


@pytest.mark.parametrize("lengths", [[[6], [6, 6], 6], [6, [6], 6]])
def test_ragged_lengths(case, lengths):
    with pytest.raises(ShapeError, match=r"lengths is not a rectangular array"):
        case.run(lengths)


@pytest.mark.parametrize("device", ["gpu0", "", "cuda:1", 3])
def test_unknown_device(case, device):
    with pytest.raises((UnknownNameError, DeviceError), match=rf"(?s)device={device!r}.*cpu"):
        case.run(device=device)


@pytest.mark.parametrize("threads", [0, -2, 1.5, "two"])
def test_bad_threads(case, threads):
    with pytest.raises(GatescopeError, match=rf"(?s)threads={threads!r}"):
        case.run(threads=threads)


# ---- init ----


def test_unknown_cell():
    with pytest.raises(UnknownNameError, match=r"(?s)cell='mgu'.*gru"):
        gs.init("mgu", input_size=1, hidden_size=2)


def test_unknown_scheme():
    with pytest.raises(UnknownNameError, match=r"(?s)scheme='xavier2'.*pytorch"):
        gs.init("gru", input_size=1, hidden_size=2, scheme="xavier2")


@pytest.mark.parametrize("name", ["input_size", "hidden_size"])
@pytest.mark.parametrize("value", [0, -3, 2.5, "8"])
def test_bad_sizes(name, value):
    sizes = {"input_size": 1, "hidden_size": 2, name: value}
    with pytest.raises(GatescopeError, match=rf"(?s){name}={value!r}"):
        gs.init("gru", **sizes)


@pytest.mark.parametrize("name", ["gain", "t_max"])
@pytest.mark.parametrize("value", ["a", "1.5", None, True, -1, 1j, [2.0], np.nan, np.inf, 10**400])
def test_bad_constants(name, value):
    with pytest.raises(ValueRangeError, match=rf"{name}={re.escape(repr(value))} must be a finite number"):
        gs.init("gru", input_size=1, hidden_size=2, **{name: value})


@pytest.mark.parametrize("value", [3, 3.0, np.float32(3), np.int64(3)])
def test_constants_of_any_real_type(value):
    found = gs.init("gru", input_size=1, hidden_size=2, scheme="gaussian", gain=value)
    assert found == gs.init("gru", input_size=1, hidden_size=2, scheme="gaussian(3)")


@pytest.mark.parametrize("dtype", ["float16", "complex64", "int32", "bogus"])
def test_bad_dtype(dtype):
    with pytest.raises(DtypeError, match=rf"(?s)dtype.*{dtype}.*float32"):
        gs.init("gru", input_size=1, hidden_size=2, dtype=dtype)


def test_bad_nonlinearity():
    with pytest.raises(GatescopeError, match=r"(?s)nonlinearity='sine'.*tanh"):
        gs.init("rnn", input_size=1, hidden_size=2, nonlinearity="sine")


# ---- backprop ----


@pytest.mark.parametrize("shape", [(T, B), (T + 1, B, H), (T, B, H + 1), (T, B + 1, H), (B, T, H)])
def test_output_adjoint_of_wrong_shape(case, trace, shape):
    with pytest.raises(ShapeError, match=r"(?s)output_adjoint") as error:
        gs.backprop(case.params, trace, output_adjoint=zeros(*shape))
    assert str(shape) in str(error.value)
    assert str((T, B, H)) in str(error.value)


@pytest.mark.parametrize("shape", [(B, H), (B, 1, H), (B + 1, 2, H)])
def test_final_adjoint_of_wrong_shape(case, trace, shape):
    with pytest.raises(ShapeError, match=r"(?s)final_adjoint") as error:
        gs.backprop(case.params, trace, final_adjoint=zeros(*shape))
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("name", ["output_adjoint", "final_adjoint"])
def test_adjoints_that_are_not_finite(case, trace, name):
    getattr(case, name)[2, 1, 3 if name == "output_adjoint" else 0] = np.inf
    with pytest.raises(ValueRangeError, match=rf"(?is){name}.*inf"):
        case.backprop(trace)


def test_output_adjoint_of_wrong_dtype(case, trace):
    with pytest.raises(DtypeError, match=r"(?s)output_adjoint.*complex128"):
        gs.backprop(case.params, trace, output_adjoint=case.output_adjoint.astype(complex))


def test_trace_of_another_cell(case, trace):
    other = Case("gru", T=T, B=B, I=I, H=H)
    with pytest.raises(GatescopeError, match=r"(?s)trace.*lstm.*gru|(?s:trace.*gru.*lstm)"):
        gs.backprop(other.params, trace, output_adjoint=other.output_adjoint)


def test_trace_of_another_size(case, trace):
    other = Case("lstm", T=T, B=B, I=I, H=H + 1)
    with pytest.raises(ShapeError, match=r"(?s)trace"):
        gs.backprop(other.params, trace, output_adjoint=other.output_adjoint)


@pytest.mark.parametrize("name", ["inputs", "states", "gates", "lengths"])
def test_trace_arrays_that_the_kernels_cannot_read(case, trace, name):
    value = getattr(trace, name)
    for other, message in (
        (value.astype(value.dtype.newbyteorder()), r"byte order"),
        (value.tolist(), r"is a list"),
    ):
        with pytest.raises(DtypeError, match=rf"trace\.{name} .*{message}"):
            gs.backprop(
                case.params, dataclasses.replace(trace, **{name: other}), output_adjoint=case.output_adjoint
            )


def test_trace_of_wrong_rank_or_lengths(case, trace):
    with pytest.raises(ShapeError, match=r"trace\.inputs has shape \(6,\)"):
        gs.backprop(
            case.params, dataclasses.replace(trace, inputs=np.zeros(T)), output_adjoint=case.output_adjoint
        )
    with pytest.raises(ValueRangeError, match=r"trace\.lengths\[1\] is 7"):
        gs.backprop(
            case.params,
            dataclasses.replace(trace, lengths=np.array([6, 7, 6])),
            output_adjoint=case.output_adjoint,
        )


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
