"""What the tasks from a user's own data share: shares held back, and what the best constant answer loses."""

from __future__ import annotations

import numpy as np

from gatescope.datatypes import Array
from gatescope.errors import ValueRangeError
from gatescope.tasks._synthetic import real

SPLITS = ("all", "train", "valid", "test")
BEST_CONSTANT = "the best constant for the targets that count"


class NoSuchSplitError(ValueRangeError):
    """The data can be read, but so little is to be held back that the split has nothing in it."""


def shares(valid_fraction: object, test_fraction: object) -> tuple[float, float]:
    """The two shares, each of 0..1, if something is left to train on."""
    valid = real("valid_fraction", valid_fraction, least=0, most=1)
    test = real("test_fraction", test_fraction, least=0, most=1)
    if valid + test >= 1:
        raise ValueRangeError(
            f"valid_fraction={valid:g} and test_fraction={test:g} leave nothing to train on; give less than 1 together"
        )
    return valid, test


def part(count: int, split: str, valid: float, test: float) -> tuple[int, int]:
    """Where the split begins and ends: the test split is the end, and the validation split comes before it."""
    second, third = count - round((valid + test) * count), count - round(test * count)
    return {"all": (0, count), "train": (0, second), "valid": (second, third), "test": (third, count)}[split]


def best_constant(targets: Array, loss: str) -> float:
    """The loss of the best answer that is always the same; `targets` (N, C) are those that count."""
    known = targets.astype(np.float64)
    if loss == "mse":
        return float(known.var(axis=0).mean())
    if loss == "cross_entropy":
        return _entropy(np.unique(known, return_counts=True)[1] / len(known))
    on = known.mean(axis=0)
    return _entropy(on) + _entropy(1 - on)


def _entropy(shares: Array) -> float:
    some = shares[shares > 0]
    return float(0.0 - (some * np.log(some)).sum())  # not -0
