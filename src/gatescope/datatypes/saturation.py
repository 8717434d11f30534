"""How often gates are shut or open, counted in a trace (Karpathy, Johnson and Fei-Fei 2015, section 4.2)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from gatescope.datatypes.result import Array
from gatescope.datatypes.trace import Trace
from gatescope.errors import ValueRangeError

SHUT, OPEN = 0.1, 0.9  # a gate is shut below, and open above
_CHUNK = 1 << 22  # gate values looked at together: bounds the memory on long runs


def shares_by_unit(
    trace: Trace, gates: Iterable[str], left: float = SHUT, right: float = OPEN
) -> dict[str, tuple[Array, Array]]:
    """Share of the steps at which each unit's gate is below `left` (shut) and above `right` (open).

    All sequences of the batch count, each with the steps it has (see ``Trace.lengths``).

    Parameters
    ----------
    trace : Trace
    gates : sequence of str
        Names of kept gates, such as ``trace.sigmoid_names``.
    left, right : float
        Thresholds.  A value that is one of them is neither shut nor open.

    Returns
    -------
    dict of str to (left (H,), right (H,))
        float64 shares in [0, 1], by gate.

    Raises
    ------
    UnknownNameError
        If the cell keeps no such gate.
    ValueRangeError
        If the trace holds no step.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> from gatescope.datatypes.saturation import shares_by_unit
    >>> trace = gs.run(gs.init("gru", input_size=1, hidden_size=8, seed=0), np.ones((50, 1), "float32"))
    >>> list(shares_by_unit(trace, trace.sigmoid_names))
    ['r', 'z']
    """
    total = int(trace.lengths.sum())
    if total < 1:
        raise ValueRangeError(
            "the trace holds no step, so there is no share of steps; run it on at least one"
        )
    mask = trace.mask
    return {name: _shares(trace.gate(name), mask, left, right, total) for name in gates}


def _shares(gate: Array, mask: Array, left: float, right: float, total: int) -> tuple[Array, Array]:
    steps, batch, hidden_size = gate.shape
    shut = np.zeros(hidden_size, np.int64)
    opened = np.zeros(hidden_size, np.int64)
    chunk = max(1, _CHUNK // (batch * hidden_size))
    for start in range(0, steps, chunk):
        part = gate[start : start + chunk]
        inside = mask[start : start + chunk, :, None]  # past a sequence's end gates are 0, which is not shut
        shut += np.count_nonzero((part < left) & inside, axis=(0, 1))
        opened += np.count_nonzero((part > right) & inside, axis=(0, 1))
    return shut / total, opened / total
