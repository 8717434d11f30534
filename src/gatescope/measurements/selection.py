"""Arguments that measurements on the way back share: source steps, states, lags and directions, checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.checks.arrays import check_array, check_ascending
from gatescope.checks.numbers import check_count, check_index, is_whole
from gatescope.datatypes import Array, Params
from gatescope.errors import UnknownNameError, ValueRangeError
from gatescope.measurements.problem import Problem, in_order


def source_step_of(source_step: Any, steps: int) -> int:
    """Return the state t that `source_step` means, 1..T; negative counts from the end."""
    if not is_whole(source_step):
        raise ValueRangeError("must be a whole number", argument="source_step", seen=source_step)
    state = source_step if source_step >= 0 else steps + 1 + source_step
    if not 1 <= state <= steps:
        raise ValueRangeError(
            "is out of range",
            argument="source_step",
            seen=source_step,
            advice=f"the states are 1..{steps}, or -1..-{steps} from the end",
        )
    return int(state)


def blocks_of(argument: str, cell: Cell, name: Any) -> list[int]:
    """Return which of the cell's states `name` means; "joint" means all."""
    if isinstance(name, str) and name == "joint":
        return list(range(len(cell.states)))
    if not isinstance(name, str) or name not in cell.states:
        raise UnknownNameError(
            f"is not a state of {cell.name!r}",
            argument=argument,
            seen=name,
            advice=f"choose {', '.join(map(repr, cell.states))} or 'joint'",
        )
    return [cell.states.index(name)]


def lags_back(
    problem: Problem, source_step: Any, max_lag: Any, lags: Any, default: Callable[[int], Array]
) -> tuple[int, Array]:
    """Return the state t that is differentiated, and the lags to report, ascending int64.

    Of sequences that are shorter than others in the batch those lags are left out at which they have no state.

    Parameters
    ----------
    problem : Problem
        Of sequences of one length.
    source_step, max_lag, lags
        As the user gave them.
    default : callable
        Makes the lags of the longest one, where `lags` is None.
    """
    source = source_step_of(source_step, problem.steps)
    longest = source_step_of(source_step, problem.longest)
    most = longest if max_lag is None else check_count("max_lag", max_lag)
    if most > longest:
        raise ValueRangeError(
            "reaches back beyond the first state",
            argument="max_lag",
            seen=max_lag,
            advice=f"the source step is {longest}",
        )
    if lags is None:
        return source, default(min(most, source))
    chosen = check_ascending("lags", lags, whole=True, least=0, most=most)
    chosen = chosen[chosen <= source]
    if not chosen.size:
        raise ValueRangeError(
            f"are all longer than a sequence of {problem.steps} steps",
            argument="lags",
            advice="leave that sequence out, or add shorter lags",
        )
    return source, chosen


def evenly(last: int, most: int) -> Array:
    """Return the lags 0..last, or about `most` of them, spaced evenly."""
    return np.unique(np.linspace(0, last, min(last, most) + 1).round().astype(np.int64))


def by_factors(last: int, most: int) -> Array:
    """Return at most so many lags from 1 to the last, spaced evenly in the logarithm."""
    return np.unique(np.geomspace(1, last, most).round().astype(np.int64))


def directions_of(cell: Cell, params: Params, of: list[int], norm: str, unit: Any, seed: int) -> Array:
    """Return the cotangents (M, S, H) to start from, of the states `of`.

    By the norm: ``"random"`` is one direction of length 1, drawn with `seed`; ``"unit"`` is unit `unit` alone; any
    other is all units, one a direction.
    """
    size = len(of) * params.hidden_size
    if norm == "random":
        chosen = np.random.default_rng(seed).standard_normal((1, size))
        chosen /= np.linalg.norm(chosen)
    elif norm == "unit":
        chosen = np.eye(size)[[check_index("unit", unit, size, "units")]]
    else:
        chosen = np.eye(size)
    directions = np.zeros((chosen.shape[0], len(cell.states), params.hidden_size))
    directions[:, of] = chosen.reshape(-1, len(of), params.hidden_size)
    return check_array("direction", directions, params.dtype)


def on_common_lags(
    groups: list[Array], lags: list[Array], arrays: list[Array], axis: int
) -> tuple[Array, Array]:
    """Return all lags of groups of sequences, and their arrays (L, ...) as one, NaN where a sequence has no such lag.

    `axis` is that of the sequences.
    """
    common = np.unique(np.concatenate(lags))
    spread = []
    for own, array in zip(lags, arrays, strict=True):
        whole = array.dtype.kind in "iu"
        padded = np.full((common.size, *array.shape[1:]), 0 if whole else np.nan, array.dtype)
        padded[np.searchsorted(common, own)] = array
        spread.append(padded)
    return common, in_order(groups, spread, axis)
