"""The runs of the 20,000-step experiment as files: those that have ended, and the states they are resumed from."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gatescope.cells.registry import get
from gatescope.datatypes import Status, TrainingRun
from gatescope.errors import FileFormatError, ValueRangeError
from gatescope.experiments.long_series.spec import LongSeriesSpec
from gatescope.experiments.seeds.code import code_fingerprint
from gatescope.experiments.seeds.store import Store, unusable
from gatescope.storage.resumable import read_state

_OLDER = "settings.json"  # in folders whose runs are CELL-SEED.npz and do not tell what code made them


def code_of(cell: str) -> str:
    """Return what changes when a run of this cell may come out otherwise."""
    return code_fingerprint(cell, "long_series", roots=("experiments/long_series/spec.py",))


class LongSeriesStore(Store[LongSeriesSpec, TrainingRun]):
    """A folder of runs of the 20,000-step experiment, of any settings.

    Beside ``KEY.npz``, a run that has ended, lies ``KEY.state``, from which one that was stopped is resumed, and one
    that has ended is trained for more epochs.

    Parameters
    ----------
    folder : path
    threads : int, optional
    checkpoint_seconds : float
        Between two writings of a run that is under way.
    progress : bool
        Show a progress bar of each run that is made.

    Raises
    ------
    FileFormatError
        If the folder was written by an older version, whose runs are not read.
    OutputError
        If it cannot be made or written.
    """

    kind = TrainingRun

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        threads: int | None = None,
        checkpoint_seconds: float = 60.0,
        progress: bool = False,
    ) -> None:
        super().__init__(folder)
        if os.path.lexists(self.folder / _OLDER):
            problem = f"holds {_OLDER!r} of an older gatescope, whose runs do not tell what code made them"
            advice = (
                "give another folder, or delete that file and the runs beside it, which are made anew then"
            )
            raise FileFormatError(problem, argument="folder", seen=str(folder), advice=advice)
        self._how = {
            "threads": threads,
            "checkpoint_seconds": checkpoint_seconds,
            "progress": progress,
        }

    def code(self, spec: LongSeriesSpec) -> str:
        return code_of(spec.cell)

    def origin(self, run: TrainingRun) -> tuple[Mapping[str, Any], str]:
        return run.provenance.get("spec", {}), run.provenance.get("code", "")

    def state(self, spec: LongSeriesSpec) -> Path:
        """Return the file that a run is resumed from, which need not be there."""
        return self.path(spec).with_suffix(".state")

    def get(self, spec: LongSeriesSpec) -> TrainingRun | None:
        """Return a run if it is there with as many epochs, or has diverged.

        Raises
        ------
        FileFormatError
            If its file, or where that has not enough epochs the state it is resumed from, is damaged or another's.
        """
        run = super().get(spec)
        if run is not None and (len(run.history.loss) >= spec.epochs or run.status is Status.DIVERGED):
            return run
        self._begun(spec)
        return None

    def make(self, spec: LongSeriesSpec) -> TrainingRun:
        """Make a run, or resume it.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C; what has been trained is in the state.
        """
        file, epochs = self.state(spec), max(spec.epochs, self._begun(spec))
        try:
            run = spec.train(epochs=epochs, checkpoint=file, **self._how)
        except (FileFormatError, ValueRangeError) as error:
            if error.argument != "checkpoint":
                raise
            raise unusable(f"cannot be resumed from ({error.problem})", file) from error
        if run.status is Status.INTERRUPTED:
            raise KeyboardInterrupt
        origin = {"spec": spec.plain(), "code": self.code(spec)}
        return dataclasses.replace(run, provenance={**run.provenance, **origin})

    def kernels(self, spec: LongSeriesSpec) -> tuple[Any, ...]:
        return spec.cell, spec.hidden_size, spec.dtype

    def work(self, spec: LongSeriesSpec) -> float:
        # How many times a unit of a gate computes a step.
        gates = len(get(spec.cell).gates)
        return float(spec.epochs * spec.steps * spec.sequences * gates * spec.hidden_size)

    def _begun(self, spec: LongSeriesSpec) -> int:
        """Return how many epochs a run that was stopped has begun."""
        file = self.state(spec)
        if not os.path.lexists(file):
            return 0
        try:
            # The learning rate is constant: the factors of its updates until now, one an epoch, are 1.
            return int(read_state(file)[0]["factor_sum"])
        except (FileFormatError, LookupError, TypeError, ValueError, ArithmeticError) as error:
            raise unusable(f"is damaged ({getattr(error, 'problem', error)})", file) from error
