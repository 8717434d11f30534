"""Gradient flow: how far back in time the gradient of one step reaches, in the log domain."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.checks.numbers import check_choice, check_flag
from gatescope.datatypes import Array, GradientFlow, Params
from gatescope.datatypes.memory_estimate import MemoryEstimate
from gatescope.kernels.cpu import sweeps
from gatescope.measurements.flow_record import FlowRecord
from gatescope.measurements.problem import Problem, by_length, in_batch_order, prepare
from gatescope.measurements.selection import blocks_of, by_factors, ends_of, join_flows, lags_back
from gatescope.recurrence.recompute import Replay
from gatescope.reporting.text import counted
from gatescope.storage.resumable import Resumable, counter

NORMS = ("random", "unit", "spectral")
_SPECTRAL_LAGS = 200  # an SVD each
_NORM_COPIES = 3  # of the norms of a piece: as the kernel gives them and as they are put in their places


def gradient_flow(
    params: Params,
    inputs: Any,
    *,
    source_step: int = -1,
    of: str = "h",
    wrt: str = "h",
    max_lag: int | None = None,
    lags: Any = None,
    norm: str = "random",
    unit: int = 0,
    total: bool = False,
    lengths: Any = None,
    initial_state: Any = None,
    clamp: Any = None,
    seed: int = 0,
    device: str | None = None,
    threads: int | None = None,
    progress: bool = False,
    resume: str | os.PathLike[str] | None = None,
) -> GradientFlow:
    """Measure the log-norm of d of(t) / d wrt(t - lag) for a source step t and every lag.

    ==============  ================================================================================
    norm            what is measured, J the Jacobian d of(t) / d wrt(t - lag)
    ==============  ================================================================================
    ``random``      || v J || for one random unit vector v, drawn with `seed`
    ``unit``        || v J || for v the unit vector of unit `unit` of `of`: the gradient of one output
    ``spectral``    the largest singular value of J; J is carried back whole, which costs as much as
                    H sweeps (2 H for a joint `of`)
    ==============  ================================================================================

    A derivative by one state holds the other states of its step fixed: d h_t / d c_{t-1} of an LSTM is what reaches h_t
    from c_{t-1} by way of step t, and not also through h_{t-1} = o tanh(c_{t-1}).  At lag 0 it is 0.  Automatic
    differentiation by c_{t-1}, in a program that computes h_{t-1} from it, adds that; so does `total`.

    The adjoint is rescaled by exact powers of two whenever it leaves 2^-32..2^32 and the exponent is carried,
    so the result is right at lags where the norm itself has long been below the smallest float.  (In float32 a
    single step that lets it grow by more than 2^94 would overflow, on a GPU also two in a row that do so together;
    float64 has no such limit in practice.)
    Where units are so near saturation that their rounded activations have lost digits of their derivatives, these are
    made from the pre-activations, for a GPU too on the CPU.  Where derivatives are too small for float32 weights, all
    is measured in float64; where they are for a GPU, on the CPU: ``provenance["recomputed"]`` says so.  What even
    float64 cannot hold is said in a warning.
    The run is recomputed from checkpoints, segment by segment, so memory grows with the square root of T (and the
    result with T); on a GPU the segments are cut to what is free there, inputs go there piece by piece, and the
    checkpoints stay on the host.  `estimate_memory` counts beforehand.

    Threads take blocks of sequences, or directions of a spectral norm.  Where there are fewer of these than threads,
    one thread carries the adjoint back while another recomputes the segment before.  The result has the same bits for
    any number of threads.

    Parameters
    ----------
    params : Params
    inputs : (T, B, I) or (T, I) array_like, numpy.memmap or iterator
        A memory-mapped array (``numpy.load(path, mmap_mode="r")``) is read in pieces and never as a whole; a generator
        of steps (I,) or of pieces (n, I) or (n, B, I) goes to a temporary file first.
    source_step : int
        t, counted in states: 1..T, or negative from the end; -1 is the state after the last step of each sequence.
        A backward direction (``params.reverse``) takes the last step of the inputs first, and steps are counted so.
    of : str
        What is differentiated: a state of the cell (``"h"`` is the output) or ``"joint"``, all of them together.
    wrt : str
        With respect to what: a state of the cell (``"h"``, ``"c"``) or ``"joint"``.
    max_lag : int, optional
        The longest lag, at most t, which is the default.
    lags : array_like of int, optional
        Which lags to report, ascending.  Default: all from 0 to `max_lag`; for ``spectral``, if there are more than
        200, about 200 of them, spaced evenly in the logarithm.
    norm, unit
        As above.
    total : bool
        Differentiate by `wrt` as automatic differentiation does: states of the same step that are computed from it
        follow it.  Only an LSTM's c has one, its h.  The adjoint is looked at lag by lag, which takes longer.
    lengths : (B,) array_like of int, optional
        Steps of each sequence, 1..T; default: T.  A padded sequence gets exactly what it gets alone; its log-norms at
        lags beyond its first state are NaN.
    initial_state : (B, S, H) array_like or "random", optional
        Default: zeros, where a network without biases stays for ever if its inputs are 0.  ``"random"``: uniform in
        (-0.1, 0.1), drawn with `seed`.
    clamp : mapping, optional
        Gates to clamp at values, as for `run`: ``{"f": 1.0}``.
    seed : int
        Of the random direction, and of a random initial state.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; default: where the weights are, so ``"cpu"`` for `Params`.
    threads : int, optional
        On the CPU, as for `run`.
    progress : bool
        Show a memory plan and a progress bar on stderr, if it is a terminal.
    resume : path, optional
        A file for what has been computed.  It is written every minute and when the call is interrupted with Ctrl-C;
        the same call with the same file resumes, to the bits of a call that was never interrupted, and deletes the
        file at its end.  What is measured again in float64, or on the CPU, has a file beside it, of its name and
        ``.float64`` or ``.cpu``.

    Returns
    -------
    GradientFlow

    Raises
    ------
    ValueRangeError
        If an argument is out of range, the states leave the range of floating point, or `resume` holds what another
        call left.
    FileFormatError, OutputError
        If the file `resume` is torn or something else, or it cannot be written, nor can a temporary file.

    Warns
    -----
    AccuracyWarning
        If derivatives of saturated units are below the smallest number of float64, and of how many.
    RuntimeWarning
        If another device computes than the one that was chosen.

    References
    ----------
    .. [1] S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9 (1997), section 3.1.
    .. [2] R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural networks",
       ICML 2013, section 2.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("rnn", input_size=1, hidden_size=16, seed=0)
    >>> flow = gs.gradient_flow(params, np.zeros((5000, 1)))
    >>> flow.log_norm.shape, bool(flow.log_norm[-1, 0] < -745)   # below the smallest float64, and still right
    ((5001, 1), True)
    """

    def check(cell: Cell, weights: Params) -> None:
        check_flag("total", total)
        ends_of(cell, weights, of, wrt, NORMS, norm, unit, seed)

    with prepare(
        params,
        inputs,
        lengths,
        initial_state,
        clamp,
        seed=seed,
        device=device,
        threads=threads,
        progress=progress,
        resume=resume,
        check=check,
    ) as problem:
        ends: dict[str, Any] = {"of": of, "wrt": wrt, "norm": norm, "unit": unit, "total": total}
        return measure(problem, source_step=source_step, max_lag=max_lag, lags=lags, **ends)


def measure(
    problem: Problem,
    *,
    source_step: int = -1,
    of: str = "h",
    wrt: str = "h",
    max_lag: int | None = None,
    lags: Any = None,
    norm: str = "random",
    unit: int = 0,
    total: bool = False,
) -> GradientFlow:
    """Do the work of `gradient_flow`, whose arguments these are."""

    def measure_group(part: Problem) -> GradientFlow:
        directions, columns = ends_of(part.cell, part.params, of, wrt, NORMS, norm, unit, part.seed)
        source, chosen = lags_back(part, source_step, max_lag, lags, partial(_default_lags, norm))
        arguments = {"lags": chosen, "of": of, "wrt": wrt, "norm": norm, "direction": directions}
        arguments["total"] = total
        with part.resumable("gradient_flow", source_step=source, **arguments) as resumable:
            first = part.initial_state
            record = FlowRecord(part.cell, norm == "spectral", total, chosen, source, columns, first)
            log_norm = _sweep(part, record, directions, resumable)
        return GradientFlow(
            cell=part.cell.name,
            lag=chosen,
            log_norm=log_norm,
            of=of,
            wrt=wrt,
            source_step=source,
            norm=norm,
            total=bool(total),
            moved=record.moved if record.reach[0] > record.reach[1] else None,
            provenance=part.provenance(direction_seed=part.seed),
        )

    return by_length(problem, measure_group, _join)


def _join(groups: list[Array], parts: list[GradientFlow]) -> GradientFlow:
    joined = join_flows(groups, parts, {"log_norm": 1})
    moved = [part.moved for part in parts if part.moved is not None]
    return dataclasses.replace(joined, moved=in_batch_order(groups, moved)) if moved else joined


def estimate(
    problem: Problem,
    *,
    source_step: int = -1,
    of: str = "h",
    max_lag: int | None = None,
    lags: Any = None,
    norm: str = "random",
) -> MemoryEstimate:
    """Estimate what a call of `gradient_flow` with these arguments takes on the CPU."""
    size = len(blocks_of("of", problem.cell, of)) * problem.params.hidden_size
    directions = size if check_choice("norm", norm, NORMS) == "spectral" else 1
    source, chosen = lags_back(problem, source_step, max_lag, lags, partial(_default_lags, norm))
    last = source - int(chosen[-1])
    replay = problem.replay(problem.open_device(), source, last, directions=directions)
    return _estimate(problem, replay, chosen.size, directions)


def _estimate(problem: Problem, replay: Replay, lags: int, directions: int) -> MemoryEstimate:
    cell, params, series, batch = problem.cell, problem.params, problem.series, problem.batch
    states, gates, real, at_once = len(cell.states), len(cell.gates), params.dtype.itemsize, replay.buffers
    padded = sweeps.plan_for(cell, params.hidden_size, params.dtype).padded
    several = f"{at_once} segments" if at_once > 1 else "one segment"
    parts = {
        "log-norms and lags": lags * 8 * (1 + batch),
        "checkpoints": replay.checkpoints.nbytes,
        f"{several} at a time": at_once * replay.buffer_bytes,
        f"inputs of {several}": at_once * replay.length * batch * series.input_size * real,
        "inputs as they are read": series.memory_bytes,
    }
    if directions == 1:
        parts["log-norms of a segment"] = _NORM_COPIES * replay.length * batch * states * 8
    # The weights as they came, as the forward sweep reads them, and as the adjoint does.
    weights = 3 * gates * padded * (padded + params.input_size + 2) * real
    adjoints = 4 * batch * directions * (2 * states + gates + 3) * padded * real
    parts["weights and adjoints"] = weights + adjoints
    segments = -(-replay.source // replay.length)
    title = (
        f"gradient flow of {cell.name} with {counted(params.hidden_size, 'unit')} in {params.dtype.name}, "
        f"{counted(replay.source, 'step')}, {counted(batch, 'sequence')}: {counted(segments, 'segment')} of "
        f"{counted(replay.length, 'step')}"
    )
    return MemoryEstimate(
        title=title,
        parts={k: v for k, v in parts.items() if v},
        if_saturated=replay.derivative_bytes,
        segments=segments,
    )


def _default_lags(norm: str, longest: int) -> Array:
    if norm != "spectral" or longest <= _SPECTRAL_LAGS:
        return np.arange(longest + 1)
    return np.concatenate([[0], by_factors(longest, _SPECTRAL_LAGS)])


def _sweep(problem: Problem, record: FlowRecord, directions: Array, resumable: Resumable) -> Array:
    """Return the log-norms (L, B) of sequences of one length."""
    with resumable.restoring():
        length = None if resumable.stored is None else _positive(counter(resumable.stored, "length"))
    device = problem.open_device()
    replay = problem.replay(device, *record.reach, directions=len(directions), length=length)
    carried = device.adjoints(np.broadcast_to(directions, (problem.batch, *directions.shape)))
    if problem.progress and problem.device == "cpu":
        _estimate(problem, replay, record.lags.size, len(directions)).announce()
    return _carry(problem, replay, carried, record, resumable)


def _carry(problem: Problem, replay: Replay, carried: Any, record: FlowRecord, resumable: Resumable) -> Array:
    """Go forward once, then take the adjoints all the way back; return the log-norms (L, B)."""
    before = replay.source
    if resumable.stored is not None:
        with resumable.restoring():
            before = _restore(resumable.stored, replay, carried, record)
    else:
        record.start(carried)
    resumable.stored = None  # it may be large
    now = before, *carried.state()
    resumable.snapshot = lambda: {
        **replay.state(),
        "before": np.array(now[0]),
        "adjoints": now[1],
        "exponents": now[2],
        "log_norm": record.log_norm[: record.row(now[0])],
        "moved": record.moved,
    }
    total = replay.forward_steps + replay.source - replay.last
    already = replay.reached + replay.source - before
    with problem.bar(total, "gradient flow", initial=already) as bar:
        for steps in replay.forward():
            bar.update(steps)
            resumable.tick()
        with closing(replay.pieces(before)) as pieces:
            for begin, states, gates in pieces:
                record.piece(carried, states, gates, begin)
                if resumable.enabled:
                    now = begin, *carried.state()
                    resumable.tick()
                bar.update(states.shape[0] - 1)
    return record.log_norm


def _restore(stored: Mapping[str, Array], replay: Replay, carried: Any, record: FlowRecord) -> int:
    """Put back what an interrupted call left; return the state before which to go on."""
    replay.restore(stored)
    before = counter(stored, "before")
    if not replay.begins(before):
        raise ValueError(f"no segment begins at step {before}")
    shapes = [array.shape for array in carried.state()]
    if shapes != [stored["adjoints"].shape, stored["exponents"].shape]:
        raise ValueError(f"adjoints and exponents have other shapes than {shapes}")
    carried.restore(stored["adjoints"], stored["exponents"])
    record.log_norm[: record.row(before)] = stored["log_norm"]
    if stored["moved"].shape != record.moved.shape or stored["moved"].dtype != np.bool_:
        raise ValueError(f"moved of shape {stored['moved'].shape} and {stored['moved'].dtype}")
    record.moved[:] = stored["moved"]
    return before


def _positive(length: int) -> int:
    if length < 1:
        raise ValueError(f"segments of {length} steps")
    return length
