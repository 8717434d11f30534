"""lengths: in every measurement a padded sequence gets what it gets alone, to the bit but for sums of statistics."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from helpers.cases import Case

import gatescope as gs
from gatescope.datatypes.lyapunov_spectrum import BATCHED
from gatescope.errors import ShapeError, ValueRangeError

LENGTHS = [60, 37, 60, 22]


@dataclasses.dataclass(frozen=True)
class Measurement:
    """How a measurement is called, and on which axis of which arrays of its result the sequences are."""

    call: Callable[..., Any]
    axes: Mapping[str, int]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rtol: float = 0.0


FLOW = {"log_norm": 1}
PATHS = {"log_norm": 2, "fraction": 2, "total_log_norm": 1}
RATES = ("gate_rate", "gate_error", "adjoint_rate", "adjoint_error", "exponent_rate", "exponent_error")
LIFE = dict.fromkeys(("by_gate", "by_adjoint", "by_exponent", *RATES, "r_squared", "disagree"), 0)
SPECTRUM = dict.fromkeys(BATCHED, 0)
MEASUREMENTS = {
    "gradient_flow": Measurement(gs.gradient_flow, FLOW),
    "gradient_flow, unit": Measurement(gs.gradient_flow, FLOW, {"norm": "unit", "unit": 2, "wrt": "joint"}),
    "gradient_flow, spectral": Measurement(gs.gradient_flow, FLOW, {"norm": "spectral", "of": "joint"}),
    "gradient_flow, lags": Measurement(gs.gradient_flow, FLOW, {"lags": [0, 20, 30, 50]}),
    "gradient_flow, max_lag": Measurement(gs.gradient_flow, FLOW, {"max_lag": 25, "source_step": -3}),
    "gradient_flow, early": Measurement(gs.gradient_flow, FLOW, {"source_step": 9}),
    "gradient_paths": Measurement(gs.gradient_paths, PATHS),
    "gradient_paths, vectors": Measurement(
        gs.gradient_paths, {**PATHS, "vectors": 2, "exponents": 1}, {"vectors": True}
    ),
    "jacobian_spectrum": Measurement(gs.jacobian_spectrum, {"log_singular": 1}),
    "jacobian_spectrum, lags": Measurement(
        gs.jacobian_spectrum, {"log_singular": 1}, {"lags": [0, 20, 30, 50], "of": "h", "wrt": "h", "k": 2}
    ),
    "lyapunov_spectrum": Measurement(gs.lyapunov_spectrum, SPECTRUM, {"qr_every": 2}),
    # Means and deviations of blocks are sums over an axis, whose order NumPy chooses by the shape.
    "half_life": Measurement(gs.half_life, LIFE, rtol=1e-14),
}


def alone(measurement, case, b, lengths):
    """Return the result of one sequence, cut to its length, by a call of its own."""
    options = dict(measurement.options)
    if "lags" in options:
        options["lags"] = [lag for lag in options["lags"] if lag <= lengths[b]]
    if "max_lag" in options:
        options["max_lag"] = min(options["max_lag"], lengths[b] + 1 + options["source_step"])
    x, state = case.inputs[: lengths[b], b : b + 1], case.initial_state[b : b + 1]
    return measurement.call(case.params, x, initial_state=state, **options)


@pytest.mark.parametrize(("cell", "dtype"), [("lstm", "float32"), ("rnn", "float64")])
@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_padded_sequence_gets_what_it_gets_alone(name, cell, dtype):
    measurement = MEASUREMENTS[name]
    case = Case(cell, T=64, B=4, I=2, H=5, dtype=dtype)
    measured = measurement.call(
        case.params,
        case.inputs,
        lengths=LENGTHS,
        initial_state=case.initial_state,
        **measurement.options,
    )
    for b in range(4):
        expected = alone(measurement, case, b, LENGTHS)
        for field, axis in measurement.axes.items():
            mine = np.take(getattr(measured, field), [b], axis)
            if hasattr(measured, "lag"):
                mine = mine[np.searchsorted(measured.lag, expected.lag)]
            np.testing.assert_allclose(
                mine, getattr(expected, field), rtol=measurement.rtol, err_msg=f"{field} of sequence {b}"
            )


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_lengths_that_are_all_equal_are_a_shorter_series(name):
    measurement = MEASUREMENTS[name]
    case = Case("gru", T=40, B=3, I=2, H=5)
    whole = measurement.call(case.params, case.inputs[:30], **measurement.options | cut(measurement, 30))
    padded = measurement.call(
        case.params, case.inputs, lengths=[30] * 3, **measurement.options | cut(measurement, 30)
    )
    assert padded == whole


def cut(measurement, steps):
    lags = measurement.options.get("lags")
    return {} if lags is None else {"lags": [lag for lag in lags if lag <= steps]}


# ---- what results say of their sequences ----


def test_a_flow_of_several_lengths_knows_its_sequences():
    case = Case("lstm", T=64, B=4, I=2, H=5)
    flow = gs.gradient_flow(case.params, case.inputs, lengths=LENGTHS)
    assert flow.source_step == 60
    np.testing.assert_array_equal(flow.source_steps, LENGTHS)
    np.testing.assert_array_equal(flow.lag, np.arange(61))
    np.testing.assert_array_equal(np.isnan(flow.log_norm), flow.lag[:, None] > np.array(LENGTHS))
    rate = flow.decay_rate()
    for b, steps in enumerate(LENGTHS):
        one = gs.gradient_flow(case.params, case.inputs[:steps, b])
        assert flow.sequence(b) == one
        assert rate.value[b] == one.decay_rate().value[0]
        assert flow.half_life().value[b] == one.half_life().value[0]
    assert rate.fit_range == (2, 60)
    assert "asymptotic half-life: median" in flow.summary()
    assert "vanishing: its tail halves every" in flow.sequence(3).summary()


def test_a_spectrum_of_several_lengths_knows_its_sequences():
    """Intervals between orthonormalizations and transients are those of each sequence."""
    case, lengths = Case("lstm", T=64, B=4, I=2, H=5), [60, 37, 50, 22]
    spectrum = gs.lyapunov_spectrum(case.params, case.inputs, lengths=lengths)
    assert spectrum.by_sequence[:, 2].tolist() == [54, 34, 45, 20]
    for b, steps in enumerate(lengths):
        one = gs.lyapunov_spectrum(case.params, case.inputs[:steps, b])
        assert spectrum.sequence(b) == one
        assert spectrum.verdict()[b] == one.verdict()[0]
        np.testing.assert_array_equal(spectrum.converged()[b], one.converged()[0])
    assert "over up to 54 steps" in spectrum.summary()
    jacobians = gs.jacobian_spectrum(case.params, case.inputs, lengths=lengths)
    assert jacobians.sequence(3) == gs.jacobian_spectrum(case.params, case.inputs[:22, 3])


def test_connectivity_of_several_lengths_leaves_out_what_a_sequence_has_not():
    case = Case("lstm", T=64, B=4, I=2, H=5)
    conn = gs.connectivity(case.params, case.inputs, lengths=LENGTHS, norm="unit")
    lags, profile = conn.lag_profile()
    for b, steps in enumerate(LENGTHS):
        one = gs.connectivity(case.params, case.inputs[:steps, b], norm="unit")
        np.testing.assert_array_equal(conn.log_norm[:steps, :steps, b], one.log_norm[:, :, 0])
        assert np.isnan(conn.log_norm[steps:, :, b]).all()
        np.testing.assert_array_equal(profile[:steps, b], one.lag_profile()[1][:, 0])
        assert np.isnan(profile[steps:, b]).all()
    assert lags.tolist() == list(range(60))
    with pytest.raises(ValueRangeError, match="target_steps are all past the end of a sequence of 22 steps"):
        gs.connectivity(case.params, case.inputs, lengths=LENGTHS, target_steps=[30, 59])


def test_a_phase_diagram_does_not_look_at_padding():
    case = Case("gru", T=64, B=2, I=1, H=5)
    junk = case.inputs.copy()
    junk[40:, 1] = 99

    def diagram(inputs):
        return gs.phase_diagram("gru", gain=[0.5, 1.0], hidden_size=5, inputs=inputs, lengths=[64, 40])

    assert diagram(case.inputs) == diagram(junk)
    assert (diagram(junk).steps, diagram(junk).transient) == (64, 6)


def test_a_half_life_of_several_lengths_says_over_how_many_steps():
    case = Case("lstm", T=64, B=4, I=2, H=5)
    life = gs.half_life(case.params, case.inputs, lengths=LENGTHS)
    assert (life.steps, life.transient) == (60, 6)
    np.testing.assert_array_equal(life.lengths, LENGTHS)
    np.testing.assert_array_equal(life.transients, [6, 3, 6, 2])
    assert "over 34 steps" in life.sequence(1).summary()


def test_results_of_several_lengths_are_saved_and_loaded(tmp_path):
    case = Case("lstm", T=64, B=4, I=2, H=5)
    for measure in (gs.gradient_flow, gs.gradient_paths, gs.half_life, gs.lyapunov_spectrum, gs.connectivity):
        measured = measure(case.params, case.inputs, lengths=LENGTHS)
        measured.save(tmp_path / "measured.npz")
        assert gs.load(tmp_path / "measured.npz") == measured


def test_a_diagnosis_looks_at_the_last_steps_of_each_sequence():
    case = Case("lstm", T=100, B=3, I=2, H=5)
    options = {"window": 40, "target_half_life": 10}
    measured = gs.diagnose(case.params, case.inputs, lengths=[100, 60, 80], **options)
    assert (measured.steps, measured.window, measured.sequences) == (60, 40, 3)
    ends = [(100, 0), (60, 1), (80, 2)]
    windows = np.stack([case.inputs[end - 40 : end, b] for end, b in ends], axis=1)
    start = np.random.default_rng([0, 1]).uniform(-0.1, 0.1, (3, 1, 2, 5))
    states = np.stack(
        [
            gs.run(case.params, case.inputs[: end - 40, b], initial_state=start[b]).final_state[0]
            for end, b in ends
        ]
    )
    same = gs.diagnose(case.params, windows, initial_state=states, **options)
    assert measured.spectrum == same.spectrum
    assert measured.flow == same.flow
    assert (measured.verdict, measured.gate) == (same.verdict, same.gate)
    lone = gs.diagnose(case.params, case.inputs[:60, 1], **options)
    assert gs.diagnose(case.params, case.inputs[:, 1], lengths=[60], **options) == lone


# ---- bad lengths ----


@pytest.mark.parametrize(
    "measure", [gs.gradient_flow, gs.gradient_paths, gs.half_life, gs.diagnose, gs.connectivity]
)
def test_bad_lengths(measure):
    case = Case("gru", T=40, B=2, I=2, H=5)
    with pytest.raises(ValueRangeError, match=r"lengths\[1\] is 0; leave that sequence out"):
        measure(case.params, case.inputs, lengths=[40, 0])
    with pytest.raises(ShapeError, match="lengths has shape"):
        measure(case.params, case.inputs, lengths=[40])


def test_what_does_not_go_with_several_lengths(tmp_path):
    case = Case("gru", T=40, B=2, I=2, H=5)
    with pytest.raises(ValueRangeError, match="resume cannot be used with sequences of several lengths"):
        gs.gradient_flow(case.params, case.inputs, lengths=[40, 30], resume=tmp_path / "state")
    with pytest.raises(ValueRangeError, match="lags are all longer than a sequence of 30 steps"):
        gs.gradient_flow(case.params, case.inputs, lengths=[40, 30], lags=[35, 38])
    with pytest.raises(ValueRangeError, match=r"source_step=35 is out of range; the states are 1..30"):
        gs.gradient_flow(case.params, case.inputs, lengths=[40, 30], source_step=35)


@pytest.mark.parametrize("measure", [gs.gradient_flow, gs.lyapunov_spectrum, gs.jacobian_spectrum])
def test_a_sequence_that_overflows_is_named_by_its_number_in_the_batch(measure):
    params = gs.init("rnn_relu", input_size=1, hidden_size=2, dtype="float64")
    params.weight_hh[:] = 1e20 * np.eye(2)
    params.weight_ih[:], params.bias_ih[:], params.bias_hh[:] = 1, 0, 0
    inputs = np.zeros((40, 3, 1))
    inputs[0, 2] = 1
    with pytest.raises(ValueRangeError, match="sequence 2 are not finite from step 17 on"):
        measure(params, inputs, lengths=[30, 40, 40])
