"""Calls that were recorded become networks: which belong together, what is left out and why."""

import numpy as np
import pytest

import gatescope as gs
from gatescope.integrations.calls import Call, Recording

RNG = np.random.default_rng(0)
CELL = {name: RNG.normal(size=(15, size)) for name, size in (("weight_ih", 3), ("weight_hh", 5))}
PARAMS = gs.load_weights(CELL)
INPUTS = RNG.normal(size=(9, 3, 3))


def steps(inputs, first=None):
    """Return the calls of a cell in a loop over inputs (T, B, I)."""
    state = None if first is None else first[:, None]
    states = gs.run(PARAMS, inputs, initial_state=state, lengths=[len(inputs)] * 3).states[:, :, 0]
    for t, x in enumerate(inputs):
        before = first if t == 0 else states[t]
        yield Call(name="cell", inputs=x[None], initial=before, final=states[t + 1])


def captured(calls, modules=None, refused=None):
    named = {"cell": CELL} if modules is None else modules
    return Recording(
        kind="a.Model", modules=named, refused=refused or {}, advice="give one", calls=[*calls]
    ).captured()


def test_steps_that_go_on_from_each_other_are_one_run():
    first = RNG.normal(size=(3, 5))
    capture = captured([*steps(INPUTS), *steps(INPUTS[:4], first), *steps(INPUTS[4:6])])
    assert [(one.call, one.calls) for one in capture.networks] == [(0, 9), (9, 4), (13, 2)]
    whole, second, _ = capture.networks
    np.testing.assert_array_equal(whole.inputs, INPUTS)
    assert whole.arguments.keys() == {"inputs", "lengths"}
    trace = gs.run(second.model, **second.arguments)
    np.testing.assert_array_equal(trace.states[0, :, 0], first)
    np.testing.assert_array_equal(
        trace.states, gs.run(PARAMS, INPUTS[:4], initial_state=first[:, None]).states
    )
    assert capture["cell", 1] == second
    with pytest.raises(gs.UnknownNameError, match=r"was called 3 times.*captured\['cell', 0\]"):
        capture["cell"]
    with pytest.raises(gs.UnknownNameError, match="there are 'cell'"):
        capture["lstm"]
    with pytest.raises(gs.ValueRangeError, match="there are 3 calls"):
        capture["cell", 3]


def test_a_run_is_saved_and_loaded(tmp_path):
    capture = captured(steps(INPUTS, RNG.normal(size=(3, 5))), refused={"other": "is another one"})
    capture.save(tmp_path / "capture.npz")
    assert gs.load(tmp_path / "capture.npz") == capture
    assert capture.table().rows == [("cell", 0, "gru", 9, 3, 3, "as it was given")]
    assert capture.summary() == "captured: 1 recurrent module\nother is left out: it is another one"
    assert ("cells", "gru") in capture["cell"].table().rows


def test_states_of_layers_and_directions_lie_side_by_side():
    forward, upper = gs.init("lstm", input_size=3, hidden_size=5), gs.init("gru", input_size=5, hidden_size=4)
    state = np.arange(28.0).reshape(2, 14)
    network = gs.datatypes.CapturedNetwork(
        name="",
        call=0,
        calls=1,
        model=gs.Stack(layers=(forward, upper)),
        inputs=np.zeros((3, 2, 3)),
        lengths=np.array([3, 2]),
        initial_state=state,
    )
    states = network.arguments["initial_state"]
    assert {name: part.shape for name, part in states.items()} == {
        "layers.0": (2, 2, 5),
        "layers.1": (2, 1, 4),
    }
    np.testing.assert_array_equal(states["layers.0"][1, 1], np.arange(19, 24))
    np.testing.assert_array_equal(states["layers.1"][0, 0], np.arange(10, 14))
    assert network.table().rows[3] == ("steps", "2 to 3")
    with pytest.raises(gs.ShapeError, match="has 13 numbers a sequence, and the states of the layers are 14"):
        type(network)(**{**vars(network), "initial_state": state[:, 1:]})


def test_what_cannot_be_captured_says_why():
    with pytest.raises(
        gs.WeightFormatError, match=r"a\.Model, in which there is no recurrent module; give one"
    ):
        captured([], modules={})
    projected = {**CELL, "weight_hr": np.zeros((2, 5))}
    endless = {**CELL, "weight_hh": np.full((15, 5), np.inf)}
    modules = {"cell": CELL, "projected": projected, "endless": endless, "idle": CELL}
    calls = [*steps(INPUTS)]
    more = [Call(name=name, inputs=INPUTS) for name in ("projected", "endless")]
    capture = captured([*calls, *more], modules, {"scripted": "is of TorchScript"})
    reasons = dict(capture.left_out)
    assert [*reasons] == ["scripted", "projected", "endless", "idle"]
    assert "projection" in reasons["projected"]
    assert "not finite" in reasons["endless"]
    assert "was not called" in reasons["idle"]
    with pytest.raises(gs.UnknownNameError, match=r"captured: it was not called .*there are 'cell'"):
        capture["idle"]
    with pytest.raises(gs.WeightFormatError, match=r"idle was not called .*endless cannot be read") as error:
        captured(more, {name: modules[name] for name in ("idle", "endless")})
    assert len(str(error.value)) < 500
