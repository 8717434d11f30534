"""Connectivity: how strongly each output depends on each input, in the log domain."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from gatescope.cells.registry import Cell
from gatescope.checks.network import check_initial_state, check_params
from gatescope.checks.numbers import check_count, check_threads
from gatescope.datatypes import Array, Params
from gatescope.datatypes.connectivity import Connectivity
from gatescope.errors import DtypeError, ShapeError, UnknownNameError, ValueRangeError
from gatescope.kernels.cpu import sweeps as cpu
from gatescope.kernels.cpu.adjoints import Adjoints
from gatescope.kernels.cpu.device import CpuDevice
from gatescope.kernels.device import device_metadata
from gatescope.measurements.plans import Plan, show
from gatescope.measurements.selection import directions_of
from gatescope.recurrence.clamping import clamp as clamp_params
from gatescope.recurrence.clamping import clamp_metadata
from gatescope.recurrence.input_stream import Series, open_series
from gatescope.recurrence.recompute import Replay
from gatescope.storage.provenance import provenance
from gatescope.storage.resumable import Resumable, digest

NORMS = ("frobenius", "random", "unit")
SPACINGS = ("even", "log")
_TARGETS, _SOURCES = 200, 2000
# Adjoints of so much are carried at a time; norms of so much are kept before those asked for are taken out.
_CARRIED_BYTES, _NORM_BYTES = 1 << 28, 1 << 25


def connectivity(
    params: Params,
    inputs: Any,
    targets: Any = None,
    sources: Any = None,
    *,
    norm: str = "frobenius",
    unit: int = 0,
    seed: int = 0,
    initial_state: Any = None,
    clamp: Any = None,
    threads: int | None = None,
    progress: bool = False,
    resume: str | os.PathLike[str] | None = None,
) -> Connectivity:
    r"""Log-norm of the derivative of each output by each input.

    .. math::
        \ln \left\| \frac{\partial\, \mathrm{outputs}[t]}{\partial\, \mathrm{inputs}[t']} \right\|, \qquad t' \le t

    One sweep back through the run carries the adjoints of all outputs at once: each joins when the sweep reaches its
    step, and W_ih^T times the adjoint of the pre-activations is the derivative by that step's input.  Every adjoint is
    scaled by exact powers of two, so that a row is right at lag 10,000,000.

    A row costs as much as one `gradient_flow` with ``norm="random"`` or ``"unit"``, and H times as much with
    ``"frobenius"``.  What is carried is bounded by 256 MiB: where H rows of so many targets need more, they are taken
    in batches, with a sweep for each.  The run is recomputed from checkpoints; only the sources asked for are kept.

    Parameters
    ----------
    params : Params
    inputs : (T, B, I) or (T, I) array_like, numpy.memmap or iterator
        As for `gradient_flow`: a file or a generator is read piece by piece.
    targets : (R,) array_like of int, optional
        The steps t of the outputs, counted from 0, ascending.  Default: all, or 200 spaced evenly to the last.
    sources : (C,) array_like of int, ``"even"`` or ``"log"``, optional
        The steps t' of the inputs, counted from 0, ascending.  Default ``"even"``: all to the last target, or 2,000
        spaced evenly; ``"log"``: about 2,000 whose distances from the last target are spaced evenly in the logarithm.
    norm : str
        ``"frobenius"``: of the whole Jacobian, (H, I).  ``"random"``, ``"unit"``: of v J, for one unit vector v drawn
        with `seed`, or for the output of unit `unit` alone; a sweep of these is H times as fast.
    unit, seed
        As above.
    initial_state : (B, S, H) array_like, optional
    clamp : mapping, optional
        Gates to hold at values, as for `run`: ``{"f": 1.0}``.
    threads : int, optional
        As for `run`; even one sequence's adjoints are shared out among them.
    progress : bool
        Show a memory plan and a progress bar on stderr, if it is a terminal.
    resume : path, optional
        A file for what has been computed, as for `gradient_flow`: after Ctrl-C, or whatever else ended the call, the
        same call with the same file goes on from there, to the same bits.  What is carried then takes three times the
        memory.

    Returns
    -------
    Connectivity

    Raises
    ------
    ShapeError, DtypeError, ValueRangeError, UnknownNameError
        If an argument does not fit; a ValueRangeError also if `resume` holds what another call left.
    FileFormatError, OutputError
        If the file `resume` is torn or something else, or it cannot be written, nor can a temporary file.

    References
    ----------
    .. [1] S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 9 (1997), section 3.1.
    .. [2] A. Graves, "Supervised sequence labelling with recurrent neural networks" (Springer 2012), section 4.2: the
       sensitivity to an input as it fades over time.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("gru", input_size=1, hidden_size=8, seed=0)
    >>> conn = gs.connectivity(params, np.zeros((50, 1)), targets=[9, 49])
    >>> conn.log_norm.shape, bool(np.isnan(conn.row(9)[10:]).all()), bool(np.isfinite(conn.row(49)).all())
    ((2, 50, 1), True, True)
    """
    params = clamp_params(params, clamp)
    cell = check_params(params)
    if not isinstance(norm, str) or norm not in NORMS:
        raise UnknownNameError(f"norm={norm!r} is not known; choose one of {', '.join(NORMS)}")
    kind = "spectral" if norm == "frobenius" else norm
    seeds = directions_of(cell, params, [0], kind, unit, check_count("seed", seed, least=0))
    workers = check_threads(threads)
    with open_series(inputs, params) as series:
        steps, batch = series.steps, series.batch
        rows = _even(steps - 1, _TARGETS) if targets is None else _steps("targets", targets, steps)
        columns = _sources(sources, steps, int(rows[-1]))
        shape = (batch, len(cell.states), params.hidden_size)
        start = check_initial_state(initial_state, cell, params, batch)
        first_state = np.zeros(shape, params.dtype) if start is None else start
        log_norm = np.full((rows.size, columns.size, batch), np.nan)
        facts: dict[str, Any] = {}
        if resume is not None:
            facts = {
                "params": digest(*params.arrays().values()),
                "cell": cell.name,
                "inputs": series.digest(),
                "targets": digest(rows),
                "sources": digest(columns),
                "norm": norm,
                "direction": digest(seeds),
                "initial_state": digest(first_state),
            }
        with Resumable(resume, "connectivity", facts) as kept:
            machine = CpuDevice(cell, params, workers)
            each = max(1, _CARRIED_BYTES // (batch * seeds.nbytes))
            replays = []
            for some in (slice(at, at + each) for at in range(0, rows.size, each)):
                if rows[some][-1] >= columns[0]:
                    bounds = int(rows[some][-1]) + 1, int(columns[0])
                    many = rows[some].size * len(seeds)
                    replays.append(
                        (some, Replay(machine, cell, series, first_state, *bounds, directions=many))
                    )

            def sweep_over(some: slice, replay: Replay) -> _Sweep:
                return _Sweep(replay, params, seeds, rows[some], columns, log_norm[some], workers)

            if progress:
                show(_plan(cell, params, series, replays, min(each, rows.size) * len(seeds), log_norm))
            _work_through(replays, sweep_over, log_norm, kept, progress)
    return Connectivity(
        cell=cell.name,
        target_step=rows,
        source_step=columns,
        log_norm=log_norm,
        norm=norm,
        provenance=provenance(
            **device_metadata("cpu"),
            dtype=params.dtype.name,
            seed=params.provenance.get("seed"),
            direction_seed=seed,
            **clamp_metadata(params, clamp),
        ),
    )


def _plan(
    cell: Cell,
    params: Params,
    series: Series,
    replays: list[tuple[slice, Replay]],
    directions: int,
    log_norm: Array,
) -> Plan:
    """What a sweep that carries so many adjoints takes, with the result."""
    row = (len(cell.states) + len(cell.gates) + 2) * params.hidden_size * params.dtype.itemsize
    longest = max((replay.length for _, replay in replays), default=0)
    parts = {
        "log-norms": log_norm.nbytes,
        "adjoints that are carried": series.batch * directions * row,
        "norms of a part of a segment": min(_NORM_BYTES, 8 * longest * series.batch * directions),
        "segments": max((replay.buffers * replay.buffer_bytes for _, replay in replays), default=0),
        "checkpoints": sum(replay.checkpoints.nbytes for _, replay in replays),
    }
    if series.resident_bytes:
        parts["inputs as they are read"] = series.resident_bytes
    sweeps = "one sweep" if len(replays) == 1 else f"{len(replays)} sweeps"
    title = f"connectivity of {cell.name} with {params.hidden_size} units, {series.steps:,} steps, {sweeps}"
    return Plan(title=title, parts=parts)


def _work_through(
    replays: list[tuple[slice, Replay]],
    sweep_over: Callable[[slice, Replay], _Sweep],
    log_norm: Array,
    kept: Resumable,
    progress: bool,
) -> None:
    """A sweep for each batch of targets, the last batch first, or for those that are left."""
    found, kept.stored = kept.stored, None  # it may be large
    finished = 0
    if found is not None:
        with kept.restoring():
            finished = int(found["finished"])
            if not 0 <= finished < len(replays):
                raise ValueError(f"{finished} of {len(replays)} sweeps are finished")
            _check_shape(found["log_norm"], log_norm.shape)
            log_norm[:] = found["log_norm"]
    steps = [replay.forward_steps + replay.source - replay.last for _, replay in replays]
    with tqdm(
        total=sum(steps),
        initial=sum(steps[len(steps) - finished :]),
        unit="step",
        unit_scale=True,
        disable=None if progress else True,
    ) as bar:
        del replays[len(replays) - finished :]
        while replays:
            some, replay = replays.pop()
            sweep, before = sweep_over(some, replay), replay.source
            if found is not None:
                with kept.restoring():
                    before = sweep.restore(found)
                found = None
                bar.update(replay.reached + replay.source - before)
            kept.snapshot = partial(_snapshot, finished, sweep, log_norm)
            bar.set_description_str(f"connectivity ({replay.cell.name})", refresh=False)
            for done in replay.forward():
                bar.update(done)
                kept.tick()
            with closing(replay.pieces(before)) as pieces:
                for begin, states, gates in pieces:
                    sweep.piece(begin, states, gates)
                    if kept.enabled:
                        sweep.keep(begin)
                        kept.tick()
                    bar.update(states.shape[0] - 1)
            finished += 1


def _snapshot(finished: int, sweep: _Sweep, log_norm: Array) -> dict[str, Array]:
    # What the current sweep has put into its rows since it was kept is put there again.
    return {"finished": np.array(finished), "log_norm": log_norm, **sweep.state()}


def _check_shape(array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{array.shape} in the place of {shape}")


class _Sweep:
    """One sweep back: the adjoints of some targets, and where their norms go.

    Parameters
    ----------
    replay : Replay
        Of the run from the first source to the last of the targets.
    seeds : (D, S, H)
        The adjoints that each target starts from.
    targets : (R,)
    sources : (C,)
    log_norm : (R, C, B)
        Filled in.
    """

    def __init__(
        self,
        replay: Replay,
        params: Params,
        seeds: Array,
        targets: Array,
        sources: Array,
        log_norm: Array,
        threads: int,
    ) -> None:
        self._replay, self._seeds = replay, seeds
        self._targets, self._sources, self._log_norm = targets, sources, log_norm
        self._batch = log_norm.shape[2]
        plan = cpu.plan_for(replay.cell, params.hidden_size, params.dtype)
        self._shape = self._batch, targets.size * len(seeds), *seeds.shape[1:]
        nothing = np.broadcast_to(np.zeros((), params.dtype), self._shape)
        self._carried = Adjoints(plan, params, nothing, threads, inputs=True)
        self._left = targets.size  # targets that the sweep has not reached
        step_bytes = 8 * self._batch * targets.size * len(seeds)
        self._most = max(1, _NORM_BYTES // step_bytes)
        # Before the first piece nothing is carried, and nothing need be kept.
        self._kept = replay.source, np.zeros(0), np.zeros(0)

    def keep(self, before: int) -> None:
        """From here on `state` is that before a step, to which the sweep has come."""
        self._kept = before, *self._carried.state()

    def state(self) -> dict[str, Array]:
        """What `restore` needs to go on; safe to be taken between any two lines."""
        before, adjoints, exponents = self._kept
        return {
            **self._replay.state(),
            "before": np.array(before),
            "adjoints": adjoints,
            "exponents": exponents,
        }

    def restore(self, found: Mapping[str, Array]) -> int:
        """Go on from what `state` returned; the step before which to go on."""
        if int(found["length"]) != self._replay.length:
            raise ValueError(f"segments of {found['length']} steps, not {self._replay.length}")
        self._replay.restore(found)
        before, adjoints, exponents = int(found["before"]), found["adjoints"], found["exponents"]
        if not self._replay.begins(before):
            raise ValueError(f"no segment begins at step {before}")
        if before < self._replay.source:
            _check_shape(adjoints, self._shape)
            _check_shape(exponents, self._shape[:2])
            self._carried.restore(adjoints, exponents)
            self._kept = before, adjoints, exponents
            # Those of the step before which it is join with the next piece.
            self._left = int(np.searchsorted(self._targets, before))
        return before

    def piece(self, begin: int, states: Array, gates: Array) -> None:
        """Go back over a piece that begins at step `begin`."""
        high = begin + states.shape[0] - 1  # a state's number, one more than that of the step that made it
        while high > begin:
            while self._left and self._targets[self._left - 1] + 1 == high:
                self._left -= 1
                self._join(self._left)
            next_target = int(self._targets[self._left - 1]) + 1 if self._left else begin
            low = max(begin, next_target, high - self._most)
            norms = self._carried.back_to_inputs(states, gates, low - begin, high - begin)
            self._take(norms, low, high)
            high = low

    def _join(self, target: int) -> None:
        seeds = np.broadcast_to(self._seeds, (self._batch, *self._seeds.shape))
        self._carried.join(target * len(self._seeds), seeds)

    def _take(self, norms: Array, low: int, high: int) -> None:
        """Norms (high - low, B, M) of the inputs of steps high - 1, ..., low."""
        first, last = np.searchsorted(self._sources, (low, high))
        if first == last:
            return
        chosen = norms[high - 1 - self._sources[first:last]].reshape(
            last - first, self._batch, self._targets.size, len(self._seeds)
        )
        joined = np.logaddexp.reduce(2 * chosen[:, :, self._left :], axis=-1) / 2
        self._log_norm[self._left :, first:last] = joined.transpose(2, 0, 1)


def _even(last: int, most: int) -> Array:
    """Steps 0..last, or `most` of them spaced evenly up to the last."""
    if last < most:
        return np.arange(last + 1)
    return np.linspace(0, last, most + 1)[1:].round().astype(np.int64)


def _sources(sources: Any, steps: int, last: int) -> Array:
    if sources is None or (isinstance(sources, str) and sources == "even"):
        return _even(last, _SOURCES)
    if isinstance(sources, str) and sources == "log":
        distances = np.geomspace(1, last + 1, min(last + 1, _SOURCES)).round().astype(np.int64) - 1
        return last - np.unique(distances)[::-1]
    if isinstance(sources, str):
        raise UnknownNameError(
            f"sources={sources!r} is not known; choose {' or '.join(map(repr, SPACINGS))}, or give steps"
        )
    return _steps("sources", sources, steps)


def _steps(name: str, value: Any, steps: int) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        raise DtypeError(f"{name} has dtype {array.dtype}; give whole numbers, steps counted from 0")
    if array.ndim != 1 or array.size == 0:
        raise ShapeError(f"{name} has shape {array.shape}, but should have one axis with at least one step")
    array = array.astype(np.int64)
    if array.min() < 0 or array.max() >= steps or np.any(np.diff(array) <= 0):
        raise ValueRangeError(
            f"{name}={array.tolist()[:8]} must ascend and lie in 0..{steps - 1}, the steps of inputs"
        )
    return array
