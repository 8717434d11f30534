"""Parameters as Flax linen names and shapes them."""

import numpy as np


def normal(*shape, dtype="float32"):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(dtype)


def dense(inputs, outputs, bias=True, **options):
    return {"kernel": normal(inputs, outputs, **options)} | (
        {"bias": normal(outputs, **options)} if bias else {}
    )


def lstm(inputs=3, units=5, **options):
    """Return an LSTMCell of linen."""
    gates = "ifgo"
    tree = {f"i{gate}": dense(inputs, units, bias=False, **options) for gate in gates}
    return tree | {f"h{gate}": dense(units, units, **options) for gate in gates}


def simple(inputs=3, units=5):
    return {"i": dense(inputs, units), "h": dense(units, units, bias=False)}
