"""Half-lives of the gradient, by the adjoint's slope, by the leading exponent and by the memory gate."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gatescope.cells.linearization import direct_factors
from gatescope.cells.memory_gate import MemoryGate, memory_gate
from gatescope.cells.registry import Cell
from gatescope.checks.numbers import check_count
from gatescope.datatypes import Array, GradientFlow, Params
from gatescope.datatypes.half_life import HalfLife
from gatescope.errors import ValueRangeError
from gatescope.measurements import gradient_flow, lyapunov_spectrum
from gatescope.measurements.problem import Problem, by_length, in_batch_order, prepare
from gatescope.measurements.selection import blocks_of, each_sequence, evenly
from gatescope.reporting.text import counted

_BLOCKS = 20  # of time, for standard errors
_LAGS = 2000  # that the adjoint's line goes through
_PIECE_BYTES = 1 << 24  # of states and gates at a time
_LEAST = 10  # steps: fewer make no line


def half_life(
    params: Params,
    inputs: Any,
    *,
    of: str = "joint",
    transient: int | None = None,
    lengths: Any = None,
    initial_state: Any = None,
    clamp: Any = None,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = False,
) -> HalfLife:
    """Measure the half-life of the gradient in steps, by three estimators that need not agree.

    ==============  ==============================================================================================
    estimate        rate in nats per step; half-life = ln 2 / rate, in steps
    ==============  ==============================================================================================
    by_adjoint      minus the slope of ln || v d of_T / d s_(T-lag) || against the lag, v a random direction
    by_exponent     -lambda_1, minus the leading Lyapunov exponent of the whole state
    by_gate         -<ln f_u> for each unit u: the geometric mean over time of what its state keeps of itself, which
                    is f for an LSTM's c and z for a GRU's h
    ==============  ==============================================================================================

    The gate's estimate leaves out every path through the recurrent weights; without those weights all three are one.
    The network's estimate by the gate is that of its slowest unit.  A unit whose gate is constant has the half-life
    ln 2 / -ln f and the time scale 1 / (1 - f), which for a forget gate of bias b alone is 1 + e^b exactly: a bias of
    5 means 149.4 steps, and a half-life of 103.2.

    All three look at the same steps: those after the transient.  The run is recomputed piece by piece, so that
    memory grows with the square root of T at most.

    Parameters
    ----------
    params : Params
        In float32, ln f is uncertain by 6e-8 nats where f is near 1, so half-lives above 10^6 steps need float64.
    inputs
        As for `gradient_flow`; at least 10 steps more than the transient.
    of : str
        What is differentiated by the adjoint: a state of the cell or ``"joint"``, all of them together.
    transient : int, optional
        Steps at the beginning that are left out.  Default: a tenth of each sequence.  It should be several half-lives
        long: so long do tangents take to turn into the leading direction.
    lengths, initial_state, clamp, seed, threads, progress
        As for `gradient_flow`; the seed is that of the first tangent direction, too.

    Returns
    -------
    HalfLife
        ``summary()`` says it in words.  By gate it is NaN for a cell that has no such gate (an RNN).

    References
    ----------
    .. [1] C. Tallec and Y. Ollivier, "Can recurrent neural networks warp time?", ICLR 2018, section 2.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("lstm", input_size=1, hidden_size=8, seed=0, scheme="chrono(100)", dtype="float64")
    >>> inputs = np.random.default_rng(0).standard_normal((500, 1))
    >>> life = gs.half_life(params, inputs)
    >>> life.gate, life.by_gate.shape, life.by_exponent.shape
    ('f', (1, 8), (1,))
    """
    with prepare(
        params,
        inputs,
        lengths,
        initial_state,
        clamp,
        seed=seed,
        threads=threads,
        progress=progress,
        check=lambda cell, _: blocks_of("of", cell, of),
    ) as problem:
        return measure(problem, of=of, transient=transient)


def measure(problem: Problem, *, of: str = "joint", transient: int | None = None) -> HalfLife:
    """Do the work of `half_life`, whose arguments these are."""
    return by_length(problem, lambda part: _measure_group(part, of, transient), _join)


def _measure_group(problem: Problem, of: str, transient: int | None) -> HalfLife:
    """Measure sequences of one length."""
    gate = memory_gate(problem.cell)
    skipped = check_transient(transient, problem.steps)
    gate_rate, gate_error = _gate_rates(problem, gate, skipped)
    spectrum = lyapunov_spectrum.measure(problem, k=1, transient=skipped, checks=False)
    flow = gradient_flow.measure(problem, of=of, wrt="joint", lags=evenly(problem.steps - skipped, _LAGS))
    adjoint_rate, adjoint_error, r_squared = slope(flow)
    return HalfLife.from_rates(
        cell=problem.cell.name,
        gate=gate.name,
        gate_rate=gate_rate,
        gate_error=gate_error,
        adjoint_rate=adjoint_rate,
        adjoint_error=adjoint_error,
        exponent_rate=-spectrum.exponents[:, 0],
        exponent_error=spectrum.error[:, 0],
        r_squared=r_squared,
        steps=problem.steps,
        transient=skipped,
        provenance=problem.provenance(direction_seed=problem.seed),
    )


def _join(groups: list[Array], lives: list[HalfLife]) -> HalfLife:
    fields: dict[str, Any] = {
        name: in_batch_order(groups, [life.arrays()[name] for life in lives]) for name in lives[0].arrays()
    }
    for name, own in (("lengths", "steps"), ("transients", "transient")):
        fields[name] = each_sequence(groups, lives, own)
    return dataclasses.replace(lives[-1], **fields)


def check_transient(transient: Any, steps: int) -> int:
    """Return the steps to leave out at the beginning, so that enough are left to measure on."""
    skipped = steps // 10 if transient is None else check_count("transient", transient, least=0)
    if steps - skipped < _LEAST:
        raise ValueRangeError(
            f"leaves {steps - skipped} of {counted(steps, 'step')}",
            argument="transient",
            seen=transient,
            advice=f"at least {_LEAST} are needed",
        )
    return skipped


def slope(flow: GradientFlow) -> tuple[Array, Array, Array]:
    """Return the decay rate of each sequence of a flow, its standard error over blocks of lags, and R^2.

    A gradient that becomes exactly zero decays at an infinite rate.
    """
    fit = flow.decay_rate()
    rate, error = fit.value.copy(), np.full(fit.value.shape, np.nan)
    inside = np.flatnonzero((flow.lag >= fit.fit_range[0]) & (flow.lag <= fit.fit_range[1]))
    edges = np.unique(inside[np.linspace(0, inside.size - 1, _BLOCKS + 1).astype(int)])
    with np.errstate(invalid="ignore"):  # -inf - -inf: of a sequence whose gradient is 0
        blocks = -np.diff(flow.log_norm[edges], axis=0) / np.diff(flow.lag[edges])[:, None]
    if len(blocks) > 2:
        error[:] = standard_error(np.where(np.isfinite(blocks), blocks, np.nan))
    gone = np.isneginf(flow.log_norm[-1])
    rate[gone], error[gone] = np.inf, np.nan
    return rate, error, np.where(gone, np.nan, fit.r_squared)


def standard_error(blocks: Array) -> Array:
    """Return the standard error of the mean over axis 0; the values are taken for independent."""
    return np.asarray(np.std(blocks, axis=0, ddof=1) / np.sqrt(len(blocks)))


def _gate_rates(problem: Problem, gate: MemoryGate, skipped: int) -> tuple[Array, Array]:
    """Return each unit's -<ln fraction kept> over the steps after the transient, and its standard error, (B, H)."""
    cell, units = problem.cell, problem.params.hidden_size
    measured = problem.steps - skipped
    step_bytes = problem.batch * units * (len(cell.states) + len(cell.saved)) * problem.params.dtype.itemsize
    # Block k is what lies between marks k and k + 1; the transient comes first and does not count.
    marks = skipped + np.linspace(0, measured, min(_BLOCKS, measured) + 1).round().astype(int)
    sums = np.zeros((len(marks) - 1, problem.batch, units))
    pieces = problem.forward(marks.tolist(), max(1, _PIECE_BYTES // step_bytes))
    with (
        problem.bar(problem.steps, "gates") as bar,
        np.errstate(divide="ignore"),  # a gate that is exactly 0 keeps nothing: ln 0
    ):
        for begin, states, gates in pieces:
            if begin >= skipped and gate.state is not None:
                block = int(np.searchsorted(marks, begin, side="right")) - 1
                sums[block] += np.log(np.abs(_fractions(cell, gate, states, gates))).sum(axis=0)
            bar.update(len(gates))
    if gate.state is None:
        return np.full((problem.batch, units), np.nan), np.full((problem.batch, units), np.nan)
    rate = -sums.sum(axis=0) / measured
    finite = np.isfinite(sums).all(axis=0)
    blocks = -np.where(finite, sums, np.nan) / np.diff(marks)[:, None, None]
    return rate + 0.0, standard_error(blocks)


def _fractions(cell: Cell, gate: MemoryGate, states: Array, gates: Array) -> Array:
    """Return what the memory state keeps of itself, (steps, B, H) float64."""
    if gate.saved is not None:
        return np.asarray(gates[:, :, gate.saved], np.float64)
    return np.asarray(direct_factors(cell, gates, states[:-1], states[1:])[:, :, gate.state])
