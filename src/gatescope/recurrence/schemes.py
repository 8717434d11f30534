"""Schemes by which the weights of a cell are drawn: their names, their constants, and the draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatescope.cells.memory_gate import memory_gate
from gatescope.cells.registry import Cell
from gatescope.checks.numbers import check_choice, check_number, check_unused
from gatescope.checks.parsing import parse_call
from gatescope.datatypes import Array
from gatescope.datatypes.params import WEIGHT_NAMES
from gatescope.errors import ValueRangeError

SCHEMES = ("pytorch", "keras", "orthogonal", "chrono", "gaussian", "identity")
# That "gaussian(1.5)" sets.
_CONSTANTS = {"chrono": "t_max", "gaussian": "gain", "orthogonal": "gain", "identity": "gain"}
_WITH_GAIN = ("gaussian", "orthogonal", "chrono", "identity")
_SMALL = 0.001  # standard deviation of weight_ih of "identity", as published
_GAIN, _T_MAX = 1.0, 1000.0


def scheme_of(scheme: Any, gain: Any, t_max: Any) -> tuple[str, float, float]:
    """Return a scheme's name and the two constants, of which the scheme may set one; None is the default."""
    name, arguments = parse_call(scheme) if isinstance(scheme, str) else (scheme, ())
    name = check_choice("scheme", name, SCHEMES)
    for key, value, least in (("gain", gain, 0), ("t_max", t_max, 2)):
        if value is not None:
            check_number(key, value, least=least)
    if arguments:
        constant = _CONSTANTS.get(name)
        try:
            (number,) = map(float, arguments)
        except ValueError:
            constant = None
        if constant is None:
            what = (
                f"sets {_CONSTANTS[name]} by one number" if name in _CONSTANTS else "has no constant to set"
            )
            raise ValueRangeError(
                f"cannot be read: {name} {what}", argument="scheme", seen=scheme, advice="as in 'chrono(500)'"
            )
        check_unused(
            f"with `scheme` {scheme!r}, which sets it", **{constant: gain if constant == "gain" else t_max}
        )
        gain, t_max = (number, t_max) if constant == "gain" else (gain, number)
    if name not in _WITH_GAIN:
        check_unused(f"with `scheme` {name!r}", gain=gain)
    if name != "chrono":
        check_unused(f"with `scheme` {name!r}", t_max=t_max)
    gain, t_max = _GAIN if gain is None else gain, _T_MAX if t_max is None else t_max
    return name, check_number("gain", gain, least=0), check_number("t_max", t_max, least=2)


def draw_weights(
    cell: Cell, inputs: int, units: int, rng: np.random.Generator, scheme: str, gain: float, t_max: float
) -> list[Array]:
    """Draw the weights in float64, in the order of `WEIGHT_NAMES`; 0 where a gate has none."""
    weights = _drawn(cell, inputs, units, rng, scheme, gain)
    biases = weights[2].reshape(-1, units)
    memory = memory_gate(cell)
    if scheme == "keras" and memory.sigmoid and not memory.coupled:
        biases[cell.gates.index(memory.name)] = memory.sign
    if scheme == "chrono":
        if not memory.sigmoid:
            lack = f"the one of {cell.name!r}, {memory.name!r}, is no sigmoid of its bias"
            raise ValueRangeError(
                "needs a gate that holds the memory, and "
                + (lack if memory.name else f"{cell.name!r} has none"),
                argument="scheme",
                seen=scheme,
                advice="choose another scheme, or a cell such as 'lstm' or 'gru'",
            )
        log_time = np.log(rng.uniform(1, t_max - 1, units))
        biases[cell.gates.index(memory.name)] = memory.sign * log_time
        if memory.input_gate:
            biases[cell.gates.index(memory.input_gate)] = -log_time
    for name, array in zip(WEIGHT_NAMES, weights, strict=True):
        array[np.repeat(cell.lacks(name), units)] = 0
    return weights


def _drawn(
    cell: Cell, inputs: int, units: int, rng: np.random.Generator, scheme: str, gain: float
) -> list[Array]:
    """Draw weights for all gates, also those that have none: what the others get does not depend on it."""
    gates = len(cell.gates)
    rows = gates * units
    if scheme == "pytorch":
        bound = 1 / np.sqrt(units)
        shapes = ((rows, inputs), (rows, units), (rows,), (rows,))
        return [rng.uniform(-bound, bound, shape) for shape in shapes]
    if scheme == "gaussian":
        weight_ih = rng.normal(0, 1 / np.sqrt(inputs), (rows, inputs))
        weight_hh = rng.normal(0, gain / np.sqrt(units), (rows, units))
    elif scheme == "identity":
        weight_ih = rng.normal(0, _SMALL, (rows, inputs))
        weight_hh = np.tile(gain * np.eye(units), (gates, 1))
    else:
        fed = units * cell.lacks("weight_ih").count(False)
        limit = np.sqrt(6 / (inputs + (fed if scheme == "keras" else units)))
        weight_ih = rng.uniform(-limit, limit, (rows, inputs))
        recurrent = [not lacks for lacks in cell.lacks("weight_hh")]
        weight_hh = np.zeros((gates, units, units))
        if scheme == "keras" and any(recurrent):  # orthogonal over the gates that are there
            weight_hh[recurrent] = _orthogonal(rng, sum(recurrent) * units, units).reshape(-1, units, units)
        elif scheme != "keras":
            weight_hh[:] = [gain * _orthogonal(rng, units, units) for _ in range(gates)]
        weight_hh = weight_hh.reshape(rows, units)
    return [weight_ih, weight_hh, np.zeros(rows), np.zeros(rows)]


def _orthogonal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Draw a (rows, columns) matrix with orthonormal columns, or rows if they are fewer, uniformly distributed."""
    tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    # The sign makes the distribution uniform (Mezzadri 2007).
    q = q * np.sign(np.diag(r))
    return np.ascontiguousarray(q if rows >= columns else q.T)
