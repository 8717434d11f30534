"""Fixed points of the whole state under a constant input: Newton's method on the exact Jacobian, from many starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gatescope.checks.arrays import check_array, check_shape
from gatescope.checks.memory import check_memory
from gatescope.checks.network import as_stack, check_params, check_trace
from gatescope.checks.numbers import check_count, check_number
from gatescope.datatypes import Array, Bidirectional, Params, Stack, Trace
from gatescope.datatypes.fixed_points import FixedPoints
from gatescope.errors import DtypeError, ShapeError, ValueRangeError
from gatescope.measurements.problem import Problem, prepare
from gatescope.measurements.step_jacobian import advance, jacobians_of
from gatescope.recurrence.exact_steps import linearized

STARTS = 512
TRACE_STARTS = 1024  # a longer trace is thinned to so many states
_STEPS = 200  # of the trajectories that random starts are taken from
_HALVINGS = 10  # of a Newton step that would not bring the state nearer
_DAMPINGS = (1e-6, 1e-3, 1.0, 1e3)  # relative to the mean square of a column of the Jacobian, tried in turn
_LEAST_DECREASE = 1e-4  # of the residual's norm, relative to what the linear model promises
_BLOCK = 2**22  # elements of the Jacobians that are solved with at once: 32 MiB


def fixed_points(
    params: Params | Stack,
    inputs: Any,
    *,
    starts: Any = STARTS,
    tolerance: float = 1e-12,
    iterations: int = 100,
    merge: float = 1e-5,
    margin: float = 1e-6,
    clamp: Any = None,
    seed: int = 0,
    progress: bool = False,
) -> FixedPoints:
    """Find the states s = step(inputs, s) of the whole state, (h, c) for an LSTM, under a constant input.

    Newton's method, s + (I - J)^-1 (step(inputs, s) - s) with the exact Jacobian J, from many starts at once.  A step
    that would not lessen the residual's norm is halved; where halving does not help, or I - J is singular, a damped
    step (Levenberg and Marquardt's) is tried.  A start that gets no further has led to no fixed point, and is counted.
    Once within `tolerance`, iteration goes on while it at least halves the residual.

    Where gates are nearly saturated a state may move by less than rounding and still be far from any fixed point: a
    GRU keeps whatever h makes its z all but 1.  So a state counts only if another Newton step would not move it
    further than `merge`; and if I - J is singular to rounding, only if it is no greater than the starts were.

    Fixed points are found whether stable or not, but none of them for sure: give more starts, or states of a trace,
    to find more.  Where they are not isolated (a line attractor) each start leads to one of its own.

    Parameters
    ----------
    params : Params, or Stack of one layer
        Float32 or float64; the search is on the CPU, in float64.
    inputs : (I,) array_like
        The input, the same at every step.
    starts : int or (P, S, H) array_like or Trace
        States to start from.  A number: so many random ones, drawn with `seed`.  A third are met after up to 200
        steps under this input by trajectories from random states, a third are such states with noise as large as they
        are themselves, and a third lie between two such states.  A `Trace`: the states it passed through, at most
        1,024, evenly spaced.
    tolerance : float
        The residual, the greatest absolute component of step(inputs, s) - s, at which s counts as fixed, relative to
        the greatest component of s where that is above 1.
    iterations : int
        At most so many for each start.
    merge : float
        Fixed points nearer to each other than this, in their greatest component, are one; relative as `tolerance` is.
    margin : float
        A fixed point is stable if all eigenvalues of its Jacobian have a modulus below 1 - `margin`.
    clamp, seed, progress
        As for `gradient_flow`; the seed is that of the random starts.

    Returns
    -------
    FixedPoints
        With no fixed points, if none was found.

    References
    ----------
    .. [1] D. Sussillo and O. Barak, "Opening the black box: low-dimensional dynamics in high-dimensional recurrent
       neural networks", Neural Computation 25 (2013), section 2.
    .. [2] J. Nocedal and S. J. Wright, "Numerical Optimization", 2nd ed. (2006), sections 11.1 and 11.2.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("rnn", input_size=1, hidden_size=1, seed=0, dtype="float64")
    >>> for weight in params.arrays().values():
    ...     weight[:] = 0
    >>> params.weight_hh[:] = 2.0                  # h = tanh(2 h)
    >>> points = gs.fixed_points(params, [0.0])
    >>> sorted(float(h) for h in points.h[:, 0].round(4))
    [-0.9575, 0.0, 0.9575]
    >>> points.stable
    array([ True,  True, False])
    """
    params = _one_cell(params)
    if isinstance(params, Params) and params.on_device:
        params = params.to_host()
    check_params(params)
    x = check_array("inputs", inputs, np.dtype(np.float64))
    check_shape("inputs", x, (params.input_size,), "(I,), one constant input")
    tolerance = check_number("tolerance", tolerance, least=0)
    iterations = check_count("iterations", iterations)
    merge = check_number("merge", merge, least=0)
    margin = check_number("margin", margin, least=0)
    with prepare(params, x[None], clamp=clamp, seed=seed, progress=progress, dtype=np.float64) as problem:
        begin = _starts(starts, params, problem, x)
        states, found_by = _converged(problem, x, begin, tolerance, iterations, merge)
        weights, origin = problem.params, problem.provenance(starts_seed=problem.seed)
    residual = np.abs(_residual(weights, x, states)).max(axis=(1, 2))
    blocks = [_eigenvalues(weights, x, block) for block in _blocks(states)]
    spectrum = np.concatenate([np.zeros((0, begin[0].size), complex), *blocks])
    moduli = np.abs(spectrum)
    order = np.lexsort((-found_by, (moduli > 1 + margin).sum(axis=1), (moduli >= 1 - margin).any(axis=1)))
    return FixedPoints(
        cell=params.cell,
        inputs=x,
        states=states[order],
        residual=residual[order],
        eigenvalues=spectrum[order],
        stable=(moduli < 1 - margin).all(axis=1)[order],
        found_by=found_by[order],
        starts=len(begin),
        margin=margin,
        state_names=problem.cell.states,
        provenance=origin,
    )


def _one_cell(params: Params | Stack) -> Params:
    """Return the cell of a stack of one layer; refuse one of several, whose inputs are constant in the lowest alone."""
    if not isinstance(params, Stack | Bidirectional):
        return params
    weights = as_stack(params).directions()
    if len(weights) > 1:
        raise ValueRangeError(
            f"is of {', '.join(weights)}, and fixed points are of one cell: what the layers above receive is constant "
            "only where those below have come to rest",
            argument="params",
            advice="give one of its layers, such as stack.layers[1], and as `inputs` an output of the layer below",
        )
    return next(iter(weights.values()))


def _converged(
    problem: Problem, x: Array, begin: Array, tolerance: float, iterations: int, merge: float
) -> tuple[Array, Array]:
    """Return the fixed points (P, S, H) that the starts lead to, each once, and how many led to each."""
    params, arrived = problem.params, []
    # States may run off to infinity, which is seen by their residuals.
    with problem.bar(len(begin), "fixed points", unit="start") as bar, np.errstate(all="ignore"):
        for block in _blocks(begin):
            arrived.append(_search(params, x, block, tolerance, iterations))
            bar.update(len(block))
        states, found_by = _merged(np.concatenate(arrived), params, x, merge)
        reach = np.abs(begin).max(axis=(0, 2))
        checked = [_is_sure(params, x, block, merge, reach) for block in _blocks(states)]
    sure = np.concatenate([np.zeros(0, bool), *checked])
    return states[sure], found_by[sure]


def _blocks(states: Array) -> Iterator[Array]:
    """Yield so many states at a time that their Jacobians are of a bounded size."""
    block = max(1, _BLOCK // states[0].size ** 2) if len(states) else 1
    return (states[at : at + block] for at in range(0, len(states), block))


def _starts(starts: Any, params: Params, problem: Problem, x: Array) -> Array:
    """Return the states to start from, (N, S, H) float64; a trace has to be one of `params`, as they were given."""
    cell = problem.cell
    if isinstance(starts, Trace):
        check_trace(starts, params, cell)
        within = np.arange(starts.states.shape[0])[:, None] <= starts.lengths
        states = starts.states[within].astype(np.float64)
        picks = np.linspace(0, len(states) - 1, min(len(states), TRACE_STARTS)).round().astype(int)
        return np.asarray(states[picks])
    if isinstance(starts, int | np.integer | float | bool | None):
        count = check_count("starts", starts)
        size = problem.initial_state[0].size  # of the whole state, whose square is that of the Jacobian
        check_memory("starts", count, lambda starts: 8 * starts * size * (size + 8), "their Jacobians")
        return _random_starts(problem, count, x)
    try:
        states = check_array("starts", starts, np.dtype(np.float64))
    except DtypeError as error:
        advice = "give a number, states (P, S, H) or a Trace"
        raise DtypeError(argument="starts", seen=type(starts), advice=advice) from error
    shape = len(cell.states), params.hidden_size
    if states.ndim != 3 or states.shape[1:] != shape or len(states) == 0:
        raise ShapeError(
            f"should have (P, {shape[0]}, {shape[1]}), which is (P, S, H) with the states {', '.join(cell.states)}, "
            "and at least one state",
            argument="starts",
            seen=states.shape,
        )
    return states


def _random_starts(problem: Problem, count: int, x: Array) -> Array:
    """Return states that trajectories under this input pass through, such states with noise, and points between two."""
    rng = np.random.default_rng(problem.seed)
    shape = count, *problem.initial_state.shape[1:]
    # Of a size from a tenth to one; to ten for states that do not feed back, such as c, which may add up their input.
    power = rng.uniform(-1, 1, (count, shape[1], 1))
    power[:, 0] = (power[:, 0] - 1) / 2
    now = rng.standard_normal(shape) * 10**power
    leave = np.exp(rng.uniform(0, np.log(_STEPS), count)).astype(int)  # as many early ones as late ones
    taken = now.copy()
    inputs = np.broadcast_to(x, (count, x.size))
    with np.errstate(all="ignore"):
        for step in range(1, _STEPS + 1):
            now, _ = advance(problem.params, inputs, now)
            on_the_way = (leave >= step) & np.isfinite(now).all(axis=(1, 2))
            taken[on_the_way] = now[on_the_way]
        size = np.sqrt((taken**2).mean(axis=2, keepdims=True))
    result = taken.copy()
    result[1::3] += rng.standard_normal(shape)[1::3] * size[1::3]
    # Saddles lie between what attracts.
    between = rng.uniform(0, 1, (count, 1, 1))
    result[2::3] += (between * (rng.permutation(taken) - taken))[2::3]
    result[~np.isfinite(result).all(axis=(1, 2))] = 0
    return result


def _residual(params: Params, x: Array, states: Array) -> Array:
    """Return step(x, s) - s, (N, S, H)."""
    new_states, _ = advance(params, np.broadcast_to(x, (len(states), x.size)), states)
    return np.asarray(new_states - states)


def _step(params: Params, x: Array, states: Array) -> tuple[Array, Array]:
    """Return the states after a step, (N, S, H), and its Jacobian, (N, n, n)."""
    new_states, linear = linearized(params, np.broadcast_to(x, (len(states), x.size)), states)
    return new_states, jacobians_of(params, linear)


def _system(params: Params, x: Array, states: Array) -> tuple[Array, Array]:
    """Return the residual as (N, n), and its Jacobian J - I, (N, n, n)."""
    new_states, matrix = _step(params, x, states)
    unit = np.arange(matrix.shape[1])
    matrix[:, unit, unit] -= 1
    return (new_states - states).reshape(len(states), -1), matrix


def _search(params: Params, x: Array, states: Array, tolerance: float, iterations: int) -> Array:
    """Return the fixed points that these starts lead to, (at most N, S, H)."""
    states = states.copy()
    done = np.zeros(len(states), bool)
    active = np.flatnonzero(np.isfinite(_residual(params, x, states)).all(axis=(1, 2)))
    for _ in range(iterations):
        if not active.size:
            break
        now = states[active]
        residual, matrix = _system(params, x, now)
        limit = tolerance * np.maximum(1, np.abs(now).max(axis=(1, 2)))
        arrived = np.abs(residual).max(axis=1) <= limit
        done[active[arrived]] = True
        usable = np.isfinite(matrix).all(axis=(1, 2)) & (residual != 0).any(axis=1)
        active, now, residual, matrix, arrived = (
            array[usable] for array in (active, now, residual, matrix, arrived)
        )
        moved, norm = _newton(params, x, now, residual, matrix)
        before = np.linalg.norm(residual, axis=1)
        stuck = norm >= before
        stuck[stuck] = ~_damped(params, x, now, moved, residual, matrix, stuck & ~arrived)[stuck]
        states[active] = moved
        # Within the tolerance, what is left is soon rounding: on while it is halved.
        active = active[~stuck & ~(arrived & (norm > before / 2))]
    rest = states[active]
    limit = tolerance * np.maximum(1, np.abs(rest).max(axis=(1, 2), initial=0))
    done[active[np.abs(_residual(params, x, rest)).max(axis=(1, 2), initial=0) <= limit]] = True
    return states[done]


def _newton(params: Params, x: Array, states: Array, residual: Array, matrix: Array) -> tuple[Array, Array]:
    """Return each state after its Newton step, halved until that lessens the residual's norm, and that norm.

    Where no halving does, the state as it was.
    """
    step = -_solve(matrix, residual).reshape(states.shape)
    before = np.linalg.norm(residual, axis=1)
    moved, norm = states.copy(), before.copy()
    waiting = np.flatnonzero(np.isfinite(step).all(axis=(1, 2)))
    for halving in range(_HALVINGS + 1):
        if not waiting.size:
            break
        scale = 0.5**halving
        trial = states[waiting] + scale * step[waiting]
        after = np.linalg.norm(_residual(params, x, trial).reshape(len(trial), -1), axis=1)
        good = after <= (1 - _LEAST_DECREASE * scale) * before[waiting]  # False for NaN
        moved[waiting[good]], norm[waiting[good]] = trial[good], after[good]
        waiting = waiting[~good]
    return moved, norm


def _damped(
    params: Params, x: Array, states: Array, moved: Array, residual: Array, matrix: Array, chosen: Array
) -> Array:
    """Move the `chosen` states by the first damped step that lessens the residual's norm; (N,) which it did."""
    success = np.zeros(len(states), bool)
    waiting = np.flatnonzero(chosen)
    before = np.linalg.norm(residual, axis=1)
    for damping in _DAMPINGS:
        if not waiting.size:
            break
        a = matrix[waiting]
        transposed = a.transpose(0, 2, 1)
        normal = transposed @ a
        unit = np.arange(normal.shape[1])
        normal[:, unit, unit] += damping * np.einsum("nii->n", normal)[:, None] / unit.size
        gradient = (transposed @ residual[waiting][..., None])[..., 0]
        trial = states[waiting] - _solve(normal, gradient).reshape(states[waiting].shape)
        after = np.linalg.norm(_residual(params, x, trial).reshape(len(trial), -1), axis=1)
        good = after <= (1 - _LEAST_DECREASE) * before[waiting]
        moved[waiting[good]] = trial[good]
        success[waiting[good]] = True
        waiting = waiting[~good]
    return success


def _solve(matrix: Array, right: Array) -> Array:
    """Return the solutions (N, n) of so many systems; NaN where the matrix is singular."""
    try:
        return np.asarray(np.linalg.solve(matrix, right[..., None])[..., 0])
    except np.linalg.LinAlgError:  # one that is exactly singular; it must not stop the others
        if len(matrix) == 1:
            return np.full_like(right, np.nan)
        half = len(matrix) // 2
        return np.concatenate([_solve(matrix[:half], right[:half]), _solve(matrix[half:], right[half:])])


def _merged(states: Array, params: Params, x: Array, merge: float) -> tuple[Array, Array]:
    """Return fixed points without duplicates, of each group the one of least residual, and the size of each group."""
    residual = np.abs(_residual(params, x, states)).max(axis=(1, 2), initial=0)
    waiting = states[np.argsort(residual, kind="stable")]
    chosen, counts = [], []
    while len(waiting):
        distance = np.abs(waiting - waiting[0]).max(axis=(1, 2))
        same = distance <= merge * max(1.0, float(np.abs(waiting[0]).max()))
        chosen.append(waiting[0])
        counts.append(np.count_nonzero(same))
        waiting = waiting[~same]
    return np.array(chosen).reshape(-1, *states.shape[1:]), np.array(counts, np.int64)


def _is_sure(params: Params, x: Array, states: Array, merge: float, reach: Array) -> Array:
    """Return whether (P,) a small residual says that a fixed point is near, as `fixed_points` puts it."""
    residual, matrix = _system(params, x, states)
    u, singular, v = np.linalg.svd(matrix)
    rounding = singular[:, :1] * matrix.shape[1] * np.finfo(np.float64).eps
    regular = singular > np.maximum(rounding, np.finfo(np.float64).tiny)
    along = np.where(regular, (u.transpose(0, 2, 1) @ residual[..., None])[..., 0] / singular, 0)
    step = np.abs(v.transpose(0, 2, 1) @ along[..., None]).max(axis=(1, 2))
    near = step <= merge * np.maximum(1, np.abs(states).max(axis=(1, 2)))
    within = (np.abs(states).max(axis=2) <= reach).all(axis=1)
    return np.asarray(near & (regular.all(axis=1) | within))


def _eigenvalues(params: Params, x: Array, states: Array) -> Array:
    """Return the eigenvalues (P, n) of the Jacobian at each fixed point, by falling modulus."""
    _, matrix = _step(params, x, states)  # not J - I, in which a small eigenvalue of J has no digits
    values = np.linalg.eigvals(matrix).astype(np.complex128)
    # Conjugates have the same modulus: the one above the real axis comes first.
    order = np.lexsort((-values.imag, -np.abs(values)), axis=1)
    return np.take_along_axis(values, order, axis=1)
