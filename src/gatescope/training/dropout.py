"""Dropout's masks and noise on the weights, drawn from the seed and the update's number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.dtypes import float_dtype
from gatescope.checks.memory import check_memory
from gatescope.checks.numbers import check_choice, check_count, check_fields, check_fraction, check_type
from gatescope.datatypes import Array
from gatescope.errors import NOTHING, ShapeError
from gatescope.kernels.cpu.layer import Layer
from gatescope.kernels.cpu.loops.dropout import GOLDEN, MIX_1, MIX_2, SHIFTS, make_dropout

LOCATIONS = ("inputs", "between", "outputs", "recurrent")
_NOISE = len(LOCATIONS)  # what a seed of weight noise has where that of a mask has its location

# Offsets into a flat array: of the first sequence's first step, from step to step, from sequence to sequence.
Offsets = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """Probabilities with which numbers are set to 0 in training; the others are divided by 1 - p.

    Attributes
    ----------
    inputs : float
        Of the model's inputs; another mask at every step.
    between : float
        Of the outputs of every layer but the uppermost, on their way up; another mask at every step.  A model of one
        layer has none, and nothing is dropped there: the same `Dropout` serves models of any depth.
    outputs : float
        Of the uppermost layer's outputs on their way to the read-out; another mask at every step.
    recurrent : float
        Of every layer's h where it enters the recurrent product, ``weight_hh (m * h)``; the same mask at all steps of
        a sequence, in truncated BPTT those of all its windows [1]_.  Where a cell uses h otherwise (a GRU's ``z * h``)
        it is whole.

    Raises
    ------
    ValueRangeError
        If a probability is not in [0, 1).

    References
    ----------
    .. [1] Y. Gal and Z. Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks",
       NeurIPS 2016.

    Examples
    --------
    >>> import gatescope as gs
    >>> gs.Dropout(between=0.2, recurrent=0.1)
    Dropout(inputs=0.0, between=0.2, outputs=0.0, recurrent=0.1)
    """

    inputs: float = 0.0
    between: float = 0.0
    outputs: float = 0.0
    recurrent: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, **dict.fromkeys(LOCATIONS, check_fraction))


def check_dropout(dropout: Any) -> Dropout:
    """Return a `Dropout`; None becomes one that drops nothing."""
    if dropout is None:
        return Dropout()
    advice = "give a Dropout, such as Dropout(inputs=0.1, recurrent=0.2)"
    check_type("dropout", dropout, Dropout, advice=advice)
    return dropout  # type: ignore[no-any-return]  # it was checked


def masks(
    probability: float,
    shape: tuple[int, ...],
    *,
    seed: int,
    update: int,
    location: str,
    layer: int = 0,
    dtype: DTypeLike = "float32",
) -> Array:
    """Return the mask that training uses: 0 where a number is dropped, 1 / (1 - p) elsewhere.

    Parameters
    ----------
    probability : float
        Of dropping, in [0, 1).
    shape : (T, B, size) or (B, size)
        (B, size) for ``"recurrent"``.
    seed : int
        Of the training.
    update : int
        Number of the update, from 0; for ``"recurrent"`` that of the sequences' first window.
    location : {"inputs", "between", "outputs", "recurrent"}
    layer : int
        Whose inputs or recurrent state it is: 0 for ``"inputs"``; for ``"between"`` the layer above, 1, 2, ...; for
        ``"outputs"`` the number of layers; for ``"recurrent"`` the place in `Stack.directions`, which counts each
        direction of a layer.
    dtype : {"float32", "float64"}

    Returns
    -------
    array of that shape
        In truncated BPTT, T counts from the beginning of the update's window.

    Examples
    --------
    >>> from gatescope.training.dropout import masks
    >>> float(masks(0.5, (100, 8, 4), seed=0, update=3, location="inputs").max())
    2.0
    """
    probability = check_fraction("probability", probability)
    check_choice("location", location, LOCATIONS)
    for name, value in (("seed", seed), ("update", update), ("layer", layer)):
        check_count(name, value, least=0)
    if not isinstance(shape, tuple | list):
        raise ShapeError("must be (T, B, size) or (B, size)", argument="shape", seen=shape)
    for k, size in enumerate(shape):
        check_count(f"shape[{k}]", size, least=0)
    numbers = math.prod(map(int, shape))
    check_memory(
        "shape", NOTHING, lambda count: 32 * count, "the mask", size=numbers, advice="give a smaller one"
    )
    # The generator of the kernels, on whole arrays.
    z = _key(seed, update, location, layer) + np.arange(int(np.prod(shape)), dtype=np.uint64) * GOLDEN
    z = (z ^ (z >> SHIFTS[0])) * MIX_1
    z = (z ^ (z >> SHIFTS[1])) * MIX_2
    z = z ^ (z >> SHIFTS[2])
    keep, drop = _scales(probability, float_dtype(dtype))
    return np.asarray(np.where(z < _threshold(probability), drop, keep).reshape(shape))


class Masks:
    """Dropout of one update after another, with nothing allocated.

    `drops` says whether there is any at each location on the way up: the inputs of each layer, and of the read-out.
    """

    def __init__(self, dropout: Dropout, seed: int, layers: int, dtype: np.dtype[Any]) -> None:
        self._seed, self._top = seed, layers
        self._copy, self._draw = make_dropout()
        probabilities = [dropout.inputs, *[dropout.between] * (layers - 1), dropout.outputs]
        self.drops = tuple(probability > 0 for probability in probabilities)
        self._upward = [
            (_threshold(probability), _scales(probability, dtype)) for probability in probabilities
        ]
        self._keys = [np.uint64(0)] * (layers + 1)
        self._none = _threshold(0.0), np.ones(2, dtype)
        self._recurrent = None
        if dropout.recurrent:
            self._recurrent = _threshold(dropout.recurrent), _scales(dropout.recurrent, dtype)

    def draw(self, update: int, first: int, layers: list[Layer], batch: int) -> None:
        """Begin an update of sequences whose first update was `first`: the recurrent masks are still those."""
        for k, drops in enumerate(self.drops):
            if drops:
                location = "inputs" if k == 0 else "between" if k < self._top else "outputs"
                self._keys[k] = _key(self._seed, update, location, k)
        if self._recurrent is not None:
            for k, layer in enumerate(layers):
                key = _key(self._seed, first, "recurrent", k)
                self._draw(layer.factors, batch, layer.plan.padded, layer.units, key, *self._recurrent)

    def copy(
        self,
        source: Array,
        offsets: Offsets,
        out: Array,
        block: tuple[int, int],
        span: tuple[int, int],
        batch: int,
        k: int,
        drop: bool,
    ) -> None:
        """Copy a block's numbers of the steps of `span` to `out` (steps, B, size), with the mask of location k."""
        threshold, scales = self._upward[k] if drop else self._none
        begin, end = span
        steps = (*block, begin, end - begin)
        self._copy(source.reshape(-1), offsets, out, steps, batch, self._keys[k], threshold, scales)


def add_noise(out: Array, theta: Array, deviation: float, seed: int, update: int) -> None:
    """Set `out` to the weights with normal noise of that standard deviation."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, update, _NOISE])))
    generator.standard_normal(out=out, dtype=out.dtype)
    out *= out.dtype.type(deviation)
    out += theta


def _key(seed: int, update: int, location: str, layer: int) -> np.uint64:
    """Return the key of a mask: another one for every seed, update, location and layer."""
    seeds = np.random.SeedSequence([seed, update, LOCATIONS.index(location), layer])
    return np.uint64(seeds.generate_state(1, np.uint64)[0])


def _threshold(probability: float) -> np.uint64:
    """Return what the random bits of a dropped number are below, of 2^64."""
    return np.uint64(int(probability * 2.0**64))


def _scales(probability: float, dtype: np.dtype[Any]) -> Array:
    """Return what a number is multiplied with that is not dropped, and one that is."""
    return np.array([1 / (1 - probability), 0], dtype)
