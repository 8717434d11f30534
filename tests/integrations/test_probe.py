"""A reading of a watch, against the measurements themselves; no framework is needed for it."""

import warnings

import numpy as np
import pytest

import gatescope as gs
from gatescope.integrations.calls import Call, Recording
from gatescope.integrations.probe import Probe

RNG = np.random.default_rng(0)
LENGTHS = np.array([30, 12, 40, 40, 35])
INPUTS = RNG.normal(size=(40, 5, 3))


def weights(seed=0, rows=20):
    rng = np.random.default_rng(seed)
    sizes = [("weight_ih_l0", 3), ("weight_hh_l0", 5)]
    sizes += [("weight_ih_l0_reverse", 3), ("weight_hh_l0_reverse", 5)]
    sizes += [
        ("weight_ih_l1", 10),
        ("weight_hh_l1", 5),
        ("weight_ih_l1_reverse", 10),
        ("weight_hh_l1_reverse", 5),
    ]
    return {name: rng.normal(size=(rows, size)) / 2 for name, size in sizes}


def captured(modules, states=None):
    calls = [Call(name=name, inputs=INPUTS, lengths=LENGTHS, initial=states) for name in modules]
    return Recording(kind="a.Model", modules=modules, refused={}, advice="", calls=calls).captured()


def test_a_reading_is_what_the_measurements_measure():
    state = RNG.normal(size=(5, 40)) / 3
    capture = captured({"lstm": weights()}, state)
    probe = Probe(capture)
    names = ("layers.0.forward", "layers.0.backward", "layers.1.forward", "layers.1.backward")
    assert probe.layers == tuple(f"lstm.{name}" for name in names)
    assert (probe.cells, probe.gates) == (("lstm",) * 4, (("i", "f", "o"),) * 4)
    assert probe.steps == 30  # of the four longest
    reading = probe.read(capture, 25)
    assert reading.failure == ""
    rows = [0, 2, 3, 4]
    network = capture["lstm"]
    states = {name: part[rows] for name, part in network.initial_states().items()}
    trace = gs.run(network.model, INPUTS[:25, rows], initial_state=states)
    for k, name in enumerate(names):
        params = network.model.directions()[name]
        flow = gs.gradient_flow(
            params, trace[name].inputs, initial_state=states[name], of="joint", wrt="joint"
        )
        rate = flow.decay_rate()
        strays = next(filter(None, rate.why_none), "")
        counted = f"the mean over {rate.is_rate.sum()} of 4 sequences; in another {strays}"
        assert reading.doubts[k] == (counted if strays else "")
        assert reading.decay_rate[k] == rate.value[rate.is_rate].mean()
        assert reading.half_life[k] == np.log(2) / reading.decay_rate[k]
        counted = gs.saturation(trace[name])
        expected = [[part.mean() for part in counted.gate(gate)] for gate in probe.gates[k]]
        np.testing.assert_allclose(reading.saturation[k], expected, rtol=1e-14, atol=0)


def test_short_sequences_do_not_cut_a_long_one_short():
    calls = [Call(name="lstm", inputs=INPUTS, lengths=np.array([len(INPUTS), 3, 3, 3, 3]))]
    recording = Recording(kind="a.Model", modules={"lstm": weights()}, refused={}, advice="", calls=calls)
    assert Probe(recording.captured()).steps == len(INPUTS)


def test_of_several_modules_each_is_read_by_itself():
    gru = {name: RNG.normal(size=(15, size)) for name, size in (("weight_ih", 3), ("weight_hh", 5))}
    capture = captured({"": gru, "lstm": weights()})
    probe = Probe(capture)
    assert probe.layers[:2] == ("gru", "lstm.layers.0.forward")
    assert probe.gates[0] == ("r", "z")
    endless = {
        name: np.where(np.arange(len(value))[:, None] == 3, np.nan, value) for name, value in gru.items()
    }
    whole, partly = probe.read(capture, 20), probe.read(captured({"": endless, "lstm": weights()}), 20)
    assert "the model cannot be read" in partly.failure
    assert "not finite" in partly.failure
    assert np.isnan(partly.decay_rate[0])
    np.testing.assert_array_equal(partly.decay_rate[1:], whole.decay_rate[1:])
    assert np.isnan(partly.saturation[0]).all()
    assert np.isnan(whole.saturation[0, 2]).all()  # the GRU has no third gate
    other = probe.read(captured({"": weights(), "lstm": weights()}), 20)
    assert other.failure == "the model has other layers than it had"
    gone = probe.read(captured({"": gru}), 20)
    assert gone.failure == "lstm is gone"


def test_too_few_steps_have_no_rate_and_say_so():
    capture = captured({"lstm": weights()})
    reading = Probe(capture).read(capture, 8)
    assert np.isnan(reading.half_life).all()
    assert all("too short" in doubt for doubt in reading.doubts)
    assert np.isfinite(reading.saturation).all()


@pytest.mark.filterwarnings("error")
def test_a_reading_does_not_show_warnings_of_others_again():
    capture = captured({"lstm": weights()})
    probe = Probe(capture)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")  # each once a line
        for _ in range(2):
            warnings.warn("of the loop itself", stacklevel=1)
            probe.read(capture, 25)
    assert [str(warning.message) for warning in shown] == ["of the loop itself"]


def test_what_a_measurement_warns_of_is_a_doubt_of_its_reading():
    saturated = {name: value * 1e3 for name, value in weights().items()}
    capture = captured({"lstm": saturated})
    reading = Probe(capture).read(capture, 30)
    assert reading.failure == ""
    assert any("below what float64 can tell" in doubt for doubt in reading.doubts)


def test_a_saturated_network_needs_no_other_kernels_than_were_compiled():
    event = pytest.importorskip("numba.core.event")
    capture = captured({"lstm": weights()})
    probe = Probe(capture)
    probe.compile(capture)
    saturated = {name: value * 50 for name, value in weights().items()}
    with event.install_recorder("numba:compile") as recorder:
        reading = probe.read(captured({"lstm": saturated}), 30)
    assert np.nanmax(reading.saturation.sum(axis=-1)) > 0.5
    assert recorder.buffer == []
