"""What the tests of the command line share."""

import re

import numpy as np

# In the precision and for the number of units that most tests are in: kernels are compiled in seconds for each.
SMALL = ["--hidden-size", "4", "--steps", "40", "--dtype", "float64"]


def torch_weights(gates, hidden_size, inputs=1, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {
        "weight_ih_l0": (gates * hidden_size, inputs),
        "weight_hh_l0": (gates * hidden_size, hidden_size),
    }
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def too_late(*_args, **_kwargs):
    raise AssertionError("the computing began")


def python_in(message):
    """Return what of a message of the command line only makes sense to whoever writes Python."""
    said = re.sub(r"'[^']*'", "", message)  # what was given, and examples
    said = re.sub(r"--set \S+|as in \S+", "", said)
    return re.findall(r"[a-z_]+=\S+|\b(?:None|True|False|callable|function|object|Batch|argument)\b|`", said)
