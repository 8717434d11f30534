"""Weights of recurrent cells of Flax (linen and nnx), Haiku and Equinox: trees of arrays, live or in files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_choice, check_unused
from gatescope.io.jax.cells import Branch, Cell, RefusedError, cell_of
from gatescope.io.jax.leaves import Leaf, Place, read_leaves
from gatescope.io.source_errors import Wrong, listed
from gatescope.io.stored import StoredLayer, StoredNetwork, StoredReadout, StoredWeights

_NUMBERED = re.compile(r"(.*?)_?(\d{1,9})")
_WAYS, _BOTH = ("forward", "backward"), ("forward_rnn", "backward_rnn")  # of Bidirectional
_PARAMETERS = "params"
_NOT_WEIGHTS = ("opt_state", "batch_stats")
_KERNELS = ("kernel", "w", "weight")  # of Flax and Haiku (inputs, outputs), of Equinox (outputs, inputs)


@dataclass
class _Layer:
    """A layer as the tree holds it."""

    place: Place
    layer: StoredLayer
    cells: dict[str, Cell] = field(default_factory=dict)  # by direction, forward first

    @property
    def sizes(self) -> tuple[int, int]:
        """Numbers of inputs and outputs; zeros where it is refused."""
        parts = [part for part in (self.layer.forward, self.layer.backward) if part is not None]
        return (parts[0].input_size, sum(part.hidden_size for part in parts)) if parts else (0, 0)


def read_jax(source: str | os.PathLike[str] | Any, *, nonlinearity: str | None = None) -> StoredWeights:
    """Read what recurrent cells a tree of JAX weights holds.

    Cells are told by the names and shapes in the tree.  It says neither what feeds what, nor which activations, nor
    whether an RNN runs backward: Flax's defaults are taken.

    Parameters
    ----------
    source : path, mapping or module
        A mapping of parameters, nested as Flax and Haiku nest them (of nnx ``nnx.state(model)``), an Equinox module; or
        a file: msgpack of ``flax.serialization.to_bytes``, ``.eqx`` of ``equinox.tree_serialise_leaves``, ``.npz`` with
        names such as ``params/cell/ii/kernel``.
    nonlinearity : {"tanh", "relu"}, optional
        Of a SimpleCell of Flax.  Default: tanh.

    Returns
    -------
    StoredWeights

    Raises
    ------
    MissingPackageError
        If a file of msgpack is given and msgpack is not installed.
    FileFormatError
        If the file is missing, truncated or hostile.
    WeightFormatError
        If there is no recurrent cell.
    ValueRangeError
        If `nonlinearity` is given where no cell leaves it open.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.io.jax.networks import read_jax
    >>> tree = {"dense_i": {"kernel": np.zeros((3, 20))}, "dense_h": {"kernel": np.zeros((5, 20))}}
    >>> read_jax(tree).networks[0].layers[0].forward.cell
    'lstm'
    """
    if nonlinearity is not None:
        check_choice("nonlinearity", nonlinearity, ("tanh", "relu"))
    name, leaves, wrong = read_leaves(source)
    weights = _parameters(leaves)
    root = _tree(weights)
    cells: list[tuple[Place, Cell | str]] = list(_cells(root, nonlinearity))
    if not cells:
        raise _none(weights, wrong)
    networks, notes = _networks(_both_ways(cells))
    if any(not isinstance(cell, str) and cell.open_nonlinearity for _, cell in cells):
        notes.append("a tree does not say whether a SimpleCell has residual=True: it is taken not to")
    else:
        check_unused("for these cells: it is for a SimpleCell", nonlinearity=nonlinearity)
    used = {place for _, cell in cells if not isinstance(cell, str) for place in cell.used}
    readout = _readout(root, networks, used) if len(networks) == 1 else None
    if readout is not None:
        networks = [replace(networks[0], readout=readout[0])]
        used |= readout[1]
    if len(networks) == 1:
        networks = [replace(networks[0], prefix="")]
    return StoredWeights(
        format=name,
        networks=tuple(networks),
        unused=tuple(dict.fromkeys(_shown(place) for place in leaves if place not in used)),
        notes=tuple(notes),
    )


def _parameters(leaves: dict[Place, Leaf]) -> dict[Place, Leaf]:
    """Return the arrays that are parameters: an optimizer keeps others of the same names and shapes."""
    if any(place[0] == _PARAMETERS for place in leaves):
        return {place: leaf for place, leaf in leaves.items() if place[0] == _PARAMETERS}
    return {place: leaf for place, leaf in leaves.items() if not {*place} & {*_NOT_WEIGHTS}}


def _shown(place: Place) -> str:
    """Return the name of an array that is not used; of an optimizer's state what leads to it."""
    return "/".join(next((place[: k + 1] for k, name in enumerate(place) if name in _NOT_WEIGHTS), place))


def _tree(leaves: dict[Place, Leaf]) -> Branch:
    root = Branch()
    for place, leaf in leaves.items():
        branch = root
        for depth, name in enumerate(place[:-1]):
            branch = branch.branches.setdefault(name, Branch(place[: depth + 1]))
        branch.leaves[place[-1] if place else ""] = leaf
    return root


def _cells(branch: Branch, nonlinearity: str | None) -> Iterator[tuple[Place, Cell | str]]:
    """Yield the cells in a branch, or why one is refused, by their places."""
    try:
        cell = cell_of(branch, nonlinearity)
    except RefusedError as error:
        yield branch.place, str(error)
        return
    if cell is not None:
        yield branch.place, cell
        return
    for child in branch.branches.values():
        yield from _cells(child, nonlinearity)


def _none(leaves: dict[Place, Leaf], wrong: Wrong) -> Exception:
    return wrong(
        f"has no recurrent cell of Flax, Haiku or Equinox among its {len(leaves)} arrays "
        f"({listed(['/'.join(place) for place in leaves])})",
        advice="give the parameters as the framework names them; LSTM and VanillaRNN of Haiku are told by names with "
        "'lstm' and 'rnn' in them",
    )


def _both_ways(cells: list[tuple[Place, Cell | str]]) -> list[_Layer]:
    """Return cells as layers, those of Flax's Bidirectional as one."""
    layers: list[_Layer] = []
    waiting: dict[Place, tuple[int, Cell]] = {}  # the first direction of a layer, and where in the list it is
    for place, cell in cells:
        way = next((name for name in _BOTH if name in place), "")
        around = place[: place.index(way)] if way else place
        name = "/".join(around) or "cell"
        if isinstance(cell, str):
            layers.append(_Layer(place, StoredLayer(name="/".join(place) or "cell", refused=cell)))
        elif way and around in waiting:
            k, other = waiting.pop(around)
            parts = {way: cell, layers[k].place[len(around)]: other}
            cells_of = {which: parts[one] for which, one in zip(_WAYS, _BOTH, strict=True) if one in parts}
            ways: dict[str, Any] = {which: one.direction for which, one in cells_of.items()}
            layers[k] = _Layer(around, StoredLayer(name=name, **ways), cells_of)
        else:
            if way:
                waiting[around] = (len(layers), cell)
            which = _WAYS[way == _BOTH[1]]
            ways = {which: cell.direction}
            layers.append(_Layer(place, StoredLayer(name="/".join(place) or "cell", **ways), {which: cell}))
    return layers


def _networks(layers: list[_Layer]) -> tuple[list[StoredNetwork], list[str]]:
    """Return layers whose numbers and sizes fit as networks, and what has to be said of that."""
    groups: dict[Place, list[tuple[int, _Layer]]] = {}
    for layer in layers:
        stem, number = _numbered(layer.place)
        groups.setdefault(stem, []).append((number, layer))
    networks, notes = [], []
    for numbered in groups.values():
        group = [layer for _, layer in sorted(numbered, key=lambda pair: pair[0])]
        fits = all(below.sizes[1] == above.sizes[0] > 0 for below, above in pairwise(group))
        if fits and len(group) > 1:
            notes.append(
                f"the tree does not say what feeds what: {listed([layer.layer.name for layer in group])} are taken for "
                "the layers of one network, whose numbers and sizes fit"
            )
        for chain in [group] if fits else [[layer] for layer in group]:
            stored = tuple(layer.layer for layer in chain)
            cells = [layer.cells for layer in chain]
            networks.append(StoredNetwork(prefix=stored[0].name, layers=stored, attributes={"cells": cells}))
    return networks, notes


def _numbered(place: Place) -> tuple[Place, int]:
    """Return a place without the last number in it, and the number; the first of Haiku's modules has none."""
    for k in reversed(range(len(place))):
        match = _NUMBERED.fullmatch(place[k])
        if match is not None:
            return (*place[:k], match[1], *place[k + 1 :]), int(match[2])
    return place, 0


def _readout(
    root: Branch, networks: list[StoredNetwork], used: set[Place]
) -> tuple[StoredReadout, set[Place]] | None:
    """Return the only linear layer beside the cells, if it takes as much as the uppermost of them gives."""
    linear = [
        branch for branch in _branches(root) if not used & {(*branch.place, name) for name in branch.leaves}
    ]
    (top, *_), bottom = networks[0].layers[::-1], networks[0].layers[0]
    width = _Layer((), top).sizes[1]
    if len(linear) != 1 or not width:
        return None
    (branch,) = linear
    names = [name for name in _KERNELS if name in branch.leaves]
    if len(names) != 1 or not {*branch.leaves} <= {names[0], "bias", "b"}:
        return None
    kernel = branch.leaves[names[0]]
    bias = branch.leaves.get("bias") or branch.leaves.get("b")
    shape = kernel.shape[::-1] if names[0] == "weight" else kernel.shape
    if len(shape) != 2 or shape[0] != width or shape[1] == _Layer((), bottom).sizes[0]:
        return None  # of another module, or one that makes the inputs
    if bias is not None and bias.shape != shape[1:]:
        return None

    def load() -> tuple[Array, Array]:
        weight = kernel.load() if names[0] == "weight" else kernel.load().T
        weight = np.ascontiguousarray(weight)
        return weight, np.zeros(len(weight), weight.dtype) if bias is None else bias.load()

    readout = StoredReadout(
        name="/".join(branch.place) or names[0], output_size=shape[1], input_size=width, load=load
    )
    return readout, {(*branch.place, name) for name in branch.leaves}


def _branches(branch: Branch) -> Iterator[Branch]:
    """Yield the branches that hold arrays themselves."""
    if branch.leaves:
        yield branch
    for child in branch.branches.values():
        yield from _branches(child)
