"""Streams of a^n b^n: parsed back into strings by hand, what may come next, and what the baseline costs."""

import itertools

import numpy as np
import pytest
from helpers.judging import loss

from gatescope.tasks._counting_stream import counting_stream


def strings_of(symbols):
    """Return n of every whole string, and what is left of the last one."""
    runs = [(symbol, len(list(run))) for symbol, run in itertools.groupby(symbols)]
    pairs = [runs[k : k + 2] for k in range(0, len(runs), 2)]
    whole = [(a, b) for a, b in (pair for pair in pairs if len(pair) == 2) if a[1] == b[1]]
    return [a[1] for a, _ in whole], pairs[len(whole) :]


@pytest.mark.parametrize(("n_min", "n_max", "steps"), [(1, 10, 300), (3, 3, 50), (2, 4, 4), (1, 1, 7)])
def test_strings_follow_one_another(n_min, n_max, steps):
    batch = counting_stream(steps=steps, sequences=20, n_min=n_min, n_max=n_max)
    np.testing.assert_array_equal(batch.inputs.sum(axis=2), 1)
    for stream in batch.inputs.argmax(axis=2).T.tolist():
        numbers, rest = strings_of(stream)
        assert stream[0] == 0
        assert set(numbers) <= {*range(n_min, n_max + 1)}
        assert len(rest) <= 1  # the last string may be cut
        assert 2 * sum(numbers) + sum(length for pair in rest for _, length in pair) == steps


def test_all_n_are_as_likely():
    streams = counting_stream(steps=20_000, sequences=1, n_max=4).inputs.argmax(axis=2)[:, 0].tolist()
    numbers, _ = strings_of(streams)
    # Of about 4,000 strings a quarter each; the standard deviation of a fraction is 0.007.
    np.testing.assert_allclose(np.bincount(numbers)[1:] / len(numbers), 1 / 4, atol=0.035)


def test_what_may_come_next_contains_what_does():
    batch = counting_stream(steps=400, sequences=8)
    following = batch.inputs[1:]
    assert (batch.targets[:-1][following > 0] == 1).all()
    # Both only after a; one only after b, and then it is what comes.
    both = batch.targets.sum(axis=2) == 2
    np.testing.assert_array_equal(both, batch.inputs[..., 0] == 1)
    np.testing.assert_array_equal(batch.targets[:-1][~both[:-1]], following[~both[:-1]])
    assert batch.mask.all()


def test_the_baseline_knows_the_symbol():
    batch = counting_stream(steps=500, sequences=10, dtype="float64")
    b = batch.inputs[..., 1] == 1
    q = batch.targets[b][:, 0].mean()
    outputs = np.full(batch.targets.shape, 100.0)  # after a, both
    outputs[b] = np.log(q / (1 - q)) * np.array([1, -1])
    assert loss(batch, outputs) == pytest.approx(batch.baseline, rel=1e-12)
    for shift in (-0.1, 0.1):  # any other answer costs more
        other = np.where(b[..., None], outputs + shift, outputs)
        assert loss(batch, other) > batch.baseline
    assert counting_stream(steps=10, n_max=1).baseline == 0  # every b is the last


def test_strings_far_longer_than_the_stream_are_cut():
    batch = counting_stream(steps=6, sequences=3, n_max=2**63 - 1, seed=0)
    assert (batch.inputs[..., 0] == 1).all()  # nobody sees a b
    assert (batch.targets == 1).all()
