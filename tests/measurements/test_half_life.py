"""half_life: cells whose half-life is known, the oracle's gates, any registered cell."""

import dataclasses
import math

import naive
import numpy as np
import pytest
from helpers.cases import ONE, Case, assert_close

import gatescope as gs
from gatescope.datatypes.half_life import half_life_of
from gatescope.errors import GatescopeError, UnknownNameError, ValueRangeError
from gatescope.measurements.half_life import half_life


def without_recurrence(cell, bias, *, hidden_size=3, dtype="float64", seed=0):
    """Random biases, `bias` for the memory gate, and no other weights: the state is carried over by a gate alone."""
    gates = gs.cells.get(cell).gates
    rng = np.random.default_rng(seed)
    biases = rng.uniform(-1, 1, (len(gates), hidden_size))
    biases[gates.index("f" if "f" in gates else "z")] = bias
    if cell == "lstm":
        biases[gates.index("g")] = (
            0  # c stays where it is: as it settles, o (1 - tanh(c)^2), d h / d c, would change
        )
    rows = len(gates) * hidden_size
    return gs.Params(
        cell=cell,
        weight_ih=np.zeros((rows, 1), dtype),
        weight_hh=np.zeros((rows, hidden_size), dtype),
        bias_ih=biases.reshape(rows).astype(dtype),
        bias_hh=np.zeros(rows, dtype),
    )


# ---- known answers ----


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before"])
@pytest.mark.parametrize("bias", [-300.0, -1.0, 2.0, 5.0])
def test_a_saturated_cell_has_the_half_life_of_its_gate_by_all_three(cell, bias):
    life = half_life(without_recurrence(cell, bias), np.zeros((600, 1)))
    expected = math.log(2) / math.log1p(math.exp(-bias))  # ln 2 / -ln sigmoid(b)
    for lives in (life.by_gate[0], life.by_adjoint, life.by_exponent, life.slowest, life.median):
        np.testing.assert_allclose(lives, expected, rtol=1e-9)
    assert life.gate == ("f" if cell == "lstm" else "z")
    assert not life.disagree.any()
    assert life.r_squared[0] > 1 - 1e-9
    assert "agree" in life.summary()


def test_a_forget_bias_of_5_means_103_steps_of_half_life_and_a_time_scale_of_149():
    life = half_life(without_recurrence("lstm", 5.0), np.zeros((600, 1)))
    assert life.by_gate[0, 0] == pytest.approx(103.218, abs=1e-3)  # the digits that are written
    share = 0.5 ** (1 / life.by_gate[0, 0])
    assert 1 / (1 - share) == pytest.approx(1 + math.exp(5), rel=1e-9)
    assert "103.2 steps" in life.summary()


def test_chrono_with_zero_recurrent_gate_weights_has_the_time_scale_1_plus_e_to_the_b():
    """1 / (1 - f) = 1 + e^b for every unit, whatever the candidate's recurrent weights do: those of the gates are 0."""
    params = gs.init("lstm", input_size=1, hidden_size=20, seed=3, scheme="chrono(50)", dtype="float64")
    weight_ih, weight_hh = np.zeros_like(params.weight_ih), params.weight_hh.copy()
    for k, name in enumerate(params.gate_names):
        if name != "g":
            weight_hh[k * 20 : (k + 1) * 20] = 0
    params = dataclasses.replace(params, weight_ih=weight_ih, weight_hh=weight_hh)
    life = half_life(params, np.zeros((1000, 1)), initial_state=np.full((1, 2, 20), 0.3))
    share = 0.5 ** (1 / life.by_gate[0])
    np.testing.assert_allclose(1 / (1 - share), 1 + np.exp(params.gate("f")["bias_ih"]), rtol=1e-9)
    # Without the candidate's too, the network's half-life is its slowest unit's.
    alone = dataclasses.replace(params, weight_hh=np.zeros_like(weight_hh))
    life = half_life(alone, np.zeros((20000, 1)))
    # The adjoint and the leading direction still hold a little of the second slowest unit for some thousand steps.
    # The slope is fitted from a tenth of the lags on; the exponent is a mean over all steps, so more of that is in it.
    np.testing.assert_allclose(life.by_adjoint, life.slowest, rtol=3e-3)
    np.testing.assert_allclose(life.by_exponent, life.slowest, rtol=1e-2)
    assert not life.disagree.any()
    assert life.median[0] < life.slowest[0]


def test_an_open_gate_never_forgets_and_a_shut_one_does_at_once():
    params = without_recurrence("lstm", 1.0)
    opened = half_life(params, np.zeros((100, 1)), clamp={"f": 1.0})
    for lives in (opened.by_gate, opened.by_adjoint, opened.by_exponent):
        assert np.isposinf(lives).all()
    assert not opened.disagree.any()
    assert opened.provenance["clamp"] == {"f": 1.0}
    assert "infinite (no decay within rounding)" in opened.summary()
    shut = half_life(params, np.zeros((100, 1)), clamp={"f": 0.0})
    for lives in (shut.by_gate, shut.by_adjoint, shut.by_exponent):
        np.testing.assert_array_equal(lives, np.zeros_like(lives))
    assert not shut.disagree.any()
    assert np.isposinf(shut.adjoint_rate).all()


def test_a_linear_network_halves_by_its_gain():
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))
    for gain, expected in ((0.5, 1.0), (0.9, math.log(2) / -math.log(0.9)), (1.1, math.inf)):
        params = gs.Params(
            cell="rnn",
            weight_ih=np.zeros((5, 1)),
            weight_hh=gain * q,
            bias_ih=np.zeros(5),
            bias_hh=np.zeros(5),
        )
        life = half_life(params, np.zeros((300, 1)))
        np.testing.assert_allclose([life.by_adjoint[0], life.by_exponent[0]], expected, rtol=1e-9)
        assert np.isnan(life.by_gate).all()
        assert np.isnan([life.slowest, life.median]).all()
        assert life.gate == ""
        assert "not defined by a gate" in life.summary()
        assert "∞ to ∞" not in life.summary()
        assert not life.disagree.any()


# ---- against the oracle ----


@pytest.mark.parametrize(
    ("cell", "dtype"),
    [
        ("lstm", "float64"),
        ("gru", "float64"),
        ("gru_reset_before", "float64"),
        ("lstm", "float32"),
        pytest.param("gru", "float32", marks=pytest.mark.slow),
        pytest.param("gru_reset_before", "float32", marks=pytest.mark.slow),
    ],
)
def test_the_gates_mean_is_the_oracles(cell, dtype):
    case = Case(cell, T=60, B=3, I=2, H=5, dtype=dtype)
    life = half_life(case.params, case.inputs, initial_state=case.initial_state, transient=7)
    _, gates = naive.forward(cell, case.params, case.inputs, case.initial_state)
    logs = np.log(gates["f" if cell == "lstm" else "z"][7:])
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    assert_close(life.gate_rate, -logs.mean(axis=0), tolerance)
    np.testing.assert_allclose(life.by_gate, math.log(2) / -logs.mean(axis=0), rtol=10 * tolerance)
    np.testing.assert_array_equal(life.slowest, life.by_gate.max(axis=1))
    np.testing.assert_array_equal(life.median, np.sort(life.by_gate, axis=1)[:, 2])
    assert (life.gate_error > 0).all()
    assert (life.gate_error < logs.std(axis=0)).all()
    assert life.steps == 60
    assert life.transient == 7


def test_the_errors_cover_what_another_stretch_gives():
    params = gs.init("lstm", input_size=1, hidden_size=5, seed=0, dtype="float64")
    inputs = np.random.default_rng(0).standard_normal((8000, 1))
    one, other = half_life(params, inputs[:4000]), half_life(params, inputs[4000:])
    for rate, error in (
        ("gate_rate", "gate_error"),
        ("exponent_rate", "exponent_error"),
        ("adjoint_rate", "adjoint_error"),
    ):
        apart = np.abs(getattr(one, rate) - getattr(other, rate))
        sigma = np.hypot(getattr(one, error), getattr(other, error))
        assert (apart < 4 * sigma).all(), rate
        assert (sigma < 0.05 * np.abs(getattr(one, rate))).all(), rate


@pytest.mark.parametrize("cell", ONE)
def test_piece_by_piece_is_the_whole(cell, monkeypatch):
    case = Case(cell, T=97, B=3, I=2, H=5)
    whole = half_life(case.params, case.inputs, initial_state=case.initial_state)
    monkeypatch.setattr("gatescope.measurements.half_life._PIECE_BYTES", 1000)
    pieces = half_life(case.params, case.inputs, initial_state=case.initial_state, threads=1)
    for name, value in whole.arrays().items():
        np.testing.assert_allclose(getattr(pieces, name), value, rtol=1e-12, err_msg=name)


def test_sequences_are_measured_each_for_itself():
    case = Case("gru", T=80, B=3, I=2, H=5)
    together = half_life(case.params, case.inputs)
    for b in range(3):
        alone = half_life(case.params, case.inputs[:, b])
        np.testing.assert_allclose(alone.by_gate[0], together.by_gate[b], rtol=1e-12)
        # Sums over units come in another order, and 80 steps keep it.
        np.testing.assert_allclose(alone.by_adjoint[0], together.by_adjoint[b], rtol=1e-9)
        np.testing.assert_allclose(alone.by_exponent[0], together.by_exponent[b], rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_memmap_generator_and_array_give_the_same_bits(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr("gatescope.measurements.half_life._PIECE_BYTES", 1000)
    case = Case("lstm", T=60, B=3, I=2, H=5, dtype=dtype)
    keywords = {"initial_state": case.initial_state, "transient": 7}
    expected = half_life(case.params, case.inputs, **keywords)
    spectrum = gs.lyapunov_spectrum(case.params, case.inputs, k=1, checks=False, **keywords)
    np.testing.assert_array_equal(expected.exponent_rate, -spectrum.exponents[:, 0])
    np.save(tmp_path / "x.npy", case.inputs)
    assert half_life(case.params, np.load(tmp_path / "x.npy", mmap_mode="r"), **keywords) == expected
    pieces = [case.inputs[at : at + 7] for at in range(0, 60, 7)]
    assert half_life(case.params, iter(pieces), **keywords) == expected


def test_nan_in_a_memmap_is_named_by_its_step(tmp_path):
    case = Case("lstm", T=60, B=3, I=2, H=5)
    case.inputs[50, 1, 0] = np.nan
    np.save(tmp_path / "x.npy", case.inputs)
    with pytest.raises(ValueRangeError, match=r"inputs at step 50 \(sequence 1, input 0\) is nan"):
        half_life(case.params, np.load(tmp_path / "x.npy", mmap_mode="r"))


def test_half_life_of():
    lives = half_life_of([math.log(2), 0.0, -1.0, math.inf, math.nan])
    np.testing.assert_array_equal(lives, [1.0, math.inf, math.inf, 0.0, math.nan])


# ---- results and bad input ----


def test_it_is_saved_and_loaded(tmp_path):
    case = Case("lstm", T=40, B=2, I=2, H=5)
    life = half_life(case.params, case.inputs)
    life.save(tmp_path / "life.npz")
    assert gs.load(tmp_path / "life.npz") == life
    assert str(life) == life.summary()
    assert "over 36 steps: half of the gradient is gone after" in life.sequence(1).summary()
    assert life.provenance["direction_seed"] == 0


@pytest.mark.parametrize(
    ("keywords", "error", "match"),
    [
        ({"transient": 45}, ValueRangeError, "transient=45 leaves 5 of 50 steps"),
        ({"transient": -1}, ValueRangeError, "transient=-1 must be"),
        ({"of": "x"}, UnknownNameError, "of='x'"),
        ({"seed": -1}, ValueRangeError, "seed=-1"),
        ({"threads": 0}, ValueRangeError, "threads=0"),
        ({"clamp": {"z": 1.0}}, UnknownNameError, "z"),
        ({"initial_state": np.zeros((1, 2, 4))}, GatescopeError, "initial_state has shape"),
    ],
)
def test_bad_arguments(keywords, error, match):
    case = Case("lstm", T=50, B=1, I=2, H=5)
    with pytest.raises(error, match=match):
        half_life(case.params, case.inputs, **keywords)


def test_states_that_are_not_finite_are_reported_with_the_step():
    params = gs.Params(
        cell="rnn_relu",
        weight_ih=np.ones((1, 1), "float32"),
        weight_hh=np.full((1, 1), 10, "float32"),
        bias_ih=np.zeros(1, "float32"),
        bias_hh=np.zeros(1, "float32"),
    )
    with pytest.raises(ValueRangeError, match="sequence 0 are not finite from step 40 on"):
        half_life(params, np.ones((100, 1)))
