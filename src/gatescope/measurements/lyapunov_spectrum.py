"""Lyapunov exponents of a driven cell, by tangents that are kept orthonormal."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.checks.network import as_stack
from gatescope.checks.numbers import check_count, check_flag, check_unused
from gatescope.datatypes import Array, Bidirectional, Params, Stack
from gatescope.datatypes.lyapunov_spectrum import BATCHED, LyapunovSpectrum
from gatescope.datatypes.memory_estimate import MemoryEstimate
from gatescope.errors import DtypeError
from gatescope.measurements.closed_exponents import closed_spectrum
from gatescope.measurements.jacobian_exponents import (
    CHECKS,
    exponent_count,
    settling,
    spectrum_fields,
    start_directions,
    warn_interval,
)
from gatescope.measurements.joint_exponents import joint_spectrum, state_size
from gatescope.measurements.problem import Problem, by_length, in_batch_order, prepare
from gatescope.measurements.selection import each_sequence, join_lags
from gatescope.measurements.stack_problem import check_causal
from gatescope.measurements.tangent_sweep import (
    TangentWorker,
    bin_ends,
    choose_interval,
    mean_rates,
    run_workers,
    tangent_workers,
)
from gatescope.reporting.text import counted


def lyapunov_spectrum(
    params: Params | Stack | Bidirectional,
    inputs: Any = None,
    *,
    feedback: bool = False,
    steps: int | None = None,
    k: int | None = None,
    transient: int | None = None,
    qr_every: int | None = None,
    checks: bool = True,
    lengths: Any = None,
    initial_state: Any = None,
    clamp: Any = None,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = False,
    resume: str | os.PathLike[str] | None = None,
) -> LyapunovSpectrum:
    """Measure the k largest Lyapunov exponents of the whole state (h and c of an LSTM) along a run.

    ``Q_{t+1} R_{t+1} = J_t Q_t`` with ``J_t = d s_{t+1} / d s_t``; exponent i is the mean of ``ln R_ii`` per step [1]_.
    Inputs are given, so these are the exponents at which the cell forgets or magnifies a change of its state
    (conditional exponents): negative, and gradients vanish and the state is a function of the inputs; positive, and
    they explode.  Everything is computed in float64, whatever the weights' dtype.

    Of a stack whose layers go one way they are those of the joint state of all layers, which each layer passes on to
    those above: its Jacobian is block-triangular, and the exponents are those of the layers, each driven by what it
    really receives, all together (see the notes).

    Parameters
    ----------
    params : Params, Stack or Bidirectional
        A stack that goes both ways has no exponents, and is refused.
    inputs
        As for `gradient_flow`: read piece by piece, so that a series of any length fits.
    feedback, steps : bool, int
        The exponents of a closed loop of so many steps, which `run` describes, after `inputs` that warm it up, if there
        are any: of a stack whose outputs are its next inputs, so of a system without inputs.  One step follows another
        in all layers, so that the Jacobian is a whole matrix: it takes n^2 numbers a step, a piece at a time.  There is
        an orthonormalization at each step by default, there are no `checks`, no `resume` and no random `initial_state`.
    k : int, optional
        How many exponents, largest first; default: all n = S*H, of a stack those of all layers.
    transient : int, optional
        Steps before the measurement, in which state and directions settle; fewer than there are.  It should be several
        times 1 / abs(exponent), and several times 1 / gap to the next exponent.  Default: 200, or a tenth of a series
        of less than 2,000 steps.
    qr_every : int, optional
        Steps between orthonormalizations.  Default: as many, up to 20, as keep what rounding may put into an
        exponent below 1e-6 nats per step in a short trial on the first sequence (of each length).
    checks : bool
        Compare the sum of all exponents with the mean of ln abs(det J) at sampled steps, and the leading one with
        what a perturbation of the state itself does.
    lengths, initial_state, clamp, seed, threads, progress, resume
        As for `gradient_flow`; the seed is that of the directions to start with, too.

    Returns
    -------
    LyapunovSpectrum

    Warns
    -----
    AccuracyWarning
        If directions all but coincide between two orthonormalizations: such an interval is done again with one at each
        step, which is slow where it is the rule.  (Where they coincide after one step, the Jacobian has lost a rank to
        rounding, and the exponent is -inf.)

    Notes
    -----
    A sequence of 2,000 measured steps or more is measured in two halves, each after a transient of its own, so that
    two threads can share it.  The file of `resume` knows the inputs by their shape and 64 of their steps;
    a stack of several layers, each of which is measured by itself, has none.
    Other directions, drawn anew, go through the transient too, one more of them than exponents.  Where both span the
    same at its end, and the others have grown apart, the exponents no longer depend on what they started with; where
    they do not, what that may have put into them is in their errors.

    That a block-triangular system has the exponents of its diagonal blocks needs these to be regular: in the limit
    their exponents add up to the mean of ln abs(det J) [3]_.  Almost every orbit of an ergodic measure is.  Of a
    system that drives another it says: the exponents are those of the drive, and the conditional ones of what it drives
    [4]_.  Over finitely many steps the coupling may put a constant over their number into two of them.

    References
    ----------
    .. [1] G. Benettin, L. Galgani, A. Giorgilli and J.-M. Strelcyn, "Lyapunov characteristic exponents for smooth
       dynamical systems", Meccanica 15 (1980).
    .. [2] R. Engelken, F. Wolf and L. F. Abbott, "Lyapunov spectra of chaotic recurrent neural networks", Physical
       Review Research 5 (2023).
    .. [3] L. Barreira and Y. Pesin, "Lyapunov exponents and smooth ergodic theory", American Mathematical Society
       (2002), chapter 1.
    .. [4] L. M. Pecora and T. L. Carroll, "Driving systems with chaotic signals", Physical Review A 44 (1991).

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("rnn", input_size=1, hidden_size=16, seed=0, scheme="gaussian(0.5)")
    >>> spectrum = gs.lyapunov_spectrum(params, np.zeros((2000, 1)))
    >>> spectrum.exponents.shape, bool(spectrum.exponents[0, 0] < np.log(0.6))
    ((1, 16), True)
    """
    check_flag("checks", checks)
    every = None if qr_every is None else check_count("qr_every", qr_every)
    if check_flag("feedback", feedback):
        if not isinstance(params, Stack | Bidirectional):
            raise DtypeError(
                argument="params",
                seen=type(params),
                advice="give a Stack, whose outputs are its next inputs: gatescope.Stack(layers=(params,))",
            )
        return closed_spectrum(
            as_stack(params),
            inputs,
            steps,
            k=k,
            transient=transient,
            qr_every=every,
            lengths=lengths,
            initial_state=initial_state,
            clamp=clamp,
            seed=seed,
            threads=threads,
            resume=resume,
        )
    check_unused("without `feedback` True", steps=steps)
    sequences = {"lengths": lengths, "initial_state": initial_state, "clamp": clamp}
    common: dict[str, Any] = {"seed": seed, "threads": threads, "progress": progress, "resume": resume}
    if isinstance(params, Stack | Bidirectional):
        stack = as_stack(params)
        check_causal(stack)
        size = sum(map(state_size, stack.directions().values()))
        number = exponent_count(k, size, f"the joint state of {len(stack.layers)} layers has {size}")
        return joint_spectrum(
            stack,
            inputs,
            number,
            lambda part, own, steps: measure(
                part, k=own, transient=transient, qr_every=every or steps, checks=checks
            ),
            None if every else lambda part, own: choose_interval(part, _start(part, own)[0], part.steps // 2),
            **sequences,
            **common,
        )
    with prepare(
        params,
        inputs,
        **sequences,
        **common,
        dtype=np.float64,
        check=lambda cell, weights: _whole_state(cell, weights, k),
    ) as problem:
        return measure(problem, k=k, transient=transient, qr_every=every, checks=checks)


def measure(
    problem: Problem,
    *,
    k: int | None = None,
    transient: int | None = None,
    qr_every: int | None = None,
    checks: bool = True,
) -> LyapunovSpectrum:
    """Do the work of `lyapunov_spectrum`, whose arguments these are; in float64, whatever the problem's dtype."""
    problem = problem.astype(np.float64)
    directions, rivals = _start(problem, k)

    def measure_group(part: Problem) -> LyapunovSpectrum:
        settle = settling(transient, part.steps)
        every = min(qr_every or choose_interval(part, directions, settle), part.steps - settle)
        workers = tangent_workers(part, directions, rivals, settle, every, checks=checks)
        if part.progress:
            _estimate(part, workers).announce()
        arguments = {"k": len(directions), "transient": settle, "qr_every": every, "checks": checks}
        with part.resumable("lyapunov_spectrum", seed=part.seed, **arguments) as resumable:
            run_workers(part, workers, resumable, "exponents")
        spectrum = LyapunovSpectrum(
            **_gathered(workers, part, settle, every),
            qr_every=every,
            provenance=part.provenance(direction_seed=part.seed),
        )
        warn_interval(spectrum, sum(worker.again for worker in workers) / part.batch)
        return spectrum

    return by_length(problem, measure_group, _join)


def estimate(
    problem: Problem,
    *,
    k: int | None = None,
    transient: int | None = None,
    qr_every: int | None = None,
    checks: bool = True,
) -> MemoryEstimate:
    """Estimate what a call of `lyapunov_spectrum` with these arguments takes."""
    problem = problem.astype(np.float64)
    starts = _start(problem, k)
    settle = settling(transient, problem.steps)
    every = 1 if qr_every is None else check_count("qr_every", qr_every)
    return _estimate(problem, tangent_workers(problem, *starts, settle, every, checks=checks))


def _estimate(problem: Problem, workers: list[TangentWorker]) -> MemoryEstimate:
    """Return what workers take: each has its own states and directions, whether it is at work or waits."""
    parts: dict[str, int] = {}
    for worker in workers:
        for name, size in worker.bytes().items():
            parts[name] = parts.get(name, 0) + size
    if problem.series.memory_bytes:
        parts["inputs as they are read"] = problem.series.memory_bytes
    title = (
        f"{counted(workers[0].sums.shape[1], 'exponent')} of {problem.cell.name} with "
        f"{counted(problem.params.hidden_size, 'unit')}, {counted(problem.steps, 'step')} in "
        f"{counted(len(workers), 'chunk')}"
    )
    saturated = sum(worker.derivative_bytes for worker in workers)
    return MemoryEstimate(title=title, parts=parts, if_saturated=saturated)


def _start(problem: Problem, k: Any) -> tuple[Array, Array]:
    """Return the directions (k, S, H) to start with, and others that they are compared with."""
    shape = problem.initial_state.shape[1:]
    count = _whole_state(problem.cell, problem.params, k)
    directions, rivals = start_directions(problem.seed, count, shape[0] * shape[1])
    return directions.reshape(-1, *shape), rivals.reshape(-1, *shape)


def _whole_state(cell: Cell, params: Params, k: Any) -> int:
    """Return how many of the whole state's exponents are asked for."""
    units, size = params.hidden_size, len(cell.states) * params.hidden_size
    advice = f"the whole state of {cell.name!r} has {size}, {units} units of {', '.join(cell.states)}"
    return exponent_count(k, size, advice)


def _join(groups: list[Array], spectra: list[LyapunovSpectrum]) -> LyapunovSpectrum:
    """Return the spectra of groups of sequences, each of one length, as one; the last group is the longest."""
    fields: dict[str, Any] = {
        name: in_batch_order(groups, [getattr(s, name) for s in spectra]) for name in BATCHED
    }
    own = [each_sequence(groups, spectra, name) for name in ("transient", "qr_every", "steps")]
    fields["by_sequence"] = np.stack(own, axis=1)
    return dataclasses.replace(join_lags(groups, spectra, {"running": 1}, lag="running_step"), **fields)


def _gathered(workers: list[TangentWorker], problem: Problem, settle: int, every: int) -> dict[str, Any]:
    """Return what of a LyapunovSpectrum follows from what the workers of all sequences counted."""
    bins, count = workers[0].sums.shape
    batch, ends = problem.batch, bin_ends(problem.steps - settle, every)
    sums, unsettled = np.zeros((bins, batch, count)), np.zeros((batch, count))
    sine, rounding, moved = np.ones(batch), np.zeros(batch), np.zeros(batch, np.bool_)
    checked = np.full((4, batch), np.nan)
    for worker in workers:
        b = worker.sequence
        sums[:, b] += worker.sums
        unsettled[b] += worker.unsettled
        sine[b] = min(sine[b], worker.sine)
        rounding[b] += worker.rounding
        moved[b] |= worker.moved
    for b in range(batch):
        checked[:2, b] = mean_rates([worker.determinant for worker in workers if worker.sequence == b])
        checked[2:, b] = mean_rates([worker.perturbation for worker in workers if worker.sequence == b])
    return {
        **spectrum_fields(sums, ends, unsettled, settle, problem.initial_state[0].size),
        **dict(zip(CHECKS, checked, strict=True)),
        "cell": problem.cell.name,
        "smallest_sine": sine,
        "rounding": rounding / ends[-1],
        "moved": moved,
    }
