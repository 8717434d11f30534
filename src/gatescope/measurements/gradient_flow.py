"""Gradient flow: how far back in time the gradient of one step reaches, in the log domain."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from gatescope.checks.network import check_initial_state, check_params
from gatescope.checks.numbers import check_count, check_threads
from gatescope.datatypes import Array, GradientFlow, Params
from gatescope.errors import UnknownNameError, ValueRangeError
from gatescope.kernels.cpu import sweeps
from gatescope.kernels.device import device_for
from gatescope.measurements.memory_estimate import plan_of
from gatescope.measurements.plans import show
from gatescope.measurements.selection import blocks_of, directions_of, lags_of, source_step_of
from gatescope.recurrence.clamping import clamp as clamp_params
from gatescope.recurrence.clamping import clamp_facts
from gatescope.recurrence.input_stream import open_series
from gatescope.recurrence.on_device import DeviceParams, check_no_threads, device_facts, placed
from gatescope.recurrence.recompute import Replay
from gatescope.storage.provenance import provenance
from gatescope.storage.resumable import Resumable, digest

NORMS = ("random", "unit", "spectral")


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
    clamp: Any = None,
    threads: int | None = None,
    progress: bool = False,
    resume: str | os.PathLike[str] | None = None,
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
    The run is recomputed from checkpoints, segment by segment, so memory grows with the square root of T (and the
    result with T); on a GPU the segments are cut to what is free there, inputs go there piece by piece, and the
    checkpoints stay here.  `plan_flow` counts beforehand.

    Threads take blocks of sequences, or directions of a spectral norm.  The rule where there are fewer of these than
    threads: one thread carries the adjoint back while another recomputes the segment before.  The result has the same
    bits for any number of threads.  (Chunks of time whose Jacobian products are found at the same time, and through
    which the adjoint is then replayed, lose to that: see benchmarks/README.md.)

    Parameters
    ----------
    params : Params or DeviceParams
    inputs : (T, B, I) or (T, I) array_like, numpy.memmap or iterator
        A memory-mapped array (``numpy.load(path, mmap_mode="r")``) is read in pieces and never as a whole; a generator
        of steps (I,) or of pieces (n, I) or (n, B, I) goes to a temporary file first.
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
    clamp : mapping, optional
        Gates to hold at values, as for `run`: ``{"f": 1.0}``.
    threads : int, optional
        On the CPU, as for `run`.
    progress : bool
        Show a memory plan and a progress bar on stderr, if it is a terminal.
    resume : path, optional
        A file for what has been computed.  It is written every minute and when the call is interrupted with Ctrl-C;
        the same call with the same file goes on from there, to the bits of a call that was never interrupted, and
        deletes it at its end.

    Returns
    -------
    GradientFlow

    Raises
    ------
    ShapeError, DtypeError, ValueRangeError, UnknownNameError, DeviceError
        If an argument does not fit; a ValueRangeError also if `resume` holds what another call left.
    FileFormatError, OutputError
        If the file `resume` is torn or something else, or it cannot be written, nor can a temporary file.

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
    params = clamp_params(params, clamp)
    cell = check_params(params)
    wrt, of = blocks_of(cell, state, "state"), blocks_of(cell, target, "target")
    if not isinstance(norm, str) or norm not in NORMS:
        raise UnknownNameError(f"norm={norm!r} is not known; choose one of {', '.join(NORMS)}")
    seeds = directions_of(cell, params, of, norm, unit, check_count("seed", seed, least=0))
    workers = check_threads(threads, sweeps.default_threads())
    with open_series(inputs, params) as series:
        source = source_step_of(source_step, series.steps)
        reach = source if horizon is None else check_count("horizon", horizon)
        if reach > source:
            raise ValueRangeError(
                f"horizon={horizon!r} reaches back beyond the first state; the source step is {source}"
            )
        wanted = lags_of(lags, reach, norm)
        start = check_initial_state(initial_state, cell, params, series.batch)
        shape = (series.batch, len(cell.states), params.hidden_size)
        first_state = np.zeros(shape, params.dtype) if start is None else start
        facts: dict[str, Any] = {}
        if resume is not None:
            facts = {
                "params": digest(*params.arrays().values()),
                "cell": cell.name,
                "inputs": series.digest(),
                "source_step": source,
                "initial_state": digest(first_state),
                "lags": digest(wanted),
                "state": state,
                "target": target,
                "norm": norm,
                "direction": digest(seeds),
                "device": device,
            }
        with Resumable(resume, "gradient_flow", facts) as kept:
            machine = device_for(device, cell, params, series.batch, workers)
            with kept.restoring():
                length = None if kept.found is None else _positive(int(kept.found["length"]))
            last = source - int(wanted[-1])
            replay = Replay(
                machine, cell, series, first_state, source, last, directions=len(seeds), length=length
            )
            carried = machine.adjoints(np.broadcast_to(seeds, (series.batch, *seeds.shape)))
            record = _Record(norm, wanted, source, wrt, series.batch)
            if progress and device == "cpu":
                show(plan_of(replay, params, wanted.size, len(seeds)))
            log_norm = _carry(replay, carried, record, kept, progress)
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
            **clamp_facts(params, clamp),
        ),
    )


def _carry(replay: Replay, carried: Any, record: _Record, kept: Resumable, progress: bool) -> Array:
    """Forward once, then the adjoints all the way back; the log-norms (L, B)."""
    before = replay.source
    if kept.found is not None:
        with kept.restoring():
            before = _restore(kept.found, replay, carried, record)
    else:
        record.start(carried)
    kept.found = None  # it may be large
    now = before, *carried.state()
    kept.snapshot = lambda: {
        **replay.state(),
        "before": np.array(now[0]),
        "adjoints": now[1],
        "exponents": now[2],
        "log_norm": record.log_norm[: record.row(now[0])],
    }
    with tqdm(
        total=replay.forward_steps + replay.source - replay.last,
        initial=replay.reached + replay.source - before,
        unit="step",
        unit_scale=True,
        disable=None if progress else True,
    ) as bar:
        bar.set_description_str(f"gradient flow ({replay.cell.name}), forward", refresh=False)
        for steps in replay.forward():
            bar.update(steps)
            kept.tick()
        bar.set_description_str(f"gradient flow ({replay.cell.name}), back", refresh=False)
        with closing(replay.pieces(before)) as pieces:
            for begin, states, gates in pieces:
                record.piece(carried, states, gates, begin)
                if kept.wanted:
                    now = begin, *carried.state()
                    kept.tick()
                bar.update(states.shape[0] - 1)
    return record.log_norm


def _restore(found: Mapping[str, Array], replay: Replay, carried: Any, record: _Record) -> int:
    """The state before which to go on."""
    replay.restore(found)
    before = int(found["before"])
    if not replay.begins(before):
        raise ValueError(f"no segment begins at step {before}")
    shapes = [array.shape for array in carried.state()]
    if shapes != [found["adjoints"].shape, found["exponents"].shape]:
        raise ValueError(f"adjoints {found['adjoints'].shape} and {found['exponents'].shape}, not {shapes}")
    carried.restore(found["adjoints"], found["exponents"])
    record.log_norm[: record.row(before)] = found["log_norm"]
    return before


def _positive(length: int) -> int:
    if length < 1:
        raise ValueError(f"segments of {length} steps")
    return length


class _Record:
    """The log-norms (L, B) at the wanted lags, filled in piece by piece on the way back."""

    def __init__(self, norm: str, wanted: Array, source: int, wrt: list[int], batch: int) -> None:
        self.log_norm = np.full((wanted.size, batch), -np.inf)
        self._spectral, self._wanted, self._source, self._wrt = norm == "spectral", wanted, source, wrt

    def row(self, state: int) -> int:
        """How many of the lags are reached when the adjoints are at that state."""
        return int(np.searchsorted(self._wanted, self._source - state, side="right"))

    def start(self, carried: Any) -> None:
        """Lag 0, if it is wanted."""
        if self._wanted[0] == 0:
            if self._spectral:
                self.log_norm[0] = _largest(carried, self._wrt)
            else:
                self.log_norm[0] = log_of(np.linalg.norm(carried.state()[0][0, 0, self._wrt]))

    def piece(self, carried: Any, states: Any, gates: Any, begin: int) -> None:
        """Go back over a piece that begins at a step."""
        end = begin + states.shape[0] - 1
        first, last = self.row(end), self.row(begin)
        here = self._wanted[first:last] - (self._source - end)  # steps back from the piece's end
        if not self._spectral:
            norms = carried.back(states, gates, 0, end - begin)[:, :, 0, self._wrt]
            every = here.size == len(norms)
            joint = norms if every else norms[here - 1]
            # Squares would leave the range.
            both = len(self._wrt) > 1
            self.log_norm[first:last] = np.logaddexp.reduce(2 * joint, axis=-1) / 2 if both else joint[..., 0]
            return
        stop = end - begin
        for row, back in enumerate(here, first):
            at = end - begin - int(back)
            carried.back(states, gates, at, stop, record=False)
            self.log_norm[row] = _largest(carried, self._wrt)
            stop = at
        if stop > 0:
            carried.back(states, gates, 0, stop, record=False)


def log_of(value: Any) -> Any:
    """Natural logarithm; -inf of 0, without a warning."""
    with np.errstate(divide="ignore"):
        return np.log(value)


def _largest(carried: Any, wrt: list[int]) -> Array:
    """Log of the largest singular value of what is carried, (B,)."""
    current, exponents = carried.matrices()
    jacobian = current[:, :, wrt].reshape(current.shape[0], current.shape[1], -1).astype(np.float64)
    bad = ~np.isfinite(jacobian).all(axis=(1, 2))
    jacobian[bad] = 0  # LAPACK takes no others
    # One power of two puts the largest entry near 1, so that squares inside the SVD cannot leave the range.
    peak = np.abs(jacobian).max(axis=(1, 2))
    power = np.where(peak > 0, np.frexp(peak)[1], 0)
    largest = np.linalg.svd(np.ldexp(jacobian, -power[:, None, None]), compute_uv=False)[:, 0]
    found: Array = np.where(bad, np.inf, log_of(largest) + (exponents + power) * np.log(2.0))
    return found
