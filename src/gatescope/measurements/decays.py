"""Gated linear models by their decays alone: Mamba, RWKV, GLA, LRU, whose gradient is a sum of logarithms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from gatescope.checks.numbers import (
    check_choice,
    check_count,
)
from gatescope.datatypes import Array, GradientFlow, HalfLife, Trace
from gatescope.measurements.adjoint_rates import (
    adjoint_lags,
    pooled_slope,
    slope,
    standard_error,
    without_rounding,
)
from gatescope.measurements.selection import join_flows, lags_back, unit_of
from gatescope.reporting.text import counted
from gatescope.storage.provenance import provenance

DECAY = "decay"
_NORMS = ("random", "unit", "spectral")
_BLOCKS = 20  # of time, for standard errors
_STRETCHES = 50  # between resets of all channels, whose rates are put together: more tell no more
_LEAST = 10  # steps of a stretch: fewer have no rate
_PIECE = 1 << 12  # steps added up at a time: rounding grows with these, and with the number of pieces
_ROUNDINGS = 4 * float(np.finfo(np.float64).eps)  # nats per step: a rate below it is 0 but for rounding


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Decays:
    """The decays of a gated linear model, ``h_t = exp(log_decay_t) * h_(t-1) + ...``, channel by channel.

    Attributes
    ----------
    cell : str
        What the model is called in titles and legends.
    log_decay : (T, B, H) float64
        In nats per step; ``-inf`` where a channel is reset.
    gates : dict of (T, B, H) float64
        Other gates, by name.
    lengths : (B,) int64
        Steps of each sequence.
    """

    cell: str
    log_decay: Array
    gates: Mapping[str, Array]
    lengths: Array

    def __repr__(self) -> str:
        steps, batch, channels = self.log_decay.shape
        sizes = f"{counted(steps, 'step')}, {counted(batch, 'sequence')}, {counted(channels, 'channel')}"
        return f"Decays({self.cell!r}: {sizes})"

    @cached_property
    def trace(self) -> Trace:
        """The decay factors, as gate "decay", and the other gates, for `gatescope.saturation` and the plots of gates.

        Its inputs are the logarithms; it has no states, which are not known.
        """
        steps, batch, channels = self.log_decay.shape
        inside = np.arange(steps)[:, None, None] < self.lengths[:, None]
        values = {DECAY: np.exp(self.log_decay), **self.gates}
        gates = np.stack([np.where(inside, value, 0.0) for value in values.values()], axis=2)
        unit = (0.0, 1.0)
        return Trace(
            cell=self.cell,
            inputs=self.log_decay,
            states=np.zeros((steps + 1, batch, 0, channels)),
            gates=gates,
            lengths=self.lengths,
            state_names=(),
            gate_names=tuple(values),
            gate_ranges=tuple(unit if ((v >= 0) & (v <= 1)).all() else None for v in values.values()),
            provenance=provenance(),
        )

    def gradient_flow(
        self,
        *,
        source_step: int = -1,
        max_lag: int | None = None,
        lags: Any = None,
        norm: str = "random",
        unit: int = 0,
        seed: int = 0,
    ) -> GradientFlow:
        """Return the log-norm of d h(t) / d h(t - lag): that of a diagonal matrix of sums of log decays.

        Parameters are those of `gatescope.gradient_flow`, which gives the same numbers for a cell that computes this.
        ``"random"`` is one random direction, ``"unit"`` one channel, ``"spectral"`` the slowest channel at each lag.

        Returns
        -------
        GradientFlow
            ``-inf`` from the lag on at which all channels, or those that count, have been reset.
        """
        channels = self.log_decay.shape[2]
        check_choice("norm", norm, _NORMS)
        chosen = unit_of(norm, unit, channels, "channels")
        weights = _log_weights(channels, chosen, norm, check_count("seed", seed, least=0))
        groups, parts = [], []
        for length in np.unique(self.lengths):
            rows = np.flatnonzero(self.lengths == length)
            spans = _Spans(int(length), int(self.lengths.max()))
            source, asked = lags_back(
                spans, source_step, max_lag, lags, lambda longest: np.arange(longest + 1)
            )
            norms = [_log_norms(self.log_decay[:source, b], asked, weights) for b in rows]
            groups.append(rows)
            parts.append(self._flow(asked, np.stack(norms, axis=1), source, norm, direction_seed=seed))
        return parts[0] if len(parts) == 1 else join_flows(groups, parts, {"log_norm": 1})

    def half_life(self, *, seed: int = 0) -> HalfLife:
        """Return the half-life of every channel, and of the gradient, in steps.

        ``by_gate`` is each channel's: ln 2 over minus the mean of its log decays.  ``by_exponent`` is that of the
        slowest channel, the leading Lyapunov exponent of a diagonal system, and ``by_adjoint`` is the slope of a random
        direction's gradient, drawn with `seed`.  All steps count; there is no transient, since no state settles.

        A reset (``-inf``) cuts a channel: its rate is that between its resets.  ``cut_step`` is the last step from
        which on every channel has been reset: nothing from before it is left at the end.
        """
        seed = check_count("seed", seed, least=0)
        parts = [self._half_life(b, seed) for b in range(self.lengths.size)]
        names = parts[0].arrays()
        fields: dict[str, Any] = {
            name: np.concatenate([part.arrays()[name] for part in parts]) for name in names
        }
        fields["adjoint_doubt"] = tuple(part.adjoint_doubt[0] for part in parts)
        if np.unique(self.lengths).size > 1:
            fields |= {"lengths": self.lengths, "transients": np.zeros_like(self.lengths)}
        return HalfLife(
            **{"cell": self.cell, "gate": DECAY, "steps": int(self.lengths.max()), "transient": 0, **fields},
            diagonal=True,
            provenance=provenance(direction_seed=seed),
        )

    def _half_life(self, b: int, seed: int) -> HalfLife:
        """Return the half-lives of one sequence."""
        values = self.log_decay[: self.lengths[b], b]
        rate, error = _channel_rates(values)
        always = np.isfinite(values).all(
            axis=0
        )  # channels without a reset, to which the exponent belongs if any is
        slowest = int(np.argmin(np.where(always, rate, np.inf) if always.any() else rate))
        adjoint, steps_to_half, cut_step, doubt = self._adjoint(values, seed)
        return HalfLife.from_rates(
            cell=self.cell,
            gate=DECAY,
            gate_rate=without_rounding(rate, _ROUNDINGS)[None],
            gate_error=error[None],
            adjoint_rate=without_rounding(adjoint[:1], _ROUNDINGS),
            adjoint_error=adjoint[1:2],
            exponent_rate=without_rounding(rate[[slowest]], _ROUNDINGS),
            exponent_error=error[[slowest]],
            r_squared=adjoint[2:],
            steps=len(values),
            transient=0,
            steps_to_half=steps_to_half,
            cut_step=np.array([cut_step]),
            adjoint_doubt=(doubt,),
            diagonal=True,
        )

    def _adjoint(self, values: Array, seed: int) -> tuple[Array, Array, int, str]:
        """Return rate, error and R^2 of the gradient of a sequence, its steps to half, the step that cuts it, doubts.

        Between steps that cut it the gradient has rates of its own, which are put together.
        """
        weights = _log_weights(values.shape[1], None, "random", seed)
        resets = [np.flatnonzero(column) for column in np.isneginf(values).T]
        flows: list[GradientFlow] = []
        stop, cut_step = len(values), -1
        while (stop >= _LEAST and len(flows) < _STRETCHES) or not flows:
            before = [int(np.searchsorted(steps, stop)) for steps in resets]
            cut = min(int(steps[k - 1]) if k else -1 for steps, k in zip(resets, before, strict=True))
            lags = adjoint_lags(stop - cut - 1)
            lags = lags[lags < stop - cut]
            log_norm = _log_norms(values[cut + 1 : stop], lags, weights)
            flows.append(self._flow(lags, log_norm[:, None], stop, "random"))
            cut_step = cut if len(flows) == 1 else cut_step
            stop = max(cut, 0)
        last = flows[0]
        gone = last.steps_to_half()
        if cut_step < 0:
            doubt = last.decay_rate().why_none[0]
            rate, error, r_squared = (float(value[0]) for value in slope(last))
            return np.array([np.nan if doubt else rate, error, r_squared]), gone, cut_step, doubt
        pooled = pooled_slope(flows)
        doubt = "" if pooled else f"its stretches between resets are shorter than {counted(_LEAST, 'step')}"
        gone = np.minimum(gone, len(values) - cut_step)
        return np.array(pooled or [np.nan] * 3), gone, cut_step, doubt

    def _flow(self, lags: Array, log_norm: Array, source: int, norm: str, **metadata: Any) -> GradientFlow:
        return GradientFlow(
            cell=self.cell,
            lag=lags,
            log_norm=log_norm,
            of="h",
            wrt="h",
            source_step=source,
            norm=norm,
            provenance=provenance(**metadata),
        )


class _Spans(NamedTuple):
    """Steps of some sequences, and of the longest of all."""

    steps: int
    longest: int


def _log_weights(channels: int, unit: int | None, norm: str, seed: int) -> Array | None:
    """Return logarithms (H,) of the sizes of a direction; None for the slowest channel whatever it is."""
    if norm == "spectral":
        return None
    if unit is not None:
        return np.where(np.arange(channels) == unit, 0.0, -np.inf)
    direction = np.random.default_rng(seed).standard_normal(channels)
    return np.asarray(np.log(np.abs(direction / np.linalg.norm(direction))))


def _log_norms(values: Array, lags: Array, weights: Array | None) -> Array:
    """Return log-norms (L,) of the gradient by what lies so many steps before the end of the logarithms (N, H).

    The sums run back from the end, piece by piece: their rounding does not grow with N, and a reset leaves -inf behind
    it and nothing that is not a number.
    """
    steps, channels = values.shape
    log_norm, carried = np.empty(len(lags)), np.zeros(channels)
    first = int(np.searchsorted(lags, 0, side="right"))
    log_norm[:first] = _norm_of(np.zeros((first, channels)), weights)
    for back in range(0, int(lags[-1]), _PIECE):
        piece = values[max(0, steps - back - _PIECE) : steps - back]
        sums = np.cumsum(piece[::-1], axis=0, dtype=np.float64)
        sums += carried
        last = int(np.searchsorted(lags, back + len(piece), side="right"))
        log_norm[first:last] = _norm_of(sums[lags[first:last] - back - 1], weights)
        first, carried = last, sums[-1]
    return log_norm


def _norm_of(sums: Array, weights: Array | None) -> Array:
    """Return the logarithm of the norm (L,) of factors given by their logarithms (L, H)."""
    if weights is None:
        return np.asarray(sums.max(axis=1))
    return np.asarray(np.logaddexp.reduce(2 * (sums + weights), axis=1) / 2)


def _channel_rates(values: Array) -> tuple[Array, Array]:
    """Return minus the mean (H,) of the logarithms (N, H) that are no resets, and its standard error over blocks."""
    marks = np.linspace(0, len(values), min(_BLOCKS, len(values)) + 1).round().astype(int)
    sums, counts = [], []
    for begin, end in pairwise(marks):
        finite = np.isfinite(values[begin:end])
        sums.append(np.where(finite, values[begin:end], 0.0).sum(axis=0))
        counts.append(finite.sum(axis=0))
    total, count = np.array(sums), np.array(counts)
    with np.errstate(divide="ignore", invalid="ignore"):  # blocks, and channels, that are nothing but resets
        rate = np.where(count.any(axis=0), -total.sum(axis=0) / count.sum(axis=0), np.inf)
        means = -total / count
        known = np.isfinite(means)
        blocks = np.where(known, means, np.nan)
    error = np.full(rate.shape, np.nan)
    for channel in np.flatnonzero(known.sum(axis=0) > 1):
        error[channel] = standard_error(blocks[known[:, channel], channel])
    return rate + 0.0, error
