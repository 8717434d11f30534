"""Which layers of a model of Keras feed which: networks of recurrent layers, and what reads their outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gatescope.io.keras.layers import (
    CELL_OF_LAYER,
    LOGITS,
    Node,
    Options,
    input_size,
    is_recurrent,
    is_reversed,
    output_size,
    stored_layers,
    stored_readout,
)
from gatescope.io.stored import StoredLayer, StoredNetwork, StoredReadout

# What leaves a sequence as it is when a model is not being trained, or says only which steps count.
_TRANSPARENT = {
    "Dropout",
    "SpatialDropout1D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
    "ActivityRegularization",
    "Masking",
    "Identity",
}
# Layers of one input and one output: where a source names these alone, there is nothing that joins two branches.
SIMPLE = _TRANSPARENT | {
    "InputLayer",
    "Embedding",
    "Dense",
    "TimeDistributed",
    "Activation",
    "LayerNormalization",
    "BatchNormalization",
    "Conv1D",
    "Flatten",
    "Reshape",
    "RepeatVector",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
}


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    """What a layer takes: which output of which layer."""

    key: str
    output: int


@dataclass(kw_only=True)
class Networks:
    """What a walk through a model gathers.

    Attributes
    ----------
    options : Options
    networks : list of StoredNetwork
    unused : list of str
        Names of layers with weights that belong to none of them.
    notes : list of str
    """

    options: Options
    networks: list[StoredNetwork] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def walk(self, node: Node, *, followed: bool = False) -> None:
        """Gather the networks in a model, or in whatever else has layers in it.

        `followed` is whether others compute something with its outputs, so that what gives them is no read-out.
        """
        flow = _Flow(node, followed)
        chains = flow.chains()
        if chains and any(_masks(layer) for layer in flow.layers):
            self._note("The model leaves out steps by a mask: give the lengths of sequences that are padded.")
        chains += [[part] for part in node.parts.values() if is_recurrent(part)]
        readers = {reader for chain in chains for reader in self._chain(chain, flow)}
        for child in (*flow.layers, *node.parts.values()):
            if not is_recurrent(child) and child not in readers:
                self.walk(child, followed=flow.is_followed(child))
        if any(weight.dtype != "whole numbers" for weight in node.weights.values()):
            self.unused.append(node.name or "the model's own weights")

    def assuming(self) -> bool:
        """Return whether anything was taken for granted."""
        layers = [layer for network in self.networks for layer in network.layers]
        return any(side.assumed for layer in layers for side in (layer.forward, layer.backward) if side)

    def _chain(self, chain: Iterable[Node], flow: _Flow) -> list[Node]:
        """Gather a network of layers that feed each other, and return what reads its outputs, if anything does."""
        layers: list[StoredLayer] = []
        readers: list[Node] = []
        reverse, top, name = False, None, ""
        for node in chain:
            self._notes_on(node, flow)
            name = name or node.name
            made = stored_layers(node, self.options, reverse)
            size, below = input_size(made[0]), output_size(layers[-1]) if layers else None
            if layers and flow.guessed and not flow.plausible(size, below, input_size(layers[0])):
                readers += self._network(name, layers, top, flow)
                layers, reverse, name = [], False, node.name
            elif layers and flow.guessed:
                text = f"does not say what feeds it, and {layers[-1].name!r}, which it fits, is assumed to"
                made = (_assuming(made[0], text), *made[1:])
            elif size is not None and below is not None and size != below:
                text = f"takes {size} inputs, but {layers[-1].name!r}, which feeds it, gives {below}"
                made = (replace(made[0], refused=text), *made[1:])
            layers.extend(made)
            reverse, top = reverse != is_reversed(node), node
        if reverse:
            self._note(
                f"Keras returns the outputs of {layers[-1].name!r} from the last step to the first (go_backwards); "
                "here they come in the order of the inputs."
            )
        return readers + self._network(name, layers, top, flow)

    def _network(self, name: str, layers: list[StoredLayer], top: Node | None, flow: _Flow) -> list[Node]:
        readout: StoredReadout | None = None
        reader = flow.reader(top)
        if reader is not None:
            readout, note = stored_readout(reader, output_size(layers[-1]))
            if readout is not None and top is not None and _ends_apart(top):
                readout = None
                note = (
                    f"{reader.name!r} is no read-out here: it takes the last outputs of both directions of "
                    f"{top.name!r}, which are not of one step (return_sequences=False)."
                )
            if note:
                self._note(note)
        self.networks.append(StoredNetwork(prefix=name, layers=tuple(layers), readout=readout))
        return [] if readout is None or reader is None else [reader]

    def _notes_on(self, node: Node, flow: _Flow) -> None:
        policy = node.says("dtype")
        policy = policy.get("config") if isinstance(policy, Mapping) else None
        name = policy.get("name") if isinstance(policy, Mapping) else None
        if isinstance(name, str) and name.startswith("mixed_"):
            self._note(
                f"The model computes in half precision ({name}); here its weights are used as they are stored."
            )
        if flow.places(node) > 1:
            self._note(f"The model uses {node.name!r} at several places.")
        elif flow.has_states(node):
            self._note(
                f"{node.name!r} starts from states that the model computes; here from those you give, or zeros."
            )

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


class _Flow:
    """Which layer of a model takes the outputs of which.

    `guessed` is whether the source does not say it, and the order of the layers is all there is.
    """

    def __init__(self, model: Node, followed: bool) -> None:
        self._model, self._followed = model, followed
        self.guessed = model.config is None
        self.layers = tuple(_inlined(model)) if model.kind == "Sequential" else model.layers
        # Layers of a Sequential within another may have names of their own twice.
        self._keys = {layer: layer.name if model.kind == "Sequential" else layer.key for layer in self.layers}
        self._nodes = {key: layer for layer, key in self._keys.items()}
        self._calls: dict[str, list[list[_Tensor]]] = {}
        if len(self._nodes) == len(self.layers):
            self._calls = self._all_calls()
        self._sources: dict[str, str] = {}
        self._readers: dict[str, list[str]] = {}
        self._takers: dict[str, list[str]] = {}  # those of the readers that are recurrent
        for key, calls in self._calls.items():
            if not self._is_transparent(key):
                self._note_readers(
                    key, {self._source(each.key) for call in calls for each in call if self._is_h(each, key)}
                )

    def chains(self) -> list[list[Node]]:
        """Return the recurrent layers, those that feed each other together, from the lowest."""
        recurrent = {layer: number for number, layer in enumerate(self.layers) if is_recurrent(layer)}
        above = {}
        for layer in recurrent:
            below = self._below(layer)
            if below is not None:
                above[below] = layer
        uppers, chains, placed = set(above.values()), [], set()
        for begin in [*(layer for layer in recurrent if layer not in uppers), *recurrent]:
            chain: list[Node] = []
            upper: Node | None = begin
            while upper is not None and upper not in placed:
                placed.add(upper)
                chain.append(upper)
                upper = above.get(upper)
            if chain:
                chains.append(chain)
        return sorted(chains, key=lambda chain: recurrent[chain[0]])

    def reader(self, node: Node | None) -> Node | None:
        """Return the layer that alone takes the outputs of a layer, if one does and takes nothing else."""
        key = self._keys.get(node) if node is not None else None
        readers = self._readers.get(key, []) if key is not None else []
        if len(readers) != 1 or [len(call) for call in self._calls[readers[0]]] != [1]:
            return None
        reader = self._nodes[readers[0]]
        return None if self.is_followed(reader) else reader

    def is_followed(self, node: Node) -> bool:
        """Return whether layers compute something with the outputs of a layer that does not belong to a read-out."""
        if self._followed or node not in self._keys:
            return self._followed
        if self.guessed:  # what it is applied to may be anything
            return any(any(layer.everything()) for layer in self.layers[self.layers.index(node) + 1 :])
        return not all(map(_ends_a_readout, self._after(self._keys[node])))

    def _after(self, key: str) -> list[Node]:
        """Return the layers that take the outputs of a layer, through others, too; those that leave them left out."""
        after, todo = dict[str, None](), [key]
        while todo:
            others = [each for each in self._readers.get(todo.pop(), []) if each not in after]
            after |= dict.fromkeys(others)
            todo += others
        return [self._nodes[each] for each in after]

    def places(self, node: Node) -> int:
        """Return at how many places a layer is said to be called."""
        return len(self._calls.get(self._keys.get(node, ""), ()))

    def has_states(self, node: Node) -> bool:
        """Return whether a layer is given an initial state."""
        return any(len(call) > 1 for call in self._calls.get(self._keys.get(node, ""), ()))

    def plausible(self, size: int | None, below: int | None, lowest: int | None) -> bool:
        """Return whether a layer of `size` inputs can be taken for one on another that gives `below` outputs."""
        return size is not None and size == below and (self._model.kind == "Sequential" or size != lowest)

    def _note_readers(self, key: str, sources: set[str]) -> None:
        for source in sources:
            self._readers.setdefault(source, []).append(key)
            if is_recurrent(self._nodes[key]):
                self._takers.setdefault(source, []).append(key)

    def _is_h(self, tensor: _Tensor, key: str) -> bool:
        """Return whether what a layer takes is outputs: the last of them are the first state, too."""
        if tensor.output == 0:
            return True
        source = self._nodes.get(tensor.key)
        plain = source is not None and source.kind in CELL_OF_LAYER and not is_recurrent(self._nodes[key])
        return plain and tensor.output == 1

    def _below(self, layer: Node) -> Node | None:
        """Return the recurrent layer that a layer takes its sequence from, if it is the only one to do so."""
        key = self._keys[layer]
        calls = self._calls.get(key, [])
        if len(calls) != 1 or not calls[0] or calls[0][0].output != 0:
            return None
        name = self._source(calls[0][0].key)
        source = self._nodes.get(name)
        if source is None or source is layer or not is_recurrent(source) or self.places(source) > 1:
            return None
        return source if self._takers.get(name) == [key] else None

    def _all_calls(self) -> dict[str, list[list[_Tensor]]]:
        layers, kind = self.layers, self._model.kind
        if self.guessed and kind != "Sequential" and not self._model.parts:
            inputs = [layer for layer in layers if layer.kind == "InputLayer"]
            known = all(is_recurrent(layer) or layer.kind in SIMPLE for layer in layers)
            kind = "Sequential" if known and len(inputs) <= 1 else kind
        if kind == "Sequential":
            calls: dict[str, list[list[_Tensor]]] = {}
            for number, layer in enumerate(layers):
                below = [_Tensor(key=self._keys[layers[number - 1]], output=0)] if number else []
                calls[self._keys[layer]] = [below]
            return calls
        return {layer.key: _parsed(layer.inbound) for layer in layers if layer.inbound}

    def _is_transparent(self, key: str) -> bool:
        node = self._nodes[key]
        return node.kind in _TRANSPARENT or (
            node.kind == "Activation" and node.says("activation") == "linear"
        )

    def _source(self, key: str) -> str:
        """Return the layer whose outputs an output is, through those that leave them as they are."""
        path = []
        while key not in self._sources:
            calls = self._calls.get(key, [])
            self._sources[key] = key  # until more is known, and where a model is said to feed itself
            path.append(key)
            if key not in self._nodes or not self._is_transparent(key) or [len(c) for c in calls] != [1]:
                break
            key = calls[0][0].key
        source = self._sources.get(key, key)
        for each in path:
            self._sources[each] = source
        return source


def _ends_a_readout(node: Node) -> bool:
    """Return whether a layer may come behind a read-out: one that makes probabilities of logits, or another shape."""
    logits = node.kind == "Activation" and node.says("activation") in LOGITS
    return logits or node.kind in ("Softmax", "Flatten", "Reshape")


def _inlined(model: Node) -> Iterator[Node]:
    """Yield the layers of a Sequential without inputs, and in place of a Sequential among them its own."""
    for layer in model.layers:
        if layer.kind == "Sequential" and (layer.config is None) == (model.config is None):
            yield from _inlined(layer)
        elif layer.kind != "InputLayer":
            yield layer


def _masks(layer: Node) -> bool:
    return layer.kind == "Masking" or (layer.kind == "Embedding" and layer.says("mask_zero") is True)


def _ends_apart(node: Node) -> bool:
    """Return whether a layer gives the last outputs of two directions alone, one of the last step, one of the first."""
    forward = node.parts.get("forward_layer")
    return forward is not None and forward.says("return_sequences") is False


def _assuming(layer: StoredLayer, text: str) -> StoredLayer:
    """Return a layer that has one more thing taken for granted."""
    side = "forward" if layer.forward is not None else "backward"
    direction = getattr(layer, side)
    if direction is None:
        return layer
    assumed = f"{direction.assumed}; {text}" if direction.assumed else text
    return replace(layer, **{side: replace(direction, assumed=assumed)})


def _parsed(inbound: Any) -> list[list[_Tensor]]:
    """Return what a layer takes at each place where it is called: the sequence first, masks left out."""
    calls = []
    for call in inbound if isinstance(inbound, list | tuple) else ():
        if isinstance(call, Mapping):  # Keras 3
            named = call.get("kwargs")
            others = named if isinstance(named, Mapping) else {}
            calls.append(_tensors([call.get("args"), {k: v for k, v in others.items() if k != "mask"}]))
        elif isinstance(call, list | tuple):  # Keras 2
            calls.append(_tensors([_without_mask(entry) for entry in call]))
    return calls


def _without_mask(entry: Any) -> Any:
    if isinstance(entry, list) and len(entry) == 4 and isinstance(entry[3], Mapping):
        return [entry[:3], {key: value for key, value in entry[3].items() if key != "mask"}]
    return entry


def _tensors(value: Any) -> list[_Tensor]:
    """Return the tensors in nested lists (of a live model, tuples) and mappings, in their order."""
    tensors, left = [], [value]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            config = value.get("config")
            if value.get("class_name") == "__keras_tensor__" and isinstance(config, Mapping):
                left.append(config.get("keras_history"))
            else:
                left.extend(reversed(list(value.values())))
        elif isinstance(value, list | tuple):
            if len(value) == 3 and isinstance(value[0], str) and all(type(n) is int for n in value[1:]):
                tensors.append(_Tensor(key=value[0], output=value[2]))
            else:
                left.extend(reversed(value))
    return tensors
