"""What the recurrent layers of a live model of another framework received in one call of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from gatescope.cells.registry import get
from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_index
from gatescope.datatypes.params import Params
from gatescope.datatypes.result import Result
from gatescope.datatypes.stack import Stack
from gatescope.errors import ShapeError, UnknownNameError
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted, listing


@dataclass(frozen=True, kw_only=True, repr=False)
class CapturedNetwork(Result):
    """One recurrent module with its weights and what it received: ``gs.run(one.model, **one.arguments)`` repeats it.

    Attributes
    ----------
    name : str
        The module's name in its model, ``"encoder.lstm"``; empty if it is the model itself.
    call : int
        Which call of the module this is, from 0.
    calls : int
        How many calls it is made of: each of the others began with the state that the one before it left, as those
        of a cell in a loop do.
    model : Params or Stack
        Params of a module of one layer in one direction.
    inputs : (T, B, I)
        What its lowest layer took, in the dtype of the weights.
    lengths : (B,) int64
        Steps of each sequence.
    initial_state : (B, N) or None
        The states that it began with, those of all layers and directions side by side, in the order of
        ``Stack.directions``, and of each its states in the cell's order.  None: zeros.
    """

    name: str
    call: int
    calls: int
    model: Params | Stack
    inputs: Array
    lengths: Array
    initial_state: Array | None = None

    _axes: ClassVar[Mapping[str, str]] = {
        "inputs": "(T, B, I)",
        "lengths": "(B,) int64",
        "initial_state": "(B, N)",
    }
    _dims: ClassVar[Mapping[str, str]] = {"I": "model_input", "N": "state_number"}
    _rows: ClassVar[str] = "inputs"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.initial_state is None:
            return
        numbers = sum(map(_state_size, self.directions().values()))
        if self.initial_state.shape[-1] != numbers:
            raise ShapeError(
                f"has {self.initial_state.shape[-1]} numbers a sequence, and the states of the layers are {numbers}",
                argument="initial_state",
            )

    def directions(self) -> dict[str, Params]:
        """Return the weights of every layer and direction by the names that a stack gives them."""
        model = self.model
        return model.directions() if isinstance(model, Stack) else {"layers.0": model}

    def initial_states(self) -> dict[str, Array]:
        """Return views (B, S, H) of the initial states by direction; none where they are zeros."""
        if self.initial_state is None:
            return {}
        states, begin = {}, 0
        for name, params in self.directions().items():
            numbers = _state_size(params)
            part = self.initial_state[:, begin : begin + numbers]
            states[name] = part.reshape(len(part), -1, params.hidden_size)
            begin += numbers
        return states

    @property
    def arguments(self) -> dict[str, Any]:
        """What `run` and the measurements take besides the weights: inputs, lengths, and states where there are any.

        The initial state is (B, S, H) of `Params`, and such arrays by direction of a stack.
        """
        arguments: dict[str, Any] = {"inputs": self.inputs, "lengths": self.lengths}
        states = self.initial_states()
        if states:
            arguments["initial_state"] = states if isinstance(self.model, Stack) else states["layers.0"]
        return arguments

    def table(self) -> Table:
        """Return what the module is and what it received."""
        title = f"{_label(self.name)}: {self.cells}, {counted(len(self.inputs), 'step')}"
        return Table(("", "value"), list(zip(_COLUMNS, self._row(), strict=True)), title)

    @property
    def cells(self) -> str:
        """Names of the cells of its layers and directions, from the lowest."""
        return listing(params.cell for params in self.directions().values())

    def _row(self) -> tuple[Any, ...]:
        steps, batch, inputs = self.inputs.shape
        extent: Any = steps
        if self.lengths.min() < steps:
            extent = f"{self.lengths.min():,} to {self.lengths.max():,}"
        state = "zeros" if self.initial_state is None else "as it was given"
        return _label(self.name), self.call, self.cells, extent, batch, inputs, state


_COLUMNS = ("module", "call", "cells", "steps", "sequences", "inputs", "initial state")


def _state_size(params: Params) -> int:
    return len(get(params.cell).states) * params.hidden_size


def _label(name: str) -> str:
    return name or "the model itself"


@dataclass(frozen=True, kw_only=True, repr=False)
class Capture(Result):
    """What each recurrent module of a model received in one call of the model, in the order of their calls.

    ``captured["encoder.lstm"]`` is that module; ``captured["decoder", 3]`` the fourth call of one that was called
    several times.

    Attributes
    ----------
    networks : tuple of CapturedNetwork
    left_out : tuple of tuple of str
        Name of each other recurrent module, and why it is left out.
    """

    networks: tuple[CapturedNetwork, ...]
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the modules, each once."""
        return tuple(dict.fromkeys(one.name for one in self.networks))

    def __getitem__(self, key: str | tuple[str, int]) -> CapturedNetwork:
        """Return a module by its name, or one of its calls by name and number."""
        name, number = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
        calls = [one for one in self.networks if one.name == name]
        if not calls:
            why = next((f": it {reason}" for other, reason in self.left_out if other == name), "")
            raise UnknownNameError(
                f"is no module that was captured{why}",
                argument="name",
                seen=name,
                advice=f"there are {listing(self.names, form=repr)}",
            )
        if number is not None:
            return calls[check_index("call", number, len(calls), "calls")]
        if len(calls) > 1:
            raise UnknownNameError(
                f"was called {len(calls)} times, each with a state of its own",
                argument="name",
                seen=name,
                advice=f"choose a call: captured[{name!r}, 0]",
            )
        return calls[0]

    def __iter__(self) -> Iterator[str]:
        """Go through the names of the modules."""
        return iter(self.names)

    def table(self) -> Table:
        """Return a row for each module and call."""
        title = f"captured: {counted(len(self.names), 'recurrent module')}"
        return Table(_COLUMNS, [one._row() for one in self.networks], title)

    def summary(self) -> str:
        """Return how many modules there are, and why others are left out."""
        lines = [f"{_label(name)} is left out: it {reason}" for name, reason in self.left_out]
        return "\n".join([self.table().title, *lines])
