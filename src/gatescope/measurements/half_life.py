"""Half-lives of the gradient, by the adjoint's slope, by the leading exponent and by the memory gate."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from gatescope.cells.linearization import direct_factors
from gatescope.cells.memory_gate import MemoryGate, memory_gate
from gatescope.cells.registry import Cell
from gatescope.checks.network import as_stack
from gatescope.checks.numbers import check_count
from gatescope.datatypes import Array, Bidirectional, GradientFlow, Params, Stack
from gatescope.datatypes.half_life import HalfLife
from gatescope.datatypes.half_life_by_layer import HalfLifeByLayer
from gatescope.datatypes.lyapunov_spectrum import EXACT
from gatescope.errors import ValueRangeError
from gatescope.measurements import gradient_flow, lyapunov_spectrum
from gatescope.measurements.each_layer import OfStacksToo, one_way, problems
from gatescope.measurements.exponent_errors import between_cuts
from gatescope.measurements.finer import is_finest, recomputed
from gatescope.measurements.problem import Problem, by_length, in_batch_order
from gatescope.measurements.selection import blocks_of, by_factors, each_sequence, evenly
from gatescope.recurrence.exact_steps import TooSmallError
from gatescope.reporting.text import counted

_BLOCKS = 20  # of time, for standard errors
_LAGS = 2000  # that the adjoint's line goes through
_CLOSE_LAGS = 400  # of those before, so that they are within 3 % up to a million steps
_PIECE_BYTES = 1 << 24  # of states and gates at a time
_LEAST = 10  # steps: fewer make no line
_ROUNDINGS = 4  # of a float, nats per step: a rate below it is 0 but for rounding


@OfStacksToo(HalfLife, HalfLifeByLayer)
def half_life(
    params: Params | Stack | Bidirectional,
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
) -> HalfLife | HalfLifeByLayer:
    """Measure the half-life of the gradient in steps, by three estimators that need not agree.

    ==============  ==============================================================================================
    estimate        rate in nats per step; half-life = ln 2 / rate, in steps
    ==============  ==============================================================================================
    by_adjoint      minus the slope of ln || v d of_T / d s_(T-lag) || against the lag, v a random direction
    by_exponent     -lambda_1, minus the leading Lyapunov exponent of the whole state
    by_gate         -<ln f_u> for each unit u: the geometric mean over time of what its state keeps of itself, which
                    is f for an LSTM's c and z for a GRU's h
    ==============  ==============================================================================================

    These are asymptotic: half-lives of a tail.  ``steps_to_half`` is read off the adjoint's curve itself: from which
    lag on half of the gradient is really gone.

    The gate's estimate leaves out every path through the recurrent weights; without those weights all three are one.
    The network's estimate by the gate is that of its slowest unit.  A unit whose gate is constant has the half-life
    ln 2 / -ln f and the time scale 1 / (1 - f), which for a forget gate of bias b alone is 1 + e^b exactly: a bias of
    5 means 149.4 steps, and a half-life of 103.2.

    All three look at the same steps: those after the transient.  The run is recomputed piece by piece, so that
    memory grows with the square root of T at most.

    Where one step, or a few, cut the memory (a relu network all of whose units are shut, a forget gate at 0), the
    estimates are those of the run before and after it, and the result says which step that is.

    Of a stack each layer and direction is measured on what it really receives, and, where all go one way, the whole:
    its joint state, whose leading exponent is that of the layer that remembers longest (see `lyapunov_spectrum`), and
    its adjoint, which goes through all layers in time and depth.

    Parameters
    ----------
    params : Params, Stack or Bidirectional
        In float32, ln f is uncertain by 6e-8 nats where f is near 1, so half-lives above 10^6 steps need float64.
    inputs
        As for `gradient_flow`; at least 10 steps more than the transient.
    of : str
        What is differentiated by the adjoint: a state of the cell or ``"joint"``, all of them together.
    transient : int, optional
        Steps at the beginning that are left out.  Default: a tenth of each sequence.  It should be several half-lives
        long: so long do tangents take to turn into the leading direction.
    lengths, initial_state, clamp, seed, threads, progress
        As for `gradient_flow`; the seed is that of the first tangent direction, too.  Of a stack the initial state is
        given by layer, ``{"layers.1": ...}``, and clamps by layer and gate, ``{"layers.1.f": 1.0}``.

    Returns
    -------
    HalfLife or HalfLifeByLayer
        ``summary()`` says it in words.  By gate it is NaN for a cell that has no such gate (an RNN).  Of a stack of
        several layers, or directions, a `HalfLifeByLayer`.

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
    parts = problems(
        params,
        inputs,
        lengths,
        initial_state,
        clamp,
        lambda problem: measure(problem, of=of, transient=transient),
        seed=seed,
        threads=threads,
        progress=progress,
        check=lambda cell, _: blocks_of("of", cell, of),
    )
    if isinstance(params, Params):
        return parts["layers.0"]
    lives = tuple(parts.values())
    whole = _joint(as_stack(params), lives) if one_way(as_stack(params)) else None
    return HalfLifeByLayer(names=tuple(parts), results=lives, whole=whole, provenance=lives[0].provenance)


def _joint(stack: Stack, lives: tuple[HalfLife, ...]) -> HalfLife:
    """Return the half-life of the joint state of a stack that goes one way, from those of its layers."""
    rates = np.array([life.exponent_rate for life in lives])
    slowest = np.argmin(np.where(np.isnan(rates), np.inf, rates), axis=0)
    row = np.arange(slowest.size)
    gated = [life for life in lives if not np.isnan(life.gate_rate).all()] or lives
    return dataclasses.replace(
        HalfLife.from_rates(
            cell=" on ".join(reversed(stack.cells)),
            gate="",
            gate_rate=np.concatenate([life.gate_rate for life in gated], axis=1),
            gate_error=np.concatenate([life.gate_error for life in gated], axis=1),
            adjoint_rate=np.full(row.size, np.nan),
            adjoint_error=np.full(row.size, np.nan),
            r_squared=np.full(row.size, np.nan),
            exponent_rate=rates[slowest, row],
            exponent_error=np.array([life.exponent_error for life in lives])[slowest, row],
            exponent_doubt=tuple(lives[k].exponent_doubt[b] for b, k in enumerate(slowest)),
            moved=np.any([np.asarray(life.moved) for life in lives], axis=0),
            steps=lives[0].steps,
            transient=lives[0].transient,
            lengths=lives[0].lengths,
            transients=lives[0].transients,
        ),
        provenance=lives[0].provenance,
    )


def measure(problem: Problem, *, of: str = "joint", transient: int | None = None) -> HalfLife:
    """Do the work of `half_life`, whose arguments these are."""
    return by_length(problem, lambda part: _measure_group(part, of, transient), _join)


def _measure_group(problem: Problem, of: str, transient: int | None) -> HalfLife:
    """Measure sequences of one length."""
    gate = memory_gate(problem.cell)
    skipped = check_transient(transient, problem.steps)
    spectrum = lyapunov_spectrum.measure(problem, k=1, transient=skipped, checks=False)
    flow = gradient_flow.measure(problem, of=of, wrt="joint", lags=adjoint_lags(problem.steps - skipped))
    assert spectrum.cuts is not None
    assert spectrum.between is not None
    assert spectrum.between_error is not None
    cut = spectrum.cuts[:, 0] > 0
    gate_rate, gate_error = _gate_rates(problem, gate, skipped, cut)
    adjoint = _adjoint(problem, flow, of, skipped, cut)
    rounding = _ROUNDINGS * float(np.finfo(problem.params.dtype).eps)
    return HalfLife.from_rates(
        cell=problem.cell.name,
        gate=gate.name,
        gate_rate=without_rounding(gate_rate, rounding),
        gate_error=gate_error,
        adjoint_rate=without_rounding(adjoint.rate, rounding),
        adjoint_error=adjoint.error,
        exponent_rate=without_rounding(
            -np.where(cut, spectrum.between[:, 0], spectrum.exponents[:, 0]), EXACT
        ),
        exponent_error=np.where(cut, spectrum.between_error[:, 0], spectrum.error[:, 0]),
        r_squared=adjoint.r_squared,
        steps=problem.steps,
        transient=skipped,
        steps_to_half=flow.steps_to_half(),
        cut_step=adjoint.cut_step,
        moved=spectrum.moved,
        adjoint_doubt=adjoint.doubt,
        exponent_doubt=tuple("" if c else d for c, d in zip(cut, spectrum.doubts(), strict=True)),
        provenance=problem.provenance(direction_seed=problem.seed, **recomputed(flow.provenance)),
    )


def _join(groups: list[Array], lives: list[HalfLife]) -> HalfLife:
    fields: dict[str, Any] = {
        name: in_batch_order(groups, [life.arrays()[name] for life in lives]) for name in lives[0].arrays()
    }
    order = np.argsort(np.concatenate(groups))
    for name in ("adjoint_doubt", "exponent_doubt"):
        texts = [text for life in lives for text in getattr(life, name)]
        fields[name] = tuple(texts[k] for k in order)
    for name, own in (("lengths", "steps"), ("transients", "transient")):
        fields[name] = each_sequence(groups, lives, own)
    return dataclasses.replace(lives[-1], **fields)


def adjoint_lags(longest: int) -> Array:
    """Return the lags of the adjoint: evenly for its line, and at lags before that closely for its steps to half."""
    return np.union1d(evenly(longest, _LAGS), by_factors(max(1, longest // 10), _CLOSE_LAGS))


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


class _Adjoint(NamedTuple):
    """What the gradient's curve gives of each sequence (B,)."""

    rate: Array
    error: Array
    r_squared: Array
    cut_step: Array
    doubt: tuple[str, ...]


def _adjoint(problem: Problem, flow: GradientFlow, of: str, skipped: int, cut: Array) -> _Adjoint:
    """Return rates of a flow; of sequences whose memory is `cut`, those before and after the step that cuts it."""
    rate, error, r_squared = slope(flow)
    gone = np.isposinf(rate)
    doubt = np.where(gone, "", np.array(flow.decay_rate().why_none, object))
    cut_step = np.full(rate.size, -1)
    for b in np.flatnonzero(cut):
        one = flow.sequence(int(b))
        parts = []
        last, column = problem.steps, one.log_norm[:, 0]
        row = _cut_row(column)
        if row is not None:
            last -= int(one.lag[row])
            cut_step[b] = last
            # What lies after the step, and what lies before it: a gradient of its own, which begins there.
            parts.append(dataclasses.replace(one, lag=one.lag[:row], log_norm=one.log_norm[:row]))
            if last - skipped >= _LEAST:
                before = problem.part(np.array([b]), 0, last)
                lags = evenly(last - skipped, _LAGS)
                parts.append(gradient_flow.measure(before, of=of, wrt="joint", lags=lags))
        pooled = pooled_slope(parts)
        if pooled is not None:
            rate[b], error[b], r_squared[b] = pooled
            doubt[b] = ""
    rate[[bool(text) for text in doubt]] = np.nan
    return _Adjoint(rate, error, r_squared, cut_step, tuple(map(str, doubt)))


def pooled_slope(parts: Iterable[GradientFlow]) -> tuple[float, float, float] | None:
    """Return rate, error and R^2 of flows over stretches of one sequence, weighted by their lengths.

    Stretches that are too short, or have no rate, do not count; None if that leaves none.
    """
    fits = [(slope(part), int(part.lag[-1])) for part in parts if part.lag[-1] >= _LEAST]
    fits = [fit for fit in fits if np.isfinite(fit[0][0][0])]
    if not fits:
        return None
    weights = np.array([extent for _, extent in fits], np.float64)
    values = np.array([[value[0] for value in each] for each, _ in fits])
    weights /= weights.sum()
    error = np.sqrt((weights**2) @ np.nan_to_num(values[:, 1]) ** 2)
    return float(weights @ values[:, 0]), float(error), float(values[:, 2].min())


def _cut_row(column: Array) -> int | None:
    """Return the row of the first lag past a step that cuts the gradient: to 0, or else the largest fall there is."""
    zero = np.flatnonzero(np.isneginf(column))
    if zero.size:
        return int(zero[0]) if zero[0] > 0 else None
    return int(np.argmin(np.diff(column))) + 1 if column.size > 1 else None


def without_rounding(rate: Array, rounding: float) -> Array:
    """Return rates with 0 for those that are no more than rounding."""
    return np.asarray(np.where(np.abs(rate) <= rounding, 0.0, rate))


def standard_error(blocks: Array) -> Array:
    """Return the standard error of the mean over axis 0; the values are taken for independent."""
    return np.asarray(np.std(blocks, axis=0, ddof=1) / np.sqrt(len(blocks)))


def _gate_rates(problem: Problem, gate: MemoryGate, skipped: int, cut: Array) -> tuple[Array, Array]:
    """Return each unit's -<ln fraction kept> over the steps after the transient, and its standard error, (B, H).

    Of sequences whose memory is `cut` the blocks that cut it are left out.
    """
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
                fractions = np.abs(_fractions(cell, gate, states, gates))
                if fractions.min() < np.finfo(gates.dtype).tiny and not is_finest(problem):
                    raise TooSmallError("a gate is shut further than its dtype can tell")
                sums[block] += np.log(fractions).sum(axis=0)
            bar.update(len(gates))
    if gate.state is None:
        return np.full((problem.batch, units), np.nan), np.full((problem.batch, units), np.nan)
    rate = -sums.sum(axis=0) / measured
    finite = np.isfinite(sums).all(axis=0)
    blocks = -np.where(finite, sums, np.nan) / np.diff(marks)[:, None, None]
    error = standard_error(blocks)
    if cut.any():
        between = between_cuts(sums, np.diff(marks))
        left_out = cut[:, None] & (between["cuts"] > 0)
        rate = np.where(left_out, -between["between"], rate)
        error = np.where(left_out, between["between_error"], error)
    return rate + 0.0, error


def _fractions(cell: Cell, gate: MemoryGate, states: Array, gates: Array) -> Array:
    """Return what the memory state keeps of itself, (steps, B, H) float64."""
    if gate.saved is not None:
        return np.asarray(gates[:, :, gate.saved], np.float64)
    return np.asarray(direct_factors(cell, gates, states[:-1], states[1:])[:, :, gate.state])
