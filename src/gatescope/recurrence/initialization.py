"""Initial weights of cells, and of models with a read-out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gatescope.cells.registry import Cell, get
from gatescope.checks.dtypes import float_dtype
from gatescope.checks.memory import check_memory
from gatescope.checks.numbers import (
    check_choice,
    check_count,
    check_flag,
    is_several,
)
from gatescope.datatypes import Array, Batch, Head, Params
from gatescope.datatypes.batch import check_heads
from gatescope.datatypes.params import WEIGHT_NAMES
from gatescope.datatypes.stack import Bidirectional, Layer, Stack, output_size_of
from gatescope.errors import NOTHING, ShapeError, ValueRangeError
from gatescope.recurrence.schemes import draw_weights, scheme_of
from gatescope.reporting.text import counted
from gatescope.storage.provenance import provenance

READOUT_SCHEMES = ("pytorch", "glorot")
_SMALL = 0.1  # of a random state: it leaves a fixed point at 0 and is near what a run from 0 does


def random_state(cell: Cell, batch: int, hidden_size: int, *, seed: int, dtype: DTypeLike) -> Array:
    """Draw small initial states (B, S, H), uniform in (-0.1, 0.1).

    A network without biases stays at 0 for ever if its inputs are 0 too, whether that fixed point is stable or not;
    from a small random state a run leaves it where it is not.
    """
    drawn = np.random.default_rng([seed, 1]).uniform(-_SMALL, _SMALL, (batch, len(cell.states), hidden_size))
    return drawn.astype(dtype)


def init(
    cell: str,
    *,
    input_size: int,
    hidden_size: int,
    seed: int = 0,
    scheme: str = "pytorch",
    dtype: str = "float32",
    gain: float | None = None,
    t_max: float | None = None,
) -> Params:
    """Draw the initial weights of a cell.

    ============== ====================================================================================
    scheme         weights and biases
    ============== ====================================================================================
    ``pytorch``    all uniform in +-1/sqrt(H)
    ``keras``      weight_ih Glorot-uniform, weight_hh orthogonal (over all gates), biases 0, but 1 for a
                   memory gate that does not also decide what enters: the LSTM's
    ``orthogonal`` weight_ih Glorot-uniform, weight_hh orthogonal gate by gate times `gain`, biases 0
    ``chrono``     as ``orthogonal``; bias of the memory gate (forget or update) ln u with u uniform in
                   [1, t_max - 1] a unit, and that of an input gate its negative [1]_
    ``gaussian``   weight_hh normal with variance gain^2/H, weight_ih with variance 1/I, biases 0
    ``identity``   weight_hh `gain` times the identity, gate by gate, weight_ih normal with standard
                   deviation 0.001, biases 0, as for rectified units [2]_
    ============== ====================================================================================

    Biases that a scheme sets go to bias_ih; bias_hh is 0 then.  Which gates these are is found from the equations,
    by `gatescope.cells.memory_gate.memory_gate`; where a state keeps one minus a gate (a leak), that gate's bias is the
    negative.  Weights that a gate does not have are 0 (``gatescope.cells.get(cell).lacks("weight_hh")``).

    Parameters
    ----------
    cell : str
        One of ``gatescope.cells.names()``.
    input_size, hidden_size : int
        I and H, at least 1.
    seed : int
        Seed of ``numpy.random.default_rng``.  Weights are drawn in float64 and then rounded to `dtype`.
    scheme : str
        One of those above; a number in brackets sets the scheme's constant: ``"gaussian(1.5)"`` is gain 1.5 and
        ``"chrono(500)"`` t_max 500.
    dtype : str
        ``"float32"`` or ``"float64"``.
    gain : float, optional
        Factor of weight_hh in ``gaussian``, ``orthogonal``, ``chrono`` and ``identity``.  Default: 1.
    t_max : float, optional
        Longest time scale of ``chrono``, in steps, at least 2.  Default: 1000.

    Returns
    -------
    Params

    Raises
    ------
    UnknownNameError
        If there is no such cell or scheme.
    ValueRangeError
        If a size is below 1, a constant is out of range or not one of the scheme's, or the cell has no gate that the
        scheme needs.

    References
    ----------
    .. [1] C. Tallec and Y. Ollivier, "Can recurrent neural networks warp time?", ICLR 2018, section 3.
    .. [2] Q. V. Le, N. Jaitly, G. E. Hinton, "A simple way to initialize recurrent networks of rectified linear units",
       arXiv:1504.00941 (2015), section 3.

    Examples
    --------
    >>> import gatescope as gs
    >>> params = gs.init("lstm", input_size=1, hidden_size=64, seed=0)
    >>> params.weight_hh.shape, params.count()
    ((256, 64), 17152)
    """
    equations = get(cell)
    inputs, units = check_count("input_size", input_size), check_count("hidden_size", hidden_size)
    kind = float_dtype(dtype)
    seed = check_count("seed", seed, least=0)
    name, gain, t_max = scheme_of(scheme, gain, t_max)
    check_weights_fit(len(equations.gates), inputs, units, kind.itemsize)
    rng = np.random.default_rng(seed)
    weights = draw_weights(equations, inputs, units, rng, name, gain, t_max)
    arrays = (np.ascontiguousarray(value, dtype=kind) for value in weights)
    named: dict[str, Any] = dict(zip(WEIGHT_NAMES, arrays, strict=True))
    return Params(
        cell=cell,
        **named,
        provenance=provenance(seed=seed, scheme=scheme, dtype=kind.name),
    )


def check_weights_fit(gates: int, inputs: int, units: int, itemsize: int) -> None:
    """Refuse weights that the free memory does not hold: drawn in float64, and then rounded."""

    def needed(inputs: int, units: int) -> int:
        return gates * units * (inputs + units + 2) * (8 + (itemsize if itemsize < 8 else 0))

    if inputs > units:
        check_memory("input_size", inputs, lambda count: needed(count, units), "the weights")
    check_memory("hidden_size", units, lambda count: needed(inputs, count), "the weights")


def init_stack(
    cells: str | Sequence[str],
    *,
    input_size: int | None = None,
    hidden_size: int | Sequence[int],
    heads: Sequence[Head] | Batch,
    bidirectional: bool | Sequence[bool] = False,
    seed: int = 0,
    scheme: str = "pytorch",
    readout_scheme: str | None = None,
    dtype: str = "float32",
    gain: float | None = None,
    t_max: float | None = None,
) -> Stack:
    """Draw the initial weights of a model: layers of cells, and a linear read-out.

    ============== =====================================================================
    readout_scheme weights and bias of O outputs of H units
    ============== =====================================================================
    ``pytorch``    both uniform in +-1/sqrt(H)
    ``glorot``     weights uniform in +-sqrt(6 / (H + O)), bias 0
    ============== =====================================================================

    The read-out is drawn from the child seed 0 of `seed`, the lowest layer from child 1, the next from child 2 (child
    k is ``SeedSequence(seed, spawn_key=(k,)).generate_state(1, "uint64")[0]``, and a layer is what `init` gives for
    it), so that one more layer changes nothing in those below.  The backward direction of a layer is drawn from child 1
    of the layer's, of ``spawn_key=(k, 1)``.

    Parameters
    ----------
    cells : str or sequence of str
        One cell for all layers, or one a layer, from the lowest.
    input_size : int
        I, the inputs of the lowest layer; may be left out if `heads` is a Batch.
    hidden_size : int or sequence of int
        H of all layers, or one a layer.
    heads : sequence of Head, or Batch
        What the outputs are and how they are judged; of a Batch, its heads.
    bidirectional : bool or sequence of bool
        Whether layers go both ways, all or one value a layer; each direction has H units then, and the outputs of both
        stand behind one another.
    seed : int
    scheme : str
        Of the layers, as in `init`.
    readout_scheme : str or None
        None: ``"pytorch"`` if `scheme` is that, otherwise ``"glorot"``.
    dtype : str
        ``"float32"`` or ``"float64"``.
    gain, t_max
        As in `init`, for every layer.

    Returns
    -------
    Stack

    Raises
    ------
    UnknownNameError
        If there is no such cell, scheme or loss.
    ShapeError
        If `cells`, `hidden_size` and `bidirectional` are sequences of different lengths, or `input_size` is not the
        Batch's.
    ValueRangeError
        If a size, a head or a constant is out of range.

    Examples
    --------
    >>> import gatescope as gs
    >>> heads = [gs.Head("next", 27, "cross_entropy")]
    >>> model = gs.init_stack(["lstm", "gru"], input_size=27, hidden_size=[64, 32], heads=heads, seed=0)
    >>> model.cells, model.readout_weight.shape, model.count()
    (('lstm', 'gru'), (27, 32), 34107)

    For a task, with the heads and the number of inputs that its data have:

    >>> gs.init_stack("gru", hidden_size=8, heads=gs.tasks.laser()).output_size
    1
    """
    names, units, both = _layers(cells, hidden_size, bidirectional)
    if isinstance(heads, Batch):
        if input_size is not None and check_count("input_size", input_size) != heads.input_size:
            raise ShapeError(
                f"is not that of `heads`, a Batch with {heads.input_size} inputs",
                argument="input_size",
                seen=input_size,
                advice="leave it out",
            )
        input_size, heads = heads.input_size, heads.heads
    elif input_size is None:
        raise ValueRangeError(
            "is left out, and `heads` is no Batch that has one", argument="input_size", advice="give it"
        )
    heads = check_heads(heads)
    seed = check_count("seed", seed, least=0)
    layers: list[Layer] = []
    for k, (name, hidden, two) in enumerate(zip(names, units, both, strict=True)):
        forward, *backward = (
            init(
                name,
                input_size=input_size,
                hidden_size=hidden,
                seed=_child(seed, *key),
                scheme=scheme,
                dtype=dtype,
                gain=gain,
                t_max=t_max,
            )
            for key in ((k + 1,), (k + 1, 1))[: 1 + two]
        )
        layers.append(forward)
        for params in backward:
            layers[k] = Bidirectional(forward=forward, backward=dataclasses.replace(params, reverse=True))
        input_size = output_size_of(layers[k])
    if readout_scheme is None:
        readout_scheme = "pytorch" if scheme == "pytorch" else "glorot"
    kind = layers[0].dtype
    weight, bias = init_readout(input_size, heads, seed=seed, scheme=readout_scheme, dtype=kind)
    return Stack(
        layers=tuple(layers),
        readout_weight=weight,
        readout_bias=bias,
        heads=heads,
        provenance=provenance(seed=seed, scheme=scheme, readout_scheme=readout_scheme, dtype=kind.name),
    )


def init_readout(
    hidden_size: int,
    heads: Sequence[Head],
    *,
    seed: int = 0,
    scheme: str = "pytorch",
    dtype: DTypeLike = "float32",
) -> tuple[Array, Array]:
    """Draw the read-out of `init_stack`: weight (O, H) and bias (O,), for H units and the heads' O outputs.

    Examples
    --------
    >>> from gatescope.datatypes import Head
    >>> from gatescope.recurrence.initialization import init_readout
    >>> weight, bias = init_readout(16, [Head("y", 2)], seed=0)
    >>> weight.shape, bool(abs(weight).max() <= 1 / 4)
    ((2, 16), True)
    """
    check_choice("readout_scheme", scheme, READOUT_SCHEMES)
    units = check_count("hidden_size", hidden_size)
    outputs = sum(head.size for head in check_heads(heads))
    rng = np.random.default_rng(_child(check_count("seed", seed, least=0), 0))
    kind = float_dtype(dtype)
    one, what = (units + 1) * (8 + kind.itemsize), f"the read-out of {outputs:,} outputs"
    check_memory("heads", NOTHING, lambda count: count * one, what, size=outputs, advice="give fewer outputs")
    if scheme == "pytorch":
        bound = 1 / np.sqrt(units)
        weight, bias = rng.uniform(-bound, bound, (outputs, units)), rng.uniform(-bound, bound, outputs)
    else:
        bound = np.sqrt(6 / (units + outputs))
        weight, bias = rng.uniform(-bound, bound, (outputs, units)), np.zeros(outputs)
    return weight.astype(kind), bias.astype(kind)


def _layers(
    cells: Any, hidden_size: Any, bidirectional: Any
) -> tuple[tuple[str, ...], tuple[Any, ...], tuple[bool, ...]]:
    """Return for each layer a cell, a size, and whether it goes both ways."""
    names = tuple(cells) if is_several(cells) else (cells,)
    several = is_several(hidden_size)
    units = tuple(hidden_size) if several else (hidden_size,)
    for name, values in (("cells", names), ("hidden_size", units)):
        if not values:
            raise ShapeError("is empty", argument=name, advice="give at least one layer")
    if several and isinstance(cells, str):
        names *= len(units)
    elif not several:
        units *= len(names)
    if len(names) != len(units):
        raise ShapeError(
            f"has {len(names)} layers, but `hidden_size` has {len(units)}",
            argument="cells",
            advice="give one size a cell, or one for all",
        )
    both = tuple(bidirectional) if is_several(bidirectional) else (bidirectional,) * len(names)
    for value in both:
        check_flag("bidirectional", value)
    if len(both) != len(names):
        problem = f"has {counted(len(both), 'value')} for {counted(len(names), 'layer')}"
        raise ShapeError(problem, argument="bidirectional", advice="give one for all, or one each")
    return names, units, both


def _child(seed: int, *key: int) -> int:
    """Return the seed of a part of a model; those of different seeds do not meet, as seed + k would."""
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0])
