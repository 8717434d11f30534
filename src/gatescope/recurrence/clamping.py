"""Clamping of gates at values: what if the forget gate were open?

To clamp a gate is an exact transformation of the weights.  For gate g and unit u clamped at v, the rows (g, u) of
weight_ih, weight_hh and bias_hh are 0, and bias_ih is the pre-activation at which the cell's own equations give v; a
peephole into the gate, which is a gate of a bias alone, is 0 for that unit.
So all that runs, differentiates or measures a cell does the same with clamped gates, on any device, and whatever the
inputs, no gradient flows through a gate that is clamped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

import numpy as np

from gatescope.cells.registry import Cell, get
from gatescope.checks.arrays import check_array, check_shape
from gatescope.checks.network import as_stack, check_directions, check_params
from gatescope.checks.numbers import check_index, check_type
from gatescope.datatypes import Array, Params
from gatescope.datatypes.params import WEIGHT_NAMES
from gatescope.datatypes.stack import Bidirectional, Stack, replaced
from gatescope.datatypes.stack_names import by_direction
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.kernels.device import copy_of, write_rows

# Pre-activations at which a gate is evaluated first.  They go far beyond what saturates a sigmoid (-746) or a tanh in
# either precision, so that 0, 1 and -1 are reached exactly.  Two that bracket a root need not be near each other, but
# differ by few enough powers of two for the halvings to come to the last bit.
_POWERS = 2.0 ** np.concatenate([np.arange(-1000, -10, 30), np.arange(-10, 21)])
_HALVINGS = 100  # such a distance and a long double's bits
_GRID = np.concatenate([-_POWERS[::-1], [0.0], _POWERS])
Model = TypeVar("Model", Params, Stack, Bidirectional)


def clamp(params: Model, values: Any) -> Model:
    """Return weights whose gates named in `values` keep the values given there, whatever the inputs.

    Parameters
    ----------
    params : Params, Stack or Bidirectional
    values : mapping of str to number, (H,) array_like or mapping of int to number; or (G, H) array; or None
        None changes nothing.  By gate: a number for all units; numbers with NaN where a unit is free; or values by
        unit.  An array has a row for each of ``params.gate_names``, NaN where free, as `Trace.clamp` has.
        Gates of a `Stack` are named with their layer, ``{"layers.1.f": 1.0, "layers.0.backward.z": 0.5}``, or alone,
        which means those of every layer that has one.

    Returns
    -------
    Params, Stack or Bidirectional
        New ones of the same dtype.  The values 0 and 1 of a sigmoid, -1, 0 and 1 of a tanh, and 1/2 of a sigmoid are
        kept exactly; others to the rounding of the activation and of the pre-activation, in the weights' dtype.
        Peepholes into a clamped gate are 0.

    Raises
    ------
    UnknownNameError
        If the cell has no such gate, or does not save it.
    ValueRangeError
        If the gate cannot take a value, or a unit is out of range, or nothing is clamped.
    ShapeError, DtypeError
        If an array does not have H real numbers.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> open_gate = gs.clamp(gs.init("lstm", input_size=1, hidden_size=3, seed=0), {"f": 1.0, "i": {0: 0.5}})
    >>> trace = gs.run(open_gate, np.ones((100, 1)))
    >>> bool((trace.gate("f") == 1).all()), bool((trace.gate("i")[..., 0] == 0.5).all())
    (True, True)
    """
    if isinstance(params, Bidirectional):
        (layer,) = clamp(as_stack(params), values).layers
        assert isinstance(layer, Bidirectional)
        return layer
    if isinstance(params, Stack):
        stack = as_stack(params)
        weights = stack.directions()
        check_directions(stack, any_device=True)
        clamps = stack_clamps(params, values)
        clamped = {name: apply_clamp(weights[name], rows) for name, rows in clamps.items()}
        layers = [
            replaced(layer, {way: clamped[name] for way, name in params.prefixes(number).items()})
            for number, layer in enumerate(params.layers)
        ]
        return dataclasses.replace(params, layers=tuple(layers))
    check_params(params, any_device=True)
    return apply_clamp(params, clamp_values(params, values))


def apply_clamp(params: Params, values: Array | None) -> Params:
    """Return the weights with gates clamped at what `clamp_values` returned."""
    if values is None:
        return params
    cell = get(params.cell)
    rows = _clamped_rows(cell, values)
    bias = np.nan_to_num(_preactivations(cell, values, params.dtype)).reshape(-1)
    arrays = {name: copy_of(array) for name, array in params.arrays().items()}
    for name, array in arrays.items():
        write_rows(array, rows, bias if name == "bias_ih" else None)
    return dataclasses.replace(params, **arrays)


def clamp_values(params: Any, clamp: Any, name: str = "clamp") -> Array | None:
    """Return the values (G, H) float64 of clamped gates, in the order of the weights' rows, NaN where they are free.

    None if there is nothing to clamp.  Whether a gate can take its value `apply_clamp` finds.
    """
    if clamp is None:
        return None
    cell, units = get(params.cell), params.hidden_size
    values = np.full((len(cell.gates), units), np.nan)
    if isinstance(clamp, np.ndarray):
        array = _numbers(name, clamp)
        check_shape(name, array, values.shape, f"(G, H) with the gates {', '.join(cell.gates)}")
        for gate, row in zip(cell.gates, array, strict=True):
            if not np.isnan(row).all():
                _row(cell, gate, name)
        _check_some(name, array)
        return array.copy()
    check_type(name, clamp, Mapping, advice="give values by the name of a gate, as in {'f': 1.0}")
    for gate, value in clamp.items():
        values[_row(cell, gate, name)] = _of_gate(f"{name}[{gate!r}]", value, units)
    return values if clamp else None


def stack_clamps(stack: Stack, clamp: Any, name: str = "clamp") -> dict[str, Array | None]:
    """Return what `clamp_values` does for each layer and direction of a model, by name.

    Gates are named with their layer, ``"layers.1.f"``, or alone, which means those of every layer that has one.
    """
    weights = stack.directions()
    if clamp is None:
        return dict.fromkeys(weights)
    check_type(name, clamp, Mapping, advice="give values by gate and layer, as in {'layers.1.f': 1.0}")
    full: dict[Any, Any] = {}
    for key, value in clamp.items():
        everywhere = [f"{prefix}.{key}" for prefix in weights if key in _able(get(weights[prefix].cell))]
        if isinstance(key, str) and "." not in key and not everywhere:
            gates = dict.fromkeys(gate for params in weights.values() for gate in _able(get(params.cell)))
            raise UnknownNameError(
                "is a gate of no layer that can be clamped",
                argument=name,
                seen=key,
                advice=f"those that can are {', '.join(map(repr, gates))}"
                if gates
                else "no layer saves gates",
            )
        for each in everywhere or [key]:
            if each in full:
                raise ValueRangeError(
                    "names twice what another name means", argument=name, seen=each, advice="leave out one"
                )
            full[each] = value
    chosen = by_direction(stack, name, full)
    return {prefix: clamp_values(weights[prefix], chosen.get(prefix), name) for prefix in weights}


def fixed_rows(params: Params, values: Array | None) -> dict[str, Array]:
    """Return for each weight array which of its rows nothing trains, (G*H,) bool: of clamped gates, or never there."""
    cell, units = get(params.cell), params.hidden_size
    clamped = False if values is None else _clamped_rows(cell, values)
    return {name: np.repeat(cell.lacks(name), units) | clamped for name in WEIGHT_NAMES}


def _clamped_rows(cell: Cell, values: Array) -> Array:
    """Return which rows of the weights a clamp sets, (G*H,) bool: of the gates, and of the peepholes into them."""
    rows = ~np.isnan(values)
    for gate, clamped in zip(cell.gates, rows.copy(), strict=True):
        for peephole in _peepholes(cell, gate) if clamped.any() else ():
            rows[peephole] |= clamped
    return rows.reshape(-1)


@cache
def _peepholes(cell: Cell, gate: str) -> tuple[int, ...]:
    """Return the fewest gates of a bias alone that have to be 0 for a gate to depend on nothing but its own part."""
    lacks = zip(cell.gates, cell.lacks("weight_ih"), cell.lacks("weight_hh"), strict=True)
    shut = {k for k, (name, x, h) in enumerate(lacks) if x and h and name not in cell.saved}
    if not shut or gate not in cell.saved or not _is_alone(cell, gate, shut):
        return ()
    for k in sorted(shut):
        if _is_alone(cell, gate, shut - {k}):
            shut -= {k}
    return tuple(shut)


def clear_fixed(gradients: Iterable[Any], params: Params, values: Array | None) -> None:
    """Set the rows that nothing trains to 0 in arrays laid out like weights, on whatever device."""
    if values is None and not get(params.cell).weights:
        return
    for gradient, rows in zip(gradients, fixed_rows(params, values).values(), strict=True):
        if rows.any():
            write_rows(gradient, rows, None)


def clamp_metadata(params: Any, clamp: Any) -> dict[str, Any]:
    """Return what provenance says of clamped gates: ``{"clamp": {"f": 1.0}}``, by unit where values differ."""
    values = clamp_values(params, clamp)
    if values is None:
        return {}
    clamped: dict[str, Any] = {}
    for gate, row in zip(params.gate_names, values, strict=True):
        units = np.flatnonzero(~np.isnan(row))
        if units.size == row.size and np.all(row == row[0]):
            clamped[gate] = float(row[0])
        elif units.size:
            clamped[gate] = {str(unit): float(row[unit]) for unit in units}
    return {"clamp": clamped}


def clamps_metadata(stack: Stack, clamps: Mapping[str, Array | None]) -> dict[str, Any]:
    """Return what `clamp_metadata` says of each layer and direction: ``{"layers.1.f": 1.0}``."""
    weights = stack.directions()
    return {
        f"{name}.{gate}": value
        for name, values in clamps.items()
        for gate, value in clamp_metadata(weights[name], values).get("clamp", {}).items()
    }


def _row(cell: Cell, gate: Any, name: str) -> int:
    """Return the number of a gate's block of rows, if the gate can be clamped."""
    able = _able(cell)
    if not isinstance(gate, str) or gate not in able:
        advice = f"those of {cell.name!r} that can are {', '.join(map(repr, able))}"
        if not able:
            advice = f"{cell.name!r} saves no gates, so there is nothing to clamp"
        raise UnknownNameError(
            f"names {gate!r}, which is no gate that can be clamped", argument=name, advice=advice
        )
    return cell.gates.index(gate)


def _able(cell: Cell) -> list[str]:
    """Return the names of the gates that can be clamped."""
    return [gate for gate in cell.gates if gate in cell.saved]


def _of_gate(name: str, value: Any, units: int) -> Any:
    """Return the values (H,) of one gate, or one for all units."""
    if isinstance(value, Mapping):
        row = np.full(units, np.nan)
        for unit, number in value.items():
            row[check_index(f"{name}: unit", unit, units, "units")] = _one(f"{name}[{unit}]", number)
    else:
        row = _numbers(name, value)
        if row.ndim == 0:
            return _one(name, value)
        if row.shape != (units,):
            raise ShapeError(
                f"should be one number, or have ({units},), which is (H,), with NaN for units that are free",
                argument=name,
                seen=row.shape,
            )
    _check_some(name, row)
    return row


def _one(name: str, value: Any) -> float:
    """Return one number."""
    number = _numbers(name, value)
    if number.ndim:
        raise ShapeError("should be one number", argument=name, seen=number.shape)
    if np.isnan(number):
        raise ValueRangeError(
            "is NaN", argument=name, advice="give a number to clamp the gate at, or leave it out"
        )
    return float(number)


def _numbers(name: str, value: Any) -> Array:
    """Return real numbers, finite or NaN; truth values are none: a mask would close gates instead of choosing them."""
    array = check_array(name, value, np.dtype(np.float64), finite=False)
    if np.asarray(value).dtype.kind == "b":
        raise DtypeError(
            argument=name,
            seen=np.dtype(bool),
            advice="give numbers to clamp the gate at, NaN where a unit is free",
        )
    if np.isinf(array).any():
        raise ValueRangeError("has an infinite value", argument=name, advice="give finite ones")
    return array


def _check_some(name: str, values: Array) -> None:
    if np.isnan(values).all():
        raise ValueRangeError(
            "clamps no unit: all its values are NaN, or there are none",
            argument=name,
            advice="give a number, or leave it out",
        )


def _preactivations(cell: Cell, values: Array, dtype: Any) -> Array:
    """Return pre-activations (G, H) in the weights' dtype that give the values (G, H); NaN where those are."""
    inverse = np.full(values.shape, np.nan, dtype)
    for gate, row, target in zip(cell.gates, values, inverse, strict=True):
        chosen = ~np.isnan(row)
        if chosen.any():
            distinct, where = np.unique(row[chosen], return_inverse=True)
            target[chosen] = _invert(cell, gate, distinct, np.dtype(dtype))[where]
    return inverse


def _invert(cell: Cell, gate: str, values: Array, dtype: np.dtype[Any]) -> Array:
    """Return pre-activations (V,) of one gate for its values (V,)."""
    _check_alone(cell, gate)
    # The weights' precision shows where the activation saturates; a longer one is for the roots between.
    fine, coarse = _curve(cell, gate, _GRID.astype(np.longdouble)), _curve(cell, gate, _GRID.astype(dtype))
    usable = np.isfinite(fine) & np.isfinite(coarse)
    grid, fine, coarse = _GRID[usable], fine[usable], coarse[usable]
    low, high = (fine.min(), fine.max()) if fine.size else (np.nan, np.nan)
    outside = values[~((low <= values) & (values <= high))]
    if outside.size:
        raise ValueRangeError(
            f"has the value {float(outside[0])!r}, but the gate {gate!r} of {cell.name!r} takes values from "
            f"{float(low):g} to {float(high):g}",
            argument=f"clamp[{gate!r}]",
        )
    with np.errstate(under="ignore"):
        hits = coarse == values.astype(dtype)[:, None]
    # 0, or else the farthest, so that other machines' roundings of the activation are at the value too.
    exact = grid[np.where(hits, np.where(grid == 0, np.inf, np.abs(grid)), -1.0).argmax(axis=1)]
    above = fine > values[:, None]
    crossing = above[:, 1:] != above[:, :-1]
    first = crossing.argmax(axis=1)
    left, right = grid[first].astype(np.longdouble), grid[first + 1].astype(np.longdouble)
    side = above[np.arange(values.size), first]
    for _ in range(_HALVINGS):
        middle = (left + right) / 2
        same = (_curve(cell, gate, middle) > values) == side
        left, right = np.where(same, middle, left), np.where(same, right, middle)
    missed = ~hits.any(axis=1) & (
        ~crossing.any(axis=1) | ~(np.abs(_curve(cell, gate, right) - values) <= 1e-9 * (1 + np.abs(values)))
    )
    if missed.any():  # a gate that jumps
        raise ValueRangeError(
            f"has the value {float(values[missed][0])!r}, which the gate {gate!r} of {cell.name!r} does not take "
            "at any pre-activation",
            argument=f"clamp[{gate!r}]",
        )
    return np.asarray(np.where(hits.any(axis=1), exact, right), dtype)


def _curve(cell: Cell, gate: str, x: Array) -> Array:
    """Return the gate's values (V,) at its pre-activations x (V,), with all else 0."""
    nothing = np.zeros_like(x)
    return _gate(cell, gate, x, *([nothing] * count for count in _sizes(cell)))


def _sizes(cell: Cell) -> tuple[int, int, int]:
    return len(cell.gates), len(cell.gates), len(cell.states)


def _gate(cell: Cell, gate: str, x: Array, wx: list[Array], rh: list[Array], states: list[Array]) -> Array:
    """Return one gate's values by the cell's own equations, where its input part is x, its recurrent part 0."""
    row, edge = cell.gates.index(gate), cell.prepared
    wx, rh = list(wx), list(rh)
    wx[row], rh[row] = x, np.zeros_like(x)
    with np.errstate(all="ignore"):
        more = (cell.prepare(tuple(wx[:edge]), tuple(rh[:edge]), tuple(states)),) if cell.prepare else ()
        _, saved = cell.step(tuple(wx[edge:]), tuple(rh[edge:]), tuple(states), *more)
    return np.broadcast_to(np.asarray(saved[cell.saved.index(gate)]), x.shape)


def _is_alone(cell: Cell, gate: str, shut: Iterable[int] = ()) -> bool:
    """Return whether a gate's value depends on its own pre-activation alone, where the parts of some gates are 0."""
    rng = np.random.default_rng(0)
    parts = [[rng.standard_normal(_GRID.size) for _ in range(count)] for count in _sizes(cell)]
    for k in shut:
        parts[0][k], parts[1][k] = np.zeros((2, _GRID.size))
    return np.array_equal(_gate(cell, gate, _GRID, *parts), _curve(cell, gate, _GRID), equal_nan=True)


def _check_alone(cell: Cell, gate: str) -> None:
    """Refuse a gate whose value depends on more than its own pre-activation, which does not clamp it."""
    if not _is_alone(cell, gate, _peepholes(cell, gate)):
        raise ValueRangeError(
            f"names {gate!r}, but in {cell.name!r} its value depends on more than its own pre-activation, so it cannot "
            "be clamped",
            argument="clamp",
        )
