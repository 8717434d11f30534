"""Which weights training leaves as they are: those of clamped gates, and those that a gate never has."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gatescope.datatypes import Array, Stack
from gatescope.recurrence.clamping import fixed_rows


def fixed_places(stack: Stack, clamps: Mapping[str, Array | None]) -> Array:
    """Return where the numbers that nothing trains lie in `Stack.flat`, (F,) int64.

    `clamps` are by direction, as `gatescope.recurrence.clamping.stack_clamps` returns them.

    Examples
    --------
    >>> import gatescope as gs
    >>> from gatescope.recurrence.clamping import stack_clamps
    >>> from gatescope.training.fixed import fixed_places
    >>> stack = gs.init_stack("lstm", input_size=1, hidden_size=2, heads=[gs.Head("y", 1)])
    >>> fixed_places(stack, stack_clamps(stack, {"f": {1: 1.0}})).tolist()  # of 4 x 2 rows the fourth
    [3, 14, 15, 27, 35]
    """
    masks = [
        np.repeat(rows, getattr(params, array).size // rows.size)
        for name, params in stack.directions().items()
        for array, rows in fixed_rows(params, clamps[name]).items()
    ]
    return np.flatnonzero(np.concatenate(masks))
