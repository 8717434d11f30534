"""Arguments that measurements on the way back share: source steps, states, lags and directions, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.checks.arrays import check_array, check_ascending
from gatescope.checks.numbers import check_choice, check_count, check_index, check_unused, is_whole
from gatescope.datatypes import Array, Params
from gatescope.datatypes.result import Result
from gatescope.errors import UnknownNameError, ValueRangeError
from gatescope.measurements.problem import in_batch_order

Joined = TypeVar("Joined", bound=Result)


def source_step_of(source_step: Any, steps: int) -> int:
    """Return the state t that `source_step` means, 1..T; negative counts from the end."""
    if not is_whole(source_step):
        raise ValueRangeError("must be a whole number", argument="source_step", seen=source_step)
    state = int(source_step) if source_step >= 0 else steps + 1 + int(source_step)
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


class Lengths(Protocol):
    """What lags are counted in: steps of the sequences looked at, and of the longest one of the batch."""

    @property
    def steps(self) -> int: ...

    @property
    def longest(self) -> int: ...


def lags_back(
    problem: Lengths, source_step: Any, max_lag: Any, lags: Any, default: Callable[[int], Array]
) -> tuple[int, Array]:
    """Return the state t that is differentiated, and the lags to report, ascending int64.

    `problem` is of sequences of one length; where they are shorter than others in the batch those lags are left out at
    which they have no state.  Where `lags` is None, `default` makes them of the longest one.
    """
    source = source_step_of(source_step, problem.steps)
    longest = source_step_of(source_step, problem.longest)
    return source, lags_within(source, longest, problem.steps, max_lag, lags, default)


def lags_within(
    reach: int, longest: int, steps: int, max_lag: Any, lags: Any, default: Callable[[int], Array]
) -> Array:
    """Return the lags to report of sequences of so many `steps`, ascending int64, none beyond `reach`.

    `longest` is what the longest sequence of the batch reaches.
    """
    most = longest if max_lag is None else check_count("max_lag", max_lag)
    if most > longest:
        raise ValueRangeError(
            "reaches beyond the states there are",
            argument="max_lag",
            seen=max_lag,
            advice=f"from this source step they reach {longest}",
        )
    if lags is None:
        return default(min(most, reach))
    check_unused("with `lags`, which say it", max_lag=max_lag)
    chosen = check_ascending("lags", lags, whole=True, least=0, most=most)
    chosen = chosen[chosen <= reach]
    if not chosen.size:
        raise ValueRangeError(
            f"are all longer than a sequence of {steps} steps",
            argument="lags",
            advice="leave that sequence out, or add shorter lags",
        )
    return chosen


def evenly(last: int, most: int) -> Array:
    """Return the lags 0..last, or about `most` of them, spaced evenly."""
    return np.unique(np.linspace(0, last, min(last, most) + 1).round().astype(np.int64))


def by_factors(last: int, most: int) -> Array:
    """Return at most so many lags from 1 to the last, spaced evenly in the logarithm."""
    return np.unique(np.geomspace(1, last, most).round().astype(np.int64))


def unit_of(norm: str, unit: Any, size: int, what: str) -> int | None:
    """Return which of so many numbers a norm is of, if it is of one; `what` names them."""
    if norm == "unit":
        return check_index("unit", unit, size, what)
    if not (is_whole(unit) and unit == 0):
        raise ValueRangeError(
            f"has no effect with `norm` {norm!r}",
            argument="unit",
            seen=unit,
            advice="give `norm` 'unit', or leave it out",
        )
    return None


def combinations(size: int, norms: Sequence[str], norm: Any, unit: Any, seed: int, what: str) -> Array:
    """Return the combinations (M, size) of so many numbers that a norm is of, as `directions_of` says."""
    check_choice("norm", norm, norms)
    chosen = unit_of(norm, unit, size, what)
    if norm == "random":
        drawn = np.random.default_rng(seed).standard_normal((1, size))
        return np.asarray(drawn / np.linalg.norm(drawn))
    return np.eye(size) if chosen is None else np.eye(size)[[chosen]]


def directions_of(
    cell: Cell, params: Params, of: Any, norms: Sequence[str], norm: Any, unit: Any, seed: int
) -> Array:
    """Return the cotangents (M, S, H) to start from, of the state or states `of`.

    By the norm, one of `norms`: ``"random"`` is one direction of length 1, drawn with `seed`; ``"unit"`` is unit `unit`
    alone; any other is all units, one a direction.
    """
    states = blocks_of("of", cell, of)
    chosen = combinations(len(states) * params.hidden_size, norms, norm, unit, seed, "units")
    directions = np.zeros((chosen.shape[0], len(cell.states), params.hidden_size))
    directions[:, states] = chosen.reshape(-1, len(states), params.hidden_size)
    return check_array("direction", directions, params.dtype)


def ends_of(
    cell: Cell, params: Params, of: Any, wrt: Any, norms: Sequence[str], norm: Any, unit: Any, seed: int
) -> tuple[Array, list[int]]:
    """Return the cotangents to start from, as `directions_of` does, and the states that `wrt` means."""
    return directions_of(cell, params, of, norms, norm, unit, seed), blocks_of("wrt", cell, wrt)


def join_flows(groups: list[Array], parts: list[Joined], axes: Mapping[str, int]) -> Joined:
    """Return results of groups of sequences as `join_lags` does, with the source step of each sequence."""
    fields: dict[str, Any] = {"source_steps": each_sequence(groups, parts, "source_step")}
    return dataclasses.replace(join_lags(groups, parts, axes), **fields)


def join_lags(groups: list[Array], parts: list[Joined], axes: Mapping[str, int], lag: str = "lag") -> Joined:
    """Return results of groups of sequences as one over all their lags, NaN where a sequence has no such lag.

    `groups` are the numbers of the sequences of each, `axes` names the fields that are arrays (L, ...) and the axis on
    which their sequences lie, `lag` the field of the lags; everything else is taken from the last part.
    """
    common = np.unique(np.concatenate([getattr(part, lag) for part in parts]))
    fields: dict[str, Any] = {lag: common}
    for name, axis in axes.items():
        spread = []
        for part in parts:
            array = getattr(part, name)
            nothing = 0 if array.dtype.kind in "iu" else np.nan
            padded = np.full((common.size, *array.shape[1:]), nothing, array.dtype)
            padded[np.searchsorted(common, getattr(part, lag))] = array
            spread.append(padded)
        fields[name] = in_batch_order(groups, spread, axis)
    return dataclasses.replace(parts[-1], **fields)


def each_sequence(groups: list[Array], parts: list[Any], name: str) -> Array:
    """Return what the results of groups of sequences say of all their sequences alike, (B,): an entry a sequence."""
    return in_batch_order(
        groups, [np.full(len(rows), getattr(p, name)) for rows, p in zip(groups, parts, strict=True)]
    )
