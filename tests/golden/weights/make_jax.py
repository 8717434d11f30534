"""Make the golden trees of JAX: weights as Flax, Haiku and Equinox write them, and what they compute with them.

    python tests/golden/weights/make_jax.py

Each is a file of weights `jax_<name>.msgpack`, `.eqx` or `.tree.npz` (a tree flattened by names) and `jax_<name>.npz`:
inputs (T, B, I), outputs (T, B, ...), what a reader has to find, and `made_with`, the versions.
"""

import json
import platform
from pathlib import Path

import equinox as eqx
import flax
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flax.training.train_state import TrainState

jax.config.update("jax_enable_x64", True)
HERE = Path(__file__).parent
T, B, I, H = 20, 3, 3, 5
KEY = jax.random.key(0)
VERSIONS = (
    f"Python {platform.python_version()}, jax {jax.__version__}, flax {flax.__version__}, haiku {hk.__version__}, "
    f"equinox {eqx.__version__}"
)


def moved(tree, dtype):
    """Return a tree whose zeros, of biases, are numbers too."""
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda a: jnp.asarray(a + 0.2 * rng.normal(size=a.shape), dtype), tree)


def save(name, suffix, data, inputs, outputs, cells, readout=False):
    """Write the weights, bytes or a flat mapping, and what was computed with them."""
    path = HERE / f"jax_{name}.{suffix}"
    if isinstance(data, bytes):
        path.write_bytes(data)
    else:
        np.savez_compressed(path, **data)
    np.savez_compressed(
        HERE / f"jax_{name}.npz",
        inputs=np.asarray(inputs),
        outputs=np.asarray(outputs),
        cells=np.array(cells),
        readout=readout,
        made_with=VERSIONS,
    )
    print(path.name, path.stat().st_size)


def flattened(tree):
    """Return the arrays of a tree by names with slashes."""
    return {"/".join(map(str, k)): np.asarray(v) for k, v in flax.traverse_util.flatten_dict(tree).items()}


class Stack(nn.Module):
    """Two layers and a read-out of linen."""

    cell: type
    dtype: str
    readout: bool = True

    @nn.compact
    def __call__(self, x):
        for _ in range(2):
            x = nn.RNN(self.cell(H, param_dtype=self.dtype), time_major=True)(x)
        return nn.Dense(2, param_dtype=self.dtype)(x) if self.readout else x


def linen(name, module, dtype, cells, readout=False, wrap=None):
    inputs = jnp.asarray(np.random.default_rng(1).normal(size=(T, B, I)), dtype)
    variables = moved(module.init(KEY, inputs), dtype)
    outputs = module.apply(variables, inputs)
    written = variables if wrap is None else wrap(module, variables)
    save(name, "msgpack", flax.serialization.to_bytes(written), inputs, outputs, cells, readout)


def state(module, variables):
    """Return a train state, whose optimizer keeps arrays of the same names and shapes."""
    return TrainState.create(apply_fn=module.apply, params=variables["params"], tx=optax.adam(1e-3))


class Nnx(nnx.Module):
    """Two layers and a read-out of nnx."""

    def __init__(self, cell, dtype, rngs):
        options = dict(param_dtype=dtype, dtype=dtype, rngs=rngs)
        self.layer_0 = nnx.RNN(cell(I, H, **options), time_major=True)
        self.layer_1 = nnx.RNN(cell(H, H, **options), time_major=True)
        self.head = nnx.Linear(H, 2, **options)

    def __call__(self, x):
        return self.head(self.layer_1(self.layer_0(x)))


def of_nnx(name, cell, dtype, kind):
    inputs = jnp.asarray(np.random.default_rng(1).normal(size=(T, B, I)), dtype)
    model = Nnx(cell, dtype, nnx.Rngs(0))
    nnx.update(model, moved(nnx.state(model, nnx.Param), dtype))
    tree = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    save(name, "tree.npz", flattened(tree), inputs, model(inputs), [kind, kind], True)


def haiku(name, make, dtype, cells, readout=False):
    def forward(inputs):
        x = inputs
        for core in make():
            start = jax.tree.map(lambda a: a.astype(inputs.dtype), core.initial_state(B))
            x = hk.dynamic_unroll(core, x, start)[0]
        return hk.Linear(2)(x) if readout else x

    inputs = jnp.asarray(np.random.default_rng(1).normal(size=(T, B, I)), dtype)
    net = hk.without_apply_rng(hk.transform(forward))
    params = moved(net.init(KEY, inputs), dtype)
    save(name, "tree.npz", flattened(params), inputs, net.apply(params, inputs), cells, readout)


class Equinox(eqx.Module):
    """Two cells and a read-out of Equinox."""

    layers: list
    head: eqx.nn.Linear

    def __init__(self, cell, key):
        keys = jax.random.split(key, 3)
        self.layers = [cell(I, H, key=keys[0]), cell(H, H, key=keys[1])]
        self.head = eqx.nn.Linear(H, 2, key=keys[2])

    def __call__(self, x):
        for cell in self.layers:
            zero = jnp.zeros(H, x.dtype)
            lstm = isinstance(cell, eqx.nn.LSTMCell)

            def step(carry, inputs, cell=cell, lstm=lstm):
                carry = cell(inputs, carry)
                return carry, carry[0] if lstm else carry

            x = jax.lax.scan(step, (zero, zero) if lstm else zero, x)[1]
        return jax.vmap(self.head)(x)


def equinox(name, cell, dtype, kind, line=b""):
    inputs = jnp.asarray(np.random.default_rng(1).normal(size=(T, B, I)), dtype)
    model = moved(Equinox(cell, KEY), dtype)
    outputs = jax.vmap(model, in_axes=1, out_axes=1)(inputs)
    path = HERE / "partial.eqx"
    with open(path, "wb") as stream:
        stream.write(line)
        eqx.tree_serialise_leaves(stream, model)
    data = path.read_bytes()
    path.unlink()
    save(name, "eqx", data, inputs, outputs, [kind, kind], True)


def main():
    linen("linen_lstm", Stack(nn.OptimizedLSTMCell, "float32"), "float32", ["lstm", "lstm"], True)
    linen("linen_lstm_state", Stack(nn.LSTMCell, "float64"), "float64", ["lstm", "lstm"], True, state)
    linen("linen_gru", Stack(nn.GRUCell, "float64", readout=False), "float64", ["gru", "gru"])
    linen("linen_simple", Stack(nn.SimpleCell, "float32", readout=False), "float32", ["rnn", "rnn"])
    both = nn.Bidirectional(*(nn.RNN(nn.GRUCell(H), time_major=True) for _ in range(2)), time_major=True)
    linen("linen_both", both, "float32", ["gru"])
    of_nnx("nnx_lstm", nnx.LSTMCell, jnp.float32, "lstm")
    of_nnx("nnx_optimized", nnx.OptimizedLSTMCell, jnp.float64, "lstm")
    of_nnx("nnx_gru", nnx.GRUCell, jnp.float32, "gru")
    of_nnx("nnx_simple", nnx.SimpleCell, jnp.float64, "rnn")
    haiku("haiku_lstm", lambda: [hk.LSTM(H), hk.LSTM(H)], "float32", ["lstm", "lstm"])
    haiku("haiku_lstm_head", lambda: [hk.LSTM(H, name="my_lstm")], "float64", ["lstm"], True)
    haiku("haiku_gru", lambda: [hk.GRU(H), hk.GRU(H)], "float32", ["gru_reset_before"] * 2, True)
    haiku("haiku_gru_float64", lambda: [hk.GRU(H)], "float64", ["gru_reset_before"])
    haiku(
        "haiku_rnn",
        lambda: [hk.VanillaRNN(H), hk.VanillaRNN(H, double_bias=False)],
        "float64",
        ["rnn_relu"] * 2,
    )
    line = (json.dumps({"hidden_size": H}) + "\n").encode()
    equinox("equinox_lstm", eqx.nn.LSTMCell, "float32", "lstm", line)
    equinox("equinox_gru", eqx.nn.GRUCell, "float64", "gru")


if __name__ == "__main__":
    main()
