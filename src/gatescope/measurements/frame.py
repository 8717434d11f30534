"""What a prepared problem is, whatever network it is of: a series, where runs over it begin, and what computes them."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike
from tqdm.auto import tqdm

from gatescope.datatypes import Array, Params
from gatescope.datatypes.stack import Stack
from gatescope.kernels.device import PieceDevice
from gatescope.measurements.finer import is_finest
from gatescope.recurrence.input_stream import Series, open_series, part_of
from gatescope.recurrence.recompute import Replay, StepDerivatives
from gatescope.storage.resumable import Resumable, digest


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A network over a series, checked and ready to be measured: a `Problem` of a cell, a `StackProblem` of a stack.

    Attributes
    ----------
    params : Params or Stack
        On the host, with the clamps applied.
    series : Series
        Inputs (T, B, I), open, in the weights' dtype, in the order in which the network takes them.
    initial_state : (B, S, H), or (B, N)
        In the weights' dtype; N is the number of all states of all layers of a stack.
    lengths : (B,) int64
        Steps of each sequence, 1..T.
    longest : int
        Steps of the longest sequence, in a group too that has only shorter ones.
    device : str
    threads : int
        On the CPU, at least 1.
    seed : int
    progress : bool
    resume : path or None
    recomputed : str
        What the problem was changed to, after derivatives were too small for the floats of another.
    """

    params: Params | Stack
    series: Series
    initial_state: Array
    lengths: Array
    longest: int
    device: str = "cpu"
    threads: int = 1
    seed: int = 0
    progress: bool = False
    resume: str | os.PathLike[str] | None = None
    recomputed: str = ""

    @property
    def name(self) -> str:
        """What results call the network."""
        raise NotImplementedError

    @property
    def steps(self) -> int:
        """T, the steps of the series."""
        return self.series.steps

    @property
    def batch(self) -> int:
        """B, the number of sequences."""
        return self.series.batch

    def astype(self, dtype: DTypeLike) -> Self:
        """Return the problem in float32 or float64; the series is converted piece by piece as it is read."""
        if self.params.dtype == dtype:
            return self
        params = self.params.astype(dtype)
        state = self.initial_state.astype(params.dtype)
        lowest = params if isinstance(params, Params) else next(iter(params.directions().values()))
        return dataclasses.replace(
            self, params=params, initial_state=state, series=open_series(self.series, lowest)
        )

    def groups(self) -> list[tuple[Array, Self]]:
        """Return the numbers of the sequences of each length, and the problem that they alone are, cut to that length.

        Where no sequence is padded, that is one group, and the problem is this one.
        """
        if (self.lengths == self.steps).all():
            return [(np.arange(self.batch), self)]
        rows = [(np.flatnonzero(self.lengths == steps), int(steps)) for steps in np.unique(self.lengths)]
        return [(chosen, self.part(chosen, 0, steps)) for chosen, steps in rows]

    def part(self, sequences: Array, begin: int, end: int, *, initial_state: Array | None = None) -> Self:
        """Return the problem of some sequences over the steps begin..end - 1, all of which they have.

        `initial_state` is the one they have before step `begin`; by default that of step 0.
        """
        state = self.initial_state[sequences] if initial_state is None else initial_state
        return dataclasses.replace(
            self,
            series=part_of(self.series, sequences, begin, end),
            initial_state=np.ascontiguousarray(state),
            lengths=np.full(len(sequences), end - begin, np.int64),
        )

    def open_device(self) -> PieceDevice:
        """Return the device with the weights on it, for all sequences."""
        raise NotImplementedError

    def derivatives(self, carried: float | None) -> StepDerivatives:
        """Return what derives the steps whose units are saturated."""
        raise NotImplementedError

    def carried(self, least: float) -> float | None:
        """Return the smallest derivative that can be used, where there are larger floats to go to; else None."""
        return None if is_finest(self) else least

    def replay(
        self, device: PieceDevice, source: int, last: int, *, directions: int = 1, length: int | None = None
    ) -> Replay:
        """Return the run from state `last` to state `source` on a device of this problem, to be gone through backwards.

        `directions` is how many adjoints a sequence are carried; `length` the steps of a segment.
        """
        sequences = self.series, self.initial_state
        exact = self.derivatives(self.carried(device.carries))
        more: dict[str, Any] = {"directions": directions, "length": length, "exact": exact}
        return Replay(device, *sequences, source, last, **more)

    def bar(self, total: int, what: str, *, unit: str = "step", initial: int = 0) -> Any:
        """Return a progress bar on stderr, which shows nothing unless `progress` is set and it is a terminal."""
        return tqdm(
            total=total,
            initial=initial,
            unit=unit,
            unit_scale=unit == "step",
            desc=f"{what} ({self.name})",
            disable=None if self.progress else True,
        )

    def resumable(self, task: str, **arguments: Any) -> Resumable:
        """Return the file of an interrupted call; one of other weights, inputs or `arguments` is refused.

        Arrays among the arguments are known by their digest.
        """
        if self.resume is None:
            return Resumable(None, task, {})
        arrays = self.params.weights() if isinstance(self.params, Stack) else self.params.arrays()
        known = {
            "params": digest(*arrays.values()),
            "cell": self.name,
            "device": self.device,
            "inputs": self.series.digest(),
            "initial_state": self.initial_state,
            **arguments,
        }
        digested = {k: digest(v) if isinstance(v, np.ndarray) else v for k, v in known.items()}
        return Resumable(self.resume, task, digested)

    def provenance(self, **more: Any) -> dict[str, Any]:
        """Return where a result comes from: device, dtype, the seed of the weights, clamps, and `more`."""
        raise NotImplementedError
