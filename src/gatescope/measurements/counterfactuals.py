"""What a change of a cell does to its leading exponent, tried out: gates clamped, biases shifted, weights scaled."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gatescope.datatypes import Array, Params
from gatescope.datatypes.diagnosis import changed
from gatescope.datatypes.lyapunov_spectrum import LyapunovSpectrum
from gatescope.errors import GatescopeError, ValueRangeError
from gatescope.measurements import lyapunov_spectrum
from gatescope.measurements.problem import Problem
from gatescope.recurrence.clamping import clamp

_LIMIT = 20.0  # nats per step: beyond it the search for a root needs no more than the sign
SHIFTS = (1.0, 2.0, 4.0, 8.0, 16.0)  # of a bias; a sigmoid at 16 is 1 to float32's last digit
DOUBLINGS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)  # of weight_hh
_GAIN = 0.01  # of the distance to the goal: what brings it no nearer is no suggestion
_FEW_STEPS = 400
_FINE = 0.0005  # of a bias, or of a doubling


@dataclass(frozen=True)
class Suggestion:
    """A change of the weights: ``"bias"`` of a gate, ``"gain"``, or ``""`` if none helps."""

    kind: str = ""
    gate: str = ""
    value: float = 0.0


class Counterfactuals:
    """The leading exponent of changed weights over always the same steps, from the same state and direction.

    `done` is called after each.
    """

    def __init__(self, problem: Problem, transient: int, done: Callable[[], object]) -> None:
        self._problem, self._transient, self._done = problem, transient, done

    def exponent(self, params: Params) -> tuple[float, float]:
        """Return the mean over the sequences and its standard error; NaN if states leave the range of floats."""
        try:
            spectrum = lyapunov_spectrum.measure(
                dataclasses.replace(self._problem, params=params),
                k=1,
                transient=self._transient,
                qr_every=qr_interval(self._problem.steps - self._transient),
                checks=False,
            )
        except ValueRangeError:  # all that came from the user has been checked before
            return np.nan, np.nan
        finally:
            self._done()
        return leading(spectrum)

    def clamped(self, params: Params, means: Mapping[str, Array]) -> Iterator[tuple[str, str, float, float]]:
        """Yield for each gate, clamped in turn: its name, ``"open"`` or ``"mean"``, the leading exponent and its error.

        A gate with values in (0, 1) is clamped open and at its units' means (H,), one with values of both signs at
        these.
        """
        for gate, mean in means.items():
            kinds = {"open": 1.0, "mean": mean} if opens(params, gate) else {"mean": mean}
            for name, value in kinds.items():
                try:
                    fixed = clamp(params, {gate: value})
                except GatescopeError:  # not every gate of every cell can be clamped
                    continue
                yield gate, name, *self.exponent(fixed)

    def suggest(self, params: Params, gates: Sequence[str], goal: float, now: float) -> Suggestion:
        """Return a change that brings the leading exponent, which is `now`, to `goal`; if there is none, the nearest.

        Below the goal the biases of `gates` are tried in turn, then the recurrent weights; above it these alone.
        """
        from scipy.optimize import brentq  # takes longer to import than all of gatescope

        tried: list[tuple[float, Suggestion]] = []
        signs = (1.0, -1.0) if now < goal else ()
        axes = [("bias", gate, sign) for gate in gates for sign in signs]
        for kind, gate, sign in [*axes, ("gain", "", 1.0 if now < goal else -1.0)]:

            def value(x: float, kind: str = kind, sign: float = sign) -> float:
                return round(sign * x, 3) if kind == "bias" else float(f"{2.0 ** (sign * x):.4g}")

            def miss(x: float, kind: str = kind, gate: str = gate, sign: float = sign) -> float:
                amount = sign * x if kind == "bias" else 2.0 ** (sign * x)
                off = self.exponent(changed(params, kind, gate, amount))[0] - goal
                return float(np.clip(np.nan_to_num(off, nan=_LIMIT), -_LIMIT, _LIMIT))

            before, at_before = 0.0, now - goal
            for x in SHIFTS if kind == "bias" else DOUBLINGS:
                at = miss(x)
                if (at > 0) != (at_before > 0) or at == 0:
                    known = {before: float(np.clip(at_before, -_LIMIT, _LIMIT)), x: at}
                    root = brentq(lambda v: known[v] if v in known else miss(v), before, x, xtol=_FINE)  # noqa: B023
                    return Suggestion(kind, gate, value(root))
                tried.append((abs(at), Suggestion(kind, gate, value(x))))
                before, at_before = x, at
        least, nearest = min(tried, key=lambda pair: pair[0])
        gone = float(np.clip(now - goal, -_LIMIT, _LIMIT))
        return nearest if least < (1 - _GAIN) * abs(gone) else Suggestion()


def qr_interval(steps: int) -> int | None:
    """Return the steps between orthonormalizations: of few steps each one, so that blocks suffice for an error."""
    return 1 if steps < _FEW_STEPS else None


def leading(spectrum: LyapunovSpectrum) -> tuple[float, float]:
    """Return the mean of the sequences' leading exponents, and its standard error over time and over sequences.

    Where a few stretches cut the memory they are those over the others.
    """
    values, errors = spectrum.exponents[:, 0], spectrum.error[:, 0]
    if spectrum.cuts is not None and spectrum.between is not None and spectrum.between_error is not None:
        cut = spectrum.cuts[:, 0] > 0
        values = np.where(cut, spectrum.between[:, 0], values)
        errors = np.where(cut, spectrum.between_error[:, 0], errors)
    error = float(np.sqrt((errors**2).sum()) / errors.size)
    if values.size > 1:
        with np.errstate(invalid="ignore"):  # of infinite ones
            error = float(np.fmax(error, values.std(ddof=1) / np.sqrt(values.size)))
    return float(values.mean()), error


def opens(params: Params, gate: str) -> bool:
    """Return whether a gate can be clamped at 1 and at 0 but not below: an opening, not a signed value."""
    try:
        clamp(params, {gate: 1.0})
        clamp(params, {gate: 0.0})
    except GatescopeError:
        return False
    try:
        clamp(params, {gate: -0.5})
    except GatescopeError:
        return True
    return False


def spectral_radius(params: Params) -> float:
    """Return the largest of the recurrent blocks' spectral radii."""
    blocks = np.asarray(params.weight_hh, np.float64).reshape(len(params.gate_names), params.hidden_size, -1)
    return float(max(np.abs(np.linalg.eigvals(block)).max() for block in blocks))
