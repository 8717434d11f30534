"""Gradient flow: how far back in time the gradient of one step reaches, in the log domain."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from gatescope.cells.registry import Cell
from gatescope.datatypes import Array, GradientFlow, Params
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.kernels import cpu
from gatescope.kernels.machines import machine_for
from gatescope.provenance import provenance
from gatescope.resident import DeviceParams, check_no_threads, device_facts, placed
from gatescope.validation import (
    check_array,
    check_count,
    check_initial_state,
    check_inputs,
    check_params,
    check_threads,
)

NORMS = ("random", "unit", "spectral")
_SPECTRAL_LAGS = 200


def gradient_flow(
    params: Params | DeviceParams,
    inputs: Any,
    source_step: int = -1,
    state: str = "h",
    device: str | None = None,
    *,
    target: str = "h",
    norm: str = "random",
    unit: int = 0,
    seed: int = 0,
    lags: Any = None,
    horizon: int | None = None,
    initial_state: Any = None,
    threads: int | None = None,
    progress: bool = False,
) -> GradientFlow:
    """Log-norm of d target(t) / d state(t - lag) for a source step t and every lag.

    ==============  ================================================================================
    norm            what is measured, J the Jacobian d target(t) / d state(t - lag)
    ==============  ================================================================================
    ``random``      || v J || for one random unit vector v, drawn with `seed`
    ``unit``        || v J || for v the unit vector of target unit `unit`: the gradient of one output
    ``spectral``    the largest singular value of J; J is carried back whole, which costs as much as
                    H sweeps (2 H for a joint target)
    ==============  ================================================================================

    The adjoint is rescaled by exact powers of two whenever it leaves 2^-32..2^32 and the exponent is carried,
    so the result is right at lags where the norm itself has long been below the smallest float.  (In float32 a
    single step that shrinks it by more than 2^-94 would lose digits, and one that lets it grow by more than 2^94 would
    overflow, on a GPU also two in a row that do so together; float64 has no such limit in practice.)
    The run is recomputed from checkpoints, segment by segment, so memory grows with the square root of T; on a GPU
    the segments are cut to what is free there, inputs go there piece by piece, and the checkpoints stay here.

    Parameters
    ----------
    params : Params or DeviceParams
    inputs : (T, B, I) or (T, I) array_like
    source_step : int
        t, counted in states: 1..T, or negative from the end; -1 is the final state, t = T.
    state : str
        With respect to what: a state of the cell (``"h"``, ``"c"``) or ``"joint"``, all of them together.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; default: where the weights are, so ``"cpu"`` for `Params`.
    target : str
        What is differentiated: a state of the cell (``"h"`` is the output) or ``"joint"``.
    norm, unit, seed
        As above.
    lags : array_like of int, optional
        Which lags to report, ascending.  Default: all from 0 to `horizon`; for ``spectral``, if there are more than
        200, about 200 of them, spaced evenly in the logarithm.
    horizon : int, optional
        The longest lag, at most t, which is the default.
    initial_state : (B, S, H) array_like, optional
    threads : int, optional
        On the CPU, as for `run`.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    GradientFlow

    Raises
    ------
    ShapeError, DtypeError, ValueRangeError, UnknownNameError, DeviceError
        If an argument does not fit.

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
    device = placed(device, params)
    if device == "cuda":
        check_no_threads(threads)
    if isinstance(params, DeviceParams):
        params = params.to_host()
    cell = check_params(params)
    x = check_inputs(inputs, params)
    steps, batch = x.shape[:2]
    source = _source_step(source_step, steps)
    wrt, of = _blocks(cell, state, "state"), _blocks(cell, target, "target")
    if not isinstance(norm, str) or norm not in NORMS:
        raise UnknownNameError(f"norm={norm!r} is not known; choose one of {', '.join(NORMS)}")
    reach = source if horizon is None else check_count("horizon", horizon)
    if reach > source:
        raise ValueRangeError(
            f"horizon={horizon!r} reaches back beyond the first state; the source step is {source}"
        )
    wanted = _lags(lags, reach, norm)
    reach = int(wanted[-1])
    seeds = _directions(cell, params, of, norm, unit, check_count("seed", seed, least=0))
    workers = check_threads(threads, cpu.default_threads())

    start = check_initial_state(initial_state, cell, params, batch)
    first_state = (
        np.zeros((batch, len(cell.states), params.hidden_size), params.dtype) if start is None else start
    )
    machine = machine_for(device, cell, params, batch, workers)
    carried = machine.adjoints(np.broadcast_to(seeds, (batch, *seeds.shape)))
    stops = source - wanted if norm == "spectral" else np.array([source - reach])
    log_norm = np.full((wanted.size, batch), -np.inf)
    pieces = _pieces(machine, cell, x, first_state, source, source - reach)
    bar = tqdm(
        total=reach, unit="step", desc=f"gradient flow ({cell.name})", disable=None if progress else True
    )
    with bar:
        if norm == "spectral":
            done = _record_spectral(log_norm, 0, source, stops, carried, wrt)
        else:
            at_lag = {int(lag): row for row, lag in enumerate(wanted)}
            if 0 in at_lag:
                log_norm[at_lag[0]] = _log(np.linalg.norm(seeds[0][wrt]))
            columns = np.array(sorted(at_lag))
        for begin, states, gates in pieces:
            end = begin + states.shape[0] - 1
            if norm == "spectral":
                edges = [end, *[int(s) for s in stops if begin < s < end], begin]
                for high, low in pairwise(edges):
                    carried.back(states, gates, low - begin, high - begin, record=False)
                    done = _record_spectral(log_norm, done, low, stops, carried, wrt)
            else:
                norms = carried.back(states, gates, 0, end - begin)[:, :, 0, wrt]
                here = columns[(columns > source - end) & (columns <= source - begin)]
                joint = np.logaddexp.reduce(2 * norms[here - (source - end) - 1], axis=-1) / 2
                log_norm[[at_lag[int(lag)] for lag in here]] = joint
            bar.update(end - begin)
    return GradientFlow(
        cell=cell.name,
        lag=wanted,
        log_norm=log_norm,
        target=target,
        state=state,
        source_step=source,
        norm=norm,
        provenance=provenance(
            **device_facts(device),
            dtype=params.dtype.name,
            seed=params.provenance.get("seed"),
            direction_seed=seed,
        ),
    )


def _log(value: Any) -> Any:
    with np.errstate(divide="ignore"):
        return np.log(value)


def _record_spectral(log_norm: Array, done: int, now: int, stops: Array, carried: Any, wrt: list[int]) -> int:
    """Take the largest singular value wherever state `now` is one of those asked for."""
    while done < stops.size and int(stops[done]) == now:
        current, exponents = carried.matrices()
        jacobian = current[:, :, wrt].reshape(current.shape[0], current.shape[1], -1).astype(np.float64)
        bad = ~np.isfinite(jacobian).all(axis=(1, 2))
        jacobian[bad] = 0  # LAPACK takes no others
        # One power of two puts the largest entry near 1, so that squares inside the SVD cannot leave the range.
        peak = np.abs(jacobian).max(axis=(1, 2))
        power = np.where(peak > 0, np.frexp(peak)[1], 0)
        largest = np.linalg.svd(np.ldexp(jacobian, -power[:, None, None]), compute_uv=False)[:, 0]
        log_norm[done] = np.where(bad, np.inf, _log(largest) + (exponents + power) * np.log(2.0))
        done += 1
    return done


def _pieces(
    machine: Any, cell: Cell, x: Array, first_state: Array, source: int, last: int
) -> Iterator[tuple[int, Any, Any]]:
    """The run from state `last` to state `source`, recomputed in segments from checkpoints, latest segment first.

    Yields the step a segment begins at, its states (steps+1, B, S, H) and its gates (steps, B, K, H).
    """
    batch, _, units = first_state.shape
    # A GPU gets the inputs with the piece.
    step_bytes = first_state.dtype.itemsize * x[0].size
    step_bytes += batch * (len(cell.states) + len(cell.kept)) * units * first_state.dtype.itemsize
    length = machine.piece(source, step_bytes)
    states, gates = machine.room(length)
    edges = [*range(0, source, length), source]
    checkpoints = [first_state]

    def compute(index: int) -> tuple[Any, Any]:
        begin, end = edges[index], edges[index + 1]
        here, kept = states[: end - begin + 1], gates[: end - begin]
        machine.forward(x[begin:end], checkpoints[index], here, kept)
        return here, kept

    for index in range(len(edges) - 2):
        checkpoints.append(machine.last(compute(index)[0]))
    for index in range(len(edges) - 2, -1, -1):
        if edges[index + 1] <= last:
            return
        here, kept = compute(index)
        cut = max(0, last - edges[index])
        yield edges[index] + cut, here[cut:], kept[cut:]


def _source_step(source_step: Any, steps: int) -> int:
    if isinstance(source_step, bool) or not isinstance(source_step, int | np.integer):
        raise ValueRangeError(f"source_step={source_step!r} must be a whole number")
    found = source_step if source_step >= 0 else steps + 1 + source_step
    if not 1 <= found <= steps:
        raise ValueRangeError(
            f"source_step={source_step!r} is out of range; the states are 1..{steps}, or -1..-{steps} from the end"
        )
    return int(found)


def _blocks(cell: Cell, name: Any, argument: str) -> list[int]:
    if isinstance(name, str) and name == "joint":
        return list(range(len(cell.states)))
    if not isinstance(name, str) or name not in cell.states:
        raise UnknownNameError(
            f"{argument}={name!r} is not a state of {cell.name!r}; "
            f"choose {', '.join(map(repr, cell.states))} or 'joint'"
        )
    return [cell.states.index(name)]


def _lags(lags: Any, reach: int, norm: str) -> Array:
    if lags is None:
        if norm != "spectral" or reach <= _SPECTRAL_LAGS:
            return np.arange(reach + 1)
        spaced = np.geomspace(1, reach, _SPECTRAL_LAGS).round().astype(np.int64)
        return np.unique(np.concatenate([[0], spaced]))
    array = np.asarray(lags)
    if array.dtype.kind not in "iu":
        raise DtypeError(f"lags has dtype {array.dtype}; give whole numbers of steps")
    if array.ndim != 1 or array.size == 0:
        raise ShapeError(f"lags has shape {array.shape}, but should have one axis with at least one lag")
    array = array.astype(np.int64)
    if array.min() < 0 or array.max() > reach or np.any(np.diff(array) <= 0):
        raise ValueRangeError(f"lags={array.tolist()[:8]} must ascend and lie in 0..{reach}")
    return array


def _directions(cell: Cell, params: Params, of: list[int], norm: str, unit: Any, seed: int) -> Array:
    """(M, S, H): the adjoints of the target to start from."""
    states, units = len(cell.states), params.hidden_size
    size = len(of) * units
    if norm == "spectral":
        chosen = np.eye(size)
    elif norm == "unit":
        if isinstance(unit, bool) or not isinstance(unit, int | np.integer) or not 0 <= unit < size:
            raise ValueRangeError(f"unit={unit!r} must be a whole number in 0..{size - 1}")
        chosen = np.eye(size)[int(unit) : int(unit) + 1]
    else:
        chosen = np.random.default_rng(seed).standard_normal((1, size))
        chosen /= np.linalg.norm(chosen)
    directions = np.zeros((chosen.shape[0], states, units))
    directions[:, of] = chosen.reshape(-1, len(of), units)
    return check_array("direction", directions, params.dtype)
