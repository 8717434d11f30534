"""Targets, masks and heads that do not fit each other."""

import dataclasses

import numpy as np
import pytest
from helpers.engine_cases import make_batch, make_stack

from gatescope.datatypes import Batch, Head
from gatescope.errors import DtypeError, GatescopeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.training.arrays import as_data


def changed(**fields):
    return dataclasses.replace(make_batch(), **fields)


def targets_with(column, value):
    batch = make_batch()
    batch.mask[0, 0] = True
    batch.targets[0, 0, column] = value
    return batch


@pytest.mark.parametrize(
    ("batch", "kind", "words"),
    [
        (
            lambda: changed(targets=np.zeros((37, 5, 4))),
            ShapeError,
            r"should have \(37, 5, 9\), which is \(T, B, C\)",
        ),
        (lambda: changed(targets=np.zeros((36, 5, 9))), ShapeError, r"\(36, 5, 9\)"),
        (lambda: changed(targets=np.zeros((4, 9))), ShapeError, r"give \(5, 9\) for one target a sequence"),
        (lambda: changed(mask=np.full((37, 5), 0.5)), ValueRangeError, "not how much"),
        (lambda: changed(heads=(Head("y", 9, "bernoulli"),)), ValueRangeError, "bernoulli of 9.*heads=batch"),
        (lambda: changed(inputs=np.zeros((37, 5, 2))), ShapeError, "input_size=2"),
        (lambda: changed(inputs=np.zeros((37, 0, 3))), ShapeError, "at least one step and one sequence"),
        (lambda: changed(mask=np.ones((5, 37), bool)), ShapeError, "mask"),
        (lambda: changed(mask=np.zeros((37, 5), bool)), ValueRangeError, "mask is False at every step"),
        (lambda: changed(lengths=np.zeros(5, int)), ValueRangeError, "mask is False at every step"),
        (lambda: changed(lengths=np.full(5, 38)), ValueRangeError, "lengths"),
        (lambda: targets_with(3, 4), ValueRangeError, r"targets\[0, 0, 3\] is 4; .*'class'.*from 0 to 3"),
        (lambda: targets_with(3, -1), ValueRangeError, "'class'"),
        (lambda: targets_with(3, 1.5), ValueRangeError, "1.5"),
        (lambda: targets_with(4, 0.5), ValueRangeError, "'notes'.*0 or 1"),
        (lambda: targets_with(0, np.nan), ValueRangeError, "is nan; .*'value'"),
        (lambda: np.zeros((3, 2)), DtypeError, "batch is a ndarray; give a Batch of your arrays"),
    ],
)
def test_what_does_not_fit_is_reported(batch, kind, words):
    with pytest.raises(kind, match=words):
        as_data(batch(), make_stack())


def test_one_target_a_sequence_is_masked_too():
    batch, stack = make_batch(), make_stack()
    one_each = dataclasses.replace(batch, targets=batch.targets[-1], mask=np.ones((37, 5), bool))
    one_each.mask[:, 2] = False
    np.testing.assert_array_equal(as_data(one_each, stack).mask.sum(axis=0), [1, 1, 0, 1, 1])
    with pytest.raises(ValueRangeError, match="at='every' needs"):
        as_data(one_each, stack, at="every")
    with pytest.raises(ValueRangeError, match="mask is False"):
        as_data(dataclasses.replace(one_each, mask=np.zeros((37, 5), bool)), stack)
    with pytest.raises(ShapeError, match="mask"):
        as_data(dataclasses.replace(one_each, mask=np.ones((3, 2), bool)), stack)


def test_read_only_arrays_are_copied():
    batch, stack = make_batch(), make_stack()
    batch.inputs.flags.writeable = False
    data = as_data(batch, stack)
    assert data.inputs.flags.writeable
    np.testing.assert_array_equal(data.inputs, batch.inputs)


def test_an_unknown_loss_is_reported():
    heads = (Head("y", 3, "hinge"),)
    with pytest.raises(UnknownNameError, match="hinge"):
        make_batch(heads=heads)
    with pytest.raises(UnknownNameError, match="hinge"):
        as_data(make_batch(), make_stack(heads=heads))
    with pytest.raises(UnknownNameError, match="at='first'"):
        as_data(make_batch(), make_stack(), at="first")


def test_targets_that_do_not_count_may_be_anything():
    batch = make_batch()
    batch.targets[~batch.mask] = np.nan
    assert as_data(batch, make_stack()).mask.any()


def test_which_targets_count():
    batch, stack = make_batch(), make_stack()
    running = np.arange(37)[:, None] < batch.lengths
    np.testing.assert_array_equal(as_data(batch, stack).mask, batch.mask & running)
    np.testing.assert_array_equal(as_data(batch, stack, at="every").mask, running)
    np.testing.assert_array_equal(as_data(batch, stack, at="last").mask.argmax(axis=0), batch.lengths - 1)


def test_one_target_a_sequence_counts_at_its_last_step():
    batch, stack = make_batch(), make_stack()
    last = batch.targets[batch.lengths - 1, np.arange(5)]
    batch = dataclasses.replace(batch, mask=np.ones((37, 5), bool))
    data = as_data(dataclasses.replace(batch, targets=last), stack)
    assert data.mask.sum() == 5
    np.testing.assert_array_equal(data.targets[batch.lengths - 1, np.arange(5)], last)
    with pytest.raises(GatescopeError):
        as_data(dataclasses.replace(batch, targets=last[:4]), stack)


def test_a_batch_without_heads_is_judged_by_the_models():
    batch = make_batch()
    plain = Batch(inputs=batch.inputs, targets=batch.targets)
    assert plain.mask.all()
    assert plain.lengths.tolist() == [37] * 5
    np.testing.assert_array_equal(as_data(plain, make_stack()).targets, batch.targets)
