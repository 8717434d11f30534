"""Arms of equal size: the same width, the same number of parameters, or the same time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from gatescope.checks.numbers import check_count
from gatescope.datatypes import Batch, Head
from gatescope.errors import ValueRangeError
from gatescope.experiments.seeds.spec import RunSpec
from gatescope.recurrence.clamping import stack_clamps
from gatescope.recurrence.initialization import init_stack
from gatescope.reporting.text import percent
from gatescope.training.fixed import fixed_places

WITHIN = 0.03  # of the common number of parameters
_TRIED = 61  # common numbers that are tried


def equal_parameters(
    models: Sequence[str] | Mapping[str, Sequence[str]],
    *,
    hidden_size: int,
    reference: str = "gru",
    input_size: int,
    heads: Sequence[Head] | Batch,
    clamps: Mapping[str, Mapping[str, float]] | None = None,
    within: float = WITHIN,
) -> dict[str, int]:
    """Return for each model the number of units with which all have equally many parameters, read-out included.

    The reference, one layer of a cell, keeps `hidden_size`.  Of the common numbers of parameters `within` of its own,
    the one is taken from which the models' are least far.

    Counted is what training changes: both biases of a gate, as PyTorch stores them, without the rows of clamped gates.
    The arms of 28, 32 and 57 units (LSTM, GRU, RNN) that are stated elsewhere come of one bias a gate: by that count
    the numbers of parameters are 3,501, 3,393 and 3,478.  Of what is trained here they are 3,613, 3,489 and 3,535, and
    the LSTM of 28 units is 3.6 % above the GRU; nearer to a common number are 27, 32 and 56, with 3,376, 3,489 and
    3,417.  Both are within 3 % of some common number.

    Parameters
    ----------
    models : sequence of str, or mapping of str to sequence of str
        Cells of one layer each; or by name the cells of a model's layers, for a comparison of depths.
    hidden_size : int
        Of the reference.
    reference : str
        A cell.
    input_size : int
    heads : sequence of Head, or Batch
        As for `init_stack`.
    clamps : mapping of str to mapping of str to float, optional
        Gates of a model, by its name, that keep a value.
    within : float
        How far from a common number they may be, as a fraction of it: where units are few, none is within 3 %.

    Raises
    ------
    ValueRangeError
        If a model has no size so near to a common number.

    Examples
    --------
    >>> import gatescope as gs
    >>> from gatescope.experiments.seeds.sizes import equal_parameters
    >>> equal_parameters(["rnn", "gru", "lstm"], hidden_size=32, input_size=2, heads=[gs.Head("sum", 1)])
    {'rnn': 56, 'gru': 32, 'lstm': 27}
    """
    layers = models if isinstance(models, Mapping) else {cell: (cell,) for cell in models}

    def count(cells: Sequence[str], clamp: Mapping[str, float], units: int) -> int:
        stack = init_stack(cells, input_size=input_size, hidden_size=units, heads=heads)
        return stack.size - fixed_places(stack, stack_clamps(stack, clamp or None)).size

    own = count((reference,), {}, check_count("hidden_size", hidden_size))
    counts = {"": {hidden_size: own}}  # of the reference, which may be none of the models
    for name, cells in layers.items():
        clamp = (clamps or {}).get(name, {})
        is_it = tuple(cells) == (reference,) and not clamp
        counts[name] = counts[""] if is_it else _counts(partial(count, cells, clamp), own)
    best: tuple[float, dict[str, int]] = (np.inf, {})
    for common in own * np.linspace(1 - within, 1 + within, _TRIED):
        nearest = {
            name: min((abs(n / common - 1), units) for units, n in each.items())
            for name, each in counts.items()
        }
        worst = max(nearest.values())[0]
        if worst < best[0]:
            best = worst, {name: units for name, (_, units) in nearest.items()}
    worst, sizes = best
    if worst > within:
        raise ValueRangeError(
            f"has no models near it of equally many parameters: they are at best {percent(worst)} from a common number",
            argument="hidden_size",
            seen=hidden_size,
            advice="give more units",
        )
    return {name: sizes[name] for name in layers}


def equal_time(specs: Mapping[str, RunSpec], seconds: Mapping[str, float]) -> dict[str, RunSpec]:
    """Return specs whose budgets take as long as that of the quickest.

    Where the learning rate is constant, a run of fewer updates is the beginning of one of more: none has to be made.

    Parameters
    ----------
    specs : mapping of str to RunSpec
    seconds : mapping of str to float
        Of an update of each, measured side by side.

    Examples
    --------
    >>> from gatescope.experiments.seeds.sizes import equal_time
    >>> from gatescope.experiments.seeds.spec import RunSpec
    >>> lstm = RunSpec(task="adding", cell="lstm", hidden_size=32, lr=0.01, updates=1000)
    >>> arms = equal_time({"lstm": lstm, "gru": lstm.with_(cell="gru")}, {"lstm": 0.005, "gru": 0.004})
    >>> arms["lstm"].updates, arms["gru"].updates
    (800, 1000)
    """
    whole = min(spec.updates * seconds[name] for name, spec in specs.items())
    each = {name: round(whole / seconds[name] / spec.validate_every) for name, spec in specs.items()}
    return {
        name: spec.with_(updates=max(1, each[name]) * spec.validate_every) for name, spec in specs.items()
    }


def _counts(count: Callable[[int], int], most: int) -> dict[int, int]:
    """Return the numbers of parameters of the sizes round one that has so many."""
    low, high = 1, 2
    while count(high) < most:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < most else (low, middle)
    return {units: count(units) for units in range(max(1, low - 2), high + 3)}
