"""Weights named and shaped as PyTorch names and shapes them, and one layer of them through the door."""

import json

import numpy as np
from safetensors.numpy import save_file

import gatescope as gs

ROWS = {"lstm": 4, "gru": 3, "rnn": 1}


def load_torch(source, *, layer=0, reverse=False, **options):
    """Return one layer in one direction."""
    return gs.load_weights(source, layers=layer, reverse=reverse, **options)


def entries(cell="lstm", inputs=3, units=5, *, layers=1, prefix="", both=False, suffix="_l{}"):
    """Entries named and shaped as PyTorch names and shapes them."""
    rng = np.random.default_rng(0)
    rows, weights = ROWS[cell] * units, {}
    for layer in range(layers):
        width = units * (1 + both) if layer else inputs
        for direction in ("", "_reverse")[: 1 + both]:
            shapes = {
                "weight_ih": (rows, width),
                "weight_hh": (rows, units),
                "bias_ih": (rows,),
                "bias_hh": (rows,),
            }
            for kind, shape in shapes.items():
                weights[f"{prefix}{kind}{suffix.format(layer)}{direction}"] = rng.normal(size=shape)
    return weights


def linear(name, width, outputs=2):
    rng = np.random.default_rng(1)
    return {f"{name}.weight": rng.normal(size=(outputs, width)), f"{name}.bias": rng.normal(size=outputs)}


def in_several_files(folder, weights, *, count=2, save=save_file, suffix="safetensors"):
    """Write weights into several files as Hugging Face's libraries do, and return the path of their list."""
    names, files = sorted(weights), {}
    for k in range(count):
        file = f"model-{k + 1:05}-of-{count:05}.{suffix}"
        own = names[k::count]
        save({name: weights[name] for name in own}, folder / file)
        files |= dict.fromkeys(own, file)
    index = folder / f"model.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": files}, indent=2))
    return index
