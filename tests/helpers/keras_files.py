"""Files in Keras's layouts, written by h5py alone, with whatever in them."""

import io
import json
import zipfile

import h5py
import numpy as np

from gatescope.io.keras.networks import read_keras

BLOCKS = {"lstm": 4, "gru": 3, "simple_rnn": 1}


def weights_of(cell, inputs=2, units=3, bias=True, dtype=np.float32):
    """Return the weights of a cell by Keras's numbers; a GRU resets after the product."""
    rng = np.random.default_rng(0)
    rows = BLOCKS[cell] * units
    shapes = [(inputs, rows), (units, rows)] + [(2, rows) if cell == "gru" else (rows,)] * bias
    return {str(k): rng.uniform(-0.5, 0.5, shape).astype(dtype) for k, shape in enumerate(shapes)}


def hdf5(layers, root="sequential"):
    """Return the bytes of a file of weights: ``{group: (name, {path: array})}``."""
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file.create_group("vars").attrs["name"] = root
        for group, (name, arrays) in layers.items():
            file.create_group(f"layers/{group}/vars").attrs["name"] = name
            for path, array in arrays.items():
                file[f"layers/{group}/{path}"] = array
            if any(path.startswith("cell/vars") for path in arrays):
                file[f"layers/{group}/cell/vars"].attrs["name"] = group.rstrip("_0123456789") + "_cell"
    return stream.getvalue()


def recurrent(cell, **options):
    """Return the arrays of a recurrent layer by their paths."""
    return {f"cell/vars/{k}": value for k, value in weights_of(cell, **options).items()}


def config(*layers, kind="Sequential"):
    """Return what ``config.json`` says: layers as (class, configuration), or with more entries of their own."""
    specs = [
        {"module": "keras.layers", "class_name": each[0], "config": each[1], **dict(*each[2:])}
        for each in layers
    ]
    return {
        "module": "keras",
        "class_name": kind,
        "config": {"name": "model", "layers": specs},
        "registered_name": None,
    }


def lstm(name="lstm", **options):
    """Return what is said of an LSTM."""
    said = {"name": name, "activation": "tanh", "recurrent_activation": "sigmoid", "go_backwards": False}
    return "LSTM", {**said, **options}


def archive(path, weights, said, compression=zipfile.ZIP_STORED, **members):
    """Write a ``.keras`` file and return its path."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        if said is not None:
            file.writestr("config.json", said if isinstance(said, str) else json.dumps(said))
        if weights is not None:
            file.writestr("model.weights.h5", weights)
        for name, data in members.items():
            file.writestr(name, data)
    return path


def read_archive(path, layers, said, **options):
    return read_keras(archive(path, hdf5(layers), said), **options)


def read_weights(path, layers, root="sequential", **options):
    path.write_bytes(hdf5(layers, root))
    return read_keras(path, **options)


def only_layer(stored):
    ((layer,),) = [network.layers for network in stored.networks]
    return layer


def one_lstm(path, **options):
    layers = {"lstm": ("lstm", recurrent("lstm"))}
    return only_layer(read_archive(path, layers, config(lstm(**options))))


def inbound(*names, output=0, **named):
    def tensor(name):
        return {
            "class_name": "__keras_tensor__",
            "config": {"shape": [None], "keras_history": [name, 0, output]},
        }

    return {"inbound_nodes": [{"args": [tensor(name) for name in names], "kwargs": named}]}


def keras_2(path, names, said=None, top="model_weights"):
    """Write a file as Keras 2 does: weights by their names, which end in a number."""
    with h5py.File(path, "w") as file:
        if said is not None:
            file.attrs["model_config"] = json.dumps(said).encode()
        group = file.require_group(top) if top else file
        group.attrs["keras_version"] = b"2.15.0"
        group.attrs["layer_names"] = [b"lstm", b"dense"]
        for name, value in names.items():
            group[name] = value
    return path
