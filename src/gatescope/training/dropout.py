"""Dropout: which numbers are left out of an update, and with what masks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gatescope.checks.dtypes import float_dtype
from gatescope.checks.numbers import check_count, check_fraction, set_checked
from gatescope.datatypes import Array
from gatescope.errors import DtypeError, ShapeError, UnknownNameError

PLACES = ("inputs", "between", "outputs", "recurrent")


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """Probabilities with which numbers are set to 0 in training; what is kept is divided by 1 - p.

    Attributes
    ----------
    inputs : float
        Of the model's inputs; another mask at every step.
    between : float
        Of the outputs of every layer but the uppermost, on their way up; another mask at every step.
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
        for name, value in asdict(self).items():
            set_checked(self, **{name: check_fraction(name, value)})


def check_dropout(dropout: Any) -> Dropout:
    """A `Dropout`; None is one that drops nothing."""
    if dropout is None:
        return Dropout()
    if not isinstance(dropout, Dropout):
        raise DtypeError(
            f"dropout={dropout!r} is a {type(dropout).__name__}; give a Dropout, such as "
            "Dropout(inputs=0.1, recurrent=0.2), or None"
        )
    return dropout


def key_of(seed: int, update: int, place: str, layer: int) -> np.uint64:
    """Key of a mask: another one for every seed, update, place and layer."""
    if place not in PLACES:
        raise UnknownNameError(f"place={place!r} is not known; choose one of {', '.join(PLACES)}")
    words = np.random.SeedSequence([seed, update, PLACES.index(place), layer]).generate_state(1, np.uint64)
    return np.uint64(words[0])


def threshold_of(probability: float) -> np.uint64:
    """Of 2^64: random bits below it mean that a number is dropped."""
    return np.uint64(int(probability * 2.0**64))


def factors_of(probability: float, dtype: np.dtype[np.floating]) -> Array:
    """What a kept number and a dropped one are multiplied with."""
    return np.array([1 / (1 - probability), 0], dtype)


def masks(
    probability: float,
    shape: tuple[int, ...],
    *,
    seed: int,
    update: int,
    place: str,
    layer: int = 0,
    dtype: DTypeLike = "float32",
) -> Array:
    """The mask that training uses: 0 where a number is dropped, 1 / (1 - p) where it is kept.

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
    place : {"inputs", "between", "outputs", "recurrent"}
    layer : int
        Whose inputs or recurrent state it is: 0 for ``"inputs"``; for ``"between"`` the layer above, 1, 2, ...; for
        ``"outputs"`` the number of layers.
    dtype : {"float32", "float64"}

    Returns
    -------
    array of that shape
        In truncated BPTT, T counts from the beginning of the update's window.

    Raises
    ------
    UnknownNameError
        If there is no such place.
    DtypeError
        If `dtype` is neither float32 nor float64.
    ValueRangeError
        If the probability or a number is out of range.
    ShapeError
        If `shape` is no tuple.

    Examples
    --------
    >>> from gatescope.training.dropout import masks
    >>> float(masks(0.5, (100, 8, 4), seed=0, update=3, place="inputs").max())
    2.0
    """
    probability = check_fraction("probability", probability)
    for name, value in (("seed", seed), ("update", update), ("layer", layer)):
        check_count(name, value, least=0)
    if not isinstance(shape, tuple | list):
        raise ShapeError(f"shape={shape!r} must be (T, B, size) or (B, size)")
    for k, size in enumerate(shape):
        check_count(f"shape[{k}]", size, least=0)
    number = np.arange(int(np.prod(shape)), dtype=np.uint64)
    z = key_of(seed, update, place, layer) + number * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    z = z ^ (z >> np.uint64(31))
    kept, dropped = factors_of(probability, float_dtype(dtype))
    found: Array = np.where(z < threshold_of(probability), dropped, kept).reshape(shape)
    return found
