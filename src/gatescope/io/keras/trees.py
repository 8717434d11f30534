"""Models of Keras as trees of layers, from the groups of its files: those of Keras 3, and the older ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gatescope.errors import FileFormatError
from gatescope.io.keras.graph import SIMPLE
from gatescope.io.keras.hdf5 import Dataset, Group
from gatescope.io.keras.layers import CELL_OF_LAYER, Node

Spec = Mapping[
    str, Any
]  # what Keras says of a layer: its class and its configuration; empty where it says nothing

# Where a model has its layers, or a stack its cells.  The second is of TensorFlow 2.13.
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies", "cells")
_PARTS = ("cell", "forward_layer", "backward_layer", "layer")
_MOST_DEPTH, _MOST_LAYERS = 16, 10_000
_COUNT = re.compile(r"_\d+$")
_VERSION = re.compile(r":\d+$")  # which the names of TensorFlow's variables end in


def snake_case(kind: str) -> str:
    """Return the name of a class as Keras names groups.

    Examples
    --------
    >>> from gatescope.io.keras.trees import snake_case
    >>> snake_case("SimpleRNN"), snake_case("LSTMCell"), snake_case("SpatialDropout1D")
    ('simple_rnn', 'lstm_cell', 'spatial_dropout1d')
    """
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


_LAYERS = (*CELL_OF_LAYER, "RNN", "Bidirectional", "Sequential", "Functional", *SIMPLE)
_KINDS = {snake_case(kind): kind for kind in (*_LAYERS, *CELL_OF_LAYER.values())}


def kind_of_name(name: str) -> str:
    """Return the class that Keras gives a name of this form: ``"lstm_1"`` is an LSTM; empty if it is none."""
    return _KINDS.get(_COUNT.sub("", name), "")


def class_of(spec: Spec) -> str:
    """Return the class that is said of a layer, with a dot in it if it is not Keras's own; empty if nothing is said."""
    kind, module = spec.get("class_name"), spec.get("module", "keras")
    if not isinstance(kind, str):
        return ""
    if isinstance(module, str) and module.partition(".")[0] == "keras":
        return kind.replace(">", ".")  # an older file says "package>Class" of what is not Keras's
    return f"{module or 'model'}.{kind}"


def specs_of(spec: Spec) -> list[Spec]:
    """Return what is said of the layers of a model, or of the cells of a stack, in order."""
    config = spec.get("config")
    if isinstance(config, Mapping):
        config = config.get("layers", config.get("cells"))
    if not isinstance(config, list):
        return []
    if len(config) > _MOST_LAYERS:
        raise FileFormatError(
            f"describes a model of {len(config):,} layers, more than {_MOST_LAYERS:,}", argument="source"
        )
    return [mapping(each) for each in config]


def name_of(spec: Spec) -> str:
    """Return the name that the user or Keras gave a layer."""
    name = spec.get("name", mapping(spec.get("config")).get("name"))
    return name if isinstance(name, str) else ""


def part_of(spec: Spec, role: str) -> Spec:
    """Return what is said of a part of a layer."""
    config = mapping(spec.get("config"))
    if role == "cell":
        return mapping(config.get("cell"))
    if role == "backward_layer" and "backward_layer" not in config:  # an older file: as the forward one
        layer = mapping(config.get("layer"))
        inner = mapping(layer.get("config"))
        return (
            {**layer, "config": {**inner, "go_backwards": not inner.get("go_backwards")}} if inner else layer
        )
    return mapping(config.get("backward_layer" if role == "backward_layer" else "layer"))


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is, and nothing in place of anything else."""
    return value if isinstance(value, Mapping) else {}


def make_node(spec: Spec, name: str, key: str, **contents: Any) -> Node:
    """Return a layer of which something is said."""
    if name.count("/") > _MOST_DEPTH:
        raise FileFormatError(f"has layers in more than {_MOST_DEPTH} layers", argument="source")
    config = spec.get("config")
    return Node(
        name=name,
        key=key,
        kind=contents.pop("kind", "") or class_of(spec),
        config=config if isinstance(config, Mapping) else {} if isinstance(config, list) else None,
        inbound=spec.get("inbound_nodes"),
        **contents,
    )


def join(name: str, key: str) -> str:
    """Return the name of a layer within another."""
    return f"{name}/{key}" if name else key


# ------------------------------------------------------------------------------------------------ files of Keras 3


def from_groups(group: Group, spec: Spec, name: str = "", key: str = "", kind: str = "") -> Node:
    """Return the layer, or the whole model, that a group holds.

    `kind` is what the name of the group says of its class, for where `spec` says nothing.
    """
    variables = group.groups.get("vars")
    own_name = variables.attributes.get("name", "") if variables is not None else ""
    by_name = kind_of_name(own_name)
    if not kind and (by_name.endswith("Cell") or (by_name == "Sequential" and not name)):
        kind = by_name
    layers: list[Node] = []
    parts: dict[str, Node] = {}
    for role, child in group.groups.items():
        if role in _CONTAINERS:
            layers += _contained(child, specs_of(spec), name)
        elif role in _PARTS:
            inner = name if role in ("cell", "layer") else join(name, role)
            parts[role] = from_groups(child, part_of(spec, role), inner, role)
        elif role != "vars":  # an attribute of a model of the user's own, or a list of layers
            kind_of_child = "" if variables is not None or not name else kind_of_name(role)
            parts[role] = from_groups(child, {}, join(name, role), role, kind_of_child)
    return make_node(
        spec,
        name,
        key or own_name,
        kind=class_of(spec) or kind,
        weights=dict(variables.datasets) if variables is not None else {},
        parts=parts,
        layers=tuple(layers),
    )


def _contained(container: Group, specs: Sequence[Spec], name: str) -> list[Node]:
    """Return the layers of a model: those that are said, in that order, then what else there is."""
    groups, nodes = dict(container.groups), []
    for spec, role in zip(specs, _roles(groups, specs), strict=True):
        key = name_of(spec)
        group = groups.pop(role, None) or Group(name=role, attributes={}, groups={}, datasets={})
        nodes.append(from_groups(group, spec, join(name, key), key))
    for role, group in groups.items():
        key = _own_name(group) or role
        nodes.append(from_groups(group, {}, join(name, key), key, kind_of_name(role)))
    return nodes


def _own_name(group: Group) -> str:
    return group.groups["vars"].attributes.get("name", "") if "vars" in group.groups else ""


def _roles(groups: Mapping[str, Group], specs: Sequence[Spec]) -> list[str]:
    """Return the group of each layer: by the name it is said to have, or counted as Keras counts classes."""
    by_name = {_own_name(group): role for role, group in groups.items()}
    if groups and "" not in by_name and len(by_name) == len(groups):
        return [by_name.get(name_of(spec), "") for spec in specs]
    counts: dict[str, int] = {}
    roles = []
    for spec in specs:
        base = snake_case(str(spec.get("class_name", "")))
        number = counts[base] = counts.get(base, -1) + 1
        roles.append(f"{base}_{number}" if number else base)
    return roles


# ------------------------------------------------------------------------------- older files, and what is in them

_Entries = list[tuple[tuple[str, ...], Dataset]]  # weights, with the names on the way to them


def from_legacy(weights: Group, spec: Spec) -> Node:
    """Return the model of an older file; `weights` has a group for each layer, by its name."""
    specs = specs_of(spec) or [{"name": name} for name in weights.groups]
    groups = dict(weights.groups)
    layers = []
    for each in specs:
        key = name_of(each)
        layers.append(_legacy(each, list(_entries(groups.pop(key))) if key in groups else [], key, key))
    # Without a description the layers lie in the order of their names: nothing says which feeds which.
    return make_node(spec or {"config": {}}, "", "", layers=tuple(layers))


def _entries(group: Group, way: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Dataset]]:
    for name, dataset in group.datasets.items():
        yield (*way, _VERSION.sub("", name)), dataset
    for name, child in group.groups.items():
        yield from _entries(child, (*way, name))


def _legacy(spec: Spec, entries: _Entries, name: str, key: str) -> Node:
    """Return a layer, whose weights tell what they are by their names and by those on the way to them."""
    specs = specs_of(spec)
    if specs:
        layers, below = [], _by_name(entries)
        for each in specs:
            inner = name_of(each)
            layers.append(_legacy(each, below.pop(inner, []), join(name, inner), inner))
        return make_node(spec, name, key, layers=tuple(layers))
    sides = _sides(spec, entries) if class_of(spec) in ("", "Bidirectional") else {}
    if sides:
        parts = {
            role: _legacy(part_of(spec, role), side, join(name, role), role) for role, side in sides.items()
        }
        return make_node(spec, name, key, kind=class_of(spec) or "Bidirectional", parts=parts)
    if class_of(spec) == "TimeDistributed":
        return make_node(
            spec, name, key, parts={"layer": _legacy(part_of(spec, "layer"), entries, name, "layer")}
        )
    if any(way[-1] == "recurrent_kernel" for way, _ in entries):
        return _legacy_recurrent(spec, entries, name, key)
    names = [way[-1] for way, _ in entries]
    unique = len(set(names)) == len(names)
    weights = {way[-1] if unique else "/".join(way): weight for way, weight in entries}
    return make_node(spec, name, key, kind=class_of(spec) or kind_of_name(key), weights=weights)


def _by_name(entries: _Entries) -> dict[str, _Entries]:
    """Return the weights that lie below each name, with the rest of the way to them."""
    below: dict[str, _Entries] = {}
    for way, weight in entries:
        for name in dict.fromkeys(way[:-1]):
            below.setdefault(name, []).append((way[way.index(name) + 1 :], weight))
    return below


def _sides(spec: Spec, entries: _Entries) -> dict[str, _Entries]:
    """Return the weights of both directions: by the names that are said of them, or by those that Keras gives."""
    roles = ("forward_layer", "backward_layer")
    said = [name_of(part_of(spec, role)) for role in roles]
    for names in (said, [role.removesuffix("layer") for role in roles]):
        sides = {
            role: [
                (way, weight)
                for way, weight in entries
                if any(each == name if names is said else each.startswith(name) for each in way[:-1])
            ]
            for role, name in zip(roles, names, strict=True)
        }
        if all(sides.values()) and sum(map(len, sides.values())) == len(entries):
            return sides
    return {}


def _legacy_recurrent(spec: Spec, entries: _Entries, name: str, key: str) -> Node:
    cells: dict[tuple[str, ...], dict[str, Dataset]] = {}
    for way, weight in entries:
        cells.setdefault(way[:-1], {})[way[-1]] = weight
    cell_spec = part_of(spec, "cell")
    cell_specs = {name_of(each): each for each in specs_of(cell_spec)}
    if len(cells) > 1 and not cell_specs and not any("stacked_rnn_cells" in way for way in cells):
        parts = {"/".join(way): _cell({}, way, weights, name) for way, weights in cells.items()}
        return make_node(spec, name, key, parts=parts)  # a model of which nothing is said
    order = {cell: number for number, cell in enumerate(cell_specs)}
    ordered = sorted(cells.items(), key=lambda each: order.get(each[0][-1] if each[0] else "", len(order)))
    nodes = [
        _cell(cell_specs.get(way[-1] if way else "", cell_spec), way, weights, name)
        for way, weights in ordered
    ]
    cell = nodes[0] if len(nodes) == 1 else make_node(cell_spec, name, "cell", layers=tuple(nodes))
    return make_node(spec, name, key, parts={"cell": cell})


def _cell(spec: Spec, way: tuple[str, ...], weights: Mapping[str, Dataset], name: str) -> Node:
    kind = next((kind_of_name(each) for each in reversed(way) if kind_of_name(each)), "")
    kind = CELL_OF_LAYER.get(kind, kind)
    return make_node(spec, name, way[-1] if way else "cell", kind=class_of(spec) or kind, weights=weights)
