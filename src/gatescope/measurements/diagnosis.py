"""Diagnosis of a cell that forgets: a verdict, the gate that is responsible, and a change that was tried out."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from gatescope.cells.memory_gate import memory_gate
from gatescope.checks.numbers import check_count, check_number
from gatescope.datatypes import Array, GradientFlow, Params, Trace
from gatescope.datatypes.diagnosis import QUANTILES, Diagnosis, changed, key, nearest
from gatescope.datatypes.gradient_paths import GradientPaths
from gatescope.datatypes.half_life import HalfLife, half_life_of
from gatescope.datatypes.saturation import saturating_inputs
from gatescope.errors import ShapeError, ValueRangeError
from gatescope.measurements import gradient_flow, gradient_paths, half_life, lyapunov_spectrum
from gatescope.measurements.counterfactuals import (
    DOUBLINGS,
    SHIFTS,
    Counterfactuals,
    Suggestion,
    leading,
    opens,
    qr_interval,
    spectral_radius,
)
from gatescope.measurements.problem import RANDOM, Problem, prepare
from gatescope.measurements.saturation import count_saturated
from gatescope.measurements.selection import by_factors, evenly
from gatescope.recurrence.input_stream import in_memory

_LEAST = 20  # steps: fewer say nothing
_LONGEST_TARGET = 1000.0  # steps, by default: four of them are looked at
_LEAST_WINDOW = 2000
_SEQUENCES = 4
_EXPONENTS = 5
_GATE_STEPS = 2000  # whose gates are saved
_PIECE = 4096  # steps of the run up to the window, at a time
_LAGS = 2000
_DEEP = 120.0  # nats that the gradient's norm falls in the picture
_FEW_LAGS = 100
_PATH_HALF_LIVES = 3  # at which the paths are reported: an eighth of the gradient is left
_PATH_REACH = 20  # half-lives, up to which the paths are followed
_MEASUREMENTS = 30  # about so many sweeps over the window, for the progress bar
_NEAR = 1.25  # of the wanted rate, up to which it counts as reached


def diagnose(
    params: Params,
    inputs: Any,
    *,
    target_half_life: float | None = None,
    window: int | None = None,
    lengths: Any = None,
    initial_state: Any = None,
    clamp: Any = None,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = False,
) -> Diagnosis:
    r"""Say whether gradients vanish or explode on a series, which gate is responsible, and what would change it.

    With :math:`\lambda` the leading Lyapunov exponent, :math:`\sigma` its standard error and
    :math:`b = \ln 2 / \mathrm{target\_half\_life}`:

    ===============  ========================================================================================
    verdict          rule
    ===============  ========================================================================================
    near-critical    :math:`|\lambda| \le b`
    undecided        otherwise, :math:`|\lambda| \le 3 \sigma`: not told from 0, and nothing is said of what to change
    vanishing        otherwise, :math:`\lambda < 0`
    chaotic          otherwise, :math:`\lambda > 0`: states stay bounded, and small changes of them grow
    exploding        :math:`\lambda > 0`, and the norm of the states grows at more than :math:`\lambda / 2`: an
                     unbounded cell that has not left the range of floating point yet
    ===============  ========================================================================================

    The gate responsible is the one that, clamped open (at 1) or with each unit at its own mean, brings :math:`\lambda`
    nearest to 0, if that is nearer by more than 3 :math:`\sigma`; each is tried.  The suggestion is a shift of that
    gate's bias (or of the bias of the gate that holds the memory), or else a factor on weight_hh, found as a root of
    :math:`\lambda + b` measured again and again on the same steps; then the half-life is measured with it.  Above
    :math:`b`, the factor alone is searched.  If none of them reaches the root, the diagnosis says so.

    Parameters
    ----------
    params : Params
    inputs
        As for `gradient_flow`, at least 20 steps.  The run goes over all of them; its last `window` steps and the first
        four sequences are looked at.
    target_half_life : float, optional
        The half-life that is wanted, in steps: how far back the task needs to look.  Default: a tenth of T, at most
        1,000, and the result says that this is assumed.
    window : int, optional
        How many steps are looked at, at least 20; a tenth of them at their beginning do not count.  Default: four times
        `target_half_life`, at least 2,000, at most T.  It takes some thirty sweeps over them.
    lengths : (B,) array_like of int, optional
        Steps of each sequence; default: T.  The last steps of each sequence are looked at; the T of the defaults is
        that of the shortest of the first four.
    initial_state : (B, S, H) array_like or "random", optional
        Default: ``"random"``, small random states drawn with `seed`, from which a run leaves a fixed point at 0 that is
        not stable.
    clamp, seed, threads, progress
        As for `gradient_flow`; gates are clamped all along, and the seed is that of all directions that are followed.

    Returns
    -------
    Diagnosis
        ``print(diagnosis)`` says it in words; `gatescope.plotting.plot_diagnosis` draws it.

    References
    ----------
    .. [1] R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural networks",
       ICML 2013.
    .. [2] F. Gers, J. Schmidhuber and F. Cummins, "Learning to forget", Neural Computation 12 (2000): the forget
       gate's bias.

    Examples
    --------
    >>> import numpy as np, gatescope as gs
    >>> params = gs.init("lstm", input_size=1, hidden_size=8, seed=0)
    >>> diagnosis = gs.diagnose(params, np.random.default_rng(0).standard_normal((400, 1)))
    >>> diagnosis.verdict, diagnosis.gate, diagnosis.suggestion, diagnosis.suggested_gate, diagnosis.reached
    ('vanishing', 'f', 'bias', 'f', True)
    """
    if target_half_life is not None:
        check_number("target_half_life", target_half_life, least=1.0)
    if window is not None:
        check_count("window", window, least=_LEAST)
    start = RANDOM if initial_state is None else initial_state
    with prepare(
        params,
        inputs,
        lengths,
        start,
        clamp,
        seed=seed,
        threads=threads,
        progress=progress,
        scale=False,
    ) as problem:
        return measure(problem, target_half_life, window)


def measure(problem: Problem, target_half_life: float | None, window: int | None) -> Diagnosis:
    """Do the work of `diagnose`, whose arguments these are."""
    lengths = problem.lengths[:_SEQUENCES]
    steps = int(lengths.min())
    if steps < _LEAST:
        raise ShapeError(
            f"should have at least {_LEAST} steps",
            argument="inputs",
            seen=(steps, problem.batch, problem.series.input_size),
        )
    goal = float(target_half_life or max(1.0, min(steps / 10, _LONGEST_TARGET)))
    length = window or min(steps, max(_LEAST_WINDOW, int(np.ceil(4 * goal))))
    check_count("window", length, least=_LEAST, most=steps, advice=f"`inputs` have {steps} steps")
    sweeps = _MEASUREMENTS if length < steps else _MEASUREMENTS - 1
    with problem.bar(int(lengths.max()) - length + sweeps * length, "diagnosis") as bar:
        model = _Model(_last_steps(problem, length, bar), bar, steps, goal)
        model.whole, model.assumed = problem, target_half_life is None
        if steps >= 2 * length:
            model.earlier = dataclasses.replace(
                model.problem,
                series=in_memory(_inputs_before_end(problem, 2 * length, length)),
                initial_state=problem.initial_state[: len(lengths)],
            )
        diagnosis = model.diagnose()
        bar.total = bar.n  # the number of counterfactuals is not known before
        bar.refresh()
    return diagnosis


def _last_steps(problem: Problem, length: int, bar: Any) -> Problem:
    """Return the problem of the last steps of the first sequences, from the states that they have before these."""
    lengths = problem.lengths[:_SEQUENCES]
    states = problem.initial_state[: len(lengths)].copy()
    for steps in np.unique(lengths):
        rows = np.flatnonzero(lengths == steps)
        before = problem.part(rows, 0, int(steps) - length)
        for _, piece, _ in before.forward([before.steps], _PIECE):
            states[rows] = piece[-1]
            bar.update(len(piece) - 1)
    return dataclasses.replace(
        problem,
        series=in_memory(_inputs_before_end(problem, length, 0)),
        initial_state=states,
        lengths=np.full(len(lengths), length),
        longest=length,
        progress=False,
    )


def _inputs_before_end(problem: Problem, first: int, last: int) -> Array:
    """Return the inputs of the first sequences, from `first` steps before their ends to `last` steps before them."""
    lengths = problem.lengths[:_SEQUENCES]
    inputs = np.empty((first - last, len(lengths), problem.series.input_size), problem.params.dtype)
    for steps in np.unique(lengths):
        rows = np.flatnonzero(lengths == steps)
        inputs[:, rows] = problem.series.read(int(steps) - first, int(steps) - last)[:, rows]
    return inputs


class _Model:
    """The cell over the steps that are looked at, and what is measured of it."""

    def __init__(self, problem: Problem, bar: Any, steps: int, goal: float) -> None:
        self.problem, self.cell, self.params = problem, problem.cell, problem.params
        self.steps, self.goal = steps, goal
        self.length, self.transient = problem.steps, problem.steps // 10
        self._bar = bar
        self.numbers: dict[str, float] = {}
        self.earlier: Problem | None = None  # as many steps, before those
        self.whole, self.assumed = problem, False

    def done(self) -> None:
        """Count one sweep more over the steps."""
        self._bar.update(self.length)

    def diagnose(self) -> Diagnosis:
        """Measure everything."""
        problem, params = self.problem, self.params
        spectrum = lyapunov_spectrum.measure(
            problem,
            k=min(_EXPONENTS, len(self.cell.states) * params.hidden_size),
            transient=self.transient,
            qr_every=qr_interval(self.length - self.transient),
            checks=False,
        )
        self.done()
        life = self._life(params)
        exponent, error = leading(spectrum)
        bound = float(np.log(2) / self.goal)
        self._put(exponent=exponent, exponent_error=error, bound=bound)
        self._lives(life, "")
        flow, paths = self._flow(exponent), self._paths(exponent)
        trace = self._trace_of_end()
        self._put(**saturating_inputs(trace))
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
            suggestion, modified_life, reached = self._suggest(counterfactuals, tried, exponent, bound)
        return Diagnosis(
            cell=self.cell.name,
            verdict=verdict,
            numbers=self.numbers,
            steps=self.steps,
            window=self.length,
            transient=self.transient,
            sequences=problem.batch,
            target_half_life=self.goal,
            target_assumed=self.assumed,
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
            provenance=problem.provenance(direction_seed=problem.seed),
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
        return tuple(name for name in names if name in self._free() and opens(self.params, name))

    def _put(self, **values: Any) -> None:
        """Add numbers for the sentences; what is not known is left out."""
        self.numbers |= {name: float(value) for name, value in values.items() if not np.isnan(value)}

    def _life(self, params: Params) -> HalfLife:
        problem = self.problem
        if (
            params is not self.params
        ):  # its own run up to the window: another network is in another state by then
            problem = _last_steps(dataclasses.replace(self.whole, params=params), self.length, self._bar)
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
            self._put(r_squared=life.r_squared.mean(), decay_rate=rates["adjoint"])
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
        self._put(fraction_lag=lags[row], **named)
        return paths

    def _within(self, lag: float) -> int:
        """Return a lag rounded up, but not below a hundred steps nor beyond the window."""
        return int(np.clip(np.ceil(lag), min(_FEW_LAGS, self.length), self.length))

    def _trace_of_end(self) -> Trace:
        """Return the run over the last steps of the window."""
        begin, state = max(0, self.length - _GATE_STEPS), self.problem.initial_state
        for _, states, _ in self.problem.forward([begin], _PIECE):
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
        self, counterfactuals: Counterfactuals, gates: tuple[str, ...], exponent: float, bound: float
    ) -> tuple[Suggestion, HalfLife | None, bool]:
        """Return a change of the weights, the half-life measured with it, and whether that is the one wanted."""
        suggestion = counterfactuals.suggest(self.params, gates, -bound, exponent)
        if not suggestion.kind:
            most = DOUBLINGS[-1] if exponent < 0 else -DOUBLINGS[-1]
            self._put(tried_bias=SHIFTS[-1], tried_gain=2.0**most)
            return suggestion, None, False
        modified = changed(self.params, suggestion.kind, suggestion.gate, suggestion.value)
        self._put(suggested_value=suggestion.value)
        try:
            life = self._life(modified)
        except ValueRangeError:  # the states leave the range of floating point
            return suggestion, None, False
        after, error = float(-life.exponent_rate.mean()), float(life.exponent_error.mean())
        self._put(suggested_exponent=after, suggested_exponent_error=error)
        self._lives(life, "suggested_")
        if self.earlier is not None:
            value, off = Counterfactuals(self.earlier, self.transient, self.done).exponent(modified)
            self._put(earlier_exponent=value, earlier_exponent_error=off)
            if value < 0:
                self._put(earlier_half_life=half_life_of(-value))
        reached = -_NEAR * bound <= after <= max(bound, 3 * float(np.nan_to_num(error)))
        return suggestion, life, reached
