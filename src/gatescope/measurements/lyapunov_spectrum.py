"""Lyapunov exponents of a driven cell, by tangents that are kept orthonormal."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np

from gatescope.checks.arrays import check_array
from gatescope.checks.network import check_initial_state, check_params
from gatescope.checks.numbers import check_count, check_threads
from gatescope.datatypes import Array, Params
from gatescope.datatypes.lyapunov_spectrum import ROUNDED, LyapunovSpectrum
from gatescope.errors import AccuracyWarning, ShapeError, ValueRangeError
from gatescope.kernels.cpu.jacobian_product import carried
from gatescope.measurements.plans import show
from gatescope.measurements.tangent_sweep import (
    SpanJob,
    bin_ends,
    choose_interval,
    in_float64,
    merged,
    plan_of,
    span_jobs,
    work_through,
)
from gatescope.recurrence.clamping import clamp as clamp_params
from gatescope.recurrence.clamping import clamp_metadata
from gatescope.recurrence.input_stream import open_series
from gatescope.storage.provenance import provenance
from gatescope.storage.resumable import Resumable, digest

_BLOCKS = 20
_DEFAULT_TRANSIENT = 200


def lyapunov_spectrum(
    params: Params,
    inputs: Any,
    k: int | None = None,
    transient: int | None = None,
    qr_every: int | None = None,
    initial_state: Any = None,
    *,
    seed: int = 0,
    checks: bool = True,
    clamp: Any = None,
    threads: int | None = None,
    progress: bool = False,
    resume: str | os.PathLike[str] | None = None,
) -> LyapunovSpectrum:
    """The k largest Lyapunov exponents of the whole state (h and c of an LSTM) along a run.

    ``Q_{t+1} R_{t+1} = J_t Q_t`` with ``J_t = d s_{t+1} / d s_t``; exponent i is the mean of ``ln R_ii`` per step [1]_.
    Inputs are given, so these are the exponents at which the cell forgets or magnifies a change of its state
    (conditional exponents): negative, and gradients vanish and the state is a function of the inputs; positive, and
    they explode.  Everything is computed in float64, whatever the weights' dtype.

    Parameters
    ----------
    params : Params
    inputs : (T, B, I) or (T, I) array_like, numpy.memmap, or iterator of pieces
        Read piece by piece: a series of any length fits.
    k : int, optional
        How many exponents, largest first; default: all n = S*H.
    transient : int, optional
        Steps before the measurement, in which state and directions settle.  Default: 200, or a tenth of a series of
        less than 2,000 steps.
    qr_every : int, optional
        Steps between orthonormalizations.  Default: as many, up to 20, as keep what rounding may put into an
        exponent below 1e-6 nats per step in a short trial.
    initial_state : (B, S, H) array_like, optional
    seed : int
        Of the directions to start with.
    checks : bool
        Compare the sum of all exponents with the mean of ln abs(det J) at sampled steps, and the leading one with
        what a perturbation of the state itself does.
    clamp : mapping, optional
        Gates held at values, as for `run`.
    threads : int, optional
        As for `run`; the result does not depend on it.
    progress : bool
        Show a memory plan and a progress bar on stderr, if it is a terminal.
    resume : path, optional
        Where an interrupted measurement (Ctrl-C) is kept; the same call with the same path goes on from there.

    Returns
    -------
    LyapunovSpectrum

    Raises
    ------
    ShapeError, DtypeError, ValueRangeError, UnknownNameError
        If an argument does not fit, the transient leaves nothing to measure, or the states stop being finite.
    FileFormatError, OutputError
        If the file at `resume` is torn or of another kind, or cannot be written.

    Warns
    -----
    AccuracyWarning
        If directions all but coincide between two orthonormalizations: such an interval is done again with one at each
        step, which is slow where it is the rule.  (Where they coincide after one step, the Jacobian has lost a rank to
        rounding, and the exponent is -inf.)

    Notes
    -----
    A sequence of 2,000 measured steps or more is measured in two halves, each after a transient of its own, so that
    two threads can share it.  The file of `resume` knows the inputs by their shape and 64 of their steps.

    References
    ----------
    .. [1] G. Benettin, L. Galgani, A. Giorgilli and J.-M. Strelcyn, "Lyapunov characteristic exponents for smooth
       dynamical systems", Meccanica 15 (1980).
    .. [2] R. Engelken, F. Wolf and L. F. Abbott, "Lyapunov spectra of chaotic recurrent neural networks", Physical
       Review Research 5 (2023).

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("rnn", input_size=1, hidden_size=16, seed=0, scheme="gaussian(0.5)")
    >>> spectrum = gs.lyapunov_spectrum(params, np.zeros((2000, 1)))
    >>> spectrum.exponents.shape, bool(spectrum.exponents[0, 0] < np.log(0.6))
    ((1, 16), True)
    """
    params = clamp_params(params, clamp)
    cell = check_params(params)
    size = len(cell.states) * params.hidden_size
    count = size if k is None else check_count("k", k)
    if count > size:
        raise ValueRangeError(
            f"k={k!r} exponents were asked for, but the whole state of this {cell.name} has {size}, "
            f"{params.hidden_size} units of {', '.join(cell.states)}"
        )
    seed = check_count("seed", seed, least=0)
    every = None if qr_every is None else check_count("qr_every", qr_every)
    workers = check_threads(threads)
    weights = in_float64(params)
    with open_series(inputs, weights) as series:
        settle = _transient(transient, series.steps)
        start = check_initial_state(initial_state, cell, weights, series.batch)
        if start is None:
            start = np.zeros((series.batch, len(cell.states), params.hidden_size))
        drawn = _directions(seed, count, size).reshape(count, len(cell.states), params.hidden_size)
        if every is None:
            every = choose_interval(cell, weights, series, start, drawn, settle)
        every = min(every, series.steps - settle)
        jobs = span_jobs(cell, weights, series, start, drawn, settle, every, checks=checks)
        description = f"exponents ({cell.name})"
        facts = {
            "params": digest(*weights.arrays().values()),
            "inputs": series.digest(),
            "k": count,
            "transient": settle,
            "qr_every": every,
            "initial_state": digest(start),
            "seed": seed,
            "checks": bool(checks),
        }
        if progress:
            show(plan_of(jobs, series, f"{count} exponents of {cell.name} with {params.hidden_size} units"))
        with Resumable(resume, "lyapunov_spectrum", facts) as kept:
            work_through(jobs, workers, kept, description=description, progress=progress)
        found = _fields(cell.name, *_gathered(jobs, series.batch), bin_ends(series.steps - settle, every))
    spectrum = LyapunovSpectrum(
        **found,
        transient=settle,
        qr_every=every,
        size=size,
        provenance=provenance(
            device="cpu",
            dtype="float64",
            seed=params.provenance.get("seed"),
            direction_seed=seed,
            **clamp_metadata(params, clamp),
        ),
    )
    _warn(spectrum, sum(job.again for job in jobs) / series.batch)
    return spectrum


def lyapunov_of_jacobians(
    jacobians: Any, k: int | None = None, transient: int = 0, qr_every: int = 1, *, seed: int = 0
) -> LyapunovSpectrum:
    """Lyapunov exponents of any system whose Jacobians along an orbit are given: the same code, without a cell.

    Parameters
    ----------
    jacobians : (T, n, n) array_like
        J_t = d s_{t+1} / d s_t.
    k, transient, qr_every, seed
        As for `lyapunov_spectrum`; the transient is 0 and every step is followed by an orthonormalization.

    Returns
    -------
    LyapunovSpectrum
        Of one sequence, B = 1, without checks.

    Raises
    ------
    ShapeError, DtypeError, ValueRangeError
        If an argument does not fit.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> spectrum = gs.lyapunov_of_jacobians(np.repeat(np.diag([0.5, 2.0])[None], 100, axis=0), transient=50)
    >>> np.exp(spectrum.exponents[0]).round(6).tolist()
    [2.0, 0.5]
    """
    matrices = check_array("jacobians", jacobians, np.dtype(np.float64))
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or 0 in matrices.shape:
        raise ShapeError(f"jacobians has shape {matrices.shape}, but should have (T, n, n)")
    steps, size, _ = matrices.shape
    count = size if k is None else check_count("k", k)
    if count > size:
        raise ValueRangeError(
            f"k={k!r} exponents were asked for, but jacobians of {size} x {size} have {size}"
        )
    settle = _transient(check_count("transient", transient, least=0), steps)
    every = min(check_count("qr_every", qr_every), steps - settle)
    directions = _directions(check_count("seed", seed, least=0), count, size)
    turned = matrices.transpose(0, 2, 1)
    if settle:
        _, directions, *_ = carried(turned[:settle], directions, every)
    logs, _, sine, rounding, again = carried(turned[settle:], directions, every)
    ends = bin_ends(steps - settle, every)
    sums = np.add.reduceat(logs, np.concatenate([[0], -(-ends[:-1] // every)]), axis=0)[:, None]
    checked = np.full((4, 1), np.nan)
    found = _fields("", sums, np.array([[sine], [rounding]]), checked, ends)
    spectrum = LyapunovSpectrum(
        **found, transient=settle, qr_every=every, size=size, provenance=provenance(direction_seed=seed)
    )
    _warn(spectrum, again)
    return spectrum


def _directions(seed: int, count: int, size: int) -> Array:
    """(count, size): random orthonormal directions to start with; their own lengths must not count."""
    drawn = np.random.default_rng(seed).standard_normal((count, size))
    return np.ascontiguousarray(np.linalg.qr(drawn.T)[0].T)


def _warn(spectrum: LyapunovSpectrum, again: float) -> None:
    """Say where the interval between orthonormalizations was too long: for the last exponents, or for speed."""
    every, why = spectrum.qr_every, ""
    if spectrum.rounding.max() > ROUNDED and every > 1:
        why = f"rounding may have put {spectrum.rounding.max():.2g} nats per step into the last exponents"
    elif again * every > spectrum.steps / 2:
        why = "most intervals had to be done again step by step, which is right, but slow"
    if why:
        warnings.warn(
            f"directions all but coincide between orthonormalizations: {why}; give a qr_every below {every}",
            AccuracyWarning,
            stacklevel=3,
        )


def _transient(transient: Any, steps: int) -> int:
    if transient is None:
        return min(_DEFAULT_TRANSIENT, steps // 10)
    wanted = check_count("transient", transient, least=0)
    if wanted >= steps:
        raise ValueRangeError(
            f"transient={transient!r} leaves nothing to measure: inputs have {steps} steps; give a shorter one, "
            "or more inputs"
        )
    return wanted


def _gathered(jobs: list[SpanJob], batch: int) -> tuple[Array, Array, Array]:
    """Sums (bins, B, k), smallest sines and roundings (2, B), and checks (4, B), of what the jobs counted."""
    sums = np.zeros((jobs[0].sums.shape[0], batch, jobs[0].sums.shape[1]))
    lost, checked = np.stack([np.ones(batch), np.zeros(batch)]), np.full((4, batch), np.nan)
    for job in jobs:
        sums[:, job.sequence] += job.sums
        lost[0, job.sequence] = min(lost[0, job.sequence], job.sine)
        lost[1, job.sequence] += job.rounding
    for b in range(batch):
        checked[:2, b] = merged([job.determinant for job in jobs if job.sequence == b])
        checked[2:, b] = merged([job.perturbation for job in jobs if job.sequence == b])
    return sums, lost, checked


def _fields(cell: str, sums: Array, lost: Array, checked: Array, ends: Array) -> dict[str, Any]:
    """What of a LyapunovSpectrum follows from the sums of its bins."""
    lengths = np.diff(ends, prepend=0)
    running = np.cumsum(sums, axis=0) / ends[:, None, None]
    order = np.argsort(-running[-1], axis=1, kind="stable")
    return {
        "cell": cell,
        "exponents": np.take_along_axis(running[-1], order, 1),
        "error": np.take_along_axis(_errors(sums, lengths), order, 1),
        "running": np.take_along_axis(running, order[None], 2),
        "running_step": ends,
        "steps": int(ends[-1]),
        "smallest_sine": lost[0],
        "rounding": lost[1] / ends[-1],
        "log_det": checked[0],
        "log_det_sum": checked[1],
        "perturbation": checked[2],
        "perturbation_reference": checked[3],
    }


def _errors(sums: Array, lengths: Array) -> Array:
    """(B, k) standard errors of the means from blocks of bins; NaN with fewer than four blocks."""
    bins = len(lengths)
    blocks = min(_BLOCKS, bins)
    if blocks < 4:
        return np.full(sums.shape[1:], np.nan)
    starts = np.arange(blocks) * bins // blocks
    totals = np.add.reduceat(sums, starts, axis=0)
    size = np.add.reduceat(lengths, starts)
    with np.errstate(invalid="ignore"):
        means = totals / size[:, None, None]
        return np.asarray(means.std(axis=0, ddof=1) / np.sqrt(blocks))
