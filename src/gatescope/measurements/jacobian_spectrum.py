"""Singular values of the Jacobian between two steps, by factored products that keep the digits of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.checks.numbers import check_count
from gatescope.datatypes import Array, Bidirectional, Params, Stack
from gatescope.datatypes.jacobian_spectrum import JacobianSpectrum
from gatescope.errors import ValueRangeError, warn_accuracy
from gatescope.kernels.cpu.jacobian_product import JacobianProduct
from gatescope.kernels.cpu.stack_device import Layered
from gatescope.measurements.problem import Problem, by_length, prepare
from gatescope.measurements.selection import blocks_of, by_factors, join_flows, lags_back
from gatescope.measurements.stack_ends import columns_of, end_of
from gatescope.measurements.stack_problem import StackProblem, prepare_stack
from gatescope.measurements.step_jacobian import stack_jacobians
from gatescope.recurrence.recompute import check_states

_BYTES = 1 << 23  # Jacobians written out at a time
_ROUNDED = 1e-6  # nats that rounding may put into a logarithm before it is said
_LAGS, _MAX_LAG = 60, 1000  # by default


def jacobian_spectrum(
    params: Params | Stack | Bidirectional,
    inputs: Any,
    *,
    source_step: int = -1,
    of: str = "joint",
    wrt: str = "joint",
    max_lag: int | None = None,
    lags: Any = None,
    k: int | None = None,
    lengths: Any = None,
    initial_state: Any = None,
    clamp: Any = None,
    threads: int | None = None,
    progress: bool = False,
) -> JacobianSpectrum:
    """Measure the singular values of d s_t / d s_{t-lag}, of the whole state (h and c of an LSTM) or of a block of it.

    ``d s_t / d s_{t-lag} = J_{t-1} ... J_{t-lag}`` is never multiplied out: it is a triangle whose columns have
    scales of their own and an orthogonal factor, and one-sided Jacobi rotations of the triangle give every singular
    value to high relative accuracy, even where they differ by hundreds of orders of magnitude [1]_ [2]_, as long as the
    Jacobian of each single step has its digits (a warning says where not).  Derivatives of saturated units are made
    from their pre-activations, which have these digits.  The largest
    says how much of the gradient can get through, the smallest which directions of the state are forgotten.
    Everything is computed in float64, whatever the weights' dtype.

    Parameters
    ----------
    params : Params or Stack
        The layers of a `Stack` have to go one way: where one goes backward, there is no state that goes from step to
        step.
    inputs, source_step
        As for `gradient_flow`.
    of, wrt : str
        What is differentiated, and with respect to what: a state such as ``"h"`` or ``"c"``, or ``"joint"``, the whole
        state.  Of a stack a state of a layer, ``"layers.-1.h"``, or all states of all layers.
    max_lag : int, optional
        The longest lag.  Default: all, but 1,000 at most where `lags` are not given.
    lags : array_like of int, optional
        Ascending, 0..t.  One sweep serves them all; it costs in proportion to the longest lag, and about n^3 operations
        a step, n = S*H.  Default: 60, spaced evenly in the logarithm.
    k : int, optional
        How many singular values, largest first.  Default: all.  All are computed in any case.
    lengths, initial_state, clamp, threads, progress
        As for `gradient_flow`; the threads are those of the run itself.

    Returns
    -------
    JacobianSpectrum

    Warns
    -----
    AccuracyWarning
        If the smallest singular values have lost digits, because single steps all but forget a direction.

    References
    ----------
    .. [1] A. Bojanczyk, M. Ewerbring, F. Luk and P. Van Dooren, "An accurate product SVD algorithm", Signal Processing
       25 (1991).
    .. [2] J. Demmel and K. Veselic, "Jacobi's method is more accurate than QR", SIAM J. Matrix Anal. Appl. 13 (1992).

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("lstm", input_size=1, hidden_size=8, seed=0)
    >>> spectrum = gs.jacobian_spectrum(params, np.ones((500, 1)), lags=[0, 10, 500])
    >>> spectrum.log_singular.shape, bool(spectrum.span()[-1, 0] > 300)   # decades, beyond any float
    ((3, 1, 16), True)
    >>> stack = gs.init_stack(["lstm", "gru"], input_size=1, hidden_size=4, heads=[gs.Head("y", 1)], seed=0)
    >>> gs.jacobian_spectrum(stack, np.ones((50, 1)), of="layers.-1.h", wrt="layers.0.c").log_singular.shape[2]
    4
    """
    chosen: dict[str, Any] = {"source_step": source_step, "of": of, "wrt": wrt, "max_lag": max_lag}
    chosen |= {"lags": lags, "k": k}
    shared: dict[str, Any] = {"threads": threads, "progress": progress, "dtype": np.float64}
    if isinstance(params, Stack | Bidirectional):
        with prepare_stack(params, inputs, lengths, initial_state, clamp, **shared) as stacked:
            return measure(stacked, **chosen)

    def check(cell: Cell, weights: Params) -> None:
        _extent(cell, weights, of, wrt, k)

    with prepare(params, inputs, lengths, initial_state, clamp, check=check, **shared) as problem:
        return measure(problem, **chosen)


def measure(
    problem: Problem | StackProblem,
    *,
    source_step: int = -1,
    of: str = "joint",
    wrt: str = "joint",
    max_lag: int | None = None,
    lags: Any = None,
    k: int | None = None,
) -> JacobianSpectrum:
    """Do the work of `jacobian_spectrum`, whose arguments these are; in float64, whatever the problem's dtype."""
    problem = problem.astype(np.float64)
    if isinstance(problem, StackProblem):
        ends = [end_of(problem, name, value) for name, value in (("of", of), ("wrt", wrt))]
        of, wrt = (end.name for end in ends)
        extent = _checked([columns_of(problem, end) for end in ends], of, wrt, problem.name, k)
    else:
        extent = _extent(problem.cell, problem.params, of, wrt, k)

    def default(longest: int) -> Array:
        return by_factors(min(longest, _MAX_LAG) if max_lag is None else longest, _LAGS)

    def measure_group(part: Problem | StackProblem) -> JacobianSpectrum:
        source, chosen = lags_back(part, source_step, max_lag, lags, default)
        return JacobianSpectrum(
            cell=part.name,
            lag=chosen,
            log_singular=_sweep(part, source, chosen, *extent),
            of=of,
            wrt=wrt,
            source_step=source,
            provenance=part.provenance(),
        )

    return by_length(
        problem, measure_group, lambda groups, parts: join_flows(groups, parts, {"log_singular": 1})
    )


def _extent(cell: Cell, params: Params, of: Any, wrt: Any, k: Any) -> tuple[slice, slice, int]:
    """Return the rows and columns of the whole Jacobian that are asked for, and how many of its singular values."""
    units = np.arange(len(cell.states) * params.hidden_size).reshape(len(cell.states), -1)
    ends = [units[blocks_of(name, cell, value)].reshape(-1) for name, value in (("of", of), ("wrt", wrt))]
    return _checked(ends, of, wrt, cell.name, k)


def _checked(ends: list[Array], of: str, wrt: str, network: str, k: Any) -> tuple[slice, slice, int]:
    """Return the rows and columns that are asked for, which lie together, and how many singular values."""
    rows, columns = (slice(int(end[0]), int(end[-1]) + 1) for end in ends)
    most = min(map(len, ends))
    count = most if k is None else check_count("k", k)
    if count > most:
        advice = f"the Jacobian of {of!r} by {wrt!r} of this {network} has {most}"
        raise ValueRangeError("is more singular values than there are", argument="k", seen=k, advice=advice)
    return rows, columns, count


def _sweep(
    problem: Problem | StackProblem, source: int, lags: Array, rows: slice, columns: slice, count: int
) -> Array:
    """Return the log singular values (L, B, count) of sequences of one length."""
    size, reach = problem.initial_state[0].size, int(lags[-1])
    first = np.eye(size)[rows]
    if isinstance(problem, StackProblem):
        # Directions of the lower layers stay in them, so that those of the axes would not come in order of their size.
        first = np.linalg.qr(np.random.default_rng(0).standard_normal((len(first), len(first))))[0] @ first
    chains = [JacobianProduct(first) for _ in range(problem.batch)]
    log_singular = np.empty((lags.size, problem.batch, count))

    def record(row: int) -> None:
        log_singular[row] = [chain.log_singular_values(columns)[:count] for chain in chains]

    stops = [int(source - lag) for lag in lags]
    replay = problem.replay(problem.open_device(), source, source - reach, directions=size)
    with problem.bar(replay.forward_steps + reach, "Jacobian") as bar:
        if lags[0] == 0:
            record(0)
        for done in replay.forward():
            bar.update(done)
        for begin, states, gates in replay.pieces():
            end = begin + len(gates)
            layers = _layers(states)
            for array in layers:
                check_states(array, begin)
            for high, low in pairwise([end, *[s for s in stops if begin < s < end], begin]):
                for b, chain in enumerate(chains):
                    some = slice(low - begin, high - begin + 1)
                    _multiply(
                        chain,
                        problem,
                        [array[some, b] for array in layers],
                        [array[some, b][: high - low] for array in _layers(gates)],
                    )
                if low in stops:
                    record(stops.index(low))
            bar.update(end - begin)
    _warn(chains)
    return log_singular


def _warn(chains: list[JacobianProduct]) -> None:
    """Warn where singular values may lack digits."""
    rounding = max(chain.rounding for chain in chains)
    if rounding > _ROUNDED:
        lost = "a singular value is lost" if np.isinf(rounding) else f"up to {rounding:.2g} nats are rounding"
        warn_accuracy(
            f"the Jacobians of single steps are so ill-conditioned that the smallest singular values have few digits: "
            f"{lost}; saturated units do that, and the largest values are right"
        )
    if not all(chain.diagonal for chain in chains):
        warn_accuracy("the rotations did not come to an end; singular values may lack digits")


def _layers(states: Any) -> Sequence[Array]:
    """Return the states or the gates of each layer of a piece, one layer or several."""
    return states.arrays if isinstance(states, Layered) else [states]


def _multiply(
    chain: JacobianProduct, problem: Problem | StackProblem, states: list[Array], gates: list[Array]
) -> None:
    """Multiply the Jacobians of some steps on, the last step first; states and gates are those of each layer."""
    size = sum(state[0].size for state in states)
    length = max(1, _BYTES // (8 * size * size))
    weights = [problem.params] if isinstance(problem, Problem) else problem.layers
    for end in range(len(gates[0]), 0, -length):
        begin = max(0, end - length)
        old, new, saved = (
            [array[begin + ahead : end + ahead] for array in arrays]
            for arrays, ahead in ((states, 0), (states, 1), (gates, 0))
        )
        chain.multiply(stack_jacobians(weights, old, new, saved)[::-1])
