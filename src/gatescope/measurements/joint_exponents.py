"""Lyapunov exponents of the joint state of a stack, of those of its layers, each driven by what it really receives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gatescope.cells.registry import get
from gatescope.checks.network import check_lengths
from gatescope.datatypes import Array, Params, Stack
from gatescope.datatypes.lyapunov_spectrum import BATCHED, LyapunovSpectrum
from gatescope.measurements.each_layer import problems
from gatescope.measurements.problem import Problem
from gatescope.recurrence.input_stream import open_series, part_of

_TRIAL = 40  # steps of all sequences over which the interval is tried


def state_size(params: Params) -> int:
    """Return the size of the whole state of a cell."""
    return len(get(params.cell).states) * params.hidden_size


def joint_spectrum(
    stack: Stack,
    inputs: Any,
    k: int,
    measure: Callable[[Problem, int, int], LyapunovSpectrum],
    interval: Callable[[Problem, int], int] | None,
    *,
    lengths: Any,
    initial_state: Any,
    clamp: Any,
    **arguments: Any,
) -> LyapunovSpectrum:
    """Return the `k` largest exponents of the joint state.

    `measure` measures so many of a layer with so many steps between orthonormalizations, which `interval` finds; what
    the layers need is what all get, since running estimates of all have to be of the same steps.
    """
    lowest = next(iter(stack.directions().values())).astype(np.float64)
    common = {"initial_state": initial_state, "clamp": clamp, "dtype": np.float64, **arguments}

    def count(problem: Problem) -> int:
        return min(k, state_size(problem.params))

    with open_series(inputs, lowest) as series:
        every = 1
        if interval is not None:
            sizes = check_lengths(lengths, series.steps, series.batch)
            short = int(min(_TRIAL, max(1, sizes.min())))
            beginning = part_of(series, np.arange(series.batch), 0, short)
            trial = {**common, "lengths": np.full(series.batch, short), "progress": False}
            tried = problems(stack, beginning, measure=lambda p: interval(p, count(p)), scale=False, **trial)
            every = min(tried.values())
        parts = problems(
            stack, series, lengths=lengths, measure=lambda p: measure(p, count(p), every), **common
        )
    return _union(stack, parts, k)


def _union(stack: Stack, parts: Mapping[str, LyapunovSpectrum], k: int) -> LyapunovSpectrum:
    """Return the largest exponents of all layers as one spectrum, whose checks are those of the joint state."""
    spectra = tuple(parts.values())
    exponents = np.concatenate([one.exponents for one in spectra], axis=1)
    order = np.argsort(-exponents, axis=1, kind="stable")[:, :k]
    layer = np.repeat(np.arange(len(spectra)), [one.exponents.shape[1] for one in spectra])[order]
    leading, row = layer[:, 0], np.arange(len(order))

    def sorted_by(name: str, axis: int = 1) -> Array:
        together = np.concatenate([getattr(one, name) for one in spectra], axis=axis)
        return np.take_along_axis(together, order[None] if axis == 2 else order, axis)

    def of_all(name: str) -> Array:
        return np.array([getattr(one, name) for one in spectra])

    wide = {name for name in BATCHED if getattr(spectra[0], name).ndim == 2}
    fields: dict[str, Any] = {name: sorted_by(name) for name in wide}
    # The determinant of the joint Jacobian is the product of those of the layers.
    fields |= {name: of_all(name).sum(axis=0) for name in ("log_det", "log_det_sum")}
    fields |= {name: of_all(name)[leading, row] for name in ("perturbation", "perturbation_reference")}
    return dataclasses.replace(
        spectra[0],
        **fields,
        cell=" on ".join(reversed(stack.cells)),
        running=sorted_by("running", axis=2),
        size=sum(one.size for one in spectra),
        smallest_sine=of_all("smallest_sine").min(axis=0),
        rounding=of_all("rounding").max(axis=0),
        moved=np.asarray(of_all("moved").any(axis=0)),
        layers=tuple(parts),
        layer=layer,
    )
