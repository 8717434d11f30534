"""What is random in an update: dropout's masks and noise on the weights, from the seed and the update's number."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatescope.datatypes import Array
from gatescope.kernels.cpu.layer import Layer
from gatescope.kernels.cpu.loops.dropout import make_dropping
from gatescope.training.dropout import Dropout, factors_of, key_of, threshold_of

Place = tuple[
    int, int, int
]  # where the first sequence's first step begins, from step to step, from sequence to sequence


class Masks:
    """Dropout of one update.

    Parameters
    ----------
    dropout : Dropout
    seed : int
    layers : int
    dtype : dtype
    """

    def __init__(self, dropout: Dropout, seed: int, layers: int, dtype: np.dtype[Any]) -> None:
        self._seed, self._top = seed, layers
        self._recurrent = dropout.recurrent
        self._carry, self._draw = make_dropping()
        # Places on the way up: the inputs of each layer, and those of the read-out.
        chances = [dropout.inputs, *[dropout.between] * (layers - 1), dropout.outputs]
        self._chances = [(threshold_of(chance), factors_of(chance, dtype)) for chance in chances]
        self._factors = threshold_of(dropout.recurrent), factors_of(dropout.recurrent, dtype)
        self._keys = [np.uint64(0)] * (layers + 1)
        self._none = threshold_of(0.0), np.ones(2, dtype)
        self.drops = tuple(chance > 0 for chance in chances)

    def draw(self, update: int, first: int, layers: list[Layer], batch: int) -> None:
        """Begin an update of sequences whose first update was `first`: the recurrent masks are still those."""
        for k, drops in enumerate(self.drops):
            if drops:
                place = "inputs" if k == 0 else "between" if k < self._top else "outputs"
                self._keys[k] = key_of(self._seed, update, place, k)
        if self._recurrent:
            for k, layer in enumerate(layers):
                key = key_of(self._seed, first, "recurrent", k)
                self._draw(layer.factors, batch, layer.plan.padded, layer.units, key, *self._factors)

    def copy(
        self,
        source: Array,
        place: Place,
        out: Array,
        block: tuple[int, int],
        span: tuple[int, int],
        batch: int,
        k: int,
        drop: bool,
    ) -> None:
        """Copy a block's numbers of the steps of `span` to `out` (steps, B, size), with the mask of place k."""
        threshold, kept = self._chances[k] if drop else self._none
        begin, end = span
        self._carry(
            source.reshape(-1),
            place,
            out,
            (*block, begin, end - begin),
            batch,
            self._keys[k],
            threshold,
            kept,
        )


def add_noise(out: Array, theta: Array, deviation: float, seed: int, update: int) -> None:
    """The weights with normal noise."""
    # The last word keeps it apart from the masks, whose third word is a place.
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, update, 4])))
    generator.standard_normal(out=out, dtype=out.dtype)
    out *= out.dtype.type(deviation)
    out += theta
