"""Half-lives of the gradient, by the adjoint's slope, by the leading exponent and by the memory gate."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from gatescope.cells.linearization import highway
from gatescope.cells.memory_gate import MemoryGate, memory_gate
from gatescope.cells.registry import Cell
from gatescope.checks.network import check_initial_state, check_params
from gatescope.checks.numbers import check_count, check_threads
from gatescope.datatypes import Array, GradientFlow, Params
from gatescope.datatypes.half_life import HalfLife
from gatescope.errors import ValueRangeError
from gatescope.kernels.cpu import sweeps
from gatescope.kernels.device import device_for
from gatescope.measurements.gradient_flow import gradient_flow
from gatescope.measurements.lyapunov_spectrum import lyapunov_spectrum
from gatescope.recurrence.clamping import clamp as clamp_params
from gatescope.recurrence.clamping import clamp_facts
from gatescope.recurrence.finite import check_states
from gatescope.recurrence.input_stream import Series, open_series
from gatescope.storage.provenance import provenance

_BLOCKS = 20  # of time, for standard errors
_LAGS = 2000  # that the adjoint's line goes through
_PIECE_BYTES = 1 << 24  # of states and gates at a time
_LEAST = 10  # steps: fewer make no line


def half_life(
    params: Params,
    inputs: Any,
    *,
    target: str = "joint",
    transient: int | None = None,
    seed: int = 0,
    initial_state: Any = None,
    clamp: Any = None,
    threads: int | None = None,
    progress: bool = False,
) -> HalfLife:
    """Half-life of the gradient in steps, by three estimators that need not agree.

    ==============  ==============================================================================================
    estimate        rate in nats per step; half-life = ln 2 / rate, in steps
    ==============  ==============================================================================================
    by_adjoint      minus the slope of ln || v d target_T / d s_(T-lag) || against the lag, v a random direction
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
    inputs : (T, B, I) or (T, I) array_like, numpy.memmap or iterator
        As for `gradient_flow`: a file or a generator is read piece by piece.  At least 10 steps more than the
        transient.
    target : str
        What is differentiated by the adjoint: a state of the cell or ``"joint"``, all of them together.
    transient : int, optional
        Steps at the beginning that are left out.  Default: a tenth of T.  It should be several half-lives long: so
        long do tangents take to turn into the leading direction.
    seed : int
        Of the adjoint's direction and of the first tangent direction.
    initial_state : (B, S, H) array_like, optional
    clamp : mapping, optional
        Gates to hold at values, as for `run`: ``{"f": 1.0}``.
    threads : int, optional
    progress : bool
        Show progress bars on stderr.

    Returns
    -------
    HalfLife
        ``summary()`` says it in words.  By gate it is NaN for a cell that has no such gate (an RNN).

    Raises
    ------
    ShapeError, DtypeError, ValueRangeError, UnknownNameError
        If an argument does not fit, or the states leave the range of floating point.

    References
    ----------
    .. [1] C. Tallec and Y. Ollivier, "Can recurrent neural networks warp time?", ICLR 2018, section 2.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> from gatescope.measurements.half_life import half_life
    >>> params = gs.init("lstm", input_size=1, hidden_size=8, seed=0, scheme="chrono(100)", dtype="float64")
    >>> inputs = np.random.default_rng(0).standard_normal((500, 1))
    >>> life = half_life(params, inputs)
    >>> life.gate, life.by_gate.shape, life.by_exponent.shape
    ('f', (1, 8), (1,))
    """
    params = clamp_params(params, clamp)
    cell = check_params(params)
    seed = check_count("seed", seed, least=0)
    workers = check_threads(threads, sweeps.default_threads())
    memory = memory_gate(cell)
    with open_series(inputs, params) as series:
        steps = series.steps
        start = check_initial_state(initial_state, cell, params, series.batch)
        skipped = check_transient(transient, steps)
        gate_rate, gate_error = _gate_rates(params, cell, memory, series, start, skipped, workers, progress)
        spectrum = lyapunov_spectrum(
            params,
            series,
            1,
            skipped,
            initial_state=start,
            seed=seed,
            checks=False,
            threads=workers,
            progress=progress,
        )
        reach = steps - skipped
        flow = gradient_flow(
            params,
            series,
            state="joint",
            target=target,
            seed=seed,
            lags=np.unique(np.linspace(0, reach, min(reach, _LAGS) + 1).round().astype(np.int64)),
            initial_state=start,
            threads=workers,
            progress=progress,
        )
    adjoint_rate, adjoint_error, r_squared = slope(flow)
    return HalfLife.from_rates(
        cell=cell.name,
        gate=memory.name,
        gate_rate=gate_rate,
        gate_error=gate_error,
        adjoint_rate=adjoint_rate,
        adjoint_error=adjoint_error,
        exponent_rate=-spectrum.exponents[:, 0],
        exponent_error=spectrum.error[:, 0],
        r_squared=r_squared,
        steps=steps,
        transient=skipped,
        provenance=provenance(
            device="cpu",
            dtype=params.dtype.name,
            seed=params.provenance.get("seed"),
            direction_seed=seed,
            **clamp_facts(params, clamp),
        ),
    )


def check_transient(transient: Any, steps: int) -> int:
    """Steps to leave out at the beginning, so that enough are left to measure on."""
    skipped = steps // 10 if transient is None else check_count("transient", transient, least=0)
    if steps - skipped < _LEAST:
        raise ValueRangeError(
            f"transient={transient!r} leaves {steps - skipped} of the {steps} steps of inputs; "
            f"at least {_LEAST} are needed"
        )
    return skipped


def slope(flow: GradientFlow) -> tuple[Array, Array, Array]:
    """Decay rate of each sequence of a flow with its standard error over blocks of lags, and R^2.

    A gradient that becomes exactly zero decays at an infinite rate.
    """
    fit = flow.decay_rate()
    rate, error = fit.value.copy(), np.full(fit.value.shape, np.nan)
    inside = np.flatnonzero((flow.lag >= fit.window[0]) & (flow.lag <= fit.window[1]))
    edges = np.unique(inside[np.linspace(0, inside.size - 1, _BLOCKS + 1).astype(int)])
    with np.errstate(invalid="ignore"):  # -inf - -inf: of a sequence whose gradient is 0
        blocks = -np.diff(flow.log_norm[edges], axis=0) / np.diff(flow.lag[edges])[:, None]
    if len(blocks) > 2:
        error[:] = standard_error(np.where(np.isfinite(blocks), blocks, np.nan))
    gone = np.isneginf(flow.log_norm[-1])
    rate[gone], error[gone] = np.inf, np.nan
    return rate, error, np.where(gone, np.nan, fit.r_squared)


def standard_error(blocks: Array) -> Array:
    """Standard error of the mean over axis 0; the values are taken for independent."""
    return np.asarray(np.std(blocks, axis=0, ddof=1) / np.sqrt(len(blocks)))


def _gate_rates(
    params: Params,
    cell: Cell,
    memory: MemoryGate,
    series: Series,
    start: Array | None,
    skipped: int,
    workers: int,
    progress: bool,
) -> tuple[Array, Array]:
    """-<ln share> of each unit over the steps after the transient, and its standard error, both (B, H)."""
    steps, batch = series.steps, series.batch
    units = params.hidden_size
    machine = device_for("cpu", cell, params, batch, workers)
    step_bytes = batch * units * (len(cell.states) + len(cell.saved)) * params.dtype.itemsize
    longest = min(steps, max(1, _PIECE_BYTES // step_bytes))
    states, gates = machine.room(longest)
    state = np.zeros((batch, len(cell.states), units), params.dtype) if start is None else start
    # Block k is what lies between marks k and k + 1; the transient comes first and is not kept.
    marks = skipped + np.linspace(0, steps - skipped, min(_BLOCKS, steps - skipped) + 1).round().astype(int)
    sums = np.zeros((len(marks) - 1, batch, units))
    bar = tqdm(total=steps, unit="step", desc=f"gates ({cell.name})", disable=None if progress else True)
    with bar, np.errstate(divide="ignore"):  # a gate that is exactly 0 keeps nothing: ln 0
        for begin, end, block in _pieces(skipped, marks, longest):
            here, kept = states[: end - begin + 1], gates[: end - begin]
            machine.forward(series.read(begin, end), state, here, kept)
            state = machine.last(here)
            check_states(here, begin)
            if block is not None and memory.state is not None:
                sums[block] += np.log(np.abs(_shares(cell, memory, here, kept))).sum(axis=0)
            bar.update(end - begin)
    if memory.state is None:
        return np.full((batch, units), np.nan), np.full((batch, units), np.nan)
    rate = -sums.sum(axis=0) / (steps - skipped)
    finite = np.isfinite(sums).all(axis=0)
    blocks = -np.where(finite, sums, np.nan) / np.diff(marks)[:, None, None]
    return rate + 0.0, standard_error(blocks)


def _pieces(skipped: int, marks: Array, longest: int) -> list[tuple[int, int, int | None]]:
    """First step, last step (excluded) and block of each piece, in order; the transient has no block."""
    spans: list[tuple[int, int, int | None]] = [(0, skipped, None)]
    spans += [(int(a), int(b), k) for k, (a, b) in enumerate(pairwise(marks))]
    return [
        (at, min(at + longest, end), block)
        for begin, end, block in spans
        for at in range(begin, end, longest)
    ]


def _shares(cell: Cell, memory: MemoryGate, states: Array, gates: Array) -> Array:
    """(steps, B, H) float64: what the state that is remembered keeps of itself."""
    if memory.saved is not None:
        return np.asarray(gates[:, :, memory.saved], np.float64)
    return np.asarray(highway(cell, gates, states[:-1], states[1:])[:, :, memory.state])
