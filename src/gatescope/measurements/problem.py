"""The frame of all measurements: a public function makes one prepared `Problem` of its arguments, and hands it down.

The module of a measurement has two functions.  The public one, ``half_life(params, inputs, *, ...)``, gives the
arguments that all measurements share to `prepare`.  ``measure(problem, ...)`` does the work; it is what another
measurement calls with the problem it has, so that inputs are converted and scanned once, however many measurements
look at them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike

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
from gatescope.measurements.finer import in_fine_floats
from gatescope.measurements.frame import Frame
from gatescope.recurrence.cell_run import make_trace, run_provenance
from gatescope.recurrence.clamping import apply_clamp, clamp_values
from gatescope.recurrence.exact_steps import ExactSteps
from gatescope.recurrence.initialization import random_state
from gatescope.recurrence.input_stream import open_series, turned_series
from gatescope.recurrence.recompute import NotFiniteError, check_states

Measured = TypeVar("Measured")
Framed = TypeVar("Framed", bound=Frame)
RANDOM = "random"  # the initial state that is drawn

NUMPY_ERRORS: dict[str, Any] = {
    "divide": "warn",
    "over": "warn",
    "under": "ignore",
    "invalid": "warn",
}  # its defaults
_LOOKED_AT, _LOOKED_STEPS = 4, 500  # sequences, and their last steps, in which saturated gates are looked for


@dataclass(frozen=True, kw_only=True)
class Problem(Frame):
    """A cell over a series, checked and ready to be measured.

    Attributes
    ----------
    cell : Cell
    series : Series
        Of a backward direction (``params.reverse``) each sequence begins with its last step.
    clamp : (G, H) float64 or None
        The values that are in `params` already.
    """

    params: Params
    cell: Cell
    clamp: Array | None = None

    @property
    def name(self) -> str:
        """What results call the network."""
        return self.cell.name

    def open_device(self) -> Device:
        """Return the device with the weights on it, for all sequences."""
        return device_for(self.device, self.cell, self.params, self.threads)

    def derivatives(self, carried: float | None) -> ExactSteps:
        """Return what derives the steps whose units are saturated."""
        return ExactSteps(self.params, self.threads, carried)

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
        state = first_state(initial_state, cell, params, series.batch, seed)
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


def first_state(
    value: Any,
    cell: Cell,
    params: Params,
    batch: int,
    seed: int,
    *,
    argument: str = "initial_state",
    by: str = "",
) -> Array:
    """Return the states (B, S, H) that runs begin with: those given, zeros, or small random ones.

    `argument` is what they are given as, `by` what else is to be said of how to give numbers.
    """
    if isinstance(value, str):
        if value != RANDOM:
            raise UnknownNameError(
                "is no state to begin with",
                argument="initial_state",
                seen=value,
                advice=f"give {RANDOM!r}, or numbers (B, S, H){by}",
            )
        return random_state(cell, batch, params.hidden_size, seed=seed, dtype=params.dtype)
    state = check_initial_state(value, cell, params, batch, argument)
    return np.zeros((batch, len(cell.states), params.hidden_size), params.dtype) if state is None else state


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
    problem: Framed,
    measure: Callable[[Framed], Measured],
    join: Callable[[list[Array], list[Measured]], Measured],
) -> Measured:
    """Measure the sequences of each length together, and join what was measured.

    `measure` takes a problem whose sequences all have its T steps; `join`, which is called if there are several groups,
    the numbers of the sequences of each group, and what was measured of it.  Where derivatives are too small for the
    problem's floats, all is measured in larger ones.
    """
    return in_fine_floats(problem, lambda fine: _by_length(fine, measure, join))


def _by_length(
    problem: Framed,
    measure: Callable[[Framed], Measured],
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
