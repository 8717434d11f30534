"""The frame of all measurements: a public function makes one prepared `Problem` of its arguments, and hands it down.

The module of a measurement has two functions.  The public one, ``half_life(params, inputs, *, ...)``, gives the
arguments that all measurements share to `prepare`.  ``measure(problem, ...)`` does the work; it is what another
measurement calls with the problem it has, so that inputs are converted and scanned once, however many measurements
look at them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike
from tqdm.auto import tqdm

from gatescope.cells.registry import Cell
from gatescope.checks.network import (
    check_initial_state,
    check_lengths,
    check_params,
    warn_if_batch_first,
)
from gatescope.checks.numbers import check_count, check_flag
from gatescope.datatypes import Array, Params, Trace
from gatescope.datatypes.saturation import is_large, saturating_inputs, saturating_text
from gatescope.errors import UnknownNameError, ValueRangeError, warn_input
from gatescope.kernels.device import Device, device_for, device_of, threads_for
from gatescope.measurements.finer import in_fine_floats, is_finest
from gatescope.recurrence.clamping import apply_clamp, clamp_values
from gatescope.recurrence.exact_steps import ExactSteps
from gatescope.recurrence.initialization import random_state
from gatescope.recurrence.input_stream import Series, open_series, part_of, turned_series
from gatescope.recurrence.recompute import NotFiniteError, Replay, check_states
from gatescope.recurrence.run import make_trace, run_provenance
from gatescope.storage.resumable import Resumable, digest

Measured = TypeVar("Measured")
RANDOM = "random"  # the initial state that is drawn

NUMPY_ERRORS: dict[str, Any] = {
    "divide": "warn",
    "over": "warn",
    "under": "ignore",
    "invalid": "warn",
}  # its defaults
_LOOKED_AT, _LOOKED_STEPS = 4, 500  # sequences, and their last steps, in which saturated gates are looked for


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A cell over a series, checked and ready to be measured.

    Attributes
    ----------
    params : Params
        On the host, with the clamps applied.
    cell : Cell
    series : Series
        Inputs (T, B, I), open, in the weights' dtype, in the order in which the cell takes them: of a backward
        direction (``params.reverse``) each sequence begins with its last step.
    initial_state : (B, S, H)
        In the weights' dtype.
    lengths : (B,) int64
        Steps of each sequence, 1..T.
    longest : int
        Steps of the longest sequence, in a group too that has only shorter ones.
    clamp : (G, H) float64 or None
        The values that are in `params` already.
    device : str
    threads : int
        On the CPU, at least 1.
    seed : int
    progress : bool
    resume : path or None
    recomputed : str
        What the problem was changed to, after derivatives were too small for the floats of another.
    """

    params: Params
    cell: Cell
    series: Series
    initial_state: Array
    lengths: Array
    longest: int
    clamp: Array | None = None
    device: str = "cpu"
    threads: int = 1
    seed: int = 0
    progress: bool = False
    resume: str | os.PathLike[str] | None = None
    recomputed: str = ""

    @property
    def steps(self) -> int:
        """T, the steps of the series."""
        return self.series.steps

    @property
    def batch(self) -> int:
        """B, the number of sequences."""
        return self.series.batch

    def astype(self, dtype: DTypeLike) -> Problem:
        """Return the problem in float32 or float64; the series is converted piece by piece as it is read."""
        if self.params.dtype == dtype:
            return self
        params = self.params.astype(dtype)
        state = self.initial_state.astype(params.dtype)
        return dataclasses.replace(
            self, params=params, initial_state=state, series=open_series(self.series, params)
        )

    def groups(self) -> list[tuple[Array, Problem]]:
        """Return the numbers of the sequences of each length, and the problem that they alone are, cut to that length.

        Where no sequence is padded, that is one group, and the problem is this one.
        """
        if (self.lengths == self.steps).all():
            return [(np.arange(self.batch), self)]
        rows = [(np.flatnonzero(self.lengths == steps), int(steps)) for steps in np.unique(self.lengths)]
        return [(chosen, self.part(chosen, 0, steps)) for chosen, steps in rows]

    def part(self, sequences: Array, begin: int, end: int, *, initial_state: Array | None = None) -> Problem:
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

    def open_device(self) -> Device:
        """Return the device with the weights on it, for all sequences."""
        return device_for(self.device, self.cell, self.params, self.threads)

    def replay(
        self, device: Device, source: int, last: int, *, directions: int = 1, length: int | None = None
    ) -> Replay:
        """Return the run from state `last` to state `source` on a device of this problem, to be gone through backwards.

        `directions` is how many adjoints a sequence are carried; `length` the steps of a segment.
        """
        sequences = self.series, self.initial_state
        exact = ExactSteps(self.params, self.threads, None if is_finest(self) else device.carries)
        more: dict[str, Any] = {"directions": directions, "length": length, "exact": exact}
        return Replay(device, self.cell, *sequences, source, last, **more)

    def forward(self, edges: Sequence[int], piece_steps: int) -> Iterator[tuple[int, Array, Array]]:
        """Run from the first step to the last of `edges`, which ascend; yield pieces that none of them cuts.

        Yields
        ------
        begin : int
            The step a piece begins at.
        states : (steps+1, B, S, H)
        gates : (steps, B, K, H)
            Both until the next piece is asked for, which is put into the same memory.

        Raises
        ------
        ValueRangeError
            If a state is not finite.
        """
        device = self.open_device()
        begin, last, state = 0, edges[-1], self.initial_state
        all_states, all_gates = device.buffers(max(1, min(piece_steps, last)), self.batch)
        while begin < last:
            end = min(begin + piece_steps, next(edge for edge in edges if edge > begin))
            states, gates = all_states[: end - begin + 1], all_gates[: end - begin]
            device.forward(self.series.read(begin, end), state, states, gates)
            state = device.last(states)
            check_states(states, begin)
            yield begin, states, gates
            begin = end

    def trace(self) -> Trace:
        """Return a run over the whole series, all of which is in memory then, in the order of the inputs."""
        inputs = self.series.read(0, self.steps)
        arrays = self.open_device().run(inputs, self.initial_state, self.lengths)
        trace = make_trace(self.cell, arrays, self.clamp, self.provenance()).to_host()
        return trace.as_given() if self.params.reverse else trace

    def bar(self, total: int, what: str, *, unit: str = "step", initial: int = 0) -> Any:
        """Return a progress bar on stderr, which shows nothing unless `progress` is set and it is a terminal."""
        return tqdm(
            total=total,
            initial=initial,
            unit=unit,
            unit_scale=unit == "step",
            desc=f"{what} ({self.cell.name})",
            disable=None if self.progress else True,
        )

    def resumable(self, task: str, **arguments: Any) -> Resumable:
        """Return the file of an interrupted call; one of other weights, inputs or `arguments` is refused.

        Arrays among the arguments are known by their digest.
        """
        if self.resume is None:
            return Resumable(None, task, {})
        known = {
            "params": digest(*self.params.arrays().values()),
            "cell": self.cell.name,
            "device": self.device,
            "inputs": self.series.digest(),
            "initial_state": self.initial_state,
            **arguments,
        }
        digested = {k: digest(v) if isinstance(v, np.ndarray) else v for k, v in known.items()}
        return Resumable(self.resume, task, digested)

    def provenance(self, **more: Any) -> dict[str, Any]:
        """Return where a result comes from: device, dtype, the seed of the weights, clamps, and `more`."""
        recomputed = {"recomputed": self.recomputed} if self.recomputed else {}
        return run_provenance(self.device, self.params, self.clamp, **{**recomputed, **more})


@contextmanager
def prepare(
    params: Params,
    inputs: Any,
    lengths: Any = None,
    initial_state: Any = None,
    clamp: Any = None,
    *,
    seed: int = 0,
    device: str | None = "cpu",
    threads: int | None = None,
    progress: bool = False,
    resume: str | os.PathLike[str] | None = None,
    dtype: DTypeLike | None = None,
    check: Callable[[Cell, Params], object] | None = None,
    scale: bool = True,
) -> Iterator[Problem]:
    """Check the arguments that measurements share, and open the series for as long as the block runs.

    Parameters
    ----------
    params, inputs, lengths, initial_state, clamp, seed, device, threads, progress, resume
        As for `gradient_flow`; `inputs` may be a Series.
    dtype : dtype, optional
        What is computed in; default: that of the weights.
    check : callable, optional
        Refuses what is wrong with the measurement's own arguments, before the inputs are opened or read.
    scale : bool
        Warn of inputs that saturate the gates; False for a measurement whose result says so itself.

    Yields
    ------
    Problem

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> from gatescope.measurements.problem import prepare
    >>> params = gs.init("lstm", input_size=1, hidden_size=4, seed=0)
    >>> with prepare(params, np.zeros((100, 3, 1)), lengths=[100, 50, 50]) as problem:
    ...     [(rows.tolist(), part.steps) for rows, part in problem.groups()]
    [([1, 2], 50), ([0], 100)]
    """
    device = device_of(device, params)
    workers = threads_for(device, threads)
    if isinstance(params, Params) and params.on_device:
        params = params.to_host()
    cell = check_params(params)
    values = clamp_values(params, clamp)
    params = apply_clamp(params, values)
    if dtype is not None:
        params = params.astype(dtype)
    seed = check_count("seed", seed, least=0)
    if check is not None:
        check(cell, params)
    # What underflows or overflows on purpose does so whatever the caller has made NumPy do then.
    with np.errstate(**NUMPY_ERRORS), open_series(inputs, params) as series:
        state = _first_state(initial_state, cell, params, series.batch, seed)
        sizes = check_lengths(lengths, series.steps, series.batch)
        if not params.batch_first:
            warn_if_batch_first("inputs", series.steps, series.batch, lengths)
        if not sizes.all():
            raise ValueRangeError(
                "is 0", argument=f"lengths[{int(np.argmin(sizes))}]", advice="leave that sequence out"
            )
        if resume is not None and np.unique(sizes).size > 1:
            raise ValueRangeError(
                "cannot be used with sequences of several lengths",
                argument="resume",
                advice="leave it out, or measure the sequences one at a time",
            )
        problem = Problem(
            params=params,
            cell=cell,
            series=turned_series(series, sizes) if params.reverse else series,
            initial_state=state,
            lengths=sizes,
            longest=int(sizes.max()),
            clamp=values,
            device=device,
            threads=workers,
            seed=seed,
            progress=check_flag("progress", progress),
            resume=resume,
        )
        if scale:
            warn_if_saturating(problem)
        try:
            yield problem
        except NotFiniteError as error:
            if not params.reverse:
                raise
            text = (
                f"{error} (steps are counted from the end of the inputs, as a backward direction takes them)"
            )
            raise error.restated(text) from error


def _first_state(initial_state: Any, cell: Cell, params: Params, batch: int, seed: int) -> Array:
    """Return the states (B, S, H) that runs begin with: those given, zeros, or small random ones."""
    if isinstance(initial_state, str):
        if initial_state != RANDOM:
            raise UnknownNameError(
                "is no state to begin with",
                argument="initial_state",
                seen=initial_state,
                advice=f"give {RANDOM!r}, or numbers (B, S, H)",
            )
        return random_state(cell, batch, params.hidden_size, seed=seed, dtype=params.dtype)
    state = check_initial_state(initial_state, cell, params, batch)
    if state is None:
        state = np.zeros((batch, len(cell.states), params.hidden_size), params.dtype)
    return state


def warn_if_saturating(problem: Problem) -> None:
    """Warn of inputs so large that they saturate the gates, by the last steps of a few sequences."""
    end = int(problem.lengths.min())
    rows, begin = np.arange(min(_LOOKED_AT, problem.batch)), max(0, end - _LOOKED_STEPS)
    part = problem.part(rows, begin, end)
    try:
        numbers = saturating_inputs(part.trace()) if is_large(part.series.read(0, part.steps)) else None
    except ValueRangeError:  # NaN there; whether a measurement comes that far it finds out by itself
        return
    if numbers:
        warn_input(saturating_text(numbers))


def by_length(
    problem: Problem,
    measure: Callable[[Problem], Measured],
    join: Callable[[list[Array], list[Measured]], Measured],
) -> Measured:
    """Measure the sequences of each length together, and join what was measured.

    `measure` takes a problem whose sequences all have its T steps; `join`, which is called if there are several groups,
    the numbers of the sequences of each group, and what was measured of it.  Where derivatives are too small for the
    problem's floats, all is measured in larger ones.
    """
    return in_fine_floats(problem, lambda fine: _by_length(fine, measure, join))


def _by_length(
    problem: Problem,
    measure: Callable[[Problem], Measured],
    join: Callable[[list[Array], list[Measured]], Measured],
) -> Measured:
    groups, measured = problem.groups(), []
    for rows, part in groups:
        try:
            measured.append(measure(part))
        except NotFiniteError as error:  # it knows the sequence by its number in the group
            raise NotFiniteError(int(rows[error.sequence]), error.step) from error
    return measured[0] if len(measured) == 1 else join([rows for rows, _ in groups], measured)


def in_batch_order(groups: Sequence[Array], arrays: Sequence[Array], axis: int = 0) -> Array:
    """Return the arrays of groups of sequences as one, with the sequences on `axis` in the order of the batch.

    Examples
    --------
    >>> import numpy as np
    >>> from gatescope.measurements.problem import in_batch_order
    >>> in_batch_order([np.array([1, 2]), np.array([0])], [np.array([10.0, 20.0]), np.array([0.0])]).tolist()
    [0.0, 10.0, 20.0]
    """
    order = np.argsort(np.concatenate(groups))
    return np.ascontiguousarray(np.take(np.concatenate(arrays, axis=axis), order, axis=axis))
