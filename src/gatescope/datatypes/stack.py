"""Networks of several layers: cells one on top of another, in one direction or both, and a linear read-out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.arrays import Array, check_own_array, check_shape, on_device, real_array
from gatescope.checks.dtypes import float_dtype
from gatescope.checks.numbers import check_choice, check_type, set_checked
from gatescope.datatypes.batch import Head, check_heads
from gatescope.datatypes.exported import Exported
from gatescope.datatypes.params import WEIGHT_NAMES, Params
from gatescope.datatypes.result import Result
from gatescope.errors import ShapeError, ValueRangeError
from gatescope.reporting.table import Table
from gatescope.reporting.text import counted

MERGES = ("concatenate", "sum")


@dataclass(frozen=True, kw_only=True, repr=False)
class Bidirectional(Exported, Result):
    """A layer of two cells, of which one takes each sequence from its first step on and the other from its last.

    Attributes
    ----------
    forward, backward : Params
        The second with ``reverse=True``.  Cells and sizes may differ.
    merge : {"concatenate", "sum"}
        The layer's outputs: those of forward, then those of backward; or their sum.

    Raises
    ------
    ShapeError
        If the two take inputs of different widths, or are to be added and have different numbers of units.
    ValueRangeError
        If one of them goes in the direction of the other, their dtypes or `batch_first` differ, or `merge` is unknown.

    Examples
    --------
    >>> import dataclasses, gatescope as gs
    >>> forward, backward = (gs.init("gru", input_size=3, hidden_size=5, seed=seed) for seed in (0, 1))
    >>> layer = gs.Bidirectional(forward=forward, backward=dataclasses.replace(backward, reverse=True))
    >>> layer.input_size, layer.output_size
    (3, 10)
    """

    forward: Params
    backward: Params
    merge: str = "concatenate"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, reverse in (("forward", False), ("backward", True)):
            params = getattr(self, name)
            check_type(name, params, Params, advice="give Params, made with init or load_weights")
            if not params.on_device:
                params.check_fields(name)
            if params.reverse is not reverse:
                raise ValueRangeError(
                    f"must be {reverse} of the {name} direction",
                    argument=f"{name}.reverse",
                    seen=params.reverse,
                    advice=f"use dataclasses.replace(params, reverse={reverse})",
                )
        check_choice("merge", self.merge, MERGES)
        sizes = [("inputs", "input_size"), *([("units", "hidden_size")] if self.merge == "sum" else [])]
        for what, size in sizes:
            ahead, back = getattr(self.forward, size), getattr(self.backward, size)
            if ahead != back:
                raise ShapeError(
                    f"has {back} {what}, and `forward` {ahead}", argument="backward", advice="make them equal"
                )
        for name in ("dtype", "batch_first"):
            ahead, back = getattr(self.forward, name), getattr(self.backward, name)
            if ahead != back:
                raise ValueRangeError(
                    f"is {back}, and that of `forward` {ahead}",
                    argument=f"backward.{name}",
                    advice="make them equal",
                )

    @property
    def input_size(self) -> int:
        """I, the number of inputs."""
        return self.forward.input_size

    @property
    def output_size(self) -> int:
        """The number of outputs: the units of both directions, or of one if they are added."""
        both = self.merge == "concatenate"
        return self.forward.hidden_size + (self.backward.hidden_size if both else 0)

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        return self.forward.dtype

    def count(self) -> int:
        """Return the number of trainable numbers."""
        return self.forward.count() + self.backward.count()

    def astype(self, dtype: DTypeLike) -> Bidirectional:
        """Return the same layer in float32 or float64; arrays that have that dtype already are shared."""
        return dataclasses.replace(
            self, forward=self.forward.astype(dtype), backward=self.backward.astype(dtype)
        )

    def table(self) -> Table:
        """Return cell and sizes of each direction."""
        rows = [(name, *_sizes(params)) for name, params in directions(self).items()]
        return Table(("", *_COLUMNS), rows, f"bidirectional layer, outputs: {self.merge}")


Layer = Params | Bidirectional

_COLUMNS = ("cell", "inputs", "units", "parameters")


def directions(layer: Layer) -> dict[str, Params]:
    """Return the weights of a layer by direction: ``"forward"``, ``"backward"``, or both."""
    if isinstance(layer, Bidirectional):
        return {"forward": layer.forward, "backward": layer.backward}
    return {"backward" if layer.reverse else "forward": layer}


def replaced(layer: Layer, weights: Mapping[str, Params]) -> Layer:
    """Return a layer with other weights, by direction as `directions` returns them."""
    if isinstance(layer, Bidirectional):
        return dataclasses.replace(layer, forward=weights["forward"], backward=weights["backward"])
    (only,) = weights.values()
    return only


def time_major(layer: Layer) -> Layer:
    """Return a layer that takes (T, B, I)."""
    return replaced(
        layer, {way: dataclasses.replace(one, batch_first=False) for way, one in directions(layer).items()}
    )


def output_size_of(layer: Layer) -> int:
    """Return how many numbers a step a layer gives to the one above."""
    return layer.output_size if isinstance(layer, Bidirectional) else layer.hidden_size


def layers_text(stack: Stack) -> str:
    """Return the cells and sizes of a stack in a line, from the lowest layer.

    Examples
    --------
    >>> import gatescope as gs
    >>> from gatescope.datatypes.stack import layers_text
    >>> layers_text(gs.init_stack(["lstm", "gru"], input_size=1, hidden_size=8, heads=[gs.Head("y", 1)]))
    'lstm 8 + gru 8'
    """
    return " + ".join(
        " and ".join(
            f"{params.cell} {params.hidden_size}" + (" backward" if way == "backward" else "")
            for way, params in directions(layer).items()
        )
        for layer in stack.layers
    )


def direction_text(name: str) -> str:
    """Return the name of a direction for people: ``"layer 1 backward"`` for ``"layers.1.backward"``."""
    return name.replace("s.", " ").replace(".", " ")


def first_backward(stack: Stack) -> str:
    """Return the name of the lowest direction that goes backward, ``"layers.0.backward"``; nothing if there is none."""
    return next((name for name, params in stack.directions().items() if params.reverse), "")


def _sizes(params: Params) -> tuple[Any, ...]:
    return params.cell, params.input_size, params.hidden_size, params.count()


@dataclass(frozen=True, kw_only=True, repr=False)
class Stack(Exported, Result):
    """One or more layers of cells, each fed by the outputs of the one below, with or without a linear read-out.

    With h the outputs of the uppermost layer, the model's outputs are ``y_t = readout_weight h_t + readout_bias``.

    Attributes
    ----------
    layers : tuple of Params or Bidirectional
        From the lowest; cells, sizes and directions may differ.
    readout_weight : (O, H), or None
        H is the number of the uppermost layer's outputs.
    readout_bias : (O,), or None
        None where there is no read-out.
    heads : tuple of Head
        How the O outputs are judged, in order; their sizes add up to O.  Empty where nothing says it: such a model can
        be run and measured, and not trained.

    Raises
    ------
    ShapeError
        If the sizes do not fit each other.
    ValueRangeError
        If a layer above the lowest is said to take (B, T, I).

    Examples
    --------
    >>> import gatescope as gs
    >>> stack = gs.init_stack(["lstm", "gru"], input_size=2, hidden_size=[16, 8], heads=[gs.Head("y", 1)], seed=0)
    >>> stack.cells, stack.readout_weight.shape, stack.count()
    (('lstm', 'gru'), (1, 8), 1913)
    >>> gs.gradient_flow(stack.layers[0], gs.tasks.adding(steps=50).inputs).cell  # a layer is measured by itself
    'lstm'
    """

    layers: tuple[Params | Bidirectional, ...]
    readout_weight: Array | None = None
    readout_bias: Array | None = None
    heads: tuple[Head, ...] = ()

    _axes: ClassVar[Mapping[str, str]] = {
        "readout_weight": "(O, H)",
        "readout_bias": "(O,)",
    }
    _dims: ClassVar[Mapping[str, str]] = {"H": "readout_unit"}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_type("layers", self.layers, tuple, list, advice="give a tuple of Params, from the lowest layer")
        none = isinstance(self.heads, tuple | list) and not self.heads
        heads = () if none else check_heads(self.heads)
        set_checked(self, heads=heads, layers=tuple(self.layers))
        if not self.layers:
            raise ShapeError("is empty", argument="layers", advice="give at least one Params")
        for k, layer in enumerate(self.layers):
            advice = "give Params, made with init or load_weights, or a Bidirectional"
            check_type(f"layers[{k}]", layer, Params, Bidirectional, advice=advice)
            if not layer.on_device:
                layer.check_fields(f"layers[{k}]")
            for params in directions(layer).values() if k else ():
                if params.batch_first is not False:
                    raise ValueRangeError(
                        "must be False above the lowest layer, whose outputs are (T, B, H)",
                        argument=f"layers[{k}].batch_first",
                        seen=params.batch_first,
                        advice="use dataclasses.replace(params, batch_first=False)",
                    )
        for k, (below, above) in enumerate(pairwise(self.layers)):
            if above.input_size != output_size_of(below):
                raise ShapeError(
                    f"takes {above.input_size} inputs, but layers[{k}] gives {output_size_of(below)}",
                    argument=f"layers[{k + 1}]",
                    advice="make them equal",
                )
        self._check_readout()
        if any(value.dtype != self.dtype for value in self.weights().values()):
            raise ShapeError("the layers and the read-out have different dtypes", advice="give all one")

    def _check_readout(self) -> None:
        """Check that the read-out fits the uppermost layer and the heads, or that there is none."""
        weight, bias = self.readout_weight, self.readout_bias
        if weight is None and bias is None:
            if self.heads:
                raise ShapeError(
                    "are there without a read-out",
                    argument="heads",
                    advice="give `readout_weight` and `readout_bias`",
                )
            return
        for name, value in (("readout_weight", weight), ("readout_bias", bias)):
            if not on_device(value):
                check_type(name, value, np.ndarray, advice="give a NumPy array")
        assert weight is not None
        assert bias is not None
        units = output_size_of(self.layers[-1])
        outputs = sum(head.size for head in self.heads) if self.heads else bias.size
        of = "outputs of the heads" if self.heads else "numbers in `readout_bias`"
        axes = f"(O, H) with O = {outputs} {of} and H = {units}"
        check_shape("readout_weight", weight, (outputs, units), axes)
        check_shape("readout_bias", bias, (outputs,), "(O,)")

    @property
    def input_size(self) -> int:
        """I, the number of inputs of the lowest layer."""
        return self.layers[0].input_size

    @property
    def output_size(self) -> int:
        """O, the number of outputs of the read-out, or of the uppermost layer where there is none."""
        if self.readout_weight is None:
            return output_size_of(self.layers[-1])
        return int(self.readout_weight.shape[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        return self.layers[0].dtype

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the layers' cells; of a bidirectional layer those of both, with a plus between them."""
        return tuple("+".join(params.cell for params in directions(layer).values()) for layer in self.layers)

    @property
    def size(self) -> int:
        """How many numbers `flat` has, with those that stay 0 (see `Params.count`)."""
        return sum(int(value.size) for value in self.weights().values())

    def count(self) -> int:
        """Return the number of trainable numbers."""
        readout = (self.readout_weight, self.readout_bias)
        return sum(params.count() for params in self.directions().values()) + sum(
            int(value.size) for value in readout if value is not None
        )

    def weights(self) -> dict[str, Array]:
        """Return all trainable arrays by name, ``"layers.0.weight_ih"`` to ``"readout_bias"``, ordered as in `flat`.

        Those of a bidirectional layer are ``"layers.0.forward.weight_ih"`` and so on.
        """
        weights = {
            f"{prefix}.{name}": getattr(params, name)
            for prefix, params in self.directions().items()
            for name in WEIGHT_NAMES
        }
        if self.readout_weight is not None and self.readout_bias is not None:
            weights |= {"readout_weight": self.readout_weight, "readout_bias": self.readout_bias}
        return weights

    def prefixes(self, number: int) -> dict[str, str]:
        """Return the names of a layer's directions, ``"layers.0"`` or ``"layers.0.forward"`` and its twin."""
        layer = self.layers[number]
        both = isinstance(layer, Bidirectional)
        return {way: f"layers.{number}" + (f".{way}" if both else "") for way in directions(layer)}

    def directions(self) -> dict[str, Params]:
        """Return the weights of every layer and direction, from the lowest.

        By name: ``"layers.0"`` of a layer in one direction, ``"layers.1.forward"`` and ``"layers.1.backward"`` of one
        in both.
        """
        return {
            prefix: directions(layer)[way]
            for k, layer in enumerate(self.layers)
            for way, prefix in self.prefixes(k).items()
        }

    def _with(self, prefix: str, arrays: dict[str, Any]) -> Params:
        """Return weights of one direction with others, which are taken out of `arrays`."""
        old = self.directions()[prefix]
        return dataclasses.replace(
            old,
            **{name: arrays.pop(f"{prefix}.{name}") for name in WEIGHT_NAMES},
            provenance={**old.provenance, "replaced": True},
        )

    def flat(self) -> Array:
        """Return all numbers of the weights in one vector (N,): every array of `weights`, row after row."""
        return np.concatenate([value.reshape(-1) for value in self.weights().values()])

    def with_flat(self, vector: Array) -> Stack:
        """Return the same model with the numbers of `vector` (N,), which are copied.

        Raises
        ------
        ShapeError
            If there are more or fewer than N.
        DtypeError
            If it is no NumPy array of real numbers.
        """
        real_array("vector", check_own_array("vector", vector, "(N,)"))
        check_shape("vector", vector, (self.size,), "(N,)")
        arrays: dict[str, Any] = {}
        begin = 0
        for name, value in self.weights().items():
            arrays[name] = vector[begin : begin + value.size].reshape(value.shape).astype(self.dtype)
            begin += value.size
        layers = [
            replaced(layer, {way: self._with(prefix, arrays) for way, prefix in self.prefixes(k).items()})
            for k, layer in enumerate(self.layers)
        ]
        return dataclasses.replace(self, layers=tuple(layers), **arrays)

    def astype(self, dtype: DTypeLike) -> Stack:
        """Return the same model in float32 or float64; arrays that have that dtype already are shared."""
        target = float_dtype(dtype)
        readout: dict[str, Any] = {
            name: value.astype(target, copy=False)
            for name in ("readout_weight", "readout_bias")
            if (value := getattr(self, name)) is not None
        }
        return dataclasses.replace(
            self, layers=tuple(layer.astype(target) for layer in self.layers), **readout
        )

    def table(self) -> Table:
        """Return cell and sizes of each layer and direction, and of the read-out."""
        rows: list[tuple[Any, ...]] = [
            (direction_text(name), *_sizes(params)) for name, params in self.directions().items()
        ]
        if self.readout_weight is not None:
            outputs, units = self.readout_weight.shape
            rows.append(("read-out", "linear", units, outputs, self.readout_weight.size + outputs))
        title = f"{' on '.join(reversed(self.cells))}, {counted(self.count(), 'parameter')}, {self.dtype}"
        return Table(("", *_COLUMNS), rows, title)
