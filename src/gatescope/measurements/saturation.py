"""How often each unit's gates are shut or open in a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict, Unpack, overload

import numpy as np

from gatescope.checks.numbers import check_choices, check_number
from gatescope.datatypes import Array, StackTrace, Trace
from gatescope.datatypes.by_layer import ByLayer
from gatescope.datatypes.saturation import OPEN, SHUT, Saturation
from gatescope.datatypes.stack_trace import trace_of, traces_of
from gatescope.errors import UnknownNameError, ValueRangeError


class _Options(TypedDict, total=False):
    layer: str | None
    left: float
    right: float
    gates: Iterable[str] | str | None


_CHUNK = 1 << 22  # gate values looked at together: bounds the memory on long runs


@overload
def saturation(trace: Trace, **options: Unpack[_Options]) -> Saturation: ...


@overload
def saturation(trace: StackTrace, **options: Unpack[_Options]) -> Saturation | ByLayer[Saturation]: ...


def saturation(
    trace: Trace | StackTrace,
    *,
    layer: str | None = None,
    left: float = SHUT,
    right: float = OPEN,
    gates: Iterable[str] | str | None = None,
) -> Saturation | ByLayer[Saturation]:
    """Return the fraction of the steps at which each unit's gates are below `left` (shut) and above `right` (open).

    All sequences of the batch count, each with the steps it has (see ``Trace.lengths``).

    Parameters
    ----------
    trace : Trace or StackTrace
    layer : str, optional
        Of a model of several layers, ``"layers.1"`` or ``"layers.1.backward"``.  Default: all.
    left, right : float
        Thresholds, 0 <= left < right <= 1.
    gates : sequence of str, optional
        Names of saved gates.  Default: ``trace.sigmoid_names``, those with values in (0, 1).  Of a
        model each layer's that it has.

    Returns
    -------
    Saturation, or of several layers and directions ByLayer of one each

    Raises
    ------
    UnknownNameError
        If the cell saves no such gate, or none in (0, 1) at all, or the trace does not say (``Trace.gate_ranges``).
    ValueRangeError
        If the thresholds are out of order, or the trace holds no step.

    References
    ----------
    Karpathy, Johnson and Fei-Fei, "Visualizing and understanding recurrent networks", 2015, figure 3.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> trace = gs.run(gs.init("lstm", input_size=1, hidden_size=8, seed=0), np.ones((50, 1), "float32"))
    >>> shut, opened = gs.saturation(trace).gate("f")
    >>> shut.shape
    (8,)
    """
    traces = traces_of(trace) if layer is None else dict([trace_of(trace, layer)])
    left, right = check_thresholds(left, right)
    if gates is None and not any(each.sigmoid_names for each in traces.values()):
        raise _nothing_saturates(next(iter(traces.values())))
    names = list(dict.fromkeys(name for each in traces.values() for name in each.gate_names))
    chosen = names if gates is None else check_choices("gates", gates, names)
    results = [
        count_saturated(
            each,
            None if gates is None else [name for name in chosen if name in each.gate_names],
            left,
            right,
        )
        for each in traces.values()
    ]
    if len(results) == 1:
        return results[0]
    return ByLayer(names=tuple(traces), results=tuple(results), provenance=trace.provenance)


def check_thresholds(left: Any, right: Any) -> tuple[float, float]:
    """Return the thresholds below which a gate is shut and above which it is open, 0 <= left < right <= 1."""
    low, high = check_number("left", left, least=0), check_number("right", right, most=1)
    if low >= high:
        raise ValueRangeError(f"must be below `right`, which is {right!r}", argument="left", seen=left)
    return low, high


def count_saturated(
    trace: Trace, gates: Iterable[str] | None = None, left: float = SHUT, right: float = OPEN
) -> Saturation:
    """Return what `saturation` does, for arguments that were checked; of no gates for a cell without any in (0, 1)."""
    total = int(trace.lengths.sum())
    if total < 1:
        raise ValueRangeError("holds no step", argument="trace", advice="run it on at least one")
    names = trace.sigmoid_names if gates is None else tuple(gates)
    fractions = np.zeros((2, len(names), trace.states.shape[-1]))
    for k, name in enumerate(names):
        for at, counts in enumerate(counts_of(trace.gate(name), trace.mask, left, right)):
            fractions[at, k] = counts.sum(axis=0) / total
    return Saturation(
        cell=trace.cell,
        gates=names,
        shut=fractions[0],
        open=fractions[1],
        left=left,
        right=right,
        steps=total,
        provenance=trace.provenance,
    )


def counts_of(gate: Array, mask: Array, left: float, right: float) -> tuple[Array, Array]:
    """Return at how many steps of each sequence a unit's gate is shut and open, (B, H) each."""
    steps, batch, hidden_size = gate.shape
    shut = np.zeros((batch, hidden_size), np.int64)
    opened = np.zeros((batch, hidden_size), np.int64)
    chunk = max(1, _CHUNK // (batch * hidden_size))
    for start in range(0, steps, chunk):
        part = gate[start : start + chunk]
        inside = mask[start : start + chunk, :, None]  # past a sequence's end gates are 0, which is not shut
        shut += np.count_nonzero((part < left) & inside, axis=0)
        opened += np.count_nonzero((part > right) & inside, axis=0)
    return shut, opened


def _nothing_saturates(trace: Trace) -> UnknownNameError:
    if trace.gate_names and trace.gate_ranges is None:
        return UnknownNameError(
            "does not say which gates have values in (0, 1)",
            argument="trace",
            advice=f"name the `gates` to look at, of {', '.join(map(repr, trace.gate_names))}",
        )
    return UnknownNameError(
        f"is of {trace.cell!r}, which saves no gate with values in (0, 1), so that nothing can saturate",
        argument="trace",
        advice="run a gated cell such as 'lstm' or 'gru', or name the `gates` to look at",
    )
