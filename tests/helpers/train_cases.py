"""What the tests of `train` train: small models and data, and an engine that says what it was asked."""

import dataclasses

import numpy as np

import gatescope as gs
from gatescope.training import train as loop
from gatescope.training.arrays import as_data
from gatescope.training.engine import Engine
from helpers.cases import random_params

STEPS, SEQUENCES, UNITS = 12, 7, 5
LENGTHS = (12, 5, 9, 12, 1, 7, 12)


def make_params(cell="lstm", *, dtype="float32", seed=0, scale=1.0):
    return random_params(cell, input_size=2, hidden_size=UNITS, seed=seed, dtype=dtype, scale=scale)


def holding_lstm():
    """Return an LSTM whose unit 0 keeps its c with f = sigmoid(5) whatever comes; the other units forget at once."""
    params = make_params()
    weights, biases = params.weight_hh.reshape(4, UNITS, UNITS), params.bias_ih.reshape(4, UNITS)
    weights[:, 0] = weights[1] = 0  # no h feeds unit 0, nor any forget gate
    params.weight_ih.reshape(4, UNITS, -1)[1] = 0
    params.bias_hh[:] = biases[1] = 0
    biases[1, 0], biases[1, 1:] = 5, -5
    return params


def make_stack(cells=("lstm", "lstm"), *, heads=(("y", 1),), seed=0):
    """Two layers, and another read-out than `train` would draw."""
    rng = np.random.default_rng([seed, 9])
    layers = [
        random_params(cell, input_size=UNITS if k else 2, hidden_size=UNITS, seed=seed + k, dtype="float32")
        for k, cell in enumerate(cells)
    ]
    outputs = sum(gs.Head(*head).size for head in heads)
    weight = rng.uniform(-0.4, 0.4, (outputs, UNITS)).astype("float32")
    return gs.Stack(
        layers=tuple(layers), readout_weight=weight, readout_bias=np.zeros(outputs, "float32"), heads=heads
    )


def make_batch(seed=0, *, steps=STEPS, sequences=SEQUENCES, lengths=LENGTHS, mask=None):
    """Return the sum of the first input over the last two steps, at every step that there is."""
    rng = np.random.default_rng([seed, 5])
    inputs = rng.standard_normal((steps, sequences, 2))
    targets = inputs[:, :, :1].copy()
    targets[1:] += inputs[:-1, :, :1]
    ends = np.full(sequences, steps) if lengths is None else np.array(lengths)
    within = np.arange(steps)[:, None] < ends
    return gs.Batch(
        inputs=inputs,
        targets=targets,
        mask=within if mask is None else within & mask,
        lengths=ends.astype(np.int64),
        name="sums",
    )


def fresh(seed, **options):
    """Return the same as callable data."""
    return make_batch(seed, **{"sequences": 3, "lengths": None, **options})


def train(model=None, data=None, **options):
    return loop.train(
        make_params() if model is None else model, make_batch() if data is None else data, **options
    )


def score(stack, batch, **options):
    """Return what a model reaches on a batch."""
    return Engine(stack, steps=STEPS, sequences=SEQUENCES, **options).evaluate(as_data(batch, stack))


def same(run, other, *, config=True):
    """Whether two runs are the same bits; times do not count, and `config` need not."""
    if not config:
        other = dataclasses.replace(other, config=run.config)
    return run == other


def record(monkeypatch):
    """Make `train` use an engine that writes down its calls: (update, inputs, lengths, begin, end, carry)."""
    calls = []

    class Recording(Engine):
        def back(self, data, update, *, begin=0, end=None, carry=False, first=None):
            calls.append((update, data.inputs.copy(), data.lengths.copy(), begin, end, carry))
            return super().back(data, update, begin=begin, end=end, carry=carry, first=first)

    monkeypatch.setattr(loop, "Engine", Recording)
    return calls
