"""Half-lives of the gradient, by the adjoint's slope, by the leading exponent and by the memory gate."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gatescope.cells.linearization import direct_factors
from gatescope.cells.memory_gate import MemoryGate, memory_gate
from gatescope.cells.registry import Cell
from gatescope.checks.network import as_stack
from gatescope.datatypes import Array, Bidirectional, GradientFlow, Params, Stack
from gatescope.datatypes.half_life import HalfLife
from gatescope.datatypes.half_life_by_layer import HalfLifeByLayer
from gatescope.datatypes.lyapunov_spectrum import EXACT
from gatescope.measurements import gradient_flow, lyapunov_spectrum
from gatescope.measurements.adjoint_rates import (
    BLOCKS,
    ROUNDINGS,
    adjoint_lags,
    check_transient,
    rates_of,
    standard_error,
    without_rounding,
)
from gatescope.measurements.each_layer import OfStacksToo, one_way, problems
from gatescope.measurements.exponent_errors import between_cuts
from gatescope.measurements.finer import is_finest, recomputed
from gatescope.measurements.joint_half_life import joint_half_life
from gatescope.measurements.problem import Problem, by_length, in_batch_order
from gatescope.measurements.selection import blocks_of, each_sequence
from gatescope.measurements.stack_problem import prepare_stack
from gatescope.recurrence.exact_steps import TooSmallError
from gatescope.recurrence.input_stream import open_series

_PIECE_BYTES = 1 << 24  # of states and gates at a time


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
                    is f for an LSTM's c, z for a GRU's h and 1 - a for a leaky network's
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
    sequences = {"lengths": lengths, "initial_state": initial_state, "clamp": clamp}
    common: dict[str, Any] = {"seed": seed, "threads": threads, "progress": progress}

    def measured(inputs: Any) -> dict[str, HalfLife]:
        def check(cell: Cell, _: Params) -> None:
            blocks_of("of", cell, of)

        def one(problem: Problem) -> HalfLife:
            return measure(problem, of=of, transient=transient)

        return problems(params, inputs, **sequences, measure=one, check=check, **common)

    if isinstance(params, Params):
        return measured(inputs)["layers.0"]
    stack = as_stack(params)
    with open_series(inputs, next(iter(stack.directions().values()))) as series:
        parts = measured(series)
        lives, whole = tuple(parts.values()), None
        if one_way(stack):
            with prepare_stack(stack, series, **sequences, **common, scale=False) as problem:  # said above
                whole = joint_half_life(problem, lives, of, transient)
    return HalfLifeByLayer(names=tuple(parts), results=lives, whole=whole, provenance=lives[0].provenance)


def measure(problem: Problem, *, of: str = "joint", transient: int | None = None) -> HalfLife:
    """Do the work of `half_life`, whose arguments these are."""
    return by_length(problem, lambda part: _measure_group(part, of, transient), _join)


def _measure_group(problem: Problem, of: str, transient: int | None) -> HalfLife:
    """Measure sequences of one length."""
    gate = memory_gate(problem.cell)
    skipped = check_transient(transient, problem.steps)
    spectrum = lyapunov_spectrum.measure(problem, k=1, transient=skipped, checks=False)

    def flow_of(part: Problem, lags: Array) -> GradientFlow:
        return gradient_flow.measure(part, of=of, wrt="joint", lags=lags)

    flow = flow_of(problem, adjoint_lags(problem.steps - skipped))
    assert spectrum.cuts is not None
    assert spectrum.between is not None
    assert spectrum.between_error is not None
    cut = spectrum.cuts[:, 0] > 0
    gate_rate, gate_error = _gate_rates(problem, gate, skipped, cut)
    adjoint = rates_of(problem, flow, skipped, cut, flow_of)
    rounding = ROUNDINGS * float(np.finfo(problem.params.dtype).eps)
    return HalfLife.from_rates(
        cell=problem.cell.name,
        gate=gate.name,
        complement=gate.sign < 0,
        gate_rate=without_rounding(gate_rate, rounding),
        gate_error=gate_error,
        **adjoint._asdict(),
        exponent_rate=without_rounding(
            -np.where(cut, spectrum.between[:, 0], spectrum.exponents[:, 0]), EXACT
        ),
        exponent_error=np.where(cut, spectrum.between_error[:, 0], spectrum.error[:, 0]),
        steps=problem.steps,
        transient=skipped,
        moved=spectrum.moved,
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


def _gate_rates(problem: Problem, gate: MemoryGate, skipped: int, cut: Array) -> tuple[Array, Array]:
    """Return each unit's -<ln fraction kept> over the steps after the transient, and its standard error, (B, H).

    Of sequences whose memory is `cut` the blocks that cut it are left out.
    """
    cell, units = problem.cell, problem.params.hidden_size
    measured = problem.steps - skipped
    step_bytes = problem.batch * units * (len(cell.states) + len(cell.saved)) * problem.params.dtype.itemsize
    # Block k is what lies between marks k and k + 1; the transient comes first and does not count.
    marks = skipped + np.linspace(0, measured, min(BLOCKS, measured) + 1).round().astype(int)
    sums = np.zeros((len(marks) - 1, problem.batch, units))
    pieces = problem.forward(marks.tolist(), max(1, _PIECE_BYTES // step_bytes))
    with (
        problem.bar(problem.steps, "gates") as bar,
        np.errstate(divide="ignore"),  # a gate that is exactly 0 keeps nothing: ln 0
    ):
        for begin, states, gates in pieces:
            if begin >= skipped and gate.state is not None:
                block = int(np.searchsorted(marks, begin, side="right")) - 1
                fractions = np.abs(kept_fractions(cell, gate, states, gates))
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


def kept_fractions(cell: Cell, gate: MemoryGate, states: Array, gates: Array) -> Array:
    """Return what the memory state keeps of itself, (steps, B, H) float64."""
    if gate.saved is not None:
        return gate.fraction(np.asarray(gates[:, :, gate.saved], np.float64))
    return np.asarray(direct_factors(cell, gates, states[:-1], states[1:])[:, :, gate.state])
