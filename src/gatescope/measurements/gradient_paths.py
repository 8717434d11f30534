"""Gradient paths: how much of an adjoint stays on the direct path, and through which gates the rest goes."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatescope.cells.registry import Cell
from gatescope.checks.numbers import check_flag
from gatescope.datatypes import Array, Bidirectional, Params, Stack
from gatescope.datatypes.by_layer import ByLayer
from gatescope.datatypes.gradient_paths import DIRECT, GradientPaths
from gatescope.errors import ValueRangeError
from gatescope.kernels.cpu import sweeps
from gatescope.kernels.cpu.adjoints import Adjoints
from gatescope.measurements.each_layer import OfStacksToo, each_layer
from gatescope.measurements.flow_record import log_of
from gatescope.measurements.problem import Problem, by_length
from gatescope.measurements.selection import by_factors, ends_of, evenly, join_flows, lags_back
from gatescope.reporting.text import byte_count

NORMS = ("random", "unit")
_MOST_LAGS = 100_000
_VECTOR_BYTES = 1 << 31
_DIGITS = 1e-3  # fractions are not known where rounding leaves fewer digits than this


@OfStacksToo(GradientPaths, ByLayer[GradientPaths])
def gradient_paths(
    params: Params | Stack | Bidirectional,
    inputs: Any,
    *,
    source_step: int = -1,
    of: str = "h",
    wrt: str | None = None,
    max_lag: int | None = None,
    lags: Any = None,
    norm: str = "random",
    unit: int = 0,
    vectors: bool = False,
    lengths: Any = None,
    initial_state: Any = None,
    clamp: Any = None,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = False,
) -> GradientPaths | ByLayer[GradientPaths]:
    r"""Take a gradient apart, exactly: the direct (carry) path from state to state, and the paths through each gate.

    A path belongs to the gate by which it first leaves the direct path, going back in time.  That makes the parts sum
    to the whole.  It also means that a gate which acts only inside another has no part of its own: in
    ``gru_reset_before`` the reset gate stands inside the candidate, ``n = tanh(... + R_n (r * h))``, so every path
    through r first leaves by n, part "n" holds both, and part "r" is 0 by definition.  In ``gru`` the reset gate
    multiplies the candidate's recurrent part from outside, and part "r" is what goes through R_r.  Compare the two
    cells by the sum of their parts "r" and "n".

    One step back multiplies an adjoint by :math:`J^T = D + \sum_g R_g^T \Delta_g`: D is what each unit's states keep
    of themselves (f of an LSTM, z of a GRU), and the adjoint :math:`\Delta_g a` of gate g's pre-activation reaches
    the state before through the recurrent weights R_g.  From a direction v of of(t), at lag k,

    .. math::
        H_{k+1} = D H_k, \qquad P^g_{k+1} = J^T P^g_k + R_g^T \Delta_g H_k, \qquad
        a_k = H_k + \sum_g P^g_k = v \, \frac{\partial\, of_t}{\partial\, wrt_{t-k}} :

    H has never left the direct path, and :math:`P^g` gathers the paths that, going back from t, leave it first through
    gate g.  The sum is exact, at every lag.

    Every part is scaled by itself by exact powers of two, so all norms are right however small they are.  The whole
    is carried back too and not taken from the sum, because parts may cancel.

    Of a stack each layer and direction is taken apart by itself, on what it really receives.

    Parameters
    ----------
    params : Params, Stack or Bidirectional
    inputs, source_step, of, max_lag
        As for `gradient_flow`.
    wrt : str, optional
        With respect to what: a state of the cell or ``"joint"``.  Default: the cell's last state, which carries its
        memory: ``"c"`` of an LSTM (whose h has no direct path), ``"h"`` of the others.
    lags : array_like of int, optional
        Which lags to report, ascending.  Default: all from 0 to `max_lag`, or about 100,000 of them, spaced evenly
        (the first ones and 500 spaced evenly in the logarithm among them).
    norm, unit
        The direction v, as for `gradient_flow`: ``"random"``, of length 1, drawn with `seed`; or ``"unit"``, unit
        `unit` of `of` alone.
    vectors : bool
        Whether to return the parts themselves, not their norms alone.
    lengths, initial_state, clamp, seed, threads, progress
        As for `gradient_flow`; the threads share the sequences.

    Returns
    -------
    GradientPaths, or ByLayer of these

    References
    ----------
    .. [1] S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9 (1997), section 4: the
       constant error carousel, and the error that leaves it through the gates.
    .. [2] F. Gers, J. Schmidhuber and F. Cummins, "Learning to forget", Neural Computation 12 (2000), section 3.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("lstm", input_size=1, hidden_size=16, seed=0)
    >>> paths = gs.gradient_paths(params, np.zeros((500, 1)), max_lag=100)
    >>> paths.paths, paths.fraction.shape
    (('direct', 'i', 'f', 'g', 'o'), (101, 5, 1))
    >>> bool(np.allclose(paths.fraction[1:].sum(axis=1), 1, atol=1e-4))   # float32 weights; parts that cancel
    True
    """
    lag: dict[str, Any] = {"source_step": source_step, "max_lag": max_lag, "lags": lags}
    chosen: dict[str, Any] = {
        "of": of,
        "wrt": wrt,
        "norm": norm,
        "unit": unit,
        "vectors": check_flag("vectors", vectors),
    }
    return each_layer(
        params,
        inputs,
        lengths,
        initial_state,
        clamp,
        lambda problem: measure(problem, **chosen, **lag),
        seed=seed,
        threads=threads,
        progress=progress,
        check=lambda cell, weights: ends_of(cell, weights, of, _memory(cell, wrt), NORMS, norm, unit, seed),
    )


def measure(
    problem: Problem,
    *,
    source_step: int = -1,
    of: str = "h",
    wrt: str | None = None,
    max_lag: int | None = None,
    lags: Any = None,
    norm: str = "random",
    unit: int = 0,
    vectors: bool = False,
) -> GradientPaths:
    """Do the work of `gradient_paths`, whose arguments these are."""
    cell = problem.cell
    wrt = _memory(cell, wrt)

    def measure_group(part: Problem) -> GradientPaths:
        (direction,), columns = ends_of(cell, part.params, of, wrt, NORMS, norm, unit, part.seed)
        source, chosen = lags_back(part, source_step, max_lag, lags, _spread)
        record = _sweep(part, source, _Record(part, chosen, columns, vectors), direction)
        return GradientPaths(
            cell=cell.name,
            lag=chosen,
            paths=(DIRECT, *cell.gates),
            of=of,
            wrt=wrt,
            source_step=source,
            norm=norm,
            provenance=part.provenance(direction_seed=part.seed),
            **record.fields(float(np.finfo(part.params.dtype).eps)),
        )

    axes = {"log_norm": 2, "fraction": 2, "total_log_norm": 1}
    if vectors:
        axes |= {"vectors": 2, "exponents": 1}
    return by_length(problem, measure_group, lambda groups, parts: join_flows(groups, parts, axes))


def _memory(cell: Cell, wrt: str | None) -> str:
    """Return the state that is meant, by default the last, which carries the cell's memory."""
    return cell.states[-1] if wrt is None else wrt


def _sweep(problem: Problem, source: int, record: _Record, direction: Array) -> _Record:
    """Carry the parts of the adjoint back over all lags of a record, and fill it in."""
    params, reach = problem.params, int(record.lags[-1])
    plan = sweeps.plan_for(problem.cell, params.hidden_size, params.dtype)
    parts = _split(problem.cell, direction, problem.batch)
    carried = Adjoints(plan, params, parts, problem.threads, paths=True)
    record.start(direction, carried)
    replay = problem.replay(problem.open_device(), source, source - reach)
    with problem.bar(replay.forward_steps + reach, "gradient paths") as bar:
        for steps in replay.forward():
            bar.update(steps)
        for begin, states, gates in replay.pieces():
            record.piece(carried, states, gates, source - begin)
            bar.update(states.shape[0] - 1)
    return record


def _spread(reach: int) -> Array:
    """Return all lags, or so many spaced evenly, and those at the start that an even spacing steps over."""
    if reach <= _MOST_LAGS:
        return np.arange(reach + 1)
    return np.union1d(evenly(reach, _MOST_LAGS - 1), by_factors(reach, 500))


def _split(cell: Cell, direction: Array, batch: int) -> Array:
    """Return the parts (B, G + 2, S, H) at lag 0: all is on the direct path; the last row is the whole."""
    parts = np.zeros((batch, len(cell.gates) + 2, *direction.shape), direction.dtype)
    parts[:, [0, -1]] = direction
    return parts


class _Record:
    """What is saved of each lag, filled in piece by piece as the parts go back."""

    def __init__(self, problem: Problem, lags: Array, wrt: list[int], vectors: bool) -> None:
        shape = problem.initial_state.shape
        batch, parts = problem.batch, len(problem.cell.gates) + 1
        self.lags, self._wrt = lags, wrt
        self._log_norm = np.full((lags.size, parts + 1, batch), -np.inf)
        self._fraction = np.full((lags.size, parts, batch), np.nan)
        self._vectors = self._exponents = None
        if vectors:
            size = lags.size * parts * int(np.prod(shape)) * 8
            if size > _VECTOR_BYTES:
                raise ValueRangeError(
                    f"would take {byte_count(size)} for {lags.size:,} lags",
                    argument="vectors",
                    seen=True,
                    advice="name fewer with `lags`",
                )
            self._vectors = np.empty((lags.size, parts, *shape))
            self._exponents = np.empty((lags.size, batch), np.int64)

    def start(self, direction: Array, carried: Adjoints) -> None:
        """Take down lag 0, if it is asked for."""
        if self.lags[0] != 0:
            return
        length = np.linalg.norm(direction[self._wrt])
        self._log_norm[0, [0, -1]] = log_of(length)
        if length > 0:
            self._fraction[0] = 0
            self._fraction[0, 0] = 1
        self._save(0, carried)

    def piece(self, carried: Adjoints, states: Array, gates: Array, before: int) -> None:
        """Go back over a piece whose first state is `before` steps before the source step."""
        steps = states.shape[0] - 1
        end = before - steps
        inside = np.flatnonzero((self.lags > end) & (self.lags <= before))
        if self._vectors is None:
            self._take(inside, carried, states, gates, (0, steps), end)
            return
        high = steps
        for at in inside:
            low = before - int(self.lags[at])
            self._take(np.array([at]), carried, states, gates, (low, high), before - high)
            self._save(int(at), carried)
            high = low
        carried.back(states, gates, 0, high, record=False)

    def _take(
        self, inside: Array, carried: Adjoints, states: Array, gates: Array, span: tuple[int, int], end: int
    ) -> None:
        norms, fractions = carried.back_along_paths(states, gates, *span)
        rows = self.lags[inside] - end - 1
        norms, fractions = norms[rows][..., self._wrt], fractions[rows][..., self._wrt]  # (L, B, M, S)
        joint = np.logaddexp.reduce(2 * norms, axis=-1) / 2
        self._log_norm[inside] = joint.transpose(0, 2, 1)
        with np.errstate(invalid="ignore", over="ignore"):
            weight = np.exp(2 * (norms[:, :, -1:] - joint[:, :, -1:, None]))
            fraction = np.where(weight == 0, 0, fractions * weight).sum(axis=-1)
        self._fraction[inside] = fraction.transpose(0, 2, 1)

    def _save(self, at: int, carried: Adjoints) -> None:
        if self._vectors is None or self._exponents is None:
            return
        rows, powers = carried.rows()
        rows, powers = rows[:, :-1].astype(np.float64), powers[:, :-1]
        alive = np.asarray(rows.any(axis=(2, 3)))
        most = np.where(alive, powers, np.iinfo(np.int64).min).max(axis=1)
        most[~alive.any(axis=1)] = 0
        shift = np.where(alive, powers - most[:, None], 0).clip(-5000, 0).astype(np.int32)
        self._vectors[at] = np.ldexp(rows, shift[:, :, None, None]).transpose(1, 0, 2, 3)
        self._exponents[at] = most

    def fields(self, eps: float) -> dict[str, Any]:
        """Return the result's arrays; a fraction that is rounding alone is no number."""
        log_norm, total = np.ascontiguousarray(self._log_norm[:, :-1]), self._log_norm[:, -1].copy()
        with np.errstate(invalid="ignore"):
            noise = np.logaddexp.reduce(log_norm, axis=1) - total > np.log(_DIGITS / eps)
        fraction = np.where(
            (noise | ~np.isfinite(total))[:, None] | ~np.isfinite(self._fraction), np.nan, self._fraction
        )
        return {
            "log_norm": log_norm,
            "fraction": fraction,
            "total_log_norm": total,
            "vectors": self._vectors,
            "exponents": self._exponents,
        }
