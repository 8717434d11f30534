"""What cells should learn: one row a task and cell, with its data, its settings, and when it has passed."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gatescope as gs

# Seeds of data that nothing is trained on: far above those that a run draws for its updates.
VALIDATION_SEED, TEST_SEED = 10**9, 10**9 + 1
CHORALES = "GATESCOPE_CHORALES"  # environment: where JSB_Chorales.mat is

Task = gs.Batch | Callable[..., gs.Batch]


class NoData(Exception):
    """The data of a row are not here; the message says how to get them."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """What a row trains on, chooses by, and is judged by."""

    task: Task
    validation: gs.Batch
    test: gs.Batch


@dataclass(frozen=True, kw_only=True)
class Row:
    """One task and one cell.

    Attributes
    ----------
    key, task, cell : str
    size : str
        What the task's name leaves open, for the table.
    hidden_size : int
    seeds : int
        How many runs, from seed 0.
    data : callable
        The path of the chorales (or None) -> Data.
    measure : str
        What is judged: ``"loss"`` or ``"accuracy"`` of the test data, or ``"accepted"``, the share of test strings
        followed without a fault.
    below, above : float or None
        The bound that every seed has to keep.
    criterion : str
        The same in words.
    rates : tuple of float
        Learning rates that are tried.
    settings : dict
        Other arguments of ``gatescope.train``.
    scheme : str
        Of ``gatescope.init_stack``.
    search_epochs : int or None
        Epochs of each run that tries a learning rate; None: as many as the real ones.
    published : float or None
        To stand beside.
    """

    key: str
    task: str
    cell: str
    size: str
    hidden_size: int
    data: Callable[[Path | None], Data]
    measure: str = "loss"
    below: float | None = None
    above: float | None = None
    criterion: str = ""
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    settings: dict[str, Any] = field(default_factory=dict)
    scheme: str = "pytorch"
    seeds: int = 3
    search_epochs: int | None = None
    published: float | None = None

    def passed(self, value: float) -> bool:
        """Whether a measured value keeps the bound; NaN does not."""
        return (self.below is None or value < self.below) and (self.above is None or value > self.above)

    def shortened(self) -> Row:
        """For a smoke run: does everything run?"""
        epochs = (
            {"epochs": 2, "updates_per_epoch": 2} if "updates_per_epoch" in self.settings else {"epochs": 1}
        )
        return replace(
            self,
            seeds=1,
            hidden_size=8,
            rates=self.rates[:1],
            settings={**self.settings, **epochs},
            search_epochs=1,
        )


def _synthetic(maker: Callable[..., gs.Batch], sequences: int, test: int = 1000, **arguments: Any) -> Data:
    """Fresh data at every update, and other data to choose and to judge by."""
    return Data(
        task=functools.partial(maker, sequences=sequences, **arguments),
        validation=maker(sequences=200, seed=VALIDATION_SEED, **arguments),
        test=maker(sequences=test, seed=TEST_SEED, **arguments),
    )


def _adding(steps: int, sequences: int, _: Path | None) -> Data:
    return _synthetic(gs.tasks.adding, sequences, steps=steps)


def _copying(steps: int, sequences: int, _: Path | None) -> Data:
    return _synthetic(gs.tasks.copying, sequences, steps=steps, test=500)


COUNTED = 50  # a^n b^n up to this n


def _counting(_: Path | None) -> Data:
    arguments = {"steps": 2 * COUNTED + 1, "n_max": COUNTED}
    return replace(
        _synthetic(gs.tasks.counting, 32, **arguments), test=gs.tasks.counting_of(range(1, COUNTED + 1))
    )


def _digits(order: str, _: Path | None) -> Data:
    try:
        train, valid, test = (
            gs.tasks.digits(split=split, order=order) for split in ("train", "valid", "test")
        )
    except ImportError as error:
        raise NoData(str(error)) from error
    return Data(task=train, validation=valid, test=test)


def _chorales(path: Path | None) -> Data:
    archive = path or os.environ.get(CHORALES)
    if not archive:
        raise NoData(
            f"there is no archive of chorales; give --chorales PATH or set {CHORALES} to a JSB_Chorales.mat "
            "in the format of Boulanger-Lewandowski"
        )
    train, valid, test = (gs.tasks.piano_roll(archive, split=split) for split in ("train", "valid", "test"))
    return Data(task=train, validation=valid, test=test)


# ---- rows ----

_GATED = ("lstm", "gru")
_ADDING = {100: 20, 400: 30}  # steps: epochs of 500 updates at most
# A run over 400 steps takes minutes: no search, but the learning rate that was the better one over 100 steps.
_ADDING_RATES = {100: (1e-3, 3e-3), 400: (3e-3,)}


def _adding_row(steps: int, cell: str) -> Row:
    gated = cell != "rnn"
    return Row(
        key=f"adding-{steps}-{cell}",
        task=f"adding, T={steps}",
        cell=cell,
        size="50 new sequences an update",
        hidden_size=64,
        data=functools.partial(_adding, steps, 50),
        below=0.01 if gated else None,
        above=None if gated else 0.01,
        criterion="MSE < 0.01" if gated else "MSE stays > 0.01",
        # Those of the gated cells are tried for the rnn, too.
        rates=_ADDING_RATES[steps] if gated else (1e-4, 3e-4, 1e-3, 3e-3),
        settings={
            "epochs": _ADDING[steps],
            "updates_per_epoch": 500,
            "target_loss": 0.002,
            "clip_norm": 1.0,
        },
        search_epochs=None if gated else 10,
    )


def _copying_row(cell: str) -> Row:
    baseline = 10 * math.log(8) / 120
    return Row(
        key=f"copying-100-{cell}",
        task="copying, T=100",
        cell=cell,
        size="50 new sequences an update",
        hidden_size=128,
        data=functools.partial(_copying, 100, 50),
        below=baseline / 10,
        criterion=f"cross-entropy < {baseline / 10:.4f}, a tenth of the memoryless baseline",
        # Set by hand after trials: a run takes minutes, so there is no search.
        rates=(3e-3,),
        settings={"epochs": 80, "updates_per_epoch": 250, "target_loss": baseline / 20, "clip_norm": 1.0},
        scheme="chrono(110)",
    )


def _counting_row(cell: str) -> Row:
    return Row(
        key=f"counting-{cell}",
        task="a^n b^n",
        cell=cell,
        size=f"n = 1..{COUNTED}, 32 new strings an update",
        hidden_size=16,
        data=_counting,
        measure="accepted",
        above=1 - 0.5 / COUNTED,
        criterion=f"every n = 1..{COUNTED} followed without a fault",
        rates=(3e-3, 1e-2),
        # At a constant rate a GRU's loss jumps up and down to the end, and which n it misses is chance.
        settings={
            "epochs": 40,
            "updates_per_epoch": 250,
            "target_loss": 1e-3,
            "clip_norm": 1.0,
            "schedule": "cosine",
        },
    )


_DIGITS = {"rows": "row by row, T=8", "pixels": "pixel by pixel, T=64"}


def _digits_row(order: str, cell: str) -> Row:
    return Row(
        key=f"digits-{order}-{cell}",
        task=f"digits, {_DIGITS[order]}",
        cell=cell,
        size="given split",
        hidden_size=64,
        data=functools.partial(_digits, order),
        measure="accuracy",
        above=0.9,
        criterion="test accuracy > 90 %",
        rates=(1e-3, 3e-3, 1e-2),
        settings={"epochs": 300, "batch_size": 50, "patience": 40, "clip_norm": 1.0},
        search_epochs=60,
    )


CHUNG = {"gru": (46, 8.54), "lstm": (36, 8.67), "rnn": (100, 9.10)}
WITHIN = 0.3


def _chorales_row(cell: str) -> Row:
    from gatescope.training.optimizers import RMSprop

    units, published = CHUNG[cell]
    return Row(
        key=f"chorales-{cell}",
        task="JSB chorales",
        cell=cell,
        size="given split, 8 pieces an update",
        hidden_size=units,
        data=_chorales,
        below=published + WITHIN,
        criterion=f"test NLL within {WITHIN:g} of Chung's {published:.2f}, or better",
        rates=(3e-4, 1e-3, 3e-3),
        settings={
            "optimizer": RMSprop(alpha=0.95),
            "epochs": 600,
            "batch_size": 8,
            "patience": 60,
            "clip_norm": 1.0,
            "weight_noise": 0.075,
        },
        search_epochs=60,
        published=published,
    )


ROWS = (
    *(_adding_row(steps, cell) for steps in _ADDING for cell in (*_GATED, "rnn")),
    *(_copying_row(cell) for cell in _GATED),
    *(_counting_row(cell) for cell in _GATED),
    *(_digits_row(order, cell) for order in _DIGITS for cell in _GATED),
    *(_chorales_row(cell) for cell in CHUNG),
)


def select(patterns: list[str] | None) -> list[Row]:
    """Return the rows whose key contains any of the patterns; all rows if there are none.

    Raises
    ------
    ValueError
        If a pattern fits no row.
    """
    for pattern in patterns or []:
        if not any(pattern in row.key for row in ROWS):
            raise ValueError(
                f"--only {pattern!r} fits no row; there are {', '.join(row.key for row in ROWS)}"
            )
    return [row for row in ROWS if not patterns or any(pattern in row.key for pattern in patterns)]
