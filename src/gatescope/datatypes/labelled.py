"""Results as arrays whose axes have names: made from what a type declares, for xarray, pandas and long tables.

From ``_axes = {"log_norm": "(L, B) float64"}`` and the words of `vocabulary` follows an array ``log_norm`` over the
axes ``lag`` and ``batch``.  Arrays stay views of those of the result:

- ``T`` counts steps from 1.  An array over ``T+1`` steps is taken apart: what was before the first step becomes an
  array of its own, ``<name>_initial``, and the others are after steps 1 to T.
- An axis such as ``G*H`` becomes two axes.
- An axis that occurs twice is ``source_<name>`` the second time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatescope._version import __version__
from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_choice
from gatescope.datatypes.axes import axes_of
from gatescope.datatypes.by_layer import ByLayer
from gatescope.datatypes.result import Result
from gatescope.datatypes.vocabulary import AXES, SIDES, words
from gatescope.reporting.machine import json_text
from gatescope.reporting.text import plain
from gatescope.storage.npz import encode_json


@dataclass(frozen=True)
class Variable:
    """An array, the names of its axes, its attributes, and the field of the result that it is, or is a part of."""

    name: str
    dims: tuple[str, ...]
    values: Array
    attributes: dict[str, Any]
    field: str


@dataclass(frozen=True)
class Labelled:
    """A result: arrays and labels of axes by their names, attributes, and the results inside it."""

    variables: dict[str, Variable]
    coordinates: dict[str, Variable]
    attributes: dict[str, Any]
    children: dict[str, Result]


def labelled(result: Result) -> Labelled:
    """Return a result as arrays whose axes have names; what is on a device is copied to the host."""
    host = result.to_host()
    found: dict[str, Variable] = {}
    for variable in _variables(host):
        found[variable.name if variable.name not in found else f"{variable.field}_{variable.name}"] = variable
    children = _children(host)
    coordinates = {name: found.pop(name) for name in [*found] if found[name].dims == (name,)}
    sizes = {dim: n for each in found.values() for dim, n in zip(each.dims, each.values.shape, strict=True)}
    for dim, size in sizes.items():
        labels = _labels(host, dim, size)
        if labels is not None and dim not in coordinates:
            coordinates[dim] = Variable(dim, (dim,), labels, words(dim), dim)
    return Labelled(found, coordinates, _attributes(host), children)


def long_form(result: Result, of: str | None = None) -> dict[str, Array] | None:
    """Return the columns of a long table: the labels of a point, and every array that has one value there.

    Parameters
    ----------
    result : Result
    of : str, optional
        The array each of whose values is a row.  Default: ``result._rows``; without one the result has no such table.

    Returns
    -------
    dict of str to (N,) array, or None
    """
    inner = getattr(result, result._rows, None) if result._rows else None
    if isinstance(inner, Result):
        return long_form(inner, of)
    if isinstance(result, ByLayer):
        return _layers_together({name: long_form(part, of) for name, part in result.items()})
    if of is None and not result._rows:
        return None
    parts = labelled(result)
    arrays = {**parts.variables, **parts.coordinates}
    known = dict.fromkeys([*arrays, *(variable.field for variable in arrays.values())])
    name = result._rows if of is None else check_choice("of", of, known)
    leading = next((each for each in arrays.values() if name in (each.field, each.name)), None)
    leading = next(iter(parts.variables.values())) if leading is None else leading
    dims, shape = leading.dims, leading.values.shape
    columns: dict[str, Array] = {}
    for axis, (dim, size) in enumerate(zip(dims, shape, strict=True)):
        labels = parts.coordinates[dim].values if dim in parts.coordinates else np.arange(size)
        columns[dim] = _spread(labels, (axis,), shape)
    for each, variable in parts.variables.items():
        own = variable.dims
        # What is of one sequence, say, and not of its steps, would only be repeated.
        if own == dims or (own and own[0] == dims[0] and set(own) < set(dims)):
            columns[each] = _spread(variable.values, tuple(map(dims.index, own)), shape)
    return columns


def _layers_together(tables: Mapping[str, dict[str, Array] | None]) -> dict[str, Array] | None:
    """Return the long tables of layers as one, whose first column is the layer; NaN where a layer has no column."""
    if any(table is None for table in tables.values()):
        return None
    known = {name: table for name, table in tables.items() if table is not None}
    sizes = {name: len(next(iter(table.values()))) for name, table in known.items()}
    columns = {"layer": np.repeat(np.array([*sizes]), [*sizes.values()])}
    for name in dict.fromkeys(name for table in known.values() for name in table):
        kind = next(table[name].dtype.kind for table in known.values() if name in table)
        nothing: Any = "" if kind == "U" else np.nan
        columns[name] = np.concatenate(
            [table.get(name, np.full(sizes[layer], nothing)) for layer, table in known.items()]
        )
    return columns


def _spread(values: Array, axes: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """Return an array over some of the axes at every point of all of them, (N,)."""
    ordered = values.transpose(np.argsort(axes))
    own = [size if axis in axes else 1 for axis, size in enumerate(shape)]
    return np.broadcast_to(ordered.reshape(own), shape).reshape(-1)


def _variables(result: Result) -> Iterator[Variable]:
    """Yield the arrays of a result, and names that are given in tuples."""
    arrays: list[tuple[str, Array, list[str]]] = []
    naming = {*result._labels.values(), *(names for _, names in result._by_name.values())}
    for name, declared in {**result._axes, **result._also}.items():
        value = getattr(result, name)
        if name in naming:  # these are labels of an axis, or names of variables
            continue
        if isinstance(value, tuple) and value and all(isinstance(item, Mapping) for item in value):
            dims = _dims(result, axes_of(declared, 1))
            for key in dict.fromkeys(key for item in value for key in item):
                yield Variable(key, dims, _column([item.get(key) for item in value]), words(key), name)
        elif isinstance(value, tuple) and all(isinstance(item, str) for item in value):
            arrays.append((name, np.array(value, dtype=str), axes_of(declared, 1)))
        elif isinstance(value, np.ndarray):
            arrays.append((name, value, axes_of(declared, value.ndim)))
    sizes: dict[str, int] = {}
    for _, value, axes in arrays:
        sizes |= dict(zip(axes, value.shape, strict=True))
    for name, value, axes in arrays:
        yield from _parts(result, name, value, axes, sizes)


def _parts(
    result: Result, name: str, value: Array, axes: list[str], sizes: dict[str, int]
) -> Iterator[Variable]:
    """Yield an array with names of its axes, the state before the first step apart, each gate or state by itself."""
    if value.dtype.kind == "c":  # which files of arrays cannot hold
        yield from _parts(result, f"{name}_real", value.real, axes, sizes)
        yield from _parts(result, f"{name}_imag", value.imag, axes, sizes)
        return
    if not axes[0].endswith("+1"):
        yield from _named(result, name, value, axes, sizes)
        return
    yield from _named(result, name, value[1:], [axes[0].removesuffix("+1"), *axes[1:]], sizes)
    for variable in _named(result, name, value[0], axes[1:], sizes):
        text = f"{variable.attributes['long_name']} before the first step"
        attributes = {**variable.attributes, "long_name": text}
        yield dataclasses.replace(variable, name=f"{variable.name}_initial", attributes=attributes)


def _named(
    result: Result, name: str, value: Array, axes: list[str], sizes: dict[str, int]
) -> Iterator[Variable]:
    """Yield an array, or each part of it that has a name of its own."""
    if name not in result._by_name:
        yield Variable(name, *_unfolded(result, value, axes, sizes), words(name), name)
        return
    letter, names = result._by_name[name]
    at = axes.index(letter)
    for index, own in enumerate(getattr(result, names)):
        attributes: dict[str, Any] = words(own, name)
        valid = result.bounds(own) if hasattr(result, "bounds") else None
        attributes |= {} if valid is None else {"valid_range": list(valid)}
        view = value[(slice(None),) * at + (index,)]
        yield Variable(own, *_unfolded(result, view, axes[:at] + axes[at + 1 :], sizes), attributes, name)


def _unfolded(
    result: Result, value: Array, axes: list[str], sizes: dict[str, int]
) -> tuple[tuple[str, ...], Array]:
    """Return names of the axes, and the array with an axis that is a product taken as two."""
    shape: list[int] = []
    letters: list[str] = []
    for axis, size in zip(axes, value.shape, strict=True):
        factors = [axis] if axis in result._dims else axis.split("*")
        letters += factors
        inner = [sizes[factor] for factor in factors[1:]]
        shape += [size // math.prod(inner), *inner]
    return _dims(result, letters), value if len(shape) == value.ndim else value.reshape(shape)


def _dims(result: Result, axes: list[str]) -> tuple[str, ...]:
    dims: list[str] = []
    for axis in axes:
        dim = result._dims.get(axis, AXES.get(axis, axis))
        dims.append(dim if dim not in dims else f"source_{dim}")
    return tuple(dims)


def _labels(result: Result, dim: str, size: int) -> Array | None:
    """Return the labels of an axis that are no array of the result: steps from 1, names, sides."""
    if dim == "time":
        return np.arange(1, size + 1)
    labels = SIDES if dim == "side" else result._labels.get(dim)
    if isinstance(labels, str):
        labels = getattr(result, labels)
    array = None if labels is None else np.array(labels)
    return array if array is not None and len(array) == size else None


def _column(values: list[Any]) -> Array:
    """Return values of any kind as an array: numbers, NaN where there is none, or else texts."""
    if all(isinstance(value, int | float | None) and not isinstance(value, bool) for value in values):
        return np.array([np.nan if value is None else value for value in values], np.float64)
    return np.array(["" if v is None else v if isinstance(v, str) else json_text(plain(v)) for v in values])


def _children(result: Result) -> dict[str, Result]:
    """Return the results inside a result: those that are named by a tuple beside them, and others by their field."""
    children: dict[str, Result] = {}
    for name in result._names():
        value = getattr(result, name)
        if isinstance(value, Result):
            children[name] = value
        elif isinstance(value, tuple) and value and all(isinstance(item, Result) for item in value):
            declared = result._axes.get(name)
            own = next((n for n, d in result._axes.items() if d == declared and n != name), None)
            labels = getattr(result, own) if declared and own else _own_names(value)
            children |= {
                label if own and declared else f"{name}/{label}": item
                for label, item in zip(labels, value, strict=True)
            }
    return children


def _own_names(items: tuple[Result, ...]) -> list[str]:
    """Return what results call themselves, or else their numbers."""
    names = [str(getattr(item, "label", getattr(item, "name", ""))).replace("/", "_") for item in items]
    return names if all(names) and len({*names}) == len(names) else [str(k) for k in range(len(items))]


def _attributes(result: Result) -> dict[str, Any]:
    """Return everything else as numbers and texts, which any format keeps: what has parts as JSON."""
    kind = type(result).__name__
    attributes: dict[str, Any] = {"result": kind, "gatescope_version": __version__}
    for name in result._names():
        value = getattr(result, name)
        if name in result._axes and not (isinstance(value, tuple) and _is_nested(value)):
            continue
        if isinstance(value, np.ndarray | Result) or value is None:
            continue
        if isinstance(value, tuple) and any(isinstance(item, Result) for item in value):
            continue
        if isinstance(value, bool | np.bool_):
            attributes[name] = int(value)
        elif isinstance(value, int | float | np.number):
            attributes[name] = value
        else:
            attributes[name] = str(value) if isinstance(value, str) else _json(value, name)
    return attributes


def _is_nested(value: tuple[Any, ...]) -> bool:
    return any(isinstance(item, tuple) for item in value)


def _json(value: Any, name: str) -> str:
    if name == "provenance":
        return encode_json(value, name)
    return json_text(plain([_fields(item) for item in value] if isinstance(value, tuple) else value))


def _fields(value: Any) -> Any:
    """Return the fields of a small dataclass that is no result, such as a head, by their names."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value
