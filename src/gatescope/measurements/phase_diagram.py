"""Decay rate, leading exponent and half-life over gain, gate bias and initialization scheme."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from gatescope.cells.memory_gate import memory_gate
from gatescope.cells.registry import Cell, get
from gatescope.checks.arrays import check_ascending
from gatescope.checks.memory import check_memory
from gatescope.checks.network import as_stack, check_params
from gatescope.checks.numbers import check_count, check_unused, is_several
from gatescope.datatypes import Array, Bidirectional, Params, Stack
from gatescope.datatypes.diagnosis import changed
from gatescope.datatypes.half_life import half_life_of
from gatescope.datatypes.phase_diagram import PhaseDiagram
from gatescope.errors import DtypeError, UnknownNameError, ValueRangeError
from gatescope.kernels.cpu.threads import in_order
from gatescope.measurements import gradient_flow, lyapunov_spectrum
from gatescope.measurements.adjoint_rates import check_transient, slope
from gatescope.measurements.finer import recomputed
from gatescope.measurements.problem import RANDOM, Problem, prepare
from gatescope.measurements.selection import evenly
from gatescope.recurrence.initialization import init
from gatescope.recurrence.recompute import NotFiniteError
from gatescope.storage.provenance import provenance

_LAGS = 1000  # that the adjoint's line goes through
_POINT_BYTES = 200  # of a point and its results
_STEPS = 1000  # of the noise
_PIECE = 4096  # steps in memory at a time to see whether the states stay finite


def phase_diagram(
    cell: str,
    *,
    gain: Any,
    bias: Any = (0.0,),
    scheme: str | Sequence[str] = ("gaussian",),
    hidden_size: int = 64,
    input_size: int = 1,
    inputs: Any = None,
    lengths: Any = None,
    steps: int | None = None,
    transient: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    dtype: str = "float64",
    threads: int | None = None,
    progress: bool = False,
) -> PhaseDiagram:
    """Measure decay rate, leading exponent and asymptotic half-life of untrained networks over a grid of scales.

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
    lengths : (B,) array_like of int, optional
        Steps of each sequence of `inputs`, 1..T.  Default: T.
    steps : int, optional
        T of the noise, for which there are no `inputs`.  Default: 1000.
    transient : int, optional
        Steps at the beginning that are left out.  Default: a tenth of each sequence.
    seeds : int
        Networks a point, whose rates are averaged.
    seed : int
        Of the noise, of the state that runs begin with and of the directions; the networks have the seeds ``seed``,
        ``seed + 1``, and so on.
    dtype : str
    threads : int, optional
        Points measured at a time; default: the cores this process may use.
    progress : bool

    Returns
    -------
    PhaseDiagram

    Notes
    -----
    Every run begins with small random states, uniform in (-0.1, 0.1): at 0 a network without inputs would stay on
    the fixed point there even where it is unstable.  For a tanh network without inputs and biases the edge is at
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
    >>> diagram = gs.phase_diagram("rnn", gain=[0.5, 2.0], hidden_size=32, inputs=np.zeros((400, 1)))
    >>> np.sign(diagram.exponent[0, :, 0]).tolist()
    [-1.0, 1.0]
    """
    gains, biases = check_ascending("gain", gain, least=0.0), check_ascending("bias", bias)
    model: Any = cell  # what a text is easily taken for
    if isinstance(model, Params | Stack | Bidirectional):
        name = model.cell if isinstance(model, Params) else as_stack(model).cells[0]
        raise DtypeError(
            "is a model, and a phase diagram is of networks of one cell that are drawn anew",
            argument="cell",
            advice=f"give the name of a cell, such as {name!r}",
        )
    gate = _bias_gate(get(cell), biases)
    schemes = _schemes(scheme)
    count, seed = check_count("seeds", seeds), check_count("seed", seed, least=0)
    # What is wrong with a scheme, a size or the dtype shows here, before anything is measured.
    sizes: dict[str, Any] = {"input_size": input_size, "hidden_size": hidden_size, "dtype": dtype}
    first = init(cell, scheme=schemes[0], seed=seed, **sizes)
    network = sum(array.nbytes for array in first.arrays().values()) + _POINT_BYTES * gains.size * biases.size
    check_memory("seeds", count, lambda seeds: len(schemes) * seeds * network, "the networks")
    length = 0
    if inputs is None:
        length = check_count("steps", _STEPS if steps is None else steps)
        check_memory("steps", length, lambda steps: 8 * steps * first.input_size, "the noise")
    else:
        check_unused("with `inputs`, which have theirs", steps=steps)
    networks = {
        (s, k): init(cell, scheme=name, seed=seed + k, **sizes)
        for s, name in enumerate(schemes)
        for k in range(count)
    }
    if inputs is None:
        inputs = np.random.default_rng(seed).standard_normal((length, 1, first.input_size))
    keywords: dict[str, Any] = {"seed": seed, "threads": threads, "progress": progress}
    with prepare(first, inputs, lengths=lengths, initial_state=RANDOM, **keywords) as problem:
        for own_length in np.unique(problem.lengths):
            skipped = check_transient(transient, int(own_length))

        def measure(point: tuple[int, ...]) -> _Rates:
            s, g, n, k = point
            params = changed(networks[s, k], "gain", "", float(gains[g]))
            if gate:
                params = changed(params, "bias", gate, float(biases[n]))
            check_params(params)
            return _rates(dataclasses.replace(problem, params=params, threads=1, progress=False), transient)

        grid = (len(schemes), gains.size, biases.size)
        points = list(product(*map(range, (*grid, count))))
        rate, exponent, error = np.full((3, *grid, count, problem.batch), np.nan)
        diverged = np.zeros((*grid, count), np.bool_)
        again: list[dict[str, str]] = []
        with problem.bar(len(points), "phase diagram", unit="point") as bar:
            for point, values in zip(points, _each(measure, points, problem.threads), strict=True):
                rate[point], exponent[point], error[point] = values.rate, values.exponent, values.error
                diverged[point] = values.diverged
                again.append(values.recomputed)
                bar.update(1)
    rate, exponent, error = (value.reshape(*grid, -1) for value in (rate, exponent, error))
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
        exponent_error=_deviation(exponent) / np.sqrt(runs) if runs > 1 else error[..., 0],
        half_life=half_life_of(-mean),
        diverged=np.asarray(diverged.any(axis=-1)),
        hidden_size=first.hidden_size,
        steps=problem.longest,
        transient=skipped,
        seeds=count,
        provenance=provenance(device="cpu", dtype=first.dtype.name, seed=seed, **recomputed(*again)),
    )


class _Rates(NamedTuple):
    """Decay rate, leading exponent and its error, (B,) each, and whether the states left the range."""

    rate: Array
    exponent: Array
    error: Array
    diverged: bool
    recomputed: dict[str, str]


def _rates(problem: Problem, transient: int | None) -> _Rates:
    """Measure a network."""
    rate, exponent, error = np.full((3, problem.batch), np.nan)
    groups, again = problem.groups(), []
    if not all(_stays_finite(part) for _, part in groups):
        return _Rates(rate, exponent, error, True, {})
    for rows, part in groups:
        skipped = check_transient(transient, part.steps)
        spectrum = lyapunov_spectrum.measure(part, k=1, transient=skipped, checks=False)
        lags = evenly(part.steps - skipped, _LAGS)
        flow = gradient_flow.measure(part, of="joint", wrt="joint", lags=lags)
        rate[rows], _, _ = slope(flow)
        exponent[rows], error[rows] = spectrum.exponents[:, 0], spectrum.error[:, 0]
        again.append(flow.provenance)
    return _Rates(rate, exponent, error, False, recomputed(*again))


def _stays_finite(problem: Problem) -> bool:
    """Return whether no state leaves the range of floating point, in the weights' own dtype."""
    try:
        for _ in problem.forward([problem.steps], _PIECE):
            pass
    except NotFiniteError:
        return False
    return True


def _bias_gate(cell: Cell, biases: Array) -> str:
    """Return the gate whose bias is varied, or ``""``."""
    name = memory_gate(cell).name
    if name:
        return name
    if biases.size != 1 or biases[0] != 0:
        raise ValueRangeError(
            f"cannot be varied: {cell.name!r} has no gate that holds its memory",
            argument="bias",
            seen=biases.tolist()[:8],
            advice="leave it out, or choose a cell such as 'lstm' or 'gru'",
        )
    return ""


def _schemes(scheme: Any) -> tuple[str, ...]:
    listed = tuple(scheme) if is_several(scheme) else (scheme,)
    if not all(isinstance(name, str) for name in listed):
        advice = "give the name of a scheme, or a sequence of names"
        raise UnknownNameError("is no scheme", argument="scheme", seen=scheme, advice=advice)
    if not listed:
        raise ValueRangeError("is empty", argument="scheme", advice="name at least one, such as 'gaussian'")
    if len(set(listed)) != len(listed):
        raise ValueRangeError("names a scheme twice", argument="scheme", seen=listed, advice="leave one out")
    return listed


def _deviation(values: Array) -> Array:
    """Return the standard deviation over the last axis; NaN where a value is infinite."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.std(values, axis=-1, ddof=1))


def _each(work: Callable[[Any], Any], points: Sequence[tuple[int, ...]], threads: int) -> Iterator[Any]:
    """Yield work(point) in order, computed on so many threads; the kernels release the GIL."""
    yield work(points[0])  # alone: it compiles what all others need
    yield from in_order(work, points[1:], threads)
