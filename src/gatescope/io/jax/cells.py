"""Which cell a branch of a tree of JAX weights is, by its names and shapes, and its weights in this package's orders.

The names and the order of gates are the frameworks' own; orders are given as places of the cell's gates among theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from gatescope.checks.arrays import Array
from gatescope.io.jax.leaves import Leaf, Place
from gatescope.io.stored import StoredDirection

# Flax's modules with a matrix for each gate, in the order of the cell's gates: input and recurrent ones.
_SEPARATE = {
    "lstm": (("ii", "if", "ig", "io"), ("hi", "hf", "hg", "ho")),
    "gru": (("ir", "iz", "in"), ("hr", "hz", "hn")),
    "rnn": (("i",), ("h",)),
}
_LINEN = {"lstm": "flax.linen.LSTMCell", "gru": "flax.linen.GRUCell", "rnn": "flax.linen.SimpleCell"}
_NNX = {"lstm": "flax.nnx.OptimizedLSTMCell", "gru": "flax.nnx.GRUCell", "rnn": "flax.nnx.SimpleCell"}
_MINIMAL = {"if", "in", "hf", "hn"}
_CELL_OF_BLOCKS = {1: "rnn", 3: "gru", 4: "lstm"}
_HAIKU_LSTM = (0, 2, 1, 3)  # i g f o
_HAIKU_GRU = (1, 0, 2)  # z r a
_HAIKU_FORGET_BIAS = 1.0  # added at run time
_TANH_ASSUMED = (
    "does not say what its SimpleCell squashes its states with, and tanh is assumed; give nonlinearity=..."
)


class RefusedError(Exception):
    """Raised where a branch is a cell that is not here; its text says which, as the rest of a sentence about it."""


@dataclass
class Branch:
    """A place in a tree, with the arrays and the branches in it."""

    place: Place = ()
    leaves: dict[str, Leaf] = field(default_factory=dict)
    branches: dict[str, Branch] = field(default_factory=dict)

    def arrays(self) -> dict[Place, Leaf]:
        """Return all arrays in it by their places from here."""
        arrays: dict[Place, Leaf] = {(name,): leaf for name, leaf in self.leaves.items()}
        for name, child in self.branches.items():
            arrays |= {(name, *place): leaf for place, leaf in child.arrays().items()}
        return arrays


@dataclass(frozen=True)
class Cell:
    """A direction that a branch is.

    Attributes
    ----------
    direction : StoredDirection
    branch : Branch
    module : str
        The class of a framework whose arrays have these names: ``"flax.linen.GRUCell"``.
    open_nonlinearity : bool
        Whether its nonlinearity is one that nobody said.
    """

    direction: StoredDirection
    branch: Branch
    module: str
    open_nonlinearity: bool = False

    @property
    def used(self) -> set[Place]:
        """The places of its arrays in the tree."""
        return {(*self.branch.place, *place) for place in self.branch.arrays()}


def cell_of(branch: Branch, nonlinearity: str | None) -> Cell | None:
    """Return the cell that a branch is, None if it is none.

    Raises
    ------
    RefusedError
        If it is a cell that is not here, or one whose shapes do not fit.
    """
    for reader in (_separate, _fused, _haiku_gru, _haiku_linear, _equinox):
        cell = reader(branch, nonlinearity)
        if cell is not None:
            return cell
    return None


@dataclass(frozen=True)
class _Dense:
    """A matrix (inputs, outputs) and a bias, of some gates side by side."""

    kernel: Leaf
    bias: Leaf | None
    names: tuple[str, ...]  # of the arrays, below the cell

    @property
    def shape(self) -> tuple[int, ...]:
        return self.kernel.shape


def _dense(branch: Branch, *names: str, kernel: str = "kernel", bias: str = "bias") -> _Dense | None:
    """Return what a branch below another holds of a linear layer."""
    for name in names:
        child = branch.branches.get(name)
        if child is not None and kernel in child.leaves and set(child.leaves) <= {kernel, bias}:
            return _Dense(child.leaves[kernel], child.leaves.get(bias), (name,))
    return None


def _separate(branch: Branch, nonlinearity: str | None) -> Cell | None:
    names = {name.rstrip("_") for name in branch.branches}  # nnx writes if_
    kinds = [cell for cell, gates in _SEPARATE.items() if names >= {*gates[0], *gates[1]}]
    if not kinds and names >= _MINIMAL:
        raise RefusedError(
            "is Flax's minimal gated unit (MGUCell): its gate multiplies the recurrent product, that of mgu the state"
        )
    if not kinds and names == {"ih", "hh"}:
        raise RefusedError("is a ConvLSTMCell, which no cell here is")
    if not kinds:
        return None
    cell, (inputs, recurrent) = kinds[0], _SEPARATE[kinds[0]]
    found = {name: _dense(branch, name, f"{name}_") for name in (*inputs, *recurrent)}
    parts = {name: dense for name, dense in found.items() if dense is not None}
    if len(parts) < len(found):
        return None
    first, square = parts[inputs[0]].shape, parts[recurrent[0]].shape
    units = square[-1] if square else 0
    _check(
        all(parts[name].shape == first for name in inputs)
        and all(parts[name].shape == (units, units) for name in recurrent)
        and all(part.bias is None or part.bias.shape == (units,) for part in parts.values()),
        first,
        square,
        units,
    )

    def stacked(names: Sequence[str]) -> tuple[Array, Array | None]:
        weight = np.concatenate([parts[name].kernel.load().T for name in names])
        biases = [parts[name].bias for name in names]
        if not any(biases):
            return weight, None
        zeros = np.zeros(units, weight.dtype)
        return weight, np.concatenate([zeros if bias is None else bias.load() for bias in biases])

    return _cell(
        branch,
        "flax.nnx.LSTMCell" if "if_" in branch.branches else _LINEN[cell],
        cell,
        (first[0], units, parts[inputs[0]].kernel.dtype),
        lambda: _named(*stacked(inputs), *stacked(recurrent)),
        nonlinearity,
    )


def _fused(branch: Branch, nonlinearity: str | None) -> Cell | None:
    dense_i, dense_h = _dense(branch, "dense_i"), _dense(branch, "dense_h")
    if dense_i is None or dense_h is None:
        return None
    units = dense_h.shape[0] if dense_h.shape else 0
    blocks = dense_h.shape[-1] // units if units else 0
    _check(
        blocks in _CELL_OF_BLOCKS
        and dense_h.shape == (units, blocks * units)
        and len(dense_i.shape) == 2
        and dense_i.shape[1] == blocks * units
        and all(dense.bias is None or dense.bias.shape == (blocks * units,) for dense in (dense_i, dense_h)),
        dense_i.shape,
        dense_h.shape,
        units,
    )

    def load() -> dict[str, Array]:
        biases = [None if dense.bias is None else dense.bias.load() for dense in (dense_i, dense_h)]
        return _named(dense_i.kernel.load().T, biases[0], dense_h.kernel.load().T, biases[1])

    size = (dense_i.shape[0], units, dense_i.kernel.dtype)
    cell = _CELL_OF_BLOCKS[blocks]
    return _cell(branch, _NNX[cell], cell, size, load, nonlinearity)


def _haiku_gru(branch: Branch, nonlinearity: str | None) -> Cell | None:
    if set(branch.leaves) != {"w_i", "w_h", "b"}:
        return None
    w_i, w_h, b = (branch.leaves[name] for name in ("w_i", "w_h", "b"))
    units = w_h.shape[0] if w_h.shape else 0
    _check(
        w_h.shape == (units, 3 * units) and w_i.shape[1:] == (3 * units,) and b.shape == (3 * units,),
        w_i.shape,
        w_h.shape,
        units,
    )

    def rows(array: Array) -> Array:
        """Return the gates in our order; its update gate says how much is new, ours how much stays."""
        split = array.reshape(3, units, -1)[list(_HAIKU_GRU)]
        split[1] *= -1
        return split.reshape(array.shape)

    def load() -> dict[str, Array]:
        return _named(rows(w_i.load().T), rows(b.load()), rows(w_h.load().T), None)

    size = (w_i.shape[0], units, w_i.dtype)
    return _cell(branch, "haiku.GRU", "gru_reset_before", size, load, nonlinearity)


def _haiku_linear(branch: Branch, nonlinearity: str | None) -> Cell | None:
    """Return an LSTM or VanillaRNN of Haiku; other modules have such linear layers too, so its name has to say it."""
    name = branch.place[-1].lower() if branch.place else ""
    first, second = (_dense(branch, name, kernel="w", bias="b") for name in ("linear", "linear_1"))
    if first is None:
        return None
    if "lstm" in name and second is None:
        return _haiku_lstm(branch, first, nonlinearity)
    if "rnn" not in name or second is None:
        return None
    units = second.shape[0] if second.shape else 0
    _check(
        second.shape == (units, units)
        and first.shape[1:] == (units,)
        and all(dense.bias is None or dense.bias.shape == (units,) for dense in (first, second)),
        first.shape,
        second.shape,
        units,
    )

    def load() -> dict[str, Array]:
        biases = [None if dense.bias is None else dense.bias.load() for dense in (first, second)]
        return _named(first.kernel.load().T, biases[0], second.kernel.load().T, biases[1])

    size = (first.shape[0], units, first.kernel.dtype)
    return _cell(branch, "haiku.VanillaRNN", "rnn_relu", size, load, nonlinearity)


def _haiku_lstm(branch: Branch, dense: _Dense, nonlinearity: str | None) -> Cell | None:
    total, columns = dense.shape if len(dense.shape) == 2 else (0, 0)
    units = columns // 4
    inputs = total - units
    has_bias = dense.bias is not None and dense.bias.shape == (columns,)
    _check(columns == 4 * units and inputs >= 1 and has_bias, dense.shape, (columns,), units)

    def rows(array: Array) -> Array:
        return array.reshape(4, units, -1)[list(_HAIKU_LSTM)].reshape(array.shape)

    def load() -> dict[str, Array]:
        weight = rows(dense.kernel.load().T)
        bias = rows(dense.bias.load()) if dense.bias is not None else np.zeros(4 * units, weight.dtype)
        bias[units : 2 * units] += bias.dtype.type(_HAIKU_FORGET_BIAS)
        return _named(weight[:, :inputs], bias, weight[:, inputs:], None)

    return _cell(branch, "haiku.LSTM", "lstm", (inputs, units, dense.kernel.dtype), load, nonlinearity)


def _equinox(branch: Branch, nonlinearity: str | None) -> Cell | None:
    leaves = branch.leaves
    if not {"weight_ih", "weight_hh"} <= set(leaves) <= {"weight_ih", "weight_hh", "bias", "bias_n"}:
        return None
    w_i, w_h, bias, inside = (leaves.get(name) for name in ("weight_ih", "weight_hh", "bias", "bias_n"))
    assert w_i is not None
    assert w_h is not None
    units = w_h.shape[-1] if w_h.shape else 0
    blocks = w_h.shape[0] // units if units else 0
    _check(
        blocks in (3, 4)
        and w_h.shape == (blocks * units, units)
        and len(w_i.shape) == 2
        and w_i.shape[0] == blocks * units
        and (bias is None or bias.shape == (blocks * units,))
        and (inside is None or (blocks == 3 and inside.shape == (units,))),
        w_i.shape,
        w_h.shape,
        units,
    )

    def load() -> dict[str, Array]:
        bias_hh = None
        if inside is not None:  # of the last gate, within what the reset gate multiplies
            values = inside.load()
            bias_hh = np.concatenate([np.zeros(2 * units, values.dtype), values])
        return _named(w_i.load(), None if bias is None else bias.load(), w_h.load(), bias_hh)

    cell = _CELL_OF_BLOCKS[blocks]
    module = f"equinox.nn.{cell.upper()}Cell"
    return _cell(branch, module, cell, (w_i.shape[1], units, w_i.dtype), load, nonlinearity)


def _check(fits: bool, inputs: tuple[int, ...], recurrent: tuple[int, ...], units: int) -> None:
    if not fits or units < 1 or min(inputs, default=0) < 1:
        raise RefusedError(f"has matrices of shapes {inputs} and {recurrent}, which do not fit each other")


def _named(
    weight_ih: Array, bias_ih: Array | None, weight_hh: Array, bias_hh: Array | None
) -> dict[str, Array]:
    arrays = {"weight_ih": weight_ih, "weight_hh": weight_hh, "bias_ih": bias_ih, "bias_hh": bias_hh}
    return {name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None}


def _cell(
    branch: Branch,
    module: str,
    cell: str,
    size: tuple[int, int, str],
    load: Callable[[], dict[str, Array]],
    nonlinearity: str | None,
) -> Cell:
    """Return a cell of (inputs, units, dtype); `nonlinearity` is that of a simple one, which Flax's do not say."""
    simple = cell == "rnn"
    if simple and nonlinearity is not None:
        cell = {"tanh": "rnn", "relu": "rnn_relu"}[nonlinearity]
    direction = StoredDirection(
        cell=cell,
        input_size=size[0],
        hidden_size=size[1],
        dtype=size[2],
        load=load,
        assumed=_TANH_ASSUMED if simple and nonlinearity is None else "",
    )
    return Cell(direction, branch, module, simple)
