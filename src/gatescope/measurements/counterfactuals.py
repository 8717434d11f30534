"""What a change of a cell does to its leading exponent, tried out: gates held, biases shifted, weights scaled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from gatescope.datatypes import Array, Params
from gatescope.datatypes.diagnosis import changed
from gatescope.datatypes.lyapunov_spectrum import LyapunovSpectrum
from gatescope.errors import GatescopeError, ValueRangeError
from gatescope.measurements.lyapunov_spectrum import lyapunov_spectrum
from gatescope.recurrence.clamping import clamp as clamp_params

_LIMIT = 20.0  # nats per step: beyond it the search for a root needs no more than the sign
SHIFTS = (1.0, 2.0, 4.0, 8.0, 16.0)  # of a bias; a sigmoid at 16 is 1 to float32's last digit
DOUBLINGS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)  # of weight_hh
_GAIN = 0.01  # of the distance to the goal: what brings it no nearer is no suggestion
_FEW_STEPS = 400
_FINE = 0.0005  # of a bias, or of a doubling


@dataclass(frozen=True)
class Suggestion:
    """A change of the weights: ``"bias"`` of a gate, ``"gain"``, or ``""`` if none helps; and whether a root was found.

    If none helps, `gate` names those whose biases were tried.
    """

    kind: str
    gate: str
    value: float
    crossed: bool


class Trials:
    """The leading exponent of changed weights over always the same steps, from the same state and direction."""

    def __init__(
        self, inputs: Array, start: Array, transient: int, seed: int, threads: int, done: Callable[[], object]
    ) -> None:
        self.inputs = inputs
        self.start = start
        self.transient = transient
        self.seed = seed
        self.threads = threads
        self._done = done

    def exponent(self, params: Params) -> tuple[float, float]:
        """Mean over the sequences and its standard error; NaN if the states leave the range of floating point."""
        try:
            found = leading(
                lyapunov_spectrum(
                    params,
                    self.inputs,
                    k=1,
                    transient=self.transient,
                    qr_every=qr_interval(len(self.inputs) - self.transient),
                    initial_state=self.start,
                    seed=self.seed,
                    checks=False,
                    threads=self.threads,
                )
            )
        except ValueRangeError:  # all that came from the user has been checked before
            found = (np.nan, np.nan)
        self._done()
        return found

    def clamped(self, params: Params, means: Mapping[str, Array]) -> Iterator[tuple[str, str, float, float]]:
        """Each gate held in turn: its name, ``"open"`` or ``"mean"``, the leading exponent and its error.

        A gate with values in (0, 1) is held open and at its units' means (H,), one with values of both signs at these.
        """
        for gate, mean in means.items():
            kinds = {"open": 1.0, "mean": mean} if opens(params, gate) else {"mean": mean}
            for name, value in kinds.items():
                try:
                    fixed = clamp_params(params, {gate: value})
                except GatescopeError:  # not every gate of every cell can be held
                    continue
                yield gate, name, *self.exponent(fixed)

    def suggest(self, params: Params, gates: list[str], goal: float, now: float) -> Suggestion:
        """A change that brings the leading exponent, which is `now`, to `goal`; if there is none, the nearest.

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
                    return Suggestion(kind, gate, value(root), True)
                tried.append((abs(at), Suggestion(kind, gate, value(x), False)))
                before, at_before = x, at
        least, nearest = min(tried, key=lambda pair: pair[0])
        gone = float(np.clip(now - goal, -_LIMIT, _LIMIT))
        if least < (1 - _GAIN) * abs(gone):
            return nearest
        return Suggestion("", " ".join(gate for _, gate, sign in axes if sign > 0), 0.0, False)


def qr_interval(steps: int) -> int | None:
    """Steps between orthonormalizations: of few steps each one, so that there are blocks enough to tell an error."""
    return 1 if steps < _FEW_STEPS else None


def leading(spectrum: LyapunovSpectrum) -> tuple[float, float]:
    """Mean of the sequences' leading exponents, and its standard error over time and over sequences."""
    values, errors = spectrum.exponents[:, 0], spectrum.error[:, 0]
    error = float(np.sqrt((errors**2).sum()) / errors.size)
    if values.size > 1:
        with np.errstate(invalid="ignore"):  # of infinite ones
            error = float(np.fmax(error, values.std(ddof=1) / np.sqrt(values.size)))
    return float(values.mean()), error


def opens(params: Params, gate: str) -> bool:
    """Whether a gate can be held at 1 and at 0 but not below: an opening, not a signed value."""
    try:
        clamp_params(params, {gate: 1.0})
        clamp_params(params, {gate: 0.0})
    except GatescopeError:
        return False
    try:
        clamp_params(params, {gate: -0.5})
    except GatescopeError:
        return True
    return False


def spectral_radius(params: Params) -> float:
    """The largest of the recurrent blocks' spectral radii."""
    blocks = np.asarray(params.weight_hh, np.float64).reshape(len(params.gate_names), params.hidden_size, -1)
    return float(max(np.abs(np.linalg.eigvals(block)).max() for block in blocks))
