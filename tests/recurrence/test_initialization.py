"""Initial weights of whole models: sizes, child seeds, schemes of the read-out, and what is refused."""

import numpy as np
import pytest

from gatescope.cells import names
from gatescope.datatypes import Batch, Head
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.recurrence.initialization import init, init_readout, init_stack

HEADS = (Head("class", 3, "cross_entropy"), Head("value", 2, "mse", 0.5))


def batch(inputs=4):
    steps, sequences = 5, 2
    return Batch(
        inputs=np.zeros((steps, sequences, inputs)),
        targets=np.zeros((steps, sequences, 3)),
        mask=np.ones((steps, sequences), bool),
        lengths=np.full(sequences, steps),
        heads=HEADS,
    )


def make(cells="lstm", **keywords):
    return init_stack(cells, **{"input_size": 4, "hidden_size": 6, "heads": HEADS, **keywords})


def test_sizes_follow_from_layer_to_layer():
    model = make(["lstm", "gru", "rnn"], hidden_size=[7, 5, 3])
    assert model.cells == ("lstm", "gru", "rnn")
    assert [(p.input_size, p.hidden_size) for p in model.layers] == [(4, 7), (7, 5), (5, 3)]
    assert model.readout_weight.shape == (5, 3)
    assert model.readout_bias.shape == (5,)
    assert model.heads == HEADS
    assert model.dtype == np.float32
    assert model.provenance["seed"] == 0


@pytest.mark.parametrize(
    ("cells", "sizes", "expected"),
    [
        ("gru", 6, [("gru", 6)]),
        ("gru", [6, 5], [("gru", 6), ("gru", 5)]),
        (["gru", "lstm"], 6, [("gru", 6), ("lstm", 6)]),
        (("gru",), np.array([6]), [("gru", 6)]),
    ],
)
def test_one_cell_or_one_size_holds_for_all_layers(cells, sizes, expected):
    assert [(p.cell, p.hidden_size) for p in make(cells, hidden_size=sizes).layers] == expected


@pytest.mark.parametrize("cell", names())
def test_any_cell(cell):
    assert make([cell, "lstm"], dtype="float64").layers[0].cell == cell


def test_a_batch_gives_heads_and_inputs():
    model = init_stack("gru", hidden_size=6, heads=batch())
    assert (model.input_size, model.heads) == (4, HEADS)
    assert model == make("gru") == init_stack("gru", input_size=4, hidden_size=6, heads=batch())


def test_every_part_has_a_seed_of_its_own():
    one, two = make("gru", input_size=6, seed=3), make("gru", input_size=6, hidden_size=[6, 6], seed=3)
    assert one.layers[0] == two.layers[0]
    assert np.array_equal(one.readout_weight, two.readout_weight)
    assert not np.array_equal(two.layers[0].weight_hh, two.layers[1].weight_hh)
    # As `seed + k` would: the second layer of one seed is the first of the next.
    other = make("gru", input_size=6, seed=4)
    assert not np.array_equal(two.layers[1].weight_hh, other.layers[0].weight_hh)
    assert make(seed=3) == make(seed=3) != make(seed=4)


def test_layers_are_what_init_gives_for_the_child_seed():
    children = [
        int(np.random.SeedSequence(5, spawn_key=(k,)).generate_state(1, np.uint64)[0]) for k in range(3)
    ]
    model = make(["lstm", "gru"], seed=5)
    assert model.layers[0] == init("lstm", input_size=4, hidden_size=6, seed=children[1])
    assert model.layers[1] == init("gru", input_size=6, hidden_size=6, seed=children[2])
    expected = np.random.default_rng(children[0]).uniform(-1, 1, (5, 6)) / np.sqrt(6)
    np.testing.assert_allclose(model.readout_weight, expected, rtol=1e-6)  # it is rounded to float32
    weight, bias = init_readout(6, HEADS, seed=5)
    assert np.array_equal(weight, model.readout_weight)
    assert np.array_equal(bias, model.readout_bias)


@pytest.mark.parametrize(
    ("scheme", "readout_scheme", "bound", "has_bias"),
    [
        ("pytorch", None, 1 / np.sqrt(50), True),
        ("keras", None, np.sqrt(6 / 450), False),
        ("chrono(500)", None, np.sqrt(6 / 450), False),
        ("keras", "pytorch", 1 / np.sqrt(50), True),
        ("pytorch", "glorot", np.sqrt(6 / 450), False),
    ],
)
def test_schemes_of_the_readout(scheme, readout_scheme, bound, has_bias):
    heads = [Head("y", 400)]
    model = make("lstm", hidden_size=50, heads=heads, scheme=scheme, readout_scheme=readout_scheme)
    # 20,000 uniform numbers fill their range but for a few hundred-thousandths.
    assert 0.999 * bound < np.abs(model.readout_weight).max() <= bound * (1 + 1e-6)
    assert abs(float(model.readout_weight.mean())) < 0.02 * bound
    if has_bias:
        assert 0.9 * bound < np.abs(model.readout_bias).max() <= bound * (1 + 1e-6)
    else:
        assert not model.readout_bias.any()


def test_constants_of_init_pass_through():
    chrono = make("lstm", scheme="chrono", t_max=20.0).layers[0].bias_ih.reshape(4, 6)
    assert np.exp(chrono[1]).max() <= 19.0001
    twice = make("gru", scheme="orthogonal", gain=2.0).layers[0].weight_hh[:6].astype(float)
    np.testing.assert_allclose(twice @ twice.T, 4 * np.eye(6), atol=1e-5)  # rounded to float32
    assert make(dtype="float64").readout_bias.dtype == np.float64


def test_the_identity_keeps_a_rectified_state():
    one = init("rnn_relu", input_size=400, hidden_size=50, seed=0, scheme="identity", dtype="float64")
    np.testing.assert_array_equal(one.weight_hh, np.eye(50))
    assert not one.bias_ih.any()
    assert not one.bias_hh.any()
    assert one.weight_ih.std() == pytest.approx(0.001, rel=0.02)  # of 20,000: 0.5 % is one error
    three = init("gru", input_size=1, hidden_size=4, scheme="identity(0.01)", dtype="float64").weight_hh
    np.testing.assert_array_equal(three, np.tile(0.01 * np.eye(4), (3, 1)))


def test_tuples_serve_as_heads():
    assert make(heads=[("a", 1), ("b", 2, "bernoulli")]).heads == (Head("a", 1), Head("b", 2, "bernoulli"))


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        (
            {"cells": ["lstm", "gru"], "hidden_size": [3]},
            ShapeError,
            "cells has 2 layers, but `hidden_size` has 1",
        ),
        ({"cells": []}, ShapeError, "cells is empty"),
        ({"hidden_size": []}, ShapeError, "hidden_size is empty"),
        ({"hidden_size": 0}, ValueRangeError, "hidden_size=0"),
        ({"hidden_size": [3, 0]}, ValueRangeError, "hidden_size=0"),
        ({"hidden_size": "6"}, ValueRangeError, "hidden_size='6'"),
        ({"cells": "lstmm"}, UnknownNameError, "lstmm"),
        ({"cells": ["lstm", 3]}, UnknownNameError, "3"),
        ({"scheme": "xavier"}, UnknownNameError, "scheme='xavier'"),
        ({"readout_scheme": "keras"}, UnknownNameError, "readout_scheme='keras' .* pytorch, glorot"),
        ({"dtype": "float16"}, DtypeError, "float16"),
        ({"seed": -1}, ValueRangeError, "seed=-1"),
        ({"input_size": None}, ValueRangeError, "input_size is left out"),
        (
            {"input_size": 3, "heads": batch(4)},
            ShapeError,
            "input_size=3 is not that of `heads`, a Batch with 4 inputs",
        ),
        ({"heads": []}, ValueRangeError, "heads is empty"),
        ({"heads": Head("y", 1)}, ValueRangeError, "must be a sequence"),
        ({"heads": None}, ValueRangeError, "heads=None must be a sequence"),
        ({"heads": ["y"]}, ValueRangeError, r"heads\[0\]='y' is no Head"),
        ({"scheme": "keras(2)"}, ValueRangeError, "keras has no constant to set"),
        (
            {"scheme": "chrono(two)"},
            ValueRangeError,
            r"'chrono\(two\)' cannot be read: chrono sets t_max by one number",
        ),
        ({"scheme": "chrono(1, 2)"}, ValueRangeError, "by one number"),
        ({"scheme": "chrono(1)"}, ValueRangeError, "t_max=1.0 must be a finite number of at least 2"),
        (
            {"scheme": "chrono", "cells": "rnn"},
            ValueRangeError,
            "needs a gate that holds the memory, and 'rnn' has none",
        ),
    ],
)
def test_what_is_wrong_is_named(keywords, error, message):
    with pytest.raises(error, match=message):
        make(**keywords)


def test_drawing_leaves_the_global_random_state_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the state that must not change
    make()
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize(
    ("cell", "keras", "chrono"),
    [
        ("lstm", {"f": 1}, {"f": 1, "i": -1}),
        ("lstm_peephole", {"f": 1}, {"f": 1, "i": -1}),
        ("gru", {}, {"z": 1}),
        ("leaky_constant", {}, {"a": -1}),  # keeps 1 - a
        ("min_gru", {}, {"z": -1}),  # keeps 1 - z
        ("mgu", {}, {"f": -1}),  # writes with f
    ],
)
def test_biases_open_the_gate_that_holds_the_memory(cell, keras, chrono):
    for scheme, signs in (("keras", keras), ("chrono(50)", chrono)):
        params = init(cell, input_size=2, hidden_size=6, scheme=scheme, dtype="float64")
        biases = {gate: params.gate(gate)["bias_ih"] for gate in params.gate_names}
        assert {gate: np.sign(bias[0]) for gate, bias in biases.items() if bias.any()} == signs
        for gate, sign in signs.items():
            size = np.abs(biases[gate])
            assert (size == 1).all() if scheme == "keras" else (size <= np.log(49)).all()
            np.testing.assert_array_equal(biases[gate], sign * np.abs(biases[next(iter(signs))]))
