"""What all readers of weights share: who makes their errors, how these list names, and what weights have to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.errors import WeightFormatError

Wrong = Callable[..., WeightFormatError]  # makes an error about a source, from a problem and an advice

_SHOWN, _CHARACTERS = 12, 240  # as many names as a message lists, and what they may take of it


def listed(names: Any) -> str:
    """Return names in quotes with commas between them, the first of many."""
    shown: list[str] = []
    for name in names:
        text = repr(name)
        if len(shown) == _SHOWN or (shown and sum(map(len, shown)) + len(text) > _CHARACTERS):
            break
        shown.append(text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 3]}...")
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def finite_copy(name: str, array: Array, dtype: np.dtype[Any], wrong: Wrong) -> Array:
    """Return a C-contiguous copy of weights in `dtype`, checked to be finite."""
    with np.errstate(over="ignore"):  # an overflow is reported below
        weights = np.array(array, dtype=dtype, order="C", copy=True)
    bad = np.argwhere(~np.isfinite(weights))
    if len(bad):
        first = tuple(int(k) for k in bad[0])
        advice = "train it without them" if not np.isfinite(array[first]) else "use `dtype`='float64'"
        raise wrong(
            f"holds {name!r} with {len(bad)} weights that are not finite in {dtype}, the first {array[first]} at "
            f"{list(first)}",
            advice=advice,
        )
    return weights
