"""Counting: the sets of next symbols against a search of the language, what is accepted, and the baseline."""

import math

import numpy as np
import pytest
from helpers.judging import loss, same

from gatescope.errors import DtypeError, ShapeError, ValueRangeError
from gatescope.tasks._adding import adding
from gatescope.tasks._counting import counting, counting_accepted, counting_of


def word(n, letters):
    return "".join(letter * n for letter in "abc"[:letters]) + "$"


def possible_next(prefix, letters, longest):
    """Which symbols follow `prefix` in any word of the language up to n = `longest`."""
    words = [word(n, letters) for n in range(1, longest + 1)]
    return {w[len(prefix)] for w in words if w.startswith(prefix) and len(w) > len(prefix)}


@pytest.mark.parametrize("letters", [2, 3])
def test_the_targets_are_all_that_can_follow(letters):
    numbers = [1, 2, 3, 7]
    batch = counting_of(numbers, letters=letters, dtype="float64")
    alphabet = "abc"[:letters] + "$"
    for b, n in enumerate(numbers):
        string = word(n, letters)[:-1]
        assert batch.lengths[b] == len(string) + 1
        shown = batch.inputs[:, b]
        assert "".join("^abc"[k] for k in shown[: len(string) + 1].argmax(axis=1)) == "^" + string
        np.testing.assert_array_equal(shown[: len(string) + 1].sum(axis=1), 1)
        for t in range(len(string) + 1):
            symbols = {symbol for symbol, one in zip(alphabet, batch.targets[t, b], strict=True) if one == 1}
            assert symbols == possible_next(string[:t], letters, longest=20)
        assert not shown[len(string) + 1 :].any()
        assert not batch.targets[len(string) + 1 :, b].any()
        np.testing.assert_array_equal(batch.mask[:, b], np.arange(len(shown)) <= len(string))


def test_random_numbers_fill_their_range():
    batch = counting(steps=31, sequences=3000, n_min=2)
    numbers, counts = np.unique(batch.provenance["numbers"], return_counts=True)
    assert numbers.tolist() == list(range(2, 16))
    np.testing.assert_allclose(counts / 3000, 1 / 14, atol=0.024)  # standard deviation 0.0047
    assert max(counting(steps=31, sequences=300, n_max=4).provenance["numbers"]) == 4
    assert set(counting(steps=31, sequences=9, n_min=5, n_max=5).provenance["numbers"]) == {5}


def test_random_and_given_numbers_make_the_same_batch():
    drawn = counting(steps=40, sequences=12, letters=3, seed=2)
    assert same(drawn, counting_of(drawn.provenance["numbers"], letters=3, steps=40))
    assert drawn.baseline == counting_of(drawn.provenance["numbers"], letters=3).baseline


def test_far_past_the_training_length():
    batch = counting_of([1000])
    assert batch.inputs.shape == (2001, 1, 3)
    assert batch.targets[-1, 0].tolist() == [0, 0, 1]
    assert counting_accepted(batch.targets - 0.5, batch).tolist() == [True]


def test_one_wrong_side_at_any_step_rejects_that_string_alone():
    batch = counting_of([2, 4, 1], letters=3)
    good = np.where(batch.targets > 0, 3.0, -3.0)
    assert counting_accepted(good, batch).tolist() == [True] * 3
    for b in range(3):
        for t in range(batch.lengths[b]):
            for k in range(4):
                for wrong in (-good[t, b, k], 0.0, math.nan):
                    outputs = good.copy()
                    outputs[t, b, k] = wrong
                    assert counting_accepted(outputs, batch).tolist() == [b != other for other in range(3)]


def test_what_comes_after_a_string_does_not_matter():
    batch = counting_of([1, 5])
    outputs = batch.targets - 0.5
    outputs[batch.lengths[0] :, 0] = math.nan
    assert counting_accepted(outputs, batch).all()


def test_a_network_that_cannot_count_is_rejected_though_its_loss_is_low():
    batch = counting_of([50])
    outputs = np.where(batch.targets > 0, 9.0, -9.0)
    outputs[-1] = outputs[-2]  # misses the end
    assert loss(batch, outputs) < 0.2
    assert not counting_accepted(outputs, batch).any()


@pytest.mark.parametrize("letters", [2, 3])
def test_the_baseline_is_what_the_best_answer_to_the_current_symbol_costs(letters):
    batch = counting(steps=61, sequences=400, letters=letters, dtype="float64")
    seen = batch.inputs[batch.mask].argmax(axis=1)
    p = np.zeros((letters + 1, letters + 1))  # how often what follows may be k, by the current symbol
    for symbol in range(letters + 1):
        p[symbol] = batch.targets[batch.mask][seen == symbol].mean(axis=0)
    with np.errstate(divide="ignore"):
        logits = np.clip(np.log(p) - np.log1p(-p), -800, 800)  # e^-800 is 0
    outputs = np.zeros(batch.targets.shape)
    outputs[batch.mask] = logits[seen]
    assert loss(batch, outputs) == pytest.approx(batch.baseline, rel=1e-12)
    outputs[batch.mask] *= 0.9  # less sure, or more sure, is worse
    assert loss(batch, outputs) > batch.baseline
    outputs[batch.mask] *= 1.1 / 0.9
    assert loss(batch, outputs) > batch.baseline


def test_the_baseline_of_ab_alone_is_0():
    assert counting_of([1, 1]).baseline == 0


@pytest.mark.parametrize("numbers", [[], 3, [[1, 2]]])
def test_numbers_of_another_shape(numbers):
    with pytest.raises(ShapeError, match=r"numbers has shape .* should have one n for each"):
        counting_of(np.array(numbers, int))


@pytest.mark.parametrize("numbers", [[0], [3, -1], [1.5]])
def test_numbers_out_of_range(numbers):
    with pytest.raises(ValueRangeError, match="must be whole numbers of at least 1"):
        counting_of(numbers)


def test_numbers_that_are_none():
    with pytest.raises(DtypeError, match="numbers has dtype <U1; give real numbers"):
        counting_of(["a"])
    with pytest.raises(ShapeError, match="numbers is not a rectangular array"):
        counting_of([[1], [2, 3]])


def test_too_few_steps_for_the_numbers():
    with pytest.raises(ValueRangeError, match=r"steps=20 must be a whole number of at least 21"):
        counting_of([3, 10], steps=20)


def test_outputs_that_do_not_belong_to_the_batch():
    batch = counting_of([2])
    with pytest.raises(ShapeError, match=r"outputs has shape \(5, 1, 2\), but should have \(5, 1, 3\)"):
        counting_accepted(np.zeros((5, 1, 2)), batch)
    other = adding(steps=5, sequences=1)
    with pytest.raises(ValueRangeError, match="batch is of the task 'adding'"):
        counting_accepted(np.zeros(other.targets.shape), other)
