"""Decay rate, leading exponent and half-life over gain, gate bias and initialization scheme."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from gatescope.cells.memory_gate import memory_gate
from gatescope.cells.registry import Cell, get
from gatescope.checks.arrays import check_array
from gatescope.checks.network import check_inputs
from gatescope.checks.numbers import check_count, check_threads
from gatescope.datatypes import Array, Params
from gatescope.datatypes.half_life import half_life_of
from gatescope.datatypes.phase_diagram import PhaseDiagram
from gatescope.errors import ShapeError, UnknownNameError, ValueRangeError
from gatescope.measurements.gradient_flow import gradient_flow
from gatescope.measurements.half_life import check_transient, slope
from gatescope.measurements.lyapunov_spectrum import lyapunov_spectrum
from gatescope.recurrence.initialization import init
from gatescope.recurrence.run import run
from gatescope.storage.provenance import provenance

_LAGS = 1000  # that the adjoint's line goes through
_PIECE = 4096  # steps kept at a time to see whether the states stay finite


def phase_diagram(
    cell: str,
    *,
    gain: Any,
    bias: Any = (0.0,),
    scheme: str | Sequence[str] = ("gaussian",),
    hidden_size: int = 64,
    input_size: int = 1,
    inputs: Any = None,
    steps: int = 1000,
    transient: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    dtype: str = "float64",
    threads: int | None = None,
    progress: bool = False,
) -> PhaseDiagram:
    """Decay rate of the gradient, leading exponent and half-life of untrained networks, over a grid of scales.

    For each scheme, gain and bias: ``init(cell, scheme=scheme)`` at gain 1, weight_hh times `gain`, and `bias` added
    to bias_ih of the gate that holds the memory (f of an LSTM, z of a GRU; found from the cell's equations).
    The same weights are drawn at all points of a scheme, so that neighbours differ by what the axes say alone.
    Points are dealt out to threads; the result does not depend on how many there are.

    Parameters
    ----------
    cell : str
    gain : (G,) array_like
        Finite, at least 0.  For ``"gaussian"`` and ``"orthogonal"`` that is the `gain` of `init`; weight_hh of every
        other scheme is multiplied by it alike.
    bias : (N,) array_like
        For a cell without a memory gate, 0 alone.
    scheme : str or sequence of str
        Of `init`, with or without a constant: ``"chrono(100)"``.
    hidden_size, input_size : int
    inputs : (T, B, I) or (T, I) array_like, optional
        Given to every network; several sequences are averaged.  Default: standard normal noise of `steps` steps.
    steps : int
        T of the noise; goes for nothing if there are inputs.
    transient : int, optional
        Steps at the beginning that are left out.  Default: a tenth of T.
    seeds : int
        Networks a point, whose rates are averaged.
    seed : int
        Of the noise, of the state that runs begin with and of the directions; the networks have the seeds ``seed``,
        ``seed + 1``, and so on.
    dtype : str
    threads : int, optional
        Points measured at a time; default: the cores this process may use.
    progress : bool
        Show a progress bar on stderr.

    Returns
    -------
    PhaseDiagram

    Raises
    ------
    UnknownNameError
        If there is no such cell or scheme.
    ShapeError, DtypeError, ValueRangeError
        If an argument does not fit.

    Notes
    -----
    Every run begins with h uniform in (-1, 1), and so do the other states: at 0 a network without inputs would stay
    on the fixed point there even where it is unstable.  For a tanh network without inputs and biases the edge is at
    gain 1 when there are many units [1]_ [2]_.

    References
    ----------
    .. [1] H. Sompolinsky, A. Crisanti and H. J. Sommers, "Chaos in random neural networks", Physical Review Letters
       61 (1988).
    .. [2] L. Molgedey, J. Schuchhardt and H. G. Schuster, "Suppressing chaos in neural networks by noise", Physical
       Review Letters 69 (1992).

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> from gatescope.measurements.phase_diagram import phase_diagram
    >>> diagram = phase_diagram("rnn", gain=[0.5, 2.0], hidden_size=32, inputs=np.zeros((400, 1)))
    >>> np.sign(diagram.exponent[0, :, 0]).tolist()
    [-1.0, 1.0]
    """
    found = get(cell)
    gains, biases = _axis("gain", gain, least=0.0), _axis("bias", bias)
    gate = _bias_gate(found, biases)
    schemes = _schemes(scheme)
    count, seed = check_count("seeds", seeds), check_count("seed", seed, least=0)
    workers = check_threads(threads)
    # What is wrong with a scheme, a size or the dtype shows here, before anything is measured.
    networks = {
        (s, k): init(
            cell,
            input_size=input_size,
            hidden_size=hidden_size,
            seed=seed + k,
            scheme=name,
            dtype=dtype,
        )
        for s, name in enumerate(schemes)
        for k in range(count)
    }
    first = networks[0, 0]
    if inputs is None:
        length = check_count("steps", steps)
        inputs = np.random.default_rng(seed).standard_normal((length, 1, first.input_size))
    x = check_inputs(inputs, first)
    skipped = check_transient(transient, len(x))
    begin = np.random.default_rng([seed, 1]).uniform(
        -1, 1, (x.shape[1], len(found.states), first.hidden_size)
    )
    begin = begin.astype(first.dtype)

    def measure(point: tuple[int, int, int, int]) -> tuple[Array, Array, Array, bool]:
        s, g, n, k = point
        params = _scaled(networks[s, k], float(gains[g]), float(biases[n]), gate)
        return _rates(params, x, skipped, begin, seed)

    shape = (len(schemes), gains.size, biases.size)
    points = list(product(*map(range, (*shape, count))))
    # (C, G, N, seeds, B)
    rate, exponent, error = np.full((3, *shape, count, x.shape[1]), np.nan)
    diverged = np.zeros((*shape, count), np.bool_)
    bar = tqdm(
        total=len(points), unit="point", desc=f"phase diagram ({cell})", disable=None if progress else True
    )
    with bar:
        for point, values in _each(measure, points, workers):
            rate[point], exponent[point], error[point], diverged[point] = values
            bar.update(1)
    rate, exponent, error = (value.reshape(*shape, -1) for value in (rate, exponent, error))
    runs = exponent.shape[-1]
    mean = exponent.mean(axis=-1)
    return PhaseDiagram(
        cell=cell,
        gate=gate,
        scheme=schemes,
        gain=gains,
        bias=biases,
        decay_rate=rate.mean(axis=-1),
        exponent=mean,
        exponent_error=_spread(exponent) / np.sqrt(runs) if runs > 1 else error[..., 0],
        half_life=half_life_of(-mean),
        diverged=np.asarray(diverged.any(axis=-1)),
        hidden_size=first.hidden_size,
        steps=len(x),
        transient=skipped,
        seeds=count,
        provenance=provenance(device="cpu", dtype=first.dtype.name, seed=seed),
    )


def _rates(
    params: Params, x: Array, skipped: int, begin: Array, seed: int
) -> tuple[Array, Array, Array, bool]:
    """Decay rate, leading exponent and its error, (B,) each, and whether the states left the range."""
    if not _stays_finite(params, x, begin):
        nothing = np.full(x.shape[1], np.nan)
        return nothing, nothing, nothing, True
    spectrum = lyapunov_spectrum(
        params, x, k=1, transient=skipped, initial_state=begin, seed=seed, checks=False, threads=1
    )
    reach = len(x) - skipped
    lags = np.unique(np.linspace(0, reach, min(reach, _LAGS) + 1).round().astype(np.int64))
    flow = gradient_flow(
        params, x, wrt="joint", of="joint", seed=seed, lags=lags, initial_state=begin, threads=1
    )
    return slope(flow)[0], spectrum.exponents[:, 0], spectrum.error[:, 0], False


def _stays_finite(params: Params, x: Array, state: Array) -> bool:
    """Whether no state leaves the range of floating point; in the weights' own dtype, piece by piece."""
    for at in range(0, len(x), _PIECE):
        trace = run(params, x[at : at + _PIECE], initial_state=state, threads=1)
        with np.errstate(over="ignore", invalid="ignore"):
            if not np.isfinite(trace.states.sum()) and not np.isfinite(trace.states).all():
                return False
        state = trace.final_state
    return True


def _scaled(params: Params, gain: float, bias: float, gate: str) -> Params:
    """The network at one point of the grid."""
    kind = params.dtype.type
    shifted = params.bias_ih.copy()
    if gate:
        row = params.gate_names.index(gate) * params.hidden_size
        shifted[row : row + params.hidden_size] += kind(bias)
    return dataclasses.replace(params, weight_hh=params.weight_hh * kind(gain), bias_ih=shifted)


def _bias_gate(cell: Cell, biases: Array) -> str:
    """The gate whose bias is varied, or ``""``."""
    name = memory_gate(cell).name
    if name in cell.gates:
        return name
    if biases.size != 1 or biases[0] != 0:
        raise ValueRangeError(
            f"bias={biases.tolist()[:8]} cannot be varied: {cell.name!r} has no gate that holds its memory; "
            "leave bias out, or choose a cell such as 'lstm' or 'gru'"
        )
    return ""


def _axis(name: str, values: Any, least: float | None = None) -> Array:
    """An axis of the grid, (M,) float64: finite, ascending, not empty."""
    array = np.atleast_1d(check_array(name, values, np.dtype(np.float64)))
    if array.ndim != 1 or array.size == 0:
        raise ShapeError(f"{name} has shape {array.shape}, but should have one axis with at least one value")
    if (np.diff(array) <= 0).any():
        raise ValueRangeError(f"{name}={array.tolist()[:8]} must ascend, each value once")
    if least is not None and array[0] < least:
        raise ValueRangeError(f"{name}={array.tolist()[:8]} must not be below {least:g}")
    return array


def _schemes(scheme: Any) -> tuple[str, ...]:
    listed = (scheme,) if isinstance(scheme, str) else scheme
    if not isinstance(listed, Sequence) or not all(isinstance(name, str) for name in listed):
        raise UnknownNameError(f"scheme={scheme!r} must be the name of a scheme, or a sequence of names")
    if not listed:
        raise ValueRangeError("scheme is empty; name at least one, such as 'gaussian'")
    if len(set(listed)) != len(listed):
        raise ValueRangeError(f"scheme={tuple(listed)!r} names a scheme twice; leave one out")
    return tuple(listed)


def _spread(values: Array) -> Array:
    """Standard deviation over the last axis; NaN where a value is infinite."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.std(values, axis=-1, ddof=1))


def _each(
    work: Callable[[Any], Any], points: list[tuple[int, ...]], threads: int
) -> Iterator[tuple[tuple[int, ...], Any]]:
    """(point, work(point)) in order, computed on so many threads; the kernels release the GIL."""
    if threads == 1 or len(points) == 1:
        yield from ((point, work(point)) for point in points)
        return
    # The first alone: it compiles what all others need.
    yield points[0], work(points[0])
    with ThreadPoolExecutor(min(threads, len(points))) as pool:
        futures: list[Future[Any]] = [pool.submit(work, point) for point in points[1:]]
        try:
            for point, future in zip(points[1:], futures, strict=True):
                yield point, future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)  # after Ctrl-C, what has not begun never does
