"""What is said of the layers of a stack together: which remembers longest, which forgets, and what to change."""

import dataclasses
import math

import numpy as np
import pytest

import gatescope as gs
from gatescope.errors import ValueRangeError
from gatescope.measurements import joint_half_life

INPUTS = np.random.default_rng(0).standard_normal((600, 1, 3))


def gated(bias, inputs, seed):
    """Return an LSTM that only its forget gate carries, so that its half-life is ln 2 / ln(1 + e^-bias)."""
    drawn = gs.init("lstm", input_size=inputs, hidden_size=5, seed=seed, dtype="float64")
    arrays = {name: np.zeros_like(array) for name, array in drawn.arrays().items()}
    arrays["bias_ih"][5:10] = bias
    return dataclasses.replace(drawn, **arrays)


def half_life_of(bias):
    return math.log(2) / math.log1p(math.exp(-bias))


def test_the_layer_that_remembers_longest_is_named_and_so_long_does_the_whole():
    stack = gs.Stack(layers=(gated(1.0, 3, 0), gated(3.0, 5, 1), gated(-1.0, 5, 2)))
    life = gs.half_life(stack, INPUTS)
    for name, bias in zip(life, (1.0, 3.0, -1.0), strict=True):
        np.testing.assert_allclose(life[name].by_exponent, half_life_of(bias), rtol=1e-9)
    assert [name for name, *_ in life.ranking()] == ["layers.1", "layers.0", "layers.2"]
    np.testing.assert_allclose(life.whole.by_exponent, half_life_of(3.0), rtol=1e-9)
    np.testing.assert_allclose(life.whole.slowest, half_life_of(3.0), rtol=1e-9)
    np.testing.assert_allclose(life.whole.by_adjoint, half_life_of(3.0), rtol=1e-6)
    assert "layers.1 remembers longest, a half-life of 14.27 steps" in life.summary()
    assert life.table().header == ("", "layers.0", "layers.1", "layers.2", "the whole")


def test_the_adjoint_of_the_whole_is_that_of_the_joint_state():
    """Two estimates that come from different computations: the way back through all layers, and tangents of each."""
    drawn = [
        gs.init("lstm", input_size=size, hidden_size=5, seed=k, dtype="float64")
        for k, size in enumerate((3, 5))
    ]
    stack, lengths = gs.Stack(layers=tuple(drawn)), [600, 450]
    inputs = np.random.default_rng(1).standard_normal((600, 2, 3))
    life = gs.half_life(stack, inputs, lengths=lengths)
    whole = life.whole
    assert not whole.disagree.any()
    np.testing.assert_allclose(whole.adjoint_rate, whole.exponent_rate, rtol=0.02)
    assert np.array_equal(whole.lengths, lengths)
    for b, steps in enumerate(lengths):
        flow = gs.gradient_flow(
            stack, inputs[:steps, b], of="joint", wrt="joint", max_lag=steps - steps // 10
        )
        np.testing.assert_allclose(whole.adjoint_rate[b], flow.decay_rate().value[0], rtol=1e-12)
        np.testing.assert_array_equal(whole.steps_to_half[b], flow.steps_to_half()[0])
    alone = gs.half_life(stack, inputs[:450, 1]).whole
    np.testing.assert_allclose(whole.sequence(1).adjoint_rate, alone.adjoint_rate, rtol=1e-12)
    np.testing.assert_allclose(whole.sequence(1).by_gate, alone.by_gate, rtol=1e-12)


def test_layers_that_the_errors_do_not_tell_apart_are_named_together():
    stack = gs.Stack(layers=(gated(3.0, 3, 0), gated(3.1, 5, 1)))
    assert "layers.1, layers.0 remember longest, about alike" in gs.half_life(stack, INPUTS).summary()


def test_a_layer_that_nothing_sure_is_known_of_may_be_the_one_that_remembers_longest():
    life = gs.half_life(gs.Stack(layers=(gated(3.0, 3, 0), gated(1.0, 5, 1))), INPUTS)
    assert "this may change" not in life.summary()
    doubted = dataclasses.replace(life["layers.1"], exponent_doubt=("it drifts",))
    life = dataclasses.replace(life, results=(life["layers.0"], doubted))
    assert "layers.0 remembers longest" in life.summary()
    assert "this may change, for of layers.1: it drifts" in life.summary()


def test_a_doubt_of_any_layer_is_one_of_the_whole():
    names = ["layers.0", "layers.1"]
    assert joint_half_life._doubt(names, ["", ""], 0) == ""
    assert joint_half_life._doubt(names, ["it drifts", "it rests"], 1) == "it rests"
    assert joint_half_life._doubt(names, ["it drifts", ""], 1) == "of layers.0: it drifts"


def test_a_whole_that_goes_both_ways_has_no_half_life_and_says_so():
    both = gs.Bidirectional(
        forward=gated(1.0, 3, 0), backward=dataclasses.replace(gated(3.0, 3, 1), reverse=True)
    )
    life = gs.half_life(both, INPUTS)
    assert life.whole is None
    assert [*life] == ["layers.0.forward", "layers.0.backward"]
    np.testing.assert_allclose(life["layers.0.backward"].by_exponent, half_life_of(3.0), rtol=1e-9)
    assert "the whole has no half-life: its layers do not all go one way" in life.summary()


def test_layers_that_all_go_backward_are_a_whole():
    layers = (dataclasses.replace(gated(bias, size, 0), reverse=True) for bias, size in ((1.0, 3), (2.0, 5)))
    life = gs.half_life(gs.Stack(layers=tuple(layers)), INPUTS)
    np.testing.assert_allclose(life.whole.by_exponent, half_life_of(2.0), rtol=1e-9)


def test_half_lives_of_a_stack_are_saved_and_read(tmp_path):
    life = gs.half_life(gs.Stack(layers=(gated(1.0, 3, 0), gated(3.0, 5, 1))), INPUTS)
    life.save(tmp_path / "life.npz")
    assert gs.load(tmp_path / "life.npz") == life


@pytest.fixture(scope="module")
def forgetful():
    """Return a stack whose lower layer forgets, and its diagnosis for a half-life of 10 steps."""
    stack = gs.Stack(layers=(gated(-1.0, 3, 0), gated(4.0, 5, 1)))
    return stack, gs.diagnose(stack, INPUTS[:60], target_half_life=10)


def test_the_layer_that_forgets_is_named_with_what_to_change(forgetful):
    _, diagnosis = forgetful
    assert diagnosis["layers.0"].verdict == "vanishing"
    assert diagnosis["layers.1"].verdict == "near-critical"
    assert diagnosis.layer == "layers.0"
    head = diagnosis.summary().splitlines()[1]
    assert head.startswith("layers.0 forgets first: its half-life is 0.5278 steps, where 10 steps are wanted")
    assert "on the bias of f" in head


def test_what_is_suggested_for_a_layer_changes_that_layer_alone(forgetful):
    stack, diagnosis = forgetful
    changed = diagnosis.apply(stack)
    assert changed.layers[1] == stack.layers[1]
    # sigmoid(b)^10 = 1/2: the bias that is wanted, in closed form.
    wanted = -math.log(2 ** (1 / 10) - 1)
    np.testing.assert_allclose(changed.layers[0].bias_ih[5:10], wanted, atol=2e-3)  # three digits are given
    with pytest.raises(ValueRangeError, match="nothing is suggested"):
        diagnosis.apply(stack, "layers.1")
    with pytest.raises(ValueRangeError, match=r"has no layers\.0"):
        diagnosis.apply(
            gs.Stack(
                layers=(
                    gs.Bidirectional(
                        forward=stack.layers[0], backward=dataclasses.replace(stack.layers[0], reverse=True)
                    ),
                )
            )
        )


def test_a_suggestion_for_one_direction_changes_that_direction_alone(forgetful):
    stack, diagnosis = forgetful
    ahead = gated(2.0, 3, 1)
    back = dataclasses.replace(stack.layers[0], reverse=True)
    both = gs.Bidirectional(forward=ahead, backward=back)
    ways = gs.DiagnosisByLayer(
        names=("layers.0.forward", "layers.0.backward"),
        results=(diagnosis["layers.1"], diagnosis["layers.0"]),
    )
    assert ways.layer == "layers.0.backward"
    changed = ways.apply(both).layers[0]
    assert changed.forward == ahead
    assert changed.backward == diagnosis["layers.0"].apply(back)
