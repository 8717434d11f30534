"""The cell that is diagnosed: what is measured of it over the steps that are looked at, and of what is tried on it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gatescope.cells.memory_gate import memory_gate
from gatescope.cells.ranges import gate_ranges
from gatescope.datatypes import Array, GradientFlow, Params, Trace
from gatescope.datatypes.diagnosis import QUANTILES, Diagnosis, changed
from gatescope.datatypes.diagnosis_sentences import key, nearest
from gatescope.datatypes.gradient_paths import GradientPaths
from gatescope.datatypes.half_life import HalfLife, half_life_of
from gatescope.datatypes.saturation import saturating_inputs
from gatescope.errors import ValueRangeError
from gatescope.measurements import gradient_flow, gradient_paths, half_life, lyapunov_spectrum
from gatescope.measurements.counterfactuals import (
    DOUBLINGS,
    SHIFTS,
    Counterfactuals,
    Suggestion,
    leading,
    qr_interval,
    spectral_radius,
)
from gatescope.measurements.finer import recomputed
from gatescope.measurements.inputs_memory import inputs_memory
from gatescope.measurements.last_steps import last_steps
from gatescope.measurements.problem import Problem
from gatescope.measurements.saturation import count_saturated
from gatescope.measurements.selection import by_factors, evenly

_EXPONENTS = 5
_GATE_STEPS = 2000  # whose gates are saved
_LAGS = 2000
_DEEP = 120.0  # nats that the gradient's norm falls in the picture
_FEW_LAGS = 100
_PATH_HALF_LIVES = 3  # at which the paths are reported: an eighth of the gradient is left
_PATH_REACH = 20  # half-lives, up to which the paths are followed
_SEARCHES = 3  # for a suggestion: from the network's own states, then from those that it leads to
_EXACT = 0.01  # of the rate that is wanted: no other search is needed then
_NEAR = 1.25  # of the wanted rate, up to which it counts as reached


class DiagnosedCell:
    """A network over the last `length` steps of the first sequences of `whole`, and what is measured of it."""

    def __init__(self, whole: Problem, sequences: int, length: int, goal: float, bar: Any) -> None:
        self._whole, self._sequences, self._bar = whole, sequences, bar
        self.cell, self.params = whole.cell, whole.params
        self.steps, self.goal = int(whole.lengths[:sequences].min()), goal
        self.length, self.transient = length, length // 10
        self.problem = self._window(self.params)
        self.numbers: dict[str, float] = {}

    def _window(self, params: Params, ending: int = 0) -> Problem:
        """Return the steps that are looked at, from the states that a network with these weights has before them."""
        problem = dataclasses.replace(self._whole, params=params)
        return last_steps(problem, self._sequences, self.length, self._bar, ending=ending)

    def done(self) -> None:
        """Count one sweep more over the steps."""
        self._bar.update(self.length)

    def diagnose(self, *, assumed: bool) -> Diagnosis:
        """Measure everything; `assumed` says that nobody gave the half-life that is wanted."""
        problem, params = self.problem, self.params
        spectrum = lyapunov_spectrum.measure(
            problem,
            k=min(_EXPONENTS, len(self.cell.states) * params.hidden_size),
            transient=self.transient,
            qr_every=qr_interval(self.length - self.transient),
            checks=False,
        )
        self.done()
        life = self._life(problem)
        exponent, error = leading(spectrum)
        bound = float(np.log(2) / self.goal)
        self._put(exponent=exponent, exponent_error=error, bound=bound)
        before, settling = self.steps - self.length + self.transient, float(spectrum.settling_steps().max())
        known = abs(exponent) > 2 * np.nan_to_num(error)
        if known and before < settling and not spectrum.at_rest().all():
            self._put(steps_before=before, settling=settling)
        self._lives(life, "")
        flow, paths = self._flow(exponent), self._paths(exponent)
        trace = self._trace_of_end()
        self._put(**saturating_inputs(trace))
        if assumed:
            memory = inputs_memory(problem.series.read(0, self.length))
            self._put(**{f"inputs_memory_{name}": value for name, value in memory._asdict().items()})
        verdict = self._verdict(exponent, error, bound, trace)
        statistics, means = self._gates(trace)
        counterfactuals = Counterfactuals(problem, self.transient, self.done)
        rows = list(counterfactuals.clamped(params, {gate: means[gate] for gate in self._free()}))
        self._put(**{key("clamped", gate, how): value for gate, how, value, _ in rows})
        gates, at, exponents, errors = zip(*rows, strict=True) if rows else ((), (), (), ())
        if not rows:
            self._put(spectral_radius=spectral_radius(params))
        gate = ""
        tried: tuple[str, ...] = ()
        suggestion, modified_life, reached = Suggestion(), None, False
        if verdict not in ("near-critical", "undecided"):
            gate = next((name for name, _ in nearest(gates, at, exponents, errors, exponent, error)), "")
            tried = self._gates_to_try(gate)
            suggestion, modified_life, reached = self._suggest(tried, exponent, bound)
        return Diagnosis(
            cell=self.cell.name,
            verdict=verdict,
            numbers=self.numbers,
            steps=self.steps,
            window=self.length,
            transient=self.transient,
            sequences=problem.batch,
            target_half_life=self.goal,
            target_assumed=assumed,
            flow=flow,
            spectrum=spectrum,
            half_life=life,
            paths=paths,
            gates=tuple(means),
            **statistics,
            clamped_gate=gates,
            clamped_at=at,
            clamped_exponent=np.array(exponents),
            clamped_error=np.array(errors),
            gate=gate,
            tried_gates=tried,
            suggestion=suggestion.kind,
            suggested_gate=suggestion.gate,
            suggested_value=suggestion.value,
            reached=reached,
            suggested_half_life=modified_life,
            layer=0,
            reverse=params.reverse,
            provenance=problem.provenance(
                direction_seed=problem.seed, **recomputed(flow.provenance, paths.provenance)
            ),
        )

    def _free(self) -> tuple[str, ...]:
        """Return the gates that are saved and not clamped all along."""
        gates, clamp = self.cell.gates, self.problem.clamp
        free = [clamp is None or np.isnan(clamp[k]).all() for k in range(len(gates))]
        return tuple(
            gate for gate, is_free in zip(gates, free, strict=True) if is_free and gate in self.cell.saved
        )

    def _gates_to_try(self, gate: str) -> tuple[str, ...]:
        """Return the gates whose biases may bring a suggestion."""
        # The memory gate has a bias that opens it, also where clamping another one open does more.
        names = dict.fromkeys([gate, memory_gate(self.cell).name])
        ranges = dict(zip(self.cell.saved, gate_ranges(self.cell), strict=True))
        return tuple(name for name in names if name in self._free() and ranges[name] == (0.0, 1.0))

    def _put(self, **values: Any) -> None:
        """Add numbers for the sentences; what is not known is left out."""
        self.numbers |= {name: float(value) for name, value in values.items() if not np.isnan(value)}

    def _life(self, problem: Problem) -> HalfLife:
        life = half_life.measure(problem, transient=self.transient)
        self._bar.update(2 * self.length)
        return life

    def _lives(self, life: HalfLife, prefix: str) -> None:
        """Add the half-lives of the mean rates over the sequences."""
        exponent = float(-life.exponent_rate.mean())
        if exponent > 0:
            self._put(**{f"{prefix}doubling": half_life_of(exponent)})
        rates = {"exponent": life.exponent_rate.mean(), "adjoint": life.adjoint_rate.mean()}
        if not prefix:
            units = life.gate_rate.mean(axis=0)
            if not np.isnan(units).all():
                rates["gate"], rates["gate_median"] = units.min(), np.sort(units)[units.size // 2]
            assert life.steps_to_half is not None
            self._put(r_squared=life.r_squared.mean(), decay_rate=rates["adjoint"])
            self._put(steps_to_half=life.steps_to_half.mean())
            if life.cut_step is not None and (life.cut_step >= 0).any():
                first = int(np.argmax(life.cut_step >= 0))
                before = int(self._whole.lengths[first]) - self.length
                self._put(cut_step=before + life.cut_step[first], cut_sequences=(life.cut_step >= 0).sum())
        self._put(**{f"{prefix}half_life_{name}": half_life_of(rate) for name, rate in rates.items()})

    def _flow(self, exponent: float) -> GradientFlow:
        """Return the gradient of the output as far back as it is of use; add where it is too small to matter."""
        longest = self.length if exponent >= 0 else self._within(_DEEP / -exponent)
        lags = evenly(longest, _LAGS)
        flow = gradient_flow.measure(self.problem, wrt="joint", lags=lags)
        self.done()
        resolution = float(np.finfo(self.params.dtype).eps)
        fallen = flow.log_norm.max(axis=1) - flow.log_norm[0].max() < np.log(resolution)
        above = np.flatnonzero(~fallen)
        self._put(resolution=resolution, longest_lag=longest)
        if above.size and above[-1] + 1 < lags.size:
            self._put(reach=lags[above[-1] + 1])
        return flow

    def _paths(self, exponent: float) -> GradientPaths:
        life = float(half_life_of(-exponent)) if exponent < 0 else self.goal
        longest = self._within(_PATH_REACH * life)
        lags = by_factors(longest, 400)
        paths = gradient_paths.measure(self.problem, lags=lags)
        self.done()
        row = int(np.argmin(np.abs(lags - max(1.0, min(_PATH_HALF_LIVES * life, longest)))))
        fractions = paths.norm_fractions()[row].mean(axis=1)
        named = {key("fraction", name): v for name, v in zip(paths.paths, fractions, strict=True)}
        whole = np.exp(-paths.cancellation()[row]).mean()
        self._put(fraction_lag=lags[row], fraction_whole=whole, **named)
        return paths

    def _within(self, lag: float) -> int:
        """Return a lag rounded up, but not below a hundred steps nor beyond the window."""
        return int(np.clip(np.ceil(lag), min(_FEW_LAGS, self.length), self.length))

    def _trace_of_end(self) -> Trace:
        """Return the run over the last steps of the window."""
        begin, state = max(0, self.length - _GATE_STEPS), self.problem.initial_state
        for _, states, _ in self.problem.forward([begin], _GATE_STEPS):
            state = np.array(states[-1])
        self.done()
        rows = np.arange(self.problem.batch)
        return self.problem.part(rows, begin, self.length, initial_state=state).trace().as_taken()

    def _verdict(self, exponent: float, error: float, bound: float, trace: Trace) -> str:
        if abs(exponent) <= bound:
            return "near-critical"
        if abs(exponent) <= 3 * np.nan_to_num(error):
            return "undecided"
        if exponent < 0:
            return "vanishing"
        states = np.asarray(trace.states[len(trace.states) // 10 :], np.float64)
        with np.errstate(divide="ignore", over="ignore"):
            size = np.log(np.abs(states).max(axis=(1, 2, 3)))
        good = np.isfinite(size)
        growth = float(np.polyfit(np.flatnonzero(good), size[good], 1)[0]) if good.sum() > 1 else 0.0
        self._put(state_growth=growth)
        return "exploding" if growth > exponent / 2 else "chaotic"

    def _gates(self, trace: Trace) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return statistics of the gates (K, ...), and by gate the units' means (H,)."""
        names = [gate for gate in self.cell.gates if gate in trace.gate_names]
        mean, shut, opened = np.full((3, len(names)), np.nan)
        quantiles = np.full((len(names), len(QUANTILES)), np.nan)
        means: dict[str, Array] = {}
        counted = count_saturated(trace)
        for k, gate in enumerate(names):
            values = np.asarray(trace.gate(gate), np.float64)
            means[gate] = values.mean(axis=(0, 1))
            mean[k], quantiles[k] = values.mean(), np.quantile(values, QUANTILES)
            self._put(**{key("mean", gate): mean[k]})
            if gate in counted.gates:
                shut[k], opened[k] = np.mean(counted.gate(gate), axis=1)
                self._put(**{key("shut", gate): shut[k], key("open", gate): opened[k]})
        return {"mean": mean, "shut": shut, "open": opened, "quantiles": quantiles}, means

    def _suggest(
        self, gates: tuple[str, ...], exponent: float, bound: float
    ) -> tuple[Suggestion, HalfLife | None, bool]:
        """Return a change of the weights, the half-life measured with it, and whether that is the one wanted."""
        suggestion, own = self._search(gates, exponent, bound)
        if not suggestion.kind:
            most = DOUBLINGS[-1] if exponent < 0 else -DOUBLINGS[-1]
            self._put(tried_bias=SHIFTS[-1], tried_gain=2.0**most)
            return suggestion, None, False
        self._put(suggested_value=suggestion.value)
        if own is None:
            return suggestion, None, False
        try:
            life = self._life(own)
        except ValueRangeError:  # the states leave the range of floating point
            return suggestion, None, False
        after, error = float(-life.exponent_rate.mean()), float(life.exponent_error.mean())
        self._put(suggested_exponent=after, suggested_exponent_error=error)
        self._lives(life, "suggested_")
        if self.steps >= 2 * self.length:
            earlier = self._window(own.params, ending=self.length)
            value, off = Counterfactuals(earlier, self.transient, self.done).exponent(own.params)
            self._put(earlier_exponent=value, earlier_exponent_error=off)
            if value < 0:
                self._put(earlier_half_life=half_life_of(-value))
        reached = -_NEAR * bound <= after <= max(bound, 3 * float(np.nan_to_num(error)))
        return suggestion, life, reached

    def _search(
        self, gates: tuple[str, ...], exponent: float, bound: float
    ) -> tuple[Suggestion, Problem | None]:
        """Return a change of the weights, and the steps from the states that the changed network has before them.

        That is None if they leave the range of floating point.  By then another network is in another state, which
        counts for as long as the change lets it remember; so the search is done again from there, and the change is
        taken whose exponent from its own states is nearest to the one wanted.
        """
        own, least = self.problem, np.inf
        best: tuple[Suggestion, Problem | None] = Suggestion(), None
        for search in range(_SEARCHES if self.length < self.steps else 1):
            counterfactuals = Counterfactuals(own, self.transient, self.done)
            suggestion = counterfactuals.suggest(self.params, gates, -bound, exponent)
            if not suggestion.kind:
                break
            weights = changed(self.params, suggestion.kind, suggestion.gate, suggestion.value)
            try:
                own = self._window(weights)
            except ValueRangeError:
                return best if search else (suggestion, None)
            reached, _ = Counterfactuals(own, self.transient, self.done).exponent(weights)
            miss = abs(reached + bound)
            if search == 0 or miss < least:
                best, least = (suggestion, own), miss
            if miss < _EXACT * bound:
                break
        return best
