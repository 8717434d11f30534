"""diagnose: cells whose verdict, gate and remedy are known, and sentences that say what was measured."""

import dataclasses
import math

import numpy as np
import pytest
from helpers.cases import ONE, random_params
from helpers.linear_networks import at_zero, with_biases
from numba.extending import register_jitable
from numpy.testing import assert_allclose, assert_array_equal

import gatescope as gs
from gatescope.cells.activations import complement, sigmoid, tanh, zero
from gatescope.datatypes.diagnosis import Diagnosis
from gatescope.errors import DtypeError, GatescopeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.measurements.diagnosis import diagnose
from gatescope.measurements.half_life import half_life
from gatescope.measurements.lyapunov_spectrum import lyapunov_spectrum


class TwoLeaks:
    """h' = a p h + (1 - a p) n: two gates hold the memory together, so that neither is what a state keeps."""

    NAME = "two_leaks_test"
    GATES = ("a", "p", "n")
    STATES = ("h",)
    SAVED = ("a", "p", "n")

    @staticmethod
    @register_jitable
    def step(wx, rh, states):
        (h,) = states
        a = sigmoid(wx[0] + rh[0])
        p = sigmoid(wx[1] + rh[1])
        n = tanh(wx[2] + rh[2])
        return (a * p * h + complement(a * p) * n,), (a, p, n)

    @staticmethod
    @register_jitable
    def step_vjp(saved, states, new_states, adjoint):
        a, p, n = saved
        (h,) = states
        (d_h,) = adjoint
        d_ap = d_h * (h - n)
        d_a = d_ap * p * a * complement(a)
        d_p = d_ap * a * p * complement(p)
        d_n = d_h * complement(a * p) * complement(n * n)
        d_pre = (d_a, d_p, d_n)
        return d_pre, d_pre, (d_h * a * p + zero(d_h),)


@pytest.fixture
def two_leaks():
    return gs.cells.register(TwoLeaks)


def noise(steps=400, batch=1, size=1, seed=0):
    return np.random.default_rng(seed).standard_normal((steps, batch, size))


def tanh_network(gain, hidden_size=16):
    return gs.init(
        "rnn", input_size=1, hidden_size=hidden_size, seed=0, scheme=f"gaussian({gain})", dtype="float64"
    )


def anywhere(params, batch=1):
    """Away from 0, which is a fixed point of a network without inputs."""
    shape = batch, len(gs.cells.get(params.cell).states), params.hidden_size
    return np.random.default_rng(1).uniform(-1, 1, shape)


# ---- the rule, from both sides ----


@pytest.mark.parametrize(
    ("bias", "verdict"), [(1.0, "vanishing"), (3.0, "vanishing"), (4.5, "near-critical")]
)
def test_a_saturated_lstm_has_the_verdict_and_the_half_life_of_its_forget_gate(bias, verdict):
    """The half-lives are 2.2, 14.3 and 62.7 steps; those wanted are a tenth of the series, 40."""
    params = with_biases("lstm", {"f": bias})
    diagnosis = diagnose(params, np.zeros((400, 1)), initial_state=at_zero(params))
    rate = math.log1p(math.exp(-bias))  # -ln sigmoid
    assert diagnosis.verdict == verdict
    assert diagnosis.target_half_life == 40
    assert_allclose(diagnosis.number("bound"), math.log(2) / 40, rtol=1e-15)
    assert_allclose(diagnosis.number("exponent"), -rate, rtol=1e-9)
    for name in ("half_life_exponent", "half_life_adjoint", "half_life_gate", "half_life_gate_median"):
        assert_allclose(diagnosis.number(name), math.log(2) / rate, rtol=1e-9, err_msg=name)
    assert_allclose(diagnosis.number("mean_f"), 1 / (1 + math.exp(-bias)), rtol=1e-12)
    assert (diagnosis.gate, diagnosis.suggestion) == (("f", "bias") if verdict == "vanishing" else ("", ""))


@pytest.mark.parametrize("margin", [0.97, 1.03])
def test_the_edge_of_near_critical_is_the_wanted_half_life(margin):
    params = with_biases("gru", {"z": 3.0})
    length = math.log(2) / math.log1p(math.exp(-3.0))
    diagnosis = diagnose(params, np.zeros((400, 1)), target_half_life=margin * length)
    assert diagnosis.verdict == ("near-critical" if margin < 1 else "vanishing")


def test_an_open_forget_gate_is_near_critical():
    params = with_biases("lstm", {"f": 1.0})
    diagnosis = diagnose(params, np.zeros((100, 1)), clamp={"f": 1.0}, initial_state=at_zero(params))
    assert diagnosis.verdict == "near-critical"
    assert abs(diagnosis.number("exponent")) < 1e-12
    assert "f" not in diagnosis.clamped_gate  # it is clamped already
    assert "Nothing is to be changed" in diagnosis.summary()


@pytest.mark.slow  # compiles kernels of its own
def test_a_random_tanh_network_is_chaotic_above_the_edge_and_vanishing_below():
    low, high = (tanh_network(gain) for gain in (0.5, 3.0))
    below = diagnose(low, np.zeros((600, 1)), initial_state=anywhere(low))
    above = diagnose(high, np.zeros((600, 1)), initial_state=anywhere(high))
    assert (below.verdict, above.verdict) == ("vanishing", "chaotic")
    assert below.number("exponent") < 0 < above.number("exponent") - 3 * above.number("exponent_error")
    assert above.suggestion == "gain"
    assert 0.2 < above.suggested_value < 0.8  # the edge of many units is at gain 1, a third of 3
    assert below.suggested_value > 1
    radius = np.abs(np.linalg.eigvals(high.weight_hh)).max()
    assert_allclose(above.number("spectral_radius"), radius, rtol=1e-12)
    for diagnosis in (below, above):
        assert (diagnosis.gate, diagnosis.gates, diagnosis.clamped_gate) == ("", (), ())
        assert f"weight_hh times {diagnosis.suggested_value:g}" in diagnosis.summary()
    assert_array_equal(above.apply(high).weight_hh, high.weight_hh * above.suggested_value)


@pytest.mark.slow  # compiles kernels of its own
def test_states_that_grow_are_not_called_chaotic():
    """A linear network with a gain of 1.1, in the half of a relu that passes: states and gradients grow alike."""
    params = gs.Params(
        cell="rnn_relu",
        weight_ih=np.zeros((4, 1)),
        weight_hh=1.1 * np.eye(4),
        bias_ih=np.zeros(4),
        bias_hh=np.zeros(4),
    )
    diagnosis = diagnose(params, np.zeros((300, 1)), initial_state=np.full((1, 1, 4), 0.1))
    assert diagnosis.verdict == "exploding"
    assert_allclose(diagnosis.number("exponent"), math.log(1.1), rtol=1e-9)
    assert_allclose(diagnosis.number("state_growth"), math.log(1.1), rtol=1e-9)
    assert_allclose(
        diagnosis.suggested_value, 0.5 ** (1 / 30) / 1.1, rtol=1e-3
    )  # the digits it is rounded to
    with pytest.raises(ValueRangeError, match="not finite from step"):
        diagnose(
            dataclasses.replace(params, weight_hh=4 * np.eye(4)),
            np.zeros((2000, 1)),
            initial_state=np.full((1, 1, 4), 0.1),
        )


@pytest.mark.slow
def test_an_error_too_large_to_tell_is_undecided_and_said():
    diagnosis = diagnose(tanh_network(2.5, 8), noise(60), target_half_life=1e6, window=60)
    assert (
        3 * diagnosis.number("exponent_error") > abs(diagnosis.number("exponent")) > diagnosis.number("bound")
    )
    assert diagnosis.verdict == "undecided"
    text = diagnosis.summary()
    assert "too large to tell the exponent from 0" in text
    # A half-life of some steps and "nothing is to be changed for a million or more" would contradict each other.
    assert "Nothing is to be changed" not in text
    assert "cannot be told from these steps" in text
    assert not diagnosis.suggestion


# ---- the gate ----


@pytest.mark.slow  # compiles kernels of its own
def test_of_two_gates_the_one_that_is_shut_is_named_and_its_bias_shifted(two_leaks):
    low, high = 1 / (1 + math.e), 1 / (1 + math.exp(-6))
    for shut, open_ in (("a", "p"), ("p", "a")):
        diagnosis = diagnose(with_biases("two_leaks_test", {shut: -1.0, open_: 6.0}), np.zeros((200, 1)))
        assert diagnosis.verdict == "vanishing"
        assert diagnosis.gate == shut
        assert_allclose(diagnosis.number("exponent"), math.log(low * high), rtol=1e-9)
        assert_allclose(diagnosis.number(f"clamped_{shut}_open"), math.log(high), rtol=1e-9)
        assert_allclose(diagnosis.number(f"clamped_{open_}_open"), math.log(low), rtol=1e-9)
        assert (diagnosis.suggestion, diagnosis.suggested_gate, diagnosis.reached) == ("bias", shut, True)
        share = 0.5 ** (1 / 20) / high
        # It is rounded to three decimals.
        assert_allclose(diagnosis.suggested_value, math.log(share / (1 - share)) + 1.0, atol=1e-3)


@pytest.mark.parametrize(
    "cell", ["lstm", *(pytest.param(cell, marks=pytest.mark.slow) for cell in ("gru", "gru_reset_before"))]
)
def test_interventions_are_those_of_clamped_spectra(cell):
    params = random_params(cell, input_size=1, hidden_size=5)
    x = noise(200, 2)
    diagnosis = diagnose(params, x)
    assert set(diagnosis.clamped_gate) == set(params.gate_names)
    trace = gs.run(
        params, x, initial_state=np.random.default_rng([0, 1]).uniform(-0.1, 0.1, at_zero(params, 2).shape)
    )
    for gate, at, value, error in zip(
        diagnosis.clamped_gate,
        diagnosis.clamped_at,
        diagnosis.clamped_exponent,
        diagnosis.clamped_error,
        strict=True,
    ):
        clamped_at = 1.0 if at == "open" else trace.gate(gate).mean(axis=(0, 1))
        spectrum = lyapunov_spectrum(
            params,
            x,
            k=1,
            transient=20,
            qr_every=1,
            clamp={gate: clamped_at},
            checks=False,
            initial_state="random",
        )
        assert_allclose(value, spectrum.exponents[:, 0].mean(), rtol=1e-9)
        over_time = np.sqrt((spectrum.error[:, 0] ** 2).sum()) / 2
        assert_allclose(
            error, max(over_time, spectrum.exponents[:, 0].std()), rtol=1e-9
        )  # ddof = 1, over sqrt(2)
        assert diagnosis.number(f"clamped_{gate}_{at}") == value
    assert diagnosis.gate == ("f" if cell == "lstm" else "z")
    best = np.argmin(np.abs(diagnosis.clamped_exponent))
    assert (diagnosis.gate, "open") == (diagnosis.clamped_gate[best], diagnosis.clamped_at[best])


# ---- sentences and numbers ----


def some_diagnoses():
    yield diagnose(gs.init("lstm", input_size=1, hidden_size=5, seed=0), noise(300))
    yield diagnose(tanh_network(3.0, 8), np.zeros((300, 1)), initial_state=anywhere(tanh_network(3.0, 8)))
    yield diagnose(with_biases("lstm", {"f": 5.0}), np.zeros((100, 1)))


def test_a_diagnosis_in_words():
    """The sentences of one network, whose numbers follow from its one bias."""
    params = with_biases("lstm", {"f": 3.0})
    diagnosis = diagnose(params, np.zeros((400, 1)), initial_state=at_zero(params))
    text = diagnosis.summary()
    assert text == str(diagnosis)
    assert text.splitlines()[0] == "lstm: vanishing"
    for part in (
        "Vanishing gradients: the leading Lyapunov exponent is −0.04859 ± ",
        "It is called vanishing below −0.01733 = ln 2 / 40, the rate of a half-life",
        "The asymptotic half-life of the gradient is 14.27 steps by the leading exponent, 14.27 steps by the slope",
        ", 14.27 steps by the gate f alone (slowest unit; 14.27 steps in the median).",
        "The gate responsible is f: clamping f open (at 1) would change the leading exponent from −0.04859 to 0",
        "The mean of f is 0.953; it is below 0.1 for 0.0 % and above 0.9 for 100.0 % of the time.",
        "At a lag of 43 steps the gradient's parts are, by their norms: 100.0 % on the direct path",
        f"Suggestion for the half-life assumed: +{diagnosis.suggested_value:g} on the bias of f; with it the",
        "Measured over all 400 steps; the first 40 steps of these do not count.",
    ):
        assert part in text, part
    assert "they cancel" not in text
    cancelling = dataclasses.replace(diagnosis, numbers={**diagnosis.numbers, "fraction_whole": 0.0042})
    assert (
        "% on the direct path from state to state; they cancel, to 0.0042 of the sum of"
        in cancelling.summary()
    )


@pytest.mark.slow  # compiles kernels of its own
def test_no_sentence_says_what_is_not_known():
    for diagnosis in some_diagnoses():
        assert len(diagnosis.sentences) > 4
        for text in diagnosis.sentences:
            assert "nan" not in text
            assert "not known" not in text
            assert "{" not in text


def test_numbers_are_those_of_the_results():
    params, x = gs.init("lstm", input_size=1, hidden_size=5, seed=0), noise(300)
    diagnosis = diagnose(params, x)
    life, numbers = diagnosis.half_life, diagnosis.numbers
    assert numbers["exponent"] == diagnosis.spectrum.exponents[0, 0]
    assert_allclose(numbers["exponent_error"], diagnosis.spectrum.error[0, 0], rtol=1e-12)
    assert numbers["half_life_exponent"] == life.by_exponent[0]
    assert numbers["half_life_adjoint"] == life.by_adjoint[0]
    assert numbers["half_life_gate"] == life.slowest[0]
    assert numbers["half_life_gate_median"] == life.median[0]
    assert numbers["decay_rate"] == life.adjoint_rate[0]
    assert numbers["suggested_half_life_exponent"] == diagnosis.suggested_half_life.by_exponent[0]
    assert life == half_life(params, x, transient=30, initial_state="random")
    assert_allclose(
        life.by_exponent, math.log(2) / -diagnosis.spectrum.exponents[:, 0], rtol=1e-6
    )  # QR at other steps
    row = list(diagnosis.paths.lag).index(int(numbers["fraction_lag"]))
    assert numbers["fraction_direct"] == diagnosis.paths.norm_fractions()[row, 0, 0]
    assert numbers["fraction_whole"] == np.exp(-diagnosis.paths.cancellation()[row, 0])
    start = np.random.default_rng([0, 1]).uniform(-0.1, 0.1, at_zero(params).shape)
    trace = gs.run(params, x, initial_state=start.astype(np.float32))
    for k, gate in enumerate("ifgo"):
        values = trace.gate(gate).astype(np.float64)
        assert_allclose(diagnosis.mean[k], values.mean(), rtol=1e-12)
        assert_allclose(
            diagnosis.quantiles[k], np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95]), rtol=1e-12
        )
        if gate == "g":
            assert np.isnan(diagnosis.shut[k])
            assert "shut_g" not in numbers
        else:
            assert (numbers[f"shut_{gate}"], numbers[f"open_{gate}"]) == (
                diagnosis.shut[k],
                diagnosis.open[k],
            )
            assert_allclose(diagnosis.shut[k], (values < 0.1).mean(), rtol=1e-12)
            assert_allclose(diagnosis.open[k], (values > 0.9).mean(), rtol=1e-12)
    with pytest.raises(UnknownNameError, match="name='nothing' is not known; choose from"):
        diagnosis.number("nothing")


def test_a_candidate_that_happens_to_be_positive_is_not_a_gate_that_opens():
    params = with_biases("lstm", {"f": 1.0, "g": 2.0})
    params.gate("g")["weight_ih"][:] = 0.1
    diagnosis = diagnose(params, noise())
    assert 0 < diagnosis.quantiles[2].min() < diagnosis.quantiles[2].max() < 1
    assert (
        np.isnan(diagnosis.shut).tolist() == np.isnan(diagnosis.open).tolist() == [False, False, True, False]
    )


def test_the_reach_is_where_float32_can_tell_no_more():
    params = with_biases("lstm", {"f": 1.0})
    diagnosis = diagnose(params, np.zeros((400, 1)), initial_state=at_zero(params))
    eps = np.finfo(np.float64).eps
    f = 1 / (1 + math.exp(-1))
    # The first step back leaves h for c, after which c alone keeps f of itself.
    decayed = diagnosis.flow.log_norm[:, 0] - diagnosis.flow.log_norm[0, 0]
    reach = int(diagnosis.number("reach"))
    assert decayed[reach - 1] >= math.log(eps) > decayed[reach]
    assert abs(reach - math.log(eps) / math.log(f)) < 5
    single = diagnose(gs.init("lstm", input_size=1, hidden_size=5, seed=0), noise(300))
    assert single.number("resolution") == np.finfo(np.float32).eps
    assert "less than float32 can tell" in single.summary()


# ---- what is looked at ----


def test_a_window_is_the_end_of_the_run():
    params, x = random_params("lstm", input_size=1, hidden_size=5), noise(700, 6)
    diagnosis = diagnose(params, x, window=200, target_half_life=10)
    assert (diagnosis.steps, diagnosis.window, diagnosis.transient, diagnosis.sequences) == (700, 200, 20, 4)
    start = np.random.default_rng([0, 1]).uniform(-0.1, 0.1, (6, 2, 5))  # of all sequences
    state = gs.run(params, x[:500, :4], initial_state=start[:4]).final_state
    spectrum = lyapunov_spectrum(
        params, x[500:, :4], k=5, transient=20, qr_every=1, initial_state=state, checks=False
    )
    assert_allclose(diagnosis.spectrum.exponents, spectrum.exponents, rtol=1e-12)
    assert diagnosis.number("earlier_exponent") < 0
    assert "the last 200 steps of 700 and the first 4 of the sequences" in diagnosis.summary()
    mapped = diagnose(params, iter([x[:300], x[300:]]), window=200, target_half_life=10)
    assert mapped == diagnosis
    assert diagnose(params, x, window=200, target_half_life=10, threads=1) == diagnosis


@pytest.mark.parametrize("cell", ONE)
def test_every_cell_is_diagnosed_saved_and_loaded(cell, tmp_path):
    params = random_params(cell, input_size=1, hidden_size=5)
    diagnosis = diagnose(params, np.abs(noise(120)))
    path = tmp_path / "diagnosis.npz"
    diagnosis.save(path)
    loaded = Diagnosis.load(path)
    assert loaded == diagnosis
    assert loaded == gs.load(path)
    assert loaded.summary() == diagnosis.summary()
    assert loaded.half_life == diagnosis.half_life
    assert diagnosis.paths.paths == ("direct", *params.gate_names)


@pytest.mark.slow  # as above
def test_a_users_cell_is_diagnosed(two_leaks, tmp_path):
    diagnosis = diagnose(random_params("two_leaks_test", input_size=1, hidden_size=5), noise(200))
    assert diagnosis.verdict == "vanishing"
    assert diagnosis.gate in ("a", "p")
    assert diagnosis.gates == ("a", "p", "n")
    diagnosis.save(tmp_path / "diagnosis.npz")
    assert Diagnosis.load(tmp_path / "diagnosis.npz") == diagnosis


def test_provenance():
    params = gs.init("gru", input_size=1, hidden_size=5, seed=3, dtype="float64")
    diagnosis = diagnose(params, noise(60), seed=2, clamp={"r": 0.5})
    saved = {key: diagnosis.provenance[key] for key in ("dtype", "seed", "direction_seed", "clamp")}
    assert saved == {"dtype": "float64", "seed": 3, "direction_seed": 2, "clamp": {"r": 0.5}}


@pytest.mark.parametrize(
    ("keywords", "kind", "message"),
    [
        (
            {"target_half_life": 0},
            ValueRangeError,
            "target_half_life=0 must be a finite number from 1",
        ),
        ({"target_half_life": "long"}, ValueRangeError, "target_half_life='long'"),
        ({"window": 10}, ValueRangeError, "window=10 must be a whole number of at least 20"),
        ({"window": 51}, ValueRangeError, "window=51 must be .* from 20 to 50; `inputs` have 50 steps"),
        ({"seed": -1}, ValueRangeError, "seed=-1"),
        ({"threads": 0}, ValueRangeError, "threads=0"),
        ({"clamp": {"q": 1.0}}, UnknownNameError, "clamp names 'q'"),
        ({"initial_state": np.zeros((1, 1, 5))}, ShapeError, "initial_state has shape"),
        (
            {"inputs": np.zeros((19, 1))},
            ShapeError,
            r"\(19, 1, 1\), but should have at least 20 steps",
        ),
        ({"inputs": np.zeros((50, 2))}, ShapeError, "input_size = 1"),
        ({"inputs": np.full((50, 1), np.nan)}, ValueRangeError, "nan"),
        ({"params": None}, DtypeError, "params is a NoneType"),
        ({"params": None, "clamp": {"f": 1.0}}, DtypeError, "params is a NoneType"),
    ],
)
def test_bad_arguments(keywords, kind, message):
    arguments = {
        "params": gs.init("lstm", input_size=1, hidden_size=5, seed=0),
        "inputs": np.zeros((50, 1)),
    } | keywords
    with pytest.raises(kind, match=message) as caught:
        diagnose(arguments.pop("params"), arguments.pop("inputs"), **arguments)
    assert isinstance(caught.value, GatescopeError)
