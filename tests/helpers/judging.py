"""The losses of the heads once more, slow and plain, to measure what a stated baseline is the loss of."""

import math

import numpy as np


def loss(batch, outputs):
    """Sum over heads of the mean loss over the steps that count; `outputs` (T, B, O) as a read-out gives them."""
    total, output, column = 0.0, 0, 0
    for head in batch.heads:
        y = np.asarray(outputs, np.float64)[..., output : output + head.size][batch.mask]
        target = batch.targets[..., column : column + head.columns][batch.mask].astype(np.float64)
        if head.loss == "mse":
            each = ((y - target) ** 2).mean(axis=-1)
        elif head.loss == "bernoulli":
            each = np.logaddexp(0, np.where(target == 1, -y, y)).sum(axis=-1)
        else:
            chosen = np.take_along_axis(y, target.astype(int), axis=-1)[:, 0]
            each = np.logaddexp.reduce(y, axis=-1) - chosen
        total += head.weight * math.fsum(each) / len(each)
        output, column = output + head.size, column + head.columns
    return total


def same(a, b):
    """Whether two batches hold the same bytes."""
    return all(np.array_equal(getattr(a, name), value) for name, value in b.arrays().items())
