"""Checks that several plots share: results of one type, and the texts that label them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gatescope.checks.numbers import check_result, is_several
from gatescope.errors import DtypeError, ShapeError, ValueRangeError, shown
from gatescope.plotting._text import plain_text
from gatescope.reporting.text import counted

_LARGEST = 1e300  # as differences of what an axis shows have to be floats, and the ends of the axis beyond it
_LARGEST_LOGARITHMIC = 1e140  # as quotients have to be
BEFORE_AFTER = ("before training", "after training")  # labels of a pair


def check_results(name: str, value: Any, kind: type, maker: str) -> list[Any]:
    """Return one result, or a sequence of at least one, as a list."""
    if isinstance(value, kind):
        check_result(name, value, kind, maker)
        return [value]
    if not is_several(value):
        advice = f"give a {kind.__name__}, as gatescope.{maker} returns it, or a sequence of them"
        raise DtypeError(argument=name, seen=type(value), advice=advice)
    if not len(value):
        raise ValueRangeError("is empty", argument=name, advice=f"give at least one {kind.__name__}")
    for k, item in enumerate(value):
        check_result(f"{name}[{k}]", item, kind, maker)
    return list(value)


def check_labels(labels: Any, defaults: Sequence[str]) -> list[str]:
    """Return one label for each default, as matplotlib shows them unchanged; None stands for the defaults."""
    chosen = defaults if labels is None else labels
    if not is_several(chosen):
        raise DtypeError(argument="labels", seen=type(chosen), advice="give a sequence of texts")
    if len(chosen) != len(defaults):
        problem = f"holds {counted(len(chosen), 'text')}, but there are {len(defaults)} to label"
        raise ShapeError(problem, argument="labels")
    return [plain_text(shown(label, str)) for label in chosen]


def check_drawable(name: str, *arrays: Any, logarithmic: bool = False) -> None:
    """Refuse finite numbers so large, or on a logarithmic axis so near 0, that no axis can show them."""
    largest = _LARGEST_LOGARITHMIC if logarithmic else _LARGEST
    sizes = np.abs(np.concatenate([np.ravel(np.asarray(array, np.float64)) for array in arrays]))
    beyond = np.isfinite(sizes) & ((sizes > largest) | (logarithmic & (sizes > 0) & (sizes < 1 / largest)))
    if beyond.any():
        span = f"from {1 / largest:g} to" if logarithmic else "up to"
        raise ValueRangeError(
            "holds a number that no axis can show",
            argument=name,
            seen=float(sizes[beyond][0]),
            advice=f"give what a measurement returned; sizes {span} {largest:g} can be drawn",
        )
