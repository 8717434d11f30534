"""Recurrent networks as a file or a model of another framework holds them, in the words and orders of this package.

A reader of a format makes these without loading a weight; `gatescope.io.weights` chooses among them and loads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gatescope.checks.arrays import Array
from gatescope.io.source_errors import listed
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted


@dataclass(frozen=True, kw_only=True)
class StoredDirection:
    """The weights of one layer in one direction.

    Attributes
    ----------
    cell : str
        Name of the cell of this package that computes the same.
    input_size, hidden_size : int
    dtype : str
        As the source has it: ``"float32"``, ``"bfloat16"``.
    load : callable
        Returns ``weight_ih`` (G*H, I), ``weight_hh`` (G*H, H) and, where there are any, ``bias_ih`` and ``bias_hh``
        (G*H,) of the cell, its gates in the cell's order; float32 or float64 (float16 and bfloat16 become float32).
    assumed : str
        What the source does not say and is taken for granted, with the argument that says it; empty if nothing:
        ``"does not say what its RNN squashes its states with, and tanh is assumed; give nonlinearity=..."``.
    """

    cell: str
    input_size: int
    hidden_size: int
    dtype: str
    load: Callable[[], dict[str, Array]]
    assumed: str = ""


@dataclass(frozen=True, kw_only=True)
class StoredLayer:
    """One layer: forward, backward, or both.

    Attributes
    ----------
    name : str
        As the source names it, with what precedes it: ``"encoder.lstm_l0"``, ``"bidirectional_1"``.
    forward, backward : StoredDirection or None
    merge : {"concatenate", "sum"}
        How the outputs of two directions are joined.
    refused : str
        Why it cannot be loaded, empty if it can: ``"has recurrent_activation 'hard_sigmoid', which ..."``.
        A refused layer may have neither direction.
    """

    name: str
    forward: StoredDirection | None = None
    backward: StoredDirection | None = None
    merge: str = "concatenate"
    refused: str = ""


@dataclass(frozen=True, kw_only=True)
class StoredReadout:
    """A linear layer that alone takes the outputs of the uppermost layer.

    Attributes
    ----------
    name : str
    output_size, input_size : int
    load : callable
        Returns the weight (O, H) and the bias (O,), zeros where there is none.
    """

    name: str
    output_size: int
    input_size: int
    load: Callable[[], tuple[Array, Array]]


@dataclass(frozen=True, kw_only=True)
class StoredNetwork:
    """Layers that feed each other, from the lowest.

    Attributes
    ----------
    prefix : str
        What names it among the networks of one source; empty if it needs no name.
    layers : tuple of StoredLayer
    readout : StoredReadout or None
        Where it is unambiguous.
    attributes : mapping
        What else the source says of it: ``batch_first``.
    doubts : tuple of str
        What it may compute that no cell here does, a sentence each, of which whoever loads it is warned.
    """

    prefix: str
    layers: tuple[StoredLayer, ...]
    readout: StoredReadout | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StoredWeights:
    """All recurrent networks of a source.

    Attributes
    ----------
    format : str
        In words: ``"PyTorch state_dict (zip)"``, ``"Keras 3 .weights.h5"``.
    networks : tuple of StoredNetwork
    unused : tuple of str
        Names of what else is in it (embeddings, dense layers, an optimizer's state), in the source's order.
    notes : tuple of str
        What a user has to know of how it was read, a sentence each.
    """

    format: str
    networks: tuple[StoredNetwork, ...]
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return the title of the table, what else is in the source, and what a user has to know of it, a line each."""
        lines = [self.table().title]
        lines += [f"not read: {listed(self.unused)}"] if self.unused else []
        return "\n".join(
            [*lines, *(doubt for network in self.networks for doubt in network.doubts), *self.notes]
        )

    def table(self) -> Table:
        """Return a row for each direction of each layer, and for the read-outs; a layer that is not read says why."""
        rows: list[tuple[Any, ...]] = []
        for network in self.networks:
            for k, layer in enumerate(network.layers):
                start = (network.prefix, k, layer.name)
                if layer.refused:
                    rows.append((*start, "not read", layer.refused, "", "", ""))
                    continue
                ways = {"forward": layer.forward, "backward": layer.backward}
                rows += [
                    (*start, one.cell, way, one.input_size, one.hidden_size, one.dtype)
                    for way, one in ways.items()
                    if one is not None
                ]
            head = network.readout
            if head is not None:
                rows.append(
                    (
                        network.prefix,
                        "",
                        head.name,
                        "linear",
                        "read-out",
                        head.input_size,
                        head.output_size,
                        "",
                    )
                )
        header = ("prefix", "layer", "name", "cell", "direction", "inputs", "units", "dtype")
        return Table(header, rows, f"{self.format}: {counted(len(self.networks), 'recurrent network')}")
