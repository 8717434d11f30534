"""Measurements of stacks layer by layer: each gets what it really receives, each layer below is run once."""

import dataclasses

import numpy as np
import pytest

import gatescope as gs
from gatescope.errors import DtypeError, UnknownNameError, ValueRangeError
from gatescope.measurements import each_layer
from gatescope.recurrence.recompute import NotFiniteError


def cell(seed, inputs, *, reverse=False, kind="lstm"):
    params = gs.init(kind, input_size=inputs, hidden_size=5, seed=seed, dtype="float64")
    return dataclasses.replace(params, reverse=reverse)


FORWARD = gs.Stack(layers=(cell(0, 3), cell(1, 5)))
BOTH = gs.Bidirectional(forward=cell(2, 5), backward=cell(3, 5, reverse=True))
BIDIRECTIONAL = gs.Stack(layers=(cell(0, 3), BOTH, cell(4, 10)))
LENGTHS = [60, 37, 60]
INPUTS = np.random.default_rng(0).standard_normal((60, 3, 3))

CALLS = {
    "half_life": lambda model, inputs, **more: gs.half_life(model, inputs, **more),
    "gradient_paths": lambda model, inputs, **more: gs.gradient_paths(model, inputs, max_lag=30, **more),
}


def received_by(stack, inputs, lengths=None):
    """Yield name, weights and inputs of each layer and direction."""
    for number, layer in enumerate(stack.layers):
        outputs = []
        for way, prefix in stack.prefixes(number).items():
            params = getattr(layer, way) if isinstance(layer, gs.Bidirectional) else layer
            yield prefix, params, inputs
            trace = gs.run(params, inputs, lengths=lengths)
            outputs.append(np.where(trace.mask[..., None], trace.outputs, 0))
        inputs = np.concatenate(outputs, axis=2)


@pytest.mark.parametrize("name", CALLS)
def test_each_layer_is_measured_on_what_it_receives(name):
    result = CALLS[name](BIDIRECTIONAL, INPUTS, lengths=LENGTHS)
    assert isinstance(result, gs.ByLayer)
    assert [*result] == ["layers.0", "layers.1.forward", "layers.1.backward", "layers.2"]
    for prefix, params, inputs in received_by(BIDIRECTIONAL, INPUTS, LENGTHS):
        assert result[prefix] == CALLS[name](params, inputs, lengths=LENGTHS), prefix


def test_the_layers_below_are_run_once(monkeypatch):
    runs = []

    def counted(series, params, *more):
        runs.append(params.hidden_size)
        return original(series, params, *more)

    original = each_layer.outputs_over
    monkeypatch.setattr(each_layer, "outputs_over", counted)
    gs.gradient_paths(BIDIRECTIONAL, INPUTS, max_lag=5)
    assert len(runs) == 3  # of the uppermost nothing is needed


def test_a_generator_is_read_once_for_both_directions():
    model = gs.Bidirectional(forward=cell(0, 3), backward=cell(1, 3, reverse=True))
    one = INPUTS[:, :1]
    result = gs.gradient_paths(model, (step for step in one[:, 0]), max_lag=5)
    assert result == gs.gradient_paths(model, one, max_lag=5)


def test_a_layer_may_stand_alone():
    alone = gs.gradient_paths(gs.Stack(layers=(cell(0, 3),)), INPUTS, max_lag=5, clamp={"f": 0.9})
    assert alone["layers.0"] == gs.gradient_paths(cell(0, 3), INPUTS, max_lag=5, clamp={"f": 0.9})


def test_clamps_and_states_are_those_of_the_layers_named():
    state = np.random.default_rng(1).standard_normal((3, 2, 5))
    more = {"clamp": {"layers.0.f": 0.9, "layers.-1.o": 0.5}, "initial_state": {"layers.1": state}}
    result = gs.gradient_paths(FORWARD, INPUTS, max_lag=5, **more)
    lower = gs.run(FORWARD.layers[0], INPUTS, clamp={"f": 0.9})
    expected = gs.gradient_paths(
        FORWARD.layers[1], lower.outputs, max_lag=5, clamp={"o": 0.5}, initial_state=state
    )
    assert result["layers.1"] == expected
    assert result["layers.0"] == gs.gradient_paths(FORWARD.layers[0], INPUTS, max_lag=5, clamp={"f": 0.9})


@pytest.mark.parametrize(
    ("more", "kind", "text"),
    [
        ({"initial_state": np.zeros((3, 2, 5))}, DtypeError, "initial_state"),
        ({"initial_state": {"layers.0.c": np.zeros((3, 5))}}, UnknownNameError, "initial_state"),
        ({"clamp": {"layers.2.f": 1.0}}, UnknownNameError, "clamp"),
        ({"clamp": {"layers.1.q": 1.0}}, UnknownNameError, "q"),
        ({"wrt": "q"}, UnknownNameError, r"in layers\.0"),
        ({"max_lag": 61}, ValueRangeError, r"in layers\.0"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(more, kind, text, monkeypatch):
    monkeypatch.setattr(each_layer, "outputs_over", None)
    with pytest.raises(kind, match=text):
        gs.gradient_paths(FORWARD, INPUTS, **{"max_lag": 5, **more})


def test_an_error_deep_inside_names_its_layer():
    error = NotFiniteError(0, 5).located("in layers.1")
    assert str(error).startswith("the states of sequence 0 are not finite from step 5 on, in layers.1; use")


def test_a_stack_of_layers_has_no_one_file_to_resume_from():
    with pytest.raises(ValueRangeError, match="resume"):
        each_layer.problems(FORWARD, INPUTS, None, None, None, lambda problem: problem, resume="x.npz")
