"""Singular values of the Jacobian between two steps, by factored products that keep the digits of all of them."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from gatescope.cells.registry import Cell
from gatescope.checks.arrays import check_ascending
from gatescope.checks.network import check_initial_state, check_params
from gatescope.checks.numbers import check_count, check_threads
from gatescope.datatypes import Array, Params
from gatescope.datatypes.jacobian_spectrum import JacobianSpectrum
from gatescope.errors import AccuracyWarning, UnknownNameError, ValueRangeError
from gatescope.kernels.cpu.device import CpuDevice
from gatescope.kernels.cpu.jacobian_product import Chain
from gatescope.measurements.selection import source_step_of
from gatescope.measurements.step_jacobian import step_jacobians
from gatescope.measurements.tangent_sweep import in_float64
from gatescope.recurrence.clamping import clamp as clamp_params
from gatescope.recurrence.clamping import clamp_metadata
from gatescope.recurrence.input_stream import open_series
from gatescope.recurrence.recompute import Replay, check_states
from gatescope.storage.provenance import provenance

# Jacobians written out at a time.
_BYTES = 1 << 23
# Nats that rounding may put into a logarithm before it is said.
_ROUNDED = 1e-6


def jacobian_spectrum(
    params: Params,
    inputs: Any,
    lags: Any,
    k: int | None = None,
    source_step: int = -1,
    *,
    block: str = "joint",
    initial_state: Any = None,
    clamp: Any = None,
    threads: int | None = None,
    progress: bool = False,
) -> JacobianSpectrum:
    """Logs of the singular values of d s_t / d s_{t-lag}, the whole state (h and c of an LSTM) or a block of it.

    ``d s_t / d s_{t-lag} = J_{t-1} ... J_{t-lag}`` is never multiplied out: it is kept as a triangle whose columns have
    scales of their own and an orthogonal factor, and one-sided Jacobi rotations of the triangle give every singular
    value to high relative accuracy, even where they differ by hundreds of orders of magnitude [1]_ [2]_, as long as the
    Jacobian of each single step has its digits (a warning says where not: units that are saturated).  The largest
    says how much of the gradient can get through, the smallest which directions of the state are forgotten.
    Everything is computed in float64, whatever the weights' dtype.

    Parameters
    ----------
    params : Params
    inputs : (T, B, I) or (T, I) array_like, numpy.memmap, or iterator of pieces
    lags : array_like of int
        Ascending, 0..t.  One sweep serves them all; it costs in proportion to the longest lag, and about n^3 operations
        a step, n = S*H.
    k : int, optional
        How many singular values, largest first; default: all.  All are computed in any case.
    source_step : int
        t, counted in states: 1..T, or negative from the end; -1 is the final state, t = T.
    block : str
        ``"joint"``, or two states: ``"hc"`` is d h_t / d c_{t-lag}.
    initial_state : (B, S, H) array_like, optional
    clamp : mapping, optional
        Gates held at values, as for `run`.
    threads : int, optional
        As for `run`, of the run itself.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    JacobianSpectrum

    Raises
    ------
    ShapeError, DtypeError, ValueRangeError, UnknownNameError
        If an argument does not fit, or the states stop being finite.

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
    """
    params = clamp_params(params, clamp)
    cell = check_params(params)
    rows, columns = _block(cell, block, params.hidden_size)
    most = min(rows.stop - rows.start, columns.stop - columns.start)
    count = most if k is None else check_count("k", k)
    if count > most:
        raise ValueRangeError(
            f"k={k!r} singular values were asked for, but block={block!r} of this {cell.name} has {most}"
        )
    workers = check_threads(threads)
    weights = in_float64(params)
    with open_series(inputs, weights) as series:
        source = source_step_of(source_step, series.steps)
        wanted = check_ascending("lags", lags, whole=True, least=0, most=source)
        start = check_initial_state(initial_state, cell, weights, series.batch)
        if start is None:
            start = np.zeros((series.batch, len(cell.states), params.hidden_size))
        size = start[0].size
        chains = [Chain(np.eye(size)[rows]) for _ in range(series.batch)]
        found = np.empty((wanted.size, series.batch, count))
        reach = int(wanted[-1])
        stops = [int(source - lag) for lag in wanted]
        machine = CpuDevice(cell, weights, workers)
        replay = Replay(machine, cell, series, start, source, source - reach, directions=size)
        bar = tqdm(
            total=replay.forward_steps + reach,
            unit="step",
            unit_scale=True,
            desc=f"Jacobian ({cell.name})",
            disable=None if progress else True,
        )
        with bar:
            if wanted[0] == 0:
                found[0] = [chain.log_singular_values(columns)[:count] for chain in chains]
            for done in replay.forward():
                bar.update(done)
            for begin, states, gates in replay.pieces():
                end = begin + len(gates)
                check_states(states, begin)
                for high, low in pairwise([end, *[s for s in stops if begin < s < end], begin]):
                    for b, chain in enumerate(chains):
                        here = slice(low - begin, high - begin)
                        _multiply(chain, weights, states[low - begin : high - begin + 1, b], gates[here, b])
                    if low in stops:
                        found[stops.index(low)] = [c.log_singular_values(columns)[:count] for c in chains]
                bar.update(end - begin)
    _warn(chains)
    return JacobianSpectrum(
        cell=cell.name,
        lag=wanted,
        log_singular=found,
        block=block,
        source_step=source,
        provenance=provenance(
            device="cpu",
            dtype="float64",
            seed=params.provenance.get("seed"),
            **clamp_metadata(params, clamp),
        ),
    )


def _warn(chains: list[Chain]) -> None:
    rounding = max(chain.rounding for chain in chains)
    if rounding > _ROUNDED:
        lost = "a singular value is lost" if np.isinf(rounding) else f"up to {rounding:.2g} nats are rounding"
        warnings.warn(
            f"the Jacobians of single steps are so ill-conditioned that the smallest singular values have few digits: "
            f"{lost}; saturated units do that, and the largest values are right",
            AccuracyWarning,
            stacklevel=3,
        )
    if not all(chain.diagonal for chain in chains):
        warnings.warn(
            "the rotations did not come to an end; singular values may lack digits",
            AccuracyWarning,
            stacklevel=3,
        )


def _multiply(chain: Chain, params: Params, states: Array, gates: Array) -> None:
    """Multiply the Jacobians of some steps on, the last step first."""
    size = states[0].size
    length = max(1, _BYTES // (8 * size * size))
    for end in range(len(gates), 0, -length):
        begin = max(0, end - length)
        jacobians = step_jacobians(params, states[begin:end], states[begin + 1 : end + 1], gates[begin:end])
        chain.multiply(jacobians[::-1])


def _block(cell: Cell, block: Any, units: int) -> tuple[slice, slice]:
    """Rows and columns of the whole Jacobian."""
    pairs = {a + b: (i, j) for i, a in enumerate(cell.states) for j, b in enumerate(cell.states)}
    if isinstance(block, str) and block == "joint":
        return slice(0, len(cell.states) * units), slice(0, len(cell.states) * units)
    if not isinstance(block, str) or block not in pairs:
        raise UnknownNameError(
            f"block={block!r} is not a block of {cell.name!r}; choose 'joint' or {', '.join(map(repr, pairs))}"
        )
    i, j = pairs[block]
    return slice(i * units, (i + 1) * units), slice(j * units, (j + 1) * units)
