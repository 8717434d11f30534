"""Models and data for the tests of the engine: small, with every kind of head."""

import numpy as np

import gatescope as gs
from gatescope.datatypes import Batch, Head
from gatescope.datatypes.stack import Stack

HEADS = (Head("value", 3), Head("class", 4, "cross_entropy", 0.5), Head("notes", 5, "bernoulli"))


def make_stack(cells=("lstm", "gru"), sizes=(7, 5), inputs=3, heads=HEADS, dtype="float64"):
    rng = np.random.default_rng(5)
    layers, width = [], inputs
    for k, (cell, units) in enumerate(zip(cells, sizes, strict=True)):
        layers.append(gs.init(cell, input_size=width, hidden_size=units, seed=k, dtype=dtype))
        width = units
    outputs = sum(head.size for head in heads)
    return Stack(
        layers=tuple(layers),
        readout_weight=rng.standard_normal((outputs, width)).astype(dtype),
        readout_bias=rng.standard_normal(outputs).astype(dtype),
        heads=heads,
    )


def make_batch(steps=37, sequences=5, inputs=3, heads=HEADS, full=False):
    rng = np.random.default_rng(6)
    columns = []
    for head in heads:
        shape = steps, sequences, head.columns
        if head.loss == "mse":
            columns.append(rng.standard_normal(shape))
        else:
            columns.append(rng.integers(0, head.size if head.loss == "cross_entropy" else 2, shape))
    lengths = np.full(sequences, steps)
    if not full:
        lengths[1:4] = steps - 7, steps // 2, 1
    return Batch(
        inputs=rng.standard_normal((steps, sequences, inputs)),
        targets=np.concatenate(columns, axis=2),
        mask=np.ones((steps, sequences), bool) if full else rng.random((steps, sequences)) < 0.6,
        lengths=lengths,
        heads=heads,
    )
