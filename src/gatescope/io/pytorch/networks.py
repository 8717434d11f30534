"""All recurrent networks of a PyTorch source, whole: layers, directions and read-outs, nothing of them loaded."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.checks.numbers import check_choice, check_type, check_unused
from gatescope.errors import FileFormatError
from gatescope.io.pytorch.entries import (
    DEQUANTIZE,
    QUANTIZED,
    Names,
    beside,
    check_norms,
    find_layer,
    find_prefix,
    networks,
    numbered,
    parse,
    where_optimizer_begins,
)
from gatescope.io.pytorch.layers import RNN_OF_NONLINEARITY, stored_direction
from gatescope.io.pytorch.safetensors import SafetensorsFile
from gatescope.io.pytorch.shards import Shards
from gatescope.io.pytorch.sources import Source, common_dtype, open_source
from gatescope.io.source_errors import listed
from gatescope.io.stored import StoredDirection, StoredLayer, StoredNetwork, StoredReadout, StoredWeights

_MOST = 256  # networks of a source, and layers of one
# Of the modules that compute what the cells do; empty where nothing says what a module is.
_KINDS = ("", "RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell")

# In the names of losses, which may have a number a class, or of these.
_OF_LOSSES = ("loss", "criterion", "pos_weight")


def read_torch(
    source: str | os.PathLike[str] | Mapping[str, Any] | object,
    *,
    nonlinearity: str | None = None,
    prefix: str | None = None,
) -> StoredWeights:
    """Return the recurrent networks of a PyTorch file, mapping or live module; no weight is loaded.

    Parameters
    ----------
    source : path, mapping or module
        As for `load_torch`.
    nonlinearity : {"tanh", "relu"}, optional
        Of RNNs that do not state it.
    prefix : str, optional
        Of the one network to return.  Default: all but averaged copies and what optimizers keep of the weights, which
        a note names.  Modules of one layer in a list (``"cells.0."``, ``"cells.1."``) are one network where each takes
        what the one before it gives.

    Returns
    -------
    StoredWeights
        What cannot be loaded is in it all the same, with the reason.

    Raises
    ------
    FileFormatError
        If the file is missing, truncated or hostile.
    WeightFormatError
        If it has no recurrent layer, or none of that prefix.
    ValueRangeError
        If `nonlinearity` is not that of a module which states its own, or there is no RNN.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.io.pytorch.networks import read_torch
    >>> shapes = {"rnn.weight_ih_l0": (24, 3), "rnn.weight_hh_l0": (24, 8), "out.weight": (2, 8)}
    >>> (network,) = read_torch({name: np.zeros(shape) for name, shape in shapes.items()}).networks
    >>> network.layers[0].name, network.layers[0].forward.cell, network.readout.name
    ('rnn_l0', 'gru', 'out')
    """
    if nonlinearity is not None:
        check_choice("nonlinearity", nonlinearity, RNN_OF_NONLINEARITY)
    check_type("prefix", prefix, str, type(None), advice="give a text such as 'encoder.lstm.'")
    opened = open_source(source)
    names = parse(opened.entries)
    prefixes, left = networks(names)
    lists = numbered(prefixes)
    whole = [each for each in (prefix, f"{prefix}.") if each in lists]
    if whole:
        prefixes = lists[whole[0]]
    elif prefix is not None or not (prefixes or names.quantized):
        prefixes = [find_prefix(opened, names, prefix)]
    if len(prefixes) > _MOST:
        raise opened.wrong(f"has {len(prefixes)} recurrent networks", advice="choose one with `prefix`")
    single = {each: _network(opened, names, each, nonlinearity) for each in prefixes}
    stored, notes = _stacked(single)
    notes = [] if opened.written_here else notes
    if len(stored) > 1 and _is_sorted(opened):
        stored = [replace(each, readout=None) for each in stored]  # which of them it is of, no order says
    if prefix is None:
        stored += [_quantized(each) for each in names.quantized]
    cells = {
        direction.cell for network in stored for layer in network.layers for direction in directions(layer)
    }
    if cells and not cells & {*RNN_OF_NONLINEARITY.values()}:
        check_unused(f"for {opened.label}, which has no RNN: it is for one", nonlinearity=nonlinearity)
    notes += [
        f"{each!r} is left out: it holds {kind}; `prefix` chooses it"
        for each, kind in left.items()
        if each not in prefixes
    ]
    return StoredWeights(
        format=opened.format,
        networks=tuple(stored),
        unused=_unused(opened, names, prefixes, stored, chosen=prefix is not None),
        notes=tuple(notes),
    )


def _network(source: Source, names: Names, prefix: str, nonlinearity: str | None) -> StoredNetwork:
    """Return the network of a prefix, its layers checked to fit each other."""
    numbers = sorted({number for number, _ in names.networks[prefix]})
    if len(numbers) > _MOST:
        raise source.wrong(f"has {len(numbers)} layers behind {prefix!r}", advice=f"give {_MOST} at most")
    refused = _problem(lambda: check_norms(source, names, prefix))
    layers: list[StoredLayer] = []
    for number in numbers:
        layer = _layer(source, names, prefix, number, nonlinearity, refused)
        problem = _misfit(layers[-1], layer) if layers else ""
        if number != len(layers):
            problem = f"lies above a layer {len(layers)} that is missing; save the whole state_dict"
        layers.append(replace(layer, refused=problem) if problem and not layer.refused else layer)
    batch_first = source.attribute(prefix, "batch_first")
    top = directions(layers[-1])
    readout = _readout(source, names, prefix, sum(each.hidden_size for each in top))
    doubts = _doubts(source, names, prefix)
    if readout is not None and len(top) > 1 and not source.written_here:
        doubts += (
            f"{readout.name!r} is taken as a read-out of every step of both directions: a model that gives it their "
            "last states (h_n), which are of different steps, computes something else",
        )
    return StoredNetwork(
        prefix=prefix,
        layers=tuple(layers),
        readout=readout,
        attributes={"batch_first": batch_first} if isinstance(batch_first, bool) else {},
        doubts=doubts,
    )


def _stacked(single: Mapping[str, StoredNetwork]) -> tuple[list[StoredNetwork], list[str]]:
    """Return networks, those of one layer in a list that can feed each other as one, and notes that say so."""
    stored, notes = dict(single), []
    for base, parts in numbered(single).items():
        layers = [layer for each in parts for layer in single[each].layers]
        possible = (
            base not in single and len(layers) == len(parts) and not any(each.refused for each in layers)
        )
        if possible and not any(_misfit(below, layer) for below, layer in pairwise(layers)):
            own = [stored.pop(each) for each in parts]
            stored[base] = replace(own[-1], prefix=base, layers=tuple(layers), attributes=own[0].attributes)
            notes.append(
                f"{listed(parts)} are taken for layers that feed each other, which their sizes allow; `prefix` chooses "
                "one"
            )
    return list(stored.values()), notes


def _quantized(prefix: str) -> StoredNetwork:
    refused = f"{QUANTIZED.format(prefix)}; {DEQUANTIZE}"
    return StoredNetwork(
        prefix=prefix, layers=(StoredLayer(name=prefix.removesuffix(".") or "layer", refused=refused),)
    )


def _layer(
    source: Source, names: Names, prefix: str, number: int, nonlinearity: str | None, refused: str
) -> StoredLayer:
    own: dict[str, StoredDirection] = {}
    suffix = ""
    for (layer, reverse), entries in names.networks[prefix].items():
        if layer == number:
            suffix = entries[0].suffix.removesuffix("_reverse")

            def describe(reverse: bool = reverse) -> None:
                entry = find_layer(source, names, prefix, number, reverse)
                direction = stored_direction(source, entry, nonlinearity)
                own["backward" if reverse else "forward"] = direction

            refused = refused or _problem(describe)
    name = f"{prefix.removesuffix('.')}{suffix}".removeprefix("_") or "cell"
    if refused:
        return StoredLayer(name=name, refused=refused)
    return StoredLayer(name=name, forward=own.get("forward"), backward=own.get("backward"))


def _problem(check: Callable[[], object]) -> str:
    """Return what a check has to say against what it looks at; empty if nothing."""
    try:
        check()
    except FileFormatError as error:
        return f"{error.problem}; {error.advice}" if error.advice else error.problem
    return ""


def _misfit(below: StoredLayer, layer: StoredLayer) -> str:
    """Return what keeps a layer from taking the outputs of the one below; empty if nothing."""
    outputs = sum(direction.hidden_size for direction in directions(below))
    for direction in directions(layer) if outputs else ():
        if direction.input_size != outputs:
            return f"takes {direction.input_size} inputs, but the layer below gives {outputs}"
    return ""


def directions(layer: StoredLayer) -> list[StoredDirection]:
    """Return the directions that a layer has."""
    return [direction for direction in (layer.forward, layer.backward) if direction is not None]


def _readout(source: Source, names: Names, prefix: str, width: int) -> StoredReadout | None:
    """Return the one linear layer after a network that takes `width` inputs; None if there are several or none.

    None, too, where another module may lie before or behind it, such as the second layer of a perceptron, or a norm.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for name in _after(source, names, prefix) if width else ():
        module, _, attribute = name.rpartition(".")
        if attribute != "weight" and prefix.startswith(f"{module}." if module else ""):
            continue  # of a module around the network, such as a learnt first state
        kind = source.kind(f"{module}.")
        if "emb" in module.lower() or kind.startswith("Embedding"):
            continue
        with suppress(FileFormatError):  # what is no array of numbers takes no outputs
            shape, _ = source.describe(name)
            if len(shape) != 1 or not (
                kind.endswith("Loss") or any(text in name.lower() for text in _OF_LOSSES)
            ):
                shapes[name] = shape
    matrices = [
        name
        for name, shape in shapes.items()
        if name.rpartition(".")[2] == "weight" and len(shape) == 2 and shape[0] and shape[1] == width
    ]
    if len(matrices) != 1:
        return None
    module = matrices[0].removesuffix(".weight").removesuffix("weight")
    bias = f"{matrices[0].removesuffix('weight')}bias"
    described = {name: source.describe(name) for name in matrices}
    if bias in source.entries:
        with suppress(FileFormatError):
            described[bias] = source.describe(bias)
    outputs = described[matrices[0]][0][0]
    others = (shape for name, shape in shapes.items() if name not in (matrices[0], bias))
    if any(_may_adjoin(shape, width, outputs) for shape in others):
        return None
    if source.kind(f"{module}.") not in ("", "Linear") or (
        bias in source.entries and described.get(bias, ((),))[0] != (outputs,)
    ):
        return None
    dtype = common_dtype([each for _, each in described.values()])

    def load() -> tuple[Array, Array]:
        weight = source.load(matrices[0], dtype)
        return weight, source.load(bias, dtype) if bias in described else np.zeros(outputs, dtype)

    return StoredReadout(name=module or "linear", output_size=outputs, input_size=width, load=load)


def _may_adjoin(shape: tuple[int, ...], width: int, outputs: int) -> bool:
    """Return whether an array may be of a module that gives a linear layer its inputs, or takes its outputs."""
    if len(shape) == 1:  # a norm; biases of other layers are as long as their weights
        return shape[0] in (width, outputs)
    return len(shape) > 1 and (shape[0] == width or shape[1] == outputs)


def _after(source: Source, names: Names, prefix: str) -> list[str]:
    """Return the names of what lies in a source behind a network and before the next, in the same state_dict.

    Safetensors files and lists of files are sorted by name: of a single network, or the last in a list of layers that
    are all there is, all else is returned, and of several nothing.
    """
    recurrent = {
        entry.name: other
        for other, layers in names.networks.items()
        for entries in layers.values()
        for entry in entries
    }
    container = source.containers.get(next(name for name, other in recurrent.items() if other == prefix), "")
    siblings = [
        name
        for name in source.entries
        if isinstance(name, str) and source.containers.get(name, "") == container
    ]
    if _is_sorted(source):
        parts = next((own for own in numbered(names.networks).values() if prefix in own), [prefix])
        uppermost = len(parts) == len(names.networks) and prefix == parts[-1]
        return [name for name in siblings if name not in recurrent] if uppermost else []
    after: list[str] = []
    last = None  # the network that was passed last
    for name in siblings:
        last = recurrent.get(name, last)
        if last == prefix and name not in recurrent:
            after.append(name)
    return after


def _is_sorted(source: Source) -> bool:
    """Return whether a source has its entries in the order of their names, and not in that of the modules."""
    return isinstance(source.entries, SafetensorsFile | Shards)


def _unused(
    source: Source, names: Names, prefixes: Sequence[str], stored: Sequence[StoredNetwork], *, chosen: bool
) -> tuple[str, ...]:
    """Return the names of what no network is made of; of an optimizer's state, and of another state_dict, its own.

    Of a network that was `chosen` others are left out on purpose.
    """
    modules = {network.readout.name for network in stored if network.readout is not None}
    packed = {name for own in names.quantized.values() for name in own}
    first = {prefix: next(iter(layers.values()))[0].name for prefix, layers in names.networks.items()}
    own = {source.containers.get(first[prefix], "") for prefix in prefixes}
    unused = []
    others = [] if chosen else [first[prefix] for prefix in first if prefix not in prefixes]
    for name in [*names.others, *others, *_twice(source, names, prefixes)]:
        container = source.containers.get(name, "")
        if name.rpartition(".")[0] not in modules and name not in packed:
            of_another = prefixes and container and container not in own
            unused.append(where_optimizer_begins(container.removesuffix(".") if of_another else name))
    return tuple(dict.fromkeys(unused))


def _twice(source: Source, names: Names, prefixes: Sequence[str]) -> list[str]:
    """Return the entries that hold a weight which another one holds better."""
    twice = []
    for prefix in prefixes:
        for (number, reverse), entries in names.networks[prefix].items():
            with suppress(FileFormatError):  # what cannot be read says so itself
                used = find_layer(source, names, prefix, number, reverse).used
                twice += [entry.name for entry in entries if entry.name not in used]
    return twice


def _doubts(source: Source, names: Names, prefix: str) -> tuple[str, ...]:
    """Return what a network may compute that the cells here do not."""
    doubts = []
    if strange := beside(names, prefix):
        doubts.append(
            f"{listed(strange)} among the weights of {prefix!r} are none that a cell of gatescope has: what was "
            "computed with them is left out"
        )
    kind = source.kind(prefix).removeprefix("Parametrized")
    if kind not in _KINDS:
        doubts.append(
            f"{prefix!r} is a {kind}, which may compute something else than the cells of PyTorch do"
        )
    return tuple(doubts)
