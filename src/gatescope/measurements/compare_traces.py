"""Gates, time constants and half-lives of two runs in one call, such as before and after training."""

from __future__ import annotations

from typing import TypedDict, Unpack, overload

import numpy as np

from gatescope.cells.memory_gate import MemoryGate, memory_gate
from gatescope.cells.registry import get, names
from gatescope.checks.numbers import check_type
from gatescope.datatypes import Array, ByLayer, StackTrace, Trace
from gatescope.datatypes.saturation import OPEN, SHUT
from gatescope.datatypes.stack_trace import check_alike, traces_of
from gatescope.datatypes.trace_comparison import TraceComparison
from gatescope.errors import ShapeError, UnknownNameError
from gatescope.measurements.adjoint_rates import ROUNDINGS, without_rounding
from gatescope.measurements.half_life import kept_fractions
from gatescope.measurements.saturation import check_thresholds, counts_of

_PIECE = 1 << 21  # values of the memory state at a time


class _Options(TypedDict, total=False):
    layer: str | None
    labels: tuple[str, str]
    left: float
    right: float


@overload
def compare_traces(before: Trace, after: Trace, **options: Unpack[_Options]) -> TraceComparison: ...


@overload
def compare_traces(
    before: StackTrace, after: StackTrace, **options: Unpack[_Options]
) -> TraceComparison | ByLayer[TraceComparison]: ...


def compare_traces(
    before: Trace | StackTrace,
    after: Trace | StackTrace,
    *,
    layer: str | None = None,
    labels: tuple[str, str] = ("before", "after"),
    left: float = SHUT,
    right: float = OPEN,
) -> TraceComparison | ByLayer[TraceComparison]:
    """Compare the gates of two runs of one cell over the same inputs, such as before and after training.

    For each gate its mean and how often it is shut and open, and by the memory gate each unit's time constant and
    half-life, all by sequence, so that the table has means with their spreads over the sequences, and of the change.

    Parameters
    ----------
    before, after : Trace or StackTrace
        Of the same cell and the same number of units, over the same steps and sequences.
    layer : str, optional
        Of a model of several layers, ``"layers.1"`` or ``"layers.1.backward"``.  Default: all.
    labels : (str, str)
        Names of the two runs.
    left, right : float
        Thresholds, 0 <= left < right <= 1: a gate is shut below, and open above.

    Returns
    -------
    TraceComparison, or of several layers and directions ByLayer of one each
        ``plotting.plot_saturation_before_after(*map(result.saturation, (0, 1)))`` draws how often gates saturate,
        ``plotting.plot_gates_before_after(before, after)`` the gates themselves.

    Raises
    ------
    ShapeError
        If the two do not fit each other.
    UnknownNameError
        If the cell saves no gate with values in (0, 1).
    ValueRangeError
        If the thresholds are out of order, or a sequence holds no step.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> inputs = np.random.default_rng(0).standard_normal((50, 2, 1))
    >>> before, after = (gs.run(gs.init("lstm", input_size=1, hidden_size=8, seed=s), inputs) for s in (0, 1))
    >>> result = gs.compare_traces(before, after)
    >>> result.gate, result.half_life.shape, result.table().rows[0][0]
    ('f', (2, 2, 8), 'i, mean value')
    """
    left, right = check_thresholds(left, right)
    check_type("labels", labels, tuple, list, advice='give two texts, as in ("before", "after")')
    for k, label in enumerate(labels):
        check_type(f"labels[{k}]", label, str, advice="give a text")
    if len(labels) != 2:
        raise ShapeError("must be two", argument="labels", seen=labels, advice="name both runs")
    pairs: dict[str, list[Trace]] = {}
    both = [traces_of(before, layer, "before"), traces_of(after, layer, "after")]
    if [*both[0]] != [*both[1]]:
        raise ShapeError(f"has the layers {[*both[1]]}, but `before` {[*both[0]]}", argument="after")
    for name in both[0]:
        pairs[name] = check_alike([traces[name] for traces in both], ("before", "after"))
    if not any(pair[0].sigmoid_names for pair in pairs.values()):
        raise UnknownNameError(
            f"is of {next(iter(pairs.values()))[0].cell!r}, of which no gate is known to have values in (0, 1)",
            argument="before",
            advice="compare runs of a gated cell such as 'lstm' or 'gru'",
        )
    first, second = labels
    results = tuple(_compared(pair, (first, second), left, right) for pair in pairs.values())
    if len(results) == 1:
        return results[0]
    return ByLayer(names=tuple(pairs), results=results, provenance=after.provenance)


def _compared(pair: list[Trace], labels: tuple[str, str], left: float, right: float) -> TraceComparison:
    """Compare two traces of one cell that fit each other."""
    first = pair[0]
    lengths = first.lengths[:, None]
    gate = memory_gate(get(first.cell)) if first.cell in names() else MemoryGate()
    shape = (2, len(first.sigmoid_names), len(lengths), first.states.shape[-1])
    mean, shut, opened = (np.zeros(shape) for _ in range(3))
    for at, trace in enumerate(pair):
        for k, name in enumerate(first.sigmoid_names):
            values = trace.gate(name)
            mean[at, k] = values.sum(axis=0, dtype=np.float64) / lengths  # past a sequence's end they are 0
            closed, wide = counts_of(values, trace.mask, left, right)
            shut[at, k], opened[at, k] = closed / lengths, wide / lengths
    return TraceComparison(
        cell=first.cell,
        gates=first.sigmoid_names,
        gate=gate.name,
        labels=labels,
        mean=mean,
        shut=shut,
        open=opened,
        rate=np.stack([_rate(trace, gate) for trace in pair]),
        lengths=first.lengths,
        left=left,
        right=right,
        complement=gate.sign < 0,
        provenance=pair[1].provenance,
    )


def _rate(trace: Trace, gate: MemoryGate) -> Array:
    """Return -<ln kept> of each sequence and unit over all steps of the sequence, (B, H), in nats per step."""
    steps, batch, units = trace.gates.shape[0], trace.gates.shape[1], trace.states.shape[-1]
    if gate.state is None:
        return np.full((batch, units), np.nan)
    cell, taken = get(trace.cell), trace.as_taken()
    sums = np.zeros((batch, units))
    piece = max(1, _PIECE // (batch * units))
    for begin in range(0, steps, piece):
        end = min(begin + piece, steps)
        kept = np.abs(kept_fractions(cell, gate, taken.states[begin : end + 1], taken.gates[begin:end]))
        with np.errstate(divide="ignore"):  # a gate that is exactly 0 keeps nothing: ln 0
            logarithms = np.log(kept)
        sums += np.where(trace.mask[begin:end, :, None], logarithms, 0).sum(axis=0)
    rounding = ROUNDINGS * float(np.finfo(trace.gates.dtype).eps)
    return without_rounding(-sums / trace.lengths[:, None], rounding) + 0.0
