"""What one run of the 20,000-step experiment is, and how it is trained."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gatescope.cells.registry import get
from gatescope.checks.dtypes import float_dtype
from gatescope.checks.numbers import (
    check_above_zero,
    check_choice,
    check_count,
    check_fields,
    check_number,
    check_type,
    set_checked,
)
from gatescope.datatypes import Batch, TrainingRun
from gatescope.datatypes.long_series import PUBLISHED_SIZE, PUBLISHED_UNITS
from gatescope.recurrence.initialization import init_stack
from gatescope.storage.npz import encode_json
from gatescope.tasks import long_series
from gatescope.training.optimizers import Adam
from gatescope.training.train import train

HIDDEN_SIZE = PUBLISHED_UNITS
LEARNING_RATE = 1e-3
CLIP_NORM = 1.0
EPSILON = 1e-7  # Keras's, not PyTorch's 1e-8
SCHEME = "keras"


@dataclass(frozen=True, kw_only=True)
class LongSeriesSpec:
    """A run of the 20,000-step experiment, checked when it is made; the published one by default.

    Attributes
    ----------
    cell : str
    seed : int
        Of the initial weights.
    epochs : int
        At least so many.  They tell no run from another: a shorter one is the beginning of a longer one.
    steps, sequences : int
        T and B.
    lookback : int
        How many of the last price changes are the input.
    hidden_size : int
    lr : float
    clamp : mapping of str to float
        Gates that keep a value all along.
    data_seed : int
        Of the series.
    dtype : str

    Examples
    --------
    >>> from gatescope.experiments.long_series.spec import LongSeriesSpec
    >>> short, long = (LongSeriesSpec(cell="gru", epochs=epochs) for epochs in (10, 1000))
    >>> short.key("code") == long.key("code"), short == long
    (True, False)
    """

    cell: str
    seed: int = 0
    epochs: int = PUBLISHED_SIZE["epochs"]
    steps: int = PUBLISHED_SIZE["steps"]
    sequences: int = PUBLISHED_SIZE["sequences"]
    lookback: int = 8
    hidden_size: int = HIDDEN_SIZE
    lr: float = LEARNING_RATE
    clamp: Mapping[str, float] = field(default_factory=dict, hash=False)
    data_seed: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        counts = ("epochs", "steps", "sequences", "lookback", "hidden_size")
        check_fields(self, **dict.fromkeys(counts, check_count), lr=check_above_zero)
        check_fields(self, **dict.fromkeys(("seed", "data_seed"), partial(check_count, least=0)))
        check_fields(self, dtype=lambda name, value: float_dtype(value, name).name)
        check_type("clamp", self.clamp, Mapping, advice="give a mapping, as in {'i': 1.0}")
        gates = get(self.cell).gates
        clamp = {
            check_choice("clamp", gate, gates): check_number(f"clamp[{gate!r}]", value)
            for gate, value in self.clamp.items()
        }
        set_checked(self, clamp=clamp)

    def plain(self) -> dict[str, Any]:
        """Return what tells the run from others, as plain values."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "epochs"}

    def text(self) -> str:
        """Return the same as canonical JSON."""
        return encode_json(self.plain(), "spec")

    def key(self, code: str) -> str:
        """Return the name of the run, of the spec and of the code that makes it."""
        return hashlib.sha256(f"{self.text()}\n{code}".encode()).hexdigest()[:32]

    def data(self) -> Batch:
        """Make the series, which depend neither on the cell nor on `seed`."""
        return long_series(
            steps=self.steps,
            sequences=self.sequences,
            lookback=self.lookback,
            seed=self.data_seed,
            dtype=self.dtype,
        )

    def train(self, *, epochs: int, **how: Any) -> TrainingRun:
        """Train the cell as the spec says; `how` are arguments of `train` that the numbers do not depend on."""
        batch = self.data()
        stack = init_stack(
            self.cell,
            hidden_size=self.hidden_size,
            heads=batch,
            seed=self.seed,
            scheme=SCHEME,
            dtype=self.dtype,
        )
        return train(
            stack,
            batch,
            optimizer=Adam(eps=EPSILON),
            lr=self.lr,
            clip_norm=CLIP_NORM,
            clamp=self.clamp or None,
            epochs=epochs,
            seed=self.seed,
            **how,
        )
