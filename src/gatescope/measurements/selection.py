"""Arguments that the measurements on the way back share: source steps, states, lags and directions, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.checks.arrays import check_array
from gatescope.datatypes import Array, Params
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError

_SPECTRAL_LAGS = 200


def source_step_of(source_step: Any, steps: int) -> int:
    """The state t that `source_step` means, 1..T; negative counts from the end."""
    if isinstance(source_step, bool) or not isinstance(source_step, int | np.integer):
        raise ValueRangeError(f"source_step={source_step!r} must be a whole number")
    found = source_step if source_step >= 0 else steps + 1 + source_step
    if not 1 <= found <= steps:
        raise ValueRangeError(
            f"source_step={source_step!r} is out of range; the states are 1..{steps}, or -1..-{steps} from the end"
        )
    return int(found)


def blocks_of(cell: Cell, name: Any, argument: str) -> list[int]:
    """Which of the cell's states `name` means; "joint" means all."""
    if isinstance(name, str) and name == "joint":
        return list(range(len(cell.states)))
    if not isinstance(name, str) or name not in cell.states:
        raise UnknownNameError(
            f"{argument}={name!r} is not a state of {cell.name!r}; "
            f"choose {', '.join(map(repr, cell.states))} or 'joint'"
        )
    return [cell.states.index(name)]


def lags_of(lags: Any, reach: int, norm: str) -> Array:
    """The lags to report, ascending int64; by default all, or some where a norm at each costs an SVD."""
    if lags is None:
        if norm != "spectral" or reach <= _SPECTRAL_LAGS:
            return np.arange(reach + 1)
        spaced = np.geomspace(1, reach, _SPECTRAL_LAGS).round().astype(np.int64)
        return np.unique(np.concatenate([[0], spaced]))
    array = np.asarray(lags)
    if array.dtype.kind not in "iu":
        raise DtypeError(f"lags has dtype {array.dtype}; give whole numbers of steps")
    if array.ndim != 1 or array.size == 0:
        raise ShapeError(f"lags has shape {array.shape}, but should have one axis with at least one lag")
    array = array.astype(np.int64)
    if array.min() < 0 or array.max() > reach or np.any(np.diff(array) <= 0):
        raise ValueRangeError(f"lags={array.tolist()[:8]} must ascend and lie in 0..{reach}")
    return array


def directions_of(cell: Cell, params: Params, of: list[int], norm: str, unit: Any, seed: int) -> Array:
    """(M, S, H): the adjoints of the target to start from."""
    states, units = len(cell.states), params.hidden_size
    size = len(of) * units
    if norm == "spectral":
        chosen = np.eye(size)
    elif norm == "unit":
        if isinstance(unit, bool) or not isinstance(unit, int | np.integer) or not 0 <= unit < size:
            raise ValueRangeError(f"unit={unit!r} must be a whole number in 0..{size - 1}")
        chosen = np.eye(size)[int(unit) : int(unit) + 1]
    else:
        chosen = np.random.default_rng(seed).standard_normal((1, size))
        chosen /= np.linalg.norm(chosen)
    directions = np.zeros((chosen.shape[0], states, units))
    directions[:, of] = chosen.reshape(-1, len(of), units)
    return check_array("direction", directions, params.dtype)
