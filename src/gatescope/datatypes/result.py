"""What all result types share: they are saved to and loaded from ``.npz`` files, and know where they come from."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np

from gatescope.checks.arrays import Array, is_array, on_device
from gatescope.checks.numbers import check_type, is_whole
from gatescope.datatypes.axes import check_axes
from gatescope.datatypes.exchanged import Exchanged
from gatescope.errors import (
    DtypeError,
    FileFormatError,
    GatescopeError,
    ShapeError,
    UnknownNameError,
    ValueRangeError,
    article,
    shown,
)
from gatescope.reporting.html import fragment
from gatescope.reporting.table import Table
from gatescope.storage.npz import decode_json, encode_json, read_npz, write_npz

META = "gatescope_meta"
_UNION = re.compile(r" \| (?![^\[]*\])")  # between the kinds of a field, not inside brackets
_GREATEST = 2**1023  # of the whole numbers that a float may be given as
_PLAIN: dict[str, type | tuple[type, ...]] = {
    "Array": np.ndarray,
    "str": str,
    "float": (int, float),
    "bool": bool,
    "Mapping": Mapping,
    "tuple": tuple,
}  # kinds of fields that are no results


class ComparedByValue:
    """What makes dataclasses that hold arrays equal: the same type, and the same value in every field.

    Arrays are the same if dtype, shape and all values are (NaN is the same as NaN); fields declared with
    ``compare=False``, such as `Result.provenance`, do not count.  There is no hash, since arrays can be changed.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # @dataclass writes an __eq__ that fails on arrays, and a __hash__, unless the class has its own.
        # This runs before the decorator, so a subclass needs no eq=False.
        for name in ("__eq__", "__hash__"):
            if name not in vars(cls):
                setattr(cls, name, getattr(cls, name))

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        fields = dataclasses.fields(self)  # type: ignore[arg-type]  # the subclasses are dataclasses
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields if f.compare)

    def __hash__(self) -> int:
        # Not `__hash__ = None`: @dataclass(frozen=True) takes that for no choice and writes its own.
        kind = type(self).__name__
        raise TypeError(f"unhashable type: {kind!r}, since its arrays can be changed; use id() as the key")


@cache
def _field_names(kind: type[Result]) -> tuple[str, ...]:
    """Return the names of a result's fields; `dataclasses.fields` takes as long as a short sweep."""
    return tuple(f.name for f in dataclasses.fields(kind))


def _same(value: object, other: object) -> bool:
    if on_device(value) or on_device(other):  # to look at their values would wait for what computes them
        return value is other
    if not (isinstance(value, np.ndarray) and isinstance(other, np.ndarray)):
        # An array is never the same as something else; == would compare it element by element.
        if isinstance(value, np.ndarray) or isinstance(other, np.ndarray):
            return False
        nan = isinstance(value, float) and isinstance(other, float) and value != value and other != other
        return nan or bool(value == other)
    if value.dtype != other.dtype:
        return False
    return np.array_equal(value, other, equal_nan=value.dtype.kind in "fc")


@dataclass(frozen=True, kw_only=True)
class Result(Exchanged, ComparedByValue):
    """What all results share: they can be saved, loaded, given to other libraries, and tell where they come from.

    `provenance` holds versions, device, dtype, seed and command, as far as they apply.

    Two results are equal (``==``) if they are of one type and all their fields but `provenance` are the same,
    arrays in dtype, shape and every value.  Results have no hash, since their arrays can be changed.
    """

    provenance: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    _kinds: ClassVar[dict[str, type[Result]]] = {}

    # Axes and dtypes of the arrays, and numbers of names in the tuples, as `datatypes.axes` reads them: what a file has
    # to hold.
    _axes: ClassVar[Mapping[str, str]] = {}

    # Copies an array from a device; devices lie above this module, so `kernels.device` puts it in place.
    fetch: ClassVar[Callable[[Any], Array]]

    # Makes the small figure of a result as a PNG, or None if it has none; drawing lies above this module, so the
    # package puts it in place.
    draw_inline: ClassVar[Callable[[Result], bytes | None] | None] = None

    def __post_init__(self) -> None:
        check_type("provenance", self.provenance, Mapping, advice="give a dict")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Result._kinds[cls.__name__] = cls

    def _names(self) -> tuple[str, ...]:
        kind: Any = type(self)  # mypy says of a class whose instances have no hash that it has none either
        return _field_names(kind)

    def arrays(self) -> dict[str, Array]:
        """Return the fields that are arrays, by name."""
        return {name: value for name in self._names() if is_array(value := getattr(self, name))}

    @property
    def on_device(self) -> bool:
        """Whether arrays are on a device; `to_device` puts weights there, ``to_host()`` copies them back."""
        return any(on_device(getattr(self, name)) for name in self._names())

    def to_host(self) -> Self:
        """Return the result in NumPy arrays, itself if it is; waits for what computes the others."""
        host: dict[str, Any] = {}
        for name in self._names():
            value = getattr(self, name)
            if on_device(value):
                host[name] = Result.fetch(value)
            elif isinstance(value, Result) and value.on_device:
                host[name] = value.to_host()
        return dataclasses.replace(self, **host) if host else self

    def summary(self) -> str:
        """Return what the result says, in a few lines of text; the first is a title."""
        return self.table().title or type(self).__name__

    def table(self) -> Table:
        """Return the numbers of the result: a header and rows."""
        rows = [(name, extent or value) for name, value, extent in self._shown()]
        return Table(("field", "value"), rows, type(self).__name__)

    def _shown(self) -> Iterator[tuple[str, Any, str]]:
        """Yield name and value of each field that is shown, and of an array its dtype and shape."""
        for f in dataclasses.fields(self):
            if f.repr:
                value = getattr(self, f.name)
                yield f.name, value, f"{value.dtype}{list(value.shape)}" if is_array(value) else ""

    def _repr_html_(self) -> str:
        """Return the summary, the table, and a small figure if there is one, as notebooks show it."""
        figure = Result.draw_inline(self) if Result.draw_inline is not None else None
        return fragment(self.summary(), self.table(), figure)

    def check_fields(self, name: str) -> None:
        """Refuse a result that has become another one: fields of another kind, arrays that do not fit each other.

        `name` is the argument that it was given as.
        """
        for f in dataclasses.fields(self):
            value, type_of = getattr(self, f.name), str(f.type)
            if not _fits(value, type_of):
                at, advice = f"{name}.{f.name}", "give the result as it was returned"
                if type_of.startswith("int") and is_whole(value):
                    raise ValueRangeError("counts something", argument=at, seen=value, advice=advice)
                raise DtypeError(argument=at, seen=type(value), advice=advice)
        try:
            check_axes(vars(self), self._axes, self._sizes())
        except ValueError as error:
            raise ShapeError(
                f"does not fit: {error}", argument=name, advice="give the result as it was returned"
            ) from error

    def _sizes(self) -> dict[str, int]:
        """Return sizes in `_axes` that the arrays do not say."""
        return {}

    def _derived(self) -> dict[str, Any]:
        """Return values that follow from the fields, written beside them; on reading they must come out the same."""
        return {}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to an ``.npz`` (never pickle), beside its final name first and then renamed.

        Arrays on a device are copied to the host first.

        Raises
        ------
        OutputError
            If `path` cannot be written.
        """
        write_npz(path, _flatten(self.to_host()))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        FileFormatError
            If the file is missing, damaged, or holds another kind of result.
        """
        result = load(path)
        if not isinstance(result, cls):
            raise FileFormatError(
                f"holds {article(type(result).__name__)}, not {article(cls.__name__)}",
                seen=path,
                advice="load it with gatescope.load",
            )
        return result

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={extent or repr(value)}" for name, value, extent in self._shown())
        return f"{type(self).__name__}({parts})"


def load(path: str | os.PathLike[str]) -> Result:
    """Read any result that was saved with its ``save`` method (or `gatescope.save`).

    Raises
    ------
    FileFormatError
        If the file is missing, damaged, or was not written by gatescope; or if its arrays are not of the shapes and
        dtypes that this type of result has, or do not fit each other.

    Examples
    --------
    >>> import tempfile, pathlib, gatescope as gs
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "params.npz"
    >>> gs.save(path, gs.init("gru", input_size=1, hidden_size=4, seed=0))
    >>> gs.load(path).cell
    'gru'
    """
    check_type("path", path, str, bytes, os.PathLike, advice="give the name of a file")
    return _unflatten(read_npz(path), "", str(path))  # each member once, so no file is larger than it looks


def save(path: str | os.PathLike[str], result: Result) -> None:
    """Write any result to an ``.npz``; the same as ``result.save(path)``.

    Raises
    ------
    DtypeError
        If `result` is none, or stands in the place of the path.
    OutputError
        If `path` cannot be written.
    """
    if isinstance(path, Result):
        advice = "the path comes first: gatescope.save(path, result)"
        raise DtypeError(argument="path", seen=type(path), advice=advice)
    if not issubclass(type(result), Result):
        advice = "give what gatescope returned, such as Params or a Trace"
        raise DtypeError(argument="result", seen=type(result), advice=advice)
    result.save(path)


def _flatten(result: Result, prefix: str = "") -> dict[str, Array]:
    kind = type(result).__name__
    plain: dict[str, Any] = {}
    nested: list[str] = []
    series: dict[str, int] = {}
    arrays: dict[str, Array] = {}
    for f in dataclasses.fields(result):
        value = getattr(result, f.name)
        if isinstance(value, np.ndarray):
            arrays[prefix + f.name] = value
        elif isinstance(value, Result):
            nested.append(f.name)
            arrays.update(_flatten(value, f"{prefix}{f.name}."))
        elif isinstance(value, tuple) and value and all(isinstance(item, Result) for item in value):
            series[f.name] = len(value)
            for k, item in enumerate(value):
                arrays.update(_flatten(item, f"{prefix}{f.name}.{k}."))
        else:
            plain[f.name] = value
    plain |= result._derived()
    text = encode_json({"kind": kind, "nested": nested, "series": series, "fields": plain}, kind)
    return {prefix + META: np.array(text), **arrays}


def _unflatten(arrays: Mapping[str, Array], prefix: str, path: str) -> Result:
    if "gatescope_state" in arrays:
        raise FileFormatError(
            "is the state of something unfinished, not a result",
            seen=path,
            advice="make the same call with it to resume (train(..., checkpoint=...), or resume=...)",
        )
    if prefix + META not in arrays:
        raise FileFormatError(
            "was not written by gatescope",
            seen=path,
            advice="for weights of other frameworks use gatescope.load_weights",
        )
    try:
        meta = decode_json(str(arrays[prefix + META][()]))
        kind = Result._kinds.get(meta["kind"])
        if kind is None:
            raise FileFormatError(
                f"holds a {meta['kind']!r}, which this version does not know",
                seen=path,
                advice=f"the kinds are {', '.join(sorted(Result._kinds))}",
            )
        values: dict[str, Any] = dict(meta["fields"])
        types = {f.name: str(f.type) for f in dataclasses.fields(kind)}
        for name in meta["nested"]:
            _check_nested(name, types, values)
            values[name] = _unflatten(arrays, f"{prefix}{name}.", path)
        for name, count in meta.get("series", {}).items():  # files of the first versions have none
            _check_nested(name, types, values)
            if not is_whole(count) or not 0 < count <= len(arrays):
                raise ValueError(f"{count} of {name}")
            values[name] = tuple(_unflatten(arrays, f"{prefix}{name}.{k}.", path) for k in range(count))
        for name, type_of in types.items():
            if prefix + name in arrays:
                values[name] = arrays[prefix + name]
            if name in values and not _fits(values[name], type_of):
                raise TypeError(f"{name} is a {type(values[name]).__name__}, not {type_of}")
        derived = {name: values.pop(name) for name in [*values] if name not in types}
        result = _made(kind, values)
        _check_derived(result, derived, path)
        check_axes(vars(result), kind._axes, result._sizes())
        return result
    except GatescopeError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError) as error:
        raise FileFormatError(
            f"is damaged, or was written by another version of gatescope ({error})",
            seen=path,
            advice="write it again",
        ) from error


def _made(kind: type[Result], values: Mapping[str, Any]) -> Result:
    try:
        return kind(**values)
    except GatescopeError as error:  # what is wrong is the file, not an argument
        raise ValueError(str(error)) from error


def _check_nested(name: Any, types: Mapping[str, str], values: Mapping[str, Any]) -> None:
    """Refuse a result inside a result that is no field, or that is there twice."""
    # Part: of a generic container any kind.
    if name in values or not any(kind in types[name] for kind in (*Result._kinds, "Part")):
        raise TypeError(f"{name} is not a result inside this one, or is there twice")


def _check_derived(result: Result, stored: Mapping[str, Any], path: str) -> None:
    """Refuse a file whose derived values, such as the gate names of its cell, differ from what they are now."""
    now = result._derived()
    for name, value in stored.items():
        if name not in now:
            raise TypeError(f"unexpected field {name!r}")
        if value != now[name]:
            raise FileFormatError(
                f"holds {article(type(result).__name__)} whose {name} are {value}, but here they are {now[name]}: it "
                "was written with another definition of the cell",
                seen=path,
                advice="define the cell as it was, or write the file again",
            )


def _fits(value: object, annotation: str) -> bool:
    """Return whether a value read from a file is of its field's kind; annotations not named here accept anything."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ma.MaskedArray):
        return False
    if value is None:
        return annotation.endswith("| None") or annotation == "Any"
    others, outer, inner = _read(annotation)
    if others and any(_fits(value, other) for other in others):
        return True
    if outer == "int":
        return is_whole(value) and 0 <= value < _GREATEST  # type: ignore[operator]  # all of them count something
    kind: Any = _PLAIN.get(outer) or Result._kinds.get(outer, object)
    if (isinstance(value, bool) and outer != "bool") or not isinstance(value, kind):
        return outer in ("Any", "object")
    if outer == "float" and isinstance(value, int):
        return abs(value) < _GREATEST
    if outer == "Mapping" and inner.startswith("str, "):
        return all(_fits(item, inner.removeprefix("str, ")) for item in value.values())
    if outer == "tuple" and inner.endswith(", ..."):
        return all(_fits(item, inner.removesuffix(", ...")) for item in value)
    if outer == "tuple" and inner and "[" not in inner:
        each, items = inner.split(", "), list(value)
        return len(items) == len(each) and all(map(_fits, items, each))
    return True


@cache  # fields of models and data are looked at again at every update of a training
def _read(annotation: str) -> tuple[tuple[str, ...], str, str]:
    """Return the other kinds that a field may be of, and of the last one its name and what stands in brackets."""
    *others, last = _UNION.split(annotation.removesuffix(" | None"))
    outer, _, inner = last.removesuffix("]").partition("[")
    return tuple(others), outer, inner


def index_of(names: tuple[str, ...], name: str, what: str) -> int:
    """Return the index of a name; `what` begins the sentence that lists them where it is not among them."""
    if not isinstance(name, str) or name not in names:
        raise UnknownNameError(f"there is no {shown(name)}", advice=f"{what} {', '.join(map(repr, names))}")
    return names.index(name)
