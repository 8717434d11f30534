"""Gradient paths: how much of an adjoint stays on the state highway, and through which gates the rest goes."""

from __future__ import annotations

from typing import Any

import numpy as np
from tqdm.auto import tqdm

from gatescope.cells.registry import Cell
from gatescope.checks.network import check_initial_state, check_params
from gatescope.checks.numbers import check_count, check_threads
from gatescope.datatypes import Array, Params
from gatescope.datatypes.gradient_paths import GradientPaths
from gatescope.errors import UnknownNameError, ValueRangeError
from gatescope.kernels.cpu import sweeps
from gatescope.kernels.cpu.adjoints import Adjoints
from gatescope.kernels.cpu.device import CpuDevice
from gatescope.measurements.gradient_flow import log_of
from gatescope.measurements.selection import blocks_of, directions_of, lags_of, source_step_of
from gatescope.recurrence.clamping import clamp as clamp_params
from gatescope.recurrence.clamping import clamp_facts
from gatescope.recurrence.input_stream import open_series
from gatescope.recurrence.on_device import device_facts
from gatescope.recurrence.recompute import Replay
from gatescope.storage.provenance import provenance

NORMS = ("random", "unit")
HIGHWAY = "highway"
_MOST_LAGS = 100_000
_VECTOR_BYTES = 1 << 31
_DIGITS = 1e-3  # shares are not told where rounding leaves fewer digits than this


def gradient_paths(
    params: Params,
    inputs: Any,
    source_step: int = -1,
    state: str | None = None,
    *,
    target: str = "h",
    norm: str = "random",
    unit: int = 0,
    seed: int = 0,
    lags: Any = None,
    horizon: int | None = None,
    initial_state: Any = None,
    clamp: Any = None,
    vectors: bool = False,
    threads: int | None = None,
    progress: bool = False,
) -> GradientPaths:
    r"""Exact decomposition of a gradient into the state highway and the paths through each gate.

    One step back multiplies an adjoint by :math:`J^T = D + \sum_g R_g^T \Delta_g`: D is what each unit's states keep
    of themselves (f of an LSTM, z of a GRU), and the adjoint :math:`\Delta_g a` of gate g's pre-activation reaches
    the state before through the recurrent weights R_g.  From a direction v of target(t), at lag k,

    .. math::
        H_{k+1} = D H_k, \qquad P^g_{k+1} = J^T P^g_k + R_g^T \Delta_g H_k, \qquad
        a_k = H_k + \sum_g P^g_k = v \, \frac{\partial\, target_t}{\partial\, state_{t-k}} :

    H has never left the highway, and :math:`P^g` gathers the paths that, going back from t, leave it first through
    gate g.  (With the reset gate before the product, what comes back through ``r * h`` belongs to the candidate,
    through whose recurrent weights it left.)  The sum is exact, at every lag.

    Every part is scaled by itself by exact powers of two, so all norms are right however small they are.  The whole
    is carried back too and not taken from the sum, because parts may cancel.

    Parameters
    ----------
    params : Params
    inputs : (T, B, I) or (T, I) array_like, numpy.memmap or iterator
        As for `gradient_flow`: a file or a generator is read piece by piece.
    source_step : int
        t, counted in states: 1..T, or negative from the end; -1 is the final state, t = T.
    state : str, optional
        With respect to what: a state of the cell or ``"joint"``.  Default: the cell's last state, which carries its
        memory: ``"c"`` of an LSTM (whose h has no highway), ``"h"`` of the others.
    target : str
        What is differentiated: a state of the cell (``"h"`` is the output) or ``"joint"``.
    norm, unit, seed
        The direction v, as for `gradient_flow`: ``"random"``, of length 1, drawn with `seed`; or ``"unit"``, target
        unit `unit` alone.
    lags : array_like of int, optional
        Which lags to report, ascending.  Default: all from 0 to `horizon`, or about 100,000 of them, spaced evenly
        (the first ones and 500 spaced evenly in the logarithm among them).
    horizon : int, optional
        The longest lag, at most t, which is the default.
    initial_state : (B, S, H) array_like, optional
    clamp : mapping, optional
        Gates to hold at values, as for `run`: ``{"f": 1.0}``.
    vectors : bool
        Whether to return the parts themselves, not their norms alone.
    threads : int, optional
        As for `run`; the sequences are shared out among them.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    GradientPaths

    Raises
    ------
    ShapeError, DtypeError, ValueRangeError, UnknownNameError
        If an argument does not fit.

    References
    ----------
    .. [1] S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9 (1997), section 4: the
       constant error carousel, and the error that leaves it through the gates.
    .. [2] F. Gers, J. Schmidhuber and F. Cummins, "Learning to forget", Neural Computation 12 (2000), section 3.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("lstm", input_size=1, hidden_size=16, seed=0)
    >>> paths = gs.gradient_paths(params, np.zeros((500, 1)), horizon=100)
    >>> paths.paths, paths.share.shape
    (('highway', 'i', 'f', 'g', 'o'), (101, 5, 1))
    >>> bool(np.allclose(paths.share[1:].sum(axis=1), 1, atol=1e-4))   # float32 weights; parts that cancel
    True
    """
    params = clamp_params(params, clamp)
    cell = check_params(params)
    name = cell.states[-1] if state is None else state
    wrt, of = blocks_of(cell, name, "state"), blocks_of(cell, target, "target")
    if not isinstance(norm, str) or norm not in NORMS:
        raise UnknownNameError(f"norm={norm!r} is not known; choose one of {', '.join(NORMS)}")
    seeds = directions_of(cell, params, of, norm, unit, check_count("seed", seed, least=0))
    workers = check_threads(threads, sweeps.default_threads())
    with open_series(inputs, params) as series:
        batch, source = series.batch, source_step_of(source_step, series.steps)
        reach = source if horizon is None else check_count("horizon", horizon)
        if reach > source:
            raise ValueRangeError(
                f"horizon={horizon!r} reaches back beyond the first state; the source step is {source}"
            )
        wanted = _spread(reach) if lags is None else lags_of(lags, reach, norm)
        reach = int(wanted[-1])
        shape = (batch, len(cell.states), params.hidden_size)
        start = check_initial_state(initial_state, cell, params, batch)
        record = _Record(cell, wanted, wrt, shape, vectors)
        plan = sweeps.plan_for(cell, params.hidden_size, params.dtype)
        carried = Adjoints(plan, params, _split(cell, seeds, batch), workers, paths=True)
        record.start(seeds[0], carried)
        replay = Replay(
            CpuDevice(cell, params, batch, workers),
            cell,
            series,
            np.zeros(shape, params.dtype) if start is None else start,
            source,
            source - reach,
        )
        with tqdm(
            total=replay.forward_steps + reach,
            unit="step",
            desc=f"gradient paths ({cell.name})",
            disable=None if progress else True,
        ) as bar:
            for steps in replay.forward():
                bar.update(steps)
            for begin, states, gates in replay.pieces():
                record.piece(carried, states, gates, source - begin)
                bar.update(states.shape[0] - 1)
    return GradientPaths(
        cell=cell.name,
        lag=wanted,
        paths=(HIGHWAY, *cell.gates),
        target=target,
        state=name,
        source_step=source,
        norm=norm,
        provenance=provenance(
            **device_facts("cpu"),
            dtype=params.dtype.name,
            seed=params.provenance.get("seed"),
            direction_seed=seed,
            **clamp_facts(params, clamp),
        ),
        **record.fields(np.finfo(params.dtype).eps),
    )


def _spread(reach: int) -> Array:
    """All lags, or so many spaced evenly, and those at the start that an even spacing steps over."""
    if reach <= _MOST_LAGS:
        return np.arange(reach + 1)
    even = np.linspace(0, reach, _MOST_LAGS).round().astype(np.int64)
    return np.unique(np.concatenate([even, np.geomspace(1, reach, 500).round().astype(np.int64)]))


def _split(cell: Cell, seeds: Array, batch: int) -> Array:
    """(B, G + 2, S, H): at lag 0 all of the adjoint is on the highway; the last row is the whole."""
    directions = np.zeros((batch, len(cell.gates) + 2, *seeds.shape[1:]), seeds.dtype)
    directions[:, [0, -1]] = seeds[0]
    return directions


class _Record:
    """What is kept of each wanted lag, filled in piece by piece as the parts go back."""

    def __init__(
        self, cell: Cell, lags: Array, wrt: list[int], shape: tuple[int, ...], vectors: bool
    ) -> None:
        batch, parts = shape[0], len(cell.gates) + 1
        self._lags, self._wrt = lags, wrt
        self._log_norm = np.full((lags.size, parts + 1, batch), -np.inf)
        self._share = np.full((lags.size, parts, batch), np.nan)
        self._vectors = self._exponents = None
        if vectors:
            size = lags.size * parts * int(np.prod(shape)) * 8
            if size > _VECTOR_BYTES:
                raise ValueRangeError(
                    f"vectors=True would take {size / 2**30:.1f} GiB for {lags.size:,} lags; name fewer with lags"
                )
            self._vectors = np.empty((lags.size, parts, *shape))
            self._exponents = np.empty((lags.size, batch), np.int64)

    def start(self, seed: Array, carried: Adjoints) -> None:
        """Lag 0, if it is wanted."""
        if self._lags[0] != 0:
            return
        length = np.linalg.norm(seed[self._wrt])
        self._log_norm[0, [0, -1]] = log_of(length)
        if length > 0:
            self._share[0] = 0
            self._share[0, 0] = 1
        self._keep(0, carried)

    def piece(self, carried: Adjoints, states: Array, gates: Array, before: int) -> None:
        """Go back over a piece whose first state is `before` steps before the source step."""
        steps = states.shape[0] - 1
        end = before - steps
        inside = np.flatnonzero((self._lags > end) & (self._lags <= before))
        if self._vectors is None:
            self._take(inside, carried, states, gates, (0, steps), end)
            return
        high = steps
        for at in inside:
            low = before - int(self._lags[at])
            self._take(np.array([at]), carried, states, gates, (low, high), before - high)
            self._keep(int(at), carried)
            high = low
        carried.back(states, gates, 0, high, record=False)

    def _take(
        self,
        inside: Array,
        carried: Adjoints,
        states: Array,
        gates: Array,
        span: tuple[int, int],
        end: int,
    ) -> None:
        norms, shares = carried.back_along_paths(states, gates, *span)
        here = self._lags[inside] - end - 1
        norms, shares = norms[here][..., self._wrt], shares[here][..., self._wrt]  # (L, B, M, S)
        joint = np.logaddexp.reduce(2 * norms, axis=-1) / 2
        self._log_norm[inside] = joint.transpose(0, 2, 1)
        with np.errstate(invalid="ignore", over="ignore"):
            weight = np.exp(2 * (norms[:, :, -1:] - joint[:, :, -1:, None]))
            share = np.where(weight == 0, 0, shares * weight).sum(axis=-1)
        self._share[inside] = share.transpose(0, 2, 1)

    def _keep(self, at: int, carried: Adjoints) -> None:
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
        """The result's arrays; a share that is rounding alone is no number."""
        log_norm, total = np.ascontiguousarray(self._log_norm[:, :-1]), self._log_norm[:, -1].copy()
        with np.errstate(invalid="ignore"):
            noise = np.logaddexp.reduce(log_norm, axis=1) - total > np.log(_DIGITS / eps)
        share = np.where(
            (noise | ~np.isfinite(total))[:, None] | ~np.isfinite(self._share), np.nan, self._share
        )
        return {
            "log_norm": log_norm,
            "share": share,
            "total_log_norm": total,
            "vectors": self._vectors,
            "exponents": self._exponents,
        }
