"""`Params` and `Stack` out of stored networks: which network and layers are meant, and their weights, checked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from gatescope._version import __version__
from gatescope.cells.registry import get
from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_count, check_flag, check_type, is_several
from gatescope.datatypes import Bidirectional, Params, Stack
from gatescope.datatypes.stack import Layer, directions, time_major
from gatescope.errors import (
    ShapeError,
    UnknownNameError,
    ValueRangeError,
    WeightFormatError,
    warn_accuracy,
)
from gatescope.io.source_errors import Wrong, finite_copy, listed
from gatescope.io.stored import StoredDirection, StoredLayer, StoredNetwork, StoredReadout, StoredWeights


class Opened:
    """The networks of a source, ready to be loaded; one of them is meant.

    Parameters
    ----------
    stored : StoredWeights
    label : str
        The source in messages.
    provenance : mapping
        What is known of the source.
    prefix : str, optional
        Of the network that is meant.  Default: the only one.
    batch_first : bool, optional
        As for `gatescope.load_weights`.
    dtype : dtype, optional

    Raises
    ------
    WeightFormatError, UnknownNameError
        If there is no network, none of that prefix, or several to choose from.
    """

    def __init__(
        self,
        stored: StoredWeights,
        *,
        label: str,
        provenance: Mapping[str, Any],
        prefix: str | None = None,
        batch_first: bool | None = None,
        dtype: np.dtype[Any] | None = None,
    ) -> None:
        self.stored = stored
        self.label, self._dtype = label, dtype
        self.provenance, self._batch_first = dict(provenance), batch_first
        named: dict[str, Any] = (
            {"seen": label} if "sha256" in provenance else {"argument": "source"}
        )  # a file by its name
        self.wrong: Wrong = partial(WeightFormatError, **named)
        self.network = self._meant(prefix)

    def _meant(self, prefix: str | None) -> StoredNetwork:
        """Return the network that is meant: the one that is named, or the only one."""
        check_type("prefix", prefix, str, type(None), advice="give a text such as 'encoder.lstm'")
        networks = self.stored.networks
        if not networks:
            others = f"; it holds {listed(self.stored.unused)}" if self.stored.unused else ""
            notes = "".join(f". {note}" for note in self.stored.notes)
            raise self.wrong(
                f"has no recurrent layer{others}{notes}", advice="give the file of an RNN, LSTM or GRU"
            )
        names = [network.prefix for network in networks]
        if prefix is None:
            if len(networks) > 1:
                raise self.wrong(
                    f"has {len(networks)} recurrent networks",
                    advice=f"choose one with `prefix`: {listed(names)}",
                )
            return networks[0]
        for network in networks:
            if prefix.rstrip("./") == network.prefix.rstrip("./"):
                return network
        raise UnknownNameError(
            f"is no network of {self.label}",
            argument="prefix",
            seen=prefix,
            advice=f"it has {listed(names)}",
        )

    @property
    def layers(self) -> list[str]:
        """What each layer of the network is, in words."""
        texts = []
        for layer in self.network.layers:
            ways = [
                f"{way.cell} of {way.hidden_size} units" for way in (layer.forward, layer.backward) if way
            ]
            texts.append(f"{layer.name}, which {layer.refused}" if layer.refused else " and ".join(ways))
        return texts

    @property
    def batch_first(self) -> bool:
        """Whether the source says that its network takes (B, T, I)."""
        return self.network.attributes.get("batch_first") is True

    def warn(self) -> None:
        """Warn of what the network may compute that no cell here does."""
        for doubt in self.network.doubts:
            warn_accuracy(f"{self.label}: {doubt}")

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user has to know of how the network was read, doubts first."""
        return (*self.network.doubts, *self.stored.notes)

    def load(self, layers: Any, reverse: bool | None) -> Layer | Stack:
        """Return what is asked for of the network: a layer, one direction of it, or layers with the read-out."""
        count = len(self.network.layers)
        numbers = layer_numbers(layers, count, self.label)
        check_one_direction(numbers, reverse)
        if reverse is not None:
            return self.direction(numbers[0], reverse)
        made = [self._layer(number) for number in numbers]
        made[1:] = map(time_major, made[1:])  # they take the outputs of the layers below
        whole = numbers[-1] == count - 1 and not isinstance(layers, int | np.integer)
        readout = self.network.readout if whole else None
        if len(made) == 1 and readout is None:
            return made[0]
        arrays: dict[str, Any] = {}
        if readout is not None:
            arrays = dict(zip(("readout_weight", "readout_bias"), self._readout(readout), strict=True))
        dtype = self._dtype or np.result_type(*(layer.dtype for layer in made), *arrays.values())
        arrays = {name: value.astype(dtype, copy=False) for name, value in arrays.items()}
        try:
            return Stack(
                layers=tuple(layer.astype(dtype) for layer in made), **arrays, provenance=self._sources()
            )
        except ShapeError as error:
            raise self.wrong(
                f"has layers that do not fit each other: {error}", advice="choose one with `layers`"
            ) from error

    def whole(self) -> list[Layer]:
        """Return all layers of the network."""
        return [self._layer(number) for number in range(len(self.network.layers))]

    def direction(self, number: int, reverse: bool) -> Params:
        """Return the weights of a layer in one direction."""
        (number,) = layer_numbers(number, len(self.network.layers), self.label)
        layer = self._readable(number)
        stored = layer.backward if reverse else layer.forward
        if stored is None:
            raise self.wrong(
                f"has no {'backward' if reverse else 'forward'} direction in layer {number}, {layer.name!r}",
                advice="leave `reverse` out" if reverse else "take the backward one, with `reverse`",
            )
        return self._params(number, stored, reverse)

    def below(self, number: int) -> tuple[Layer, ...]:
        """Return the layers below one, from the lowest."""
        made = [self._layer(k) for k in range(number)]
        return (*made[:1], *map(time_major, made[1:]))

    def left_open(self, number: int) -> dict[str, str]:
        """Return the arguments that say what the source does not say of a layer and those below, each with that."""
        texts = [
            way.assumed
            for layer in self.network.layers[: number + 1]
            for way in (layer.forward, layer.backward)
            if way is not None and way.assumed
        ]
        return {
            name: text for text in texts for name in ("nonlinearity", "reset_after") if f"{name}=" in text
        }

    def unused(self, number: int, reverse: bool) -> list[str]:
        """Return what of the source is not used by one direction of a layer, in words, with options in parentheses."""
        layer, parts = self.network.layers[number], []
        if layer.forward is not None and layer.backward is not None:
            parts.append("the forward direction" if reverse else "the backward direction (--reverse)")
        above = [*range(number + 1, len(self.network.layers))]
        if above:
            parts.append(f"layer{'s' if len(above) > 1 else ''} {', '.join(map(str, above))} (--layer)")
        readout = self.network.readout
        others = [*self.stored.unused, *([readout.name] if readout is not None else [])]
        return [*parts, listed(others)] if others else parts

    def _readable(self, number: int) -> StoredLayer:
        layer = self.network.layers[number]
        if layer.refused:
            raise self.wrong(f"has a layer {layer.name!r} that {layer.refused}")
        return layer

    def _layer(self, number: int) -> Layer:
        layer = self._readable(number)
        ways = {False: layer.forward, True: layer.backward}
        made = {way: self._params(number, stored, way) for way, stored in ways.items() if stored is not None}
        if len(made) == 1:
            return next(iter(made.values()))
        dtype = np.result_type(*(params.dtype for params in made.values()))
        return Bidirectional(
            forward=made[False].astype(dtype),
            backward=made[True].astype(dtype),
            merge=layer.merge,
            provenance=self._sources(),
        )

    def _sources(self) -> dict[str, Any]:
        unused = {"unused": list(self.stored.unused)} if self.stored.unused else {}
        unused |= {"notes": list(self.notes)} if self.notes else {}
        return {
            **self.provenance,
            "format": self.stored.format,
            "prefix": self.network.prefix,
            **unused,
            "gatescope": __version__,
        }

    def _params(self, number: int, stored: StoredDirection, reverse: bool) -> Params:
        layer = self.network.layers[number]
        if stored.assumed:
            warn_accuracy(f"{self.label} {stored.assumed}")
        arrays = stored.load()
        dtype = self._dtype or np.result_type(*arrays.values())
        weights = {
            name: self._finite(f"{layer.name}, {name}", value, dtype) for name, value in arrays.items()
        }
        for name in ("bias_ih", "bias_hh"):
            weights.setdefault(name, np.zeros(len(weights["weight_hh"]), dtype))
        rows, units = len(get(stored.cell).gates) * stored.hidden_size, stored.hidden_size
        shapes = {"weight_ih": (rows, stored.input_size), "weight_hh": (rows, units)}
        for name, value in weights.items():
            shape = shapes.get(name, (rows,))
            if value.shape != shape:
                raise self.wrong(
                    f"has {name} of shape {value.shape} in layer {layer.name!r}, where {shape} belongs"
                )
        return Params(
            cell=stored.cell,
            reverse=reverse,
            batch_first=self._order(),
            provenance={**self._sources(), "layer": number, "name": layer.name, "reverse": reverse},
            **weights,
        )

    def _order(self) -> bool | None:
        """Return the order of the axes of inputs: that which was said; None if a module has another and nobody said."""
        if self._batch_first is not None:
            return check_flag("batch_first", self._batch_first)
        return None if self.batch_first else False

    def _readout(self, readout: StoredReadout) -> tuple[Array, Array]:
        weight, bias = readout.load()
        dtype = self._dtype or np.result_type(weight, bias)
        return self._finite(f"{readout.name}, weight", weight, dtype), self._finite(
            f"{readout.name}, bias", bias, dtype
        )

    def _finite(self, name: str, value: Array, dtype: np.dtype[Any]) -> Array:
        return finite_copy(name, value, dtype, self.wrong)


def check_one_direction(numbers: Sequence[int], reverse: bool | None) -> None:
    """Refuse a direction that is asked of several layers."""
    if reverse is None:
        return
    check_flag("reverse", reverse)
    if len(numbers) > 1:
        raise ValueRangeError(
            "takes one direction of one layer, and several layers are read",
            argument="reverse",
            seen=reverse,
            advice="choose one with `layers`, or leave `reverse` out",
        )


def one_direction(
    path: str | os.PathLike[str], layers: Sequence[Layer], numbers: Sequence[int], reverse: bool
) -> Params:
    """Return one direction of one of the layers of a file."""
    check_one_direction(numbers, reverse)
    way = "backward" if reverse else "forward"
    ways = directions(layers[numbers[0]])
    if way not in ways:
        raise WeightFormatError(
            f"has no {way} direction in layer {numbers[0]}", seen=path, advice="leave `reverse` out"
        )
    return ways[way]


def layer_numbers(layers: Any, count: int, label: str) -> list[int]:
    """Return the numbers of the layers that are asked for, which follow each other."""
    if layers is None:
        return [*range(count)]
    asked = [*layers] if is_several(layers) else [layers]
    numbers = []
    for k, layer in enumerate(asked):
        name = f"layers[{k}]" if is_several(layers) else "layers"
        numbers.append(check_count(name, layer, least=-count, most=count - 1) % count)
    if not numbers or numbers != [*range(numbers[0], numbers[-1] + 1)]:
        raise ValueRangeError(
            "must follow each other, from the lowest",
            argument="layers",
            seen=layers,
            advice=f"{label} has layers 0..{count - 1}",
        )
    return numbers
