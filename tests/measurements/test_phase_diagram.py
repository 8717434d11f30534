"""phase_diagram: points measured one by one, known edges, threads, and bad input."""

import dataclasses
import math

import numpy as np
import pytest

import gatescope as gs
from gatescope.datatypes.half_life import half_life_of
from gatescope.errors import DtypeError, GatescopeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.measurements.lyapunov_spectrum import lyapunov_spectrum
from gatescope.measurements.phase_diagram import phase_diagram

NOISE = np.random.default_rng(5).standard_normal((120, 1, 1))


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_what_float32_cannot_tell_is_said():
    keywords = {"hidden_size": 5, "inputs": NOISE, "seed": 3, "dtype": "float32"}
    assert "recomputed" not in phase_diagram("rnn", gain=[1.0], **keywords).provenance
    assert phase_diagram("rnn", gain=[1.0, 60.0], **keywords).provenance["recomputed"] == "in float64"


def test_a_point_is_that_network_measured_alone():
    diagram = phase_diagram(
        "lstm",
        gain=[0.5, 1.5],
        bias=[-1.0, 2.0],
        scheme=("keras", "gaussian"),
        hidden_size=5,
        inputs=NOISE,
        seed=3,
        seeds=2,
    )
    assert diagram.gate == "f"
    assert diagram.scheme == ("keras", "gaussian")
    assert diagram.exponent.shape == (2, 2, 2)
    assert (diagram.steps, diagram.transient, diagram.seeds, diagram.hidden_size) == (120, 12, 2, 5)
    for s, scheme in enumerate(diagram.scheme):
        for g, gain in enumerate(diagram.gain):
            for n, bias in enumerate(diagram.bias):
                measured = []
                for seed in (3, 4):
                    params = gs.init(
                        "lstm", input_size=1, hidden_size=5, seed=seed, scheme=scheme, dtype="float64"
                    )
                    shift = np.zeros(20)
                    shift[5:10] = bias  # rows of f
                    params = dataclasses.replace(
                        params, weight_hh=gain * params.weight_hh, bias_ih=params.bias_ih + shift
                    )
                    start = np.random.default_rng([3, 1]).uniform(-0.1, 0.1, (1, 2, 5))
                    spectrum = lyapunov_spectrum(
                        params, NOISE, k=1, transient=12, initial_state=start, seed=3, checks=False
                    )
                    flow = gs.gradient_flow(
                        params, NOISE, wrt="joint", of="joint", max_lag=108, seed=3, initial_state=start
                    )
                    measured.append((spectrum.exponents[0, 0], float(flow.decay_rate())))
                exponents, rates = np.array(measured).T
                np.testing.assert_allclose(diagram.exponent[s, g, n], exponents.mean(), rtol=1e-12)
                np.testing.assert_allclose(diagram.decay_rate[s, g, n], rates.mean(), rtol=1e-12)
                error = exponents.std(ddof=1) / math.sqrt(2)
                np.testing.assert_allclose(diagram.exponent_error[s, g, n], error, rtol=1e-9)
    np.testing.assert_array_equal(diagram.half_life, half_life_of(-diagram.exponent))


def test_gain_is_that_of_init():
    one = phase_diagram("gru", gain=[1.7], hidden_size=5, inputs=NOISE)
    other = phase_diagram("gru", gain=[1.0], scheme="gaussian(1.7)", hidden_size=5, inputs=NOISE)
    # The same weights, multiplied in another order.
    np.testing.assert_allclose(one.exponent, other.exponent, rtol=1e-9)
    assert one.gate == "z"
    assert other.scheme == ("gaussian(1.7)",)


@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before"])
def test_without_recurrence_the_exponent_is_the_gates(cell):
    """Gain 0, weight_ih unseen at inputs of 0: the state decays by sigmoid(bias) a step."""
    diagram = phase_diagram(cell, gain=[0.0], bias=[-1.0, 0.0, 1.5], hidden_size=5, inputs=np.zeros((400, 1)))
    expected = -np.log1p(np.exp(-diagram.bias))
    np.testing.assert_allclose(diagram.decay_rate[0, 0], -expected, rtol=1e-9)
    np.testing.assert_allclose(diagram.half_life[0, 0], half_life_of(-diagram.exponent[0, 0]))
    # An LSTM's h hangs on c, which is not at rest for the first steps of the 360: d h / d c changes with it.
    np.testing.assert_allclose(diagram.exponent[0, 0], expected, rtol=1e-9 if cell != "lstm" else 1e-6)


def test_nothing_is_left_of_a_gradient_without_any_weights():
    diagram = phase_diagram("rnn", gain=[0.0, 0.5], hidden_size=5, inputs=NOISE, seeds=2)
    assert np.isneginf(diagram.exponent[0, 0, 0])
    assert np.isposinf(diagram.decay_rate[0, 0, 0])
    assert diagram.half_life[0, 0, 0] == 0
    assert diagram.half_life[0, 1, 0] > 0


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_threads_change_nothing(cell):
    def measured(threads):
        bias = [0.0] if cell == "rnn" else [0.0, 1.0]
        return phase_diagram(
            cell, gain=[0.5, 1.0, 2.0], bias=bias, hidden_size=5, inputs=NOISE, seeds=2, threads=threads
        )

    assert measured(1) == measured(3)


def test_one_network_has_an_error_over_time_and_sequences_are_averaged():
    two = np.concatenate([NOISE, -NOISE + 0.5], axis=1)
    one = [phase_diagram("gru", gain=[1.0], hidden_size=5, inputs=two[:, b]) for b in range(2)]
    both = phase_diagram("gru", gain=[1.0], hidden_size=5, inputs=two)
    assert (one[0].exponent_error > 0).all()
    assert both.exponent_error > 0
    assert one[0].exponent != one[1].exponent
    # Not the mean of the two: the second sequence begins with another state when it is the second.
    np.testing.assert_allclose(
        both.exponent, (one[0].exponent + one[1].exponent) / 2, atol=5 * one[0].exponent_error.item()
    )


def test_the_noise_is_seeded():
    measured = [
        phase_diagram("rnn", gain=[1.0], hidden_size=5, steps=100, seed=seed).exponent.item()
        for seed in (0, 0, 1)
    ]
    assert measured[0] == measured[1] != measured[2]


def test_a_network_whose_states_overflow_is_a_gap_and_loses_nothing():
    diagram = phase_diagram(
        "rnn_relu", gain=[0.5, 8.0], hidden_size=16, inputs=np.zeros((300, 1)), dtype="float32"
    )
    assert diagram.diverged[0, :, 0].tolist() == [False, True]
    assert np.isfinite(diagram.exponent[0, 0, 0])
    for name in ("exponent", "exponent_error", "decay_rate", "half_life"):
        assert np.isnan(getattr(diagram, name)[0, 1, 0])


def test_it_is_saved_and_loaded(tmp_path):
    diagram = phase_diagram("gru", gain=[0.5, 1.0], bias=[0.0, 1.0], hidden_size=5, inputs=NOISE)
    diagram.save(tmp_path / "diagram.npz")
    loaded = gs.load(tmp_path / "diagram.npz")
    assert loaded.exponent.tolist() == diagram.exponent.tolist()
    assert tuple(loaded.scheme) == diagram.scheme


def test_progress_is_shown_only_if_asked_for(capsys):
    phase_diagram("gru", gain=[0.5], hidden_size=5, inputs=NOISE)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("keywords", "error", "match"),
    [
        ({"cell": "x"}, UnknownNameError, "cell='x'"),
        ({"gain": []}, ShapeError, "gain has shape"),
        ({"gain": [[1.0]]}, ShapeError, "gain has shape"),
        ({"gain": [1.0, np.nan]}, ValueRangeError, r"gain\[1\] is nan"),
        ({"gain": [-1.0, 1.0]}, ValueRangeError, "must not be below 0"),
        ({"gain": [2.0, 1.0]}, ValueRangeError, "must ascend"),
        ({"gain": ["a"]}, DtypeError, "gain has dtype"),
        ({"bias": []}, ShapeError, "bias has shape"),
        ({"bias": [0.0, np.inf]}, ValueRangeError, r"bias\[1\] is inf"),
        ({"cell": "rnn", "bias": [0.0, 1.0]}, ValueRangeError, "'rnn' has no gate that holds its memory"),
        ({"cell": "rnn", "bias": [1.0]}, ValueRangeError, "bias=.* leave it out"),
        ({"scheme": "x"}, UnknownNameError, "scheme='x'"),
        ({"scheme": ()}, ValueRangeError, "scheme is empty"),
        ({"scheme": 3}, UnknownNameError, "scheme=3"),
        ({"scheme": b""}, UnknownNameError, "scheme=b'' is no scheme"),
        ({"scheme": ("keras", "keras")}, ValueRangeError, "names a scheme twice"),
        ({"cell": "rnn", "scheme": "chrono"}, ValueRangeError, "chrono"),
        ({"seeds": 0}, ValueRangeError, "seeds=0"),
        ({"seed": -1}, ValueRangeError, "seed=-1"),
        ({"hidden_size": 0}, ValueRangeError, "hidden_size=0"),
        ({"steps": 0}, ValueRangeError, "steps=0"),
        ({"steps": 9}, ValueRangeError, "transient=None leaves 9 of 9 steps"),
        ({"transient": 995}, ValueRangeError, "transient=995 leaves 5"),
        ({"dtype": "int32"}, DtypeError, "int32"),
        ({"threads": 0}, ValueRangeError, "threads=0"),
        ({"inputs": np.zeros((100, 2))}, ShapeError, "input_size = 1"),
    ],
)
def test_bad_arguments(keywords, error, match):
    arguments = {"cell": "lstm", "gain": [1.0], "hidden_size": 5} | keywords
    with pytest.raises(error, match=match) as caught:
        phase_diagram(arguments.pop("cell"), **arguments)
    assert isinstance(caught.value, GatescopeError)


def test_points_within_their_error_of_the_edge_are_counted_for_neither_side():
    diagram = gs.phase_diagram(
        "rnn", gain=[0.5, 0.9, 2.0], hidden_size=5, inputs=np.zeros((60, 1)), dtype="float64"
    )
    exponents = np.array([-0.5, 0.01, 0.5])[None, :, None]
    diagram = dataclasses.replace(diagram, exponent=exponents, exponent_error=np.full((1, 3, 1), 0.02))
    assert (
        "gradients vanish at 1 of 3 points and explode at 1; at 1 the exponent is within two"
        in diagram.summary()
    )
    assert diagram.table().rows[0][2] == 2.0


def test_a_model_is_refused_with_the_name_to_give():
    params = gs.init("lstm", input_size=2, hidden_size=5, seed=0)
    for model in (params, gs.Stack(layers=(params,))):
        with pytest.raises(gs.DtypeError, match=r"drawn anew; .*'lstm'"):
            gs.phase_diagram(model, gain=[1.0])
