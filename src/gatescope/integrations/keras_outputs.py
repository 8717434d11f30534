"""What Keras computes with a model, live or of a file that it builds a model from."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.integrations.packages import missing
from gatescope.integrations.verify import OR_NOT, Runner, cannot
from gatescope.io.loading import Opened


def keras_runner(source: Any, opened: Opened) -> Runner:
    """Return what runs the layers of the network that is meant in Keras.

    A layer that returns its last output alone gives (B, H).
    """
    if isinstance(source, str | os.PathLike):
        source = _model_of(source, opened)
    keras = _keras(opened)
    layers = [_find(source, layer.name, opened) for layer in opened.network.layers]

    def run(inputs: Array) -> Array:
        values: Any = np.ascontiguousarray(inputs.swapaxes(0, 1))
        for layer in layers:
            values = layer(values, training=False)
            values = values[0] if isinstance(values, list | tuple) else values  # with return_state
        outputs = np.array(keras.ops.convert_to_numpy(values))
        if outputs.ndim == 2:
            return outputs
        # A layer that goes backwards returns its outputs in the order of its steps, and the next takes them so.
        turned = sum(bool(getattr(layer, "go_backwards", False)) for layer in layers) % 2
        return np.flip(outputs, axis=1).swapaxes(0, 1) if turned else outputs.swapaxes(0, 1)

    return Runner(f"Keras {keras.__version__}", run, keras.config.floatx())


def _keras(opened: Opened) -> Any:
    try:
        import keras
    except ImportError as error:  # of Keras, or of what it computes with
        raise missing("Keras, which is to run the source,", "keras", error, otherwise=OR_NOT) from error
    if not hasattr(keras, "ops"):
        raise cannot(opened, f"it needs Keras 3, and this is {keras.__version__}")
    return keras


def _model_of(path: str | os.PathLike[str], opened: Opened) -> Any:
    """Return the model that Keras builds of a file."""
    if "weights" in opened.stored.format:
        why = "the file holds weights alone, of which Keras builds no model"
        raise cannot(opened, f"{why}; give the live model")
    keras = _keras(opened)
    state = random.getstate()  # of which layers that are built draw their seeds
    try:
        return keras.saving.load_model(os.fspath(path), compile=False)
    except Exception as error:  # whatever Keras says of what it does not build
        text = " ".join(str(error).split())[:200]
        raise cannot(opened, f"Keras builds no model of it ({text}); give the live model") from error
    finally:
        random.setstate(state)


def _find(source: Any, name: str, opened: Opened) -> Any:
    """Return the layer of a name, which is the way to it through the model."""
    for path, layer in _layers(source, ""):
        if name in (path, str(layer.name)):
            if getattr(layer, "stateful", False):
                raise cannot(opened, f"layer {name!r} keeps its states from call to call")
            if layer.compute_dtype not in ("float32", "float64"):
                raise cannot(opened, f"layer {name!r} computes in {layer.compute_dtype}")
            return layer
    raise cannot(opened, f"Keras has no layer {name!r} that runs by itself")


def _layers(layer: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the layers in a layer and itself with the ways to them; cells run in their layer alone."""
    if hasattr(layer, "return_sequences") or not hasattr(layer, "state_size"):
        yield path, layer
    for child in layer._flatten_layers(include_self=False, recursive=False):
        yield from _layers(child, f"{path}/{child.name}" if path else str(child.name))
