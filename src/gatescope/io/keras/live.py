"""Layers and models of Keras that live in this process, as trees of layers; Keras itself is never imported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.io.keras.hdf5 import Dataset
from gatescope.io.keras.layers import Node
from gatescope.io.keras.trees import Spec, join, make_node, name_of, specs_of

_PARTS = ("cell", "forward_layer", "backward_layer", "layer")
_NAMES = ("kernel", "recurrent_kernel", "bias")


def is_live(source: object) -> bool:
    """Return whether something is a layer or a model of Keras, without importing it."""
    return _is_layer(source) and not isinstance(source, type)


def _is_layer(value: object) -> bool:
    modules = [base.__module__.split(".") for base in type(value).__mro__]
    tensorflow = ["tensorflow", "python", "keras"]
    known = any(names[0] in ("keras", "tf_keras") or names[:3] == tensorflow for names in modules)
    return known and hasattr(value, "get_config") and hasattr(value, "weights")


def from_live(source: Any) -> Node:
    """Return the tree of a model; of a layer, that of a model with nothing else in it."""
    node = _node(source, "", "", set())
    if node.layers or (node.parts and not set(node.parts) & set(_PARTS)):
        return node
    key = str(getattr(source, "name", "layer"))
    return Node(name="", config={}, layers=(_node(source, key, key, set()),))


def _node(layer: Any, name: str, key: str, seen: set[int]) -> Node:
    seen.add(id(layer))
    spec = _spec(layer)
    parts, layers = {}, []
    for role in _PARTS:
        part = getattr(layer, role, None)
        if part is not None and hasattr(part, "call"):
            parts[role] = _node(part, name if role in ("cell", "layer") else join(name, role), role, seen)
    cells = getattr(layer, "cells", None)
    if isinstance(cells, list | tuple):
        for number, cell in enumerate(cells):
            label = str(getattr(cell, "name", number))
            layers.append(_node(cell, join(name, label), label, seen))
    elif specs_of(spec):
        by_name = {each.name: each for each in layer.layers}
        for each in specs_of(spec):
            label = name_of(each)
            inner = join(name, label)
            # An operation of a functional model is no layer, and has nothing but what is said of it.
            made = (
                _node(by_name[label], inner, label, seen)
                if label in by_name
                else make_node(each, inner, label)
            )
            layers.append(_placed(made, each))
    elif not parts:
        for label, child in _attributes(layer):
            if id(child) not in seen:
                parts[label] = _node(child, join(name, label), label, seen)
    weights = {} if parts or layers else _weights(layer, name)
    return make_node(spec, name, key, weights=weights, parts=parts, layers=tuple(layers))


def _placed(node: Node, spec: Spec) -> Node:
    """Return a node with what the model says of where it takes its inputs from."""
    return Node(
        name=node.name,
        key=node.key,
        kind=node.kind,
        config=node.config,
        inbound=spec.get("inbound_nodes"),
        weights=node.weights,
        parts=node.parts,
        layers=node.layers,
    )


def _spec(layer: Any) -> Spec:
    """Return what a file of Keras would say of a layer."""
    kind = type(layer)
    module = kind.__module__.replace("tf_keras", "keras").replace("tensorflow.python.keras", "keras")
    config: Any = None
    with suppress(Exception):  # a layer of the user's own may have none, or one that fails
        config = layer.get_config()
    if isinstance(config, dict):
        config |= {option: {"config": name} for option, name in _own_functions(layer)}
    return {"class_name": kind.__qualname__, "module": module, "config": config}


def _own_functions(layer: Any) -> Iterator[tuple[str, str]]:
    """Yield the activations that are not Keras's, whose names may be those of Keras's."""
    for option in ("activation", "recurrent_activation"):
        function = getattr(layer, option, None)
        module = str(getattr(function, "__module__", "") or "")
        if function is not None and module.partition(".")[0] not in ("keras", "tf_keras", "tensorflow"):
            yield option, str(getattr(function, "__name__", type(function).__name__))


def _attributes(layer: Any) -> Iterator[tuple[str, Any]]:
    """Yield the layers that a layer of the user's own has as attributes, alone, in lists and in dictionaries."""
    own = vars(layer)
    for name, value in {**own.get("_modules", {}), **own}.items():  # over PyTorch, layers are its modules
        if name.startswith("_"):
            continue
        if _is_layer(value):
            yield name, value
        elif isinstance(value, list | tuple | Mapping):
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            yield from ((f"{name}/{key}", child) for key, child in items if _is_layer(child))
    for child in own.get("_layers", ()):  # those that lie deeper, which Keras knows of
        if _is_layer(child):
            yield str(child.name), child


def _weights(layer: Any, name: str) -> dict[str, Dataset]:
    variables = {each: getattr(layer, each, None) for each in _NAMES}
    if variables["kernel"] is None:
        variables = dict(enumerate(getattr(layer, "weights", ())))  # type: ignore[arg-type]
    return {
        str(each): Dataset(
            name=join(name, str(each)),
            shape=tuple(int(extent) for extent in variable.shape),
            dtype=_dtype(variable),
            read=partial(_read, variable),
        )
        for each, variable in variables.items()
        if variable is not None and hasattr(variable, "shape")
    }


def _dtype(variable: Any) -> str:
    name = str(getattr(variable.dtype, "name", variable.dtype))
    return "whole numbers" if "int" in name else name


def _read(variable: Any) -> Array:
    values = variable.numpy() if callable(getattr(variable, "numpy", None)) else variable
    array = np.asarray(values)
    return np.array(array, np.float64 if array.dtype == np.float64 else np.float32)
