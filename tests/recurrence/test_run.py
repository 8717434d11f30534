"""run and backprop against the slow oracle, and what must be exact: padding, threads, repeats.

Errors are relative to the largest absolute value of each array (`cases.relative_error`).
"""

import naive
import numpy as np
import pytest
from helpers.cases import BUILT_IN, PARAMS, Case, assert_close, by_turns, flat
from hypothesis import given, settings
from hypothesis import strategies as st

import gatescope as gs

# A few tens of float64 roundings forward, the sums of two sweeps backward; the sequences here are short.
FORWARD = 1e-13
BACKWARD = 1e-12
# As in test_golden.py: 16 and 64 roundings of 6e-8.
FORWARD32 = 16 * 2.0**-24
BACKWARD32 = 64 * 2.0**-24

# On cases that compile another kernel, seconds each, for what a faster case shows too.
SLOW = pytest.mark.slow
# What the loops themselves do differs for a cell of two states, one whose two products have adjoints of their own, and
# one of two phases.
OTHERS = ("gru", "gru_reset_before")
KINDS = ("lstm", *(pytest.param(cell, marks=SLOW) for cell in OTHERS))
# Hidden sizes on and off the widths of SIMD registers.
LANES = (1, 3, 15, 16, 17, 33)


def compare(case, lengths=None, forward=FORWARD, backward=BACKWARD, **keywords):
    """Run and differentiate one case, and hold every array of both results against the oracle."""
    trace = case.run(lengths, **keywords)
    states, gates = naive.forward(case.cell, case.params, case.inputs, case.initial_state, lengths)
    assert trace.states.dtype == case.params.dtype
    assert trace.gates.dtype == case.params.dtype
    assert_close(trace.states, states, forward, "states")
    for name, gate in gates.items():
        assert_close(trace.gate(name), gate, forward, f"gate {name}")
    grads = case.backprop(trace, **keywords)
    expected = naive.backward(
        case.cell,
        case.params,
        case.inputs,
        case.output_adjoint,
        case.final_adjoint,
        case.initial_state,
        lengths,
    )
    actual = flat(grads)
    assert set(actual) == set(expected)
    for name, value in expected.items():
        assert actual[name].dtype == case.params.dtype
        assert_close(actual[name], value, backward, name)
    return trace, grads


def assert_identical(first, second):
    """Every array of two results, bit for bit."""
    first, second = (flat(r) if isinstance(r, gs.Gradients) else r.arrays() for r in (first, second))
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


# ---- shapes ----


@pytest.mark.parametrize(
    ("cell", "H"),
    [
        *(pytest.param("lstm", H, marks=[SLOW] * (H in (3, 15, 33))) for H in LANES),
        pytest.param("gru", 17, marks=SLOW),
    ],
)
def test_hidden_sizes(cell, H):
    compare(Case(cell, T=9, B=3, I=2, H=H))


# 37 and 74 sequences are worked on in several blocks, which threads share.
@pytest.mark.parametrize(("cell", "B"), by_turns([1, 2, 3, 5, 7, 37, 74], *OTHERS, slow=[5]))
def test_batch_sizes(cell, B):
    compare(Case(cell, T=6, B=B, I=3, H=5))
    lengths = np.arange(B) % 7
    compare(Case(cell, T=6, B=B, I=3, H=5), lengths)


@pytest.mark.parametrize(
    ("cell", "shape"),
    [
        *(
            ("lstm", shape)
            for shape in [(1, 1, 1, 1), (1, 3, 2, 5), (5, 1, 1, 17), (3, 3, 9, 1), (40, 1, 5, 4)]
        ),
        pytest.param("gru", (1, 1, 1, 1), marks=SLOW),
        pytest.param("gru_reset_before", (3, 3, 9, 1), marks=SLOW),
    ],
)
def test_odd_shapes(cell, shape):
    T, B, I, H = shape
    compare(Case(cell, T=T, B=B, I=I, H=H))


@pytest.mark.parametrize("cell", BUILT_IN)
def test_more_steps_than_one_segment(cell):
    # Long enough for the kernels to work in several segments of time, whatever their length is.
    compare(Case(cell, T=700, B=3, I=2, H=4))


@pytest.mark.parametrize("cell", KINDS)
def test_large_layers(cell):
    # Large enough to leave the register-tile kernels for matrix products, where there are such.
    compare(Case(cell, T=4, B=7, I=11, H=130))


@pytest.mark.parametrize(
    ("cell", "H"),
    [
        ("lstm", 5),
        pytest.param("gru_reset_before", 5, marks=SLOW),  # test_golden.py has the other cells, and more units
    ],
)
def test_float32(cell, H):
    compare(Case(cell, T=30, B=3, I=2, H=H, dtype="float32"), forward=FORWARD32, backward=BACKWARD32)


@pytest.mark.slow
@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    cell=st.sampled_from(("lstm", *OTHERS)),
    T=st.integers(1, 12),
    size=st.sampled_from([(1, 5), (3, 5), (7, 5), (1, 16), (7, 16), (37, 17)]),  # of other tests' kernels
    I=st.integers(1, 5),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_any_shape(cell, T, size, I, seed, data):
    B, H = size
    lengths = data.draw(st.none() | st.lists(st.integers(0, T), min_size=B, max_size=B))
    compare(
        Case(cell, T=T, B=B, I=I, H=H, seed=seed), lengths, threads=data.draw(st.sampled_from([None, 1, 2]))
    )


@pytest.mark.parametrize("cell", BUILT_IN)
def test_one_sequence_without_a_batch_axis(cell):
    case = Case(cell, B=1)
    trace = gs.run(case.params, case.inputs[:, 0], initial_state=case.initial_state)
    assert trace.inputs.shape == case.inputs.shape
    assert_identical(trace, case.run())


@pytest.mark.parametrize("cell", BUILT_IN)
def test_inputs_that_are_not_contiguous(cell):
    case = Case(cell, T=8, B=3, I=2, H=5)
    expected = case.run()
    wide = np.repeat(case.inputs, 2, axis=2)[:, :, ::2]
    turned = np.ascontiguousarray(case.inputs.transpose(1, 0, 2)).transpose(1, 0, 2)
    backwards = np.ascontiguousarray(case.inputs[::-1])[::-1]
    assert not any(array.flags.c_contiguous for array in (wide, turned, backwards))
    for inputs in (wide, turned, backwards):
        state = np.asfortranarray(case.initial_state)
        trace = gs.run(case.params, inputs, initial_state=state)
        assert_identical(trace, expected)
        case.output_adjoint, case.final_adjoint = map(
            np.asfortranarray, (case.output_adjoint, case.final_adjoint)
        )
        assert_identical(case.backprop(trace), case.backprop(expected))


def test_results_are_contiguous_and_in_the_shapes_of_the_contract():
    case = Case("lstm", T=7, B=2, I=3, H=5)
    trace = case.run()
    grads = case.backprop(trace)
    assert trace.states.shape == (8, 2, 2, 5)
    assert trace.gates.shape == (7, 2, 4, 5)
    assert trace.outputs.shape == (7, 2, 5)
    assert trace.c.shape == (8, 2, 5)
    assert (trace.state_names, trace.gate_names) == (("h", "c"), ("i", "f", "g", "o"))
    np.testing.assert_array_equal(trace.lengths, [7, 7])
    np.testing.assert_array_equal(trace.states[0], case.initial_state)
    for name, array in (trace.arrays() | flat(grads)).items():
        assert array.flags.c_contiguous, name
    for name in PARAMS:
        assert getattr(grads.params, name).shape == getattr(case.params, name).shape


# ---- initial state and adjoints ----


@pytest.mark.parametrize("cell", BUILT_IN)
def test_left_out_arguments_are_zeros(cell):
    case = Case(cell)
    trace = gs.run(case.params, case.inputs)
    assert_identical(trace, gs.run(case.params, case.inputs, initial_state=np.zeros_like(case.initial_state)))
    zeros_out, zeros_end = np.zeros_like(case.output_adjoint), np.zeros_like(case.final_adjoint)
    assert_identical(
        gs.backprop(case.params, trace, output_adjoint=case.output_adjoint),
        gs.backprop(case.params, trace, output_adjoint=case.output_adjoint, final_adjoint=zeros_end),
    )
    assert_identical(
        gs.backprop(case.params, trace, final_adjoint=case.final_adjoint),
        gs.backprop(case.params, trace, output_adjoint=zeros_out, final_adjoint=case.final_adjoint),
    )


@pytest.mark.parametrize("cell", BUILT_IN)
def test_two_halves_make_the_whole(cell):
    """Final states go in as initial states, and their gradients come out as final adjoints."""
    whole = Case(cell, T=20, B=3, I=2, H=5)
    cut = 13
    trace = whole.run()
    grads = whole.backprop(trace)
    first = gs.run(whole.params, whole.inputs[:cut], initial_state=whole.initial_state)
    second = gs.run(whole.params, whole.inputs[cut:], initial_state=first.final_state)
    np.testing.assert_array_equal(np.concatenate([first.outputs, second.outputs]), trace.outputs)
    late = gs.backprop(
        whole.params, second, output_adjoint=whole.output_adjoint[cut:], final_adjoint=whole.final_adjoint
    )
    early = gs.backprop(
        whole.params, first, output_adjoint=whole.output_adjoint[:cut], final_adjoint=late.initial_state
    )
    assert_close(early.initial_state, grads.initial_state, BACKWARD, "initial_state")
    assert_close(np.concatenate([early.inputs, late.inputs]), grads.inputs, BACKWARD, "inputs")
    for name in PARAMS:
        total = getattr(early.params, name) + getattr(late.params, name)
        assert_close(total, getattr(grads.params, name), BACKWARD, name)


@pytest.mark.parametrize("cell", BUILT_IN)
def test_adjoint_is_the_gradient_of_each_state(cell):
    """adjoint[t] is what restarting at state t would give, plus the output adjoint of step t itself."""
    case = Case(cell, T=10, B=3, I=2, H=5)
    trace = case.run()
    grads = case.backprop(trace)
    t = 6
    rest = gs.run(case.params, case.inputs[t:], initial_state=trace.states[t])
    restarted = gs.backprop(
        case.params, rest, output_adjoint=case.output_adjoint[t:], final_adjoint=case.final_adjoint
    ).initial_state.copy()
    restarted[:, 0] += case.output_adjoint[t - 1]
    assert_close(grads.adjoint[t], restarted, BACKWARD, "adjoint")
    end = case.final_adjoint.copy()
    end[:, 0] += case.output_adjoint[-1]
    assert_close(grads.adjoint[-1], end, BACKWARD, "final adjoint")


# ---- sequences of different length ----


@pytest.mark.parametrize(
    ("cell", "H", "dtype"),
    [
        *((cell, 5, "float64") for cell in ("lstm", *OTHERS[1:])),
        pytest.param("gru", 5, "float64", marks=SLOW),
    ],
)
def test_a_padded_batch_gives_each_sequence_what_it_gets_alone(cell, H, dtype):
    lengths = [11, 4, 1, 7, 11, 2, 9]
    check_against_alone(Case(cell, T=11, B=len(lengths), I=2, H=H, dtype=dtype), lengths)


@pytest.mark.parametrize("cell", KINDS)
def test_a_padded_batch_in_several_blocks(cell):
    lengths = [1 + 5 * b % 7 for b in range(37)]
    check_against_alone(Case(cell, T=7, B=37, I=2, H=17), lengths)


def test_results_too_large_for_the_caches():
    """Tens of megabytes, in rows of whole cache lines, may be stored another way: the bits must be the same."""
    T = 20_000
    lengths = [T, 17, T - 1, T, 12_345, T, 1234]
    case = Case("lstm", T=T, B=len(lengths), I=1, H=16, dtype="float32")
    assert case.run().gates.nbytes > 2**24
    check_against_alone(case, lengths)


@pytest.mark.slow  # compiles kernels of its own
@pytest.mark.parametrize(("cell", "dtype"), [("lstm", "float32"), ("gru_reset_before", "float64")])
def test_a_padded_batch_of_a_large_layer(cell, dtype):
    # Matrix products may be grouped and rounded differently for other numbers of rows; here they must not be.
    lengths = [40, 13, 1, 29, 40, 2, 33]
    check_against_alone(Case(cell, T=40, B=len(lengths), I=37, H=130, dtype=dtype), lengths)


def check_against_alone(case, lengths):
    trace = case.run(lengths)
    grads = case.backprop(trace)
    np.testing.assert_array_equal(trace.lengths, lengths)
    for b, end in enumerate(lengths):
        one = slice(b, b + 1)
        alone = gs.run(case.params, case.inputs[:end, one], initial_state=case.initial_state[one])
        np.testing.assert_array_equal(trace.states[: end + 1, one], alone.states)
        np.testing.assert_array_equal(trace.gates[:end, one], alone.gates)
        np.testing.assert_array_equal(trace.final_state[one], alone.final_state)
        back = gs.backprop(
            case.params,
            alone,
            output_adjoint=case.output_adjoint[:end, one],
            final_adjoint=case.final_adjoint[one],
        )
        np.testing.assert_array_equal(grads.adjoint[: end + 1, one], back.adjoint)
        np.testing.assert_array_equal(grads.inputs[:end, one], back.inputs)
        np.testing.assert_array_equal(grads.initial_state[one], back.initial_state)
        # and past the end
        np.testing.assert_array_equal(
            trace.states[end:, b], np.broadcast_to(alone.final_state, trace.states[end:, b].shape)
        )
        assert not trace.gates[end:, b].any()
        assert not grads.inputs[end:, b].any()
        constant = np.broadcast_to(case.final_adjoint[b], grads.adjoint[end + 1 :, b].shape)
        np.testing.assert_array_equal(grads.adjoint[end + 1 :, b], constant)


@pytest.mark.parametrize("cell", BUILT_IN)
def test_lengths_against_the_oracle(cell):
    lengths = [5, 9, 0]
    compare(Case(cell, T=9, B=3, I=2, H=5), lengths)
    compare(Case(cell, T=9, B=3, I=2, H=5), np.array(lengths, np.int32))


@pytest.mark.parametrize("cell", BUILT_IN)
def test_a_sequence_of_no_steps(cell):
    """Its state stays the initial one, its adjoint the final one, and it adds nothing to the gradients."""
    case = Case(cell, T=6, B=3, I=2, H=5)
    trace = case.run([6, 0, 4])
    for state in trace.states[:, 1]:
        np.testing.assert_array_equal(state, case.initial_state[1])
    grads = case.backprop(trace)
    np.testing.assert_array_equal(grads.initial_state[1], case.final_adjoint[1])
    case.inputs[:, 1] = 7.0
    again = case.backprop(case.run([6, 0, 4]))
    for name in PARAMS:
        np.testing.assert_array_equal(getattr(again.params, name), getattr(grads.params, name))


@pytest.mark.parametrize(("cell", "H"), [*((cell, 5) for cell in BUILT_IN), ("lstm", 16)])
def test_garbage_in_the_padding_changes_nothing(cell, H):
    lengths = [8, 3, 5]
    clean = Case(cell, T=8, B=3, I=2, H=H)
    dirty = Case(cell, T=8, B=3, I=2, H=H)
    for b, end in enumerate(lengths):
        dirty.inputs[end:, b] = 1e30
        dirty.output_adjoint[end:, b] = -1e30
    first, second = clean.run(lengths), dirty.run(lengths)
    np.testing.assert_array_equal(first.states, second.states)
    np.testing.assert_array_equal(first.gates, second.gates)
    assert_identical(clean.backprop(first), dirty.backprop(second))


# ---- exactness of repeats ----


BLOCKS, ALONE, LARGE = (50, 37, 2, 17), (30, 1, 1, 16), (5, 74, 7, 130)


@pytest.mark.parametrize(
    ("cell", "size", "dtype"),
    [
        *(("lstm", size, "float64") for size in (BLOCKS, ALONE, LARGE)),
        *(pytest.param("lstm", size, "float32", marks=SLOW) for size in (ALONE, LARGE)),
        pytest.param("gru", BLOCKS, "float64", marks=SLOW),
        *(pytest.param("gru_reset_before", size, "float64", marks=SLOW) for size in (BLOCKS, LARGE)),
    ],
)
def test_any_number_of_threads_gives_the_same_bits(cell, size, dtype):
    T, B, I, H = size
    case = Case(cell, T=T, B=B, I=I, H=H, dtype=dtype)
    trace = case.run(threads=1)
    grads = case.backprop(trace, threads=1)
    for threads in (2, 3, None):
        again = case.run(threads=threads)
        assert_identical(again, trace)
        assert_identical(case.backprop(again, threads=threads), grads)


@pytest.mark.parametrize("cell", BUILT_IN)
def test_a_sequence_does_not_depend_on_its_neighbours(cell):
    case = Case(cell, T=12, B=7, I=2, H=16)
    trace = case.run()
    for b in range(7):
        alone = gs.run(case.params, case.inputs[:, b : b + 1], initial_state=case.initial_state[b : b + 1])
        np.testing.assert_array_equal(trace.states[:, b : b + 1], alone.states)
        np.testing.assert_array_equal(trace.gates[:, b : b + 1], alone.gates)


@pytest.mark.parametrize("cell", BUILT_IN)
def test_nothing_that_is_passed_in_changes(cell):
    case = Case(cell)
    passed_in = [*case.params.arrays().values(), case.inputs, case.initial_state]
    passed_in += [case.output_adjoint, case.final_adjoint]
    before = [array.copy() for array in passed_in]
    trace = case.run()
    copies = {name: array.copy() for name, array in trace.arrays().items()}
    case.backprop(trace)
    for array, copy in zip(passed_in, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    for name, array in trace.arrays().items():
        np.testing.assert_array_equal(array, copies[name])


def test_results_do_not_change_when_what_was_passed_in_does():
    """A trace is a record: writing over the initial state or an adjoint afterwards must not reach into it.

    The inputs may be shared, as a series of ten million steps should not be stored twice.
    """
    case = Case("lstm")
    trace = case.run()
    grads = case.backprop(trace)
    states, gates = trace.states.copy(), trace.gates.copy()
    gradients = {name: array.copy() for name, array in flat(grads).items()}
    for array in (case.initial_state, case.output_adjoint, case.final_adjoint):
        array[...] = 99.0
    np.testing.assert_array_equal(trace.states, states)
    np.testing.assert_array_equal(trace.gates, gates)
    trace.states[...] = -5.0
    for name, array in flat(grads).items():
        np.testing.assert_array_equal(array, gradients[name], err_msg=name)


@pytest.mark.parametrize("cell", BUILT_IN)
def test_whole_numbers_are_converted(cell):
    params = Case(cell, I=2, H=3).params
    whole = np.arange(-5, 5).reshape(5, 1, 2)
    trace = gs.run(params, whole)
    assert trace.states.dtype == params.dtype
    assert_identical(trace, gs.run(params, whole.astype(np.float64)))


def test_saturated_gates_are_exact():
    """Pre-activations of +-1e4: no overflow warning, no NaN, and gates of exactly 0 and 1."""
    case = Case("lstm", T=5, B=1, I=1, H=3)
    case.params.bias_ih[:] = np.repeat([-1e4, 1e4, 0.0, 1e4], 3)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        trace = case.run()
        grads = case.backprop(trace)
    assert not trace.gate("i").any()
    assert (trace.gate("f") == 1).all()
    assert (trace.gate("o") == 1).all()
    np.testing.assert_array_equal(trace.c[-1], case.initial_state[:, 1])
    assert all(np.isfinite(array).all() for array in flat(grads).values())
