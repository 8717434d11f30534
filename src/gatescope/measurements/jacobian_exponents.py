"""Lyapunov exponents of any system whose Jacobians along an orbit are known, and what every spectrum is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gatescope.checks.arrays import check_array
from gatescope.checks.numbers import check_count
from gatescope.datatypes import Array
from gatescope.datatypes.lyapunov_sentences import ROUNDED
from gatescope.datatypes.lyapunov_spectrum import EXACT, LyapunovSpectrum
from gatescope.errors import ShapeError, ValueRangeError, warn_accuracy
from gatescope.kernels.cpu.jacobian_product import carry_directions
from gatescope.measurements.exponent_errors import (
    batch_means_error,
    between_cuts,
    misalignment,
    start_error,
    unsettled_nats,
)
from gatescope.measurements.tangent_sweep import bin_ends
from gatescope.reporting.text import counted
from gatescope.storage.provenance import provenance

CHECKS = ("log_det", "log_det_sum", "perturbation", "perturbation_reference")
_DEFAULT_TRANSIENT = 200
_PIECE_BYTES = 1 << 26  # of Jacobians at a time


def lyapunov_of_jacobians(
    jacobians: Any, *, k: int | None = None, transient: int = 0, qr_every: int = 1, seed: int = 0
) -> LyapunovSpectrum:
    """Measure the Lyapunov exponents of any system whose Jacobians along an orbit are given, without a cell.

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

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> spectrum = gs.lyapunov_of_jacobians(np.repeat(np.diag([0.5, 2.0])[None], 100, axis=0), transient=50)
    >>> np.exp(spectrum.exponents[0]).round(6).tolist()
    [2.0, 0.5]
    """
    matrices = check_array("jacobians", jacobians, np.dtype(np.float64))
    if matrices.ndim != 3 or matrices.shape[1] != matrices.shape[2] or 0 in matrices.shape:
        raise ShapeError("should have (T, n, n)", argument="jacobians", seen=matrices.shape)
    steps, size, _ = matrices.shape
    return spectrum_along(
        lambda _, begin, end: matrices[begin:end],
        (steps, 1, size),
        k=k,
        advice=f"`jacobians` of {size} x {size} have {size}",
        transient=check_count("transient", transient, least=0),
        qr_every=qr_every,
        seed=seed,
        provenance=provenance(direction_seed=seed),
    )


def spectrum_along(
    jacobians: Callable[[int, int, int], Array],
    sizes: tuple[int, int, int],
    *,
    k: Any,
    advice: str,
    transient: Any,
    qr_every: Any,
    seed: Any,
    **fields: Any,
) -> LyapunovSpectrum:
    """Return the exponents of orbits, without checks.

    Parameters
    ----------
    jacobians : callable
        Returns those (N, n, n) of a sequence, from a step to another.
    sizes : (int, int, int)
        Steps, sequences, and n.
    k, transient, qr_every, seed
        As for `lyapunov_of_jacobians`; `advice` says how many exponents there are.
    **fields
        Of the spectrum.
    """
    steps, batch, size = sizes
    count = exponent_count(k, size, advice)
    settle = settling(transient, steps)
    every = min(check_count("qr_every", qr_every), steps - settle)
    start = start_directions(check_count("seed", seed, least=0), count, size)
    ends = bin_ends(steps - settle, every)
    sums, unsettled = np.zeros((len(ends), batch, count)), np.zeros((batch, count))
    sines, rounding, repeated = np.ones(batch), np.zeros(batch), 0

    def carried(sequence: int, begin: int, end: int, directions: Array) -> tuple[Array, Array]:
        """Return the logs between orthonormalizations, and the directions at the end."""
        nonlocal repeated
        logs = []
        piece = max(1, _PIECE_BYTES // (8 * size * size * every)) * every
        for first in range(begin, end, piece):
            turned = jacobians(sequence, first, min(end, first + piece)).transpose(0, 2, 1)
            grown, directions, sine, lost, again = carry_directions(turned, directions, every)
            logs.append(grown)
            if begin >= settle:
                sines[sequence] = min(sines[sequence], sine)
                rounding[sequence] += lost
                repeated += again
        return np.concatenate(logs) if logs else np.zeros((0, len(directions))), directions

    for b in range(batch):
        _, directions = carried(b, 0, settle, start[0])
        grown, rivals = carried(b, 0, settle, start[1])
        unsettled[b] = unsettled_nats(misalignment(directions, rivals[:count]), grown.sum(axis=0), size)
        logs, _ = carried(b, settle, steps, directions)
        sums[:, b] = np.add.reduceat(logs, np.concatenate([[0], -(-ends[:-1] // every)]), axis=0)
    unchecked: dict[str, Any] = dict.fromkeys(CHECKS, np.full(batch, np.nan))
    spectrum = LyapunovSpectrum(
        **spectrum_fields(sums, ends, unsettled, settle, size),
        smallest_sine=sines,
        rounding=rounding / ends[-1],
        **unchecked,
        qr_every=every,
        **{"cell": "", **fields},
    )
    warn_interval(spectrum, repeated / batch)
    return spectrum


def exponent_count(k: Any, size: int, advice: str) -> int:
    """Return how many exponents are asked for, of so many there are."""
    count = size if k is None else check_count("k", k)
    if count > size:
        raise ValueRangeError("is more exponents than there are", argument="k", seen=k, advice=advice)
    return count


def start_directions(seed: int, count: int, size: int) -> tuple[Array, Array]:
    """Return random orthonormal directions (count, size), and others, one more of them if there are more."""
    rng = np.random.default_rng(seed)
    drawn = (rng.standard_normal((number, size)) for number in (count, min(count + 1, size)))
    one, other = (np.ascontiguousarray(np.linalg.qr(each.T)[0].T) for each in drawn)
    return one, other


def warn_interval(spectrum: LyapunovSpectrum, again: float) -> None:
    """Warn where the interval between orthonormalizations was too long: for the last exponents, or for speed."""
    every, why = spectrum.qr_every, ""
    if spectrum.rounding.max() > ROUNDED and every > 1:
        why = f"rounding may have put {spectrum.rounding.max():.2g} nats per step into the last exponents"
    elif again * every > spectrum.steps / 2:
        why = "most intervals had to be done again step by step, which is right, but slow"
    if why:
        warn_accuracy(
            f"directions all but coincide between orthonormalizations: {why}; give a qr_every below {every}"
        )


def settling(transient: Any, steps: int) -> int:
    if transient is None:
        return min(_DEFAULT_TRANSIENT, steps // 10)
    settle = check_count("transient", transient, least=0)
    if settle >= steps:
        raise ValueRangeError(
            f"leaves nothing to measure of {counted(steps, 'step')}",
            argument="transient",
            seen=transient,
            advice="give a shorter one, or longer `inputs`",
        )
    return settle


def spectrum_fields(sums: Array, ends: Array, unsettled: Array, transient: int, size: int) -> dict[str, Any]:
    """Return what of a LyapunovSpectrum follows from the sums of its bins, and how unsettled (B, k) directions were."""
    steps = int(ends[-1])
    running = np.cumsum(sums, axis=0) / ends[:, None, None]
    order = np.argsort(-running[-1], axis=1, kind="stable")
    start = start_error(unsettled, steps)
    rounded = EXACT * (1 + np.where(np.isfinite(running[-1]), np.abs(running[-1]), 0.0))
    error = np.hypot(np.hypot(batch_means_error(sums, np.diff(ends, prepend=0)), start), rounded)
    between = between_cuts(sums, np.diff(ends, prepend=0))
    return {
        **{name: np.take_along_axis(value, order, 1) for name, value in between.items()},
        "exponents": np.take_along_axis(running[-1], order, 1),
        "error": np.take_along_axis(error, order, 1),
        "start_error": np.take_along_axis(start, order, 1),
        "running": np.take_along_axis(running, order[None], 2),
        "running_step": ends,
        "transient": transient,
        "steps": steps,
        "size": size,
    }
