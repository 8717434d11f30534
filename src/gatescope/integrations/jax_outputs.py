"""What Flax, Haiku and Equinox compute with the arrays of a tree, put into the cells of their own."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gatescope.cells.registry import get
from gatescope.checks.arrays import Array
from gatescope.datatypes import Params
from gatescope.datatypes.stack import Layer, directions
from gatescope.integrations.packages import missing
from gatescope.integrations.verify import OR_NOT, Runner
from gatescope.io.jax.cells import Cell
from gatescope.io.jax.leaves import MSGPACK, Leaf, Place, read_leaves
from gatescope.io.loading import Opened
from gatescope.io.source_errors import listed

# Names of frameworks and of their packages, by their modules.
_FRAMEWORKS = {
    "flax": ("Flax", "flax"),
    "haiku": ("Haiku", "dm-haiku"),
    "equinox": ("Equinox", "equinox"),
}
_SQUASHES = {"rnn": "tanh", "rnn_relu": "relu"}  # functions of JAX, of a SimpleCell
_CORE = "core"  # name of a module of Haiku


class _Way(NamedTuple):
    """One direction of a layer.

    Attributes
    ----------
    kind : str
        The class of its framework.
    arrays : dict
        By their places in the tree, from the cell on.
    params : Params
        What was read of them; its sizes and nonlinearity are those of the cell.
    """

    kind: str
    arrays: dict[Place, Any]
    params: Params


def jax_runner(source: Any, opened: Opened, layers: list[Layer]) -> Runner:
    """Return what runs the layers of the network that is meant in the framework that their arrays are named as by.

    It computes on the CPU, and in float64 only where the weights are; nothing outside of the call is changed.
    """
    levels: list[dict[str, Cell]] = opened.network.attributes["cells"]
    dtype = np.result_type(*(layer.dtype for layer in layers))
    packages = dict.fromkeys(cell.module.partition(".")[0] for level in levels for cell in level.values())
    by = " and ".join(f"{_FRAMEWORKS[package][0]} {_imported(package).__version__}" for package in packages)
    jax = importlib.import_module("jax")
    leaves = _leaves(source, opened)

    def network(values: Any) -> Any:
        for level, layer in zip(levels, layers, strict=True):
            home, ways = "", {}
            for way, params in directions(layer.astype(dtype)).items():
                home, _, kind = level[way].module.rpartition(".")
                branch = level[way].branch
                arrays = {
                    place: jax.numpy.asarray(leaves[(*branch.place, *place)].load(), dtype)
                    for place in branch.arrays()
                }
                ways[way] = _Way(kind, arrays, params)
            values = _RUN[home](jax, ways, values)
        return values

    def run(inputs: Array) -> Array:
        with _precision(jax)(dtype == np.float64), jax.default_device(jax.devices("cpu")[0]):
            return np.asarray(jax.jit(network)(inputs))  # compiled whole, not each operation by itself

    return Runner(by, run, str(dtype))


def _leaves(source: Any, opened: Opened) -> dict[Place, Leaf]:
    """Return the arrays of a source by their places; Flax reads its files itself, others are NumPy's."""
    if opened.stored.format == MSGPACK:
        serialization = importlib.import_module("flax.serialization")
        source = serialization.msgpack_restore(Path(os.fspath(source)).read_bytes())
    return read_leaves(source)[1]


def _imported(package: str) -> Any:
    name, of_pip = _FRAMEWORKS[package]
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise missing(f"{name}, which is to run the source,", of_pip, error, otherwise=OR_NOT) from error


def _precision(jax: Any) -> Callable[[bool], Any]:
    """Return the context that float64 is there in, or not."""
    there: Any = jax if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental")
    enable: Callable[[bool], Any] = there.enable_x64
    return enable


def _linen(jax: Any, ways: Mapping[str, _Way], values: Any) -> Any:
    from flax import linen

    modules, trees = {}, {}
    for name, way in ways.items():
        cell = getattr(linen, way.kind)(
            way.params.hidden_size, param_dtype=way.params.dtype, **_squashing(jax, way)
        )
        modules[name] = linen.RNN(cell, time_major=True, reverse=way.params.reverse, keep_order=True)
        trees[name] = {"cell": _nested(way.arrays)}
    if len(ways) == 2:
        module = linen.Bidirectional(modules["forward"], modules["backward"], time_major=True)
        tree: Any = {f"{name}_rnn": branch for name, branch in trees.items()}
    else:
        ((name, module),) = modules.items()
        tree = trees[name]
    made = jax.eval_shape(module.init, jax.random.PRNGKey(0), values)["params"]
    _check_arrays(next(iter(ways.values())).kind, made, tree)
    return module.apply({"params": tree}, values)


def _nnx(jax: Any, ways: Mapping[str, _Way], values: Any) -> Any:
    from flax import nnx

    modules = {}
    for name, way in ways.items():
        params, dtype = way.params, way.params.dtype
        cell = getattr(nnx, way.kind)(
            params.input_size,
            params.hidden_size,
            dtype=dtype,
            param_dtype=dtype,
            rngs=nnx.Rngs(0),
            **_squashing(jax, way),
        )
        _check_arrays(way.kind, nnx.state(cell, nnx.Param), _nested(way.arrays))
        for (linear, array), value in way.arrays.items():
            setattr(getattr(cell, linear), array, nnx.Param(value))
        modules[name] = nnx.RNN(cell, time_major=True, reverse=params.reverse, keep_order=True)
    if len(ways) == 2:
        return nnx.Bidirectional(modules["forward"], modules["backward"], time_major=True)(values)
    (module,) = modules.values()
    return module(values)


def _haiku(jax: Any, ways: Mapping[str, _Way], values: Any) -> Any:
    import haiku

    outputs = []
    for way in ways.values():

        def unrolled(inputs: Any, way: _Way = way) -> Any:
            options: dict[str, Any] = {}
            if way.kind == "VanillaRNN":
                options["double_bias"] = ("linear_1", "b") in way.arrays
            core = getattr(haiku, way.kind)(way.params.hidden_size, name=_CORE, **options)
            start = core.initial_state(inputs.shape[1])
            return haiku.dynamic_unroll(core, inputs, start, reverse=way.params.reverse)[0]

        network = haiku.without_apply_rng(haiku.transform(unrolled))
        tree: dict[str, dict[str, Any]] = {}
        for (*modules, name), array in way.arrays.items():
            tree.setdefault("/".join([_CORE, *modules]), {})[name] = array
        _check_arrays(way.kind, jax.eval_shape(network.init, jax.random.PRNGKey(0), values), tree)
        outputs.append(network.apply(tree, values))
    return jax.numpy.concatenate(outputs, axis=-1)


def _equinox(jax: Any, ways: Mapping[str, _Way], values: Any) -> Any:
    import equinox

    outputs = []
    for way in ways.values():
        params, tree = way.params, _nested(way.arrays)
        cell = getattr(equinox.nn, way.kind)(
            params.input_size, params.hidden_size, use_bias="bias" in tree, key=jax.random.PRNGKey(0)
        )
        _check_arrays(way.kind, cell, tree)
        names = [*tree]
        cell = equinox.tree_at(
            lambda cell, names=names: [getattr(cell, name) for name in names], cell, [*tree.values()]
        )

        def step(states: Any, inputs: Any, cell: Any = cell) -> Any:
            states = jax.vmap(cell)(inputs, states)
            return states, states[0] if isinstance(states, tuple) else states

        zeros = jax.numpy.zeros((values.shape[1], params.hidden_size), params.dtype)
        several = len(get(params.cell).states)
        start = (zeros,) * several if several > 1 else zeros
        outputs.append(jax.lax.scan(step, start, values, reverse=params.reverse)[1])
    return jax.numpy.concatenate(outputs, axis=-1)


_RUN = {"flax.linen": _linen, "flax.nnx": _nnx, "haiku": _haiku, "equinox.nn": _equinox}


def _squashing(jax: Any, way: _Way) -> dict[str, Any]:
    """Return the argument of a cell whose nonlinearity the tree does not say: that which was read, or asked for."""
    name = _SQUASHES.get(way.params.cell)
    return {} if name is None else {"activation_fn": getattr(jax.nn, name)}


def _nested(arrays: Mapping[Place, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for (*branches, name), array in arrays.items():
        branch = tree
        for each in branches:
            branch = branch.setdefault(each, {})
        branch[name] = array
    return tree


def _check_arrays(kind: str, made: Any, tree: Any) -> None:
    """Refuse a tree that has other arrays than the framework makes for a cell, which it might leave aside."""
    theirs, ours = (
        {(place, leaf.shape) for place, leaf in read_leaves(each)[1].items()} for each in (made, tree)
    )
    apart = sorted({"/".join(place) for place, _ in theirs ^ ours})
    if apart:
        raise ValueError(f"the arrays {listed(apart)} are not those of its {kind}")
