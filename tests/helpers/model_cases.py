"""Models and data for comparing training with others: small, in float64, of every loss."""

import numpy as np

import gatescope as gs
from helpers.cases import random_params

HEADS = (
    gs.Head("value", 2, "mse", 1.0),
    gs.Head("kind", 4, "cross_entropy", 0.5),
    gs.Head("notes", 3, "bernoulli", 2.0),
)
COUNTED = ("every", "last", "masked")
# Where the sequences end: whole, one step only, and in between.
LENGTHS = (12, 1, 9)


def make_stack(cells, hidden_sizes, *, input_size=2, seed=0, scale=1.0):
    """Return a stack with uniform weights; not by `gs.init_stack`, which has tests of its own."""
    rng = np.random.default_rng([seed, 1])
    layers, size = [], input_size
    for k, (cell, hidden) in enumerate(zip(cells, hidden_sizes, strict=True)):
        layers.append(
            random_params(cell, input_size=size, hidden_size=hidden, seed=seed + 10 * k, scale=scale)
        )
        size = hidden
    outputs = sum(head.size for head in HEADS)
    return gs.Stack(
        layers=tuple(layers),
        readout_weight=rng.uniform(-1, 1, (outputs, size)) / np.sqrt(size),
        readout_bias=rng.uniform(-1, 1, outputs) / np.sqrt(size),
        heads=HEADS,
    )


def make_batch(counted, *, steps=12, sequences=3, input_size=2, lengths=LENGTHS, seed=0):
    """Random data with a target of every kind at every step; counted "every", "last" or "masked" step."""
    # Two streams, so that the data are the same whatever counts.
    rng, chance = (np.random.default_rng([seed, steps, sequences, k]) for k in (0, 1))
    ends = np.full(sequences, steps) if lengths is None else np.array(lengths)
    within = np.arange(steps)[:, None] < ends
    mask = within.copy()
    if counted == "last":
        mask = np.arange(steps)[:, None] == ends - 1
    elif counted == "masked":
        mask = within & (chance.random((steps, sequences)) < 0.5)
        mask[0, 0] = True  # so that something counts
    targets = np.concatenate(
        [
            rng.standard_normal((steps, sequences, 2)),
            rng.integers(0, 4, (steps, sequences, 1)),
            rng.integers(0, 2, (steps, sequences, 3)),
        ],
        axis=2,
    )
    return gs.Batch(
        inputs=rng.standard_normal((steps, sequences, input_size)),
        targets=targets,
        mask=mask,
        lengths=ends.astype(np.int64),
        name=counted,
        heads=HEADS,
    )


def named(stack, vector):
    """Return the parts of a vector (N,) by the names of the weights."""
    parts, begin = {}, 0
    for name, value in stack.weights().items():
        parts[name] = vector[begin : begin + value.size].reshape(value.shape)
        begin += value.size
    assert begin == vector.size, f"{vector.size} numbers, the model has {begin}"
    return parts


def assert_vectors_close(stack, actual, expected, tolerance):
    """Tensor by tensor: the largest error over the largest element expected; absolute where that is below 1."""
    for name, reference in named(stack, np.asarray(expected)).items():
        value = named(stack, np.asarray(actual))[name]
        largest = np.abs(reference).max()
        error = np.abs(value - reference).max()
        # "not <=" and not ">", so that NaN fails.
        assert error <= tolerance * largest or error <= 1e-3 * tolerance, (
            f"{name}: error {error:.3g}, the largest element is {largest:.3g}, {tolerance:.0e} of it is allowed"
        )
