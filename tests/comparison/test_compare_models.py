"""compare() of models of several layers beside single cells."""

import dataclasses

import numpy as np
import pytest
from helpers.stack_cases import random_stack

import gatescope as gs
from gatescope.cells.operation_counts import count_operations
from gatescope.comparison.compare import compare
from gatescope.comparison.notes import glossary, notes, untrained
from gatescope.errors import ShapeError, ValueRangeError

INPUTS = np.random.default_rng(3).standard_normal((60, 2, 3))
LENGTHS = [60, 40]


def layer(seed, inputs):
    return gs.init("lstm", input_size=inputs, hidden_size=5, seed=seed, dtype="float64")


STACK = gs.Stack(layers=(layer(0, 3), layer(1, 5)), readout_weight=np.ones((2, 5)), readout_bias=np.zeros(2))
MODELS = {"two": STACK, "one": layer(0, 3)}


@pytest.fixture(scope="module")
def comparison():
    return compare(MODELS, INPUTS, lengths=LENGTHS, timing_runs=2, threads=1)


def test_numbers_are_those_of_the_whole_model(comparison):
    two, more = comparison["two"], {"lengths": LENGTHS}
    assert two.flow == gs.gradient_flow(STACK, INPUTS, of="joint", wrt="joint", **more)
    assert two.flow_h == gs.gradient_flow(STACK, INPUTS, of="layers.-1.h", wrt="layers.0.h", **more)
    assert two.flow_c == gs.gradient_flow(STACK, INPUTS, of="layers.-1.h", wrt="layers.0.c", **more)
    trace = gs.run(STACK, INPUTS, **more)
    assert two.trace == trace
    assert two.saturation == gs.saturation(trace)
    costs = [count_operations(gs.cells.get("lstm"), size, 5) for size in (3, 5)]
    assert two.multiply_adds == sum(cost.multiply_adds for cost in costs) + 10
    assert two.activations == sum(cost.activations for cost in costs)
    numbers = two.numbers()
    assert numbers["cell"] == "lstm on lstm"
    assert numbers["hidden_size"] == [5, 5]
    assert numbers["parameters"] == STACK.count()
    assert {*numbers["saturation"]["gates"]} == {f"layers.{k}.{gate}" for k in (0, 1) for gate in "ifo"}
    assert two.nanoseconds > comparison["one"].nanoseconds / 2


def test_a_cell_beside_it_is_compared_as_ever(comparison):
    alone = compare({"one": MODELS["one"]}, INPUTS, lengths=LENGTHS, timing_runs=1, threads=1)["one"]
    for name in ("flow", "flow_h", "flow_c", "trace", "saturation", "params"):
        assert getattr(comparison["one"], name) == getattr(alone, name)


def test_a_model_that_takes_the_sequences_first():
    first = dataclasses.replace(STACK.layers[0], batch_first=True)
    model, inputs = dataclasses.replace(STACK, layers=(first, STACK.layers[1])), INPUTS[:2]  # as many steps
    two = compare({"two": model}, inputs.swapaxes(0, 1), timing_runs=1, threads=1)["two"]
    np.testing.assert_array_equal(two.trace.outputs, gs.run(STACK, inputs, lengths=[2, 2]).outputs)
    assert two.flow == gs.gradient_flow(STACK, inputs, of="joint", wrt="joint", lengths=[2, 2])


def test_how_often_gates_are_saturated_is_over_all_values():
    comparison = compare({"two": STACK}, 2 * INPUTS, timing_runs=1)
    trace = gs.run(STACK, 2 * INPUTS)
    values = np.concatenate([one.gate(gate).ravel() for one in trace.results for gate in "ifo"])
    expected = np.mean((values < 0.1) | (values > 0.9))
    assert comparison["two"].saturated() == pytest.approx(expected, abs=1e-12)
    assert 0 < expected < 1


def test_it_is_saved_and_read_and_put_into_words(comparison, tmp_path):
    comparison.save(tmp_path / "a.npz")
    assert gs.load(tmp_path / "a.npz") == comparison
    assert comparison.table().header == ("", "two", "one")
    assert untrained(comparison).startswith("Untrained weights: two, one (pytorch")
    assert any("Of two the whole state is that of all layers" in text for text in notes(comparison))
    assert dict(glossary(comparison))["lstm"]


def test_each_direction_of_what_goes_both_ways_is_compared_on_what_it_gets_in_the_model():
    model = random_stack("lstm 5 | lstm 5", "lstm 5 | lstm 5", inputs=3)
    comparison = compare(
        {"one": layer(0, 3), "both": model}, INPUTS, lengths=LENGTHS, timing_runs=1, threads=1
    )
    trace = gs.run(model, INPUTS, lengths=LENGTHS)
    assert comparison.labels == ("one", *(f"both, {name}" for name in trace.names))
    for name, params in model.directions().items():
        part = comparison[f"both, {name}"]
        assert part.params == params
        np.testing.assert_array_equal(part.trace.states, trace[name].states)
        np.testing.assert_array_equal(part.trace.gates, trace[name].gates)
        lower = trace[name].inputs
        assert part.flow == gs.gradient_flow(params, lower, of="joint", wrt="joint", lengths=LENGTHS)
    said = "both: both ways, so that no state is made of earlier steps alone"
    assert said in comparison.summary()
    assert notes(comparison)[0].startswith(said)
    for name, warned in (("both, layers.0.backward", True), ("both, layers.1.forward", False)):
        part = comparison[name]
        scaled = dataclasses.replace(
            part.trace, inputs=1e3 * part.trace.inputs, gates=np.round(part.trace.gates)
        )
        other = [dataclasses.replace(c, trace=scaled) if c is part else c for c in comparison]
        # What a layer gets from the one below nobody can standardize.
        assert bool(dataclasses.replace(comparison, cells=tuple(other)).scale_warning()) == warned


def test_a_fault_of_one_of_them_is_said_with_its_label():
    model = random_stack("lstm 5 | lstm 5", inputs=2)
    with pytest.raises(ShapeError, match="both: inputs"):
        compare({"both": model}, INPUTS)


def test_a_model_by_the_label_of_anothers_direction_is_refused():
    models = {"m": random_stack("lstm 5 | lstm 5", inputs=3), "m, layers.0.forward": layer(0, 3)}
    for order in (models, dict(reversed(models.items()))):
        with pytest.raises(
            ValueRangeError, match=r"'m, layers\.0\.forward', which is the label of a direction of another"
        ):
            compare(order, INPUTS)
