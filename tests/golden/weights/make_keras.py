"""Make the golden files of Keras: models that Keras itself has written, and what it computes with them.

    PYTHONPATH=tests/helpers python tests/golden/weights/make_keras.py

Written with keras 3.15.1 over torch 2.13.0, h5py 3.16.0 and NumPy 2.4.6.  The models are in
tests/helpers/keras_models.py.  Outputs are stored at every STRIDE-th step, each of which depends on all before it.
"""

from pathlib import Path

import keras_models
import numpy as np

HERE = Path(__file__).parent / "keras"
STRIDE = 7


def main():
    """Write the models, and keras.npz with inputs and outputs by file and network."""
    HERE.mkdir(exist_ok=True)
    arrays = {}
    for names, model, dtype in (
        (["every64.keras"], keras_models.every_layer("float64"), "float64"),
        (["chain.keras", "chain.h5"], keras_models.chain(), "float32"),
        (["branches.h5"], keras_models.branches(), "float32"),
        (["own.weights.h5"], keras_models.own(), "float32"),
        (["half.keras"], keras_models.half(), "float32"),
    ):
        for name in names:
            save = model.save_weights if name.endswith(".weights.h5") else model.save
            save(HERE / name)
        for prefix, (inputs, outputs) in keras_models.expected(model, dtype).items():
            for name in names:
                arrays[f"{name}:{prefix}:inputs"] = inputs
                arrays[f"{name}:{prefix}:outputs"] = outputs[STRIDE - 1 :: STRIDE]
    np.savez_compressed(HERE / "keras.npz", **arrays)


if __name__ == "__main__":
    main()
