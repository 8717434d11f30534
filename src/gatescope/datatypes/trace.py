"""The results gatescope returns: frozen, keyword-only, with arrays named in the field's words.

Axes: T steps, B batch, I input_size, H hidden_size, G gates, S states, K kept gate values, L lags.
Arrays are time-major and C-contiguous.  Logarithms are natural; rates are nats per step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatescope.batches import LOSSES, Batch, Head
from gatescope.errors import UnknownNameError, ValueRangeError
from gatescope.results import Array, ComparedByValue, Result, load, save

__all__ = [
    "LOSSES",
    "Array",
    "Batch",
    "Fit",
    "GradientFlow",
    "Gradients",
    "Head",
    "Params",
    "Result",
    "Trace",
    "load",
    "save",
]


@dataclass(frozen=True, kw_only=True, repr=False)
class Params(Result):
    """The weights of one layer, in PyTorch's names, shapes and gate order.

    Attributes
    ----------
    cell : str
        Name of the cell: ``"rnn"``, ``"rnn_relu"``, ``"lstm"``, ``"gru"``, ``"gru_reset_before"``
        or one registered with `gatescope.cells.register`.
    weight_ih : (G*H, I)
    weight_hh : (G*H, H)
    bias_ih, bias_hh : (G*H,)
    gates : tuple of str
        Names of the G row blocks.
    """

    cell: str
    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array
    gates: tuple[str, ...]

    @property
    def input_size(self) -> int:
        """I, the number of inputs."""
        return int(self.weight_ih.shape[1])

    @property
    def hidden_size(self) -> int:
        """H, the number of units."""
        return int(self.weight_hh.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64; the kernels compute in it."""
        return self.weight_hh.dtype

    def gate(self, name: str) -> dict[str, Array]:
        """Views of the rows that belong to one gate, by parameter name.

        Raises
        ------
        UnknownNameError
            If the cell has no gate of that name.
        """
        row = _index(self.gates, name, f"{self.cell} has weights for the gates")
        rows = slice(row * self.hidden_size, (row + 1) * self.hidden_size)
        return {key: value[rows] for key, value in self.arrays().items()}

    def count(self) -> int:
        """Number of trainable numbers, both biases included."""
        return sum(int(value.size) for value in self.arrays().values())


@dataclass(frozen=True, kw_only=True, repr=False)
class Trace(Result):
    """Everything a cell did over a run: every state and every gate at every step.

    Past the end of a sequence that is shorter than T (see `lengths`) its states keep their last value,
    so that ``final_state`` is right for all of them, and its gates are 0.

    Attributes
    ----------
    cell : str
    inputs : (T, B, I)
    states : (T+1, B, S, H)
        Index 0 is the initial state.
    gates : (T, B, K, H)
        The values that were kept, in the order of `kept_names`: activations, not pre-activations.
    lengths : (B,) int64
        Number of steps of each sequence.
    state_names, kept_names : tuple of str
    held : (G, H) float64, or None
        The values at which `run` held gates (its ``clamp``), in the order of the weights' row blocks, NaN where a unit
        was free; None if all were.  `backprop` holds them at the same values.
    kept_ranges : tuple of ((float, float) or None), or None
        What each of `kept_names` can be by the cell's equations: ``(0.0, 1.0)`` for a sigmoid, ``(-1.0, 1.0)`` for a
        tanh, None for anything else.  None as a whole: not said.
    """

    cell: str
    inputs: Array
    states: Array
    gates: Array
    lengths: Array
    state_names: tuple[str, ...]
    kept_names: tuple[str, ...]
    held: Array | None = None
    kept_ranges: tuple[tuple[float, float] | None, ...] | None = None

    @property
    def outputs(self) -> Array:
        """(T, B, H) view: h after each step."""
        return self.states[1:, :, 0]

    @property
    def h(self) -> Array:
        """(T+1, B, H) view of the hidden state; index 0 is the initial one."""
        return self.state("h")

    @property
    def c(self) -> Array:
        """(T+1, B, H) view of the cell state, for cells that have one."""
        return self.state("c")

    @property
    def final_state(self) -> Array:
        """(B, S, H) view: the state after the last step of each sequence."""
        return np.asarray(self.states[-1])

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(T, B): True where the step belongs to the sequence."""
        return np.asarray(np.arange(self.inputs.shape[0])[:, None] < self.lengths[None, :], dtype=np.bool_)

    def state(self, name: str) -> Array:
        """(T+1, B, H) view of one state by name."""
        return self.states[:, :, _index(self.state_names, name, f"{self.cell} has the states")]

    def gate(self, name: str) -> Array:
        """(T, B, H) view of one kept gate by name.

        Raises
        ------
        UnknownNameError
            If the cell keeps no gate of that name.
        """
        return self.gates[:, :, _index(self.kept_names, name, f"{self.cell} keeps the gates")]

    def bounds(self, name: str) -> tuple[float, float] | None:
        """The range of a kept gate, as in `kept_ranges`; None too for a state, or where none is said."""
        return dict(zip(self.kept_names, self.kept_ranges or (), strict=False)).get(name)

    @property
    def sigmoid_names(self) -> tuple[str, ...]:
        """The kept gates that go from 0 (shut) to 1 (open)."""
        return tuple(name for name in self.kept_names if self.bounds(name) == (0, 1))


@dataclass(frozen=True, kw_only=True, repr=False)
class Gradients(Result):
    """Exact gradients by full back-propagation through time.

    Attributes
    ----------
    params : Params
        Gradients with respect to the weights, in the shapes of the weights.
    inputs : (T, B, I)
    initial_state : (B, S, H)
    adjoint : (T+1, B, S, H)
        dL/ds_t at every step, the output adjoint of that step included.
    """

    params: Params
    inputs: Array
    initial_state: Array
    adjoint: Array


@dataclass(frozen=True, kw_only=True)
class Fit(ComparedByValue):
    """A rate or a half-life read off a straight line through a log-norm.

    Attributes
    ----------
    value : (B,)
        One value a sequence.
    r_squared : (B,)
        Share of the log-norm's variance that the line explains.  NaN where the line goes through fewer than
        three finite log-norms: through two it always fits, which says nothing.
    window : (int, int)
        First and last lag of the fit, both included, in steps.
    unit : str
    """

    value: Array
    r_squared: Array
    window: tuple[int, int]
    unit: str

    def __float__(self) -> float:
        """The value, if there is one sequence."""
        if self.value.size != 1:
            raise ValueRangeError(
                f"there are {self.value.size} sequences; take .value, one number a sequence"
            )
        return float(self.value[0])

    def __str__(self) -> str:
        values = ", ".join(f"{v:.4g}" for v in self.value)
        fits = ", ".join(f"{v:.3f}" for v in self.r_squared)
        return f"{values} {self.unit} (lags {self.window[0]} to {self.window[1]}, R^2 {fits})"


@dataclass(frozen=True, kw_only=True, repr=False)
class GradientFlow(Result):
    """How the gradient of one step reaches back in time.

    ``log_norm[l, b]`` is ``ln || d target_{t} / d state_{t - lag[l]} ||`` for sequence b, with t = `source_step`.
    It is kept in the log domain, so it is right long after the norm itself is below the smallest float.

    Attributes
    ----------
    cell : str
    lag : (L,) int64
        Steps back from `source_step`, ascending.
    log_norm : (L, B) float64
        In nats; ``-inf`` where the gradient is exactly zero.
    target : str
        What is differentiated: ``"h"`` (the output), ``"c"``, or ``"joint"``.
    state : str
        With respect to what: ``"h"``, ``"c"`` or ``"joint"`` (all states together).
    source_step : int
        Index t into the states, 1..T.
    norm : str
        ``"unit"``, ``"random"`` or ``"spectral"``.
    """

    cell: str
    lag: Array
    log_norm: Array
    target: str
    state: str
    source_step: int
    norm: str

    def decay_rate(self, window: tuple[int, int] | None = None) -> Fit:
        """Least-squares slope of the log-norm against lag, with its sign turned: nats per step.

        Positive: the gradient vanishes, by a factor e^-rate a step.  Negative: it explodes.

        Parameters
        ----------
        window : (int, int), optional
            First and last lag to fit, both included.  Default: from a tenth of the longest lag at which
            the log-norm is finite to that lag, which leaves the transient at short lags out.

        Returns
        -------
        Fit
            NaN where fewer than two finite log-norms lie in the window; its R^2 where fewer than three do.

        Raises
        ------
        ValueRangeError
            If the window is not two whole numbers in ascending order, or holds fewer than two of the lags.
        """
        first, last = self._window(window)
        chosen = (self.lag >= first) & (self.lag <= last)
        if np.count_nonzero(chosen) < 2:
            raise ValueRangeError(
                f"window={window!r} holds {np.count_nonzero(chosen)} of the lags {self.lag[0]}..{self.lag[-1]}; "
                "a line needs two"
            )
        slopes, fits = zip(
            *(_line(self.lag[chosen], column) for column in self.log_norm[chosen].T), strict=True
        )
        return Fit(
            value=-np.array(slopes), r_squared=np.array(fits), window=(first, last), unit="nats per step"
        )

    def half_life(self, window: tuple[int, int] | None = None) -> Fit:
        """Steps in which the gradient norm halves: ln 2 / decay rate; infinite where it does not decay.

        Parameters and errors are those of `decay_rate`.
        """
        rate = self.decay_rate(window)
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = np.where(
                rate.value > 0, np.log(2) / rate.value, np.where(np.isnan(rate.value), np.nan, np.inf)
            )
        return dataclasses.replace(rate, value=steps, unit="steps")

    def _window(self, window: tuple[int, int] | None) -> tuple[int, int]:
        if window is not None:
            return _pair(window)
        finite = np.isfinite(self.log_norm).any(axis=1)
        last = int(self.lag[finite][-1]) if finite.any() else int(self.lag[-1])
        first = last // 10
        if np.count_nonzero((self.lag >= first) & (self.lag <= last)) < 2:
            first = int(self.lag[0])
        if first == last:  # one finite log-norm only, as at lag 0 of a gradient that is 0: there is no rate
            last = int(self.lag[-1])
        return first, last


def _pair(window: Any) -> tuple[int, int]:
    """First and last lag of a window that a user gave."""
    try:
        first, last = window
        whole = all(isinstance(v, int | np.integer) and not isinstance(v, bool) for v in (first, last))
    except (TypeError, ValueError):  # not a sequence, or not of two
        whole = False
    if not whole or isinstance(window, set | frozenset | Mapping):  # these have no first and last
        raise ValueRangeError(
            f"window={window!r} must be the first and the last lag, two whole numbers such as (10, 100), or None"
        )
    if first > last:
        raise ValueRangeError(f"window={window!r} ends before it begins; give the first lag, then the last")
    return int(first), int(last)


def _line(x: Array, y: Array) -> tuple[float, float]:
    """Slope and R^2 of the least-squares line through the finite points; NaN where they do not tell it."""
    finite = np.isfinite(y)
    points = np.count_nonzero(finite)
    if points < 2:
        return float("nan"), float("nan")
    dx = x[finite] - x[finite].mean()
    dy = y[finite] - y[finite].mean()
    slope = float(dx @ dy / (dx @ dx))
    if points < 3:  # a line through two points always fits
        return slope, float("nan")
    residual = float(((dy - slope * dx) ** 2).sum())
    total = float((dy**2).sum())
    return slope, 1.0 if total == 0 else 1.0 - residual / total


def _index(names: tuple[str, ...], name: str, what: str) -> int:
    try:
        return names.index(name)
    except ValueError:
        raise UnknownNameError(f"there is no {name!r}: {what} {', '.join(map(repr, names))}") from None
