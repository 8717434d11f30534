"""Results of a model of several layers, one a layer and direction, by the names that `Stack.directions` gives."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from gatescope.checks.numbers import check_type, set_checked
from gatescope.datatypes.result import Result
from gatescope.datatypes.stack_names import select_among
from gatescope.errors import ShapeError, UnknownNameError
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted

Part = TypeVar("Part", bound=Result)


def _are_layers(names: tuple[str, ...]) -> bool:
    """Return whether names are those of all layers from the lowest, each by itself or in both directions."""
    number = 0
    while names:
        name = f"layers.{number}"
        both = (f"{name}.forward", f"{name}.backward")
        if names[0] != name and names[:2] != both:
            return False
        names, number = names[1 if names[0] == name else 2 :], number + 1
    return True


@dataclass(frozen=True, kw_only=True, repr=False)
class ByLayer(Result, Generic[Part]):
    """A result for each layer and direction of a model.

    ``result["layers.1"]`` is that of the second layer, ``result["layers.-1"]`` of the uppermost, and
    ``result["layers.1.backward"]`` of one direction of a layer that goes both ways.  Iterating gives the names, as of a
    dict.

    Attributes
    ----------
    names : tuple of str
        From the lowest layer: ``"layers.0"``, ``"layers.1.forward"``, ``"layers.1.backward"``...
    results : tuple of Result
        As many, in the same order.
    """

    names: tuple[str, ...]
    results: tuple[Part, ...]

    _axes: ClassVar[Mapping[str, str]] = {"names": "(N,)", "results": "(N,)"}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_type("names", self.names, tuple, list, advice="give a tuple of texts")
        check_type("results", self.results, tuple, list, advice="give a tuple of results")
        set_checked(self, names=tuple(self.names), results=tuple(self.results))
        for k, name in enumerate(self.names):
            check_type(f"names[{k}]", name, str, advice="give a text, such as 'layers.0'")
        for k, result in enumerate(self.results):
            check_type(f"results[{k}]", result, Result, advice="give what a measurement of a layer returned")
        if len(self.names) != len(self.results) or not self.names:
            raise ShapeError(
                f"names {counted(len(self.results), 'result')} with {counted(len(self.names), 'name')}",
                argument="names",
                advice="give as many, at least one",
            )
        if not _are_layers(self.names):
            raise ShapeError(
                f"are {', '.join(map(repr, self.names))}",
                argument="names",
                advice="name the layers from 'layers.0' on, each direction once",
            )

    def __getitem__(self, name: str) -> Part:
        prefixes = self.selected(name)
        if len(prefixes) > 1:
            raise UnknownNameError(
                "goes both ways",
                argument="name",
                seen=name,
                advice=f"name one: {' or '.join(map(repr, prefixes))}",
            )
        return self.results[self.names.index(prefixes[0])]

    def selected(self, name: Any, argument: str = "name") -> tuple[str, ...]:
        """Return the directions of a layer that a name stands for: one, or both; `argument` is what it was given as."""
        selection = select_among(self._layers(), argument, name)
        if selection.name:
            raise UnknownNameError(
                "names something in a layer",
                argument=argument,
                seen=name,
                advice=f"name the layer alone, {selection.prefixes[0]!r}",
            )
        return selection.prefixes

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def items(self) -> tuple[tuple[str, Part], ...]:
        """Return names with results, from the lowest layer."""
        return tuple(zip(self.names, self.results, strict=True))

    def table(self) -> Table:
        """Return the tables of all layers as one: a column a layer, or rows that begin with the layer's name."""
        tables = self._tables()
        rows: list[tuple[Any, ...]] = []
        if all(len(table.header) == 2 for table in tables.values()):
            columns = [{str(row[0]): row[1] for row in table.rows} for table in tables.values()]
            quantities = dict.fromkeys(quantity for column in columns for quantity in column)
            rows = [(quantity, *(column.get(quantity) for column in columns)) for quantity in quantities]
            return Table(("", *tables), rows, self._title())
        headings = dict.fromkeys(heading for table in tables.values() for heading in table.header)
        for name, table in tables.items():
            for row in table.rows:
                values = dict(zip(table.header, row, strict=True))
                rows.append((name, *(values.get(heading) for heading in headings)))
        return Table(("layer", *headings), rows, self._title())

    def _tables(self) -> dict[str, Table]:
        return {name: result.table() for name, result in self.items()}

    def summary(self) -> str:
        """Return what there is to say of all layers together, and the summary of each."""
        lines = [self._title(), *self._together()]
        for name, result in self.items():
            first, *others = result.summary().splitlines()
            lines += [f"{name}: {first}", *(f"  {line.strip()}" for line in others)]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()

    def _title(self) -> str:
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(self.results[0]).__name__).lower()
        return f"{kind} of {counted(len(self._layers()), 'layer')}"

    def _together(self) -> list[str]:
        """Return sentences about all layers, of a kind of results that has some."""
        return []

    def _layers(self) -> list[dict[str, str]]:
        """Return the names of each layer by direction."""
        layers: dict[int, dict[str, str]] = {}
        for name, result in self.items():
            number, _, way = name.removeprefix("layers.").partition(".")
            backward = getattr(result, "reverse", False)
            layers.setdefault(int(number), {})[way or ("backward" if backward else "forward")] = name
        return list(layers.values())
